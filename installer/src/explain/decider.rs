//! One configuration, and what the engine makes of requests with it.
//!
//! It must not read input or print.

use anyhow::{Result, anyhow, bail};
use portcullis_engine::{
    config::{self, Config, Problem, Properties, Secrets, Severity, Snapshot, Source},
    contract::{Ask, Decision, Header, Local, Need, RequestView, RuleList, Step},
    decide::{ROUNDS, TOKEN as TOKEN_PSEUDONYM, Trace, cookie_of, explain, rounds_cookie_of},
    decide_unanswered,
    event::Code,
    token::{Secret, cookie},
};

use super::{
    answer::{Answer, matched},
    facts::Told,
    question::Question,
    recorded::Elsewhere,
    rules::Rules,
    survey::Verdict,
};

/// The token that a given session is taken to have.
const TOKEN: &[u8] = b"the token of the given session";

/// A configuration that decides.
pub(crate) struct Decider {
    pub(super) snap: Snapshot,
    pub(super) rules: Rules,
}

/// A decision, with how it came about.
struct Decided<'d> {
    decision: &'d Decision<'d>,
    trace: &'d Trace,
    told: &'d Told,
    req: &'d RequestView<'d>,
}

impl Decider {
    /// The text of `agent.conf`, compiled with what a recording says besides; and every mistake.
    pub(super) fn of(text: &str, elsewhere: Option<&Elsewhere>) -> (Option<Decider>, Vec<Problem>) {
        let mut files = Properties::parse(text, Source::File("agent.conf".to_owned()));
        if let Some(elsewhere) = elsewhere {
            files.append(elsewhere.environment());
        }
        let profile = elsewhere.and_then(Elsewhere::profile);
        let (mut config, mut problems) = config::read(&files, profile.as_ref());
        if let Some(elsewhere) = elsewhere {
            elsewhere.complete(&mut config);
        }
        // As the agent: with a profile, hosts and patterns come with it.
        if profile.is_none() {
            problems.extend(config::mistakes(&config, &files, &problems));
        }
        let secrets = Secrets {
            password: Secret::new(b"made up: explain reads no password".to_vec()),
            agent_key: Secret::new(vec![0x5a; 32]),
            previous_key: None,
            cert_key_password: None,
            proxy_password: None,
            monitor_password: None,
        };
        if problems.iter().any(|p| p.severity == Severity::Error) {
            return (None, problems);
        }
        match Snapshot::build(config, secrets, [0; 16]) {
            Ok(snap) => {
                if let Some(profile) = profile {
                    files.append(profile);
                }
                let rules = Rules::of(&files);
                (Some(Decider { snap, rules }), problems)
            }
            Err(more) => {
                problems.extend(more);
                (None, problems)
            }
        }
    }

    /// Everything about one request.
    pub(super) fn decide(&self, question: &Question) -> Result<Answer> {
        self.decided(question, |decided| {
            Answer::of(
                question.id.clone(),
                decided.decision,
                decided.trace,
                &decided.told.asked(),
                decided.req,
                &self.snap,
                &self.rules,
            )
        })
    }

    /// What becomes of one request, and because of which line.
    pub(super) fn verdict(&self, question: &Question) -> Result<Verdict> {
        self.decided(question, |decided| {
            let rule = matched(
                decided.decision,
                decided.trace,
                &self.rules,
                &self.snap.config,
            );
            Verdict::of(decided.decision, rule, decided.told)
        })
    }

    /// What it decides with.
    pub(crate) fn config(&self) -> &Config {
        &self.snap.config
    }

    /// The rules that let everybody in, as written.
    pub(crate) fn exemptions(&self) -> Vec<String> {
        let config = self.config();
        let rules = config.rule_ids(&RuleList::NOT_ENFORCED);
        rules.into_iter().map(|rule| config.rule(rule)).collect()
    }

    /// What `tell` makes of the decision about one line of input, and of the configured line that decided.
    ///
    /// # Errors
    /// The line cannot be read, or lacks what the agent asks for.
    pub(crate) fn becomes<T>(
        &self,
        line: &str,
        tell: impl FnOnce(&Decision<'_>, Option<String>) -> T,
    ) -> Result<T> {
        let question = Question::read(line).map_err(|unreadable| anyhow!(unreadable.what))?;
        self.decided(&question, |decided| {
            let because = matched(decided.decision, decided.trace, &self.rules, self.config());
            tell(decided.decision, because)
        })
    }

    /// What `tell` makes of the decision and the way to it.
    pub(super) fn seen<T>(
        &self,
        question: &Question,
        tell: impl FnOnce(&Decision<'_>, &Trace) -> T,
    ) -> Result<T> {
        self.decided(question, |decided| tell(decided.decision, decided.trace))
    }

    fn decided<T>(&self, question: &Question, tell: impl FnOnce(Decided<'_>) -> T) -> Result<T> {
        let told = Told::of(question, &self.snap)?;
        let mut fields = question.headers.clone();
        if question.recorded.is_some() {
            self.seal_tokens(question, &told, &mut fields);
        } else if told.token_sent.get() {
            self.send_token(question, &told, &mut fields);
        }
        let headers = headers(&fields);
        let req = view(question, &headers);
        let (step, trace) = explain(&req, &self.snap, &told, question.now);
        let decision = match step {
            Step::Done(decision) => decision,
            Step::Need(_) if question.stored_only => {
                decide_unanswered(&req, &self.snap, &told, question.now, Code::NotStored)
            }
            Step::Need(need) => bail!("the facts lack what the agent asks for: {}", needed(&need)),
        };
        Ok(tell(Decided {
            decision: &decision,
            trace: &trace,
            told: &told,
            req: &req,
        }))
    }

    /// Seals the pseudonyms of tokens that stand for cookies which opened, and the rounds of a login.
    fn seal_tokens(&self, question: &Question, told: &Told, fields: &mut [(String, String)]) {
        let name = self.snap.config.jwt_name.as_bytes();
        let seal = |value: &[u8]| {
            let sealed = cookie_of(&view(question, &[]), &self.snap, told, question.now, value);
            sealed.unwrap_or_default().into_bytes()
        };
        for (_, value) in fields
            .iter_mut()
            .filter(|f| f.0.eq_ignore_ascii_case("cookie"))
        {
            let sealed = cookie::rewritten(value.as_bytes(), |n, v| {
                if n == name && v.starts_with(TOKEN_PSEUDONYM.as_bytes()) {
                    return seal(v);
                }
                let rounds = v.strip_prefix(ROUNDS.as_bytes());
                let rounds = rounds.and_then(|text| std::str::from_utf8(text).ok());
                let sealed = rounds.and_then(|text| {
                    let view = view(question, &[]);
                    rounds_cookie_of(&view, &self.snap, told, question.now, text)
                });
                sealed.map_or_else(|| v.to_vec(), String::into_bytes)
            });
            *value = String::from_utf8_lossy(&sealed).into_owned();
        }
    }

    /// Adds the session cookie, in place of one that only another agent could open. Where there are
    /// two already, there are two: which of them the session was of, nobody knows.
    fn send_token(&self, question: &Question, told: &Told, fields: &mut Vec<(String, String)>) {
        let value = {
            let headers = headers(fields);
            cookie_of(
                &view(question, &headers),
                &self.snap,
                told,
                question.now,
                TOKEN,
            )
        };
        let Some(value) = value else { return };
        let name = self.snap.config.jwt_name.as_str();
        let is_cookie = |f: &(String, String)| f.0.eq_ignore_ascii_case("cookie");
        let sent = fields
            .iter()
            .filter(|f| is_cookie(f))
            .map(|f| f.1.as_bytes());
        if let cookie::One::One(_) = cookie::only(sent, name.as_bytes()) {
            for field in fields.iter_mut().filter(|f| is_cookie(f)) {
                let mut rest = Vec::new();
                if cookie::without([field.1.as_bytes()], |n| n == name.as_bytes(), &mut rest) {
                    field.1 = String::from_utf8_lossy(&rest).into_owned();
                }
            }
            fields.retain(|f| !is_cookie(f) || !f.1.is_empty());
        }
        fields.push(("Cookie".to_owned(), format!("{name}={value}")));
    }
}

fn headers(fields: &[(String, String)]) -> Vec<Header<'_>> {
    let pairs = fields.iter();
    pairs
        .map(|(name, value)| Header {
            name: name.as_bytes(),
            value: value.as_bytes(),
        })
        .collect()
}

fn view<'q>(question: &'q Question, headers: &'q [Header<'q>]) -> RequestView<'q> {
    RequestView {
        method: question.method.as_bytes(),
        target: question.target.as_bytes(),
        host: question.authority.as_bytes(),
        headers,
        merged: question.merged,
        peer: question.peer,
        client: question.client,
        local: Local {
            tls: question.tls,
            port: question.port,
            path: question.path.as_bytes(),
            path_info: question.path_info.as_bytes(),
            authorizes: question.host_authorizes,
        },
    }
}

fn needed(need: &Need) -> &'static str {
    match need {
        Need::Ask(asks) => match asks.first() {
            Some(Ask::Session { .. }) => "a session",
            Some(Ask::Policy { .. }) => "a policy",
            Some(Ask::Attributes { .. }) => "attributes",
            Some(Ask::Keys { .. }) => "AM's keys",
            Some(Ask::Form { .. }) => "the form",
            None => "nothing",
        },
        Need::Do(_) => "a receipt",
    }
}

//! `agentadmin explain`: what would the agent do with this request, and why?
//!
//! The engine of the module decides, with the configuration of a file and with facts that the input
//! states. It asks no AM, reads no key and no password, and changes nothing. Keys are made up and the
//! time stands still, so that the same input always prints the same.

mod answer;
mod facts;
mod question;
mod recorded;
mod rules;

use std::{
    cell::{Cell, RefCell},
    collections::HashMap,
    fs::File,
    io::{self, BufRead, BufReader, Read, Write},
    path::PathBuf,
    process::ExitCode,
};

use anyhow::{Context, Result, anyhow, bail};
use clap::Args;
use portcullis_engine::{
    config::{self, Problem, Properties, Repository, Secrets, Severity, Snapshot, Source},
    contract::{Ask, Header, Local, Need, RequestView, Step},
    decide::{ROUNDS, TOKEN as TOKEN_PSEUDONYM, cookie_of, explain, rounds_cookie_of},
    decide_unanswered,
    event::Code,
    token::{Secret, cookie},
};

use answer::{Answer, Failed, Skipped};
use facts::Told;
use question::{Question, Unreadable};
use recorded::{Elsewhere, Head};
use rules::Rules;

use crate::instance::{Instance, Written};

/// Longest line of input, bytes.
const MAX_LINE: usize = 1 << 20;
/// The token that a given session is taken to have.
const TOKEN: &[u8] = b"the token of the given session";
/// Exit code when lines were not answered.
const UNANSWERED: u8 = 3;

const EXAMPLES: &str = r#"Input, one JSON object a line; only method and url are needed:
  {"id":1, "method":"GET", "url":"http://www.example.com:80/x", "client_ip":"192.0.2.7",
   "headers":[["Cookie","a=b"]], "body":"",
   "session":{"user":"demo","realm":"/","attributes":{"uid":["demo"]}},
   "policy":{"actions":{"GET":true},"advices":{},"attributes":{}}, "am":"up"}
A session that is given counts as live and as sent with the request. Without policy, AM has none about
the URL. With "am":"down" nothing can be asked. "facts" states in place of these three what the agent
knew, in the order in which it asks: {"session":{"fresh":{…}}}, {"policy":{"failed":"timeout"}}, and so
on; docs/explain.md has all of them. What portcullis.record.file holds is read as it is.

Examples:
  echo '{"method":"GET","url":"https://www.example.com/docs/"}' |
      agentadmin explain --conf instances/agent_1/config/agent.conf --human
  agentadmin explain --conf agent.conf requests.jsonl > answers.jsonl

Exit code: 0 when every line was answered, 3 when some were not, 1 when the configuration cannot be
used or the input not be read."#;

/// Tell what the agent would do with requests, without a server or AM
#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Options {
    /// The instance to decide with: its name or its agent.conf, no other file is needed; without it the
    /// only one there is
    #[arg(long, value_name = "AGENT")]
    conf: Option<PathBuf>,

    /// Print text: every rule in order, with hit, miss or not reached
    #[arg(long)]
    human: bool,

    /// File with the requests; standard input without it
    #[arg(value_name = "INPUT")]
    input: Option<PathBuf>,
}

/// A configuration that decides.
struct Decider {
    snap: Snapshot,
    rules: Rules,
}

/// What requests are decided with: a file, and what recorded requests were decided with besides.
struct Deciders {
    text: String,
    /// `None` where the file needs the profile in AM.
    plain: Option<Decider>,
    elsewhere: RefCell<HashMap<String, Decider>>,
    /// Recorded requests that cannot be decided again.
    skipped: Cell<u64>,
    /// Requests that were recorded under another text of the file.
    other_text: Cell<u64>,
}

/// Answers every line of the input.
pub(crate) fn run(options: &Options) -> Result<ExitCode> {
    let decider = Deciders::read(&Instance::find(options.conf.as_deref())?)?;
    let mut out = io::BufWriter::new(io::stdout().lock());
    let all = match &options.input {
        Some(path) => {
            let file = File::open(path).with_context(|| format!("{}", path.display()))?;
            decider.answer_all(BufReader::new(file), options.human, &mut out)?
        }
        None => decider.answer_all(io::stdin().lock(), options.human, &mut out)?,
    };
    out.flush()?;
    decider.notes();
    Ok(match all {
        true => ExitCode::SUCCESS,
        false => ExitCode::from(UNANSWERED),
    })
}

impl Deciders {
    /// Reads and compiles `agent.conf` as the agent does; mistakes go to standard error.
    fn read(instance: &Instance) -> Result<Deciders> {
        let Written {
            text,
            config,
            problems: wrong,
            ..
        } = instance.read()?;
        let (decider, problems) = Decider::of(&text, None);
        for problem in &problems {
            eprintln!("{problem}");
        }
        let central = config.repository == Repository::Centralized;
        // What is missing may stand in the profile; what is wrong stays wrong.
        let needs_profile = central && wrong.iter().all(|p| p.severity < Severity::Error);
        if decider.is_none() && !needs_profile {
            bail!("{} cannot be used", instance.conf.display());
        }
        if central {
            eprintln!(
                "note: with repository.location = centralized the profile in AM adds to this file; \
                 explain knows it only of recorded requests"
            );
        }
        Ok(Deciders::new(text, decider))
    }

    fn new(text: String, plain: Option<Decider>) -> Deciders {
        Deciders {
            text,
            plain,
            elsewhere: RefCell::default(),
            skipped: Cell::new(0),
            other_text: Cell::new(0),
        }
    }

    /// What whoever reads the answers should know of them as a whole.
    fn notes(&self) {
        let (skipped, other) = (self.skipped.get(), self.other_text.get());
        if skipped > 0 {
            eprintln!("note: {skipped} recorded requests cannot be decided again; they say why");
        }
        if other > 0 {
            eprintln!("note: {other} requests were recorded under another text of agent.conf");
        }
    }

    /// Whether every line was answered.
    fn answer_all(
        &self,
        mut input: impl BufRead,
        human: bool,
        out: &mut impl Write,
    ) -> Result<bool> {
        let (mut number, mut all) = (0, true);
        let mut line = Vec::new();
        loop {
            number += 1;
            line.clear();
            let whole = next_line(&mut input, &mut line)?;
            if line.is_empty() && whole {
                return Ok(all);
            }
            if line.trim_ascii().is_empty() && whole {
                continue;
            }
            let answer = match whole {
                true => self.answer(&line, human),
                false => Err(Unreadable {
                    id: serde_json::Value::Null,
                    what: format!("the line is longer than {MAX_LINE} bytes"),
                }),
            };
            match answer {
                Ok(None) => {}
                Ok(Some(text)) => writeln!(out, "{text}")?,
                Err(Unreadable { id, what }) => {
                    all = false;
                    let failed = Failed {
                        id,
                        line: number,
                        error: &what,
                    };
                    match human {
                        true => writeln!(out, "line {number}: {what}\n")?,
                        false => writeln!(out, "{}", serde_json::to_string(&failed)?)?,
                    }
                }
            }
        }
    }

    /// The answer to one line; none to one that only belongs to others.
    fn answer(&self, line: &[u8], human: bool) -> Result<Option<String>, Unreadable> {
        let line = std::str::from_utf8(line).map_err(|error| Unreadable {
            id: serde_json::Value::Null,
            what: error.to_string(),
        })?;
        let head = Head::read(line);
        let wrong = |what: String| Unreadable {
            id: head.id.clone(),
            what,
        };
        if let Some(elsewhere) = head.elsewhere(line) {
            let added = elsewhere.and_then(|e| self.add(e));
            return added.map(|()| None).map_err(|e| wrong(e.to_string()));
        }
        if let Some(why) = head.not_replayable() {
            self.skipped.set(self.skipped.get() + 1);
            let skipped = Skipped {
                id: head.id.clone(),
                not_replayable: why,
            };
            return match human {
                true => Ok(Some(format!("recorded, not to be decided again: {why}\n"))),
                false => serde_json::to_string(&skipped)
                    .map(Some)
                    .map_err(|e| wrong(e.to_string())),
            };
        }
        let question = Question::read(line)?;
        let answer = self.decide(&question).map_err(|e| wrong(e.to_string()))?;
        let text = match human {
            true => {
                let port_and_host = &question.authority;
                let scheme = if question.tls { "https" } else { "http" };
                let url = format!("{scheme}://{port_and_host}{}", question.target);
                Ok(answer.human(&question.method, &url))
            }
            false => serde_json::to_string(&answer),
        };
        text.map(Some).map_err(|e| wrong(e.to_string()))
    }

    /// Takes what a recording says beside `agent.conf`.
    fn add(&self, elsewhere: Elsewhere) -> Result<()> {
        if self.elsewhere.borrow().contains_key(&elsewhere.elsewhere) {
            return Ok(());
        }
        let (decider, problems) = Decider::of(&self.text, Some(&elsewhere));
        let wrong = problems.iter().find(|p| p.severity == Severity::Error);
        match (decider, wrong) {
            (Some(decider), _) => {
                let mut known = self.elsewhere.borrow_mut();
                known.insert(elsewhere.elsewhere, decider);
                Ok(())
            }
            (None, Some(problem)) => bail!("{problem}"),
            (None, None) => bail!("the configuration cannot be used"),
        }
    }

    fn decide(&self, question: &Question) -> Result<Answer> {
        let plain = || {
            let plain = self.plain.as_ref();
            plain.ok_or_else(|| anyhow!("agent.conf cannot be used without the profile in AM"))
        };
        let Some(recorded) = &question.recorded else {
            return plain()?.decide(question);
        };
        if recorded.agent_conf != config::fingerprint(self.text.as_bytes()) {
            self.other_text.set(self.other_text.get() + 1);
        }
        match &recorded.elsewhere {
            None => plain()?.decide(question),
            Some(name) => match self.elsewhere.borrow().get(name) {
                Some(decider) => decider.decide(question),
                None => bail!("the line of the recording with \"elsewhere\":\"{name}\" is missing"),
            },
        }
    }
}

impl Decider {
    /// The text of `agent.conf`, compiled with what a recording says besides; and every mistake.
    fn of(text: &str, elsewhere: Option<&Elsewhere>) -> (Option<Decider>, Vec<Problem>) {
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

    fn decide(&self, question: &Question) -> Result<Answer> {
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
        Ok(Answer::of(
            question.id.clone(),
            &decision,
            &trace,
            &told.asked(),
            &req,
            &self.snap,
            &self.rules,
        ))
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

/// Reads a line without its end. `false`: it was longer than [`MAX_LINE`] and was skipped. A line is
/// never empty but at the end of the input: an empty one keeps its line end.
fn next_line(input: &mut impl BufRead, line: &mut Vec<u8>) -> Result<bool> {
    let limit = MAX_LINE as u64 + 1;
    input.by_ref().take(limit).read_until(b'\n', line)?;
    if line.len() <= MAX_LINE || line.ends_with(b"\n") {
        return Ok(true);
    }
    while !line.ends_with(b"\n") {
        line.clear();
        if input.by_ref().take(limit).read_until(b'\n', line)? == 0 {
            break;
        }
    }
    line.clear();
    Ok(false)
}

#[cfg(test)]
mod property_tests;
#[cfg(test)]
mod tests;

//! `agentadmin explain`: what did the agent do with this request, or what would it do, and why?
//!
//! The engine of the module decides, with the configuration of a file and with facts that the input
//! states. It asks no AM, reads no key and no password, and changes nothing. Keys are made up and the
//! time stands still, so that the same input always prints the same.

mod access_log;
mod answer;
pub(crate) mod check;
mod decider;
mod facts;
mod incident;
mod question;
mod recorded;
mod rules;
mod survey;

use std::{
    cell::{Cell, RefCell},
    collections::HashMap,
    fs::File,
    io::{self, BufRead, BufReader, Read, Write},
    path::{Path, PathBuf},
    process::ExitCode,
};

use anyhow::{Context, Result, anyhow, bail};
use clap::Args;
use portcullis_engine::config::{self, Repository, Severity};
use portcullis_runtime::Running;
use serde_json::json;

use access_log::Format;
use answer::{Answer, Failed, Skipped};
pub(crate) use decider::Decider;
use question::{Question, Unreadable};
use recorded::{Elsewhere, Head};
use survey::{Assumed, Survey, Verdict};

use crate::instance::{Instance, Written};

/// Longest line of input, bytes.
const MAX_LINE: usize = 1 << 20;
/// Exit code when lines were not answered.
const UNANSWERED: u8 = 3;
/// Exit code when requests change their outcome.
const CHANGED: u8 = 4;

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
  agentadmin explain 7Q2W0H5M3R9T1B4C
  echo '{"method":"GET","url":"https://www.example.com/docs/"}' |
      agentadmin explain --conf agent_1 --human
  agentadmin explain --conf agent.conf requests.jsonl > answers.jsonl
  agentadmin explain --conf agent_1 --access-log combined --as-user demo access.log
  agentadmin explain --conf agent_1 --against new.conf requests.jsonl

With an incident: what the web server that runs keeps of it, as root on its machine.

Exit code: 0 when the incident is known or every line was answered, 3 when some were not, 4 when --against finds
a request that changes its outcome, 1 when the configuration cannot be used or the input not be read."#;

/// Tell what the agent did with a request, or would do with one, and why
#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Options {
    /// The instance to decide with: its name or its agent.conf, no other file is needed; without it the
    /// only one there is
    #[arg(long, value_name = "AGENT")]
    conf: Option<PathBuf>,

    /// Of an incident and of counts, print JSON
    #[arg(long, conflicts_with = "human")]
    json: bool,

    /// Count what would become of the requests in an access log of httpd or nginx
    #[arg(long, value_name = "FORMAT", conflicts_with = "human")]
    access_log: Option<Format>,

    /// With --access-log: everybody is logged in as this user, and AM's policy allows everything
    #[arg(long, value_name = "NAME", requires = "access_log")]
    as_user: Option<String>,

    /// With --access-log: scheme, host and port of the requests, where the log lacks them
    #[arg(long, value_name = "URL", requires = "access_log")]
    url: Option<String>,

    /// Count which requests change their outcome with this other instance or agent.conf
    #[arg(long, value_name = "AGENT", conflicts_with = "human")]
    against: Option<PathBuf>,

    /// Print text: every rule in order, with hit, miss or not reached
    #[arg(long)]
    human: bool,

    /// The incident that a page or the log names; or a file with requests; standard input without it
    #[arg(value_name = "INCIDENT|INPUT")]
    input: Option<PathBuf>,
}

/// What a line of input is.
enum Line {
    Question(Box<Question>),
    /// It says what others were decided with.
    Elsewhere,
    Skipped(Skipped),
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

/// Tells of an incident, or answers every line of the input.
pub(crate) fn run(options: &Options) -> Result<ExitCode> {
    let named = options.input.as_deref().and_then(Path::to_str);
    let incident = named.filter(|text| incident::is_incident(text) && !Path::new(text).exists());
    if let Some(incident) = incident {
        let instances = Instance::some_or_all(options.conf.as_deref())?;
        return incident::tell(incident, &instances, options.json).map(|()| ExitCode::SUCCESS);
    }
    let instance = Instance::find(options.conf.as_deref())?;
    let decider = Deciders::read(&instance)?;
    let mut out = io::BufWriter::new(io::stdout().lock());
    let input: Box<dyn BufRead> = match &options.input {
        Some(path) => {
            let file = File::open(path).with_context(|| format!("{}", path.display()))?;
            Box::new(BufReader::new(file))
        }
        None => Box::new(io::stdin().lock()),
    };
    if options.access_log.is_some() || options.against.is_some() {
        return survey(options, &instance, &decider, input, &mut out);
    }
    let all = decider.answer_all(input, options.human, &mut out)?;
    out.flush()?;
    decider.notes();
    Ok(match all {
        true => ExitCode::SUCCESS,
        false => ExitCode::from(UNANSWERED),
    })
}

/// Counts what becomes of the input, or what would change.
fn survey(
    options: &Options,
    instance: &Instance,
    before: &Deciders,
    input: impl BufRead,
    out: &mut impl Write,
) -> Result<ExitCode> {
    let other = options.against.as_deref();
    let other = other.map(|other| Instance::find(Some(other))).transpose()?;
    let after = other.as_ref().map(Deciders::read).transpose()?;
    let assumed = match options.access_log {
        None => None,
        Some(format) => Some(assumed(options, instance, format)?),
    };
    let survey = Survey::new(before, after.as_ref(), assumed, options.json);
    let (all, same) = survey.run(input, out)?;
    out.flush()?;
    before.notes();
    Ok(match (all, same) {
        (false, _) => ExitCode::from(UNANSWERED),
        (true, false) => ExitCode::from(CHANGED),
        (true, true) => ExitCode::SUCCESS,
    })
}

/// The configuration of an instance that counts now, for other questions than about requests of an input.
///
/// # Errors
/// It cannot be used.
pub(crate) fn in_force(instance: &Instance) -> Result<Decider> {
    Deciders::in_force(instance)
}

/// What no access log says.
fn assumed(options: &Options, instance: &Instance, format: Format) -> Result<Assumed> {
    Ok(Assumed {
        format,
        base: base(options.url.as_deref(), instance)?,
        user: options.as_user.clone(),
        realm: instance.read()?.config.organization_name,
    })
}

/// Scheme, host and port of an instance, unless they are given.
pub(crate) fn base(given: Option<&str>, instance: &Instance) -> Result<String> {
    let registered = || instance.entry.as_ref().map(|e| e.agent.clone());
    let base = given.map(str::to_owned).or_else(registered);
    let base = base.or(instance.read()?.config.agenturi_prefix);
    let base = base.context("name scheme, host and port with --url")?;
    // Without a path: agenturi.prefix has one.
    let host = base.find("://").map_or(0, |at| at + 3);
    let end = base[host..].find('/').map_or(base.len(), |at| host + at);
    Ok(base[..end].to_owned())
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

    /// The configuration that counts now: with the profile of AM where a web server runs with it, else what
    /// the file says. Mistakes go to standard error.
    fn in_force(instance: &Instance) -> Result<Decider> {
        let Written { text, config, .. } = instance.read()?;
        let hosts = match config.repository {
            Repository::Centralized => Running::all(&instance.conf).unwrap_or_default(),
            Repository::Local => Vec::new(),
        };
        let published = hosts.iter().find_map(Running::published);
        let elsewhere = published.map(|(profile, name)| Elsewhere::published(profile, name));
        let (decider, problems) = Decider::of(&text, elsewhere.as_ref());
        problems.iter().for_each(|problem| eprintln!("{problem}"));
        if config.repository == Repository::Centralized && elsewhere.is_none() {
            eprintln!(
                "note: the profile in AM adds to this file, and no web server that runs with it can be looked into"
            );
        }
        decider.with_context(|| format!("{} cannot be used", instance.conf.display()))
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
        let question = match self.read_line(line)? {
            Line::Question(question) => question,
            Line::Elsewhere => return Ok(None),
            Line::Skipped(skipped) => {
                self.skipped.set(self.skipped.get() + 1);
                let text = match human {
                    true => {
                        let why = &skipped.not_replayable;
                        format!("recorded, not to be decided again: {why}\n")
                    }
                    false => json!(skipped).to_string(),
                };
                return Ok(Some(text));
            }
        };
        let wrong = |what: String| Unreadable {
            id: question.id.clone(),
            what,
        };
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

    /// What a line says; what belongs to others is kept for them.
    fn read_line(&self, line: &str) -> Result<Line, Unreadable> {
        let head = Head::read(line);
        if let Some(elsewhere) = head.elsewhere(line) {
            let added = elsewhere.and_then(|e| self.add(e));
            return added.map(|()| Line::Elsewhere).map_err(|error| Unreadable {
                id: head.id,
                what: error.to_string(),
            });
        }
        if let Some(why) = head.not_replayable() {
            return Ok(Line::Skipped(Skipped {
                id: head.id.clone(),
                not_replayable: why.to_owned(),
            }));
        }
        Ok(Line::Question(Box::new(Question::read(line)?)))
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
        self.with(question, |decider| decider.decide(question))
    }

    /// What becomes of a request, without how.
    fn verdict(&self, question: &Question) -> Result<Verdict> {
        self.with(question, |decider| decider.verdict(question))
    }

    /// The configuration that a request is to be decided with.
    fn with<T>(
        &self,
        question: &Question,
        decide: impl FnOnce(&Decider) -> Result<T>,
    ) -> Result<T> {
        let plain = || {
            let plain = self.plain.as_ref();
            plain.ok_or_else(|| anyhow!("agent.conf cannot be used without the profile in AM"))
        };
        let Some(recorded) = &question.recorded else {
            return decide(plain()?);
        };
        if recorded.agent_conf != config::fingerprint(self.text.as_bytes()) {
            self.other_text.set(self.other_text.get() + 1);
        }
        match &recorded.elsewhere {
            None => decide(plain()?),
            Some(name) => match self.elsewhere.borrow().get(name) {
                Some(decider) => decide(decider),
                None => bail!("the line of the recording with \"elsewhere\":\"{name}\" is missing"),
            },
        }
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
pub(crate) mod tests;

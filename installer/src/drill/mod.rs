//! `agentadmin drill am-down`: what would happen if AM went away now?
//!
//! The engine decides what visitors would ask for, with the configuration in force and with facts as they are
//! when AM does not answer; how long they last is read from the memory of the web server that runs. Nothing is
//! switched off: neither AM nor the web server notices.

mod advice;
mod stay;
mod visitors;
mod words;

use std::{path::PathBuf, process::ExitCode};

use anyhow::Result;
use clap::{Args, ValueEnum};
use portcullis_engine::config::Config;
use portcullis_runtime::{
    Remembered, Running,
    examine::{self, AtStart},
};
use serde_json::{Value, json};

use crate::{explain, instance::Instance};
use stay::Stay;
use visitors::Page;

/// Exit code when no web server runs with the instance.
const NOT_RUNNING: u8 = 3;

const EXAMPLES: &str = "\
Examples:
  agentadmin drill am-down agent_1
  agentadmin drill am-down agent_1 --url https://www.example.com:443/orders/ --json

Without --url it tries the first page of the host, or any page where that one is exempt, and one for each path
that has a portcullis.grace.max of its own. Run it as root: the key is needed to see whether what AM said last
can be used at a start.

Exit code: 0 when it could be said; 3 when no web server runs with the instance, or none that may be looked into,
so that it is only about the configuration; 1 when nothing can be said, as with repository.location = centralized
while no web server runs.";

/// Tell what would happen if AM went away now, without touching AM or the web server
#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Options {
    /// What is tried
    #[arg(value_name = "WHAT")]
    what: What,

    /// The instance: its name or its agent.conf; without it the only one there is
    #[arg(value_name = "AGENT")]
    agent: Option<PathBuf>,

    /// A page that visitors would ask for; may be given several times
    #[arg(long, value_name = "URL")]
    url: Vec<String>,

    /// Print JSON
    #[arg(long)]
    json: bool,
}

#[derive(Clone, Copy, ValueEnum)]
enum What {
    /// AM does not answer
    AmDown,
}

/// What a start of the web server without AM would begin with.
enum Start {
    /// The file says it all, or what AM said last does; or neither.
    Known(AtStart),
    /// Key or password cannot be read by whoever asks.
    Unreadable(String),
}

/// Everything that is told.
struct Drill {
    instance: String,
    config: Config,
    /// One entry for each web server.
    hosts: Vec<(Value, Remembered)>,
    pages: Vec<(Page, Stay)>,
    start: Start,
    /// As written, in order.
    exemptions: Vec<String>,
}

/// Prints what would happen.
pub(crate) fn run(options: &Options) -> Result<ExitCode> {
    let What::AmDown = options.what;
    let instance = Instance::find(options.agent.as_deref())?;
    let drill = Drill::of(&instance, &options.url)?;
    match options.json {
        true => println!("{}", drill.json()),
        false => print!("{}", drill.text()),
    }
    Ok(match drill.hosts.is_empty() {
        false => ExitCode::SUCCESS,
        true => ExitCode::from(NOT_RUNNING),
    })
}

impl Drill {
    fn of(instance: &Instance, urls: &[String]) -> Result<Drill> {
        let decider = explain::in_force(instance)?;
        let hosts = match Running::all(&instance.conf) {
            Ok(hosts) => hosts,
            Err(error) => {
                eprintln!("note: {error}");
                Vec::new()
            }
        };
        let hosts: Vec<_> = hosts
            .iter()
            .map(|host| (host.status(), host.remembered()))
            .collect();
        let urls = match urls.is_empty() {
            true => visitors::usual(&decider, &explain::base(None, instance)?)?,
            false => urls.to_vec(),
        };
        let mut pages = Vec::new();
        for url in &urls {
            let page = Page::of(&decider, url)?;
            let stay = Stay::of(&page, hosts.iter().map(|(_, remembered)| remembered));
            pages.push((page, stay));
        }
        Ok(Drill {
            instance: instance.called(),
            exemptions: decider.exemptions(),
            config: decider.config().clone(),
            start: Start::of(instance),
            hosts,
            pages,
        })
    }

    fn json(&self) -> Value {
        let hosts: Vec<Value> = self
            .hosts
            .iter()
            .map(|(status, known)| {
                json!({
                    "processes": status["host"]["parents"],
                    "away": status["am"]["away"],
                    "away_since": status["am"]["away_since"],
                    "notifications": status["notifications"]["connected"],
                    "sessions": stay::summary(&known.sessions),
                    "decisions": stay::summary(&known.decisions),
                })
            })
            .collect();
        let pages: Vec<Value> = self
            .pages
            .iter()
            .map(|(page, stay)| {
                let mut all = json!(page);
                all["stay"] = json!(stay);
                all
            })
            .collect();
        let change: Vec<Value> = advice::of(self)
            .into_iter()
            .map(|(property, says)| json!({ "property": property, "says": says }))
            .collect();
        json!({
            "instance": self.instance,
            "running": !self.hosts.is_empty(),
            "hosts": hosts,
            "strategy": self.config.strategy.word(),
            "pages": pages,
            "exemptions_that_go_on": match self.config.strategy.rules_count() {
                true => self.exemptions.as_slice(),
                false => &[],
            },
            "start": self.start.json(),
            "logged_in": words::logged_in(self),
            "new": words::new(self),
            "after_restart": words::after_restart(self),
            "change": change,
        })
    }

    fn text(&self) -> String {
        let mut out = format!("If AM went away now, for {}:\n", self.instance);
        let change = advice::of(self)
            .into_iter()
            .map(|(property, says)| format!("{property}: {says}"))
            .collect();
        for (title, lines) in [
            ("now", words::now(self)),
            ("for users who are logged in", words::logged_in(self)),
            ("for new users", words::new(self)),
            ("after a restart of the server", words::after_restart(self)),
            ("what to change", change),
        ] {
            out.push_str(&format!("\n{title}\n"));
            lines
                .iter()
                .for_each(|line| out.push_str(&format!("  {line}\n")));
        }
        out
    }

    /// Whether some host knows already that AM is away, and since when.
    fn away_since(&self) -> Option<&str> {
        let mut since = self
            .hosts
            .iter()
            .map(|(status, _)| &status["am"]["away_since"]);
        since.find_map(Value::as_str)
    }

    /// Whether AM tells every host of changes.
    fn is_told(&self) -> bool {
        let told = |(status, _): &(Value, Remembered)| status["notifications"]["connected"] == true;
        self.hosts.iter().all(told)
    }
}

impl Start {
    fn of(instance: &Instance) -> Start {
        let (start, problems) = examine::read(&instance.conf);
        match start {
            Some(start) => Start::Known(examine::at_start(&instance.conf, &start)),
            None => {
                let first = problems.first().map(ToString::to_string);
                Start::Unreadable(first.unwrap_or_default())
            }
        }
    }

    /// `configuration` says with what the server would begin: `agent.conf`, what AM said last, or nothing.
    fn json(&self) -> Value {
        match self {
            Start::Unreadable(why) => json!({ "configuration": "unknown", "why": why }),
            Start::Known(AtStart::NotNeeded) => json!({ "configuration": "agent.conf" }),
            Start::Known(AtStart::Counts {
                file,
                given,
                age,
                left,
            }) => json!({
                "configuration": "last-known-good",
                "file": file,
                "given": given,
                "age_ms": age,
                "left_ms": left,
            }),
            Start::Known(AtStart::NotKept) => {
                json!({ "configuration": "none", "why": "it is not kept" })
            }
            Start::Known(AtStart::Nothing(file)) => {
                json!({ "configuration": "none", "file": file, "why": "nothing is in the file" })
            }
            Start::Known(AtStart::Unusable(file, why)) => {
                json!({ "configuration": "none", "file": file, "why": why })
            }
        }
    }

    /// Whether the server would have a configuration; `None` where that cannot be said.
    fn is_configured(&self) -> Option<bool> {
        match self {
            Start::Unreadable(_) => None,
            Start::Known(known) => {
                Some(matches!(known, AtStart::NotNeeded | AtStart::Counts { .. }))
            }
        }
    }
}

#[cfg(test)]
mod tests;

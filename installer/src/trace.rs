//! `agentadmin trace`: what became of requests that a running web server refused, sent elsewhere or could not
//! answer?
//!
//! Reads the server's shared memory and writes nothing there. The web server need not answer.

use std::{
    io::{self, Write},
    path::PathBuf,
    process::ExitCode,
};

use anyhow::{Result, bail};
use clap::Args;
use portcullis_engine::contract::Incident;
use serde_json::Value;

use crate::instance::Instance;

const EXAMPLES: &str = "\
Examples:
  agentadmin trace 7Q2W0H5M3R9T1B4C
  agentadmin trace --last 20 --json

Exit code: 0 when it could be read; 1 when nothing is kept of that incident, or no web server runs.";

/// Show why a running web server refused requests, by the incident that its page names
#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Options {
    /// The instance: its name or its agent.conf; without it the only one there is
    #[arg(long, value_name = "AGENT")]
    conf: Option<PathBuf>,

    /// The last so many
    #[arg(long, value_name = "N", required_unless_present = "incident")]
    last: Option<usize>,

    /// Print JSON, one object a line
    #[arg(long)]
    json: bool,

    /// The incident on the page or in the log; without its mark it does, too
    #[arg(value_name = "INCIDENT", conflicts_with = "last")]
    incident: Option<String>,
}

/// Prints what is kept.
pub(crate) fn run(options: &Options) -> Result<ExitCode> {
    let instance = Instance::find(options.conf.as_deref())?;
    let mut traces = portcullis_runtime::traces(&instance.conf)?;
    match (&options.incident, options.last) {
        (Some(incident), _) => {
            let (number, mark) = Incident::read(incident);
            traces.retain(|trace| {
                let known = trace["incident"].as_str().unwrap_or_default();
                Incident::read(known).0 == number
            });
            if traces.is_empty() {
                bail!(unknown(&instance, &number, &mark)?);
            }
        }
        (None, last) => {
            let surplus = traces.len().saturating_sub(last.unwrap_or_default());
            traces.drain(..surplus);
        }
    }
    let mut out = io::stdout().lock();
    for trace in &traces {
        match options.json {
            true => writeln!(out, "{trace}")?,
            false => writeln!(out, "{}", text(trace))?,
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// Why an incident is not among the traces, and where to look besides.
pub(crate) fn unknown(instance: &Instance, number: &str, mark: &str) -> Result<String> {
    let here = portcullis_runtime::node_mark(&instance.conf)?;
    if mark.is_empty() || mark == here.text() {
        let log = instance.read().ok().and_then(|w| w.config.local_logfile);
        let command = log.map_or_else(String::new, |log| format!(": grep {number} {log}*"));
        return Ok(format!(
            "incident {number} is not kept (any more); look for it in the log{command}"
        ));
    }
    Ok(format!(
        "incident {number}-{mark} is of the node or instance with the mark {mark}; this one has {}. Ask there: \
         /agent/health shows the mark of each",
        here.text()
    ))
}

/// One trace for people: what happened first, then every other part on a line of its own.
fn text(trace: &Value) -> String {
    let part = |name: &str| match &trace[name] {
        Value::String(text) => text.clone(),
        Value::Null => "-".to_owned(),
        other => other.to_string(),
    };
    let mut text = format!(
        "{} {} {} {} {} {} {}",
        part("time"),
        part("incident"),
        part("code"),
        part("outcome"),
        part("status"),
        part("method"),
        part("url"),
    );
    for (name, label) in [
        ("rule", "rule"),
        ("detail", "detail"),
        ("client", "client"),
        ("age_ms", "age of AM's answer, ms"),
        ("configuration", "configuration"),
    ] {
        if !trace[name].is_null() {
            text.push_str(&format!("\n    {label}: {}", part(name)));
        }
    }
    text
}

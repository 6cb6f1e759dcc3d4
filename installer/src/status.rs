//! `agentadmin status`: how are the instances, and the web servers that run with them?
//!
//! Reads shared memory, `/proc` and agent.conf. It asks neither the web server nor AM, so that it never waits.

use std::{fmt::Write, path::PathBuf, process::ExitCode};

use anyhow::Result;
use clap::Args;
use portcullis_engine::config;
use portcullis_runtime::{Running, Unread};
use serde_json::{Value, json};

use crate::instance::{Instance, Written};

/// Exit code when an instance does not run, or cannot decide.
const NOT_WELL: u8 = 3;

const EXAMPLES: &str = "\
Examples:
  agentadmin status
  agentadmin status agent_1 --json

Exit code: 0 when every instance asked about runs and has a configuration and a leader; 3 when one does not;
1 when nothing can be said. AM being away is told and is no error.";

/// Show instances, web servers, AM, caches and configuration, from shared memory only
#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Options {
    /// The instance: its name or its agent.conf; without it all there are
    #[arg(value_name = "AGENT")]
    agent: Option<PathBuf>,

    /// Print JSON, one object for each instance
    #[arg(long)]
    json: bool,
}

/// Prints how they are.
pub(crate) fn run(options: &Options) -> Result<ExitCode> {
    let mut well = true;
    for instance in Instance::some_or_all(options.agent.as_deref())? {
        let (status, good) = of(&instance);
        well &= good;
        match options.json {
            true => println!("{status}"),
            false => print!("{}", text(&status)),
        }
    }
    Ok(match well {
        true => ExitCode::SUCCESS,
        false => ExitCode::from(NOT_WELL),
    })
}

/// How one instance is, and whether that is well.
fn of(instance: &Instance) -> (Value, bool) {
    let written = instance.read();
    let mut status = json!({
        "instance": instance.called(),
        "agent_conf": instance.conf,
        "server": instance.entry.as_ref().map(|e| e.kind.name()),
        "server_conf": instance.entry.as_ref().map(|e| &e.conf),
        "fingerprint": written.as_ref().ok().map(|w| config::fingerprint(w.text.as_bytes())),
        "trouble": written.as_ref().err().map(|e| format!("{e:#}")),
        "hosts": [],
    });
    let hosts = match Running::all(&instance.conf) {
        Ok(hosts) => hosts,
        Err(error) => {
            let remedy = match &error {
                Unread::NotRunning => ": start it, or look as the user that started it",
                _ => "",
            };
            if status["trouble"].is_null() {
                status["trouble"] = json!(format!("{error}{remedy}"));
            }
            return (status, false);
        }
    };
    let mut all: Vec<Value> = hosts.iter().map(Running::status).collect();
    if let Ok(written) = &written {
        all.iter_mut().for_each(|host| name_address(host, written));
    }
    let central = written
        .as_ref()
        .is_ok_and(|w| w.config.repository == config::Repository::Centralized);
    let well = all.iter().all(|host| is_well(host, central));
    status["hosts"] = json!(all);
    (status, well)
}

/// Puts the address in place of its number.
fn name_address(host: &mut Value, written: &Written) {
    let number = host["am"]["address_in_use"].as_u64();
    let address = number
        .and_then(|at| usize::try_from(at).ok())
        .and_then(|at| written.config.naming_url.get(at));
    host["am"]["address_in_use"] = json!(address);
}

fn is_well(host: &Value, central: bool) -> bool {
    let workers = host["host"]["workers"].as_array().map_or(0, Vec::len);
    let configured = host["configuration"]["profile"] == true || !central;
    workers > 0 && configured && !host["leader"].is_null()
}

/// For people.
fn text(status: &Value) -> String {
    let mut out = format!("{}\n", shown(&status["instance"]));
    line(&mut out, "agent.conf", &shown(&status["agent_conf"]));
    if !status["server"].is_null() {
        let (server, conf) = (shown(&status["server"]), shown(&status["server_conf"]));
        line(&mut out, "web server", &format!("{server}, {conf}"));
    }
    if !status["trouble"].is_null() {
        line(&mut out, "trouble", &shown(&status["trouble"]));
    }
    for host in status["hosts"].as_array().into_iter().flatten() {
        out.push_str(&host_text(host));
    }
    out
}

fn host_text(status: &Value) -> String {
    let mut out = String::new();
    let (host, am, cache) = (&status["host"], &status["am"], &status["cache"]);
    let replaced = match host["module_replaced"] == true {
        true => " (the file was replaced since: stop and start the web server)",
        false => "",
    };
    let (pids, module) = (list(&host["parents"]), shown(&host["module"]));
    let version = shown(&host["version"]);
    line(
        &mut out,
        "host",
        &format!("process {pids}, version {version}, {module}{replaced}"),
    );
    let workers = host["workers"].as_array().map_or(0, Vec::len);
    let (waiting, calls) = (shown(&host["waiting"]), shown(&host["am_calls_in_flight"]));
    let processes = list(&host["workers"]);
    line(
        &mut out,
        "workers",
        &format!("{workers} ({processes}); {waiting} requests wait, {calls} calls to AM under way"),
    );
    let leader = &status["leader"];
    let leads = match leader.is_null() {
        true => "none: no worker speaks for the instance".to_owned(),
        false => format!(
            "process {} since {}, term {}",
            shown(&leader["pid"]),
            shown(&leader["since"]),
            shown(&leader["term"])
        ),
    };
    line(&mut out, "leader", &leads);
    out.push_str(&am_text(am, &status["notifications"]));
    out.push_str(&configuration_text(&status["configuration"]));
    let closer = &status["debug"];
    if !closer.is_null() {
        let (address, until) = (shown(&closer["address"]), shown(&closer["until"]));
        line(
            &mut out,
            "debug",
            &format!("more is written of the requests of {address} until {until}"),
        );
    }
    for (table, facts) in [("sessions", "session"), ("decisions", "policy")] {
        let lookups = &cache[format!("{facts}_lookups")];
        let (used, slots) = (shown(&cache[table]["used"]), shown(&cache[table]["slots"]));
        let (hits, misses) = (shown(&lookups["hits"]), shown(&lookups["misses"]));
        line(
            &mut out,
            table,
            &format!("about {used} of {slots} places (of the host); {hits} found, {misses} asked"),
        );
    }
    out
}

fn am_text(am: &Value, notifications: &Value) -> String {
    let mut out = String::new();
    let state = match am["away"] == true {
        true => format!("AWAY since {} (breaker open)", shown(&am["away_since"])),
        false => "not known to be away".to_owned(),
    };
    let (address, contact) = (shown(&am["address_in_use"]), shown(&am["last_contact"]));
    line(
        &mut out,
        "AM",
        &format!("{state}; {address}; last answer to the leader {contact}"),
    );
    let session = match am["agent_session"] == true {
        true => "there",
        false => "none",
    };
    line(&mut out, "agent session", session);
    let error = &am["last_error"];
    if !error.is_null() {
        let (code, what, at) = (
            shown(&error["code"]),
            shown(&error["text"]),
            shown(&error["at"]),
        );
        line(&mut out, "last error", &format!("{code} {what}, {at}"));
        line(&mut out, "remedy", &shown(&error["remedy"]));
    }
    let told = match notifications["connected"] == true {
        true => format!("connected since {}", shown(&notifications["since"])),
        false => "not connected: changes in AM count when cached answers end".to_owned(),
    };
    let last = shown(&notifications["last"]);
    line(
        &mut out,
        "socket",
        &format!("{told}; last notification {last}"),
    );
    out
}

fn configuration_text(configuration: &Value) -> String {
    let mut out = String::new();
    let version = shown(&configuration["version"]);
    let read = match configuration["profile"] == true {
        true => format!("profile read {}", shown(&configuration["profile_read_at"])),
        false => "no profile".to_owned(),
    };
    let reloaded = match configuration["agent_conf_reloaded_at"].as_str() {
        Some(at) => format!("; agent.conf read anew {at}"),
        None => String::new(),
    };
    let kept = match configuration["from_before_the_start"].as_str() {
        Some(at) => format!("; AM gave it {at}, before the start"),
        None => String::new(),
    };
    line(
        &mut out,
        "configuration",
        &format!("version {version}, {read}{reloaded}{kept}"),
    );
    out
}

fn line(out: &mut String, name: &str, text: &str) {
    let _ = writeln!(out, "  {name:14} {text}");
}

fn shown(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Null => "-".to_owned(),
        other => other.to_string(),
    }
}

fn list(values: &Value) -> String {
    let all = values.as_array().into_iter().flatten().map(shown);
    all.collect::<Vec<_>>().join(", ")
}

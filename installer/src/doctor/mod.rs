//! `agentadmin doctor` and `agentadmin --V`: what is wrong with this installation, and what mends it?
//!
//! One list of checks, shown in two ways. Each asks with the module's own code, so that what it finds is what
//! the module meets. Changes nothing but sessions that it begins at AM itself, and writes one log.

mod agent;
mod bundle;
mod bypass;
mod certificates;
mod check;
mod curl;
mod exposure;
mod files;
mod host;
mod log;
mod notifications;
mod patient;
mod policy;
mod route;
mod running;
mod table;
mod vendor;
mod workers;

use std::{path::PathBuf, process::ExitCode, time::Duration};

use anyhow::{Result, bail};
use clap::Args;
use serde_json::{Value, json};

use crate::{instance::Instance, secrets};
use check::{Check, Finding, Vendor, Verdict};
use patient::{Patient, User, Wish};
use table::CHECKS;

pub(crate) use vendor::validate;

/// Exit code when a check is not ok.
const NOT_WELL: u8 = 3;

const EXAMPLES: &str = "\
Examples:
  agentadmin doctor agent_1
  agentadmin doctor agent_1 --json | jq '.checks[] | select(.verdict == \"not ok\")'
  agentadmin doctor agent_1 --user demo --password-file /etc/demo.password --realm /
  agentadmin doctor /opt/portcullis/instances/agent_1/config/agent.conf --verbose
  agentadmin doctor agent_2 --key 0123456789abcdef
  agentadmin doctor agent_1 --bundle /root/agent_1.json
  agentadmin doctor agent_1 --bundle /root/agent_1.json --no-logs

Asks AM as the module does: the agent is logged in and out, and nothing is changed. Run it as the user that
starts the web server; docs/doctor.md has every check. Every exchange, without its secrets, is in
logs/validate_*.log of the instance.

Exit code: 0 when no check is not ok, 3 when one is, 1 when the instance cannot be examined.";

/// Find out what is wrong with an installation, and what mends it
#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Options {
    /// The instance: its name or its agent.conf; the only one without it
    #[arg(value_name = "AGENT")]
    instance: Option<PathBuf>,

    /// Print JSON
    #[arg(long)]
    json: bool,

    /// Print evidence and the command for a shell of every check, not only of those that are not ok
    #[arg(long, conflicts_with = "json")]
    verbose: bool,

    /// A user whose session is looked at, logged in and out for it
    #[arg(long, value_name = "NAME", requires = "password_file")]
    user: Option<String>,

    /// File with the user's password
    #[arg(long, value_name = "FILE", requires = "user")]
    password_file: Option<PathBuf>,

    /// The user's realm
    #[arg(long, default_value = "/")]
    realm: String,

    /// Print all checks, with what they ask and what to look at, and examine nothing
    #[arg(long)]
    list: bool,

    /// Fingerprint of the farm's key, as doctor prints it on another node
    #[arg(long, value_name = "FINGERPRINT")]
    key: Option<String>,

    /// File with what `nginx -T` prints; without it nginx is asked
    #[arg(long, value_name = "FILE")]
    nginx_dump: Option<PathBuf>,

    /// Start a worker and end it, too; no web server may run with the instance
    #[arg(long)]
    worker: bool,

    /// Write what was found and which properties are set to a new file, for somebody who helps: no secret
    /// is in it, and users are digests
    #[arg(long, value_name = "FILE")]
    bundle: Option<PathBuf>,

    /// Write no validate_*.log: what was asked and answered is not kept on this machine
    #[arg(long)]
    no_logs: bool,
}

/// A check and what it found.
struct Examined {
    check: &'static Check,
    finding: Finding,
}

/// Examines an instance and prints what was found.
pub(crate) fn run(options: &Options) -> Result<ExitCode> {
    if options.list {
        print!("{}", table::documentation());
        return Ok(ExitCode::SUCCESS);
    }
    let user = match (&options.user, &options.password_file) {
        (Some(name), Some(file)) => Some(User {
            name: name.clone(),
            password: secrets::read_password(file)?,
            realm: options.realm.clone(),
        }),
        _ => None,
    };
    let wish = Wish {
        instance: Instance::find(options.instance.as_deref())?,
        user,
        key: options.key.clone(),
        worker: options.worker,
        nginx_dump: options.nginx_dump.clone(),
        patience: patience()?,
    };
    let mut patient = Patient::new(wish)?;
    let shown = !options.json;
    let found = examine(
        &mut patient,
        |_| true,
        |one| {
            if shown {
                print(one, options.verbose);
            }
        },
    );
    let log = match options.no_logs {
        true => Ok(None),
        false => log::write(&patient, &found).map(Some),
    };
    let code = match found.iter().any(|r| r.finding.verdict == Verdict::NotOk) {
        true => ExitCode::from(NOT_WELL),
        false => ExitCode::SUCCESS,
    };
    let report = as_json(&patient, &found, log.as_ref().ok().and_then(Option::as_ref));
    match options.json {
        true => println!("{report}"),
        false => summary(&found, &log),
    }
    if let Some(path) = &options.bundle {
        bundle::write(path, &patient, &report)?;
    }
    Ok(code)
}

/// How long one question to AM may take: `AM_NET_TIMEOUT`.
fn patience() -> Result<Duration> {
    let text = std::env::var("AM_NET_TIMEOUT").ok();
    Ok(Duration::from_secs(crate::validate::seconds(
        text.as_deref(),
    )?))
}

/// Runs the checks that are wanted, and tells of each when it is done.
fn examine(
    patient: &mut Patient,
    wanted: impl Fn(&Check) -> bool,
    mut tell: impl FnMut(&Examined),
) -> Vec<Examined> {
    let mut found: Vec<Examined> = Vec::new();
    for check in CHECKS.iter().filter(|check| wanted(check)) {
        let closed = check.needs.iter().find(|need| {
            let earlier = found.iter().find(|r| r.check.id == **need);
            !earlier.is_some_and(|r| r.finding.open)
        });
        let finding = match closed {
            Some(need) => Finding::skipped(format!("{need} has to be ok first")),
            None => (check.run)(patient),
        };
        let one = Examined { check, finding };
        tell(&one);
        found.push(one);
    }
    patient.dismiss();
    found
}

fn print(one: &Examined, verbose: bool) {
    let Examined { check, finding } = one;
    let first = finding.evidence.first().map_or("", String::as_str);
    println!("{:<24} {:<8} {first}", check.id, finding.verdict.words());
    if finding.verdict != Verdict::NotOk && !verbose {
        return;
    }
    for more in finding.evidence.iter().skip(1) {
        println!("    {more}");
    }
    if let Some(remedy) = &finding.remedy {
        println!("    remedy: {remedy}");
    }
    if let Some(curl) = &finding.curl {
        println!("    by hand: {curl}");
    }
}

fn counts(found: &[Examined]) -> (usize, usize, usize) {
    let of = |verdict| {
        found
            .iter()
            .filter(|r| r.finding.verdict == verdict)
            .count()
    };
    (of(Verdict::Ok), of(Verdict::NotOk), of(Verdict::Skipped))
}

fn summary(found: &[Examined], log: &Result<Option<PathBuf>>) {
    let (ok, not_ok, skipped) = counts(found);
    println!("{ok} ok, {not_ok} not ok, {skipped} skipped");
    match log {
        Ok(None) => {}
        Ok(Some(path)) => println!("every exchange is in {}", path.display()),
        Err(error) => eprintln!("no log was written: {error:#}"),
    }
}

fn as_json(patient: &Patient, found: &[Examined], log: Option<&PathBuf>) -> Value {
    let (ok, not_ok, skipped) = counts(found);
    let checks: Vec<Value> = found
        .iter()
        .map(|Examined { check, finding }| {
            json!({
                "id": check.id,
                "vendor": check.vendor.map(Vendor::name),
                "question": check.question,
                "verdict": finding.verdict.words(),
                "evidence": finding.evidence,
                "remedy": finding.remedy,
                "curl": finding.curl,
            })
        })
        .collect();
    json!({
        "instance": patient.wish.instance.called(),
        "ok": ok,
        "not_ok": not_ok,
        "skipped": skipped,
        "log": log,
        "checks": checks,
    })
}

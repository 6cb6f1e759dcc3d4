//! Does `agentadmin explain` say of every request of a test what the server did? Every site records
//! its requests; when a test stops its server they are decided again, by the tool that is shipped.
//!
//! A request that cannot be decided again has to say so and why, and only for the few reasons below.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    io::Write,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
};

use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::modules;

/// Why a request may not be decided again.
const REASONS: [&str; 8] = [
    "a page of the agent's numbers: its password is not written down",
    "a kept POST: what names it is not written down",
    "the answer to a login: its state and its ID token are not written down",
    "the session ended while the request waited",
    "there was no configuration",
    "the request is no text",
    "the request is longer than a line may be",
    "what the browser remembers of a step-up is not written down",
];

/// What was found in the recordings of a server.
#[derive(Debug, Default)]
pub struct Replayed {
    /// Requests that were decided again, with the same answer.
    pub same: usize,
    /// Requests that cannot be, by reason.
    pub not: BTreeMap<String, usize>,
    /// Lines that a worker was killed in the middle of.
    pub torn: usize,
}

/// Where an instance writes its requests down.
pub fn file(instance: &Path) -> PathBuf {
    instance.join("logs/requests.jsonl")
}

/// Keeps a copy of every `agent.conf` below `agents`: requests are recorded under a text of it.
pub(crate) fn keep(agents: &Path) {
    for instance in instances(agents) {
        if let Ok(text) = fs::read(instance.join("config/agent.conf")) {
            let kept = agents.join("kept");
            fs::create_dir_all(&kept).expect("folder");
            fs::write(kept.join(fingerprint(&text)), text).expect("copy");
        }
    }
}

fn instances(agents: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(agents.join("instances")).into_iter().flatten();
    entries.flatten().map(|entry| entry.path()).collect()
}

fn fingerprint(text: &[u8]) -> String {
    let digest = Sha256::digest(text);
    digest[..8].iter().map(|b| format!("{b:02x}")).collect()
}

/// Decides all recorded requests again. Each of so many killed workers may have left a part of a line, with the
/// next worker's line behind it.
///
/// # Panics
/// When `explain` says something else than the server did, a request says of no good reason that it
/// cannot be decided again, or more lines cannot be read.
pub fn replay(agents: &Path, killed: usize) -> Replayed {
    keep(agents);
    let mut found = Replayed::default();
    for instance in instances(agents) {
        let Ok(text) = fs::read_to_string(file(&instance)) else {
            continue;
        };
        let parsed = text
            .lines()
            .filter_map(|line| match serde_json::from_str::<Value>(line) {
                Ok(value) => Some((line, value)),
                Err(error) => {
                    found.torn += 1;
                    assert!(found.torn <= killed, "{error}: {line}");
                    None
                }
            });
        let (requests, others): (Vec<_>, Vec<_>) =
            parsed.partition(|(_, value)| value.get("recorded").is_some());
        let mut by_conf: BTreeMap<&str, Vec<&(&str, Value)>> = BTreeMap::new();
        for request in &requests {
            let recorded = &request.1["recorded"];
            match recorded["not_replayable"].as_str() {
                Some(why) => {
                    assert!(REASONS.contains(&why), "{why}: {}", request.0);
                    *found.not.entry(why.to_owned()).or_default() += 1;
                }
                None => {
                    let conf = recorded["agent_conf"].as_str().expect("agent_conf");
                    by_conf.entry(conf).or_default().push(request);
                }
            }
        }
        let others: String = others.iter().map(|(line, _)| format!("{line}\n")).collect();
        for (conf, requests) in by_conf {
            found.same += compare(&agents.join("kept").join(conf), &others, &requests);
        }
    }
    found
}

/// Decides requests again that were recorded under one text of `agent.conf`.
fn compare(conf: &Path, others: &str, requests: &[&(&str, Value)]) -> usize {
    assert!(conf.exists(), "nobody kept {}", conf.display());
    let lines = requests.iter().map(|(line, _)| format!("{line}\n"));
    let output = explain(conf, &(others.to_owned() + &lines.collect::<String>()));
    let said = String::from_utf8_lossy(&output.stdout);
    let answers: Vec<Value> = said
        .lines()
        .map(|line| serde_json::from_str(line).expect("JSON"))
        .collect();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert_eq!(answers.len(), requests.len(), "{errors}\n{said}");
    for ((line, request), answer) in requests.iter().zip(&answers) {
        if let Some(difference) = difference(&request["recorded"], answer) {
            panic!("{difference} differs\nrecorded: {line}\nexplained: {answer}\n{errors}");
        }
    }
    answers.len()
}

/// What `explain` says otherwise than the server did.
fn difference(recorded: &Value, answer: &Value) -> Option<&'static str> {
    let plain = [
        "outcome",
        "status",
        "reason",
        "user",
        "removed_request_headers",
    ];
    let other = plain.into_iter().find(|key| recorded[key] != answer[key]);
    // The value of a rule may be a secret, and is not recorded.
    let rule = recorded["rule"].as_str().is_some_and(|rule| {
        let matched = answer["matched"].as_str().unwrap_or_default();
        !matched.starts_with(&format!("{rule}="))
    });
    let names = |of: &Value| -> BTreeSet<String> {
        let entries = of.as_array().into_iter().flatten();
        let name = |e: &Value| e.as_str().or_else(|| e[0].as_str()).map(str::to_owned);
        entries.filter_map(name).collect()
    };
    let headers = ["set_request_headers", "response_headers"];
    let headers = headers
        .into_iter()
        .find(|key| names(&recorded[key]) != names(&answer[key]));
    other.or(rule.then_some("the rule")).or(headers)
}

fn explain(conf: &Path, input: &str) -> Output {
    let mut file = tempfile::NamedTempFile::new().expect("file");
    file.write_all(input.as_bytes()).expect("file");
    let mut command = Command::new(modules::agentadmin());
    command
        .args(["explain", "--conf"])
        .arg(conf)
        .arg(file.path());
    command.stdin(Stdio::null()).output().expect("agentadmin")
}

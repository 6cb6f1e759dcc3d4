//! What does a running web server remember of one incident, in words?
//!
//! `trace` prints the same as it is kept. Must not decide anything: what decided stands in the trace, and what
//! its code means in the engine's table.

use std::fmt::Write;

use anyhow::{Result, bail};
use portcullis_engine::{config, contract::Incident, event::Code};
use serde_json::{Value, json};

use crate::{
    instance::{Instance, Written},
    trace,
};

/// Letters of an incident's number, and of the mark of its node.
const LENGTHS: (usize, usize) = (16, 4);

/// Whether a text has the form of an incident.
pub(super) fn is_incident(text: &str) -> bool {
    let (number, mark) = Incident::read(text);
    let all = number.bytes().chain(mark.bytes());
    number.len() == LENGTHS.0
        && (mark.is_empty() || mark.len() == LENGTHS.1)
        && all.into_iter().all(|b| b.is_ascii_alphanumeric())
}

/// Prints what is kept of an incident by one of the instances.
///
/// # Errors
/// None of them has it; says where to look besides.
pub(super) fn tell(incident: &str, instances: &[Instance], as_json: bool) -> Result<()> {
    let (number, mark) = Incident::read(incident);
    let mut searched = Vec::new();
    for instance in instances {
        let traces = match portcullis_runtime::traces(&instance.conf) {
            Ok(traces) => traces,
            Err(error) => {
                searched.push(format!("{}: {error}", instance.called()));
                continue;
            }
        };
        let mut named = traces
            .iter()
            .filter(|trace| Incident::read(text_of(trace, "incident")).0 == number);
        match named.next() {
            Some(trace) => {
                let told = Told::of(trace, instance);
                match as_json {
                    true => println!("{}", told.json()),
                    false => print!("{}", told.text()),
                }
                return Ok(());
            }
            None => {
                let why = trace::unknown(instance, &number, &mark);
                let why = why.unwrap_or_else(|error| error.to_string());
                searched.push(format!("{}: {why}", instance.called()));
            }
        }
    }
    bail!("{}", searched.join("\n"))
}

fn text_of<'t>(trace: &'t Value, name: &str) -> &'t str {
    trace[name].as_str().unwrap_or_default()
}

/// An incident, and what is known about its parts.
struct Told<'t> {
    trace: &'t Value,
    code: Option<Code>,
    /// The rule with its value, where the file still is the one that decided.
    rule: Option<String>,
    /// Whether `agent.conf` is the text that decided.
    same_text: Option<bool>,
    log: Option<String>,
    called: String,
}

impl<'t> Told<'t> {
    fn of(trace: &'t Value, instance: &Instance) -> Told<'t> {
        let number = |code: &&Code| format!("PCL{:04}", code.number()) == text_of(trace, "code");
        let written = instance.read().ok();
        let decided_by = trace["configuration"]["agent_conf"].as_str();
        let same_text = written
            .as_ref()
            .zip(decided_by)
            .map(|(written, name)| config::fingerprint(written.text.as_bytes()) == name);
        let rule = trace["rule"].as_str().map(|name| {
            let value = written.as_ref().filter(|_| same_text == Some(true));
            value
                .and_then(|written| value_of(written, name))
                .map_or_else(|| name.to_owned(), |value| format!("{name} = {value}"))
        });
        Told {
            trace,
            code: Code::ALL.iter().find(number).copied(),
            rule,
            same_text,
            log: written.and_then(|written| written.config.local_logfile.clone()),
            called: instance.called(),
        }
    }

    /// What to type to see every rule that was looked at.
    fn again(&self) -> String {
        let request = json!({
            "method": self.trace["method"],
            "url": self.trace["url"],
            "client_ip": self.trace["client"],
        });
        let quoted = request.to_string().replace('\'', r"'\''");
        format!(
            "echo '{quoted}' | agentadmin explain --conf {} --human",
            self.called
        )
    }

    fn next(&self) -> Vec<String> {
        let mut next = Vec::new();
        if let Some(log) = &self.log {
            next.push(format!("grep {} {log}*", text_of(self.trace, "incident")));
        }
        // An address that was never known is none that explain takes.
        if self.trace["client"]
            .as_str()
            .is_some_and(|c| c.parse::<std::net::IpAddr>().is_ok())
        {
            next.push(self.again());
        }
        next.push(format!("agentadmin status {}", self.called));
        next
    }

    fn json(&self) -> Value {
        let mut all = self.trace.clone();
        if let (Some(code), Some(all)) = (self.code, all.as_object_mut()) {
            let row = code.row();
            all.insert("text".into(), row.text.into());
            all.insert("cause".into(), row.cause.into());
            all.insert("remedy".into(), row.remedy.into());
            all.insert("agent_conf_unchanged".into(), json!(self.same_text));
            all.insert("next".into(), json!(self.next()));
        }
        all
    }

    fn text(&self) -> String {
        let part = |name| text_of(self.trace, name);
        let mut out = format!("Incident {}, {}\n", part("incident"), part("time"));
        let _ = writeln!(out, "  {} {}", part("method"), part("url"));
        let _ = writeln!(out, "  from {}", part("client"));
        let _ = write!(out, "  became {}", part("outcome"));
        if let Some(status) = self.trace["status"].as_u64() {
            let _ = write!(out, " {status}");
        }
        let _ = writeln!(
            out,
            ": {} {}",
            part("code"),
            self.code.map_or("", |c| c.row().text)
        );
        if let Some(row) = self.code.map(Code::row) {
            let _ = writeln!(out, "    cause:   {}", row.cause);
            let _ = writeln!(out, "    remedy:  {}", row.remedy);
        }
        if let Some(rule) = &self.rule {
            let _ = writeln!(out, "    because: {rule}");
        }
        if !part("detail").is_empty() {
            let _ = writeln!(out, "    detail:  {}", part("detail"));
        }
        if let Some(age) = self.trace["age_ms"].as_u64() {
            let _ = writeln!(out, "    AM's oldest answer that counted was {age} ms old");
        }
        out.push_str(&self.configuration());
        out.push_str("  next:\n");
        for command in self.next() {
            let _ = writeln!(out, "    {command}");
        }
        out
    }

    fn configuration(&self) -> String {
        let version = &self.trace["configuration"];
        let mut out = format!(
            "  decided with agent.conf {}",
            text_of(version, "agent_conf")
        );
        if let Some(since) = version["since"].as_str() {
            let _ = write!(out, ", in force since {since}");
        }
        if let Some(profile @ 1..) = version["profile"].as_u64() {
            let _ = write!(out, ", configuration version {profile}");
        }
        let _ = writeln!(
            out,
            "\n    {}",
            match self.same_text {
                Some(true) => "the file still is that text",
                Some(false) => "the file is another text now",
                None => "the file cannot be read now",
            }
        );
        out
    }
}

/// The value of a rule that is called `property[index]`.
fn value_of(written: &Written, name: &str) -> Option<String> {
    let called = |line: &&config::Line| match &line.index {
        Some(index) => name
            .strip_suffix(']')
            .and_then(|rest| rest.strip_suffix(index.as_str()))
            .and_then(|rest| rest.strip_suffix('['))
            .is_some_and(|property| is_called(property, &line.name)),
        None => is_called(name, &line.name),
    };
    let line = written.files.lines().iter().rfind(called)?;
    Some(line.value.clone())
}

/// Whether a line's name is this property, under whichever of its names.
fn is_called(property: &str, name: &str) -> bool {
    let row = config::PROPERTIES.iter().find(|row| row.name == property);
    row.map_or(property == name, |row| row.is_called(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn instance(folder: &std::path::Path, text: &str) -> Instance {
        let conf = folder.join("agent.conf");
        std::fs::write(&conf, text).unwrap();
        Instance { conf, entry: None }
    }

    #[test]
    fn an_incident_is_told_with_its_rule_and_what_to_type_next() {
        let folder = tempfile::tempdir().unwrap();
        let text = "portcullis.deny.rule[0] = url=*/closed*\n\
                    com.sun.identity.agents.config.local.logfile = /var/log/agent.log\n";
        let instance = instance(folder.path(), text);
        let mut trace = json!({
            "time": "2026-01-01T00:00:00.000Z", "incident": "7Q2W0H5M3R9T1B4C", "code": "PCL0410",
            "outcome": "deny", "status": 403, "method": "GET", "url": "http://a.example:80/it's/closed",
            "client": "192.0.2.7", "rule": "portcullis.deny.rule[0]", "age_ms": 12,
            "configuration": {
                "agent_conf": config::fingerprint(text.as_bytes()), "profile": 3,
                "since": "2025-12-31T00:00:00.000Z",
            },
        });
        let told = Told::of(&trace, &instance).text();
        for wanted in [
            "became deny 403: PCL0410",
            "because: portcullis.deny.rule[0] = url=*/closed*",
            "in force since 2025-12-31T00:00:00.000Z, configuration version 3",
            "still is that text",
            "grep 7Q2W0H5M3R9T1B4C /var/log/agent.log*",
            r"it'\''s/closed",
            "12 ms old",
        ] {
            assert!(told.contains(wanted), "{wanted}: {told}");
        }
        let json = Told::of(&trace, &instance).json();
        assert_eq!(json["remedy"], Code::DeniedByRule.row().remedy);
        trace["configuration"]["agent_conf"] = "0123456789abcdef".into();
        let told = Told::of(&trace, &instance).text();
        assert!(told.contains("another text now"), "{told}");
        assert!(
            !told.contains("url=*/closed*"),
            "another text's rule: {told}"
        );
    }

    #[test]
    fn an_incident_is_told_from_a_file_by_its_form() {
        assert!(is_incident("7Q2W0H5M3R9T1B4C") && is_incident("7q2w0h5m3r9t1b4c"));
        assert!(is_incident("7Q2W0H5M3R9T1B4C-K3VN") && !is_incident("7Q2W0H5M3R9T1B4C-K3"));
        assert!(!is_incident("requests.jsonl12") && !is_incident("7Q2W0H5M3R9T1B4"));
    }
}

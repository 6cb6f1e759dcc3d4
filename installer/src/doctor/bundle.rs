//! What may be sent to somebody who helps: what was found, and which properties are set.
//!
//! An allow-list (rule W2): values only of properties that are switches, numbers or words of a list, users as
//! a digest, no file of the instance as it is.

use std::{fs::OpenOptions, io::Write, os::unix::fs::OpenOptionsExt, path::Path};

use anyhow::{Context, Result};
use portcullis_engine::config::{self, Kind, PROPERTIES};
use serde_json::{Value, json};

use super::patient::Patient;

/// Writes a new file, for its owner only.
pub(crate) fn write(path: &Path, patient: &Patient, report: &Value) -> Result<()> {
    let bundle = json!({
        "version": env!("CARGO_PKG_VERSION"),
        "system": std::fs::read_to_string("/proc/version").unwrap_or_default().trim(),
        "report": without_users(report, patient),
        "properties": properties(patient),
    });
    let mut options = OpenOptions::new();
    let file = options.write(true).create_new(true).mode(0o600).open(path);
    let mut file = file.with_context(|| format!("{}", path.display()))?;
    serde_json::to_writer_pretty(&mut file, &bundle)?;
    file.write_all(b"\n")?;
    Ok(())
}

fn properties(patient: &Patient) -> Vec<Value> {
    let lines = patient.start.as_ref().map_or(&[][..], |s| s.files.lines());
    let shown = |line: &config::Line| {
        let row = PROPERTIES.iter().find(|row| row.name == line.name);
        let open = row.is_some_and(|row| is_open(&row.kind));
        json!({
            // Of a line that is no property anything may be the name.
            "name": if row.is_some() { line.name.as_str() } else { "***" },
            "source": line.source.to_string(),
            "line": line.number,
            "value": if open { line.value.as_str() } else { "***" },
        })
    };
    lines.iter().map(shown).collect()
}

/// Whether the values of a property tell nothing of people, places or secrets.
fn is_open(kind: &Kind) -> bool {
    matches!(kind, Kind::Switch | Kind::Number | Kind::Choice)
}

/// The user that was given, as a digest.
fn without_users(report: &Value, patient: &Patient) -> Value {
    let Some(user) = &patient.wish.user else {
        return report.clone();
    };
    let digest = format!("user:{}", config::fingerprint(user.name.as_bytes()));
    replaced(report, &user.name, &digest)
}

fn replaced(value: &Value, name: &str, digest: &str) -> Value {
    match value {
        Value::String(text) => json!(text.replace(name, digest)),
        Value::Array(items) => items.iter().map(|v| replaced(v, name, digest)).collect(),
        Value::Object(members) => {
            let members = members.iter();
            members
                .map(|(k, v)| (k.clone(), replaced(v, name, digest)))
                .collect()
        }
        other => other.clone(),
    }
}

//! `validate_*.log`: everything that was asked and answered, for whoever is to understand it later.
//!
//! The exchanges come from the witness, who keeps no secret (rule K3).

use std::{
    fs::{File, OpenOptions},
    io::Write,
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
    time::{SystemTime, UNIX_EPOCH},
};

use anyhow::{Context, Result};
use portcullis_runtime::client::Seen;
use time::{OffsetDateTime, format_description::well_known::Rfc3339};

use super::{Examined, patient::Patient};

/// Most logs of one second.
const TRIES: u32 = 100;

/// A new file, for its owner only. An existing one, or a link, is never written to (rule W3).
pub(crate) fn file(patient: &Patient) -> Result<(PathBuf, File)> {
    let folder = match patient.wish.instance.folder() {
        Some(folder) => folder.join("logs"),
        None => patient.wish.instance.config_folder().to_path_buf(),
    };
    let now = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs();
    for number in 0..TRIES {
        let path = folder.join(format!("validate_{now}_{number}.log"));
        let mut options = OpenOptions::new();
        match options.write(true).create_new(true).mode(0o600).open(&path) {
            Ok(file) => return Ok((path, file)),
            Err(e) if e.kind() == std::io::ErrorKind::AlreadyExists => {}
            Err(e) => return Err(e).with_context(|| format!("{}", path.display())),
        }
    }
    anyhow::bail!("{} has too many logs", folder.display())
}

/// Writes a log at once.
pub(super) fn write(patient: &Patient, found: &[Examined]) -> Result<PathBuf> {
    let (path, mut file) = file(patient)?;
    fill(&mut file, patient, found).with_context(|| format!("{}", path.display()))?;
    Ok(path)
}

/// What was found, and every exchange.
pub(super) fn fill(file: &mut File, patient: &Patient, found: &[Examined]) -> Result<()> {
    let mut text = format!(
        "agentadmin {}, instance {}\n\n",
        env!("CARGO_PKG_VERSION"),
        Path::new(&patient.wish.instance.called()).display()
    );
    for Examined { check, finding } in found {
        text.push_str(&format!("{}: {}\n", check.id, finding.verdict.words()));
        for line in &finding.evidence {
            text.push_str(&format!("    {line}\n"));
        }
        if let Some(remedy) = &finding.remedy {
            text.push_str(&format!("    remedy: {remedy}\n"));
        }
    }
    for seen in patient.witness().seen() {
        text.push_str(&exchange(&seen));
    }
    file.write_all(text.as_bytes())?;
    Ok(())
}

fn exchange(seen: &Seen) -> String {
    let at = OffsetDateTime::from(seen.at)
        .format(&Rfc3339)
        .unwrap_or_default();
    let mut text = format!("\n{at}\nhttp request to\n{}\n", seen.request);
    match &seen.status {
        Ok(status) => text.push_str(&format!("http response {status}\n")),
        Err(why) => text.push_str(&format!("no response: {why}\n")),
    }
    for (name, value) in &seen.headers {
        text.push_str(&format!("{name}: {value}\n"));
    }
    if !seen.body.is_empty() {
        text.push_str(&format!("{}\n", seen.body));
    }
    text
}

//! Stamps the revision and its date for `agentadmin --v`; nothing else. Whoever builds from an archive says
//! them in PORTCULLIS_REVISION and PORTCULLIS_DATE.

use std::{path::Path, process::Command};

fn main() {
    for name in ["PORTCULLIS_REVISION", "PORTCULLIS_DATE"] {
        println!("cargo:rerun-if-env-changed={name}");
    }
    // Grows with each commit and checkout. Where it is not there, cargo would build again each time.
    if let Some(log) = git(&["rev-parse", "--git-path", "logs/HEAD"])
        && Path::new(&log).exists()
    {
        println!("cargo:rerun-if-changed={log}");
    }
    println!("cargo:rerun-if-changed=build.rs");
    let said = |name, arguments: &[&str]| std::env::var(name).ok().or_else(|| git(arguments));
    let revision = said("PORTCULLIS_REVISION", &["rev-parse", "--short=12", "HEAD"]);
    let date = said("PORTCULLIS_DATE", &["show", "-s", "--format=%cs", "HEAD"]);
    let or_unknown = |text: Option<String>| text.unwrap_or_else(|| "unknown".to_owned());
    println!(
        "cargo:rustc-env=PORTCULLIS_REVISION={}",
        or_unknown(revision)
    );
    println!("cargo:rustc-env=PORTCULLIS_DATE={}", or_unknown(date));
}

fn git(arguments: &[&str]) -> Option<String> {
    let output = Command::new("git").args(arguments).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    let text = text.trim();
    (output.status.success() && !text.is_empty()).then(|| text.to_owned())
}

//! Where do the server and its container come from? From Maven, once, into a cache directory.
//!
//! It downloads and unpacks; it starts nothing. What is already in the cache is not asked for again.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::{Unavailable, Version, progress};

/// Pinned, because the command line of the plug-in differs between versions.
const PLUGIN: &str = "org.apache.maven.plugins:maven-dependency-plugin:3.8.1:unpack";

/// The unpacked programs.
#[derive(Debug, Clone)]
pub(crate) struct Programs {
    /// The web application, shared read-only by every instance of its version.
    pub(crate) webapp: PathBuf,
    /// Tomcat as delivered (`CATALINA_HOME`).
    pub(crate) tomcat: PathBuf,
}

/// The directory that downloads and instances live in: `$PORTCULLIS_CACHE/openam`, else
/// `$XDG_CACHE_HOME/portcullis/openam`, else `~/.cache/portcullis/openam`.
///
/// # Errors
/// When none of the three variables is set.
pub(crate) fn cache_dir() -> Result<PathBuf, Unavailable> {
    let set = |name| {
        std::env::var_os(name)
            .filter(|v| !v.is_empty())
            .map(PathBuf::from)
    };
    set("PORTCULLIS_CACHE")
        .or_else(|| set("XDG_CACHE_HOME").map(|d| d.join("portcullis")))
        .or_else(|| set("HOME").map(|d| d.join(".cache/portcullis")))
        .map(|d| d.join("openam"))
        .ok_or_else(|| Unavailable::Missing("no cache directory: set PORTCULLIS_CACHE".into()))
}

/// Makes sure that both programs of `version` are in `cache`.
///
/// # Errors
/// [`Unavailable::Missing`] when they are absent and Maven is not there or cannot fetch them.
pub(crate) fn programs(version: Version, cache: &Path) -> Result<Programs, Unavailable> {
    let _lock = crate::instance::Lock::wait(&cache.join("fetch.lock"))?;
    let webapp = fetch(
        cache,
        "org.openidentityplatform.openam:openam-server",
        version.name(),
        "war",
    )?;
    // A mirror need not have every release; any of the line does.
    let mut last = Unavailable::Missing(format!("no Tomcat known for OpenAM {}", version.name()));
    for tomcat in version.tomcats() {
        match fetch(cache, "org.apache.tomcat:tomcat", tomcat, "tar.gz") {
            Ok(dir) => {
                let tomcat = dir.join(format!("apache-tomcat-{tomcat}"));
                return Ok(Programs { webapp, tomcat });
            }
            Err(error) => last = error,
        }
    }
    Err(last)
}

/// The unpacked artifact's directory, fetched first if need be.
fn fetch(cache: &Path, artifact: &str, version: &str, kind: &str) -> Result<PathBuf, Unavailable> {
    let name = artifact.rsplit(':').next().unwrap_or(artifact);
    let target = cache.join(format!("{name}-{version}"));
    if target.is_dir() {
        return Ok(target);
    }
    progress(&format!("fetching {name} {version} with mvn"));
    // Unpacked beside the target and renamed: a run that is cut off leaves no half of it behind.
    let work =
        tempfile::tempdir_in(cache).map_err(|e| Unavailable::io("a directory in the cache", &e))?;
    let output = Command::new("mvn")
        .args(["-q", "-B", PLUGIN])
        .arg(format!("-Dartifact={artifact}:{version}:{kind}"))
        .arg(format!(
            "-DoutputDirectory={}",
            work.path().join("out").display()
        ))
        // The plug-in leaves a directory of markers where it runs.
        .current_dir(work.path())
        .stdin(Stdio::null())
        .output()
        .map_err(|e| match e.kind() {
            std::io::ErrorKind::NotFound => {
                Unavailable::Missing("mvn (Maven) is not installed".into())
            }
            _ => Unavailable::Missing(format!("mvn cannot be run: {e}")),
        })?;
    if !output.status.success() {
        return Err(Unavailable::Missing(format!(
            "mvn could not fetch {name} {version}: {}",
            reason(&output.stdout)
        )));
    }
    std::fs::rename(work.path().join("out"), &target)
        .map_err(|e| Unavailable::io("the fetched files", &e))?;
    Ok(target)
}

/// The first error line of Maven's output, without its markers.
fn reason(output: &[u8]) -> String {
    let text = String::from_utf8_lossy(output);
    let line = text
        .lines()
        .find(|l| l.contains("ERROR"))
        .unwrap_or("no reason given");
    line.trim_start_matches(|c: char| !c.is_alphabetic())
        .trim_start_matches("ERROR")
        .trim_matches(|c: char| c == ']' || c.is_whitespace())
        .chars()
        .take(300)
        .collect()
}

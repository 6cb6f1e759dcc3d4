//! Which Debian packages does the machine lack, and how do they get there?
//!
//! A package counts as present when the thing it is needed for is: somebody may have it from
//! elsewhere. Nothing else of the machine is changed.

use std::{
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context, bail, ensure};
use portcullis_tests::{modules::root, server::is_root};

/// What the machine is to do.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum For {
    /// Build the modules and run them in the servers.
    Servers,
    /// Run a real OpenAM.
    OpenAm,
    /// Run the rest of the tests.
    Tests,
    /// Build Debian packages.
    Debs,
    /// Make roots of Debian releases and work in them.
    Roots,
}

/// A program of the `PATH` or an absolute path, the package that brings it, and what for.
const NEEDS: &[(&str, &str, For)] = &[
    ("cc", "gcc", For::Servers),
    ("make", "make", For::Servers),
    ("/usr/sbin/apache2", "apache2-bin", For::Servers),
    ("apxs", "apache2-dev", For::Servers),
    ("/usr/sbin/nginx", "nginx", For::Servers),
    ("/usr/share/nginx/src", "nginx-dev", For::Servers),
    ("/etc/mime.types", "media-types", For::Servers),
    ("java", "default-jre-headless", For::OpenAm),
    ("mvn", "maven", For::OpenAm),
    ("chromium", "chromium", For::Tests),
    ("chromedriver", "chromium-driver", For::Tests),
    ("valgrind", "valgrind", For::Tests),
    ("pkg-config", "pkg-config", For::Tests),
    ("curl", "curl", For::Tests),
    ("strace", "strace", For::Tests),
    ("dh", "debhelper", For::Debs),
    ("dpkg-buildpackage", "dpkg-dev", For::Debs),
    ("debootstrap", "debootstrap", For::Roots),
    ("unshare", "util-linux", For::Roots),
];

/// Installs what is missing for any of `uses`; asks `sudo` when not root.
///
/// # Errors
/// When the packages can't be installed; the message has the command to do it by hand.
pub(crate) fn install(uses: &[For]) -> anyhow::Result<()> {
    let missing: Vec<&str> = NEEDS
        .iter()
        .filter(|(thing, _, what)| uses.contains(what) && !present(thing))
        .map(|(_, package, _)| *package)
        .collect();
    if missing.is_empty() {
        println!("All packages are there.");
        return Ok(());
    }
    let list = missing.join(" ");
    let by_hand = format!("by hand: apt-get install {list}");
    ensure!(
        present("apt-get"),
        "no apt-get here and these Debian packages are missing: {list}"
    );
    println!("Installing Debian packages (their services are not started): {list}");
    let script = root().join("tests/driver/install-packages.sh");
    let mut command = if is_root() {
        Command::new("sh")
    } else if present("sudo") {
        println!("This needs root: sudo may ask for your password.");
        let mut command = Command::new("sudo");
        command.arg("sh");
        command
    } else {
        bail!("packages are missing, and this is neither root nor is sudo there; {by_hand}");
    };
    let status = command
        .arg(script)
        .args(&missing)
        .stdin(Stdio::inherit())
        .status()
        .context("sh")?;
    ensure!(status.success(), "apt-get failed ({status}); {by_hand}");
    Ok(())
}

/// Whether a program is in the `PATH`, or an absolute path exists.
pub(crate) fn present(thing: &str) -> bool {
    if thing.starts_with('/') {
        return Path::new(thing).exists();
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    // Users' PATH often lacks the folders of the system's own programs.
    let more = ["/usr/sbin", "/sbin"].map(PathBuf::from);
    std::env::split_paths(&path)
        .chain(more)
        .any(|folder| folder.join(thing).is_file())
}

#[cfg(test)]
mod tests {
    use super::present;

    #[test]
    fn finds_programs_and_paths() {
        assert!(present("sh") && present("/etc"));
        assert!(!present("no-such-program-of-ours") && !present("/no/such/path"));
    }
}

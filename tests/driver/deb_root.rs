//! A root of a Debian release, for packages: where does it come from, and what runs in it?
//!
//! Made once by debootstrap and kept; a test gets a layer above it that goes away. Programs in it share
//! this machine's loopback interface. Mounts and processes are in namespaces of their own (`inside`), so nothing
//! of them is left however a run ends.

use std::{
    ffi::OsStr,
    fs,
    path::{Path, PathBuf},
    process::{Command, ExitStatus},
};

use anyhow::{Context, bail, ensure};
use portcullis_tests::server::is_root;

use crate::{
    packages::{self, For},
    programs::run,
};

/// Set for the program inside its own namespaces.
const INSIDE: &str = "PORTCULLIS_INSIDE";
/// What a root is for.
#[derive(Clone, Copy)]
pub(crate) enum Purpose {
    /// Building, checking and using the packages.
    Packages,
}

impl Purpose {
    /// What the root has beyond the least.
    fn packages(self) -> &'static [&'static str] {
        match self {
            Purpose::Packages => &[
                "apache2",
                "apache2-dev",
                "nginx",
                "nginx-dev",
                "build-essential",
                "debhelper",
                "lintian",
            ],
        }
    }

    /// What the name of the root has behind the release.
    fn ending(self) -> &'static str {
        match self {
            Purpose::Packages => "",
        }
    }
}

/// Starts this program again with mounts and processes of its own. The status of that run, or `None` inside of it.
///
/// # Errors
/// When this is not root: mounts and roots need it.
pub(crate) fn inside() -> anyhow::Result<Option<ExitStatus>> {
    if std::env::var_os(INSIDE).is_some() {
        return Ok(None);
    }
    ensure!(
        is_root(),
        "roots of Debian releases need root: run it with sudo"
    );
    packages::install(&[For::Servers, For::Roots])?;
    let status = Command::new("unshare")
        .args(["--mount", "--propagation", "private"])
        .args(["--pid", "--fork", "--kill-child", "--mount-proc", "--"])
        // The first process of a namespace would not hear of Ctrl-C.
        .args(["sh", "-c", "\"$@\"; exit $?", "sh"])
        .arg(std::env::current_exe()?)
        .args(std::env::args_os().skip(1))
        .env(INSIDE, "1")
        .status()
        .context("unshare")?;
    Ok(Some(status))
}

/// Where roots are kept, and what builds in them leave for the next.
///
/// # Errors
/// When there is no home.
pub(crate) fn kept() -> anyhow::Result<PathBuf> {
    let home = std::env::var_os("HOME").context("HOME is not set")?;
    Ok(PathBuf::from(home).join(".cache/portcullis/debian"))
}

/// A root that can be changed and goes away.
pub(crate) struct Root {
    release: String,
    /// Where it is mounted.
    place: PathBuf,
    /// The layer's folders, with the place among them; none where another process has made it.
    folder: Option<tempfile::TempDir>,
}

impl Root {
    /// Of a release, as it was when it was made first.
    ///
    /// # Errors
    /// When it can't be made or mounted.
    pub(crate) fn of(release: &str, purpose: Purpose) -> anyhow::Result<Root> {
        let base = base(release, purpose)?;
        let folder = tempfile::Builder::new()
            .prefix("portcullis-root-")
            .tempdir()?;
        for name in ["upper", "work", "root"] {
            fs::create_dir(folder.path().join(name))?;
        }
        let part = |name| folder.path().join(name).display().to_string();
        let layers = format!(
            "lowerdir={},upperdir={},workdir={}",
            base.display(),
            part("upper"),
            part("work")
        );
        let new = Root {
            release: release.to_owned(),
            place: folder.path().join("root"),
            folder: Some(folder),
        };
        let root = new.path("/");
        mount(&["-t", "overlay", "overlay", "-o", &layers], &root)?;
        mount(&["-t", "proc", "proc"], &new.path("/proc"))?;
        Ok(new)
    }

    /// A path in the root as this machine calls it.
    pub(crate) fn path(&self, inside: &str) -> PathBuf {
        match inside.trim_start_matches('/') {
            "" => self.place.clone(),
            below => self.place.join(below),
        }
    }

    /// A program in the root, with the language of the tests and a plain `PATH`.
    pub(crate) fn command(&self, program: &str) -> Command {
        let mut command = Command::new("chroot");
        command
            .arg(self.path("/"))
            .arg(program)
            .env(
                "PATH",
                "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
            )
            .env("LC_ALL", "C")
            .env("DEBIAN_FRONTEND", "noninteractive");
        command
    }

    /// Runs a program in the root; what it printed on both channels.
    ///
    /// # Errors
    /// With what it printed, when it fails.
    pub(crate) fn run(&self, program: &str, arguments: &[&str]) -> anyhow::Result<String> {
        let (good, said) = self.said(program, arguments)?;
        ensure!(
            good,
            "in {}: {program} {arguments:?}:\n{said}",
            self.release
        );
        Ok(said)
    }

    /// Runs a program in the root; whether it succeeded and what it printed.
    ///
    /// # Errors
    /// When it can't be started.
    pub(crate) fn said(&self, program: &str, arguments: &[&str]) -> anyhow::Result<(bool, String)> {
        let output = self.command(program).args(arguments).output()?;
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let said = text(&output.stdout) + &text(&output.stderr);
        Ok((output.status.success(), said))
    }

    /// Shows a folder of this machine in the root under a name.
    ///
    /// # Errors
    /// When it can't be mounted.
    pub(crate) fn bind(&self, folder: &Path, name: &str, read_only: bool) -> anyhow::Result<()> {
        let to = self.path(name);
        if to.exists() {
            return Ok(()); // bound for an earlier build
        }
        fs::create_dir_all(&to)?;
        mount(&["--bind".as_ref(), folder.as_os_str()], &to)?;
        if read_only {
            mount(&["-o", "remount,bind,ro"], &to)?;
        }
        Ok(())
    }
}

impl Drop for Root {
    fn drop(&mut self) {
        if self.folder.is_none() {
            return;
        }
        // Bound folders first: deleting the root's folder must not reach into them.
        let own = self.path("/");
        let mounts = fs::read_to_string("/proc/self/mounts").unwrap_or_default();
        let mut below: Vec<&Path> = mounts
            .lines()
            .filter_map(|line| line.split(' ').nth(1).map(Path::new))
            .filter(|path| path.starts_with(&own))
            .collect();
        below.sort();
        for path in below.into_iter().rev() {
            if let Err(error) = unmount(path) {
                eprintln!("{error:#}");
                std::process::exit(1); // better to leave the folder than to delete through a mount
            }
        }
    }
}

/// The kept root of a release; made when it is not there, with all packages.
fn base(release: &str, purpose: Purpose) -> anyhow::Result<PathBuf> {
    let kept = kept()?;
    fs::create_dir_all(&kept)?;
    let name = format!("{release}{}", purpose.ending());
    let base = kept.join(&name);
    if !base.is_dir() {
        println!("Making a root of Debian {release}: minutes, once");
        let new = kept.join(format!("{name}.new"));
        if new.exists() {
            // A run that was interrupted; its mounts have gone with it.
            fs::remove_dir_all(&new)?;
        }
        bootstrap(release, &new)?;
        fs::rename(&new, &base)?;
    }
    let list = kept.join(format!("{name}.packages"));
    let packages = purpose.packages();
    let wanted = packages.join(" ");
    if fs::read_to_string(&list).is_ok_and(|there| there == wanted) || packages.is_empty() {
        return Ok(base);
    }
    let proc = base.join("proc");
    mount(&["-t", "proc", "proc"], &proc)?;
    let quiet = ["install", "-y", "-q", "--no-install-recommends"];
    for arguments in [
        &["update", "-q"][..],
        &[&quiet[..], packages].concat(),
        &["clean"],
    ] {
        run(Command::new("chroot")
            .arg(&base)
            .arg("apt-get")
            .args(arguments)
            .env("DEBIAN_FRONTEND", "noninteractive")
            .env("LC_ALL", "C"))?;
    }
    unmount(&proc)?;
    fs::write(list, wanted)?;
    Ok(base)
}

/// The least of a release, in a folder.
fn bootstrap(release: &str, to: &Path) -> anyhow::Result<()> {
    run(Command::new("debootstrap")
        .args(["--variant=minbase", "--include=ca-certificates", release])
        .arg(to))?;
    // It has written down where it has the release from. What was mended since then is beside that.
    let list = to.join("etc/apt/sources.list");
    let text = fs::read_to_string(&list)?;
    let archive = text.split(' ').nth(1).context("an archive of packages")?;
    let archive = archive.trim_end_matches('/');
    let sources = format!(
        "deb {archive} {release} main\n\
         deb {archive} {release}-updates main\n\
         deb {archive}-security {release}-security main\n"
    );
    fs::write(list, sources)?;
    // No package starts a server: tests do.
    let policy = to.join("usr/sbin/policy-rc.d");
    fs::write(&policy, "#!/bin/sh\nexit 101\n")?;
    fs::set_permissions(&policy, std::os::unix::fs::PermissionsExt::from_mode(0o755))?;
    Ok(())
}

fn mount(arguments: &[impl AsRef<OsStr>], on: &Path) -> anyhow::Result<()> {
    let status = Command::new("mount").args(arguments).arg(on).status();
    ensure!(
        status.context("mount")?.success(),
        "cannot mount {}",
        on.display()
    );
    Ok(())
}

fn unmount(path: &Path) -> anyhow::Result<()> {
    let status = Command::new("umount")
        .arg(path)
        .status()
        .context("umount")?;
    if !status.success() {
        bail!("cannot unmount {}", path.display());
    }
    Ok(())
}

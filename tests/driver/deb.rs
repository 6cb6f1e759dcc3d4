//! `make deb`: how do the Debian packages come to be?
//!
//! The tree is copied, `packaging/debian` becomes its `debian`, and Debian's own programs do the rest: on
//! this machine, or in the root of a release, which is shown this machine's Rust toolchain.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, ensure};
use portcullis_tests::{
    modules::{self, root},
    sbom,
};

use crate::{
    deb_root::{Root, kept},
    packages::{self, For},
    programs::{cargo, run},
};

/// Where a root has the folder of the build. The same for all trees: cargo knows what it has built by its path.
const BUILD: &str = "/build";
/// The bill of materials, among the documents of `portcullis-tools`.
const BILL: &str = "portcullis.cdx.json";

/// `make deb`: builds the packages for this machine's release and says where they are.
///
/// # Errors
/// When packages of the build can't be installed or anything does not build.
pub(crate) fn make() -> anyhow::Result<bool> {
    packages::install(&[For::Servers, For::Debs])?;
    let folder = modules::target().join("deb");
    lay_tree(&folder)?;
    let mut builder = Command::new("dpkg-buildpackage");
    builder
        .current_dir(folder.join("portcullis"))
        .env("CARGO_TARGET_DIR", folder.join("build"));
    for package in build(&folder, builder)? {
        println!("{}", package.display());
    }
    Ok(true)
}

/// Where packages of a release are built in a root, from one run to the next: what cargo has built stays. One run at a
/// time; others wait.
pub(crate) struct Workshop {
    folder: PathBuf,
    _lock: fs::File,
}

impl Workshop {
    /// That of a release.
    ///
    /// # Errors
    /// When the folder can't be made.
    pub(crate) fn of(release: &str) -> anyhow::Result<Workshop> {
        let folder = kept()?.join(format!("{release}.build"));
        fs::create_dir_all(&folder)?;
        let lock = fs::File::create(folder.join(".lock"))?;
        rustix::fs::flock(&lock, rustix::fs::FlockOperation::LockExclusive)?;
        Ok(Workshop {
            folder,
            _lock: lock,
        })
    }

    /// The copy of the tree.
    pub(crate) fn tree(&self) -> PathBuf {
        self.folder.join("portcullis")
    }

    /// Builds the packages in a root, under a version of their own if one is given; their files.
    ///
    /// # Errors
    /// When anything does not build; the builder has said why.
    pub(crate) fn build(&self, root: &Root, version: Option<&str>) -> anyhow::Result<Vec<PathBuf>> {
        lay_tree(&self.folder)?;
        if let Some(version) = version {
            let changelog = self.tree().join("debian/changelog");
            let text = fs::read_to_string(&changelog)?;
            let (_, rest) = text.split_once(')').context("debian/changelog")?;
            fs::write(&changelog, format!("portcullis ({version}){rest}"))?;
        }
        // The root has no way to a registry.
        run(&mut cargo(&["fetch", "--locked", "--quiet"]))?;
        let (toolchain, crates) = (sysroot()?, cargo_home()?);
        for path in [&toolchain, &crates] {
            root.bind(path, &path.to_string_lossy(), true)?;
        }
        root.bind(&self.folder, BUILD, false)?;
        // Nobody looks at the debugging symbols of these, and compressing them takes minutes.
        let options = std::env::var("DEB_BUILD_OPTIONS").unwrap_or_default() + " noautodbgsym";
        let path = format!("{}/bin:/usr/sbin:/usr/bin:/sbin:/bin", toolchain.display());
        let mut builder = root.command("env");
        builder
            .arg(format!("--chdir={BUILD}/portcullis"))
            .arg(format!("PATH={path}"))
            .arg("dpkg-buildpackage")
            .env("DEB_BUILD_OPTIONS", options.trim())
            .env("CARGO_HOME", crates)
            .env("CARGO_NET_OFFLINE", "true")
            .env("CARGO_TARGET_DIR", format!("{BUILD}/target"));
        build(&self.folder, builder)
    }
}

/// `make sbom`: writes the bill of materials beside the modules, and says where it is.
///
/// # Errors
/// When cargo does not tell what is in them.
pub(crate) fn sbom() -> anyhow::Result<bool> {
    let to = modules::target().join(BILL);
    write_bill(&to)?;
    println!("{}", to.display());
    Ok(true)
}

fn write_bill(to: &Path) -> anyhow::Result<()> {
    let text = serde_json::to_string_pretty(&sbom::bom()?)?;
    fs::write(to, text + "\n").with_context(|| to.display().to_string())
}

/// Has the packages built by a builder that was told where; their files.
fn build(folder: &Path, mut builder: Command) -> anyhow::Result<Vec<PathBuf>> {
    remove_packages(folder)?;
    write_bill(&folder.join("portcullis/debian").join(BILL))?;
    // For what the programs say of themselves: the copy is no repository.
    for (variable, arguments) in [
        (
            "PORTCULLIS_REVISION",
            &["rev-parse", "--short=12", "HEAD"][..],
        ),
        ("PORTCULLIS_DATE", &["show", "-s", "--format=%cs", "HEAD"]),
    ] {
        let said = Command::new("git")
            .args(arguments)
            .current_dir(root())
            .output();
        if let Ok(said) = said
            && said.status.success()
        {
            builder.env(variable, String::from_utf8_lossy(&said.stdout).trim());
        }
    }
    run(builder.args(["--build=binary", "--no-sign", "--no-pre-clean"]))?;
    let built = packages_in(folder)?;
    ensure!(!built.is_empty(), "no package in {}", folder.display());
    Ok(built)
}

/// A copy of this tree in a folder, with `debian` where Debian's programs look for it.
fn lay_tree(folder: &Path) -> anyhow::Result<()> {
    let to = folder.join("portcullis");
    if to.exists() {
        fs::remove_dir_all(&to)?;
    }
    fs::create_dir_all(&to)?;
    // With their times: cargo compares them.
    let mut copy = Command::new("cp");
    copy.arg("-a");
    for entry in fs::read_dir(root())? {
        let name = entry?.file_name();
        if name != "target" && name != ".git" && name != ".github" {
            copy.arg(root().join(name));
        }
    }
    let status = copy.arg(&to).status().context("cp")?;
    ensure!(status.success(), "the tree can't be copied: {status}");
    fs::rename(to.join("packaging/debian"), to.join("debian")).context("packaging/debian")
}

/// Where the Rust toolchain is.
fn sysroot() -> anyhow::Result<PathBuf> {
    let said = Command::new("rustc").args(["--print", "sysroot"]).output();
    let said = String::from_utf8(said.context("rustc")?.stdout)?;
    Ok(PathBuf::from(said.trim()))
}

fn cargo_home() -> anyhow::Result<PathBuf> {
    let home = || Some(PathBuf::from(std::env::var_os("HOME")?).join(".cargo"));
    let set = std::env::var_os("CARGO_HOME").map(PathBuf::from);
    set.or_else(home)
        .context("neither CARGO_HOME nor HOME is set")
}

/// The packages of a folder, without those of debugging symbols.
fn packages_in(folder: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let mut all = Vec::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        let name = path.to_string_lossy();
        if name.ends_with(".deb") && !name.contains("-dbgsym_") {
            all.push(path);
        }
    }
    all.sort();
    Ok(all)
}

/// Takes away what an earlier build has left.
fn remove_packages(folder: &Path) -> anyhow::Result<()> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        let ending = path.extension().unwrap_or_default();
        if ["deb", "ddeb", "buildinfo", "changes"]
            .iter()
            .any(|e| ending == *e)
        {
            fs::remove_file(path)?;
        }
    }
    Ok(())
}

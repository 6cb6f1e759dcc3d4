//! `make deb`: how do the Debian packages come to be?
//!
//! The tree is copied, `packaging/debian` becomes its `debian`, and Debian's own programs do the rest.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, ensure};
use portcullis_tests::modules::{self, root};

use crate::{
    packages::{self, For},
    programs::run,
};

/// `make deb`: builds the packages for this machine's release and says where they are.
///
/// # Errors
/// When packages of the build can't be installed or anything does not build.
pub(crate) fn make() -> anyhow::Result<bool> {
    packages::install(&[For::Servers, For::Debs])?;
    for package in build()? {
        println!("{}", package.display());
    }
    Ok(true)
}

/// The files of the packages, built.
fn build() -> anyhow::Result<Vec<PathBuf>> {
    let folder = modules::target().join("deb");
    let tree = folder.join("portcullis");
    lay_tree(&tree)?;
    remove_packages(&folder)?;
    run(Command::new("dpkg-buildpackage")
        .current_dir(tree)
        .env("CARGO_TARGET_DIR", folder.join("build"))
        .args(["--build=binary", "--no-sign", "--no-pre-clean"]))?;
    let built = packages_in(&folder)?;
    ensure!(!built.is_empty(), "no package in {}", folder.display());
    Ok(built)
}

/// A copy of this tree with `debian` where Debian's programs look for it.
fn lay_tree(to: &Path) -> anyhow::Result<()> {
    if to.exists() {
        fs::remove_dir_all(to)?;
    }
    fs::create_dir_all(to)?;
    // With their times: cargo compares them.
    let mut copy = Command::new("cp");
    copy.arg("-a");
    for entry in fs::read_dir(root())? {
        let name = entry?.file_name();
        if name != "target" && name != ".git" && name != ".github" {
            copy.arg(root().join(name));
        }
    }
    let status = copy.arg(to).status().context("cp")?;
    ensure!(status.success(), "the tree can't be copied: {status}");
    fs::rename(to.join("packaging/debian"), to.join("debian")).context("packaging/debian")
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

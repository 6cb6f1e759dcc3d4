//! Which tests had a Web Agent's files under them, and did exactly those not that may not?

use std::{
    collections::{BTreeMap, BTreeSet},
    fs, io,
};

use anyhow::{Context, ensure};
use portcullis_tests::imported::{PLAIN, notes};

/// Test programs that `make test` runs once more on a Web Agent's files: what is exempt, and what the application sees.
pub(crate) const EVERY_DAY: [&str; 2] = ["portcullis/not_enforced", "portcullis/attributes"];

/// Forgets what an earlier run has written down, and says what will not be tried.
///
/// # Errors
/// The notes can't be removed.
pub(crate) fn begin() -> anyhow::Result<()> {
    match fs::remove_file(notes()) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            return Err(error).context(notes().display().to_string());
        }
        _ => {}
    }
    println!("{} tests have this agent's own file:", PLAIN.len());
    for (test, why) in PLAIN {
        println!("  {test}: {why}");
    }
    Ok(())
}

/// Counts the sites of each kind, and compares the tests that had their own file with the list. With `all` each of the
/// list has to have run.
///
/// # Errors
/// When another test had its own file, or one of the list had not.
pub(crate) fn finish(all: bool) -> anyhow::Result<()> {
    let text = fs::read_to_string(notes()).context("no site was made")?;
    let (mut sites, mut plain) = (BTreeMap::<&str, usize>::new(), BTreeSet::new());
    for (kind, test) in text.lines().filter_map(|line| line.split_once(' ')) {
        *sites.entry(kind).or_default() += 1;
        if kind == "plain" {
            plain.insert(test);
        }
    }
    println!("sites: {sites:?}");
    let listed: BTreeSet<&str> = PLAIN.iter().map(|(test, _)| *test).collect();
    let missing: Vec<_> = listed.difference(&plain).collect();
    ensure!(
        !all || missing.is_empty(),
        "listed, but not run so: {missing:?}"
    );
    let others: Vec<_> = plain.difference(&listed).collect();
    ensure!(others.is_empty(), "not listed: {others:?}");
    Ok(())
}

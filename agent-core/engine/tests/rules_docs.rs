//! The code and the tests that `docs/rules.md`, `docs/differences.md` and the tables of the configuration
//! name are there.
#![allow(clippy::unwrap_used, reason = "helpers of tests")]

use std::{
    collections::HashSet,
    fs,
    path::{Path, PathBuf},
};

use portcullis_engine::{
    config::{OUTSIDE, PROPERTIES, State},
    decide::{FAILURES, PROVOKED_BY},
};

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// Names of all functions in the Rust sources below a folder.
fn functions(folder: &Path, found: &mut HashSet<String>) {
    for entry in fs::read_dir(folder).unwrap().map(Result::unwrap) {
        let path = entry.path();
        if path.is_dir() {
            functions(&path, found);
        } else if path.extension().is_some_and(|e| e == "rs") {
            let text = fs::read_to_string(&path).unwrap();
            let names = text.split("fn ").skip(1).filter_map(|rest| {
                let end = rest.find(|c: char| !c.is_ascii_alphanumeric() && c != '_')?;
                Some(rest[..end].to_string())
            });
            found.extend(names);
        }
    }
}

fn is_path(word: &str) -> bool {
    word.contains('/') && [".rs", ".c", ".h"].iter().any(|e| word.ends_with(e))
}

fn is_function(word: &str) -> bool {
    word.contains('_')
        && word
            .bytes()
            .all(|b| b.is_ascii_lowercase() || b"_0123456789".contains(&b))
}

#[test]
fn every_rule_is_there_once() {
    let text = fs::read_to_string(root().join("docs/rules.md")).unwrap();
    let groups = [
        ('K', 3),
        ('L', 9),
        ('S', 8),
        ('O', 5),
        ('U', 5),
        ('P', 3),
        ('W', 5),
    ];
    let wanted = groups
        .iter()
        .flat_map(|(letter, last)| (1..=*last).map(move |n| format!("{letter}{n}")));
    let headings = text
        .lines()
        .filter_map(|line| line.strip_prefix("### ")?.split_once(". "))
        .map(|(number, _)| number.to_string());
    assert_eq!(headings.collect::<Vec<_>>(), wanted.collect::<Vec<_>>());
}

fn all_functions() -> HashSet<String> {
    let mut known = HashSet::new();
    for folder in ["agent-core", "ffi", "installer", "tests"] {
        functions(&root().join(folder), &mut known);
    }
    known
}

#[test]
fn what_works_names_a_test_that_exists() {
    let known = all_functions();
    let properties = PROPERTIES.iter().map(|row| (row.name, row.state, row.test));
    let outside = OUTSIDE.iter().map(|row| (row.name, row.state, row.test));
    for (name, state, test) in properties.chain(outside) {
        match test {
            Some(test) => assert!(known.contains(test), "{name}: no test is called {test}"),
            None => assert!(state != State::Works, "{name} works and names no test"),
        }
    }
}

#[test]
fn each_kind_of_failure_is_provoked_on_both_servers() {
    let mut suites = String::new();
    for entry in fs::read_dir(root().join("tests"))
        .unwrap()
        .map(Result::unwrap)
    {
        if entry.path().extension().is_some_and(|e| e == "rs") {
            suites.push_str(&fs::read_to_string(entry.path()).unwrap());
        }
    }
    for ((_, text), test) in FAILURES.iter().zip(PROVOKED_BY) {
        // Only what `both_servers!` makes of it has this form.
        let scenario = format!("fn {test}(kind: Kind)");
        assert!(
            suites.contains(&scenario),
            "{text}: no test is called {test}"
        );
    }
}

#[test]
fn what_is_named_exists() {
    let known = all_functions();
    for page in ["docs/rules.md", "docs/differences.md"] {
        let text = fs::read_to_string(root().join(page)).unwrap();
        let is_there = |word: &&str| match *word {
            path if is_path(path) => root().join(path).is_file(),
            name if is_function(name) => known.contains(name),
            _ => true,
        };
        let words = text.split('`').skip(1).step_by(2);
        let missing: Vec<&str> = words.filter(|word| !is_there(word)).collect();
        assert!(missing.is_empty(), "{page}: {missing:?}");
    }
}

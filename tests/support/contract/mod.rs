//! Does an AM, the simulator or a real one, answer an agent the way that this project relies on?
//!
//! [`cases::CASES`] is one table of questions. Each gives an *observation*: JSON that holds what the
//! server said with everything that differs from run to run replaced by a label. `expected.json` has
//! the observations of a real OpenAM. Nothing here starts a server.

pub mod cases;
mod news;
pub mod observe;
pub mod world;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde_json::Value;

pub use world::World;

/// One question to a server.
pub struct Case {
    /// What it is about, `operation.situation`.
    pub name: &'static str,
    /// Asks and gives the observation; an error means that the question could not be put.
    pub ask: fn(&World) -> Result<Value, world::Problem>,
}

/// Asks everything of `world`'s server; a question that could not be put is an observation, too.
#[must_use]
pub fn observe_all(world: &World) -> BTreeMap<String, Value> {
    let ask = |case: &Case| match (case.ask)(world) {
        Ok(seen) => world.labelled(seen),
        Err(problem) => serde_json::json!({ "not asked": problem.to_string() }),
    };
    cases::CASES
        .iter()
        .map(|case| (case.name.to_owned(), ask(case)))
        .collect()
}

/// The file with the observations of a real OpenAM.
#[must_use]
pub fn expected_file() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/support/contract/expected.json")
}

/// One line a difference, `case /pointer: expected …, got …`; empty when all agree.
#[must_use]
pub fn differences(
    expected: &BTreeMap<String, Value>,
    seen: &BTreeMap<String, Value>,
) -> Vec<String> {
    let mut lines = Vec::new();
    let names: std::collections::BTreeSet<&String> = expected.keys().chain(seen.keys()).collect();
    for name in names {
        compare(name, "", expected.get(name), seen.get(name), &mut lines);
    }
    lines
}

fn compare(
    case: &str,
    at: &str,
    expected: Option<&Value>,
    seen: Option<&Value>,
    lines: &mut Vec<String>,
) {
    match (expected, seen) {
        (Some(Value::Object(a)), Some(Value::Object(b))) => {
            let names: std::collections::BTreeSet<&String> = a.keys().chain(b.keys()).collect();
            for name in names {
                compare(
                    case,
                    &format!("{at}/{name}"),
                    a.get(name),
                    b.get(name),
                    lines,
                );
            }
        }
        (a, b) if a == b => {}
        (a, b) => {
            let show = |v: Option<&Value>| v.map_or("nothing".to_owned(), Value::to_string);
            lines.push(format!(
                "{case} {at}: expected {}, got {}",
                show(a),
                show(b)
            ));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn differences_name_the_place() {
        let of = |v: Value| BTreeMap::from([("c".to_owned(), v)]);
        let lines = differences(
            &of(json!({ "status": 200, "body": { "a": 1, "b": 2 } })),
            &of(json!({ "status": 200, "body": { "a": 1, "c": 2 } })),
        );
        assert_eq!(
            lines,
            [
                "c /body/b: expected 2, got nothing",
                "c /body/c: expected nothing, got 2"
            ]
        );
        assert_eq!(differences(&of(json!(1)), &BTreeMap::new()).len(), 1);
    }

    #[test]
    fn case_names_are_unique() {
        let names: std::collections::BTreeSet<_> = cases::CASES.iter().map(|c| c.name).collect();
        assert_eq!(names.len(), cases::CASES.len());
    }
}

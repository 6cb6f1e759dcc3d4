//! Do the simulator and a real OpenAM answer the agent's questions alike?
//!
//! Both are asked the same table of questions (`tests/support/contract`). The observations of a real
//! OpenAM 16.0.5 are kept in `expected.json`, so the simulator is held to them on machines without
//! Java as well; `BLESS=1` with a real server at hand rewrites the file.

use std::collections::BTreeMap;
use std::error::Error;

use am_simulator::{Config, Simulator};
use portcullis_openam::{OpenAm, Options, Unavailable};
use portcullis_tests::contract::{World, differences, expected_file, observe_all};
use serde_json::Value;

fn assert_same(who: &str, seen: &BTreeMap<String, Value>) -> Result<(), Box<dyn Error>> {
    let expected = serde_json::from_str(&std::fs::read_to_string(expected_file())?)?;
    let lines = differences(&expected, seen);
    if lines.is_empty() {
        return Ok(());
    }
    Err(format!(
        "{who} differs in {} places:\n{}",
        lines.len(),
        lines.join("\n")
    )
    .into())
}

#[test]
fn the_simulator_answers_as_expected() -> Result<(), Box<dyn Error>> {
    let am = Simulator::start(Config::default())?;
    assert_same(
        "the simulator",
        &observe_all(&World::prepare(am.base_url())?),
    )
}

/// Uses the server that `PORTCULLIS_OPENAM` points to, else starts one (about a minute).
#[test]
fn a_real_openam_answers_as_expected() -> Result<(), Box<dyn Error>> {
    let am = match OpenAm::obtain(&Options::default()) {
        Err(Unavailable::Missing(what)) if std::env::var_os("CI").is_none() => {
            eprintln!("SKIPPED the contract with a real OpenAM: {what}");
            return Ok(());
        }
        outcome => outcome?,
    };
    let seen = observe_all(&World::prepare(am.url())?);
    if std::env::var_os("BLESS").is_some() {
        std::fs::write(expected_file(), serde_json::to_string_pretty(&seen)? + "\n")?;
    }
    assert_same("the real OpenAM", &seen)?;
    am.stop();
    Ok(())
}

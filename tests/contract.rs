//! Do the simulator and a real OpenAM answer the agent's questions alike?
//!
//! Both are asked the same table of questions (`tests/support/contract`). The observations of a real
//! OpenAM 16.0.5 are kept in `expected.json`, so the simulator is held to them on machines without
//! Java as well; `BLESS=1` with a real server at hand rewrites the file.

use std::collections::BTreeMap;
use std::error::Error;
use std::time::Instant;

use am_simulator::{Config, Simulator};
use portcullis_openam::http::query;
use portcullis_openam::seed::Am;
use portcullis_openam::{ADMIN_PASSWORD, OpenAm, Options, Unavailable};
use portcullis_tests::browser::Driver;
use portcullis_tests::contract::world::{STRONG_MODULE, USER, USER_PASSWORD};
use portcullis_tests::contract::{World, differences, expected_file, observe_all};
use portcullis_tests::real;
use serde_json::{Value, json};

fn assert_same(who: &str, seen: &BTreeMap<String, Value>) -> Result<(), Box<dyn Error>> {
    let expected = serde_json::from_str(&std::fs::read_to_string(expected_file())?)?;
    let lines = differences(&expected, seen);
    assert!(
        lines.is_empty(),
        "{who} differs in {} places:\n{}",
        lines.len(),
        lines.join("\n")
    );
    Ok(())
}

#[test]
fn the_simulator_answers_as_expected() -> Result<(), Box<dyn Error>> {
    let (name, level) = STRONG_MODULE;
    let am = Simulator::start(Config {
        modules: vec![json!({ "realm": "/", "name": name, "level": level })],
        ..Config::default()
    })?;
    assert_same(
        "the simulator",
        &observe_all(&World::prepare(am.base_url())?),
    )
}

/// Uses the server that `PORTCULLIS_OPENAM` points to, else starts one (about a minute).
#[test]
fn a_real_openam_answers_as_expected() -> Result<(), Box<dyn Error>> {
    let am = match OpenAm::obtain(&Options::default()) {
        Err(Unavailable::Missing(why)) => {
            real::skipped("the contract with a real OpenAM", &why);
            return Ok(());
        }
        outcome => outcome?,
    };
    let (name, level) = STRONG_MODULE;
    let admin = Am::at(am.url())?.admin(ADMIN_PASSWORD)?;
    admin.create_module(name, level)?;
    let seen = observe_all(&World::prepare(am.url())?);
    if std::env::var_os("BLESS").is_some() {
        std::fs::write(expected_file(), serde_json::to_string_pretty(&seen)? + "\n")?;
    }
    assert_same("the real OpenAM", &seen)?;
    // Here and not in a test of its own, because a server takes a minute to start.
    if let Some(driver) = real::browser("the login page of the real OpenAM") {
        a_person_logs_in(am.url(), &driver)?;
    }
    am.stop();
    Ok(())
}

/// Through the page that users see, which is a program in the browser: what AM sends is an empty page.
fn a_person_logs_in(am: &str, driver: &Driver) -> Result<(), Box<dyn Error>> {
    let begun = Instant::now();
    let browser = driver.browser()?;
    let opened = begun.elapsed();
    let goto = format!("{am}/isAlive.jsp");
    browser.goto(&format!(
        "{am}/UI/Login?{}",
        query(&[("realm", "/"), ("goto", &goto)])
    ))?;
    browser.type_into("#idToken1", USER)?;
    browser.type_into("#idToken2", USER_PASSWORD)?;
    let form = begun.elapsed();
    browser.click("#loginButton_0")?;
    browser.wait_for_url(&goto)?;
    let text = browser.text()?;
    assert!(text.contains("ALIVE"), "{text}");
    let cookies = browser.cookies()?;
    let session = cookies
        .iter()
        .find(|c| c.name == "iPlanetDirectoryPro")
        .ok_or("no cookie")?;
    assert_eq!(session.domain, ".test.example.org");
    eprintln!(
        "browser after {opened:?}, form after {form:?}, back at goto after {:?}",
        begun.elapsed()
    );

    let (first, second) = (browser.tab()?, browser.new_tab()?);
    assert_ne!(first, second);
    browser.goto(&goto)?;
    browser.switch_to(&first)?;
    browser.delete_cookies()?;
    assert!(
        browser
            .cookies()?
            .iter()
            .all(|c| c.name != "iPlanetDirectoryPro")
    );
    browser.quit()?;
    Ok(())
}

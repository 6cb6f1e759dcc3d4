//! A real OpenAM for a test, and what a site leaves in it.
//!
//! Several tests, also of several test programs, may use one server at the same time: each site has an
//! agent and a policy of its own there, which go when the site goes.

use std::io::Write;

use portcullis_openam::{
    OpenAm, Options, Unavailable, Version,
    seed::{Admin, Am},
};
use serde_json::json;

use crate::{
    browser::Driver,
    server::Kind,
    site::{AmServer, USER, USER_PASSWORD},
};

/// Names the release that a test starts, such as `14.8.4`, whatever server
/// [`portcullis_openam::STATE_VARIABLE`] points to.
pub const RELEASE_VARIABLE: &str = "PORTCULLIS_OPENAM_RELEASE";

/// Says on the terminal what was left out. Not by macro: the test harness shows what those print only
/// for tests that fail.
///
/// # Panics
/// Where nothing may be left out, that is when `CI` is set.
pub fn skipped(what: &str, why: &dyn std::fmt::Display) {
    assert!(std::env::var_os("CI").is_none(), "{what}: {why}");
    let _ = writeln!(std::io::stderr(), "SKIPPED {what}: {why}");
}

/// A server for the test `what`, which knows [`USER`]; `None` when this machine can't have one, which
/// has then been said.
///
/// # Panics
/// When it could, but did not come up.
pub fn openam(what: &str) -> Option<OpenAm> {
    let openam = match std::env::var(RELEASE_VARIABLE) {
        Ok(name) if !name.is_empty() => OpenAm::start(&Options {
            version: release(&name),
            ..Options::default()
        }),
        _ => OpenAm::obtain(&Options::default()),
    };
    match openam {
        Ok(openam) => {
            user(&Am::at(openam.url()).expect("URL of AM"));
            Some(openam)
        }
        Err(Unavailable::Missing(why)) => {
            skipped(what, &why);
            None
        }
        Err(failed) => panic!("{what}: {failed}"),
    }
}

/// Runs a scenario on httpd and on nginx at one real OpenAM, where there can be one.
///
/// # Panics
/// As [`openam`].
pub fn on_both(what: &str, scenario: impl Fn(Kind, &dyn Fn() -> AmServer)) {
    let Some(openam) = openam(what) else {
        return;
    };
    let am = || AmServer::Real(Am::at(openam.url()).expect("URL of AM"));
    for kind in [Kind::Httpd, Kind::Nginx] {
        scenario(kind, &am);
    }
    openam.stop();
}

fn release(name: &str) -> Version {
    [Version::V16, Version::V14]
        .into_iter()
        .find(|v| v.name() == name)
        .unwrap_or_else(|| panic!("{RELEASE_VARIABLE}: no release {name}"))
}

fn user(am: &Am) {
    if am.login("/", USER, USER_PASSWORD).is_ok() {
        return;
    }
    let admin = am.admin(portcullis_openam::ADMIN_PASSWORD).expect("login");
    let mail = json!({ "mail": "demo@example.com" });
    let made = admin.create_user("/", USER, USER_PASSWORD, &mail);
    // Another test may have been faster.
    am.login("/", USER, USER_PASSWORD)
        .unwrap_or_else(|error| panic!("{error}; {made:?}"));
}

/// A browser for the test `what`; `None` when there is none on this machine, which has then been said.
///
/// # Panics
/// When `CI` is set and there is none.
pub fn browser(what: &str) -> Option<Driver> {
    Driver::start()
        .map_err(|missing| skipped(what, &missing))
        .ok()
}

/// Whether AM still knows the session of `token`.
///
/// # Panics
/// When AM does not say.
pub fn alive(am: &Am, token: &str) -> bool {
    let answer = am
        .client()
        .post(&am.target("/json/sessions?_action=validate"))
        .header("Accept-API-Version", "resource=1.2")
        .header(&am.cookie_name().expect("name"), token)
        .json(&json!({}))
        .send()
        .expect("answer");
    let body = answer.json().expect("JSON");
    body["valid"].as_bool().expect("whether it is valid")
}

/// An agent and a policy in a shared AM; deleted when dropped.
pub struct Leavings {
    admin: Admin,
    agent: String,
    policy: String,
}

impl Leavings {
    /// Takes over what was created under these names.
    pub fn of(admin: Admin, agent: &str, policy: &str) -> Leavings {
        Leavings {
            admin,
            agent: agent.into(),
            policy: policy.into(),
        }
    }
}

impl Drop for Leavings {
    fn drop(&mut self) {
        // AM may be gone already; then they are gone, too.
        let _ = self.admin.delete_policy("/", &self.policy);
        let _ = self.admin.delete_agent("/", &self.agent);
    }
}

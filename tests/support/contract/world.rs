//! What do the contract's questions find on the server, and which strings differ from run to run?
//!
//! It creates the objects (all named `ct-…`) and remembers every token it handed out, so that a token
//! in an answer becomes a label. It judges nothing.

use std::cell::RefCell;

use portcullis_openam::http::{HttpError, Request, escape};
use portcullis_openam::seed::{Admin, Am, SeedError};
use portcullis_openam::{ADMIN_PASSWORD, http};
use serde_json::{Value, json};

/// The site that the agents protect; nothing listens there.
pub const SITE: &str = "http://contract.test.example.org:8080";
/// The sub-realm.
pub const SUB_REALM: &str = "/ct-shop";
/// A realm whose sessions are client-side.
pub const CLIENT_SIDE_REALM: &str = "/ct-client-side";
/// The user's name; the same in every realm, because realms share one directory.
pub const USER: &str = "ct-user";
/// The user's password.
pub const USER_PASSWORD: &str = "changeit8";
/// The agent of the root realm.
pub const AGENT: &str = "ct-agent";
/// Another agent of the root realm.
pub const OTHER_AGENT: &str = "ct-other";
/// The agent of the sub-realm.
pub const SUB_AGENT: &str = "ct-sub-agent";
/// Name and level of the authentication module that whoever starts the server has to give the root realm.
pub const STRONG_MODULE: (&str, u32) = ("CtStrong", 5);
/// Every agent's password.
pub const AGENT_PASSWORD: &str = "s3cretagent";

/// Why a question could not be put.
#[derive(Debug, thiserror::Error)]
pub enum Problem {
    /// A preparing call failed.
    #[error(transparent)]
    Seed(#[from] SeedError),
    /// No answer.
    #[error(transparent)]
    Http(#[from] HttpError),
    /// The answer was not of the kind that the question needs to go on.
    #[error("{0}")]
    Shape(String),
}

/// A seeded server.
pub struct World {
    /// The server.
    pub am: Am,
    /// The session cookie's name.
    pub cookie: String,
    /// A live token of [`AGENT`].
    pub agent: String,
    labels: RefCell<Vec<(String, String)>>,
}

impl World {
    /// Creates the objects on the AM at `url`, after removing those of an earlier run.
    ///
    /// # Errors
    /// [`Problem::Seed`] when AM refuses one.
    pub fn prepare(url: &str) -> Result<Self, Problem> {
        let am = Am::at(url)?;
        let admin = am.admin(ADMIN_PASSWORD)?;
        clear(&admin);
        seed(&admin)?;
        let agent = am.agent_login("/", AGENT, AGENT_PASSWORD)?;
        let world = Self {
            cookie: am.cookie_name()?,
            am,
            agent,
            labels: RefCell::default(),
        };
        world.label(&world.agent, "<agent token>");
        let origin = world.am.url().trim_end_matches("/openam").to_owned();
        world.label(&origin, "<am>");
        if let Some(port) = origin.rsplit(':').next() {
            world.label(&format!(":{port}"), ":<port>");
            world.label(&format!("={port}"), "=<port>");
        }
        Ok(world)
    }

    /// Has `text` and its escaped forms replaced by `label` in every observation from now on.
    pub fn label(&self, text: &str, label: &str) {
        let mut labels = self.labels.borrow_mut();
        let once = escape(text);
        let twice = escape(&once);
        for form in [text.to_owned(), once, twice] {
            if !labels.iter().any(|(known, _)| *known == form) {
                labels.push((form, label.to_owned()));
            }
        }
        // The longest first: a port alone must not break up a URL.
        labels.sort_by_key(|(form, _)| std::cmp::Reverse(form.len()));
    }

    /// The observation with every known string replaced by its label.
    #[must_use]
    pub fn labelled(&self, value: Value) -> Value {
        match value {
            Value::String(text) => {
                let labels = self.labels.borrow();
                Value::String(
                    labels
                        .iter()
                        .fold(text, |t, (from, to)| t.replace(from, to)),
                )
            }
            Value::Array(items) => items.into_iter().map(|v| self.labelled(v)).collect(),
            Value::Object(members) => members
                .into_iter()
                .map(|(name, v)| (name, self.labelled(v)))
                .collect(),
            other => other,
        }
    }

    /// A new session of [`USER`].
    ///
    /// # Errors
    /// [`Problem::Seed`] when the login fails.
    pub fn user(&self) -> Result<String, Problem> {
        let token = self.am.login("/", USER, USER_PASSWORD)?;
        self.label(&token, "<user token>");
        Ok(token)
    }

    /// A session of [`USER`] that was logged out.
    ///
    /// # Errors
    /// [`Problem::Seed`] when login or logout fails.
    pub fn dead_user(&self) -> Result<String, Problem> {
        let token = self.user()?;
        self.am.logout(&token, &token)?;
        Ok(token)
    }

    /// A session of [`AGENT`] that was logged out.
    ///
    /// # Errors
    /// [`Problem::Seed`] when login or logout fails.
    pub fn dead_agent(&self) -> Result<String, Problem> {
        let token = self.am.agent_login("/", AGENT, AGENT_PASSWORD)?;
        self.label(&token, "<dead agent token>");
        self.am.logout(&token, &token)?;
        Ok(token)
    }

    /// A `GET` below the deployment URI.
    #[must_use]
    pub fn get(&self, below: &str) -> Request<'_> {
        self.am.client().get(&self.am.target(below))
    }

    /// A `POST` below the deployment URI.
    #[must_use]
    pub fn post(&self, below: &str) -> Request<'_> {
        self.am.client().post(&self.am.target(below))
    }

    /// `/oauth2/authorize` as the agent sends a browser there, with `changes` made to its parameters;
    /// an empty value takes the parameter out.
    #[must_use]
    pub fn authorize(&self, changes: &[(&str, &str)]) -> Request<'_> {
        let redirect = format!("{SITE}/agent/cdsso-oauth2");
        let fields = vec![
            ("client_id", AGENT),
            ("response_type", "id_token"),
            ("scope", "openid"),
            ("response_mode", "form_post"),
            ("redirect_uri", redirect.as_str()),
            ("state", "ct-state"),
            ("nonce", "ct-nonce"),
            ("realm", "/"),
        ];
        let fields = changed(fields, changes);
        self.get(&format!("/oauth2/authorize?{}", http::query(&fields)))
    }

    /// `/cdcservlet` as the agent sends a browser there, with changes as above.
    #[must_use]
    pub fn cdcservlet(&self, changes: &[(&str, &str)]) -> Request<'_> {
        let goto = format!("{SITE}/agent/cdsso-oauth2");
        let provider = format!("{SITE}/?Realm=%2F");
        let fields = [
            ("goto", goto.as_str()),
            ("RequestID", "ct-request"),
            ("MajorVersion", "1"),
            ("MinorVersion", "0"),
            ("IssueInstant", "2026-08-20T09:10:00Z"),
            ("ProviderID", provider.as_str()),
        ];
        let fields = changed(fields.to_vec(), changes);
        self.get(&format!("/cdcservlet?{}", http::query(&fields)))
    }
}

fn changed<'t>(
    mut fields: Vec<(&'t str, &'t str)>,
    changes: &[(&'t str, &'t str)],
) -> Vec<(&'t str, &'t str)> {
    for (name, value) in changes {
        match fields.iter_mut().find(|(n, _)| n == name) {
            Some(field) => field.1 = value,
            None => fields.push((name, value)),
        }
    }
    fields.retain(|(_, value)| !value.is_empty());
    fields
}

/// Removes what an earlier run left; what is not there is no error.
fn clear(admin: &Admin) {
    for name in POLICIES.iter().map(|p| p.0) {
        let _ = admin.delete_policy("/", name);
    }
    for name in [AGENT, OTHER_AGENT] {
        let _ = admin.delete_agent("/", name);
    }
    let _ = admin.delete_agent(SUB_REALM, SUB_AGENT);
    let _ = admin.delete_user("/", USER);
}

/// Name, path of the resource and further members of a policy.
type Policy = (&'static str, &'static str, fn() -> Value);

const POLICIES: &[Policy] = &[
    ("ct-docs", "docs", || {
        json!({
            "actionValues": { "GET": true, "POST": false },
            "resourceAttributes": [
                { "type": "Static", "propertyName": "X-Dept", "propertyValues": ["sales"] },
                { "type": "User", "propertyName": "mail", "propertyValues": [] },
            ],
        })
    }),
    (
        "ct-denied",
        "denied",
        || json!({ "actionValues": { "GET": false } }),
    ),
    (
        "ct-address",
        "address",
        || json!({ "condition": { "type": "IPv4", "startIp": "192.0.2.0", "endIp": "192.0.2.255" } }),
    ),
    (
        "ct-level",
        "level",
        || json!({ "condition": { "type": "AuthLevel", "authLevel": 5 } }),
    ),
    ("ct-window", "window", || {
        json!({ "condition": {
            "type": "SimpleTime", "startDate": "2001:01:01", "endDate": "2099:12:31",
            "enforcementTimeZone": "GMT",
        } })
    }),
];

fn seed(admin: &Admin) -> Result<(), Problem> {
    // The realm of an earlier run is as good as a new one.
    let _ = admin.create_realm("/", SUB_REALM.trim_start_matches('/'));
    let _ = admin.create_realm("/", CLIENT_SIDE_REALM.trim_start_matches('/'));
    admin.set_client_side_sessions(CLIENT_SIDE_REALM, true)?;
    let attributes = json!({ "mail": "ct@example.com", "givenName": "Contract", "sn": "User", "cn": "Contract User" });
    admin.create_user("/", USER, USER_PASSWORD, &attributes)?;
    let attributes = json!({
        "com.sun.identity.agents.config.cdsso.enable": ["true"],
        "com.sun.identity.agents.config.notenforced.url": [format!("[0]={SITE}/public/*"), format!("[1]={SITE}/favicon.ico")],
        "com.sun.identity.agents.config.session.attribute.mapping": ["[UserToken]=X-User"],
    });
    admin.create_agent("/", AGENT, AGENT_PASSWORD, SITE, &attributes)?;
    admin.create_agent(
        "/",
        OTHER_AGENT,
        AGENT_PASSWORD,
        "http://other.test.example.org:8080",
        &json!({}),
    )?;
    admin.create_agent(
        SUB_REALM,
        SUB_AGENT,
        AGENT_PASSWORD,
        "http://sub.test.example.org:8080",
        &json!({}),
    )?;
    for (name, path, members) in POLICIES {
        let resource = format!("{SITE}/{path}/*");
        admin.create_policy(
            "/",
            name,
            &[&resource, &format!("{resource}?*")],
            &members(),
        )?;
    }
    Ok(())
}

//! What does this AM know? Realms, people, agents, policies, sessions, and the operations on them that both the REST
//! interface and a test in the same process use. Knows no HTTP.

use crate::calllog::CallLog;
use crate::clock::Clock;
use crate::faults::Faults;
use crate::keys::Keys;
use crate::notifications::Board;
use crate::seed::Config;
use crate::session::{Login, Session};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use parking_lot::Mutex;
use serde_json::Value;
use sha1::{Digest as _, Sha1};
use std::collections::BTreeMap;
use std::time::Duration;

/// The suffix of every distinguished name.
const ROOT_DN: &str = "dc=openam,dc=openidentityplatform,dc=org";
/// The resource type *URL* of the root realm.
pub(crate) const ROOT_URL_TYPE: &str = "76656a38-5f8e-401b-83aa-4ccb74ce88d2";
/// The resource type *URL* that a new sub-realm gets (measured on OpenAM 16.0.5).
pub(crate) const SUB_URL_TYPE: &str = "UrlResourceType";
/// The policy set that exists in the root realm.
pub(crate) const DEFAULT_SET: &str = "iPlanetAMWebAgentService";

/// Attributes as AM keeps them: a name, several values.
pub(crate) type Attributes = BTreeMap<String, Vec<String>>;

/// A person.
#[derive(Debug, Clone)]
pub(crate) struct User {
    pub(crate) name: String,
    pub(crate) password: String,
    pub(crate) attributes: Attributes,
    pub(crate) created_ms: i64,
}

impl User {
    pub(crate) fn active(&self) -> bool {
        self.attributes
            .get("inetUserStatus")
            .and_then(|v| v.first())
            .is_none_or(|s| s.eq_ignore_ascii_case("Active"))
    }
}

/// An agent profile.
#[derive(Debug, Clone)]
pub(crate) struct Agent {
    pub(crate) name: String,
    /// The stored form, `{SHA-1}` and Base64 of the digest: also the text that signs id_tokens.
    pub(crate) password: String,
    pub(crate) attributes: Attributes,
}

impl Agent {
    /// The values of an attribute.
    pub(crate) fn values(&self, name: &str) -> &[String] {
        self.attributes.get(name).map_or(&[], Vec::as_slice)
    }

    pub(crate) fn active(&self) -> bool {
        self.values("sunIdentityServerDeviceStatus")
            .first()
            .is_none_or(|s| s.eq_ignore_ascii_case("Active"))
    }
}

/// The stored form of an agent's password.
pub(crate) fn hash_password(clear: &str) -> String {
    if clear.starts_with("{SHA-1}") {
        return clear.to_owned();
    }
    format!("{{SHA-1}}{}", STANDARD.encode(Sha1::digest(clear)))
}

/// A realm and what belongs to it.
#[derive(Debug, Clone, Default)]
pub(crate) struct Realm {
    pub(crate) aliases: Vec<String>,
    /// By lower-case name.
    pub(crate) agents: BTreeMap<String, Agent>,
    pub(crate) policies: BTreeMap<String, Value>,
    pub(crate) policy_sets: BTreeMap<String, Value>,
    pub(crate) resource_types: BTreeMap<String, Value>,
    /// Authentication modules and the level that each gives.
    pub(crate) modules: BTreeMap<String, u32>,
    /// New user sessions are client-side here.
    pub(crate) client_side: bool,
}

/// Why an operation on the data was refused: the status and words that AM answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refused {
    /// HTTP status.
    pub status: u16,
    /// AM's message, unescaped.
    pub message: String,
}

impl Refused {
    pub(crate) fn new(status: u16, message: impl Into<String>) -> Self {
        Self {
            status,
            message: message.into(),
        }
    }
}

impl std::fmt::Display for Refused {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {}", self.status, self.message)
    }
}

impl std::error::Error for Refused {}

/// Everything that calls change.
#[derive(Debug, Default)]
pub(crate) struct Data {
    /// By path: `/`, `/shop`.
    pub(crate) realms: BTreeMap<String, Realm>,
    /// By lower-case name. All realms share one directory, as a new OpenAM's do.
    pub(crate) users: BTreeMap<String, User>,
    /// By token.
    pub(crate) sessions: BTreeMap<String, Session>,
    /// Logins that wait for their callbacks, by one-time key.
    pub(crate) pending: BTreeMap<String, Login>,
    /// Accepted audit events, oldest first.
    pub(crate) audit: Vec<AuditEvent>,
    /// Minutes: maximum and idle time of new user sessions.
    pub(crate) user_times: (u64, u64),
    /// New user sessions are client-side.
    pub(crate) client_side: bool,
}

/// An audit event that was accepted.
#[derive(Debug, Clone, PartialEq)]
pub struct AuditEvent {
    /// The realm of the call, `/` for `global-audit`.
    pub realm: String,
    /// `access`, `activity`, …
    pub topic: String,
    /// The event as it was sent.
    pub event: Value,
}

/// A simulated AM: its data, clock, faults and call log. Shared by the server and the test.
#[derive(Debug)]
pub struct Am {
    pub(crate) config: Config,
    pub(crate) clock: Clock,
    pub(crate) data: Mutex<Data>,
    pub(crate) faults: Faults,
    pub(crate) calls: CallLog,
    pub(crate) board: Board,
    pub(crate) keys: Keys,
    /// The port that is served, for addresses that AM puts into answers.
    pub(crate) port: u16,
}

impl Am {
    /// An AM with the configured data.
    ///
    /// # Errors
    /// What AM would answer to the first object that it refuses.
    pub(crate) fn new(config: Config, port: u16) -> Result<Self, Refused> {
        let am = Self {
            clock: Clock::default(),
            data: Mutex::default(),
            faults: Faults::default(),
            calls: CallLog::default(),
            board: Board::default(),
            keys: Keys::default(),
            port,
            config,
        };
        am.install();
        am.seed()?;
        Ok(am)
    }

    fn install(&self) {
        let mut data = self.data.lock();
        let mut root = Realm::new(ROOT_URL_TYPE);
        root.aliases = vec!["openam".to_owned(), self.config.host.clone()];
        root.policy_sets.insert(
            DEFAULT_SET.to_owned(),
            serde_json::json!({"name": DEFAULT_SET, "displayName": "Default Policy Set", "resourceTypeUuids": [ROOT_URL_TYPE],
                "applicationType": DEFAULT_SET, "entitlementCombiner": "DenyOverride"}),
        );
        data.realms.insert("/".to_owned(), root);
        data.user_times = (120, 30);
        data.users.insert(
            "amadmin".to_owned(),
            User {
                name: "amadmin".to_owned(),
                password: self.config.admin_password.clone(),
                attributes: Attributes::from([("cn".to_owned(), vec!["amAdmin".to_owned()])]),
                created_ms: self.clock.now_ms(),
            },
        );
    }

    /// Now, in milliseconds since 1970, by the clock that tests can move.
    #[must_use]
    pub fn now_ms(&self) -> i64 {
        self.clock.now_ms()
    }

    /// Moves the clock forward: sessions age, time conditions change.
    pub fn advance(&self, by: Duration) {
        self.clock.advance(by);
    }

    /// The accepted audit events, oldest first.
    #[must_use]
    pub fn audit_events(&self) -> Vec<AuditEvent> {
        self.data.lock().audit.clone()
    }

    /// The calls so far, oldest first.
    #[must_use]
    pub fn calls(&self) -> Vec<crate::Call> {
        self.calls.all()
    }

    /// Forgets the calls so far.
    pub fn reset_calls(&self) {
        self.calls.reset();
    }

    /// Adds a fault; faults are tried in the order in which they were added.
    pub fn add_fault(&self, fault: crate::Fault) {
        self.faults.add(fault);
    }

    /// Removes all faults, and lets the calls that are held back ([`crate::Damage::Hold`], [`crate::Damage::Late`]) be answered. Those that hang go
    /// on hanging until their client or the server goes.
    pub fn clear_faults(&self) {
        self.faults.clear();
    }

    /// Gives a realm an authentication module with a level, so that a composite advice for that level finds a way in.
    /// Users log in to it with their password.
    ///
    /// # Errors
    /// Unknown realm.
    pub fn add_module(&self, realm: &str, name: &str, level: u32) -> Result<(), Refused> {
        let mut data = self.data.lock();
        let realm = data.realm_mut(realm)?;
        realm.modules.insert(name.to_owned(), level);
        Ok(())
    }
}

impl Realm {
    /// A realm as AM makes it: one URL resource type, the DataStore module.
    pub(crate) fn new(url_type: &str) -> Self {
        let kind = serde_json::json!({"_id": url_type, "uuid": url_type, "name": "URL", "description": "",
            "patterns": ["*://*:*/*", "*://*:*/*?*"],
            "actions": {"HEAD": true, "DELETE": true, "POST": true, "GET": true, "OPTIONS": true, "PUT": true, "PATCH": true}});
        Self {
            resource_types: BTreeMap::from([(url_type.to_owned(), kind)]),
            modules: BTreeMap::from([("DataStore".to_owned(), 0)]),
            ..Self::default()
        }
    }
}

impl Data {
    /// A realm by its path.
    pub(crate) fn realm(&self, path: &str) -> Result<&Realm, Refused> {
        self.realms
            .get(path)
            .ok_or_else(|| Refused::new(404, format!("Realm \"{path}\" not found")))
    }

    /// A realm by its path, to change it.
    pub(crate) fn realm_mut(&mut self, path: &str) -> Result<&mut Realm, Refused> {
        self.realms
            .get_mut(path)
            .ok_or_else(|| Refused::new(404, format!("Realm \"{path}\" not found")))
    }

    /// The path of a realm named by path, name or alias, as in `?realm=`.
    pub(crate) fn resolve_realm(&self, text: &str) -> Option<String> {
        let trimmed = text.trim_end_matches('/');
        let path = format!("/{}", trimmed.trim_start_matches('/'));
        if let Some((known, _)) = self.realms.get_key_value(&path) {
            return Some(known.clone());
        }
        let folded = self.realms.keys().find(|k| k.eq_ignore_ascii_case(&path));
        let alias = || {
            let name = path.trim_start_matches('/');
            self.realms
                .iter()
                .find(|(_, r)| r.aliases.iter().any(|a| a.eq_ignore_ascii_case(name)))
                .map(|(k, _)| k)
        };
        folded.or_else(alias).cloned()
    }
}

/// The distinguished name of a realm.
pub(crate) fn realm_dn(path: &str) -> String {
    let mut names: Vec<&str> = path.split('/').filter(|s| !s.is_empty()).collect();
    if names.is_empty() {
        return ROOT_DN.to_owned();
    }
    names.reverse();
    let organisations: String = names.iter().map(|n| format!("o={n},")).collect();
    format!("{organisations}ou=services,{ROOT_DN}")
}

/// The universal id of a user (`user`) or agent (`agent`).
pub(crate) fn universal_id(name: &str, kind: &str, realm: &str) -> String {
    format!("id={name},ou={kind},{}", realm_dn(realm))
}

/// Where a person's entry is in the directory.
pub(crate) fn user_dn(name: &str) -> String {
    format!("uid={name},ou=people,{ROOT_DN}")
}

/// A member as a list of texts: AM takes one text or an array.
pub(crate) fn texts(value: &Value) -> Vec<String> {
    match value {
        Value::Array(items) => items.iter().map(text).collect(),
        Value::Null => Vec::new(),
        other => vec![text(other)],
    }
}

fn text(value: &Value) -> String {
    match value {
        Value::String(s) => s.clone(),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_realms_and_identities() {
        assert_eq!(realm_dn("/"), ROOT_DN);
        assert_eq!(
            universal_id("demo", "user", "/a/b"),
            "id=demo,ou=user,o=b,o=a,ou=services,dc=openam,dc=openidentityplatform,dc=org"
        );
    }

    #[test]
    fn the_documented_password_key() {
        assert_eq!(
            hash_password("password"),
            "{SHA-1}W6ph5Mm5Pz8GgiULbPgzG37mj9g="
        );
    }
}

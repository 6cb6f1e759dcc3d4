//! Who is logged in, for how long, and with which properties?

use crate::clock::iso;
use crate::notifications;
use crate::state::{Am, Data, Refused, realm_dn, universal_id};
use crate::token;
use std::collections::BTreeMap;

/// Minutes of an agent's session, which never ends by itself (measured on OpenAM 16.0.5: the figure AM shows).
const APPLICATION_MAX_MINUTES: u64 = 22_075_200;

/// Whose session it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A person's.
    User,
    /// An agent's.
    Application,
}

/// A login that waits for its callbacks.
#[derive(Debug, Clone)]
pub(crate) struct Login {
    pub(crate) realm: String,
    pub(crate) module: String,
    pub(crate) service: Option<String>,
    pub(crate) application: bool,
}

/// One session.
#[derive(Debug, Clone)]
pub struct Session {
    /// The token that the browser or the agent carries.
    pub token: String,
    /// AM's own handle for the session; not usable as a token.
    pub handle: String,
    /// Whose it is.
    pub kind: Kind,
    /// User or agent name.
    pub name: String,
    /// Realm path.
    pub realm: String,
    /// Level of the module that was used.
    pub auth_level: u32,
    /// Minutes.
    pub max_time: u64,
    /// Minutes.
    pub max_idle: u64,
    /// Milliseconds since 1970.
    pub created_ms: i64,
    /// Milliseconds since 1970.
    pub last_access_ms: i64,
    /// Session properties set after login.
    pub properties: BTreeMap<String, String>,
    pub(crate) module: String,
    pub(crate) service: Option<String>,
    pub(crate) host: String,
    pub(crate) context_id: String,
    /// All of it is in the token: AM keeps nothing, and cannot end it.
    pub(crate) client_side: bool,
}

impl Session {
    /// Whether time has ended it.
    pub(crate) fn expired(&self, now_ms: i64) -> bool {
        self.kind == Kind::User
            && (self.time_left(now_ms) <= 0
                || self.idle_seconds(now_ms)
                    >= i64::try_from(self.max_idle * 60).unwrap_or(i64::MAX))
    }

    /// Seconds since the last use.
    pub(crate) fn idle_seconds(&self, now_ms: i64) -> i64 {
        (now_ms - self.last_access_ms) / 1000
    }

    /// Seconds until the maximum time.
    pub(crate) fn time_left(&self, now_ms: i64) -> i64 {
        let end =
            self.created_ms + i64::try_from(self.max_time).unwrap_or(i64::MAX / 60_000) * 60_000;
        (end - now_ms) / 1000
    }

    /// The identity's universal id.
    #[must_use]
    pub fn universal_id(&self) -> String {
        let kind = match self.kind {
            Kind::User => "user",
            Kind::Application => "agent",
        };
        universal_id(&self.name, kind, &self.realm)
    }

    /// Whether this is the administrator.
    pub(crate) fn is_admin(&self) -> bool {
        self.kind == Kind::User && self.name.eq_ignore_ascii_case("amadmin")
    }

    /// `agent:wa1`, `user:demo`: what the call log shows instead of a token.
    pub(crate) fn label(&self) -> String {
        match self.kind {
            Kind::User => format!("user:{}", self.name),
            Kind::Application => format!("agent:{}", self.name),
        }
    }

    /// Where this identity would log in again.
    pub(crate) fn login_url(&self, context: &str) -> String {
        let realm = crate::http::url_encode(&self.realm);
        match self.kind {
            Kind::User => format!("{context}/UI/Login?realm={realm}"),
            Kind::Application => format!(
                "{context}/UI/Login?authIndexValue=Application&authIndexType=module&realm={realm}"
            ),
        }
    }

    /// All properties as the XML session service shows them, in the server's order.
    pub(crate) fn all_properties(&self, context: &str) -> Vec<(String, String)> {
        let id = self.universal_id();
        let mut out: Vec<(String, String)> = Vec::new();
        let mut put = |name: &str, value: &str| out.push((name.to_owned(), value.to_owned()));
        put("Locale", "en_US");
        put("authInstant", &iso(self.created_ms));
        put("Principals", &self.name);
        put("clientType", "genericHTML");
        put("AMCtxId", &self.context_id);
        put("AuthType", &self.module);
        put("HostName", &self.host);
        put("successURL", &format!("{context}/console"));
        put("Organization", &realm_dn(&self.realm));
        put("UserProfile", "Required");
        put("CharSet", "UTF-8");
        put("FullLoginURL", &self.login_url(context));
        put("loginURL", &format!("{context}/UI/Login"));
        if self.service.is_none() {
            put("IndexType", "module_instance");
        }
        put("amlbcookie", "01");
        put("UserToken", &self.name);
        if let Some(service) = &self.service {
            put("Service", service);
        }
        put("Host", &self.host);
        put("cookieSupport", "true");
        put("SessionHandle", &self.handle);
        put("AuthLevel", &self.auth_level.to_string());
        put("UserId", &self.name);
        put("sun.am.UniversalIdentifier", &id);
        put("Principal", &id);
        for (name, value) in &self.properties {
            match out.iter_mut().find(|(known, _)| known == name) {
                Some((_, old)) => old.clone_from(value),
                None => out.push((name.clone(), value.clone())),
            }
        }
        out
    }
}

impl Data {
    /// A live session by token; ended ones are forgotten on the way.
    pub(crate) fn live(&mut self, token: &str, now_ms: i64) -> Option<&mut Session> {
        if self.sessions.get(token).is_some_and(|s| s.expired(now_ms)) {
            self.sessions.remove(token);
        }
        self.sessions.get_mut(token)
    }
}

impl Am {
    /// A live session, not counted as use.
    #[must_use]
    pub fn session(&self, token: &str) -> Option<Session> {
        let now = self.now_ms();
        self.data.lock().live(token, now).cloned()
    }

    /// A live session, counted as use: every call that presents a token resets its idle time.
    pub(crate) fn use_session(&self, token: &str) -> Option<Session> {
        let now = self.now_ms();
        let mut data = self.data.lock();
        let session = data.live(token, now)?;
        session.last_access_ms = now;
        Some(session.clone())
    }

    /// Makes a session for a user of the directory, without a password, and gives its token.
    ///
    /// # Errors
    /// Unknown realm or user.
    pub fn log_in(&self, realm: &str, user: &str) -> Result<String, Refused> {
        let name = {
            let data = self.data.lock();
            data.realm(realm)?;
            data.users
                .get(&user.to_lowercase())
                .map(|u| u.name.clone())
                .ok_or_else(|| Refused::new(404, "Resource cannot be found."))?
        };
        let login = Login {
            realm: realm.to_owned(),
            module: "DataStore".to_owned(),
            service: Some("ldapService".to_owned()),
            application: false,
        };
        Ok(self.new_session(&login, &name, "127.0.0.1"))
    }

    /// Makes a session.
    pub(crate) fn new_session(&self, login: &Login, name: &str, host: &str) -> String {
        let now = self.now_ms();
        let (mut token, handle) = token::new_pair();
        let mut data = self.data.lock();
        let here = data.realms.get(&login.realm).is_some_and(|r| r.client_side);
        let client_side = (data.client_side || here) && !login.application;
        if client_side {
            token = token::new_client_side();
        }
        let level = data
            .realms
            .get(&login.realm)
            .and_then(|r| r.modules.get(&login.module))
            .copied();
        let (max_time, max_idle) = if login.application {
            (APPLICATION_MAX_MINUTES, 50)
        } else {
            data.user_times
        };
        let session = Session {
            token: token.clone(),
            handle,
            kind: if login.application {
                Kind::Application
            } else {
                Kind::User
            },
            name: name.to_owned(),
            realm: login.realm.clone(),
            auth_level: level.unwrap_or(0),
            max_time,
            max_idle,
            created_ms: now,
            last_access_ms: now,
            properties: BTreeMap::new(),
            module: login.module.clone(),
            service: login.service.clone(),
            host: host.to_owned(),
            context_id: format!("{}01", token::random_hex::<8>()),
            client_side,
        };
        data.sessions.insert(token.clone(), session);
        drop(data);
        if !client_side {
            self.session_event(&token, "SESSION_CREATION");
        }
        token
    }

    /// Ends a session; `false` when it was not alive. A client-side one is valid as before, as long as AM's list of
    /// ended ones is off (measured on OpenAM 16.0.5).
    pub fn end_session(&self, token: &str) -> bool {
        let now = self.now_ms();
        let mut data = self.data.lock();
        match data.live(token, now) {
            None => false,
            Some(session) if session.client_side => true,
            Some(_) => {
                data.sessions.remove(token);
                drop(data);
                self.session_event(token, "LOGOUT");
                true
            }
        }
    }

    /// Answers for a token that another AM made, as a hostile one does: a session of its own user has it from
    /// now on.
    ///
    /// # Errors
    /// Unknown realm or user.
    pub fn adopt_session(&self, token: &str, realm: &str, user: &str) -> Result<(), Refused> {
        let own = self.log_in(realm, user)?;
        let mut data = self.data.lock();
        if let Some(mut session) = data.sessions.remove(&own) {
            session.token = token.to_owned();
            data.sessions.insert(token.to_owned(), session);
        }
        Ok(())
    }

    fn session_event(&self, token: &str, kind: &str) {
        let body = serde_json::json!({"tokenId": token, "eventType": kind});
        self.publish(notifications::SESSION, body);
    }

    /// Whether user sessions made from now on are client-side.
    pub fn set_client_side_sessions(&self, on: bool) {
        self.data.lock().client_side = on;
    }

    /// Ends all agents' sessions, or those of one agent; gives their number.
    pub fn kill_agent_sessions(&self, agent: Option<&str>) -> usize {
        let mut data = self.data.lock();
        let is_it = |s: &Session| {
            s.kind == Kind::Application && agent.is_none_or(|a| a.eq_ignore_ascii_case(&s.name))
        };
        let ended: Vec<String> = data
            .sessions
            .iter()
            .filter(|(_, s)| is_it(s))
            .map(|(token, _)| token.clone())
            .collect();
        data.sessions.retain(|_, s| !is_it(s));
        drop(data);
        for token in &ended {
            self.session_event(token, "DESTROY");
        }
        ended.len()
    }

    /// Changes a live session's level.
    pub fn set_auth_level(&self, token: &str, level: u32) -> bool {
        let now = self.now_ms();
        let mut data = self.data.lock();
        data.live(token, now)
            .map(|s| s.auth_level = level)
            .is_some()
    }

    /// Sets a property of a live session; nobody is told, as with most properties of a real one.
    pub fn set_session_property(&self, token: &str, name: &str, value: &str) -> bool {
        let now = self.now_ms();
        let mut data = self.data.lock();
        data.live(token, now)
            .map(|s| s.properties.insert(name.to_owned(), value.to_owned()))
            .is_some()
    }

    /// The same for a property whose changes are told to agents: those that the session service names in
    /// `iplanet-am-session-notification-property-list` (OpenAM's source; not measured).
    pub fn change_session_property(&self, token: &str, name: &str, value: &str) -> bool {
        let known = self.set_session_property(token, name, value);
        if known {
            self.session_event(token, "PROPERTY_CHANGED");
        }
        known
    }

    /// Sets the maximum and idle time, in minutes, of user sessions made from now on.
    pub fn set_user_session_times(&self, max_minutes: u64, idle_minutes: u64) {
        self.data.lock().user_times = (max_minutes, idle_minutes);
    }

    /// The live sessions, in no particular order.
    #[must_use]
    pub fn sessions(&self) -> Vec<Session> {
        let now = self.now_ms();
        let data = self.data.lock();
        data.sessions
            .values()
            .filter(|s| !s.expired(now))
            .cloned()
            .collect()
    }
}

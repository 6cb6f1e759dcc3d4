//! What can be asked of AM: one function an operation, over one or more servers.
//!
//! Finds the server that answers and stays with it. Must not cache, must not log the agent in again
//! by itself (that is shared by all workers), and must not turn one kind of failure into another.

use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicUsize, Ordering},
};

use parking_lot::Mutex;
use portcullis_engine::{
    am::{
        AmError, Exchange, Value,
        a::{
            agent_login, attributes,
            audit::{self, AuditEvent},
            logout::{self, Ended},
            notifications::{self, Notice, TOPICS},
            policy::{self, Question},
            profile, server_id,
            server_info::{self, ServerInfo},
            session::{self, user_of},
            validate,
        },
        b,
    },
    config::{AgentAuth, Dialect},
    contract::{Cause, UnixMillis},
    record,
    token::Secret,
};
use reqwest::Url;
use tokio::time::Instant;
use tokio_tungstenite::tungstenite::handshake::client::generate_key;

use crate::CallMeter;
use crate::client::{Answer, Call, Client, ClientError, Failure, Heard, Opening, Settings, Socket};

/// Whom to ask, and as whom.
#[derive(Clone, Debug)]
pub struct Site {
    /// `naming.url`: AM's base URLs, in order of preference.
    pub urls: Vec<String>,
    /// Realm of the agent's profile, beginning with `/`.
    pub realm: String,
    /// Name of the agent's profile.
    pub agent: String,
    /// Name of AM's session cookie until [`Am::server_info`] has asked.
    pub cookie_name: String,
    /// What AM speaks.
    pub dialect: Dialect,
    /// How the agent logs in, in dialect B.
    pub agent_auth: AgentAuth,
}

/// An attribute or property and its values.
pub type Named = (String, Vec<String>);

/// AM, as one worker reaches it for one instance.
pub struct Am {
    client: Client,
    bases: Vec<Url>,
    /// Index of the server that answered last. It only grows; the remainder counts.
    current: Arc<AtomicUsize>,
    realm: String,
    agent: String,
    dialect: Dialect,
    agent_auth: AgentAuth,
    token_header: Mutex<Arc<str>>,
    /// `add.amlbcookie`
    balanced: AtomicBool,
    last_failure: Mutex<Option<Failure>>,
}

impl Am {
    /// Connects to nothing yet.
    pub fn new(site: &Site, settings: &Settings) -> Result<Am, ClientError> {
        let bases = site
            .urls
            .iter()
            .enumerate()
            .map(|(i, url)| base(url).ok_or(ClientError::Url(i)))
            .collect::<Result<Vec<Url>, ClientError>>()?;
        if bases.is_empty() {
            return Err(ClientError::Url(0));
        }
        Ok(Am {
            client: Client::new(settings, &bases)?,
            bases,
            current: Arc::default(),
            realm: site.realm.clone(),
            agent: site.agent.clone(),
            dialect: site.dialect,
            agent_auth: site.agent_auth,
            token_header: Mutex::new(Arc::from(site.cookie_name.as_str())),
            balanced: AtomicBool::new(false),
            last_failure: Mutex::new(None),
        })
    }

    /// Where the index of the server that answered last is kept; it only grows, the remainder counts.
    pub fn position(&self) -> Arc<AtomicUsize> {
        self.current.clone()
    }

    /// Counts each call from now on.
    pub fn metered(&self, meter: CallMeter) {
        self.client.metered(meter);
    }

    /// `add.amlbcookie`: whether calls tell AM's load balancer which server keeps the session.
    pub fn balance(&self, on: bool) {
        self.balanced.store(on, Ordering::Relaxed);
    }

    /// The newest failure of a call, for the log. It names no URL and no token.
    pub fn last_failure(&self) -> Option<Failure> {
        self.last_failure.lock().clone()
    }

    /// Asks AM for the name of its session cookie, and presents tokens under that name from now on.
    pub async fn server_info(&self, call: Call) -> Result<ServerInfo, AmError> {
        let answer = self.ask(&server_info::encode(), call).await?;
        let info = answer.read(server_info::parse)?;
        *self.token_header.lock() = Arc::from(info.cookie_name.as_str());
        Ok(info)
    }

    /// Whether any server answers anything but a failure of its own. Asked anonymously.
    ///
    /// # Errors
    /// The last server's failure, when none does.
    pub async fn reachable(&self, call: Call) -> Result<(), Failure> {
        let mut failed = None;
        for left in (1..=self.bases.len()).rev() {
            let at = self.current.load(Ordering::Relaxed);
            let result = self.ask_one(&server_info::encode(), call, at, left).await;
            failed = match result {
                Ok(answer) if answer.status() < 500 => return Ok(()),
                Ok(answer) => Some(Failure {
                    cause: Cause::Status(answer.status()),
                    why: format!("HTTP {}", answer.status()),
                }),
                Err(failure) => Some(failure),
            };
            self.move_on_from(at);
        }
        failed.map_or(Ok(()), Err)
    }

    /// Whether another server than the first of `naming.url` is asked at the moment.
    pub(crate) fn is_elsewhere(&self) -> bool {
        !self
            .current
            .load(Ordering::Relaxed)
            .is_multiple_of(self.bases.len())
    }

    /// Goes back to the first server, if it answers. Asked anonymously.
    pub(crate) async fn back_to_first(&self, call: Call) -> bool {
        let at = self.current.load(Ordering::Relaxed);
        let first = at.next_multiple_of(self.bases.len());
        let answer = self.ask_one(&server_info::encode(), call, first, 1).await;
        let there = answer.is_ok_and(|answer| answer.status() < 500);
        there
            && self
                .current
                .compare_exchange(at, first, Ordering::Relaxed, Ordering::Relaxed)
                .is_ok()
    }

    /// Logs the agent in. Each login makes a session at AM that nothing else removes: share the token,
    /// and end it with [`Am::logout`].
    pub async fn agent_login(&self, password: &Secret, call: Call) -> Result<Secret, AmError> {
        let module = agent_login::encode(&self.realm, &self.agent, password);
        let tree = b::agent_login::encode(&self.realm, &self.agent, password);
        match (self.dialect, self.agent_auth) {
            (Dialect::OpenAm, _) | (_, AgentAuth::Module) => self.log_in(&module, call).await,
            (_, AgentAuth::Tree) => self.log_in(&tree, call).await,
            (_, AgentAuth::TreeThenModule) => match self.log_in(&tree, call).await {
                // Nobody says what an AM without the tree answers, so any refusal may be that.
                Err(refused @ (AmError::Refused { .. } | AmError::PROTOCOL)) => {
                    match self.log_in(&module, call).await {
                        Err(AmError::Refused { status }) if status != 401 => Err(refused),
                        other => other,
                    }
                }
                other => other,
            },
        }
    }

    /// Logs a user in to a realm: only for who examines an installation. As with
    /// [`Am::agent_login`] the session has to be ended.
    pub async fn user_login(
        &self,
        realm: &str,
        user: &str,
        password: &Secret,
        call: Call,
    ) -> Result<Secret, AmError> {
        let exchange = agent_login::encode_user(realm, user, password);
        self.log_in(&exchange, call).await
    }

    async fn log_in(&self, exchange: &Exchange, call: Call) -> Result<Secret, AmError> {
        let answer = self.ask(exchange, call).await?;
        let cookie = self.header();
        answer.read(|reply| agent_login::parse(reply, &cookie))
    }

    /// The agent's profile.
    pub async fn profile(&self, agent: &Secret, call: Call) -> Result<Vec<Named>, AmError> {
        let exchange = profile::encode(&self.realm, &self.agent, &self.header(), agent);
        let answer = self.ask_about(agent, exchange, call).await?;
        answer.read(|reply| profile::parse(reply, &self.agent))
    }

    /// A record of the session behind `token`. With `reset` the question counts as activity of the
    /// user; OpenAM 16.0.5 counts it without, too. `now` is the wall clock before the call.
    ///
    /// Where AM's words do not say whose token is dead, the agent's own is validated first (rule S5).
    pub async fn session(
        &self,
        agent: &Secret,
        token: &Secret,
        reset: bool,
        now: UnixMillis,
        call: Call,
    ) -> Result<Vec<u8>, AmError> {
        let answer = match self.dialect {
            Dialect::OpenAm => {
                let exchange = session::encode(agent, token, reset)?;
                let answer = self.ask_about(token, exchange, call).await?;
                answer.read(|reply| session::parse(reply, token, now))?
            }
            Dialect::PingAm => {
                let exchange = b::session::encode(&self.realm, &self.header(), agent, token)?;
                let answer = self.ask_about(token, exchange, call).await?;
                answer.read(|reply| b::session::parse(reply, token))?
            }
        };
        match answer {
            session::Answer::Live(record) => Ok(record),
            session::Answer::Doubt => match self.validate(agent, call).await? {
                true => Err(AmError::UserDead),
                false => Err(AmError::AgentDead),
            },
        }
    }

    /// A policy record for each resource asked about, in that order.
    pub async fn evaluate(
        &self,
        agent: &Secret,
        question: &Question<'_>,
        call: Call,
    ) -> Result<Vec<(String, Vec<u8>)>, AmError> {
        if question.resources.is_empty() {
            return Ok(Vec::new());
        }
        let exchange = policy::encode(question, &self.header(), agent)?;
        let answer = self.ask_about(question.token, exchange, call).await?;
        answer.read(|reply| policy::parse(reply, question.resources))
    }

    /// A record of the profile attributes of the session's user, read with the user's own token.
    /// The question counts as activity of the user.
    pub async fn attributes(
        &self,
        token: &Secret,
        session: &record::Session<'_>,
        names: &[String],
        call: Call,
    ) -> Result<Vec<u8>, AmError> {
        let user = user_of(session.universal_id).ok_or(AmError::PROTOCOL)?;
        let header = self.header();
        let exchange = attributes::encode(session.realm, &user, names, &header, token)?;
        let answer = self.ask_about(token, exchange, call).await?;
        answer.read(|reply| attributes::parse(reply, names))
    }

    /// Ends the session of this token, a user's or the agent's own.
    pub async fn logout(&self, token: &Secret, call: Call) -> Result<Ended, AmError> {
        let exchange = match self.dialect {
            Dialect::OpenAm => logout::encode(&self.header(), token)?,
            Dialect::PingAm => b::logout::encode(&self.realm, &self.header(), token)?,
        };
        let answer = self.ask_about(token, exchange, call).await?;
        answer.read(logout::parse)
    }

    /// Whether this token, the agent's own, is alive.
    pub async fn validate(&self, token: &Secret, call: Call) -> Result<bool, AmError> {
        let header = self.header();
        let exchange = match self.dialect {
            Dialect::OpenAm => validate::encode(&header, token),
            Dialect::PingAm => b::session::encode(&self.realm, &header, token, token)?,
        };
        let answer = self.ask_about(token, exchange, call).await?;
        answer.read(match self.dialect {
            Dialect::OpenAm => validate::parse,
            Dialect::PingAm => b::session::parse_own,
        })
    }

    /// A record of the keys that AM publishes (dialect B). Asked anonymously.
    pub async fn keys(&self, call: Call) -> Result<Vec<u8>, AmError> {
        let answer = self.ask(&b::keys::encode(), call).await?;
        answer.read(b::keys::parse)
    }

    /// Writes one record to AM's audit log.
    pub async fn audit(
        &self,
        agent: &Secret,
        event: &AuditEvent<'_>,
        call: Call,
    ) -> Result<(), AmError> {
        let exchange = audit::encode(&self.realm, event, &self.header(), agent)?;
        let answer = self.ask_about(agent, exchange, call).await?;
        answer.read(audit::parse)
    }

    /// Asks the server that answered last for the WebSocket on which AM says what changed. When it can't
    /// be reached, the next attempt goes to the next one.
    ///
    /// # Errors
    /// No answer, or one that is not the protocol.
    pub async fn notifications(&self, agent: &Secret, call: Call) -> Result<Opening, Failure> {
        let key = generate_key();
        let mut exchange = notifications::encode(&self.header(), agent, key.clone());
        self.name_server(agent, &mut exchange);
        let at = self.current.load(Ordering::Relaxed);
        let base = &self.bases[at % self.bases.len()];
        let opening = self.client.open(base, &exchange, &key, call).await;
        if opening.is_err() {
            self.move_on_from(at);
        }
        opening
    }

    /// Has AM send everything on a socket that it can tell. `meanwhile` gets what it says before it has taken
    /// all subscriptions.
    ///
    /// # Errors
    /// AM refuses a subscription, or as [`Socket::hear`].
    pub async fn subscribe(
        socket: &mut Socket,
        mut meanwhile: impl FnMut(Notice),
    ) -> Result<(), String> {
        for topic in TOPICS {
            socket.say(notifications::subscribe(topic)).await?;
        }
        let mut taken = 0;
        while taken < TOPICS.len() {
            let Heard::Text(text) = socket.hear().await? else {
                continue;
            };
            match notifications::parse(text.as_bytes()) {
                Notice::Subscribed => taken += 1,
                Notice::Refused(why) => return Err(format!("AM refused a subscription: {why}")),
                notice => meanwhile(notice),
            }
        }
        Ok(())
    }

    fn header(&self) -> Arc<str> {
        Arc::clone(&self.token_header.lock())
    }

    /// [`Am::ask`], of the server that keeps the session of `token` where AM's load balancer knows it.
    async fn ask_about(
        &self,
        token: &Secret,
        mut exchange: Exchange,
        call: Call,
    ) -> Result<Answer, AmError> {
        self.name_server(token, &mut exchange);
        self.ask(&exchange, call).await
    }

    /// Tells AM's load balancer which server keeps the session of `token`.
    fn name_server(&self, token: &Secret, exchange: &mut Exchange) {
        if self.balanced.load(Ordering::Relaxed)
            && let Some(id) = server_id(token.expose())
        {
            let cookie = Value::Plain(format!("amlbcookie={id}").into());
            exchange.headers.push(("Cookie".into(), cookie));
        }
    }

    /// Asks the server that answered last; when it can't be reached, the next ones while the deadline
    /// lasts. An answer of any status is an answer.
    async fn ask(&self, exchange: &Exchange, call: Call) -> Result<Answer, AmError> {
        let mut failed = Failure {
            cause: Cause::Transport,
            why: String::new(),
        };
        for left in (1..=self.bases.len()).rev() {
            let at = self.current.load(Ordering::Relaxed);
            failed = match self.ask_one(exchange, call, at, left).await {
                Ok(answer) => return Ok(answer),
                Err(failure) => failure,
            };
            if !matches!(failed.cause, Cause::Transport | Cause::Timeout | Cause::Tls) {
                break;
            }
            self.move_on_from(at);
            if Instant::now() >= call.until {
                break;
            }
        }
        let cause = failed.cause;
        *self.last_failure.lock() = Some(failed);
        Err(AmError::Unavailable(cause))
    }

    /// Asks the server `at`. `left` servers share the time that is left, so that one that hangs
    /// does not take what the next one needs.
    async fn ask_one(
        &self,
        exchange: &Exchange,
        call: Call,
        at: usize,
        left: usize,
    ) -> Result<Answer, Failure> {
        let base = &self.bases[at % self.bases.len()];
        let now = Instant::now();
        let share = call.until.saturating_duration_since(now) / u32::try_from(left).unwrap_or(1);
        let until = now + share;
        self.client
            .send(base, exchange, Call { until, ..call })
            .await
    }

    /// Calls that fail together move on by one server, not by one each.
    fn move_on_from(&self, at: usize) {
        let next = at.wrapping_add(1);
        let _ = self
            .current
            .compare_exchange(at, next, Ordering::Relaxed, Ordering::Relaxed);
    }
}

/// A base URL with its trailing slash. A user name in it would be sent as a header of its own, and
/// query and fragment mean nothing in a base.
fn base(url: &str) -> Option<Url> {
    let mut base = Url::parse(url).ok()?;
    let plain = base.username().is_empty()
        && base.password().is_none()
        && base.query().is_none()
        && base.fragment().is_none();
    if !matches!(base.scheme(), "http" | "https") || !base.has_host() || !plain {
        return None;
    }
    if !base.path().ends_with('/') {
        base.set_path(&format!("{}/", base.path()));
    }
    Some(base)
}

#[cfg(test)]
#[path = "am_tests.rs"]
mod tests;

//! The instance that is examined, and what earlier checks have learnt about it.
//!
//! Asks AM with the module's own client and reads files with the module's own code. Must not judge.

use std::{
    path::{Path, PathBuf},
    rc::Rc,
    sync::Arc,
    time::Duration,
};

use anyhow::Result;
use portcullis_engine::{
    am::{AmError, a::server_info::ServerInfo},
    config::{Config, Problem},
    token::Secret,
};
use portcullis_runtime::{
    Start,
    am::{Am, Named},
    client::{Call, Failure, Permit, Seen, Shown, Witness},
    examine::{self, Instead},
};

use super::{curl, notifications::Line};
use crate::instance::Instance;

/// The user that may be given for the check of sessions.
pub(crate) struct User {
    pub(crate) name: String,
    pub(crate) password: Secret,
    pub(crate) realm: String,
}

/// What is to be examined, and how.
pub(crate) struct Wish {
    pub(crate) instance: Instance,
    pub(crate) user: Option<User>,
    /// Fingerprint of the key that the other nodes of the farm have.
    pub(crate) key: Option<String>,
    /// Whether a worker is started and ended.
    pub(crate) worker: bool,
    /// What `nginx -T` printed.
    pub(crate) nginx_dump: Option<PathBuf>,
    /// How long one question to AM may take.
    pub(crate) patience: Duration,
}

/// One server of `naming.url`.
pub(crate) struct Server {
    pub(crate) url: String,
    pub(crate) https: bool,
    pub(crate) host: String,
    pub(crate) port: u16,
    /// The addresses of its name, or why there are none.
    pub(crate) addresses: Result<Vec<std::net::IpAddr>, String>,
    /// What it said when it was asked about itself.
    pub(crate) asked: Option<Asked>,
}

/// A question to one server, answered or not.
pub(crate) struct Asked {
    pub(crate) info: Result<ServerInfo, AmError>,
    pub(crate) failure: Option<Failure>,
    pub(crate) seen: Option<Seen>,
    pub(crate) shown: Shown,
}

/// See the module.
pub(crate) struct Patient {
    pub(crate) wish: Wish,
    pub(crate) start: Option<Start>,
    pub(crate) problems: Vec<Problem>,
    pub(crate) servers: Vec<Server>,
    /// The configuration in force, once it is known.
    pub(crate) force: Option<Config>,
    pub(crate) profile: Option<Vec<Named>>,
    pub(crate) line: Line,
    witness: Arc<Witness>,
    runtime: tokio::runtime::Runtime,
    am: Option<Rc<Am>>,
    login: Option<Result<Secret, AmError>>,
    login_seen: Option<Seen>,
}

impl Patient {
    /// Reads the files. AM is asked later.
    pub(crate) fn new(wish: Wish) -> Result<Patient> {
        let (start, problems) = examine::read(&wish.instance.conf);
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_io()
            .enable_time()
            .build()?;
        let servers = start.as_ref().map(|s| servers(&s.config));
        Ok(Patient {
            servers: servers.unwrap_or_default(),
            wish,
            start,
            problems,
            force: None,
            profile: None,
            line: Line::default(),
            witness: Arc::default(),
            runtime,
            am: None,
            login: None,
            login_seen: None,
        })
    }

    pub(crate) fn conf(&self) -> &Path {
        &self.wish.instance.conf
    }

    /// A file of this name beside `agent.conf`.
    pub(crate) fn beside(&self, name: &str) -> PathBuf {
        self.conf().with_file_name(name)
    }

    /// The bootstrap configuration.
    pub(crate) fn config(&self) -> Option<&Config> {
        self.start.as_ref().map(|s| &s.config)
    }

    /// The configuration in force, or the bootstrap one while it is not known.
    pub(crate) fn in_force(&self) -> Option<&Config> {
        self.force.as_ref().or(self.config())
    }

    pub(crate) fn call(&self) -> Call {
        Call {
            permit: Permit::KnownSession,
            until: tokio::time::Instant::now() + self.wish.patience,
        }
    }

    /// Waits for AM.
    pub(crate) fn wait<F: Future>(&self, what: F) -> F::Output {
        // Deadlines are taken inside, where the clock of the runtime is known.
        self.runtime.block_on(what)
    }

    /// A client as a worker has it.
    pub(crate) fn client(&self, instead: Instead) -> Option<Am> {
        let start = self.start.as_ref()?;
        examine::am(start, instead, self.witness.clone()).ok()
    }

    /// Whether a client can be made at all.
    pub(crate) fn client_error(&self) -> Option<String> {
        let start = self.start.as_ref()?;
        let made = examine::am(start, Instead::default(), self.witness.clone());
        made.err().map(|e| e.to_string())
    }

    pub(crate) fn witness(&self) -> &Witness {
        &self.witness
    }

    /// The first server that answered as AM does.
    pub(crate) fn selected(&self) -> Option<&Server> {
        let answers = |s: &&Server| s.asked.as_ref().is_some_and(|a| a.info.is_ok());
        self.servers.iter().find(answers)
    }

    pub(crate) fn info(&self) -> Option<&ServerInfo> {
        self.selected()?.asked.as_ref()?.info.as_ref().ok()
    }

    /// The name of AM's cookie as the module uses it.
    pub(crate) fn cookie_name(&self) -> String {
        let own = self.config().map(|c| c.cookie_name.clone());
        match (own, self.info()) {
            (Some(own), _) if !own.is_empty() => own,
            (_, Some(info)) => info.cookie_name.clone(),
            _ => String::new(),
        }
    }

    /// The client for everything after the way to AM is known.
    pub(crate) fn am(&mut self) -> Option<Rc<Am>> {
        if self.am.is_none() {
            let url = Some(self.selected()?.url.clone());
            let cookie_name = Some(self.cookie_name());
            let made = self.client(Instead {
                url,
                cookie_name,
                dialect: None,
            });
            self.am = made.map(Rc::new);
        }
        self.am.clone()
    }

    /// Logs the agent in, once: each attempt can count against the profile.
    pub(crate) fn login(&mut self) -> Option<Result<Secret, AmError>> {
        if self.login.is_none() {
            let password = self.start.as_ref()?.secrets.password.clone();
            let result = self.log_in(&password)?;
            self.login_seen = self.witness.last();
            self.login = Some(result);
        }
        self.login.clone()
    }

    /// Another session of the agent.
    pub(crate) fn log_in(&mut self, password: &Secret) -> Option<Result<Secret, AmError>> {
        let am = self.am()?;
        Some(self.wait(async { am.agent_login(password, self.call()).await }))
    }

    /// The exchange of the agent's login.
    pub(crate) fn login_seen(&self) -> Option<&Seen> {
        self.login_seen.as_ref()
    }

    /// The agent's session, where there is one.
    pub(crate) fn token(&mut self) -> Option<Secret> {
        self.login()?.ok()
    }

    /// The last exchange as a command for a shell.
    pub(crate) fn curl(&self) -> Option<String> {
        self.witness.last().map(|seen| self.curl_of(&seen))
    }

    pub(crate) fn curl_of(&self, seen: &Seen) -> String {
        curl::command(seen, self.config(), &self.cookie_name())
    }

    /// Ends what was begun at AM.
    pub(crate) fn dismiss(&mut self) {
        if let (Some(am), Some(Ok(token))) = (&self.am, self.login.take()) {
            // The session would end by AM's own limits; that it ends now is not worth an error.
            let _ = self.wait(async { am.logout(&token, self.call()).await });
        }
    }
}

fn servers(config: &Config) -> Vec<Server> {
    config
        .naming_url
        .iter()
        .filter_map(|url| server(url))
        .collect()
}

/// The parts of a URL that the parser of the configuration has accepted.
fn server(url: &str) -> Option<Server> {
    let (scheme, rest) = url.split_once("://")?;
    let https = scheme.eq_ignore_ascii_case("https");
    let authority = rest.split('/').next()?;
    let (host, port) = match authority.rsplit_once(':') {
        Some((host, port)) if !port.ends_with(']') => (host, port.parse().ok()?),
        _ => (authority, if https { 443 } else { 80 }),
    };
    Some(Server {
        url: url.to_owned(),
        https,
        host: host.trim_matches(['[', ']']).to_ascii_lowercase(),
        port,
        addresses: Err("not looked up".into()),
        asked: None,
    })
}

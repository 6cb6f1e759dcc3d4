//! A strict simulator of AM, by default in dialect A (OpenAM 16): what the real server refuses, it refuses with the same status and
//! words, as measured on OpenAM 16.0.5. What it does not simulate it answers with 501 and says so; it never pretends.
//!
//! Simulated: agent and user login, server information, agent profiles, REST and XML session services, policy
//! evaluation, the OpenID Connect login of agents with a login page that works without scripts, `/cdcservlet`, logout, users' own
//! entries, audit events, the WebSocket at `/notifications` with what is published there, and the REST
//! administration that seeds them. With [`Dialect::ForgeRock`] and [`Dialect::PingAm`] agents log in by a tree, ask for
//! others' sessions with `getSessionInfo` 4.0, are looked up in the realm that `agent_realm` names and get ID tokens signed
//! with a key that `/oauth2/connect/jwk_uri` shows; there are no XML services, and everything else stays OpenAM's. Not simulated:
//! step-up at `/cdcservlet`, `/identity`, the XML services other than `Session`, `evaluateTree`,
//! OAuth2 beyond `authorize` and, in dialect B, `connect/jwk_uri`, scripted and other conditions than IPv4, AuthLevel, SimpleTime and their combinations.
//!
//! A test starts one in its own process:
//!
//! ```
//! use am_simulator::{Config, Damage, Fault, Simulator};
//! let am = Simulator::start(Config::default())?;
//! am.create_user(&serde_json::json!({"username": "demo", "userpassword": "changeit8"}))?;
//! let token = am.log_in("/", "demo")?;
//! am.add_fault(Fault::on("/json/policies", Damage::Status { status: 503 }).times(1));
//! println!("{} knows {token}", am.base_url());
//! am.stop();
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! The name in the base URL is AM's own ([`Config::host`]), because AM refuses every other: connect to
//! [`Running::address`] and send that name as `Host`.

mod agent_defaults;
mod agents;
mod audit;
mod authenticate;
mod calllog;
mod cdcservlet;
mod clock;
mod conditions;
mod control;
mod evaluate;
mod faults;
mod http;
mod keys;
mod login;
mod notifications;
mod oauth2;
mod pattern;
mod pll;
mod policies;
mod realms;
mod rest;
mod seed;
mod server;
mod serverinfo;
mod session;
mod sessions;
mod state;
mod token;
mod users;
mod xml;

pub use calllog::Call;
pub use faults::{Damage, Fault};
pub use keys::Signing;
pub use seed::{Config, Dialect};
pub use session::{Kind, Session};
pub use state::{Am, AuditEvent, Refused};

use std::net::SocketAddr;
use std::ops::Deref;
use std::sync::Arc;
use std::time::Duration;

/// Starts simulated AMs.
#[derive(Debug)]
pub struct Simulator;

/// An AM that is being served, on threads of its own, until it is stopped or dropped. Its data are reached through
/// [`Am`].
#[derive(Debug)]
pub struct Running {
    am: Arc<Am>,
    address: SocketAddr,
    base_url: String,
    runtime: Option<tokio::runtime::Runtime>,
}

impl Simulator {
    /// Starts one. Calls are answered as soon as this returns.
    ///
    /// # Errors
    /// The address cannot be bound, or an object of the configuration is refused.
    pub fn start(config: Config) -> std::io::Result<Running> {
        let listener = std::net::TcpListener::bind(config.listen)?;
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        let base_url = format!(
            "http://{}:{}{}",
            config.host,
            address.port(),
            config.context
        );
        let am = Am::new(config, address.port())
            .map_err(|e| std::io::Error::new(std::io::ErrorKind::InvalidInput, e))?;
        let am = Arc::new(am);
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .thread_name("am-simulator")
            .enable_all()
            .build()?;
        let guard = runtime.enter();
        let door = server::Door(tokio::net::TcpListener::from_std(listener)?);
        runtime.spawn(server::serve(door, Arc::clone(&am)));
        drop(guard);
        Ok(Running {
            am,
            address,
            base_url,
            runtime: Some(runtime),
        })
    }
}

impl Running {
    /// `http://am.test.example.org:PORT/openam`.
    #[must_use]
    pub fn base_url(&self) -> &str {
        &self.base_url
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Stops serving: open connections are closed and new ones refused when this returns.
    pub fn stop(mut self) {
        self.close();
    }

    fn close(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            // On a thread of its own, because the caller may be inside another runtime, where waiting is forbidden.
            let closing =
                std::thread::spawn(move || runtime.shutdown_timeout(Duration::from_secs(10)));
            let _ = closing.join();
        }
    }
}

impl Deref for Running {
    type Target = Am;

    fn deref(&self) -> &Am {
        &self.am
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.close();
    }
}

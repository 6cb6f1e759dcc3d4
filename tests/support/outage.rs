//! What tests of an AM that fails need: how often it was asked, how to take it away and bring it back,
//! and requests that wait while others go on.

use std::{net::SocketAddr, sync::mpsc, time::Duration};

use am_simulator::{Config, Running, Simulator};
use portcullis_openam::seed::Am;

use crate::{
    client::{Request, Response},
    site::{self, AmServer, Site},
};

/// How often an agent or a user logged in at AM.
pub fn logins(am: &Running) -> usize {
    count(am, |path, _| path.ends_with("/authenticate"))
}

/// How often AM was asked for policy decisions.
pub fn evaluations(am: &Running) -> usize {
    count(am, |_, action| action == Some("evaluate"))
}

/// How often AM was asked who is behind a session.
pub fn session_questions(am: &Running) -> usize {
    count(am, |path, _| path.ends_with("/sessionservice"))
}

fn count(am: &Running, is_one: impl Fn(&str, Option<&str>) -> bool) -> usize {
    let calls = am.calls();
    let some = calls
        .iter()
        .filter(|call| is_one(&call.path, call.action.as_deref()));
    some.count()
}

/// An AM that was taken away.
pub struct Gone {
    address: SocketAddr,
}

/// Stops the site's AM: its port refuses connections.
pub fn stop_am(site: &mut Site) -> Gone {
    let address = site.am.simulator().address();
    let nobody = AmServer::Real(Am::at(&site.am.url()).expect("URL of AM"));
    if let AmServer::Simulated(am) = std::mem::replace(&mut site.am, nobody) {
        am.stop();
    }
    Gone { address }
}

/// Starts AM again in the same place. It knows the same users, agents and policies, but no session:
/// those of before are gone.
pub fn restart_am(site: &mut Site, gone: Gone) {
    let config = Config {
        listen: gone.address,
        ..Config::default()
    };
    let am = AmServer::Simulated(Box::new(Simulator::start(config).expect("simulator")));
    site::seed(&am, &site.url(), &serde_json::json!({}));
    site.am = am;
}

/// Requests on their way, each on a connection and a thread of its own.
pub struct Crowd {
    answers: mpsc::Receiver<std::io::Result<Response>>,
    open: usize,
}

impl Crowd {
    /// Sends each request at once.
    pub fn send(site: &Site, requests: Vec<Request>) -> Crowd {
        let (sender, answers) = mpsc::channel();
        let open = requests.len();
        for request in requests {
            let (sender, to, host) = (sender.clone(), site.server.address(), site.authority());
            std::thread::spawn(move || {
                // The receiver is gone only when the test has failed.
                let _ = sender.send(request.send(to, &host));
            });
        }
        Crowd { answers, open }
    }

    /// The next answer.
    ///
    /// # Panics
    /// When none comes within a minute, or the connection broke.
    pub fn answer(&mut self) -> Response {
        let answer = self.answers.recv_timeout(Duration::from_secs(60));
        self.open -= 1;
        answer
            .expect("an answer")
            .expect("an answer without a broken connection")
    }

    /// Requests still without an answer.
    pub fn open(&self) -> usize {
        self.open
    }

    /// All answers that are still to come.
    pub fn rest(mut self) -> Vec<Response> {
        let open = self.open;
        (0..open).map(|_| self.answer()).collect()
    }
}

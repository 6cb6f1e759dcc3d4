//! Logins that go round in circles end with a page that says why, and no client begins too many
//! (rules L8 and L9).
#![allow(clippy::expect_used, clippy::panic, reason = "helpers of tests")]

mod support;

use std::{cell::RefCell, collections::HashMap, net::IpAddr};

use portcullis_engine::{
    config::Snapshot,
    contract::{
        Act, Ask, AttributesKey, FactError, Facts, Header, Known, Need, Now, Outcome, PolicyKey,
        Receipt, Response, SessionKey, Step, UnixMillis,
    },
    decide,
    event::Code,
    record::{Attributes, Policy, Session},
};
use support::{AGENT, NOW};

const LEGACY: &str = "org.forgerock.openam.agents.config.allow.custom.login = 2\n\
                      com.forgerock.agents.accept.sso.token = 1\n";
const AM_COOKIE: &str = "iPlanetDirectoryPro=AQIC5w.*";

/// A host that counts, and for which every session is dead.
#[derive(Default)]
struct Counting {
    counts: RefCell<HashMap<u128, u32>>,
    receipts: RefCell<Vec<(Act, u32)>>,
    /// AM was asked about the session.
    asked: bool,
}

impl Facts for Counting {
    fn session(&self, _: SessionKey) -> Known<Session<'_>> {
        match self.asked {
            true => Known::Failed(FactError::Dead, None),
            false => Known::Missing,
        }
    }
    fn policy(&self, _: PolicyKey) -> Known<Policy<'_>> {
        Known::Missing
    }
    fn attributes(&self, _: AttributesKey) -> Known<Attributes<'_>> {
        Known::Missing
    }
    fn form(&self) -> Known<&[u8]> {
        Known::Missing
    }
    fn receipt(&self, of: &Act) -> Known<Receipt> {
        let receipts = self.receipts.borrow();
        match receipts.iter().find(|(act, _)| act == of) {
            Some((_, n)) => Known::Fresh(Receipt::Counted(*n)),
            None => Known::Missing,
        }
    }
    fn counted(&self, of: u128) -> u32 {
        self.counts.borrow().get(&of).copied().unwrap_or(0)
    }
    fn seed(&self) -> &[u8; 32] {
        &[9; 32]
    }
}

/// A client with its cookies, at a moment.
struct Client<'s> {
    snap: &'s Snapshot,
    facts: Counting,
    address: IpAddr,
    headers: Vec<(String, String)>,
    cookies: Vec<String>,
    keeps: bool,
    now: u64,
}

impl<'s> Client<'s> {
    fn new(snap: &'s Snapshot) -> Client<'s> {
        Client {
            snap,
            facts: Counting::default(),
            address: IpAddr::from([192, 0, 2, 7]),
            headers: vec![],
            cookies: vec![],
            keeps: true,
            now: NOW.wall.0,
        }
    }

    fn with(mut self, cookie: &str) -> Self {
        self.cookies.push(cookie.to_owned());
        self
    }

    /// Asks as a host would: counts what is to be counted, and asks AM, which knows no session.
    fn get(&mut self, target: &str) -> (Code, Response, String) {
        let (code, response, detail) = self.ask(target);
        let response = response.expect("an answer of ours");
        if self.keeps {
            for (_, value) in response.headers.iter().filter(|h| h.0 == "Set-Cookie") {
                let value = String::from_utf8(value.clone()).expect("text");
                if value.starts_with("agent-authn-loop=") {
                    self.cookies.retain(|c| !c.starts_with("agent-authn-loop="));
                    let pair = value.split(';').next().expect("pair");
                    if !pair.ends_with('=') {
                        self.cookies.push(pair.to_owned());
                    }
                }
            }
        }
        (code, response, detail)
    }

    fn ask(&mut self, target: &str) -> (Code, Option<Response>, String) {
        let mut fields = self.headers.clone();
        if !self.cookies.is_empty() {
            fields.push(("Cookie".to_owned(), self.cookies.join("; ")));
        }
        let headers: Vec<Header<'_>> = fields
            .iter()
            .map(|(name, value)| Header {
                name: name.as_bytes(),
                value: value.as_bytes(),
            })
            .collect();
        let view = support::view("GET", target, self.address, &headers);
        let now = Now {
            wall: UnixMillis(self.now),
            ..NOW
        };
        self.facts.receipts.borrow_mut().clear();
        self.facts.asked = false;
        for _ in 0..8 {
            let need = match decide(&view, self.snap, &self.facts, now) {
                Step::Done(decision) => {
                    let detail = decision.detail.to_string();
                    return match decision.outcome {
                        Outcome::Respond(response) => (decision.reason, Some(response), detail),
                        Outcome::Allow(_) | Outcome::Replay => (decision.reason, None, detail),
                    };
                }
                Step::Need(need) => need,
            };
            match need {
                Need::Ask(asks) if matches!(asks[0], Ask::Session { .. }) => {
                    assert!(
                        self.facts.receipts.borrow().is_empty(),
                        "asked after an act"
                    );
                    self.facts.asked = true;
                }
                Need::Do(act @ Act::Count { key }) => {
                    let mut counts = self.facts.counts.borrow_mut();
                    let count = counts.entry(key).or_default();
                    *count += 1;
                    self.facts.receipts.borrow_mut().push((act, *count));
                }
                _ => panic!("another need"),
            }
        }
        panic!("no end of needs");
    }

    /// Comes back until something else than a login happens: how often that was one, and what came.
    fn round_and_round(&mut self, target: &str) -> (u32, Code, u16, String) {
        for round in 0..40 {
            let (code, response, detail) = self.get(target);
            if response.status != 302 {
                return (round, code, response.status, detail);
            }
            self.now += 1000;
        }
        (40, Code::LoginNoToken, 302, String::new())
    }
}

fn legacy(lines: &str) -> Snapshot {
    support::snapshot(&format!("{LEGACY}{lines}"))
}

#[test]
fn two_cookies_from_another_domain_end_with_a_page() {
    let snap = legacy("");
    let mut client = Client::new(&snap)
        .with(AM_COOKIE)
        .with("iPlanetDirectoryPro=AQIC6x.*");
    let (rounds, code, status, detail) = client.round_and_round("/a");
    assert_eq!((rounds, code, status), (5, Code::LoopTwoCookies, 403));
    assert!(
        detail.contains("iPlanetDirectoryPro came twice"),
        "{detail}"
    );
    // Whoever has mended it may try again.
    assert_eq!(client.round_and_round("/a").0, 5);
}

#[test]
fn a_cookie_of_am_that_never_comes_ends_with_a_page() {
    let snap = legacy("");
    let mut client = Client::new(&snap);
    let (rounds, code, status, detail) = client.round_and_round("/a");
    assert_eq!((rounds, code, status), (5, Code::LoopAmCookieLost, 500));
    assert!(detail.contains("www.example.com"), "{detail}");
}

#[test]
fn a_session_that_am_ends_at_once_ends_with_a_page() {
    let snap = legacy("");
    let mut client = Client::new(&snap).with(AM_COOKIE);
    let (rounds, code, status, _) = client.round_and_round("/a");
    assert_eq!((rounds, code, status), (5, Code::LoopSessionDead, 403));
}

#[test]
fn the_limit_is_the_operators() {
    for (limit, rounds) in [("1", 1), ("20", 20), ("0", 40)] {
        let snap = legacy(&format!("portcullis.login.loop.limit = {limit}\n"));
        let mut client = Client::new(&snap).with(AM_COOKIE);
        assert_eq!(client.round_and_round("/a").0, rounds, "{limit}");
    }
    let (_, problems) = support::read("portcullis.login.loop.limit = 101\n");
    assert!(!problems.is_empty());
}

#[test]
fn people_who_come_again_are_not_in_a_loop() {
    let snap = legacy("");
    // Many tabs at once.
    let mut client = Client::new(&snap);
    for tab in 0..20 {
        assert_eq!(client.get(&format!("/a?tab={tab}")).1.status, 302, "{tab}");
    }
    // Somebody who leaves the login page and comes back later, again and again.
    for _ in 0..20 {
        client.now += 15_000;
        assert_eq!(client.get("/b").1.status, 302);
    }
    // A counter that has outlived its login says nothing.
    let mut client = Client::new(&snap).with(AM_COOKIE);
    for _ in 0..20 {
        client.now += 361_000;
        assert_eq!(client.get("/b").1.status, 302);
    }
}

#[test]
fn whoever_keeps_no_cookies_is_counted_in_memory() {
    let snap = legacy("");
    let mut client = Client::new(&snap);
    client.keeps = false;
    let (rounds, code, status, _) = client.round_and_round("/a");
    assert_eq!((rounds, code, status), (20, Code::LoopNoCookies, 403));
    // Another page, another program, another address.
    assert_eq!(client.get("/b").1.status, 302);
    client.headers.push(("User-Agent".into(), "another".into()));
    assert_eq!(client.get("/a").1.status, 302);
    client.headers.clear();
    client.address = IpAddr::from([192, 0, 2, 8]);
    assert_eq!(client.get("/a").1.status, 302);
    // Behind a proxy that nobody named it may be many people.
    let mut behind = Client::new(&snap);
    behind.keeps = false;
    behind
        .headers
        .push(("X-Forwarded-For".into(), "198.51.100.9".into()));
    assert_eq!(behind.round_and_round("/a").0, 40);
    // Where the proxy is trusted, whom it names is one client.
    let snap = legacy(&format!(
        "{AGENT}client.ip.header = X-Forwarded-For\nportcullis.trusted.proxies = 192.0.2.0/24\n"
    ));
    let mut behind = Client::new(&snap);
    behind.keeps = false;
    behind
        .headers
        .push(("X-Forwarded-For".into(), "198.51.100.9".into()));
    assert_eq!(behind.round_and_round("/a").0, 20);
}

#[test]
fn a_counter_of_another_node_is_counted_in_memory() {
    let snap = support::snapshot("");
    let mut client = Client::new(&snap)
        .with("agent-authn-loop=AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA");
    client.keeps = false;
    let (rounds, code, status, _) = client.round_and_round("/a");
    assert_eq!((rounds, code, status), (5, Code::LoopUnknownKey, 500));
    let mut client = Client::new(&snap).with("agent-authn-loop=changed");
    client.keeps = false;
    assert_eq!(client.round_and_round("/a").1, Code::LoopBadCookie);
}

#[test]
fn without_a_login_that_ended_nothing_is_counted() {
    // By default the way back says whether a login ended: many starts are no rounds.
    let snap = support::snapshot("");
    let mut client = Client::new(&snap);
    assert_eq!(client.round_and_round("/a").0, 40);
    assert!(
        client.cookies.is_empty(),
        "no counter before a login has ended"
    );
}

#[test]
fn a_client_begins_so_many_logins_and_no_more() {
    let snap = support::snapshot("portcullis.login.starts.max = 3\n");
    let mut client = Client::new(&snap);
    let (rounds, code, status, detail) = client.round_and_round("/a");
    assert_eq!((rounds, code, status), (3, Code::LoginStartsLimited, 429));
    assert_eq!(detail, "192.0.2.7");
    // It is no way out to name another address, or to be another program.
    client
        .headers
        .push(("X-Forwarded-For".into(), "198.51.100.9".into()));
    client.headers.push(("User-Agent".into(), "another".into()));
    assert_eq!(client.get("/b").1.status, 429);
    client.address = IpAddr::from([192, 0, 2, 8]);
    assert_eq!(client.get("/b").1.status, 302);
    // Of IPv6, whoever has one address of a network has them all.
    client.address = "2001:db8::1".parse().expect("address");
    (0..3).for_each(|_| assert_eq!(client.get("/b").1.status, 302));
    client.address = "2001:db8::ffff:1".parse().expect("address");
    assert_eq!(client.get("/b").1.status, 429);
    client.address = "2001:db8:0:1::1".parse().expect("address");
    assert_eq!(client.get("/b").1.status, 302);
}

#[test]
fn what_is_only_reported_counts_nothing() {
    let snap = support::snapshot(
        "portcullis.mode = report\nportcullis.mode.until = 2030-01-01\nportcullis.login.starts.max = 1\n",
    );
    let mut client = Client::new(&snap);
    for _ in 0..3 {
        assert_eq!(client.ask("/a").0, Code::Reported);
    }
    assert!(client.facts.counts.borrow().is_empty());
}

#[test]
fn made_up_tokens_of_a_client_stop_reaching_am() {
    let snap = legacy("portcullis.login.tokens.max = 3\nportcullis.login.loop.limit = 0\n");
    let mut client = Client::new(&snap);
    for token in 0..3 {
        client.cookies = vec![format!("iPlanetDirectoryPro=made-up-{token}")];
        assert_eq!(client.get("/a").0, Code::LoginSessionDead);
        // The same one again is none more.
        if token == 0 {
            assert_eq!(client.get("/a").0, Code::LoginSessionDead);
        }
    }
    client.cookies = vec!["iPlanetDirectoryPro=made-up-3".to_owned()];
    let (code, response, _) = client.get("/a");
    assert_eq!((code, response.status), (Code::DeadTokensLimited, 429));
    assert!(!client.facts.asked, "AM was not asked");
    client.address = IpAddr::from([192, 0, 2, 8]);
    assert_eq!(client.get("/a").0, Code::LoginSessionDead);
}

#[test]
fn a_login_page_of_ones_own_has_the_same_limits() {
    let snap = support::snapshot(&format!(
        "org.forgerock.openam.agents.config.allow.custom.login = 1\n\
         {AGENT}login.url[0] = https://login.example.com/in\n\
         portcullis.login.starts.max = 3\nportcullis.login.tokens.max = 2\n"
    ));
    let mut client = Client::new(&snap);
    let (_, response, _) = client.get("/a");
    let set = response.headers.iter().find(|h| h.0 == "Set-Cookie");
    let set = String::from_utf8(set.expect("a cookie").1.clone()).expect("text");
    let begun = set.split(';').next().expect("pair").to_owned();
    let name = begun.split('=').next().expect("name");
    let state = name.trim_start_matches("agent-authn-tx-");
    let back = format!("/agent/custom-login-response?state={state}");
    // One login that was begun is no way to ask AM about any number of tokens.
    for (token, code) in [
        (0, Code::LoginAtAm),
        (1, Code::LoginAtAm),
        (1, Code::DeadTokensLimited),
        (2, Code::DeadTokensLimited),
    ] {
        let made_up = format!("iPlanetDirectoryPro=made-up-{token}");
        client.cookies = vec![begun.clone(), made_up];
        assert_eq!(client.get(&back).0, code, "{token}");
    }
    assert!(!client.facts.asked, "AM was not asked");
    client.cookies.clear();
    let (rounds, code, status, _) = client.round_and_round("/b");
    assert_eq!((rounds, code, status), (2, Code::LoginStartsLimited, 429));
}

//! A POST that needs a login: when it is kept, and when it takes the place of the request that comes back
//! (rules P1 to P3).
#![allow(clippy::expect_used, clippy::panic, reason = "helpers of tests")]

mod support;

use std::{cell::RefCell, net::IpAddr};

use portcullis_engine::{
    config::Snapshot,
    contract::{
        Act, Ask, AttributesKey, Cause, Decision, FactError, Facts, Header, Known, Local, Need,
        Outcome, PolicyKey, Receipt, RequestView, SessionKey, Step, UnixMillis,
    },
    decide,
    event::Code,
    record::{Attributes, NewPolicy, NewSession, Policy, Session, SessionKind},
    token::{Secret, jwt},
};
use support::{Given, NOW, known};

const PASSWORD: &[u8] = b"pW7-longenough-forTests";
const P: &str = "com.sun.identity.agents.config";
const ORIGIN: &str = "http://www.example.com";

const CONF: &str = "
com.sun.identity.agents.config.organization.name = /
com.sun.identity.agents.config.notenforced.url[GET,0] = http://www.example.com:80/open/*
com.sun.identity.agents.config.postdata.preserve.enable = true
";

fn snapshot(more: &str) -> Snapshot {
    support::snapshot(&format!("{CONF}{more}"))
}

#[derive(Default)]
struct Memo {
    session: Given,
    policy: Given,
    form: Option<Vec<u8>>,
    receipts: RefCell<Vec<(Act, Result<Receipt, FactError>)>>,
}

impl Facts for Memo {
    fn session(&self, _: SessionKey) -> Known<Session<'_>> {
        known(&self.session, Session::decode)
    }
    fn policy(&self, _: PolicyKey) -> Known<Policy<'_>> {
        known(&self.policy, Policy::decode)
    }
    fn attributes(&self, _: AttributesKey) -> Known<Attributes<'_>> {
        Known::Missing
    }
    fn form(&self) -> Known<&[u8]> {
        self.form.as_deref().map_or(Known::Missing, Known::Fresh)
    }
    fn receipt(&self, of: &Act) -> Known<Receipt> {
        if let Act::Count { .. } = of {
            return Known::Fresh(Receipt::Counted(1));
        }
        match self.receipts.borrow().iter().find(|(act, _)| act == of) {
            None => Known::Missing,
            Some((_, Ok(receipt))) => Known::Fresh(*receipt),
            Some((_, Err(error))) => Known::Failed(*error, None),
        }
    }
    fn seed(&self) -> &[u8; 32] {
        &[9; 32]
    }
}

#[derive(Clone)]
struct Sent {
    method: &'static [u8],
    target: &'static str,
    headers: Vec<(&'static str, String)>,
}

impl Sent {
    /// A form of a page of this site, as a browser sends it.
    fn post() -> Sent {
        Sent {
            method: b"POST",
            target: "/app?x=1",
            headers: vec![
                ("Content-Type", "text/x-odd".into()),
                ("Origin", ORIGIN.into()),
            ],
        }
    }

    fn get(target: &'static str, cookies: &str) -> Sent {
        Sent {
            method: b"GET",
            target,
            headers: vec![("Cookie", cookies.into())],
        }
    }

    fn with(mut self, name: &'static str, value: &str) -> Sent {
        self.headers.retain(|(n, _)| *n != name);
        self.headers.push((name, value.into()));
        self
    }

    fn without(mut self, name: &str) -> Sent {
        self.headers.retain(|(n, _)| *n != name);
        self
    }
}

fn run<T>(sent: &Sent, snap: &Snapshot, memo: &Memo, look: impl FnOnce(Step<'_>) -> T) -> T {
    let header =
        |(n, v): &'_ (&'static str, String)| (n.as_bytes().to_vec(), v.as_bytes().to_vec());
    let owned: Vec<_> = sent.headers.iter().map(header).collect();
    let headers: Vec<Header<'_>> = owned
        .iter()
        .map(|(name, value)| Header { name, value })
        .collect();
    let address = IpAddr::from([192, 0, 2, 7]);
    let view = RequestView {
        method: sent.method,
        target: sent.target.as_bytes(),
        host: b"www.example.com",
        headers: &headers,
        merged: false,
        peer: address,
        client: address,
        local: Local {
            tls: false,
            port: 80,
            path: b"",
            path_info: b"",
            authorizes: false,
        },
    };
    look(decide(&view, snap, memo, NOW))
}

fn done<T>(sent: &Sent, snap: &Snapshot, memo: &Memo, look: impl FnOnce(&Decision<'_>) -> T) -> T {
    run(sent, snap, memo, |step| match step {
        Step::Done(decision) => look(&decision),
        Step::Need(need) => panic!("needs {}", word(&need)),
    })
}

fn word(need: &Need) -> &'static str {
    match need {
        Need::Ask(asks) => match asks[0] {
            Ask::Session { .. } => "session",
            Ask::Policy { .. } => "policy",
            Ask::Attributes { .. } => "attributes",
            Ask::Keys { .. } => "keys",
            Ask::Form { .. } => "form",
        },
        Need::Do(Act::SpendState { .. }) => "spend",
        Need::Do(Act::EndSession { .. }) => "end",
        Need::Do(Act::StorePost { .. }) => "store",
        Need::Do(Act::TakePost { .. }) => "take",
        Need::Do(Act::Count { .. }) => "count",
    }
}

/// What happens, in a word: a need, or status and code.
fn outcome(sent: &Sent, snap: &Snapshot, memo: &Memo) -> String {
    run(sent, snap, memo, |step| match step {
        Step::Need(need) => word(&need).to_owned(),
        Step::Done(decision) => match &decision.outcome {
            Outcome::Allow(_) => "allow".to_owned(),
            Outcome::Replay => "replay".to_owned(),
            Outcome::Respond(page) => format!("{} {:?}", page.status, decision.reason),
        },
    })
}

/// The act that is needed next.
fn act(sent: &Sent, snap: &Snapshot, memo: &Memo) -> Act {
    run(sent, snap, memo, |step| match step {
        Step::Need(Need::Do(act)) => act,
        Step::Need(need) => panic!("needs {}", word(&need)),
        Step::Done(decision) => panic!("decided {:?}", decision.reason),
    })
}

fn give(memo: &Memo, act: Act, receipt: Result<Receipt, FactError>) {
    memo.receipts.borrow_mut().push((act, receipt));
}

fn session(user: &str) -> Vec<u8> {
    let session = NewSession {
        kind: SessionKind::User,
        client_side: false,
        max_end: NOW.wall.0 + 3_600_000,
        idle_end: NOW.wall.0 + 1_800_000,
        realm: "/",
        universal_id: user,
        properties: &[("UserToken", user)],
    };
    session.encode().expect("record")
}

fn policy(allowed: bool, advices: &[(&str, &[&str])]) -> Vec<u8> {
    let policy = NewPolicy {
        ttl: u64::MAX,
        actions: &[("GET", true), ("POST", allowed)],
        attributes: &[],
        advices,
    };
    policy.encode().expect("record")
}

fn header_of(decision: &Decision<'_>, name: &str) -> Vec<String> {
    let headers = match &decision.outcome {
        Outcome::Respond(response) => &response.headers,
        _ => &decision.edits.response,
    };
    let named = headers.iter().filter(|(n, _)| n == name);
    named
        .map(|(_, v)| String::from_utf8(v.clone()).expect("text"))
        .collect()
}

fn pair(cookie: &str) -> &str {
    cookie.split(';').next().unwrap_or_default()
}

/// A whole login after this POST, by `user`: where it leads, the cookies that it sets, and its code.
fn login(snap: &Snapshot, sent: &Sent, user: &str) -> (String, Vec<String>, Code) {
    let memo = Memo::default();
    let store = act(sent, snap, &memo);
    give(&memo, store, Ok(Receipt::Done));
    login_after(snap, sent, &memo, user)
}

/// The same with a POST about which all is known.
fn login_after(
    snap: &Snapshot,
    sent: &Sent,
    known: &Memo,
    user: &str,
) -> (String, Vec<String>, Code) {
    let (location, cookie) = done(sent, snap, known, |d| {
        let cookies = header_of(d, "Set-Cookie");
        let login = cookies.iter().find(|c| c.starts_with("agent-authn-tx"));
        let pair = pair(login.expect("cookie")).to_owned();
        (header_of(d, "Location").remove(0), pair)
    });
    let parameter = |name: &str| {
        let at = location.find(&format!("{name}=")).expect("parameter") + name.len() + 1;
        let value = location[at..].split('&').next();
        value.unwrap_or_default().to_owned()
    };
    let key = jwt::dialect_a_key(&Secret::new(PASSWORD.to_vec()));
    let seconds = NOW.wall.0 / 1000;
    let claims = serde_json::json!({
        "iss": "http://am.example.com:8080/openam/oauth2", "aud": "wa1", "azp": "wa1",
        "nonce": parameter("nonce"), "realm": "/", "iat": seconds, "exp": seconds + 4,
        "ssoToken": "AQIC5wM2LY4Sfcw.*AAJTSQACMDEAAlMxAAA.*",
    });
    let header = jsonwebtoken::Header::new(jsonwebtoken::Algorithm::HS256);
    let key = jsonwebtoken::EncodingKey::from_secret(key.expose());
    let token = jsonwebtoken::encode(&header, &claims, &key).expect("token");
    let back = Sent {
        method: b"POST",
        target: "/agent/cdsso-oauth2",
        headers: vec![
            ("Cookie", cookie),
            ("Origin", "http://am.example.com:8080".into()),
            ("Content-Type", "application/x-www-form-urlencoded".into()),
        ],
    };
    let memo = Memo {
        form: Some(format!("id_token={token}&state={}", parameter("state")).into()),
        session: Some(Ok(session(user))),
        ..Memo::default()
    };
    let spend = act(&back, snap, &memo);
    give(&memo, spend, Ok(Receipt::Done));
    done(&back, snap, &memo, |d| {
        let cookies = header_of(d, "Set-Cookie");
        let set = cookies.iter().map(|c| pair(c).to_owned()).collect();
        (header_of(d, "Location").remove(0), set, d.reason)
    })
}

#[test]
fn nothing_is_kept_by_default() {
    let snap = snapshot(&format!("{P}.postdata.preserve.enable = false\n"));
    let found = outcome(&Sent::post(), &snap, &Memo::default());
    assert_eq!(found, "302 LoginNoToken");
}

/// Rule P1.
#[test]
fn only_a_form_of_this_site_is_kept() {
    let snap = snapshot("");
    let post = Sent::post;
    let kept = [
        post(),
        post()
            .with("Sec-Fetch-Site", "same-origin")
            .with("Sec-Fetch-Mode", "navigate"),
        post()
            .without("Origin")
            .with("Sec-Fetch-Site", "same-origin"),
    ];
    for sent in kept {
        assert_eq!(
            outcome(&sent, &snap, &Memo::default()),
            "store",
            "{:?}",
            sent.headers
        );
    }
    let not_kept = [
        post().with("Origin", "http://evil.example.org"),
        post().with("Origin", "http://shop.example.com"),
        post().with("Origin", "https://www.example.com"),
        post().with("Origin", "http://www.example.com:8080"),
        post().with("Origin", "null"),
        post().with("Sec-Fetch-Site", "cross-site"),
        post().with("Sec-Fetch-Site", "same-site"),
        post().without("Origin"),
        post().without("Origin").with("Sec-Fetch-Site", "none"),
        Sent {
            method: b"PUT",
            ..post()
        },
    ];
    for sent in not_kept {
        let found = outcome(&sent, &snap, &Memo::default());
        assert_eq!(found, "302 LoginNoToken", "{:?}", sent.headers);
    }
    // A script cannot log in at all.
    let script = post().with("Sec-Fetch-Mode", "cors");
    assert_eq!(outcome(&script, &snap, &Memo::default()), "401 LoginUnseen");
}

#[test]
fn a_post_to_a_skipped_url_is_not_kept() {
    let skip = "org.forgerock.agents.config.skip.post.url[0] = http://www.example.com:80/app*?*\n";
    let found = outcome(&Sent::post(), &snapshot(skip), &Memo::default());
    assert_eq!(found, "302 LoginNoToken");
}

#[test]
fn each_receipt_has_its_answer_and_no_failure_begins_a_login() {
    let snap = snapshot("portcullis.postdata.body.max = 5\n");
    let announced = Sent::post().with("Content-Length", "6");
    let found = outcome(&announced, &snap, &Memo::default());
    assert_eq!(found, "413 PostTooLarge");
    let sent = Sent::post().with("Content-Length", "5");
    let store = act(&sent, &snap, &Memo::default());
    let failed = |cause| Err(FactError::Unavailable(cause));
    for (receipt, expected) in [
        (Ok(Receipt::Done), "302 LoginNoToken"),
        (Ok(Receipt::TooLarge), "413 PostTooLarge"),
        (Ok(Receipt::Full), "503 PostsFull"),
        (Ok(Receipt::Gone), "503 Internal"),
        (Ok(Receipt::Replayed), "503 Internal"),
        (failed(Cause::Files), "503 PostNotKept"),
        (failed(Cause::Draining), "503 UnavailableDraining"),
        (Err(FactError::NotAllowed), "403 AmNotAllowed"),
        (Err(FactError::Dead), "403 PostNotKept"),
    ] {
        let memo = Memo::default();
        give(&memo, store.clone(), receipt);
        assert_eq!(outcome(&sent, &snap, &memo), expected);
    }
}

#[test]
fn a_kept_post_comes_back_for_its_user_and_url_once() {
    let snap = snapshot("");
    let (location, cookies, code) = login(&snap, &Sent::post(), "demo");
    assert_eq!(
        (location.as_str(), code),
        ("http://www.example.com:80/app?x=1#", Code::LoginDone)
    );
    let cookies = cookies.join("; ");
    assert!(cookies.contains("agent-authn-post-"), "{cookies}");
    let back = Sent::get("/app?x=1", &cookies);
    let memo = Memo {
        session: Some(Ok(session("demo"))),
        policy: Some(Ok(policy(true, &[]))),
        ..Memo::default()
    };
    let take = act(&back, &snap, &memo);
    give(&memo, take.clone(), Ok(Receipt::Done));
    done(&back, &snap, &memo, |d| {
        assert!(matches!(d.outcome, Outcome::Replay) && d.reason == Code::PostReplayed);
        let cleared = header_of(d, "Set-Cookie");
        assert!(cleared[0].starts_with("agent-authn-post-") && cleared[0].contains("Max-Age=0"));
    });
    for (receipt, expected) in [
        (Ok(Receipt::Gone), "404 PostGone"),
        (Ok(Receipt::Replayed), "404 PostGone"),
        (Err(FactError::Unavailable(Cause::Files)), "503 PostNotKept"),
    ] {
        memo.receipts.replace(vec![(take.clone(), receipt)]);
        assert_eq!(outcome(&back, &snap, &memo), expected);
    }
    // Another URL, method or user, a body of its own, no session: an ordinary request.
    let of = |user: &str| Memo {
        session: Some(Ok(session(user))),
        policy: Some(Ok(policy(true, &[]))),
        ..Memo::default()
    };
    assert_eq!(outcome(&back, &snap, &of("other")), "allow");
    for other in [
        Sent::get("/app?x=2", &cookies),
        Sent {
            method: b"HEAD",
            ..back.clone()
        },
        back.clone().with("Content-Length", "3"),
        back.clone().with("Transfer-Encoding", "chunked"),
    ] {
        let found = outcome(&other, &snap, &of("demo"));
        assert!(!["take", "replay"].contains(&found.as_str()), "{found}");
    }
    let dead = Memo {
        session: Some(Err(FactError::Dead)),
        ..Memo::default()
    };
    assert_eq!(outcome(&back, &snap, &dead), "302 LoginSessionDead");
}

/// Rule P2: the POST itself is what AM is asked about.
#[test]
fn a_post_is_taken_only_when_its_policy_is_known() {
    let snap = snapshot("");
    let (_, cookies, _) = login(&snap, &Sent::post(), "demo");
    let back = Sent::get("/app?x=1", &cookies.join("; "));
    let with = |policy| Memo {
        session: Some(Ok(session("demo"))),
        policy,
        ..Memo::default()
    };
    assert_eq!(outcome(&back, &snap, &Memo::default()), "session");
    assert_eq!(outcome(&back, &snap, &with(None)), "policy");
    assert_eq!(
        outcome(&back, &snap, &with(Some(Ok(policy(true, &[]))))),
        "take"
    );
    // It is taken and refused: the denial is about the POST.
    assert_eq!(
        outcome(&back, &snap, &with(Some(Ok(policy(false, &[]))))),
        "take"
    );
    let more = policy(false, &[("AuthLevelConditionAdvice", &["5"])]);
    assert_eq!(outcome(&back, &snap, &with(Some(Ok(more)))), "allow");
    let away = Err(FactError::Unavailable(Cause::Timeout));
    assert_eq!(
        outcome(&back, &snap, &with(Some(away))),
        "503 UnavailableTimeout"
    );
}

#[test]
fn a_page_that_is_open_for_a_get_waits_for_its_post() {
    let snap = snapshot("");
    let sent = Sent {
        target: "/open/form",
        ..Sent::post()
    };
    let (_, cookies, _) = login(&snap, &sent, "demo");
    let back = Sent::get("/open/form", &cookies.join("; "));
    let memo = Memo {
        session: Some(Ok(session("demo"))),
        policy: Some(Ok(policy(true, &[]))),
        ..Memo::default()
    };
    assert_eq!(outcome(&back, &snap, &memo), "take");
    assert_eq!(outcome(&Sent::get("/open/form", ""), &snap, &memo), "allow");
}

/// Rule P2: a known earlier user who is not the new one.
#[test]
fn a_post_of_another_user_is_dropped() {
    let check =
        format!("{P}.client.ip.validation.enable = true\n{P}.client.ip.validation.reauth = true\n");
    let snap = snapshot(&check);
    let sealed = snap.keys.session_cookie.seal(
        &snap.identity,
        "www.example.com",
        UnixMillis(NOW.wall.0 + 1000),
        b"token",
        [3; 12],
    );
    let sent = Sent::post().with("Cookie", &format!("am-auth-jwt={sealed}"));
    let memo = Memo {
        session: Some(Ok(session("demo"))),
        ..Memo::default()
    };
    let end = act(&sent, &snap, &memo);
    give(&memo, end, Ok(Receipt::Done));
    assert_eq!(outcome(&sent, &snap, &memo), "store");
    let Act::StorePost { key, .. } = act(&sent, &snap, &memo) else {
        panic!("another act")
    };
    assert_ne!(key, 0);
    let store = act(&sent, &snap, &memo);
    give(&memo, store, Ok(Receipt::Done));
    for (user, code) in [("demo", Code::LoginDone), ("other", Code::PostOtherUser)] {
        let (_, cookies, found) = login_after(&snap, &sent, &memo, user);
        assert_eq!(found, code);
        let handed_on = cookies.iter().any(|c| c.starts_with("agent-authn-post-"));
        assert_eq!(handed_on, user == "demo");
    }
}

#[test]
fn the_mark_for_a_load_balancer_is_a_cookie_or_in_the_url() {
    const STICKY: &str = "com.sun.identity.agents.config.postdata.preserve.stickysession";
    let url = snapshot(&format!("{STICKY}.mode = URL\n{STICKY}.value = lb=node1\n"));
    let (location, cookies, _) = login(&url, &Sent::post(), "demo");
    assert_eq!(location, "http://www.example.com:80/app?x=1&lb=node1#");
    let memo = Memo {
        session: Some(Ok(session("demo"))),
        policy: Some(Ok(policy(true, &[]))),
        ..Memo::default()
    };
    let back = Sent::get("/app?x=1&lb=node1", &cookies.join("; "));
    assert_eq!(outcome(&back, &url, &memo), "take");
    let snap = snapshot(&format!(
        "{STICKY}.mode = COOKIE\n{STICKY}.value = lb=node1\n"
    ));
    let memo = Memo::default();
    let store = act(&Sent::post(), &snap, &memo);
    give(&memo, store, Ok(Receipt::Done));
    done(&Sent::post(), &snap, &memo, |d| {
        let cookies = header_of(d, "Set-Cookie");
        assert!(
            cookies.iter().any(|c| c.starts_with("lb=node1;")),
            "{cookies:?}"
        );
    });
}

//! The engine driven with made-up facts: what it asks for, in which order, and that no failure of any
//! fact ever lets a request through.
#![allow(clippy::expect_used, clippy::panic, reason = "helpers of tests")]

mod support;

use std::{cell::RefCell, net::IpAddr};

use portcullis_engine::{
    config::{self, Properties, Secrets, Snapshot, Source},
    contract::{
        Act, Ask, AttributesKey, Cause, CookieKey, Decision, FactError, Facts, Header, Known,
        Local, Need, Opened, Outcome, PolicyKey, Receipt, RequestView, RuleId, RuleList,
        SessionKey, Sink, Step, UnixMillis, Why,
    },
    decide,
    decide::audited_user,
    event::Code,
    record::{Attributes, NewPolicy, NewSession, Policy, Session, SessionKind},
    token::{Secret, jwt},
};
use support::{Given, NOW, known};

const TOKEN: &[u8] = b"AQIC5wM2LY4Sfcw.*AAJTSQACMDEAAlMxAAA.*";
const PASSWORD: &[u8] = b"pW7-longenough-forTests";

const CONF: &str = "
com.sun.identity.agents.config.username = wa1
com.sun.identity.agents.config.organization.name = /
com.sun.identity.agents.config.naming.url = http://am.example.com:8080/openam/
com.sun.identity.agents.config.repository.location = local
com.sun.identity.agents.config.agenturi.prefix = http://www.example.com:80
com.sun.identity.agents.config.notenforced.url[0] = http://www.example.com:80/public/*
com.sun.identity.agents.config.agent.logout.url[0] = http://www.example.com:80/logout
com.sun.identity.agents.config.session.attribute.fetch.mode = HTTP_HEADER
com.sun.identity.agents.config.session.attribute.mapping[UserToken] = X-User
";

/// A snapshot of `CONF` and more lines.
fn snapshot(more: &str) -> Snapshot {
    snapshot_with_key(more, (0..32).collect())
}

/// The same with another root secret.
fn snapshot_with_key(more: &str, agent_key: Vec<u8>) -> Snapshot {
    snapshot_of(&format!("{CONF}{more}"), agent_key)
}

fn snapshot_of(text: &str, agent_key: Vec<u8>) -> Snapshot {
    let files = Properties::parse(text, Source::File("agent.conf".into()));
    let (typed, problems) = config::read(&files, None);
    let bad: Vec<String> = problems.iter().map(ToString::to_string).collect();
    assert!(
        problems
            .iter()
            .all(|p| p.severity < config::Severity::Error),
        "{bad:?}"
    );
    let secrets = Secrets {
        password: Secret::new(PASSWORD.to_vec()),
        agent_key: Secret::new(agent_key),
        previous_key: None,
        cert_key_password: None,
        proxy_password: None,
        monitor_password: None,
    };
    let built = Snapshot::build(typed, secrets, [7; 16]);
    built.unwrap_or_else(|p| panic!("{}", p.iter().map(ToString::to_string).collect::<String>()))
}

/// Facts that a test gives.
#[derive(Default)]
struct Memo {
    session: Given,
    policy: Given,
    attributes: Given,
    form: Given,
    receipts: RefCell<Vec<(Act, Result<Receipt, FactError>)>>,
    opened: Vec<(CookieKey, Opened)>,
}

impl Facts for Memo {
    fn session(&self, _: SessionKey) -> Known<Session<'_>> {
        known(&self.session, Session::decode)
    }
    fn policy(&self, _: PolicyKey) -> Known<Policy<'_>> {
        known(&self.policy, Policy::decode)
    }
    fn attributes(&self, _: AttributesKey) -> Known<Attributes<'_>> {
        known(&self.attributes, Attributes::decode)
    }
    fn opened(&self, of: CookieKey) -> Option<Opened> {
        let entry = self.opened.iter().find(|(cookie, _)| *cookie == of);
        entry.map(|(_, opened)| *opened)
    }
    fn form(&self) -> Known<&[u8]> {
        known(&self.form, Some)
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

/// A request to be sent.
struct Sent {
    method: &'static [u8],
    host: &'static [u8],
    target: String,
    headers: Vec<(&'static str, String)>,
    /// httpd's `AmAuthProvider`.
    authorizes: bool,
}

impl Sent {
    fn get(target: &str) -> Sent {
        Sent {
            method: b"GET",
            host: b"www.example.com",
            target: target.into(),
            headers: vec![],
            authorizes: false,
        }
    }

    fn with(mut self, name: &'static str, value: impl Into<String>) -> Sent {
        self.headers.push((name, value.into()));
        self
    }
}

/// Decides and lets `look` see the result.
fn run<T>(
    sent: &Sent,
    snap: &Snapshot,
    memo: &Memo,
    look: impl FnOnce(Step<'_>, &RequestView<'_>) -> T,
) -> T {
    let headers: Vec<Header<'_>> = sent
        .headers
        .iter()
        .map(|(n, v)| Header {
            name: n.as_bytes(),
            value: v.as_bytes(),
        })
        .collect();
    let view = RequestView {
        method: sent.method,
        target: sent.target.as_bytes(),
        host: sent.host,
        headers: &headers,
        merged: false,
        peer: IpAddr::from([192, 0, 2, 7]),
        client: IpAddr::from([192, 0, 2, 7]),
        local: Local {
            tls: false,
            port: 80,
            path: b"",
            path_info: b"",
            authorizes: sent.authorizes,
        },
    };
    look(decide(&view, snap, memo, NOW), &view)
}

fn done<T>(sent: &Sent, snap: &Snapshot, memo: &Memo, look: impl FnOnce(&Decision<'_>) -> T) -> T {
    run(sent, snap, memo, |step, _| match step {
        Step::Done(decision) => look(&decision),
        Step::Need(need) => panic!("needs {}", described(&need)),
    })
}

fn needs(sent: &Sent, snap: &Snapshot, memo: &Memo) -> Need {
    run(sent, snap, memo, |step, _| match step {
        Step::Need(need) => need,
        Step::Done(decision) => panic!("decided {:?}", decision.reason),
    })
}

fn described(need: &Need) -> &'static str {
    match need {
        Need::Ask(asks) => match &asks[0] {
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

fn status(decision: &Decision<'_>) -> u16 {
    match &decision.outcome {
        Outcome::Allow(_) => 0,
        Outcome::Respond(response) => response.status,
        Outcome::Replay => 1,
    }
}

fn session_record() -> Vec<u8> {
    record(SessionKind::User, "/")
}

fn record(kind: SessionKind, realm: &str) -> Vec<u8> {
    record_with(kind, realm, &[("UserToken", "demo")])
}

fn record_with(kind: SessionKind, realm: &str, properties: &[(&str, &str)]) -> Vec<u8> {
    let session = NewSession {
        kind,
        client_side: false,
        max_end: NOW.wall.0 + 3_600_000,
        idle_end: NOW.wall.0 + 1_800_000,
        realm,
        universal_id: "id=demo,ou=user,dc=openam",
        properties,
    };
    session.encode().expect("record")
}

fn policy_record(allowed: bool) -> Vec<u8> {
    let policy = NewPolicy {
        ttl: u64::MAX,
        actions: &[("GET", allowed)],
        attributes: &[],
        advices: &[],
    };
    policy.encode().expect("record")
}

/// A session cookie of this snapshot, made by going through a whole login.
fn cookie(snap: &Snapshot) -> String {
    let sealed = snap.keys.session_cookie.seal(
        &snap.identity,
        "www.example.com",
        UnixMillis(NOW.wall.0 + 1000),
        TOKEN,
        [3; 12],
    );
    format!("am-auth-jwt={sealed}")
}

fn failures() -> Vec<FactError> {
    let causes = [
        Cause::Transport,
        Cause::Timeout,
        Cause::Tls,
        Cause::Status(500),
        Cause::Protocol,
        Cause::Busy,
        Cause::AgentLogin,
        Cause::Draining,
        Cause::Store,
        Cause::Breaker,
        Cause::Files,
    ];
    let unavailable = causes.into_iter().map(FactError::Unavailable);
    unavailable
        .chain([FactError::Dead, FactError::NotAllowed])
        .collect()
}

#[test]
fn an_exempt_page_needs_nothing() {
    let snap = snapshot("");
    let allowed = |d: &Decision<'_>| match &d.outcome {
        Outcome::Allow(grant) => {
            let rule = RuleId {
                list: RuleList::Url,
                at: 0,
            };
            assert_eq!((grant.why(), d.rule), (Why::NotEnforced(rule), Some(rule)));
        }
        _ => panic!("{:?}", d.reason),
    };
    done(&Sent::get("/public/a"), &snap, &Memo::default(), allowed);
    // One byte beside it is not exempt.
    done(&Sent::get("/publicx"), &snap, &Memo::default(), |d| {
        assert_eq!(status(d), 302)
    });
}

#[test]
fn an_inverted_list_enforces_what_it_names_and_an_empty_one_everything() {
    let inverted = snapshot("com.sun.identity.agents.config.notenforced.url.invert = true\n");
    done(&Sent::get("/public/a"), &inverted, &Memo::default(), |d| {
        assert_eq!(status(d), 302)
    });
    done(&Sent::get("/other"), &inverted, &Memo::default(), |d| {
        assert_eq!(status(d), 0)
    });
    let nothing = CONF.lines().filter(|l| !l.contains("notenforced.url"));
    let nothing = nothing.collect::<Vec<_>>().join("\n");
    let empty =
        format!("{nothing}\ncom.sun.identity.agents.config.notenforced.url.invert = true\n");
    let empty = snapshot_of(&empty, (0..32).collect());
    done(&Sent::get("/other"), &empty, &Memo::default(), |d| {
        assert_eq!(status(d), 302)
    });
}

#[test]
fn facts_are_asked_for_one_after_the_other_and_then_the_user_is_known() {
    let snap = snapshot(
        "com.sun.identity.agents.config.profile.attribute.fetch.mode = HTTP_HEADER\n\
         com.sun.identity.agents.config.profile.attribute.mapping[mail] = X-Mail\n",
    );
    let sent = Sent::get("/app").with("Cookie", format!("a=1; {}; b=2", cookie(&snap)));
    let mut memo = Memo::default();
    assert_eq!(described(&needs(&sent, &snap, &memo)), "session");
    memo.session = Some(Ok(session_record()));
    assert_eq!(described(&needs(&sent, &snap, &memo)), "policy");
    memo.policy = Some(Ok(policy_record(true)));
    assert_eq!(described(&needs(&sent, &snap, &memo)), "attributes");
    memo.attributes = Some(Ok(
        Attributes::encode(&[("mail", &["a@b", "c|d"])]).expect("record")
    ));
    run(&sent, &snap, &memo, |step, view| {
        let Step::Done(decision) = step else {
            panic!("not decided")
        };
        let mut seen = Seen::default();
        decision.edits.walk(view, &mut Vec::new(), &mut seen);
        assert_eq!(seen.user, "demo");
        let set =
            |n: &str, v: &str| assert!(seen.headers.contains(&(n.into(), v.into())), "{seen:?}");
        set("X-User", "demo");
        set("X-Mail", "a@b|c%7Cd");
        set("Cookie", "a=1; b=2");
        assert!(
            seen.variables
                .contains(&("portcullis_attr_x_mail".into(), "a@b|c%7Cd".into()))
        );
    });
}

/// A cookie that was opened is not opened again, and only that very one: another text, host, instance
/// or key has another name, and the time is looked at each time.
#[test]
fn policies_are_those_of_the_configured_realm_and_set() {
    let snap = snapshot(
        "org.forgerock.openam.agents.config.policy.evaluation.realm = /shop\n\
         org.forgerock.openam.agents.config.policy.evaluation.application = goods\n",
    );
    let sent = Sent::get("/x").with("Cookie", cookie(&snap));
    let memo = Memo {
        session: Some(Ok(session_record())),
        ..Memo::default()
    };
    let Need::Ask(asks) = needs(&sent, &snap, &memo) else {
        panic!("nothing is asked");
    };
    let asked = asks.iter().find_map(|ask| match ask {
        Ask::Policy {
            realm, application, ..
        } => Some((realm.as_str(), application.as_str())),
        _ => None,
    });
    assert_eq!(asked, Some(("/shop", "goods")));
}

#[test]
fn what_is_known_of_a_cookie_serves_that_cookie_only() {
    let snap = snapshot("");
    let good = cookie(&snap);
    let mut memo = Memo {
        session: Some(Ok(session_record())),
        policy: Some(Ok(policy_record(true))),
        ..Memo::default()
    };
    let learnt = |sent: &Sent, snap: &Snapshot, memo: &Memo| {
        done(sent, snap, memo, |d| (status(d), d.basis.opened))
    };
    let sent = Sent::get("/app").with("Cookie", &good);
    let (allowed, opened) = learnt(&sent, &snap, &memo);
    let (name, opened) = opened.expect("opened");
    assert_eq!((allowed, opened.session), (0, snap.session_key(TOKEN)));
    // An impostor in the entry's place shows that the entry is used.
    memo.opened = vec![(name, opened)];
    assert_eq!(learnt(&sent, &snap, &memo), (0, None));
    let impostor = SessionKey(1);
    memo.opened[0].1.session = impostor;
    let used = done(&sent, &snap, &memo, |d| d.basis.session);
    assert_eq!(used, Some(impostor));

    let last = if good.ends_with('A') { 'B' } else { 'A' };
    let changed = format!("{}{last}", &good[..good.len() - 1]);
    let elsewhere = Sent {
        host: b"other.example.com",
        ..Sent::get("/app").with("Cookie", &good)
    };
    let neighbour = snapshot("com.sun.identity.agents.config.username = wa2\n");
    let rotated = snapshot_with_key("", (1..33).collect());
    for (what, sent, snap) in [
        ("text", &Sent::get("/app").with("Cookie", changed), &snap),
        ("host", &elsewhere, &snap),
        ("instance", &sent, &neighbour),
        ("key", &sent, &rotated),
    ] {
        assert_eq!(learnt(sent, snap, &memo), (302, None), "{what}");
    }

    memo.opened[0].1.expires = UnixMillis(NOW.wall.0);
    assert_eq!(learnt(&sent, &snap, &memo), (0, None));
    // Past its time the cookie itself is asked again; this one is still good.
    memo.opened[0].1.expires = UnixMillis(NOW.wall.0 - 1);
    assert_eq!(learnt(&sent, &snap, &memo), (0, Some((name, opened))));
}

/// What AM is asked carries the token, whether the cookie was opened for this request or before.
#[test]
fn am_gets_the_token_of_a_known_cookie() {
    let snap = snapshot("");
    let sent = Sent::get("/app").with("Cookie", cookie(&snap));
    let mut memo = Memo::default();
    let first = needs(&sent, &snap, &memo);
    let scope = "www.example.com";
    let value = cookie(&snap).split_off("am-auth-jwt=".len());
    let known = Opened {
        session: snap.session_key(TOKEN),
        expires: NOW.wall,
    };
    memo.opened = vec![(snap.cookie_key(scope, value.as_bytes()), known)];
    let again = needs(&sent, &snap, &memo);
    assert!(first == again);
    let Need::Ask(asks) = again else {
        panic!("an act")
    };
    assert!(matches!(&asks[0], Ask::Session { token, .. } if token.expose() == TOKEN));
}

#[derive(Debug, Default)]
struct Seen {
    headers: Vec<(String, String)>,
    variables: Vec<(String, String)>,
    response: Vec<String>,
    user: String,
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).expect("text")
}

impl Sink for Seen {
    fn request_header(&mut self, name: &[u8], value: &[u8]) {
        self.headers.push((text(name), text(value)));
    }
    fn remove_request_header(&mut self, name: &[u8]) {
        self.headers.push((text(name), String::new()));
    }
    fn variable(&mut self, name: &[u8], value: &[u8]) {
        self.variables.push((text(name), text(value)));
    }
    fn user(&mut self, name: &[u8]) {
        self.user = text(name);
    }
    fn response_header(&mut self, name: &[u8], value: &[u8]) {
        self.response
            .push(format!("{}: {}", text(name), text(value)));
    }
}

#[test]
fn no_failure_of_any_fact_lets_anything_through() {
    let snap = snapshot(
        "com.sun.identity.agents.config.profile.attribute.fetch.mode = HTTP_HEADER\n\
         com.sun.identity.agents.config.profile.attribute.mapping[mail] = X-Mail\n",
    );
    let sent = Sent::get("/app").with("Cookie", cookie(&snap));
    for error in failures() {
        for which in 0..3 {
            let fact =
                |n: usize, good: Vec<u8>| Some(if n == which { Err(error) } else { Ok(good) });
            let memo = Memo {
                session: fact(0, session_record()),
                policy: fact(1, policy_record(true)),
                attributes: fact(2, Attributes::encode(&[]).expect("record")),
                ..Memo::default()
            };
            done(&sent, &snap, &memo, |d| {
                assert!(
                    status(d) >= 302,
                    "{error:?} of fact {which}: {:?}",
                    d.reason
                );
            });
        }
    }
}

#[test]
fn a_denial_is_a_page_that_names_the_incident() {
    let snap = snapshot("");
    let sent = Sent::get("/app").with("Cookie", cookie(&snap));
    let memo = Memo {
        session: Some(Ok(session_record())),
        policy: Some(Ok(policy_record(false))),
        ..Memo::default()
    };
    done(&sent, &snap, &memo, |d| {
        assert_eq!((status(d), d.reason), (403, Code::DeniedByPolicy));
        let Outcome::Respond(page) = &d.outcome else {
            unreachable!()
        };
        assert!(text(&page.body).contains("<code>"));
    });
}

#[test]
fn a_method_that_is_named_needs_consent_too() {
    let policy = NewPolicy {
        ttl: u64::MAX,
        actions: &[
            ("GET", true),
            ("POST", true),
            ("PUT", true),
            ("DELETE", false),
        ],
        attributes: &[],
        advices: &[],
    };
    let memo = Memo {
        session: Some(Ok(session_record())),
        policy: Some(Ok(policy.encode().expect("record"))),
        ..Memo::default()
    };
    let reason = |snap: &Snapshot, method, target: &str, name, value: &str| {
        let mut sent = Sent::get(target)
            .with("Cookie", cookie(snap))
            .with(name, value);
        sent.method = method;
        done(&sent, snap, &memo, |d| d.reason)
    };
    let snap = snapshot("");
    let (allowed, denied) = (Code::AllowedByPolicy, Code::DeniedByPolicy);
    const NAME: &str = "X-HTTP-Method-Override";
    for (method, target, name, value, code) in [
        (&b"POST"[..], "/app", NAME, "PUT, ", allowed),
        (b"POST", "/app", NAME, "post", allowed),
        (b"POST", "/app", NAME, "DELETE", denied),
        (b"POST", "/app", "x-http-method", " delete ", denied),
        (b"POST", "/app", "X-METHOD-OVERRIDE", "PUT, DELETE", denied),
        (b"POST", "/app", NAME, "BREW", denied),
        (b"POST", "/app", NAME, "", allowed),
        (b"POST", "/app", NAME, &"A".repeat(33), denied),
        (b"POST", "/app?x=1&_method=delete", "X", "", denied),
        (b"POST", "/app?%5fmethod=%44ELETE", "X", "", denied),
        (b"POST", "/app?_method=put", "X", "", allowed),
        (b"POST", "/app?no_method=delete", "X", "", allowed),
        (b"GET", "/app?_method=delete", NAME, "DELETE", allowed),
    ] {
        assert_eq!(
            reason(&snap, method, target, name, value),
            code,
            "{target} {name}: {value}"
        );
    }
    let ignoring = snapshot("portcullis.method.override = ignore\n");
    assert_eq!(reason(&ignoring, b"POST", "/app", NAME, "DELETE"), allowed);
}

#[test]
fn only_what_policy_refuses_is_left_to_the_host() {
    let snap = snapshot("");
    let sent = |method| Sent {
        method,
        authorizes: true,
        ..Sent::get("/app").with("Cookie", cookie(&snap))
    };
    let known = |policy| Memo {
        session: Some(Ok(session_record())),
        policy: Some(policy),
        ..Memo::default()
    };
    let unavailable = FactError::Unavailable(Cause::Timeout);
    for (policy, code) in [
        (Ok(policy_record(true)), Code::AllowedByPolicy),
        (Ok(policy_record(false)), Code::LeftToHost),
        (Err(unavailable), Code::UnavailableTimeout),
    ] {
        done(&sent(b"GET"), &snap, &known(policy), |d| {
            assert_eq!(d.reason, code);
            let allowed = matches!(d.outcome, Outcome::Allow(_));
            assert_eq!(allowed, code != Code::UnavailableTimeout);
            assert_eq!((d.for_everybody, d.rule), (false, None));
        });
    }
    let stranger = Sent {
        headers: vec![],
        ..sent(b"GET")
    };
    done(&stranger, &snap, &Memo::default(), |d| {
        assert_eq!((status(d), d.reason), (302, Code::LoginNoToken));
    });
}

#[test]
fn only_users_of_realms_that_are_named_count() {
    let snap = snapshot("");
    let sent = Sent::get("/app").with("Cookie", cookie(&snap));
    for (kind, realm, code) in [
        (SessionKind::Application, "/", Code::DeniedNotUser),
        (SessionKind::User, "/other", Code::DeniedRealm),
    ] {
        let memo = Memo {
            session: Some(Ok(record(kind, realm))),
            ..Memo::default()
        };
        done(&sent, &snap, &memo, |d| {
            assert_eq!((status(d), d.reason), (403, code))
        });
    }
}

#[test]
fn a_cookie_counts_only_as_it_was_sealed() {
    let snap = snapshot("");
    let good = cookie(&snap);
    let other_host = {
        let sealed = snap.keys.session_cookie.seal(
            &snap.identity,
            "other.example.com",
            UnixMillis(NOW.wall.0 + 1000),
            TOKEN,
            [4; 12],
        );
        format!("am-auth-jwt={sealed}")
    };
    let other_instance = {
        let sealed = snap.keys.session_cookie.seal(
            &[1; 16],
            "www.example.com",
            UnixMillis(NOW.wall.0 + 1000),
            TOKEN,
            [4; 12],
        );
        format!("am-auth-jwt={sealed}")
    };
    let altered = format!("{}A", &good[..good.len() - 1]);
    for bad in [
        other_host,
        other_instance,
        altered,
        "am-auth-jwt=x".into(),
        format!("am-auth-jwt={}", text(TOKEN)),
    ] {
        let sent = Sent::get("/app").with("Cookie", bad);
        done(&sent, &snap, &Memo::default(), |d| {
            assert_eq!((status(d), d.reason), (302, Code::LoginBadCookie));
        });
    }
    let two = Sent::get("/app").with("Cookie", format!("{good}; am-auth-jwt=x"));
    done(&two, &snap, &Memo::default(), |d| {
        assert_eq!(d.reason, Code::LoginTwoCookies)
    });
}

#[test]
fn connection_must_not_name_what_we_set() {
    let snap = snapshot("");
    let sent = Sent::get("/public/a").with("Connection", "close, x_user");
    done(&sent, &snap, &Memo::default(), |d| {
        assert_eq!((status(d), d.reason), (400, Code::ConnectionHeader))
    });
}

#[test]
fn a_logout_ends_the_session_before_it_answers() {
    let snap = snapshot("");
    let sent = Sent::get("/logout").with("Cookie", cookie(&snap));
    let memo = Memo::default();
    let Need::Do(act) = needs(&sent, &snap, &memo) else {
        panic!("asks")
    };
    memo.receipts
        .borrow_mut()
        .push((act.clone(), Ok(Receipt::Done)));
    done(&sent, &snap, &memo, |d| {
        assert_eq!((status(d), d.reason), (0, Code::LogoutPage))
    });
    *memo.receipts.borrow_mut() = vec![(act, Err(FactError::Unavailable(Cause::Store)))];
    done(&sent, &snap, &memo, |d| assert_eq!(status(d), 503));
    let fetch = Sent::get("/logout")
        .with("Cookie", cookie(&snap))
        .with("Sec-Fetch-Site", "cross-site")
        .with("Sec-Fetch-Mode", "no-cors");
    done(&fetch, &snap, &Memo::default(), |d| {
        assert_eq!((status(d), d.reason), (0, Code::NotEnforced))
    });
}

/// State and nonce of a login, and the cookie that remembers it.
fn begin(snap: &Snapshot) -> (String, String, String) {
    done(&Sent::get("/app?x=1"), snap, &Memo::default(), |d| {
        let Outcome::Respond(redirect) = &d.outcome else {
            panic!("allowed")
        };
        let value = |name: &str| {
            let found = redirect
                .headers
                .iter()
                .find(|(n, _)| n == name)
                .expect("header");
            text(&found.1)
        };
        let location = value("Location");
        let parameter = |name: &str| {
            let at = location.find(&format!("{name}=")).expect("parameter") + name.len() + 1;
            location[at..]
                .split('&')
                .next()
                .unwrap_or_default()
                .to_owned()
        };
        let cookie = value("Set-Cookie");
        let cookie = cookie.split(';').next().unwrap_or_default().to_owned();
        (parameter("state"), parameter("nonce"), cookie)
    })
}

fn id_token(nonce: &str) -> String {
    let key = jwt::dialect_a_key(&Secret::new(PASSWORD.to_vec()));
    let seconds = NOW.wall.0 / 1000;
    let claims = serde_json::json!({
        "iss": "http://am.example.com:8080/openam/oauth2", "aud": "wa1", "azp": "wa1",
        "nonce": nonce, "realm": "/", "iat": seconds, "exp": seconds + 4,
        "ssoToken": text(TOKEN),
    });
    let header = jsonwebtoken::Header::new(jsonwebtoken::Algorithm::HS256);
    let key = jsonwebtoken::EncodingKey::from_secret(key.expose());
    jsonwebtoken::encode(&header, &claims, &key).expect("token")
}

#[test]
fn the_way_back_asks_before_it_acts_and_acts_once() {
    let snap = snapshot("");
    let (state, nonce, cookie) = begin(&snap);
    let mut sent = Sent::get("/agent/cdsso-oauth2")
        .with("Cookie", cookie)
        .with("Origin", "http://am.example.com:8080")
        .with("Content-Type", "application/x-www-form-urlencoded");
    sent.method = b"POST";
    let mut memo = Memo::default();
    assert_eq!(described(&needs(&sent, &snap, &memo)), "form");
    memo.form = Some(Ok(format!(
        "id_token={}&state={state}&scope=openid",
        id_token(&nonce)
    )
    .into()));
    assert_eq!(described(&needs(&sent, &snap, &memo)), "session");
    memo.session = Some(Ok(session_record()));
    let Need::Do(act) = needs(&sent, &snap, &memo) else {
        panic!("asks")
    };
    for (receipt, expected, code) in [
        (Ok(Receipt::Done), 302, Code::LoginDone),
        (Ok(Receipt::Replayed), 403, Code::CallbackReplayed),
        (
            Err(FactError::Unavailable(Cause::Store)),
            503,
            Code::LoginStateStore,
        ),
    ] {
        *memo.receipts.borrow_mut() = vec![(act.clone(), receipt)];
        done(&sent, &snap, &memo, |d| {
            assert_eq!((status(d), d.reason), (expected, code));
            let Outcome::Respond(response) = &d.outcome else {
                unreachable!()
            };
            let cookie = response
                .headers
                .iter()
                .any(|(n, v)| n == "Set-Cookie" && v.starts_with(b"am-auth-jwt="));
            assert_eq!(
                cookie,
                code == Code::LoginDone,
                "a cookie is set only for a finished login"
            );
        });
    }
    for error in failures() {
        memo.session = Some(Err(error));
        done(&sent, &snap, &memo, |d| {
            assert!(status(d) >= 403, "{error:?}: {:?}", d.reason)
        });
    }
}

/// The policy question about a request: its resource and environment.
fn policy_question(sent: &Sent, snap: &Snapshot) -> (String, Vec<(String, Vec<String>)>, u128) {
    let memo = Memo {
        session: Some(Ok(session_record())),
        ..Memo::default()
    };
    let Need::Ask(asks) = needs(sent, snap, &memo) else {
        panic!("not asked")
    };
    match &asks[0] {
        Ask::Policy {
            resource,
            environment,
            key,
            ..
        } => (resource.clone(), environment.clone(), key.0),
        _ => panic!("another question"),
    }
}

#[test]
fn rules_and_policies_see_what_the_view_leaves() {
    let snap = snapshot(
        "portcullis.url.query.sort = true\n\
         portcullis.url.query.remove[0] = sid, utm_*\n\
         com.sun.identity.agents.config.notenforced.url[1] = /open?a=1&b=*\n\
         com.sun.identity.agents.config.ignore.path.info.for.not.enforced.list = false\n\
         org.forgerock.openam.agents.config.allow.custom.login = 2\n\
         com.forgerock.agents.accept.sso.token = 1\n",
    );
    let target = "/app/x?sid=7&b=2&utm_source=n&a=1";
    let sent = Sent::get(target).with("Cookie", cookie(&snap));
    let (resource, ..) = policy_question(&sent, &snap);
    assert_eq!(resource, "http://www.example.com:80/app/x?a=1&b=2");
    let open = Sent::get("/open?b=2&sid=7&a=1");
    done(&open, &snap, &Memo::default(), |d| {
        assert_eq!(d.reason, Code::NotEnforced)
    });
    // The user comes back to everything that was asked for.
    done(&Sent::get(target), &snap, &Memo::default(), |d| {
        let back = "goto=http%3A%2F%2Fwww.example.com%3A80%2Fapp%2Fx%3Fsid%3D7%26b%3D2%26utm_source%3Dn%26a%3D1";
        assert!(location(d).contains(back), "{}", location(d));
    });
}

fn location(decision: &Decision<'_>) -> String {
    let Outcome::Respond(response) = &decision.outcome else {
        panic!("allowed")
    };
    let mut headers = response.headers.iter();
    let found = headers.find(|(name, _)| name == "Location");
    text(&found.expect("Location").1)
}

#[test]
fn policies_learn_what_trusted_proxies_say() {
    const HEADERS: &str = "com.sun.identity.agents.config.client.ip.header = X-Forwarded-For\n\
         com.sun.identity.agents.config.client.hostname.header = X-Client-Name\n";
    let trusting = snapshot(&format!(
        "{HEADERS}portcullis.trusted.proxies = 192.0.2.0/24\n"
    ));
    let wary = snapshot(&format!(
        "{HEADERS}portcullis.trusted.proxies = 198.51.100.1\n"
    ));
    let naive = snapshot(HEADERS);
    let sent = |snap: &Snapshot, address: &str, name: &str| {
        Sent::get("/app/x")
            .with("Cookie", cookie(snap))
            .with("X-Forwarded-For", address)
            .with("X-Client-Name", name)
    };
    let entry = |name: &str, value: &str| (name.to_owned(), vec![value.to_owned()]);
    let (_, both, key) =
        policy_question(&sent(&trusting, "203.0.113.9", "a.example.net"), &trusting);
    let expected = [
        entry("requestIp", "203.0.113.9"),
        entry("requestDnsName", "a.example.net"),
    ];
    assert_eq!(both, expected);
    // Rule S7: what AM was told is part of the key.
    for (address, name) in [
        ("203.0.113.8", "a.example.net"),
        ("203.0.113.9", "b.example.net"),
        ("203.0.113.9", ""),
    ] {
        let (.., other) = policy_question(&sent(&trusting, address, name), &trusting);
        assert_ne!(key, other, "{address} {name}");
    }
    let (_, unsaid, _) = policy_question(&sent(&trusting, "unknown", "a b"), &trusting);
    assert_eq!(unsaid, []);
    // Anybody's word.
    let (_, peer, _) = policy_question(&sent(&wary, "203.0.113.9", "a.example.net"), &wary);
    assert_eq!(peer, [entry("requestIp", "192.0.2.7")]);
    let (_, nobody, _) = policy_question(&sent(&naive, "203.0.113.9", "a.example.net"), &naive);
    assert_eq!(nobody, []);
}

const CONTINUOUS: &str = "\
    org.forgerock.openam.agents.config.continuous.security.cookies[device] = deviceId\n\
    org.forgerock.openam.agents.config.continuous.security.headers[X-Risk] = risk\n\
    org.forgerock.openam.agents.config.continuous.security.headers[X-Zone] = zone\n";

#[test]
fn conditions_learn_of_cookies_and_headers_within_bounds() {
    let snap = snapshot(CONTINUOUS);
    let long = "x".repeat(1025);
    let full = &long[1..];
    // (cookies, headers, what is sent beside the address)
    type Row<'t> = (
        &'t str,
        &'t [(&'static str, &'t str)],
        &'t [(&'t str, &'t str)],
    );
    let rows: &[Row<'_>] = &[
        ("", &[], &[]),
        ("device=d1", &[], &[("deviceId", "d1")]),
        ("Device=d1", &[], &[]), // names of cookies have a case
        ("device=", &[], &[("deviceId", "")]),
        ("device=d1; device=d1", &[], &[("deviceId", "d1")]),
        ("device=d1; device=d2", &[], &[]),
        ("", &[("x-RISK", "7")], &[("risk", "7")]),
        ("", &[("X-Risk", "7"), ("X-Risk", "8")], &[("risk", "7, 8")]),
        (
            "",
            &[("X-Risk", "7"), ("X-Zone", "8")],
            &[("risk", "7"), ("zone", "8")],
        ),
        ("", &[("X-Risk", full)], &[("risk", full)]),
        ("", &[("X-Risk", &long)], &[]),
        ("", &[("X-Risk", "1"), ("X-Risk", full)], &[]),
        ("", &[("X-Risk", "a\tb")], &[]),
        ("", &[("X_Risk", "7")], &[]),
    ];
    let mut keys = vec![];
    for (cookies, headers, expected) in rows {
        let mut sent = Sent::get("/app/x").with("Cookie", format!("{}; {cookies}", cookie(&snap)));
        for (name, value) in *headers {
            sent = sent.with(name, *value);
        }
        let (_, environment, key) = policy_question(&sent, &snap);
        let address = [("requestIp", "192.0.2.7")];
        let expected: Vec<_> = address.iter().chain(*expected).collect();
        let pairs: Vec<_> = environment
            .iter()
            .map(|(n, v)| (n.as_str(), v[0].as_str()))
            .collect();
        assert_eq!(
            pairs.iter().collect::<Vec<_>>(),
            expected,
            "{cookies} {headers:?}"
        );
        assert!(environment.iter().all(|(_, values)| values.len() == 1));
        keys.push((environment, key));
    }
    // Rule S7: another environment, another key; the same, the same.
    for (i, (environment, key)) in keys.iter().enumerate() {
        for (other, other_key) in &keys[..i] {
            assert_eq!(
                environment == other,
                key == other_key,
                "{environment:?} {other:?}"
            );
        }
    }
}

/// All three kinds as cookies; the session's property as a header too.
const COOKIES: &str = "com.sun.identity.agents.config.session.attribute.fetch.mode = HTTP_COOKIE\n\
    com.sun.identity.agents.config.profile.attribute.fetch.mode = HTTP_COOKIE\n\
    com.sun.identity.agents.config.profile.attribute.mapping[cn] = name|full_name\n\
    com.sun.identity.agents.config.profile.attribute.mapping[mail] = mail\n\
    com.sun.identity.agents.config.response.attribute.mapping[dept] = dept\n";

/// What becomes of a request with these cookies beside the session's: the `Cookie` header that the
/// application gets, and the cookies of the response.
fn walked(snap: &Snapshot, target: &str, cookies: &str, memo: &Memo) -> (String, Vec<String>) {
    let sent = Sent::get(target).with("Cookie", format!("{}; {cookies}", cookie(snap)));
    run(&sent, snap, memo, |step, view| {
        let Step::Done(decision) = step else {
            panic!("not decided")
        };
        assert_eq!(status(&decision), 0);
        let mut seen = Seen::default();
        decision.edits.walk(view, &mut Vec::new(), &mut seen);
        assert!(seen.variables.is_empty(), "{seen:?}");
        let header = seen
            .headers
            .into_iter()
            .filter(|(name, _)| name == "Cookie");
        let header: Vec<String> = header.map(|(_, value)| value).collect();
        assert!(header.len() <= 1, "{header:?}");
        (header.concat(), seen.response)
    })
}

fn someone(profile: &[(&str, &[&str])]) -> Memo {
    Memo {
        session: Some(Ok(session_record())),
        policy: Some(Ok(policy_record(true))),
        attributes: Some(Ok(Attributes::encode(profile).expect("record"))),
        ..Memo::default()
    }
}

#[test]
fn attributes_become_cookies_of_the_request_and_of_the_browser() {
    let snap = snapshot(COOKIES);
    let memo = someone(&[("cn", &["Demo User"]), ("mail", &["a@b", "c|d"])]);
    let told = |name: &str, value: &str| {
        format!("Set-Cookie: {name}={value}; Path=/; Max-Age=300; HttpOnly")
    };
    let (header, response) = walked(&snap, "/app", "a=1", &memo);
    let users = "HTTP_X-User=demo; HTTP_name=\"Demo User\"; HTTP_full_name=\"Demo User\"; \
                 HTTP_mail=a@b|c%7Cd";
    assert_eq!(header, format!("a=1; {users}"));
    let all = [
        told("HTTP_X-User", "demo"),
        told("HTTP_name", "\"Demo User\""),
        told("HTTP_full_name", "\"Demo User\""),
        told("HTTP_mail", "a@b|c%7Cd"),
    ];
    assert_eq!(response, all);
    // A browser that has them is told nothing; the application gets ours, in their place.
    let (header, response) = walked(&snap, "/app", users, &memo);
    assert_eq!((header.as_str(), response), (users, vec![]));
    // One that has another's is told, and that which the user has none of is cleared.
    let other = users.replace("demo", "root").replace("a@b", "x");
    let (header, response) = walked(&snap, "/app", &other, &someone(&[("cn", &["Demo User"])]));
    assert_eq!(header, users.replace("; HTTP_mail=a@b|c%7Cd", ""));
    let cleared = "Set-Cookie: HTTP_mail=; Path=/; Max-Age=0; Expires=Thu, 01-Jan-1970 00:00:01 GMT; HttpOnly";
    assert_eq!(response, [told("HTTP_X-User", "demo"), cleared.to_owned()]);
    // Longer than a browser keeps: for the application only.
    let long = "x".repeat(4096);
    let (header, response) = walked(&snap, "/app", "", &someone(&[("mail", &[&long])]));
    assert!(header.ends_with(&format!("HTTP_mail={long}")));
    assert_eq!(response, [told("HTTP_X-User", "demo")]);
}

#[test]
fn attribute_cookies_of_clients_reach_no_application() {
    let snap = snapshot(COOKIES);
    let spellings = [
        "HTTP_mail",
        "http_MAIL",
        "HTTP-mail",
        "HTTP.mail",
        "HTTP%5Fmail",
        "%48TTP_mail",
        "+HTTP_mail",
        "%20HTTP_mail",
        "HTTP_mail[0]",
        "HTTP_dept",
        "HTTP_full-name",
        "HTTP_X_User",
    ];
    for name in spellings {
        let forged = format!("a=1; {name}=forged; b=2");
        // A map that is switched off (dept) is no reason to believe the client.
        for (target, memo) in [("/app", &someone(&[])), ("/public/a", &Memo::default())] {
            let (header, _) = walked(&snap, target, &forged, memo);
            assert!(!header.contains("forged"), "{target} {name}: {header}");
            assert!(header.starts_with("a=1; b=2"), "{target} {name}: {header}");
        }
    }
    // Also where the agent's own cookies may pass.
    let open = snapshot(&format!("{COOKIES}portcullis.cookies.forward = true\n"));
    let (header, _) = walked(
        &open,
        "/public/a",
        "HTTP_mail=forged; b=2",
        &Memo::default(),
    );
    assert!(
        header.starts_with("am-auth-jwt=") && header.ends_with("; b=2"),
        "{header}"
    );
    // Others are the application's, and headers leave cookies alone.
    let (header, _) = walked(
        &snap,
        "/public/a",
        "HTTP_mails=1; xHTTP_mail=2; mail=3",
        &Memo::default(),
    );
    assert_eq!(header, "HTTP_mails=1; xHTTP_mail=2; mail=3");
    let headers = snapshot(&COOKIES.replace("HTTP_COOKIE", "HTTP_HEADER"));
    let (header, _) = walked(&headers, "/public/a", "HTTP_mail=1", &Memo::default());
    assert_eq!(header, "HTTP_mail=1");
}

#[test]
fn a_logout_clears_the_attribute_cookies_that_came() {
    let snap = snapshot(&format!(
        "{COOKIES}org.forgerock.agents.config.logout.session.invalidate = false\n"
    ));
    let (header, response) = walked(
        &snap,
        "/logout",
        "HTTP_mail=x; HTTP_name=y; b=2",
        &Memo::default(),
    );
    assert_eq!(header, "b=2");
    let names: Vec<&str> = response
        .iter()
        .filter_map(|c| c.split('=').next())
        .collect();
    let expected = ["am-auth-jwt", "HTTP_name", "HTTP_mail"].map(|n| format!("Set-Cookie: {n}"));
    assert_eq!(names, expected);
    assert!(
        response.iter().all(|c| c.contains("; Max-Age=0; ")),
        "{response:?}"
    );
}

/// `cdsso.deny.cleanup.disable`, whatever it says: the session is alive.
#[test]
fn a_refusal_keeps_the_session() {
    const NAME: &str = "org.forgerock.agents.config.cdsso.deny.cleanup.disable";
    for switch in ["true", "false"] {
        let snap = snapshot(&format!("{NAME} = {switch}\n"));
        let sent = Sent::get("/app").with("Cookie", cookie(&snap));
        let refused = Memo {
            policy: Some(Ok(policy_record(false))),
            ..someone(&[])
        };
        done(&sent, &snap, &refused, |d| {
            let Outcome::Respond(response) = &d.outcome else {
                panic!("allowed")
            };
            assert_eq!(response.status, 403);
            let mut names = response.headers.iter().map(|(name, _)| name.as_ref());
            assert!(!names.any(|name| name.eq_ignore_ascii_case("set-cookie")));
        });
    }
}

#[test]
fn audit_events_name_users_as_configured() {
    const LDAP: &str = "com.sun.identity.agents.config.universal.id.param = mail\n\
        com.sun.identity.agents.config.universal.id.param.type = LDAP\n\
        com.sun.identity.agents.config.audit.accesstype = LOG_BOTH\n";
    let property = "com.sun.identity.agents.config.universal.id.param = UserToken\n";
    let mail = someone(&[("mail", &["demo@example.com", "x"])]);
    let refused = Memo {
        policy: Some(Ok(policy_record(false))),
        ..someone(&[("mail", &["demo@example.com"])])
    };
    let universal = "id=demo,ou=user,dc=openam";
    for (lines, memo, expected) in [
        ("", &mail, universal),
        (property, &mail, "demo"),
        (property, &refused, "demo"),
        (LDAP, &mail, "demo@example.com"),
        (LDAP, &someone(&[("cn", &["Demo"])]), universal),
        (LDAP, &someone(&[("mail", &[""])]), universal),
        (LDAP, &refused, universal), // nobody asked for it
    ] {
        let snap = snapshot(lines);
        let sent = Sent::get("/app").with("Cookie", cookie(&snap));
        done(&sent, &snap, memo, |d| {
            assert_eq!(audited_user(d, &snap.config), expected, "{lines}");
        });
    }
    // It is asked for where events are written only.
    let asked = |lines: &str| {
        let snap = snapshot(lines);
        let sent = Sent::get("/app").with("Cookie", cookie(&snap));
        let mut memo = someone(&[]);
        memo.attributes = None;
        run(&sent, &snap, &memo, |step, _| matches!(step, Step::Need(_)))
    };
    assert!(asked(LDAP));
    assert!(!asked(&LDAP.replace("LOG_BOTH", "LOG_NONE")));
    assert!(!asked(property));
    let snap = snapshot(LDAP);
    done(&Sent::get("/app"), &snap, &Memo::default(), |d| {
        assert_eq!(audited_user(d, &snap.config), "");
    });
}

#[test]
fn a_request_of_nobody_known_has_a_name_on_exempt_pages_only() {
    let snap = snapshot(
        "com.sun.identity.agents.config.anonymous.user.enable = true\n\
         com.sun.identity.agents.config.anonymous.user.id = guest\n\
         com.sun.identity.agents.config.notenforced.url.attributes.enable = true\n\
         org.forgerock.agents.config.logout.session.invalidate = false\n",
    );
    let user = |sent: &Sent, memo: &Memo| {
        run(sent, &snap, memo, |step, view| {
            let Step::Done(decision) = step else {
                panic!("not decided")
            };
            let mut seen = Seen::default();
            decision.edits.walk(view, &mut Vec::new(), &mut seen);
            (status(&decision), seen.user)
        })
    };
    let memo = Memo::default();
    assert_eq!(user(&Sent::get("/public/a"), &memo), (0, "guest".into()));
    // A page that ends sessions says nothing about who sees it.
    assert_eq!(user(&Sent::get("/logout"), &memo), (0, String::new()));
    assert_eq!(user(&Sent::get("/app"), &memo), (302, String::new()));
    let known = Memo {
        session: Some(Ok(session_record())),
        ..Memo::default()
    };
    let sent = Sent::get("/public/a").with("Cookie", cookie(&snap));
    assert_eq!(user(&sent, &known), (0, "demo".into()));
    assert_eq!(user(&sent, &memo), (0, "guest".into()));
}

#[test]
fn a_decision_under_one_map_serves_no_other() {
    let risk = snapshot(CONTINUOUS);
    let other = snapshot(&CONTINUOUS.replace("= risk", "= trust"));
    let key = |snap: &Snapshot| {
        let sent = Sent::get("/app/x")
            .with("Cookie", cookie(snap))
            .with("X-Risk", "1");
        policy_question(&sent, snap).2
    };
    assert_ne!(key(&risk), key(&other));
    assert_ne!(key(&risk), key(&snapshot("")));
}

const VALIDATION: &str = "com.sun.identity.agents.config.client.ip.validation.enable = true\n";

fn begun_at(host: &str) -> Memo {
    let properties = [("UserToken", "demo"), ("Host", host)];
    Memo {
        session: Some(Ok(record_with(SessionKind::User, "/", &properties))),
        policy: Some(Ok(policy_record(true))),
        ..Memo::default()
    }
}

#[test]
fn a_session_counts_from_its_address_only() {
    let snap = snapshot(VALIDATION);
    let sent = Sent::get("/app/x").with("Cookie", cookie(&snap));
    for host in ["192.0.2.7", "::ffff:192.0.2.7"] {
        done(&sent, &snap, &begun_at(host), |d| {
            assert_eq!(status(d), 0, "{host}")
        });
    }
    for host in ["192.0.2.8", "2001:db8::1", "", "www.example.com"] {
        done(&sent, &snap, &begun_at(host), |d| {
            assert_eq!((status(d), d.reason), (403, Code::DeniedAddress), "{host}")
        });
    }
    let silent = Memo {
        policy: Some(Ok(policy_record(true))),
        session: Some(Ok(session_record())),
        ..Memo::default()
    };
    done(&sent, &snap, &silent, |d| {
        assert_eq!(d.reason, Code::DeniedAddress)
    });
    // An unknown address is none, whatever the session says.
    let unknown = snapshot(&format!(
        "{VALIDATION}com.sun.identity.agents.config.client.ip.header = X-Forwarded-For\n"
    ));
    let sent = Sent::get("/app/x").with("Cookie", cookie(&unknown));
    done(&sent, &unknown, &begun_at("192.0.2.7"), |d| {
        assert_eq!(d.reason, Code::DeniedAddress)
    });
}

#[test]
fn a_session_from_another_address_ends_with_a_new_login() {
    let snap = snapshot(&format!(
        "{VALIDATION}com.sun.identity.agents.config.client.ip.validation.reauth = true\n"
    ));
    let sent = Sent::get("/app/x").with("Cookie", cookie(&snap));
    let memo = begun_at("192.0.2.8");
    let Need::Do(act) = needs(&sent, &snap, &memo) else {
        panic!("not ended")
    };
    memo.receipts
        .borrow_mut()
        .push((act.clone(), Ok(Receipt::Done)));
    done(&sent, &snap, &memo, |d| {
        assert_eq!((status(d), d.reason), (302, Code::LoginOtherAddress));
        assert!(location(d).starts_with("http://am.example.com:8080/openam/oauth2/authorize"));
    });
    for failure in failures() {
        let memo = begun_at("192.0.2.8");
        memo.receipts.borrow_mut().push((act.clone(), Err(failure)));
        done(&sent, &snap, &memo, |d| {
            assert!(status(d) >= 403, "{failure:?}")
        });
    }
}

#[test]
fn every_part_of_a_login_is_at_the_browsers_origin() {
    let snap = snapshot(
        "com.sun.identity.agents.config.override.protocol = true\n\
         com.sun.identity.agents.config.override.port = true\n\
         com.sun.identity.agents.config.agenturi.prefix = https://www.example.com:443/\n",
    );
    done(&Sent::get("/app/x"), &snap, &Memo::default(), |d| {
        let back = "redirect_uri=https%3A%2F%2Fwww.example.com%3A443%2Fagent%2Fcdsso-oauth2";
        assert!(location(d).contains(back), "{}", location(d));
        let Outcome::Respond(response) = &d.outcome else {
            panic!("allowed")
        };
        let cookies = response
            .headers
            .iter()
            .filter(|(name, _)| name == "Set-Cookie");
        for (_, cookie) in cookies {
            let cookie = text(cookie);
            assert!(cookie.starts_with("__Host-agent-authn-tx"), "{cookie}");
            assert!(
                cookie.contains("; Secure") && cookie.contains("; SameSite=None"),
                "{cookie}"
            );
        }
    });
}

#[test]
fn another_host_name_is_the_wrong_door() {
    let snap = snapshot(
        "com.sun.identity.agents.config.fqdn.check.enable = true\n\
         com.sun.identity.agents.config.fqdn.default = new.example.com\n",
    );
    done(&Sent::get("/public/a?b=/c"), &snap, &Memo::default(), |d| {
        assert_eq!((status(d), d.reason), (302, Code::OtherHostName));
        assert_eq!(location(d), "http://new.example.com:80/public/a?b=/c");
    });
    let mut post = Sent::get("/agent/cdsso-oauth2");
    post.method = b"POST";
    done(&post, &snap, &Memo::default(), |d| {
        assert_eq!((status(d), d.reason), (403, Code::DeniedHostName))
    });
    let off = snapshot("com.sun.identity.agents.config.fqdn.check.enable = true\n");
    done(&Sent::get("/public/a"), &off, &Memo::default(), |d| {
        assert_eq!(status(d), 0)
    });
}

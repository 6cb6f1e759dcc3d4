//! Where does dialect B send a browser, and what does it need to take it back?
#![allow(clippy::expect_used, clippy::panic, reason = "helpers of tests")]

mod support;

use std::net::IpAddr;

use aws_lc_rs::{
    rand::SystemRandom,
    signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair},
};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use portcullis_engine::{
    config::Snapshot,
    contract::{
        Act, Ask, AttributesKey, Cause, FactError, Facts, Header, KeysKey, Known, Need, Outcome,
        PolicyKey, Receipt, SessionKey, Step,
    },
    decide::decide,
    event::Code,
    record::{
        Attributes, KeyKind, NewPolicy, NewSession, Policy, PublishedKey, PublishedKeys, Session,
        SessionKind,
    },
};
use serde_json::{Value, json};
use support::{AGENT, Given, NOW, known, snapshot};

const PINGAM: &str = "portcullis.am.dialect = pingam\n";
const AWAY: FactError = FactError::Unavailable(Cause::Timeout);

/// Facts that a test gives.
#[derive(Default)]
struct Memo {
    form: Option<String>,
    keys: Given,
    newer: Given,
    session: Given,
    policy: Given,
    receipt: Option<Receipt>,
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
    fn keys(&self, _: KeysKey, newer: bool) -> Known<PublishedKeys<'_>> {
        let fact = if newer { &self.newer } else { &self.keys };
        known(fact, PublishedKeys::decode)
    }
    fn form(&self) -> Known<&[u8]> {
        match &self.form {
            None => Known::Missing,
            Some(form) => Known::Fresh(form.as_bytes()),
        }
    }
    fn receipt(&self, act: &Act) -> Known<Receipt> {
        match (act, self.receipt) {
            (Act::Count { .. }, _) => Known::Fresh(Receipt::Counted(1)),
            (_, Some(receipt)) => Known::Fresh(receipt),
            (_, None) => Known::Missing,
        }
    }
    fn seed(&self) -> &[u8; 32] {
        &[9; 32]
    }
}

/// A request: method, target, headers.
type Sent<'s> = (&'s str, &'s str, &'s [(&'s str, &'s str)]);

/// What becomes of a request: what is asked for, or the code with `Location` and cookies.
fn outcome(snap: &Snapshot, memo: &Memo, (method, target, headers): Sent<'_>) -> Said {
    let headers: Vec<Header<'_>> = headers
        .iter()
        .map(|(name, value)| Header {
            name: name.as_bytes(),
            value: value.as_bytes(),
        })
        .collect();
    let client = IpAddr::from([198, 51, 100, 1]);
    let view = support::view(method, target, client, &headers);
    match decide(&view, snap, memo, NOW) {
        Step::Need(Need::Do(Act::SpendState { .. })) => Said::Needs("spend"),
        Step::Need(Need::Do(_)) => Said::Needs("another act"),
        Step::Need(Need::Ask(asks)) => Said::Needs(match &asks[0] {
            Ask::Session { token, .. } if token.expose() == b"AQIC5wUSER" => "session",
            Ask::Session { .. } => "another session",
            Ask::Keys { newer: false, .. } => "keys",
            Ask::Keys { newer: true, .. } => "newer keys",
            Ask::Form { .. } => "form",
            _ => "something else",
        }),
        Step::Done(decision) => {
            let Outcome::Respond(response) = &decision.outcome else {
                panic!("allowed")
            };
            let all = |name: &str| {
                let headers = response.headers.iter().filter(|(n, _)| n == name);
                let text = |value: &[u8]| String::from_utf8(value.to_vec()).expect("text");
                headers.map(|(_, value)| text(value)).collect::<Vec<_>>()
            };
            Said::Answers {
                code: decision.reason,
                status: response.status,
                location: all("Location").concat(),
                cookies: all("Set-Cookie"),
            }
        }
    }
}

#[derive(Debug, PartialEq)]
enum Said {
    Needs(&'static str),
    Answers {
        code: Code,
        status: u16,
        location: String,
        cookies: Vec<String>,
    },
}

impl Said {
    fn needs(&self) -> &'static str {
        match self {
            Said::Needs(what) => what,
            Said::Answers { code, .. } => panic!("answers {code:?}"),
        }
    }

    fn answers(self) -> (Code, u16, String, Vec<String>) {
        match self {
            Said::Needs(what) => panic!("needs {what}"),
            Said::Answers {
                code,
                status,
                location,
                cookies,
            } => (code, status, location, cookies),
        }
    }
}

const FETCH: Sent<'static> = ("GET", "/app?x=1", &[]);

fn parameter(address: &str, name: &str) -> Option<String> {
    let mut pairs = address.split(['?', '&']).filter_map(|p| p.split_once('='));
    let (_, value) = pairs.find(|(n, _)| *n == name)?;
    Some(value.to_owned())
}

#[test]
fn the_authorize_address_has_the_realm_in_its_path() {
    for (realm, path) in [
        ("/", "realms/root/authorize"),
        ("/alpha", "realms/root/realms/alpha/authorize"),
        ("/a/b", "realms/root/realms/a/realms/b/authorize"),
    ] {
        let snap = snapshot(&format!("{PINGAM}{AGENT}organization.name = {realm}\n"));
        let (code, status, location, _) = outcome(&snap, &Memo::default(), FETCH).answers();
        assert_eq!((code, status), (Code::LoginNoToken, 302));
        let to = format!("http://am.example.com:8080/openam/oauth2/{path}?");
        assert!(location.starts_with(&to), "{location}");
        for (name, value) in [
            ("client_id", "wa1"),
            ("response_type", "id_token"),
            ("scope", "openid"),
            ("response_mode", "form_post"),
            ("agent_provider", "true"),
        ] {
            assert_eq!(parameter(&location, name).as_deref(), Some(value));
        }
        let redirect = "http%3A%2F%2Fwww.example.com%3A80%2Fagent%2Fcdsso-oauth2";
        assert_eq!(
            parameter(&location, "redirect_uri").as_deref(),
            Some(redirect)
        );
        let realm = realm.replace('/', "%2F");
        assert_eq!(parameter(&location, "agent_realm"), Some(realm));
        // A login that is asked for ends a session.
        for name in ["realm", "prompt"] {
            assert_eq!(parameter(&location, name), None, "{location}");
        }
    }
    // A rule's address counts as it is.
    let rule = "com.forgerock.agents.conditional.login.url[0] = /app|https://am2/am/oauth2/realms/root/realms/x/authorize?acr_values=strong\n";
    let (_, _, location, _) = outcome(
        &snapshot(&format!("{PINGAM}{rule}")),
        &Memo::default(),
        FETCH,
    )
    .answers();
    let to =
        "https://am2/am/oauth2/realms/root/realms/x/authorize?acr_values=strong&client_id=wa1&";
    assert!(location.starts_with(to), "{location}");
}

/// A session of the user, of this realm.
fn session(realm: &str) -> Given {
    let session = NewSession {
        kind: SessionKind::User,
        client_side: false,
        max_end: NOW.wall.0 + 3_600_000,
        idle_end: NOW.wall.0 + 1_800_000,
        realm,
        universal_id: "id=demo,ou=user,dc=openam",
        properties: &[("UserToken", "demo")],
    };
    Some(Ok(session.encode().expect("record")))
}

struct Am {
    pair: EcdsaKeyPair,
}

impl Am {
    fn new() -> Am {
        let pair = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).expect("key");
        Am { pair }
    }

    /// The keys as AM publishes them.
    fn keys(&self, id: &str) -> Given {
        let point = &self.pair.public_key().as_ref()[1..];
        let [x, y] = [&point[..32], &point[32..]].map(|n| URL_SAFE_NO_PAD.encode(n));
        let key = PublishedKey {
            id,
            kind: KeyKind::Es256,
            numbers: [&x, &y],
        };
        Some(Ok(PublishedKeys::encode(&[key]).expect("record")))
    }

    fn token(&self, header: &Value, nonce: &str) -> String {
        let seconds = NOW.wall.0 / 1000;
        let claims = json!({
            "iss": "http://am.example.com:8080/openam/oauth2", "aud": "wa1", "azp": "wa1", "nonce": nonce,
            "realm": "/", "agent_realm": "/", "iat": seconds, "exp": seconds + 3600,
            "forgerock": { "ssotoken": "AQIC5wUSER", "suid": "x" },
        });
        let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let message = format!("{}.{}", part(header), part(&claims));
        let signature = self.pair.sign(&SystemRandom::new(), message.as_bytes());
        format!(
            "{message}.{}",
            URL_SAFE_NO_PAD.encode(signature.expect("signature"))
        )
    }
}

/// A login that came as far as AM's form, with a token of this header.
fn returning(snap: &Snapshot, am: &Am, header: &Value) -> (String, String) {
    let (_, _, location, cookies) = outcome(snap, &Memo::default(), FETCH).answers();
    let value = |name| parameter(&location, name).expect("parameter");
    let token = am.token(header, &value("nonce"));
    let cookie = cookies[0].split(';').next().unwrap_or_default();
    (
        format!("id_token={token}&state={}", value("state")),
        cookie.to_owned(),
    )
}

fn back<'s>(headers: &'s [(&'s str, &'s str)]) -> Sent<'s> {
    ("POST", "/agent/cdsso-oauth2", headers)
}

fn headers(cookie: &str) -> [(&str, &str); 3] {
    [
        ("Cookie", cookie),
        ("Origin", "http://am.example.com:8080"),
        ("Content-Type", "application/x-www-form-urlencoded"),
    ]
}

#[test]
fn the_way_back_asks_for_keys_and_for_newer_ones_only_where_one_is_unknown() {
    let (snap, am) = (snapshot(PINGAM), Am::new());
    let (form, cookie) = returning(&snap, &am, &json!({ "alg": "ES256", "kid": "k2" }));
    let headers = headers(&cookie);
    let mut memo = Memo::default();
    let said = |memo: &Memo| outcome(&snap, memo, back(&headers));
    assert_eq!(said(&memo).needs(), "form");
    memo.form = Some(form);
    assert_eq!(said(&memo).needs(), "keys");
    memo.keys = am.keys("k2");
    assert_eq!(said(&memo).needs(), "session");
    // AM has changed its keys since.
    memo.keys = am.keys("k1");
    assert_eq!(said(&memo).needs(), "newer keys");
    memo.newer = am.keys("k1");
    let (code, status, location, cookies) = said(&memo).answers();
    assert_eq!((code, status), (Code::TokenUnknownKey, 403));
    assert!(location.is_empty() && cookies.is_empty());
    memo.newer = am.keys("k2");
    assert_eq!(said(&memo).needs(), "session");
    memo.session = session("/");
    assert_eq!(said(&memo).needs(), "spend");
    memo.receipt = Some(Receipt::Done);
    let (code, status, location, cookies) = said(&memo).answers();
    assert_eq!((code, status), (Code::LoginDone, 302));
    assert_eq!(location, "http://www.example.com:80/app?x=1#");
    // The session token is in no cookie in the clear.
    let own = cookies
        .iter()
        .find(|c| c.starts_with("am-auth-jwt="))
        .expect("cookie");
    assert!(!own.contains("AQIC5w") && !own.contains("eyJ"), "{own}");
    memo.session = session("/other");
    assert_eq!(said(&memo).answers().0, Code::DeniedRealm);
}

#[test]
fn without_keys_nobody_is_let_in() {
    let (snap, am) = (snapshot(PINGAM), Am::new());
    let (form, cookie) = returning(&snap, &am, &json!({ "alg": "ES256", "kid": "k" }));
    let headers = headers(&cookie);
    for (keys, newer) in [(Some(Err(AWAY)), None), (am.keys("other"), Some(Err(AWAY)))] {
        let memo = Memo {
            form: Some(form.clone()),
            keys,
            newer,
            session: session("/"),
            receipt: Some(Receipt::Done),
            ..Memo::default()
        };
        let (code, status, _, cookies) = outcome(&snap, &memo, back(&headers)).answers();
        assert_eq!((code, status), (Code::UnavailableTimeout, 503));
        assert!(cookies.is_empty(), "{cookies:?}");
    }
}

#[test]
fn a_token_that_no_published_key_can_sign_costs_am_nothing() {
    let (snap, am) = (snapshot(PINGAM), Am::new());
    for (header, expected) in [
        (json!({ "alg": "HS256", "kid": "k" }), Code::TokenAlgorithm),
        (json!({ "alg": "none" }), Code::TokenAlgorithm),
        (json!({ "alg": "ES256" }), Code::TokenMalformed),
        (
            json!({ "alg": "ES256", "kid": "k", "crit": [] }),
            Code::TokenMalformed,
        ),
    ] {
        let (form, cookie) = returning(&snap, &am, &header);
        let memo = Memo {
            form: Some(form),
            ..Memo::default()
        };
        let (code, status, ..) = outcome(&snap, &memo, back(&headers(&cookie))).answers();
        assert_eq!((code, status), (expected, 403), "{header}");
    }
    // Nor is a token of dialect B one of dialect A's.
    let openam = snapshot("");
    let (form, cookie) = returning(&openam, &am, &json!({ "alg": "ES256", "kid": "k" }));
    let memo = Memo {
        form: Some(form),
        keys: am.keys("k"),
        ..Memo::default()
    };
    let (code, ..) = outcome(&openam, &memo, back(&headers(&cookie))).answers();
    assert_eq!(code, Code::TokenAlgorithm);
}

/// The cookie of a user who is logged in.
fn logged_in(snap: &Snapshot, target: &str) -> String {
    let view = support::view_at("GET", target);
    let sealed =
        portcullis_engine::decide::cookie_of(&view, snap, &Memo::default(), NOW, b"AQIC5wUSER");
    format!("am-auth-jwt={}", sealed.expect("a URL"))
}

#[test]
fn a_step_up_goes_to_the_page_that_is_documented() {
    let realm = format!("{PINGAM}{AGENT}organization.name = /alpha\n");
    let snap = snapshot(&realm);
    let policy = NewPolicy {
        ttl: u64::MAX,
        actions: &[],
        attributes: &[],
        advices: &[("AuthLevelConditionAdvice", &["2"])],
    };
    let memo = Memo {
        session: session("/alpha"),
        policy: Some(Ok(policy.encode().expect("record"))),
        ..Memo::default()
    };
    let cookie = logged_in(&snap, "/app");
    let sent = ("GET", "/app", &[("Cookie", &*cookie)] as &[_]);
    let (code, status, location, _) = outcome(&snap, &memo, sent).answers();
    assert_eq!((code, status), (Code::LoginStepUp, 302));
    let to = "http://am.example.com:8080/openam/XUI/?realm=%2Falpha&goto=http%3A%2F%2Fam.example.com%3A8080%2Fopenam\
              %2Foauth2%2Frealms%2Froot%2Frealms%2Falpha%2Fauthorize%3Fclient_id%3Dwa1";
    assert!(location.starts_with(to), "{location}");
    assert!(
        location.contains("&authIndexType=composite_advice&authIndexValue=%3CAdvices%3E"),
        "{location}"
    );
}

#[test]
fn a_logout_leads_to_the_page_that_is_documented() {
    let logout = format!(
        "{PINGAM}{AGENT}agent.logout.url[0] = http://www.example.com:80/bye\n\
         com.forgerock.agents.config.logout.redirect.disable = false\n"
    );
    let to = |lines: &str| {
        let snap = snapshot(&format!("{logout}{lines}"));
        let cookie = logged_in(&snap, "/bye");
        let memo = Memo {
            session: session("/alpha"),
            receipt: Some(Receipt::Done),
            ..Memo::default()
        };
        let sent = ("GET", "/bye", &[("Cookie", &*cookie)] as &[_]);
        let (code, status, location, _) = outcome(&snap, &memo, sent).answers();
        assert_eq!((code, status), (Code::LoggedOut, 302));
        location
    };
    let page = "http://am.example.com:8080/openam/XUI/?realm=%2Falpha";
    assert_eq!(to(""), format!("{page}#logout/"));
    let after = format!("{AGENT}logout.redirect.url = https://www.example.com/\n");
    assert_eq!(
        to(&after),
        format!("{page}&goto=https%3A%2F%2Fwww.example.com%2F#logout/")
    );
    let own = format!("{AGENT}logout.url[0] = https://sso.example.com/bye\n");
    assert_eq!(to(&own), "https://sso.example.com/bye");
}

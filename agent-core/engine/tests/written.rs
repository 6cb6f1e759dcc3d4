//! What is written down of a request lets nobody in, and decides it the same way again.
#![allow(clippy::expect_used, clippy::panic, reason = "helpers of tests")]

mod support;

use std::net::IpAddr;

use portcullis_engine::{
    config::Snapshot,
    contract::{Header, RequestView},
    decide::{
        TOKEN, VALUE, cookie_of, why_not_again, written_form, written_headers, written_target,
    },
    event::Code,
};
use support::{NOW, Nothing};

const RULE: &str = "portcullis.notenforced.rule[0] = url=http://www.example.com:80/a/* cookie.beta=yes* header.X-Tier=gold\n";

fn snapshot() -> Snapshot {
    support::snapshot(RULE)
}

fn request<'r>(headers: &'r [Header<'r>]) -> RequestView<'r> {
    support::view("GET", "/x", IpAddr::from([192, 0, 2, 7]), headers)
}

fn sealed(snap: &Snapshot, token: &str) -> String {
    let cookie = cookie_of(&request(&[]), snap, &Nothing, NOW, token.as_bytes());
    cookie.expect("a cookie")
}

/// The value of one header as it is written down.
fn written(snap: &Snapshot, name: &str, value: &str) -> String {
    let headers = [Header {
        name: name.as_bytes(),
        value: value.as_bytes(),
    }];
    let all = written_headers(&request(&headers), snap, &Nothing, NOW).expect("text");
    assert_eq!((all.len(), all[0].0.as_str()), (1, name));
    all[0].1.clone()
}

#[test]
fn only_what_is_known_to_be_harmless_stays() {
    let snap = snapshot();
    for (name, value) in [
        ("User-Agent", "curl/8"),
        ("Sec-Fetch-Site", "same-origin"),
        ("X-Tier", "gold"),
    ] {
        assert_eq!(written(&snap, name, value), value);
    }
    for (name, value) in [
        ("Authorization", "Basic c2VjcmV0"),
        ("X-Api-Key", "c2VjcmV0"),
        ("X-Tier", "c2VjcmV0"),
    ] {
        let stands = written(&snap, name, value);
        assert!(
            stands.starts_with(VALUE) && !stands.contains("c2VjcmV0"),
            "{stands}"
        );
        assert_eq!(stands, written(&snap, name, value), "stable");
        assert_ne!(stands, written(&snap, name, "another"));
    }
}

#[test]
fn a_cookie_that_opens_says_so_and_no_more() {
    let snap = snapshot();
    let one = sealed(&snap, "a-session-token-of-AM");
    let field = format!("app=s3cret; am-auth-jwt={one}; beta=yes-please;nameless");
    let stands = written(&snap, "Cookie", &field);
    for secret in [one.as_str(), "s3cret", "a-session-token", "nameless"] {
        assert!(!stands.contains(secret), "{stands}");
    }
    assert!(
        stands.contains(&format!("; am-auth-jwt={TOKEN}")),
        "{stands}"
    );
    assert!(
        stands.contains("; beta=yes-please;"),
        "a rule looks at it: {stands}"
    );
    let broken = written(&snap, "Cookie", &format!("am-auth-jwt=x{one}"));
    assert!(
        broken.starts_with(&format!("am-auth-jwt={VALUE}")),
        "{broken}"
    );
}

#[test]
fn what_differs_stays_different() {
    let snap = snapshot();
    let values = |value: &str| written(&snap, "Cookie", &format!("am-auth-jwt={value}"));
    let (one, two) = (sealed(&snap, "one"), sealed(&snap, "two"));
    assert_eq!(values(&one), values(&one));
    assert_ne!(values(&one), values(&two));
    let am = |value: &str| written(&snap, "Cookie", &format!("iPlanetDirectoryPro={value}"));
    // Two ways to write one token are two values of one cookie (rule L4), and one session.
    let (plain, escaped) = (am("AQIC5w.x"), am("AQIC5w%2Ex"));
    assert_ne!(plain, escaped);
    let session = "iPlanetDirectoryPro=".len() + VALUE.len() + 32;
    assert_eq!(plain[..session], escaped[..session]);
    assert_eq!(am(""), "iPlanetDirectoryPro=");
    assert!(
        am(&"x".repeat(5000)).len() > 4096,
        "no token, and so no pseudonym of one"
    );
}

#[test]
fn a_target_keeps_everything_but_secrets() {
    let snap = snapshot();
    let cases: [(&str, &str); 3] = [
        ("/x", "/x"),
        ("/x?", "/x?"),
        ("/x?a=%41&b&b=1", "/x?a=%41&b&b=1"),
    ];
    for (target, expected) in cases {
        assert_eq!(
            &*written_target(&snap, target.as_bytes()),
            expected.as_bytes()
        );
    }
    let target = b"/x?iPlanetDirectoryPro=AQIC5&q=1&ID_Token=ey&code";
    let stands = String::from_utf8(written_target(&snap, target).into_owned()).expect("text");
    assert!(
        !stands.contains("AQIC5") && !stands.contains("=ey"),
        "{stands}"
    );
    assert!(
        stands.contains("&q=1&ID_Token=") && stands.ends_with("&code"),
        "{stands}"
    );
}

#[test]
fn a_form_keeps_its_shape() {
    let snap = snapshot();
    let state = "AAAAAAAAAAAAAAAAAAAAAA";
    let form = format!("id_token=ey.ey.ey&state={state}&error=access_denied&x&state=bad");
    let stands = written_form(&snap, form.as_bytes()).expect("text");
    assert!(
        !stands.contains("ey.ey") && !stands.contains(state),
        "{stands}"
    );
    let fields: Vec<&str> = stands.split('&').collect();
    assert_eq!(fields.len(), 5);
    assert_eq!(fields[1].len(), "state=".len() + state.len(), "{stands}");
    assert_eq!(fields[2], "error=access_denied");
    assert_eq!(fields[3], "x");
    assert!(fields[4].starts_with(&format!("state={VALUE}")), "{stands}");
}

#[test]
fn only_what_rests_on_a_login_cannot_be_decided_again() {
    for code in Code::ALL {
        let alone = matches!(
            code,
            Code::Internal
                | Code::SessionEndedMeanwhile
                | Code::DeniedAdviceAgain
                | Code::PostReplayed
                | Code::PostGone
                | Code::MonitorShown
                | Code::MonitorRefused
                | Code::HealthReady
                | Code::HealthNotReady
        );
        assert_eq!(
            why_not_again(*code, false, false).is_some(),
            alone,
            "{code:?}"
        );
        let shape = matches!(
            code,
            Code::CallbackForm | Code::CallbackAmError | Code::CallbackNoCookie
        );
        assert_eq!(
            why_not_again(*code, true, false).is_none(),
            shape,
            "{code:?}"
        );
        assert!(why_not_again(*code, true, true).is_some(), "{code:?}");
    }
}

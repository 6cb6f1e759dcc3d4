//! Who sees the agent's own numbers (rule W1)?
#![allow(clippy::panic, clippy::unwrap_used, reason = "helpers of tests")]

mod support;

use std::net::IpAddr;

use base64::{Engine, engine::general_purpose::STANDARD};
use portcullis_engine::{
    config::Snapshot,
    contract::{Fill, Header, Outcome, RequestView, Step},
    decide,
    event::Code,
    monitor_unconfigured,
};
use support::{MONITOR, NOW, Nothing, built, read, snapshot, view};

const HERE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);

/// Code, status, what is filled in, and body.
fn decided(req: &RequestView<'_>, snap: &Snapshot) -> (Code, u16, Fill, String) {
    let Step::Done(decision) = decide(req, snap, &Nothing, NOW) else {
        panic!("asks for something");
    };
    let Outcome::Respond(page) = decision.outcome else {
        panic!("no answer of its own");
    };
    let body = String::from_utf8(page.body).unwrap();
    (decision.reason, page.status, decision.fill, body)
}

fn basic(user: &str, password: &[u8]) -> String {
    let text = [user.as_bytes(), b":", password].concat();
    format!("Basic {}", STANDARD.encode(text))
}

#[test]
fn numbers_are_for_name_password_and_address_together() {
    let on = snapshot("portcullis.monitor.enable = true\n");
    let named = snapshot(
        "portcullis.monitor.enable = true\nportcullis.monitor.addresses[0] = 192.0.2.0/24\nportcullis.monitor.user = eve\n",
    );
    let right = basic("monitor", MONITOR);
    let (lower, eve) = (right.replace("Basic", "bAsIc"), basic("eve", MONITOR));
    let wrong = [
        basic("monitor", b""),
        basic("monitor", &MONITOR[1..]),
        basic("other", MONITOR),
        basic("monitor", &[MONITOR, b" "].concat()),
        right.replace("Basic", "Bearer"),
        "Basic".into(),
        "Basic !".into(),
        String::new(),
    ];
    let from = |address: &str| address.parse::<IpAddr>().unwrap();
    let mut cases = vec![
        (&on, right.as_str(), HERE, true),
        (&on, &lower, HERE, true),
        (&on, &right, from("::1"), true),
        (&on, &right, from("192.0.2.1"), false),
        (&named, &eve, from("192.0.2.1"), true),
        (&named, &right, from("192.0.2.1"), false),
        (&named, &eve, HERE, false),
    ];
    cases.extend(wrong.iter().map(|wrong| (&on, wrong.as_str(), HERE, false)));
    for (snap, credentials, address, shown) in cases {
        let headers = [Header {
            name: b"authorization",
            value: credentials.as_bytes(),
        }];
        for (page, fill) in [
            ("/agent/metrics", Fill::Metrics),
            ("/agent/monitor?x=1", Fill::Monitor),
        ] {
            let got = decided(&view("GET", page, address, &headers), snap);
            let expected = match shown {
                true => (Code::MonitorShown, 200, fill),
                false => (Code::MonitorRefused, 404, Fill::Nothing),
            };
            assert_eq!((got.0, got.1, got.2), expected, "{credentials:?} {address}");
            assert_eq!(got.3.is_empty(), shown);
        }
    }
}

#[test]
fn a_proxy_in_front_lends_its_address_to_nobody() {
    let snap = snapshot("portcullis.monitor.enable = true\n");
    let value = basic("monitor", MONITOR);
    let headers = [Header {
        name: b"Authorization",
        value: value.as_bytes(),
    }];
    let stranger: IpAddr = "198.51.100.7".parse().unwrap();
    for (peer, client) in [(HERE, stranger), (stranger, HERE)] {
        let mut req = view("GET", "/agent/metrics", client, &headers);
        req.peer = peer;
        assert_eq!(decided(&req, &snap).0, Code::MonitorRefused);
    }
    // Two headers are none.
    let twice = [headers[0], headers[0]];
    assert_eq!(
        decided(&view("GET", "/agent/metrics", HERE, &twice), &snap).1,
        404
    );
    assert_eq!(
        decided(&view("PUT", "/agent/metrics", HERE, &headers), &snap).1,
        405
    );
}

#[test]
fn strangers_learn_of_health_no_more_than_a_word_and_a_code() {
    let snap = snapshot("portcullis.monitor.enable = true\n");
    let stranger: IpAddr = "198.51.100.7".parse().unwrap();
    let req = view("GET", "/agent/health", stranger, &[]);
    let (code, status, fill, body) = decided(&req, &snap);
    assert_eq!(
        (code, status, fill),
        (Code::HealthReady, 200, Fill::Nothing)
    );
    assert_eq!(body, r#"{"status":"ready"}"#);
    let value = basic("monitor", MONITOR);
    let headers = [Header {
        name: b"Authorization",
        value: value.as_bytes(),
    }];
    let known = decided(&view("HEAD", "/agent/health", HERE, &headers), &snap);
    assert_eq!((known.1, known.2), (200, Fill::Health));
}

#[test]
fn without_a_configuration_only_these_pages_are_answered_so() {
    let secrets = || support::secrets();
    let (on, _) = read("portcullis.monitor.enable = true\n");
    let (off, _) = read("");
    let ask = |config, page| {
        let req = view("GET", page, HERE, &[]);
        monitor_unconfigured(&req, (config, &secrets()), &Nothing, Code::NoConfiguration)
            .map(|decision| (decision.reason, decision.fill))
    };
    assert_eq!(
        ask(&on, "/agent/health"),
        Some((Code::HealthNotReady, Fill::Nothing))
    );
    assert_eq!(
        ask(&on, "/agent/metrics"),
        Some((Code::MonitorRefused, Fill::Nothing))
    );
    assert_eq!(ask(&on, "/agent/other"), None);
    assert_eq!(ask(&off, "/agent/health"), None);
    let _ = built(off);
}

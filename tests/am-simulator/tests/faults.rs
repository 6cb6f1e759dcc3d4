//! Things that go wrong on request, the call log, and the controls for other processes.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "tests may panic, their helpers too"
)]

mod support;

use am_simulator::{Call, Config, Damage, Fault, Simulator};
use serde_json::json;
use std::io::{ErrorKind, Read as _, Write as _};
use std::net::TcpStream;
use std::time::{Duration, Instant};
use support::*;

const INFO: &str = "/json/serverinfo/*";

fn info(am: &am_simulator::Running) -> u16 {
    call(am, "GET", INFO, &[], None).status
}

#[test]
fn statuses_are_counted() {
    let am = seeded();
    am.add_fault(
        Fault::on("/json/serverinfo", Damage::Status { status: 503 })
            .after(1)
            .times(2),
    );
    assert_eq!([(); 4].map(|()| info(&am)), [200, 503, 503, 200]);
    am.add_fault(Fault::on("", Damage::Status { status: 401 }));
    assert_eq!(message(&call(&am, "GET", INFO, &[], None)), "Access Denied");
    am.clear_faults();
    assert_eq!(info(&am), 200);
}

#[test]
fn a_path_without_realm_strikes_in_every_realm() {
    let am = seeded();
    am.add_fault(Fault::on(
        "/json/serverinfo",
        Damage::Status { status: 500 },
    ));
    assert_eq!(
        call(
            &am,
            "GET",
            "/json/realms/root/realms/shop/serverinfo/*",
            &[],
            None
        )
        .status,
        500
    );
}

#[test]
fn reset() {
    let am = seeded();
    am.add_fault(Fault::on(INFO, Damage::Reset));
    let error = raw(
        am.address(),
        &request("GET", "/openam/json/serverinfo/*", &[], None),
    )
    .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ConnectionReset);
}

#[test]
fn hang_and_stop() {
    let am = seeded();
    am.add_fault(Fault::on(INFO, Damage::Hang));
    let mut stream = TcpStream::connect(am.address()).unwrap();
    let text = request("GET", "/openam/json/serverinfo/*", &[], None);
    stream.write_all(text.as_bytes()).unwrap();
    // The call has arrived and is not answered.
    let limit = Instant::now() + Duration::from_secs(20);
    while am.calls().is_empty() {
        assert!(Instant::now() < limit, "the call never arrived");
        std::thread::yield_now();
    }
    assert_eq!(am.calls()[0].status, 0);
    stream.set_nonblocking(true).unwrap();
    let waiting = stream.read(&mut [0; 16]).unwrap_err();
    assert_eq!(waiting.kind(), ErrorKind::WouldBlock);
    stream.set_nonblocking(false).unwrap();
    let address = am.address();
    am.stop();
    // Stopping ends what hangs, and the port is closed.
    assert!(matches!(stream.read(&mut [0; 16]), Ok(0) | Err(_)));
    assert!(TcpStream::connect(address).is_err());
}

#[test]
fn held_calls_are_answered_when_the_faults_are_cleared() {
    let am = seeded();
    am.add_fault(Fault::on(INFO, Damage::Hold));
    std::thread::scope(|threads| {
        let calls: Vec<_> = (0..3).map(|_| threads.spawn(|| info(&am))).collect();
        let limit = Instant::now() + Duration::from_secs(20);
        while am.calls().len() < 3 {
            assert!(Instant::now() < limit, "the calls never arrived");
            std::thread::yield_now();
        }
        assert!(am.calls().iter().all(|c| c.status == 0));
        am.clear_faults();
        for call in calls {
            assert_eq!(call.join().unwrap(), 200);
        }
    });
}

#[test]
fn bodies() {
    let am = seeded();
    let whole = call(&am, "GET", INFO, &[], None).json();
    am.add_fault(Fault::on(INFO, Damage::SlowBody { delay_ms: 1 }).times(1));
    let bytes = raw(
        am.address(),
        &request("GET", "/openam/json/serverinfo/*", &[], None),
    )
    .unwrap();
    let text = String::from_utf8(bytes).unwrap();
    let (head, chunks) = text.split_once("\r\n\r\n").unwrap();
    assert!(head.to_lowercase().contains("transfer-encoding: chunked"));
    let slow: String = chunks.split("\r\n").skip(1).step_by(2).collect();
    assert_eq!(
        serde_json::from_str::<serde_json::Value>(&slow).unwrap(),
        whole
    );

    am.add_fault(Fault::on(INFO, Damage::Garbage).times(1));
    let garbage = call(&am, "GET", INFO, &[], None);
    assert_eq!(garbage.status, 200);
    assert!(serde_json::from_str::<serde_json::Value>(&garbage.body).is_err());

    am.add_fault(Fault::on(INFO, Damage::NotHttp).times(1));
    let bytes = raw(
        am.address(),
        &request("GET", "/openam/json/serverinfo/*", &[], None),
    );
    assert!(bytes.is_err() || !bytes.unwrap().starts_with(b"HTTP"));

    am.add_fault(Fault::on(INFO, Damage::EndlessBody).times(1));
    let mut stream = TcpStream::connect(am.address()).unwrap();
    let text = request("GET", "/openam/json/serverinfo/*", &[], None);
    stream.write_all(text.as_bytes()).unwrap();
    let mut much = vec![0; 4 << 20];
    stream.read_exact(&mut much).unwrap();
    drop(stream);
    assert_eq!(info(&am), 200);
}

#[test]
fn agents_are_thrown_out() {
    let am = seeded();
    let agent = agent_token(&am);
    am.add_fault(
        Fault::on("/json/agents", Damage::KillAgentSessions { agent: None })
            .after(1)
            .times(1),
    );
    let read = || call(&am, "GET", "/json/agents/wa1", &[(TOKEN, &agent)], None).status;
    assert_eq!([(); 2].map(|()| read()), [200, 401]);
    assert_eq!(
        call(
            &am,
            "GET",
            "/json/agents/wa1",
            &[(TOKEN, &agent_token(&am))],
            None
        )
        .status,
        200
    );
}

#[test]
fn the_log_names_who_and_never_how() {
    let am = seeded();
    let (agent, user) = (agent_token(&am), user_token(&am));
    am.reset_calls();
    let body =
        json!({"resources": [format!("{W}/docs/a")], "subject": {"ssoToken": user}}).to_string();
    let headers = [LATEST, (TOKEN, agent.as_str())];
    call(
        &am,
        "POST",
        "/json/policies?_action=evaluate",
        &headers,
        Some(&body),
    );
    call(
        &am,
        "POST",
        &format!("/json/sessions/{}?_action=validate", quoted(&user)),
        &[],
        Some("{}"),
    );
    let calls = am.calls();
    let expected = Call {
        method: "POST".to_owned(),
        path: "/json/policies".to_owned(),
        action: Some("evaluate".to_owned()),
        resource: Some("2.1".to_owned()),
        tokens: vec![
            "header:agent:wa1".to_owned(),
            "subject:user:demo".to_owned(),
        ],
        transaction: None,
        trace: None,
        status: 200,
    };
    assert_eq!(calls[0], expected);
    assert_eq!(calls[1].path, "/json/sessions/{token}");
    let shown = format!("{calls:?}");
    assert!(!shown.contains("AQIC5w"), "{shown}");
}

#[test]
fn controls_for_other_processes() {
    let am = seeded();
    let control = |method: &str, path: &str, body: Option<&str>| {
        call(&am, method, path, &[("Host", "127.0.0.1")], body)
    };
    let fault = r#"{"path":"/json/serverinfo","times":1,"damage":{"kind":"status","status":502}}"#;
    assert_eq!(
        control("POST", "/simulator/faults", Some(fault)).status,
        204
    );
    assert_eq!(control("POST", "/simulator/faults", Some("{}")).status, 400);
    assert_eq!(info(&am), 502);
    control("POST", "/simulator/faults", Some(fault));
    assert_eq!(control("DELETE", "/simulator/faults", None).status, 204);
    assert_eq!(info(&am), 200);
    let calls = control("GET", "/simulator/calls", None).json();
    assert_eq!(calls.as_array().unwrap().len(), 2);
    assert_eq!(calls[0]["status"], 502);
    assert_eq!(control("DELETE", "/simulator/calls", None).status, 204);
    assert!(am.calls().is_empty());
    agent_token(&am);
    assert_eq!(
        control("POST", "/simulator/kill-agent-sessions", Some("{}")).json(),
        json!({"ended": 1})
    );
    let token = user_token(&am);
    assert_eq!(
        control("POST", "/simulator/advance", Some(r#"{"seconds":7201}"#)).status,
        204
    );
    assert!(am.session(&token).is_none());
    assert_eq!(control("GET", "/simulator/audit", None).json(), json!([]));
}

#[tokio::test]
async fn starts_and_stops_inside_another_runtime() {
    let am = Simulator::start(Config::default()).unwrap();
    assert!(am.base_url().starts_with("http://am.test.example.org:"));
    drop(am);
}

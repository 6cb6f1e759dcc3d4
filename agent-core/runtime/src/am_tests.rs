use std::{collections::VecDeque, net::Ipv4Addr, time::Duration};

use portcullis_engine::am::Refusal;
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::TcpListener,
    task::JoinHandle,
};

use super::*;
use crate::client::Permit;

const GENEROUS: Duration = Duration::from_secs(60);
const USER: &str = "AQIC5wUSER.*AAJTSQ*";

fn secret(text: &str) -> Secret {
    Secret::new(text.into())
}

fn call() -> Call {
    Call {
        permit: Permit::KnownSession,
        until: Instant::now() + GENEROUS,
    }
}

fn am(urls: &[&str]) -> Am {
    let site = Site {
        urls: urls.iter().map(|u| (*u).into()).collect(),
        realm: "/".into(),
        agent: "wa1".into(),
        cookie_name: "iPlanetDirectoryPro".into(),
        dialect: Dialect::OpenAm,
        agent_auth: AgentAuth::Module,
    };
    let settings = Settings {
        connect_timeout: GENEROUS,
        calls_max: 4,
        ..Settings::default()
    };
    Am::new(&site, &settings).unwrap()
}

/// Answers one request after the other and returns what was asked: request line and body, in order.
async fn script(answers: &[(u16, &str)]) -> (String, JoinHandle<Vec<String>>) {
    let mut answers: VecDeque<String> = answers
        .iter()
        .map(|(status, body)| {
            let length = body.len();
            format!(
                "HTTP/1.1 {status} X\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}"
            )
        })
        .collect();
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let url = format!("http://{}/openam", listener.local_addr().unwrap());
    let served = tokio::spawn(async move {
        let mut seen = Vec::new();
        while let Some(answer) = answers.pop_front() {
            let (stream, _) = listener.accept().await.unwrap();
            let mut stream = BufReader::new(stream);
            let (mut request, mut length) = (String::new(), 0);
            loop {
                let mut line = String::new();
                stream.read_line(&mut line).await.unwrap();
                if line == "\r\n" {
                    break;
                }
                if let Some(n) = line.to_ascii_lowercase().strip_prefix("content-length:") {
                    length = n.trim().parse().unwrap();
                }
                request.push_str(&line);
            }
            let mut body = vec![0; length];
            stream.read_exact(&mut body).await.unwrap();
            request.push_str(&String::from_utf8(body).unwrap());
            stream.get_mut().write_all(answer.as_bytes()).await.unwrap();
            seen.push(request);
        }
        seen
    });
    (url, served)
}

fn exception(text: &str) -> String {
    format!(
        "<ResponseSet vers=\"1.0\" svcid=\"session\" reqid=\"0\"><Response><![CDATA[<SessionResponse vers=\"1.0\" reqid=\"1\"><GetSession><Exception>{text}</Exception></GetSession></SessionResponse>]]></Response></ResponseSet>"
    )
}

#[tokio::test]
async fn the_agents_token_is_looked_at_before_the_user_is_blamed() {
    for (valid, expected) in [("true", AmError::UserDead), ("false", AmError::AgentDead)] {
        let doubt = exception(&format!("{USER} java.lang.NullPointerException"));
        let validity = format!("{{\"valid\":{valid}}}");
        let (url, served) = script(&[(200, &doubt), (200, &validity)]).await;
        let agent = secret("AQIC5wAGENT.*");
        let result = am(&[&url])
            .session(&agent, &secret(USER), false, UnixMillis(0), call())
            .await;
        assert_eq!(result, Err(expected));
        let seen = served.await.unwrap();
        assert!(
            seen[0].contains("<GetSession reset=\"false\">"),
            "{}",
            seen[0]
        );
        assert!(seen[1].contains("sessions?_action=validate") && seen[1].contains("AQIC5wAGENT"));
        assert!(!seen[1].contains("AQIC5wUSER"));
    }
}

#[tokio::test]
async fn a_doubt_that_can_not_be_cleared_is_unavailable() {
    let doubt = exception("something else");
    let (url, served) = script(&[(200, &doubt), (503, "")]).await;
    let result = am(&[&url])
        .session(&secret("a"), &secret(USER), false, UnixMillis(0), call())
        .await;
    assert_eq!(result, Err(AmError::Unavailable(Cause::Status(503))));
    served.await.unwrap();
}

#[tokio::test]
async fn the_name_that_am_gives_is_the_one_tokens_are_presented_under() {
    let (url, served) = script(&[
        (200, r#"{"cookieName":"amCookie"}"#),
        (200, r#"{"valid":true}"#),
    ])
    .await;
    let am = am(&[&url]);
    assert_eq!(
        am.server_info(call()).await.unwrap().cookie_name,
        "amCookie"
    );
    assert_eq!(am.validate(&secret("AQIC5w"), call()).await, Ok(true));
    assert!(
        served.await.unwrap()[1]
            .to_ascii_lowercase()
            .contains("\r\namcookie: aqic5w\r\n")
    );
}

#[tokio::test]
async fn the_next_server_is_asked_and_stays_selected() {
    let gone = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let dead = format!("http://{}/openam", gone.local_addr().unwrap());
    drop(gone);
    let (url, served) = script(&[(200, r#"{"valid":true}"#), (200, r#"{"valid":false}"#)]).await;
    let am = am(&[&dead, &url]);
    assert_eq!(am.validate(&secret("t"), call()).await, Ok(true));
    assert_eq!(am.last_failure(), None);
    assert_eq!(am.validate(&secret("t"), call()).await, Ok(false));
    assert_eq!(am.current.load(Ordering::Relaxed), 1);
    assert_eq!(served.await.unwrap().len(), 2);
    // Now nobody answers: one attempt each, and the failure is there to be logged.
    assert_eq!(
        am.validate(&secret("t"), call()).await,
        Err(AmError::Unavailable(Cause::Transport))
    );
    assert_eq!(am.last_failure().unwrap().cause, Cause::Transport);
    assert_eq!(am.current.load(Ordering::Relaxed), 3);
}

#[tokio::test]
async fn an_answer_of_any_status_is_not_a_reason_to_ask_another_server() {
    let (url, served) = script(&[(403, "{}")]).await;
    let (other, never) = script(&[(200, "{}")]).await;
    let profile = am(&[&url, &other]).profile(&secret("t"), call()).await;
    assert_eq!(profile, Err(AmError::NotAllowed(Refusal::Operation)));
    served.await.unwrap();
    assert!(!never.is_finished());
    never.abort();
}

#[tokio::test]
async fn a_token_that_no_am_issued_costs_no_call() {
    let am = am(&["http://127.0.0.1:1/openam"]);
    let bad = secret("a b");
    let session = am
        .session(&secret("t"), &bad, false, UnixMillis(0), call())
        .await;
    assert_eq!(session, Err(AmError::UserDead));
    assert_eq!(am.logout(&bad, call()).await, Err(AmError::UserDead));
}

#[test]
fn base_urls() {
    let path = |url: &str| base(url).map(|b| b.to_string());
    let slash = Some("http://am.test.invalid:18080/openam/".to_string());
    assert_eq!(path("http://am.test.invalid:18080/openam"), slash);
    assert_eq!(path("http://am.test.invalid:18080/openam/"), slash);
    for bad in [
        "ftp://am/openam",
        "am.test.invalid/openam",
        "http://user:pw@am/openam",
        "http://am/openam?x",
        "http://am/openam#x",
        "",
    ] {
        assert_eq!(path(bad), None, "{bad}");
    }
}

#[tokio::test]
async fn calls_about_a_session_name_the_server_that_keeps_it() {
    let answer = r#"{"valid":true}"#;
    let (url, served) = script(&[(200, answer), (200, answer), (200, answer)]).await;
    let am = am(&[&url]);
    let (known, unknown) = (secret("AQIC5w.*AAJTSQACMDE.*"), secret("AQIC5w"));
    assert_eq!(am.validate(&known, call()).await, Ok(true));
    am.balance(true);
    assert_eq!(am.validate(&known, call()).await, Ok(true));
    assert_eq!(am.validate(&unknown, call()).await, Ok(true));
    let seen = served.await.unwrap();
    let named: Vec<bool> = seen
        .iter()
        .map(|request| request.to_lowercase().contains("cookie: amlbcookie=01\r\n"))
        .collect();
    assert_eq!(named, [false, true, false]);
}

#[tokio::test]
async fn a_server_that_hangs_leaves_time_for_the_next() {
    let hanging = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let first = format!("http://{}/openam", hanging.local_addr().unwrap());
    let answer = r#"{"valid":true}"#;
    let (second, served) = script(&[(200, answer), (200, answer)]).await;
    let am = am(&[&first, &second]);
    let soon = Call {
        permit: Permit::KnownSession,
        until: Instant::now() + Duration::from_secs(2),
    };
    assert_eq!(am.validate(&secret("AQIC5w"), soon).await, Ok(true));
    // It stays with the one that answers.
    assert_eq!(am.validate(&secret("AQIC5w"), call()).await, Ok(true));
    assert_eq!(served.await.unwrap().len(), 2);
}

#[tokio::test]
async fn the_first_server_is_asked_again_when_it_is_back() {
    let (first, alone) = script(&[(503, "{}"), (200, "{}"), (200, r#"{"valid":true}"#)]).await;
    let am = am(&[&first, "http://127.0.0.1:1/openam"]);
    assert!(!am.is_elsewhere());
    am.move_on_from(0);
    assert!(am.is_elsewhere());
    assert!(!am.back_to_first(call()).await, "it has trouble");
    assert!(am.is_elsewhere());
    assert!(am.back_to_first(call()).await);
    assert!(!am.is_elsewhere());
    assert_eq!(am.validate(&secret("t"), call()).await, Ok(true));
    assert_eq!(alone.await.unwrap().len(), 3);
}

//! The WebSocket at `/notifications`, from the handshake to the close.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "tests may panic, their helpers too"
)]

mod support;

use am_simulator::Running;
use futures_util::{SinkExt as _, StreamExt as _};
use serde_json::{Value, json};
use support::*;
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::{Message, client::IntoClientRequest};

const UPGRADE: [(&str, &str); 2] = [
    ("Upgrade", "websocket"),
    ("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ=="),
];

/// The handshake's status when it is refused; the client's `Connection: close` is one of the reasons.
fn refused(am: &Running, more: &[(&str, &str)]) -> u16 {
    let headers = [&UPGRADE[..], more].concat();
    call(am, "GET", "/notifications", &headers, None).status
}

#[test]
fn a_handshake_is_refused_for_the_real_servers_reasons() {
    let am = seeded();
    let (agent, user) = (agent_token(&am), user_token(&am));
    let cookie = format!("{TOKEN}={agent}");
    assert_eq!(refused(&am, &[]), 401);
    assert_eq!(refused(&am, &[("Cookie", &cookie)]), 401);
    assert_eq!(refused(&am, &[(TOKEN, &user)]), 403);
    assert_eq!(refused(&am, &[(TOKEN, &agent)]), 400, "no upgrade");
    let connection = ("Connection", "Upgrade");
    assert_eq!(refused(&am, &[(TOKEN, &agent), connection]), 426);
    let version = ("Sec-WebSocket-Version", "12");
    assert_eq!(refused(&am, &[(TOKEN, &agent), connection, version]), 426);
}

#[tokio::test]
async fn subscriptions_are_acknowledged_and_pings_answered() {
    let am = seeded();
    let url = format!("ws://{HOST}:{}/openam/notifications", am.address().port());
    let mut request = url.into_client_request().unwrap();
    let token = agent_token(&am);
    request.headers_mut().insert(TOKEN, token.parse().unwrap());
    let stream = TcpStream::connect(am.address()).await.unwrap();
    let (mut socket, answer) = tokio_tungstenite::client_async(request, stream)
        .await
        .unwrap();
    assert_eq!(answer.headers().get("sec-websocket-protocol"), None);
    for (message, expected) in [
        (
            r#"{"action":"subscribe","topic":"/agent/session","id":"1"}"#,
            json!({"topic": "/agent/session", "message": "subscription registered", "id": "1"}),
        ),
        ("{", json!({"error": "Failed to parse json"})),
    ] {
        socket.send(Message::text(message)).await.unwrap();
        let heard = socket.next().await.unwrap().unwrap();
        let heard: Value = serde_json::from_str(heard.to_text().unwrap()).unwrap();
        assert_eq!(heard, expected);
    }
    socket.send(Message::Ping("hi".into())).await.unwrap();
    let heard = socket.next().await.unwrap().unwrap();
    assert_eq!(heard, Message::Pong("hi".into()));
    socket.close(None).await.unwrap();
    while socket.next().await.is_some_and(|m| m.is_ok()) {}
}

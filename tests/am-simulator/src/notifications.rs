//! `/notifications`: who may open the WebSocket, and what is said on it.
//!
//! The handshake, the subscriptions, the pings and what is published are those of OpenAM 16.0.5, but for the time that
//! it takes there (50 to 120 ms). Ends of sessions that nobody brings about, their time limits, are not published.

use crate::clock::iso_millis;
use crate::http::{Reply, Req};
use crate::rest::presented;
use crate::session::Kind;
use crate::state::Am;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use futures_util::{SinkExt as _, StreamExt as _};
use hyper::upgrade::{OnUpgrade, Upgraded};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{broadcast, watch};
use tokio::time::{Instant, interval_at};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::{Message, handshake::derive_accept_key, protocol::Role};

/// The only subprotocol, which a client need not offer.
const SUBPROTOCOL: &str = "v1.notifications.forgerock.org";
/// Messages that a slow subscriber may be behind before it misses some.
const BACKLOG: usize = 1024;

/// Topics of what agents hear.
pub(crate) const SESSION: &str = "/agent/session";
pub(crate) const POLICY: &str = "/agent/policy";
pub(crate) const CONFIG: &str = "/agent/config";

/// Where news is put up, and who reads it.
#[derive(Debug)]
pub(crate) struct Board {
    news: broadcast::Sender<(&'static str, Value)>,
    sockets: watch::Sender<Sockets>,
}

#[derive(Debug, Default)]
struct Sockets {
    open: usize,
    /// How often all of them were cut.
    cut: u64,
}

impl Default for Board {
    fn default() -> Self {
        Board {
            news: broadcast::Sender::new(BACKLOG),
            sockets: watch::Sender::default(),
        }
    }
}

impl Am {
    /// Tells everybody who has subscribed to the topic.
    pub(crate) fn publish(&self, topic: &'static str, body: Value) {
        // Fails when nobody listens.
        let _ = self.board.news.send((topic, body));
    }

    /// WebSockets that are open.
    #[must_use]
    pub fn sockets(&self) -> usize {
        self.board.sockets.borrow().open
    }

    /// Cuts all WebSockets without a word, as a firewall does.
    pub fn cut_sockets(&self) {
        self.board.sockets.send_modify(|s| s.cut += 1);
    }
}

/// Between two pings of the server.
const PING: Duration = Duration::from_secs(30);

/// Answers a handshake; a 101 is to be followed by [`converse`]. The token counts in the header only, and `Host` is not
/// looked at.
pub(crate) fn answer(am: &Am, req: &Req) -> Reply {
    let token = req.header(&am.config.cookie_name);
    match token.and_then(|t| presented(am, req, "header", t)) {
        None => Reply::empty(401),
        Some(s) if s.kind != Kind::Application => Reply::empty(403),
        Some(_) if req.method != "GET" || !names(req, "upgrade", "websocket") => {
            Reply::container_page(
                404,
                "The requested resource [/openam/notifications] is not available",
            )
        }
        Some(_) => handshake(req),
    }
}

/// The servlet container's part of the handshake.
fn handshake(req: &Req) -> Reply {
    if !names(req, "connection", "upgrade") {
        return Reply::container_page(400, "");
    }
    if !names(req, "sec-websocket-version", "13") {
        return Reply::empty(426).with("sec-websocket-version", "13");
    }
    let key = req.header("sec-websocket-key").unwrap_or_default();
    if STANDARD.decode(key).map_or(0, |bytes| bytes.len()) != 16 {
        return Reply::container_page(400, "");
    }
    let reply = Reply::empty(101)
        .with("upgrade", "websocket")
        .with("connection", "upgrade")
        .with("sec-websocket-accept", derive_accept_key(key.as_bytes()));
    match names(req, "sec-websocket-protocol", SUBPROTOCOL) {
        true => reply.with("sec-websocket-protocol", SUBPROTOCOL),
        false => reply,
    }
}

/// Whether a header's comma-separated list has a word.
fn names(req: &Req, header: &str, word: &str) -> bool {
    req.headers
        .get_all(header)
        .iter()
        .filter_map(|v| v.to_str().ok())
        .flat_map(|v| v.split(','))
        .any(|w| w.trim().eq_ignore_ascii_case(word))
}

/// Takes part in the conversation until the client ends it, or everybody is cut off.
pub(crate) async fn converse(am: Arc<Am>, upgrade: OnUpgrade) {
    let mut news = am.board.news.subscribe();
    let mut sockets = am.board.sockets.subscribe();
    let before = sockets.borrow_and_update().cut;
    let Ok(line) = upgrade.await else {
        return;
    };
    am.board.sockets.send_modify(|s| s.open += 1);
    tokio::select! {
        () = talk(&am, line, &mut news) => {}
        _ = sockets.wait_for(|s| s.cut != before) => {}
    }
    am.board.sockets.send_modify(|s| s.open -= 1);
}

async fn talk(am: &Am, line: Upgraded, news: &mut broadcast::Receiver<(&'static str, Value)>) {
    let mut socket = WebSocketStream::from_raw_socket(TokioIo::new(line), Role::Server, None).await;
    let mut pings = interval_at(Instant::now() + PING, PING);
    let mut topics = BTreeSet::new();
    loop {
        let say = tokio::select! {
            heard = socket.next() => match heard {
                Some(Ok(Message::Text(text))) => {
                    let answer = said_to(&text);
                    if let (Some(topic), Some(_)) = (answer["topic"].as_str(), answer.get("message")) {
                        topics.insert(topic.to_owned());
                    }
                    Message::text(answer.to_string())
                }
                // Pings and closes are answered by the library, binary messages by nobody.
                Some(Ok(_)) => continue,
                Some(Err(_)) | None => return,
            },
            heard = news.recv() => match heard {
                Ok((topic, body)) if topics.contains(topic) => {
                    let time = iso_millis(am.now_ms());
                    Message::text(json!({"topic": topic, "timestamp": time, "body": body}).to_string())
                }
                Ok(_) | Err(broadcast::error::RecvError::Lagged(_)) => continue,
                Err(broadcast::error::RecvError::Closed) => return,
            },
            _ = pings.tick() => Message::Ping("ping".into()),
        };
        if socket.send(say).await.is_err() {
            return;
        }
    }
}

/// The answer to one message. Errors leave the socket open, and any topic is acknowledged, whether it exists or not
/// (measured on OpenAM 16.0.5).
fn said_to(text: &str) -> Value {
    let Ok(Value::Object(message)) = serde_json::from_str(text) else {
        return json!({"error": "Failed to parse json"});
    };
    let member = |name: &str| match message.get(name) {
        None => Err(format!("missing required field \"{name}\"")),
        Some(Value::String(text)) => Ok(text.as_str()),
        Some(_) => Err(format!("\"{name}\" must be a string")),
    };
    if message.contains_key("id")
        && let Err(error) = member("id")
    {
        return json!({ "error": error });
    }
    let subscribed = member("action").and_then(|action| match action {
        "subscribe" => member("topic"),
        other => Err(format!("unknown action \"{other}\"")),
    });
    let mut answer = match subscribed {
        Ok(topic) => json!({"topic": topic, "message": "subscription registered"}),
        Err(error) => json!({ "error": error }),
    };
    if let Some(id) = message.get("id") {
        answer["id"] = id.clone();
    }
    answer
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_answered_as_by_the_real_server() {
        let parse = json!({"error": "Failed to parse json"});
        for (message, answer) in [
            (
                r#"{"action":"subscribe","topic":"/t"}"#,
                json!({"topic": "/t", "message": "subscription registered"}),
            ),
            (
                r#"{"id":"1","action":"subscribe","topic":"/t"}"#,
                json!({"topic": "/t", "message": "subscription registered", "id": "1"}),
            ),
            (
                r#"{"id":1,"action":"subscribe","topic":"/t"}"#,
                json!({"error": "\"id\" must be a string"}),
            ),
            (
                r#"{"id":"2"}"#,
                json!({"error": "missing required field \"action\"", "id": "2"}),
            ),
            (
                r#"{"action":"subscribe"}"#,
                json!({"error": "missing required field \"topic\""}),
            ),
            (
                r#"{"action":null,"topic":"/t"}"#,
                json!({"error": "\"action\" must be a string"}),
            ),
            (
                r#"{"action":"subscribe","topic":1}"#,
                json!({"error": "\"topic\" must be a string"}),
            ),
            (
                r#"{"action":"unsubscribe","id":"3"}"#,
                json!({"error": "unknown action \"unsubscribe\"", "id": "3"}),
            ),
            ("[]", parse.clone()),
            ("nonsense", parse),
        ] {
            assert_eq!(said_to(message), answer, "{message}");
        }
    }
}

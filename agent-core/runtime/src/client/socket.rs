//! How a WebSocket to AM is opened: with the connection settings of every other call, proxy, TLS and
//! host names included.
//!
//! The library that frames messages does not do the handshake: it would need connection settings of its
//! own, and it traces every header, the agent's token among them (rule W4).

use futures_util::{SinkExt as _, StreamExt as _};
use portcullis_engine::{am::Exchange, contract::Cause};
use reqwest::{StatusCode, Upgraded, Url, header::SEC_WEBSOCKET_ACCEPT};
use tokio::time::timeout_at;
use tokio_tungstenite::{
    WebSocketStream,
    tungstenite::{
        Message,
        handshake::derive_accept_key,
        protocol::{Role, WebSocketConfig},
    },
};

use super::{Call, Client, Failure, failure};

/// Longest message and longest frame, bytes. AM's are some hundred; with a client-side session's token
/// some thousand.
const MAX_MESSAGE: usize = 256 << 10;
const MAX_FRAME: usize = 64 << 10;

/// How an attempt ended that AM, or somebody before it, answered.
pub enum Opening {
    /// The socket is open.
    Open(Box<Socket>),
    /// Another answer than 101, with its status.
    Refused(u16),
}

/// An open WebSocket.
pub struct Socket(WebSocketStream<Upgraded>);

/// What came in.
#[derive(Debug, PartialEq, Eq)]
pub enum Heard {
    /// A text message.
    Text(String),
    /// A sign of life.
    Alive,
}

impl Client {
    /// Asks `base` for a WebSocket; `exchange` has the handshake's headers and `key` is the one in them.
    ///
    /// # Errors
    /// No answer, or 101 without the proof that the handshake was understood.
    pub async fn open(
        &self,
        base: &Url,
        exchange: &Exchange,
        key: &str,
        call: Call,
    ) -> Result<Opening, Failure> {
        let request = self.request(base, exchange)?;
        let handshake = async {
            let response = self.http.execute(request).await.map_err(failure)?;
            let status = response.status();
            if let Some(witness) = &self.witness {
                let headers = response.headers().iter();
                witness.saw(base, exchange, Ok(status.as_u16()), headers, &[]);
            }
            if status != StatusCode::SWITCHING_PROTOCOLS {
                return Ok(Opening::Refused(status.as_u16()));
            }
            let proof = response.headers().get(SEC_WEBSOCKET_ACCEPT);
            if proof.is_none_or(|proof| {
                proof.as_bytes() != derive_accept_key(key.as_bytes()).as_bytes()
            }) {
                let why = "the answer to the WebSocket handshake proves nothing";
                return Err(Failure::new(Cause::Protocol, why));
            }
            let line = response.upgrade().await.map_err(failure)?;
            let limits = WebSocketConfig::default()
                .max_message_size(Some(MAX_MESSAGE))
                .max_frame_size(Some(MAX_FRAME));
            let socket = WebSocketStream::from_raw_socket(line, Role::Client, Some(limits)).await;
            Ok(Opening::Open(Box::new(Socket(socket))))
        };
        let metered = self.meter.get().map(|meter| meter.begin(&exchange.path));
        let opening = match timeout_at(call.until, handshake).await {
            Ok(opening) => opening,
            Err(_) => Err(Failure::new(Cause::Timeout, "the deadline passed")),
        };
        if let (Some(witness), Err(failure)) = (&self.witness, &opening) {
            let none = std::iter::empty();
            witness.saw(base, exchange, Err(failure.why.clone()), none, &[]);
        }
        if let Some(metered) = metered {
            metered.end(match &opening {
                Ok(Opening::Open(_)) => Ok(StatusCode::SWITCHING_PROTOCOLS.as_u16()),
                Ok(Opening::Refused(status)) => Ok(*status),
                Err(failure) => Err(failure.cause),
            });
        }
        opening
    }
}

impl Socket {
    /// The next message. Pings are answered by the way. It can be dropped while it waits.
    ///
    /// # Errors
    /// The socket is closed or broken: in the words of whoever noticed.
    pub async fn hear(&mut self) -> Result<Heard, String> {
        match self.0.next().await {
            Some(Ok(Message::Text(text))) => Ok(Heard::Text(text.as_str().to_owned())),
            Some(Ok(Message::Close(_))) | None => Err("AM closed the connection".into()),
            Some(Ok(_)) => Ok(Heard::Alive),
            Some(Err(error)) => Err(error.to_string()),
        }
    }

    /// Says something.
    ///
    /// # Errors
    /// As [`Socket::hear`].
    pub async fn say(&mut self, text: String) -> Result<(), String> {
        let sent = self.0.send(Message::text(text)).await;
        sent.map_err(|e| e.to_string())
    }

    /// Asks for a sign of life.
    ///
    /// # Errors
    /// As [`Socket::hear`].
    pub async fn ping(&mut self) -> Result<(), String> {
        let sent = self.0.send(Message::Ping(Default::default())).await;
        sent.map_err(|e| e.to_string())
    }
}

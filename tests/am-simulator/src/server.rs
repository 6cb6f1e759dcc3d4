//! Takes connections, reads requests, does the damage that faults ask for, and hands the rest to the parts of AM.

use crate::calllog::Call;
use crate::clock::http_date;
use crate::faults::{Damage, pause};
use crate::http::{Reply, Req, decode, parse_pairs};
use crate::state::Am;
use crate::{cdcservlet, control, login, notifications, oauth2, pll, rest};
use axum::Router;
use axum::body::{Body, Bytes, to_bytes};
use axum::extract::{ConnectInfo, State, connect_info::Connected};
use axum::http::{Request, Response, StatusCode};
use axum::serve::{IncomingStream, Listener};
use hyper::body::{Body as HttpBody, Frame};
use hyper::upgrade::OnUpgrade;
use parking_lot::Mutex;
use std::convert::Infallible;
use std::future::Future as _;
use std::io;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::task::{Context, Poll};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{Instant, Sleep, sleep};

/// The longest request body that is read, in bytes.
const BODY_LIMIT: usize = 4 << 20;

/// What happens to a connection at the next write.
const WRITE: u8 = 0;
const RESET: u8 = 1;
const NOT_HTTP: u8 = 2;

/// Listens, and hands out connections that can be cut.
pub(crate) struct Door(pub(crate) TcpListener);

/// Who is at the other end, and the means to cut the connection.
#[derive(Debug, Clone)]
pub(crate) struct Peer {
    ip: IpAddr,
    cut: Arc<AtomicU8>,
}

/// A connection that can be cut.
pub(crate) struct Line {
    stream: TcpStream,
    cut: Arc<AtomicU8>,
}

impl Listener for Door {
    type Io = Line;
    type Addr = Peer;

    async fn accept(&mut self) -> (Line, Peer) {
        let (stream, address) = <TcpListener as Listener>::accept(&mut self.0).await;
        // Without this small answers can wait for the peer's delayed acknowledgement.
        let _ = stream.set_nodelay(true);
        let cut = Arc::new(AtomicU8::new(WRITE));
        let peer = Peer {
            ip: address.ip(),
            cut: Arc::clone(&cut),
        };
        (Line { stream, cut }, peer)
    }

    fn local_addr(&self) -> io::Result<Peer> {
        Ok(Peer {
            ip: self.0.local_addr()?.ip(),
            cut: Arc::default(),
        })
    }
}

impl Connected<IncomingStream<'_, Door>> for Peer {
    fn connect_info(stream: IncomingStream<'_, Door>) -> Self {
        stream.remote_addr().clone()
    }
}

impl AsyncRead for Line {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl AsyncWrite for Line {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        match self.cut.load(Ordering::Relaxed) {
            RESET => {
                // Closing with nothing lingering sends RST instead of FIN.
                let _ = self.stream.set_zero_linger();
                Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()))
            }
            NOT_HTTP => {
                let _ = self.stream.try_write(b"\x16\x03 this is not HTTP\r\n\r\n");
                Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()))
            }
            _ => Pin::new(&mut self.stream).poll_write(cx, buf),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

/// Serves until the runtime goes.
pub(crate) async fn serve(door: Door, am: Arc<Am>) -> io::Result<()> {
    let app = Router::new().fallback(handle).with_state(am);
    axum::serve(door, app.into_make_service_with_connect_info::<Peer>()).await
}

async fn handle(
    State(am): State<Arc<Am>>,
    ConnectInfo(peer): ConnectInfo<Peer>,
    request: Request<Body>,
) -> Response<Body> {
    let (mut head, body) = request.into_parts();
    let upgrade = head.extensions.remove::<OnUpgrade>();
    let Ok(body) = to_bytes(body, BODY_LIMIT).await else {
        return send(Reply::empty(413));
    };
    let path = head.uri.path();
    if let Some(below) = path.strip_prefix("/simulator") {
        return send(control::answer(&am, &head.method, below, &body));
    }
    let below = path
        .strip_prefix(am.config.context.as_str())
        .filter(|p| p.is_empty() || p.starts_with('/'));
    let Some(below) = below else {
        return send(Reply::container_page(
            404,
            "The requested resource is not available",
        ));
    };
    let raw_query = head.uri.query().unwrap_or_default().to_owned();
    let req = Req {
        method: head.method.clone(),
        path: below.split('/').skip(1).map(decode).collect(),
        raw_path: below.to_owned(),
        query: parse_pairs(&raw_query),
        raw_query,
        headers: head.headers,
        body,
        peer: peer.ip,
        tokens: Mutex::default(),
    };
    let mut response = answer(&am, &peer, &req).await;
    // By AM's own clock, as everything else that it says of time.
    if let Ok(date) = http_date(am.now_ms()).parse() {
        response.headers_mut().insert("date", date);
    }
    if response.status() == StatusCode::SWITCHING_PROTOCOLS
        && let Some(upgrade) = upgrade
    {
        tokio::spawn(notifications::converse(Arc::clone(&am), upgrade));
    }
    response
}

/// One call to AM: logged, struck by a fault, answered.
async fn answer(am: &Am, peer: &Peer, req: &Req) -> Response<Body> {
    let place = am.calls.arrived(entry(req));
    let without_realm = without_realm(&req.raw_path);
    let strike = am.faults.strike(&[&req.raw_path, &without_realm]);
    let damage = strike.as_ref().map(|s| s.damage.clone());
    let reply = match &damage {
        Some(Damage::Hang) => std::future::pending().await,
        Some(Damage::Hold) => {
            if let Some(strike) = &strike {
                am.faults.released(strike).await;
            }
            dispatch(am, req)
        }
        Some(Damage::Late) => {
            let reply = dispatch(am, req);
            if let Some(strike) = &strike {
                am.faults.released(strike).await;
            }
            reply
        }
        Some(Damage::Reset) => {
            peer.cut.store(RESET, Ordering::Relaxed);
            return send(Reply::empty(500));
        }
        Some(Damage::NotHttp) => {
            peer.cut.store(NOT_HTTP, Ordering::Relaxed);
            return send(Reply::empty(500));
        }
        Some(Damage::Status { status }) => failure(*status),
        Some(Damage::Garbage) => {
            Reply::text(200, "application/json;charset=UTF-8", vec![b'%'; 300])
        }
        Some(Damage::EndlessBody) => Reply::text(200, "application/json;charset=UTF-8", Vec::new()),
        Some(Damage::KillAgentSessions { agent }) => {
            am.kill_agent_sessions(agent.as_deref());
            dispatch(am, req)
        }
        Some(Damage::SlowBody { .. }) | None => dispatch(am, req),
    };
    let mut tokens = std::mem::take(&mut *req.tokens.lock());
    let operation = tokens.iter().position(|t| t.starts_with("operation:"));
    let operation = operation.map(|at| tokens.remove(at).replace("operation:", ""));
    am.calls.answered(place, reply.status, tokens, operation);
    match damage {
        Some(Damage::SlowBody { delay_ms }) => {
            let drip = Drip {
                body: reply.body.clone().into(),
                delay_ms,
                timer: Box::pin(sleep(pause(delay_ms))),
            };
            with_body(&reply, Body::new(drip))
        }
        Some(Damage::EndlessBody) => with_body(&reply, Body::new(Flood)),
        _ => send(reply),
    }
}

fn entry(req: &Req) -> Call {
    let asked = req.header("accept-api-version").unwrap_or_default();
    let resource = asked
        .split(',')
        .find_map(|p| p.trim().strip_prefix("resource="))
        .map(str::to_owned);
    let mut path = req.raw_path.clone();
    if let Some((before, after)) = path.split_once("/sessions/")
        && !after.is_empty()
    {
        path = format!("{before}/sessions/{{token}}");
    }
    Call {
        method: req.method.to_string(),
        path,
        action: req.param("_action").map(str::to_owned),
        resource,
        transaction: req.header("x-forgerock-transactionid").map(str::to_owned),
        trace: req.header("traceparent").map(str::to_owned),
        tokens: Vec::new(),
        status: 0,
    }
}

/// `/json/realms/root/realms/a/policies` becomes `/json/policies`.
fn without_realm(path: &str) -> String {
    let Some(mut rest) = path.strip_prefix("/json/realms/root") else {
        return path.to_owned();
    };
    while let Some(below) = rest.strip_prefix("/realms/") {
        rest = below.find('/').map_or("", |at| &below[at..]);
    }
    format!("/json{rest}")
}

fn failure(status: u16) -> Reply {
    match status {
        401 => rest::denied(),
        403 => Reply::error(403, "The user has insufficient privileges"),
        other => Reply::container_page(other, "injected failure"),
    }
}

fn dispatch(am: &Am, req: &Req) -> Reply {
    let unavailable = || {
        let message = format!(
            "The requested resource [{}{}] is not available",
            am.config.context, req.raw_path
        );
        Reply::container_page(404, &message)
    };
    let reply = match req.path.first().map(String::as_str) {
        Some("json") => rest::answer(am, req),
        Some("oauth2") => oauth2::answer(am, req),
        Some("UI") => return login::ui(am, req),
        Some("XUI") => return login::xui(am, req),
        Some("notifications") => return notifications::answer(am, req),
        Some("isAlive.jsp") => {
            Reply::text(200, "text/html;charset=UTF-8", "<h1>Server is ALIVE: </h1>")
        }
        Some(
            "sessionservice" | "policyservice" | "namingservice" | "authservice" | "loggingservice"
            | "profileservice",
        ) if am.config.dialect.trees() => unavailable(),
        Some(
            "sessionservice" | "policyservice" | "namingservice" | "authservice" | "loggingservice"
            | "profileservice",
        ) => pll::answer(am, req),
        Some("cdcservlet") if am.config.dialect.trees() => unavailable(),
        Some("cdcservlet") => return cdcservlet::answer(am, req),
        Some("identity") => Reply::container_page(501, "this part of AM is not simulated"),
        _ => unavailable(),
    };
    reply.with("x-frame-options", "SAMEORIGIN")
}

fn send(reply: Reply) -> Response<Body> {
    let body = Body::from(reply.body.clone());
    with_body(&reply, body)
}

fn with_body(reply: &Reply, body: Body) -> Response<Body> {
    let mut builder = Response::builder().status(reply.status);
    for (name, value) in &reply.headers {
        builder = builder.header(*name, value.as_str());
    }
    builder.body(body).unwrap_or_else(|_| {
        // A value that is no header value: nothing that a client sent may bring the server down.
        let mut response = Response::new(Body::empty());
        *response.status_mut() = StatusCode::INTERNAL_SERVER_ERROR;
        response
    })
}

/// A body that comes byte by byte.
struct Drip {
    body: Bytes,
    delay_ms: u64,
    timer: Pin<Box<Sleep>>,
}

impl HttpBody for Drip {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        if self.body.is_empty() {
            return Poll::Ready(None);
        }
        if self.timer.as_mut().poll(cx).is_pending() {
            return Poll::Pending;
        }
        let next = Instant::now() + pause(self.delay_ms);
        self.timer.as_mut().reset(next);
        let byte = self.body.split_to(1);
        Poll::Ready(Some(Ok(Frame::data(byte))))
    }
}

/// A body that never ends. The socket's buffer slows it down to what the client reads.
struct Flood;

impl HttpBody for Flood {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        Poll::Ready(Some(Ok(Frame::data(Bytes::from_static(&[b' '; 8192])))))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn realms_are_taken_out_of_paths() {
        assert_eq!(
            without_realm("/json/realms/root/realms/a/realms/b/policies"),
            "/json/policies"
        );
        assert_eq!(
            without_realm("/json/realms/root/policies"),
            "/json/policies"
        );
        assert_eq!(without_realm("/json/policies"), "/json/policies");
    }
}

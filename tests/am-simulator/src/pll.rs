//! The XML session service (`/sessionservice` and its sister paths): a whole session in one call, and logout.
//! Only the service `Session` is simulated.

use crate::http::{Reply, Req};
use crate::rest::{note, presented};
use crate::session::{Kind, Session};
use crate::state::{Am, realm_dn};
use crate::token;
use crate::xml::{Node, parse};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use std::fmt::Write as _;

/// The longest request body, in bytes.
const LIMIT: usize = 16_384;

/// Services of the real server that are not simulated.
const OTHERS: [&str; 4] = ["Policy", "auth", "Logging", "com.iplanet.am.naming"];

/// Answers a call.
pub(crate) fn answer(am: &Am, req: &Req) -> Reply {
    if req.method == "GET" {
        return untyped("OpenSSO");
    }
    if req.method != "POST" {
        return Reply::container_page(405, "HTTP method is not supported by this URL");
    }
    // A missing length (a chunked body) is refused as well.
    if req.header("content-length").is_none() || req.body.len() > LIMIT {
        return broken();
    }
    let body = String::from_utf8_lossy(&req.body);
    let Some(set) = parse(&body).filter(|n| n.name == "RequestSet") else {
        return broken();
    };
    match set.attribute("svcid") {
        Some(id) if id.eq_ignore_ascii_case("session") => {}
        Some(id) if OTHERS.contains(&id) => {
            return Reply::container_page(501, &format!("svcid {id} is not simulated"));
        }
        _ => return broken(),
    }
    let mut out = format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\" standalone=\"yes\"?>\n<ResponseSet vers=\"1.0\" svcid=\"session\" reqid=\"{}\">\n",
        escape(set.attribute("reqid").unwrap_or("0"))
    );
    for request in set.all("Request") {
        let Some(inner) = parse(&request.text).filter(|n| n.name == "SessionRequest") else {
            return broken();
        };
        let id = escape(inner.attribute("reqid").unwrap_or("0"));
        let _ = write!(
            out,
            "<Response><![CDATA[<SessionResponse vers=\"1.0\" reqid=\"{id}\">\n{}</SessionResponse>]]></Response>\n",
            operation(am, req, &inner)
        );
    }
    out.push_str("</ResponseSet>\n");
    untyped(&out)
}

/// The real server sends no `Content-Type` here (measured on OpenAM 16.0.5).
fn untyped(body: &str) -> Reply {
    let mut reply = Reply::empty(200);
    reply.body = body.as_bytes().to_vec();
    reply
}

fn broken() -> Reply {
    Reply::container_page(500, "AMSetupFilter.doFilter")
}

/// One inner request. An operation that the server does not know is taken for `GetSession`, as there.
fn operation(am: &Am, req: &Req, request: &Node) -> String {
    let Some(op) = request.children.first() else {
        return wrap("GetSession", &exception(&token::complaint("")));
    };
    let name = match op.name.as_str() {
        known @ ("Logout" | "GetValidSessions" | "GetSessionCount" | "SetProperty"
        | "AddSessionListener") => known,
        _ => "GetSession",
    };
    req.tokens.lock().push(format!("operation:{name}"));
    if let Err(text) = requester(am, req, request) {
        return wrap(name, &exception(&text));
    }
    let session_id = op.child("SessionID").map_or("", |n| n.text.trim());
    let inner = match name {
        "GetSession" => get_session(am, req, session_id, op.attribute("reset") == Some("true")),
        "Logout" => logout(am, req, session_id),
        "GetValidSessions" => "<SessionList>\n</SessionList>\n<Status>0</Status>\n".to_owned(),
        other => exception(&format!("{other} is not simulated")),
    };
    wrap(name, &inner)
}

/// A requester is optional; one that is not alive fails the request.
fn requester(am: &Am, req: &Req, request: &Node) -> Result<(), String> {
    let Some(text) = request.attribute("requester") else {
        return Ok(());
    };
    let invalid = "Application token passed in, is invalid.";
    let plain = STANDARD
        .decode(text)
        .ok()
        .and_then(|bytes| String::from_utf8(bytes).ok())
        .ok_or(invalid)?;
    let token = plain
        .strip_prefix("token:")
        .ok_or_else(|| format!("{invalid}{plain}"))?;
    presented(am, req, "requester", token)
        .map(drop)
        .ok_or_else(|| format!("{invalid}token:{token}"))
}

fn get_session(am: &Am, req: &Req, id: &str, reset: bool) -> String {
    let session = if reset {
        am.use_session(id)
    } else {
        am.session(id)
    };
    note(req, "session", session.as_ref());
    match session {
        Some(session) => format!("{}\n", shown(am, &session)),
        None => exception(&unknown(am, id)),
    }
}

fn logout(am: &Am, req: &Req, id: &str) -> String {
    note(req, "session", am.session(id).as_ref());
    if am.end_session(id) {
        "<OK></OK>\n".to_owned()
    } else {
        exception(&unknown(am, id))
    }
}

fn unknown(am: &Am, id: &str) -> String {
    if token::swapped(id).is_some_and(|t| am.session(&t).is_some()) {
        return format!("{id} Session id mismatch");
    }
    token::complaint(id)
}

fn shown(am: &Am, s: &Session) -> String {
    let now = am.now_ms();
    let (kind, cid, caching) = match s.kind {
        Kind::User => ("user", s.universal_id(), "3"),
        // A number of minutes that overflowed, as the real server shows it.
        Kind::Application => ("application", s.name.clone(), "153722867280912930"),
    };
    let mut out = format!(
        "<Session sid=\"{}\" stype=\"{kind}\" cid=\"{}\" cdomain=\"{}\" maxtime=\"{}\" maxidle=\"{}\" maxcaching=\"{caching}\" \
         timeidle=\"{}\" timeleft=\"{}\" state=\"valid\">\n",
        // A client-side session has no id (measured on OpenAM 16.0.5).
        escape(if s.client_side { "null" } else { &s.token }),
        escape(&cid),
        escape(&realm_dn(&s.realm)),
        s.max_time,
        s.max_idle,
        s.idle_seconds(now),
        s.time_left(now)
    );
    for (name, value) in s.all_properties(&am.config.context) {
        let _ = writeln!(
            out,
            "<Property name=\"{}\" value=\"{}\"></Property>",
            escape(&name),
            escape(&value)
        );
    }
    let _ = write!(
        out,
        "<SessionEventUrl>http://{}:{}{}/notificationservice</SessionEventUrl>\n</Session>",
        am.config.host, am.port, am.config.context
    );
    out
}

fn wrap(name: &str, inner: &str) -> String {
    // The real server writes a session's end and the operation's end on one line.
    let inner = inner
        .strip_suffix("</Session>\n")
        .map_or_else(|| inner.to_owned(), |s| format!("{s}</Session>"));
    format!("<{name}>\n{inner}</{name}>\n")
}

/// The real server escapes nothing here; only the end of the outer CDATA is kept out.
fn exception(text: &str) -> String {
    format!("<Exception>{}</Exception>\n", text.replace("]]>", "]]&gt;"))
}

/// Escapes an attribute's value. `]]>` cannot come out of it, so the outer CDATA stays whole.
fn escape(text: &str) -> String {
    escape_text(text).replace('"', "&quot;")
}

fn escape_text(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
}

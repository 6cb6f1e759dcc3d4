//! What does the server say on `/notifications` after a change?
//!
//! Everybody hears of everything, so only what is about one's own objects is observed; AM may say a
//! thing several times.

use std::{net::TcpStream, time::Duration};

use portcullis_openam::{ADMIN_PASSWORD, seed::Admin};
use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::{
    self, Message, WebSocket, client::IntoClientRequest, http::HeaderValue,
};

use super::world::{AGENT, Problem, SITE, World};

/// How long the server may be silent.
const PATIENCE: Duration = Duration::from_secs(60);

struct Listener(WebSocket<TcpStream>);

fn broken(error: &dyn std::fmt::Display) -> Problem {
    Problem::Shape(format!("the WebSocket: {error}"))
}

impl Listener {
    /// A socket with the subscription taken.
    fn to(w: &World, topic: &str) -> Result<Listener, Problem> {
        let url = w.am.url().replacen("http://", "ws://", 1) + "/notifications";
        let mut request = url.into_client_request().map_err(|e| broken(&e))?;
        let port = request.uri().port_u16().unwrap_or(80);
        let token = HeaderValue::from_str(&w.agent).map_err(|e| broken(&e))?;
        let name: tungstenite::http::HeaderName = w.cookie.parse().map_err(|e| broken(&e))?;
        request.headers_mut().insert(name, token);
        let line = TcpStream::connect(("127.0.0.1", port)).map_err(|e| broken(&e))?;
        line.set_read_timeout(Some(PATIENCE))
            .map_err(|e| broken(&e))?;
        let (socket, _) = tungstenite::client(request, line).map_err(|e| broken(&e))?;
        let mut listener = Listener(socket);
        let subscribe = json!({ "action": "subscribe", "topic": topic }).to_string();
        listener
            .0
            .send(Message::text(subscribe))
            .map_err(|e| broken(&e))?;
        listener.until(|said| said["message"].is_string())?;
        Ok(listener)
    }

    /// The next message that is wanted.
    fn until(&mut self, wanted: impl Fn(&Value) -> bool) -> Result<Value, Problem> {
        loop {
            let Message::Text(text) = self.0.read().map_err(|e| broken(&e))? else {
                continue;
            };
            let said: Value = serde_json::from_str(&text).map_err(|e| broken(&e))?;
            if wanted(&said) {
                return Ok(said);
            }
        }
    }
}

/// With the time replaced by whether there is one.
fn observed(mut said: Value) -> Value {
    said["timestamp"] = json!(said["timestamp"].is_string());
    said
}

fn admin(w: &World) -> Result<Admin, Problem> {
    Ok(w.am.admin(ADMIN_PASSWORD)?)
}

/// A login and the logout.
pub(super) fn of_a_session(w: &World) -> Result<Value, Problem> {
    let mut listener = Listener::to(w, "/agent/session")?;
    let token = w.user()?;
    let about = |said: &Value| said["body"]["tokenId"] == token.as_str();
    let begun = listener.until(about)?;
    w.am.logout(&token, &token)?;
    let is_over = |said: &Value| about(said) && said["body"]["eventType"] != "SESSION_CREATION";
    let over = listener.until(is_over)?;
    Ok(json!([observed(begun), observed(over)]))
}

/// A policy that is made, changed and deleted.
pub(super) fn of_a_policy(w: &World) -> Result<Value, Problem> {
    const NAME: &str = "ct-news";
    let admin = admin(w)?;
    let _ = admin.delete_policy("/", NAME); // of an earlier run
    let mut listener = Listener::to(w, "/agent/policy")?;
    let resource = format!("{SITE}/news/*");
    let members = json!({ "actionValues": { "GET": true } });
    let mut seen = Vec::new();
    admin.create_policy("/", NAME, &[&resource], &members)?;
    seen.push(next(&mut listener, "CREATE")?);
    admin.replace_policy("/", NAME, &[&resource], &members)?;
    seen.push(next(&mut listener, "UPDATE")?);
    admin.delete_policy("/", NAME)?;
    seen.push(next(&mut listener, "DELETE")?);
    return Ok(Value::from(seen));

    fn next(listener: &mut Listener, kind: &str) -> Result<Value, Problem> {
        let said = listener
            .until(|said| said["body"]["policy"] == NAME && said["body"]["eventType"] == kind)?;
        Ok(observed(said))
    }
}

/// An agent's profile that is changed.
pub(super) fn of_a_profile(w: &World) -> Result<Value, Problem> {
    let mut listener = Listener::to(w, "/agent/config")?;
    let change = json!({ "com.sun.identity.agents.config.cdsso.enable": ["true"] });
    admin(w)?.update_agent("/", AGENT, &change)?;
    let said = listener.until(|said| said["body"]["agentName"] == AGENT)?;
    Ok(observed(said))
}

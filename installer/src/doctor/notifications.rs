//! Does AM tell this machine what has changed? By a WebSocket, which proxies like to break.

use std::time::Duration;

use portcullis_engine::{
    am::a::{
        is_client_side, normalize_token,
        notifications::{Notice, parse},
    },
    token::Secret,
};
use portcullis_runtime::{
    am::Am,
    client::{Heard, Opening, Socket},
};
use tokio::time::{sleep, timeout};

use super::{agent, check::Finding, patient::Patient};

/// Until AM has said that a session has ended: measured 50 ms, a cluster takes about a second.
const NEWS: Duration = Duration::from_secs(5);
/// Sessions that are ended for it.
const SESSIONS: usize = 3;
/// How long each of them lives: OpenAM 16.0.5 collects news for 100 ms, and of a beginning and an end that fall
/// together it tells one only (measured: 5 ends of 12 were not told; of 20 after 200 ms and more, none).
const LIFE: Duration = Duration::from_millis(300);

const AM_URL: &str = "com.sun.identity.agents.config.naming.url";

/// The socket that the check of the upgrade opened, for the next one.
#[derive(Default)]
pub(crate) struct Line(Option<Box<Socket>>);

/// Whether AM opens a WebSocket for the agent's session.
pub(crate) fn upgrade(patient: &mut Patient) -> Finding {
    if patient.in_force().is_some_and(|c| !c.notifications) {
        return Finding::not_needed(
            "notifications are off (com.sun.identity.agents.config.notification.enable = false)",
        );
    }
    let (Some(token), Some(am)) = (patient.token(), patient.am()) else {
        return Finding::skipped("the agent has no session");
    };
    let opening = patient.wait(async { am.notifications(&token, patient.call()).await });
    let seen = patient.witness().last();
    let curl = patient.curl();
    let at = |name: &str| {
        let seen = seen.as_ref()?;
        Some(format!("{name}: {}", seen.header(name)?))
    };
    let answered: Vec<String> = ["server", "via", "upgrade", "connection", "location"]
        .into_iter()
        .filter_map(at)
        .collect();
    match opening {
        Ok(Opening::Open(socket)) => {
            patient.line = Line(Some(socket));
            Finding::ok("HTTP 101: the WebSocket is open")
        }
        Ok(Opening::Refused(status)) => {
            let name = "X-Portcullis-Nobody";
            let unknown = agent::probe(patient, name);
            let (cause, remedy) = refused(status, unknown.as_ref().ok().copied());
            let probed = match unknown {
                Ok(status) => format!("without a token that AM knows: HTTP {status}"),
                Err(why) => format!("without a token that AM knows: {why}"),
            };
            let vendor = match status {
                401 | 403 => "Agent websocket open error: forbidden (3)",
                _ => "Agent websocket open error: error (6)",
            };
            Finding::not_ok(format!("HTTP {status}: {cause}"), remedy)
                .and(probed)
                .all(answered)
                .vendor(vendor)
        }
        Err(failure) => {
            let (cause, remedy) = broken(&failure.why);
            Finding::not_ok(format!("{cause} ({})", failure.why), remedy)
                .all(answered)
                .vendor("Agent websocket open error: error (6)")
        }
    }
    .curl(curl)
}

/// Cause and remedy of an answer other than 101. `unknown` is what a request without a known token gets: 401
/// from AM's notification filter, anything else from whatever is in its place.
pub(crate) fn refused(status: u16, unknown: Option<u16>) -> (&'static str, String) {
    let reached = unknown == Some(401);
    let (cause, remedy) = match (status, reached) {
        (101, _) => ("open", "nothing is to be done"),
        (200..=299, _) => (
            "something answers that knows nothing of WebSockets: a proxy or a login page, not AM",
            "naming.url, and the proxy before AM: it has to pass /notifications on with Upgrade and Connection",
        ),
        (300..=399, _) => (
            "the request is sent elsewhere",
            "naming.url: where AM itself is; and no login page before AM",
        ),
        (400 | 426, _) => (
            "the handshake did not arrive as it was sent: a proxy changes it, or speaks HTTP/1.0",
            "the proxy before AM: HTTP/1.1 to AM, with Upgrade, Connection and Sec-WebSocket-* as they came",
        ),
        (401, _) => (
            "AM does not know the session that it gave the agent a moment ago",
            "a proxy that drops the header named like AM's cookie, or several AMs that do not share sessions",
        ),
        (403, _) => (
            "AM knows the session, but not as a web agent's; or a proxy forbids the request",
            "com.sun.identity.agents.config.username: a profile of the type WebAgent; and the proxy's rules",
        ),
        (404, true) => (
            "AM's filter was reached, but the upgrade was not: the Upgrade header got lost, or AM's container has no WebSocket support",
            "the proxy before AM: mod_proxy_wstunnel, or proxy_http_version 1.1 with Upgrade and Connection; else AM's openam-notifications-websocket jar and the container's",
        ),
        (404, false) => (
            "the request does not reach AM's notifications",
            "the proxy before AM: it has to pass /notifications on; and naming.url's deployment path",
        ),
        (407, _) => (
            "the forward proxy wants a name and a password",
            "com.sun.identity.agents.config.forward.proxy.user and .password",
        ),
        (502 | 504, _) => (
            "the proxy before AM does not pass WebSockets on, or does not reach AM",
            "the proxy before AM: its log, its timeouts, and Upgrade towards AM",
        ),
        (503, _) => (
            "AM or its proxy is overloaded or down",
            "AM's log and the proxy's",
        ),
        _ => (
            "AM or a proxy before it refuses WebSockets",
            "AM's log and the proxy's",
        ),
    };
    (cause, remedy.replace("naming.url", AM_URL))
}

/// The table of [`refused`] for the documentation.
pub(crate) fn by_status() -> String {
    let mut text = String::new();
    for (status, unknown) in [
        (200, None),
        (302, None),
        (400, None),
        (401, Some(401)),
        (403, Some(401)),
        (404, Some(401)),
        (404, Some(404)),
        (407, None),
        (426, None),
        (502, None),
        (503, None),
    ] {
        let (cause, remedy) = refused(status, unknown);
        let probe = match (status, unknown) {
            (404, Some(unknown)) => format!(", and {unknown} to a token that nobody has"),
            _ => String::new(),
        };
        text.push_str(&format!("| {status}{probe} | {cause} | {remedy} |\n"));
    }
    text
}

/// Cause and remedy where no answer came.
fn broken(why: &str) -> (&'static str, String) {
    let says = |word: &str| why.contains(word);
    let (cause, remedy) = if says("deadline") || says("timed out") {
        (
            "no answer in time: something in between keeps the request, as proxies do that wait for an end",
            "the proxy before AM: pass the WebSocket on at once; com.sun.identity.agents.config.receive.timeout",
        )
    } else if says("proves nothing") {
        (
            "HTTP 101 without the proof that the handshake was understood: something in between made it up",
            "the proxy before AM: it has to pass Sec-WebSocket-Key and Sec-WebSocket-Accept on",
        )
    } else {
        (
            "the connection broke while the WebSocket was opened",
            "the proxy or firewall before AM: it has to let WebSockets through",
        )
    };
    (cause, remedy.to_owned())
}

/// Whether AM takes the subscriptions, and whether an event comes. The event is the end of a second session
/// of the agent itself: nobody else notices.
pub(crate) fn news(patient: &mut Patient) -> Finding {
    if patient.in_force().is_some_and(|c| !c.notifications) {
        return Finding::not_needed("notifications are off");
    }
    let (Some(mut socket), Some(am)) = (patient.line.0.take(), patient.am()) else {
        return Finding::skipped("the WebSocket is not open");
    };
    let Some(password) = patient.start.as_ref().map(|s| s.secrets.password.clone()) else {
        return Finding::skipped("the password is not known");
    };
    let subscribed = patient.wait(async { timeout(NEWS, Am::subscribe(&mut socket, drop)).await });
    match subscribed {
        Ok(Ok(())) => {}
        Ok(Err(why)) => {
            return Finding::not_ok(
                why,
                "the proxy before AM: it has to leave an open WebSocket alone; and AM's log",
            );
        }
        Err(_) => {
            return Finding::not_ok(
                "the subscriptions were not answered in time",
                "the proxy before AM: it has to pass messages on at once, without collecting them",
            );
        }
    }
    let mut ended: Vec<Secret> = Vec::new();
    for _ in 0..SESSIONS {
        let second = match patient.log_in(&password) {
            Some(Ok(second)) => second,
            _ => return Finding::skipped("the agent could not be given a second session"),
        };
        let done = patient.wait(async {
            sleep(LIFE).await;
            am.logout(&second, patient.call()).await
        });
        if is_client_side(second.expose()) {
            return Finding::not_needed(
                "subscriptions are taken; the agent's sessions are client-side, whose ends AM does not tell",
            );
        }
        if let Err(error) = done {
            return Finding::skipped(format!(
                "the agent's second session could not be ended: {error}"
            ));
        }
        ended.push(normalize_token(second.expose()));
        match patient.wait(async { timeout(NEWS, told(&mut socket, &ended)).await }) {
            Ok(Ok(())) => return heard(ended.len()),
            Ok(Err(why)) => {
                return Finding::not_ok(
                    format!("the WebSocket broke before an event came: {why}"),
                    "the proxy before AM: its limits for open WebSockets",
                );
            }
            Err(_) => {}
        }
    }
    Finding::not_ok(
        format!(
            "subscriptions are taken, but the ends of {SESSIONS} sessions were not told within {} s each",
            NEWS.as_secs()
        ),
        "org.forgerock.openam.notifications.agents.enabled = true among AM's server properties; \
         and the proxy before AM must not collect messages",
    )
}

fn heard(sessions: usize) -> Finding {
    let found = Finding::ok("AM said that a session of the agent's own has ended");
    match sessions {
        1 => found,
        more => found.and(format!(
            "but only of one of {more}: what AM does not tell counts until a cache's time is over"
        )),
    }
}

/// Waits for the end of one of these sessions.
async fn told(socket: &mut Socket, ended: &[Secret]) -> Result<(), String> {
    loop {
        if let Heard::Text(text) = socket.hear().await?
            && let Notice::SessionOver(over) = parse(text.as_bytes())
            && ended.contains(&over)
        {
            return Ok(());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_answer_has_a_cause_and_a_remedy_of_its_own() {
        let mut causes = std::collections::BTreeSet::new();
        for (status, unknown) in [
            (200, None),
            (302, None),
            (401, Some(401)),
            (403, Some(401)),
            (404, Some(401)),
            (404, Some(404)),
            (407, None),
            (426, None),
            (502, None),
            (503, None),
            (500, None),
        ] {
            let (cause, remedy) = refused(status, unknown);
            assert!(causes.insert(cause), "{status}: {cause}");
            assert!(
                !remedy.is_empty() && !remedy.contains(" naming.url"),
                "{remedy}"
            );
        }
        for why in ["the deadline passed", "proves nothing", "reset by peer"] {
            assert!(causes.insert(broken(why).0), "{why}");
        }
    }
}

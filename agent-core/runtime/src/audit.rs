//! What is written about a decision: the audit event and the line with its code.
//!
//! Both leave out what could let anybody in: no cookie, no token, no query string.

use portcullis_engine::{
    config::{AuditAccess, AuditTo},
    contract::{Decision, Outcome, RequestView, Why},
    decide::{ClientAddress, client_address},
    page::incident_text,
};
use serde_json::json;

use crate::{agent::Instance, lines::Line, logs::timestamp, worker::Worker};

/// Longest target that is shown.
const MAX_SHOWN: usize = 512;

/// Records one decision. Routine allows that nobody reads cost one comparison.
pub(crate) fn record(
    instance: &Instance,
    worker: &Worker,
    req: &RequestView<'_>,
    decision: &Decision<'_>,
    age: u64,
) {
    // What the host's own rules make of a refusal by policy is not known here.
    let allowed = matches!(&decision.outcome, Outcome::Allow(g) if g.why() != Why::LeftToHost);
    if audited(instance, allowed) {
        let full_url = instance.snapshot().is_some_and(|s| s.config.audit_full_url);
        let address = if full_url { url(req) } else { path(req) };
        let event = event(&client(instance, req), &address, req, decision, allowed);
        worker.write(instance.index(), Line::Audit(event));
    }
    // Whoever was shown an incident's number must find it, whatever the level.
    let shown = matches!(&decision.outcome, Outcome::Respond(page) if page.status >= 400);
    let severity = decision.reason.row().severity;
    if shown || instance.logs().wants(severity) {
        let text = text(&client(instance, req), req, decision, age);
        let line = Line::Log {
            code: decision.reason,
            text,
            always: shown,
        };
        worker.write(instance.index(), line);
    }
}

fn audited(instance: &Instance, allowed: bool) -> bool {
    let Some(snap) = instance.snapshot() else {
        return false;
    };
    let here = matches!(snap.config.audit_to, AuditTo::Local | AuditTo::All);
    here && match snap.config.audit_access {
        AuditAccess::None => false,
        AuditAccess::Allow => allowed,
        AuditAccess::Deny => !allowed,
        AuditAccess::Both => true,
    }
}

/// The address that decisions are about. Where it is unknown, that of the caller helps to find out
/// which proxy is not named.
fn client(instance: &Instance, req: &RequestView<'_>) -> String {
    let known = instance
        .snapshot()
        .map_or(ClientAddress::Known(req.client), |snap| {
            client_address(req, &snap.config)
        });
    match known {
        ClientAddress::Known(address) => address.to_string(),
        ClientAddress::Unknown => format!("unknown({})", req.client),
    }
}

/// The event in the shape of AM's audit log (behaviour of the Web Agent 2024.3).
fn event(
    client: &str,
    address: &str,
    req: &RequestView<'_>,
    decision: &Decision<'_>,
    allowed: bool,
) -> String {
    let subject = decision.subject.as_ref();
    let tracking: Vec<&str> = subject
        .and_then(|s| s.properties.first("AMCtxId"))
        .into_iter()
        .collect();
    let status = if allowed { "SUCCESSFUL" } else { "DENIED" };
    let incident = incident(decision);
    json!({
        "timestamp": timestamp(),
        "eventName": "AM-ACCESS-OUTCOME",
        "transactionId": incident,
        "userId": subject.map_or("", |s| s.universal_id),
        "trackingIds": tracking,
        "component": "Web Policy Agent",
        "realm": subject.map_or("", |s| s.realm),
        "client": { "ip": client },
        "server": { "port": req.local.port },
        "request": { "protocol": "HTTP", "operation": shown(req.method) },
        "http": { "request": {
            "secure": req.local.tls,
            "method": shown(req.method),
            "path": address,
        } },
        "response": { "status": status, "detail": { "reason": format!("PCL{:04}", decision.reason.number()) } },
    })
    .to_string()
}

/// The line: who, what, why; the host's own log adds when.
fn text(client: &str, req: &RequestView<'_>, decision: &Decision<'_>, age: u64) -> String {
    let mut line = format!("{} {}{}", shown(req.method), origin(req), path(req));
    line.push_str(&format!(" client={client}"));
    if let Some(subject) = &decision.subject {
        line.push_str(&format!(
            " user=\"{}\"",
            shown(subject.universal_id.as_bytes())
        ));
    }
    if !decision.detail.is_empty() {
        line.push_str(&format!(
            " detail=\"{}\"",
            shown(decision.detail.as_bytes())
        ));
    }
    if age > 0 {
        line.push_str(&format!(" age={age}ms"));
    }
    if decision.incident != [0; 10] {
        line.push_str(&format!(" incident={}", incident(decision)));
    }
    line
}

fn incident(decision: &Decision<'_>) -> String {
    match decision.incident {
        [0, 0, 0, 0, 0, 0, 0, 0, 0, 0] => String::new(),
        id => String::from_utf8_lossy(&incident_text(&id)).into_owned(),
    }
}

fn origin(req: &RequestView<'_>) -> String {
    let scheme = if req.local.tls { "https" } else { "http" };
    format!("{scheme}://{}", shown(req.host))
}

/// The whole URL; of its query the names, because the values may be secrets.
fn url(req: &RequestView<'_>) -> String {
    let mut url = origin(req) + &path(req);
    let query = req.target.splitn(2, |b| *b == b'?').nth(1);
    let cut = query.map(|q| &q[..q.len().min(MAX_SHOWN)]);
    for (i, pair) in cut
        .into_iter()
        .flat_map(|q| q.split(|b| *b == b'&'))
        .enumerate()
    {
        url.push(if i == 0 { '?' } else { '&' });
        match pair.iter().position(|b| *b == b'=') {
            Some(end) => url.push_str(&(shown(&pair[..end]) + "=*")),
            // Without a name it may be a value.
            None => url.push('*'),
        }
    }
    url
}

/// The target without its query, which may carry secrets.
fn path(req: &RequestView<'_>) -> String {
    let end = req
        .target
        .iter()
        .position(|b| *b == b'?')
        .unwrap_or(req.target.len());
    shown(&req.target[..end])
}

/// Bytes from outside, safe in a line: anything but printable ASCII is escaped, and it ends.
fn shown(bytes: &[u8]) -> String {
    let cut = &bytes[..bytes.len().min(MAX_SHOWN)];
    cut.escape_ascii().to_string()
}

//! What is written about a decision: the audit event and the line with its code.
//!
//! Both leave out what could let anybody in: no cookie, no token, no query string.

use std::net::IpAddr;

use portcullis_engine::{
    config::{AuditAccess, AuditTo, Config, Dialect},
    contract::{Decision, Fill, Incident, Opinion, Outcome, RequestView, Why},
    decide::{ClientAddress, audited_user, client_address},
    event::Code,
};
use serde_json::{Value, json};

use crate::{
    agent::Instance, closer, lines::Line, logs::timestamp, memo::View, transaction, worker::Worker,
};

/// Longest target that is shown.
const MAX_SHOWN: usize = 512;

/// Records one decision. Routine allows that nobody reads cost one comparison.
pub(crate) fn record(
    instance: &Instance,
    worker: &Worker,
    req: &RequestView<'_>,
    decision: &Decision<'_>,
    view: &View<'_>,
) {
    let allowed = is_allowed(decision);
    // What is only reported counts as both.
    // The request that takes the place of this one has an event of its own.
    let replaced = matches!(decision.outcome, Outcome::Replay);
    // Nor is a page of numbers about a protected resource.
    let resource = decision.fill == Fill::Nothing;
    let counts = |access| match access {
        AuditAccess::Allow => allowed,
        AuditAccess::Deny => !allowed || decision.would.is_some(),
        AuditAccess::None | AuditAccess::Both => true,
    };
    if !replaced
        && resource
        && let Some(to) = audited(instance, decision, counts)
    {
        let event = event_about(instance, req, decision, view);
        hand_on(worker, instance.index(), to, event);
    }
    // Whoever was shown an incident's number must find it, whatever the level; and what is only
    // reported is there to be read.
    let shown = decision.would.is_some()
        || matches!(&decision.outcome, Outcome::Respond(page) if page.status >= 400);
    let severity = decision.reason.row().severity;
    if shown || instance.logs().wants(severity) {
        write_line((instance, worker), req, decision, view, shown);
    }
}

/// Writes the line about a decision, and more where somebody looks at this client more closely. On its own, to keep
/// the path of what nobody reads short.
#[cold]
#[inline(never)]
fn write_line(
    (instance, worker): (&Instance, &Worker),
    req: &RequestView<'_>,
    decision: &Decision<'_>,
    view: &View<'_>,
    shown: bool,
) {
    let logs = instance.logs();
    let closer = logs.closer_at(address(instance, req));
    if !(shown || closer || logs.wants_of_all(decision.reason.row().severity)) {
        return;
    }
    let age = view.memo.oldest().max(decision.age);
    let client = client(instance, req);
    let text = text(&client, req, decision, age);
    let text = text + " transaction=" + &transaction_of(instance, req, view) + &trace(req);
    let line = Line::Log {
        code: decision.reason,
        text,
        always: shown || closer,
    };
    worker.write(instance.index(), line);
    if closer {
        closer::say((instance, worker), req, decision, view, &client);
    }
}

/// What the host's own rules make of a refusal by policy is not known here.
fn is_allowed(decision: &Decision<'_>) -> bool {
    matches!(&decision.outcome, Outcome::Allow(grant) if grant.why() != Why::LeftToHost)
}

fn audited(
    instance: &Instance,
    decision: &Decision<'_>,
    counts: impl Fn(AuditAccess) -> bool,
) -> Option<AuditTo> {
    // An allow has its configuration with it, which saves looking for the instance's.
    let (to, access, dialect) = match decision.edits.cookies {
        Some(snap) => places(&snap.config),
        None => places(&instance.snapshot()?.config),
    };
    let audited = access != AuditAccess::None && counts(access);
    audited.then_some(match dialect {
        Dialect::OpenAm => to,
        // Where other servers take events nobody has written down.
        Dialect::PingAm => AuditTo::Local,
    })
}

fn places(config: &Config) -> (AuditTo, AuditAccess, Dialect) {
    (config.audit_to, config.audit_access, config.dialect)
}

/// Gives an event to whoever is to have it.
fn hand_on(worker: &Worker, index: usize, to: AuditTo, event: Value) {
    if to != AuditTo::Remote {
        worker.write(index, Line::Audit(event.to_string()));
    }
    if to == AuditTo::Local {
        return;
    }
    let refused = match worker.unsent(index) {
        Some(queue) => queue.push(event, to == AuditTo::All).err(),
        None => Some(event),
    };
    if let Some(event) = refused.filter(|_| to == AuditTo::Remote) {
        worker.keep_audit_here(index, event.to_string());
    }
}

/// What is kept of a request for a line that is written later.
pub(crate) struct Noted {
    text: String,
    event: Option<(AuditTo, Value)>,
}

impl Noted {
    pub(crate) fn of(
        instance: &Instance,
        req: &RequestView<'_>,
        decision: &Decision<'_>,
        view: &View<'_>,
    ) -> Noted {
        let transaction = transaction_of(instance, req, view);
        let text = text(&client(instance, req), req, decision, 0);
        Noted {
            text: text + " transaction=" + &transaction + &trace(req),
            event: audited(instance, decision, |_| true)
                .map(|to| (to, event_about(instance, req, decision, view))),
        }
    }

    /// Writes down that a second policy set says otherwise.
    pub(crate) fn differs(
        self,
        worker: &Worker,
        index: usize,
        enforced: Opinion,
        other: Opinion,
        place: &str,
    ) {
        let (enforced, other) = (enforced.text(), other.text());
        if let Some((to, mut event)) = self.event {
            event["eventName"] = json!("AM-ACCESS-SHADOW");
            event["response"]["detail"] = json!({
                "reason": format!("PCL{:04}", Code::ShadowDiffers.number()),
                "enforced": enforced, "second": other, "place": place,
            });
            hand_on(worker, index, to, event);
        }
        let line = Line::Log {
            code: Code::ShadowDiffers,
            text: format!(
                "{} enforced=\"{enforced}\" second=\"{other}\" {place}",
                self.text
            ),
            always: true,
        };
        worker.write(index, line);
    }
}

fn event_about(
    instance: &Instance,
    req: &RequestView<'_>,
    decision: &Decision<'_>,
    view: &View<'_>,
) -> Value {
    let snap = instance.snapshot();
    let config = snap.as_ref().map(|s| &s.config);
    let address = match config.is_some_and(|c| c.audit_full_url) {
        true => url(req),
        false => path(req),
    };
    let user = config.map_or("", |c| audited_user(decision, c));
    let mut event = event(&client(instance, req), user, &address, req, decision);
    event["transactionId"] = json!(transaction_of(instance, req, view));
    if let Some(trace) = transaction::trace_id(req) {
        event["traceId"] = json!(trace);
    }
    event
}

/// The trace of the caller, where it names one.
fn trace(req: &RequestView<'_>) -> String {
    let trace = transaction::trace_id(req);
    trace.map_or(String::new(), |trace| format!(" trace={trace}"))
}

/// The id that AM is sent with every call for this request.
fn transaction_of(instance: &Instance, req: &RequestView<'_>, view: &View<'_>) -> String {
    transaction::of(req, instance.snapshot().as_deref(), view)
}

/// The same as an address; where it is unknown, the caller's.
fn address(instance: &Instance, req: &RequestView<'_>) -> IpAddr {
    let snap = instance.snapshot();
    let known = snap.and_then(|snap| client_address(req, &snap.config).known());
    known.unwrap_or(req.client)
}

/// The address that decisions are about. Where it is unknown, that of the caller helps to find out
/// which proxy is not named.
pub(crate) fn client(instance: &Instance, req: &RequestView<'_>) -> String {
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
    user: &str,
    address: &str,
    req: &RequestView<'_>,
    decision: &Decision<'_>,
) -> Value {
    let subject = decision.subject.as_ref();
    let tracking: Vec<&str> = subject
        .and_then(|s| s.properties.first("AMCtxId"))
        .into_iter()
        .collect();
    let status = match is_allowed(decision) {
        true => "SUCCESSFUL",
        false => "DENIED",
    };
    let mut event = json!({
        "timestamp": timestamp(),
        "eventName": "AM-ACCESS-OUTCOME",
        "userId": user,
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
        "response": { "status": status, "detail": {
            "reason": format!("PCL{:04}", decision.reason.number()),
            "incident": decision.incident.to_string(),
        } },
    });
    if decision.age > 0 {
        event["response"]["detail"]["age"] = json!(decision.age);
    }
    if let Some(would) = &decision.would {
        let reason = format!("PCL{:04}", would.code.number());
        event["response"]["detail"]["would"] = json!({ "reason": reason, "status": would.status });
    }
    event
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
    if let Some(would) = &decision.would {
        let row = would.code.row();
        let (number, status) = (row.number, would.status);
        line.push_str(&format!(" would=\"PCL{number:04} {status}: {}\"", row.text));
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
    if decision.incident != Incident::NONE {
        line.push_str(&format!(" incident={}", decision.incident));
    }
    line
}

pub(crate) fn origin(req: &RequestView<'_>) -> String {
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
pub(crate) fn path(req: &RequestView<'_>) -> String {
    let end = req
        .target
        .iter()
        .position(|b| *b == b'?')
        .unwrap_or(req.target.len());
    shown(&req.target[..end])
}

/// Bytes from outside, safe in a line: anything but printable ASCII is escaped, and it ends.
pub(crate) fn shown(bytes: &[u8]) -> String {
    let cut = &bytes[..bytes.len().min(MAX_SHOWN)];
    cut.escape_ascii().to_string()
}

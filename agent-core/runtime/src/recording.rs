//! What is written down about a request, so that `agentadmin explain` decides it again?
//!
//! One line of JSON: what `decide` saw of the request, the facts in the order in which it looked them up,
//! and what it decided. It must not hold what lets anybody in; the engine's `decide/written.rs` says what
//! stands for that. Nothing here is done unless `portcullis.record.file` is set.

use std::{
    cell::RefCell,
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
};

use parking_lot::Mutex;
use portcullis_engine::{
    config::{Kind, PROPERTIES, Snapshot, Source, fingerprint},
    contract::{
        Act, AttributesKey, Cause, CookieKey, Decision, FactError, Facts, KeysKey, Known, NodeMark,
        Now, Opened, PolicyKey, Receipt, RequestView, SessionKey, Sink,
    },
    decide::{
        answers_a_login, outcome_word, pseudonym, why_not_again, written_form, written_headers,
        written_target,
    },
    record::{Attributes, Pairs, Policy, PublishedKeys, Session, SessionKind},
};
use serde_json::{Map, Value, json};

use crate::{
    agent::{Instance, Start},
    evaluate::Host,
    lines::Line,
    logs::timestamp,
    worker::Worker,
};

/// Longest line that is written; `explain` reads no longer one.
const MAX_LINE: usize = 1 << 20;
/// Parts of the names of session properties that let somebody in.
const SECRET: [&str; 6] = [
    "token",
    "handle",
    "password",
    "secret",
    "credential",
    "shandle",
];

/// Numbers the lines of a process.
static NUMBER: AtomicU64 = AtomicU64::new(0);

/// Facts, and a note of each that was looked up.
pub(crate) struct Notes<'v> {
    facts: &'v dyn Facts,
    snap: &'v Snapshot,
    noted: RefCell<Vec<(What, Value)>>,
}

/// What was looked up: each is noted once.
#[derive(PartialEq)]
enum What {
    Session(u128),
    Policy(u128),
    Attributes(u128),
    Form,
    Receipt(Act),
    Counted,
    Away,
    Serving,
}

impl<'v> Notes<'v> {
    pub(crate) fn new(facts: &'v dyn Facts, snap: &'v Snapshot) -> Notes<'v> {
        Notes {
            facts,
            snap,
            noted: RefCell::default(),
        }
    }

    /// The facts in the form that `explain` reads.
    pub(crate) fn all(&self) -> Vec<Value> {
        let noted = self.noted.borrow();
        noted.iter().map(|(_, value)| value.clone()).collect()
    }

    fn note(&self, what: What, value: impl FnOnce() -> Value) {
        let mut noted = self.noted.borrow_mut();
        if noted.iter().all(|(known, _)| *known != what) {
            noted.push((what, value()));
        }
    }

    fn session_value(&self, session: &Session<'_>) -> Value {
        let mut attributes = Map::new();
        for (name, mut values) in session.properties.iter() {
            let value = values.next().unwrap_or_default();
            let folded = name.to_ascii_lowercase();
            let secret = folded != "usertoken" && SECRET.iter().any(|part| folded.contains(part));
            let value = match secret {
                true => pseudonym(self.snap, value.as_bytes()),
                false => value.to_owned(),
            };
            // The engine looks at the first of a name.
            attributes.entry(name).or_insert_with(|| json!([value]));
        }
        json!({
            "user": session.properties.first("UserToken").unwrap_or_default(),
            "realm": session.realm,
            "universal_id": session.universal_id,
            "application": session.kind != SessionKind::User,
            "client_side": session.client_side,
            "ends": session.max_end,
            "idle_ends": session.idle_end,
            "attributes": attributes,
        })
    }
}

fn known<T>(known: &Known<T>, value: impl FnOnce(&T) -> Value) -> Value {
    match known {
        Known::Fresh(fresh) => json!({ "fresh": value(fresh) }),
        Known::Failed(error, None) => json!({ "failed": failure(*error) }),
        Known::Failed(error, Some((old, age))) => json!({ "outlived": {
            "failed": failure(*error), "value": value(old), "age": age.total, "over": age.over,
        } }),
        Known::Stale(..) | Known::Missing => json!("unknown"),
    }
}

fn failure(error: FactError) -> Value {
    let cause = match error {
        FactError::Dead => return json!("dead"),
        FactError::NotAllowed => return json!("not_allowed"),
        FactError::Unavailable(cause) => cause,
    };
    match cause {
        Cause::Transport => json!("transport"),
        Cause::Timeout => json!("timeout"),
        Cause::Tls => json!("tls"),
        Cause::Status(status) => json!({ "status": status }),
        Cause::Protocol => json!("protocol"),
        Cause::Busy => json!("busy"),
        Cause::AgentLogin => json!("agent_login"),
        Cause::Draining => json!("draining"),
        Cause::Store => json!("store"),
        Cause::Breaker => json!("breaker"),
        Cause::Files => json!("files"),
    }
}

fn pairs(pairs: Pairs<'_>) -> Value {
    let entries = pairs.iter();
    let entries = entries.map(|(name, values)| (name.to_owned(), json!(Vec::from_iter(values))));
    Value::Object(entries.collect())
}

impl Facts for Notes<'_> {
    fn session(&self, of: SessionKey) -> Known<Session<'_>> {
        let found = self.facts.session(of);
        self.note(
            What::Session(of.0),
            || json!({ "session": known(&found, |s| self.session_value(s)) }),
        );
        found
    }

    fn policy(&self, of: PolicyKey) -> Known<Policy<'_>> {
        let found = self.facts.policy(of);
        self.note(What::Policy(of.0), || {
            let value = |policy: &Policy<'_>| {
                json!({
                    "ttl": policy.ttl,
                    "actions": Map::from_iter(policy.actions().map(|(n, a)| (n.to_owned(), json!(a)))),
                    "advices": pairs(policy.advices),
                    "attributes": pairs(policy.attributes),
                })
            };
            json!({ "policy": known(&found, value) })
        });
        found
    }

    fn attributes(&self, of: AttributesKey) -> Known<Attributes<'_>> {
        let found = self.facts.attributes(of);
        self.note(
            What::Attributes(of.0),
            || json!({ "attributes": known(&found, |a| pairs(a.values)) }),
        );
        found
    }

    /// Not noted: only an answer to a login needs them, and none is decided again.
    fn keys(&self, of: KeysKey, newer: bool) -> Known<PublishedKeys<'_>> {
        self.facts.keys(of, newer)
    }

    fn opened(&self, of: CookieKey) -> Option<Opened> {
        self.facts.opened(of)
    }

    fn form(&self) -> Known<&[u8]> {
        let found = self.facts.form();
        self.note(What::Form, || {
            let form = |form: &&[u8]| json!(written_form(self.snap, form));
            json!({ "form": known(&found, form) })
        });
        found
    }

    fn receipt(&self, of: &Act) -> Known<Receipt> {
        let found = self.facts.receipt(of);
        self.note(What::Receipt(of.clone()), || {
            let word = |receipt: &Receipt| match receipt {
                Receipt::Done => json!("done"),
                Receipt::Replayed => json!("replayed"),
                Receipt::Gone => json!("gone"),
                Receipt::TooLarge => json!("too_large"),
                Receipt::Full => json!("full"),
                Receipt::Counted(n) => json!({ "counted": n }),
            };
            json!({ "receipt": known(&found, word) })
        });
        found
    }

    fn counted(&self, of: u128) -> u32 {
        let count = self.facts.counted(of);
        self.note(What::Counted, || json!({ "counted": count }));
        count
    }

    fn am_is_away(&self) -> bool {
        let away = self.facts.am_is_away();
        if away {
            self.note(What::Away, || json!({ "am": "down" }));
        }
        away
    }

    fn am_serving(&self) -> usize {
        let at = self.facts.am_serving();
        if at > 0 {
            self.note(What::Serving, || json!({ "am_serving": at }));
        }
        at
    }

    fn node(&self) -> NodeMark {
        self.facts.node()
    }

    fn seed(&self) -> &[u8; 32] {
        self.facts.seed()
    }
}

/// The host, and the names of what it is told.
pub(crate) struct Overheard<'h> {
    host: &'h mut dyn Host,
    user: Option<String>,
    set: Vec<String>,
    removed: Vec<String>,
    response: Vec<String>,
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

impl<'h> Overheard<'h> {
    pub(crate) fn new(host: &'h mut dyn Host) -> Overheard<'h> {
        Overheard {
            host,
            user: None,
            set: Vec::new(),
            removed: Vec::new(),
            response: Vec::new(),
        }
    }
}

impl Sink for Overheard<'_> {
    fn request_header(&mut self, name: &[u8], value: &[u8]) {
        self.set.push(text(name));
        self.host.request_header(name, value);
    }

    fn remove_request_header(&mut self, name: &[u8]) {
        self.removed.push(text(name));
        self.host.remove_request_header(name);
    }

    fn variable(&mut self, name: &[u8], value: &[u8]) {
        self.host.variable(name, value);
    }

    fn user(&mut self, name: &[u8]) {
        self.user = Some(text(name));
        self.host.user(name);
    }

    fn response_header(&mut self, name: &[u8], value: &[u8]) {
        self.response.push(text(name));
        self.host.response_header(name, value);
    }
}

impl Host for Overheard<'_> {
    fn body(&mut self, body: &[u8]) {
        self.host.body(body);
    }

    fn replay(&mut self, method: &[u8], body: &[u8]) {
        self.host.replay(method, body);
    }
}

/// How a decision came about.
pub(crate) struct How<'s> {
    /// With this configuration; `None` where there was none.
    pub(crate) snap: Option<&'s Snapshot>,
    /// With these facts.
    pub(crate) facts: Vec<Value>,
    /// Only what was known already could be used.
    pub(crate) stored_only: bool,
}

/// What was asked, and when.
pub(crate) struct Asked<'r> {
    pub(crate) req: &'r RequestView<'r>,
    pub(crate) facts: &'r dyn Facts,
    pub(crate) now: Now,
}

/// Writes one request and its decision down, after the host was told.
pub(crate) fn write(
    instance: &Instance,
    worker: &Worker,
    asked: &Asked<'_>,
    decision: &Decision<'_>,
    (status, how): (Option<u16>, How<'_>),
    overheard: Overheard<'_>,
) {
    let request = how.snap.and_then(|s| request(asked, s));
    // Where decisions are only reported, the one that was not carried out counts.
    let code = decision.would.as_ref().map_or(decision.reason, |w| w.code);
    let form = how.facts.iter().any(|f| f["form"].get("fresh").is_some())
        || how
            .snap
            .is_some_and(|s| answers_a_login(s, asked.req.target));
    let lares = how.snap.is_some_and(|s| s.config.login_cdcservlet);
    let why_not = match (how.snap, &request, why_not_again(code, form, lares)) {
        (None, ..) => Some("there was no configuration"),
        (_, None, _) => Some("the request is no text"),
        (.., why) => why,
    };
    let mut recorded = json!({
        "time": timestamp(),
        "agent_conf": match how.snap {
            Some(snap) => &*snap.agent_conf,
            None => instance.start().map_or("", |start| &start.fingerprint),
        },
        "outcome": outcome_word(status, decision.reason),
        "status": status,
        "reason": format!("PCL{:04}", decision.reason.number()),
        "rule": decision.rule.and_then(|rule| Some(how.snap?.config.rule_name(rule))),
        "user": overheard.user,
        "set_request_headers": overheard.set,
        "removed_request_headers": overheard.removed,
        "response_headers": overheard.response,
    });
    let mut line = request.unwrap_or_else(Map::new);
    if let Some(snap) = how.snap.filter(|snap| !snap.elsewhere.is_empty()) {
        recorded["elsewhere"] = json!(snap.elsewhere);
        if let Some(text) = instance.elsewhere().unwritten(&snap.elsewhere) {
            worker.write(instance.index(), Line::Record(text));
        }
    }
    if let Some(why) = why_not {
        recorded["not_replayable"] = json!(why);
    } else {
        line.insert("facts".into(), json!(how.facts));
        if how.stored_only {
            line.insert("stored_only".into(), json!(true));
        }
    }
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    let id = format!("{}-{number}", std::process::id());
    line.insert("id".into(), json!(id));
    line.insert("recorded".into(), recorded);
    let mut text = Value::Object(line).to_string();
    if text.len() > MAX_LINE {
        let why = "the request is longer than a line may be";
        text = json!({ "id": id, "recorded": { "not_replayable": why } }).to_string();
    }
    worker.write(instance.index(), Line::Record(text));
}

/// What the engine saw of the request; `None` where that is no text.
fn request(asked: &Asked<'_>, snap: &Snapshot) -> Option<Map<String, Value>> {
    let Asked { req, facts, now } = *asked;
    let utf8 = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).ok();
    let target = utf8(&written_target(snap, req.target))?;
    let host = utf8(req.host)?;
    let scheme = if req.local.tls { "https" } else { "http" };
    let Value::Object(line) = json!({
        "method": utf8(req.method)?,
        "url": format!("{scheme}://{host}{target}"),
        "client_ip": req.client,
        "host_authorizes": req.local.authorizes,
        "now": now.wall.0,
        "headers": written_headers(req, snap, facts, now)?,
        "server": {
            "tls": req.local.tls,
            "host": host,
            "target": target,
            "port": req.local.port,
            "peer": req.peer,
            "merged": req.merged,
            "path": utf8(req.local.path)?,
            "path_info": utf8(req.local.path_info)?,
        },
    }) else {
        return None;
    };
    Some(line)
}

/// The parts of an instance's configurations that are not in `agent.conf`, each by its fingerprint.
#[derive(Default)]
pub(crate) struct Elsewhere(Mutex<Vec<Part>>);

struct Part {
    name: String,
    line: String,
    written: AtomicBool,
}

/// A profile as AM sends it.
type Profile = Vec<(String, Vec<String>)>;

impl Elsewhere {
    /// The name of what the environment, AM's profile and AM say; empty where nobody says anything.
    pub(crate) fn of(
        &self,
        start: &Start,
        profile: Option<Profile>,
        cookie_name: Option<String>,
    ) -> String {
        let environment = environment(start);
        if environment.is_empty() && profile.is_none() && cookie_name.is_none() {
            return String::new();
        }
        let profile = profile.map(|all| all.into_iter().filter_map(public).collect::<Profile>());
        self.keep(json!({
            "environment": environment, "profile": profile, "cookie_name": cookie_name,
            "fallback": false,
        }))
    }

    /// The name of a configuration in fallback mode.
    pub(crate) fn of_fallback(&self, start: &Start) -> String {
        self.keep(json!({ "environment": environment(start), "fallback": true }))
    }

    fn keep(&self, said: Value) -> String {
        let name = fingerprint(said.to_string().as_bytes());
        let mut parts = self.0.lock();
        if parts.iter().all(|part| part.name != name) {
            let mut said = said;
            said["elsewhere"] = json!(name);
            parts.push(Part {
                name: name.clone(),
                line: said.to_string(),
                written: AtomicBool::new(false),
            });
        }
        name
    }

    /// The line about a part that this process has not written yet.
    fn unwritten(&self, name: &str) -> Option<String> {
        let parts = self.0.lock();
        let part = parts.iter().find(|part| part.name == name)?;
        let first = !part.written.swap(true, Ordering::Relaxed);
        first.then(|| part.line.clone())
    }
}

/// The lines that came from the environment, as they would stand in a file.
fn environment(start: &Start) -> Vec<String> {
    let lines = start.files.lines().iter();
    let outside = lines.filter(|l| matches!(l.source, Source::Environment(_)) && !secret(&l.name));
    let written = outside.map(|l| match &l.index {
        Some(index) => format!("{}[{index}] = {}", l.name, l.value),
        None => format!("{} = {}", l.name, l.value),
    });
    written.collect()
}

/// An attribute of the profile without what is secret in it.
fn public((name, values): (String, Vec<String>)) -> Option<(String, Vec<String>)> {
    let names_secret = |value: &String| {
        let secrets = PROPERTIES.iter().filter(|row| row.kind == Kind::Secret);
        let mut names = secrets.flat_map(|row| row.aliases.iter().chain([&row.name]));
        names.any(|name| value.contains(name))
    };
    (!secret(&name)).then(|| {
        let values = values.into_iter().filter(|v| !names_secret(v));
        (name, values.collect())
    })
}

fn secret(name: &str) -> bool {
    let mut rows = PROPERTIES.iter().filter(|row| row.kind == Kind::Secret);
    rows.any(|row| row.is_called(name) || row.name.eq_ignore_ascii_case(name))
}

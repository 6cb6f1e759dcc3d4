//! One line of input: a request, and what AM would say about it.

use std::{collections::BTreeMap, net::IpAddr};

use portcullis_engine::contract::{Now, UnixMillis};
use serde::Deserialize;
use serde_json::Value;

use super::{facts::NOW, recorded::Recorded};

/// An address of the block that is kept for examples (RFC 5737): no rule in use names it.
const NOBODY: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 1));

/// Names with values, as attributes have them.
pub(super) type Values = BTreeMap<String, Vec<String>>;

/// A line, as it is written. Every key but `method` and `url` may be left out.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    #[serde(default)]
    id: Value,
    method: String,
    url: String,
    client_ip: Option<String>,
    #[serde(default)]
    headers: Vec<(String, String)>,
    body: Option<String>,
    #[serde(default)]
    host_authorizes: bool,
    session: Option<SessionGiven>,
    policy: Option<PolicyGiven>,
    am: Option<Am>,
    facts: Option<Vec<Fact>>,
    /// What only a web server knows of a request; a recording has it.
    server: Option<Server>,
    /// Only what was known already could be used, as for a sub-request.
    #[serde(default)]
    stored_only: bool,
    recorded: Option<Recorded>,
    /// When it came: milliseconds since 1970.
    now: Option<u64>,
}

/// A request as the web server has it. Replaces what follows from the URL.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Server {
    pub(super) tls: bool,
    pub(super) host: String,
    pub(super) target: String,
    pub(super) port: u16,
    pub(super) peer: IpAddr,
    pub(super) merged: bool,
    pub(super) path: String,
    pub(super) path_info: String,
}

/// Whether AM answers.
#[derive(Clone, Copy, Default, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub(super) enum Am {
    #[default]
    Up,
    Down,
}

/// A live session.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct SessionGiven {
    pub(super) user: String,
    #[serde(default = "root")]
    pub(super) realm: String,
    /// What AM says of the user: attributes of the profile, and properties of the session too.
    #[serde(default)]
    pub(super) attributes: Values,
    pub(super) universal_id: Option<String>,
    /// The session is an application's or an agent's.
    #[serde(default)]
    pub(super) application: bool,
    #[serde(default)]
    pub(super) client_side: bool,
    /// When it ends, milliseconds since 1970.
    pub(super) ends: Option<u64>,
    /// When it ends if nobody uses it; as `ends` where that is not said.
    pub(super) idle_ends: Option<u64>,
}

impl SessionGiven {
    /// A session of a user of whom nothing else is known.
    pub(super) fn of(user: &str, realm: &str) -> SessionGiven {
        SessionGiven {
            user: user.to_owned(),
            realm: realm.to_owned(),
            attributes: Values::new(),
            universal_id: None,
            application: false,
            client_side: false,
            ends: None,
            idle_ends: None,
        }
    }
}

impl PolicyGiven {
    /// AM allows this method.
    pub(super) fn allows(method: &str) -> PolicyGiven {
        PolicyGiven {
            ttl: None,
            actions: BTreeMap::from([(method.to_owned(), true)]),
            advices: Values::new(),
            attributes: Values::new(),
        }
    }
}

fn root() -> String {
    "/".to_owned()
}

/// AM's answer about the URL.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct PolicyGiven {
    /// Until when it holds, milliseconds since 1970; for ever where that is not said.
    pub(super) ttl: Option<u64>,
    #[serde(default)]
    pub(super) actions: BTreeMap<String, bool>,
    #[serde(default)]
    pub(super) advices: Values,
    #[serde(default)]
    pub(super) attributes: Values,
}

/// One entry of a request's memo, in the order in which the engine asked.
#[derive(Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Fact {
    Session(Known<SessionGiven>),
    Policy(Known<PolicyGiven>),
    Attributes(Known<Values>),
    Form(Known<String>),
    Receipt(Known<Receipt>),
    /// How many tokens of this client AM did not know in this minute.
    Counted(u32),
    /// Whether AM was known to be away.
    Am(Am),
    /// Which of AM's servers answered, from 0.
    AmServing(usize),
}

/// What became of something that happens once.
#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Receipt {
    Done,
    Replayed,
    Gone,
    TooLarge,
    Full,
    /// So often in this minute.
    Counted(u32),
}

/// An answer, or why there was none.
#[derive(Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Known<T> {
    Fresh(T),
    Failed(Failure),
    /// No answer, and one whose interval is over.
    Outlived(Outlived<T>),
    /// Looked up and not known; the agent went on without it.
    Unknown,
}

/// An answer from before a failure.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Outlived<T> {
    pub(super) failed: Failure,
    pub(super) value: T,
    /// Milliseconds since AM gave it.
    pub(super) age: u64,
    /// Milliseconds since its interval ended.
    pub(super) over: u64,
}

/// Why there was no answer: the engine's own kinds.
#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Failure {
    Dead,
    NotAllowed,
    Transport,
    Timeout,
    Tls,
    Status(u16),
    Protocol,
    Busy,
    AgentLogin,
    Draining,
    Store,
    Breaker,
    Files,
}

/// What is known of the request's facts.
#[allow(clippy::large_enum_variant)] // one a line
pub(super) enum Given {
    /// By the short keys.
    Short {
        session: Option<SessionGiven>,
        policy: Option<PolicyGiven>,
        am: Am,
    },
    /// The memo of a request, in full.
    Memo(Vec<Fact>),
}

/// A question that can be answered.
pub(super) struct Question {
    pub(super) id: Value,
    pub(super) method: String,
    pub(super) tls: bool,
    pub(super) port: u16,
    /// Host and port as written.
    pub(super) authority: String,
    /// Path and query as written.
    pub(super) target: String,
    pub(super) client: IpAddr,
    pub(super) headers: Vec<(String, String)>,
    pub(super) body: String,
    /// httpd's `AmAuthProvider`.
    pub(super) host_authorizes: bool,
    pub(super) given: Given,
    pub(super) peer: IpAddr,
    pub(super) merged: bool,
    pub(super) path: String,
    pub(super) path_info: String,
    pub(super) stored_only: bool,
    pub(super) recorded: Option<Recorded>,
    pub(super) now: Now,
}

/// What is wrong with a line, and its id as far as it has one.
pub(super) struct Unreadable {
    pub(super) id: Value,
    pub(super) what: String,
}

impl Question {
    /// Reads a line.
    pub(super) fn read(text: &str) -> Result<Question, Unreadable> {
        let line: Line = serde_json::from_str(text).map_err(|error| Unreadable {
            id: id_of(text),
            what: error.to_string(),
        })?;
        let id = line.id.clone();
        Question::of(line).map_err(|what| Unreadable { id, what })
    }

    /// A request that a log names: nothing is known of it but this.
    ///
    /// # Errors
    /// The URL is none.
    pub(super) fn logged(
        (method, url): (&str, &str),
        client: Option<IpAddr>,
        headers: Vec<(String, String)>,
        (session, policy): (Option<SessionGiven>, Option<PolicyGiven>),
    ) -> Result<Question, String> {
        Question::of(Line {
            id: Value::Null,
            method: method.to_owned(),
            url: url.to_owned(),
            client_ip: client.map(|client| client.to_string()),
            headers,
            body: None,
            host_authorizes: false,
            session,
            policy,
            am: None,
            facts: None,
            server: None,
            stored_only: false,
            recorded: None,
            now: None,
        })
    }

    fn of(line: Line) -> Result<Question, String> {
        let client = match &line.client_ip {
            None => NOBODY,
            Some(text) => text
                .parse()
                .map_err(|_| format!("client_ip: \"{text}\" is not an IP address"))?,
        };
        if line.method.is_empty() {
            return Err("method: is empty".to_owned());
        }
        let given = match line.facts {
            Some(_) if line.session.is_some() || line.policy.is_some() || line.am.is_some() => {
                return Err("facts: stands in place of session, policy and am".to_owned());
            }
            Some(facts) => Given::Memo(facts),
            None => Given::Short {
                session: line.session,
                policy: line.policy,
                am: line.am.unwrap_or_default(),
            },
        };
        let server = match line.server {
            Some(server) => server,
            None => server(&line.url, client)?,
        };
        Ok(Question {
            id: line.id,
            method: line.method,
            tls: server.tls,
            port: server.port,
            authority: server.host,
            target: server.target,
            client,
            headers: line.headers,
            body: line.body.unwrap_or_default(),
            host_authorizes: line.host_authorizes,
            given,
            peer: server.peer,
            merged: server.merged,
            path: server.path,
            path_info: server.path_info,
            stored_only: line.stored_only,
            recorded: line.recorded,
            now: line.now.map_or(NOW, |wall| Now {
                wall: UnixMillis(wall),
                ..NOW
            }),
        })
    }
}

/// A web server that is asked for a URL by the client itself.
fn server(url: &str, client: IpAddr) -> Result<Server, String> {
    let (tls, authority, target) = split(url)?;
    Ok(Server {
        tls,
        port: port(authority).unwrap_or(if tls { 443 } else { 80 }),
        host: authority.to_owned(),
        target: match target.starts_with('/') {
            true => target.to_owned(),
            false => format!("/{target}"),
        },
        peer: client,
        merged: false,
        path: String::new(),
        path_info: String::new(),
    })
}

/// The id of a line that is JSON and yet no question, so that the answer can be told apart.
fn id_of(text: &str) -> Value {
    let value: Value = serde_json::from_str(text).unwrap_or_default();
    value.get("id").cloned().unwrap_or_default()
}

/// An absolute URL into: TLS or not, authority, the rest. Whether they are good, the engine says.
fn split(url: &str) -> Result<(bool, &str, &str), String> {
    let wrong = || format!("url: \"{url}\" does not begin with http:// or https:// and a host");
    let (scheme, rest) = url.split_once("://").ok_or_else(wrong)?;
    let tls = match scheme {
        _ if scheme.eq_ignore_ascii_case("https") => true,
        _ if scheme.eq_ignore_ascii_case("http") => false,
        _ => return Err(wrong()),
    };
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    match rest.split_at(end) {
        ("", _) => Err(wrong()),
        (authority, target) => Ok((tls, authority, target)),
    }
}

/// The port of an authority, where it has one.
fn port(authority: &str) -> Option<u16> {
    let (_, port) = authority.rsplit_once(':')?;
    port.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wrong(text: &str) -> (Value, String) {
        match Question::read(text) {
            Ok(_) => panic!("{text} was taken"),
            Err(unreadable) => (unreadable.id, unreadable.what),
        }
    }

    #[test]
    fn method_and_url_are_enough() {
        let q = Question::read(r#"{"method":"GET","url":"HTTPS://[2001:db8::1]:8443?a=b"}"#);
        let q = q.unwrap_or_else(|u| panic!("{}", u.what));
        assert_eq!((q.tls, q.port, q.client), (true, 8443, NOBODY));
        assert_eq!((&*q.authority, &*q.target), ("[2001:db8::1]:8443", "/?a=b"));
        assert_eq!((q.id, q.body), (Value::Null, String::new()));
        assert!(matches!(
            q.given,
            Given::Short {
                session: None,
                policy: None,
                am: Am::Up
            }
        ));
    }

    #[test]
    fn what_is_wrong_is_said_with_the_id() {
        let (id, what) = wrong(r#"{"id":7,"method":"GET","url":"http://a/","sesion":null}"#);
        assert_eq!(id, 7);
        assert!(what.contains("unknown field `sesion`"), "{what}");
        let cases = [
            (r#"{"method":"GET"}"#, "missing field `url`"),
            (r#"{"method":"GET","url":"/x"}"#, "does not begin with"),
            (r#"{"method":"","url":"http://a/"}"#, "method: is empty"),
            (
                r#"{"method":"GET","method":"PUT","url":"http://a/"}"#,
                "duplicate field",
            ),
            (
                r#"{"method":"GET","url":"http://a/","client_ip":"x"}"#,
                "not an IP address",
            ),
            (
                r#"{"method":"GET","url":"http://a/","am":"gone"}"#,
                "unknown variant `gone`",
            ),
            (
                r#"{"method":"GET","url":"http://a/","session":{}}"#,
                "missing field `user`",
            ),
            (
                r#"{"method":"GET","url":"http://a/","am":"up","facts":[]}"#,
                "in place of session",
            ),
            ("{", "EOF"),
            ("[]", "invalid length"),
        ];
        for (line, expected) in cases {
            let (_, what) = wrong(line);
            assert!(what.contains(expected), "{line}: {what}");
        }
    }

    #[test]
    fn a_memo_has_answers_and_failures() {
        let line = r#"{"method":"GET","url":"http://a/","facts":[
            {"session":{"fresh":{"user":"demo","realm":"/"}}},
            {"policy":{"failed":{"status":500}}},
            {"attributes":{"failed":"not_allowed"}},
            {"form":{"fresh":"a=b"}},
            {"receipt":{"fresh":"replayed"}}]}"#;
        let q = Question::read(line).unwrap_or_else(|u| panic!("{}", u.what));
        assert!(matches!(q.given, Given::Memo(facts) if facts.len() == 5));
    }
}

//! What tests of decisions share: a configuration as an operator writes it, and a request.
#![allow(dead_code, reason = "no test uses all of it")]
#![allow(clippy::panic, reason = "helpers of tests")]

use std::net::IpAddr;

use portcullis_engine::{
    config::{self, Config, Problem, Properties, Secrets, Severity, Snapshot, Source},
    contract::{
        Act, AttributesKey, FactError, Facts, Header, Known, Local, MonoMillis, Now, PolicyKey,
        Receipt, RequestView, SessionKey, UnixMillis,
    },
    record::{Attributes, Policy, Session},
    token::Secret,
};

/// When everything happens.
pub(crate) const NOW: Now = Now {
    wall: UnixMillis(1_800_000_000_000),
    mono: MonoMillis(50_000),
};
/// Password of those who may see numbers.
pub(crate) const MONITOR: &[u8] = b"looks at numbers";
/// How names of the Web Agent's properties begin.
pub(crate) const AGENT: &str = "com.sun.identity.agents.config.";

/// What a test says of a fact: nothing yet, a record, or why there is none.
pub(crate) type Given = Option<Result<Vec<u8>, FactError>>;

/// The fact, read.
pub(crate) fn known<'m, T>(
    fact: &'m Given,
    decode: impl FnOnce(&'m [u8]) -> Option<T>,
) -> Known<T> {
    match fact {
        None => Known::Missing,
        Some(Err(error)) => Known::Failed(*error, None),
        Some(Ok(bytes)) => match decode(bytes) {
            Some(value) => Known::Fresh(value),
            None => panic!("not a record"),
        },
    }
}

/// A local configuration of the site `http://www.example.com:80`, with more lines.
pub(crate) fn read(lines: &str) -> (Config, Vec<Problem>) {
    let text = format!(
        "{AGENT}username = wa1\n{AGENT}naming.url = http://am.example.com:8080/openam/\n\
         {AGENT}repository.location = local\n{AGENT}agenturi.prefix = http://www.example.com:80\n{lines}"
    );
    let files = Properties::parse(&text, Source::File("agent.conf".into()));
    config::read(&files, None)
}

/// The snapshot of [`read`], which may warn and no more.
pub(crate) fn snapshot(lines: &str) -> Snapshot {
    let (typed, problems) = read(lines);
    for problem in problems {
        assert!(problem.severity < Severity::Error, "{problem}");
    }
    built(typed)
}

/// An instance's secrets.
pub(crate) fn secrets() -> Secrets {
    Secrets {
        password: Secret::new(b"pW7-longenough-forTests".to_vec()),
        agent_key: Secret::new((0..32).collect()),
        previous_key: None,
        cert_key_password: None,
        proxy_password: None,
        monitor_password: Some(Secret::new(MONITOR.to_vec())),
    }
}

/// The snapshot of a configuration.
pub(crate) fn built(config: Config) -> Snapshot {
    Snapshot::build(config, secrets(), [7; 16]).unwrap_or_else(|p| panic!("{p:?}"))
}

/// A request for the site over plain HTTP.
pub(crate) fn view<'r>(
    method: &'r str,
    target: &'r str,
    client: IpAddr,
    headers: &'r [Header<'r>],
) -> RequestView<'r> {
    RequestView {
        method: method.as_bytes(),
        target: target.as_bytes(),
        host: b"www.example.com",
        headers,
        merged: false,
        peer: client,
        client,
        local: Local {
            tls: false,
            port: 80,
            path: b"",
            path_info: b"",
            authorizes: false,
        },
    }
}

/// [`view`] of `host/target`, from somewhere; without a host it is the site's.
pub(crate) fn view_at<'r>(method: &'r str, address: &'r str) -> RequestView<'r> {
    let at = address.find('/').unwrap_or(address.len());
    let (host, target) = address.split_at(at);
    let mut view = view(method, target, IpAddr::from([198, 51, 100, 1]), &[]);
    if !host.is_empty() {
        view.host = host.as_bytes();
    }
    view
}

/// Facts of which none is known.
pub(crate) struct Nothing;

impl Facts for Nothing {
    fn session(&self, _: SessionKey) -> Known<Session<'_>> {
        Known::Missing
    }
    fn policy(&self, _: PolicyKey) -> Known<Policy<'_>> {
        Known::Missing
    }
    fn attributes(&self, _: AttributesKey) -> Known<Attributes<'_>> {
        Known::Missing
    }
    fn form(&self) -> Known<&[u8]> {
        Known::Missing
    }
    fn receipt(&self, act: &Act) -> Known<Receipt> {
        match act {
            Act::Count { .. } => Known::Fresh(Receipt::Counted(1)),
            _ => Known::Missing,
        }
    }
    fn seed(&self) -> &[u8; 32] {
        &[9; 32]
    }
}

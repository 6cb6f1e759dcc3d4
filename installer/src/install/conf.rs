//! The text of a new `agent.conf`, and what goes into the files of secrets beside it.

use std::path::Path;

use anyhow::{Result, bail, ensure};
use portcullis_engine::{
    config::{self, Line, Place, Properties},
    token::Secret,
};

use super::{Import, Report, Request, address::url, import};

/// Written by the property table's test.
pub(crate) const TEMPLATE: &str = include_str!("../../templates/agent.conf.template");

/// `agent.conf`: the template, or the imported file, with what this instance has of its own; and what became of an
/// imported one.
pub(super) fn agent_conf(
    request: &Request,
    folder: &Path,
    environment: &Properties,
) -> Result<(String, Option<Report>)> {
    let path = |name: &str| folder.join(name).to_string_lossy().into_owned();
    let own = [
        (
            "com.sun.identity.agents.config.local.logfile",
            path("logs/debug/debug.log"),
        ),
        (
            "com.sun.identity.agents.config.local.audit.logfile",
            path("logs/audit/audit.log"),
        ),
        (
            "org.forgerock.agents.config.postdata.preserve.dir",
            path("pdp-cache"),
        ),
        (import::REALM, request.realm.clone()),
        (import::USERNAME, request.name.clone()),
        (import::URLS, urls(request)),
    ];
    let (mut conf, report) = match &request.import {
        Some(import) => {
            let imported = import.text(&own);
            (imported.text, Some(imported.report))
        }
        None => (from_template(request, &own)?, None),
    };
    for line in environment.lines().iter().filter(|line| !is_secret(line)) {
        ensure!(
            !line.value.contains(char::is_control),
            "{}: the value holds a control character",
            line.source
        );
        conf = with_line(&conf, &line.name, &line.value);
    }
    Ok((conf, report))
}

/// AM's URLs. An imported file may have several; with the same first one they all stay, as they are written.
fn urls(request: &Request) -> String {
    let imported = request.import.as_ref().and_then(Import::urls);
    let same = imported.filter(|all| {
        let first = all.split_whitespace().next().map(super::with_port);
        first.is_some_and(|first| first.is_ok_and(|first| first == request.am))
    });
    same.unwrap_or(&request.am).to_owned()
}

fn from_template(request: &Request, own: &[(&str, String)]) -> Result<String> {
    let host = url(&request.agent)?.host;
    let mut conf = TEMPLATE.to_owned();
    for (name, value) in own {
        conf = with_line(&conf, name, value);
    }
    for (word, value) in [
        ("AM_AGENT_URL", request.agent.as_str()),
        ("AM_AGENT_FQDN", host.as_str()),
        ("AM_SSL_CA", ""),
    ] {
        conf = conf.replace(&format!("= {word}\n"), &format!("= {value}\n"));
    }
    if let Some(left) = conf.lines().find(|l| l.contains("= AM_")) {
        bail!("the template has a word nobody replaces: {left}");
    }
    Ok(conf)
}

/// What the environment says of properties; what it says in vain is named.
pub(super) fn environment() -> Properties {
    let variables: Vec<(String, String)> = std::env::vars_os()
        .filter_map(|(n, v)| Some((n.into_string().ok()?, v.into_string().ok()?)))
        .collect();
    let pairs = variables.iter().map(|(n, v)| (n.as_str(), v.as_str()));
    let (lines, problems) = config::environment(Place::Tool, pairs);
    for problem in &problems {
        eprintln!("warning: {problem}");
    }
    lines
}

/// Passwords that the environment names, by property.
pub(super) fn passwords(environment: &Properties) -> Vec<(String, Secret)> {
    let lines = environment.lines().iter().filter(|line| is_secret(line));
    let pair = |line: &Line| {
        (
            line.name.clone(),
            Secret::new(line.value.as_bytes().to_vec()),
        )
    };
    lines.map(pair).collect()
}

/// Whether a line's place is `agent-password.conf`.
fn is_secret(line: &Line) -> bool {
    let mut rows = config::PROPERTIES.iter();
    rows.any(|row| row.name == line.name && row.kind == config::Kind::Secret)
}

/// The text with this value of a property, in the place that it has there, if only as a comment.
pub(crate) fn with_line(conf: &str, name: &str, value: &str) -> String {
    let is_it = |line: &str| line.split_once('=').is_some_and(|(n, _)| n.trim() == name);
    let active = conf.lines().position(is_it);
    let comment = || {
        conf.lines()
            .position(|line| is_it(line.trim_start_matches('#')))
    };
    let place = active.or_else(comment);
    let mut out = String::with_capacity(conf.len() + name.len() + value.len());
    for (at, line) in conf.lines().enumerate() {
        match Some(at) == place {
            true => out.push_str(&format!("{name} = {value}")),
            false => out.push_str(line),
        }
        out.push('\n');
    }
    if place.is_none() {
        out.push_str(&format!("\n{name} = {value}\n"));
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request() -> Request {
        Request {
            conf: "x".into(),
            am: "https://am.example.com:443/am/".into(),
            agent: "https://www.example.com:443".into(),
            realm: "/".into(),
            name: "wa1".into(),
            password: super::super::Password::File("x".into()),
            import: None,
            takeover: false,
            change_owner: false,
            force: true,
            print: false,
        }
    }

    #[test]
    fn passwords_of_the_environment_are_written_encrypted() {
        let variables = [
            ("AM_SSL_PASSWORD", "the key's pass phrase"),
            ("AM_PROXY_PASSWORD", "the proxy's password"),
        ];
        let (environment, problems) = config::environment(Place::Tool, variables);
        assert_eq!(problems, []);
        let (conf, _) = agent_conf(&request(), Path::new("/opt/agent_1"), &environment).unwrap();
        assert!(!conf.contains("pass phrase") && !conf.contains("proxy's"));
        let mut opened = passwords(&environment);
        opened.sort_by(|a, b| a.0.cmp(&b.0));
        assert_eq!(opened.len(), 2);
        for ((name, opened), (wanted, plain)) in opened.iter().zip([
            (
                "com.forgerock.agents.config.cert.key.password",
                "the key's pass phrase",
            ),
            (
                "com.sun.identity.agents.config.forward.proxy.password",
                "the proxy's password",
            ),
        ]) {
            assert_eq!(name, wanted);
            assert!(opened.expose() == plain.as_bytes(), "{name}");
        }
        // What no header can carry is refused where it is encrypted.
        let key = crate::secrets::new_key().unwrap();
        assert!(crate::secrets::encrypt(&key, &Secret::new(b"a\nb".to_vec())).is_err());
    }

    #[test]
    fn every_word_of_the_template_is_replaced() {
        let none = Properties::default();
        let (conf, _) = agent_conf(&request(), Path::new("/opt/agent_1"), &none).unwrap();
        assert!(conf.contains("com.sun.identity.agents.config.username = wa1\n"));
        assert!(conf.contains("/opt/agent_1/logs/debug/debug.log"));
    }

    #[test]
    fn the_environment_fills_the_template() {
        let variables = [
            ("AM_SSL_CA", "/etc/ssl/am.pem"),
            ("AM_SSL_CERT", "/etc/ssl/agent.pem"),
            ("AM_SSL_KEY", "/etc/ssl/agent.key"),
            ("AM_SSL_CIPHERS", "TLS13_AES_256_GCM_SHA384"),
            ("AM_SSL_KEYLOG_ENABLE", "true"),
            ("AM_PROXY_HOST", "proxy.example.com"),
            ("AM_PROXY_PORT", "3128"),
            ("AM_PROXY_USER", "agent"),
            ("AM_AGENT_AUTH_MODE", "1"),
        ];
        let (environment, problems) = config::environment(Place::Tool, variables);
        assert_eq!(problems, []);
        let (conf, _) = agent_conf(&request(), Path::new("/opt/agent_1"), &environment).unwrap();
        for line in [
            "com.forgerock.agents.config.cert.ca.file = /etc/ssl/am.pem",
            "com.forgerock.agents.config.cert.file = /etc/ssl/agent.pem",
            "com.forgerock.agents.config.cert.key = /etc/ssl/agent.key",
            "com.forgerock.agents.config.ciphers = TLS13_AES_256_GCM_SHA384",
            "org.forgerock.agents.config.tls.keylog.enable = true",
            "com.sun.identity.agents.config.forward.proxy.host = proxy.example.com",
            "com.sun.identity.agents.config.forward.proxy.port = 3128",
            "com.sun.identity.agents.config.forward.proxy.user = agent",
            "com.forgerock.agents.config.agent.auth.mode = 1",
        ] {
            let found: Vec<&str> = conf.lines().filter(|l| *l == line).collect();
            assert_eq!(found.len(), 1, "{line}");
        }
        let bad = [("AM_PROXY_HOST", "a\nb = c")];
        let (environment, _) = config::environment(Place::Tool, bad);
        assert!(agent_conf(&request(), Path::new("/opt/agent_1"), &environment).is_err());
    }
}

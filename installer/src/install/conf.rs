//! The text of a new `agent.conf`, and what goes into the files of secrets beside it.

use std::path::Path;

use anyhow::{Context, Result, bail, ensure};
use portcullis_engine::{
    config::{self, Line, Place, Properties},
    token::Secret,
};

use super::{Request, address::url};
use crate::secrets;

/// Written by the property table's test.
const TEMPLATE: &str = include_str!("../../templates/agent.conf.template");

/// `agent.conf` from the template.
pub(super) fn agent_conf(
    request: &Request,
    folder: &Path,
    environment: &Properties,
) -> Result<String> {
    let host = url(&request.agent)?.host;
    let mut conf = TEMPLATE.to_owned();
    for (word, value) in [
        ("AM_OPENAM_URL", request.am.as_str()),
        ("AM_AGENT_URL", request.agent.as_str()),
        ("AM_AGENT_REALM", request.realm.as_str()),
        ("AM_AGENT_NAME", request.name.as_str()),
        ("AM_AGENT_FQDN", host.as_str()),
        (
            "AM_DEBUG_FILE_PATH",
            &folder.join("logs/debug/debug.log").to_string_lossy(),
        ),
        (
            "AM_AUDIT_FILE_PATH",
            &folder.join("logs/audit/audit.log").to_string_lossy(),
        ),
        (
            "AM_PDP_TEMP_PATH",
            &folder.join("pdp-cache").to_string_lossy(),
        ),
        ("AM_SSL_CA", ""),
    ] {
        conf = conf.replace(&format!("= {word}\n"), &format!("= {value}\n"));
    }
    for line in environment.lines().iter().filter(|line| !is_secret(line)) {
        ensure!(
            !line.value.contains(char::is_control),
            "{}: the value holds a control character",
            line.source
        );
        conf = with_line(&conf, &line.name, &line.value);
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

/// Passwords that the environment names, as they are written down.
pub(super) fn encrypted(key: &Secret, environment: &Properties) -> Result<Vec<(String, String)>> {
    let lines = environment.lines().iter().filter(|line| is_secret(line));
    let pair = |line: &Line| {
        let plain = Secret::new(line.value.as_bytes().to_vec());
        let text = secrets::encrypt(key, &plain).with_context(|| line.source.to_string())?;
        Ok((line.name.clone(), text))
    };
    lines.map(pair).collect()
}

/// Whether a line's place is `agent-password.conf`.
fn is_secret(line: &Line) -> bool {
    let mut rows = config::PROPERTIES.iter();
    rows.any(|row| row.name == line.name && row.kind == config::Kind::Secret)
}

/// The text with this value of a property, in the place that the template has for it.
fn with_line(conf: &str, name: &str, value: &str) -> String {
    let begins = format!("{name} =");
    let mut placed = false;
    let mut out = String::with_capacity(conf.len() + name.len() + value.len());
    for line in conf.lines() {
        if line.trim_start_matches('#').starts_with(&begins) && !placed {
            placed = true;
            out.push_str(&format!("{name} = {value}"));
        } else {
            out.push_str(line);
        }
        out.push('\n');
    }
    if !placed {
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
            password_file: "x".into(),
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
        let conf = agent_conf(&request(), Path::new("/opt/agent_1"), &environment).unwrap();
        assert!(!conf.contains("pass phrase") && !conf.contains("proxy's"));
        let key = secrets::new_key().unwrap();
        let mut all = encrypted(&key, &environment).unwrap();
        all.sort();
        let opened: Vec<(&str, Secret)> = all
            .iter()
            .map(|(name, text)| (name.as_str(), config::decrypt_password(&key, text).unwrap()))
            .collect();
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
            assert_eq!(*name, wanted);
            assert!(opened.expose() == plain.as_bytes(), "{name}");
        }
        let (environment, _) = config::environment(Place::Tool, [("AM_PROXY_PASSWORD", "a\nb")]);
        assert!(encrypted(&key, &environment).is_err());
    }

    #[test]
    fn every_word_of_the_template_is_replaced() {
        let conf = agent_conf(
            &request(),
            Path::new("/opt/agent_1"),
            &Properties::default(),
        )
        .unwrap();
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
        let conf = agent_conf(&request(), Path::new("/opt/agent_1"), &environment).unwrap();
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

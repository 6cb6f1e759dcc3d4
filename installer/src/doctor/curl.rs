//! An exchange as a command that an operator can repeat. Secrets are variables of the shell.

use portcullis_engine::config::Config;
use portcullis_runtime::client::{HIDDEN, Seen};

/// The command for an exchange.
pub(crate) fn command(seen: &Seen, config: Option<&Config>, cookie_name: &str) -> String {
    let mut lines = seen.request.lines();
    let (method, url) = lines
        .next()
        .and_then(|line| line.split_once(' '))
        .unwrap_or_default();
    let mut text = format!("curl -si{}", way(config));
    if method == "POST" {
        text.push_str(" -X POST");
    }
    let mut upgrade = false;
    let mut body = None;
    while let Some(line) = lines.next() {
        if line.is_empty() {
            body = lines.next();
            break;
        }
        let Some((name, value)) = line.split_once(": ") else {
            continue;
        };
        upgrade |= name.eq_ignore_ascii_case("upgrade");
        let value = match value {
            HIDDEN => variable(name, cookie_name),
            plain => plain,
        };
        // A variable is filled in by the shell only between double quotes.
        text.push_str(&format!(" -H \"{name}: {value}\""));
    }
    if upgrade {
        text.push_str(" -N --http1.1");
    }
    match body {
        Some("(2 bytes)") => text.push_str(" -d '{}'"),
        Some(_) => text.push_str(" -d @body.json"),
        None => {}
    }
    text.push_str(&format!(" '{}'", url.replace(HIDDEN, "VALUE")));
    text
}

fn variable(header: &str, cookie_name: &str) -> &'static str {
    match header {
        "X-OpenAM-Username" => "$NAME",
        "X-OpenAM-Password" => "$PASSWORD",
        name if name.eq_ignore_ascii_case(cookie_name) => "$AGENT_TOKEN",
        _ => "$SECRET",
    }
}

/// What the configuration says of the way to AM.
fn way(config: Option<&Config>) -> String {
    let mut text = String::new();
    let Some(config) = config else { return text };
    if let Some(file) = &config.cert_ca_file {
        text.push_str(&format!(" --cacert '{file}'"));
    }
    if config.trust_server_certs {
        text.push_str(" -k");
    }
    if let (Some(cert), Some(key)) = (&config.cert_file, &config.cert_key) {
        text.push_str(&format!(" --cert '{cert}' --key '{key}'"));
    }
    match &config.forward_proxy_host {
        Some(host) => {
            let port = config.forward_proxy_port;
            text.push_str(&format!(" --proxy 'http://{host}:{port}'"));
        }
        // Without a proxy of its own curl would take the one of the environment.
        None => text.push_str(" --noproxy '*'"),
    }
    for (host, address) in &config.hostmap {
        text.push_str(&format!(" --connect-to '{host}::{address}:'"));
    }
    text
}

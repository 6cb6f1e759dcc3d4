//! What an operator may write as the address of AM or of the site.

use anyhow::{Context, Result, bail, ensure};

/// The parts of an address.
pub(crate) struct Url {
    pub(crate) scheme: String,
    pub(crate) host: String,
    pub(crate) port: u16,
    pub(crate) path: String,
}

/// Scheme, host, port and path without its last slash.
pub(crate) fn url(text: &str) -> Result<Url> {
    let (scheme, rest) = text
        .split_once("://")
        .context("write it as https://host:port/path")?;
    let default = match scheme {
        "http" => 80,
        "https" => 443,
        _ => bail!("only http and https: {text}"),
    };
    let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    let (host, port) = match authority.rsplit_once(':') {
        Some((host, port)) => (host, port.parse().with_context(|| format!("port {port}"))?),
        None => (authority, default),
    };
    let plain = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '.' || c == '_';
    ensure!(
        !host.is_empty() && host.chars().all(plain),
        "host name: {host:?}"
    );
    ensure!(!path.contains(['?', '#', ' ', '"']), "path: {path:?}");
    let path = path.trim_end_matches('/').to_owned();
    Ok(Url {
        scheme: scheme.into(),
        host: host.to_ascii_lowercase(),
        port,
        path,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_get_their_port_and_lose_what_does_not_belong() {
        let plain = url("https://AM.example.com/openam/").unwrap();
        assert_eq!(
            (plain.host.as_str(), plain.port, plain.path.as_str()),
            ("am.example.com", 443, "/openam")
        );
        for bad in [
            "am.example.com",
            "ftp://a",
            "https://a:b/",
            "https://a b/",
            "https://a/?x",
        ] {
            assert!(url(bad).is_err(), "{bad}");
        }
    }
}

//! Which origin did the browser write? What a proxy in front changed of scheme, host and port is put
//! back, from the headers of a trusted proxy or from the configuration.
//!
//! It must not look at the path, and not at headers of anybody else (rule U2).

use alloc::string::String;

use arrayvec::ArrayString;

use super::{
    AddressSet, Canonical, Refusal,
    authority::{MAX_HOST, push_host},
};
use crate::contract::RequestView;

/// Where requests come from outside, when that is not what the host sees.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Outside {
    /// `portcullis.trusted.proxies`.
    pub trusted: AddressSet,
    /// The parts of `agenturi.prefix` that `override.protocol`, `.host` and `.port` put in place.
    pub overrides: Overrides,
}

/// What takes the place of a request's own parts; `None` leaves a part as it is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Overrides {
    /// The scheme is https.
    pub https: Option<bool>,
    /// The host, in lower case.
    pub host: Option<String>,
    /// The port.
    pub port: Option<u16>,
}

/// An origin in parts.
pub(super) struct Origin {
    pub(super) https: bool,
    pub(super) host: ArrayString<MAX_HOST>,
    pub(super) port: u16,
}

impl Outside {
    /// Whether every request is taken as the host sees it.
    pub fn is_empty(&self) -> bool {
        self.trusted.is_empty() && self.overrides == Overrides::default()
    }

    /// Writes the URL that the browser asked for to `asked`, if it may differ from `received`.
    ///
    /// Headers of a trusted proxy win over overrides. Of a list the last element counts: it is the
    /// word of the proxy itself.
    ///
    /// # Errors
    /// A trusted proxy's header that is malformed, or a URL that becomes too long.
    pub fn apply(
        &self,
        req: &RequestView<'_>,
        received: &Canonical,
        asked: &mut Canonical,
    ) -> Result<bool, Refusal> {
        let Some(origin) = self.origin(req, received)? else {
            return Ok(false);
        };
        asked.set_moved(received, &origin)?;
        Ok(true)
    }

    fn origin(
        &self,
        req: &RequestView<'_>,
        received: &Canonical,
    ) -> Result<Option<Origin>, Refusal> {
        let mut host = ArrayString::new();
        let mut port = push_host(&mut host, req.host)?;
        let mut https = received.scheme() == "https";
        if self.trusted.contains(req.peer) {
            let said = |name: &'static str| forwarded(req, name);
            let (proto, name, number) = (
                said("x-forwarded-proto"),
                said("x-forwarded-host"),
                said("x-forwarded-port"),
            );
            if proto.is_some() || name.is_some() || number.is_some() {
                if let Some(proto) = proto {
                    https = is_https(proto).ok_or(Refusal::Forwarded)?;
                }
                if let Some(name) = name {
                    host.clear();
                    port = push_host(&mut host, name).map_err(|_| Refusal::Forwarded)?;
                }
                if let Some(number) = number {
                    port = Some(port_number(number).ok_or(Refusal::Forwarded)?);
                }
                return Ok(Some(with_port(https, host, port)));
            }
        }
        let overrides = &self.overrides;
        if *overrides == Overrides::default() {
            return Ok(None);
        }
        https = overrides.https.unwrap_or(https);
        if let Some(name) = &overrides.host {
            host = ArrayString::from(name).map_err(|_| Refusal::BadHost)?;
        }
        Ok(Some(with_port(https, host, overrides.port.or(port))))
    }
}

/// A browser leaves the default port of its scheme out.
fn with_port(https: bool, host: ArrayString<MAX_HOST>, port: Option<u16>) -> Origin {
    let default = if https { 443 } else { 80 };
    Origin {
        https,
        host,
        port: port.unwrap_or(default),
    }
}

/// The last element of the last header of this name.
fn forwarded<'r>(req: &RequestView<'r>, name: &str) -> Option<&'r [u8]> {
    let mut lines = req.headers.iter().rev();
    let line = lines.find(|h| h.name.eq_ignore_ascii_case(name.as_bytes()))?;
    line.value
        .rsplit(|b| *b == b',')
        .next()
        .map(<[u8]>::trim_ascii)
}

/// Some proxies name the protocol of a WebSocket.
fn is_https(proto: &[u8]) -> Option<bool> {
    let is = |word: &[u8]| proto.eq_ignore_ascii_case(word);
    match () {
        () if is(b"https") || is(b"wss") => Some(true),
        () if is(b"http") || is(b"ws") => Some(false),
        () => None,
    }
}

fn port_number(text: &[u8]) -> Option<u16> {
    let digits = text.len() <= 5 && text.iter().all(u8::is_ascii_digit);
    let text = core::str::from_utf8(text).ok().filter(|_| digits)?;
    text.parse().ok().filter(|port| *port != 0)
}

#[cfg(test)]
mod tests {
    use std::{string::ToString, vec::Vec};

    use super::*;
    use crate::contract::{Header, Local};

    const PROXY: &str = "10.0.0.1";

    fn outside(overrides: Overrides) -> Outside {
        Outside {
            trusted: AddressSet::new([PROXY]).unwrap(),
            overrides,
        }
    }

    /// The origin of a plain http request to `host` with these headers.
    fn asked(
        outside: &Outside,
        peer: &str,
        host: &str,
        headers: &[(&str, &str)],
    ) -> Result<String, Refusal> {
        let headers: Vec<Header<'_>> = headers
            .iter()
            .map(|(name, value)| Header {
                name: name.as_bytes(),
                value: value.as_bytes(),
            })
            .collect();
        let peer = peer.parse().unwrap();
        let req = RequestView {
            method: b"GET",
            target: b"/a/b?c=/",
            host: host.as_bytes(),
            headers: &headers,
            merged: false,
            peer,
            // What realip made of it does not make the connection another one.
            client: "203.0.113.9".parse().unwrap(),
            local: Local {
                tls: false,
                port: 8080,
                path: b"/a",
                path_info: b"/b",
                authorizes: false,
            },
        };
        let (mut received, mut asked) = (Canonical::new(), Canonical::new());
        received.set(&req)?;
        let url = match outside.apply(&req, &received, &mut asked)? {
            true => asked,
            false => received,
        };
        assert_eq!(url.without_path_info(), std::format!("{}/a", url.origin()));
        assert_eq!((url.path(), url.query()), ("/a/b", Some("c=/")));
        assert!(url.origin().starts_with(url.scheme()) && url.origin().contains(url.host()));
        assert!(url.origin().ends_with(&std::format!(":{}", url.port())));
        Ok(url.origin().to_string())
    }

    #[test]
    fn headers_of_trusted_proxies_say_where_the_browser_is() {
        let outside = outside(Overrides::default());
        let from = |peer, headers: &[_]| asked(&outside, peer, "inner:8080", headers).unwrap();
        let all = [
            ("X-Forwarded-Proto", "https"),
            ("X-Forwarded-Host", "WWW.example.com"),
            ("X-Forwarded-Port", "8443"),
        ];
        assert_eq!(from(PROXY, &all), "https://www.example.com:8443");
        assert_eq!(from(PROXY, &all[..2]), "https://www.example.com:443");
        assert_eq!(from(PROXY, &all[..1]), "https://inner:8080");
        assert_eq!(from(PROXY, &all[1..2]), "http://www.example.com:80");
        assert_eq!(from(PROXY, &all[2..]), "http://inner:8443");
        assert_eq!(from(PROXY, &[]), "http://inner:8080");
        assert_eq!(
            from("10.0.0.2", &all),
            "http://inner:8080",
            "anybody's word"
        );
        assert_eq!(from(PROXY, &[("x-forwarded-host", "h:81")]), "http://h:81");
        // What a client sent before the proxy added its own.
        for forged in [
            &[("X-Forwarded-Host", "evil.example, www.example.com")][..],
            &[
                ("X-Forwarded-Host", "evil.example"),
                ("X-Forwarded-Host", "www.example.com"),
            ],
        ] {
            assert_eq!(from(PROXY, forged), "http://www.example.com:80");
        }
        let no_port = |headers: &[_]| asked(&outside, PROXY, "inner", headers).unwrap();
        assert_eq!(no_port(&all[..1]), "https://inner:443");
        assert_eq!(
            no_port(&[("X-Forwarded-Proto", "WSS")]),
            "https://inner:443"
        );
    }

    #[test]
    fn malformed_headers_of_trusted_proxies_are_refused() {
        let outside = outside(Overrides::default());
        for (name, value) in [
            ("X-Forwarded-Proto", "gopher"),
            ("X-Forwarded-Proto", ""),
            ("X-Forwarded-Host", "a b"),
            ("X-Forwarded-Host", "www.example.com,"),
            ("X-Forwarded-Host", "u@h"),
            ("X-Forwarded-Port", "0"),
            ("X-Forwarded-Port", "443x"),
            ("X-Forwarded-Port", "+443"),
        ] {
            let from = |peer| asked(&outside, peer, "inner", &[(name, value)]);
            assert_eq!(from(PROXY), Err(Refusal::Forwarded), "{name}: {value}");
            assert_eq!(from("10.0.0.2").as_deref(), Ok("http://inner:80"));
        }
    }

    #[test]
    fn overrides_take_parts_of_the_prefix() {
        let all = Overrides {
            https: Some(true),
            host: Some("www.example.com".into()),
            port: Some(443),
        };
        let with = |overrides: &Overrides, host| {
            asked(&outside(overrides.clone()), "192.0.2.1", host, &[]).unwrap()
        };
        assert_eq!(with(&all, "inner:8080"), "https://www.example.com:443");
        let protocol = Overrides {
            host: None,
            port: None,
            ..all.clone()
        };
        assert_eq!(with(&protocol, "inner:8080"), "https://inner:8080");
        assert_eq!(with(&protocol, "inner"), "https://inner:443");
        let port = Overrides {
            https: None,
            host: None,
            ..all.clone()
        };
        assert_eq!(with(&port, "inner:8080"), "http://inner:443");
        // A trusted proxy knows better.
        let forwarded = [("X-Forwarded-Host", "other.example.com")];
        assert_eq!(
            asked(&outside(all), PROXY, "inner", &forwarded).unwrap(),
            "http://other.example.com:80"
        );
    }
}

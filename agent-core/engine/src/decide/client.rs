//! Which address does the client have? A header's word counts only behind trusted proxies (rule U2).
//!
//! It must not decide what an address is allowed to do.

use core::net::{IpAddr, SocketAddr};

use crate::{config::Config, contract::RequestView};

/// Longest host name in bytes (RFC 1035 2.3.4, as text).
pub(super) const MAX_NAME: usize = 253;

/// The address that rules, policies and audit lines are about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClientAddress {
    /// This one.
    Known(IpAddr),
    /// Nobody who can be trusted has said: it matches no rule about addresses.
    Unknown,
}

impl ClientAddress {
    /// The address, where one is known.
    pub fn known(self) -> Option<IpAddr> {
        match self {
            ClientAddress::Known(address) => Some(address),
            ClientAddress::Unknown => None,
        }
    }
}

/// The effective address of a request's client.
///
/// Without `com.sun.identity.agents.config.client.ip.header` it is what the host itself settled on.
/// With it, the right-most element that is not one of `portcullis.trusted.proxies` counts: each
/// proxy appends whom it was called by. A trusted proxy that says nothing, or nothing that is an
/// address, leaves it unknown; a caller who is not trusted is the client, whatever it says.
pub fn client_address(req: &RequestView<'_>, config: &Config) -> ClientAddress {
    let Some(header) = &config.client_ip_header else {
        return ClientAddress::Known(req.client.to_canonical());
    };
    if config.trusted_proxies.is_empty() {
        return ClientAddress::Unknown;
    }
    let mut address = req.client;
    if !config.trusted_proxies.contains(address) {
        return ClientAddress::Known(address.to_canonical());
    }
    let lines = req.headers.iter().rev();
    let named = lines.filter(|h| h.name.eq_ignore_ascii_case(header.as_bytes()));
    let mut said = false;
    for element in named.flat_map(|h| h.value.rsplit(|b| *b == b',')) {
        let Some(next) = element_address(element) else {
            return ClientAddress::Unknown;
        };
        (address, said) = (next, true);
        if !config.trusted_proxies.contains(address) {
            break;
        }
    }
    match said {
        true => ClientAddress::Known(address.to_canonical()),
        false => ClientAddress::Unknown,
    }
}

/// The client's host name, where a trusted proxy says it in
/// `com.sun.identity.agents.config.client.hostname.header`: the last element, its own word. Nothing
/// but letters, digits, `-`, `_` and `.` is a name.
pub(super) fn client_host_name<'r>(req: &RequestView<'r>, config: &Config) -> Option<&'r str> {
    let header = config.client_hostname_header.as_ref()?;
    if !config.trusted_proxies.contains(req.peer) {
        return None;
    }
    let mut lines = req.headers.iter().rev();
    let line = lines.find(|h| h.name.eq_ignore_ascii_case(header.as_bytes()))?;
    let last = line.value.rsplit(|b| *b == b',').next()?.trim_ascii();
    let plain = |b: &u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.');
    let good = !last.is_empty() && last.len() <= MAX_NAME && last.iter().all(plain);
    core::str::from_utf8(last).ok().filter(|_| good)
}

/// An address, with the port that some proxies add: `192.0.2.1:4711`, `[2001:db8::1]:4711`.
fn element_address(element: &[u8]) -> Option<IpAddr> {
    let text = core::str::from_utf8(element.trim_ascii()).ok()?;
    let bare = text.strip_prefix('[').and_then(|t| t.strip_suffix(']'));
    if let Some(bare) = bare {
        return bare.parse().ok().map(IpAddr::V6);
    }
    let with_port = || text.parse().ok().map(|socket: SocketAddr| socket.ip());
    text.parse().ok().or_else(with_port)
}

#[cfg(test)]
mod tests {
    use std::{string::ToString, vec::Vec};

    use super::*;
    use crate::{
        contract::{Header, Local},
        url::AddressSet,
    };

    fn address(config: &Config, client: &str, headers: &[(&str, &str)]) -> ClientAddress {
        let client = client.parse().unwrap();
        let headers: Vec<Header<'_>> = headers
            .iter()
            .map(|(name, value)| Header {
                name: name.as_bytes(),
                value: value.as_bytes(),
            })
            .collect();
        let req = RequestView {
            method: b"GET",
            target: b"/",
            host: b"h",
            headers: &headers,
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
        };
        client_address(&req, config)
    }

    fn known(text: &str) -> ClientAddress {
        ClientAddress::Known(text.parse().unwrap())
    }

    fn behind(proxies: &[&'static str]) -> Config {
        Config {
            client_ip_header: Some("X-Forwarded-For".to_string()),
            trusted_proxies: AddressSet::new(proxies.iter().copied()).unwrap(),
            ..Config::default()
        }
    }

    const FORWARDED: &str = "x-forwarded-for";

    #[test]
    fn a_client_does_not_choose_its_address() {
        let forged = [(FORWARDED, "203.0.113.9")];
        let plain = Config::default();
        assert_eq!(address(&plain, "192.0.2.1", &forged), known("192.0.2.1"));
        // Nobody is trusted: not even the connection says who the client is.
        assert_eq!(
            address(&behind(&[]), "192.0.2.1", &forged),
            ClientAddress::Unknown
        );
        // Not a proxy of ours: its header is ignored.
        let config = behind(&["10.0.0.0/8"]);
        assert_eq!(address(&config, "192.0.2.1", &forged), known("192.0.2.1"));
        assert_eq!(address(&config, "10.0.0.1", &forged), known("203.0.113.9"));
        // What the client wrote itself stands further left.
        let appended = [(FORWARDED, "127.0.0.1, 203.0.113.9, 10.0.0.2")];
        assert_eq!(
            address(&config, "10.0.0.1", &appended),
            known("203.0.113.9")
        );
    }

    #[test]
    fn several_headers_are_one_list() {
        let config = behind(&["10.0.0.0/8"]);
        let two = [
            (FORWARDED, "127.0.0.1"),
            ("X-Other", "x"),
            (FORWARDED, "203.0.113.9,10.0.0.2"),
        ];
        assert_eq!(address(&config, "10.0.0.1", &two), known("203.0.113.9"));
        let all_trusted = [(FORWARDED, "10.0.0.3"), (FORWARDED, "10.0.0.2")];
        assert_eq!(
            address(&config, "10.0.0.1", &all_trusted),
            known("10.0.0.3")
        );
    }

    #[test]
    fn a_trusted_proxy_that_names_no_address_leaves_it_unknown() {
        let config = behind(&["10.0.0.0/8"]);
        assert_eq!(address(&config, "10.0.0.1", &[]), ClientAddress::Unknown);
        for element in [
            "",
            "unknown",
            "_hidden",
            "203.0.113.9,",
            "203.0.113.9, x, 10.0.0.2",
            "for=203.0.113.9",
            "203.0.113.9:x",
            "[203.0.113.9]",
            "\u{ff}",
        ] {
            let headers = [(FORWARDED, element)];
            assert_eq!(
                address(&config, "10.0.0.1", &headers),
                ClientAddress::Unknown,
                "{element}"
            );
        }
    }

    #[test]
    fn addresses_may_carry_ports() {
        let config = behind(&["10.0.0.0/8", "::1"]);
        for (element, expected) in [
            ("203.0.113.9:4711", "203.0.113.9"),
            ("[2001:db8::1]:4711", "2001:db8::1"),
            ("[2001:db8::1]", "2001:db8::1"),
            (" 2001:db8::1 ", "2001:db8::1"),
            ("::ffff:203.0.113.9", "203.0.113.9"),
            ("203.0.113.9, ::ffff:10.0.0.2", "203.0.113.9"),
        ] {
            let headers = [(FORWARDED, element)];
            assert_eq!(
                address(&config, "::1", &headers),
                known(expected),
                "{element}"
            );
        }
    }
}

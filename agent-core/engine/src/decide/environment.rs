//! What AM is told of a request beside its URL, so that conditions of policies may look at it; and the
//! name of the question that all of it makes (rule S7).

use alloc::{
    string::{String, ToString},
    vec,
    vec::Vec,
};
use core::net::IpAddr;

use arrayvec::ArrayVec;

use super::{
    Cx,
    client::{MAX_NAME, client_address, client_host_name},
    policy::Place,
};
use crate::{
    config::Question,
    contract::{Environment, PolicyKey, SessionKey},
    token::cookie,
};

/// Longest value of a cookie or header that is sent, in bytes. What is longer is left out, as a client
/// may leave it out itself.
const MAX_VALUE: usize = 1024;
/// Stands between the lines of one header, wherever the host keeps them apart (RFC 9110 section 5.3).
const SEPARATOR: &str = ", ";

/// What conditions may look at (protocol reference 6.1). Of a client whose address is unknown AM
/// learns none: the address of a proxy would meet conditions that are meant for its network.
pub(super) struct Sent<'c> {
    address: Option<IpAddr>,
    name: Option<&'c str>,
}

impl<'c> Sent<'c> {
    pub(super) fn of(cx: &Cx<'c, '_>) -> Sent<'c> {
        let config = &cx.snap.config;
        Sent {
            address: client_address(cx.req, config).known(),
            name: client_host_name(cx.req, config),
        }
    }

    /// Rule S7: all that is sent is part of the key.
    pub(super) fn key(
        &self,
        cx: &Cx<'_, '_>,
        session: SessionKey,
        place: Place<'_>,
        resource: &str,
    ) -> PolicyKey {
        let snap = cx.snap;
        let of = |client: &[u8]| {
            let question = snap.policy_question(place, session, resource, client);
            match snap.continuous {
                true => with_entries(cx, question),
                false => question.key(),
            }
        };
        match (self.name, self.address) {
            (None, Some(IpAddr::V4(ip))) => of(&ip.octets()),
            (None, Some(IpAddr::V6(ip))) => of(&ip.octets()),
            (None, None) => of(b""),
            (Some(name), address) => {
                // Longer than any address alone, and with a name of its own for "unknown".
                let mut both = ArrayVec::<u8, { 17 + MAX_NAME }>::new();
                let ip = address.map(|ip| match ip {
                    IpAddr::V4(ip) => ip.to_ipv6_mapped().octets(),
                    IpAddr::V6(ip) => ip.octets(),
                });
                both.push(u8::from(ip.is_some()));
                both.extend(ip.unwrap_or_default());
                both.extend(name.bytes().take(MAX_NAME));
                of(&both)
            }
        }
    }

    /// What goes to AM.
    pub(super) fn environment(&self, cx: &Cx<'_, '_>) -> Environment {
        let config = &cx.snap.config;
        let address = self.address.map(|ip| ("requestIp", ip.to_string()));
        let name = self.name.map(|name| ("requestDnsName", name.to_string()));
        let cookies = config
            .continuous_cookies
            .iter()
            .filter_map(|(name, entry)| {
                let value = cookie(cx, name).and_then(text)?;
                Some((entry.as_str(), value.to_string()))
            });
        let headers = config
            .continuous_headers
            .iter()
            .filter_map(|(name, entry)| {
                let lines: Vec<&str> = header(cx, name).filter_map(text).collect();
                (!lines.is_empty()).then(|| (entry.as_str(), lines.join(SEPARATOR)))
            });
        let entries = address
            .into_iter()
            .chain(name)
            .chain(cookies)
            .chain(headers);
        entries.map(|(k, v)| (String::from(k), vec![v])).collect()
    }
}

/// The question with cookies and headers in it; on its own to keep the plain path short.
#[inline(never)]
fn with_entries(cx: &Cx<'_, '_>, mut question: Question) -> PolicyKey {
    let config = &cx.snap.config;
    for (name, _) in &config.continuous_cookies {
        question.entry(cookie(cx, name).into_iter());
    }
    for (name, _) in &config.continuous_headers {
        question.entry(header(cx, name));
    }
    question.key()
}

/// The value of a cookie; two different ones are none.
fn cookie<'c>(cx: &Cx<'c, '_>, name: &str) -> Option<&'c [u8]> {
    match cookie::only(cx.req.values(b"cookie"), name.as_bytes()) {
        cookie::One::One(value) => fits([value].into_iter()).then_some(value),
        cookie::One::None | cookie::One::Conflicting => None,
    }
}

/// The lines of a header, all of them or none.
fn header<'c>(cx: &Cx<'c, '_>, name: &str) -> impl Iterator<Item = &'c [u8]> + Clone {
    let name = name.as_bytes();
    let lines = cx.req.headers.iter();
    let lines = lines.filter(move |h| h.name.eq_ignore_ascii_case(name));
    let lines = lines.map(|h| h.value);
    let count = if fits(lines.clone()) { usize::MAX } else { 0 };
    lines.take(count)
}

/// Whether these lines together are one value to be sent: text, and not too long.
fn fits<'v>(lines: impl Iterator<Item = &'v [u8]>) -> bool {
    let mut length = 0;
    for line in lines {
        length += line.len() + SEPARATOR.len();
        if length > MAX_VALUE + SEPARATOR.len() || text(line).is_none() {
            return false;
        }
    }
    true
}

fn text(value: &[u8]) -> Option<&str> {
    let text = core::str::from_utf8(value).ok()?;
    (!text.chars().any(char::is_control)).then_some(text)
}

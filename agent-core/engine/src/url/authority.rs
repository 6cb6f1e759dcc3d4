//! Host and port: the one spelling of a host name, and whether it is one. Knows no list of hosts.

use core::{fmt::Write, net::Ipv6Addr};

use arrayvec::ArrayString;
use memchr::memchr;

use super::escape::{LABEL, is};

/// Longest host name in bytes (RFC 1035 2.3.4, as text).
pub(super) const MAX_HOST: usize = 253;

/// What is wrong with an authority.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Bad {
    Host,
    Port,
    UserInfo,
}

/// Appends the host of `host[:port]` to `out`, in lower case and without a final dot, an IPv6
/// address in its shortest form; returns the port, if one is given.
pub(super) fn push_host<const N: usize>(
    out: &mut ArrayString<N>,
    authority: &[u8],
) -> Result<Option<u16>, Bad> {
    if memchr(b'@', authority).is_some() {
        return Err(Bad::UserInfo);
    }
    if let [b'[', rest @ ..] = authority {
        let end = memchr(b']', rest).ok_or(Bad::Host)?;
        let address = core::str::from_utf8(&rest[..end]).map_err(|_| Bad::Host)?;
        let address: Ipv6Addr = address.parse().map_err(|_| Bad::Host)?;
        write!(out, "[{address}]").map_err(|_| Bad::Host)?;
        return port(&rest[end + 1..]);
    }
    let (name, rest) = authority.split_at(memchr(b':', authority).unwrap_or(authority.len()));
    push_name(out, name.strip_suffix(b".").unwrap_or(name))?;
    port(rest)
}

/// A name is labels of letters, digits, `-` and `_`, none of them empty.
fn push_name<const N: usize>(out: &mut ArrayString<N>, name: &[u8]) -> Result<(), Bad> {
    if name.len() > MAX_HOST {
        return Err(Bad::Host);
    }
    let start = out.len();
    let mut previous = b'.';
    for &b in name {
        if !is(b, LABEL) && (b != b'.' || previous == b'.') {
            return Err(Bad::Host);
        }
        previous = b;
    }
    if previous == b'.' {
        return Err(Bad::Host); // empty, or an empty last label
    }
    let name = core::str::from_utf8(name).map_err(|_| Bad::Host)?;
    out.try_push_str(name).map_err(|_| Bad::Host)?;
    out[start..].make_ascii_lowercase();
    Ok(())
}

/// The port behind a host: nothing, or `:` with 1 to 65535.
fn port(text: &[u8]) -> Result<Option<u16>, Bad> {
    let digits = match text {
        [] => return Ok(None),
        [b':', digits @ ..] => digits,
        _ => return Err(Bad::Host),
    };
    if digits.is_empty() || digits.len() > 5 || !digits.iter().all(u8::is_ascii_digit) {
        return Err(Bad::Port);
    }
    let value = digits
        .iter()
        .fold(0u32, |n, d| n * 10 + u32::from(d - b'0'));
    u16::try_from(value)
        .ok()
        .filter(|p| *p != 0)
        .map(Some)
        .ok_or(Bad::Port)
}

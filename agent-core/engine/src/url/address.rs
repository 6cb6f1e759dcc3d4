//! Is this address one of those that are written down? Single addresses, networks, ranges and
//! wildcards of both families.
//!
//! Knows nothing of where an address comes from. An IPv4 address that is written as an IPv6 one
//! (`::ffff:192.0.2.1`) is the IPv4 address.

use alloc::vec::Vec;
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Why a text names no addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AddressError {
    /// Not an IPv4 or IPv6 address.
    #[error("it is no IP address")]
    Address,
    /// The number behind `/` is none, or too large for the family.
    #[error("the network has no valid length")]
    Prefix,
    /// The ends of a range are of different families, or in the wrong order.
    #[error("the range does not go from a lower to a higher address of one family")]
    Range,
    /// A `*` stands before a number, or together with `::`.
    #[error("* can only stand for the last parts of an address")]
    Wildcard,
}

/// A set of addresses. Looking one up costs a binary search, however many there are.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AddressSet {
    v4: Vec<(u32, u32)>,
    v6: Vec<(u128, u128)>,
}

impl AddressSet {
    /// The set of all these texts; see [`AddressSet::add`]. The first error comes with its text.
    pub fn new<'t>(
        texts: impl IntoIterator<Item = &'t str>,
    ) -> Result<AddressSet, (&'t str, AddressError)> {
        let mut set = AddressSet::default();
        for text in texts {
            set.add(text).map_err(|error| (text, error))?;
        }
        Ok(set)
    }

    /// Adds one of: `192.0.2.1`, `192.0.2.0/24`, `192.0.2.1-192.0.2.9`, `192.0.2.*`, the same with
    /// IPv6 addresses (`2001:db8:*`), or `*` for every address of both families.
    pub fn add(&mut self, text: &str) -> Result<(), AddressError> {
        if text == "*" {
            insert(&mut self.v4, 0, u32::MAX);
            insert(&mut self.v6, 0, u128::MAX);
            return Ok(());
        }
        let (low, high) = ends(text)?;
        match (low.to_canonical(), high.to_canonical()) {
            (IpAddr::V4(low), IpAddr::V4(high)) if low <= high => {
                insert(&mut self.v4, low.to_bits(), high.to_bits());
            }
            _ => match (low, high) {
                (IpAddr::V6(low), IpAddr::V6(high)) if low <= high => {
                    insert(&mut self.v6, low.to_bits(), high.to_bits());
                }
                _ => return Err(AddressError::Range),
            },
        }
        Ok(())
    }

    /// Adds everything that is in another set.
    pub fn extend(&mut self, other: &AddressSet) {
        for (low, high) in &other.v4 {
            insert(&mut self.v4, *low, *high);
        }
        for (low, high) in &other.v6 {
            insert(&mut self.v6, *low, *high);
        }
    }

    /// Whether the address is in the set.
    pub fn contains(&self, address: IpAddr) -> bool {
        match address.to_canonical() {
            IpAddr::V4(address) => holds(&self.v4, address.to_bits()),
            IpAddr::V6(address) => holds(&self.v6, address.to_bits()),
        }
    }

    /// Whether no address is in it.
    pub fn is_empty(&self) -> bool {
        self.v4.is_empty() && self.v6.is_empty()
    }

    /// Whether every address of a family is in it: as wide as a rule can be.
    pub fn is_everything(&self) -> bool {
        holds_all(&self.v4, u32::MAX) || holds_all(&self.v6, u128::MAX)
    }
}

/// The first and the last address that a text means.
fn ends(text: &str) -> Result<(IpAddr, IpAddr), AddressError> {
    if let Some((low, high)) = text.split_once('-') {
        return Ok((address(low.trim_ascii())?, address(high.trim_ascii())?));
    }
    if let Some((base, length)) = text.split_once('/') {
        return network(address(base)?, length);
    }
    if text.contains('*') {
        return wildcard(text);
    }
    let one = address(text)?;
    Ok((one, one))
}

fn address(text: &str) -> Result<IpAddr, AddressError> {
    text.parse().map_err(|_| AddressError::Address)
}

/// All addresses whose first `length` bits are those of `base`; its other bits do not matter.
fn network(base: IpAddr, length: &str) -> Result<(IpAddr, IpAddr), AddressError> {
    let digits =
        !length.is_empty() && length.len() <= 3 && length.bytes().all(|b| b.is_ascii_digit());
    let length: u32 = length
        .parse()
        .ok()
        .filter(|_| digits)
        .ok_or(AddressError::Prefix)?;
    match base {
        IpAddr::V4(base) if length <= 32 => {
            let rest = u32::MAX.checked_shr(length).unwrap_or(0);
            Ok(v4(base.to_bits() & !rest, base.to_bits() | rest))
        }
        IpAddr::V6(base) if length <= 128 => {
            let rest = u128::MAX.checked_shr(length).unwrap_or(0);
            Ok(v6(base.to_bits() & !rest, base.to_bits() | rest))
        }
        _ => Err(AddressError::Prefix),
    }
}

/// `192.0.2.*` and `2001:db8:*`: the parts before the first `*` are fixed, all behind it are free.
fn wildcard(text: &str) -> Result<(IpAddr, IpAddr), AddressError> {
    let colons = text.contains(':');
    let (separator, most, bits) = if colons { (':', 8, 16) } else { ('.', 4, 8) };
    let (mut fixed, mut count) = (0u128, 0);
    let mut parts = text.split(separator);
    for part in parts.by_ref() {
        if part == "*" {
            break;
        }
        if part.contains('*') || (colons && part.is_empty()) {
            return Err(AddressError::Wildcard);
        }
        fixed = fixed << bits | number(part, colons).ok_or(AddressError::Address)?;
        count += 1;
    }
    let behind = parts.try_fold(0, |n, part| (part == "*").then_some(n + 1));
    let behind: u32 = behind.ok_or(AddressError::Wildcard)?;
    if count + 1 + behind > most {
        return Err(AddressError::Address);
    }
    let free = (most - count) * bits;
    let low = fixed.checked_shl(free).unwrap_or(0);
    let rest = u128::MAX.checked_shr(128 - free).unwrap_or(0);
    match colons {
        true => Ok(v6(low, low | rest)),
        false => Ok(v4(low as u32, (low | rest) as u32)),
    }
}

/// One part of an address: decimal without a leading zero, or up to four hexadecimal digits.
fn number(part: &str, hex: bool) -> Option<u128> {
    if hex {
        let good = part.len() <= 4 && part.bytes().all(|b| b.is_ascii_hexdigit());
        return good.then(|| u128::from_str_radix(part, 16).ok())?;
    }
    let good = (part == "0" || !part.starts_with('0')) && part.bytes().all(|b| b.is_ascii_digit());
    good.then(|| part.parse::<u8>().ok().map(u128::from))?
}

fn v4(low: u32, high: u32) -> (IpAddr, IpAddr) {
    (
        Ipv4Addr::from_bits(low).into(),
        Ipv4Addr::from_bits(high).into(),
    )
}

fn v6(low: u128, high: u128) -> (IpAddr, IpAddr) {
    (
        Ipv6Addr::from_bits(low).into(),
        Ipv6Addr::from_bits(high).into(),
    )
}

/// Keeps the ranges sorted and apart from each other.
fn insert<T: Ord + Copy>(ranges: &mut Vec<(T, T)>, mut low: T, mut high: T) {
    let start = ranges.partition_point(|range| range.1 < low);
    let end = ranges.partition_point(|range| range.0 <= high);
    if let Some((first, last)) = ranges
        .get(start..end)
        .and_then(|r| Some((r.first()?, r.last()?)))
    {
        low = low.min(first.0);
        high = high.max(last.1);
    }
    ranges.splice(start..end, [(low, high)]);
}

fn holds<T: Ord + Copy>(ranges: &[(T, T)], address: T) -> bool {
    let at = ranges.partition_point(|range| range.1 < address);
    ranges.get(at).is_some_and(|range| range.0 <= address)
}

fn holds_all<T: Ord + Copy + Default>(ranges: &[(T, T)], most: T) -> bool {
    matches!(ranges, [only] if *only == (T::default(), most))
}

#[cfg(test)]
mod tests {
    use std::{format, string::String};

    use proptest::prelude::*;

    use super::*;

    fn set(texts: &[&str]) -> AddressSet {
        AddressSet::new(texts.iter().copied()).unwrap()
    }

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn addresses_in_all_forms() {
        for (text, inside, outside) in [
            (
                "192.0.2.1",
                &["192.0.2.1", "::ffff:192.0.2.1"][..],
                &["192.0.2.2", "::1"][..],
            ),
            (
                "192.0.2.77/24",
                &["192.0.2.0", "192.0.2.255"],
                &["192.0.1.255", "192.0.3.0"],
            ),
            (
                "0.0.0.0/0",
                &["0.0.0.0", "255.255.255.255"],
                &["::", "2001:db8::1"],
            ),
            ("192.0.2.1/32", &["192.0.2.1"], &["192.0.2.0"]),
            (
                "192.0.2.9-192.0.3.4",
                &["192.0.2.9", "192.0.3.4"],
                &["192.0.2.8", "192.0.3.5"],
            ),
            ("192.0.2.1 - 192.0.2.1", &["192.0.2.1"], &["192.0.2.2"]),
            ("192.0.2.*", &["192.0.2.0", "192.0.2.255"], &["192.0.3.0"]),
            ("10.*", &["10.0.0.0", "10.255.255.255"], &["11.0.0.0"]),
            ("10.1.*.*", &["10.1.0.0", "10.1.255.255"], &["10.2.0.0"]),
            (
                "2001:db8::1",
                &["2001:DB8:0::1"],
                &["2001:db8::2", "0.0.0.1"],
            ),
            (
                "2001:db8::/32",
                &["2001:db8:ffff::1"],
                &["2001:db9::", "32.1.13.184"],
            ),
            (
                "::/0",
                &["::", "ffff::1"],
                &["192.0.2.1", "::ffff:192.0.2.1"],
            ),
            ("::1/128", &["::1"], &["::2"]),
            (
                "2001:db8::5-2001:db8::9",
                &["2001:db8::5", "2001:db8::9"],
                &["2001:db8::a"],
            ),
            (
                "2001:db8:*",
                &["2001:db8::", "2001:db8:ffff::1"],
                &["2001:db9::"],
            ),
            (
                "2001:db8:*:*:*:*:*:*",
                &["2001:db8:1::1"],
                &["2001:db7:ffff::"],
            ),
            (
                "::ffff:192.0.2.0/120",
                &["192.0.2.7"],
                &["192.0.3.7", "::192.0.2.7"],
            ),
            ("*", &["192.0.2.1", "::1"], &[]),
        ] {
            let set = set(&[text]);
            for address in inside {
                assert!(set.contains(ip(address)), "{address} in {text}");
            }
            for address in outside {
                assert!(!set.contains(ip(address)), "{address} not in {text}");
            }
        }
        assert!(set(&[]).is_empty() && !set(&[]).contains(ip("::")));
        assert!(set(&["0.0.0.0/1", "128.0.0.0/1", "0.0.0.0/0"]).is_everything());
        assert!(set(&["*"]).is_everything() && !set(&["10.*"]).is_everything());
    }

    #[test]
    fn what_is_no_address_is_refused() {
        for (text, error) in [
            ("", AddressError::Address),
            ("www.example.com", AddressError::Address),
            ("192.0.2", AddressError::Address),
            ("192.0.2.256", AddressError::Address),
            ("192.0.02.1", AddressError::Address),
            ("fe80::1%eth0", AddressError::Address),
            ("[::1]", AddressError::Address),
            ("192.0.2.0/33", AddressError::Prefix),
            ("192.0.2.0/", AddressError::Prefix),
            ("192.0.2.0/+8", AddressError::Prefix),
            ("192.0.2.0/255.255.255.0", AddressError::Prefix),
            ("::/129", AddressError::Prefix),
            ("192.0.2.9-192.0.2.1", AddressError::Range),
            ("192.0.2.1-::1", AddressError::Range),
            ("192.0.2.1-20", AddressError::Address),
            ("*.0.2.1", AddressError::Wildcard),
            ("192.0.2*", AddressError::Wildcard),
            ("192.*.2.*", AddressError::Wildcard),
            ("fe80::*", AddressError::Wildcard),
            ("10.*.*.*.*", AddressError::Address),
            ("1.2.3.4.*", AddressError::Address),
            ("010.*", AddressError::Address),
            ("2001:dbg:*", AddressError::Address),
        ] {
            assert_eq!(AddressSet::new([text]), Err((text, error)));
        }
    }

    fn texts() -> impl Strategy<Value = (String, u32, u32)> {
        let small = 0u32..600;
        prop_oneof![
            small
                .clone()
                .prop_map(|a| (format!("{}", Ipv4Addr::from_bits(a)), a, a)),
            (small.clone(), small).prop_map(|(a, b)| {
                let (low, high) = (a.min(b), a.max(b));
                let text = format!("{}-{}", Ipv4Addr::from_bits(low), Ipv4Addr::from_bits(high));
                (text, low, high)
            }),
            (0u32..600, 23u32..=32).prop_map(|(a, length)| {
                let rest = u32::MAX.checked_shr(length).unwrap_or(0);
                (
                    format!("{}/{length}", Ipv4Addr::from_bits(a)),
                    a & !rest,
                    a | rest,
                )
            }),
        ]
    }

    proptest! {
        /// However many there are and however they overlap, each address is judged as if the
        /// entries were looked at one by one.
        #[test]
        fn a_set_is_the_union_of_its_entries(entries in prop::collection::vec(texts(), 0..12)) {
            let set = AddressSet::new(entries.iter().map(|(text, ..)| text.as_str())).unwrap();
            for address in 0..700u32 {
                let expected = entries.iter().any(|(_, low, high)| (*low..=*high).contains(&address));
                prop_assert_eq!(set.contains(Ipv4Addr::from_bits(address).into()), expected);
            }
        }
    }
}

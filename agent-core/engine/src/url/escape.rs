//! Which bytes may stand in a path or a query as they are, and how the others are written.
//!
//! One table for requests and for rules, so that both end up in the same spelling. Decides nothing
//! about whether a URL is acceptable.

/// May stand in a path segment (RFC 3986 3.3, `pchar` without `%`).
pub(super) const PCHAR: u8 = 1;
/// Never needs an escape anywhere (RFC 3986 2.3).
pub(super) const UNRESERVED: u8 = 2;
/// May stand in a query (RFC 3986 3.4).
pub(super) const QUERY: u8 = 4;
/// A segment byte that means nothing special to the path: no dot, no parameter.
pub(super) const PLAIN: u8 = 8;
/// May stand in a label of a host name; `_` because such hosts exist.
pub(super) const LABEL: u8 = 16;

static CLASS: [u8; 256] = classes();

const fn classes() -> [u8; 256] {
    let mut table = [0u8; 256];
    let mut i = 0;
    while i < 256 {
        let b = i as u8;
        let unreserved = b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_' | b'~');
        let sub_delim = matches!(
            b,
            b'!' | b'$' | b'&' | b'\'' | b'(' | b')' | b'*' | b'+' | b',' | b';' | b'='
        );
        if unreserved {
            table[i] |= UNRESERVED;
        }
        if unreserved || sub_delim || matches!(b, b':' | b'@') {
            table[i] |= PCHAR | QUERY;
            if b != b'.' && b != b';' {
                table[i] |= PLAIN;
            }
        }
        if b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_') {
            table[i] |= LABEL;
        }
        if matches!(b, b'/' | b'?') {
            table[i] |= QUERY;
        }
        i += 1;
    }
    table
}

/// Whether `b` is in one of the classes.
#[inline]
pub(super) fn is(b: u8, class: u8) -> bool {
    CLASS[b as usize] & class != 0
}

/// The byte that the escape at the start of `text` stands for; `text` begins behind the `%`.
pub(super) fn escaped(text: &[u8]) -> Option<u8> {
    Some(hex(*text.first()?)? << 4 | hex(*text.get(1)?)?)
}

fn hex(digit: u8) -> Option<u8> {
    (digit as char).to_digit(16).map(|d| d as u8)
}

/// An escape in the one spelling we use: upper-case digits.
pub(super) fn escape(b: u8) -> [u8; 3] {
    const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
    [
        b'%',
        DIGITS[usize::from(b >> 4)],
        DIGITS[usize::from(b & 15)],
    ]
}

//! Which id joins a request's lines here with AM's? `X-ForgeRock-TransactionId`, sent with every call to AM.
//!
//! A client could make another's trail its own: an id from outside counts only from a trusted proxy. The
//! trace of a caller (W3C Trace Context, `traceparent`) is passed on beside it and stands for nothing here.

use std::{
    cell::Cell,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use portcullis_engine::{
    config::Snapshot,
    contract::{Facts, RequestView},
    decide::transaction_id,
};
use rand_core::TryRngCore;

/// The header that carries it.
pub(crate) const HEADER: &str = "x-forgerock-transactionid";
/// The header that carries a trace.
pub(crate) const TRACEPARENT: &str = "traceparent";
/// Longest id that is taken from a proxy.
const MAX_ID: usize = 128;

tokio::task_local! {
    /// The request that a task works for.
    static CURRENT: Transaction;
}

/// What joins the lines of one request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Ids {
    /// The transaction's.
    pub(crate) id: Arc<str>,
    trace: Trace,
}

/// The trace that a request belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Trace {
    id: u128,
    flags: u8,
}

/// Ids, and how many calls were made under them.
pub(crate) struct Transaction {
    ids: Ids,
    calls: Cell<u64>,
}

/// The ids of a request. Whoever brings no trace begins one, with the digits of our own id.
pub(crate) fn ids(req: &RequestView<'_>, snap: Option<&Snapshot>, facts: &dyn Facts) -> Ids {
    let own = Trace {
        id: u128::from_be_bytes(versioned(transaction_id(facts))),
        flags: 0,
    };
    Ids {
        id: of(req, snap, facts).into(),
        trace: brought(req).unwrap_or(own),
    }
}

/// The id of the trace that a request brings, as it stands in our lines.
pub(crate) fn trace_id(req: &RequestView<'_>) -> Option<String> {
    brought(req).map(|trace| format!("{:032x}", trace.id))
}

fn brought(req: &RequestView<'_>) -> Option<Trace> {
    let mut sent = req.values(TRACEPARENT.as_bytes());
    match (sent.next(), sent.next()) {
        (Some(value), None) => Trace::read(value),
        _ => None,
    }
}

impl Trace {
    /// Reads `traceparent` (W3C Trace Context 3.2.2); of later versions what this one has.
    fn read(value: &[u8]) -> Option<Trace> {
        let text = std::str::from_utf8(value).ok()?;
        let (head, rest) = text.split_at_checked(55)?;
        let mut parts = head.split('-');
        let mut next = |digits: usize| {
            let part = parts.next()?;
            let lower = |b: u8| matches!(b, b'0'..=b'9' | b'a'..=b'f');
            let hex = part.len() == digits && part.bytes().all(lower);
            hex.then(|| u128::from_str_radix(part, 16).ok()).flatten()
        };
        let (version, id, parent, flags) = (next(2)?, next(32)?, next(16)?, next(2)?);
        let ends = match version {
            0 => rest.is_empty(),
            0xff => false,
            _ => rest.is_empty() || rest.starts_with('-'),
        };
        (ends && id != 0 && parent != 0).then_some(Trace {
            id,
            // Whether it is sampled; nothing else is known of version 00.
            flags: (flags & 1) as u8,
        })
    }

    /// The header's value for one call, which is a span of its own.
    fn child(self) -> String {
        let mut span = [0; 8];
        let _ = rand_core::OsRng.try_fill_bytes(&mut span);
        let span = u64::from_be_bytes(span).max(1);
        format!("00-{:032x}-{span:016x}-{:02x}", self.id, self.flags)
    }
}

/// `traceparent` of the next call: of the request's trace, or of one of its own.
pub(crate) fn next_traceparent() -> String {
    let of_request = CURRENT.try_with(|current| current.ids.trace);
    let trace = of_request.unwrap_or_else(|_| {
        let mut id = [0; 16];
        let _ = rand_core::OsRng.try_fill_bytes(&mut id);
        let id = u128::from_be_bytes(id).max(1);
        Trace { id, flags: 0 }
    });
    trace.child()
}

/// The id of a request: a trusted proxy's, else one of our own.
pub(crate) fn of(req: &RequestView<'_>, snap: Option<&Snapshot>, facts: &dyn Facts) -> String {
    let mut sent = req.values(HEADER.as_bytes());
    let trusted = snap.is_some_and(|snap| snap.config.trusted_proxies.contains(req.peer));
    match (sent.next(), sent.next()) {
        (Some(id), None) if trusted && is_plain(id) => String::from_utf8_lossy(id).into_owned(),
        _ => uuid(transaction_id(facts)),
    }
}

/// What may stand in a log line and in a header without being mistaken for something else.
fn is_plain(id: &[u8]) -> bool {
    let plain = |b: &u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.' | b'/');
    !id.is_empty() && id.len() <= MAX_ID && id.iter().all(plain)
}

/// 16 random bytes as a UUID of version 4 (RFC 9562 5.4).
fn uuid(bytes: [u8; 16]) -> String {
    let bytes = versioned(bytes);
    let digits: String = bytes.iter().map(|b| format!("{b:02x}")).collect();
    let (a, b, c, d, e) = (
        &digits[..8],
        &digits[8..12],
        &digits[12..16],
        &digits[16..20],
        &digits[20..],
    );
    format!("{a}-{b}-{c}-{d}-{e}")
}

fn versioned(mut bytes: [u8; 16]) -> [u8; 16] {
    bytes[6] = bytes[6] & 0x0f | 0x40;
    bytes[8] = bytes[8] & 0x3f | 0x80;
    bytes
}

/// Runs work under the ids of the request it is for.
pub(crate) async fn under<T>(ids: Ids, work: impl Future<Output = T>) -> T {
    let transaction = Transaction {
        ids,
        calls: Cell::new(0),
    };
    CURRENT.scope(transaction, work).await
}

/// The header's value for the next call: that of the request, or one of the agent's own.
pub(crate) fn next() -> String {
    static CALLS: AtomicU64 = AtomicU64::new(0);
    thread_local!(static OWN: String = own());
    let numbered = CURRENT.try_with(|current| {
        let call = current.calls.get();
        current.calls.set(call + 1);
        format!("{}/{call}", current.ids.id)
    });
    numbered.unwrap_or_else(|_| {
        let call = CALLS.fetch_add(1, Ordering::Relaxed);
        OWN.with(|own| format!("{own}/{call}"))
    })
}

/// The id of what the agent asks for itself; without random bytes it is the same for all.
fn own() -> String {
    let mut bytes = [0; 16];
    let _ = rand_core::OsRng.try_fill_bytes(&mut bytes);
    uuid(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_from_outside_is_plain_or_not_taken() {
        for good in ["a", "0f3c9d1e-7a52-4b18-9c63-5d2e8f4a1b70/0", "x_1.y"] {
            assert!(is_plain(good.as_bytes()), "{good}");
        }
        let long = "x".repeat(MAX_ID + 1);
        for bad in ["", " a", "a\r\nX: y", "a b", "\u{f6}", long.as_str()] {
            assert!(!is_plain(bad.as_bytes()), "{bad:?}");
        }
    }

    #[test]
    fn a_trace_is_read_as_w3c_says_or_not_at_all() {
        let good = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
        let id = 0x4bf9_2f35_77b3_4da6_a3ce_929d_0e0e_4736;
        let read = |text: &str| Trace::read(text.as_bytes());
        assert_eq!(read(good), Some(Trace { id, flags: 1 }));
        assert_eq!(
            read(&good.replace("-01", "-fe")),
            Some(Trace { id, flags: 0 })
        );
        // A later version may have more behind it.
        let later = good.replacen("00", "cc", 1);
        for more in ["", "-", "-what-the-future-brings"] {
            assert!(read(&format!("{later}{more}")).is_some(), "{more}");
        }
        for bad in [
            "",
            "00",
            &good.to_uppercase(),
            &good.replacen("00", "ff", 1),
            &format!("{good}-"),
            &format!("{good} "),
            &format!("{later}."),
            &good.replace("00f067aa0ba902b7", "0000000000000000"),
            &good.replace("4bf92f3577b34da6a3ce929d0e0e4736", &"0".repeat(32)),
            &good.replace('-', "_"),
            &good.replace("4bf9", "+bf9"),
            "00-4bf92f3577b34da6a3ce929d0e0e47360-0f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e473\u{f6}-00f067aa0ba902b7-01",
        ] {
            assert_eq!(read(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn an_id_of_our_own_is_a_uuid() {
        assert_eq!(uuid([0xff; 16]), "ffffffff-ffff-4fff-bfff-ffffffffffff");
        assert_eq!(uuid([0; 16]), "00000000-0000-4000-8000-000000000000");
    }

    #[tokio::test]
    async fn calls_of_a_request_are_numbered_under_its_id() {
        let trace = Trace { id: 7, flags: 1 };
        let id = "abc".into();
        let ids = Ids { id, trace };
        let (numbered, traced) = under(ids, async {
            ([next(), next()], [next_traceparent(), next_traceparent()])
        })
        .await;
        assert_eq!(numbered, ["abc/0", "abc/1"]);
        assert_ne!(traced[0], traced[1], "each call is a span of its own");
        for header in traced {
            assert_eq!(Trace::read(header.as_bytes()), Some(trace), "{header}");
        }
        assert!(Trace::read(next_traceparent().as_bytes()).is_some());
        let (one, two) = (next(), next());
        assert_ne!(one, two);
        assert_eq!(one.split('/').next(), two.split('/').next());
    }
}

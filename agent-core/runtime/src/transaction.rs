//! Which id joins a request's lines here with AM's? `X-ForgeRock-TransactionId`, sent with every call to AM.
//!
//! A client could make another's trail its own: an id from outside counts only from a trusted proxy.

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
/// Longest id that is taken from a proxy.
const MAX_ID: usize = 128;

tokio::task_local! {
    /// The request that a task works for.
    static CURRENT: Transaction;
}

/// An id, and how many calls were made under it.
pub(crate) struct Transaction {
    id: Arc<str>,
    calls: Cell<u64>,
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
fn uuid(mut bytes: [u8; 16]) -> String {
    bytes[6] = bytes[6] & 0x0f | 0x40;
    bytes[8] = bytes[8] & 0x3f | 0x80;
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

/// Runs work under the id of the request it is for.
pub(crate) async fn under<T>(id: Arc<str>, work: impl Future<Output = T>) -> T {
    let transaction = Transaction {
        id,
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
        format!("{}/{call}", current.id)
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
    fn an_id_of_our_own_is_a_uuid() {
        assert_eq!(uuid([0xff; 16]), "ffffffff-ffff-4fff-bfff-ffffffffffff");
        assert_eq!(uuid([0; 16]), "00000000-0000-4000-8000-000000000000");
    }

    #[tokio::test]
    async fn calls_of_a_request_are_numbered_under_its_id() {
        let numbered = under("abc".into(), async { [next(), next()] }).await;
        assert_eq!(numbered, ["abc/0", "abc/1"]);
        let (one, two) = (next(), next());
        assert_ne!(one, two);
        assert_eq!(one.split('/').next(), two.split('/').next());
    }
}

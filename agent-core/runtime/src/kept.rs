//! Keeps POSTs and takes them out of the store, as a decision asks for.
//!
//! On the host's own thread, which writes and reads files of this size itself. What may be kept, and who
//! gets it, the engine has decided.

use portcullis_engine::{
    config::Snapshot,
    contract::{Act, Cause, FactError, Need, Receipt},
    decide::replayed_headers,
    event::Code,
};

use crate::{
    agent::Instance,
    lines::Line,
    memo::{Memo, Post},
    posts::{self, Caps, Entry, Spool},
    worker::Worker,
};

/// What was done about a need that concerns kept POSTs.
pub(crate) enum Handled {
    /// It does not.
    Not,
    /// It was carried out, or failed.
    Receipt,
    /// The body goes there.
    Spool(Box<Spool>),
}

/// Carries a need out if it concerns kept POSTs. `now` is the request's wall clock.
pub(crate) fn handle(
    need: &Need,
    snap: &Snapshot,
    memo: &Memo,
    (instance, worker): (&Instance, &Worker),
    now: u64,
) -> Handled {
    let Need::Do(act) = need else {
        return Handled::Not;
    };
    let path = instance.posts(&snap.config);
    let entry = |name: u128| Entry {
        key: &snap.keys.post_store,
        instance: &snap.identity,
        name,
    };
    let receipt = match act {
        Act::StorePost {
            key,
            client,
            head,
            limit,
            expires,
        } => {
            let caps = Caps::of(&snap.config);
            let place = (*client, *expires);
            match Spool::begin(&path, entry(*key), place, head, *limit, caps, now) {
                Ok(Ok(spool)) => return Handled::Spool(Box::new(spool)),
                Ok(Err(receipt)) => Ok(receipt),
                Err(trouble) => Err(trouble),
            }
        }
        Act::TakePost { key } => posts::take(&path, entry(*key), now).and_then(|taken| {
            let Some(taken) = taken else {
                return Ok(Receipt::Gone);
            };
            let length = taken.body.len() as u64;
            let headers = replayed_headers(&taken.head, length);
            let headers = headers.ok_or_else(|| "what was kept makes no sense".to_owned())?;
            memo.give_post(Post {
                headers,
                body: taken.body,
            });
            Ok(Receipt::Done)
        }),
        Act::SpendState { .. } | Act::EndSession { .. } | Act::Count { .. } => {
            return Handled::Not;
        }
    };
    let receipt = receipt.map_err(|trouble| {
        let line = Line::log(Code::PostDirectory, trouble);
        worker.write(instance.index(), line);
        FactError::Unavailable(Cause::Files)
    });
    memo.give_receipt(act.clone(), receipt);
    Handled::Receipt
}

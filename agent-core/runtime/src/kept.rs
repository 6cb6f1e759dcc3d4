//! Keeps POSTs and takes them out of the store, as a decision asks for.
//!
//! On the host's own thread, which writes and reads files of this size itself. What may be kept, and who
//! gets it, the engine has decided.

use std::path::Path;

use portcullis_engine::{
    config::{Keys, Snapshot},
    contract::{Act, Cause, FactError, Need, Receipt},
    decide::replayed_headers,
    event::Code,
    token::pieces::PieceKey,
};

use crate::{
    agent::Instance,
    lines::Line,
    memo::{Memo, Post},
    posts::{self, Caps, Entry, Spool, Taken},
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
    let keys = &snap.keys;
    let with = |key, name: u128| Entry {
        key,
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
            match Spool::begin(
                &path,
                with(&keys.post_store, *key),
                place,
                head,
                *limit,
                caps,
                now,
            ) {
                Ok(Ok(spool)) => return Handled::Spool(Box::new(spool)),
                Ok(Err(receipt)) => Ok(receipt),
                Err(trouble) => Err(trouble),
            }
        }
        Act::TakePost { key } => take(&path, keys, |of| with(of, *key), now).and_then(|taken| {
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

/// Takes an entry that the key sealed, or the one of before a rotation.
fn take<'k>(
    path: &Path,
    keys: &'k Keys,
    entry: impl Fn(&'k PieceKey) -> Entry<'k>,
    now: u64,
) -> Result<Option<Taken>, String> {
    match (
        posts::take(path, entry(&keys.post_store), now)?,
        &keys.previous_post_store,
    ) {
        (None, Some(previous)) => posts::take(path, entry(previous), now),
        (taken, _) => Ok(taken),
    }
}

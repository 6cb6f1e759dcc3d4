//! What is known about one request: answers given once stay, whatever other workers learn meanwhile.
//!
//! Looks into the shared table without waiting. Its buffers are reused by the next request of the
//! thread, so that a cached allow allocates nothing.

use std::{
    cell::{Cell, OnceCell, RefCell},
    sync::atomic::{AtomicUsize, Ordering},
};

use portcullis_engine::{
    contract::{
        Act, Age, AttributesKey, Cause, CookieKey, FactError, Facts, KeysKey, Known, MonoMillis,
        NodeMark, Now, Opened, PolicyKey, Receipt, SessionKey, UnixMillis,
    },
    decide::ReplayedHeader,
    record::{Attributes, Policy, PublishedKeys, Session},
};
use portcullis_shm::{Ended, InstanceState, Key, Mapping, Stamp, Table, clock};
use rand_core::TryRngCore;
use zeroize::Zeroizing;

use crate::{fetch::Fact, meter, opened};

/// Since when sessions are valid, milliseconds of the shared clock: those learnt before are asked again. A
/// word of the instance that all workers share; it only grows.
pub(crate) const VALID_SINCE: usize = 1;

/// The longest that an answer counts as the same without being looked up, milliseconds.
const LONGEST: u64 = 60_000;

/// Which fact a slot holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Kind {
    /// A session record.
    Session,
    /// A policy record.
    Policy,
    /// A user attributes record.
    Attributes,
    /// A record of AM's keys.
    Keys,
    /// The same, learnt because a key was not in the former.
    NewerKeys,
}

/// A fact that was given.
enum Held {
    Record(Vec<u8>),
    /// Why there is none, and what was known before; that is looked up when somebody asks for it.
    Failed(FactError, OnceCell<Option<Outlived>>),
}

impl Held {
    fn failed(error: FactError) -> Held {
        Held::Failed(error, OnceCell::new())
    }
}

/// An answer whose interval is over.
struct Outlived {
    record: Box<[u8]>,
    age: Age,
}

/// Facts one request can need: two sessions (two cookies), their policies, attributes, AM's keys twice, and
/// spare.
const SLOTS: usize = 8;

#[derive(Default)]
struct Slot {
    name: Cell<Option<(Kind, u128)>>,
    held: OnceCell<Held>,
}

/// A kept request that was taken out of the store, to take the place of this one.
pub(crate) struct Post {
    /// Headers to set, or to take out.
    pub(crate) headers: Vec<ReplayedHeader>,
    /// The body.
    pub(crate) body: Zeroizing<Vec<u8>>,
}

/// The memo of one request.
#[derive(Default)]
pub(crate) struct Memo {
    slots: [Slot; SLOTS],
    form: OnceCell<Result<Vec<u8>, FactError>>,
    receipts: RefCell<Vec<(Act, Result<Receipt, FactError>)>>,
    post: OnceCell<Box<Post>>,
    seed: OnceCell<[u8; 32]>,
    away: OnceCell<bool>,
    counted: Cell<Option<(u128, u32)>>,
    spare: RefCell<Vec<Vec<u8>>>,
    oldest: Cell<u64>,
    /// Whether something that was looked for was not there, or had failed.
    wanting: Cell<bool>,
    /// Until when the facts used are fresh, monotonic, and what cookies say, by the wall clock; 0: no end.
    until: Cell<(u64, u64)>,
    /// Which kinds of facts were in the table ([`meter::bit`]).
    found: Cell<u8>,
    /// Since when the session has been what it is, monotonic milliseconds; `None` while nobody asked.
    since: Cell<Option<u64>>,
}

impl Memo {
    /// Forgets everything but its buffers.
    pub(crate) fn clear(&mut self) {
        let spare = self.spare.get_mut();
        for slot in &mut self.slots {
            slot.name.set(None);
            if let Some(Held::Record(bytes)) = slot.held.take() {
                spare.push(bytes);
            }
        }
        self.form.take();
        self.receipts.get_mut().clear();
        self.post.take();
        self.seed.take();
        self.away.take();
        self.counted.take();
        self.oldest.set(0);
        self.wanting.set(false);
        self.until.set((0, 0));
        self.found.set(0);
        self.since.set(None);
    }

    /// Forgets what was asked, so that it is asked again. What was done stays done, and the request keeps
    /// its seed and its form.
    pub(crate) fn forget_answers(&mut self) {
        for slot in &mut self.slots {
            slot.name.set(None);
            slot.held.take();
        }
        self.since.set(None);
    }

    /// Gives an answer; the first one given stays.
    pub(crate) fn give(&self, kind: Kind, key: u128, answer: Result<Vec<u8>, FactError>) {
        let held = match answer {
            Ok(bytes) => Held::Record(bytes),
            Err(error) => Held::failed(error),
        };
        if kind == Kind::Session {
            self.since.set(None);
        }
        self.hold(kind, key, held);
    }

    /// Gives the form body.
    pub(crate) fn give_form(&self, body: Result<Vec<u8>, FactError>) {
        let _ = self.form.set(body);
    }

    /// Gives the receipt of an act.
    pub(crate) fn give_receipt(&self, act: Act, receipt: Result<Receipt, FactError>) {
        self.receipts.borrow_mut().push((act, receipt));
    }

    /// Gives the request that was taken out of the store.
    pub(crate) fn give_post(&self, post: Post) {
        let _ = self.post.set(Box::new(post));
    }

    /// That request.
    pub(crate) fn post(&self) -> Option<&Post> {
        self.post.get().map(|post| &**post)
    }

    /// Age of the oldest fact used, milliseconds.
    pub(crate) fn oldest(&self) -> u64 {
        self.oldest.get()
    }

    /// Until when the answers that were given would be the same; `None` where anything else was asked for
    /// than facts, or one was not there.
    pub(crate) fn only_facts_until(&self, now: Now) -> Option<Now> {
        let asked = self.form.get().is_some()
            || self.post.get().is_some()
            || self.seed.get().is_some()
            || self.away.get().is_some()
            || self.counted.get().is_some()
            || !self.receipts.borrow().is_empty();
        let (mono, wall) = self.until.get();
        let end = |at: u64, now: u64| at.wrapping_sub(1).min(now + LONGEST) + 1;
        (!asked && !self.wanting.get()).then(|| Now {
            mono: MonoMillis(end(mono, now.mono.0)),
            wall: UnixMillis(end(wall, now.wall.0)),
        })
    }

    /// The session that was asked about, if any was; `None` where several were.
    pub(crate) fn only_session(&self) -> Option<Option<SessionKey>> {
        let named = self.slots.iter().filter_map(|slot| slot.name.get());
        let mut sessions = named.filter(|(kind, _)| *kind == Kind::Session);
        let first = sessions.next().map(|(_, key)| SessionKey(key));
        sessions.next().is_none().then_some(first)
    }

    /// Which kinds of facts were in the table.
    pub(crate) fn found(&self) -> u8 {
        self.found.get()
    }

    fn hold(&self, kind: Kind, key: u128, held: Held) -> Option<&Held> {
        for slot in &self.slots {
            match slot.name.get() {
                Some(name) if name == (kind, key) => return slot.held.get(),
                Some(_) => {}
                None => {
                    slot.name.set(Some((kind, key)));
                    return Some(slot.held.get_or_init(|| held));
                }
            }
        }
        None // more facts than a request can need: the engine asks again, and the round limit ends it
    }

    fn held(&self, kind: Kind, key: u128) -> Option<&Held> {
        let slot = self
            .slots
            .iter()
            .find(|slot| slot.name.get() == Some((kind, key)))?;
        slot.held.get()
    }
}

/// A memo together with what it looks into.
pub(crate) struct View<'m> {
    /// The memo.
    pub(crate) memo: &'m Memo,
    /// The shared mapping.
    pub(crate) mapping: &'m Mapping,
    /// The instance's state in it.
    pub(crate) state: InstanceState<'m>,
    /// The request's time.
    pub(crate) now: Now,
    /// Which AM server answers this worker.
    pub(crate) serving: Option<&'m AtomicUsize>,
    /// Where it is decided.
    pub(crate) node: NodeMark,
}

impl<'m> View<'m> {
    /// The fact of a slot, looked up in the table the first time.
    fn known(&self, kind: Kind, key: u128) -> Option<&'m Held> {
        if let Some(held) = self.memo.held(kind, key) {
            return Some(held);
        }
        if kind == Kind::Session && is_over_at(self.mapping, key, self.now.mono.0) {
            self.memo.wanting.set(true);
            return self.memo.hold(kind, key, Held::failed(FactError::Dead));
        }
        let mut bytes = self.memo.spare.borrow_mut().pop().unwrap_or_default();
        let table: Table<'_> = match kind {
            Kind::Session => self.mapping.sessions(),
            Kind::Policy | Kind::Attributes | Kind::Keys | Kind::NewerKeys => {
                self.mapping.decisions()
            }
        };
        let stamp = table.get(table_key(kind, key), self.now.mono.0, &mut bytes);
        match stamp.filter(|stamp| self.current(kind, stamp)) {
            Some(stamp) => {
                if kind == Kind::Session {
                    self.memo.since.set(Some(stamp.epoch));
                }
                let age = self.now.mono.0.saturating_sub(stamp.stored_at);
                self.memo.oldest.set(self.memo.oldest.get().max(age));
                let (mono, wall) = self.memo.until.get();
                self.memo.until.set((sooner(mono, stamp.expires_at), wall));
                self.memo
                    .found
                    .set(self.memo.found.get() | meter::bit(kind));
                self.memo.hold(kind, key, Held::Record(bytes))
            }
            None => {
                self.memo.wanting.set(true);
                self.memo.spare.borrow_mut().push(bytes);
                None
            }
        }
    }

    /// What is stored of a fact, about this session if about any, and may be used now.
    pub(crate) fn stored(&self, of: Option<SessionKey>, (kind, key): (Kind, u128)) -> Option<Fact> {
        if let Some(session) = of.filter(|_| kind != Kind::Session) {
            self.known(Kind::Session, session.0)?; // since when it has been what it is
        }
        match self.known(kind, key)? {
            Held::Record(bytes) => Some(Ok(bytes.clone())),
            Held::Failed(error, _) => Some(Err(*error)),
        }
    }

    /// Decisions of an earlier policy epoch are not current, nor are sessions of before a gap in what AM
    /// tells (rule S2), nor decisions that are older than a change of the session's properties (rule S6).
    fn current(&self, kind: Kind, stamp: &Stamp) -> bool {
        stamp.expires_at > self.now.mono.0 && self.holds(kind, stamp)
    }

    /// The same without its interval.
    #[inline]
    fn holds(&self, kind: Kind, stamp: &Stamp) -> bool {
        match kind {
            Kind::Session => {
                let since = self.state.spare(VALID_SINCE);
                since.is_some_and(|since| stamp.stored_at > since.load(Ordering::Acquire))
            }
            // They depend on no policy and no session.
            Kind::Keys | Kind::NewerKeys => true,
            Kind::Policy | Kind::Attributes => {
                stamp.epoch == self.state.epoch() && stamp.stored_at >= self.since()
            }
        }
    }

    /// Since when the session that is asked about has been what it is.
    #[inline]
    fn since(&self) -> u64 {
        match self.memo.since.get() {
            Some(since) => since,
            None => self.learn_since(),
        }
    }

    /// Where the session's record came from AM just now: what was stored of it says since when.
    #[cold]
    fn learn_since(&self) -> u64 {
        let mut given = self.memo.slots.iter().filter_map(|slot| slot.name.get());
        let session = given.find(|(kind, _)| *kind == Kind::Session);
        let mut record = Vec::new();
        let stored = session.and_then(|(kind, key)| {
            let table = self.mapping.sessions();
            table.get(table_key(kind, key), self.now.mono.0, &mut record)
        });
        // Nothing stored: nothing older than this request counts.
        let since = stored.map_or(self.now.mono.0, |stamp| stamp.epoch);
        self.memo.since.set(Some(since));
        since
    }

    fn record<T>(
        &self,
        kind: Kind,
        key: u128,
        decode: impl FnOnce(&'m [u8]) -> Option<T>,
    ) -> Known<T> {
        match self.known(kind, key) {
            Some(Held::Failed(error, cell)) => self.failed(kind, key, *error, cell, decode),
            held => read(held, decode),
        }
    }

    #[cold]
    fn failed<T>(
        &self,
        kind: Kind,
        key: u128,
        error: FactError,
        cell: &'m OnceCell<Option<Outlived>>,
        decode: impl FnOnce(&'m [u8]) -> Option<T>,
    ) -> Known<T> {
        let outlived = match error {
            FactError::Unavailable(_) => cell.get_or_init(|| self.outlived(kind, key)).as_ref(),
            FactError::Dead | FactError::NotAllowed => None,
        };
        let outlived = outlived.and_then(|old| Some((decode(&old.record)?, old.age)));
        Known::Failed(error, outlived)
    }

    /// What was known before its interval was over, as far as nothing is known of an end or a change since
    /// then (rule O2). That a session has not ended needs proof (rule S1): nobody can be asked here.
    fn outlived(&self, kind: Kind, key: u128) -> Option<Outlived> {
        let table = match kind {
            Kind::Session => self.mapping.sessions(),
            Kind::Policy | Kind::Attributes => self.mapping.decisions(),
            Kind::Keys | Kind::NewerKeys => return None,
        };
        let now = self.now.mono.0;
        let mut record = Vec::new();
        let stamp = table.get(table_key(kind, key), now, &mut record)?;
        // One that may have changed by a login has no interval.
        let had_interval = stamp.stored_at < stamp.expires_at;
        let unchanged = match kind {
            Kind::Session => {
                let at = clock::boottime_ms();
                self.mapping.ended().look(Key(key), at) == Ended::No
                    && !is_over_at(self.mapping, key, at)
            }
            _ => true,
        };
        let current = had_interval && unchanged && self.holds(kind, &stamp);
        current.then(|| Outlived {
            record: record.into(),
            age: Age {
                total: now.saturating_sub(stamp.stored_at),
                over: now.saturating_sub(stamp.expires_at),
            },
        })
    }
}

/// Whether a session is known to be over by now, whenever the request began.
pub(crate) fn is_over(mapping: &Mapping, SessionKey(key): SessionKey) -> bool {
    is_over_at(mapping, key, clock::boottime_ms())
}

/// Rule S1. "Unknown" is not an answer here: AM is asked, and `fetch` looks again.
pub(crate) fn is_over_at(mapping: &Mapping, key: u128, now: u64) -> bool {
    if mapping.ended().look(Key(key), now) == Ended::Yes {
        return true;
    }
    let mut nothing = Vec::new();
    let dead = mapping.dead().get(Key(key), now, &mut nothing);
    dead.is_some_and(|stamp| stamp.expires_at > now)
}

/// The earlier of two ends, where 0 is none.
fn sooner(one: u64, other: u64) -> u64 {
    one.wrapping_sub(1)
        .min(other.wrapping_sub(1))
        .wrapping_add(1)
}

fn read<'m, T>(held: Option<&'m Held>, decode: impl FnOnce(&'m [u8]) -> Option<T>) -> Known<T> {
    match held {
        None => Known::Missing,
        Some(Held::Failed(error, _)) => Known::Failed(*error, None),
        Some(Held::Record(bytes)) => match decode(bytes) {
            Some(value) => Known::Fresh(value),
            None => Known::Failed(FactError::Unavailable(Cause::Protocol), None),
        },
    }
}

/// User attributes live beside decisions, under a key of their own.
pub(crate) fn table_key(kind: Kind, key: u128) -> Key {
    match kind {
        Kind::Session | Kind::Policy | Kind::Keys | Kind::NewerKeys => Key(key),
        // Any fixed change keeps the digest uniform.
        Kind::Attributes => Key(key ^ 0x6174_7472_6962_7574_6573_0000_0000_0001),
    }
}

impl Facts for View<'_> {
    fn session(&self, of: SessionKey) -> Known<Session<'_>> {
        self.record(Kind::Session, of.0, Session::decode)
    }

    fn policy(&self, of: PolicyKey) -> Known<Policy<'_>> {
        self.record(Kind::Policy, of.0, Policy::decode)
    }

    fn attributes(&self, of: AttributesKey) -> Known<Attributes<'_>> {
        self.record(Kind::Attributes, of.0, Attributes::decode)
    }

    fn keys(&self, of: KeysKey, newer: bool) -> Known<PublishedKeys<'_>> {
        let held = match newer {
            // Whether AM has newer ones, the worker says.
            true => self.memo.held(Kind::NewerKeys, of.0),
            false => self.known(Kind::Keys, of.0),
        };
        read(held, PublishedKeys::decode)
    }

    fn opened(&self, of: CookieKey) -> Option<Opened> {
        let opened = opened::get(of)?;
        let (mono, wall) = self.memo.until.get();
        self.memo.until.set((mono, sooner(wall, opened.expires.0)));
        Some(opened)
    }

    fn form(&self) -> Known<&[u8]> {
        match self.memo.form.get() {
            None => Known::Missing,
            Some(Ok(bytes)) => Known::Fresh(bytes),
            Some(Err(error)) => Known::Failed(*error, None),
        }
    }

    fn receipt(&self, of: &Act) -> Known<Receipt> {
        let receipts = self.memo.receipts.borrow();
        match receipts.iter().find(|(act, _)| act == of) {
            None => Known::Missing,
            Some((_, Ok(receipt))) => Known::Fresh(*receipt),
            Some((_, Err(error))) => Known::Failed(*error, None),
        }
    }

    fn counted(&self, of: u128) -> u32 {
        match self.memo.counted.get() {
            Some((key, count)) if key == of => count,
            // A request looks at one counter.
            _ => {
                let count = self.mapping.counts().look(Key(of), self.now.mono.0);
                self.memo.counted.set(Some((of, count)));
                count
            }
        }
    }

    fn am_is_away(&self) -> bool {
        let away = || self.state.breaker().is_open();
        *self.memo.away.get_or_init(away)
    }

    fn am_serving(&self) -> usize {
        self.serving.map_or(0, |at| at.load(Ordering::Relaxed))
    }

    fn node(&self) -> NodeMark {
        self.node
    }

    fn seed(&self) -> &[u8; 32] {
        self.memo.seed.get_or_init(|| {
            let mut seed = [0; 32];
            // INVARIANT: the kernel's generator does not fail once it has been seeded at boot; if it
            // did, going on with a known seed would let states be guessed, so the panic boundary
            // answers instead.
            #[allow(clippy::expect_used)]
            rand_core::OsRng
                .try_fill_bytes(&mut seed)
                .expect("no random bytes");
            seed
        })
    }
}

#[cfg(test)]
#[path = "memo_tests.rs"]
mod tests;

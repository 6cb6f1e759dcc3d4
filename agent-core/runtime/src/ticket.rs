//! A request that waits: what it waits for, and how whoever answers reaches it.

use std::{
    collections::VecDeque,
    os::fd::OwnedFd,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU32, Ordering},
    },
    time::{Duration, Instant},
};

use parking_lot::{Condvar, Mutex};
use portcullis_engine::{
    config::Snapshot,
    contract::{Act, Cause, FactError, Need, Now, Receipt},
};

use portcullis_shm::{Counted, Mapping};

use crate::{
    memo::{Kind, Memo},
    posts::Spool,
};

/// After this long a waiting thread needs one of the few places for long waits (design 6).
const LONG_WAIT: Duration = Duration::from_millis(300);

/// One answer on its way to a memo.
pub(crate) enum Answer {
    Fact(Kind, u128, Result<Vec<u8>, FactError>),
    Receipt(Act, Result<Receipt, FactError>),
    /// The instance has a configuration now, or will not have one in time.
    Configuration,
}

/// The part of a ticket that the worker's thread sees.
pub(crate) struct Mailbox {
    state: Mutex<Letters>,
    arrived: Condvar,
    cancelled: AtomicBool,
    /// Opaque to us: comes back from `completed`.
    tag: usize,
}

#[derive(Default)]
struct Letters {
    answers: Vec<Answer>,
    /// Answers still to come.
    open: usize,
}

impl Mailbox {
    pub(crate) fn new(tag: usize) -> Arc<Mailbox> {
        Arc::new(Mailbox {
            state: Mutex::new(Letters::default()),
            arrived: Condvar::new(),
            cancelled: AtomicBool::new(false),
            tag,
        })
    }

    /// Announces that `count` answers will come.
    pub(crate) fn expect(&self, count: usize) {
        self.state.lock().open += count;
    }

    /// Takes an answer; true when it was the last one and somebody still waits.
    pub(crate) fn deliver(&self, answer: Answer) -> bool {
        let mut letters = self.state.lock();
        letters.answers.push(answer);
        letters.open = letters.open.saturating_sub(1);
        let complete = letters.open == 0;
        drop(letters);
        if complete {
            self.arrived.notify_all();
        }
        complete && !self.cancelled.load(Ordering::Acquire)
    }

    fn take(&self) -> Vec<Answer> {
        std::mem::take(&mut self.state.lock().answers)
    }
}

/// What a ticket waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wants {
    /// AM, through the worker's thread.
    Am,
    /// The request body, at most this many bytes.
    Body(u64),
    /// The request body, piece by piece, for the store.
    Spool,
}

/// A suspended request.
pub struct Ticket {
    pub(crate) memo: Box<Memo>,
    pub(crate) snapshot: Option<Arc<Snapshot>>,
    pub(crate) now: Now,
    pub(crate) mailbox: Arc<Mailbox>,
    pub(crate) wants: Wants,
    pub(crate) rounds: u8,
    pub(crate) last: Option<Need>,
    pub(crate) deadline: Instant,
    /// The policy epoch before anything was asked; `None` once the request has begun again.
    pub(crate) epoch: Option<u64>,
    pub(crate) waits: Arc<Waits>,
    /// Where the body goes.
    pub(crate) spool: Option<Spool>,
    /// Why it could not be kept, for the log.
    pub(crate) trouble: Option<String>,
    /// Counts it as waiting, in the whole host.
    pub(crate) _counted: Option<Counted<Arc<Mapping>>>,
}

impl Ticket {
    /// What it waits for.
    pub fn wants(&self) -> Wants {
        self.wants
    }

    /// Milliseconds until the answers are there at the latest, with some room.
    pub fn deadline_ms(&self) -> u32 {
        let left = self.deadline.saturating_duration_since(Instant::now());
        u32::try_from(left.as_millis())
            .unwrap_or(u32::MAX)
            .saturating_add(500)
    }

    /// Hands the request body over; `None` when it could not be read or was too large.
    pub fn body(&mut self, body: Option<&[u8]>) {
        let refused = FactError::Unavailable(Cause::Protocol);
        self.memo.give_form(body.map(<[u8]>::to_vec).ok_or(refused));
    }

    /// Adds to the body that goes into the store. `false`: no more is wanted, but [`Ticket::parts_end`] is.
    pub fn part(&mut self, bytes: &[u8]) -> bool {
        self.spool.as_mut().is_some_and(|spool| spool.write(bytes))
    }

    /// Ends it; `complete` says that all of it has been handed over.
    pub fn parts_end(&mut self, complete: bool) {
        let (Some(spool), Some(Need::Do(act))) = (self.spool.take(), &self.last) else {
            return; // asked once more, the engine sees that nothing has happened
        };
        let receipt = spool.finish(complete).map_err(|trouble| {
            self.trouble = Some(trouble);
            FactError::Unavailable(Cause::Files)
        });
        self.memo.give_receipt(act.clone(), receipt);
    }

    /// Blocks until all answers are there; for hosts that give a thread to each request.
    ///
    /// Bounded twice: by the deadline, and by the few places for threads that wait long. A thread
    /// that gets none fails its open questions with [`Cause::Busy`].
    pub fn wait(&mut self) {
        if self.wants != Wants::Am {
            return;
        }
        let begun = Instant::now();
        let limit = self.deadline + Duration::from_millis(500);
        if self.until(limit.min(begun + LONG_WAIT)) {
            return;
        }
        let waits = self.waits.clone();
        let place = waits.enter();
        if place.is_some() && self.until(limit) {
            return;
        }
        let cause = if place.is_some() {
            Cause::Timeout
        } else {
            Cause::Busy
        };
        self.fail_open(FactError::Unavailable(cause));
    }

    /// Waits for the last answer until `limit`; true when it came.
    fn until(&self, limit: Instant) -> bool {
        let mut letters = self.mailbox.state.lock();
        while letters.open > 0 {
            if self
                .mailbox
                .arrived
                .wait_until(&mut letters, limit)
                .timed_out()
            {
                return letters.open == 0;
            }
        }
        true
    }

    /// Moves the answers into the memo; questions still open stay open.
    pub(crate) fn collect(&mut self) {
        for answer in self.mailbox.take() {
            match answer {
                Answer::Fact(kind, key, answer) => self.memo.give(kind, key, answer),
                Answer::Receipt(act, receipt) => self.memo.give_receipt(act, receipt),
                Answer::Configuration => {}
            }
        }
    }

    /// Ends the wait: what was not answered has failed.
    pub(crate) fn fail_open(&mut self, error: FactError) {
        self.collect();
        match &self.last {
            Some(Need::Ask(asks)) => {
                for (kind, key) in asks.iter().filter_map(crate::fetch::name) {
                    self.memo.give(kind, key, Err(error));
                }
            }
            Some(Need::Do(act)) => self.memo.give_receipt(act.clone(), Err(error)),
            None => {}
        }
        // Answers that come later belong to nobody.
        self.mailbox.cancelled.store(true, Ordering::Release);
        self.mailbox = Mailbox::new(self.mailbox.tag);
    }

    /// True when every answer is there.
    pub(crate) fn answered(&self) -> bool {
        self.mailbox.state.lock().open == 0
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        self.mailbox.cancelled.store(true, Ordering::Release);
    }
}

/// The places for threads that wait long: a quarter of the process's threads, at least one.
pub(crate) struct Waits {
    free: AtomicU32,
}

impl Waits {
    pub(crate) fn new(threads: u32) -> Waits {
        Waits {
            free: AtomicU32::new((threads / 4).max(1)),
        }
    }

    fn enter(&self) -> Option<Place<'_>> {
        let took = self
            .free
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, |n| n.checked_sub(1));
        // Not `then_some`: a place made in vain would be given back, and so be one more.
        took.is_ok().then(|| Place(self))
    }
}

struct Place<'w>(&'w Waits);

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.0.free.fetch_add(1, Ordering::AcqRel);
    }
}

/// Tells a host that suspends requests which of them can go on.
pub(crate) struct Completions {
    queue: Mutex<VecDeque<Arc<Mailbox>>>,
    wake: Option<OwnedFd>,
}

impl Completions {
    pub(crate) fn new(wake: Option<OwnedFd>) -> Completions {
        Completions {
            queue: Mutex::new(VecDeque::new()),
            wake,
        }
    }

    /// Puts a complete mailbox into the queue and wakes the host.
    pub(crate) fn push(&self, mailbox: Arc<Mailbox>) {
        let Some(fd) = &self.wake else { return };
        self.queue.lock().push_back(mailbox);
        // An eventfd that can't take more is readable already: nothing is lost.
        let _ = rustix::io::write(fd, &1_u64.to_ne_bytes());
    }

    /// The tag of the next request that can go on.
    pub(crate) fn pop(&self) -> Option<usize> {
        let mut queue = self.queue.lock();
        loop {
            let mailbox = queue.pop_front()?;
            if !mailbox.cancelled.load(Ordering::Acquire) {
                return Some(mailbox.tag);
            }
        }
    }
}

#[cfg(test)]
#[path = "ticket_tests.rs"]
mod tests;

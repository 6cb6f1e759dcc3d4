//! What would a second policy set have said? Asked after the response, on the worker's thread, and
//! written down where it differs (`portcullis.mode = shadow`).
//!
//! It must delay no request and change no answer: there is room for a few questions only, half of the
//! calls to AM at most are theirs, none of their failures opens the breaker, and what finds no room is
//! counted.

use std::{
    sync::atomic::{AtomicU32, AtomicU64, Ordering},
    time::{Duration, Instant},
};

use portcullis_engine::{
    contract::{Ask, Cause, Decision, FactError, Opinion, RequestView, Second, Shadow},
    event::Code,
    record::Policy,
};

use crate::{agent::Instance, audit, fetch::Fetcher, lines::Line, memo::View, worker::Worker};

/// Questions of one worker that may be under way or waiting.
const ROOM: u32 = 64;
/// How long AM may take.
const DEADLINE: Duration = Duration::from_secs(4);

/// A question, and what is known of the request that it is about.
pub(crate) struct Question {
    ask: Ask,
    methods: Vec<Vec<u8>>,
    enforced: Opinion,
    place: String,
    noted: audit::Noted,
}

/// The room for questions of one worker.
#[derive(Default)]
pub(crate) struct Room {
    taken: AtomicU32,
    dropped: AtomicU64,
}

impl Room {
    fn enter(&self) -> bool {
        let took = self
            .taken
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, |n| {
                (n < ROOM).then_some(n + 1)
            });
        if took.is_err() {
            self.drop_one();
        }
        took.is_ok()
    }

    fn drop_one(&self) {
        self.dropped.fetch_add(1, Ordering::Relaxed);
    }

    /// Gives a place back; how many questions were left out since the last one.
    pub(crate) fn leave(&self) -> u64 {
        self.taken.fetch_sub(1, Ordering::AcqRel);
        self.dropped.swap(0, Ordering::Relaxed)
    }
}

/// After a decision. `may_ask`: not for parts of other pages, about which AM is never asked.
pub(crate) fn after(
    instance: &Instance,
    worker: &Worker,
    req: &RequestView<'_>,
    decision: &Decision<'_>,
    view: &View<'_>,
    may_ask: bool,
) {
    let Some(shadow) = &decision.shadow else {
        return;
    };
    let Shadow {
        enforced,
        methods,
        second,
        place,
    } = &**shadow;
    match second {
        Second::Known(other) => {
            let noted = audit::Noted::of(instance, req, decision, view);
            noted.differs(worker, instance.index(), *enforced, *other, place);
        }
        Second::Ask(ask) => {
            if may_ask && !worker.draining() && worker.second.enter() {
                let question = Question {
                    ask: ask.clone(),
                    methods: methods.clone(),
                    enforced: *enforced,
                    place: place.clone(),
                    noted: audit::Noted::of(instance, req, decision, view),
                };
                worker.submit_second(instance.index(), question);
            }
        }
    }
}

/// Asks, compares, and writes down what differs.
pub(crate) async fn ask(fetcher: &Fetcher, question: Question) {
    let Question {
        ask,
        methods,
        enforced,
        place,
        noted,
    } = question;
    let (worker, index) = (&fetcher.worker, fetcher.index);
    let deadline = Instant::now() + DEADLINE;
    let answer = worker
        .within(deadline, fetcher.second_opinion(&ask, deadline))
        .await;
    match &answer {
        Ok(record) => {
            let other = Policy::decode(record).map(|policy| Opinion::of(&policy, &methods));
            if let Some(other) = other.filter(|other| *other != enforced) {
                noted.differs(worker, index, enforced, other, &place);
            }
        }
        Err(FactError::Unavailable(Cause::Busy)) => worker.second.drop_one(),
        Err(_) => {}
    }
    let failed = answer.err();
    // Once for each kind of failure, not for each request.
    if fetcher.second_failed.replace(failed) != failed
        && let Some(error) = failed
    {
        let text = format!("{place}: {error:?}");
        worker.write(index, Line::log(Code::ShadowFailed, text));
    }
    match worker.second.leave() {
        0 => {}
        dropped => worker.write(index, Line::log(Code::ShadowDropped, dropped.to_string())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn questions_beyond_the_room_are_counted() {
        let room = Room::default();
        let entered = (0..ROOM + 5).filter(|_| room.enter()).count();
        assert_eq!(entered, ROOM as usize);
        assert_eq!(room.leave(), 5);
        assert!(room.enter() && !room.enter());
        assert_eq!((room.leave(), room.leave()), (1, 0));
    }
}

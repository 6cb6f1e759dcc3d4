use std::thread;

use portcullis_engine::{
    contract::{Ask, Facts, Known, MonoMillis, NodeMark, PolicyKey, SessionKey, UnixMillis},
    token::Secret,
};
use portcullis_shm::{InstanceId, Mapping};

use super::*;
use crate::memo::View;

/// Long enough that a test which needs it has failed.
const LONG: Duration = Duration::from_secs(60);

fn ask(key: u128) -> Ask {
    Ask::Session {
        key: SessionKey(key),
        token: Secret::new(b"token".to_vec()),
    }
}

/// A ticket that waits for these sessions.
fn ticket(keys: &[u128], patience: Duration, waits: &Arc<Waits>) -> Ticket {
    let mailbox = Mailbox::new(7);
    mailbox.expect(keys.len());
    Ticket {
        memo: Box::default(),
        snapshot: None,
        now: Now {
            wall: UnixMillis(1),
            mono: MonoMillis(1),
        },
        mailbox,
        wants: Wants::Am,
        rounds: 1,
        last: Some(Need::Ask(keys.iter().map(|key| ask(*key)).collect())),
        deadline: Instant::now() + patience,
        epoch: None,
        waits: waits.clone(),
        spool: None,
        trouble: None,
        _counted: None,
    }
}

fn answer(key: u128) -> Answer {
    Answer::Fact(Kind::Session, key, Err(FactError::NotAllowed))
}

/// What the memo of a ticket says of a session.
fn failure(ticket: &Ticket, key: u128) -> Option<FactError> {
    let mapping = Mapping::create(1 << 20).unwrap();
    let view = View {
        memo: &ticket.memo,
        mapping: &mapping,
        state: mapping.instance_at(InstanceId::FIRST),
        now: ticket.now,
        serving: None,
        node: NodeMark::NONE,
    };
    match view.session(SessionKey(key)) {
        Known::Failed(error, _) => Some(error),
        _ => None,
    }
}

#[test]
fn a_wait_ends_with_the_last_answer() {
    let waits = Arc::new(Waits::new(16));
    let mut waiting = ticket(&[1, 2], LONG, &waits);
    let mailbox = waiting.mailbox.clone();
    assert!(!mailbox.deliver(answer(1)), "one answer is still to come");
    assert!(!waiting.answered());
    let answering = thread::spawn(move || mailbox.deliver(answer(2)));
    waiting.wait();
    assert!(answering.join().unwrap(), "the last answer completes it");
    assert!(waiting.answered());
    waiting.collect();
    assert_eq!(failure(&waiting, 1), Some(FactError::NotAllowed));
    assert_eq!(failure(&waiting, 2), Some(FactError::NotAllowed));
}

#[test]
fn what_is_open_at_the_deadline_has_timed_out_and_later_answers_reach_nobody() {
    let waits = Arc::new(Waits::new(16));
    let mut waiting = ticket(&[1, 2], Duration::ZERO, &waits);
    let mailbox = waiting.mailbox.clone();
    mailbox.deliver(answer(1));
    waiting.wait();
    let timeout = FactError::Unavailable(Cause::Timeout);
    assert_eq!(
        failure(&waiting, 1),
        Some(FactError::NotAllowed),
        "the first answer stays"
    );
    assert_eq!(failure(&waiting, 2), Some(timeout));
    assert!(!mailbox.deliver(answer(2)), "nobody waits any more");
    waiting.collect();
    assert_eq!(failure(&waiting, 2), Some(timeout));
}

#[test]
fn a_quarter_of_the_threads_may_wait_long_and_refusals_make_no_room() {
    let waits = Arc::new(Waits::new(16));
    let places: Vec<_> = (0..4).map(|_| waits.enter().unwrap()).collect();
    for _ in 0..20 {
        assert!(waits.enter().is_none());
    }
    let mut refused = ticket(&[1], LONG, &waits);
    refused.wait();
    assert_eq!(
        failure(&refused, 1),
        Some(FactError::Unavailable(Cause::Busy))
    );
    drop(places);
    assert_eq!(
        (0..5)
            .filter_map(|_| waits.enter().map(std::mem::forget))
            .count(),
        4
    );
    assert!(Waits::new(1).enter().is_some(), "at least one");
}

#[test]
fn requests_that_were_given_up_are_not_announced() {
    let completions = Completions::new(Some(
        rustix::event::eventfd(0, rustix::event::EventfdFlags::NONBLOCK).unwrap(),
    ));
    let waits = Arc::new(Waits::new(0));
    let given_up = ticket(&[1], LONG, &waits);
    completions.push(given_up.mailbox.clone());
    drop(given_up);
    assert_eq!(completions.pop(), None);
    let kept = ticket(&[1], LONG, &waits);
    completions.push(kept.mailbox.clone());
    assert_eq!(completions.pop(), Some(7));
    assert_eq!(completions.pop(), None);
}

#[test]
fn the_first_answer_about_a_thing_stays() {
    let waits = Arc::new(Waits::new(0));
    let holder = ticket(&[1], LONG, &waits);
    holder.memo.give(Kind::Session, 1, Err(FactError::Dead));
    holder
        .memo
        .give(Kind::Session, 1, Err(FactError::NotAllowed));
    assert_eq!(failure(&holder, 1), Some(FactError::Dead));
    // Another fact under the same number is another fact.
    let mapping = Mapping::create(1 << 20).unwrap();
    let view = View {
        memo: &holder.memo,
        mapping: &mapping,
        state: mapping.instance_at(InstanceId::FIRST),
        now: holder.now,
        serving: None,
        node: NodeMark::NONE,
    };
    assert!(matches!(view.policy(PolicyKey(1)), Known::Missing));
}

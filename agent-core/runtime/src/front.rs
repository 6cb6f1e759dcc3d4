//! Has this thread decided the very same request a moment ago, and does the answer still hold?
//!
//! A thread's own, of fixed size, in front of the engine: browsers and programs that ask for one page again
//! and again pay for a comparison instead of a decision. An answer is one for the same bytes of everything
//! that the engine is shown, and only as long as nothing it rests on has changed: configuration, policy
//! epoch, revocation counter, the session, the shortest life of a fact. Must not keep anything but an allow
//! that followed from facts at hand, and must not decide.

use std::{cell::RefCell, net::IpAddr};

use portcullis_engine::{
    config::AuditAccess,
    contract::{Decision, Now, Outcome, RequestView, SessionKey, Sink, UnixMillis, Why},
};
use zeroize::Zeroizing;

use crate::{
    agent::Instance,
    evaluate::{Host, Verdict},
    memo::{View, is_over},
    worker::Worker,
};

/// Answers that a process remembers, spread over its threads: each with its own.
const ANSWERS: usize = 256;
/// The most for one thread (nginx has one), and the least.
const OF_A_THREAD: (usize, usize) = (4, 64);
/// Requests that are larger, with what they are told, are decided each time.
const MOST_BYTES: usize = 8 << 10;

thread_local! {
    static FRONT: RefCell<Vec<Place>> = const { RefCell::new(Vec::new()) };
}

/// What an answer rests on beside the session: read before the facts were.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Basis {
    /// Of all configurations that this process ever had.
    configuration: u64,
    epoch: u64,
    revocations: u64,
}

/// A request that had no answer here: where one would go.
#[derive(Clone, Copy)]
pub(crate) struct Sight {
    basis: Basis,
    hash: u64,
    /// It was here before: the next time an answer pays.
    pub(crate) again: bool,
}

#[derive(Default)]
struct Place {
    /// The last request that had no answer.
    missed: u64,
    answer: Option<Box<Answer>>,
}

/// What the engine sees of a request that is not bytes.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Plain {
    headers: usize,
    peer: IpAddr,
    client: IpAddr,
    port: u16,
    merged: bool,
    tls: bool,
    authorizes: bool,
}

impl Plain {
    fn of(req: &RequestView<'_>) -> Plain {
        Plain {
            headers: req.headers.len(),
            peer: req.peer,
            client: req.client,
            port: req.local.port,
            merged: req.merged,
            tls: req.local.tls,
            authorizes: req.local.authorizes,
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Told {
    Header,
    NoHeader,
    Variable,
    User,
}

struct Answer {
    basis: Basis,
    until: Now,
    session: Option<SessionKey>,
    plain: Plain,
    verdict: Verdict,
    /// Lengths of the request's fields, then of what the host was told.
    lengths: Vec<u32>,
    told: Vec<Told>,
    /// Both, one after the other; cookies are among them (rule K3).
    bytes: Zeroizing<Vec<u8>>,
}

/// The fields of a request, in order, until one is not as it should be.
fn all_fields(req: &RequestView<'_>, mut each: impl FnMut(&[u8]) -> bool) -> bool {
    let local = &req.local;
    each(req.method)
        && each(req.target)
        && each(req.host)
        && each(local.path)
        && each(local.path_info)
        && req.headers.iter().all(|h| each(h.name) && each(h.value))
}

/// Finds the place only; the answer is compared byte by byte.
fn hash(req: &RequestView<'_>) -> u64 {
    const ODD: u64 = 0x9e37_79b9_7f4a_7c15;
    let mix = |sum: u64, text: &[u8]| {
        let end = text.last_chunk().map_or(0, |end| u64::from_le_bytes(*end));
        (sum ^ end ^ text.len() as u64)
            .wrapping_mul(ODD)
            .rotate_left(29)
    };
    let sum = mix(mix(0, req.target), req.local.path);
    req.headers.iter().fold(sum, |sum, h| mix(sum, h.value))
}

/// Walks slices that lie one after the other.
struct Walk<'a> {
    lengths: std::slice::Iter<'a, u32>,
    rest: &'a [u8],
}

impl<'a> Walk<'a> {
    fn next(&mut self) -> Option<&'a [u8]> {
        let (field, rest) = self.rest.split_at_checked(*self.lengths.next()? as usize)?;
        self.rest = rest;
        Some(field)
    }
}

impl Answer {
    fn is_to(&self, req: &RequestView<'_>) -> Option<Walk<'_>> {
        let mut walk = Walk {
            lengths: self.lengths.iter(),
            rest: &self.bytes,
        };
        let same = self.plain == Plain::of(req) && all_fields(req, |f| walk.next() == Some(f));
        same.then_some(walk)
    }

    fn tell(&self, mut walk: Walk<'_>, host: &mut dyn Host) -> Option<()> {
        for told in &self.told {
            let name = walk.next()?;
            match told {
                Told::Header => host.request_header(name, walk.next()?),
                Told::NoHeader => host.remove_request_header(name),
                Told::Variable => host.variable(name, walk.next()?),
                Told::User => host.user(name),
            }
        }
        Some(())
    }
}

/// Answers a request, or says where its answer would go; `None`: it is not to have one.
pub(crate) fn answer(
    (instance, worker): (&Instance, &Worker),
    req: &RequestView<'_>,
    now: Now,
    host: &mut dyn Host,
) -> Result<Verdict, Option<Sight>> {
    let state = instance.state(worker.mapping());
    // Read before any fact is.
    let basis = Basis {
        configuration: instance.configuration(),
        epoch: state.epoch(),
        revocations: state.revocations(),
    };
    let hash = hash(req);
    FRONT.with(|front| {
        let mut front = front.try_borrow_mut().map_err(|_| None)?;
        let places = front.len();
        if places == 0 {
            front.resize_with(worker.answers_of_a_thread, Place::default);
            return Err(None);
        }
        let place = &mut front[hash as usize % places];
        let sight = Sight {
            basis,
            hash,
            again: place.missed == hash,
        };
        place.missed = hash;
        let held = place.answer.as_ref().filter(|answer| {
            answer.basis == basis
                && now.mono < answer.until.mono
                && now.wall < answer.until.wall
                && !instance.logs().wants(answer.verdict.code.row().severity)
        });
        let Some(answer) = held else {
            return Err(Some(sight));
        };
        match answer.is_to(req) {
            Some(told)
                if !answer
                    .session
                    .is_some_and(|key| is_over(worker.mapping(), key)) =>
            {
                answer.tell(told, host);
                Ok(answer.verdict)
            }
            _ => Err(Some(sight)),
        }
    })
}

/// How many answers each of so many threads remembers.
pub(crate) fn of_a_thread(threads: u32) -> usize {
    let (least, most) = OF_A_THREAD;
    (ANSWERS / threads.max(1) as usize).clamp(least, most)
}

/// A host that is listened to.
pub(crate) struct Heard<'h> {
    host: &'h mut dyn Host,
    told: Vec<Told>,
    lengths: Vec<u32>,
    bytes: Zeroizing<Vec<u8>>,
    fits: bool,
}

impl<'h> Heard<'h> {
    /// Notes the request first.
    pub(crate) fn new(host: &'h mut dyn Host, req: &RequestView<'_>) -> Heard<'h> {
        let mut heard = Heard {
            host,
            told: Vec::new(),
            lengths: Vec::new(),
            // Of its final size: one that grows would leave copies behind.
            bytes: Zeroizing::new(Vec::with_capacity(MOST_BYTES)),
            fits: true,
        };
        all_fields(req, |field| {
            heard.push(field);
            heard.fits
        });
        heard
    }

    fn push(&mut self, field: &[u8]) {
        self.fits &= self.bytes.len() + field.len() <= MOST_BYTES;
        if self.fits {
            self.lengths.push(field.len() as u32);
            self.bytes.extend_from_slice(field);
        }
    }

    fn note(&mut self, told: Told, fields: &[&[u8]]) {
        self.told.push(told);
        fields.iter().for_each(|field| self.push(field));
    }
}

impl Sink for Heard<'_> {
    fn request_header(&mut self, name: &[u8], value: &[u8]) {
        self.note(Told::Header, &[name, value]);
        self.host.request_header(name, value);
    }

    fn remove_request_header(&mut self, name: &[u8]) {
        self.note(Told::NoHeader, &[name]);
        self.host.remove_request_header(name);
    }

    fn variable(&mut self, name: &[u8], value: &[u8]) {
        self.note(Told::Variable, &[name, value]);
        self.host.variable(name, value);
    }

    fn user(&mut self, name: &[u8]) {
        self.note(Told::User, &[name]);
        self.host.user(name);
    }

    fn response_header(&mut self, name: &[u8], value: &[u8]) {
        self.fits = false; // it may be about this one response
        self.host.response_header(name, value);
    }
}

impl Host for Heard<'_> {
    fn body(&mut self, body: &[u8]) {
        self.fits = false;
        self.host.body(body);
    }

    fn replay(&mut self, method: &[u8], body: &[u8]) {
        self.fits = false;
        self.host.replay(method, body);
    }
}

/// What is kept of an answer: what it rests on, and how long.
pub(crate) struct Held {
    session: Option<SessionKey>,
    until: Now,
}

/// Whether a decision would be the same the next time, and until when; it was made in one go.
pub(crate) fn holds(decision: &Decision<'_>, view: &View<'_>) -> Option<Held> {
    let Outcome::Allow(grant) = &decision.outcome else {
        return None;
    };
    let user = decision.edits.identity.as_ref();
    let why_known = match grant.why() {
        Why::Policy | Why::SsoOnly => user.is_some(),
        Why::NotEnforced(_) => true,
        Why::LeftToHost | Why::LogoutPage | Why::Reported => false,
    };
    let config = &decision.edits.cookies?.config;
    let silent =
        config.audit_access == AuditAccess::None || config.audit_access == AuditAccess::Deny;
    let settled = decision.would.is_none()
        && decision.shadow.is_none()
        && decision.edits.response.is_empty()
        && config.mode_until.is_none();
    if !(why_known && silent && settled) {
        return None;
    }
    let mut until = view.memo.only_facts_until(view.now)?;
    // The session's own end, whatever else is known of it.
    let session = view.memo.only_session()?;
    if let Some(user) = user {
        until.wall = until.wall.min(UnixMillis(user.session.max_end));
    }
    if session.is_some() != user.is_some() {
        return None;
    }
    if let Some((_, opened)) = decision.basis.opened {
        until.wall = until.wall.min(opened.expires);
    }
    Some(Held { session, until })
}

/// Keeps an answer in the place where it was looked for.
pub(crate) fn keep(
    sight: Sight,
    req: &RequestView<'_>,
    held: Held,
    heard: Heard<'_>,
    verdict: Verdict,
) {
    if !heard.fits {
        return;
    }
    let Heard {
        told,
        lengths,
        bytes: all,
        ..
    } = heard;
    // Many are kept for long: each in no more room than it takes.
    let bytes = Zeroizing::new(all.to_vec());
    let answer = Answer {
        basis: sight.basis,
        until: held.until,
        session: held.session,
        plain: Plain::of(req),
        verdict,
        lengths,
        told,
        bytes,
    };
    FRONT.with(|front| {
        if let Ok(mut front) = front.try_borrow_mut()
            && let places @ 1.. = front.len()
        {
            front[sight.hash as usize % places].answer = Some(Box::new(answer));
        }
    });
}

#[cfg(test)]
#[path = "front_tests.rs"]
mod tests;

//! What has changed at AM? The leader listens on one WebSocket for all workers of the host.
//!
//! What it hears makes cached answers stale; AM is asked again by whoever needs one. Nothing is replayed
//! after a gap, so whatever was learnt before the socket opened is asked again (rule S2). Without a socket
//! the intervals of the configuration hold. A message never lets anybody in, and a leader that has lost
//! its lease changes nothing.

use std::{rc::Rc, sync::atomic::Ordering, time::Duration};

use portcullis_engine::{
    am::a::notifications::{Notice, parse},
    contract::{SessionKey, UnixMillis},
    event::Code,
    record::Session,
    token::Secret,
};
use portcullis_shm::{InstanceState, Key, Mapping, StatusWord, Term, clock};
use rand_core::{RngCore as _, TryRngCore as _};
use tokio::time::{Instant, timeout};

use crate::{
    am::Am,
    client::{Call, Heard, Opening, Permit, Socket},
    fetch::Fetcher,
    leader::{Duty, TICK},
    lines::Line,
    memo::VALID_SINCE,
    meter::Event,
    over::{ENDED_FOR, left},
};

/// After so much silence AM is asked for a sign of life, and so long it has to give one. AM pings every
/// 30 s by itself (measured on OpenAM 16.0.5).
const SILENCE: Duration = Duration::from_secs(35);
const SIGN_OF_LIFE: Duration = Duration::from_secs(15);
/// How long handshake and subscriptions may take.
const OPENING: Duration = Duration::from_secs(10);
/// Pauses between attempts: the first, and the longest.
const PAUSE_MS: (u64, u64) = (250, 30_000);
/// How long a session that nobody here knew is remembered as over: longer than any question about it
/// that is under way.
const OVER_FOR: u64 = 60_000;
/// Between two lines about the same refusal.
const SAY_AGAIN: Duration = Duration::from_secs(3600);

/// Why there is no socket, or not any more.
enum Trouble {
    /// An answer other than 101.
    Refused(u16),
    /// In the words of whoever noticed.
    Broken(String),
}

/// Listens whenever this worker leads, for as long as it lives.
pub(crate) async fn listen(fetcher: Rc<Fetcher>, duty: Rc<Duty>) {
    let mut attempts = Attempts::default();
    loop {
        let Some(term) = duty.term() else {
            attempts = Attempts::default();
            duty.changed().await;
            continue;
        };
        if !ready(&fetcher) {
            tokio::time::sleep(TICK).await;
            continue;
        }
        match open(&fetcher, term).await {
            Ok(socket) => {
                attempts = Attempts::default();
                trust(&fetcher, term);
                let why = attend(&fetcher, &duty, term, socket).await;
                distrust(&fetcher, term, why);
            }
            Err(Trouble::Refused(401)) if renewed(&fetcher).await => {}
            Err(trouble) => attempts.tell(&fetcher, trouble),
        }
        tokio::time::sleep(attempts.pause()).await;
    }
}

/// Whether there is somebody to ask, and the wish to.
fn ready(fetcher: &Fetcher) -> bool {
    let wanted = fetcher
        .instance()
        .snapshot()
        .is_some_and(|s| s.config.notifications);
    wanted
        && !fetcher.worker.draining()
        && fetcher.state().agent_session_generation().is_some()
        && fetcher.refuse_while_open().is_ok()
}

/// Attempts since the last success.
#[derive(Default)]
struct Attempts {
    failed: u32,
    said: Option<(u16, Instant)>,
}

impl Attempts {
    /// Grows with each failure, with jitter: a farm's hosts must not come back all at once.
    fn pause(&mut self) -> Duration {
        let (first, most) = PAUSE_MS;
        let whole = first.saturating_mul(1 << self.failed.min(10)).min(most);
        self.failed = self.failed.saturating_add(1);
        let random = rand_core::OsRng.unwrap_err().next_u64();
        Duration::from_millis(whole / 2 + random % (whole / 2 + 1))
    }

    /// A refusal has to be mended by somebody. That AM is not there is said by whoever needs it.
    fn tell(&mut self, fetcher: &Fetcher, trouble: Trouble) {
        match trouble {
            Trouble::Refused(status) => {
                let recently =
                    |(said, at): (u16, Instant)| said == status && at.elapsed() < SAY_AGAIN;
                if !self.said.is_some_and(recently) {
                    self.said = Some((status, Instant::now()));
                    let text = format!("HTTP {status}: {}", likely(status));
                    fetcher
                        .worker
                        .write(fetcher.index, Line::log(Code::NotificationsRefused, text));
                }
            }
            Trouble::Broken(why) => {
                fetcher
                    .worker
                    .write(fetcher.index, Line::log(Code::NotificationsFailed, why));
            }
        }
    }
}

/// What an answer other than 101 mostly means (protocol notes of the vendor; 401 and 403 measured on
/// OpenAM 16.0.5).
fn likely(status: u16) -> &'static str {
    match status {
        200..=299 => {
            "something answers that knows nothing of WebSockets: a proxy that drops `Upgrade`, or not AM"
        }
        300..=399 => "AM's URL redirects: `naming.url` must be where AM itself is",
        400 | 426 => "the handshake did not arrive as it was sent: a proxy changes it",
        401 => {
            "AM knows the agent's session, but not under this header: `cookie.name` is not the name of AM's cookie"
        }
        403 => "the agent's profile is not one of a web agent",
        404 => "AM's container has no WebSocket support, or a proxy drops `Upgrade`",
        502..=504 => "a proxy in front of AM does not pass WebSockets on, or does not reach AM",
        _ => "AM or a proxy in front of it refuses WebSockets",
    }
}

/// Whether AM took the agent's session for dead: then it is made anew, and the next attempt has it.
async fn renewed(fetcher: &Fetcher) -> bool {
    let mut token = Vec::new();
    let Some(generation) = fetcher.state().agent_session(&mut token) else {
        return true;
    };
    let alive = fetcher
        .am
        .validate(&Secret::new(token), call(OPENING))
        .await;
    let dead = alive == Ok(false);
    if dead {
        fetcher.state().invalidate_agent_session(generation);
        fetcher.kick.notify_one();
    }
    dead
}

fn call(time: Duration) -> Call {
    Call {
        permit: Permit::KnownSession,
        until: Instant::now() + time,
    }
}

/// A socket with all subscriptions taken.
async fn open(fetcher: &Fetcher, term: Term) -> Result<Box<Socket>, Trouble> {
    let mut token = Vec::new();
    let Some(_) = fetcher.state().agent_session(&mut token) else {
        return Err(Trouble::Broken("the agent has no session".into()));
    };
    let opening = fetcher
        .am
        .notifications(&Secret::new(token), call(OPENING))
        .await;
    let mut socket = match opening {
        Ok(Opening::Open(socket)) => socket,
        Ok(Opening::Refused(status)) => return Err(Trouble::Refused(status)),
        Err(failure) => return Err(Trouble::Broken(failure.why)),
    };
    let subscribed = Am::subscribe(&mut socket, |notice| heed(fetcher, term, notice));
    match timeout(OPENING, subscribed).await {
        Ok(Ok(())) => Ok(socket),
        Ok(Err(why)) => Err(Trouble::Broken(why)),
        Err(_) => Err(Trouble::Broken(
            "the subscriptions were not answered in time".into(),
        )),
    }
}

/// From now on changes are heard of; what was learnt before may have missed one.
fn trust(fetcher: &Fetcher, term: Term) {
    let state = fetcher.state();
    if !state.leads(term) {
        return;
    }
    let now = clock::boottime_ms();
    stale(&state, now);
    state.set_status(term, StatusWord::NotifiedSince, now);
    read_profile_again(fetcher, term);
    fetcher.worker.write(
        fetcher.index,
        Line::log(Code::NotificationsOpen, String::new()),
    );
}

/// Nothing that was learnt before `now` counts any more: AM is asked again. What has ended stays ended.
pub(crate) fn stale(state: &InstanceState<'_>, now: u64) {
    // First of all: what is under way now was asked for before.
    state.bump_revocations();
    if let Some(since) = state.spare(VALID_SINCE) {
        since.fetch_max(now, Ordering::AcqRel);
    }
    state.bump_epoch();
}

fn distrust(fetcher: &Fetcher, term: Term, why: Option<String>) {
    fetcher
        .state()
        .set_status(term, StatusWord::NotifiedSince, 0);
    if let Some(why) = why {
        fetcher
            .worker
            .write(fetcher.index, Line::log(Code::NotificationsClosed, why));
    }
}

fn read_profile_again(fetcher: &Fetcher, term: Term) {
    fetcher
        .state()
        .set_status(term, StatusWord::ProfileReadAt, 0);
    fetcher.kick.notify_one();
}

/// Listens until the socket or the lease is gone; says why the socket is gone. It is opened anew from time
/// to time, so that agents spread over AM's servers again; the old one is heard until then.
async fn attend(
    fetcher: &Fetcher,
    duty: &Duty,
    term: Term,
    mut socket: Box<Socket>,
) -> Option<String> {
    let mut heard = Instant::now();
    let (mut asked, mut renew) = (false, Instant::now() + rebalance(fetcher));
    loop {
        let silent = heard
            + if asked {
                SILENCE + SIGN_OF_LIFE
            } else {
                SILENCE
            };
        tokio::select! {
            message = socket.hear() => match message {
                Ok(message) => {
                    (heard, asked) = (Instant::now(), false);
                    if let Heard::Text(text) = message {
                        heed(fetcher, term, parse(text.as_bytes()));
                    }
                }
                Err(why) => return Some(why),
            },
            () = tokio::time::sleep_until(silent) => {
                if asked {
                    return Some("no sign of life".into());
                }
                asked = true;
                if let Err(why) = socket.ping().await {
                    return Some(why);
                }
            }
            () = tokio::time::sleep_until(renew) => {
                if let Ok(next) = open(fetcher, term).await {
                    socket = next;
                    (heard, asked) = (Instant::now(), false);
                }
                renew = Instant::now() + rebalance(fetcher);
            }
            () = duty.changed() => {
                if duty.term() != Some(term) {
                    return None;
                }
            }
        }
    }
}

fn rebalance(fetcher: &Fetcher) -> Duration {
    let minutes = fetcher
        .instance()
        .snapshot()
        .map_or(30, |s| s.config.websocket_interval);
    Duration::from_secs(60) * minutes
}

/// What a message changes here.
fn heed(fetcher: &Fetcher, term: Term, notice: Notice) {
    let state = fetcher.state();
    if !state.leads(term) {
        return;
    }
    state.set_status(term, StatusWord::LastNotificationAt, clock::boottime_ms());
    match notice {
        Notice::SessionOver(token) => session_over(fetcher, &token),
        Notice::SessionChanged(token) => session_changed(fetcher, &token),
        // Which decisions rest on which policy is AM's knowledge: all are asked again.
        Notice::PolicyChanged => {
            state.bump_epoch();
            fetcher.count(Event::PolicyChange);
            say(fetcher, "a policy was changed");
        }
        Notice::ProfileChanged { realm, agent } if is_own(fetcher, &realm, &agent) => {
            read_profile_again(fetcher, term);
            fetcher.count(Event::ConfigChange);
            say(fetcher, "the agent's profile was changed");
        }
        Notice::Refused(why) => {
            let text = format!("AM: {why}");
            fetcher
                .worker
                .write(fetcher.index, Line::log(Code::NotificationsFailed, text));
        }
        Notice::ProfileChanged { .. } | Notice::Subscribed | Notice::Other => {}
    }
}

fn say(fetcher: &Fetcher, what: &str) {
    fetcher
        .worker
        .write(fetcher.index, Line::log(Code::Notified, what));
}

fn is_own(fetcher: &Fetcher, realm: &str, agent: &str) -> bool {
    fetcher.instance().start().is_some_and(|start| {
        let config = &start.config;
        config.organization_name.eq_ignore_ascii_case(realm)
            && config.username.eq_ignore_ascii_case(agent)
    })
}

fn key(fetcher: &Fetcher, token: &Secret) -> Option<SessionKey> {
    let snapshot = fetcher.instance().snapshot()?;
    Some(snapshot.session_key(token.expose()))
}

/// Rule S1 for a session that is known here. Events come for every session of the deployment: the others
/// are only kept from being stored by a question that is under way.
fn session_over(fetcher: &Fetcher, token: &Secret) {
    let Some(session) = key(fetcher, token) else {
        return;
    };
    let (sessions, now) = (fetcher.mapping().sessions(), clock::boottime_ms());
    let mut record = Vec::new();
    if sessions.get(Key(session.0), now, &mut record).is_none() {
        return fetcher.call_dead(session, OVER_FOR);
    }
    let end = Session::decode(&record).map_or(0, |session| session.max_end);
    // Full: looks at this place say "unknown" from now on, and AM is asked.
    let _ = fetcher.end_here(session, left(UnixMillis(end), ENDED_FOR));
    fetcher.count(Event::SessionChange);
    say(fetcher, "a session has ended");
}

/// What is known of a session goes, and with it what was decided about it.
pub(crate) fn forget(mapping: &Mapping, state: &InstanceState<'_>, key: u128, now: u64) {
    if !mapping.sessions().remove(Key(key))
        && let Some(since) = state.spare(VALID_SINCE)
    {
        // Somebody was writing there: then no session that was learnt before counts.
        since.fetch_max(now, Ordering::AcqRel);
    }
}

/// Rule S6: the session is asked about again, and what was decided about another state of it does not
/// count any more.
fn session_changed(fetcher: &Fetcher, token: &Secret) {
    let Some(SessionKey(key)) = key(fetcher, token) else {
        return;
    };
    let (mapping, now) = (fetcher.mapping(), clock::boottime_ms());
    fetcher.state().bump_revocations();
    if mapping
        .sessions()
        .get(Key(key), now, &mut Vec::new())
        .is_none()
    {
        return;
    }
    fetcher.count(Event::Removed);
    forget(mapping, &fetcher.state(), key, now);
    fetcher.count(Event::SessionChange);
    say(fetcher, "a session was changed");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_and_have_a_limit() {
        let mut attempts = Attempts::default();
        for n in 0..40 {
            let whole = PAUSE_MS.0.saturating_mul(1 << n.min(10)).min(PAUSE_MS.1);
            let pause = attempts.pause().as_millis() as u64;
            assert!((whole / 2..=whole).contains(&pause), "{n}: {pause}");
        }
    }

    #[test]
    fn every_refusal_has_a_likely_cause() {
        let known = [200, 302, 400, 401, 403, 404, 426, 502, 503, 504];
        assert!(known.iter().all(|status| likely(*status) != likely(418)));
    }
}

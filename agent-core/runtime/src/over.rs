//! Which sessions are over, and who has to know?
//!
//! A logout holds for all workers before its response (rule S1), and AM is told; what AM calls dead is
//! remembered for a moment (rule S3). Must not let anybody take room that others need: tokens can be made
//! up.

use std::{
    rc::Rc,
    time::{Duration, Instant},
};

use portcullis_engine::{
    am::{
        AmError,
        a::{is_client_side, logout},
    },
    config,
    contract::{Cause, FactError, Receipt, SessionKey, UnixMillis},
    event::Code,
    token::Secret,
};
use portcullis_shm::{Ended, Key, Stamp, clock};

use crate::{
    client::Permit,
    ended,
    fetch::{Fetcher, call},
    lines::Line,
    logs::wall_ms,
    meter::Event,
    untold,
};

/// How long a definite "dead" is remembered (rule S3: at most 60 s).
const DEAD_FOR: u64 = 30_000;
/// A token seen alive this recently is never remembered as dead (rule S3).
const JUST_ALIVE: u64 = 30_000;
/// How long an ended session is remembered whose own end is not known.
pub(crate) const ENDED_FOR: u64 = 24 * 3_600_000;
/// The same of a client-side one, which AM never forgets by itself.
const CLIENT_SIDE_ENDED_FOR: u64 = 30 * ENDED_FOR;
/// How long the end of a session is remembered at first that nobody here knows.
const STRANGER_ENDED_FOR: u64 = 60_000;
/// Between attempts to tell AM of a logout.
pub(crate) const LOGOUT_RETRY: Duration = Duration::from_secs(5);

impl Fetcher {
    /// Whether a session ended here: in this run of the server or, for what AM forgets, before it.
    pub(crate) fn ended(&self, key: SessionKey, token: &Secret, client_side: bool) -> Ended {
        let now = clock::boottime_ms();
        let in_this_run = self.mapping().ended().look(Key(key.0), now);
        match (client_side, in_this_run) {
            (false, _) | (true, Ended::Yes) => in_this_run,
            (true, known) => {
                let name = ended::name(&self.identity(), token);
                match self.mapping().ended().look(name, now) {
                    Ended::No => known,
                    before => before,
                }
            }
        }
    }

    fn identity(&self) -> [u8; 16] {
        let start = self.instance().start();
        start.map_or([0; 16], |start| config::identity(&start.config))
    }

    /// Rule S3.
    pub(crate) fn remember_dead(&self, key: SessionKey) {
        let now = clock::boottime_ms();
        let mut record = Vec::new();
        let seen = self.mapping().sessions().get(Key(key.0), now, &mut record);
        let _ = self.mapping().sessions().remove(Key(key.0)); // the other set decides
        if seen.is_some() {
            self.state().bump_revocations();
            self.count(Event::Removed);
        }
        if seen.is_some_and(|stamp| now.saturating_sub(stamp.stored_at) < JUST_ALIVE) {
            return;
        }
        self.call_dead(key, DEAD_FOR);
    }

    /// Rule S1: known to all workers before the response; AM is told now, or later if it is down.
    pub(crate) async fn end_session(
        self: &Rc<Self>,
        key: SessionKey,
        token: &Secret,
        expires: UnixMillis,
        deadline: Instant,
    ) -> Result<Receipt, FactError> {
        let client_side = is_client_side(token.expose());
        let life = match client_side {
            true => left(expires, CLIENT_SIDE_ENDED_FOR),
            false => left(expires, ENDED_FOR),
        };
        // Anybody can make up a token that nobody here has seen: until AM says more, it gets a small place.
        let known = expires.0 > wall_ms() || self.has_seen(key);
        let mut recorded = match known {
            true => self.end_here(key, life),
            false => self.end_of_stranger(key, STRANGER_ENDED_FOR),
        };
        let told = self
            .worker
            .within(deadline, self.tell_logout(token, deadline))
            .await;
        self.learn(key.0, &told);
        // A token that AM has never given out, or that is over, needs no line.
        let over = matches!(told, Ok(logout::Ended::Before) | Err(FactError::Dead));
        if !known && !over {
            recorded = match told {
                Ok(_) => self.end_here(key, life),
                Err(_) => self.end_of_stranger(key, life),
            };
        }
        if client_side && !over && (known || recorded) {
            recorded &= self.write_down(token, life);
        }
        match (recorded, told) {
            // AM lets nobody in with it.
            (false, _) if over && !known => {}
            (true, Ok(_)) | (true, Err(FactError::Dead)) => {}
            (true, Err(_)) => untold::later(self, token),
            // Not recorded, but AM itself has ended it: enough for all but client-side tokens.
            (false, Ok(_)) if !client_side => {}
            (false, _) => return Err(FactError::Unavailable(Cause::Store)),
        }
        Ok(Receipt::Done)
    }

    /// Rule S1: from now on the session has ended for all workers, for so many milliseconds. `false`: that
    /// could not be recorded.
    pub(crate) fn end_here(&self, SessionKey(key): SessionKey, life: u64) -> bool {
        let now = clock::boottime_ms();
        let recorded = self.mapping().ended().insert(Key(key), now + life, now);
        let _ = self.mapping().sessions().remove(Key(key)); // the other set decides
        self.count(Event::Removed);
        self.state().bump_revocations();
        recorded
    }

    /// The same for a session that nobody here knows: of those only so many are remembered.
    fn end_of_stranger(&self, SessionKey(key): SessionKey, life: u64) -> bool {
        let now = clock::boottime_ms();
        let ended = self.mapping().ended();
        let recorded = ended.insert_of_stranger(Key(key), now + life, now);
        if recorded {
            self.state().bump_revocations();
        }
        recorded
    }

    /// Whether AM said something good of the session here, not long ago.
    fn has_seen(&self, SessionKey(key): SessionKey) -> bool {
        let now = clock::boottime_ms();
        let sessions = self.mapping().sessions();
        sessions.get(Key(key), now, &mut Vec::new()).is_some()
    }

    /// AM calls the session dead: for so many milliseconds nobody has to ask.
    pub(crate) fn call_dead(&self, SessionKey(key): SessionKey, life: u64) {
        let now = clock::boottime_ms();
        let stamp = Stamp {
            stored_at: now,
            expires_at: now + life,
            ..Stamp::default()
        };
        let _ = self.mapping().dead().put(Key(key), stamp, &[]); // no room: AM is asked again
    }

    /// What AM forgets has to survive a stop of the server (rule S1).
    fn write_down(&self, token: &Secret, life: u64) -> bool {
        let until = UnixMillis(wall_ms().saturating_add(life));
        let kept = match self.instance().ended() {
            Some(file) => file.keep(ended::name(file.instance(), token), until),
            None => Err(std::io::Error::other("the file could not be opened")),
        };
        if let Err(error) = &kept {
            let line = Line::log(Code::EndedFile, error.to_string());
            self.worker.write(self.index, line);
        }
        kept.is_ok()
    }

    pub(crate) async fn tell_logout(
        &self,
        token: &Secret,
        deadline: Instant,
    ) -> Result<logout::Ended, FactError> {
        self.refuse_while_open()?;
        let call = call(Permit::KnownSession, deadline);
        self.am.logout(token, call).await.map_err(AmError::fact)
    }
}

/// Milliseconds until then, or `unknown` where that is not known or past.
pub(crate) fn left(until: UnixMillis, unknown: u64) -> u64 {
    match until.0.saturating_sub(wall_ms()) {
        0 => unknown,
        left => left,
    }
}

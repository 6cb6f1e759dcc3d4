//! Is AM there at all, or may everybody stop waiting for it?
//!
//! A failure alone opens nothing: one worker asks AM anonymously, and only when that fails in the same
//! way do all workers stop asking (rule O1). While they do, one of them goes on looking, and the first
//! answer ends it. Must not decide what a request gets; that is the fail-closed table's.

use std::{rc::Rc, time::Duration};

use portcullis_engine::{
    contract::{Cause, FactError},
    event::Code,
};
use portcullis_shm::clock;

use crate::{
    client::{Call, Permit},
    fetch::Fetcher,
    lines::Line,
};

/// What the question whether AM is there may take, for each of its servers an equal part.
const PATIENCE: Duration = Duration::from_millis(1_500);
/// From one such question to the next; longer than the question may take.
const PAUSE_MS: u64 = 2_000;
/// Stands for the agent's own calls where others name a session.
pub(crate) const OWN: u128 = 1;

impl Fetcher {
    /// AM's absence, where it is known: nothing has to wait for a deadline to learn it.
    pub(crate) fn refuse_while_open(&self) -> Result<(), FactError> {
        match self.state().breaker().is_open() {
            true => Err(FactError::Unavailable(Cause::Breaker)),
            false => Ok(()),
        }
    }

    /// Looks at what became of a call about a session.
    pub(crate) fn learn<T>(self: &Rc<Self>, session: u128, result: &Result<T, FactError>) {
        let breaker = self.state().breaker();
        match result {
            // A question that began earlier and still hangs says nothing any more.
            Ok(_) | Err(FactError::Dead | FactError::NotAllowed) => {
                breaker.answered(clock::boottime_ms());
            }
            Err(FactError::Unavailable(cause)) => self.suspect(session, *cause),
        }
    }

    fn suspect(self: &Rc<Self>, session: u128, cause: Cause) {
        let now = clock::boottime_ms();
        let breaker = self.state().breaker();
        // The upper half of the digest: as good as any.
        let session = (session >> 64) as u64 ^ session as u64;
        if cause.tells_of_am()
            && !breaker.is_open()
            && breaker.suspect(session, now, now + PAUSE_MS)
        {
            tokio::task::spawn_local(self.clone().probe());
        }
    }

    /// Looks whether AM is back, when it is this worker's turn.
    pub(crate) fn recheck(self: &Rc<Self>) {
        let now = clock::boottime_ms();
        let breaker = self.state().breaker();
        if breaker.is_doubtful() && breaker.probe_try(now, now + PAUSE_MS) {
            tokio::task::spawn_local(self.clone().probe());
        }
    }

    async fn probe(self: Rc<Self>) {
        let call = Call {
            permit: Permit::Probe,
            until: tokio::time::Instant::now() + PATIENCE,
        };
        let asked_at = clock::boottime_ms();
        let answer = self.am.reachable(call).await;
        let (breaker, now) = (self.state().breaker(), clock::boottime_ms());
        match answer {
            Err(failure) if failure.cause.tells_of_am() => {
                if breaker.open(asked_at, now) {
                    let text = format!("{:?}: {}", failure.cause, failure.why);
                    // Seldom, and somebody has to act: the line says what to do.
                    let text = format!("{text}; {}", Code::BreakerOpened.row().remedy);
                    self.tell(Code::BreakerOpened, text);
                }
            }
            // Whatever it says, it is there; what is wrong besides has a code of its own.
            Ok(()) | Err(_) => {
                if let Some(since) = breaker.close(now) {
                    let text = format!("after {} ms", now.saturating_sub(since));
                    self.tell(Code::BreakerClosed, text);
                    self.kick.notify_one();
                }
            }
        }
    }

    fn tell(&self, code: Code, text: String) {
        self.worker.write(self.index, Line::log(code, text));
    }
}

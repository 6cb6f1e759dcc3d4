//! Which keys does AM sign ID tokens with? They are kept in shared memory for all workers, and looked at
//! anew for a key that is not among them: seldom, however many tokens name one, because anybody can make
//! such a token. Must not judge a token.

use std::{
    sync::atomic::Ordering,
    time::{Duration, Instant},
};

use portcullis_engine::{
    am::AmError,
    contract::{Cause, FactError},
    event::Code,
    record::PublishedKeys,
};
use portcullis_shm::{Stamp, clock};

use crate::{
    client::Permit,
    fetch::{Fetcher, call},
    lines::Line,
    memo::{Kind, table_key},
};

/// How long keys are used before they are looked at anew, milliseconds: what AM has withdrawn counts no
/// longer than this.
const KEPT_FOR: u64 = 3_600_000;
/// From one look for an unknown key to the next, in all workers together, milliseconds.
const AGAIN_AFTER: u64 = 10_000;
/// The same where AM gave no keys.
const AGAIN_AFTER_FAILURE: u64 = 1_000;
/// When somebody looked for an unknown key last, milliseconds of the shared clock; a word of the instance
/// that all workers share.
const LOOKED_AT: usize = 2;
/// How often a request looks whether somebody else's answer is there.
const LOOK: Duration = Duration::from_millis(20);

impl Fetcher {
    /// The keys; with `newer` those that AM has now, where nobody has looked lately.
    pub(crate) async fn keys(
        &self,
        key: u128,
        newer: bool,
        deadline: Instant,
    ) -> Result<Vec<u8>, FactError> {
        match newer {
            true => self.newer_keys(key, deadline).await,
            false => self.ask_keys(key, deadline).await,
        }
    }

    async fn newer_keys(&self, key: u128, deadline: Instant) -> Result<Vec<u8>, FactError> {
        let word = self.state().spare(LOOKED_AT);
        let word = word.ok_or(FactError::Unavailable(Cause::Store))?;
        loop {
            let (looked, now) = (word.load(Ordering::Acquire), clock::boottime_ms());
            let due = looked == 0 || now.saturating_sub(looked) >= AGAIN_AFTER;
            let claim = || word.compare_exchange(looked, now, Ordering::AcqRel, Ordering::Acquire);
            if due && claim().is_ok() {
                let answer = self.ask_keys(key, deadline).await;
                if answer.is_err() {
                    let sooner = now.saturating_sub(AGAIN_AFTER - AGAIN_AFTER_FAILURE);
                    let _ = word.compare_exchange(now, sooner, Ordering::AcqRel, Ordering::Acquire);
                }
                return answer;
            }
            // Whoever looked last has them, or will.
            if let Some(record) = (!due).then(|| self.stored_keys(key, looked)).flatten() {
                return Ok(record);
            }
            self.refuse_while_open()?;
            if Instant::now() >= deadline {
                return Err(FactError::Unavailable(Cause::Timeout));
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    /// What is stored, if it was learnt at that time or later.
    fn stored_keys(&self, key: u128, since: u64) -> Option<Vec<u8>> {
        let mut record = Vec::new();
        let name = table_key(Kind::Keys, key);
        let stamp = self.mapping().decisions();
        let stamp = stamp.get(name, clock::boottime_ms(), &mut record)?;
        (stamp.stored_at >= since).then_some(record)
    }

    async fn ask_keys(&self, key: u128, deadline: Instant) -> Result<Vec<u8>, FactError> {
        let asked_at = clock::boottime_ms();
        let answer = self.am.keys(call(Permit::Other, deadline)).await;
        let record = answer.map_err(AmError::fact)?;
        let stamp = Stamp {
            stored_at: asked_at,
            expires_at: asked_at + KEPT_FOR,
            ..Stamp::default()
        };
        // A busy or full place costs one more question to AM.
        let name = table_key(Kind::Keys, key);
        let _ = self.mapping().decisions().put(name, stamp, &record);
        let keys = PublishedKeys::decode(&record).unwrap_or(PublishedKeys::NONE);
        let names: Vec<String> = keys
            .iter()
            .map(|key| format!("{:?} {}", key.id, key.kind.word()))
            .collect();
        let text = format!("{} keys: {}", names.len(), names.join(", "));
        self.worker
            .write(self.index, Line::log(Code::KeysRead, text));
        Ok(record)
    }
}

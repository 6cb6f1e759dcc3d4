//! What goes wrong next? Faults are matched by path and counted; doing the damage is the server's business.

use parking_lot::Mutex;
use serde::Deserialize;
use std::time::Duration;
use tokio::sync::watch;

/// What a fault does to a call.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Damage {
    /// Never answers; the connection stays open until the client or the server goes.
    Hang,
    /// Answers properly, but not before the faults are cleared: holds calls back without guessing at times.
    Hold,
    /// Answers what was right when it was asked, but not before the faults are cleared: the answer is old when it comes.
    Late,
    /// Resets the connection instead of answering (RST).
    Reset,
    /// Answers properly, one byte of the body at a time.
    SlowBody {
        /// Milliseconds between bytes.
        delay_ms: u64,
    },
    /// Answers 200 and a body that never ends.
    EndlessBody,
    /// Answers 200 with a body that is neither JSON nor XML, whatever its type says.
    Garbage,
    /// Writes bytes that are not HTTP and closes.
    NotHttp,
    /// Answers with this status: AM's error document for 401 and 403, a proxy's page otherwise.
    Status {
        /// HTTP status.
        status: u16,
    },
    /// Ends all agents' sessions, or those of one agent, and then answers properly.
    KillAgentSessions {
        /// Agent name; all when absent.
        #[serde(default)]
        agent: Option<String>,
    },
}

/// A fault and when it strikes.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Fault {
    /// Prefix of the path below the deployment URI. Of a `/json` call both the path as it came and the one without its
    /// realm are looked at: `/json/policies` strikes in every realm. Empty: every call.
    #[serde(default)]
    pub path: String,
    /// Let so many matching calls pass first.
    #[serde(default)]
    pub after: u64,
    /// Strike so many times; absent: until cleared.
    #[serde(default)]
    pub times: Option<u64>,
    /// What happens.
    pub damage: Damage,
}

impl Fault {
    /// A fault that strikes every call below a path until it is cleared.
    #[must_use]
    pub fn on(path: &str, damage: Damage) -> Self {
        Self {
            path: path.to_owned(),
            after: 0,
            times: None,
            damage,
        }
    }

    /// Lets so many matching calls pass first.
    #[must_use]
    pub fn after(mut self, calls: u64) -> Self {
        self.after = calls;
        self
    }

    /// Strikes only so many times.
    #[must_use]
    pub fn times(mut self, times: u64) -> Self {
        self.times = Some(times);
        self
    }
}

/// The faults of one AM.
#[derive(Debug, Default)]
pub(crate) struct Faults {
    /// Each with the number of matching calls so far.
    list: Mutex<Vec<(Fault, u64)>>,
    /// How often the list was cleared: what held calls wait for.
    cleared: watch::Sender<u64>,
}

/// A fault that struck.
#[derive(Debug, PartialEq)]
pub(crate) struct Strike {
    pub(crate) damage: Damage,
    /// How often the list had been cleared at that moment.
    cleared: u64,
}

/// The pause between the bytes of a slow body.
pub(crate) fn pause(delay_ms: u64) -> Duration {
    Duration::from_millis(delay_ms)
}

impl Faults {
    pub(crate) fn add(&self, fault: Fault) {
        self.list.lock().push((fault, 0));
    }

    pub(crate) fn clear(&self) {
        let mut list = self.list.lock();
        list.clear();
        self.cleared.send_modify(|n| *n += 1);
    }

    /// Waits until the list has been cleared after a strike.
    pub(crate) async fn released(&self, strike: &Strike) {
        let mut cleared = self.cleared.subscribe();
        // Fails only when the sender is gone, and that is `self`.
        let _ = cleared.wait_for(|n| *n != strike.cleared).await;
    }

    /// The damage for a call with these paths: the first fault that strikes. Every matching fault up to it counts the
    /// call.
    pub(crate) fn strike(&self, paths: &[&str]) -> Option<Strike> {
        let mut list = self.list.lock();
        for (fault, seen) in list.iter_mut() {
            if !paths.iter().any(|p| p.starts_with(&fault.path)) {
                continue;
            }
            *seen += 1;
            let strikes = seen.saturating_sub(fault.after);
            if strikes > 0 && fault.times.is_none_or(|t| strikes <= t) {
                return Some(Strike {
                    damage: fault.damage.clone(),
                    cleared: *self.cleared.borrow(),
                });
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_and_passes() {
        let faults = Faults::default();
        faults.add(Fault::on("/json/policies", Damage::Hang).after(1).times(2));
        let strike = || {
            let struck = faults.strike(&["/json/realms/root/policies", "/json/policies"]);
            struck.map(|s| s.damage)
        };
        assert_eq!(faults.strike(&["/json/agents"]), None);
        assert_eq!(strike(), None);
        assert_eq!(strike(), Some(Damage::Hang));
        assert_eq!(strike(), Some(Damage::Hang));
        assert_eq!(strike(), None);
    }

    #[test]
    fn reads_json() {
        let text = r#"{"path":"/json","times":3,"damage":{"kind":"status","status":503}}"#;
        let fault: Fault = serde_json::from_str(text).unwrap();
        assert_eq!(
            fault,
            Fault::on("/json", Damage::Status { status: 503 }).times(3)
        );
        let text = r#"{"damage":{"kind":"kill-agent-sessions"}}"#;
        assert!(serde_json::from_str::<Fault>(text).is_ok());
        assert!(serde_json::from_str::<Fault>(r#"{"damage":{"kind":"nope"}}"#).is_err());
    }
}

//! Which audit events does AM still have to be given?
//!
//! Each worker gives AM its own, some time after the decision and never while a request waits. What AM does
//! not take in time, or what is left when the worker ends, goes into the local audit file instead: an event
//! is late or elsewhere, but not lost. Must not decide what is audited.

use std::{collections::VecDeque, rc::Rc, time::Duration};

use parking_lot::Mutex;
use portcullis_engine::{
    am::{AmError, a::audit::AuditEvent},
    contract::{Cause, FactError, UnixMillis},
    event::Code,
};
use serde_json::Value;
use tokio::{sync::Notify, time::Instant};

use crate::{
    client::Permit,
    fetch::{Fetcher, call},
    lines::Line,
    logs::wall_ms,
};

/// Events of an instance that wait in one worker; the next ones go into the local file.
const MOST: usize = 2048;
/// So many are given to AM before their time.
const MANY: usize = MOST / 2;
/// How often a worker that has some looks whether it is time.
const LOOK: Duration = Duration::from_secs(1);
/// For one event.
const PATIENCE: Duration = Duration::from_secs(4);

#[derive(Clone)]
struct Unsent {
    time: UnixMillis,
    event: Value,
    /// The local file has it, too.
    is_here: bool,
}

impl Unsent {
    /// What has to go into the local file.
    fn left(self) -> Option<String> {
        (!self.is_here).then(|| self.event.to_string())
    }
}

/// The events of one instance in this worker.
#[derive(Default)]
pub(crate) struct Queue {
    events: Mutex<VecDeque<Unsent>>,
    begun: Notify,
}

impl Queue {
    /// Takes an event, or gives it back where there is no room; `is_here`: the local file has it, too.
    pub(crate) fn push(&self, event: Value, is_here: bool) -> Result<(), Value> {
        let mut events = self.events.lock();
        if events.len() >= MOST {
            return Err(event);
        }
        events.push_back(Unsent {
            time: UnixMillis(wall_ms()),
            event,
            is_here,
        });
        drop(events);
        self.begun.notify_one();
        Ok(())
    }

    /// Takes out all that AM has not been given: how many, and what has to go into the local file.
    pub(crate) fn rest(&self) -> (usize, Vec<String>) {
        let mut events = self.events.lock();
        let count = events.len();
        (count, events.drain(..).filter_map(Unsent::left).collect())
    }

    fn len(&self) -> usize {
        self.events.lock().len()
    }
}

/// Gives AM what there is, for as long as the worker lives.
pub(crate) async fn give(fetcher: Rc<Fetcher>) {
    let Some(queue) = fetcher.worker.unsent(fetcher.index) else {
        return;
    };
    loop {
        if queue.len() == 0 {
            queue.begun.notified().await;
        }
        let begun = Instant::now();
        loop {
            tokio::time::sleep(LOOK).await;
            let over = begun.elapsed() >= interval(&fetcher);
            if over || queue.len() >= MANY || fetcher.worker.draining() {
                break;
            }
        }
        give_all(&fetcher, queue).await;
    }
}

fn interval(fetcher: &Fetcher) -> Duration {
    let snapshot = fetcher.instance().snapshot();
    let minutes = snapshot.map_or(0, |s| s.config.remote_log_interval);
    Duration::from_secs(u64::from(minutes) * 60)
}

/// One attempt for each, in order, until AM does not answer.
async fn give_all(fetcher: &Fetcher, queue: &Queue) {
    let mut refused: Option<(usize, FactError)> = None;
    loop {
        // It stays in the queue until AM has it: this task may be gone before.
        let Some(next) = queue.events.lock().front().cloned() else {
            break;
        };
        match give_one(fetcher, &next).await {
            Ok(()) => {}
            Err(error) if is_refusal(error) => {
                let count = refused.map_or(0, |(count, _)| count);
                refused = Some((count + 1, error));
                if let Some(event) = next.left() {
                    fetcher.worker.keep_audit_here(fetcher.index, event);
                }
            }
            Err(_) => break,
        }
        queue.events.lock().pop_front();
    }
    if let Some((count, error)) = refused {
        let text = format!("{count} ({error:?})");
        let line = Line::log(Code::AuditRefused, text);
        fetcher.worker.write(fetcher.index, line);
    }
}

/// Whether AM would say the same of this event the next time.
fn is_refusal(error: FactError) -> bool {
    match error {
        FactError::Dead | FactError::NotAllowed => true,
        FactError::Unavailable(Cause::Status(status)) => {
            (400..500).contains(&status) && status != 429
        }
        FactError::Unavailable(_) => false,
    }
}

async fn give_one(fetcher: &Fetcher, unsent: &Unsent) -> Result<(), FactError> {
    fetcher.refuse_while_open()?;
    let deadline = std::time::Instant::now() + PATIENCE;
    let Unsent { time, event, .. } = unsent;
    let text = |path: &str| event.pointer(path).and_then(Value::as_str).unwrap_or("");
    let asked = "/http/request";
    let secure = event
        .pointer("/http/request/secure")
        .and_then(Value::as_bool);
    let port = event.pointer("/server/port").and_then(Value::as_u64);
    let record = AuditEvent {
        time: *time,
        transaction_id: text("/transactionId"),
        user_id: text("/userId"),
        tracking_id: text("/trackingIds/0"),
        realm: text("/realm"),
        client: (text("/client/ip"), 0),
        server: ("", port.and_then(|p| p.try_into().ok()).unwrap_or(0)),
        secure: secure.unwrap_or(false),
        method: text(&format!("{asked}/method")),
        url: text(&format!("{asked}/path")),
        allowed: text("/response/status") == "SUCCESSFUL",
        elapsed: 0,
    };
    let given = fetcher.with_agent(deadline, async |agent| -> Result<(), AmError> {
        let call = call(Permit::Other, deadline);
        fetcher.am.audit(&agent, &record, call).await
    });
    fetcher.worker.within(deadline, given).await
}

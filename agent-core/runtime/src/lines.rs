//! How does a line get from a request's thread to the logs? Through a bounded queue that the worker's
//! thread empties, so that no request waits for a disk; whoever ends the worker empties it once more.
//!
//! It must not decide what is worth a line, and it loses none without saying how many.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use parking_lot::Mutex;
use portcullis_engine::event::Code;
use tokio::sync::{Notify, mpsc};

use crate::{agent::Agent, logs::Rotations};

/// Lines that may wait to be written; beyond that they are counted and dropped.
const MAX_LINES: usize = 4096;
/// How long the end of a worker may wait for one that is being written.
const LAST_WRITE: Duration = Duration::from_millis(40);

/// Something to write, after the decision.
pub(crate) enum Line {
    Log {
        code: Code,
        text: String,
        /// Into the debug log whatever its level.
        always: bool,
    },
    Audit(String),
}

impl Line {
    /// A line that the level may leave out.
    pub(crate) fn log(code: Code, text: impl Into<String>) -> Line {
        Line::Log {
            code,
            text: text.into(),
            always: false,
        }
    }
}

/// The lines of one worker, each with its instance.
pub(crate) struct Lines {
    sender: mpsc::Sender<(usize, Line)>,
    /// Held while lines are written, which keeps their order.
    receiver: Mutex<mpsc::Receiver<(usize, Line)>>,
    arrived: Notify,
    lost: AtomicU64,
}

impl Lines {
    pub(crate) fn new() -> Lines {
        let (sender, receiver) = mpsc::channel(MAX_LINES);
        Lines {
            sender,
            receiver: Mutex::new(receiver),
            arrived: Notify::new(),
            lost: AtomicU64::new(0),
        }
    }

    /// Queues a line; when the queue is full the line is counted instead.
    pub(crate) fn push(&self, instance: usize, line: Line) {
        if self.sender.try_send((instance, line)).is_err() {
            self.lost.fetch_add(1, Ordering::Relaxed);
        }
        self.arrived.notify_one();
    }

    /// Writes what arrives; the work of the worker's thread.
    pub(crate) async fn write(&self, agent: &Agent) {
        loop {
            self.arrived.notified().await;
            self.flush(agent);
        }
    }

    /// Writes what is queued, unless another thread is stuck at that.
    pub(crate) fn flush(&self, agent: &Agent) {
        let Some(mut receiver) = self.receiver.try_lock_for(LAST_WRITE) else {
            return;
        };
        while let Ok((index, line)) = receiver.try_recv() {
            let Some(instance) = agent.instance(index) else {
                continue;
            };
            let current = instance.snapshot().map(|s| Rotations::of(&s.config));
            let (logs, host) = (instance.logs(), agent.host_log());
            match line {
                Line::Log { code, text, always } => logs.line(host, current, code, &text, always),
                Line::Audit(event) => logs.audit(host, current, &event),
            }
        }
        match self.lost.swap(0, Ordering::Relaxed) {
            0 => {}
            lost => agent.log_all(
                Code::LinesLost,
                &format!("{}: {lost}", Code::LinesLost.row().text),
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{path::Path, sync::Arc};

    use super::*;

    /// An agent with one instance that has no configuration, and what its host's log receives.
    fn listening() -> (Agent, Arc<Mutex<Vec<String>>>) {
        let heard = Arc::new(Mutex::new(Vec::new()));
        let ear = heard.clone();
        let mut agent = Agent::new(Box::new(move |_, line| ear.lock().push(line.to_owned())));
        agent
            .add(Path::new("/nonexistent/agent.conf"), true)
            .unwrap();
        heard.lock().clear();
        (agent, heard)
    }

    #[test]
    fn lines_of_a_worker_without_its_thread_are_written_in_order() {
        let (agent, heard) = listening();
        let lines = Lines::new();
        for text in ["one", "two"] {
            lines.push(0, Line::log(Code::LogoutRetry, text));
        }
        lines.flush(&agent);
        let heard = heard.lock();
        assert_eq!(heard.len(), 2, "{heard:?}");
        assert!(heard[0].ends_with("one") && heard[1].ends_with("two"));
    }

    #[test]
    fn lines_that_find_no_room_are_counted() {
        let (agent, heard) = listening();
        let lines = Lines::new();
        for _ in 0..MAX_LINES + 3 {
            lines.push(0, Line::log(Code::LogoutRetry, ""));
        }
        lines.flush(&agent);
        let heard = heard.lock();
        assert_eq!(heard.len(), MAX_LINES + 1);
        assert_eq!(heard[MAX_LINES], "PCL0620 log lines were lost: 3");
    }
}

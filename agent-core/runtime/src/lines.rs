//! How does a line get from a request's thread to the logs? Through a bounded queue that the worker's
//! thread empties, so that no request waits for a disk; whoever ends the worker empties it once more.
//!
//! It must not decide what is worth a line, and it loses none without saying how many.

use std::{
    collections::HashMap,
    sync::atomic::{AtomicU64, Ordering},
    time::{Duration, Instant},
};

use parking_lot::Mutex;
use portcullis_engine::event::{Code, Severity};
use tokio::sync::{Notify, mpsc};

use crate::{agent::Agent, logs::Rotations};

/// Lines that may wait to be written; beyond that they are counted and dropped.
const MAX_LINES: usize = 4096;
/// How long the end of a worker may wait for one that is being written.
const LAST_WRITE: Duration = Duration::from_millis(40);
/// Lines of one code and instance that a worker writes to the host's error log in one stretch.
const MAX_ALIKE: u32 = 50;
/// How long a stretch is.
const STRETCH: Duration = Duration::from_secs(60);

/// Something to write, after the decision.
pub(crate) enum Line {
    Log {
        code: Code,
        text: String,
        /// Into the debug log whatever its level.
        always: bool,
    },
    Audit(String),
    /// For the file that requests are written down to.
    Record(String),
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

/// Keeps what goes wrong for every request from filling the host's error log, which nobody rotates for
/// us. The debug log gets every line.
#[derive(Default)]
struct Alike(HashMap<(usize, Code), Stretch>);

struct Stretch {
    since: Instant,
    lines: u32,
}

impl Alike {
    /// Whether one more line goes to the host's log.
    fn admits(&mut self, instance: usize, code: Code, now: Instant) -> bool {
        let stretch = self.0.entry((instance, code)).or_insert(Stretch {
            since: now,
            lines: 0,
        });
        stretch.lines = stretch.lines.saturating_add(1);
        stretch.lines <= MAX_ALIKE
    }

    /// The stretches that are over, or all of them: which code, and how many lines were left out.
    fn over(&mut self, now: Instant, all: bool) -> Vec<(usize, Code, u32)> {
        let mut left_out = Vec::new();
        self.0.retain(|(instance, code), stretch| {
            let over = all || now.saturating_duration_since(stretch.since) >= STRETCH;
            if over && stretch.lines > MAX_ALIKE {
                left_out.push((*instance, *code, stretch.lines - MAX_ALIKE));
            }
            !over
        });
        left_out
    }
}

/// The lines of one worker, each with its instance.
pub(crate) struct Lines {
    sender: mpsc::Sender<(usize, Line)>,
    /// Held while lines are written, which keeps their order.
    receiver: Mutex<(mpsc::Receiver<(usize, Line)>, Alike)>,
    arrived: Notify,
    lost: AtomicU64,
}

impl Lines {
    pub(crate) fn new() -> Lines {
        let (sender, receiver) = mpsc::channel(MAX_LINES);
        Lines {
            sender,
            receiver: Mutex::new((receiver, Alike::default())),
            arrived: Notify::new(),
            lost: AtomicU64::new(0),
        }
    }

    /// Queues a line; when the queue is full (`false`) the line is counted instead.
    pub(crate) fn push(&self, instance: usize, line: Line) -> bool {
        let queued = self.sender.try_send((instance, line)).is_ok();
        if !queued {
            self.lost.fetch_add(1, Ordering::Relaxed);
        }
        self.arrived.notify_one();
        queued
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
        self.empty(agent, false);
    }

    /// The same, and the counts of what was left out: for the end of a worker.
    pub(crate) fn flush_last(&self, agent: &Agent) {
        self.empty(agent, true);
    }

    fn empty(&self, agent: &Agent, last: bool) {
        let Some(mut locked) = self.receiver.try_lock_for(LAST_WRITE) else {
            return;
        };
        let (receiver, alike) = &mut *locked;
        let now = Instant::now();
        for (index, code, count) in alike.over(now, false) {
            left_out(agent, index, code, count);
        }
        while let Ok((index, line)) = receiver.try_recv() {
            let Some(instance) = agent.instance(index) else {
                continue;
            };
            let current = instance.snapshot().map(|s| Rotations::of(&s.config));
            let (logs, host) = (instance.logs(), agent.host_log());
            match line {
                Line::Log { code, text, always } => {
                    match code.row().severity > Severity::Info || alike.admits(index, code, now) {
                        true => logs.line(host, current, code, &text, always),
                        false => logs.debug_line(host, current, code, &text, always),
                    }
                }
                Line::Audit(event) => logs.audit(host, current, &event),
                Line::Record(line) => logs.record(host, &line),
            }
        }
        for (index, code, count) in last.then(|| alike.over(now, true)).into_iter().flatten() {
            left_out(agent, index, code, count);
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

/// Says how many lines of a code the host's log does not have.
fn left_out(agent: &Agent, index: usize, code: Code, count: u32) {
    if let Some(instance) = agent.instance(index) {
        let text = format!("PCL{:04}: {count}", code.number());
        let host = agent.host_log();
        instance
            .logs()
            .line(host, None, Code::LinesLeftOut, &text, true);
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
            lines.push(0, Line::Audit(String::new()));
        }
        lines.flush(&agent);
        assert_eq!(*heard.lock(), ["PCL0620 log lines were lost: 3"]);
    }

    #[test]
    fn what_repeats_is_counted_instead_of_written() {
        let (agent, heard) = listening();
        let lines = Lines::new();
        for _ in 0..MAX_ALIKE + 7 {
            lines.push(0, Line::log(Code::LogoutRetry, ""));
        }
        lines.push(0, Line::log(Code::AgentLoginFailed, "another code"));
        lines.flush(&agent);
        assert_eq!(heard.lock().len(), MAX_ALIKE as usize + 1);
        assert!(heard.lock()[MAX_ALIKE as usize].ends_with("another code"));
        lines.flush_last(&agent);
        let number = Code::LogoutRetry.number();
        let last = heard.lock().last().cloned().unwrap();
        assert!(
            last.starts_with("PCL0622") && last.ends_with(&format!("PCL{number:04}: 7")),
            "{last}"
        );
    }

    #[test]
    fn a_stretch_ends_and_the_next_one_begins() {
        let mut alike = Alike::default();
        let begun = Instant::now();
        let admitted = (0..MAX_ALIKE + 2).filter(|_| alike.admits(0, Code::LogoutRetry, begun));
        assert_eq!(admitted.count() as u32, MAX_ALIKE);
        assert!(
            alike.admits(1, Code::LogoutRetry, begun),
            "another instance"
        );
        assert_eq!(alike.over(begun, false), []);
        let later = begun + STRETCH;
        assert_eq!(alike.over(later, false), [(0, Code::LogoutRetry, 2)]);
        assert!(alike.admits(0, Code::LogoutRetry, later));
    }
}

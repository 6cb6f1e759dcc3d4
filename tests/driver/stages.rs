//! Runs one stage after the other, or some side by side, and remembers for each how long it took and how it
//! ended.
//!
//! A stage that fails does not keep later ones from running: whoever waits for a long run wants to
//! know everything that is wrong.

use std::{
    io::Write,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        atomic::{AtomicUsize, Ordering},
        mpsc,
    },
    thread,
    time::{Duration, Instant},
};

use anyhow::anyhow;

use crate::tally::Tally;

/// How a stage ended.
enum End {
    Passed,
    Failed(String),
    Skipped(String),
}

struct Done {
    name: String,
    took: Duration,
    end: End,
}

/// A run.
pub(crate) struct Stages {
    begun: Instant,
    done: Vec<Done>,
    /// The tests of all stages.
    pub(crate) tally: Tally,
}

impl Stages {
    /// Begins the run's clock.
    pub(crate) fn begin() -> Stages {
        Stages {
            begun: Instant::now(),
            done: Vec::new(),
            tally: Tally::default(),
        }
    }

    /// Runs a stage; whether it passed.
    pub(crate) fn run(
        &mut self,
        name: &str,
        work: impl FnOnce(&mut Tally) -> anyhow::Result<()>,
    ) -> bool {
        println!("\n=== {name} (after {})", minutes(self.begun.elapsed()));
        let begun = Instant::now();
        let tally = &mut self.tally;
        // The harness panics where a test would fail; the later stages run all the same.
        let ended = catch_unwind(AssertUnwindSafe(|| work(tally)));
        let end = end(
            name,
            ended.unwrap_or_else(|_| Err(anyhow!("see the message above"))),
        );
        let passed = matches!(end, End::Passed);
        self.note(name, begun.elapsed(), end);
        passed
    }

    /// Runs as many stages as there are `places` side by side; what one prints stays together. `work` gets
    /// the stage's number and the place that it runs at.
    ///
    /// # Errors
    /// The console cannot be written to.
    pub(crate) fn run_beside(
        &mut self,
        names: &[String],
        places: usize,
        work: impl Fn(usize, usize, (&mut dyn Write, &mut Tally)) -> anyhow::Result<()> + Sync,
    ) -> anyhow::Result<()> {
        let (next, (done, all)) = (AtomicUsize::new(0), mpsc::channel());
        let (next, work, begun) = (&next, &work, self.begun);
        thread::scope(|scope| {
            for place in 0..places {
                let done = done.clone();
                scope.spawn(move || {
                    while let Some((number, name)) = {
                        let number = next.fetch_add(1, Ordering::Relaxed);
                        names.get(number).map(|name| (number, name))
                    } {
                        println!("... {name} (after {})", minutes(begun.elapsed()));
                        let (since, mut output) = (Instant::now(), Vec::new());
                        let mut tally = Tally::default();
                        let ended = work(number, place, (&mut output, &mut tally));
                        let told = done.send((name, since.elapsed(), output, tally, ended));
                        if told.is_err() {
                            return; // the console is gone
                        }
                    }
                });
            }
            drop(done);
            for (name, took, output, tally, ended) in all {
                println!("\n=== {name} (after {})", minutes(begun.elapsed()));
                std::io::stdout().write_all(&output)?;
                self.tally.add(tally);
                self.note(name, took, end(name, ended));
            }
            Ok(())
        })
    }

    /// Says on the console and in the summary that a stage did not run, and why.
    pub(crate) fn skip(&mut self, name: &str, why: &str) {
        println!("\n=== {name} SKIPPED: {why}");
        self.note(name, Duration::ZERO, End::Skipped(why.to_owned()));
    }

    fn note(&mut self, name: &str, took: Duration, end: End) {
        self.done.push(Done {
            name: name.to_owned(),
            took,
            end,
        });
    }

    /// Prints the table and the count; whether everything passed.
    pub(crate) fn finish(self) -> bool {
        println!("\n{:<34}{:>8}  result", "stage", "minutes");
        for stage in &self.done {
            let result = match &stage.end {
                End::Passed => "ok".to_owned(),
                End::Failed(why) => format!("FAILED: {}", first_line(why)),
                End::Skipped(why) => format!("skipped: {why}"),
            };
            println!(
                "{:<34}{:>8.1}  {result}",
                stage.name,
                stage.took.as_secs_f64() / 60.0
            );
        }
        println!(
            "{:<34}{:>8.1}",
            "all",
            self.begun.elapsed().as_secs_f64() / 60.0
        );
        for name in &self.tally.failures {
            println!("failed: {name}");
        }
        let good = self.done.iter().all(|s| !matches!(s.end, End::Failed(_)));
        println!("{}", self.tally.line());
        good
    }
}

/// How it ended; a failure is on the console, too.
fn end(name: &str, ended: anyhow::Result<()>) -> End {
    match ended {
        Ok(()) => End::Passed,
        Err(error) => {
            let why = format!("{error:#}");
            println!("=== {name} FAILED: {why}");
            End::Failed(why)
        }
    }
}

fn minutes(time: Duration) -> String {
    format!("{:.1} min", time.as_secs_f64() / 60.0)
}

fn first_line(text: &str) -> &str {
    text.lines().next().unwrap_or_default()
}

//! Says at start that decisions are only reported, and says when that ends (rule O5).
//!
//! The engine decides what is reported; nothing here has a say in that.

use std::{sync::Arc, time::Duration};

use portcullis_engine::{
    config::{Config, Enforcement},
    event::Code,
};

use crate::{
    agent::Agent,
    lines::Line,
    logs::{format_timestamp, wall_ms},
    worker::Worker,
};

/// The longest sleep: the wall clock may be set while it lasts.
const LOOK: u64 = 60_000;

/// The line of a start, where decisions are or were only reported. `now` is the wall clock.
pub(crate) fn at_start(config: &Config, now: u64) -> Option<(Code, String)> {
    let until = end(config)?;
    let code = match now < until {
        true => Code::ReportMode,
        false => Code::ReportEnded,
    };
    let places = config.reported().join(", ");
    Some((code, format!("{places}; until {}", format_timestamp(until))))
}

/// When reporting ends, where there is any.
fn end(config: &Config) -> Option<u64> {
    config
        .mode_until
        .filter(|_| config.uses(Enforcement::Report))
}

/// Writes the line when the time comes: the worker that leads does it, or each that asks no AM.
pub(crate) async fn end_of_reporting(agent: Arc<Agent>, worker: Arc<Worker>, index: usize) {
    let Some(start) = agent.instance(index).and_then(|i| i.start()) else {
        return;
    };
    let Some(until) = end(&start.config) else {
        return;
    };
    let mut left = until.saturating_sub(wall_ms());
    if left == 0 {
        return; // said at start
    }
    while left > 0 {
        tokio::time::sleep(Duration::from_millis(left.min(LOOK))).await;
        left = until.saturating_sub(wall_ms());
    }
    if worker.leads(index) || start.config.rules_only.is_some() {
        let text = format!("until {}", format_timestamp(until));
        let line = Line::Log {
            code: Code::ReportEnded,
            text,
            always: true,
        };
        worker.write(index, line);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_start_says_what_is_only_reported_and_until_when() {
        let mut config = Config {
            mode_until: Some(1_798_761_600_000),
            ..Config::default()
        };
        assert!(at_start(&config, 0).is_none());
        config.mode = Enforcement::Report;
        let (code, text) = at_start(&config, 1_798_761_599_999).unwrap();
        assert_eq!(code, Code::ReportMode);
        assert!(text.starts_with("all paths") && text.ends_with("until 2027-01-01T00:00:00.000Z"));
        let (code, _) = at_start(&config, 1_798_761_600_000).unwrap();
        assert_eq!(code, Code::ReportEnded);
    }
}

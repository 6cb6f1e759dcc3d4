//! How long may what AM said before be used beyond its interval while AM is away (rule O2), where, and for
//! which methods? Must not say when AM is away, nor what AM's own limits are.

use alloc::vec::Vec;

use super::{
    Config, Methods,
    parse::{Problem, Severity, agent_conf},
    raw::Line,
    values::Values,
};

const MAX: &str = "portcullis.grace.max";
/// A day: nobody's rights stay the same for longer without a look.
const MOST: u32 = 86_400;

/// Seconds of one line.
pub(super) fn seconds(values: &mut Values<'_>, line: &Line) -> Option<u32> {
    let found = line.value.parse().ok().filter(|n| *n <= MOST);
    if found.is_none() {
        values.wrong(
            line,
            "is not a number of seconds",
            "write a whole number between 0 and 86400",
        );
    }
    found
}

/// `GET,HEAD`
pub(super) fn methods(values: &mut Values<'_>, to: &mut Methods) {
    let Some(line) = values.last() else { return };
    match Methods::named(&line.value) {
        Some(methods) => *to = methods,
        None => values.wrong(
            line,
            "are not names of methods",
            "write them with commas, as in GET,HEAD",
        ),
    }
}

/// Reports lines that contradict each other, and what can have no effect.
pub(super) fn review(config: &Config, problems: &mut Vec<Problem>) {
    super::by_path::twice(MAX, &config.grace_maxes, problems);
    let wanted = config.grace_max > 0 || config.grace_maxes.iter().any(|entry| entry.value > 0);
    if wanted && !config.strategy.cache_counts() {
        problems.push(Problem {
            severity: Severity::Warning,
            line: None,
            source: agent_conf(),
            property: MAX.into(),
            what: "has no effect, because under this portcullis.strategy.when.am.unavailable nothing counts that AM said before".into(),
            remedy: "choose a strategy with USE_CACHE_UNTIL_EXPIRED, or remove it".into(),
        });
    }
}

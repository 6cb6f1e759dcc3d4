//! For how long would those stay in who are logged in now?
//!
//! A page needs what AM said of the session and of the page; each counts until its interval is over, then for as
//! long as grace lets it, and never beyond the end that AM has set. Must not say what becomes of them then.

use portcullis_runtime::{Left, Remembered};
use serde::Serialize;
use serde_json::{Value, json};

use super::visitors::{Page, Who};

/// Until when, in milliseconds from now.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Span {
    /// How many there are.
    pub(super) count: usize,
    /// When the first of them is over.
    pub(super) first_ms: u64,
    /// When half of them are.
    pub(super) half_ms: u64,
    /// When none is left.
    pub(super) last_ms: u64,
}

/// For how long those who are known now stay in on a page.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Stay {
    /// By their sessions alone; `None` where nobody is let in.
    pub(super) sessions: Option<Span>,
    /// By the decisions that are stored, where one is needed.
    pub(super) decisions: Option<Span>,
    /// When nobody is left who is not let in anyway.
    pub(super) nobody_after_ms: u64,
}

impl Span {
    fn of(mut times: Vec<u64>) -> Option<Span> {
        times.retain(|ms| *ms > 0);
        times.sort_unstable();
        Some(Span {
            count: times.len(),
            first_ms: *times.first()?,
            half_ms: times[(times.len() - 1) / 2],
            last_ms: *times.last()?,
        })
    }
}

impl Stay {
    pub(super) fn of<'r>(page: &Page, known: impl Iterator<Item = &'r Remembered> + Clone) -> Stay {
        let counts = page.case(Who::Lately).is_some_and(|case| case.lets_in());
        let grace = u64::from(page.grace_seconds) * 1000;
        let span = |of: fn(&Remembered) -> &[Left]| {
            let all = known.clone().flat_map(of);
            Span::of(all.map(|left| until(left, grace)).collect()).filter(|_| counts)
        };
        let sessions = span(|known| &known.sessions);
        let decisions = span(|known| &known.decisions).filter(|_| !page.session_only);
        let last = |span: Option<Span>| span.map_or(0, |span| span.last_ms);
        Stay {
            sessions,
            decisions,
            nobody_after_ms: match page.session_only {
                true => last(sessions),
                false => last(sessions).min(last(decisions)),
            },
        }
    }
}

/// Until when something counts, with so much grace.
fn until(left: &Left, grace: u64) -> u64 {
    (left.fresh + grace)
        .saturating_sub(left.over)
        .min(left.ends)
}

/// How many there are, and until when they count without grace.
pub(super) fn summary(all: &[Left]) -> Value {
    let span = fresh(all);
    json!({ "known": all.len(), "fresh": span.map_or(0, |span| span.count), "until": span })
}

/// Those that count without grace.
pub(super) fn fresh(all: &[Left]) -> Option<Span> {
    Span::of(all.iter().map(|left| until(left, 0)).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn left(fresh: u64, over: u64, ends: u64) -> Left {
        Left { fresh, over, ends }
    }

    #[test]
    fn grace_begins_where_the_interval_ends_and_ends_with_the_session() {
        for (left, grace, wanted) in [
            (left(60, 0, 1000), 0, 60),
            (left(60, 0, 1000), 100, 160),
            (left(60, 0, 90), 100, 90),
            (left(60, 0, 0), 100, 0),
            (left(0, 30, 1000), 0, 0),
            (left(0, 30, 1000), 100, 70),
            (left(0, 130, 1000), 100, 0),
        ] {
            assert_eq!(until(&left, grace), wanted, "{left:?} {grace}");
        }
    }

    #[test]
    fn half_of_them_are_out_when_half_are() {
        let span = |times: &[u64]| {
            Span::of(times.to_vec()).map(|s| (s.count, s.first_ms, s.half_ms, s.last_ms))
        };
        assert_eq!(span(&[]), None);
        assert_eq!(span(&[0, 0]), None);
        assert_eq!(span(&[7]), Some((1, 7, 7, 7)));
        assert_eq!(span(&[30, 10, 0, 20, 40]), Some((4, 10, 20, 40)));
    }
}

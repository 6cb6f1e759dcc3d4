//! Is what is decided carried out, and until when is it only reported (rule O5)?
//!
//! Reads the date and says what is missing. It must not look at a clock: that is the request's.

use alloc::{format, string::String, vec::Vec};

use super::{
    Config,
    parse::{Problem, Severity, agent_conf},
    raw::Line,
    values::Values,
};

const MODE: &str = "portcullis.mode";
const UNTIL: &str = "portcullis.mode.until";
const SHADOW: &str = "portcullis.shadow.policy.set";

/// `portcullis.mode`, from the laxest to the strictest.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Enforcement {
    /// Everything is decided and reported, and nothing is refused.
    Report,
    /// Decisions are carried out, and compared with those of a second policy set.
    Shadow,
    /// Decisions are carried out.
    #[default]
    Enforce,
}

impl Enforcement {
    const WORDS: [(&'static str, Enforcement); 3] = [
        ("enforce", Enforcement::Enforce),
        ("report", Enforcement::Report),
        ("shadow", Enforcement::Shadow),
    ];

    /// The word of the property.
    pub fn word(self) -> &'static str {
        let found = Self::WORDS.iter().find(|(_, mode)| *mode == self);
        found.map_or("", |(word, _)| word)
    }

    /// One of the words, without case.
    pub(super) fn read(values: &mut Values<'_>, line: &Line) -> Option<Enforcement> {
        let mut words = Self::WORDS.iter();
        let found = words.find(|(word, _)| word.eq_ignore_ascii_case(&line.value));
        if found.is_none() {
            values.wrong(
                line,
                "is not a known word",
                "write one of enforce, report, shadow",
            );
        }
        found.map(|(_, mode)| *mode)
    }
}

impl Config {
    /// The modes that count somewhere.
    pub fn uses(&self, mode: Enforcement) -> bool {
        self.mode == mode || self.modes.iter().any(|entry| entry.value == mode)
    }
}

/// Reports what a mode lacks.
pub(super) fn review(config: &Config, problems: &mut Vec<Problem>) {
    super::by_path::twice(MODE, &config.modes, problems);
    let mut add = |severity, property: &str, what: String, remedy: &str| {
        problems.push(Problem {
            severity,
            line: None,
            source: agent_conf(),
            property: property.into(),
            what,
            remedy: remedy.into(),
        });
    };
    if config.uses(Enforcement::Report) && config.mode_until.is_none() {
        add(
            Severity::Error,
            UNTIL,
            "is missing or no date, and portcullis.mode = report needs an end".into(),
            "write the day on which enforcing begins, as in 2027-01-31",
        );
    }
    if config.uses(Enforcement::Shadow) && config.shadow_set.is_none() {
        add(
            Severity::Error,
            SHADOW,
            "is missing, and portcullis.mode = shadow compares with it".into(),
            "name the second policy set",
        );
    }
    for (property, set, mode) in [
        (UNTIL, config.mode_until.is_some(), Enforcement::Report),
        (SHADOW, config.shadow_set.is_some(), Enforcement::Shadow),
    ] {
        if set && !config.uses(mode) {
            let what = format!("has no effect, because no {MODE} is {}", mode.word());
            add(Severity::Warning, property, what, "remove it");
        }
    }
}

/// Milliseconds since 1970 of an RFC 3339 date (its beginning, UTC) or date and time.
pub(super) fn moment(text: &str) -> Option<u64> {
    let (date, time) = match text.split_once(['T', 't', ' ']) {
        Some((date, time)) => (date, Some(time)),
        None => (text, None),
    };
    let days = days(date)?;
    let seconds = match time {
        Some(time) => time_of_day(time)?,
        None => 0,
    };
    let total = i64::from(days) * 86_400 + i64::from(seconds);
    u64::try_from(total).ok()?.checked_mul(1000)
}

/// So many digits and nothing else.
fn digits(text: &str, count: usize) -> Option<i32> {
    let good = text.len() == count && text.bytes().all(|b| b.is_ascii_digit());
    good.then(|| text.parse().ok())?
}

/// Days since 1970 of `2027-01-31`.
fn days(date: &str) -> Option<i32> {
    let mut parts = date.split('-');
    let year = digits(parts.next()?, 4)?;
    let month = digits(parts.next()?, 2)?;
    let day = digits(parts.next()?, 2)?;
    let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let last = match month {
        2 if leap => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        1..=12 => 31,
        _ => return None,
    };
    if parts.next().is_some() || !(1..=last).contains(&day) || year < 1970 {
        return None;
    }
    // Howard Hinnant, "chrono-compatible low-level date algorithms": years begin in March.
    let year = if month <= 2 { year - 1 } else { year };
    let (era, of_era) = (year / 400, year % 400);
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    Some(era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + day_of_year - 719_468)
}

/// Seconds of `15:04:05Z`, `15:04:05.5+01:00`, in UTC; fractions are cut.
fn time_of_day(text: &str) -> Option<i32> {
    let (time, offset) = match text.strip_suffix(['Z', 'z']) {
        Some(time) => (time, 0),
        None => {
            let at = text.rfind(['+', '-'])?;
            let (time, offset) = text.split_at(at);
            let (hours, minutes) = offset.get(1..)?.split_once(':')?;
            let (hours, minutes) = (digits(hours, 2)?, digits(minutes, 2)?);
            if hours > 23 || minutes > 59 {
                return None;
            }
            let seconds = hours * 3600 + minutes * 60;
            let east = offset.starts_with('+');
            (time, if east { seconds } else { -seconds })
        }
    };
    let time = match time.split_once('.') {
        None => time,
        Some((time, part)) if !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit()) => time,
        Some(_) => return None,
    };
    let mut parts = time.split(':');
    let hours = digits(parts.next()?, 2)?;
    let minutes = digits(parts.next()?, 2)?;
    let seconds = digits(parts.next()?, 2)?;
    let good = hours < 24 && minutes < 60 && seconds <= 60 && parts.next().is_none();
    good.then_some(hours * 3600 + minutes * 60 + seconds - offset)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_read_as_rfc_3339_has_them() {
        const DAY: u64 = 86_400_000;
        for (text, expected) in [
            ("1970-01-01", Some(0)),
            ("1970-01-02T00:00:00Z", Some(DAY)),
            ("2000-02-29", Some(951_782_400_000)),
            ("2026-12-31T23:59:59.999Z", Some(1_798_761_599_000)),
            ("2026-12-31t23:59:59z", Some(1_798_761_599_000)),
            ("2027-01-01T00:59:59+01:00", Some(1_798_761_599_000)),
            ("2026-12-31T18:29:59-05:30", Some(1_798_761_599_000)),
            ("2027-02-29", None),
            ("2100-02-29", None),
            ("2027-13-01", None),
            ("2027-00-01", None),
            ("2027-04-31", None),
            ("2027-1-1", None),
            ("27-01-01", None),
            ("2027-01-01T00:00:00", None),
            ("2027-01-01T24:00:00Z", None),
            ("2027-01-01T00:00Z", None),
            ("2027-01-01T00:00:00.Z", None),
            ("2027-01-01T00:00:00+1:00", None),
            ("2027-01-01-01", None),
            ("2027-01-01T", None),
            ("01.02.2027", None),
            ("tomorrow", None),
            ("", None),
            ("\u{661}970-01-01", None),
        ] {
            assert_eq!(moment(text), expected, "{text}");
        }
    }
}

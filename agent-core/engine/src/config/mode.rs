//! Is what is decided carried out, and until when is it only reported (rule O5)?
//!
//! Reads the date and says what is missing. It must not look at a clock: that is the request's.

use alloc::{format, string::String, vec::Vec};

use time::{OffsetDateTime, format_description::well_known::Rfc3339};

use super::{
    Config,
    parse::{Problem, Severity, agent_conf},
    raw::Line,
    values::Values,
};

/// Length of a date, as in 2027-01-31.
const DAY: usize = 10;
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
    /// Where decisions are only reported, in words: paths, and what has no path.
    #[must_use]
    pub fn reported(&self) -> Vec<String> {
        let rest = (self.mode == Enforcement::Report)
            .then(|| String::from("all paths without a mode of their own"));
        let paths = (self.modes.iter())
            .filter(|entry| entry.value == Enforcement::Report)
            .map(|entry| entry.line.index.clone().unwrap_or_default());
        rest.into_iter().chain(paths).collect()
    }

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

/// Milliseconds since 1970 of an RFC 3339 date (its beginning, UTC) or date and time; fractions are cut.
pub(super) fn moment(text: &str) -> Option<u64> {
    let midnight = format!("{text}T00:00:00Z");
    let whole = if text.len() == DAY { &midnight } else { text };
    let time = OffsetDateTime::parse(whole, &Rfc3339).ok()?;
    u64::try_from(time.unix_timestamp()).ok()?.checked_mul(1000)
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

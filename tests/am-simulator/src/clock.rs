//! What time is it, in this AM's opinion? The clock can be moved forward by tests; nothing else reads the system's.

use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// The wall clock plus an offset that tests may move.
#[derive(Debug, Default)]
pub(crate) struct Clock {
    offset_ms: AtomicI64,
}

impl Clock {
    /// Milliseconds since 1970.
    pub(crate) fn now_ms(&self) -> i64 {
        let real = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .map_or(0, |d| i64::try_from(d.as_millis()).unwrap_or(i64::MAX));
        real + self.offset_ms.load(Ordering::Relaxed)
    }

    /// Moves the clock forward.
    pub(crate) fn advance(&self, by: Duration) {
        let ms = i64::try_from(by.as_millis()).unwrap_or(i64::MAX);
        self.offset_ms.fetch_add(ms, Ordering::Relaxed);
    }
}

/// A time taken apart, in UTC.
pub(crate) struct Parts {
    pub(crate) year: i64,
    pub(crate) month: i64,
    pub(crate) day: i64,
    /// Seconds since midnight.
    pub(crate) second_of_day: i64,
    /// 0 = Sunday.
    pub(crate) weekday: i64,
    pub(crate) millis: i64,
}

/// Calendar arithmetic of the proleptic Gregorian calendar (days counted from 0000-03-01, so that the leap day is the
/// last of its year).
pub(crate) fn parts(ms: i64) -> Parts {
    let seconds = ms.div_euclid(1000);
    let days = seconds.div_euclid(86_400);
    let shifted = days + 719_468;
    let era = shifted.div_euclid(146_097);
    let day_of_era = shifted.rem_euclid(146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let month = if shifted_month < 10 {
        shifted_month + 3
    } else {
        shifted_month - 9
    };
    Parts {
        year: year_of_era + era * 400 + i64::from(month <= 2),
        month,
        day: day_of_year - (153 * shifted_month + 2) / 5 + 1,
        second_of_day: seconds.rem_euclid(86_400),
        weekday: (days + 4).rem_euclid(7),
        millis: ms.rem_euclid(1000),
    }
}

/// The number of a day, counted from 1970-01-01: [`parts`] the other way round.
pub(crate) fn day_number(year: i64, month: i64, day: i64) -> i64 {
    let year = year - i64::from(month <= 2);
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    let year_of_era = year.rem_euclid(400);
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    year.div_euclid(400) * 146_097 + day_of_era - 719_468
}

fn time_of(p: &Parts) -> String {
    let s = p.second_of_day;
    format!("{:02}:{:02}:{:02}", s / 3600, s / 60 % 60, s % 60)
}

/// `2026-08-20T09:10:58Z`, as in session answers.
pub(crate) fn iso(ms: i64) -> String {
    let p = parts(ms);
    format!("{:04}-{:02}-{:02}T{}Z", p.year, p.month, p.day, time_of(&p))
}

/// `2026-08-20T09:10:58.123Z`, as in policy answers.
pub(crate) fn iso_millis(ms: i64) -> String {
    let p = parts(ms);
    format!(
        "{:04}-{:02}-{:02}T{}.{:03}Z",
        p.year,
        p.month,
        p.day,
        time_of(&p),
        p.millis
    )
}

/// `20260820091058Z`, as directories write it.
pub(crate) fn generalized(ms: i64) -> String {
    iso(ms).replace(['-', ':', 'T'], "")
}

/// `Fri, 15 Mar 2019 17:38:15 GMT`, as HTTP writes it (RFC 9110, 5.6.7).
pub(crate) fn http_date(ms: i64) -> String {
    const DAYS: [&str; 7] = ["Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"];
    const MONTHS: [&str; 12] = [
        "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
    ];
    let p = parts(ms);
    let name = |names: &[&'static str], at: usize| names.get(at).copied().unwrap_or_default();
    format!(
        "{}, {:02} {} {:04} {} GMT",
        name(&DAYS, p.weekday as usize),
        p.day,
        name(&MONTHS, p.month as usize - 1),
        p.year,
        time_of(&p)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_dates() {
        assert_eq!(iso(0), "1970-01-01T00:00:00Z");
        assert_eq!(iso_millis(1_795_258_091_456), "2026-11-21T10:48:11.456Z");
        assert_eq!(iso(951_782_400_000), "2000-02-29T00:00:00Z");
        assert_eq!(generalized(0), "19700101000000Z");
        assert_eq!(http_date(784_111_777_000), "Sun, 06 Nov 1994 08:49:37 GMT");
        assert_eq!(parts(1_795_258_091_456).weekday, 6);
    }

    #[test]
    fn moves_forward() {
        let c = Clock::default();
        let before = c.now_ms();
        c.advance(Duration::from_secs(3600));
        assert!(c.now_ms() >= before + 3_600_000);
    }
}

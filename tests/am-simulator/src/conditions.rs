//! Does a policy's condition hold now, and until when? If it does not, what would the subject have to do about it?

use crate::clock::{day_number, parts};
use crate::evaluate::list;
use crate::state::texts;
use serde_json::Value;
use std::collections::BTreeMap;
use std::net::Ipv4Addr;

/// What conditions look at.
pub(crate) struct Facts<'a> {
    pub(crate) environment: &'a BTreeMap<String, Vec<String>>,
    pub(crate) auth_level: u32,
    pub(crate) now_ms: i64,
}

/// How a condition turned out.
#[derive(Debug, PartialEq)]
pub(crate) enum Outcome {
    /// Milliseconds since 1970; the largest number when there is no end.
    Holds { until: i64 },
    /// What would help: advice name and value.
    Fails { advices: Vec<(String, String)> },
}

const DAY_MS: i64 = 86_400_000;
const ALWAYS: Outcome = Outcome::Holds { until: i64::MAX };

fn plain(holds: bool) -> Outcome {
    if holds {
        ALWAYS
    } else {
        Outcome::Fails {
            advices: Vec::new(),
        }
    }
}

/// The names of the conditions that this simulator evaluates; others are refused when a policy is made, so that no
/// policy silently means something else than on a real AM.
pub(crate) fn known(condition: &Value) -> Result<(), String> {
    if condition.is_null() {
        return Ok(());
    }
    match condition["type"].as_str().unwrap_or_default() {
        "IPv4" | "AuthLevel" | "SimpleTime" | "OAuth2Scope" => Ok(()),
        "NOT" => known(&condition["condition"]),
        "AND" | "OR" => list(&condition["conditions"]).iter().try_for_each(known),
        other => Err(format!("condition {other} is not simulated")),
    }
}

/// Evaluates a condition; absent holds.
pub(crate) fn check(condition: &Value, facts: &Facts<'_>) -> Outcome {
    if condition.is_null() {
        return ALWAYS;
    }
    match condition["type"].as_str().unwrap_or_default() {
        "IPv4" => plain(address_holds(condition, facts)),
        "AuthLevel" => {
            let need = condition["authLevel"].as_u64().unwrap_or(0);
            if u64::from(facts.auth_level) >= need {
                ALWAYS
            } else {
                let advice = ("AuthLevelConditionAdvice".to_owned(), need.to_string());
                Outcome::Fails {
                    advices: vec![advice],
                }
            }
        }
        "SimpleTime" => time_holds(condition, facts.now_ms),
        "OAuth2Scope" => plain(scopes_hold(condition, facts)),
        "NOT" => plain(matches!(
            check(&condition["condition"], facts),
            Outcome::Fails { .. }
        )),
        "AND" => all(list(&condition["conditions"]), facts),
        "OR" => any(list(&condition["conditions"]), facts),
        _ => plain(false),
    }
}

fn all(conditions: &[Value], facts: &Facts<'_>) -> Outcome {
    let mut until = i64::MAX;
    let mut advices = Vec::new();
    let mut failed = false;
    for condition in conditions {
        match check(condition, facts) {
            Outcome::Holds { until: end } => until = until.min(end),
            Outcome::Fails { advices: more } => {
                failed = true;
                advices.extend(more);
            }
        }
    }
    if failed {
        Outcome::Fails { advices }
    } else {
        Outcome::Holds { until }
    }
}

fn any(conditions: &[Value], facts: &Facts<'_>) -> Outcome {
    let mut advices = Vec::new();
    for condition in conditions {
        match check(condition, facts) {
            Outcome::Fails { advices: more } => advices.extend(more),
            holds @ Outcome::Holds { .. } => return holds,
        }
    }
    Outcome::Fails { advices }
}

/// An address that is no IPv4 address never matches, and is no error.
fn address_holds(condition: &Value, facts: &Facts<'_>) -> bool {
    let first = |name: &str| facts.environment.get(name).and_then(|v| v.first());
    let parse = |text: &str| text.parse::<Ipv4Addr>().ok();
    let start = condition["startIp"].as_str().and_then(parse);
    let end = condition["endIp"].as_str().and_then(parse);
    let in_range = |ip: Ipv4Addr| {
        let simple = matches!((start, end), (Some(s), Some(e)) if s <= ip && ip <= e);
        simple
            || texts(&condition["ipRange"])
                .iter()
                .any(|r| range_has(r, ip))
    };
    if first("requestIp")
        .and_then(|t| parse(t))
        .is_some_and(in_range)
    {
        return true;
    }
    let Some(name) = first("requestDnsName").map(|n| n.to_lowercase()) else {
        return false;
    };
    texts(&condition["dnsName"]).iter().any(|pattern| {
        let pattern = pattern.to_lowercase();
        match pattern.strip_prefix('*') {
            Some(suffix) => name.ends_with(suffix),
            None => name == pattern,
        }
    })
}

/// The scopes that the caller says the request has: the first value of the environment's entry `scope`.
/// One that is none spoils them all (source of OpenAM 16).
fn scopes_hold(condition: &Value, facts: &Facts<'_>) -> bool {
    let said = facts.environment.get("scope").and_then(|v| v.first());
    let said: Vec<&str> = said.map_or("", String::as_str).split_whitespace().collect();
    let plain = |b: u8| b.is_ascii_graphic() && !matches!(b, b'"' | b'\\');
    said.iter().all(|scope| scope.bytes().all(plain))
        && texts(&condition["requiredScopes"])
            .iter()
            .all(|scope| said.contains(&scope.as_str()))
}

/// `192.0.2.1-192.0.2.9` or one address.
fn range_has(range: &str, ip: Ipv4Addr) -> bool {
    let (low, high) = range.split_once('-').unwrap_or((range, range));
    matches!((low.trim().parse::<Ipv4Addr>(), high.trim().parse::<Ipv4Addr>()), (Ok(l), Ok(h)) if l <= ip && ip <= h)
}

/// Dates, days of the week and times of day, in GMT. The window's end limits the decision's life; a last date ends with
/// its day (measured on OpenAM 16.0.5).
fn time_holds(condition: &Value, now_ms: i64) -> Outcome {
    let now = parts(now_ms);
    let minute = now.second_of_day / 60;
    let clock = |member: &str| {
        let (h, m) = condition[member].as_str()?.split_once(':')?;
        Some(h.parse::<i64>().ok()? * 60 + m.parse::<i64>().ok()?)
    };
    let day = |member: &str| {
        let name = condition[member].as_str()?.to_lowercase();
        let names = ["sun", "mon", "tue", "wed", "thu", "fri", "sat"];
        names
            .iter()
            .position(|n| name.starts_with(n))
            .and_then(|i| i64::try_from(i).ok())
    };
    if let (Some(from), Some(to)) = (day("startDay"), day("endDay")) {
        let inside = if from <= to {
            (from..=to).contains(&now.weekday)
        } else {
            now.weekday >= from || now.weekday <= to
        };
        if !inside {
            return plain(false);
        }
    }
    let date = |member: &str| {
        let mut numbers = condition[member].as_str()?.split(':').map(str::parse);
        let mut next = || numbers.next()?.ok();
        Some(day_number(next()?, next()?, next()?) * DAY_MS)
    };
    let mut until = i64::MAX;
    if let (Some(from), Some(to)) = (date("startDate"), date("endDate")) {
        if !(from..to + DAY_MS).contains(&now_ms) {
            return plain(false);
        }
        until = to + DAY_MS;
    }
    match (clock("startTime"), clock("endTime")) {
        (Some(from), Some(to)) if (from..to).contains(&minute) => {
            let midnight = now_ms - now.second_of_day * 1000 - now.millis;
            until = until.min(midnight + to * 60_000);
        }
        (Some(_), Some(_)) => return plain(false),
        _ => {}
    }
    Outcome::Holds { until }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    /// 2026-11-21T10:48:11.456Z, a Saturday.
    const NOW: i64 = 1_795_258_091_456;

    fn with(condition: &Value, env: &[(&str, &str)], level: u32) -> Outcome {
        let environment = env
            .iter()
            .map(|(k, v)| ((*k).to_owned(), vec![(*v).to_owned()]))
            .collect();
        let facts = Facts {
            environment: &environment,
            auth_level: level,
            now_ms: NOW,
        };
        check(condition, &facts)
    }

    #[test]
    fn addresses() {
        let c = json!({"type": "IPv4", "startIp": "192.0.2.0", "endIp": "203.0.113.255", "dnsName": ["*.example.net"]});
        assert_eq!(with(&c, &[("requestIp", "203.0.113.9")], 0), ALWAYS);
        assert_eq!(
            with(&c, &[("requestDnsName", "pc9.Example.net")], 0),
            ALWAYS
        );
        for ip in ["1.2.3.4", "2001:db8::1", "x"] {
            assert_eq!(with(&c, &[("requestIp", ip)], 0), plain(false), "{ip}");
        }
        assert_eq!(with(&c, &[], 0), plain(false));
    }

    #[test]
    fn a_level_that_is_missing_is_an_advice() {
        let c = json!({"type": "AuthLevel", "authLevel": 2});
        let advice = ("AuthLevelConditionAdvice".to_owned(), "2".to_owned());
        assert_eq!(
            with(&c, &[], 1),
            Outcome::Fails {
                advices: vec![advice]
            }
        );
        assert_eq!(with(&c, &[], 2), ALWAYS);
    }

    #[test]
    fn a_time_window_ends() {
        let c = json!({"type": "SimpleTime", "startTime": "00:00", "endTime": "23:59", "startDay": "mon", "endDay": "sun"});
        assert_eq!(
            with(&c, &[], 0),
            Outcome::Holds {
                until: 1_795_305_540_000
            }
        );
        let c = json!({"type": "SimpleTime", "startTime": "00:00", "endTime": "00:01"});
        assert_eq!(with(&c, &[], 0), plain(false));
        let c = json!({"type": "SimpleTime", "startTime": "00:00", "endTime": "23:59", "startDay": "mon", "endDay": "fri"});
        assert_eq!(with(&c, &[], 0), plain(false));
    }

    #[test]
    fn a_last_date_ends_with_its_day() {
        let dates = |from, to| {
            with(
                &json!({"type": "SimpleTime", "startDate": from, "endDate": to}),
                &[],
                0,
            )
        };
        assert_eq!(
            dates("2001:01:01", "2099:12:31"),
            Outcome::Holds {
                until: 4_102_444_800_000
            }
        );
        assert_eq!(
            dates("2026:11:21", "2026:11:21"),
            Outcome::Holds {
                until: 1_795_305_600_000
            }
        );
        assert_eq!(dates("2026:11:22", "2027:01:01"), plain(false));
        assert_eq!(dates("2026:01:01", "2026:11:20"), plain(false));
    }

    #[test]
    fn scopes_are_what_the_caller_says() {
        let c = json!({"type": "OAuth2Scope", "requiredScopes": ["a", "b"]});
        assert_eq!(with(&c, &[("scope", "b  c a")], 0), ALWAYS);
        for said in ["", "a", "A b", "a b \"", "a,b"] {
            assert_eq!(with(&c, &[("scope", said)], 0), plain(false), "{said}");
        }
        assert_eq!(with(&c, &[("requestIp", "a b")], 0), plain(false));
    }

    #[test]
    fn combinations_and_strangers() {
        let level = json!({"type": "AuthLevel", "authLevel": 2});
        let both =
            json!({"type": "AND", "conditions": [level, {"type": "NOT", "condition": level}]});
        assert!(matches!(with(&both, &[], 2), Outcome::Fails { .. }));
        assert_eq!(
            with(&json!({"type": "OR", "conditions": [level]}), &[], 2),
            ALWAYS
        );
        assert!(known(&both).is_ok());
        assert!(known(&json!({"type": "Script"})).is_err());
    }
}

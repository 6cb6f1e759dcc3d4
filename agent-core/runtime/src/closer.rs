//! Whose requests does somebody look at more closely now, and what is said of them?
//!
//! A tool writes one client address and an end into words of the instance in shared memory; every worker looks
//! at them at its usual ticks and at no other time. While there is none, no request pays for it: the level that
//! requests compare with anyway says so. Like every line, these hold no token, cookie value or query (rule W2).

use std::{
    net::{IpAddr, Ipv6Addr},
    sync::atomic::Ordering,
};

use portcullis_engine::{
    contract::{Decision, RequestView},
    decide::explain,
    event::Code,
};
use portcullis_shm::{InstanceState, clock};
use serde_json::{Value, json};

use crate::{
    agent::Instance,
    audit,
    fetch::Fetcher,
    lines::Line,
    logs::{format_timestamp, wall_ms},
    memo::{Kind, View},
    meter,
    running::Running,
    worker::Worker,
};

// Words of an instance that all workers share: the end, in milliseconds of the shared clock, 0 for none; then
// the address, as IPv6.
const UNTIL: usize = 4;
const HIGH: usize = 5;
const LOW: usize = 6;

/// Most cookie names that are told of, and the longest text of one.
const COOKIES: usize = 20;
const LONGEST_NAME: usize = 40;

/// One address, and until when.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Closer {
    pub(crate) address: IpAddr,
    /// Milliseconds of the shared clock.
    pub(crate) until: u64,
}

impl Closer {
    /// What is wished for now.
    pub(crate) fn of(state: &InstanceState<'_>, now: u64) -> Option<Closer> {
        let word = |at| Some(state.spare(at)?.load(Ordering::Acquire));
        let until = word(UNTIL).filter(|until| *until > now)?;
        let bits = u128::from(word(HIGH)?) << 64 | u128::from(word(LOW)?);
        // Somebody is just writing: the next tick sees it.
        (word(UNTIL)? == until).then(|| Closer {
            address: Ipv6Addr::from_bits(bits).to_canonical(),
            until,
        })
    }

    /// Tells all workers; nobody, with an end that is past.
    fn tell(self, state: &InstanceState<'_>) {
        let bits = match self.address {
            IpAddr::V4(v4) => v4.to_ipv6_mapped().to_bits(),
            IpAddr::V6(v6) => v6.to_bits(),
        };
        // The end last: who reads in between finds none.
        for (at, value) in [
            (UNTIL, 0),
            (HIGH, (bits >> 64) as u64),
            (LOW, bits as u64),
            (UNTIL, self.until),
        ] {
            if let Some(word) = state.spare(at) {
                word.store(value, Ordering::Release);
            }
        }
    }
}

impl Running {
    /// Has the host say more of the requests of one client address for so long, milliseconds; of no other after
    /// that. For those of [`Running::all_to_change`]; any other ends the process.
    pub fn look_closer(&self, address: IpAddr, ms: u64) {
        let until = clock::boottime_ms().saturating_add(ms);
        Closer { address, until }.tell(&self.state());
    }

    /// Ends that. The same holds.
    pub fn look_no_closer(&self) {
        let address = Ipv6Addr::UNSPECIFIED.into();
        Closer { address, until: 0 }.tell(&self.state());
    }

    /// Whose requests more is said of, and until when.
    pub(crate) fn closer(&self) -> Value {
        let now = clock::boottime_ms();
        match Closer::of(&self.state(), now) {
            None => Value::Null,
            Some(closer) => json!({
                "address": closer.address,
                "until": format_timestamp(wall_ms().saturating_add(closer.until - now)),
            }),
        }
    }
}

impl Fetcher {
    /// Takes over what is wished for; whoever leads says so.
    pub(crate) fn look_for_closer(&self, leads: bool) {
        let now = Closer::of(&self.state(), clock::boottime_ms());
        let before = self.instance().logs().set_closer(now);
        if before == now || !leads {
            return;
        }
        let (code, text) = match (now, before) {
            (Some(Closer { address, until }), _) => {
                let left = until.saturating_sub(clock::boottime_ms());
                let end = format_timestamp(wall_ms().saturating_add(left));
                (Code::CloserBegun, format!("client={address} until={end}"))
            }
            (None, Some(Closer { address, .. })) => (Code::CloserOver, format!("client={address}")),
            (None, None) => return,
        };
        self.worker.write(self.index, Line::log(code, text));
    }
}

/// Says how it came to a decision about a request that somebody looks at more closely. The engine is asked once
/// more, with what this request was given.
#[cold]
pub(crate) fn say(
    (instance, worker): (&Instance, &Worker),
    req: &RequestView<'_>,
    decision: &Decision<'_>,
    view: &View<'_>,
    client: &str,
) {
    let mut text = format!(
        "{} {}{} client={client} decided=PCL{:04}",
        audit::shown(req.method),
        audit::origin(req),
        audit::path(req),
        decision.reason.number()
    );
    let found = view.memo.found();
    let kinds = [
        (Kind::Session, "session"),
        (Kind::Policy, "policy"),
        (Kind::Attributes, "attributes"),
    ];
    let kinds = kinds
        .iter()
        .filter(|(kind, _)| found & meter::bit(*kind) != 0);
    let kinds: Vec<&str> = kinds.map(|(_, name)| *name).collect();
    text.push_str(&format!(" known=\"{}\"", kinds.join(", ")));
    let names: Vec<String> = cookie_names(req).take(COOKIES).collect();
    text.push_str(&format!(" cookies=\"{}\"", names.join(", ")));
    if let Some(snap) = instance.snapshot() {
        let (_, trace) = explain(req, &snap, view, view.now);
        let stage = trace.last.map_or("URL", |phase| phase.name());
        text.push_str(&format!(" stage=\"{stage}\""));
        if !trace.policies.is_empty() {
            text.push_str(&format!(" policies=\"{}\"", trace.policies));
        }
        let hits = trace.denied.iter().chain(&trace.not_enforced);
        let hits = hits.filter(|(_, hit)| *hit);
        let hits: Vec<String> = hits
            .map(|(rule, _)| snap.config.rule_name(*rule).to_string())
            .collect();
        text.push_str(&format!(" rules=\"{}\"", hits.join(", ")));
    }
    let line = Line::Log {
        code: Code::Closer,
        text,
        always: true,
    };
    worker.write(instance.index(), line);
}

/// The names of the cookies that came, never their values.
fn cookie_names<'r>(req: &'r RequestView<'r>) -> impl Iterator<Item = String> + 'r {
    let pairs = req
        .values(b"cookie")
        .flat_map(|value| value.split(|byte| *byte == b';'));
    // Without `=` it may be a value: it is not told.
    pairs.filter_map(|pair| {
        let end = pair.iter().position(|byte| *byte == b'=')?;
        let name = audit::shown(pair[..end].trim_ascii());
        Some(name.chars().take(LONGEST_NAME).collect())
    })
}

#[cfg(test)]
mod tests {
    use portcullis_shm::Mapping;

    use super::*;

    #[test]
    fn what_is_wished_for_is_read_until_its_end() {
        let mapping = Mapping::create(0).unwrap();
        let state = mapping.instance([1; 16]).unwrap();
        assert_eq!(Closer::of(&state, 10), None);
        for address in ["192.0.2.7", "2001:db8::1"] {
            let address: IpAddr = address.parse().unwrap();
            let closer = Closer {
                address,
                until: 100,
            };
            closer.tell(&state);
            assert_eq!(Closer::of(&state, 99), Some(closer));
            assert_eq!(Closer::of(&state, 100), None);
        }
        Closer {
            address: Ipv6Addr::UNSPECIFIED.into(),
            until: 0,
        }
        .tell(&state);
        assert_eq!(Closer::of(&state, 0), None);
        let other = mapping.instance([2; 16]).unwrap();
        assert_eq!(Closer::of(&other, 0), None, "of this instance only");
    }
}

//! How do the numbers look that an operator asks for? In the text format of Prometheus 0.0.4, and in the
//! Web Agent's JSON, with its names where it has them; ours begin with `portcullis_`.
//!
//! All are of one instance and of all workers of the host. Must not hold a user, a URL or a secret; whether
//! somebody may see them is the engine's decision (rule W1).

use std::fmt::{Display, Write};

use portcullis_engine::{
    contract::{Fill, NodeMark},
    event::{Code, Severity},
};
use portcullis_shm::{InstanceState, Mapping, StatusWord, Usage, clock};
use serde_json::{Value, json};

use crate::{
    agent::Instance,
    logs::{format_timestamp, wall_ms},
    meter::{AGES, Ending, Event, FACTS, Numbers, Operation, RESULTS, TIMES_MS, Times, age_end_ms},
    worker::Worker,
};

/// What a page is filled with.
pub(crate) fn body(fill: Fill, instance: &Instance, worker: &Worker) -> Vec<u8> {
    let mapping = worker.mapping();
    let host = Host {
        mapping,
        state: instance.state(mapping),
        trouble: match instance.snapshot() {
            Some(_) => None,
            None => Some(instance.trouble(mapping)),
        },
        node: instance.node(),
    };
    match fill {
        Fill::Nothing => Vec::new(),
        Fill::Metrics => host.prometheus().into_bytes(),
        Fill::Monitor => host.json().to_string().into_bytes(),
        Fill::Health => host.health().to_string().into_bytes(),
    }
}

/// What the numbers are taken from.
struct Host<'m> {
    mapping: &'m Mapping,
    state: InstanceState<'m>,
    /// Why there is no configuration.
    trouble: Option<Code>,
    /// What incidents of here are marked with.
    node: NodeMark,
}

/// Text in the format of Prometheus: each family once, with its type before its samples.
#[derive(Default)]
struct Text(String);

impl Text {
    /// Begins a family.
    fn family(&mut self, name: &str, kind: &str, help: &str) {
        let _ = writeln!(self.0, "# HELP {name} {help}\n# TYPE {name} {kind}");
    }

    /// A sample. The values of labels are our own words.
    fn sample(&mut self, name: &str, labels: &[(&str, &dyn Display)], value: impl Display) {
        self.0.push_str(name);
        for (i, (label, text)) in labels.iter().enumerate() {
            self.0.push(if i == 0 { '{' } else { ',' });
            let _ = write!(self.0, "{label}=\"{text}\"");
        }
        if !labels.is_empty() {
            self.0.push('}');
        }
        let _ = writeln!(self.0, " {value}");
    }

    /// A family of one sample.
    fn one(&mut self, name: &str, kind: &str, help: &str, value: impl Display) {
        self.family(name, kind, help);
        self.sample(name, &[], value);
    }

    /// A counter with the Web Agent's name and label: its type line leaves `_total` out.
    fn vendor(&mut self, name: &str, topic: &str, value: u64) {
        let _ = writeln!(self.0, "# TYPE {name} counter");
        let topic: &[(&str, &dyn Display)] = &[("topic", &topic)];
        self.sample(&format!("{name}_total"), topic, value);
    }

    /// The samples of one histogram.
    fn times(&mut self, name: &str, labels: &[(&str, &dyn Display)], times: &Times) {
        let mut so_far = 0;
        let ends = TIMES_MS.map(|ms| (ms as f64 / 1000.0).to_string());
        let ends = ends.iter().map(String::as_str).chain(["+Inf"]);
        for (end, count) in ends.zip(times.buckets) {
            so_far += count;
            let mut all = labels.to_vec();
            all.push(("le", &end));
            self.sample(&format!("{name}_bucket"), &all, so_far);
        }
        let seconds = times.micros as f64 / 1e6;
        self.sample(&format!("{name}_sum"), labels, seconds);
        self.sample(&format!("{name}_count"), labels, so_far);
    }
}

/// One number of a size class of a table.
type OfClass = fn(&Usage) -> u64;

/// Decisions as the Web Agent counts them.
struct Decisions {
    not_enforced: u64,
    not_authorised: u64,
    not_authenticated: u64,
    returned: u64,
    local: u64,
    remote: u64,
    cached: u64,
}

impl Host<'_> {
    fn numbers(&self) -> Numbers<'_> {
        Numbers(self.mapping.meters(self.state.id()))
    }

    fn decided(&self, codes: impl Fn(Code) -> bool) -> u64 {
        let numbers = self.numbers();
        let codes = Code::ALL.iter().filter(|code| codes(**code));
        codes
            .flat_map(|code| Ending::ALL.iter().map(move |(ending, _)| (*code, *ending)))
            .map(|(code, ending)| numbers.decisions(code, ending))
            .sum()
    }

    fn decisions(&self) -> Decisions {
        let by_policy = |code| {
            matches!(
                code,
                Code::AllowedByPolicy
                    | Code::AllowedInGrace
                    | Code::DeniedByPolicy
                    | Code::DeniedWithAdvices
                    | Code::LeftToHost
                    | Code::LoginStepUp
            )
        };
        let login = |code: Code| (200..204).contains(&code.number()) || code == Code::LoginUnseen;
        let numbers = self.numbers();
        let asked = Code::ALL.iter().filter(|code| by_policy(**code));
        let remote = asked.map(|code| numbers.asked(*code)).sum();
        Decisions {
            not_enforced: self.decided(|code| code == Code::NotEnforced),
            not_authorised: self.decided(|code| (300..304).contains(&code.number())),
            not_authenticated: self.decided(login),
            returned: self.decided(|code| code == Code::LoginDone),
            local: self.decided(|code| {
                matches!(
                    code,
                    Code::AllowedSsoOnly | Code::DeniedByRule | Code::DeniedAutonomous
                )
            }),
            remote,
            cached: self.decided(by_policy).saturating_sub(remote),
        }
    }

    /// Records that had to go before they had expired.
    fn evictions(&self) -> u64 {
        let tables = [self.mapping.sessions(), self.mapping.decisions()];
        let classes = tables.iter().flat_map(|table| table.usage());
        classes.map(|class| class.pushed_out).sum()
    }

    /// Records in the tables, as a sample says.
    fn occupancy(&self) -> usize {
        let tables = [self.mapping.sessions(), self.mapping.decisions()];
        tables.iter().flat_map(|t| t.usage()).map(|u| u.used).sum()
    }

    fn prometheus(&self) -> String {
        let mut text = Text::default();
        self.vendors(&mut text);
        self.own_decisions(&mut text);
        self.own_cache(&mut text);
        self.own_am(&mut text);
        self.own_host(&mut text);
        text.0
    }

    /// The families of the Web Agent.
    fn vendors(&self, text: &mut Text) {
        let (n, d) = (self.numbers(), self.decisions());
        for (name, topic, value) in [
            (
                "policy_change",
                "notification",
                n.event(Event::PolicyChange),
            ),
            (
                "config_change",
                "notification",
                n.event(Event::ConfigChange),
            ),
            ("not_enforced", "enforcement", d.not_enforced),
            ("not_authorised", "enforcement", d.not_authorised),
            ("not_authenticated", "enforcement", d.not_authenticated),
            ("authenticated_return", "enforcement", d.returned),
            ("local_decision", "enforcement", d.local),
            ("remote_decision", "enforcement", d.remote),
            ("cache_decision", "enforcement", d.cached),
            ("cache_write", "cache", n.event(Event::Stored)),
            ("cache_read", "cache", self.reads()),
            ("cache_miss", "cache", self.misses()),
            ("cache_delete", "cache", n.event(Event::Removed)),
            ("cache_fault", "cache", n.event(Event::NotStored)),
        ] {
            text.vendor(name, topic, value);
        }
        let help = "Records in the shared table, as a sample of it says.";
        text.one("cache_occupancy", "gauge", help, self.occupancy());
        for (name, operation) in [
            ("policy_request_seconds", Operation::Policy),
            ("session_request_seconds", Operation::Session),
            ("config_request_seconds", Operation::Profile),
        ] {
            text.family(name, "histogram", "Time of these calls to AM.");
            text.times(name, &[], &n.call_times(operation));
        }
    }

    fn reads(&self) -> u64 {
        let numbers = self.numbers();
        let facts: u64 = FACTS.iter().map(|(_, fact, _)| numbers.hits(*fact)).sum();
        facts + numbers.event(Event::Again)
    }

    fn misses(&self) -> u64 {
        (0..4).map(|place| self.numbers().missed(place)).sum()
    }

    fn own_decisions(&self, text: &mut Text) {
        let n = self.numbers();
        let name = "portcullis_decisions_total";
        text.family(name, "counter", "Requests by what became of them and why.");
        for code in Code::ALL {
            for (ending, word) in Ending::ALL {
                let count = n.decisions(*code, ending);
                if count > 0 {
                    let number = format!("PCL{:04}", code.number());
                    text.sample(name, &[("outcome", &word), ("code", &number)], count);
                }
            }
        }
        let name = "portcullis_wait_seconds";
        text.family(name, "histogram", "How long requests waited that had to.");
        text.times(name, &[], &n.waits());
        let name = "portcullis_log_lines_total";
        text.family(name, "counter", "Log lines of the workers by code.");
        for code in Code::ALL {
            let count = n.lines(*code);
            if count > 0 {
                let number = format!("PCL{:04}", code.number());
                let severity = match code.row().severity {
                    Severity::Error => "error",
                    Severity::Warning => "warning",
                    Severity::Info => "info",
                    Severity::Debug => "debug",
                };
                text.sample(name, &[("code", &number), ("severity", &severity)], count);
            }
        }
        let help = "Log lines and audit events that found no room in their queue.";
        let lost = n.event(Event::LinesLost);
        text.one("portcullis_log_lines_lost_total", "counter", help, lost);
        let help =
            "Audit events for AM that went into the local file: AM was away or refused them.";
        let here = n.event(Event::AuditKeptHere);
        text.one("portcullis_audit_kept_here_total", "counter", help, here);
    }

    fn own_cache(&self, text: &mut Text) {
        let n = self.numbers();
        let name = "portcullis_cache_hits_total";
        text.family(
            name,
            "counter",
            "Facts that were found in the shared table, and whole answers of a thread.",
        );
        for (fact, bit, _) in FACTS {
            text.sample(name, &[("fact", &fact)], n.hits(bit));
        }
        text.sample(name, &[("fact", &"answer")], n.event(Event::Again));
        let name = "portcullis_cache_misses_total";
        text.family(name, "counter", "Facts that AM had to be asked for.");
        for (fact, _, place) in FACTS {
            text.sample(name, &[("fact", &fact)], n.missed(place));
        }
        let name = "portcullis_cache_age_seconds_bucket";
        let family = "portcullis_cache_age_seconds";
        text.family(
            family,
            "histogram",
            "Age of the oldest fact that a request found; the sum is that of the buckets' ends.",
        );
        let (mut so_far, mut sum) = (0, 0.0);
        for age in 0..AGES {
            let count: u64 = (1..8).map(|set| n.found(set, age)).sum();
            so_far += count;
            let end = age_end_ms(age) as f64 / 1000.0;
            sum += end * count as f64;
            match age == AGES - 1 {
                false => text.sample(name, &[("le", &end)], so_far),
                true => text.sample(name, &[("le", &"+Inf")], so_far),
            }
        }
        text.sample(&format!("{family}_sum"), &[], sum);
        text.sample(&format!("{family}_count"), &[], so_far);
        let tables = [
            ("sessions", self.mapping.sessions().usage()),
            ("decisions", self.mapping.decisions().usage()),
            ("dead", self.mapping.dead().usage()),
        ];
        let families: [(&str, &str, &str, OfClass); 3] = [
            (
                "portcullis_table_slots",
                "gauge",
                "Room in the shared table.",
                |class| class.slots as u64,
            ),
            (
                "portcullis_table_used",
                "gauge",
                "Records in it, as a sample says.",
                |class| class.used as u64,
            ),
            (
                "portcullis_table_evictions_total",
                "counter",
                "Records that had to go for others before they had expired, of all instances.",
                |class| class.pushed_out,
            ),
        ];
        for (name, kind, help, of) in families {
            text.family(name, kind, help);
            for (table, classes) in &tables {
                for class in classes {
                    let value = of(class);
                    let labels: &[(&str, &dyn Display)] =
                        &[("table", table), ("bytes", &class.capacity)];
                    text.sample(name, labels, value);
                }
            }
        }
    }

    fn own_am(&self, text: &mut Text) {
        let n = self.numbers();
        let name = "portcullis_am_calls_total";
        text.family(
            name,
            "counter",
            "Calls to AM by operation and how they ended.",
        );
        for (operation, word) in Operation::ALL {
            for (at, result) in RESULTS.iter().enumerate() {
                let count = n.calls(operation, at);
                if count > 0 {
                    text.sample(name, &[("operation", &word), ("result", result)], count);
                }
            }
        }
        let name = "portcullis_am_call_seconds";
        text.family(name, "histogram", "Time of calls to AM by operation.");
        for (operation, word) in Operation::ALL {
            let times = n.call_times(operation);
            if times.buckets.iter().any(|count| *count > 0) {
                text.times(name, &[("operation", &word)], &times);
            }
        }
        let help = "Questions that went along with one that was asked already.";
        let joined = n.event(Event::Joined);
        text.one("portcullis_flights_joined_total", "counter", help, joined);
        let help = "1 while AM is known to be away.";
        let open = u8::from(self.state.breaker().is_open());
        text.one("portcullis_breaker_open", "gauge", help, open);
        let help = "How often AM was found to be away.";
        let opened = n.lines(Code::BreakerOpened);
        text.one("portcullis_breaker_openings_total", "counter", help, opened);
        let help = "1 while AM tells of changes.";
        let told = u8::from(self.state.status(StatusWord::NotifiedSince) != 0);
        text.one("portcullis_notifications_connected", "gauge", help, told);
        let name = "portcullis_notifications_total";
        text.family(
            name,
            "counter",
            "What AM told of that concerns this instance.",
        );
        for (about, event) in [
            ("policy", Event::PolicyChange),
            ("config", Event::ConfigChange),
            ("session", Event::SessionChange),
        ] {
            text.sample(name, &[("about", &about)], n.event(event));
        }
    }

    fn own_host(&self, text: &mut Text) {
        let workers = self.mapping.workers();
        let help = "1 once a configuration is in force.";
        let configured = u8::from(self.trouble.is_none());
        text.one("portcullis_configured", "gauge", help, configured);
        let name = "portcullis_node_info";
        text.family(
            name,
            "gauge",
            "Always 1; the mark of this node's incidents.",
        );
        text.sample(name, &[("mark", &self.node.text())], 1);
        let help = "Worker processes of the host.";
        text.one("portcullis_workers", "gauge", help, workers.registered());
        let help = "Requests of the host that wait for AM.";
        text.one("portcullis_waiting", "gauge", help, workers.sum_waiting());
        let help = "Calls to AM that the host has under way.";
        text.one(
            "portcullis_am_calls_in_flight",
            "gauge",
            help,
            workers.sum_calls(),
        );
        let leader = self.leader();
        let name = "portcullis_leader_pid";
        text.one(
            name,
            "gauge",
            "The worker that speaks for the instance; 0: none.",
            leader.0,
        );
        let help = "Counts the changes of that worker.";
        text.one("portcullis_leader_term", "gauge", help, leader.1);
        let help = "Since when it does, in seconds since 1970; 0: nobody does.";
        let since = leader.2 / 1000;
        text.one("portcullis_leader_since_seconds", "gauge", help, since);
        let help = "Counts what made decisions of before stale.";
        text.one("portcullis_policy_epoch", "gauge", help, self.state.epoch());
        let help = "Counts what ended or changed sessions.";
        let revocations = self.state.revocations();
        text.one("portcullis_revocations", "gauge", help, revocations);
        let help = "Size of the mapping that workers share; untouched pages cost nothing.";
        let bytes = self.mapping.layout().total_bytes();
        text.one("portcullis_shared_memory_bytes", "gauge", help, bytes);
    }

    /// Process and term of the leader, and since when it leads by the wall clock, in milliseconds.
    fn leader(&self) -> (u32, u64, u64) {
        let holder = self.state.lease_holder();
        let now = clock::boottime_ms();
        let holder = holder.filter(|holder| holder.deadline > now);
        holder.map_or((0, 0, 0), |holder| {
            let pid = self.mapping.workers().pid_at(holder.worker);
            let since = wall_ms().saturating_sub(now.saturating_sub(holder.since));
            (pid.unwrap_or(0), holder.term, since)
        })
    }

    /// The Web Agent's objects, and one of ours. Its garbage collection has no counterpart: it never runs.
    fn json(&self) -> Value {
        let (n, d) = (self.numbers(), self.decisions());
        let (pid, term, since) = self.leader();
        json!({
            "cache-invalidation": {
                "policy": n.event(Event::PolicyChange),
                "profile": n.event(Event::ConfigChange),
            },
            "policy-decisions": {
                "neu": d.not_enforced,
                "local": d.local,
                "remote": d.remote,
                "cache": d.cached,
            },
            "gc": { "runs": 0, "released": 0, "release-deferred": 0, "fill": 0 },
            "cache-operations": {
                "writes": n.event(Event::Stored),
                "reads": self.reads(),
                "misses": self.misses(),
                "deletes": n.event(Event::Removed),
                "write-faults": n.event(Event::NotStored),
                "occupancy": self.occupancy(),
                "evictions": self.evictions(),
            },
            "leader": { "pid": pid, "term": term, "since": self.time(since) },
        })
    }

    fn time(&self, wall: u64) -> Value {
        match wall {
            0 => Value::Null,
            at => json!(format_timestamp(at)),
        }
    }

    fn health(&self) -> Value {
        let away = self.state.breaker().is_open();
        let told = self.state.status(StatusWord::NotifiedSince) != 0;
        json!({
            "status": if self.trouble.is_none() { "ready" } else { "not ready" },
            "code": self.trouble.map(|code| format!("PCL{:04}", code.number())),
            "am": if away { "away" } else { "not known to be away" },
            "notifications": told,
            "leader": self.leader().0 != 0,
            "leader_since": self.time(self.leader().2),
            "workers": self.mapping.workers().registered(),
            "node": self.node.text(),
        })
    }
}

//! How is an instance, as far as the memory of its web server says?
//!
//! For tools: reads shared memory and `/proc` only, so that it never waits, whatever became of the host.

use std::{fs, path::Path};

use portcullis_engine::event::Code;
use portcullis_shm::{LAYOUT_VERSION, StatusWord, clock};
use serde_json::{Value, json};

use crate::{
    logs::{format_timestamp, wall_ms},
    meter::{Event, FACTS, Numbers},
    published::Published,
    running::Running,
};

impl Running {
    /// Everything that an operator asks first, as JSON. Times are in UTC, ages in milliseconds.
    #[must_use]
    pub fn status(&self) -> Value {
        json!({
            "host": self.host(),
            "leader": self.leader(),
            "am": self.am(),
            "notifications": self.notifications(),
            "configuration": self.configuration(),
            "cache": self.cache(),
            "debug": self.closer(),
            "epoch": self.state().epoch(),
            "revocations": self.state().revocations(),
        })
    }

    fn host(&self) -> Value {
        let workers = self.mapping().workers();
        let [major, minor, patch] = self.mapping().program();
        let alive = workers.alive();
        let module = self.parents().iter().find_map(|pid| module(*pid));
        json!({
            "parents": self.parents(),
            "module": module.as_ref().map(|(path, _)| path),
            "module_replaced": module.is_some_and(|(_, replaced)| replaced),
            "version": format!("{major}.{minor}.{patch}"),
            "workers": alive,
            "waiting": workers.sum_waiting(),
            "am_calls_in_flight": workers.sum_calls(),
            "shared_memory_bytes": self.mapping().layout().total_bytes(),
            "layout": LAYOUT_VERSION,
            "owner": self.owner(),
        })
    }

    fn leader(&self) -> Value {
        let holder = self.state().lease_holder();
        let holder = holder.filter(|holder| holder.deadline > clock::boottime_ms());
        match holder {
            None => Value::Null,
            Some(holder) => json!({
                "pid": self.mapping().workers().pid_at(holder.worker),
                "term": holder.term,
                "since": wall(holder.since),
            }),
        }
    }

    fn am(&self) -> Value {
        let state = self.state();
        let since = state.breaker().open_since();
        let error = state.status(StatusWord::LastError);
        let code = Code::ALL.iter().find(|c| u64::from(c.number()) == error);
        let serving = state.status(StatusWord::Serving);
        json!({
            "away": since.is_some(),
            "away_since": since.map(wall),
            "last_contact": self.at(StatusWord::LastContactAt),
            "agent_session": state.agent_session_generation().is_some(),
            "address_in_use": serving.checked_sub(1),
            "last_error": code.map(|code| json!({
                "code": format!("PCL{:04}", code.number()),
                "text": code.row().text,
                "remedy": code.row().remedy,
                "at": self.at(StatusWord::LastErrorAt),
            })),
        })
    }

    fn notifications(&self) -> Value {
        json!({
            "connected": self.state().status(StatusWord::NotifiedSince) != 0,
            "since": self.at(StatusWord::NotifiedSince),
            "last": self.at(StatusWord::LastNotificationAt),
        })
    }

    fn configuration(&self) -> Value {
        let state = self.state();
        let published = Published::current(&state);
        let conf = published.as_ref().and_then(|p| p.conf.as_ref());
        json!({
            "version": state.profile_version(),
            "profile": published.as_ref().is_some_and(|p| p.profile.is_some()),
            "profile_read_at": self.at(StatusWord::ProfileReadAt),
            "from_before_the_start": published.as_ref().and_then(|p| p.given_at).map(format_timestamp),
            "agent_conf_reloaded": conf.map(|conf| conf.fingerprint.as_str()),
            "agent_conf_reloaded_at": conf.map(|conf| wall(conf.read_at)),
        })
    }

    fn cache(&self) -> Value {
        let mapping = self.mapping();
        let tables = [
            ("sessions", mapping.sessions()),
            ("decisions", mapping.decisions()),
            ("dead", mapping.dead()),
        ];
        let mut all = serde_json::Map::new();
        for (name, table) in tables {
            let usage = table.usage();
            let (used, slots, out) = usage.iter().fold((0, 0, 0), |(used, slots, out), u| {
                (used + u.used, slots + u.slots, out + u.pushed_out)
            });
            let of = json!({ "used": used, "slots": slots, "pushed_out": out });
            all.insert(name.into(), of);
        }
        let numbers = Numbers(mapping.meters(self.state().id()));
        for (fact, bit, place) in FACTS {
            let of = json!({ "hits": numbers.hits(bit), "misses": numbers.missed(place) });
            all.insert(format!("{fact}_lookups"), of);
        }
        all.insert("answers_again".into(), json!(numbers.event(Event::Again)));
        Value::Object(all)
    }

    /// When something happened, where it did.
    fn at(&self, word: StatusWord) -> Option<String> {
        let at = self.state().status(word);
        (at != 0).then(|| wall(at))
    }
}

/// A time of [`clock`], as people read it.
fn wall(at: u64) -> String {
    let ago = clock::boottime_ms().saturating_sub(at);
    format_timestamp(wall_ms().saturating_sub(ago))
}

/// The module that a process runs, and whether another file stands in its place since.
fn module(pid: u32) -> Option<(String, bool)> {
    let maps = fs::read_to_string(format!("/proc/{pid}/maps")).ok()?;
    maps.lines().find_map(|line| {
        let path = &line[line.find('/')?..];
        let (path, gone) = match path.strip_suffix(" (deleted)") {
            Some(path) => (path, true),
            None => (path, false),
        };
        let name = Path::new(path).file_name()?.to_str()?;
        (name.contains("portcullis") && name.ends_with(".so")).then(|| (path.to_owned(), gone))
    })
}

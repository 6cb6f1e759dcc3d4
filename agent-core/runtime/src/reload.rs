//! Has `agent.conf` changed since the server read it, and may that count without a reload of the server?
//!
//! Whoever leads looks at the file from time to time. A text that can be used is published as a whole; one
//! with mistakes, or with properties that only the parent can take over, changes nothing and is named once.
//! It must not look at the files of secrets.

use std::{
    cell::{Cell, RefCell},
    fs, io,
    path::Path,
    sync::atomic::Ordering,
};

use portcullis_engine::{
    config::{self, Problem, Severity as Grade},
    event::Code,
};
use portcullis_shm::{InstanceState, PROFILE_BYTES, Term, clock};

use crate::{
    agent::{MAX_FILE, Start},
    fetch::Fetcher,
    leader,
    published::{Conf, Published, take_restart, tell, tell_problems},
};

/// How long a changed text has to stay the same: somebody may still be writing.
const SETTLE_MS: u64 = 1_000;
/// Which text was refused last; a word of the instance that all workers share.
const REFUSED: usize = 3;

/// What this worker has seen of the file.
#[derive(Default)]
pub(crate) struct Watch {
    looked_at: Cell<Option<u64>>,
    /// A text that differs from the one in force, by its fingerprint.
    seen: RefCell<Option<String>>,
    unread: Cell<bool>,
}

/// Looks at the file, if it is time to.
pub(crate) fn look(fetcher: &Fetcher, state: &InstanceState<'_>, term: Term, watch: &Watch) {
    let instance = fetcher.instance();
    let (Some(start), now) = (instance.start(), clock::boottime_ms()) else {
        return;
    };
    let settling = watch.seen.borrow().is_some();
    let pause = if settling {
        SETTLE_MS
    } else {
        interval(fetcher, start)
    };
    if watch
        .looked_at
        .get()
        .is_some_and(|at| now < at.saturating_add(pause))
    {
        return;
    }
    watch.looked_at.set(Some(now));
    let raw = match text(instance.conf()) {
        Ok(raw) => raw,
        Err(error) => {
            watch.seen.take();
            if !watch.unread.replace(true) {
                tell(fetcher, Code::ConfigUnread, error.to_string());
            }
            return;
        }
    };
    watch.unread.set(false);
    let before = match Published::current(state) {
        Some(before) => before,
        // What AM said is there and cannot be read now: it must not get lost.
        None if state.profile_version() != 0 && leader::from_am(&start.config) => return,
        None => Published::default(),
    };
    let fingerprint = config::fingerprint(raw.as_bytes());
    let in_force = before.newer_conf(start).map(|conf| &conf.fingerprint);
    let refused = state.spare(REFUSED);
    if *in_force.unwrap_or(&start.fingerprint) == fingerprint {
        watch.seen.take();
        if let Some(word) = refused {
            word.store(0, Ordering::Relaxed);
        }
        return;
    }
    let digest =
        u64::from_str_radix(fingerprint.get(..16).unwrap_or_default(), 16).unwrap_or(0) | 1;
    if refused.is_some_and(|word| word.load(Ordering::Relaxed) == digest) {
        watch.seen.take();
        return;
    }
    if watch.seen.borrow().as_ref() != Some(&fingerprint) {
        watch.seen.replace(Some(fingerprint));
        return;
    }
    watch.seen.take();
    let conf = Conf {
        text: config::without_secrets(&raw),
        fingerprint,
        read_at: now,
    };
    let next = Published {
        conf: Some(conf),
        ..before
    };
    if is_usable(fetcher, start, &next) {
        // Otherwise somebody else leads by now, or the next look tries again.
        let _ = next.publish(state, term);
    } else if let Some(word) = refused {
        word.store(digest, Ordering::Relaxed);
    }
}

/// Milliseconds from one look to the next.
fn interval(fetcher: &Fetcher, start: &Start) -> u64 {
    let snapshot = fetcher.instance().snapshot();
    let config = snapshot.as_ref().map_or(&start.config, |s| &s.config);
    match config.reload_seconds {
        0 => u64::from(config.polling_interval.max(1)) * 60_000,
        seconds => u64::from(seconds) * 1_000,
    }
}

fn text(path: &Path) -> io::Result<String> {
    if fs::metadata(path)?.len() > MAX_FILE {
        return Err(io::Error::other("it is too long"));
    }
    fs::read_to_string(path)
}

/// Whether this can count here and now; otherwise every reason is said.
fn is_usable(fetcher: &Fetcher, start: &Start, next: &Published) -> bool {
    let Some(conf) = &next.conf else {
        return false;
    };
    let files = config::with_text(&start.files, &conf.text);
    let (typed, mut problems) = config::read(&files, None);
    if start.is_local() {
        problems.extend(config::mistakes(&typed, &files, &problems));
    }
    let wrong = |problems: &[Problem]| problems.iter().any(|p| p.severity == Grade::Error);
    if !wrong(&problems) {
        let restart = take_restart(start, &files);
        if !restart.is_empty() {
            tell(fetcher, Code::ConfigTakesRestart, restart.join(", "));
            return false;
        }
        // With the profile it has to fit, where there is one.
        if let Some((built, found)) = next.compile(fetcher.instance(), fetcher.mapping()) {
            problems = found;
            problems.extend(built.err().unwrap_or_default());
        }
    }
    if !wrong(&problems) && next.len() > PROFILE_BYTES {
        tell(
            fetcher,
            Code::ConfigKept,
            format!("agent.conf and the profile in AM are longer than {PROFILE_BYTES} bytes"),
        );
        return false;
    }
    let refused = wrong(&problems);
    if refused {
        tell_problems(fetcher, problems);
        tell(fetcher, Code::ConfigKept, "agent.conf was changed".into());
    }
    !refused
}

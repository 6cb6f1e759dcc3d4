//! What did AM say last of an instance's configuration, also after the server was stopped and started?
//!
//! Whoever leads writes down what AM gave, sealed (rule K1), and reads it again where AM is not there at
//! a start (rule O3). It must not be looked at after AM has refused the agent: then it is thrown away.

use std::{
    fs::File,
    io,
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use portcullis_engine::{
    config,
    contract::UnixMillis,
    event::Code,
    token::sealed::{KeyRing, Purpose, Unsealed},
};
use portcullis_shm::{InstanceState, Term};
use rand_core::TryRngCore;

use crate::{
    agent::Start,
    fetch::Fetcher,
    leader,
    lines::Line,
    logs::{format_timestamp, wall_ms},
    published::Published,
    sealed_file, state_files,
};

/// Name of the file.
pub(crate) const NAME: &str = "last-known-good";
/// The file has two places, so that a worker that dies while it writes leaves the other one. Each takes
/// the largest profile, sealed.
const PLACE: u64 = 2 << 20;
const PLACES: u64 = 2;
/// In front of the configuration: when AM gave it.
const DATE: usize = 8;
/// How far ahead a date may be: clocks are set back by so much without anybody noticing.
const AHEAD_MS: u64 = 60_000;

/// The file of one instance. Opened by the parent; workers write through what they inherit.
pub(crate) struct KnownGood {
    file: File,
    keys: KeyRing,
    instance: [u8; 16],
    max_age: Duration,
    said: AtomicBool,
}

/// What AM gave.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Kept {
    /// When, in milliseconds since 1970.
    pub(crate) read_at: u64,
    /// In the words of whoever had it written down.
    pub(crate) bytes: Vec<u8>,
}

/// Why nothing in the file can be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Unusable {
    /// AM gave it too long ago.
    #[error("AM gave it {} ago, and {} is the limit", words(*.0), words(*.1))]
    Old(u64, u64),
    /// The clock says that it comes from later.
    #[error("its date is in the future; the clock was set back")]
    Early,
    /// Damaged, or sealed with another key.
    #[error("it does not open: {0}")]
    Sealed(Unsealed),
    /// The file can't be read.
    #[error("{0}")]
    Unread(#[from] io::Error),
}

impl KnownGood {
    /// Opens the file or makes it, readable by its owner only.
    pub(crate) fn open(
        path: &Path,
        keys: KeyRing,
        instance: [u8; 16],
        max_age: Duration,
    ) -> io::Result<KnownGood> {
        Ok(KnownGood {
            file: sealed_file::owned(path, false)?,
            keys,
            instance,
            max_age,
            said: AtomicBool::new(false),
        })
    }

    /// Whether something about this file is to be said for the first time in this process.
    pub(crate) fn is_news(&self) -> bool {
        !self.said.swap(true, Ordering::Relaxed)
    }

    /// Until when something that AM gave then may count.
    pub(crate) fn until(&self, read_at: u64) -> u64 {
        let age = u64::try_from(self.max_age.as_millis()).unwrap_or(u64::MAX);
        read_at.saturating_add(age)
    }

    /// Writes down what AM has just given. The one of before stays until this one is complete.
    ///
    /// # Errors
    /// It could not be written: the disk is full, or it is too long.
    pub(crate) fn keep(&self, bytes: &[u8], now: u64) -> io::Result<()> {
        let mut plain = now.to_be_bytes().to_vec();
        plain.extend_from_slice(bytes);
        let mut nonce = [0; 12];
        rand_core::OsRng
            .try_fill_bytes(&mut nonce)
            .map_err(|error| io::Error::other(error.to_string()))?;
        let until = UnixMillis(self.until(now));
        let mut line = self.keys.seal(&self.instance, "", until, &plain, nonce);
        line.push('\n');
        if line.len() as u64 > PLACE {
            return Err(io::Error::other("it is too long"));
        }
        let newest = self
            .places(now)
            .filter_map(|(place, kept)| Some((place, kept.ok()??)));
        let newest = newest.max_by_key(|(_, kept)| kept.read_at);
        let free = newest.map_or(0, |(place, _)| (place + 1) % PLACES);
        self.file.write_all_at(line.as_bytes(), free * PLACE)
    }

    /// Throws away what is there: AM has refused the agent.
    ///
    /// # Errors
    /// The file could not be emptied.
    pub(crate) fn forget(&self) -> io::Result<()> {
        match self.file.metadata()?.len() {
            0 => Ok(()),
            _ => self.file.set_len(0),
        }
    }

    /// What AM gave last; `None` where nothing was written down.
    ///
    /// # Errors
    /// There is something, and none of it can be used.
    pub(crate) fn read(&self, now: u64) -> Result<Option<Kept>, Unusable> {
        let (mut newest, mut why_not): (Option<Kept>, _) = (None, None);
        for (_, kept) in self.places(now) {
            match kept {
                Ok(Some(kept)) if newest.as_ref().is_none_or(|n| n.read_at < kept.read_at) => {
                    newest = Some(kept);
                }
                Ok(_) => {}
                Err(why) => why_not = Some(why),
            }
        }
        let Some(kept) = newest else {
            return why_not.map_or(Ok(None), Err);
        };
        if kept.read_at > now + AHEAD_MS {
            return Err(Unusable::Early);
        }
        let age = now.saturating_sub(kept.read_at);
        match self.until(kept.read_at) < now {
            true => Err(Unusable::Old(age, self.until(0))),
            false => Ok(Some(kept)),
        }
    }

    fn places(&self, now: u64) -> impl Iterator<Item = (u64, Result<Option<Kept>, Unusable>)> {
        (0..PLACES).map(move |place| (place, self.read_place(place, now)))
    }

    fn read_place(&self, place: u64, now: u64) -> Result<Option<Kept>, Unusable> {
        let (first, length) = (place * PLACE, self.file.metadata()?.len());
        let mut text = vec![0; length.saturating_sub(first).min(PLACE) as usize];
        self.file.read_exact_at(&mut text, first)?;
        let line = text.split(|byte| *byte == b'\n').next().unwrap_or_default();
        // Nothing was written here, or there is a hole in front of the other place.
        if line.iter().all(|byte| *byte == 0) {
            return Ok(None);
        }
        let opened = self.keys.open_long(&self.instance, UnixMillis(now), line);
        let (plain, _) = match opened {
            Ok(opened) => opened,
            Err(Unsealed::Expired) => {
                let limit = self.until(0);
                return Err(Unusable::Old(limit, limit));
            }
            Err(error) => return Err(Unusable::Sealed(error)),
        };
        let Some((date, bytes)) = plain.split_first_chunk::<DATE>() else {
            return Err(Unusable::Sealed(Unsealed::Malformed));
        };
        Ok(Some(Kept {
            read_at: u64::from_be_bytes(*date),
            bytes: bytes.to_vec(),
        }))
    }
}

/// Rule O3: while AM is not there and nothing else is known, what it said last counts.
pub(crate) fn bring_back(fetcher: &Fetcher, state: &InstanceState<'_>, term: Term) {
    let instance = fetcher.instance();
    let Some(file) = instance
        .known_good()
        .filter(|_| instance.snapshot().is_none())
    else {
        return;
    };
    let now = wall_ms();
    let kept = match file.read(now) {
        Ok(Some(kept)) => kept,
        Ok(None) => return,
        Err(why) => {
            if file.is_news() {
                let line = Line::log(Code::LastKnownGoodUnusable, why.to_string());
                fetcher.worker.write(fetcher.index, line);
            }
            return;
        }
    };
    let Ok(mut published) = serde_json::from_slice::<Published>(&kept.bytes) else {
        return;
    };
    published.given_at = Some(kept.read_at);
    published.conf = Published::current(state).and_then(|now| now.conf);
    if published.publish(state, term) {
        let age = words(now.saturating_sub(kept.read_at));
        let text = format!("of {}, {age} ago", format_timestamp(kept.read_at));
        let line = Line::log(Code::LastKnownGood, text);
        fetcher.worker.write(fetcher.index, line);
    }
}

/// Rule O3: AM has refused the agent. Nothing of before counts after that, now or at another start.
pub(crate) fn throw_away(fetcher: &Fetcher, state: &InstanceState<'_>, term: Term) {
    let file = fetcher.instance().known_good();
    if !state.leads(term) {
        return;
    }
    if let Some(Err(error)) = file.map(KnownGood::forget) {
        let line = Line::log(Code::LastKnownGoodUnwritten, error.to_string());
        fetcher.worker.write(fetcher.index, line);
    }
    let kept = Published::current(state).is_some_and(|now| now.given_at.is_some());
    if kept {
        withdraw(fetcher, state, term, "AM has refused the agent");
    }
}

pub(crate) fn withdraw(fetcher: &Fetcher, state: &InstanceState<'_>, term: Term, why: &str) {
    let nothing = Published {
        conf: Published::current(state).and_then(|now| now.conf),
        ..Published::default()
    };
    if nothing.publish(state, term) {
        let line = Line::log(Code::LastKnownGoodOver, why);
        fetcher.worker.write(fetcher.index, line);
    }
}

/// Writes down what AM has just said for a start without it.
pub(crate) fn keep(fetcher: &Fetcher, published: &Published) {
    if let Some(file) = fetcher.instance().known_good()
        && let Ok(bytes) = serde_json::to_vec(published)
        && let Err(error) = file.keep(&bytes, wall_ms())
        && file.is_news()
    {
        let line = Line::log(Code::LastKnownGoodUnwritten, error.to_string());
        fetcher.worker.write(fetcher.index, line);
    }
}

/// What a start of the web server finds, if AM is not there then.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AtStart {
    /// Nothing of the configuration comes from AM.
    NotNeeded,
    /// What AM says is not kept: `portcullis.config.last.known.good.max.age` is 0.
    NotKept,
    /// Nothing is in the file, or it is not there.
    Nothing(PathBuf),
    /// It would count.
    Counts {
        /// The file.
        file: PathBuf,
        /// When AM said it, in UTC.
        given: String,
        /// Milliseconds since then.
        age: u64,
        /// Milliseconds for which it goes on to count.
        left: u64,
    },
    /// There is something that would not count, and why.
    Unusable(PathBuf, String),
}

/// Looks at an instance's file as a leader at a start without AM; changes nothing.
#[must_use]
pub fn at_start(conf: &Path, start: &Start) -> AtStart {
    let config = &start.config;
    if !leader::from_am(config) {
        return AtStart::NotNeeded;
    }
    if config.known_good_age == 0 {
        return AtStart::NotKept;
    }
    let path = state_files::folder(conf, start).join(NAME);
    let file = match File::open(&path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return AtStart::Nothing(path),
        Err(error) => return AtStart::Unusable(path, error.to_string()),
    };
    let known = KnownGood {
        file,
        keys: start.secrets.file_ring(Purpose::LastKnownGood),
        instance: config::identity(config),
        max_age: Duration::from_secs(u64::from(config.known_good_age) * 60),
        said: AtomicBool::new(false),
    };
    let now = wall_ms();
    match known.read(now) {
        Ok(None) => AtStart::Nothing(path),
        Ok(Some(kept)) => AtStart::Counts {
            file: path,
            given: format_timestamp(kept.read_at),
            age: now.saturating_sub(kept.read_at),
            left: known.until(kept.read_at).saturating_sub(now),
        },
        Err(why) => AtStart::Unusable(path, why.to_string()),
    }
}

/// A length of time for people: whole minutes, or hours and days where it is longer.
pub(crate) fn words(ms: u64) -> String {
    let minutes = ms / 60_000;
    match minutes {
        0..120 => format!("{minutes} min"),
        120..2880 => format!("{} h {} min", minutes / 60, minutes % 60),
        _ => format!("{} days {} h", minutes / 1440, minutes / 60 % 24),
    }
}

#[cfg(test)]
mod tests {
    use portcullis_engine::token::{Secret, sealed::SealKey};

    use super::*;

    const NOW: u64 = 1_700_000_000_000;
    const HOUR: u64 = 3_600_000;

    fn open(path: &Path, key: u8) -> KnownGood {
        let key = SealKey::derive(&Secret::new(vec![key; 32]), Purpose::LastKnownGood);
        KnownGood::open(
            path,
            KeyRing::new(key),
            [7; 16],
            Duration::from_millis(HOUR),
        )
        .unwrap()
    }

    fn kept(read_at: u64, bytes: &[u8]) -> Kept {
        Kept {
            read_at,
            bytes: bytes.to_vec(),
        }
    }

    #[test]
    fn the_newest_comes_back_with_its_date_until_it_is_too_old() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(NAME);
        assert_eq!(open(&path, 1).read(NOW).unwrap(), None);
        for n in 0..5 {
            let file = open(&path, 1);
            let long = vec![b'x'; 300_000 - n as usize * 1000];
            file.keep(&long, NOW + n).unwrap();
            let found = open(&path, 1).read(NOW + n).unwrap();
            assert_eq!(found, Some(kept(NOW + n, &long)), "{n}");
        }
        let file = open(&path, 1);
        assert!(file.read(NOW + 4 + HOUR).unwrap().is_some());
        let late = file.read(NOW + 5 + HOUR);
        assert!(matches!(late, Err(Unusable::Old(..))), "{late:?}");
        // A limit that was lowered since then.
        let short = KnownGood {
            max_age: Duration::from_secs(60),
            ..open(&path, 1)
        };
        let late = short.read(NOW + 5 + 60_000);
        assert!(
            matches!(late, Err(Unusable::Old(60_001, 60_000))),
            "{late:?}"
        );
        let early = file.read(NOW - HOUR);
        assert!(matches!(early, Err(Unusable::Early)), "{early:?}");
    }

    #[test]
    fn a_place_that_was_half_written_leaves_the_other() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(NAME);
        let file = open(&path, 1);
        file.keep(b"first", NOW).unwrap();
        file.keep(b"second", NOW + 1).unwrap();
        file.file.write_all_at(b"torn", PLACE).unwrap();
        assert_eq!(file.read(NOW + 2).unwrap(), Some(kept(NOW, b"first")));
        file.keep(b"third", NOW + 2).unwrap();
        assert_eq!(file.read(NOW + 2).unwrap(), Some(kept(NOW + 2, b"third")));
    }

    #[test]
    fn what_was_sealed_for_others_or_thrown_away_is_not_used() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(NAME);
        open(&path, 1).keep(b"of AM", NOW).unwrap();
        let other = open(&path, 2).read(NOW);
        assert!(matches!(other, Err(Unusable::Sealed(_))), "{other:?}");
        let text = std::fs::read(&path).unwrap();
        assert!(!text.windows(5).any(|w| w == b"of AM"));
        open(&path, 1).forget().unwrap();
        assert_eq!(open(&path, 1).read(NOW).unwrap(), None);
    }

    #[test]
    fn ages_are_in_words() {
        for (ms, text) in [
            (59_999, "0 min"),
            (7_140_000, "119 min"),
            (7_260_000, "2 h 1 min"),
            (180_000_000, "2 days 2 h"),
        ] {
            assert_eq!(words(ms), text);
        }
    }
}

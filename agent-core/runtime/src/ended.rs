//! Which client-side sessions ended here, also after the server was stopped and started?
//!
//! AM goes on calling the token of such a session valid after its logout (rule S1). So a digest of the
//! token is appended to a file, sealed (rule K1), and read into the shared set when the server starts.
//! It must not hold tokens, and what cannot be read is doubt, never "not ended".

use std::{io, path::Path};

use aws_lc_rs::digest;
use portcullis_engine::{
    am::a,
    contract::UnixMillis,
    token::{Secret, sealed::KeyRing},
};
use portcullis_shm::{Ended, Key, Mapping};

use crate::sealed_file::SealedFile;

/// Name of the file.
pub(crate) const NAME: &str = "ended-sessions";
/// A file is not made shorter below this.
const SHORT: usize = 64 << 10;
/// Bytes of a session's digest.
const DIGEST: usize = 16;
/// How long nobody can tell what ended, after a file that could not be read.
const DOUBT_MS: u64 = 24 * 3_600_000;

/// The file of one instance.
pub(crate) struct EndedFile(SealedFile);

/// What a start found.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Loaded {
    /// Sessions that would still be alive.
    pub(crate) ended: usize,
    /// Lines that do not open.
    pub(crate) unreadable: usize,
}

/// The name of a client-side session that holds across starts: the shared set is keyed anew each time.
pub(crate) fn name(instance: &[u8; 16], token: &Secret) -> Key {
    let mut digest = digest::Context::new(&digest::SHA256);
    digest.update(b"portcullis ended session v1");
    digest.update(instance);
    digest.update(a::normalize_token(token.expose()).expose());
    let mut first = [0; DIGEST];
    first.copy_from_slice(&digest.finish().as_ref()[..DIGEST]);
    Key(u128::from_le_bytes(first))
}

impl EndedFile {
    /// Opens the file or makes it, readable by its owner only.
    pub(crate) fn open(path: &Path, keys: KeyRing, instance: [u8; 16]) -> io::Result<EndedFile> {
        SealedFile::open(path, keys, instance).map(EndedFile)
    }

    /// The instance that the names of this file are about.
    pub(crate) fn instance(&self) -> &[u8; 16] {
        self.0.instance()
    }

    /// Writes down that a session ended, which would otherwise live until then.
    ///
    /// # Errors
    /// It could not be written: the file is full, or the disk is.
    pub(crate) fn keep(&self, name: Key, until: UnixMillis) -> io::Result<()> {
        self.0.add(&name.0.to_le_bytes(), until)
    }

    /// Enters what the file says into the shared set. Lines that do not open make every absence from
    /// the set doubtful for a day. `wall` and `mono` are one moment.
    ///
    /// # Errors
    /// The file could not be read: as doubtful.
    pub(crate) fn load(&self, mapping: &Mapping, wall: u64, mono: u64) -> io::Result<Loaded> {
        let found = self.enter(mapping, wall, mono);
        if !matches!(&found, Ok(Loaded { unreadable: 0, .. })) {
            mapping.ended().doubt_all(mono + DOUBT_MS);
        }
        found
    }

    fn enter(&self, mapping: &Mapping, wall: u64, mono: u64) -> io::Result<Loaded> {
        let contents = self.0.read(UnixMillis(wall))?;
        let mut loaded = Loaded {
            ended: 0,
            unreadable: contents.unreadable,
        };
        let mut alive = 0;
        for line in &contents.lines {
            let Ok(digest) = <[u8; DIGEST]>::try_from(line.plain.expose()) else {
                loaded.unreadable += 1;
                continue;
            };
            let end = mono.saturating_add(line.until.0.saturating_sub(wall));
            let name = Key(u128::from_le_bytes(digest));
            // A reload finds it there already. Without room the set itself doubts from now on.
            if mapping.ended().look(name, mono) != Ended::Yes {
                let _ = mapping.ended().insert(name, end, mono);
            }
            loaded.ended += 1;
            alive += line.raw.len() + 1;
        }
        if loaded.unreadable == 0 && contents.bytes > SHORT && alive < contents.bytes / 2 {
            self.0.compact(UnixMillis(wall))?;
        }
        Ok(loaded)
    }
}

#[cfg(test)]
mod tests {
    use portcullis_engine::token::sealed::{Purpose, SealKey};

    use super::*;

    const INSTANCE: [u8; 16] = [7; 16];
    const NOW: (u64, u64) = (1_700_000_000_000, 5_000);

    fn key(byte: u8) -> SealKey {
        SealKey::derive(&Secret::new(vec![byte; 32]), Purpose::EndedSessions)
    }

    fn token(n: usize) -> Secret {
        Secret::new(format!("*AAJTSQ.*token-{n}").into_bytes())
    }

    fn open(path: &Path) -> EndedFile {
        EndedFile::open(path, KeyRing::new(key(1)), INSTANCE).unwrap()
    }

    /// What a start finds, a day's part after the file was written.
    fn start(file: &EndedFile, later: u64) -> (Mapping, Loaded) {
        let mapping = Mapping::create(1 << 20).unwrap();
        let found = file.load(&mapping, NOW.0 + later, NOW.1).unwrap();
        (mapping, found)
    }

    fn look(mapping: &Mapping, n: usize) -> Ended {
        mapping.ended().look(name(&INSTANCE, &token(n)), NOW.1)
    }

    #[test]
    fn what_was_kept_is_there_after_a_start() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(NAME);
        let file = open(&path);
        for n in 0..3 {
            let until = UnixMillis(NOW.0 + 1000 * (n as u64 + 1));
            file.keep(name(&INSTANCE, &token(n)), until).unwrap();
        }
        let (mapping, found) = start(&open(&path), 1500);
        assert_eq!(
            found,
            Loaded {
                ended: 2,
                unreadable: 0
            }
        );
        assert_eq!(look(&mapping, 0), Ended::No, "over anyway");
        assert_eq!(look(&mapping, 1), Ended::Yes);
        assert_eq!(look(&mapping, 2), Ended::Yes);
        assert_eq!(look(&mapping, 3), Ended::No);
        // Written otherwise it is the same token; another instance's is another.
        let same = Secret::new(b"@AAJTSQ=#token-2".to_vec());
        assert_eq!(name(&INSTANCE, &same), name(&INSTANCE, &token(2)));
        assert_ne!(name(&[8; 16], &token(2)), name(&INSTANCE, &token(2)));
    }

    #[test]
    fn what_is_over_is_taken_out_of_a_long_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(NAME);
        let file = open(&path);
        let last = 900;
        for n in 0..=last {
            let life = if n == last { 5000 } else { 1000 };
            let until = UnixMillis(NOW.0 + life);
            file.keep(name(&INSTANCE, &token(n)), until).unwrap();
        }
        assert!(std::fs::metadata(&path).unwrap().len() > SHORT as u64);
        let (mapping, found) = start(&open(&path), 2000);
        assert_eq!((found.ended, look(&mapping, last)), (1, Ended::Yes));
        assert_eq!(
            std::fs::read(&path).unwrap().split(|b| *b == b'\n').count(),
            2
        );
        // Whoever had it open before goes on writing to it.
        let until = UnixMillis(NOW.0 + 5000);
        file.keep(name(&INSTANCE, &token(1)), until).unwrap();
        let (mapping, found) = start(&open(&path), 2000);
        assert_eq!((found.ended, look(&mapping, 1)), (2, Ended::Yes));
    }

    #[test]
    fn what_cannot_be_read_is_doubt() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(NAME);
        let until = UnixMillis(NOW.0 + 5000);
        open(&path).keep(name(&INSTANCE, &token(1)), until).unwrap();
        let rotated = KeyRing::new(key(2)).with_previous(key(1), UnixMillis(u64::MAX));
        let rotated = EndedFile::open(&path, rotated, INSTANCE).unwrap();
        let (mapping, found) = start(&rotated, 0);
        assert_eq!((found.ended, found.unreadable), (1, 0));
        assert_eq!(look(&mapping, 1), Ended::Yes);
        let other_key = EndedFile::open(&path, KeyRing::new(key(2)), INSTANCE).unwrap();
        let (mapping, found) = start(&other_key, 0);
        assert_eq!(
            found,
            Loaded {
                ended: 0,
                unreadable: 1
            }
        );
        assert_eq!(look(&mapping, 1), Ended::Unknown);
        assert_eq!(look(&mapping, 2), Ended::Unknown);
        let whole = std::fs::read(&path).unwrap();
        std::fs::write(&path, [&whole[..], b"torn"].concat()).unwrap();
        let (mapping, found) = start(&open(&path), 0);
        assert_eq!(
            found,
            Loaded {
                ended: 1,
                unreadable: 1
            }
        );
        assert_eq!(look(&mapping, 1), Ended::Yes);
        assert_eq!(look(&mapping, 2), Ended::Unknown);
    }
}

//! Which files of an instance outlive the server, and where are they?
//!
//! Opened by the parent, before the fork; workers write through what they inherit. What cannot be opened is
//! said once for all of them. It must not know what is in them.

use std::{
    io,
    path::{Path, PathBuf},
    time::Duration,
};

use portcullis_engine::{config, event::Code, token::sealed::Purpose};
use portcullis_shm::{Mapping, clock};

use crate::{
    agent::Start,
    ended::{self, EndedFile},
    known_good::{self, KnownGood},
    leader,
    logs::wall_ms,
    untold::{self, Untold},
};

/// The files of one instance, as far as they could be opened.
#[derive(Default)]
pub(crate) struct StateFiles {
    /// Client-side sessions that ended.
    pub(crate) ended: Option<EndedFile>,
    /// Logouts that AM does not know of yet.
    pub(crate) untold: Option<Untold>,
    /// What AM said last of the configuration, where that is kept.
    pub(crate) known_good: Option<KnownGood>,
}

/// Where they are: in a folder that the configuration names, or beside `agent.conf`.
pub(crate) fn folder(conf: &Path, start: &Start) -> PathBuf {
    match &start.config.state_dir {
        Some(folder) => PathBuf::from(folder),
        None => conf.parent().unwrap_or(conf).to_path_buf(),
    }
}

impl StateFiles {
    /// Opens them, enters what they say of ended sessions, and tells what is wrong.
    pub(crate) fn open(
        conf: &Path,
        start: &Start,
        mapping: &Mapping,
    ) -> (StateFiles, Vec<(Code, String)>) {
        let folder = folder(conf, start);
        let (keys, identity) = (
            |of| start.secrets.file_ring(of),
            config::identity(&start.config),
        );
        let (mut all, mut wrong, mut closed) = (StateFiles::default(), Vec::new(), Vec::new());
        match EndedFile::open(
            &folder.join(ended::NAME),
            keys(Purpose::EndedSessions),
            identity,
        ) {
            Ok(file) => {
                wrong.extend(unread(&file, mapping).map(|what| {
                    let path = folder.join(ended::NAME);
                    (Code::EndedUnread, format!("{}: {what}", path.display()))
                }));
                all.ended = Some(file);
            }
            Err(error) => closed.push((ended::NAME, error)),
        }
        match Untold::open(
            &folder.join(untold::NAME),
            keys(Purpose::UntoldLogouts),
            identity,
        ) {
            Ok(file) => all.untold = Some(file),
            Err(error) => closed.push((untold::NAME, error)),
        }
        let minutes = u64::from(start.config.known_good_age);
        if minutes > 0 && leader::from_am(&start.config) {
            let (path, age) = (
                folder.join(known_good::NAME),
                Duration::from_secs(minutes * 60),
            );
            match KnownGood::open(&path, keys(Purpose::LastKnownGood), identity, age) {
                Ok(file) => all.known_good = Some(file),
                Err(error) => closed.push((known_good::NAME, error)),
            }
        }
        wrong.extend(cannot_be_opened(&folder, &closed));
        (all, wrong)
    }
}

/// Reads which client-side sessions ended before the server was stopped (rule S1); what is wrong with that.
fn unread(file: &EndedFile, mapping: &Mapping) -> Option<String> {
    match file.load(mapping, wall_ms(), clock::boottime_ms()) {
        Ok(found) if found.unreadable == 0 => None,
        Ok(found) => Some(format!("{} lines", found.unreadable)),
        Err(error) => Some(error.to_string()),
    }
}

/// One line for all of them: it is mostly the folder that is wrong.
fn cannot_be_opened(folder: &Path, closed: &[(&str, io::Error)]) -> Option<(Code, String)> {
    let (_, error) = closed.first()?;
    let names: Vec<&str> = closed.iter().map(|(name, _)| *name).collect();
    let code = Code::EndedFile;
    let (names, folder) = (names.join(", "), folder.display());
    let remedy = code.row().remedy;
    Some((code, format!("{names} in {folder}: {error}; {remedy}")))
}

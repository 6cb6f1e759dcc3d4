//! Of which logouts does AM not know yet? It is told by whoever leads, as soon as it answers again, also
//! when the worker that took the logout is gone, or the whole server was.
//!
//! It must not decide whether a session counts: it is over here from the first moment (rule S1). The
//! tokens that AM has to be told stand in a file, sealed (rule K1).

use std::{io, path::Path, rc::Rc, time::Instant};

use portcullis_engine::{
    contract::{FactError, UnixMillis},
    event::Code,
    token::{Secret, sealed::KeyRing},
};

use crate::{
    fetch::Fetcher, lines::Line, logs::wall_ms, over::LOGOUT_RETRY, sealed_file::SealedFile,
};

/// Name of the file.
pub(crate) const NAME: &str = "untold-logouts";
/// AM's own limits have ended a session after this, milliseconds.
const MOST_MS: u64 = 24 * 3_600_000;

/// The file of one instance.
pub(crate) struct Untold(SealedFile);

impl Untold {
    /// Opens the file or makes it, readable by its owner only.
    pub(crate) fn open(path: &Path, keys: KeyRing, instance: [u8; 16]) -> io::Result<Untold> {
        SealedFile::open(path, keys, instance).map(Untold)
    }
}

/// Has AM told of this logout later.
pub(crate) fn later(fetcher: &Fetcher, token: &Secret) {
    let until = UnixMillis(wall_ms().saturating_add(MOST_MS));
    let kept = match fetcher.instance().untold() {
        Some(Untold(file)) => file.add(token.expose(), until),
        None => Err(io::Error::other("its file could not be opened")),
    };
    // It holds here all the same; at AM the session goes on until its own end.
    let text = kept
        .err()
        .map_or(String::new(), |error| format!("not: {error}"));
    fetcher
        .worker
        .write(fetcher.index, Line::log(Code::LogoutRetry, text));
}

/// Tells AM, for as long as the worker lives.
pub(crate) async fn tell(fetcher: Rc<Fetcher>) {
    loop {
        tokio::time::sleep(LOGOUT_RETRY).await;
        let Some(Untold(file)) = fetcher.instance().untold() else {
            return;
        };
        if !fetcher.worker.leads(fetcher.index) || file.is_empty() {
            continue;
        }
        if let Err(error) = all(&fetcher, file).await {
            let line = Line::log(Code::LogoutRetry, error.to_string());
            fetcher.worker.write(fetcher.index, line);
        }
    }
}

/// One attempt for each, in order, until AM does not answer.
async fn all(fetcher: &Rc<Fetcher>, file: &SealedFile) -> io::Result<()> {
    let now = UnixMillis(wall_ms());
    let contents = file.read(now)?;
    let mut done = Vec::new();
    for line in &contents.lines {
        let deadline = Instant::now() + LOGOUT_RETRY;
        let told = fetcher.tell_logout(&line.plain, deadline);
        match fetcher.worker.within(deadline, told).await {
            Ok(_) | Err(FactError::Dead) => done.push(line.raw.clone()),
            Err(FactError::NotAllowed) => {}
            Err(FactError::Unavailable(_)) => break,
        }
    }
    // What is over or does not open can be told to nobody.
    if !done.is_empty() || contents.lines.is_empty() || contents.unreadable > 0 {
        file.forget(&done, now)?;
    }
    Ok(())
}

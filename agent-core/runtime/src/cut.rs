//! Which connections end with the session that opened them?
//!
//! Where told, a request that was let in with a session is watched until it is over: its response may be
//! a stream or a WebSocket that lasts for hours. When the session ends the client's connection is shut
//! down; the host then finds it broken, as if the client had left. Must not cut on a doubt: only what is
//! known to be over counts, and the client's next request is decided like any other.

use std::{
    collections::HashMap,
    os::fd::BorrowedFd,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use parking_lot::Mutex;
use portcullis_engine::{contract::SessionKey, event::Code, record::Session};
use portcullis_shm::{Key, Mapping, clock};
use rustix::net::{Shutdown, shutdown};
use tokio::sync::Notify;

use crate::{lines::Line, logs::wall_ms, memo, worker::Worker};

/// How often watched sessions are looked at, as long as there are any.
const LOOK: Duration = Duration::from_millis(250);

/// The requests of this process that are watched.
#[derive(Default)]
pub(crate) struct Watches {
    open: Mutex<HashMap<u64, Watched>>,
    last: AtomicU64,
    begun: Notify,
}

struct Watched {
    instance: usize,
    session: SessionKey,
    socket: BorrowedFd<'static>,
}

/// One watched request. Once it is dropped its connection is not touched any more.
pub struct Watch {
    all: Arc<Watches>,
    number: u64,
}

impl Drop for Watch {
    fn drop(&mut self) {
        // Waits for a cut that is under way, so that nobody closes the socket meanwhile.
        self.all.open.lock().remove(&self.number);
    }
}

impl Watches {
    /// Watches a request whose client is at the other end of this socket.
    pub(crate) fn watch(
        self: &Arc<Self>,
        instance: usize,
        session: SessionKey,
        socket: BorrowedFd<'static>,
    ) -> Watch {
        let number = self.last.fetch_add(1, Ordering::Relaxed);
        let watched = Watched {
            instance,
            session,
            socket,
        };
        self.open.lock().insert(number, watched);
        self.begun.notify_one();
        Watch {
            all: self.clone(),
            number,
        }
    }

    /// Cuts those whose session is over; the instances that they came to. Whether any are left.
    fn cut(&self, over: impl Fn(SessionKey) -> bool) -> (Vec<usize>, bool) {
        let mut open = self.open.lock();
        let cut = open
            .extract_if(|_, watched| over(watched.session))
            .map(|(_, watched)| {
                // One that the client has closed already needs no more.
                let _ = shutdown(watched.socket, Shutdown::Both);
                watched.instance
            })
            .collect();
        (cut, !open.is_empty())
    }
}

/// Looks for sessions that are over, for as long as the worker lives.
pub(crate) async fn look(worker: Arc<Worker>) {
    let watches = worker.watches();
    loop {
        let (cut, more) = watches.cut(|session| is_over(worker.mapping(), session));
        for instance in cut {
            worker.write(instance, Line::log(Code::ConnectionCut, String::new()));
        }
        match more {
            true => tokio::time::sleep(LOOK).await,
            false => watches.begun.notified().await,
        }
    }
}

/// Whether a session is known to be over: here, at AM, or by its own time.
fn is_over(mapping: &Mapping, session: SessionKey) -> bool {
    if memo::is_over(mapping, session) {
        return true;
    }
    let mut record = Vec::new();
    let (key, now) = (Key(session.0), clock::boottime_ms());
    let known = mapping.sessions().get(key, now, &mut record);
    let ends = known.and_then(|_| Session::decode(&record).map(|session| session.max_end));
    ends.is_some_and(|end| end > 0 && end <= wall_ms())
}

#[cfg(test)]
mod tests {
    use std::{
        io::Read,
        os::{
            fd::{AsFd, AsRawFd},
            unix::net::UnixStream,
        },
    };

    use portcullis_shm::Stamp;

    use super::*;

    /// A socket whose borrow lasts as long as the test.
    fn connection() -> (BorrowedFd<'static>, UnixStream) {
        let (ours, theirs) = UnixStream::pair().unwrap();
        theirs.set_nonblocking(true).unwrap();
        let ours: &'static UnixStream = Box::leak(Box::new(ours));
        (ours.as_fd(), theirs)
    }

    fn is_cut(mut stream: &UnixStream) -> bool {
        matches!(stream.read(&mut [0]), Ok(0))
    }

    #[test]
    fn only_the_connections_of_a_session_that_is_over_are_cut() {
        let all = Arc::new(Watches::default());
        let (one, client_of_one) = connection();
        let (two, client_of_two) = connection();
        let watches = [
            all.watch(3, SessionKey(1), one),
            all.watch(3, SessionKey(2), two),
        ];
        assert_eq!(all.cut(|session| session.0 == 1), (vec![3], true));
        assert!(is_cut(&client_of_one) && !is_cut(&client_of_two));
        assert_eq!(all.cut(|session| session.0 == 1), (vec![], true));
        drop(watches);
        assert_eq!(all.cut(|_| true), (vec![], false));
        assert!(!is_cut(&client_of_two));
    }

    #[test]
    fn a_socket_that_serves_another_request_is_left_alone() {
        let all = Arc::new(Watches::default());
        let (socket, client) = connection();
        drop(all.watch(0, SessionKey(1), socket));
        let next = all.watch(0, SessionKey(2), socket);
        assert_eq!(all.cut(|session| session.0 == 1), (vec![], true));
        assert!(socket.as_raw_fd() > 0 && !is_cut(&client));
        drop(next);
    }

    #[test]
    fn a_session_is_over_when_it_ended_here_or_is_dead_at_am() {
        let m = Mapping::create(0).unwrap();
        let now = clock::boottime_ms();
        let is_over = |key| super::is_over(&m, SessionKey(key));
        assert!(!is_over(1) && !is_over(2));
        assert!(m.ended().insert(Key(1), now + 60_000, now));
        let stamp = Stamp {
            stored_at: now,
            expires_at: now + 60_000,
            ..Stamp::default()
        };
        let _ = m.dead().put(Key(2), stamp, &[]);
        assert!(is_over(1) && is_over(2) && !is_over(3));
    }
}

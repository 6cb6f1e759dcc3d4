//! What do reloads under load leave behind, in a server with the agent and in a bare one beside it?

use std::{
    collections::BTreeSet,
    fs, io,
    os::unix::fs::PermissionsExt,
    path::Path,
    sync::atomic::{AtomicBool, AtomicUsize, Ordering},
};

use crate::{
    client::{Request, Response},
    processes::{agent_workers, threads},
    server::{Kind, Layout, Mpm, Server, alive},
    site::{Site, site},
    wait_until,
};

/// A page that needs a session where the agent is.
const PAGE: &str = "/docs/a.html";
/// Clients at once.
const CLIENTS: usize = 4;
/// Reloads before anything is counted: the first ones fill what is filled once.
const WARM: usize = 3;

/// What the kernel says of a process.
#[derive(Clone, Copy, Debug, Default)]
pub struct Size {
    /// Open files.
    pub files: usize,
    /// Threads.
    pub threads: usize,
    /// Memory in use, in KiB.
    pub memory: usize,
}

/// A server's parent, and the largest figures of its workers.
#[derive(Clone, Copy, Debug)]
pub struct Sample {
    /// The process that reloads.
    pub parent: Size,
    /// Of each figure the largest among the workers.
    pub worker: Size,
}

/// What reloads did to one server.
#[derive(Debug)]
pub struct Outcome {
    /// After the first few reloads.
    pub before: Sample,
    /// After all of them.
    pub after: Sample,
    /// Requests that were answered.
    pub answered: usize,
    /// Those whose connection closed before the first byte, so that they were sent once more.
    pub repeated: usize,
}

/// Reloads both servers, of four workers each, so often, by turns, while clients ask both for pages. Each answer has to be the
/// page, after one repetition at most.
///
/// # Panics
/// When an answer is another one, or none.
pub fn compare((kind, mpm): (Kind, Mpm), reloads: usize) -> (Outcome, Outcome) {
    let mut site = site(kind)
        .mpm(mpm)
        .workers(4)
        .unrecorded()
        .property("com.sun.identity.agents.config.debug.level", "error")
        .start();
    // httpd's own, where old children are still busy; it has no spare place here.
    site.server.expect("AH03490");
    let mut visitor = site.visitor();
    assert_eq!(visitor.log_in(PAGE).status, 200);
    let cookie = visitor.cookie_header();
    let home = tempfile::tempdir().expect("folder");
    fs::set_permissions(home.path(), fs::Permissions::from_mode(0o755)).expect("mode");
    let layout = Layout {
        workers: Some(4),
        mpm,
        ..Layout::default()
    };
    let mut bare = bare(kind, &site, home.path(), &layout);
    bare.expect("AH03490");

    let request = Request::get(PAGE).header("Cookie", &cookie);
    let over = AtomicBool::new(false);
    let counts: [(AtomicUsize, AtomicUsize); 2] = Default::default();
    let ask = |server: &Server, (answered, repeated): &(AtomicUsize, AtomicUsize)| {
        while !over.load(Ordering::Relaxed) {
            let (answer, again) = send(server, &site, &request);
            let answer = answer.unwrap_or_else(|e| panic!("{e}\n{}", server.said()));
            assert_eq!(answer.status, 200, "{answer:?}\n{}", server.said());
            answered.fetch_add(1, Ordering::Relaxed);
            repeated.fetch_add(usize::from(again), Ordering::Relaxed);
        }
    };
    let both = std::thread::scope(|scope| {
        for _ in 0..CLIENTS {
            scope.spawn(|| ask(&bare, &counts[0]));
            scope.spawn(|| ask(&site.server, &counts[1]));
        }
        // A failure here has to end the clients, too.
        let _guard = Raise(&over);
        turns(&bare, &site, WARM);
        let before = [sample(&bare), sample(&site.server)];
        turns(&bare, &site, reloads);
        [
            (before[0], sample(&bare)),
            (before[1], sample(&site.server)),
        ]
    });
    let [with_bare, with_agent] = [0, 1].map(|at| Outcome {
        before: both[at].0,
        after: both[at].1,
        answered: counts[at].0.load(Ordering::Relaxed),
        repeated: counts[at].1.load(Ordering::Relaxed),
    });
    bare.stop();
    site.stop();
    (with_bare, with_agent)
}

/// Sets a flag at the end of its scope.
struct Raise<'f>(&'f AtomicBool);

impl Drop for Raise<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// A server of the same pages without the agent, with its files in `folder`.
///
/// # Panics
/// When it does not start.
#[must_use]
pub fn bare(kind: Kind, site: &Site, folder: &Path, layout: &Layout) -> Server {
    let mut server = Server::prepare(kind, folder, site.backend.address(), layout);
    // Without the module httpd knows no level of its messages.
    let conf = fs::read_to_string(server.conf()).expect("configuration");
    fs::write(server.conf(), conf.replace(" amagent:info", "")).expect("configuration");
    server.start();
    // httpd listens before it knows what USR1 means; whoever answers a request has begun after that.
    let (answer, _) = send(&server, site, &Request::get(PAGE));
    assert_eq!(answer.expect("an answer").status, 200);
    server
}

/// The answer, and whether the request had to be sent twice.
fn send(server: &Server, site: &Site, request: &Request) -> (io::Result<Response>, bool) {
    match request.send(server.address(), &site.authority()) {
        Ok(answer) => (Ok(answer), false),
        Err(_) => (request.send(server.address(), &site.authority()), true),
    }
}

fn turns(bare: &Server, site: &Site, count: usize) {
    for _ in 0..count {
        reload(bare, || bare.workers().into_iter().collect());
        reload(&site.server, || agent_workers(site));
    }
}

/// Reloads once, until the old workers are gone and others work.
fn reload(server: &Server, ready: impl Fn() -> BTreeSet<u32>) {
    let old: BTreeSet<u32> = server.workers().into_iter().collect();
    server.reload();
    wait_until("new workers", || {
        let now = ready();
        // The parent has to have taken leave of the old ones: it closes what it shared with them.
        let gone = server.workers().iter().all(|pid| !old.contains(pid));
        gone && !now.is_empty() && now.is_disjoint(&old) && !old.iter().any(|pid| alive(*pid))
    });
}

fn sample(server: &Server) -> Sample {
    let workers = server.workers().into_iter().map(size);
    let worker = workers.fold(Size::default(), |all, one| Size {
        files: all.files.max(one.files),
        threads: all.threads.max(one.threads),
        memory: all.memory.max(one.memory),
    });
    Sample {
        parent: size(server.pid()),
        worker,
    }
}

fn size(pid: u32) -> Size {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let memory = line.and_then(|text| text.trim().split(' ').next()?.parse().ok());
    Size {
        files: fs::read_dir(format!("/proc/{pid}/fd")).map_or(0, Iterator::count),
        threads: threads(pid).len(),
        memory: memory.unwrap_or(0),
    }
}

/// Files that a worker may have open for calls to AM and for requests when it is looked at.
const CALLS: usize = 16;
/// What a process may have grown in KiB: heaps have no fixed size.
const HEAP: usize = 8 << 10;

/// Whether the server with the agent came through it as well as the bare one.
///
/// # Panics
/// When it did not.
pub fn assert_no_worse((bare, agent): &(Outcome, Outcome)) {
    let check = |what: &str, of: &dyn Fn(&Sample) -> usize, room: usize| {
        let grown = |o: &Outcome| of(&o.after).saturating_sub(of(&o.before));
        let fine = grown(agent) <= grown(bare) + room;
        assert!(fine, "{what} grew more\nbare: {bare:?}\nagent: {agent:?}");
    };
    check("files of the parent", &|s| s.parent.files, 0);
    check("threads of the parent", &|s| s.parent.threads, 0);
    check("memory of the parent", &|s| s.parent.memory, HEAP);
    check("files of a worker", &|s| s.worker.files, CALLS);
    check("threads of a worker", &|s| s.worker.threads, 0);
    check("memory of a worker", &|s| s.worker.memory, HEAP);
    assert!(
        agent.repeated <= bare.repeated,
        "more connections broke\nbare: {bare:?}\nagent: {agent:?}"
    );
}

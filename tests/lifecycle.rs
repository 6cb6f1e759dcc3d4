//! Start, reload, the death of a worker, an upgrade, stop: what is known survives, nothing stays
//! behind, and nobody gets a wrong answer on the way.

// What can't be had fails the test that wanted it.
#![allow(clippy::expect_used, clippy::panic)]

use std::{
    collections::BTreeSet,
    fs,
    os::unix::fs::PermissionsExt,
    sync::atomic::{AtomicBool, AtomicUsize, Ordering},
    time::{Duration, Instant},
};

use am_simulator::{Damage, Fault};
use portcullis_tests::{
    both_servers,
    client::{Request, Response},
    daemon::Daemon,
    leading::Shared,
    outage::{Crowd, evaluations, logins},
    processes::{
        agent_workers, file_of, is_closed, mapping_fds, mappings, shm_files, signal, threads,
        users_of, wait_for_successors,
    },
    reloads::{assert_no_worse, bare, compare},
    server::{Kind, Layout, Mpm, Server, alive},
    site::{Builder, Site, site},
    wait_until,
};

/// What a client does whose connection closes before the first byte: tries once more, and here a few
/// times more, because a hard restart can hit it twice.
fn insist(server: &Server, authority: &str, request: &Request) -> (Response, usize) {
    for broken in 0..50 {
        match request.send(server.address(), authority) {
            Ok(answer) => return (answer, broken),
            Err(_) => std::thread::yield_now(),
        }
    }
    panic!("no connection lasted\n{}", server.said());
}

/// Each of them has one request under way.
const CLIENTS: usize = 4;

/// What the clients got.
struct Load {
    broken: usize,
    answered: usize,
}

/// Runs `disturb` while the clients ask for what `cases` gives for the next number; each answer must have
/// its status.
fn load(
    server: &Server,
    authority: &str,
    cases: &(dyn Fn(usize) -> Vec<(Request, u16)> + Sync),
    disturb: impl FnOnce(),
) -> Load {
    let (over, broken, answered) = (
        AtomicBool::new(false),
        AtomicUsize::new(0),
        AtomicUsize::new(0),
    );
    let fresh = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for _ in 0..CLIENTS {
            scope.spawn(|| {
                while !over.load(Ordering::Relaxed) {
                    for (request, status) in cases(fresh.fetch_add(1, Ordering::Relaxed)) {
                        let (answer, failed) = insist(server, authority, &request);
                        assert_eq!(
                            answer.status,
                            status,
                            "{request:?}: {answer:?}\n{}",
                            server.said()
                        );
                        broken.fetch_add(failed, Ordering::Relaxed);
                        answered.fetch_add(1, Ordering::Relaxed);
                    }
                }
            });
        }
        wait_until("load", || answered.load(Ordering::Relaxed) > 20);
        disturb();
        over.store(true, Ordering::Relaxed);
    });
    Load {
        broken: broken.into_inner(),
        answered: answered.into_inner(),
    }
}

/// The same for all that a site answers: pages for all, pages that are known, unknown, refused, and a login.
fn under_load(site: &Site, cookie: &str, disturb: impl FnOnce()) -> Load {
    let cases = |n: usize| {
        let with = |page: &str| Request::get(page).header("Cookie", cookie);
        vec![
            (Request::get("/public/a.html"), 200),
            (with("/app/known"), 200),
            (with(&format!("/app/load-{n}")), 200),
            (Request::get("/app/known"), 302),
            (with("/secret/a.html"), 403),
        ]
    };
    load(&site.server, &site.authority(), &cases, disturb)
}

/// A leader that is stopped loses the lease; what it had heard and not done before, it does not do when it
/// goes on.
fn stop_the_leader(site: Builder) {
    let site = site.workers(4).listens().start();
    site.wait_for_line("PCL0640");
    let (shared, am) = (Shared::of(&site), site.am.simulator());
    let heard = || site.debug_log().matches("PCL0644").count();
    let listening = || site.debug_log().matches("PCL0640").count();
    for round in 0..5 {
        let mut visitor = site.visitor();
        assert_eq!(visitor.log_in("/app/known").status, 200);
        wait_until("one socket", || am.sockets() == 1);
        let (before, earlier) = (heard(), listening());
        let (old, held) = shared.leader().expect("a leader");
        signal(old, "STOP");
        // A socket that has asked for nothing yet hears nothing.
        wait_until("another leader that listens", || {
            shared
                .leader()
                .is_some_and(|(pid, now)| pid != old && now.term > held.term)
                && am.sockets() == 2
                && listening() > earlier
        });
        // Both are told; one of them reads it later.
        assert!(am.end_session(&visitor.am_token()));
        wait_until("word of it", || heard() == before + 1);
        if minute_of_kills().is_some() {
            // What is done meanwhile is done by the other one.
            std::thread::sleep(STOPPED);
        }
        let then = shared.numbers();
        signal(old, "CONT");
        wait_until("the end of the old socket", || am.sockets() == 1);
        let now = shared.numbers();
        assert_eq!(visitor.get("/app/known").status, 302);
        // On a busy machine the next one may have lost its lease as well: then it counts the other time.
        if now.term == then.term {
            assert_eq!(now, then, "the old leader wrote something");
            assert_eq!(heard(), before + 1);
            return site.stop();
        }
        println!("round {round}: the lease went on, from {then:?} to {now:?}");
    }
    panic!("no leader stayed one\n{}", site.debug_log());
}

fn reload_under_load(site: Builder) {
    let mut site = site.start();
    // httpd's own, where old children are still busy; the test leaves it no spare place.
    site.server.expect("AH03490");
    let mut visitor = site.visitor();
    assert_eq!(visitor.log_in("/app/known").status, 200);
    let cookie = visitor.cookie_header();
    let load = under_load(&site, &cookie, || {
        for _ in 0..5 {
            let old = agent_workers(&site);
            site.server.reload();
            wait_for_successors(&site, &old);
        }
    });
    // Each request has a connection of its own, and a graceful reload takes in every one.
    assert_eq!(load.broken, 0, "connections broken by graceful reloads");
    site.stop();
}

/// With `make bench`: workers are killed for so long, one each tenth of a second.
fn minute_of_kills() -> Option<Duration> {
    let seconds = std::env::var("PORTCULLIS_KILL_SECONDS").ok()?;
    Some(Duration::from_secs(seconds.parse().expect("seconds")))
}

/// The pace of the long form, not a wait for an event: what is killed must have had time to take work up.
const BETWEEN_KILLS: Duration = Duration::from_millis(100);
/// With it, how long a leader is stopped: several times the life of its lease.
const STOPPED: Duration = Duration::from_secs(10);

/// Kills as many workers of a server without the agent, one each tenth of a second, under as much load.
fn kill_bare(site: &Site, mpm: Mpm, kills: usize) -> Load {
    let home = tempfile::tempdir().expect("folder");
    fs::set_permissions(home.path(), fs::Permissions::from_mode(0o755)).expect("mode");
    let layout = Layout {
        workers: Some(4),
        mpm,
        ..Layout::default()
    };
    let mut bare = bare(site.server.kind(), site, home.path(), &layout);
    for line in ["exited on signal 9", "exit signal Killed"] {
        bare.expect(line);
    }
    let cases = |n: usize| {
        let page = |name: &str| (Request::get(name), 200);
        let mut all = vec![page(&format!("/app/load-{n}"))];
        all.extend((0..4).map(|_| page("/docs/a.html")));
        all
    };
    let load = load(&bare, &site.authority(), &cases, || {
        // httpd takes up to a second to see that one has died; the next is killed all the same.
        let living = || {
            let mut workers = bare.workers();
            workers.retain(|pid| alive(*pid));
            workers.sort_unstable();
            workers
        };
        for kill in 0..kills {
            let workers = living();
            let victim = workers[kill % workers.len()];
            signal(victim, "KILL");
            std::thread::sleep(BETWEEN_KILLS);
            wait_until("a worker", || {
                let now = living();
                !now.is_empty() && !now.contains(&victim)
            });
        }
    });
    bare.stop();
    load
}

fn kill_under_load(site: Builder, mpm: Mpm) {
    // One client begins more logins here than anybody should.
    let site = site.mpm(mpm).property("portcullis.login.starts.max", "0");
    let mut site = site.workers(4).listens().start();
    for line in ["exited on signal 9", "exit signal Killed"] {
        site.server.expect(line);
    }
    site.wait_for_line("PCL0640");
    let mut visitor = site.visitor();
    assert_eq!(visitor.log_in("/app/known").status, 200);
    let cookie = visitor.cookie_header();
    let (am, shared) = (site.am.simulator(), Shared::of(&site));
    am.reset_calls();
    let end = minute_of_kills().map(|length| Instant::now() + length);
    let (mut kills, mut leaders) = (0, 0);
    let load = under_load(&site, &cookie, || {
        while kills < 12 || end.is_some_and(|end| Instant::now() < end) {
            let workers: Vec<u32> = agent_workers(&site).into_iter().collect();
            let leader = shared.leader().map(|(pid, _)| pid);
            // Every third time whoever leads.
            let leads = leader.filter(|pid| kills % 3 == 0 && workers.contains(pid));
            let victim = leads.unwrap_or_else(|| workers[kills % workers.len()]);
            (kills, leaders) = (kills + 1, leaders + usize::from(leads.is_some()));
            signal(victim, "KILL");
            if end.is_some() {
                std::thread::sleep(BETWEEN_KILLS);
            }
            // httpd starts another one when it needs it.
            wait_until("a worker", || {
                let now = agent_workers(&site);
                !now.is_empty() && !now.contains(&victim)
            });
        }
    });
    site.server.killed(kills);
    let last = Instant::now();
    wait_until("a socket", || am.sockets() == 1);
    let back = last.elapsed().as_millis();
    println!(
        "{kills} kills, {leaders} of leaders; {} of {} connections broken; the socket back after {back} ms",
        load.broken, load.answered
    );
    if end.is_some() {
        let Load { broken, answered } = kill_bare(&site, mpm, kills);
        println!("{kills} kills without the agent; {broken} of {answered} connections broken");
    }
    assert!(leaders > 0, "somebody else led each time");
    // A kill breaks what was under way, and nothing later.
    assert!(
        load.broken <= CLIENTS * kills,
        "{} broken by {kills}",
        load.broken
    );
    assert_eq!(logins(am), 0, "the agent's session is everybody's");
    // Somebody leads, and hears what AM says.
    assert!(am.end_session(&visitor.am_token()));
    let known = Request::get("/app/known").header("Cookie", &cookie);
    wait_until("word of it", || {
        insist(&site.server, &site.authority(), &known).0.status == 302
    });
    for answer in Crowd::send(&site, vec![known; 40]).rest() {
        assert_eq!(answer.status, 302, "{answer:?}");
    }
    assert_eq!(shm_files(), Vec::<String>::new());
    site.stop();
}

both_servers! {
    fn reloads_under_load_give_only_right_answers(kind: Kind) {
        reload_under_load(site(kind));
    }

    /// The long form is the bench `reloads`.
    fn reloads_leave_no_more_behind_than_those_of_a_bare_server(kind: Kind) {
        assert_no_worse(&compare((kind, Mpm::Event), 5));
    }

    fn killed_workers_cost_nothing_that_was_known(kind: Kind) {
        let mut site = site(kind).start();
        for line in ["exited on signal 9", "exit signal Killed"] {
            site.server.expect(line);
        }
        let mut visitor = site.visitor();
        assert_eq!(visitor.log_in("/app/known").status, 200);
        let cookie = visitor.cookie_header();
        site.am.simulator().reset_calls();
        // All of them: one held the lease.
        let old = agent_workers(&site);
        assert_eq!(old.len(), 2);
        for pid in &old {
            signal(*pid, "KILL");
        }
        let known = Request::get("/app/known").header("Cookie", &cookie);
        assert_eq!(insist(&site.server, &site.authority(), &known).0.status, 200, "the next request works");
        assert_eq!(insist(&site.server, &site.authority(), &Request::get("/public/a.html")).0.status, 200, "the profile holds");
        wait_for_successors(&site, &old);
        assert_eq!(insist(&site.server, &site.authority(), &known).0.status, 200);
        assert_eq!(site.am.simulator().calls(), [], "everything was known already");
        // Somebody leads again: what the agent's session is needed for works, with the old session.
        assert_eq!(insist(&site.server, &site.authority(), &Request::get("/app/unknown").header("Cookie", &cookie)).0.status, 200);
        site.am.simulator().kill_agent_sessions(None);
        assert_eq!(insist(&site.server, &site.authority(), &Request::get("/app/other").header("Cookie", &cookie)).0.status, 200);
        assert_eq!(logins(site.am.simulator()), 1);
        site.stop();
    }

    fn workers_killed_again_and_again_cost_nobody_a_wrong_answer(kind: Kind) {
        kill_under_load(site(kind), Mpm::Event);
    }

    fn a_leader_that_was_stopped_writes_nothing_when_it_goes_on(kind: Kind) {
        stop_the_leader(site(kind));
    }

    fn reloading_keeps_the_cache_and_the_agents_session(kind: Kind) {
        let site = site(kind).start();
        let mut visitor = site.visitor();
        assert_eq!(visitor.log_in("/app/known").status, 200);
        site.am.simulator().reset_calls();
        let old = agent_workers(&site);
        site.server.reload();
        wait_for_successors(&site, &old);
        assert_eq!(visitor.get("/app/known").status, 200);
        assert_eq!(site.get("/public/a.html").status, 200);
        assert_eq!(site.am.simulator().calls(), []);
        site.stop();
    }

    fn a_reload_does_not_wait_for_an_am_that_hangs(kind: Kind) {
        let mut site = site(kind).property("portcullis.am.deadline", "60000").start();
        site.server.expect("PCL05");
        // httpd's own, where old children are still busy; the test leaves it no spare place.
        site.server.expect("AH03490");
        let mut visitor = site.visitor();
        assert_eq!(visitor.log_in("/app/known").status, 200);
        let am = site.am.simulator();
        am.reset_calls();
        am.add_fault(Fault::on("", Damage::Hold));
        let cookie = visitor.cookie_header();
        let request = Request::get("/app/held").header("Cookie", &cookie);
        let crowd = Crowd::send(&site, vec![request; 2]);
        wait_until("the question", || evaluations(am) > 0);
        let old = agent_workers(&site);
        site.server.reload();
        for answer in crowd.rest() {
            assert_eq!(answer.status, 503, "{answer:?}");
        }
        // Given up because of the reload, not because the minute was over; and a worker that ends says
        // so before it is gone.
        site.wait_for_line("PCL0507");
        assert!(!site.debug_log().contains("PCL0501"));
        wait_for_successors(&site, &old);
        am.clear_faults();
        assert_eq!(visitor.get("/app/held").status, 200);
        site.stop();
    }

    fn one_thread_and_one_mapping_for_each_worker_and_nothing_after_the_stop(kind: Kind) {
        let site = site(kind).start();
        let mut visitor = site.visitor();
        assert_eq!(visitor.log_in("/app/known").status, 200);
        let parent = site.server.pid();
        let workers = site.server.workers();
        assert_eq!(workers.len(), 2, "{workers:?}");
        assert_eq!(threads(parent).len(), 1, "the parent has no thread of ours: {:?}", threads(parent));
        let mut files = BTreeSet::new();
        for pid in &workers {
            wait_until("the worker's thread", || {
                threads(*pid).iter().filter(|name| *name == "portcullis").count() == 1
            });
            if kind == Kind::Nginx {
                assert_eq!(threads(*pid).len(), 2, "{:?}", threads(*pid));
            }
            let lines = mappings(*pid);
            assert_eq!(lines.len(), 1, "{lines:?}");
            assert!(lines[0].contains(" rw-s "), "{lines:?}");
            files.insert(file_of(&lines[0]));
            wait_until("the worker to close the mapping's file", || mapping_fds(*pid) == 0);
            assert!(is_closed(*pid), "another process of the user could read the worker's memory");
        }
        assert_eq!(files.len(), 1, "one mapping for all: {files:?}");
        assert_eq!(mapping_fds(parent), 1, "the parent keeps the file for the tools");
        assert_eq!(shm_files(), Vec::<String>::new());
        site.stop();
        let file = files.first().expect("one");
        assert!(users_of(file).is_empty());
        assert!(workers.iter().all(|pid| !alive(*pid)));
    }

    fn secret_files_that_others_can_read_are_refused(kind: Kind) {
        let mut site = site(kind).prepare();
        site.server.expect("agent-key.conf");
        site.server.expect("agent-password.conf");
        site.server.expect("agent.conf");
        for file in ["agent-key.conf", "agent-password.conf"] {
            let path = site.instance.join("config").join(file);
            fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).expect("mode");
            let (passes, said) = site.server.check();
            assert!(!passes, "{said}");
            let line = said.lines().find(|l| l.contains("PCL0600")).unwrap_or_else(|| panic!("{said}"));
            assert!(line.contains(file) && line.contains("644") && line.contains("0600"), "{line}");
            fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).expect("mode");
        }
        let (passes, said) = site.server.check();
        assert!(passes, "{said}");
        site.stop();
    }
}

#[test]
fn reloads_of_httpd_with_the_worker_mpm_give_only_right_answers() {
    reload_under_load(site(Kind::Httpd).mpm(Mpm::Worker));
}

#[test]
fn killed_workers_of_the_worker_mpm_cost_nobody_a_wrong_answer() {
    kill_under_load(site(Kind::Httpd), Mpm::Worker);
}

#[test]
fn a_stopped_leader_of_httpd_prefork_writes_nothing_when_it_goes_on() {
    stop_the_leader(site(Kind::Httpd).mpm(Mpm::Prefork));
}

#[test]
fn reloads_of_httpd_prefork_give_only_right_answers() {
    reload_under_load(site(Kind::Httpd).workers(4).mpm(Mpm::Prefork));
}

#[test]
fn killed_processes_of_httpd_prefork_cost_nobody_a_wrong_answer() {
    kill_under_load(site(Kind::Httpd), Mpm::Prefork);
}

/// nginx has no signal for a hard restart; httpd's breaks connections, but answers nothing wrong.
#[test]
fn a_hard_restart_of_httpd_under_load_gives_only_right_answers() {
    let site = site(Kind::Httpd).start();
    let mut visitor = site.visitor();
    assert_eq!(visitor.log_in("/app/known").status, 200);
    let cookie = visitor.cookie_header();
    under_load(&site, &cookie, || {
        for _ in 0..3 {
            let old = agent_workers(&site);
            site.server.signal("HUP");
            wait_for_successors(&site, &old);
        }
    });
    site.stop();
}

/// The new master takes over the mapping of the old one, and its workers what is in it.
#[test]
fn an_upgrade_of_nginx_keeps_the_cache() {
    let mut site = site(Kind::Nginx).prepare();
    let daemon = Daemon::start(&mut site.server);
    let mut visitor = site.visitor();
    assert_eq!(visitor.log_in("/app/known").status, 200);
    site.am.simulator().reset_calls();
    let old = daemon.pid();
    let file = file_of(&mappings(old)[0]);
    signal(old, "USR2");
    wait_until("a new master", || daemon.pid() != old && daemon.pid() != 0);
    let new = daemon.pid();
    wait_until("the new master's workers", || {
        let children = portcullis_tests::server::children(new);
        children
            .iter()
            .filter(|pid| threads(**pid).contains(&"portcullis".to_owned()))
            .count()
            == 2
    });
    assert_eq!(
        mappings(new)
            .iter()
            .map(|line| file_of(line))
            .collect::<Vec<_>>(),
        [file]
    );
    signal(old, "QUIT");
    wait_until("the end of the old master", || !alive(old));
    assert_eq!(visitor.get("/app/known").status, 200);
    assert_eq!(site.get("/public/a.html").status, 200);
    assert_eq!(site.am.simulator().calls(), []);
    assert!(
        !site.server.said().contains("cannot be taken over"),
        "{}",
        site.server.said()
    );
    daemon.stop();
    site.stop();
}

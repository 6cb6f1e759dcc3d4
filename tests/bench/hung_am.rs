//! What does a minute in which AM hangs cost, while 200 sessions a second come that nobody knows yet?
//!
//! Prints how fast pages are that need no AM, before and meanwhile, how the others are answered, how many calls AM
//! was given at once, and what of memory and open files is left when it is over. Nothing here passes or fails by a
//! figure; that nothing is lost and the cap holds, `tests/outage.rs` looks at.
#![allow(clippy::expect_used, clippy::panic, reason = "a tool of developers")]

use std::{
    sync::mpsc,
    thread,
    time::{Duration, Instant},
};

use am_simulator::{Damage, Fault};
use portcullis_tests::{
    client::{Request, Response},
    processes::{memory, open_files},
    server::Kind,
    site::{self, Site, USER},
    wait_until,
};

/// How long AM hangs; the variable makes it shorter.
const SECONDS: u64 = 60;
const VARIABLE: &str = "PORTCULLIS_BENCH_SECONDS";
/// Between two new sessions.
const PAUSE: Duration = Duration::from_millis(5);

fn main() {
    let given = std::env::var(VARIABLE).ok().and_then(|n| n.parse().ok());
    let hung = Duration::from_secs(given.unwrap_or(SECONDS));
    for kind in [Kind::Nginx, Kind::Httpd] {
        measure(kind, hung);
    }
}

fn measure(kind: Kind, hung: Duration) {
    let mut site = site::site(kind)
        .unrecorded()
        .workers(4)
        .threads(64)
        .property("com.sun.identity.agents.config.debug.level", "error")
        .profile("com.forgerock.agents.accept.sso.token", &["true"])
        .start();
    site.server.expect("PCL05");
    let mut visitor = site.visitor();
    assert_eq!(visitor.log_in("/app/known").status, 200);
    let cookie = visitor.cookie_header();
    println!("{kind:?}, AM hangs for {} s", hung.as_secs());
    let exempt = Request::get("/public/a.html");
    let cached = Request::get("/app/known").header("Cookie", &cookie);
    for (name, request) in [("exempt", &exempt), ("cached", &cached)] {
        let (times, lost) = ask_for(&site, request, Duration::from_secs(3));
        print_times(&format!("{name} before"), times, lost);
    }
    let before = left(&site);

    let am = site.am.simulator();
    am.reset_calls();
    am.add_fault(Fault::on("", Damage::Hang));
    let began = Instant::now();
    let (sender, answers) = mpsc::channel();
    let mut sent = 0_usize;
    thread::scope(|scope| {
        let probes = [("exempt", &exempt), ("cached", &cached)].map(|(name, request)| {
            let site = &site;
            (name, scope.spawn(move || ask_for(site, request, hung)))
        });
        while began.elapsed() < hung {
            let token = am.log_in("/", USER).expect("session");
            let request = Request::get("/app/known")
                .header("Cookie", &format!("iPlanetDirectoryPro={token}"));
            let (sender, to, host) = (sender.clone(), site.server.address(), site.authority());
            thread::spawn(move || {
                let at = Instant::now();
                let answer = request.send(to, &host);
                let _ = sender.send((at - began, at.elapsed(), answer.ok()));
            });
            sent += 1;
            thread::sleep(PAUSE);
        }
        for (name, probe) in probes {
            let (times, lost) = probe.join().expect("a probe");
            print_times(&format!("{name} meanwhile"), times, lost);
        }
    });
    drop(sender);
    let asked = am
        .calls()
        .iter()
        .filter(|c| !c.path.contains("/serverinfo/"))
        .count();
    println!(
        "  {asked} calls to AM for {sent} new sessions, and {} looks whether it is there",
        am.calls().len() - asked
    );
    am.clear_faults();
    let back = Instant::now();
    wait_until("AM's return", || {
        let page = format!("/app/after-{}", back.elapsed().as_millis());
        visitor.get(&page).status == 200
    });
    println!(
        "  200 again {} ms after AM's return",
        back.elapsed().as_millis()
    );
    print_new(answers.iter().collect());
    // Not for an event: what is idle is closed after 15 s, and what never goes is to be seen, too.
    thread::sleep(Duration::from_secs(20));
    let after = left(&site);
    println!(
        "  workers: {} KiB and {} files before, {} KiB and {} files after\n",
        before.0, before.1, after.0, after.1
    );
    site.stop();
}

/// How long answers took to come, one after the other, and how many were no 200.
fn ask_for(site: &Site, request: &Request, time: Duration) -> (Vec<Duration>, usize) {
    let began = Instant::now();
    let (mut times, mut lost) = (Vec::new(), 0);
    while began.elapsed() < time {
        let at = Instant::now();
        let answer = site.send(request);
        times.push(at.elapsed());
        lost += usize::from(answer.status != 200);
    }
    (times, lost)
}

/// The answers to sessions that nobody knew: when they were asked for, how long they took.
fn print_new(all: Vec<(Duration, Duration, Option<Response>)>) {
    let lost = all.iter().filter(|(.., answer)| answer.is_none()).count();
    let (early, late): (Vec<_>, Vec<_>) = all
        .into_iter()
        .partition(|(at, ..)| *at < Duration::from_secs(6));
    for (name, some) in [("new, first 6 s", early), ("new, later", late)] {
        let times = some.iter().map(|(_, took, _)| *took).collect();
        print_times(name, times, 0);
    }
    println!("  {lost} without an answer");
}

fn print_times(name: &str, mut times: Vec<Duration>, lost: usize) {
    times.sort_unstable();
    let at = |part: f64| {
        let place = (times.len() as f64 * part) as usize;
        times
            .get(place.min(times.len().saturating_sub(1)))
            .map_or(0.0, |t| t.as_secs_f64() * 1e3)
    };
    println!(
        "  {name:<18} {:>7} answers  p50 {:>8.2} ms  p99 {:>8.2} ms  most {:>8.2} ms  {lost} not 200",
        times.len(),
        at(0.5),
        at(0.99),
        at(1.0),
    );
}

/// Memory of its own (KiB) and open files of all workers.
fn left(site: &Site) -> (usize, usize) {
    let workers = site.server.workers();
    let sum = |of: fn(u32) -> usize| workers.iter().map(|pid| of(*pid)).sum();
    (sum(memory), sum(open_files))
}

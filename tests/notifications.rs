//! AM tells what changed: it counts at once, in all workers, and nothing that was missed counts for long.

// What can't be had fails the test that wanted it.
#![allow(clippy::expect_used, clippy::panic)]

use std::time::Duration;

use am_simulator::{Damage, Fault, Running};
use portcullis_tests::{
    backend::Seen,
    both_servers,
    client::Request,
    outage::Crowd,
    processes::kill_if_there,
    site::{AGENT, Builder, Site, site},
    visitor::{Visitor, origin_of},
    wait_until, wait_within,
};
use serde_json::json;

/// Requests at once: enough for every worker to get some.
const CROWD: usize = 40;
const PAGE: &str = "/app/page";

fn listening(builder: Builder) -> Site {
    let site = builder.listens().workers(4).start();
    site.wait_for_line("PCL0640");
    site
}

/// The statuses that the visitor's requests get from all workers.
fn statuses(visitor: &Visitor<'_>, page: &str) -> Vec<u16> {
    let cookie = visitor.cookie_header();
    let request = || Request::get(page).header("Cookie", &cookie);
    let crowd = Crowd::send(visitor.site(), (0..CROWD).map(|_| request()).collect());
    let mut all: Vec<u16> = crowd.rest().iter().map(|answer| answer.status).collect();
    all.sort_unstable();
    all.dedup();
    all
}

/// Allows or forbids GET below `/app`.
fn allow(site: &Site, get: bool) {
    let patterns = [format!("{}/app/*", site.url())];
    let patterns: Vec<&str> = patterns.iter().map(String::as_str).collect();
    let members = json!({ "actionValues": { "GET": get } });
    let admin = site.am.admin();
    admin
        .replace_policy("/", "docs", &patterns, &members)
        .expect("policy");
}

/// How often AM told of something that is known here.
fn heard(site: &Site) -> usize {
    site.debug_log().matches("PCL0644").count()
}

fn handshakes(am: &Running) -> usize {
    let calls = am.calls();
    calls
        .iter()
        .filter(|call| call.path == "/notifications")
        .count()
}

/// Every worker has let the visitor in, often enough to remember it.
fn everywhere_lets_in(visitor: &Visitor<'_>) {
    for _ in 0..3 {
        assert_eq!(statuses(visitor, PAGE), [200]);
    }
}

fn changes_count_at_once(site: Site) {
    let am = site.am.simulator();
    let mut visitor = site.visitor();
    assert_eq!(visitor.log_in(PAGE).status, 200);
    everywhere_lets_in(&visitor);

    allow(&site, false);
    wait_until("the changed policy", || visitor.get(PAGE).status == 403);
    assert_eq!(statuses(&visitor, PAGE), [403]);
    allow(&site, true);
    wait_until("the policy of before", || visitor.get(PAGE).status == 200);
    everywhere_lets_in(&visitor);

    let token = visitor.am_token();
    assert!(am.change_session_property(&token, "UserToken", "another"));
    wait_until("the changed session", || {
        Seen::of(&visitor.get(PAGE)).is_some_and(|seen| seen.all("X-User") == ["another"])
    });

    everywhere_lets_in(&visitor);
    assert!(am.end_session(&token));
    wait_until("the end of the session", || visitor.get(PAGE).status == 302);
    let cookies = visitor.cookie_header();
    assert_eq!(statuses(&visitor, PAGE), [302], "{cookies}");

    let open = json!({ "com.sun.identity.agents.config.notenforced.url":
        [format!("[0]={}/app/*", site.url())] });
    site.am
        .admin()
        .update_agent("/", AGENT, &open)
        .expect("profile");
    wait_until("the changed profile", || site.get(PAGE).status == 200);
    wait_until("it in all workers", || {
        statuses(&site.visitor(), PAGE) == [200]
    });
    assert_eq!((am.sockets(), handshakes(am)), (1, 1), "one for the host");
    site.stop();
}

both_servers! {
    fn what_changes_at_am_counts_at_once(kind: Kind) {
        changes_count_at_once(listening(site(kind)));
    }

    /// Workers that write down nothing of an allowed request keep their answers in front of the engine.
    fn what_changes_counts_for_kept_answers_too(kind: Kind) {
        let quiet = site(kind)
            .unrecorded()
            .property("com.sun.identity.agents.config.debug.level", "info");
        changes_count_at_once(listening(quiet));
    }

    fn what_was_missed_is_asked_again(kind: Kind) {
        let mut site = listening(site(kind));
        site.server.expect("PCL0642");
        let am = site.am.simulator();
        let (mut one, mut two) = (site.visitor(), site.visitor());
        for visitor in [&mut one, &mut two] {
            assert_eq!(visitor.log_in(PAGE).status, 200);
        }
        am.add_fault(Fault::on("/notifications", Damage::Status { status: 503 }));
        am.cut_sockets();
        site.wait_for_line("PCL0641");
        assert!(am.end_session(&one.am_token()));
        site.wait_for_line("HTTP 503: a proxy in front of AM");
        assert_eq!(statuses(&one, PAGE), [200], "the intervals hold");

        am.clear_faults();
        wait_until("a new socket", || am.sockets() == 1);
        wait_until("what was missed", || one.get(PAGE).status == 302);
        assert_eq!(statuses(&two, PAGE), [200], "who is logged in stays so");
        site.stop();
    }

    fn an_old_answer_lets_nobody_in(kind: Kind) {
        let site = listening(site(kind));
        let am = site.am.simulator();
        let mut visitor = site.visitor();
        assert_eq!(visitor.log_in(PAGE).status, 200);
        let under_way = |fault: &str, path: &str| {
            am.reset_calls();
            am.add_fault(Fault::on(fault, Damage::Late).times(1));
            let cookie = visitor.cookie_header();
            let request = Request::get("/app/other").header("Cookie", &cookie);
            let crowd = Crowd::send(&site, vec![request]);
            wait_until(path, || am.calls().iter().any(|call| call.path.ends_with(path)));
            crowd
        };

        let waiting = under_way("/json/policies", "/policies");
        allow(&site, false);
        wait_until("word of it", || heard(&site) == 1);
        am.clear_faults();
        assert_eq!(waiting.rest()[0].status, 403, "allowed when it was asked");

        allow(&site, true);
        wait_until("word of it", || heard(&site) == 2);
        // Whatever is known of the session is asked again after this.
        am.cut_sockets();
        wait_until("a new socket", || site.debug_log().matches("PCL0640").count() == 2);
        let waiting = under_way("/sessionservice", "/sessionservice");
        let token = visitor.am_token();
        assert!(am.end_session(&token));
        wait_until("word of it", || heard(&site) == 3);
        am.clear_faults();
        assert_eq!(waiting.rest()[0].status, 302, "alive when it was asked");
        assert_eq!(statuses(&visitor, PAGE), [302]);
        site.stop();
    }

    fn a_login_whose_session_ends_meanwhile_is_none(kind: Kind) {
        let mut site = listening(site(kind));
        site.server.expect("PCL0230");
        let am = site.am.simulator();
        let mut visitor = site.visitor();
        let start = visitor.get(PAGE);
        let form = visitor.form(&start);
        let posting = visitor.posting(&form, Some(&origin_of(start.location())));
        am.add_fault(Fault::on("/sessionservice", Damage::Late));
        let cookie = visitor.cookie_header();
        let waiting = Crowd::send(&site, vec![posting.header("Cookie", &cookie)]);
        wait_until("the question", || {
            am.calls().iter().any(|call| call.path.ends_with("/sessionservice"))
        });
        let token = visitor.am_token();
        assert!(am.end_session(&token));
        // Of a session that nobody knows nothing is said; what is said next comes after it.
        allow(&site, true);
        wait_until("word of it", || heard(&site) == 1);
        am.clear_faults();
        assert_eq!(waiting.rest()[0].status, 403, "alive when it was asked");
        site.stop();
    }

    fn every_refusal_is_named(kind: Kind) {
        let mut site = listening(site(kind));
        site.server.expect("PCL0642");
        let am = site.am.simulator();
        let refusals = [
            (200, "a proxy that drops `Upgrade`"),
            (302, "AM's URL redirects"),
            (401, "`cookie.name` is not the name of AM's cookie"),
            (403, "not one of a web agent"),
            (404, "no WebSocket support"),
            (426, "a proxy changes it"),
            (502, "does not pass WebSockets on"),
        ];
        for (status, cause) in refusals {
            am.add_fault(Fault::on("/notifications", Damage::Status { status }));
            am.cut_sockets();
            site.wait_for_line(&format!("HTTP {status}: "));
            site.wait_for_line(cause);
            am.clear_faults();
            wait_until("a new socket", || am.sockets() == 1);
        }
        let mut visitor = site.visitor();
        assert_eq!(visitor.log_in(PAGE).status, 200, "nothing depends on it");
        site.stop();
    }

    fn a_dead_session_of_the_agent_is_renewed(kind: Kind) {
        let site = listening(site(kind));
        let am = site.am.simulator();
        am.kill_agent_sessions(None);
        am.cut_sockets();
        wait_until("a new socket", || site.debug_log().matches("PCL0640").count() == 2);
        assert_eq!(site.debug_log().matches("PCL0642").count(), 0);
        site.stop();
    }

    fn another_worker_listens_when_the_leader_is_killed(kind: Kind) {
        let mut site = listening(site(kind));
        // What httpd and nginx say of it.
        site.server.expect("exited on signal 9");
        site.server.expect("exit signal Killed");
        let mut visitor = site.visitor();
        assert_eq!(visitor.log_in(PAGE).status, 200);
        site.server.workers().into_iter().for_each(kill_if_there);
        let am = site.am.simulator();
        wait_until("another socket", || handshakes(am) == 2 && am.sockets() == 1);
        assert_eq!(visitor.get(PAGE).status, 200);
        assert!(am.end_session(&visitor.am_token()));
        wait_until("the end of the session", || visitor.get(PAGE).status == 302);
        site.stop();
    }

    fn without_notifications_no_socket_is_opened(kind: Kind) {
        // As every site of a test is that does not say otherwise.
        let site = site(kind).start();
        let mut visitor = site.visitor();
        assert_eq!(visitor.log_in(PAGE).status, 200);
        let am = site.am.simulator();
        assert!(am.end_session(&visitor.am_token()));
        assert_eq!(statuses(&visitor, PAGE), [200], "nobody has said so");
        assert_eq!((am.sockets(), handshakes(am)), (0, 0));
        site.stop();
    }

    fn the_socket_moves_without_a_gap(kind: Kind) {
        const MINUTES: &str = "org.forgerock.openam.agents.config.balance.websocket.connection.interval.in.minutes";
        let site = listening(site(kind).property(MINUTES, "1"));
        let am = site.am.simulator();
        // A minute is the shortest that can be said.
        wait_within(Duration::from_secs(180), "another socket", || handshakes(am) == 2);
        wait_until("the end of the old one", || am.sockets() == 1);
        let log = site.debug_log();
        assert_eq!(log.matches("PCL0641").count(), 0, "nothing was missed:\n{log}");
        site.stop();
    }
}

//! Two agents with two AMs in one server, and one of the AMs lies, hangs and breaks: it harms its own site only.

// What can't be had fails the test that wanted it.
#![allow(clippy::expect_used, clippy::panic)]

use am_simulator::{Damage, Fault};
use portcullis_tests::{
    both_servers,
    client::Request,
    outage::{Crowd, evaluations, logins, session_questions},
    second::Second,
    site::{Site, USER, site},
    visitor::Visitor,
    wait_until,
};
use serde_json::json;

const PAGE: &str = "/app/page";

/// The debug log of the second instance.
fn log_of_second(site: &Site) -> String {
    let folder = site.instance.with_file_name("agent_2");
    std::fs::read_to_string(folder.join("logs/debug/debug.log")).unwrap_or_default()
}

/// The answers that a user of the first site gets in all workers.
fn assert_all(visitor: &Visitor<'_>, page: &str, status: u16) {
    let cookie = visitor.cookie_header();
    let request = || Request::get(page).header("Cookie", &cookie);
    let crowd = Crowd::send(visitor.site(), (0..40).map(|_| request()).collect());
    for answer in crowd.rest() {
        assert_eq!(answer.status, status, "{answer:?}");
    }
}

/// Changes a policy at the second AM, and waits until its agent has heard of it: and of all that was told before.
fn told(site: &Site, second: &Second) {
    let heard = || log_of_second(site).matches("a policy was changed").count();
    let before = heard();
    let admin = second.am.admin();
    let members = json!({ "actionValues": { "GET": true } });
    let pattern = "http://www.second.example.org:*/app/*";
    admin
        .replace_policy("/", "app", &[pattern], &members)
        .expect("policy");
    wait_until("word of the second AM", || heard() > before);
}

both_servers! {
    fn a_hostile_am_harms_its_own_site_only(kind: Kind) {
        let mut site = site(kind)
            .listens()
            .workers(4)
            .property("portcullis.am.deadline", "2000")
            .prepare();
        let mut second = Second::add(&site);
        for code in ["PCL05", "PCL0607", "PCL0608", "PCL0642"] {
            site.server.expect(code);
        }
        site.server.start();
        let am = site.am.simulator();
        wait_until("both sockets", || am.sockets() == 1 && second.am.simulator().sockets() == 1);
        let (mut one, mut gone) = (site.visitor(), site.visitor());
        assert_eq!(one.log_in(PAGE).status, 200);
        assert_eq!(gone.log_in(PAGE).status, 200);
        assert_eq!(second.log_in(&site, PAGE).status, 200);
        // The logout takes the cookie; somebody has kept it.
        let kept = gone.cookies.clone();
        assert!(gone.get("/logout/done.html").status < 400);
        gone.cookies = kept;
        assert_all(&one, PAGE, 200);
        am.reset_calls();

        // It says of a session of the other AM's that it is over, and of one that is over that it lives.
        let (token, over) = (one.am_token(), gone.am_token());
        let hostile = second.am.simulator();
        hostile.adopt_session(&token, "/", USER).expect("session");
        assert!(hostile.end_session(&token));
        hostile.adopt_session(&over, "/", USER).expect("session");
        hostile.adopt_session(&token, "/", USER).expect("session");
        told(&site, &second);
        assert_all(&one, PAGE, 200);
        assert_all(&gone, PAGE, 302);
        // What it has changed concerns nobody here, nor what it does to its agent.
        assert!(hostile.kill_agent_sessions(None) >= 1);
        hostile.cut_sockets();
        assert_all(&one, PAGE, 200);
        let asked = [evaluations(am), session_questions(am), logins(am)];
        assert_eq!(asked, [0, 0, 0], "of the first AM");

        // Its users are nobody here, and the first's are nobody there.
        let of_second = std::mem::replace(&mut second.cookies, one.cookies.clone());
        assert_eq!(second.get(&site, PAGE).status, 302);
        second.cookies = of_second;
        let mut stranger = site.visitor();
        stranger.cookies = second.cookies.clone();
        assert_eq!(stranger.get(PAGE).status, 302);

        for (n, damage) in [Damage::Hang, Damage::Reset, Damage::Garbage, Damage::Status { status: 500 }, Damage::EndlessBody]
            .into_iter()
            .enumerate()
        {
            second.am.simulator().add_fault(Fault::on("", damage));
            assert_eq!(second.get(&site, &format!("/app/unknown-{n}")).status, 503);
            assert_all(&one, &format!("/app/new-{n}"), 200);
            assert_all(&one, PAGE, 200);
            second.am.simulator().clear_faults();
        }
        second.am.simulator().add_fault(Fault::on("", Damage::Reset));
        assert_eq!(second.get(&site, "/app/unknown").status, 503);
        wait_until("an open breaker there", || log_of_second(&site).contains("PCL0515"));
        assert_all(&one, "/app/new", 200);
        second.am.simulator().clear_faults();
        assert!(!site.debug_log().contains("PCL05"), "nothing of that here");
        assert_eq!(logins(am), 0);
        wait_until("the second site", || second.get(&site, "/app/after").status == 200);
        site.stop();
    }
}

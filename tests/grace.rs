//! AM is away for longer than the agent's intervals: what it said before counts on where that is wished for,
//! in all workers, and nothing that is known to be over does (rule O2).

// What can't be had fails the test that wanted it.
#![allow(clippy::expect_used, clippy::panic)]

use std::time::Duration;

use am_simulator::{Damage, Fault};
use portcullis_tests::{
    both_servers,
    client::{Request, Response},
    outage::Crowd,
    server::Kind,
    site::{Site, site},
    visitor::Visitor,
    wait_until, wait_within,
};
use serde_json::{Value, json};

const PAGE: &str = "/app/known";
const HEADER: &str = "Portcullis-Grace";
const P: &str = "com.sun.identity.agents.config";

/// A site whose answers of AM are good for a minute, the shortest interval.
fn forgiving(kind: Kind) -> Site {
    let mut site = site(kind)
        .audited()
        .listens()
        .workers(4)
        .property("portcullis.am.deadline", "2000")
        .property("portcullis.grace.max", "3600")
        .property("portcullis.grace.max[/app/never]", "0")
        .property("portcullis.grace.max[/app/short/*]", "2")
        .property("portcullis.login.starts.max", "0")
        .profile(&format!("{P}.sso.cache.polling.interval"), &["1"])
        .profile(&format!("{P}.policy.cache.polling.interval"), &["1"])
        .start();
    for code in ["PCL05", "PCL0609"] {
        site.server.expect(code);
    }
    site.wait_for_line("PCL0640");
    site
}

fn count(site: &Site, text: &str) -> usize {
    site.debug_log().matches(text).count()
}

/// AM fails like this from now on, and the agent knows it. Whoever finds out is refused.
fn take_away(site: &Site, finder: &mut Visitor<'_>, damage: Damage) {
    let before = count(site, "PCL0515");
    let page = format!("/app/finds-out-{before}");
    site.am.simulator().add_fault(Fault::on("", damage));
    assert_eq!(finder.get(&page).status, 503);
    wait_until("an open breaker", || count(site, "PCL0515") > before);
}

fn give_back(site: &Site) {
    let before = count(site, "PCL0516");
    site.am.simulator().clear_faults();
    wait_until("a closed breaker", || count(site, "PCL0516") > before);
}

/// The answers that the visitor gets from all workers.
fn answers(visitor: &Visitor<'_>, request: &Request) -> Vec<Response> {
    let cookie = visitor.cookie_header();
    let request = || request.clone().header("Cookie", &cookie);
    Crowd::send(visitor.site(), (0..40).map(|_| request()).collect()).rest()
}

fn assert_all_in_grace(visitor: &Visitor<'_>) {
    for answer in answers(visitor, &Request::get(PAGE)) {
        assert_eq!(answer.status, 200, "{answer:?}");
        let age = answer
            .header(HEADER)
            .and_then(|age| age.parse::<u64>().ok());
        assert!(age.is_some_and(|age| age >= 60), "{answer:?}");
    }
}

fn assert_all(visitor: &Visitor<'_>, request: &Request, status: u16) {
    for answer in answers(visitor, request) {
        assert_eq!(answer.status, status, "{answer:?}");
        assert_eq!(answer.header(HEADER), None);
    }
}

fn audited(site: &Site) -> Vec<Value> {
    let file = site.instance.join("logs/audit/audit.log");
    let text = std::fs::read_to_string(file).unwrap_or_default();
    text.lines()
        .filter_map(|line| serde_json::from_str(line).ok())
        .collect()
}

/// Forbids GET below `/app`.
fn forbid(site: &Site) {
    let pattern = format!("{}/app/*", site.url());
    let members = json!({ "actionValues": { "GET": false } });
    let admin = site.am.admin();
    admin
        .replace_policy("/", "docs", &[&pattern], &members)
        .expect("policy");
}

both_servers! {
    fn what_am_said_before_counts_in_grace_only(kind: Kind) {
        let site = forgiving(kind);
        let am = site.am.simulator();
        let (mut one, mut ended, mut leaving) = (site.visitor(), site.visitor(), site.visitor());
        let mut finder = site.visitor();
        for visitor in [&mut one, &mut ended, &mut leaving, &mut finder] {
            assert_eq!(visitor.log_in(PAGE).status, 200);
        }
        for page in ["/app/never", "/app/short/a"] {
            assert_eq!(one.get(page).status, 200);
        }
        // AM tells of this before it goes.
        assert!(am.end_session(&ended.am_token()));
        wait_until("word of it", || count(&site, "PCL0644") == 1);
        assert_eq!(one.get(PAGE).header(HEADER), None);

        take_away(&site, &mut finder, Damage::Hang);
        let grace = Duration::from_secs(180); // the interval is a minute
        wait_within(grace, "grace", || one.get(PAGE).header(HEADER).is_some());
        assert_all_in_grace(&one);
        for (request, status) in [
            (Request::new("POST", PAGE).body("text/plain", "x"), 503),
            (Request::get("/app/never"), 503),
            (Request::get("/app/unknown"), 503),
        ] {
            assert_all(&one, &request, status);
        }
        wait_until("the end of a short grace", || one.get("/app/short/a").status == 503);
        assert_all(&ended, &Request::get(PAGE), 302);
        assert_all_in_grace(&leaving);
        let left = leaving.get("/logout/done.html");
        assert!(left.status < 400, "{left:?}");
        assert_all(&leaving, &Request::get(PAGE), 302);

        // Whatever is wrong with AM.
        for damage in [Damage::Reset, Damage::Status { status: 503 }] {
            give_back(&site);
            take_away(&site, &mut finder, damage);
            assert_all_in_grace(&one);
            assert_all(&leaving, &Request::get(PAGE), 302);
        }
        wait_until("the audit", || audited(&site).iter().any(|event| {
            let detail = &event["response"]["detail"];
            detail["reason"] == "PCL0700" && detail["age"].as_u64().is_some_and(|age| age >= 60_000)
        }));
        site.wait_for_line("PCL0700");

        // Back to normal, and what changes then holds in the next outage.
        give_back(&site);
        wait_until("AM", || one.get(PAGE).status == 200);
        assert_all(&one, &Request::get(PAGE), 200);
        let told = count(&site, "a policy was changed");
        forbid(&site);
        wait_until("word of it", || count(&site, "a policy was changed") > told);
        take_away(&site, &mut finder, Damage::Reset);
        assert_all(&one, &Request::get(PAGE), 503);
        give_back(&site);
        wait_until("the new policy", || one.get(PAGE).status == 403);
        site.stop();
    }
}

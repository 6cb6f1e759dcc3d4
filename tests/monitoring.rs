//! What do the agent's own numbers say, to whom, and do they survive their workers?

// What can't be had fails the test that wanted it.
#![allow(clippy::expect_used, clippy::panic)]

use std::time::{SystemTime, UNIX_EPOCH};

use portcullis_tests::{
    both_servers,
    client::Request,
    monitoring::{PASSWORD, ask, look, scrape, switch_on},
    processes::{agent_workers, kill_if_there, wait_for_successors},
    server::Kind,
    site::{Site, site},
    wait_until,
};
use serde_json::{Value, json};

const ALLOWED: &str = "portcullis_decisions_total{outcome=\"allowed\",code=\"PCL0100\"}";
const DENIED: &str = "portcullis_decisions_total{outcome=\"denied\",code=\"PCL0300\"}";

/// Requests of one user, each on a connection of its own, so that all workers get some.
fn use_it(site: &Site, times: usize) {
    let mut visitor = site.visitor();
    assert_eq!(visitor.log_in("/app/page").status, 200);
    for _ in 1..times {
        assert_eq!(visitor.get("/app/page").status, 200);
    }
    for n in 0..3 {
        assert_eq!(visitor.get(&format!("/secret/{n}")).status, 403);
    }
}

/// Once a configuration is in force.
fn ready(site: &Site) {
    wait_until("a configuration", || {
        site.get("/agent/health").status == 200
    });
}

fn started(kind: Kind) -> Site {
    let mut site = site(kind).workers(4).prepare();
    switch_on(&site);
    site.server.start();
    site
}

both_servers! {
    fn numbers_are_those_of_all_workers(kind: Kind) {
        let mut site = started(kind);
        use_it(&site, 40);
        let first = scrape(&site);
        assert_eq!((first.of(ALLOWED), first.of(DENIED)), (40.0, 3.0));
        assert_eq!(first.of("not_authorised_total{topic=\"enforcement\"}"), 3.0);
        assert!(first.of("cache_decision_total{topic=\"enforcement\"}") >= 39.0);
        assert!(first.of("portcullis_cache_hits_total{fact=\"policy\"}") >= 39.0);
        assert!(first.of("portcullis_cache_misses_total{fact=\"session\"}") >= 1.0);
        assert!(first.all("portcullis_am_calls_total{operation=\"policy\"") >= 1.0);
        assert!(first.of("policy_request_seconds_count") >= 1.0);
        assert!(first.of("portcullis_log_lines_total{code=\"PCL0300\",severity=\"info\"}") >= 3.0);
        assert!(first.of("portcullis_table_used{table=\"sessions\",bytes=\"2048\"}") >= 0.0);
        assert!(first.of("portcullis_workers") >= 1.0 && first.of("portcullis_leader_pid") > 0.0);
        assert_eq!((first.of("portcullis_configured"), first.of("portcullis_breaker_open")), (1.0, 0.0));
        assert!(first.has("portcullis_table_evictions_total{table=\"decisions\",bytes=\"128\"}"));
        let (term, since) = (first.of("portcullis_leader_term"), first.of("portcullis_leader_since_seconds"));
        let age = SystemTime::now().duration_since(UNIX_EPOCH).expect("a clock").as_secs_f64() - since;
        assert!((-1.0..600.0).contains(&age), "{age} s");
        // Nobody's name is a label.
        assert!(!look(&site, "/agent/metrics").text().contains("demo"));

        // What killed workers counted stays counted, and their successors go on from there.
        if kind == Kind::Nginx {
            site.server.expect("exited on signal 9");
        } else {
            site.server.expect("exit signal Killed");
        }
        let old = agent_workers(&site);
        old.iter().for_each(|pid| kill_if_there(*pid));
        wait_for_successors(&site, &old);
        let second = scrape(&site);
        assert_eq!((second.of(ALLOWED), second.of(DENIED)), (40.0, 3.0));
        wait_until("another leader", || {
            let now = scrape(&site);
            now.of("portcullis_leader_term") > term && now.of("portcullis_leader_since_seconds") >= since
        });
        use_it(&site, 10);
        let old = agent_workers(&site);
        site.server.reload();
        wait_for_successors(&site, &old);
        let third = scrape(&site);
        assert_eq!((third.of(ALLOWED), third.of(DENIED)), (50.0, 6.0));
        site.stop();
    }

    fn numbers_come_in_the_web_agents_json(kind: Kind) {
        let site = started(kind);
        use_it(&site, 5);
        let page = look(&site, "/agent/monitor");
        assert_eq!((page.status, page.header("content-type")), (200, Some("application/json")));
        let numbers: Value = serde_json::from_str(&page.text()).expect("JSON");
        assert_eq!(numbers["cache-invalidation"], json!({ "policy": 0, "profile": 0 }));
        let decisions = &numbers["policy-decisions"];
        let (cache, remote) = (decisions["cache"].as_u64(), decisions["remote"].as_u64());
        assert_eq!(cache.zip(remote).map(|(c, r)| c + r), Some(8), "{numbers}");
        let cache = &numbers["cache-operations"];
        assert!(cache["writes"].as_u64() >= Some(1), "{numbers}");
        assert_eq!(cache["evictions"], json!(0));
        let leader = &numbers["leader"];
        assert!(leader["pid"].as_u64() > Some(0) && leader["term"].as_u64() > Some(0), "{numbers}");
        assert!(leader["since"].as_str().is_some_and(|at| at.starts_with("20")), "{numbers}");
        site.stop();
    }

    fn only_who_may_look_sees_numbers(kind: Kind) {
        let mut site = site(kind).prepare();
        switch_on(&site);
        site.append("portcullis.monitor.user = scraper");
        site.server.expect("PCL0681");
        site.server.start();
        ready(&site);
        for page in ["/agent/metrics", "/agent/monitor"] {
            assert_eq!(ask(&site, page, &format!("scraper:{PASSWORD}")).status, 200);
            for wrong in ["scraper:", "scraper:wrong", "monitor:", ":", ""] {
                let wrong = wrong.replace("monitor:", &format!("monitor:{PASSWORD}"));
                assert_eq!(ask(&site, page, &wrong).status, 404, "{wrong}");
            }
            let none = site.get(page);
            assert_eq!((none.status, none.header("www-authenticate")), (404, None));
            let bearer = Request::get(page).header("Authorization", &format!("Bearer {PASSWORD}"));
            assert_eq!(site.send(&bearer).status, 404);
            let post = Request::new("POST", page).body("text/plain", "x");
            assert_eq!(site.send(&post).status, 405);
        }
        // To strangers health says no more than this.
        assert_eq!(site.get("/agent/health").text(), r#"{"status":"ready"}"#);
        site.wait_for_line("PCL0681");
        site.stop();
    }

    fn numbers_are_shown_to_their_addresses_only(kind: Kind) {
        let mut site = site(kind).prepare();
        switch_on(&site);
        site.append("portcullis.monitor.addresses[0] = 192.0.2.0/24");
        site.server.expect("PCL0681");
        site.server.start();
        ready(&site);
        assert_eq!(look(&site, "/agent/metrics").status, 404);
        assert_eq!(look(&site, "/agent/health").text(), r#"{"status":"ready"}"#);
        site.stop();
    }

    fn numbers_are_not_shown_unless_agent_conf_says_so(kind: Kind) {
        // A profile in AM can't open them.
        let site = site(kind)
            .profile("com.sun.identity.agents.config.freeformproperties", &["portcullis.monitor.enable=true"])
            .start();
        for page in ["/agent/metrics", "/agent/monitor", "/agent/health"] {
            assert_eq!(look(&site, page).status, 302, "{page}: a page like any other");
        }
        site.stop();
    }

    fn health_says_why_it_is_not_ready(kind: Kind) {
        let mut site = site(kind).wrong_password().prepare();
        switch_on(&site);
        site.server.expect("PCL0606");
        site.server.start();
        let unready = |code: &str| format!(r#"{{"code":"{code}","status":"not ready"}}"#);
        wait_until("the reason", || {
            let health = site.get("/agent/health");
            assert_eq!(health.status, 503);
            health.text() == unready("PCL0506")
        });
        let health: Value = serde_json::from_str(&look(&site, "/agent/health").text()).expect("JSON");
        assert_eq!((&health["status"], &health["am"]), (&json!("not ready"), &json!("not known to be away")));
        site.stop();
    }
}

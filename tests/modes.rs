//! Decisions that are only reported, and second opinions (rule O5).
// What can't be had fails the test that wanted it.
#![allow(clippy::expect_used, clippy::panic)]

use std::process::Command;

use am_simulator::{Damage, Fault};
use portcullis_tests::{
    backend::Seen,
    both_servers,
    client::{Request, Response},
    outage::stop_am,
    outcome::{lines, logged},
    policies::policy_set,
    site::{Site, USER, site},
    wait_until,
};

const MODE: &str = "portcullis.mode";
const UNTIL: &str = "portcullis.mode.until";

fn wait_for_event(site: &Site, texts: &[&str]) {
    let file = site.instance.join("logs/audit/audit.log");
    wait_until(&format!("an event with {texts:?}"), || {
        let all = std::fs::read_to_string(&file).unwrap_or_default();
        all.lines()
            .any(|line| texts.iter().all(|text| line.contains(text)))
    });
}

/// The user that the application was told, or that there is none.
fn user(response: &Response) -> Option<String> {
    assert_eq!(response.status, 200, "{response:?}");
    assert_eq!(response.all("set-cookie").count(), 0, "{response:?}");
    Seen::of(response)
        .expect("the application's answer")
        .header("X-User")
}

/// Waits for a line with all these texts.
fn wait_for(site: &Site, texts: &[&str]) {
    wait_until(&format!("a line with {texts:?}"), || {
        let log = site.debug_log();
        log.lines()
            .any(|line| texts.iter().all(|text| line.contains(text)))
    });
}

/// A time from now, as `date` has it.
fn time(when: &str) -> String {
    let mut date = Command::new("date");
    let output = date
        .args(["-u", "-d", when, "+%Y-%m-%dT%H:%M:%SZ"])
        .output();
    let text = String::from_utf8(output.expect("date").stdout).expect("text");
    text.trim().to_owned()
}

fn post(target: &str) -> Request {
    Request::new("POST", target).body("text/plain", "x")
}

both_servers! {
    fn nothing_is_refused_where_it_is_only_reported(kind: Kind) {
        let mut site = site(kind).audited()
            .property(MODE, "report")
            .property(&format!("{MODE}[/docs]"), "enforce")
            .property(UNTIL, "2999-01-01")
            .property("portcullis.deny.rule[0]", "url=/app/never/*")
            .start();
        for text in ["PCL0500", "PCL0515"] {
            site.server.expect(text);
        }
        site.wait_for_line("PCL0240");
        // Nobody is sent to log in, and nobody becomes anybody.
        assert_eq!(user(&site.get("/app/x")), None);
        let forged = Request::get("/app/x").header("X-User", "admin");
        assert_eq!(user(&logged(&site, "PCL0420", || site.send(&forged))), None);
        wait_for(&site, &["PCL0420", "/app/x", "would=\"PCL0200 302"]);
        wait_for_event(&site, &["/app/x", "SUCCESSFUL", "PCL0420", "\"would\"", "PCL0200"]);
        // What is enforced is enforced: here users log in.
        let mut visitor = site.visitor();
        assert_eq!(visitor.log_in("/docs/a.html").status, 200);
        assert_eq!(visitor.send(post("/docs/a.html")).status, 403);
        assert_eq!(user(&visitor.get("/app/x")).as_deref(), Some(USER));
        assert_eq!(user(&visitor.send(post("/app/x"))).as_deref(), Some(USER));
        wait_for(&site, &["PCL0420", "POST", "/app/x", "would=\"PCL0300 403", USER]);
        assert_eq!(user(&visitor.get("/app/never/x")).as_deref(), Some(USER));
        wait_for(&site, &["PCL0420", "/app/never/x", "would=\"PCL0410 403", "portcullis.deny.rule[0]"]);
        // Not what could be read in two ways, nor the agent's own addresses.
        assert_eq!(visitor.get("/app/%2e%2e/x").status, 400);
        assert_eq!(visitor.get("/agent/cdsso-oauth2").status, 400);
        let token = visitor.am_token();
        assert!(site.am.simulator().session(&token).is_some());
        assert_eq!(visitor.get("/logout/done.html").status, 200);
        assert!(site.am.simulator().session(&token).is_none());
        let cookies = visitor.cookies.clone();
        assert!(!cookies.contains_key("am-auth-jwt"), "{cookies:?}");
        let mut second = site.visitor();
        second.log_in("/docs/a.html");
        let cookie = second.cookie_header();
        // AM goes: what is known of the session stays known, and nobody is refused.
        let _gone = stop_am(&mut site);
        let with_session = Request::get("/app/new").header("Cookie", &cookie);
        assert_eq!(user(&site.send(&with_session)).as_deref(), Some(USER));
        wait_for(&site, &["PCL0420", "/app/new", "would=\"PCL05", "503"]);
        assert_eq!(user(&site.get("/app/new")), None);
        site.stop();
    }

    fn reporting_needs_an_end_and_comes_from_the_file(kind: Kind) {
        let mut site = site(kind)
            .profile("com.sun.identity.agents.config.freeformproperties",
                &["portcullis.mode=report", "portcullis.mode.until=2999-01-01"])
            .prepare();
        for text in ["PCL0600", "agent.conf", "configuration file"] {
            site.server.expect(text);
        }
        let conf = site.instance.join("config/agent.conf");
        let good = std::fs::read_to_string(&conf).expect("agent.conf");
        site.append("portcullis.mode = report");
        let (passes, said) = site.server.check();
        assert!(!passes && said.contains(UNTIL), "{said}");
        site.append("portcullis.mode.until = 31.1.2999");
        let (passes, said) = site.server.check();
        assert!(!passes && said.contains("no date of RFC 3339"), "{said}");
        std::fs::write(&conf, good).expect("agent.conf");
        site.server.start();
        assert_eq!(site.get("/app/x").status, 302);
        wait_until("the line about the profile", || {
            let said = site.server.said();
            said.lines().any(|l| l.contains("portcullis.mode") && l.contains("counts only in agent.conf"))
        });
        site.stop();
    }

    fn reporting_ends_on_its_day(kind: Kind) {
        let ended = site(kind).property(MODE, "report").property(UNTIL, "2020-01-01").start();
        ended.wait_for_line("PCL0241");
        assert_eq!(ended.get("/app/x").status, 302);
        ended.stop();
        let ends = site(kind).property(MODE, "report").property(UNTIL, &time("+6 seconds")).start();
        ends.wait_for_line("PCL0241");
        assert_eq!(ends.get("/app/x").status, 302);
        ends.stop();
    }

    fn a_second_policy_set_is_compared_and_changes_nothing(kind: Kind) {
        let mut site = site(kind).audited()
            .property(MODE, "shadow")
            .property("portcullis.shadow.policy.set", "next")
            .property("portcullis.shadow.policy.realm", "/shop")
            .prepare();
        site.am.admin().create_realm("/", "shop").expect("realm");
        policy_set(&site, "/shop", "next", "POST");
        site.server.start();
        let mut visitor = site.visitor();
        // The second one is silent, and nobody waits for it.
        let shop = "/json/realms/root/realms/shop/policies";
        site.am.simulator().add_fault(Fault::on(shop, Damage::Hold));
        assert_eq!(user(&visitor.log_in("/app/x")).as_deref(), Some(USER));
        assert_eq!(visitor.send(post("/app/x")).status, 403);
        assert_eq!(lines(&site, "PCL0430"), 0);
        site.am.simulator().clear_faults();
        // A question that took too long is not asked again for the request that it was about.
        let differ = |visit: &mut dyn FnMut(), texts: &[&str]| {
            wait_until(&format!("a difference with {texts:?}"), || {
                visit();
                let log = site.debug_log();
                let mut differences = log.lines().filter(|line| line.contains("PCL0430"));
                differences.any(|line| texts.iter().all(|text| line.contains(text)))
            });
        };
        differ(&mut || assert_eq!(visitor.get("/app/x").status, 200),
            &["GET", "/app/x", "enforced=\"allowed\" second=\"denied\"", "/shop"]);
        differ(&mut || assert_eq!(visitor.send(post("/app/x")).status, 403),
            &["POST", "enforced=\"denied\" second=\"allowed\""]);
        wait_for_event(&site, &["AM-ACCESS-SHADOW", "PCL0430", "/app/x", "\"second\":\"denied\""]);
        // Both are known by now, and still differ, once no question of before is under way.
        let asked = || site.am.simulator().calls().iter().filter(|c| c.path.contains("realms/shop")).count();
        let mut again = || user(&logged(&site, "PCL0430", || visitor.get("/app/x")));
        wait_until("an end of questions", || {
            let before = asked();
            again().as_deref() == Some(USER) && asked() == before
        });
        let before = asked();
        for _ in 0..3 {
            assert_eq!(again().as_deref(), Some(USER));
        }
        assert_eq!(asked(), before, "what is known is not asked again");
        site.stop();
    }

    fn a_second_policy_set_that_is_not_there_is_said_once(kind: Kind) {
        let site = site(kind)
            .property(MODE, "shadow")
            .property("portcullis.shadow.policy.set", "none")
            .start();
        let mut visitor = site.visitor();
        assert_eq!(visitor.log_in("/app/x").status, 200);
        site.wait_for_line("PCL0431");
        assert_eq!(visitor.get("/app/y").status, 200);
        assert_eq!(visitor.send(post("/app/y")).status, 403);
        site.stop();
    }
}

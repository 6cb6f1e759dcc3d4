//! What a refused browser gets, and what still counts while AM is away, is not yet there, or is never
//! asked: pages of the operator's, strategies, fallback and autonomous mode.

// What can't be had fails the test that wanted it.
#![allow(clippy::expect_used, clippy::panic)]

use am_simulator::{Damage, Fault};
use portcullis_tests::{
    both_servers,
    client::{Request, Response},
    outage::{restart_am, stop_am},
    server::Kind,
    site::{Builder, site},
    wait_until,
};

const RULES: &str = "com.sun.identity.agents.config.notenforced.url";

fn impatient(kind: Kind) -> Builder {
    site(kind).property("portcullis.am.deadline", "2000")
}

/// Where an answer leads to on this host; nginx writes the host in front.
fn local(answer: &Response) -> String {
    let location = answer.location();
    match location
        .split_once("://")
        .and_then(|(_, rest)| rest.split_once('/'))
    {
        Some((_, path)) if location.starts_with("http") => format!("/{path}"),
        _ => location.to_owned(),
    }
}

both_servers! {
    fn each_strategy_lets_through_what_it_says(kind: Kind) {
        for (strategy, public, known, status) in [
            ("IMMEDIATE_403", 403, 403, 403),
            ("IMMEDIATE_503", 503, 503, 503),
            ("EVAL_NER_ELSE_403", 200, 403, 403),
            ("EVAL_NER_ELSE_503", 200, 503, 503),
            ("EVAL_NER_USE_CACHE_UNTIL_EXPIRED_ELSE_403", 200, 200, 403),
            ("EVAL_NER_USE_CACHE_UNTIL_EXPIRED_ELSE_503", 200, 200, 503),
        ] {
            let mut site = impatient(kind)
                .property("portcullis.strategy.when.am.unavailable", strategy)
                .start();
            site.server.expect("PCL05");
            let mut visitor = site.visitor();
            assert_eq!(visitor.log_in("/app/known").status, 200, "{strategy}");
            let am = site.am.simulator();
            am.add_fault(Fault::on("", Damage::Reset));
            assert_eq!(visitor.get("/app/first").status, status, "{strategy}");
            site.wait_for_line("PCL0515");
            am.reset_calls();
            assert_eq!(site.get("/public/a.html").status, public, "{strategy}");
            assert_eq!(visitor.get("/app/known").status, known, "{strategy}");
            let other = visitor.get("/app/other");
            assert_eq!(other.status, status, "{strategy}");
            assert_eq!(other.header("retry-after").is_some(), status == 503, "{strategy}");
            am.clear_faults();
            wait_until("recovery", || visitor.get("/app/after").status == 200);
            assert_eq!(site.get("/public/a.html").status, 200, "{strategy}");
            site.stop();
        }
    }

    fn fallback_mode_keeps_the_exemptions_of_agent_conf(kind: Kind) {
        let builder = impatient(kind).property("com.forgerock.agents.config.fallback.mode", "true");
        let mut site = builder.prepare();
        for code in ["PCL05", "PCL0607", "PCL0608"] {
            site.server.expect(code);
        }
        site.append(&format!("{RULES}[0] = {}/app/open/*", site.url()));
        let gone = stop_am(&mut site);
        site.server.start();
        wait_until("the exemption of agent.conf", || site.get("/app/open/a.html").status == 200);
        assert_eq!(site.get("/docs/a.html").status, 503);
        assert_eq!(site.get("/public/a.html").status, 503, "that rule is in the profile");
        // No client can bring an identity along.
        let forged = Request::get("/app/open/a.html").header("X-User", "admin").header("Remote-User", "admin");
        assert_eq!(site.send(&forged).status, 200);
        restart_am(&mut site, gone);
        wait_until("the profile", || site.get("/public/a.html").status == 200);
        assert_eq!(site.get("/app/open/a.html").status, 302, "the profile speaks now");
        assert_eq!(site.visitor().log_in("/docs/a.html").status, 200);
        site.stop();
    }

    fn autonomous_mode_never_asks_am(kind: Kind) {
        let mut site = site(kind).local().property("portcullis.autonomous.mode", "true").prepare();
        site.append(&format!("{RULES}[0] = {}/app/open/*", site.url()));
        site.am.simulator().reset_calls();
        site.server.start();
        assert_eq!(site.get("/app/open/a.html").status, 200);
        assert_eq!(site.get("/docs/a.html").status, 403);
        assert_eq!(site.get("/agent/cdsso-oauth2").status, 403);
        site.wait_for_line("PCL0325");
        assert_eq!(site.am.simulator().calls().len(), 0);
        site.stop();
    }

    fn autonomous_mode_and_a_profile_in_am_exclude_each_other(kind: Kind) {
        let site = site(kind).property("portcullis.autonomous.mode", "true").prepare();
        let (passes, said) = site.server.check();
        assert!(!passes && said.contains("portcullis.autonomous.mode") && said.contains("local"), "{said}");
    }

    fn a_refused_browser_is_sent_to_the_page_of_its_application(kind: Kind) {
        let site = site(kind)
            .profile("com.sun.identity.agents.config.access.denied.url", &["/app/refused.html"])
            .property("portcullis.access.denied.url[/app]", "/app/denied.html")
            .start();
        let mut visitor = site.visitor();
        assert_eq!(visitor.log_in("/docs/a.html").status, 200);
        for (page, denied) in [("/docs/a.html", "/app/refused.html"), ("/app/x?a=b", "/app/denied.html")] {
            let posted = Request::new("POST", page).header("Cookie", &visitor.cookie_header());
            let answer = site.send(&posted);
            assert_eq!(answer.status, 302, "{answer:?}");
            let location = local(&answer);
            assert!(location.starts_with(&format!("{denied}?goto=http%3A%2F%2F")), "{location}");
            assert_eq!(answer.header("cache-control"), Some("no-store"));
            // Everybody may see the page, so nobody goes in a circle.
            assert_eq!(visitor.get(&location).status, 200, "{location}");
            assert_eq!(site.get(denied).status, 200);
        }
        assert_eq!(visitor.get("/elsewhere/a.html").status, 302, "no policy: refused");
        assert_eq!(site.get("/app/other.html").status, 302, "a login, for the page alone is open");
        site.stop();
    }

    fn a_page_on_a_foreign_host_is_refused(kind: Kind) {
        for (name, value) in [
            ("com.sun.identity.agents.config.access.denied.url", "http://evil.example.org/x"),
            ("portcullis.access.denied.url[/app]", "//evil.example.org/x"),
            ("portcullis.authn.fail.url", "/a/../b"),
        ] {
            let site = site(kind).local().property(name, value).prepare();
            let (passes, said) = site.server.check();
            let property = name.split('[').next().expect("name");
            assert!(!passes && said.contains(property), "{name}: {said}");
        }
    }

    fn a_failed_login_is_sent_to_its_page_with_its_reason(kind: Kind) {
        let site = site(kind)
            .property("portcullis.authn.fail.url", "/app/failed.html")
            .property("portcullis.authn.fail.reason.parameter.name", "why")
            .property("portcullis.authn.fail.reason.remapper[NO_TOKEN]", "7")
            .start();
        let mut visitor = site.visitor();
        let redirect = visitor.get("/docs/a.html");
        let form = visitor.form(&redirect);
        // The same answer twice: the second is too late.
        assert_eq!(visitor.post(&form).status, 302);
        let incomplete = site.send(&Request::new("POST", "/agent/cdsso-oauth2").body("application/x-www-form-urlencoded", "state=x"));
        assert_eq!(incomplete.status, 302, "{incomplete:?}");
        assert_eq!(local(&incomplete), "/app/failed.html?why=7#");
        assert_eq!(visitor.get("/app/failed.html?why=7").status, 200);
        // Without its cookie an answer of AM is the end (rule L8): no page, no circle.
        let mut stranger = site.visitor();
        assert_eq!(stranger.post(&form).status, 403);
        site.stop();
    }
}

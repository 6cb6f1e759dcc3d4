//! What an operator sees of a running agent: logs, audit lines, how long answers are kept.

// What can't be had fails the test that wanted it.
#![allow(clippy::expect_used, clippy::panic)]

use std::fs;

use portcullis_tests::{
    both_servers, outage::evaluations, site::site, visitor::Visitor, wait_until,
};

const P: &str = "com.sun.identity.agents.config";

both_servers! {
    fn decisions_are_audited_as_configured(kind: Kind) {
        let site = site(kind).local().prepare();
        let url = site.url();
        let file = site.instance.join("logs/audit/own.log");
        for line in [
            format!("{P}.agenturi.prefix = {url}/amagent"),
            format!("{P}.notenforced.url[0] = {url}/public/*"),
            format!("{P}.audit.accesstype = LOG_DENY"),
            format!("{P}.log.disposition = LOCAL"),
            format!("{P}.local.audit.logfile = {}", file.display()),
        ] {
            site.append(&line);
        }
        let mut site = site;
        site.server.start();
        assert_eq!(site.get("/public/a.html").status, 200);
        assert_eq!(site.get("/docs/a.html").status, 302);
        let lines = || fs::read_to_string(&file).unwrap_or_default();
        wait_until("the audit line", || lines().contains("/docs/a.html"));
        let lines = lines();
        assert!(lines.contains("\"DENIED\"") && lines.contains("AM-ACCESS-OUTCOME"), "{lines}");
        assert!(!lines.contains("/public/a.html"), "LOG_DENY: {lines}");
        site.stop();
    }

    fn the_log_says_as_much_as_its_level(kind: Kind) {
        let site = site(kind).property(&format!("{P}.debug.level"), "info").start();
        assert_eq!(site.get("/public/a.html").status, 200);
        assert_eq!(site.get("/docs/a.html").status, 302);
        wait_until("the line about the login", || site.debug_log().contains("PCL0200"));
        let log = site.debug_log();
        assert!(!log.contains("PCL0101"), "a line of level debug: {log}");
        site.stop();
    }

    fn a_decision_is_kept_for_its_interval(kind: Kind) {
        for (minutes, asked_again) in [("0", true), ("3", false)] {
            let site = site(kind)
                .profile(&format!("{P}.policy.cache.polling.interval"), &[minutes])
                .start();
            let mut visitor = site.visitor();
            assert_eq!(visitor.log_in("/docs/a.html").status, 200);
            let asks = |visitor: &mut Visitor<'_>| {
                let before = evaluations(site.am.simulator());
                assert_eq!(visitor.get("/docs/a.html").status, 200);
                evaluations(site.am.simulator()) > before
            };
            match asked_again {
                true => assert!((0..3).all(|_| asks(&mut visitor)), "each time anew"),
                // An answer is handed over first and kept then.
                false => wait_until("a decision that is kept", || !asks(&mut visitor)),
            }
            site.stop();
        }
    }
}

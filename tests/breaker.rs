//! AM is away: one request finds out, the others are not made to wait for it, and one worker looks
//! whether it is back (rule O1). What is asked of AM is counted; nothing is timed.

// What can't be had fails the test that wanted it.
#![allow(clippy::expect_used, clippy::panic)]

use am_simulator::{Damage, Fault, Running};
use portcullis_tests::{
    both_servers,
    client::Request,
    outage::{Crowd, evaluations, restart_am, stop_am},
    server::Kind,
    site::{Builder, Site, site},
    visitor::Visitor,
    wait_until,
};

/// A site whose requests wait two seconds for AM at most.
fn impatient(kind: Kind) -> Builder {
    site(kind).property("portcullis.am.deadline", "2000")
}

/// What AM was asked besides whether it is there.
fn questions(am: &Running) -> Vec<String> {
    let calls = am.calls().into_iter().map(|call| call.path);
    calls
        .filter(|path| !path.contains("/serverinfo/"))
        .collect()
}

fn probes(am: &Running) -> usize {
    am.calls().len() - questions(am).len()
}

fn cookies(visitor: &Visitor<'_>) -> String {
    let pairs = visitor.cookies.iter().map(|(n, v)| format!("{n}={v}"));
    pairs.collect::<Vec<_>>().join("; ")
}

/// How often the breaker has opened.
fn opened(site: &Site) -> usize {
    site.debug_log().matches("PCL0515").count()
}

/// One request finds out that AM is away, and the breaker opens.
fn find_out(site: &Site, visitor: &mut Visitor<'_>, page: &str) {
    let before = opened(site);
    assert_eq!(visitor.get(page).status, 503);
    wait_until(&format!("an open breaker after {page}"), || {
        opened(site) > before
    });
}

both_servers! {
    fn an_am_that_is_away_is_not_asked_until_it_is_back(kind: Kind) {
        let mut site = impatient(kind).start();
        site.server.expect("PCL05");
        let mut visitor = site.visitor();
        assert_eq!(visitor.log_in("/app/known").status, 200);
        let am = site.am.simulator();
        let cases = [
            ("hang", Damage::Hang, "PCL0501"),
            ("slow", Damage::SlowBody { delay_ms: 500 }, "PCL0501"),
            ("reset", Damage::Reset, "PCL0500"),
            ("not-http", Damage::NotHttp, "PCL0500"),
            ("error", Damage::Status { status: 500 }, "PCL0503"),
            ("overload", Damage::Status { status: 503 }, "PCL0503"),
        ];
        for (name, damage, code) in cases {
            wait_until(&format!("a working AM before {name}"), || {
                visitor.get(&format!("/app/before-{name}")).status == 200
            });
            am.add_fault(Fault::on("", damage));
            find_out(&site, &mut visitor, &format!("/app/first-{name}"));
            site.wait_for_line(code);
            am.reset_calls();
            let cookie = cookies(&visitor);
            // All at once, so that every worker gets some.
            let requests = (0..40).map(|n| Request::get(&format!("/app/{name}-{n}")).header("Cookie", &cookie));
            for answer in Crowd::send(&site, requests.collect()).rest() {
                assert_eq!(answer.status, 503, "{answer:?}");
                assert_eq!(answer.header("retry-after"), Some("5"), "{answer:?}");
            }
            assert_eq!(questions(am), [""; 0], "{name}: nobody waited for AM");
            assert!(probes(am) < 10, "{name}: {} probes for 40 requests", probes(am));
            assert_eq!(visitor.get("/app/known").status, 200, "{name}: what is known is served");
            assert_eq!(site.get("/public/a.html").status, 200, "{name}");
            am.clear_faults();
        }
        site.wait_for_line("PCL0517");
        wait_until("recovery", || visitor.get("/app/after").status == 200);
        site.wait_for_line("PCL0516");
        site.stop();
    }

    fn it_closes_without_a_request(kind: Kind) {
        let mut site = impatient(kind).start();
        for code in ["PCL05", "PCL0607", "PCL0608"] {
            site.server.expect(code);
        }
        let cookies = {
            let mut visitor = site.visitor();
            assert_eq!(visitor.log_in("/app/known").status, 200);
            visitor.cookies
        };
        let gone = stop_am(&mut site);
        {
            let mut visitor = site.visitor();
            visitor.cookies = cookies;
            find_out(&site, &mut visitor, "/app/first");
        }
        restart_am(&mut site, gone);
        site.wait_for_line("PCL0516");
        // This AM knows no session of before, and the agent has to log in again, but nobody waits
        // for a pause to end.
        let mut visitor = site.visitor();
        assert_eq!(visitor.log_in("/app/after").status, 200);
        site.stop();
    }

    fn what_says_nothing_of_am_does_not_open_it(kind: Kind) {
        let mut site = impatient(kind).start();
        for code in ["PCL0500", "PCL0501", "PCL0503", "PCL0504", "PCL0506", "PCL0510"] {
            site.server.expect(code);
        }
        let mut visitor = site.visitor();
        assert_eq!(visitor.log_in("/app/known").status, 200);
        let am = site.am.simulator();
        let cases = [
            // Answers, although useless ones.
            ("endless", "", Damage::EndlessBody),
            ("garbage", "", Damage::Garbage),
            ("forbidden", "", Damage::Status { status: 403 }),
            ("missing", "", Damage::Status { status: 404 }),
            ("busy", "", Damage::Status { status: 429 }),
            // AM itself is there.
            ("policy-reset", "/json/policies", Damage::Reset),
            ("policy-error", "/json/policies", Damage::Status { status: 500 }),
            ("policy-hang", "/json/policies", Damage::Hang),
        ];
        for (name, path, damage) in cases {
            am.add_fault(Fault::on(path, damage));
            am.reset_calls();
            for n in 0..3 {
                let answer = visitor.get(&format!("/app/{name}-{n}"));
                assert!(matches!(answer.status, 403 | 503), "{name}: {answer:?}");
                assert!(evaluations(am) > n, "{name}: AM is asked each time");
            }
            am.clear_faults();
        }
        assert_eq!(visitor.get("/app/after").status, 200);
        assert_eq!(opened(&site), 0);
        site.stop();
    }

    fn strangers_with_bad_tokens_do_not_open_it(kind: Kind) {
        let mut site = impatient(kind)
            .profile("com.forgerock.agents.accept.sso.token", &["true"])
            .start();
        for code in ["PCL0501", "PCL0505"] {
            site.server.expect(code);
        }
        let mut visitor = site.visitor();
        assert_eq!(visitor.log_in("/app/known").status, 200);
        let am = site.am.simulator();
        let strangers = |name: &str| {
            let requests = (0..60).map(|n| {
                let cookie = format!("iPlanetDirectoryPro=AQIC5w{name}{n}.*AAJTSQACMDE.*");
                Request::get("/app/known").header("Cookie", &cookie)
            });
            Crowd::send(&site, requests.collect()).rest()
        };
        am.reset_calls();
        for answer in strangers("dead") {
            assert!(matches!(answer.status, 302 | 503), "{answer:?}");
        }
        assert_eq!(probes(am), 0, "a dead token says nothing of AM");
        // Even where their questions hang, AM is there for the others.
        am.add_fault(Fault::on("/sessionservice", Damage::Hang));
        for answer in strangers("hung") {
            assert_eq!(answer.status, 503, "{answer:?}");
        }
        assert!(probes(am) < 10, "{} probes for 60 strangers", probes(am));
        assert_eq!(visitor.get("/app/next").status, 200);
        assert_eq!(opened(&site), 0);
        am.clear_faults();
        site.stop();
    }
}

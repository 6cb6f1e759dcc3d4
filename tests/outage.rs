//! AM is down, hangs, answers nonsense or throws the agent out: what needs AM is refused with a
//! reason and in time, everything else goes on, and nobody has to restart anything afterwards.

// What can't be had fails the test that wanted it.
#![allow(clippy::expect_used, clippy::panic)]

use am_simulator::{Damage, Fault, Running};
use portcullis_tests::{
    both_servers,
    client::{Request, Response},
    outage::{Crowd, logins, restart_am, stop_am},
    processes::connections_to,
    server::Kind,
    site::{Builder, Site, USER, site},
    visitor::Visitor,
    wait_until,
};

/// A site whose requests wait two seconds for AM at most.
fn impatient(kind: Kind) -> Builder {
    site(kind).property("portcullis.am.deadline", "2000")
}

/// Announces the lines that an outage brings.
fn expect_outage(site: &mut Site) {
    for code in ["PCL05", "PCL0607", "PCL0608"] {
        site.server.expect(code);
    }
}

/// Refused because AM is missing, in the form that proxies and browsers understand.
fn assert_unavailable(response: &Response) {
    assert_eq!(response.status, 503, "{response:?}");
    assert_eq!(response.header("retry-after"), Some("5"), "{response:?}");
    assert_eq!(
        response.header("cache-control"),
        Some("no-store"),
        "{response:?}"
    );
    assert!(
        response.text().contains("If you ask for help"),
        "{}",
        response.text()
    );
}

/// What needs no AM works.
fn assert_the_rest_works(visitor: &mut Visitor<'_>) {
    assert_eq!(visitor.site().get("/public/a.html").status, 200);
    assert_eq!(visitor.get("/app/known").status, 200);
}

/// A line of the agent's that has both texts.
fn wait_for_reason(site: &Site, code: &str, page: &str) {
    wait_until(&format!("{code} for {page}"), || {
        let log = site.debug_log();
        log.lines()
            .any(|line| line.contains(code) && line.contains(page))
    });
}

/// Calls that AM has taken and not answered.
fn held(am: &Running) -> usize {
    let calls = am.calls();
    calls.iter().filter(|call| call.status == 0).count()
}

both_servers! {
    fn whatever_is_wrong_with_am_is_refused_with_its_code_and_mends_by_itself(kind: Kind) {
        let mut site = impatient(kind).start();
        expect_outage(&mut site);
        let mut visitor = site.visitor();
        assert_eq!(visitor.log_in("/app/known").status, 200);
        let cases = [
            ("hang", Damage::Hang, "PCL0501"),
            ("hold", Damage::Hold, "PCL0501"),
            ("slow", Damage::SlowBody { delay_ms: 500 }, "PCL0501"),
            ("reset", Damage::Reset, "PCL0500"),
            ("not-http", Damage::NotHttp, "PCL0500"),
            ("garbage", Damage::Garbage, "PCL0504"),
            ("endless", Damage::EndlessBody, "PCL0504"),
            ("error", Damage::Status { status: 500 }, "PCL0503"),
            ("overload", Damage::Status { status: 503 }, "PCL0503"),
        ];
        for (name, damage, code) in cases {
            // One case must not feel what an earlier one left behind.
            wait_until(&format!("a working AM before {name}"), || {
                visitor.get(&format!("/app/before-{name}")).status == 200
            });
            site.am.simulator().add_fault(Fault::on("", damage));
            let page = format!("/app/during-{name}");
            assert_unavailable(&visitor.get(&page));
            wait_for_reason(&site, code, &page);
            assert_the_rest_works(&mut visitor);
            site.am.simulator().clear_faults();
        }
        wait_until("recovery", || visitor.get("/app/after").status == 200);
        site.stop();
    }

    fn am_can_go_away_and_come_back(kind: Kind) {
        let mut site = impatient(kind).start();
        expect_outage(&mut site);
        let cookies = {
            let mut visitor = site.visitor();
            assert_eq!(visitor.log_in("/app/known").status, 200);
            visitor.cookies
        };
        let gone = stop_am(&mut site);
        {
            let mut visitor = site.visitor();
            visitor.cookies = cookies.clone();
            assert_unavailable(&visitor.get("/app/unknown"));
            wait_for_reason(&site, "PCL0500", "/app/unknown");
            assert_the_rest_works(&mut visitor);
            // Whoever has no session is sent to log in: that needs no AM here.
            assert_eq!(site.get("/app/unknown").status, 302);
        }
        restart_am(&mut site, gone);
        // This AM knows neither the agent's session nor the user's.
        let mut visitor = site.visitor();
        visitor.cookies = cookies;
        wait_until("a login", || {
            let answer = visitor.get("/app/unknown");
            assert!(matches!(answer.status, 302 | 503), "{answer:?}");
            answer.status == 302
        });
        let mut other = site.visitor();
        assert_eq!(other.log_in("/app/unknown").status, 200);
        site.stop();
    }

    fn a_server_that_starts_without_am_works_once_am_is_there(kind: Kind) {
        let mut site = impatient(kind).prepare();
        expect_outage(&mut site);
        let gone = stop_am(&mut site);
        let (passes, said) = site.server.check();
        assert!(passes, "{said}");
        site.server.start();
        // Nothing is known of this site but what agent.conf says, and that is no configuration.
        assert_unavailable(&site.get("/docs/a.html"));
        assert_unavailable(&site.get("/public/a.html"));
        site.wait_for_line("PCL0607");
        restart_am(&mut site, gone);
        wait_until("the profile", || site.get("/public/a.html").status == 200);
        let mut visitor = site.visitor();
        assert_eq!(visitor.log_in("/docs/a.html").status, 200);
        site.stop();
    }

    fn a_server_that_starts_while_am_hangs_works_once_am_answers(kind: Kind) {
        let mut site = impatient(kind)
            .property("com.sun.identity.agents.config.receive.timeout", "2")
            .prepare();
        expect_outage(&mut site);
        site.am.simulator().add_fault(Fault::on("", Damage::Hang));
        let (passes, said) = site.server.check();
        assert!(passes, "{said}");
        site.server.start();
        assert_unavailable(&site.get("/docs/a.html"));
        assert_unavailable(&site.get("/public/a.html"));
        site.am.simulator().clear_faults();
        wait_until("the profile", || site.get("/public/a.html").status == 200);
        let mut visitor = site.visitor();
        assert_eq!(visitor.log_in("/docs/a.html").status, 200);
        site.stop();
    }

    fn a_login_that_am_cannot_confirm_lets_nobody_in(kind: Kind) {
        let mut site = impatient(kind).start();
        expect_outage(&mut site);
        let mut visitor = site.visitor();
        let redirect = visitor.get("/docs/a.html");
        let form = visitor.form(&redirect);
        for damage in [Damage::Hang, Damage::Reset, Damage::Garbage, Damage::Status { status: 500 }] {
            site.am.simulator().add_fault(Fault::on("", damage));
            assert_unavailable(&visitor.post(&form));
            assert!(!visitor.cookies.contains_key("am-auth-jwt"), "{:?}", visitor.cookies.keys());
            site.am.simulator().clear_faults();
        }
        // The redirect needs no AM, the login does: the agent looks every two seconds.
        wait_until("recovery", || {
            let mut visitor = site.visitor();
            let redirect = visitor.get("/docs/a.html");
            let form = visitor.form(&redirect);
            visitor.post(&form).status == 302
        });
        assert_eq!(site.visitor().log_in("/docs/a.html").status, 200);
        site.stop();
    }

    fn a_wrong_agent_password_is_named_and_does_not_storm_am(kind: Kind) {
        let mut site = site(kind).wrong_password().prepare();
        site.server.expect("PCL05");
        site.server.expect("PCL0606");
        site.am.simulator().reset_calls();
        site.server.start();
        assert_unavailable(&site.get("/docs/a.html"));
        site.wait_for_line("PCL0606");
        let said = site.server.said();
        let line = said.lines().find(|l| l.contains("PCL0606")).expect("in the server's log");
        assert!(line.contains("\"wa1\"") && line.contains("HTTP 401"), "{line}");
        assert!(line.contains("com.sun.identity.agents.config.username"), "{line}");
        assert!(line.contains("agentadmin --p"), "{line}");
        for _ in 0..100 {
            let answer = site.get("/docs/a.html");
            assert_unavailable(&answer);
        }
        wait_for_reason(&site, "PCL0506", "/docs/a.html");
        let logins = logins(site.am.simulator());
        assert!((1..=6).contains(&logins), "{logins} logins for 101 requests");
        site.stop();
    }

    fn an_am_that_has_lost_all_sessions_gets_one_login_of_the_host(kind: Kind) {
        let mut site = site(kind).listens().workers(4).threads(200).start();
        expect_outage(&mut site);
        site.wait_for_line("PCL0640");
        let cookies: Vec<String> = (0..5).map(|_| {
            let mut visitor = site.visitor();
            assert_eq!(visitor.log_in("/app/known").status, 200);
            visitor.cookie_header()
        }).collect();
        let gone = stop_am(&mut site);
        restart_am(&mut site, gone);
        // Nothing that was known before counts once the socket is open again.
        wait_until("a new socket", || site.debug_log().matches("PCL0640").count() == 2);
        let requests = (0..60).map(|n: usize| {
            let page = ["/app/known".to_owned(), format!("/app/new-{n}")][n % 2].clone();
            Request::get(&page).header("Cookie", &cookies[n % cookies.len()])
        });
        for answer in Crowd::send(&site, requests.collect()).rest() {
            assert_eq!(answer.status, 302, "{answer:?}");
        }
        let sessions = site.am.simulator().sessions();
        let agents = sessions.iter().filter(|session| session.name == site.agent);
        assert_eq!(agents.count(), 1, "sessions of the agent");
        assert_eq!(site.visitor().log_in("/app/known").status, 200);
        site.stop();
    }

    fn a_hanging_am_is_asked_no_more_than_the_cap_allows(kind: Kind) {
        const WORKERS: usize = 4;
        const CAP: usize = 6; // half of it for sessions that nobody knows yet
        let mut site = site(kind)
            .workers(4)
            .threads(200)
            .property("portcullis.am.deadline", "60000")
            .property("portcullis.am.calls.max", &CAP.to_string())
            .profile("com.forgerock.agents.accept.sso.token", &["true"])
            .start();
        site.server.expect("PCL05");
        let mut visitor = site.visitor();
        assert_eq!(visitor.log_in("/app/known").status, 200);
        let am = site.am.simulator();
        let port = am.address().port();
        assert_eq!(site.get("/public/a.html").status, 200);
        let before = connections_to(port);
        am.reset_calls();
        am.add_fault(Fault::on("", Damage::Hold));
        let newcomers = (0..200).map(|_| {
            let token = am.log_in("/", USER).expect("session");
            Request::get("/app/known").header("Cookie", &format!("iPlanetDirectoryPro={token}"))
        });
        let mut crowd = Crowd::send(&site, newcomers.collect());
        wait_until("calls", || held(am) > 0);
        for _ in 0..10 {
            assert_the_rest_works(&mut visitor);
        }
        // Whoever has no place among the calls is answered; the others wait for AM.
        while crowd.open() > WORKERS * CAP / 2 {
            assert_unavailable(&crowd.answer());
            assert!(held(am) <= WORKERS * CAP / 2, "{} calls", held(am));
        }
        assert_the_rest_works(&mut visitor);
        am.clear_faults();
        for answer in crowd.rest() {
            assert!(matches!(answer.status, 200 | 503), "{answer:?}");
        }
        wait_until("recovery", || visitor.get("/app/after").status == 200);
        // Idle ones are closed after 15 s.
        wait_until("as few connections as before", || connections_to(port) <= before);
        site.stop();
    }

    fn an_agent_session_that_am_ends_is_renewed_once(kind: Kind) {
        let site = site(kind).start();
        let mut visitor = site.visitor();
        assert_eq!(visitor.log_in("/app/known").status, 200);
        site.am.simulator().reset_calls();
        assert!(site.am.simulator().kill_agent_sessions(None) >= 1);
        assert_eq!(visitor.get("/app/next").status, 200);
        assert_eq!(logins(site.am.simulator()), 1);
        // Also when many notice at the same moment, in all workers.
        site.am.simulator().reset_calls();
        assert!(site.am.simulator().kill_agent_sessions(None) >= 1);
        let cookie = visitor.cookie_header();
        let requests = (0..12).map(|n| Request::get(&format!("/app/many-{n}")).header("Cookie", &cookie));
        for answer in Crowd::send(&site, requests.collect()).rest() {
            // httpd lets only so many threads wait long; the others are told to come again.
            assert!(answer.status == 200 || kind == Kind::Httpd && answer.status == 503, "{answer:?}");
        }
        assert_eq!(logins(site.am.simulator()), 1);
        site.stop();
    }
}

/// Most threads of httpd stay free while AM hangs (two processes of 16 threads: four may wait long
/// in each). Nothing is measured: the answers come while AM still holds its own back.
#[test]
fn a_hanging_am_leaves_most_threads_of_httpd_free() {
    let mut site = site(Kind::Httpd)
        .property("portcullis.am.deadline", "60000")
        .start();
    site.server.expect("PCL05");
    let mut visitor = site.visitor();
    assert_eq!(visitor.log_in("/app/known").status, 200);
    site.am.simulator().add_fault(Fault::on("", Damage::Hold));
    let cookie = visitor.cookie_header();
    let requests = vec![Request::get("/app/held").header("Cookie", &cookie); 40];
    let mut crowd = Crowd::send(&site, requests);

    for _ in 0..32 {
        assert_unavailable(&crowd.answer());
    }
    assert_the_rest_works(&mut visitor);
    wait_for_reason(&site, "PCL0505", "/app/held");
    assert_eq!(crowd.open(), 8);
    site.am.simulator().clear_faults();
    let last = crowd.rest();
    assert!(
        last.iter().all(|a| matches!(a.status, 200 | 503)),
        "{last:?}"
    );
    assert!(
        last.iter().any(|a| a.status == 200),
        "somebody waited for AM"
    );
    site.stop();
}

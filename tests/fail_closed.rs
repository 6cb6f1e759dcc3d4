//! The kinds of failure of the fail-closed table that other suites do not provoke: an AM that nobody can
//! vouch for, too many questions at once, and a table that takes no more entries.

// What can't be had fails the test that wanted it.
#![allow(clippy::expect_used, clippy::panic)]

use std::path::Path;

use am_simulator::{Damage, Fault};
use portcullis_tests::{
    both_servers,
    client::{Request, Response},
    front::{Certificates, Front, name_am},
    outage::{Crowd, evaluations},
    outcome::logged,
    server::Kind,
    site::{AmServer, Site, USER, USER_PASSWORD, site},
    wait_until,
};

const NAME: &str = "am.test.example.org";

fn certificates(folder: &Path) -> Certificates {
    // Workers read the authority's file; the key they never see.
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(folder, mode).expect("mode");
    Certificates::make(folder, NAME)
}

fn assert_unavailable(answer: &Response) {
    assert_eq!(answer.status, 503, "{answer:?}");
}

/// A logout with a session cookie of AM that nobody gave out.
fn logout(n: usize) -> Request {
    let cookie = format!("iPlanetDirectoryPro=AQIC5w-made-up-{n}.*AAJTSQACMDE.*");
    Request::get("/logout/done.html").header("Cookie", &cookie)
}

/// Logs so many made-up sessions out that hardly any place is left where such ends are kept.
fn fill(site: &Site) {
    for first in (0..5000).step_by(40) {
        let some = (first..first + 40).map(logout).collect();
        for answer in Crowd::send(site, some).rest() {
            // httpd lets only so many threads wait long.
            assert!(matches!(answer.status, 200 | 503), "{answer:?}");
        }
    }
}

/// Starts a site whose workers share little memory.
fn crowded(kind: Kind) -> Site {
    let mut site = site(kind)
        .profile("com.forgerock.agents.accept.sso.token", &["1"])
        .profile(
            "org.forgerock.openam.agents.config.allow.custom.login",
            &["2"],
        )
        .property("portcullis.login.tokens.max", "0")
        .prepare();
    site.server.variable("AM_MAX_SESSION_CACHE_SIZE", "1048576");
    // The last is httpd's own.
    for code in ["PCL05", "PCL0609", "AH00484"] {
        site.server.expect(code);
    }
    site.server.start();
    wait_until("the profile", || site.get("/public/a.html").status == 200);
    site
}

both_servers! {
    fn an_am_that_becomes_another_is_not_believed(kind: Kind) {
        let (ours, others) = (tempfile::tempdir().expect("folder"), tempfile::tempdir().expect("folder"));
        let (ours, others) = (certificates(ours.path()), certificates(others.path()));
        let am = AmServer::simulated();
        let (address, url) = (am.simulator().address(), am.url());
        let path = url.rsplit_once('/').expect("path").1.to_owned();
        let tls = Front::tls(address, &ours);
        let text = |path: &Path| path.to_string_lossy().into_owned();
        let mut site = site(kind)
            .am(am)
            .profile("com.forgerock.agents.public.am.url", &[&url])
            .property("com.forgerock.agents.config.cert.ca.file", &text(&ours.authority))
            .property("com.forgerock.agents.config.cert.file", &text(&ours.certificate))
            .property("com.forgerock.agents.config.cert.key", &text(&ours.key))
            .prepare();
        name_am(&site, &format!("https://{NAME}:{}/{path}", tls.port()));
        // A connection that was open may break first.
        for code in ["PCL05", "PCL0607", "PCL0608"] {
            site.server.expect(code);
        }
        site.server.start();
        let mut visitor = site.visitor();
        assert_eq!(visitor.log_in("/app/known").status, 200);
        let tls = tls.replaced_by_tls(address, &others);
        wait_until("PCL0502", || {
            assert_unavailable(&visitor.get("/app/unknown"));
            site.debug_log().contains("PCL0502")
        });
        assert_eq!(tls.passed(), 0);
        assert_eq!(visitor.get("/app/known").status, 200);
        site.stop();
    }

    fn more_questions_than_am_may_be_asked_at_once_are_refused(kind: Kind) {
        let mut site = site(kind)
            .property("portcullis.am.deadline", "60000")
            .property("portcullis.am.calls.max", "2")
            .start();
        site.server.expect("PCL0505");
        let mut visitor = site.visitor();
        assert_eq!(visitor.log_in("/app/known").status, 200);
        // What one session waits for is asked together, so each has its own.
        let sessions = (0..12).map(|_| {
            let mut other = site.visitor();
            assert_eq!(other.log_in("/app/known").status, 200);
            other.cookie_header()
        });
        let requests = sessions.map(|cookie| Request::get("/app/held").header("Cookie", &cookie));
        let requests: Vec<Request> = requests.collect();
        let am = site.am.simulator();
        am.reset_calls();
        am.add_fault(Fault::on("/json/policies", Damage::Hold));
        let mut crowd = Crowd::send(&site, requests);
        // Two workers may ask two questions each; who asks more is refused while AM holds those back.
        for _ in 0..8 {
            assert_unavailable(&crowd.answer());
        }
        site.wait_for_line("PCL0505");
        assert!((1..=4).contains(&evaluations(am)), "{}", evaluations(am));
        assert_eq!(visitor.get("/app/known").status, 200, "what is known needs no question");
        am.clear_faults();
        // One worker may have got all of them, and asked two. Whatever was asked is answered, and no more.
        let (answered, refused): (Vec<_>, Vec<_>) = crowd.rest().into_iter().partition(|a| a.status == 200);
        refused.iter().for_each(assert_unavailable);
        assert_eq!(answered.len(), evaluations(am));
        assert!(!answered.is_empty());
        site.stop();
    }

    /// Rule S1: a logout that could not be kept is not said to have happened.
    fn where_no_end_of_a_session_can_be_kept_a_logout_is_refused(kind: Kind) {
        let site = crowded(kind);
        fill(&site);
        // As long as AM itself ends the session, that is enough.
        assert_eq!(site.send(&logout(9000)).status, 200);
        site.am.simulator().add_fault(Fault::on("/json/sessions", Damage::Reset));
        let mut n = 10_000;
        wait_until("a logout that is kept nowhere", || {
            n += 1;
            let answer = site.send(&logout(n));
            assert!(matches!(answer.status, 200 | 503), "{answer:?}");
            answer.status == 503 && site.debug_log().contains("PCL0508")
        });
        // A page that needs no such entry is there for all.
        assert_eq!(site.get("/public/a.html").status, 200);
        let login = logged(&site, "PCL0200", || site.get("/docs/a.html"));
        assert_eq!(login.status, 302);
        site.stop();
    }

    /// Strangers fill what there is for them, also while AM is away; those who were logged in get out.
    fn made_up_logouts_leave_room_for_those_of_users(kind: Kind) {
        let site = crowded(kind);
        let users: Vec<String> = (0..20)
            .map(|_| {
                let token = site.am.client().login("/", USER, USER_PASSWORD).expect("login");
                format!("iPlanetDirectoryPro={token}")
            })
            .collect();
        let as_user = |target: &str, cookie: &String| site.send(&Request::get(target).header("Cookie", cookie));
        for cookie in &users {
            assert_eq!(as_user("/app/page", cookie).status, 200);
        }
        fill(&site);
        site.am.simulator().add_fault(Fault::on("/json/sessions", Damage::Reset));
        fill(&site);
        for cookie in &users {
            assert_eq!(as_user("/logout/done.html", cookie).status, 200);
            // AM, which was not told, would still say that it is alive.
            assert_eq!(as_user("/app/page", cookie).status, 302);
        }
        site.stop();
    }

    /// What a stranger makes AM do with logouts is limited as with logins (rule L9).
    fn made_up_logouts_of_a_client_stop_reaching_am(kind: Kind) {
        let site = site(kind)
            .profile("com.forgerock.agents.accept.sso.token", &["1"])
            .profile("org.forgerock.openam.agents.config.allow.custom.login", &["2"])
            .property("portcullis.login.tokens.max", "5")
            .start();
        let mut answers = (0..30).map(|n| site.send(&logout(n)).status);
        let let_through = answers.by_ref().take_while(|status| *status == 200).count();
        // The minute may end in between.
        assert!((5..=10).contains(&let_through), "{let_through}");
        site.wait_for_line("PCL0332");
        let calls = site.am.simulator().calls();
        let told = calls.iter().filter(|c| c.action.as_deref() == Some("logout")).count();
        assert!(told <= 10, "{told}");
        site.stop();
    }
}

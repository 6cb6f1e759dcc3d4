//! ForgeRock AM and PingAM: the same decisions, asked for in their words. There is no such server to test with; the
//! simulator says what the vendor's documentation says.

// Scenarios are functions of their own: Clippy does not take them for tests.
#![allow(clippy::expect_used, clippy::panic)]

use am_simulator::{Dialect, Session};
use portcullis_tests::{
    both_servers,
    client::Request,
    server::Kind,
    site::{self, AmServer, Builder, Site, USER},
};

const AM_COOKIE: &str = "iPlanetDirectoryPro";
const CUSTOM: &str = "com.sun.identity.agents.config.freeformproperties";
const AUTH_MODE: &str = "com.forgerock.agents.config.agent.auth.mode";

/// A site that is told to speak to PingAM, and speaks to `am`.
fn site(kind: Kind, am: Dialect) -> Builder {
    site::site(kind)
        .am(AmServer::of(am))
        .property("portcullis.am.dialect", "pingam")
        .profile(
            CUSTOM,
            &[
                "org.forgerock.openam.agents.config.allow.custom.login=2",
                "com.forgerock.agents.accept.sso.token=1",
            ],
        )
}

fn with(token: &str, target: &str) -> Request {
    Request::get(target).header("Cookie", &format!("{AM_COOKIE}={token}"))
}

fn user(site: &Site) -> String {
    site.am.simulator().log_in("/", USER).expect("user")
}

/// The agent's own sessions at AM.
fn agents(site: &Site) -> Vec<Session> {
    let mut sessions = site.am.simulator().sessions();
    sessions.retain(|s| s.kind == am_simulator::Kind::Application);
    sessions
}

/// The resource versions and actions of calls about sessions.
fn asked(site: &Site) -> Vec<String> {
    let calls = site.am.simulator().calls();
    let about = calls.iter().filter(|c| c.path.ends_with("/sessions"));
    about
        .map(|c| {
            format!(
                "{} {}",
                c.action.as_deref().unwrap_or(""),
                c.resource.as_deref().unwrap_or("")
            )
        })
        .collect()
}

both_servers! {
    fn a_user_of_pingam_is_let_in_by_ams_cookie(kind: Kind) {
        let site = site(kind, Dialect::PingAm).start();
        let token = user(&site);
        site.am.simulator().reset_calls();
        let page = site.send(&with(&token, "/app/page"));
        let seen = portcullis_tests::backend::Seen::of(&page).expect("the application");
        assert_eq!(seen.all("X-User"), [USER]);
        assert_eq!(seen.all("X-Mail"), ["demo@example.com"]);
        assert_eq!(seen.all("X-Dept"), ["sales"]);
        assert_eq!(asked(&site), ["getSessionInfo 4.0"]);
        assert_eq!(site.send(&with(&token, "/secret/a.html")).status, 403);
        // Without a session, with one that never was, and with the agent's own.
        let to_login = site.get("/app/page");
        assert_eq!(to_login.status, 302, "{to_login:?}");
        assert_eq!(site.send(&with("AQIC5wRubbish.*", "/app/page")).status, 302);
        let refused = site.send(&with(&agents(&site)[0].token, "/app/page"));
        assert_eq!(refused.status, 403, "{refused:?}");
        site.stop();
    }

    fn a_session_of_pingam_ends_with_its_logout(kind: Kind) {
        let site = site(kind, Dialect::PingAm).start();
        let token = user(&site);
        assert_eq!(site.send(&with(&token, "/app/page")).status, 200);
        site.am.simulator().reset_calls();
        assert_eq!(site.send(&with(&token, "/logout/done.html")).status, 200);
        assert!(asked(&site).contains(&"logout 4.0".to_owned()), "{:?}", asked(&site));
        assert!(site.am.simulator().session(&token).is_none());
        assert_eq!(site.send(&with(&token, "/app/page")).status, 302);
        site.stop();
    }

    fn the_agent_logs_in_by_tree_or_by_module(kind: Kind) {
        for (am, mode, status) in [
            (Dialect::PingAm, "0", 200),
            (Dialect::PingAm, "2", 503),
            (Dialect::ForgeRock, "1", 200),
            (Dialect::ForgeRock, "2", 200),
        ] {
            let mut site = site(kind, am).property(AUTH_MODE, mode).start();
            for code in ["PCL0506", "PCL0606"] {
                site.server.expect(code);
            }
            let token = user(&site);
            assert_eq!(site.send(&with(&token, "/app/page")).status, status, "{am:?} {mode}");
            assert_eq!(agents(&site).len(), usize::from(status == 200), "{am:?} {mode}");
            site.stop();
        }
    }

    fn a_dead_agent_session_is_renewed_and_nobody_is_blamed(kind: Kind) {
        let site = site(kind, Dialect::ForgeRock).start();
        let token = user(&site);
        assert_eq!(site.send(&with(&token, "/app/one")).status, 200);
        assert_eq!(site.am.simulator().kill_agent_sessions(None), 1);
        let other = user(&site);
        assert_eq!(site.send(&with(&other, "/app/two")).status, 200);
        assert_eq!(agents(&site).len(), 1);
        assert_eq!(site.send(&with(&token, "/app/three")).status, 200);
        site.stop();
    }

    fn an_openam_that_is_taken_for_pingam_lets_nobody_in(kind: Kind) {
        let mut site = site(kind, Dialect::OpenAm).start();
        site.server.expect("PCL05");
        let token = user(&site);
        let answer = site.send(&with(&token, "/app/page"));
        assert_eq!(answer.status, 503, "{answer:?}");
        assert_eq!(agents(&site).len(), 1, "the module was tried after the tree");
        assert_eq!(site.get("/public/a.html").status, 200);
        site.stop();
    }
}

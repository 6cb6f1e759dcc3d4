//! What is asked for depends on the path: nothing, a session, or AM, in which realm and policy set.
// What can't be had fails the test that wanted it.
#![allow(clippy::expect_used, clippy::panic)]

use portcullis_tests::{
    backend::Seen,
    both_servers,
    client::{Request, Response},
    outcome::logged,
    policies::policy_set,
    site::{USER, USER_PASSWORD, site},
};

const MODE: &str = "com.sun.identity.agents.config.filter.mode";
const REALM: &str = "org.forgerock.openam.agents.config.policy.evaluation.realm";
const SET: &str = "org.forgerock.openam.agents.config.policy.evaluation.application";
fn user(response: &Response) -> Option<String> {
    assert_eq!(response.status, 200, "{response:?}");
    Seen::of(response)
        .expect("the application's answer")
        .header("X-User")
}

both_servers! {
    fn a_session_is_enough_below_some_paths_only(kind: Kind) {
        let site = site(kind)
            .property(&format!("{MODE}[/app/home]"), "SSO_ONLY")
            .property(&format!("{MODE}[/app/open/*]"), "NONE")
            .property(&format!("{MODE}[/app/open/admin]"), "URL_POLICY")
            .start();
        // From then on there is a configuration.
        assert_eq!(user(&site.get("/app/open/x")), None);
        let forged = Request::get("/app/open/x").header("X-User", "admin");
        assert_eq!(user(&site.send(&forged)), None);
        for target in ["/app/home", "/app/open/admin/x", "/app/open/admin;v=1/x", "/app/x"] {
            assert_eq!(site.get(target).status, 302, "{target}");
        }
        let mut visitor = site.visitor();
        assert_eq!(visitor.log_in("/app/x").status, 200);
        // AM's policies allow no POST.
        let post = |target: &str| Request::new("POST", target).body("text/plain", "x");
        let home = logged(&site, "PCL0102", || visitor.send(post("/app/home/x")));
        assert_eq!(user(&home).as_deref(), Some(USER));
        for target in ["/app/x", "/app/homes", "/app/open/admin"] {
            assert_eq!(visitor.send(post(target)).status, 403, "{target}");
        }
        site.stop();
    }

    fn a_mode_that_opens_everything_is_refused(kind: Kind) {
        let mut site = site(kind).prepare();
        for text in ["PCL0600", "agent.conf", "configuration file"] {
            site.server.expect(text);
        }
        site.append(&format!("{MODE}[ALL] = NONE"));
        let (passes, said) = site.server.check();
        assert!(!passes && said.contains("would let everybody see everything"), "{said}");
        site.stop();
    }

    fn each_path_has_the_policies_of_its_realm_and_set(kind: Kind) {
        let mut site = site(kind)
            .property(&format!("{REALM}[/app/shop]"), "/shop")
            .property(&format!("{SET}[/app/shop]"), "orders")
            .property(&format!("{SET}[/app/wiki]"), "wiki")
            .property(&format!("{SET}[/app/none]"), "none")
            .prepare();
        site.server.expect("PCL0510");
        site.am.admin().create_realm("/", "shop").expect("realm");
        policy_set(&site, "/shop", "orders", "POST");
        policy_set(&site, "/", "wiki", "PUT");
        site.server.start();
        let mut visitor = site.visitor();
        assert_eq!(visitor.log_in("/app/x").status, 200);
        // Twice: what is stored about one path serves that path only.
        for _ in 0..2 {
            for (target, allowed) in [("/app/x", "GET"), ("/app/shop/x", "POST"), ("/app/wiki/x", "PUT")] {
                for method in ["GET", "POST", "PUT"] {
                    let status = visitor.send(Request::new(method, target)).status;
                    assert_eq!(status, if method == allowed { 200 } else { 403 }, "{method} {target}");
                }
            }
        }
        // A policy set that is not there: not just a denial.
        let none = logged(&site, "PCL0510", || visitor.get("/app/none/x"));
        assert_eq!(none.status, 403);
        assert_eq!(visitor.get("/app/shop;v=1/x").status, 400);
        site.stop();
    }

    fn everybody_meets_the_policies_of_their_own_realm(kind: Kind) {
        let site = site(kind)
            .property("portcullis.policy.user.realm", "true")
            .property("portcullis.session.realms", "/shop")
            .property(SET, "own")
            .profile("com.forgerock.agents.accept.sso.token", &["1"])
            .profile("org.forgerock.openam.agents.config.allow.custom.login", &["2"])
            .start();
        site.am.admin().create_realm("/", "shop").expect("realm");
        policy_set(&site, "/", "own", "GET");
        policy_set(&site, "/shop", "own", "POST");
        for (realm, allowed) in [("/", "GET"), ("/shop", "POST")] {
            let token = site.am.client().login(realm, USER, USER_PASSWORD).expect("login at AM");
            for method in ["GET", "POST"] {
                let request = Request::new(method, "/app/x")
                    .header("Cookie", &format!("iPlanetDirectoryPro={token}"));
                let status = site.send(&request).status;
                assert_eq!(status, if method == allowed { 200 } else { 403 }, "{realm} {method}");
            }
        }
        site.stop();
    }
}

//! Methods: the one of a request, and those that applications take in its place.

// Scenarios are functions of their own: Clippy does not take them for tests.
#![allow(clippy::expect_used, clippy::panic)]

use portcullis_tests::{both_servers, client::Request, policies::policy_set, site::site};

const SET: &str = "org.forgerock.openam.agents.config.policy.evaluation.application";

fn post(target: &str, name: &str, value: &str) -> Request {
    Request::new("POST", target)
        .header(name, value)
        .body("text/plain", "x")
}

both_servers! {
    fn a_method_in_place_of_another_needs_consent_too(kind: Kind) {
        for (property, tunnelled) in [("check", 403), ("ignore", 200)] {
            let site = site(kind)
                .property(SET, "forms")
                .property("portcullis.method.override", property)
                .start();
            policy_set(&site, "/", "forms", "POST");
            let mut visitor = site.visitor();
            assert_eq!(visitor.log_in("/app/x").status, 403, "GET is not allowed there");
            for (request, status) in [
                (post("/app/x", "X-Other", "DELETE"), 200),
                (post("/app/x", "X-HTTP-Method-Override", "POST"), 200),
                (post("/app/x", "X-HTTP-Method-Override", "DELETE"), tunnelled),
                (post("/app/x", "x-method-override", "delete"), tunnelled),
            ] {
                assert_eq!(visitor.send(request).status, status, "{property}");
            }
            site.stop();
        }
    }
}

//! A browser comes without a session, logs in at AM and is let in, or refused, with a reason.

// Scenarios are functions of their own: Clippy does not take them for tests.
#![allow(clippy::expect_used, clippy::panic)]

use portcullis_tests::{backend::Seen, both_servers, client::Request};

both_servers! {
    fn a_visitor_logs_in_and_the_application_sees_who_it_is(kind: Kind) {
        let site = portcullis_tests::site::site(kind).start();
        let mut visitor = site.visitor();
        let redirect = visitor.get("/app/page?x=1");
        assert_eq!(redirect.status, 302, "{redirect:?}");
        assert!(redirect.location().starts_with(&format!("{}/oauth2/authorize?", site.am.url())));
        assert_eq!(redirect.header("cache-control"), Some("no-store"));
        let form = visitor.form(&redirect);
        let back = visitor.post(&form);
        assert_eq!((back.status, back.location()), (302, format!("{}/app/page?x=1#", site.url()).as_str()));
        let page = visitor.get("/app/page?x=1");
        assert_eq!(page.status, 200, "{page:?}");
        let seen = Seen::of(&page).expect("the application's answer");
        assert_eq!(seen.header("X-User").as_deref(), Some("demo1"));
        assert_eq!(seen.header("X-Mail").as_deref(), Some("demo@example.com"));
        assert_eq!(seen.header("X-Dept").as_deref(), Some("sales"));
        assert_eq!(seen.header("X-Policy-Mail").as_deref(), Some("demo@example.com"));
        assert!(seen.all("Cookie").is_empty(), "our cookies stay here: {:?}", seen.all("Cookie"));
        let again = visitor.get("/docs/a.html");
        assert_eq!(again.status, 200);
        assert!(again.text().contains("protected page a"));
        site.stop();
    }

    fn pages_without_policy_and_methods_it_does_not_allow_are_refused(kind: Kind) {
        let site = portcullis_tests::site::site(kind).start();
        let mut visitor = site.visitor();
        assert_eq!(visitor.log_in("/docs/a.html").status, 200);
        let denied = visitor.get("/secret/a.html");
        assert_eq!(denied.status, 403);
        assert!(denied.text().contains("If you ask for help"), "{}", denied.text());
        let post = visitor.send(Request::new("POST", "/docs/a.html").body("text/plain", "x"));
        assert_eq!(post.status, 403);
        site.wait_for_line("PCL0300");
        site.stop();
    }

    fn exempt_pages_go_straight_through(kind: Kind) {
        let site = portcullis_tests::site::site(kind).start();
        let page = site.get("/public/a.html");
        assert_eq!(page.status, 200, "{page:?}");
        assert!(page.text().contains("public page"));
        site.stop();
    }
}

//! Who is let in without a session, and who is not let in at all, by rules of the configuration.
// What can't be had fails the test that wanted it.
#![allow(clippy::expect_used, clippy::panic)]

use portcullis_tests::{
    backend::Seen,
    both_servers,
    client::{Request, Response},
    server::Kind,
    site::{Builder, HOST, Site, site},
};

const URL: &str = "com.sun.identity.agents.config.notenforced.url";
const IP: &str = "com.sun.identity.agents.config.notenforced.ip";
const IP_URL: &str = "org.forgerock.agents.config.notenforced.ipurl";
const IP_HEADER: &str = "com.sun.identity.agents.config.client.ip.header";

/// Everything from `agent.conf`, so that a test has only the rules that it writes.
fn begin(kind: Kind, lines: &[(&str, &str)]) -> Builder {
    let all = lines
        .iter()
        .fold(site(kind).local(), |site, (name, value)| {
            site.property(name, value)
        });
    all.property("com.sun.identity.agents.config.fqdn.default", HOST)
        .property(
            "com.sun.identity.agents.config.session.attribute.fetch.mode",
            "HTTP_HEADER",
        )
        .property(
            "com.sun.identity.agents.config.session.attribute.mapping[UserToken]",
            "X-User",
        )
        .property(
            "com.sun.identity.agents.config.profile.attribute.fetch.mode",
            "HTTP_HEADER",
        )
        .property(
            "com.sun.identity.agents.config.profile.attribute.mapping[mail]",
            "X-Mail",
        )
}

/// Whether the application answered (302 is the way to the login).
fn open(response: &Response) -> bool {
    match response.status {
        200 | 404 | 405 => true,
        302 | 403 => false,
        _ => panic!("{response:?}"),
    }
}

fn check(site: &Site, rows: &[(&str, &str, bool)]) {
    for (method, target, expected) in rows {
        let response = site.send(&Request::new(method, target));
        assert_eq!(
            open(&response),
            *expected,
            "{method} {target}: {response:?}"
        );
    }
}

/// What the page that the application made says it was asked.
fn seen(response: &Response) -> Seen {
    assert_eq!(response.status, 200, "{response:?}");
    Seen::of(response).expect("the application's answer")
}

both_servers! {
    fn exempt_urls_need_no_session(kind: Kind) {
        let site = begin(kind, &[
            (&format!("{URL}[0]"), "/app/open/* /app/one/-*-/x"),
            (&format!("{URL}[POST,PUT,1]"), "/app/form"),
        ]).start();
        check(&site, &[
            ("GET", "/app/open/a", true),
            ("GET", "/app/open/a?b=c", true),
            ("GET", "/app/OPEN/a", true),
            ("GET", "/app/openx", false),
            ("GET", "/app/one/a/x", true),
            ("GET", "/app/one/a/b/x", false),
            ("POST", "/app/form", true),
            ("PUT", "/app/form", true),
            ("GET", "/app/form", false),
        ]);
        site.stop();
    }

    fn preflights_of_other_origins_can_be_exempt(kind: Kind) {
        let site = begin(kind, &[(&format!("{URL}[OPTIONS,1]"), "/app/api/*")]).start();
        let preflight = Request::new("OPTIONS", "/app/api/a")
            .header("Origin", "https://spa.example.org")
            .header("Access-Control-Request-Method", "PUT");
        assert!(open(&site.send(&preflight)));
        check(&site, &[("GET", "/app/api/a", false), ("OPTIONS", "/app/other", false)]);
        site.stop();
    }

    fn an_inverted_list_protects_what_it_names(kind: Kind) {
        let site = begin(kind, &[
            (&format!("{URL}.invert"), "true"),
            (&format!("{URL}[0]"), "/app/closed/*"),
        ]).start();
        check(&site, &[
            ("GET", "/app/closed/a", false),
            ("POST", "/app/closed/a?b", false),
            ("GET", "/app/closed;v=1/a", false),
            ("GET", "/app/a", true),
        ]);
        site.stop();
    }

    fn an_empty_inverted_list_protects_everything(kind: Kind) {
        let mut site = begin(kind, &[(&format!("{URL}.invert"), "true")]).prepare();
        let (passes, said) = site.server.check();
        assert!(passes && said.contains("PCL0601") && said.contains("inverts a list"), "{said}");
        site.server.start();
        check(&site, &[("GET", "/app/a", false), ("GET", "/public/a.html", false)]);
        site.stop();
    }

    fn regular_expressions_exempt_whole_urls(kind: Kind) {
        let site = begin(kind, &[
            ("com.forgerock.agents.notenforced.url.regex.enable", "true"),
            (&format!("{URL}[0]"), r"/app/img/[a-z]+\.(png|gif)"),
            (&format!("{URL}[1]"), r"http://[^/]+/app/css/.*"),
        ]).start();
        check(&site, &[
            ("GET", "/app/img/logo.png", true),
            ("GET", "/app/css/a/b", true),
            ("GET", "/app/img/logo1.png", false),
            ("GET", "/app/secret/app/img/logo.png", false),
            ("GET", "/app/secret?/app/img/logo.png", false),
        ]);
        site.stop();
    }

    fn an_expression_that_cannot_be_linear_is_named_with_its_line(kind: Kind) {
        let mut site = begin(kind, &[
            ("com.forgerock.agents.notenforced.url.regex.enable", "true"),
            (&format!("{URL}[0]"), "/app/(?!closed).*"),
        ]).prepare();
        for text in ["PCL0600", "agent.conf", "configuration file"] {
            site.server.expect(text);
        }
        let (passes, said) = site.server.check();
        assert!(!passes, "{said}");
        let line = said.lines().find(|line| line.contains("look-around")).unwrap_or_default();
        assert!(line.contains("agent.conf line ") && line.contains(URL), "{said}");
        assert!(line.contains("; write it without"), "{line}");
        site.stop();
    }

    fn exempt_addresses_need_no_session(kind: Kind) {
        let site = begin(kind, &[
            (IP_HEADER, "X-Forwarded-For"),
            ("portcullis.trusted.proxies", "127.0.0.0/8"),
            (&format!("{IP}[0]"), "192.0.2.0/25 2001:db8::/32 198.51.100.1-198.51.100.9"),
            (&format!("{IP}[GET,1]"), "203.0.113.*"),
        ]).start();
        for (method, client, expected) in [
            ("GET", "192.0.2.1", true),
            ("GET", "192.0.2.200", false),
            ("GET", "2001:db8::7", true),
            ("GET", "2001:db9::7", false),
            ("GET", "198.51.100.9", true),
            ("GET", "203.0.113.77", true),
            ("POST", "203.0.113.77", false),
            ("GET", "192.0.2.1, 203.0.114.1", false),
        ] {
            let request = Request::new(method, "/app/a").header("X-Forwarded-For", client);
            assert_eq!(open(&site.send(&request)), expected, "{method} {client}");
        }
        assert!(!open(&site.get("/app/a")), "no address is known");
        site.stop();
    }

    /// Rule U2.
    fn a_header_that_nobody_vouches_for_exempts_no_address(kind: Kind) {
        let mut site = begin(kind, &[
            (IP_HEADER, "X-Forwarded-For"),
            (&format!("{IP}[0]"), "127.0.0.0/8 192.0.2.0/24"),
        ]).prepare();
        let (passes, said) = site.server.check();
        assert!(passes && said.contains("portcullis.trusted.proxies"), "{said}");
        site.server.start();
        let request = Request::get("/app/a").header("X-Forwarded-For", "192.0.2.1");
        assert!(!open(&site.send(&request)));
        assert!(!open(&site.get("/app/a")));
        site.stop();
    }

    fn addresses_and_urls_are_exempt_together(kind: Kind) {
        let site = begin(kind, &[(&format!("{IP_URL}[0]"), "10.0.0.0/8 127.0.0.1|/app/in/* */free/*")])
            .property(&format!("{IP_URL}[1]"), "10.0.0.0/8|/app/out/*")
            .start();
        check(&site, &[
            ("GET", "/app/in/a", true),
            ("GET", "/app/x/free/a", true),
            ("GET", "/app/out/a", false),
            ("GET", "/app/a", false),
        ]);
        site.stop();
    }

    fn regular_expressions_exempt_addresses(kind: Kind) {
        let site = begin(kind, &[
            ("org.forgerock.agents.config.notenforced.ext.regex.enable", "true"),
            (&format!("{IP}[GET,0]"), r"127\.0\.0\.(2|3)"),
            (&format!("{IP_URL}[0]"), r"127\.0\.(0|1)\.\d|/app/in/[a-z]"),
        ]).start();
        check(&site, &[
            ("GET", "/app/in/a", true),
            ("GET", "/app/in/ab", false),
            ("GET", "/app/a", false),
        ]);
        site.stop();
    }

    /// Rule S4.
    fn attributes_on_exempt_pages_ask_nobody(kind: Kind) {
        let site = begin(kind, &[
            (&format!("{URL}[0]"), "/app/open/*"),
            (&format!("{URL}.attributes.enable"), "true"),
        ]).start();
        let mut visitor = site.visitor();
        assert_eq!(visitor.log_in("/docs/a.html").status, 200);
        let calls = || site.am.simulator().calls().len();
        let before = calls();
        let page = seen(&visitor.get("/app/open/a"));
        assert_eq!(page.all("X-User"), ["demo1"]);
        assert_eq!(page.all("X-Mail"), ["demo@example.com"]);
        // Nobody, a stranger's cookie, and AM's own cookie, of which nothing is known yet.
        assert!(seen(&site.get("/app/open/a")).all("X-User").is_empty());
        visitor.cookies.insert("am-auth-jwt".into(), "forged".into());
        assert!(seen(&visitor.get("/app/open/a")).all("X-User").is_empty());
        assert_eq!(calls(), before, "{:?}", site.am.simulator().calls());
        site.stop();
    }

    fn own_rules_have_conditions_and_not(kind: Kind) {
        let site = begin(kind, &[
            ("portcullis.notenforced.rule[0]", "url=/app/shop/* NOT url=/app/shop/admin/*"),
            ("portcullis.notenforced.rule[GET,1]", "url=/app/beta/* cookie.beta=yes header.X-Probe=a*"),
        ]).start();
        check(&site, &[
            ("GET", "/app/shop/a", true),
            ("GET", "/app/shop/admin/a?b", false),
            ("GET", "/app/beta/a", false),
        ]);
        let both = |method: &str| Request::new(method, "/app/beta/a").header("Cookie", "beta=yes");
        assert!(open(&site.send(&both("GET").header("X-Probe", "abc"))));
        assert!(!open(&site.send(&both("GET").header("X-Probe", "bc"))));
        assert!(!open(&site.send(&both("POST").header("X-Probe", "abc"))));
        site.stop();
    }

    fn deny_rules_come_before_everything_that_lets_in(kind: Kind) {
        let site = begin(kind, &[
            ("portcullis.deny.rule[0]", "url=/app/admin/* NOT ip=10.0.0.0/8"),
            ("portcullis.deny.rule[1]", "url=/docs/* header.X-Forbidden=*"),
            (&format!("{URL}[0]"), "/app/*"),
        ]).start();
        check(&site, &[("GET", "/app/a", true), ("GET", "/app/admin/a", false)]);
        let mut visitor = site.visitor();
        assert_eq!(visitor.log_in("/docs/a.html").status, 200);
        let refused = visitor.send(Request::get("/docs/a.html").header("X-Forbidden", "1"));
        assert_eq!(refused.status, 403);
        assert!(!refused.text().contains("protected page"), "{refused:?}");
        assert_eq!(visitor.get("/docs/a.html").status, 200);
        site.stop();
    }
}

//! Some requests log in elsewhere than the others: by their URL, by a header, by a parameter.

// Scenarios are functions of their own: Clippy does not take them for tests.
#![allow(clippy::expect_used, clippy::panic)]

use portcullis_openam::http::fields;
use portcullis_tests::{
    backend::Seen,
    both_servers,
    client::Request,
    outcome::logs_in,
    real,
    site::{AmServer, Builder, Site, USER, USER_PASSWORD, site},
    visitor::{Visitor, path_of},
};

const BY_TEXT: &str = "com.forgerock.agents.conditional.login.url";
const PATTERN: &str = "org.forgerock.agents.config.conditional.login.pattern";
const BY_PATTERN: &str = "org.forgerock.agents.config.conditional.login.url";

/// AM's field for what it has no field for.
const CUSTOM: &str = "com.sun.identity.agents.config.freeformproperties";

/// A site with rules; `am` is AM's URL, which a profile has to name.
fn ruled(builder: Builder, am: &str) -> Builder {
    let staff = format!("{am}/oauth2/realms/root/authorize?service=ldapService");
    let lines = [
        format!("{BY_TEXT}[0]=/app/staff|{staff}"),
        format!("{BY_TEXT}[1]=/app/guests|https://guests.test.example.org/UI/Login?realm=/guests"),
        format!("{BY_TEXT}[2]=/app/plain|"),
        format!("{PATTERN}[0]=/app/t[0-9]+/"),
        format!("{PATTERN}[1]=/app/"),
        format!("{BY_PATTERN}[0]=https://tenants.test.example.org/am"),
        format!("{BY_PATTERN}[1]=https://other.test.example.org/am/oauth2/authorize?realm=/other"),
    ];
    builder.profile(CUSTOM, &lines.each_ref().map(String::as_str))
}

fn location(site: &Site, request: &Request) -> String {
    let answer = site.send(request);
    assert_eq!(answer.status, 302, "{answer:?}");
    answer.location().to_owned()
}

/// Logs in where the rule for `/app/staff` says.
fn staff_logs_in(visitor: &mut Visitor<'_>, am: &str) {
    let redirect = visitor.get("/app/staff/page");
    let way = format!("{am}/oauth2/realms/root/authorize?service=ldapService&client_id=");
    assert!(redirect.location().starts_with(&way), "{redirect:?}");
    assert!(!redirect.location().contains("&realm="), "{redirect:?}");
    let form = visitor.form(&redirect);
    assert_eq!(visitor.post(&form).status, 302);
    assert_eq!(visitor.get("/app/staff/page").status, 200);
}

both_servers! {
    fn requests_log_in_where_their_url_says(kind: Kind) {
        let am = AmServer::simulated();
        let url = am.url();
        let site = ruled(site(kind), &url).am(am).start();
        staff_logs_in(&mut site.visitor(), &url);
        for (target, start) in [
            ("/app/guests/", "https://guests.test.example.org/UI/Login?realm=/guests&goto=https%3A%2F%2Fguests.test.\
              example.org%2Foauth2%2Fauthorize%3Fclient_id%3D"),
            ("/app/t12/x", "https://tenants.test.example.org/am/oauth2/authorize?client_id="),
            ("/app/t/x", "https://other.test.example.org/am/oauth2/authorize?realm=/other&client_id="),
            ("/app/plain", &format!("{url}/oauth2/authorize?client_id=")),
            ("/docs/a.html", &format!("{url}/oauth2/authorize?client_id=")),
        ] {
            let to = location(&site, &Request::get(target));
            assert!(to.starts_with(start), "{target}: {to}");
        }
        site.stop();
    }

    fn requests_log_in_where_a_header_or_a_parameter_says(kind: Kind) {
        let am = AmServer::simulated();
        let own = format!("{}/oauth2/authorize?client_id=", am.url());
        let site = ruled(site(kind), &am.url())
            .am(am)
            .property("portcullis.login.header[X-Tenant:acme]", "https://acme.test.example.org/am")
            .property("portcullis.login.parameter[tenant:acme]", "https://parameter.test.example.org/am")
            .start();
        let to = |target: &str, tenant: &str| location(&site, &Request::get(target).header("X-Tenant", tenant));
        for (target, tenant, start) in [
            ("/docs/a.html", "acme", "https://acme.test.example.org/am/oauth2/authorize?"),
            ("/docs/a.html", "acme2", &*own),
            ("/docs/a.html?x=1&tenant=acme", "", "https://parameter.test.example.org/am/oauth2/authorize?"),
            ("/docs/a.html?tenant=acme", "acme", "https://acme.test.example.org/am/oauth2/authorize?"),
            // Before what the URL says.
            ("/app/guests/", "acme", "https://acme.test.example.org/am/oauth2/authorize?"),
            ("/docs/a.html?xtenant=acme", "", &*own),
        ] {
            let to = to(target, tenant);
            assert!(to.starts_with(start), "{target} {tenant}: {to}");
        }
        site.stop();
    }

    fn login_pages_of_ones_own_may_differ_too(kind: Kind) {
        let site = site(kind)
            .profile(MODE, &["2"])
            .profile("com.forgerock.agents.accept.sso.token", &["1"])
            .profile(PAGE, &["[0]=https://login.test.example.org/in"])
            .property(
                "portcullis.login.header[X-Guest]",
                "https://guests.test.example.org/UI/Login?realm=/guests",
            )
            .start();
        for (header, start) in [
            ("X-Nobody", "https://login.test.example.org/in?goto=http%3A%2F%2F"),
            ("X-Guest", "https://guests.test.example.org/UI/Login?realm=/guests&goto=http%3A%2F%2F"),
        ] {
            let to = location(&site, &Request::get("/docs/a.html").header(header, "yes"));
            assert!(to.starts_with(start), "{header}: {to}");
        }
        site.stop();
    }
}

const MODE: &str = "org.forgerock.openam.agents.config.allow.custom.login";
const PAGE: &str = "com.sun.identity.agents.config.login.url";

/// The parameter of an address.
fn parameter(address: &str, name: &str) -> String {
    let query = address.split_once('?').expect("a query").1;
    let found = fields(query).into_iter().find(|(n, _)| n == name);
    found.unwrap_or_else(|| panic!("no {name}: {address}")).1
}

/// Logs in by a login page at `page`, with AM's cookie in the site's own domain or without it.
fn own_page(site: &Site, page: &str, shared: bool) {
    const COOKIE: &str = "iPlanetDirectoryPro";
    let mut visitor = site.visitor();
    let redirect = visitor.get("/app/page?x=1");
    let to = redirect.location();
    assert!(to.starts_with(&format!("{page}goto=")), "{redirect:?}");
    let wanted = format!("{}/app/page?x=1", site.url());
    assert_eq!(parameter(to, "original_request_url"), wanted);
    let goto = parameter(to, "goto");
    let endpoint = format!("{}/agent/custom-login-response?state=", site.url());
    assert!(goto.starts_with(&endpoint), "{goto}");
    let goto = path_of(&goto);
    let kept = visitor.cookie_header();
    if shared {
        let token = visitor.am_token();
        visitor.cookies.insert(COOKIE.into(), token);
    }
    let mut back = visitor.get(&goto);
    let mut target = wanted;
    if !shared {
        let form = visitor.form(&back);
        back = visitor.post(&form);
        target.push('#'); // that of AM's form ends here
    }
    assert_eq!(
        (back.status, back.location()),
        (302, target.as_str()),
        "{back:?}"
    );
    let token = visitor.cookies.remove(COOKIE);
    let page = visitor.get("/app/page?x=1");
    assert_eq!(page.status, 200, "{page:?}");
    let seen = Seen::of(&page).expect("the application's answer");
    assert_eq!(seen.header("X-User").as_deref(), Some("demo1"));
    // The answer works once, and for nobody else.
    if let Some(token) = token {
        let again = Request::get(&goto).header("Cookie", &format!("{kept}; {COOKIE}={token}"));
        assert_eq!(site.send(&again).status, 403);
        site.wait_for_line("PCL0216");
        let other = Request::get(&goto).header("Cookie", &format!("{COOKIE}={token}"));
        assert_eq!(site.send(&other).status, 403);
        site.wait_for_line("PCL0214");
    }
}

both_servers! {
    fn ams_cookie_counts_where_told_and_after_the_agents_own(kind: Kind) {
        const COOKIE: &str = "iPlanetDirectoryPro";
        for accepted in ["0", "1"] {
            let site = site(kind).profile("com.forgerock.agents.accept.sso.token", &[accepted]).start();
            let mut visitor = site.visitor();
            assert_eq!(visitor.log_in("/app/page").status, 200);
            let token = visitor.am_token();
            let am = site.am.client();
            am.logout(&token, &token).expect("logout at AM");
            let other = am.login("/", USER, USER_PASSWORD).expect("another session");
            let own = visitor.cookie_header();
            let both = format!("{own}; {COOKIE}={other}");
            let get = |target: &str, cookies: &str| site.send(&Request::get(target).header("Cookie", cookies));
            // The agent learns here that the session of its own cookie is over.
            assert_eq!(get("/app/other", &both).status, 302);
            let expected = if accepted == "1" { 200 } else { 302 };
            let page = get("/app/page", &both);
            assert_eq!(page.status, expected, "{page:?}");
            // It stays AM's cookie: none of the agent's is made of it.
            assert!(!logs_in(&page), "{page:?}");
            assert_eq!(get("/app/page", &format!("{COOKIE}={other}")).status, expected);
            assert_eq!(get("/app/page", &own).status, 302);
            am.logout(&other, &other).expect("logout at AM");
            let over = get("/app/further", &both);
            assert_eq!(over.status, 302, "both are over: {over:?}");
            site.stop();
        }
    }

    fn a_login_page_of_ones_own_leads_back(kind: Kind) {
        let page = "https://login.test.example.org/in?";
        let mut site = site(kind)
            .profile(MODE, &["1"])
            .profile(PAGE, &[&format!("[0]={}", page.trim_end_matches('?'))])
            .start();
        site.server.expect("PCL0214");
        site.server.expect("PCL0216");
        own_page(&site, page, true);
        own_page(&site, page, false);
        site.stop();
    }
}

#[test]
fn rules_about_logins_work_with_a_real_openam() {
    real::on_both("login rules with a real OpenAM", |kind, am| {
        let url = am().url();
        let staff = ruled(site(kind), &url).am(am()).start();
        staff_logs_in(&mut staff.visitor(), &url);
        staff.stop();
        let page = format!("{url}/UI/Login?realm=/");
        let builder = site(kind).am(am()).profile(MODE, &["1"]);
        let mut site = builder.profile(PAGE, &[&format!("[0]={page}")]).start();
        site.server.expect("PCL0214");
        site.server.expect("PCL0216");
        own_page(&site, &format!("{page}&"), true);
        own_page(&site, &format!("{page}&"), false);
        site.stop();
    });
}

//! Does the agent do with a real OpenAM what the other tests show with the simulator?
//!
//! One tour on each server, without a browser. `PORTCULLIS_OPENAM` names a running OpenAM (`openam up
//! --state FILE`); else one is started, of the release that `PORTCULLIS_OPENAM_RELEASE` names.

#![allow(clippy::expect_used, reason = "tests may panic, their helpers too")]

use portcullis_openam::{OpenAm, seed::Am};
use portcullis_tests::{
    backend::Seen,
    client::Request,
    outage::Crowd,
    outcome::{clears_session, in_every_worker},
    real,
    server::Kind,
    site::{AmServer, Site, site},
    visitor::Visitor,
    wait_until,
};
use serde_json::json;

/// Stands in every forged value.
const MARK: &str = "forged";

#[test]
fn both_servers_work_with_a_real_openam() {
    let Some(openam) = real::openam("the tour with a real OpenAM") else {
        return;
    };
    for kind in [Kind::Httpd, Kind::Nginx] {
        tour(kind, &openam);
    }
    openam.stop();
}

fn tour(kind: Kind, openam: &OpenAm) {
    let am = Am::at(openam.url()).expect("URL of AM");
    // The harness's nginx has such a line.
    let remote_user = "RequestHeader set Remote-User \"expr=%{REMOTE_USER}\"\n";
    let site = site(kind)
        .am(AmServer::Real(am))
        .host(remote_user, "")
        .listens()
        .start();
    site.wait_for_line("PCL0640");
    nobody_is_sent_to_am(&site);
    let mut visitor = site.visitor();
    the_application_sees_the_user(&mut visitor);
    forged_headers_reach_nobody(&mut visitor);
    what_no_policy_allows_is_refused(&mut visitor);
    logout_ends_the_session_everywhere(&mut visitor);
    a_changed_policy_counts_in_every_worker(&site);
    a_logout_at_am_counts_in_every_worker(&site);
    site.stop();
}

fn nobody_is_sent_to_am(site: &Site) {
    let redirect = site.get("/app/page?x=1");
    assert_eq!(redirect.status, 302, "{redirect:?}");
    let authorize = format!("{}/oauth2/authorize?", site.am.url());
    assert!(redirect.location().starts_with(&authorize), "{redirect:?}");
    assert_eq!(redirect.header("cache-control"), Some("no-store"));
    let open = site.get("/public/a.html");
    assert_eq!(open.status, 200, "{open:?}");
    assert!(open.text().contains("public page"));
}

fn the_application_sees_the_user(visitor: &mut Visitor<'_>) {
    let page = visitor.log_in("/app/page?x=1");
    assert_eq!(page.status, 200, "{page:?}");
    let seen = Seen::of(&page).expect("the application's answer");
    assert_eq!(seen.get("target"), "/app/page?x=1");
    for (name, value) in [
        ("X-User", "demo1"),
        ("X-Mail", "demo@example.com"),
        ("X-Dept", "sales"),
        ("X-Policy-Mail", "demo@example.com"),
    ] {
        assert_eq!(seen.all(name), [value], "{name}");
    }
    assert!(seen.all("Cookie").is_empty(), "our cookies stay here");
}

fn forged_headers_reach_nobody(visitor: &mut Visitor<'_>) {
    let names = [
        "Remote_User",
        "REMOTE-USER",
        "X-User",
        "x_user",
        "X-Mail",
        "X-Dept",
        "X-Policy-Mail",
    ];
    let forged = |target: &str| {
        names
            .iter()
            .fold(Request::get(target), |r, name| r.header(name, MARK))
            // forged:x
            .header("Authorization", "Basic Zm9yZ2VkOng=")
    };
    let page = visitor.send(forged("/app/page"));
    assert_eq!(page.status, 200, "{page:?}");
    assert!(!page.text().contains(MARK), "{}", page.text());
    let seen = Seen::of(&page).expect("the application's answer");
    assert_eq!(seen.all("X-User"), ["demo1"]);
    // Not the name from the credentials, which nobody checked.
    assert_eq!(seen.all("Remote-User"), ["demo1"], "{}", page.text());
    let alone = visitor.site().send(&forged("/app/page"));
    assert_eq!(alone.status, 302, "{alone:?}");
}

fn what_no_policy_allows_is_refused(visitor: &mut Visitor<'_>) {
    let post = Request::new("POST", "/docs/a.html").body("text/plain", "x");
    for request in [Request::get("/secret/a.html"), post] {
        let denied = visitor.send(request);
        assert_eq!(denied.status, 403, "{denied:?}");
        assert!(denied.text().contains("If you ask for help"));
    }
    visitor.site().wait_for_line("PCL0300");
}

fn logout_ends_the_session_everywhere(visitor: &mut Visitor<'_>) {
    let site = visitor.site();
    let am = site.am.client();
    let token = visitor.am_token();
    assert!(real::alive(&am, &token));
    let cookies: Vec<String> = visitor
        .cookies
        .iter()
        .map(|(name, value)| format!("{name}={value}"))
        .collect();
    let kept = Request::get("/docs/a.html").header("Cookie", &cookies.join("; "));
    assert_eq!(site.send(&kept).status, 200);
    let page = visitor.get("/logout/done.html");
    assert_eq!(page.status, 200, "{page:?}");
    assert!(page.text().contains("you are logged out"));
    assert!(clears_session(&page), "{page:?}");
    assert!(!real::alive(&am, &token));
    for answer in in_every_worker(site, "PCL0201", &kept) {
        assert_eq!(answer.status, 302, "{answer:?}");
        assert!(answer.location().contains("/oauth2/authorize?"));
    }
}

/// Allows or forbids GET below `/docs`, by a policy of the same name and resources as before.
fn allow(site: &Site, get: bool) {
    let patterns = [format!("{}/docs/*", site.url())];
    let patterns: Vec<&str> = patterns.iter().map(String::as_str).collect();
    let members = json!({ "actionValues": { "GET": get } });
    let name = format!("docs-{}", site.agent);
    let admin = site.am.admin();
    admin
        .replace_policy("/", &name, &patterns, &members)
        .expect("policy");
}

/// Logs in; a request for a page that every worker has let in.
fn let_in_everywhere(visitor: &mut Visitor<'_>) -> Request {
    assert_eq!(visitor.log_in("/docs/a.html").status, 200);
    let page = Request::get("/docs/a.html").header("Cookie", &visitor.cookie_header());
    for _ in 0..3 {
        for answer in Crowd::send(visitor.site(), vec![page.clone(); 40]).rest() {
            assert_eq!(answer.status, 200, "{answer:?}");
        }
    }
    page
}

fn a_changed_policy_counts_in_every_worker(site: &Site) {
    let mut visitor = site.visitor();
    let page = let_in_everywhere(&mut visitor);
    allow(site, false);
    wait_until("the changed policy", || site.send(&page).status == 403);
    for answer in in_every_worker(site, "PCL0300", &page) {
        assert_eq!(answer.status, 403, "{answer:?}");
    }
    allow(site, true);
    wait_until("the policy of before", || site.send(&page).status == 200);
}

fn a_logout_at_am_counts_in_every_worker(site: &Site) {
    let mut visitor = site.visitor();
    let page = let_in_everywhere(&mut visitor);
    let token = visitor.am_token();
    site.am.client().logout(&token, &token).expect("logout");
    wait_until("the end of the session", || site.send(&page).status == 302);
    for answer in in_every_worker(site, "PCL0201", &page) {
        assert_eq!(answer.status, 302, "{answer:?}");
    }
}

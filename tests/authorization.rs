//! httpd's own rules beside AM's policy: `AmAuthProvider`, `Require AmAuth` and `AmAuthErrorDocument`.
//! nginx has no such rules.

// Scenarios are functions of their own: Clippy does not take them for tests.
#![allow(clippy::expect_used, clippy::panic)]

use std::fs;

use am_simulator::{Damage, Fault};
use portcullis_tests::{
    backend::Seen,
    client::Request,
    server::Kind,
    site::{Site, USER, site},
    visitor::Visitor,
};

/// AM resets every connection about policies.
fn without_policies(site: &mut Site) {
    site.server.expect("PCL05");
    let fault = Fault::on("/json/policies", Damage::Reset);
    site.am.simulator().add_fault(fault);
}

/// What httpd says when its rules refuse.
const DENIED_BY_HTTPD: &str = "AH01630";

fn with(lines: &str) -> Site {
    let mut site = site(Kind::Httpd).host(lines, "").start();
    site.server.expect(DENIED_BY_HTTPD);
    site
}

fn logged_in(site: &Site) -> Visitor<'_> {
    let mut visitor = site.visitor();
    assert_eq!(visitor.log_in("/docs/a.html").status, 200);
    visitor
}

#[test]
fn require_amauth_carries_ams_answer() {
    let site = with(
        "AmAuthProvider On\n<Location />\nRequire AmAuth\n</Location>\n<Location /public>\nAmAuthProvider Off\n\
         Require all granted\n</Location>\n",
    );
    assert_eq!(site.get("/docs/a.html").status, 302);
    let mut visitor = logged_in(&site);
    assert_eq!(visitor.get("/docs/b.html").status, 200);
    let denied = visitor.get("/secret/a.html");
    assert_eq!(denied.status, 403, "{denied:?}");
    assert!(!denied.text().contains("page without policy"), "{denied:?}");
    assert_eq!(site.get("/public/a.html").status, 200);
    site.wait_for_line("PCL0104");
    site.stop();
}

#[test]
fn require_amauth_has_no_say_on_pages_that_are_not_enforced() {
    let site = with(
        "<Location /public>\nRequire AmAuth\n</Location>\n<Location /public/more>\n<RequireAll>\n\
         Require AmAuth\nRequire all granted\n</RequireAll>\n</Location>\n",
    );
    let file = site.server.dir().join("docs/public/more/a.html");
    fs::create_dir_all(file.parent().expect("folder")).expect("folder");
    fs::write(file, "open").expect("page");
    assert_eq!(site.get("/public/a.html").status, 403, "nothing grants it");
    assert_eq!(site.get("/public/more/a.html").status, 200);
    site.stop();
}

#[test]
fn without_require_amauth_the_servers_own_rules_decide() {
    let site = with(&format!(
        "AmAuthProvider On\n<Location /app>\nRequire user {USER}\n</Location>\n\
         <Location /app/other>\nRequire user nobody-of-this-name\n</Location>\n\
         <Location /secret/either>\n<RequireAny>\nRequire AmAuth\nRequire ip 192.0.2.0/24\n</RequireAny>\n</Location>\n"
    ));
    // A login is needed in any case.
    for page in ["/secret/a.html", "/app/page", "/app/other"] {
        assert_eq!(site.get(page).status, 302, "{page}");
    }
    let mut visitor = logged_in(&site);
    let own = visitor.get("/secret/a.html");
    assert!(own.text().contains("page without policy"), "{own:?}");
    // AM's policy refuses POST: the application sees who it is, and nothing of an answer.
    let app = visitor.send(Request::new("POST", "/app/page").body("text/plain", "x"));
    let seen = Seen::of(&app).unwrap_or_else(|| panic!("{app:?}"));
    assert_eq!(seen.all("X-User"), [USER]);
    assert!(seen.all("X-Dept").iter().all(String::is_empty));
    assert_eq!(visitor.get("/app/other").status, 403);
    assert_eq!(visitor.get("/secret/either").status, 403);
    site.stop();
}

#[test]
fn require_amauth_refuses_where_the_agent_did_not_decide() {
    let mut site = with(
        "<Location /docs>\nRequire AmAuth\n</Location>\n\
         <Location /secret>\nAmAgent Off\nAmAuthProvider On\nRequire AmAuth\n</Location>\n",
    );
    assert_eq!(site.get("/secret/a.html").status, 403);
    let mut visitor = logged_in(&site);
    assert_eq!(visitor.get("/secret/a.html").status, 403);
    let cookies = visitor.cookies.clone();
    without_policies(&mut site);
    let mut visitor = site.visitor();
    visitor.cookies = cookies;
    assert_eq!(visitor.get("/docs/b.html").status, 503);
    site.stop();
}

#[test]
fn a_refusal_is_left_to_the_server_only_in_its_place() {
    // The refused page is included where httpd's rules decide; the page itself is elsewhere.
    let mut site = site(Kind::Httpd)
        .host(
            "<Location /docs>\nAmAuthProvider On\n</Location>\n\
             <Directory \"@DIR@/docs/docs\">\nOptions +Indexes\nDirectoryIndex none.html /secret/a.html\n</Directory>\n",
            "",
        )
        .prepare();
    site.server.start();
    let mut visitor = logged_in(&site);
    let index = visitor.get("/docs/");
    assert!(!index.text().contains("page without policy"), "{index:?}");
    assert_eq!(visitor.get("/secret/a.html").status, 403);
    site.stop();
}

#[test]
fn without_am_nothing_is_left_to_the_server() {
    let mut site = with("AmAuthProvider On\n");
    let cookies = logged_in(&site).cookies;
    without_policies(&mut site);
    let mut visitor = site.visitor();
    visitor.cookies = cookies;
    assert_eq!(visitor.get("/secret/a.html").status, 503);
    site.stop();
}

#[test]
fn pages_about_refusals_are_decided_too_where_told() {
    for on in ["Off", "On"] {
        let site = with(&format!(
            "ErrorDocument 403 /app/denied\nAmAuthErrorDocument {on}\n"
        ));
        let mut visitor = logged_in(&site);
        let denied = visitor.get("/secret/a.html");
        let seen = Seen::of(&denied).unwrap_or_else(|| panic!("{denied:?}"));
        // On: decided like any page, so it comes with the user's identity. Off: without.
        let users = seen.all("X-User");
        assert_eq!(users == [USER], on == "On", "{on}: {users:?}");
        site.stop();
    }
}

#[test]
fn the_directives_are_for_the_servers_administrator() {
    for line in [
        "AmAuthProvider On",
        "AmAuthErrorDocument Off",
        "AmBypassPreflightChecks On",
    ] {
        let mut site = site(Kind::Httpd)
            .host("AmBypassPreflightChecks On\n", "")
            .prepare();
        fs::write(site.server.dir().join("docs/docs/.htaccess"), line).expect("file");
        site.server.start();
        site.server.expect("not allowed here");
        assert_eq!(site.get("/docs/a.html").status, 500, "{line}");
        site.stop();
    }
}

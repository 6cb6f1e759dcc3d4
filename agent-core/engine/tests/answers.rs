//! In which form an answer goes out: redirect, page, JSON or 401, and for whom.
#![allow(clippy::expect_used, clippy::panic, reason = "helpers of tests")]

mod support;

use std::net::IpAddr;

use portcullis_engine::{
    config::Snapshot,
    contract::{Header, Outcome, Response, Step},
    decide,
    event::Code,
};
use serde_json::Value;
use support::{AGENT, NOW, Nothing};

const JSON: &str = "org.forgerock.agents.config.json";
const PAGE: &str = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8";

fn snapshot(lines: &str) -> Snapshot {
    support::snapshot(&format!("portcullis.deny.rule[0] = url=*/never/*\n{lines}"))
}

/// The answer to a request without a session.
fn answer(
    snap: &Snapshot,
    method: &str,
    target: &str,
    headers: &[(&str, &str)],
) -> (Code, Response) {
    let headers: Vec<Header<'_>> = headers
        .iter()
        .map(|(name, value)| Header {
            name: name.as_bytes(),
            value: value.as_bytes(),
        })
        .collect();
    let view = support::view(method, target, IpAddr::from([192, 0, 2, 7]), &headers);
    match decide(&view, snap, &Nothing, NOW) {
        Step::Done(decision) => match decision.outcome {
            Outcome::Respond(response) => (decision.reason, response),
            Outcome::Allow(_) | Outcome::Replay => panic!("allowed"),
        },
        Step::Need(_) => panic!("not decided"),
    }
}

fn header<'r>(response: &'r Response, name: &str) -> Option<&'r str> {
    let found = response.headers.iter().find(|h| h.0 == name)?;
    Some(std::str::from_utf8(&found.1).expect("text"))
}

fn body(response: &Response) -> Value {
    serde_json::from_slice(&response.body).expect("JSON")
}

#[test]
fn what_no_person_sees_is_not_sent_to_log_in() {
    let snap = snapshot("");
    let programs: &[(&str, &[(&str, &str)])] = &[
        ("GET", &[("Accept", "application/json")]),
        ("GET", &[("accept", "image/avif, image/webp")]),
        ("GET", &[("Accept", "application/json, text/html;q=0")]),
        ("GET", &[("Accept", "application/json, text/html; q=0.0")]),
        (
            "GET",
            &[("X-Requested-With", "xmlhttprequest"), ("Accept", PAGE)],
        ),
        ("GET", &[("Sec-Fetch-Mode", "cors"), ("Accept", "*/*")]),
        ("GET", &[("Sec-Fetch-Mode", "no-cors"), ("Accept", PAGE)]),
        ("GET", &[("Sec-Fetch-Mode", "same-origin")]),
        (
            "POST",
            &[
                ("Sec-Fetch-Mode", "cors"),
                ("Content-Type", "application/json"),
            ],
        ),
        ("GET", &[("Sec-Fetch-Mode", "websocket")]),
        (
            "GET",
            &[("Upgrade", "WebSocket"), ("Connection", "Upgrade")],
        ),
        (
            "OPTIONS",
            &[
                ("Origin", "http://x.example"),
                ("Access-Control-Request-Method", "PUT"),
            ],
        ),
    ];
    for (method, headers) in programs {
        let (code, response) = answer(&snap, method, "/a", headers);
        assert_eq!(
            (code, response.status),
            (Code::LoginUnseen, 401),
            "{headers:?}"
        );
        assert_eq!(header(&response, "Location"), None, "{headers:?}");
        assert_eq!(header(&response, "Set-Cookie"), None, "{headers:?}");
        assert!(header(&response, "WWW-Authenticate").is_some());
        assert_eq!(header(&response, "Cache-Control"), Some("no-store"));
    }
    let people: &[(&str, &[(&str, &str)])] = &[
        ("GET", &[]),
        ("GET", &[("Accept", PAGE)]),
        ("GET", &[("Accept", "")]),
        ("GET", &[("Accept", "*/*")]),
        ("GET", &[("Accept", "application/json, TEXT/HTML;q=0.1")]),
        (
            "POST",
            &[("Accept", PAGE), ("Content-Type", "application/json")],
        ),
        (
            "GET",
            &[("Accept", PAGE), ("X-Requested-With", "com.example.app")],
        ),
        (
            "GET",
            &[
                ("Accept", "application/json"),
                ("Sec-Fetch-Mode", "navigate"),
            ],
        ),
        (
            "GET",
            &[("Sec-Fetch-Mode", "navigate"), ("Sec-Fetch-Dest", "iframe")],
        ),
        ("GET", &[("Upgrade", "h2c")]),
        ("OPTIONS", &[("Accept", PAGE)]),
    ];
    for (method, headers) in people {
        let (code, response) = answer(&snap, method, "/a", headers);
        assert_eq!(
            (code, response.status),
            (Code::LoginNoToken, 302),
            "{headers:?}"
        );
    }
}

#[test]
fn detection_can_be_switched_off() {
    let snap = snapshot("portcullis.unauthorized.detect = false\n");
    let script = [("Sec-Fetch-Mode", "cors"), ("Accept", "application/json")];
    assert_eq!(answer(&snap, "GET", "/a", &script).1.status, 302);
}

#[test]
fn a_dead_cookie_is_cleared_with_the_401_too() {
    let snap = snapshot("");
    let headers = [("Sec-Fetch-Mode", "cors"), ("Cookie", "am-auth-jwt=x")];
    let (_, response) = answer(&snap, "GET", "/a", &headers);
    let cleared = header(&response, "Set-Cookie").expect("cookie");
    assert!(response.status == 401 && cleared.starts_with("am-auth-jwt=;"));
}

#[test]
fn urls_and_headers_get_401_where_they_are_listed() {
    let snap = snapshot(
        "portcullis.unauthorized.detect = false\nportcullis.unauthorized.url[0] = */api/*\n\
         portcullis.unauthorized.header[X-Client] = sync\n",
    );
    for (target, headers) in [
        ("/api/x", &[("Accept", PAGE)] as &[_]),
        ("/a", &[("x-client", " SYNC ")]),
        ("/api/x", &[("Sec-Fetch-Mode", "navigate")]),
    ] {
        let (code, response) = answer(&snap, "GET", target, headers);
        assert_eq!(
            (code, response.status),
            (Code::LoginUnseen, 401),
            "{target}"
        );
    }
    for (target, headers) in [("/ap", &[] as &[_]), ("/a", &[("X-Client", "syncs")])] {
        assert_eq!(
            answer(&snap, "GET", target, headers).1.status,
            302,
            "{target}"
        );
    }
}

#[test]
fn listed_programs_get_the_address_of_a_login_in_json() {
    let lines =
        format!("{JSON}.url[0] = */api/*\n{JSON}.header[X-Requested-With] = XMLHttpRequest\n");
    let snap = snapshot(&lines);
    for (target, headers) in [
        ("/api/x?y=1", &[("Accept", PAGE)] as &[_]),
        ("/a", &[("X-Requested-With", "xmlhttprequest")]),
    ] {
        let (code, response) = answer(&snap, "GET", target, headers);
        assert_eq!(
            (code, response.status),
            (Code::LoginNoToken, 401),
            "{target}"
        );
        assert_eq!(header(&response, "Location"), None, "nothing to follow");
        assert_eq!(header(&response, "Content-Type"), Some("application/json"));
        let cookie = header(&response, "Set-Cookie").expect("of the login");
        assert!(cookie.starts_with("agent-authn-tx-"), "{cookie}");
        let error = &body(&response)["error"];
        assert_eq!(error["code"], 302);
        let location = error["errors"][0]["location"].as_str().expect("address");
        assert!(location.starts_with("http://am.example.com:8080/openam/oauth2/authorize?"));
        assert_eq!(error["incident"].as_str().map(str::len), Some(16));
    }
    let (code, denied) = answer(&snap, "GET", "/api/never/x", &[]);
    assert_eq!((code, denied.status), (Code::DeniedByRule, 403));
    assert_eq!(body(&denied)["error"]["code"], 403);
    assert_eq!(body(&denied)["error"]["errors"][0]["message"], "Forbidden");
    assert_eq!(answer(&snap, "GET", "/a", &[]).1.status, 302);
}

#[test]
fn the_status_of_a_redirect_is_the_configured_one() {
    let snap = snapshot(&format!(
        "{JSON}.url[0] = */api/*\n{JSON}.response.code = 202\n"
    ));
    let (_, response) = answer(&snap, "GET", "/api/x", &[]);
    assert_eq!(
        (response.status, &body(&response)["error"]["code"]),
        (202, &302.into())
    );
    assert_eq!(header(&response, "WWW-Authenticate"), None);
    // A refusal must not look like a success.
    assert_eq!(answer(&snap, "GET", "/api/never/x", &[]).1.status, 403);
    for wrong in ["199", "302", "600", "x"] {
        let (_, problems) = support::read(&format!("{JSON}.response.code = {wrong}\n"));
        assert!(!problems.is_empty(), "{wrong}");
    }
}

#[test]
fn json_for_all_but_the_listed_ones() {
    let snap = snapshot(&format!(
        "{JSON}.url[0] = */pages/*\n{JSON}.url.invert = true\n"
    ));
    assert_eq!(answer(&snap, "GET", "/pages/x", &[]).1.status, 302);
    assert_eq!(answer(&snap, "GET", "/x", &[]).1.status, 401);
    // AM's form comes from a page all the same.
    let (code, callback) = answer(&snap, "GET", "/agent/cdsso-oauth2", &[]);
    assert_eq!(code, Code::CallbackNotPost);
    assert!(header(&callback, "Content-Type").is_some_and(|t| t.starts_with("text/html")));
    // Nothing is listed: nobody gets JSON.
    let snap = snapshot(&format!("{JSON}.url.invert = true\n"));
    assert_eq!(answer(&snap, "GET", "/x", &[]).1.status, 302);
}

#[test]
fn json_is_written_as_its_template_says() {
    let template = r#"portcullis.json.template = {"to":"%TARGET%","from":"%REQUEST_URI%","url":"%REQUEST_URL%","was":%STATUS%,"rate":"5%"}"#;
    let snap = snapshot(&format!(
        "{JSON}.url[0] = */api/*\n{template}\nportcullis.json.content.type = application/vnd.x+json\n"
    ));
    // What was filled in is not looked at again.
    let (_, response) = answer(&snap, "GET", "/api/x?q=%25TARGET%25", &[]);
    assert_eq!(body(&response)["from"], "/api/x?q=%25TARGET%25");
    let (_, response) = answer(&snap, "GET", "/api/x?q=%22%5C", &[]);
    assert_eq!(
        header(&response, "Content-Type"),
        Some("application/vnd.x+json")
    );
    let json = body(&response);
    assert_eq!(json["was"], 302);
    assert_eq!(json["rate"], "5%");
    assert_eq!(
        json["url"],
        format!(
            "http://www.example.com:80{}",
            json["from"].as_str().expect("text")
        )
    );
    assert!(
        json["to"]
            .as_str()
            .expect("text")
            .contains("/oauth2/authorize?")
    );
    // In a page a value stays a value.
    let snap = snapshot(&format!(
        "{JSON}.url[0] = */api/*\nportcullis.json.template = <a href='%TARGET%'>x</a>\nportcullis.json.content.type = text/html\n"
    ));
    let (_, response) = answer(&snap, "GET", "/api/x", &[]);
    let text = String::from_utf8(response.body).expect("text");
    assert!(
        text.contains("&amp;state=") && !text.contains("&state="),
        "{text}"
    );
}

#[test]
fn who_takes_no_page_gets_refusals_in_json() {
    let snap = snapshot("");
    let (_, denied) = answer(
        &snap,
        "GET",
        "/never/x",
        &[("Accept", "application/problem+json")],
    );
    assert_eq!(
        (denied.status, &body(&denied)["error"]["code"]),
        (403, &403.into())
    );
    let (_, denied) = answer(
        &snap,
        "GET",
        "/never/x",
        &[("Accept", "application/json, */*")],
    );
    assert!(String::from_utf8_lossy(&denied.body).starts_with("<!DOCTYPE html>"));
    let (_, refused) = answer(&snap, "GET", "/a", &[("Accept", "application/json")]);
    assert_eq!(
        (refused.status, &body(&refused)["error"]["code"]),
        (401, &401.into())
    );
}

#[test]
fn a_login_page_is_told_why() {
    let lines = format!(
        "org.forgerock.openam.agents.config.allow.custom.login = 2\ncom.forgerock.agents.accept.sso.token = 1\n\
         {AGENT}login.url[0] = http://login.example.com/form\nportcullis.login.reason.parameter.name = why\n\
         portcullis.login.reason.remapper[EXCEPTION] = other words\n"
    );
    let snap = snapshot(&lines);
    let location = |headers: &[(&str, &str)]| {
        let (_, response) = answer(&snap, "GET", "/a", headers);
        header(&response, "Location").expect("login").to_owned()
    };
    assert!(location(&[]).ends_with("&why=NO_TOKEN"));
    assert!(location(&[("Cookie", "am-auth-jwt=x")]).ends_with("&why=other%20words"));
    for taken in ["goto", "REALM", "state", "a b", "a&b"] {
        let (_, problems) = support::read(&format!(
            "portcullis.login.reason.parameter.name = {taken}\n"
        ));
        assert!(!problems.is_empty(), "{taken}");
    }
    let standard = snapshot("portcullis.login.reason.parameter.name = why\n");
    let (_, response) = answer(&standard, "GET", "/a", &[]);
    assert!(
        !header(&response, "Location")
            .expect("login")
            .contains("why="),
        "AM's own page"
    );
}

/// AM's form has the token in the fragment of its address, too, and browsers hand fragments on.
#[test]
fn the_fragment_of_ams_form_ends_here() {
    let snap = snapshot("portcullis.authn.fail.url = /failed.html\n");
    let failed = |target: &str| answer(&snap, "GET", target, &[]).1;
    let location = failed("/agent/cdsso-oauth2?error=access_denied");
    assert_eq!(header(&location, "Location"), Some("/failed.html#"));
    let over = failed("/agent/cdsso-oauth2");
    let text = String::from_utf8(over.body).expect("a page");
    assert!(text.contains("<a href=\"/\">"), "no dead end: {text}");
    let elsewhere = failed("/page");
    let to_am = header(&elsewhere, "Location").expect("a redirect");
    assert!(!to_am.contains('#'), "{to_am}");
}

fn page(snap: &Snapshot, target: &str) -> (String, String) {
    let (_, response) = answer(snap, "GET", target, &[]);
    assert!(response.status >= 400, "{target}");
    let policy = header(&response, "Content-Security-Policy")
        .expect("policy")
        .to_owned();
    (String::from_utf8(response.body).expect("text"), policy)
}

#[test]
fn pages_look_as_their_operator_wishes() {
    let snap = snapshot(
        "portcullis.page.template = <h1>%TITLE%</h1><p>%TEXT%</p><i>%INCIDENT%</i> 100%\n\
         portcullis.page.template[denied] = <b>%STATUS%</b><script>alert(1)</script>\n",
    );
    let (denied, policy) = page(&snap, "/never/x");
    assert_eq!(denied, "<b>403</b><script>alert(1)</script>");
    assert!(
        policy.starts_with("default-src 'none';") && !policy.contains("script-src"),
        "{policy}"
    );
    assert!(policy.contains("style-src 'self'") && policy.contains("frame-ancestors 'self'"));
    for target in ["/agent/cdsso-oauth2", "/a%00b", "/%2e%2e%2f"] {
        let (other, _) = page(&snap, target);
        assert!(
            other.starts_with("<h1>") && other.ends_with("</i> 100%"),
            "{target}: {other}"
        );
        assert!(
            !other.contains("%TITLE%") && !other.contains("%INCIDENT%"),
            "{other}"
        );
    }
    let (_, problems) = support::read("portcullis.page.template[nonsense] = x\n");
    assert!(!problems.is_empty());
}

#[test]
fn pages_say_who_may_frame_them() {
    const CSP: &str = "com.forgerock.agents.csp.frame.ancestors";
    for (lines, expected) in [
        (String::new(), "frame-ancestors 'self'"),
        (
            format!("{CSP}.none = 1\n{CSP}.sources = https:\n"),
            "frame-ancestors 'none'",
        ),
        (
            format!("{CSP}.sources = 'self' https://*.example.com:*\n{CSP}.none = 1\n"),
            "frame-ancestors 'none'",
        ),
        (
            format!(
                "{CSP}.none = 0\n{CSP}.sources = 'self' http: portal.example.com https://*.example.com:8443/x\n"
            ),
            "frame-ancestors 'self' http: portal.example.com https://*.example.com:8443/x",
        ),
    ] {
        let (text, policy) = page(&snapshot(&lines), "/never/x");
        assert!(policy.ends_with(expected), "{policy}");
        assert!(policy.starts_with("default-src 'none';"), "{policy}");
        assert!(
            text.contains("<html lang=\"en\">") && text.contains("<h1>No access</h1>"),
            "{text}"
        );
        assert!(
            text.contains("color-scheme:light dark") && !text.contains("<script"),
            "{text}"
        );
    }
    for wrong in [
        "'none'",
        "ftp://x.example",
        "https://x.example:0",
        "https://x:70000",
        "x; script-src *",
        "data:",
        "a,b",
    ] {
        let (_, problems) = support::read(&format!("{CSP}.sources = {wrong}\n"));
        assert!(!problems.is_empty(), "{wrong}");
    }
}

//! What a browser meets: the agent's redirect to AM, the login page, the page that posts itself, logout; and the XML
//! session service.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "tests may panic, their helpers too"
)]

mod support;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use serde_json::{Value, json};
use support::*;

/// `{SHA-1}` and Base64 of the SHA-1 of `s3cretagent`.
const KEY: &str = "{SHA-1}2zrOcpvyIKV8dpd3VyGg+k0wS1A=";

fn authorize(change: &[(&str, &str)]) -> String {
    let mut parameters = vec![
        ("client_id", "wa1"),
        ("response_type", "id_token"),
        ("scope", "openid"),
        ("response_mode", "form_post"),
        (
            "redirect_uri",
            "http%3A%2F%2Fwww.test.example.org%3A8080%2Fagent%2Fcdsso-oauth2",
        ),
        ("state", "st1"),
        ("nonce", "n1"),
        ("realm", "%2F"),
    ];
    for (name, value) in change {
        parameters.retain(|(n, _)| n != name);
        if !value.is_empty() {
            parameters.push((name, value));
        }
    }
    let query: Vec<String> = parameters.iter().map(|(n, v)| format!("{n}={v}")).collect();
    format!("/oauth2/authorize?{}", query.join("&"))
}

fn field(page: &str, name: &str) -> String {
    let start = format!("name=\"{name}\" value=\"");
    let rest = page
        .split_once(&start)
        .unwrap_or_else(|| panic!("{name} in {page}"))
        .1;
    rest.split('"').next().unwrap().to_owned()
}

#[test]
fn the_way_from_the_agent_through_the_login_page_and_back() {
    let am = seeded();
    let start = authorize(&[]);
    let sent = call(&am, "GET", &start, &[], None);
    assert_eq!(sent.status, 301);
    let to = sent.header("location").to_owned();
    assert!(to.starts_with(
        "http://am.test.example.org:8080/openam/UI/Login?realm=%2F&goto=http%3A%2F%2Fam.test"
    ));

    let below = |location: &str| {
        location
            .split_once("/openam")
            .unwrap()
            .1
            .split('#')
            .next()
            .unwrap()
            .to_owned()
    };
    let ui = call(&am, "GET", &below(&to), &[], None);
    assert!(ui.header("location").ends_with("#login/"));
    let xui = call(&am, "GET", &below(ui.header("location")), &[], None);
    let page_at = below(xui.header("location"));
    let page = call(&am, "GET", &page_at, &[], None);
    for id in ["idToken1", "idToken2", "loginButton_0"] {
        assert!(page.body.contains(&format!("id=\"{id}\"")), "{}", page.body);
    }
    let form = ("Content-Type", "application/x-www-form-urlencoded");
    let wrong = call(
        &am,
        "POST",
        &page_at,
        &[form],
        Some("callback_0=demo&callback_1=bad"),
    );
    assert!(wrong.body.contains("Authentication Failed") && wrong.cookie(TOKEN).is_none());
    let right = call(
        &am,
        "POST",
        &page_at,
        &[form],
        Some("callback_0=demo&callback_1=changeit8&callback_2=Log+In"),
    );
    assert_eq!(right.status, 302);
    let token = right.cookie(TOKEN).unwrap();
    assert_eq!(below(right.header("location")), start);

    let cookie = format!("{TOKEN}={token}");
    let back = call(&am, "GET", &start, &[("Cookie", &cookie)], None);
    assert_eq!(back.status, 200);
    assert_eq!(field(&back.body, "state"), "st1");
    let action =
        format!("<form method=\"post\" action=\"{W}/agent/cdsso-oauth2#scope=openid&id_token=");
    assert!(back.body.contains(&action) && back.body.contains("&state=st1\">"));
    check_id_token(&field(&back.body, "id_token"), &token);

    // The header does not count here.
    assert_eq!(
        call(&am, "GET", &start, &[(TOKEN, &token)], None).status,
        301
    );
}

fn check_id_token(id_token: &str, token: &str) {
    let mut rules = jsonwebtoken::Validation::new(jsonwebtoken::Algorithm::HS256);
    rules.set_audience(&["wa1"]);
    let key = jsonwebtoken::DecodingKey::from_secret(KEY.as_bytes());
    let claims = jsonwebtoken::decode::<Value>(id_token, &key, &rules)
        .unwrap()
        .claims;
    assert_eq!(claims["ssoToken"], token);
    assert_eq!(claims["nonce"], "n1");
    assert_eq!(
        claims["iss"],
        "http://am.test.example.org:8080/openam/oauth2"
    );
    let life = claims["exp"].as_i64().unwrap() - claims["iat"].as_i64().unwrap();
    assert!((3..=4).contains(&life), "{life}");
    let header: Value = serde_json::from_slice(
        &URL_SAFE_NO_PAD
            .decode(id_token.split('.').next().unwrap())
            .unwrap(),
    )
    .unwrap();
    assert_eq!(header, json!({"typ": "JWT", "alg": "HS256"}));
}

#[test]
fn authorize_refuses() {
    let am = seeded();
    let cookie = format!("{TOKEN}={}", user_token(&am));
    let ask = |change: &[(&str, &str)]| {
        call(&am, "GET", &authorize(change), &[("Cookie", &cookie)], None)
    };
    let uri = |text: &str| ask(&[("redirect_uri", text)]);
    assert!(
        uri("http%3A%2F%2Fwww.test.example.org%2Fagent%2Fcdsso-oauth2")
            .body
            .contains("redirect_uri_mismatch")
    );
    assert_eq!(
        uri("http%3A%2F%2Fwww.test.example.org%3A8080%2Fother").status,
        400
    );
    assert_eq!(ask(&[("client_id", "nobody")]).status, 404);
    let at = |answer: Answer| answer.header("location").to_owned();
    assert!(
        at(ask(&[("nonce", "")]))
            .contains("#error_description=Missing%20required%20parameter%20nonce")
    );
    assert!(
        at(ask(&[("scope", "openid+profile")]))
            .contains("?error_description=Unknown%2Finvalid%20scope")
    );
    assert!(at(ask(&[("response_type", "code")])).ends_with("error=unsupported_response_type"));
    // A session of another realm counts as none.
    assert_eq!(
        ask(&[("realm", "%2Fshop"), ("client_id", "wa2")]).status,
        301
    );
    // And this ends the session.
    assert_eq!(ask(&[("prompt", "login")]).status, 301);
    assert_eq!(ask(&[]).status, 301);
}

#[test]
fn logout_by_browser() {
    let am = seeded();
    let token = user_token(&am);
    let cookie = format!("{TOKEN}={token}");
    let out = call(
        &am,
        "GET",
        "/UI/Logout?goto=http%3A%2F%2Fx%2F",
        &[("Cookie", &cookie)],
        None,
    );
    assert_eq!(
        out.header("location"),
        "/openam/XUI?goto=http%3A%2F%2Fx%2F#logout/"
    );
    assert!(am.session(&token).is_none());
    let mark = "am-simulator-logout=1";
    let page = call(
        &am,
        "GET",
        "/XUI/?goto=http%3A%2F%2Fx%2F",
        &[("Cookie", mark)],
        None,
    );
    assert_eq!((page.status, page.header("location")), (302, "http://x/"));
}

#[test]
fn stepping_up_replaces_the_session() {
    let am = seeded();
    am.add_module("/", "Strong", 2).unwrap();
    let token = user_token(&am);
    let advice = "%3CAdvices%3E%3CAttributeValuePair%3E%3CAttribute+name%3D%22AuthLevelConditionAdvice%22%2F%3E\
                  %3CValue%3E2%3C%2FValue%3E%3C%2FAttributeValuePair%3E%3C%2FAdvices%3E";
    let ui = call(
        &am,
        "GET",
        &format!("/UI/Login?sunamcompositeadvice={advice}&goto=http%3A%2F%2Fx%2F"),
        &[],
        None,
    );
    assert!(
        ui.header("location")
            .contains("authIndexType=composite_advice&authIndexValue=%3CAdvices")
    );
    let page = ui
        .header("location")
        .replace("/openam/XUI?", "/XUI/?")
        .replace("#login/", "");
    let cookie = format!("{TOKEN}={token}");
    let headers = [
        ("Cookie", cookie.as_str()),
        ("Content-Type", "application/x-www-form-urlencoded"),
    ];
    assert_eq!(call(&am, "GET", &page, &headers, None).status, 200);
    let done = call(
        &am,
        "POST",
        &page,
        &headers,
        Some("callback_0=demo&callback_1=changeit8"),
    );
    let stronger = am.session(&done.cookie(TOKEN).unwrap()).unwrap();
    assert_eq!(stronger.auth_level, 2);
    assert!(am.session(&token).is_none());
}

fn xml(am: &am_simulator::Running, operation: &str, requester: &str, token: &str) -> Answer {
    let requester = STANDARD.encode(format!("token:{requester}"));
    let body = format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<RequestSet vers=\"1.0\" svcid=\"Session\" reqid=\"7\">\n<Request>\
         <![CDATA[<SessionRequest vers=\"1.0\" reqid=\"1\" requester=\"{requester}\"><{operation} reset=\"true\">\
         <SessionID>{token}</SessionID></{operation}></SessionRequest>]]></Request>\n</RequestSet>"
    );
    let headers = [("Content-Type", "text/xml;charset=UTF-8")];
    call(am, "POST", "/sessionservice", &headers, Some(&body))
}

#[test]
fn the_xml_session_service() {
    let am = seeded();
    let (agent, user) = (agent_token(&am), user_token(&am));
    let answer = xml(&am, "GetSession", &agent, &user);
    assert_eq!(answer.status, 200);
    assert_eq!(answer.header("content-type"), "");
    for part in [
        "<ResponseSet vers=\"1.0\" svcid=\"session\" reqid=\"7\">",
        &format!(
            "<Session sid=\"{user}\" stype=\"user\" cid=\"id=demo,ou=user,dc=openam,dc=openidentityplatform,dc=org\""
        ),
        "maxtime=\"120\" maxidle=\"30\" maxcaching=\"3\" timeidle=\"0\"",
        "<Property name=\"UserToken\" value=\"demo\"></Property>",
        "<Property name=\"AuthLevel\" value=\"0\"></Property>",
    ] {
        assert!(answer.body.contains(part), "{part} in {}", answer.body);
    }
    let says = |answer: Answer| {
        let rest = answer.body.split_once("<Exception>").unwrap().1.to_owned();
        rest.split("</Exception>").next().unwrap().to_owned()
    };
    assert_eq!(
        says(xml(&am, "GetSession", &agent, "*")),
        "* java.lang.NullPointerException"
    );
    assert_eq!(
        says(xml(&am, "GetSession", "rubbish", &user)),
        "Application token passed in, is invalid.token:rubbish"
    );
    assert!(xml(&am, "Logout", &agent, &user).body.contains("<OK></OK>"));
    assert_eq!(
        says(xml(&am, "GetSession", &agent, &user)),
        format!("{user} Invalid session ID.{user}")
    );
    let long = "x".repeat(16_385);
    assert_eq!(
        call(&am, "POST", "/sessionservice", &[], Some(&long)).status,
        500
    );
}

//! What a property changes in a decision, one test for each that no server is needed for.

use super::tests::{ask_with, decider, demo, get, is, with};
use serde_json::{Value, json};

const P: &str = "com.sun.identity.agents.config";

/// The value of a response header.
fn header<'a>(answer: &'a Value, name: &str) -> &'a str {
    let all = answer["response_headers"].as_array().unwrap();
    let found = all.iter().find(|h| h[0] == name);
    found
        .and_then(|h| h[1].as_str())
        .unwrap_or_else(|| panic!("no {name}: {answer:#}"))
}

fn set<'a>(answer: &'a Value, name: &str) -> Option<&'a str> {
    let all = answer["set_request_headers"].as_array().unwrap();
    all.iter()
        .find(|h| h[0] == name)
        .and_then(|h| h[1].as_str())
}

fn allowed(path: &str) -> Value {
    with(
        get(path),
        json!({"session": demo(), "policy": {"actions": {"GET": true}}}),
    )
}

#[test]
fn logins_lead_to_the_page_that_is_configured() {
    let conf = decider(&format!(
        "org.forgerock.openam.agents.config.allow.custom.login = 2\n\
         com.forgerock.agents.accept.sso.token = 1\n{P}.redirect.param = back\n\
         {P}.login.url[0] = https://login.example.com/page?x=y\n"
    ));
    let answer = ask_with(&conf, &get("/a"));
    is(&answer, "login", 302, "PCL0200");
    assert_eq!(
        header(&answer, "Location"),
        "https://login.example.com/page?x=y&back=http%3A%2F%2Fwww.example.com%3A80%2Fa"
    );
}

#[test]
fn browsers_get_ams_public_address() {
    let conf = decider("com.forgerock.agents.public.am.url = https://sso.example.com/am\n");
    let answer = ask_with(&conf, &get("/a"));
    assert!(
        header(&answer, "Location").starts_with("https://sso.example.com/am/oauth2"),
        "{answer:#}"
    );
}

#[test]
fn am_answers_to_the_configured_callback() {
    let conf = decider(&format!("{P}.cdsso.redirect.uri = /own/callback\n"));
    let answer = ask_with(&conf, &get("/a"));
    assert!(
        header(&answer, "Location").contains("%2Fown%2Fcallback"),
        "{answer:#}"
    );
    is(
        &ask_with(&conf, &get("/own/callback")),
        "bad_request",
        400,
        "PCL0210",
    );
    is(
        &ask_with(&conf, &get("/agent/cdsso-oauth2")),
        "login",
        302,
        "PCL0200",
    );
}

#[test]
fn logins_happen_in_the_agents_realm() {
    let conf = decider(&format!("{P}.organization.name = /customers\n"));
    let answer = ask_with(&conf, &get("/a"));
    assert!(
        header(&answer, "Location").contains("realm=%2Fcustomers"),
        "{answer:#}"
    );
}

#[test]
fn the_session_cookie_has_the_configured_name() {
    let conf = decider("org.forgerock.openam.agents.config.jwt.name = own-name\n");
    is(&ask_with(&conf, &allowed("/a")), "allow", 0, "PCL0100");
    let cookie = |name: &str| {
        with(
            get("/a"),
            json!({"headers": [["Cookie", format!("{name}=x")]]}),
        )
    };
    is(
        &ask_with(&conf, &cookie("own-name")),
        "login",
        302,
        "PCL0202",
    );
    is(
        &ask_with(&conf, &cookie("am-auth-jwt")),
        "login",
        302,
        "PCL0200",
    );
}

#[test]
fn ams_cookie_is_looked_for_under_its_name() {
    let conf = decider(&format!(
        "com.forgerock.agents.accept.sso.token = 1\n{P}.cookie.name = amsession\n"
    ));
    let cookie = |name: &str| {
        with(
            get("/a"),
            json!({"headers": [["Cookie", format!("{name}=x")]]}),
        )
    };
    is(
        &ask_with(&conf, &cookie("amsession")),
        "login",
        302,
        "PCL0201",
    );
    is(
        &ask_with(&conf, &cookie("iPlanetDirectoryPro")),
        "login",
        302,
        "PCL0200",
    );
}

#[test]
fn logouts_lead_to_the_page_that_is_configured() {
    let conf = decider(&format!(
        "com.forgerock.agents.config.logout.redirect.disable = false\n\
         {P}.logout.url[0] = https://sso.example.com/bye\n"
    ));
    let answer = ask_with(&conf, &with(get("/logout"), json!({"session": demo()})));
    is(&answer, "respond", 302, "PCL0400");
    assert_eq!(header(&answer, "Location"), "https://sso.example.com/bye");
}

#[test]
fn the_users_name_may_come_from_the_profile() {
    let conf = decider(&format!(
        "{P}.userid.param = mail\n{P}.userid.param.type = LDAP\n"
    ));
    assert_eq!(ask_with(&conf, &allowed("/a"))["user"], "demo@example.com");
}

#[test]
fn several_values_stand_between_separators() {
    let conf = decider(&format!("{P}.attribute.multi.value.separator = ;\n"));
    let session =
        json!({"user": "demo", "attributes": {"mail": ["a@example.com", "b@example.com"]}});
    let answer = ask_with(&conf, &with(allowed("/a"), json!({"session": session})));
    assert_eq!(set(&answer, "X-Mail"), Some("a@example.com;b@example.com"));
}

#[test]
fn case_counts_only_where_it_is_told_to() {
    is(
        &ask_with(&decider(""), &get("/PUBLIC/a")),
        "allow",
        0,
        "PCL0101",
    );
    let conf = decider(&format!("{P}.url.comparison.case.ignore = false\n"));
    is(&ask_with(&conf, &get("/PUBLIC/a")), "login", 302, "PCL0200");
    is(&ask_with(&conf, &get("/public/a")), "allow", 0, "PCL0101");
}

#[test]
fn a_host_that_is_not_named_leads_to_the_default_one() {
    let at = |host: &str| json!({"method": "GET", "url": format!("http://{host}/a")});
    let conf = decider(&format!(
        "{P}.fqdn.default = portal.example.com\n{P}.fqdn.mapping[any] = shop.example.com\n\
         sunIdentityServerDeviceKeyValue[0] = agentRootURL=http://root.example.com:80/\n"
    ));
    let answer = ask_with(&conf, &at("other.example.com"));
    is(&answer, "respond", 302, "PCL0206");
    assert!(
        header(&answer, "Location").starts_with("http://portal.example.com"),
        "{answer:#}"
    );
    for host in ["portal", "shop", "root", "www"] {
        let answer = ask_with(&conf, &at(&format!("{host}.example.com")));
        is(&answer, "login", 302, "PCL0200");
    }
}

#[test]
fn the_agents_cookies_go_on_only_where_it_is_told_to() {
    let removed = |answer: &Value| {
        answer["removed_request_headers"]
            .to_string()
            .contains("Cookie")
    };
    assert!(removed(&ask_with(&decider(""), &allowed("/a"))));
    let conf = decider("portcullis.cookies.forward = true\n");
    assert!(!removed(&ask_with(&conf, &allowed("/a"))));
}

#[test]
fn cookies_are_hidden_from_scripts_unless_told_otherwise() {
    let stale = with(get("/a"), json!({"headers": [["Cookie", "am-auth-jwt=x"]]}));
    let cleared = |answer: &Value| {
        let all = answer["response_headers"].as_array().unwrap();
        let cookies = all.iter().filter_map(|h| h[1].as_str());
        let own: Vec<bool> = cookies
            .filter(|c| c.starts_with("am-auth-jwt="))
            .map(|c| c.to_ascii_lowercase().contains("httponly"))
            .collect();
        assert_eq!(own.len(), 1, "{answer:#}");
        own[0]
    };
    assert!(cleared(&ask_with(&decider(""), &stale)));
    let open = decider("com.sun.identity.cookie.httponly = false\n");
    assert!(!cleared(&ask_with(&open, &stale)));
}

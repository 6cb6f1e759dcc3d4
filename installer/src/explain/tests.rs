//! Lines in, lines out: each outcome, and what the input may not do.

use serde_json::{Value, json};

use super::*;

const CONF: &str = "
com.sun.identity.agents.config.username = wa1
com.sun.identity.agents.config.naming.url = http://am.example.com:8080/openam/
com.sun.identity.agents.config.repository.location = local
com.sun.identity.agents.config.agenturi.prefix = http://www.example.com:80
com.sun.identity.agents.config.notenforced.url[0] = http://www.example.com:80/public/*
com.sun.identity.agents.config.notenforced.url[GET,1] = http://www.example.com:80/icons/* http://www.example.com:80/css/*
com.sun.identity.agents.config.notenforced.url[2] = http://www.example.com:80/css/a*
com.sun.identity.agents.config.agent.logout.url[0] = http://www.example.com:80/logout
com.sun.identity.agents.config.session.attribute.fetch.mode = HTTP_HEADER
com.sun.identity.agents.config.session.attribute.mapping[UserToken] = X-User
com.sun.identity.agents.config.profile.attribute.fetch.mode = HTTP_HEADER
com.sun.identity.agents.config.profile.attribute.mapping[mail] = X-Mail
";

pub(super) fn decider(more: &str) -> Deciders {
    let text = format!("{CONF}{more}");
    let (decider, problems) = Decider::of(&text, None);
    let texts: Vec<String> = problems.iter().map(ToString::to_string).collect();
    let plain = decider.unwrap_or_else(|| panic!("{texts:#?}"));
    Deciders::new(text, Some(plain))
}

/// The same, for other commands' tests.
pub(crate) fn in_force(more: &str) -> Decider {
    decider(more).plain.expect("a configuration")
}

/// What is printed for an input, line by line, and whether all of it was answered.
fn printed(decider: &Deciders, input: &str, human: bool) -> (String, bool) {
    let mut out = Vec::new();
    let all = decider
        .answer_all(input.as_bytes(), human, &mut out)
        .unwrap();
    (String::from_utf8(out).unwrap(), all)
}

pub(super) fn ask_with(decider: &Deciders, question: &Value) -> Value {
    let (text, _) = printed(decider, &question.to_string(), false);
    serde_json::from_str(&text).unwrap()
}

fn ask(question: &Value) -> Value {
    ask_with(&decider(""), question)
}

pub(super) fn get(path: &str) -> Value {
    json!({"method": "GET", "url": format!("http://www.example.com{path}")})
}

pub(super) fn with(mut question: Value, more: Value) -> Value {
    let all = question.as_object_mut().unwrap();
    all.extend(more.as_object().unwrap().clone());
    question
}

pub(super) fn demo() -> Value {
    json!({"user": "demo", "realm": "/", "attributes": {"mail": ["demo@example.com"]}})
}

/// Outcome, status and reason.
fn short(answer: &Value) -> (String, Value, String) {
    let text = |key: &str| {
        answer[key]
            .as_str()
            .unwrap_or_else(|| panic!("{answer}"))
            .to_owned()
    };
    (text("outcome"), answer["status"].clone(), text("reason"))
}

pub(super) fn is(answer: &Value, outcome: &str, status: u16, reason: &str) {
    let status = if status == 0 {
        Value::Null
    } else {
        json!(status)
    };
    assert_eq!(
        short(answer),
        (outcome.to_owned(), status, reason.to_owned()),
        "{answer:#}"
    );
}

#[test]
fn an_answer_has_its_eleven_keys_in_order() {
    let (text, all) = printed(&decider(""), &get("/x").to_string(), false);
    assert!(all);
    let keys = [
        "id",
        "outcome",
        "status",
        "reason",
        "matched",
        "url",
        "user",
        "response_headers",
        "set_request_headers",
        "removed_request_headers",
        "trace",
    ];
    let mut at = 0;
    for key in keys {
        let found = text[at..].find(&format!("\"{key}\":"));
        at += found.unwrap_or_else(|| panic!("{key} in {text}"));
    }
    let answer: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(answer.as_object().unwrap().len(), keys.len());
}

#[test]
fn without_a_session_the_browser_is_sent_to_am() {
    let answer = ask(&with(get("/a/../x?b=c"), json!({"id": {"of": "mine"}})));
    is(&answer, "login", 302, "PCL0200");
    assert_eq!(answer["id"], json!({"of": "mine"}));
    assert_eq!(answer["url"], "http://www.example.com:80/x?b=c");
    assert_eq!(answer["matched"], Value::Null);
    let headers = answer["response_headers"].as_array().unwrap();
    let location = headers.iter().find(|h| h[0] == "Location").unwrap();
    assert!(
        location[1]
            .as_str()
            .unwrap()
            .starts_with("http://am.example.com:8080/openam/")
    );
}

#[test]
fn the_same_input_prints_the_same() {
    let line = get("/x").to_string();
    let once = printed(&decider(""), &line, false);
    assert_eq!(once, printed(&decider(""), &line, false));
}

#[test]
fn a_session_and_a_policy_that_allows_let_in() {
    let policy = json!({"actions": {"GET": true}});
    let more = json!({"session": demo(), "policy": policy, "headers": [["Cookie", "a=b"], ["X-User", "root"]]});
    let answer = ask(&with(get("/x"), more));
    is(&answer, "allow", 0, "PCL0100");
    assert_eq!(answer["user"], "demo");
    let set = [
        ["Cookie", "a=b"],
        ["X-User", "demo"],
        ["X-Mail", "demo@example.com"],
    ];
    for header in set {
        let all = answer["set_request_headers"].as_array().unwrap();
        let removed_or_kept = header[0] == "Cookie" && !all.iter().any(|h| h[0] == "Cookie");
        assert!(
            removed_or_kept || all.contains(&json!(header)),
            "{header:?} {answer:#}"
        );
    }
    assert_eq!(answer["removed_request_headers"][0], "X-User");
    let last = answer["trace"].as_array().unwrap().last().unwrap();
    assert_eq!(last["result"], "session, policy, attributes");
}

#[test]
fn am_decides_where_it_is_asked() {
    let session = json!({"session": demo()});
    is(
        &ask(&with(get("/x"), session.clone())),
        "deny",
        403,
        "PCL0300",
    );
    let asked = with(
        get("/x"),
        json!({"session": demo(), "policy": {"advices": {"AuthLevelConditionAdvice": ["3"]}}}),
    );
    let answer = ask(&asked);
    assert_ne!(short(&answer).0, "allow");
    assert!(
        answer["reason"] == "PCL0301" || answer["outcome"] == "login",
        "{answer:#}"
    );
    let other = json!({"session": {"user": "admin", "realm": "/other"}});
    is(&ask(&with(get("/x"), other)), "deny", 403, "PCL0302");
    let down = with(get("/x"), with(session, json!({"am": "down"})));
    is(&ask(&down), "unavailable", 503, "PCL0500");
    let unknown = json!({"headers": [["Cookie", "am-auth-jwt=of-somebody"]]});
    is(&ask(&with(get("/x"), unknown)), "login", 302, "PCL0202");
}

#[test]
fn the_rule_that_exempts_is_named() {
    let url = "com.sun.identity.agents.config.notenforced.url";
    let answer = ask(&get("/css/a.css"));
    is(&answer, "allow", 0, "PCL0101");
    assert_eq!(
        answer["matched"],
        format!("{url}[GET,1]=http://www.example.com:80/css/*")
    );
    let results: Vec<&str> = answer["trace"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|e| e["rule"].as_str().is_some_and(|r| r.starts_with(url)))
        .map(|e| e["result"].as_str().unwrap())
        .collect();
    assert_eq!(results, ["miss", "miss", "hit", "not reached"]);
    let answer = ask(&with(get("/css/b.css"), json!({"method": "POST"})));
    is(&answer, "login", 302, "PCL0200");
    let inverted = decider("com.sun.identity.agents.config.notenforced.url.invert = true\n");
    let answer = ask_with(&inverted, &get("/docs/"));
    is(&answer, "allow", 0, "PCL0101");
    assert_eq!(answer["matched"], format!("{url}.invert=true"));
    is(
        &ask_with(&inverted, &get("/public/")),
        "login",
        302,
        "PCL0200",
    );
}

#[test]
fn a_logout_and_a_session_that_is_enough_name_their_property() {
    let answer = ask(&with(get("/logout"), json!({"session": demo()})));
    is(&answer, "allow", 0, "PCL0103");
    assert_eq!(
        answer["matched"],
        "com.sun.identity.agents.config.agent.logout.url[0]=http://www.example.com:80/logout"
    );
    let sso = decider("com.sun.identity.agents.config.sso.only = true\n");
    let answer = ask_with(&sso, &with(get("/x"), json!({"session": demo()})));
    is(&answer, "allow", 0, "PCL0102");
    assert_eq!(
        answer["matched"],
        "com.sun.identity.agents.config.sso.only=true"
    );
}

#[test]
fn what_has_two_meanings_is_refused() {
    is(&ask(&get("/%2e%2e/x")), "bad_request", 400, "PCL0310");
    let headers = json!({"headers": [["Connection", "close, X-User"]]});
    is(
        &ask(&with(get("/x"), headers)),
        "bad_request",
        400,
        "PCL0311",
    );
    let answer = ask(
        &json!({"method": "POST", "url": "http://www.example.com/agent/cdsso-oauth2",
        "headers": [["Content-Type", "application/x-www-form-urlencoded"]], "body": "state=x"}),
    );
    is(&answer, "bad_request", 400, "PCL0212");
}

#[test]
fn facts_in_full_answer_in_the_order_of_the_engine() {
    let session = json!({"session": {"fresh": demo()}});
    let of = |facts: Value| ask(&with(get("/x"), json!({"facts": facts})));
    let attributes = json!({"attributes": {"fresh": {"mail": ["m"]}}});
    let policy = json!({"policy": {"fresh": {"actions": {"GET": true}}}});
    // A login is counted.
    let counted = json!({"receipt": {"fresh": {"counted": 1}}});
    is(
        &of(json!([session, policy, attributes])),
        "allow",
        0,
        "PCL0100",
    );
    is(
        &of(json!([session, {"policy": {"failed": "timeout"}}])),
        "unavailable",
        503,
        "PCL0501",
    );
    is(
        &of(json!([{"session": {"failed": "dead"}}, counted])),
        "login",
        302,
        "PCL0201",
    );
    is(
        &of(json!([session, {"policy": {"failed": "not_allowed"}}])),
        "deny",
        403,
        "PCL0510",
    );
    is(&of(json!([counted])), "login", 302, "PCL0200");
    let lacking = of(json!([session]));
    assert_eq!(
        lacking["error"],
        "the facts lack what the agent asks for: a policy"
    );
}

#[test]
fn broken_lines_are_named_and_the_rest_is_answered() {
    let good = with(get("/public/"), json!({"id": "good"}));
    let long = "x".repeat(MAX_LINE + 5);
    let input = format!("{{\"id\":1}}\n\n{long}\n{good}\nnonsense\n{good}");
    let (text, all) = printed(&decider(""), &input, false);
    assert!(!all);
    let lines: Vec<Value> = text
        .lines()
        .map(|l| serde_json::from_str(l).unwrap())
        .collect();
    let told: Vec<(Value, Value)> = lines
        .iter()
        .map(|l| (l["id"].clone(), l["line"].clone()))
        .collect();
    let (null, good) = (Value::Null, json!("good"));
    assert_eq!(
        told,
        [
            (json!(1), json!(1)),
            (null.clone(), json!(3)),
            (good.clone(), null.clone()),
            (null.clone(), json!(5)),
            (good, null),
        ]
    );
    assert!(lines[1]["error"].as_str().unwrap().contains("longer than"));
}

#[test]
fn a_token_never_comes_out() {
    let token = "AQIC5wM2LY4Sfcw.*AAJTSQACMDEAAlMxAAA.*";
    let cookies = format!("iPlanetDirectoryPro={token}; am-auth-jwt=old; a=b");
    let accept = decider("com.forgerock.agents.accept.sso.token = 1\n");
    for session in [demo(), Value::Null] {
        let question = with(
            get("/x"),
            json!({"session": session, "headers": [["Cookie", cookies]],
            "policy": {"actions": {"GET": true}}}),
        );
        for human in [false, true] {
            let (text, _) = printed(&accept, &question.to_string(), human);
            assert!(!text.contains(token) && !text.contains("made up"), "{text}");
        }
    }
}

#[test]
fn people_get_every_rule_in_order() {
    let (text, all) = printed(&decider(""), &get("/css/a.css").to_string(), true);
    assert!(all);
    let expected = [
        "GET http://www.example.com/css/a.css",
        "allow: PCL0101 not enforced",
        "compared as",
        "miss        com.sun.identity.agents.config.agent.logout.url[0]",
        "hit         com.sun.identity.agents.config.notenforced.url[GET,1]=http://www.example.com:80/css/*",
        "not reached com.sun.identity.agents.config.notenforced.url[2]",
        "policy: not reached",
    ];
    let mut at = 0;
    for part in expected {
        at += text[at..]
            .find(part)
            .unwrap_or_else(|| panic!("{part} in\n{text}"));
    }
}

#[test]
fn mistakes_of_the_file_stop_it() {
    let (decider, problems) = Decider::of("com.sun.identity.agents.config.username = wa1\n", None);
    assert!(decider.is_none());
    assert!(
        problems
            .iter()
            .any(|p| p.to_string().contains("naming.url"))
    );
}

#[test]
fn a_mode_that_only_reports_is_named_with_what_would_have_happened() {
    let report = decider("portcullis.mode = report\nportcullis.mode.until = 2026-06-01\n");
    let answer = ask_with(&report, &get("/x"));
    is(&answer, "allow", 0, "PCL0420");
    assert_eq!(answer["trace"][0]["phase"], "mode");
    let result = answer["trace"][0]["result"].as_str().unwrap();
    assert!(
        result.starts_with("report: would be PCL0200 302"),
        "{result}"
    );
    let over = decider("portcullis.mode = report\nportcullis.mode.until = 2025-06-01\n");
    is(&ask_with(&over, &get("/x")), "login", 302, "PCL0200");
    let shadow = decider("portcullis.mode = shadow\nportcullis.shadow.policy.set = next\n");
    let facts = json!({"facts": [
        {"session": {"fresh": {"user": "demo", "realm": "/"}}},
        {"policy": {"fresh": {"actions": {"GET": true}}}},
        {"policy": {"fresh": {"actions": {"GET": false}}}},
        {"attributes": {"fresh": {}}},
    ]});
    let answer = ask_with(&shadow, &with(get("/x"), facts));
    is(&answer, "allow", 0, "PCL0100");
    let result = answer["trace"][0]["result"].as_str().unwrap();
    assert_eq!(result, "shadow: realm /, policy set next: denied");
}

#[test]
fn the_policies_that_count_for_a_path_are_named() {
    let by_path = decider(
        "portcullis.filter.mode[/home] = SSO_ONLY\n\
         org.forgerock.agents.policy.set.map[/shop] = orders\n",
    );
    let answer = ask_with(&by_path, &with(get("/home"), json!({"session": demo()})));
    is(&answer, "allow", 0, "PCL0102");
    assert_eq!(answer["matched"], "portcullis.filter.mode[/home]=SSO_ONLY");
    let answer = ask_with(&by_path, &with(get("/shop"), json!({"session": demo()})));
    is(&answer, "deny", 403, "PCL0300");
    let all = answer["trace"].as_array().unwrap();
    assert!(
        all.iter()
            .any(|e| e["rule"] == "realm /, policy set orders"),
        "{all:?}"
    );
}

/// A line of a recording, with these facts and this text besides.
fn recorded(path: &str, facts: Value, elsewhere: Option<&str>) -> Value {
    let cookie = "a=RecordedValue1; am-auth-jwt=RecordedToken0123";
    with(
        get(path),
        json!({
            "headers": [["Cookie", cookie]],
            "facts": facts,
            "server": {
                "tls": false, "host": "www.example.com", "target": path, "port": 80,
                "peer": "192.0.2.9", "merged": true, "path": "", "path_info": "",
            },
            "recorded": { "agent_conf": "00", "elsewhere": elsewhere, "outcome": "allow" },
        }),
    )
}

fn live() -> Value {
    json!({"session": {"fresh": {
        "user": "demo", "realm": "/", "universal_id": "id=demo,ou=user", "ends": 1_767_225_601_000_u64,
        "attributes": {"UserToken": ["demo"]},
    }}})
}

#[test]
fn a_recorded_request_is_decided_again() {
    let decider = decider("");
    let policy = json!({"policy": {"fresh": {"actions": {"GET": true}}}});
    let attributes = json!({"attributes": {"fresh": {"mail": ["demo@example.com"]}}});
    let facts = json!([live(), policy, attributes]);
    let answer = ask_with(&decider, &recorded("/x", facts, None));
    is(&answer, "allow", 0, "PCL0100");
    assert_eq!(answer["user"], "demo");
    assert_eq!(decider.other_text.get(), 1);
    // What is over, is over; what could not be asked stays so.
    let mut over = live();
    over["session"]["fresh"]["ends"] = json!(1000);
    let counted = json!({"receipt": {"fresh": {"counted": 1}}});
    let answer = ask_with(&decider, &recorded("/x", json!([over, counted]), None));
    is(&answer, "login", 302, "PCL0201");
    let unknown = json!([live(), {"policy": "unknown"}]);
    let mut line = recorded("/x", unknown, None);
    assert!(
        ask_with(&decider, &line)["error"]
            .as_str()
            .unwrap()
            .contains("a policy")
    );
    line["stored_only"] = json!(true);
    is(&ask_with(&decider, &line), "deny", 403, "PCL0513");
}

#[test]
fn a_recording_brings_the_profile() {
    let text = CONF.replace("location = local", "location = centralized");
    let (plain, _) = Decider::of(&text, None);
    let decider = Deciders::new(text, plain);
    let name = "com.sun.identity.agents.config.notenforced.url";
    let profile = json!({
        "elsewhere": "e1", "environment": [], "cookie_name": null, "fallback": false,
        "profile": [[name, ["[0]=http://www.example.com:80/free/*"]],
            ["sunIdentityServerDeviceKeyValue", ["agentRootURL=http://www.example.com:80/"]]],
    });
    let line = recorded("/free/a", json!([]), Some("e1"));
    let missing = ask_with(&decider, &line);
    assert!(
        missing["error"].as_str().unwrap().contains("is missing"),
        "{missing}"
    );
    let (said, all) = printed(&decider, &format!("{profile}\n{line}\n"), false);
    let answer: Value = serde_json::from_str(&said).unwrap();
    assert!(all);
    is(&answer, "allow", 0, "PCL0101");
    assert_eq!(
        answer["matched"],
        format!("{name}[0]=http://www.example.com:80/free/*")
    );
}

#[test]
fn what_cannot_be_decided_again_says_why() {
    let decider = decider("");
    let line = json!({"id": "1-7", "recorded": {"not_replayable": "because"}});
    let (said, all) = printed(&decider, &line.to_string(), false);
    assert!(all);
    assert_eq!(said.trim(), r#"{"id":"1-7","not_replayable":"because"}"#);
    assert_eq!(decider.skipped.get(), 1);
    let (said, _) = printed(&decider, &line.to_string(), true);
    assert!(said.contains("because"), "{said}");
}

#[test]
fn a_page_that_everybody_may_see_is_named_by_its_own_line() {
    let decider = decider(
        "com.sun.identity.agents.config.access.denied.url = /no.html\n\
         portcullis.access.denied.url[/app] = /app/no.html\n\
         portcullis.authn.fail.url = /failed.html\n",
    );
    for (path, line) in [
        (
            "/no.html",
            "com.sun.identity.agents.config.access.denied.url=/no.html",
        ),
        (
            "/app/no.html",
            "portcullis.access.denied.url[/app]=/app/no.html",
        ),
        ("/failed.html", "portcullis.authn.fail.url=/failed.html"),
    ] {
        let answer = ask_with(&decider, &get(path));
        is(&answer, "allow", 0, "PCL0101");
        assert_eq!(answer["matched"], line);
    }
}

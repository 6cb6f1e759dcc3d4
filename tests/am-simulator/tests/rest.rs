//! Every REST endpoint once: what it grants and what it refuses.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "tests may panic, their helpers too"
)]

mod support;

use serde_json::{Value, json};
use support::*;

#[test]
fn server_information_is_for_everybody_under_the_right_name() {
    let am = seeded();
    let ask = |headers: &[(&str, &str)]| call(&am, "GET", "/json/serverinfo/*", headers, None);
    let answer = ask(&[("Accept-API-Version", "resource=1.1")]);
    assert_eq!(answer.status, 200);
    assert_eq!(answer.json()["cookieName"], TOKEN);
    assert_eq!(answer.header("content-api-version"), "resource=1.1");
    let wrong = ask(&[("Host", "127.0.0.1:8080")]);
    assert_eq!(wrong.status, 400);
    assert_eq!(message(&wrong), "FQDN &quot;127.0.0.1&quot; is not valid.");
    assert_eq!(ask(&[("Accept-API-Version", "resource=2.0")]).status, 404);
    let rubbish = ask(&[("Accept-API-Version", "rubbish")]);
    assert_eq!(
        rubbish.body,
        "Version string is in an invalid format: rubbish"
    );
    assert_eq!(
        call(
            &am,
            "GET",
            "/json/serverinfo/version",
            &[(TOKEN, &agent_token(&am))],
            None
        )
        .status,
        200
    );
    assert_eq!(
        call(
            &am,
            "GET",
            "/json/serverinfo/version",
            &[(TOKEN, &user_token(&am))],
            None
        )
        .status,
        403
    );
}

#[test]
fn logins() {
    let am = seeded();
    let good = login(&am, "", APPLICATION, "wa1", "s3cretagent");
    assert_eq!(good.cookie(TOKEN), Some(token_of(&good)));
    assert_eq!(good.json()["realm"], "/");
    assert_eq!(
        login(
            &am,
            "/realms/root/realms/shop",
            APPLICATION,
            "wa2",
            "s3cretagent"
        )
        .status,
        200
    );
    for (realm, query, name, password) in [
        ("", APPLICATION, "wa1", "wrong"),
        ("", APPLICATION, "wa2", "s3cretagent"),
        ("", APPLICATION, "demo", "changeit8"),
        ("", "", "wa1", "s3cretagent"),
    ] {
        let answer = login(&am, realm, query, name, password);
        assert_eq!(
            (answer.status, message(&answer).as_str()),
            (401, "Authentication Failed")
        );
    }
    let tree = login(
        &am,
        "",
        "?authIndexType=service&authIndexValue=Agent",
        "wa1",
        "s3cretagent",
    );
    assert_eq!(
        (tree.status, message(&tree).as_str()),
        (400, "No Configuration found")
    );
    let nowhere = login(
        &am,
        "/realms/root/realms/none",
        APPLICATION,
        "wa1",
        "s3cretagent",
    );
    assert_eq!(message(&nowhere), "Realm &quot;/none&quot; not found");
    let typed = call(
        &am,
        "POST",
        "/json/authenticate",
        &[("Content-Type", "text/plain")],
        Some("{}"),
    );
    assert_eq!(typed.status, 415);
    am.update_agent(
        "/",
        "wa1",
        &json!({"sunIdentityServerDeviceStatus": ["Inactive"]}),
    )
    .unwrap();
    assert_eq!(
        message(&login(&am, "", APPLICATION, "wa1", "s3cretagent")),
        "User not Active"
    );
}

#[test]
fn callbacks_can_be_filled() {
    let am = seeded();
    let asked = call(&am, "POST", "/json/authenticate", &[LATEST], Some("{}"));
    let mut body = asked.json();
    body["callbacks"][0]["input"][0]["value"] = json!("demo");
    body["callbacks"][1]["input"][0]["value"] = json!("changeit8");
    let text = body.to_string();
    assert_eq!(
        call(&am, "POST", "/json/authenticate", &[LATEST], Some(&text)).status,
        200
    );
    // One use.
    assert_eq!(
        call(&am, "POST", "/json/authenticate", &[LATEST], Some(&text)).status,
        408
    );
}

#[test]
fn an_agent_reads_its_own_profile_only() {
    let am = seeded();
    let agent = agent_token(&am);
    let read = |path: &str, token: &str| {
        let headers = [
            ("Accept-API-Version", "resource=3.0, protocol=1.0"),
            (TOKEN, token),
        ];
        call(&am, "GET", path, &headers, None)
    };
    let own = read("/json/agents/wa1", &agent);
    assert_eq!(own.status, 200);
    assert_eq!(
        own.json()["sunIdentityServerDeviceKeyValue"],
        json!([format!("agentRootURL={W}/")])
    );
    assert!(!own.body.contains("SHA-1") && !own.body.contains("s3cretagent"));
    assert_eq!(read("/json/agents/wa1", "rubbish").status, 401);
    assert_eq!(
        read("/json/realms/root/realms/shop/agents/wa2", &agent).status,
        403
    );
    assert_eq!(
        read("/json/realm-config/agents/WebAgent/wa1", &agent).status,
        403
    );
}

#[test]
fn sessions_by_rest() {
    let am = seeded();
    let (agent, user) = (agent_token(&am), user_token(&am));
    let act = |action: &str, version: &str, token: &str, body: &str| {
        let headers = [("Accept-API-Version", version), (TOKEN, token)];
        call(
            &am,
            "POST",
            &format!("/json/sessions?_action={action}"),
            &headers,
            Some(body),
        )
    };
    assert_eq!(
        act("validate", "resource=1.2", &user, "{}").json(),
        json!({"valid": true, "uid": "demo", "realm": "/"})
    );
    assert_eq!(act("validate", "resource=2.0", &user, "{}").status, 501);
    // The trap: a tokenId in the body is not read.
    let trap = json!({"tokenId": user}).to_string();
    assert_eq!(
        act("getSessionInfo", "resource=2.0", &agent, &trap).json()["username"],
        "wa1"
    );
    let other = format!("getSessionInfo&tokenId={}", quoted(&user));
    assert_eq!(act(&other, "resource=2.0", &agent, "{}").status, 403);
    assert_eq!(
        act("getSessionInfo", "resource=2.0", &user, "{}").json()["username"],
        "demo"
    );
    assert_eq!(
        act("getSessionInfo", "resource=4.0", &agent, &trap).status,
        404
    );
    let logout = format!("logout&tokenId={}", quoted(&user));
    let result = |text: &str| json!({"result": text});
    assert_eq!(
        act(&logout, "resource=1.2", &agent, "{}").json(),
        result("Successfully logged out")
    );
    assert_eq!(
        act(&logout, "resource=1.2", &agent, "{}").json(),
        result("Token has expired")
    );
    assert_eq!(
        act("getSessionInfo", "resource=2.0", &user, "{}").status,
        401
    );
    assert!(am.session(&agent).is_some());
}

fn evaluate(am: &am_simulator::Running, caller: &str, body: &Value) -> Answer {
    let headers = [LATEST, (TOKEN, caller)];
    call(
        am,
        "POST",
        "/json/realms/root/policies?_action=evaluate",
        &headers,
        Some(&body.to_string()),
    )
}

#[test]
fn evaluation() {
    let am = seeded();
    let (agent, user) = (agent_token(&am), user_token(&am));
    let about = |paths: &[&str], subject: &str| {
        let resources: Vec<String> = paths.iter().map(|p| format!("{W}{p}")).collect();
        json!({"resources": resources, "subject": {"ssoToken": subject}})
    };
    let asked = ["/docs/a", "/docs/secret/x", "/level/x", "/none"];
    let answer = evaluate(&am, &agent, &about(&asked, &user)).json();
    let entries = answer.as_array().unwrap();
    let order: Vec<&str> = entries
        .iter()
        .map(|e| &e["resource"].as_str().unwrap()[W.len()..])
        .collect();
    assert_ne!(order, asked);
    let entry = |path: &str| {
        entries
            .iter()
            .find(|e| e["resource"] == format!("{W}{path}"))
            .unwrap()
    };
    assert_eq!(
        entry("/docs/a")["actions"],
        json!({"GET": true, "POST": false})
    );
    assert_eq!(
        entry("/docs/a")["attributes"],
        json!({"X-Dept": ["sales"], "mail": ["demo@example.com"]})
    );
    assert_eq!(entry("/docs/a")["ttl"], i64::MAX);
    assert_eq!(
        entry("/docs/secret/x")["actions"],
        json!({"GET": false, "POST": false})
    );
    assert_eq!(entry("/level/x")["actions"], json!({}));
    assert_eq!(
        entry("/level/x")["advices"],
        json!({"AuthLevelConditionAdvice": ["2"]})
    );
    assert_eq!(entry("/none")["actions"], json!({}));

    assert!(am.set_auth_level(&user, 2));
    let higher = evaluate(&am, &agent, &about(&["/level/x"], &user)).json();
    assert_eq!(higher[0]["actions"]["GET"], true);

    // Without a subject the agent itself is evaluated.
    let nobody = evaluate(&am, &agent, &json!({"resources": [format!("{W}/docs/a")]})).json();
    assert_eq!(nobody[0]["attributes"]["mail"], json!([]));

    let dead = evaluate(&am, &agent, &about(&["/docs/a"], "rubbish"));
    assert_eq!(
        (dead.status, message(&dead).as_str()),
        (400, "Invalid value subject")
    );
    assert_eq!(
        evaluate(&am, &user, &about(&["/docs/a"], &user)).status,
        403
    );
    assert_eq!(
        evaluate(&am, "rubbish", &about(&["/docs/a"], &user)).status,
        401
    );
    let mut unknown = about(&["/docs/a"], &user);
    unknown["application"] = json!("nope");
    assert_eq!(evaluate(&am, &agent, &unknown).status, 404);
}

#[test]
fn idle_time_ends_a_session_and_use_prolongs_it() {
    let am = seeded();
    let user = user_token(&am);
    let minutes = |n: u64| std::time::Duration::from_secs(n * 60);
    am.advance(minutes(29));
    let headers = [
        ("Accept-API-Version", "resource=2.0"),
        (TOKEN, user.as_str()),
    ];
    let ask = || {
        call(
            &am,
            "POST",
            "/json/sessions?_action=getSessionInfo",
            &headers,
            Some("{}"),
        )
        .status
    };
    assert_eq!(ask(), 200);
    am.advance(minutes(29));
    assert_eq!(ask(), 200);
    am.advance(minutes(31));
    assert_eq!(ask(), 401);
}

#[test]
fn users_read_themselves() {
    let am = seeded();
    let (agent, user) = (agent_token(&am), user_token(&am));
    let v = ("Accept-API-Version", "resource=3.0");
    let own = call(&am, "GET", "/json/users/demo", &[v, (TOKEN, &user)], None);
    assert_eq!(own.json()["mail"], json!(["demo@example.com"]));
    assert_eq!(
        call(&am, "GET", "/json/users/demo", &[v, (TOKEN, &agent)], None).status,
        403
    );
    let who = call(
        &am,
        "POST",
        "/json/users?_action=idFromSession",
        &[v, (TOKEN, &user)],
        Some("{}"),
    );
    assert_eq!(who.json()["id"], "demo");
}

#[test]
fn audit_events_are_taken_from_agents() {
    let am = seeded();
    let event = json!({"timestamp": "2026-08-20T09:12:00.015Z", "transactionId": "x", "eventName": "AM-ACCESS-OUTCOME"});
    let send = |token: &str, body: &str| {
        let headers = [("Accept-API-Version", "resource=1.0"), (TOKEN, token)];
        call(
            &am,
            "POST",
            "/json/realms/root/realms/shop/realm-audit/access?_action=create",
            &headers,
            Some(body),
        )
    };
    assert_eq!(send(&agent_token(&am), &event.to_string()).status, 201);
    assert_eq!(send(&agent_token(&am), "{}").status, 400);
    assert_eq!(
        message(&send(&user_token(&am), &event.to_string())),
        "User is not an Agent."
    );
    let kept = am.audit_events();
    assert_eq!(kept.len(), 1);
    assert_eq!(
        (kept[0].realm.as_str(), kept[0].topic.as_str()),
        ("/shop", "access")
    );
    assert_eq!(kept[0].event, event);
}

#[test]
fn administration_by_the_calls_of_the_real_server() {
    let am = seeded();
    let admin = token_of(&login(&am, "", "", "amadmin", "adminpassword"));
    let act = |method: &str, path: &str, version: &str, extra: &[(&str, &str)], body: &Value| {
        let mut headers = vec![("Accept-API-Version", version), (TOKEN, admin.as_str())];
        headers.extend_from_slice(extra);
        let text = body.to_string();
        call(
            &am,
            method,
            path,
            &headers,
            (!body.is_null()).then_some(text.as_str()),
        )
    };
    let (people, single) = ("resource=3.0, protocol=2.1", "resource=1.0, protocol=1.0");
    let realm = json!({"name": "a", "parentPath": "/shop", "active": true, "aliases": []});
    assert_eq!(
        act(
            "POST",
            "/json/global-config/realms?_action=create",
            single,
            &[],
            &realm
        )
        .status,
        201
    );
    assert_eq!(
        act(
            "POST",
            "/json/global-config/realms?_action=create",
            single,
            &[],
            &realm
        )
        .status,
        409
    );
    let user = json!({"username": "eve", "userpassword": "changeit8", "sn": "E", "cn": "Eve"});
    assert_eq!(
        act(
            "POST",
            "/json/realms/root/users?_action=create",
            people,
            &[],
            &user
        )
        .status,
        201
    );
    let agent = json!({"username": "wa9", "userpassword": ["s3cretagent"], "agenttype": ["WebAgent"],
        "serverurl": ["http://am.test.example.org:8080/openam"], "agenturl": [W], "made.up.property[0]": ["x"]});
    let at = "/json/realms/root/realms/shop/realms/a/agents";
    let made = act("POST", &format!("{at}?_action=create"), people, &[], &agent);
    assert_eq!(made.status, 201);
    // What the schema does not know becomes a free-form line.
    assert_eq!(
        made.json()["com.sun.identity.agents.config.freeformproperties"],
        json!(["made.up.property[0]=x"])
    );
    let change = json!({"com.sun.identity.agents.config.sso.only": ["true"]});
    assert_eq!(
        act("PUT", &format!("{at}/wa9"), people, &[], &change).status,
        404
    );
    let changed = act(
        "PUT",
        &format!("{at}/wa9"),
        people,
        &[("If-Match", "*")],
        &change,
    );
    assert_eq!(
        changed.json()["com.sun.identity.agents.config.sso.only"],
        json!(["true"])
    );
    assert_eq!(
        login(
            &am,
            "/realms/root/realms/shop/realms/a",
            APPLICATION,
            "wa9",
            "s3cretagent"
        )
        .status,
        200
    );

    let policies = "/json/realms/root/policies";
    let p = json!({"name": "p", "active": true, "applicationName": "iPlanetAMWebAgentService",
        "resourceTypeUuid": "76656a38-5f8e-401b-83aa-4ccb74ce88d2", "resources": [format!("{W}/p/*")],
        "actionValues": {"GET": true}, "subject": {"type": "AuthenticatedUsers"}});
    assert_eq!(
        act(
            "POST",
            &format!("{policies}?_action=create"),
            LATEST.1,
            &[],
            &p
        )
        .status,
        201
    );
    assert_eq!(
        act("PUT", &format!("{policies}/p"), LATEST.1, &[], &p).status,
        200
    );
    assert_eq!(
        act(
            "DELETE",
            &format!("{policies}/p"),
            LATEST.1,
            &[],
            &Value::Null
        )
        .status,
        200
    );
    assert_eq!(
        act("GET", &format!("{policies}/p"), LATEST.1, &[], &Value::Null).status,
        404
    );
    let headers = [LATEST, (TOKEN, &agent_token(&am))];
    assert_eq!(
        call(
            &am,
            "POST",
            &format!("{policies}?_action=create"),
            &headers,
            Some("{}")
        )
        .status,
        403
    );
}

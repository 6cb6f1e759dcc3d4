//! `agentadmin explain` says what the servers do: the same configuration, the same requests, both ways.

// What can't be had fails the test that wanted it.
#![allow(clippy::expect_used, clippy::panic)]

use std::{
    fs,
    io::Write,
    process::{Output, Stdio},
};

use portcullis_tests::{
    both_servers,
    outage::stop_am,
    second::{agentadmin, words},
    server::Kind,
    site::{Site, USER, site},
};
use serde_json::{Value, json};

const P: &str = "com.sun.identity.agents.config";

/// A site that needs no profile, before its start.
fn local(kind: Kind) -> Site {
    let site = site(kind).local().prepare();
    let url = site.url();
    for line in [
        format!("{P}.agenturi.prefix = {url}/amagent"),
        format!("{P}.notenforced.url[0] = {url}/public/*"),
        format!("{P}.notenforced.url[POST,1] = {url}/docs/*"),
        format!("{P}.agent.logout.url[0] = {url}/app/leave*"),
        format!("{P}.session.attribute.fetch.mode = HTTP_HEADER"),
        format!("{P}.session.attribute.mapping[UserToken] = X-User"),
    ] {
        site.append(&line);
    }
    site
}

fn explain(site: &Site, arguments: &[&str], input: &str) -> Output {
    let mut command = agentadmin(site, &["explain", "--conf"]);
    command
        .arg(site.instance.join("config/agent.conf"))
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = command.spawn().expect("agentadmin");
    let mut stdin = child.stdin.take().expect("input");
    // It ends without reading where the configuration is of no use.
    let _ = stdin.write_all(input.as_bytes());
    drop(stdin);
    child.wait_with_output().expect("agentadmin")
}

fn answers(site: &Site, questions: &[Value]) -> Vec<Value> {
    let input: String = questions.iter().map(|q| format!("{q}\n")).collect();
    let output = explain(site, &[], &input);
    assert!(output.status.success(), "{}", words(&output));
    let text = String::from_utf8(output.stdout).expect("text");
    let lines = text.lines().map(|l| serde_json::from_str(l).expect("JSON"));
    lines.collect()
}

/// What the server answers where the agent says this.
fn status(answer: &Value) -> u16 {
    match answer["status"].as_u64() {
        Some(status) => u16::try_from(status).expect("a status"),
        None => {
            assert_eq!(answer["outcome"], "allow", "{answer:#}");
            200
        }
    }
}

both_servers! {
    fn explain_says_what_the_server_does(kind: Kind) {
        let mut site = local(kind);
        site.server.start();
        let url = site.url();
        let mut visitor = site.visitor();
        assert_eq!(visitor.log_in("/app/page").status, 200);
        let session = json!({ "user": USER, "realm": "/" });
        let allowed = json!({ "actions": { "GET": true, "POST": true } });
        let cases = [
            ("GET", "/public/a.html", false, Value::Null),
            ("GET", "/public/%2e%2e/docs/a.html", false, Value::Null),
            ("GET", "/public//../docs/a.html", false, Value::Null),
            ("GET", "/docs/a.html?x=%41|", false, Value::Null),
            ("GET", "/app/page", true, allowed),
            ("GET", "/unknown/page", true, Value::Null),
            ("GET", "/app/leave", true, Value::Null),
        ];
        let question = |(method, path, logged_in, policy): &(&str, &str, bool, Value)| json!({
            "method": method, "url": format!("{url}{path}"),
            "session": if *logged_in { session.clone() } else { Value::Null }, "policy": policy,
        });
        let questions: Vec<Value> = cases.iter().map(question).collect();
        for (case, answer) in cases.iter().zip(answers(&site, &questions)) {
            let (_, path, logged_in, _) = case;
            let really = match logged_in {
                true => visitor.get(path).status,
                false => site.get(path).status,
            };
            assert_eq!(status(&answer), really, "{path}: {answer:#}");
        }
        site.stop();
    }

    fn explain_needs_neither_keys_nor_am(kind: Kind) {
        let mut site = local(kind);
        let _gone = stop_am(&mut site);
        for file in ["agent-key.conf", "agent-password.conf"] {
            fs::remove_file(site.instance.join("config").join(file)).expect("a file");
        }
        let exempt = json!({ "id": 1, "method": "GET", "url": format!("{}/public/a", site.url()) });
        let answer = &answers(&site, std::slice::from_ref(&exempt))[0];
        let rule = format!("{P}.notenforced.url[0]={}/public/*", site.url());
        assert_eq!((&answer["outcome"], &answer["matched"]), (&json!("allow"), &json!(rule)));
        let text = words(&explain(&site, &["--human"], &exempt.to_string()));
        assert!(text.contains(&format!("hit         {rule}")), "{text}");
        let broken = explain(&site, &[], &format!("{{\"id\":2}}\n{exempt}\n"));
        assert_eq!(broken.status.code(), Some(3));
        let text = words(&broken);
        assert!(text.contains("missing field `method`") && text.contains("PCL0101"), "{text}");
        site.append(&format!("{P}.sso.only = perhaps"));
        let refused = explain(&site, &[], &exempt.to_string());
        assert_eq!(refused.status.code(), Some(1));
        assert!(words(&refused).contains(&format!("{P}.sso.only: \"perhaps\"")), "{}", words(&refused));
        assert!(refused.stdout.is_empty());
        site.stop();
    }
}

//! `agentadmin doctor` beside web servers that run, and at a real OpenAM. What else can be wrong is tried in
//! `installer/tests/doctor`.

// What can't be had fails the test that wanted it.
#![allow(clippy::expect_used, clippy::panic)]

use std::fs;

use portcullis_openam::seed::Am;
use portcullis_tests::{
    both_servers, real,
    second::{agentadmin, words},
    server::Kind,
    site::{AmServer, Site, site},
};
use serde_json::{Value, json};

const P: &str = "com.sun.identity.agents.config";
const POLICY: &str = "org.forgerock.openam.agents.config.policy.evaluation";

/// What `doctor` says of the site's instance, and the names of the checks that are not ok.
fn examined(site: &Site) -> (Value, Vec<String>) {
    let mut command = agentadmin(site, &["doctor", "agent_1", "--json"]);
    let output = command.output().expect("agentadmin");
    let said = words(&output);
    let report: Value = serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{said}"));
    let checks = report["checks"].as_array().expect("checks").clone();
    let failed: Vec<String> = checks
        .iter()
        .filter(|c| c["verdict"] == "not ok")
        .map(|c| c["id"].as_str().expect("id").to_owned())
        .collect();
    let code = if failed.is_empty() { 0 } else { 3 };
    assert_eq!(output.status.code(), Some(code), "{said}");
    (report, failed)
}

fn check<'r>(report: &'r Value, id: &str) -> &'r Value {
    let mut checks = report["checks"].as_array().expect("checks").iter();
    checks.find(|c| c["id"] == id).expect("the check")
}

both_servers! {
    fn a_site_that_is_well_is_found_to_be(kind: Kind) {
        let site = site(kind).listens().start();
        let (report, failed) = examined(&site);
        assert!(failed.is_empty(), "{report:#}");
        assert_eq!(check(&report, "module")["verdict"], "ok", "{report:#}");
        assert_eq!(check(&report, "notifications")["verdict"], "ok", "{report:#}");
        assert_eq!(check(&report, "shared.memory")["verdict"], "ok", "{report:#}");
        assert_eq!(check(&report, "workers")["verdict"], "ok", "{report:#}");
        // The server goes on as before.
        assert_eq!(site.visitor().log_in("/docs/a.html").status, 200);
        site.stop();
    }
}

#[test]
fn what_nginx_answers_without_the_agent_is_found() {
    let text = "location /given { return 200 given; }\n";
    let site = site(Kind::Nginx).host("", text).prepare();
    let (report, failed) = examined(&site);
    assert_eq!(failed, ["bypass"], "{report:#}");
    let evidence = check(&report, "bypass")["evidence"].to_string();
    assert!(evidence.contains("return 200 given"), "{evidence}");
    site.stop();
}

/// What is wrong, the lines of `agent.conf` for it, the check that fails, and a word of evidence or remedy.
const AT_A_REAL_AM: [(&str, &str, &str, &str, &str); 9] = [
    ("nothing", "", "", "", ""),
    (
        "cookie name",
        "cookie.name",
        "exampleCookie",
        "cookie.name",
        "HTTP 401",
    ),
    (
        "realm",
        "organization.name",
        "/none",
        "realm",
        "organization.name",
    ),
    (
        "profile",
        "username",
        "nobody-has-this-name",
        "login",
        "HTTP 401",
    ),
    ("path", "naming.url", "@HOST@/other/", "am", "HTTP 404"),
    ("name", "naming.url", "@ADDRESS@", "am", "naming.url"),
    (
        "port",
        "naming.url",
        "http://am.test.example.org:1/openam/",
        "tcp",
        "naming.url",
    ),
    (
        "policy set",
        "policy.set",
        "noSuchSet",
        "policy.set",
        "noSuchSet",
    ),
    (
        "policy realm",
        "policy.realm",
        "/none",
        "policy.realm",
        "/none",
    ),
];

#[test]
fn what_a_real_openam_refuses_is_found() {
    let Some(openam) = real::openam("the doctor at a real OpenAM") else {
        return;
    };
    let am = AmServer::Real(Am::at(openam.url()).expect("URL of AM"));
    let site = site(Kind::Httpd).am(am).listens().prepare();
    let conf = site.instance.join("config/agent.conf");
    let well = fs::read_to_string(&conf).expect("agent.conf");
    for (what, name, value, fails, says) in AT_A_REAL_AM {
        fs::write(&conf, broken(&well, name, value, &site)).expect("agent.conf");
        expect_one(&site, what, fails, says);
    }
    fs::write(&conf, &well).expect("agent.conf");
    let admin = site.am.admin();
    let change = |attribute: &str, value: &str| {
        let members = json!({ attribute: [value] });
        admin
            .update_agent("/", &site.agent, &members)
            .expect("profile");
    };
    change("sunIdentityServerDeviceStatus", "Inactive");
    expect_one(&site, "an agent that is not active", "login", "Active");
    change("sunIdentityServerDeviceStatus", "Active");
    change("userpassword", "an0ther-pW7-longenough");
    expect_one(&site, "a wrong password", "login", "agent-password.conf");
    openam.stop();
}

fn expect_one(site: &Site, what: &str, fails: &str, says: &str) {
    let (report, failed) = examined(site);
    if fails.is_empty() {
        assert!(failed.is_empty(), "{what}: {report:#}");
        return;
    }
    assert_eq!(failed, [fails], "{what}: {report:#}");
    let found = check(&report, fails);
    let text = format!("{} {}", found["evidence"], found["remedy"]);
    assert!(text.contains(says), "{what}: {text}");
}

/// The text with this value of a property in place of every other.
fn broken(well: &str, name: &str, value: &str, site: &Site) -> String {
    let name = match name {
        "" => return well.to_owned(),
        "policy.set" => format!("{POLICY}.application"),
        "policy.realm" => format!("{POLICY}.realm"),
        name => format!("{P}.{name}"),
    };
    let url = site.am.url();
    let (host, path) = url.rsplit_once('/').expect("a path");
    let port = host.rsplit(':').next().expect("a port");
    let value = value
        .replace("@HOST@", host)
        .replace("@ADDRESS@", &format!("http://127.0.0.1:{port}/{path}/"));
    let begins = format!("{name} =");
    let kept = well.lines().filter(|line| !line.starts_with(&begins));
    let mut text: String = kept.map(|line| format!("{line}\n")).collect();
    text.push_str(&format!("{name} = {value}\n"));
    text
}

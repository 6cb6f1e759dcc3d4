//! Do the tools of every day say what is so, on a server that runs and on one that does not?

// What can't be had fails the test that wanted it.
#![allow(clippy::expect_used, clippy::panic)]

use portcullis_tests::{
    both_servers,
    guide::{Setup, Shell},
    second::{agentadmin, words},
    site::{Site, site},
    wait_until,
};
use serde_json::Value;

/// What `agentadmin` prints, and its exit code.
fn tool(site: &Site, arguments: &[&str]) -> (Option<i32>, String) {
    let output = agentadmin(site, arguments).output().expect("agentadmin");
    (output.status.code(), words(&output))
}

fn status(site: &Site) -> Value {
    let (_, text) = tool(site, &["status", "agent_1", "--json"]);
    serde_json::from_str(&text).unwrap_or_else(|_| panic!("{text}"))
}

/// The incident that a page names.
fn incident(page: &str) -> &str {
    let rest = page.split_once("<code>").expect("an incident").1;
    rest.split_once("</code>").expect("an incident").0
}

/// A log of the site: one page that is exempt, one that is not, and a line that tells of nothing.
fn log_of(site: &Site) -> tempfile::NamedTempFile {
    let file = tempfile::NamedTempFile::new().expect("file");
    let line = |path: &str| {
        format!(
            "192.0.2.7 - - [10/Oct/2026:13:55:36 +0000] \"GET {path} HTTP/1.1\" 200 1 \"-\" \"x\"\n"
        )
    };
    let lines = [line("/public/a?key=s3cret"), line("/app/page")].concat();
    std::fs::write(file.path(), lines).expect("log");
    let conf = site.instance.join("config/other.conf");
    let text =
        std::fs::read_to_string(site.instance.join("config/agent.conf")).expect("agent.conf");
    let rule = "\nportcullis.deny.rule[9] = url=*/app/page*\n";
    std::fs::write(conf, text + rule).expect("other.conf");
    file
}

both_servers! {
    fn logs_tell_what_a_change_would_do(kind: Kind) {
        let site = site(kind).local().prepare();
        let url = site.url();
        site.append(&format!("com.sun.identity.agents.config.agenturi.prefix = {url}/amagent"));
        site.append("com.sun.identity.agents.config.notenforced.url[0] = /public/*");
        let (log, other) = (log_of(&site), site.instance.join("config/other.conf"));
        let log = log.path().to_str().expect("path");
        let arguments = ["explain", "--conf", "agent_1", "--access-log", "combined", log];
        let (code, said) = tool(&site, &arguments);
        assert!(code == Some(0) && said.contains("2 requests"), "{said}");
        assert!(said.contains("allow PCL0101 because") && said.contains("login 302 PCL0200"), "{said}");
        assert!(!said.contains("s3cret"), "{said}");
        let other = other.to_str().expect("path");
        let (code, said) = tool(&site, &[&arguments[..], &["--against", other]].concat());
        assert!(code == Some(4) && said.contains("1 change their outcome"), "{said}");
        assert!(said.contains("PCL0410 because portcullis.deny.rule[9]"), "{said}");
        site.stop();
    }

    fn one_client_is_looked_at_more_closely(kind: Kind) {
        let level = "com.sun.identity.agents.config.debug.level";
        let site = site(kind).workers(1).property(level, "info").start();
        let mut visitor = site.visitor();
        assert_eq!(visitor.log_in("/app/page").status, 200);
        let (code, said) = tool(&site, &["debug", "::ffff:127.0.0.1", "agent_1"]);
        assert!(code == Some(0) && said.contains("requests of 127.0.0.1 for 10 minutes"), "{said}");
        assert_eq!(status(&site)["hosts"][0]["debug"]["address"], "127.0.0.1");
        site.wait_for_line("PCL0723");
        // The very same request again, which is answered without a decision otherwise.
        for _ in 0..4 {
            assert_eq!(visitor.get("/app/page?key=s3cret").status, 200);
        }
        let closer = |site: &Site, page: &str| {
            let log = site.debug_log();
            let lines = log.lines().filter(|line| line.contains("PCL0725") && line.contains(page));
            lines.map(str::to_owned).collect::<Vec<_>>()
        };
        wait_until("all four", || closer(&site, "/app/page").len() == 4);
        let line = closer(&site, "/app/page").remove(3);
        for wanted in ["decided=PCL0100", "stage=\"attributes\"", "known=\"session, policy", "policy set ", "am-auth-jwt"] {
            assert!(line.contains(wanted), "{wanted}: {line}");
        }
        let log = site.debug_log();
        assert!(log.lines().any(|line| line.contains("PCL0100") && line.contains("/app/page")), "{log}");
        for secret in visitor.cookies.values().map(String::as_str).chain(["s3cret"]) {
            assert!(!log.contains(secret), "{log}");
        }
        let (code, text) = tool(&site, &["status"]);
        assert!(code == Some(0) && text.contains("more is written of the requests of 127.0.0.1 until"), "{text}");

        // Of nobody else.
        assert_eq!(tool(&site, &["debug", "192.0.2.9", "agent_1", "--minutes", "1"]).0, Some(0));
        site.wait_for_line("client=192.0.2.9 until=");
        assert_eq!(visitor.get("/app/other").status, 200);
        assert_eq!(tool(&site, &["debug", "--off", "agent_1"]).0, Some(0));
        site.wait_for_line("PCL0724");
        assert!(closer(&site, "/app/other").is_empty() && !site.debug_log().contains("/app/other"));
        assert!(status(&site)["hosts"][0]["debug"].is_null());
        assert_eq!(visitor.get("/app/page").status, 200);
        let (code, said) = tool(&site, &["debug", "nobody", "agent_1"]);
        assert!(code == Some(1) && said.contains("nobody is not an IP address"), "{said}");
        site.stop();
    }

    fn the_tools_of_every_day(kind: Kind) {
        let mut site = site(kind).workers(2).prepare();
        let (code, text) = tool(&site, &["status"]);
        assert!(code == Some(3) && text.contains("no running web server"), "{text}");
        site.server.start();
        let mut visitor = site.visitor();
        assert_eq!(visitor.log_in("/app/page").status, 200);
        let page = visitor.get("/secret/1?key=s3cret").text();

        // What a page names is told in words, whatever the instance is.
        let (code, told) = tool(&site, &["explain", incident(&page)]);
        assert_eq!(code, Some(0), "{told}");
        for wanted in ["became deny 403: PCL0300", "remedy:", "still is that text", "agentadmin status agent_1"] {
            assert!(told.contains(wanted), "{wanted}: {told}");
        }
        assert!(!told.contains("s3cret") && !told.contains("demo"), "{told}");
        let (code, said) = tool(&site, &["explain", "0000000000000000", "--conf", "agent_1"]);
        assert!(code == Some(1) && said.contains("is not kept"), "{said}");

        let is = status(&site);
        let host = &is["hosts"][0];
        assert_eq!(is["instance"], "agent_1", "{is:#}");
        assert!(host["host"]["workers"].as_array().is_some_and(|w| !w.is_empty()), "{is:#}");
        assert_eq!(host["host"]["version"], env!("CARGO_PKG_VERSION"), "{is:#}");
        assert!(host["host"]["module"].as_str().is_some_and(|m| m.ends_with(".so")), "{is:#}");
        let workers = host["host"]["workers"].as_array().expect("workers");
        assert!(workers.contains(&host["leader"]["pid"]), "{is:#}");
        assert!(host["leader"]["since"].is_string(), "{is:#}");
        assert_eq!(host["am"]["away"], false, "{is:#}");
        assert_eq!(host["am"]["agent_session"], true, "{is:#}");
        assert!(host["am"]["address_in_use"].is_string(), "{is:#}");
        assert!(host["cache"]["session_lookups"]["misses"].as_u64() >= Some(1), "{is:#}");
        assert!(host["configuration"]["profile_read_at"].is_string(), "{is:#}");
        let (code, text) = tool(&site, &["status"]);
        assert!(code == Some(0) && text.contains("not known to be away"), "{text}");

        // What is forgotten is asked for again, and nobody is logged out.
        let asked = |is: &Value| is["hosts"][0]["cache"]["session_lookups"]["misses"].as_u64();
        assert_eq!(visitor.get("/app/page").status, 200);
        let before = asked(&status(&site));
        let (code, said) = tool(&site, &["flush", "--all", "agent_1"]);
        assert!(code == Some(0) && said.contains("forgot all sessions"), "{said}");
        assert_eq!(visitor.get("/app/page").status, 200);
        let after = asked(&status(&site));
        assert!(after > before, "{before:?}, {after:?}");
        let (code, said) = tool(&site, &["flush", "--session", "agent_1"]);
        assert!(code == Some(1) && said.contains("standard input has no token"), "{said}");
        let mut shell = Shell::at(&mut site);
        shell.has_read(&page);
        shell.types(&Setup::named(&["docs/day-to-day.md"], "running"));
        site.stop();
    }
}

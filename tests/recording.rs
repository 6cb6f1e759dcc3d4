//! Is every request that the agent decides written down as asked, without what lets anybody in, and does
//! `agentadmin explain` say the same of it? The harness asks the last question in every other test too.

// Scenarios are functions of their own: Clippy does not take them for tests.
#![allow(clippy::expect_used, clippy::panic)]

use std::fs;

use portcullis_tests::{
    both_servers,
    client::Request,
    outage::stop_am,
    recording::{file, replay},
    site::{AGENT_PASSWORD, Site, USER, USER_PASSWORD, site},
    wait_until,
};
use serde_json::Value;

fn lines(site: &Site) -> Vec<Value> {
    let text = fs::read_to_string(file(&site.instance)).unwrap_or_default();
    let parse = |line: &str| serde_json::from_str(line).expect("JSON");
    text.lines().map(parse).collect()
}

/// The recorded decisions about a path, once there is one.
fn about(site: &Site, path: &str) -> Vec<Value> {
    let find = || -> Vec<Value> {
        let is_it = |line: &Value| line["url"].as_str().is_some_and(|url| url.contains(path));
        lines(site).into_iter().filter(is_it).collect()
    };
    wait_until(path, || !find().is_empty());
    find()
}

both_servers! {
    fn what_is_recorded_is_explained(kind: Kind) {
        let mut site = site(kind)
            .property("portcullis.deny.rule[0]", "url=*/denied/*")
            .start();
        site.wait_for_line("PCL0621");
        let mut visitor = site.visitor();
        assert_eq!(visitor.log_in("/app/page").status, 200);
        assert_eq!(visitor.get("/app/other?token=k3ptOut&q=1").status, 200);
        assert_eq!(visitor.get("/secret/a.html").status, 403);
        assert_eq!(site.get("/public/a.html").status, 200);
        assert_eq!(site.get("/denied/a.html").status, 403);
        let with_secrets = Request::get("/docs/a.html").header("Authorization", "Basic s3cr3t")
            .header("Cookie", "am-auth-jwt=nobody-sealed-this; app=t0ken");
        assert_eq!(site.send(&with_secrets).status, 302);
        let cookies = visitor.cookies.clone();
        let unasked = Request::get("/docs/unasked").header("Cookie", &visitor.cookie_header());
        let _gone = stop_am(&mut site);
        assert_eq!(site.send(&unasked).status, 503);
        let last = &about(&site, "/docs/unasked")[0];
        assert_eq!(last["recorded"]["outcome"], "unavailable");
        let denied = &about(&site, "/denied/")[0]["recorded"];
        assert_eq!((&denied["status"], &denied["rule"]), (&Value::from(403), &Value::from("portcullis.deny.rule[0]")));
        let allowed = &about(&site, "/app/other")[0];
        assert_eq!(allowed["recorded"]["user"], USER);
        assert!(allowed["url"].as_str().expect("url").contains("&q=1"), "{allowed}");
        let text = fs::read_to_string(file(&site.instance)).expect("recording");
        let mut secrets = vec![
            USER_PASSWORD, AGENT_PASSWORD, "k3ptOut", "s3cr3t", "nobody-sealed-this", "t0ken", "eyJ",
        ];
        secrets.extend(cookies.values().filter(|c| c.len() > 8).map(String::as_str));
        for secret in secrets {
            assert!(!text.contains(secret), "{secret} in {text}");
        }
        let agents = site.instance.ancestors().nth(2).expect("agents").to_owned();
        let found = replay(&agents, 0);
        assert!(found.same >= 8, "{found:?}");
        // The one answer to a login.
        assert_eq!(found.not.values().sum::<usize>(), 1, "{found:?}");
        site.server.expect("PCL");
        site.stop();
    }

    fn nobody_else_reads_the_recording(kind: Kind) {
        use std::os::unix::fs::MetadataExt;
        let site = site(kind).start();
        assert_eq!(site.get("/public/a.html").status, 200);
        about(&site, "/public/");
        let mode = fs::metadata(file(&site.instance)).expect("recording").mode();
        assert_eq!(mode & 0o077, 0, "{mode:o}");
        site.stop();
    }
}

//! Can every refusal be explained by the number on its page, while the server runs?

// What can't be had fails the test that wanted it.
#![allow(clippy::expect_used, clippy::panic)]

use portcullis_tests::{
    both_servers,
    monitoring::{look, scrape, switch_on},
    second::{agentadmin, words},
    site::{Site, site},
};
use serde_json::Value;

/// The incident that a page names.
fn incident(page: &str) -> &str {
    let rest = page.split_once("<code>").expect("an incident").1;
    rest.split_once("</code>").expect("an incident").0
}

/// What `agentadmin trace` prints, and whether it found anything.
fn trace(site: &Site, arguments: &[&str]) -> (bool, String) {
    let conf = site.instance.join("config/agent.conf");
    let mut command = agentadmin(site, &["trace", "--conf"]);
    let output = command
        .arg(conf)
        .args(arguments)
        .output()
        .expect("agentadmin");
    (output.status.success(), words(&output))
}

both_servers! {
    fn an_incident_is_explained_while_the_server_runs(kind: Kind) {
        let site = site(kind)
            .workers(4)
            .property("portcullis.deny.rule[0]", "url=*/app/closed*")
            .start();
        let mut visitor = site.visitor();
        assert_eq!(visitor.log_in("/app/page").status, 200);
        let refused = visitor.get("/secret/1?key=s3cret");
        assert_eq!(refused.status, 403);
        let (page, closed) = (refused.text(), visitor.get("/app/closed/2").text());
        let (found, json) = trace(&site, &["--json", incident(&page)]);
        assert!(found, "{json}");
        let one: Value = serde_json::from_str(&json).expect("one line of JSON");
        assert_eq!((&one["code"], &one["status"]), (&"PCL0300".into(), &403.into()));
        assert_eq!(one["url"], format!("{}/secret/1", site.url()), "without its query");
        let version = &one["configuration"];
        assert_eq!(version["agent_conf"].as_str().map(str::len), Some(16), "{one}");
        assert!(version["profile"].as_u64() >= Some(1), "{one}");
        assert!(!json.contains("s3cret") && !json.contains("demo"), "{json}");

        let (found, text) = trace(&site, &[&incident(&closed).to_lowercase()]);
        assert!(found && text.contains("PCL0410 deny 403 GET"), "{text}");
        assert!(text.contains("rule: portcullis.deny.rule[0]"), "{text}");

        // The redirect to the login, then these two; what was let through leaves no trace.
        let (found, all) = trace(&site, &["--last", "3"]);
        assert!(found && !all.contains("PCL0100"), "{all}");
        assert!(all.find("PCL0300") < all.find("PCL0410"), "{all}");
        let (found, said) = trace(&site, &["0000000000000000"]);
        assert!(!found && said.contains("is not kept"), "{said}");
        site.stop();
    }

    fn an_incident_names_its_node(kind: Kind) {
        let mut site = site(kind).workers(4).property("portcullis.node.name", "web1").prepare();
        switch_on(&site);
        site.server.start();
        let refused = || {
            let mut visitor = site.visitor();
            assert_eq!(visitor.log_in("/app/page").status, 200);
            let page = visitor.get("/secret/1").text();
            incident(&page).to_owned()
        };
        let (one, two) = (refused(), refused());
        let marks = [&one, &two].map(|id| id.split_once('-').expect("a mark").1);
        assert_eq!((marks[0], marks[0].len()), (marks[1], 4), "the same in every worker");
        site.wait_for_line(&format!("incident={one}"));
        let health = look(&site, "/agent/health").text();
        assert!(health.contains(&format!("\"node\":\"{}\"", marks[0])), "{health}");
        let info = format!("portcullis_node_info{{mark=\"{}\"}}", marks[0]);
        assert!(scrape(&site).has(&info), "{info}");

        // It is found without its mark, too, and as somebody wrote it down.
        let number = one.split_once('-').expect("a mark").0.replace('0', "o");
        let (found, said) = trace(&site, &[&number]);
        assert!(found && said.contains(&one), "{said}");
        let (found, said) = trace(&site, &["7Q2W0H5M3R9T1B4C-ZZZZ"]);
        assert!(!found && said.contains("the mark ZZZZ; this one has"), "{said}");
        assert!(said.contains(marks[0]), "{said}");
        let (found, said) = trace(&site, &[&format!("7Q2W0H5M3R9T1B4C-{}", marks[0])]);
        assert!(!found && said.contains("is not kept"), "{said}");
        site.stop();
    }

    fn traces_survive_their_workers_and_end_with_the_server(kind: Kind) {
        let site = site(kind).start();
        let mut visitor = site.visitor();
        assert_eq!(visitor.log_in("/app/page").status, 200);
        let page = visitor.get("/secret/1").text();
        site.server.reload();
        let (found, text) = trace(&site, &[incident(&page)]);
        assert!(found, "{text}");
        let conf = site.instance.join("config/agent.conf");
        let other = site.instance.join("config/other.conf");
        let text = std::fs::read_to_string(conf).expect("agent.conf");
        let text = text.replace("organization.name", "organization.name = /other\n#");
        std::fs::write(&other, text).expect("other.conf");
        let mut command = agentadmin(&site, &["trace", "--last", "9", "--conf"]);
        let output = command.arg(other).output().expect("agentadmin");
        assert!(words(&output).contains("no running web server"), "{}", words(&output));
        site.stop();
    }
}

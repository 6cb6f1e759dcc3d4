//! A Web Agent 2024.3 is taken over with all of its files as they are: nobody edits anything, and only the password is
//! asked for.

// Scenarios are functions of their own: Clippy does not take them for tests.
#![allow(clippy::expect_used, clippy::panic)]

use std::{collections::BTreeMap, fs};

use portcullis_tests::{
    both_servers,
    imported::{WebAgent, active, files},
    second::{agentadmin, am_on_localhost, answered, words},
    server::Kind,
    site::{AmServer, Site, site},
};

/// Runs `agentadmin`, which has to end well; what it printed.
fn done(site: &Site, arguments: &[&str]) -> String {
    let output = answered(agentadmin(site, arguments), "yes\n");
    let said = words(&output);
    assert!(output.status.success(), "{arguments:?}: {said}");
    said
}

/// The report by line: (where, what became of it, which property and more).
fn report(text: &str) -> Vec<(String, String, String)> {
    let word = [
        "taken",
        "renamed",
        "without effect",
        "replaced",
        "unreadable",
        "left out",
        "unknown",
    ];
    let lines = text.lines().filter_map(|line| {
        let line = line.strip_prefix("  ")?;
        let (at, what) = word
            .iter()
            .find_map(|w| Some((line.find(&format!(" {w} "))?, *w)))?;
        let (place, rest) = line.split_at(at);
        let rest = rest.trim_start().strip_prefix(what)?;
        Some((
            place.trim().to_owned(),
            what.to_owned(),
            rest.trim().to_owned(),
        ))
    });
    lines.collect()
}

both_servers! {
    fn a_web_agent_is_taken_over_with_its_password_alone_and_given_back(kind: Kind) {
        let am = AmServer::Simulated(Box::new(am_on_localhost()));
        let mut site = site(kind).am(am).unrecorded().prepare();
        done(&site, &["--r", "agent_1"]);
        let home = site.instance.ancestors().nth(3).expect("the site's folder").to_path_buf();
        let old = WebAgent::install(&site, &home);
        let conf = site.server.conf();
        let theirs = files(&old.folder);
        let server = files(conf.parent().expect("folder"));
        let password = home.join("password").display().to_string();
        let place = match kind {
            Kind::Httpd => conf.display().to_string(),
            Kind::Nginx => old.folder.display().to_string(),
        };

        let said = done(&site, &["--takeover", &place, &password]);
        let kept = fs::read_to_string(site.instance.join("config/import.txt")).expect("report");
        assert!(said.contains(kept.trim_end()), "{said}");
        let lines = report(&kept);
        let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
        for (_, what, _) in &lines {
            *counts.entry(what).or_default() += 1;
        }
        // Every line is spoken of, under its number.
        let text = fs::read_to_string(&old.agent_conf).expect("agent.conf");
        let beside = lines.iter().filter(|(place, ..)| place.contains(".conf")).count();
        assert_eq!(lines.len() - beside, active(text.trim_start_matches('\u{feff}')).count(), "{kept}");
        for (number, line) in (1..).zip(text.lines()) {
            let line = line.trim_start_matches('\u{feff}').trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let name = line.split([' ', '=', '[']).next().expect("a name");
            let place = format!("line {number}");
            let told = lines.iter().find(|(at, ..)| *at == place);
            let (_, what, rest) = told.unwrap_or_else(|| panic!("{place} ({name}): {kept}"));
            assert!(rest.starts_with(name) || line == "see the wiki", "{place}: {what} {rest}");
        }
        eprintln!("{kind:?}: {counts:?}");
        // The agent's password was given, the proxy's was not; what is empty is no secret.
        let unreadable = lines.iter().filter(|(_, what, _)| what == "unreadable");
        let unreadable: Vec<&str> = unreadable.map(|(.., rest)| rest.as_str()).collect();
        assert_eq!(unreadable.len(), 1, "{kept}");
        assert!(unreadable[0].contains("forward.proxy.password: "), "{unreadable:?}");
        assert_eq!(counts.get("left out"), None, "{kept}");
        assert_eq!(counts.get("unknown"), (kind == Kind::Nginx).then_some(&2), "{kept}");
        assert_eq!(counts.get("renamed"), (kind == Kind::Nginx).then_some(&1), "{kept}");

        let (passes, said) = site.server.check();
        assert!(passes, "{said}");
        site.server.start();
        assert_eq!(site.get("/public/a.html").status, 200);
        assert_eq!(site.visitor().log_in("/docs/a.html").status, 200);
        assert_eq!(files(&old.folder), theirs, "the Web Agent's files stay as they are");
        site.server.restart();

        done(&site, &["--rollback", "agent_1"]);
        assert_eq!(fs::read(&conf).expect("configuration"), read_of(&server, &conf));
        done(&site, &["--r", "agent_1"]);
        assert_eq!(files(conf.parent().expect("folder")), server);
        assert_eq!(files(&old.folder), theirs);
        site.stop();
    }
}

fn read_of(files: &[(std::path::PathBuf, Vec<u8>)], path: &std::path::Path) -> Vec<u8> {
    let found = files.iter().find(|(name, _)| name == path);
    found.expect("the file").1.clone()
}

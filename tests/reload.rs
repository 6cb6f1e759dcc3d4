//! `agent.conf` is edited while the server runs: a whole valid configuration takes the place of the old
//! one in all workers, or nothing changes; and the log says what, or why not (design promise 5).

// What can't be had fails the test that wanted it.
#![allow(clippy::expect_used, clippy::panic)]

use std::{fs, os::unix::fs::PermissionsExt, path::PathBuf};

use portcullis_tests::{
    both_servers,
    client::Request,
    outage::Crowd,
    processes::{agent_workers, wait_for_successors},
    site::{AGENT, Builder, Site, site},
    wait_until,
};
use serde_json::json;

const P: &str = "com.sun.identity.agents.config";

/// A site that looks at its `agent.conf` every second.
fn watching(builder: Builder) -> Builder {
    builder
        .property("portcullis.config.reload.seconds", "1")
        // The tests ask without a session until they get what they wait for.
        .property("portcullis.login.starts.max", "0")
}

/// The same, with everything in `agent.conf`.
fn local(builder: Builder) -> Site {
    let mut site = watching(builder.local()).prepare();
    let url = site.url();
    site.append(&format!("{P}.agenturi.prefix = {url}/amagent"));
    site.append(&format!("{P}.notenforced.url[0] = {url}/public/*"));
    site.server.start();
    assert_eq!(site.get("/public/a.html").status, 200);
    site
}

fn conf(site: &Site) -> PathBuf {
    site.instance.join("config/agent.conf")
}

/// Writes lines behind the others, all at once.
fn append(site: &Site, lines: &str) -> String {
    let before = fs::read_to_string(conf(site)).expect("agent.conf");
    put(site, &format!("{before}{lines}\n"));
    before
}

/// Replaces the file as an editor does, and keeps who may read it.
fn put(site: &Site, text: &str) {
    let (path, new) = (conf(site), site.instance.join("config/agent.conf.new"));
    fs::copy(&path, &new).expect("agent.conf");
    let owner = fs::metadata(&path).expect("agent.conf");
    let (uid, gid) = (
        std::os::unix::fs::MetadataExt::uid(&owner),
        std::os::unix::fs::MetadataExt::gid(&owner),
    );
    std::os::unix::fs::chown(&new, Some(uid), Some(gid)).expect("owner");
    fs::write(&new, text).expect("agent.conf");
    fs::rename(&new, &path).expect("agent.conf");
    site.server.keep();
}

/// The statuses that a page has in all workers.
fn statuses(site: &Site, page: &str) -> Vec<u16> {
    let crowd = Crowd::send(site, vec![Request::get(page); 40]);
    let mut all: Vec<u16> = crowd.rest().iter().map(|answer| answer.status).collect();
    all.sort_unstable();
    all.dedup();
    all
}

fn lines_with(site: &Site, text: &str) -> usize {
    let log = site.debug_log();
    log.lines().filter(|line| line.contains(text)).count()
}

both_servers! {
    fn a_changed_agent_conf_counts_without_a_reload(kind: Kind) {
        let site = local(site(kind));
        wait_until("all workers", || agent_workers(&site).len() == 2);
        let workers = agent_workers(&site);
        let mut visitor = site.visitor();
        assert_eq!(visitor.log_in("/app/known").status, 200);
        assert_eq!(statuses(&site, "/off/a.html"), [302]);
        append(&site, &format!("{P}.notenforced.url[1] = {}/off/*", site.url()));
        wait_until("the new rule in all workers", || statuses(&site, "/off/a.html") == [200]);
        site.wait_for_line(&format!(
            "PCL0654 a property has changed: {P}.notenforced.url: + [1]=\"{}/off/*\"", site.url()
        ));
        assert_eq!(visitor.get("/app/known").status, 200, "whoever is logged in stays so");
        assert_eq!(agent_workers(&site), workers, "nothing was restarted");
        // What a start after that finds is the same.
        site.server.reload();
        wait_for_successors(&site, &workers);
        assert_eq!(statuses(&site, "/off/a.html"), [200]);
        assert_eq!(lines_with(&site, "PCL0654"), 1);
        site.stop();
    }

    fn a_broken_agent_conf_changes_nothing_and_is_named_once(kind: Kind) {
        let mut site = local(site(kind));
        for code in ["PCL0600", "PCL0602"] {
            site.server.expect(code);
        }
        let good = append(&site, &format!(
            "{P}.notenforced.url[1] = {}/off/*\n{P}.sso.only = perhaps\nportcullis.am.deadline = 1", site.url()
        ));
        site.wait_for_line("PCL0602");
        for mistake in [format!("{P}.sso.only: \"perhaps\""), "portcullis.am.deadline: \"1\"".into()] {
            let log = site.debug_log();
            let named: Vec<&str> = log.lines().filter(|l| l.contains(&mistake)).collect();
            assert!(named.len() == 1 && named[0].contains("agent.conf line "), "{mistake}\n{log}");
        }
        assert_eq!(statuses(&site, "/off/a.html"), [302], "the good part of it does not count either");
        // Another look has happened when this counts.
        put(&site, &good.replace("/public/*", "/off/*"));
        wait_until("the mended file", || statuses(&site, "/off/a.html") == [200]);
        wait_until("it in all workers", || statuses(&site, "/public/a.html") == [302]);
        assert_eq!(lines_with(&site, "PCL0602"), 1);
        site.stop();
    }

    fn what_takes_a_restart_is_not_half_applied(kind: Kind) {
        let site = local(site(kind));
        append(&site, &format!(
            "{P}.notenforced.url[1] = {}/off/*\n{P}.receive.timeout = 3\norg.forgerock.openam.agents.config.jwt.name = other-jwt",
            site.url()
        ));
        site.wait_for_line("PCL0655");
        let log = site.debug_log();
        let line = log.lines().find(|line| line.contains("PCL0655")).expect("the line");
        for name in ["receive.timeout", "jwt.name"] {
            assert!(line.contains(name), "{line}");
        }
        assert!(!line.contains("notenforced"), "{line}");
        assert_eq!(statuses(&site, "/off/a.html"), [302]);
        let old = agent_workers(&site);
        site.server.reload();
        wait_for_successors(&site, &old);
        assert_eq!(statuses(&site, "/off/a.html"), [200]);
        let mut visitor = site.visitor();
        assert_eq!(visitor.log_in("/app/known").status, 200);
        assert!(visitor.cookie_header().contains("other-jwt="));
        assert_eq!(lines_with(&site, "PCL0655"), 1);
        site.stop();
    }

    fn both_halves_of_a_centralized_configuration_may_change(kind: Kind) {
        let site = watching(site(kind).listens()).start();
        site.wait_for_line("PCL0640");
        assert_eq!(statuses(&site, "/public/a.html"), [200]);
        append(&site, "portcullis.deny.rule[0] = url=*/public/a.html");
        wait_until("the rule of the file", || statuses(&site, "/public/a.html") == [403]);
        site.wait_for_line("PCL0654 a property has changed: portcullis.deny.rule: + [0]=");
        // The profile changes: what the file says stays, and the other way round.
        let other = json!({ format!("{P}.notenforced.url"): [format!("[0]={}/docs/*", site.url())] });
        site.am.admin().update_agent("/", AGENT, &other).expect("profile");
        wait_until("the profile of now", || statuses(&site, "/docs/a.html") == [200]);
        site.wait_for_line(&format!("{P}.notenforced.url: + [0]=\"{0}/docs/*\", - [0]=\"{0}/public/*\"", site.url()));
        assert_eq!(statuses(&site, "/public/a.html"), [403]);
        append(&site, "portcullis.deny.rule[1] = url=*/app/c.html");
        wait_until("the second rule", || statuses(&site, "/app/c.html") == [403]);
        assert_eq!(statuses(&site, "/docs/a.html"), [200]);
        site.stop();
    }

    fn workers_that_cannot_read_agent_conf_say_so(kind: Kind) {
        let mut site = watching(site(kind)).prepare();
        fs::set_permissions(conf(&site), fs::Permissions::from_mode(0o600)).expect("mode");
        site.server.start();
        assert_eq!(site.get("/public/a.html").status, 200);
        site.wait_for_line("PCL0656");
        append(&site, "portcullis.deny.rule[0] = url=*/public/*");
        fs::set_permissions(conf(&site), fs::Permissions::from_mode(0o600)).expect("mode");
        let old = agent_workers(&site);
        site.server.reload();
        wait_for_successors(&site, &old);
        wait_until("the new rule", || statuses(&site, "/public/a.html") == [403]);
        site.stop();
    }
}

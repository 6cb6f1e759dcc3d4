//! What is wrong is named all at once, with its place and what to do, wherever it is said.

// What can't be had fails the test that wanted it.
#![allow(clippy::expect_used, clippy::panic)]

use std::{fs, process::Stdio};

use portcullis_tests::{
    both_servers,
    processes::{agent_workers, wait_for_successors},
    second::{Second, agentadmin, words},
    server::Kind,
    site::{Site, site},
    wait_until,
};

const P: &str = "com.sun.identity.agents.config";

/// Fifteen mistakes, one a line: what the line is about begins it.
const MISTAKES: [&str; 15] = [
    "com.sun.identity.agents.config.connect.timeout = 0",
    "com.sun.identity.agents.config.receive.timeout = soon",
    "com.sun.identity.agents.config.organization.name = //x",
    "com.sun.identity.agents.config.sso.only = yes",
    "com.sun.identity.agents.config.debug.level = loud",
    "com.sun.identity.agents.config.fqdn.default = www example",
    "com.sun.identity.agents.config.fqdn.mapping[] = www.example.com",
    "com.sun.identity.agents.config.notenforced.url[GTE,1] = /public/*",
    "com.sun.identity.agents.config.agent.logout.url[0] = *",
    "com.sun.identity.agents.config.session.attribute.mapping[uid] = X User",
    "com.forgerock.agents.config.hostmap[0] = am.example.com",
    "com.sun.identity.agents.config.logout.redirect.url = //evil.example.com/",
    "com.sun.identity.agents.config.cdsso.cookie.domain[0] = com",
    "com.sun.identity.agents.config.userid.param.type = GUESS",
    "portcullis.am.deadline = 1",
];

/// A site with local configuration and all of them; the number of the first line.
fn wrong(kind: Kind) -> (Site, usize) {
    let mut site = site(kind).local().prepare();
    for text in ["PCL0600", "agent.conf", "configuration file"] {
        site.server.expect(text);
    }
    let conf = site.instance.join("config/agent.conf");
    let first = fs::read_to_string(conf)
        .expect("agent.conf")
        .lines()
        .count()
        + 1;
    MISTAKES.iter().for_each(|line| site.append(line));
    (site, first)
}

/// That each is named, with its line, its property and a remedy.
fn all_named(said: &str, first: usize) {
    for (at, mistake) in MISTAKES.iter().enumerate() {
        let place = format!("agent.conf line {}: ", first + at);
        let name = mistake.split([' ', '[']).next().unwrap_or_default();
        let lines: Vec<&str> = said.lines().filter(|l| l.contains(&place)).collect();
        assert!(
            !lines.is_empty() && lines.iter().all(|l| l.contains(name) && l.contains("; ")),
            "{place}{name}: {lines:?}\n{said}"
        );
    }
}

both_servers! {
    fn fifteen_mistakes_in_one_file_are_fifteen_lines(kind: Kind) {
        let (site, first) = wrong(kind);
        let (passes, said) = site.server.check();
        assert!(!passes, "{said}");
        all_named(&said, first);
        // The tool says the same of the same file.
        let mut tool = agentadmin(&site, &["explain", "--conf"]);
        tool.arg(site.instance.join("config/agent.conf")).stdin(Stdio::null());
        let output = tool.output().expect("agentadmin");
        assert_eq!(output.status.code(), Some(1));
        all_named(&words(&output), first);
        site.stop();
    }

    fn mistakes_beside_a_missing_file_are_named_too(kind: Kind) {
        let (site, first) = wrong(kind);
        fs::remove_file(site.instance.join("config/agent-key.conf")).expect("key");
        let (passes, said) = site.server.check();
        assert!(!passes, "{said}");
        assert!(said.contains("agent-key.conf: cannot be read"), "{said}");
        all_named(&said, first);
        site.stop();
    }

    fn unknown_names_are_one_line_each_with_the_nearest(kind: Kind) {
        let site = site(kind).prepare();
        for name in ["conect.timeout", "repository.locaton", "of.nobody.who.could.be.meant.here"] {
            site.append(&format!("{P}.{name} = 1"));
        }
        let (passes, said) = site.server.check();
        assert!(passes, "{said}");
        let mut lines: Vec<&str> = said.lines().filter(|l| l.contains(" unknown: ")).collect();
        // httpd reads its configuration twice.
        lines.dedup_by_key(|l| l.split("PCL0601").last());
        assert_eq!(lines.len(), 1, "{said}");
        for part in [
            "3 unknown", "meant com.sun.identity.agents.config.connect.timeout?",
            "meant com.sun.identity.agents.config.repository.location?", "could.be.meant.here (line",
        ] {
            assert!(lines[0].contains(part), "{part}: {}", lines[0]);
        }
        site.stop();
    }

    fn variables_without_effect_are_named_at_start(kind: Kind) {
        let site = site(kind).prepare();
        let variables = [
            ("AM_POLICY_CACHE_MODE", "on"), ("AM_MAX_SESSION_CACHE_SIZE", "16M"),
            ("AM_POLICY_CACHE_DRI", "/x"), ("AM_SYSTEM_PIPE_DIR", "/x"), ("AM_MAX_AGENTS", "32"),
        ];
        let (passes, said) = site.server.check_with(&variables);
        assert!(passes, "{said}");
        for part in [
            "AM_POLICY_CACHE_MODE: has no effect: AM decides each URL",
            "AM_MAX_SESSION_CACHE_SIZE: is not a number of bytes",
            "AM_POLICY_CACHE_DRI: unknown, meant AM_POLICY_CACHE_DIR?",
            "AM_SYSTEM_PIPE_DIR: has no effect: ",
        ] {
            let found = said.lines().find(|l| l.contains(part));
            assert!(found.is_some_and(|l| l.contains("PCL0601") && l.contains("; ")), "{part}: {said}");
        }
        assert!(!said.contains("AM_MAX_AGENTS"), "its default: {said}");
        site.stop();
    }

    fn one_instance_too_many_does_not_end_a_server_that_runs(kind: Kind) {
        let mut site = site(kind).prepare();
        site.server.variable("AM_MAX_AGENTS", "1");
        // Ours, and what httpd and nginx say of it.
        for line in ["PCL0722", "agent_2/config/agent.conf", "has no AmAgentConf: denied"] {
            site.server.expect(line);
        }
        site.server.start();
        let mut visitor = site.visitor();
        assert_eq!(visitor.log_in("/app/page").status, 200);
        let mut second = Second::add(&site);
        let old = agent_workers(&site);
        site.server.reload();
        wait_until("the refusal", || site.server.said().contains("PCL0722"));
        match kind {
            Kind::Httpd => {
                wait_for_successors(&site, &old);
                for page in ["/app/page", "/off/page"] {
                    assert_eq!(second.get(&site, page).status, 503, "{page}");
                }
            }
            // It goes on with the configuration of before.
            Kind::Nginx => assert_eq!(agent_workers(&site), old),
        }
        assert_eq!(visitor.get("/app/page").status, 200);
        assert_eq!(site.get("/public/a.html").status, 200);
        site.stop();
    }

    fn one_instance_too_many_is_refused(kind: Kind) {
        const HERE: &str = "# one more\n";
        let site = site(kind).global(HERE, "").host("", HERE).prepare();
        // By another path it is another one. The installer takes no file that has an agent already.
        let too = site.server.dir().join("too");
        std::os::unix::fs::symlink(site.instance.join("config"), &too).expect("a link");
        let conf = too.join("agent.conf").display().to_string();
        let lines = match kind {
            Kind::Httpd => format!(
                "<VirtualHost *:1>\nServerName too.example.org\nAmAgentConf {conf}\nAmAgent On\n</VirtualHost>\n"
            ),
            Kind::Nginx => format!("location /too {{ openam_agent_configuration {conf}; }}\n"),
        };
        let text = fs::read_to_string(site.server.conf()).expect("configuration");
        assert_eq!(text.matches(HERE).count(), 1, "{text}");
        fs::write(site.server.conf(), text.replace(HERE, &lines)).expect("configuration");
        let (passes, said) = site.server.check_with(&[("AM_MAX_AGENTS", "1")]);
        assert!(!passes, "{said}");
        assert!(said.lines().any(|l| l.contains("PCL0722") && l.contains("1 are allowed")), "{said}");
        let (passes, said) = site.server.check_with(&[("AM_MAX_AGENTS", "2")]);
        assert!(passes, "{said}");
        site.stop();
    }
}

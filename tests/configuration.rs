//! What an operator writes: mistakes are named with line, property and remedy before they can do
//! harm, and a server that runs goes on running.

// What can't be had fails the test that wanted it.
#![allow(clippy::expect_used, clippy::panic)]

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    process::{Command, Stdio},
};

use portcullis_tests::{
    backend::Seen,
    both_servers,
    client::Request,
    front::{Certificates, Front},
    outage::stop_am,
    second::{Second, agentadmin, am_on_localhost, answered, words},
    server::Kind,
    site::{AGENT, AGENT_PASSWORD, Site, site},
    wait_until,
};
use serde_json::json;

/// The one line of an output that has all these texts.
fn line<'t>(said: &'t str, texts: &[&str]) -> &'t str {
    let found = said
        .lines()
        .find(|line| texts.iter().all(|text| line.contains(text)));
    found.unwrap_or_else(|| panic!("no line with {texts:?} in:\n{said}"))
}

/// Changes the server's configuration file.
fn edit(site: &Site, change: impl FnOnce(String) -> String) {
    let conf = site.server.conf();
    let text = fs::read_to_string(&conf).expect("configuration");
    fs::write(&conf, change(text)).expect("configuration");
}

/// The line number that the next line appended to `agent.conf` gets.
fn next_line(site: &Site) -> usize {
    let conf = site.instance.join("config/agent.conf");
    fs::read_to_string(conf)
        .expect("agent.conf")
        .lines()
        .count()
        + 1
}

/// Announces what the server says about a configuration that it refuses.
fn expect_refusal(site: &mut Site) {
    for text in ["PCL0600", "agent.conf", "configuration file"] {
        site.server.expect(text);
    }
}

both_servers! {
    fn every_mistake_is_named_with_its_line_and_what_to_do(kind: Kind) {
        let mut site = site(kind).prepare();
        expect_refusal(&mut site);
        let first = next_line(&site);
        site.append("com.sun.identity.agents.config.connect.timeout = soon");
        site.append("com.sun.identity.agents.config.debug.level = chatty");
        site.append("portcullis.am.deadline = 1");
        let (passes, said) = site.server.check();
        assert!(!passes, "{said}");
        for (at, name) in [
            "com.sun.identity.agents.config.connect.timeout",
            "com.sun.identity.agents.config.debug.level",
            "portcullis.am.deadline",
        ].iter().enumerate() {
            let number = format!("agent.conf line {}:", first + at);
            let line = line(&said, &["PCL0600", &number, name]);
            assert!(line.contains("; "), "no remedy: {line}");
        }
        site.stop();
    }

    fn an_unknown_property_is_a_warning_with_the_nearest_name(kind: Kind) {
        let site = site(kind).prepare();
        let number = next_line(&site);
        site.append("com.sun.identity.agents.config.conect.timeout = 3");
        let (passes, said) = site.server.check();
        assert!(passes, "{said}");
        line(&said, &[
            "PCL0601",
            &format!("com.sun.identity.agents.config.conect.timeout (line {number})"),
            "meant com.sun.identity.agents.config.connect.timeout?",
        ]);
        site.stop();
    }

    fn missing_and_placeholder_secrets_are_refused(kind: Kind) {
        let mut site = site(kind).prepare();
        expect_refusal(&mut site);
        let key = site.instance.join("config/agent-key.conf");
        let text = fs::read_to_string(&key).expect("key");
        fs::remove_file(&key).expect("key");
        let (passes, said) = site.server.check();
        assert!(!passes, "{said}");
        line(&said, &["PCL0600", "agent-key.conf", "cannot be read", "agentadmin"]);
        let private = |text: &str| {
            fs::write(&key, text).expect("key");
            fs::set_permissions(&key, fs::Permissions::from_mode(0o600)).expect("mode");
        };
        private("com.sun.identity.agents.config.key = AM_AGENT_KEY\n");
        let (passes, said) = site.server.check();
        assert!(!passes, "{said}");
        line(&said, &["PCL0600", "agent-key.conf line 1", "placeholder", "agentadmin --k"]);
        private(&text);
        let password = site.instance.join("config/agent-password.conf");
        fs::write(&password, "com.sun.identity.agents.config.password = changeit\n").expect("password");
        let (passes, said) = site.server.check();
        assert!(!passes, "{said}");
        line(&said, &["PCL0600", "agent-password.conf line 1", "agentadmin --p"]);
        assert!(!said.contains("changeit"), "{said}");
        site.stop();
    }

    fn an_am_that_is_down_fails_no_check(kind: Kind) {
        let mut site = site(kind).prepare();
        let _gone = stop_am(&mut site);
        let (passes, said) = site.server.check();
        assert!(passes, "{said}");
        site.stop();
    }

    fn an_agent_that_is_on_without_a_configuration_is_refused(kind: Kind) {
        let mut site = site(kind).prepare();
        site.server.expect("AmAgent");
        site.server.expect("openam_agent");
        let drop_lines = |text: String, word: &str| {
            let kept = text.lines().filter(|line| !line.trim_start().starts_with(word));
            kept.collect::<Vec<_>>().join("\n") + "\n"
        };
        let reason = match kind {
            Kind::Httpd => {
                edit(&site, |text| drop_lines(text, "AmAgentConf"));
                "no AmAgentConf"
            }
            Kind::Nginx => {
                let include = site.instance.join("config/nginx.conf");
                let text = fs::read_to_string(&include).expect("include");
                fs::write(&include, drop_lines(text, "openam_agent_configuration")).expect("include");
                "needs an \"openam_agent_configuration\""
            }
        };
        let (passes, said) = site.server.check();
        assert!(!passes, "{said}");
        line(&said, &[reason]);
        site.stop();
    }

    fn directives_of_the_web_agent_without_meaning_here_are_accepted(kind: Kind) {
        let mut site = site(kind)
            .global("", "openam_threadpool default;\nopenam_agent_instance 1;\n")
            .prepare();
        if kind == Kind::Httpd {
            edit(&site, |text| text + "AmAgentId 1\n");
        }
        let (passes, said) = site.server.check();
        assert!(passes, "{said}");
        if kind == Kind::Nginx {
            for name in ["openam_threadpool", "openam_agent_instance"] {
                line(&(said.clone() + &site.server.said()), &[name, "accepted without effect"]);
            }
        }
        site.server.start();
        assert_eq!(site.get("/public/a.html").status, 200);
        site.stop();
    }

    fn a_broken_configuration_at_a_reload_does_not_end_the_server(kind: Kind) {
        let mut site = site(kind).start();
        expect_refusal(&mut site);
        site.server.expect("PCL05");
        assert_eq!(site.get("/public/a.html").status, 200);
        let conf = site.instance.join("config/agent.conf");
        let good = fs::read_to_string(&conf).expect("agent.conf");
        site.append("com.sun.identity.agents.config.connect.timeout = soon");
        let old = site.server.workers();
        site.server.reload();
        wait_until("the line about the mistake", || {
            site.server.said().lines().any(|l| l.contains("PCL0600") && l.contains("connect.timeout"))
        });
        match kind {
            // The old generation goes on.
            Kind::Nginx => assert_eq!(site.get("/public/a.html").status, 200),
            // httpd has thrown the old one away: nothing is let through, and the server lives.
            Kind::Httpd => wait_until("a refusal", || {
                Request::get("/public/a.html")
                    .send(site.server.address(), &site.authority())
                    .is_ok_and(|answer| answer.status == 503)
            }),
        }
        fs::write(&conf, good).expect("agent.conf");
        site.server.reload();
        wait_until("new workers", || !site.server.workers().iter().any(|pid| old.contains(pid)));
        wait_until("the repaired configuration", || site.get("/public/a.html").status == 200);
        let mut visitor = site.visitor();
        assert_eq!(visitor.log_in("/docs/a.html").status, 200);
        site.stop();
    }

    fn two_agents_in_one_server_share_nothing(kind: Kind) {
        let mut site = site(kind).prepare();
        let mut second = Second::add(&site);
        site.server.start();
        let mut visitor = site.visitor();
        assert_eq!(visitor.log_in("/docs/a.html").status, 200);
        assert_eq!(second.log_in(&site, "/app/page").status, 200);
        // The same path, other policies.
        assert_eq!(second.get(&site, "/docs/a.html").status, 403);
        assert_eq!(visitor.get("/docs/a.html").status, 200);
        assert_eq!(second.get(&site, "/off/a.html").status, 200, "exempt there");
        assert_eq!(visitor.get("/off/a.html").status, 403, "not here");
        // A cookie of one is nothing to the other, under either host name.
        let stolen = std::mem::replace(&mut second.cookies, visitor.cookies.clone());
        assert_eq!(second.get(&site, "/app/page").status, 302);
        visitor.cookies = stolen;
        assert_eq!(visitor.get("/docs/a.html").status, 302);
        // Each agent asks its own AM only.
        let agents = |calls: Vec<am_simulator::Call>| {
            let tokens = calls.into_iter().flat_map(|call| call.tokens);
            tokens.filter(|token| token.contains("agent:")).collect::<Vec<_>>()
        };
        let of_first = agents(site.am.simulator().calls());
        let of_second = agents(second.am.simulator().calls());
        assert!(!of_first.is_empty() && of_first.iter().all(|t| t.ends_with(":wa1")), "{of_first:?}");
        assert!(!of_second.is_empty() && of_second.iter().all(|t| t.ends_with(":wa2")), "{of_second:?}");
        site.stop();
    }

    fn local_mode_needs_no_profile(kind: Kind) {
        // What the profile in AM says must not matter: it exempts everything.
        let mut site = site(kind)
            .local()
            .profile("com.sun.identity.agents.config.notenforced.url", &["[0]=*"])
            .prepare();
        let url = site.url();
        for (name, value) in [
            ("com.sun.identity.agents.config.agenturi.prefix", format!("{url}/amagent")),
            ("com.sun.identity.agents.config.cdsso.enable", "true".to_owned()),
            ("com.sun.identity.agents.config.notenforced.url[0]", format!("{url}/public/*")),
            ("com.sun.identity.agents.config.session.attribute.fetch.mode", "HTTP_HEADER".to_owned()),
            ("com.sun.identity.agents.config.session.attribute.mapping[UserToken]", "X-User".to_owned()),
        ] {
            site.append(&format!("{name} = {value}"));
        }
        let (passes, said) = site.server.check();
        assert!(passes, "{said}");
        site.server.start();
        assert_eq!(site.get("/public/a.html").status, 200);
        let mut visitor = site.visitor();
        let page = visitor.log_in("/app/page");
        assert_eq!(page.status, 200, "{page:?}");
        let seen = Seen::of(&page).expect("the application's answer");
        assert_eq!(seen.header("X-User").as_deref(), Some("demo1"));
        let asked = |path: &str| site.am.simulator().calls().iter().any(|call| call.path.contains(path));
        assert!(asked("serverinfo") && asked("policies"));
        let profile = site.am.simulator().calls().into_iter().find(|call| {
            call.method == "GET" && call.path.contains("agents/WebAgent/")
                && call.tokens.iter().any(|token| token.contains("agent:"))
        });
        assert_eq!(profile, None, "nobody reads the profile");
        site.stop();
    }

    fn installing_twice_is_refused_and_removing_restores_every_byte(kind: Kind) {
        let site = site(kind).prepare();
        let conf = site.server.conf();
        let folder = conf.parent().expect("folder");
        let copies: Vec<_> = fs::read_dir(folder).expect("conf").filter_map(|entry| {
            let path = entry.ok()?.path();
            path.to_string_lossy().contains("_amagent_").then_some(path)
        }).collect();
        assert_eq!(copies.len(), 1, "{copies:?}");
        let before = fs::read(&copies[0]).expect("copy");
        let with_agent = fs::read(&conf).expect("configuration");
        assert_ne!(before, with_agent);

        let list = agentadmin(&site, &["--l"]).output().expect("agentadmin");
        let list = words(&list);
        assert!(list.contains("agent_1") && list.contains(&conf.display().to_string()), "{list}");

        let password = site.instance.ancestors().nth(3).expect("home").join("password");
        let mut again = agentadmin(&site, &["--s"]);
        again.arg(&conf).args([&site.am.url(), &site.url(), "/", AGENT]).arg(&password).arg("--forceInstall");
        let again = again.output().expect("agentadmin");
        assert!(!again.status.success());
        assert!(words(&again).contains("already"), "{}", words(&again));
        assert_eq!(fs::read(&conf).expect("configuration"), with_agent);

        assert!(answer(agentadmin(&site, &["--r", "agent_1"]), "no\n").contains("Nothing was removed"));
        assert_eq!(fs::read(&conf).expect("configuration"), with_agent);
        let said = answer(agentadmin(&site, &["--r", "agent_1"]), "yes\n");
        assert!(said.contains("is removed"), "{said}");
        assert_eq!(fs::read(&conf).expect("configuration"), before);
        assert!(!site.instance.exists());
        let left: Vec<_> = fs::read_dir(folder).expect("conf").flatten().map(|e| e.path()).collect();
        assert_eq!(left, [conf.as_path()], "no copy is left either");
        site.stop();
    }

    fn an_installer_that_is_killed_is_put_right_by_the_next_run(kind: Kind) {
        let site = site(kind).prepare();
        assert!(answer(agentadmin(&site, &["--r", "agent_1"]), "yes\n").contains("is removed"));
        let conf = site.server.conf();
        let before = fs::read(&conf).expect("configuration");
        let instances = site.instance.parent().expect("instances");
        let password = site.instance.ancestors().nth(3).expect("home").join("password");
        // What is there when it is killed; each is there before the next.
        let signs = [".journal", "agent_1", "agent_1/config/agent.conf", "agent_1/config/agent-password.conf", ".agents"];
        let mut whole = 0;
        for sign in signs.iter().cycle().take(3 * signs.len()) {
            let mut install = agentadmin(&site, &["--s"]);
            install.arg(&conf).args([&site.am.url(), &site.url(), "/", AGENT]).arg(&password).args(["--forceInstall", "--changeOwner"]);
            let mut install = install.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("agentadmin");
            while !instances.join(sign).exists() && install.try_wait().expect("agentadmin").is_none() {
                std::hint::spin_loop();
            }
            // It may have ended by itself.
            let _ = install.kill();
            install.wait().expect("agentadmin");
            let list = words(&agentadmin(&site, &["--l"]).output().expect("agentadmin"));
            let names: Vec<_> = fs::read_dir(instances).into_iter().flatten().flatten().map(|e| e.file_name()).collect();
            if list.contains("id: ") {
                whole += 1;
                assert_eq!(names.len(), 2, "{names:?}");
                let (passes, said) = site.server.check();
                assert!(passes, "{said}");
                assert!(answer(agentadmin(&site, &["--r", "agent_1"]), "yes\n").contains("is removed"));
            } else {
                assert!(names.is_empty(), "{names:?}");
            }
            assert_eq!(fs::read(&conf).expect("configuration"), before);
            let beside = fs::read_dir(conf.parent().expect("folder")).expect("folder").count();
            assert_eq!(beside, 1, "nothing is left beside the configuration");
        }
        println!("{whole} of {} were finished", 3 * signs.len());
        site.stop();
    }

    fn the_installer_asks_am_whether_the_password_is_right(kind: Kind) {
        let site = site(kind).prepare();
        let am = am_on_localhost();
        am.create_agent("/", &json!({
            "username": "wa3", "userpassword": [AGENT_PASSWORD], "agenttype": ["WebAgent"],
            "serverurl": [am.base_url()], "agenturl": [site.url()],
        })).expect("agent");
        // The server's configuration as it was before the first instance.
        assert!(answer(agentadmin(&site, &["--r", "agent_1"]), "yes\n").contains("is removed"));
        let conf = site.server.conf();
        let before = fs::read(&conf).expect("configuration");
        let password = site.instance.ancestors().nth(3).expect("home").join("password");
        let install = || {
            let mut install = agentadmin(&site, &["--s"]);
            install.arg(&conf).args([am.base_url(), &site.url(), "/", "wa3"]).arg(&password).arg("--changeOwner");
            install.output().expect("agentadmin")
        };
        fs::write(&password, "not-the-password-of-AM-01").expect("password");
        let refused = install();
        assert!(!refused.status.success());
        assert!(words(&refused).contains("AM refused the agent (HTTP 401)"), "{}", words(&refused));
        assert_eq!(fs::read(&conf).expect("configuration"), before);
        fs::write(&password, AGENT_PASSWORD).expect("password");
        let done = install();
        assert!(done.status.success(), "{}", words(&done));
        assert!(words(&done).contains("Validating... Success."), "{}", words(&done));
        assert_ne!(fs::read(&conf).expect("configuration"), before);
        assert_eq!(am.kill_agent_sessions(None), 0, "the installer logs the agent out again");
        site.stop();
    }

    fn the_installer_asks_am_by_the_way_that_is_named(kind: Kind) {
        const PROXY: &str = "agent:pass";
        let site = site(kind).prepare();
        let am = am_on_localhost();
        am.create_agent("/", &json!({
            "username": "wa3", "userpassword": [AGENT_PASSWORD], "agenttype": ["WebAgent"],
            "serverurl": [am.base_url()], "agenturl": [site.url()],
        })).expect("agent");
        assert!(answer(agentadmin(&site, &["--r", "agent_1"]), "yes\n").contains("is removed"));
        let certificates = Certificates::make(site.server.dir(), "localhost");
        let tls = Front::open_tls(am.address(), &certificates);
        let proxy = Front::proxy(tls.address(), PROXY);
        let password = site.instance.ancestors().nth(3).expect("home").join("password");
        let install = |url: &str, variables: &[(&str, &str)]| {
            let mut install = agentadmin(&site, &["--s"]);
            install.arg(site.server.conf()).args([url, &site.url(), "/", "wa3"]).arg(&password);
            install.envs(variables.iter().copied());
            words(&install.output().expect("agentadmin"))
        };
        let remove = || assert!(answer(agentadmin(&site, &["--r", "agent_1"]), "yes\n").contains("is removed"));
        let url = format!("https://localhost:{}/openam", tls.port());
        let unknown = install(&url, &[]);
        assert!(unknown.contains("AM cannot be asked"), "{unknown}");
        let authority = certificates.authority.display().to_string();
        let known = install(&url, &[("AM_SSL_CA", &authority)]);
        assert!(known.contains("Validating... Success."), "{known}");
        remove();
        // Nothing listens there: the proxy leads to AM.
        let port = proxy.port().to_string();
        let through = install("https://localhost:1/openam", &[
            ("AM_SSL_CA", &authority), ("AM_PROXY_HOST", "127.0.0.1"), ("AM_PROXY_PORT", &port),
            ("AM_PROXY_USER", "agent"), ("AM_PROXY_PASSWORD", "pass"),
        ]);
        assert!(through.contains("Validating... Success."), "{through}");
        remove();
        site.stop();
    }
}

/// Runs a command that asks, and answers.
fn answer(command: Command, text: &str) -> String {
    words(&answered(command, text))
}

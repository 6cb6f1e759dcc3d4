//! Every way of `docs/install.md` into a web server and out of it leads to a login, and leaves no byte behind.

// Scenarios are functions of their own: Clippy does not take them for tests.
#![allow(clippy::expect_used, clippy::panic)]

use std::{fs, path::Path};

use portcullis_tests::{
    both_servers,
    guide::{Setup, Shell, blocks},
    modules,
    second::am_on_localhost,
    server::Kind,
    site::{AGENT, AmServer, Site, site},
};
use serde_json::json;

const PAGE: &str = "docs/install.md";

fn named(name: &str) -> Setup {
    Setup::named(&[PAGE], name)
}

#[test]
fn every_block_of_the_page_is_tried() {
    let tests = include_str!("install.rs");
    for block in blocks(PAGE) {
        let name = block
            .setup
            .trim_end_matches("_httpd")
            .trim_end_matches("_nginx");
        assert!(
            tests.contains(&format!("\"{name}\"")),
            "{}: nothing tries {name}",
            block.place
        );
    }
}

/// A machine without an agent, but with the program where the page has it, and a profile with its password in AM.
fn machine(site: &mut Site) -> Shell<'_> {
    let home = site
        .instance
        .ancestors()
        .nth(2)
        .expect("home")
        .to_path_buf();
    let mut remove = std::process::Command::new("sh");
    let program = modules::agentadmin();
    let line = format!("echo yes | {} --r agent_1", program.display());
    let done = remove
        .args(["-euc", &line])
        .env("PORTCULLIS_HOME", home)
        .output();
    assert!(done.expect("agentadmin").status.success());
    let mut shell = Shell::bare(site);
    shell.types(&Setup::named(&["docs/quick-start.md"], "install"));
    let password = fs::read_to_string(shell.file("wa1.password")).expect("password");
    let known = json!({ "userpassword": [password.trim()] });
    let admin = shell.site().am.admin();
    admin
        .update_agent("/", AGENT, &known)
        .expect("AM's administrator");
    shell
}

/// The server loads it, and a visitor gets in by AM.
fn works(shell: &mut Shell<'_>) {
    let server = &mut shell.site().server;
    let (passes, said) = server.check();
    assert!(passes, "{said}");
    match server.pid() {
        0 => server.start(),
        _ => server.restart(),
    }
    assert_eq!(shell.site().get("/public/a.html").status, 200);
    assert_eq!(shell.site().visitor().log_in("/docs/a.html").status, 200);
}

/// All files of a folder, by name.
fn files(folder: &Path) -> Vec<(std::path::PathBuf, Vec<u8>)> {
    let mut all = Vec::new();
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        match entry.path() {
            path if path.is_dir() => all.extend(files(&path)),
            path => all.push((path.clone(), fs::read(&path).expect("file"))),
        }
    }
    all.sort();
    all
}

both_servers! {
    fn every_way_in_leads_to_a_login_and_every_way_out_leaves_nothing(kind: Kind) {
        let own = |name: &str| named(&format!("{name}_{}", match kind {
            Kind::Httpd => "httpd",
            Kind::Nginx => "nginx",
        }));
        let am = AmServer::Simulated(Box::new(am_on_localhost()));
        let mut site = site(kind).am(am).unrecorded().prepare();
        let (am, url, conf) = (site.am.url(), site.url(), site.server.conf());
        let mut shell = machine(&mut site);
        let folder = conf.parent().expect("folder").to_path_buf();
        let bare = files(&folder);
        let instances = shell.file("portcullis/instances");
        let agent_conf = instances.join("agent_1/config/agent.conf");

        // With questions; only httpd's installation asks about ownership.
        let password = shell.file("wa1.password").display().to_string();
        let conf_name = conf.display().to_string();
        let mut answers = vec![conf_name.as_str(), "yes", "", &am, &url, AGENT, "/", &password, "yes"];
        if kind == Kind::Nginx {
            answers.remove(1);
        }
        fs::write(shell.file("answers"), answers.join("\n") + "\n").expect("answers");
        shell.types(&named("asked"));
        shell.types(&named("listed"));
        works(&mut shell);
        fs::copy(&agent_conf, shell.file("old-agent.conf")).expect("agent.conf");
        shell.types(&named("removed"));
        assert_eq!(files(&folder), bare);

        shell.types(&own("import"));
        let report = fs::read_to_string(instances.join("agent_1/config/import.txt")).expect("report");
        assert!(report.contains("taken") && !report.contains("unknown"), "{report}");
        works(&mut shell);
        shell.types(&named("removed"));
        assert_eq!(files(&folder), bare);

        shell.types(&own("print"));
        assert_eq!(files(&folder), bare, "shown only");
        assert!(agent_conf.exists());
        shell.types(&named("removed"));

        // What the Web Agent's installer leaves, with its own files.
        let theirs = shell.file("web_agents");
        fs::create_dir_all(&theirs).expect("folder");
        let old = fs::read_to_string(shell.file("old-agent.conf")).expect("agent.conf");
        fs::write(theirs.join("agent.conf"), format!("{old}com.example.unknown = 1\n")).expect("agent.conf");
        let before = files(&theirs);
        let text = fs::read_to_string(&conf).expect("configuration");
        let named_there = theirs.join("agent.conf");
        let with_theirs = match kind {
            Kind::Httpd => format!(
                "{text}LoadModule amagent_module \"/opt/web_agents/apache24_agent/lib/mod_openam.so\"\n\
                 AmAgent On\nAmAgentConf \"{}\"\nAmAuthProvider Off", named_there.display()
            ),
            Kind::Nginx => format!(
                "load_module /opt/web_agents/nginx25_agent/lib/openam_ngx_auth_module.so;\n{}",
                text.replacen("http {\n", &format!("http {{\nopenam_agent on;\n  openam_agent_configuration {};\n", named_there.display()), 1)
            ),
        };
        fs::write(&conf, &with_theirs).expect("configuration");
        shell.types(&own("takeover"));
        works(&mut shell);
        assert_eq!(files(&theirs), before, "their files stay");
        shell.types(&named("rollback"));
        assert_eq!(fs::read_to_string(&conf).expect("configuration"), with_theirs);
        shell.types(&named("removed"));
        assert_eq!(fs::read_to_string(&conf).expect("configuration"), with_theirs);
        fs::write(&conf, &text).expect("configuration");
        assert_eq!(files(&folder), bare);

        shell.types(&own("silent"));
        shell.types(&named("upgraded"));
        works(&mut shell);
        shell.types(&named("removed"));
        assert_eq!(files(&folder), bare);
        assert_eq!(files(&instances), []);
        site.stop();
    }

    /// Debian's and RHEL's httpd and Debian's nginx have folders for modules and their configuration.
    fn folders_for_modules_are_used_and_the_main_file_stays(kind: Kind) {
        let am = AmServer::Simulated(Box::new(am_on_localhost()));
        let mut site = site(kind).am(am).unrecorded().prepare();
        let conf = site.server.conf();
        let folder = conf.parent().expect("folder").to_path_buf();
        let mut shell = machine(&mut site);
        let own = named(match kind {
            Kind::Httpd => "silent_httpd",
            Kind::Nginx => "silent_nginx",
        });
        let bare = fs::read_to_string(&conf).expect("configuration");
        let at = folder.display();
        let layouts: &[(&[&str], String)] = match kind {
            Kind::Httpd => {
                // These names are relative to ServerRoot.
                let root = folder.parent().expect("server's folder");
                for name in ["mods-available", "mods-enabled", "conf.modules.d", "conf.d"] {
                    fs::create_dir(root.join(name)).expect("folder");
                }
                &[
                    (&["mods-enabled/portcullis.load", "mods-enabled/portcullis-agent.conf"],
                     format!("{bare}IncludeOptional mods-enabled/*.load\nIncludeOptional mods-enabled/*.conf\n")),
                    (&["conf.modules.d/20-portcullis.conf", "conf.d/portcullis.conf"],
                     format!("{bare}Include conf.modules.d/*.conf\nIncludeOptional conf.d/*.conf\n")),
                ]
            }
            Kind::Nginx => {
                for name in ["modules-enabled", "conf.d"] {
                    fs::create_dir(folder.join(name)).expect("folder");
                }
                &[(&["modules-enabled/70-portcullis.conf", "conf.d/portcullis.conf"], format!(
                    "include {at}/modules-enabled/*.conf;\n{}",
                    bare.replacen("http {\n", &format!("http {{\ninclude {at}/conf.d/*.conf;\n"), 1)
                ))]
            }
        };
        let root = match kind {
            Kind::Httpd => folder.parent().expect("server's folder"),
            Kind::Nginx => &folder,
        };
        for (made, text) in layouts {
            fs::write(&conf, text).expect("configuration");
            let before = files(&folder);
            shell.types(&own);
            assert_eq!(fs::read_to_string(&conf).expect("configuration"), *text, "the main file stays");
            for name in *made {
                assert!(root.join(name).exists(), "{name}");
            }
            works(&mut shell);
            shell.types(&named("removed"));
            assert_eq!(files(&folder), before);
            for name in *made {
                let there = fs::read_dir(root.join(name).parent().expect("folder")).expect("folder");
                assert_eq!(there.count(), 0, "{name}");
            }
        }
        fs::write(&conf, bare).expect("configuration");
        site.stop();
    }
}

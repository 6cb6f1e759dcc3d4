//! The life of an installation: whatever `agentadmin` does to a machine, and wherever it is killed, the web server's
//! configuration is as before when the agent is removed.

// Scenarios are functions of their own: Clippy does not take them for tests.
#![allow(clippy::expect_used, clippy::panic)]

use std::{
    collections::BTreeMap,
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::Command,
};

use portcullis_tests::{
    both_servers,
    killing::{Call, calls, kill_at},
    modules,
    processes::{agent_workers, wait_for_successors},
    pty::{INTERRUPT, Terminal},
    second::{self, am_on_localhost, answered, words},
    server::{Kind, Layout, Server, is_root},
    site::{AGENT, AGENT_PASSWORD, AmServer, Site, site},
    tree::{Tree, assert_same, restore, tree},
};

/// What it says; it has to end well.
fn said(command: Command) -> String {
    let shown = format!("{command:?}");
    let output = answered(command, "yes\n");
    let text = words(&output);
    assert!(output.status.success(), "{shown}\n{text}");
    text
}

/// Makes of an instance what an older agentadmin left: no folder for POSTs, agent.conf for root alone, nginx's limit
/// for bodies as it is, a module at another place, and where it edited the one file, no receipt.
fn as_an_older_one_left_it(instance: &Path, conf: &Path, older: &Path) {
    let rights = |path: &Path, mode| {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect("mode");
        if is_root() {
            std::os::unix::fs::chown(path, Some(0), Some(0)).expect("owner");
        }
    };
    fs::remove_dir(instance.join("pdp-cache")).expect("folder for POSTs");
    rights(&instance.join("config/agent.conf"), 0o644);
    rights(&instance.join("config"), 0o750);
    let include = instance.join("config/nginx.conf");
    if let Ok(text) = fs::read_to_string(&include) {
        let lines = text.lines().take(3).map(|line| format!("{line}\n"));
        fs::write(&include, lines.collect::<String>()).expect("include");
    }
    let ours = modules::directory().display().to_string();
    let mut place = conf.to_path_buf();
    if fs::read_to_string(conf)
        .expect("configuration")
        .contains(&ours)
    {
        fs::remove_file(instance.join("installed.json")).expect("receipt");
    } else {
        place = conf.with_file_name("mods-available/portcullis.load");
    }
    let text = fs::read_to_string(&place).expect("configuration");
    assert!(text.contains(&ours), "{text}");
    fs::write(&place, text.replace(&ours, &older.display().to_string())).expect("configuration");
}

/// The folder of all that agentadmin keeps.
fn home(site: &Site) -> PathBuf {
    site.instance.ancestors().nth(2).expect("home").into()
}

both_servers! {
    fn from_installation_to_removal_nothing_of_the_server_changes(kind: Kind) {
        let am = AmServer::Simulated(Box::new(am_on_localhost()));
        let mut site = site(kind).am(am).unrecorded().prepare();
        let (conf, home, module) = (site.server.conf(), home(&site), modules::module(kind));
        let folder = conf.parent().expect("folder").to_path_buf();
        // What the harness has installed goes; what was there before, it has kept.
        let copies = fs::read_dir(&folder).expect("folder").flatten().map(|f| f.path());
        let kept = copies.filter(|f| f.display().to_string().contains("_amagent_")).max();
        let bare = fs::read(kept.expect("a copy")).expect("copy");
        said(second::agentadmin(&site, &["--r", "agent_1"]));
        assert_eq!(fs::read(&conf).expect("configuration"), bare);
        // The harness's httpd would not start without the module that this names.
        let bare = String::from_utf8(bare).expect("text").replace(" amagent:info", "");
        fs::write(&conf, bare).expect("configuration");
        let before = tree(&[&folder]);
        assert_eq!(before.len(), 1, "{before:?}");

        // Installed and used.
        let password = home.with_file_name("password").display().to_string();
        let (am, url, at) = (site.am.url(), site.url(), conf.display().to_string());
        let install = ["--s", &at, &am, &url, "/", AGENT, &password, "--changeOwner"];
        let text = said(second::agentadmin(&site, &install));
        assert!(text.contains("Validating... Success."), "{text}");
        site.server.start();
        assert_eq!(site.get("/public/a.html").status, 200);
        let mut visitor = site.visitor();
        assert_eq!(visitor.log_in("/docs/a.html").status, 200);
        let cookies = visitor.cookie_header();
        let known = |site: &Site| {
            let page = portcullis_tests::client::Request::get("/docs/a.html");
            site.send(&page.header("Cookie", &cookies)).status
        };

        // An older version, which has its module elsewhere, runs when the new one is put in place.
        let older = home.join("older");
        fs::create_dir(&older).expect("folder");
        fs::copy(&module, older.join(module.file_name().expect("name"))).expect("module");
        as_an_older_one_left_it(&site.instance, &conf, &older);
        site.server.restart();
        assert_eq!(known(&site), 200);
        let own = fs::read(site.instance.join("config/agent.conf")).expect("agent.conf");
        let text = said(second::agentadmin(&site, &["--upgrade", "agent_1"]));
        let version = env!("CARGO_PKG_VERSION");
        let running = format!("running        version {version}, process {}", site.server.pid());
        for wanted in [
            "installed.json", "pdp-cache: new, mode 700", &format!("(before: {}/", older.display()),
            &running, "stop and start the web server",
        ] {
            assert!(text.contains(wanted), "{wanted}: {text}");
        }
        assert_eq!(text.contains("client_max_body_size"), kind == Kind::Nginx, "{text}");
        // Else workers see no change of agent.conf before a reload.
        assert_eq!(text.contains("/config: mode 750, owner 0:"), is_root(), "{text}");
        fs::remove_dir_all(&older).expect("the older version");
        site.server.restart();
        assert_eq!(known(&site), 200, "logins survive an upgrade");
        assert_eq!(fs::read(site.instance.join("config/agent.conf")).expect("agent.conf"), own);
        let config = site.instance.join("config");
        let written = || {
            let mut all = tree(&[&folder, &config]);
            // The server's own, at any moment.
            all.retain(|path, _| !path.ends_with("last-known-good"));
            all
        };
        let upgraded = written();
        let text = said(second::agentadmin(&site, &["--upgrade", "--all"]));
        assert!(text.contains("nothing to do") && text.contains("can go on"), "{text}");
        assert_same(&written(), &upgraded, "nothing was to be done");

        // A new key; who came with the old one stays.
        said(second::agentadmin(&site, &["--k", "--rotate", "agent_1"]));
        let workers = agent_workers(&site);
        site.server.reload();
        wait_for_successors(&site, &workers);
        assert_eq!(known(&site), 200, "the former key is accepted");
        assert_eq!(site.visitor().log_in("/docs/b.html").status, 200);

        // Removed; the server goes on without.
        said(second::agentadmin(&site, &["--r", "agent_1"]));
        assert_same(&tree(&[&folder]), &before, "removed");
        let mut left = tree(&[&home]);
        // What the harness has kept of configurations, to decide recorded requests again.
        left.retain(|path, _| !path.starts_with(home.join("kept")));
        assert_eq!(left.into_keys().collect::<Vec<_>>(), [home.join("instances")]);
        site.server.restart();
        assert_eq!(site.get("/docs/a.html").status, 200);
        site.stop();
    }
}

/// A machine that no server runs on, for as many installations as are wished.
struct Machine {
    folder: tempfile::TempDir,
    conf: PathBuf,
    kept: BTreeMap<String, Tree>,
}

impl Machine {
    /// With a server's configuration: on httpd that of Debian, with folders for modules.
    fn new(kind: Kind) -> Machine {
        modules::built();
        // What is made to last costs nothing there.
        let memory = Path::new("/dev/shm");
        let mut builder = tempfile::Builder::new();
        // Other tests look there for what the agent may have left under its own name.
        let builder = builder.prefix("an-installation-");
        let folder = match memory.is_dir() {
            true => builder.tempdir_in(memory),
            false => builder.tempdir(),
        };
        let folder = folder.expect("folder");
        let root = folder.path().join("machine");
        let nobody = std::net::SocketAddr::from(([127, 0, 0, 1], 9));
        let server = Server::prepare(kind, &root, nobody, &Layout::default());
        for name in ["docs", "logs", "run", "tmp", "cache"] {
            fs::remove_dir_all(root.join(name)).expect("folder");
        }
        let mut conf = server.conf();
        if kind == Kind::Httpd {
            let text = fs::read_to_string(&conf).expect("configuration");
            let more = "IncludeOptional mods-enabled/*.load\nIncludeOptional mods-enabled/*.conf\n";
            conf = root.join("apache2.conf");
            fs::write(&conf, text + more).expect("configuration");
            for name in ["mods-available", "mods-enabled"] {
                fs::create_dir(root.join(name)).expect("folder");
            }
        }
        fs::create_dir_all(root.join("agents/instances")).expect("folder");
        let password = root.join("password");
        fs::write(&password, AGENT_PASSWORD).expect("password");
        fs::set_permissions(password, fs::Permissions::from_mode(0o600)).expect("mode");
        let kept = BTreeMap::new();
        Machine { folder, conf, kept }
    }

    fn root(&self) -> PathBuf {
        self.folder.path().join("machine")
    }

    fn instance(&self) -> PathBuf {
        self.root().join("agents/instances/agent_1")
    }

    /// `agentadmin`; CONF and PASSWORD stand for this machine's.
    fn agentadmin(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(modules::agentadmin());
        command
            .env("PORTCULLIS_HOME", self.root().join("agents"))
            .env("PORTCULLIS_MODULES", modules::directory());
        for argument in arguments {
            match *argument {
                "CONF" => command.arg(&self.conf),
                "PASSWORD" => command.arg(self.root().join("password")),
                other => command.arg(other),
            };
        }
        command
    }

    fn keep_as(&mut self, name: &str) {
        self.kept.insert(name.to_owned(), self.tree());
    }

    /// Makes it again what it was when it was kept under this name.
    fn is_again(&self, name: &str) {
        restore(&self.root(), &self.kept[name]);
    }

    fn tree(&self) -> Tree {
        tree(&[&self.root()])
    }

    /// The same without what is another one each time: keys and what they encrypt, and the time in a copy's name.
    fn shape(&self) -> Tree {
        let all = self.tree().into_iter().map(|(path, mut thing)| {
            let name = path.file_name().unwrap_or_default();
            let text = String::from_utf8_lossy(&thing.content).into_owned();
            if name == "agent-key.conf" || name == "agent-password.conf" {
                let names = text.lines().filter_map(|line| line.split_once('='));
                let names: Vec<&str> = names.map(|(name, _)| name).collect();
                thing.content = names.join("\n").into_bytes();
            } else if name == "installed.json" {
                thing.content = timeless(&text).into_bytes();
            }
            (timeless(&path.display().to_string()).into(), thing)
        });
        all.collect()
    }

    /// Kills this command at its calls, each `stride`-th one, and lets it run again; how often it was killed.
    fn killed(&self, from: &str, arguments: &[&str], end: &str, stride: usize) -> usize {
        let scratch = self.folder.path();
        let command = self.agentadmin(arguments);
        self.is_again(from);
        let all = calls(&command, scratch);
        let done = self.shape();
        let bare = &self.kept[end];
        let chosen: Vec<&Call> = all.iter().step_by(stride).collect();
        for call in &chosen {
            let when = format!("{arguments:?} killed at {} {}", call.0, call.1);
            self.is_again(from);
            kill_at(&command, call, scratch);
            let again = answered(self.agentadmin(arguments), "yes\n");
            let text = words(&again);
            // It had come so far that there is nothing left to do but to say so.
            let finished = text.contains("was interrupted when all was done")
                || text.contains("there is no instance agent_1")
                || text.contains("already");
            assert!(again.status.success() || finished, "{when}: {text}");
            assert_same(&self.shape(), &done, &format!("{when}, again: {text}"));
            if self.instance().exists() {
                said(self.agentadmin(&["--r", "agent_1"]));
            }
            assert_same(&self.tree(), bare, &format!("{when}, removed"));
        }
        chosen.len()
    }
}

/// A text without the times that copies are named by.
fn timeless(text: &str) -> String {
    let mut parts = text.split("_amagent_");
    let mut out = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        out += "_amagent_";
        out += part.trim_start_matches(|c: char| c.is_ascii_digit());
    }
    out
}

/// What the Web Agent's installer leaves in the server's configuration, with its own files.
fn with_a_web_agent(machine: &Machine, kind: Kind) {
    let theirs = machine.root().join("web_agents");
    fs::create_dir(&theirs).expect("folder");
    let conf = theirs.join("agent.conf");
    fs::copy(machine.instance().join("config/agent.conf"), &conf).expect("agent.conf");
    said(machine.agentadmin(&["--r", "agent_1"]));
    let (text, conf) = (
        fs::read_to_string(&machine.conf).expect("configuration"),
        conf.display(),
    );
    let text = match kind {
        Kind::Httpd => format!(
            "{text}LoadModule amagent_module \"/opt/web_agents/lib/mod_openam.so\"\nAmAgent On\n\
             AmAgentConf \"{conf}\""
        ),
        Kind::Nginx => {
            let inside = format!("http {{\nopenam_agent on;\nopenam_agent_configuration {conf};\n");
            let text = text.replacen("http {\n", &inside, 1);
            format!("load_module /opt/web_agents/lib/openam_ngx_auth_module.so;\n{text}")
        }
    };
    fs::write(&machine.conf, text).expect("configuration");
}

both_servers! {
    fn killed_at_any_call_the_next_run_repairs_or_finishes(kind: Kind) {
        let mut machine = Machine::new(kind);
        machine.keep_as("bare");
        let (am, url) = ("http://am.test.example.org:80/am", "http://www.test.example.org:80");
        let install = ["--s", "CONF", am, url, "/", AGENT, "PASSWORD", "--changeOwner", "--forceInstall"];
        // Who is not root can give nothing away.
        let install = if is_root() { &install[..] } else { &["--s", "CONF", am, url, "/", AGENT, "PASSWORD", "--forceInstall"] };
        said(machine.agentadmin(install));
        machine.keep_as("installed");
        as_an_older_one_left_it(&machine.instance(), &machine.conf, Path::new("/nonexistent"));
        machine.keep_as("older");
        machine.is_again("installed");
        with_a_web_agent(&machine, kind);
        machine.keep_as("theirs");
        let take_over = ["--takeover", "CONF", "PASSWORD", "--forceInstall"];
        said(machine.agentadmin(&take_over));
        machine.keep_as("taken");
        // Every call on one server; the other's layout has more files, and some of them.
        let stride = if kind == Kind::Nginx { 1 } else { 5 };
        let mut all = 0;
        for (from, arguments, end) in [
            ("bare", install, "bare"),
            ("installed", &["--k", "--rotate", "agent_1"], "bare"),
            ("older", &["--upgrade", "agent_1"], "bare"),
            ("installed", &["--r", "agent_1"], "bare"),
            ("theirs", &take_over, "theirs"),
            ("taken", &["--rollback", "agent_1"], "theirs"),
        ] {
            let count = machine.killed(from, arguments, end, stride);
            println!("{kind:?}: {} killed {count} times", arguments[0]);
            all += count;
        }
        println!("{kind:?}: killed {all} times");
        assert!(all > 200 / stride, "{all}");
    }
}

both_servers! {
    /// The Web Agent's questions in its order, at a terminal.
    fn who_installs_by_hand_can_leave_go_back_and_type_the_password_unseen(kind: Kind) {
        let am = AmServer::Simulated(Box::new(am_on_localhost()));
        let mut site = site(kind).am(am).unrecorded().prepare();
        said(second::agentadmin(&site, &["--r", "agent_1"]));
        let (conf, home) = (site.server.conf(), home(&site));
        let folder = conf.parent().expect("folder").to_path_buf();
        let before = tree(&[&folder, &home]);
        let (am, url, at) = (site.am.url(), site.url(), conf.display().to_string());
        let wrong = home.with_file_name("none").display().to_string();
        let asks_owner = kind == Kind::Httpd && is_root();
        // Everything up to the question for the password, with these answers for name and file.
        let answer = |terminal: &mut Terminal, [path, am, url, name, file]: [&str; 5]| {
            terminal.answers("complete path to the httpd.conf, apache2.conf or nginx.conf", path);
            if asks_owner {
                terminal.answers("Change ownership of created directories", "yes");
            }
            terminal.answers("set properties from an existing configuration", "");
            terminal.answers("Enter the URL of AM", am);
            terminal.answers("Enter the URL of the web server", url);
            terminal.answers("Enter the Agent profile name (Agent ID)", name);
            terminal.answers("Enter the Agent realm", "");
            terminal.answers("Enter the path to the password file", file);
        };
        let begin = || Terminal::run(&second::agentadmin(&site, &["--i"]));
        let unchanged = |terminal: Terminal, when: &str| {
            assert!(terminal.shows_what_is_typed(), "{when}");
            let (status, shown) = terminal.end();
            assert!(!status.success(), "{when}: {shown}");
            assert_same(&tree(&[&folder, &home]), &before, when);
            shown
        };

        let mut terminal = begin();
        terminal.answers("complete path", "q");
        let shown = unchanged(terminal, "q at the first question");
        assert!(shown.contains("left; nothing was changed"), "{shown}");

        let mut terminal = begin();
        answer(&mut terminal, [&at, &am, &url, AGENT, &wrong]);
        terminal.wait_for("cannot read");
        terminal.answers("Enter the path to the password file", "q");
        unchanged(terminal, "q at the last question");

        let mut terminal = begin();
        answer(&mut terminal, [&at, &am, &url, AGENT, "-"]);
        terminal.wait_for("Password: ");
        assert!(!terminal.shows_what_is_typed());
        terminal.types("half-of-it");
        terminal.types(INTERRUPT);
        terminal.wait_for("left; nothing was changed");
        let shown = unchanged(terminal, "Ctrl+C at the password");
        assert!(!shown.contains("half-of-it"), "{shown}");

        let mut terminal = begin();
        terminal.wait_for("complete path");
        terminal.types(INTERRUPT);
        unchanged(terminal, "Ctrl+C at a question");

        // At first another name; then it is all there but for that and the password.
        let mut terminal = begin();
        answer(&mut terminal, [&at, &am, &url, "wa7", "-"]);
        terminal.wait_for("Password: ");
        terminal.types("another-one-than-it-is\n");
        terminal.wait_for("Agent profile name:       wa7");
        terminal.answers("Confirm configuration", "no");
        for given in [&at, &am, &url, "wa7"] {
            let shown = format!("[{given}]: ");
            terminal.wait_for("[ q to leave ]: ");
            if given == at && asks_owner {
                terminal.wait_for(&shown);
                terminal.types("\n");
                terminal.answers("Change ownership", "");
            } else {
                terminal.wait_for(&shown);
                terminal.types(if given == "wa7" { "wa1\n" } else { "\n" });
            }
            if given == at {
                terminal.answers("existing configuration", "");
            }
        }
        terminal.answers("Enter the Agent realm", "");
        terminal.answers("Enter the path to the password file", "");
        terminal.wait_for("Password: ");
        terminal.types(&format!("{AGENT_PASSWORD}\n"));
        terminal.wait_for(&format!("Agent profile name:       {AGENT}"));
        assert!(terminal.shows_what_is_typed());
        terminal.answers("Confirm configuration", "yes");
        let (status, shown) = terminal.end();
        assert!(status.success() && shown.contains("Validating... Success."), "{shown}");
        assert!(!shown.contains(AGENT_PASSWORD) && !shown.contains("another-one"), "{shown}");
        site.server.start();
        assert_eq!(site.visitor().log_in("/docs/a.html").status, 200);
        site.stop();
    }
}

//! What does the guide in `docs/` say to write and to type? Its blocks are read here, and tried by `tests/docs.rs`.
//!
//! A fenced block has the name of its set-up behind its language: ```` ```properties cross_domain ````. The guide's
//! host names become those of a test's site. Must not know what a set-up is for.

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use am_simulator::{Config, Dialect, Simulator};

use crate::{
    front::Certificates,
    modules,
    server::Kind,
    site::{AmServer, Builder, Site, USER, site},
    visitor::origin_of,
};

/// AM and the protected site in the guide, and where AM is when it stands behind the site's own proxy.
const AM: &str = "https://am.example.com:8443/openam";
const SITE: &str = "https://www.example.com:443";
const HIDDEN_AM: &str = "http://am.internal.example.com:8080/openam";
/// Where the guide puts the agent.
const HOME: &str = "/opt/portcullis";
/// A local configuration needs a URL to send users back to.
const PREFIX: &str = "com.sun.identity.agents.config.agenturi.prefix";
/// The number of a page in the guide.
const INCIDENT: &str = "7Q2W0H5M3R9T1B4C";
/// The languages of blocks, and what is done with each.
const LANGUAGES: [&str; 5] = ["properties", "apache", "nginx", "sh", "console"];

/// A fenced block.
#[derive(Clone, Debug)]
pub struct Block {
    /// `docs/page.md:12`
    pub place: String,
    /// What it is written in.
    pub language: String,
    /// The set-up that it belongs to.
    pub setup: String,
    /// The lines in it.
    pub text: String,
}

/// The blocks of a page, in order.
///
/// # Panics
/// When a block has no language that is tried, or no set-up, or when code is set off by blanks, which nothing tries.
pub fn blocks(page: &str) -> Vec<Block> {
    let path = modules::root().join(page);
    let text = fs::read_to_string(&path).unwrap_or_else(|e| panic!("{page}: {e}"));
    let mut found: Vec<Block> = Vec::new();
    let mut inside = false;
    let mut before = "";
    for (number, line) in text.lines().enumerate() {
        let place = format!("{page}:{}", number + 1);
        match (line.trim_start().strip_prefix("```"), inside) {
            (Some(_), true) => inside = false,
            (Some(marks), false) => {
                inside = true;
                let words: Vec<&str> = marks.split_whitespace().collect();
                let &[language, setup] = words.as_slice() else {
                    panic!("{place}: a block needs its language and its set-up: {line}")
                };
                assert!(LANGUAGES.contains(&language), "{place}: {language}");
                found.push(Block {
                    place,
                    language: language.to_owned(),
                    setup: setup.to_owned(),
                    text: String::new(),
                });
            }
            (None, true) => {
                let block = found.last_mut().expect("a block has begun");
                block.text.push_str(line);
                block.text.push('\n');
            }
            (None, false) => {
                let code = line.starts_with("    ") && before.is_empty() && !line.trim().is_empty();
                assert!(!code, "{place}: put it into a fenced block");
            }
        }
        before = line;
    }
    assert!(!inside, "{page}: the last block does not end");
    found
}

/// Everything that the guide says of one set-up.
pub struct Setup {
    blocks: Vec<Block>,
    /// The site is known outside under the guide's own URL, with TLS before it.
    outside: bool,
    /// The host name that AM knows itself by.
    am: &'static str,
    /// What AM speaks.
    dialect: Dialect,
}

impl Setup {
    /// The set-up of this name, from these pages.
    ///
    /// # Panics
    /// When there is none.
    pub fn named(pages: &[&str], name: &str) -> Setup {
        let all = pages.iter().flat_map(|page| blocks(page));
        let blocks: Vec<Block> = all.filter(|block| block.setup == name).collect();
        assert!(!blocks.is_empty(), "no page has the set-up {name}");
        Setup {
            blocks,
            outside: false,
            am: "localhost",
            dialect: Dialect::default(),
        }
    }

    /// Leaves the scheme and port of the site's URL as the guide has them: something before the server ends TLS.
    #[must_use]
    pub fn seen_from_outside(mut self) -> Setup {
        self.outside = true;
        self
    }

    /// Has an AM that answers to this host name.
    #[must_use]
    pub fn am_named(mut self, host: &'static str) -> Setup {
        self.am = host;
        self
    }

    /// Has an AM of another kind.
    #[must_use]
    pub fn speaking(mut self, dialect: Dialect) -> Setup {
        self.dialect = dialect;
        self
    }

    /// Its lines of one language.
    pub fn lines(&self, language: &str) -> String {
        let blocks = self.blocks.iter().filter(|b| b.language == language);
        blocks.map(|block| block.text.as_str()).collect()
    }

    /// A site with a configuration in `agent.conf` alone, and in it and in the server's what the set-up says. Not
    /// started.
    ///
    /// # Panics
    /// When anything can't be set up.
    pub fn prepare(&self, kind: Kind) -> Site {
        self.prepare_on(site(kind))
    }

    /// The same with a site that has more than others.
    ///
    /// # Panics
    /// When anything can't be set up.
    pub fn prepare_on(&self, builder: Builder) -> Site {
        let am = Simulator::start(Config {
            host: self.am.into(),
            dialect: self.dialect,
            ..Config::default()
        });
        let am = am.expect("simulator");
        let server = |text: String| {
            let hidden = origin_of(HIDDEN_AM);
            let address = origin_of(am.base_url()).replace(self.am, "127.0.0.1");
            text.replace(&hidden, &address)
                .replace("http://127.0.0.1:8080", "http://@BACKEND@")
        };
        let (httpd, nginx) = (server(self.lines("apache")), server(self.lines("nginx")));
        let site = builder
            .local()
            .host(&httpd, &nginx)
            .am(AmServer::Simulated(Box::new(am)))
            // In no DNS.
            .property(
                "com.forgerock.agents.config.hostmap[1]",
                &format!("{}|127.0.0.1", self.am),
            )
            .prepare();
        set(&site, &format!("{PREFIX} = {}/", site.url()));
        let authority = site.server.dir().join("my-ca.pem");
        let properties = self
            .here(&site, &self.lines("properties"))
            .replace(HOME, &home_of(&site).display().to_string())
            .replace("/etc/ssl/my-ca.pem", &authority.display().to_string());
        if properties.contains("my-ca.pem") {
            let made = Certificates::make(site.server.dir(), self.am).authority;
            fs::rename(made, authority).expect("authority");
        }
        properties.lines().for_each(|line| set(&site, line));
        site
    }

    /// A text of the guide with the names of this site.
    pub fn here(&self, site: &Site, text: &str) -> String {
        let own = match self.outside {
            true => SITE.replace("example.com", "test.example.org"),
            false => site.url(),
        };
        let port = site.server.address().port();
        text.replace(AM, &site.am.url())
            .replace(HIDDEN_AM, &site.am.url())
            .replace(SITE, &own)
            .replace(
                "https://shop.example.com:443",
                &format!("http://shop.test.example.org:{port}"),
            )
            .replace("example.com", "test.example.org")
            .replace("10.0.0.5", "127.0.0.1")
            // A day that does not come.
            .replace("2027-01-31", "2999-01-31")
    }
}

/// Adds lines to the host of a prepared site.
///
/// # Panics
/// When the server's configuration can't be written.
pub fn add_to_host(site: &Site, text: &str) {
    let path = site.server.conf();
    let conf = fs::read_to_string(&path).expect("configuration");
    let before = match site.server.kind() {
        Kind::Httpd => "</VirtualHost>",
        Kind::Nginx => "location /app ",
    };
    let conf = conf.replacen(before, &format!("{text}{before}"), 1);
    fs::write(&path, conf).expect("configuration");
}

/// Where the harness has installed a site's agent.
fn home_of(site: &Site) -> PathBuf {
    let home = site.instance.ancestors().nth(2);
    home.expect("a folder above the instances").to_path_buf()
}

/// Writes a line into `agent.conf`, in place of one of the same name.
///
/// # Panics
/// When it is no such line, or can't be written.
pub fn set(site: &Site, line: &str) {
    let Some((name, _)) = line.split_once(" = ") else {
        assert!(line.is_empty() || line.starts_with('#'), "{line}");
        return;
    };
    let conf = site.instance.join("config/agent.conf");
    let text = fs::read_to_string(&conf).expect("agent.conf");
    let begins = format!("{name} =");
    let kept = text.lines().filter(|l| !l.starts_with(&begins));
    let text: String = kept.chain([line]).map(|l| format!("{l}\n")).collect();
    fs::write(&conf, text).expect("agent.conf");
}

/// Somebody at the machine of a site, who types what the guide says.
pub struct Shell<'s> {
    site: &'s mut Site,
    folder: tempfile::TempDir,
    /// The guide's `/opt/portcullis`.
    home: PathBuf,
    /// The number that a user has read out.
    incident: String,
}

impl<'s> Shell<'s> {
    /// In front of a machine without an agent, where one is to be installed.
    ///
    /// # Panics
    /// When its programs can't be put in place.
    pub fn bare(site: &'s mut Site) -> Shell<'s> {
        let mut shell = Shell::at(site);
        shell.home = shell.file("portcullis");
        shell
    }

    /// In front of this site.
    ///
    /// # Panics
    /// When its programs can't be put in place.
    pub fn at(site: &'s mut Site) -> Shell<'s> {
        let folder = tempfile::Builder::new()
            .prefix("portcullis-guide-")
            .tempdir()
            .expect("folder");
        let open = |path: &Path| fs::set_permissions(path, PermissionsExt::from_mode(0o755));
        open(folder.path()).expect("mode");
        let home = home_of(site);
        let shell = Shell {
            site,
            folder,
            home,
            incident: INCIDENT.to_owned(),
        };
        let (address, authority) = (shell.site.server.address(), shell.site.authority());
        let server = shell.site.server.dir().display().to_string();
        let conf = shell.site.server.conf().display().to_string();
        let make = modules::root().display().to_string();
        for (name, command) in [
            (
                "curl",
                format!(
                    "/usr/bin/curl --max-time 30 --resolve {authority}:{}",
                    address.ip()
                ),
            ),
            ("nginx", format!("/usr/sbin/nginx -p {server} -c {conf}")),
            (
                "apache2ctl",
                format!("/usr/sbin/apache2 -d {server} -f {conf}"),
            ),
            (
                "agentadmin",
                format!(
                    "env PORTCULLIS_HOME={} PORTCULLIS_MODULES={} {}",
                    shell.home.display(),
                    modules::directory().display(),
                    modules::agentadmin().display()
                ),
            ),
            // Builds and packages are those of the machine that the tests run on.
            ("make", format!("/usr/bin/make -n -C {make}")),
            (
                "apt-get",
                r#"sh -c 'shift; exec dpkg-query -W "$@"'"#.to_owned(),
            ),
        ] {
            let path = shell.programs().join(name);
            fs::create_dir_all(shell.programs()).expect("folder");
            fs::write(&path, format!("#!/bin/sh\nexec {command} \"$@\"\n")).expect("program");
            open(&path).expect("mode");
        }
        shell
    }

    fn programs(&self) -> PathBuf {
        self.file("bin")
    }

    /// Has read this number on a page.
    pub fn has_read(&mut self, page: &str) {
        let code = page
            .split_once("<code>")
            .and_then(|(_, rest)| rest.split_once("</code>"));
        self.incident = code.expect("an incident").0.to_owned();
    }

    /// A file that the guide has outside of the agent's folder.
    pub fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Has a secret in such a file, which nobody else reads.
    ///
    /// # Panics
    /// When it can't be written.
    pub fn keeps(&self, name: &str, secret: &str) {
        let file = self.file(name);
        fs::write(&file, secret).expect("file");
        fs::set_permissions(&file, PermissionsExt::from_mode(0o600)).expect("mode");
    }

    /// The site.
    pub fn site(&mut self) -> &mut Site {
        self.site
    }

    /// Waits until the agent's log has a line with this code: the lines are written by another thread, and whoever
    /// looks into the log looks a moment later.
    ///
    /// # Panics
    /// When it does not come in time.
    pub fn waits_for(&self, code: &str) {
        let log = self.home.join("instances/agent_1/logs/debug/debug.log");
        crate::wait_until(code, || {
            fs::read_to_string(&log).is_ok_and(|text| text.contains(code))
        });
    }

    /// A text of the guide with what is meant on this machine.
    fn here(&self, setup: &Setup, text: &str) -> String {
        let folder = self.folder.path().display();
        let home = self.home.display().to_string();
        let conf = self.site.server.conf().display().to_string();
        setup
            .here(self.site, text)
            .replace(HOME, &home)
            .replace(INCIDENT, &self.incident)
            .replace("/root/", &format!("{folder}/"))
            .replace("--user demo ", &format!("--user {USER} "))
            .replace("/etc/demo.password", &format!("{folder}/demo.password"))
            .replace("/etc/nginx/nginx.conf", &conf)
            .replace("/etc/apache2/apache2.conf", &conf)
            .replace("/etc/wa1.password", &format!("{folder}/wa1.password"))
            .replace(
                "target/release/agentadmin",
                &modules::agentadmin().display().to_string(),
            )
            .replace(
                "target/modules",
                &modules::directory().display().to_string(),
            )
    }

    /// Types every command of a set-up, and compares with what the guide says is seen then.
    ///
    /// # Panics
    /// When a command fails, or what it prints lacks a line of the guide's.
    pub fn types(&mut self, setup: &Setup) {
        for block in setup.blocks.clone() {
            match block.language.as_str() {
                "sh" => {
                    for command in commands(&block.text) {
                        let (done, said) = self.run(setup, &block.place, &command);
                        assert!(done, "{}: {command}\n{said}", block.place);
                    }
                }
                "console" => self.converse(setup, &block),
                _ => {}
            }
        }
    }

    /// Lines with `$ ` are typed, the others are seen.
    fn converse(&mut self, setup: &Setup, block: &Block) {
        let mut said = String::new();
        for line in commands(&block.text) {
            if let Some(command) = line.strip_prefix("$ ") {
                said = self.run(setup, &block.place, command).1;
                continue;
            }
            let wanted = self.here(setup, &line);
            assert!(
                said.lines().any(|l| is_like(&wanted, l)),
                "{}: nothing like {wanted:?} in\n{said}",
                block.place
            );
        }
    }

    /// Whether a command ended well, and what it printed.
    fn run(&mut self, setup: &Setup, place: &str, command: &str) -> (bool, String) {
        let words: Vec<&str> = command.split_whitespace().collect();
        if let ["systemctl", what, _server] = words.as_slice() {
            self.manage(what, place);
            return (true, String::new());
        }
        let text = self.here(setup, command);
        let path = format!(
            "{}:/usr/sbin:/usr/bin:/sbin:/bin",
            self.programs().display()
        );
        let output = Command::new("sh")
            .args(["-euc", &text])
            .env("PATH", path)
            .env_remove("PORTCULLIS_HOME")
            .current_dir(self.folder.path())
            .stdin(Stdio::null())
            .output()
            .expect("shell");
        (output.status.success(), crate::second::words(&output))
    }

    /// What the service manager does for an operator, the harness does here.
    fn manage(&mut self, what: &str, place: &str) {
        let server = &mut self.site.server;
        match (what, server.pid() != 0) {
            ("stop", true) => server.end(),
            ("start" | "restart", false) => server.start(),
            ("restart", true) => server.restart(),
            ("reload", true) => server.reload(),
            (_, runs) => panic!("{place}: systemctl {what}, and it runs: {runs}"),
        }
    }
}

/// The commands of a text: lines, with those that go on in the next one joined, and without comments.
fn commands(text: &str) -> impl Iterator<Item = String> {
    let joined = text.replace("\\\n", " ");
    let lines: Vec<String> = joined
        .lines()
        .map(|line| line.trim().to_owned())
        .filter(|line| !line.is_empty() && !line.starts_with("# "))
        .collect();
    lines.into_iter()
}

/// Whether a line is as the guide shows it: `…` is anything.
fn is_like(wanted: &str, line: &str) -> bool {
    let mut rest = line.trim();
    let parts: Vec<&str> = wanted.trim().split('…').collect();
    for (n, part) in parts.iter().enumerate() {
        match rest.find(part) {
            Some(0) => rest = &rest[part.len()..],
            Some(at) if n > 0 => rest = &rest[at + part.len()..],
            _ => return false,
        }
    }
    parts.len() == 1 && rest.is_empty() || parts.len() > 1
}

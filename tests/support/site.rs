//! A protected site as a test sees it: an AM, a web server with the agent in it, an application behind.
//!
//! The agent is installed by `agentadmin`, as an operator does it; a test only adds properties.

use std::{
    fs,
    io::Write,
    path::{Path, PathBuf},
    process::Command,
};

use am_simulator::{Config, Dialect, Running, Simulator};
use portcullis_openam::seed::{Admin, Am};
use serde_json::{Value, json};

use crate::{
    backend::Backend,
    client::{Request, Response},
    imported, modules,
    real::Leavings,
    recording,
    server::{Kind, Layout, Mpm, Server},
    visitor::Visitor,
};

/// Host name of every site that has no other.
pub const HOST: &str = "www.test.example.org";
/// Name of the agent's profile.
pub const AGENT: &str = "wa1";
/// Its password.
pub const AGENT_PASSWORD: &str = "pW7-longenough-forTests";
/// A user that every AM has.
pub const USER: &str = "demo1";
/// The user's password.
pub const USER_PASSWORD: &str = "changeit8";

/// An AM for a test: simulated, or a real one that several tests share.
pub enum AmServer {
    /// One of the test's own.
    Simulated(Box<Running>),
    /// Somebody else's.
    Real(Am),
}

impl AmServer {
    /// A fresh simulator.
    ///
    /// # Panics
    /// When it can't start.
    pub fn simulated() -> AmServer {
        AmServer::of(Dialect::default())
    }

    /// A fresh simulator that speaks this dialect.
    ///
    /// # Panics
    /// When it can't start.
    pub fn of(dialect: Dialect) -> AmServer {
        let config = Config {
            dialect,
            ..Config::default()
        };
        AmServer::Simulated(Box::new(Simulator::start(config).expect("simulator")))
    }

    /// Its base URL.
    pub fn url(&self) -> String {
        match self {
            AmServer::Simulated(am) => am.base_url().to_owned(),
            AmServer::Real(am) => am.url().to_owned(),
        }
    }

    /// The simulator, for faults and counts.
    ///
    /// # Panics
    /// When it is a real AM.
    pub fn simulator(&self) -> &Running {
        match self {
            AmServer::Simulated(am) => am,
            AmServer::Real(_) => panic!("not a simulator"),
        }
    }

    /// A client of its REST interface.
    pub fn client(&self) -> Am {
        Am::at(&self.url()).expect("URL of AM")
    }

    /// The administrator's client.
    pub fn admin(&self) -> Admin {
        self.client()
            .admin(portcullis_openam::ADMIN_PASSWORD)
            .expect("administrator")
    }
}

/// How a site is made.
pub struct Builder {
    kind: Kind,
    am: Option<AmServer>,
    layout: Layout,
    properties: Vec<String>,
    /// Environment of the installation.
    variables: Vec<(String, String)>,
    profile: Value,
    local: bool,
    listens: bool,
    recorded: bool,
    password: String,
    host: String,
    agent: String,
}

/// A running site.
pub struct Site {
    /// The server.
    pub server: Server,
    /// AM.
    pub am: AmServer,
    /// The application behind.
    pub backend: Backend,
    /// Folder of the agent's instance.
    pub instance: PathBuf,
    /// Name of the agent's profile.
    pub agent: String,
    host: String,
    home: tempfile::TempDir,
    _leavings: Option<Leavings>,
}

/// Begins a site on this kind of server.
pub fn site(kind: Kind) -> Builder {
    Builder {
        kind,
        am: None,
        layout: Layout::default(),
        properties: vec![
            // AM's name is in no DNS.
            "com.forgerock.agents.config.hostmap[0] = am.test.example.org|127.0.0.1".into(),
            "com.sun.identity.agents.config.debug.level = debug".into(),
        ],
        variables: Vec::new(),
        profile: json!({}),
        local: false,
        listens: false,
        recorded: true,
        password: AGENT_PASSWORD.into(),
        host: HOST.into(),
        agent: AGENT.into(),
    }
}

impl Builder {
    /// Uses this AM instead of a fresh simulator.
    pub fn am(mut self, am: AmServer) -> Builder {
        self.am = Some(am);
        self
    }

    /// Another host name, agent and wished port than every site has: for several sites with one AM.
    pub fn named(mut self, host: &str, agent: &str, port: u16) -> Builder {
        self.host = host.into();
        self.agent = agent.into();
        self.layout.port = Some(port);
        self
    }

    /// Adds lines at the server level, one text for each kind.
    pub fn global(mut self, httpd: &str, nginx: &str) -> Builder {
        self.layout.global += pick(self.kind, httpd, nginx);
        self
    }

    /// Adds lines to the host, one text for each kind. `@BACKEND@` stands for the application's
    /// address and `@DIR@` for the server's folder, here and at the server level.
    pub fn host(mut self, httpd: &str, nginx: &str) -> Builder {
        self.layout.host += pick(self.kind, httpd, nginx);
        self
    }

    /// Has so many worker processes.
    pub fn workers(mut self, count: u32) -> Builder {
        self.layout.workers = Some(count);
        self
    }

    /// Has so many threads in each process of httpd. A quarter of them may wait long for AM.
    pub fn threads(mut self, count: u32) -> Builder {
        self.layout.threads = Some(count);
        self
    }

    /// Uses this MPM of httpd.
    pub fn mpm(mut self, mpm: Mpm) -> Builder {
        self.layout.mpm = mpm;
        self
    }

    /// Loads more modules of httpd.
    pub fn modules(mut self, names: &[&'static str]) -> Builder {
        self.layout.modules.extend(names);
        self
    }

    /// Adds a line to `agent.conf`.
    pub fn property(mut self, name: &str, value: &str) -> Builder {
        self.properties.push(format!("{name} = {value}"));
        self
    }

    /// Installs the agent with this variable in the environment.
    pub fn installed_with(mut self, name: &str, value: &str) -> Builder {
        self.variables.push((name.into(), value.into()));
        self
    }

    /// Adds an attribute to the agent's profile in AM.
    pub fn profile(mut self, name: &str, values: &[&str]) -> Builder {
        self.profile[name] = json!(values);
        self
    }

    /// Writes every decision into the local audit file.
    #[must_use]
    pub fn audited(self) -> Builder {
        const P: &str = "com.sun.identity.agents.config";
        self.profile(&format!("{P}.audit.accesstype"), &["LOG_BOTH"])
            .profile(&format!("{P}.log.disposition"), &["LOCAL"])
    }

    /// Reads everything from `agent.conf`.
    pub fn local(mut self) -> Builder {
        self.local = true;
        self
    }

    /// Hears from AM what changes there. Other sites do not: when the socket opens, AM is asked again about
    /// what is known, and tests count what AM is asked.
    #[must_use]
    pub fn listens(mut self) -> Builder {
        self.listens = true;
        self
    }

    /// Writes no requests down, as a site in use: for measurements.
    #[must_use]
    pub fn unrecorded(mut self) -> Builder {
        self.recorded = false;
        self
    }

    /// Installs the agent with another password than AM knows.
    pub fn wrong_password(mut self) -> Builder {
        self.password = "not-the-password-of-AM-01".into();
        self
    }

    /// Everything but starting the server.
    ///
    /// # Panics
    /// When anything can't be set up.
    pub fn prepare(self) -> Site {
        modules::built();
        let home = tempfile::Builder::new()
            .prefix("portcullis-")
            .tempdir()
            .expect("folder");
        open_to_workers(home.path());
        let backend = Backend::start();
        let mut server = Server::prepare(
            self.kind,
            &home.path().join("server"),
            backend.address(),
            &self
                .layout
                .at(backend.address(), &home.path().join("server")),
        );
        let am = self.am.unwrap_or_else(AmServer::simulated);
        let site_url = format!("http://{}:{}", self.host, server.address().port());
        let agent = match am {
            // Others use that AM as well.
            AmServer::Real(_) => {
                let port = server.address().port();
                format!("{}-{}-{port}", self.agent, std::process::id())
            }
            AmServer::Simulated(_) => self.agent,
        };
        let leavings = seed_agent(&am, &agent, &site_url, &self.profile);
        server.has_agents(&home.path().join("agents"));
        let instance = home.path().join("agents/instances/agent_1");
        let mut lines = self.properties;
        if self.recorded {
            let requests = recording::file(&instance);
            lines.push(format!("portcullis.record.file = {}", requests.display()));
        }
        if !self.listens {
            lines.push("com.sun.identity.agents.config.notification.enable = false".into());
        }
        if self.local {
            lines.push("com.sun.identity.agents.config.repository.location = local".into());
        }
        install(
            home.path(),
            &server,
            [&am.url(), &site_url, "/", &agent],
            &lines,
            (&self.password, &self.variables),
        );
        Site {
            server,
            am,
            backend,
            instance,
            agent,
            host: self.host,
            home,
            _leavings: leavings,
        }
    }

    /// A running site.
    ///
    /// # Panics
    /// When anything can't be set up.
    pub fn start(self) -> Site {
        let mut site = self.prepare();
        site.server.start();
        site
    }
}

fn pick<'t>(kind: Kind, httpd: &'t str, nginx: &'t str) -> &'t str {
    match kind {
        Kind::Httpd => httpd,
        Kind::Nginx => nginx,
    }
}

/// Workers run as another user and have to reach their files.
fn open_to_workers(path: &Path) {
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    fs::set_permissions(path, mode).expect("mode");
}

/// What every test's AM knows: one user, one agent, one policy.
pub fn seed(am: &AmServer, site_url: &str, profile: &Value) {
    let _ = seed_agent(am, AGENT, site_url, profile);
}

/// What has to be deleted afterwards, if anything.
fn seed_agent(am: &AmServer, agent: &str, site_url: &str, profile: &Value) -> Option<Leavings> {
    let admin = am.admin();
    let mail =
        json!({ "mail": "demo@example.com", "cn": "Demo User", "sn": "User", "givenName": "Demo" });
    if matches!(am, AmServer::Simulated(_)) {
        admin
            .create_user("/", USER, USER_PASSWORD, &mail)
            .expect("user");
    }
    let mut attributes = json!({
        "com.sun.identity.agents.config.cdsso.enable": ["true"],
        "com.sun.identity.agents.config.notenforced.url": [format!("[0]={site_url}/public/*")],
        "com.sun.identity.agents.config.agent.logout.url": [format!("[0]={site_url}/logout/*")],
        "com.sun.identity.agents.config.session.attribute.fetch.mode": ["HTTP_HEADER"],
        "com.sun.identity.agents.config.session.attribute.mapping": ["[UserToken]=X-User"],
        "com.sun.identity.agents.config.response.attribute.fetch.mode": ["HTTP_HEADER"],
        "com.sun.identity.agents.config.response.attribute.mapping":
            ["[dept]=X-Dept", "[mail]=X-Policy-Mail"],
        "com.sun.identity.agents.config.profile.attribute.fetch.mode": ["HTTP_HEADER"],
        "com.sun.identity.agents.config.profile.attribute.mapping": ["[mail]=X-Mail"],
    });
    if let (Some(all), Some(more)) = (attributes.as_object_mut(), profile.as_object()) {
        all.extend(more.clone());
    }
    admin
        .create_agent("/", agent, AGENT_PASSWORD, site_url, &attributes)
        .expect("agent");
    let patterns: Vec<String> = ["docs", "app", "api"]
        .iter()
        .flat_map(|p| [format!("{site_url}/{p}/*"), format!("{site_url}/{p}/*?*")])
        .collect();
    let patterns: Vec<&str> = patterns.iter().map(String::as_str).collect();
    let policy = match agent {
        AGENT => "docs".to_owned(),
        other => format!("docs-{other}"),
    };
    let members = json!({
        "actionValues": { "GET": true, "HEAD": true, "POST": false },
        "resourceAttributes": [
            { "type": "Static", "propertyName": "dept", "propertyValues": ["sales"] },
            { "type": "User", "propertyName": "mail", "propertyValues": [] },
        ],
    });
    admin
        .create_policy("/", &policy, &patterns, &members)
        .expect("policy");
    matches!(am, AmServer::Real(_)).then(|| Leavings::of(admin, agent, &policy))
}

/// Runs `agentadmin --s` as an operator would, and has these lines in `agent.conf`.
fn install(
    home: &Path,
    server: &Server,
    names: imported::Names<'_>,
    lines: &[String],
    (password, variables): (&str, &[(String, String)]),
) {
    let password_file = home.join("password");
    fs::write(&password_file, password).expect("password file");
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o600);
    fs::set_permissions(&password_file, mode).expect("mode");
    let agents = home.join("agents");
    let old = imported::begin(home, names, lines);
    let mut command = Command::new(modules::agentadmin());
    command
        .env("PORTCULLIS_HOME", &agents)
        .env("PORTCULLIS_MODULES", modules::directory())
        .envs(variables.iter().map(|(n, v)| (n, v)))
        .arg("--s")
        .arg(server.conf())
        .args(if old.is_some() {
            ["-", names[1], "-", "-"]
        } else {
            names
        })
        .arg(&password_file)
        .args(["--changeOwner", "--forceInstall"]);
    if let Some(file) = &old {
        command.arg("--import").arg(file);
    }
    let output = command.output().expect("agentadmin");
    assert!(
        output.status.success(),
        "agentadmin: {}\n{}{}",
        output.status,
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    if old.is_none() {
        let conf = agents.join("instances/agent_1/config/agent.conf");
        let file = fs::OpenOptions::new().append(true).open(conf);
        let text: String = lines.iter().map(|line| format!("{line}\n")).collect();
        let mut file = file.expect("agent.conf");
        file.write_all(text.as_bytes()).expect("agent.conf");
    }
}

impl Site {
    /// `http://www.test.example.org:PORT`
    pub fn url(&self) -> String {
        format!("http://{}", self.authority())
    }

    /// `www.test.example.org:PORT`
    pub fn authority(&self) -> String {
        format!("{}:{}", self.host, self.server.address().port())
    }

    /// Sends a request to the site.
    ///
    /// # Panics
    /// When there is no answer.
    pub fn send(&self, request: &Request) -> Response {
        request
            .send(self.server.address(), &self.authority())
            .unwrap_or_else(|error| panic!("{request:?}: {error}\n{}", self.server.said()))
    }

    /// A GET without cookies.
    pub fn get(&self, target: &str) -> Response {
        self.send(&Request::get(target))
    }

    /// A browser without cookies.
    pub fn visitor(&self) -> Visitor<'_> {
        Visitor::new(self)
    }

    /// Adds a line to `agent.conf`.
    ///
    /// # Panics
    /// When the file can't be written.
    pub fn append(&self, line: &str) {
        let conf = self.instance.join("config/agent.conf");
        let mut file = fs::OpenOptions::new()
            .append(true)
            .open(conf)
            .expect("agent.conf");
        writeln!(file, "{line}").expect("agent.conf");
    }

    /// The agent's debug log.
    pub fn debug_log(&self) -> String {
        fs::read_to_string(self.instance.join("logs/debug/debug.log")).unwrap_or_default()
    }

    /// Waits until the server's log or the agent's has a line with `text`.
    ///
    /// # Panics
    /// When it does not come in time.
    pub fn wait_for_line(&self, text: &str) {
        crate::wait_until(&format!("a line with {text:?}"), || {
            self.server.said().contains(text) || self.debug_log().contains(text)
        });
    }

    /// Stops the server and looks at what it left.
    ///
    /// # Panics
    /// On anything unexpected.
    pub fn stop(self) {
        self.server.stop();
        drop(self.home);
    }
}

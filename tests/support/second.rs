//! A second agent in the same server: another host name, another AM, another profile and password.

use std::{
    collections::BTreeMap,
    fs,
    io::Write,
    path::PathBuf,
    process::{Command, Output, Stdio},
};

use am_simulator::{Config, Running, Simulator};
use serde_json::json;

use crate::{
    client::{Request, Response},
    modules,
    server::Kind,
    site::{AmServer, Site, USER, USER_PASSWORD},
    visitor::{escape, path_of},
};

/// Host name of the second site.
const HOST: &str = "www.second.example.org";
const AGENT: &str = "wa2";
const PASSWORD: &str = "aNother-agents-Passw0rd";

/// Runs `agentadmin` for the instances of this site.
pub fn agentadmin(site: &Site, arguments: &[&str]) -> Command {
    let mut command = Command::new(modules::agentadmin());
    let home = site.instance.ancestors().nth(2).expect("home");
    command
        .env("PORTCULLIS_HOME", home)
        .env("PORTCULLIS_MODULES", modules::directory())
        .args(arguments);
    command
}

/// What a program printed, on both channels.
pub fn words(output: &Output) -> String {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    text(&output.stdout) + &text(&output.stderr)
}

/// Runs a program that may ask something, with this answer; who is not asked does not listen.
///
/// # Panics
/// When it can't be run.
pub fn answered(mut command: Command, text: &str) -> Output {
    let command = command.stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = command.stderr(Stdio::piped()).spawn().expect("a program");
    let mut answer = child.stdin.take().expect("pipe");
    let _ = answer.write_all(text.as_bytes());
    drop(answer);
    child.wait_with_output().expect("a program")
}

/// The second site and a browser for it.
pub struct Second {
    /// Its AM.
    pub am: AmServer,
    /// Cookies of the browser.
    pub cookies: BTreeMap<String, String>,
    authority: String,
}

impl Second {
    /// Adds the second site to a server that was prepared and has not started.
    ///
    /// # Panics
    /// When anything can't be set up.
    pub fn add(site: &Site) -> Second {
        let am = AmServer::simulated();
        let authority = format!("{HOST}:{}", site.server.address().port());
        let url = format!("http://{authority}");
        let admin = am.admin();
        let mail = json!({ "mail": "second@example.com", "cn": "x", "sn": "x", "givenName": "x" });
        admin
            .create_user("/", USER, USER_PASSWORD, &mail)
            .expect("user");
        let attributes = json!({
            "com.sun.identity.agents.config.cdsso.enable": ["true"],
            "com.sun.identity.agents.config.notenforced.url": [format!("[0]={url}/off/*")],
        });
        admin
            .create_agent("/", AGENT, PASSWORD, &url, &attributes)
            .expect("agent");
        let pattern = format!("{url}/app/*");
        let members = json!({ "actionValues": { "GET": true } });
        admin
            .create_policy("/", "app", &[pattern.as_str()], &members)
            .expect("policy");
        let conf = instance(site, &am.url());
        host(site, &conf);
        Second {
            am,
            cookies: BTreeMap::new(),
            authority,
        }
    }

    /// A GET on the second host.
    pub fn get(&mut self, site: &Site, target: &str) -> Response {
        self.send(site, Request::get(target))
    }

    /// Sends a request to the second host with the browser's cookies.
    pub fn send(&mut self, site: &Site, request: Request) -> Response {
        let mut request = request.header("Host", &self.authority);
        if !self.cookies.is_empty() {
            let pairs = self.cookies.iter().map(|(n, v)| format!("{n}={v}"));
            request = request.header("Cookie", &pairs.collect::<Vec<_>>().join("; "));
        }
        let response = site.send(&request);
        for cookie in response.all("set-cookie") {
            let (name, rest) = cookie.split_once('=').expect("a cookie");
            let value = rest.split(';').next().unwrap_or_default();
            match cookie.to_ascii_lowercase().contains("max-age=0") {
                true => self.cookies.remove(name),
                false => self.cookies.insert(name.to_owned(), value.to_owned()),
            };
        }
        response
    }

    /// Logs in on the way to a page.
    pub fn log_in(&mut self, site: &Site, target: &str) -> Response {
        let redirect = self.get(site, target);
        assert!(
            redirect.location().starts_with(&self.am.url()),
            "{redirect:?}"
        );
        let am = self.am.client();
        let token = am.login("/", USER, USER_PASSWORD).expect("login at AM");
        let form = am.authorize(&token, redirect.location()).expect("form");
        let fields = form.fields.iter();
        let body: Vec<String> = fields
            .map(|(n, v)| format!("{}={}", escape(n), escape(v)))
            .collect();
        let action = form.action.split('#').next().unwrap_or_default();
        let post = Request::new("POST", &path_of(action))
            .body("application/x-www-form-urlencoded", body.join("&"));
        assert_eq!(self.send(site, post).status, 302);
        self.get(site, target)
    }
}

/// The folder of the second instance: a copy of the first with everything of its own.
fn instance(site: &Site, am: &str) -> PathBuf {
    let folder = site.instance.with_file_name("agent_2");
    let copied = Command::new("cp")
        .arg("-a")
        .arg(&site.instance)
        .arg(&folder)
        .status();
    assert!(copied.is_ok_and(|s| s.success()), "cp");
    let conf = folder.join("config/agent.conf");
    let text = fs::read_to_string(&conf).expect("agent.conf");
    let text = text
        .replace("/agent_1/", "/agent_2/")
        .replace(&site.am.url(), am)
        .replace(
            &site.authority(),
            &site.authority().replace(crate::site::HOST, HOST),
        )
        .replace(crate::site::HOST, HOST)
        .replace("username = wa1", &format!("username = {AGENT}"));
    fs::write(&conf, text).expect("agent.conf");
    let value = |output: Output| {
        let text = words(&output);
        let value = text.lines().find_map(|line| line.split_once(" value: "));
        value.unwrap_or_else(|| panic!("{text}")).1.to_owned()
    };
    let write = |name: &str, text: String| {
        // Written in place: the modes stay.
        let path = folder.join("config").join(name);
        fs::write(&path, text).expect("secret file");
        path
    };
    let key = value(agentadmin(site, &["--k"]).output().expect("agentadmin"));
    let key_file = write(
        "agent-key.conf",
        format!("com.sun.identity.agents.config.key = {key}\n"),
    );
    let plain = write("plain", format!("{PASSWORD}\n"));
    let private = std::os::unix::fs::PermissionsExt::from_mode(0o600);
    fs::set_permissions(&plain, private).expect("mode");
    let mut encrypt = agentadmin(site, &["--p"]);
    encrypt.arg(&key_file).arg(&plain);
    let password = value(encrypt.output().expect("agentadmin"));
    write(
        "agent-password.conf",
        format!("com.sun.identity.agents.config.password = {password}\n"),
    );
    conf
}

/// Adds the second host to the server's configuration.
fn host(site: &Site, agent_conf: &std::path::Path) {
    let conf = site.server.conf();
    let text = fs::read_to_string(&conf).expect("configuration");
    let (port, agent_conf) = (site.server.address().port(), agent_conf.display());
    let (app, docs) = (
        site.backend.address(),
        site.server.dir().join("docs").display().to_string(),
    );
    let text = match site.server.kind() {
        Kind::Httpd => format!(
            "{text}<VirtualHost 127.0.0.1:{port}>\nServerName {HOST}:{port}\nAmAgent On\n\
             AmAgentConf {agent_conf}\n</VirtualHost>\n"
        ),
        Kind::Nginx => {
            let end = text.rfind('}').expect("the end of http");
            format!(
                "{}server {{\nlisten 127.0.0.1:{port};\nserver_name {HOST};\nroot {docs};\n\
                 openam_agent on;\nopenam_agent_configuration {agent_conf};\n\
                 location /app {{ proxy_pass http://{app}; }}\n}}\n}}\n",
                &text[..end]
            )
        }
    };
    fs::write(conf, text).expect("configuration");
}

/// An AM whose name every machine can resolve, for the installer: it has no host map.
///
/// # Panics
/// When it can't start.
pub fn am_on_localhost() -> Running {
    Simulator::start(Config {
        host: "localhost".into(),
        ..Config::default()
    })
    .expect("simulator")
}

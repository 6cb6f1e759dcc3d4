//! An instance and an AM that are well until a test breaks something, and what may stand before that AM.

use std::{
    fs::{self, Permissions},
    net::{SocketAddr, TcpListener as Door},
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::{Command, Output},
    sync::{Arc, OnceLock},
};

use am_simulator::{Config, Running, Simulator};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, copy_bidirectional},
    net::{TcpListener, TcpStream},
    runtime::Runtime,
};
use tokio_rustls::TlsAcceptor;

pub(crate) const PASSWORD: &str = "pW7-longenough-forTests";
pub(crate) const P: &str = "com.sun.identity.agents.config";
pub(crate) const F: &str = "com.forgerock.agents.config";
const HOST: &str = "am.test.example.org";

/// See the module.
pub(crate) struct World {
    pub(crate) am: Running,
    pub(crate) folder: tempfile::TempDir,
    /// Lines of `agent.conf`.
    pub(crate) conf: Vec<(String, String)>,
    /// What is appended to it as it is.
    pub(crate) more: String,
    pub(crate) password: String,
    pub(crate) options: Vec<String>,
    pub(crate) variables: Vec<(String, String)>,
    /// Done last, when the files are there.
    pub(crate) spoil: Option<fn(&Path)>,
    _runtime: Runtime,
}

/// What happens to the head of the first request of a connection.
pub(crate) enum Fate {
    /// It goes on, as changed.
    Pass(String),
    /// It is answered here.
    Answer(&'static str),
    /// It is never answered.
    Hang,
}

/// A key, and what encrypts a password with it.
fn key() -> &'static str {
    static KEY: OnceLock<String> = OnceLock::new();
    KEY.get_or_init(|| {
        let output = tool().arg("--k").output().unwrap();
        last_word(&output)
    })
}

/// The program.
pub(crate) fn tool() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_agentadmin"));
    // What the environment of the tests says of proxies and properties is not meant.
    command.env_clear().env("PORTCULLIS_HOME", "/nonexistent");
    command
}

fn last_word(output: &Output) -> String {
    let text = String::from_utf8_lossy(&output.stdout);
    text.split_whitespace().last().unwrap().to_owned()
}

impl World {
    pub(crate) fn new() -> World {
        let config = Config {
            realms: vec![json!({"name": "shop", "parentPath": "/", "active": true, "aliases": []})],
            users: vec![json!({"username": "demo1", "userpassword": "changeit8"})],
            ..Config::default()
        };
        let am = Simulator::start(config).unwrap();
        am.create_agent(
            "/",
            &json!({
                "username": "wa1", "userpassword": [PASSWORD], "agenttype": ["WebAgent"],
                "serverurl": [am.base_url()], "agenturl": ["http://www.test.example.org:80"]
            }),
        )
        .unwrap();
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path();
        for name in ["config", "logs", "logs/debug", "logs/audit", "pdp-cache"] {
            fs::create_dir(root.join(name)).unwrap();
        }
        fs::set_permissions(root.join("pdp-cache"), Permissions::from_mode(0o700)).unwrap();
        let mut world = World {
            am,
            folder,
            conf: Vec::new(),
            more: String::new(),
            password: PASSWORD.into(),
            options: Vec::new(),
            variables: Vec::new(),
            spoil: None,
            _runtime: tokio::runtime::Builder::new_multi_thread()
                .worker_threads(1)
                .enable_all()
                .build()
                .unwrap(),
        };
        let log = world.folder.path().join("logs/debug/debug.log");
        let url = format!("{}/", world.am.base_url());
        for (name, value) in [
            ("naming.url", url.as_str()),
            ("username", "wa1"),
            ("organization.name", "/"),
            ("repository.location", "centralized"),
            ("cookie.name", "iPlanetDirectoryPro"),
            ("local.logfile", &log.to_string_lossy()),
        ] {
            world.set(&format!("{P}.{name}"), value);
        }
        world.set(&format!("{F}.hostmap[0]"), &format!("{HOST}|127.0.0.1"));
        world
    }

    /// Writes a property anew.
    pub(crate) fn set(&mut self, name: &str, value: &str) {
        self.conf.retain(|(n, _)| n != name);
        self.conf.push((name.into(), value.into()));
    }

    pub(crate) fn unset(&mut self, name: &str) {
        self.conf.retain(|(n, _)| n != name);
    }

    /// Changes the agent's profile in AM.
    pub(crate) fn profile(&mut self, change: &Value) {
        self.am.update_agent("/", "wa1", change).unwrap();
    }

    pub(crate) fn path(&self) -> PathBuf {
        self.folder.path().join("config/agent.conf")
    }

    /// Puts something before AM that may change what a client says; the agent is told to ask there.
    pub(crate) fn front(
        &mut self,
        tls: Option<TlsAcceptor>,
        fate: impl Fn(String) -> Fate + Send + Sync + 'static,
    ) -> SocketAddr {
        let door = Door::bind(("127.0.0.1", 0)).unwrap();
        door.set_nonblocking(true).unwrap();
        let address = door.local_addr().unwrap();
        let target = self.am.address();
        let fate = Arc::new(fate);
        let scheme = if tls.is_some() { "https" } else { "http" };
        self._runtime.spawn(async move {
            let door = TcpListener::from_std(door).unwrap();
            while let Ok((stream, _)) = door.accept().await {
                let (tls, fate) = (tls.clone(), fate.clone());
                tokio::spawn(async move {
                    match tls {
                        // A client that refuses the certificate is gone, and that is what is tested.
                        Some(tls) => {
                            if let Ok(stream) = tls.accept(stream).await {
                                pass(stream, target, &*fate).await;
                            }
                        }
                        None => pass(stream, target, &*fate).await,
                    }
                });
            }
        });
        let url = format!("{scheme}://{HOST}:{}/openam/", address.port());
        self.set(&format!("{P}.naming.url"), &url);
        address
    }

    /// Writes the files.
    pub(crate) fn write(&self) {
        let config = self.folder.path().join("config");
        let lines: String = self
            .conf
            .iter()
            .map(|(n, v)| format!("{n} = {v}\n"))
            .collect();
        fs::write(self.path(), lines + &self.more).unwrap();
        let given = config.join("password.txt");
        let key_file = config.join("key.txt");
        secret(&given, &self.password);
        secret(&key_file, key());
        let output = tool()
            .arg("--p")
            .args([&key_file, &given])
            .output()
            .unwrap();
        let encrypted = last_word(&output);
        for file in [given, key_file] {
            fs::remove_file(file).unwrap();
        }
        secret(
            &config.join("agent-key.conf"),
            &format!("{P}.key = {}\n", key()),
        );
        secret(
            &config.join("agent-password.conf"),
            &format!("{P}.password = {encrypted}\n"),
        );
        if let Some(spoil) = self.spoil {
            spoil(self.folder.path());
        }
    }

    /// The program with this instance.
    pub(crate) fn run(&self, before: &[&str], after: &[String]) -> Output {
        let mut command = tool();
        command.args(before).arg(self.path()).args(after);
        command.envs(self.variables.iter().map(|(n, v)| (n, v)));
        command.output().unwrap()
    }

    /// What `doctor --json` says.
    pub(crate) fn doctor(&self) -> (Option<i32>, Value, String) {
        let mut options = self.options.clone();
        options.push("--json".into());
        let output = self.run(&["doctor"], &options);
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        let errors = String::from_utf8_lossy(&output.stderr).into_owned();
        let json = serde_json::from_str(&said).unwrap_or(Value::Null);
        (output.status.code(), json, format!("{said}\n{errors}"))
    }
}

pub(crate) fn secret(path: &Path, text: &str) {
    fs::write(path, text).unwrap();
    fs::set_permissions(path, Permissions::from_mode(0o600)).unwrap();
}

async fn pass(
    mut client: impl AsyncRead + AsyncWrite + Unpin,
    target: SocketAddr,
    fate: &(impl Fn(String) -> Fate + ?Sized),
) {
    let mut bytes = Vec::new();
    let end = loop {
        let mut part = [0; 4096];
        match client.read(&mut part).await {
            Ok(n @ 1..) => bytes.extend_from_slice(&part[..n]),
            _ => return,
        }
        if let Some(at) = bytes.windows(4).position(|w| w == b"\r\n\r\n") {
            break at + 4;
        }
    };
    let head = String::from_utf8_lossy(&bytes[..end]).into_owned();
    let head = match fate(head) {
        Fate::Pass(head) => head,
        Fate::Answer(answer) => {
            let _ = client.write_all(answer.as_bytes()).await;
            let _ = client.shutdown().await;
            return;
        }
        Fate::Hang => return std::future::pending().await,
    };
    // Only the first request of a connection is looked at, so there is one only.
    let head = match head.to_ascii_lowercase().contains("\r\nupgrade:") {
        true => head,
        false => head.replacen("\r\n", "\r\nConnection: close\r\n", 1),
    };
    let Ok(mut server) = TcpStream::connect(target).await else {
        return;
    };
    if server.write_all(head.as_bytes()).await.is_ok()
        && server.write_all(&bytes[end..]).await.is_ok()
    {
        let _ = copy_bidirectional(&mut client, &mut server).await;
    }
}

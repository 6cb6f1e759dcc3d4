//! An instance's folder, as the installer would leave it, for tests of the C boundary.
#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests")]

use std::{
    fs,
    io::Write,
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};

use portcullis_engine::{
    config::{self, Properties, Secrets, Snapshot, Source, encrypt_password, key_text},
    token::Secret,
};

/// Where the site of the instance is; nothing listens there.
pub(crate) const HOST: &str = "www.example.com";

/// A folder with `agent.conf` and the two files beside it; gone when dropped.
pub(crate) struct InstanceDir {
    home: tempfile::TempDir,
    conf: String,
    secrets: Secrets,
}

impl InstanceDir {
    /// An instance in local mode whose AM is said to be at `am` (a base URL).
    pub(crate) fn new(am: &str) -> InstanceDir {
        let home = tempfile::tempdir().unwrap();
        let secrets = Secrets {
            password: Secret::new(b"not-a-real-Password-0123456789ab".to_vec()),
            agent_key: Secret::new((1..=32).collect()),
            previous_key: None,
            cert_key_password: None,
            proxy_password: None,
            monitor_password: None,
        };
        let conf = conf(am, home.path());
        let nonce = [7; 12]; // one password is ever encrypted with this key
        let password = encrypt_password(&secrets.agent_key, &secrets.password, nonce).unwrap();
        let dir = InstanceDir {
            home,
            conf,
            secrets,
        };
        dir.write("agent.conf", &dir.conf);
        let key = key_text(&dir.secrets.agent_key);
        let key = format!("com.sun.identity.agents.config.key = {}\n", &*key);
        dir.write("agent-key.conf", &key);
        let password = format!("com.sun.identity.agents.config.password = {password}\n");
        dir.write("agent-password.conf", &password);
        dir
    }

    /// Path of `agent.conf`.
    pub(crate) fn agent_conf(&self) -> PathBuf {
        self.home.path().join("agent.conf")
    }

    /// A session cookie of this instance for [`HOST`], as a login would have set it.
    #[allow(dead_code, reason = "each test binary uses a part")]
    pub(crate) fn session_cookie(&self, session_token: &str) -> String {
        let mut files = Properties::default();
        files.append(Properties::parse(
            &self.conf,
            Source::File("agent.conf".into()),
        ));
        let (config, problems) = config::read(&files, None);
        assert!(
            problems
                .iter()
                .all(|p| p.severity < config::Severity::Error),
            "{}",
            problems[0]
        );
        let Ok(snapshot) = Snapshot::build(config, self.secrets.clone(), [0; 16]) else {
            panic!("the configuration does not compile")
        };
        let far = portcullis_engine::contract::UnixMillis(u64::MAX / 2);
        let token = session_token.as_bytes();
        let keys = &snapshot.keys.session_cookie;
        let sealed = keys.seal(&snapshot.identity, HOST, far, token, [9; 12]);
        format!("{}={sealed}", snapshot.config.jwt_name)
    }

    fn write(&self, name: &str, text: &str) {
        let mut file = fs::OpenOptions::new()
            .create_new(true)
            .write(true)
            .mode(0o600)
            .open(self.home.path().join(name))
            .unwrap();
        file.write_all(text.as_bytes()).unwrap();
    }
}

fn conf(am: &str, home: &Path) -> String {
    let log = home.join("agent.log");
    [
        (
            "com.sun.identity.agents.config.repository.location",
            "local",
        ),
        ("com.sun.identity.agents.config.username", "wa-ffi"),
        ("com.sun.identity.agents.config.organization.name", "/"),
        ("com.sun.identity.agents.config.naming.url", am),
        (
            "com.sun.identity.agents.config.cookie.name",
            "iPlanetDirectoryPro",
        ),
        (
            "com.sun.identity.agents.config.agenturi.prefix",
            "http://www.example.com:80/amagent",
        ),
        (
            "com.sun.identity.agents.config.notenforced.url[0]",
            "http://www.example.com:80/open/*",
        ),
        (
            "com.sun.identity.agents.config.session.attribute.mapping[UserToken]",
            "X-User",
        ),
        (
            "com.sun.identity.agents.config.local.logfile",
            log.to_str().unwrap(),
        ),
    ]
    .map(|(name, value)| format!("{name} = {value}\n"))
    .concat()
}

//! Starts, configures and seeds a real OpenAM on loopback, for tests against the real thing.
//!
//! It needs Java and Maven, no root, no container engine and no entry in a hosts file. [`seed`] speaks
//! AM's REST interface only and therefore works against the simulator as well.

pub mod http;
pub mod seed;

mod configure;
mod form;
mod instance;
mod java;
mod maven;

pub use instance::end_all;

use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::time::Instant;

/// The host name of every server started here; AM insists on a name with a dot.
pub const HOST: &str = "am.test.example.org";
/// The domain of AM's session cookie.
pub const DOMAIN: &str = "test.example.org";
/// AM's built-in administrator.
pub const ADMIN_NAME: &str = "amadmin";
/// The administrator's password on every server started here.
pub const ADMIN_PASSWORD: &str = "adminpassword";
/// Names the state file of a server that several test programs share (`openam up --state FILE`).
pub const STATE_VARIABLE: &str = "PORTCULLIS_OPENAM";

/// How often a start is tried.
const ATTEMPTS: u32 = 2;

/// The releases that can be started.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
pub enum Version {
    /// The newest of the Jakarta line, on Tomcat 10.1.
    #[default]
    #[value(name = "16.0.5")]
    V16,
    /// The last of the `javax` line, on Tomcat 9.
    #[value(name = "14.8.4")]
    V14,
}

impl Version {
    /// The release number.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::V16 => "16.0.5",
            Self::V14 => "14.8.4",
        }
    }

    /// Tomcat releases that fit, the preferred one first.
    pub(crate) fn tomcats(self) -> &'static [&'static str] {
        match self {
            Self::V16 => &["10.1.60", "10.1.54", "10.1.50", "10.1.44", "10.1.34"],
            Self::V14 => &["9.0.117", "9.0.115", "9.0.111", "9.0.107", "9.0.98"],
        }
    }
}

/// What to start.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// The release.
    pub version: Version,
    /// The instance's directory, which is emptied; `None` takes a free one in the cache directory.
    pub dir: Option<PathBuf>,
}

/// Why there is no server.
#[derive(Debug, thiserror::Error)]
pub enum Unavailable {
    /// The machine lacks something (Java, Maven, the downloads); a test may say so and skip.
    #[error("no OpenAM: {0}")]
    Missing(String),
    /// Everything is there and it still did not work; a test must fail.
    #[error("OpenAM did not come up: {0}")]
    Failed(String),
}

impl Unavailable {
    pub(crate) fn io(what: &str, error: &std::io::Error) -> Self {
        Self::Failed(format!("{what}: {error}"))
    }
}

/// A running, configured OpenAM. Dropping it stops it, if it was started here.
#[derive(Debug)]
pub struct OpenAm {
    url: String,
    version: Version,
    server: Option<instance::Server>,
}

impl OpenAm {
    /// Fetches (first time only), starts and configures a fresh server. Takes about 45 s on two
    /// cores and says on standard error what it is waiting for.
    ///
    /// # Errors
    /// [`Unavailable::Missing`] when Java, Maven or the downloads are not to be had,
    /// [`Unavailable::Failed`] when the server did not come up.
    pub fn start(options: &Options) -> Result<Self, Unavailable> {
        let version = options.version;
        let java = java::find()?;
        let cache = maven::cache_dir()?;
        let programs = maven::programs(version, &cache)?;
        let mut attempt = 1;
        loop {
            match Self::start_once(version, options.dir.as_deref(), &cache, &java, &programs) {
                // OpenAM 14.8.4 now and then asks its embedded directory before that listens again
                // and then refuses the set-up (seen in one start of two). A fresh tree helps.
                Err(Unavailable::Failed(why)) if attempt < ATTEMPTS && !instance::ending() => {
                    progress(&format!("attempt {attempt} failed: {why}"));
                    attempt += 1;
                }
                outcome => return outcome,
            }
        }
    }

    fn start_once(
        version: Version,
        dir: Option<&Path>,
        cache: &Path,
        java: &Path,
        programs: &maven::Programs,
    ) -> Result<Self, Unavailable> {
        let instance = instance::Instance::take(dir, cache, version.name())?;
        instance.lay_out(programs)?;
        let config_dir = instance.config_dir();
        progress(&format!(
            "starting OpenAM {} in {}",
            version.name(),
            config_dir.display()
        ));
        let url = format!("http://{HOST}:{}/openam", instance.ports.http);
        let mut server = instance.spawn(java, programs)?;
        configure::run(&mut server)?;
        progress(&format!("ready: {url}"));
        Ok(Self {
            url,
            version,
            server: Some(server),
        })
    }

    /// Uses the server that another process started with `openam up --state FILE`; it is not
    /// stopped from here.
    ///
    /// # Errors
    /// [`Unavailable::Failed`] when the file is not there or the server does not answer.
    pub fn attach(state: &Path) -> Result<Self, Unavailable> {
        let unusable = |why: String| Unavailable::Failed(format!("{}: {why}", state.display()));
        let text = std::fs::read(state).map_err(|e| unusable(e.to_string()))?;
        let json: serde_json::Value =
            serde_json::from_slice(&text).map_err(|e| unusable(e.to_string()))?;
        let member = |name| {
            json[name]
                .as_str()
                .map(str::to_owned)
                .ok_or_else(|| unusable(format!("no {name}")))
        };
        let (url, version) = (member("url")?, member("version")?);
        let version = [Version::V16, Version::V14]
            .into_iter()
            .find(|v| v.name() == version)
            .ok_or_else(|| unusable(format!("unknown version {version}")))?;
        let am = seed::Am::at(&url).map_err(|e| unusable(e.to_string()))?;
        am.cookie_name().map_err(|e| unusable(e.to_string()))?;
        Ok(Self {
            url,
            version,
            server: None,
        })
    }

    /// The server that [`STATE_VARIABLE`] points to, else one started for the caller.
    ///
    /// # Errors
    /// Those of [`OpenAm::attach`] and [`OpenAm::start`].
    pub fn obtain(options: &Options) -> Result<Self, Unavailable> {
        match std::env::var_os(STATE_VARIABLE).filter(|v| !v.is_empty()) {
            Some(state) => Self::attach(Path::new(&state)),
            None => Self::start(options),
        }
    }

    /// Base URL, `http://am.test.example.org:PORT/openam`; the name has no DNS entry.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// The release that runs.
    #[must_use]
    pub fn version(&self) -> Version {
        self.version
    }

    /// Files and directories to read when something went wrong; empty for an attached server.
    #[must_use]
    pub fn logs(&self) -> Vec<PathBuf> {
        self.server
            .as_ref()
            .map(|s| s.instance.logs())
            .unwrap_or_default()
    }

    /// Writes what [`OpenAm::attach`] reads, all at once, readable by the owner only.
    ///
    /// # Errors
    /// Those of the file system.
    pub fn write_state(&self, path: &Path) -> std::io::Result<()> {
        let port: u16 = self
            .url
            .trim_end_matches("/openam")
            .rsplit(':')
            .next()
            .and_then(|p| p.parse().ok())
            .unwrap_or_default();
        let state = serde_json::json!({
            "url": self.url, "host": HOST, "port": port, "version": self.version.name(),
            "admin": { "name": ADMIN_NAME, "password": ADMIN_PASSWORD },
            "pid": self.server.as_ref().and_then(instance::Server::pid),
            "logs": self.logs(),
        });
        let dir = path
            .parent()
            .filter(|p| !p.as_os_str().is_empty())
            .unwrap_or(Path::new("."));
        let mut file = tempfile::NamedTempFile::new_in(dir)?;
        file.write_all(format!("{state:#}\n").as_bytes())?;
        file.persist(path)?;
        Ok(())
    }

    /// Stops the server, if it was started here, and waits until its process is gone.
    pub fn stop(mut self) {
        if let Some(server) = &mut self.server {
            progress("stopping");
            server.stop();
        }
    }
}

/// One line on standard error with the seconds since the first: the start takes long enough that
/// silence would look like a hang.
pub(crate) fn progress(what: &str) {
    static BEGUN: OnceLock<Instant> = OnceLock::new();
    let seconds = BEGUN.get_or_init(Instant::now).elapsed().as_secs();
    // Not by macro: the test harness would keep that to itself.
    let _ = writeln!(std::io::stderr(), "openam [{seconds:3} s] {what}");
}

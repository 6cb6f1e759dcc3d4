//! Where does chromedriver come from, and how does it end?
//!
//! It finds the two programs, starts one chromedriver on a free port of loopback in a process group of
//! its own, and ends exactly that group. Browsers are its children.

use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use portcullis_openam::http::Client;
use rustix::process::{Pid, Signal};

/// Far more than chromedriver needs to listen.
const START_LIMIT: Duration = Duration::from_secs(60);

/// Why there is no chromedriver; a test may say so and skip where it is not installed.
#[derive(Debug, thiserror::Error)]
#[error("no browser: {0}")]
pub struct Missing(String);

/// A running chromedriver; ended, with its browsers, when dropped.
#[derive(Debug)]
pub struct Driver {
    client: Client,
    chromium: PathBuf,
    child: Child,
}

impl Driver {
    /// Starts chromedriver.
    ///
    /// # Errors
    /// [`Missing`] when a program is not installed or chromedriver does not listen.
    pub fn start() -> Result<Self, Missing> {
        let chromium = program("chromium")?;
        let chromedriver = program("chromedriver")?;
        // Port 0 would do, but then the number stands in a line of text.
        let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
            .and_then(|l| l.local_addr())
            .map_err(|e| Missing(format!("no free port: {e}")))?
            .port();
        let client = Client::loopback(&format!("http://127.0.0.1:{port}"))
            .map_err(|e| Missing(e.to_string()))?;
        let child = Command::new(chromedriver)
            .arg(format!("--port={port}"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .process_group(0)
            .spawn()
            .map_err(|e| Missing(format!("chromedriver: {e}")))?;
        let mut driver = Self {
            client,
            chromium,
            child,
        };
        driver.wait_until_ready()?;
        Ok(driver)
    }

    fn wait_until_ready(&mut self) -> Result<(), Missing> {
        let deadline = Instant::now() + START_LIMIT;
        loop {
            let status = self
                .client
                .get("/status")
                .send()
                .ok()
                .and_then(|r| r.json());
            if status.is_some_and(|s| s["value"]["ready"] == serde_json::json!(true)) {
                return Ok(());
            }
            if !matches!(self.child.try_wait(), Ok(None)) {
                return Err(Missing("chromedriver ended at once".into()));
            }
            if Instant::now() > deadline {
                return Err(Missing("chromedriver does not listen".into()));
            }
            std::thread::sleep(super::POLL);
        }
    }

    pub(super) fn client(&self) -> &Client {
        &self.client
    }

    pub(super) fn chromium(&self) -> &std::path::Path {
        &self.chromium
    }
}

impl Drop for Driver {
    fn drop(&mut self) {
        if let Some(group) = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw) {
            let _ = rustix::process::kill_process_group(group, Signal::KILL);
        }
        let _ = self.child.wait();
    }
}

/// The full path of a program of the `PATH`.
fn program(name: &str) -> Result<PathBuf, Missing> {
    std::env::var_os("PATH")
        .and_then(|path| {
            std::env::split_paths(&path)
                .map(|d| d.join(name))
                .find(|p| p.is_file())
        })
        .ok_or_else(|| Missing(format!("{name} is not installed")))
}

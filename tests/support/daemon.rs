//! nginx as a daemon, for what it does not do in the foreground: there it ignores the signal for an
//! upgrade of the binary.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use crate::{
    processes::signal,
    server::{Server, alive, children},
    wait_until,
};

/// A running daemon, known by its pid file.
pub struct Daemon {
    pid_file: PathBuf,
}

impl Daemon {
    /// Starts the prepared server as a daemon.
    ///
    /// # Panics
    /// When it does not start.
    pub fn start(server: &mut Server) -> Daemon {
        let (dir, conf) = (server.dir().to_path_buf(), server.conf());
        let console = fs::File::create(dir.join("logs/console.log")).expect("console log");
        let mut nginx = Command::new("/usr/sbin/nginx");
        nginx.arg("-p").arg(&dir).arg("-c").arg(conf);
        let status = nginx.stdin(Stdio::null()).stderr(console).status();
        assert!(status.is_ok_and(|s| s.success()), "{}", server.said());
        let daemon = Daemon {
            pid_file: dir.join("run/nginx.pid"),
        };
        wait_until("nginx's pid file", || daemon.pid() != 0);
        daemon
    }

    /// Process id of the newest master; 0 while there is none.
    pub fn pid(&self) -> u32 {
        read(&self.pid_file)
    }

    /// Stops it and waits for its processes.
    pub fn stop(self) {
        self.end();
    }

    fn end(&self) {
        let old = self.pid_file.with_extension("pid.oldbin");
        for pid in [read(&old), self.pid()] {
            if pid == 0 || !alive(pid) {
                continue;
            }
            let mut family = children(pid);
            family.push(pid);
            signal(pid, "TERM");
            // A second panic while a test fails would hide the first.
            if !std::thread::panicking() {
                wait_until("the daemon's end", || !family.iter().any(|p| alive(*p)));
            }
        }
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        self.end();
    }
}

fn read(file: &Path) -> u32 {
    let text = fs::read_to_string(file).unwrap_or_default();
    text.trim().parse().unwrap_or(0)
}

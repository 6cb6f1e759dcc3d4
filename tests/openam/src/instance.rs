//! Which directory, ports and process make up one running server, and how does it end?
//!
//! It owns the directory (by a lock) and exactly the one Java process that it started. It speaks no
//! HTTP: `configure` does.
//!
//! The embedded directory server of OpenAM listens on every address (its set-up has no setting for
//! that); Tomcat listens on 127.0.0.1 only.

use std::fs::File;
use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use rustix::fs::FlockOperation;
use rustix::process::{Pid, Signal};

use crate::maven::Programs;
use crate::{HOST, Unavailable, java, progress};

/// Between two looks at something that is waited for.
pub(crate) const POLL: Duration = Duration::from_millis(100);
/// Time for a killed process to go.
const STOP_LIMIT: Duration = Duration::from_secs(20);
/// Instances of one version that may run side by side in the cache directory.
const SLOTS: u32 = 8;

/// The process groups that this program started and has not ended.
static STARTED: Mutex<Vec<u32>> = Mutex::new(Vec::new());
/// Set once this program was told to end.
static ENDING: AtomicBool = AtomicBool::new(false);

/// Ends every server that this program started, without waiting, and lets it start no more; for a
/// program that was told to end.
pub fn end_all() {
    ENDING.store(true, Ordering::SeqCst);
    for pid in STARTED
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .drain(..)
    {
        signal_group(pid, Signal::KILL);
    }
}

/// Whether [`end_all`] was called.
pub(crate) fn ending() -> bool {
    ENDING.load(Ordering::SeqCst)
}

/// An exclusive lock on a file; the kernel lets go of it when the process dies.
#[derive(Debug)]
pub(crate) struct Lock {
    file: File,
}

impl Drop for Lock {
    /// Closing the file is not enough: a child that another thread just forked has it open until it
    /// executes its program, and would hold the lock for that long.
    fn drop(&mut self) {
        let _ = rustix::fs::flock(&self.file, FlockOperation::Unlock);
    }
}

impl Lock {
    /// Waits until nobody else holds it.
    pub(crate) fn wait(path: &Path) -> Result<Self, Unavailable> {
        let file = Self::open(path)?;
        rustix::fs::flock(&file, FlockOperation::LockExclusive)
            .map_err(|e| Unavailable::io("the lock file", &e.into()))?;
        Ok(Self { file })
    }

    /// `None` when somebody else holds it.
    fn attempt(path: &Path) -> Result<Option<Self>, Unavailable> {
        let file = Self::open(path)?;
        match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(Some(Self { file })),
            Err(rustix::io::Errno::WOULDBLOCK) => Ok(None),
            Err(e) => Err(Unavailable::io("the lock file", &e.into())),
        }
    }

    fn open(path: &Path) -> Result<File, Unavailable> {
        if let Some(parent) = path.parent() {
            std::fs::create_dir_all(parent)
                .map_err(|e| Unavailable::io("the cache directory", &e))?;
        }
        File::options()
            .create(true)
            .truncate(false)
            .write(true)
            .open(path)
            .map_err(|e| Unavailable::io("the lock file", &e))
    }
}

/// The four ports of an instance.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Ports {
    /// Tomcat's, on 127.0.0.1.
    pub(crate) http: u16,
    /// The embedded directory's LDAP, administration and JMX ports.
    pub(crate) directory: [u16; 3],
}

impl Ports {
    /// Four ports that were free a moment ago; held together, so that they differ.
    fn free() -> std::io::Result<Self> {
        let bind = || TcpListener::bind((Ipv4Addr::LOCALHOST, 0));
        let held = [bind()?, bind()?, bind()?, bind()?];
        let port = |i: usize| held[i].local_addr().map(|a| a.port());
        Ok(Self {
            http: port(0)?,
            directory: [port(1)?, port(2)?, port(3)?],
        })
    }
}

/// A locked directory in which one server may run.
#[derive(Debug)]
pub(crate) struct Instance {
    dir: PathBuf,
    pub(crate) ports: Ports,
    _lock: Lock,
}

impl Instance {
    /// Takes `dir`, or the first of the cache's slots for `version` that is not in use, and empties
    /// it. A server left over from an owner that was killed is stopped first.
    pub(crate) fn take(
        dir: Option<&Path>,
        cache: &Path,
        version: &str,
    ) -> Result<Self, Unavailable> {
        let candidates: Vec<PathBuf> = match dir {
            Some(dir) => vec![dir.to_owned()],
            None => (0..SLOTS)
                .map(|n| cache.join(format!("instance-{version}-{n}")))
                .collect(),
        };
        for dir in candidates {
            if let Some(lock) = Lock::attempt(&dir.join("lock"))? {
                stop_orphan(&dir)?;
                let ports = Ports::free().map_err(|e| Unavailable::io("free ports", &e))?;
                return Ok(Self {
                    dir,
                    ports,
                    _lock: lock,
                });
            }
        }
        Err(Unavailable::Failed(
            "every instance directory is in use by another process".into(),
        ))
    }

    /// Where OpenAM keeps its configuration.
    pub(crate) fn config_dir(&self) -> PathBuf {
        self.dir.join("cfg")
    }

    /// What to read when something went wrong.
    pub(crate) fn logs(&self) -> Vec<PathBuf> {
        [
            "tomcat.log",
            "cfg/install.log",
            "cfg/openam/log",
            "cfg/openam/debug",
        ]
        .iter()
        .map(|name| self.dir.join(name))
        .collect()
    }

    /// Writes a fresh tree: Tomcat's configuration, the names that Java may resolve, nothing else.
    pub(crate) fn lay_out(&self, programs: &Programs) -> Result<(), Unavailable> {
        self.write_tree(programs)
            .map_err(|e| Unavailable::io("the instance directory", &e))
    }

    fn write_tree(&self, programs: &Programs) -> std::io::Result<()> {
        for name in ["base", "cfg"] {
            let path = self.dir.join(name);
            if path.exists() {
                std::fs::remove_dir_all(path)?;
            }
        }
        for name in [
            "base/conf",
            "base/logs",
            "base/work",
            "base/temp",
            "base/webapps",
            "cfg",
        ] {
            std::fs::create_dir_all(self.dir.join(name))?;
        }
        for name in [
            "web.xml",
            "context.xml",
            "logging.properties",
            "catalina.properties",
        ] {
            std::fs::copy(
                programs.tomcat.join("conf").join(name),
                self.dir.join("base/conf").join(name),
            )?;
        }
        std::fs::write(
            self.dir.join("base/conf/server.xml"),
            server_xml(self.ports.http, &programs.webapp),
        )?;
        // Java asks this file instead of the system, so it must also hold the machine's own name.
        let own = rustix::system::uname();
        std::fs::write(
            self.dir.join("hosts"),
            format!(
                "127.0.0.1 {HOST} localhost {}\n",
                own.nodename().to_string_lossy()
            ),
        )
    }

    /// Starts Java in a process group of its own; its output goes to `tomcat.log`.
    pub(crate) fn spawn(self, java: &Path, programs: &Programs) -> Result<Server, Unavailable> {
        let started = self.run(java::command(java, &programs.tomcat, &self.dir));
        let child = started.map_err(|e| Unavailable::io("the start of java", &e))?;
        Ok(Server {
            instance: self,
            child: Some(child),
        })
    }

    fn run(&self, mut command: Command) -> std::io::Result<Child> {
        if ending() {
            return Err(std::io::Error::from(std::io::ErrorKind::Interrupted));
        }
        let log = File::create(self.dir.join("tomcat.log"))?;
        let child = command
            .current_dir(&self.dir)
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .process_group(0)
            .spawn()?;
        STARTED
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(child.id());
        let born = start_time(child.id()).unwrap_or_default();
        std::fs::write(self.dir.join("pid"), format!("{} {born}\n", child.id()))?;
        Ok(child)
    }
}

/// A started server; dropping it ends it.
#[derive(Debug)]
pub(crate) struct Server {
    pub(crate) instance: Instance,
    child: Option<Child>,
}

impl Server {
    /// The id of the Java process, while there is one.
    pub(crate) fn pid(&self) -> Option<u32> {
        self.child.as_ref().map(Child::id)
    }

    /// Fails when Java has ended by itself.
    pub(crate) fn check_alive(&mut self) -> Result<(), Unavailable> {
        let ended = match &mut self.child {
            Some(child) => child
                .try_wait()
                .map_err(|e| Unavailable::io("the java process", &e))?,
            None => return Err(Unavailable::Failed("the server was stopped".into())),
        };
        match ended {
            None => Ok(()),
            Some(status) => Err(Unavailable::Failed(format!(
                "java ended with {status}; see {}",
                self.instance.dir.join("tomcat.log").display()
            ))),
        }
    }

    /// Ends the process group that was started here and waits until it is gone. It is killed: an
    /// orderly end takes OpenAM over 20 s (measured) and nobody reads its directory afterwards.
    pub(crate) fn stop(&mut self) {
        let Some(mut child) = self.child.take() else {
            return;
        };
        STARTED
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .retain(|pid| *pid != child.id());
        signal_group(child.id(), Signal::KILL);
        let _ = child.wait();
        let _ = std::fs::remove_file(self.instance.dir.join("pid"));
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop();
    }
}

/// Signals a process group that we started; one that is gone is no error.
fn signal_group(pid: u32, signal: Signal) {
    if let Some(pid) = i32::try_from(pid).ok().and_then(Pid::from_raw) {
        let _ = rustix::process::kill_process_group(pid, signal);
    }
}

/// When a process was born, in clock ticks since boot; with the id it names a process for good.
fn start_time(pid: u32) -> Option<String> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name in parentheses may hold anything; field 22 is the 20th after it.
    let after = stat.rsplit_once(')')?.1;
    let state = after.split_whitespace().next()?;
    (state != "Z").then(|| after.split_whitespace().nth(19).map(str::to_owned))?
}

/// Ends a server whose owner was killed before it could: the lock is ours, the process still runs.
fn stop_orphan(dir: &Path) -> Result<(), Unavailable> {
    let Ok(noted) = std::fs::read_to_string(dir.join("pid")) else {
        return Ok(());
    };
    let mut words = noted.split_whitespace();
    let (Some(pid), Some(born)) = (words.next().and_then(|w| w.parse().ok()), words.next()) else {
        return Ok(());
    };
    let lives = || start_time(pid).as_deref() == Some(born);
    if lives() {
        progress(&format!(
            "ending process {pid}, left over from an earlier run"
        ));
        signal_group(pid, Signal::KILL);
        let deadline = Instant::now() + STOP_LIMIT;
        while lives() {
            if Instant::now() > deadline {
                return Err(Unavailable::Failed(format!("process {pid} does not end")));
            }
            std::thread::sleep(POLL);
        }
    }
    Ok(())
}

/// Tomcat with one connector and one application. The relaxed characters are what browsers and
/// agents put into AM's query strings unescaped.
fn server_xml(port: u16, webapp: &Path) -> String {
    format!(
        r#"<Server port="-1" shutdown="none">
  <Service name="Catalina">
    <Connector port="{port}" address="127.0.0.1" protocol="HTTP/1.1"
               relaxedQueryChars="[]|{{}}^`&quot;&lt;&gt;"/>
    <Engine name="Catalina" defaultHost="localhost">
      <Host name="localhost" appBase="webapps" autoDeploy="false" deployOnStartup="false">
        <Context path="/openam" docBase="{}"/>
      </Host>
    </Engine>
  </Service>
</Server>
"#,
        webapp.display()
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_has_one_owner_at_a_time() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("one");
        let first = Instance::take(Some(&path), dir.path(), "x").unwrap();
        let second = Instance::take(Some(&path), dir.path(), "x");
        assert!(matches!(second, Err(Unavailable::Failed(_))), "{second:?}");
        drop(first);
        Instance::take(Some(&path), dir.path(), "x").unwrap();
    }

    #[test]
    fn a_lock_is_let_go_while_a_forked_child_has_the_file_open() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("lock");
        let held = Lock::wait(&path).unwrap();
        let inherited = held.file.try_clone().unwrap();
        drop(held);
        assert!(Lock::attempt(&path).unwrap().is_some());
        drop(inherited);
    }

    #[test]
    fn slots_are_taken_in_turn() {
        let cache = tempfile::tempdir().unwrap();
        let first = Instance::take(None, cache.path(), "9").unwrap();
        let second = Instance::take(None, cache.path(), "9").unwrap();
        assert!(first.dir.ends_with("instance-9-0") && second.dir.ends_with("instance-9-1"));
    }

    #[test]
    fn a_left_over_process_is_ended_and_a_reused_id_is_not() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("one");
        std::fs::create_dir(&path).unwrap();
        let mut child = Command::new("sleep")
            .arg("600")
            .process_group(0)
            .spawn()
            .unwrap();
        std::fs::write(path.join("pid"), format!("{} 1", child.id())).unwrap();
        drop(Instance::take(Some(&path), dir.path(), "x").unwrap());
        assert!(
            child.try_wait().unwrap().is_none(),
            "another process with that id was ended"
        );

        STARTED
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(child.id());
        let born = start_time(child.id()).unwrap();
        std::fs::write(path.join("pid"), format!("{} {born}", child.id())).unwrap();
        drop(Instance::take(Some(&path), dir.path(), "x").unwrap());
        assert!(!child.wait().unwrap().success());
    }
}

//! A real web server for one test: its configuration, its processes, its error log.
//!
//! Every line of level error or worse that the test did not announce fails the test, and so does a
//! process that outlives its server.

use std::{
    fs,
    net::{SocketAddr, TcpListener, TcpStream},
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::atomic::{AtomicU32, AtomicUsize, Ordering},
    time::{Duration, Instant},
};

use crate::{processes, recording};

/// Longest start or stop.
const PATIENCE: Duration = Duration::from_secs(30);

/// Which server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Apache httpd.
    Httpd,
    /// nginx.
    Nginx,
}

/// What differs between sites of one kind.
#[derive(Clone, Default)]
pub struct Layout {
    /// Lines for the server level (httpd: outside of any host; nginx: inside `http`).
    pub global: String,
    /// Lines inside the one host.
    pub host: String,
    /// Loads more modules of the distribution (httpd: `name` of `mod_name.so`).
    pub modules: Vec<&'static str>,
    /// The port to listen on, if it is free; else any.
    pub port: Option<u16>,
    /// Worker processes; two when nothing is said. Of httpd's prefork MPM, those it begins with.
    pub workers: Option<u32>,
    /// httpd's MPM: event when nothing is said.
    pub mpm: Mpm,
    /// Threads of each process of httpd; 16 when nothing is said.
    pub threads: Option<u32>,
}

/// How httpd spreads requests.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mpm {
    /// Processes with threads, and one more that waits for idle connections.
    #[default]
    Event,
    /// Processes with threads.
    Worker,
    /// A process for each request.
    Prefork,
}

impl Layout {
    /// The same with the application's address and the server's folder filled in.
    pub(crate) fn at(&self, backend: SocketAddr, dir: &Path) -> Layout {
        let fill = |text: &str| {
            text.replace("@BACKEND@", &backend.to_string())
                .replace("@DIR@", &dir.display().to_string())
        };
        Layout {
            global: fill(&self.global),
            host: fill(&self.host),
            ..self.clone()
        }
    }

    /// The lines that say how many processes httpd has, and of which kind.
    fn processes(&self) -> String {
        let count = self.workers.unwrap_or(2);
        let threads = self.threads.unwrap_or(16);
        let all = count * threads;
        match self.mpm {
            Mpm::Event | Mpm::Worker => format!(
                "StartServers {count}\nServerLimit {count}\nThreadLimit {threads}\n\
                 ThreadsPerChild {threads}\nMaxRequestWorkers {all}\nMinSpareThreads 1\nMaxSpareThreads {all}\n"
            ),
            Mpm::Prefork => format!(
                "StartServers {count}\nServerLimit {all}\nMaxRequestWorkers {all}\n\
                 MinSpareServers 1\nMaxSpareServers {all}\n"
            ),
        }
    }

    fn mpm_module(&self) -> &'static str {
        match self.mpm {
            Mpm::Event => "mpm_event",
            Mpm::Worker => "mpm_worker",
            Mpm::Prefork => "mpm_prefork",
        }
    }
}

/// A server with its own folder.
pub struct Server {
    kind: Kind,
    mpm: Mpm,
    dir: PathBuf,
    port: u16,
    child: Option<Child>,
    expected: Vec<String>,
    /// What httpd said of its own ends, of which there may have been several: lines of `is_about_a_stop`.
    ends: Vec<String>,
    /// Workers that the test has killed.
    killed: AtomicUsize,
    /// Where its agents are installed.
    agents: Option<PathBuf>,
    environment: Vec<(String, String)>,
}

/// Where [`free_port`] looks: below the ports that the system hands out by itself, to whom it likes.
const PORTS: std::ops::Range<u32> = 12_000..32_000;

/// `2/3`: this program is the third of three that run side by side, and takes its ports from the last third.
pub const PLACE_VARIABLE: &str = "PORTCULLIS_TEST_PLACE";

/// The ports of this program.
fn ports() -> std::ops::Range<u32> {
    let Ok(text) = std::env::var(PLACE_VARIABLE) else {
        return PORTS;
    };
    let (place, places) = text.split_once('/').expect("place/places");
    let number = |text: &str| text.parse::<u32>().expect("number");
    let each = (PORTS.end - PORTS.start) / number(places);
    let start = PORTS.start + each * number(place);
    start..start + each
}

/// A port that nobody listens on now, and that no other test of this program gets.
///
/// # Panics
/// When none of them is free.
pub fn free_port() -> u16 {
    static TAKEN: AtomicU32 = AtomicU32::new(0);
    let first = std::process::id().wrapping_mul(331); // others may run without knowing their place
    let ports = ports();
    for _ in ports.clone() {
        let next = first.wrapping_add(TAKEN.fetch_add(1, Ordering::Relaxed));
        let port = (ports.start + next % (ports.end - ports.start)) as u16;
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
    panic!("no free port");
}

impl Server {
    /// Writes the configuration of a server below `dir`, without the agent.
    pub fn prepare(kind: Kind, dir: &Path, backend: SocketAddr, layout: &Layout) -> Server {
        let wished = layout
            .port
            .filter(|p| TcpListener::bind(("127.0.0.1", *p)).is_ok());
        let port = wished.unwrap_or_else(free_port);
        for folder in ["conf", "logs", "run", "docs", "tmp", "cache"] {
            fs::create_dir_all(dir.join(folder)).expect("folder");
        }
        documents(&dir.join("docs"));
        let text = match kind {
            Kind::Httpd => httpd_conf(dir, port, backend, layout),
            Kind::Nginx => nginx_conf(dir, port, backend, layout),
        };
        let server = Server {
            kind,
            mpm: layout.mpm,
            dir: dir.into(),
            port,
            child: None,
            expected: Vec::new(),
            ends: Vec::new(),
            killed: AtomicUsize::new(0),
            agents: None,
            environment: Vec::new(),
        };
        fs::write(server.conf(), text).expect("configuration");
        for folder in ["logs", "run", "tmp", "cache"] {
            give_to_worker(&dir.join(folder));
        }
        server
    }

    /// Which server it is.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// Its folder.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Its configuration file.
    pub fn conf(&self) -> PathBuf {
        self.dir.join(match self.kind {
            Kind::Httpd => "conf/httpd.conf",
            Kind::Nginx => "conf/nginx.conf",
        })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], self.port))
    }

    /// Process id of the parent.
    pub fn pid(&self) -> u32 {
        self.child.as_ref().map_or(0, Child::id)
    }

    fn command(&self) -> Command {
        let mut command = match self.kind {
            Kind::Httpd => Command::new("/usr/sbin/apache2"),
            Kind::Nginx => Command::new("/usr/sbin/nginx"),
        };
        match self.kind {
            Kind::Httpd => command.arg("-d").arg(&self.dir).arg("-f").arg(self.conf()),
            Kind::Nginx => command.arg("-p").arg(&self.dir).arg("-c").arg(self.conf()),
        };
        // The HTTP client of the agent must not listen to these; see the test that sets them.
        command.env_remove("HTTP_PROXY").env_remove("http_proxy");
        command
    }

    /// `-t`: whether the configuration passes, and what the server said.
    pub fn check(&self) -> (bool, String) {
        self.check_with(&[])
    }

    /// The same with more in its environment.
    pub fn check_with(&self, environment: &[(&str, &str)]) -> (bool, String) {
        let mut command = self.command();
        command.arg("-t").envs(environment.iter().copied());
        let output = command.output().expect("server");
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        (output.status.success(), text)
    }

    /// Adds a variable to the environment that it is started in.
    pub fn variable(&mut self, name: &str, value: &str) {
        self.environment.push((name.to_owned(), value.to_owned()));
    }

    /// Starts it and waits until it listens.
    ///
    /// # Panics
    /// With the error log when it does not.
    pub fn start(&mut self) {
        self.keep();
        let mut command = self.command();
        command.envs(self.environment.iter().map(|(n, v)| (n, v)));
        match self.kind {
            Kind::Httpd => command.arg("-DFOREGROUND"),
            Kind::Nginx => command.args(["-g", "daemon off;"]),
        };
        if self.mpm == Mpm::Prefork {
            // Told to stop, it stops all of its process group, and the test is not to be part of that.
            command.process_group(0);
        }
        let log = fs::File::create(self.dir.join("logs/console.log")).expect("console log");
        let child = command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn();
        self.child = Some(child.expect("server"));
        let limit = Instant::now() + PATIENCE;
        while TcpStream::connect(self.address()).is_err() {
            let ended = self
                .child
                .as_mut()
                .is_some_and(|c| matches!(c.try_wait(), Ok(Some(_))));
            if ended || Instant::now() > limit {
                self.child = None;
                panic!("{:?} did not start:\n{}", self.kind, self.said());
            }
            std::thread::yield_now();
        }
    }

    /// Sends the parent a signal by its name.
    pub fn signal(&self, name: &str) {
        self.keep();
        processes::signal(self.pid(), name);
    }

    /// Reloads gracefully: `USR1` for httpd, `HUP` for nginx.
    pub fn reload(&self) {
        self.signal(match self.kind {
            Kind::Httpd => "USR1",
            Kind::Nginx => "HUP",
        });
    }

    /// Says where its agents are installed, and keeps what they are configured with from now on.
    pub(crate) fn has_agents(&mut self, agents: &Path) {
        self.agents = Some(agents.into());
    }

    /// Keeps what its agents are configured with now: what is recorded from here on is decided again with it.
    pub fn keep(&self) {
        if let Some(agents) = &self.agents {
            recording::keep(agents);
        }
    }

    /// Process ids of the workers now.
    pub fn workers(&self) -> Vec<u32> {
        children(self.pid())
    }

    /// The error log and what went to the console.
    pub fn said(&self) -> String {
        let read = |file: &str| fs::read_to_string(self.dir.join(file)).unwrap_or_default();
        read("logs/error.log") + &read("logs/console.log")
    }

    /// Announces that lines containing `text` may be of level error.
    pub fn expect(&mut self, text: &str) {
        self.expected.push(text.to_owned());
    }

    /// Announces that so many workers were killed, at any moment.
    pub fn killed(&self, workers: usize) {
        self.killed.fetch_add(workers, Ordering::Relaxed);
    }

    /// Stops it, waits for all of its processes, and looks at the error log.
    ///
    /// # Panics
    /// When a process stays, or when a line of level error was not announced.
    pub fn stop(mut self) {
        self.end();
        let unexpected = self.unexpected();
        assert!(
            unexpected.is_empty(),
            "{:?}: unexpected lines:\n{}",
            self.kind,
            unexpected.join("\n")
        );
        if let Some(agents) = &self.agents {
            let found = recording::replay(agents, self.killed.load(Ordering::Relaxed));
            eprintln!("{:?}: decided again: {found:?}", self.kind);
        }
    }

    /// Stops it and starts it again: nothing of its memory is left.
    ///
    /// # Panics
    /// When it does not stop, or does not start.
    pub fn restart(&mut self) {
        self.end();
        self.start();
    }

    /// Stops it; it can be started again.
    ///
    /// # Panics
    /// When it does not stop, or leaves a process.
    pub(crate) fn end(&mut self) {
        let Some(mut child) = self.child.take() else {
            return;
        };
        let family = children(child.id());
        let before = self.unexpected();
        if matches!(child.try_wait(), Ok(None)) {
            processes::signal(child.id(), "TERM");
        }
        let limit = Instant::now() + PATIENCE;
        loop {
            match child.try_wait() {
                Ok(None) if Instant::now() < limit => std::thread::yield_now(),
                Ok(Some(_)) => break,
                _ => {
                    let _ = child.kill();
                    panic!("{:?} did not stop:\n{}", self.kind, self.said());
                }
            }
        }
        while family.iter().any(|pid| alive(*pid)) {
            assert!(
                Instant::now() < limit,
                "{:?} left processes behind",
                self.kind
            );
            std::thread::yield_now();
        }
        // Only what it said since it was told: at any other time such a line is a fault.
        let mut since = self.unexpected();
        since.retain(|line| is_about_a_stop(line) && !before.contains(line));
        self.ends.extend(since);
    }

    /// Lines of level error or worse that nobody announced.
    fn unexpected(&self) -> Vec<String> {
        const BAD: [&str; 8] = [
            "[error]", "[crit]", "[alert]", "[emerg]", ":error]", ":crit]", ":alert]", ":emerg]",
        ];
        let said = self.said();
        let lines = said.lines().filter(|line| {
            BAD.iter().any(|bad| line.contains(bad))
                && !self.expected.iter().any(|known| line.contains(known))
                && !self.ends.iter().any(|known| line == known)
        });
        lines.map(str::to_owned).collect()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("--- {:?} said:\n{}", self.kind, self.said());
        }
        if let Some(mut child) = self.child.take() {
            let family = children(child.id());
            let _ = child.kill();
            let _ = child.wait();
            for pid in family {
                processes::kill_if_there(pid);
            }
        }
    }
}

/// httpd's event MPM, told to stop, closes the sockets of its threads from another thread, in
/// `close_worker_sockets`. Where both close the same one, whoever comes second says so: the thread that was
/// about to wait for the socket (AH03092), or the one that stops them (AH00468).
fn is_about_a_stop(line: &str) -> bool {
    let race = ["AH03092", "AH00468"].iter().any(|id| line.contains(id));
    race && line.contains("(9)Bad file descriptor")
}

/// Children of a process, by `/proc`.
pub fn children(parent: u32) -> Vec<u32> {
    let Ok(all) = fs::read_dir("/proc") else {
        return vec![];
    };
    all.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<u32>().ok())
        .filter(|pid| stat(*pid).is_some_and(|(_, ppid)| ppid == parent))
        .collect()
}

/// A zombie counts as dead: whoever adopted it reaps it later.
pub fn alive(pid: u32) -> bool {
    stat(pid).is_some_and(|(state, _)| state != 'Z' && state != 'X')
}

fn stat(pid: u32) -> Option<(char, u32)> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let rest = &text[text.rfind(')')? + 2..];
    let mut fields = rest.split(' ');
    Some((fields.next()?.chars().next()?, fields.next()?.parse().ok()?))
}

/// Pages that every site has.
fn documents(docs: &Path) {
    for (file, text) in [
        ("index.html", "front page"),
        ("docs/a.html", "protected page a"),
        ("docs/b.html", "protected page b"),
        ("docs/form.html", "protected form"),
        ("secret/a.html", "page without policy"),
        ("public/a.html", "public page"),
        ("logout/done.html", "you are logged out"),
        ("off/a.html", "page outside of the agent"),
    ] {
        let path = docs.join(file);
        fs::create_dir_all(path.parent().expect("folder")).expect("folder");
        fs::write(
            path,
            format!("<!DOCTYPE html><title>{text}</title><p>{text}</p>\n"),
        )
        .expect("page");
    }
}

/// Root starts servers whose workers run as `www-data`, as Debian does.
pub fn is_root() -> bool {
    fs::metadata("/proc/self").is_ok_and(|m| std::os::unix::fs::MetadataExt::uid(&m) == 0)
}

fn give_to_worker(path: &Path) {
    if is_root() {
        let done = Command::new("chown")
            .arg("www-data:www-data")
            .arg(path)
            .status();
        assert!(done.is_ok_and(|s| s.success()), "chown");
    }
}

fn httpd_conf(dir: &Path, port: u16, backend: SocketAddr, layout: &Layout) -> String {
    let mut modules = vec![
        layout.mpm_module(),
        "authz_core",
        "authz_host",
        "authz_user",
        "authn_core",
        "access_compat",
        "alias",
        "dir",
        "mime",
        "headers",
        "env",
        "setenvif",
        "proxy",
        "proxy_http",
        "rewrite",
        "http2",
        "unixd",
    ];
    modules.retain(|m| *m != "unixd"); // built into Debian's binary
    modules.extend(&layout.modules);
    let modules: String = modules
        .iter()
        .map(|m| format!("LoadModule {m}_module /usr/lib/apache2/modules/mod_{m}.so\n"))
        .collect();
    let user = if is_root() {
        "User www-data\nGroup www-data\n"
    } else {
        ""
    };
    let (dir, global, host) = (dir.display(), &layout.global, &layout.host);
    let processes = layout.processes();
    format!(
        "{modules}{user}ServerRoot {dir}\nPidFile {dir}/run/httpd.pid\nMutex file:{dir}/run default\n\
         DefaultRuntimeDir {dir}/run\nErrorLog {dir}/logs/error.log\nLogLevel warn amagent:info\n\
         Listen 127.0.0.1:{port}\nServerName www.test.example.org:{port}\nProtocols h2c http/1.1\n\
         {processes}TypesConfig /etc/mime.types\nDocumentRoot {dir}/docs\n\
         <Directory {dir}/docs>\nRequire all granted\nAllowOverride All\nOptions All\n</Directory>\n\
         ProxyPass /app http://{backend}/app\nProxyPass /api http://{backend}/api\n{global}\n\
         <VirtualHost 127.0.0.1:{port}>\nServerName www.test.example.org:{port}\n\
         ServerAlias *.test.example.org\n{host}\n</VirtualHost>\n"
    )
}

fn nginx_conf(dir: &Path, port: u16, backend: SocketAddr, layout: &Layout) -> String {
    let user = if is_root() { "user www-data;\n" } else { "" };
    let (dir, global, host) = (dir.display(), &layout.global, &layout.host);
    let workers = layout.workers.unwrap_or(2);
    format!(
        "{user}worker_processes {workers};\npid {dir}/run/nginx.pid;\nerror_log {dir}/logs/error.log info;\n\
         events {{ worker_connections 2048; }}\nhttp {{\ninclude /etc/nginx/mime.types;\n\
         access_log off;\nclient_body_temp_path {dir}/tmp;\nproxy_temp_path {dir}/tmp;\n\
         fastcgi_temp_path {dir}/tmp;\nuwsgi_temp_path {dir}/tmp;\nscgi_temp_path {dir}/tmp;\n{global}\n\
         server {{\nlisten 127.0.0.1:{port};\nserver_name www.test.example.org;\n\
         root {dir}/docs;\n\
         location /app {{ proxy_pass http://{backend}; proxy_set_header Remote-User $remote_user; }}\n\
         location /api {{ proxy_pass http://{backend}; }}\n{host}\n}}\n}}\n"
    )
}

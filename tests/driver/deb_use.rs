//! What is installed in a root, used: its web server, and a browser that logs in.

use std::{
    collections::BTreeMap,
    net::{SocketAddr, TcpStream},
    process::{Child, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context, bail, ensure};
use portcullis_tests::{
    client::{Request, Response},
    processes::signal,
    server::{Kind, children},
    site::{AmServer, USER, USER_PASSWORD},
    visitor::{escape, path_of},
    wait_until,
};

use crate::deb_root::Root;

/// Longest start.
const PATIENCE: Duration = Duration::from_secs(60);

/// A web server of a root, as its packages run it.
pub(crate) struct Running {
    child: Child,
}

impl Running {
    /// Starts it and waits until it listens.
    ///
    /// # Errors
    /// When it ends or does not listen.
    pub(crate) fn start(root: &Root, kind: Kind, address: SocketAddr) -> anyhow::Result<Running> {
        let script = match kind {
            Kind::Httpd => {
                ". /etc/apache2/envvars; mkdir -p \"$APACHE_RUN_DIR\" \"$APACHE_LOCK_DIR\"; \
                 exec apache2 -DFOREGROUND"
            }
            Kind::Nginx => "exec nginx -g 'daemon off;'",
        };
        let mut command = root.command("sh");
        command.args(["-c", script]).stdin(Stdio::null());
        let child = command.spawn().context("the server")?;
        let mut running = Running { child };
        let limit = Instant::now() + PATIENCE;
        while TcpStream::connect(address).is_err() {
            if let Some(status) = running.child.try_wait()? {
                bail!("the server ended: {status}");
            }
            ensure!(Instant::now() < limit, "the server does not listen");
            std::thread::park_timeout(Duration::from_millis(10));
        }
        Ok(running)
    }

    /// Has it read its configuration again, and waits until none of its old workers is left.
    pub(crate) fn reload(&self, kind: Kind) {
        let pid = self.child.id();
        let old = children(pid);
        signal(
            pid,
            match kind {
                Kind::Httpd => "USR1",
                Kind::Nginx => "HUP",
            },
        );
        wait_until("workers of the new generation only", || {
            let now = children(pid);
            !now.is_empty() && !now.iter().any(|pid| old.contains(pid))
        });
    }

    /// Stops it and waits.
    ///
    /// # Errors
    /// When it had ended by itself.
    pub(crate) fn stop(mut self) -> anyhow::Result<()> {
        let ended = self.child.try_wait()?;
        ensure!(ended.is_none(), "the server ended by itself: {ended:?}");
        signal(self.child.id(), "TERM");
        wait_until("the end of the server", || {
            matches!(self.child.try_wait(), Ok(Some(_)))
        });
        Ok(())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(None)) {
            signal(self.child.id(), "TERM");
            let _ = self.child.wait();
        }
    }
}

/// A browser with its cookies.
pub(crate) struct Browser {
    to: SocketAddr,
    authority: String,
    cookies: BTreeMap<String, String>,
}

impl Browser {
    /// Without cookies, for the one site.
    pub(crate) fn new(to: SocketAddr, host: &str) -> Browser {
        Browser {
            to,
            authority: format!("{host}:{}", to.port()),
            cookies: BTreeMap::new(),
        }
    }

    /// Asks for a page.
    ///
    /// # Errors
    /// When the answer has another status.
    pub(crate) fn gets(&mut self, target: &str, status: u16) -> anyhow::Result<Response> {
        let answer = self.send(Request::get(target))?;
        ensure!(
            answer.status == status,
            "{target}: not {status}: {answer:?}"
        );
        Ok(answer)
    }

    /// Asks for a page and logs in at AM on the way to it; the page.
    ///
    /// # Errors
    /// When any step goes another way.
    pub(crate) fn log_in(&mut self, am: &AmServer, target: &str) -> anyhow::Result<Response> {
        let redirect = self.gets(target, 302)?;
        let login = am.client();
        let token = login.login("/", USER, USER_PASSWORD)?;
        let form = login.authorize(&token, redirect.location())?;
        let fields = form.fields.iter();
        let body: Vec<String> = fields
            .map(|(n, v)| format!("{}={}", escape(n), escape(v)))
            .collect();
        let action = form.action.split('#').next().unwrap_or_default();
        let post = Request::new("POST", &path_of(action));
        let back = self.send(post.body("application/x-www-form-urlencoded", body.join("&")))?;
        ensure!(back.status == 302, "after the login: {back:?}");
        self.gets(&path_of(back.location()), 200)
    }

    fn send(&mut self, mut request: Request) -> anyhow::Result<Response> {
        if !self.cookies.is_empty() {
            let pairs = self.cookies.iter().map(|(n, v)| format!("{n}={v}"));
            request = request.header("Cookie", &pairs.collect::<Vec<_>>().join("; "));
        }
        let response = request.send(self.to, &self.authority)?;
        for cookie in response.all("set-cookie") {
            let (name, rest) = cookie.split_once('=').context("a cookie")?;
            let value = rest.split(';').next().unwrap_or_default();
            match cookie.to_ascii_lowercase().contains("max-age=0") {
                true => self.cookies.remove(name),
                false => self.cookies.insert(name.to_owned(), value.to_owned()),
            };
        }
        Ok(response)
    }
}

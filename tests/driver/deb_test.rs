//! `make deb-test`: do the packages do on a Debian release what `docs/packages.md` says of them?
//!
//! Built; read by lintian; then for each server, in a root of its own: installed, used for a login, upgraded under
//! the same session, taken away under a configured agent, put back, and purged. It says nothing of what the
//! agent decides: that is tested elsewhere.

use std::{collections::BTreeSet, fs, net::SocketAddr, os::unix::fs::PermissionsExt};

use anyhow::{Context, ensure};
use portcullis_tests::{
    second::am_on_localhost,
    server::{Kind, free_port},
    site::{self, AGENT, AGENT_PASSWORD, AmServer, HOST},
};
use serde_json::json;

use crate::{
    deb::Workshop,
    deb_root::{Purpose, Root, inside},
    deb_use::{Browser, Running},
    stages::Stages,
};

/// Where agentadmin of packages keeps the one instance.
const INSTANCE: &str = "/var/lib/portcullis/instances/agent_1";
/// What the second version has behind its number.
const LATER: &str = "+test1";
/// All packages.
const TOOLS: &str = "portcullis-tools";
const MODULES: [&str; 2] = ["libapache2-mod-portcullis", "libnginx-mod-http-portcullis"];
/// What lintian may warn of, and why.
const KNOWN: [&str; 1] = [
    "bogus-mail-host", // a placeholder, for whoever publishes the packages
];

/// Builds and tests the packages on each release; every step is one of the tests that are counted.
///
/// # Errors
/// When it can't begin; what fails later is in the table.
pub(crate) fn run(releases: &[String]) -> anyhow::Result<bool> {
    if let Some(status) = inside()? {
        return Ok(status.success());
    }
    let mut stages = Stages::begin();
    for release in releases {
        let mut built = None;
        step(&mut stages, &format!("{release}: build"), || {
            built = Some(Built::make(release)?);
            Ok(())
        });
        let Some(built) = built else { continue };
        step(&mut stages, &format!("{release}: lintian"), || {
            lintian(&built)
        });
        step(&mut stages, &format!("{release}: both modules"), || {
            both(&built)
        });
        for (name, kind) in [("httpd", Kind::Httpd), ("nginx", Kind::Nginx)] {
            live(&mut stages, &format!("{release}, {name}"), &built, kind);
        }
    }
    Ok(stages.finish())
}

/// A stage that counts as one test; whether it passed.
fn step(stages: &mut Stages, name: &str, work: impl FnOnce() -> anyhow::Result<()>) -> bool {
    let passed = stages.run(name, |_| work());
    match passed {
        true => stages.tally.passed(),
        false => stages.tally.broke(name, "see above"),
    }
    passed
}

/// The packages of a release, as they are and as a later version.
struct Built {
    release: String,
    /// Goes away with this.
    folder: tempfile::TempDir,
}

impl Built {
    fn make(release: &str) -> anyhow::Result<Built> {
        let folder = tempfile::tempdir()?;
        let root = Root::of(release, Purpose::Packages)?;
        let versions = root.run("dpkg-query", &["-W", "apache2", "nginx", "lintian"])?;
        println!("{versions}");
        let workshop = Workshop::of(release)?;
        let later = format!("{}{LATER}", env!("CARGO_PKG_VERSION"));
        for (name, version) in [("now", None), ("later", Some(later.as_str()))] {
            let to = folder.path().join(name);
            fs::create_dir(&to)?;
            for file in workshop.build(&root, version)? {
                fs::copy(&file, to.join(file.file_name().context("name")?))?;
            }
        }
        Ok(Built {
            release: release.to_owned(),
            folder,
        })
    }

    /// A fresh root with the packages in `/srv/now` and `/srv/later`.
    fn root(&self) -> anyhow::Result<Root> {
        let root = Root::of(&self.release, Purpose::Packages)?;
        for name in ["now", "later"] {
            root.bind(
                &self.folder.path().join(name),
                &format!("/srv/{name}"),
                true,
            )?;
        }
        Ok(root)
    }
}

/// Whatever lintian says beyond what is known fails.
fn lintian(built: &Built) -> anyhow::Result<()> {
    let root = built.root()?;
    let (_, said) = root.said("sh", &["-c", "lintian --allow-root /srv/now/*.deb"])?;
    print!("{said}");
    let bad = |line: &&str| line.starts_with("E: ") || line.starts_with("W: ");
    let new: Vec<&str> = said
        .lines()
        .filter(bad)
        .filter(|line| !KNOWN.iter().any(|tag| line.contains(tag)))
        .collect();
    ensure!(new.is_empty(), "lintian: {}", new.join("; "));
    Ok(())
}

/// All packages at once: both servers load their module, no agent is on, and purging leaves nothing.
fn both(built: &Built) -> anyhow::Result<()> {
    let root = built.root()?;
    let before = manifest(&root)?;
    install(&root, "now", &MODULES)?;
    for kind in [Kind::Httpd, Kind::Nginx] {
        loads(&root, kind)?;
    }
    let listed = root.run("agentadmin", &["--l"])?;
    ensure!(listed.is_empty(), "an instance: {listed}");
    for file in [
        "man/man8/agentadmin.8.gz",
        "man/man8/agentadmin-doctor.8.gz",
        "bash-completion/completions/agentadmin",
        "zsh/vendor-completions/_agentadmin",
        "fish/vendor_completions.d/agentadmin.fish",
        "doc/portcullis-tools/portcullis.cdx.json",
    ] {
        let there = fs::metadata(root.path(&format!("/usr/share/{file}")));
        ensure!(there.is_ok_and(|m| m.len() > 0), "no {file}");
    }
    purge(&root, &[MODULES[0], MODULES[1], TOOLS])?;
    nothing_is_left(&root, &before)
}

type Step = fn(&mut Life) -> anyhow::Result<()>;

/// What a server's packages live through, in this order; each needs those before.
const LIFE: [(&str, Step); 8] = [
    ("installed", Life::installed),
    ("an agent", Life::agent),
    ("login", Life::login),
    ("upgraded while it runs", Life::upgraded),
    ("restarted", Life::restarted),
    ("purged under the agent", Life::without_module),
    ("agent removed", Life::removed),
    ("purged", Life::purged),
];

fn live(stages: &mut Stages, name: &str, built: &Built, kind: Kind) {
    let mut life = None;
    let begun = step(stages, &format!("{name}: a root"), || {
        life = Some(Life::begin(built, kind)?);
        Ok(())
    });
    let Some(mut life) = life.filter(|_| begun) else {
        return;
    };
    for (what, work) in LIFE {
        if !step(stages, &format!("{name}: {what}"), || work(&mut life)) {
            print!("{}", life.log());
            return;
        }
    }
}

/// One server from installation to purge.
struct Life {
    /// Ends before the root goes.
    server: Option<Running>,
    root: Root,
    kind: Kind,
    am: AmServer,
    address: SocketAddr,
    /// Who logged in.
    browser: Browser,
    before: BTreeSet<String>,
}

impl Life {
    fn begin(built: &Built, kind: Kind) -> anyhow::Result<Life> {
        let root = built.root()?;
        let port = free_port();
        let am = AmServer::Simulated(Box::new(am_on_localhost()));
        site::seed(&am, &format!("http://{HOST}:{port}"), &json!({}));
        operator(&root, kind, port)?;
        let before = manifest(&root)?;
        let address = SocketAddr::from(([127, 0, 0, 1], port));
        Ok(Life {
            server: None,
            root,
            kind,
            am,
            address,
            browser: Browser::new(address, HOST),
            before,
        })
    }

    /// Installing loads the module and switches no agent on.
    fn installed(&mut self) -> anyhow::Result<()> {
        install(&self.root, "now", &[self.module()])?;
        loads(&self.root, self.kind)?;
        self.start()?;
        Browser::new(self.address, HOST).gets("/docs/a.html", 200)?;
        self.stop()
    }

    fn agent(&mut self) -> anyhow::Result<()> {
        let password = self.root.path("/etc/wa1.password");
        fs::write(&password, AGENT_PASSWORD)?;
        fs::set_permissions(&password, fs::Permissions::from_mode(0o600))?;
        let conf = match self.kind {
            Kind::Httpd => "/etc/apache2/apache2.conf",
            Kind::Nginx => "/etc/nginx/nginx.conf",
        };
        let (am, site) = (
            self.am.url(),
            format!("http://{HOST}:{}", self.address.port()),
        );
        let said = self.root.run(
            "agentadmin",
            &[
                "--s",
                conf,
                &am,
                &site,
                "/",
                AGENT,
                "/etc/wa1.password",
                "--changeOwner",
            ],
        )?;
        print!("{said}");
        let listed = self.root.run("agentadmin", &["--l"])?;
        ensure!(listed.contains(INSTANCE), "not in {INSTANCE}: {listed}");
        loads(&self.root, self.kind)?;
        fs::remove_file(password)?;
        Ok(())
    }

    fn login(&mut self) -> anyhow::Result<()> {
        self.start()?;
        let page = self.browser.log_in(&self.am, "/docs/a.html")?;
        ensure!(page.text().contains("a protected page"), "{page:?}");
        self.browser.gets("/secret/a.html", 403)?;
        Browser::new(self.address, HOST).gets("/docs/a.html", 302)?;
        // Through the shared memory of the running server.
        print!("{}", self.root.run("agentadmin", &["status", "agent_1"])?);
        Ok(())
    }

    /// Whoever is logged in stays so, also over a reload such as a package's scripts may order.
    fn upgraded(&mut self) -> anyhow::Result<()> {
        install(&self.root, "later", &[self.module()])?;
        let version = self
            .root
            .run("dpkg-query", &["-Wf", "${Version}", self.module()])?;
        ensure!(version.ends_with(LATER), "after the upgrade: {version}");
        self.browser.gets("/docs/a.html", 200)?;
        let server = self.server.as_ref().context("no server")?;
        server.reload(self.kind);
        self.browser.gets("/docs/a.html", 200)?;
        Browser::new(self.address, HOST)
            .gets("/docs/a.html", 302)
            .map(drop)
    }

    fn restarted(&mut self) -> anyhow::Result<()> {
        self.stop()?;
        self.start()?;
        self.browser
            .gets("/docs/a.html", 200)
            .context("the session goes on")?;
        self.stop()
    }

    /// Purging the module under a configured agent leaves the agent, and a server that does not start:
    /// never one that runs without it.
    fn without_module(&mut self) -> anyhow::Result<()> {
        purge(&self.root, &[self.module()])?;
        let (good, said) = configuration(&self.root, self.kind)?;
        ensure!(!good, "the server starts without the agent: {said}");
        let conf = self.root.path(&format!("{INSTANCE}/config/agent.conf"));
        ensure!(conf.is_file(), "the instance is gone");
        install(&self.root, "later", &[self.module()])?;
        loads(&self.root, self.kind)
    }

    fn removed(&mut self) -> anyhow::Result<()> {
        self.root
            .run("sh", &["-c", "echo yes | agentadmin --r agent_1"])?;
        loads(&self.root, self.kind)?;
        self.start()?;
        Browser::new(self.address, HOST).gets("/secret/a.html", 200)?;
        self.stop()
    }

    fn purged(&mut self) -> anyhow::Result<()> {
        purge(&self.root, &[self.module(), TOOLS])?;
        let (good, said) = configuration(&self.root, self.kind)?;
        ensure!(good, "the server does not start any more: {said}");
        nothing_is_left(&self.root, &self.before)
    }

    fn start(&mut self) -> anyhow::Result<()> {
        self.server = Some(Running::start(&self.root, self.kind, self.address)?);
        Ok(())
    }

    fn stop(&mut self) -> anyhow::Result<()> {
        self.server.take().context("no server")?.stop()
    }

    /// The agent's log.
    fn log(&self) -> String {
        let file = self.root.path(&format!("{INSTANCE}/logs/debug/debug.log"));
        fs::read_to_string(file).unwrap_or_default()
    }

    fn module(&self) -> &'static str {
        match self.kind {
            Kind::Httpd => MODULES[0],
            Kind::Nginx => MODULES[1],
        }
    }
}

/// Installs the tools and modules of one of the two versions.
fn install(root: &Root, which: &str, modules: &[&str]) -> anyhow::Result<()> {
    let names = [&[TOOLS], modules].concat();
    let files: Vec<String> = names
        .iter()
        .map(|n| format!("/srv/{which}/{n}_*.deb"))
        .collect();
    let command = format!("apt-get install -y {}", files.join(" "));
    root.run("sh", &["-c", &command]).map(drop)
}

fn purge(root: &Root, packages: &[&str]) -> anyhow::Result<()> {
    root.run("apt-get", &[&["purge", "-y"], packages].concat())
        .map(drop)
}

/// `-t`, and what the server says of its configuration.
fn configuration(root: &Root, kind: Kind) -> anyhow::Result<(bool, String)> {
    match kind {
        Kind::Httpd => root.said("apache2ctl", &["-t", "-D", "DUMP_MODULES"]),
        Kind::Nginx => root.said("nginx", &["-T"]),
    }
}

/// The configuration is good, and the module is in it.
fn loads(root: &Root, kind: Kind) -> anyhow::Result<()> {
    let (good, said) = configuration(root, kind)?;
    let module = match kind {
        Kind::Httpd => "amagent_module",
        Kind::Nginx => "ngx_http_portcullis_module.so",
    };
    ensure!(
        good && said.contains(module),
        "{module} is not loaded: {said}"
    );
    Ok(())
}

/// What an operator has on the machine before: pages, and a server on a port of loopback.
fn operator(root: &Root, kind: Kind, port: u16) -> anyhow::Result<()> {
    for (path, text) in [
        ("docs", "a protected page"),
        ("secret", "a page without policy"),
    ] {
        let folder = root.path(&format!("/var/www/html/{path}"));
        fs::create_dir_all(&folder)?;
        fs::write(folder.join("a.html"), text)?;
    }
    fs::write(root.path("/etc/hosts"), "127.0.0.1 localhost\n")?;
    let change = |file: &str, pairs: &[(&str, &str)]| -> anyhow::Result<()> {
        let path = root.path(file);
        let mut text = fs::read_to_string(&path).context(file.to_owned())?;
        for (old, new) in pairs {
            ensure!(text.contains(old), "{file} has no {old:?}");
            text = text.replace(old, new);
        }
        fs::write(&path, text).context(file.to_owned())
    };
    match kind {
        Kind::Httpd => {
            let listen = format!("\nListen 127.0.0.1:{port}\n");
            change("/etc/apache2/ports.conf", &[("\nListen 80\n", &listen)])?;
            let host = format!("<VirtualHost *:{port}>");
            let site = "/etc/apache2/sites-available/000-default.conf";
            change(site, &[("<VirtualHost *:80>", &host)])
        }
        Kind::Nginx => {
            let listen = format!("\tlisten 127.0.0.1:{port} default_server;");
            let pairs = [
                ("\tlisten 80 default_server;", listen.as_str()),
                ("\tlisten [::]:80 default_server;", ""),
            ];
            change("/etc/nginx/sites-available/default", &pairs)
        }
    }
}

/// Everything in the root: kind, mode, owner and path, where a link leads to, the digest of a file. Not what
/// the package manager writes of its work, what Debian's helper of httpd remembers of a module that was
/// switched on, and what running servers leave.
fn manifest(root: &Root) -> anyhow::Result<BTreeSet<String>> {
    const SCRIPT: &str = "set -e
        all() {
            find / -xdev \\( -path /srv -o -path /tmp -o -path /run -o -path /var/log -o -path /var/cache \
                -o -path /var/lib/dpkg -o -path /var/lib/apt -o -path /var/lib/apache2/module \
                -o -path /var/lib/nginx \\) -prune -o \"$@\"
        }
        all -printf '%y %m %U:%G %p %l\\n'
        all -type f -print0 | xargs -0 sha256sum";
    let said = root.run("sh", &["-c", SCRIPT])?;
    Ok(said.lines().map(str::to_owned).collect())
}

/// The root is as it was.
fn nothing_is_left(root: &Root, before: &BTreeSet<String>) -> anyhow::Result<()> {
    let after = manifest(root)?;
    let more = after.difference(before).map(|line| format!("+ {line}"));
    let less = before.difference(&after).map(|line| format!("- {line}"));
    let differ: Vec<String> = more.chain(less).collect();
    ensure!(differ.is_empty(), "after the purge:\n{}", differ.join("\n"));
    println!("{} lines about files are as before", before.len());
    Ok(())
}

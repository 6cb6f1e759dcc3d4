//! Installs an instance: everything is checked before anything is written, and what was written is
//! taken back when a later step fails.

use std::{
    ffi::{OsStr, OsString},
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, bail, ensure};
use portcullis_engine::{
    config::{self, Line, Place, Properties},
    token::Secret,
};

use crate::{
    home::{Entry, Home},
    nginx, secrets,
    server::{self, Kind, Lines},
    validate,
};

/// Written by the property table's test.
const TEMPLATE: &str = include_str!("../templates/agent.conf.template");

/// What `--s` was given.
pub(crate) struct Request {
    pub(crate) conf: PathBuf,
    pub(crate) am: String,
    pub(crate) agent: String,
    pub(crate) realm: String,
    pub(crate) name: String,
    pub(crate) password_file: PathBuf,
    pub(crate) change_owner: bool,
    pub(crate) force: bool,
}

/// Installs, or leaves the machine as it was.
pub(crate) fn install(home: &Home, request: &Request) -> Result<()> {
    let request = &checked(request)?;
    let conf = std::path::absolute(&request.conf)?;
    let text =
        fs::read_to_string(&conf).with_context(|| format!("cannot read {}", conf.display()))?;
    let kind = Kind::of(&text);
    let name = home.free_name();
    let folder = home.instance(&name);
    let lines = Lines {
        name: name.clone(),
        module: home.module(kind)?,
        agent_conf: folder.join("config/agent.conf"),
        include: folder.join("config/nginx.conf"),
    };
    let with_agent = kind.with_agent(&text, &lines)?;
    let password = secrets::read_password(&request.password_file)?;
    let key = secrets::new_key()?;
    let environment = environment();
    let mut passwords = vec![(
        secrets::PASSWORD.to_owned(),
        secrets::encrypt(&key, &password)?,
    )];
    passwords.extend(encrypted(&key, &environment)?);
    println!("Validating...");
    if request.force {
        println!("Validating... Skipped.");
    } else {
        validate::agent_login(&request.am, &request.realm, &request.name, &password)?;
        println!("Validating... Success.");
    }
    println!("Creating configuration...");
    let entries = home.entries()?;
    let mut undo = Undo { steps: Vec::new() };
    make_folders(home, &folder, &mut undo)?;
    fs::write(
        &lines.agent_conf,
        agent_conf(request, &folder, &environment)?,
    )
    .context("agent.conf")?;
    secrets::write(&folder.join("config"), &key, &passwords)?;
    if kind == Kind::Nginx {
        fs::write(&lines.include, nginx::include(&lines)).context("nginx.conf of the instance")?;
    }
    if request.change_owner {
        give_logs(&folder, kind.worker(&text))?;
    }
    let mut all = entries.clone();
    let agent = request.agent.clone();
    all.push(Entry {
        name: name.clone(),
        kind,
        conf: conf.clone(),
        agent,
    });
    home.write_entries(&all)?;
    undo.steps.push(Step::Register(entries));
    let copy = server::back_up(&conf)?;
    server::replace(&conf, &with_agent)?;
    undo.steps.clear();
    println!("Installation complete.");
    println!("  instance       {}", folder.display());
    println!(
        "  configuration  {} (before: {})",
        conf.display(),
        copy.display()
    );
    println!("  restart the web server to load the agent");
    Ok(())
}

/// The request with its URLs in their final form; every mistake has its own words.
fn checked(request: &Request) -> Result<Request> {
    ensure!(
        request.realm.starts_with('/'),
        "the realm begins with a slash: {}",
        request.realm
    );
    ensure!(
        !request.name.trim().is_empty(),
        "the agent profile name is empty"
    );
    for text in [&request.am, &request.agent, &request.realm, &request.name] {
        ensure!(
            !text.chars().any(char::is_control),
            "an argument holds a control character"
        );
    }
    let am = url(&request.am).context("AM URL")?;
    let agent = url(&request.agent).context("agent URL")?;
    ensure!(
        agent.path.is_empty(),
        "agent URL: no path, only https://host:port"
    );
    let agent = format!("{}://{}:{}", agent.scheme, agent.host, agent.port);
    let am = format!("{}://{}:{}{}/", am.scheme, am.host, am.port, am.path);
    Ok(Request {
        conf: request.conf.clone(),
        am,
        agent,
        realm: request.realm.clone(),
        name: request.name.clone(),
        password_file: request.password_file.clone(),
        ..*request
    })
}

struct Url {
    scheme: String,
    host: String,
    port: u16,
    path: String,
}

/// Scheme, host, port and path without its last slash.
fn url(text: &str) -> Result<Url> {
    let (scheme, rest) = text
        .split_once("://")
        .context("write it as https://host:port/path")?;
    let default = match scheme {
        "http" => 80,
        "https" => 443,
        _ => bail!("only http and https: {text}"),
    };
    let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    let (host, port) = match authority.rsplit_once(':') {
        Some((host, port)) => (host, port.parse().with_context(|| format!("port {port}"))?),
        None => (authority, default),
    };
    let plain = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '.' || c == '_';
    ensure!(
        !host.is_empty() && host.chars().all(plain),
        "host name: {host:?}"
    );
    ensure!(!path.contains(['?', '#', ' ', '"']), "path: {path:?}");
    let path = path.trim_end_matches('/').to_owned();
    Ok(Url {
        scheme: scheme.into(),
        host: host.to_ascii_lowercase(),
        port,
        path,
    })
}

/// `agent.conf` from the template.
fn agent_conf(request: &Request, folder: &Path, environment: &Properties) -> Result<String> {
    let host = url(&request.agent)?.host;
    let mut conf = TEMPLATE.to_owned();
    for (word, value) in [
        ("AM_OPENAM_URL", request.am.as_str()),
        ("AM_AGENT_URL", request.agent.as_str()),
        ("AM_AGENT_REALM", request.realm.as_str()),
        ("AM_AGENT_NAME", request.name.as_str()),
        ("AM_AGENT_FQDN", host.as_str()),
        (
            "AM_DEBUG_FILE_PATH",
            &folder.join("logs/debug/debug.log").to_string_lossy(),
        ),
        (
            "AM_AUDIT_FILE_PATH",
            &folder.join("logs/audit/audit.log").to_string_lossy(),
        ),
        (
            "AM_PDP_TEMP_PATH",
            &folder.join("pdp-cache").to_string_lossy(),
        ),
        ("AM_SSL_CA", ""),
    ] {
        conf = conf.replace(&format!("= {word}\n"), &format!("= {value}\n"));
    }
    for line in environment.lines().iter().filter(|line| !is_secret(line)) {
        ensure!(
            !line.value.contains(char::is_control),
            "{}: the value holds a control character",
            line.source
        );
        conf = with_line(&conf, &line.name, &line.value);
    }
    if let Some(left) = conf.lines().find(|l| l.contains("= AM_")) {
        bail!("the template has a word nobody replaces: {left}");
    }
    Ok(conf)
}

/// What the environment says of properties; what it says in vain is named.
fn environment() -> Properties {
    let variables: Vec<(String, String)> = std::env::vars_os()
        .filter_map(|(n, v)| Some((n.into_string().ok()?, v.into_string().ok()?)))
        .collect();
    let pairs = variables.iter().map(|(n, v)| (n.as_str(), v.as_str()));
    let (lines, problems) = config::environment(Place::Tool, pairs);
    for problem in &problems {
        eprintln!("warning: {problem}");
    }
    lines
}

/// Passwords that the environment names, as they are written down.
fn encrypted(key: &Secret, environment: &Properties) -> Result<Vec<(String, String)>> {
    let lines = environment.lines().iter().filter(|line| is_secret(line));
    let pair = |line: &Line| {
        let plain = Secret::new(line.value.as_bytes().to_vec());
        let text = secrets::encrypt(key, &plain).with_context(|| line.source.to_string())?;
        Ok((line.name.clone(), text))
    };
    lines.map(pair).collect()
}

/// Whether a line's place is `agent-password.conf`.
fn is_secret(line: &Line) -> bool {
    let mut rows = config::PROPERTIES.iter();
    rows.any(|row| row.name == line.name && row.kind == config::Kind::Secret)
}

/// The text with this value of a property, in the place that the template has for it.
fn with_line(conf: &str, name: &str, value: &str) -> String {
    let begins = format!("{name} =");
    let mut placed = false;
    let mut out = String::with_capacity(conf.len() + name.len() + value.len());
    for line in conf.lines() {
        if line.trim_start_matches('#').starts_with(&begins) && !placed {
            placed = true;
            out.push_str(&format!("{name} = {value}"));
        } else {
            out.push_str(line);
        }
        out.push('\n');
    }
    if !placed {
        out.push_str(&format!("\n{name} = {value}\n"));
    }
    out
}

/// The folders of the instance: read by the parent, logs and kept POSTs written by workers.
fn make_folders(home: &Home, folder: &Path, undo: &mut Undo) -> Result<()> {
    fs::create_dir_all(home.instances()).context("instances")?;
    fs::create_dir(folder).with_context(|| format!("cannot make {}", folder.display()))?;
    undo.steps.push(Step::Folder(folder.to_path_buf()));
    for (name, mode) in [
        ("", 0o755),
        ("config", 0o750),
        ("logs", 0o755),
        ("logs/debug", 0o750),
        ("logs/audit", 0o750),
        ("pdp-cache", 0o700),
    ] {
        let path = folder.join(name);
        if !name.is_empty() {
            fs::create_dir(&path).with_context(|| format!("cannot make {}", path.display()))?;
        }
        fs::set_permissions(&path, fs::Permissions::from_mode(mode))?;
    }
    Ok(())
}

/// Gives the log folders to the workers' user, so that a rotated log can be opened again, and the folder
/// for kept POSTs, which nobody else may have. The user's group may read `agent.conf`, so that workers
/// notice when it changes; the files of secrets beside it stay the parent's.
fn give_logs(folder: &Path, worker: Option<(String, String)>) -> Result<()> {
    let Some((user, group)) = worker else {
        bail!(
            "--changeOwner: the configuration names no user; set APACHE_RUN_USER and APACHE_RUN_GROUP"
        );
    };
    let run = |arguments: &[&OsStr], what: &Path| {
        let done = Command::new("chown").args(arguments).arg(what).status();
        let done = done.context("chown")?;
        ensure!(
            done.success(),
            "cannot give {} to {user}:{group}",
            what.display()
        );
        anyhow::Ok(())
    };
    let owner = OsString::from(format!("{user}:{group}"));
    for name in ["logs", "pdp-cache"] {
        run(&["-R".as_ref(), &owner], &folder.join(name))?;
    }
    let readers = OsString::from(format!(":{group}"));
    let conf = folder.join("config/agent.conf");
    fs::set_permissions(&conf, fs::Permissions::from_mode(0o640))?;
    for path in [&folder.join("config"), &conf] {
        run(&[&readers], path)?;
    }
    Ok(())
}

enum Step {
    Folder(PathBuf),
    Register(Vec<Entry>),
}

/// Takes back what was done, in reverse, unless everything was done.
struct Undo {
    steps: Vec<Step>,
}

impl Drop for Undo {
    fn drop(&mut self) {
        for step in self.steps.drain(..).rev() {
            let (what, undone) = match &step {
                Step::Folder(folder) => (
                    folder.clone(),
                    fs::remove_dir_all(folder).map_err(Into::into),
                ),
                Step::Register(entries) => (
                    PathBuf::from("the register"),
                    Home::find().and_then(|h| h.write_entries(entries)),
                ),
            };
            if let Err(error) = undone {
                eprintln!("could not take back {}: {error}", what.display());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_get_their_port_and_lose_what_does_not_belong() {
        let plain = url("https://AM.example.com/openam/").unwrap();
        assert_eq!(
            (plain.host.as_str(), plain.port, plain.path.as_str()),
            ("am.example.com", 443, "/openam")
        );
        for bad in [
            "am.example.com",
            "ftp://a",
            "https://a:b/",
            "https://a b/",
            "https://a/?x",
        ] {
            assert!(url(bad).is_err(), "{bad}");
        }
    }

    fn request() -> Request {
        Request {
            conf: "x".into(),
            am: "https://am.example.com:443/am/".into(),
            agent: "https://www.example.com:443".into(),
            realm: "/".into(),
            name: "wa1".into(),
            password_file: "x".into(),
            change_owner: false,
            force: true,
        }
    }

    #[test]
    fn passwords_of_the_environment_are_written_encrypted() {
        let variables = [
            ("AM_SSL_PASSWORD", "the key's pass phrase"),
            ("AM_PROXY_PASSWORD", "the proxy's password"),
        ];
        let (environment, problems) = config::environment(Place::Tool, variables);
        assert_eq!(problems, []);
        let conf = agent_conf(&request(), Path::new("/opt/agent_1"), &environment).unwrap();
        assert!(!conf.contains("pass phrase") && !conf.contains("proxy's"));
        let key = secrets::new_key().unwrap();
        let mut all = encrypted(&key, &environment).unwrap();
        all.sort();
        let opened: Vec<(&str, Secret)> = all
            .iter()
            .map(|(name, text)| (name.as_str(), config::decrypt_password(&key, text).unwrap()))
            .collect();
        assert_eq!(opened.len(), 2);
        for ((name, opened), (wanted, plain)) in opened.iter().zip([
            (
                "com.forgerock.agents.config.cert.key.password",
                "the key's pass phrase",
            ),
            (
                "com.sun.identity.agents.config.forward.proxy.password",
                "the proxy's password",
            ),
        ]) {
            assert_eq!(*name, wanted);
            assert!(opened.expose() == plain.as_bytes(), "{name}");
        }
        let (environment, _) = config::environment(Place::Tool, [("AM_PROXY_PASSWORD", "a\nb")]);
        assert!(encrypted(&key, &environment).is_err());
    }

    #[test]
    fn every_word_of_the_template_is_replaced() {
        let conf = agent_conf(
            &request(),
            Path::new("/opt/agent_1"),
            &Properties::default(),
        )
        .unwrap();
        assert!(conf.contains("com.sun.identity.agents.config.username = wa1\n"));
        assert!(conf.contains("/opt/agent_1/logs/debug/debug.log"));
    }

    #[test]
    fn the_environment_fills_the_template() {
        let variables = [
            ("AM_SSL_CA", "/etc/ssl/am.pem"),
            ("AM_SSL_CERT", "/etc/ssl/agent.pem"),
            ("AM_SSL_KEY", "/etc/ssl/agent.key"),
            ("AM_SSL_CIPHERS", "TLS13_AES_256_GCM_SHA384"),
            ("AM_SSL_KEYLOG_ENABLE", "true"),
            ("AM_PROXY_HOST", "proxy.example.com"),
            ("AM_PROXY_PORT", "3128"),
            ("AM_PROXY_USER", "agent"),
            ("AM_AGENT_AUTH_MODE", "1"),
        ];
        let (environment, problems) = config::environment(Place::Tool, variables);
        assert_eq!(problems, []);
        let conf = agent_conf(&request(), Path::new("/opt/agent_1"), &environment).unwrap();
        for line in [
            "com.forgerock.agents.config.cert.ca.file = /etc/ssl/am.pem",
            "com.forgerock.agents.config.cert.file = /etc/ssl/agent.pem",
            "com.forgerock.agents.config.cert.key = /etc/ssl/agent.key",
            "com.forgerock.agents.config.ciphers = TLS13_AES_256_GCM_SHA384",
            "org.forgerock.agents.config.tls.keylog.enable = true",
            "com.sun.identity.agents.config.forward.proxy.host = proxy.example.com",
            "com.sun.identity.agents.config.forward.proxy.port = 3128",
            "com.sun.identity.agents.config.forward.proxy.user = agent",
            "com.forgerock.agents.config.agent.auth.mode = 1",
        ] {
            let found: Vec<&str> = conf.lines().filter(|l| *l == line).collect();
            assert_eq!(found.len(), 1, "{line}");
        }
        let bad = [("AM_PROXY_HOST", "a\nb = c")];
        let (environment, _) = config::environment(Place::Tool, bad);
        assert!(agent_conf(&request(), Path::new("/opt/agent_1"), &environment).is_err());
    }
}

//! Installs an instance: everything is checked before anything is written, and what is written is one plan.

mod address;
pub(crate) mod conf;
mod import;
mod interactive;
#[cfg(test)]
mod rows;
mod takeover;
mod upgrade;

use std::{
    collections::BTreeMap,
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, bail, ensure};
use portcullis_engine::token::Secret;

use crate::{
    home::{Entry, Home},
    nginx,
    plan::{Owner, Plan, Step, Work},
    secrets,
    server::{Kind, Lines, Receipt},
    validate,
};
use address::url;
pub(crate) use import::Import;
use import::Report;
pub(crate) use interactive::install as interactive;
pub(crate) use takeover::{rollback, takeover};
pub(crate) use upgrade::upgrade;

/// What `--s` was given.
pub(crate) struct Request {
    pub(crate) conf: PathBuf,
    pub(crate) am: String,
    pub(crate) agent: String,
    pub(crate) realm: String,
    pub(crate) name: String,
    pub(crate) password: Password,
    /// The configuration that is taken over.
    pub(crate) import: Option<Import>,
    pub(crate) change_owner: bool,
    pub(crate) force: bool,
    /// Show what the server's configuration needs, and leave it alone.
    pub(crate) print: bool,
    /// Take the place of the Web Agent that is loaded.
    pub(crate) takeover: bool,
}

/// Where the agent's password comes from.
pub(crate) enum Password {
    /// The first line of a file.
    File(PathBuf),
    /// Somebody has typed it.
    Typed(Secret),
    /// The imported files, where their key opens it.
    Imported,
}

/// What the files of an instance say, before any is written.
struct Content {
    /// `agent.conf`.
    text: String,
    /// By property, in the clear.
    passwords: BTreeMap<String, Secret>,
    /// What became of an imported file.
    report: Option<Report>,
}

/// The server that the agent goes into.
struct Target {
    kind: Kind,
    conf: PathBuf,
    text: String,
    worker: Option<Worker>,
}

/// Who reads and writes what the agent needs while it runs.
#[derive(Clone, Copy)]
struct Worker {
    user: u32,
    group: u32,
}

/// Installs, or leaves the machine as it was.
pub(crate) fn install(home: &Home, request: Request) -> Result<()> {
    let request = &checked(request)?;
    safe_place(&home.instances())?;
    let work = Work::begin(&home.instances())?;
    let target = target(request)?;
    let name = home.free_name();
    let folder = home.instance(&name);
    let lines = Lines {
        name: name.clone(),
        module: home.module(target.kind)?,
        agent_conf: folder.join("config/agent.conf"),
        include: folder.join("config/nginx.conf"),
    };
    let changes = match (request.print, request.takeover) {
        (true, _) => Vec::new(),
        (false, true) => takeover::changes(&target, &lines)?,
        (false, false) => target.kind.changes(&target.conf, &target.text, &lines)?,
    };
    let content = content(request, &folder)?;
    let password = content.passwords.get(secrets::PASSWORD);
    validated(request, password.context("no password")?)?;
    println!("Creating configuration...");
    let mut steps = folders(&folder, target.worker);
    steps.extend(files(&target, &lines, &content)?);
    let (receipt, changes) = Receipt::of(changes);
    steps.push(receipt.step(&folder)?);
    let mut all = home.entries()?;
    all.push(Entry {
        name: name.clone(),
        kind: target.kind,
        conf: target.conf.clone(),
        agent: request.agent.clone(),
    });
    steps.push(home.register(&all)?);
    steps.extend(changes);
    work.carry_out(Plan {
        what: format!("installing {name}"),
        steps,
    })?;
    if let Some(report) = &content.report {
        println!("{report}");
    }
    println!("Installation complete.");
    println!("  instance       {}", folder.display());
    match request.print {
        true => println!(
            "\nAdd to {}:\n\n{}",
            target.conf.display(),
            by_hand(target.kind, &lines)
        ),
        false => println!("{receipt}"),
    }
    println!("  restart the web server to load the agent");
    Ok(())
}

fn target(request: &Request) -> Result<Target> {
    let conf = std::path::absolute(&request.conf)?;
    let text =
        fs::read_to_string(&conf).with_context(|| format!("cannot read {}", conf.display()))?;
    let kind = Kind::of(&text);
    let worker = match request.change_owner {
        false => None,
        true => Some(worker(kind, &conf, &text).context("--changeOwner")?),
    };
    Ok(Target {
        kind,
        conf,
        text,
        worker,
    })
}

/// Whom the server's configuration has its workers run as.
fn worker(kind: Kind, conf: &Path, text: &str) -> Result<Worker> {
    let Some((user, group)) = kind.worker(conf, text) else {
        match kind {
            Kind::Httpd => {
                bail!("the configuration names no user; set APACHE_RUN_USER and APACHE_RUN_GROUP")
            }
            Kind::Nginx => {
                bail!("the configuration has no line `user`: write there whom its workers run as")
            }
        }
    };
    Ok(Worker {
        user: number("passwd", &user)?,
        group: number("group", &group)?,
    })
}

/// The number of a user or group, whichever directory the system has them in.
fn number(database: &str, name: &str) -> Result<u32> {
    let name = name.trim_start_matches('#');
    let output = Command::new("getent")
        .args([database, name])
        .output()
        .context("getent")?;
    let text = String::from_utf8_lossy(&output.stdout);
    let number = text.trim().split(':').nth(2).and_then(|n| n.parse().ok());
    number.with_context(|| format!("the system knows no {name} ({database})"))
}

/// Asks AM, unless that is forbidden.
fn validated(request: &Request, password: &Secret) -> Result<()> {
    println!("Validating...");
    if request.force {
        println!("Validating... Skipped.");
        return Ok(());
    }
    validate::agent_login(&request.am, &request.realm, &request.name, password)?;
    println!("Validating... Success.");
    Ok(())
}

/// Whoever may write into a folder above could put another agent.conf into its place.
fn safe_place(instances: &Path) -> Result<()> {
    for folder in instances.ancestors() {
        let Ok(there) = fs::metadata(folder) else {
            continue;
        };
        let mode = there.permissions().mode();
        ensure!(
            mode & 0o002 == 0 || mode & 0o1000 != 0,
            "everybody may write into {0}: chmod o-w {0}",
            folder.display()
        );
    }
    Ok(())
}

/// The folders of the instance: read by the parent, logs and kept POSTs written by workers, so that a rotated log
/// can be opened again. Nobody else may have the folder for POSTs.
fn folders(folder: &Path, worker: Option<Worker>) -> Vec<Step> {
    let all = worker.map(|w| (w.user, w.group));
    let one = |name: &str, mode, owner| Step::folder(&folder.join(name), mode, owner);
    vec![
        Step::folder(folder, 0o755, None),
        one("config", 0o750, readers(worker)),
        one("logs", 0o755, all),
        one("logs/debug", 0o750, all),
        one("logs/audit", 0o750, all),
        one("pdp-cache", 0o700, all),
    ]
}

/// The user's group may read `agent.conf`, so that workers notice when it changes.
fn readers(worker: Option<Worker>) -> Option<Owner> {
    worker.map(|w| (rustix::process::geteuid().as_raw(), w.group))
}

/// Where workers run as somebody else, nobody besides them needs it.
fn conf_mode(worker: Option<Worker>) -> u32 {
    match worker {
        Some(_) => 0o640,
        None => 0o644,
    }
}

/// What the instance is to say; passwords of the operator and of the environment before imported ones.
fn content(request: &Request, folder: &Path) -> Result<Content> {
    let environment = conf::environment();
    let (text, mut report) = conf::agent_conf(request, folder, &environment)?;
    let mut given: BTreeMap<String, Secret> = conf::passwords(&environment).into_iter().collect();
    let password = match &request.password {
        Password::File(file) => Some(secrets::read_password(file)?),
        Password::Typed(password) => Some(password.clone()),
        Password::Imported => None,
    };
    given.extend(password.map(|password| (secrets::PASSWORD.to_owned(), password)));
    if let Some(report) = &mut report {
        report.given(given.keys().map(String::as_str));
    }
    let mut passwords = BTreeMap::new();
    if let Some(import) = &request.import {
        let all = import.passwords().into_iter();
        passwords.extend(all.map(|(name, password)| (name.to_owned(), password)));
    }
    passwords.append(&mut given);
    ensure!(
        passwords.contains_key(secrets::PASSWORD),
        "the imported password cannot be read: it is encrypted with a key that is not here; name a file with it"
    );
    let content = Content {
        text,
        passwords,
        report,
    };
    import::check(&content.text)?;
    Ok(content)
}

/// The files of the instance; those of secrets stay the parent's.
fn files(target: &Target, lines: &Lines, content: &Content) -> Result<Vec<Step>> {
    let config = lines.agent_conf.parent().context("a folder")?;
    let (mode, readers) = (conf_mode(target.worker), readers(target.worker));
    let mut steps = vec![Step::file(&lines.agent_conf, mode, readers, &content.text)];
    let key = secrets::new_key()?;
    let encrypted = content.passwords.iter().map(|(name, password)| {
        let text = secrets::encrypt(&key, password).with_context(|| name.clone())?;
        Ok((name.clone(), text))
    });
    let encrypted = encrypted.collect::<Result<Vec<_>>>()?;
    for (name, text) in secrets::files(&key, &encrypted) {
        steps.push(Step::file(&config.join(name), 0o600, None, &text));
    }
    if let Some(report) = &content.report {
        let text = format!("{report}\n");
        steps.push(Step::file(&config.join("import.txt"), 0o640, None, &text));
    }
    if target.kind == Kind::Nginx {
        let text = nginx::include(&target.conf, &target.text, lines);
        steps.push(Step::file(&lines.include, 0o644, None, &text));
    }
    Ok(steps)
}

/// What somebody has to write who does it by hand.
fn by_hand(kind: Kind, lines: &Lines) -> String {
    let module = lines.module.display();
    match kind {
        Kind::Httpd => format!(
            "LoadModule amagent_module \"{module}\"\nAmAgent On\nAmAgentConf \"{}\"\n",
            lines.agent_conf.display()
        ),
        Kind::Nginx => format!(
            "load_module {module};    # at the top\ninclude {};    # in http, server or location\n",
            lines.include.display()
        ),
    }
}

/// The request with its URLs in their final form; every mistake has its own words.
fn checked(mut request: Request) -> Result<Request> {
    let imported = request.import.as_ref().and_then(Import::realm);
    if imported == Some(&request.realm) {
        request.realm = import::with_slash(&request.realm);
    }
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
    let am = with_port(&request.am).context("AM URL")?;
    let agent = url(&request.agent).context("agent URL")?;
    ensure!(
        agent.path.is_empty(),
        "agent URL: no path, only https://host:port"
    );
    let agent = format!("{}://{}:{}", agent.scheme, agent.host, agent.port);
    Ok(Request {
        am,
        agent,
        ..request
    })
}

/// AM's URL with its port and a last slash.
fn with_port(text: &str) -> Result<String> {
    let am = url(text)?;
    Ok(format!(
        "{}://{}:{}{}/",
        am.scheme, am.host, am.port, am.path
    ))
}

//! How does this agent take the place of a Web Agent that is loaded, and how does that one come back?
//!
//! Its lines in the server's configuration become comments between our marks, each with ours behind it; taking our
//! marks out gives them back. Its own files are read and never changed.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, bail, ensure};

use super::{Import, Password, Request, Target};
use crate::{
    home::Home,
    includes, nginx,
    plan::{self, Plan, Work},
    remove,
    server::{Change, Kind, Lines, Receipt, WAS, Was, begin, end},
};

/// A line of the Web Agent's in the server's configuration.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Theirs {
    Module,
    Configuration,
}

/// Takes over: `place` is the server's configuration, or the Web Agent's folder.
///
/// # Errors
/// No Web Agent is loaded there, or more than one configuration of it is.
pub(crate) fn takeover(home: &Home, place: &Path, password: &Path, force: bool) -> Result<()> {
    // A run that was killed may have left our lines there.
    plan::repair(&home.instances())?;
    let conf = server_conf(place)?;
    let text =
        fs::read_to_string(&conf).with_context(|| format!("cannot read {}", conf.display()))?;
    let agent_conf = agent_conf(&conf, &text)?;
    ensure!(
        !agent_conf.starts_with(home.instances()),
        "this agent is in {} already",
        conf.display()
    );
    let import = Import::read(&agent_conf)?;
    let said = |value: Option<&str>, what: &str| {
        let value = value.map(str::to_owned);
        value.with_context(|| format!("{} does not say {what}", agent_conf.display()))
    };
    let am = said(import.am(), "where AM is")?;
    let name = said(import.name(), "the name of the agent's profile")?;
    let realm = import.realm().unwrap_or("/").to_owned();
    // Only for the register, where the profile in AM knows it.
    let agent = import
        .agent()
        .unwrap_or_else(|| "http://localhost:80".into());
    super::install(
        home,
        Request {
            conf,
            am,
            agent,
            realm,
            name,
            password: Password::File(password.into()),
            import: Some(import),
            change_owner: rustix::process::geteuid().is_root(),
            force,
            print: false,
            takeover: true,
        },
    )
}

/// Puts the Web Agent back. The instance stays for `--r`, with its logs.
///
/// # Errors
/// There is no such instance, or it took nobody's place.
pub(crate) fn rollback(home: &Home, name: &str) -> Result<()> {
    let work = Work::begin(&home.instances())?;
    let entries = home.entries()?;
    let entry = entries.iter().find(|e| e.name == name);
    let entry =
        entry.with_context(|| format!("there is no instance {name}; agentadmin --l lists them"))?;
    let receipt = Receipt::read(&home.instance(name), &entry.conf)?;
    let taken = receipt.edited.iter().any(|(path, _)| {
        let text = fs::read_to_string(path).unwrap_or_default();
        text.contains(&begin(name)) && text.contains(WAS)
    });
    ensure!(
        taken,
        "{name} has not taken the place of a Web Agent; agentadmin --r {name} removes it"
    );
    work.carry_out(Plan {
        what: format!("putting back what was there before {name}"),
        steps: remove::out_of_server(&receipt, name)?,
    })?;
    println!(
        "The Web Agent's lines are back. Restart the web server; agentadmin --r {name} removes what is left of ours."
    );
    Ok(())
}

/// The changes that put our lines into the place of theirs.
pub(super) fn changes(target: &Target, lines: &Lines) -> Result<Vec<Change>> {
    let mut changes = Vec::new();
    let files = includes::files(target.kind, &target.conf, &target.text);
    let ours = |line: &str| match theirs(target.kind, line) {
        Some((Theirs::Module, file)) => file.ends_with(target.kind.module()),
        _ => false,
    };
    let loaded = files.iter().any(|(_, text)| text.lines().any(ours));
    for (path, text) in files {
        let mut now = String::with_capacity(text.len());
        for line in text.split_inclusive('\n') {
            let instead = match theirs(target.kind, line).filter(|_| !ours(line)) {
                None => {
                    now.push_str(line);
                    continue;
                }
                // A package does it.
                Some((Theirs::Module, _)) if loaded => String::new(),
                Some((Theirs::Module, _)) => module_line(target.kind, &lines.module) + "\n",
                Some((Theirs::Configuration, _)) => {
                    configuration_line(target.kind, &lines.agent_conf) + "\n"
                }
            };
            let whole = line.strip_suffix('\n').unwrap_or(line);
            let (begin, end) = (begin(&lines.name), end(&lines.name));
            now.push_str(&format!("{begin}\n{WAS}{whole}\n{instead}{end}\n"));
        }
        if now != text {
            changes.push(Change::Edit(Was::read(&path, &text), now));
        }
    }
    Ok(changes)
}

/// The line that loads our module.
pub(super) fn module_line(kind: Kind, module: &Path) -> String {
    match kind {
        Kind::Httpd => format!("LoadModule amagent_module \"{}\"", module.display()),
        Kind::Nginx => format!("load_module {};", module.display()),
    }
}

fn configuration_line(kind: Kind, agent_conf: &Path) -> String {
    match kind {
        Kind::Httpd => format!("AmAgentConf \"{}\"", agent_conf.display()),
        Kind::Nginx => format!("openam_agent_configuration {};", agent_conf.display()),
    }
}

/// Which line of the Web Agent's this is, and the file that it names.
fn theirs(kind: Kind, line: &str) -> Option<(Theirs, PathBuf)> {
    let words: Vec<String> = match kind {
        Kind::Httpd => {
            let words = includes::words(line).next()?;
            words
                .iter()
                .map(|word| word.trim_matches('"').to_owned())
                .collect()
        }
        // Anything beside it on the line would become a comment with it.
        Kind::Nginx => match nginx::directives(line).as_slice() {
            [one] if line[one.end..].trim().is_empty() => one.words.clone(),
            _ => return None,
        },
    };
    let first = words[0].to_ascii_lowercase();
    let (last, which) = match (kind, first.as_str()) {
        (Kind::Httpd, "loadmodule") if words.get(1).is_some_and(|w| w == "amagent_module") => {
            (words.get(2)?, Theirs::Module)
        }
        // Ours may be there as well: see below.
        (Kind::Nginx, "load_module")
            if words.get(1).is_some_and(|file| {
                file.ends_with("openam_ngx_auth_module.so") || file.ends_with(kind.module())
            }) =>
        {
            (words.get(1)?, Theirs::Module)
        }
        (Kind::Httpd, "amagentconf") | (Kind::Nginx, "openam_agent_configuration") => {
            (words.get(1)?, Theirs::Configuration)
        }
        _ => return None,
    };
    Some((which, PathBuf::from(last)))
}

/// The one agent.conf of the Web Agent that is loaded.
fn agent_conf(conf: &Path, text: &str) -> Result<PathBuf> {
    let kind = Kind::of(text);
    let root = includes::root(kind, conf, text);
    let files = includes::files(kind, conf, text);
    let all = files
        .iter()
        .flat_map(|(_, text)| text.lines().filter_map(|l| theirs(kind, l)));
    let (mut modules, mut confs): (Vec<PathBuf>, Vec<PathBuf>) = (Vec::new(), Vec::new());
    for (which, path) in all {
        match which {
            Theirs::Module => modules.push(path),
            Theirs::Configuration => confs.push(root.join(path)),
        }
    }
    ensure!(
        !modules.is_empty(),
        "no Web Agent is loaded by {}; --s or --i installs this one",
        conf.display()
    );
    // Beside theirs it is a package's, and does nothing until it is configured.
    ensure!(
        !modules.iter().all(|m| m.ends_with(kind.module())),
        "this agent is in {} already",
        conf.display()
    );
    confs.sort();
    confs.dedup();
    match confs.as_slice() {
        [one] => Ok(one.clone()),
        [] => bail!("no agent.conf is named in {}", conf.display()),
        several => bail!(
            "{} names {} configurations of agents; only one can be taken over: install the others with --s --import and --print",
            conf.display(),
            several.len()
        ),
    }
}

/// The server's configuration. In the Web Agent's folder the register names it.
fn server_conf(place: &Path) -> Result<PathBuf> {
    let place = std::path::absolute(place)?;
    if !place.is_dir() {
        return Ok(place);
    }
    let register = place.join("instances/.agents");
    let text = fs::read_to_string(&register).with_context(|| {
        format!(
            "{} does not tell which web server it is for; name the server's configuration",
            register.display()
        )
    })?;
    let mut confs: Vec<&str> = text
        .lines()
        .filter_map(|l| l.split_whitespace().last())
        .collect();
    confs.sort_unstable();
    confs.dedup();
    match confs.as_slice() {
        [one] => Ok(one.into()),
        _ => bail!(
            "{} names {} web servers; name the configuration of one",
            register.display(),
            confs.len()
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::server::without_marked;

    /// A package's module may be loaded beside theirs, before anything is taken over.
    #[test]
    fn a_module_that_a_package_loads_is_not_loaded_twice() {
        let httpd = "LoadModule amagent_module /usr/lib/apache2/modules/mod_portcullis.so\n";
        let nginx = "load_module modules/ngx_http_portcullis_module.so;\n";
        for (kind, ours, theirs) in [
            (
                Kind::Httpd,
                httpd,
                "LoadModule amagent_module \"/opt/theirs/mod_openam.so\"\nAmAgentConf /opt/a.conf\n",
            ),
            (
                Kind::Nginx,
                nginx,
                "load_module /opt/theirs/openam_ngx_auth_module.so;\nhttp {\n\
                 openam_agent_configuration /opt/a.conf;\n}\n",
            ),
        ] {
            let conf = Path::new("/nonexistent/server.conf");
            let lines = Lines {
                name: "agent_1".into(),
                module: Path::new("/opt/p/lib").join(kind.module()),
                agent_conf: "/opt/p/instances/agent_1/config/agent.conf".into(),
                include: "/opt/p/instances/agent_1/config/nginx.conf".into(),
            };
            for (text, loads) in [
                (format!("{ours}{theirs}"), false),
                (theirs.to_owned(), true),
            ] {
                let found = agent_conf(conf, &text);
                assert_eq!(found.unwrap(), Path::new("/opt/a.conf"), "{text}");
                let target = Target {
                    kind,
                    conf: conf.into(),
                    text: text.clone(),
                    worker: None,
                };
                let [Change::Edit(_, now)] = &changes(&target, &lines).unwrap()[..] else {
                    panic!("one file")
                };
                let line = module_line(kind, &lines.module);
                assert_eq!(now.contains(&line), loads, "{now}");
                assert!(now.contains(&configuration_line(kind, &lines.agent_conf)));
                assert_eq!(now.matches(WAS).count(), 2, "{now}");
                assert_eq!(without_marked(now, None), text);
            }
            let refused = agent_conf(conf, &format!("{ours}http {{\n}}\n"));
            let refused = refused.unwrap_err().to_string();
            assert!(refused.contains("already"), "{refused}");
        }
    }
}

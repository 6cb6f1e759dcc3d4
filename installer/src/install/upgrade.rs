//! `--upgrade`: how does what an older agentadmin has written become what this one writes?
//!
//! Only what agentadmin has written counts, and only where it says something else or keeps the agent from its work:
//! our lines in the server's configuration, the file that nginx includes, the receipt, missing folders, and who may read and
//! write. What agent.conf says is the operator's; it is read, so that nothing is done for an instance with which this
//! version would not start. Must not touch what somebody has changed, ask AM, or stop a server.

use std::{
    fs::{self, Metadata},
    io::ErrorKind,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, ensure};
use portcullis_runtime::{Running, Unread};

use super::{Worker, conf_mode, folders, import, readers, safe_place, takeover, worker};
use crate::{
    home::{Entry, Home},
    instance::Instance,
    nginx,
    plan::{Owner, Plan, Rights, Step, Work},
    server::{Kind, Lines, RECEIPT, Receipt, begin, end, without_marked},
    version,
};

/// What has to be done for an instance.
#[derive(Default)]
struct Needs {
    steps: Vec<Step>,
    /// In words, one for each thing that is mended.
    said: Vec<String>,
    /// The server is to load another file.
    module: bool,
}

impl Needs {
    fn add(&mut self, step: Step, said: String) {
        self.steps.push(step);
        self.said.push(said);
    }

    /// Gives a file or folder these rights, unless it has them. What a link leads to is somebody else's.
    fn rights(&mut self, path: &Path, there: &Metadata, now: Rights) {
        let before = Rights::of(there);
        if now == before || there.is_symlink() {
            return;
        }
        let shown = |rights: Rights| {
            let (user, group) = rights.owner;
            format!("mode {:o}, owner {user}:{group}", rights.mode)
        };
        let said = format!(
            "{}: {} (before: {})",
            path.display(),
            shown(now),
            shown(before)
        );
        let path = path.to_path_buf();
        self.add(Step::Rights { path, before, now }, said);
    }
}

/// Brings the instance that is named up to date, or every one of the register.
///
/// # Errors
/// Something of an instance cannot be read or written, or this version could not start with it; then everything
/// of it is as it was.
pub(crate) fn upgrade(home: &Home, named: Option<&Path>) -> Result<()> {
    safe_place(&home.instances())?;
    let work = Work::begin(&home.instances())?;
    if named.is_none() && home.entries()?.is_empty() {
        println!(
            "No instance is installed below {}: nothing to do.",
            home.instances().display()
        );
        return Ok(());
    }
    let mut failed = Vec::new();
    for instance in Instance::some_or_all(named)? {
        if let Err(error) = one(home, &work, &instance) {
            eprintln!("agentadmin: {}: {error:#}", instance.called());
            failed.push(instance.called());
        }
    }
    ensure!(failed.is_empty(), "as it was: {}", failed.join(", "));
    Ok(())
}

fn one(home: &Home, work: &Work, instance: &Instance) -> Result<()> {
    println!("{}", instance.called());
    let entry = instance.entry.as_ref();
    let entry =
        entry.context("agentadmin has not installed it; agentadmin --l lists what it has")?;
    let module = home.module(entry.kind)?;
    let installed = version::module_version(&module);
    println!("  module         version {installed}, {}", module.display());
    import::check(&instance.read()?.text)?;
    let needs = needs(&home.instance(&entry.name), entry, &module)?;
    let changed = !needs.steps.is_empty();
    if changed {
        work.carry_out(Plan {
            what: format!("upgrading {}", entry.name),
            steps: needs.steps,
        })?;
    }
    for said in &needs.said {
        println!("  brought up     {said}");
    }
    if !changed {
        println!("  nothing to do  everything is as this version writes it");
    }
    println!(
        "  {}",
        server(&instance.conf, &installed, needs.module, changed)
    );
    Ok(())
}

fn needs(folder: &Path, entry: &Entry, module: &Path) -> Result<Needs> {
    let mut needs = Needs::default();
    let text = fs::read_to_string(&entry.conf)
        .with_context(|| format!("cannot read {}", entry.conf.display()))?;
    let worker = served(folder, entry, &text);
    rights(folder, worker, &mut needs)?;
    if entry.kind == Kind::Nginx {
        include(folder, entry, (&text, module), &mut needs)?;
    }
    let receipt = Receipt::read(folder, &entry.conf)?;
    module_lines(entry, &receipt, module, &mut needs)?;
    if fs::symlink_metadata(folder.join(RECEIPT)).is_err() {
        needs.add(
            made_up(entry, &text)?.step(folder)?,
            format!("{RECEIPT}: what --r takes out again"),
        );
    }
    Ok(needs)
}

/// The workers, if the instance was installed for them with --changeOwner: the log folders are theirs.
fn served(folder: &Path, entry: &Entry, text: &str) -> Option<Worker> {
    let worker = worker(entry.kind, &entry.conf, text).ok()?;
    let logs = fs::metadata(folder.join("logs")).ok()?;
    (logs.uid() == worker.user).then_some(worker)
}

/// Folders that are missing, and those who may not read or write what they have to, or may what nobody else should.
fn rights(folder: &Path, worker: Option<Worker>, needs: &mut Needs) -> Result<()> {
    for step in folders(folder, worker) {
        let Step::Folder { path, mode, owner } = &step else {
            continue;
        };
        let (bits, others) = match path.file_name().and_then(|name| name.to_str()) {
            Some("logs" | "debug" | "audit") => (0o7, 0o002),
            Some("pdp-cache") => (0o7, 0o077),
            _ => (0o5, 0o002),
        };
        match fs::symlink_metadata(path) {
            Err(e) if e.kind() == ErrorKind::NotFound => {
                let said = format!("{}: new, mode {mode:o}", path.display());
                needs.add(step, said);
            }
            there => {
                let there = there.with_context(|| format!("{}", path.display()))?;
                let whom = worker.map(|worker| (worker, bits));
                let now = wanted(Rights::of(&there), whom, (*mode, *owner), others);
                needs.rights(path, &there, now);
            }
        }
    }
    let (mode, owner) = (conf_mode(worker), readers(worker));
    for (name, whom, (mode, owner), others) in [
        ("agent.conf", worker.map(|w| (w, 0o4)), (mode, owner), 0o002),
        ("agent-key.conf", None, (0o600, None), 0o077),
        ("agent-password.conf", None, (0o600, None), 0o077),
    ] {
        let path = folder.join("config").join(name);
        if let Ok(there) = fs::symlink_metadata(&path) {
            let now = wanted(Rights::of(&there), whom, (mode, owner), others);
            needs.rights(&path, &there, now);
        }
    }
    Ok(())
}

/// Where workers lack what they need, it gets the rights of a new installation; where others may too much, they
/// lose that. All else is left as somebody has made it.
fn wanted(
    before: Rights,
    whom: Option<(Worker, u32)>,
    (mode, owner): (u32, Option<Owner>),
    others: u32,
) -> Rights {
    match whom {
        Some((worker, bits)) if !may(before, worker, bits) => Rights {
            mode,
            owner: owner.unwrap_or(before.owner),
        },
        // In a folder like /tmp nobody can touch what is another's.
        _ if before.mode & 0o1000 != 0 && others == 0o002 => before,
        _ => Rights {
            mode: before.mode & !others,
            ..before
        },
    }
}

/// Whether workers may do this: 4 is to read, 2 to write, 1 to enter a folder.
fn may(rights: Rights, worker: Worker, bits: u32) -> bool {
    let (user, group) = rights.owner;
    let class = if user == worker.user {
        rights.mode >> 6
    } else if group == worker.group {
        rights.mode >> 3
    } else {
        rights.mode
    };
    worker.user == 0 || class & bits == bits
}

/// What nginx includes, where it is as it was written before the limit for bodies was raised.
fn include(
    folder: &Path,
    entry: &Entry,
    (conf, module): (&str, &Path),
    needs: &mut Needs,
) -> Result<()> {
    let lines = Lines {
        name: entry.name.clone(),
        module: module.into(),
        agent_conf: folder.join("config/agent.conf"),
        include: folder.join("config/nginx.conf"),
    };
    let text = match fs::read_to_string(&lines.include) {
        Err(e) if e.kind() == ErrorKind::NotFound => return Ok(()),
        text => text.with_context(|| format!("{}", lines.include.display()))?,
    };
    if text == nginx::switched_on(&lines.agent_conf) {
        needs.add(
            Step::replace(
                &lines.include,
                &text,
                &nginx::include(&entry.conf, conf, &lines),
            ),
            format!("{}: client_max_body_size", lines.include.display()),
        );
    }
    Ok(())
}

/// Our lines that load the module, where they load another file than the one of this installation.
fn module_lines(entry: &Entry, receipt: &Receipt, module: &Path, needs: &mut Needs) -> Result<()> {
    let edited = receipt.edited.iter().map(|(path, _)| path);
    for path in edited.chain(&receipt.made) {
        let text = match fs::symlink_metadata(path) {
            Ok(there) if there.is_file() => fs::read_to_string(path),
            // Links lead to files that are in the receipt, too.
            Ok(_) => continue,
            Err(e) => Err(e),
        };
        let text = match text {
            Err(e) if e.kind() == ErrorKind::NotFound => continue,
            text => text.with_context(|| format!("cannot read {}", path.display()))?,
        };
        let (now, before) = loading(entry, &text, module);
        if let Some(before) = before {
            needs.module = true;
            needs.add(
                Step::replace(path, &text, &now),
                format!(
                    "{}: loads {} (before: {})",
                    path.display(),
                    module.display(),
                    before.display()
                ),
            );
        }
    }
    Ok(())
}

/// The text with this module in our lines, and the one that they load now, if that is another.
fn loading(entry: &Entry, text: &str, module: &Path) -> (String, Option<PathBuf>) {
    let (first, last) = (begin(&entry.name), end(&entry.name));
    let (mut inside, mut before) = (false, None);
    let mut now = String::with_capacity(text.len());
    for line in text.split_inclusive('\n') {
        let plain = line.trim();
        inside = (inside || plain == first) && plain != last;
        let other = loaded(entry.kind, plain).filter(|file| inside && !same(file, module));
        match other {
            None => now.push_str(line),
            Some(file) => {
                before = Some(file);
                now.push_str(&takeover::module_line(entry.kind, module));
                now.push('\n');
            }
        }
    }
    (now, before)
}

/// The file that a line of ours loads.
fn loaded(kind: Kind, line: &str) -> Option<PathBuf> {
    let file = match kind {
        Kind::Httpd => line
            .strip_prefix("LoadModule amagent_module \"")?
            .strip_suffix('"'),
        Kind::Nginx => line.strip_prefix("load_module ")?.strip_suffix(';'),
    };
    file.map(PathBuf::from)
}

/// Two names of one file: packages have a link to it.
fn same(one: &Path, other: &Path) -> bool {
    let real = |path: &Path| fs::canonicalize(path).unwrap_or_else(|_| path.into());
    one == other || real(one) == real(other)
}

/// The receipt of an instance from before there were any: its lines are in the one file, and beside it is a copy from
/// before, which has the same text but for them.
fn made_up(entry: &Entry, text: &str) -> Result<Receipt> {
    if !text.contains(&begin(&entry.name)) {
        return Ok(Receipt::default());
    }
    let conf = fs::canonicalize(&entry.conf)?;
    let without = without_marked(text, Some(&entry.name));
    let name = conf.file_name().unwrap_or_default().to_string_lossy();
    let begins = format!("{name}_amagent_");
    let beside = fs::read_dir(conf.parent().context("a folder")?)?.flatten();
    let copies = beside.filter(|f| f.file_name().to_string_lossy().starts_with(&begins));
    let same = copies.map(|f| f.path()).filter(|copy| {
        let kept = fs::read_to_string(copy).unwrap_or_default();
        // A last line without an end got one.
        kept == without || without.strip_suffix('\n') == Some(&kept)
    });
    // Their names end with the time that they were made at.
    let copy = same.max().unwrap_or_default();
    Ok(Receipt {
        edited: vec![(conf, copy)],
        made: Vec::new(),
    })
}

/// What runs with the instance, and what is to be done with it.
fn server(conf: &Path, installed: &str, module: bool, changed: bool) -> String {
    const ANEW: &str = "stop and start the web server: a reload keeps the module that is loaded";
    let hosts = match Running::all(conf) {
        Ok(hosts) => hosts,
        Err(Unread::NotRunning) => {
            return "running        no web server that this user may look into; start it"
                .to_owned();
        }
        Err(other) => return format!("running        {other}\n  {ANEW}"),
    };
    let (mut words, mut old) = (String::new(), module);
    for host in &hosts {
        let status = &host.status()["host"];
        let version = status["version"].as_str().unwrap_or("unknown");
        let replaced = status["module_replaced"] == true;
        old |= replaced || version != installed;
        let parents: Vec<String> = host.parents().iter().map(u32::to_string).collect();
        let since = if replaced {
            "; its file was replaced since"
        } else {
            ""
        };
        words.push_str(&format!(
            "running        version {version}, process {}{since}\n  ",
            parents.join(", ")
        ));
    }
    words.push_str(match (old, changed) {
        (true, _) => ANEW,
        (false, true) => "reload the web server",
        (false, false) => "the web server can go on",
    });
    words
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    const AGENT_CONF: &str = "\
com.sun.identity.agents.config.username = wa1
com.sun.identity.agents.config.naming.url = https://am.example.com:443/am/
# of the operator
";

    fn mode(path: &Path, mode: u32) {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    }

    /// What agentadmin left before there were plans: one edited file with a copy, no receipt, no folder for POSTs.
    fn older(root: &Path, kind: Kind, bare: &str) -> (Home, Entry) {
        let home = Home::at(root);
        let folder = home.instance("agent_1");
        for name in ["config", "logs/debug", "logs/audit"] {
            fs::create_dir_all(folder.join(name)).unwrap();
        }
        fs::create_dir(root.join("lib")).unwrap();
        fs::write(home.module_file(kind), "Portcullis/0.1.0\0").unwrap();
        let config = folder.join("config");
        for (name, text) in [
            ("agent.conf", AGENT_CONF),
            ("agent-key.conf", "a = b\n"),
            ("agent-password.conf", "c = d\n"),
        ] {
            fs::write(config.join(name), text).unwrap();
            mode(&config.join(name), 0o644);
        }
        let (begin, end) = (begin("agent_1"), end("agent_1"));
        let (conf, with) = match kind {
            Kind::Httpd => (
                root.join("httpd.conf"),
                format!(
                    "{bare}{begin}\nLoadModule amagent_module \"/gone/mod_portcullis.so\"\nAmAgent On\n\
                     AmAgentConf \"{}\"\n{end}\n",
                    config.join("agent.conf").display()
                ),
            ),
            Kind::Nginx => {
                let include = config.join("nginx.conf");
                fs::write(&include, nginx::switched_on(&config.join("agent.conf"))).unwrap();
                let text = bare.replace(
                    "http {\n",
                    &format!("http {{\n{begin}\ninclude {};\n{end}\n", include.display()),
                );
                let module = "/gone/ngx_http_portcullis_module.so";
                (
                    root.join("nginx.conf"),
                    format!("{begin}\nload_module {module};\n{end}\n{text}"),
                )
            }
        };
        fs::write(&conf, with).unwrap();
        for (number, text) in [(1_700_000_000, bare), (1_700_000_001, "another\n")] {
            fs::write(format!("{}_amagent_{number}", conf.display()), text).unwrap();
        }
        let entry = Entry {
            name: "agent_1".into(),
            kind,
            conf,
            agent: "http://www.example.com:80".into(),
        };
        home.write_entries(std::slice::from_ref(&entry)).unwrap();
        (home, entry)
    }

    #[test]
    fn what_an_older_one_left_becomes_what_this_one_writes_and_then_there_is_nothing_to_do() {
        for (kind, bare, count) in [
            (Kind::Httpd, "Listen 80\n", 5),
            (Kind::Nginx, "events {}\nhttp {\n server {}\n}\n", 6),
        ] {
            let root = tempfile::tempdir().unwrap();
            let (home, entry) = older(root.path(), kind, bare);
            let (folder, module) = (home.instance("agent_1"), home.module_file(kind));
            let found = needs(&folder, &entry, &module).unwrap();
            assert!(found.module);
            assert_eq!(found.said.len(), count, "{:?}", found.said);
            let work = Work::begin(&home.instances()).unwrap();
            let what = "upgrading agent_1".to_owned();
            let steps = found.steps;
            work.carry_out(Plan { what, steps }).unwrap();
            let now = fs::read_to_string(&entry.conf).unwrap();
            assert!(now.contains(&takeover::module_line(kind, &module)), "{now}");
            assert_eq!(without_marked(&now, Some("agent_1")), bare);
            let agent_conf = fs::read_to_string(folder.join("config/agent.conf")).unwrap();
            assert_eq!(agent_conf, AGENT_CONF);
            for (name, wanted) in [
                ("config/agent-key.conf", 0o600),
                ("config/agent-password.conf", 0o600),
                ("pdp-cache", 0o700),
            ] {
                let there = fs::metadata(folder.join(name)).unwrap();
                assert_eq!(there.mode() & 0o777, wanted, "{name}");
            }
            let receipt = Receipt::read(&folder, Path::new("/nonexistent")).unwrap();
            let copy = format!("{}_amagent_1700000000", entry.conf.display());
            assert_eq!(receipt.edited, [(entry.conf.clone(), copy.into())]);
            if kind == Kind::Nginx {
                let include = fs::read_to_string(folder.join("config/nginx.conf")).unwrap();
                assert!(include.contains("client_max_body_size 10m;"), "{include}");
            }
            let again = needs(&folder, &entry, &module).unwrap();
            assert!(again.steps.is_empty(), "{:?}", again.said);
        }
    }

    #[test]
    fn what_somebody_has_written_or_linked_stays() {
        let root = tempfile::tempdir().unwrap();
        let (home, entry) = older(root.path(), Kind::Httpd, "Listen 80\n");
        let module = home.module_file(Kind::Httpd);
        let link = root.path().join("mod_portcullis.so");
        std::os::unix::fs::symlink(&module, &link).unwrap();
        let (first, last) = (begin("agent_1"), end("agent_1"));
        let text = format!(
            "LoadModule amagent_module \"/theirs/mod_portcullis.so\"\n{first}\n\
             LoadModule amagent_module \"{}\"\n{last}\n",
            link.display()
        );
        assert_eq!(loading(&entry, &text, &module), (text.clone(), None));
        // A file of theirs in the place of ours, and a folder of theirs behind a link.
        let folder = home.instance("agent_1");
        let elsewhere = root.path().join("logs");
        fs::rename(folder.join("logs/audit"), &elsewhere).unwrap();
        mode(&elsewhere, 0o777);
        std::os::unix::fs::symlink(&elsewhere, folder.join("logs/audit")).unwrap();
        let found = needs(&folder, &entry, &module).unwrap();
        let said = found.said.join("\n");
        assert!(!said.contains("logs"), "{said}");
        let broken = import::check("com.sun.identity.agents.config.naming.url = nonsense\n");
        assert!(broken.unwrap_err().to_string().contains("would not start"));
    }

    #[test]
    fn workers_get_what_they_lack_and_all_else_stays() {
        let worker = Worker {
            user: 33,
            group: 34,
        };
        let new = (0o750, Some((0, 34)));
        let rights = |mode, user, group| Rights {
            mode,
            owner: (user, group),
        };
        for (bits, before, now) in [
            // Before workers read agent.conf nobody else could enter the folder.
            (0o5, rights(0o750, 0, 0), rights(0o750, 0, 34)),
            (0o5, rights(0o710, 0, 34), rights(0o750, 0, 34)),
            // They may by another way.
            (0o5, rights(0o755, 0, 0), rights(0o755, 0, 0)),
            (0o7, rights(0o700, 33, 4), rights(0o700, 33, 4)),
            (0o7, rights(0o775, 0, 34), rights(0o775, 0, 34)),
            // Nobody else is to write.
            (0o7, rights(0o777, 33, 4), rights(0o775, 33, 4)),
            (0o7, rights(0o1777, 33, 4), rights(0o1777, 33, 4)),
            // The class of the owner counts, whatever others may.
            (0o4, rights(0o077, 33, 4), rights(0o750, 0, 34)),
        ] {
            assert_eq!(
                wanted(before, Some((worker, bits)), new, 0o002),
                now,
                "{before:?}"
            );
        }
        let private = wanted(rights(0o640, 7, 8), None, (0o600, None), 0o077);
        assert_eq!(private, rights(0o600, 7, 8));
    }
}

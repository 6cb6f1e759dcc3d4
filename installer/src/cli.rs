//! What can be asked of `agentadmin`; the options are those of the Web Agent 2024.3.

use std::{path::PathBuf, process::ExitCode};

use anyhow::{Context, Result, bail, ensure};
use clap::{ArgGroup, Parser, Subcommand};

use crate::{
    debug, doctor, drill, explain, flush,
    home::Home,
    install::{self, Import, Password, Request},
    instance::Instance,
    migrate, pages, password, plan, remove, rotate, secrets, status, trace, version,
};

const EXAMPLES: &str = "\
Examples:
  agentadmin --s /etc/nginx/nginx.conf https://am.example.com:8443/openam \\
      https://www.example.com:443 / wa1 /etc/wa1.password --changeOwner
  agentadmin --i
  agentadmin --takeover /etc/httpd/conf/httpd.conf /etc/wa1.password
  agentadmin --l
  agentadmin --upgrade --all
  agentadmin --r agent_1
  agentadmin --p agent-key.conf /etc/wa1.password
  agentadmin --p agent-key.conf env:AM_AGENT_PASSWORD
  agentadmin --p agent-key.conf credential:wa1
  agentadmin --k --rotate agent_1
  systemd-ask-password | agentadmin --p agent-key.conf -
  agentadmin explain --conf agent_1 --human requests.jsonl
  agentadmin doctor agent_1
  agentadmin --V agent_1 demo /etc/demo.password /
  agentadmin explain 7Q2W0H5M3R9T1B4C
  agentadmin status
  agentadmin drill am-down
  agentadmin debug 192.0.2.7 --minutes 10
  agentadmin flush --all agent_1
  agentadmin rules agent_1
  agentadmin trace --last 20

Where a PASSWORD-FILE is named, it may also be - for standard input, env:NAME for a variable of the environment, and
credential:NAME for a credential of systemd. A file has mode 0600 or 0400, a mounted one too.

Environment:
  PORTCULLIS_HOME     folder of the instances (default: the folder above the one of this program;
                      installed from packages: /var/lib/portcullis)
  PORTCULLIS_MODULES  folder of the modules (default: lib in it; packages: /usr/lib/portcullis)
  AM_NET_TIMEOUT      seconds that AM may take to answer (default: 4)";

/// Installs the Portcullis Web Agent and looks after its instances.
#[derive(Parser)]
#[command(name = "agentadmin", disable_version_flag = true, after_help = EXAMPLES)]
#[command(group(ArgGroup::new("action").required(true)))]
#[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
#[command(disable_help_subcommand = true)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    command: Option<Command>,

    /// Install without questions: web server configuration, AM URL, agent URL, realm, agent profile
    /// name, file with its password
    #[arg(
        long = "s",
        group = "action",
        num_args = 6,
        value_names = ["CONF", "AM-URL", "AGENT-URL", "REALM", "AGENT-ID", "PASSWORD-FILE"]
    )]
    silent: Option<Vec<String>>,

    /// Install with questions
    #[arg(long = "i", group = "action")]
    interactive: bool,

    /// Take the place of a Web Agent: web server configuration or the agent's folder, file with the password
    #[arg(long = "takeover", group = "action", num_args = 2, value_names = ["PLACE", "PASSWORD-FILE"])]
    takeover: Option<Vec<PathBuf>>,

    /// Put the Web Agent back whose place an instance has taken
    #[arg(long = "rollback", group = "action", value_name = "AGENT")]
    rollback: Option<String>,

    /// After program and modules were replaced: what an older agentadmin wrote for this instance becomes what
    /// this one writes, and whether the web server must be stopped and started is said
    #[arg(long = "upgrade", group = "action", num_args = 0..=1, value_name = "AGENT")]
    upgrade: Option<Option<PathBuf>>,

    /// With --upgrade: every instance
    #[arg(long = "all", requires = "upgrade")]
    all: bool,

    /// List the instances
    #[arg(long = "l", group = "action")]
    list: bool,

    /// Remove an instance; asks first, `echo yes |` answers
    #[arg(long = "r", group = "action", value_name = "AGENT")]
    remove: Option<String>,

    /// Print a new key for agent-key.conf
    #[arg(long = "k", group = "action")]
    key: bool,

    /// With --k: give this instance a new key, and encrypt its passwords with it
    #[arg(long = "rotate", requires = "key", value_name = "AGENT")]
    rotate: Option<PathBuf>,

    /// With --rotate: hours that cookies of the old key go on to count; 0 where others may know it
    #[arg(
        long = "old-key-hours",
        requires = "rotate",
        value_name = "HOURS",
        default_value_t = 24
    )]
    old_key_hours: u32,

    /// Examine an instance as the Web Agent does, with a user where sessions are to be looked at:
    /// instance, user, file with the password, realm; exit code 3 when something is not ok
    #[arg(long = "V", group = "action", num_args = 1..=4, value_names = ["AGENT", "USER", "PASSWORD-FILE", "REALM"])]
    validate: Option<Vec<String>>,

    /// The same, and start and end a worker: no web server may run with the instance
    #[arg(long = "Vi", group = "action", num_args = 1..=4, value_names = ["AGENT", "USER", "PASSWORD-FILE", "REALM"])]
    validate_worker: Option<Vec<String>>,

    /// Encrypt a password for agent-password.conf: file with the key, file with the password; - reads the
    /// password from standard input, and - - the key's line and the password's
    #[arg(
        long = "p",
        group = "action",
        num_args = 2,
        allow_hyphen_values = true,
        value_names = ["KEY-FILE", "PASSWORD-FILE"]
    )]
    password: Option<Vec<String>>,

    /// Print the version of this program and of the modules beside it
    #[arg(long = "v", group = "action")]
    version: bool,

    /// With --s: give the log folders to the user that the web server's workers run as
    #[arg(long = "changeOwner", requires = "silent")]
    change_owner: bool,

    /// With --s: take over an agent.conf of another agent; where an argument is `-`, that file says it
    #[arg(long = "import", requires = "silent", value_name = "FILE")]
    import: Option<PathBuf>,

    /// With --s or --takeover: don't ask AM whether name and password are right
    #[arg(long = "forceInstall")]
    force: bool,

    /// With --s: show what the web server's configuration needs, and leave it alone
    #[arg(long = "print", requires = "silent")]
    print: bool,
}

/// What is not an option, because the Web Agent does not have it.
#[derive(Subcommand)]
enum Command {
    Debug(debug::Options),
    Doctor(doctor::Options),
    Drill(drill::Options),
    Explain(explain::Options),
    Flush(flush::Options),
    Rules(explain::check::Options),
    Status(status::Options),
    Migrate(migrate::Options),
    Trace(trace::Options),
    Man(pages::ManOptions),
    Completion(pages::CompletionOptions),
}

/// Does what was asked.
pub(crate) fn run(arguments: Arguments) -> Result<ExitCode> {
    match &arguments.command {
        Some(Command::Doctor(options)) => return doctor::run(options),
        Some(Command::Debug(options)) => return debug::run(options),
        Some(Command::Drill(options)) => return drill::run(options),
        Some(Command::Explain(options)) => return explain::run(options),
        Some(Command::Flush(options)) => return flush::run(options),
        Some(Command::Rules(options)) => return explain::check::run(options),
        Some(Command::Status(options)) => return status::run(options),
        Some(Command::Migrate(options)) => return migrate::run(options),
        Some(Command::Trace(options)) => return trace::run(options),
        Some(Command::Man(options)) => return pages::man(options),
        Some(Command::Completion(options)) => return pages::completion(options),
        None => {}
    }
    if let Some(given) = &arguments.validate {
        return doctor::validate(given, false);
    }
    if let Some(given) = &arguments.validate_worker {
        return doctor::validate(given, true);
    }
    password::out_of_environment(arguments.password_place())?;
    options(&arguments).map(|()| ExitCode::SUCCESS)
}

impl Arguments {
    /// Where an option says that the agent's password is.
    fn password_place(&self) -> Option<&str> {
        if let Some([.., place]) = self.silent.as_deref() {
            return Some(place);
        }
        if let Some([_, place]) = self.takeover.as_deref() {
            return place.to_str();
        }
        match self.password.as_deref() {
            // A key from standard input needs the password from there.
            Some([key, place]) if key != "-" => Some(place),
            _ => None,
        }
    }
}

/// Does what an option asks for.
fn options(arguments: &Arguments) -> Result<()> {
    if arguments.version {
        print!("{}", version::text(&Home::find()?));
        return Ok(());
    }
    if let Some(named) = &arguments.rotate {
        plan::repair(&Home::find()?.instances())?;
        return rotate::rotate(&Instance::find(Some(named))?, arguments.old_key_hours);
    }
    if arguments.key {
        println!(
            "Encryption key value: {}",
            secrets::new_key_text()?.as_str()
        );
        return Ok(());
    }
    if let Some([key, password]) = arguments.password.as_deref() {
        println!(
            "Encrypted password value: {}",
            password::encrypt(key, password)?
        );
        return Ok(());
    }
    let home = Home::find()?;
    if arguments.list {
        // Who may only read sees the list all the same.
        if let Err(error) = plan::repair(&home.instances()) {
            eprintln!("agentadmin: {error:#}");
        }
        return home.list();
    }
    if let Some(name) = &arguments.remove {
        return remove::remove(&home, name);
    }
    if let Some(name) = &arguments.rollback {
        return install::rollback(&home, name);
    }
    if let Some(named) = &arguments.upgrade {
        ensure!(
            named.is_some() != arguments.all,
            "--upgrade takes an instance, or --all"
        );
        return install::upgrade(&home, named.as_deref());
    }
    if let Some([place, password]) = arguments.takeover.as_deref() {
        return install::takeover(&home, place, password, arguments.force);
    }
    if arguments.interactive {
        return install::interactive(&home);
    }
    match arguments.silent.as_deref() {
        Some([conf, rest @ ..]) => install::install(&home, silent(arguments, conf, rest)?),
        _ => bail!("nothing to do; see agentadmin --help"),
    }
}

/// What `--s` asks for. With an imported file `-` means what that one says.
fn silent(arguments: &Arguments, conf: &str, rest: &[String]) -> Result<Request> {
    let import = arguments.import.as_deref().map(Import::read).transpose()?;
    let [am, agent, realm, name, password] = rest else {
        bail!("--s takes six arguments");
    };
    let said = |text: &str, what: &str, imported: Option<String>| match (&import, text) {
        (Some(import), "-") => {
            let file = import.path().display();
            imported.with_context(|| format!("{file} does not say the {what}; name it"))
        }
        _ => Ok(text.to_owned()),
    };
    let from = |get: fn(&Import) -> Option<&str>| {
        let import = import.as_ref();
        import.and_then(get).map(str::to_owned)
    };
    let request = Request {
        conf: conf.into(),
        am: said(am, "URL of AM", from(Import::am))?,
        agent: said(agent, "agent URL", import.as_ref().and_then(Import::agent))?,
        realm: said(realm, "realm", from(Import::realm))?,
        name: said(name, "agent profile name", from(Import::name))?,
        password: Password::File(password.into()),
        change_owner: arguments.change_owner,
        force: arguments.force,
        print: arguments.print,
        takeover: false,
        import: None,
    };
    Ok(Request { import, ..request })
}

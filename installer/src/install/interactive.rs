//! What is asked when somebody installs by hand: the Web Agent's questions in its order. Must not change anything;
//! what comes out is what `--s` would have been given.

use std::{
    fs,
    io::{self, BufRead, Write},
    net::{TcpStream, ToSocketAddrs},
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context, Result, bail};
use portcullis_engine::token::Secret;

use super::{Password, Request, address::url, import::Import};
use crate::{
    home::Home,
    plan, secrets,
    server::{Kind, Lines},
    terminal,
};

/// `--i`.
///
/// # Errors
/// As for the silent installation.
pub(crate) fn install(home: &Home) -> Result<()> {
    // What a killed run has left would be in the way of the first answer.
    plan::repair(&home.instances())?;
    let mut dialogue = Dialogue {
        input: &mut io::stdin().lock(),
        output: &mut io::stdout(),
        root: rustix::process::geteuid().is_root(),
        typed: terminal::is_typed(),
    };
    match dialogue.ask()? {
        Some(request) => super::install(home, request),
        None => bail!("left; nothing was changed"),
    }
}

/// Where the configuration of a server usually is; the first that is there is offered.
const USUAL: [&str; 4] = [
    "/etc/apache2/apache2.conf",
    "/etc/httpd/conf/httpd.conf",
    "/etc/nginx/nginx.conf",
    "/usr/local/nginx/conf/nginx.conf",
];
/// Offered where none of them is: the Web Agent's.
const ELSEWHERE: &str = "/opt/apache/conf/httpd.conf";

/// How long it may take to find out whether something listens.
const KNOCK: Duration = Duration::from_secs(2);

/// Somebody who answers, line by line.
pub(crate) struct Dialogue<'io> {
    /// Where the answers come from.
    pub(crate) input: &'io mut dyn BufRead,
    /// Where the questions go.
    pub(crate) output: &'io mut dyn Write,
    /// Whether files can be given away.
    pub(crate) root: bool,
    /// Whether the answers are typed at a terminal, which shows them.
    pub(crate) typed: bool,
}

/// What was answered; in the next round these are the defaults.
#[derive(Default)]
struct Answers {
    conf: String,
    change_owner: bool,
    import: String,
    am: String,
    agent: String,
    name: String,
    realm: String,
    password_file: String,
    /// Where it is asked for.
    password: Option<Secret>,
}

/// In place of the file: the password is asked for.
const ASK: &str = "-";

/// An answer, unless it is that one has had enough.
type Answer<T> = Result<Option<T>>;

/// Gives up on `None`.
macro_rules! or_leave {
    ($answer:expr) => {
        match $answer? {
            Some(value) => value,
            None => return Ok(None),
        }
    };
}

impl Dialogue<'_> {
    /// Asks everything until the summary is confirmed. `None`: it was left by `q`, or nobody answers any more.
    ///
    /// # Errors
    /// Input or output failed.
    pub(crate) fn ask(&mut self) -> Answer<Request> {
        self.say("\nInstalls the Portcullis Web Agent. q leaves at any question; nothing is changed before the summary is confirmed.\n\n")?;
        let usual = USUAL.iter().find(|path| Path::new(path).exists());
        let mut answers = Answers {
            conf: usual.copied().unwrap_or(ELSEWHERE).into(),
            realm: "/".into(),
            ..Answers::default()
        };
        loop {
            let import = or_leave!(self.questions(&mut answers));
            self.summary(&answers)?;
            if or_leave!(self.yes("Confirm configuration", false)) {
                let password = match (answers.password, answers.password_file.as_str()) {
                    (Some(password), _) => Password::Typed(password),
                    (None, "") => Password::Imported,
                    (None, file) => Password::File(file.into()),
                };
                return Ok(Some(Request {
                    conf: answers.conf.into(),
                    am: answers.am,
                    agent: answers.agent,
                    realm: answers.realm,
                    name: answers.name,
                    password,
                    import,
                    change_owner: answers.change_owner,
                    force: false,
                    print: false,
                    takeover: false,
                }));
            }
        }
    }

    fn questions(&mut self, answers: &mut Answers) -> Answer<Option<Import>> {
        let conf = or_leave!(self.until(
            "Enter the complete path to the httpd.conf, apache2.conf or nginx.conf file",
            &answers.conf,
            |path| {
                let text =
                    fs::read_to_string(path).with_context(|| format!("cannot read {path}"))?;
                possible(path, &text)?;
                Ok((path.to_owned(), text))
            }
        ));
        answers.conf = conf.0;
        let kind = Kind::of(&conf.1);
        let worker = kind
            .worker(Path::new(&answers.conf), &conf.1)
            .filter(|_| self.root);
        answers.change_owner = match (worker, kind) {
            (None, _) => false,
            (Some((user, group)), Kind::Nginx) => {
                self.say(&format!("The log folders will belong to {user}:{group}, as whom nginx works.\n\n"))?;
                true
            }
            (Some((user, group)), Kind::Httpd) => or_leave!(self.yes(
                &format!("Change ownership of created directories using User and Group settings in httpd.conf ({user}:{group})"),
                answers.change_owner
            )),
        };
        let import = or_leave!(self.until(
            "To set properties from an existing configuration enter path to file (empty: none)",
            &answers.import,
            |path| match path {
                "" => Ok(None),
                path => Import::read(Path::new(path)).map(Some),
            }
        ));
        answers.import = import
            .as_ref()
            .map(|i| i.path().display().to_string())
            .unwrap_or_default();
        or_leave!(self.addresses(answers, import.as_ref()));
        if let Some(name) = import.as_ref().and_then(Import::name) {
            answers.name = name.into();
        } else {
            answers.name = or_leave!(self.until(
                "Enter the Agent profile name (Agent ID)",
                &answers.name,
                |text| {
                    match text {
                        "" => bail!("there has to be a name"),
                        text => Ok(text.to_owned()),
                    }
                }
            ));
        }
        if let Some(realm) = import.as_ref().and_then(Import::realm) {
            answers.realm = realm.into();
        } else {
            answers.realm = or_leave!(self.until(
                "Enter the Agent realm; upper and lower case count",
                &answers.realm,
                |text| match text.starts_with('/') {
                    true => Ok(text.to_owned()),
                    false => bail!("a realm begins with a slash"),
                }
            ));
        }
        let readable = import
            .as_ref()
            .is_some_and(|i| i.passwords().contains_key(secrets::PASSWORD));
        let question = match readable {
            true => {
                "Enter the path to the password file (empty: the imported password; -: type it)"
            }
            false => "Enter the path to the password file (-: type it)",
        };
        answers.password_file =
            or_leave!(
                self.until(question, &answers.password_file, |path| match path {
                    "" if readable => Ok(String::new()),
                    "" => bail!("a file with the agent's password on its first line; mode 600"),
                    ASK => Ok(ASK.to_owned()),
                    path => secrets::read_password(Path::new(path)).map(|_| path.to_owned()),
                })
            );
        answers.password = match answers.password_file.as_str() {
            ASK => Some(or_leave!(self.password())),
            _ => None,
        };
        Ok(Some(import))
    }

    /// The password itself, which nobody sees.
    fn password(&mut self) -> Answer<Secret> {
        loop {
            let (input, output) = (&mut *self.input, &mut *self.output);
            let ask = || {
                output.write_all(b"Password: ")?;
                output.flush()
            };
            let line = or_leave!(
                terminal::hidden_line(input, self.typed, ask).context("cannot read the password")
            );
            self.say("\n")?;
            match secrets::password(&line) {
                Ok(password) => return Ok(Some(password)),
                Err(error) => self.say(&format!("{error:#}\n\n"))?,
            }
        }
    }

    fn addresses(&mut self, answers: &mut Answers, import: Option<&Import>) -> Answer<()> {
        match import.and_then(Import::am) {
            Some(am) => answers.am = am.into(),
            None => loop {
                answers.am = or_leave!(self.until(
                    "Enter the URL of AM with its path, such as https://am.example.com:8443/openam",
                    &answers.am,
                    |text| url(text).map(|_| text.to_owned())
                ));
                if std::env::var_os("AM_PROXY_HOST").is_some() || listens(&answers.am) {
                    break;
                }
                let question = format!("Nothing answers at {}. Go on with it", answers.am);
                if or_leave!(self.yes(&question, false)) {
                    break;
                }
            },
        }
        match import.and_then(Import::agent) {
            Some(agent) => answers.agent = agent,
            None => {
                answers.agent = or_leave!(self.until(
                    "Enter the URL of the web server, such as https://www.example.com:443",
                    &answers.agent,
                    |text| match url(text)?.path.is_empty() {
                        true => Ok(text.to_owned()),
                        false => bail!("without a path"),
                    }
                ));
            }
        }
        if listens(&answers.agent) {
            self.say("Something answers there already: stop the web server before the agent is loaded.\n\n")?;
        }
        Ok(Some(()))
    }

    fn summary(&mut self, answers: &Answers) -> Result<()> {
        let owner = if answers.change_owner { "yes" } else { "no" };
        let import = if answers.import.is_empty() {
            "none"
        } else {
            &answers.import
        };
        let password = match answers.password_file.as_str() {
            "" => "the imported password",
            ASK => "none: typed",
            file => file,
        };
        self.say(&format!(
            "Installation parameters:\n\n  Web server configuration: {}\n  Change ownership:         {owner}\n  \
             Imported configuration:   {import}\n  AM URL:                   {}\n  Agent URL:                {}\n  \
             Agent profile name:       {}\n  Agent realm:              {}\n  Password file:            {password}\n\n",
            answers.conf, answers.am, answers.agent, answers.name, answers.realm
        ))
    }

    /// Asks until the answer is one.
    fn until<T>(
        &mut self,
        question: &str,
        default: &str,
        read: impl Fn(&str) -> Result<T>,
    ) -> Answer<T> {
        loop {
            self.say(&format!("{question}\n[ q to leave ]: [{default}]: "))?;
            let text = or_leave!(self.line());
            let text = if text.is_empty() { default } else { &text };
            self.say("\n")?;
            match read(text) {
                Ok(value) => return Ok(Some(value)),
                Err(error) => self.say(&format!("{error:#}\n\n"))?,
            }
        }
    }

    fn yes(&mut self, question: &str, default: bool) -> Answer<bool> {
        let shown = if default { "yes" } else { "no" };
        loop {
            self.say(&format!("{question} (yes/no): [{shown}]: "))?;
            let text = or_leave!(self.line());
            self.say("\n")?;
            match text.to_ascii_lowercase().as_str() {
                "" => return Ok(Some(default)),
                "yes" | "y" => return Ok(Some(true)),
                "no" | "n" => return Ok(Some(false)),
                _ => self.say("yes or no, please.\n")?,
            }
        }
    }

    /// The next answer; `None` for `q` and at the end of the input.
    fn line(&mut self) -> Answer<String> {
        let mut text = String::new();
        if self.input.read_line(&mut text)? == 0 {
            self.say("\n")?;
            return Ok(None);
        }
        let text = text.trim().to_owned();
        Ok(Some(text).filter(|text| text != "q"))
    }

    fn say(&mut self, text: &str) -> Result<()> {
        self.output.write_all(text.as_bytes())?;
        Ok(self.output.flush()?)
    }
}

/// Refuses a configuration that has an agent already, or no place for one, before more is asked.
fn possible(path: &str, text: &str) -> Result<()> {
    let lines = Lines {
        name: String::new(),
        module: PathBuf::new(),
        agent_conf: PathBuf::new(),
        include: PathBuf::new(),
    };
    let conf = std::path::absolute(path)?;
    Kind::of(text).changes(&conf, text, &lines).map(|_| ())
}

/// Whether something accepts connections at an address.
fn listens(text: &str) -> bool {
    let Ok(address) = url(text) else {
        return false;
    };
    let all = (address.host.as_str(), address.port).to_socket_addrs();
    let mut all = all.into_iter().flatten();
    all.any(|address| TcpStream::connect_timeout(&address, KNOCK).is_ok())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    /// A folder with a configuration and a password.
    fn folder() -> (tempfile::TempDir, PathBuf, PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let (conf, password) = (
            folder.path().join("httpd.conf"),
            folder.path().join("password"),
        );
        fs::write(&conf, "User www-data\nGroup www-data\n").unwrap();
        fs::write(&password, "a-Long-enough-pass-phrase\n").unwrap();
        fs::set_permissions(&password, fs::Permissions::from_mode(0o600)).unwrap();
        (folder, conf, password)
    }

    fn ask(answers: &[&str], root: bool) -> (Option<Request>, String) {
        let input = answers.iter().map(|a| format!("{a}\n")).collect::<String>();
        let mut output = Vec::new();
        let mut dialogue = Dialogue {
            input: &mut input.as_bytes(),
            output: &mut output,
            root,
            typed: false,
        };
        let request = dialogue.ask().unwrap();
        (request, String::from_utf8(output).unwrap())
    }

    /// An address at which nothing listens: the port is one that was free a moment ago.
    fn nowhere() -> String {
        let socket = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        format!("http://{}", socket.local_addr().unwrap())
    }

    #[test]
    fn the_questions_come_in_order_and_no_begins_again_with_what_was_said() {
        let (folder, conf, password) = folder();
        let (conf, password) = (conf.to_str().unwrap(), password.to_str().unwrap());
        let am = format!("{}/openam", nowhere());
        let site = nowhere();
        let loaded = folder.path().join("loaded.conf");
        fs::write(&loaded, "AmAgentConf /opt/agent.conf\n").unwrap();
        let loaded = loaded.to_str().unwrap();
        let first = [
            loaded, conf, "maybe", "yes", "", "nonsense", &am, "yes", &site, "wa1", "", password,
            "no",
        ];
        // Only the name is another one the second time.
        let second = ["", "", "", "", "yes", "", "wa2", "/people", "", "yes"];
        let all: Vec<&str> = first.into_iter().chain(second).collect();
        let (request, said) = ask(&all, true);
        let request = request.unwrap();
        assert_eq!(request.conf, Path::new(conf));
        assert_eq!(
            (request.am.as_str(), request.agent.as_str()),
            (am.as_str(), site.as_str())
        );
        assert_eq!(
            (request.name.as_str(), request.realm.as_str()),
            ("wa2", "/people")
        );
        assert!(request.change_owner && !request.force);
        assert!(matches!(&request.password, Password::File(file) if file == Path::new(password)));
        let order = [
            "httpd.conf",
            "Change ownership",
            "existing configuration",
            "URL of AM",
            "URL of the web server",
            "Agent ID",
            "realm",
            "password file",
            "Installation parameters",
            "Confirm configuration (yes/no): [no]:",
        ];
        let at: Vec<usize> = order
            .iter()
            .map(|text| said.find(text).unwrap_or_else(|| panic!("{text}: {said}")))
            .collect();
        assert!(at.is_sorted(), "{at:?}\n{said}");
        assert!(
            said.contains("remove it first")
                && said.contains("[wa1]:")
                && said.contains("yes or no, please"),
            "{said}"
        );
    }

    #[test]
    fn q_leaves_at_every_question() {
        let (_folder, conf, password) = folder();
        let (conf, password) = (conf.to_str().unwrap(), password.to_str().unwrap());
        let am = nowhere();
        let all = [conf, "no", "", &am, "yes", &am, "wa1", "/", password, "yes"];
        for count in 0..all.len() {
            let mut answers = all[..count].to_vec();
            assert!(
                ask(&answers, true).0.is_none(),
                "the end of the input after {count}"
            );
            answers.push("q");
            assert!(ask(&answers, true).0.is_none(), "q after {count}");
        }
        assert!(ask(&all, true).0.is_some());
        // Who is not root is not asked about ownership.
        let all: Vec<&str> = all
            .into_iter()
            .enumerate()
            .filter(|(at, _)| *at != 1)
            .map(|(_, a)| a)
            .collect();
        let (request, said) = ask(&all, false);
        assert!(request.is_some_and(|r| !r.change_owner) && !said.contains("Change ownership of"));
    }

    #[test]
    fn what_the_imported_file_says_is_not_asked() {
        let (folder, conf, password) = folder();
        let old = folder.path().join("agent.conf");
        fs::write(&old, "com.sun.identity.agents.config.naming.url = http://am.example.com:80/am\n\
            com.sun.identity.agents.config.username = wa7\ncom.sun.identity.agents.config.organization.name = /x\n").unwrap();
        let site = nowhere();
        let answers = [
            conf.to_str().unwrap(),
            old.to_str().unwrap(),
            &site,
            password.to_str().unwrap(),
            "yes",
        ];
        let (request, said) = ask(&answers, false);
        let request = request.unwrap_or_else(|| panic!("{said}"));
        assert_eq!(
            (request.name.as_str(), request.realm.as_str()),
            ("wa7", "/x")
        );
        assert_eq!(request.am, "http://am.example.com:80/am");
        assert!(request.import.is_some() && !said.contains("Agent ID"));
    }
}

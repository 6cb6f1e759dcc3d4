//! What of another login module's configuration can the agent take over, and what is left to do by hand?
//!
//! Reads the configuration of mod_auth_openidc or oauth2-proxy, writes an `agent.conf`, and says of every setting
//! what became of it. It must not guess: what has no exact counterpart is reported and not set, what weakens the
//! protection is said, and it changes nothing but the file that it was asked to write.

mod mod_auth_openidc;
mod nginx;
mod oauth2_proxy;

use std::{
    fs::{self, OpenOptions},
    io::Write,
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
    process::ExitCode,
};

use anyhow::{Context, Result};
use clap::{Args, Subcommand};
use portcullis_engine::config::{self, Properties, Source};

use crate::install::conf::{TEMPLATE, with_line};

const NAMING: &str = "com.sun.identity.agents.config.naming.url";
const REALM: &str = "com.sun.identity.agents.config.organization.name";
const AGENT_NAME: &str = "com.sun.identity.agents.config.username";
const PREFIX: &str = "com.sun.identity.agents.config.agenturi.prefix";
const ROOT: &str = "sunIdentityServerDeviceKeyValue";
const FQDN: &str = "com.sun.identity.agents.config.fqdn.default";
const LOCATION: &str = "com.sun.identity.agents.config.repository.location";
const CA_FILE: &str = "com.forgerock.agents.config.cert.ca.file";
const SSO_ONLY: &str = "com.sun.identity.agents.config.sso.only";
const COOKIE_DOMAIN: &str = "com.sun.identity.agents.config.cdsso.cookie.domain";
const COOKIE_SECURE: &str = "com.sun.identity.agents.config.cookie.secure";
const COOKIE_HTTPONLY: &str = "com.sun.identity.cookie.httponly";
const SAME_SITE: &str = "com.forgerock.agents.cdsso.cookie.samesite";
const PROFILE_MODE: &str = "com.sun.identity.agents.config.profile.attribute.fetch.mode";
const PROFILE_MAP: &str = "com.sun.identity.agents.config.profile.attribute.mapping";
const SESSION_MODE: &str = "com.sun.identity.agents.config.session.attribute.fetch.mode";
const SESSION_MAP: &str = "com.sun.identity.agents.config.session.attribute.mapping";

const EXAMPLES: &str = "\
Examples:
  agentadmin migrate mod_auth_openidc --to agent.conf /etc/apache2/sites-enabled/www.conf
  agentadmin migrate oauth2-proxy --to agent.conf /etc/oauth2-proxy.cfg --nginx /etc/nginx/nginx.conf

Exit code: 0 when agent.conf was written, 1 otherwise. What is left to do by hand is in the report; docs/migration.md.";

/// Write an agent.conf from the configuration of another login module, and report what became of each setting
#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Options {
    #[command(subcommand)]
    from: From,
}

#[derive(Subcommand)]
enum From {
    /// From the OIDC… and Require directives of httpd
    #[command(name = "mod_auth_openidc")]
    ModAuthOpenidc {
        /// Files with the directives; files that they include have to be named as well
        #[arg(required = true)]
        conf: Vec<PathBuf>,
        /// File to write; it must not exist
        #[arg(long, value_name = "FILE")]
        to: PathBuf,
    },
    /// From oauth2-proxy's configuration file, environment file, or a file with its command line
    #[command(name = "oauth2-proxy")]
    Oauth2Proxy {
        /// The file
        cfg: PathBuf,
        /// nginx's configuration with auth_request
        #[arg(long, value_name = "CONF")]
        nginx: Vec<PathBuf>,
        /// File to write; it must not exist
        #[arg(long, value_name = "FILE")]
        to: PathBuf,
    },
}

/// Does what was asked.
pub(crate) fn run(options: &Options) -> Result<ExitCode> {
    let mut found = Migration::default();
    let to = match &options.from {
        From::ModAuthOpenidc { conf, to } => {
            let mut all = mod_auth_openidc::Reader::default();
            for path in conf {
                all.file(&mut found, &named(path), &text(path)?);
            }
            all.finish(&mut found);
            to
        }
        From::Oauth2Proxy { cfg, nginx, to } => {
            oauth2_proxy::file(&mut found, &named(cfg), &text(cfg)?)?;
            for path in nginx {
                nginx::file(&mut found, &named(path), &text(path)?);
            }
            to
        }
    };
    let conf = found.agent_conf();
    let mut open = OpenOptions::new();
    let file = open.write(true).create_new(true).mode(0o640).open(to);
    file.and_then(|mut file| file.write_all(conf.as_bytes()))
        .with_context(|| format!("cannot write {}", to.display()))?;
    print!("{}", found.report());
    println!("\n{} is written. Nothing else was changed.", to.display());
    Ok(ExitCode::SUCCESS)
}

fn text(path: &Path) -> Result<String> {
    fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))
}

fn named(path: &Path) -> String {
    path.file_name()
        .unwrap_or(path.as_os_str())
        .to_string_lossy()
        .into_owned()
}

/// Where a setting stands: file, line, name.
#[derive(Clone)]
struct At {
    file: String,
    line: usize,
    name: String,
}

impl At {
    fn new(file: &str, line: usize, name: &str) -> At {
        At {
            file: file.to_owned(),
            line,
            name: name.to_owned(),
        }
    }
}

/// What was found out.
#[derive(Default)]
struct Migration {
    /// Properties with their values, in the order of what they were taken from.
    set: Vec<(At, String, String)>,
    /// What has no counterpart, and why.
    without: Vec<(At, String)>,
    /// What somebody has to do.
    by_hand: Vec<(At, String)>,
}

impl Migration {
    /// Sets a property. Of two values the first counts, and the other one is somebody's to decide.
    fn set(&mut self, at: &At, property: &str, value: &str) {
        if value.contains("${") || value.contains("%{") || value.chars().any(char::is_control) {
            let what = format!("the value is made up at run time: set {property} yourself");
            return self.by_hand(at, &what);
        }
        match self.value(property) {
            None => self
                .set
                .push((at.clone(), property.to_owned(), value.to_owned())),
            Some(known) if known == value => {}
            Some(known) => {
                let what = format!(
                    "{property} is {known} already: another value needs an agent.conf of its own, for its \
                     virtual host"
                );
                self.by_hand(at, &what);
            }
        }
    }

    /// Adds to a list.
    fn add(&mut self, at: &At, property: &str, method: Option<&str>, value: &str) {
        let begins = format!("{property}[");
        let number = self
            .set
            .iter()
            .filter(|(_, p, _)| p.starts_with(&begins))
            .count();
        let index = match method {
            Some(method) => format!("{method},{number}"),
            None => number.to_string(),
        };
        self.set(at, &format!("{property}[{index}]"), value);
    }

    fn without(&mut self, at: &At, why: &str) {
        self.without.push((at.clone(), why.to_owned()));
    }

    fn by_hand(&mut self, at: &At, what: &str) {
        self.by_hand.push((at.clone(), what.to_owned()));
    }

    fn value(&self, property: &str) -> Option<&str> {
        let mut all = self.set.iter();
        all.find(|(_, name, _)| name == property)
            .map(|(_, _, value)| value.as_str())
    }

    /// AM's URL and realm, out of an address of its OAuth 2.0 provider.
    fn am(&mut self, at: &At, address: &str) {
        let Some((am, realm)) = am_of(address) else {
            let what =
                "this is no address of an AM (…/oauth2…): the agent logs users in at AM only";
            return self.by_hand(at, what);
        };
        self.set(at, NAMING, &am);
        self.set(at, REALM, &realm);
    }

    /// The protected site, out of an address of its own.
    fn site(&mut self, at: &At, address: &str) {
        let Some((origin, host)) = origin_of(address) else {
            let what = format!("no scheme and host: set {ROOT}, {PREFIX} and {FQDN} yourself");
            return self.by_hand(at, &what);
        };
        self.set(
            at,
            &format!("{ROOT}[0]"),
            &format!("agentRootURL={origin}/"),
        );
        self.set(at, PREFIX, &format!("{origin}/amagent"));
        self.set(at, FQDN, &host);
    }

    /// A header for a value that stands in AM's profile of the user, or in the session.
    fn header(&mut self, at: &At, claim: &str, header: &str) {
        match claim {
            "user" | "sub" | "preferred_username" => {
                self.set(at, SESSION_MODE, "HTTP_HEADER");
                self.set(at, &format!("{SESSION_MAP}[UserToken]"), header);
            }
            _ => match attribute(claim) {
                Some(attribute) => {
                    self.set(at, PROFILE_MODE, "HTTP_HEADER");
                    self.set(at, &format!("{PROFILE_MAP}[{attribute}]"), header);
                }
                None => {
                    let what = format!(
                        "{header}: AM's own script knows no claim {claim}; name the attribute in {PROFILE_MAP}"
                    );
                    self.by_hand(at, &what);
                }
            },
        }
    }

    /// The file, from the template.
    fn agent_conf(&self) -> String {
        let mut conf = String::new();
        // Without a value the agent's own places for its files hold.
        for line in TEMPLATE.lines() {
            let word = line.rsplit_once(" = ").map_or("", |(_, word)| word);
            if word.starts_with("AM_") && !word.starts_with("AM_AGENT_") && word != "AM_OPENAM_URL"
            {
                conf.push('#');
            }
            conf.push_str(line);
            conf.push('\n');
        }
        conf = with_line(&conf, LOCATION, "local");
        for (_, property, value) in &self.set {
            conf = with_line(&conf, property, value);
        }
        conf
    }

    /// What became of each setting, and what the agent itself says of the result.
    fn report(&self) -> String {
        let mut out = String::from("Taken over\n");
        for (at, property, value) in &self.set {
            row(&mut out, at, &format!("{property} = {value}"));
        }
        out.push_str("\nWithout a counterpart\n");
        self.without
            .iter()
            .for_each(|(at, why)| row(&mut out, at, why));
        out.push_str("\nTo do by hand\n");
        self.by_hand
            .iter()
            .for_each(|(at, what)| row(&mut out, at, what));
        let agent = format!(
            "make a Web Agent profile in AM, and name it in {AGENT_NAME}; it replaces the OAuth 2.0 client"
        );
        row(&mut out, &At::new("AM", 0, "agent profile"), &agent);
        out.push_str("\nWhat the agent says of the file as it is\n");
        let source = Source::File("agent.conf".to_owned());
        let files = Properties::parse(&self.agent_conf(), source);
        let (typed, mut problems) = config::read(&files, None);
        problems.extend(config::mistakes(&typed, &files, &problems));
        if problems.is_empty() {
            out.push_str("  nothing\n");
        }
        problems
            .iter()
            .for_each(|problem| out.push_str(&format!("  {problem}\n")));
        out
    }
}

fn row(out: &mut String, at: &At, text: &str) {
    let place = match at.line {
        0 => at.file.clone(),
        line => format!("{}:{line}", at.file),
    };
    out.push_str(&format!("  {place} {}\n      {text}\n", at.name));
}

/// AM's attribute behind a standard claim, as the script has it that AM comes with.
fn attribute(claim: &str) -> Option<&'static str> {
    Some(match claim {
        "email" => "mail",
        "given_name" => "givenName",
        "family_name" => "sn",
        "name" => "cn",
        "phone_number" => "telephoneNumber",
        _ => return None,
    })
}

/// AM's URL and the realm, where the address is below `/oauth2` of an AM.
fn am_of(address: &str) -> Option<(String, String)> {
    let (address, query) = address.split_once('?').unwrap_or((address, ""));
    let (am, rest) = address.split_once("/oauth2")?;
    origin_of(am)?;
    if !(rest.is_empty() || rest.starts_with('/')) {
        return None;
    }
    let mut realm = String::new();
    let mut parts = rest.split('/').filter(|part| !part.is_empty());
    while let Some(part) = parts.next() {
        match part {
            ".well-known" | "authorize" | "access_token" | "userinfo" | "connect"
            | "introspect" => break,
            "realms" => match parts.next()? {
                "root" => {}
                name => realm.push_str(&format!("/{name}")),
            },
            name => realm.push_str(&format!("/{name}")),
        }
    }
    if let Some(named) = query
        .split('&')
        .find_map(|pair| pair.strip_prefix("realm="))
    {
        realm = format!("/{}", named.replace("%2F", "/").trim_matches('/'));
    }
    if realm.is_empty() {
        realm.push('/');
    }
    Some((format!("{}/", am.trim_end_matches('/')), realm))
}

/// Scheme, host and port of an address, the port always said, and the host.
fn origin_of(address: &str) -> Option<(String, String)> {
    let (scheme, rest) = address.split_once("://")?;
    let default = match scheme {
        "http" => "80",
        "https" => "443",
        _ => return None,
    };
    let authority = rest.split(['/', '?']).next()?;
    let (host, port) = authority.rsplit_once(':').unwrap_or((authority, default));
    let plain = |c: char| c.is_ascii_alphanumeric() || "-._".contains(c);
    let is_good = !host.is_empty() && host.chars().all(plain) && port.parse::<u16>().is_ok();
    is_good.then(|| (format!("{scheme}://{host}:{port}"), host.to_owned()))
}

#[cfg(test)]
mod tests;

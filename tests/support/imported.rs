//! What is on a machine where the Web Agent 2024.3 was installed, and which tests run on its files?
//!
//! Its `agent.conf` has every property that it knows (`tests/corpora/web-agent-2024.3.conf`, written from the property
//! table). With `PORTCULLIS_TEST_IMPORTED=1` every site imports such a file, with the test's own properties in it,
//! in place of one of this agent's. Must not know what a test is about: the few that mean nothing there are listed.

use std::{
    fs,
    io::Write,
    path::{Path, PathBuf},
};

use crate::{modules, server::Kind, site::Site};

/// Every property of the Web Agent 2024.3, in its notation, with the words of its template.
const FILE: &str = include_str!("../corpora/web-agent-2024.3.conf");

/// Set to `1`: sites run on imported files.
pub const VARIABLE: &str = "PORTCULLIS_TEST_IMPORTED";

/// Tests whose sites have this agent's own file all the same, and why. `make test-imported` prints them, and fails when
/// they are not exactly those that had one.
pub const PLAIN: &[(&str, &str)] = &[(
    "pages_are_the_operators_where_wished",
    "its file is one that the server refuses; the import refuses it before",
)];

/// Who an instance is: AM's URL, the site's, the realm and the agent's name.
pub type Names<'n> = [&'n str; 4];

/// The Web Agent's `agent.conf` as its installer leaves it, for an instance in this folder.
pub fn agent_conf([am, site, realm, agent]: Names<'_>, instance: &Path) -> String {
    let host = site.split("://").nth(1).unwrap_or_default();
    let host = host.split(':').next().unwrap_or_default();
    let file = |name: &str| instance.join(name).display().to_string();
    let mut text = FILE.to_owned();
    for (word, value) in [
        ("AM_OPENAM_URL", am.trim_end_matches('/')),
        ("AM_AGENT_URL", site),
        ("AM_AGENT_FQDN", host),
        ("AM_AGENT_REALM", realm),
        ("AM_AGENT_NAME", agent),
        ("AM_SSL_CA", ""),
        ("AM_PDP_TEMP_PATH", &file("pdp-cache")),
        ("AM_AUDIT_FILE_PATH", &file("logs/audit/audit.log")),
        ("AM_DEBUG_FILE_PATH", &file("logs/debug/debug.log")),
    ] {
        text = text.replace(word, value);
    }
    text
}

/// The file that the site of this test is to import, with these lines in it, if it is to import one.
pub(crate) fn begin(home: &Path, names: Names<'_>, lines: &[String]) -> Option<PathBuf> {
    if std::env::var_os(VARIABLE).is_none_or(|set| set != "1") {
        return None;
    }
    let test = test();
    let plain = PLAIN.iter().any(|(name, _)| *name == test);
    note(&test, plain);
    if plain {
        return None;
    }
    let instance = home.join("web_agents/agent/instances/agent_1/config");
    fs::create_dir_all(&instance).expect("folder");
    let file = instance.join("agent.conf");
    let text = with(&agent_conf(names, &instance), lines);
    fs::write(&file, text).expect("agent.conf");
    Some(file)
}

/// The name of the test that this thread runs, without that of the server; the thread has it from the test program.
fn test() -> String {
    let thread = std::thread::current();
    let name = thread.name().unwrap_or_default();
    let name = name
        .strip_suffix("::httpd")
        .or_else(|| name.strip_suffix("::nginx"))
        .unwrap_or(name);
    name.rsplit("::").next().unwrap_or_default().to_owned()
}

/// Where it is written which test had which file.
pub fn notes() -> PathBuf {
    modules::target().join("imported.txt")
}

fn note(test: &str, plain: bool) {
    let file = fs::OpenOptions::new()
        .append(true)
        .create(true)
        .open(notes());
    let line = format!("{} {test}\n", if plain { "plain" } else { "imported" });
    file.expect("notes")
        .write_all(line.as_bytes())
        .expect("notes");
}

/// The text with these lines in place of what it says of the same properties.
fn with(text: &str, lines: &[String]) -> String {
    let name = |line: &str| {
        line.split([' ', '=', '['])
            .next()
            .unwrap_or_default()
            .to_owned()
    };
    let mut left: Vec<&String> = lines.iter().collect();
    let mut all = String::new();
    for line in text.lines() {
        let theirs = name(line);
        if !lines.iter().any(|ours| name(ours) == theirs) {
            all += &format!("{line}\n");
            continue;
        }
        left.retain(|ours| {
            let same = name(ours) == theirs;
            if same {
                all += &format!("{ours}\n");
            }
            !same
        });
    }
    all.extend(left.iter().map(|ours| format!("{ours}\n")));
    all
}

/// The lines of a file that say something.
pub fn active(text: &str) -> impl Iterator<Item = &str> {
    let lines = text.lines().map(str::trim);
    lines.filter(|line| !line.is_empty() && !line.starts_with('#'))
}

/// Before 2024.3 the secrets stood in `agent.conf` itself. Neither form can be read by anybody else.
const SECRETS: [&str; 3] = [
    "com.sun.identity.agents.config.password = 7rQ0VdP1Zl5ZyB7mW5n8dT0f4sQ9k2hXv1mS3aJtq3s=",
    "com.sun.identity.agents.config.forward.proxy.password = nJ3mQvB0cVt1x1mO2yJk4g==",
    "com.forgerock.agents.config.cert.key.password =",
];
const KEY: &str = "com.sun.identity.agents.config.key = OTlkNTZlMjYtYjY4NC00Zg==";

/// A Web Agent in its own folder, and in the server's configuration.
pub struct WebAgent {
    /// Its folder, with everything of it.
    pub folder: PathBuf,
    /// Its one `agent.conf`.
    pub agent_conf: PathBuf,
}

impl WebAgent {
    /// Installs it as its own installer does, into the server of a site where no agent is: on httpd the release 2024.3;
    /// on nginx one from before, whose files were written on Windows and have grown since.
    ///
    /// # Panics
    /// When a file can't be written.
    pub fn install(site: &Site, at: &Path) -> WebAgent {
        let kind = site.server.kind();
        let (folder, module) = match kind {
            Kind::Httpd => (at.join("web_agents/apache24_agent"), "mod_openam.so"),
            Kind::Nginx => (
                at.join("web_agents/nginx25_agent"),
                "openam_ngx_auth_module.so",
            ),
        };
        let instance = folder.join("instances/agent_1");
        for name in ["bin", "lib", "legal", "log", "config", "pdp-cache"] {
            fs::create_dir_all(folder.join(name)).expect("folder");
        }
        for name in ["config", "logs/debug", "logs/audit", "pdp-cache"] {
            fs::create_dir_all(instance.join(name)).expect("folder");
        }
        let write = |path: &Path, text: &str| fs::write(path, text).expect("file of the Web Agent");
        write(&folder.join("bin/agentadmin"), "#!/bin/sh\nexit 1\n");
        write(&folder.join("lib").join(module), "\u{7f}ELF, but no module");
        write(&folder.join("config/agent.conf.template"), FILE);
        write(
            &instance.join("logs/debug/debug.log"),
            "2024-03-01 00:00:00 GMT started\n",
        );
        let conf = site.server.conf();
        let register = format!("agent_1 1709251200 {}\n", conf.display());
        write(&folder.join("instances/.agents"), &register);
        let (am, url) = (site.am.url(), site.url());
        let text = agent_conf([&am, &url, "/", &site.agent], &instance);
        let agent_conf = instance.join("config/agent.conf");
        match kind {
            Kind::Httpd => {
                write(&agent_conf, &text);
                write(
                    &agent_conf.with_file_name("agent-password.conf"),
                    &(SECRETS.join("\n") + "\n"),
                );
                write(
                    &agent_conf.with_file_name("agent-key.conf"),
                    &format!("{KEY}\n"),
                );
            }
            Kind::Nginx => write(&agent_conf, &grown(&text)),
        }
        load(&conf, kind, &folder, module);
        WebAgent { folder, agent_conf }
    }
}

/// The same with what years add: CRLF, a second line where only the last counts, other spellings, an unknown property,
/// a line that is none, and the secrets.
fn grown(text: &str) -> String {
    let secrets = SECRETS.join("\n");
    let text = format!(
        "\u{feff}# Ge\u{e4}ndert am 1.3.2019\n\
         com.sun.identity.agents.config.naming.url = https://am.old.example.com:8443/am/\n\
         com.sun.identity.agents.config.debug.level=all\n{text}\n{KEY}\n{secrets}\n\
         com.forgerock.agents.accept.ipdp.cookie = 0\n\
         com.sun.identity.agents.config.cookie.name=iPlanetDirectoryPro\n\
         com.example.our.own.filter = 1\n\
         see the wiki\n"
    );
    text.replace('\n', "\r\n")
}

/// The lines of the server's configuration, as the Web Agent's installer writes them: the path goes through `bin`.
fn load(conf: &Path, kind: Kind, folder: &Path, module: &str) {
    let text = fs::read_to_string(conf).expect("configuration");
    let (module, agent_conf) = (
        folder.join("lib").join(module).display().to_string(),
        folder
            .join("bin/../instances/agent_1/config/agent.conf")
            .display()
            .to_string(),
    );
    let text = match kind {
        Kind::Httpd => format!(
            "{text}\nLoadModule amagent_module \"{module}\"\nAmAgent On\nAmAgentConf \"{agent_conf}\"\n"
        ),
        Kind::Nginx => format!(
            "load_module {module};\n{}",
            text.replacen(
                "http {\n",
                &format!(
                    "http {{\n    openam_agent on;\n    openam_agent_configuration {agent_conf};\n"
                ),
                1
            )
        ),
    };
    fs::write(conf, text).expect("configuration");
}

/// All files of a folder with what is in them, by name.
///
/// # Panics
/// When one can't be read.
pub fn files(folder: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let mut all = Vec::new();
    for entry in fs::read_dir(folder).expect("folder").flatten() {
        match entry.path() {
            path if path.is_dir() => all.extend(files(&path)),
            path => all.push((path.clone(), fs::read(&path).expect("file"))),
        }
    }
    all.sort();
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tests_lines_take_the_place_of_the_web_agents() {
        let lines = [
            "a.b[0] = 1".to_owned(),
            "a.b[1] = 2".into(),
            "a.d = 3".into(),
        ];
        let text = with("a.a = 0\na.b[0] =\n# a.b\na.b[1] = 9\na.c =\n", &lines);
        assert_eq!(
            text,
            "a.a = 0\na.b[0] = 1\na.b[1] = 2\n# a.b\na.c =\na.d = 3\n"
        );
    }

    #[test]
    fn a_test_that_has_its_own_file_is_there_and_says_why() {
        let folder = modules::root().join("tests");
        let programs = fs::read_dir(folder).expect("tests").flatten();
        let programs = programs.filter(|entry| entry.path().is_file());
        let text: String = programs
            .map(|entry| fs::read_to_string(entry.path()).expect("test program"))
            .collect();
        for (at, (test, why)) in PLAIN.iter().enumerate() {
            assert!(text.contains(&format!("fn {test}(")), "{test}");
            assert!(why.len() > 20, "{test}");
            let others = &PLAIN[at + 1..];
            assert!(others.iter().all(|(other, _)| other != test), "{test}");
        }
    }
}

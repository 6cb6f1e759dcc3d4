//! What is said to the agent outside of `agent.conf`: environment variables of the web server and of
//! `agentadmin`, and directives of the servers. Each has a row here as each property has one in
//! [`super::table`]; `docs/environment.md` is made from them.
//!
//! It reads no environment itself: whoever may do so hands the values in.

use alloc::{
    borrow::ToOwned,
    format,
    string::{String, ToString},
    vec::Vec,
};

use super::{
    parse::{Problem, Severity, nearest},
    raw::{Line, Properties, Source},
    table::State,
    values,
};
use crate::event;

/// Who reads it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// The environment of the web server.
    Server,
    /// The environment of `agentadmin`.
    Tool,
    /// A directive of Apache httpd.
    Httpd,
    /// A directive of nginx.
    Nginx,
}

/// One environment variable or directive.
#[derive(Clone, Copy)]
pub struct Outside {
    /// The name.
    pub name: &'static str,
    /// Who reads it.
    pub place: Place,
    /// What holds without it; empty when unset.
    pub default: &'static str,
    /// What it does, for the reference.
    pub doc: &'static str,
    /// Whether it works.
    pub state: State,
    /// The property that it stands for and wins over.
    pub sets: Option<&'static str>,
    /// The test that shows that it works.
    pub test: Option<&'static str>,
}

impl Outside {
    const fn sets(mut self, property: &'static str) -> Outside {
        self.sets = Some(property);
        self
    }

    const fn test(mut self, name: &'static str) -> Outside {
        self.test = Some(name);
        self
    }

    fn is_default(&self, value: &str) -> bool {
        let switch = values::switch(value);
        // Any number but 0 reads as a switch that is on.
        let is_switch = !matches!(self.default.parse::<u32>(), Ok(2..));
        value.eq_ignore_ascii_case(self.default)
            || (is_switch && switch.is_some() && switch == values::switch(self.default))
    }
}

const fn row(
    place: Place,
    name: &'static str,
    default: &'static str,
    doc: &'static str,
    state: State,
) -> Outside {
    Outside {
        name,
        place,
        default,
        doc,
        state,
        sets: None,
        test: None,
    }
}

use Place::*;
use State::{NoEffect, NotYet, RefusedUnlessDefault, Works};

/// Every environment variable and directive, by place.
#[rustfmt::skip]
pub const OUTSIDE: &[Outside] = &[
    row(Server, "AM_MAX_SESSION_CACHE_SIZE", "16777216",
        "Bytes of shared memory for sessions and decisions, between 1 MiB and 1 GiB; 0 is the default.", Works)
        .test("the_cache_size_is_read"),
    row(Server, "AM_SSL_OPTIONS", "",
        "Protocols not to use towards AM; wins over the property.", Works)
        .sets("org.forgerock.agents.config.tls").test("a_variable_wins_over_its_property"),
    row(Server, "AM_SSL_KEYLOG_FILE", "",
        "File for the secrets of TLS connections, with org.forgerock.agents.config.tls.keylog.enable. nginx hands it to its workers only with `env AM_SSL_KEYLOG_FILE;`.", Works)
        .test("the_secrets_of_connections_are_written_only_when_asked"),
    row(Server, "AM_POLICY_CACHE_MODE", "off",
        "on: download all policies and decide without AM.",
        NoEffect("AM decides each URL for each session, because conditions would go unenforced otherwise")),
    row(Server, "AM_POLICY_CACHE_DIR", "",
        "Folder for downloaded policies.", NoEffect("no policies are downloaded")),
    row(Server, "AM_MAX_AGENTS", "32",
        "Most instances of one web server, between 1 and 32. One more is an error at start and, where httpd restarts, answers 503.", Works)
        .test("one_instance_too_many_is_refused"),
    row(Server, "AM_RESOURCE_PERMISSIONS", "",
        "Mode of log files and shared memory.",
        NoEffect("log files are made for their owner only, and the shared memory has no name that another could open")),
    row(Server, "AM_IPC_BASE", "",
        "First id of the agent's semaphores.", NoEffect("there are none")),
    row(Server, "AM_SYSTEM_LOG_LEVEL", "Error",
        "What of the web server's error log the system log gets: Error, Warning, Info; Message and All are all of it.", Works)
        .test("the_system_log_has_what_its_level_says"),
    row(Server, "AM_SYSTEM_LOG_PATH", "",
        "File of the system log. Without it there is none, and its lines are in the web server's error log only.", Works)
        .test("the_system_log_has_what_its_level_says"),
    row(Server, "AM_SYSTEM_LOG_SIZE", "0",
        "Bytes after which it is rotated; 0: never.", Works).test("the_system_log_has_what_its_level_says"),
    row(Server, "AM_SYSTEM_LOG_FILES", "0",
        "Files of it to keep, the current one among them; 0: all.", Works).test("what_a_system_log_is_told_is_read"),
    row(Server, "AM_SYSTEM_PIPE_DIR", "",
        "Folder of the agent's pipes.", NoEffect("there are none")),
    row(Server, "AM_DEFAULT_LOG_LEVEL", "",
        "Of agents 4: level of the log until the configuration is read.",
        NoEffect("agent.conf is read before anything is logged")),
    row(Server, "AM_LOG_WRITE_DISABLE", "",
        "Of agents 4: write no log.", NoEffect("what refuses somebody is always logged")),
    row(Server, "AM_CACHE_GC_INTERVAL", "",
        "Of agents 4: seconds between two cleanings of the cache.", NoEffect("entries are replaced, never collected")),
    row(Server, "AM_AUDIT_SUBMIT_RATIO", "",
        "Of agents 4: size of the deliveries of audit lines to AM.", NoEffect("the agent chooses them itself")),
    row(Server, "AM_MAX_SHARED_POOL_SIZE", "",
        "Of agents 4: bytes of all shared memory.", NoEffect("it follows from AM_MAX_SESSION_CACHE_SIZE")),
    row(Server, "AM_EXT_STACK_ENABLED", "", "Of agents 4, for Varnish.", NoEffect("it concerns Varnish only")),
    row(Server, "AM_EXT_STACK_SIZE", "", "Of agents 4, for Varnish.", NoEffect("it concerns Varnish only")),

    row(Tool, "AM_NET_TIMEOUT", "4",
        "Seconds that AM may take to answer during an installation.", Works)
        .test("the_time_for_am_is_a_number_of_seconds"),
    row(Tool, "AM_SSL_CA", "",
        "File with the authorities of AM's certificate.", Works)
        .sets("com.forgerock.agents.config.cert.ca.file").test("the_environment_fills_the_template"),
    row(Tool, "APACHE_RUN_USER", "",
        "User of httpd's workers, where httpd.conf names none.", Works).test("the_worker_is_named_in_the_file_or_beside_it"),
    row(Tool, "APACHE_RUN_GROUP", "",
        "Their group.", Works).test("the_worker_is_named_in_the_file_or_beside_it"),
    row(Tool, "PORTCULLIS_HOME", "",
        "Folder of the instances; without it the one above that of agentadmin, or /var/lib/portcullis for the one of packages.", Works)
        .test("installing_twice_is_refused_and_removing_restores_every_byte"),
    row(Tool, "PORTCULLIS_MODULES", "",
        "Folder of the modules; without it lib in the former, or /usr/lib/portcullis for agentadmin of packages.", Works)
        .test("installing_twice_is_refused_and_removing_restores_every_byte"),
    row(Tool, "AM_SSL_CERT", "", "File with the certificate shown to AM.", Works)
        .sets("com.forgerock.agents.config.cert.file").test("the_environment_fills_the_template"),
    row(Tool, "AM_SSL_KEY", "", "File with its key.", Works)
        .sets("com.forgerock.agents.config.cert.key").test("the_environment_fills_the_template"),
    row(Tool, "AM_SSL_PASSWORD", "",
        "Pass phrase of that key, in the clear: it is written down encrypted with the key of the new instance.", Works)
        .sets("com.forgerock.agents.config.cert.key.password").test("passwords_of_the_environment_are_written_encrypted"),
    row(Tool, "AM_SSL_CIPHERS", "", "Ciphers offered to AM.", Works)
        .sets("com.forgerock.agents.config.ciphers").test("the_environment_fills_the_template"),
    row(Tool, "AM_SSL_SCHANNEL", "", "On Windows, use Schannel.", NoEffect("it concerns Windows only")),
    row(Tool, "AM_SSL_KEYLOG_ENABLE", "false", "Switch the key log on.", Works)
        .sets("org.forgerock.agents.config.tls.keylog.enable").test("the_environment_fills_the_template"),
    row(Tool, "AM_PROXY_HOST", "", "Proxy on the way to AM.", Works)
        .sets("com.sun.identity.agents.config.forward.proxy.host").test("the_environment_fills_the_template"),
    row(Tool, "AM_PROXY_PORT", "", "Its port.", Works)
        .sets("com.sun.identity.agents.config.forward.proxy.port").test("the_environment_fills_the_template"),
    row(Tool, "AM_PROXY_USER", "", "User name for the proxy.", Works)
        .sets("com.sun.identity.agents.config.forward.proxy.user").test("the_environment_fills_the_template"),
    row(Tool, "AM_PROXY_PASSWORD", "", "Password for the proxy, in the clear; as before.", Works)
        .sets("com.sun.identity.agents.config.forward.proxy.password").test("the_installer_keeps_the_proxys_password"),
    row(Tool, "AM_AGENT_AUTH_MODE", "0", "Whether the agent logs in by tree or by module.", Works)
        .sets("com.forgerock.agents.config.agent.auth.mode").test("the_environment_fills_the_template"),

    row(Httpd, "AmAgent", "Off", "On or Off: whether the agent protects this server, directory or location.", Works)
        .test("where_the_agent_is_off_it_is_off"),
    row(Httpd, "AmAgentConf", "", "Path of the agent.conf of this server.", Works)
        .test("an_agent_that_is_on_without_a_configuration_is_refused"),
    row(Httpd, "AmAgentId", "0", "Number of the agent group of this httpd.",
        NoEffect("the processes of one httpd are a group without a number")),
    row(Httpd, "AmAuthProvider", "Off",
        "On: what AM's policy refuses is left to httpd's Require lines; a login is needed all the same.", Works)
        .test("without_require_amauth_the_servers_own_rules_decide"),
    row(Httpd, "Require AmAuth", "",
        "Refuses what AM's policy refuses, and has no say on not-enforced pages; takes no arguments.", Works)
        .test("require_amauth_carries_ams_answer"),
    row(Httpd, "AmAuthErrorDocument", "Off",
        "On: the page that httpd shows for a refusal of the agent is decided like any other.", Works)
        .test("pages_about_refusals_are_decided_too_where_told"),
    row(Httpd, "AmBypassPreflightChecks", "Off", "On: do not look at start whether workers can use the agent's folders.",
        NoEffect("the parent opens the logs before it gives up its rights, so there is nothing to look at")),

    row(Nginx, "openam_agent", "off", "on or off: whether the agent protects everything, this server or this location.", Works)
        .test("where_the_agent_is_off_it_is_off"),
    row(Nginx, "openam_agent_configuration", "", "Path of the agent.conf; also called openam_configuration.", Works)
        .test("an_agent_that_is_on_without_a_configuration_is_refused"),
    row(Nginx, "openam_agent_instance", "1", "Number of the agent group of this nginx.",
        NoEffect("the processes of one nginx are a group without a number")),
    row(Nginx, "openam_threadpool", "", "Thread pool for calls to AM.",
        NoEffect("a worker has one thread of its own for them")),
];

/// The cache size that `AM_MAX_SESSION_CACHE_SIZE` names, in bytes; `None` when it is no number
/// between 1 MiB and 1 GiB. Unset, empty and 0 are `Some(0)`: the default.
pub fn cache_bytes(text: Option<&str>) -> Option<u64> {
    let text = text.unwrap_or_default().trim();
    match text.parse::<u64>() {
        _ if text.is_empty() => Some(0),
        Ok(0) => Some(0),
        Ok(n) if ((1 << 20)..=(1 << 30)).contains(&n) => Some(n),
        _ => None,
    }
}

/// The number of instances that `AM_MAX_AGENTS` allows; `None` when it is no number between 1 and 32. Unset
/// and empty are 32.
pub fn max_agents(text: Option<&str>) -> Option<usize> {
    match text.unwrap_or_default().trim() {
        "" => Some(32),
        text => text.parse().ok().filter(|n| (1..=32).contains(n)),
    }
}

/// The system log that the `AM_SYSTEM_LOG_…` variables ask for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SystemLog {
    /// The file.
    pub path: String,
    /// The least severe lines that it gets.
    pub severity: event::Severity,
    /// Bytes after which it is rotated; 0: never.
    pub bytes: u64,
    /// Files to keep, the current one among them; 0: all.
    pub keep: u32,
}

/// Reads these variables; `None` where no file is named. What can't be read counts as not said, and
/// [`environment`] names it.
pub fn system_log<'e>(variable: impl Fn(&str) -> Option<&'e str>) -> Option<SystemLog> {
    let text = |name: &str| variable(name).unwrap_or_default().trim();
    let path = text("AM_SYSTEM_LOG_PATH");
    (!path.is_empty()).then(|| SystemLog {
        path: path.to_owned(),
        severity: severity(text("AM_SYSTEM_LOG_LEVEL")).unwrap_or(event::Severity::Error),
        bytes: number(text("AM_SYSTEM_LOG_SIZE")).map_or(0, u64::from),
        keep: number(text("AM_SYSTEM_LOG_FILES")).unwrap_or(0),
    })
}

fn severity(word: &str) -> Option<event::Severity> {
    const WORDS: [(&str, event::Severity); 5] = [
        ("error", event::Severity::Error),
        ("warning", event::Severity::Warning),
        ("info", event::Severity::Info),
        ("message", event::Severity::Debug),
        ("all", event::Severity::Debug),
    ];
    let named = |(known, _): &&(&str, _)| word.eq_ignore_ascii_case(known);
    WORDS.iter().find(named).map(|(_, severity)| *severity)
}

fn number(text: &str) -> Option<u32> {
    text.parse().ok()
}

/// What is wrong with the value of a variable that works by itself, and what to do about it.
fn mistake(name: &str, value: &str) -> Option<(&'static str, &'static str)> {
    match name {
        "AM_MAX_SESSION_CACHE_SIZE" if cache_bytes(Some(value)).is_none() => Some((
            "is not a number of bytes between 1048576 and 1073741824; the nearest one is taken, 16777216 for what is no number",
            "write a whole number between them, or 0",
        )),
        "AM_MAX_AGENTS" if max_agents(Some(value)).is_none() => Some((
            "is not a number between 1 and 32; 32 is taken",
            "write a whole number between them",
        )),
        "AM_SYSTEM_LOG_LEVEL" if severity(value).is_none() => Some((
            "is none of Error, Warning, Info, Message and All; Error is taken",
            "write one of them",
        )),
        "AM_SYSTEM_LOG_SIZE" | "AM_SYSTEM_LOG_FILES" if number(value).is_none() => Some((
            "is not a number between 0 and 4294967295; 0 is taken",
            "write a whole number between them",
        )),
        _ => None,
    }
}

/// What the environment of the web server or of `agentadmin` says: lines for the properties that variables stand for, to be
/// read after those of `agent.conf`, and a problem for each variable that cannot do what it says.
pub fn environment<'e>(
    place: Place,
    variables: impl IntoIterator<Item = (&'e str, &'e str)>,
) -> (Properties, Vec<Problem>) {
    let (mut lines, mut problems) = (Properties::default(), Vec::new());
    let mut all: Vec<(&str, &str)> = variables
        .into_iter()
        .filter(|(name, value)| name.starts_with("AM_") && !value.trim().is_empty())
        .collect();
    all.sort_unstable();
    for (name, value) in all {
        let value = value.trim();
        let source = Source::Environment(name.to_owned());
        let known = OUTSIDE.iter().find(|row| row.name == name);
        let mut say = |what: &str, remedy: &str| {
            problems.push(Problem {
                severity: Severity::Warning,
                line: None,
                source: source.clone(),
                property: "".to_owned(),
                what: what.to_owned(),
                remedy: remedy.to_owned(),
            });
        };
        let Some(row) = known else {
            // Others may have variables of such names; a typing error is worth a word.
            if let Some(meant) = nearest(name, OUTSIDE.iter().map(|row| row.name)) {
                say(
                    &format!("unknown, meant {meant}?"),
                    "correct or remove it; it has no effect",
                );
            }
            continue;
        };
        if row.place != place || row.is_default(value) {
            continue; // a shell may hand on what is meant for others
        }
        match (row.state, row.sets) {
            (Works, Some(property)) => lines.lines.push(Line {
                name: property.to_string(),
                index: None,
                value: value.to_owned(),
                number: None,
                source,
            }),
            (NoEffect(why), _) => say(&format!("has no effect: {why}"), "remove it"),
            (NotYet, _) => say(
                "is not supported by this version and has no effect",
                "remove it, or make sure that nothing depends on it",
            ),
            (Works | RefusedUnlessDefault(_), _) => {
                if let Some((what, remedy)) = mistake(name, value) {
                    say(what, remedy);
                }
            }
        }
    }
    (lines, problems)
}

#[cfg(test)]
mod tests {
    use std::{collections::HashSet, vec};

    use super::*;
    use crate::config::PROPERTIES;

    fn said(variables: &[(&str, &str)]) -> Vec<String> {
        let (_, problems) = environment(Server, variables.iter().copied());
        problems.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn every_row_is_there_once_and_stands_for_a_property_that_is() {
        let mut seen = HashSet::new();
        for row in OUTSIDE {
            assert!(seen.insert(row.name), "{}", row.name);
            assert!(!row.doc.is_empty());
            if let Some(sets) = row.sets {
                assert!(PROPERTIES.iter().any(|p| p.name == sets), "{sets}");
            }
        }
    }

    /// Rule S7: it is accepted, and what does not happen is said.
    #[test]
    fn a_policy_cache_mode_is_accepted_and_said_to_do_nothing() {
        let all = said(&[
            ("AM_POLICY_CACHE_MODE", "on"),
            ("AM_POLICY_CACHE_DIR", "/x"),
        ]);
        assert_eq!(
            all,
            [
                "environment variable AM_POLICY_CACHE_DIR: has no effect: no policies are downloaded; remove it",
                "environment variable AM_POLICY_CACHE_MODE: has no effect: AM decides each URL for each session, \
                 because conditions would go unenforced otherwise; remove it",
            ]
        );
        for off in ["off", "0", "OFF", "false", ""] {
            assert_eq!(said(&[("AM_POLICY_CACHE_MODE", off)]), [""; 0], "{off}");
        }
    }

    #[test]
    fn what_a_system_log_is_told_is_read() {
        let of = |given: &[(&str, &'static str)]| {
            system_log(|name| given.iter().find(|(n, _)| *n == name).map(|(_, v)| *v))
        };
        assert_eq!(of(&[("AM_SYSTEM_LOG_LEVEL", "All")]), None, "no file");
        let path = ("AM_SYSTEM_LOG_PATH", "/var/log/system_0.log");
        let plain = SystemLog {
            path: path.1.into(),
            severity: event::Severity::Error,
            bytes: 0,
            keep: 0,
        };
        assert_eq!(of(&[path]), Some(plain.clone()));
        let wrong = [
            ("AM_SYSTEM_LOG_LEVEL", "loud"),
            ("AM_SYSTEM_LOG_SIZE", "-1"),
            ("AM_SYSTEM_LOG_FILES", "many"),
        ];
        assert_eq!(of(&[path, wrong[0], wrong[1], wrong[2]]), Some(plain));
        assert_eq!(said(&wrong).len(), 3);
        let told = of(&[
            path,
            ("AM_SYSTEM_LOG_LEVEL", "warning"),
            ("AM_SYSTEM_LOG_SIZE", "4294967295"),
            ("AM_SYSTEM_LOG_FILES", "3"),
        ]);
        let told = told.map(|log| (log.severity, log.bytes, log.keep));
        assert_eq!(told, Some((event::Severity::Warning, 4_294_967_295, 3)));
    }

    #[test]
    fn a_typing_error_in_a_variable_is_named() {
        let all = said(&[
            ("AM_MAX_SESION_CACHE_SIZE", "1"),
            ("AM_I_HERE", "1"),
            ("PATH", "/bin"),
        ]);
        assert_eq!(all.len(), 1, "{all:?}");
        assert!(
            all[0].contains("meant AM_MAX_SESSION_CACHE_SIZE?"),
            "{all:?}"
        );
    }

    #[test]
    fn the_cache_size_is_read() {
        for (text, bytes) in [
            (None, Some(0)),
            (Some("0"), Some(0)),
            (Some(" 33554432 "), Some(33_554_432)),
            (Some("1024"), None),
            (Some("2147483648"), None),
            (Some("16M"), None),
        ] {
            assert_eq!(cache_bytes(text), bytes, "{text:?}");
        }
        assert_eq!(said(&[("AM_MAX_SESSION_CACHE_SIZE", "16M")]).len(), 1);
        assert_eq!(
            said(&[("AM_MAX_SESSION_CACHE_SIZE", "33554432")]),
            vec![""; 0]
        );
    }

    #[test]
    fn the_number_of_instances_is_read() {
        for (text, most) in [
            (None, Some(32)),
            (Some(""), Some(32)),
            (Some(" 1 "), Some(1)),
            (Some("32"), Some(32)),
            (Some("0"), None),
            (Some("33"), None),
            (Some("many"), None),
        ] {
            assert_eq!(max_agents(text), most, "{text:?}");
        }
        assert_eq!(said(&[("AM_MAX_AGENTS", "33")]).len(), 1);
        assert_eq!(said(&[("AM_MAX_AGENTS", "2")]), vec![""; 0]);
    }

    #[test]
    fn a_variable_wins_over_its_property() {
        let name = "org.forgerock.agents.config.tls";
        let (more, problems) = environment(Server, [("AM_SSL_OPTIONS", "-TLSv1.2")]);
        assert_eq!(problems, []);
        let text = format!("{name} = -TLSv1.3\n");
        let mut files = Properties::parse(&text, Source::File("agent.conf".to_owned()));
        files.append(more);
        let last = files.last(name).unwrap();
        assert_eq!(last.value, "-TLSv1.2");
        assert_eq!(
            last.source,
            Source::Environment("AM_SSL_OPTIONS".to_owned())
        );
    }
}

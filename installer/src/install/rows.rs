//! Does every property that works do the same when it comes from a Web Agent's file as when it is written by hand?
//!
//! The Web Agent's file has all of its properties, in its notation. For each row of the table that works a value is
//! set there that is not the default, the file is imported, and what the agent makes of the result is compared with
//! what it makes of a plain file with the same settings. Rows come from the table: a new one is tried without a word.

use std::{collections::BTreeSet, fs, path::Path, sync::LazyLock};

use portcullis_engine::{
    config::{
        self, Config, Kind, PROPERTIES, Problem, Properties, Property, Severity, Source, State,
    },
    token::Secret,
};

use super::{Import, Password, Request, conf, import};

/// Every property of the Web Agent 2024.3; the engine's tests write it from the table.
const THEIRS: &str = include_str!("../../../tests/corpora/web-agent-2024.3.conf");
/// What its installer writes for the words of its template.
const WORDS: &[(&str, &str)] = &[
    ("AM_OPENAM_URL", "https://am.example.com:8443/am"),
    ("AM_AGENT_URL", "https://www.example.com:443"),
    ("AM_AGENT_FQDN", "www.example.com"),
    ("AM_AGENT_NAME", "wa1"),
    ("AM_AGENT_REALM", "/"),
    ("AM_SSL_CA", ""),
    ("AM_PDP_TEMP_PATH", "/opt/web_agents/pdp-cache"),
    ("AM_AUDIT_FILE_PATH", "/opt/web_agents/audit.log"),
    ("AM_DEBUG_FILE_PATH", "/opt/web_agents/debug.log"),
];
/// Files of the new instance, whatever the old one had.
const FILES: [&str; 3] = [
    "com.sun.identity.agents.config.local.logfile",
    "com.sun.identity.agents.config.local.audit.logfile",
    "org.forgerock.agents.config.postdata.preserve.dir",
];
const KEY: &str = "com.sun.identity.agents.config.key";
const LOCATION: &str = "com.sun.identity.agents.config.repository.location";

/// Values that a row of this kind may take. The first that changes something is taken.
fn values(kind: Kind) -> &'static [&'static str] {
    match kind {
        Kind::Switch => &["true", "false"],
        Kind::Number => &["7", "70", "700", "202"],
        Kind::Choice => &[
            "1",
            "centralized",
            "LOCAL",
            "DEBUG",
            "LDAP",
            "HTTP_HEADER",
            "LOG_BOTH",
            "URL",
            "pingam",
            "IMMEDIATE_403",
            "ignore",
        ],
        Kind::Map => &[
            "other",
            "7",
            "/x",
            "shadow",
            "SSO_ONLY",
            "shop.example.com",
            "https://sso.example.com:443/x",
        ],
        Kind::List => &[
            "other",
            "/x",
            "192.0.2.1",
            "192.0.2.1|/x/*",
            "url=/x/* ip=192.0.2.0/24",
            "shop.example.com",
            "am.example.com|192.0.2.1",
            "/x|https://sso.example.com:443/y",
            "agentRootURL=https://shop.example.com:443/",
        ],
        Kind::Text | Kind::Secret => &[
            "other",
            "/x",
            "https://sso.example.com:443/x",
            "shop.example.com",
            "PUT",
            "Lax",
            "-TLSv1.2",
            "ECDHE-RSA-AES256-GCM-SHA384",
            "2999-01-31",
            "name=value",
            "text/html",
            "X-Other",
        ],
    }
}

/// What may stand in brackets.
const KEYS: &[&str] = &["/app", "shop.example.com", "X-Other", "login", "0"];
/// What a row is of no use without.
const WITH: &[(&str, &str)] = &[
    (
        "com.forgerock.agents.config.cert.file",
        "com.forgerock.agents.config.cert.key = /x/key.pem",
    ),
    (
        "com.forgerock.agents.config.cert.key",
        "com.forgerock.agents.config.cert.file = /x/cert.pem",
    ),
    (
        "com.sun.identity.agents.config.forward.proxy.host",
        "com.sun.identity.agents.config.forward.proxy.port = 3128",
    ),
    (
        "com.sun.identity.agents.config.forward.proxy.port",
        "com.sun.identity.agents.config.forward.proxy.host = x",
    ),
    (
        "com.sun.identity.agents.config.forward.proxy.user",
        "com.sun.identity.agents.config.forward.proxy.host = x\ncom.sun.identity.agents.config.forward.proxy.port = 3128",
    ),
    (
        "org.forgerock.agents.config.conditional.login.pattern",
        "org.forgerock.agents.config.conditional.login.url[0] = https://sso.example.com:443/y",
    ),
    (
        "org.forgerock.agents.config.conditional.login.url",
        "org.forgerock.agents.config.conditional.login.pattern[0] = x",
    ),
    ("portcullis.mode", "portcullis.shadow.policy.set = other"),
];

/// One line: name, what stands in its brackets, value.
type Setting = (String, Option<String>, String);

fn row(name: &str) -> Option<&'static Property> {
    PROPERTIES.iter().find(|row| row.is_called(name))
}

fn working() -> impl Iterator<Item = &'static Property> {
    PROPERTIES.iter().filter(|row| row.state == State::Works)
}

/// The template as the installer leaves it.
static FILLED: LazyLock<String> = LazyLock::new(|| {
    let mut text = THEIRS.to_owned();
    for (word, value) in WORDS {
        text = text.replace(word, value);
    }
    text.replace("location = centralized", "location = local")
});

/// What of it is not said by leaving it out, or is said otherwise in the new instance.
static SAID: LazyLock<Vec<Setting>> = LazyLock::new(|| {
    let mut all = settings(&FILLED);
    all.retain(|(name, _, value)| {
        let says_it =
            row(name).is_some_and(|row| row.state == State::Works && row.default != value);
        says_it && !FILES.contains(&name.as_str())
    });
    all
});

/// The lines that say something, as settings.
fn settings(text: &str) -> Vec<Setting> {
    let parsed = parsed(text);
    let lines = parsed.lines().iter().filter(|line| !line.value.is_empty());
    lines
        .map(|l| (l.name.clone(), l.index.clone(), l.value.clone()))
        .collect()
}

/// The Web Agent's file with these settings in place of what it says of the same properties.
fn theirs(changed: &[Setting], notation: Notation) -> String {
    let rows = rows(changed);
    let mut left = Some(
        changed
            .iter()
            .map(|one| notation.line(one))
            .collect::<String>(),
    );
    let mut text = String::new();
    for line in FILLED.lines() {
        let name = line.split([' ', '=', '[']).next().unwrap_or_default();
        match rows.iter().any(|row| row.is_called(name)) {
            true => text += &left.take().unwrap_or_default(),
            false => text += &format!("{line}\n"),
        }
    }
    text += &left.unwrap_or_default();
    notation.whole(&text)
}

fn rows(of: &[Setting]) -> Vec<&'static Property> {
    of.iter().filter_map(|(name, ..)| row(name)).collect()
}

/// How a file is written; all mean the same.
#[derive(Clone, Copy, Debug)]
enum Notation {
    /// As the Web Agent's template has it.
    Plain,
    /// With CRLF, without blanks, and with what an editor of Windows puts in front.
    Windows,
    /// With blanks everywhere, and another value above the one that counts.
    Grown,
}

impl Notation {
    fn line(self, (name, index, value): &Setting) -> String {
        let brackets = |open: &str, close: &str| {
            let index = index.as_ref();
            index
                .map(|i| format!("{open}{i}{close}"))
                .unwrap_or_default()
        };
        match self {
            Notation::Plain => format!("{name}{} = {value}\n", brackets("[", "]")),
            Notation::Windows => format!("{name}{}={value}\n", brackets("[", "]")),
            Notation::Grown => {
                let before = match row(name) {
                    Some(row) if is_scalar(row) => format!("{name} = 1\n{name} =\n"),
                    _ => format!("#{name}[9] = {value}\n{name}[] =\n"),
                };
                format!("{before}   {name} {} =   {value}  \n", brackets("[ ", " ]"))
            }
        }
    }

    fn whole(self, text: &str) -> String {
        match self {
            Notation::Windows => format!("\u{feff}{}", text.replace('\n', "\r\n")),
            Notation::Plain | Notation::Grown => text.to_owned(),
        }
    }
}

fn is_scalar(row: &Property) -> bool {
    !matches!(row.kind, Kind::List | Kind::Map) && !row.keeps_empty
}

/// A plain file that says the same as the Web Agent's does with these settings.
fn plain(changed: &[Setting]) -> String {
    let rows = rows(changed);
    let new = FILES.map(|name| (name.to_owned(), None, new_file(name)));
    let old = SAID
        .iter()
        .filter(|(name, ..)| !rows.iter().any(|row| row.is_called(name)));
    let all = old.chain(changed).chain(&new);
    all.map(|one| Notation::Plain.line(one)).collect()
}

fn new_file(name: &str) -> String {
    let file = match name {
        "com.sun.identity.agents.config.local.logfile" => "logs/debug/debug.log",
        "com.sun.identity.agents.config.local.audit.logfile" => "logs/audit/audit.log",
        _ => "pdp-cache",
    };
    format!("/opt/agent_1/{file}")
}

/// The new file and the report, as an installation that takes names from the file makes them.
fn imported(folder: &Path, text: &str) -> (String, String) {
    let path = folder.join("agent.conf");
    fs::write(&path, text).unwrap();
    let import = Import::read(&path).unwrap();
    let text = |value: Option<&str>| value.unwrap().to_owned();
    let request = super::checked(Request {
        conf: "httpd.conf".into(),
        am: text(import.am()),
        agent: import
            .agent()
            .unwrap_or_else(|| "http://localhost:80".into()),
        realm: text(import.realm()),
        name: text(import.name()),
        password: Password::Imported,
        import: Some(import),
        change_owner: false,
        force: true,
        print: false,
        takeover: false,
    });
    let made = conf::agent_conf(
        &request.unwrap(),
        Path::new("/opt/agent_1"),
        &Properties::default(),
    );
    let (text, report) = made.unwrap();
    (text, report.unwrap().to_string())
}

/// What the agent makes of a file: its configuration as text, without the numbers of lines, and what is wrong with it.
fn effective(text: &str) -> (String, Vec<Problem>) {
    let (config, problems) = read(text);
    (shown(&config), problems)
}

fn read(text: &str) -> (Config, Vec<Problem>) {
    config::read(&parsed(text), None)
}

fn parsed(text: &str) -> Properties {
    Properties::parse(text, Source::File("agent.conf".into()))
}

fn shown(config: &Config) -> String {
    let text = format!("{config:?}");
    let mut parts = text.split("line: Some(");
    let mut shown = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let (_, rest) = part.split_once(')').unwrap();
        shown += rest;
    }
    shown
}

/// Lines of this name that change what the agent does.
fn another_value(row: &Property, name: &str, bare: &Config) -> Option<Vec<Setting>> {
    let keys: &[Option<&str>] = match row.kind {
        Kind::Map => &[
            Some(KEYS[0]),
            Some(KEYS[1]),
            Some(KEYS[2]),
            Some(KEYS[3]),
            Some(KEYS[4]),
        ],
        Kind::List => &[Some("0")],
        _ => &[None],
    };
    let with = WITH.iter().filter(|(of, _)| *of == row.name);
    let with: Vec<Setting> = with.flat_map(|(_, line)| settings(line)).collect();
    for key in keys {
        for value in values(row.kind) {
            let line = (name.to_owned(), key.map(str::to_owned), (*value).to_owned());
            let mut all = vec![line];
            all.extend(with.clone());
            let text = plain(&all);
            let (config, problems) = read(&text);
            let errors = problems.iter().any(|p| p.severity == Severity::Error);
            let changed = shown(&config) != shown(bare) && !errors;
            if changed && config::mistakes(&config, &parsed(&text), &problems).is_empty() {
                return Some(all);
            }
        }
    }
    None
}

/// Fails with the parts that differ.
fn same(found: &str, wanted: &str, of: &str) {
    let parts = found.split(", ").zip(wanted.split(", "));
    let first: Vec<_> = parts
        .filter(|(found, wanted)| found != wanted)
        .take(3)
        .collect();
    assert!(
        found == wanted,
        "{of}: not (found, wanted) the same: {first:?}"
    );
}

/// What is said of a property, wherever it stands.
fn said(problems: &[Problem], name: &str) -> Vec<String> {
    let about = problems.iter().filter(|p| p.property == name);
    about.map(|p| format!("{} {}", p.what, p.remedy)).collect()
}

#[test]
fn every_property_that_works_arrives_from_a_web_agents_file() {
    let folder = tempfile::tempdir().unwrap();
    let (mut replaced, mut without) = (BTreeSet::new(), Vec::new());
    let (bare, _) = read(&plain(&[]));
    let mut tried = 0;
    for row in working().filter(|row| row.kind != Kind::Secret) {
        for name in [row.name].iter().chain(row.aliases) {
            if FILES.contains(name) {
                replaced.insert(*name);
                continue;
            }
            let Some(changed) = another_value(row, name, &bare) else {
                without.push(*name);
                continue;
            };
            let (wanted, expected) = effective(&plain(&changed));
            for notation in [Notation::Plain, Notation::Windows, Notation::Grown] {
                let text = theirs(&changed, notation);
                let (new, report) = imported(folder.path(), &text);
                let (found, problems) = effective(&new);
                same(&found, &wanted, &format!("{name}, {notation:?}"));
                let errors = |p: &&Problem| p.severity == Severity::Error;
                assert_eq!(problems.iter().find(errors), None, "{name}");
                assert_eq!(
                    said(&problems, row.name),
                    said(&expected, row.name),
                    "{name}"
                );
                let (word, more) = match *name == row.name {
                    true => ("taken", String::new()),
                    false => ("renamed", format!(": here it is {}", row.name)),
                };
                let told = report.lines().any(|line| {
                    let mut words = line.split_whitespace().skip(2);
                    let at = (words.next(), words.collect::<Vec<_>>().join(" "));
                    at == (Some(word), format!("{name}{more}"))
                });
                assert!(told, "{name}, {notation:?}: {word}\n{report}");
                tried += 1;
            }
        }
    }
    assert!(
        without.is_empty(),
        "no value of its kind changes anything: {without:#?}"
    );
    assert_eq!(replaced, BTreeSet::from(FILES));
    println!("{tried} files imported");
}

/// Nothing but the password has to be done by hand.
#[test]
fn the_web_agents_file_is_taken_over_as_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let (wanted, _) = effective(&plain(&[]));
    for notation in [Notation::Plain, Notation::Windows] {
        let (new, report) = imported(folder.path(), &notation.whole(&FILLED));
        import::check(&new).unwrap();
        let (found, problems) = effective(&new);
        same(&found, &wanted, &format!("{notation:?}"));
        for problem in problems {
            assert_eq!(problem.severity, Severity::Warning, "{problem}");
        }
        for bad in ["unknown", "unreadable", "left out"] {
            assert!(!report.contains(bad), "{bad}\n{report}");
        }
        let active = FILLED
            .lines()
            .filter(|l| !l.is_empty() && !l.starts_with('#'));
        let reported = report.lines().filter(|l| l.starts_with("  line "));
        assert_eq!(reported.count(), active.count());
    }
}

/// Passwords that this agent has encrypted come along; keys are made anew.
#[test]
fn every_secret_that_works_arrives_with_its_key() {
    let folder = tempfile::tempdir().unwrap();
    let key = crate::secrets::new_key().unwrap();
    let mut anew = BTreeSet::new();
    for row in working().filter(|row| row.kind == Kind::Secret) {
        let password = Secret::new(b"a-Long-enough-pass-phrase".to_vec());
        let sealed = crate::secrets::encrypt(&key, &password).unwrap();
        let path = folder.path().join("agent.conf");
        let text = format!("{}{KEY} = {}\n", *FILLED, config::key_text(&key).as_str());
        let text = match row.name == KEY {
            true => text,
            false => format!("{text}{} = {sealed}\n", row.name),
        };
        fs::write(&path, text).unwrap();
        let import = Import::read(&path).unwrap();
        let new = import.text(&[]);
        assert!(
            !settings(&new.text)
                .iter()
                .any(|(name, ..)| name == row.name),
            "{}",
            row.name
        );
        let report = new.report.to_string();
        let told = report
            .lines()
            .find(|line| line.contains(&format!(" {}:", row.name)))
            .unwrap();
        match import.passwords().get(row.name) {
            Some(found) => {
                assert!(*found == password && told.contains("taken"), "{told}");
            }
            None => {
                assert!(told.contains("replaced"), "{told}");
                anew.insert(row.name);
            }
        }
    }
    assert_eq!(anew, BTreeSet::from([KEY, "portcullis.key.previous"]));
}

#[test]
fn the_files_of_the_old_instance_are_not_those_of_the_new_one() {
    let folder = tempfile::tempdir().unwrap();
    let (new, report) = imported(folder.path(), &FILLED);
    for name in FILES {
        assert!(
            new.contains(&format!("{name} = {}\n", new_file(name))),
            "{new}"
        );
        let told = report.lines().find(|line| line.contains(name));
        assert!(
            told.is_some_and(|line| line.contains("replaced")),
            "{report}"
        );
    }
    assert!(!new.contains("/opt/web_agents"), "{new}");
    assert!(
        settings(&new)
            .iter()
            .any(|(name, _, value)| name == LOCATION && value == "local")
    );
}

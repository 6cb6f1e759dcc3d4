//! What becomes of an `agent.conf` that another version, or the Web Agent itself, was run with?
//!
//! Its text is kept with its order and comments. Addresses, name and files of the new instance take the place of
//! the old ones, passwords go to the file of secrets, and what this agent does not know becomes a comment. Of each
//! property the report says what became of it. Must not change the file it reads.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt, fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, ensure};
use portcullis_engine::{
    config::{self, Kind, Line, Problem, Properties, Property, Severity, Source, State},
    token::Secret,
};

use super::address::url;

/// The new instance has a key of its own.
const KEYS: [&str; 2] = [KEY, "portcullis.key.previous"];
const KEY: &str = "com.sun.identity.agents.config.key";
pub(super) const URLS: &str = "com.sun.identity.agents.config.naming.url";
pub(super) const REALM: &str = "com.sun.identity.agents.config.organization.name";
pub(super) const USERNAME: &str = "com.sun.identity.agents.config.username";
const PREFIX: &str = "com.sun.identity.agents.config.agenturi.prefix";

/// What became of one line.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    /// It stands in the new file as it stood in the old one.
    Taken,
    /// The same, under another name than this agent's first one for it.
    Renamed(&'static str),
    /// It stands there and does nothing.
    WithoutEffect(&'static str),
    /// Another value than that of the old file is in the new one.
    Given,
    /// A password that was opened with its key, and is encrypted with the new one.
    Opened,
    /// A password that nobody here can read.
    Unreadable,
    /// A word that the Web Agent's installer would have replaced.
    Placeholder,
    /// It is a comment now.
    Unknown,
    /// No property at all; a comment now.
    Malformed,
}

/// An agent.conf that was read.
pub(crate) struct Import {
    path: PathBuf,
    text: String,
    lines: Vec<Line>,
    key: Option<Secret>,
}

/// The new text and what was done for it.
pub(crate) struct Imported {
    pub(crate) text: String,
    pub(crate) report: Report,
}

/// The fate of every line with something on it: where it stands, the property, what became of it.
pub(crate) struct Report {
    path: PathBuf,
    lines: Vec<(String, String, Fate)>,
}

impl Import {
    /// Reads a file, and the key beside it if there is one.
    pub(crate) fn read(path: &Path) -> Result<Import> {
        let shown = path.display();
        let bytes = fs::read(path).with_context(|| format!("cannot read {shown}"))?;
        // What is no UTF-8 was written before everybody had it: every byte is a character of Latin-1.
        let text = String::from_utf8(bytes)
            .unwrap_or_else(|e| e.as_bytes().iter().copied().map(char::from).collect());
        let text = text.strip_prefix('\u{feff}').unwrap_or(&text).to_owned();
        let parsed = Properties::parse(&text, Source::File("agent.conf".into()));
        let mut lines = parsed.lines().to_vec();
        // Since 2024.3 the secrets stand in files of their own.
        let mut key = parsed.last(KEY).map(|line| line.value.clone());
        for name in ["agent-password.conf", "agent-key.conf"] {
            let beside = fs::read_to_string(path.with_file_name(name)).unwrap_or_default();
            let beside = Properties::parse(&beside, Source::File(name.into()));
            key = beside.last(KEY).map(|line| line.value.clone()).or(key);
            let others = beside.lines().iter();
            let others = others.filter(|l| !is_key(&l.name) && !l.value.is_empty());
            lines.extend(others.map(|l| {
                let mut line = l.clone();
                line.number = None;
                line
            }));
        }
        let key = key.and_then(|key| config::parse_key(&key).ok());
        Ok(Import {
            path: path.into(),
            text,
            lines,
            key,
        })
    }

    fn value(&self, name: &str) -> Option<&str> {
        let mut lines = self.lines.iter().rev();
        let row = row(name)?;
        let found =
            lines.find(|l| row.is_called(&l.name) && !l.value.is_empty() && !is_placeholder(l));
        found.map(|l| l.value.as_str())
    }

    /// The file.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// AM's URLs as they are written.
    pub(crate) fn urls(&self) -> Option<&str> {
        self.value(URLS)
    }

    /// AM's URL; the first of several.
    pub(crate) fn am(&self) -> Option<&str> {
        self.urls()?.split_whitespace().next()
    }

    /// Where the agent is, as far as the file says it.
    pub(crate) fn agent(&self) -> Option<String> {
        let found = url(self.value(PREFIX)?).ok()?;
        Some(format!("{}://{}:{}", found.scheme, found.host, found.port))
    }

    /// The agent's realm.
    pub(crate) fn realm(&self) -> Option<&str> {
        self.value(REALM)
    }

    /// The name of the profile.
    pub(crate) fn name(&self) -> Option<&str> {
        self.value(USERNAME)
    }

    /// The passwords that can be read, by property.
    pub(crate) fn passwords(&self) -> BTreeMap<&'static str, Secret> {
        let secrets = self
            .lines
            .iter()
            .filter_map(|line| Some((secret(line)?, line)));
        secrets
            .filter_map(|(row, line)| Some((row.name, self.open(line)?)))
            .collect()
    }

    fn open(&self, line: &Line) -> Option<Secret> {
        config::decrypt_password(self.key.as_ref()?, &line.value).ok()
    }

    /// The new file. What is `given` stands in it instead of what the old one says, at its place.
    pub(crate) fn text(&self, given: &[(&str, String)]) -> Imported {
        let mut left: BTreeSet<String> = given.iter().map(|(name, _)| (*name).to_owned()).collect();
        let mut lines = Vec::new();
        let mut text = String::with_capacity(self.text.len());
        let mut by_number: BTreeMap<u32, &Line> = BTreeMap::new();
        by_number.extend(self.lines.iter().filter_map(|l| Some((l.number?, l))));
        for (number, written) in (1u32..).zip(self.text.lines()) {
            let plain = written.trim();
            if plain.is_empty() || plain.starts_with('#') {
                text.push_str(written);
            } else if let Some(line) = by_number.get(&number) {
                let (becomes, fate) = self.becomes(line, written, given, &mut left);
                text.push_str(&becomes);
                lines.push((format!("line {number}"), line.name.clone(), fate));
            } else {
                text.push_str(&format!("# not a property: {plain}"));
                lines.push((format!("line {number}"), String::new(), Fate::Malformed));
            }
            text.push('\n');
        }
        for (name, value) in given.iter().filter(|(name, _)| left.contains(*name)) {
            text.push_str(&format!("\n{name} = {value}\n"));
        }
        for line in self.lines.iter().filter(|line| line.number.is_none()) {
            let fate = match secret(line) {
                Some(_) => self.opened(line),
                None => Fate::Unknown,
            };
            lines.push((line.source.to_string(), line.name.clone(), fate));
        }
        let report = Report {
            path: self.path.clone(),
            lines,
        };
        Imported { text, report }
    }

    fn opened(&self, line: &Line) -> Fate {
        match self.open(line) {
            Some(_) => Fate::Opened,
            None if line.value.is_empty() => Fate::Taken,
            None => Fate::Unreadable,
        }
    }

    /// What a line becomes.
    fn becomes(
        &self,
        line: &Line,
        written: &str,
        given: &[(&str, String)],
        left: &mut BTreeSet<String>,
    ) -> (String, Fate) {
        let kept = |fate| (written.to_owned(), fate);
        let comment = |what: &str, fate| (format!("# {what}: {}", line.name), fate);
        if is_key(&line.name) {
            return comment("in agent-key.conf", Fate::Given);
        }
        let Some(row) = row(&line.name) else {
            return (
                format!("# unknown to this agent: {}", written.trim()),
                Fate::Unknown,
            );
        };
        if row.kind == Kind::Secret {
            return comment("in agent-password.conf", self.opened(line));
        }
        if let Some((name, value)) = given.iter().find(|(name, _)| row.is_called(name)) {
            if line.value == *value || *name == REALM && with_slash(&line.value) == *value {
                left.remove(*name);
                return kept(Fate::Taken);
            }
            return match left.remove(*name) {
                true => (format!("{name} = {value}"), Fate::Given),
                false => comment("said above", Fate::Given),
            };
        }
        if is_placeholder(line) {
            return comment("never filled in", Fate::Placeholder);
        }
        match row.state {
            State::NoEffect(why) | State::RefusedUnlessDefault(why) => {
                kept(Fate::WithoutEffect(why))
            }
            State::NotYet => kept(Fate::WithoutEffect("not in this version")),
            State::Works if row.name != line.name => kept(Fate::Renamed(row.name)),
            State::Works => kept(Fate::Taken),
        }
    }
}

impl Report {
    /// Takes note of passwords, by property, that came from elsewhere.
    pub(super) fn given<'p>(&mut self, passwords: impl Iterator<Item = &'p str>) {
        for password in passwords {
            let of_it = self.lines.iter_mut().filter(|(_, name, fate)| {
                matches!(fate, Fate::Opened | Fate::Unreadable)
                    && row(name).is_some_and(|row| row.name == password)
            });
            of_it.for_each(|(_, _, fate)| *fate = Fate::Given);
        }
    }
}

impl fmt::Display for Report {
    /// One line for each line of the old files, in their order, and their number of each kind.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "Import of {}", self.path.display())?;
        let mut counts: BTreeMap<&str, u32> = BTreeMap::new();
        for (place, name, fate) in &self.lines {
            let (word, more) = fate.words();
            *counts.entry(word).or_default() += 1;
            writeln!(f, "  {place:<9} {word:<15} {name}{more}")?;
        }
        let counts = counts.iter().map(|(word, n)| format!("{n} {word}"));
        write!(f, "  {}", counts.collect::<Vec<_>>().join(", "))
    }
}

impl Fate {
    /// The word for it, and what else is to be said.
    fn words(&self) -> (&'static str, String) {
        match self {
            Fate::Taken => ("taken", String::new()),
            Fate::Renamed(name) => ("renamed", format!(": here it is {name}")),
            Fate::WithoutEffect(why) => ("without effect", format!(": {why}")),
            Fate::Given => ("replaced", ": the new installation has its own".into()),
            Fate::Opened => ("taken", ": encrypted with the new key".into()),
            Fate::Unreadable => (
                "unreadable",
                ": encrypted with a key that is not here; give it anew".into(),
            ),
            Fate::Placeholder => ("left out", ": never filled in by an installer".into()),
            Fate::Unknown => ("unknown", ": a comment now".into()),
            Fate::Malformed => ("unknown", "no property: a comment now".into()),
        }
    }
}

/// Refuses a text that the agent could not start with.
///
/// # Errors
/// All that is wrong with it.
pub(super) fn check(text: &str) -> Result<()> {
    let files = Properties::parse(text, Source::File("agent.conf".into()));
    let (_, problems) = config::read(&files, None);
    let here = |p: &&Problem| matches!(&p.source, Source::File(name) if name == "agent.conf");
    let bad = problems
        .iter()
        .filter(|p| p.severity == Severity::Error)
        .filter(here);
    let bad: Vec<String> = bad.map(|p| format!("  {p}")).collect();
    ensure!(
        bad.is_empty(),
        "the web server would not start with this agent.conf:\n{}",
        bad.join("\n")
    );
    Ok(())
}

fn row(name: &str) -> Option<&'static Property> {
    config::PROPERTIES.iter().find(|row| row.is_called(name))
}

fn secret(line: &Line) -> Option<&'static Property> {
    row(&line.name).filter(|row| row.kind == Kind::Secret && !is_key(row.name))
}

/// The agent reads a realm without its slash, too.
pub(super) fn with_slash(realm: &str) -> String {
    format!("/{}", realm.strip_prefix('/').unwrap_or(realm))
}

fn is_key(name: &str) -> bool {
    KEYS.contains(&name)
}

/// `AM_SSL_CA` and the like, which stand in the Web Agent's template.
fn is_placeholder(line: &Line) -> bool {
    let rest = line.value.strip_prefix("AM_");
    rest.is_some_and(|r| !r.is_empty() && r.bytes().all(|b| b.is_ascii_uppercase() || b == b'_'))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn import(folder: &Path, text: &str) -> Import {
        let path = folder.join("agent.conf");
        fs::write(&path, text).unwrap();
        Import::read(&path).unwrap()
    }

    fn fates(imported: &Imported) -> Vec<(&str, &Fate)> {
        let lines = imported.report.lines.iter();
        lines.map(|(_, name, fate)| (name.as_str(), fate)).collect()
    }

    #[test]
    fn every_line_has_a_fate_and_comments_stay() {
        let folder = tempfile::tempdir().unwrap();
        let old = import(
            folder.path(),
            "# ours since 2014\n\
             com.sun.identity.agents.config.naming.url=https://am.example.com:8443/am https://am2.example.com/am\n\
             com.sun.identity.agents.config.username = wa1\n\
             com.sun.identity.agents.config.organization.name = /people\n\
             com.sun.identity.agents.config.agenturi.prefix = https://www.example.com:443/amagent\n\
             com.sun.identity.agents.config.password = bm90IG91cnM=\n\
             com.sun.identity.agents.config.key = c2hvcnQ=\n\
             com.sun.identity.agents.config.local.logfile = /opt/old/debug.log\n\
             com.forgerock.agents.config.cert.ca.file = AM_SSL_CA\n\
             com.example.our.own = 1\n\
             what is this\n\
             com.sun.identity.agents.config.cookie.name = iPlanetDirectoryPro\n",
        );
        assert_eq!(old.am(), Some("https://am.example.com:8443/am"));
        assert_eq!(old.agent().as_deref(), Some("https://www.example.com:443"));
        assert_eq!((old.realm(), old.name()), (Some("/people"), Some("wa1")));
        assert!(old.passwords().is_empty());
        let log = "com.sun.identity.agents.config.local.logfile";
        let audit = "com.sun.identity.agents.config.local.audit.logfile";
        let new = old.text(&[
            (log, "/new/debug.log".into()),
            (audit, "/new/audit.log".into()),
        ]);
        let words: Vec<_> = fates(&new).iter().map(|(_, fate)| fate.words().0).collect();
        assert_eq!(
            words,
            [
                "taken",
                "taken",
                "taken",
                "taken",
                "unreadable",
                "replaced",
                "replaced",
                "left out",
                "unknown",
                "unknown",
                "taken"
            ]
        );
        assert!(new.text.starts_with("# ours since 2014\n"));
        assert!(
            new.text
                .contains("\ncom.sun.identity.agents.config.local.logfile = /new/debug.log\n")
        );
        assert!(
            new.text.ends_with(
                "\ncom.sun.identity.agents.config.local.audit.logfile = /new/audit.log\n"
            )
        );
        assert!(!new.text.contains("bm90") && !new.text.contains("c2hvcnQ"));
        let told = new.report.to_string();
        assert!(
            told.contains("line 10") && told.contains("com.example.our.own"),
            "{told}"
        );
        assert!(!told.contains("bm90"));
    }

    #[test]
    fn passwords_that_can_be_opened_come_along() {
        let folder = tempfile::tempdir().unwrap();
        let key = crate::secrets::new_key().unwrap();
        let password = Secret::new(b"a-Long-enough-pass-phrase".to_vec());
        let text = crate::secrets::encrypt(&key, &password).unwrap();
        let name = crate::secrets::PASSWORD;
        for (file, text) in crate::secrets::files(&key, &[(name.to_owned(), text)]) {
            fs::write(folder.path().join(file), text.as_bytes()).unwrap();
        }
        let old = import(
            folder.path(),
            "com.sun.identity.agents.config.username = wa1\n",
        );
        assert!(old.passwords().get(name).is_some_and(|p| *p == password));
    }

    #[test]
    fn a_comment_in_latin_1_keeps_nothing_from_being_read() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("agent.conf");
        let text = b"# f\xfcr die Filialen\r\ncom.sun.identity.agents.config.username = wa1\r\n";
        fs::write(&path, text).unwrap();
        let old = Import::read(&path).unwrap();
        assert_eq!(old.name(), Some("wa1"));
        let new = old.text(&[(USERNAME, "wa1".into())]);
        let wanted = "# f\u{fc}r die Filialen\ncom.sun.identity.agents.config.username = wa1\n";
        assert_eq!(new.text, wanted);
    }

    #[test]
    fn secrets_beside_the_file_have_a_fate_too() {
        let folder = tempfile::tempdir().unwrap();
        let beside = format!(
            "{} = bm90IG91cnM=\n\
             com.sun.identity.agents.config.forward.proxy.password = bm90IG91cnM=\n",
            crate::secrets::PASSWORD
        );
        fs::write(folder.path().join("agent-password.conf"), beside).unwrap();
        let key = format!("{KEY} = bm90IG91cnM=\n");
        fs::write(folder.path().join("agent-key.conf"), key).unwrap();
        let old = import(
            folder.path(),
            "com.sun.identity.agents.config.username = wa1\n",
        );
        let mut new = old.text(&[(USERNAME, "wa1".into())]);
        new.report.given([crate::secrets::PASSWORD].into_iter());
        let told = new.report.to_string();
        let words: Vec<Vec<&str>> = told
            .lines()
            .filter(|line| line.contains("agent-password.conf"))
            .map(|line| line.split_whitespace().take(2).collect())
            .collect();
        let place = "agent-password.conf";
        assert_eq!(
            words,
            [[place, "replaced"], [place, "unreadable"]],
            "{told}"
        );
    }

    /// Every property of the table at once, with its default or a value of its own.
    #[test]
    fn the_template_with_every_property_is_taken_over_as_it_is() {
        let folder = tempfile::tempdir().unwrap();
        let template = include_str!("../../templates/agent.conf.template");
        // What is a comment there only because it is the default.
        let all: String = template
            .lines()
            .map(
                |line| match line.strip_prefix('#').and_then(|l| l.split_once(" = ")) {
                    Some((name, value))
                        if !value.is_empty() && row(name.split('[').next().unwrap()).is_some() =>
                    {
                        format!("{name} = {value}\n")
                    }
                    _ => format!("{line}\n"),
                },
            )
            .collect();
        // As an installer has filled it in.
        let mut all = all;
        for (word, value) in [
            ("AM_AGENT_NAME", "wa1"),
            ("AM_AGENT_REALM", "/"),
            (
                "AM_OPENAM_URL",
                "https://am.example.com:8443/am/ https://am2.example.com:8443/am/",
            ),
            ("AM_AGENT_URL", "https://www.example.com:443"),
            ("AM_AGENT_FQDN", "www.example.com"),
            ("AM_SSL_CA", "/etc/ssl/am.pem"),
            ("AM_PDP_TEMP_PATH", "/old/pdp-cache"),
            ("AM_AUDIT_FILE_PATH", "/old/audit.log"),
            ("AM_DEBUG_FILE_PATH", "/old/debug.log"),
        ] {
            all = all.replace(&format!("= {word}\n"), &format!("= {value}\n"));
        }
        let old = import(folder.path(), &all);
        assert!(old.lines.len() > 100, "{}", old.lines.len());
        let given = [
            (URLS, old.urls().unwrap().to_owned()),
            (REALM, "/".to_owned()),
            (USERNAME, "wa1".to_owned()),
        ];
        let new = old.text(&given);
        for (name, fate) in fates(&new) {
            assert!(
                !matches!(fate, Fate::Unknown | Fate::Malformed | Fate::Unreadable),
                "{name}: {fate:?}"
            );
        }
        // The very same file: what its properties do is what they do in any other.
        let active = |text: &str| -> Vec<String> {
            let lines = text
                .lines()
                .filter(|l| !l.is_empty() && !l.starts_with('#'));
            lines.map(str::to_owned).collect()
        };
        let secret = |line: &String| {
            let name = line.split([' ', '=', '[']).next().unwrap();
            row(name).is_some_and(|row| row.kind == Kind::Secret)
        };
        let mut wanted = active(&all);
        wanted.retain(|line| !secret(line));
        assert_eq!(active(&new.text), wanted);
    }
}

//! What changed from one configuration to another, in the words of whoever wrote it?
//!
//! Compares lines, property by property, as far as they count. It must not show a secret, nor a value that
//! may hold one, and does not say whether a change is right.

use alloc::{
    format,
    string::{String, ToString},
    vec::Vec,
};
use core::fmt;

use super::{
    parse,
    raw::{Line, Properties, Source},
    table::{Kind, PROPERTIES, Property, Reload, State},
};

/// The file that may change while the server runs.
const FILE: &str = "agent.conf";
/// Longest part of a value that is shown, in characters, and most entries of a list.
const SHOWN: usize = 60;
const ENTRIES: usize = 8;

/// Where a configuration stands: the files, and AM's profile where there is one.
pub type Written<'p> = (&'p Properties, Option<&'p Properties>);

/// A property that has other lines than before.
pub struct Change {
    property: &'static Property,
    /// What was taken away, and what was added.
    before: Vec<String>,
    after: Vec<String>,
}

impl Change {
    /// The name of the property.
    pub fn name(&self) -> &'static str {
        self.property.name
    }

    /// Whether the change counts only after the web server has read its files again.
    pub fn takes_restart(&self) -> bool {
        self.property.reload == Reload::Restart && self.property.state == State::Works
    }
}

impl fmt::Display for Change {
    /// `NAME: "old" -> "new"`; of lists and maps what was added and taken away. Secrets are not shown.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", self.property.name)?;
        match self.property.kind {
            Kind::Secret => f.write_str("changed"),
            Kind::List | Kind::Map => {
                let added = self.after.iter().map(|entry| ('+', entry));
                let taken = self.before.iter().map(|entry| ('-', entry));
                let all: Vec<String> = added
                    .chain(taken)
                    .map(|(sign, entry)| format!("{sign} {entry}"))
                    .collect();
                f.write_str(&all[..all.len().min(ENTRIES)].join(", "))?;
                match all.len().checked_sub(ENTRIES + 1) {
                    Some(more) => write!(f, " and {} more", more + 1),
                    None => Ok(()),
                }
            }
            _ => {
                let of = |side: &[String]| side.first().map_or("nothing".to_string(), Clone::clone);
                write!(f, "{} -> {}", of(&self.before), of(&self.after))
            }
        }
    }
}

/// What counts otherwise in `new` than in `old`, in the order of the table.
pub fn changes(old: Written<'_>, new: Written<'_>) -> Vec<Change> {
    let one = |property: &'static Property| {
        let (before, after) = (entries(property, old), entries(property, new));
        let only_in = |here: &[Entry], there: &[Entry]| {
            let own = here.iter().filter(|entry| !there.contains(entry));
            own.map(shown).collect()
        };
        (before != after).then(|| Change {
            property,
            before: only_in(&before, &after),
            after: only_in(&after, &before),
        })
    };
    PROPERTIES.iter().filter_map(one).collect()
}

/// What stands between the brackets, and the value.
type Entry = (Option<String>, String);

/// What is written of a property, as far as it counts: of most the last line, of lists and maps all.
fn entries(property: &Property, (files, profile): Written<'_>) -> Vec<Entry> {
    let lines = parse::lines_in_force(property, files, profile);
    let first = match property.kind {
        Kind::List | Kind::Map => 0,
        _ => lines.len().saturating_sub(1),
    };
    let lines = lines[first..].iter();
    let mut all: Vec<Entry> = lines.map(|l| (l.index.clone(), l.value.clone())).collect();
    all.sort_unstable();
    all
}

/// An entry in quotes and cut. URLs may hold credentials or a query.
fn shown((index, value): &Entry) -> String {
    let open = |text: &str| !text.contains(['@', '?']);
    let index = match index {
        Some(index) if open(index) => format!("[{}]=", cut(index)),
        Some(_) => "[...]=".to_string(),
        None => String::new(),
    };
    match open(value) {
        true => format!("{index}\"{}\"", cut(value)),
        false => format!("{index}(not shown)"),
    }
}

fn cut(text: &str) -> String {
    if text.chars().count() <= SHOWN {
        return text.to_string();
    }
    let begin: String = text.chars().take(SHOWN).collect();
    format!("{begin}...")
}

fn is_secret(line: &Line) -> bool {
    let mut rows = PROPERTIES.iter().filter(|row| row.kind == Kind::Secret);
    rows.any(|row| row.is_called(&line.name))
}

/// A text of `agent.conf` without lines of secrets, which belong into other files; the others keep their
/// numbers.
pub fn without_secrets(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for line in text.lines() {
        let parsed = Properties::parse(line, Source::File(FILE.to_string()));
        if !parsed.lines().iter().any(is_secret) {
            out.push_str(line);
        }
        out.push('\n');
    }
    out
}

/// The same files with another text of `agent.conf`, as [`without_secrets`] leaves it. Secrets stay as they
/// were.
pub fn with_text(files: &Properties, text: &str) -> Properties {
    let file = Source::File(FILE.to_string());
    let mut all = Properties::parse(text, file.clone());
    let kept = |line: &&Line| line.source != file || is_secret(line);
    all.append(Properties {
        lines: files.lines.iter().filter(kept).cloned().collect(),
        malformed: (files.malformed.iter())
            .filter(|(_, source, _)| *source != file)
            .cloned()
            .collect(),
    });
    all
}

#[cfg(test)]
mod tests {
    use std::{string::ToString, vec, vec::Vec};

    use super::*;

    fn file(text: &str) -> Properties {
        Properties::parse(text, Source::File(FILE.to_string()))
    }

    fn said(old: &str, new: &str) -> Vec<String> {
        let (old, new) = (file(old), file(new));
        let all = changes((&old, None), (&new, None));
        all.iter().map(ToString::to_string).collect()
    }

    const P: &str = "com.sun.identity.agents.config";

    #[test]
    fn every_kind_of_change_is_shown_in_its_form() {
        let old = format!(
            "{P}.sso.only = false\n{P}.notenforced.url[0] = /a\n{P}.notenforced.url[1] = /b\n\
             {P}.polling.interval = 5\n{P}.polling.interval = 7\n"
        );
        let new = format!(
            "# moved\n{P}.notenforced.url[1] = /b\n{P}.notenforced.url[0] = /c\n{P}.polling.interval = 7\n\
             {P}.cookie.secure = true\n"
        );
        assert_eq!(
            said(&old, &new),
            [
                format!("{P}.cookie.secure: nothing -> \"true\""),
                format!("{P}.notenforced.url: + [0]=\"/c\", - [0]=\"/a\""),
                format!("{P}.sso.only: \"false\" -> nothing"),
            ]
        );
        assert_eq!(said(&old, &old), Vec::<String>::new());
    }

    #[test]
    fn secrets_and_what_may_hold_one_are_not_shown() {
        let old = format!("{P}.password = abc\n{P}.logout.redirect.url = /a\n");
        let new = format!(
            "{P}.password = def\n{P}.logout.redirect.url = https://user:word@www.example.com/\n"
        );
        let said = said(&old, &new);
        assert_eq!(said[0], format!("{P}.password: changed"));
        assert!(said[1].ends_with("\"/a\" -> (not shown)"), "{said:?}");
        let stripped = without_secrets(&new);
        assert!(!stripped.contains("def"));
        assert_eq!(stripped.lines().count(), 2, "numbers of lines stay");
    }

    #[test]
    fn long_values_and_lists_are_cut() {
        let list: String = (0..12)
            .map(|n| format!("{P}.notenforced.url[{n}] = /{}\n", "x".repeat(200)))
            .collect();
        let said = said("", &list);
        assert!(
            said[0].ends_with(" and 4 more") && said[0].len() < 800,
            "{said:?}"
        );
    }

    #[test]
    fn what_takes_a_restart_is_known() {
        let old = file("");
        let new = file(&format!(
            "{P}.naming.url = https://am.example.com/am\n{P}.sso.only = true\n\
             {P}.connection.pool.enable = false\n{P}.cookie.name = other\n"
        ));
        let all = changes((&old, None), (&new, None));
        let restart: Vec<_> = all
            .iter()
            .filter(|c| c.takes_restart())
            .map(Change::name)
            .collect();
        assert_eq!(
            restart,
            [format!("{P}.naming.url"), format!("{P}.cookie.name")]
        );
    }

    #[test]
    fn another_text_leaves_the_other_files_as_they_are() {
        let mut files = file(&format!("{P}.sso.only = true\n{P}.password = abc\n"));
        let key = Source::File("agent-key.conf".to_string());
        files.append(Properties::parse(&format!("{P}.key = xyz\n"), key));
        let with = with_text(&files, &format!("\n{P}.cookie.secure = true\n"));
        let lines: Vec<_> = with
            .lines()
            .iter()
            .map(|l| (l.name.trim_start_matches(P), l.value.as_str(), l.number))
            .collect();
        assert_eq!(
            lines,
            vec![
                (".cookie.secure", "true", Some(2)),
                (".password", "abc", Some(2)),
                (".key", "xyz", Some(1)),
            ]
        );
    }

    #[test]
    fn what_the_profile_decides_is_compared_there() {
        let files = file(&format!("{P}.sso.only = true\n"));
        let profile = |value: &str| {
            Properties::from_profile(&[(format!("{P}.sso.only"), vec![value.to_string()])])
        };
        let (old, new) = (profile("false"), profile("true"));
        let all = changes((&files, Some(&old)), (&files, Some(&new)));
        assert_eq!(all.len(), 1);
        assert_eq!(
            all[0].to_string(),
            format!("{P}.sso.only: \"false\" -> \"true\"")
        );
        assert_eq!(changes((&files, Some(&new)), (&files, Some(&new))).len(), 0);
    }
}

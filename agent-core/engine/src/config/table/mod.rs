//! Every property the product knows, one row each: its name, what it takes, what holds without it,
//! where it may be set, whether it works, and the function that sets it.
//!
//! The reference in `docs/properties.md` and the installer's template are made from these rows, so a
//! row says for users what they need to know. A property that is read but has no effect must say so
//! in its [`State`]; nothing is ignored without a word.

mod access;
mod attributes;
mod connection;
mod legacy;
mod login;
mod monitor;
mod operation;
mod own;

use super::{Config, values::Values};

/// Writes the value of one property into the configuration, or reports why it cannot.
pub type Set = fn(&mut Config, &mut Values<'_>);

/// How the text of a property is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Any text.
    Text,
    /// A whole number.
    Number,
    /// `true`, `on`, non-zero; `false`, `off`, 0.
    Switch,
    /// One of some words, compared without case.
    Choice,
    /// `name[0] = …`, `name[1] = …`.
    List,
    /// `name[key] = …`.
    Map,
    /// Never shown.
    Secret,
}

/// When a change counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reload {
    /// With the next configuration, while the server runs.
    HotSwap,
    /// After the web server was restarted.
    Restart,
}

/// Which source speaks for a property when the profile is kept in AM (`centralized`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum From {
    /// The files alone.
    File,
    /// The profile alone.
    Profile,
    /// The files where they say something, otherwise the profile.
    FileFirst,
    /// The profile where it says something, otherwise the files.
    ProfileFirst,
}

/// What became of a property.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// It does what it says.
    Works,
    /// It is accepted and changes nothing, for this reason.
    NoEffect(&'static str),
    /// Ignoring it would weaken protection, so another value than the default stops the start.
    RefusedUnlessDefault(&'static str),
    /// It has no effect in this version; another value than the default is reported.
    NotYet,
}

/// One property.
#[derive(Clone, Copy)]
pub struct Property {
    /// The name, case-sensitive.
    pub name: &'static str,
    /// Other spellings that mean the same.
    pub aliases: &'static [&'static str],
    /// How its text is read.
    pub kind: Kind,
    /// The text that would say what holds anyway; empty when unset.
    pub default: &'static str,
    /// When a change counts.
    pub reload: Reload,
    /// It is needed before AM can be asked.
    pub bootstrap: bool,
    /// Which source speaks for it in centralized mode.
    pub from: From,
    /// An empty value is a value of its own.
    pub keeps_empty: bool,
    /// The vendor's version that introduced it; `own` for ours.
    pub since: &'static str,
    /// What it does, for the reference.
    pub doc: &'static str,
    /// Whether it works.
    pub state: State,
    /// The test that shows that it works, where one is dedicated to it.
    pub test: Option<&'static str>,
    /// The value in the installer's template, where it is not the default; `AM_…` words are replaced
    /// by the installer.
    pub template: Option<&'static str>,
    /// Sets it; called with at least one line.
    pub set: Set,
}

impl Property {
    /// Whether a line of this name is about this property.
    pub fn is_called(&self, name: &str) -> bool {
        self.name == name || self.aliases.contains(&name)
    }

    const fn alias(mut self, names: &'static [&'static str]) -> Property {
        self.aliases = names;
        self
    }

    const fn boot(mut self) -> Property {
        self.bootstrap = true;
        self.from = From::File;
        self.reload = Reload::Restart;
        self
    }

    const fn from(mut self, from: From) -> Property {
        self.from = from;
        self
    }

    const fn restart(mut self) -> Property {
        self.reload = Reload::Restart;
        self
    }

    const fn hot(mut self) -> Property {
        self.reload = Reload::HotSwap;
        self
    }

    const fn empty_counts(mut self) -> Property {
        self.keeps_empty = true;
        self
    }

    const fn template(mut self, value: &'static str) -> Property {
        self.template = Some(value);
        self
    }

    const fn test(mut self, name: &'static str) -> Property {
        self.test = Some(name);
        self
    }
}

/// A row that works.
const fn works(
    name: &'static str,
    kind: Kind,
    default: &'static str,
    since: &'static str,
    doc: &'static str,
    set: Set,
) -> Property {
    Property {
        name,
        aliases: &[],
        kind,
        default,
        reload: Reload::HotSwap,
        bootstrap: false,
        from: From::Profile,
        keeps_empty: false,
        since,
        doc,
        state: State::Works,
        test: None,
        template: None,
        set,
    }
}

/// A row that means nothing to this product.
const fn idle(
    name: &'static str,
    kind: Kind,
    default: &'static str,
    since: &'static str,
    doc: &'static str,
    why: &'static str,
) -> Property {
    let mut row = works(name, kind, default, since, doc, nothing);
    row.state = State::NoEffect(why);
    row
}

/// For rows that set nothing.
fn nothing(_: &mut Config, _: &mut Values<'_>) {}

/// The rows by subject, in the order of the reference.
pub const SECTIONS: &[(&str, &[Property])] = &[
    ("Agent profile", connection::PROFILE),
    ("Connection to AM", connection::CONNECTION),
    ("TLS towards AM", connection::TLS),
    ("Forward proxy", connection::PROXY),
    ("Configuration and notifications", connection::CONFIGURATION),
    ("Login", login::LOGIN),
    ("ID token", login::ID_TOKEN),
    ("Cookies", login::COOKIES),
    ("Logout", login::LOGOUT),
    ("Not-enforced URLs and addresses", access::NOT_ENFORCED),
    ("Host names and URLs", access::URLS),
    ("Client address", access::CLIENT),
    ("Sessions and policies", access::POLICY),
    ("Attributes and the user's name", attributes::ATTRIBUTES),
    ("Responses", operation::RESPONSES),
    ("POST data preservation", operation::POST_DATA),
    ("Load balancing", operation::LOAD_BALANCING),
    ("Audit", operation::AUDIT),
    ("Logs", operation::LOGS),
    ("Our own", own::OWN),
    ("Monitoring", monitor::MONITORING),
    ("Other hosts", legacy::OTHER_HOSTS),
    ("The profile's own entries", legacy::ENTRIES),
    ("Older agents and servers", legacy::OLDER),
];

const COUNT: usize = {
    let (mut n, mut s) = (0, 0);
    while s < SECTIONS.len() {
        n += SECTIONS[s].1.len();
        s += 1;
    }
    n
};

static ALL: [Property; COUNT] = {
    let mut all = [connection::PROFILE[0]; COUNT];
    let (mut n, mut s) = (0, 0);
    while s < SECTIONS.len() {
        let mut row = 0;
        while row < SECTIONS[s].1.len() {
            all[n] = SECTIONS[s].1[row];
            n += 1;
            row += 1;
        }
        s += 1;
    }
    all
};

/// Every property, in the order of [`SECTIONS`].
pub const PROPERTIES: &[Property] = &ALL;

#[cfg(test)]
mod tests {
    use std::{collections::HashSet, string::ToString, vec, vec::Vec};

    use super::*;
    use crate::config::{
        parse::Severity,
        raw::{Line, Source},
    };

    #[test]
    fn every_name_is_there_once() {
        let mut seen = HashSet::new();
        for row in PROPERTIES {
            assert!(seen.insert(row.name), "{}", row.name);
            for alias in row.aliases {
                assert!(seen.insert(alias), "{alias}");
            }
        }
        let vendor = PROPERTIES
            .iter()
            .filter(|p| !p.name.starts_with("portcullis."))
            .count();
        // One alias is a deprecated property of its own.
        assert_eq!(vendor + 1, 194);
    }

    #[test]
    fn the_text_of_a_default_says_what_holds_without_it() {
        for row in PROPERTIES.iter().filter(|r| !r.default.is_empty()) {
            let line = Line {
                name: row.name.to_string(),
                index: None,
                value: row.default.to_string(),
                number: None,
                source: Source::Am,
            };
            let (mut config, mut problems) = (Config::default(), vec![]);
            (row.set)(&mut config, &mut Values::new(row, &[&line], &mut problems));
            assert_eq!(config, Config::default(), "{}", row.name);
            assert_eq!(problems, [], "{}", row.name);
        }
    }

    /// A row that claims to work has to write somewhere: a value that differs from the default must
    /// change the configuration or be refused.
    #[test]
    fn a_row_that_works_sets_something() {
        for row in PROPERTIES.iter().filter(|r| r.state == State::Works) {
            if row.kind == Kind::Secret {
                continue;
            }
            let values: &[&str] = match row.kind {
                Kind::Number => &["7", "70", "700", "1", "202"],
                Kind::Switch => &["true", "false"],
                Kind::Choice => &[
                    "1",
                    "LOCAL",
                    "DEBUG",
                    "LDAP",
                    "HTTP_HEADER",
                    "LOG_BOTH",
                    "ALL",
                    "URL",
                    "2",
                    "IMMEDIATE_403",
                    "pingam",
                    "ignore",
                ],
                _ => &[
                    "other",
                    "https://www.example.com/x",
                    "agentRootURL=https://www.example.com/",
                    "www.example.com",
                    "www.example.com|192.0.2.1",
                    "192.0.2.1",
                    "/x",
                    "Lax",
                    "-TLSv1.2",
                    "SSO_ONLY",
                    "report",
                    "2027-01-31",
                    "X-Other",
                    "60",
                    "PUT",
                ],
            };
            let keys = ["a.example.com", "login"];
            let tried = keys
                .iter()
                .flat_map(|key| values.iter().map(move |v| (key, v)));
            let changed = tried.into_iter().any(|(key, value)| {
                let line = Line {
                    name: row.name.to_string(),
                    index: Some(key.to_string()).filter(|_| row.kind == Kind::Map),
                    value: value.to_string(),
                    number: None,
                    source: Source::Am,
                };
                let (mut config, mut problems) = (Config::default(), Vec::new());
                (row.set)(&mut config, &mut Values::new(row, &[&line], &mut problems));
                config != Config::default()
                    && problems.iter().all(|p| p.severity != Severity::Error)
            });
            assert!(changed, "{}", row.name);
        }
    }
}

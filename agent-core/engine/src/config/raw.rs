//! Properties as text: which names stand in a file or in AM's profile, with which values, and where.
//!
//! Reads the syntax of `agent.conf` (the subset of the 4.1 agent, exactly: no continuation lines, no
//! escapes, because regular expressions are stored raw) and the value format of AM's profile. It must
//! not know what any property means, except those that carry other properties or a password.

use alloc::{
    string::{String, ToString},
    vec::Vec,
};
use core::fmt;

use zeroize::Zeroize;

/// AM's attribute whose values are whole property lines (am-protocol 4.4).
const FREE_FORM: &str = "com.sun.identity.agents.config.freeformproperties";
/// AM's attribute with the stored password: it must never enter our memory as a property.
const PROFILE_PASSWORD: &str = "userpassword";
/// What AM adds to every profile to describe the entry itself.
const ENTRY: [&str; 10] = [
    "_id",
    "_rev",
    "_type",
    "username",
    "realm",
    "AgentType",
    "universalid",
    "agentgroup",
    "objectclass",
    "roles",
];

/// Where a property was written down.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// A file, by its name without directory.
    File(String),
    /// An environment variable, by its name.
    Environment(String),
    /// An attribute of the agent's profile.
    Am,
    /// A custom (free-form) property of the profile; beats the attribute of the same name.
    Custom,
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Source::File(name) => f.write_str(name),
            Source::Environment(name) => write!(f, "environment variable {name}"),
            Source::Am => f.write_str("profile in AM"),
            Source::Custom => f.write_str("custom property in AM"),
        }
    }
}

/// One `name[index] = value`. No `Debug`, and the value is wiped when dropped: it may be a key.
#[derive(Clone, PartialEq, Eq)]
pub struct Line {
    /// The name, case as written.
    pub name: String,
    /// What stands between the brackets; `None` without brackets.
    pub index: Option<String>,
    /// The value without surrounding white space; may be empty.
    pub value: String,
    /// Line number from 1; `None` for values from AM.
    pub number: Option<u32>,
    /// Where it was written.
    pub source: Source,
}

impl Drop for Line {
    fn drop(&mut self) {
        self.value.zeroize();
    }
}

/// The lines of one or more sources, in order.
#[derive(Clone, Default)]
pub struct Properties {
    pub(super) lines: Vec<Line>,
    /// Lines that are neither blank, comment nor property: (number, source, why).
    pub(super) malformed: Vec<(Option<u32>, Source, &'static str)>,
}

impl Properties {
    /// Reads the text of a file. Lines it cannot read are kept as such; [`super::read`] names them.
    pub fn parse(text: &str, source: Source) -> Properties {
        let mut all = Properties::default();
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        for (number, line) in (1u32..).zip(text.lines()) {
            all.add(line, Some(number), &source);
        }
        all
    }

    /// Reads the attributes of the agent's profile, each with all its values as AM returns them.
    ///
    /// A value that begins with `[` is an entry of a list or map, any other one the value itself
    /// (am-protocol 4.4). AM's bookkeeping attributes and the stored password are left out.
    pub fn from_profile(attributes: &[(String, Vec<String>)]) -> Properties {
        let mut all = Properties::default();
        for (name, values) in attributes {
            let name = name.as_str();
            if is_stored_password(name) || ENTRY.iter().any(|e| name.eq_ignore_ascii_case(e)) {
                continue;
            }
            if name == FREE_FORM {
                for value in values.iter().filter(|v| !is_placeholder(v)) {
                    all.add(free_form_line(value), None, &Source::Custom);
                }
                continue;
            }
            for value in values {
                all.add_profile_value(name, value);
            }
        }
        all
    }

    /// Appends the lines of another source, e.g. `agent-password.conf` after `agent.conf`.
    pub fn append(&mut self, mut other: Properties) {
        self.lines.append(&mut other.lines);
        self.malformed.append(&mut other.malformed);
    }

    /// All lines in the order written.
    pub fn lines(&self) -> &[Line] {
        &self.lines
    }

    /// The last value of a name; an empty one counts as absent.
    pub fn last(&self, name: &str) -> Option<&Line> {
        self.lines
            .iter()
            .rev()
            .find(|l| l.name == name && !l.value.is_empty())
    }

    fn add_profile_value(&mut self, name: &str, value: &str) {
        let entry = if value.starts_with('[') {
            split_index(value)
        } else {
            None
        };
        let (index, value) = match entry {
            Some((index, value)) => (Some(index.to_string()), value),
            None => (None, value.trim()),
        };
        self.lines.push(Line {
            name: name.to_string(),
            index,
            value: value.to_string(),
            number: None,
            source: Source::Am,
        });
    }

    fn add(&mut self, line: &str, number: Option<u32>, source: &Source) {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            return;
        }
        match split_line(line) {
            Ok((name, index, value)) => self.lines.push(Line {
                name: name.to_string(),
                index: index.map(ToString::to_string),
                value: value.to_string(),
                number,
                source: source.clone(),
            }),
            Err(why) => self.malformed.push((number, source.clone(), why)),
        }
    }
}

/// Whether an attribute of the profile is the stored password.
pub fn is_stored_password(name: &str) -> bool {
    name.eq_ignore_ascii_case(PROFILE_PASSWORD)
}

/// `[]=`, `[0]=` and the like: an empty list as AM writes it.
fn is_placeholder(value: &str) -> bool {
    let value = value.trim();
    value.is_empty()
        || split_index(value).is_some_and(|(index, rest)| {
            rest.is_empty() && index.bytes().all(|b| b.is_ascii_digit())
        })
}

/// The console may number the custom properties themselves: `[3]=name=value`.
fn free_form_line(value: &str) -> &str {
    match split_index(value.trim()) {
        Some((index, rest)) if index.bytes().all(|b| b.is_ascii_digit()) => rest,
        _ => value,
    }
}

/// `[index] = value` into its two parts. The index ends at the first `]` that an `=` follows, so
/// regular expressions may be keys.
fn split_index(text: &str) -> Option<(&str, &str)> {
    let rest = text.strip_prefix('[')?;
    for (at, _) in rest.match_indices(']') {
        if let Some(value) = rest[at + 1..].trim_start().strip_prefix('=') {
            return Some((rest[..at].trim(), value.trim()));
        }
    }
    None
}

type Parts<'t> = (&'t str, Option<&'t str>, &'t str);

/// One trimmed line into name, index and value. The 4.1 parser takes a name only when a space, `=`
/// or `[` follows it; a tab is part of the name there, so such a line never counted.
fn split_line(line: &str) -> Result<Parts<'_>, &'static str> {
    let end = line
        .find([' ', '=', '['])
        .ok_or("there is no '=' in this line")?;
    let (name, rest) = (&line[..end], line[end..].trim_start_matches(' '));
    if name.is_empty() {
        return Err("there is no name in front of the '='");
    }
    if name.contains(char::is_whitespace) {
        return Err("a tab follows the name; only spaces may stand before the '='");
    }
    if rest.starts_with('[') {
        let (index, value) =
            split_index(rest).ok_or("the bracket is not closed, or no '=' follows it")?;
        return Ok((name, Some(index), value));
    }
    match rest.strip_prefix('=') {
        Some(value) => Ok((name, None, value.trim())),
        None => Err("something else than '=' or '[' follows the name"),
    }
}

#[cfg(test)]
mod tests {
    use std::{string::ToString, vec, vec::Vec};

    use super::*;

    fn file(text: &str) -> Properties {
        Properties::parse(text, Source::File("agent.conf".to_string()))
    }

    fn shown(all: &Properties) -> Vec<(&str, Option<&str>, &str, Option<u32>)> {
        all.lines()
            .iter()
            .map(|l| {
                (
                    l.name.as_str(),
                    l.index.as_deref(),
                    l.value.as_str(),
                    l.number,
                )
            })
            .collect()
    }

    #[test]
    fn the_first_equals_sign_separates() {
        let all = file("# comment\r\n\r\n  a.b = x=y \\ \r\n a.c=\n#a.d=1\na.e[0] = v\na.f [k]=w");
        assert_eq!(
            shown(&all),
            [
                ("a.b", None, "x=y \\", Some(3)),
                ("a.c", None, "", Some(4)),
                ("a.e", Some("0"), "v", Some(6)),
                ("a.f", Some("k"), "w", Some(7)),
            ]
        );
        assert!(all.malformed.is_empty());
    }

    #[test]
    fn what_is_not_a_property_is_kept_with_its_number() {
        let all = file("just text\nnoequals\na\t= 1\na[0 = 1\n= 2\na.b = 1");
        let numbers: Vec<_> = all.malformed.iter().map(|m| m.0.unwrap_or(0)).collect();
        assert_eq!(numbers, [1, 2, 3, 4, 5]);
        assert_eq!(all.lines().len(), 1);
    }

    #[test]
    fn a_regular_expression_may_be_an_index() {
        let all = file(r"a.h[[a-z]+\.x=y]=port|host");
        assert_eq!(
            shown(&all),
            [("a.h", Some(r"[a-z]+\.x=y"), "port|host", Some(1))]
        );
    }

    #[test]
    fn an_empty_value_hides_nothing() {
        let all = file("a.b = 1\na.b =\n");
        assert_eq!(all.last("a.b").map(|l| l.value.as_str()), Some("1"));
    }

    #[test]
    fn profile_values_become_lines() {
        let pair = |n: &str, v: &[&str]| {
            (
                n.to_string(),
                v.iter().map(ToString::to_string).collect::<Vec<_>>(),
            )
        };
        let all = Properties::from_profile(&[
            pair("_id", &["wa1"]),
            pair("userpassword", &["{SHA-1}xx"]),
            pair("a.single", &["true"]),
            pair("a.list", &["[1]=b", "[0]=a"]),
            pair("a.map", &["[]="]),
            pair(
                "sunIdentityServerDeviceKeyValue",
                &["agentRootURL=http://www.example.com:80/"],
            ),
            pair(
                FREE_FORM,
                &["[0]=", "a.free[0]=x", "[2]=a.numbered=y", "a.single=false"],
            ),
        ]);
        assert_eq!(
            shown(&all),
            vec![
                ("a.single", None, "true", None),
                ("a.list", Some("1"), "b", None),
                ("a.list", Some("0"), "a", None),
                ("a.map", Some(""), "", None),
                (
                    "sunIdentityServerDeviceKeyValue",
                    None,
                    "agentRootURL=http://www.example.com:80/",
                    None
                ),
                ("a.free", Some("0"), "x", None),
                ("a.numbered", None, "y", None),
                ("a.single", None, "false", None),
            ]
        );
        assert!(all.lines()[7].source == Source::Custom);
    }
}

//! Which requests log in elsewhere than the others? From the lines of a configuration to rules that a
//! request can be compared with.
//!
//! Rules about a header come first, then those about a parameter, then the Web Agent's texts, then its
//! expressions; within a kind in the order of their numbers. The first that holds counts. All addresses
//! are the operator's: what a client sends chooses among them, and can name no other (rule L7).

use alloc::{
    format,
    string::{String, ToString},
    vec::Vec,
};

use super::{Config, web};
use crate::{contract::RequestView, url::Regex};

const PATTERN: &str = "org.forgerock.agents.config.conditional.login.pattern";
const PATTERN_URL: &str = "org.forgerock.agents.config.conditional.login.url";

/// Where requests go to log in that a text or a key speaks of, in the order of a list for failover.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LoginLine {
    /// A part of a URL, a number of the list, or `Name:value`.
    pub key: String,
    /// Login pages or AM's authorize addresses; none means AM's own.
    pub urls: Vec<String>,
}

/// A rule about where to log in.
pub(crate) struct LoginRule {
    when: When,
    /// See [`LoginLine::urls`].
    pub(crate) urls: Vec<String>,
}

enum When {
    /// Without a value, any.
    Header(String, Option<String>),
    Parameter(String, Option<String>),
    Contains(String),
    Matches(Regex),
}

impl LoginRule {
    /// Whether a request of this URL with its query is meant.
    pub(crate) fn holds(&self, req: &RequestView<'_>, url: &str, query: &str) -> bool {
        match &self.when {
            When::Header(name, value) => req.values(name.as_bytes()).any(|sent| {
                let fits = |value: &String| sent.trim_ascii() == value.as_bytes();
                value.as_ref().is_none_or(fits)
            }),
            When::Parameter(name, value) => query.split('&').any(|field| {
                let (sent, text) = field.split_once('=').unwrap_or((field, ""));
                sent == name && value.as_ref().is_none_or(|value| text == value)
            }),
            When::Contains(text) => url.contains(text.as_str()),
            When::Matches(regex) => regex.is_match(url.as_bytes()),
        }
    }

    /// Whether the rule is about this header and this value of it.
    pub(crate) fn wants_header(&self, name: &[u8], value: &[u8]) -> bool {
        matches!(&self.when, When::Header(n, v)
            if n.as_bytes().eq_ignore_ascii_case(name)
                && v.as_ref().is_none_or(|v| v.as_bytes() == value.trim_ascii()))
    }
}

/// All addresses that rules lead to.
pub(super) fn addresses(config: &Config) -> impl Iterator<Item = &String> {
    let lines = config.login_headers.iter().chain(&config.login_parameters);
    let lines = lines.chain(&config.conditional_login);
    let lines = lines.chain(&config.conditional_pattern_urls);
    lines.flat_map(|line| &line.urls)
}

/// The rules of a configuration. What cannot be compiled is reported and left out: the result must not
/// be used then.
pub(super) fn compile(config: &Config, mut wrong: impl FnMut(&str, String)) -> Vec<LoginRule> {
    let pair = |line: &LoginLine| match line.key.split_once(':') {
        Some((name, value)) => (name.to_string(), Some(value.to_string())),
        None => (line.key.clone(), None),
    };
    let mut rules: Vec<LoginRule> = Vec::new();
    let mut add = |when: When, line: &LoginLine| {
        rules.push(LoginRule {
            when,
            urls: line.urls.clone(),
        });
    };
    for line in &config.login_headers {
        let (name, value) = pair(line);
        add(When::Header(name, value), line);
    }
    for line in &config.login_parameters {
        let (name, value) = pair(line);
        add(When::Parameter(name, value), line);
    }
    for line in &config.conditional_login {
        add(When::Contains(line.key.clone()), line);
    }
    let mut patterns: Vec<&(String, String)> = config.conditional_pattern.iter().collect();
    patterns.sort_by_key(|(key, _)| key.parse::<u32>().unwrap_or(0));
    for (key, text) in patterns {
        let urls = config.conditional_pattern_urls.iter();
        let Some(line) = urls.clone().find(|line| line.key == *key) else {
            wrong(
                PATTERN,
                format!("entry {key} has no entry {key} of {PATTERN_URL}"),
            );
            continue;
        };
        match Regex::parse(text, false, false) {
            Ok(regex) => add(When::Matches(regex), line),
            Err(why) => wrong(
                PATTERN,
                format!("\"{text}\" is no regular expression that can be used: {why}"),
            ),
        }
    }
    for line in &config.conditional_pattern_urls {
        let mut patterns = config.conditional_pattern.iter();
        if !patterns.any(|(key, _)| *key == line.key) {
            let key = &line.key;
            wrong(
                PATTERN_URL,
                format!("entry {key} has no entry {key} of {PATTERN}"),
            );
        }
    }
    rules
}

/// `URL[,URL…]`: a comma separates only where another URL begins.
///
/// # Errors
/// Why one of them is none.
pub(super) fn urls(text: &str) -> Result<Vec<String>, &'static str> {
    let mut urls: Vec<String> = Vec::new();
    for part in text.split(',') {
        let begins = part.starts_with("http://") || part.starts_with("https://");
        match urls.last_mut() {
            Some(last) if !begins => {
                last.push(',');
                last.push_str(part);
            }
            _ => urls.push(part.trim().to_string()),
        }
    }
    for url in &urls {
        let (_, rest) = web::split(url)?;
        if rest.contains('#') {
            return Err("it has a fragment");
        }
    }
    Ok(urls)
}

#[cfg(test)]
mod tests {
    use alloc::vec;

    use super::*;

    #[test]
    fn commas_separate_where_a_url_begins() {
        for (text, expected) in [
            (
                "http://a/x?b=1,2,https://c/",
                Some(vec!["http://a/x?b=1,2", "https://c/"]),
            ),
            ("https://a", Some(vec!["https://a"])),
            ("", None),
            ("/login", None),
            ("https://a/#x", None),
            ("https://a,ftp://b", None),
        ] {
            let read = urls(text).ok();
            let read = read
                .as_ref()
                .map(|all| all.iter().map(String::as_str).collect::<Vec<_>>());
            assert_eq!(read, expected, "{text}");
        }
    }
}

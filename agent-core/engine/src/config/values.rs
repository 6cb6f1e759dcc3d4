//! Reads the value of one property into a typed field: numbers, switches, URLs, lists and maps.
//!
//! Each method writes its destination only when the value is right and otherwise reports the mistake
//! with its line. It must not know any property by name; the table does.

use alloc::{
    borrow::ToOwned,
    format,
    string::{String, ToString},
    vec::Vec,
};

use super::{
    Area, AtPath, AttributeMap, LoginLine, Methods, RuleLine, login_rules,
    parse::{Problem, Severity, problem},
    raw::Line,
    table::{Kind, Property},
    web::{self, Base},
};
use crate::url::AddressSet;

/// Longest part of a wrong value that a message repeats, in characters.
const SHOWN: usize = 60;

/// Request headers that frame the message, name its destination or belong to the client's own
/// authentication: an attribute must never overwrite them.
const RESERVED_HEADERS: [&str; 18] = [
    "connection",
    "keep-alive",
    "proxy-authenticate",
    "proxy-authorization",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "http2-settings",
    "host",
    "cookie",
    "set-cookie",
    "authorization",
    "content-length",
    "content-type",
    "content-encoding",
    "expect",
];

/// Words that the installer's template holds and that nobody may run with (rule K3).
pub(super) fn is_template_word(value: &str) -> bool {
    const PREFIXES: [&str; 9] = [
        "AM_OPENAM_",
        "AM_AGENT_",
        "AM_DEBUG_",
        "AM_AUDIT_",
        "AM_PDP_",
        "AM_SSL_",
        "AM_PROXY_",
        "@AGENT_",
        "@AM_",
    ];
    PREFIXES.iter().any(|p| value.starts_with(p))
        && value
            .bytes()
            .all(|b| b.is_ascii_uppercase() || b == b'_' || b == b'@')
}

/// The place of a line in a list that keeps an order; 0 without a number.
fn number_of(line: &Line) -> u32 {
    let index = line.index.as_ref();
    index.and_then(|i| i.parse().ok()).unwrap_or(0)
}

/// The tolerant boolean: `true`, `on` and non-zero integers are true, `false`, `off` and 0 false.
pub(super) fn switch(value: &str) -> Option<bool> {
    match value {
        _ if value.eq_ignore_ascii_case("true") || value.eq_ignore_ascii_case("on") => Some(true),
        _ if value.eq_ignore_ascii_case("false") || value.eq_ignore_ascii_case("off") => {
            Some(false)
        }
        _ => value.parse::<i64>().ok().map(|n| n != 0),
    }
}

/// The lines of one property, and where its mistakes go.
pub struct Values<'v> {
    property: &'static Property,
    lines: &'v [&'v Line],
    problems: &'v mut Vec<Problem>,
}

impl<'v> Values<'v> {
    pub(super) fn new(
        property: &'static Property,
        lines: &'v [&'v Line],
        problems: &'v mut Vec<Problem>,
    ) -> Values<'v> {
        Values {
            property,
            lines,
            problems,
        }
    }

    /// The last line of a scalar wins.
    pub(super) fn last(&self) -> Option<&'v Line> {
        self.lines.last().copied()
    }

    /// All lines, in the order of the files.
    pub(super) fn lines(&self) -> &'v [&'v Line] {
        self.lines
    }

    /// Refuses the configuration because of this line.
    pub(super) fn wrong(&mut self, line: &Line, what: &str, remedy: &str) {
        self.report(Severity::Error, line, what, remedy);
    }

    /// Says something about this line.
    pub(super) fn warn(&mut self, line: &Line, what: &str, remedy: &str) {
        self.report(Severity::Warning, line, what, remedy);
    }

    fn report(&mut self, severity: Severity, line: &Line, what: &str, remedy: &str) {
        let what = format!("{} {what}", self.show(&line.value));
        self.problems
            .push(problem(severity, line, self.property.name, what, remedy));
    }

    /// The value in quotes and cut. Secrets are not shown, nor URLs that may hold credentials or a
    /// query.
    fn show(&self, value: &str) -> String {
        if self.property.kind == Kind::Secret || value.contains(['@', '?']) {
            return "the value".to_owned();
        }
        if value.chars().count() <= SHOWN {
            return format!("\"{value}\"");
        }
        let cut: String = value.chars().take(SHOWN).collect();
        format!("\"{cut}...\"")
    }

    /// A whole number of `unit` between `min` and `max`.
    pub(super) fn number(&mut self, to: &mut u32, min: u32, max: u32, unit: &str) {
        let Some(line) = self.last() else { return };
        match line.value.parse::<u32>() {
            Ok(n) if (min..=max).contains(&n) => *to = n,
            _ => self.wrong(
                line,
                &format!("is not a number of {unit}"),
                &format!("write a whole number between {min} and {max}"),
            ),
        }
    }

    /// A whole number of `unit` at most `limit` away from zero.
    pub(super) fn signed(&mut self, to: &mut i32, limit: i32, unit: &str) {
        let Some(line) = self.last() else { return };
        match line.value.parse::<i32>() {
            Ok(n) if (-limit..=limit).contains(&n) => *to = n,
            _ => self.wrong(
                line,
                &format!("is not a number of {unit}"),
                &format!("write a whole number between -{limit} and {limit}"),
            ),
        }
    }

    /// A boolean.
    pub(super) fn switch(&mut self, to: &mut bool) {
        let Some(line) = self.last() else { return };
        match switch(&line.value) {
            Some(value) => *to = value,
            None => self.wrong(line, "is neither true nor false", "write true or false"),
        }
    }

    /// One of several words, compared without case.
    pub(super) fn choice<T: Copy>(&mut self, to: &mut T, words: &[(&str, T)]) {
        let Some(line) = self.last() else { return };
        match words
            .iter()
            .find(|(w, _)| w.eq_ignore_ascii_case(&line.value))
        {
            Some((_, value)) => *to = *value,
            None => {
                let all: Vec<&str> = words.iter().map(|(w, _)| *w).collect();
                let remedy = format!("write one of {}", all.join(", "));
                self.wrong(line, "is not a known word", &remedy);
            }
        }
    }

    /// Any text.
    pub(super) fn text(&mut self, to: &mut String) {
        if let Some(line) = self.last() {
            *to = line.value.clone();
        }
    }

    /// Any text, unset by default.
    pub(super) fn optional(&mut self, to: &mut Option<String>) {
        if let Some(line) = self.last() {
            *to = Some(line.value.clone());
        }
    }

    /// Text of which `good` approves.
    pub(super) fn checked(
        &mut self,
        to: &mut String,
        good: fn(&str) -> bool,
        what: &str,
        remedy: &str,
    ) {
        let Some(line) = self.last() else { return };
        if good(&line.value) {
            *to = line.value.clone();
        } else {
            self.wrong(line, what, remedy);
        }
    }

    /// A realm; gets its leading slash and loses a trailing one.
    pub(super) fn realm(&mut self, to: &mut String) {
        let Some(line) = self.last() else { return };
        match web::realm(&line.value) {
            Some(realm) => *to = realm,
            None => self.wrong(line, "is not a realm", "write a path as in / or /customers"),
        }
    }

    /// One realm of several lines, with its leading slash.
    pub(super) fn one_realm(&mut self, line: &Line) -> Option<String> {
        let realm = web::realm(&line.value);
        if realm.is_none() {
            self.wrong(line, "is not a realm", "write a path as in / or /customers");
        }
        realm
    }

    /// `name = value` for everything, `name[/app] = value` for what is at a path and below it. What
    /// `read` can't use it reports itself.
    pub(super) fn by_path<T>(
        &mut self,
        everywhere: &mut impl Everywhere<T>,
        areas: &mut Vec<AtPath<T>>,
        read: fn(&mut Self, &Line) -> Option<T>,
    ) {
        areas.clear();
        for &line in self.lines {
            let Some(value) = read(self, line) else {
                continue;
            };
            let area = match &line.index {
                None => Some(Area::everything()),
                Some(key) => Area::parse(key),
            };
            match area {
                None => self.wrong(
                    line,
                    "has no path in its brackets",
                    "write NAME[/app]=value, or NAME[http://www.example.com:80/app]=value",
                ),
                Some(area) if area.is_everything() => everywhere.is(value),
                Some(area) => areas.push(AtPath {
                    area,
                    value,
                    line: RuleLine {
                        value: line.value.clone(),
                        methods: Methods::ALL,
                        index: line.index.clone(),
                        line: line.number,
                        source: line.source.clone(),
                    },
                }),
            }
        }
    }

    /// A date or a time.
    pub(super) fn moment(&mut self, to: &mut Option<u64>) {
        let Some(line) = self.last() else { return };
        match super::mode::moment(&line.value) {
            Some(moment) => *to = Some(moment),
            None => self.wrong(
                line,
                "is no date of RFC 3339",
                "write it as in 2027-01-31 or 2027-01-31T08:00:00+01:00",
            ),
        }
    }

    /// A list of realms.
    pub(super) fn realms(&mut self, to: &mut Vec<String>) {
        to.clear();
        for &line in self.lines {
            match web::realm(&line.value) {
                Some(realm) => to.push(realm),
                None => self.wrong(line, "is not a realm", "write a path as in / or /customers"),
            }
        }
    }

    fn bad_url(&mut self, line: &Line, why: &str) {
        self.wrong(line, &format!("is not a usable URL: {why}"), web::REMEDY);
    }

    /// The URL of an AM or a site: no query, and a trailing slash is added.
    pub(super) fn base(&mut self, to: &mut Option<String>) {
        let Some(line) = self.last() else { return };
        match Base::parse(&line.value) {
            Ok(base) => *to = Some(base.to_string()),
            Err(why) => self.bad_url(line, why),
        }
    }

    /// Such URLs, separated by white space.
    pub(super) fn bases(&mut self, to: &mut Vec<String>) {
        let Some(line) = self.last() else { return };
        to.clear();
        for url in line.value.split_whitespace() {
            match Base::parse(url) {
                Ok(base) => to.push(base.to_string()),
                Err(why) => self.bad_url(line, why),
            }
        }
    }

    /// The agent's root URLs, with AM's prefix `agentRootURL=` or without.
    pub(super) fn root_urls(&mut self, to: &mut Vec<String>) {
        to.clear();
        for &line in self.lines {
            let url = line
                .value
                .strip_prefix("agentRootURL=")
                .unwrap_or(&line.value);
            match Base::parse(url) {
                Ok(base) => to.push(base.to_string()),
                Err(why) => self.bad_url(line, why),
            }
        }
    }

    /// `[key]=value`; the key as `read` understands it.
    pub(super) fn map(
        &mut self,
        to: &mut Vec<(String, String)>,
        read: fn(&str) -> Option<String>,
        remedy: &str,
    ) {
        to.clear();
        for &line in self.lines {
            match read(line.index.as_deref().unwrap_or_default()) {
                Some(key) => to.push((key, line.value.clone())),
                None => self.wrong(line, "has no usable key in its brackets", remedy),
            }
        }
    }

    /// The address of a page: absolute, or a path on this server.
    pub(super) fn page(&mut self, to: &mut Option<String>) {
        let Some(line) = self.last() else { return };
        match web::page(&line.value) {
            Ok(()) => *to = Some(line.value.clone()),
            Err(why) => self.bad_url(line, why),
        }
    }

    /// A list of pages, in the order of their numbers.
    pub(super) fn pages(&mut self, to: &mut Vec<String>) {
        to.clear();
        let mut lines = self.lines.to_vec();
        lines.sort_by_key(|l| number_of(l));
        for line in lines {
            match web::page(&line.value) {
                Ok(()) => to.push(line.value.clone()),
                Err(why) => self.bad_url(line, why),
            }
        }
    }

    /// Where to log in, for what a line speaks of: with `text` as in `text|URL,URL`, else for the key in
    /// the brackets as `read` understands it. In the order of their numbers.
    pub(super) fn login_lines(
        &mut self,
        to: &mut Vec<LoginLine>,
        text: bool,
        read: fn(&str) -> bool,
        remedy: &str,
    ) {
        to.clear();
        let mut lines = self.lines.to_vec();
        lines.sort_by_key(|l| number_of(l));
        for line in lines {
            let key = line.index.as_deref().unwrap_or_default();
            let (key, urls) = match text {
                true => line.value.split_once('|').unwrap_or((&line.value, "")),
                false => (key, line.value.as_str()),
            };
            if !read(key) || !text && urls.is_empty() {
                self.wrong(line, "is not of the form that is read here", remedy);
                continue;
            }
            let urls = match urls.trim() {
                "" => Ok(Vec::new()),
                urls => login_rules::urls(urls),
            };
            match urls {
                Ok(urls) => to.push(LoginLine {
                    key: key.trim().to_owned(),
                    urls,
                }),
                Err(why) => self.bad_url(line, why),
            }
        }
    }

    /// URL patterns, in file order. One that covers every URL is worth a word (rule U5).
    pub(super) fn patterns(&mut self, to: &mut Vec<String>, wide: &str) {
        to.clear();
        for &line in self.lines {
            if web::covers_everything(&line.value) {
                self.warn(line, wide, "narrow the pattern");
            }
            to.push(line.value.clone());
        }
    }

    /// Rules of the list: `[n]`, `[METHOD,n]`, `[n,METHOD]`. With `split`, white space separates
    /// several rules in one line.
    pub(super) fn rules(&mut self, to: &mut Vec<RuleLine>, split: bool) {
        to.clear();
        for &line in self.lines {
            let methods = match Methods::of_index(line.index.as_deref()) {
                Ok(methods) => methods,
                Err(part) => {
                    self.wrong(
                        line,
                        &format!("is about \"{part}\", which is no HTTP method"),
                        "write [n], or [METHOD,n] as in [GET,1]",
                    );
                    continue;
                }
            };
            let rule = |text: &str| RuleLine {
                value: text.to_owned(),
                methods,
                index: line.index.clone(),
                line: line.number,
                source: line.source.clone(),
            };
            match split {
                true => to.extend(line.value.split_whitespace().map(rule)),
                false => to.push(rule(&line.value)),
            }
        }
    }

    /// `[attribute]=HEADER1|HEADER2`.
    pub(super) fn headers(&mut self, to: &mut AttributeMap) {
        to.map.clear();
        for &line in self.lines {
            let Some(attribute) = line.index.as_deref().filter(|i| !i.is_empty()) else {
                self.wrong(
                    line,
                    "belongs to no attribute",
                    "write NAME[attribute]=Header-Name",
                );
                continue;
            };
            let mut names = Vec::new();
            for name in line
                .value
                .split('|')
                .map(str::trim)
                .filter(|n| !n.is_empty())
            {
                if !web::is_token(name) {
                    self.wrong(
                        line,
                        "is not a header name",
                        "use letters, digits and hyphens",
                    );
                } else if RESERVED_HEADERS.iter().any(|r| same_name(r, name)) {
                    self.wrong(
                        line,
                        "is a header that must stay as it is",
                        "use another name",
                    );
                } else {
                    names.push(name.to_owned());
                }
            }
            to.map.push((attribute.to_owned(), names));
        }
    }

    /// `host|address`, several separated by commas.
    pub(super) fn hostmap(&mut self, to: &mut Vec<(String, String)>) {
        to.clear();
        for &line in self.lines {
            for entry in line
                .value
                .split(',')
                .map(str::trim)
                .filter(|e| !e.is_empty())
            {
                let pair = entry.split_once('|').map(|(h, a)| (h.trim(), a.trim()));
                match pair {
                    Some((host, address))
                        if web::is_host(host) && address.parse::<core::net::IpAddr>().is_ok() =>
                    {
                        to.push((host.to_ascii_lowercase(), address.to_owned()));
                    }
                    _ => self.wrong(
                        line,
                        "is not a host name and an IP address",
                        "write host|address, as in am.example.com|192.0.2.1",
                    ),
                }
            }
        }
    }

    /// `[incoming]=outgoing`; both are host names, the outgoing one may hold `*`.
    pub(super) fn hosts(&mut self, to: &mut Vec<(String, String)>) {
        to.clear();
        for &line in self.lines {
            let incoming = line.index.as_deref().unwrap_or_default();
            if web::is_host_pattern(incoming) && web::is_host_pattern(&line.value) {
                to.push((
                    incoming.to_ascii_lowercase(),
                    line.value.to_ascii_lowercase(),
                ));
            } else {
                self.wrong(
                    line,
                    "is not a mapping between host names",
                    "write NAME[incoming.example.com]=outgoing.example.com",
                );
            }
        }
    }

    /// Name of a request header.
    pub(super) fn header(&mut self, to: &mut Option<String>) {
        let Some(line) = self.last() else { return };
        if web::is_token(&line.value) {
            *to = Some(line.value.clone());
        } else {
            self.wrong(
                line,
                "is not a header name",
                "use letters, digits and hyphens",
            );
        }
    }

    /// Names of query parameters, separated by white space or commas or in several lines.
    pub(super) fn parameters(&mut self, to: &mut Vec<String>) {
        to.clear();
        for &line in self.lines {
            for name in line.value.split([' ', '\t', ',']).filter(|n| !n.is_empty()) {
                let start = name.strip_suffix('*').unwrap_or(name);
                let plain = |b: u8| b.is_ascii_alphanumeric() || b"-._~".contains(&b);
                if start.is_empty() || !start.bytes().all(plain) {
                    let remedy = "use letters, digits and -._~, and * at the end only";
                    self.wrong(line, "is no list of parameter names", remedy);
                    break;
                }
                to.push(name.to_owned());
            }
        }
    }

    /// Addresses, networks and ranges, separated by white space or commas or in several lines.
    pub(super) fn addresses(&mut self, to: &mut AddressSet) {
        self.callers(to);
        if let Some(line) = self.last()
            && to.is_everything()
        {
            self.warn(line, "trusts every address", "name the proxies");
        }
    }

    /// Addresses that may do something; every address may be meant.
    pub(super) fn callers(&mut self, to: &mut AddressSet) {
        *to = AddressSet::default();
        for &line in self.lines {
            let entries = line.value.split([' ', '\t', ',']).filter(|e| !e.is_empty());
            for entry in entries {
                if let Err(error) = to.add(entry) {
                    let what = format!("holds \"{entry}\", but {error}");
                    self.wrong(line, &what, "write it as in 192.0.2.1 or 192.0.2.0/24");
                }
            }
        }
    }

    /// One host name, in lower case.
    pub(super) fn host(&mut self, to: &mut Option<String>) {
        let Some(line) = self.last() else { return };
        if web::is_host(&line.value) {
            *to = Some(line.value.to_ascii_lowercase());
        } else {
            self.wrong(line, "is not a host name", "write it as in www.example.com");
        }
    }

    /// Cookie domains, with or without the leading dot.
    pub(super) fn domains(&mut self, to: &mut Vec<String>) {
        to.clear();
        for &line in self.lines {
            let domain = line.value.strip_prefix('.').unwrap_or(&line.value);
            // A single label is a registry's; browsers drop such cookies and the login would loop.
            if web::is_host(domain) && domain.contains('.') {
                to.push(line.value.to_ascii_lowercase());
            } else {
                self.wrong(
                    line,
                    "is not a cookie domain",
                    "write it as in .example.com",
                );
            }
        }
    }
}

/// The value of a property for everything that no path names.
pub(super) trait Everywhere<T> {
    fn is(&mut self, value: T);
}

impl<T> Everywhere<T> for T {
    fn is(&mut self, value: T) {
        *self = value;
    }
}

impl<T> Everywhere<T> for Option<T> {
    fn is(&mut self, value: T) {
        *self = Some(value);
    }
}

/// Whether two header names are one for an application (rule U3).
fn same_name(a: &str, b: &str) -> bool {
    a.len() == b.len()
        && a.bytes()
            .zip(b.bytes())
            .all(|(x, y)| web::fold(x) == web::fold(y))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn booleans_are_tolerant() {
        for yes in ["true", "TRUE", "on", "On", "1", "2", "-1"] {
            assert_eq!(switch(yes), Some(true), "{yes}");
        }
        for no in ["false", "off", "0"] {
            assert_eq!(switch(no), Some(false), "{no}");
        }
        for neither in ["yes", "", "1x", "tru"] {
            assert_eq!(switch(neither), None, "{neither}");
        }
    }

    #[test]
    fn template_words_are_found() {
        for word in [
            "AM_AGENT_NAME",
            "AM_OPENAM_URL",
            "AM_SSL_CA",
            "@AGENT_PROFILE@",
        ] {
            assert!(is_template_word(word), "{word}");
        }
        for word in ["AM_USERS", "am_agent_name", "wa1", "AM_AGENT_1"] {
            assert!(!is_template_word(word), "{word}");
        }
    }
}

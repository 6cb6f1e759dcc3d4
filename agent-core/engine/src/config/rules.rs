//! The lists of rules about who is let in without a session and who is not let in at all: from the
//! lines of a configuration to something that requests can be compared with.
//!
//! Every line that cannot be compiled is reported with its place. It never looks at a request.

use alloc::{
    borrow::ToOwned,
    boxed::Box,
    format,
    string::{String, ToString},
    sync::Arc,
    vec::Vec,
};

use super::{
    Config, Methods,
    parse::{Problem, Severity},
    raw::Source,
    web,
};
use crate::{
    contract::{RuleId, RuleList},
    url::{AddressIndex, AddressSet, Glob, Index, Part, Regex, UrlRule},
};

const URL: &str = "com.sun.identity.agents.config.notenforced.url";
const INVERT: &str = "com.sun.identity.agents.config.notenforced.url.invert";
const IP: &str = "com.sun.identity.agents.config.notenforced.ip";
const IP_URL: &str = "org.forgerock.agents.config.notenforced.ipurl";
const OWN: &str = "portcullis.notenforced.rule";
const PAGE: &str = "com.sun.identity.agents.config.access.denied.url";
pub(super) const MODE: &str = "portcullis.filter.mode";
const PAGE_BY_PATH: &str = "portcullis.access.denied.url";
const LOGIN_FAILED: &str = "portcullis.authn.fail.url";
const DENY: &str = "portcullis.deny.rule";

/// Bytes that all regular expressions of a configuration may have together.
const MAX_REGEXES: usize = 16 << 20;

/// One rule as it was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RuleLine {
    /// The rule: of a line with several patterns one of them.
    pub value: String,
    /// The methods it is limited to.
    pub methods: Methods,
    /// What stands in the brackets.
    pub index: Option<String>,
    /// Line number from 1; `None` for values from AM.
    pub line: Option<u32>,
    /// Where it was written.
    pub source: Source,
}

impl RuleList {
    /// The name of the property.
    pub const fn property(self) -> &'static str {
        match self {
            RuleList::Deny => DENY,
            RuleList::Ip => IP,
            RuleList::Url => URL,
            RuleList::Inverted => INVERT,
            RuleList::IpUrl => IP_URL,
            RuleList::Own => OWN,
            RuleList::Mode => MODE,
            RuleList::Page => PAGE,
        }
    }
}

impl Config {
    /// The rules of some lists, in order; an inverted list is one rule more.
    pub fn rule_ids(&self, lists: &[RuleList]) -> Vec<RuleId> {
        let ids = |&list: &RuleList| {
            let count = match list {
                RuleList::Inverted => usize::from(self.notenforced_invert),
                RuleList::Mode => self.filter_modes.len(),
                _ => self.rules(list).len(),
            };
            (0..count as u32).map(move |at| RuleId { list, at })
        };
        lists.iter().flat_map(ids).collect()
    }

    /// The rules of a list as they were written.
    pub fn rules(&self, list: RuleList) -> &[RuleLine] {
        match list {
            RuleList::Deny => &self.deny_rules,
            RuleList::Ip => &self.notenforced_ip,
            RuleList::Url => &self.notenforced_url,
            RuleList::Inverted | RuleList::Page | RuleList::Mode => &[],
            RuleList::IpUrl => &self.notenforced_ipurl,
            RuleList::Own => &self.notenforced_rules,
        }
    }

    fn line(&self, rule: RuleId) -> Option<&RuleLine> {
        let at = rule.at as usize;
        match rule.list {
            RuleList::Mode => self.filter_modes.get(at).map(|entry| &entry.line),
            list => self.rules(list).get(at),
        }
    }

    /// A rule by its name without its value, which may be a secret: `property[index]`.
    pub fn rule_name(&self, rule: RuleId) -> String {
        if rule.list == RuleList::Page {
            return self.page(rule.at).0;
        }
        let line = self.line(rule);
        match line.and_then(|line| line.index.as_ref()) {
            Some(index) => format!("{}[{index}]", rule.list.property()),
            None => rule.list.property().to_owned(),
        }
    }

    /// A rule as it was written: `property[index]=value`.
    pub fn rule(&self, rule: RuleId) -> String {
        if rule.list == RuleList::Page {
            let (name, value) = self.page(rule.at);
            return format!("{name}={value}");
        }
        let value = self.line(rule).map_or("true", |line| &line.value);
        format!("{}={value}", self.rule_name(rule))
    }

    /// Name and value of a page that refused browsers are sent to, counted as the snapshot holds them.
    fn page(&self, at: u32) -> (String, &str) {
        let everywhere = self.access_denied_url.iter();
        let everywhere = everywhere.map(|page| (PAGE.to_owned(), page));
        let by_path = self.access_denied_urls.iter();
        let by_path = by_path.map(|(path, page)| (format!("{PAGE_BY_PATH}[{path}]"), page));
        let failed = self.authn_fail_url.iter();
        let failed = failed.map(|page| (LOGIN_FAILED.to_owned(), page));
        let mut all = everywhere.chain(by_path).chain(failed);
        let found = all.nth(at as usize);
        found.map_or((PAGE.to_owned(), ""), |(name, page)| (name, page.as_str()))
    }
}

/// The compiled lists.
pub(crate) struct Rules {
    pub(crate) deny: List,
    pub(crate) ip: IpList,
    pub(crate) url: List,
    pub(crate) ipurl: List,
    pub(crate) own: List,
}

/// One compiled list.
pub(crate) struct List {
    /// The URLs of the entries, in their order.
    pub(crate) urls: Index,
    pub(crate) entries: Vec<Entry>,
}

/// The list of rules that look at the address alone.
pub(crate) struct IpList {
    /// The addresses of the entries, in their order; none where they are expressions.
    pub(crate) addresses: AddressIndex,
    /// The expressions of the entries, in their order, where they are such.
    pub(crate) regexes: Vec<Regex>,
    /// The methods of each entry.
    pub(crate) methods: Vec<Methods>,
}

/// What of a rule its URL does not say.
pub(crate) struct Entry {
    /// Its place in the lines of the list.
    pub(crate) line: u32,
    pub(crate) methods: Methods,
    /// All of them have to hold.
    pub(crate) conditions: Box<[Condition]>,
}

/// A condition that a request fulfils or not.
pub(crate) struct Condition {
    pub(crate) negated: bool,
    pub(crate) test: Test,
}

/// What a condition looks at.
pub(crate) enum Test {
    Url(Box<UrlRule>),
    Address(Addresses),
    Cookie(String, Glob),
    Header(String, Glob),
}

/// Addresses of clients; shared by the URLs of one rule.
#[derive(Clone)]
pub(crate) enum Addresses {
    Set(Arc<AddressSet>),
    /// Expressions that stand for a whole address as text.
    Regexes(Arc<[Regex]>),
}

impl List {
    fn new(rules: Vec<(UrlRule, Entry)>) -> List {
        let (urls, entries) = rules.into_iter().unzip();
        List {
            urls: Index::build(urls),
            entries,
        }
    }

    /// Whether an entry is limited to some addresses.
    fn names_addresses(&self, at: u32) -> bool {
        let conditions = self
            .entries
            .get(at as usize)
            .map(|entry| entry.conditions.iter());
        conditions.into_iter().flatten().any(|c| match &c.test {
            Test::Address(Addresses::Set(set)) => !c.negated && !set.is_everything(),
            _ => false,
        })
    }

    /// Whether URL and method say everything about an entry.
    pub(crate) fn is_plain(&self, at: u32) -> bool {
        let entry = self.entries.get(at as usize);
        entry.is_some_and(|entry| entry.conditions.is_empty())
    }
}

impl Rules {
    /// Whether a rule names this cookie and its condition meets this value.
    pub(crate) fn wants_cookie(&self, name: &[u8], value: &[u8]) -> bool {
        self.tests().any(|test| match test {
            Test::Cookie(n, glob) => n.as_bytes() == name && glob.matches(value, false),
            _ => false,
        })
    }

    /// Whether a rule names this header and its condition meets this value.
    pub(crate) fn wants_header(&self, name: &[u8], value: &[u8]) -> bool {
        self.tests().any(|test| match test {
            Test::Header(n, glob) => {
                n.as_bytes().eq_ignore_ascii_case(name) && glob.matches(value, false)
            }
            _ => false,
        })
    }

    fn tests(&self) -> impl Iterator<Item = &Test> {
        let entries = self.deny.entries.iter().chain(&self.own.entries);
        entries.flat_map(|entry| entry.conditions.iter().map(|c| &c.test))
    }

    /// Compiles the lists of a configuration. What cannot be compiled is reported and left out: the
    /// result must not be used then.
    pub(super) fn compile(config: &Config, problems: &mut Vec<Problem>) -> Rules {
        let mut compiler = Compiler {
            config,
            problems,
            size: 0,
        };
        Rules {
            deny: compiler.own(RuleList::Deny),
            ip: compiler.ips(),
            url: compiler.urls(),
            ipurl: compiler.ipurls(),
            own: compiler.own(RuleList::Own),
        }
    }
}

/// Reports every rule that says more than somebody may expect (rule U5). One that cannot be compiled is
/// reported when the snapshot is built.
pub(super) fn review(config: &Config, problems: &mut Vec<Problem>) {
    let rules = Rules::compile(config, &mut Vec::new());
    let mut warn = |list: RuleList, line: &RuleLine, what: &str, remedy: &str| {
        problems.push(problem(
            Severity::Warning,
            list,
            line,
            what.to_owned(),
            remedy,
        ));
    };
    for line in &config.notenforced_url {
        let value = &line.value;
        let wide = match config.notenforced_url_regex {
            true => [".*", ".+", "/.*"].contains(&value.trim_matches(['^', '$'])),
            false => web::covers_everything(value),
        };
        if wide && !config.notenforced_invert {
            let what = format!("\"{value}\" exempts every URL");
            warn(RuleList::Url, line, &what, "narrow the pattern");
        }
        if line.methods.is_limited() && config.notenforced_invert {
            let what = format!("\"{value}\" protects for every method: the list is inverted");
            warn(RuleList::Url, line, &what, "leave the method out");
        }
    }
    if !config.notenforced_ext_regex {
        for line in &config.notenforced_ip {
            if AddressSet::new([line.value.as_str()]).is_ok_and(|set| set.is_everything()) {
                let what = format!("\"{}\" exempts every client of a family", line.value);
                warn(RuleList::Ip, line, &what, "narrow it");
            }
        }
    }
    for (id, at) in (0..).zip(rules.own.entries.iter().map(|entry| entry.line as usize)) {
        let Some(line) = config.notenforced_rules.get(at) else {
            continue;
        };
        let mut urls = line
            .value
            .split_whitespace()
            .filter_map(|w| w.strip_prefix("url="));
        let any_url = matches!(rules.own.urls.rule(id), Some(UrlRule::Any));
        if any_url && !rules.own.names_addresses(id) || urls.any(web::covers_everything) {
            // Without the value, which may hold a cookie's.
            let what = "exempts every URL for which its other conditions hold";
            warn(RuleList::Own, line, what, "name the URLs that it is for");
        }
    }
}

fn problem(
    severity: Severity,
    list: RuleList,
    line: &RuleLine,
    what: String,
    remedy: &str,
) -> Problem {
    Problem {
        severity,
        line: line.line,
        source: line.source.clone(),
        property: list.property().to_owned(),
        what,
        remedy: remedy.to_owned(),
    }
}

struct Compiler<'c> {
    config: &'c Config,
    problems: &'c mut Vec<Problem>,
    /// Bytes of regular expressions so far.
    size: usize,
}

impl Compiler<'_> {
    fn wrong(&mut self, list: RuleList, line: &RuleLine, what: String, remedy: &str) {
        self.problems
            .push(problem(Severity::Error, list, line, what, remedy));
    }

    fn urls(&mut self) -> List {
        let lines = (0u32..).zip(&self.config.notenforced_url);
        let mut rules = Vec::new();
        for (at, line) in lines {
            let rule = match self.config.notenforced_url_regex {
                true => {
                    let whole = !self.config.notenforced_invert;
                    let regex = self.regex(RuleList::Url, line, &line.value, whole);
                    regex.map(UrlRule::Regex)
                }
                false => self.wildcard(RuleList::Url, line, &line.value),
            };
            let methods = match self.config.notenforced_invert {
                // Safer than what is not said anywhere: what is listed is protected.
                true => Methods::ALL,
                false => line.methods,
            };
            let entry = Entry {
                line: at,
                methods,
                conditions: Box::default(),
            };
            rules.extend(rule.map(|rule| (rule, entry)));
        }
        List::new(rules)
    }

    fn ips(&mut self) -> IpList {
        let (mut sets, mut regexes, mut methods) = (Vec::new(), Vec::new(), Vec::new());
        for line in &self.config.notenforced_ip {
            if self.config.notenforced_ext_regex {
                regexes.extend(self.regex(RuleList::Ip, line, &line.value, true));
            } else {
                sets.extend(self.addresses(RuleList::Ip, line, [line.value.as_str()]));
            }
            methods.push(line.methods);
        }
        IpList {
            addresses: AddressIndex::build(sets),
            regexes,
            methods,
        }
    }

    /// `addresses|urls`: any of these addresses with any of those URLs.
    fn ipurls(&mut self) -> List {
        let mut rules = Vec::new();
        for (at, line) in (0u32..).zip(&self.config.notenforced_ipurl) {
            let Some((addresses, urls)) = halves(&line.value) else {
                let what = format!("\"{}\" has no addresses or no URLs", line.value);
                let remedy = "write addresses|URLs, as in 192.0.2.0/24|/public/* */free/*";
                self.wrong(RuleList::IpUrl, line, what, remedy);
                continue;
            };
            let (addresses, urls) = (addresses.split_whitespace(), urls.split_whitespace());
            let regex = self.config.notenforced_ext_regex;
            let addresses = if regex {
                let all =
                    addresses.filter_map(|text| self.regex(RuleList::IpUrl, line, text, true));
                Some(Addresses::Regexes(all.collect()))
            } else {
                let set = self.addresses(RuleList::IpUrl, line, addresses);
                set.map(|set| Addresses::Set(Arc::new(set)))
            };
            for url in urls {
                let rule = match regex {
                    true => self
                        .regex(RuleList::IpUrl, line, url, true)
                        .map(UrlRule::Regex),
                    false => self.wildcard(RuleList::IpUrl, line, url),
                };
                let (Some(rule), Some(addresses)) = (rule, addresses.clone()) else {
                    continue;
                };
                let condition = Condition {
                    negated: false,
                    test: Test::Address(addresses),
                };
                let entry = Entry {
                    line: at,
                    methods: line.methods,
                    conditions: Box::new([condition]),
                };
                rules.push((rule, entry));
            }
        }
        List::new(rules)
    }

    fn addresses<'t>(
        &mut self,
        list: RuleList,
        line: &RuleLine,
        texts: impl IntoIterator<Item = &'t str>,
    ) -> Option<AddressSet> {
        match AddressSet::new(texts) {
            Ok(set) => Some(set),
            Err((text, error)) => {
                let what = format!("\"{text}\" names no addresses: {error}");
                let remedy = "write 192.0.2.1, 192.0.2.0/24, 192.0.2.1-192.0.2.9 or 192.0.2.*";
                self.wrong(list, line, what, remedy);
                None
            }
        }
    }

    fn wildcard(&mut self, list: RuleList, line: &RuleLine, text: &str) -> Option<UrlRule> {
        match UrlRule::wildcard(text, self.config.case_ignore) {
            Ok(rule) => Some(rule),
            Err(error) => {
                let what = format!("\"{text}\" is no URL pattern: {error}");
                let remedy = "write a URL or a path, as in http://www.example.com:80/public/*";
                self.wrong(list, line, what, remedy);
                None
            }
        }
    }

    fn regex(&mut self, list: RuleList, line: &RuleLine, text: &str, whole: bool) -> Option<Regex> {
        let regex = match Regex::parse(text, whole, self.config.case_ignore) {
            Ok(regex) => regex,
            Err(error) => {
                let what = format!("\"{text}\" is no regular expression that can be used: {error}");
                let remedy = "write it without look-around, back references and large repetitions";
                self.wrong(list, line, what, remedy);
                return None;
            }
        };
        self.size += regex.size();
        if self.size > MAX_REGEXES {
            let what = format!("all expressions up to \"{text}\" need more than 16 MiB");
            self.wrong(list, line, what, "write fewer or simpler ones");
            return None;
        }
        Some(regex)
    }

    /// Rules of our own form.
    fn own(&mut self, list: RuleList) -> List {
        let lines = (0u32..).zip(self.config.rules(list));
        let mut rules = Vec::new();
        for (at, line) in lines {
            if let Some((rule, conditions)) = self.conditions(list, line) {
                let entry = Entry {
                    line: at,
                    methods: line.methods,
                    conditions: conditions.into(),
                };
                rules.push((rule, entry));
            }
        }
        List::new(rules)
    }

    /// The first URL that a rule names is what it is found by; everything else is a condition.
    fn conditions(&mut self, list: RuleList, line: &RuleLine) -> Option<(UrlRule, Vec<Condition>)> {
        const REMEDY: &str = "write url=PATTERN, ip=ADDRESSES, cookie.NAME=VALUE or \
                              header.NAME=VALUE, each with NOT before it or without";
        let (mut found_by, mut conditions) = (None, Vec::new());
        let mut words = line.value.split_whitespace();
        while let Some(mut word) = words.next() {
            let negated = word == "NOT";
            if negated {
                word = words.next().unwrap_or_default();
            }
            let Some((key, value)) = word.split_once('=') else {
                let what = format!("\"{word}\" is no condition of a rule");
                self.wrong(list, line, what, REMEDY);
                return None;
            };
            let test = match key.split_once('.') {
                None if key == "url" => {
                    let rule = self.wildcard(list, line, value)?;
                    if !negated && found_by.is_none() {
                        found_by = Some(rule);
                        continue;
                    }
                    Test::Url(Box::new(rule))
                }
                None if key == "ip" => {
                    let set = self.addresses(list, line, value.split(','))?;
                    Test::Address(Addresses::Set(Arc::new(set)))
                }
                Some(("cookie", name)) if web::is_token(name) => {
                    Test::Cookie(name.to_string(), text(value, false))
                }
                Some(("header", name)) if web::is_token(name) => {
                    Test::Header(name.to_string(), text(value, false))
                }
                _ => {
                    // A value may be a cookie's: not repeated.
                    let what = format!("\"{key}=\" begins no condition of a rule");
                    self.wrong(list, line, what, REMEDY);
                    return None;
                }
            };
            conditions.push(Condition { negated, test });
        }
        Some((found_by.unwrap_or(UrlRule::Any), conditions))
    }
}

/// The two halves of a compound rule; a `|` within brackets belongs to an expression.
fn halves(text: &str) -> Option<(&str, &str)> {
    let mut depth = 0u32;
    let at = text.bytes().position(|b| {
        match b {
            b'(' | b'[' => depth += 1,
            b')' | b']' => depth = depth.saturating_sub(1),
            _ => {}
        }
        b == b'|' && depth == 0
    })?;
    let (addresses, urls) = (text[..at].trim(), text[at + 1..].trim());
    (!addresses.is_empty() && !urls.is_empty()).then_some((addresses, urls))
}

/// A value with `*` for anything.
fn text(value: &str, fold: bool) -> Glob {
    Glob::parse(value, false, Part::Text, fold)
}

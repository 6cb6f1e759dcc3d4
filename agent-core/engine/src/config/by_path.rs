//! Which value counts for a URL, of those that are configured by path? `name[/app] = value` is for
//! `/app` and everything below, `name = value` for everything else.
//!
//! The deepest path counts. It must not say what a value means: who reads a URL in several ways asks
//! for each of them.

use alloc::{
    format,
    string::{String, ToString},
    vec::Vec,
};

use super::{
    Config, Enforcement, RuleLine,
    parse::{Problem, Severity},
    raw::Line,
    rules::MODE,
    values::Values,
    web,
};
use crate::url::{Index, Parts, UrlRule};

/// A part of a site: what is at a path and below it, on every host or on one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Area {
    /// `scheme://host[:port]`, or empty for every host.
    origin: String,
    /// `/app`; empty for a whole host.
    path: String,
}

impl Area {
    pub(super) fn everything() -> Area {
        Area {
            origin: String::new(),
            path: String::new(),
        }
    }

    /// `/app`, `app`, `/app/` and `/app/*` are one, with `scheme://host[:port]` before it or without.
    /// `ALL`, as in the Java Agent, is everything.
    pub(super) fn parse(key: &str) -> Option<Area> {
        if key.eq_ignore_ascii_case("ALL") {
            return Some(Area::everything());
        }
        let (origin, path) = match key.split_once("://") {
            None => (String::new(), key),
            Some((scheme, _)) if !["http", "https", "http*", "*"].contains(&scheme) => return None,
            Some((scheme, rest)) => {
                let (host, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
                (format!("{scheme}://{host}"), path)
            }
        };
        let path = match (path, origin.is_empty()) {
            ("", false) => String::new(),
            (path, _) => web::path_prefix(path)?,
        };
        let area = Area { origin, path };
        // What cannot be compared is no area; later nothing can go wrong any more.
        let rules = area.rules(true);
        (rules.len() == 2).then_some(area)
    }

    /// Whether it is all that there is.
    pub(super) fn is_everything(&self) -> bool {
        self.origin.is_empty() && self.path.is_empty()
    }

    /// Whether it is all of a host, or more.
    pub(super) fn is_whole_host(&self) -> bool {
        self.path.is_empty()
    }

    /// Deeper ones count before others, and those on one host before those on every.
    fn depth(&self) -> (usize, usize) {
        (self.path.len(), self.origin.len())
    }

    fn rules(&self, case_ignore: bool) -> Vec<UrlRule> {
        let Area { origin, path } = self;
        let at = if path.is_empty() { "/" } else { path };
        let texts = [format!("{origin}{at}"), format!("{origin}{path}/*")];
        let rules = texts.iter().map(|t| UrlRule::wildcard(t, case_ignore));
        rules.filter_map(Result::ok).collect()
    }
}

/// One `name[/app] = value`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AtPath<T> {
    /// For what.
    pub area: Area,
    /// What counts there.
    pub value: T,
    /// As it was written.
    pub line: RuleLine,
}

/// What everybody has to bring (`portcullis.filter.mode`), from the laxest to the strictest.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum FilterMode {
    /// Nothing.
    None,
    /// A live session.
    SsoOnly,
    /// A live session, and AM's consent.
    #[default]
    UrlPolicy,
}

impl FilterMode {
    /// The words of the Java Agent. Two of them mean nothing to a web server: they are named, and what
    /// holds anyway holds.
    pub(super) fn read(values: &mut Values<'_>, line: &Line) -> Option<FilterMode> {
        let is = |word: &str| line.value.eq_ignore_ascii_case(word);
        if is("J2EE_POLICY") || is("ALL") {
            values.warn(
                line,
                "is about applications in a Java container and has no effect",
                "remove it",
            );
            return None;
        }
        if is("NONE") {
            let everything = match &line.index {
                None => true,
                Some(key) => Area::parse(key).is_some_and(|area| area.is_whole_host()),
            };
            if everything {
                values.wrong(
                    line,
                    "would let everybody see everything",
                    "name the path that everybody may see, or switch the agent off there",
                );
                return None;
            }
            return Some(FilterMode::None);
        }
        let found = match () {
            () if is("SSO_ONLY") => Some(FilterMode::SsoOnly),
            () if is("URL_POLICY") => Some(FilterMode::UrlPolicy),
            () => None,
        };
        if found.is_none() {
            values.wrong(
                line,
                "is not a known word",
                "write one of NONE, SSO_ONLY, URL_POLICY",
            );
        }
        found
    }
}

/// The values of one property, ready to be looked up.
pub(crate) struct ByPath<T> {
    /// Two rules each, the deepest first.
    urls: Index,
    /// Place in the configuration, and value.
    values: Vec<(u32, T)>,
}

impl<T: Clone> ByPath<T> {
    pub(super) fn compile(all: &[AtPath<T>], case_ignore: bool) -> ByPath<T> {
        let mut sorted: Vec<(u32, &AtPath<T>)> = (0u32..).zip(all).collect();
        sorted.sort_by_key(|(_, entry)| core::cmp::Reverse(entry.area.depth()));
        let rules = sorted.iter().flat_map(|(_, e)| e.area.rules(case_ignore));
        let values = sorted.iter().map(|(at, e)| (*at, e.value.clone()));
        ByPath {
            urls: Index::build(rules.collect()),
            values: values.collect(),
        }
    }

    /// The value of the deepest area with this URL, and its place in the configuration.
    pub(crate) fn find(&self, url: &Parts<'_>) -> Option<&(u32, T)> {
        let rule = self.urls.find(url, |_| true)?;
        self.values.get(rule as usize / 2)
    }
}

/// What of the questions about a request is configured by path.
pub(crate) struct Paths {
    /// `portcullis.filter.mode`
    pub(crate) modes: ByPath<FilterMode>,
    /// `portcullis.mode`
    pub(crate) enforcement: ByPath<Enforcement>,
    /// `policy.evaluation.realm`
    pub(crate) realms: ByPath<String>,
    /// `policy.evaluation.application`
    pub(crate) sets: ByPath<String>,
}

impl Paths {
    /// `None` where nothing is configured by path: a request then costs nothing more.
    pub(super) fn compile(config: &Config) -> Option<Paths> {
        let fold = config.case_ignore;
        let by_path = !config.filter_modes.is_empty()
            || !config.policy_realms.is_empty()
            || !config.policy_sets.is_empty()
            || !config.modes.is_empty();
        by_path.then(|| Paths {
            modes: ByPath::compile(&config.filter_modes, fold),
            enforcement: ByPath::compile(&config.modes, fold),
            realms: ByPath::compile(&config.policy_realms, fold),
            sets: ByPath::compile(&config.policy_sets, fold),
        })
    }
}

/// Reports lines of one property that contradict each other, and what lets everybody in (rule U5).
pub(super) fn review(config: &Config, problems: &mut Vec<Problem>) {
    const REALM: &str = "org.forgerock.openam.agents.config.policy.evaluation.realm";
    const SET: &str = "org.forgerock.openam.agents.config.policy.evaluation.application";
    twice(MODE, &config.filter_modes, problems);
    twice(REALM, &config.policy_realms, problems);
    twice(SET, &config.policy_sets, problems);
    let open = config.filter_modes.iter();
    for entry in open.filter(|entry| entry.value == FilterMode::None) {
        problems.push(of_line(
            Severity::Warning,
            MODE,
            &entry.line,
            "lets everybody see everything below this path",
            "nothing has to be done if that is meant",
        ));
    }
}

pub(super) fn twice<T: PartialEq>(property: &str, all: &[AtPath<T>], problems: &mut Vec<Problem>) {
    for (at, entry) in all.iter().enumerate() {
        let earlier = all.iter().take(at).find(|e| e.area == entry.area);
        if earlier.is_some_and(|earlier| earlier.value != entry.value) {
            problems.push(of_line(
                Severity::Error,
                property,
                &entry.line,
                "is for a path that an earlier line has another value for",
                "leave one of them",
            ));
        }
    }
}

fn of_line(
    severity: Severity,
    property: &str,
    line: &RuleLine,
    what: &str,
    remedy: &str,
) -> Problem {
    let index = line.index.as_deref().unwrap_or_default();
    Problem {
        severity,
        line: line.line,
        source: line.source.clone(),
        property: property.to_string(),
        what: format!("[{index}] {what}"),
        remedy: remedy.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use std::vec;

    use super::*;
    use crate::config::{Methods, Source};

    fn entry(key: &str, value: u8) -> AtPath<u8> {
        AtPath {
            area: Area::parse(key).unwrap(),
            value,
            line: RuleLine {
                value: String::new(),
                methods: Methods::ALL,
                index: Some(key.to_string()),
                line: None,
                source: Source::Am,
            },
        }
    }

    #[test]
    fn the_deepest_path_counts_and_its_end_is_a_segment() {
        let all = [
            "/app",
            "/app/admin/*",
            "shop/",
            "http://h:80/app",
            "https://h",
        ];
        let entries = (0u8..).zip(all).map(|(at, key)| entry(key, at));
        let map = ByPath::compile(&entries.collect::<Vec<_>>(), true);
        for (url, value) in [
            ("http://g:80/app", Some(0)),
            ("http://g:80/app?x", Some(0)),
            ("http://g:80/app/", Some(0)),
            ("http://g:80/APP/x", Some(0)),
            ("http://g:80/application", None),
            ("http://g:80/x/app", None),
            ("http://g:80/app/admin", Some(1)),
            ("http://g:80/app/admin/x/y", Some(1)),
            ("http://g:80/app/administrator", Some(0)),
            ("http://g:80/shop/x", Some(2)),
            ("http://h:80/app/x", Some(3)),
            ("http://h:80/app/admin/x", Some(1)),
            ("http://h:8080/app/x", Some(0)),
            ("https://h:443/", Some(4)),
            ("https://h:443/x", Some(4)),
            ("https://h:443/app/x", Some(0)),
            ("https://g:443/x", None),
        ] {
            let parts = Parts::split(url).unwrap().with_any_query();
            assert_eq!(map.find(&parts).map(|found| found.1), value, "{url}");
        }
        let exact = ByPath::compile(&[entry("/app", 1)], false);
        let parts = Parts::split("http://g:80/APP/x").unwrap();
        assert_eq!(exact.find(&parts), None);
    }

    #[test]
    fn what_is_no_area_is_none() {
        for key in ["ALL", "all", "/", "/*"] {
            assert!(Area::parse(key).unwrap().is_everything(), "{key}");
        }
        for key in ["http://h", "http://h:80/", "http*://*/*"] {
            let area = Area::parse(key).unwrap();
            assert!(area.is_whole_host() && !area.is_everything(), "{key}");
        }
        for key in vec![
            "",
            "/a*",
            "/a/*/b",
            "/a?b",
            "/a;b",
            "/a%2fb",
            "/a//b",
            "/a/../b",
            "/a b",
            "://h/a",
            "http:///a",
            "http://h:x/a",
        ] {
            assert_eq!(Area::parse(key), None, "{key}");
        }
    }
}

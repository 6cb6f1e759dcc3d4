//! Which cookies and headers of requests conditions of policies may look at (continuous security), and
//! which never leave: what proves who somebody is. It never reads a request.

use alloc::{borrow::ToOwned, format, string::String, vec::Vec};

use super::{
    Config,
    values::Values,
    web::{fold, is_token},
};

/// `org.forgerock.openam.agents.config.continuous.security.cookies`
pub(super) const COOKIES: &str = "org.forgerock.openam.agents.config.continuous.security.cookies";
/// `org.forgerock.openam.agents.config.continuous.security.headers`
pub(super) const HEADERS: &str = "org.forgerock.openam.agents.config.continuous.security.headers";

/// Most entries of each of the two maps.
const MAX_ENTRIES: usize = 16;
/// Longest name of an entry.
const MAX_NAME: usize = 64;

/// What conditions of AM itself look at: the agent says it, or AM knows it of the session. A client
/// that could write it would choose its address or its authentication level.
const AM_OWN: [&str; 8] = [
    "requestIp",
    "requestDnsName",
    "requestTime",
    "requestTimeZone",
    "requestAuthLevel",
    "requestAuthSchemes",
    "requestAuthenticatedToRealms",
    "requestAuthenticatedToServices",
];

/// Headers that hold passwords and tokens.
const SECRET_HEADERS: [&str; 4] = [
    "cookie",
    "authorization",
    "proxy-authorization",
    "iplanetdirectorypro",
];

/// Reads one of the two maps: `[cookie or header]=entry`.
pub(super) fn read(to: &mut Vec<(String, String)>, v: &mut Values<'_>) {
    to.clear();
    for &line in v.lines() {
        let name = line.index.as_deref().unwrap_or_default();
        let entry = line.value.as_str();
        if !is_token(name) {
            v.wrong(
                line,
                "belongs to no cookie or header",
                "write NAME[cookie or header]=entry",
            );
        } else if entry.is_empty()
            || entry.len() > MAX_NAME
            || !entry.bytes().all(|b| b.is_ascii_graphic())
        {
            let remedy = format!("use at most {MAX_NAME} letters, digits and signs");
            v.wrong(line, "is not the name of an entry", &remedy);
        } else if AM_OWN.iter().any(|own| own.eq_ignore_ascii_case(entry)) {
            v.wrong(line, "is AM's own name for a fact", "use another name");
        } else if to.len() == MAX_ENTRIES {
            let what = format!("is one entry too many: {MAX_ENTRIES} is the limit");
            v.wrong(line, &what, "leave some out");
        } else {
            to.push((name.to_owned(), entry.to_owned()));
        }
    }
}

/// What cannot be seen in one line: `refuse` is told the property and what is wrong. `is_ours` knows
/// the agent's own cookies.
pub(super) fn check(
    config: &Config,
    is_ours: impl Fn(&[u8]) -> bool,
    mut refuse: impl FnMut(&str, String),
) {
    let cookies = &config.continuous_cookies;
    for (name, entry) in cookies {
        let am = [config.cookie_name.as_str(), "iPlanetDirectoryPro"];
        if is_ours(name.as_bytes()) || am.iter().any(|am| am.eq_ignore_ascii_case(name)) {
            let what = format!("\"{entry}\" would tell AM the cookie {name}, which holds a token");
            refuse(COOKIES, what);
        }
    }
    let headers = &config.continuous_headers;
    for (name, entry) in headers {
        let mut secret = SECRET_HEADERS
            .into_iter()
            .chain([config.cookie_name.as_str()]);
        if secret.any(|s| same(s, name)) {
            let what = format!("\"{entry}\" would tell AM the header {name}, which holds secrets");
            refuse(HEADERS, what);
        }
    }
    let all = cookies.iter().map(|(_, entry)| (COOKIES, entry));
    let all: Vec<_> = all
        .chain(headers.iter().map(|(_, entry)| (HEADERS, entry)))
        .collect();
    for (i, (property, entry)) in all.iter().enumerate() {
        if all[..i].iter().any(|(_, before)| before == entry) {
            refuse(property, format!("\"{entry}\" is the name of two entries"));
        }
    }
}

/// Whether two header names are one for an application (rule U3).
fn same(a: &str, b: &str) -> bool {
    a.len() == b.len() && a.bytes().zip(b.bytes()).all(|(x, y)| fold(x) == fold(y))
}

#[cfg(test)]
mod tests {
    use std::string::ToString;

    use super::*;
    use crate::config::{Properties, Severity, Source, mistakes, read};

    /// What is wrong with these lines: property and line.
    fn wrong(lines: &str) -> Vec<(String, Option<u32>, String)> {
        let text = format!(
            "com.sun.identity.agents.config.username = wa1\n\
             com.sun.identity.agents.config.naming.url = https://am.example.com/am\n\
             com.sun.identity.agents.config.repository.location = local\n\
             com.sun.identity.agents.config.fqdn.default = www.example.com\n{lines}"
        );
        let files = Properties::parse(&text, Source::File("agent.conf".to_string()));
        let (config, mut problems) = read(&files, None);
        problems.retain(|p| p.severity == Severity::Error);
        problems.extend(mistakes(&config, &files, &problems));
        let rows = problems.into_iter();
        rows.map(|p| (p.property, p.line, p.what)).collect()
    }

    #[test]
    fn tokens_and_am_s_own_names_are_refused() {
        for (map, name, entry) in [
            (COOKIES, "am-auth-jwt", "x"),
            (COOKIES, "agent-authn-tx-1", "x"),
            (COOKIES, "__Host-agent-authn-tx", "x"),
            (COOKIES, "iPlanetDirectoryPro", "x"),
            (COOKIES, "a b", "x"),
            (COOKIES, "device", "a b"),
            (HEADERS, "Cookie", "x"),
            (HEADERS, "authorization", "x"),
            (HEADERS, "Proxy_Authorization", "x"),
            (HEADERS, "iPlanetDirectoryPro", "x"),
            (HEADERS, "X-Risk", "requestIp"),
            (HEADERS, "X-Risk", "REQUESTAUTHLEVEL"),
            (HEADERS, "X-Risk", "requestDnsName"),
        ] {
            let found = wrong(&format!("{map}[{name}] = {entry}\n"));
            assert_eq!(found.len(), 1, "{map}[{name}] = {entry}: {found:?}");
            assert!(found[0].0.starts_with(map), "{found:?}");
        }
        let renamed = "com.sun.identity.agents.config.cookie.name = sso\n";
        assert_eq!(wrong(&format!("{renamed}{COOKIES}[sso] = x\n")).len(), 1);
        assert_eq!(
            wrong(&format!("{COOKIES}[sso] = x\n{HEADERS}[X-A] = y\n")),
            []
        );
    }

    #[test]
    fn an_entry_has_one_source() {
        let found = wrong(&format!("{COOKIES}[a] = x\n{HEADERS}[X-A] = x\n"));
        assert_eq!(found.len(), 1, "{found:?}");
        assert_eq!((found[0].0.as_str(), found[0].1), (HEADERS, Some(6)));
    }

    #[test]
    fn sixteen_entries_are_enough() {
        let lines = |n: usize| -> String {
            (0..n)
                .map(|i| format!("{COOKIES}[c{i}] = e{i}\n"))
                .collect()
        };
        assert_eq!(wrong(&lines(16)), []);
        assert_eq!(wrong(&lines(17)).len(), 1);
    }
}

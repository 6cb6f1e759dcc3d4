//! Which attributes travel to the application, and under which names: made once, so that a request
//! only copies values. It never asks what the values are.

use alloc::{format, string::String, vec::Vec};

use super::{AttributeMap, AuditAccess, Config, FetchMode, UserIdType, web::fold};

/// Prefix of the variables that carry attributes: `$portcullis_attr_…`.
pub(super) const VARIABLE_PREFIX: &[u8] = b"portcullis_attr_";

/// The attribute maps of a configuration that are switched on; one that is off is empty.
pub struct Carried {
    /// Session properties.
    pub session: Vec<Attribute>,
    /// Profile attributes.
    pub profile: Vec<Attribute>,
    /// Response attributes of the policy.
    pub response: Vec<Attribute>,
    /// Session properties that travel as cookies.
    pub session_cookies: Vec<CookieAttribute>,
    /// Profile attributes that do.
    pub profile_cookies: Vec<CookieAttribute>,
    /// Response attributes that do.
    pub response_cookies: Vec<CookieAttribute>,
    /// Names, folded, of cookies that no client may send to the application: those of maps that travel
    /// so, and of maps that are switched off, which are no reason to believe the client.
    pub(crate) forgeable: Vec<Vec<u8>>,
}

/// An attribute and the cookies that it is mapped to.
pub struct CookieAttribute {
    /// Its name in AM's spelling.
    pub name: String,
    /// Whole names, with the prefix.
    pub cookies: Vec<String>,
}

/// An attribute and where its value goes.
pub struct Attribute {
    /// Its name in AM's spelling.
    pub name: String,
    /// Every place that it is mapped to.
    pub targets: Vec<Target>,
}

/// One place for an attribute's value.
pub struct Target {
    /// The request header as configured.
    pub header: String,
    /// The variable of the host: the header's name folded, as CGI would, behind a prefix of ours.
    pub variable: Vec<u8>,
}

/// The profile attributes that AM is asked for: those that travel, and those that name users.
pub(super) fn profile_names(config: &Config) -> Vec<String> {
    let map = &config.profile_attributes;
    let mapped = map.map.iter().map(|(name, _)| name.clone());
    let mut names: Vec<String> = match map.mode {
        FetchMode::None => Vec::new(),
        _ => mapped.collect(),
    };
    if config.userid_type == UserIdType::Ldap {
        names.push(config.userid_param.clone());
    }
    if config.universal_id_type == UserIdType::Ldap && config.audit_access != AuditAccess::None {
        names.push(config.universal_id_param.clone());
    }
    names.sort_unstable();
    names.dedup();
    names
}

impl Carried {
    pub(super) fn of_config(config: &Config) -> Carried {
        let prefix = config.cookie_prefix.as_str();
        let maps = maps(config).into_iter();
        let no_headers = maps.filter(|(_, map)| map.mode != FetchMode::HttpHeader);
        let names = no_headers.flat_map(|(_, map)| map.map.iter().flat_map(|(_, names)| names));
        let mut forgeable: Vec<Vec<u8>> = names
            .map(|name| prefix.bytes().chain(name.bytes()).map(fold).collect())
            .collect();
        forgeable.sort();
        forgeable.dedup();
        Carried {
            session: attributes(&config.session_attributes),
            profile: attributes(&config.profile_attributes),
            response: attributes(&config.response_attributes),
            session_cookies: cookies(&config.session_attributes, prefix),
            profile_cookies: cookies(&config.profile_attributes, prefix),
            response_cookies: cookies(&config.response_attributes, prefix),
            forgeable,
        }
    }

    /// Whether an application may take a cookie of this name for the agent's word. Languages decode
    /// names, leave blanks in front out, and read `name[x]` as a part of `name`.
    pub(crate) fn is_attribute_cookie(&self, name: &[u8]) -> bool {
        if self.forgeable.is_empty() {
            return false;
        }
        let seen = || {
            let decoded = percent_encoding::percent_decode(name);
            let begun = decoded.skip_while(|b| matches!(b, b' ' | b'+'));
            begun.take_while(|b| *b != b'[').map(fold)
        };
        self.forgeable
            .iter()
            .any(|known| seen().eq(known.iter().copied()))
    }
}

fn maps(config: &Config) -> [(&'static str, &AttributeMap); 3] {
    [
        (
            "com.sun.identity.agents.config.session.attribute.mapping",
            &config.session_attributes,
        ),
        (
            "com.sun.identity.agents.config.profile.attribute.mapping",
            &config.profile_attributes,
        ),
        (
            "com.sun.identity.agents.config.response.attribute.mapping",
            &config.response_attributes,
        ),
    ]
}

/// What attribute cookies cannot be: `refuse` is told the property and what is wrong. `is_session`
/// knows the cookies that sessions are read from.
pub(super) fn check(
    config: &Config,
    is_session: impl Fn(&[u8]) -> bool,
    mut refuse: impl FnMut(&str, String),
) {
    let mut names: Vec<String> = Vec::new();
    for (property, map) in maps(config) {
        for cookie in cookies(map, &config.cookie_prefix) {
            for name in cookie.cookies {
                if is_session(name.as_bytes()) || name == config.cookie_name {
                    refuse(property, format!("\"{name}\" is a cookie of sessions"));
                } else if names.contains(&name) {
                    refuse(property, format!("\"{name}\" is the name of two cookies"));
                }
                names.push(name);
            }
        }
    }
    let fits = |b: u8| b != b'%' && crate::token::cookie::is_quotable(b);
    if !names.is_empty() && !config.separator.bytes().all(fits) {
        let what = format!("\"{}\" cannot stand in a cookie", config.separator);
        refuse(
            "com.sun.identity.agents.config.attribute.multi.value.separator",
            what,
        );
    }
}

fn cookies(map: &AttributeMap, prefix: &str) -> Vec<CookieAttribute> {
    let on = map.mode == FetchMode::HttpCookie;
    let entries = map.map.iter().filter(|_| on);
    entries
        .map(|(name, cookies)| CookieAttribute {
            name: name.clone(),
            cookies: cookies.iter().map(|c| format!("{prefix}{c}")).collect(),
        })
        .collect()
}

fn attributes(map: &AttributeMap) -> Vec<Attribute> {
    match map.mode {
        FetchMode::None | FetchMode::HttpCookie => Vec::new(),
        FetchMode::HttpHeader => map
            .map
            .iter()
            .map(|(name, headers)| Attribute {
                name: name.clone(),
                targets: headers.iter().map(|h| target(h)).collect(),
            })
            .collect(),
    }
}

fn target(header: &str) -> Target {
    let folded = header.bytes().map(fold);
    Target {
        header: String::from(header),
        variable: VARIABLE_PREFIX.iter().copied().chain(folded).collect(),
    }
}

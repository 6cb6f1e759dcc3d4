//! Which attributes travel to the application, and under which names: made once, so that a request
//! only copies values. It never asks what the values are.

use alloc::{string::String, vec::Vec};

use super::{AttributeMap, Config, FetchMode, web::fold};

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

impl Carried {
    pub(super) fn of_config(config: &Config) -> Carried {
        Carried {
            session: attributes(&config.session_attributes),
            profile: attributes(&config.profile_attributes),
            response: attributes(&config.response_attributes),
        }
    }
}

fn attributes(map: &AttributeMap) -> Vec<Attribute> {
    match map.mode {
        FetchMode::None => Vec::new(),
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

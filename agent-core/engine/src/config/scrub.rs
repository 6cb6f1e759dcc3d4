//! Which request header names a client must not send, because the application takes them for the
//! agent's word.
//!
//! In it is what this product sets itself: the user's name in the forms in which applications see it,
//! `portcullis_attr_*`, and every header name that an attribute is mapped to. Headers that only other
//! products set (`X-Forwarded-User` and the like) are not in it: a proxy in front may own them, and
//! the agent never vouches for them. Map an attribute to such a name, and it is scrubbed too.

use alloc::{string::String, vec::Vec};

use super::{AttributeMap, Config, carry::VARIABLE_PREFIX as PREFIX, web::fold};

/// The user's name as CGI, reverse proxies and IIS-born applications look for it.
const USER: [&[u8]; 3] = [b"remote_user", b"auth_user", b"http_remote_user"];

/// A set of names, compared without case and with every separator equal (rule U3).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScrubNames {
    /// Folded, sorted, each once.
    names: Vec<Vec<u8>>,
    /// Bit n: some name has n bytes (the last bit stands for longer ones).
    lengths: u64,
    /// Bit n: some name begins with the letter or digit n.
    initials: u64,
}

impl ScrubNames {
    /// The names that hold without any configuration (rule O4).
    pub fn built_in() -> ScrubNames {
        ScrubNames::of(USER.iter().map(|n| n.to_vec()).collect())
    }

    /// The built-in names and those that a configuration maps attributes to, whatever the mode: a
    /// map that is switched off is no reason to believe the client.
    pub fn of_config(config: &Config) -> ScrubNames {
        let mut names: Vec<Vec<u8>> = USER.iter().map(|n| n.to_vec()).collect();
        for map in [
            &config.session_attributes,
            &config.profile_attributes,
            &config.response_attributes,
        ] {
            names.extend(mapped(map).map(|n| n.bytes().map(fold).collect()));
        }
        ScrubNames::of(names)
    }

    /// The names of several instances of one server: what one of them vouches for, no client may
    /// send to any (rule U3).
    pub fn union<'s>(sets: impl IntoIterator<Item = &'s ScrubNames>) -> ScrubNames {
        let mut names: Vec<Vec<u8>> = ScrubNames::built_in().names;
        names.extend(sets.into_iter().flat_map(|s| s.names.iter().cloned()));
        ScrubNames::of(names)
    }

    fn of(mut names: Vec<Vec<u8>>) -> ScrubNames {
        names.sort();
        names.dedup();
        let lengths = names.iter().fold(0, |bits, n| bits | length_bit(n.len()));
        let initials = names
            .iter()
            .filter_map(|n| n.first())
            .fold(0, |b, n| b | initial_bit(*n));
        ScrubNames {
            names,
            lengths,
            initials,
        }
    }

    /// Whether a header of this name must not reach the application. Allocates nothing.
    pub fn matches(&self, name: &[u8]) -> bool {
        let Some(first) = name.first().map(|b| fold(*b)) else {
            return false;
        };
        // Everything that begins so is ours, whether an attribute is mapped or not.
        if first == PREFIX[0] && name.len() >= PREFIX.len() && same(&name[..PREFIX.len()], PREFIX) {
            return true;
        }
        self.lengths & length_bit(name.len()) != 0
            && self.initials & initial_bit(first) != 0
            && self.names.iter().any(|known| same(name, known))
    }
}

fn mapped(map: &AttributeMap) -> impl Iterator<Item = &String> {
    map.map.iter().flat_map(|(_, names)| names)
}

fn same(name: &[u8], folded: &[u8]) -> bool {
    name.len() == folded.len() && name.iter().zip(folded).all(|(a, b)| fold(*a) == *b)
}

fn length_bit(length: usize) -> u64 {
    1 << length.min(63)
}

/// `folded` is a lower-case letter, a digit or `_`.
fn initial_bit(folded: u8) -> u64 {
    1 << (folded & 63)
}

#[cfg(test)]
mod tests {
    use std::{string::ToString, vec};

    use super::*;

    #[test]
    fn names_compare_as_applications_see_them() {
        let mut config = Config::default();
        config.session_attributes.map = vec![
            (
                "uid".to_string(),
                vec!["X-User".to_string(), "Z.Long_Name".to_string()],
            ),
            ("mail".to_string(), vec!["MAIL".to_string()]),
        ];
        let names = ScrubNames::of_config(&config);
        for hit in [
            "REMOTE_USER",
            "Remote-User",
            "remote.user",
            "Auth-User",
            "x-user",
            "X_USER",
            "x~user",
            "z-long-name",
            "Mail",
            "Portcullis-Attr-uid",
            "PORTCULLIS_ATTR_",
        ] {
            assert!(names.matches(hit.as_bytes()), "{hit}");
        }
        for miss in [
            "",
            "User",
            "X-User2",
            "XUser",
            "Portcullis-Att",
            "Remote-Use",
            "X-Forwarded-User",
        ] {
            assert!(!names.matches(miss.as_bytes()), "{miss}");
        }
        // A byte beyond ASCII is a separator as well.
        assert!(names.matches(b"x\xe9user"));
    }

    #[test]
    fn a_union_knows_the_names_of_all() {
        let mut config = Config::default();
        config.profile_attributes.map = vec![("cn".to_string(), vec!["X-Name".to_string()])];
        let one = ScrubNames::of_config(&config);
        let all = ScrubNames::union([&one, &ScrubNames::built_in()]);
        assert_eq!(all, one);
        assert!(ScrubNames::union([]).matches(b"Remote-User"));
    }
}

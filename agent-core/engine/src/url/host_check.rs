//! Is this a host name that users shall use, and which one is it else?
//!
//! Decides about names only; what is done about a wrong one is not its business.

use alloc::{string::String, vec::Vec};

use super::pattern::{Glob, Part};

/// `com.sun.identity.agents.config.fqdn.default` and `.fqdn.mapping`, compiled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostCheck {
    default: String,
    good: Vec<Glob>,
    map: Vec<(Glob, String)>,
}

impl HostCheck {
    /// `map` has (incoming, outgoing) in file order; both may hold `*`. Names are in lower case.
    pub fn new(default: &str, map: &[(String, String)]) -> HostCheck {
        let glob = |name: &str| Glob::parse(name, false, Part::Origin, true);
        // Nobody can be sent to a name with a wildcard in it.
        let targets = map.iter().filter(|(_, to)| !to.contains('*'));
        HostCheck {
            default: default.into(),
            good: map.iter().map(|(_, to)| glob(to)).collect(),
            map: targets.map(|(from, to)| (glob(from), to.clone())).collect(),
        }
    }

    /// Where users of this host (in lower case) belong; `None` when they are right here: the
    /// default, or any outgoing name. Otherwise the first incoming name that matches counts, or the
    /// default.
    pub fn elsewhere(&self, host: &str) -> Option<&str> {
        let is = |glob: &Glob| glob.matches(host.as_bytes(), true);
        if host == self.default || self.good.iter().any(is) {
            return None;
        }
        let mapped = self.map.iter().find(|(from, _)| is(from));
        Some(mapped.map_or(&self.default, |(_, to)| to))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_map_is_tried_in_file_order() {
        let pair = |from: &str, to: &str| (from.into(), to.into());
        let map = [
            pair("old.example.com", "new.example.com"),
            pair("*.example.com", "first.example.com"),
            pair("*.shop.example.com", "never.example.com"),
            pair("valid1", "agent-*.example.net"),
            pair("agent.example.net", "agent-*.example.net"),
            pair("old.example.com", "second.example.com"),
        ];
        let check = HostCheck::new("www.example.com", &map);
        for (host, expected) in [
            ("www.example.com", None),
            ("new.example.com", None),
            ("never.example.com", None),
            ("agent-7.example.net", None),
            ("old.example.com", Some("new.example.com")),
            ("a.shop.example.com", Some("first.example.com")),
            ("192.0.2.1", Some("www.example.com")),
            ("[::1]", Some("www.example.com")),
            // Its outgoing name is no place to go to.
            ("agent.example.net", Some("www.example.com")),
            ("agent-7.example.net.evil.example", Some("www.example.com")),
        ] {
            assert_eq!(check.elsewhere(host), expected, "{host}");
        }
    }
}

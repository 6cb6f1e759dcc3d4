//! What may be spoken towards AM: protocol versions and ciphers in OpenSSL's words, as far as the TLS
//! library has them. What it does not have is named, never silently left out.

use alloc::{borrow::ToOwned, format, string::String, vec::Vec};

use super::{Config, parse::Severity, values::Values};

/// TLS versions that may be used towards AM.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TlsVersions {
    /// TLS 1.2
    pub tls12: bool,
    /// TLS 1.3
    pub tls13: bool,
}

impl Default for TlsVersions {
    fn default() -> TlsVersions {
        TlsVersions {
            tls12: true,
            tls13: true,
        }
    }
}

/// The ciphers there are: OpenSSL's name, the name in the standards, and whether it is one of TLS 1.3.
pub const CIPHERS: [(&str, &str, bool); 9] = [
    ("TLS_AES_256_GCM_SHA384", "TLS13_AES_256_GCM_SHA384", true),
    ("TLS_AES_128_GCM_SHA256", "TLS13_AES_128_GCM_SHA256", true),
    (
        "TLS_CHACHA20_POLY1305_SHA256",
        "TLS13_CHACHA20_POLY1305_SHA256",
        true,
    ),
    (
        "ECDHE-ECDSA-AES256-GCM-SHA384",
        "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384",
        false,
    ),
    (
        "ECDHE-ECDSA-AES128-GCM-SHA256",
        "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256",
        false,
    ),
    (
        "ECDHE-ECDSA-CHACHA20-POLY1305",
        "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256",
        false,
    ),
    (
        "ECDHE-RSA-AES256-GCM-SHA384",
        "TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384",
        false,
    ),
    (
        "ECDHE-RSA-AES128-GCM-SHA256",
        "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256",
        false,
    ),
    (
        "ECDHE-RSA-CHACHA20-POLY1305",
        "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256",
        false,
    ),
];

/// Words for sets of ciphers that hold all of [`CIPHERS`].
const ALL: [&str; 5] = ["ALL", "DEFAULT", "HIGH", "COMPLEMENTOFDEFAULT", "SECURE"];

/// `org.forgerock.agents.config.tls`: the versions not to use, as in `-TLSv1 -TLSv1.1`.
pub(super) fn versions(to: &mut TlsVersions, v: &mut Values<'_>) {
    let Some(line) = v.last() else { return };
    let mut found = TlsVersions::default();
    for word in line.value.split([' ', '\t', ',']).filter(|w| !w.is_empty()) {
        match word {
            // Never used.
            "-SSLv2" | "-SSLv3" | "-TLSv1" | "-TLSv1.0" | "-TLSv1.1" => {}
            "-TLSv1.2" => found.tls12 = false,
            "-TLSv1.3" => found.tls13 = false,
            _ => {
                let what = format!("has the word \"{word}\", which switches off no version");
                v.wrong(line, &what, "write as in -TLSv1 -TLSv1.1 -TLSv1.2");
                return;
            }
        }
    }
    if !found.tls12 && !found.tls13 {
        let remedy = "leave TLSv1.2 or TLSv1.3 on; older ones are never used";
        return v.wrong(line, "switches off every version", remedy);
    }
    *to = found;
}

/// `com.forgerock.agents.config.ciphers`: the names in [`CIPHERS`] that are offered; none: all.
/// As with OpenSSL the list is about TLS 1.2, unless it names ciphers of TLS 1.3.
pub(super) fn ciphers(to: &mut Vec<String>, v: &mut Values<'_>) {
    let Some(line) = v.last() else { return };
    let (mut chosen, mut refused, mut absent) = (Vec::new(), Vec::new(), Vec::new());
    for word in line.value.split([':', ' ', ',']).filter(|w| !w.is_empty()) {
        let (name, minus) = match word.strip_prefix(['!', '-']) {
            Some(name) => (name, true),
            None => (word.trim_start_matches('+'), false),
        };
        let known = CIPHERS
            .iter()
            .find(|(n, _, _)| n.eq_ignore_ascii_case(name));
        match (known, minus) {
            (Some((name, _, _)), true) => refused.push(*name),
            (Some((name, _, _)), false) => chosen.push(*name),
            // A set that is excluded: nothing weak is there to be excluded.
            (None, true) => {}
            (None, false) if name.starts_with('@') => {}
            (None, false) if ALL.contains(&name) => {
                chosen.extend(CIPHERS.iter().filter(|c| !c.2).map(|c| c.0));
            }
            (None, false) => absent.push(name),
        }
    }
    if !absent.is_empty() {
        let what = format!(
            "names what the TLS library does not have: {}",
            absent.join(", ")
        );
        v.warn(line, &what, "remove them; docs/properties.md has the names");
    }
    if !chosen.iter().any(|n| n.starts_with("TLS_")) {
        chosen.extend(CIPHERS.iter().filter(|c| c.2).map(|c| c.0));
    }
    *to = CIPHERS
        .iter()
        .map(|(name, _, _)| *name)
        .filter(|name| chosen.contains(name) && !refused.contains(name))
        .map(ToOwned::to_owned)
        .collect();
}

/// One mistake or doubt: severity, property, what, remedy.
pub(super) type Add<'a> = &'a mut dyn FnMut(Severity, &str, &str, &str);

/// What only several properties about the way to AM show together.
pub(super) fn together(config: &Config, add: Add<'_>) {
    const PROXY: &str = "com.sun.identity.agents.config.forward.proxy";
    const CERT: &str = "com.forgerock.agents.config.cert";
    let host = config.forward_proxy_host.is_some();
    if host && config.forward_proxy_port == 0 {
        let name = format!("{PROXY}.port");
        add(
            Severity::Error,
            &name,
            "is missing",
            "write the proxy's port",
        );
    }
    if !host && (config.forward_proxy_port != 0 || config.forward_proxy_user.is_some()) {
        let name = format!("{PROXY}.host");
        let what = "is missing, so AM is asked directly";
        add(
            Severity::Error,
            &name,
            what,
            "name the proxy's host, or remove its other properties",
        );
    }
    if config.cert_file.is_some() != config.cert_key.is_some() {
        let (missing, there) = match config.cert_file {
            Some(_) => ("key", "file"),
            None => ("file", "key"),
        };
        let what = format!("is missing, and {CERT}.{there} is there");
        let name = format!("{CERT}.{missing}");
        add(
            Severity::Error,
            &name,
            &what,
            "name certificate and key, or neither",
        );
    }
    let usable = |tls13: bool| {
        let all = config.ciphers.is_empty();
        all || CIPHERS
            .iter()
            .any(|(n, _, of13)| *of13 == tls13 && config.ciphers.iter().any(|c| c == n))
    };
    let versions = config.tls_versions;
    if !(versions.tls12 && usable(false) || versions.tls13 && usable(true)) {
        let name = "com.forgerock.agents.config.ciphers";
        let what = "leaves no cipher for the TLS versions that are on";
        add(
            Severity::Error,
            name,
            what,
            "remove it, or name ciphers of docs/properties.md",
        );
    }
}

#[cfg(test)]
mod tests {
    use std::{string::ToString, vec};

    use super::*;
    use crate::config::{
        Properties, Source,
        parse::read,
        raw::Line,
        table::{PROPERTIES, Property},
    };

    fn row(name: &str) -> &'static Property {
        PROPERTIES.iter().find(|p| p.is_called(name)).unwrap()
    }

    fn set(name: &str, value: &str) -> (Config, Vec<String>) {
        let line = Line {
            name: name.to_string(),
            index: None,
            value: value.to_string(),
            number: None,
            source: Source::File("agent.conf".to_string()),
        };
        let (mut config, mut problems) = (Config::default(), vec![]);
        let row = row(name);
        (row.set)(&mut config, &mut Values::new(row, &[&line], &mut problems));
        (config, problems.iter().map(ToString::to_string).collect())
    }

    #[test]
    fn only_ciphers_that_there_are_can_be_chosen() {
        const NAME: &str = "com.forgerock.agents.config.ciphers";
        let chosen = |value: &str| {
            let (config, said) = set(NAME, value);
            let of12 = config.ciphers.iter().filter(|c| !c.starts_with("TLS_"));
            let of13 = config.ciphers.len() - of12.clone().count();
            (of12.cloned().collect::<Vec<_>>(), of13, said)
        };
        let (names, of13, said) = chosen("ECDHE-RSA-AES256-GCM-SHA384:!aNULL:-MD5");
        assert_eq!(
            (names, of13),
            (vec!["ECDHE-RSA-AES256-GCM-SHA384".to_string()], 3)
        );
        assert_eq!(said, [""; 0]);
        let (names, _, _) = chosen("HIGH:!ECDHE-RSA-AES128-GCM-SHA256:@STRENGTH");
        assert_eq!(names.len(), 5);
        let (names, of13, _) = chosen("TLS_AES_128_GCM_SHA256");
        assert_eq!((names.len(), of13), (0, 1));
        let (names, of13, said) = chosen("AES128-SHA:ECDHE-RSA-AES128-GCM-SHA256:DES-CBC3-SHA");
        assert_eq!((names.len(), of13), (1, 3));
        assert!(said[0].contains("AES128-SHA, DES-CBC3-SHA"), "{said:?}");
    }

    #[test]
    fn versions_are_switched_off_by_name() {
        const NAME: &str = "org.forgerock.agents.config.tls";
        let only = |tls12, tls13| TlsVersions { tls12, tls13 };
        assert_eq!(
            set(NAME, "-TLSv1 -TLSv1.1").0.tls_versions,
            only(true, true)
        );
        assert_eq!(set(NAME, "-TLSv1.2").0.tls_versions, only(false, true));
        assert_eq!(
            set(NAME, "-SSLv3 -TLSv1.3").0.tls_versions,
            only(true, false)
        );
        for (value, word) in [
            ("-TLSv1.2 -TLSv1.3", "every version"),
            ("TLSv1.2", "\"TLSv1.2\""),
        ] {
            let (config, said) = set(NAME, value);
            assert_eq!(config.tls_versions, only(true, true));
            assert!(said[0].contains(word), "{said:?}");
        }
    }

    #[test]
    fn what_does_not_go_together_is_named() {
        for (lines, name) in [
            (
                "com.sun.identity.agents.config.forward.proxy.host = proxy",
                "forward.proxy.port",
            ),
            (
                "com.sun.identity.agents.config.forward.proxy.port = 3128",
                "forward.proxy.host",
            ),
            (
                "com.sun.identity.agents.config.forward.proxy.user = me",
                "forward.proxy.host",
            ),
            ("com.forgerock.agents.config.cert.file = /c.pem", "cert.key"),
            ("com.forgerock.agents.config.cert.key = /k.pem", "cert.file"),
            (
                "org.forgerock.agents.config.tls = -TLSv1.3\ncom.forgerock.agents.config.ciphers = TLS_AES_128_GCM_SHA256",
                "config.ciphers",
            ),
        ] {
            let files = Properties::parse(lines, Source::File("agent.conf".to_string()));
            let (_, problems) = read(&files, None);
            let found = problems
                .iter()
                .any(|p| p.severity == Severity::Error && p.property.ends_with(name));
            assert!(found, "{lines}");
        }
    }
}

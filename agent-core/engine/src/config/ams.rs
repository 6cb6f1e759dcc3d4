//! Which addresses of AM, and which of its realms, does the configuration name? Compared with what AM says
//! of itself; nothing is asked by them.

use alloc::{
    format,
    string::{String, ToString},
    vec,
    vec::Vec,
};

use super::{
    Config, login_rules,
    web::{self, Base},
};

/// Issuers of ID tokens: `iss` follows the host that the browser asked AM by (measured on OpenAM
/// 16.0.5), so each URL of AM that is configured may be it, with the default port or without, and in
/// a sub-realm with the realm behind it.
pub(super) fn issuers(config: &Config) -> Vec<String> {
    let mut all = vec![];
    for base in am_bases(config) {
        for port in ports(&base) {
            let issuer = format!("{}{}oauth2", base.origin(port), base.path);
            let named = login_rules::addresses(config).filter_map(|u| web::realm_named(u));
            for realm in named.chain([config.organization_name.clone()]) {
                if realm != "/" {
                    all.push(format!("{issuer}{realm}"));
                    all.push(format!(
                        "{issuer}/realms/root{}",
                        realm.replace('/', "/realms/")
                    ));
                }
            }
            all.push(issuer);
        }
    }
    distinct(all)
}

/// A default port may be written or not.
fn ports(base: &Base) -> [Option<u16>; 2] {
    match base.port_for_browsers() {
        None => [None, Some(base.effective_port())],
        port => [port, port],
    }
}

/// AM's `/cdcservlet`; none where logins do not go there.
pub(super) fn servlets(config: &Config) -> Vec<String> {
    let mut all = vec![];
    for base in am_bases(config).filter(|_| config.login_cdcservlet) {
        let at = |port| format!("{}{}cdcservlet", base.origin(port), base.path);
        all.extend(ports(&base).map(at));
    }
    distinct(all)
}

/// Origins of AM in the form of RFC 6454 section 6.2: a default port is left out.
pub(super) fn am_origins(config: &Config) -> Vec<String> {
    let origins = am_bases(config).map(|base| base.origin(base.port_for_browsers()));
    distinct(origins.collect())
}

/// AM as the configuration names it: for the agent, for browsers, and by its login pages.
fn am_bases(config: &Config) -> impl Iterator<Item = Base> {
    let bases = config.naming_url.iter().chain(&config.public_am_url);
    let servlets = config.cdcservlet_url.iter();
    let servlets = servlets.filter(|_| config.login_cdcservlet);
    let pages = config.login_url.iter().chain(servlets);
    let pages = pages.filter_map(|u| web::deployment(u));
    // With the default login a rule names an AM, whichever of its addresses.
    let by_rules = login_rules::addresses(config).filter_map(|u| match config.allow_custom_login {
        0 => web::deployment(u).or_else(|| web::split(u).ok().map(|(base, _)| base)),
        _ => web::deployment(u),
    });
    let bases = bases.filter_map(|u| Base::parse(u).ok());
    bases.chain(pages).chain(by_rules)
}

/// Realms whose users count (rule L5): where users log in, where the policies are, and those that
/// `portcullis.session.realms` adds. The OpenID Connect login of dialect A happens in the agent's
/// own realm; a login page of one's own in the realm that it names, or in the root realm.
pub fn login_realms(config: &Config) -> Vec<String> {
    let mut realms = vec![config.policy_realm.clone()];
    if config.allow_custom_login != 2 {
        realms.push(config.organization_name.clone());
    }
    if config.allow_custom_login != 0 {
        let named = config.login_url.iter().map(|u| web::realm_parameter(u));
        realms.extend(named.map(|realm| realm.unwrap_or_else(|| "/".to_string())));
    }
    let elsewhere = login_rules::addresses(config).map(|u| web::realm_named(u));
    realms.extend(elsewhere.map(|realm| match config.allow_custom_login {
        0 => realm.unwrap_or_else(|| config.organization_name.clone()),
        _ => realm.unwrap_or_else(|| "/".to_string()),
    }));
    realms.extend(config.session_realms.iter().cloned());
    distinct(realms)
}

fn distinct(mut all: Vec<String>) -> Vec<String> {
    all.sort_unstable();
    all.dedup();
    all
}

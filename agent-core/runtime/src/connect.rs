//! What do the bootstrap properties of an instance say of the way to AM?
//!
//! It puts settings together and opens nothing.

use std::{path::PathBuf, time::Duration};

use crate::{
    agent::Start,
    am::{Am, Site},
    client::{ClientError, ForwardProxy, Settings},
};

/// Names the file for `tls.keylog.enable`.
const KEY_LOG_FILE: &str = "AM_SSL_KEYLOG_FILE";

/// The client of one instance, from its bootstrap properties.
pub(crate) fn connect(start: &Start) -> Result<Am, ClientError> {
    Am::new(&site(start), &settings(start))
}

/// Whom to ask.
pub(crate) fn site(start: &Start) -> Site {
    let config = &start.config;
    Site {
        urls: config.naming_url.clone(),
        realm: config.organization_name.clone(),
        agent: config.username.clone(),
        cookie_name: config.cookie_name.clone(),
        dialect: config.dialect,
        agent_auth: config.agent_auth,
    }
}

/// How to get there.
pub(crate) fn settings(start: &Start) -> Settings {
    let config = &start.config;
    Settings {
        connect_timeout: Duration::from_secs(config.connect_timeout.into()),
        ca_file: config.cert_ca_file.as_ref().map(PathBuf::from),
        trust_server_certs: config.trust_server_certs,
        hostmap: config
            .hostmap
            .iter()
            .filter_map(|(host, ip)| Some((host.clone(), ip.parse().ok()?)))
            .collect(),
        proxy: config.forward_proxy_host.as_ref().map(|host| ForwardProxy {
            host: host.clone(),
            port: config.forward_proxy_port,
            login: config
                .forward_proxy_user
                .as_ref()
                .map(|user| (user.clone(), start.secrets.proxy_password.clone())),
        }),
        identity: start.identity.clone(),
        ciphers: config.ciphers.clone(),
        versions: config.tls_versions,
        verify_depth: config.cert_verify_depth,
        key_log: match config.tls_keylog {
            true => std::env::var_os(KEY_LOG_FILE).map(PathBuf::from),
            false => None,
        },
        calls_max: config.am_calls_max as usize,
        witness: None,
    }
}

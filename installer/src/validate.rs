//! Asks AM whether what is about to be installed works: the same client, the same calls as the module.

use std::time::Duration;

use anyhow::{Result, bail};
use portcullis_engine::{am::AmError, token::Secret};
use portcullis_runtime::{
    am::{Am, Site},
    client::{Call, Permit, Settings},
};

/// Logs the agent in, and out again.
pub(crate) fn agent_login(am: &str, realm: &str, name: &str, password: &Secret) -> Result<()> {
    let seconds = std::env::var("AM_NET_TIMEOUT")
        .ok()
        .and_then(|s| s.parse().ok())
        .unwrap_or(4);
    let site = Site {
        urls: vec![am.to_owned()],
        realm: realm.to_owned(),
        agent: name.to_owned(),
        cookie_name: "iPlanetDirectoryPro".into(),
    };
    let settings = Settings {
        connect_timeout: Duration::from_secs(seconds),
        calls_max: 1,
        ..Settings::default()
    };
    let am = Am::new(&site, &settings)?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_io()
        .enable_time()
        .build()?;
    runtime.block_on(async {
        let call = || Call {
            permit: Permit::KnownSession,
            until: tokio::time::Instant::now() + Duration::from_secs(seconds),
        };
        if let Err(error) = am.server_info(call()).await {
            bail!("AM cannot be asked ({error}): check the URL, or install with --forceInstall");
        }
        match am.agent_login(password, call()).await {
            Ok(token) => {
                // The session would stay at AM for ever; that it ends is not worth an error.
                let _ = am.logout(&token, call()).await;
                Ok(())
            }
            Err(AmError::Refused { status }) => bail!(
                "AM refused the agent (HTTP {status}): check profile name, password and realm, and that the profile is active"
            ),
            Err(error) => bail!("the agent's login failed: {error}"),
        }
    })
}

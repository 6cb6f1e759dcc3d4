//! Asks AM whether what is about to be installed works: the same client, the same calls as the module.

use std::{path::PathBuf, time::Duration};

use anyhow::{Context, Result, bail};
use portcullis_engine::{
    am::AmError,
    config::{AgentAuth, Dialect},
    token::Secret,
};
use portcullis_runtime::{
    am::{Am, Site},
    client::{Call, ForwardProxy, Permit, Settings},
};

/// Logs the agent in, and out again: as OpenAM does it, or else by a tree.
pub(crate) fn agent_login(am: &str, realm: &str, name: &str, password: &Secret) -> Result<()> {
    let seconds = seconds(std::env::var("AM_NET_TIMEOUT").ok().as_deref())?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_io()
        .enable_time()
        .build()?;
    let mut refused = None;
    for dialect in [Dialect::OpenAm, Dialect::PingAm] {
        let site = Site {
            urls: vec![am.to_owned()],
            realm: realm.to_owned(),
            agent: name.to_owned(),
            cookie_name: "iPlanetDirectoryPro".into(),
            dialect,
            agent_auth: AgentAuth::Tree,
        };
        let am = Am::new(&site, &way(seconds, |name| std::env::var(name).ok())?)?;
        match runtime.block_on(log_in_and_out(&am, password, seconds))? {
            None if dialect == Dialect::PingAm => {
                println!(
                    "AM logs agents in by a tree only, as PingAM does: write portcullis.am.dialect = pingam into agent.conf."
                );
                return Ok(());
            }
            None => return Ok(()),
            Some(status) => refused = refused.or(Some(status)),
        }
    }
    bail!(
        "AM refused the agent (HTTP {}): check profile name, password and realm, and that the profile is active",
        refused.unwrap_or_default()
    )
}

/// The way to AM that variables of the environment name: the one that is written into agent.conf, but for the agent's
/// certificate.
fn way(seconds: u64, variable: impl Fn(&str) -> Option<String>) -> Result<Settings> {
    let set = |name| variable(name).filter(|value| !value.is_empty());
    let proxy = |host| {
        let port = set("AM_PROXY_PORT").context("AM_PROXY_HOST needs AM_PROXY_PORT")?;
        let password = || set("AM_PROXY_PASSWORD").map(|text| Secret::new(text.into_bytes()));
        anyhow::Ok(ForwardProxy {
            host,
            port: port.trim().parse().context("AM_PROXY_PORT")?,
            login: set("AM_PROXY_USER").map(|user| (user, password())),
        })
    };
    Ok(Settings {
        connect_timeout: Duration::from_secs(seconds),
        ca_file: set("AM_SSL_CA").map(PathBuf::from),
        proxy: set("AM_PROXY_HOST").map(proxy).transpose()?,
        calls_max: 1,
        ..Settings::default()
    })
}

/// The status with which AM refused the agent, if it did.
async fn log_in_and_out(am: &Am, password: &Secret, seconds: u64) -> Result<Option<u16>> {
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
            Ok(None)
        }
        Err(AmError::Refused { status }) => Ok(Some(status)),
        Err(error) => bail!("the agent's login failed: {error}"),
    }
}

/// What `AM_NET_TIMEOUT` says.
pub(crate) fn seconds(text: Option<&str>) -> Result<u64> {
    match text.map(str::trim).filter(|text| !text.is_empty()) {
        None => Ok(4),
        Some(text) => match text.parse() {
            Ok(seconds @ 1..=3600) => Ok(seconds),
            _ => bail!("AM_NET_TIMEOUT is no number of seconds between 1 and 3600: {text}"),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_for_am_is_a_number_of_seconds() {
        assert_eq!(seconds(None).unwrap(), 4);
        assert_eq!(seconds(Some(" 10 ")).unwrap(), 10);
        for bad in ["0", "soon", "-1", "4s"] {
            assert!(seconds(Some(bad)).is_err(), "{bad}");
        }
    }
}

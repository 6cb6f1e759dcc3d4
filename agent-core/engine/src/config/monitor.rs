//! Who may look at the agent's numbers (rule W1)? What `agent.conf` says of it, compiled.

use alloc::{boxed::Box, string::String};
use core::net::IpAddr;

use super::{Config, Secrets};
use crate::{token::Secret, url::AddressSet};

/// The callers that may look where nothing names others.
const HERE: [&str; 2] = ["127.0.0.1", "::1"];

/// What is needed to look.
pub(crate) struct Monitor {
    /// The name of HTTP Basic.
    pub(crate) user: String,
    /// Its password; without one nobody may look.
    pub(crate) password: Option<Secret>,
    addresses: AddressSet,
}

impl Monitor {
    /// `None` where it is off.
    pub(crate) fn of(config: &Config, secrets: &Secrets) -> Option<Box<Monitor>> {
        let addresses = match config.monitor_addresses.is_empty() {
            // These two are addresses; none at all would let nobody look.
            true => AddressSet::new(HERE).unwrap_or_default(),
            false => config.monitor_addresses.clone(),
        };
        config.monitor.then(|| {
            Box::new(Monitor {
                user: config.monitor_user.clone(),
                password: secrets.monitor_password.clone(),
                addresses,
            })
        })
    }

    /// Whether this address may look.
    pub(crate) fn admits(&self, address: IpAddr) -> bool {
        self.addresses.contains(address)
    }
}

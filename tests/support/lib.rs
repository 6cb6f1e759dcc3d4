//! The harness of the acceptance suite: real web servers, a real or simulated AM, a browser.
//!
//! A behaviour is written once, with [`both_servers!`], and runs on httpd and on nginx.

// What can't be set up fails the test that wanted it.
#![allow(clippy::expect_used, clippy::unwrap_used, clippy::panic)]

pub mod backend;
pub mod browser;
pub mod client;
pub mod contract;
pub mod daemon;
pub mod forge;
pub mod front;
pub mod guide;
pub mod http2;
pub mod imported;
pub mod killing;
pub mod leading;
pub mod modules;
pub mod monitoring;
pub mod outage;
pub mod outcome;
pub mod policies;
pub mod processes;
pub mod pty;
pub mod real;
pub mod recording;
pub mod reloads;
pub mod sbom;
pub mod second;
pub mod server;
pub mod site;
pub mod stepping;
pub mod streams;
pub mod tree;
pub mod visitor;

use std::time::{Duration, Instant};

/// Waits for an event; only a bound, never a measurement.
///
/// # Panics
/// When the event does not come within a minute.
pub fn wait_until(what: &str, happened: impl FnMut() -> bool) {
    wait_within(Duration::from_secs(60), what, happened);
}

/// The same with a bound of its own, for what takes a minute by its nature.
///
/// # Panics
/// When the event does not come before.
pub fn wait_within(most: Duration, what: &str, mut happened: impl FnMut() -> bool) {
    let limit = Instant::now() + most;
    while !happened() {
        assert!(Instant::now() < limit, "waited in vain for {what}");
        std::thread::park_timeout(Duration::from_millis(20));
    }
}

/// Makes of each function a module with a test for httpd and one for nginx.
#[macro_export]
macro_rules! both_servers {
    ($($(#[$meta:meta])* fn $name:ident($kind:ident: Kind) $body:block)*) => {
        $(
            $(#[$meta])*
            mod $name {
                #[allow(unused_imports)]
                use super::*;

                fn scenario($kind: $crate::server::Kind) $body

                #[test]
                fn httpd() {
                    scenario($crate::server::Kind::Httpd);
                }

                #[test]
                fn nginx() {
                    scenario($crate::server::Kind::Nginx);
                }
            }
        )*
    };
}

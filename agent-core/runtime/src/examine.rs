//! What does whoever examines an installation need of the module's own code?
//!
//! Reads files and makes clients as a worker does. Must not have an answer of its own: what is found with it
//! holds for the running module only because it is the same code.

use std::{path::Path, sync::Arc};

use portcullis_engine::config::Problem;

use crate::{
    agent::{self, Start},
    am::Am,
    client::{ClientError, Witness},
    connect, memory,
};

/// Reads `agent.conf`, the two files beside it and the environment, as the parent of the workers does; with
/// every mistake. `None`: no instance could be started with them.
pub fn read(conf: &Path) -> (Option<Start>, Vec<Problem>) {
    let (more, mut problems) = agent::environment();
    let (start, found) = agent::read(conf, more);
    problems.extend(found);
    (start, problems)
}

/// What of an instance's way to AM is another for a look at it.
#[derive(Clone, Debug, Default)]
pub struct Instead {
    /// One of its servers only.
    pub url: Option<String>,
    /// Another name for the header of tokens.
    pub cookie_name: Option<String>,
    /// The other dialect.
    pub dialect: Option<portcullis_engine::config::Dialect>,
}

/// The client that a worker of this instance makes, but without a file for the secrets of connections.
///
/// # Errors
/// As for a worker.
pub fn am(start: &Start, instead: Instead, witness: Arc<Witness>) -> Result<Am, ClientError> {
    let mut site = connect::site(start);
    if let Some(url) = instead.url {
        site.urls = vec![url];
    }
    site.cookie_name = instead.cookie_name.unwrap_or(site.cookie_name);
    site.dialect = instead.dialect.unwrap_or(site.dialect);
    let mut settings = connect::settings(start);
    settings.key_log = None;
    settings.witness = Some(witness);
    let am = Am::new(&site, &settings)?;
    am.balance(start.config.add_amlbcookie);
    Ok(am)
}

/// The lowest limit of memory of the control groups that this process is in, bytes.
pub fn memory_limit() -> Option<u64> {
    // Where there is none, the first version of control groups says the largest number of pages.
    memory::limit().filter(|bytes| *bytes < 1 << 60)
}

/// Bytes that the tables of a host may fill with this setting of `AM_MAX_SESSION_CACHE_SIZE`, 0 for the
/// default; `None` where the kernel does not give them.
pub fn shared_memory(cache_bytes: u64) -> Option<u64> {
    let bytes = match cache_bytes {
        0 => portcullis_shm::DEFAULT_CACHE_BYTES,
        bytes => usize::try_from(bytes).ok()?,
    };
    let mapping = portcullis_shm::Mapping::create(bytes).ok()?;
    u64::try_from(mapping.layout().filled_bytes()).ok()
}

//! Which node of a farm is this, in the ids of incidents?
//!
//! Must be the same after a restart and for every user who looks, and tell nothing of the machine to whoever
//! reads an id.

use std::{fs, path::Path};

use portcullis_engine::{config::Config, contract::NodeMark};

/// The mark of the instance of this `agent.conf`: by the name that it is given there, else by the machine's.
pub(crate) fn mark(config: Option<&Config>, agent_conf: &Path) -> NodeMark {
    let own = rustix::system::uname();
    let machine = own.nodename().to_string_lossy();
    let named = config.map_or("", |config| config.node_name.as_str());
    let name = if named.is_empty() { &machine } else { named };
    // However the file is named, by the web server or by hand.
    let path = fs::canonicalize(agent_conf).unwrap_or_else(|_| agent_conf.to_path_buf());
    NodeMark::of(name, &path.to_string_lossy())
}

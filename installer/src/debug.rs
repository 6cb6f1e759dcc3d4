//! `agentadmin debug`: has a web server that runs say more of one client's requests, for a while.
//!
//! It writes into shared memory what the workers look at by themselves; they go on, and it ends by itself.

use std::{
    net::IpAddr,
    path::{Path, PathBuf},
    process::ExitCode,
};

use anyhow::{Context, Result, ensure};
use clap::Args;
use portcullis_runtime::Running;

use crate::instance::Instance;

const EXAMPLES: &str = "\
Examples:
  agentadmin debug 192.0.2.7 agent_1
  agentadmin debug 2001:db8::1 --minutes 60
  agentadmin debug --off agent_1

Within a second, every decision about requests of that client is in the debug log, also what its level would leave
out, each with a line PCL0725 that says how it came to it. The address is that of the client as the agent sees it:
behind a proxy, the one of com.sun.identity.agents.config.client.ip.header. One address at a time: another one
takes its place. Tokens, cookie values and queries are in no line. agentadmin status shows that it is on.

It needs root, or the user that started the web server.

Exit code: 0 when every web server with the instance was told, 1 otherwise.";

/// Write more about the requests of one client address, for a while
#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Options {
    /// The client's address; not with --off
    #[arg(value_name = "ADDRESS", required_unless_present = "off")]
    first: Option<String>,

    /// The instance: its name or its agent.conf; without it the only one there is
    #[arg(value_name = "AGENT")]
    second: Option<PathBuf>,

    /// For how long; 1440 at most
    #[arg(long, value_name = "MINUTES", default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=1440))]
    minutes: u32,

    /// End it now
    #[arg(long, conflicts_with = "minutes")]
    off: bool,
}

/// Tells the web servers.
pub(crate) fn run(options: &Options) -> Result<ExitCode> {
    let (address, agent) = options.meant()?;
    let instance = Instance::find(agent)?;
    let log = instance.read()?.config.local_logfile;
    for host in Running::all_to_change(&instance.conf)? {
        match address {
            Some(address) => host.look_closer(address, u64::from(options.minutes) * 60_000),
            None => host.look_no_closer(),
        }
        let pids: Vec<String> = host.parents().iter().map(u32::to_string).collect();
        let (called, pids) = (instance.called(), pids.join(", "));
        match address {
            Some(address) => println!(
                "{called}: the web server with process {pids} writes more of the requests of {address} for {} minutes",
                options.minutes
            ),
            None => println!("{called}: the web server with process {pids} writes as before"),
        }
    }
    if address.is_some() {
        match log {
            Some(log) => println!("look into {log} for PCL0725"),
            None => eprintln!(
                "agentadmin: there is no debug log: set com.sun.identity.agents.config.local.logfile and restart \
                 the web server"
            ),
        }
    }
    Ok(ExitCode::SUCCESS)
}

impl Options {
    /// The address, unless it is to end, and the instance.
    fn meant(&self) -> Result<(Option<IpAddr>, Option<&Path>)> {
        let agent = self.second.as_deref();
        let Some(first) = self.first.as_deref() else {
            return Ok((None, agent));
        };
        if self.off {
            ensure!(
                agent.is_none() || first.parse::<IpAddr>().is_ok(),
                "with --off only the instance is named"
            );
            let named =
                agent.or_else(|| first.parse::<IpAddr>().is_err().then(|| Path::new(first)));
            return Ok((None, named));
        }
        let address: IpAddr = first
            .parse()
            .with_context(|| format!("{first} is not an IP address"))?;
        Ok((Some(address.to_canonical()), agent))
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        options: Options,
    }

    #[test]
    fn an_address_is_needed_but_to_end_it() {
        let meant = |words: &str| {
            let line = Line::try_parse_from(format!("debug {words}").split_whitespace()).ok()?;
            let (address, agent) = line.options.meant().ok()?;
            Some((
                address.map(|a| a.to_string()),
                agent.map(|a| a.display().to_string()),
            ))
        };
        let is = |address: Option<&str>, agent: Option<&str>| {
            Some((address.map(str::to_owned), agent.map(str::to_owned)))
        };
        assert_eq!(meant("192.0.2.7"), is(Some("192.0.2.7"), None));
        assert_eq!(
            meant("::ffff:192.0.2.7 agent_1 --minutes 5"),
            is(Some("192.0.2.7"), Some("agent_1"))
        );
        assert_eq!(meant("--off"), is(None, None));
        assert_eq!(meant("--off agent_1"), is(None, Some("agent_1")));
        assert_eq!(meant("192.0.2.7 agent_1 --off"), is(None, Some("agent_1")));
        for wrong in [
            "",
            "agent_1",
            "192.0.2.7 --minutes 0",
            "192.0.2.7 --minutes 1441",
        ] {
            assert_eq!(meant(wrong), None, "{wrong}");
        }
    }
}

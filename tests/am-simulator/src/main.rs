//! The simulator as a program: reads the command line, prints the address, serves until Ctrl-C.

use am_simulator::{Config, Simulator};
use anyhow::Context as _;
use clap::Parser;
use std::net::SocketAddr;
use std::path::PathBuf;

const EXAMPLES: &str = r#"Examples:
  An empty AM on a free port; prints http://am.test.example.org:PORT/openam
    am-simulator

  With data from a file, on a fixed port
    am-simulator --listen 127.0.0.1:8081 --host am.test.example.org --config am.json

  am.json
    {"users":    [{"username":"demo","userpassword":"changeit8","mail":"demo@example.com"}],
     "agents":   [{"realm":"/","username":"wa1","userpassword":["s3cretagent"],"agenttype":["WebAgent"],
                   "serverurl":["http://am.test.example.org:8081/openam"],
                   "agenturl":["http://www.test.example.org:8080"]}],
     "policies": [{"realm":"/","name":"docs","applicationName":"iPlanetAMWebAgentService",
                   "resourceTypeUuid":"76656a38-5f8e-401b-83aa-4ccb74ce88d2",
                   "resources":["http://www.test.example.org:8080/docs/*"],
                   "actionValues":{"GET":true},"subject":{"type":"AuthenticatedUsers"}}]}

  Ask it (AM answers to its own name only)
    curl --resolve am.test.example.org:8081:127.0.0.1 'http://am.test.example.org:8081/openam/json/serverinfo/*'

  Let the next three policy calls fail, look at the calls, forget both
    curl -d '{"path":"/json/policies","times":3,"damage":{"kind":"status","status":503}}' http://127.0.0.1:8081/simulator/faults
    curl http://127.0.0.1:8081/simulator/calls
    curl -X DELETE http://127.0.0.1:8081/simulator/faults
    curl -X DELETE http://127.0.0.1:8081/simulator/calls

  Other damage: {"kind":"hang"} {"kind":"hold"} {"kind":"reset"} {"kind":"slow-body","delay_ms":100} {"kind":"endless-body"}
    {"kind":"garbage"} {"kind":"not-http"} {"kind":"kill-agent-sessions","agent":"wa1"}; "after": calls to let pass first
    (hold: answered properly once the faults are deleted)
  Other controls: POST /simulator/advance {"seconds":60}, POST /simulator/kill-agent-sessions {}, GET /simulator/audit
"#;

/// A strict simulator of AM, dialect A (OpenAM 16), for tests without a real one.
///
/// Administrator: amadmin / adminpassword, by the same REST calls as on the real server. Notifications are not
/// simulated yet. Ctrl-C stops it.
#[derive(Debug, Parser)]
#[command(name = "am-simulator", version, after_help = EXAMPLES)]
struct Options {
    /// Address to listen on; port 0 takes a free one [default: 127.0.0.1:0]
    #[arg(long, value_name = "ADDRESS:PORT")]
    listen: Option<SocketAddr>,
    /// AM's fully qualified name; calls to /json under any other are refused [default: am.test.example.org]
    #[arg(long, value_name = "NAME")]
    host: Option<String>,
    /// JSON file with realms, users, agents, applications, policies, modules and settings
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

fn main() -> anyhow::Result<()> {
    let options = Options::parse();
    let mut config = match &options.config {
        Some(file) => {
            let text =
                std::fs::read(file).with_context(|| format!("reading {}", file.display()))?;
            serde_json::from_slice(&text).with_context(|| format!("reading {}", file.display()))?
        }
        None => Config::default(),
    };
    if let Some(listen) = options.listen {
        config.listen = listen;
    }
    if let Some(host) = options.host {
        config.host = host;
    }
    let running = Simulator::start(config).context("starting")?;
    println!("{}", running.base_url());
    let waiting = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    waiting.block_on(tokio::signal::ctrl_c())?;
    running.stop();
    Ok(())
}

//! What of a recording is not a question: which configuration a request was decided with, and what of it
//! does not stand in `agent.conf`.

use anyhow::{Result, anyhow};
use portcullis_engine::config::{Config, Properties, RulesOnly, Source};
use serde::Deserialize;
use serde_json::Value;

/// What stands beside a recorded request, as far as deciding it again needs it.
#[derive(Deserialize)]
pub(super) struct Recorded {
    /// Fingerprint of `agent.conf`.
    #[serde(default)]
    pub(super) agent_conf: String,
    /// The name of what was said elsewhere.
    pub(super) elsewhere: Option<String>,
    not_replayable: Option<String>,
}

/// As much of a line as says what kind of line it is.
#[derive(Default, Deserialize)]
pub(super) struct Head {
    #[serde(default)]
    pub(super) id: Value,
    elsewhere: Option<String>,
    recorded: Option<Recorded>,
}

/// What the environment of the web server and AM said.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Elsewhere {
    pub(super) elsewhere: String,
    /// Lines as they would stand in `agent.conf`.
    #[serde(default)]
    environment: Vec<String>,
    /// The agent's profile, without what is secret in it.
    profile: Option<Vec<(String, Vec<String>)>>,
    /// The name of AM's session cookie, where AM was asked for it.
    cookie_name: Option<String>,
    /// Only the exemptions of `agent.conf` counted.
    #[serde(default)]
    fallback: bool,
}

impl Head {
    /// Whatever is no such line is left to those who can say what is wrong with it.
    pub(super) fn read(line: &str) -> Head {
        serde_json::from_str(line).unwrap_or_default()
    }

    /// What the line says of a configuration, when it is about one.
    pub(super) fn elsewhere(&self, line: &str) -> Option<Result<Elsewhere>> {
        self.elsewhere.as_ref()?;
        Some(serde_json::from_str(line).map_err(|error| anyhow!("{error}")))
    }

    /// Why the recorded request cannot be decided again.
    pub(super) fn not_replayable(&self) -> Option<&str> {
        self.recorded.as_ref()?.not_replayable.as_deref()
    }
}

impl Elsewhere {
    /// What AM said to a web server that runs.
    pub(super) fn published(
        profile: Option<Vec<(String, Vec<String>)>>,
        cookie_name: Option<String>,
    ) -> Elsewhere {
        Elsewhere {
            elsewhere: String::new(),
            environment: Vec::new(),
            profile,
            cookie_name,
            fallback: false,
        }
    }

    pub(super) fn environment(&self) -> Properties {
        let source = Source::Environment("of the recording".to_owned());
        Properties::parse(&self.environment.join("\n"), source)
    }

    pub(super) fn profile(&self) -> Option<Properties> {
        self.profile.as_deref().map(Properties::from_profile)
    }

    /// What no property says.
    pub(super) fn complete(&self, config: &mut Config) {
        if let Some(name) = &self.cookie_name {
            config.cookie_name.clone_from(name);
        }
        if self.fallback {
            config.rules_only = Some(RulesOnly::Fallback);
        }
    }
}

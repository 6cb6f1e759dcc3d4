//! Does AM know this agent, and as what?

use portcullis_engine::{
    am::AmError,
    config::{self, AgentAuth, Dialect, Properties, Repository, Severity},
    contract::Cause,
    token::Secret,
};
use portcullis_runtime::{client::Opening, examine::Instead};

use super::{check::Finding, patient::Patient};

const COOKIE: &str = "com.sun.identity.agents.config.cookie.name";
const NAME: &str = "com.sun.identity.agents.config.username";
const REALM: &str = "com.sun.identity.agents.config.organization.name";
const PASSWORD: &str = "com.sun.identity.agents.config.password";

/// Whether the agent presents tokens under the name that AM looks for.
pub(crate) fn cookie_name(patient: &mut Patient) -> Finding {
    let (Some(info), Some(config)) = (patient.info(), patient.config()) else {
        return Finding::skipped("AM did not answer");
    };
    let (theirs, ours) = (info.cookie_name.clone(), config.cookie_name.clone());
    let seen = patient
        .selected()
        .and_then(|s| s.asked.as_ref()?.seen.clone());
    let curl = seen.map(|seen| patient.curl_of(&seen));
    if ours.is_empty() {
        return Finding::ok(format!(
            "AM's cookie is {theirs}, and the agent asks AM for its name"
        ))
        .curl(curl);
    }
    if ours == theirs {
        return Finding::ok(format!(
            "AM's cookie and the agent's cookie.name are {theirs}"
        ))
        .curl(curl);
    }
    // The seed of many tickets: the notification filter says 401 to a token under a wrong name, and whatever
    // knows nothing of it says 404.
    let probed = match probe(patient, &ours) {
        Ok(status) => format!("a WebSocket asked for under the name {ours} gets HTTP {status}"),
        Err(why) => format!("a WebSocket asked for under the name {ours}: {why}"),
    };
    Finding::not_ok(
        format!("AM's cookie is {theirs} (json/serverinfo), cookie.name is {ours}"),
        format!("{COOKIE} = {theirs}, or leave it away: the agent then asks AM"),
    )
    .and(probed)
    .vendor("Agent websocket open error: forbidden (3)")
    .curl(curl)
}

/// The status that a WebSocket gets with a made-up token in this header; 401 where AM's notification filter
/// has seen it.
pub(crate) fn probe(patient: &Patient, header: &str) -> Result<u16, String> {
    let client = patient.selected().and_then(|server| {
        patient.client(Instead {
            url: Some(server.url.clone()),
            cookie_name: Some(header.to_owned()),
            dialect: None,
        })
    });
    let Some(am) = client else {
        return Err("no client".into());
    };
    let nobody = Secret::new(b"nobodys-token".to_vec());
    match patient.wait(async { am.notifications(&nobody, patient.call()).await }) {
        Ok(Opening::Open(_)) => Ok(101),
        Ok(Opening::Refused(status)) => Ok(status),
        Err(failure) => Err(failure.why),
    }
}

/// Whether AM has the realm of the agent's profile.
pub(crate) fn realm(patient: &mut Patient) -> Finding {
    let Some(realm) = patient.config().map(|c| c.organization_name.clone()) else {
        return Finding::skipped("the configuration is not known");
    };
    let Some(login) = patient.login() else {
        return Finding::skipped("no client");
    };
    let (curl, words) = login_words(patient);
    match login {
        // AM says 404 of a module that it does not have, too.
        Err(AmError::Refused { status: 404 }) if !words.contains("Module") => Finding::not_ok(
            format!("AM has no realm {realm} (HTTP 404{words})"),
            format!("{REALM}: the realm of the agent's profile, in AM's spelling"),
        )
        .vendor(format!(
            "error validating agent login: realm {realm} not found"
        )),
        Err(AmError::Refused { .. }) | Ok(_) => Finding::ok(format!("AM has the realm {realm}")),
        Err(error) => Finding::skipped(format!("AM did not say: {error}")),
    }
    .curl(curl)
}

fn login_words(patient: &Patient) -> (Option<String>, String) {
    let seen = patient.login_seen();
    let words = seen.and_then(|s| s.message()).map(|m| format!(": {m}"));
    (seen.map(|s| patient.curl_of(s)), words.unwrap_or_default())
}

/// Whether AM takes name and password.
pub(crate) fn login(patient: &mut Patient) -> Finding {
    let Some(config) = patient.config() else {
        return Finding::skipped("the configuration is not known");
    };
    let (name, realm) = (config.username.clone(), config.organization_name.clone());
    let (dialect, way) = (config.dialect, config.agent_auth);
    let Some(login) = patient.login() else {
        return Finding::skipped("no client");
    };
    let (curl, words) = login_words(patient);
    let who = format!("profile {name}, realm {realm}");
    match login {
        Ok(_) => Finding::ok(format!("AM took {who}")),
        Err(AmError::Refused { status: 401 }) => Finding::not_ok(
            format!("AM refused {who} (HTTP 401{words})"),
            format!(
                "AM does not say which of these is wrong: the profile's name ({NAME}), its password \
                 ({PASSWORD} in agent-password.conf, written by agentadmin --p), its realm ({REALM}), \
                 or its status in AM, which has to be Active"
            ),
        ),
        Err(AmError::Refused { status }) => {
            let remedy = match other_dialect(patient, dialect) {
                Some(remedy) => remedy,
                None if dialect == Dialect::PingAm && way == AgentAuth::Tree => {
                    "com.forgerock.agents.config.agent.auth.mode, or the tree Agent in this realm of AM".to_owned()
                }
                None => "portcullis.am.dialect, and AM's own log".to_owned(),
            };
            Finding::not_ok(format!("AM refused {who} (HTTP {status}{words})"), remedy)
        }
        Err(AmError::Unavailable(Cause::Protocol)) => Finding::not_ok(
            "AM let the agent in, but gave no session token",
            format!("{COOKIE}, and whether the realm's login asks agents for more than a password"),
        ),
        Err(error) => Finding::not_ok(
            format!("the login brought no answer: {error}"),
            "com.sun.identity.agents.config.receive.timeout, and AM's own log",
        ),
    }
    .curl(curl)
    .vendor(format!("agent login: {who}"))
}

/// What to write where AM takes the agent by the other way in. Asked only where AM knows no such way, so
/// that no profile is locked by it.
fn other_dialect(patient: &Patient, dialect: Dialect) -> Option<String> {
    let (other, word) = match dialect {
        Dialect::OpenAm => (Dialect::PingAm, "pingam"),
        Dialect::PingAm => (Dialect::OpenAm, "openam"),
    };
    let url = Some(patient.selected()?.url.clone());
    let am = patient.client(Instead {
        url,
        cookie_name: Some(patient.cookie_name()),
        dialect: Some(other),
    })?;
    let password = patient.start.as_ref()?.secrets.password.clone();
    let token = patient.wait(async { am.agent_login(&password, patient.call()).await });
    let token = token.ok()?;
    let _ = patient.wait(async { am.logout(&token, patient.call()).await });
    Some(format!(
        "portcullis.am.dialect = {word}: so AM takes the agent"
    ))
}

/// What AM holds as the agent's profile: its type and its status.
pub(crate) fn profile(patient: &mut Patient) -> Finding {
    let Some(token) = patient.token() else {
        return Finding::skipped("the agent has no session");
    };
    let Some(name) = patient.config().map(|c| c.username.clone()) else {
        return Finding::skipped("the configuration is not known");
    };
    let Some(am) = patient.am() else {
        return Finding::skipped("no client");
    };
    let answer = patient.wait(async { am.profile(&token, patient.call()).await });
    let curl = patient.curl();
    let profile = match answer {
        Ok(profile) => profile,
        Err(error) => {
            let remedy = match error {
                AmError::NotAllowed(_) => {
                    "the agent's privilege in AM to read its own profile".to_owned()
                }
                AmError::AgentDead => format!(
                    "AM has forgotten the agent's session at once: several AMs behind {} that do not share \
                     sessions, or a proxy that drops the header",
                    "com.sun.identity.agents.config.naming.url"
                ),
                _ => "AM's own log".to_owned(),
            };
            return Finding::not_ok(format!("the profile cannot be read: {error}"), remedy)
                .curl(curl);
        }
    };
    let value = |attribute: &str| {
        let found = profile
            .iter()
            .find(|(n, _)| n.eq_ignore_ascii_case(attribute));
        found.and_then(|(_, values)| values.first().cloned())
    };
    let kind = value("AgentType");
    let status = value("sunIdentityServerDeviceStatus");
    patient.profile = Some(profile);
    let shown = |value: &Option<String>| value.clone().unwrap_or_else(|| "not said".into());
    let evidence = format!("type {}, status {}", shown(&kind), shown(&status));
    let web = kind
        .as_deref()
        .is_none_or(|k| k.eq_ignore_ascii_case("WebAgent"));
    let active = status
        .as_deref()
        .is_none_or(|s| s.eq_ignore_ascii_case("Active"));
    match (web, active) {
        (false, _) => Finding::not_ok(
            evidence,
            format!("{NAME}: a profile of the type WebAgent; notifications and policies are for those only"),
        ),
        (_, false) => Finding::not_ok(
            evidence,
            format!("make the profile {name} Active in AM: its next login is refused"),
        )
        .go_on(),
        (true, true) => Finding::ok(evidence),
    }
    .curl(curl)
}

/// Whether file and profile together make a configuration.
pub(crate) fn in_force(patient: &mut Patient) -> Finding {
    let Some(start) = &patient.start else {
        return Finding::skipped("the configuration is not known");
    };
    if start.config.repository == Repository::Local {
        let mut typed = start.config.clone();
        if typed.cookie_name.is_empty() {
            typed.cookie_name = patient.cookie_name();
        }
        patient.force = Some(typed);
        return Finding::ok("agent.conf alone says what holds (repository.location = local)");
    }
    let Some(profile) = &patient.profile else {
        return Finding::skipped("the profile is not known");
    };
    let mut profile = profile.clone();
    profile.retain(|(name, _)| !config::is_stored_password(name));
    let properties = Properties::from_profile(&profile);
    let (typed, mut problems) = config::read(&start.files, Some(&properties));
    let more = config::mistakes(&typed, &start.files, &problems);
    problems.extend(more);
    let wrong: Vec<String> = problems
        .iter()
        .filter(|p| p.severity == Severity::Error)
        .map(ToString::to_string)
        .collect();
    let warnings = problems
        .iter()
        .filter(|p| p.severity == Severity::Warning)
        .map(|p| format!("warning: {p}"))
        .collect::<Vec<_>>();
    match wrong.first().cloned() {
        Some(first) => Finding::not_ok(
            "agent.conf and the profile in AM cannot be used together",
            first,
        )
        .all(wrong),
        None => {
            let mut typed = typed;
            if typed.cookie_name.is_empty() {
                typed.cookie_name = patient.cookie_name();
            }
            patient.force = Some(typed);
            Finding::ok("agent.conf and the profile in AM can be used together").all(warnings)
        }
    }
}

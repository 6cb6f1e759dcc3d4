//! Can AM decide for this agent, and does a session of a user count here?

use portcullis_engine::{
    am::{AmError, a::policy::Question},
    config::{self, FilterMode},
    contract::{Environment, UnixMillis},
    record::{Session, SessionKind},
};

use super::{
    check::{Finding, every},
    patient::Patient,
};

const REALM: &str = "org.forgerock.openam.agents.config.policy.evaluation.realm";
const SET: &str = "org.forgerock.openam.agents.config.policy.evaluation.application";
/// A resource that no policy is about.
const NOTHING: &str = "http://doctor.invalid:80/";

/// What one question to AM's policies brought.
enum Asked {
    Fine,
    NoRealm(String),
    NoSet(String),
    Else(AmError),
}

/// Whether the realms of the policies exist.
pub(crate) fn realm(patient: &mut Patient) -> Finding {
    look(patient, |place, asked| match asked {
        Asked::NoRealm(words) => Finding::not_ok(
            format!("{place}: {words}"),
            format!("{REALM}: a realm that AM has, in AM's spelling"),
        ),
        Asked::Fine | Asked::NoSet(_) => Finding::ok(format!("{place}: AM has the realm")),
        Asked::Else(error) => Finding::not_ok(
            format!("{place}: {error}"),
            match error {
                AmError::NotAllowed(_) => "the agent's privilege in AM to evaluate policies",
                _ => "AM's own log",
            },
        ),
    })
}

/// Whether the policy sets exist there.
pub(crate) fn set(patient: &mut Patient) -> Finding {
    look(patient, |place, asked| match asked {
        Asked::NoSet(words) => Finding::not_ok(
            format!("{place}: {words}"),
            format!("{SET}: a policy set of that realm, in AM's spelling; or {REALM}"),
        ),
        Asked::Fine => Finding::ok(format!("{place}: AM evaluates")),
        Asked::NoRealm(_) | Asked::Else(_) => Finding::skipped(format!("{place}: not asked")),
    })
}

fn look(patient: &mut Patient, judge: impl Fn(&str, Asked) -> Finding) -> Finding {
    let Some(config) = patient.in_force() else {
        return Finding::skipped("the configuration is not known");
    };
    let mode = match (config.filter_mode, config.sso_only) {
        (Some(mode), _) => mode,
        (None, true) => FilterMode::SsoOnly,
        (None, false) => FilterMode::UrlPolicy,
    };
    let by_path = config
        .filter_modes
        .iter()
        .any(|m| m.value == FilterMode::UrlPolicy);
    if mode != FilterMode::UrlPolicy && !by_path {
        return Finding::not_needed("no policies are asked for in this mode");
    }
    let mut places = vec![(config.policy_realm.clone(), config.policy_set.clone())];
    for named in &config.policy_realms {
        places.push((named.value.clone(), config.policy_set.clone()));
    }
    for named in &config.policy_sets {
        places.push((config.policy_realm.clone(), named.value.clone()));
    }
    places.sort();
    places.dedup();
    let (Some(token), Some(am)) = (patient.token(), patient.am()) else {
        return Finding::skipped("the agent has no session");
    };
    let resources = [NOTHING.to_owned()];
    let environment = Environment::default();
    let mut looks = Vec::new();
    for (realm, application) in &places {
        let question = Question {
            token: &token,
            resources: &resources,
            application,
            realm,
            environment: &environment,
        };
        let answer = patient.wait(async { am.evaluate(&token, &question, patient.call()).await });
        let words = patient.witness().last().and_then(|seen| seen.message());
        let words = words.unwrap_or_default();
        let asked = match answer {
            Ok(_) => Asked::Fine,
            Err(AmError::NotAllowed(portcullis_engine::am::Refusal::PolicySet)) => {
                // AM's words for a realm that it does not have; texts are asked for in English.
                match words.starts_with("Realm ") {
                    true => Asked::NoRealm(words),
                    false => Asked::NoSet(words),
                }
            }
            Err(error) => Asked::Else(error),
        };
        let place = format!("policy set {application}, realm {realm}");
        looks.push(judge(&place, asked).curl(patient.curl()));
    }
    every(looks)
}

/// Whether a given user's session counts here.
pub(crate) fn session(patient: &mut Patient) -> Finding {
    let Some((name, password, realm)) = patient
        .wish
        .user
        .as_ref()
        .map(|u| (u.name.clone(), u.password.clone(), u.realm.clone()))
    else {
        return Finding::not_needed("no user was given");
    };
    let (Some(agent), Some(am)) = (patient.token(), patient.am()) else {
        return Finding::skipped("the agent has no session");
    };
    let login = patient.wait(async {
        am.user_login(&realm, &name, &password, patient.call())
            .await
    });
    let curl = patient.curl();
    let user = match login {
        Ok(token) => token,
        Err(error) => {
            let words = patient.witness().last().and_then(|seen| seen.message());
            let words = words.map(|w| format!(": {w}")).unwrap_or_default();
            return Finding::not_ok(
                format!("user {name}, realm {realm}: {error}{words}"),
                "name, password and realm of the user that was given, and whether the realm's login asks \
                 for more than a password",
            )
            .curl(curl);
        }
    };
    let now = UnixMillis(
        std::time::SystemTime::now()
            .duration_since(std::time::UNIX_EPOCH)
            .map_or(0, |d| u64::try_from(d.as_millis()).unwrap_or(u64::MAX)),
    );
    let found = patient.wait(async { am.session(&agent, &user, false, now, patient.call()).await });
    let curl = patient.curl();
    let found = match &found {
        Ok(record) => judge_session(patient, record),
        Err(error) => Finding::not_ok(
            format!("AM gives the agent no answer about the user's session: {error}"),
            "the agent's privilege in AM to read sessions; portcullis.am.dialect",
        ),
    };
    // Nobody else uses it.
    let _ = patient.wait(async { am.logout(&user, patient.call()).await });
    found.curl(curl)
}

fn judge_session(patient: &Patient, record: &[u8]) -> Finding {
    let (Some(session), Some(config)) = (Session::decode(record), patient.in_force()) else {
        return Finding::skipped("the session cannot be read");
    };
    let realms = config::login_realms(config);
    let evidence = format!(
        "AM shows the agent the session of a user of realm {}",
        session.realm
    );
    if session.kind != SessionKind::User {
        return Finding::not_ok(
            "the session is an application's",
            "give a user, not an agent",
        );
    }
    match realms
        .iter()
        .any(|realm| realm.eq_ignore_ascii_case(session.realm))
    {
        true => Finding::ok(evidence),
        false => Finding::not_ok(
            format!(
                "{evidence}, which counts nothing here: {}",
                realms.join(", ")
            ),
            "portcullis.session.realms: the realms whose users count, besides those of login and policies",
        ),
    }
}

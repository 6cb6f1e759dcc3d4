//! One worker of the host looks after an instance: it logs the agent in and reads its profile.
//!
//! The others take what it publishes. A leader that is stopped loses the lease, and whatever it tries
//! to write afterwards is refused by its old term.

use std::{
    cell::Cell,
    rc::Rc,
    sync::Arc,
    time::{Duration, Instant},
};

use portcullis_engine::{
    am::AmError,
    config::{self, Config, Repository},
    contract::{Cause, FactError},
    event::Code,
    token::Secret,
};
use portcullis_shm::{InstanceState, StatusWord, Term, clock};
use tokio::sync::Notify;

use crate::{
    breaker,
    client::{Call, Permit},
    fetch::{Fetcher, configuration_arrived},
    known_good,
    lines::Line,
    logs::wall_ms,
    notifications,
    published::{self, Published},
    reload,
    ticket::Mailbox,
};

/// How often a leader renews, and how long a lease lives without that.
pub(crate) const TICK: Duration = Duration::from_millis(500);
const LEASE_MS: u64 = 1500;
/// How often a follower looks whether something changed.
const FOLLOW: Duration = Duration::from_secs(1);
/// How often a request that needs the agent's session looks whether it is there.
const LOOK: Duration = Duration::from_millis(20);
/// Pauses between attempts after AM could not be reached, and after it refused the agent.
const UNREACHED_MS: (u64, u64) = (500, 5_000);
const REFUSED_MS: (u64, u64) = (5_000, 60_000);
/// Failures in a row; a word of the instance that all workers share.
const FAILURES: usize = 0;

/// What this worker holds and has taken over of one instance.
#[derive(Default)]
pub(crate) struct Duty {
    term: Cell<Option<Term>>,
    /// Version of what was taken over last.
    pub(crate) applied: Cell<u64>,
    /// Until when the configuration counts that AM gave before the start, in milliseconds since 1970.
    pub(crate) kept_until: Cell<Option<u64>>,
    /// What was taken over last.
    pub(crate) last: published::Last,
    watch: reload::Watch,
    changed: Notify,
}

impl Duty {
    /// The term, while this worker leads.
    pub(crate) fn term(&self) -> Option<Term> {
        self.term.get()
    }

    /// Waits until this worker begins or ceases to lead; for one task.
    pub(crate) async fn changed(&self) {
        self.changed.notified().await;
    }
}

/// Looks after an instance for as long as the worker lives.
pub(crate) async fn follow(fetcher: Rc<Fetcher>) {
    let duty = Rc::new(Duty::default());
    tokio::task::spawn_local(keep_lease(fetcher.clone(), duty.clone()));
    tokio::task::spawn_local(notifications::listen(fetcher.clone(), duty.clone()));
    loop {
        if let Some(term) = duty
            .term
            .get()
            .filter(|_| fetcher.refuse_while_open().is_ok())
        {
            duties(&fetcher, term).await;
        }
        if let Some(term) = duty.term.get()
            && duty.kept_until.get().is_some_and(|until| until < wall_ms())
        {
            let why = "it is too old now";
            known_good::withdraw(&fetcher, &fetcher.state(), term, why);
        }
        if let Some(term) = duty.term.get() {
            reload::look(&fetcher, &fetcher.state(), term, &duty.watch);
        }
        published::apply(&fetcher, &duty);
        match duty.term.get() {
            Some(_) => {
                let _ = tokio::time::timeout(TICK, fetcher.kick.notified()).await;
            }
            // An idle follower wakes up once a second, in `keep_lease`.
            None => fetcher.kick.notified().await,
        }
    }
}

/// Takes, renews and gives back the lease; apart from the duties, which may hang on AM.
async fn keep_lease(fetcher: Rc<Fetcher>, duty: Rc<Duty>) {
    loop {
        let state = fetcher.state();
        let now = clock::boottime_ms();
        let worker = &fetcher.worker;
        fetcher.recheck();
        fetcher.look_for_first();
        fetcher.look_for_closer(duty.term.get().is_some());
        match duty.term.get() {
            Some(held) if worker.draining() => {
                state.lease_resign(held);
                hold(&fetcher, &duty, None);
            }
            Some(held) if !state.lease_renew(held, now, LEASE_MS) && !state.leads(held) => {
                hold(&fetcher, &duty, None);
            }
            None if !worker.draining() => {
                if let Some(taken) = state.lease_try(worker.id(), now, LEASE_MS) {
                    hold(&fetcher, &duty, Some(taken));
                    fetcher.kick.notify_one();
                }
            }
            _ => {}
        }
        if let Some(term) = duty.term.get() {
            say_who_serves(&fetcher, &state, term);
        }
        if state.profile_version() != duty.applied.get() {
            fetcher.kick.notify_one();
        }
        tokio::time::sleep(if duty.term.get().is_some() {
            TICK
        } else {
            FOLLOW
        })
        .await;
    }
}

fn hold(fetcher: &Fetcher, duty: &Duty, now: Option<Term>) {
    let mut terms = fetcher.worker.terms.lock();
    terms.retain(|(index, _)| *index != fetcher.index);
    terms.extend(now.map(|t| (fetcher.index, t)));
    duty.term.set(now);
    duty.changed.notify_one();
}

/// Lets tools know which of AM's addresses answers.
fn say_who_serves(fetcher: &Fetcher, state: &InstanceState<'_>, term: Term) {
    let Some(at) = fetcher.instance().serving() else {
        return;
    };
    let number = at.load(std::sync::atomic::Ordering::Relaxed) as u64 + 1;
    if state.status(StatusWord::Serving) != number {
        state.set_status(term, StatusWord::Serving, number);
    }
}

/// What the leader owes the others now.
async fn duties(fetcher: &Rc<Fetcher>, term: Term) {
    let state = fetcher.state();
    if state.agent_session_generation().is_none() && !waiting(&state) {
        log_in(fetcher, &state, term).await;
    }
    if profile_due(fetcher, &state) && !waiting(&state) {
        read_profile(fetcher, &state, term).await;
    }
}

/// The pause after a failure, the same whoever leads.
fn waiting(state: &InstanceState<'_>) -> bool {
    let error = state.status(StatusWord::LastError);
    if error == 0 {
        return false;
    }
    let refused = error == u64::from(Code::AgentLoginRefused.number());
    let since = state.status(StatusWord::LastErrorAt);
    // AM was not there then, and is now.
    if !refused && state.breaker().closed_at() > since {
        return false;
    }
    let (first, most) = if refused { REFUSED_MS } else { UNREACHED_MS };
    let failures = state
        .spare(FAILURES)
        .map_or(0, |n| n.load(std::sync::atomic::Ordering::Relaxed));
    let pause = first
        .saturating_mul(1 << failures.saturating_sub(1).min(10))
        .min(most);
    // Not for the same time in each host of a farm: they must not come back all at once.
    let jitter = since.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32;
    let pause = pause / 2 + jitter % (pause / 2 + 1);
    clock::boottime_ms().saturating_sub(since) < pause
}

/// An answer that AM owed the agent itself.
fn unanswered(
    fetcher: &Rc<Fetcher>,
    state: &InstanceState<'_>,
    term: Term,
    code: Code,
    error: AmError,
) {
    fetcher.learn::<()>(breaker::OWN, &Err(error.fact()));
    match error {
        AmError::Unavailable(cause) if cause.tells_of_am() => {
            known_good::bring_back(fetcher, state, term);
        }
        AmError::NotAllowed(_) | AmError::Refused { .. } => {
            known_good::throw_away(fetcher, state, term);
        }
        _ => {}
    }
    failed(fetcher, state, term, code, &error.to_string());
}

fn failed(fetcher: &Fetcher, state: &InstanceState<'_>, term: Term, code: Code, text: &str) {
    if let Some(n) = state.spare(FAILURES) {
        n.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
    }
    state.set_status(term, StatusWord::LastErrorAt, clock::boottime_ms());
    state.set_status(term, StatusWord::LastError, u64::from(code.number()));
    // Seldom, and somebody has to act: the line says what to do.
    let text = format!("{text}; {}", code.row().remedy);
    fetcher.worker.write(fetcher.index, Line::log(code, text));
}

fn succeeded(state: &InstanceState<'_>, term: Term) {
    if let Some(n) = state.spare(FAILURES) {
        n.store(0, std::sync::atomic::Ordering::Relaxed);
    }
    state.set_status(term, StatusWord::LastError, 0);
    state.set_status(term, StatusWord::LastContactAt, clock::boottime_ms());
}

async fn log_in(fetcher: &Rc<Fetcher>, state: &InstanceState<'_>, term: Term) {
    let Some(start) = fetcher.instance().start() else {
        return;
    };
    let name = &start.config.username;
    let realm = &start.config.organization_name;
    match fetcher
        .am
        .agent_login(&start.secrets.password, own_call(fetcher))
        .await
    {
        Ok(token) => {
            if state.publish_agent_session(term, token.expose()) {
                succeeded(state, term);
                let text = format!("profile \"{name}\", realm \"{realm}\"");
                fetcher
                    .worker
                    .write(fetcher.index, Line::log(Code::AgentLoggedIn, text));
            }
        }
        Err(AmError::Refused { status }) => {
            let text = format!("profile \"{name}\", realm \"{realm}\", HTTP {status}");
            known_good::throw_away(fetcher, state, term);
            failed(fetcher, state, term, Code::AgentLoginRefused, &text);
        }
        Err(error) => unanswered(fetcher, state, term, Code::AgentLoginFailed, error),
    }
}

/// A call of the agent's own: bounded by the timeouts of the properties.
fn own_call(fetcher: &Fetcher) -> Call {
    let seconds = fetcher
        .instance()
        .start()
        .map_or(4, |s| s.config.receive_timeout.max(1));
    let until = tokio::time::Instant::now() + Duration::from_secs(seconds.into());
    Call {
        permit: Permit::KnownSession,
        until,
    }
}

fn profile_due(fetcher: &Fetcher, state: &InstanceState<'_>) -> bool {
    let Some(start) = fetcher.instance().start() else {
        return false;
    };
    if !from_am(&start.config) || state.agent_session_generation().is_none() {
        return false;
    }
    let minutes = fetcher
        .instance()
        .snapshot()
        .map_or(1, |s| s.config.polling_interval.max(1));
    let age = clock::boottime_ms().saturating_sub(state.status(StatusWord::ProfileReadAt));
    state.status(StatusWord::ProfileReadAt) == 0 || interval_passed(minutes, age)
}

/// Whether a profile of this age, in milliseconds, has to be read again.
fn interval_passed(minutes: u32, age: u64) -> bool {
    age >= u64::from(minutes) * 60_000
}

/// Whether anything of the configuration has to come from AM.
pub(crate) fn from_am(config: &Config) -> bool {
    config.repository == Repository::Centralized || config.cookie_name.is_empty()
}

async fn read_profile(fetcher: &Rc<Fetcher>, state: &InstanceState<'_>, term: Term) {
    let mut token = Vec::new();
    let Some(generation) = state.agent_session(&mut token) else {
        return;
    };
    let from_am = match ask_profile(fetcher, &Secret::new(token)).await {
        Ok(published) => published,
        Err(AmError::AgentDead) => {
            state.invalidate_agent_session(generation);
            return;
        }
        Err(error) => {
            return unanswered(fetcher, state, term, Code::ProfileFailed, error);
        }
    };
    let known = Published::current(state);
    let conf = known
        .as_ref()
        .and_then(|k| k.newer_conf(fetcher.instance().start()?));
    let published = Published {
        conf: conf.cloned(),
        ..from_am.clone()
    };
    if known.as_ref() != Some(&published) && !published.publish(state, term) {
        let text = "the profile is larger than the shared table takes";
        return failed(fetcher, state, term, Code::ProfileFailed, text);
    }
    known_good::keep(fetcher, &from_am);
    state.set_status(term, StatusWord::ProfileReadAt, clock::boottime_ms());
    succeeded(state, term);
}

async fn ask_profile(fetcher: &Fetcher, agent: &Secret) -> Result<Published, AmError> {
    let config = fetcher.instance().start().map(|s| &s.config);
    let centralized = config.is_some_and(|c| c.repository == Repository::Centralized);
    let unnamed = config.is_some_and(|c| c.cookie_name.is_empty());
    let cookie_name = match unnamed {
        true => Some(fetcher.am.server_info(own_call(fetcher)).await?.cookie_name),
        false => None,
    };
    let profile = match centralized {
        true => {
            let mut attributes = fetcher.am.profile(agent, own_call(fetcher)).await?;
            attributes.retain(|(name, _)| !config::is_stored_password(name));
            attributes.sort_unstable(); // AM's order varies
            Some(attributes)
        }
        false => None,
    };
    Ok(Published {
        cookie_name,
        profile,
        given_at: None,
        conf: None,
    })
}

/// The agent's session; waits for the leader until the deadline, but not where the leader has said
/// that it is no use.
pub(crate) async fn agent_session(
    fetcher: &Fetcher,
    deadline: Instant,
) -> Result<(Secret, u64), FactError> {
    let state = fetcher.state();
    loop {
        let mut token = Vec::new();
        if let Some(generation) = state.agent_session(&mut token) {
            return Ok((Secret::new(token), generation));
        }
        fetcher.refuse_while_open()?;
        if waiting(&state) {
            return Err(FactError::Unavailable(trouble(&state)));
        }
        if Instant::now() >= deadline {
            return Err(FactError::Unavailable(Cause::Timeout));
        }
        fetcher.kick.notify_one();
        tokio::time::sleep(LOOK).await;
    }
}

fn trouble(state: &InstanceState<'_>) -> Cause {
    let refused = u64::from(Code::AgentLoginRefused.number());
    match state.status(StatusWord::LastError) == refused {
        true => Cause::AgentLogin,
        false => Cause::Transport,
    }
}

/// Wakes a request once there is a configuration, or none can come in time.
pub(crate) async fn await_configuration(
    fetcher: Rc<Fetcher>,
    mailbox: Arc<Mailbox>,
    deadline: Instant,
) {
    let state = fetcher.state();
    while fetcher.instance().snapshot().is_none()
        && !waiting(&state)
        && fetcher.refuse_while_open().is_ok()
        && Instant::now() < deadline
    {
        fetcher.kick.notify_one();
        tokio::time::sleep(LOOK).await;
    }
    // A follower may not have looked yet.
    if fetcher.instance().snapshot().is_none() {
        published::take_over(fetcher.instance(), fetcher.mapping());
    }
    configuration_arrived(mailbox, fetcher.worker.completions());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_profile_is_read_again_when_its_interval_has_passed() {
        for (minutes, age, again) in [
            (1, 59_999, false),
            (1, 60_000, true),
            (60, 3_599_999, false),
            (60, 3_600_000, true),
            (u32::MAX, u64::from(u32::MAX), false),
        ] {
            assert_eq!(interval_passed(minutes, age), again, "{minutes} {age}");
        }
    }
}

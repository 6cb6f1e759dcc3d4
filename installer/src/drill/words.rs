//! The drill in sentences, for whoever has to tell others what an outage means.

use portcullis_engine::config::{Dialect, RulesOnly};
use portcullis_runtime::{Left, examine::AtStart};

use super::{
    Drill, Start,
    stay::{self, Span},
    visitors::{Case, Page, Who},
};

/// From one look whether AM is back to the next, seconds: the breaker's own.
const LOOKS_EVERY: u32 = 2;

/// A length of time.
pub(super) fn span(ms: u64) -> String {
    let seconds = ms.div_ceil(1000);
    match (seconds / 60, seconds % 60) {
        (0, seconds) => format!("{seconds} s"),
        (minutes @ 1..60, 0) => format!("{minutes} min"),
        (minutes @ 1..60, seconds) => format!("{minutes} min {seconds} s"),
        (minutes @ 60..2880, _) => format!("{} h {} min", minutes / 60, minutes % 60),
        (minutes, _) => format!("{} days {} h", minutes / 1440, minutes / 60 % 24),
    }
}

/// What is so before anybody asks.
pub(super) fn now(drill: &Drill) -> Vec<String> {
    let config = &drill.config;
    let mut all = Vec::new();
    if drill.hosts.is_empty() {
        all.push("no web server runs with it that may be looked into: this is about the configuration alone".to_owned());
    }
    if config.rules_only == Some(RulesOnly::Autonomous) {
        all.push(
            "AM is never asked (portcullis.autonomous.mode): its absence changes nothing"
                .to_owned(),
        );
        return all;
    }
    if let Some(since) = drill.away_since() {
        all.push(format!(
            "AM is known to be away since {since}: what follows is so now"
        ));
    }
    all.push(format!("strategy: {}", config.strategy.word()));
    all.push(format!(
        "until it is noticed, a request that needs AM waits {} at most (portcullis.am.deadline) and is refused",
        span(u64::from(config.am_deadline))
    ));
    all.push(format!(
        "after a failure that AM confirms by not answering serverinfo either, requests are refused at once (PCL0515), \
         and every {LOOKS_EVERY} s somebody looks whether it is back; these times are fixed"
    ));
    if config.notifications {
        all.push(
            match drill.is_told() || drill.hosts.is_empty() {
                true => "the connection for notifications ends with it; when it is there again, all that was known \
                         before is asked for anew",
                false => "the connection for notifications is not there: changes in AM count when an interval ends",
            }
            .to_owned(),
        );
    }
    all
}

/// What users meet who are logged in when it happens.
pub(super) fn logged_in(drill: &Drill) -> Vec<String> {
    let mut all = Vec::new();
    for (_, known) in &drill.hosts {
        all.push(remembered("sessions", &known.sessions));
        all.push(remembered("decisions", &known.decisions));
    }
    for (page, stay) in &drill.pages {
        all.push(page.url.clone());
        if page.exempt {
            all.push("  everybody is let in, as now".to_owned());
            continue;
        }
        let line = |what: &str, who: Who| page.case(who).map(|case| told(what, case));
        all.extend(line("a page they asked for lately", Who::Lately));
        all.extend(line("a form sent to it", Who::LatelyWithForm));
        all.extend(line("a page they did not ask for lately", Who::OtherPage));
        all.extend(line("when that is out of date", Who::Over));
        all.extend(line("a form then", Who::OverWithForm));
        all.extend(line("a session that is not in memory", Who::Unknown));
        if page.grace_seconds > 0 {
            let grace = span(u64::from(page.grace_seconds) * 1000);
            all.push(format!(
                "  grace: {grace} more, for the methods of portcullis.grace.methods, and never beyond what AM has said"
            ));
        }
        if !drill.hosts.is_empty() {
            all.push(match stay.nobody_after_ms {
                0 => "  nobody stays in".to_owned(),
                ms => format!("  nobody is left after {} at the latest", span(ms)),
            });
        }
    }
    if drill.config.post_preserve {
        all.push("a form that is refused is not kept: forms are kept for a login".to_owned());
    }
    all.push(
        "logging out works: the session ends here at once, and AM is told when it is back"
            .to_owned(),
    );
    all
}

/// What those meet who are not.
pub(super) fn new(drill: &Drill) -> Vec<String> {
    let config = &drill.config;
    let mut all = Vec::new();
    for (page, _) in drill.pages.iter().filter(|(page, _)| !page.exempt) {
        all.push(page.url.clone());
        all.extend(page.case(Who::New).map(|case| told("a page", case)));
        all.extend(page.case(Who::NewWithForm).map(|case| told("a form", case)));
    }
    if leads_to_am(&drill.pages) {
        all.push(
            "who is sent to AM sees the browser's own error there, and can't log in".to_owned(),
        );
        if config.dialect == Dialect::OpenAm {
            let status = config.strategy.status();
            all.push(format!(
                "who has just logged in at AM gets {status} on the way back, until AM can be asked about it"
            ));
        }
    }
    match (config.strategy.rules_count(), drill.exemptions.is_empty()) {
        (true, false) => {
            all.push("these exemptions go on:".to_owned());
            all.extend(drill.exemptions.iter().map(|rule| format!("  {rule}")));
        }
        (true, true) => all.push("nothing is exempt".to_owned()),
        (false, _) => all.push("no exemption counts under this strategy".to_owned()),
    }
    all
}

/// What a server meets that is started while AM is away.
pub(super) fn after_restart(drill: &Drill) -> Vec<String> {
    let mut all = vec![
        "a reload (httpd graceful, nginx HUP) keeps memory and configuration: as above".to_owned(),
        "after a stop and a start nobody's session is in memory; ended sessions, logouts that AM does not know of \
         and forms are kept"
            .to_owned(),
    ];
    all.push(match &drill.start {
        Start::Unreadable(why) => format!(
            "with which configuration it would begin can't be said: {why}; run it as the user that starts the web \
             server"
        ),
        Start::Known(AtStart::NotNeeded) => "it begins with agent.conf, which says everything".to_owned(),
        Start::Known(AtStart::Counts {
            file,
            given,
            age,
            left,
        }) => format!(
            "it begins with what AM said {given}, {} ago, in {}; that counts for {} more",
            span(*age),
            file.display(),
            span(*left)
        ),
        Start::Known(AtStart::NotKept) => format!(
            "what AM says is not kept (portcullis.config.last.known.good.max.age = 0): {}",
            without(drill)
        ),
        Start::Known(AtStart::Nothing(file)) => {
            format!("{} has nothing: {}", file.display(), without(drill))
        }
        Start::Known(AtStart::Unusable(file, why)) => {
            format!("{} can't be used, {why}: {}", file.display(), without(drill))
        }
    });
    if drill.start.is_configured() == Some(true) {
        for (page, _) in drill.pages.iter().filter(|(page, _)| !page.exempt) {
            all.push(page.url.clone());
            all.extend(
                page.case(Who::Unknown)
                    .map(|case| told("users who are logged in", case)),
            );
            all.extend(page.case(Who::New).map(|case| told("new users", case)));
        }
    }
    all
}

/// What a server does that has no configuration.
fn without(drill: &Drill) -> &'static str {
    match drill.config.fallback_mode {
        true => {
            "it lets the exemptions of agent.conf through and refuses all else with 503 (fallback.mode) until AM \
             is back"
        }
        false => "it refuses everything with 503, exemptions too, until AM is back",
    }
}

fn remembered(what: &str, all: &[Left]) -> String {
    let until = |span: Span| {
        format!(
            "the first for {} more, half of them for {}, the last for {}",
            self::span(span.first_ms),
            self::span(span.half_ms),
            self::span(span.last_ms)
        )
    };
    match (all.len(), stay::fresh(all)) {
        (0, _) => format!("no {what} are in the memory of the host"),
        (count, None) => format!("{count} {what} are in the memory of the host, all out of date"),
        (count, Some(fresh)) => format!(
            "{count} {what} are in the memory of the host, {} count without AM: {}",
            fresh.count,
            until(fresh)
        ),
    }
}

fn told(what: &str, case: &Case) -> String {
    format!("  {what}: {}", case.text())
}

/// Whether somebody is sent to AM.
fn leads_to_am(pages: &[(Page, super::Stay)]) -> bool {
    let new = pages.iter().filter_map(|(page, _)| page.case(Who::New));
    new.into_iter().any(|case| case.leads_to.is_some())
}

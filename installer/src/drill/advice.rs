//! What could be changed so that an outage hurts less? Only properties whose present value costs something.
//!
//! Must not advise anything that opens more than its line says.

use portcullis_engine::config::RulesOnly;
use portcullis_runtime::examine::AtStart;

use super::{Drill, Start, visitors::Who};

/// A property, and what another value of it would do.
pub(super) type Advice = (&'static str, String);

/// In the order in which it helps.
pub(super) fn of(drill: &Drill) -> Vec<Advice> {
    let config = &drill.config;
    let mut all: Vec<Advice> = Vec::new();
    if config.rules_only == Some(RulesOnly::Autonomous) {
        return all;
    }
    if config.naming_url.len() == 1 {
        all.push((
            "com.sun.identity.agents.config.naming.url",
            "names one address; a second server of AM's site would be asked when the first does not answer".into(),
        ));
    }
    if !config.strategy.cache_counts() {
        all.push((
            "portcullis.strategy.when.am.unavailable",
            format!(
                "{} throws out who is logged in; EVAL_NER_USE_CACHE_UNTIL_EXPIRED_ELSE_503 lets what is known count \
                 to its end",
                config.strategy.word()
            ),
        ));
    } else if let Some((page, _)) = drill.pages.iter().find(|(page, _)| no_grace(page)) {
        all.push((
            "portcullis.grace.max",
            format!(
                "is 0 for {}; 3600 would let those who are logged in read on for an hour, without AM being asked",
                page.url
            ),
        ));
    }
    all.extend(at_start(drill));
    if config.notifications && !drill.hosts.is_empty() && !drill.is_told() {
        all.push((
            "com.sun.identity.agents.config.notification.enable",
            "is true, and AM does not tell of changes now; agentadmin doctor says why".into(),
        ));
    }
    all
}

fn no_grace(page: &super::Page) -> bool {
    let needs_am = page.case(Who::Over).is_some_and(|case| !case.lets_in());
    needs_am && !page.exempt && page.grace_seconds == 0
}

/// For a start without AM.
fn at_start(drill: &Drill) -> Option<Advice> {
    const AGE: &str = "portcullis.config.last.known.good.max.age";
    let Start::Known(known) = &drill.start else {
        return None;
    };
    Some(match known {
        AtStart::NotNeeded | AtStart::Counts { .. } => return None,
        AtStart::NotKept => (
            AGE,
            "is 0; 1440 would let what AM said in the last day count at a start without it".into(),
        ),
        AtStart::Nothing(file) => (
            "portcullis.state.dir",
            format!(
                "{} has nothing, though a server that runs writes it there: look for PCL0630 and PCL0653 in its log",
                file.display()
            ),
        ),
        AtStart::Unusable(_, why) => (AGE, format!("what is kept can't be used: {why}")),
    })
}

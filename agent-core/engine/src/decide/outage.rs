//! What counts when AM is not there, or is never asked: the operator's strategy, autonomous mode, and
//! fallback mode. Must not let anybody in whom no not-enforced rule names.

use super::{Cx, refuse};
use crate::{config::RulesOnly, contract::Decision, event::Code};

/// Where only the rules count, a request that none of them named is refused.
pub(super) fn no_rule<'a>(cx: &Cx<'a, '_>, only: RulesOnly) -> Decision<'a> {
    let (code, status) = match only {
        RulesOnly::Autonomous => (Code::DeniedAutonomous, 403),
        RulesOnly::Fallback => (Code::UnavailableFallback, 503),
    };
    refuse(cx.facts, code, status, None, "".into())
}

/// Before the rules: a strategy under which not even they count.
pub(super) fn before_rules<'a>(cx: &Cx<'a, '_>) -> Option<Decision<'a>> {
    refused_while_away(cx, cx.snap.config.strategy.rules_count())
}

/// Behind the rules: a strategy under which nothing counts that AM said before.
pub(super) fn before_cache<'a>(cx: &Cx<'a, '_>) -> Option<Decision<'a>> {
    refused_while_away(cx, cx.snap.config.strategy.cache_counts())
}

fn refused_while_away<'a>(cx: &Cx<'a, '_>, counts: bool) -> Option<Decision<'a>> {
    if counts || !cx.facts.am_is_away() {
        return None;
    }
    let strategy = cx.snap.config.strategy;
    let word = strategy.word().into();
    let code = Code::UnavailableStrategy;
    Some(refuse(cx.facts, code, strategy.status(), None, word))
}

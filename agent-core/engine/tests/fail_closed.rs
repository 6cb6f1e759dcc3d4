//! `docs/fail-closed.md` says what the fail-closed table says.
//!
//! `BLESS=1 cargo test -p portcullis-engine --test fail_closed` writes it anew.

use std::{env, fmt::Write, fs, path::PathBuf};

use portcullis_engine::{
    config::Strategy,
    decide::{FAILURES, Fact, Failure, fail_closed, may_be_outlived},
};

const INTRODUCTION: &str = "# What a failure means\n\n\
    <!-- Made from the fail-closed table; do not edit. -->\n\n\
    Whatever the agent could not find out, nobody is let in for it. The table has every failure of every\n\
    fact under every strategy of `portcullis.strategy.when.am.unavailable`; a failure without a row does not\n\
    compile. [log-codes.md](log-codes.md) explains the codes.\n";

const STRATEGIES: &str = "\n## Strategies\n\n\
    While the agent knows that AM is away (`PCL0515`), a strategy may let less through than usual:\n\n\
    | strategy | not-enforced rules | what AM said before | everything else |\n\
    | --- | --- | --- | --- |\n";

const WITHOUT: &str = "\nLogout URLs work under every strategy: a session that a user ends is ended here, and AM is told later.\n\
    What AM said of sessions and policies is used beyond its own interval only in grace.\n\n\
    ## Grace\n\n\
    With `portcullis.grace.max` a stored answer counts for so many seconds beyond the agent's interval, in requests with\n\
    one of `portcullis.grace.methods`, while AM is known to be away (`PCL0515`). It never counts beyond the end of the\n\
    session or its idle time, the `ttl` of a decision, after a logout or change that is known here, or where the policy has\n\
    the response attribute `portcullis.no-grace`. The decision has the code `PCL0700`, the response the header\n\
    `Portcullis-Grace` with the age in seconds, and the audit event that age.\n\n\
    | failure | session | decision | attributes |\n\
    | --- | --- | --- | --- |\n";

const WITHOUT_CONFIGURATION: &str = "\n\
    ## Without a configuration, and without AM\n\n\
    | case | a not-enforced rule matches | everything else |\n\
    | --- | --- | --- |\n\
    | no profile yet, AM away, and what it said last is kept (`PCL0650`) | through | as with a profile |\n\
    | no profile yet, `fallback.mode = false` | 503 | 503 |\n\
    | no profile yet, `fallback.mode = true` | through, by the rules of `agent.conf` | 503 `PCL0519` |\n\
    | `portcullis.autonomous.mode = true` | through | 403 `PCL0325` |\n\
    | `agent.conf` cannot be used | the first start fails; on a reload 503 | 503 |\n";

fn yes(counts: bool) -> &'static str {
    if counts { "count" } else { "do not count" }
}

fn cell(fact: Fact, error: portcullis_engine::contract::FactError, strategy: Strategy) -> String {
    match fail_closed(fact, error, strategy) {
        Failure::Login => "login".into(),
        Failure::Refuse(status, code) => format!("{status} `PCL{:04}`", code.number()),
    }
}

fn reference() -> String {
    let mut out = String::from(INTRODUCTION);
    out.push_str(STRATEGIES);
    for strategy in Strategy::ALL {
        let _ = writeln!(
            out,
            "| `{}` | {} | {} | {} |",
            strategy.word(),
            yes(strategy.rules_count()),
            yes(strategy.cache_counts()),
            strategy.status()
        );
    }
    out.push_str(WITHOUT);
    for (error, words) in FAILURES {
        let cells = [Fact::Session, Fact::Policy, Fact::Attributes].map(|fact| {
            if may_be_outlived(fact, *error) {
                "may count"
            } else {
                "no"
            }
        });
        let _ = writeln!(out, "| {words} | {} |", cells.join(" | "));
    }
    out.push_str(WITHOUT_CONFIGURATION);
    for fact in Fact::ALL {
        let text = fact.text();
        let (first, rest) = text.split_at(1);
        let _ = write!(out, "\n## {}{rest}\n\n| failure |", first.to_uppercase());
        for strategy in Strategy::ALL {
            let _ = write!(out, " `{}` |", strategy.word());
        }
        out.push_str("\n| --- |");
        out.push_str(&" --- |".repeat(Strategy::ALL.len()));
        for (error, words) in FAILURES {
            let _ = write!(out, "\n| {words} |");
            for strategy in Strategy::ALL {
                let _ = write!(out, " {} |", cell(*fact, *error, *strategy));
            }
        }
        out.push('\n');
    }
    out
}

#[test]
fn the_reference_says_what_the_table_says() {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../docs/fail-closed.md");
    let wanted = reference();
    if env::var_os("BLESS").is_some() {
        fs::write(&path, &wanted).unwrap();
    }
    let there = fs::read_to_string(&path).unwrap_or_default();
    assert!(there == wanted, "BLESS=1 writes docs/fail-closed.md anew");
}

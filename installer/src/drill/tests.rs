//! What each kind of visitor meets, for how long, and what is said of it.

use portcullis_runtime::Left;

use super::{visitors::Who, *};
use crate::explain::tests::in_force;

const APP: &str = "http://www.example.com:80/app";
const MINUTE: u64 = 60_000;

fn page(more: &str, url: &str) -> Page {
    Page::of(&in_force(more), url).unwrap()
}

/// Outcome, status and code of one visitor.
fn is(page: &Page, who: Who) -> (&'static str, Option<u16>, &str) {
    let case = page.case(who).unwrap();
    (case.outcome, case.status, &case.code)
}

fn left(fresh: u64, over: u64, ends: u64) -> Left {
    Left { fresh, over, ends }
}

fn drill(more: &str, urls: &[&str], known: Option<Remembered>, start: Start) -> Drill {
    let decider = in_force(more);
    let status = json!({
        "host": { "parents": [7] },
        "am": { "away": false, "away_since": null },
        "notifications": { "connected": true },
    });
    let hosts: Vec<_> = known
        .into_iter()
        .map(|known| (status.clone(), known))
        .collect();
    let pages = urls.iter().map(|url| {
        let page = Page::of(&decider, url).unwrap();
        let stay = Stay::of(&page, hosts.iter().map(|(_, known)| known));
        (page, stay)
    });
    Drill {
        instance: "agent_1".to_owned(),
        config: decider.config().clone(),
        pages: pages.collect(),
        hosts,
        start,
        exemptions: decider.exemptions(),
    }
}

#[test]
fn each_kind_of_visitor_meets_what_the_engine_says() {
    let plain = page("", APP);
    let gone = ("unavailable", Some(503), "PCL0517");
    for (who, wanted) in [
        (Who::New, ("login", Some(302), "PCL0200")),
        (Who::Lately, ("allow", None, "PCL0100")),
        (Who::LatelyWithForm, ("allow", None, "PCL0100")),
        (Who::OtherPage, gone),
        (Who::Over, gone),
        (Who::OverWithForm, gone),
        (Who::Unknown, gone),
    ] {
        assert_eq!(is(&plain, who), wanted, "{who:?}");
    }
    assert!(!plain.exempt && !plain.session_only && plain.grace_seconds == 0);
    let new = plain.case(Who::New).unwrap();
    assert_eq!(new.leads_to.as_deref(), Some("http://am.example.com:8080"));
    let refused = plain.case(Who::Over).unwrap();
    assert_eq!(refused.page.as_deref(), Some("Not available"));
    let exempt = page("", "http://www.example.com:80/public/a");
    assert!(exempt.exempt, "{exempt:?}");
    let because = exempt.case(Who::New).unwrap().because.as_deref();
    assert!(
        because.is_some_and(|line| line.contains("/public/*")),
        "{because:?}"
    );
    let sso = page("com.sun.identity.agents.config.sso.only = true\n", APP);
    assert!(sso.session_only, "{sso:?}");
}

#[test]
fn grace_is_told_by_path_and_method() {
    let more = "portcullis.grace.max = 60\nportcullis.grace.max[/app/never] = 0\n\
                portcullis.grace.max[/app/long/*] = 3600\n";
    let base = "http://www.example.com:80";
    let general = page(more, APP);
    assert_eq!(general.grace_seconds, 60);
    assert_eq!(is(&general, Who::Over), ("allow", None, "PCL0700"));
    assert_eq!(is(&general, Who::OverWithForm).0, "unavailable");
    assert_eq!(page(more, &format!("{base}/app/never")).grace_seconds, 0);
    assert_eq!(
        page(more, &format!("{base}/app/long/x")).grace_seconds,
        3600
    );
    assert_eq!(
        visitors::usual(&in_force(more), base).unwrap(),
        [
            "http://www.example.com:80/",
            "http://www.example.com:80/app/never",
            "http://www.example.com:80/app/long"
        ]
    );
}

#[test]
fn a_strategy_can_take_everything_away() {
    let more = "portcullis.strategy.when.am.unavailable = IMMEDIATE_403\n";
    let all = page(more, "http://www.example.com:80/public/a");
    assert!(!all.exempt);
    assert_eq!(is(&all, Who::Lately), ("deny", Some(403), "PCL0518"));
    let known = Remembered {
        sessions: vec![left(MINUTE, 0, 60 * MINUTE)],
        decisions: vec![left(MINUTE, 0, 60 * MINUTE)],
    };
    let drill = drill(more, &[APP], Some(known), Start::Known(AtStart::NotNeeded));
    assert_eq!(drill.pages[0].1.nobody_after_ms, 0);
    let said = drill.text();
    for wanted in [
        "nobody stays in",
        "no exemption counts",
        "IMMEDIATE_403 throws out",
    ] {
        assert!(said.contains(wanted), "{wanted}: {said}");
    }
}

#[test]
fn who_stays_in_for_how_long_is_counted() {
    let known = Remembered {
        sessions: vec![
            left(3 * MINUTE, 0, 60 * MINUTE),
            left(MINUTE, 0, 60 * MINUTE),
            left(0, MINUTE, 60 * MINUTE),
        ],
        decisions: vec![left(2 * MINUTE, 0, 90 * MINUTE)],
    };
    let start = || Start::Known(AtStart::NotNeeded);
    let plain = drill("", &[APP], Some(known.clone()), start());
    assert_eq!(plain.pages[0].1.nobody_after_ms, 2 * MINUTE);
    let said = plain.text();
    let wanted = "3 sessions are in the memory of the host, 2 count without AM: the first for 1 min more, half of \
                  them for 1 min, the last for 3 min";
    assert!(said.contains(wanted), "{said}");
    assert!(
        said.contains("nobody is left after 2 min at the latest"),
        "{said}"
    );
    assert!(said.contains("portcullis.grace.max: is 0"), "{said}");
    let grace = drill("portcullis.grace.max = 600\n", &[APP], Some(known), start());
    let stay = grace.pages[0].1;
    assert_eq!(stay.sessions.map(|span| span.count), Some(3));
    assert_eq!(stay.nobody_after_ms, 12 * MINUTE);
    let json = grace.json();
    assert_eq!(json["hosts"][0]["sessions"]["fresh"], 2, "{json:#}");
    assert_eq!(json["pages"][0]["stay"]["nobody_after_ms"], 12 * MINUTE);
    assert!(!grace.text().contains("portcullis.grace.max: is 0"));
}

#[test]
fn what_a_start_begins_with_is_told_and_what_mends_it() {
    let file = || PathBuf::from("/opt/p/last-known-good");
    let counts = AtStart::Counts {
        file: file(),
        given: "2026-11-22T10:00:00.000Z".to_owned(),
        age: 5 * MINUTE,
        left: 60 * MINUTE,
    };
    for (start, configuration, says, change) in [
        (
            Start::Known(AtStart::NotNeeded),
            "agent.conf",
            "begins with agent.conf",
            "",
        ),
        (
            Start::Known(counts),
            "last-known-good",
            "5 min ago, in /opt/p/last-known-good; that counts for 1 h 0 min more",
            "",
        ),
        (
            Start::Known(AtStart::NotKept),
            "none",
            "refuses everything with 503",
            "last.known.good.max.age: is 0",
        ),
        (
            Start::Known(AtStart::Nothing(file())),
            "none",
            "has nothing: it refuses",
            "portcullis.state.dir: ",
        ),
        (
            Start::Known(AtStart::Unusable(file(), "it does not open".into())),
            "none",
            "can't be used, it does not open",
            "what is kept can't be used",
        ),
        (
            Start::Unreadable("no key".into()),
            "unknown",
            "can't be said: no key",
            "",
        ),
    ] {
        let drill = drill("", &[APP], None, start);
        let said = drill.text();
        assert_eq!(drill.json()["start"]["configuration"], configuration);
        assert!(said.contains(says) && said.contains(change), "{said}");
        assert!(said.contains("no web server runs"), "{said}");
    }
    let fallback = "com.forgerock.agents.config.fallback.mode = true\n";
    let said = drill(fallback, &[APP], None, Start::Known(AtStart::NotKept)).text();
    assert!(
        said.contains("lets the exemptions of agent.conf through"),
        "{said}"
    );
}

#[test]
fn lengths_of_time_are_in_words() {
    for (ms, text) in [
        (0, "0 s"),
        (1, "1 s"),
        (59_001, "1 min"),
        (90_000, "1 min 30 s"),
        (2 * 3_600_000 + 60_000, "2 h 1 min"),
        (50 * 3_600_000, "2 days 2 h"),
    ] {
        assert_eq!(words::span(ms), text);
    }
}

//! What AM said before counts beyond its interval by somebody's wish only, and never beyond what AM itself
//! has set an end to (rule O2), nor because of anything that a client can bring about (rule O1).
#![allow(clippy::expect_used, clippy::panic, reason = "helpers of tests")]

mod support;

use portcullis_engine::{
    config::Snapshot,
    contract::{
        Act, Age, AttributesKey, Cause, FactError, Facts, Header, Known, Outcome, PolicyKey,
        Receipt, SessionKey, Sink, Step,
    },
    decide::{self, FAILURES, Fact, may_be_outlived},
    event::Code,
    record::{Attributes, NewPolicy, NewSession, Policy, Session, SessionKind},
};
use support::NOW;

const GRACE: &str = "portcullis.grace.max = 60\n";
const AWAY: FactError = FactError::Unavailable(Cause::Breaker);

/// One fact: its record, and the failure and age where AM could not be asked again.
struct Given {
    record: Vec<u8>,
    failed: Option<(FactError, Option<Age>)>,
}

impl Given {
    fn known<'g, T>(&'g self, decode: fn(&'g [u8]) -> Option<T>) -> Known<T> {
        let value = || decode(&self.record).expect("a record");
        match self.failed {
            None => Known::Fresh(value()),
            Some((error, age)) => Known::Failed(error, age.map(|age| (value(), age))),
        }
    }
}

struct Memo {
    session: Given,
    policy: Given,
    attributes: Given,
    away: bool,
}

impl Facts for Memo {
    fn session(&self, _: SessionKey) -> Known<Session<'_>> {
        self.session.known(Session::decode)
    }
    fn policy(&self, _: PolicyKey) -> Known<Policy<'_>> {
        self.policy.known(Policy::decode)
    }
    fn attributes(&self, _: AttributesKey) -> Known<Attributes<'_>> {
        self.attributes.known(Attributes::decode)
    }
    fn form(&self) -> Known<&[u8]> {
        Known::Fresh(b"")
    }
    fn receipt(&self, act: &Act) -> Known<Receipt> {
        match act {
            Act::Count { .. } => Known::Fresh(Receipt::Counted(1)),
            _ => Known::Missing,
        }
    }
    fn am_is_away(&self) -> bool {
        self.away
    }
    fn seed(&self) -> &[u8; 32] {
        &[9; 32]
    }
}

fn fresh(record: Option<Vec<u8>>) -> Given {
    Given {
        record: record.expect("record"),
        failed: None,
    }
}

fn session(max_end: u64, idle_end: u64) -> Given {
    let session = NewSession {
        kind: SessionKind::User,
        universal_id: "id=demo,ou=user,dc=example,dc=com",
        realm: "/",
        max_end,
        idle_end,
        client_side: false,
        properties: &[("UserToken", "demo")],
    };
    fresh(session.encode())
}

fn policy(ttl: u64, attributes: &[(&str, &[&str])]) -> Given {
    let policy = NewPolicy {
        ttl,
        actions: &[("GET", true), ("POST", true), ("DELETE", true)],
        attributes,
        advices: &[],
    };
    fresh(policy.encode())
}

/// Everything was known once, and AM is away.
fn memo() -> Memo {
    let later = NOW.wall.0 + 60_000;
    let old = |given: Given| Given {
        failed: Some((AWAY, Some(age(35_000, 5_000)))),
        ..given
    };
    Memo {
        session: old(session(later, later)),
        policy: old(policy(later, &[])),
        attributes: old(fresh(Attributes::encode(&[("mail", &["a@example.com"])]))),
        away: true,
    }
}

fn age(total: u64, over: u64) -> Age {
    Age { total, over }
}

#[derive(Default)]
struct Said(Vec<(String, String)>);

impl Sink for Said {
    fn request_header(&mut self, _: &[u8], _: &[u8]) {}
    fn remove_request_header(&mut self, _: &[u8]) {}
    fn variable(&mut self, _: &[u8], _: &[u8]) {}
    fn user(&mut self, _: &[u8]) {}
    fn response_header(&mut self, name: &[u8], value: &[u8]) {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        self.0.push((text(name), text(value)));
    }
}

/// The code of the decision; of an allow in grace the header, too.
fn decided(
    snap: &Snapshot,
    memo: &Memo,
    method: &str,
    address: &str,
    more: &[Header<'_>],
) -> String {
    let mut view = support::view_at(method, address);
    let value = decide::cookie_of(&view, snap, memo, NOW, b"AQIC5w.*").expect("a cookie");
    let value = format!("am-auth-jwt={value}");
    let mut headers = vec![Header {
        name: b"Cookie",
        value: value.as_bytes(),
    }];
    headers.extend(more.iter().map(|h| Header {
        name: h.name,
        value: h.value,
    }));
    view.headers = &headers;
    match decide::decide(&view, snap, memo, NOW) {
        Step::Need(_) => "need".to_owned(),
        Step::Done(decision) => match &decision.outcome {
            Outcome::Allow(_) if decision.reason == Code::AllowedInGrace => {
                let mut said = Said::default();
                decision.edits.walk(&view, &mut Vec::new(), &mut said);
                let [(name, value)] = &said.0[..] else {
                    panic!("{:?}", said.0)
                };
                assert_eq!(decision.age / 1000, value.parse::<u64>().expect("seconds"));
                format!("{name}: {value}")
            }
            Outcome::Allow(_) => format!("{:?}", decision.reason),
            Outcome::Respond(page) => format!("{} {:?}", page.status, decision.reason),
            Outcome::Replay => "replay".to_owned(),
        },
    }
}

fn get(snap: &Snapshot, memo: &Memo) -> String {
    decided(snap, memo, "GET", "/app/x", &[])
}

const REFUSED: &str = "503 UnavailableBreaker";
const ALLOWED: &str = "Portcullis-Grace: 35";

fn snapshot(lines: &str) -> Snapshot {
    const ATTRIBUTES: &str = "com.sun.identity.agents.config.profile.attribute.fetch.mode = HTTP_HEADER\n\
        com.sun.identity.agents.config.profile.attribute.mapping[mail] = X-Mail\n";
    support::snapshot(&format!("{ATTRIBUTES}{lines}"))
}

#[test]
fn nothing_counts_beyond_its_interval_unless_somebody_wishes_it() {
    assert_eq!(get(&snapshot(""), &memo()), REFUSED);
    let snap = snapshot(GRACE);
    assert_eq!(get(&snap, &memo()), ALLOWED);
    // While the breaker is closed AM may be there for others: a failure alone is no reason.
    let unconfirmed = Memo {
        away: false,
        ..memo()
    };
    assert_eq!(get(&snap, &unconfirmed), REFUSED);
}

#[test]
fn each_fact_alone_may_be_old_and_the_oldest_is_named() {
    let snap = snapshot(GRACE);
    let later = NOW.wall.0 + 60_000;
    let asked = || Memo {
        session: session(later, later),
        policy: policy(later, &[]),
        attributes: fresh(Attributes::encode(&[])),
        away: true,
    };
    assert_eq!(get(&snap, &asked()), "AllowedByPolicy");
    let old = |total| Some((AWAY, Some(age(total, 1))));
    let mut some = asked();
    some.session.failed = old(3_000);
    assert_eq!(get(&snap, &some), "Portcullis-Grace: 3");
    some.policy.failed = old(200_000);
    assert_eq!(get(&snap, &some), "Portcullis-Grace: 200");
    let mut some = asked();
    some.attributes.failed = old(7_000);
    assert_eq!(get(&snap, &some), "Portcullis-Grace: 7");
    some.attributes.failed = Some((AWAY, None));
    assert_eq!(get(&snap, &some), REFUSED, "never known");
}

#[test]
fn the_limit_is_the_agents_interval_and_what_the_path_says() {
    let snap = snapshot(
        "portcullis.grace.max = 60\nportcullis.grace.max[/app/never] = 0\nportcullis.grace.max[/app/long/*] = 600\n",
    );
    let over = |ms| {
        let mut memo = memo();
        memo.session.failed = Some((AWAY, Some(age(1_000_000, ms))));
        memo
    };
    for (address, ms, allowed) in [
        ("/app/x", 59_999, true),
        ("/app/x", 60_000, false),
        ("/app/long/x", 60_000, true),
        ("/app/long/x", 600_000, false),
        ("/app/never", 0, false),
        ("/app/never/x?a=b", 0, false),
        // Whoever leaves parameters out reads another path: the strictest counts.
        ("/app/never;a=b/x", 0, false),
        ("/app/long;a=b/x", 60_000, false),
    ] {
        let said = decided(&snap, &over(ms), "GET", address, &[]);
        assert_eq!(
            said.starts_with("Portcullis"),
            allowed,
            "{address} {ms}: {said}"
        );
    }
}

#[test]
fn ams_own_limits_hold() {
    let snap = snapshot(GRACE);
    let now = NOW.wall.0;
    let with = |given: Given| Given {
        failed: memo().session.failed,
        ..given
    };
    for (max_end, idle_end, said) in [
        (now + 1, now + 1, ALLOWED),
        (now, now + 1, REFUSED),
        (now + 1, now, REFUSED),
    ] {
        let session = with(session(max_end, idle_end));
        assert_eq!(
            get(&snap, &Memo { session, ..memo() }),
            said,
            "{max_end} {idle_end}"
        );
    }
    for (ttl, skew, said) in [
        (now + 1, 0, ALLOWED),
        (now, 0, REFUSED),
        // AM's clock goes so many seconds behind.
        (now - 4_999, 5, ALLOWED),
        (now + 5_000, -5, REFUSED),
    ] {
        let skew = format!("com.sun.identity.agents.config.policy.clock.skew = {skew}\n{GRACE}");
        let policy = with(policy(ttl, &[]));
        assert_eq!(
            get(&snapshot(&skew), &Memo { policy, ..memo() }),
            said,
            "{ttl} {skew}"
        );
    }
    let policy = with(policy(now + 1, &[("portcullis.no-grace", &["true"])]));
    assert_eq!(get(&snap, &Memo { policy, ..memo() }), REFUSED);
}

#[test]
fn grace_is_for_the_methods_that_are_named() {
    let (plain, wider) = (
        snapshot(GRACE),
        snapshot(&format!("{GRACE}portcullis.grace.methods = GET, post\n")),
    );
    for (method, by_default, widened) in [
        ("GET", true, true),
        ("HEAD", false, false), // allowed by no policy here
        ("POST", false, true),
        ("DELETE", false, false),
        ("get", false, false),
    ] {
        for (snap, allowed) in [(&plain, by_default), (&wider, widened)] {
            let said = decided(snap, &memo(), method, "/app/x", &[]);
            assert_eq!(said == ALLOWED, allowed, "{method}: {said}");
        }
    }
    let delete = [Header {
        name: b"X-HTTP-Method-Override",
        value: b"DELETE",
    }];
    assert_eq!(decided(&wider, &memo(), "POST", "/app/x", &delete), REFUSED);
}

#[test]
fn no_other_failure_leads_to_grace() {
    let snap = snapshot(GRACE);
    for (error, words) in FAILURES {
        for fact in Fact::ALL {
            let counts = matches!(fact, Fact::Session | Fact::Policy | Fact::Attributes)
                && matches!(
                    error,
                    FactError::Unavailable(
                        Cause::Transport | Cause::Timeout | Cause::Breaker | Cause::Status(500)
                    )
                );
            assert_eq!(may_be_outlived(*fact, *error), counts, "{fact:?} {words}");
        }
        let failed = Some((*error, Some(age(1, 1))));
        for which in 0..3 {
            let mut memo = memo();
            let given = [&mut memo.session, &mut memo.policy, &mut memo.attributes];
            given.into_iter().nth(which).expect("one").failed = failed;
            let allowed = get(&snap, &memo).starts_with("Portcullis");
            assert_eq!(
                allowed,
                may_be_outlived(Fact::Session, *error),
                "{words} {which}"
            );
        }
    }
    let status = |status| FactError::Unavailable(Cause::Status(status));
    assert!(!may_be_outlived(Fact::Session, status(429)));
    assert!(!may_be_outlived(Fact::Session, status(404)));
}

#[test]
fn what_the_strategy_refuses_stays_refused() {
    for (word, said) in [
        ("EVAL_NER_ELSE_503", "503 UnavailableStrategy"),
        ("IMMEDIATE_403", "403 UnavailableStrategy"),
        ("EVAL_NER_USE_CACHE_UNTIL_EXPIRED_ELSE_403", ALLOWED),
    ] {
        let line = format!("portcullis.strategy.when.am.unavailable = {word}\n{GRACE}");
        assert_eq!(get(&snapshot(&line), &memo()), said, "{word}");
    }
}

#[test]
fn an_old_refusal_stays_one() {
    let snap = snapshot(GRACE);
    let denied = NewPolicy {
        ttl: u64::MAX,
        actions: &[("GET", false)],
        attributes: &[],
        advices: &[],
    };
    let policy = Given {
        failed: memo().policy.failed,
        ..fresh(denied.encode())
    };
    assert_eq!(get(&snap, &Memo { policy, ..memo() }), "403 DeniedByPolicy");
}

#[test]
fn mistakes_are_named() {
    let problems = |lines: &str| {
        let (_, problems) = support::read(lines);
        let texts: Vec<String> = problems.iter().map(ToString::to_string).collect();
        texts.join("\n")
    };
    for (line, said) in [
        ("portcullis.grace.max = 86401\n", "between 0 and 86400"),
        (
            "portcullis.grace.max[/a/*/b] = 5\n",
            "no path in its brackets",
        ),
        (
            "portcullis.grace.max[/a] = 5\nportcullis.grace.max[/a/*] = 6\n",
            "another value for",
        ),
        (
            "portcullis.grace.methods = GET POST\n",
            "not names of methods",
        ),
        (
            "portcullis.grace.max[/a] = 5\nportcullis.strategy.when.am.unavailable = EVAL_NER_ELSE_503\n",
            "has no effect",
        ),
    ] {
        let found = problems(line);
        assert!(found.contains(said), "{line}: {found}");
    }
}

//! Decisions that are only reported, and second opinions (rule O5): what goes through, with whose
//! identity, and what never does.
#![allow(clippy::expect_used, clippy::panic, reason = "helpers of tests")]

mod support;

use std::net::IpAddr;

use portcullis_engine::{
    config::{self, Config, Problem, Properties, RulesOnly, Severity, Snapshot, Source},
    contract::{
        Act, Ask, AttributesKey, Cause, Decision, FactError, Facts, Header, Known, Need, Opinion,
        Outcome, PolicyKey, Receipt, RequestView, Second, SessionKey, Step,
    },
    decide, decide_unanswered,
    event::Code,
    record::{Attributes, NewPolicy, NewSession, Policy, Session, SessionKind},
};
use support::{AGENT, Given, NOW, known};

const REPORT: &str = "portcullis.mode = report\nportcullis.mode.until = 2030-01-01\n";
/// Where the tests' instance takes AM's answers.
const CALLBACK: &str = "/agent/cdsso-oauth2";

/// With a logout URL.
fn lines(more: &str) -> String {
    format!("{AGENT}agent.logout.url[0] = http://www.example.com:80/logout\n{more}")
}

fn read(more: &str) -> (Config, Vec<Problem>) {
    support::read(&lines(more))
}

fn snapshot_with(more: &str, change: impl FnOnce(&mut Config)) -> Snapshot {
    let (mut typed, problems) = read(more);
    for problem in problems {
        assert!(problem.severity < Severity::Error, "{problem}");
    }
    change(&mut typed);
    support::built(typed)
}

fn snapshot(more: &str) -> Snapshot {
    support::snapshot(&lines(more))
}

/// Facts that a test gives.
#[derive(Default)]
struct Memo {
    session: Given,
    policy: Given,
    /// The decision that `policy` is; without it, every one.
    first: Option<PolicyKey>,
    /// Every other decision.
    other: Given,
    attributes: Given,
    away: bool,
}

impl Facts for Memo {
    fn session(&self, _: SessionKey) -> Known<Session<'_>> {
        known(&self.session, Session::decode)
    }
    fn policy(&self, of: PolicyKey) -> Known<Policy<'_>> {
        let is_it = self.first.is_none_or(|first| first == of);
        known(
            if is_it { &self.policy } else { &self.other },
            Policy::decode,
        )
    }
    fn attributes(&self, _: AttributesKey) -> Known<Attributes<'_>> {
        known(&self.attributes, Attributes::decode)
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

fn session_of(realm: &str) -> Given {
    let session = NewSession {
        kind: SessionKind::User,
        universal_id: "id=demo,ou=user,dc=example,dc=com",
        realm,
        max_end: NOW.wall.0 + 60_000,
        idle_end: NOW.wall.0 + 60_000,
        client_side: false,
        properties: &[("Host", "192.0.2.77")],
    };
    Some(Ok(session.encode().expect("record")))
}

fn policy_of(allowed: bool, advices: bool) -> Given {
    let policy = NewPolicy {
        ttl: NOW.wall.0 + 60_000,
        actions: &[("GET", allowed)],
        attributes: &[],
        advices: if advices {
            &[("AuthLevelConditionAdvice", &["2"])]
        } else {
            &[]
        },
    };
    Some(Ok(policy.encode().expect("record")))
}

/// A request: method, address, and whether it has a session cookie.
fn ask<T>(
    snap: &Snapshot,
    memo: &Memo,
    (method, address, cookie): (&str, &str, bool),
    look: impl FnOnce(&RequestView<'_>) -> T,
) -> T {
    let mut view = support::view_at(method, address);
    let value = decide::cookie_of(&view, snap, memo, NOW, b"AQIC5w.*").unwrap_or_default();
    let value = format!("am-auth-jwt={value}");
    let headers = [
        Header {
            name: b"X-Forged",
            value: b"1",
        },
        Header {
            name: b"Cookie",
            value: value.as_bytes(),
        },
    ];
    view.headers = &headers[..1 + usize::from(cookie)];
    look(&view)
}

/// `would CODE STATUS`, with `as user` where the application learns of one; or what happens.
fn said(decision: &Decision<'_>) -> String {
    let user = match &decision.edits.identity {
        Some(_) => " as user",
        None => "",
    };
    match (&decision.outcome, &decision.would) {
        (Outcome::Allow(_), Some(would)) => {
            assert_eq!(decision.reason, Code::Reported);
            assert!(decision.edits.response.is_empty() && !decision.for_everybody);
            format!("would {:?} {}{user}", would.code, would.status)
        }
        (Outcome::Allow(_), None) => format!("{:?}{user}", decision.reason),
        (Outcome::Replay, _) => "replay".to_owned(),
        (Outcome::Respond(page), would) => {
            assert!(would.is_none());
            format!("{} {:?}", page.status, decision.reason)
        }
    }
}

fn outcome(snap: &Snapshot, memo: &Memo, request: (&str, &str, bool)) -> String {
    ask(snap, memo, request, |view| {
        match decide::decide(view, snap, memo, NOW) {
            Step::Done(decision) => said(&decision),
            Step::Need(Need::Do(_)) => "acts".into(),
            Step::Need(Need::Ask(asks)) => match asks.first() {
                Some(Ask::Session { .. }) => "asks for the session".into(),
                Some(Ask::Policy { .. }) => "asks for the policy".into(),
                Some(Ask::Attributes { .. }) => "asks for attributes".into(),
                _ => "asks".into(),
            },
        }
    })
}

const GET: (&str, &str, bool) = ("GET", "/app/x", true);
const AWAY: FactError = FactError::Unavailable(Cause::Transport);

#[test]
fn what_would_be_refused_goes_on_with_who_is_known() {
    let snap = snapshot(REPORT);
    let memo = |session: Given, policy: Given| Memo {
        session,
        policy,
        ..Memo::default()
    };
    for (session, policy, expected) in [
        (None, None, "asks for the session"),
        (session_of("/"), None, "asks for the policy"),
        (
            session_of("/"),
            policy_of(true, false),
            "AllowedByPolicy as user",
        ),
        (
            session_of("/"),
            policy_of(false, false),
            "would DeniedByPolicy 403 as user",
        ),
        (
            session_of("/"),
            policy_of(false, true),
            "would LoginStepUp 200 as user",
        ),
        (
            session_of("/"),
            Some(Err(AWAY)),
            "would UnavailableTransport 503 as user",
        ),
        (
            session_of("/"),
            Some(Err(FactError::NotAllowed)),
            "would AmNotAllowed 403 as user",
        ),
        (session_of("/x"), None, "would DeniedRealm 403"),
        (Some(Err(AWAY)), None, "would UnavailableTransport 503"),
        (
            Some(Err(FactError::Dead)),
            None,
            "would LoginSessionDead 302",
        ),
    ] {
        assert_eq!(outcome(&snap, &memo(session, policy), GET), expected);
    }
    let nobody = Memo::default();
    assert_eq!(
        outcome(&snap, &nobody, ("GET", "/app/x", false)),
        "would LoginNoToken 302"
    );
    let other = ("GET", "other.example.com/app/x", false);
    assert_eq!(outcome(&snap, &nobody, other), "would LoginOtherHost 302");
}

#[test]
fn attributes_come_along_where_they_can_be_had() {
    let attributes =
        format!("{REPORT}{AGENT}userid.param.type = LDAP\n{AGENT}userid.param = uid\n");
    let snap = snapshot(&attributes);
    let mut memo = Memo {
        session: session_of("/"),
        policy: policy_of(false, false),
        ..Memo::default()
    };
    assert_eq!(outcome(&snap, &memo, GET), "asks for attributes");
    memo.attributes = Some(Err(AWAY));
    assert_eq!(
        outcome(&snap, &memo, GET),
        "would DeniedByPolicy 403 as user"
    );
    memo.policy = policy_of(true, false);
    assert_eq!(
        outcome(&snap, &memo, GET),
        "would UnavailableTransport 503 as user"
    );
}

#[test]
fn rules_of_the_file_are_only_reported_too() {
    let more = format!(
        "{REPORT}portcullis.deny.rule[0] = url=/app/never/*\n\
         {AGENT}fqdn.check.enable = true\n{AGENT}fqdn.default = www.example.com\n\
         com.forgerock.agents.agent.invalid.url.regex = /(app|logout|agent)\n"
    );
    let snap = snapshot(&more);
    let memo = Memo {
        session: session_of("/"),
        policy: policy_of(true, false),
        ..Memo::default()
    };
    for (request, expected) in [
        (
            ("GET", "/app/never/x", true),
            "would DeniedByRule 403 as user",
        ),
        (("GET", "/app/never/x", false), "would DeniedByRule 403"),
        (("GET", "/else", true), "would DeniedUrl 403 as user"),
        (
            ("GET", "other.example.com/app/x", false),
            "would OtherHostName 302",
        ),
        (
            ("POST", "other.example.com/app/x", false),
            "would DeniedHostName 403",
        ),
        // The agent's endpoints work, also where something else would have refused the way there.
        (("GET", CALLBACK, false), "400 CallbackNotPost"),
        (
            ("POST", "other.example.com/agent/cdsso-oauth2", false),
            "400 CallbackForm",
        ),
        (("GET", "/logout", true), "acts"),
        (("GET", "/logout", false), "LogoutPage"),
    ] {
        assert_eq!(outcome(&snap, &memo, request), expected, "{request:?}");
    }
    let denied = snapshot(&format!("{REPORT}portcullis.deny.rule[0] = url=/logout\n"));
    assert_eq!(outcome(&denied, &memo, ("GET", "/logout", true)), "acts");
}

#[test]
fn what_has_no_one_meaning_is_refused_as_ever() {
    let snap = snapshot(REPORT);
    let memo = Memo {
        session: session_of("/"),
        policy: policy_of(true, false),
        ..Memo::default()
    };
    for target in ["/app/%2e%2e/x", "/app\\x", "/app/%00"] {
        assert_eq!(
            outcome(&snap, &memo, ("GET", target, true)),
            "400 AmbiguousUrl",
            "{target}"
        );
    }
    let client = IpAddr::from([198, 51, 100, 1]);
    let connection = [Header {
        name: b"Connection",
        value: b"Remote-User",
    }];
    let view = support::view("GET", "/app/x", client, &connection);
    let Step::Done(decision) = decide::decide(&view, &snap, &memo, NOW) else {
        panic!("asks");
    };
    assert_eq!(said(&decision), "400 ConnectionHeader");
}

/// httpd's own rules (`AmAuthProvider`) would refuse what is left to them.
#[test]
fn what_is_only_reported_is_not_left_to_the_host() {
    let report = snapshot(REPORT);
    let shadow = snapshot(SHADOW);
    let memo = Memo {
        session: session_of("/"),
        policy: policy_of(false, false),
        ..Memo::default()
    };
    for (snap, expected) in [
        (&report, "would DeniedByPolicy 403 as user"),
        (&shadow, "LeftToHost as user"),
    ] {
        let text = ask(snap, &memo, GET, |view| {
            let mut view = *view;
            view.local.authorizes = true;
            match decide::decide(&view, snap, &memo, NOW) {
                Step::Done(decision) => said(&decision),
                Step::Need(_) => panic!("asks"),
            }
        });
        assert_eq!(text, expected);
    }
}

#[test]
fn a_session_from_another_address_is_not_ended() {
    let snap = snapshot(&format!(
        "{REPORT}{AGENT}client.ip.validation.enable = true\n{AGENT}client.ip.validation.reauth = true\n"
    ));
    let memo = Memo {
        session: session_of("/"),
        ..Memo::default()
    };
    assert_eq!(outcome(&snap, &memo, GET), "would LoginOtherAddress 302");
}

/// Whoever fails, nobody is named whose session is not known to live.
#[test]
fn no_failure_brings_an_identity() {
    let snap = snapshot(REPORT);
    for (error, text) in decide::FAILURES {
        let memo = Memo {
            session: Some(Err(*error)),
            ..Memo::default()
        };
        let said = outcome(&snap, &memo, GET);
        assert!(
            said.starts_with("would ") && !said.contains("user"),
            "{text}: {said}"
        );
    }
    let strategy = format!("{REPORT}portcullis.strategy.when.am.unavailable = IMMEDIATE_503\n");
    let memo = Memo {
        session: session_of("/"),
        away: true,
        ..Memo::default()
    };
    assert_eq!(
        outcome(&snapshot(&strategy), &memo, GET),
        "would UnavailableStrategy 503"
    );
}

/// Now is 15 January 2027, 8:00:00 UTC.
#[test]
fn reporting_ends_on_its_day() {
    let memo = Memo {
        session: session_of("/"),
        policy: policy_of(false, false),
        ..Memo::default()
    };
    for (until, over) in [
        ("2027-01-15", true),
        ("2027-01-15T08:00:00Z", true),
        ("2027-01-15T08:00:01Z", false),
        ("2027-01-15T09:00:00+01:00", true),
        ("2027-01-16", false),
    ] {
        let snap = snapshot(&format!(
            "portcullis.mode = report\nportcullis.mode.until = {until}\n"
        ));
        let expected = match over {
            true => "403 DeniedByPolicy",
            false => "would DeniedByPolicy 403 as user",
        };
        assert_eq!(outcome(&snap, &memo, GET), expected, "{until}");
    }
}

#[test]
fn reporting_may_be_for_some_paths() {
    let snap = snapshot(
        "portcullis.mode[/app] = report\nportcullis.mode[/app/admin] = enforce\n\
         portcullis.mode.until = 2030-01-01\n",
    );
    let nobody = Memo::default();
    for (target, expected) in [
        ("/app/x", "would LoginNoToken 302"),
        ("/apps", "302 LoginNoToken"),
        ("/x", "302 LoginNoToken"),
        ("/app/admin/x", "302 LoginNoToken"),
        ("/app/admin;v=1/x", "302 LoginNoToken"),
        ("/app;v=1/x", "302 LoginNoToken"),
    ] {
        assert_eq!(
            outcome(&snap, &nobody, ("GET", target, false)),
            expected,
            "{target}"
        );
    }
}

/// Rule O4: without a configuration nobody knows which headers carry an identity.
#[test]
fn nothing_is_only_reported_without_a_configuration() {
    let nobody = Memo::default();
    let get = ("GET", "/app/x", false);
    let fallback = snapshot_with(REPORT, |c| c.rules_only = Some(RulesOnly::Fallback));
    assert_eq!(outcome(&fallback, &nobody, get), "503 UnavailableFallback");
    let autonomous = snapshot(&format!("{REPORT}portcullis.autonomous.mode = true\n"));
    assert_eq!(
        outcome(&autonomous, &nobody, GET),
        "would DeniedAutonomous 403"
    );
    let denied = snapshot(&format!(
        "{REPORT}portcullis.autonomous.mode = true\nportcullis.deny.rule[0] = url=/logout\n"
    ));
    assert_eq!(
        outcome(&denied, &nobody, ("GET", "/logout", true)),
        "would DeniedByRule 403"
    );
}

#[test]
fn a_request_that_cannot_be_decided_goes_on_where_that_is_only_reported() {
    let unanswered = |lines: &str, target: &str| {
        let (snap, memo) = (snapshot(lines), Memo::default());
        ask(&snap, &memo, ("GET", target, true), |view| {
            said(&decide_unanswered(view, &snap, &memo, NOW, Code::NotStored))
        })
    };
    assert_eq!(unanswered("", "/app/x"), "403 NotStored");
    assert_eq!(unanswered(REPORT, "/app/x"), "would NotStored 403");
    for target in ["/logout", CALLBACK, "/app/%2e%2e/x"] {
        assert_eq!(unanswered(REPORT, target), "403 NotStored", "{target}");
    }
    let by_path = "portcullis.mode[/app] = report\nportcullis.mode.until = 2030-01-01\n";
    assert_eq!(unanswered(by_path, "/app/x"), "would NotStored 403");
    assert_eq!(unanswered(by_path, "/x"), "403 NotStored");
}

#[test]
fn a_mode_lacks_nothing_and_comes_from_the_file() {
    let errors = |lines: &str| {
        let (_, problems) = read(lines);
        let bad = problems.iter().filter(|p| p.severity == Severity::Error);
        bad.map(|p| p.property.clone()).collect::<Vec<_>>()
    };
    let until = "portcullis.mode.until";
    for lines in [
        "portcullis.mode = report\n",
        "portcullis.mode[/app] = report\n",
    ] {
        assert_eq!(errors(lines), [until], "{lines}");
    }
    assert!(
        errors("portcullis.mode = report\nportcullis.mode.until = soon\n").contains(&until.into())
    );
    assert_eq!(
        errors("portcullis.mode = shadow\n"),
        ["portcullis.shadow.policy.set"]
    );
    assert_eq!(errors("portcullis.mode = watch\n"), ["portcullis.mode"]);
    assert_eq!(errors(REPORT), [""; 0]);
    let (_, problems) = read("portcullis.mode.until = 2030-01-01\n");
    assert!(
        problems.len() == 1 && problems[0].what.contains("no effect"),
        "{problems:?}"
    );

    let files =
        format!("{AGENT}username = wa1\n{AGENT}naming.url = http://am.example.com:8080/openam/\n");
    let files = Properties::parse(&files, Source::File("agent.conf".into()));
    let custom = ["portcullis.mode=report", "portcullis.mode.until=2030-01-01"];
    let profile = Properties::from_profile(&[(
        "com.sun.identity.agents.config.freeformproperties".into(),
        custom.map(String::from).to_vec(),
    )]);
    let (config, problems) = config::read(&files, Some(&profile));
    assert_eq!(config.mode, config::Enforcement::Enforce);
    let named = problems
        .iter()
        .filter(|p| p.what.contains("counts only in agent.conf"));
    assert_eq!(named.count(), 2, "{problems:?}");
}

const SHADOW: &str = "portcullis.mode = shadow\nportcullis.shadow.policy.set = second\n";

/// The second opinion about a request, and what became of the request.
fn shadow(snap: &Snapshot, memo: &Memo) -> (String, Option<(Opinion, String)>) {
    ask(snap, memo, GET, |view| {
        let Step::Done(decision) = decide::decide(view, snap, memo, NOW) else {
            panic!("asks");
        };
        let second = decision.shadow.as_ref().map(|shadow| {
            let second = match &shadow.second {
                Second::Known(opinion) => format!("{opinion:?}"),
                Second::Ask(Ask::Policy {
                    realm,
                    application,
                    resource,
                    token,
                    ..
                }) => {
                    assert_eq!(token.expose(), b"AQIC5w.*");
                    format!("{realm} {application} {resource}")
                }
                Second::Ask(_) => panic!("asks something else"),
            };
            (shadow.enforced, second)
        });
        (said(&decision), second)
    })
}

#[test]
fn a_second_opinion_is_given_where_it_differs() {
    let snap = snapshot(SHADOW);
    // The key under which the enforced decision is kept.
    let mut memo = Memo {
        session: session_of("/"),
        ..Memo::default()
    };
    let first = ask(&snap, &memo, GET, |view| {
        match decide::decide(view, &snap, &memo, NOW) {
            Step::Need(Need::Ask(asks)) => match asks.as_slice() {
                [
                    Ask::Policy {
                        key, application, ..
                    },
                ] => {
                    assert_eq!(application, "iPlanetAMWebAgentService");
                    *key
                }
                _ => panic!("asks something else"),
            },
            _ => panic!("decided"),
        }
    });
    memo.first = Some(first);
    let asks = Some("/ second http://www.example.com:80/app/x".to_owned());
    for (policy, enforced, outcome) in [
        (
            policy_of(true, false),
            Opinion::Allowed,
            "AllowedByPolicy as user",
        ),
        (
            policy_of(false, false),
            Opinion::Denied,
            "403 DeniedByPolicy",
        ),
        (
            policy_of(false, true),
            Opinion::DeniedWithAdvices,
            "200 LoginStepUp",
        ),
    ] {
        memo.policy = policy;
        for (other, expected) in [
            (None, asks.clone()),
            (Some(Err(AWAY)), asks.clone()),
            (policy_of(true, false), Some("Allowed".to_owned())),
            (policy_of(false, false), Some("Denied".to_owned())),
            (policy_of(false, true), Some("DeniedWithAdvices".to_owned())),
        ] {
            memo.other = other;
            let same = expected.as_deref() == Some(&*format!("{enforced:?}"));
            let expected = expected.filter(|_| !same).map(|second| (enforced, second));
            assert_eq!(shadow(&snap, &memo), (outcome.to_owned(), expected));
        }
    }
    memo.policy = Some(Err(AWAY));
    assert_eq!(
        shadow(&snap, &memo),
        ("503 UnavailableTransport".to_owned(), None)
    );
}

#[test]
fn a_second_policy_set_may_be_in_another_realm_and_for_some_paths() {
    let lines = "portcullis.mode[/app] = shadow\nportcullis.shadow.policy.set = second\n\
                 portcullis.shadow.policy.realm = next\n";
    let memo = |key| Memo {
        session: session_of("/"),
        policy: policy_of(true, false),
        first: Some(key),
        ..Memo::default()
    };
    let key = |snap: &Snapshot| {
        let empty = Memo {
            session: session_of("/"),
            ..Memo::default()
        };
        ask(snap, &empty, GET, |view| {
            match decide::decide(view, snap, &empty, NOW) {
                Step::Need(Need::Ask(asks)) => match asks.as_slice() {
                    [Ask::Policy { key, .. }] => *key,
                    _ => panic!("asks something else"),
                },
                _ => panic!("decided"),
            }
        })
    };
    let snap = snapshot(lines);
    let (_, second) = shadow(&snap, &memo(key(&snap)));
    let question = "/next second http://www.example.com:80/app/x".to_owned();
    assert_eq!(second, Some((Opinion::Allowed, question)));
    let elsewhere = snapshot(&lines.replace("[/app]", "[/else]"));
    let (_, second) = shadow(&elsewhere, &memo(key(&elsewhere)));
    assert_eq!(second, None);
    let session_only = snapshot(&format!("{lines}{AGENT}sso.only = true\n"));
    let (outcome, second) = shadow(
        &session_only,
        &Memo {
            session: session_of("/"),
            ..Memo::default()
        },
    );
    assert_eq!((outcome.as_str(), second), ("AllowedSsoOnly as user", None));
}

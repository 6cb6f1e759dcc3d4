//! What is asked about a request, by its path: nothing, a session, or AM, in which realm and policy
//! set; by the configuration as an operator writes it.
#![allow(clippy::expect_used, clippy::panic, reason = "helpers of tests")]

mod support;

use portcullis_engine::{
    config::{Severity, Snapshot},
    contract::{
        Act, Ask, AttributesKey, Facts, Header, Known, Need, Outcome, PolicyKey, Receipt,
        SessionKey, Step, Why,
    },
    decide,
    event::Code,
    record::{Attributes, NewSession, Policy, Session, SessionKind},
};
use support::{AGENT, NOW, read, snapshot};

const MODE: &str = "org.forgerock.agents.filter.mode.map";
const REALM: &str = "org.forgerock.openam.agents.config.policy.evaluation.realm";
const SET: &str = "org.forgerock.openam.agents.config.policy.evaluation.application";

/// A live session of a realm, and nothing else.
struct Memo(Vec<u8>);

impl Memo {
    fn of(realm: &str) -> Memo {
        let session = NewSession {
            kind: SessionKind::User,
            universal_id: "id=demo,ou=user,dc=example,dc=com",
            realm,
            max_end: NOW.wall.0 + 60_000,
            idle_end: NOW.wall.0 + 60_000,
            client_side: false,
            properties: &[],
        };
        Memo(session.encode().expect("record"))
    }
}

impl Facts for Memo {
    fn session(&self, _: SessionKey) -> Known<Session<'_>> {
        Known::Fresh(Session::decode(&self.0).expect("record"))
    }
    fn policy(&self, _: PolicyKey) -> Known<Policy<'_>> {
        Known::Missing
    }
    fn attributes(&self, _: AttributesKey) -> Known<Attributes<'_>> {
        Known::Missing
    }
    fn form(&self) -> Known<&[u8]> {
        Known::Missing
    }
    fn receipt(&self, act: &Act) -> Known<Receipt> {
        match act {
            Act::Count { .. } => Known::Fresh(Receipt::Counted(1)),
            _ => Known::Missing,
        }
    }
    fn seed(&self) -> &[u8; 32] {
        &[9; 32]
    }
}

/// What a user of a realm meets at an address: `realm set` that AM is asked about, or what became of
/// the request; and the key of the decision.
fn asked_by(snap: &Snapshot, realm: &str, address: &str) -> (String, Option<PolicyKey>) {
    let memo = Memo::of(realm);
    let mut view = support::view_at("GET", address);
    let cookie = portcullis_engine::decide::cookie_of(&view, snap, &memo, NOW, b"AQIC5w.*");
    let cookie = format!("am-auth-jwt={}", cookie.expect("a URL"));
    let headers = [Header {
        name: b"Cookie",
        value: cookie.as_bytes(),
    }];
    view.headers = &headers;
    match decide(&view, snap, &memo, NOW) {
        Step::Need(Need::Ask(asks)) => match asks.as_slice() {
            [
                Ask::Policy {
                    key,
                    realm,
                    application,
                    ..
                },
            ] => (format!("{realm} {application}"), Some(*key)),
            _ => panic!("asks something else"),
        },
        Step::Need(Need::Do(_)) => panic!("acts"),
        Step::Done(decision) => {
            let rule = decision.rule.map(|rule| snap.config.rule(rule));
            let rule = rule.unwrap_or_default();
            let text = match &decision.outcome {
                Outcome::Allow(grant) if grant.why() == Why::SsoOnly => {
                    assert_eq!(decision.reason, Code::AllowedSsoOnly);
                    format!("session {rule}")
                }
                Outcome::Allow(_) => {
                    assert!(decision.edits.identity.is_none() && decision.for_everybody);
                    format!("open {rule}")
                }
                Outcome::Respond(page) => format!("{} {:?}", page.status, decision.reason),
                Outcome::Replay => "replay".to_owned(),
            };
            (text, None)
        }
    }
}

fn asked(snap: &Snapshot, address: &str) -> String {
    asked_by(snap, "/", address).0
}

#[test]
fn the_filter_mode_of_the_deepest_path_counts() {
    let snap = snapshot(&format!(
        "{MODE}[BankApp]=SSO_ONLY\n{MODE}[/open/*]=NONE\n{MODE}[/open/admin]=URL_POLICY\n\
         {MODE}[http://other.example.com:80/]=SSO_ONLY\n{MODE}[/open/home]=sso_only\n"
    ));
    let policy = "/ iPlanetAMWebAgentService";
    let session = "session portcullis.filter.mode[BankApp]=SSO_ONLY";
    let open = "open portcullis.filter.mode[/open/*]=NONE";
    for (address, expected) in [
        ("/", policy),
        ("/BankApp", session),
        ("/BankApp/x?y", session),
        ("/BankApps", policy),
        ("/x/BankApp/y", policy),
        ("/open", open),
        ("/open/x", open),
        ("/open/admin", policy),
        ("/open/admin/x", policy),
        ("/open/administrator", open),
        (
            "/open/home/x",
            "session portcullis.filter.mode[/open/home]=sso_only",
        ),
        (
            "other.example.com/x",
            "session portcullis.filter.mode[http://other.example.com:80/]=SSO_ONLY",
        ),
        ("other.example.com/open/x", open),
    ] {
        assert_eq!(asked(&snap, address), expected, "{address}");
    }
}

/// Rule U1: an application server may cut parameters out of the path.
#[test]
fn parameters_in_a_path_lead_to_nothing_weaker() {
    let snap = snapshot(&format!(
        "{MODE}[/open]=NONE\n{MODE}[/open/admin]=URL_POLICY\n{MODE}[/home]=SSO_ONLY\n"
    ));
    let policy = "/ iPlanetAMWebAgentService";
    for address in [
        "/open/admin;v=1/x",
        "/open;v=1/x",
        "/open;v=1",
        "/home;v=1/x",
    ] {
        assert_eq!(asked(&snap, address), policy, "{address}");
    }
    assert_eq!(
        asked(&snap, "/open/x;v=1"),
        "open portcullis.filter.mode[/open]=NONE"
    );
    let snap = snapshot(&format!("{SET}[/admin]=admins\n{REALM}[/shop]=/shop\n"));
    for address in ["/admin;v=1", "/admin;v=1/x", "/shop;/x"] {
        assert_eq!(asked(&snap, address), "400 AmbiguousUrl", "{address}");
    }
    assert_eq!(asked(&snap, "/admin/x;v=1"), "/ admins");
    assert_eq!(asked(&snap, "/x;v=1/admin"), policy);
}

#[test]
fn realm_and_policy_set_of_the_deepest_path_count_each_for_itself() {
    let snap = snapshot(&format!(
        "{REALM} = /base\n{REALM}[/shop]=shop\n\
         org.forgerock.agents.policy.set.map=sets\n\
         org.forgerock.agents.policy.set.map[/shop/admin]=admins\n{SET}[/wiki/*]=wiki\n"
    ));
    for (address, expected) in [
        ("/", "/base sets"),
        ("/shop/x", "/shop sets"),
        ("/shop/admin", "/shop admins"),
        ("/wiki/x", "/base wiki"),
        ("/wikis", "/base sets"),
    ] {
        assert_eq!(asked(&snap, address), expected, "{address}");
    }
}

/// Rule S7.
#[test]
fn a_decision_of_one_realm_or_set_never_serves_another() {
    let url = "/shop/x";
    let mut keys = vec![];
    for lines in [
        String::new(),
        format!("{REALM}[/shop]=/shop\n"),
        format!("{SET}[/shop]=shop\n"),
        format!("{REALM}[/shop]=/shop\n{SET}[/shop]=shop\n"),
        format!("{REALM}[/shop]=/shopshop\n{SET}[/shop]=s\n"),
    ] {
        let (text, key) = asked_by(&snapshot(&lines), "/", url);
        let key = key.expect(&text);
        assert!(!keys.contains(&key), "{lines}");
        keys.push(key);
    }
    // One question is one question, however it was written.
    let everywhere = format!("{REALM} = /shop\n{SET} = shop\n");
    assert_eq!(asked_by(&snapshot(&everywhere), "/", url).1, Some(keys[3]));
    let elsewhere = format!("{REALM}[/else]=/shop\n");
    assert_eq!(asked_by(&snapshot(&elsewhere), "/", url).1, Some(keys[0]));
}

#[test]
fn users_meet_the_policies_of_their_own_realm() {
    let own = "org.forgerock.agents.user.realm.overrides.policy.evaluation.realm.enabled = true\n";
    let snap = snapshot(&format!(
        "{own}portcullis.session.realms[0] = /shop\n{REALM}[/a]=/a\n{SET}[/a]=a\n"
    ));
    let (shop, of_shop) = asked_by(&snap, "/shop", "/x");
    let (root, of_root) = asked_by(&snap, "/", "/x");
    assert_eq!(
        (shop.as_str(), root.as_str()),
        (
            "/shop iPlanetAMWebAgentService",
            "/ iPlanetAMWebAgentService"
        )
    );
    assert_ne!(of_shop, of_root);
    assert_eq!(asked_by(&snap, "/shop", "/a/x").0, "/shop a");
    // Rule L5: whose realm nobody named stays outside.
    for address in ["/x", "/a/x"] {
        assert_eq!(
            asked_by(&snap, "/a", address).0,
            "403 DeniedRealm",
            "{address}"
        );
    }
}

/// Rule L5.
#[test]
fn users_of_a_paths_realm_count_at_that_path_only() {
    let snap = snapshot(&format!(
        "{REALM}[/shop]=/shop\n{MODE}[/shop/home]=SSO_ONLY\n{MODE}[/home]=SSO_ONLY\n"
    ));
    assert_eq!(
        asked_by(&snap, "/shop", "/shop/x").0,
        "/shop iPlanetAMWebAgentService"
    );
    assert_eq!(
        asked_by(&snap, "/shop", "/shop/home").0,
        "session portcullis.filter.mode[/shop/home]=SSO_ONLY"
    );
    for address in ["/x", "/home"] {
        assert_eq!(
            asked_by(&snap, "/shop", address).0,
            "403 DeniedRealm",
            "{address}"
        );
    }
}

#[test]
fn a_filter_mode_for_everything_decides_before_sso_only() {
    let both = format!("{AGENT}sso.only = true\n{MODE}[/app]=URL_POLICY\n");
    let snap = snapshot(&both);
    assert_eq!(asked(&snap, "/x"), "session ");
    assert_eq!(asked(&snap, "/app/x"), "/ iPlanetAMWebAgentService");
    for everything in ["", "[ALL]", "[/]"] {
        let snap = snapshot(&format!("{MODE}{everything} = SSO_ONLY\n"));
        assert_eq!(asked(&snap, "/x"), "session ", "{everything}");
    }
    let stricter = format!("{AGENT}sso.only = true\n{MODE}=URL_POLICY\n");
    assert_eq!(
        asked(&snapshot(&stricter), "/x"),
        "/ iPlanetAMWebAgentService"
    );
    let (_, problems) = read(&stricter);
    assert!(problems.iter().any(|p| p.property.ends_with("sso.only")));
}

#[test]
fn mistakes_by_path_are_named() {
    let errors = |lines: &str| {
        let (_, problems) = read(lines);
        let bad = problems.iter().filter(|p| p.severity == Severity::Error);
        bad.map(|p| (p.line.unwrap_or(0), p.what.clone()))
            .collect::<Vec<_>>()
    };
    for line in [
        format!("{MODE} = NONE\n"),
        format!("{MODE}[ALL] = NONE\n"),
        format!("{MODE}[/*] = NONE\n"),
        format!("{MODE}[http://www.example.com:80] = NONE\n"),
        format!("{MODE}[/app] = SSO\n"),
        format!("{MODE}[/app*] = SSO_ONLY\n"),
        format!("{REALM}[/app] = /a b\n"),
        format!("{SET}[/a?b] = set\n"),
        format!("{MODE}[] = SSO_ONLY\n"),
    ] {
        let found = errors(&line);
        assert_eq!(found.len(), 1, "{line}{found:?}");
        assert_eq!(found[0].0, 5, "{line}");
    }
    let twice = errors(&format!(
        "{SET}[/app] = a\n{SET}[app/*] = a\n{SET}[/app/] = b\n"
    ));
    assert_eq!(twice.len(), 1, "{twice:?}");
    assert_eq!(twice[0].0, 7);
    for relic in ["J2EE_POLICY", "ALL"] {
        let (config, problems) = read(&format!("{MODE}[/app] = {relic}\n"));
        assert!(config.filter_modes.is_empty());
        let named = problems
            .iter()
            .filter(|p| p.to_string().contains("Java container"));
        assert_eq!((problems.len(), named.count()), (1, 1), "{problems:?}");
    }
    let (_, problems) = read(&format!("{MODE}[/app] = NONE\n"));
    assert_eq!(problems.len(), 1);
    assert!(problems[0].what.contains("everybody") && problems[0].severity == Severity::Warning);
}

use std::{string::ToString, vec};

use super::{
    ams::{am_origins, issuers, login_realms},
    *,
};

fn config() -> Config {
    Config {
        username: "wa1".to_string(),
        naming_url: vec!["https://am.example.com/am/".to_string()],
        organization_name: "/shop".to_string(),
        root_urls: vec!["http://www.example.com:80/".to_string()],
        fqdn_default: Some("www.example.com".to_string()),
        ..Config::default()
    }
}

fn secrets() -> Secrets {
    let bytes = |n: u8| Secret::new((0..32).map(|i| n.wrapping_add(i)).collect());
    Secrets {
        password: bytes(40),
        agent_key: bytes(1),
        previous_key: None,
        cert_key_password: None,
        proxy_password: None,
        monitor_password: None,
    }
}

fn snapshot(config: Config, hash_key: [u8; 16]) -> Snapshot {
    Snapshot::build(config, secrets(), hash_key).ok().unwrap()
}

#[test]
fn the_identity_says_whose_answers_these_are() {
    let base = identity(&config());
    let mut two = config();
    two.naming_url
        .push("https://am2.example.com/am/".to_string());
    let mut swapped = two.clone();
    swapped.naming_url.reverse();
    assert_eq!(
        identity(&two),
        identity(&swapped),
        "the order of AM's URLs does not matter"
    );
    let realm = Config {
        organization_name: "/other".to_string(),
        ..config()
    };
    let name = Config {
        username: "wa2".to_string(),
        ..config()
    };
    for other in [two, realm, name] {
        assert_ne!(identity(&other), base);
    }
    let unrelated = Config {
        sso_only: true,
        ..config()
    };
    assert_eq!(identity(&unrelated), base);
}

#[test]
fn every_part_of_a_question_changes_its_key() {
    let snap = snapshot(config(), [1; 16]);
    let session = snap.session_key(b"token");
    let key = snap.policy_key(session, "http://www.example.com:80/a", &[127, 0, 0, 1]);
    assert_eq!(
        key,
        snap.policy_key(session, "http://www.example.com:80/a", &[127, 0, 0, 1])
    );
    let other_session = snap.session_key(b"token2");
    let realm = snapshot(
        Config {
            policy_realm: "/x".to_string(),
            ..config()
        },
        [1; 16],
    );
    let set = snapshot(
        Config {
            policy_set: "x".to_string(),
            ..config()
        },
        [1; 16],
    );
    let agent = snapshot(
        Config {
            username: "wa2".to_string(),
            ..config()
        },
        [1; 16],
    );
    let boot = snapshot(config(), [2; 16]);
    for (i, other) in [
        snap.policy_key(
            other_session,
            "http://www.example.com:80/a",
            &[127, 0, 0, 1],
        ),
        snap.policy_key(session, "http://www.example.com:80/A", &[127, 0, 0, 1]),
        snap.policy_key(session, "http://www.example.com:80/a", &[127, 0, 0, 2]),
        snap.policy_key(session, "http://www.example.com:80/a\u{7f}", &[0, 0, 1]),
        realm.policy_key(session, "http://www.example.com:80/a", &[127, 0, 0, 1]),
        set.policy_key(session, "http://www.example.com:80/a", &[127, 0, 0, 1]),
        agent.policy_key(session, "http://www.example.com:80/a", &[127, 0, 0, 1]),
        boot.policy_key(session, "http://www.example.com:80/a", &[127, 0, 0, 1]),
    ]
    .iter()
    .enumerate()
    {
        assert_ne!(*other, key, "{i}");
    }
    // Tools find it without a snapshot.
    let found = session_key(&config(), &[1; 16], b"token");
    assert_eq!(found.0, session.0);
    assert_ne!(
        snap.session_key(b"x").0,
        snap.state_key(b"x"),
        "kinds do not mix"
    );
}

#[test]
fn issuers_are_am_as_browsers_may_know_it() {
    let config = Config {
        public_am_url: Some("https://login.example.com:8443/am/".to_string()),
        login_url: vec![
            "https://sso.example.com/openam/UI/Login?realm=/x".to_string(),
            "https://portal.example.com/login".to_string(),
        ],
        ..config()
    };
    let all = issuers(&config);
    for issuer in [
        "https://am.example.com/am/oauth2",
        "https://am.example.com:443/am/oauth2",
        "https://am.example.com/am/oauth2/shop",
        "https://login.example.com:8443/am/oauth2",
        "https://sso.example.com/openam/oauth2",
    ] {
        assert!(all.iter().any(|i| i == issuer), "{issuer} in {all:?}");
    }
    assert!(
        !all.iter()
            .any(|i| i.contains("portal") || i.contains("login.example.com/"))
    );
}

#[test]
fn realms_of_users_are_those_that_logins_and_policies_name() {
    assert_eq!(login_realms(&config()), ["/", "/shop"]);
    let page = "https://am.example.com/am/UI/Login?realm=%2Fstaff".to_string();
    let legacy = Config {
        allow_custom_login: 2,
        policy_realm: "/policies".to_string(),
        login_url: vec![page.clone()],
        session_realms: vec!["/more".to_string()],
        ..config()
    };
    assert_eq!(login_realms(&legacy), ["/more", "/policies", "/staff"]);
    let unused = Config {
        policy_realm: "/shop".to_string(),
        login_url: vec![page],
        ..config()
    };
    assert_eq!(
        login_realms(&unused),
        ["/shop"],
        "login.url is not used by the default login"
    );
}

#[test]
fn our_cookies_are_known_by_name() {
    let snap = snapshot(config(), [1; 16]);
    for ours in [
        "am-auth-jwt",
        "agent-authn-tx",
        "agent-authn-tx-3f",
        "__Host-agent-authn-tx",
    ] {
        assert!(snap.ours(ours.as_bytes()), "{ours}");
    }
    for theirs in [
        "iPlanetDirectoryPro",
        "AM-AUTH-JWT",
        "JSESSIONID",
        "__Host-am-auth-jwt",
        "",
    ] {
        assert!(!snap.ours(theirs.as_bytes()), "{theirs}");
    }
}

#[test]
fn what_cannot_be_compiled_is_named() {
    let broken = Config {
        notenforced_url: vec![crate::config::RuleLine {
            value: "*".to_string(),
            methods: crate::config::Methods::ALL,
            index: None,
            line: None,
            source: Source::Am,
        }],
        agent_logout_url: vec!["".to_string()],
        fqdn_mapping: vec![("any".to_string(), "*".to_string())],
        ..config()
    };
    let problems = Snapshot::build(broken, secrets(), [1; 16]).err().unwrap();
    let names: vec::Vec<&str> = problems.iter().map(|p| p.property.as_str()).collect();
    assert_eq!(
        names,
        [
            "com.sun.identity.agents.config.notenforced.url",
            "com.sun.identity.agents.config.agent.logout.url",
            "com.sun.identity.agents.config.fqdn.mapping",
        ]
    );
    let nowhere = Config {
        fqdn_default: None,
        root_urls: vec![],
        ..config()
    };
    assert_eq!(
        Snapshot::build(nowhere, secrets(), [1; 16])
            .err()
            .unwrap()
            .len(),
        1
    );
}

#[test]
fn redirects_lead_to_configured_hosts_only() {
    let snap = snapshot(config(), [1; 16]);
    assert!(snap.allowed_hosts.allows(false, "www.example.com", 80));
    assert!(!snap.allowed_hosts.allows(false, "evil.example.com", 80));
}

#[test]
fn origins_are_written_as_browsers_write_them() {
    let config = Config {
        naming_url: vec!["https://am.example.com:443/am/".to_string()],
        public_am_url: Some("http://login.example.com:8080/am/".to_string()),
        ..config()
    };
    assert_eq!(
        am_origins(&config),
        ["http://login.example.com:8080", "https://am.example.com"]
    );
}

#[test]
fn mistakes_of_reading_and_of_compiling_are_named_together() {
    const P: &str = "com.sun.identity.agents.config";
    let text = format!(
        "{P}.username = wa1\n{P}.naming.url = https://am.example.com/am\n\
         {P}.repository.location = local\n{P}.fqdn.default = www example\n\
         {P}.agent.logout.url[0] = http://www.example.com:80/out\n{P}.agent.logout.url[1] = *\n"
    );
    let files = Properties::parse(&text, Source::File("agent.conf".to_string()));
    let (config, problems) = super::super::read(&files, None);
    let found = mistakes(&config, &files, &problems);
    let places: Vec<_> = found.iter().map(|p| (p.property.clone(), p.line)).collect();
    assert_eq!(
        places,
        [(format!("{P}.agent.logout.url"), Some(6))],
        "{found:?}"
    );
}

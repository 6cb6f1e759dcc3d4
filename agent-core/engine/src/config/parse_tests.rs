use std::{
    format,
    string::{String, ToString},
    vec,
    vec::Vec,
};

use super::*;
use crate::{
    config::{AuditTo, Level, Methods, UserIdType},
    contract::{RuleId, RuleList},
};

const P: &str = "com.sun.identity.agents.config";

fn file(text: &str) -> Properties {
    Properties::parse(text, Source::File("agent.conf".to_string()))
}

/// The smallest file that is right.
fn minimal(more: &str) -> Properties {
    file(&format!(
        "{P}.username = wa1\n{P}.naming.url = https://am.example.com/am\n\
         {P}.repository.location = local\n{more}"
    ))
}

fn attributes(pairs: &[(&str, &[&str])]) -> Properties {
    let owned: Vec<(String, Vec<String>)> = pairs
        .iter()
        .map(|(n, v)| (n.to_string(), v.iter().map(ToString::to_string).collect()))
        .collect();
    Properties::from_profile(&owned)
}

fn errors(problems: &[Problem]) -> Vec<String> {
    let errors = problems.iter().filter(|p| p.severity == Severity::Error);
    errors.map(ToString::to_string).collect()
}

fn texts(problems: &[Problem]) -> Vec<String> {
    problems.iter().map(ToString::to_string).collect()
}

#[test]
fn the_smallest_file_is_enough() {
    let (config, problems) = read(&minimal(""), None);
    assert_eq!(problems, []);
    let expected = Config {
        username: "wa1".to_string(),
        naming_url: vec!["https://am.example.com/am/".to_string()],
        repository: Repository::Local,
        ..Config::default()
    };
    assert_eq!(config, expected);
}

#[test]
fn a_problem_is_one_line_with_place_and_remedy() {
    let (_, problems) = read(&minimal(&format!("{P}.connect.timeout = abc\n")), None);
    assert_eq!(
        texts(&problems),
        [
            "agent.conf line 4: com.sun.identity.agents.config.connect.timeout: \"abc\" is not a number \
          of seconds; write a whole number between 1 and 3600"
        ]
    );
}

#[test]
fn fifteen_mistakes_are_named_at_once() {
    let text = format!(
        "{P}.repository.location = local
{P}.username = AM_AGENT_NAME
{P}.naming.url = https://am.example.com/am ftp://am2.example.com
{P}.connect.timeout = 0
{P}.receive.timeout = soon
{P}.organization.name = //x
{P}.sso.only = yes
{P}.debug.level = loud
{P}.fqdn.default = www example
{P}.fqdn.mapping[] = www.example.com
{P}.notenforced.url[GTE,1] = /public/*
{P}.session.attribute.mapping[uid] = X User
{P}.session.attribute.mapping[cn] = Content_Length
com.forgerock.agents.config.hostmap[0] = am.example.com
{P}.logout.redirect.url = //evil.example.com/
{P}.cdsso.cookie.domain[0] = com
"
    );
    let (_, problems) = read(&file(&text), None);
    let lines: Vec<Option<u32>> = problems.iter().map(|p| p.line).collect();
    let expected: Vec<Option<u32>> = (2..=16).map(Some).collect();
    assert_eq!(lines, expected, "{:#?}", texts(&problems));
    for (problem, line) in problems.iter().zip(text.lines().skip(1)) {
        assert!(line.starts_with(&problem.property), "{problem}");
        assert!(
            !problem.what.is_empty() && !problem.remedy.is_empty(),
            "{problem}"
        );
        assert_eq!(problem.severity, Severity::Error, "{problem}");
    }
}

/// A file that has grown says something twice; the Web Agent goes by the last line, however many values are on it.
#[test]
fn the_last_line_counts_of_what_is_written_on_one() {
    let text = format!(
        "{P}.username = wa1\n{P}.naming.url = https://old.example.com/am\n\
         {P}.naming.url = https://am1.example.com/am https://am2.example.com/am\n{P}.naming.url =\n\
         com.forgerock.agents.jwt.aud.whitelist = old\ncom.forgerock.agents.jwt.aud.whitelist = wa2, wa3\n"
    );
    let (config, _) = read(&file(&text), None);
    let hosts = ["https://am1.example.com/am/", "https://am2.example.com/am/"];
    assert_eq!(config.naming_url, hosts);
    assert_eq!(config.audiences, ["wa2", "wa3"]);
}

#[test]
fn what_is_needed_to_ask_am_must_be_there() {
    let (_, problems) = read(&file("# nothing\n"), None);
    let texts = texts(&problems);
    assert_eq!(texts.len(), 2);
    assert!(
        texts[0].starts_with(&format!("agent.conf: {P}.username: is missing; ")),
        "{texts:?}"
    );
    assert!(
        texts[1].starts_with(&format!("agent.conf: {P}.naming.url: is missing; ")),
        "{texts:?}"
    );
}

#[test]
fn secrets_and_credentials_are_never_repeated() {
    let text = "com.sun.identity.agents.config.naming.url = https://user:hunter2@am.example.com/\n\
                com.sun.identity.agents.config.password = hunter2\n\
                com.sun.identity.agents.config.key = hunter2\n\
                com.forgerock.agents.config.cert.key.password = hunter2\n";
    let (config, problems) = read(&file(text), None);
    assert!(!problems.is_empty());
    assert!(!format!("{problems:?}{config:?}").contains("hunter2"));
}

#[test]
fn exemptions_in_all_forms() {
    let n = format!("{P}.notenforced.url");
    let (config, problems) = read(
        &minimal(&format!(
            "{n}[0] = /a/* /b/*\n{n}[GET,1] = /c\n{n}[2,post] = /d\n{n} = /e\n{n}[]=\n{n}[7]=\n"
        )),
        None,
    );
    assert_eq!(problems, []);
    let found: Vec<(&str, Methods)> = config
        .notenforced_url
        .iter()
        .map(|rule| (rule.value.as_str(), rule.methods))
        .collect();
    let (get, post) = (Methods::of_request(b"GET"), Methods::of_request(b"POST"));
    assert_eq!(
        found,
        [
            ("/a/*", Methods::ALL),
            ("/b/*", Methods::ALL),
            ("/c", get),
            ("/d", post),
            ("/e", Methods::ALL),
        ]
    );
    let id = |at| RuleId {
        list: RuleList::Url,
        at,
    };
    assert_eq!(config.rule(id(1)), format!("{n}[0]=/b/*"));
    assert_eq!(config.rule(id(2)), format!("{n}[GET,1]=/c"));
    assert_eq!(config.rule(id(4)), format!("{n}=/e"));
}

/// The mistakes of a local configuration, those of its rules included, in the order of their lines.
fn mistakes_of(text: &str) -> Vec<Problem> {
    let files = minimal(&format!("{text}{P}.fqdn.default = www.example.com\n"));
    let (config, mut problems) = read(&files, None);
    problems.extend(crate::config::mistakes(&config, &files, &problems));
    problems.retain(|p| p.severity == Severity::Error);
    problems.sort_by_key(|p| p.line);
    problems
}

#[test]
fn every_rule_that_is_none_is_named_with_its_line() {
    let text = format!(
        "{P}.notenforced.url[0] = *
{P}.notenforced.url[1] = /good/* images/*
{P}.notenforced.url[PATCH,POTS] = /x
portcullis.notenforced.rule[0] = url=nonsense
portcullis.notenforced.rule[1] = ulr=/x
portcullis.notenforced.rule[2] = cookie.a;b=secret
portcullis.notenforced.rule[3] = url=/x NOT
portcullis.deny.rule[0] = /x
{P}.notenforced.ip[0] = 192.0.2.1 192.0.2.0/33
org.forgerock.agents.config.notenforced.ipurl[0] = 192.0.2.1
org.forgerock.agents.config.notenforced.ipurl[1] = 192.0.2.9-192.0.2.1|/x
"
    );
    let problems = mistakes_of(&text);
    let texts = texts(&problems);
    assert_eq!(errors(&problems).len(), 11, "{texts:#?}");
    for (text, (line, word)) in texts.iter().zip((4..).zip([
        "wildcard alone",
        "neither a scheme",
        "POTS",
        "neither a scheme",
        "ulr=",
        "cookie.a;b=",
        "is no condition",
        "url=PATTERN",
        "no valid length",
        "no addresses or no URLs",
        "does not go from",
    ])) {
        assert!(
            text.contains(&format!("line {line}:")) && text.contains(word),
            "{text}"
        );
        assert!(!text.contains("secret"), "{text}");
    }
    let regex = format!(
        "com.forgerock.agents.notenforced.url.regex.enable = true
{P}.notenforced.url[0] = /a(?!b)
{P}.notenforced.url[1] = /a.*
{P}.notenforced.url[2] = (a)\\1
org.forgerock.agents.config.notenforced.ext.regex.enable = true
{P}.notenforced.ip[0] = 192\\.0\\.2\\.(1
org.forgerock.agents.config.notenforced.ipurl[0] = 192\\.0\\.2\\.(1|2)|/a /b(
"
    );
    let problems = mistakes_of(&regex);
    let texts: Vec<String> = problems.iter().map(ToString::to_string).collect();
    assert_eq!(texts.len(), 4, "{texts:#?}");
    for (text, (line, word)) in texts.iter().zip([
        (5, "look-around"),
        (7, "backreferences"),
        (9, "unclosed"),
        (10, "/b("),
    ]) {
        assert!(
            text.contains(&format!("line {line}:")) && text.contains(word),
            "{text}"
        );
        assert!(text.contains("; write it without look-around"), "{text}");
    }
}

#[test]
fn rules_that_open_or_close_more_than_expected_are_remarked_on() {
    let warned = |text: &str| {
        let (_, problems) = read(&minimal(text), None);
        assert!(
            problems.iter().all(|p| p.severity == Severity::Warning),
            "{:?}",
            texts(&problems)
        );
        problems.len()
    };
    let url = format!("{P}.notenforced.url");
    let regex = "com.forgerock.agents.notenforced.url.regex.enable = true\n";
    assert_eq!(warned(&format!("{regex}{url}[0] = ^.*$\n")), 1);
    assert_eq!(warned(&format!("{url}.invert = true\n{url}[0] = /*\n")), 0);
    assert_eq!(
        warned(&format!("{url}.invert = true\n{url}[GET,0] = /a/*\n")),
        1
    );
    assert_eq!(warned(&format!("{url}.invert = true\n")), 1);
    let everybody = format!("{P}.notenforced.ip[0] = ::/0 192.0.2.1\n");
    assert_eq!(warned(&everybody), 1);
    for (rule, expected) in [
        ("url=/a/*", 0),
        ("url=/*", 1),
        ("NOT url=/a/*", 1),
        ("header.X-Probe=yes", 1),
        ("url=/a/* NOT url=/a/b/* cookie.beta=1", 0),
        ("ip=192.0.2.0/24", 0),
        ("NOT ip=192.0.2.0/24", 1),
    ] {
        assert_eq!(
            warned(&format!("portcullis.notenforced.rule[0] = {rule}\n")),
            expected,
            "{rule}"
        );
        assert_eq!(
            warned(&format!("portcullis.deny.rule[0] = {rule}\n")),
            0,
            "{rule}"
        );
    }
}

#[test]
fn wide_patterns_are_remarked_on() {
    let text = format!("{P}.notenforced.url[0] = *\n{P}.agent.logout.url[0] = http://a:80/*\n");
    let (_, problems) = read(&minimal(&text), None);
    assert_eq!(problems.len(), 2);
    assert!(problems.iter().all(|p| p.severity == Severity::Warning));
}

#[test]
fn lists_and_maps_in_all_index_forms() {
    let (config, problems) = read(
        &minimal(&format!(
            "{P}.login.url[10] = https://am/l10\n{P}.login.url[2] = https://am/l2\n\
             com.forgerock.agents.config.hostmap = a|192.0.2.1,b|2001:db8::1\n\
             {P}.session.attribute.fetch.mode = http_header\n\
             {P}.session.attribute.mapping[UserToken] = X-User| X-Name\n\
             {P}.fqdn.mapping[Old.example.com] = WWW.example.com\n\
             {P}.fqdn.mapping[any] = *.example.com\n\
             {P}.cdsso.cookie.domain[0] = .Example.com\n"
        )),
        None,
    );
    assert_eq!(problems, []);
    assert_eq!(config.login_url, ["https://am/l2", "https://am/l10"]);
    let pair = |a: &str, b: &str| (a.to_string(), b.to_string());
    assert_eq!(
        config.hostmap,
        [pair("a", "192.0.2.1"), pair("b", "2001:db8::1")]
    );
    let names = vec!["X-User".to_string(), "X-Name".to_string()];
    assert_eq!(
        config.session_attributes.map,
        [("UserToken".to_string(), names)]
    );
    assert_eq!(
        config.fqdn_mapping,
        [
            pair("old.example.com", "www.example.com"),
            pair("any", "*.example.com")
        ]
    );
    assert_eq!(config.cookie_domain, [".example.com"]);
}

#[test]
fn the_last_line_of_a_scalar_wins() {
    let text = format!("{P}.sso.only = true\n{P}.sso.only = off\n{P}.sso.only =\n");
    let (config, problems) = read(&minimal(&text), None);
    assert!(!config.sso_only && problems.is_empty());
}

#[test]
fn an_empty_cookie_name_means_ask_am() {
    let (config, _) = read(&minimal(&format!("{P}.cookie.name =\n")), None);
    assert_eq!(config.cookie_name, "");
    let (config, _) = read(&minimal(""), None);
    assert_eq!(config.cookie_name, "iPlanetDirectoryPro");
}

#[test]
fn unverified_tls_is_honoured_with_a_warning() {
    let (config, problems) = read(&minimal(""), None);
    assert!(!config.trust_server_certs && problems.is_empty());
    let (config, problems) = read(&minimal(&format!("{P}.trust.server.certs = true\n")), None);
    assert!(config.trust_server_certs);
    assert_eq!(problems.len(), 1);
    assert_eq!(problems[0].severity, Severity::Warning);
}

#[test]
fn what_concerns_others_is_said() {
    let (_, problems) = read(
        &minimal(&format!(
            "{P}.postcache.entry.lifetime = 10\n\
             {P}.iis.logonuser = true\n\
             {P}.client.ip.validation.enable = false\n"
        )),
        None,
    );
    let texts = texts(&problems);
    assert_eq!(texts.len(), 1, "{texts:#?}");
    assert!(texts[0].contains("line 5") && texts[0].contains("concerns IIS only"));
    assert_eq!(errors(&problems), Vec::<String>::new());
}

#[test]
fn what_cannot_be_a_cookie_is_refused() {
    let mode = format!(
        "{P}.profile.attribute.fetch.mode = http_cookie\n{P}.fqdn.default = a.example.com\n"
    );
    let map = |name: &str| format!("{P}.profile.attribute.mapping[a] = {name}\n");
    let wrong = |lines: &str| -> Vec<String> {
        let files = minimal(&format!("{mode}{lines}"));
        let (config, problems) = read(&files, None);
        assert_eq!(errors(&problems), Vec::<String>::new(), "{lines}");
        let found = crate::config::mistakes(&config, &files, &problems);
        found.into_iter().map(|p| p.property).collect()
    };
    assert_eq!(wrong(&map("mail")), Vec::<String>::new());
    let mapping = format!("{P}.profile.attribute.mapping");
    for (prefix, name) in [
        ("am-auth-", "jwt"),
        ("agent-", "authn-tx"),
        ("iPlanet", "DirectoryPro"),
    ] {
        let lines = format!(
            "{P}.profile.attribute.cookie.prefix = {prefix}\n{}",
            map(name)
        );
        assert_eq!(
            wrong(&lines),
            std::slice::from_ref(&mapping),
            "{prefix}{name}"
        );
    }
    let twice = format!("{}{P}.profile.attribute.mapping[b] = mail\n", map("mail"));
    assert_eq!(wrong(&twice), [mapping]);
    let separator = format!("{P}.attribute.multi.value.separator");
    for text in [",", ";", "%", "\""] {
        let lines = format!("{}{separator} = {text}\n", map("mail"));
        assert_eq!(wrong(&lines), std::slice::from_ref(&separator), "{text}");
    }
}

#[test]
fn unknown_names_come_in_one_line_with_what_was_meant() {
    let text = format!("{P}.sso.onyl = true\nfoo = bar\n{P}.SSO.ONLY = true\nfoo = baz\n");
    let (config, problems) = read(&minimal(&text), None);
    assert!(!config.sso_only);
    assert_eq!(problems.len(), 1);
    let text = problems[0].to_string();
    assert!(
        text.contains(&format!("{P}.sso.onyl (line 4), meant {P}.sso.only?")),
        "{text}"
    );
    assert!(
        text.contains("foo (line 5)") && !text.contains("foo (line 7)"),
        "{text}"
    );
}

#[test]
fn lines_that_are_no_properties_are_named() {
    let (_, problems) = read(&minimal("what is this\n"), None);
    assert_eq!(problems.len(), 1);
    assert_eq!(
        (problems[0].line, problems[0].severity),
        (Some(4), Severity::Warning)
    );
}

#[test]
fn combinations_are_checked() {
    let names =
        format!("{P}.cookie.name = same\norg.forgerock.openam.agents.config.jwt.name = same\n");
    assert_eq!(errors(&read(&minimal(&names), None).1).len(), 1);
    let custom = "org.forgerock.openam.agents.config.allow.custom.login = 2\n";
    assert_eq!(errors(&read(&minimal(custom), None).1).len(), 1);
    let both = format!("{custom}com.forgerock.agents.accept.ipdp.cookie = 1\n");
    assert_eq!(errors(&read(&minimal(&both), None).1).len(), 0);
}

// --- precedence

/// A centralized file that also says something about run-time properties.
fn centralized() -> Properties {
    file(&format!(
        "{P}.username = wa1\n{P}.naming.url = https://am.example.com/am\n\
         {P}.sso.only = true\n{P}.debug.level = warning\n{P}.connect.timeout = 9\n\
         org.forgerock.openam.agents.config.policy.evaluation.realm = /file\n\
         portcullis.am.deadline = 900\n"
    ))
}

#[test]
fn the_profile_decides_what_is_not_bootstrap() {
    let sso = format!("{P}.sso.only");
    let userid = format!("{P}.userid.param.type");
    let timeout = format!("{P}.connect.timeout");
    let level = format!("{P}.debug.level");
    let profile = attributes(&[
        (&sso, &["false"]),
        (&userid, &["ldap"]),
        (&timeout, &["77"]),
        (&level, &["Debug"]),
        (
            "org.forgerock.openam.agents.config.policy.evaluation.realm",
            &["/profile"],
        ),
    ]);
    let (config, problems) = read(&centralized(), Some(&profile));
    assert!(!config.sso_only);
    assert_eq!(config.userid_type, UserIdType::Ldap);
    assert_eq!(config.connect_timeout, 9, "bootstrap comes from the file");
    assert_eq!(
        config.debug_level,
        Level::Debug,
        "the profile replaces the file's level"
    );
    assert_eq!(
        config.policy_realm, "/file",
        "the file's realm wins where it names one"
    );
    assert_eq!(config.am_deadline, 900, "ours count in the file");
    let texts = texts(&problems);
    assert_eq!(texts.len(), 1, "{texts:#?}");
    assert!(texts[0].contains(&sso) && texts[0].contains("profile in AM decides it"));
}

#[test]
fn without_a_profile_the_file_is_all_there_is() {
    let (config, problems) = read(&centralized(), None);
    assert!(config.sso_only && problems.is_empty());
}

#[test]
fn local_mode_does_not_listen_to_am() {
    let profile = attributes(&[("com.sun.identity.agents.config.sso.only", &["true"])]);
    let (config, problems) = read(&minimal(""), Some(&profile));
    assert!(!config.sso_only && problems.is_empty());
}

#[test]
fn a_custom_property_beats_the_attribute() {
    let list = format!("{P}.notenforced.url");
    let free = format!("{P}.freeformproperties");
    let custom = format!("{list}[0]=/custom/*");
    let boot = format!("{P}.connect.timeout=77");
    let profile = attributes(&[
        (&list, &["[0]=/one/*", "[1]=/two/*"]),
        (&free, &[&custom, &boot]),
    ]);
    let base = file(&format!(
        "{P}.username = wa1\n{P}.naming.url = https://am.example.com/am\n"
    ));
    let (config, problems) = read(&base, Some(&profile));
    assert_eq!(config.notenforced_url.len(), 1);
    assert_eq!(config.notenforced_url[0].value, "/custom/*");
    assert_eq!(config.connect_timeout, 4);
    assert_eq!(problems.len(), 1);
    assert!(
        problems[0]
            .to_string()
            .starts_with("custom property in AM: com.sun.")
    );
}

#[test]
fn the_profile_of_a_real_openam_is_understood() {
    let text = include_str!("../../tests/data/profile-openam-16.json");
    let json: serde_json::Map<String, serde_json::Value> = serde_json::from_str(text).unwrap();
    let values = |v: &serde_json::Value| match v {
        serde_json::Value::Array(all) => all
            .iter()
            .filter_map(|s| s.as_str())
            .map(ToString::to_string)
            .collect(),
        one => one
            .as_str()
            .map(ToString::to_string)
            .into_iter()
            .collect::<Vec<_>>(),
    };
    let pairs: Vec<_> = json.iter().map(|(n, v)| (n.clone(), values(v))).collect();
    let base = file(&format!(
        "{P}.username = wa1\n{P}.naming.url = https://am.example.com:8443/openam\n"
    ));
    let (config, problems) = read(&base, Some(&Properties::from_profile(&pairs)));
    assert_eq!(
        texts(&problems),
        Vec::<String>::new(),
        "nothing in it is news"
    );
    let expected = Config {
        username: "wa1".to_string(),
        naming_url: vec!["https://am.example.com:8443/openam/".to_string()],
        login_url: vec!["https://am.example.com:8443/openam/UI/Login".to_string()],
        cdcservlet_url: vec!["https://am.example.com:8443/openam/cdcservlet".to_string()],
        logout_url: vec!["https://am.example.com:8443/openam/UI/Logout".to_string()],
        root_urls: vec!["http://www.example.com:80/".to_string()],
        agenturi_prefix: Some("http://www.example.com:80/amagent/".to_string()),
        fqdn_default: Some("www.example.com".to_string()),
        audit_to: AuditTo::Remote,
        debug_file_size: 10_000_000,
        ..Config::default()
    };
    assert_eq!(config, expected);
}

/// Custom values stand where the profile stands: before its fields, behind a file that comes first.
#[test]
fn each_source_speaks_where_its_row_says() {
    const REALM: &str = "org.forgerock.openam.agents.config.policy.evaluation.realm";
    let level = format!("{P}.debug.level");
    let custom = [
        format!("{level}=debug"),
        format!("{REALM}=/custom"),
        format!("{P}.username=custom"),
        format!("{P}.login.url[1]=https://am/second"),
        format!("{P}.login.url[0]=https://am/first"),
    ];
    let custom: Vec<&str> = custom.iter().map(String::as_str).collect();
    let login = format!("{P}.login.url");
    let profile = attributes(&[
        (&level, &["info"]),
        (REALM, &["/field"]),
        (&login, &["[0]=https://am/field"]),
        ("com.sun.identity.agents.config.freeformproperties", &custom),
    ]);
    let with = |more: &str| {
        let files = file(&format!(
            "{P}.username = wa1\n{P}.naming.url = https://am.example.com/am\n{more}"
        ));
        read(&files, Some(&profile))
    };
    let (config, problems) = with(&format!("{level} = error\n"));
    assert_eq!(config.debug_level, Level::Debug, "custom, field, file");
    assert_eq!(config.policy_realm, "/custom", "the file says nothing");
    assert_eq!(config.username, "wa1", "needed before AM can be asked");
    assert_eq!(config.login_url, ["https://am/first", "https://am/second"]);
    let texts = texts(&problems);
    assert_eq!(texts.len(), 1, "{texts:#?}");
    assert!(texts[0].contains("custom property in AM") && texts[0].contains("username"));
    let (config, _) = with(&format!("{REALM} = /file\n"));
    assert_eq!(config.policy_realm, "/file", "file, custom, field");
}

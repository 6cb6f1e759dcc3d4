//! What is broken on purpose is found by the check concerned and by no other; its remedy names the property or
//! the place.

// What can't be had fails the test that wanted it.
#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used)]

mod tls;
mod world;

use std::{
    fs::{self, Permissions},
    os::unix::fs::PermissionsExt,
    time::Duration,
};

use am_simulator::{Damage, Fault};
use serde_json::{Value, json};
use tls::Authority;
use tokio_rustls::rustls::version::TLS12;
use world::{F, Fate, P, PASSWORD, World, tool};

/// One thing that is broken.
struct Case {
    name: &'static str,
    /// The checks that are not ok.
    fails: &'static [&'static str],
    /// What evidence and remedy of the first of them say.
    says: &'static [&'static str],
    breaks: fn(&mut World),
}

fn case(
    name: &'static str,
    fails: &'static [&'static str],
    says: &'static [&'static str],
    breaks: fn(&mut World),
) -> Case {
    Case {
        name,
        fails,
        says,
        breaks,
    }
}

fn set(world: &mut World, name: &str, value: &str) {
    world.set(&format!("{P}.{name}"), value);
}

/// A proxy that answers requests for a WebSocket so, and passes everything else on.
fn answers_upgrades(world: &mut World, answer: &'static str) {
    world.front(None, move |head| match head.contains("/notifications ") {
        true => Fate::Answer(answer),
        false => Fate::Pass(head),
    });
}

/// AM behind TLS, with a CA file that says whom to believe.
fn behind_tls(world: &mut World, name: &str, old: bool, trusted: bool) {
    let authority = Authority::new();
    let believed = if trusted {
        authority.pem()
    } else {
        Authority::new().pem()
    };
    let file = world.folder.path().join("config/ca.pem");
    fs::write(&file, believed).unwrap();
    world.set(&format!("{F}.cert.ca.file"), &file.to_string_lossy());
    world.front(Some(authority.server(name, old, None)), Fate::Pass);
}

fn files_and_configuration() -> Vec<Case> {
    vec![
        case("nothing", &[], &[], |_| {}),
        case(
            "a key that others can read",
            &["files"],
            &["agent-key.conf", "chmod 600"],
            |w| {
                w.spoil = Some(|root| {
                    let key = root.join("config/agent-key.conf");
                    fs::set_permissions(key, Permissions::from_mode(0o644)).unwrap();
                });
            },
        ),
        case(
            "a key that is not there",
            &["files"],
            &["agent-key.conf", "No such file"],
            |w| {
                w.spoil = Some(|root| fs::remove_file(root.join("config/agent-key.conf")).unwrap());
            },
        ),
        case(
            "an agent.conf that everybody can write",
            &["files"],
            &["agent.conf", "chmod 6"],
            |w| {
                w.spoil = Some(|root| {
                    let conf = root.join("config/agent.conf");
                    fs::set_permissions(conf, Permissions::from_mode(0o666)).unwrap();
                });
            },
        ),
        case(
            "another key",
            &["secrets"],
            &["config.password", "agentadmin --p"],
            |w| {
                w.spoil = Some(|root| {
                    let output = tool().arg("--k").output().unwrap();
                    let text = String::from_utf8_lossy(&output.stdout).into_owned();
                    let key = text.split_whitespace().last().unwrap();
                    world::secret(
                        &root.join("config/agent-key.conf"),
                        &format!("{P}.key = {key}\n"),
                    );
                });
            },
        ),
        case(
            "a number that is none",
            &["configuration"],
            &["agent.conf line", "connect.timeout"],
            |w| {
                set(w, "connect.timeout", "soon");
            },
        ),
        case(
            "no naming.url",
            &["configuration"],
            &["naming.url", "missing"],
            |w| {
                w.unset(&format!("{P}.naming.url"));
            },
        ),
        case(
            "a weak password",
            &["password"],
            &["fewer than", "32 characters"],
            |w| {
                w.password = "short-pW7".into();
                w.profile(&json!({"userpassword": ["short-pW7"]}));
            },
        ),
        case(
            "a folder for logs that is not there",
            &["folders"],
            &["logs/gone"],
            |w| {
                let file = w.folder.path().join("logs/gone/debug.log");
                set(w, "local.logfile", &file.to_string_lossy());
            },
        ),
        case(
            "a folder for kept POSTs that others can read",
            &["folders"],
            &["pdp-cache", "chmod 700"],
            |w| {
                set(w, "postdata.preserve.enable", "true");
                w.spoil = Some(|root| {
                    fs::set_permissions(root.join("pdp-cache"), Permissions::from_mode(0o755))
                        .unwrap();
                });
                set(w, "repository.location", "local");
                w.more = format!(
                    "{P}.fqdn.default = www.test.example.org\n{P}.cdsso.redirect.uri = agent/cdsso-oauth2\n{P}.agenturi.prefix = http://www.test.example.org:80/amagent\n"
                );
            },
        ),
    ]
}

fn the_way_to_am() -> Vec<Case> {
    vec![
        case("AM behind TLS", &[], &[], |w| {
            behind_tls(w, "am.test.example.org", false, true)
        }),
        case(
            "a name that nobody knows",
            &["dns"],
            &["am.invalid", "hostmap"],
            |w| {
                set(w, "naming.url", "http://am.invalid:8080/openam/");
            },
        ),
        case(
            "a port where nobody listens",
            &["tcp"],
            &["refused", "naming.url"],
            |w| {
                set(w, "naming.url", "http://am.test.example.org:1/openam/");
            },
        ),
        case(
            "an expired certificate",
            &["tls"],
            &["xpired", "renew", "2020"],
            |w| {
                behind_tls(w, "am.test.example.org", true, true);
            },
        ),
        case(
            "an unknown authority",
            &["tls"],
            &["cert.ca.file", "signed by"],
            |w| {
                behind_tls(w, "am.test.example.org", false, false);
            },
        ),
        case(
            "a certificate for another name",
            &["tls"],
            &["other.example.org", "naming.url"],
            |w| {
                behind_tls(w, "other.example.org", false, true);
            },
        ),
        case(
            "no common version of TLS",
            &["tls"],
            &["org.forgerock.agents.config.tls"],
            |w| {
                let authority = Authority::new();
                let file = w.folder.path().join("config/ca.pem");
                fs::write(&file, authority.pem()).unwrap();
                w.set(&format!("{F}.cert.ca.file"), &file.to_string_lossy());
                w.set("org.forgerock.agents.config.tls", "-TLSv1.2");
                let server = authority.server("am.test.example.org", false, Some(&TLS12));
                w.front(Some(server), Fate::Pass);
            },
        ),
        case(
            "https where plain http is spoken",
            &["tls"],
            &["naming.url"],
            |w| {
                let port = w.am.address().port();
                set(
                    w,
                    "naming.url",
                    &format!("https://am.test.example.org:{port}/openam/"),
                );
            },
        ),
        case(
            "a CA file that is not there",
            &["tls.settings"],
            &["cert.ca.file"],
            |w| {
                behind_tls(w, "am.test.example.org", false, true);
                w.set(&format!("{F}.cert.ca.file"), "/nonexistent/ca.pem");
            },
        ),
        case(
            "every certificate is believed",
            &["tls.trust"],
            &["trust.server.certs"],
            |w| {
                behind_tls(w, "am.test.example.org", true, true);
                set(w, "trust.server.certs", "true");
            },
        ),
        case(
            "a forward proxy that is not there",
            &["proxy"],
            &["forward.proxy.port"],
            |w| {
                set(w, "forward.proxy.host", "127.0.0.1");
                set(w, "forward.proxy.port", "1");
            },
        ),
        case(
            "a forward proxy that wants a password",
            &["proxy"],
            &["forward.proxy.user"],
            |w| {
                let url = format!("{}/", w.am.base_url());
                let address = w.front(None, |_| {
                Fate::Answer("HTTP/1.1 407 Proxy Authentication Required\r\nProxy-Authenticate: Basic realm=x\r\nContent-Length: 0\r\n\r\n")
            });
                set(w, "naming.url", &url);
                set(w, "forward.proxy.host", "127.0.0.1");
                set(w, "forward.proxy.port", &address.port().to_string());
            },
        ),
        case(
            "another deployment path",
            &["am"],
            &["HTTP 404", "deployment path"],
            |w| {
                let url = w.am.base_url().replace("/openam", "/am");
                set(w, "naming.url", &format!("{url}/"));
            },
        ),
        case(
            "a name that is not AM's own",
            &["am"],
            &["HTTP 400", "FQDN", "naming.url"],
            |w| {
                let port = w.am.address().port();
                set(w, "naming.url", &format!("http://127.0.0.1:{port}/openam/"));
            },
        ),
        case(
            "AM is broken",
            &["am"],
            &["HTTP 503", "AM's own log"],
            |w| {
                w.am.add_fault(Fault::on("/json", Damage::Status { status: 503 }));
            },
        ),
        case(
            "AM does not answer",
            &["am"],
            &["deadline", "receive.timeout"],
            |w| {
                w.am.add_fault(Fault::on("/json", Damage::Hang));
                w.variables.push(("AM_NET_TIMEOUT".into(), "1".into()));
            },
        ),
        case(
            "a page that is not AM's",
            &["am"],
            &["HTTP 200", "naming.url"],
            |w| {
                w.front(None, |_| {
                    Fate::Answer("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi")
                });
            },
        ),
        case("a redirect", &["am"], &["HTTP 302", "naming.url"], |w| {
            w.front(None, |_| {
                Fate::Answer("HTTP/1.1 302 Found\r\nLocation: https://login.example.org/\r\nContent-Length: 0\r\n\r\n")
            });
        }),
        case(
            "a clock that is ten minutes off",
            &["clock"],
            &["600 s behind", "NTP"],
            |w| {
                w.am.advance(Duration::from_secs(600));
            },
        ),
    ]
}

fn the_agent_at_am() -> Vec<Case> {
    vec![
        case(
            "another cookie name",
            &["cookie.name"],
            &["iPlanetDirectoryPro", "cookie.name", "HTTP 401"],
            |w| {
                set(w, "cookie.name", "exampleCookie");
            },
        ),
        case(
            "a realm that is not there",
            &["realm"],
            &["/none", "organization.name"],
            |w| {
                set(w, "organization.name", "/none");
            },
        ),
        case(
            "a realm without the profile",
            &["login"],
            &["HTTP 401", "organization.name"],
            |w| {
                set(w, "organization.name", "/shop");
            },
        ),
        case(
            "a wrong password",
            &["login"],
            &["Authentication Failed", "agent-password.conf"],
            |w| {
                w.profile(&json!({"userpassword": ["another-pW7-longenough"]}));
            },
        ),
        case(
            "an unknown profile",
            &["login"],
            &["wa9", "config.username"],
            |w| {
                set(w, "username", "wa9");
            },
        ),
        case(
            "an agent that is not active",
            &["login"],
            &["Active"],
            |w| {
                w.profile(&json!({"sunIdentityServerDeviceStatus": ["Inactive"]}));
            },
        ),
        case(
            "an AM that knows trees only",
            &["login"],
            &["portcullis.am.dialect"],
            |w| {
                w.set("portcullis.am.dialect", "pingam");
                w.set(&format!("{F}.agent.auth.mode"), "1");
            },
        ),
        case(
            "a profile that makes no configuration",
            &["configuration.in.force"],
            &["fqdn.default"],
            |w| {
                w.profile(&json!({"com.sun.identity.agents.config.fqdn.default": ["www example"]}));
            },
        ),
        case(
            "a policy realm that is not there",
            &["policy.realm"],
            &["/none", "policy.evaluation.realm"],
            |w| {
                w.set(
                    "org.forgerock.openam.agents.config.policy.evaluation.realm",
                    "/none",
                );
            },
        ),
        case(
            "a policy set that is not there",
            &["policy.set"],
            &["noSuchSet", "policy.evaluation.application"],
            |w| {
                w.set(
                    "org.forgerock.openam.agents.config.policy.evaluation.application",
                    "noSuchSet",
                );
            },
        ),
        case(
            "a user with a wrong password",
            &["session"],
            &["demo1"],
            |w| user(w, "wrong-pW7"),
        ),
        case("a user who is right", &[], &[], |w| user(w, "changeit8")),
    ]
}

fn user(world: &mut World, password: &str) {
    let file = world.folder.path().join("user.password");
    world::secret(&file, password);
    let file = file.to_string_lossy().into_owned();
    world.options.extend([
        "--user".into(),
        "demo1".into(),
        "--password-file".into(),
        file,
    ]);
}

fn websockets() -> Vec<Case> {
    vec![
        case(
            "a proxy that strips Upgrade",
            &["websocket"],
            &["HTTP 404", "AM's filter was reached", "mod_proxy_wstunnel"],
            |w| {
                w.front(None, |head| {
                    let kept = head
                        .split("\r\n")
                        .filter(|line| !line.to_ascii_lowercase().starts_with("upgrade:"));
                    Fate::Pass(kept.collect::<Vec<_>>().join("\r\n"))
                });
            },
        ),
        case(
            "a proxy that does not know notifications",
            &["websocket"],
            &["HTTP 404", "does not reach AM"],
            |w| {
                answers_upgrades(w, "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n");
            },
        ),
        case(
            "a proxy that is too old",
            &["websocket"],
            &["HTTP 426", "HTTP/1.1"],
            |w| {
                answers_upgrades(
                    w,
                    "HTTP/1.1 426 Upgrade Required\r\nContent-Length: 0\r\n\r\n",
                );
            },
        ),
        case(
            "a proxy that does not get through",
            &["websocket"],
            &["HTTP 502", "the proxy before AM"],
            |w| {
                answers_upgrades(w, "HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\n\r\n");
            },
        ),
        case(
            "a page in place of a WebSocket",
            &["websocket"],
            &["HTTP 200", "naming.url"],
            |w| {
                answers_upgrades(w, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi");
            },
        ),
        case(
            "a proxy that forbids it",
            &["websocket"],
            &["HTTP 403", "the proxy's rules"],
            |w| {
                answers_upgrades(w, "HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n");
            },
        ),
        case(
            "a proxy that drops the token",
            &["websocket"],
            &["HTTP 401", "drops the header"],
            |w| {
                w.front(None, |head| {
                    let kept = head.split("\r\n").filter(|line| {
                        !(head.contains("/notifications ")
                            && line
                                .to_ascii_lowercase()
                                .starts_with("iplanetdirectorypro:"))
                    });
                    Fate::Pass(kept.collect::<Vec<_>>().join("\r\n"))
                });
            },
        ),
        case(
            "101 from somebody else",
            &["websocket"],
            &["without the proof", "Sec-WebSocket-Accept"],
            |w| {
                answers_upgrades(
                    w,
                    "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: x\r\n\r\n",
                );
            },
        ),
        case(
            "no answer to a WebSocket",
            &["websocket"],
            &["no answer in time", "receive.timeout"],
            |w| {
                w.front(None, |head| match head.contains("/notifications ") {
                    true => Fate::Hang,
                    false => Fate::Pass(head),
                });
                w.variables.push(("AM_NET_TIMEOUT".into(), "1".into()));
            },
        ),
    ]
}

fn what_is_let_through() -> Vec<Case> {
    vec![
        case(
            "report mode",
            &["mode"],
            &["reported", "portcullis.mode"],
            |w| {
                w.set("portcullis.mode", "report");
                w.set("portcullis.mode.until", "2099-01-01T00:00:00Z");
            },
        ),
        case(
            "an exemption for everything",
            &["exemptions"],
            &["notenforced.url"],
            |w| {
                w.profile(&json!({"com.sun.identity.agents.config.notenforced.url": ["[0]=/*"]}));
            },
        ),
        case(
            "an inverted list without a page",
            &["exemptions"],
            &["notenforced.url"],
            |w| {
                w.profile(
                    &json!({"com.sun.identity.agents.config.notenforced.url.invert": ["true"]}),
                );
            },
        ),
        case(
            "secure cookies on http",
            &["urls"],
            &["cookie.secure"],
            |w| {
                w.profile(&json!({"com.sun.identity.agents.config.cookie.secure": ["true"]}));
            },
        ),
        case(
            "a cookie domain of somebody else",
            &["urls"],
            &["cookie.domain"],
            |w| {
                w.profile(&json!({"com.sun.identity.agents.config.cdsso.cookie.domain": ["[0]=example.net"]}));
            },
        ),
        case(
            "another key than the farm's",
            &["farm.key"],
            &["agent-key.conf"],
            |w| {
                w.options
                    .extend(["--key".into(), "0123456789abcdef".into()]);
            },
        ),
        case(
            "a size of shared memory that is none",
            &["memory"],
            &["AM_MAX_SESSION_CACHE_SIZE"],
            |w| {
                w.variables
                    .push(("AM_MAX_SESSION_CACHE_SIZE".into(), "much".into()));
            },
        ),
    ]
}

/// What a case gets wrong, if anything.
fn trouble(case: &Case) -> Option<String> {
    let mut world = World::new();
    (case.breaks)(&mut world);
    world.write();
    let (code, report, said) = world.doctor();
    let checks = report["checks"].as_array().cloned().unwrap_or_default();
    let failed: Vec<&Value> = checks.iter().filter(|c| c["verdict"] == "not ok").collect();
    let names: Vec<&str> = failed.iter().filter_map(|c| c["id"].as_str()).collect();
    let wanted = if case.fails.is_empty() { 0 } else { 3 };
    if names != case.fails || code != Some(wanted) {
        return Some(format!(
            "{}: {names:?}, exit code {code:?}\n{said}",
            case.name
        ));
    }
    if checks.is_empty() || said.contains(PASSWORD) || said.contains(&world.password) {
        return Some(format!("{}: {said}", case.name));
    }
    let Some(first) = failed.first() else {
        // Nothing that could be asked was left out, but for what is not there.
        return None;
    };
    let text = format!("{} {}", first["evidence"], first["remedy"]);
    let missing: Vec<&&str> = case.says.iter().filter(|w| !text.contains(**w)).collect();
    let sessions = world.am.sockets();
    if !missing.is_empty() || first["remedy"].as_str().is_none_or(str::is_empty) || sessions != 0 {
        return Some(format!("{}: {missing:?} in {text}", case.name));
    }
    println!("{}: {names:?}: {text}", case.name);
    None
}

fn all_are_found(cases: Vec<Case>) {
    let wrong: Vec<String> = cases.iter().filter_map(trouble).collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
}

#[test]
fn broken_files_and_configurations_are_found() {
    all_are_found(files_and_configuration());
}

#[test]
fn what_is_between_here_and_am_is_found() {
    all_are_found(the_way_to_am());
}

#[test]
fn what_am_refuses_is_found() {
    all_are_found(the_agent_at_am());
}

#[test]
fn broken_websockets_are_found() {
    all_are_found(websockets());
}

#[test]
fn what_is_let_through_is_found() {
    all_are_found(what_is_let_through());
}

fn words(world: &World, arguments: &[&str], after: &[&str]) -> (Option<i32>, String) {
    let after: Vec<String> = after.iter().map(|a| (*a).to_owned()).collect();
    let output = world.run(arguments, &after);
    (
        output.status.code(),
        String::from_utf8_lossy(&output.stdout).into_owned(),
    )
}

#[test]
fn the_web_agents_lines_have_their_names_and_order() {
    let mut world = World::new();
    world.write();
    let file = world.folder.path().join("user.password");
    world::secret(&file, "changeit8");
    let (code, said) = words(&world, &["--V"], &["demo1", &file.to_string_lossy(), "/"]);
    assert_eq!(code, Some(0), "{said}");
    let url = format!("{}/", world.am.base_url());
    let mut rest = said.as_str();
    for line in [
        "Saving output to ",
        "Running configuration validation for ",
        "Agent instance is configured with 1 naming.url value(s):",
        &format!("1. {url} is valid"),
        &format!("selected {url} as naming.url value"),
        "validate_bootstrap_configuration: ok",
        "validate_ssl_libraries: ok",
        "validate_agent_login: ok",
        "validate_system_resources: ok",
        "validate_session_profile: ok",
        "validate_websocket_connection: ok",
        "Result: 6 out of 6 tests passed, 0 skipped.",
    ] {
        let at = rest.find(line).unwrap_or_else(|| panic!("{line}\n{said}"));
        rest = &rest[at + line.len()..];
    }
    let (code, said) = words(&world, &["--V"], &[]);
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("validate_session_profile: skipped"), "{said}");
    assert!(
        said.contains("Result: 5 out of 5 tests passed, 1 skipped."),
        "{said}"
    );
    world.set(&format!("{P}.cookie.name"), "exampleCookie");
    world.write();
    let (code, said) = words(&world, &["--V"], &[]);
    assert_eq!(code, Some(3), "{said}");
    let open = said
        .find("Agent websocket open error: forbidden (3)")
        .expect("the error");
    let line = said
        .find("validate_websocket_connection: not ok")
        .expect("the line");
    assert!(open < line, "{said}");
    assert!(
        said.contains("remedy: com.sun.identity.agents.config.cookie.name"),
        "{said}"
    );
}

#[test]
fn the_log_has_every_exchange_and_no_secret() {
    let mut world = World::new();
    user(&mut world, "changeit8");
    world.write();
    let (code, report, said) = world.doctor();
    assert_eq!(code, Some(0), "{said}");
    let log = report["log"].as_str().expect("a log");
    let mode = fs::metadata(log).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let text = fs::read_to_string(log).unwrap();
    for exchange in [
        "json/serverinfo/*",
        "authenticate",
        "/notifications",
        "http response 101",
        "cookieName",
    ] {
        assert!(text.contains(exchange), "{exchange}\n{text}");
    }
    for secret in [PASSWORD, "changeit8", "AQIC"] {
        assert!(
            !text.contains(secret) && !said.contains(secret),
            "{secret}\n{text}\n{said}"
        );
    }
    let curl = report["checks"]
        .as_array()
        .unwrap()
        .iter()
        .find(|c| c["id"] == "login")
        .unwrap()["curl"]
        .as_str()
        .expect("a command");
    assert!(
        curl.contains("X-OpenAM-Password: $PASSWORD")
            && curl.contains("authIndexValue=Application"),
        "{curl}"
    );
}

#[test]
fn a_worker_starts_and_ends() {
    let world = World::new();
    world.write();
    let (code, said) = words(&world, &["--Vi"], &[]);
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("validate_worker_init_shutdown: ok"), "{said}");
    assert!(
        said.contains("Result: 6 out of 6 tests passed, 1 skipped."),
        "{said}"
    );
    // Without the `i` no worker is started, and no line says so.
    let (code, said) = words(&world, &["--V"], &[]);
    assert_eq!(code, Some(0), "{said}");
    assert!(!said.contains("validate_worker"), "{said}");
}

#[test]
fn the_bundle_has_no_user_and_no_secret() {
    let mut world = World::new();
    user(&mut world, "wrong-pW7");
    let file = world.folder.path().join("bundle.json");
    let shown = file.to_string_lossy().into_owned();
    world.options.extend(["--bundle".into(), shown]);
    world.set("com.example.unknown", "unkn0wn-value");
    world.set(&format!("{P}.connect.timeout"), "7");
    world.write();
    let (code, _, said) = world.doctor();
    assert_eq!(code, Some(3), "{said}");
    let mode = fs::metadata(&file).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let text = fs::read_to_string(&file).unwrap();
    for secret in [PASSWORD, "wrong-pW7", "demo1", "unkn0wn-value"] {
        assert!(!text.contains(secret), "{secret}\n{text}");
    }
    let bundle: Value = serde_json::from_str(&text).unwrap();
    let properties = bundle["properties"].as_array().unwrap();
    let value = |name: &str| {
        let found = properties
            .iter()
            .find(|p| p["name"] == format!("{P}.{name}"));
        found.unwrap()["value"].clone()
    };
    assert_eq!(value("connect.timeout"), "7");
    for hidden in ["key", "password", "username"] {
        assert_eq!(value(hidden), "***", "{hidden}");
    }
    // An existing file is nobody's to overwrite.
    let (code, _, said) = world.doctor();
    assert_eq!(code, Some(1), "{said}");
}

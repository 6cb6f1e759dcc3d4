//! The way to AM: the next server when one is gone, the configured proxy and no other, the certificate
//! that the agent shows.

// What can't be had fails the test that wanted it.
#![allow(clippy::expect_used, clippy::panic)]

use std::{path::Path, process::Command};

use am_simulator::{Damage, Fault};
use portcullis_tests::{
    both_servers,
    front::{Certificates, Front, name_am, private},
    second::agentadmin,
    server::Kind,
    site::{AmServer, Builder, Site, site},
    wait_until, wait_within,
};

const NAME: &str = "am.test.example.org";

/// A site whose browsers go to AM itself, whatever way the agent takes.
fn with_am(kind: Kind) -> (Builder, std::net::SocketAddr, String) {
    let am = AmServer::simulated();
    let (address, url) = (am.simulator().address(), am.url());
    let builder = site(kind)
        .am(am)
        .profile("com.forgerock.agents.public.am.url", &[&url]);
    (builder, address, url)
}

fn context(url: &str) -> &str {
    url.rsplit_once('/').expect("path").1
}

/// Writes an encrypted password beside the agent's own.
fn set_password(site: &Site, property: &str, plain: &str) {
    let file = site.instance.join("plain");
    std::fs::write(&file, plain).expect("file");
    private(&file);
    let key = site.instance.join("config/agent-key.conf");
    let paths = [&key, &file].map(|p| p.to_string_lossy().into_owned());
    let output = agentadmin(site, &["--p", &paths[0], &paths[1]])
        .output()
        .expect("agentadmin");
    assert!(output.status.success(), "{output:?}");
    std::fs::remove_file(&file).expect("remove");
    let value = String::from_utf8(output.stdout).expect("text");
    let passwords = site.instance.join("config/agent-password.conf");
    let mut text = std::fs::read_to_string(&passwords).expect("passwords");
    text.push_str(&format!(
        "{property} = {}\n",
        value.rsplit(": ").next().expect("value").trim()
    ));
    std::fs::write(&passwords, text).expect("passwords");
}

/// Lets OpenSSL encrypt a key.
fn encrypt(key: &Path, phrase: &str) -> std::path::PathBuf {
    let sealed = key.with_extension("sealed");
    let output = Command::new("openssl")
        .args(["pkcs8", "-topk8", "-v2", "aes-256-cbc", "-passout"])
        .arg(format!("pass:{phrase}"))
        .arg("-in")
        .arg(key)
        .arg("-out")
        .arg(&sealed)
        .output()
        .expect("openssl");
    assert!(output.status.success(), "{output:?}");
    private(&sealed);
    sealed
}

both_servers! {
    fn the_next_am_serves_when_one_is_gone(kind: Kind) {
        let (builder, address, url) = with_am(kind);
        let path = context(&url);
        let (first, second) = (Front::door(address), Front::door(address));
        let urls = [&first, &second].map(|f| format!("http://{NAME}:{}/{path}", f.port()));
        let mut site = builder.prepare();
        name_am(&site, &urls.join(" "));
        site.server.start();
        let mut visitor = site.visitor();
        assert_eq!(visitor.log_in("/app/known").status, 200);
        assert!(first.passed() > 0);
        assert_eq!(second.passed(), 0, "the first serves while it can");
        drop(first);
        // One request may still have a connection that was open; none is refused.
        for n in 0..10 {
            assert_eq!(visitor.get(&format!("/app/page-{n}")).status, 200);
        }
        assert!(second.passed() > 0);
        assert_eq!(site.visitor().log_in("/app/other").status, 200);
        site.stop();
    }

    fn the_first_am_serves_again_when_it_is_back(kind: Kind) {
        let (builder, address, url) = with_am(kind);
        let path = context(&url);
        let (first, second) = (Front::door(address), Front::door(address));
        let urls = [&first, &second].map(|f| format!("http://{NAME}:{}/{path}", f.port()));
        // A minute is the shortest that can be said.
        let mut site = builder
            .profile("com.sun.identity.agents.config.poll.primary.server", &["1"])
            .prepare();
        name_am(&site, &urls.join(" "));
        site.server.start();
        let mut visitor = site.visitor();
        assert_eq!(visitor.log_in("/app/known").status, 200);
        let at = first.address();
        drop(first);
        for n in 0..20 {
            assert_eq!(visitor.get(&format!("/app/page-{n}")).status, 200);
        }
        assert!(second.passed() > 0);
        wait_until("a free port", || std::net::TcpListener::bind(at).is_ok());
        let first = Front::door_at(at, address);
        wait_within(std::time::Duration::from_secs(180), "the way back", || {
            site.debug_log().contains("PCL0701")
        });
        wait_until("the first in each worker", || {
            let before = second.passed();
            let all = (0..20).all(|n| visitor.get(&format!("/app/back-{n}-{before}")).status == 200);
            assert!(all, "nobody notices");
            first.passed() > 0
        });
        site.stop();
    }

    fn a_connection_that_breaks_once_is_no_outage(kind: Kind) {
        let site = site(kind).start();
        let mut visitor = site.visitor();
        assert_eq!(visitor.log_in("/app/known").status, 200);
        for n in 0..5 {
            let am = site.am.simulator();
            am.add_fault(Fault::on("/json/policies", Damage::Reset).times(1));
            assert_eq!(visitor.get(&format!("/app/page-{n}")).status, 200);
        }
        let log = site.debug_log();
        assert!(!log.contains("PCL0500") && !log.contains("PCL0515"), "{log}");
        site.stop();
    }

    fn login_pages_follow_the_server_that_answers(kind: Kind) {
        const FREE: &str = "com.sun.identity.agents.config.freeformproperties";
        let pages = ["a", "b"].map(|name| format!("https://{name}.example.org/am/UI/Login"));
        for by_rule in [true, false] {
            let (builder, address, url) = with_am(kind);
            let (path, public) = (context(&url), format!("com.forgerock.agents.public.am.url={url}"));
            let listed = match by_rule {
                true => vec![format!("com.forgerock.agents.conditional.login.url[0]=/app/listed|{}", pages.join(","))],
                false => vec![
                    "org.forgerock.openam.agents.config.allow.custom.login=2".to_owned(),
                    "com.forgerock.agents.accept.sso.token=1".to_owned(),
                    format!("com.sun.identity.agents.config.login.url[0]={}", pages[0]),
                    format!("com.sun.identity.agents.config.login.url[1]={}", pages[1]),
                ],
            };
            let lines: Vec<&str> = listed.iter().chain([&public]).map(String::as_str).collect();
            let (first, second) = (Front::door(address), Front::door(address));
            let urls = [&first, &second].map(|f| format!("http://{NAME}:{}/{path}", f.port()));
            let mut site = builder.profile(FREE, &lines).prepare();
            name_am(&site, &urls.join(" "));
            site.server.start();
            let mut visitor = site.visitor();
            let known = match by_rule {
                true => visitor.log_in("/app/known"),
                false => {
                    let token = visitor.am_token();
                    visitor.cookies.insert("iPlanetDirectoryPro".into(), token);
                    visitor.get("/app/known")
                }
            };
            assert_eq!(known.status, 200, "{known:?}");
            let leads_to = |page: &str| site.get("/app/listed").location().starts_with(page);
            assert!(leads_to(&pages[0]), "{:?}", site.get("/app/listed"));
            drop(first);
            // A worker knows once it has asked AM for something.
            let mut number = 0;
            wait_until("the second login page", || {
                number += 1;
                visitor.get(&format!("/app/page-{number}"));
                leads_to(&pages[1])
            });
            site.stop();
        }
    }

    fn a_connection_that_am_does_not_take_is_given_up(kind: Kind) {
        let (builder, address, url) = with_am(kind);
        let path = context(&url);
        let door = Front::door(address);
        let mut site = builder
            .property("com.sun.identity.agents.config.connect.timeout", "1")
            .property("portcullis.am.deadline", "60000")
            .prepare();
        name_am(&site, &format!("http://{NAME}:{}/{path}", door.port()));
        for code in ["PCL05", "PCL0607", "PCL0608"] {
            site.server.expect(code);
        }
        site.server.start();
        let mut visitor = site.visitor();
        assert_eq!(visitor.log_in("/app/known").status, 200);
        let silence = door.replaced_by_silence();
        // The connection that was open breaks, and no other comes. That is known long before the
        // minute is over that a request may wait.
        wait_until("no connection", || {
            let answer = visitor.get("/app/unknown");
            assert_eq!(answer.status, 503, "{answer:?}");
            site.debug_log().contains("PCL0515")
        });
        let log = site.debug_log();
        assert!(log.contains("connect"), "{log}");
        assert_eq!(visitor.get("/app/known").status, 200);
        drop(silence);
        site.stop();
    }

    fn a_changed_profile_counts_after_its_interval(kind: Kind) {
        let site = site(kind)
            .property("portcullis.login.starts.max", "0")
            .profile("com.sun.identity.agents.config.polling.interval", &["1"])
            .start();
        wait_until("the profile", || site.get("/public/a.html").status == 200);
        assert_eq!(site.get("/docs/a.html").status, 302);
        let opened = format!("[0]={}/docs/*", site.url());
        let change = serde_json::json!({ "com.sun.identity.agents.config.notenforced.url": [opened] });
        site.am.admin().update_agent("/", &site.agent, &change).expect("agent");
        // A minute is the shortest interval.
        let most = std::time::Duration::from_secs(180);
        wait_within(most, "the changed profile", || site.get("/docs/a.html").status == 200);
        // One worker has it; the others follow within a second.
        wait_until("it in the others", || site.get("/public/a.html").status == 302);
        site.stop();
    }

    fn am_is_asked_through_the_configured_proxy(kind: Kind) {
        let (builder, address, url) = with_am(kind);
        let path = context(&url);
        let proxy = Front::proxy(address, "agent:the proxy's password");
        let mut site = builder
            .property("com.sun.identity.agents.config.forward.proxy.host", "127.0.0.1")
            .property("com.sun.identity.agents.config.forward.proxy.port", &proxy.port().to_string())
            .property("com.sun.identity.agents.config.forward.proxy.user", "agent")
            .prepare();
        // Nobody listens there; only the proxy knows the way.
        name_am(&site, &format!("http://{NAME}:9/{path}"));
        set_password(&site, "com.sun.identity.agents.config.forward.proxy.password", "the proxy's password");
        site.server.start();
        assert_eq!(site.visitor().log_in("/app/known").status, 200);
        assert!(proxy.passed() > 0);
        site.stop();
    }

    fn the_installer_keeps_the_proxys_password(kind: Kind) {
        let (builder, address, url) = with_am(kind);
        let path = context(&url);
        let proxy = Front::proxy(address, "agent:the proxy's password");
        let mut site = builder
            .installed_with("AM_PROXY_HOST", "127.0.0.1")
            .installed_with("AM_PROXY_PORT", &proxy.port().to_string())
            .installed_with("AM_PROXY_USER", "agent")
            .installed_with("AM_PROXY_PASSWORD", "the proxy's password")
            .prepare();
        name_am(&site, &format!("http://{NAME}:9/{path}"));
        for file in ["agent.conf", "agent-password.conf"] {
            let text = std::fs::read_to_string(site.instance.join("config").join(file)).expect(file);
            assert!(!text.contains("the proxy's password"), "{file}: {text}");
        }
        site.server.start();
        assert_eq!(site.visitor().log_in("/app/known").status, 200);
        assert!(proxy.passed() > 0);
        site.stop();
    }

    fn a_client_certificate_opens_the_way_to_am(kind: Kind) {
        let folder = tempfile::tempdir().expect("folder");
        // Workers read the authority's file; the key they never see.
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        std::fs::set_permissions(folder.path(), mode).expect("mode");
        let certificates = Certificates::make(folder.path(), NAME);
        let (builder, address, url) = with_am(kind);
        let path = context(&url);
        let tls = Front::tls(address, &certificates);
        let text = |path: &Path| path.to_string_lossy().into_owned();
        let sealed = encrypt(&certificates.key, "the key's pass phrase");
        let mut site = builder
            .property("com.forgerock.agents.config.cert.ca.file", &text(&certificates.authority))
            .property("com.forgerock.agents.config.cert.file", &text(&certificates.certificate))
            .property("com.forgerock.agents.config.cert.key", &text(&sealed))
            .prepare();
        name_am(&site, &format!("https://{NAME}:{}/{path}", tls.port()));
        // Without the pass phrase the server does not start, and says why.
        let (passes, said) = site.server.check();
        assert!(!passes && said.contains("cert.key.password") && said.contains("agentadmin --p"), "{said}");
        set_password(&site, "com.forgerock.agents.config.cert.key.password", "the key's pass phrase");
        site.server.start();
        assert_eq!(site.visitor().log_in("/app/known").status, 200);
        assert!(tls.passed() > 0);
        site.stop();
    }

    fn without_its_certificate_the_agent_gets_nowhere(kind: Kind) {
        let folder = tempfile::tempdir().expect("folder");
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        std::fs::set_permissions(folder.path(), mode).expect("mode");
        let certificates = Certificates::make(folder.path(), NAME);
        let (builder, address, url) = with_am(kind);
        let path = context(&url);
        let tls = Front::tls(address, &certificates);
        let mut site = builder
            .property("com.forgerock.agents.config.cert.ca.file", &certificates.authority.to_string_lossy())
            .prepare();
        name_am(&site, &format!("https://{NAME}:{}/{path}", tls.port()));
        for code in ["PCL05", "PCL0607"] {
            site.server.expect(code);
        }
        site.server.start();
        assert_eq!(site.get("/app/known").status, 503);
        wait_until("the reason", || site.debug_log().contains("PCL0607"));
        assert_eq!(tls.passed(), 0);
        site.stop();
    }
}

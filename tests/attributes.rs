//! What AM is told of requests, and what applications are told of users, beside the plain headers that
//! `headers.rs` looks at.

// Scenarios are functions of their own: Clippy does not take them for tests.
#![allow(clippy::expect_used, clippy::panic)]

use portcullis_tests::{
    backend::Seen,
    both_servers,
    client::{Request, Response},
    processes::{agent_workers, wait_for_successors},
    server::Kind,
    site::{Builder, Site, site},
    wait_until,
};
use serde_json::json;

const P: &str = "com.sun.identity.agents.config";

/// A path that AM decides on, and one that needs no session; the application answers both.
const DECIDED: &str = "/app/x/1";
const EXEMPT: &str = "/app/open/1";

/// A site whose application shows what it got, with these lines beside what every such site has.
fn start(builder: Builder, lines: &[(&str, &str)]) -> Site {
    let proxy = "proxy_pass http://@BACKEND@; proxy_set_header X-Remote $remote_user;";
    let nginx = format!("location /app/ {{ {proxy} }}");
    let httpd = "RequestHeader set X-Remote \"expr=%{REMOTE_USER}\"\n";
    let mut builder = builder.host(httpd, &nginx).local();
    let exempt = format!("{P}.notenforced.url[0]");
    let logout = format!("{P}.agent.logout.url[0]");
    for (name, value) in [(exempt.as_str(), "/app/open/*"), (&logout, "*/app/logout*")] {
        builder = builder.property(name, value);
    }
    for (name, value) in lines {
        builder = builder.property(name, value);
    }
    let mut site = builder.prepare();
    let root = format!("agentRootURL={}/", site.url());
    site.append(&format!("sunIdentityServerDeviceKeyValue[0] = {root}"));
    site.server.start();
    site
}

fn seen(response: &Response) -> Seen {
    assert_eq!(response.status, 200, "{response:?}");
    Seen::of(response).expect("the application's answer")
}

both_servers! {
    fn conditions_of_policies_see_cookies_and_headers(kind: Kind) {
        const MAP: &str = "org.forgerock.openam.agents.config.continuous.security";
        let (header, cookie) = (format!("{MAP}.headers[X-Scope]"), format!("{MAP}.cookies[device]"));
        let site = start(site(kind), &[(&header, "scope"), (&cookie, "device")]);
        let pattern = format!("{}/secret/*", site.url());
        let members = json!({
            "actionValues": { "GET": true },
            "condition": { "type": "OAuth2Scope", "requiredScopes": ["staff"] },
        });
        site.am.admin().create_policy("/", "zone", &[&pattern], &members).expect("policy");
        let mut visitor = site.visitor();
        visitor.log_in("/docs/a.html");
        let mut status = |scope: Option<&str>, device: &str| {
            let request = Request::get("/secret/a.html").header("X-Device", device);
            let request = scope.into_iter().fold(request, |r, s| r.header("X-Scope", s));
            visitor.cookies.insert("device".into(), device.into());
            visitor.send(request).status
        };
        assert_eq!(status(Some("staff"), "1"), 200);
        assert_eq!(status(None, "1"), 403);
        assert_eq!(status(Some("guest"), "1"), 403);
        assert_eq!(status(Some("guest staff"), "1"), 200);
        assert_eq!(status(Some("staff"), "1"), 200);
        site.stop();
    }

    fn nobody_in_particular_has_a_name_where_told(kind: Kind) {
        // httpd's own authentication on an exempt page still has to know the user.
        let own = "<LocationMatch ^/app/(open|here)/own>\nAuthType Basic\nAuthName own\n\
            AuthUserFile @DIR@/docs/users\nRequire valid-user\n</LocationMatch>\n";
        let modules: &[&str] = match kind {
            Kind::Httpd => &["auth_basic", "authn_file"],
            Kind::Nginx => &[],
        };
        let (enable, id) = (format!("{P}.anonymous.user.enable"), format!("{P}.anonymous.user.id"));
        let builder = site(kind).modules(modules).host(own, "");
        let here = ("portcullis.notenforced.rule[0]", "url=/app/here/* ip=127.0.0.1");
        let mut site = start(builder, &[(&enable, "true"), (&id, "guest"), here]);
        let remote = |response: &Response| seen(response).all("X-Remote");
        // bob:pw
        let basic = |target: &str| Request::get(target).header("Authorization", "Basic Ym9iOnB3");
        assert_eq!(remote(&site.get(EXEMPT)), ["guest"]);
        assert_eq!(remote(&site.send(&basic(EXEMPT))), ["guest"]);
        let forged = Request::get(EXEMPT).header("Remote-User", "root");
        assert_eq!(remote(&site.send(&forged)), ["guest"]);
        assert_eq!(site.get(DECIDED).status, 302);
        let mut visitor = site.visitor();
        visitor.log_in(DECIDED);
        assert_eq!(remote(&visitor.get(DECIDED)), ["demo1"]);
        assert_eq!(remote(&visitor.get(EXEMPT)), ["guest"]);
        drop(visitor);
        if kind == Kind::Httpd {
            let users = site.server.dir().join("docs/users");
            std::fs::write(users, "bob:{SHA}GpHWL3ymc5liWkNopqtdSjuqYHM=\n").expect("users");
            assert_eq!(remote(&site.get("/app/here/1")), ["guest"]);
            for page in ["/app/open/own", "/app/here/own"] {
                assert_eq!(site.get(page).status, 401, "{page}");
                assert_eq!(remote(&site.send(&basic(page))), ["bob"], "{page}");
            }
            let wrong = Request::get("/app/open/own").header("Authorization", "Basic Ym9iOng=");
            assert_eq!(site.send(&wrong).status, 401);
            site.server.expect("AH01617"); // the wrong password
        }
        site.stop();
    }

    fn attributes_travel_as_cookies_that_nobody_can_forge(kind: Kind) {
        let line = |name: &str| format!("{P}.{name}");
        let lines: Vec<(String, &str)> = vec![
            (line("session.attribute.fetch.mode"), "HTTP_COOKIE"),
            (line("session.attribute.mapping[UserToken]"), "user"),
            (line("profile.attribute.fetch.mode"), "HTTP_COOKIE"),
            (line("profile.attribute.mapping[cn]"), "name"),
            (line("profile.attribute.cookie.prefix"), "APP_"),
            (line("profile.attribute.cookie.maxage"), "600"),
        ];
        let lines: Vec<(&str, &str)> = lines.iter().map(|(n, v)| (n.as_str(), *v)).collect();
        let site = start(site(kind), &lines);
        let mut visitor = site.visitor();
        let page = visitor.log_in(DECIDED);
        let cookies = |response: &Response| seen(response).all("Cookie").join("; ");
        assert_eq!(cookies(&page), "APP_user=demo1; APP_name=\"Demo User\"");
        let told: Vec<&str> = page.all("set-cookie").collect();
        let flags = "; Path=/; Max-Age=600; HttpOnly";
        let expected = [format!("APP_user=demo1{flags}"), format!("APP_name=\"Demo User\"{flags}")];
        assert_eq!(told, expected);
        // The browser has them now.
        let again = visitor.get(DECIDED);
        assert_eq!(cookies(&again), "APP_user=demo1; APP_name=\"Demo User\"");
        assert_eq!(again.all("set-cookie").count(), 0);
        // What a client writes itself reaches the application on no path.
        for name in ["APP_user", "app-USER", "APP%5Fname"] {
            let mine = visitor.cookies.clone();
            visitor.cookies.insert(name.into(), "root".into());
            visitor.cookies.insert("other".into(), "kept".into());
            for target in [DECIDED, EXEMPT] {
                let seen = cookies(&visitor.get(target));
                assert!(seen.contains("other=kept") && !seen.contains("root"), "{name}: {seen}");
            }
            visitor.cookies = mine;
        }
        visitor.get("/app/logout");
        assert_eq!(visitor.cookies.keys().filter(|n| n.starts_with("APP_")).count(), 0);
        site.stop();
    }

    fn headers_arrive_encoded_as_configured(kind: Kind) {
        let line = |name: &str| format!("{P}.{name}");
        // The name in UTF-8, and as words of RFC 2047.
        let name = "J\u{f6}rg";
        let word = |text: &str| format!("=?UTF-8?B?{text}?=");
        for (mode, mail, cn) in [
            ("0", "demo2@example.com".to_owned(), word("SsO2cmc=")),
            ("1", word("ZGVtbzJAZXhhbXBsZS5jb20="), word("SsO2cmc=")),
            ("2", "demo2@example.com".to_owned(), name.to_owned()),
        ] {
            let lines = [
                (line("profile.attribute.fetch.mode"), "HTTP_HEADER"),
                (line("profile.attribute.mapping[cn]"), "X-Name"),
                (line("profile.attribute.mapping[mail]"), "X-Mail"),
                ("com.forgerock.agents.header.mime.encode".to_owned(), mode),
            ];
            let lines: Vec<(&str, &str)> = lines.iter().map(|(n, v)| (n.as_str(), *v)).collect();
            let site = start(site(kind), &lines);
            let user = json!({ "cn": name, "mail": "demo2@example.com" });
            site.am.admin().create_user("/", "demo2", "changeit8", &user).expect("user");
            let token = site.am.client().login("/", "demo2", "changeit8").expect("login at AM");
            let mut visitor = site.visitor();
            visitor.use_am_token(&token);
            let got = seen(&visitor.log_in(DECIDED));
            assert_eq!(got.all("X-Mail"), [mail], "{mode}");
            assert_eq!(got.all("X-Name"), [cn], "{mode}");
            site.stop();
        }
    }

    fn cookies_arrive_encoded_as_configured(kind: Kind) {
        let line = |name: &str| format!("{P}.{name}");
        for (encode, value) in [("false", "\"Demo User\""), ("true", "Demo%20User")] {
            let lines = [
                (line("profile.attribute.fetch.mode"), "HTTP_COOKIE"),
                (line("profile.attribute.mapping[cn]"), "name"),
                (line("encode.cookie.special.chars.enable"), encode),
            ];
            let lines: Vec<(&str, &str)> = lines.iter().map(|(n, v)| (n.as_str(), *v)).collect();
            let site = start(site(kind), &lines);
            let page = site.visitor().log_in(DECIDED);
            assert_eq!(seen(&page).all("Cookie").join("; "), format!("HTTP_name={value}"));
            let told = page.all("set-cookie").next().expect("cookie");
            assert!(told.starts_with(&format!("HTTP_name={value};")), "{told}");
            site.stop();
        }
    }

    fn a_changed_attribute_map_counts_at_once(kind: Kind) {
        let line = |name: &str| format!("{P}.{name}");
        let (mode, map) = (line("profile.attribute.fetch.mode"), line("profile.attribute.mapping[mail]"));
        let site = start(site(kind), &[(&mode, "HTTP_HEADER"), (&map, "X-Mail")]);
        let mut visitor = site.visitor();
        assert_eq!(seen(&visitor.log_in(DECIDED)).all("X-Mail"), ["demo@example.com"]);
        site.append(&format!("{P}.profile.attribute.mapping[cn] = X-Name"));
        let old = agent_workers(&site);
        site.server.reload();
        wait_for_successors(&site, &old);
        // A child of before that was only beginning when the others were noted may answer once more.
        let mut got = seen(&visitor.get(DECIDED));
        wait_until("the new map", || {
            got = seen(&visitor.get(DECIDED));
            !got.all("X-Name").is_empty()
        });
        assert_eq!(got.all("X-Mail"), ["demo@example.com"]);
        assert_eq!(got.all("X-Name"), ["Demo User"]);
        site.stop();
    }

    fn audit_events_name_the_user_as_configured(kind: Kind) {
        let line = |name: &str| format!("{P}.{name}");
        let lines = [
            (line("audit.accesstype"), "LOG_ALLOW"),
            (line("log.disposition"), "LOCAL"),
            (line("universal.id.param"), "mail"),
            (line("universal.id.param.type"), "LDAP"),
        ];
        let lines: Vec<(&str, &str)> = lines.iter().map(|(n, v)| (n.as_str(), *v)).collect();
        let site = start(site(kind), &lines);
        site.visitor().log_in(DECIDED);
        let file = site.instance.join("logs/audit/audit.log");
        let events = || std::fs::read_to_string(&file).unwrap_or_default();
        wait_until("the event", || events().contains(DECIDED));
        assert!(events().contains("\"userId\":\"demo@example.com\""), "{}", events());
        site.stop();
    }

    fn activity_keeps_a_session_alive_without_policies(kind: Kind) {
        let (only, interval) = (format!("{P}.sso.only"), format!("{P}.sso.cache.polling.interval"));
        let site = start(site(kind), &[(&only, "true"), (&interval, "0")]);
        let am = site.am.simulator();
        am.set_user_session_times(120, 30);
        let mut visitor = site.visitor();
        visitor.log_in(DECIDED);
        let mut after = |target: &str| {
            am.advance(std::time::Duration::from_secs(20 * 60));
            visitor.get(target).status
        };
        assert_eq!(after(DECIDED), 200);
        assert_eq!(after(DECIDED), 200);
        // Pages that need no session are no activity (rule S4).
        assert_eq!(after(EXEMPT), 200);
        assert_eq!(after(DECIDED), 302);
        site.stop();
    }

    fn a_client_side_session_begins_and_ends(kind: Kind) {
        let site = start(site(kind), &[]);
        let am = site.am.simulator();
        am.set_client_side_sessions(true);
        let mut visitor = site.visitor();
        let page = visitor.log_in(DECIDED);
        assert_eq!(seen(&page).all("X-Remote"), ["demo1"]);
        let token = visitor.am_token();
        assert!(token.starts_with('*') && token.len() > 2000, "{token}");
        let kept = visitor.cookies.clone();
        assert_eq!(visitor.get("/app/logout").status, 200);
        // AM goes on calling it alive; the agent does not (rule S1).
        assert!(am.session(&token).is_some());
        visitor.cookies = kept;
        assert_eq!(visitor.get(DECIDED).status, 302);
        site.stop();
    }

    /// Rule S1: AM goes on calling such a token valid, and all shared memory is new.
    fn a_client_side_session_stays_ended_over_a_stop_of_the_server(kind: Kind) {
        let mut site = start(site(kind), &[]);
        for code in ["PCL0631", "PCL0508"] {
            site.server.expect(code);
        }
        site.am.simulator().set_client_side_sessions(true);
        let log_in = |site: &Site| {
            let mut visitor = site.visitor();
            assert_eq!(visitor.log_in(DECIDED).status, 200);
            let cookies = visitor.cookies.clone();
            (visitor.am_token(), cookies)
        };
        let status = |site: &Site, cookies: &std::collections::BTreeMap<String, String>, target: &str| {
            let mut visitor = site.visitor();
            visitor.cookies = cookies.clone();
            visitor.get(target).status
        };
        let (token, ended) = log_in(&site);
        let (_, other) = log_in(&site);
        assert_eq!(status(&site, &ended, "/app/logout"), 200);
        site.server.restart();
        assert!(site.am.simulator().session(&token).is_some());
        assert_eq!(status(&site, &ended, DECIDED), 302);
        assert_eq!(status(&site, &other, DECIDED), 200, "others go on");
        let file = site.instance.join("config/ended-sessions");
        let written = std::fs::read_to_string(&file).expect("file");
        assert_eq!(written.lines().count(), 1, "{written}");
        assert!(!written.contains(&token));
        let mode = std::os::unix::fs::MetadataExt::mode(&std::fs::metadata(&file).expect("file"));
        assert_eq!(mode & 0o077, 0, "{mode:o}");
        // What cannot be read is doubt: nobody's client-side session counts, and the log says why.
        std::fs::write(&file, written.replace('A', "B") + "torn").expect("file");
        site.server.restart();
        site.wait_for_line("PCL0631");
        assert_eq!(status(&site, &other, DECIDED), 503);
        site.wait_for_line("PCL0508");
        // Without it the operator has decided.
        std::fs::remove_file(&file).expect("file");
        site.server.restart();
        assert_eq!(status(&site, &other, DECIDED), 200);
        site.stop();
    }
}

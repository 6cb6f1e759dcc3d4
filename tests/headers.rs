//! What a client writes into identity headers reaches nobody: not the application, not the server's
//! own expressions, on no path; what the agent says arrives whole and as one value.

// Scenarios are functions of their own: Clippy does not take them for tests.
#![allow(clippy::expect_used, clippy::panic)]

use portcullis_tests::{
    backend::Seen,
    both_servers,
    client::{self, Request, Response},
    http2,
    server::{self, Kind},
    site::{Builder, HOST, Site, site},
};
use serde_json::json;

/// Stands in every forged value, so that a test can look for it anywhere.
const MARK: &str = "forged";

/// Names that applications take for an identity, in the spellings that CGI, WSGI and servlet
/// containers make one name of.
const NAMES: [&str; 18] = [
    "Remote_User",
    "REMOTE-USER",
    "remote-user",
    "Remote.User",
    "Auth-User",
    "HTTP_REMOTE_USER",
    "X-User",
    "x_user",
    "X.User",
    "x~USER",
    "X-Mail",
    "x_mail",
    "X-Dept",
    "X_Policy.Mail",
    "portcullis_attr_x",
    "Portcullis-Attr-X-User",
    "portcullis_attr_x_user",
    "Portcullis.Attr.Mail",
];

/// Every path of the exemption list; a path of the agent-off part; a path that AM decides on.
const EXEMPT: &str = "/app/open/x";
const OFF: &str = "/app/off/x";
const DECIDED: &str = "/app/x";

/// A site whose server looks at identity headers itself, as early as it can, and shows what it saw
/// to the client (`X-Saw`) and to the application (`X-Env`). Everything is in `agent.conf`: names
/// that stand in AM's profile only are known once a worker has read it, see
/// [`the_first_request_is_clean_too`].
fn curious(kind: Kind) -> Site {
    begin(central(kind))
}

/// Starts `builder`'s site with everything in `agent.conf`.
fn begin(builder: Builder) -> Site {
    let mut builder = builder.local();
    for (name, value) in [
        (
            "com.sun.identity.agents.config.notenforced.url[0]",
            "/public/*",
        ),
        (
            "com.sun.identity.agents.config.notenforced.url[1]",
            "/app/open/*",
        ),
        (
            "com.sun.identity.agents.config.agent.logout.url[0]",
            "*/logout/*",
        ),
        (
            "com.sun.identity.agents.config.session.attribute.fetch.mode",
            "HTTP_HEADER",
        ),
        (
            "com.sun.identity.agents.config.session.attribute.mapping[UserToken]",
            "X-User",
        ),
        (
            "com.sun.identity.agents.config.response.attribute.fetch.mode",
            "HTTP_HEADER",
        ),
        (
            "com.sun.identity.agents.config.response.attribute.mapping[dept]",
            "X-Dept",
        ),
        (
            "com.sun.identity.agents.config.response.attribute.mapping[mail]",
            "X-Policy-Mail",
        ),
        (
            "com.sun.identity.agents.config.profile.attribute.fetch.mode",
            "HTTP_HEADER",
        ),
        (
            "com.sun.identity.agents.config.profile.attribute.mapping[mail]",
            "X-Mail",
        ),
    ] {
        builder = builder.property(name, value);
    }
    let mut site = builder.prepare();
    let own = format!(
        "sunIdentityServerDeviceKeyValue[0] = agentRootURL={}/",
        site.url()
    );
    site.append(&own);
    site.server.start();
    site
}

/// The same with the names in AM's profile.
fn central(kind: Kind) -> Builder {
    let proxy = "proxy_pass http://@BACKEND@; proxy_set_header X-Env $saw;
        proxy_set_header X-Remote $remote_user; proxy_set_header X-Var $portcullis_attr_x_user;";
    let nginx = format!(
        "underscores_in_headers on;
        ignore_invalid_headers off;
        set $saw \"$http_remote_user|$http_x_user|$http_x_mail|$http_portcullis_attr_x|$http_auth_user\";
        add_header X-Saw $saw always;
        location /app/x {{ {proxy} }}
        location /app/open {{ {proxy} }}
        location /app/off {{ openam_agent off; {proxy} }}
        location /off {{ openam_agent off; }}"
    );
    let set = |name: &str, value: &str| format!("RequestHeader set {name} \"{value}\"\n");
    let httpd = ["Remote_User", "Remote-User", "X-User", "x_user", "X-Mail"]
        .map(|name| format!("SetEnvIf {name} \"(.+)\" FORGED=$1\n"))
        .concat()
        + "Header always set X-Saw \"%{FORGED}e\"\n\
           Header always set X-Expr \"expr=%{HTTP:Remote-User}|%{HTTP:Remote_User}|%{HTTP:X_User}\"\n"
        + &set("X-Env", "%{FORGED}e")
        + &set("X-Remote", "expr=%{REMOTE_USER}")
        + &set("X-Var", "%{portcullis_attr_x_user}e")
        + "<Location /app/off>\nAmAgent Off\n</Location>\n<Location /off>\nAmAgent Off\n</Location>\n";
    site(kind)
        .profile(
            "com.sun.identity.agents.config.notenforced.url",
            &["[0]=/public/*", "[1]=/app/open/*"],
        )
        .host(&httpd, &nginx)
}

fn forge(request: Request) -> Request {
    let forged = NAMES.iter().enumerate();
    forged.fold(request, |r, (i, name)| {
        r.header(name, &format!("{MARK}-{i}"))
    })
}

/// Neither the response nor what the application saw shows anything forged.
fn clean(what: &str, response: &Response) {
    for (name, value) in &response.headers {
        assert!(!value.contains(MARK), "{what}: {name}: {value}");
    }
    assert!(
        !response.text().contains(MARK),
        "{what}: {}",
        response.text()
    );
}

/// None of the forged names reached the application.
fn application_saw_none(response: &Response) {
    for name in seen(response).names() {
        let forged = NAMES.iter().any(|n| n.eq_ignore_ascii_case(&name));
        assert!(!forged, "{name}: {response:?}");
    }
}

fn seen(response: &Response) -> Seen {
    assert_eq!(response.status, 200, "{response:?}");
    Seen::of(response).expect("the application's answer")
}

both_servers! {
    fn forged_names_reach_neither_the_application_nor_the_servers_expressions(kind: Kind) {
        let mut site = curious(kind);
        site.server.expect("none.html\" failed (2: No such file"); // nginx says each 404
        for (target, status) in [
            (DECIDED, 302),
            (EXEMPT, 200),
            (OFF, 200),
            ("/public/a.html", 200),
            ("/public/none.html", 404),
            ("/off/a.html", 200),
            ("/off/none.html", 404),
            ("/logout/done.html", 200),
            ("/docs/%2e%2e/a.html", 400),
        ] {
            let response = site.send(&forge(Request::get(target)));
            assert_eq!(response.status, status, "{target}: {response:?}");
            clean(target, &response);
        }
        let mut visitor = site.visitor();
        visitor.log_in(DECIDED);
        let page = visitor.send(forge(Request::get(DECIDED)));
        clean("logged in", &page);
        let seen = seen(&page);
        assert_eq!(seen.all("X-User"), ["demo1"]);
        assert_eq!(seen.all("X-Mail"), ["demo@example.com"]);
        assert_eq!(seen.all("X-Dept"), ["sales"]);
        assert_eq!(seen.all("X-Remote"), ["demo1"]);
        let denied = visitor.send(forge(Request::get("/secret/a.html")));
        assert_eq!(denied.status, 403);
        clean("denied", &denied);
        site.stop();
    }

    fn the_first_request_is_clean_too(kind: Kind) {
        let mut site = central(kind).start();
        site.server.expect("PCL0509"); // came before the configuration: has to come again
        let forged = || forge(Request::get(EXEMPT));
        let first = site.send(&forged());
        if first.status != 503 {
            application_saw_none(&first);
        }
        let mut visitor = site.visitor();
        visitor.log_in(DECIDED);
        for response in [visitor.send(forged()), visitor.send(forge(Request::get(DECIDED)))] {
            if response.status != 503 {
                clean("behind the first", &Response { headers: vec![], ..response });
            }
        }
        // A process that begins later takes over what is known: nothing has to come again.
        site.server.reload();
        let page = visitor.send(forged());
        clean("after the reload", &page);
        application_saw_none(&page);
        site.stop();
    }

    fn each_spelling_is_taken_out_by_itself_and_when_repeated(kind: Kind) {
        let site = curious(kind);
        let mut visitor = site.visitor();
        visitor.log_in(DECIDED);
        for name in NAMES {
            let twice = |target: &str| {
                Request::get(target).header(name, MARK).header("X-Other", "kept").header(name, MARK)
            };
            for target in [EXEMPT, OFF] {
                let response = site.send(&twice(target));
                clean(name, &response);
                assert_eq!(seen(&response).all("X-Other"), ["kept"], "{name}");
            }
            let response = visitor.send(twice(DECIDED));
            clean(name, &response);
            assert_eq!(seen(&response).all("X-User"), ["demo1"], "{name}");
        }
        site.stop();
    }

    fn unverified_basic_credentials_name_no_user(kind: Kind) {
        let log = "CustomLog logs/who.log \"<%u> %U\"";
        let nginx = "access_log logs/who.log who;";
        let format = "log_format who '<$remote_user> $uri';";
        let site = begin(central(kind).global("", format).host(log, nginx));
        let basic = |target: &str| {
            // forged:x
            Request::get(target).header("Authorization", "Basic Zm9yZ2VkOng=")
        };
        let exempt = site.send(&basic(EXEMPT));
        assert!(!seen(&exempt).all("X-Remote").iter().any(|v| v.contains(MARK)), "{exempt:?}");
        assert_eq!(site.send(&basic(DECIDED)).status, 302);
        let mut visitor = site.visitor();
        visitor.log_in("/docs/a.html");
        let page = visitor.send(basic("/app/x/who"));
        assert_eq!(seen(&page).all("X-Remote"), ["demo1"]);
        let file = site.server.dir().join("logs/who.log");
        let read = || std::fs::read_to_string(&file).unwrap_or_default();
        portcullis_tests::wait_until("the access log", || read().contains("/app/x/who"));
        let text = read();
        assert!(text.contains("<demo1> /app/x/who"), "{text}");
        assert!(text.contains("<-> /app/open/x"), "{text}");
        assert!(!text.contains(MARK), "{text}");
        site.stop();
    }

    fn attribute_variables_carry_what_the_headers_carry(kind: Kind) {
        let site = curious(kind);
        let mut visitor = site.visitor();
        visitor.log_in(DECIDED);
        assert_eq!(seen(&visitor.get(DECIDED)).all("X-Var"), ["demo1"]);
        let forged = site.send(&forge(Request::get(EXEMPT)));
        assert!(!seen(&forged).all("X-Var").iter().any(|v| v.contains(MARK)));
        site.stop();
    }

    fn http2_requests_are_scrubbed_too(kind: Kind) {
        // nginx speaks HTTP/2 only on a port of its own.
        let extra = server::free_port();
        let listen = format!("listen 127.0.0.1:{extra} http2;");
        let mut site = begin(central(kind).host("", &listen));
        site.server.expect("none.html\" failed (2: No such file"); // nginx says each 404
        let mut to = site.server.address();
        if kind == Kind::Nginx {
            to.set_port(extra);
        }
        let mut visitor = site.visitor();
        visitor.log_in(DECIDED);
        let cookies: Vec<String> = visitor.cookies.iter().map(|(n, v)| format!("{n}={v}")).collect();
        let cookies = cookies.join("; ");
        let forged: Vec<(&str, &str)> = NAMES.iter().map(|name| (*name, MARK)).collect();
        for (target, status) in [
            (DECIDED, 302), (EXEMPT, 200), (OFF, 200), ("/public/none.html", 404),
            ("/logout/done.html", 200),
        ] {
            let response = http2::get(to, &format!("{}{target}", site.url()), &forged);
            assert_eq!(response.status, status, "{target}: {response:?}");
            clean(target, &response);
        }
        let mut headers = forged.clone();
        headers.extend([("Cookie", "a=1"), ("Cookie", cookies.as_str()), ("Cookie", "z=2")]);
        let page = http2::get(to, &format!("{}{DECIDED}", site.url()), &headers);
        clean("logged in", &page);
        let seen = seen(&page);
        assert_eq!(seen.all("X-User"), ["demo1"]);
        assert_eq!(seen.all("Cookie").join("; "), "a=1; z=2");
        site.stop();
    }

    fn names_in_trailers_are_taken_out(kind: Kind) {
        let merge = "MergeTrailers On\nHeader always set X-Trailers \
                     \"expr=%{HTTP:Remote-User}|%{HTTP:X-User}|%{HTTP:Remote_User}\"";
        let site = begin(central(kind).host(merge, ""));
        let mut visitor = site.visitor();
        visitor.log_in(DECIDED);
        let cookies: Vec<String> = visitor.cookies.iter().map(|(n, v)| format!("{n}={v}")).collect();
        for target in [EXEMPT, OFF, DECIDED, "/public/a.html"] {
            let request = format!(
                "GET {target} HTTP/1.1\r\nHost: {}\r\nCookie: {}\r\nTransfer-Encoding: chunked\r\n\
                 Trailer: X-User, Remote_User\r\nConnection: close\r\n\r\n3\r\nabc\r\n0\r\n\
                 X-User: {MARK}\r\nRemote_User: {MARK}\r\nremote-user: {MARK}\r\n\r\n",
                site.authority(), cookies.join("; "),
            );
            let response = client::send_bytes(site.server.address(), request.as_bytes())
                .unwrap_or_else(|e| panic!("{target}: {e}\n{}", site.server.said()));
            assert_eq!(response.status, 200, "{target}: {response:?}");
            clean(target, &response);
            if target == DECIDED {
                assert_eq!(seen(&response).all("X-User"), ["demo1"]);
            }
        }
        site.stop();
    }

    fn a_client_cannot_have_our_headers_dropped_on_the_way(kind: Kind) {
        let site = curious(kind);
        let mut visitor = site.visitor();
        visitor.log_in(DECIDED);
        for value in ["X-User", "keep-alive, x_mail", "Remote-User", "portcullis_attr_x"] {
            let request = || Request::get(DECIDED).header("Connection", value);
            assert_eq!(visitor.send(request()).status, 400, "{value}");
            assert_eq!(site.send(&request()).status, 400, "{value}");
        }
        site.wait_for_line("PCL0311");
        let harmless = visitor.send(Request::get(DECIDED).header("Connection", "X-Harmless"));
        assert_eq!(seen(&harmless).all("X-User"), ["demo1"]);
        site.stop();
    }

    fn our_cookies_stay_here_and_others_go_on_unchanged(kind: Kind) {
        let site = curious(kind);
        let mut visitor = site.visitor();
        visitor.log_in(DECIDED);
        let session = visitor.cookies.get("am-auth-jwt").expect("session cookie").clone();
        let ours = format!("am-auth-jwt={session}");
        let request = |target: &str| {
            let value = format!(
                "b=\"x y\"; {ours}; agent-authn-tx=abc; c==%20; agent-authn-tx-1234=q; \
                 am-auth-jwt2=mine; d"
            );
            Request::get(target).header("Cookie", "a=1").header("Cookie", &value)
        };
        for target in [EXEMPT, DECIDED] {
            let seen = seen(&site.send(&request(target)));
            let all = seen.all("Cookie");
            // Two lines of one request are one list (RFC 6265 5.4); httpd joins them.
            let all = all.join("; ").replace(", ", "; ");
            assert_eq!(all, "a=1; b=\"x y\"; c==%20; am-auth-jwt2=mine; d", "{target}");
            let none = Request::get(target).header("Cookie", &ours);
            assert_eq!(self::seen(&site.send(&none)).all("Cookie"), [""; 0], "{target}");
        }
        let mine = Request::get(EXEMPT).header("Cookie", "z=26; y=25;x=24");
        assert_eq!(seen(&site.send(&mine)).all("Cookie"), ["z=26; y=25;x=24"], "as it came");
        site.stop();
    }

    fn values_stay_one_value_whatever_is_in_them(kind: Kind) {
        let site = central(kind)
            .profile("com.sun.identity.agents.config.userid.param", &["Nick"])
            .profile("com.sun.identity.agents.config.session.attribute.mapping", &["[Nick]=X-User"])
            .start();
        let mut visitor = site.visitor();
        let token = visitor.am_token();
        let am = site.am.simulator();
        assert!(am.set_session_property(&token, "Nick", "J\u{f6}rg"));
        departments(&site, &["a|b", "c\r\nX-Admin: 1", "d%7Ce"]);
        visitor.log_in(DECIDED);
        let page = seen(&visitor.get(DECIDED));
        let encoded = "=?UTF-8?B?SsO2cmc=?=";
        assert_eq!(page.all("X-User"), [encoded]);
        assert_eq!(page.all("X-Remote"), [encoded]);
        assert_eq!(page.all("X-Var"), [encoded]);
        assert!(page.all("X-Admin").is_empty());
        assert_eq!(page.all("X-Dept"), ["a%7Cb|=?UTF-8?B?Yw0KWC1BZG1pbjogMQ==?=|d%7Ce"]);
        site.stop();
    }
}

/// Gives the policy these values of the attribute that is mapped to `X-Dept`.
fn departments(site: &Site, values: &[&str]) {
    let url = site.url();
    let members = json!({
        "actionValues": { "GET": true },
        "resourceAttributes":
            [{ "type": "Static", "propertyName": "dept", "propertyValues": values }],
    });
    let patterns = [format!("{url}/app/*"), format!("{url}/docs/*")];
    let patterns: Vec<&str> = patterns.iter().map(String::as_str).collect();
    site.am
        .admin()
        .replace_policy("/", "docs", &patterns, &members)
        .expect("policy");
}

/// Targets that two programs could read in two ways: never a page, whoever asks.
const AMBIGUOUS: [&str; 16] = [
    "/docs/%2e%2e/docs/a.html",
    "/public/%2e%2e/docs/a.html",
    "/public/.%2e/docs/a.html",
    "/public/..%2fdocs/a.html",
    "/public/..%2Fdocs%2Fa.html",
    "/docs%2fa.html",
    "/docs%5ca.html",
    "/public/..%5cdocs/a.html",
    "/public/..\\docs/a.html",
    "/public/..;/docs/a.html",
    "/public/..;x=1/docs/a.html",
    "/public/;/../docs/a.html",
    "/docs/a.html%00.gif",
    "/public/%252e%252e/docs/a.html",
    "/public/%c0%ae%c0%ae/docs/a.html",
    "/../docs/a.html",
];

both_servers! {
    fn ambiguous_urls_show_no_page_to_anybody(kind: Kind) {
        let mut site = site(kind)
            .host("AllowEncodedSlashes NoDecode", "location /off { openam_agent off; }")
            .start();
        site.server.expect("AH10244"); // httpd itself refuses to go above the root
        site.server.expect("AH00026"); // and some escapes
        let mut visitor = site.visitor();
        visitor.log_in("/docs/a.html");
        let mut ours = 0;
        for target in AMBIGUOUS {
            for response in [site.get(target), visitor.get(target)] {
                assert!(matches!(response.status, 400 | 404), "{target}: {response:?}");
                assert!(!response.text().contains("protected page"), "{target}: {response:?}");
                ours += u32::from(response.text().contains("If you ask for help"));
            }
        }
        assert!(ours > 8, "only {ours} answers came from the agent");
        site.wait_for_line("PCL0310");
        site.stop();
    }

    fn a_url_that_leads_to_a_protected_page_is_decided_as_that_page(kind: Kind) {
        let site = site(kind).start();
        for target in [
            "/public/../docs/a.html",
            "//docs/a.html",
            "/public//../docs/a.html",
            "/./docs/a.html",
            "/docs/./a.html",
            "/%64ocs/a.html",
            "/docs/a%2Ehtml",
        ] {
            let response = site.get(target);
            assert_eq!(response.status, 302, "{target}: {response:?}");
            let mut visitor = site.visitor();
            visitor.log_in("/docs/a.html");
            let page = visitor.get(target);
            assert!(page.status == 400 || page.text().contains("protected page a"), "{page:?}");
        }
        site.stop();
    }

    fn a_server_that_keeps_double_slashes_serves_something_else(kind: Kind) {
        let site = site(kind).host("MergeSlashes Off", "merge_slashes off;").start();
        let mut visitor = site.visitor();
        visitor.log_in("/docs/a.html");
        for target in ["/docs//a.html", "/public//a.html", "/public//../docs/a.html"] {
            let response = site.get(target);
            assert_eq!(response.status, 400, "{target} {response:?}");
            assert_eq!(visitor.get(target).status, 400, "{target}");
        }
        site.stop();
    }

    fn path_info_does_not_make_a_page_exempt(kind: Kind) {
        let mut site = site(kind)
            .profile("com.sun.identity.agents.config.notenforced.url", &["[0]=*.gif"])
            .host("AcceptPathInfo On", "")
            .start();
        site.server.expect("failed (2: No such file"); // nginx says each 404
        site.server.expect("failed (20: Not a directory");
        let exempt = site.get("/docs/none.gif");
        assert_eq!(exempt.status, 404, "the rule works: {exempt:?}");
        for target in ["/docs/a.html/x.gif", "/docs/a.html/.gif", "/docs/a.html;x.gif", "/docs/a.html?x.gif"] {
            let response = site.get(target);
            assert!(matches!(response.status, 302 | 404), "{target}: {response:?}");
            assert!(!response.text().contains("protected page"), "{target}");
            if kind == Kind::Httpd && target.contains("html/") {
                assert_eq!(response.status, 302, "{target}");
            }
        }
        site.stop();
    }
}

#[test]
fn a_request_without_any_host_is_refused() {
    // HTTP/1.0 may come without `Host`; nothing then says under which name a login could work.
    for kind in [Kind::Httpd, Kind::Nginx] {
        let site = site(kind).start();
        let response =
            client::send_bytes(site.server.address(), b"GET /docs/a.html HTTP/1.0\r\n\r\n")
                .expect("an answer");
        assert_ne!(response.status, 200, "{HOST}: {response:?}");
        site.stop();
    }
}

//! What was typed survives a login: the body of a POST is kept, and comes back for the user who sent it
//! (rules P1 to P3).

// Scenarios are functions of their own: Clippy does not take them for tests.
#![allow(clippy::expect_used, clippy::panic)]

use std::{fs, os::unix::fs::MetadataExt};

use portcullis_tests::{
    backend::{Seen, hash},
    both_servers,
    client::{Request, Response, send_bytes},
    http2, real,
    server::Kind,
    site::{Builder, Site, USER, USER_PASSWORD, site},
    stepping::{StepUp, ask_for_more, with_strong_pages},
    visitor::{Visitor, path_of},
};
use serde_json::json;

const P: &str = "com.sun.identity.agents.config";
const MULTIPART: &str = "multipart/form-data; boundary=----WebKitFormBoundary7MA4YWxkTrZu0gW";
/// A page whose POSTs AM allows; the application answers.
const FORM: &str = "/post/form?x=%C3%A4";

/// A site that keeps POSTs, with an application below `/post/`.
fn start(builder: Builder) -> Site {
    let mut site = prepared(builder);
    site.server.start();
    site
}

fn prepared(builder: Builder) -> Site {
    let nginx = "client_max_body_size 20m; client_body_buffer_size 16k;\n\
        location /post/ { proxy_pass http://@BACKEND@; }";
    let site = builder
        .host("ProxyPass /post/ http://@BACKEND@/post/\n", nginx)
        .profile(&format!("{P}.postdata.preserve.enable"), &["true"])
        .prepare();
    let patterns = ["post/*", "post/*?*"].map(|p| format!("{}/{p}", site.url()));
    let patterns = patterns.each_ref().map(String::as_str);
    let members = json!({ "actionValues": { "GET": true, "POST": true } });
    let admin = site.am.admin();
    admin
        .create_policy("/", "forms", &patterns, &members)
        .expect("policy");
    site
}

/// A form's POST as a browser sends it from a page of the site.
fn posting(site: &Site, target: &str, body: &[u8]) -> Request {
    Request::new("POST", target)
        .header("Origin", &site.url())
        .header("Sec-Fetch-Site", "same-origin")
        .header("Sec-Fetch-Mode", "navigate")
        .body(MULTIPART, body)
}

/// 8 MiB and a few bytes, none like its neighbours, as a file in a form.
fn upload() -> Vec<u8> {
    let mut seed = 1_u32;
    let noise = (0..8 << 20).map(|_| {
        seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (seed >> 24) as u8
    });
    let head = b"------WebKitFormBoundary7MA4YWxkTrZu0gW\r\nContent-Disposition: form-data; \
        name=\"f\"; filename=\"a.bin\"\r\nContent-Type: application/octet-stream\r\n\r\n";
    let tail = b"\r\n------WebKitFormBoundary7MA4YWxkTrZu0gW--\r\n";
    head.iter()
        .copied()
        .chain(noise)
        .chain(tail.iter().copied())
        .collect()
}

/// Logs in on the way that `login` leads, and the page that follows.
fn logs_in(visitor: &mut Visitor<'_>, login: &Response) -> Response {
    let form = visitor.form(login);
    let back = visitor.post(&form);
    assert_eq!(back.status, 302, "{back:?}");
    let target = path_of(back.location());
    visitor.get(&target)
}

/// The files of kept POSTs.
fn kept(site: &Site) -> Vec<std::path::PathBuf> {
    let files = fs::read_dir(site.instance.join("pdp-cache")).expect("directory");
    files.map(|file| file.expect("file").path()).collect()
}

/// What the application saw is this POST.
fn is_the_post(site: &Site, response: &Response, body: &[u8]) {
    assert_eq!(response.status, 200, "{response:?}\n{}", site.debug_log());
    let seen = Seen::of(response).expect("the application's answer");
    assert_eq!(
        (seen.get("method"), seen.get("target")),
        (&json!("POST"), &json!(FORM))
    );
    assert_eq!(
        (seen.get("length"), seen.get("hash")),
        (&json!(body.len()), &json!(hash(body)))
    );
    assert_eq!(seen.header("Content-Type").as_deref(), Some(MULTIPART));
    assert_eq!(seen.header("Origin"), Some(site.url()));
    assert_eq!(seen.header("X-User").as_deref(), Some("demo1"));
    let cookies = seen.header("Cookie").unwrap_or_default();
    assert!(!cookies.contains("agent-authn"), "{cookies}");
}

both_servers! {
    fn a_large_form_survives_a_login_byte_for_byte(kind: Kind) {
        let site = start(site(kind));
        let body = upload();
        let mut visitor = site.visitor();
        let login = visitor.send(posting(&site, FORM, &body));
        let files = kept(&site);
        assert_eq!(files.len(), 1, "{login:?}\n{}", site.debug_log());
        assert_eq!(fs::metadata(&files[0]).expect("file").mode() & 0o777, 0o600);
        let stored = fs::read(&files[0]).expect("file");
        assert!(!stored.windows(16).any(|w| w == &body[1000..1016]), "readable");
        let page = logs_in(&mut visitor, &login);
        is_the_post(&site, &page, &body);
        assert!(kept(&site).is_empty());
        // Once: the same URL is an ordinary page from now on.
        let again = Seen::of(&visitor.get(FORM)).expect("the application's answer");
        assert_eq!(again.get("method"), &json!("GET"));
        site.wait_for_line("PCL0343");
        site.stop();
    }

    fn a_chunked_body_and_an_empty_one_survive(kind: Kind) {
        let site = start(site(kind));
        let body = upload();
        let mut bytes = format!(
            "POST {FORM} HTTP/1.1\r\nHost: {}\r\nOrigin: {}\r\nContent-Type: {MULTIPART}\r\n\
             Transfer-Encoding: chunked\r\nConnection: close\r\n\r\n",
            site.authority(), site.url()
        ).into_bytes();
        for chunk in body.chunks(100_003) {
            bytes.extend(format!("{:x}\r\n", chunk.len()).into_bytes());
            bytes.extend(chunk);
            bytes.extend(b"\r\n");
        }
        bytes.extend(b"0\r\n\r\n");
        let login = send_bytes(site.server.address(), &bytes).expect("answer");
        let mut visitor = site.visitor();
        visitor.take(&login);
        let page = logs_in(&mut visitor, &login);
        is_the_post(&site, &page, &body);
        let mut other = site.visitor();
        let login = other.send(posting(&site, FORM, b""));
        let page = logs_in(&mut other, &login);
        is_the_post(&site, &page, b"");
        site.stop();
    }

    fn a_large_form_survives_over_http2(kind: Kind) {
        let extra = portcullis_tests::server::free_port();
        let listen = format!("listen 127.0.0.1:{extra} http2;");
        let site = start(site(kind).host("", &listen));
        let mut to = site.server.address();
        if kind == Kind::Nginx {
            to.set_port(extra);
        }
        let body = upload();
        let url = format!("{}{FORM}", site.url());
        let origin = site.url();
        let headers = [("Origin", origin.as_str()), ("Content-Type", MULTIPART)];
        let login = http2::post(to, &url, &headers, &body);
        let mut visitor = site.visitor();
        visitor.take(&login);
        let form = visitor.form(&login);
        visitor.post(&form);
        let cookies = visitor.cookie_header();
        let page = http2::get(to, &url, &[("Cookie", cookies.as_str())]);
        is_the_post(&site, &page, &body);
        site.stop();
    }

    fn a_post_that_is_too_large_gets_413_and_leaves_nothing(kind: Kind) {
        let site = start(site(kind).property("portcullis.postdata.body.max", "100000"));
        let body = vec![b'x'; 100_001];
        let refused = site.send(&posting(&site, FORM, &body));
        assert_eq!(refused.status, 413);
        assert!(refused.text().contains("too large to be kept"), "{}", refused.text());
        assert!(refused.header("Set-Cookie").is_none());
        let chunked = format!(
            "POST {FORM} HTTP/1.1\r\nHost: {}\r\nOrigin: {}\r\nContent-Type: {MULTIPART}\r\n\
             Transfer-Encoding: chunked\r\nConnection: close\r\n\r\n186a1\r\n{}\r\n0\r\n\r\n",
            site.authority(), site.url(), "x".repeat(100_001)
        );
        let refused = send_bytes(site.server.address(), chunked.as_bytes()).expect("answer");
        assert_eq!(refused.status, 413);
        assert!(refused.text().contains("too large to be kept"), "{}", refused.text());
        assert!(kept(&site).is_empty());
        let mut visitor = site.visitor();
        let login = visitor.send(posting(&site, FORM, &body[1..]));
        let page = logs_in(&mut visitor, &login);
        is_the_post(&site, &page, &body[1..]);
        site.stop();
    }

    fn a_client_keeps_no_more_than_its_share(kind: Kind) {
        let site = site(kind)
            .property("portcullis.postdata.client.count", "3")
            .property("portcullis.postdata.client.bytes", "1000");
        let site = start(site);
        let post = |length: usize| site.send(&posting(&site, FORM, &vec![b'x'; length])).status;
        assert_eq!([post(500), post(501), post(400), post(50), post(1)], [302, 503, 302, 302, 503]);
        assert_eq!(kept(&site).len(), 3);
        site.wait_for_line("PCL0341");
        site.stop();
    }

    fn a_post_of_another_site_is_not_kept(kind: Kind) {
        let site = start(site(kind));
        let of = |origin: &str, fetch: &str| {
            Request::new("POST", FORM)
                .header("Origin", origin)
                .header("Sec-Fetch-Site", fetch)
                .body(MULTIPART, "secret=1")
        };
        for (origin, fetch) in [
            ("http://evil.example.org", "cross-site"),
            ("null", "cross-site"),
            (site.url().as_str(), "cross-site"),
            (site.url().as_str(), "same-site"),
        ] {
            let mut visitor = site.visitor();
            let login = visitor.send(of(origin, fetch));
            assert!(kept(&site).is_empty(), "{origin} {fetch}");
            let page = logs_in(&mut visitor, &login);
            let seen = Seen::of(&page).expect("the application's answer");
            assert_eq!((seen.get("method"), seen.get("length")), (&json!("GET"), &json!(0)));
        }
        site.stop();
    }

    fn a_post_survives_a_step_up(kind: Kind) {
        for redirect in ["true", "false"] {
            let builder = with_strong_pages(site(kind)).profile("com.sun.am.use_redirect_for_advice", &[redirect]);
            let site = start(builder);
            ask_for_more(&site);
            let mut visitor = site.visitor();
            assert_eq!(visitor.log_in("/app/page").status, 200);
            let lacking = visitor.send(posting(&site, "/strong/form?x=1", b"a=1"));
            assert_eq!(kept(&site).len(), 1, "{lacking:?}");
            let asked = StepUp::of(&site, &lacking).expect("a step-up");
            // Not yet: who comes back without having logged in for more is sent again, and nothing is lost.
            assert!(StepUp::of(&site, &visitor.get("/strong/form?x=1")).is_some());
            assert_eq!(kept(&site).len(), 1);
            let am = site.am.client();
            let token = am.step_up(&visitor.am_token(), &asked.advices, USER, USER_PASSWORD);
            let token = token.expect("a second login");
            visitor.use_am_token(&token);
            let back = visitor.post(&am.authorize(&token, &asked.goto).expect("AM's form"));
            let target = path_of(back.location());
            assert_eq!((back.status, target.as_str()), (302, "/strong/form?x=1"), "{back:?}");
            let seen = Seen::of(&visitor.get(&target)).expect("the application's answer");
            assert_eq!((seen.get("method"), seen.get("body")), (&json!("POST"), &json!("a=1")));
            assert_eq!(seen.header("X-User").as_deref(), Some("demo1"));
            assert!(kept(&site).is_empty());
            let again = Seen::of(&visitor.get(&target)).expect("the application's answer");
            assert_eq!(again.get("method"), &json!("GET"));
            site.stop();
        }
    }

    fn policy_decides_about_the_post_and_not_about_the_look_up(kind: Kind) {
        // Below /app/ AM allows GET and no POST.
        let site = start(site(kind));
        let mut visitor = site.visitor();
        let login = visitor.send(posting(&site, "/app/form", b"a=1"));
        assert_eq!(kept(&site).len(), 1);
        let page = logs_in(&mut visitor, &login);
        assert_eq!(page.status, 403);
        assert!(kept(&site).is_empty());
        assert_eq!(site.backend.requests(), Vec::<String>::new());
        assert_eq!(visitor.get("/app/form").status, 200);
        site.stop();
    }

    fn the_servers_own_rules_see_a_post(kind: Kind) {
        let httpd = "<Location /post/closed>\n<Limit POST>\nRequire all denied\n</Limit>\n</Location>\n\
            <If \"%{REQUEST_METHOD} == 'POST' && %{REQUEST_URI} == '/post/seen'\">\n\
            RequestHeader set X-Seen POST\n</If>\n";
        let nginx = "location /post/closed { limit_except GET { deny all; } proxy_pass http://@BACKEND@; }\n\
            location /post/seen { proxy_pass http://@BACKEND@; set $seen $request_method; \
            proxy_set_header X-Seen $seen; }";
        let mut site = prepared(site(kind).host(httpd, nginx));
        site.server.expect("access forbidden by rule");
        site.server.expect("AH01630");
        site.server.start();
        let mut visitor = site.visitor();
        let login = visitor.send(posting(&site, "/post/seen", b"a=1"));
        let page = logs_in(&mut visitor, &login);
        let seen = Seen::of(&page).expect("the application's answer");
        assert_eq!(seen.header("X-Seen").as_deref(), Some("POST"));
        let direct = visitor.send(posting(&site, "/post/closed", b"a=1"));
        assert_eq!(direct.status, 403, "{}", direct.text());
        // What the server forbids before the agent is asked never gets as far as a login; where the
        // agent comes first, the POST that comes back is forbidden all the same.
        let closed = site.visitor().send(posting(&site, "/post/closed", b"a=1"));
        if closed.status == 302 {
            let mut visitor = site.visitor();
            visitor.take(&closed);
            let page = logs_in(&mut visitor, &closed);
            assert_eq!(page.status, 403, "{}", page.text());
        } else {
            assert_eq!(closed.status, 403);
        }
        let posts = site.backend.requests();
        assert!(!posts.iter().any(|r| r.contains("closed")), "{posts:?}");
        site.stop();
    }

    fn a_post_that_is_no_more_has_a_page_and_then_the_url_answers(kind: Kind) {
        let site = start(site(kind));
        let mut visitor = site.visitor();
        let login = visitor.send(posting(&site, FORM, b"a=1"));
        for file in kept(&site) {
            fs::remove_file(file).expect("file");
        }
        let page = logs_in(&mut visitor, &login);
        assert_eq!(page.status, 404);
        assert!(page.text().contains("no longer there"), "{}", page.text());
        let again = Seen::of(&visitor.get(FORM)).expect("the application's answer");
        assert_eq!(again.get("method"), &json!("GET"));
        site.stop();
    }

    fn a_kept_post_is_of_use_to_its_browser_and_user_only(kind: Kind) {
        let site = start(site(kind));
        let mut visitor = site.visitor();
        let login = visitor.send(posting(&site, FORM, b"a=1"));
        let form = visitor.form(&login);
        let back = visitor.post(&form);
        assert_eq!(back.status, 302);
        let name = visitor.cookies.keys().find(|n| n.starts_with("agent-authn-post-"));
        let name = name.expect("cookie").clone();
        let stolen = visitor.cookies[&name].clone();
        // Without the session, and with that of another user, it is a GET like others.
        let mut nobody = site.visitor();
        nobody.cookies.insert(name.clone(), stolen.clone());
        assert_eq!(nobody.get(FORM).status, 302);
        let members = json!({ "mail": "o@example.com", "cn": "Other", "sn": "O", "givenName": "O" });
        site.am.admin().create_user("/", "other1", "changeit9", &members).expect("user");
        let token = site.am.client().login("/", "other1", "changeit9").expect("login");
        let mut other = site.visitor();
        other.use_am_token(&token);
        other.log_in("/docs/a.html");
        other.cookies.insert(name, stolen);
        let seen = Seen::of(&other.get(FORM)).expect("the application's answer");
        assert_eq!(seen.get("method"), &json!("GET"));
        assert_eq!(kept(&site).len(), 1);
        let page = visitor.get(FORM);
        assert_eq!(Seen::of(&page).expect("answer").get("body"), &json!("a=1"));
        site.stop();
    }

    fn a_load_balancer_is_told_which_node_keeps_the_post(kind: Kind) {
        let sticky = format!("{P}.postdata.preserve.stickysession");
        let site = site(kind)
            .property(&format!("{sticky}.mode"), "COOKIE")
            .property(&format!("{sticky}.value"), "lb=node1");
        let site = start(site);
        let mut visitor = site.visitor();
        let login = visitor.send(posting(&site, FORM, b"a=1"));
        assert_eq!(visitor.cookies["lb"], "node1");
        let page = logs_in(&mut visitor, &login);
        assert_eq!(Seen::of(&page).expect("answer").get("body"), &json!("a=1"));
        assert!(!visitor.cookies.contains_key("lb"));
        site.stop();
    }

    fn nothing_is_lost_in_silence_when_the_directory_cannot_be_used(kind: Kind) {
        let mut site = prepared(site(kind));
        site.server.expect("PCL0346");
        site.server.expect("PCL0342");
        site.server.start();
        let directory = site.instance.join("pdp-cache");
        let open = std::os::unix::fs::PermissionsExt::from_mode(0o777);
        fs::set_permissions(&directory, open).expect("mode");
        let refused = site.send(&posting(&site, FORM, b"a=1"));
        assert_eq!(refused.status, 503);
        assert!(refused.text().contains("could not be kept"), "{}", refused.text());
        site.wait_for_line("others may write there");
        // Who sends none logs in as ever.
        assert_eq!(site.get(FORM).status, 302);
        site.stop();
    }

    fn a_form_comes_back_after_the_login_in_a_browser(kind: Kind) {
        let Some(driver) = real::browser("a form that survives a login") else {
            return;
        };
        let site = start(site(kind));
        let form = "<!DOCTYPE html><title>form</title><form method=post action=/post/form \
            enctype=multipart/form-data><textarea id=text name=text></textarea>\
            <input type=submit id=send></form>";
        fs::write(site.server.dir().join("docs/public/form.html"), form).expect("page");
        let browser = driver.browser().expect("browser");
        browser.goto(&format!("{}/public/form.html", site.url())).expect("form");
        browser.type_into("#text", "what was typed").expect("text");
        browser.click("#send").expect("button");
        browser.type_into("#idToken1", USER).expect("name");
        browser.type_into("#idToken2", USER_PASSWORD).expect("password");
        browser.click("#loginButton_0").expect("button");
        browser.wait_for_url(&format!("{}/post/form", site.url())).expect("back");
        let text = browser.text().expect("page");
        assert!(text.contains(r#""method":"POST""#), "{text}");
        assert!(text.contains("what was typed") && text.contains("multipart/form-data"), "{text}");
        // Reloaded, it is a page like others: nothing is sent twice.
        browser.reload().expect("reload");
        assert!(browser.text().expect("page").contains(r#""method":"GET""#));
        browser.quit().expect("end");
        site.stop();
    }
}

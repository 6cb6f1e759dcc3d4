//! Whatever else the server's configuration says about a page: nobody sees it without the agent's
//! allow, and an allow for one page is not an allow for another.

// Scenarios are functions of their own: Clippy does not take them for tests.
#![allow(clippy::expect_used, clippy::panic)]

use std::{fs, path::Path};

use portcullis_tests::{
    backend::Seen,
    both_servers,
    client::{Request, Response},
    server::{Kind, free_port},
    site::{Site, USER_PASSWORD, site},
};
use serde_json::json;

/// Writes a page below the server's documents.
fn page(site: &Site, path: &str, text: &str) {
    let file = site.server.dir().join("docs").join(path);
    fs::create_dir_all(file.parent().unwrap_or(Path::new("/"))).expect("folder");
    fs::write(file, text).expect("page");
}

/// Nothing of a protected page is in the answer.
fn hidden(what: &str, response: &Response) {
    let text = response.text();
    for protected in ["protected page", "page without policy"] {
        assert!(!text.contains(protected), "{what}: {response:?}");
    }
}

/// The application saw nobody's identity.
fn nobody(what: &str, seen: &Seen) {
    for name in ["X-User", "X-Mail", "X-Dept", "X-Policy-Mail", "Remote-User"] {
        let all = seen.all(name);
        assert!(all.iter().all(String::is_empty), "{what}: {name}: {all:?}");
    }
}

both_servers! {
    fn head_is_decided_as_get_is(kind: Kind) {
        let site = site(kind).start();
        let head = |target: &str| Request::new("HEAD", target);
        let redirect = site.send(&head("/docs/a.html"));
        assert_eq!(redirect.status, 302, "{redirect:?}");
        let mut visitor = site.visitor();
        visitor.log_in("/docs/a.html");
        let get = visitor.get("/docs/a.html");
        let same = visitor.send(head("/docs/a.html"));
        assert_eq!((same.status, same.body.len()), (200, 0));
        assert_eq!(same.header("content-length"), get.header("content-length"));
        assert_eq!(visitor.send(head("/secret/a.html")).status, 403);
        site.stop();
    }

    fn conditional_and_partial_requests_are_decided(kind: Kind) {
        let site = site(kind).start();
        let mut visitor = site.visitor();
        visitor.log_in("/docs/a.html");
        let full = visitor.get("/docs/a.html");
        let tag = full.header("etag").expect("ETag").to_owned();
        let date = full.header("last-modified").expect("Last-Modified").to_owned();
        for (name, value, status) in [
            ("If-None-Match", tag.as_str(), 304),
            ("If-Modified-Since", date.as_str(), 304),
            ("If-Match", "\"no-such-tag\"", 412),
            ("Range", "bytes=0-3", 206),
        ] {
            let request = || Request::get("/docs/a.html").header(name, value);
            assert_eq!(visitor.send(request()).status, status, "{name}");
            let anonymous = site.send(&request());
            assert_eq!(anonymous.status, 302, "{name}: {anonymous:?}");
            let secret = Request::get("/secret/a.html").header(name, value);
            assert_eq!(visitor.send(secret).status, 403, "{name}");
        }
        site.stop();
    }

    fn no_method_opens_a_page(kind: Kind) {
        let mut site = site(kind).start();
        site.server.expect("AH00"); // httpd says which method it does not know
        for (method, target) in [
            ("OPTIONS", "*"),
            ("OPTIONS", "/docs/a.html"),
            ("TRACE", "/docs/a.html"),
            ("PROPFIND", "/docs/a.html"),
            ("get", "/docs/a.html"),
            ("PUT", "/docs/a.html"),
            ("DELETE", "/docs/a.html"),
            ("QUERY", "/docs/a.html"),
        ] {
            let response = site.send(&Request::new(method, target));
            hidden(method, &response);
            if target != "*" && method != "TRACE" {
                assert_ne!(response.status, 200, "{method}: {response:?}");
            }
        }
        assert!(site.server.dir().join("docs/docs/a.html").exists());
        assert!(site.backend.requests().is_empty());
        site.stop();
    }

    fn where_the_agent_is_off_it_is_off(kind: Kind) {
        let site = site(kind)
            .host(
                "<Location /off>\nAmAgent Off\n</Location>\n<Location /app/off>\nAmAgent Off\n</Location>",
                "location /off/ { openam_agent off; }
                 location /app/off/ { openam_agent off; proxy_pass http://@BACKEND@; }",
            )
            .start();
        assert_eq!(site.get("/off/a.html").status, 200);
        let response = site.send(&Request::new("POST", "/app/off/x").body("text/plain", "x"));
        nobody("off", &Seen::of(&response).expect("the application's answer"));
        for target in ["/docs/a.html", "/app/offside", "/off/../docs/a.html", "/offside/a.html"] {
            hidden(target, &site.get(target));
            assert_eq!(site.get("/docs/a.html").status, 302);
        }
        assert_eq!(site.backend.requests(), ["POST /app/off/x"]);
        site.stop();
    }

    fn an_included_page_needs_an_allow_of_its_own(kind: Kind) {
        let mut site = site(kind)
            .modules(match kind { Kind::Httpd => &["include", "filter"], Kind::Nginx => &[] })
            .host(
                "<Location />\nSetOutputFilter INCLUDES\n</Location>\n\
                 <Location /off>\nAmAgent Off\n</Location>",
                "ssi on;\nlocation /off { openam_agent off; }",
            )
            .prepare();
        let including = |target: &str| format!("<p>outer<!--#include virtual=\"{target}\" -->end");
        page(&site, "off/a-in.html", &including("/docs/a.html"));
        page(&site, "public/a-in.html", &including("/docs/a.html"));
        page(&site, "docs/b-in.html", &including("/docs/b.html"));
        page(&site, "docs/secret-in.html", &including("/secret/a.html"));
        page(&site, "docs/public-in.html", &including("/public/a.html"));
        site.server.start();
        site.server.expect("unable to include"); // httpd, for each refused part
        site.server.expect("enters a protected location"); // the module, in nginx
        site.server.expect("PCL0509"); // a part that is asked for before the configuration is there
        for target in ["/off/a-in.html", "/public/a-in.html"] {
            let response = site.get(target);
            assert!(response.text().contains("outer"), "{target}: {response:?}");
            hidden(target, &response);
        }
        let mut visitor = site.visitor();
        visitor.log_in("/docs/b.html");
        let page = visitor.get("/docs/b-in.html");
        assert!(page.text().contains("protected page b"), "known already: {page:?}");
        let page = visitor.get("/docs/public-in.html");
        assert!(page.text().contains("public page"), "{page:?}");
        assert_eq!(visitor.get("/secret/a.html").status, 403);
        hidden("no policy", &visitor.get("/docs/secret-in.html"));
        site.stop();
    }

    fn a_denial_page_of_the_site_is_shown_with_our_status(kind: Kind) {
        let site = site(kind)
            .host(
                "ErrorDocument 403 /errors/denied.html",
                "error_page 403 /errors/denied.html;\nlocation /errors { openam_agent off; }",
            )
            .prepare();
        page(&site, "errors/denied.html", "<p>sorry");
        let mut site = site;
        site.server.start();
        let mut visitor = site.visitor();
        visitor.log_in("/docs/a.html");
        let denied = visitor.get("/secret/a.html");
        assert_eq!((denied.status, denied.text().as_str()), (403, "<p>sorry"));
        let denied = visitor.send(Request::new("POST", "/docs/a.html").body("text/plain", "x"));
        assert_eq!(denied.status, 403, "{denied:?}");
        hidden("POST", &denied);
        site.stop();
    }

    fn a_denial_page_of_the_application_tells_it_no_identity(kind: Kind) {
        let site = site(kind)
            .host(
                "ErrorDocument 403 /app/denied",
                "error_page 403 = @denied;
                 location @denied { openam_agent off; proxy_pass http://@BACKEND@; }",
            )
            .start();
        let mut visitor = site.visitor();
        visitor.log_in("/docs/a.html");
        let forged = |request: Request| request.header("X-User", "root").header("Remote_User", "root");
        let post = Request::new("POST", "/api/order").body("text/plain", "x");
        for request in [Request::get("/secret/a.html"), post] {
            let denied = visitor.send(forged(request));
            let seen = Seen::of(&denied).unwrap_or_else(|| panic!("{denied:?}"));
            nobody("denied", &seen);
        }
        if kind == Kind::Httpd {
            let asked = site.backend.requests();
            assert_eq!(asked, ["GET /app/denied", "GET /app/denied"]);
        }
        site.stop();
    }

    fn a_page_behind_a_404_is_decided(kind: Kind) {
        let mut site = site(kind)
            .host("ErrorDocument 404 /docs/a.html", "error_page 404 =200 /docs/a.html;")
            .start();
        site.server.expect("failed (2: No such file"); // nginx says each 404
        for target in ["/public/none.html", "/logout/none.html"] {
            let response = site.get(target);
            hidden(target, &response);
            assert_ne!(response.status, 200, "{target}");
        }
        let mut visitor = site.visitor();
        visitor.log_in("/docs/b.html");
        let response = visitor.get("/public/none.html");
        assert!(response.text().contains("protected page a"), "{response:?}");
        site.stop();
    }

    fn an_index_page_elsewhere_is_decided(kind: Kind) {
        let mut site = site(kind)
            .host(
                "<Location /public>\nDirectoryIndex /docs/a.html\n</Location>",
                "location /public { index none.html /docs/a.html; }",
            )
            .start();
        site.server.expect("AH01276"); // httpd: no index and no listing
        let anonymous = site.get("/public/");
        hidden("index", &anonymous);
        assert_ne!(anonymous.status, 200, "{anonymous:?}");
        let mut visitor = site.visitor();
        visitor.log_in("/docs/a.html");
        let page = visitor.get("/public/");
        assert!(page.text().contains("protected page a"), "{page:?}");
        site.stop();
    }

    fn a_page_reached_by_an_internal_redirect_is_decided(kind: Kind) {
        let sender = free_port();
        let mut site = site(kind)
            .global(
                "",
                &format!(
                    "server {{ listen 127.0.0.1:{sender}; openam_agent off;
                     location / {{ add_header X-Accel-Redirect /docs/a.html; return 200; }} }}"
                ),
            )
            .host(
                "<Location /public/status>\nErrorDocument 410 /docs/a.html\nRedirect gone /public/status\n</Location>",
                &format!(
                    "location /public/try {{ try_files $uri /docs/a.html; }}
                     location /public/accel {{ proxy_pass http://127.0.0.1:{sender}; }}
                     location /public/rewrite {{ error_page 418 = /docs/a.html; return 418; }}
                     location /public/status {{ error_page 410 =200 /docs/a.html; return 410; }}"
                ),
            )
            .prepare();
        page(&site, "public/.htaccess", "RewriteEngine On\nRewriteRule ^rewrite$ /docs/a.html [L]\n");
        site.server.start();
        let nginx_only: &[&str] = &["/public/try", "/public/accel"];
        let targets = ["/public/rewrite", "/public/status"].iter();
        let mut visitor = site.visitor();
        visitor.log_in("/docs/b.html");
        for target in targets.chain(if kind == Kind::Nginx { nginx_only } else { &[] }) {
            let anonymous = site.get(target);
            hidden(target, &anonymous);
            assert_ne!(anonymous.status, 200, "{target}: {anonymous:?}");
            let page = visitor.get(target);
            assert!(page.text().contains("protected page a"), "{target}: {page:?}");
        }
        site.stop();
    }
}

mod httpd {
    use super::*;

    #[test]
    fn satisfy_any_opens_nothing() {
        for in_htaccess in [false, true] {
            let open = "Satisfy Any\nOrder allow,deny\nAllow from all\nRequire all granted\n";
            let vhost = match in_htaccess {
                true => String::new(),
                false => format!("<Location />\n{open}</Location>\n"),
            };
            let mut site = site(Kind::Httpd).host(&vhost, "").prepare();
            if in_htaccess {
                page(&site, ".htaccess", open);
                page(&site, "docs/.htaccess", open);
                page(&site, "secret/.htaccess", open);
            }
            site.server.start();
            let anonymous = site.get("/docs/a.html");
            hidden("Satisfy Any", &anonymous);
            assert_eq!(anonymous.status, 302, "{anonymous:?}");
            let mut visitor = site.visitor();
            assert_eq!(visitor.log_in("/docs/a.html").status, 200);
            let denied = visitor.get("/secret/a.html");
            assert_eq!(denied.status, 403, "{denied:?}");
            hidden("Satisfy Any", &denied);
            assert_eq!(site.get("/public/a.html").status, 200);
            site.stop();
        }
    }

    #[test]
    fn satisfy_any_does_not_open_what_httpd_closed() {
        let closed = "<Location /docs>\nSatisfy All\nRequire all denied\n</Location>\n";
        let mut site = site(Kind::Httpd).host(closed, "").start();
        site.server.expect("AH01630"); // client denied by server configuration
        let mut visitor = site.visitor();
        let response = visitor.log_in("/docs/a.html");
        assert_eq!(response.status, 403, "{response:?}");
        hidden("denied", &response);
        site.stop();
    }

    #[test]
    fn htaccess_cannot_switch_the_agent_off() {
        let mut site = site(Kind::Httpd).prepare();
        page(&site, "docs/.htaccess", "AmAgent Off\n");
        site.server.start();
        site.server.expect("AmAgent not allowed here");
        let response = site.get("/docs/a.html");
        assert_eq!(response.status, 500, "{response:?}");
        hidden("htaccess", &response);
        site.stop();
    }

    #[test]
    fn a_disk_cache_gives_nobody_another_users_page() {
        for quick in ["on", "off"] {
            let host = format!(
                "CacheRoot @DIR@/cache\nCacheEnable disk /\nCacheQuickHandler {quick}\n\
                 CacheIgnoreNoLastMod On\nCacheIgnoreCacheControl On\nCacheStoreNoStore On\n\
                 CacheStorePrivate On\nCacheDefaultExpire 3600\nCacheIgnoreHeaders Set-Cookie\n\
                 CacheHeader On\n<Location /app/off>\nAmAgent Off\n</Location>\n"
            );
            let site = site(Kind::Httpd)
                .modules(&["cache", "cache_disk"])
                .host(&host, "")
                .start();
            let other = json!({ "mail": "demo2@example.com", "sn": "Two" });
            site.am
                .admin()
                .create_user("/", "demo2", USER_PASSWORD, &other)
                .expect("user");

            // The cache does work, where the agent is off.
            assert_eq!(site.get("/app/off/x").status, 200);
            let hit = || site.get("/app/off/x").header("x-cache").map(str::to_owned);
            portcullis_tests::wait_until("a cached page", || {
                hit().is_some_and(|h| h.starts_with("HIT"))
            });

            let mut first = site.visitor();
            first.log_in("/app/page");
            let mut second = site.visitor();
            let token = site
                .am
                .client()
                .login("/", "demo2", USER_PASSWORD)
                .expect("login");
            second.use_am_token(&token);
            second.log_in("/app/page");
            for _ in 0..4 {
                for (visitor, name) in [(&mut first, "demo1"), (&mut second, "demo2")] {
                    let page = visitor.get("/app/page");
                    let seen = Seen::of(&page).expect("the application's answer");
                    assert_eq!(seen.all("X-User"), [name], "CacheQuickHandler {quick}");
                    assert_eq!(visitor.get("/docs/a.html").status, 200);
                    assert_eq!(visitor.get("/secret/a.html").status, 403);
                }
                for target in ["/app/page", "/docs/a.html", "/secret/a.html"] {
                    let anonymous = site.get(target);
                    assert_eq!(anonymous.status, 302, "{target}: {anonymous:?}");
                }
            }
            site.stop();
        }
    }
}

mod nginx {
    use super::*;

    #[test]
    fn satisfy_any_opens_nothing() {
        let site = site(Kind::Nginx)
            .host(
                "",
                "satisfy any; allow all;
                 location /docs/b.html { satisfy any; deny all; }",
            )
            .start();
        for target in ["/docs/a.html", "/secret/a.html", "/docs/b.html"] {
            let response = site.get(target);
            hidden(target, &response);
            assert_eq!(response.status, 302, "{target}: {response:?}");
        }
        let mut visitor = site.visitor();
        assert_eq!(visitor.log_in("/docs/a.html").status, 200);
        assert_eq!(visitor.get("/secret/a.html").status, 403);
        assert_eq!(
            visitor.get("/docs/b.html").status,
            200,
            "an allow of ours satisfies"
        );
        assert_eq!(site.get("/public/a.html").status, 200);
        site.stop();
    }

    #[test]
    fn deny_stays_deny() {
        let mut site = site(Kind::Nginx)
            .host(
                "",
                "location /docs { deny all; }\nlocation /public { deny all; }",
            )
            .start();
        site.server.expect("access forbidden by rule");
        let mut visitor = site.visitor();
        visitor.log_in("/app/x");
        assert_eq!(visitor.get("/docs/a.html").status, 403);
        assert_eq!(visitor.get("/public/a.html").status, 403);
        site.stop();
    }

    #[test]
    fn auth_request_and_the_agent_both_have_to_agree() {
        let site = site(Kind::Nginx)
            .host(
                "",
                "location /docs { auth_request /yes; }
                 location /docs/b.html { auth_request /no; }
                 location /docs/form.html { satisfy any; auth_request /yes; }
                 location = /yes { internal; openam_agent off; return 204; }
                 location = /no { internal; openam_agent off; return 403; }",
            )
            .prepare();
        let mut site = site;
        site.server.start();
        site.server.expect("access forbidden by rule");
        for target in ["/docs/a.html", "/docs/form.html"] {
            let response = site.get(target);
            hidden(target, &response);
            assert_eq!(response.status, 302, "{target}: {response:?}");
        }
        hidden("/no", &site.get("/docs/b.html"));
        let mut visitor = site.visitor();
        assert_eq!(visitor.log_in("/docs/a.html").status, 200);
        assert_eq!(visitor.get("/docs/form.html").status, 200);
        assert_eq!(visitor.get("/docs/b.html").status, 403);
        site.stop();
    }

    #[test]
    fn a_denied_post_does_not_reach_the_application_as_an_error_page() {
        let site = site(Kind::Nginx)
            .host(
                "",
                "error_page 403 = @app;
                 location @app { proxy_pass http://@BACKEND@; }",
            )
            .start();
        let mut visitor = site.visitor();
        visitor.log_in("/docs/a.html");
        for request in [
            Request::new("POST", "/api/order").body("text/plain", "x"),
            Request::get("/secret/a.html"),
        ] {
            let denied = visitor.send(request);
            assert_eq!(denied.status, 403, "{denied:?}");
            assert!(denied.text().contains("If you ask for help"), "{denied:?}");
        }
        assert!(
            site.backend.requests().is_empty(),
            "{:?}",
            site.backend.requests()
        );
        site.stop();
    }
}

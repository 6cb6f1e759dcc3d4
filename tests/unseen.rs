//! Requests that no person sees: a script or a socket gets an answer that it can use, never a redirect
//! to a login that it cannot follow.

// What can't be had fails the test that wanted it.
#![allow(clippy::expect_used, clippy::panic)]

use portcullis_tests::{
    both_servers,
    client::{Request, Response},
    outcome::{logged, logs_in},
    site,
};
use serde_json::Value;

const FREE: &str = "com.sun.identity.agents.config.freeformproperties";
const JSON: &str = "org.forgerock.agents.config.json";
const PAGE: &str = "text/html,application/xhtml+xml,*/*;q=0.8";

fn body(response: &Response) -> Value {
    let json = serde_json::from_slice(&response.body);
    json.unwrap_or_else(|e| panic!("{e}: {response:?}"))
}

both_servers! {
    fn what_no_person_sees_gets_401(kind: Kind) {
        let site = site::site(kind).start();
        let fetch = || Request::get("/app/data").header("Sec-Fetch-Mode", "cors");
        for request in [
            fetch().header("Accept", "*/*"),
            Request::get("/app/data").header("Accept", "application/json"),
            Request::get("/app/data").header("Accept", PAGE).header("X-Requested-With", "XMLHttpRequest"),
            Request::get("/app/socket").header("Upgrade", "websocket").header("Sec-WebSocket-Version", "13"),
            Request::new("OPTIONS", "/app/data").header("Origin", "http://spa.example.com")
                .header("Access-Control-Request-Method", "PUT"),
            Request::new("POST", "/app/data").header("Sec-Fetch-Mode", "cors").body("application/json", "{}"),
        ] {
            let response = logged(&site, "PCL0331", || site.send(&request));
            assert_eq!(response.status, 401, "{request:?}: {response:?}");
            assert_eq!(response.header("location"), None, "{response:?}");
            assert_eq!(response.all("set-cookie").count(), 0, "no login that nobody finishes: {response:?}");
            assert_eq!(response.header("cache-control"), Some("no-store"));
            assert_eq!(response.all("www-authenticate").count(), 1, "{response:?}");
        }
        let json = site.send(&Request::get("/app/data").header("Accept", "application/json"));
        assert_eq!(body(&json)["error"]["code"], 401);
        // Who has a session is let in as ever, and a person is sent to log in.
        let mut visitor = site.visitor();
        assert_eq!(visitor.log_in("/docs/a.html").status, 200);
        assert_eq!(visitor.send(fetch()).status, 200);
        let person = Request::get("/app/data").header("Sec-Fetch-Mode", "navigate").header("Accept", PAGE);
        assert_eq!(site.send(&person).status, 302);
        site.stop();
    }

    fn listed_urls_and_headers_get_401(kind: Kind) {
        let site = site::site(kind)
            .property("portcullis.unauthorized.detect", "false")
            .property("portcullis.unauthorized.url[0]", "*/app/*")
            .property("portcullis.unauthorized.header[X-Client]", "sync")
            .start();
        for request in [
            Request::get("/app/data?x=1").header("Accept", PAGE),
            Request::get("/docs/a.html").header("X-CLIENT", "Sync"),
        ] {
            let response = logged(&site, "PCL0331", || site.send(&request));
            assert_eq!((response.status, response.header("location")), (401, None), "{response:?}");
            assert!(response.text().contains("Login needed"), "{response:?}");
        }
        let other = Request::get("/docs/a.html").header("Sec-Fetch-Mode", "cors");
        assert_eq!(site.send(&other).status, 302, "not looked for");
        site.stop();
    }

    fn programs_get_json_where_they_are_listed(kind: Kind) {
        let url = format!("{JSON}.url[0]=*/app/*");
        let header = format!("{JSON}.header[X-Requested-With]=XMLHttpRequest");
        let site = site::site(kind).profile(FREE, &[&url, &header]).start();
        for request in [
            Request::get("/app/data?x=1"),
            Request::get("/docs/a.html").header("X-Requested-With", "XMLHttpRequest"),
        ] {
            let mut visitor = site.visitor();
            let response = visitor.send(request);
            assert_eq!((response.status, response.header("location")), (401, None), "{response:?}");
            let error = &body(&response)["error"];
            assert_eq!(error["code"], 302);
            let location = error["errors"][0]["location"].as_str().expect("address");
            // The script sends its page there; the login that begins so can be finished.
            let redirect = Response { status: 302, headers: vec![("Location".into(), location.into())], body: vec![] };
            let form = visitor.form(&redirect);
            let back = visitor.post(&form);
            assert_eq!(back.status, 302, "{back:?}");
            assert!(logs_in(&back), "{back:?}");
        }
        let mut visitor = site.visitor();
        assert_eq!(visitor.log_in("/docs/a.html").status, 200);
        let denied = visitor.send(Request::get("/secret/a.html").header("X-Requested-With", "XMLHttpRequest"));
        assert_eq!((denied.status, &body(&denied)["error"]["code"]), (403, &403.into()), "{denied:?}");
        site.stop();
    }

    fn json_has_the_status_and_the_text_that_are_configured(kind: Kind) {
        let site = site::site(kind)
            .profile(FREE, &[
                &format!("{JSON}.url[0]=*/docs/*"),
                &format!("{JSON}.url.invert=true"),
                &format!("{JSON}.response.code=202"),
            ])
            .property("portcullis.json.template", r#"{"login":"%TARGET%","page":"%REQUEST_URI%"}"#)
            .start();
        let response = site.get("/app/data?x=1");
        assert_eq!(response.status, 202, "{response:?}");
        assert_eq!(body(&response)["page"], "/app/data?x=1");
        assert!(body(&response)["login"].as_str().expect("address").starts_with(&site.am.url()));
        let mut visitor = site.visitor();
        assert_eq!(visitor.log_in("/docs/a.html").status, 200, "listed, so not in JSON");
        assert_eq!(visitor.get("/secret/a.html").status, 403, "a refusal keeps its status");
        site.stop();
    }
}

//! Which URL, which host and which client is meant, also when a proxy stands in front: what clients
//! write themselves must not count.

#![allow(clippy::expect_used, clippy::panic)]

use portcullis_tests::{
    both_servers,
    client::Request,
    outcome::{clears_session, logged},
    site::{AGENT, HOST, Site, site},
    wait_until,
};
use serde_json::{Value, json};

const PREFIX: &str = "com.sun.identity.agents.config";
const OUTSIDE: &str = "https://www.test.example.org:443";
const TRUSTED: &str = "portcullis.trusted.proxies";

fn named(name: &str) -> String {
    format!("{PREFIX}.{name}")
}

/// A condition that one address meets.
fn only_from(address: &str) -> Value {
    json!({ "condition": { "type": "IPv4", "startIp": address, "endIp": address } })
}

/// Lets AM know the site under the URL that browsers use, and its pages there.
fn known_outside(site: &Site) {
    let admin = site.am.admin();
    let roots = [OUTSIDE.to_owned(), site.url()].map(|url| format!("agentRootURL={url}/"));
    let roots = json!({ "sunIdentityServerDeviceKeyValue": roots });
    admin.update_agent("/", AGENT, &roots).expect("root URLs");
    let pages = format!("{OUTSIDE}/app/*");
    admin
        .create_policy("/", "outside", &[&pages], &json!({}))
        .expect("policy");
}

both_servers! {
    fn a_url_that_is_not_valid_is_refused_whoever_asks(kind: Kind) {
        let site = site(kind)
            .profile(
                "com.forgerock.agents.agent.invalid.url.regex",
                &["^http://www[.]test[.]example[.]org:[0-9]+/(app|agent|public)/[a-z0-9./-]*([?][a-z]+=[a-z]+)?$"],
            )
            .start();
        let mut visitor = site.visitor();
        assert_eq!(visitor.log_in("/app/page").status, 200);
        assert_eq!(visitor.get("/app/page?a=b").status, 200);
        for target in ["/app/page?a=1", "/app/PAGE", "/docs/a.html", "/public/a.html?a=b&c=d"] {
            assert_eq!(visitor.get(target).status, 403, "{target}");
            assert_eq!(site.get(target).status, 403, "{target}");
        }
        assert_eq!(site.get("/public/a.html?a=b").status, 200);
        site.wait_for_line("PCL0324");
        site.stop();
    }

    fn users_of_a_proxy_with_tls_come_back_to_https(kind: Kind) {
        let mut site = site(kind)
            .profile(&named("override.protocol"), &["true"])
            .profile(&named("override.host"), &["true"])
            .profile(&named("override.port"), &["true"])
            .profile(&named("agenturi.prefix"), &[&format!("{OUTSIDE}/")])
            .prepare();
        known_outside(&site);
        site.server.start();
        // As the proxy sends it: no TLS, and a host name of the inside.
        let inside = |target: &str| Request::get(target).header("Host", "inside.test.example.org");
        let mut visitor = site.visitor();
        let redirect = visitor.send(inside("/app/x?y=/z"));
        let callback = "redirect_uri=https%3A%2F%2Fwww.test.example.org%3A443%2Fagent%2Fcdsso-oauth2";
        assert!(redirect.location().contains(callback), "{redirect:?}");
        for cookie in redirect.all("set-cookie") {
            assert!(cookie.starts_with("__Host-agent-authn-tx"), "{cookie}");
            assert!(cookie.contains("Secure") && cookie.contains("SameSite=None"), "{cookie}");
        }
        let form = visitor.form(&redirect);
        let back = visitor.post(&form);
        assert_eq!((back.status, back.location()), (302, "https://www.test.example.org:443/app/x?y=/z#"));
        assert!(back.all("set-cookie").any(|c| c.starts_with("am-auth-jwt=") && c.contains("Secure")), "{back:?}");
        let page = visitor.send(inside("/app/x"));
        assert_eq!(page.status, 200, "{page:?}\n{}", site.server.said());
        site.stop();
    }

    fn only_a_trusted_proxy_says_what_the_browser_asked_for(kind: Kind) {
        let forwarded = |target: &str| {
            Request::get(target)
                .header("X-Forwarded-Proto", "https")
                .header("X-Forwarded-Host", HOST)
        };
        for trusted in ["127.0.0.1", "192.0.2.1"] {
            let mut site = site(kind).property(TRUSTED, trusted).prepare();
            known_outside(&site);
            site.server.start();
            let mut visitor = site.visitor();
            let redirect = visitor.send(forwarded("/app/x"));
            let https = redirect.location().contains("redirect_uri=https%3A%2F%2Fwww.test.example.org%3A443%2F");
            assert_eq!(https, trusted == "127.0.0.1", "{redirect:?}");
            if https {
                let form = visitor.form(&redirect);
                let back = visitor.post(&form);
                // The form comes through the same proxy, and this one did not.
                assert_eq!(back.status, 403, "{back:?}");
                let broken = Request::get("/public/x").header("X-Forwarded-Proto", "gopher");
                let response = logged(&site, "PCL0310", || site.send(&broken));
                assert_eq!(response.status, 400, "{response:?}");
            }
            site.stop();
        }
    }

    fn a_forged_address_meets_no_condition(kind: Kind) {
        for (trusted, met) in [("127.0.0.1", true), ("192.0.2.1", false)] {
            let mut site = site(kind)
                .profile(&named("client.ip.header"), &["X-Forwarded-For"])
                .property(TRUSTED, trusted)
                .prepare();
            let pages = format!("{}/near/*", site.url());
            let admin = site.am.admin();
            admin.create_policy("/", "near", &[&pages], &only_from("203.0.113.9")).expect("policy");
            site.server.expect("failed (2: No such file"); // nginx says each 404
            site.server.start();
            let mut visitor = site.visitor();
            visitor.log_in("/docs/a.html");
            let mut from = |line: &str| visitor.send(Request::get("/near/x").header("X-Forwarded-For", line)).status;
            assert_eq!(from("203.0.113.9") != 403, met, "{trusted}");
            // What the client wrote stands before what the proxy saw.
            assert_eq!(from("203.0.113.9, 198.51.100.1"), 403, "{trusted}");
            site.stop();
        }
    }

    fn without_trusted_proxies_the_address_is_unknown(kind: Kind) {
        let mut site = site(kind)
            .profile(&named("client.ip.header"), &["X-Forwarded-For"])
            .prepare();
        let pages = format!("{}/near/*", site.url());
        let admin = site.am.admin();
        admin.create_policy("/", "near", &[&pages], &only_from("127.0.0.1")).expect("policy");
        site.server.start();
        site.wait_for_line("portcullis.trusted.proxies");
        let mut visitor = site.visitor();
        visitor.log_in("/docs/a.html");
        for line in ["127.0.0.1", "203.0.113.9"] {
            let request = Request::get("/near/x").header("X-Forwarded-For", line);
            assert_eq!(visitor.send(request).status, 403, "{line}");
        }
        assert_eq!(visitor.get("/near/x").status, 403);
        site.stop();
    }

    fn users_of_other_names_are_sent_to_the_right_one(kind: Kind) {
        let site = site(kind)
            .profile(&named("fqdn.check.enable"), &["true"])
            .profile(&named("notenforced.url"), &["[0]=/public/*"])
            .profile(&named("fqdn.default"), &[HOST])
            .profile(&named("fqdn.mapping"), &[
                "[old.test.example.org]=new.test.example.org",
                "[*.shop.test.example.org]=shop.test.example.org",
            ])
            .start();
        let port = site.server.address().port();
        let ask = |method: &str, host: &str, target: &str| {
            site.send(&Request::new(method, target).header("Host", &format!("{host}:{port}")))
        };
        for (host, right) in [
            ("old.test.example.org", "new.test.example.org"),
            ("OLD.test.example.org", "new.test.example.org"),
            ("a.shop.test.example.org", "shop.test.example.org"),
            ("127.0.0.1", HOST),
        ] {
            for target in ["/app/x?y=/z", "/public/x"] {
                let response = ask("GET", host, target);
                let expected = format!("http://{right}:{port}{target}");
                assert_eq!((response.status, response.location()), (302, expected.as_str()), "{host}");
            }
            let response = logged(&site, "PCL0323", || ask("POST", host, "/public/x"));
            assert_eq!(response.status, 403, "{host}: {response:?}");
        }
        for host in [HOST, "new.test.example.org", "shop.test.example.org"] {
            assert_eq!(ask("GET", host, "/public/a.html").status, 200, "{host}");
        }
        site.stop();
    }

    fn a_session_from_elsewhere_is_refused_or_begun_anew(kind: Kind) {
        for reauth in [false, true] {
            let site = site(kind)
                .profile(&named("client.ip.validation.enable"), &["true"])
                .profile(&named("client.ip.validation.reauth"), &[&reauth.to_string()])
                .profile(&named("client.ip.header"), &["X-Forwarded-For"])
                .property(TRUSTED, "127.0.0.1")
                .start();
            let mut visitor = site.visitor();
            let redirect = visitor.get("/app/x");
            let form = visitor.form(&redirect);
            assert_eq!(visitor.post(&form).status, 302);
            // AM saw the login come from this machine.
            let page = |address: &str| Request::get("/app/x").header("X-Forwarded-For", address);
            assert_eq!(visitor.send(page("127.0.0.1")).status, 200, "{}", site.server.said());
            let code = if reauth { "PCL0321" } else { "PCL0320" };
            let token = visitor.am_token();
            let response = logged(&site, code, || visitor.send(page("203.0.113.9")));
            assert_eq!(response.status, if reauth { 302 } else { 403 }, "{response:?}");
            let alive = || site.am.simulator().session(&token).is_some();
            if reauth {
                wait_until("the end of the session at AM", || !alive());
                assert!(clears_session(&response), "{response:?}");
                assert_eq!(visitor.send(page("127.0.0.1")).status, 302, "it has ended");
            } else {
                assert!(alive());
                assert_eq!(visitor.send(page("127.0.0.1")).status, 200, "its own address");
                let response = logged(&site, code, || visitor.get("/app/x"));
                assert_eq!(response.status, 403, "an unknown address");
            }
            site.stop();
        }
    }
}

//! Clients that have a session at AM already: without cookies they bring its token in a header, or they
//! exchange it for the agent's cookie. Both only where told.

// Scenarios are functions of their own: Clippy does not take them for tests.
#![allow(clippy::expect_used, clippy::panic)]

use portcullis_tests::{
    backend::Seen,
    both_servers,
    client::{Request, Response},
    outcome::{SESSION_COOKIE, logged, logs_in, refused},
    real,
    server::Kind,
    site::{Builder, Site, USER, USER_PASSWORD, site},
    visitor::Visitor,
};

const HEADER: &str = "X-Session-Token";
const AM_COOKIE: &str = "iPlanetDirectoryPro";
const EXCHANGE: &str = "/agent/exchange";

fn with_header(kind: Kind) -> Builder {
    site(kind).property("portcullis.session.header", HEADER)
}

fn with_exchange(builder: Builder) -> Builder {
    builder.property("portcullis.authn.exchange.uri", "agent/exchange")
}

fn token(site: &Site) -> String {
    site.am
        .client()
        .login("/", USER, USER_PASSWORD)
        .expect("login at AM")
}

fn bringing(target: &str, token: &str) -> Request {
    Request::get(target).header(HEADER, token)
}

/// 401, and nothing that only a browser could act upon.
fn unauthorized(what: &str, answer: &Response) {
    assert_eq!(answer.status, 401, "{what}: {answer:?}");
    assert!(
        answer.header("www-authenticate").is_some(),
        "{what}: {answer:?}"
    );
    assert!(
        answer.header("location").is_none() && !logs_in(answer),
        "{what}: {answer:?}"
    );
    assert_eq!(answer.header("cache-control"), Some("no-store"), "{what}");
}

fn sees_the_user(page: &Response) {
    assert_eq!(page.status, 200, "{page:?}");
    let seen = Seen::of(page).expect("the application's answer");
    assert_eq!(seen.header("X-User").as_deref(), Some("demo1"));
    assert!(
        seen.all(HEADER).is_empty() && seen.all("Cookie").is_empty(),
        "{}",
        page.text()
    );
}

fn comes_in_with_a_header(site: &Site) {
    let token = token(site);
    for _ in 0..2 {
        let page = site.send(&bringing("/app/page", &token));
        sees_the_user(&page);
        assert!(page.all("set-cookie").next().is_none(), "{page:?}");
    }
    let denied = site.send(&bringing("/secret/a.html", &token));
    assert_eq!(denied.status, 403, "{denied:?}");
    unauthorized(
        "made up",
        &site.send(&bringing("/app/page", "AQIC5wMadeUp.*AAJTSQACMDE.*")),
    );
    unauthorized("empty", &site.send(&bringing("/app/page", "")));
    let twice = bringing("/app/page", &token).header(HEADER, "another");
    unauthorized("two of them", &site.send(&twice));
    // Nowhere else.
    let query = format!("/app/page?{AM_COOKIE}={token}&{HEADER}={token}");
    assert_eq!(site.send(&Request::get(&query)).status, 302);
    let gone = site.send(&bringing("/logout/done.html", &token));
    assert_eq!(gone.status, 200, "{gone:?}");
    assert!(!real::alive(&site.am.client(), &token));
    unauthorized("logged out", &site.send(&bringing("/app/page", &token)));
    assert!(!site.debug_log().contains(&token) && !site.server.said().contains(&token));
}

fn exchanging(token: &str) -> Request {
    let cookie = format!("{AM_COOKIE}={token}");
    Request::new("POST", EXCHANGE).header("Cookie", &cookie)
}

fn exchanges(visitor: &mut Visitor<'_>) {
    let site = visitor.site();
    let token = token(site);
    let answer = site.send(&exchanging(&token));
    assert_eq!(answer.status, 204, "{answer:?}");
    assert!(logs_in(&answer), "{answer:?}");
    assert_eq!(answer.header("cache-control"), Some("no-store"));
    visitor.take(&answer);
    assert_eq!(visitor.cookies.keys().collect::<Vec<_>>(), [SESSION_COOKIE]);
    sees_the_user(&visitor.get("/app/page"));
    site.wait_for_line("PCL0395");
    // It is the same session.
    site.am
        .client()
        .logout(&token, &token)
        .expect("logout at AM");
    unauthorized("no token", &site.send(&Request::new("POST", EXCHANGE)));
    unauthorized(
        "a dead one",
        &site.send(&exchanging("AQIC5wMadeUp.*AAJTSQACMDE.*")),
    );
}

both_servers! {
    fn a_client_without_cookies_brings_its_token_in_a_header(kind: Kind) {
        let site = with_header(kind).start();
        comes_in_with_a_header(&site);
        site.stop();
        let plain = portcullis_tests::site::site(kind).start();
        let token = token(&plain);
        let answer = plain.send(&bringing("/app/page", &token));
        assert_eq!(answer.status, 302, "{answer:?}");
        plain.stop();
    }

    fn a_session_token_is_exchanged_for_the_agents_cookie(kind: Kind) {
        let site = with_exchange(with_header(kind)).start();
        exchanges(&mut site.visitor());
        let token = token(&site);
        // Without cookies at all.
        let by_header = Request::new("POST", EXCHANGE).header(HEADER, &token);
        assert!(logs_in(&site.send(&by_header)));
        // No page of another site has a browser do it.
        for (name, value) in [
            ("Origin", "https://evil.example.com"),
            ("Origin", "null"),
            ("Sec-Fetch-Site", "cross-site"),
            ("Sec-Fetch-Site", "same-site"),
        ] {
            let answer = logged(&site, "PCL0396", || site.send(&exchanging(&token).header(name, value)));
            refused(value, &answer, 403);
        }
        let own = site.send(&exchanging(&token).header("Origin", &site.url()).header("Sec-Fetch-Site", "same-origin"));
        assert!(logs_in(&own), "{own:?}");
        let cookie = format!("{AM_COOKIE}={token}");
        let get = Request::get(EXCHANGE).header("Cookie", &cookie);
        refused("GET", &logged(&site, "PCL0396", || site.send(&get)), 400);
        let both = format!("{cookie}; {AM_COOKIE}=another");
        let both = Request::new("POST", EXCHANGE).header("Cookie", &both);
        unauthorized("two cookies", &site.send(&both));
        assert!(!site.debug_log().contains(&token) && !site.server.said().contains(&token));
        site.stop();
    }

    fn only_the_cookie_that_is_named_is_exchanged_and_only_where_told(kind: Kind) {
        let named = with_exchange(site(kind))
            .property("portcullis.authn.exchange.cookie.name", "app-session")
            .property("portcullis.login.tokens.max", "5")
            .start();
        let token = token(&named);
        unauthorized("AM's own", &named.send(&exchanging(&token)));
        let cookie = format!("app-session={token}");
        let answer = named.send(&Request::new("POST", EXCHANGE).header("Cookie", &cookie));
        assert!(logs_in(&answer), "{answer:?}");
        // Whoever makes tokens up is stopped before AM is asked.
        let made_up = |n: usize| {
            let cookie = format!("app-session=made-up-{n}");
            named.send(&Request::new("POST", EXCHANGE).header("Cookie", &cookie)).status
        };
        let last = (0..30).map(made_up).find(|status| *status != 401);
        assert_eq!(last, Some(429));
        named.wait_for_line("PCL0332");
        named.stop();
        let plain = site(kind).start();
        let answer = plain.send(&exchanging(&token));
        assert!(!logs_in(&answer) && answer.status != 204, "{answer:?}");
        plain.stop();
    }
}

#[test]
fn tokens_of_a_real_openam_need_no_cookie() {
    real::on_both("clients without cookies and a real OpenAM", |kind, am| {
        let site = with_exchange(with_header(kind)).am(am()).start();
        comes_in_with_a_header(&site);
        exchanges(&mut site.visitor());
        site.stop();
    });
}

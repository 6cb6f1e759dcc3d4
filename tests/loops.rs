//! Logins that go round in circles: each cause ends with a page that says what the user can do, and a line
//! that tells the operator what is wrong (rule L8).

// What can't be had fails the test that wanted it.
#![allow(clippy::expect_used, clippy::panic)]

use std::error::Error;

use portcullis_tests::{
    both_servers,
    browser::{Browser, Driver},
    client::{Request, Response},
    forge,
    outcome::{SESSION_COOKIE, clears_session, logged, logs_in},
    real,
    server::{Kind, free_port},
    site::{self, Builder, Site, USER, USER_PASSWORD},
    visitor::{Visitor, path_of},
    wait_until,
};

const AGENT: &str = "com.sun.identity.agents.config";
const FREE: &str = "com.sun.identity.agents.config.freeformproperties";
const SAMESITE: &str = "com.forgerock.agents.cdsso.cookie.samesite";
const AM_COOKIE: &str = "iPlanetDirectoryPro";
const COUNTER: &str = "agent-authn-loop";
const PAGE: &str = "/docs/a.html?x=1";
/// Rounds until the page, unless configured.
const LIMIT: usize = 5;

/// Logs in for the page: `None` when the browser was sent back to it, else what came instead.
fn round(visitor: &mut Visitor<'_>) -> Option<Response> {
    let answer = visitor.get(PAGE);
    if answer.status != 302 {
        return Some(answer);
    }
    let form = visitor.form(&answer);
    let back = visitor.post(&form);
    assert_eq!(
        (back.status, path_of(back.location()).as_str()),
        (302, PAGE),
        "{back:?}"
    );
    None
}

/// Goes round, with something done to the browser after each login, until it ends with the page for this
/// cause.
fn circles(
    site: &Site,
    code: &str,
    status: u16,
    words: &str,
    mut after: impl FnMut(&mut Visitor<'_>),
) {
    let mut visitor = site.visitor();
    for round_number in 0..LIMIT {
        let ended = round(&mut visitor);
        assert!(ended.is_none(), "after {round_number} rounds: {ended:?}");
        after(&mut visitor);
    }
    let page = logged(site, code, || {
        round(&mut visitor).expect("a page that ends it")
    });
    is_the_end(&page, status, words);
    assert!(
        !visitor.cookies.contains_key(COUNTER),
        "the next try counts anew: {page:?}"
    );
}

/// A page that says what the user can do, with a number that the log knows.
fn is_the_end(page: &Response, status: u16, words: &str) {
    assert_eq!(
        (page.status, page.header("location")),
        (status, None),
        "{page:?}"
    );
    let text = page.text();
    assert!(
        text.contains("goes round in circles") && text.contains(words),
        "{text}"
    );
    assert!(text.contains("give this number"), "{text}");
    assert!(
        !text.contains("PCL") && !text.contains("am-auth-jwt"),
        "the rest is in the log: {text}"
    );
    assert_eq!(page.header("cache-control"), Some("no-store"));
    assert!(!logs_in(page));
}

/// The page that ends a login, which could not have gone round.
fn ends_a_login(page: &Response, words: &str) {
    assert_eq!(
        (page.status, page.header("location")),
        (403, None),
        "{page:?}"
    );
    assert!(page.text().contains(words), "{}", page.text());
    assert!(!logs_in(page));
}

/// Takes part of the log's line for this code.
fn evidence(site: &Site, code: &str, text: &str) {
    wait_until(&format!("{code} with {text:?}"), || {
        let log = site.debug_log();
        log.lines()
            .any(|line| line.contains(code) && line.contains(text))
    });
}

fn drop_session(visitor: &mut Visitor<'_>) {
    visitor
        .cookies
        .remove(SESSION_COOKIE)
        .expect("the session's cookie");
}

/// Custom login mode 2: AM's cookie in a domain, without the agent's endpoint.
fn shared_domain(kind: Kind) -> Builder {
    site::site(kind).profile(
        FREE,
        &[
            "org.forgerock.openam.agents.config.allow.custom.login=2",
            "com.forgerock.agents.accept.sso.token=1",
        ],
    )
}

/// Asks until something else than a redirect to AM's login page comes; how often that came.
fn redirects(site: &Site, mut ask: impl FnMut() -> Response) -> (usize, Response) {
    for count in 0..40 {
        let answer = ask();
        if answer.status != 302 {
            return (count, answer);
        }
        assert!(answer.location().starts_with(&site.am.url()), "{answer:?}");
    }
    panic!("no end");
}

both_servers! {
    fn a_session_cookie_that_is_not_kept_ends_with_a_page(kind: Kind) {
        let site = site::site(kind).start();
        circles(&site, "PCL0312", 403, "Allow cookies for this site", drop_session);
        evidence(&site, "PCL0312", "5 rounds");
        site.stop();
    }

    fn settings_that_keep_the_session_cookie_back_are_told_apart(kind: Kind) {
        // What a browser makes of these, `a_browser_does_not_go_round` shows.
        for (name, value, code, said) in [
            ("com.sun.identity.agents.config.cookie.secure", "true", "PCL0314", "am-auth-jwt over http"),
            ("com.sun.identity.agents.config.cdsso.cookie.domain", "[0]=.elsewhere.example.org", "PCL0313",
                "domains .elsewhere.example.org"),
            (FREE, "com.forgerock.agents.cdsso.cookie.samesite=Strict", "PCL0315", "SameSite of am-auth-jwt is Strict"),
        ] {
            let mut site = site::site(kind).profile(name, &[value]).start();
            site.server.expect(code);
            circles(&site, code, 500, "A setting of this site", drop_session);
            evidence(&site, code, said);
            site.stop();
        }
    }

    fn cookies_that_contradict_each_other_end_with_a_page(kind: Kind) {
        let site = site::site(kind).start();
        let toss = |visitor: &mut Visitor<'_>| {
            let own = visitor.cookies[SESSION_COOKIE].clone();
            // A sibling's cookie for the parent domain, which this site cannot remove.
            visitor.cookies.insert(SESSION_COOKIE.into(), format!("{own}; {SESSION_COOKIE}=tossed"));
        };
        circles(&site, "PCL0316", 403, "Delete the cookies of this site", toss);
        evidence(&site, "PCL0316", "am-auth-jwt came twice");
        site.stop();
    }

    fn cookies_of_another_key_or_changed_ones_are_told_apart(kind: Kind) {
        let (mut site, other) = (site::site(kind).start(), site::site(kind).start());
        site.server.expect("PCL0317");
        let mut visitor = other.visitor();
        assert_eq!(visitor.log_in(PAGE).status, 200);
        let theirs = visitor.cookies[SESSION_COOKIE].clone();
        let swap = |visitor: &mut Visitor<'_>| {
            visitor.cookies.insert(SESSION_COOKIE.into(), theirs.clone());
        };
        circles(&site, "PCL0317", 500, "A setting of this site", swap);
        let cut = |visitor: &mut Visitor<'_>| {
            let own = visitor.cookies.get_mut(SESSION_COOKIE).expect("cookie");
            own.truncate(own.len() - 4);
        };
        circles(&site, "PCL0318", 403, "does not keep the login cookie", cut);
        // Two nodes with different keys cannot read each other's counter either: it is counted here.
        let counter = visitor.cookies[COUNTER].clone();
        let request = Request::get(PAGE).header("Cookie", &format!("{SESSION_COOKIE}={theirs}; {COUNTER}={counter}"));
        let (count, page) = redirects(&site, || site.send(&request));
        assert_eq!(count, LIMIT);
        is_the_end(&page, 500, "A setting of this site");
        assert!(clears_session(&page), "{page:?}");
        // The answer to a login that began at such a node says so in the log, and is the end of it.
        let mut visitor = site.visitor();
        let redirect = visitor.get(PAGE);
        let form = visitor.form(&redirect);
        let (name, _) = visitor.cookies.first_key_value().expect("a login's cookie");
        let (name, mut theirs) = (name.clone(), other.visitor());
        theirs.get(PAGE);
        let (_, value) = theirs.cookies.first_key_value().expect("a login's cookie");
        visitor.cookies.insert(name, value.clone());
        let page = logged(&site, "PCL0214", || visitor.post(&form));
        assert_eq!((page.status, page.header("location")), (403, None), "{page:?}");
        evidence(&site, "PCL0214", "sealed with another key");
        other.stop();
        site.stop();
    }

    fn sessions_that_am_ends_at_once_end_with_a_page(kind: Kind) {
        // As a quota does that ends the oldest: another device logs in each time.
        let site = site::site(kind).profile(&format!("{AGENT}.sso.cache.polling.interval"), &["0"]).start();
        let am = site.am.client();
        let end = |visitor: &mut Visitor<'_>| {
            let token = visitor.am_token();
            am.logout(&token, &token).expect("logout at AM");
            visitor.use_am_token(&am.login("/", USER, USER_PASSWORD).expect("login"));
        };
        circles(&site, "PCL0319", 403, "log out there", end);
        site.stop();
    }

    fn addresses_that_nobody_can_compare_end_with_a_page(kind: Kind) {
        let mut site = site::site(kind)
            .profile(&format!("{AGENT}.client.ip.validation.enable"), &["true"])
            .profile(&format!("{AGENT}.client.ip.header"), &["X-Forwarded-For"])
            .profile(FREE, &[&format!("{AGENT}.client.ip.validation.reauth=true")])
            .start();
        site.server.expect("PCL0326");
        // Each session is ended, because the proxies that may name addresses are not named.
        let another_session = |visitor: &mut Visitor<'_>| {
            let token = site.am.client().login("/", USER, USER_PASSWORD).expect("login");
            visitor.use_am_token(&token);
        };
        circles(&site, "PCL0326", 500, "A setting of this site", another_session);
        evidence(&site, "PCL0326", "address is unknown");
        site.stop();
    }

    fn logins_that_take_too_long_end_with_a_page(kind: Kind) {
        let site = site::site(kind).profile(&format!("{AGENT}.profile.attribute.cookie.maxage"), &["1"]).start();
        let mut visitor = site.visitor();
        for _ in 0..LIMIT {
            let redirect = visitor.get(PAGE);
            let form = visitor.form(&redirect);
            let worthless = forge::with(&form, "id_token", "x");
            wait_until("the end of the login's life", || visitor.post(&worthless).status == 302);
        }
        let page = logged(&site, "PCL0327", || visitor.get(PAGE));
        is_the_end(&page, 403, "longer than is allowed");
        site.stop();
    }

    fn two_cookies_of_am_do_not_redirect_without_end(kind: Kind) {
        let site = shared_domain(kind).start();
        let mut visitor = site.visitor();
        visitor.cookies.insert(AM_COOKIE.into(), format!("AQIC5wA.*; {AM_COOKIE}=AQIC5wB.*"));
        let twice = visitor.cookies[AM_COOKIE].clone();
        let (count, page) = redirects(&site, || {
            let answer = visitor.get(PAGE);
            // It was set for a domain that this site does not know.
            visitor.cookies.insert(AM_COOKIE.into(), twice.clone());
            answer
        });
        assert_eq!(count, LIMIT);
        is_the_end(&page, 403, "Delete the cookies of this site");
        evidence(&site, "PCL0316", "iPlanetDirectoryPro came twice");
        site.stop();
    }

    fn a_cookie_of_am_that_does_not_come_ends_with_a_page(kind: Kind) {
        let mut site = shared_domain(kind).start();
        site.server.expect("PCL0329");
        let mut visitor = site.visitor();
        let (count, page) = redirects(&site, || visitor.get(PAGE));
        assert_eq!(count, LIMIT);
        is_the_end(&page, 500, "A setting of this site");
        evidence(&site, "PCL0329", "iPlanetDirectoryPro does not come to www.test.example.org");
        site.stop();
    }

    fn a_client_without_cookies_is_counted_in_all_workers(kind: Kind) {
        let site = shared_domain(kind).start();
        let (count, page) = redirects(&site, || site.get(PAGE));
        assert_eq!(count, 4 * LIMIT, "whichever worker answers");
        is_the_end(&page, 403, "sends no cookies");
        evidence(&site, "PCL0328", "rounds");
        assert_eq!(site.get("/docs/a.html").status, 302, "another page");
        let another = Request::get(PAGE).header("User-Agent", "another program");
        assert_eq!(site.send(&another).status, 302);
        site.stop();
    }

    fn a_client_begins_so_many_logins_and_no_more(kind: Kind) {
        let site = site::site(kind).property("portcullis.login.starts.max", "7").start();
        let (count, page) = redirects(&site, || site.get(PAGE));
        // The minute may end in between.
        assert!((7..=14).contains(&count), "{count}");
        assert_eq!((page.status, page.header("retry-after")), (429, Some("60")), "{page:?}");
        assert!(page.text().contains("Wait a minute"), "{page:?}");
        evidence(&site, "PCL0330", "127.0.0.1");
        // Nobody is let go by calling themselves another.
        let forged = Request::get("/docs/a.html").header("X-Forwarded-For", "198.51.100.9");
        let (count, _) = redirects(&site, || site.send(&forged));
        assert!(count <= 7, "{count}");
        // Pages that need no login are there all the same.
        assert_eq!(site.get("/public/a.html").status, 200);
        site.stop();
    }

    fn made_up_tokens_of_a_client_stop_reaching_am(kind: Kind) {
        let site = shared_domain(kind).property("portcullis.login.tokens.max", "5").start();
        let mut number = 0;
        let (count, page) = redirects(&site, || {
            number += 1;
            site.send(&Request::get("/docs/a.html").header("Cookie", &format!("{AM_COOKIE}=made-up-{number}")))
        });
        assert!((5..=10).contains(&count), "{count}");
        assert_eq!(page.status, 429, "{page:?}");
        site.wait_for_line("PCL0332");
        site.stop();
    }

    fn clocks_that_differ_end_a_login_with_a_page(kind: Kind) {
        let site = site::site(kind).start();
        site.am.simulator().advance(std::time::Duration::from_secs(3600));
        let mut visitor = site.visitor();
        let redirect = visitor.get(PAGE);
        let form = visitor.form(&redirect);
        let page = logged(&site, "PCL0228", || visitor.post(&form));
        ends_a_login(&page, "the clocks of two servers differ");
        site.stop();
    }

    fn a_cookie_that_no_browser_keeps_ends_a_login_with_a_page(kind: Kind) {
        let name = "n".repeat(3900);
        let mut site = site::site(kind).property("org.forgerock.openam.agents.config.jwt.name", &name).start();
        site.server.expect("PCL0232");
        let mut visitor = site.visitor();
        let redirect = visitor.get(PAGE);
        let form = visitor.form(&redirect);
        let page = logged(&site, "PCL0232", || visitor.post(&form));
        ends_a_login(&page, "larger than a browser keeps");
        site.stop();
    }

    fn accounts_of_another_realm_end_a_login_with_a_page(kind: Kind) {
        let site = site::site(kind).start();
        site.am.admin().create_realm("/", "other").expect("realm");
        let mut visitor = site.visitor();
        let redirect = visitor.get(PAGE);
        let form = visitor.form(&redirect);
        let token = site.am.client().login("/other", USER, USER_PASSWORD).expect("login at AM");
        let mut claims = forge::claims_of(form.field("id_token").expect("id_token"));
        claims["ssoToken"] = token.into();
        let key = forge::key_of(site::AGENT_PASSWORD);
        let foreign = forge::token(&forge::header(), &claims.to_string(), &key);
        let page = logged(&site, "PCL0302", || visitor.post(&forge::with(&form, "id_token", &foreign)));
        ends_a_login(&page, "an account of another area");
        site.stop();
    }

    fn who_logs_out_may_log_in_again(kind: Kind) {
        let site = site::site(kind).start();
        let mut visitor = site.visitor();
        for _ in 0..2 * LIMIT {
            assert_eq!(visitor.log_in(PAGE).status, 200);
            assert_eq!(visitor.get("/logout/done.html").status, 200);
            assert!(!visitor.cookies.contains_key(COUNTER));
            let token = site.am.client().login("/", USER, USER_PASSWORD).expect("login");
            visitor.use_am_token(&token);
        }
        site.stop();
    }
}

/// What Chromium itself does not keep or send ends with the page, however long nobody looks.
#[test]
fn a_browser_does_not_go_round() -> Result<(), Box<dyn Error>> {
    let Some(driver) = real::browser("a login that goes round in circles") else {
        return Ok(());
    };
    for kind in [Kind::Httpd, Kind::Nginx] {
        for (name, value, code) in [
            (
                format!("{AGENT}.cookie.secure"),
                "true".to_owned(),
                "PCL0314",
            ),
            (
                format!("{AGENT}.cdsso.cookie.domain"),
                "[0]=.elsewhere.example.org".to_owned(),
                "PCL0313",
            ),
        ] {
            let mut site = site::site(kind).profile(&name, &[&value]).start();
            site.server.expect(code);
            goes_round(&driver, &site, code, "A setting of this site")?;
            site.stop();
        }
        let site = shared_domain(kind).start();
        let browser = driver.browser()?;
        browser.goto(&format!("{}/public/a.html", site.url()))?;
        // For one path, so that nobody at this site removes it.
        browser.script(&format!(
            "document.cookie = '{AM_COOKIE}=tossed; path=/docs'"
        ))?;
        logs_in_at_am(&browser, &site)?;
        ends(
            &browser,
            &site,
            "PCL0316",
            "Delete the cookies of this site",
        )?;
        browser.quit()?;
        site.stop();
    }
    Ok(())
}

/// AM at another site than the page: Chromium keeps a strict cookie, and does not send it on the way back.
#[test]
fn a_browser_does_not_go_round_for_a_strict_cookie() -> Result<(), Box<dyn Error>> {
    let Some(driver) = real::browser("a strict cookie") else {
        return Ok(());
    };
    for kind in [Kind::Httpd, Kind::Nginx] {
        let mut site = site::site(kind)
            .named("127.0.0.1", site::AGENT, free_port())
            .profile(FREE, &[&format!("{SAMESITE}=Strict")])
            .start();
        site.server.expect("PCL0315");
        goes_round(&driver, &site, "PCL0315", "A setting of this site")?;
        site.stop();
    }
    Ok(())
}

fn goes_round(driver: &Driver, site: &Site, code: &str, words: &str) -> Result<(), Box<dyn Error>> {
    let browser = driver.browser()?;
    logs_in_at_am(&browser, site)?;
    ends(&browser, site, code, words)?;
    browser.quit()?;
    Ok(())
}

fn logs_in_at_am(browser: &Browser, site: &Site) -> Result<(), Box<dyn Error>> {
    browser.goto(&format!("{}{PAGE}", site.url()))?;
    browser.type_into("#idToken1", USER)?;
    browser.type_into("#idToken2", USER_PASSWORD)?;
    browser.click("#loginButton_0")?;
    Ok(())
}

fn ends(browser: &Browser, site: &Site, code: &str, words: &str) -> Result<(), Box<dyn Error>> {
    wait_until(&format!("the page that ends the loop, {code}"), || {
        let text = browser.text().unwrap_or_default();
        text.contains("goes round in circles") && text.contains(words)
    });
    assert!(browser.current_url()?.starts_with(&site.url()));
    site.wait_for_line(code);
    Ok(())
}

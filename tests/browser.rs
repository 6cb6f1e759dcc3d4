//! Does a person with a browser get in, get refused and get out again?
//!
//! Chromium and the two servers; a real OpenAM with its own login page for one visit, the simulator's for
//! the others. `PORTCULLIS_OPENAM` names a running OpenAM (`openam up --state FILE`); else one is started.
//!
//! `post.rs` has the form that comes back after a login, `loops.rs` the logins that go round in circles.

// What can't be had fails the test that wanted it.
#![allow(clippy::expect_used, clippy::panic)]

use std::{error::Error, fs};

use am_simulator::{Damage, Fault};
use portcullis_openam::{OpenAm, seed::Am};
use portcullis_tests::{
    both_servers,
    browser::{Browser, Driver, PHONE_WIDTH},
    client::Request,
    outcome::SESSION_COOKIE,
    real,
    server::{Kind, free_port},
    site::{AGENT, AmServer, Builder, Site, site},
    stepping::{ask_for_more, with_strong_pages},
    wait_until,
};
use serde_json::json;

#[test]
fn a_person_uses_both_servers() -> Result<(), Box<dyn Error>> {
    const WHAT: &str = "a person's visit with a browser";
    let Some(driver) = real::browser(WHAT) else {
        return Ok(());
    };
    let Some(openam) = real::openam(WHAT) else {
        return Ok(());
    };
    for kind in [Kind::Httpd, Kind::Nginx] {
        visit(kind, &openam, &driver)?;
    }
    openam.stop();
    Ok(())
}

fn visit(kind: Kind, openam: &OpenAm, driver: &Driver) -> Result<(), Box<dyn Error>> {
    let am = Am::at(openam.url())?;
    let cookie = am.cookie_name()?;
    let site = site(kind).am(AmServer::Real(am)).start();
    let page = format!("{}/docs/a.html?q=%C3%A4+1", site.url());
    let browser = driver.browser()?;

    logs_in(&browser, &page)?;
    let text = browser.text()?;
    assert!(text.contains("protected page a"), "{kind:?}: {text}");
    // What AM's form says in the fragment of its address is nothing for the application.
    assert_eq!(browser.script("return location.hash")?, json!(""));
    let cookies = browser.cookies()?;
    let session = cookies.iter().find(|c| c.name == cookie);
    let session = session.ok_or("AM's cookie is for the whole domain")?;
    let ours = cookies.iter().find(|c| c.name == "am-auth-jwt");
    assert!(ours.is_some_and(|c| c.http_only), "{kind:?}: HttpOnly");

    browser.goto(&format!("{}/app/page", site.url()))?;
    let text = browser.text()?;
    assert!(text.contains(r#"["X-User","demo1"]"#), "{kind:?}: {text}");

    is_refused(&browser, &site)?;

    browser.goto(&format!("{}/logout/done.html", site.url()))?;
    let text = browser.text()?;
    assert!(text.contains("you are logged out"), "{kind:?}: {text}");
    assert!(!real::alive(&site.am.client(), &session.value));
    browser.goto(&page)?;
    browser.wait_for("#idToken1")?;
    assert!(browser.current_url()?.starts_with(openam.url()));

    browser.quit()?;
    site.stop();
    Ok(())
}

/// Asks for a page and fills in the form of AM that comes instead.
fn logs_in(browser: &Browser, page: &str) -> Result<(), Box<dyn Error>> {
    browser.goto(page)?;
    browser.sign_in()?;
    browser.wait_for_url(page)?;
    Ok(())
}

/// The agent's page names an incident that the log explains.
fn is_refused(browser: &Browser, site: &Site) -> Result<(), Box<dyn Error>> {
    browser.goto(&format!("{}/secret/a.html", site.url()))?;
    let text = browser.text()?;
    assert!(!text.contains("page without policy"), "{text}");
    let (_, number) = text
        .split_once("give this number: ")
        .ok_or_else(|| format!("no incident id: {text}"))?;
    let number = number.split_whitespace().next().unwrap_or_default();
    let (id, node) = number.split_once('-').unwrap_or_default();
    assert_eq!((id.len(), node.len()), (16, 4), "{text}");
    site.wait_for_line(number);
    assert!(site.server.said().contains("PCL0300"));
    Ok(())
}

// --- with the simulator

const MAXAGE: &str = "com.sun.identity.agents.config.profile.attribute.cookie.maxage";

/// Runs a scenario where there is a browser.
fn with_browser(what: &str, scenario: impl FnOnce(&Driver) -> Result<(), Box<dyn Error>>) {
    if let Some(driver) = real::browser(what) {
        scenario(&driver).unwrap_or_else(|error| panic!("{what}: {error}"));
    }
}

/// Runs a scenario at a site with a fresh browser, where there is one.
fn at(
    builder: Builder,
    what: &str,
    scenario: impl FnOnce(&Site, &Browser) -> Result<(), Box<dyn Error>>,
) {
    with_browser(what, |driver| {
        let site = builder.start();
        let browser = driver.browser()?;
        scenario(&site, &browser)?;
        browser.quit()?;
        site.stop();
        Ok(())
    });
}

/// The browser shows AM's login page.
fn is_asked_to_log_in(browser: &Browser, site: &Site) -> Result<(), Box<dyn Error>> {
    browser.wait_for("#idToken1")?;
    assert!(browser.current_url()?.starts_with(&site.am.url()));
    Ok(())
}

/// The browser shows the protected page at `url`.
fn sees(browser: &Browser, url: &str) -> Result<(), Box<dyn Error>> {
    browser.wait_for_url(url)?;
    browser.wait_for_text("protected page")?;
    Ok(())
}

/// The login of a tab that waits at AM's login page is over; the browser is in another tab of the site.
fn expires(browser: &Browser, site: &Site) -> Result<(), Box<dyn Error>> {
    const NAME: &str = "agent-authn-tx-";
    let cookies = browser.cookies()?;
    let login = cookies.iter().find(|c| c.name.starts_with(NAME));
    let login = login.ok_or("the cookie of a login")?;
    let state = login.name.trim_start_matches(NAME);
    // A worthless token: refused while the login is young.
    let answer = Request::new("POST", "/agent/cdsso-oauth2")
        .header("Cookie", &format!("{}={}", login.name, login.value))
        .body(
            "application/x-www-form-urlencoded",
            format!("id_token=x&state={state}"),
        );
    wait_until("the end of the login's life", || {
        site.send(&answer).status == 302
    });
    Ok(())
}

/// The page is as wide as the screen, does not scroll sideways, and is large enough to read.
fn fits(phone: &Browser, what: &str) -> Result<(), Box<dyn Error>> {
    let seen = phone.script(
        "return [innerWidth, document.documentElement.scrollWidth, \
         ...[...document.querySelectorAll('h1, p, code, a')].map(e => parseFloat(getComputedStyle(e).fontSize))]",
    )?;
    let seen: Vec<f64> = serde_json::from_value(seen)?;
    let (sizes, letters) = seen.split_at(2);
    let width = f64::from(PHONE_WIDTH);
    assert_eq!(sizes[0], width, "{what}: made for a screen of its width");
    assert!(sizes[1] <= width, "{what} scrolls sideways: {sizes:?}");
    assert!(
        letters.len() > 2 && letters.iter().all(|px| *px >= 16.0),
        "{what}: {letters:?}"
    );
    Ok(())
}

/// A page that asks for data by script: told that the session is gone, it loads itself again, which leads through
/// the login and back.
fn lives_in_one_page(
    driver: &Driver,
    builder: Builder,
    headers: &str,
    answer: &str,
) -> Result<(), Box<dyn Error>> {
    let site = builder.start();
    let text = format!(
        "<!DOCTYPE html><title>app</title><button id=load>load</button><p id=out></p><script>\n\
         load.onclick = async () => {{ try {{\n\
         const response = await fetch('/api/data', {{ cache: 'no-store', headers: {headers} }});\n\
         sessionStorage.said = response.status + ' ' + response.headers.get('Content-Type');\n\
         if (response.status === 401) return location.reload();\n\
         out.textContent = 'data of ' + (await response.json()).target;\n\
         }} catch (error) {{ out.textContent = 'failed: ' + error; }} }};</script>"
    );
    fs::write(site.server.dir().join("docs/docs/app.html"), text)?;
    let page = format!("{}/docs/app.html", site.url());
    let browser = driver.browser()?;
    logs_in(&browser, &page)?;
    browser.click("#load")?;
    browser.wait_for_text("data of /api/data")?;
    let tab = browser.tab()?;
    browser.new_tab()?;
    browser.goto(&format!("{}/logout/done.html", site.url()))?;
    browser.wait_for_text("you are logged out")?;
    browser.switch_to(&tab)?;
    browser.click("#load")?;
    is_asked_to_log_in(&browser, &site)?;
    browser.sign_in()?;
    browser.wait_for_url(&page)?;
    assert_eq!(browser.script("return sessionStorage.said")?, json!(answer));
    browser.click("#load")?;
    browser.wait_for_text("data of /api/data")?;
    browser.quit()?;
    site.stop();
    Ok(())
}

both_servers! {
    fn two_tabs_log_in_in_either_order(kind: Kind) {
        with_browser("logins in two tabs", |driver| {
            let site = site(kind).start();
            let pages = ["a", "b"].map(|page| format!("{}/docs/{page}.html", site.url()));
            for first in [0, 1] {
                let browser = driver.browser()?;
                browser.goto(&pages[0])?;
                let tabs = [browser.tab()?, browser.new_tab()?];
                browser.goto(&pages[1])?;
                for at in [first, 1 - first] {
                    browser.switch_to(&tabs[at])?;
                    browser.sign_in()?;
                    sees(&browser, &pages[at])?;
                }
                for (tab, page) in tabs.iter().zip(&pages) {
                    browser.switch_to(tab)?;
                    browser.reload()?;
                    sees(&browser, page)?;
                }
                let cookies = browser.cookies()?;
                let left = cookies.iter().find(|c| c.name.starts_with("agent-authn-tx"));
                assert_eq!(left, None, "nothing is left of the logins");
                browser.quit()?;
            }
            site.stop();
            Ok(())
        });
    }

    fn back_after_a_login_is_no_dead_end(kind: Kind) {
        at(site(kind), "back after a login", |site, browser| {
            let url = site.url();
            let members = json!({ "actionValues": { "GET": true } });
            site.am.admin().create_policy("/", "start", &[&format!("{url}/"), &format!("{url}/index.html")], &members)?;
            let page = format!("{url}/docs/a.html");
            logs_in(browser, &page)?;
            // What AM's form says in the fragment of its address is nothing for the application.
            assert_eq!(browser.script("return location.hash")?, json!(""));
            // AM's login page knows who it is, and leads to an answer that was used before.
            browser.back()?;
            browser.wait_for_text("This login is over")?;
            browser.click("a")?;
            browser.wait_for_text("front page")?;
            browser.goto(&page)?;
            sees(browser, &page)?;
            Ok(())
        });
    }

    fn back_after_a_logout_shows_nothing_new(kind: Kind) {
        at(site(kind), "back after a logout", |site, browser| {
            let page = format!("{}/docs/a.html", site.url());
            logs_in(browser, &page)?;
            browser.goto(&format!("{}/logout/done.html", site.url()))?;
            browser.wait_for_text("you are logged out")?;
            // The browser may show what it still has; whoever asks for anything has to log in.
            browser.back()?;
            browser.wait_for_url(&page)?;
            browser.reload()?;
            is_asked_to_log_in(browser, site)?;
            browser.sign_in()?;
            sees(browser, &page)?;
            Ok(())
        });
    }

    fn a_login_page_that_was_left_open_leads_in(kind: Kind) {
        at(site(kind).profile(MAXAGE, &["3"]), "a login that took too long", |site, browser| {
            let page = format!("{}/docs/a.html?x=1", site.url());
            browser.goto(&page)?;
            is_asked_to_log_in(browser, site)?;
            let login = browser.tab()?;
            browser.new_tab()?;
            browser.goto(&format!("{}/public/a.html", site.url()))?;
            expires(browser, site)?;
            browser.switch_to(&login)?;
            browser.sign_in()?;
            sees(browser, &page)?;
            site.wait_for_line("PCL0205");
            Ok(())
        });
    }

    fn a_login_whose_cookie_is_gone_ends_with_a_page_and_the_next_one_works(kind: Kind) {
        at(site(kind), "a login whose cookie is gone", |site, browser| {
            let page = format!("{}/docs/a.html", site.url());
            browser.goto(&page)?;
            is_asked_to_log_in(browser, site)?;
            let login = browser.tab()?;
            browser.new_tab()?;
            browser.goto(&format!("{}/public/a.html", site.url()))?;
            browser.delete_cookies()?;
            browser.switch_to(&login)?;
            browser.sign_in()?;
            browser.wait_for_text("Open the page you wanted again")?;
            site.wait_for_line("PCL0214");
            browser.goto(&page)?;
            sees(browser, &page)?;
            Ok(())
        });
    }

    fn pages_fit_a_phone(kind: Kind) {
        with_browser("pages on a phone", |driver| {
            let mut site = site(kind).property("portcullis.am.deadline", "2000").start();
            site.server.expect("PCL05");
            let phone = driver.phone()?;
            logs_in(&phone, &format!("{}/docs/a.html", site.url()))?;
            site.am.simulator().add_fault(Fault::on("/json/policies", Damage::Status { status: 500 }));
            for (target, words) in [
                ("/secret/a.html", "Not available"),
                ("/agent/cdsso-oauth2", "This login is over"),
                ("/docs/a%5cb.html", "Bad request"),
            ] {
                phone.goto(&format!("{}{target}", site.url()))?;
                phone.wait_for_text(words)?;
                fits(&phone, target)?;
            }
            site.am.simulator().clear_faults();
            wait_until("a page that says no", || {
                let there = phone.goto(&format!("{}/secret/a.html", site.url()));
                there.and_then(|()| phone.text()).is_ok_and(|text| text.contains("No access"))
            });
            fits(&phone, "a denial")?;
            phone.quit()?;
            site.stop();
            Ok(())
        });
    }

    fn a_script_learns_that_its_session_is_gone(kind: Kind) {
        with_browser("an application that lives in one page", |driver| {
            // Chromium names a script's requests to origins that it trusts; elsewhere the script says what it takes.
            let named = site(kind).named("127.0.0.1", AGENT, free_port());
            for (builder, headers, answer) in [
                (site(kind), r#"{ Accept: "application/json" }"#, "401 application/json"),
                (named, "{}", "401 text/html; charset=utf-8"),
            ] {
                lives_in_one_page(driver, builder, headers, answer)?;
            }
            Ok(())
        });
    }

    fn a_logout_in_one_tab_is_seen_in_the_other(kind: Kind) {
        at(site(kind), "a logout in another tab", |site, browser| {
            let page = format!("{}/docs/a.html", site.url());
            logs_in(browser, &page)?;
            let first = browser.tab()?;
            browser.new_tab()?;
            browser.goto(&format!("{}/docs/b.html", site.url()))?;
            sees(browser, &site.url())?;
            browser.goto(&format!("{}/logout/done.html", site.url()))?;
            browser.wait_for_text("you are logged out")?;
            browser.switch_to(&first)?;
            browser.reload()?;
            is_asked_to_log_in(browser, site)?;
            let cookies = browser.cookies()?;
            assert!(cookies.iter().all(|c| c.name != SESSION_COOKIE), "{cookies:?}");
            Ok(())
        });
    }

    fn two_sites_of_different_domains_share_a_login(kind: Kind) {
        with_browser("a login for two domains", |driver| {
            let first = site(kind).start();
            let am = AmServer::Real(Am::at(&first.am.url())?);
            let second = site(kind).am(am).named("www.test.example.net", "wa2", free_port()).start();
            let browser = driver.browser()?;
            logs_in(&browser, &format!("{}/docs/a.html", first.url()))?;
            let own = |browser: &Browser| -> Result<Option<String>, Box<dyn Error>> {
                let cookies = browser.cookies()?.into_iter();
                Ok(cookies.filter(|c| c.name == SESSION_COOKIE).map(|c| c.value).next())
            };
            let cookie = own(&browser)?.expect("the first site's cookie");
            // AM knows who it is: nobody is asked for a password.
            let page = format!("{}/docs/b.html", second.url());
            browser.goto(&page)?;
            sees(&browser, &page)?;
            let other = own(&browser)?.expect("the second site's cookie");
            assert_ne!(cookie, other);
            // Each site ends its own, and AM's session.
            browser.goto(&format!("{}/logout/done.html", second.url()))?;
            browser.wait_for_text("you are logged out")?;
            browser.goto(&page)?;
            is_asked_to_log_in(&browser, &second)?;
            browser.quit()?;
            second.stop();
            first.stop();
            Ok(())
        });
    }

    fn a_step_up_leads_a_browser_to_more_and_back(kind: Kind) {
        with_browser("a step-up", |driver| {
            for redirect in ["true", "false"] {
                let site = with_strong_pages(site(kind))
                    .profile("com.sun.am.use_redirect_for_advice", &[redirect])
                    .start();
                ask_for_more(&site);
                let browser = driver.browser()?;
                logs_in(&browser, &format!("{}/docs/a.html", site.url()))?;
                let strong = format!("{}/strong/page?x=1", site.url());
                browser.goto(&strong)?;
                browser.sign_in()?;
                browser.wait_for_url(&strong)?;
                browser.wait_for_text(r#"["X-User","demo1"]"#)?;
                browser.goto(&format!("{}/docs/b.html", site.url()))?;
                browser.wait_for_text("protected page b")?;
                browser.quit()?;
                site.stop();
            }
            Ok(())
        });
    }
}

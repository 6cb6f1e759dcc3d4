//! The part of an address behind `#` survives a login, where told: no server sees it, so two pages of the
//! agent keep it in the browser.

// Scenarios are functions of their own: Clippy does not take them for tests.
#![allow(clippy::expect_used, clippy::panic)]

use std::error::Error;

use portcullis_openam::seed::{Am, form_of};
use portcullis_tests::{
    both_servers,
    browser::{Browser, Driver},
    client::{Request, Response},
    outcome::{SESSION_COOKIE, logs_in},
    real,
    server::Kind,
    site::{AmServer, Builder, Site, USER, USER_PASSWORD},
    stepping::{ask_for_more, with_strong_pages},
};

const TARGET: &str = "/docs/a.html?q=1";
/// With what would end an attribute, an element, or a script.
const FRAGMENT: &str = "#part-2/%22%3E%3C/a%3E?x=1&y='2'";

fn site(kind: Kind) -> Builder {
    let site = with_strong_pages(portcullis_tests::site::site(kind));
    site.property(
        "org.forgerock.agents.config.fragment.redirect.enable",
        "true",
    )
}

/// Where the one link of a page of ours leads.
fn link(page: &Response) -> String {
    let csp = page.header("content-security-policy").expect("a policy");
    assert!(
        csp.starts_with("default-src 'none'; script-src 'sha256-"),
        "{csp}"
    );
    assert!(csp.contains("frame-ancestors"), "{csp}");
    assert_eq!(page.header("cache-control"), Some("no-store"));
    // A link is read as a form's address is.
    let form = page
        .text()
        .replace("<a href=", "<form action=")
        .replace("</a>", "</form>");
    form_of(&form).expect("a link").action
}

both_servers! {
    fn a_fragment_survives_the_login(kind: Kind) {
        let site = site(kind).start();
        let mut visitor = site.visitor();
        let page = visitor.get(TARGET);
        assert_eq!(page.status, 200, "{page:?}");
        assert!(!page.text().contains("protected page"), "{}", page.text());
        assert!(page.text().contains(&format!("data-back=\"{}{TARGET}\"", site.url())), "{}", page.text());
        let to = link(&page);
        assert!(to.starts_with(&format!("{}/oauth2/authorize?", site.am.url())), "{to}");
        let token = visitor.am_token();
        let form = site.am.client().authorize(&token, &to).expect("AM's form");
        let back = visitor.post(&form);
        assert_eq!(back.status, 200, "{back:?}");
        assert!(logs_in(&back), "{back:?}");
        assert_eq!(link(&back), format!("{}{TARGET}", site.url()));
        let page = visitor.get(TARGET);
        assert!(page.text().contains("protected page a"), "{page:?}");
        // What shows no page has no fragment.
        visitor.cookies.remove(SESSION_COOKIE);
        let head = site.send(&Request::new("HEAD", TARGET));
        assert_eq!(head.status, 302, "{head:?}");
        let script = site.send(&Request::get(TARGET).header("Sec-Fetch-Mode", "cors"));
        assert_eq!(script.status, 401, "{script:?}");
        site.stop();
    }
}

/// Fills in AM's form, and waits for the page.
fn logs_in_at(browser: &Browser, page: &str) -> Result<(), Box<dyn Error>> {
    browser.goto(page)?;
    browser.type_into("#idToken1", USER)?;
    browser.type_into("#idToken2", USER_PASSWORD)?;
    browser.click("#loginButton_0")?;
    browser.wait_for_url(page)?;
    Ok(())
}

fn a_person_keeps_the_place(
    site: &Site,
    driver: &Driver,
    more: bool,
) -> Result<(), Box<dyn Error>> {
    let browser = driver.browser()?;
    let page = format!("{}{TARGET}{FRAGMENT}", site.url());
    logs_in_at(&browser, &page)?;
    assert!(browser.text()?.contains("protected page a"));
    assert_eq!(browser.current_url()?, page);
    if !more {
        browser.quit()?;
        return Ok(());
    }
    // Without a fragment none appears.
    let plain = format!("{}{TARGET}", site.url());
    let other = driver.browser()?;
    logs_in_at(&other, &plain)?;
    assert_eq!(other.current_url()?, plain);
    other.quit()?;
    // For more than the session has.
    ask_for_more(site);
    let strong = format!("{}/strong/page{FRAGMENT}", site.url());
    logs_in_at(&browser, &strong)?;
    assert_eq!(browser.current_url()?, strong);
    browser.quit()?;
    Ok(())
}

#[test]
fn a_person_with_a_browser_keeps_the_place_on_the_page() -> Result<(), Box<dyn Error>> {
    const WHAT: &str = "the fragment in a browser";
    let Some(driver) = real::browser(WHAT) else {
        return Ok(());
    };
    for kind in [Kind::Httpd, Kind::Nginx] {
        let default = site(kind).start();
        a_person_keeps_the_place(&default, &driver, true)?;
        default.stop();
        // Where AM leads back by itself.
        let legacy = site(kind)
            .profile(
                "org.forgerock.openam.agents.config.allow.custom.login",
                &["2"],
            )
            .profile("com.forgerock.agents.accept.sso.token", &["1"])
            .start();
        a_person_keeps_the_place(&legacy, &driver, false)?;
        legacy.stop();
    }
    if let Some(openam) = real::openam(WHAT) {
        for kind in [Kind::Httpd, Kind::Nginx] {
            let am = AmServer::Real(Am::at(openam.url())?);
            let site = site(kind).am(am).start();
            a_person_keeps_the_place(&site, &driver, false)?;
            site.stop();
        }
        openam.stop();
    }
    Ok(())
}

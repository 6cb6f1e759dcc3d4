//! Does a person with a browser get in, get refused and get out again?
//!
//! Chromium, the two servers and a real OpenAM with its own login page. `PORTCULLIS_OPENAM` names a
//! running OpenAM (`openam up --state FILE`); else one is started.

use std::error::Error;

use portcullis_openam::{OpenAm, seed::Am};
use portcullis_tests::{
    browser::{Browser, Driver},
    real,
    server::Kind,
    site::{AmServer, Site, USER, USER_PASSWORD, site},
};

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
    browser.type_into("#idToken1", USER)?;
    browser.type_into("#idToken2", USER_PASSWORD)?;
    browser.click("#loginButton_0")?;
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
    assert_eq!(number.len(), 16, "{text}");
    site.wait_for_line(number);
    assert!(site.server.said().contains("PCL0300"));
    Ok(())
}

//! The agent's own pages: what a person sees who is refused, and how an operator makes them their own.

// What can't be had fails the test that wanted it.
#![allow(clippy::expect_used, clippy::panic)]

use std::error::Error;

use portcullis_tests::{both_servers, client::Response, real, server::Kind, site};

const CSP: &str = "com.forgerock.agents.csp.frame.ancestors";

fn policy(response: &Response) -> &str {
    assert_eq!(
        response.all("content-security-policy").count(),
        1,
        "{response:?}"
    );
    response.header("content-security-policy").expect("policy")
}

both_servers! {
    fn pages_are_plain_and_safe(kind: Kind) {
        let site = site::site(kind).start();
        let mut visitor = site.visitor();
        assert_eq!(visitor.log_in("/docs/a.html").status, 200);
        for (target, status) in [("/secret/a.html", 403), ("/agent/cdsso-oauth2", 400)] {
            let page = visitor.get(target);
            assert_eq!(page.status, status, "{page:?}");
            assert!(policy(&page).starts_with("default-src 'none';"), "{page:?}");
            assert!(policy(&page).ends_with("frame-ancestors 'self'"), "{page:?}");
            assert_eq!(page.header("x-content-type-options"), Some("nosniff"));
            assert_eq!(page.header("content-type"), Some("text/html; charset=utf-8"));
            let text = page.text();
            for part in ["<html lang=\"en\">", "<meta name=\"viewport\"", "<main>", "<h1>", "color-scheme:light dark"] {
                assert!(text.contains(part), "{part}: {text}");
            }
            for part in ["<script", "http://", "https://", "src="] {
                assert!(!text.contains(part), "{part}: {text}");
            }
        }
        site.stop();
    }

    fn pages_are_the_operators_where_wished(kind: Kind) {
        let site = site::site(kind)
            .property("portcullis.page.template", "<h1>%TITLE%</h1><p>%TEXT%</p><link rel=stylesheet href=/public/x.css>%INCIDENT%")
            .property("portcullis.page.template[denied]", "<em>Ask the porter, %STATUS%</em>")
            .property(&format!("{CSP}.sources"), "'self' https://portal.example.com")
            .start();
        let mut visitor = site.visitor();
        assert_eq!(visitor.log_in("/docs/a.html").status, 200);
        let denied = visitor.get("/secret/a.html");
        assert_eq!((denied.status, denied.text().as_str()), (403, "<em>Ask the porter, 403</em>"));
        assert!(policy(&denied).contains("style-src 'self'") && !policy(&denied).contains("script-src"));
        assert!(policy(&denied).ends_with("frame-ancestors 'self' https://portal.example.com"), "{denied:?}");
        let login = visitor.get("/agent/cdsso-oauth2");
        assert!(login.text().starts_with("<h1>This login is over</h1>"), "{login:?}");
        site.stop();

        let mut site = site::site(kind).property(&format!("{CSP}.sources"), "'none'").prepare();
        for text in ["PCL0600", "agent.conf", "configuration file"] {
            site.server.expect(text);
        }
        let (passes, said) = site.server.check();
        assert!(!passes && said.contains(&format!("{CSP}.sources")), "{said}");
        site.stop();
    }
}

/// The page's own style is let through by its own policy, in light and dark.
#[test]
fn a_browser_shows_a_page_as_it_is_meant() -> Result<(), Box<dyn Error>> {
    let Some(driver) = real::browser("a page of the agent's own") else {
        return Ok(());
    };
    let site = site::site(Kind::Nginx).start();
    let browser = driver.browser()?;
    browser.goto(&format!("{}/agent/cdsso-oauth2", site.url()))?;
    let style = |name: &str| {
        browser.script(&format!(
            "return getComputedStyle(document.querySelector('main')).{name}"
        ))
    };
    assert_ne!(style("maxWidth")?, "none", "the style counts");
    assert_eq!(style("colorScheme")?, "light dark");
    let wide = browser.script("return document.documentElement.scrollWidth > innerWidth")?;
    assert_eq!(wide, false);
    browser.quit()?;
    site.stop();
    Ok(())
}

//! A page asks for more than the session has: the user logs in again, at a higher level, and gets it.

// Scenarios are functions of their own: Clippy does not take them for tests.
#![allow(clippy::expect_used, clippy::panic)]

use portcullis_openam::http::fields;
use portcullis_tests::{
    backend::Seen,
    both_servers, real,
    server::Kind,
    site::{Builder, Site, USER, USER_PASSWORD},
    stepping::{StepUp, ask_for_more, ask_for_no_more, with_strong_pages},
    visitor::{Visitor, path_of},
};

const ADVICE: &str = "AuthLevelConditionAdvice";

fn site(kind: Kind) -> Builder {
    with_strong_pages(portcullis_tests::site::site(kind))
}

fn redirecting(builder: Builder, redirect: bool) -> Builder {
    match redirect {
        true => builder.profile("com.sun.am.use_redirect_for_advice", &["true"]),
        false => builder,
    }
}

/// A visitor who is logged in asks for a page of level 2, and gets it.
fn step_up(site: &Site, redirect: bool) {
    ask_for_more(site);
    let mut visitor = site.visitor();
    assert_eq!(visitor.log_in("/app/page").status, 200);
    let before = visitor.cookies["am-auth-jwt"].clone();
    let denied = visitor.get("/strong/page?x=1");
    assert_eq!(
        denied.status,
        if redirect { 302 } else { 200 },
        "{denied:?}"
    );
    assert_eq!(denied.header("cache-control"), Some("no-store"));
    // The session stays: it is what AM steps up.
    assert_eq!(visitor.cookies["am-auth-jwt"], before);
    let asked = StepUp::of(site, &denied).expect("a step-up");
    let am = site.am.client();
    let token = am.step_up(&visitor.am_token(), &asked.advices, USER, USER_PASSWORD);
    let token = token.expect("a second login");
    visitor.use_am_token(&token);
    let form = am.authorize(&token, &asked.goto).expect("AM's form");
    let back = visitor.post(&form);
    let target = path_of(back.location());
    assert_eq!(
        (back.status, target.as_str()),
        (302, "/strong/page?x=1"),
        "{back:?}"
    );
    assert_ne!(visitor.cookies["am-auth-jwt"], before);
    let page = visitor.get("/strong/page?x=1");
    assert_eq!(page.status, 200, "{page:?}\n{}", site.server.said());
    let seen = Seen::of(&page).expect("the application's answer");
    assert_eq!(seen.header("X-User").as_deref(), Some("demo1"));
    assert!(
        seen.all("Cookie").is_empty(),
        "our cookies stay here: {:?}",
        seen.all("Cookie")
    );
    // What was open before is so still.
    assert_eq!(visitor.get("/app/page").status, 200);
    site.wait_for_line("PCL0360");
}

both_servers! {
    fn a_step_up_leads_through_the_login_page_and_back(kind: Kind) {
        for redirect in [true, false] {
            let site = redirecting(site(kind), redirect).start();
            step_up(&site, redirect);
            site.stop();
        }
    }

    fn a_step_up_that_does_not_help_ends_in_a_denial(kind: Kind) {
        let mut site = site(kind).start();
        site.server.expect("PCL0361");
        ask_for_more(&site);
        let mut visitor = site.visitor();
        assert_eq!(visitor.log_in("/app/page").status, 200);
        let asked = StepUp::of(&site, &visitor.get("/strong/page")).expect("a step-up");
        assert!(asked.advices.contains(ADVICE), "{}", asked.advices);
        // AM has the user log in again, but gives no more than before.
        let am = site.am.client();
        let weak = am.login("/", USER, USER_PASSWORD).expect("login");
        let form = am.authorize(&weak, &asked.goto).expect("AM's form");
        assert_eq!(visitor.post(&form).status, 302);
        let refused = visitor.get("/strong/page");
        assert_eq!(refused.status, 403, "{refused:?}");
        assert!(refused.text().contains("still not enough"), "{}", refused.text());
        site.wait_for_line("PCL0361");
        site.wait_for_line(ADVICE);
        // Whoever asks again may try again.
        let next = visitor.get("/strong/page");
        assert!(StepUp::of(&site, &next).is_some(), "{next:?}");
        site.stop();
    }

    fn advices_go_to_a_page_of_ones_own_encoded(kind: Kind) {
        let page = "https://login.test.example.org/in";
        let site = redirecting(site(kind), true)
            .profile("org.forgerock.openam.agents.config.allow.custom.login", &["2"])
            .profile("com.forgerock.agents.accept.sso.token", &["1"])
            .profile("com.sun.identity.agents.config.login.url", &[&format!("[0]={page}")])
            .profile("com.forgerock.agents.advice.b64.url.encode", &["true"])
            .start();
        ask_for_more(&site);
        let mut visitor = site.visitor();
        let token = visitor.am_token();
        visitor.cookies.insert("iPlanetDirectoryPro".into(), token.clone());
        assert_eq!(visitor.get("/app/page").status, 200);
        let denied = visitor.get("/strong/page");
        assert_eq!(denied.status, 302, "{denied:?}");
        let to = denied.location();
        assert!(to.starts_with(&format!("{page}?goto=")), "{to}");
        // base64 of "<Advices>" and what follows
        let encoded = "&authIndexType=composite_advice&authIndexValue=PEFkdmljZXM-";
        assert!(to.contains(encoded), "{to}");
        site.stop();
    }

    fn a_page_of_ones_own_steps_up_and_leads_back(kind: Kind) {
        let page = "https://login.test.example.org/in";
        let site = redirecting(site(kind), true)
            .profile("org.forgerock.openam.agents.config.allow.custom.login", &["1"])
            .profile("com.sun.identity.agents.config.login.url", &[&format!("[0]={page}")])
            .start();
        ask_for_more(&site);
        let mut visitor = site.visitor();
        let weak = visitor.am_token();
        // What the page leads to, and what it is told of the user's lack.
        let led = |visitor: &mut Visitor<'_>, target: &str, token: &str| {
            let redirect = visitor.get(target);
            let to = redirect.location().to_owned();
            assert!(to.starts_with(&format!("{page}?goto=")), "{redirect:?}");
            let asked = fields(to.split_once('?').expect("a query").1);
            let value = |name: &str| asked.iter().find(|(n, _)| n == name).map(|(_, v)| v.clone());
            let token = match value("authIndexValue") {
                None => token.to_owned(),
                Some(advices) => {
                    assert_eq!(value("authIndexType").as_deref(), Some("composite_advice"));
                    let am = site.am.client();
                    am.step_up(token, &advices, USER, USER_PASSWORD).expect("a second login")
                }
            };
            visitor.cookies.insert("iPlanetDirectoryPro".into(), token);
            let back = visitor.get(&path_of(&value("goto").expect("goto")));
            visitor.cookies.remove("iPlanetDirectoryPro");
            assert_eq!((back.status, path_of(back.location()).as_str()), (302, target), "{back:?}");
            visitor.get(target)
        };
        assert_eq!(led(&mut visitor, "/app/page", &weak).status, 200);
        let page = led(&mut visitor, "/strong/page?x=1", &weak);
        assert_eq!(page.status, 200, "{page:?}");
        assert_eq!(visitor.get("/app/page").status, 200);
        site.wait_for_line("PCL0360");
        site.stop();
    }

    fn a_session_that_changed_is_decided_about_anew(kind: Kind) {
        let site = redirecting(site(kind), true)
            .profile("org.forgerock.openam.agents.config.allow.custom.login", &["2"])
            .profile("com.forgerock.agents.accept.sso.token", &["1"])
            .profile(
                "com.sun.identity.agents.config.session.attribute.mapping",
                &["[AuthLevel]=X-Level"],
            )
            .start();
        ask_for_more(&site);
        let mut visitor = site.visitor();
        let token = visitor.am_token();
        visitor.cookies.insert("iPlanetDirectoryPro".into(), token.clone());
        let level = |page: &portcullis_tests::client::Response| {
            let seen = Seen::of(page).expect("the application's answer");
            seen.header("X-Level")
        };
        assert_eq!(level(&visitor.get("/app/page")).as_deref(), Some("0"));
        let evaluated = || {
            let calls = site.am.simulator().calls();
            calls.iter().filter(|c| c.action.as_deref() == Some("evaluate")).count()
        };
        let before = evaluated();
        assert_eq!(visitor.get("/app/page").status, 200);
        assert_eq!(evaluated(), before, "known");
        assert_eq!(visitor.get("/strong/page").status, 302);
        // AM may step up the very session.
        assert!(site.am.simulator().set_auth_level(&token, 2));
        assert_eq!(level(&visitor.get("/strong/page")).as_deref(), Some("2"));
        let before = evaluated();
        assert_eq!(visitor.get("/app/page").status, 200);
        assert!(evaluated() > before, "decided before the session changed");
        site.stop();
    }
}

#[test]
fn a_step_up_works_with_a_real_openam() {
    real::on_both("the step-up with a real OpenAM", |kind, am| {
        for redirect in [true, false] {
            let site = redirecting(site(kind).am(am()), redirect).start();
            step_up(&site, redirect);
            ask_for_no_more(&site);
            site.stop();
        }
    });
}

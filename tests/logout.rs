//! A logout holds at once and everywhere; and what else decides which session counts.

#![allow(clippy::expect_used, clippy::panic)]

use am_simulator::{Damage, Fault};
use portcullis_openam::http::escape;
use portcullis_tests::{
    backend::Seen,
    both_servers,
    client::{Request, Response},
    outcome::{SESSION_COOKIE, clears_session, in_every_worker, logged},
    site::{self, AGENT, AGENT_PASSWORD, Site, USER, USER_PASSWORD},
    visitor::Visitor,
    wait_until,
};

/// AM's own cookie.
const AM_COOKIE: &str = "iPlanetDirectoryPro";
/// Lines of the profile that AM's schema has no attribute for.
const CUSTOM: &str = "com.sun.identity.agents.config.freeformproperties";

/// A visitor who is logged in, and a request with the cookie they have now.
fn logged_in(site: &Site) -> (Visitor<'_>, Request) {
    let mut visitor = site.visitor();
    assert_eq!(visitor.log_in("/docs/a.html").status, 200);
    let old = Request::get("/docs/a.html").header("Cookie", &visitor.cookie_header());
    (visitor, old)
}

/// Whether AM knows the visitor's session.
fn lives(visitor: &mut Visitor<'_>) -> bool {
    let token = visitor.am_token();
    visitor.site().am.simulator().session(&token).is_some()
}

/// The page of the application that follows a logout, with the session cookie removed.
fn page_follows(response: &Response) {
    assert_eq!(response.status, 200, "{response:?}");
    assert!(
        response.text().contains("you are logged out"),
        "{}",
        response.text()
    );
    assert!(clears_session(response), "{response:?}");
}

/// The cookie leads to a login, whichever worker it comes to.
fn dead_everywhere(site: &Site, old: &Request) {
    for answer in in_every_worker(site, "PCL0201", old) {
        to_login(site, &answer);
    }
}

fn to_login(site: &Site, answer: &Response) {
    assert_eq!(answer.status, 302, "{answer:?}");
    assert!(answer.location().starts_with(&site.am.url()), "{answer:?}");
}

/// Logs out while AM fails in this way, and tells AM once it is back.
fn logout_without_am(site: Site, damage: Damage) {
    let mut site = site;
    // What the agent itself may want of AM meanwhile.
    for code in ["PCL0500", "PCL0501", "PCL0515", "PCL0607", "PCL0608"] {
        site.server.expect(code);
    }
    let (mut visitor, old) = logged_in(&site);
    site.am.simulator().add_fault(Fault::on("", damage));
    let response = logged(&site, "PCL0609", || visitor.get("/logout/done.html"));
    page_follows(&response);
    assert!(!visitor.cookies.contains_key(SESSION_COOKIE));
    dead_everywhere(&site, &old);
    assert!(lives(&mut visitor), "AM can't know yet");
    site.am.simulator().clear_faults();
    wait_until("AM to be told of the logout", || !lives(&mut visitor));
    dead_everywhere(&site, &old);
    site.stop();
}

/// A site where AM's own cookie counts and logins are AM's affair (custom login mode 2).
fn shared_domain(kind: portcullis_tests::server::Kind) -> site::Builder {
    site::site(kind)
        .profile(
            CUSTOM,
            &[
                "org.forgerock.openam.agents.config.allow.custom.login=2",
                "com.forgerock.agents.accept.sso.token=1",
            ],
        )
        .host("RequestHeader set Remote-User \"expr=%{REMOTE_USER}\"", "")
}

fn with_am_cookie(target: &str, token: &str) -> Request {
    Request::get(target).header("Cookie", &format!("{AM_COOKIE}={token}"))
}

both_servers! {
    fn a_logout_ends_the_session_here_and_at_am(kind: Kind) {
        let site = site::site(kind).start();
        let (mut visitor, old) = logged_in(&site);
        let (mut other, others) = logged_in(&site);
        assert!(lives(&mut visitor));
        let response = logged(&site, "PCL0103", || visitor.get("/logout/done.html"));
        page_follows(&response);
        assert!(!lives(&mut visitor), "AM was told before the answer");
        assert!(!visitor.cookies.contains_key(SESSION_COOKIE));
        dead_everywhere(&site, &old);
        // Nobody else is logged out, and the visitor may come back.
        assert!(lives(&mut other));
        assert_eq!(site.send(&others).status, 200);
        let ended = visitor.am_token();
        let fresh = site.am.client().login("/", USER, USER_PASSWORD).expect("login at AM");
        assert_ne!(ended, fresh);
        visitor.use_am_token(&fresh);
        assert_eq!(visitor.log_in("/docs/a.html").status, 200);
        dead_everywhere(&site, &old);
        site.stop();
    }

    fn a_logout_without_a_session_shows_the_page(kind: Kind) {
        let site = site::site(kind).start();
        page_follows(&site.get("/logout/done.html"));
        let rubbish = Request::get("/logout/done.html").header("Cookie", &format!("{SESSION_COOKIE}=x"));
        page_follows(&site.send(&rubbish));
        let (mut visitor, _) = logged_in(&site);
        let again = Request::get("/logout/done.html").header("Cookie", &visitor.cookie_header());
        page_follows(&visitor.get("/logout/done.html"));
        page_follows(&site.send(&again));
        site.stop();
    }

    fn a_logout_with_redirection_leads_to_ams_page(kind: Kind) {
        let done = "http://www.example.com/bye?x=1&y=2";
        let site = site::site(kind)
            .profile(CUSTOM, &["com.forgerock.agents.config.logout.redirect.disable=false"])
            .profile("com.sun.identity.agents.config.logout.redirect.url", &[done])
            .start();
        let (mut visitor, old) = logged_in(&site);
        let response = logged(&site, "PCL0400", || visitor.get("/logout/done.html"));
        let expected = format!("{}/UI/Logout?goto={}", site.am.url(), escape(done));
        assert_eq!((response.status, response.location()), (302, expected.as_str()));
        assert_eq!(response.header("cache-control"), Some("no-store"));
        assert!(clears_session(&response), "{response:?}");
        assert!(!lives(&mut visitor));
        dead_everywhere(&site, &old);
        site.stop();
    }

    fn logout_urls_may_be_regular_expressions(kind: Kind) {
        let site = site::site(kind)
            .profile("com.sun.identity.agents.config.agent.logout.url", &[r"[0]=https?://[^/]+/logout/(done|end)\.html"])
            .profile(CUSTOM, &["org.forgerock.agents.config.logout.regex.enable=true", r"com.forgerock.agents.agent.logout.url.regex=.*/docs/b\.html"])
            .start();
        for page in ["/logout/done.html", "/docs/b.html"] {
            let (mut visitor, old) = logged_in(&site);
            let response = logged(&site, "PCL0103", || visitor.get(page));
            assert!(clears_session(&response), "{page}: {response:?}");
            assert!(!lives(&mut visitor), "{page}");
            dead_everywhere(&site, &old);
        }
        // An expression is about the whole URL: what only holds such a piece is no logout.
        for page in ["/logout/done.html.bak", "/docs/a.html?from=/logout/done.html", "/docs/b.html/x"] {
            assert_eq!(site.get(page).status, 302, "{page}");
        }
        site.stop();
    }

    fn cookies_are_taken_back_on_login_and_logout(kind: Kind) {
        const P: &str = "com.sun.identity.agents.config";
        let site = site::site(kind)
            .profile(&format!("{P}.cookie.reset.enable"), &["true"])
            .profile(&format!("{P}.cookie.reset"), &["[0]=LtpaToken", "[1]=cart=0;Domain=.example.org;Path=/app"])
            .profile(&format!("{P}.logout.cookie.reset"), &["[0]=JSESSIONID;Domain=test.example.org"])
            .start();
        let gone = |response: &Response| -> Vec<String> {
            let ours = ["am-auth-jwt", "agent-authn"];
            let all = response.all("set-cookie").filter(|c| !ours.iter().any(|o| c.starts_with(o)));
            all.map(str::to_owned).collect()
        };
        let redirect = site.get("/docs/a.html");
        assert_eq!(redirect.status, 302);
        let taken = gone(&redirect);
        // The site's name is the default host's: its cookie may have been set for that name, too.
        assert_eq!(taken.len(), 3, "{taken:?}");
        for (cookie, parts) in taken.iter().zip([
            &["LtpaToken=;", "Path=/;"][..],
            &["LtpaToken=;", "Domain=www.test.example.org;"],
            &["cart=;", "Domain=.example.org;", "Path=/app;"],
        ]) {
            let whole = format!("{cookie};");
            assert!(parts.iter().all(|part| whole.contains(part)), "{cookie}");
            assert!(whole.contains("Max-Age=0") && whole.contains("1970"), "{cookie}");
        }
        let (mut visitor, _) = logged_in(&site);
        let page = visitor.get("/docs/a.html");
        assert_eq!(gone(&page), Vec::<String>::new(), "nobody logs in or out");
        let taken = gone(&visitor.get("/logout/done.html"));
        assert_eq!(taken.len(), 1, "{taken:?}");
        assert!(taken[0].starts_with("JSESSIONID=;") && taken[0].contains("Domain=test.example.org"), "{taken:?}");
        site.stop();
    }

    fn each_application_has_its_logout_page(kind: Kind) {
        let am = site::AmServer::simulated();
        let url = am.url();
        let site = site::site(kind)
            .am(am)
            .property("portcullis.logout.url[/logout/done.html]", &format!("{url}/UI/Logout?service=shop"))
            .property("portcullis.session.realms", "/other")
            .profile("com.sun.identity.agents.config.logout.url", &["[0]=http://www.example.com/bye"])
            .profile(CUSTOM, &[
                "com.forgerock.agents.config.logout.redirect.disable=false",
                "org.forgerock.openam.agents.config.allow.custom.login=2",
                "com.forgerock.agents.accept.sso.token=1",
            ])
            .start();
        site.am.admin().create_realm("/", "other").expect("realm");
        let token = site.am.client().login("/other", USER, USER_PASSWORD).expect("login at AM");
        // Its session is known once it was used.
        let used = site.send(&with_am_cookie("/docs/a.html", &token));
        assert!(matches!(used.status, 200 | 403), "{used:?}");
        let response = site.send(&with_am_cookie("/logout/done.html", &token));
        let expected = format!("{url}/UI/Logout?service=shop&realm=%2Fother");
        assert_eq!((response.status, response.location()), (302, expected.as_str()));
        assert!(site.am.simulator().session(&token).is_none());
        // Other applications have the page of all; it is not AM's and hears of no realm.
        let elsewhere = site.get("/logout/other.html");
        assert_eq!((elsewhere.status, elsewhere.location()), (302, "http://www.example.com/bye"));
        site.stop();
    }

    fn a_parameter_may_end_the_session(kind: Kind) {
        let site = site::site(kind).property("portcullis.logout.parameter", "bye").start();
        let (mut visitor, old) = logged_in(&site);
        let fetched = Request::get("/docs/a.html?bye")
            .header("Sec-Fetch-Site", "cross-site")
            .header("Sec-Fetch-Mode", "no-cors");
        assert_eq!(visitor.send(fetched).status, 200, "another site logs nobody out");
        assert!(lives(&mut visitor));
        for page in ["/docs/a.html?byebye", "/docs/a.html?x=bye"] {
            assert_eq!(visitor.get(page).status, 200, "{page}");
        }
        let response = logged(&site, "PCL0400", || visitor.get("/docs/a.html?x=1&bye=now"));
        assert_eq!(response.status, 302, "the page is not shown: {response:?}");
        assert_eq!(response.location(), format!("{}/UI/Logout", site.am.url()));
        assert!(clears_session(&response) && !lives(&mut visitor));
        dead_everywhere(&site, &old);
        // Nor is it to those who have no session.
        assert_eq!(site.get("/secret/a.html?bye").status, 302);
        site.stop();
    }

    fn a_session_cookie_lives_as_long_as_its_session_where_told(kind: Kind) {
        for (told, kept) in [("false", false), ("true", true)] {
            let persistent = format!("org.forgerock.agents.config.cdsso.persistent.cookie.enable={told}");
            let site = site::site(kind).profile(CUSTOM, &[&persistent]).start();
            let mut visitor = site.visitor();
            let redirect = visitor.get("/docs/a.html");
            let form = visitor.form(&redirect);
            let back = visitor.post(&form);
            let cookie = back.all("set-cookie").find(|c| c.starts_with(SESSION_COOKIE)).expect("cookie");
            let age = cookie.split("; ").find_map(|part| part.strip_prefix("Max-Age="));
            let age = age.map(|seconds| seconds.parse::<u32>().expect("seconds"));
            // AM's sessions last two hours.
            assert_eq!(age.is_some(), kept, "{cookie}");
            assert!(age.is_none_or(|seconds| (7000..=7200).contains(&seconds)), "{cookie}");
            site.stop();
        }
    }

    fn a_logout_may_leave_the_session_to_the_page(kind: Kind) {
        let site = site::site(kind)
            .profile(CUSTOM, &["org.forgerock.agents.config.logout.session.invalidate=false"])
            .start();
        let (mut visitor, old) = logged_in(&site);
        page_follows(&visitor.get("/logout/done.html"));
        assert!(!visitor.cookies.contains_key(SESSION_COOKIE));
        assert!(lives(&mut visitor));
        assert_eq!(site.send(&old).status, 200);
        site.stop();
    }

    fn another_site_can_end_a_session_only_by_leading_the_user_there(kind: Kind) {
        let site = site::site(kind).start();
        let (mut visitor, old) = logged_in(&site);
        let logout = |fetch: &str, mode: &str| {
            Request::get("/logout/done.html")
                .header("Sec-Fetch-Site", fetch)
                .header("Sec-Fetch-Mode", mode)
        };
        for mode in ["no-cors", "cors", "websocket"] {
            let response = visitor.send(logout("cross-site", mode));
            assert_eq!(response.status, 200, "{mode}: {response:?}");
            assert!(response.text().contains("you are logged out"), "the page needs no session");
            assert_eq!(response.all("set-cookie").count(), 0, "{mode}: {response:?}");
            assert!(lives(&mut visitor), "{mode}");
            assert_eq!(site.send(&old).status, 200, "{mode}");
        }
        page_follows(&visitor.send(logout("cross-site", "navigate")));
        assert!(!lives(&mut visitor));
        dead_everywhere(&site, &old);

        let (mut visitor, old) = logged_in(&site);
        page_follows(&visitor.send(logout("same-origin", "cors")));
        assert!(!lives(&mut visitor));
        dead_everywhere(&site, &old);
        site.stop();
    }

    fn a_logout_holds_while_am_is_unreachable(kind: Kind) {
        logout_without_am(site::site(kind).start(), Damage::Reset);
    }

    fn a_logout_holds_while_am_hangs(kind: Kind) {
        let site = site::site(kind).property("portcullis.am.deadline", "500").start();
        logout_without_am(site, Damage::Hang);
    }

    fn a_logout_holds_while_am_answers_errors(kind: Kind) {
        logout_without_am(site::site(kind).start(), Damage::Status { status: 503 });
    }

    fn a_logout_survives_a_reload(kind: Kind) {
        let mut site = site::site(kind).start();
        site.server.expect("PCL0500");
        let (mut visitor, old) = logged_in(&site);
        // AM is up, but can't be told: it goes on calling the session alive.
        let logout = Fault::on("/json/sessions", Damage::Reset);
        site.am.simulator().add_fault(logout);
        let response = logged(&site, "PCL0609", || visitor.get("/logout/done.html"));
        page_follows(&response);
        let before = site.server.workers();
        site.server.reload();
        wait_until("new workers alone", || {
            let now = site.server.workers();
            // httpd may get by with fewer than before.
            !now.is_empty() && now.iter().all(|pid| !before.contains(pid))
        });
        assert!(lives(&mut visitor));
        for _ in 0..16 {
            to_login(&site, &site.send(&old));
        }
        // The worker that took the logout is gone; another tells AM.
        site.am.simulator().clear_faults();
        wait_until("AM to be told of the logout", || !lives(&mut visitor));
        site.stop();
    }

    fn those_who_come_after_tell_am_of_a_logout(kind: Kind) {
        let mut site = site::site(kind).start();
        for code in ["PCL0500", "PCL0515"] {
            site.server.expect(code);
        }
        let token = {
            let (mut visitor, _) = logged_in(&site);
            let token = visitor.am_token();
            site.am.simulator().add_fault(Fault::on("/json/sessions", Damage::Reset));
            page_follows(&logged(&site, "PCL0609", || visitor.get("/logout/done.html")));
            token
        };
        site.server.restart();
        let am = site.am.simulator();
        assert!(am.session(&token).is_some(), "AM can't know yet");
        let file = site.instance.join("config/untold-logouts");
        let text = std::fs::read_to_string(&file).expect("file");
        assert_eq!(text.lines().count(), 1, "{text}");
        assert!(!text.contains(&token));
        am.clear_faults();
        wait_until("AM to be told of the logout", || am.session(&token).is_none());
        wait_until("an empty file", || std::fs::metadata(&file).expect("file").len() == 0);
        site.stop();
    }

    fn a_request_that_waited_during_the_logout_is_refused(kind: Kind) {
        let site = site::site(kind).start();
        let (mut visitor, _) = logged_in(&site);
        let waits = Request::get("/docs/b.html").header("Cookie", &visitor.cookie_header());
        let am = site.am.simulator();
        am.reset_calls();
        am.add_fault(Fault::on("/json/policies", Damage::Hold));
        let (address, host) = (site.server.address(), site.authority());
        let waiting = std::thread::spawn(move || waits.send(address, &host));
        wait_until("the question about the policy", || {
            am.calls().iter().any(|call| call.action.as_deref() == Some("evaluate"))
        });
        page_follows(&visitor.get("/logout/done.html"));
        am.clear_faults();
        let answer = waiting.join().expect("sender").expect("answer");
        assert!(matches!(answer.status, 302 | 403), "{answer:?}");
        assert!(!answer.text().contains("protected page"), "{answer:?}");
        site.stop();
    }

    fn a_session_that_ended_at_am_is_asked_about_again(kind: Kind) {
        let site = site::site(kind)
            .profile("com.sun.identity.agents.config.sso.cache.polling.interval", &["0"])
            .start();
        let (mut visitor, old) = logged_in(&site);
        assert_eq!(site.send(&old).status, 200);
        let token = visitor.am_token();
        site.am.client().logout(&token, &token).expect("logout at AM");
        dead_everywhere(&site, &old);
        site.stop();
    }

    fn a_session_is_enough_where_nobody_asks_for_policies(kind: Kind) {
        let site = site::site(kind)
            .profile("com.sun.identity.agents.config.sso.only", &["true"])
            .start();
        to_login(&site, &site.get("/secret/a.html"));
        let mut visitor = site.visitor();
        assert_eq!(visitor.log_in("/secret/a.html").status, 200);
        site.wait_for_line("PCL0102");
        let post = visitor.send(Request::new("POST", "/app/x").body("text/plain", "x"));
        assert_eq!(post.status, 200, "{post:?}");
        let seen = Seen::of(&post).expect("the application's answer");
        assert_eq!(seen.header("X-User").as_deref(), Some("demo1"));
        assert_eq!(seen.header("X-Mail").as_deref(), Some("demo@example.com"));
        assert!(seen.all("X-Dept").is_empty(), "no policy, no attributes of a policy");
        let calls = site.am.simulator().calls();
        assert!(calls.iter().all(|c| c.action.as_deref() != Some("evaluate")), "{calls:?}");
        site.stop();
    }

    fn ams_own_cookie_counts_where_the_domain_is_shared(kind: Kind) {
        let site = shared_domain(kind).start();
        let target = "/app/page?x=1&y=%20";
        let redirect = logged(&site, "PCL0200", || site.get(target));
        let back = escape(&format!("{}{target}", site.url()));
        let expected = format!("{}/UI/Login?goto={back}", site.am.url());
        assert_eq!((redirect.status, redirect.location()), (302, expected.as_str()));
        assert_eq!(redirect.header("cache-control"), Some("no-store"));

        let token = site.am.client().login("/", USER, USER_PASSWORD).expect("login at AM");
        let page = site.send(&with_am_cookie(target, &token));
        assert_eq!(page.status, 200, "{page:?}");
        let seen = Seen::of(&page).expect("the application's answer");
        assert_eq!(seen.header("Remote-User").as_deref(), Some("demo1"));
        assert_eq!(seen.header("X-User").as_deref(), Some("demo1"));
        assert_eq!(seen.header("X-Dept").as_deref(), Some("sales"));
        // It is AM's, not ours: applications may use it.
        assert_eq!(seen.header("Cookie"), Some(format!("{AM_COOKIE}={token}")));
        let encoded = with_am_cookie(target, &escape(&token));
        assert_eq!(site.send(&encoded).status, 200, "percent-encoded, as some servers write it");

        let logout = with_am_cookie("/logout/done.html", &token);
        assert_eq!(site.send(&logout).status, 200);
        assert!(site.am.simulator().session(&token).is_none());
        dead_everywhere(&site, &with_am_cookie(target, &token));
        // Written otherwise it is the same session.
        dead_everywhere(&site, &encoded);
        site.stop();
    }

    fn ams_own_cookie_has_to_be_a_live_persons_of_this_realm(kind: Kind) {
        let site = shared_domain(kind).start();
        let am = site.am.client();
        site.am.admin().create_realm("/", "other").expect("realm");
        let foreign = am.login("/other", USER, USER_PASSWORD).expect("login at AM");
        let agent = am.agent_login("/", AGENT, AGENT_PASSWORD).expect("login of the agent");
        let own = am.login("/", USER, USER_PASSWORD).expect("login at AM");
        let get = |token: &str| site.send(&with_am_cookie("/docs/a.html", token));
        for (token, code) in [(&foreign, "PCL0302"), (&agent, "PCL0303")] {
            let response = logged(&site, code, || get(token));
            assert_eq!(response.status, 403, "{response:?}");
        }
        let rubbish = logged(&site, "PCL0201", || get("rubbish"));
        to_login(&site, &rubbish);
        let two = Request::get("/docs/a.html")
            .header("Cookie", &format!("{AM_COOKIE}={own}; {AM_COOKIE}={foreign}"));
        let response = logged(&site, "PCL0203", || site.send(&two));
        to_login(&site, &response);
        assert_eq!(get(&own).status, 200);
        am.logout(&own, &own).expect("logout at AM");
        site.stop();
    }

    fn ams_cookie_is_removed_where_it_does_not_count(kind: Kind) {
        let domain = "com.sun.identity.agents.config.cdsso.cookie.domain";
        let site = shared_domain(kind).profile(domain, &["[0]=.test.example.org"]).start();
        let removed = |response: &Response| {
            let gone = format!("{AM_COOKIE}=;");
            response.all("set-cookie").filter(|c| c.starts_with(&gone)).count()
        };
        let token = site.am.client().login("/", USER, USER_PASSWORD).expect("login at AM");
        let two = format!("{AM_COOKIE}=x; {AM_COOKIE}={token}");
        let two = Request::get("/docs/a.html").header("Cookie", &two);
        // The host's and the domain's; else the browser would come back with both for ever.
        let response = logged(&site, "PCL0203", || site.send(&two));
        to_login(&site, &response);
        assert_eq!(removed(&response), 2, "{response:?}");
        let first = site.get("/docs/a.html");
        // Nothing but the counter of rule L8.
        let set: Vec<&str> = first.all("set-cookie").filter_map(|c| c.split('=').next()).collect();
        assert_eq!(set, ["agent-authn-loop"], "{first:?}");
        let logout = site.send(&with_am_cookie("/logout/done.html", &token));
        assert_eq!((logout.status, removed(&logout)), (200, 2), "{logout:?}");
        site.stop();

        // A page that ends the session itself needs the cookie.
        let site = shared_domain(kind)
            .profile(CUSTOM, &[
                "org.forgerock.openam.agents.config.allow.custom.login=2",
                "com.forgerock.agents.accept.sso.token=1",
                "org.forgerock.agents.config.logout.session.invalidate=false",
            ])
            .start();
        let token = site.am.client().login("/", USER, USER_PASSWORD).expect("login at AM");
        let logout = site.send(&with_am_cookie("/logout/done.html", &token));
        assert_eq!((logout.status, removed(&logout)), (200, 0), "{logout:?}");
        assert!(site.am.simulator().session(&token).is_some());
        site.stop();
    }

    fn ams_own_cookie_is_nothing_by_default(kind: Kind) {
        let site = site::site(kind).start();
        let token = site.am.client().login("/", USER, USER_PASSWORD).expect("login at AM");
        let response = logged(&site, "PCL0200", || site.send(&with_am_cookie("/docs/a.html", &token)));
        to_login(&site, &response);
        // And a logout ends no session that does not count.
        let response = site.send(&with_am_cookie("/logout/done.html", &token));
        assert_eq!(response.status, 200);
        assert!(site.am.simulator().session(&token).is_some());
        site.stop();
    }
}

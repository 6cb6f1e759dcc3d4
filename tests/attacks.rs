//! What somebody may try with a login that is not theirs: each is refused, and the victim's login goes on.
//!
//! `callback.rs` has what can be done to AM's answer itself, and to cookies of one name; `cdcservlet.rs`, to
//! the answers of old servers.

// What can't be had fails the test that wanted it.
#![allow(clippy::expect_used, clippy::panic)]

use portcullis_openam::seed::Form;
use portcullis_tests::{
    backend::Seen,
    both_servers,
    client::Request,
    forge,
    outcome::{SESSION_COOKIE, in_every_worker, logged, logs_in, refused},
    site::{self, Site, USER_PASSWORD},
    visitor::{Visitor, origin_of},
};
use serde_json::json;

const PAGE: &str = "/app/page";

fn begun(visitor: &mut Visitor<'_>) -> Form {
    let redirect = visitor.get(PAGE);
    visitor.form(&redirect)
}

/// Somebody else with an account of their own.
fn attacker(site: &Site) -> Visitor<'_> {
    let admin = site.am.admin();
    admin
        .create_user("/", "mallory", USER_PASSWORD, &json!({}))
        .expect("user");
    attacker_again(site)
}

/// The same attacker in another browser.
fn attacker_again(site: &Site) -> Visitor<'_> {
    let token = site
        .am
        .client()
        .login("/", "mallory", USER_PASSWORD)
        .expect("login at AM");
    let mut visitor = site.visitor();
    visitor.use_am_token(&token);
    visitor
}

fn user_seen(visitor: &mut Visitor<'_>) -> Option<String> {
    let page = visitor.get(PAGE);
    assert_eq!(page.status, 200, "{page:?}");
    Seen::of(&page)
        .expect("the application's answer")
        .header("X-User")
}

both_servers! {
    fn a_stolen_cookie_of_a_login_is_worth_nothing(kind: Kind) {
        let site = site::site(kind).start();
        let mut victim = site.visitor();
        let form = begun(&mut victim);
        let mut thief = attacker(&site);
        let own = begun(&mut thief);
        thief.cookies.extend(victim.cookies.clone());
        // With the thief's own answer of AM under the victim's state: it is of another login.
        let state = form.field("state").expect("state");
        let mixed = forge::with(&own, "state", state);
        let page = logged(&site, "PCL0225", || thief.post(&mixed));
        refused("the thief's token under the victim's state", &page, 403);
        // A cookie says nothing of the nonce that a token would have to carry.
        let mut at_am = attacker_again(&site);
        let redirect = at_am.get(PAGE);
        let start = redirect.location().find("state=").expect("state") + "state=".len();
        let mut url = redirect.location().to_owned();
        url.replace_range(start..start + state.len(), state);
        let token = at_am.am_token();
        let asked_for = site.am.client().authorize(&token, &url).expect("AM's form");
        assert_eq!(asked_for.field("state"), Some(state));
        let page = logged(&site, "PCL0225", || thief.post(&asked_for));
        refused("a token that AM made for that state", &page, 403);
        // The victim's own login goes on, once.
        let answer = victim.post(&form);
        assert!(logs_in(&answer), "{answer:?}");
        let page = logged(&site, "PCL0216", || thief.post(&form));
        refused("the victim's answer again, with the cookie", &page, 403);
        assert_eq!(user_seen(&mut victim).as_deref(), Some("demo1"));
        site.stop();
    }

    fn an_answer_that_was_overheard_is_worth_nothing(kind: Kind) {
        // All of it within the four seconds that AM's token lives.
        let site = site::site(kind).start();
        let mut victim = site.visitor();
        let form = begun(&mut victim);
        let mut thief = site.visitor();
        let page = logged(&site, "PCL0214", || thief.post(&form));
        refused("before the victim, without the cookie", &page, 403);
        let copy = victim
            .posting(&form, Some(&origin_of(&site.am.url())))
            .header("Cookie", &victim.cookie_header());
        assert!(logs_in(&victim.post(&form)));
        for answer in in_every_worker(&site, "PCL0216", &copy) {
            refused("after the victim, with everything", &answer, 403);
        }
        site.stop();
    }

    fn a_session_that_was_planted_does_not_outlive_a_login(kind: Kind) {
        let site = site::site(kind).start();
        let mut planter = attacker(&site);
        assert_eq!(planter.log_in(PAGE).status, 200);
        let planted = planter.cookies[SESSION_COOKIE].clone();
        // The victim's browser already sends the attacker's session when its own login ends.
        let mut victim = site.visitor();
        let form = begun(&mut victim);
        victim.cookies.insert(SESSION_COOKIE.into(), planted.clone());
        assert!(logs_in(&victim.post(&form)));
        assert_ne!(victim.cookies[SESSION_COOKIE], planted);
        assert_eq!(user_seen(&mut victim).as_deref(), Some("demo1"));
        // From a sibling host it comes beside the victim's own: neither counts.
        let own = victim.cookies[SESSION_COOKIE].clone();
        let both = Request::get(PAGE)
            .header("Cookie", &format!("{SESSION_COOKIE}={planted}; {SESSION_COOKIE}={own}"));
        let answer = logged(&site, "PCL0203", || site.send(&both));
        assert_eq!(answer.status, 302, "{answer:?}");
        site.stop();
    }

    fn a_counter_that_was_planted_keeps_nobody_out(kind: Kind) {
        let site = site::site(kind).start();
        let mut planter = attacker(&site);
        // Its cookie is for this site, and about pages, not about people.
        for _ in 0..4 {
            assert_eq!(planter.log_in(PAGE).status, 200);
            planter.cookies.remove(SESSION_COOKIE);
        }
        let counter = planter.cookies["agent-authn-loop"].clone();
        let mut victim = site.visitor();
        for worthless in [counter, "x".to_owned(), String::new()] {
            victim.cookies.clear();
            victim.cookies.insert("agent-authn-loop".into(), worthless);
            assert_eq!(victim.log_in(PAGE).status, 200);
        }
        site.stop();
    }

    fn an_answer_for_one_site_is_none_for_another(kind: Kind) {
        // Two instances with one name and password, each at an AM of its own: as after a copied installation.
        let first = site::site(kind).start();
        let second = site::site(kind).start();
        let mut visitor = first.visitor();
        let form = begun(&mut visitor);
        let mut other = second.visitor();
        let theirs = begun(&mut other);
        for cookies in [other.cookies.clone(), visitor.cookies.clone()] {
            let mut mixed = second.visitor();
            mixed.cookies = cookies;
            let answer = mixed.post(&form);
            refused("the other AM's answer", &answer, 403);
        }
        let own_state = theirs.field("state").expect("state");
        let mixed = forge::with(&form, "state", own_state);
        let answer = other.post(&mixed);
        refused("the other AM's token under the own state", &answer, 403);
        assert!(logs_in(&other.post(&theirs)));
        first.stop();
        second.stop();
    }

    fn a_login_that_was_planted_logs_nobody_in(kind: Kind) {
        // A sibling host can set the cookie of a login that the attacker began; the answer to it would make the
        // victim work in the attacker's account.
        let site = site::site(kind).start();
        let mut planter = attacker(&site);
        let theirs = begun(&mut planter);
        let mut victim = site.visitor();
        let form = begun(&mut victim);
        victim.cookies.extend(planter.cookies.clone());
        // No page but AM's may bring it, and AM's brings that of its own user.
        for origin in ["http://sibling.test.example.org", "null", &site.url()] {
            let post = victim.posting(&theirs, Some(origin));
            let page = logged(&site, "PCL0211", || victim.send(post.clone()));
            refused(origin, &page, 403);
        }
        assert!(logs_in(&victim.post(&form)));
        assert_eq!(user_seen(&mut victim).as_deref(), Some("demo1"));
        site.stop();
    }

    fn a_login_in_one_realm_is_none_in_another(kind: Kind) {
        let am = site::AmServer::simulated();
        am.admin().create_realm("/", "shop").expect("realm");
        let shop = format!("{}/UI/Login?realm=/shop", am.url());
        let rule = format!("com.forgerock.agents.conditional.login.url[0]=/app/shop|{shop}");
        let site = site::site(kind)
            .am(am)
            .profile("com.sun.identity.agents.config.freeformproperties", &[&rule])
            .start();
        // Begun for users of one realm, answered for one of the other, in either direction.
        let mut visitor = site.visitor();
        let redirect = visitor.get("/app/shop/page");
        assert!(redirect.location().contains("realm=/shop"), "{redirect:?}");
        let state_of = |visitor: &Visitor<'_>| {
            let names = visitor.cookies.keys();
            let state = names.filter_map(|name| name.strip_prefix("agent-authn-tx-")).next();
            state.expect("a login's cookie").to_owned()
        };
        let in_shop = state_of(&visitor);
        let mut other = site.visitor();
        let form = begun(&mut other);
        visitor.cookies.extend(other.cookies.clone());
        let mixed = forge::with(&form, "state", &in_shop);
        let page = logged(&site, "PCL0225", || visitor.post(&mixed));
        refused("a token of the root realm for a login in a realm below", &page, 403);
        // With everything of that login but the realm.
        let mut claims = forge::claims_of(form.field("id_token").expect("id_token"));
        claims["realm"] = "/shop".into();
        let key = forge::key_of(site::AGENT_PASSWORD);
        let token = forge::token(&forge::header(), &claims.to_string(), &key);
        let below = forge::with(&form, "id_token", &token);
        let page = logged(&site, "PCL0226", || other.post(&below));
        refused("a token of a realm below for a login in the root realm", &page, 403);
        assert!(logs_in(&other.post(&form)));
        site.stop();
    }
}

//! Logins at ForgeRock AM and PingAM: their ID tokens are signed with keys that AM publishes and changes. There is no
//! such server to test with; the simulator does what the vendor's documentation shows.

// Scenarios are functions of their own: Clippy does not take them for tests.
#![allow(clippy::expect_used, clippy::panic)]

use std::time::Instant;

use am_simulator::{Damage, Dialect, Fault, Signing};
use portcullis_openam::{http::fields, seed::Form};
use portcullis_tests::{
    backend::Seen,
    both_servers, forge,
    outage::Crowd,
    outcome::{SESSION_COOKIE, logged, logs_in, refused},
    server::Kind,
    site::{self, AGENT_PASSWORD, AmServer, Builder, Site, USER, USER_PASSWORD},
    stepping::{ask_for_more, with_strong_pages},
    visitor::{Visitor, origin_of, path_of},
    wait_until,
};
use serde_json::{Value, json};

const JWK_URI: &str = "/oauth2/connect/jwk_uri";

/// A site at an AM of dialect B, told so.
fn site(kind: Kind, am: Dialect) -> Builder {
    site::site(kind)
        .am(AmServer::of(am))
        .property("portcullis.am.dialect", "pingam")
}

/// How often AM was asked for its keys.
fn looks(site: &Site) -> usize {
    let calls = site.am.simulator().calls();
    calls.iter().filter(|call| call.path == JWK_URI).count()
}

fn begun(visitor: &mut Visitor<'_>, target: &str) -> Form {
    let redirect = visitor.get(target);
    visitor.form(&redirect)
}

fn claims(form: &Form) -> Value {
    forge::claims_of(form.field("id_token").expect("id_token"))
}

/// The form with a token that AM's own key has signed.
fn signed(site: &Site, form: &Form, header: &Value, claims: &str) -> Form {
    let token = site.am.simulator().sign(header, claims);
    forge::with(form, "id_token", &token)
}

/// The form with one claim changed, or taken away.
fn changed(site: &Site, form: &Form, name: &str, value: Value) -> Form {
    let mut claims = claims(form);
    match value {
        Value::Null => drop(claims.as_object_mut().expect("object").remove(name)),
        value => claims[name] = value,
    }
    let header = site.am.simulator().id_token_header();
    signed(site, form, &header, &claims.to_string())
}

/// Posts a form and expects the refusal; the login stays open.
fn no(visitor: &mut Visitor<'_>, what: &str, form: &Form, (status, code): (u16, &str)) {
    let site = visitor.site();
    let response = logged(site, code, || visitor.post(form));
    refused(what, &response, status);
}

/// Posts a form and expects the way back to the page.
fn yes(visitor: &mut Visitor<'_>, form: &Form, target: &str) {
    let response = visitor.post(form);
    // With a fragment of its own: AM's, which has the token, does not go on to the page.
    let back = format!("{}{target}#", visitor.site().url());
    let said = visitor.site().server.said();
    assert_eq!(
        (response.status, response.location()),
        (302, &*back),
        "{response:?}\n{said}"
    );
    assert!(logs_in(&response), "{response:?}");
}

both_servers! {
    fn a_user_of_pingam_logs_in(kind: Kind) {
        for (am, signing) in [(Dialect::PingAm, Signing::Rs256), (Dialect::ForgeRock, Signing::Es256)] {
            let site = site(kind, am).start();
            site.am.simulator().rotate_keys(signing);
            let mut visitor = site.visitor();
            let redirect = visitor.get("/app/page");
            let to = format!("{}/oauth2/realms/root/authorize?", site.am.url());
            assert!(redirect.location().starts_with(&to), "{redirect:?}");
            let form = visitor.form(&redirect);
            yes(&mut visitor, &form, "/app/page");
            let page = visitor.get("/app/page");
            let seen = Seen::of(&page).expect("the application");
            assert_eq!((seen.all("X-User"), seen.all("X-Mail")), (vec![USER.to_owned()], vec!["demo@example.com".to_owned()]));
            assert_eq!(visitor.get("/secret/a.html").status, 403);
            // What the browser keeps is ours: neither AM's token nor the session token in it.
            let (cookie, token) = (visitor.cookies[SESSION_COOKIE].clone(), visitor.am_token());
            assert!(!cookie.contains(&token) && !cookie.starts_with("eyJ"));
            // The keys are known to all workers from now on.
            for _ in 0..4 {
                assert_eq!(site.visitor().log_in("/app/page").status, 200);
            }
            assert_eq!(looks(&site), 1);
            site.wait_for_line("PCL0381");
            assert_eq!(visitor.get("/logout/done.html").status, 200);
            assert!(site.am.simulator().session(&token).is_none());
            assert_eq!(visitor.get("/app/page").status, 302);
            site.stop();
        }
    }

    fn a_step_up_at_pingam_leads_through_its_login_page_and_back(kind: Kind) {
        let site = with_strong_pages(site(kind, Dialect::PingAm)).start();
        ask_for_more(&site);
        let mut visitor = site.visitor();
        assert_eq!(visitor.log_in("/app/page").status, 200);
        let denied = visitor.get("/strong/page?x=1");
        assert_eq!(denied.status, 302, "{denied:?}");
        let address = denied.location();
        assert!(address.starts_with(&format!("{}/XUI/?", site.am.url())), "{address}");
        let query = fields(address.split('?').nth(1).unwrap_or_default());
        let value = |name: &str| query.iter().find(|(n, _)| n == name).expect("field").1.clone();
        assert_eq!(value("authIndexType"), "composite_advice");
        let am = site.am.client();
        let token = am.step_up(&visitor.am_token(), &value("authIndexValue"), USER, USER_PASSWORD);
        let token = token.expect("a second login");
        visitor.use_am_token(&token);
        let form = am.authorize(&token, &value("goto")).expect("AM's form");
        yes(&mut visitor, &form, "/strong/page?x=1");
        let page = visitor.get("/strong/page?x=1");
        assert_eq!(page.status, 200, "{page:?}\n{}", site.server.said());
        site.stop();
    }

    fn a_changed_key_is_looked_for_once_however_many_need_it(kind: Kind) {
        let site = site(kind, Dialect::PingAm).start();
        assert_eq!(site.visitor().log_in("/app/page").status, 200);
        site.am.simulator().rotate_keys(Signing::Es256);
        site.am.simulator().reset_calls();
        let logins: Vec<_> = (0..12)
            .map(|_| {
                let mut visitor = site.visitor();
                let form = begun(&mut visitor, "/app/page");
                let post = visitor.posting(&form, Some(&origin_of(&site.am.url())));
                post.header("Cookie", &visitor.cookie_header())
            })
            .collect();
        for answer in Crowd::send(&site, logins).rest() {
            assert!(answer.status == 302 && logs_in(&answer), "{answer:?}\n{}", site.server.said());
        }
        assert_eq!(looks(&site), 1);
        site.stop();
    }

    fn a_key_that_am_does_not_publish_is_refused_and_seldom_looked_for(kind: Kind) {
        let site = site(kind, Dialect::PingAm).start();
        site.am.simulator().publish_key(false);
        let mut visitor = site.visitor();
        let form = begun(&mut visitor, "/app/page");
        let begin = Instant::now();
        for _ in 0..10 {
            no(&mut visitor, "an unknown key", &form, (403, "PCL0380"));
        }
        // Once because nothing is known, once because of the key, and then again every ten seconds at most.
        let most = 2 + begin.elapsed().as_secs() / 10;
        assert!((2..=most).contains(&(looks(&site) as u64)), "{} of {most}", looks(&site));
        // The login stays open until AM publishes the key.
        site.am.simulator().publish_key(true);
        let mut answer = visitor.post(&form);
        wait_until("the key", || {
            if answer.status != 302 {
                answer = visitor.post(&form);
            }
            answer.status == 302
        });
        assert!(logs_in(&answer), "{answer:?}");
        // A withdrawn key counts no longer once others are known.
        let mut late = site.visitor();
        let form = begun(&mut late, "/app/page");
        site.am.simulator().rotate_keys(Signing::Rs256);
        wait_until("the new key", || {
            let mut other = site.visitor();
            let form = begun(&mut other, "/app/page");
            other.post(&form).status == 302
        });
        no(&mut late, "a withdrawn key", &form, (403, "PCL0380"));
        site.stop();
    }

    fn a_token_that_pingam_did_not_make_for_this_login_is_refused(kind: Kind) {
        let site = site(kind, Dialect::PingAm).start();
        let am = site.am.simulator();
        let mut visitor = site.visitor();
        let form = begun(&mut visitor, "/docs/a.html");
        let v = &mut visitor;
        let (header, good) = (am.id_token_header(), claims(&form));
        let (text, kid) = (good.to_string(), header["kid"].clone());
        // Whoever takes the algorithm from the token checks the secret that everybody knows.
        let published = site.am.client().client().get(&site.am.client().target(JWK_URI)).send().expect("keys");
        let published: Value = serde_json::from_str(&published.text()).expect("JSON");
        let keys = published["keys"].as_array().expect("keys");
        let modulus = keys.iter().find(|key| key["kid"] == kid).expect("key")["n"].as_str().expect("n");
        for key in [modulus.as_bytes(), &forge::key_of(AGENT_PASSWORD), AGENT_PASSWORD.as_bytes(), b""] {
            let forged = |alg: &str| {
                let token = forge::token(&json!({ "alg": alg, "kid": kid }), &text, key);
                forge::with(&form, "id_token", &token)
            };
            no(v, "a shared secret", &forged("HS256"), (403, "PCL0221"));
            no(v, "no signature of the key", &forged("RS256"), (403, "PCL0222"));
        }
        let with = |alg: &str| signed(&site, &form, &json!({ "alg": alg, "kid": kid }), &text);
        for alg in ["none", "None", "", "rs256", "RS384", "RS512", "PS256", "ES384"] {
            no(v, alg, &with(alg), (403, "PCL0221"));
        }
        // A key of one kind is none of the other.
        no(v, "another kind of key", &with("ES256"), (403, "PCL0380"));
        for odd in [json!({ "alg": "RS256" }), json!({ "alg": "RS256", "kid": kid, "crit": ["exp"] })] {
            no(v, "an odd header", &signed(&site, &form, &odd, &text), (403, "PCL0220"));
        }
        let issued = good["iat"].as_u64().expect("iat");
        let token = good["forgerock"]["ssotoken"].clone();
        for (name, value, code) in [
            ("aud", json!("wa2"), "PCL0223"),
            ("azp", json!("wa2"), "PCL0223"),
            ("iss", json!("http://evil.example.com/openam/oauth2"), "PCL0224"),
            ("nonce", json!("AAAAAAAAAAAAAAAAAAAAAA"), "PCL0225"),
            ("realm", json!("/other"), "PCL0226"),
            ("agent_realm", json!("/other"), "PCL0226"),
            ("exp", json!(issued - 3600), "PCL0227"),
            ("iat", json!(issued + 3600), "PCL0228"),
            ("nbf", json!(issued + 3600), "PCL0228"),
            ("forgerock", json!({ "suid": "x" }), "PCL0229"),
            ("forgerock", json!({ "ssotoken": "AQIC5wRubbish.*" }), "PCL0230"),
            ("ssoToken", json!("AQIC5wOther.*"), "PCL0229"),
        ] {
            no(v, &format!("{name}: {value}"), &changed(&site, &form, name, value), (403, code));
        }
        for name in ["iss", "aud", "azp", "nonce", "realm", "agent_realm", "exp", "iat", "forgerock"] {
            no(v, &format!("without {name}"), &changed(&site, &form, name, Value::Null), (403, "PCL0229"));
            let twice = format!("{},\"{name}\":{}}}", text.trim_end_matches('}'), good[name]);
            no(v, &format!("{name} twice"), &signed(&site, &form, &header, &twice), (403, "PCL0229"));
        }
        // The forgery itself works: with the claim where AM 5 has it, it is let in.
        let mut older = good;
        older["ssoToken"] = token;
        older.as_object_mut().expect("object").remove("forgerock");
        yes(v, &signed(&site, &form, &header, &older.to_string()), "/docs/a.html");
        let replay = v.posting(&form, Some(&origin_of(&site.am.url())));
        no(v, "a login that is over", &form, (403, "PCL0214"));
        assert!(!logs_in(&site.send(&replay)));
        site.stop();
    }

    fn an_answer_of_pingam_counts_once(kind: Kind) {
        let site = site(kind, Dialect::PingAm).start();
        let mut visitor = site.visitor();
        let form = begun(&mut visitor, "/docs/a.html");
        let post = visitor
            .posting(&form, Some(&origin_of(&site.am.url())))
            .header("Cookie", &visitor.cookie_header());
        let (won, lost): (Vec<_>, Vec<_>) =
            Crowd::send(&site, vec![post; 8]).rest().into_iter().partition(logs_in);
        assert_eq!(won.len(), 1, "{won:?}");
        lost.iter().for_each(|answer| refused("a copy", answer, 403));
        site.wait_for_line("PCL0216");
        assert_eq!(path_of(won[0].location()), "/docs/a.html");
        site.stop();
    }

    fn without_ams_keys_nobody_is_let_in(kind: Kind) {
        let mut site = site(kind, Dialect::PingAm).property("portcullis.am.deadline", "1500").start();
        site.server.expect("PCL05");
        let mut visitor = site.visitor();
        let form = begun(&mut visitor, "/docs/a.html");
        let cases = [
            (Damage::Reset, "PCL0500"),
            (Damage::Hang, "PCL0501"),
            (Damage::Status { status: 500 }, "PCL0503"),
            (Damage::Status { status: 404 }, "PCL0503"),
            (Damage::Garbage, "PCL0504"),
            (Damage::EndlessBody, "PCL0504"),
        ];
        let am = site.am.simulator();
        for (damage, code) in cases.clone() {
            am.add_fault(Fault::on(JWK_URI, damage));
            no(&mut visitor, code, &form, (503, code));
            am.clear_faults();
        }
        // Nothing was used up.
        yes(&mut visitor, &form, "/docs/a.html");
        // Keys that are known do not help where another one is needed.
        am.rotate_keys(Signing::Rs256);
        let mut visitor = site.visitor();
        let form = begun(&mut visitor, "/docs/a.html");
        am.add_fault(Fault::on(JWK_URI, Damage::Status { status: 500 }));
        no(&mut visitor, "a newer key", &form, (503, "PCL0503"));
        assert_eq!(site.get("/public/a.html").status, 200);
        am.clear_faults();
        wait_until("the newer key", || logs_in(&visitor.post(&form)));
        site.stop();
    }

    fn a_token_of_one_dialect_is_none_of_the_other(kind: Kind) {
        // An AM that is taken for what it is not: neither way in is opened.
        let mut pingam = site(kind, Dialect::OpenAm).start();
        pingam.server.expect("PCL05");
        let mut visitor = pingam.visitor();
        let form = begun(&mut visitor, "/docs/a.html");
        no(&mut visitor, "OpenAM's token", &form, (403, "PCL0221"));
        assert_eq!(looks(&pingam), 0);
        pingam.stop();
        let openam = site::site(kind).am(AmServer::of(Dialect::ForgeRock)).start();
        let mut visitor = openam.visitor();
        let form = begun(&mut visitor, "/docs/a.html");
        no(&mut visitor, "a published key's token", &form, (403, "PCL0221"));
        assert_eq!(looks(&openam), 0);
        openam.stop();
    }
}

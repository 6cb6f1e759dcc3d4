//! AM's answer comes back through a browser, which anybody can make: only the right one counts, once.
//!
//! Each refusal is a page with a reason in the log, never a redirect that could loop (rules L1 to L8).

#![allow(clippy::expect_used, clippy::panic)]

use std::collections::BTreeMap;

use am_simulator::{Damage, Fault};
use portcullis_openam::seed::Form;
use portcullis_tests::{
    both_servers,
    client::{Request, Response},
    forge,
    outcome::{SESSION_COOKIE, clears_session, in_every_worker, logged, logs_in, refused},
    site::{self, AGENT, AGENT_PASSWORD, Site, USER, USER_PASSWORD},
    visitor::{Visitor, origin_of, path_of},
};
use serde_json::{Value, json};

const MULTIVALUE: &str = "org.forgerock.openam.agents.config.multivalue.pre.authn.cookies";
const FQDN_MAPPING: &str = "com.sun.identity.agents.config.fqdn.mapping";
const FORM: &str = "application/x-www-form-urlencoded";

/// Asks for a page and lets AM answer; nothing is posted yet.
fn begun(visitor: &mut Visitor<'_>, target: &str) -> Form {
    let redirect = visitor.get(target);
    visitor.form(&redirect)
}

/// Posts a form and expects the refusal; the state stays as it was.
fn no(visitor: &mut Visitor<'_>, what: &str, form: &Form, status: u16, code: &str) {
    let site = visitor.site();
    let response = logged(site, code, || visitor.post(form));
    refused(what, &response, status);
}

/// Sends a request as this visitor and expects the refusal.
fn no_to(visitor: &mut Visitor<'_>, what: &str, request: Request, status: u16, code: &str) {
    let site = visitor.site();
    let response = logged(site, code, || visitor.send(request));
    refused(what, &response, status);
}

/// Posts a form and expects the way back to the page.
fn yes(visitor: &mut Visitor<'_>, form: &Form, target: &str) -> Response {
    let response = visitor.post(form);
    // With a fragment of its own: AM's, which has the token, does not go on to the page.
    let back = format!("{}{target}#", visitor.site().url());
    assert_eq!(
        (response.status, response.location()),
        (302, back.as_str()),
        "{response:?}\n{}",
        visitor.site().server.said()
    );
    assert!(logs_in(&response), "{response:?}");
    response
}

/// The form with a token of these claims, signed as AM signs.
fn forged(form: &Form, claims: &Value) -> Form {
    let key = forge::key_of(AGENT_PASSWORD);
    let token = forge::token(&forge::header(), &claims.to_string(), &key);
    forge::with(form, "id_token", &token)
}

fn claims(form: &Form) -> Value {
    forge::claims_of(form.field("id_token").expect("id_token"))
}

/// The form with one claim changed, or taken away.
fn changed(form: &Form, name: &str, value: Value) -> Form {
    let mut claims = claims(form);
    match value {
        Value::Null => drop(claims.as_object_mut().expect("object").remove(name)),
        value => claims[name] = value,
    }
    forged(form, &claims)
}

/// A text of the same length and alphabet that differs in its first character.
fn tampered(text: &str) -> String {
    let first = if text.starts_with('A') { 'B' } else { 'A' };
    format!("{first}{}", &text[1..])
}

/// Another person in the same realm.
fn create_second_user(site: &Site) -> String {
    let admin = site.am.admin();
    admin
        .create_user("/", "demo2", USER_PASSWORD, &json!({}))
        .expect("user");
    let token = site.am.client().login("/", "demo2", USER_PASSWORD);
    token.expect("login at AM")
}

both_servers! {
    fn an_answer_counts_once_in_all_workers(kind: Kind) {
        let site = site::site(kind).start();
        let mut visitor = site.visitor();
        let form = begun(&mut visitor, "/docs/a.html");
        let replay = visitor
            .posting(&form, Some(&origin_of(&site.am.url())))
            .header("Cookie", &visitor.cookie_header());
        yes(&mut visitor, &form, "/docs/a.html");
        for answer in in_every_worker(&site, "PCL0216", &replay) {
            refused("replay", &answer, 403);
        }
        assert_eq!(visitor.get("/docs/a.html").status, 200);
        // The browser itself no longer has the cookie of that login.
        no(&mut visitor, "reload", &form, 403, "PCL0214");
        site.stop();
    }

    fn of_many_copies_at_once_one_counts(kind: Kind) {
        let site = site::site(kind).start();
        let mut visitor = site.visitor();
        let form = begun(&mut visitor, "/docs/a.html");
        let post = visitor
            .posting(&form, Some(&origin_of(&site.am.url())))
            .header("Cookie", &visitor.cookie_header());
        let (address, host) = (site.server.address(), site.authority());
        let copies: Vec<_> = (0..16)
            .map(|_| {
                let (post, host) = (post.clone(), host.clone());
                std::thread::spawn(move || post.send(address, &host))
            })
            .collect();
        let answers = copies.into_iter().map(|c| c.join().expect("sender").expect("answer"));
        let (won, lost): (Vec<_>, Vec<_>) = answers.partition(|a| a.status == 302);
        assert_eq!(won.len(), 1, "{won:?}");
        assert!(logs_in(&won[0]));
        for answer in &lost {
            refused("copy", answer, 403);
        }
        site.wait_for_line("PCL0216");
        site.stop();
    }

    fn what_is_not_ams_form_is_refused(kind: Kind) {
        let site = site::site(kind).start();
        let am = origin_of(&site.am.url());
        let mut visitor = site.visitor();
        let form = begun(&mut visitor, "/docs/a.html");
        let token = form.field("id_token").expect("id_token");
        let state = form.field("state").expect("state");
        let path = path_of(form.action.split('#').next().unwrap_or_default());
        let post = || Request::new("POST", &path).header("Origin", &am);
        let body = format!("id_token={token}&state={state}");
        let v = &mut visitor;

        no(v, "no id_token", &forge::without(&form, "id_token"), 400, "PCL0212");
        no(v, "no state", &forge::without(&form, "state"), 400, "PCL0212");
        no(v, "two id_tokens", &forge::and(&form, "id_token", token), 400, "PCL0212");
        no(v, "two states", &forge::and(&form, "state", state), 400, "PCL0212");
        no(v, "another second state", &forge::and(&form, "state", &tampered(state)), 400, "PCL0212");
        no(v, "rubbish as state", &forge::with(&form, "state", "x"), 400, "PCL0212");
        no(v, "an unknown state", &forge::with(&form, "state", &tampered(state)), 403, "PCL0214");
        no(v, "an error of AM", &forge::and(&form, "error", "access_denied"), 403, "PCL0213");
        no_to(v, "nothing", post().body(FORM, ""), 400, "PCL0212");
        for kind in ["text/plain", "multipart/form-data; boundary=x", "application/json", ""] {
            no_to(v, kind, post().body(kind, body.clone()), 400, "PCL0212");
        }
        let twice = post().header("Content-Type", FORM).body("text/plain", body.clone());
        let twice = v.send(twice);
        // nginx itself refuses the second field.
        refused_by_anybody("two content types", &twice);
        let get = Request::get(&format!("{path}?{body}"));
        no_to(v, "GET", get, 400, "PCL0210");
        let get = Request::get(&format!("{path}?error=access_denied&state={state}"));
        no_to(v, "GET with AM's error", get, 403, "PCL0213");
        let put = Request::new("PUT", &path)
            .header("Origin", &am)
            .body(FORM, body.clone());
        no_to(v, "PUT", put, 400, "PCL0210");
        let wrong_path = Request::new("POST", &format!("{path}/x")).header("Origin", &am);
        assert!(!logs_in(&v.send(wrong_path.body(FORM, body.clone()))));

        let large = format!("{body}&filler={}", "x".repeat(70_000));
        no_to(v, "too large", post().body(FORM, large), 413, "PCL0514");

        // None of them used the login up; a content type may carry parameters.
        let response = v.send(post().body("application/x-www-form-urlencoded; charset=UTF-8", body));
        assert_eq!(response.status, 302, "{response:?}");
        assert!(logs_in(&response));
        site.stop();
    }

    fn a_form_from_elsewhere_is_refused(kind: Kind) {
        let site = site::site(kind).start();
        let mut visitor = site.visitor();
        let form = begun(&mut visitor, "/docs/a.html");
        let am = origin_of(&site.am.url());
        let host_alone = am.rsplit_once(':').expect("port").0.to_owned();
        let elsewhere = [
            "https://evil.example.com".to_owned(),
            site.url(),
            host_alone,
            am.replace("http:", "https:"),
            format!("{am}/"),
            format!("{am}.evil.example.com"),
            "null".to_owned(),
            String::new(),
        ];
        for origin in &elsewhere {
            let post = visitor.posting(&form, Some(origin));
            no_to(&mut visitor, origin, post, 403, "PCL0211");
        }
        let twice = visitor.posting(&form, Some(&am)).header("Origin", &am);
        no_to(&mut visitor, "two origins", twice, 403, "PCL0211");
        // A client that says nothing is judged by what it brings.
        let silent = visitor.posting(&form, None);
        assert!(logs_in(&visitor.send(silent)));
        site.stop();
    }

    fn a_page_without_origin_only_where_it_is_allowed(kind: Kind) {
        let site = site::site(kind)
            .property("portcullis.login.callback.null.origin", "true")
            .start();
        let mut visitor = site.visitor();
        let form = begun(&mut visitor, "/docs/a.html");
        let post = visitor.posting(&form, Some("https://evil.example.com"));
        no_to(&mut visitor, "another origin", post, 403, "PCL0211");
        let post = visitor.posting(&form, Some("null"));
        let response = visitor.send(post);
        assert_eq!(response.status, 302, "{response:?}");
        assert!(logs_in(&response));
        site.stop();
    }

    fn a_login_belongs_to_the_browser_that_began_it(kind: Kind) {
        let site = site::site(kind).start();
        let second = create_second_user(&site);
        let mut visitor = site.visitor();
        let form = begun(&mut visitor, "/docs/a.html");
        let mut attacker = site.visitor();
        attacker.use_am_token(&second);
        let theirs = begun(&mut attacker, "/docs/a.html");

        // Login forgery: the victim's browser posts the attacker's answer.
        no(&mut visitor, "the attacker's form", &theirs, 403, "PCL0214");
        let mut blank = site.visitor();
        no(&mut blank, "no cookie", &form, 403, "PCL0214");
        let (name, value) = attacker.cookies.first_key_value().expect("a login's cookie");
        let own = visitor.cookies.first_key_value().expect("a login's cookie");
        let mixed = BTreeMap::from([(own.0.clone(), value.clone())]);
        let (name, own) = (name.clone(), (own.0.clone(), own.1.clone()));
        blank.cookies = mixed;
        no(&mut blank, "the attacker's cookie under the victim's name", &form, 403, "PCL0215");
        blank.cookies = BTreeMap::from([(own.0.clone(), tampered(&own.1))]);
        no(&mut blank, "an altered cookie", &form, 403, "PCL0214");
        blank.cookies = BTreeMap::from([(own.0.clone(), own.1[..own.1.len() - 1].to_owned())]);
        no(&mut blank, "a cut cookie", &form, 403, "PCL0214");
        // The token of one login with the state of another.
        let swapped = forge::with(&form, "id_token", theirs.field("id_token").expect("id_token"));
        no(&mut visitor, "a swapped token", &swapped, 403, "PCL0225");
        // A cookie that a sibling domain tossed in beside the real one: none of them counts.
        let tossed = visitor
            .posting(&form, Some(&origin_of(&site.am.url())))
            .header("Cookie", &format!("{}={}; {}={value}", own.0, own.1, own.0, value = attacker.cookies[&name]));
        let response = logged(&site, "PCL0214", || site.send(&tossed));
        refused("two cookies of one login", &response, 403);

        yes(&mut visitor, &form, "/docs/a.html");
        site.stop();
    }

    fn with_one_cookie_for_all_a_login_belongs_to_its_browser_too(kind: Kind) {
        let site = site::site(kind).property(MULTIVALUE, "true").start();
        let second = create_second_user(&site);
        let mut visitor = site.visitor();
        let form = begun(&mut visitor, "/docs/a.html");
        let mut attacker = site.visitor();
        attacker.use_am_token(&second);
        let theirs = begun(&mut attacker, "/docs/a.html");
        no(&mut visitor, "the attacker's form", &theirs, 403, "PCL0215");
        let mut blank = site.visitor();
        no(&mut blank, "no cookie", &form, 403, "PCL0214");
        let unknown = forge::with(&form, "state", &tampered(form.field("state").expect("state")));
        no(&mut visitor, "an unknown state", &unknown, 403, "PCL0215");
        yes(&mut visitor, &form, "/docs/a.html");
        site.stop();
    }

    fn a_token_that_am_did_not_make_for_this_login_is_refused(kind: Kind) {
        let site = site::site(kind).start();
        let mut visitor = site.visitor();
        let form = begun(&mut visitor, "/docs/a.html");
        let v = &mut visitor;
        let good = claims(&form);
        let key = forge::key_of(AGENT_PASSWORD);
        let text = good.to_string();
        let signed = |header: Value, claims: &str, key: &[u8]| {
            forge::with(&form, "id_token", &forge::token(&header, claims, key))
        };
        let issued = good["iat"].as_u64().expect("iat");

        let other_key = forge::key_of("another-password-of-AM-01");
        no(v, "another key", &signed(forge::header(), &text, &other_key), 403, "PCL0222");
        no(v, "the bare password", &signed(forge::header(), &text, AGENT_PASSWORD.as_bytes()), 403, "PCL0222");
        no(v, "the empty key", &signed(forge::header(), &text, b""), 403, "PCL0222");
        for alg in ["RS256", "ES256", "HS512", "hs256", "none", "None", ""] {
            no(v, alg, &signed(json!({ "alg": alg }), &text, &key), 403, "PCL0221");
        }
        no(v, "crit", &signed(json!({ "alg": "HS256", "crit": ["b64"] }), &text, &key), 403, "PCL0220");
        let token = form.field("id_token").expect("id_token");
        let message = token.rsplit_once('.').expect("signature").0;
        no(v, "no signature", &forge::with(&form, "id_token", &format!("{message}.")), 403, "PCL0222");
        for bad in [message, "x", "a.b.c", "", &format!("{token}.x")] {
            no(v, "no JWT", &forge::with(&form, "id_token", bad), 403, "PCL0220");
        }
        let cases = [
            ("aud", json!("wa2"), "PCL0223"),
            ("aud", json!([AGENT, "wa2"]), "PCL0223"),
            ("aud", json!([]), "PCL0223"),
            ("aud", json!("WA1"), "PCL0223"),
            ("azp", json!("wa2"), "PCL0223"),
            ("iss", json!("http://evil.example.com/openam/oauth2"), "PCL0224"),
            ("iss", json!(site.am.url()), "PCL0224"),
            ("iss", json!(format!("{}/oauth2x", site.am.url())), "PCL0224"),
            ("nonce", json!("AAAAAAAAAAAAAAAAAAAAAA"), "PCL0225"),
            ("nonce", json!(""), "PCL0225"),
            ("realm", json!("/other"), "PCL0226"),
            ("realm", json!(""), "PCL0226"),
            ("exp", json!(issued - 3600), "PCL0227"),
            ("iat", json!(issued + 3600), "PCL0228"),
            ("nbf", json!(issued + 3600), "PCL0228"),
            ("exp", json!("never"), "PCL0220"),
            ("ssoToken", json!(""), "PCL0229"),
        ];
        for (name, value, code) in cases {
            no(v, &format!("{name}: {value}"), &changed(&form, name, value), 403, code);
        }
        for name in ["iss", "aud", "azp", "nonce", "realm", "exp", "iat", "ssoToken"] {
            no(v, &format!("without {name}"), &changed(&form, name, Value::Null), 403, "PCL0229");
            let twice = format!("{},\"{name}\":{}}}", text.trim_end_matches('}'), good[name]);
            no(v, &format!("{name} twice"), &signed(forge::header(), &twice, &key), 403, "PCL0229");
        }
        // The forgery itself works: with nothing changed it is let in.
        yes(v, &forged(&form, &good), "/docs/a.html");
        site.stop();
    }

    fn a_token_for_another_agent_is_refused(kind: Kind) {
        let site = site::site(kind).start();
        let admin = site.am.admin();
        let callback = json!({ "com.sun.identity.agents.config.cdsso.enable": ["true"] });
        admin.create_agent("/", "wa2", AGENT_PASSWORD, &site.url(), &callback).expect("agent");
        admin.create_agent("/", "wa3", "another-password-of-AM-01", &site.url(), &callback).expect("agent");
        let mut visitor = site.visitor();
        let redirect = visitor.get("/docs/a.html");
        for (name, code) in [("wa2", "PCL0223"), ("wa3", "PCL0222")] {
            let mut theirs = redirect.clone();
            for (header, value) in &mut theirs.headers {
                if header.eq_ignore_ascii_case("location") {
                    *value = value.replace("client_id=wa1", &format!("client_id={name}"));
                }
            }
            assert_ne!(theirs.location(), redirect.location());
            let form = visitor.form(&theirs);
            no(&mut visitor, name, &form, 403, code);
        }
        let form = visitor.form(&redirect);
        yes(&mut visitor, &form, "/docs/a.html");
        site.stop();
    }

    fn only_a_live_session_of_a_person_of_this_realm_counts(kind: Kind) {
        let site = site::site(kind).start();
        let am = site.am.client();
        site.am.admin().create_realm("/", "other").expect("realm");
        let foreign = am.login("/other", USER, USER_PASSWORD).expect("login at AM");
        let agent = am.agent_login("/", AGENT, AGENT_PASSWORD).expect("login of the agent");
        let ended = am.login("/", USER, USER_PASSWORD).expect("login at AM");
        am.logout(&ended, &ended).expect("logout");

        let mut visitor = site.visitor();
        let form = begun(&mut visitor, "/docs/a.html");
        let v = &mut visitor;
        no(v, "another realm", &changed(&form, "ssoToken", json!(foreign)), 403, "PCL0302");
        no(v, "an agent", &changed(&form, "ssoToken", json!(agent)), 403, "PCL0303");
        no(v, "ended", &changed(&form, "ssoToken", json!(ended)), 403, "PCL0230");
        no(v, "rubbish", &changed(&form, "ssoToken", json!("rubbish")), 403, "PCL0230");
        yes(v, &form, "/docs/a.html");

        // Ended between AM's answer and the browser's post.
        let mut late = site.visitor();
        let form = begun(&mut late, "/docs/a.html");
        let token = late.am_token();
        assert!(site.am.simulator().end_session(&token));
        no(&mut late, "ended meanwhile", &form, 403, "PCL0230");
        site.stop();
    }

    fn id_tokens_for_others_count_where_told(kind: Kind) {
        const DISABLE: &str = "com.forgerock.agents.jwt.aud.disable";
        const LIST: &str = "com.forgerock.agents.jwt.aud.whitelist";
        for (name, value, listed, any) in [(LIST, "x", false, false), (LIST, "wa7, wa8", true, false), (DISABLE, "1", true, true)] {
            let line = format!("{name}={value}");
            let site = site::site(kind)
                .profile("com.sun.identity.agents.config.freeformproperties", &[&line])
                .start();
            let mut visitor = site.visitor();
            let form = begun(&mut visitor, "/docs/a.html");
            let made_for = |aud: Value, azp: &str| {
                let mut claims = claims(&form);
                (claims["aud"], claims["azp"]) = (aud, json!(azp));
                forged(&form, &claims)
            };
            // One audience there is in any case, and it is the one that the token was made for.
            for bad in [made_for(json!(["wa8", "wa7"]), "wa8"), made_for(json!("wa8"), "wa1"), made_for(json!("wa1"), "wa8")] {
                no(&mut visitor, value, &bad, 403, "PCL0223");
            }
            for (who, counts) in [("wa9", any), ("wa8", listed)] {
                let form = made_for(json!(who), who);
                match counts {
                    true => drop(yes(&mut visitor, &form, "/docs/a.html")),
                    false => no(&mut visitor, who, &form, 403, "PCL0223"),
                }
                if counts {
                    break;
                }
            }
            site.stop();
        }
    }

    fn an_answer_waits_for_am_to_come_back(kind: Kind) {
        let mut site = site::site(kind).start();
        for code in ["PCL0500", "PCL0503", "PCL0504"] {
            site.server.expect(code);
        }
        let mut visitor = site.visitor();
        let form = begun(&mut visitor, "/docs/a.html");
        for (damage, code) in [
            (Damage::Reset, "PCL0500"),
            (Damage::Status { status: 500 }, "PCL0503"),
            (Damage::Garbage, "PCL0504"),
        ] {
            site.am.simulator().add_fault(Fault::on("/sessionservice", damage));
            no(&mut visitor, code, &form, 503, code);
            site.am.simulator().clear_faults();
        }
        // Nothing was used up.
        yes(&mut visitor, &form, "/docs/a.html");
        site.stop();
    }

    fn users_of_another_realm_only_where_it_is_named(kind: Kind) {
        let site = site::site(kind).property("portcullis.session.realms", "/other").start();
        let admin = site.am.admin();
        for realm in ["other", "third"] {
            admin.create_realm("/", realm).expect("realm");
        }
        let login = |realm: &str| site.am.client().login(realm, USER, USER_PASSWORD).expect("login at AM");
        let mut visitor = site.visitor();
        let form = begun(&mut visitor, "/docs/a.html");
        let third = changed(&form, "ssoToken", json!(login("/third")));
        no(&mut visitor, "a realm nobody named", &third, 403, "PCL0302");
        let other = changed(&form, "ssoToken", json!(login("/other")));
        yes(&mut visitor, &other, "/docs/a.html");
        site.stop();
    }

    fn a_login_that_took_too_long_starts_again(kind: Kind) {
        let site = site::site(kind)
            .profile("com.sun.identity.agents.config.profile.attribute.cookie.maxage", &["1"])
            .start();
        let mut visitor = site.visitor();
        let form = begun(&mut visitor, "/docs/a.html?x=1");
        // A worthless token: refused while the login is young, and never a reason to log in.
        let worthless = forge::with(&form, "id_token", "x");
        let mut answer = Response::default();
        portcullis_tests::wait_until("the end of the login's life", || {
            answer = visitor.post(&worthless);
            answer.status == 302
        });
        assert_eq!(answer.location(), format!("{}/docs/a.html?x=1#", site.url()));
        assert!(!logs_in(&answer), "{answer:?}");
        site.wait_for_line("PCL0205");
        // That login is gone; the next one works.
        no(&mut visitor, "the old answer", &form, 403, "PCL0214");
        let again = visitor.get("/docs/a.html?x=1");
        assert!(again.location().starts_with(&site.am.url()), "{again:?}");
        site.stop();
    }

    fn tabs_finish_in_any_order(kind: Kind) {
        for multivalue in ["false", "true"] {
            let site = site::site(kind).property(MULTIVALUE, multivalue).start();
            for first in [0, 1] {
                let mut visitor = site.visitor();
                let tabs = [("/docs/a.html", begun(&mut visitor, "/docs/a.html")),
                    ("/docs/b.html?x=%20y", begun(&mut visitor, "/docs/b.html?x=%20y"))];
                let cookies = if multivalue == "true" { 1 } else { 2 };
                assert_eq!(visitor.cookies.len(), cookies, "{:?}", visitor.cookies.keys());
                for (target, form) in [&tabs[first], &tabs[1 - first]] {
                    yes(&mut visitor, form, target);
                }
                assert_eq!(visitor.get("/docs/b.html").status, 200);
                let names: Vec<&String> = visitor.cookies.keys().collect();
                // The counter of rule L8 outlives them for a minute.
                assert_eq!(names, ["agent-authn-loop", SESSION_COOKIE], "nothing is left of the logins");
            }
            site.stop();
        }
    }

    fn the_sixth_login_under_way_drops_the_oldest(kind: Kind) {
        for (multivalue, code) in [("false", "PCL0214"), ("true", "PCL0215")] {
            let site = site::site(kind).property(MULTIVALUE, multivalue).start();
            let mut visitor = site.visitor();
            let mut forms: Vec<Form> = vec![];
            for n in 0..6 {
                forms.push(begun(&mut visitor, &format!("/docs/a.html?tab={n}")));
            }
            no(&mut visitor, "the oldest", &forms[0], 403, code);
            for n in [5, 1, 4, 2, 3] {
                yes(&mut visitor, &forms[n], &format!("/docs/a.html?tab={n}"));
            }
            site.stop();
        }
    }

    fn a_session_cookie_that_is_not_ours_leads_to_login(kind: Kind) {
        let site = site::site(kind)
            .profile(FQDN_MAPPING, &["[www2.test.example.org]=www2.test.example.org"])
            .start();
        let mut visitor = site.visitor();
        assert_eq!(visitor.log_in("/docs/a.html").status, 200);
        let good = visitor.cookies[SESSION_COOKIE].clone();
        let get = |cookie: &str| Request::get("/docs/a.html").header("Cookie", cookie);
        let login = |what: &str, request: &Request, code: &str| {
            let response = logged(&site, code, || site.send(request));
            assert_eq!(response.status, 302, "{what}: {response:?}");
            assert!(response.location().starts_with(&site.am.url()), "{what}: {response:?}");
            assert!(clears_session(&response), "{what}: {response:?}");
            assert!(!logs_in(&response), "{what}: {response:?}");
        };
        for (what, value) in [
            ("altered", tampered(&good)),
            ("cut", good[..good.len() - 1].to_owned()),
            ("longer", format!("{good}A")),
            ("empty", String::new()),
            ("AM's own token", visitor.am_token()),
            ("an id_token", {
                let form = begun(&mut site.visitor(), "/docs/a.html");
                form.field("id_token").expect("id_token").to_owned()
            }),
            ("a login's cookie", {
                let mut other = site.visitor();
                other.get("/docs/a.html");
                other.cookies.into_values().next().expect("a login's cookie")
            }),
        ] {
            login(what, &get(&format!("{SESSION_COOKIE}={value}")), "PCL0202");
        }
        let port = site.server.address().port();
        let elsewhere = get(&format!("{SESSION_COOKIE}={good}"))
            .header("Host", &format!("www2.test.example.org:{port}"));
        login("another host", &elsewhere, "PCL0202");

        let two = [
            format!("{SESSION_COOKIE}={good}; {SESSION_COOKIE}={}", tampered(&good)),
            format!("{SESSION_COOKIE}=x; {SESSION_COOKIE}={good}"),
        ];
        for cookies in &two {
            login("two different values", &get(cookies), "PCL0203");
        }
        let fields = get(&format!("{SESSION_COOKIE}=x")).header("Cookie", &format!("{SESSION_COOKIE}={good}"));
        login("two different values in two fields", &fields, "PCL0203");
        let same = get(&format!("{SESSION_COOKIE}={good}; {SESSION_COOKIE}={good}"));
        assert_eq!(site.send(&same).status, 200, "the same value twice is one value");
        site.stop();
    }

    fn a_session_cookie_of_another_instance_leads_to_login(kind: Kind) {
        let first = site::site(kind).start();
        let mut visitor = first.visitor();
        assert_eq!(visitor.log_in("/docs/a.html").status, 200);
        let theirs = format!("{SESSION_COOKIE}={}", visitor.cookies[SESSION_COOKIE]);
        let own_key = site::site(kind).start();
        // The worst case: somebody copied the key.
        let mut same_key = site::site(kind).prepare();
        for file in ["agent-key.conf", "agent-password.conf"] {
            let of = |site: &Site| site.instance.join("config").join(file);
            let bytes = std::fs::read(of(&first)).expect(file);
            std::fs::write(of(&same_key), bytes).expect(file);
        }
        same_key.server.start();
        for site in [&own_key, &same_key] {
            let request = Request::get("/docs/a.html").header("Cookie", &theirs);
            let response = logged(site, "PCL0202", || site.send(&request));
            assert_eq!(response.status, 302, "{response:?}");
            assert!(response.location().starts_with(&site.am.url()), "{response:?}");
        }
        own_key.stop();
        same_key.stop();
        first.stop();
    }

    fn a_host_name_that_is_not_configured_gets_no_login(kind: Kind) {
        let site = site::site(kind).start();
        let own = format!("{}/docs/a.html?x=1", site.url());
        let port = site.server.address().port();
        for host in [
            "evil.example.com".to_owned(),
            format!("evil.example.com:{port}"),
            format!("www.test.example.org.evil.example.com:{port}"),
            format!("evil.test.example.org:{port}"),
            "127.0.0.1".to_owned(),
        ] {
            let get = Request::get("/docs/a.html?x=1").header("Host", &host);
            let response = logged(&site, "PCL0206", || site.send(&get));
            assert_eq!((response.status, response.location()), (302, own.as_str()), "{host}");
            assert_eq!(response.all("set-cookie").count(), 0, "{host}: {response:?}");
            let post = Request::new("POST", "/docs/a.html").header("Host", &host).body(FORM, "a=b");
            let response = logged(&site, "PCL0306", || site.send(&post));
            refused(&host, &response, 403);
            // An answer of AM that comes in under this name finds no cookie of its login.
            let mut visitor = site.visitor();
            let form = begun(&mut visitor, "/docs/a.html");
            let post = visitor
                .posting(&form, Some(&origin_of(&site.am.url())))
                .header("Host", &host);
            no_to(&mut visitor, &host, post, 403, "PCL0214");
        }
        let absolute = Request::get("http://evil.example.com/docs/a.html");
        assert!(!site.send(&absolute).location().contains("evil"));
        for name in ["X-Forwarded-Host", "Forwarded", "X-Original-URL"] {
            let get = Request::get("/docs/a.html").header(name, "evil.example.com");
            let location = site.send(&get).location().to_owned();
            assert!(location.starts_with(&site.am.url()) && !location.contains("evil"), "{location}");
        }
        site.stop();
    }

    fn a_path_that_looks_like_a_host_stays_a_path(kind: Kind) {
        let site = site::site(kind).start();
        for target in [
            "//evil.example.com/",
            "///evil.example.com/docs/a.html",
            "/.//evil.example.com/",
            "/docs/..//evil.example.com/",
            "/\\evil.example.com/",
            "/%5cevil.example.com/",
            "/%2fevil.example.com/",
            "/%09/evil.example.com/",
            "/docs/a.html?goto=http://evil.example.com/",
            "/@evil.example.com/",
            "/;@evil.example.com/",
        ] {
            let mut visitor = site.visitor();
            let redirect = visitor.get(target);
            if redirect.status != 302 {
                // Who refuses depends on the server; nobody redirects.
                assert!((400..500).contains(&redirect.status), "{target}: {redirect:?}");
                assert!(redirect.header("location").is_none(), "{target}: {redirect:?}");
                continue;
            }
            let form = visitor.form(&redirect);
            let back = visitor.post(&form);
            assert_eq!(back.status, 302, "{target}: {back:?}");
            let path = back.location().strip_prefix(&site.url());
            let path = path.unwrap_or_else(|| panic!("{target}: {back:?}"));
            assert!(path.starts_with('/') && !path.starts_with("//"), "{target}: {back:?}");
        }
        site.stop();
    }

    fn logins_under_way_do_not_fill_the_cookie_header(kind: Kind) {
        for multivalue in ["false", "true"] {
            let site = site::site(kind).property(MULTIVALUE, multivalue).start();
            let mut visitor = site.visitor();
            let target = |tab: usize| format!("/docs/a.html?tab={tab}&x={}", "x".repeat(1200));
            let mut forms: Vec<Form> = vec![];
            for tab in 0..8 {
                forms.push(begun(&mut visitor, &target(tab)));
                let length = visitor.cookie_header().len();
                assert!(length <= 4096, "{length} bytes of cookies after tab {tab}");
            }
            // The newest are kept, as many as fit.
            for tab in [7, 6] {
                yes(&mut visitor, &forms[tab], &target(tab));
            }
            let gone = logged(&site, "PCL021", || visitor.post(&forms[0]));
            refused("the oldest", &gone, 403);
            site.stop();
        }
    }

    fn an_address_that_no_cookie_holds_leads_to_the_front_page(kind: Kind) {
        for multivalue in ["false", "true"] {
            let site = site::site(kind).property(MULTIVALUE, multivalue).start();
            let mut visitor = site.visitor();
            let form = begun(&mut visitor, &format!("/docs/a.html?x={}", "x".repeat(5000)));
            yes(&mut visitor, &form, "/");
            site.stop();
        }
    }

    fn cookies_are_as_tight_as_configured(kind: Kind) {
        let site = site::site(kind).start();
        let mut visitor = site.visitor();
        let redirect = visitor.get("/docs/a.html");
        let cookies: Vec<String> = redirect.all("set-cookie").map(str::to_lowercase).collect();
        assert_eq!(cookies.len(), 1, "{cookies:?}");
        assert!(cookies[0].starts_with("agent-authn-tx-"), "{cookies:?}");
        let has = |cookie: &str, attribute: &str| {
            cookie.split("; ").skip(1).any(|a| a == attribute || a.starts_with(&format!("{attribute}=")))
        };
        assert!(has(&cookies[0], "httponly") && has(&cookies[0], "max-age") && has(&cookies[0], "path=/"));
        assert!(!has(&cookies[0], "samesite") && !has(&cookies[0], "secure") && !has(&cookies[0], "domain"));
        let form = visitor.form(&redirect);
        let back = yes(&mut visitor, &form, "/docs/a.html");
        let session = back.all("set-cookie").find(|c| c.starts_with(SESSION_COOKIE));
        let session = session.expect("session cookie").to_lowercase();
        assert!(has(&session, "httponly") && has(&session, "path=/"), "{session}");
        assert!(!has(&session, "max-age") && !has(&session, "domain"), "{session}");
        site.stop();

        let site = site::site(kind)
            .profile("com.sun.identity.agents.config.cookie.secure", &["true"])
            .profile("com.sun.identity.agents.config.freeformproperties",
                &["com.forgerock.agents.cdsso.cookie.samesite=Strict"])
            .start();
        let mut visitor = site.visitor();
        let form = begun(&mut visitor, "/docs/a.html");
        let back = yes(&mut visitor, &form, "/docs/a.html");
        let session = back.all("set-cookie").find(|c| c.starts_with(SESSION_COOKIE));
        let session = session.expect("session cookie").to_lowercase();
        assert!(has(&session, "secure") && has(&session, "samesite=strict"), "{session}");
        site.stop();
    }

    fn a_session_cookie_of_a_domain_serves_its_hosts(kind: Kind) {
        let site = site::site(kind)
            .profile("com.sun.identity.agents.config.cdsso.cookie.domain", &["[0]=.test.example.org"])
            .profile(FQDN_MAPPING, &["[www2.test.example.org]=www2.test.example.org"])
            .profile("com.sun.identity.agents.config.sso.only", &["true"])
            .start();
        let mut visitor = site.visitor();
        let form = begun(&mut visitor, "/docs/a.html");
        let back = yes(&mut visitor, &form, "/docs/a.html");
        let own: Vec<&str> = back.all("set-cookie").filter(|c| c.starts_with(SESSION_COOKIE)).collect();
        assert_eq!(own.len(), 1, "{own:?}");
        assert!(own[0].to_lowercase().contains("domain=test.example.org")
            || own[0].to_lowercase().contains("domain=.test.example.org"), "{own:?}");
        let cookie = format!("{SESSION_COOKIE}={}", visitor.cookies[SESSION_COOKIE]);
        let port = site.server.address().port();
        let second = Request::get("/docs/a.html").header("Host", &format!("www2.test.example.org:{port}"));
        assert_eq!(site.send(&second.clone().header("Cookie", &cookie)).status, 200);
        // Two values: both the domain's cookie and the host's are removed.
        let two = second.header("Cookie", &format!("{SESSION_COOKIE}=x; {cookie}"));
        let response = logged(&site, "PCL0203", || site.send(&two));
        let cleared: Vec<String> = response.all("set-cookie").filter(|c| c.starts_with(&format!("{SESSION_COOKIE}=;")))
            .map(str::to_lowercase).collect();
        assert_eq!(cleared.len(), 2, "{response:?}");
        assert_eq!(cleared.iter().filter(|c| c.contains("domain=")).count(), 1, "{cleared:?}");
        site.stop();
    }

    fn no_log_holds_what_could_let_anybody_in(kind: Kind) {
        let site = site::site(kind).start();
        let mut visitor = site.visitor();
        let form = begun(&mut visitor, "/docs/a.html?secret=query");
        let login: Vec<String> = visitor.cookies.values().cloned().collect();
        let wrong = changed(&form, "aud", json!("wa2"));
        no(&mut visitor, "wrong audience", &wrong, 403, "PCL0223");
        yes(&mut visitor, &form, "/docs/a.html?secret=query");
        assert_eq!(visitor.get("/docs/a.html?secret=query").status, 200);
        no(&mut visitor, "reload", &form, 403, "PCL0214");
        assert_eq!(visitor.get("/logout/done.html").status, 200);
        site.wait_for_line("PCL0103");
        let logs = site.server.said() + &site.debug_log();
        let token = visitor.am_token();
        let mut secrets = vec![AGENT_PASSWORD, "secret=query", &token];
        secrets.extend(["id_token", "state"].map(|name| form.field(name).expect("field")));
        secrets.extend(login.iter().map(String::as_str));
        for secret in secrets {
            assert!(!logs.contains(secret), "a log holds {secret:?}");
        }
        site.stop();
    }
}

/// No redirect and no session, whoever answered.
fn refused_by_anybody(what: &str, response: &Response) {
    assert!(
        (400..500).contains(&response.status),
        "{what}: {response:?}"
    );
    assert!(
        response.header("location").is_none(),
        "{what}: {response:?}"
    );
    assert_eq!(
        response.all("set-cookie").count(),
        0,
        "{what}: {response:?}"
    );
}

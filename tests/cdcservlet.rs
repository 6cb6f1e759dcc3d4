//! Login at old servers, through `/cdcservlet`: its answer is not signed, so only the answer to this
//! browser's own request counts, once, and AM is asked whose token is in it (rule L6).

// Scenarios are functions of their own: Clippy does not take them for tests.
#![allow(clippy::expect_used, clippy::panic)]

use base64::{Engine, engine::general_purpose::STANDARD};
use portcullis_openam::seed::Form;
use portcullis_tests::{
    backend::Seen,
    both_servers,
    client::Request,
    forge,
    outcome::{SESSION_COOKIE, in_every_worker, logged, logs_in, refused},
    real,
    server::Kind,
    site::{Builder, Site, USER, USER_PASSWORD},
    stepping::{StepUp, ask_for_more, ask_for_no_more, with_strong_pages},
    visitor::{Visitor, origin_of, path_of},
};
use serde_json::json;

const PAGE: &str = "/app/page?x=1";

fn site(kind: Kind) -> Builder {
    let site = with_strong_pages(portcullis_tests::site::site(kind));
    site.property("portcullis.login.cdcservlet", "true")
}

fn begun(visitor: &mut Visitor<'_>) -> Form {
    let redirect = visitor.get(PAGE);
    visitor.form(&redirect)
}

fn document(form: &Form) -> String {
    let lares = form.field("LARES").expect("LARES");
    String::from_utf8(STANDARD.decode(lares).expect("base64")).expect("text")
}

fn of(form: &Form, document: &str) -> Form {
    forge::with(form, "LARES", &STANDARD.encode(document))
}

/// The form with a text of its document replaced.
fn changed(form: &Form, from: &str, to: &str) -> Form {
    let document = document(form);
    assert!(document.contains(from), "{from}: {document}");
    of(form, &document.replace(from, to))
}

/// The value of an attribute, where it comes first.
fn attribute(document: &str, name: &str) -> String {
    let start = document.find(&format!(" {name}=\"")).expect(name) + name.len() + 3;
    let value = &document[start..];
    value[..value.find('"').expect("quote")].to_owned()
}

/// From the page to AM and back to the page.
fn logs_in_by_lares(visitor: &mut Visitor<'_>) {
    let site = visitor.site();
    let redirect = visitor.get(PAGE);
    let to = redirect.location();
    let endpoint = portcullis_openam::http::escape(&format!("{}/agent/cdsso-oauth2", site.url()));
    let start = format!("{}/cdcservlet?goto={endpoint}&RequestID=", site.am.url());
    assert!(to.starts_with(&start), "{redirect:?}");
    assert_eq!(redirect.header("cache-control"), Some("no-store"));
    let form = visitor.form(&redirect);
    let back = visitor.post(&form);
    let wanted = format!("{}{PAGE}", site.url());
    assert_eq!(
        (back.status, back.location()),
        (302, &*format!("{wanted}#")),
        "{back:?}"
    );
    assert!(logs_in(&back), "{back:?}");
    let page = visitor.get(PAGE);
    assert_eq!(page.status, 200, "{page:?}\n{}", site.server.said());
    let seen = Seen::of(&page).expect("the application's answer");
    assert_eq!(seen.header("X-User").as_deref(), Some("demo1"));
    assert!(seen.all("Cookie").is_empty(), "our cookies stay here");
}

/// The answer works once.
fn not_again(visitor: &mut Visitor<'_>) {
    let site = visitor.site();
    let mut again = site.visitor();
    let form = begun(&mut again);
    let copy = again
        .posting(&form, Some(&origin_of(&site.am.url())))
        .header("Cookie", &again.cookie_header());
    assert!(logs_in(&again.post(&form)));
    for answer in in_every_worker(site, "PCL0216", &copy) {
        refused("once more", &answer, 403);
    }
    let page = logged(site, "PCL0214", || visitor.post(&form));
    refused("in another browser", &page, 403);
}

/// For more than the session has, and back.
fn steps_up(visitor: &mut Visitor<'_>) {
    let site = visitor.site();
    ask_for_more(site);
    let denied = visitor.get("/strong/page");
    let asked = StepUp::of(site, &denied).expect("a step-up");
    assert!(asked.goto.contains("/cdcservlet?"), "{}", asked.goto);
    let am = site.am.client();
    let token = am.step_up(&visitor.am_token(), &asked.advices, USER, USER_PASSWORD);
    let token = token.expect("a second login");
    visitor.use_am_token(&token);
    let form = am.authorize(&token, &asked.goto).expect("AM's form");
    let back = visitor.post(&form);
    let target = path_of(back.location());
    assert_eq!((back.status, &*target), (302, "/strong/page"), "{back:?}");
    assert_eq!(visitor.get("/strong/page").status, 200);
}

both_servers! {
    fn a_login_goes_through_cdcservlet_where_told(kind: Kind) {
        let site = site(kind).start();
        let mut visitor = site.visitor();
        logs_in_by_lares(&mut visitor);
        not_again(&mut visitor);
        steps_up(&mut visitor);
        site.stop();
        // Where the profile names it; `public.am.url` would come first.
        let named = with_strong_pages(portcullis_tests::site::site(kind))
            .property("portcullis.login.cdcservlet", "true")
            .profile(
                "com.sun.identity.agents.config.cdsso.cdcservlet.url",
                &["[0]=https://login.test.example.org/old/cdcservlet"],
            )
            .start();
        let redirect = named.get(PAGE);
        let start = "https://login.test.example.org/old/cdcservlet?goto=http";
        assert!(redirect.location().starts_with(start), "{redirect:?}");
        named.stop();
    }

    fn without_the_property_lares_counts_for_nothing(kind: Kind) {
        let site = portcullis_tests::site::site(kind).start();
        let mut visitor = site.visitor();
        let redirect = visitor.get(PAGE);
        assert!(redirect.location().contains("/oauth2/authorize?"), "{redirect:?}");
        let form = visitor.form(&redirect);
        let lares = Form {
            fields: vec![("LARES".into(), STANDARD.encode("<lib:AuthnResponse/>"))],
            ..form.clone()
        };
        let page = logged(&site, "PCL0212", || visitor.post(&lares));
        refused("LARES where nobody asked for it", &page, 400);
        assert!(logs_in(&visitor.post(&form)));
        site.stop();
    }

    fn an_id_token_is_no_answer_of_cdcservlet(kind: Kind) {
        let site = site(kind).start();
        let mut visitor = site.visitor();
        let form = begun(&mut visitor);
        let state = attribute(&document(&form), "InResponseTo");
        let other = Form {
            fields: vec![("id_token".into(), "a.b.c".into()), ("state".into(), state)],
            ..form.clone()
        };
        let page = logged(&site, "PCL0212", || visitor.post(&other));
        refused("an ID token", &page, 400);
        let twice = forge::and(&form, "LARES", form.field("LARES").expect("LARES"));
        let page = logged(&site, "PCL0212", || visitor.post(&twice));
        refused("two of them", &page, 400);
        assert!(logs_in(&visitor.post(&form)));
        site.stop();
    }

    fn lares_of_another_request_is_refused(kind: Kind) {
        let site = site(kind).start();
        site.am.admin().create_user("/", "mallory", USER_PASSWORD, &json!({})).expect("user");
        let theirs = site.am.client().login("/", "mallory", USER_PASSWORD).expect("login");
        let mut victim = site.visitor();
        let form = begun(&mut victim);
        let state = attribute(&document(&form), "InResponseTo");
        let mut attacker = site.visitor();
        attacker.use_am_token(&theirs);
        let other = begun(&mut attacker);
        let other_state = attribute(&document(&other), "InResponseTo");
        // Login forgery: the victim's browser posts what the attacker's login gave.
        let page = logged(&site, "PCL0214", || victim.post(&other));
        refused("the attacker's answer", &page, 403);
        // Of two requests in one document none is answered.
        let document = document(&other);
        let half = document.replacen(&other_state, &state, 1);
        let page = logged(&site, "PCL0390", || victim.post(&of(&other, &half)));
        refused("the attacker's assertion under the victim's request", &page, 403);
        // The attacker's token in the victim's document is the attacker's session: only who overheard the
        // victim's request can write it, and whoever did not finds no browser that takes it.
        let made_up = document.replace(&other_state, "AAAAAAAAAAAAAAAAAAAAAA");
        let page = logged(&site, "PCL0214", || victim.post(&of(&other, &made_up)));
        refused("for a request that nobody made", &page, 403);
        let page = logged(&site, "PCL0214", || attacker.post(&form));
        refused("the victim's answer in the attacker's browser", &page, 403);
        // The victim's login goes on.
        assert!(logs_in(&victim.post(&form)));
        site.stop();
    }

    fn lares_that_is_not_for_this_login_is_refused(kind: Kind) {
        let site = site(kind).start();
        let mut visitor = site.visitor();
        let form = begun(&mut visitor);
        let document = document(&form);
        let (begin, end) = (attribute(&document, "NotBefore"), attribute(&document, "NotOnOrAfter"));
        let issuer = attribute(&document, "Issuer");
        let audience = format!("{}/?Realm=%2F", site.url());
        let token = visitor.am_token();
        let deep = format!("{}<samlp:Status>", "<a>".repeat(1000));
        let entities = format!("<!DOCTYPE x [<!ENTITY a \"ha\"><!ENTITY b \"{}\">]><lib:AuthnResponse", "&a;".repeat(100));
        let wide: String = (0..2000).map(|n| format!(" a{n}=\"\"")).collect();
        let wide = format!("<samlp:Status{wide}>");
        for (what, from, to, code) in [
            ("another site", &*audience, "http://other.test.example.org:80/?Realm=%2F", "PCL0392"),
            ("another realm's agent", &audience, &format!("{}/?Realm=%2Fshop", site.url()), "PCL0392"),
            ("another AM", &issuer, "http://am.evil.example.com:8080/openam/cdcservlet", "PCL0393"),
            ("expired", &end, "2001-01-01T00:00:00Z", "PCL0394"),
            ("from the future", &begin, "2099-01-01T00:00:00Z", "PCL0394"),
            ("failed", "samlp:Success", "samlp:Responder", "PCL0391"),
            ("made-up token", &token, "AQIC5wMadeUp.*AAJTSQACMDE.*", "PCL0230"),
            ("no token", &token, "", "PCL0390"),
            ("no bearer", "cm:bearer", "cm:artifact", "PCL0390"),
            ("a document type", "<lib:AuthnResponse", "<!DOCTYPE x><lib:AuthnResponse", "PCL0390"),
            ("a bomb", "<lib:AuthnResponse", &entities, "PCL0390"),
            ("an entity", "samlp:Success", "&a;", "PCL0390"),
            ("a deep one", "<samlp:Status>", &deep, "PCL0390"),
            ("a wide one that is cut off", "<samlp:Status>", &wide[..wide.len() - 1], "PCL0390"),
            ("another document", "lib:AuthnResponse", "soap:Envelope", "PCL0390"),
        ] {
            let page = logged(&site, code, || visitor.post(&changed(&form, from, to)));
            refused(what, &page, 403);
        }
        let page = logged(&site, "PCL0390", || visitor.post(&forge::with(&form, "LARES", "x")));
        refused("rubbish", &page, 403);
        // Made for another agent by AM itself, for the same request.
        let to = visitor.get(PAGE).location().to_owned();
        let mine = portcullis_openam::http::escape(&audience);
        let other = portcullis_openam::http::escape("http://other.test.example.org:80/?Realm=%2F");
        let url = to.replace(&mine, &other);
        assert_ne!(url, to);
        let lent = site.am.client().authorize(&token, &url).expect("AM's form");
        let page = logged(&site, "PCL0392", || visitor.post(&lent));
        refused("for another agent", &page, 403);
        // From another page than AM's.
        let post = visitor.posting(&form, Some("https://evil.example.com"));
        let page = logged(&site, "PCL0211", || visitor.send(post));
        refused("another origin", &page, 403);
        // As a link.
        let field = portcullis_openam::http::escape(form.field("LARES").expect("LARES"));
        let get = Request::get(&format!("/agent/cdsso-oauth2?LARES={field}"));
        let page = logged(&site, "PCL0210", || visitor.send(get));
        refused("GET", &page, 400);
        assert!(!visitor.cookies.contains_key(SESSION_COOKIE));
        // None of them used the login up, and no log has the token.
        assert!(logs_in(&visitor.post(&form)));
        assert!(!site.debug_log().contains(&token) && !site.server.said().contains(&token));
        site.stop();
    }
}

#[test]
fn cdcservlet_of_a_real_openam_logs_in() {
    real::on_both(
        "the login through cdcservlet of a real OpenAM",
        |kind, am| {
            let site: Site = site(kind).am(am()).start();
            let mut visitor = site.visitor();
            logs_in_by_lares(&mut visitor);
            not_again(&mut visitor);
            steps_up(&mut visitor);
            ask_for_no_more(&site);
            site.stop();
        },
    );
}

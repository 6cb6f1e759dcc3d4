//! `/cdcservlet`: the login of older agents. It hands the session to whoever asks, unsigned, wherever `goto` says: so does
//! the real server (measured on OpenAM 16.0.5 and 14.8.4).

use crate::authenticate::browser;
use crate::clock::iso;
use crate::http::{Reply, Req, escape_html, url_encode};
use crate::session::Session;
use crate::state::Am;
use crate::token::random_hex;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

/// Any of these asks for a new login, whoever is logged in.
const WISHES: [&str; 9] = [
    "module",
    "authlevel",
    "role",
    "service",
    "user",
    "realm",
    "org",
    "domain",
    "resource",
];
/// How long an answer counts, milliseconds.
const LIFE_MS: i64 = 60_000;

/// Answers a call.
pub(crate) fn answer(am: &Am, req: &Req) -> Reply {
    let Some(target) = req.param("goto").or_else(|| req.param("TARGET")) else {
        return broken();
    };
    let lower = target.to_lowercase();
    if ["<", ">", "%3c", "%3e", "javascript:"]
        .iter()
        .any(|bad| lower.contains(bad))
    {
        return plain("GOTO parameter has invalid characters");
    }
    if req.param("sunamcompositeadvice").is_some() {
        return Reply::container_page(501, "this part of cdcservlet is not simulated");
    }
    let wishes: Vec<String> = named(req, |name| WISHES.contains(&name), |value| value.to_owned());
    let session = browser(am, req);
    let (Some(session), true) = (session, wishes.is_empty()) else {
        return to_login(am, req, target, wishes);
    };
    match asked(req) {
        Some(ask) => hand_over(am, req, target, (&ask, &session)),
        None => broken(),
    }
}

/// What has to be said, and what of it the answer repeats.
struct Ask<'a> {
    request: &'a str,
    provider: &'a str,
}

fn asked(req: &Req) -> Option<Ask<'_>> {
    let is = |name: &str, good: &[&str]| req.param(name).is_some_and(|v| good.contains(&v));
    let instant = req.param("IssueInstant")?;
    let shaped = instant.len() == 20 && instant.ends_with('Z') && instant.contains('T');
    let versions = is("MajorVersion", &["1"]) && is("MinorVersion", &["0", "2"]);
    (shaped && versions).then_some(Ask {
        request: req.param("RequestID")?,
        provider: req.param("ProviderID")?,
    })
}

/// The parameters with these names, in their order.
fn named(req: &Req, is: impl Fn(&str) -> bool, value: impl Fn(&str) -> String) -> Vec<String> {
    let pairs = req.query.iter().filter(|(name, _)| is(name));
    pairs.map(|(n, v)| format!("{n}={}", value(v))).collect()
}

/// The login page, which leads back here without what was wished.
fn to_login(am: &Am, req: &Req, target: &str, mut wishes: Vec<String>) -> Reply {
    let encoded = |text: &str| url_encode(text).replace("%20", "+");
    let kept = |name: &str| !WISHES.contains(&name) && !matches!(name, "goto" | "TARGET");
    let rest = named(req, kept, encoded);
    let again = format!(
        "{}/cdcservlet?TARGET={}",
        am.config.context,
        encoded(target)
    );
    let again = [vec![again], rest].concat().join("&");
    wishes.push(format!("goto={}", url_encode(&again)));
    let to = format!("{}/XUI?{}#login/", am.config.context, wishes.join("&"));
    Reply::redirect(302, to)
}

fn hand_over(am: &Am, req: &Req, target: &str, (ask, session): (&Ask<'_>, &Session)) -> Reply {
    let document = document(am, req, ask, session);
    let page = format!(
        "\n\n<html>\n <body onload=\"document.Response.submit()\">\n  <form name=\"Response\" method=\"post\" action=\"{}\">\n   \
         <input type=\"hidden\" name=\"LARES\" value=\"{}\"/>\n   <noscript>\n    <center>\n     \
         <input type=\"submit\" value=\"Submit LARES data\"/>\n    </center>\n   </noscript>\n  </form>\n </body>\n</html>\n",
        escape_html(target),
        STANDARD.encode(document)
    );
    Reply::text(200, "text/html;charset=UTF-8", page)
        .with("pragma", "no-cache")
        .with("x-dsame-assertion-form", "true")
}

fn document(am: &Am, req: &Req, ask: &Ask<'_>, session: &Session) -> String {
    let (_, port) = req.host_and_port();
    let me = format!(
        "http://{}:{port}{}/cdcservlet",
        am.config.host, am.config.context
    );
    let now = am.now_ms();
    let (now, end, begun) = (iso(now), iso(now + LIFE_MS), iso(session.created_ms));
    let (request, provider) = (escape_html(ask.request), escape_html(ask.provider));
    let (response, assertion) = (random_hex::<20>(), random_hex::<20>());
    let token = &session.token;
    format!(
        "<lib:AuthnResponse xmlns:lib=\"http://projectliberty.org/schemas/core/2002/12\" xmlns:saml=\"urn:oasis:names:tc:SAML:1.0:assertion\" \
         xmlns:samlp=\"urn:oasis:names:tc:SAML:1.0:protocol\" xmlns:ds=\"http://www.w3.org/2000/09/xmldsig#\" \
         xmlns:xsi=\"http://www.w3.org/2001/XMLSchema-instance\" ResponseID=\"s{response}\"  InResponseTo=\"{request}\" \
         MajorVersion=\"1\" MinorVersion=\"0\" IssueInstant=\"{now}\"><samlp:Status>\n<samlp:StatusCode Value=\"samlp:Success\">\n\
         </samlp:StatusCode>\n</samlp:Status>\n\
         <saml:Assertion  xmlns:saml=\"urn:oasis:names:tc:SAML:1.0:assertion\" xmlns:xsi=\"http://www.w3.org/2001/XMLSchema-instance\"  \
         xmlns:lib=\"http://projectliberty.org/schemas/core/2002/12\"  id=\"s{assertion}01\" MajorVersion=\"1\" MinorVersion=\"0\" \
         AssertionID=\"s{assertion}01\" Issuer=\"{me}\" IssueInstant=\"{now}\" InResponseTo=\"{request}\" xsi:type=\"lib:AssertionType\">\n\
         <saml:Conditions  NotBefore=\"{now}\" NotOnOrAfter=\"{end}\" >\n<saml:AudienceRestrictionCondition>\n\
         <saml:Audience>{provider}</saml:Audience>\n</saml:AudienceRestrictionCondition>\n</saml:Conditions>\n\
         <saml:AuthenticationStatement  AuthenticationMethod=\"DataStore\" AuthenticationInstant=\"{begun}\" ReauthenticateOnOrAfter=\"{end}\" \
         xsi:type=\"lib:AuthenticationStatementType\"><saml:Subject   xsi:type=\"lib:SubjectType\">\
         <saml:NameIdentifier NameQualifier=\"{me}\">{token}</saml:NameIdentifier>\n<saml:SubjectConfirmation>\n\
         <saml:ConfirmationMethod>urn:oasis:names:tc:SAML:1.0:cm:bearer</saml:ConfirmationMethod>\n</saml:SubjectConfirmation>\n\
         <lib:IDPProvidedNameIdentifier  NameQualifier=\"{me}\" >{token}</lib:IDPProvidedNameIdentifier>\n\
         </saml:Subject></saml:AuthenticationStatement></saml:Assertion>\n\
         <lib:ProviderID>{me}</lib:ProviderID></lib:AuthnResponse>\n"
    )
}

fn broken() -> Reply {
    plain("#500x\r\n")
}

/// An error, which the real server reports with 200.
fn plain(text: &str) -> Reply {
    let mut reply = Reply::empty(200);
    reply.body = text.into();
    reply
}

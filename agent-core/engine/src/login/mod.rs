//! Sends a browser to AM to log in, and takes it back.
//!
//! Three ways: AM's OIDC endpoint with the agent as client (`authorize`, `callback`), a login page of
//! one's own before it (custom login mode 1, `custom`), and AM's own cookie in a shared domain (mode 2).
//! All know a second time, with AM's advices (`step_up`).

mod authorize;
mod callback;
mod custom;
mod exchange;
mod fragment;
mod id_token;
mod limits;
mod rounds;
mod step_up;

use alloc::{
    boxed::Box,
    format,
    string::{String, ToString},
};

pub(crate) use authorize::{derive, seal_nonce};
pub(crate) use callback::callback;
pub(crate) use custom::{RESPONSE, response};
pub(crate) use exchange::exchange;
pub(crate) use limits::{Tried, count_dead, too_many_dead, tried};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
pub(crate) use rounds::{
    brought_as as rounds_brought, forget as forget_rounds, sealed_again as rounds_sealed,
};
pub(crate) use step_up::step_up;

use crate::{
    config::{Dialect, Enforcement, realm_named},
    contract::{Decision, Outcome},
    decide::{
        Cx, Kept, ResponseHeaders, Stage, below, clear_session_cookies, is_unseen, keep, refuse,
        reset, respond, sticky_cookie,
    },
    event::Code,
    page,
    record::Session,
    url::ReturnUrl,
};
use rounds::Next;

/// Everything but unreserved characters (RFC 3986, 2.3).
const COMPONENT: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~');

/// One value of a query string.
fn encoded(text: &str) -> String {
    utf8_percent_encode(text, COMPONENT).to_string()
}

/// Appends `name=value` to an address that may have a query already.
pub(crate) fn append(address: &mut String, name: &str, value: &str) {
    address.push(if address.contains('?') { '&' } else { '?' });
    address.push_str(name);
    address.push('=');
    address.push_str(&encoded(value));
}

/// The base URL of AM as browsers see it, with a trailing slash: of the server that answers now.
fn public_am<'c>(cx: &Cx<'c, '_>) -> &'c str {
    let config = &cx.snap.config;
    let serving = || serving(cx, &config.naming_url).unwrap_or("");
    config.public_am_url.as_deref().unwrap_or_else(serving)
}

/// The entry of a list that goes with the AM server that answers now.
fn serving<'c>(cx: &Cx<'c, '_>, list: &'c [String]) -> Option<&'c str> {
    match list {
        [] => None,
        [only] => Some(only),
        list => list
            .get(cx.facts.am_serving() % list.len())
            .map(String::as_str),
    }
}

/// Where this request logs in, as a rule has it: `None` where none speaks of it, `Some(None)` where one
/// says AM's own.
fn by_rule<'c>(cx: &Cx<'c, '_>) -> Option<Option<&'c str>> {
    let (url, query) = (cx.asked.url(), cx.asked.query().unwrap_or(""));
    let mut rules = cx.snap.login_rules.iter();
    let rule = rules.find(|rule| rule.holds(cx.req, url, query))?;
    Some(serving(cx, &rule.urls))
}

/// Starts a login; `code` says why one is needed. On its own, so that a cached allow has no part in the
/// room that it takes.
#[cold]
#[inline(never)]
pub(crate) fn start<'a>(cx: &Cx<'a, '_>, code: Code) -> Stage<'a, Decision<'a>> {
    start_after(cx, code, None)
}

/// The same where it is known whose session the request came with.
#[cold]
#[inline(never)]
pub(crate) fn start_after<'a>(
    cx: &Cx<'a, '_>,
    code: Code,
    earlier: Option<&Session<'_>>,
) -> Stage<'a, Decision<'a>> {
    let back = match ReturnUrl::from_canonical(cx.asked, &cx.snap.allowed_hosts) {
        Ok(back) => back,
        Err(_) => return Ok(other_host(cx)),
    };
    if is_unseen(cx) {
        return Ok(unauthorized(cx, code));
    }
    // What is only reported begins nothing.
    let reported = cx.plan.enforcement == Enforcement::Report;
    let counters = match reported {
        true => Default::default(),
        false => match before(cx, back.as_str(), code)? {
            Next::Login(cookies) => cookies,
            Next::Stop(decision) => return Ok(*decision),
        },
    };
    let (mut location, cookies, why_not) = match cx.snap.config.allow_custom_login {
        // No body is kept for logins that lead through a page of somebody else's.
        1 => {
            let (page, cookies) = custom::begin(cx, &back);
            (page, cookies, "")
        }
        // Nothing ties the way back to this login, so nothing is kept for it.
        2 => (
            legacy_address(cx, back.as_str()),
            ResponseHeaders::new(),
            "",
        ),
        _ => match begin(cx, &back, earlier)? {
            Ok((begun, why_not)) => (begun.address(), begun.cookies, why_not),
            Err(refused) => return Ok(refused),
        },
    };
    let goto = (cx.snap.config.allow_custom_login == 2).then_some(location.len());
    append_reason(cx, &mut location, code);
    let mut response = match fragment::is_kept(cx) {
        true => fragment::leave(&location, back.as_str(), goto),
        false => page::redirect(location),
    };
    response.headers.extend(cookies);
    response.headers.extend(counters);
    if !matches!(code, Code::LoginNoToken) {
        response.headers.extend(clear_session_cookies(cx));
    }
    response.headers.extend(step_up::forget(cx));
    response.headers.extend(reset::on_login(cx));
    Ok(respond(cx.facts, code, response, None, why_not.into()))
}

/// A login that leads back to `back`, and why a body is not kept for it; or what is said in place of a
/// login that would lose one.
fn begin<'a>(
    cx: &Cx<'a, '_>,
    back: &ReturnUrl,
    earlier: Option<&Session<'_>>,
) -> Stage<'a, Result<(authorize::Begun, &'static str), Decision<'a>>> {
    let (post, why_not) = match keep(cx, earlier)? {
        Kept::Stored(post) => (Some(post), ""),
        Kept::Refused(decision) => return Ok(Err(decision)),
        Kept::Not(why) => (None, why),
    };
    let mut begun = authorize::begin(cx, back, post);
    if post.is_some() {
        begun.cookies.extend(sticky_cookie(cx, false));
    }
    Ok(Ok((begun, why_not)))
}

/// Whether a login may begin: this client does not begin too many, and this browser is not going round
/// in circles.
fn before<'a>(cx: &Cx<'a, '_>, back: &str, code: Code) -> Stage<'a, Next<'a>> {
    if let Some(decision) = limits::too_many_starts(cx)? {
        return Ok(Next::Stop(Box::new(decision)));
    }
    rounds::next(cx, back, code)
}

/// The answer to a request that nobody sees: a redirect to AM would lead to a page that no script can
/// use, and leave the cookie of a login behind that nobody finishes.
fn unauthorized<'a>(cx: &Cx<'a, '_>, code: Code) -> Decision<'a> {
    let why = code.row().text.into();
    let mut decision = refuse(cx.facts, Code::LoginUnseen, 401, None, why);
    if let Outcome::Respond(response) = &mut decision.outcome {
        response.headers.push(page::challenge());
        if !matches!(code, Code::LoginNoToken) {
            response.headers.extend(clear_session_cookies(cx));
        }
    }
    decision
}

/// Tells a login page of one's own why a login is needed (`portcullis.login.reason.parameter.name`).
fn append_reason(cx: &Cx<'_, '_>, address: &mut String, code: Code) {
    let config = &cx.snap.config;
    let Some(parameter) = &config.login_reason_parameter else {
        return;
    };
    if config.allow_custom_login == 0 {
        return;
    }
    let reason = match code {
        Code::LoginNoToken | Code::LoggedOut => "NO_TOKEN",
        Code::LoginSessionDead => "TOKEN_EXPIRED",
        _ => "EXCEPTION",
    };
    append(
        address,
        parameter,
        renamed(&config.login_reason_remap, reason),
    );
}

/// The operator's word for a reason, where there is one.
pub(crate) fn renamed<'c>(map: &'c [(String, String)], reason: &'c str) -> &'c str {
    let mut names = map.iter().filter(|(from, _)| from == reason);
    names.next_back().map_or(reason, |(_, to)| to)
}

/// Rule L7: a host that is not configured gets no login; a browser is sent to one that is.
fn other_host<'a>(cx: &Cx<'a, '_>) -> Decision<'a> {
    let readable = matches!(cx.req.method, b"GET" | b"HEAD");
    match cx
        .snap
        .allowed_hosts
        .primary(cx.asked.scheme(), cx.asked.port())
    {
        Some(origin) if readable && origin != cx.asked.origin() => {
            let mut location = origin;
            location.push_str(&cx.asked.url()[cx.asked.origin().len()..]);
            let response = page::redirect(location);
            respond(cx.facts, Code::LoginOtherHost, response, None, "".into())
        }
        _ => refuse(
            cx.facts,
            Code::DeniedHost,
            403,
            None,
            cx.asked.host().to_string().into(),
        ),
    }
}

/// Custom login mode 2: the login page with `goto`; AM's cookie comes back by the shared domain.
fn legacy_address(cx: &Cx<'_, '_>, back: &str) -> String {
    let config = &cx.snap.config;
    let page = by_rule(cx).unwrap_or_else(|| serving(cx, &config.login_url));
    let mut address = match page {
        Some(url) => url.to_string(),
        None => format!("{}UI/Login", public_am(cx)),
    };
    if config.organization_name != "/" && realm_named(&address).is_none() {
        append(&mut address, "realm", &config.organization_name);
    }
    append(&mut address, &config.redirect_param, back);
    address
}

/// Where a logout with redirection ends (`portcullis.logout.url`,
/// `com.sun.identity.agents.config.logout.url`). AM is told the user's realm, where that is known and
/// not the one that it assumes.
pub(crate) fn logout_address(cx: &Cx<'_, '_>, realm: Option<&str>) -> String {
    let config = &cx.snap.config;
    let by_path = below(&config.logout_urls, cx.asked.path()).map(String::as_str);
    let (mut address, end) = match by_path.or_else(|| serving(cx, &config.logout_url)) {
        Some(url) => (url.to_string(), ""),
        // A program that reads its address, and what to do behind `#`.
        None if config.dialect == Dialect::PingAm => (format!("{}XUI/", public_am(cx)), "#logout/"),
        None => (format!("{}UI/Logout", public_am(cx)), ""),
    };
    let mut ams = config.naming_url.iter().map(String::as_str);
    let at_am = address.starts_with(public_am(cx)) || ams.any(|base| address.starts_with(base));
    if let Some(realm) = realm
        && realm != "/"
        && at_am
        && !address.contains("realm=")
    {
        append(&mut address, "realm", realm);
    }
    if let Some(target) = &config.logout_redirect_url {
        append(&mut address, &config.redirect_param, target);
    }
    address.push_str(end);
    address
}

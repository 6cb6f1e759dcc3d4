//! What does a browser see? `/UI/Login`, `/UI/Logout` and a login page at `/XUI/` with the real page's element ids,
//! which works without scripts.

use crate::authenticate::{browser, check, good_goto, session_cookie, way_in};
use crate::http::{Reply, Req, escape_html, find, url_encode};
use crate::rest::note;
use crate::state::{Am, Refused};

/// Tells `/XUI/` that the browser comes from `/UI/Logout`: the real page sees it in the fragment, by script.
const LOGOUT_MARK: &str = "am-simulator-logout";

/// Answers a call to `/UI/…`: the real server's redirects.
pub(crate) fn ui(am: &Am, req: &Req) -> Reply {
    let kind = match req.path.get(1).map(String::as_str) {
        Some("Login") => "login",
        Some("Logout") => "logout",
        _ => return Reply::container_page(404, "The requested resource is not available"),
    };
    let mut advice = req.param("sunamcompositeadvice").map(str::to_owned);
    if req.method == "POST" {
        advice = advice.or_else(|| find(&req.form(), "sunamcompositeadvice").map(str::to_owned));
    }
    let mut kept: Vec<String> = req
        .raw_query
        .split('&')
        .filter(|p| !p.is_empty() && !p.starts_with("sunamcompositeadvice="))
        .map(str::to_owned)
        .collect();
    if let Some(advice) = advice {
        kept.push("authIndexType=composite_advice".to_owned());
        // A plus for a space here, unlike elsewhere (measured on OpenAM 16.0.5).
        let advice = url_encode(&advice).replace("%20", "+");
        kept.push(format!("authIndexValue={advice}"));
    }
    let mark = if kept.is_empty() { "" } else { "?" };
    let to = format!("{}/XUI{mark}{}#{kind}/", am.config.context, kept.join("&"));
    let reply = Reply::redirect(302, to);
    if kind == "login" {
        return reply;
    }
    if let Some(session) = browser(am, req) {
        am.end_session(&session.token);
    }
    reply.with(
        "set-cookie",
        format!("{LOGOUT_MARK}=1; Path={}/XUI/", am.config.context),
    )
}

/// Answers a call to `/XUI…`: the page and what its form sends.
pub(crate) fn xui(am: &Am, req: &Req) -> Reply {
    if req.raw_path == "/XUI" {
        let mark = if req.raw_query.is_empty() { "" } else { "?" };
        return Reply::redirect(
            302,
            format!("{}/XUI/{mark}{}", am.config.context, req.raw_query),
        );
    }
    let goto = req.param("goto").filter(|g| good_goto(g));
    if req.cookie(LOGOUT_MARK).is_some() {
        let reply = match goto {
            Some(goto) => Reply::redirect(302, goto),
            None => page("You have been logged out.", ""),
        };
        let gone = format!("{LOGOUT_MARK}=; Max-Age=0; Path={}/XUI/", am.config.context);
        let (name, domain) = (&am.config.cookie_name, &am.config.cookie_domain);
        let ended = format!("{name}=; Max-Age=0; Domain={domain}; Path=/");
        return reply.with("set-cookie", gone).with("set-cookie", ended);
    }
    match form(am, req) {
        Ok(reply) => reply.with("cache-control", "no-store"),
        Err(refused) => page(
            "Login",
            &format!("<p class=\"alert\">{}</p>", escape_html(&refused.message)),
        ),
    }
}

fn form(am: &Am, req: &Req) -> Result<Reply, Refused> {
    let realm = am
        .data
        .lock()
        .resolve_realm(req.param("realm").unwrap_or("/"))
        .ok_or_else(|| Refused::new(400, "Invalid realm"))?;
    let login = way_in(
        am,
        &realm,
        req.param("authIndexType"),
        req.param("authIndexValue"),
    )?;
    let session = browser(am, req);
    let goto = req
        .param("goto")
        .filter(|g| good_goto(g))
        .map(str::to_owned);
    let home = || format!("{}/console", am.config.context);
    if req.method != "POST" {
        let there = session.as_ref().is_some_and(|s| s.realm == realm);
        // Somebody who is logged in and is not sent for more is sent on.
        if there && req.param("authIndexType").is_none() {
            return Ok(Reply::redirect(302, goto.unwrap_or_else(home)));
        }
        return Ok(login_page(am, req, ""));
    }
    let fields = req.form();
    let name = find(&fields, "callback_0").unwrap_or_default();
    let password = find(&fields, "callback_1").unwrap_or_default();
    let name = match check(am, &login, name, password) {
        Ok(name) => name,
        Err(refused) => return Ok(login_page(am, req, &refused.message)),
    };
    // A step-up replaces the session.
    if let Some(old) = session.filter(|s| s.name == name) {
        am.end_session(&old.token);
    }
    let token = am.new_session(&login, &name, &req.peer.to_string());
    note(req, "login", am.session(&token).as_ref());
    Ok(Reply::redirect(302, goto.unwrap_or_else(home))
        .with("set-cookie", session_cookie(am, &token))
        .with(
            "set-cookie",
            format!("amlbcookie=01; Domain={}; Path=/", am.config.cookie_domain),
        ))
}

fn login_page(am: &Am, req: &Req, message: &str) -> Reply {
    let alert = if message.is_empty() {
        String::new()
    } else {
        format!(
            "<p class=\"alert\" role=\"alert\">{}</p>",
            escape_html(message)
        )
    };
    let action = escape_html(&format!("{}/XUI/?{}", am.config.context, req.raw_query));
    let body = format!(
        "{alert}<form method=\"post\" action=\"{action}\">\n\
         <label for=\"idToken1\">User Name:</label> <input type=\"text\" name=\"callback_0\" id=\"idToken1\">\n\
         <label for=\"idToken2\">Password:</label> <input type=\"password\" name=\"callback_1\" id=\"idToken2\">\n\
         <input type=\"submit\" name=\"callback_2\" id=\"loginButton_0\" value=\"Log In\">\n</form>"
    );
    page("Sign in to OpenAM", &body)
}

fn page(title: &str, body: &str) -> Reply {
    let title = escape_html(title);
    let page = format!(
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head><meta charset=\"utf-8\"><title>{title}</title></head>\n\
         <body><h1>{title}</h1>\n{body}\n</body>\n</html>\n"
    );
    Reply::text(200, "text/html;charset=utf-8", page)
}

//! `/json/authenticate`: which way in is asked for, and do name and password fit? The login page asks here too.

use crate::http::{Reply, Req, decode};
use crate::rest::Call;
use crate::session::Login;
use crate::state::{Am, Refused, hash_password, realm_dn};
use crate::token::{new_pair, random_hex};
use crate::xml;
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use serde_json::{Value, json};

/// Answers a call.
pub(crate) fn answer(call: &Call<'_>) -> Reply {
    // Unlike the rest of `/json`, an unknown version gets an empty 404.
    let Some(served) = call.version.pick(&[(1, 2), (2, 1)]) else {
        return Reply::empty(404);
    };
    match handle(call) {
        Ok(reply) => reply.version(served),
        Err(refused) if served.0 == 1 && refused.status == 401 => {
            Reply::json(401, &json!({"errorMessage": refused.message})).version(served)
        }
        Err(refused) => Reply::from(refused).version(served),
    }
}

fn handle(call: &Call<'_>) -> Result<Reply, Refused> {
    let req = call.req;
    if req.method != "POST" {
        return Err(Refused::new(405, "Method Not Allowed"));
    }
    let kind = req.header("content-type").unwrap_or_default();
    let kind = kind.split(';').next().unwrap_or_default().trim();
    if !kind.eq_ignore_ascii_case("application/json") {
        return Err(Refused::new(415, "Unsupported Media Type"));
    }
    let body = if req.body.iter().all(u8::is_ascii_whitespace) {
        json!({})
    } else {
        serde_json::from_slice(&req.body).map_err(|e| Refused::new(400, e.to_string()))?
    };
    if let Some(auth_id) = body["authId"].as_str() {
        return resume(call, auth_id, &body);
    }
    if body.as_object().is_some_and(|o| !o.is_empty()) {
        return Err(Refused::new(401, "Authentication Failed"));
    }
    let login = way_in(
        call.am,
        &call.realm,
        req.param("authIndexType"),
        req.param("authIndexValue"),
    )?;
    let header = |name: &str| req.header(name).map(mime_decoded);
    match (header("x-openam-username"), header("x-openam-password")) {
        (Some(name), Some(password)) if !password.is_empty() => {
            finish(call, &login, &name, &password)
        }
        (name, _) => Ok(callbacks(call, login, &name.unwrap_or_default())),
    }
}

/// The module that a kind and value of index name.
///
/// # Errors
/// AM's words for what it does not have.
pub(crate) fn way_in(
    am: &Am,
    realm: &str,
    kind: Option<&str>,
    value: Option<&str>,
) -> Result<Login, Refused> {
    let login = |module: &str, service: Option<&str>| Login {
        realm: realm.to_owned(),
        module: module.to_owned(),
        service: service.map(str::to_owned),
        application: module == "Application",
    };
    let nothing = || Refused::new(400, "No Configuration found");
    let data = am.data.lock();
    let modules = &data.realm(realm)?.modules;
    match (kind, value.unwrap_or_default()) {
        (None, _) | (Some("service"), "ldapService") => Ok(login("DataStore", Some("ldapService"))),
        (Some("service"), "Agent") if am.config.dialect.trees() => {
            Ok(login("Application", Some("Agent")))
        }
        (Some("service"), _) => Err(nothing()),
        (Some("module"), _) if !am.config.dialect.modules() => Err(nothing()),
        (Some("module"), "") => Err(Refused::new(
            401,
            "Cannot invoke \"String.equals(Object)\" because \"indexName\" is null",
        )),
        (Some("module"), "Application") => Ok(login("Application", None)),
        (Some("module"), name) if modules.contains_key(name) => Ok(login(name, None)),
        (Some("module"), _) => Err(Refused::new(404, "Authentication Module Not Found.")),
        (Some("level"), level) => {
            let level = level.parse().map_err(|_| nothing())?;
            lowest(modules, level)
                .map(|m| login(m, None))
                .ok_or_else(nothing)
        }
        (Some("composite_advice"), advices) => match asked_for(advices)
            .as_ref()
            .map(|(n, v)| (n.as_str(), v.as_str()))
        {
            Some(("AuthLevelConditionAdvice", level)) => {
                let level = level
                    .rsplit(':')
                    .next()
                    .and_then(|l| l.parse().ok())
                    .ok_or_else(nothing)?;
                lowest(modules, level)
                    .map(|m| login(m, None))
                    .ok_or_else(nothing)
            }
            Some(("AuthSchemeConditionAdvice", name)) => {
                let name = name.rsplit(':').next().unwrap_or_default();
                modules
                    .contains_key(name)
                    .then(|| login(name, None))
                    .ok_or_else(nothing)
            }
            _ => Err(nothing()),
        },
        _ => Err(Refused::new(400, "Unknown Authentication Index Type")),
    }
}

/// The module of the lowest level that is enough.
fn lowest(modules: &std::collections::BTreeMap<String, u32>, level: u32) -> Option<&String> {
    let enough = modules.iter().filter(|(_, l)| **l >= level);
    enough.min_by_key(|(_, l)| **l).map(|(name, _)| name)
}

/// The first advice of an `<Advices>` document.
fn asked_for(advices: &str) -> Option<(String, String)> {
    let root = xml::parse(advices)?;
    let pair = root.child("AttributeValuePair")?;
    let name = pair.child("Attribute")?.attribute("name")?;
    Some((name.to_owned(), pair.child("Value")?.text.clone()))
}

/// Checks name and password; gives the name as it is stored.
///
/// # Errors
/// AM's words: wrong, locked, not active.
pub(crate) fn check(am: &Am, login: &Login, name: &str, password: &str) -> Result<String, Refused> {
    let wrong = || Refused::new(401, "Authentication Failed");
    let data = am.data.lock();
    if login.application {
        let agents = &data.realm(&login.realm)?.agents;
        let agent = agents.get(&name.to_lowercase()).ok_or_else(wrong)?;
        if agent.password != hash_password(password) || password.starts_with("{SHA-1}") {
            return Err(wrong());
        }
        return if agent.active() {
            Ok(agent.name.clone())
        } else {
            Err(Refused::new(401, "User not Active"))
        };
    }
    let user = data.users.get(&name.to_lowercase()).ok_or_else(wrong)?;
    // The administrator is no entry of the directory, and is known in the root realm only.
    let administrator = user.name == "amadmin";
    if user.password != password || (administrator && login.realm != "/") {
        return Err(wrong());
    }
    if user.active() {
        Ok(user.name.clone())
    } else {
        Err(Refused::new(401, "Your account has been locked."))
    }
}

fn finish(call: &Call<'_>, login: &Login, name: &str, password: &str) -> Result<Reply, Refused> {
    let am = call.am;
    let name = check(am, login, name, password)?;
    let token = am.new_session(login, &name, &call.req.peer.to_string());
    let success = call
        .req
        .param("goto")
        .filter(|g| good_goto(g))
        .map_or_else(|| format!("{}/console", am.config.context), str::to_owned);
    let body = json!({"tokenId": token, "successUrl": success, "realm": login.realm});
    let gone = "AMAuthCookie=LOGOUT; Max-Age=0; Expires=Thu, 01 Jan 1970 00:00:10 GMT";
    let domain = &am.config.cookie_domain;
    Ok(fresh(Reply::json(200, &body))
        .with("set-cookie", session_cookie(am, &token))
        .with(
            "set-cookie",
            format!("amlbcookie=01; Domain={domain}; Path=/"),
        )
        .with("set-cookie", format!("{gone}; Domain={domain}; Path=/")))
}

/// The `Set-Cookie` value for a session.
pub(crate) fn session_cookie(am: &Am, token: &str) -> String {
    let (name, domain) = (&am.config.cookie_name, &am.config.cookie_domain);
    format!("{name}={token}; Domain={domain}; Path=/")
}

/// With no configured list every http(s) address and every relative one is accepted.
pub(crate) fn good_goto(goto: &str) -> bool {
    let lower = goto.to_lowercase();
    lower.starts_with("http://")
        || lower.starts_with("https://")
        || (goto.starts_with('/') && !goto.starts_with("//"))
}

fn fresh(reply: Reply) -> Reply {
    reply
        .with("cache-control", "no-cache, no-store, must-revalidate")
        .with("expires", "0")
        .with("pragma", "no-cache")
}

/// Asks for name and password.
fn callbacks(call: &Call<'_>, login: Login, name: &str) -> Reply {
    let am = call.am;
    let key = random_hex::<13>();
    let claims = json!({"otk": key, "realm": realm_dn(&login.realm), "sessionId": new_pair().0});
    let part = |v: &Value| URL_SAFE_NO_PAD.encode(v.to_string());
    let auth_id = format!(
        "{}.{}.{}",
        part(&json!({"typ": "JWT", "alg": "HS256"})),
        part(&claims),
        URL_SAFE_NO_PAD.encode(random_hex::<16>())
    );
    let prompts = if login.application {
        ["Enter application name.", "Enter secret string."]
    } else {
        ["User Name:", "Password:"]
    };
    let callback = |kind: &str, prompt: &str, n: u8, value: &str| {
        json!({"type": kind, "output": [{"name": "prompt", "value": prompt}],
            "input": [{"name": format!("IDToken{n}"), "value": value}]})
    };
    let mut body = json!({"authId": auth_id, "callbacks": [
        callback("NameCallback", prompts[0], 1, name),
        callback("PasswordCallback", prompts[1], 2, ""),
    ]});
    if !login.application {
        body["template"] = json!("");
        body["stage"] = json!(format!("{}1", login.module));
        body["header"] = json!("Sign in to OpenAM");
        body["infoText"] = json!(["", ""]);
    }
    am.data.lock().pending.insert(key, login);
    let domain = &am.config.cookie_domain;
    let session = claims["sessionId"].as_str().unwrap_or_default();
    fresh(Reply::json(200, &body))
        .with(
            "set-cookie",
            format!("AMAuthCookie={session}; Domain={domain}; Path=/"),
        )
        .with(
            "set-cookie",
            format!("amlbcookie=01; Domain={domain}; Path=/"),
        )
}

/// Takes the filled callbacks.
fn resume(call: &Call<'_>, auth_id: &str, body: &Value) -> Result<Reply, Refused> {
    let parts: Vec<&str> = auth_id.split('.').collect();
    if parts.len() != 3 {
        let message = format!(
            "Failed to parse JWT, not right number of dots, {}",
            parts.len()
        );
        return Err(Refused::new(400, message));
    }
    let claims: Value = URL_SAFE_NO_PAD
        .decode(parts[1])
        .map_err(|e| e.to_string())
        .and_then(|bytes| serde_json::from_slice(&bytes).map_err(|e| e.to_string()))
        .map_err(|e| {
            Refused::new(
                400,
                format!("Failed to parse JWT, Failed to parse json: {e}"),
            )
        })?;
    let key = claims["otk"].as_str().unwrap_or_default();
    let login = call.am.data.lock().pending.remove(key);
    let login = login.ok_or_else(|| Refused::new(408, "Session has timed out"))?;
    let input = |n: usize| {
        body["callbacks"][n]["input"][0]["value"]
            .as_str()
            .unwrap_or_default()
    };
    finish(call, &login, input(0), input(1))
}

/// Undoes RFC 2047 encoded words, which these two headers may carry.
fn mime_decoded(text: &str) -> String {
    let word = |text: &str| {
        let inner = text.strip_prefix("=?")?.strip_suffix("?=")?;
        let mut parts = inner.splitn(3, '?');
        let (_charset, kind, data) = (parts.next()?, parts.next()?, parts.next()?);
        match kind {
            "B" | "b" => String::from_utf8(STANDARD.decode(data).ok()?).ok(),
            "Q" | "q" => Some(decode(
                &data.replace('_', " ").replace('%', "%25").replace('=', "%"),
            )),
            _ => None,
        }
    };
    word(text).unwrap_or_else(|| text.to_owned())
}

/// The live session of a browser: of the cookie only.
pub(crate) fn browser(am: &Am, req: &Req) -> Option<crate::Session> {
    let token = req.cookie(&am.config.cookie_name)?;
    crate::rest::presented(am, req, "cookie", token)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn encoded_words() {
        assert_eq!(mime_decoded("wa1"), "wa1");
        assert_eq!(mime_decoded("=?UTF-8?B?d2Ex?="), "wa1");
        assert_eq!(mime_decoded("=?UTF-8?Q?J=C3=BCrgen_1?="), "Jürgen 1");
        assert_eq!(mime_decoded("=?broken"), "=?broken");
    }

    #[test]
    fn advices_are_read() {
        let text = "<Advices><AttributeValuePair><Attribute name=\"AuthLevelConditionAdvice\"/><Value>2</Value></AttributeValuePair></Advices>";
        assert_eq!(
            asked_for(text),
            Some(("AuthLevelConditionAdvice".to_owned(), "2".to_owned()))
        );
        assert_eq!(asked_for("<Advices/>"), None);
    }

    #[test]
    fn goto_is_http_or_relative() {
        assert!(good_goto("http://x/") && good_goto("HTTPS://x") && good_goto("/openam/x"));
        assert!(!good_goto("javascript:alert(1)") && !good_goto("//evil/") && !good_goto("x"));
    }
}

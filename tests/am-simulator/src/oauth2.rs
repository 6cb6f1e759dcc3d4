//! `/oauth2/authorize` for an agent as OpenID Connect client: who may ask, where the answer may go, and the id_token.

use crate::authenticate::browser;
use crate::http::{Reply, Req, find, url_encode};
use crate::keys;
use crate::session::{Kind, Session};
use crate::state::{Agent, Am};
use crate::token::random_hex;
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use serde_json::json;

/// An id_token's life in milliseconds: the real server adds seconds to milliseconds (measured on OpenAM 16.0.5), so that
/// `exp` is 3 or 4 seconds after `iat`.
const LIFE_MS: i64 = 3600;
/// The same in dialect B, in seconds: the vendor's default for ID tokens.
const PUBLISHED_LIFE: i64 = 3600;

/// Where an error is reported.
enum Problem {
    /// On a page of AM: the client or its address is not to be trusted.
    Page(u16, &'static str, String),
    /// To the client, in the query.
    Query(&'static str, String),
    /// To the client, in the fragment.
    Fragment(&'static str, String),
}

/// A request as far as it was understood.
struct Ask<'a> {
    am: &'a Am,
    req: &'a Req,
    realm: String,
    /// Of the query, and of the form of a POST.
    parameters: Vec<(String, String)>,
}

/// Answers a call to `/oauth2/…`.
pub(crate) fn answer(am: &Am, req: &Req) -> Reply {
    let (host, port) = req.host_and_port();
    if !host.eq_ignore_ascii_case(&am.config.host) {
        let to = format!(
            "http://{}:{port}{}{}?{}",
            am.config.host, am.config.context, req.raw_path, req.raw_query
        );
        return Reply::redirect(302, to.trim_end_matches('?'));
    }
    let Some((last, between)) = req.path.get(1..).and_then(<[String]>::split_last) else {
        return Reply::container_page(404, "The requested resource is not available");
    };
    if am.config.dialect.trees() && last == "jwk_uri" && *between == ["connect"] {
        return match req.method == "GET" {
            true => keys::published(am),
            false => Reply::container_page(405, "Request method is not supported"),
        };
    }
    if last != "authorize" {
        return Reply::container_page(501, "this part of oauth2 is not simulated");
    }
    let named = between.iter().filter(|s| *s != "realms" && *s != "root");
    let by_path: String = named.map(|s| format!("/{s}")).collect();
    let mut parameters = req.query.clone();
    if req.method == "POST" {
        parameters.extend(req.form());
    }
    let wanted = find(&parameters, "realm")
        .filter(|r| !r.is_empty())
        .unwrap_or(&by_path)
        .to_owned();
    let Some(realm) = am.data.lock().resolve_realm(&wanted) else {
        let message =
            format!("No mapping organization found for organization identifier: {wanted}");
        let mut reply = Reply::text(404, "application/json", Vec::new());
        reply.body = Reply::error(404, &message).body;
        return reply;
    };
    let ask = Ask {
        am,
        req,
        realm,
        parameters,
    };
    authorize(&ask)
        .unwrap_or_else(|problem| ask.report(problem))
        .with("cache-control", "no-store")
        .with("pragma", "no-cache")
}

fn authorize(ask: &Ask<'_>) -> Result<Reply, Problem> {
    let (am, req) = (ask.am, ask.req);
    let no_provider = || format!("No OpenID Connect provider for realm {}", ask.realm);
    let agent = agent(ask).ok_or_else(|| Problem::Page(404, "not_found", no_provider()))?;
    if ask.redirect_uri().is_empty() {
        let message = "Missing parameter: redirect_uri".to_owned();
        return Err(Problem::Page(400, "invalid_request", message));
    }
    if !root_addresses(&agent)
        .iter()
        .any(|r| same_address(r, ask.redirect_uri()))
    {
        let message =
            "The redirection URI provided does not match a pre-registered value.".to_owned();
        return Err(Problem::Page(400, "redirect_uri_mismatch", message));
    }
    if req.method != "GET" {
        return Err(Problem::Query("not_found", no_provider()));
    }
    check_parameters(ask)?;
    let session = browser(am, req).filter(|s| s.kind == Kind::Application || s.realm == ask.realm);
    let prompt = ask.param("prompt").unwrap_or_default();
    match session {
        Some(session) if prompt.contains("login") => {
            am.end_session(&session.token);
            Ok(ask.to_login())
        }
        Some(session) if session.kind == Kind::Application => {
            let message = "Not able to get client from OpenAM".to_owned();
            Err(Problem::Page(400, "invalid_client", message))
        }
        Some(session) => Ok(ask.hand_over(&agent, &session)),
        None if prompt == "none" => {
            let message = "The request requires some interaction that is not allowed.".to_owned();
            Err(Problem::Fragment("interaction_required", message))
        }
        None => Ok(ask.to_login()),
    }
}

/// The client's profile: any case of the name will do, an inactive one will not. Dialect B has a provider of its own for
/// agents, and looks for them in the realm that `agent_realm` names.
fn agent(ask: &Ask<'_>) -> Option<Agent> {
    let data = ask.am.data.lock();
    let realm = match ask.am.config.dialect.trees() {
        false => ask.realm.clone(),
        true if ask.param("agent_provider") == Some("true") => {
            data.resolve_realm(ask.param("agent_realm")?)?
        }
        true => return None,
    };
    let agents = &data.realm(&realm).ok()?.agents;
    agents
        .get(&ask.client().to_lowercase())
        .filter(|a| a.active())
        .cloned()
}

fn check_parameters(ask: &Ask<'_>) -> Result<(), Problem> {
    let unsupported = "Response type is not supported.".to_owned();
    match ask.param("response_type") {
        None | Some("") => {
            let message = "Missing parameter, response_type".to_owned();
            return Err(Problem::Query("invalid_request", message));
        }
        Some("id_token") => {}
        Some(with) if with.contains("token") => {
            return Err(Problem::Fragment("unsupported_response_type", unsupported));
        }
        Some(_) => return Err(Problem::Query("unsupported_response_type", unsupported)),
    }
    if let Some(scope) = ask.param("scope").filter(|s| !s.is_empty()) {
        let scopes: Vec<&str> = scope.split(' ').filter(|s| !s.is_empty()).collect();
        if !scopes.contains(&"openid") {
            let message = "Missing expected scope=openid from request".to_owned();
            return Err(Problem::Fragment("invalid_request", message));
        }
        let unknown: Vec<&str> = scopes.into_iter().filter(|s| *s != "openid").collect();
        if !unknown.is_empty() {
            let message = format!("Unknown/invalid scope(s): [{}]", unknown.join(", "));
            return Err(Problem::Query("invalid_scope", message));
        }
    }
    if ask.param("nonce").is_none() {
        let message = "Missing required parameter nonce from request".to_owned();
        return Err(Problem::Fragment("invalid_request", message));
    }
    Ok(())
}

/// Each root URL of the profile with the profile's callback path: host and port are taken as they are written.
fn root_addresses(agent: &Agent) -> Vec<String> {
    let callback = agent.values("com.sun.identity.agents.config.cdsso.redirect.uri");
    let callback = callback
        .first()
        .map_or("agent/cdsso-oauth2", String::as_str);
    agent
        .values("sunIdentityServerDeviceKeyValue")
        .iter()
        .filter_map(|v| v.strip_prefix("agentRootURL="))
        .map(|root| {
            let root = root.trim_end_matches('/');
            format!("{root}/{}", callback.trim_start_matches('/'))
        })
        .collect()
}

/// As `java.net.URI` compares: scheme and host without case, port and path literally; query and fragment of the
/// request's value do not count.
fn same_address(registered: &str, asked: &str) -> bool {
    let split = |text: &str| {
        let text = text.split(['?', '#']).next().unwrap_or_default();
        let (scheme, rest) = text.split_once("://")?;
        let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
        Some((
            scheme.to_lowercase(),
            authority.to_lowercase(),
            path.to_owned(),
        ))
    };
    split(registered).is_some() && split(registered) == split(asked)
}

impl Ask<'_> {
    fn param(&self, name: &str) -> Option<&str> {
        find(&self.parameters, name)
    }

    fn client(&self) -> &str {
        self.param("client_id").unwrap_or_default()
    }

    fn redirect_uri(&self) -> &str {
        self.param("redirect_uri").unwrap_or_default()
    }

    fn base(&self) -> String {
        let (_, port) = self.req.host_and_port();
        format!(
            "http://{}:{port}{}",
            self.am.config.host, self.am.config.context
        )
    }

    /// A permanent redirect, as the real server's.
    fn to_login(&self) -> Reply {
        let this = format!(
            "{}{}?{}",
            self.base(),
            self.req.raw_path,
            self.req.raw_query.replace('+', "%20")
        );
        let mut to = format!("{}/UI/Login?realm={}", self.base(), url_encode(&self.realm));
        // A module wins over a service, and neither is passed on where levels are asked for.
        let way = if self.param("acr_values").is_some() {
            None
        } else {
            ["module", "service"]
                .into_iter()
                .find(|n| self.param(n).is_some())
        };
        for name in way.into_iter().chain(["locale"]) {
            if let Some(value) = self.param(name) {
                to.push_str(&format!("&{name}={}", url_encode(value)));
            }
        }
        to.push_str(&format!("&goto={}", url_encode(&this)));
        Reply::redirect(301, to)
    }

    fn issuer(&self) -> String {
        let below: String = self
            .realm
            .split('/')
            .filter(|s| !s.is_empty())
            .map(|s| format!("/realms/{s}"))
            .collect();
        let realm = if below.is_empty() {
            String::new()
        } else {
            format!("/realms/root{below}")
        };
        format!("{}/oauth2{realm}", self.base())
    }

    /// The claims that the vendor's documentation shows, signed with the key that is published.
    fn published_token(&self, session: &Session) -> String {
        let now = self.am.now_ms() / 1000;
        let mut claims = json!({"sub": session.name, "auditTrackingId": random_hex::<16>(), "iss": self.issuer(),
            "tokenName": "id_token", "aud": self.client(), "azp": self.client(), "s_hash": random_hex::<16>(),
            "auth_time": session.created_ms / 1000, "forgerock": {"ssotoken": session.token, "suid": random_hex::<16>()},
            "realm": self.realm, "exp": now + PUBLISHED_LIFE, "tokenType": "JWTToken", "iat": now,
            "agent_realm": self.param("agent_realm")});
        if let Some(nonce) = self.param("nonce").filter(|n| !n.is_empty()) {
            claims["nonce"] = json!(nonce);
        }
        if let Some(acr) = self.param("acr_values") {
            claims["acr"] = json!(acr);
        }
        self.am
            .sign(&self.am.id_token_header(), &claims.to_string())
    }

    fn id_token(&self, agent: &Agent, session: &Session) -> Option<String> {
        if self.am.config.dialect.trees() {
            return Some(self.published_token(session));
        }
        let now = self.am.now_ms();
        let mut claims = json!({"iss": self.issuer(), "aud": self.client(), "azp": self.client(),
            "realm": self.realm, "ssoToken": session.token,
            "iat": now / 1000, "exp": (now + LIFE_MS) / 1000, "auth:time": session.created_ms / 1000,
            "tokenName": "id_token", "tokenType": "JWTToken", "auditTrackingId": random_hex::<16>()});
        // An empty one is accepted, and left out of the token.
        if let Some(nonce) = self.param("nonce").filter(|n| !n.is_empty()) {
            claims["nonce"] = json!(nonce);
        }
        if self.param("acr_values").is_some() {
            claims["acr"] = json!("0");
        }
        let mut header = Header::new(Algorithm::HS256);
        header.typ = Some("JWT".to_owned());
        // The key is the stored text of the password, not the password.
        jsonwebtoken::encode(
            &header,
            &claims,
            &EncodingKey::from_secret(agent.password.as_bytes()),
        )
        .ok()
    }

    /// The page that posts itself to the agent, or the redirect with a fragment.
    fn hand_over(&self, agent: &Agent, session: &Session) -> Reply {
        let Some(id_token) = self.id_token(agent, session) else {
            return Reply::container_page(500, "the id_token could not be signed");
        };
        let state = self.param("state");
        let mut action = format!("{}#scope=openid&id_token={id_token}", self.target());
        let mut fields = format!("<input type=\"hidden\" name=\"id_token\" value=\"{id_token}\"/>");
        if let Some(state) = state {
            action.push_str(&format!("&state={}", url_encode(state)));
            // Unescaped, as the real server writes it: a `state` with a quote in it breaks the page there too.
            fields.push_str(&format!(
                "<input type=\"hidden\" name=\"state\" value=\"{state}\"/>"
            ));
        }
        fields.push_str("<input type=\"hidden\" name=\"scope\" value=\"openid\"/>");
        if self.param("response_mode") == Some("fragment") {
            action.push_str(&format!(
                "&session_state={}",
                url_encode(self.param("nonce").unwrap_or_default())
            ));
        }
        if self.param("response_mode") != Some("form_post") {
            return Reply::redirect(302, action);
        }
        let page = format!(
            "<!DOCTYPE html>\n<html lang=\"en\">\n    <head>\n        <meta charset=\"utf-8\">\n        \
             <meta name=\"description\" content=\"OAuth 2.0 Form Post\">\n        <title>Submit This Form</title>\n    </head>\n    \
             <body onload=\"javascript:document.forms[0].submit()\">\n        \
             <form method=\"post\" action=\"{action}\">\n            {fields}\n        </form>\n    </body>\n</html>\n"
        );
        Reply::text(200, "text/html;charset=UTF-8", page)
    }

    /// The client's address without what the request put behind it as fragment.
    fn target(&self) -> &str {
        self.redirect_uri().split('#').next().unwrap_or_default()
    }

    fn report(&self, problem: Problem) -> Reply {
        let parameters = |error: &str, description: &str| {
            let state = self
                .param("state")
                .map(|s| format!("&state={}", url_encode(s)));
            format!(
                "error_description={}{}&error={error}",
                url_encode(description),
                state.unwrap_or_default()
            )
        };
        match problem {
            Problem::Page(status, error, description) => self.page(status, error, &description),
            Problem::Query(error, description) => {
                let joint = if self.target().contains('?') {
                    '&'
                } else {
                    '?'
                };
                Reply::redirect(
                    302,
                    format!(
                        "{}{joint}{}",
                        self.target(),
                        parameters(error, &description)
                    ),
                )
            }
            Problem::Fragment(error, description) => Reply::redirect(
                302,
                format!("{}#{}", self.target(), parameters(error, &description)),
            ),
        }
    }

    fn page(&self, status: u16, error: &str, description: &str) -> Reply {
        let data = json!({"realm": self.realm, "baseUrl": format!("{}/XUI", self.base())});
        let page = format!(
            "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n    <meta charset=\"utf-8\">\n    \
             <meta name=\"description\" content=\"OAuth2 Error\">\n    <title>OAuth2 Error Page</title>\n</head>\n\n<body>\n    \
             <script type=\"text/javascript\">\n            pageData = {{\n                realm : {},\n                \
             baseUrl: {},\n                error: {{\n                    description: {},\n                    \
             message: {}\n                }}\n            }}\n    </script>\n</body>\n</html>\n",
            data["realm"],
            data["baseUrl"],
            json!(description),
            json!(error)
        );
        Reply::text(status, "text/html;charset=UTF-8", page)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_compared_as_java_does() {
        let registered = "http://www.example.com:80/agent/cdsso-oauth2";
        for ok in [
            registered,
            "HTTP://WWW.example.com:80/agent/cdsso-oauth2?x=1#f",
        ] {
            assert!(same_address(registered, ok), "{ok}");
        }
        for bad in [
            "http://www.example.com/agent/cdsso-oauth2",
            "http://www.example.com:80/AGENT/cdsso-oauth2",
            "http://www.example.com:80/agent/other",
            "http://other.example.com:80/agent/cdsso-oauth2",
            "/agent/cdsso-oauth2",
            "",
        ] {
            assert!(!same_address(registered, bad), "{bad}");
        }
    }
}

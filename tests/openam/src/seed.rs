//! How does a test put realms, users, agents and policies into an AM, and act as a user towards it?
//!
//! Only AM's REST interface and its OIDC form page, so the same calls serve the real server and the
//! simulator. It judges no answer beyond "it worked": the contract suite does.

use serde_json::{Value, json};

pub use crate::form::{Form, form_of};
use crate::http::{Client, HttpError, Request, Response, escape, query};
use crate::{ADMIN_NAME, ADMIN_PASSWORD};

/// The resource type *URL* that every OpenAM has in its root realm after installation.
pub const URL_RESOURCE_TYPE: &str = "76656a38-5f8e-401b-83aa-4ccb74ce88d2";
/// The policy set that every OpenAM has in its root realm after installation.
pub const DEFAULT_POLICY_SET: &str = "iPlanetAMWebAgentService";

/// Why a call did not do what it is for.
#[derive(Debug, thiserror::Error)]
pub enum SeedError {
    /// No answer.
    #[error(transparent)]
    Http(#[from] HttpError),
    /// AM answered something else than success.
    #[error("{what}: AM answered {status}: {message}")]
    Refused {
        /// What was attempted.
        what: String,
        /// The status.
        status: u16,
        /// `message` of AM's error object, or the begin of the body.
        message: String,
    },
}

/// An AM server as a client without a session sees it.
#[derive(Debug, Clone)]
pub struct Am {
    url: String,
    path: String,
    client: Client,
}

/// An AM server with the administrator's session.
#[derive(Debug, Clone)]
pub struct Admin {
    am: Am,
    token: String,
}

impl Am {
    /// The AM whose base URL (`http://name:port/openam`) is `url`, on loopback.
    ///
    /// # Errors
    /// [`HttpError::Request`] when the URL is not plain `http`.
    pub fn at(url: &str) -> Result<Self, HttpError> {
        let url = url.trim_end_matches('/').to_owned();
        let client = Client::loopback(&url)?;
        let after_scheme = url.split_once("://").map_or("", |(_, rest)| rest);
        let path = after_scheme
            .find('/')
            .map_or("", |at| &after_scheme[at..])
            .to_owned();
        Ok(Self { url, path, client })
    }

    /// The base URL, without a slash at its end.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// The HTTP client, for what this module has no call for.
    #[must_use]
    pub fn client(&self) -> &Client {
        &self.client
    }

    /// A path below the deployment URI, as the client wants it.
    #[must_use]
    pub fn target(&self, below: &str) -> String {
        format!("{}{below}", self.path)
    }

    /// A path below a realm's `/json`, in the new style (`/realms/root/realms/a/…`).
    #[must_use]
    pub fn realm_target(&self, realm: &str, below: &str) -> String {
        let parts: String = realm
            .split('/')
            .filter(|p| !p.is_empty())
            .map(|p| format!("/realms/{}", escape(p)))
            .collect();
        self.target(&format!("/json/realms/root{parts}{below}"))
    }

    /// The name of AM's session cookie, which is the token header's name as well.
    ///
    /// # Errors
    /// [`SeedError`] when AM does not answer as AM.
    pub fn cookie_name(&self) -> Result<String, SeedError> {
        let request = self.client.get(&self.target("/json/serverinfo/*"));
        let answer = expect(
            "server information",
            request.header("Accept-API-Version", "resource=1.1"),
        )?;
        string(&answer, "cookieName", "server information")
    }

    /// Logs a user in through the realm's default chain; the token.
    ///
    /// # Errors
    /// [`SeedError::Refused`] for a wrong name or password or an unknown realm.
    pub fn login(&self, realm: &str, name: &str, password: &str) -> Result<String, SeedError> {
        self.authenticate(&self.realm_target(realm, "/authenticate"), name, password)
    }

    /// Logs a user in once more for advices, as AM's login page does with the session it finds; the new
    /// token.
    ///
    /// # Errors
    /// [`SeedError::Refused`] for a wrong name or password, or when AM has no way in for the advices.
    pub fn step_up(
        &self,
        token: &str,
        advices: &str,
        name: &str,
        password: &str,
    ) -> Result<String, SeedError> {
        let index = query(&[
            ("authIndexType", "composite_advice"),
            ("authIndexValue", advices),
        ]);
        let what = format!("step-up of {name}");
        let target = self.realm_target("/", &format!("/authenticate?{index}"));
        let request = self
            .client
            .post(&target)
            .header("Accept-API-Version", "resource=2.1, protocol=1.0")
            .header("Cookie", &format!("{}={token}", self.cookie_name()?))
            .header("X-OpenAM-Username", name)
            .header("X-OpenAM-Password", password)
            .json(&json!({}));
        string(&expect(&what, request)?, "tokenId", &what)
    }

    /// Logs an agent in to the realm that its profile is in; the token.
    ///
    /// # Errors
    /// [`SeedError::Refused`] for a wrong name or password or an unknown realm.
    pub fn agent_login(
        &self,
        realm: &str,
        name: &str,
        password: &str,
    ) -> Result<String, SeedError> {
        let below = "/authenticate?authIndexType=module&authIndexValue=Application";
        self.authenticate(&self.realm_target(realm, below), name, password)
    }

    fn authenticate(&self, target: &str, name: &str, password: &str) -> Result<String, SeedError> {
        let what = format!("login of {name}");
        let request = self
            .client
            .post(target)
            .header("Accept-API-Version", "resource=2.1, protocol=1.0")
            .header("X-OpenAM-Username", name)
            .header("X-OpenAM-Password", password)
            .json(&json!({}));
        string(&expect(&what, request)?, "tokenId", &what)
    }

    /// Ends the session of `token`; `caller` is any live token, that one included.
    ///
    /// # Errors
    /// [`SeedError::Refused`] when the caller's token is dead.
    pub fn logout(&self, caller: &str, token: &str) -> Result<(), SeedError> {
        let below = format!("/json/sessions?_action=logout&tokenId={}", escape(token));
        let request = self
            .client
            .post(&self.target(&below))
            .header("Accept-API-Version", "resource=1.2")
            .header(&self.cookie_name()?, caller)
            .json(&json!({}));
        expect("logout", request).map(drop)
    }

    /// Follows the agent's redirect to `/oauth2/authorize` as a logged-in browser does: the form
    /// that AM would have it post to the agent.
    ///
    /// # Errors
    /// [`SeedError::Refused`] when AM answers anything but the form page.
    pub fn authorize(&self, token: &str, url: &str) -> Result<Form, SeedError> {
        let rest = url.strip_prefix(&self.url).unwrap_or(url);
        let cookie = format!("{}={token}", self.cookie_name()?);
        let response = self
            .client
            .get(&self.target(rest))
            .header("Cookie", &cookie)
            .send()?;
        match form_of(&response.text()) {
            Some(form) if response.status == 200 => Ok(form),
            _ => Err(refused("authorize", &response)),
        }
    }

    /// Logs the built-in administrator in.
    ///
    /// # Errors
    /// [`SeedError::Refused`] for a wrong password.
    pub fn admin(&self, password: &str) -> Result<Admin, SeedError> {
        Ok(Admin {
            am: self.clone(),
            token: self.login("/", ADMIN_NAME, password)?,
        })
    }
}

impl Admin {
    /// The administrator's token.
    #[must_use]
    pub fn token(&self) -> &str {
        &self.token
    }

    /// Creates a realm below `parent` (`/` or `/a`).
    ///
    /// # Errors
    /// [`SeedError::Refused`] when it exists.
    pub fn create_realm(&self, parent: &str, name: &str) -> Result<(), SeedError> {
        let body = json!({ "name": name, "parentPath": parent, "active": true, "aliases": [] });
        let target = self.am.target("/json/global-config/realms?_action=create");
        self.write(
            &format!("realm {name}"),
            self.am.client.post(&target),
            "resource=1.0, protocol=1.0",
            &body,
        )
    }

    /// Creates a user; `attributes` is merged over a name, a password and what the schema requires.
    ///
    /// # Errors
    /// [`SeedError::Refused`] when it exists or an attribute is unknown.
    pub fn create_user(
        &self,
        realm: &str,
        name: &str,
        password: &str,
        attributes: &Value,
    ) -> Result<(), SeedError> {
        let body = merge(
            json!({ "username": name, "userpassword": password, "sn": name, "cn": name }),
            attributes,
        );
        let target = self.am.realm_target(realm, "/users?_action=create");
        self.write(
            &format!("user {name}"),
            self.am.client.post(&target),
            USERS,
            &body,
        )
    }

    /// Changes attributes of a user and leaves the others.
    ///
    /// # Errors
    /// [`SeedError::Refused`] when there is no such user or attribute.
    pub fn update_user(
        &self,
        realm: &str,
        name: &str,
        attributes: &Value,
    ) -> Result<(), SeedError> {
        let target = self
            .am
            .realm_target(realm, &format!("/users/{}", escape(name)));
        let request = self.am.client.put(&target).header("If-Match", "*");
        self.write(&format!("user {name}"), request, USERS, attributes)
    }

    /// Deletes a user.
    ///
    /// # Errors
    /// [`SeedError::Refused`] when there is none.
    pub fn delete_user(&self, realm: &str, name: &str) -> Result<(), SeedError> {
        let target = self
            .am
            .realm_target(realm, &format!("/users/{}", escape(name)));
        self.delete(&format!("user {name}"), &target, USERS)
    }

    /// Creates a Web Agent profile for the site at `root_url` (`http://host:port`, port written out).
    /// `attributes` are merged over it: arrays of raw values, list and map values as `[0]=…`, `[key]=…`.
    ///
    /// # Errors
    /// [`SeedError::Refused`] when it exists or an attribute is unknown.
    pub fn create_agent(
        &self,
        realm: &str,
        name: &str,
        password: &str,
        root_url: &str,
        attributes: &Value,
    ) -> Result<(), SeedError> {
        let body = merge(
            json!({
                "username": name, "userpassword": [password], "agenttype": ["WebAgent"],
                "serverurl": [self.am.url], "agenturl": [root_url],
                "sunIdentityServerDeviceStatus": ["Active"],
            }),
            attributes,
        );
        let target = self.am.realm_target(realm, "/agents?_action=create");
        self.write(
            &format!("agent {name}"),
            self.am.client.post(&target),
            USERS,
            &body,
        )
    }

    /// Changes attributes of an agent profile and leaves the others; AM notifies its agents.
    ///
    /// # Errors
    /// [`SeedError::Refused`] when there is no such agent or attribute.
    pub fn update_agent(
        &self,
        realm: &str,
        name: &str,
        attributes: &Value,
    ) -> Result<(), SeedError> {
        let target = self
            .am
            .realm_target(realm, &format!("/agents/{}", escape(name)));
        // Without If-Match AM says 404 and blames the attributes.
        let request = self.am.client.put(&target).header("If-Match", "*");
        self.write(&format!("agent {name}"), request, USERS, attributes)
    }

    /// Deletes an agent profile.
    ///
    /// # Errors
    /// [`SeedError::Refused`] when there is none.
    pub fn delete_agent(&self, realm: &str, name: &str) -> Result<(), SeedError> {
        let target = self
            .am
            .realm_target(realm, &format!("/agents/{}", escape(name)));
        self.delete(&format!("agent {name}"), &target, USERS)
    }

    /// Makes an authentication module of the root realm that asks for the directory's password and gives
    /// this level. One that is there already is changed.
    ///
    /// # Errors
    /// [`SeedError::Refused`] when AM refuses it.
    pub fn create_module(&self, name: &str, level: u32) -> Result<(), SeedError> {
        let below = "/realm-config/authentication/modules/datastore";
        let target = |more: &str| self.am.target(&format!("/json{below}{more}"));
        let what = format!("module {name}");
        let create = self.am.client.post(&target("?_action=create"));
        // It may be there: then the next call says what is wrong, if anything is.
        let _ = self.write(&what, create, MODULES, &json!({ "_id": name }));
        let change = self.am.client.put(&target(&format!("/{}", escape(name))));
        self.write(
            &what,
            change,
            MODULES,
            &json!({ "authenticationLevel": level }),
        )
    }

    /// Makes sessions that users begin in this realm from now on client-side, or ordinary ones again.
    ///
    /// # Errors
    /// [`SeedError::Refused`] when AM refuses it.
    pub fn set_client_side_sessions(&self, realm: &str, on: bool) -> Result<(), SeedError> {
        let target = self.am.realm_target(realm, "/realm-config/authentication");
        self.write(
            &format!("sessions of realm {realm}"),
            self.am.client.put(&target),
            MODULES,
            &json!({ "statelessSessionsEnabled": on }),
        )
    }

    /// Creates a policy in the default policy set. It holds for every authenticated user and allows
    /// `GET`, unless `members` (merged over it) says otherwise: `actionValues`, `subject`,
    /// `condition`, `resourceAttributes` and so on, as AM's REST interface has them.
    ///
    /// # Errors
    /// [`SeedError::Refused`] when it exists or a member is wrong.
    pub fn create_policy(
        &self,
        realm: &str,
        name: &str,
        resources: &[&str],
        members: &Value,
    ) -> Result<(), SeedError> {
        let target = self.am.realm_target(realm, "/policies?_action=create");
        self.write(
            &format!("policy {name}"),
            self.am.client.post(&target),
            POLICIES,
            &policy(name, resources, members),
        )
    }

    /// Replaces a policy; the members are those of [`Admin::create_policy`].
    ///
    /// # Errors
    /// [`SeedError::Refused`] when there is none.
    pub fn replace_policy(
        &self,
        realm: &str,
        name: &str,
        resources: &[&str],
        members: &Value,
    ) -> Result<(), SeedError> {
        let target = self
            .am
            .realm_target(realm, &format!("/policies/{}", escape(name)));
        self.write(
            &format!("policy {name}"),
            self.am.client.put(&target),
            POLICIES,
            &policy(name, resources, members),
        )
    }

    /// Deletes a policy.
    ///
    /// # Errors
    /// [`SeedError::Refused`] when there is none.
    pub fn delete_policy(&self, realm: &str, name: &str) -> Result<(), SeedError> {
        let target = self
            .am
            .realm_target(realm, &format!("/policies/{}", escape(name)));
        self.delete(&format!("policy {name}"), &target, POLICIES)
    }

    fn write(
        &self,
        what: &str,
        request: Request<'_>,
        version: &str,
        body: &Value,
    ) -> Result<(), SeedError> {
        let request = request
            .header("Accept-API-Version", version)
            .header(&self.am.cookie_name()?, &self.token)
            .json(body);
        expect(what, request).map(drop)
    }

    fn delete(&self, what: &str, target: &str, version: &str) -> Result<(), SeedError> {
        let request = self
            .am
            .client
            .delete(target)
            .header("Accept-API-Version", version)
            .header(&self.am.cookie_name()?, &self.token);
        expect(what, request).map(drop)
    }
}

/// Versions of the endpoints, as OpenAM 14.8 and 16 have them.
const USERS: &str = "resource=3.0, protocol=2.1";
const MODULES: &str = "resource=1.0, protocol=1.0";
const POLICIES: &str = "resource=2.1, protocol=1.0";

/// A user `demo1`, an agent `wa1` for `http://www.test.example.org:8080` and a policy that lets
/// users `GET` its `/docs/*`: enough to try things by hand.
///
/// # Errors
/// Those of the calls.
pub fn demo(am: &Am) -> Result<(), SeedError> {
    const SITE: &str = "http://www.test.example.org:8080";
    let admin = am.admin(ADMIN_PASSWORD)?;
    admin.create_user(
        "/",
        "demo1",
        "changeit8",
        &json!({ "mail": "demo@example.com" }),
    )?;
    let attributes = json!({ "com.sun.identity.agents.config.cdsso.enable": ["true"] });
    admin.create_agent("/", "wa1", "s3cretagent", SITE, &attributes)?;
    let docs = format!("{SITE}/docs/*");
    let members = json!({ "actionValues": { "GET": true, "POST": false } });
    admin.create_policy("/", "docs", &[&docs, &format!("{docs}?*")], &members)
}

fn policy(name: &str, resources: &[&str], members: &Value) -> Value {
    let base = json!({
        "name": name, "active": true, "description": "",
        "applicationName": DEFAULT_POLICY_SET, "resourceTypeUuid": URL_RESOURCE_TYPE,
        "resources": resources, "actionValues": { "GET": true },
        "subject": { "type": "AuthenticatedUsers" },
    });
    merge(base, members)
}

/// `base` with the members of `over` put in place of its own.
fn merge(mut base: Value, over: &Value) -> Value {
    if let (Some(base), Some(over)) = (base.as_object_mut(), over.as_object()) {
        base.extend(
            over.iter()
                .map(|(name, value)| (name.clone(), value.clone())),
        );
    }
    base
}

/// Sends and insists on a 2xx; the JSON body, or null.
fn expect(what: &str, request: Request<'_>) -> Result<Value, SeedError> {
    let response = request.send()?;
    if !(200..300).contains(&response.status) {
        return Err(refused(what, &response));
    }
    Ok(response.json().unwrap_or(Value::Null))
}

fn refused(what: &str, response: &Response) -> SeedError {
    let text = response.text();
    let message = response
        .json()
        .and_then(|j| j["message"].as_str().map(str::to_owned))
        .unwrap_or(text);
    SeedError::Refused {
        what: what.to_owned(),
        status: response.status,
        message: message.chars().take(300).collect(),
    }
}

fn string(answer: &Value, member: &str, what: &str) -> Result<String, SeedError> {
    answer[member]
        .as_str()
        .map(str::to_owned)
        .ok_or_else(|| SeedError::Refused {
            what: what.to_owned(),
            status: 200,
            message: format!("no {member} in the answer"),
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn realms_become_new_style_paths() {
        let am = Am::at("http://am.test.example.org:8080/openam/").unwrap();
        assert_eq!(
            am.realm_target("/", "/users"),
            "/openam/json/realms/root/users"
        );
        assert_eq!(
            am.realm_target("/a/b c", "/x"),
            "/openam/json/realms/root/realms/a/realms/b%20c/x"
        );
    }
}

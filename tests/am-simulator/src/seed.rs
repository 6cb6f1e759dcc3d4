//! How are realms, users, agents, policies and policy sets made and changed? One code path for the configuration file,
//! the REST administration and tests in the same process: all give the same JSON objects.

use crate::agent_defaults::DEFAULTS;
use crate::evaluate;
use crate::notifications;
use crate::state::{
    Agent, Am, Attributes, Data, Realm, Refused, SUB_URL_TYPE, User, hash_password, texts,
};
use serde::Deserialize;
use serde_json::{Value, json};
use std::net::SocketAddr;

/// What a simulated AM speaks.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Dialect {
    /// OpenAM 16, as measured.
    #[default]
    OpenAm,
    /// ForgeRock AM 7.2 to 7.5: agents log in by a tree or by the module. As documented by the vendor: the agent's
    /// login, sessions, logout and ID tokens differ from OpenAM.
    ForgeRock,
    /// PingAM 8: the same without modules.
    PingAm,
}

impl Dialect {
    /// OpenAM has no trees.
    pub(crate) fn trees(self) -> bool {
        self != Dialect::OpenAm
    }

    /// PingAM 8 has no modules.
    pub(crate) fn modules(self) -> bool {
        self != Dialect::PingAm
    }
}

/// What an AM is started with. Objects have the shape of the REST calls that make them, plus `realm` (default `/`).
#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Where to listen; port 0 takes a free one.
    pub listen: SocketAddr,
    /// AM's fully qualified name: `/json` refuses every other `Host`.
    pub host: String,
    /// Deployment URI.
    pub context: String,
    /// Domain of AM's cookies.
    pub cookie_domain: String,
    /// Name of the session cookie and of the token header.
    pub cookie_name: String,
    /// Password of `amadmin`.
    pub admin_password: String,
    /// What it speaks.
    pub dialect: Dialect,
    /// `{"name":"shop","parentPath":"/","active":true,"aliases":[]}`
    pub realms: Vec<Value>,
    /// `{"username":"demo","userpassword":"changeit8","mail":"…"}`. All realms share one directory.
    pub users: Vec<Value>,
    /// `{"realm":"/shop","username":"wa1","userpassword":["…"],"agenttype":["WebAgent"],"serverurl":["…"],"agenturl":["…"]}`
    pub agents: Vec<Value>,
    /// Policy sets of sub-realms: `{"realm":"/shop","name":"shopSet","resourceTypeUuids":["UrlResourceType"],…}`
    pub applications: Vec<Value>,
    /// `{"realm":"/","name":"docs","resources":["…"],"actionValues":{"GET":true},"subject":{…},…}`
    pub policies: Vec<Value>,
    /// `{"realm":"/","name":"Strong","level":2}`: modules that answer a composite advice for a level.
    pub modules: Vec<Value>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 0)),
            host: "am.test.example.org".to_owned(),
            context: "/openam".to_owned(),
            cookie_domain: "test.example.org".to_owned(),
            cookie_name: "iPlanetDirectoryPro".to_owned(),
            admin_password: "adminpassword".to_owned(),
            dialect: Dialect::OpenAm,
            realms: Vec::new(),
            users: Vec::new(),
            agents: Vec::new(),
            applications: Vec::new(),
            policies: Vec::new(),
            modules: Vec::new(),
        }
    }
}

/// The attribute for lines that the schema has no attribute for.
const FREE_FORM: &str = "com.sun.identity.agents.config.freeformproperties";

fn realm_of(object: &Value) -> &str {
    object["realm"].as_str().unwrap_or("/")
}

/// Says which configured object was refused.
fn named(kind: &str, object: &Value, refused: Refused) -> Refused {
    let name = object["name"].as_str().or(object["username"].as_str());
    let message = format!(
        "{kind} {}: {}",
        name.unwrap_or("without a name"),
        refused.message
    );
    Refused::new(refused.status, message)
}

impl Am {
    /// Makes the configured objects.
    pub(crate) fn seed(&self) -> Result<(), Refused> {
        let config = self.config.clone();
        for r in &config.realms {
            self.create_realm(r).map_err(|e| named("realm", r, e))?;
        }
        for u in &config.users {
            self.create_user(u).map_err(|e| named("user", u, e))?;
        }
        for a in &config.agents {
            self.create_agent(realm_of(a), a)
                .map_err(|e| named("agent", a, e))?;
        }
        for a in &config.applications {
            self.create_policy_set(realm_of(a), a)
                .map_err(|e| named("application", a, e))?;
        }
        for p in &config.policies {
            self.create_policy(realm_of(p), p)
                .map_err(|e| named("policy", p, e))?;
        }
        for m in &config.modules {
            let level = m["level"].as_u64().and_then(|l| u32::try_from(l).ok());
            self.add_module(
                realm_of(m),
                m["name"].as_str().unwrap_or_default(),
                level.unwrap_or(0),
            )?;
        }
        Ok(())
    }

    /// Makes a realm; gives the object that AM answers.
    ///
    /// # Errors
    /// As AM: exists (409), no `aliases` (400), unknown parent (404).
    pub fn create_realm(&self, object: &Value) -> Result<Value, Refused> {
        if object["aliases"].is_null() {
            return Err(Refused::new(400, "No aliases parameter provided"));
        }
        let name = object["name"].as_str().unwrap_or_default();
        let parent = object["parentPath"].as_str().unwrap_or("/");
        if name.is_empty() || name.contains('/') {
            return Err(Refused::new(400, "No name parameter provided"));
        }
        let mut data = self.data.lock();
        if !data.realms.contains_key(parent) {
            return Err(Refused::new(404, format!("Realm cannot be read: {parent}")));
        }
        let path = format!("{}/{name}", parent.trim_end_matches('/'));
        if data.realms.contains_key(&path) {
            return Err(Refused::new(
                409,
                format!("The realm {name} already exists."),
            ));
        }
        let mut realm = Realm::new(SUB_URL_TYPE);
        realm.aliases = texts(&object["aliases"]);
        let answer = realm_object(&path, &realm);
        data.realms.insert(path, realm);
        Ok(answer)
    }

    /// Makes a user in the directory that all realms share.
    ///
    /// # Errors
    /// As AM: exists (409), password of less than 8 characters (404).
    pub fn create_user(&self, object: &Value) -> Result<(), Refused> {
        let name = object["username"].as_str().unwrap_or_default().to_owned();
        let mut data = self.data.lock();
        if data.users.contains_key(&name.to_lowercase()) {
            return Err(Refused::new(409, "Resource already exists"));
        }
        let mut attributes = attributes_of(object, &["username", "realm"]);
        let password = take_password(&mut attributes).unwrap_or_default();
        if password.chars().count() < 8 {
            return Err(Refused::new(404, "Minimum password length is 8."));
        }
        for name_attribute in ["cn", "sn"] {
            attributes
                .entry(name_attribute.to_owned())
                .or_insert_with(|| vec![name.clone()]);
        }
        attributes
            .entry("inetUserStatus".to_owned())
            .or_insert_with(|| vec!["Active".to_owned()]);
        let user = User {
            name: name.clone(),
            password,
            attributes,
            created_ms: self.now_ms(),
        };
        data.users.insert(name.to_lowercase(), user);
        Ok(())
    }

    /// Changes attributes of a user.
    ///
    /// # Errors
    /// Unknown user (404).
    pub fn update_user(&self, name: &str, object: &Value) -> Result<(), Refused> {
        let mut data = self.data.lock();
        let user = data.users.get_mut(&name.to_lowercase()).ok_or_else(|| {
            Refused::new(
                404,
                format!("Could not find the resource [ {name} ] to update"),
            )
        })?;
        let mut changed = attributes_of(object, &["username", "realm"]);
        if let Some(password) = take_password(&mut changed) {
            user.password = password;
        }
        user.attributes.extend(changed);
        let stamp = crate::clock::generalized(self.clock.now_ms());
        user.attributes
            .insert("modifyTimestamp".to_owned(), vec![stamp]);
        Ok(())
    }

    /// Makes a Web Agent profile with the defaults of AM's schema.
    ///
    /// # Errors
    /// As AM: exists (409); `serverurl` or `agenturl` missing, type missing (404).
    pub fn create_agent(&self, realm: &str, object: &Value) -> Result<(), Refused> {
        let mut data = self.data.lock();
        let name = object["username"].as_str().unwrap_or_default().to_owned();
        let agents = &mut data.realm_mut(realm)?.agents;
        if object["agenttype"].is_null() {
            return Err(no_schema(object));
        }
        if agents.contains_key(&name.to_lowercase()) {
            return Err(Refused::new(409, "Resource already exists"));
        }
        let mut given = attributes_of(object, &["username", "realm"]);
        let password = take_password(&mut given).unwrap_or_default();
        let mut need = |key: &str| {
            given
                .remove(key)
                .and_then(|v| v.into_iter().next())
                .ok_or_else(|| {
                    Refused::new(404, format!("Agent type requires {key} to be configured."))
                })
        };
        let kind = need("agenttype")?;
        let (server, agent) = (need("serverurl")?, need("agenturl")?);
        let mut attributes = defaults(&server, &agent);
        for (key, values) in given {
            if !attributes.contains_key(&key) {
                // What the schema does not know becomes free-form lines (measured on OpenAM 16.0.5).
                let lines = values.iter().map(|v| format!("{key}={v}"));
                attributes
                    .entry(FREE_FORM.to_owned())
                    .or_default()
                    .extend(lines);
                continue;
            }
            // Only this call puts the prefix before each root URL; a later change gives them whole.
            let values = if key == "sunIdentityServerDeviceKeyValue" {
                values.iter().map(|v| format!("agentRootURL={v}")).collect()
            } else {
                values
            };
            attributes.insert(key, values);
        }
        attributes.insert("AgentType".to_owned(), vec![kind]);
        let agent = Agent {
            name: name.clone(),
            password: hash_password(&password),
            attributes,
        };
        agents.insert(name.to_lowercase(), agent);
        Ok(())
    }

    /// Changes attributes of an agent profile, `userpassword` among them.
    ///
    /// # Errors
    /// As AM: no such agent (400), unknown attribute (500).
    pub fn update_agent(&self, realm: &str, name: &str, object: &Value) -> Result<(), Refused> {
        let mut data = self.data.lock();
        let agent = find_agent(&mut data, realm, name)?;
        let mut changed = attributes_of(
            object,
            &[
                "username",
                "realm",
                "_id",
                "_rev",
                "universalid",
                "agenttype",
            ],
        );
        let password = take_password(&mut changed);
        if changed.keys().any(|k| !agent.attributes.contains_key(k)) {
            return Err(Refused::new(
                500,
                format!(
                    "Plug-in com.sun.identity.idm.plugins.internal.AgentsRepo: Error while setting attributes for agent={name}"
                ),
            ));
        }
        if let Some(password) = password {
            agent.password = hash_password(&password);
        }
        agent.attributes.extend(changed);
        let told = agent.values("com.sun.identity.agents.config.change.notification.enable");
        let told = told.iter().any(|v| v == "true");
        let name = agent.name.clone();
        drop(data);
        if told {
            let body = json!({"realm": realm, "agentName": name});
            self.publish(notifications::CONFIG, body);
        }
        Ok(())
    }

    /// Deletes an agent profile. Its sessions live on, as on the real server.
    ///
    /// # Errors
    /// As AM: no such agent (400).
    pub fn delete_agent(&self, realm: &str, name: &str) -> Result<(), Refused> {
        let mut data = self.data.lock();
        find_agent(&mut data, realm, name)?;
        data.realm_mut(realm)?.agents.remove(&name.to_lowercase());
        Ok(())
    }

    /// Makes a policy; gives the object that AM answers.
    ///
    /// # Errors
    /// As AM: exists (409), unknown policy set, resource type, action or malformed resource (400).
    pub fn create_policy(&self, realm: &str, object: &Value) -> Result<Value, Refused> {
        let name = object["name"].as_str().unwrap_or_default();
        evaluate::check_shape(object)?;
        if self.data.lock().realm(realm)?.policies.contains_key(name) {
            return Err(Refused::new(409, "Policy already exists"));
        }
        self.store_policy(realm, name, object, "CREATE")
    }

    /// Replaces a policy.
    ///
    /// # Errors
    /// As AM: no such policy (404), and as for making one.
    pub fn update_policy(&self, realm: &str, name: &str, object: &Value) -> Result<Value, Refused> {
        if !self.data.lock().realm(realm)?.policies.contains_key(name) {
            return Err(no_policy(name));
        }
        self.store_policy(realm, name, object, "UPDATE")
    }

    fn policy_event(&self, realm: &str, policy: &Value, kind: &str) {
        let body = json!({"realm": realm, "policy": policy["name"], "policySet": policy["applicationName"], "eventType": kind});
        self.publish(notifications::POLICY, body);
    }

    fn store_policy(
        &self,
        realm: &str,
        name: &str,
        object: &Value,
        event: &str,
    ) -> Result<Value, Refused> {
        let mut data = self.data.lock();
        let target = data.realm_mut(realm)?;
        let policy = evaluate::check_policy(realm, target, name, object)?;
        let admin = crate::state::universal_id("amadmin", "user", "/");
        let now = self.clock.now_ms();
        let created = target.policies.get(name).map(|p| p["creationDate"].clone());
        let mut policy = policy;
        policy["lastModifiedBy"] = json!(admin);
        policy["lastModifiedDate"] = json!(crate::clock::iso_millis(now));
        policy["createdBy"] = json!(admin);
        policy["creationDate"] = created.unwrap_or_else(|| json!(crate::clock::iso_millis(now)));
        target.policies.insert(name.to_owned(), policy.clone());
        drop(data);
        self.policy_event(realm, &policy, event);
        Ok(policy)
    }

    /// Deletes a policy.
    ///
    /// # Errors
    /// As AM: no such policy (404).
    pub fn delete_policy(&self, realm: &str, name: &str) -> Result<(), Refused> {
        let mut data = self.data.lock();
        let policy = data.realm_mut(realm)?.policies.remove(name);
        drop(data);
        let policy = policy.ok_or_else(|| no_policy(name))?;
        self.policy_event(realm, &policy, "DELETE");
        Ok(())
    }

    /// Makes a policy set.
    ///
    /// # Errors
    /// As AM: exists (409), unknown resource type (400).
    pub fn create_policy_set(&self, realm: &str, object: &Value) -> Result<Value, Refused> {
        let mut data = self.data.lock();
        let target = data.realm_mut(realm)?;
        let name = object["name"].as_str().unwrap_or_default().to_owned();
        if target.policy_sets.contains_key(&name) {
            return Err(Refused::new(409, "Application already exists"));
        }
        let types = texts(&object["resourceTypeUuids"]);
        if let Some(unknown) = types
            .iter()
            .find(|t| !target.resource_types.contains_key(*t))
        {
            return Err(Refused::new(
                400,
                format!("Invalid resource type {unknown}."),
            ));
        }
        let mut set = object.clone();
        set["_id"] = json!(name);
        set["editable"] = json!(true);
        target.policy_sets.insert(name, set.clone());
        Ok(set)
    }
}

pub(crate) fn no_policy(name: &str) -> Refused {
    Refused::new(404, format!("Policy {name} does not exist."))
}

fn unknown_attribute(name: &str) -> Refused {
    Refused::new(
        404,
        format!("The attribute name {name} does not match the service schema"),
    )
}

/// Without a type AM has no schema and refuses the first attribute that only a type's schema has.
fn no_schema(object: &Value) -> Refused {
    let first = object.as_object().and_then(|o| {
        o.keys()
            .find(|k| k.starts_with("com.") || k.starts_with("org."))
    });
    unknown_attribute(first.map_or("agenturl", String::as_str))
}

/// An agent, or AM's words for its absence.
pub(crate) fn find_agent<'d>(
    data: &'d mut Data,
    realm: &str,
    name: &str,
) -> Result<&'d mut Agent, Refused> {
    data.realm_mut(realm)?
        .agents
        .get_mut(&name.to_lowercase())
        .ok_or_else(|| {
            Refused::new(
                400,
                "Plug-in com.sun.identity.idm.plugins.internal.AgentsRepo: Unable to read attributes.",
            )
        })
}

/// A realm as AM shows it.
pub(crate) fn realm_object(path: &str, realm: &Realm) -> Value {
    use base64::Engine as _;
    let id = base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(path);
    let (parent, name) = match path.rsplit_once('/') {
        Some(("", "")) | None => (Value::Null, "/"),
        Some(("", name)) => (json!("/"), name),
        Some((parent, name)) => (json!(parent), name),
    };
    json!({"_id": id, "parentPath": parent, "active": true, "name": name, "aliases": realm.aliases})
}

fn attributes_of(object: &Value, without: &[&str]) -> Attributes {
    let members = object.as_object().into_iter().flatten();
    members
        .filter(|(k, _)| !without.contains(&k.as_str()))
        .map(|(k, v)| (k.clone(), texts(v)))
        .collect()
}

fn take_password(attributes: &mut Attributes) -> Option<String> {
    let key = attributes
        .keys()
        .find(|k| k.eq_ignore_ascii_case("userpassword"))?
        .clone();
    attributes.remove(&key)?.into_iter().next()
}

fn defaults(server: &str, agent: &str) -> Attributes {
    let agent = agent.trim_end_matches('/');
    let host_port = agent.split("://").nth(1).unwrap_or(agent);
    let host = host_port.split(':').next().unwrap_or(host_port);
    let fill = |text: &str| {
        text.replace("{AM}", server)
            .replace("{AGENT}", agent)
            .replace("{HOST}", host)
            .replace("{LOG}", &host_port.replace(['.', ':'], "_"))
    };
    DEFAULTS
        .iter()
        .map(|(k, v)| ((*k).to_owned(), v.iter().map(|t| fill(t)).collect()))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::ROOT_URL_TYPE;

    #[test]
    fn a_profile_gets_the_schema_defaults() {
        let d = defaults(
            "http://am.example.com:80/openam",
            "http://www.example.com:80",
        );
        assert_eq!(
            d["sunIdentityServerDeviceKeyValue"],
            ["agentRootURL=http://www.example.com:80/"]
        );
        assert_eq!(
            d["com.sun.identity.agents.config.login.url"],
            ["[0]=http://am.example.com:80/openam/UI/Login"]
        );
        assert_eq!(
            d["com.sun.identity.agents.config.fqdn.default"],
            ["www.example.com"]
        );
        assert_eq!(
            d["com.sun.identity.agents.config.remote.logfile"],
            ["amAgent_www_example_com_80.log"]
        );
    }

    #[test]
    fn realm_ids_are_base64() {
        let shown = realm_object("/simrealm", &Realm::new(ROOT_URL_TYPE));
        assert_eq!(shown["_id"], "L3NpbXJlYWxt");
        assert_eq!(shown["parentPath"], "/");
        assert_eq!(realm_object("/", &Realm::new(ROOT_URL_TYPE))["_id"], "Lw");
    }
}

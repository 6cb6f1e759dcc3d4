//! The configuration that requests are decided with: compiled once, shared by all, never changed.
//!
//! Holds everything that follows from the configuration alone: patterns, hosts, keys, names. It must
//! not hold anything that AM or a request can change.

use alloc::{
    boxed::Box,
    format,
    string::{String, ToString},
    vec,
    vec::Vec,
};
use core::hash::Hasher;

use sha2::{Digest, Sha256};
use siphasher::sip128::{Hasher128, SipHasher24};

use super::{
    ByPath, Carried, Config, Dialect, FilterMode, LoginRule, Monitor, Paths, Repository, Rules,
    ScrubNames, Secrets, ams, carry, continuous, login_rules,
    parse::{Problem, Severity, agent_conf},
    raw::{Line, Properties, Source},
    table::PROPERTIES,
    web::{self, Base},
};
use crate::{
    contract::{AttributesKey, CookieKey, KeysKey, PolicyKey, SessionKey},
    token::{
        Secret, jwt,
        pieces::PieceKey,
        sealed::{KeyRing, Purpose},
    },
    url::{AllowedHosts, HostCheck, Index, Outside, Overrides, Page, Regex, UrlRule, View},
};

/// Cookies of logins under way begin so, on https with the browser's prefix in front (rule L3).
pub(super) const PRE_AUTHENTICATION: &[u8] = b"agent-authn-";
/// The prefix that makes browsers refuse a cookie set from elsewhere.
const HOST_PREFIX: &[u8] = b"__Host-";

/// Keys that cookies are sealed with.
pub struct Keys {
    /// Logins under way.
    pub pre_authentication: KeyRing,
    /// Sessions.
    pub session_cookie: KeyRing,
    /// What names a kept POST.
    pub kept_post: KeyRing,
    /// The kept POSTs themselves.
    pub post_store: PieceKey,
    /// Those of before the last rotation; what names one says whether it still counts.
    pub previous_post_store: Option<PieceKey>,
}

const FQDN: &str = "com.sun.identity.agents.config.fqdn.default";
const MAPPING: &str = "com.sun.identity.agents.config.fqdn.mapping";
const PREFIX: &str = "com.sun.identity.agents.config.agenturi.prefix";
const ROOT: &str = "sunIdentityServerDeviceKeyValue";
/// The properties that name hosts to redirect to.
const HOSTS: [&str; 4] = [FQDN, MAPPING, PREFIX, ROOT];
/// How the mistake begins that none of them does.
const NO_HOST: &str = "names no host";

/// Pages of the operator's for what is refused.
#[derive(Default)]
pub struct Pages {
    /// Refused by policy, below these paths.
    pub denied: Vec<(String, Page)>,
    /// Failed logins.
    pub login_failed: Option<Page>,
}

/// Which requests get an answer in another form than a page.
pub struct Answers {
    /// URL patterns of programs that get JSON.
    pub json: Index,
    /// URL patterns of those that get 401 where others are sent to log in.
    pub unauthorized: Index,
}

/// A whole valid configuration, compiled.
pub struct Snapshot {
    /// What was configured.
    pub config: Config,
    /// Says whose answers these are: two instances that ask the same AM as the same agent share it.
    pub identity: [u8; 16],
    /// The digests below, as far as they follow from the configuration: keyed with what was drawn
    /// when the shared memory was made.
    digests: Digests,
    /// Keys of cookies.
    pub keys: Keys,
    /// Key of ID tokens in dialect A (rule L1).
    pub id_token_key: Secret,
    /// Rules about who needs no session and who gets nothing.
    pub(crate) rules: Rules,
    /// What everybody has to bring where no path says otherwise.
    pub(crate) filter_mode: FilterMode,
    /// What is configured by path, if anything is.
    pub(crate) paths: Option<Paths>,
    /// Logout URL patterns.
    pub logout: Index,
    /// URL patterns whose POSTs are not kept.
    pub post_skip: Index,
    /// Hosts that a redirect may lead back to (rule L7).
    pub allowed_hosts: AllowedHosts,
    /// Where refused browsers are sent.
    pub pages: Pages,
    /// Which requests get JSON, or 401 instead of a login.
    pub answers: Answers,
    /// Where browsers are, when the host cannot see it.
    pub outside: Option<Outside>,
    /// What rules and policies see of a URL, when it is not all of it.
    pub view: Option<View>,
    /// Host names that users shall use, when they are checked.
    pub host_check: Option<HostCheck>,
    /// What every URL has to match.
    pub valid_url: Option<Regex>,
    /// Issuers that an ID token may name: AM as browsers may know it.
    pub issuers: Vec<String>,
    /// AM's `/cdcservlet`, as an answer of it may name it; none where logins do not go there.
    pub servlets: Vec<String>,
    /// Origins that AM's login form may come from, as browsers write them (rule L2).
    pub am_origins: Vec<String>,
    /// Realms whose users count (rule L5), each with its leading slash.
    pub login_realms: Vec<String>,
    /// Header names that no client may send.
    pub scrub: ScrubNames,
    /// Attributes that the application is told.
    pub carried: Carried,
    /// Profile attributes to ask AM for, sorted; none where nothing needs them.
    pub(crate) profile_names: Vec<String>,
    /// What the driver calls the part of the configuration that is not in `agent.conf`, for those who
    /// write requests down; empty where there is none.
    pub elsewhere: String,
    /// What the driver calls the text of `agent.conf` that this was compiled from.
    pub agent_conf: String,
    /// Conditions of policies look at cookies or headers.
    pub(crate) continuous: bool,
    /// `portcullis.grace.max` by path.
    pub(crate) grace: ByPath<u32>,
    /// Requests that log in elsewhere than the others.
    pub(crate) login_rules: Vec<LoginRule>,
    /// Who may see the agent's numbers; `None` where nobody may.
    pub(crate) monitor: Option<Box<Monitor>>,
}

impl Snapshot {
    /// Compiles a configuration. `hash_key` comes from the shared memory, so that all workers agree.
    ///
    /// # Errors
    /// Every pattern and host that cannot be compiled.
    pub fn build(
        config: Config,
        secrets: Secrets,
        hash_key: [u8; 16],
    ) -> Result<Snapshot, Vec<Problem>> {
        let mut problems = vec![];
        let rules = Rules::compile(&config, &mut problems);
        let logout = logout(&config, &mut problems);
        let post_skip = post_skip(&config, &mut problems);
        let allowed_hosts = allowed_hosts(&config, &mut problems);
        let pages = pages(&config, &allowed_hosts, &mut problems);
        let answers = answers(&config, &mut problems);
        let valid_url = valid_url(&config, &mut problems);
        let login_rules = login_rules::compile(&config, |property, what| {
            reject(&config, property, what, &mut problems)
        });
        carry::check(
            &config,
            |cookie| ours(&config, cookie),
            |property, what| reject(&config, property, what, &mut problems),
        );
        continuous::check(
            &config,
            |cookie| ours(&config, cookie),
            |property, what| reject(&config, property, what, &mut problems),
        );
        if let Some(name) = &config.session_header
            && ScrubNames::of_config(&config).matches(name.as_bytes())
        {
            let what = format!("\"{name}\" is a header that the agent sets");
            reject(&config, "portcullis.session.header", what, &mut problems);
        }
        if !problems.is_empty() {
            return Err(problems);
        }
        let keys = Keys {
            pre_authentication: secrets.ring(Purpose::PreAuthentication),
            session_cookie: secrets.ring(Purpose::SessionCookie),
            kept_post: secrets.ring(Purpose::PostStore),
            post_store: PieceKey::derive(&secrets.agent_key),
            previous_post_store: (secrets.previous_key.as_ref())
                .map(|(key, _)| PieceKey::derive(key)),
        };
        Ok(Snapshot {
            identity: identity(&config),
            digests: Digests::begin(&config, &hash_key, &keys),
            keys,
            id_token_key: jwt::dialect_a_key(&secrets.password),
            rules,
            filter_mode: config.filter_mode(),
            paths: Paths::compile(&config),
            grace: ByPath::compile(&config.grace_maxes, config.case_ignore),
            logout,
            post_skip,
            allowed_hosts,
            pages,
            answers,
            outside: outside(&config),
            view: Some(config.view.clone()).filter(|view| !view.is_everything()),
            host_check: host_check(&config),
            valid_url,
            issuers: ams::issuers(&config),
            servlets: ams::servlets(&config),
            am_origins: ams::am_origins(&config),
            login_realms: ams::login_realms(&config),
            scrub: ScrubNames::of_config(&config),
            carried: Carried::of_config(&config),
            profile_names: carry::profile_names(&config),
            elsewhere: String::new(),
            agent_conf: String::new(),
            continuous: !config.continuous_cookies.is_empty()
                || !config.continuous_headers.is_empty(),
            login_rules,
            monitor: Monitor::of(&config, &secrets),
            config,
        })
    }

    /// Where what is known about a session token is kept.
    pub fn session_key(&self, token: &[u8]) -> SessionKey {
        let mut digest = self.digests.session;
        part(&mut digest, token);
        SessionKey(digest.finish128().into())
    }

    /// The name of a sealed session cookie: covers its text and, with the instance, the keys and the
    /// scope, all that decides what it opens to.
    pub fn cookie_key(&self, scope: &str, sealed: &[u8]) -> CookieKey {
        let mut digest = self.digests.cookie;
        part(&mut digest, scope.as_bytes());
        part(&mut digest, sealed);
        CookieKey(digest.finish128().into())
    }

    /// Where AM's decision is kept (rule S7), in the configured realm and policy set, where no further
    /// entries are sent. `resource` is the URL exactly as it is sent, and `client` what is sent about the
    /// client.
    pub fn policy_key(&self, session: SessionKey, resource: &str, client: &[u8]) -> PolicyKey {
        let configured = (None, None);
        self.policy_question(configured, session, resource, client)
            .key()
    }

    /// The same in another realm or policy set (`None` is the configured one), for entries to be added
    /// in the order of the configuration.
    #[inline(always)]
    pub(crate) fn policy_question(
        &self,
        (realm, set): (Option<&str>, Option<&str>),
        session: SessionKey,
        resource: &str,
        client: &[u8],
    ) -> Question {
        let mut digest = self.digests.policy;
        if realm.is_some() || set.is_some() {
            let realm = realm.unwrap_or(&self.config.policy_realm);
            let set = set.unwrap_or(&self.config.policy_set);
            digest = within(self.digests.any_policy, realm, set);
        }
        digest.write_u64(session.0 as u64);
        digest.write_u64((session.0 >> 64) as u64);
        part(&mut digest, resource.as_bytes());
        part(&mut digest, client);
        Question(digest)
    }

    /// Where a user's profile attributes are kept. It covers the names that are asked for: what was
    /// asked under an earlier configuration is no answer to this one's question.
    #[inline]
    pub fn attributes_key(&self, session: SessionKey) -> AttributesKey {
        AttributesKey(session.0 ^ self.digests.profile_names)
    }

    /// Where the keys that AM publishes are kept.
    pub fn keys_key(&self) -> KeysKey {
        KeysKey(self.digests.keys)
    }

    /// The name under which a login's `state` is entered as spent (rule L2).
    pub fn state_key(&self, state: &[u8]) -> u128 {
        let mut digest = self.digests.state;
        part(&mut digest, state);
        digest.finish128().into()
    }

    /// Stands for a client's address where the share of one client is limited; never 0.
    pub fn client_key(&self, address: core::net::IpAddr) -> u64 {
        let mut digest = self.digests.client;
        match address.to_canonical() {
            core::net::IpAddr::V4(v4) => part(&mut digest, &v4.octets()),
            // One network gives a browser as many addresses as it likes.
            core::net::IpAddr::V6(v6) => part(&mut digest, &v6.octets()[..8]),
        }
        (digest.finish128().h1) | 1
    }

    /// The name of a counter: what kind it is, and of what.
    pub fn count_key(&self, kind: u8, of: &[&[u8]]) -> u128 {
        let mut digest = self.digests.count;
        digest.write(&[kind]);
        of.iter().for_each(|bytes| part(&mut digest, bytes));
        digest.finish128().into()
    }

    /// Whether a cookie belongs to the agent and must not reach the application (rule L4). AM's own
    /// session cookie does not: applications may use it.
    #[inline]
    pub fn ours(&self, cookie_name: &[u8]) -> bool {
        ours(&self.config, cookie_name)
    }
}

#[inline]
fn ours(config: &Config, cookie_name: &[u8]) -> bool {
    let bare = cookie_name.strip_prefix(HOST_PREFIX).unwrap_or(cookie_name);
    cookie_name == config.jwt_name.as_bytes() || bare.starts_with(PRE_AUTHENTICATION)
}

/// The name of a question to AM's policies, as far as its parts have been added.
pub(crate) struct Question(SipHasher24);

impl Question {
    /// The lines that an entry of the environment is made of; none where it is not sent.
    pub(crate) fn entry<'e>(&mut self, lines: impl Iterator<Item = &'e [u8]> + Clone) {
        self.0.write_u64(lines.clone().count() as u64);
        lines.for_each(|line| part(&mut self.0, line));
    }

    /// The name.
    #[inline]
    pub(crate) fn key(self) -> PolicyKey {
        PolicyKey(self.0.finish128().into())
    }
}

fn within(mut digest: SipHasher24, realm: &str, set: &str) -> SipHasher24 {
    part(&mut digest, realm.as_bytes());
    part(&mut digest, set.as_bytes());
    digest
}

/// What every key of one kind begins with; each kind begins differently.
struct Digests {
    cookie: SipHasher24,
    session: SipHasher24,
    /// In the configured realm and policy set.
    policy: SipHasher24,
    /// Without either.
    any_policy: SipHasher24,
    state: SipHasher24,
    /// Of the profile attributes to ask for: told apart by it, the key of a session stays uniform.
    profile_names: u128,
    keys: u128,
    client: SipHasher24,
    count: SipHasher24,
}

/// Begins a name of one kind, which no other instance gives.
fn begin(config: &Config, hash_key: &[u8; 16], kind: u8) -> SipHasher24 {
    let mut digest = SipHasher24::new_with_key(hash_key);
    digest.write(&[kind]);
    digest.write(&identity(config));
    digest
}

/// [`Snapshot::session_key`] for tools, which have no snapshot.
pub fn session_key(config: &Config, hash_key: &[u8; 16], token: &[u8]) -> SessionKey {
    let mut digest = begin(config, hash_key, b's');
    part(&mut digest, token);
    SessionKey(digest.finish128().into())
}

impl Digests {
    fn begin(config: &Config, hash_key: &[u8; 16], keys: &Keys) -> Digests {
        let begin = |kind: u8| begin(config, hash_key, kind);
        let mut any_policy = begin(b'p');
        let (cookies, headers) = (&config.continuous_cookies, &config.continuous_headers);
        any_policy.write_u64((cookies.len() + headers.len()) as u64);
        for (_, entry) in cookies.iter().chain(headers) {
            part(&mut any_policy, entry.as_bytes());
        }
        let mut cookie = begin(b'c');
        for fingerprint in keys.session_cookie.fingerprints() {
            part(&mut cookie, &fingerprint);
        }
        Digests {
            cookie,
            session: begin(b's'),
            policy: within(any_policy, &config.policy_realm, &config.policy_set),
            any_policy,
            state: begin(b't'),
            profile_names: {
                let mut digest = begin(b'a');
                for name in carry::profile_names(config) {
                    part(&mut digest, name.as_bytes());
                }
                digest.finish128().into()
            },
            keys: begin(b'k').finish128().into(),
            client: begin(b'n'),
            count: begin(b'q'),
        }
    }
}

/// Each part goes with its length, so that no two different sequences look alike.
fn part(digest: &mut SipHasher24, bytes: &[u8]) {
    // Cheaper than the same eight bytes as a slice.
    digest.write_u64(bytes.len() as u64);
    digest.write(bytes);
}

/// Digest of what makes an instance: AM's URLs, the agent's realm and name, the dialect (design 3).
pub fn identity(config: &Config) -> [u8; 16] {
    let mut urls: Vec<&str> = config.naming_url.iter().map(String::as_str).collect();
    urls.sort_unstable();
    urls.dedup();
    let mut digest = Sha256::new();
    let mut add = |bytes: &[u8]| {
        digest.update((bytes.len() as u64).to_le_bytes());
        digest.update(bytes);
    };
    add(&(urls.len() as u64).to_le_bytes());
    urls.iter().for_each(|u| add(u.as_bytes()));
    add(config.organization_name.as_bytes());
    add(config.username.as_bytes());
    add(match config.dialect {
        Dialect::OpenAm => b"A",
        Dialect::PingAm => b"B",
    });
    let mut first = [0; 16];
    first.copy_from_slice(&digest.finalize()[..16]);
    first
}

/// Tells one text of a configuration from another: 16 hexadecimal digits.
pub fn fingerprint(text: &[u8]) -> String {
    let digest = Sha256::digest(text);
    digest[..8].iter().map(|b| format!("{b:02x}")).collect()
}

fn source(config: &Config) -> Source {
    match config.repository {
        Repository::Local => agent_conf(),
        Repository::Centralized => Source::Am,
    }
}

fn reject(config: &Config, property: &str, what: String, problems: &mut Vec<Problem>) {
    problems.push(Problem {
        severity: Severity::Error,
        line: None,
        source: source(config),
        property: property.to_string(),
        what,
        remedy: "correct it in agent.conf or in the profile in AM".to_string(),
    });
}

fn pattern(
    config: &Config,
    property: &str,
    text: &str,
    problems: &mut Vec<Problem>,
) -> Option<UrlRule> {
    match UrlRule::wildcard(text, config.case_ignore) {
        Ok(pattern) => Some(pattern),
        Err(error) => {
            reject(
                config,
                property,
                format!("\"{text}\" is no URL pattern: {error}"),
                problems,
            );
            None
        }
    }
}

fn logout(config: &Config, problems: &mut Vec<Problem>) -> Index {
    const NAME: &str = "com.sun.identity.agents.config.agent.logout.url";
    const ONE: &str = "com.forgerock.agents.agent.logout.url.regex";
    const BY_PATH: &str = "portcullis.logout.url";
    for (_, url) in &config.logout_urls {
        if let Err(why) = web::page(url) {
            reject(config, BY_PATH, format!("\"{url}\" {why}"), problems);
        }
    }
    let one = config.logout_url_regex.iter();
    let mut rules: Vec<UrlRule> = one
        .filter_map(|text| regex(config, ONE, text, problems))
        .collect();
    for text in &config.agent_logout_url {
        rules.extend(match config.logout_regex {
            true => regex(config, NAME, text, problems),
            false => pattern(config, NAME, text, problems),
        });
    }
    Index::build(rules)
}

/// An expression that has to stand for the whole URL: found anywhere, it would open more pages than
/// its author saw (rule U5).
fn regex(
    config: &Config,
    property: &str,
    text: &str,
    problems: &mut Vec<Problem>,
) -> Option<UrlRule> {
    match Regex::parse(text, true, config.case_ignore) {
        Ok(regex) => Some(UrlRule::Regex(regex)),
        Err(why) => {
            let what = format!("\"{text}\" is no regular expression here: {why}");
            reject(config, property, what, problems);
            None
        }
    }
}

fn post_skip(config: &Config, problems: &mut Vec<Problem>) -> Index {
    const NAME: &str = "org.forgerock.agents.config.skip.post.url";
    let urls = config.post_skip.iter();
    Index::build(
        urls.filter_map(|u| pattern(config, NAME, u, problems))
            .collect(),
    )
}

fn answers(config: &Config, problems: &mut Vec<Problem>) -> Answers {
    const JSON: &str = "org.forgerock.agents.config.json.url";
    const NONE: &str = "portcullis.unauthorized.url";
    Answers {
        json: patterns(config, JSON, &config.json_url, problems),
        unauthorized: patterns(config, NONE, &config.unauthorized_url, problems),
    }
}

fn patterns(
    config: &Config,
    property: &str,
    urls: &[String],
    problems: &mut Vec<Problem>,
) -> Index {
    let rules = urls.iter();
    let rules = rules.filter_map(|u| pattern(config, property, u, problems));
    Index::build(rules.collect())
}

/// Found anywhere, and with regard to case, as the Web Agent's expressions are.
fn valid_url(config: &Config, problems: &mut Vec<Problem>) -> Option<Regex> {
    const NAME: &str = "com.forgerock.agents.agent.invalid.url.regex";
    let text = config.valid_url.as_ref()?;
    match Regex::parse(text, false, false) {
        Ok(regex) => Some(regex),
        Err(why) => {
            let what = format!("\"{text}\" is no regular expression here: {why}");
            reject(config, NAME, what, problems);
            None
        }
    }
}

/// Pages on hosts of redirects only (rule L7).
fn pages(config: &Config, hosts: &AllowedHosts, problems: &mut Vec<Problem>) -> Pages {
    let mut page = |property: &str, text: &str| match Page::parse(text, hosts) {
        Ok(page) => Some(page),
        Err(why) => {
            let what = format!("\"{text}\" cannot be a page to be sent to: {why}");
            reject(config, property, what, problems);
            None
        }
    };
    const DENIED: &str = "com.sun.identity.agents.config.access.denied.url";
    const BY_PATH: &str = "portcullis.access.denied.url";
    let everywhere = config.access_denied_url.iter();
    let everywhere = everywhere.filter_map(|t| Some((String::new(), page(DENIED, t)?)));
    let mut denied: Vec<_> = everywhere.collect();
    for (path, text) in &config.access_denied_urls {
        denied.extend(page(BY_PATH, text).map(|page| (path.clone(), page)));
    }
    let failed = config.authn_fail_url.as_ref();
    Pages {
        denied,
        login_failed: failed.and_then(|text| page("portcullis.authn.fail.url", text)),
    }
}

/// Hosts of redirects (rule L7), the default host first: it is where others are sent to.
fn allowed_hosts(config: &Config, problems: &mut Vec<Problem>) -> AllowedHosts {
    let texts = config.fqdn_default.iter().map(|h| (FQDN, h));
    let texts = texts.chain(config.fqdn_mapping.iter().map(|(_, h)| (MAPPING, h)));
    let texts = texts.chain(config.agenturi_prefix.iter().map(|u| (PREFIX, u)));
    let texts = texts.chain(config.root_urls.iter().map(|u| (ROOT, u)));
    let mut hosts = AllowedHosts::default();
    for (property, text) in texts {
        if let Err(error) = hosts.add(text) {
            let what = format!("\"{text}\" cannot be redirected to: {error}");
            reject(config, property, what, problems);
        }
    }
    // Where AM is never asked nobody logs in.
    if hosts.is_empty() && config.rules_only.is_none() {
        let what = format!("{NO_HOST}, and neither does {ROOT}: no login could come back");
        reject(config, FQDN, what, problems);
    }
    hosts
}

/// What `override.protocol`, `.host` and `.port` take from `agenturi.prefix`, and who may say better.
fn outside(config: &Config) -> Option<Outside> {
    let prefix = config.agenturi_prefix.as_ref();
    let prefix = prefix.and_then(|url| Base::parse(url).ok());
    let overrides = prefix.map_or_else(Overrides::default, |prefix| Overrides {
        https: config.override_protocol.then_some(prefix.scheme == "https"),
        port: config.override_port.then(|| prefix.effective_port()),
        host: config.override_host.then_some(prefix.host),
    });
    let trusted = config.trusted_proxies.clone();
    Some(Outside { trusted, overrides }).filter(|outside| !outside.is_empty())
}

fn host_check(config: &Config) -> Option<HostCheck> {
    let default = config.fqdn_default.as_ref().filter(|_| config.fqdn_check)?;
    Some(HostCheck::new(default, &config.fqdn_mapping))
}

/// What of a configuration cannot be compiled, so that it can be named together with the mistakes
/// that reading it found: `known` are those, `files` the lines that it came from.
pub fn mistakes(config: &Config, files: &Properties, known: &[Problem]) -> Vec<Problem> {
    let secrets = Secrets {
        password: Secret::new(b"nothing is sealed".to_vec()),
        agent_key: Secret::new(vec![0; 32]),
        previous_key: None,
        cert_key_password: None,
        proxy_password: None,
        monitor_password: None,
    };
    let Err(mut found) = Snapshot::build(config.clone(), secrets, [0; 16]) else {
        return vec![];
    };
    // A host that was named wrongly is a mistake of its own, not a missing one as well.
    let named = |p: &Problem| {
        p.severity == Severity::Error && HOSTS.iter().any(|host| p.property.starts_with(host))
    };
    if known.iter().any(named) {
        found.retain(|p| !(p.property == FQDN && p.what.starts_with(NO_HOST)));
    }
    found.iter_mut().for_each(|p| locate(p, files));
    found
}

/// Finds the line that a value was written in.
fn locate(problem: &mut Problem, files: &Properties) {
    let Some(row) = PROPERTIES.iter().find(|row| row.name == problem.property) else {
        return;
    };
    let quoted = |value: &str| problem.what.starts_with(&format!("\"{value}\""));
    let is_it = |line: &&Line| {
        row.is_called(&line.name)
            && (quoted(&line.value) || line.value.split_whitespace().any(quoted))
    };
    if let Some(line) = files.lines().iter().find(is_it) {
        problem.line = line.number;
        problem.source = line.source.clone();
    }
}

#[cfg(test)]
#[path = "snapshot_tests.rs"]
mod tests;

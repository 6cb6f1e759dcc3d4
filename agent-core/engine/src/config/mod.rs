//! What an instance is configured to do: properties as text, the table that knows each of them, the
//! typed result, and the immutable snapshot that requests are decided with.
//!
//! Three ages: [`raw::Properties`] (text with line numbers) → [`Config`] (typed, every mistake of the
//! file collected) → [`Snapshot`] (compiled, shared, never changed).

mod ams;
mod by_path;
mod carry;
mod changes;
mod continuous;
mod grace;
mod login_rules;
mod methods;
mod mode;
mod monitor;
mod outage;
mod outside;
mod parse;
mod raw;
mod reset;
mod rules;
mod scrub;
mod secrets;
mod snapshot;
mod table;
mod tls;
mod values;
mod web;

use alloc::{
    string::{String, ToString},
    vec,
    vec::Vec,
};

pub use ams::login_realms;
pub use by_path::{Area, AtPath, FilterMode};
pub(crate) use by_path::{ByPath, Paths};
pub use carry::{Attribute, Carried, CookieAttribute, Target};
pub use changes::{Change, Written, changes, with_text, without_secrets};
pub use login_rules::LoginLine;
pub(crate) use login_rules::LoginRule;
pub use methods::Methods;
pub use mode::Enforcement;
pub(crate) use monitor::Monitor;
pub use outage::{RulesOnly, Strategy};
pub use outside::{
    OUTSIDE, Outside, Place, SystemLog, cache_bytes, environment, max_agents, system_log,
};
pub use parse::{Problem, Severity, read};
pub use raw::{Line, Properties, Source, is_stored_password};
pub use reset::CookieReset;
pub use rules::RuleLine;
pub(crate) use rules::{Addresses, Condition, IpList, List, Rules, Test};
pub use scrub::ScrubNames;
pub use secrets::{
    SecretError, Secrets, decrypt_password, encrypt_password, key_text, parse_key,
    parse_previous_key,
};
pub(crate) use snapshot::Question;
pub use snapshot::{Keys, Snapshot, fingerprint, identity, mistakes, session_key};
pub use table::{From, Kind, PROPERTIES, Property, Reload, SECTIONS, Set, State};
pub use tls::{CIPHERS, TlsVersions};
pub use values::Values;
pub(crate) use web::realm_named;

use crate::url::{AddressSet, View};

/// Where the run-time properties come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Repository {
    /// `agent.conf`.
    Local,
    /// The agent's profile in AM.
    Centralized,
}

/// How attributes of one kind reach the application.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum FetchMode {
    /// Not at all.
    #[default]
    None,
    /// As request headers (and as unforgeable variables).
    HttpHeader,
    /// As cookies, of the request and of the browser.
    HttpCookie,
}

/// `com.forgerock.agents.header.mime.encode`: which values of headers become words of RFC 2047. What
/// would end a header early always does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum MimeEncode {
    /// Those with other than printable ASCII characters.
    #[default]
    NonAscii,
    /// All.
    Always,
    /// None.
    Never,
}

/// Attribute → header names, with the way they travel.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AttributeMap {
    /// How.
    pub mode: FetchMode,
    /// (attribute in AM's spelling, header names).
    pub map: Vec<(String, Vec<String>)>,
}

/// What AM speaks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Dialect {
    /// OpenAM 14 to 16.
    #[default]
    OpenAm,
    /// ForgeRock AM 6.5 to 7 and PingAM.
    PingAm,
}

/// How the agent logs in where AM has trees.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum AgentAuth {
    /// By the tree `Agent`, and by the module where AM has no such tree.
    #[default]
    TreeThenModule,
    /// By the tree only.
    Tree,
    /// By the module `Application` only.
    Module,
}

/// Where `REMOTE_USER` comes from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum UserIdType {
    /// A session property.
    #[default]
    Session,
    /// A profile attribute.
    Ldap,
}

/// Which decisions are audited.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum AuditAccess {
    /// None.
    #[default]
    None,
    /// Allowed ones.
    Allow,
    /// Refused ones.
    Deny,
    /// All.
    Both,
}

/// Where audit events go.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum AuditTo {
    /// To AM.
    #[default]
    Remote,
    /// To the local file.
    Local,
    /// Both.
    All,
}

/// How much the debug log says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// Only what needs somebody.
    #[default]
    Error,
    /// What may need somebody soon.
    Warning,
    /// What an operator may want to follow.
    Info,
    /// One line a decision.
    Debug,
}

/// How a browser is marked that comes back for a kept POST.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Sticky {
    /// Not at all.
    #[default]
    None,
    /// By a cookie.
    Cookie,
    /// By a parameter of the address that it comes back to.
    Url,
}

/// Every property the product acts on, typed. Names of fields follow the property names.
/// Intervals are in the unit of the property (minutes unless said otherwise).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    // --- bootstrap
    /// `com.sun.identity.agents.config.username`
    pub username: String,
    /// `com.sun.identity.agents.config.organization.name`; begins with `/`
    pub organization_name: String,
    /// `com.sun.identity.agents.config.naming.url`; each with a trailing slash
    pub naming_url: Vec<String>,
    /// `com.sun.identity.agents.config.repository.location`
    pub repository: Repository,
    /// `com.sun.identity.agents.config.connect.timeout`, seconds
    pub connect_timeout: u32,
    /// `portcullis.am.dialect`
    pub dialect: Dialect,
    /// `com.forgerock.agents.config.agent.auth.mode`; counts in dialect B only
    pub agent_auth: AgentAuth,
    /// `com.sun.identity.agents.config.receive.timeout`, seconds
    pub receive_timeout: u32,
    /// `com.sun.identity.agents.config.forward.proxy.host`
    pub forward_proxy_host: Option<String>,
    /// `com.sun.identity.agents.config.forward.proxy.port`; 0: none
    pub forward_proxy_port: u32,
    /// `com.sun.identity.agents.config.forward.proxy.user`
    pub forward_proxy_user: Option<String>,
    /// `com.forgerock.agents.config.cert.file`
    pub cert_file: Option<String>,
    /// `com.forgerock.agents.config.cert.key`
    pub cert_key: Option<String>,
    /// `com.forgerock.agents.config.ciphers`: names of [`CIPHERS`]; empty: all
    pub ciphers: Vec<String>,
    /// `org.forgerock.agents.config.tls`
    pub tls_versions: TlsVersions,
    /// `org.forgerock.agents.config.cert.verify.depth`
    pub cert_verify_depth: u32,
    /// `org.forgerock.agents.config.tls.keylog.enable`
    pub tls_keylog: bool,
    /// `com.forgerock.agents.config.add.amlbcookie`
    pub add_amlbcookie: bool,
    /// `com.forgerock.agents.config.cert.ca.file`
    pub cert_ca_file: Option<String>,
    /// `com.sun.identity.agents.config.trust.server.certs` (rule W5: absent means verify)
    pub trust_server_certs: bool,
    /// `com.forgerock.agents.config.hostmap`: (host, IP address)
    pub hostmap: Vec<(String, String)>,
    /// `org.forgerock.openam.agents.config.jwt.name`
    pub jwt_name: String,
    /// `org.forgerock.openam.agents.config.policy.evaluation.realm`
    pub policy_realm: String,
    /// `org.forgerock.openam.agents.config.policy.evaluation.application`
    pub policy_set: String,
    /// The same by path
    pub policy_realms: Vec<AtPath<String>>,
    /// The same by path
    pub policy_sets: Vec<AtPath<String>>,
    /// `portcullis.policy.user.realm`: the realm of the policies is the user's
    pub policy_user_realm: bool,
    /// `com.sun.identity.agents.config.local.logfile`
    pub local_logfile: Option<String>,
    /// `com.sun.identity.agents.config.debug.level`
    pub debug_level: Level,
    /// `com.sun.identity.agents.config.local.audit.logfile`
    pub local_audit_logfile: Option<String>,
    /// `com.sun.identity.agents.config.debug.file.size`, bytes; 0: never rotated
    pub debug_file_size: u32,
    /// `com.sun.identity.agents.config.debug.file.rotate`
    pub debug_file_rotate: bool,
    /// `com.forgerock.agents.config.max.num.log.files`, the current one among them; 0: all
    pub max_log_files: u32,
    /// `com.sun.identity.agents.config.local.log.size`, bytes; 0: never rotated
    pub audit_file_size: u32,
    /// `portcullis.audit.rotate.hours`; 0: whatever its age
    pub audit_rotate_hours: u32,
    /// `portcullis.method.override`: whether methods that a request names beside its own count
    pub method_override_checked: bool,
    /// `com.sun.identity.agents.config.audit.path.fullurl`
    pub audit_full_url: bool,
    /// `portcullis.record.file`: where requests are written down to be decided again
    pub record_file: Option<String>,
    /// `com.forgerock.agents.conditional.login.url`
    pub conditional_login: Vec<LoginLine>,
    /// `org.forgerock.agents.config.conditional.login.pattern`: (number, expression)
    pub conditional_pattern: Vec<(String, String)>,
    /// `org.forgerock.agents.config.conditional.login.url`
    pub conditional_pattern_urls: Vec<LoginLine>,
    /// `portcullis.login.header`
    pub login_headers: Vec<LoginLine>,
    /// `portcullis.login.parameter`
    pub login_parameters: Vec<LoginLine>,
    /// `com.sun.am.use_redirect_for_advice`
    pub advice_redirect: bool,
    /// `com.forgerock.agents.advice.b64.url.encode`
    pub advice_encode: bool,
    /// `org.forgerock.openam.agents.config.multivalue.pre.authn.cookies`
    pub multivalue_pre_authn: bool,
    // --- login
    /// `com.forgerock.agents.public.am.url`; with a trailing slash
    pub public_am_url: Option<String>,
    /// `org.forgerock.openam.agents.config.allow.custom.login`: 0, 1 or 2
    pub allow_custom_login: u8,
    /// `com.forgerock.agents.accept.sso.token`
    pub accept_sso_token: bool,
    /// `com.sun.identity.agents.config.login.url`
    pub login_url: Vec<String>,
    /// `com.sun.identity.agents.config.cdsso.redirect.uri`; begins with `/`
    pub cdsso_redirect_uri: String,
    /// `com.sun.identity.agents.config.redirect.param`
    pub redirect_param: String,
    /// `com.sun.identity.agents.config.agenturi.prefix`
    pub agenturi_prefix: Option<String>,
    /// `sunIdentityServerDeviceKeyValue`: the agent's root URLs
    pub root_urls: Vec<String>,
    /// `com.sun.identity.agents.config.fqdn.default`
    pub fqdn_default: Option<String>,
    /// `com.sun.identity.agents.config.fqdn.mapping`: (incoming, outgoing)
    pub fqdn_mapping: Vec<(String, String)>,
    /// `portcullis.login.callback.null.origin`: accept `Origin: null` on the callback (rule L2)
    pub callback_null_origin: bool,
    /// `portcullis.session.realms`: realms whose users count besides login and policy realm (rule L5)
    pub session_realms: Vec<String>,
    // --- cookies
    /// `com.sun.identity.agents.config.cookie.name`; empty: ask AM
    pub cookie_name: String,
    /// `com.sun.identity.agents.config.cookie.secure`
    pub cookie_secure: bool,
    /// `com.sun.identity.cookie.httponly`
    pub cookie_httponly: bool,
    /// `com.forgerock.agents.cdsso.cookie.samesite`
    pub cookie_samesite: Option<String>,
    /// `com.sun.identity.agents.config.cdsso.cookie.domain`
    pub cookie_domain: Vec<String>,
    /// `com.sun.identity.agents.config.profile.attribute.cookie.maxage`, seconds; also the life of a login
    pub cookie_maxage: u32,
    /// `portcullis.cookies.forward`: let the agent's own cookies reach the back end (rule L4)
    pub cookies_forward: bool,
    /// `com.sun.identity.agents.config.override.protocol`
    pub override_protocol: bool,
    /// `com.sun.identity.agents.config.override.host`
    pub override_host: bool,
    /// `com.sun.identity.agents.config.override.port`
    pub override_port: bool,
    /// `com.sun.identity.agents.config.fqdn.check.enable`
    pub fqdn_check: bool,
    /// `com.forgerock.agents.agent.invalid.url.regex`: what every URL has to match
    pub valid_url: Option<String>,
    /// What rules and policies see of a URL: `com.sun.identity.agents.config.ignore.path.info`,
    /// `portcullis.url.query.sort`, `portcullis.url.query.remove`
    pub view: View,
    /// `portcullis.session.cut.connections`
    pub cut_connections: bool,
    // --- client address
    /// `com.sun.identity.agents.config.client.hostname.header`
    pub client_hostname_header: Option<String>,
    /// `com.sun.identity.agents.config.client.ip.validation.enable`
    pub client_ip_validation: bool,
    /// `com.sun.identity.agents.config.client.ip.validation.reauth`
    pub client_ip_reauth: bool,
    /// `com.sun.identity.agents.config.client.ip.header`
    pub client_ip_header: Option<String>,
    /// `portcullis.trusted.proxies`: whose word about clients counts (rule U2)
    pub trusted_proxies: AddressSet,
    /// `portcullis.node.name`; empty: the machine's
    pub node_name: String,
    // --- monitoring (rule W1)
    /// `portcullis.monitor.enable`
    pub monitor: bool,
    /// `portcullis.monitor.user`
    pub monitor_user: String,
    /// `portcullis.monitor.addresses`; none: this machine's own
    pub monitor_addresses: AddressSet,
    // --- who is let in
    /// `com.sun.identity.agents.config.sso.only`
    pub sso_only: bool,
    /// `portcullis.filter.mode` for all paths that it does not name
    pub filter_mode: Option<FilterMode>,
    /// The same by path
    pub filter_modes: Vec<AtPath<FilterMode>>,
    /// `com.sun.identity.agents.config.notenforced.url`
    pub notenforced_url: Vec<RuleLine>,
    /// `com.sun.identity.agents.config.notenforced.ip`
    pub notenforced_ip: Vec<RuleLine>,
    /// `org.forgerock.agents.config.notenforced.ipurl`
    pub notenforced_ipurl: Vec<RuleLine>,
    /// `org.forgerock.agents.config.notenforced.ext.regex.enable`
    pub notenforced_ext_regex: bool,
    /// `com.forgerock.agents.notenforced.url.regex.enable`
    pub notenforced_url_regex: bool,
    /// `com.sun.identity.agents.config.notenforced.url.attributes.enable`
    pub notenforced_attributes: bool,
    /// `portcullis.notenforced.rule`
    pub notenforced_rules: Vec<RuleLine>,
    /// `portcullis.deny.rule`
    pub deny_rules: Vec<RuleLine>,
    /// `com.sun.identity.agents.config.notenforced.url.invert`
    pub notenforced_invert: bool,
    /// `com.sun.identity.agents.config.ignore.path.info.for.not.enforced.list`
    pub notenforced_ignore_path_info: bool,
    /// `com.sun.identity.agents.config.url.comparison.case.ignore`
    pub case_ignore: bool,
    /// `com.sun.identity.agents.config.policy.clock.skew`, seconds that our clock is ahead of AM's
    pub policy_clock_skew: i32,
    /// `org.forgerock.openam.agents.config.continuous.security.cookies`: (cookie, entry)
    pub continuous_cookies: Vec<(String, String)>,
    /// `org.forgerock.openam.agents.config.continuous.security.headers`: (header, entry)
    pub continuous_headers: Vec<(String, String)>,
    /// `com.sun.identity.agents.config.policy.cache.polling.interval`
    pub policy_cache_interval: u32,
    /// `com.sun.identity.agents.config.sso.cache.polling.interval`
    pub sso_cache_interval: u32,
    /// `com.sun.identity.agents.config.polling.interval`
    pub polling_interval: u32,
    /// `com.sun.identity.agents.config.notification.enable`
    pub notifications: bool,
    /// `org.forgerock.openam.agents.config.balance.websocket.connection.interval.in.minutes`
    pub websocket_interval: u32,
    // --- refusals and outages
    /// `portcullis.strategy.when.am.unavailable`
    pub strategy: Strategy,
    /// `portcullis.autonomous.mode`, or a configuration of fallback mode
    pub rules_only: Option<RulesOnly>,
    /// `com.forgerock.agents.config.fallback.mode`
    pub fallback_mode: bool,
    /// `portcullis.state.dir`; the folder of `agent.conf` without it
    pub state_dir: Option<String>,
    /// `portcullis.config.reload.seconds`; 0: as [`Config::polling_interval`]
    pub reload_seconds: u32,
    /// `portcullis.config.last.known.good.max.age`, minutes; 0: never
    pub known_good_age: u32,
    /// `com.sun.identity.agents.config.access.denied.url`
    pub access_denied_url: Option<String>,
    /// `portcullis.access.denied.url`: (path, page)
    pub access_denied_urls: Vec<(String, String)>,
    /// `portcullis.authn.fail.url`
    pub authn_fail_url: Option<String>,
    /// `portcullis.authn.fail.reason.parameter.name`
    pub authn_fail_parameter: Option<String>,
    /// `portcullis.authn.fail.reason.remapper`: (code, text)
    pub authn_fail_remap: Vec<(String, String)>,
    // --- the form of answers
    /// `org.forgerock.agents.config.json.url`
    pub json_url: Vec<String>,
    /// `org.forgerock.agents.config.json.header`: (header, value)
    pub json_header: Vec<(String, String)>,
    /// `org.forgerock.agents.config.json.url.invert`
    pub json_invert: bool,
    /// `org.forgerock.agents.config.json.response.code`; 0: not set
    pub json_response_code: u32,
    /// `portcullis.json.template`
    pub json_template: Option<String>,
    /// `portcullis.json.content.type`
    pub json_content_type: String,
    /// `portcullis.unauthorized.url`
    pub unauthorized_url: Vec<String>,
    /// `portcullis.unauthorized.header`: (header, value)
    pub unauthorized_header: Vec<(String, String)>,
    /// `portcullis.unauthorized.detect`
    pub unauthorized_detect: bool,
    /// `portcullis.login.reason.parameter.name`
    pub login_reason_parameter: Option<String>,
    /// `portcullis.login.reason.remapper`: (reason, text)
    pub login_reason_remap: Vec<(String, String)>,
    // --- pages
    /// `portcullis.page.template`: (page, HTML); of all pages where the name is empty
    pub page_templates: Vec<(String, String)>,
    /// `com.forgerock.agents.csp.frame.ancestors.none`
    pub frame_ancestors_none: bool,
    /// Sources of `frame-ancestors`, from `com.forgerock.agents.csp.frame.ancestors.sources` and `.none`; empty: the site itself
    pub frame_ancestors: String,
    /// `org.forgerock.agents.config.fragment.redirect.enable`
    pub fragment_redirect: bool,
    /// `portcullis.session.header`
    pub session_header: Option<String>,
    /// `portcullis.authn.exchange.uri`; begins with `/`
    pub exchange_uri: Option<String>,
    /// `portcullis.authn.exchange.cookie.name`; AM's own where empty
    pub exchange_cookie: String,
    // --- login at old servers
    /// `portcullis.login.cdcservlet` (rule L6)
    pub login_cdcservlet: bool,
    /// `com.sun.identity.agents.config.cdsso.cdcservlet.url`
    pub cdcservlet_url: Vec<String>,
    // --- loops and limits
    /// `portcullis.login.loop.limit`; 0: off
    pub login_loop_limit: u8,
    /// `portcullis.login.starts.max` of a client in a minute; 0: off
    pub login_starts_max: u32,
    /// `portcullis.login.tokens.max` of a client in a minute that AM does not know; 0: off
    pub dead_tokens_max: u32,
    // --- identity
    /// `com.sun.identity.agents.config.userid.param`
    pub userid_param: String,
    /// `com.sun.identity.agents.config.userid.param.type`
    pub userid_type: UserIdType,
    /// `com.sun.identity.agents.config.anonymous.user.enable`
    pub anonymous_user: bool,
    /// `com.sun.identity.agents.config.anonymous.user.id`
    pub anonymous_user_id: String,
    /// `com.sun.identity.agents.config.session.attribute.{fetch.mode,mapping}`
    pub session_attributes: AttributeMap,
    /// `com.sun.identity.agents.config.profile.attribute.{fetch.mode,mapping}`
    pub profile_attributes: AttributeMap,
    /// `com.sun.identity.agents.config.response.attribute.{fetch.mode,mapping}`
    pub response_attributes: AttributeMap,
    /// `com.sun.identity.agents.config.attribute.multi.value.separator`
    pub separator: String,
    /// `com.forgerock.agents.header.mime.encode`
    pub mime_encode: MimeEncode,
    /// `com.sun.identity.agents.config.profile.attribute.cookie.prefix`
    pub cookie_prefix: String,
    /// `com.sun.identity.agents.config.encode.cookie.special.chars.enable`
    pub encode_cookie_values: bool,
    /// `com.sun.identity.agents.config.cookie.reset.enable`
    pub cookie_reset_enable: bool,
    /// `com.sun.identity.agents.config.cookie.reset`
    pub cookie_reset: Vec<CookieReset>,
    /// `org.forgerock.agents.config.cdsso.persistent.cookie.enable`
    pub persistent_cookie: bool,
    /// `com.forgerock.agents.jwt.aud.disable`
    pub any_audience: bool,
    /// `com.forgerock.agents.jwt.aud.whitelist`
    pub audiences: Vec<String>,
    // --- logout
    /// `com.sun.identity.agents.config.agent.logout.url`
    pub agent_logout_url: Vec<String>,
    /// `com.sun.identity.agents.config.logout.url`
    pub logout_url: Vec<String>,
    /// `com.sun.identity.agents.config.logout.redirect.url`
    pub logout_redirect_url: Option<String>,
    /// `com.forgerock.agents.config.logout.redirect.disable`
    pub logout_redirect_disable: bool,
    /// `org.forgerock.agents.config.logout.session.invalidate`
    pub logout_session_invalidate: bool,
    /// `org.forgerock.agents.config.logout.regex.enable`
    pub logout_regex: bool,
    /// `com.forgerock.agents.agent.logout.url.regex`
    pub logout_url_regex: Option<String>,
    /// `com.sun.identity.agents.config.logout.cookie.reset`
    pub logout_cookie_reset: Vec<CookieReset>,
    /// `portcullis.logout.url`, by path.
    pub logout_urls: Vec<(String, String)>,
    /// `portcullis.logout.parameter`
    pub logout_parameter: Option<String>,
    // --- POST data
    /// `com.sun.identity.agents.config.postdata.preserve.enable`
    pub post_preserve: bool,
    /// `com.sun.identity.agents.config.postcache.entry.lifetime`, minutes
    pub post_lifetime: u32,
    /// `org.forgerock.agents.config.postdata.preserve.dir`; `pdp-cache` of the instance without it
    pub post_dir: Option<String>,
    /// `org.forgerock.agents.config.skip.post.url`
    pub post_skip: Vec<String>,
    /// `com.sun.identity.agents.config.postdata.preserve.stickysession.mode`
    pub post_sticky: Sticky,
    /// `com.sun.identity.agents.config.postdata.preserve.stickysession.value`: (name, value)
    pub post_sticky_value: Option<(String, String)>,
    /// `portcullis.postdata.body.max`, bytes
    pub post_body_max: u32,
    /// `portcullis.postdata.client.count`
    pub post_client_count: u32,
    /// `portcullis.postdata.client.bytes`
    pub post_client_bytes: u32,
    /// `portcullis.postdata.total.count`
    pub post_total_count: u32,
    /// `portcullis.postdata.total.bytes`
    pub post_total_bytes: u32,
    // --- audit
    /// `com.sun.identity.agents.config.audit.accesstype`
    pub audit_access: AuditAccess,
    /// `com.sun.identity.agents.config.log.disposition`
    pub audit_to: AuditTo,
    /// `com.sun.identity.agents.config.remote.log.interval`, minutes; 0: each second
    pub remote_log_interval: u32,
    /// `com.sun.identity.agents.config.universal.id.param`
    pub universal_id_param: String,
    /// `com.sun.identity.agents.config.universal.id.param.type`
    pub universal_id_type: UserIdType,
    // --- whether decisions are carried out
    /// `portcullis.mode` for all paths that it does not name
    pub mode: Enforcement,
    /// The same by path
    pub modes: Vec<AtPath<Enforcement>>,
    /// `portcullis.mode.until`: when reporting ends, milliseconds since 1970
    pub mode_until: Option<u64>,
    /// `portcullis.shadow.policy.set`
    pub shadow_set: Option<String>,
    /// `portcullis.shadow.policy.realm`
    pub shadow_realm: Option<String>,
    /// `com.sun.identity.agents.config.poll.primary.server`: minutes between looks for the first AM; 0: never
    pub poll_primary: u32,
    // --- what AM said before, while it is away
    /// `portcullis.grace.max` for all paths that it does not name, seconds
    pub grace_max: u32,
    /// The same by path
    pub grace_maxes: Vec<AtPath<u32>>,
    /// `portcullis.grace.methods`
    pub grace_methods: Methods,
    // --- limits of our own
    /// `portcullis.am.deadline`: what one request may spend waiting for AM, milliseconds
    pub am_deadline: u32,
    /// `portcullis.am.calls.max`: calls to AM under way at once, per worker
    pub am_calls_max: u32,
}

impl Config {
    /// What everybody has to bring where no path says otherwise.
    pub(crate) fn filter_mode(&self) -> FilterMode {
        match (self.filter_mode, self.sso_only) {
            (Some(mode), _) => mode,
            (None, true) => FilterMode::SsoOnly,
            (None, false) => FilterMode::UrlPolicy,
        }
    }
}

impl Default for Config {
    /// The documented defaults; the table's rows show the same values and a test compares them.
    fn default() -> Config {
        Config {
            username: String::new(),
            organization_name: "/".to_string(),
            naming_url: vec![],
            repository: Repository::Centralized,
            connect_timeout: 4,
            dialect: Dialect::OpenAm,
            agent_auth: AgentAuth::TreeThenModule,
            receive_timeout: 4,
            forward_proxy_host: None,
            forward_proxy_port: 0,
            forward_proxy_user: None,
            cert_file: None,
            cert_key: None,
            ciphers: vec![],
            tls_versions: TlsVersions::default(),
            cert_verify_depth: 9,
            tls_keylog: false,
            add_amlbcookie: false,
            cert_ca_file: None,
            trust_server_certs: false,
            hostmap: vec![],
            jwt_name: "am-auth-jwt".to_string(),
            policy_realm: "/".to_string(),
            policy_set: "iPlanetAMWebAgentService".to_string(),
            policy_realms: vec![],
            policy_sets: vec![],
            policy_user_realm: false,
            local_logfile: None,
            debug_level: Level::Error,
            local_audit_logfile: None,
            debug_file_size: 0,
            debug_file_rotate: true,
            max_log_files: 0,
            audit_file_size: 52_428_800,
            audit_rotate_hours: 0,
            method_override_checked: true,
            audit_full_url: false,
            record_file: None,
            conditional_login: vec![],
            conditional_pattern: vec![],
            conditional_pattern_urls: vec![],
            login_headers: vec![],
            login_parameters: vec![],
            advice_redirect: false,
            advice_encode: false,
            multivalue_pre_authn: false,
            public_am_url: None,
            allow_custom_login: 0,
            accept_sso_token: false,
            login_url: vec![],
            cdsso_redirect_uri: "/agent/cdsso-oauth2".to_string(),
            redirect_param: "goto".to_string(),
            agenturi_prefix: None,
            root_urls: vec![],
            fqdn_default: None,
            fqdn_mapping: vec![],
            callback_null_origin: false,
            session_realms: vec![],
            cookie_name: "iPlanetDirectoryPro".to_string(),
            cookie_secure: false,
            cookie_httponly: true,
            cookie_samesite: None,
            cookie_domain: vec![],
            cookie_maxage: 300,
            cookies_forward: false,
            override_protocol: false,
            override_host: false,
            override_port: false,
            fqdn_check: false,
            valid_url: None,
            view: View::default(),
            cut_connections: false,
            client_hostname_header: None,
            client_ip_validation: false,
            client_ip_reauth: false,
            client_ip_header: None,
            trusted_proxies: AddressSet::default(),
            node_name: String::new(),
            monitor: false,
            monitor_user: "monitor".to_string(),
            monitor_addresses: AddressSet::default(),
            sso_only: false,
            filter_mode: None,
            filter_modes: vec![],
            notenforced_url: vec![],
            notenforced_ip: vec![],
            notenforced_ipurl: vec![],
            notenforced_ext_regex: false,
            notenforced_url_regex: false,
            notenforced_attributes: false,
            notenforced_rules: vec![],
            deny_rules: vec![],
            notenforced_invert: false,
            notenforced_ignore_path_info: true,
            case_ignore: true,
            policy_clock_skew: 0,
            continuous_cookies: vec![],
            continuous_headers: vec![],
            policy_cache_interval: 3,
            sso_cache_interval: 3,
            polling_interval: 60,
            notifications: true,
            websocket_interval: 30,
            strategy: Strategy::Cache503,
            rules_only: None,
            fallback_mode: false,
            state_dir: None,
            reload_seconds: 0,
            known_good_age: 1440,
            access_denied_url: None,
            access_denied_urls: vec![],
            authn_fail_url: None,
            authn_fail_parameter: None,
            authn_fail_remap: vec![],
            json_url: vec![],
            json_header: vec![],
            json_invert: false,
            json_response_code: 0,
            json_template: None,
            json_content_type: "application/json".to_string(),
            unauthorized_url: vec![],
            unauthorized_header: vec![],
            unauthorized_detect: true,
            page_templates: vec![],
            frame_ancestors_none: false,
            frame_ancestors: String::new(),
            fragment_redirect: false,
            session_header: None,
            exchange_uri: None,
            exchange_cookie: String::new(),
            login_cdcservlet: false,
            cdcservlet_url: vec![],
            login_loop_limit: 5,
            login_starts_max: 600,
            dead_tokens_max: 300,
            login_reason_parameter: None,
            login_reason_remap: vec![],
            userid_param: "UserToken".to_string(),
            userid_type: UserIdType::Session,
            anonymous_user: false,
            anonymous_user_id: "anonymous".to_string(),
            session_attributes: AttributeMap::default(),
            profile_attributes: AttributeMap::default(),
            response_attributes: AttributeMap::default(),
            separator: "|".to_string(),
            mime_encode: MimeEncode::NonAscii,
            cookie_prefix: "HTTP_".to_string(),
            encode_cookie_values: false,
            cookie_reset_enable: false,
            cookie_reset: vec![],
            persistent_cookie: false,
            any_audience: false,
            audiences: vec![],
            agent_logout_url: vec![],
            logout_url: vec![],
            logout_redirect_url: None,
            logout_redirect_disable: true,
            logout_session_invalidate: true,
            logout_regex: false,
            logout_url_regex: None,
            logout_cookie_reset: vec![],
            logout_urls: vec![],
            logout_parameter: None,
            post_preserve: false,
            post_lifetime: 10,
            post_dir: None,
            post_skip: vec![],
            post_sticky: Sticky::None,
            post_sticky_value: None,
            post_body_max: 10_485_760,
            post_client_count: 20,
            post_client_bytes: 104_857_600,
            post_total_count: 1000,
            post_total_bytes: 1_073_741_824,
            audit_access: AuditAccess::None,
            audit_to: AuditTo::Remote,
            remote_log_interval: 5,
            universal_id_param: "universalId".to_string(),
            universal_id_type: UserIdType::Session,
            mode: Enforcement::Enforce,
            modes: vec![],
            mode_until: None,
            shadow_set: None,
            shadow_realm: None,
            poll_primary: 5,
            grace_max: 0,
            grace_maxes: vec![],
            grace_methods: Methods::GET_AND_HEAD,
            am_deadline: 4000,
            am_calls_max: 32,
        }
    }
}

//! Reads what oauth2-proxy is told: its configuration file, its environment, or its command line.
//!
//! Options have one name here, with underscores and without the plural that lists have in the file.

use anyhow::{Result, bail};

use super::{
    At, CA_FILE, COOKIE_DOMAIN, COOKIE_HTTPONLY, COOKIE_SECURE, Migration, SAME_SITE, SSO_ONLY,
};

const EXEMPT: &str = "com.sun.identity.agents.config.notenforced.url";
const REGEX: &str = "com.forgerock.agents.notenforced.url.regex.enable";
const EXEMPT_IP: &str = "com.sun.identity.agents.config.notenforced.ip";
const IP_HEADER: &str = "com.sun.identity.agents.config.client.ip.header";
const PROXIES: &str = "portcullis.trusted.proxies";

/// An option with its values.
struct Setting {
    at: At,
    values: Vec<String>,
}

/// Reads one file.
///
/// # Errors
/// It is in none of the three forms.
pub(super) fn file(found: &mut Migration, file: &str, text: &str) -> Result<()> {
    let settings = match of_toml(file, text) {
        Some(settings) => settings,
        None => of_words(file, text),
    };
    if settings.is_empty() {
        bail!(
            "{file} holds no setting of oauth2-proxy: a configuration file, lines of OAUTH2_PROXY_…=…, or its \
             command line is expected"
        );
    }
    let has = |name: &str| settings.iter().find(|s| s.at.name == name);
    for setting in &settings {
        take(found, setting);
    }
    // Who may log in may come in, unless something says more.
    let everybody = |s: &Setting| s.values.iter().all(|v| v == "*");
    let restricted = ["allowed_group", "allowed_role", "authenticated_emails_file"];
    let restricted = restricted.iter().any(|name| has(name).is_some());
    match has("email_domain") {
        Some(domains) if everybody(domains) && !restricted => {
            found.set(&domains.at, SSO_ONLY, "true");
        }
        _ => {
            let at = At::new(file, 0, "who may come in");
            found.by_hand(&at, "the agent asks AM's policies for each URL: make them, or set com.sun.identity.agents.config.sso.only to let in whoever can log in");
        }
    }
    if has("pass_user_headers").is_none_or(|s| s.is_true()) && has("upstream").is_some() {
        let at = At::new(file, 0, "pass_user_headers");
        for (claim, header) in [("user", "X-Forwarded-User"), ("email", "X-Forwarded-Email")] {
            found.header(&at, claim, header);
        }
    }
    Ok(())
}

impl Setting {
    fn is_true(&self) -> bool {
        self.first() == "true" || self.first() == "1"
    }

    fn first(&self) -> &str {
        self.values.first().map_or("", String::as_str)
    }
}

/// One option.
fn take(found: &mut Migration, setting: &Setting) {
    let (at, first) = (&setting.at, setting.first());
    match at.name.as_str() {
        "oidc_issuer_url" | "login_url" => found.am(at, first),
        "redirect_url" => match first.contains("://") {
            true => found.site(at, first),
            false => found.by_hand(at, "a path without a host: set sunIdentityServerDeviceKeyValue[0], agenturi.prefix and fqdn.default yourself"),
        },
        "provider" if first == "oidc" => found.without(at, "the agent logs users in at AM only"),
        "provider" => found.by_hand(at, "the users of this provider have to be AM's, or AM has to log them in there"),
        "cookie_domain" => setting.values.iter().for_each(|domain| found.add(at, COOKIE_DOMAIN, None, domain)),
        "cookie_secure" => found.set(at, COOKIE_SECURE, first),
        "cookie_httponly" => found.set(at, COOKIE_HTTPONLY, first),
        "cookie_samesite" => match first {
            "lax" => found.set(at, SAME_SITE, "Lax"),
            "strict" => found.set(at, SAME_SITE, "Strict"),
            "none" => found.set(at, SAME_SITE, "None"),
            _ => found.without(at, "the agent writes no SameSite either unless told to"),
        },
        "skip_auth_route" | "skip_auth_regex" => setting.values.iter().for_each(|route| exempt(found, at, route)),
        "skip_auth_preflight" if setting.is_true() => {
            found.set(at, REGEX, "true");
            found.add(at, EXEMPT, Some("OPTIONS"), "/.*");
        }
        "trusted_ip" => setting.values.iter().for_each(|ip| found.add(at, EXEMPT_IP, None, ip)),
        "trusted_proxy_ip" => setting.values.iter().for_each(|ip| found.add(at, PROXIES, None, ip)),
        "real_client_ip_header" => found.set(at, IP_HEADER, first),
        "reverse_proxy" if setting.is_true() => found.by_hand(at, "name the proxies in portcullis.trusted.proxies: nobody else's X-Forwarded headers count"),
        "provider_ca_file" => match setting.values.as_slice() {
            [one] => found.set(at, CA_FILE, one),
            _ => found.by_hand(at, "put the certificates into one file, and name it in com.forgerock.agents.config.cert.ca.file"),
        },
        "ssl_insecure_skip_verify" if setting.is_true() => found.by_hand(at, "not taken over: without it anybody on the way can pose as AM; name AM's authority in com.forgerock.agents.config.cert.ca.file"),
        "api_route" => found.by_hand(at, "the agent answers 401 by itself to what no person sees; more of them by portcullis.unauthorized.url, as URL patterns"),
        "email_domain" if setting.values.iter().all(|v| v == "*") => {}
        "email_domain" | "authenticated_emails_file" | "allowed_group" | "allowed_role" => found.by_hand(at, "make policies in AM that say who may come in"),
        "set_xauthrequest" if setting.is_true() => found.by_hand(at, "give --nginx: where X-Auth-Request-… is handed on there, the agent sets the headers itself"),
        "whitelist_domain" => found.by_hand(at, "redirects lead to the site itself only; other host names of it belong into com.sun.identity.agents.config.fqdn.mapping"),
        name => match reason(name) {
            Some(why) => found.without(at, why),
            None => found.by_hand(at, "not known here: look whether anything depends on it"),
        },
    }
}

/// A route that needs no login: a regular expression, in front of it a method.
fn exempt(found: &mut Migration, at: &At, route: &str) {
    let (method, pattern) = match route.split_once('=') {
        Some((method, _)) if method.ends_with('!') => {
            return found.by_hand(
                at,
                &format!("{route}: all methods but one; name the others in {EXEMPT}[METHOD,n]"),
            );
        }
        Some((method, rest))
            if !method.is_empty() && method.bytes().all(|b| b.is_ascii_alphabetic()) =>
        {
            (Some(method), rest)
        }
        _ => (None, route),
    };
    // Theirs may be found anywhere in the path, ours is about all of it.
    let Some(rest) = pattern.strip_prefix("^/") else {
        return found.by_hand(at, &format!("{route}: found anywhere in a path, so it exempts more than it seems to; say which paths in {EXEMPT}"));
    };
    if has_free_alternative(rest) {
        return found.by_hand(
            at,
            &format!(
                "{route}: only one of its alternatives begins with ^; say which paths in {EXEMPT}"
            ),
        );
    }
    let whole = match rest.strip_suffix('$') {
        Some(rest) if !rest.ends_with('\\') => format!("/{rest}"),
        _ => format!("/{rest}.*"),
    };
    found.set(at, REGEX, "true");
    found.add(at, EXEMPT, method, &whole);
}

/// A `|` outside of brackets: what stands behind it has an anchor of its own, or none.
fn has_free_alternative(pattern: &str) -> bool {
    let (mut depth, mut escaped) = (0i32, false);
    for c in pattern.chars() {
        match c {
            _ if std::mem::take(&mut escaped) => {}
            '\\' => escaped = true,
            '(' | '[' => depth += 1,
            ')' | ']' => depth -= 1,
            '|' if depth <= 0 => return true,
            _ => {}
        }
    }
    false
}

/// Why an option has no counterpart.
fn reason(name: &str) -> Option<&'static str> {
    Some(match name {
        "client_id"
        | "client_secret"
        | "client_secret_file"
        | "scope"
        | "oidc_jwks_url"
        | "redeem_url"
        | "profile_url"
        | "validate_url"
        | "skip_oidc_discovery"
        | "code_challenge_method"
        | "oidc_email_claim"
        | "oidc_groups_claim"
        | "user_id_claim" => {
            "it is of the OAuth 2.0 client; the agent has a profile and a password of its own, and asks AM itself"
        }
        "cookie_secret" | "cookie_secret_file" => "the agent seals with the key in agent-key.conf",
        "cookie_name" | "cookie_path" | "cookie_csrf_per_request" | "cookie_csrf_expire" => {
            "the agent's cookies have names and lives of their own"
        }
        "cookie_expire" | "cookie_refresh" => {
            "AM ends sessions: set the times of the realm's sessions there"
        }
        "upstream" | "http_address" | "https_address" | "tls_cert_file" | "tls_key_file"
        | "proxy_prefix" | "pass_host_header" | "proxy_websockets" | "flush_interval"
        | "ping_path" | "metrics_address" | "upstream_timeout" => {
            "the agent is in the web server, which is the proxy itself"
        }
        "pass_user_headers"
        | "set_xauthrequest"
        | "reverse_proxy"
        | "ssl_insecure_skip_verify"
        | "skip_auth_preflight"
        | "skip_provider_button"
        | "provider_display_name"
        | "prompt" => "that is how the agent is",
        "pass_access_token"
        | "pass_authorization_header"
        | "set_authorization_header"
        | "pass_basic_auth"
        | "set_basic_auth"
        | "basic_auth_password" => {
            "the application gets headers with attributes from the agent, and no tokens or passwords"
        }
        "skip_jwt_bearer_tokens" | "extra_jwt_issuer" => "the agent takes no bearer tokens",
        "custom_templates_dir" | "banner" | "footer" | "custom_sign_in_logo" => {
            "AM shows the login page"
        }
        _ if name.starts_with("redis_") || name.starts_with("session_") => {
            "sessions are kept in memory that the workers share, and in AM"
        }
        _ if name.contains("logging") || name == "silence_ping_logging" => {
            "the agent has logs of its own: docs/log-codes.md"
        }
        _ => return None,
    })
}

/// The configuration file, which is TOML; `None` when this is none.
fn of_toml(file: &str, text: &str) -> Option<Vec<Setting>> {
    let table: toml::Table = text.parse().ok()?;
    let mut settings: Vec<Setting> = (table.iter())
        .map(|(name, value)| Setting {
            at: At::new(file, line_of(text, name), &singular(name)),
            values: match value {
                toml::Value::Array(all) => all.iter().map(plain).collect(),
                one => vec![plain(one)],
            },
        })
        .collect();
    settings.retain(|s| !s.at.name.starts_with("oauth2_proxy_"));
    settings.sort_by_key(|s| s.at.line);
    Some(settings).filter(|all| !all.is_empty())
}

fn plain(value: &toml::Value) -> String {
    match value {
        toml::Value::String(text) => text.clone(),
        toml::Value::Boolean(switch) => switch.to_string(),
        toml::Value::Integer(number) => number.to_string(),
        // No option has another form.
        _ => String::new(),
    }
}

fn line_of(text: &str, name: &str) -> usize {
    let begins = |line: &str| {
        line.trim_start()
            .strip_prefix(name)
            .is_some_and(|rest| rest.trim_start().starts_with('='))
    };
    text.lines().position(begins).map_or(0, |at| at + 1)
}

/// Lines of the environment, or words of a command line, also over several lines.
fn of_words(file: &str, text: &str) -> Vec<Setting> {
    let mut settings: Vec<Setting> = Vec::new();
    let mut add = |line: usize, name: &str, value: &str| {
        let name = singular(&name.to_ascii_lowercase().replace('-', "_"));
        let value = value.trim_matches(['"', '\'']).to_owned();
        match settings.iter_mut().find(|s| s.at.name == name) {
            Some(known) => known.values.push(value),
            None => settings.push(Setting {
                at: At::new(file, line, &name),
                values: vec![value],
            }),
        }
    };
    for (number, line) in (1..).zip(text.lines()) {
        let line = line
            .trim()
            .trim_start_matches("- ")
            .trim_start_matches("export ");
        if line.starts_with('#') {
            continue;
        }
        if let Some((name, value)) = line
            .strip_prefix("OAUTH2_PROXY_")
            .and_then(|l| l.split_once(['=', ':']))
        {
            value
                .trim()
                .split(',')
                .for_each(|value| add(number, name, value.trim()));
            continue;
        }
        let mut words = line
            .split_whitespace()
            .map(|w| w.trim_matches(['"', '\'', ',']))
            .peekable();
        while let Some(word) = words.next() {
            let Some(flag) = word.strip_prefix("--").or_else(|| word.strip_prefix('-')) else {
                continue;
            };
            match flag.split_once('=') {
                Some((name, value)) => add(number, name, value),
                None if flag.is_empty() || flag == "\\" => {}
                None => match words.next_if(|next| !next.starts_with('-') && *next != "\\") {
                    Some(value) => add(number, flag, value),
                    None => add(number, flag, "true"),
                },
            }
        }
    }
    settings
}

/// Lists have a plural in the configuration file, and none on the command line.
fn singular(name: &str) -> String {
    const LISTS: [&str; 15] = [
        "email_domains",
        "upstreams",
        "skip_auth_routes",
        "allowed_groups",
        "allowed_roles",
        "cookie_domains",
        "trusted_ips",
        "trusted_proxy_ips",
        "whitelist_domains",
        "api_routes",
        "provider_ca_files",
        "scopes",
        "extra_jwt_issuers",
        "redis_sentinel_connection_urls",
        "redis_cluster_connection_urls",
    ];
    match LISTS.contains(&name) {
        true => name[..name.len() - 1].to_owned(),
        false => name.to_owned(),
    }
}

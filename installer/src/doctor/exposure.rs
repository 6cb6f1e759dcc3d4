//! What does the configuration let through that somebody may not expect?

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use portcullis_engine::config::{self, Enforcement, RulesOnly};

use super::{check::Finding, patient::Patient};

/// Rule O5: nothing is refused while decisions are only reported.
pub(crate) fn report_mode(patient: &mut Patient) -> Finding {
    let Some(config) = patient.in_force() else {
        return Finding::skipped("the configuration is not known");
    };
    if !config.uses(Enforcement::Report) {
        return Finding::ok("decisions are carried out");
    }
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    let until = config.mode_until.map(Duration::from_millis);
    if let (Ok(now), Some(until)) = (now, until)
        && until <= now
    {
        return Finding::ok("the time for reporting is over: decisions are carried out");
    }
    Finding::not_ok(
        format!(
            "decisions are reported, not carried out: {}",
            config.reported().join(", ")
        ),
        "portcullis.mode = enforce, once what the audit log says is what is wanted",
    )
}

/// What counts while AM is away.
pub(crate) fn outage(patient: &mut Patient) -> Finding {
    let Some(config) = patient.in_force() else {
        return Finding::skipped("the configuration is not known");
    };
    let mut lines = Vec::new();
    if config.grace_max > 0 || !config.grace_maxes.is_empty() {
        let most = config
            .grace_maxes
            .iter()
            .map(|m| m.value)
            .chain([config.grace_max])
            .max();
        lines.push(format!(
            "portcullis.grace.max: for up to {} s what AM allowed before still counts",
            most.unwrap_or_default()
        ));
    }
    if config.fallback_mode {
        lines.push(
            "fallback.mode: before AM was ever reached, the exemptions of agent.conf count".into(),
        );
    }
    if config.known_good_age > 0 {
        lines.push(format!(
            "portcullis.config.last.known.good.max.age: a profile of up to {} min ago counts",
            config.known_good_age
        ));
    }
    if config.rules_only == Some(RulesOnly::Autonomous) {
        lines.push(
            "portcullis.autonomous.mode: AM is never asked, the rules of agent.conf decide".into(),
        );
    }
    lines.push(format!(
        "portcullis.strategy.when.am.unavailable: {}",
        config.strategy.word()
    ));
    Finding::ok("what counts while AM is away").all(lines)
}

/// What needs no login (rule U5).
pub(crate) fn exemptions(patient: &mut Patient) -> Finding {
    let Some(config) = patient.in_force() else {
        return Finding::skipped("the configuration is not known");
    };
    let lists = [
        ("notenforced.url", &config.notenforced_url),
        ("notenforced.ip", &config.notenforced_ip),
        ("notenforced.ipurl", &config.notenforced_ipurl),
        ("portcullis.notenforced.rule", &config.notenforced_rules),
    ];
    let count: usize = lists.iter().map(|(_, list)| list.len()).sum();
    if config.notenforced_invert && config.notenforced_url.is_empty() {
        return Finding::not_ok(
            "the list of exemptions is inverted and empty",
            "com.sun.identity.agents.config.notenforced.url: name what needs a login, or \
             notenforced.url.invert = false",
        );
    }
    let whole = |rule: &str| {
        let path = rule.split_once("://").map_or(rule, |(_, rest)| {
            rest.find('/').map_or("/", |at| &rest[at..])
        });
        matches!(
            path,
            "*" | "/*" | "/**" | "*?*" | "/*?*" | "-*-" | ".*" | "^.*$" | "^/.*" | "^/.*$"
        )
    };
    let wide = config
        .notenforced_url
        .iter()
        .filter(|_| !config.notenforced_invert)
        .find(|line| whole(&line.value));
    if let Some(line) = wide {
        return Finding::not_ok(
            format!("the exemption {} is every URL", line.value),
            "com.sun.identity.agents.config.notenforced.url: only what everybody may see",
        );
    }
    let logout = config.agent_logout_url.iter().find(|url| whole(url));
    if let Some(url) = logout {
        return Finding::not_ok(
            format!("the logout page {url} is every URL, and a logout page needs no login"),
            "com.sun.identity.agents.config.agent.logout.url: only the pages that end a session",
        );
    }
    Finding::ok(format!("{count} rules say what needs no login"))
}

/// Whether redirect address, cookie domain, SameSite and scheme agree.
pub(crate) fn urls(patient: &mut Patient) -> Finding {
    let Some(config) = patient.in_force() else {
        return Finding::skipped("the configuration is not known");
    };
    let roots: Vec<String> = config
        .root_urls
        .iter()
        .chain(&config.agenturi_prefix)
        .cloned()
        .collect();
    let public: Vec<String> = config
        .public_am_url
        .iter()
        .chain(&config.naming_url)
        .cloned()
        .collect();
    let https = |url: &String| url.starts_with("https://");
    let host = |url: &str| -> String {
        let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
        let authority = rest.split('/').next().unwrap_or_default();
        authority
            .split(':')
            .next()
            .unwrap_or_default()
            .to_ascii_lowercase()
    };
    let insecure = roots.iter().find(|url| !https(url));
    let none = config
        .cookie_samesite
        .as_deref()
        .is_some_and(|s| s.eq_ignore_ascii_case("none"));
    if none && !config.cookie_secure {
        return Finding::not_ok(
            "SameSite=None without Secure: browsers throw such cookies away",
            "com.sun.identity.agents.config.cookie.secure = true, or another com.forgerock.agents.cdsso.cookie.samesite",
        );
    }
    if let (true, Some(url)) = (config.cookie_secure, insecure) {
        return Finding::not_ok(
            format!("cookies are Secure, and {url} is http: browsers do not send them there"),
            "com.sun.identity.agents.config.cookie.secure = false for http, or https in the agent's URLs",
        );
    }
    for domain in &config.cookie_domain {
        let bare = domain.trim_start_matches('.').to_ascii_lowercase();
        let outside = roots.iter().find(|url| {
            let host = host(url);
            host != bare && !host.ends_with(&format!(".{bare}"))
        });
        if let Some(url) = outside {
            return Finding::not_ok(
                format!("the cookie domain {domain} is none of {url}: browsers refuse the cookie"),
                "com.sun.identity.agents.config.cdsso.cookie.domain: a domain that the agent's hosts are in",
            );
        }
    }
    if let (Some(first), Some(named)) = (roots.first(), &config.fqdn_default)
        && config.fqdn_check
        && !roots
            .iter()
            .any(|url| host(url) == named.to_ascii_lowercase())
    {
        return Finding::not_ok(
            format!("fqdn.default is {named}, and AM sends browsers back to {first} only"),
            "com.sun.identity.agents.config.fqdn.default, or the agent's root URLs in its profile",
        );
    }
    let mixed = roots.iter().any(https) && public.iter().any(|url| !https(url));
    let note = mixed.then(|| "note: the site is https and AM is reached by http".to_owned());
    let what = match roots.is_empty() {
        true => "no root URL is known".to_owned(),
        false => format!("{} with {}", roots.join(", "), config.cdsso_redirect_uri),
    };
    Finding::ok(format!("browsers come back to {what}")).all(note)
}

/// Rule K1: the nodes of a farm have one key.
pub(crate) fn farm_key(patient: &mut Patient) -> Finding {
    let Some(start) = &patient.start else {
        return Finding::skipped("the key is not known");
    };
    let own = fingerprint(start.secrets.agent_key.expose());
    match &patient.wish.key {
        None => Finding::ok(format!("fingerprint {own}; doctor --key compares it")),
        Some(other) if other.trim().eq_ignore_ascii_case(&own) => {
            Finding::ok(format!("fingerprint {own}, as wished"))
        }
        Some(other) => Finding::not_ok(
            format!("fingerprint {own}, wished for {}", other.trim()),
            "com.sun.identity.agents.config.key in agent-key.conf: the same on all nodes of the farm; \
             agent-password.conf belongs to it",
        ),
    }
}

/// Of 32 random bytes 64 bits of a digest tell nothing.
fn fingerprint(key: &[u8]) -> String {
    config::fingerprint(&[b"portcullis farm key ".as_slice(), key].concat())
}

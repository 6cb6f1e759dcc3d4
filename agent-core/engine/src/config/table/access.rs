//! Rows about who is let in without a session, which URL is meant, and what AM is asked.

use super::{From, Kind::*, Property, idle, later, refused, works};

#[rustfmt::skip]
pub(super) const NOT_ENFORCED: &[Property] = &[
    works("com.sun.identity.agents.config.notenforced.url", List, "", "4.x",
        "URL patterns that need no session: * for anything, -*- for one level of the path. [METHOD,n] limits a pattern to one method.",
        |c, v| v.exempt(&mut c.notenforced_url)).test("exemptions_in_all_forms"),
    works("com.sun.identity.agents.config.notenforced.url.invert", Switch, "false", "4.x",
        "Protect only the listed URLs.",
        |c, v| v.switch(&mut c.notenforced_invert)),
    works("com.sun.identity.agents.config.ignore.path.info.for.not.enforced.list", Switch, "true", "4.x",
        "Compare patterns without query and path info, so that /page.html/x.gif does not pass for a picture.",
        |c, v| v.switch(&mut c.notenforced_ignore_path_info)),
    refused("com.forgerock.agents.notenforced.url.regex.enable", Switch, "false", "4.x",
        "Read the patterns as regular expressions.", "they would be read as wildcards and exempt other URLs"),
    later("com.sun.identity.agents.config.notenforced.ip", List, "", "4.x",
        "Client addresses, ranges and networks that need no session."),
    later("org.forgerock.agents.config.notenforced.ipurl", List, "", "4.x",
        "Addresses and URLs that are exempt together: addresses|patterns."),
    later("org.forgerock.agents.config.notenforced.ext.regex.enable", Switch, "false", "4.x",
        "Read the patterns of the two lists of addresses as regular expressions."),
    later("com.sun.identity.agents.config.notenforced.url.attributes.enable", Switch, "false", "4.x",
        "Pass a user's attributes on exempt URLs too."),
    later("com.forgerock.agents.config.fallback.mode", Switch, "false", "4.x",
        "Keep the exemptions of agent.conf open when AM could never be asked for the profile.").boot(),
];

#[rustfmt::skip]
pub(super) const URLS: &[Property] = &[
    works("com.sun.identity.agents.config.fqdn.default", Text, "", "4.x",
        "The host name that users shall use.",
        |c, v| v.host(&mut c.fqdn_default)).template("AM_AGENT_FQDN").test("a_host_that_is_not_named_leads_to_the_default_one"),
    works("com.sun.identity.agents.config.fqdn.mapping", Map, "", "4.x",
        "Other host names: [incoming]=outgoing. Redirects may lead to the outgoing ones.",
        |c, v| v.hosts(&mut c.fqdn_mapping)).test("a_host_that_is_not_named_leads_to_the_default_one"),
    later("com.sun.identity.agents.config.fqdn.check.enable", Switch, "false", "4.x",
        "Send users of other host names to the default one."),
    works("com.sun.identity.agents.config.url.comparison.case.ignore", Switch, "true", "4.x",
        "Compare URLs without regard to case.",
        |c, v| v.switch(&mut c.case_ignore)).test("case_counts_only_where_it_is_told_to"),
    refused("com.forgerock.agents.agent.invalid.url.regex", Text, "", "4.x",
        "Regular expression of URLs that are valid; others get 403.", "URLs that it forbids would be served"),
    later("com.sun.identity.agents.config.encode.url.special.chars.enable", Switch, "false", "4.x",
        "Percent-encode special characters before AM is asked about a URL."),
    later("com.sun.identity.agents.config.ignore.path.info", Switch, "false", "4.x",
        "Leave path info out of URLs altogether."),
    idle("com.forgerock.agents.no.remoteuser.module.compatibility", Text, "", "5.9",
        "Exempt URLs on which httpd's own authentication may work.",
        "httpd's own authentication works on exempt URLs anyway"),
];

#[rustfmt::skip]
pub(super) const CLIENT: &[Property] = &[
    works("com.sun.identity.agents.config.client.ip.header", Text, "", "4.x",
        "Request header with the client's address, as in X-Forwarded-For. It counts behind portcullis.trusted.proxies only; without them the address is unknown.",
        |c, v| v.header(&mut c.client_ip_header)).test("a_client_does_not_choose_its_address"),
    later("com.sun.identity.agents.config.client.hostname.header", Text, "", "4.x",
        "Request header with the client's host name."),
    refused("com.sun.identity.agents.config.client.ip.validation.enable", Switch, "false", "4.x",
        "Sessions count only from the address that they were begun from.", "sessions would count from everywhere"),
    later("com.sun.identity.agents.config.client.ip.validation.reauth", Switch, "false", "2024.3",
        "Log users in again, rather than answer 403, when their address changes."),
    later("com.sun.identity.agents.config.get.client.host.name", Switch, "false", "4.x",
        "Look up the client's host name for policies."),
];

#[rustfmt::skip]
pub(super) const POLICY: &[Property] = &[
    works("com.sun.identity.agents.config.sso.only", Switch, "false", "4.x",
        "A session is enough; AM is not asked about URLs.",
        |c, v| v.switch(&mut c.sso_only)).test("a_session_is_enough_where_nobody_asks_for_policies"),
    works("org.forgerock.openam.agents.config.policy.evaluation.realm", Text, "/", "4.x",
        "Realm of the policies.",
        |c, v| v.realm(&mut c.policy_realm)).boot().from(From::FileFirst).test("policies_are_those_of_the_configured_realm_and_set"),
    works("org.forgerock.openam.agents.config.policy.evaluation.application", Text, "iPlanetAMWebAgentService", "4.x",
        "Policy set in that realm.",
        |c, v| v.text(&mut c.policy_set)).boot().from(From::FileFirst).test("policies_are_those_of_the_configured_realm_and_set"),
    works("com.sun.identity.agents.config.policy.cache.polling.interval", Number, "3", "4.x",
        "Minutes that AM's decision about a URL is kept.",
        |c, v| v.number(&mut c.policy_cache_interval, 0, 525_600, "minutes")).test("a_decision_is_kept_for_its_interval"),
    works("com.sun.identity.agents.config.sso.cache.polling.interval", Number, "3", "4.x",
        "Minutes that AM's answer about a session is kept.",
        |c, v| v.number(&mut c.sso_cache_interval, 0, 525_600, "minutes")).test("a_session_that_ended_at_am_is_asked_about_again"),
    later("com.sun.identity.agents.config.access.denied.url", Text, "", "4.x",
        "Page for refused requests; without it the agent answers 403 itself."),
    later("com.forgerock.agents.call.session.refresh", Switch, "false", "5.7",
        "With sso.only, tell AM about users' activity so that their sessions stay alive."),
    later("com.sun.identity.agents.config.policy.clock.skew", Number, "0", "4.x",
        "Seconds that this machine's clock is ahead of AM's."),
    idle("com.sun.identity.agents.config.fetch.from.root.resource", Switch, "false", "4.x",
        "Ask for all URLs of a host at once.", "answers are kept for exact URLs only"),
    later("org.forgerock.openam.agents.config.continuous.security.cookies", Map, "", "5.0",
        "Cookies whose values conditions of policies may look at: [cookie]=name."),
    later("org.forgerock.openam.agents.config.continuous.security.headers", Map, "", "5.0",
        "Request headers whose values conditions of policies may look at: [header]=name."),
];

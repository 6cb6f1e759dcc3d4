//! Rows about the agent's own answers, preserved POSTs, load balancers, audit and logs.

use super::{From, Kind::*, Property, idle, works};
use alloc::string::{String, ToString};

use crate::config::{AuditAccess, AuditTo, Sticky, UserIdType, web};

#[rustfmt::skip]
pub(super) const RESPONSES: &[Property] = &[
    idle("com.forgerock.agents.cache_control_header.enable", Switch, "false", "4.x",
        "Forbid caches to keep the agent's redirects and pages.",
        "they are never to be kept, whatever it says").test("each_strategy_lets_through_what_it_says"),
    works("com.forgerock.agents.csp.frame.ancestors.none", Switch, "0", "2025.3",
        "1: the agent's pages may not be framed at all, whatever sources are named.",
        |c, v| {
            v.switch(&mut c.frame_ancestors_none);
            if c.frame_ancestors_none {
                c.frame_ancestors = "'none'".to_string();
            }
        }).boot().test("pages_say_who_may_frame_them"),
    works("com.forgerock.agents.csp.frame.ancestors.sources", Text, "", "2025.3",
        "Sites that may frame the agent's pages, separated by white space: 'self', https:, https://*.example.com:*. Without it, the site itself.",
        |c, v| {
            let mut sources = String::new();
            v.checked(&mut sources, ancestors, "is no list of sources", "write sources as in 'self' https://portal.example.com");
            if !c.frame_ancestors_none {
                c.frame_ancestors = sources;
            }
        }).boot().test("pages_say_who_may_frame_them"),
    works("org.forgerock.agents.config.json.url", List, "", "4.x",
        "URL patterns of programs that get JSON in place of redirects and pages. What a redirect leads to stands in the body.",
        |c, v| v.patterns(&mut c.json_url, "answers everything in JSON, and nobody is sent to log in")).test("programs_get_json_where_they_are_listed"),
    works("org.forgerock.agents.config.json.header", Map, "", "4.x",
        "Request headers of such programs: [header]=value, compared without case.",
        |c, v| v.map(&mut c.json_header, header_name, "write [X-Requested-With]=XMLHttpRequest")).test("programs_get_json_where_they_are_listed"),
    works("org.forgerock.agents.config.json.url.invert", Switch, "false", "4.x",
        "All but the listed ones get JSON. Where nothing is listed, nobody does.",
        |c, v| v.switch(&mut c.json_invert)).test("json_for_all_but_the_listed_ones"),
    works("org.forgerock.agents.config.json.response.code", Number, "", "4.x",
        "Status of JSON that stands for a redirect, 200 to 299 or 400 to 599; the real one stands in the body. Without it, 401 where a login is needed, 200 for a logout, 403 otherwise. Refusals keep their status.",
        |c, v| {
            let mut code = 0;
            v.number(&mut code, 200, 599, "an HTTP answer");
            match (code, v.last()) {
                (300..400, Some(line)) => v.wrong(line, "is a redirect", "write 202, or another status below 300 or from 400"),
                _ => c.json_response_code = code,
            }
        }).test("programs_get_json_where_they_are_listed"),
];

/// Sources of `frame-ancestors` (CSP 3, 2.3.1), as far as the Web Agent takes them.
fn ancestors(text: &str) -> bool {
    text.split_ascii_whitespace().all(|source| {
        let rest = source
            .strip_prefix("https://")
            .or_else(|| source.strip_prefix("http://"))
            .unwrap_or(source);
        let end = rest.find('/').unwrap_or(rest.len());
        let (authority, path) = rest.split_at(end);
        let (host, port) = authority.split_once(':').unwrap_or((authority, "*"));
        let plain = |b: u8| b.is_ascii_alphanumeric() || b"-._~/%".contains(&b);
        matches!(source, "'self'" | "http:" | "https:" | "*")
            || web::is_host(host.strip_prefix("*.").unwrap_or(host))
                && (port == "*" || port.parse::<u16>().is_ok_and(|p| p > 0))
                && path.bytes().all(plain)
    })
}

/// A header's name as it is compared.
pub(super) fn header_name(text: &str) -> Option<String> {
    web::is_token(text).then(|| text.to_string())
}

#[rustfmt::skip]
pub(super) const POST_DATA: &[Property] = &[
    works("com.sun.identity.agents.config.postdata.preserve.enable", Switch, "false", "4.x",
        "Keep the body of a POST that needs a login, and let it take the place of the request with which the browser comes back. docs/post-data.md.",
        |c, v| v.switch(&mut c.post_preserve)).test("a_large_form_survives_a_login_byte_for_byte"),
    works("com.sun.identity.agents.config.postcache.entry.lifetime", Number, "10", "4.x",
        "Minutes that such a body is kept.",
        |c, v| v.number(&mut c.post_lifetime, 1, 1440, "minutes")).test("a_post_is_forgotten_when_its_time_has_passed"),
    works("org.forgerock.agents.config.postdata.preserve.dir", Text, "", "4.x",
        "Directory for the bodies: the workers' user owns it, and nobody else may write there. Without it, pdp-cache of the instance.",
        |c, v| v.optional(&mut c.post_dir)).boot().template("AM_PDP_TEMP_PATH").test("a_large_form_survives_a_login_byte_for_byte"),
    works("org.forgerock.agents.config.skip.post.url", List, "", "4.x",
        "URL patterns whose bodies are never touched.",
        |c, v| v.patterns(&mut c.post_skip, "keeps no POST at all")).test("a_post_to_a_skipped_url_is_not_kept"),
    idle("org.forgerock.agents.pdp.javascript.repost", Switch, "false", "4.x",
        "Send the body on by script.", "the web server sends the body on itself, without a form or a script"),
    works("com.sun.identity.agents.config.postdata.preserve.stickysession.mode", Choice, "", "4.x",
        "COOKIE or URL: mark the browser so that a load balancer finds the node with the body. With URL the application sees the mark in its query.",
        |c, v| v.choice(&mut c.post_sticky, &[("COOKIE", Sticky::Cookie), ("URL", Sticky::Url)])).from(From::FileFirst).test("a_load_balancer_is_told_which_node_keeps_the_post"),
    works("com.sun.identity.agents.config.postdata.preserve.stickysession.value", Text, "", "4.x",
        "That mark, as name=value.",
        |c, v| {
            let Some(line) = v.last() else { return };
            match web::mark(&line.value) {
                Some(mark) => c.post_sticky_value = Some(mark),
                None => v.wrong(line, "is no mark", "write name=value, without blanks, quotes, commas, semicolons and backslashes"),
            }
        }).from(From::FileFirst).test("a_load_balancer_is_told_which_node_keeps_the_post"),
    idle("com.sun.identity.agents.config.postdata.preserve.lbcookie", Text, "", "4.x",
        "Older form of the two properties above.", "stickysession.mode and .value say the same"),
    idle("com.forgerock.agents.config.pdpuri.prefix", Text, "", "4.x",
        "Path under which a preserved POST is sent on.", "it is sent on under the address that it was sent to"),
    works("portcullis.postdata.body.max", Number, "10485760", "own",
        "Bytes of the longest body that is kept; a longer one gets 413. The web server has a limit of its own.",
        |c, v| v.number(&mut c.post_body_max, 1, 268_435_456, "bytes")).from(From::FileFirst).test("a_post_that_is_too_large_gets_413_and_leaves_nothing"),
    works("portcullis.postdata.client.count", Number, "20", "own",
        "POSTs that are kept at once for one client address.",
        |c, v| v.number(&mut c.post_client_count, 1, 100_000, "POSTs")).from(From::FileFirst).test("a_client_keeps_no_more_than_its_share"),
    works("portcullis.postdata.client.bytes", Number, "104857600", "own",
        "Bytes of them.",
        |c, v| v.number(&mut c.post_client_bytes, 1, u32::MAX, "bytes")).from(From::FileFirst).test("a_client_keeps_no_more_than_its_share"),
    works("portcullis.postdata.total.count", Number, "1000", "own",
        "POSTs that are kept at once for all clients.",
        |c, v| v.number(&mut c.post_total_count, 1, 10_000, "POSTs")).from(From::FileFirst).test("caps_hold_for_one_client_and_for_all"),
    works("portcullis.postdata.total.bytes", Number, "1073741824", "own",
        "Bytes of them.",
        |c, v| v.number(&mut c.post_total_bytes, 1, u32::MAX, "bytes")).from(From::FileFirst).test("caps_hold_for_one_client_and_for_all"),
];

#[rustfmt::skip]
pub(super) const LOAD_BALANCING: &[Property] = &[
    works("com.sun.identity.agents.config.override.protocol", Switch, "false", "4.x",
        "Take the scheme of agenturi.prefix for that of the request. X-Forwarded-Proto, -Host and -Port of portcullis.trusted.proxies win over these three.",
        |c, v| v.switch(&mut c.override_protocol)).test("users_of_a_proxy_with_tls_come_back_to_https"),
    works("com.sun.identity.agents.config.override.host", Switch, "false", "4.x",
        "Take its host for that of the request.",
        |c, v| v.switch(&mut c.override_host)).test("users_of_a_proxy_with_tls_come_back_to_https"),
    works("com.sun.identity.agents.config.override.port", Switch, "false", "4.x",
        "Take its port for that of the request.",
        |c, v| v.switch(&mut c.override_port)).test("users_of_a_proxy_with_tls_come_back_to_https"),
    idle("com.sun.identity.agents.config.override.disable.hostmap", Map, "", "2024.6",
        "Hosts, by regular expression, where some of these do not apply: [expression]=port|host|proto.",
        "a client chooses the host name that it sends; X-Forwarded headers of portcullis.trusted.proxies tell what came through the proxy")
        .alias(&["com.sun.identity.agents.config.override.hostmap"]),
    works("com.forgerock.agents.config.add.amlbcookie", Switch, "false", "5.8",
        "Send AM's load balancer cookie, amlbcookie, with each call about a session, so that the server that keeps it is asked.",
        |c, v| v.switch(&mut c.add_amlbcookie)).test("calls_about_a_session_name_the_server_that_keeps_it"),
];

#[rustfmt::skip]
pub(super) const AUDIT: &[Property] = &[
    works("com.sun.identity.agents.config.audit.accesstype", Choice, "LOG_NONE", "4.x",
        "Which decisions are audited: LOG_NONE, LOG_ALLOW, LOG_DENY or LOG_BOTH.",
        |c, v| v.choice(&mut c.audit_access, &[
            ("LOG_NONE", AuditAccess::None), ("LOG_ALLOW", AuditAccess::Allow),
            ("LOG_DENY", AuditAccess::Deny), ("LOG_BOTH", AuditAccess::Both),
        ])).from(From::ProfileFirst).test("decisions_are_audited_as_configured"),
    works("com.sun.identity.agents.config.log.disposition", Choice, "REMOTE", "4.x",
        "Where audit lines go: REMOTE (AM), LOCAL (the file below) or ALL.",
        |c, v| v.choice(&mut c.audit_to, &[
            ("REMOTE", AuditTo::Remote), ("LOCAL", AuditTo::Local), ("ALL", AuditTo::All),
        ])).test("decisions_are_audited_as_configured"),
    works("com.sun.identity.agents.config.local.audit.logfile", Text, "", "4.x",
        "The local audit file.",
        |c, v| v.optional(&mut c.local_audit_logfile)).boot().template("AM_AUDIT_FILE_PATH").test("decisions_are_audited_as_configured"),
    works("com.sun.identity.agents.config.local.log.size", Number, "52428800", "4.x",
        "Bytes after which the local audit file is renamed, with the time behind its name, and begun anew; 0 is never.",
        |c, v| v.number(&mut c.audit_file_size, 0, u32::MAX, "bytes"))
        .hot().from(From::ProfileFirst).test("a_long_audit_file_is_rotated_and_loses_nothing"),
    works("portcullis.audit.rotate.hours", Number, "0", "own",
        "Hours after which the local audit file is renamed as well, counted from midnight UTC of 1 January 1970: with 24 each day, with 1 each hour has a file of its own. 0: its size alone decides.",
        |c, v| v.number(&mut c.audit_rotate_hours, 0, 8784, "hours"))
        .hot().from(From::FileFirst).test("an_audit_file_of_before_is_rotated_once"),
    idle("com.sun.identity.agents.config.local.log.rotate", Switch, "false", "4.x",
        "Older switch for the same.", "local.log.size alone decides"),
    works("com.sun.identity.agents.config.audit.path.fullurl", Switch, "false", "2024.6",
        "Write whole URLs, not only paths, into audit events; the values of queries are masked.",
        |c, v| v.switch(&mut c.audit_full_url))
        .from(From::FileFirst).test("an_audit_event_shows_the_whole_url_where_told"),
    works("com.sun.identity.agents.config.universal.id.param", Text, "universalId", "2024.11",
        "Session property or profile attribute that names the user in audit events. Where it is not known the universal id does.",
        |c, v| v.text(&mut c.universal_id_param)).from(From::FileFirst).test("audit_events_name_the_user_as_configured"),
    works("com.sun.identity.agents.config.universal.id.param.type", Choice, "SESSION", "2024.11",
        "Where to look for it: SESSION or LDAP. A profile attribute is known of allowed requests only.",
        |c, v| v.choice(&mut c.universal_id_type, &[("SESSION", UserIdType::Session), ("LDAP", UserIdType::Ldap)]))
        .from(From::FileFirst).test("audit_events_name_the_user_as_configured"),
    idle("com.sun.identity.agents.config.remote.logfile", Text, "", "4.x",
        "Name of the file that AM writes audit lines to.", "AM reads it, not the agent"),
    works("com.sun.identity.agents.config.remote.log.interval", Number, "5", "4.x",
        "Minutes between two deliveries of audit events to AM; 0: within a second or two. Many are delivered before. What AM does not take is in the local audit file.",
        |c, v| v.number(&mut c.remote_log_interval, 0, 1440, "minutes"))
        .from(From::ProfileFirst).test("am_is_given_the_audit_events_that_are_for_it"),
];

#[rustfmt::skip]
pub(super) const LOGS: &[Property] = &[
    works("com.sun.identity.agents.config.local.logfile", Text, "", "4.x",
        "The agent's log file; without it, the web server's error log.",
        |c, v| v.optional(&mut c.local_logfile)).boot().template("AM_DEBUG_FILE_PATH").test("the_log_says_as_much_as_its_level"),
    works("com.sun.identity.agents.config.debug.file.size", Number, "0", "4.x",
        "Bytes after which the log is renamed, with the time behind its name, and begun anew; 0 is never.",
        |c, v| v.number(&mut c.debug_file_size, 0, u32::MAX, "bytes"))
        .hot().from(From::ProfileFirst).test("only_the_newest_logs_are_kept"),
    works("com.forgerock.agents.config.max.num.log.files", Number, "0", "5.10.1",
        "Logs to keep, the current one among them; 0 keeps all.",
        |c, v| v.number(&mut c.max_log_files, 0, 10_000, "files")).boot().test("only_the_newest_logs_are_kept"),
    works("com.sun.identity.agents.config.debug.file.rotate", Switch, "true", "OpenAM",
        "Whether the log is rotated by size.",
        |c, v| v.switch(&mut c.debug_file_rotate)).test("a_log_is_not_rotated_where_that_is_switched_off"),
];

//! Rows that other agents do not have. They count in `agent.conf` first, because no AM has a field
//! for them; as custom properties they count where the file says nothing.

use alloc::string::{String, ToString};

use super::{From, Kind::*, Property, operation::header_name, works};
use crate::config::{Enforcement, FilterMode, RulesOnly, Strategy, grace, web};
use crate::decide::answer::PAGES;

fn content_type(text: &str) -> bool {
    let plain = |b: u8| b.is_ascii_graphic() || b == b' ';
    text.contains('/') && text.bytes().all(plain)
}

/// What says something else to the web server or the agent holds no token.
fn free_header(text: &str) -> bool {
    let own = ["x-", "am-", "iplanet"].iter().any(|start| {
        text.get(..start.len())
            .is_some_and(|t| t.eq_ignore_ascii_case(start))
    });
    let taken = [
        "x-forwarded",
        "x-http-method",
        "x-method",
        "x-requested-with",
    ];
    let taken = taken.iter().any(|start| {
        text.get(..start.len())
            .is_some_and(|t| t.eq_ignore_ascii_case(start))
    });
    own && !taken && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
}

/// Names that AM or its login pages read are taken.
fn free_parameter(text: &str) -> bool {
    const TAKEN: [&str; 10] = [
        "realm",
        "goto",
        "gotoonfail",
        "service",
        "module",
        "authlevel",
        "state",
        "nonce",
        "client_id",
        "redirect_uri",
    ];
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"-_.".contains(&b);
    text.bytes().all(plain) && !TAKEN.iter().any(|t| text.eq_ignore_ascii_case(t))
}

#[rustfmt::skip]
pub(super) const OWN: &[Property] = &[
    works("portcullis.am.deadline", Number, "4000", "own",
        "Milliseconds that one request may wait for AM altogether.",
        |c, v| v.number(&mut c.am_deadline, 100, 60_000, "milliseconds")).from(From::FileFirst).test("a_logout_holds_while_am_hangs"),
    works("portcullis.am.calls.max", Number, "32", "own",
        "Calls to AM that one worker has under way at once.",
        |c, v| v.number(&mut c.am_calls_max, 2, 1024, "calls")).from(From::FileFirst).restart().test("at_the_cap_a_call_is_refused_at_once_and_a_cancelled_one_counts_no_more"),
    works("portcullis.strategy.when.am.unavailable", Choice, "EVAL_NER_USE_CACHE_UNTIL_EXPIRED_ELSE_503", "own",
        "What still counts while AM is away: nothing (IMMEDIATE), the not-enforced rules (EVAL_NER), or also what AM said before, for as long as it would anyway (USE_CACHE_UNTIL_EXPIRED); and the status of a refusal. docs/fail-closed.md has the table.",
        |c, v| v.choice(&mut c.strategy, Strategy::WORDS))
        .alias(&["org.forgerock.agents.strategy.when.am.unavailable"]).from(From::FileFirst)
        .test("each_strategy_lets_through_what_it_says"),
    works("portcullis.grace.max", Map, "0", "own",
        "Seconds for which sessions, decisions and attributes may be used beyond their interval while AM is away. With [/app] for that path and everything below; 0 there: never. Never beyond AM's own limits, after a known logout or change, or where a policy has the response attribute portcullis.no-grace. docs/fail-closed.md.",
        |c, v| v.by_path(&mut c.grace_max, &mut c.grace_maxes, grace::seconds)).from(From::FileFirst)
        .test("what_am_said_before_counts_in_grace_only"),
    works("portcullis.grace.methods", Text, "GET,HEAD", "own",
        "Methods of the requests that may do so.",
        |c, v| grace::methods(v, &mut c.grace_methods)).from(From::FileFirst)
        .test("grace_is_for_the_methods_that_are_named"),
    works("portcullis.autonomous.mode", Switch, "false", "own",
        "Never ask AM: the not-enforced rules let in, everything else gets 403. Needs repository.location = local.",
        |c, v| {
            let mut on = false;
            v.switch(&mut on);
            c.rules_only = on.then_some(RulesOnly::Autonomous);
        }).alias(&["org.forgerock.agents.autonomous.mode.enabled"]).boot().test("autonomous_mode_never_asks_am"),
    works("portcullis.state.dir", Text, "", "own",
        "Folder of this instance alone for what outlives the server: ended-sessions, untold-logouts and last-known-good, all sealed. Without it they are beside agent.conf. The user that the web server is started as has to be able to write there, and its workers' user had better not.",
        |c, v| v.optional(&mut c.state_dir)).boot().test("what_outlives_the_server_may_lie_elsewhere"),
    works("portcullis.config.reload.seconds", Number, "0", "own",
        "Seconds after which agent.conf is looked at again, in either mode; 0: after polling.interval. What changed counts as a whole or not at all, and the log says what; where something takes a restart, nothing of it counts before the web server is reloaded. The web server's user has to be able to read the file.",
        |c, v| v.number(&mut c.reload_seconds, 0, 86_400, "seconds"))
        .alias(&["org.forgerock.agents.config.reload.seconds", "com.sun.identity.agents.config.load.interval"])
        .from(From::FileFirst).test("a_changed_agent_conf_counts_without_a_reload"),
    works("portcullis.config.last.known.good.max.age", Number, "1440", "own",
        "Minutes for which what AM said last of the configuration may count at a start without AM. It is kept sealed in the file last-known-good, never used after AM has refused the agent, and replaced as soon as AM answers; 0: it is not kept.",
        |c, v| v.number(&mut c.known_good_age, 0, 525_600, "minutes")).boot()
        .test("a_start_without_am_goes_on_with_what_am_said_last"),
    works("portcullis.access.denied.url", Map, "", "own",
        "Pages for requests that policy refuses, by path: [/app]=/app/denied.html. The longest path counts, before access.denied.url.",
        |c, v| v.map(&mut c.access_denied_urls, web::path_prefix, "write [/app]=/app/denied.html"))
        .from(From::FileFirst).test("a_refused_browser_is_sent_to_the_page_of_its_application"),
    works("portcullis.authn.fail.url", Text, "", "own",
        "Page for logins that failed: a path, or a URL on a host that redirects may use. Everybody may see it.",
        |c, v| v.optional(&mut c.authn_fail_url))
        .alias(&["org.forgerock.agents.authn.fail.url"]).from(From::FileFirst)
        .test("a_failed_login_is_sent_to_its_page_with_its_reason"),
    works("portcullis.authn.fail.reason.parameter.name", Text, "", "own",
        "Parameter in which that page is told why; without it nothing is told.",
        |c, v| v.optional(&mut c.authn_fail_parameter))
        .alias(&["org.forgerock.agents.authn.fail.reason.parameter.name"]).from(From::FileFirst)
        .test("a_failed_login_is_sent_to_its_page_with_its_reason"),
    works("portcullis.authn.fail.reason.remapper", Map, "", "own",
        "Other words for the reasons: [BAD_AUDIENCE]=3. The reasons are NONCE_MISSING, BAD_AUDIENCE, NO_TOKEN, TOKEN_EXPIRED, AM_SAYS_INVALID, JWT_INVALID, AM_ERROR, ANSWER_USED_BEFORE and EXCEPTION.",
        |c, v| v.map(&mut c.authn_fail_remap, |key| (!key.is_empty()).then(|| key.to_string()), "write [BAD_AUDIENCE]=3"))
        .alias(&["org.forgerock.agents.authn.fail.reason.remapper"]).from(From::FileFirst)
        .test("a_failed_login_is_sent_to_its_page_with_its_reason"),
    works("portcullis.json.template", Text, "", "own",
        "The body of such JSON, in one line, with %REQUEST_URI%, %REQUEST_URL%, %TARGET% (where a redirect leads), %STATUS% and %INCIDENT%.",
        |c, v| v.optional(&mut c.json_template))
        .alias(&["org.forgerock.agents.302.redirect.http.data"]).from(From::FileFirst)
        .test("json_is_written_as_its_template_says"),
    works("portcullis.json.content.type", Text, "application/json", "own",
        "Content type of that template. What is filled in is escaped as JSON where the type names json, as HTML otherwise.",
        |c, v| v.checked(&mut c.json_content_type, content_type, "is no content type", "write it as in application/json"))
        .alias(&["org.forgerock.agents.302.redirect.http.content.type"]).from(From::FileFirst)
        .test("json_is_written_as_its_template_says"),
    works("portcullis.unauthorized.detect", Switch, "true", "own",
        "Answer 401, rather than send to log in, what no person sees: requests whose Sec-Fetch-Mode is not navigate, whose X-Requested-With is XMLHttpRequest, whose Accept has no place for HTML, WebSockets and CORS preflights. Listed URLs and headers of json.url come first.",
        |c, v| v.switch(&mut c.unauthorized_detect)).from(From::FileFirst)
        .test("what_no_person_sees_is_not_sent_to_log_in"),
    works("portcullis.unauthorized.url", List, "", "own",
        "URL patterns where whoever has no session gets 401, and is never sent to log in.",
        |c, v| v.patterns(&mut c.unauthorized_url, "sends nobody to log in")).from(From::FileFirst)
        .test("urls_and_headers_get_401_where_they_are_listed"),
    works("portcullis.unauthorized.header", Map, "", "own",
        "The same for requests with a header: [header]=value, compared without case.",
        |c, v| v.map(&mut c.unauthorized_header, header_name, "write [X-Client]=sync")).from(From::FileFirst)
        .test("urls_and_headers_get_401_where_they_are_listed"),
    works("portcullis.page.template", Map, "", "own",
        "HTML of the agent's pages, in one line, with %TITLE%, %TEXT%, %STATUS% and %INCIDENT%: for all of them, or as [login], [denied], [loop], [unavailable] or [error] for one. Styles, pictures and fonts of the same host are shown, scripts are not run.",
        |c, v| {
            let page = |key: &str| {
                let known = key.is_empty() || PAGES.contains(&key);
                known.then(|| key.to_string())
            };
            v.map(&mut c.page_templates, page, "write it with [login], [denied], [loop], [unavailable] or [error], or without brackets");
        }).from(From::FileFirst).test("pages_look_as_their_operator_wishes"),
    works("portcullis.session.header", Text, "", "own",
        "Request header in which clients without cookies may bring AM's session token. The agent's own cookie comes first; the header does not reach the application, and who brings one that does not count gets 401, never a redirect.",
        |c, v| {
            let mut name = String::new();
            v.checked(&mut name, free_header, "is not a header that a token may come in", "use a name of your own, such as X-Session-Token");
            c.session_header = Some(name).filter(|n| !n.is_empty());
        }).from(From::FileFirst).test("a_client_without_cookies_brings_its_token_in_a_header"),
    works("portcullis.authn.exchange.uri", Text, "", "own",
        "Path on the protected server where a POST exchanges AM's session token, in session.header or in AM's cookie, for the agent's cookie.",
        |c, v| {
            let Some(line) = v.last() else { return };
            match web::endpoint(&line.value) {
                Some(path) => c.exchange_uri = Some(path),
                None => v.wrong(line, "is not a plain path", "write it as in agent/exchange"),
            }
        }).alias(&["org.forgerock.agents.authn.exchange.uri"]).from(From::FileFirst)
        .test("a_session_token_is_exchanged_for_the_agents_cookie"),
    works("portcullis.authn.exchange.cookie.name", Text, "", "own",
        "Cookie that the token for that exchange is in; without it, the one that cookie.name names.",
        |c, v| v.checked(&mut c.exchange_cookie, web::is_token, "is not a cookie name", "write the name of the cookie that holds AM's token"))
        .alias(&["org.forgerock.agents.authn.exchange.cookie.name"]).from(From::FileFirst)
        .test("a_session_token_is_exchanged_for_the_agents_cookie"),
    works("portcullis.login.cdcservlet", Switch, "false", "own",
        "Log in through AM's /cdcservlet, as agents before version 5 did, in place of OpenID Connect. Its answer is not signed, and OpenAM gives it to any site that asks: only for servers where agents are no OpenID Connect clients.",
        |c, v| v.switch(&mut c.login_cdcservlet)).from(From::FileFirst)
        .test("a_login_goes_through_cdcservlet_where_told"),
    works("portcullis.login.loop.limit", Number, "5", "own",
        "How often a browser may come back from a login for one page without a session, before a page says why instead of another login; 0: without end.",
        |c, v| {
            let mut limit = u32::from(c.login_loop_limit);
            v.number(&mut limit, 0, 100, "rounds");
            c.login_loop_limit = limit as u8; // at most 100
        }).alias(&["org.forgerock.agents.redirect.attempt.limit", "com.sun.identity.agents.config.redirect.attempt.limit"])
        .from(From::FileFirst).test("a_session_cookie_that_is_not_kept_ends_with_a_page"),
    works("portcullis.login.starts.max", Number, "600", "own",
        "Logins that one client address (of IPv6, one /64) may begin in a minute, before it gets 429; 0: no limit.",
        |c, v| v.number(&mut c.login_starts_max, 0, 1_000_000, "logins")).from(From::FileFirst)
        .test("a_client_begins_so_many_logins_and_no_more"),
    works("portcullis.login.tokens.max", Number, "300", "own",
        "Session tokens in AM's own cookie, none of which AM knows, that one client address may send in a minute, before AM is asked about no more of its unknown ones, and it gets 429; 0: no limit. With accept.sso.token = 1.",
        |c, v| v.number(&mut c.dead_tokens_max, 0, 1_000_000, "tokens")).from(From::FileFirst)
        .test("made_up_tokens_of_a_client_stop_reaching_am"),
    works("portcullis.login.reason.parameter.name", Text, "", "own",
        "Parameter in which a login page of your own (allow.custom.login 1 and 2) is told why a login is needed: NO_TOKEN, TOKEN_EXPIRED or EXCEPTION.",
        |c, v| {
            let mut name = String::new();
            v.checked(&mut name, free_parameter, "is no parameter name, or has a meaning of its own", "write another word, as in reason");
            c.login_reason_parameter = Some(name).filter(|name| !name.is_empty());
        }).alias(&["org.forgerock.agents.login.reason.parameter.name"]).from(From::FileFirst)
        .test("a_login_page_is_told_why"),
    works("portcullis.login.reason.remapper", Map, "", "own",
        "Other words for the reasons: [TOKEN_EXPIRED]=expired.",
        |c, v| v.map(&mut c.login_reason_remap, |key| (!key.is_empty()).then(|| key.to_string()), "write [TOKEN_EXPIRED]=expired"))
        .alias(&["org.forgerock.agents.login.reason.remapper", "org.forgerock.agents.login.reason.map"]).from(From::FileFirst)
        .test("a_login_page_is_told_why"),
    works("portcullis.mode", Map, "enforce", "own",
        "enforce; report: everything is decided and written down, and nothing is refused but what is ambiguous; shadow: decisions of a second policy set are compared, after the response. With [/app] for that path and everything below. docs/report-mode.md.",
        |c, v| v.by_path(&mut c.mode, &mut c.modes, Enforcement::read))
        .boot().test("nothing_is_refused_where_it_is_only_reported"),
    works("portcullis.mode.until", Text, "", "own",
        "When portcullis.mode = report ends and enforcing begins: a day, as in 2027-01-31, at its beginning in UTC, or a time, as in 2027-01-31T08:00:00+01:00. Reporting needs it.",
        |c, v| v.moment(&mut c.mode_until)).boot().test("reporting_ends_on_its_day"),
    works("portcullis.shadow.policy.set", Text, "", "own",
        "The second policy set of portcullis.mode = shadow.",
        |c, v| v.optional(&mut c.shadow_set)).boot().test("a_second_policy_set_is_compared_and_changes_nothing"),
    works("portcullis.shadow.policy.realm", Text, "", "own",
        "Its realm; without it, that of the first one.",
        |c, v| {
            if let Some(line) = v.last() {
                c.shadow_realm = v.one_realm(line).or(c.shadow_realm.take());
            }
        }).boot().test("a_second_policy_set_is_compared_and_changes_nothing"),
    works("portcullis.filter.mode", Map, "", "own",
        "What everybody has to bring: a session and AM's consent (URL_POLICY), a session (SSO_ONLY) or nothing (NONE). With [/app] for that path and everything below, with [http://host:port/app] on one host only; the deepest path counts. NONE needs a path. Without brackets for all the rest, before sso.only.",
        |c, v| v.by_path(&mut c.filter_mode, &mut c.filter_modes, FilterMode::read))
        .alias(&["org.forgerock.agents.filter.mode.map", "com.sun.identity.agents.config.filter.mode"])
        .from(From::FileFirst).test("a_session_is_enough_below_some_paths_only"),
    works("portcullis.policy.user.realm", Switch, "false", "own",
        "Ask for the policies of the realm that the user logged in to; the realms of policy.evaluation.realm have no effect then. Other realms than those of the login need portcullis.session.realms.",
        |c, v| v.switch(&mut c.policy_user_realm))
        .alias(&["org.forgerock.agents.user.realm.overrides.policy.evaluation.realm.enabled"])
        .from(From::FileFirst).test("everybody_meets_the_policies_of_their_own_realm"),
    works("portcullis.method.override", Choice, "check", "own",
        "What a POST that names another method in X-HTTP-Method-Override, X-HTTP-Method, X-Method-Override or the parameter _method needs: consent to both (check), or to POST only (ignore), where no application behind takes the other for its method.",
        |c, v| v.choice(&mut c.method_override_checked, &[("check", true), ("ignore", false)]))
        .from(From::FileFirst).test("a_method_in_place_of_another_needs_consent_too"),
    works("portcullis.record.file", Text, "", "own",
        "File to write every request and its decision to, for `agentadmin explain`: to find out afterwards why. Holds addresses of clients, users with their attributes, and URLs with their queries; no token, password or key. Only while it is needed.",
        |c, v| v.optional(&mut c.record_file)).boot().test("what_is_recorded_is_explained"),
    works("portcullis.cookies.forward", Switch, "false", "own",
        "Let the application see the agent's own cookies.",
        |c, v| v.switch(&mut c.cookies_forward)).from(From::FileFirst).test("the_agents_cookies_go_on_only_where_it_is_told_to"),
    works("portcullis.login.callback.null.origin", Switch, "false", "own",
        "Accept the ID token from a page without an origin. Needed only behind login pages that hide it.",
        |c, v| v.switch(&mut c.callback_null_origin)).from(From::FileFirst).test("a_page_without_origin_only_where_it_is_allowed"),
    works("portcullis.trusted.proxies", List, "", "own",
        "Addresses of the proxies whose word about clients counts: single ones, networks as in 192.0.2.0/24, ranges as in 192.0.2.1-192.0.2.9.",
        |c, v| v.addresses(&mut c.trusted_proxies)).from(From::FileFirst).test("a_client_does_not_choose_its_address"),
    works("portcullis.session.cut.connections", Switch, "false", "own",
        "Cut the connection of a response that is still under way, or of a WebSocket, when the session that it was let in with ends.",
        |c, v| v.switch(&mut c.cut_connections)).from(From::FileFirst).test("an_open_connection_is_cut_when_its_session_ends"),
    works("portcullis.url.query.sort", Switch, "false", "own",
        "Sort the parameters of a query by name before rules and policies see them. Rules and policies have to name them in that order.",
        |c, v| v.switch(&mut c.view.sort)).from(From::FileFirst).test("rules_and_policies_see_what_the_view_leaves"),
    works("portcullis.url.query.remove", List, "", "own",
        "Names of parameters that rules and policies do not see; * at the end stands for any end. For parameters that no decision depends on.",
        |c, v| v.parameters(&mut c.view.remove)).from(From::FileFirst).test("rules_and_policies_see_what_the_view_leaves"),
    works("portcullis.session.realms", List, "", "own",
        "Realms whose users count, besides those of the login and of the policies.",
        |c, v| v.realms(&mut c.session_realms)).from(From::FileFirst).test("users_of_another_realm_only_where_it_is_named"),
    works("portcullis.login.header", Map, "", "own",
        "Where requests log in that carry a header with this value: [Name:value]=URL,URL, or [Name] for any value. Looked at before what URLs say. Clients choose their headers, but only among these addresses.",
        |c, v| v.login_lines(&mut c.login_headers, false, named_value, "write [X-Tenant:acme]=URL")).from(From::FileFirst).test("requests_log_in_where_a_header_or_a_parameter_says"),
    works("portcullis.login.parameter", Map, "", "own",
        "The same for a parameter of the query, written as in the address.",
        |c, v| v.login_lines(&mut c.login_parameters, false, named_value, "write [tenant:acme]=URL")).from(From::FileFirst).test("requests_log_in_where_a_header_or_a_parameter_says"),
    works("portcullis.notenforced.rule", List, "", "own",
        "Rules that need no session, each of conditions that all have to hold: url=PATTERN, ip=ADDRESSES (with commas), cookie.NAME=VALUE, header.NAME=VALUE, each with NOT before it or without. * stands for anything, in values too. [METHOD,n] as for URLs. Clients choose their cookies and headers.",
        |c, v| v.rules(&mut c.notenforced_rules, false)).from(From::FileFirst).test("own_rules_have_conditions_and_not"),
    works("portcullis.deny.rule", List, "", "own",
        "Rules of the same form for requests that get 403, whoever sends them and whatever else exempts them.",
        |c, v| v.rules(&mut c.deny_rules, false)).from(From::FileFirst).test("deny_rules_come_before_everything_that_lets_in"),
];

/// `name`, or `name:value` with a value.
fn named_value(key: &str) -> bool {
    match key.split_once(':') {
        Some((name, value)) => web::is_token(name) && !value.trim().is_empty(),
        None => web::is_token(key),
    }
}

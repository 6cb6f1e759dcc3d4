//! Rows about how users come in, stay recognised and leave.

use alloc::string::{String, ToString};

use super::{From, Kind::*, Property, idle, works};
use crate::config::{reset, web};

#[rustfmt::skip]
pub(super) const LOGIN: &[Property] = &[
    works("org.forgerock.openam.agents.config.allow.custom.login", Choice, "0", "5.0",
        "0: AM's OpenID Connect login. 1: a login page of your own, after which the agent gets an ID token. 2: the same without one, for migrations; needs accept.sso.token = 1.",
        |c, v| v.choice(&mut c.allow_custom_login, &[("0", 0), ("1", 1), ("2", 2), ("false", 0), ("true", 1)])).test("a_login_page_of_ones_own_leads_back"),
    works("com.sun.identity.agents.config.login.url", List, "", "4.x",
        "Login pages for allow.custom.login 1 and 2, in order; may carry realm and other parameters.",
        |c, v| v.pages(&mut c.login_url)).test("logins_lead_to_the_page_that_is_configured"),
    works("com.forgerock.agents.public.am.url", Text, "", "5.7",
        "AM's URL as browsers know it, when it differs from naming.url.",
        |c, v| v.base(&mut c.public_am_url)).test("browsers_get_ams_public_address"),
    works("com.sun.identity.agents.config.cdsso.redirect.uri", Text, "agent/cdsso-oauth2", "5.0",
        "Path on the protected server that AM sends the ID token to.",
        |c, v| {
            let Some(line) = v.last() else { return };
            match web::endpoint(&line.value) {
                Some(path) => c.cdsso_redirect_uri = path,
                None => v.wrong(line, "is not a plain path", "write it as in agent/cdsso-oauth2"),
            }
        }).test("am_answers_to_the_configured_callback"),
    works("com.sun.identity.agents.config.redirect.param", Text, "goto", "4.x",
        "Name of the query parameter that carries the address to come back to.",
        |c, v| v.checked(&mut c.redirect_param, parameter_name, "is not a parameter name", "use letters, digits, -, _ and .")).test("logins_lead_to_the_page_that_is_configured"),
    works("com.sun.identity.agents.config.agenturi.prefix", Text, "", "4.x",
        "URL of this agent; its host is one that redirects may lead to, and it stands in for overridden parts of request URLs.",
        |c, v| v.base(&mut c.agenturi_prefix)).test("local_mode_needs_no_profile"),
    works("com.forgerock.agents.accept.sso.token", Choice, "0", "5.7",
        "1: AM's own session cookie counts as well as the agent's.",
        |c, v| v.choice(&mut c.accept_sso_token, &[("0", false), ("1", true), ("false", false), ("true", true)]))
        .alias(&["com.forgerock.agents.accept.ipdp.cookie"]).test("ams_own_cookie_counts_where_the_domain_is_shared"),
    works("com.forgerock.agents.conditional.login.url", List, "", "4.x",
        "Where requests log in whose URL contains a text: text|URL,URL. Several URLs follow AM's failover; without one, AM's own. AM's authorize address may name a realm and a service.",
        |c, v| v.login_lines(&mut c.conditional_login, true, |_| true, "write text|URL")).test("requests_log_in_where_their_url_says"),
    works("org.forgerock.agents.config.conditional.login.pattern", Map, "", "4.x",
        "Regular expressions for request URLs; the entry n goes with entry n of org.forgerock.agents.config.conditional.login.url.",
        |c, v| v.map(&mut c.conditional_pattern, |key| (!key.is_empty()).then(|| key.to_string()), "write [0]=expression")).test("requests_log_in_where_their_url_says"),
    works("org.forgerock.agents.config.conditional.login.url", Map, "", "4.x",
        "Where requests log in that the expression with the same number matches: URL,URL.",
        |c, v| v.login_lines(&mut c.conditional_pattern_urls, false, |key| !key.is_empty(), "write [0]=URL")).test("requests_log_in_where_their_url_says"),
    works("com.forgerock.agents.advice.b64.url.encode", Switch, "false", "5.7",
        "Send advices to login pages of your own in base64url.",
        |c, v| v.switch(&mut c.advice_encode)).test("advices_go_to_a_page_of_ones_own_encoded"),
    works("com.sun.am.use_redirect_for_advice", Switch, "false", "4.x",
        "Send advices in the query of a redirect, not in a form that posts itself.",
        |c, v| v.switch(&mut c.advice_redirect)).test("a_step_up_leads_through_the_login_page_and_back"),
    works("org.forgerock.agents.config.fragment.redirect.enable", Switch, "false", "5.7",
        "Keep the part of the address after # through a login: a page with a script comes before and after it in place of a redirect. Answers in JSON have no such page.",
        |c, v| v.switch(&mut c.fragment_redirect)).boot().test("a_fragment_survives_the_login"),
];

fn parameter_name(text: &str) -> bool {
    text.bytes()
        .all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b))
}

#[rustfmt::skip]
pub(super) const ID_TOKEN: &[Property] = &[
    works("com.forgerock.agents.jwt.aud.disable", Switch, "0", "5.7",
        "1: do not compare the audience of ID tokens with the profile's name. There still has to be exactly one.",
        |c, v| v.switch(&mut c.any_audience)).test("id_tokens_for_others_count_where_told"),
    works("com.forgerock.agents.jwt.aud.whitelist", Text, "", "5.7",
        "Further profile names that ID tokens may be made out to, separated by commas.",
        |c, v| {
            let names = v.last().into_iter().flat_map(|line| line.value.split(','));
            c.audiences = names.map(str::trim).filter(|n| !n.is_empty()).map(Into::into).collect();
        }).test("id_tokens_for_others_count_where_told"),
    idle("com.forgerock.agents.jwt.validate.signature.locally", Switch, "0", "2024.9",
        "Verify the signature of ID tokens.", "it is always verified").boot(),
];

#[rustfmt::skip]
pub(super) const COOKIES: &[Property] = &[
    works("com.sun.identity.agents.config.cookie.name", Text, "iPlanetDirectoryPro", "4.x",
        "Name of AM's session cookie. Written down empty, AM is asked for it.",
        |c, v| {
            let Some(line) = v.last() else { return };
            if line.value.is_empty() || web::is_token(&line.value) {
                c.cookie_name = line.value.clone();
            } else {
                v.wrong(line, "is not a cookie name", "write the name as AM has it");
            }
        }).empty_counts().restart().test("ams_cookie_is_looked_for_under_its_name"),
    works("com.sun.identity.agents.config.cookie.secure", Switch, "false", "4.x",
        "Mark the agent's cookies Secure. On https the cookies of a login are so anyway.",
        |c, v| v.switch(&mut c.cookie_secure)).test("cookies_are_as_tight_as_configured"),
    works("com.sun.identity.cookie.httponly", Switch, "true", "4.x",
        "Keep the agent's cookies from scripts.",
        |c, v| v.switch(&mut c.cookie_httponly)).test("cookies_are_hidden_from_scripts_unless_told_otherwise"),
    works("com.forgerock.agents.cdsso.cookie.samesite", Text, "", "5.7",
        "SameSite attribute of the agent's cookies: Strict, Lax or None; none is written when unset.",
        |c, v| {
            let Some(line) = v.last() else { return };
            match web::same_site(&line.value) {
                Some(word) => c.cookie_samesite = Some(word),
                None => v.wrong(line, "is not a SameSite value", "write Strict, Lax or None"),
            }
        }).test("cookies_are_as_tight_as_configured"),
    works("com.sun.identity.agents.config.cdsso.cookie.domain", List, "", "4.x",
        "Domains that the session cookie is set for; without it, the host alone.",
        |c, v| v.domains(&mut c.cookie_domain)).test("a_session_cookie_of_a_domain_serves_its_hosts"),
    works("com.sun.identity.agents.config.profile.attribute.cookie.maxage", Number, "300", "4.x",
        "Seconds that a login may take, and that attribute cookies live.",
        |c, v| v.number(&mut c.cookie_maxage, 1, 86_400, "seconds")).test("a_login_that_took_too_long_starts_again"),
    works("org.forgerock.openam.agents.config.multivalue.pre.authn.cookies", Switch, "false", "5.7",
        "true: one cookie for all logins under way. false: one for each.",
        |c, v| v.switch(&mut c.multivalue_pre_authn)).boot().test("tabs_finish_in_any_order"),
    works("com.sun.identity.agents.config.profile.attribute.cookie.prefix", Text, "HTTP_", "4.x",
        "What the names of attribute cookies begin with.",
        |c, v| v.checked(&mut c.cookie_prefix, web::is_token, "cannot begin a cookie's name", "use letters, digits and _")).test("attributes_travel_as_cookies_that_nobody_can_forge"),
    works("com.sun.identity.agents.config.cookie.reset", List, "", "4.x",
        "Cookies to clear on the way to login: name[=value][;Domain=domain][;Path=path]. Without a domain the host's own, and one that fqdn.default set for its name.",
        |c, v| reset::read(&mut c.cookie_reset, v)).test("cookies_are_taken_back_on_login_and_logout"),
    works("com.sun.identity.agents.config.cookie.reset.enable", Switch, "false", "4.x",
        "Clear those cookies.",
        |c, v| v.switch(&mut c.cookie_reset_enable)).test("cookies_are_taken_back_on_login_and_logout"),
    works("com.sun.identity.agents.config.encode.cookie.special.chars.enable", Switch, "false", "4.x",
        "Percent-encode the values of attribute cookies. Values with what no cookie can hold are encoded anyway.",
        |c, v| v.switch(&mut c.encode_cookie_values)).test("cookies_arrive_encoded_as_configured"),
    works("org.forgerock.agents.config.cdsso.persistent.cookie.enable", Switch, "false", "4.x",
        "Let the session cookie outlive the browser, until the session's own end.",
        |c, v| v.switch(&mut c.persistent_cookie)).test("a_session_cookie_lives_as_long_as_its_session_where_told"),
];

#[rustfmt::skip]
pub(super) const LOGOUT: &[Property] = &[
    works("com.sun.identity.agents.config.agent.logout.url", List, "", "4.x",
        "URL patterns of the application that end the session.",
        |c, v| v.patterns(&mut c.agent_logout_url, "makes every URL a logout")).alias(&["com.forgerock.agents.agent.logout.url"]).test("a_logout_ends_the_session_here_and_at_am"),
    works("com.sun.identity.agents.config.logout.url", List, "", "4.x",
        "Page that a user is sent to on logout, in order.",
        |c, v| v.pages(&mut c.logout_url)).test("logouts_lead_to_the_page_that_is_configured"),
    works("com.sun.identity.agents.config.logout.redirect.url", Text, "", "4.x",
        "Page to show after the logout, when redirects are not disabled.",
        |c, v| v.page(&mut c.logout_redirect_url)).test("a_logout_with_redirection_leads_to_ams_page"),
    works("com.forgerock.agents.config.logout.redirect.disable", Switch, "true", "4.x",
        "true: the application's page is shown, and the session ends in the background.",
        |c, v| v.switch(&mut c.logout_redirect_disable)).test("a_logout_with_redirection_leads_to_ams_page"),
    works("org.forgerock.agents.config.logout.session.invalidate", Switch, "true", "5.6",
        "End the session in AM, not only the agent's cookie. false where the page itself does.",
        |c, v| v.switch(&mut c.logout_session_invalidate)).test("a_logout_may_leave_the_session_to_the_page"),
    works("org.forgerock.agents.config.logout.regex.enable", Switch, "false", "4.x",
        "Read agent.logout.url as regular expressions, each for a whole URL.",
        |c, v| v.switch(&mut c.logout_regex)).test("logout_urls_may_be_regular_expressions"),
    works("com.forgerock.agents.agent.logout.url.regex", Text, "", "4.x",
        "One regular expression for whole logout URLs, beside agent.logout.url.",
        |c, v| v.optional(&mut c.logout_url_regex)).test("logout_urls_may_be_regular_expressions"),
    works("com.sun.identity.agents.config.logout.cookie.reset", List, "", "4.x",
        "Cookies to clear on logout: name[=value][;Domain=domain][;Path=path].",
        |c, v| reset::read(&mut c.logout_cookie_reset, v)).from(From::Profile).test("cookies_are_taken_back_on_login_and_logout"),
    works("portcullis.logout.url", Map, "", "own",
        "Pages that users are sent to on logout, by path: [/app]=https://am.example.com/am/UI/Logout. The longest path counts, before logout.url.",
        |c, v| v.map(&mut c.logout_urls, web::path_prefix, "write [/app]=https://am.example.com/am/UI/Logout"))
        .from(From::FileFirst).test("each_application_has_its_logout_page"),
    works("portcullis.logout.parameter", Text, "", "own",
        "Name of a query parameter that makes any request a logout. The page itself is never shown: the browser is sent to the logout page.",
        |c, v| {
            let mut name = String::new();
            v.checked(&mut name, parameter_name, "is not a parameter name", "use letters, digits, -, _ and .");
            c.logout_parameter = Some(name).filter(|n| !n.is_empty());
        }).from(From::FileFirst).test("a_parameter_may_end_the_session"),
];

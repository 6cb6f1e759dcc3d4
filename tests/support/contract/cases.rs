//! The table of questions; every one stands alone and makes the sessions that it needs.

use std::time::{Duration, Instant};

use base64::Engine;
use portcullis_openam::http::{Request, Response, escape, query};
use portcullis_openam::{ADMIN_NAME, ADMIN_PASSWORD};
use serde_json::{Value, json};

use super::Case;
use super::news;
use super::observe::{
    authorize_form, decisions, head, lares_form, masked, only, session_document, sorted, whole,
};
use super::world::{
    AGENT, AGENT_PASSWORD, CLIENT_SIDE_REALM, OTHER_AGENT, Problem, SITE, SUB_AGENT, SUB_REALM,
    USER, USER_PASSWORD, World,
};

type Seen = Result<Value, Problem>;

const fn case(name: &'static str, ask: fn(&World) -> Seen) -> Case {
    Case { name, ask }
}

/// Every question, by operation.
pub const CASES: &[Case] = &[
    case("server information.anonymous", |w| {
        let answer = w
            .get("/json/serverinfo/*")
            .header(VERSION, "resource=1.1")
            .send()?;
        Ok(only(
            &answer,
            &[
                "cookieName",
                "secureCookie",
                "cookieHttpOnly",
                "domains",
                "realm",
            ],
        ))
    }),
    case("server version.anonymous", |w| {
        Ok(whole(&server_version(w, None)?))
    }),
    case("server version.user", |w| {
        Ok(whole(&server_version(w, Some(&w.user()?))?))
    }),
    case("server version.agent", |w| {
        let seen = whole(&server_version(w, Some(&w.agent))?);
        // Which release it is may differ, that it says so may not.
        let members: Vec<&String> = seen["body"]
            .as_object()
            .map(|b| b.keys().collect())
            .unwrap_or_default();
        Ok(json!({ "status": seen["status"], "members": members }))
    }),
    // Agent login
    case("agent login.good", |w| {
        login(w, "/", MODULE, AGENT, AGENT_PASSWORD)
    }),
    case("agent login.wrong password", |w| {
        login(w, "/", MODULE, AGENT, "wrong")
    }),
    case("agent login.unknown name", |w| {
        login(w, "/", MODULE, "ct-nobody", AGENT_PASSWORD)
    }),
    case("agent login.sub-realm", |w| {
        login(w, SUB_REALM, MODULE, SUB_AGENT, AGENT_PASSWORD)
    }),
    case("agent login.profile of another realm", |w| {
        login(w, SUB_REALM, MODULE, AGENT, AGENT_PASSWORD)
    }),
    case("agent login.unknown realm", |w| {
        login(w, "/ct-none", MODULE, AGENT, AGENT_PASSWORD)
    }),
    case("agent login.default chain", |w| {
        login(w, "/", "", AGENT, AGENT_PASSWORD)
    }),
    case("agent login.tree", |w| {
        login(
            w,
            "/",
            "?authIndexType=service&authIndexValue=Agent",
            AGENT,
            AGENT_PASSWORD,
        )
    }),
    case("agent login.unknown module", |w| {
        login(
            w,
            "/",
            "?authIndexType=module&authIndexValue=None",
            AGENT,
            AGENT_PASSWORD,
        )
    }),
    case("agent login.not JSON", |w| {
        let target = w.am.realm_target("/", &format!("/authenticate{MODULE}"));
        let request =
            w.am.client()
                .post(&target)
                .header(VERSION, "resource=2.1, protocol=1.0");
        let request = request.header(NAME, AGENT).header(PASSWORD, AGENT_PASSWORD);
        Ok(head(&request.body("text/plain", "{}").send()?))
    }),
    case("agent login.cookie", |w| {
        let answer = login_answer(w, "/", MODULE, AGENT, AGENT_PASSWORD)?;
        let mut names: Vec<String> = answer
            .headers("set-cookie")
            .filter_map(|c| c.split('=').next().map(str::to_owned))
            .collect();
        names.sort();
        names.dedup();
        Ok(json!({ "cookies": names }))
    }),
    case("user login.good", |w| {
        login(w, "/", "", USER, USER_PASSWORD)
    }),
    case("user login.wrong password", |w| {
        login(w, "/", "", USER, "wrong")
    }),
    case("user login.sub-realm", |w| {
        login(w, SUB_REALM, "", USER, USER_PASSWORD)
    }),
    // Agent profile
    case("profile.own", |w| {
        let answer = profile(w, "/", AGENT, &w.agent)?;
        Ok(masked(sorted(whole(&answer)), &["/body/_rev"]))
    }),
    case("profile.two fields", |w| {
        let fields = "?_fields=username,com.sun.identity.agents.config.sso.only";
        let answer = token_get(
            w,
            &w.am.realm_target("/", &format!("/agents/{AGENT}{fields}")),
            &w.agent,
        )?;
        Ok(masked(whole(&answer), &["/body/_rev"]))
    }),
    case("profile.another agent's", |w| {
        let change = json!({ "com.sun.identity.agents.config.polling.interval": ["61"] });
        w.am.admin(ADMIN_PASSWORD)?
            .update_agent("/", OTHER_AGENT, &change)?;
        refused_in_time(|| profile(w, "/", OTHER_AGENT, &w.agent))
    }),
    case("profile.unknown", |w| {
        Ok(whole(&profile(w, "/", "ct-nobody", &w.agent)?))
    }),
    case("profile.dead caller", |w| {
        Ok(whole(&profile(w, "/", AGENT, &w.dead_agent()?)?))
    }),
    case("profile.no caller", |w| {
        let request =
            w.am.client()
                .get(&w.am.realm_target("/", &format!("/agents/{AGENT}")));
        Ok(whole(
            &request
                .header(VERSION, "resource=3.0, protocol=1.0")
                .send()?,
        ))
    }),
    // While AM still remembers what an agent read, it hands that to a user as well: how long depends on
    // its cache, so only the end is compared.
    case("profile.read by a user", |w| {
        let change = json!({ "com.sun.identity.agents.config.polling.interval": ["62"] });
        w.am.admin(ADMIN_PASSWORD)?
            .update_agent("/", OTHER_AGENT, &change)?;
        let user = w.user()?;
        refused_in_time(|| profile(w, "/", OTHER_AGENT, &user))
    }),
    case("profile.protocol 1.0", |w| {
        let request =
            w.am.client()
                .get(&w.am.realm_target("/", &format!("/agents/{AGENT}")));
        let request = request.header(VERSION, "resource=3.0, protocol=1.0");
        Ok(only(
            &request.header(&w.cookie, &w.agent).send()?,
            &["_id", "_rev", "username"],
        ))
    }),
    case("profile.administration path", |w| {
        let target =
            w.am.realm_target("/", &format!("/realm-config/agents/WebAgent/{AGENT}"));
        let request = w.am.client().get(&target).header(&w.cookie, &w.agent);
        Ok(whole(
            &request
                .header(VERSION, "resource=1.0, protocol=1.0")
                .send()?,
        ))
    }),
    // Sessions
    case("session.alive", |w| {
        session_document(&get_session(w, &w.agent, &w.user()?)?)
    }),
    case("session.of the sub-realm", |w| {
        let token = w.am.login(SUB_REALM, USER, USER_PASSWORD)?;
        w.label(&token, "<sub-realm user token>");
        session_document(&get_session(w, &w.agent, &token)?)
    }),
    case("session.of an agent", |w| {
        let seen = session_document(&get_session(w, &w.agent, &w.agent)?)?;
        Ok(json!({
            "cid": seen["session"]["cid"], "stype": seen["session"]["stype"],
            "UserId": seen["properties"]["UserId"], "name": seen["properties"]["UserToken"],
        }))
    }),
    case("session.dead", |w| {
        session_document(&get_session(w, &w.agent, &w.dead_user()?)?)
    }),
    case("session.rubbish", |w| {
        let mut seen = session_document(&get_session(w, &w.agent, "rubbish")?)?;
        // The words are a Java exception's and differ between releases.
        seen["exception"] = json!(seen["exception"].is_string());
        Ok(seen)
    }),
    case("session.dead agent", |w| {
        let seen = session_document(&get_session(w, &w.dead_agent()?, &w.user()?)?)?;
        let words = seen["exception"].as_str().unwrap_or_default();
        Ok(
            json!({ "status": seen["status"], "names the agent": words.contains("Application token passed in") }),
        )
    }),
    case("validate.alive", |w| {
        Ok(whole(&sessions(w, "validate", "1.2", &w.user()?, "")?))
    }),
    case("validate.dead", |w| {
        Ok(whole(&sessions(w, "validate", "1.2", &w.dead_user()?, "")?))
    }),
    case("validate.by parameter, no caller", |w| {
        let below = format!(
            "/json/sessions?_action=validate&tokenId={}",
            escape(&w.user()?)
        );
        Ok(whole(
            &w.post(&below)
                .header(VERSION, "resource=1.2")
                .json(&json!({}))
                .send()?,
        ))
    }),
    case("validate.version 2", |w| {
        Ok(whole(&sessions(w, "validate", "2.0", &w.user()?, "")?))
    }),
    case("session info.own", |w| {
        Ok(masked_info(&sessions(
            w,
            "getSessionInfo",
            "2.0",
            &w.user()?,
            "",
        )?))
    }),
    case("session info.dead caller", |w| {
        Ok(whole(&sessions(
            w,
            "getSessionInfo",
            "2.0",
            &w.dead_user()?,
            "",
        )?))
    }),
    // A client written for another product asks so, and gets an answer about the wrong session.
    case("session info.trap, token in the body", |w| {
        let below = "/json/sessions?_action=getSessionInfo";
        let request = w
            .post(below)
            .header(VERSION, "resource=2.0")
            .header(&w.cookie, &w.agent);
        let answer = request.json(&json!({ "tokenId": w.user()? })).send()?;
        Ok(only(&answer, &["username", "realm"]))
    }),
    case("session info.another's by parameter", |w| {
        let parameter = format!("&tokenId={}", escape(&w.user()?));
        Ok(whole(&sessions(
            w,
            "getSessionInfo",
            "2.0",
            &w.agent,
            &parameter,
        )?))
    }),
    case("session info.version 3", |w| {
        Ok(whole(&sessions(
            w,
            "getSessionInfo",
            "3.0",
            &w.user()?,
            "",
        )?))
    }),
    case("session info.version 4", |w| {
        Ok(whole(&sessions(
            w,
            "getSessionInfo",
            "4.0",
            &w.user()?,
            "",
        )?))
    }),
    // Policy
    case("policy.allowed", |w| {
        evaluated(w, &["/docs/a.html"], &json!({}))
    }),
    case("policy.attributes", |w| {
        evaluated(w, &["/docs/a.html?x=1"], &json!({}))
    }),
    case("policy.denied", |w| {
        evaluated(w, &["/denied/a"], &json!({}))
    }),
    case("policy.none", |w| evaluated(w, &["/nothing/a"], &json!({}))),
    case("policy.several resources", |w| {
        evaluated(
            w,
            &["/nothing/1", "/docs/1", "/denied/1", "/docs/2"],
            &json!({}),
        )
    }),
    case("policy.case of path and host", |w| {
        let resource = "http://CONTRACT.test.example.org:8080/DOCS/a";
        Ok(decisions(&evaluate(
            w,
            "2.1",
            &w.agent,
            &question(w, &[resource.to_owned()])?,
        )?))
    }),
    case("policy.dots are not resolved", |w| {
        evaluated(w, &["/docs/../denied/a"], &json!({}))
    }),
    case("policy.no port", |w| {
        let resource = "http://contract.test.example.org/docs/a";
        Ok(decisions(&evaluate(
            w,
            "2.1",
            &w.agent,
            &question(w, &[resource.to_owned()])?,
        )?))
    }),
    case("policy.window", |w| {
        evaluated(w, &["/window/a"], &json!({}))
    }),
    case("policy.address inside", |w| {
        evaluated(w, &["/address/a"], &address("192.0.2.7"))
    }),
    case("policy.address outside", |w| {
        evaluated(w, &["/address/a"], &address("198.51.100.7"))
    }),
    case("policy.address of IPv6", |w| {
        evaluated(w, &["/address/a"], &address("2001:db8::7"))
    }),
    case("policy.level too low", |w| {
        evaluated(w, &["/level/a"], &json!({}))
    }),
    case("policy.dead user", |w| {
        let question = json!({ "resources": [format!("{SITE}/docs/a")], "subject": { "ssoToken": w.dead_user()? } });
        Ok(whole(&evaluate(w, "2.1", &w.agent, &question)?))
    }),
    case("policy.rubbish user", |w| {
        let question = json!({ "resources": [format!("{SITE}/docs/a")], "subject": { "ssoToken": "rubbish" } });
        Ok(whole(&evaluate(w, "2.1", &w.agent, &question)?))
    }),
    case("policy.dead agent", |w| {
        let question = question(w, &[format!("{SITE}/docs/a")])?;
        Ok(whole(&evaluate(w, "2.1", &w.dead_agent()?, &question)?))
    }),
    case("policy.user as caller", |w| {
        let question = question(w, &[format!("{SITE}/docs/a")])?;
        Ok(whole(&evaluate(w, "2.1", &w.user()?, &question)?))
    }),
    case("policy.no resources", |w| {
        Ok(whole(&evaluate(w, "2.1", &w.agent, &question(w, &[])?)?))
    }),
    case("policy.no subject", |w| {
        // The caller is evaluated: an agent is an authenticated identity, too.
        let question = json!({ "resources": [format!("{SITE}/docs/a")] });
        let seen = decisions(&evaluate(w, "2.1", &w.agent, &question)?);
        Ok(
            json!({ "status": seen["status"], "actions": seen["body"][format!("{SITE}/docs/a")]["actions"] }),
        )
    }),
    case("policy.unknown set", |w| {
        evaluated_as(w, "/", &json!({ "application": "ct-none" }))
    }),
    case("policy.set missing in the realm", |w| {
        evaluated_as(w, SUB_REALM, &json!({ "application": SET }))
    }),
    case("policy.agent of a sub-realm", |w| {
        let agent = w.am.agent_login(SUB_REALM, SUB_AGENT, AGENT_PASSWORD)?;
        Ok(decisions(&evaluate(
            w,
            "2.1",
            &agent,
            &question(w, &[format!("{SITE}/docs/a")])?,
        )?))
    }),
    case("policy.version 1.0", |w| {
        Ok(decisions(&evaluate(
            w,
            "1.0",
            &w.agent,
            &question(w, &[format!("{SITE}/docs/a")])?,
        )?))
    }),
    case("policy.version 2.2", |w| {
        Ok(whole(&evaluate(w, "2.2", &w.agent, &json!({}))?))
    }),
    case("policy.version 3.0", |w| {
        Ok(whole(&evaluate(w, "3.0", &w.agent, &json!({}))?))
    }),
    // Names
    case("host.not AM's", |w| {
        let request = w.get("/json/serverinfo/*").header("Host", "127.0.0.1");
        Ok(whole(&request.header(VERSION, "resource=1.1").send()?))
    }),
    // OpenID Connect
    case("authorize.not logged in", |w| {
        Ok(head(&w.authorize(&[]).send()?))
    }),
    case("authorize.dead session", |w| {
        Ok(head(&authorized(w, &w.dead_user()?, &[])?))
    }),
    case("authorize.logged in", |w| {
        authorize_form(&authorized(w, &w.user()?, &[])?)
    }),
    case("authorize.parameters of another product", |w| {
        authorize_form(&authorized(
            w,
            &w.user()?,
            &[("agent_provider", "true"), ("agent_realm", "/")],
        )?)
    }),
    case("authorize.another path", |w| {
        refusal(w, &[("redirect_uri", &format!("{SITE}/other"))])
    }),
    case("authorize.no port", |w| {
        refusal(
            w,
            &[(
                "redirect_uri",
                "http://contract.test.example.org/agent/cdsso-oauth2",
            )],
        )
    }),
    case("authorize.another host", |w| {
        refusal(
            w,
            &[(
                "redirect_uri",
                "http://evil.example.net:8080/agent/cdsso-oauth2",
            )],
        )
    }),
    case("authorize.unknown client", |w| {
        refusal(w, &[("client_id", "ct-nobody")])
    }),
    case("authorize.no nonce", |w| refusal(w, &[("nonce", "")])),
    case("authorize.more scopes", |w| {
        refusal(w, &[("scope", "openid mail")])
    }),
    case("authorize.code", |w| {
        refusal(w, &[("response_type", "code")])
    }),
    // The login of older agents
    case("cdcservlet.logged in", |w| {
        lares_form(&servlet(w, &w.user()?, &[])?)
    }),
    case("cdcservlet.not logged in", |w| {
        Ok(head(&w.cdcservlet(&[]).send()?))
    }),
    case("cdcservlet.dead session", |w| {
        Ok(head(&servlet(w, &w.dead_user()?, &[])?))
    }),
    // It asks nobody whether a site may have the session.
    case("cdcservlet.a site that nobody knows", |w| {
        let changes = [
            ("ProviderID", "http://evil.example.net:8080/?Realm=%2F"),
            ("goto", "http://evil.example.net:8080/take?a=1&b=2"),
        ];
        lares_form(&servlet(w, &w.user()?, &changes)?)
    }),
    case("cdcservlet.no request id", |w| {
        servlet_page(w, &[("RequestID", "")])
    }),
    case("cdcservlet.another version", |w| {
        servlet_page(w, &[("MajorVersion", "2")])
    }),
    case("cdcservlet.no time", |w| {
        servlet_page(w, &[("IssueInstant", "now")])
    }),
    case("cdcservlet.no goto", |w| servlet_page(w, &[("goto", "")])),
    case("cdcservlet.script as goto", |w| {
        servlet_page(w, &[("goto", "javascript:alert(1)")])
    }),
    case("cdcservlet.realm", |w| {
        Ok(head(&servlet(w, &w.user()?, &[("realm", SUB_REALM)])?))
    }),
    case("cdcservlet.service and module", |w| {
        let changes = [("service", "ldapService"), ("module", "DataStore")];
        Ok(head(&servlet(w, &w.user()?, &changes)?))
    }),
    case("cdcservlet.more parameters", |w| {
        let changes = [("RelayState", "a b"), ("agent_realm", "/")];
        Ok(head(&w.cdcservlet(&changes).send()?))
    }),
    // Pages
    case("login page.goto", |w| {
        Ok(head(
            &w.get(&format!(
                "/UI/Login?{}",
                query(&[("realm", "/"), ("goto", SITE)])
            ))
            .send()?,
        ))
    }),
    case("login page.advice", |w| {
        let fields = [
            ("authIndexType", "composite_advice"),
            ("authIndexValue", ADVICE),
            ("goto", SITE),
        ];
        Ok(head(
            &w.get(&format!("/UI/Login?{}", query(&fields))).send()?,
        ))
    }),
    case("login page.old advice parameter", |w| {
        let fields = [("sunamcompositeadvice", ADVICE), ("goto", SITE)];
        Ok(head(
            &w.get(&format!("/UI/Login?{}", query(&fields))).send()?,
        ))
    }),
    case("login page.posted advice", |w| {
        let page = format!("/UI/Login?{}", query(&[("realm", "/"), ("goto", SITE)]));
        let fields = [("sunamcompositeadvice", ADVICE)];
        Ok(head(&w.post(&page).form(&fields).send()?))
    }),
    // A second login with the session that the first one gave: the token is another one, and the level is
    // the one asked for.
    case("step-up.for a level", |w| {
        let user = w.user()?;
        let asked = ADVICE.replace("<Value>2<", "<Value>5<");
        let stronger = w.am.step_up(&user, &asked, USER, USER_PASSWORD)?;
        w.label(&stronger, "<stronger token>");
        let seen = |token: &str| -> Seen {
            let document = session_document(&get_session(w, &w.agent, token)?)?;
            let question = json!({
                "application": SET, "subject": { "ssoToken": token },
                "resources": [format!("{SITE}/level/a")],
            });
            Ok(json!({
                "level": document["properties"]["AuthLevel"],
                "decision": decisions(&evaluate(w, "2.1", &w.agent, &question)?),
            }))
        };
        Ok(json!({
            "another": user != stronger, "before": seen(&user)?, "after": seen(&stronger)?,
        }))
    }),
    case("step-up.for what nobody gives", |w| {
        let asked = ADVICE.replace("<Value>2<", "<Value>99<");
        let index = query(&[
            ("authIndexType", "composite_advice"),
            ("authIndexValue", &asked),
        ]);
        login(w, "/", &format!("?{index}"), USER, USER_PASSWORD)
    }),
    case("logout page", |w| {
        Ok(head(
            &w.get(&format!("/UI/Logout?{}", query(&[("goto", SITE)])))
                .send()?,
        ))
    }),
    // Logout
    case("logout.by the agent", |w| {
        let user = w.user()?;
        let logout = sessions(
            w,
            "logout",
            "1.2",
            &w.agent,
            &format!("&tokenId={}", escape(&user)),
        )?;
        let again = sessions(
            w,
            "logout",
            "1.2",
            &w.agent,
            &format!("&tokenId={}", escape(&user)),
        )?;
        Ok(json!({
            "logout": whole(&logout), "again": whole(&again),
            "user": whole(&sessions(w, "validate", "1.2", &user, "")?),
            "agent": whole(&sessions(w, "validate", "1.2", &w.agent, "")?),
        }))
    }),
    case("logout.own", |w| {
        Ok(whole(&sessions(w, "logout", "1.2", &w.user()?, "")?))
    }),
    case("logout.dead caller", |w| {
        let parameter = format!("&tokenId={}", escape(&w.user()?));
        Ok(whole(&sessions(
            w,
            "logout",
            "1.2",
            &w.dead_agent()?,
            &parameter,
        )?))
    }),
    // A client-side session is one as long as AM's list of ended ones is off: its logout ends nothing (rule S1).
    case("client-side session.life", |w| {
        let token = w.am.login(CLIENT_SIDE_REALM, USER, USER_PASSWORD)?;
        w.label(&token, "<client-side token>");
        let parameter = format!("&tokenId={}", escape(&token));
        let begun = session_document(&get_session(w, &w.agent, &token)?)?;
        let validated = whole(&sessions(w, "validate", "1.2", &token, "")?);
        let logout = whole(&sessions(w, "logout", "1.2", &w.agent, &parameter)?);
        let again = whole(&sessions(w, "logout", "1.2", &w.agent, &parameter)?);
        let after = session_document(&get_session(w, &w.agent, &token)?)?;
        Ok(json!({
            "begins with a star": token.starts_with('*'), "long": token.len() > 1000,
            "session": begun["session"], "validate": validated,
            "logout": logout, "logout again": again,
            "state after the logout": after["session"]["state"],
            "validate after the logout": whole(&sessions(w, "validate", "1.2", &token, "")?),
        }))
    }),
    // The user's entry
    case("user.own entry", |w| {
        let seen = user_entry(w, &w.user()?)?;
        Ok(only(
            &seen,
            &["_id", "username", "realm", "mail", "givenName", "sn", "cn"],
        ))
    }),
    case("user.read by the agent", |w| {
        w.am.admin(ADMIN_PASSWORD)?
            .update_user("/", USER, &json!({ "givenName": "Contract" }))?;
        refused_in_time(|| user_entry(w, &w.agent))
    }),
    case("user.dead caller", |w| {
        Ok(whole(&user_entry(w, &w.dead_user()?)?))
    }),
    // Audit
    case("audit.by the agent", |w| {
        Ok(whole(&audit(w, &w.agent, &event())?))
    }),
    case("audit.by a user", |w| {
        Ok(whole(&audit(w, &w.user()?, &event())?))
    }),
    case("audit.no caller", |w| Ok(whole(&audit(w, "", &event())?))),
    case("audit.no timestamp", |w| {
        Ok(head(&audit(
            w,
            &w.agent,
            &json!({ "transactionId": "ct-1" }),
        )?))
    }),
    // Notifications
    case("notifications.no token", |w| upgraded(w, &[])),
    case("notifications.unknown token", |w| {
        upgraded(w, &[(&w.cookie, "rubbish")])
    }),
    case("notifications.dead token", |w| {
        upgraded(w, &[(&w.cookie, &w.dead_agent()?)])
    }),
    case("notifications.token in a cookie", |w| {
        upgraded(w, &[("Cookie", &format!("{}={}", w.cookie, w.agent))])
    }),
    case("notifications.a user", |w| {
        upgraded(w, &[(&w.cookie, &w.user()?)])
    }),
    case("notifications.the agent", |w| {
        upgraded(w, &[(&w.cookie, &w.agent), SUBPROTOCOL])
    }),
    case("notifications.no subprotocol", |w| {
        upgraded(w, &[(&w.cookie, &w.agent)])
    }),
    case("notifications.another host name", |w| {
        upgraded(
            w,
            &[(&w.cookie, &w.agent), SUBPROTOCOL, ("Host", "127.0.0.1")],
        )
    }),
    case("notifications.of a session", news::of_a_session),
    case("notifications.of a policy", news::of_a_policy),
    case("notifications.of a profile", news::of_a_profile),
    // The administrator is an identity like any other to these calls.
    case("session.of the administrator", |w| {
        let admin = w.am.admin(ADMIN_PASSWORD)?;
        let seen = session_document(&get_session(w, &w.agent, admin.token())?)?;
        Ok(
            json!({ "name": ADMIN_NAME, "UserToken": seen["properties"]["UserToken"], "cid": seen["session"]["cid"] }),
        )
    }),
];

const VERSION: &str = "Accept-API-Version";
const NAME: &str = "X-OpenAM-Username";
const PASSWORD: &str = "X-OpenAM-Password";
const MODULE: &str = "?authIndexType=module&authIndexValue=Application";
const SET: &str = portcullis_openam::seed::DEFAULT_POLICY_SET;
const SUBPROTOCOL: (&str, &str) = ("Sec-WebSocket-Protocol", "v1.notifications.forgerock.org");
const ADVICE: &str = "<Advices><AttributeValuePair><Attribute name=\"AuthLevelConditionAdvice\"/><Value>2</Value></AttributeValuePair></Advices>";

fn login_answer(
    w: &World,
    realm: &str,
    index: &str,
    name: &str,
    password: &str,
) -> Result<Response, Problem> {
    let target = w.am.realm_target(realm, &format!("/authenticate{index}"));
    let request =
        w.am.client()
            .post(&target)
            .header(VERSION, "resource=2.1, protocol=1.0");
    Ok(request
        .header(NAME, name)
        .header(PASSWORD, password)
        .json(&json!({}))
        .send()?)
}

fn login(w: &World, realm: &str, index: &str, name: &str, password: &str) -> Seen {
    let mut seen = whole(&login_answer(w, realm, index, name, password)?);
    if let Some(Value::String(token)) = seen.pointer_mut("/body/tokenId") {
        "<token>".clone_into(token);
    }
    Ok(seen)
}

fn server_version(w: &World, caller: Option<&str>) -> Result<Response, Problem> {
    // With a version AM answers 404 here.
    let request = w.get("/json/serverinfo/version");
    Ok(with_token(w, request, caller.unwrap_or_default()).send()?)
}

/// Adds the token header; no token, no header.
fn with_token<'w>(w: &'w World, request: Request<'w>, token: &str) -> Request<'w> {
    if token.is_empty() {
        request
    } else {
        request.header(&w.cookie, token)
    }
}

fn token_get(w: &World, target: &str, token: &str) -> Result<Response, Problem> {
    let request =
        w.am.client()
            .get(target)
            .header(VERSION, "resource=3.0, protocol=2.1");
    Ok(request.header(&w.cookie, token).send()?)
}

fn profile(w: &World, realm: &str, name: &str, token: &str) -> Result<Response, Problem> {
    token_get(
        w,
        &w.am.realm_target(realm, &format!("/agents/{name}")),
        token,
    )
}

fn user_entry(w: &World, token: &str) -> Result<Response, Problem> {
    token_get(w, &w.am.realm_target("/", &format!("/users/{USER}")), token)
}

/// What AM says once it has forgotten the entry. It keeps what it read for one caller and hands it to
/// another without asking whether that one is allowed, until word of a change has reached its memory
/// (about 10 s, measured on 16.0.5 and 14.8.4).
fn refused_in_time(read: impl Fn() -> Result<Response, Problem>) -> Seen {
    let deadline = Instant::now() + Duration::from_secs(180);
    loop {
        let answer = read()?;
        if answer.status != 200 || Instant::now() > deadline {
            return Ok(whole(&answer));
        }
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// `GetSession` about `token`, asked by `agent`, without counting as activity.
fn get_session(w: &World, agent: &str, token: &str) -> Result<Response, Problem> {
    let requester = base64::engine::general_purpose::STANDARD.encode(format!("token:{agent}"));
    let body = format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\" standalone=\"yes\"?>\n\
         <RequestSet vers=\"1.0\" svcid=\"Session\" reqid=\"0\">\n<Request><![CDATA[\
         <SessionRequest vers=\"1.0\" reqid=\"1\" requester=\"{requester}\">\
         <GetSession reset=\"false\"><SessionID>{token}</SessionID></GetSession>\
         </SessionRequest>]]></Request>\n</RequestSet>"
    );
    Ok(w.post("/sessionservice")
        .body("text/xml;charset=UTF-8", body)
        .send()?)
}

fn sessions(
    w: &World,
    action: &str,
    version: &str,
    caller: &str,
    parameter: &str,
) -> Result<Response, Problem> {
    let request = w.post(&format!("/json/sessions?_action={action}{parameter}"));
    let request = request.header(VERSION, &format!("resource={version}"));
    Ok(request.header(&w.cookie, caller).json(&json!({})).send()?)
}

fn masked_info(answer: &Response) -> Value {
    let pointers = [
        "/body/latestAccessTime",
        "/body/maxIdleExpirationTime",
        "/body/maxSessionExpirationTime",
        "/body/sessionHandle",
    ];
    masked(whole(answer), &pointers)
}

fn question(w: &World, resources: &[String]) -> Result<Value, Problem> {
    Ok(json!({ "resources": resources, "application": SET, "subject": { "ssoToken": w.user()? } }))
}

fn evaluate(w: &World, version: &str, caller: &str, question: &Value) -> Result<Response, Problem> {
    let target = w.am.realm_target("/", "/policies?_action=evaluate");
    let request = w.am.client().post(&target).header("Accept-Language", "en");
    let request = request.header(VERSION, &format!("resource={version}, protocol=1.0"));
    Ok(request.header(&w.cookie, caller).json(question).send()?)
}

/// The agent asks about paths of its site for a fresh user.
fn evaluated(w: &World, paths: &[&str], environment: &Value) -> Seen {
    let resources: Vec<String> = paths.iter().map(|path| format!("{SITE}{path}")).collect();
    let mut question = question(w, &resources)?;
    question["environment"] = environment.clone();
    Ok(decisions(&evaluate(w, "2.1", &w.agent, &question)?))
}

/// The same question with other members, in another realm.
fn evaluated_as(w: &World, realm: &str, members: &Value) -> Seen {
    let mut question = question(w, &[format!("{SITE}/docs/a")])?;
    question["application"] = members["application"].clone();
    let target = w.am.realm_target(realm, "/policies?_action=evaluate");
    let request =
        w.am.client()
            .post(&target)
            .header(VERSION, "resource=2.1, protocol=1.0");
    Ok(whole(
        &request.header(&w.cookie, &w.agent).json(&question).send()?,
    ))
}

fn address(ip: &str) -> Value {
    json!({ "requestIp": [ip] })
}

fn authorized(w: &World, token: &str, changes: &[(&str, &str)]) -> Result<Response, Problem> {
    Ok(w.authorize(changes)
        .header("Cookie", &format!("{}={token}", w.cookie))
        .send()?)
}

/// What a logged-in browser gets for a request that AM refuses.
fn refusal(w: &World, changes: &[(&str, &str)]) -> Seen {
    Ok(head(&authorized(w, &w.user()?, changes)?))
}

fn servlet(w: &World, token: &str, changes: &[(&str, &str)]) -> Result<Response, Problem> {
    let cookie = format!("{}={token}", w.cookie);
    Ok(w.cdcservlet(changes).header("Cookie", &cookie).send()?)
}

/// A page that is no form, whole.
fn servlet_page(w: &World, changes: &[(&str, &str)]) -> Seen {
    let answer = servlet(w, &w.user()?, changes)?;
    let mut seen = head(&answer);
    seen["text"] = json!(answer.text().trim());
    Ok(seen)
}

fn event() -> Value {
    json!({
        "timestamp": "2026-08-20T09:12:00.015Z", "transactionId": "ct-1",
        "eventName": "AM-ACCESS-OUTCOME", "component": "Policy Agent", "realm": "/",
        "userId": format!("id={USER},ou=user,dc=openam,dc=openidentityplatform,dc=org"),
        "client": { "ip": "203.0.113.9", "port": 51022 },
        "request": { "protocol": "HTTP", "operation": "GET" },
        "http": { "request": { "secure": false, "method": "GET", "path": format!("{SITE}/docs/a") } },
        "response": { "status": "SUCCESSFUL", "elapsedTime": 3, "elapsedTimeUnits": "MILLISECONDS" },
    })
}

fn audit(w: &World, caller: &str, event: &Value) -> Result<Response, Problem> {
    let target = w.am.realm_target("/", "/realm-audit/access?_action=create");
    let request =
        w.am.client()
            .post(&target)
            .header(VERSION, "resource=1.0, protocol=1.0");
    Ok(with_token(w, request, caller).json(event).send()?)
}

/// The WebSocket handshake of `/notifications` with these headers; nothing is said afterwards.
fn upgraded(w: &World, headers: &[(&str, &str)]) -> Seen {
    let mut request = w
        .get("/notifications")
        .header("Connection", "Upgrade")
        .header("Upgrade", "websocket")
        .header("Sec-WebSocket-Version", "13")
        .header("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ==");
    for (name, value) in headers {
        request = request.header(name, value);
    }
    let answer = request.send()?;
    Ok(json!({
        "status": answer.status,
        "subprotocol": answer.header("sec-websocket-protocol"),
        "accept": answer.header("sec-websocket-accept"),
    }))
}

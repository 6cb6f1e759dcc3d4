//! Where is a browser sent to log in, and with what? By the configuration as an operator writes it.
#![allow(clippy::expect_used, clippy::panic, reason = "helpers of tests")]

mod support;

use portcullis_engine::{
    config::{self, Snapshot},
    contract::{
        Act, AttributesKey, FactError, Facts, Header, Known, Outcome, PolicyKey, Receipt, Response,
        SessionKey, Step,
    },
    decide,
    event::Code,
    record::{Attributes, NewPolicy, NewSession, Policy, Session, SessionKind},
};
use support::{AGENT, NOW, snapshot};

const ACCEPT: &str = "com.forgerock.agents.accept.sso.token = 1\n";
const MODE: &str = "org.forgerock.openam.agents.config.allow.custom.login";
const REDIRECT: &str = "com.sun.am.use_redirect_for_advice = true\n";
/// Advices for level 2, as they are written into a URL.
const LEVEL2: &str = "%3CAdvices%3E%3CAttributeValuePair%3E%3CAttribute%20name%3D%22AuthLevelConditionAdvice%22%2F%3E\
                      %3CValue%3E2%3C%2FValue%3E%3C%2FAttributeValuePair%3E%3C%2FAdvices%3E";

/// A live session and what AM says of the page.
struct Memo {
    session: Vec<u8>,
    policy: Vec<u8>,
    dead: bool,
    serving: usize,
}

impl Memo {
    fn with_advice(name: &str, value: &str) -> Memo {
        let session = NewSession {
            kind: SessionKind::User,
            universal_id: "id=demo,ou=user,dc=example,dc=com",
            realm: "/",
            max_end: NOW.wall.0 + 60_000,
            idle_end: NOW.wall.0 + 60_000,
            client_side: false,
            properties: &[],
        };
        let policy = NewPolicy {
            ttl: u64::MAX,
            actions: &[],
            attributes: &[],
            advices: &[(name, &[value])],
        };
        Memo {
            session: session.encode().expect("record"),
            policy: policy.encode().expect("record"),
            dead: false,
            serving: 0,
        }
    }
}

impl Facts for Memo {
    fn session(&self, _: SessionKey) -> Known<Session<'_>> {
        match self.dead {
            true => Known::Failed(FactError::Dead, None),
            false => Known::Fresh(Session::decode(&self.session).expect("record")),
        }
    }
    fn policy(&self, _: PolicyKey) -> Known<Policy<'_>> {
        Known::Fresh(Policy::decode(&self.policy).expect("record"))
    }
    fn attributes(&self, _: AttributesKey) -> Known<Attributes<'_>> {
        Known::Missing
    }
    fn form(&self) -> Known<&[u8]> {
        Known::Missing
    }
    fn receipt(&self, act: &Act) -> Known<Receipt> {
        match act {
            Act::Count { .. } => Known::Fresh(Receipt::Counted(1)),
            _ => Known::Fresh(Receipt::Done),
        }
    }
    fn am_serving(&self) -> usize {
        self.serving
    }
    fn seed(&self) -> &[u8; 32] {
        &[9; 32]
    }
}

/// What the agent answers to a request with this session token and these other cookies.
fn answer<T>(
    snap: &Snapshot,
    facts: &dyn Facts,
    (token, cookies): (&str, &str),
    address: &str,
    look: impl FnOnce(Code, &Response) -> T,
) -> T {
    let mut view = support::view_at("GET", address);
    let sealed = portcullis_engine::decide::cookie_of(&view, snap, facts, NOW, token.as_bytes());
    let own = match token {
        "" => String::new(),
        _ => format!("am-auth-jwt={}; ", sealed.expect("a URL")),
    };
    let cookie = format!("{own}{cookies}");
    let headers = [Header {
        name: b"Cookie",
        value: cookie.as_bytes(),
    }];
    view.headers = &headers;
    match decide(&view, snap, facts, NOW) {
        Step::Done(decision) => match &decision.outcome {
            Outcome::Respond(response) => look(decision.reason, response),
            Outcome::Allow(_) | Outcome::Replay => panic!("allowed"),
        },
        Step::Need(_) => panic!("needs something"),
    }
}

fn header<'r>(response: &'r Response, name: &str) -> Vec<&'r str> {
    let named = response.headers.iter().filter(|(n, _)| n == name);
    named
        .map(|(_, value)| core::str::from_utf8(value).expect("text"))
        .collect()
}

fn location(response: &Response) -> String {
    header(response, "Location").concat()
}

/// Name and value of the cookie that is set or cleared and whose name ends so.
fn cookie<'r>(response: &'r Response, end: &str) -> Option<&'r str> {
    let pairs = header(response, "Set-Cookie");
    let mut pairs = pairs.iter().map(|c| c.split(';').next().unwrap_or(c));
    pairs.find(|pair| {
        pair.split('=')
            .next()
            .is_some_and(|name| name.ends_with(end))
    })
}

#[test]
fn advices_go_first_to_the_login_page_and_from_there_to_the_login() {
    let memo = Memo::with_advice("AuthLevelConditionAdvice", "2");
    let snap = snapshot(REDIRECT);
    // A script has nobody who could log in for more, and JSON has no form.
    let listed = snapshot("org.forgerock.agents.config.json.url[0] = */app\n");
    answer(&listed, &memo, ("one", ""), "/app", |code, response| {
        assert_eq!((code, response.status), (Code::LoginStepUp, 401));
        assert!(header(response, "Location").is_empty());
        assert!(response.body.starts_with(b"{"));
    });
    let unseen = snapshot("portcullis.unauthorized.url[0] = */app\n");
    answer(&unseen, &memo, ("one", ""), "/app", |code, response| {
        assert_eq!((code, response.status), (Code::DeniedWithAdvices, 403));
    });
    answer(&snap, &memo, ("one", ""), "/app", |code, response| {
        assert_eq!((code, response.status), (Code::LoginStepUp, 302));
        let to = location(response);
        let page = "http://am.example.com:8080/openam/UI/Login?realm=%2F&goto=http%3A%2F%2Fam.example.com%3A8080\
                    %2Fopenam%2Foauth2%2Fauthorize%3Fclient_id%3Dwa1%26";
        assert!(to.starts_with(page), "{to}");
        let advices = format!("&authIndexType=composite_advice&authIndexValue={LEVEL2}");
        assert!(to.ends_with(&advices) && !to.contains("prompt"), "{to}");
        // The session stays, and two cookies remember the login and the attempt.
        assert_eq!(
            header(response, "Set-Cookie").len(),
            2,
            "{:?}",
            header(response, "Set-Cookie")
        );
        assert!(cookie(response, "-up").is_some());
    });
    // Without the property a form that posts itself.
    let snap = snapshot("");
    answer(&snap, &memo, ("one", ""), "/app", |code, response| {
        assert_eq!((code, response.status), (Code::LoginStepUp, 200));
        let body = core::str::from_utf8(&response.body).expect("text");
        assert!(
            body.contains("name=\"sunamcompositeadvice\" value=\"&lt;Advices&gt;"),
            "{body}"
        );
        assert!(
            body.contains(
                "action=\"http://am.example.com:8080/openam/UI/Login?realm=%2F&amp;goto="
            ),
            "{body}"
        );
    });
}

#[test]
fn advices_go_to_the_configured_page_in_legacy_mode() {
    let memo = Memo::with_advice("AuthLevelConditionAdvice", "2");
    let page = format!(
        "{MODE} = 2\n{ACCEPT}{REDIRECT}{AGENT}login.url[0] = https://login.example.com/in?x=1\n"
    );
    let to = |lines: &str| {
        answer(
            &snapshot(lines),
            &memo,
            ("one", ""),
            "/app",
            |code, response| {
                assert_eq!(code, Code::LoginStepUp);
                location(response)
            },
        )
    };
    let start = "https://login.example.com/in?x=1&goto=http%3A%2F%2Fwww.example.com%3A80%2Fapp\
                 &authIndexType=composite_advice&authIndexValue=";
    assert_eq!(to(&page), format!("{start}{LEVEL2}"));
    let encoded = format!("{page}com.forgerock.agents.advice.b64.url.encode = true\n");
    let base64 = "PEFkdmljZXM-PEF0dHJpYnV0ZVZhbHVlUGFpcj48QXR0cmlidXRlIG5hbWU9IkF1dGhMZXZlbENvbmRpdGlvbkFkdmljZSIvPjxW\
                  YWx1ZT4yPC9WYWx1ZT48L0F0dHJpYnV0ZVZhbHVlUGFpcj48L0FkdmljZXM-";
    assert_eq!(to(&encoded), format!("{start}{base64}"));
    // AM's own page reads them plain.
    let own = format!(
        "{MODE} = 2\n{ACCEPT}{REDIRECT}com.forgerock.agents.advice.b64.url.encode = true\n"
    );
    assert!(to(&own).ends_with(LEVEL2));
}

#[test]
fn the_same_advice_after_a_step_up_is_a_denial_that_says_so() {
    let memo = Memo::with_advice("AuthLevelConditionAdvice", "2");
    let snap = snapshot(REDIRECT);
    let go = |token: &str, remembered: &str, memo: &Memo| {
        answer(
            &snap,
            memo,
            (token, remembered),
            "/app",
            |code, response| {
                let next = cookie(response, "-up").unwrap_or_default().to_owned();
                (code, response.status, next)
            },
        )
    };
    let (up, again) = (Code::LoginStepUp, Code::DeniedAdviceAgain);
    let (code, _, first) = go("one", "", &memo);
    assert_eq!(code, up);
    // A new session that lacks the same. What is remembered goes, so that asking again tries again.
    let (code, status, gone) = go("two", &first, &memo);
    assert_eq!(
        (code, status, gone.as_str()),
        (again, 403, "agent-authn-up=")
    );
    assert_eq!(go("two", "", &memo).0, up);
    // Something else is missing now.
    let level3 = Memo::with_advice("AuthLevelConditionAdvice", "3");
    assert_eq!(go("two", &first, &level3).0, up);
    // The same session comes back: the user went back, or has several tabs open. Not for ever.
    let mut remembered = first;
    for round in 2..=5 {
        let (code, _, next) = go("one", &remembered, &memo);
        assert_eq!(code, up, "round {round}");
        remembered = next;
    }
    assert_eq!(go("one", &remembered, &memo).0, again);
    // What is not ours, or of another host, is nothing.
    assert_eq!(go("one", "agent-authn-up=forged", &memo).0, up);
    // Another login forgets it.
    answer(&snap, &memo, ("", &remembered), "/app", |code, response| {
        assert_eq!(code, Code::LoginNoToken);
        assert_eq!(cookie(response, "-up"), Some("agent-authn-up="));
    });
}

#[test]
fn the_first_rule_that_holds_says_where_to_log_in() {
    let conditional = "com.forgerock.agents.conditional.login.url";
    let regex = "org.forgerock.agents.config.conditional.login";
    let lines = format!(
        "{conditional}[1] = /app/b|https://b1.example.org/am,https://b2.example.org/am?service=x\n\
         {conditional}[0] = www.example.com:80/app/a|https://a.example.org/am/oauth2/realms/root/realms/x/authorize?service=t\n\
         {conditional}[10] = /app/own|\n\
         {conditional}[11] = /app/page|https://c.example.org/am/UI/Login?module=m\n\
         {regex}.pattern[2] = /app/.*\\.pdf$\n{regex}.url[2] = https://pdf.example.org/am/\n\
         portcullis.login.header[X-Tenant:acme] = https://acme.example.org/am\n\
         portcullis.login.parameter[tenant:acme] = https://parameter.example.org/am\n\
         portcullis.login.parameter[kiosk] = https://kiosk.example.org/am\n"
    );
    let snap = snapshot(&lines);
    let memo = Memo::with_advice("x", "y");
    let to = |address: &str| {
        answer(&snap, &memo, ("", ""), address, |code, response| {
            assert_eq!(code, Code::LoginNoToken);
            location(response)
        })
    };
    for (address, start) in [
        (
            "/app/a",
            "https://a.example.org/am/oauth2/realms/root/realms/x/authorize?service=t&client_id=wa1&",
        ),
        (
            "/app/b",
            "https://b1.example.org/am/oauth2/authorize?client_id=wa1&",
        ),
        (
            "/app/own",
            "http://am.example.com:8080/openam/oauth2/authorize?client_id=wa1&",
        ),
        (
            "/app/page",
            "https://c.example.org/am/UI/Login?module=m&realm=%2F&goto=https%3A%2F%2Fc.example.org%2Fam%2Foauth2\
                       %2Fauthorize%3Fclient_id%3Dwa1%26",
        ),
        (
            "/app/x.pdf",
            "https://pdf.example.org/am/oauth2/authorize?client_id=wa1&",
        ),
        (
            "/app/b?tenant=acme",
            "https://parameter.example.org/am/oauth2/authorize?",
        ),
        (
            "/app/z",
            "http://am.example.com:8080/openam/oauth2/authorize?client_id=wa1&",
        ),
    ] {
        let to = to(address);
        assert!(to.starts_with(start), "{address}: {to}");
    }
    // The realm that the address names is the one of the login; the agent's own goes beside it.
    let named = to("/app/a");
    assert!(
        !named.contains("&realm=") && named.contains("&agent_realm=%2F"),
        "{named}"
    );
    assert!(to("/app/b").contains("&realm=%2F&"));
    for realm in ["/", "/x"] {
        assert!(snap.login_realms.iter().any(|r| r == realm), "{realm}");
    }
    assert!(
        snap.am_origins
            .iter()
            .any(|o| o == "https://b2.example.org")
    );
    let issuer = "https://a.example.org/am/oauth2/realms/root/realms/x";
    assert!(
        snap.issuers.iter().any(|i| i == issuer),
        "{:?}",
        snap.issuers
    );
}

#[test]
fn rules_about_logins_that_cannot_be_used_are_named() {
    let regex = "org.forgerock.agents.config.conditional.login";
    for (lines, word) in [
        (
            "com.forgerock.agents.conditional.login.url[0] = /a|/login\n",
            "conditional.login.url",
        ),
        (
            "com.forgerock.agents.conditional.login.url[0] = /a|https://a/#x\n",
            "fragment",
        ),
        (
            "portcullis.login.header[X-Tenant] = https://a\n",
            "login.header",
        ),
        ("portcullis.login.header[X-Tenant:a] =  \n", "login.header"),
        (
            "portcullis.login.parameter[a b:c] = https://a\n",
            "login.parameter",
        ),
    ] {
        let (_, problems) = support::read(lines);
        let said: String = problems.iter().map(ToString::to_string).collect();
        assert!(
            said.contains(word) || word == "login.header" && said.is_empty(),
            "{lines}: {said}"
        );
    }
    for lines in [
        format!("{regex}.pattern[0] = a\n"),
        format!("{regex}.url[0] = https://a/\n"),
        format!("{regex}.pattern[0] = (\n{regex}.url[0] = https://a/\n"),
    ] {
        let (config, _) = support::read(&lines);
        let mistakes = config::mistakes(&config, &config::Properties::default(), &[]);
        assert!(!mistakes.is_empty(), "{lines}");
    }
}

#[test]
fn a_login_page_of_ones_own_leads_back_to_what_was_asked_for() {
    let lines = format!(
        "{MODE} = 1\n{REDIRECT}{AGENT}login.url[0] = https://login.example.com/in?service=s&realm=/x\n"
    );
    let snap = snapshot(&lines);
    let mut memo = Memo::with_advice("AuthLevelConditionAdvice", "2");
    let (to, remembered) = answer(&snap, &memo, ("", ""), "/app?a=1", |code, response| {
        assert_eq!(code, Code::LoginNoToken);
        let remembered = header(response, "Set-Cookie").concat();
        let remembered = remembered.split(';').next().expect("a cookie").to_owned();
        (location(response), remembered)
    });
    let goto = "http%3A%2F%2Fwww.example.com%3A80%2Fagent%2Fcustom-login-response%3Fstate%3D";
    let start = format!("https://login.example.com/in?service=s&realm=/x&goto={goto}");
    let end =
        "%26realm%3D%252Fx&original_request_url=http%3A%2F%2Fwww.example.com%3A80%2Fapp%3Fa%3D1";
    assert!(to.starts_with(&start) && to.ends_with(end), "{to}");
    let state = &to[start.len()..to.len() - end.len()];
    assert_eq!(state.len(), 22);
    let respond = |memo: &Memo, cookies: &str, target: &str| {
        answer(&snap, memo, ("", cookies), target, |code, response| {
            (
                code,
                response.status,
                location(response),
                header(response, "Set-Cookie").len(),
            )
        })
    };
    let back = format!("/agent/custom-login-response?state={state}&realm=%2Fx");
    // AM's cookie comes here: its session becomes the agent's, and the login's cookie goes;
    // a third one counts the round.
    let both = format!("{remembered}; iPlanetDirectoryPro=AQIC5w.one");
    let done = respond(&memo, &both, &back);
    assert_eq!(
        done,
        (
            Code::LoginDone,
            302,
            "http://www.example.com:80/app?a=1".into(),
            3
        )
    );
    // It does not, or is of no live session: AM is asked as in the default login.
    let at_am = "http://am.example.com:8080/openam/oauth2/authorize?client_id=wa1&";
    let (code, _, to, _) = respond(&memo, &remembered, &back);
    assert!(
        code == Code::LoginAtAm && to.starts_with(at_am) && to.contains("&realm=%2Fx&"),
        "{to}"
    );
    memo.dead = true;
    assert_eq!(respond(&memo, &both, &back).0, Code::LoginAtAm);
    memo.dead = false;
    // Nobody else's login, and no realm that does not count here.
    let own = "iPlanetDirectoryPro=AQIC5w.one";
    let other = format!("/agent/custom-login-response?state={}", "A".repeat(22));
    for (cookies, target, code) in [
        (own, back.as_str(), Code::CallbackNoCookie),
        (both.as_str(), other.as_str(), Code::CallbackNoCookie),
        (&both, "/agent/custom-login-response", Code::CallbackForm),
        (&both, &format!("{back}&state={state}"), Code::CallbackForm),
        (
            &both,
            &format!("/agent/custom-login-response?state={state}&realm=/elsewhere"),
            Code::DeniedRealm,
        ),
    ] {
        let (refused, status, to, _) = respond(&memo, cookies, target);
        assert_eq!((refused, to.as_str()), (code, ""), "{target}");
        assert!(status == 403 || status == 400);
    }
    // In another mode it is a URL like any other.
    let default = snapshot("");
    answer(&default, &memo, ("", &both), &back, |code, _| {
        assert_eq!(code, Code::LoginNoToken);
    });
    // The page is told why; a script gets no login, and a program its address.
    let told = snapshot(&format!(
        "{MODE} = 1\n{AGENT}login.url[0] = https://login.example.com/in\n\
         portcullis.login.reason.parameter.name = why\nportcullis.unauthorized.url[0] = */api\n\
         org.forgerock.agents.config.json.url[0] = */data\n"
    ));
    answer(&told, &memo, ("", ""), "/app", |code, response| {
        assert_eq!(code, Code::LoginNoToken);
        let to = location(response);
        assert!(to.ends_with("%2Fapp&why=NO_TOKEN"), "{to}");
    });
    answer(&told, &memo, ("", ""), "/api", |code, response| {
        assert_eq!((code, response.status), (Code::LoginUnseen, 401));
        assert!(header(response, "Set-Cookie").is_empty());
    });
    answer(&told, &memo, ("", ""), "/data", |code, response| {
        assert_eq!((code, response.status), (Code::LoginNoToken, 401));
        let body = String::from_utf8_lossy(&response.body);
        assert!(
            body.contains("https://login.example.com/in?goto="),
            "{body}"
        );
    });
    // A step-up goes through the same page.
    answer(&snap, &memo, ("one", ""), "/app", |code, response| {
        assert_eq!(code, Code::LoginStepUp);
        let to = location(response);
        assert!(to.starts_with(&start) && to.ends_with(LEVEL2), "{to}");
    });
}

#[test]
fn a_login_page_of_ones_own_is_not_gone_through_without_end() {
    let lines = format!("{MODE} = 1\n{AGENT}login.url[0] = https://login.example.com/in\n");
    let snap = snapshot(&lines);
    let memo = Memo::with_advice("x", "y");
    let set = |response: &Response, name: &str| {
        let all = header(response, "Set-Cookie");
        let pair = all.iter().find(|c| c.starts_with(name))?.split(';').next();
        pair.map(ToOwned::to_owned)
    };
    // A browser that keeps every cookie but that of the session.
    let mut counter = String::new();
    for round in 0..8 {
        let brought = core::mem::take(&mut counter);
        let begun = answer(&snap, &memo, ("", &brought), "/app", |code, response| {
            let kept = set(response, "agent-authn-tx-");
            counter = set(response, "agent-authn-loop=").unwrap_or_default();
            assert_eq!(code == Code::LoginNoToken, kept.is_some(), "{code:?}");
            kept.ok_or(code)
        });
        let begun = match begun {
            Ok(begun) => begun,
            Err(code) => {
                assert_eq!((round, code), (5, Code::LoopCookieLost));
                return;
            }
        };
        let name = begun.split('=').next().expect("a name");
        let state = name.trim_start_matches("agent-authn-tx-");
        let back = format!("/agent/custom-login-response?state={state}");
        let cookies = format!("{begun}; {counter}; iPlanetDirectoryPro=AQIC5w.one");
        answer(&snap, &memo, ("", &cookies), &back, |code, response| {
            assert_eq!(code, Code::LoginDone);
            counter = set(response, "agent-authn-loop=").expect("a counter");
        });
    }
    panic!("no end");
}

#[test]
fn the_way_to_cdcservlet_names_this_site_and_comes_back_to_its_endpoint() {
    let to = |lines: &str, target: &str| {
        let snap = snapshot(&format!("portcullis.login.cdcservlet = true\n{lines}"));
        let memo = Memo::with_advice("x", "y");
        answer(&snap, &memo, ("", ""), target, |_, r| location(r))
    };
    let own = "http%3A%2F%2Fwww.example.com%3A80";
    let asked = |to: &str, realm: &str| {
        let start = format!("goto={own}%2Fagent%2Fcdsso-oauth2&RequestID=");
        let end = format!(
            "&MajorVersion=1&MinorVersion=0&IssueInstant=2027-01-15T08%3A00%3A00Z&ProviderID={own}%2F%3FRealm%3D{realm}"
        );
        let query = &to[to.find("goto=").expect("goto")..];
        assert!(query.starts_with(&start) && query.ends_with(&end), "{to}");
        assert_eq!(query.len(), start.len() + 22 + end.len(), "{to}");
        to[..to.find("goto=").expect("goto")].to_string()
    };
    const AM: &str = "http://am.example.com:8080/openam";
    let servlet =
        format!("{AGENT}cdsso.cdcservlet.url[0] = https://old.example.com/am/cdcservlet\n");
    let public = "com.forgerock.agents.public.am.url = https://login.example.com/am\n";
    let rule = |url: &str| format!("com.forgerock.agents.conditional.login.url[0] = /app|{url}\n");
    for (lines, expected) in [
        (String::new(), format!("{AM}/cdcservlet?")),
        (
            servlet.clone(),
            "https://old.example.com/am/cdcservlet?".to_string(),
        ),
        (
            format!("{servlet}{public}"),
            "https://login.example.com/am/cdcservlet?".to_string(),
        ),
        (
            rule("https://other.example.com/am"),
            "https://other.example.com/am/cdcservlet?".to_string(),
        ),
        (
            rule("https://other.example.com/am/cdcservlet?realm=/b"),
            "https://other.example.com/am/cdcservlet?realm=/b&".to_string(),
        ),
        (
            rule("https://other.example.com/am/oauth2/authorize?service=x"),
            "https://other.example.com/am/cdcservlet?service=x&".to_string(),
        ),
    ] {
        assert_eq!(asked(&to(&lines, "/app"), "%252F"), expected);
    }
    // A realm would have the servlet ask for a login each time: the page that asks comes before it.
    let sub = format!("{AGENT}organization.name = /shop\n");
    let before = to(&sub, "/app");
    let (page, goto) = before.split_once("goto=").expect("goto");
    assert_eq!(page, format!("{AM}/UI/Login?realm=%2Fshop&"));
    assert!(
        goto.contains("cdcservlet%3Fgoto%3D") && goto.ends_with("Realm%253D%25252Fshop"),
        "{goto}"
    );
    assert!(!goto.contains("realm"), "{goto}");
    // A step-up leads through the page as well.
    let snap = snapshot(&format!("portcullis.login.cdcservlet = true\n{REDIRECT}"));
    let memo = Memo::with_advice("AuthLevelConditionAdvice", "2");
    let up = answer(&snap, &memo, ("one", ""), "/app", |_, r| location(r));
    let start = format!(
        "{AM}/UI/Login?realm=%2F&goto=http%3A%2F%2Fam.example.com%3A8080%2Fopenam%2Fcdcservlet%3Fgoto%3D"
    );
    assert!(up.starts_with(&start) && up.ends_with(LEVEL2), "{up}");
    // OpenAM only.
    let (_, problems) =
        support::read("portcullis.login.cdcservlet = true\nportcullis.am.dialect = pingam\n");
    assert!(
        problems
            .iter()
            .any(|p| p.property == "portcullis.login.cdcservlet")
    );
}

#[test]
fn lists_follow_the_server_that_answers() {
    let (mut config, _) = support::read(
        "com.forgerock.agents.conditional.login.url[0] = /app/listed|https://a.example.org/am,https://b.example.org/am,\
         https://c.example.org/am\n",
    );
    config.naming_url = ["one", "two"]
        .map(|name| format!("http://{name}.example.com:8080/am/"))
        .into();
    let snap = support::built(config);
    let mut memo = Memo::with_advice("x", "y");
    for (serving, listed, own) in [
        (0, "a", "one"),
        (1, "b", "two"),
        (2, "c", "one"),
        (4, "b", "one"),
    ] {
        memo.serving = serving;
        let to = |address: &str| answer(&snap, &memo, ("", ""), address, |_, r| location(r));
        let (page, plain) = (to("/app/listed"), to("/app/page"));
        assert!(
            page.starts_with(&format!(
                "https://{listed}.example.org/am/oauth2/authorize?"
            )),
            "{page}"
        );
        assert!(
            plain.starts_with(&format!(
                "http://{own}.example.com:8080/am/oauth2/authorize?"
            )),
            "{plain}"
        );
    }
}

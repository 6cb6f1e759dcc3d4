//! Where is a browser sent to log in, and with what? By the configuration as an operator writes it.
#![allow(clippy::expect_used, clippy::panic, reason = "helpers of tests")]

mod support;

use portcullis_engine::{
    config::Snapshot,
    contract::{
        Act, AttributesKey, Facts, Header, Known, Outcome, PolicyKey, Receipt, Response,
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
        }
    }
}

impl Facts for Memo {
    fn session(&self, _: SessionKey) -> Known<Session<'_>> {
        Known::Fresh(Session::decode(&self.session).expect("record"))
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
            _ => Known::Missing,
        }
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

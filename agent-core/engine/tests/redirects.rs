//! Rule L7: whatever a client sends, a browser is sent to hosts of the configuration only. One table of all places
//! that write an address for a browser, judged by the parser that browsers have (WHATWG URL).
#![allow(clippy::expect_used, clippy::panic, reason = "helpers of tests")]

mod support;

use portcullis_engine::{
    config::Snapshot,
    contract::{
        Act, AttributesKey, Facts, Header, Known, Now, Outcome, PolicyKey, Receipt, Response,
        SessionKey, Step, UnixMillis,
    },
    decide,
    record::{Attributes, NewPolicy, NewSession, Policy, Session, SessionKind},
};
use support::{AGENT, NOW, snapshot};
use url::Url;

/// The hosts that the configurations below name, the site's own first.
const KNOWN: [&str; 4] = [
    "www.example.com",
    "new.example.com",
    "am.example.com",
    "login.example.com",
];
const OWN_PAGE: &str = "/denied.html";
const CALLBACK: &str = "/agent/cdsso-oauth2";
const MODE: &str = "org.forgerock.openam.agents.config.allow.custom.login";

/// What clients may call the host.
const HOSTS: [&str; 19] = [
    "www.example.com",
    "WWW.EXAMPLE.COM:80",
    "www.example.com:8080",
    "www.example.com.",
    "evil.example",
    "evil.example:80",
    "www.example.com.evil.example",
    "evilwww.example.com",
    "evil.example@www.example.com",
    "www.example.com@evil.example",
    "www.example.com:80@evil.example",
    "evil.example/www.example.com",
    "evil.example#www.example.com",
    "evil.example\\www.example.com",
    "www.example.com,evil.example",
    "www.example.com\tevil.example",
    "[::ffff:198.51.100.1]",
    "3325256705",
    "",
];
/// What they may ask for; `@` in front stands for the path that the case is about.
const TARGETS: [&str; 24] = [
    "@",
    "@?goto=https://evil.example/&state=x&realm=/evil&redirect_uri=//evil.example",
    "@?x=\\\\evil.example",
    "@?x=%0d%0aLocation:%20https://evil.example/",
    "@#@evil.example/",
    "@/..//evil.example/",
    "@/%2e%2e/%2e%2e//evil.example",
    "@;@evil.example/",
    "@\t//evil.example",
    "@\\@evil.example",
    "//evil.example/app",
    "///evil.example/app",
    "/\\evil.example/app",
    "/\\/evil.example/app",
    "/\t/evil.example/app",
    "/%2f%2fevil.example/app",
    "/%5cevil.example/app",
    "/%09/evil.example/app",
    "/.//evil.example",
    "/@evil.example",
    "http://evil.example/app",
    "https://www.example.com@evil.example/app",
    "/app\u{3002}evil.example",
    "/\u{ff0f}evil.example/app",
];

/// A place that writes addresses.
struct Place {
    name: &'static str,
    lines: String,
    /// Where it is met.
    path: &'static str,
    met: Met,
}

#[derive(Clone, Copy, PartialEq)]
enum Met {
    /// Without a session.
    Nobody,
    /// With a session that policy refuses.
    Refused,
    /// With a session that lacks something.
    Lacking,
    /// By AM's answer to a login that took too long.
    Late,
    /// From a login page of one's own.
    Returned,
}

fn places() -> Vec<Place> {
    let place = |name, lines: &str, path, met| Place {
        name,
        lines: lines.replace("{AGENT}", AGENT).replace("{MODE}", MODE),
        path,
        met,
    };
    let accept = "{MODE} = 2\ncom.forgerock.agents.accept.sso.token = 1\n";
    let own = "{MODE} = 1\n{AGENT}login.url[0] = https://login.example.com/in?a=b\n";
    let rule = "com.forgerock.agents.conditional.login.url[0] = |https://login.example.com/am\n";
    let fragment = "org.forgerock.agents.config.fragment.redirect.enable = true\n";
    let advice = "com.sun.am.use_redirect_for_advice = true\n";
    let host = "{AGENT}fqdn.check.enable = true\n{AGENT}fqdn.default = new.example.com\n";
    let out = "{AGENT}agent.logout.url[0] = */bye\ncom.forgerock.agents.config.logout.redirect.disable = false\n";
    let pages = |at: &str| format!("{AGENT}access.denied.url = {at}\n");
    vec![
        place("login at AM", "", "/app", Met::Nobody),
        place("login where a rule says", rule, "/app", Met::Nobody),
        place("login page of one's own", own, "/app", Met::Nobody),
        place("back from there", own, "/app", Met::Returned),
        place("login in a shared domain", accept, "/app", Met::Nobody),
        place(
            "login in JSON",
            "org.forgerock.agents.config.json.url[0] = */*\n",
            "/app",
            Met::Nobody,
        ),
        place(
            "cdcservlet",
            "portcullis.login.cdcservlet = true\n",
            "/app",
            Met::Nobody,
        ),
        place("page before a login", fragment, "/app", Met::Nobody),
        place("a login that took too long", "", "/app", Met::Late),
        place("the page after it", fragment, "/app", Met::Late),
        place(
            "a login that failed",
            "portcullis.authn.fail.url = /failed.html\n",
            "/agent/cdsso-oauth2?error=access_denied",
            Met::Nobody,
        ),
        place("step-up", advice, "/app", Met::Lacking),
        place("step-up by form", "", "/app", Met::Lacking),
        place("step-up by a page of one's own", own, "/app", Met::Lacking),
        place("denial", &pages(OWN_PAGE), "/app", Met::Refused),
        place(
            "denial elsewhere",
            &pages("http://www.example.com:80/denied.html"),
            "/app",
            Met::Refused,
        ),
        place("logout", out, "/bye", Met::Nobody),
        place(
            "logout with a way on",
            &format!("{out}{{AGENT}}logout.redirect.url = https://login.example.com/\n"),
            "/bye",
            Met::Refused,
        ),
        place(
            "logout by parameter",
            "portcullis.logout.parameter = bye\n",
            "/app?bye",
            Met::Refused,
        ),
        place("another host name", host, "/app", Met::Nobody),
        place(
            "override",
            "{AGENT}override.host = true\n{AGENT}override.port = true\n",
            "/app",
            Met::Nobody,
        ),
    ]
}

struct Memo {
    session: Vec<u8>,
    policy: Vec<u8>,
    form: Vec<u8>,
}

impl Memo {
    fn new(met: Met, form: &str) -> Memo {
        let session = NewSession {
            kind: SessionKind::User,
            universal_id: "id=demo,ou=user,dc=example,dc=com",
            realm: "/",
            max_end: NOW.wall.0 + 60_000,
            idle_end: NOW.wall.0 + 60_000,
            client_side: false,
            properties: &[],
        };
        let advices: &[(&str, &[&str])] = match met {
            Met::Lacking => &[("AuthLevelConditionAdvice", &["https://evil.example/"])],
            _ => &[],
        };
        let policy = NewPolicy {
            ttl: u64::MAX,
            actions: &[("GET", false)],
            attributes: &[],
            advices,
        };
        Memo {
            session: session.encode().expect("record"),
            policy: policy.encode().expect("record"),
            form: form.as_bytes().to_vec(),
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
        Known::Fresh(&self.form)
    }
    fn receipt(&self, act: &Act) -> Known<Receipt> {
        match act {
            Act::Count { .. } => Known::Fresh(Receipt::Counted(1)),
            _ => Known::Fresh(Receipt::Done),
        }
    }
    fn seed(&self) -> &[u8; 32] {
        &[9; 32]
    }
}

struct Sent<'s> {
    method: &'s str,
    host: &'s str,
    target: &'s str,
    cookie: String,
    session: bool,
}

/// The answer, if it is one of the agent's own.
fn answer(snap: &Snapshot, memo: &Memo, now: Now, sent: &Sent<'_>) -> Option<Response> {
    let mut view = support::view_at(sent.method, "");
    (view.host, view.target) = (sent.host.as_bytes(), sent.target.as_bytes());
    let mut cookie = sent.cookie.clone();
    if sent.session {
        let token = b"AQIC5w.one";
        let sealed = portcullis_engine::decide::cookie_of(&view, snap, memo, now, token);
        cookie.push_str(&format!("; am-auth-jwt={}", sealed.unwrap_or_default()));
    }
    let header = |name: &'static str, value| Header {
        name: name.as_bytes(),
        value,
    };
    let headers = [
        header("Cookie", cookie.as_bytes()),
        header("Content-Type", b"application/x-www-form-urlencoded"),
        header("X-Forwarded-Host", b"evil.example"),
        header("X-Forwarded-Proto", b"https"),
        header("X-Forwarded-Port", b"666"),
        header("Forwarded", b"host=evil.example;proto=https"),
        header("Referer", b"https://evil.example/"),
    ];
    view.headers = &headers;
    match decide(&view, snap, memo, now) {
        Step::Done(decision) => match decision.outcome {
            Outcome::Respond(response) => Some(response),
            Outcome::Allow(_) | Outcome::Replay => None,
        },
        Step::Need(_) => panic!("needs something: {} {}", sent.host, sent.target),
    }
}

/// What the place answers to this host and target; with the steps that lead there.
fn at(place: &Place, snap: &Snapshot, host: &str, target: &str) -> Option<Response> {
    let memo = |form: &str| Memo::new(place.met, form);
    let mut sent = Sent {
        method: "GET",
        host,
        target,
        cookie: String::new(),
        session: matches!(place.met, Met::Refused | Met::Lacking),
    };
    let first = answer(snap, &memo(""), NOW, &sent)?;
    if !matches!(place.met, Met::Late | Met::Returned) {
        return Some(first);
    }
    let cookies = first.headers.iter().filter(|(n, _)| n == "Set-Cookie");
    let mut cookies = cookies.map(|(_, v)| std::str::from_utf8(v).expect("text"));
    let login = cookies.find(|c| c.starts_with("agent-authn-tx-"))?;
    let login = login.split(';').next().unwrap_or(login);
    let name = login.split('=').next().unwrap_or(login);
    let state = name.trim_start_matches("agent-authn-tx-").to_owned();
    sent.cookie = login.to_owned();
    if place.met == Met::Returned {
        let back = format!("/agent/custom-login-response?state={state}&goto=https://evil.example/");
        return answer(
            snap,
            &memo(""),
            NOW,
            &Sent {
                target: &back,
                ..sent
            },
        );
    }
    let later = Now {
        wall: UnixMillis(NOW.wall.0 + 400_000),
        ..NOW
    };
    let form = format!("id_token=x&state={state}");
    let answered = Sent {
        method: "POST",
        target: CALLBACK,
        ..sent
    };
    answer(snap, &memo(&form), later, &answered)
}

/// Every address that the answer has a browser go to.
fn addresses(response: &Response) -> Vec<String> {
    let mut all: Vec<String> = Vec::new();
    for (_, value) in response.headers.iter().filter(|(n, _)| n == "Location") {
        all.push(String::from_utf8(value.clone()).expect("text"));
    }
    let body = String::from_utf8(response.body.clone()).expect("text");
    for start in ["href=\"", "action=\"", "data-back=\"", "\"location\":\""] {
        for rest in body.split(start).skip(1) {
            let address = rest.split('"').next().unwrap_or_default();
            all.push(address.replace("&amp;", "&"));
        }
    }
    all
}

/// Whether a browser that shows a page of the site goes to a host that is known, and is told of no other there.
fn leads_to_known_hosts(address: &str) -> Result<(), String> {
    let plain = address.bytes().all(|b| b.is_ascii_graphic());
    if !plain || address.contains('\\') {
        return Err(format!("bytes that parsers read differently: {address:?}"));
    }
    let base = Url::parse("http://www.example.com/some/page").expect("a URL");
    let url = base.join(address).map_err(|e| format!("{address}: {e}"))?;
    let known = url.host_str().is_some_and(|host| KNOWN.contains(&host));
    let web = matches!(url.scheme(), "http" | "https");
    if !known || !web || !url.username().is_empty() || url.password().is_some() {
        return Err(format!("leads to {url}"));
    }
    // The query of a page that somebody asked for is theirs; to AM, login pages and pages of refusals it is ours.
    let own = url
        .host_str()
        .is_some_and(|host| KNOWN[..2].contains(&host));
    if own && url.path() != OWN_PAGE {
        return Ok(());
    }
    for (name, value) in url.query_pairs() {
        let led = ["goto", "redirect_uri", "original_request_url", "ProviderID"];
        if led.contains(&&*name) {
            leads_to_known_hosts(&value).map_err(|why| format!("{name} of {address}: {why}"))?;
        }
    }
    Ok(())
}

#[test]
fn every_redirect_leads_to_a_host_of_the_configuration() {
    let mut strays = Vec::new();
    for place in places() {
        let snap = snapshot(&place.lines);
        let plain = at(&place, &snap, HOSTS[0], place.path).map(|r| addresses(&r));
        assert!(
            plain.as_ref().is_some_and(|all| !all.is_empty()),
            "{}: nothing is written there: {plain:?}",
            place.name
        );
        for host in HOSTS {
            for target in TARGETS {
                let target = target.replace('@', place.path);
                let Some(response) = at(&place, &snap, host, &target) else {
                    continue;
                };
                for address in addresses(&response) {
                    if let Err(why) = leads_to_known_hosts(&address) {
                        strays.push(format!("{}, {host:?} {target:?}: {why}", place.name));
                    }
                }
            }
        }
    }
    assert!(strays.is_empty(), "{}", strays.join("\n"));
}

#[test]
fn the_judge_knows_a_stranger() {
    for address in [
        "https://evil.example/",
        "//evil.example/",
        "/\\evil.example",
        "http://www.example.com@evil.example/",
        "javascript:alert(1)",
        "http://am.example.com:8080/x?goto=https%3A%2F%2Fevil.example%2F",
        "https://login.example.com/?goto=http%3A%2F%2Fam.example.com%2F%3Fredirect_uri%3D%2F%2Fevil.example",
        "/denied.html?goto=//evil.example",
        "http://www.example.com/a\r\nb",
    ] {
        assert!(leads_to_known_hosts(address).is_err(), "{address}");
    }
    assert_eq!(
        leads_to_known_hosts("/app?goto=https://evil.example/"),
        Ok(())
    );
}

//! Rules about who needs no session and who gets nothing: which rule decides a request, by the
//! configuration as an operator writes it.
#![allow(clippy::expect_used, clippy::panic, reason = "helpers of tests")]

mod support;

use std::net::IpAddr;

use portcullis_engine::{
    config::Snapshot,
    contract::{
        Act, AttributesKey, Cause, CookieKey, FactError, Facts, Header, Known, Opened, Outcome,
        PolicyKey, Receipt, RequestView, SessionKey, Sink, Step, UnixMillis,
    },
    decide,
    event::Code,
    record::{Attributes, NewSession, Policy, Session, SessionKind},
};
use support::{AGENT, NOW};

const URL: &str = "com.sun.identity.agents.config.notenforced.url";
const IP: &str = "com.sun.identity.agents.config.notenforced.ip";
const IP_URL: &str = "org.forgerock.agents.config.notenforced.ipurl";
const OWN: &str = "portcullis.notenforced.rule";
const DENY: &str = "portcullis.deny.rule";

fn snapshot(lines: &str) -> Snapshot {
    support::snapshot(&format!(
        "{AGENT}session.attribute.fetch.mode = HTTP_HEADER\n\
         {AGENT}session.attribute.mapping[UserToken] = X-User\n{lines}"
    ))
}

/// What is known of every session.
struct Memo(fn() -> Known<&'static [u8]>);

impl Facts for Memo {
    fn session(&self, _: SessionKey) -> Known<Session<'_>> {
        match (self.0)() {
            Known::Fresh(bytes) => Known::Fresh(Session::decode(bytes).expect("record")),
            Known::Failed(error, _) => Known::Failed(error, None),
            Known::Stale(..) | Known::Missing => Known::Missing,
        }
    }
    fn policy(&self, _: PolicyKey) -> Known<Policy<'_>> {
        Known::Missing
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
    fn opened(&self, _: CookieKey) -> Option<Opened> {
        None
    }
    fn seed(&self) -> &[u8; 32] {
        &[9; 32]
    }
}

/// A request: method, target, address and headers, in one line.
fn ask<T>(
    snap: &Snapshot,
    memo: &Memo,
    request: &str,
    look: impl FnOnce(Step<'_>, &RequestView<'_>) -> T,
) -> T {
    let (line, headers) = request.split_once(" | ").unwrap_or((request, ""));
    let mut words = line.split(' ');
    let mut word = || words.next().unwrap_or_default();
    let (method, target, client) = (word(), word(), word());
    let headers: Vec<Header<'_>> = headers
        .split(" | ")
        .filter_map(|h| h.split_once(": "))
        .map(|(name, value)| Header {
            name: name.as_bytes(),
            value: value.as_bytes(),
        })
        .collect();
    let client: IpAddr = client.parse().unwrap_or(IpAddr::from([198, 51, 100, 1]));
    let view = support::view(method, target, client, &headers);
    look(decide(&view, snap, memo, NOW), &view)
}

/// `open RULE` or `closed RULE` or, when no rule decides, `login`.
fn decided(snap: &Snapshot, request: &str) -> String {
    ask(snap, &Memo(|| Known::Missing), request, |step, _| {
        let Step::Done(decision) = step else {
            panic!("asks about {request}")
        };
        let rule = decision.rule.map(|rule| snap.config.rule(rule));
        match (&decision.outcome, rule) {
            (Outcome::Allow(_), Some(rule)) => format!("open {rule}"),
            (Outcome::Respond(page), Some(rule)) => {
                assert_eq!((page.status, decision.reason), (403, Code::DeniedByRule));
                format!("closed {rule}")
            }
            (Outcome::Respond(page), None) if page.status == 302 => "login".to_owned(),
            _ => panic!("{request}: {:?}", decision.reason),
        }
    })
}

/// Each request with what becomes of it; a rule is named by its index.
fn table(lines: &str, rows: &[(&str, &str)]) {
    let snap = snapshot(lines);
    for (request, expected) in rows {
        let found = decided(&snap, request);
        let expected = match expected.split_once(' ') {
            Some((outcome, rule)) => {
                let line = lines.lines().map(|l| l.replace(" = ", "="));
                let line = line.filter(|l| l.contains(rule)).min_by_key(String::len);
                format!(
                    "{outcome} {}",
                    line.unwrap_or_else(|| panic!("no rule {rule}"))
                )
            }
            None => expected.to_string(),
        };
        assert_eq!(found, expected, "{request}");
    }
}

#[test]
fn methods_limit_a_rule() {
    table(
        &format!(
            "{URL}[OPTIONS,0] = /*\n{URL}[GET,POST,1] = /form/*\n{URL}[2,head] = /form/*\n{URL}[3] = /open\n"
        ),
        &[
            ("OPTIONS /any", "open [OPTIONS,0]"),
            ("GET /any", "login"),
            ("GET /form/a", "open [GET,POST,1]"),
            ("POST /form/a", "open [GET,POST,1]"),
            ("HEAD /form/a", "open [2,head]"),
            ("PUT /form/a", "login"),
            ("get /form/a", "login"),
            ("BREW /open", "open [3]"),
        ],
    );
}

#[test]
fn a_method_in_place_of_another_opens_only_what_both_open() {
    table(
        &format!(
            "{URL}[POST,0] = /form/*\n{URL}[POST,PUT,1] = /api/*\n{URL}[2] = /open\n{DENY}[DELETE,0] = url=/api/x\n"
        ),
        &[
            ("POST /form/a", "open [POST,0]"),
            (
                "POST /form/a 192.0.2.1 | X-HTTP-Method-Override: PUT",
                "login",
            ),
            (
                "POST /api/a 192.0.2.1 | X-HTTP-Method-Override: PUT",
                "open [POST,PUT,1]",
            ),
            (
                "POST /api/a 192.0.2.1 | X-HTTP-Method-Override: DELETE",
                "login",
            ),
            ("POST /api/x", "open [POST,PUT,1]"),
            ("POST /api/x?_method=delete", "closed [DELETE,0]"),
            ("POST /open?_method=brew", "open [2]"),
        ],
    );
}

#[test]
fn queries_count_where_path_info_does() {
    table(
        &format!("{URL}[0] = /a\n{URL}[1] = /b?c=*\n"),
        &[
            ("GET /a?x", "open [0]"),
            ("GET /b?c=1", "open [1]"),
            ("GET /b", "login"),
            ("GET /b?d=1", "login"),
        ],
    );
    table(
        &format!(
            "{AGENT}ignore.path.info.for.not.enforced.list = false\n{URL}[0] = /a\n{URL}[1] = /b?c=*\n"
        ),
        &[
            ("GET /a", "open [0]"),
            ("GET /a?x", "login"),
            ("GET /b?c=1", "open [1]"),
        ],
    );
}

#[test]
fn an_inverted_list_protects_whatever_the_method_and_the_query() {
    let snap = snapshot(&format!(
        "{URL}.invert = true\n{URL}[GET,0] = /secret/*\n{URL}[1] = *.pdf\n"
    ));
    for closed in [
        "GET /secret/a",
        "POST /secret/a",
        "GET /secret/a?b",
        "GET /Secret/a",
        "GET /secret;v=1/a",
        "GET /x.pdf?y",
        "GET /x.pdf;v=1",
    ] {
        assert_eq!(decided(&snap, closed), "login", "{closed}");
    }
    assert_eq!(
        decided(&snap, "GET /other"),
        format!("open {URL}.invert=true")
    );
    let regex = format!(
        "{URL}.invert = true\ncom.forgerock.agents.notenforced.url.regex.enable = true\n{URL}[0] = secret\n"
    );
    let snap = snapshot(&regex);
    assert_eq!(decided(&snap, "GET /a/secret/b?c"), "login");
    assert_eq!(
        decided(&snap, "GET /a?b"),
        format!("open {URL}.invert=true")
    );
}

#[test]
fn regular_expressions_stand_for_whole_urls() {
    table(
        &format!(
            "com.forgerock.agents.notenforced.url.regex.enable = true\n\
             {URL}[0] = /img/[a-z]+\\.(png|gif)\n{URL}[GET,1] = http://www\\.example\\.com:80/(css|js)/.*\n\
             {URL}[2] = /find\\?q=\\w+\n"
        ),
        &[
            ("GET /img/a.png?v=1", "open [0]"),
            ("GET /IMG/a.gif", "open [0]"),
            ("GET /img/a1.png", "login"),
            ("GET /secret/img/a.png", "login"),
            ("GET /secret?/img/a.png", "login"),
            ("GET /css/a/b.css", "open [GET,1]"),
            ("POST /css/a/b.css", "login"),
            ("GET /find?q=abc", "open [2]"),
            ("GET /find?q=abc&r=1", "login"),
        ],
    );
}

#[test]
fn addresses_of_both_families_are_exempt() {
    table(
        &format!(
            "{IP}[0] = 192.0.2.0/25\n{IP}[5] = 2001:db8:9::1 192.0.2.200-192.0.2.210\n{IP}[GET,1] = 203.0.113.*\n{IP}[2] = 2001:db8:1::/48\n"
        ),
        &[
            ("GET /a 192.0.2.127", "open 192.0.2.0/25"),
            ("GET /a ::ffff:192.0.2.1", "open 192.0.2.0/25"),
            ("GET /a 192.0.2.128", "login"),
            ("GET /a 192.0.2.211", "login"),
            ("POST /a 2001:db8:9::2", "login"),
            ("POST /a 203.0.113.9", "login"),
            ("GET /a 203.0.113.9", "open [GET,1]"),
            ("GET /a 2001:db8:1:2::3", "open [2]"),
            ("GET /a 2001:db8:2::3", "login"),
        ],
    );
}

#[test]
fn lists_are_looked_at_in_their_order() {
    let lines = format!(
        "{OWN}[0] = url=/a\n{IP_URL}[GET,1] = 192.0.2.0/24 2001:db8::/32|/a */free/*\n{URL}[2] = /b\n{IP}[3] = 192.0.2.7\n"
    );
    table(
        &lines,
        &[
            ("GET /b 192.0.2.7", "open [3]"),
            ("GET /b", "open [2]"),
            ("GET /a 192.0.2.8", "open [GET,1]"),
            ("POST /a 192.0.2.8", "open [0]"),
            ("GET /x/free/y 2001:db8::1", "open [GET,1]"),
            ("GET /x/free/y", "login"),
            ("GET /a", "open [0]"),
            ("GET /c 192.0.2.8", "login"),
        ],
    );
}

#[test]
fn expressions_stand_for_whole_addresses() {
    table(
        &format!(
            "org.forgerock.agents.config.notenforced.ext.regex.enable = true\n\
             {IP}[0] = 192\\.168\\.10\\.(10|\\d)\n{IP_URL}[1] = 10\\.0\\.0\\.(1|2) ::1|/a/[0-9]+ .*/b\n"
        ),
        &[
            ("GET /x 192.168.10.10", "open [0]"),
            ("GET /x 192.168.10.7", "open [0]"),
            ("GET /x 192.168.10.77", "login"),
            ("GET /x 192.168.10.100", "login"),
            ("GET /a/1 10.0.0.2", "open [1]"),
            ("GET /c/b ::1", "open [1]"),
            ("GET /a/x 10.0.0.2", "login"),
            ("GET /a/1 10.0.0.22", "login"),
        ],
    );
}

#[test]
fn own_rules_combine_conditions() {
    table(
        &format!(
            "{OWN}[0] = url=/shop/* NOT url=/shop/admin/*\n{OWN}[GET,1] = url=/beta/* cookie.beta=y*\n\
             {OWN}[2] = url=/health header.X-Probe=ok ip=192.0.2.1,192.0.2.9\n{OWN}[3] = url=/in/* NOT ip=192.0.2.0/24\n"
        ),
        &[
            ("GET /shop/a", "open [0]"),
            ("GET /shop/admin/a", "login"),
            ("GET /shop/admin;x/a", "login"),
            ("GET /shop/Admin/?x", "login"),
            ("GET /beta/a | Cookie: a=1; beta=yes", "open [GET,1]"),
            ("GET /beta/a | Cookie: a=1; beta=no", "login"),
            ("GET /beta/a | Cookie: beta=yes; beta=no", "login"),
            ("GET /beta/a", "login"),
            ("POST /beta/a | Cookie: beta=yes", "login"),
            ("GET /health 192.0.2.9 | x-probe: ok", "open [2]"),
            ("GET /health 192.0.2.8 | x-probe: ok", "login"),
            ("GET /health 192.0.2.9", "login"),
            (
                "GET /health 192.0.2.9 | x-probe: ok | x-probe: not",
                "login",
            ),
            ("GET /in/a 192.0.2.9", "login"),
            ("GET /in/a 192.0.3.9", "open [3]"),
        ],
    );
}

#[test]
fn refusals_come_first_and_hold_in_doubt() {
    table(
        &format!(
            "{DENY}[0] = url=/admin/* NOT ip=10.0.0.0/8\n{DENY}[DELETE,1] = url=/*\n{DENY}[2] = header.User-Agent=*bot*\n\
             {DENY}[3] = url=/x cookie.a=1\n{URL}[4] = /admin/open/*\n{AGENT}agent.logout.url[5] = http://www.example.com/admin/bye\n"
        ),
        &[
            ("GET /admin/open/a 10.0.0.1", "open [4]"),
            ("GET /admin/open/a", "closed [0]"),
            ("GET /admin/bye", "closed [0]"),
            ("GET /admin;v/x?y", "closed [0]"),
            ("DELETE /a 10.0.0.1", "closed [DELETE,1]"),
            (
                "GET /a | User-Agent: a | User-Agent: evilbot/1.0",
                "closed [2]",
            ),
            ("GET /a | User-Agent: good", "login"),
            ("GET /x | Cookie: a=1; a=2", "closed [3]"),
            ("GET /x | Cookie: a=2", "login"),
        ],
    );
}

/// Rule U2.
#[test]
fn an_unknown_address_opens_nothing_and_lifts_no_refusal() {
    let lines = format!(
        "{AGENT}client.ip.header = X-Forwarded-For\n{IP}[0] = 0.0.0.0/0\n{IP}[5] = ::/0\n{IP_URL}[1] = 192.0.2.0/24|/a\n\
         {OWN}[2] = url=/b NOT ip=198.51.100.1\n{DENY}[3] = url=/c ip=192.0.2.1\n{DENY}[4] = url=/d NOT ip=192.0.2.1\n"
    );
    table(
        &lines,
        &[
            ("GET /a 192.0.2.1 | X-Forwarded-For: 192.0.2.1", "login"),
            ("GET /b 192.0.2.1", "login"),
            ("GET /c 203.0.113.1", "closed [3]"),
            ("GET /d 192.0.2.1", "closed [4]"),
        ],
    );
    table(
        &format!("portcullis.trusted.proxies = 10.0.0.0/8\n{lines}"),
        &[
            (
                "GET /x 10.0.0.1 | X-Forwarded-For: 192.0.2.1",
                "open =0.0.0.0/0",
            ),
            (
                "GET /d 10.0.0.1 | X-Forwarded-For: 192.0.2.1",
                "open =0.0.0.0/0",
            ),
            ("GET /d 10.0.0.1 | X-Forwarded-For: 192.0.2.2", "closed [4]"),
        ],
    );
}

/// Rule S4.
#[test]
fn an_exempt_page_asks_nobody_whatever_is_known_of_its_user() {
    let snap = snapshot(&format!(
        "{URL}[0] = /open/*\n{URL}.attributes.enable = true\n"
    ));
    let sealed = snap.keys.session_cookie.seal(
        &snap.identity,
        "www.example.com",
        UnixMillis(NOW.wall.0 + 1000),
        b"AQIC5wM2LY4Sfcw.*AAJTSQACMDEAAlMxAAA.*",
        [3; 12],
    );
    let request = |target: &str| format!("GET {target} | Cookie: a=1; am-auth-jwt={sealed}");
    let record = |kind, realm, end| {
        let session = NewSession {
            kind,
            client_side: false,
            max_end: NOW.wall.0 + end,
            idle_end: NOW.wall.0 + end,
            realm,
            universal_id: "id=demo,ou=user,dc=openam",
            properties: &[("UserToken", "demo")],
        };
        Vec::leak(session.encode().expect("record"))
    };
    thread_local! {
        static BYTES: std::cell::Cell<&'static [u8]> = const { std::cell::Cell::new(&[]) };
    }
    let seen = |memo: fn() -> Known<&'static [u8]>, target: &str| {
        ask(
            &snap,
            &Memo(memo),
            &request(target),
            |step, view| match step {
                Step::Need(_) => None,
                Step::Done(decision) => {
                    assert!(
                        matches!(decision.outcome, Outcome::Allow(_)),
                        "{:?}",
                        decision.reason
                    );
                    assert!(!decision.for_everybody, "one user's page in a cache");
                    let mut sink = Seen::default();
                    decision.edits.walk(view, &mut Vec::new(), &mut sink);
                    Some(sink.0)
                }
            },
        )
    };
    BYTES.set(record(SessionKind::User, "/", 3_600_000));
    let user = Some(vec![
        ("Cookie".to_owned(), "a=1".to_owned()),
        ("X-User".to_owned(), "demo".to_owned()),
    ]);
    assert_eq!(seen(|| Known::Fresh(BYTES.get()), "/open/a"), user);
    let nobody = Some(vec![("Cookie".to_owned(), "a=1".to_owned())]);
    for (kind, realm, end) in [
        (SessionKind::User, "/other", 3_600_000),
        (SessionKind::Application, "/", 3_600_000),
        (SessionKind::User, "/", 0),
    ] {
        BYTES.set(record(kind, realm, end));
        assert_eq!(
            seen(|| Known::Fresh(BYTES.get()), "/open/a"),
            nobody,
            "{realm} {end}"
        );
    }
    for memo in [
        || Known::Missing,
        || Known::Failed(FactError::Dead, None),
        || Known::Failed(FactError::NotAllowed, None),
        || Known::Failed(FactError::Unavailable(Cause::Timeout), None),
    ] {
        assert_eq!(seen(memo, "/open/a"), nobody);
    }
    assert_eq!(seen(|| Known::Missing, "/closed"), None, "asks elsewhere");
}

/// The headers that the application gets.
#[derive(Default)]
struct Seen(Vec<(String, String)>);

impl Sink for Seen {
    fn request_header(&mut self, name: &[u8], value: &[u8]) {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        self.0.push((text(name), text(value)));
    }
    fn remove_request_header(&mut self, _: &[u8]) {}
    fn variable(&mut self, _: &[u8], _: &[u8]) {}
    fn user(&mut self, _: &[u8]) {}
    fn response_header(&mut self, _: &[u8], _: &[u8]) {}
}

/// The host may keep a page for others only when nothing but its URL opened it.
#[test]
fn only_pages_that_are_open_to_all_are_for_everybody() {
    let kept = |lines: &str, request: &str| {
        let snap = snapshot(lines);
        ask(
            &snap,
            &Memo(|| Known::Missing),
            request,
            |step, _| match step {
                Step::Done(decision) => decision.for_everybody,
                Step::Need(_) => panic!("asks"),
            },
        )
    };
    assert!(kept(&format!("{URL}[0] = /a"), "GET /a"));
    assert!(kept(&format!("{OWN}[0] = url=/a"), "GET /a"));
    assert!(!kept(
        &format!("{OWN}[0] = url=/a NOT cookie.a=1"),
        "GET /a"
    ));
    assert!(!kept(&format!("{IP}[0] = 192.0.2.1"), "GET /a 192.0.2.1"));
    assert!(!kept(
        &format!("{IP_URL}[0] = 192.0.2.1|/a"),
        "GET /a 192.0.2.1"
    ));
    assert!(!kept(
        &format!("{URL}[0] = /a\n{DENY}[0] = cookie.a=1"),
        "GET /a"
    ));
    assert!(!kept(&format!("{URL}[0] = /a"), "GET /b"));
}

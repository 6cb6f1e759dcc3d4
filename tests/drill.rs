//! What `agentadmin drill am-down` says would happen is what happens when AM then goes away.

// What can't be had fails the test that wanted it.
#![allow(clippy::expect_used, clippy::panic)]

use std::collections::BTreeMap;

use portcullis_tests::{
    both_servers,
    client::{Request, Response},
    outage::stop_am,
    second::{agentadmin, words},
    site::{Site, site},
    wait_until,
};
use serde_json::Value;

const LATELY: &str = "/app/known";

/// What the drill says of a page.
struct Said {
    all: Value,
    code: Option<i32>,
}

fn drill(site: &Site) -> Said {
    let url = format!("{}{LATELY}", site.url());
    let exempt = format!("{}/public/a.html", site.url());
    let arguments = [
        "drill", "am-down", "agent_1", "--json", "--url", &url, "--url", &exempt,
    ];
    let output = agentadmin(site, &arguments).output().expect("agentadmin");
    let all =
        serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{}", words(&output)));
    Said {
        all,
        code: output.status.code(),
    }
}

impl Said {
    /// Status and code that this visitor is to meet; 200 where they are let in.
    fn of(&self, who: &str) -> (u16, String) {
        let all = self.all["pages"][0]["visitors"]
            .as_array()
            .expect("visitors");
        let case = all.iter().find(|case| case["who"] == who);
        let case = case.unwrap_or_else(|| panic!("{who}: {:#}", self.all));
        let status = case["status"].as_u64().unwrap_or(200);
        (
            u16::try_from(status).expect("status"),
            case["code"].as_str().expect("code").to_owned(),
        )
    }
}

/// Whether this answer is what was said, and the log has the code that was.
fn assert_so(site: &Site, said: &Said, who: &str, page: &str, answer: &Response) {
    let (status, code) = said.of(who);
    assert_eq!(answer.status, status, "{who}: {answer:?}");
    if status == 200 {
        return;
    }
    wait_until(&format!("{code} for {page}"), || {
        let log = site.debug_log();
        log.lines()
            .any(|line| line.contains(&code) && line.contains(page))
    });
}

fn form(page: &str) -> Request {
    Request::new("POST", page).body("text/plain", "x")
}

/// The cookies of somebody who has just logged in.
fn logged_in(site: &Site) -> BTreeMap<String, String> {
    let mut visitor = site.visitor();
    assert_eq!(visitor.log_in(LATELY).status, 200);
    visitor.cookies
}

/// Sends a request with these cookies, whoever has them.
fn with(site: &Site, cookies: &BTreeMap<String, String>, request: Request) -> Response {
    let mut visitor = site.visitor();
    visitor.cookies = cookies.clone();
    visitor.send(request)
}

/// Asks for a page that nobody knows until AM's absence is confirmed, which the drill then knows as well.
fn find_out(site: &Site, cookies: &BTreeMap<String, String>) {
    wait_until("an open breaker", || {
        let answer = with(site, cookies, Request::get("/app/finds-out"));
        assert_eq!(answer.status, 503, "{answer:?}");
        drill(site).all["hosts"][0]["away"] == true
    });
}

both_servers! {
    fn what_a_drill_says_is_what_happens(kind: Kind) {
        let mut site = site(kind)
            .workers(2)
            .property("portcullis.am.deadline", "2000")
            .prepare();
        for code in ["PCL05", "PCL0607", "PCL0608", "PCL0650"] {
            site.server.expect(code);
        }
        // Without a server nobody knows the profile.
        let still = agentadmin(&site, &["drill", "am-down"]).output().expect("agentadmin");
        let said = words(&still);
        assert_eq!(still.status.code(), Some(1), "{said}");
        assert!(said.contains("no web server that runs with it can be looked into"), "{said}");
        site.server.start();
        let (cookies, leaving) = (logged_in(&site), logged_in(&site));
        wait_until("what AM said on the disk", || drill(&site).all["start"]["configuration"] == "last-known-good");
        let said = drill(&site);
        assert_eq!(said.code, Some(0), "{:#}", said.all);
        let host = &said.all["hosts"][0];
        assert_eq!((&host["away"], &host["sessions"]["fresh"]), (&Value::Bool(false), &Value::from(2)), "{host:#}");
        assert!(host["decisions"]["fresh"].as_u64() >= Some(1), "{host:#}");
        let stay = &said.all["pages"][0]["stay"]["nobody_after_ms"];
        assert!(stay.as_u64().is_some_and(|ms| (1..=180_000).contains(&ms)), "the interval is 3 minutes: {stay}");
        assert_eq!(said.all["pages"][1]["exempt"], true, "{:#}", said.all);
        // Nobody has noticed anything.
        assert_eq!(with(&site, &cookies, Request::get("/app/asked-now")).status, 200);

        let _ = stop_am(&mut site);
        find_out(&site, &cookies);
        for (who, page, request) in [
            ("lately", LATELY, Request::get(LATELY)),
            ("other_page", "/app/other", Request::get("/app/other")),
        ] {
            assert_so(&site, &said, who, page, &with(&site, &cookies, request));
        }
        for (who, page, request) in [
            ("new", "/app/new", Request::get("/app/new")),
            ("new_with_form", "/app/new-form", form("/app/new-form")),
        ] {
            assert_so(&site, &said, who, page, &with(&site, &BTreeMap::new(), request));
        }
        assert_eq!(site.get("/public/a.html").status, 200);
        let out = with(&site, &leaving, Request::get("/logout/done.html"));
        assert!(out.status < 400, "{out:?}");
        assert_eq!(with(&site, &leaving, Request::get(LATELY)).status, said.of("new").0);
        assert_eq!(with(&site, &cookies, Request::get(LATELY)).status, 200, "others stay in");
        let now = drill(&site);
        assert_eq!(now.all["hosts"][0]["away"], true, "{:#}", now.all);
        assert_eq!(now.all["hosts"][0]["sessions"]["fresh"], 1, "{:#}", now.all);

        // After a start that finds no AM.
        site.server.restart();
        site.wait_for_line("PCL0650");
        wait_until("a configuration", || site.get("/public/a.html").status == 200);
        find_out(&site, &cookies);
        let gone = with(&site, &cookies, Request::get(LATELY));
        assert_so(&site, &said, "unknown", LATELY, &gone);
        assert_eq!(with(&site, &BTreeMap::new(), Request::get(LATELY)).status, said.of("new").0);
        site.stop();
    }
}

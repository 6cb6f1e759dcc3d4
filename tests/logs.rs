//! Are the agent's logs whole, small and safe to keep? Rotation with several workers writing, and what
//! an audit event shows of a URL.

// Scenarios are functions of their own: Clippy does not take them for tests.
#![allow(clippy::expect_used, clippy::panic)]

use std::{
    collections::BTreeSet,
    fs,
    path::PathBuf,
    time::{Duration, SystemTime},
};

use am_simulator::{Damage, Fault};
use portcullis_tests::{
    both_servers,
    client::Request,
    outage::{Crowd, evaluations},
    site::{Site, USER, site},
    wait_until,
};
use serde_json::{Value, json};

const SIZE: &str = "com.sun.identity.agents.config.local.log.size";
const TO: &str = "com.sun.identity.agents.config.log.disposition";
const EVERY: &str = "com.sun.identity.agents.config.remote.log.interval";
const DEBUG_SIZE: &str = "com.sun.identity.agents.config.debug.file.size";

/// The current file and the rotated ones.
fn files(site: &Site, directory: &str) -> Vec<PathBuf> {
    let entries = fs::read_dir(site.instance.join("logs").join(directory)).expect("logs");
    let mut files: Vec<PathBuf> = entries.map(|e| e.expect("entry").path()).collect();
    files.sort();
    files
}

fn audit_events(site: &Site) -> Vec<Value> {
    files(site, "audit")
        .iter()
        .flat_map(|file| {
            let text = fs::read_to_string(file).unwrap_or_default();
            let parse = |line: &str| serde_json::from_str(line).expect("an event a line");
            text.lines().map(parse).collect::<Vec<Value>>()
        })
        .collect()
}

/// What is in AM's profile once the site's workers have read it: a request that AM had to be asked for.
fn configured(site: &Site) {
    assert_eq!(site.visitor().log_in("/app/page").status, 200);
}

both_servers! {
    fn a_long_audit_file_is_rotated_and_loses_nothing(kind: Kind) {
        let site = site(kind).audited().profile(SIZE, &["4000"]).start();
        let mut visitor = site.visitor();
        assert_eq!(visitor.log_in("/app/page").status, 200);
        let paths: BTreeSet<String> = (0..60).map(|i| format!("/app/{i}")).collect();
        for path in &paths {
            assert_eq!(visitor.get(path).status, 200);
        }
        wait_until("all events", || {
            let seen = audit_events(&site)
                .iter()
                .filter_map(|e| Some(e["http"]["request"]["path"].as_str()?.to_owned()))
                .filter(|path| paths.contains(path))
                .collect::<Vec<String>>();
            assert!(seen.len() <= paths.len(), "an event was written twice: {seen:?}");
            seen.len() == paths.len()
        });
        assert!(files(&site, "audit").len() > 1, "{:?}", files(&site, "audit"));
        site.stop();
    }

    fn an_audit_file_of_before_is_rotated_once(kind: Kind) {
        // So long that none begins while this runs.
        let site = site(kind).workers(4).audited().property("portcullis.audit.rotate.hours", "8784").start();
        configured(&site);
        let ask = |names: &str| {
            let request = |n: i32| Request::get(&format!("/app/{names}-{n}"));
            Crowd::send(&site, (0..40).map(request).collect()).rest();
            wait_until("all events", || {
                let events = audit_events(&site);
                let path = |e: &Value| e["http"]["request"]["path"].as_str().unwrap_or_default().to_owned();
                let written = events.iter().filter(|e| path(e).contains(&format!("/{names}-"))).count();
                assert!(written <= 40, "an event was written twice");
                written == 40
            });
        };
        ask("before");
        assert_eq!(files(&site, "audit").len(), 1);
        let file = fs::File::options().append(true).open(&files(&site, "audit")[0]).expect("audit.log");
        file.set_modified(SystemTime::now() - Duration::from_secs(8784 * 3600)).expect("an old file");
        ask("after");
        ask("later");
        let files = files(&site, "audit");
        assert_eq!(files.len(), 2, "{files:?}");
        let text = fs::read_to_string(&files[0]).expect("audit.log");
        assert!(text.contains("/later-") && !text.contains("/before-"), "{text}");
        site.stop();
    }

    fn an_audit_event_shows_the_whole_url_where_told(kind: Kind) {
        let site = site(kind).audited()
            .property("com.sun.identity.agents.config.audit.path.fullurl", "true")
            .start();
        configured(&site);
        site.get("/public/a.html?page=3&key=s3cret&alone");
        let whole = format!("{}/public/a.html?page=*&key=*&*", site.url());
        wait_until("the event", || {
            audit_events(&site).iter().any(|e| e["http"]["request"]["path"] == json!(whole))
        });
        site.stop();
    }

    fn only_the_newest_logs_are_kept(kind: Kind) {
        let site = site(kind)
            .profile(DEBUG_SIZE, &["3000"])
            .property("com.forgerock.agents.config.max.num.log.files", "3")
            .start();
        let mut visitor = site.visitor();
        assert_eq!(visitor.log_in("/app/page").status, 200);
        // Each is refused with a line in the log.
        let last = "/secret/last";
        for i in 0..60 {
            assert_eq!(visitor.get(&format!("/secret/{i}")).status, 403);
        }
        assert_eq!(visitor.get(last).status, 403);
        wait_until("the last line", || {
            let newest = files(&site, "debug").into_iter().rev().take(3);
            newest.map(|f| fs::read_to_string(f).unwrap_or_default()).any(|t| t.contains(last))
        });
        assert_eq!(files(&site, "debug").len(), 3, "{:?}", files(&site, "debug"));
        site.stop();
    }

    fn a_decision_lives_by_ams_clock(kind: Kind) {
        // AM allows until the end of tomorrow. Once our clock is said to be two days behind AM's, that is
        // over when the answer comes: good for the request that asked, and for no other.
        for (skew, asked) in [("172800", 1), ("-172800", 3)] {
            let site = site(kind)
                .profile("com.sun.identity.agents.config.policy.clock.skew", &[skew])
                .start();
            let am = site.am.simulator();
            let day = |days: i64| am_day(am.now_ms() + days * 86_400_000);
            let pattern = format!("{}/app/timed/*", site.url());
            let members = json!({
                "actionValues": { "GET": true },
                "condition": { "type": "SimpleTime", "startDate": day(-7), "endDate": day(1) },
            });
            let admin = site.am.admin();
            admin.create_policy("/", "timed", &[&pattern], &members).expect("policy");
            let mut visitor = site.visitor();
            assert_eq!(visitor.log_in("/app/page").status, 200);
            am.reset_calls();
            for _ in 0..3 {
                assert_eq!(visitor.get("/app/timed/page").status, 200);
            }
            assert_eq!(evaluations(am), asked, "with {skew}");
            site.stop();
        }
    }

    fn one_id_joins_our_lines_with_ams(kind: Kind) {
        let id = "0f3c9d1e-7a52-4b18-9c63-5d2e8f4a1b70/3";
        for trusted in [true, false] {
            let mut builder = site(kind).audited();
            if trusted {
                builder = builder.property("portcullis.trusted.proxies[0]", "127.0.0.1");
            }
            let site = builder.start();
            let mut visitor = site.visitor();
            assert_eq!(visitor.log_in("/app/page").status, 200);
            let asked = Request::get("/app/asked").header("X-ForgeRock-TransactionId", id);
            assert_eq!(visitor.send(asked).status, 200);
            let calls = site.am.simulator().calls();
            let evaluated = calls
                .iter()
                .rev()
                .find(|c| c.action.as_deref() == Some("evaluate"));
            let sent = evaluated
                .and_then(|c| c.transaction.clone())
                .expect("an id");
            let (sent, call) = sent.rsplit_once('/').expect("a number");
            assert_eq!((call, sent == id), ("0", trusted), "{sent}");
            let find = || {
                audit_events(&site)
                    .into_iter()
                    .find(|e| e["http"]["request"]["path"] == "/app/asked")
            };
            wait_until("the event", || find().is_some());
            assert_eq!(find().expect("event")["transactionId"], sent);
            site.wait_for_line(&format!("/app/asked client=127.0.0.1 user=\"id={USER}"));
            site.wait_for_line(&format!("transaction={sent}"));
            // What the agent asks for itself has ids too.
            let login = |c: &am_simulator::Call| {
                c.path.ends_with("/authenticate") && c.transaction.is_some()
            };
            assert!(calls.iter().any(login), "{calls:#?}");
            site.stop();
        }
    }

    fn am_is_given_the_audit_events_that_are_for_it(kind: Kind) {
        let site = site(kind)
            .audited()
            .profile(TO, &["REMOTE"])
            .profile(EVERY, &["0"])
            .start();
        let am = site.am.simulator();
        let given = |path: &str| {
            let events = am.audit_events().into_iter();
            let about = events.filter(|e| e.event["http"]["request"]["path"] == path);
            about.collect::<Vec<_>>()
        };
        let mut visitor = site.visitor();
        assert_eq!(visitor.log_in("/app/page").status, 200);
        assert_eq!(visitor.get("/app/one?secret=1").status, 200);
        assert_eq!(visitor.get("/denied/one").status, 403);
        wait_until("both events", || {
            !given("/app/one").is_empty() && !given("/denied/one").is_empty()
        });
        let allowed = &given("/app/one")[0];
        assert_eq!((allowed.realm.as_str(), allowed.topic.as_str()), ("/", "access"));
        let user = allowed.event["userId"].as_str().expect("user");
        assert!(user.starts_with("id=demo1,"), "{user}");
        assert_eq!(allowed.event["response"]["status"], "SUCCESSFUL");
        assert_eq!(given("/denied/one")[0].event["response"]["status"], "FAILED");

        // While AM is away they wait; what it refuses is in the local file.
        am.add_fault(Fault::on("/json/realms/root/realm-audit", Damage::Status { status: 503 }));
        assert_eq!(visitor.get("/app/two").status, 200);
        wait_until("an attempt", || {
            am.calls().iter().any(|call| call.path.contains("realm-audit") && call.status == 503)
        });
        am.clear_faults();
        wait_until("the event of then", || !given("/app/two").is_empty());
        am.add_fault(Fault::on("/json/realms/root/realm-audit", Damage::Status { status: 403 }));
        assert_eq!(visitor.get("/app/three").status, 200);
        let here = |path: &str| audit_events(&site).iter().any(|e| e["http"]["request"]["path"] == path);
        wait_until("the refused event", || here("/app/three"));
        assert!(!here("/app/one") && !here("/app/two"));
        assert_eq!(given("/app/one").len() + given("/app/two").len(), 2, "each once");
        site.wait_for_line("PCL0691");
        site.stop();
    }

    /// What AM was not given in time is not lost with the worker.
    fn what_am_was_not_given_is_in_the_local_file(kind: Kind) {
        let mut site = site(kind).audited().profile(TO, &["REMOTE"]).start();
        site.server.expect("PCL0690");
        let mut visitor = site.visitor();
        assert_eq!(visitor.log_in("/app/page").status, 200);
        assert_eq!(visitor.get("/app/one").status, 200);
        site.server.restart();
        let events = audit_events(&site);
        assert!(events.iter().any(|e| e["http"]["request"]["path"] == "/app/one"), "{events:?}");
        assert!(site.debug_log().contains("PCL0690"));
        site.stop();
    }

    fn a_trace_goes_on_to_am_and_stands_in_our_lines(kind: Kind) {
        let trace = "4bf92f3577b34da6a3ce929d0e0e4736";
        let parent = "00f067aa0ba902b7";
        let site = site(kind).audited().start();
        let mut visitor = site.visitor();
        assert_eq!(visitor.log_in("/app/page").status, 200);
        for (path, sent, taken) in [
            ("/app/traced", format!("00-{trace}-{parent}-01"), true),
            ("/app/broken", format!("00-{trace}-{parent}-01-more"), false),
        ] {
            let asked = Request::get(path).header("traceparent", &sent);
            assert_eq!(visitor.send(asked).status, 200);
            let calls = site.am.simulator().calls();
            let mut calls = calls.iter().rev();
            let call = calls.find(|c| c.action.as_deref() == Some("evaluate"));
            let told = call.and_then(|c| c.trace.clone()).expect("a trace");
            assert_eq!(told.len(), sent.trim_end_matches("-more").len(), "{told}");
            assert_eq!(told.starts_with(&format!("00-{trace}-")), taken, "{told}");
            assert!(!told.contains(parent), "AM's caller is this agent: {told}");
            let event = || {
                audit_events(&site)
                    .into_iter()
                    .find(|e| e["http"]["request"]["path"] == path)
            };
            wait_until("the event", || event().is_some());
            let expected = if taken { json!(trace) } else { Value::Null };
            assert_eq!(event().expect("event")["traceId"], expected);
        }
        site.wait_for_line(&format!(" trace={trace}"));
        site.stop();
    }

    fn the_system_log_has_what_its_level_says(kind: Kind) {
        for (level, has) in [("Info", true), ("warning", false)] {
            let mut site = site(kind).prepare();
            let path = site.server.dir().join("logs/system_0.log");
            let text = || fs::read_to_string(&path).unwrap_or_default();
            site.server.variable("AM_SYSTEM_LOG_PATH", path.to_str().expect("path"));
            site.server.variable("AM_SYSTEM_LOG_LEVEL", level);
            site.server.variable("AM_SYSTEM_LOG_SIZE", "1000000");
            site.server.start();
            wait_until("the start", || text().contains("Warning PCL0621"));
            assert_eq!(site.get("/public/a.html").status, 200);
            site.wait_for_line("PCL0605");
            if has {
                wait_until("the agent's login", || text().contains("Info PCL0605"));
            }
            assert_eq!(text().contains("PCL0605"), has, "{}", text());
            site.stop();
        }
    }
}

/// `2026:08:20`, as AM's time condition writes a day.
fn am_day(ms: i64) -> String {
    let (mut year, mut days) = (1970, ms / 86_400_000);
    loop {
        let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
        let length = if leap { 366 } else { 365 };
        if days < length {
            let february = if leap { 29 } else { 28 };
            let lengths = [31, february, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
            for (month, length) in (1..).zip(lengths) {
                if days < length {
                    return format!("{year}:{month:02}:{:02}", days + 1);
                }
                days -= length;
            }
        }
        days -= length;
        year += 1;
    }
}

//! How long after a change at AM does it count in all workers?
//!
//! A session is ended, then a policy changed; requests follow each other until enough in a row, on connections of
//! their own, show that every worker knows. Prints times, for reading; nothing passes or fails by a figure.
//! Of the simulator, and of a real OpenAM where this machine can have one.
#![allow(clippy::expect_used, reason = "a tool of developers")]

use std::time::{Duration, Instant};

use portcullis_openam::seed::{Admin, Am};
use portcullis_tests::{
    real,
    server::Kind,
    site::{self, AmServer, Site},
    visitor::Visitor,
};
use serde_json::json;

const PAGE: &str = "/docs/a.html";
const ROUNDS: usize = 20;
/// So many answers in a row come from more than one worker of four.
const IN_A_ROW: usize = 12;
/// Between two changes at a real OpenAM. Of all that happens within 100 ms 16.0.5 tells one thing only (measured;
/// `CHANGELOG.md`, *Known limits*), a session that begins included.
const LIFE: Duration = Duration::from_secs(1);

fn main() {
    let openam = real::openam("news of a real OpenAM");
    println!("AM         server   change            p50 ms    most ms   of {ROUNDS} rounds");
    for kind in [Kind::Nginx, Kind::Httpd] {
        measure(kind, None);
        if let Some(openam) = &openam {
            measure(kind, Some(Am::at(openam.url()).expect("URL of AM")));
        }
    }
    if let Some(openam) = openam {
        openam.stop();
    }
}

fn measure(kind: Kind, am: Option<Am>) {
    let (name, life) = match &am {
        Some(_) => ("OpenAM", LIFE),
        None => ("simulator", Duration::ZERO),
    };
    let site = site::site(kind)
        .unrecorded()
        .listens()
        .workers(4)
        .property("portcullis.login.starts.max", "0");
    let site = match am {
        Some(am) => site.am(AmServer::Real(am)).start(),
        None => site.start(),
    };
    site.wait_for_line("PCL0640");
    let am = site.am.client();
    let mut times = Vec::new();
    for _ in 0..ROUNDS {
        let mut visitor = site.visitor();
        assert_eq!(visitor.log_in(PAGE).status, 200);
        let token = visitor.am_token();
        std::thread::sleep(life);
        am.logout(&token, &token).expect("logout");
        let began = Instant::now();
        times.push(until(&mut visitor, 302, began));
    }
    print((name, kind), "session ended", times);
    let mut visitor = site.visitor();
    assert_eq!(visitor.log_in(PAGE).status, 200);
    let admin = site.am.admin();
    let mut times = Vec::new();
    for round in 0..ROUNDS {
        let get = round % 2 == 1;
        std::thread::sleep(life);
        let began = allow(&site, &admin, get);
        times.push(until(&mut visitor, if get { 200 } else { 403 }, began));
    }
    print((name, kind), "policy changed", times);
    site.stop();
}

/// Allows or forbids GET below `/app`; when AM had done it.
fn allow(site: &Site, admin: &Admin, get: bool) -> Instant {
    let pattern = format!("{}/docs/*", site.url());
    let members = json!({ "actionValues": { "GET": get } });
    let name = match &site.am {
        AmServer::Real(_) => format!("docs-{}", site.agent),
        AmServer::Simulated(_) => "docs".to_owned(),
    };
    admin
        .replace_policy("/", &name, &[&pattern], &members)
        .expect("policy");
    Instant::now()
}

/// How long after `began` the last answer came that was another.
fn until(visitor: &mut Visitor<'_>, status: u16, began: Instant) -> Duration {
    let (mut in_a_row, mut since) = (0, Duration::ZERO);
    while in_a_row < IN_A_ROW {
        if visitor.get(PAGE).status == status {
            in_a_row += 1;
        } else {
            (in_a_row, since) = (0, began.elapsed());
        }
    }
    since
}

fn print((am, kind): (&str, Kind), what: &str, mut times: Vec<Duration>) {
    times.sort_unstable();
    let ms = |time: Duration| time.as_secs_f64() * 1e3;
    let (middle, most) = (times[times.len() / 2], times[times.len() - 1]);
    let kind = format!("{kind:?}");
    println!(
        "{am:<10} {kind:<8} {what:<16} {:>8.2}  {:>8.2}",
        ms(middle),
        ms(most)
    );
}

//! What many ask for at the same moment, AM is asked once, whichever workers they came to; and what is
//! asked for one session meanwhile goes together.

// What can't be had fails the test that wanted it.
#![allow(clippy::expect_used)]

use std::{
    io::{BufReader, Write},
    net::TcpStream,
};

use am_simulator::{Damage, Fault};
use portcullis_tests::{
    both_servers,
    client::{Request, Response, read},
    outage::{evaluations, session_questions},
    server::{Kind, Mpm},
    site::{Builder, Site, site},
};

/// Sends all of these on connections that are open already, before any answer is read.
fn at_once(site: &Site, requests: &[Request]) -> Vec<Response> {
    let to = site.server.address();
    let connections: Vec<TcpStream> = requests
        .iter()
        .map(|_| TcpStream::connect(to).expect("a connection"))
        .collect();
    for (mut connection, request) in connections.iter().zip(requests) {
        let bytes = request.bytes(&site.authority());
        connection.write_all(&bytes).expect("a request");
    }
    let answers = connections.into_iter();
    answers
        .map(|connection| read(BufReader::new(connection), "GET").expect("an answer"))
        .collect()
}

/// As many equal requests as the server answers at the same time, for a session that it knows nothing of.
fn equal_ones(site: Builder, count: usize) {
    let mut site = site.workers(4).start();
    let mut visitor = site.visitor();
    assert_eq!(visitor.log_in("/docs/a.html").status, 200);
    let cookies = visitor.cookie_header();
    for _ in 0..3 {
        // Nothing of its memory is left.
        site.server.restart();
        assert_eq!(site.get("/public/a.html").status, 200);
        let am = site.am.simulator();
        am.reset_calls();
        let request = Request::get("/docs/a.html").header("Cookie", &cookies);
        for answer in at_once(&site, &vec![request; count]) {
            assert_eq!(answer.status, 200, "{answer:?}");
        }
        assert_eq!((session_questions(am), evaluations(am)), (1, 1));
    }
    site.stop();
}

#[test]
fn a_thousand_equal_questions_of_all_workers_are_asked_once_on_nginx() {
    equal_ones(site(Kind::Nginx), 1_000);
}

#[test]
fn equal_questions_of_all_threads_are_asked_once_on_httpd() {
    equal_ones(site(Kind::Httpd), 64);
}

#[test]
fn equal_questions_of_all_processes_are_asked_once_on_httpd_prefork() {
    equal_ones(site(Kind::Httpd).mpm(Mpm::Prefork), 64);
}

/// Asks for so many pages at once, with a session that is known, while these calls fail. How often AM was
/// asked for decisions.
fn pages_at_once(kind: Kind, count: usize, faults: &[Fault]) -> usize {
    // All of them may wait, in whichever process they are.
    let site = site(kind).workers(4).threads(200).start();
    let mut visitor = site.visitor();
    assert_eq!(visitor.log_in("/app/page").status, 200);
    let am = site.am.simulator();
    am.reset_calls();
    // The first call takes its time, as it does where AM is not on the same machine.
    am.add_fault(Fault::on("/json/policies", Damage::SlowBody { delay_ms: 1 }).times(1));
    for fault in faults {
        am.add_fault(fault.clone());
    }
    let cookies = visitor.cookie_header();
    let page = |n| Request::get(&format!("/app/part-{n}")).header("Cookie", &cookies);
    let pages: Vec<Request> = (0..count).map(page).collect();
    for (n, answer) in at_once(&site, &pages).iter().enumerate() {
        assert_eq!(answer.status, 200, "{n}: {answer:?}");
    }
    assert_eq!(session_questions(am), 0);
    let asked = evaluations(am);
    site.stop();
    asked
}

both_servers! {
    fn the_parts_of_a_page_are_asked_for_together(kind: Kind) {
        let asked = pages_at_once(kind, 50, &[]);
        assert!((1..=3).contains(&asked), "{asked} calls");
    }

    fn a_question_that_am_does_not_take_spoils_no_other(kind: Kind) {
        let refused = Damage::Status { status: 400 };
        let asked = pages_at_once(kind, 20, &[Fault::on("/json/policies", refused).times(1)]);
        assert!(asked > 2, "{asked} calls");
    }
}

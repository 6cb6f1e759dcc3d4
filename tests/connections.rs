//! A response that does not end, or a WebSocket: it ends with the session that it was let in with, where
//! told, and no other does.

// What can't be had fails the test that wanted it.
#![allow(clippy::expect_used, clippy::panic)]

use portcullis_tests::{
    both_servers,
    server::{Kind, Mpm},
    site::{Builder, site},
    streams::{Listener, Streams},
    wait_until,
};

const CUT: &str = "portcullis.session.cut.connections";
const PAGE: &str = "/docs/a.html";

/// Two users with a stream and a WebSocket each; the session of one ends at AM.
fn one_of_two_is_cut(builder: Builder) {
    let streams = Streams::start();
    let site = streams
        .behind(builder.listens().property(CUT, "true"))
        .start();
    site.wait_for_line("PCL0640");
    let (mut one, mut two) = (site.visitor(), site.visitor());
    assert_eq!(one.log_in(PAGE).status, 200);
    assert_eq!(two.log_in(PAGE).status, 200);
    let [mine, theirs] = [&one, &two].map(|visitor| {
        let cookie = visitor.cookie_header();
        [false, true].map(|upgrade| {
            let listener = Listener::open(&site, &cookie, upgrade);
            let status = if upgrade { " 101 " } else { " 200 " };
            assert!(listener.head.contains(status), "{}", listener.head);
            listener
        })
    });
    // What is over by itself is watched no more: the connection stays open for the next request.
    assert_eq!(one.get(PAGE).status, 200);
    assert!(site.am.simulator().end_session(&one.am_token()));
    for mut listener in mine {
        listener.ends();
    }
    streams.say("still here");
    for mut listener in theirs {
        assert!(
            listener.hears("still here"),
            "another session's connection was cut"
        );
    }
    let cut = || site.debug_log().matches("PCL0720").count();
    wait_until("a line for each", || cut() >= 2);
    assert_eq!(cut(), 2, "{}", site.debug_log());
    assert_eq!(one.get(PAGE).status, 302);
    assert_eq!(two.get(PAGE).status, 200);
    streams.end();
    site.stop();
}

both_servers! {
    fn an_open_connection_is_cut_when_its_session_ends(kind: Kind) {
        one_of_two_is_cut(site(kind));
    }

    fn an_open_connection_outlives_its_session_unless_told(kind: Kind) {
        let streams = Streams::start();
        let site = streams.behind(site(kind).listens()).start();
        site.wait_for_line("PCL0640");
        let mut visitor = site.visitor();
        assert_eq!(visitor.log_in(PAGE).status, 200);
        let mut listener = Listener::open(&site, &visitor.cookie_header(), false);
        assert!(site.am.simulator().end_session(&visitor.am_token()));
        wait_until("the end of the session", || visitor.get(PAGE).status == 302);
        streams.say("still here");
        assert!(listener.hears("still here"));
        assert_eq!(site.debug_log().matches("PCL0720").count(), 0);
        drop(listener);
        streams.end();
        site.stop();
    }

    fn a_logout_cuts_what_is_open(kind: Kind) {
        let streams = Streams::start();
        let site = streams.behind(site(kind).property(CUT, "true")).start();
        let mut visitor = site.visitor();
        assert_eq!(visitor.log_in(PAGE).status, 200);
        let mut listener = Listener::open(&site, &visitor.cookie_header(), false);
        visitor.get("/logout/done.html");
        listener.ends();
        streams.end();
        site.stop();
    }
}

#[test]
fn prefork_cuts_what_is_open_when_the_session_ends() {
    one_of_two_is_cut(site(Kind::Httpd).mpm(Mpm::Prefork).workers(8));
}

//! What do sixty reloads under load leave behind, beside those of a bare server?
#![allow(clippy::print_stdout, reason = "a tool of developers")]

use portcullis_tests::{
    reloads::{Outcome, assert_no_worse, compare},
    server::{Kind, Mpm},
};

const RELOADS: usize = 60;

fn main() {
    println!(
        "server        answered  repeated  parent: files threads KiB        worker: files threads KiB"
    );
    for (server, name) in [
        ((Kind::Nginx, Mpm::Event), "nginx"),
        ((Kind::Httpd, Mpm::Event), "event"),
        ((Kind::Httpd, Mpm::Prefork), "prefork"),
    ] {
        let outcomes = compare(server, RELOADS);
        print(name, "bare", &outcomes.0);
        print(name, "agent", &outcomes.1);
        assert_no_worse(&outcomes);
    }
}

fn print(server: &str, name: &str, outcome: &Outcome) {
    let (a, b) = (&outcome.before, &outcome.after);
    println!(
        "{:<13} {:>8}  {:>8}  {}->{}  {}->{}  {}->{}   {}->{}  {}->{}  {}->{}",
        format!("{server} {name}"),
        outcome.answered,
        outcome.repeated,
        a.parent.files,
        b.parent.files,
        a.parent.threads,
        b.parent.threads,
        a.parent.memory,
        b.parent.memory,
        a.worker.files,
        b.worker.files,
        a.worker.threads,
        b.worker.threads,
        a.worker.memory,
        b.worker.memory,
    );
}

//! What do sixty reloads under load leave behind, beside those of a bare server?
#![allow(clippy::print_stdout, reason = "a tool of developers")]

use portcullis_tests::{
    reloads::{Outcome, assert_no_worse, compare},
    server::Kind,
};

const RELOADS: usize = 60;

fn main() {
    println!(
        "server        answered  repeated  parent: files threads KiB        worker: files threads KiB"
    );
    for kind in [Kind::Nginx, Kind::Httpd] {
        let outcomes = compare(kind, RELOADS);
        print(kind, "bare", &outcomes.0);
        print(kind, "agent", &outcomes.1);
        assert_no_worse(&outcomes);
    }
}

fn print(kind: Kind, name: &str, outcome: &Outcome) {
    let (a, b) = (&outcome.before, &outcome.after);
    println!(
        "{:<13} {:>8}  {:>8}  {}->{}  {}->{}  {}->{}   {}->{}  {}->{}  {}->{}",
        format!("{kind:?} {name}"),
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

//! Ten thousand rules cost at most half as much again as ten: instructions, counted with valgrind.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "helpers of tests"
)]

mod support;

use std::{env, fs, hint::black_box, net::IpAddr, path::Path, process::Command};

use portcullis_engine::{
    config::Snapshot,
    contract::{Outcome, Step},
    decide,
};
use support::{NOW, Nothing};

const RULES: &str = "PORTCULLIS_TEST_RULES";
const ROUNDS: &str = "PORTCULLIS_TEST_ROUNDS";

/// `count` rules about URLs, of every shape that the index knows; as many addresses, and as many pairs
/// of both.
fn snapshot(count: usize) -> Snapshot {
    use std::fmt::Write;
    const P: &str = "com.sun.identity.agents.config";
    let mut conf = String::new();
    for n in 0..count {
        let url = match n % 5 {
            0 => format!("http://www.example.com:80/static/{n}/*"),
            1 => format!("*/public{n}/*"),
            2 => format!("/shop/images{n}/*.png"),
            3 => format!("http://www{n}.example.com:80/*"),
            _ => format!("*.ext{n}"),
        };
        let address = format!("10.{}.{}.0/25", n / 256, n % 256);
        writeln!(conf, "{P}.notenforced.url[{n}] = {url}").unwrap();
        writeln!(conf, "{P}.notenforced.ip[{n}] = {address}").unwrap();
        writeln!(
            conf,
            "org.forgerock.agents.config.notenforced.ipurl[{n}] = {address}|/pair{n}/*"
        )
        .unwrap();
    }
    conf += "portcullis.notenforced.rule[0] = url=/last/*\n";
    support::snapshot(&conf)
}

/// Each of these is exempt, the last one by the very last rule, so that nothing but rules is counted.
const REQUESTS: [(&str, [u8; 4]); 6] = [
    ("/static/5/a/b.css", [192, 0, 2, 1]),
    ("/x/public6/y", [192, 0, 2, 1]),
    ("/shop/images7/a.png", [192, 0, 2, 1]),
    ("/a/b.ext4", [192, 0, 2, 1]),
    ("/anything", [10, 0, 9, 1]),
    ("/last/orders/2026/list?page=3", [192, 0, 2, 1]),
];

#[inline(never)]
fn decisions_that_are_counted(snap: &Snapshot, rounds: usize) -> usize {
    let mut exempt = 0;
    for (target, client) in REQUESTS.iter().cycle().take(rounds * REQUESTS.len()) {
        let client = IpAddr::from(*client);
        let view = support::view("GET", target, client, &[]);
        let step = decide(black_box(&view), snap, &Nothing, NOW);
        exempt +=
            usize::from(matches!(&step, Step::Done(d) if matches!(d.outcome, Outcome::Allow(_))));
    }
    exempt
}

fn number(name: &str, otherwise: usize) -> usize {
    env::var(name).map_or(otherwise, |n| n.parse().unwrap())
}

#[test]
fn each_of_many_rules_is_found() {
    let (rules, rounds) = (number(RULES, 1000), number(ROUNDS, 1));
    let exempt = decisions_that_are_counted(&snapshot(rules), rounds);
    assert_eq!(exempt, rounds * REQUESTS.len());
}

/// Counted on a release build of this very test. Only decisions are counted, so many of them make what
/// the first ones cost more of no weight.
#[test]
fn ten_thousand_rules_cost_little_more_than_ten() {
    let each = |rules| instructions(rules, 300) / (300 * REQUESTS.len() as u64);
    let (few, many) = (each(10), each(10_000));
    println!("{few} instructions with 10 rules, {many} with 10 000");
    assert!(
        few > 0 && 2 * many <= 3 * few,
        "{few} instructions with 10 rules, {many} with 10 000"
    );
}

fn instructions(rules: usize, rounds: usize) -> u64 {
    let home = env::temp_dir().join(format!(
        "portcullis-rules-{}-{rules}-{rounds}",
        std::process::id()
    ));
    let runner = format!(
        "target.'cfg(unix)'.runner=['valgrind','--quiet','--tool=callgrind',\
         '--toggle-collect=*decisions_that_are_counted*','--callgrind-out-file={}']",
        home.display()
    );
    let mut cargo = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo
        .current_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("../.."))
        .env(RULES, rules.to_string())
        .env(ROUNDS, rounds.to_string())
        .args([
            "test",
            "--release",
            "-p",
            "portcullis-engine",
            "--test",
            "rule_cost",
        ])
        .args(["--config", &runner])
        .args(["--", "--exact", "each_of_many_rules_is_found"]);
    let output = cargo.output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success(),
        "{cargo:?} (valgrind is needed):\n{said}"
    );
    let profile = fs::read_to_string(&home).unwrap();
    fs::remove_file(&home).unwrap();
    let totals = profile
        .lines()
        .find_map(|line| line.strip_prefix("totals: "));
    totals.expect("totals").trim().parse().unwrap()
}

//! How much of a server's throughput is left when each request needs an answer that is cached?
//!
//! A bare server and one with the agent serve the same page by turns, to a visitor who has logged in.
//! Prints ratios with their spread; nothing here passes or fails by a figure.
#![allow(clippy::expect_used, clippy::panic, reason = "a tool of developers")]

use std::{net::SocketAddr, process::Command};

use portcullis_tests::{
    server::{Kind, Layout, Server},
    site::{self, HOST},
};

const PAGE: &str = "/docs/a.html";
const ROUNDS: usize = 8;
const SECONDS: &str = "-d2s";

fn main() {
    println!("server   bare req/s  agent req/s  ratio  min..max of {ROUNDS} rounds");
    for kind in [Kind::Nginx, Kind::Httpd] {
        compare(kind);
    }
}

fn compare(kind: Kind) {
    let site = site::site(kind)
        .unrecorded()
        .property("com.sun.identity.agents.config.debug.level", "error")
        .start();
    let mut visitor = site.visitor();
    assert_eq!(visitor.log_in(PAGE).status, 200);
    let cookie = format!("Cookie: {}", visitor.cookie_header());

    let home = tempfile::tempdir().expect("folder");
    let open = std::os::unix::fs::PermissionsExt::from_mode(0o755); // workers run as another user
    std::fs::set_permissions(home.path(), open).expect("mode");
    let layout = Layout::default();
    let mut bare = Server::prepare(kind, home.path(), site.backend.address(), &layout);
    // Without the module httpd knows no level of its messages.
    let conf = std::fs::read_to_string(bare.conf()).expect("configuration");
    std::fs::write(bare.conf(), conf.replace(" amagent:info", "")).expect("configuration");
    bare.start();

    let mut pairs = Vec::new();
    for round in 0..ROUNDS {
        let measure_bare = || requests_per_second(bare.address(), &cookie);
        let measure_agent = || requests_per_second(site.server.address(), &cookie);
        // Whoever comes second finds a warmer machine.
        pairs.push(if round % 2 == 0 {
            let first = measure_bare();
            (first, measure_agent())
        } else {
            let first = measure_agent();
            (measure_bare(), first)
        });
    }
    bare.stop();
    site.stop();

    let mut ratios: Vec<f64> = pairs.iter().map(|(bare, agent)| agent / bare).collect();
    let (median, least, most) = spread(&mut ratios);
    let mut bare: Vec<f64> = pairs.iter().map(|p| p.0).collect();
    let mut agent: Vec<f64> = pairs.iter().map(|p| p.1).collect();
    println!(
        "{:<8} {:>10.0}  {:>11.0}  {median:>5.2}  {least:.2}..{most:.2}",
        format!("{kind:?}"),
        spread(&mut bare).0,
        spread(&mut agent).0,
    );
}

/// Median, least and most.
fn spread(values: &mut [f64]) -> (f64, f64, f64) {
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    let median = f64::midpoint(values[(values.len() - 1) / 2], values[middle]);
    (median, values[0], values[values.len() - 1])
}

fn requests_per_second(address: SocketAddr, cookie: &str) -> f64 {
    let port = address.port();
    let output = Command::new("wrk")
        .args(["-t1", "-c16", SECONDS])
        .args(["-H", cookie, "-H", &format!("Host: {HOST}:{port}")])
        .arg(format!("http://{address}{PAGE}"))
        .output()
        .expect("wrk is needed");
    let said = String::from_utf8_lossy(&output.stdout);
    // An answer that is not the page costs something else.
    assert!(
        output.status.success() && !said.contains("Non-2xx"),
        "{said}"
    );
    let line = said.lines().find_map(|l| l.strip_prefix("Requests/sec:"));
    line.and_then(|n| n.trim().parse().ok())
        .expect("Requests/sec")
}

//! The reference of log codes says what the table of codes says.
//!
//! `BLESS=1 cargo test -p portcullis-engine --test log_codes` writes it anew.

use std::{env, fmt::Write, fs, path::PathBuf};

use portcullis_engine::event::{Code, Severity};

const INTRODUCTION: &str = "# Log codes\n\n\
    <!-- Made from the table of codes; do not edit. -->\n\n\
    Every decision, warning and error has a code: `PCL` and four digits. A code never changes its\n\
    meaning, so scripts and dashboards may rely on it. Refusals, redirects and errors also carry an\n\
    *incident* of 16 characters, which the page shows to the user: look for it in the log. The four\n\
    behind its dash stand for the node that gave it.\n\n\
    A line never holds a token, a password, a cookie's value or a query string.\n";

/// Sections by the first digit of a code.
const SECTIONS: &[(u16, &str, &str)] = &[
    (1, "Allowed", "The request went through."),
    (2, "Login", "A login began, finished or was refused."),
    (3, "Refused", "The answer was 400 or 403."),
    (4, "Logout", "A session was ended."),
    (
        5,
        "Not available",
        "Nothing could be decided, so nothing was let through.",
    ),
    (
        6,
        "Configuration and operation",
        "About the agent, not about one request.",
    ),
    (
        7,
        "Outage and open connections",
        "AM is away and something goes on all the same, or a response would outlive its session.",
    ),
];

fn severity(of: Severity) -> &'static str {
    match of {
        Severity::Error => "error",
        Severity::Warning => "warning",
        Severity::Info => "info",
        Severity::Debug => "debug",
    }
}

fn reference() -> String {
    let mut out = String::from(INTRODUCTION);
    for (digit, title, about) in SECTIONS {
        let _ = write!(out, "\n## {title}\n\n{about}\n\n");
        out.push_str("| code | severity | text | cause | remedy |\n");
        out.push_str("| --- | --- | --- | --- | --- |\n");
        for code in Code::ALL.iter().filter(|c| c.number() / 100 == *digit) {
            let row = code.row();
            let cells = [row.text, row.cause, row.remedy].map(|cell| cell.replace('|', "\\|"));
            let _ = writeln!(
                out,
                "| `PCL{:04}` | {} | {} | {} | {} |",
                row.number,
                severity(row.severity),
                cells[0],
                cells[1],
                cells[2]
            );
        }
    }
    out
}

#[test]
fn the_reference_is_the_table() {
    let file = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../docs/log-codes.md");
    let text = reference();
    if env::var_os("BLESS").is_some() {
        fs::write(&file, text).unwrap();
        return;
    }
    assert!(
        fs::read_to_string(&file).unwrap() == text,
        "docs/log-codes.md is not what the table says; run this test with BLESS=1"
    );
}

#[test]
fn every_code_has_its_row() {
    let text = reference();
    for code in Code::ALL {
        let cell = format!("| `PCL{:04}` |", code.number());
        assert_eq!(text.matches(&cell).count(), 1, "{code:?}");
    }
}

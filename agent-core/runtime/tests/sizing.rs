//! How many sessions and decisions fit into the shared memory? The table in `docs/sizing.md` is what the real tables
//! held when they were filled with records of these kinds.
//!
//! `BLESS=1 cargo test -p portcullis-runtime --test sizing -- --nocapture` measures and writes it anew.

#![allow(clippy::expect_used, clippy::panic)]

use std::{env, fmt::Write, fs, path::PathBuf};

use portcullis_engine::record::{NewPolicy, NewSession, SessionKind};
use portcullis_shm::{Key, Mapping, Put, Stamp, Table};

/// The table stands between these lines.
const BEGIN: &str = "<!-- Measured by agent-core/runtime/tests/sizing.rs. -->\n\n";
const END: &str = "\n<!-- End of what was measured. -->\n";
/// Sizes of the shared memory that are looked at each time, in MiB, and all that the page has. Larger ones
/// take seconds to fill.
const EACH_TIME: [usize; 2] = [1, 16];
const SIZES: [usize; 4] = [1, 16, 64, 256];
const MIB: usize = 1 << 20;
/// What has to be found again of what the page says that there is room for, in percent.
const KEPT: usize = 98;

/// A name as OpenAM writes it.
const USER: &str = "id=demo1,ou=user,dc=openam,dc=openidentityplatform,dc=org";

/// Where a kind of record is kept.
type Place = for<'m> fn(&'m Mapping) -> Table<'m>;

/// The kinds of records that the page names.
fn kinds() -> [(&'static str, Place, Vec<u8>); 4] {
    [
        ("sessions", Mapping::sessions, session(0)),
        (
            "sessions with 2 KiB of properties more",
            Mapping::sessions,
            session(2048),
        ),
        (
            "decisions without attributes",
            Mapping::decisions,
            decision(0),
        ),
        (
            "decisions with six attributes",
            Mapping::decisions,
            decision(6),
        ),
    ]
}

/// A user's session with the properties that OpenAM 16 gives it.
fn session(more: usize) -> Vec<u8> {
    let more = "x".repeat(more);
    let mut properties = vec![
        ("CharSet", "UTF-8"),
        ("UserToken", "demo1"),
        ("successURL", "/openam/console"),
        ("cookieSupport", "true"),
        ("AuthLevel", "0"),
        (
            "SessionHandle",
            "shandle:AQIC5wM2LY4SfczqXxPvTfbP4mQ7hGZ0sLkDlKzJm1Wfq9E.*AAJTSQACMDEAAlNLABM0.*",
        ),
        ("UserId", "demo1"),
        ("AMCtxId", "5d3a7c21-9b1f-4a3c-8f67-2f3f0d6b9c11-1203"),
        ("Service", "ldapService"),
        ("Locale", "en_US"),
        ("Host", "192.0.2.17"),
        ("FullLoginURL", "/openam/UI/Login?realm=%2F"),
        ("AuthType", "DataStore"),
        ("Organization", "dc=openam,dc=openidentityplatform,dc=org"),
        ("Principal", USER),
        ("Principals", "demo1"),
        ("loginURL", "/openam/UI/Login"),
        ("authInstant", "2026-08-20T09:10:58Z"),
        ("sun.am.UniversalIdentifier", USER),
    ];
    properties.push(("more", &more));
    let session = NewSession {
        kind: SessionKind::User,
        client_side: false,
        max_end: 1,
        idle_end: 1,
        realm: "/",
        universal_id: USER,
        properties: &properties,
    };
    session.encode().expect("a session")
}

/// A decision that brings so many response attributes.
fn decision(attributes: usize) -> Vec<u8> {
    let value: &[&str] = &["cn=sales,ou=groups,dc=example,dc=com"];
    let names: Vec<String> = (0..attributes).map(|n| format!("attribute{n}")).collect();
    let attributes: Vec<(&str, &[&str])> = names.iter().map(|n| (n.as_str(), value)).collect();
    let policy = NewPolicy {
        ttl: u64::MAX,
        actions: &[("GET", true), ("HEAD", true), ("POST", true)],
        attributes: &attributes,
        advices: &[],
    };
    policy.encode().expect("a decision")
}

/// Digests as the agent makes them are evenly spread; these are, and the same each time.
fn key(n: usize) -> Key {
    let mixed = |seed: u64| {
        let mut x = (n as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ seed;
        x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        x ^ (x >> 31)
    };
    Key((u128::from(mixed(1)) << 64) | u128::from(mixed(2)))
}

/// Whether so many records are found again, but for a few, once all are written, each by another session.
fn fits(mib: usize, place: Place, record: &[u8], count: usize) -> bool {
    let mapping = Mapping::create(mib * MIB).expect("memory");
    let table = place(&mapping);
    let stamp = Stamp {
        stored_at: 1,
        expires_at: u64::MAX,
        epoch: 0,
        revocations: 0,
    };
    for n in 0..count {
        let put = table.put_of(n as u64 + 1, key(n), stamp, record);
        assert_eq!(put, Put::Stored);
    }
    let mut out = Vec::new();
    let found = (0..count).filter(|n| table.get(key(*n), 2, &mut out).is_some());
    found.count() * 100 >= count * KEPT
}

/// About the most records that fit, rounded down to two digits.
fn room(mib: usize, place: Place, record: &[u8]) -> usize {
    let (mut low, mut high) = (0, mib * MIB / record.len());
    while high - low > 1 + low / 50 {
        let middle = low.midpoint(high);
        match fits(mib, place, record, middle) {
            true => low = middle,
            false => high = middle,
        }
    }
    let step = 10_usize.pow(low.max(10).ilog10() - 1);
    low / step * step
}

/// `12 000`
fn spaced(n: usize) -> String {
    match n / 1000 {
        0 => n.to_string(),
        thousands => format!("{} {:03}", spaced(thousands), n % 1000),
    }
}

fn page() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../docs/sizing.md")
}

/// The rows of the page: size in MiB, then the room for each kind.
fn rows(text: &str) -> Vec<Vec<usize>> {
    let (_, rest) = text.split_once(BEGIN).expect("the beginning of the table");
    let (table, _) = rest.split_once(END).expect("the end of the table");
    let number = |cell: &str| cell.replace(' ', "").parse().expect("a number");
    let cells = |line: &str| line.trim_matches('|').split('|').map(number).collect();
    table.lines().skip(2).map(cells).collect()
}

fn measured() -> String {
    let kinds = kinds();
    let mut out = String::from("| `AM_MAX_SESSION_CACHE_SIZE` in MiB |");
    for (name, _, record) in &kinds {
        let _ = write!(out, " {name} ({} bytes) |", record.len());
    }
    let _ = writeln!(out, "\n| --- |{}", " --- |".repeat(kinds.len()));
    for mib in SIZES {
        let _ = write!(out, "| {mib} |");
        for (_, place, record) in &kinds {
            let _ = write!(out, " {} |", spaced(room(mib, *place, record)));
        }
        out.push('\n');
    }
    out
}

#[test]
fn as_much_fits_as_the_page_says() {
    let text = fs::read_to_string(page()).expect("docs/sizing.md");
    if env::var_os("BLESS").is_some() {
        let (before, rest) = text.split_once(BEGIN).expect("the beginning of the table");
        let (_, after) = rest.split_once(END).expect("the end of the table");
        let text = format!("{before}{BEGIN}{}{END}{after}", measured());
        return fs::write(page(), text).expect("docs/sizing.md");
    }
    let rows = rows(&text);
    assert_eq!(rows.iter().map(|row| row[0]).collect::<Vec<_>>(), SIZES);
    for row in rows.iter().filter(|row| EACH_TIME.contains(&row[0])) {
        for ((name, place, record), says) in kinds().iter().zip(&row[1..]) {
            // Below what was measured: a digest falls differently in each server.
            let count = says * 9 / 10;
            assert!(
                fits(row[0], *place, record, count),
                "{count} {name} in {} MiB",
                row[0]
            );
            assert!(
                !fits(row[0], *place, record, says * 2),
                "much more {name} fit in {} MiB",
                row[0]
            );
        }
    }
}

//! A request whose answers are all in the shared table, as a server would hand it over.
//!
//! For counting what it costs: `tests/hot_path.rs` counts, and runs the program under a profiler.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "helpers of tests"
)]

mod library;

use std::{
    cell::Cell,
    ffi::c_void,
    fs,
    io::Write,
    net::Ipv4Addr,
    os::{
        fd::BorrowedFd,
        unix::{ffi::OsStrExt, fs::OpenOptionsExt},
    },
    path::Path,
    ptr::null_mut,
};

pub use library::Library;
use portcullis::{portcullis_result::*, portcullis_verdict_kind::*, *};
use portcullis_engine::{
    config::{self, Properties, Secrets, Snapshot, Source, encrypt_password, key_text},
    contract::UnixMillis,
    record::{NewPolicy, NewSession, SessionKind},
    token::Secret,
};
use portcullis_shm::{Key, Mapping, Put, Stamp, clock};

/// Length of a session token of OpenAM 16.0.5 with one server and no site.
const TOKEN: usize = 121;
const HOST: &str = "www.example.com";
const TARGET: &str = "/shop/orders/2026/list?page=3";
const RESOURCE: &str = "http://www.example.com:80/shop/orders/2026/list?page=3";
const CLIENT: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 7);
const EXEMPT_RULES: usize = 20;

/// A started generation with one instance, a logged-in visitor, and his request.
pub struct Scene {
    library: Library,
    agent: *mut portcullis_agent,
    mapping: *mut portcullis_mapping,
    headers: Vec<(&'static str, String)>,
    /// Requests so far that differed from all others.
    numbered: Cell<u32>,
}

/// Whether one thread sees the very same request again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asked {
    /// It does: the answer it gave counts once more.
    Again,
    /// Never: each differs in a field from those before, and is decided.
    Anew,
}

/// What the host was told, counted: copying it is the host's work.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Told {
    /// Request headers, `Cookie` among them.
    pub headers: u32,
    /// Variables.
    pub variables: u32,
    /// Users.
    pub users: u32,
    /// Anything else.
    pub others: u32,
}

impl Asked {
    /// As the program's argument.
    pub fn word(self) -> &'static str {
        match self {
            Asked::Again => "again",
            Asked::Anew => "anew",
        }
    }
}

impl Told {
    /// What each request tells the host: `Cookie` without ours, two headers of the session, two of the policy.
    pub const EACH: Told = Told {
        headers: 5,
        variables: 4,
        users: 1,
        others: 0,
    };

    /// So many times this.
    pub fn times(self, times: u32) -> Told {
        Told {
            headers: self.headers * times,
            variables: self.variables * times,
            users: self.users * times,
            others: self.others * times,
        }
    }
}

impl Scene {
    /// Sets everything up, with the instance's files in an empty folder; nothing listens where AM is said to be.
    ///
    /// # Panics
    /// When anything can't be set up.
    pub fn new(library: Library, home: &Path) -> Scene {
        let conf = agent_conf(home);
        let secrets = write_instance(home, &conf);
        let (mut agent, mut mapping, mut index) = (null_mut(), null_mut(), 99);
        let path = home.join("agent.conf");
        let worker = portcullis_worker_options {
            size: size_of::<portcullis_worker_options>(),
            wake_fd: -1,
            threads: 1,
        };
        // SAFETY: every pointer is to something that lives here.
        let results = unsafe {
            [
                (library.mapping_create)(1 << 20, &mut mapping),
                (library.agent_new)(&options(), &mut agent),
                (library.agent_add)(agent, text(path.as_os_str().as_bytes()), 0, &mut index),
                (library.agent_attach)(agent, mapping),
                (library.worker_start)(agent, &worker),
            ]
        };
        // The library keeps panics quiet; a test that fails has to say why.
        drop(std::panic::take_hook());
        assert_eq!((results, index), ([PORTCULLIS_OK; 5], 0));
        // SAFETY: the mapping keeps its fd open.
        let shared = unsafe { BorrowedFd::borrow_raw((library.mapping_fd)(mapping)) };
        let shared = Mapping::adopt(shared).unwrap();
        let snapshot = compile(&conf, secrets, &shared);
        let cookie = learn(&snapshot, &shared);
        Scene {
            library,
            agent,
            mapping,
            headers: headers(cookie),
            numbered: Cell::new(0),
        }
    }

    /// Decides the request so often, and says what the host was told in all.
    ///
    /// # Panics
    /// When it is not allowed each time.
    pub fn decide(&self, asked: Asked, times: u32) -> Told {
        // Not inlined here, so that a profile sees the function by its name.
        let decide = std::hint::black_box(self.library.decide);
        let mut fields: Vec<portcullis_header> = self.headers.iter().map(field).collect();
        let mut number = [b'0'; 8];
        fields.push(portcullis_header {
            name: text(b"X-Number"),
            value: text(&number),
        });
        let mut told = Told::default();
        let sink = sink(&mut told);
        let mut allowed = 0;
        for _ in 0..times {
            if asked == Asked::Anew {
                let n = self.numbered.replace(self.numbered.get() + 1);
                number = std::array::from_fn(|i| b'a' + (n >> (4 * i)) as u8 % 16);
                fields.last_mut().unwrap().value = text(&number);
            }
            let request = request(&fields);
            let mut ticket = null_mut();
            let mut verdict = portcullis_verdict {
                size: size_of::<portcullis_verdict>(),
                kind: PORTCULLIS_RESPOND,
                status: 0,
                exempt: 0,
                refused: 0,
                reason: 0,
            };
            // SAFETY: everything lives until after the call.
            let result =
                unsafe { decide(self.agent, 0, &request, &sink, &mut ticket, &mut verdict) };
            allowed += u32::from(result == PORTCULLIS_OK && verdict.kind == PORTCULLIS_ALLOW);
        }
        // Outside of the loop, so that whoever counts does not count a failure's text.
        assert_eq!(allowed, times, "allowed");
        told
    }
}

impl Drop for Scene {
    fn drop(&mut self) {
        // SAFETY: handles of the library that nobody uses any more.
        unsafe {
            (self.library.worker_stop)(self.agent);
            (self.library.agent_free)(self.agent);
            (self.library.mapping_free)(self.mapping);
        }
    }
}

fn text(bytes: &[u8]) -> portcullis_str {
    portcullis_str {
        data: bytes.as_ptr(),
        len: bytes.len(),
    }
}

fn field((name, value): &(&'static str, String)) -> portcullis_header {
    portcullis_header {
        name: text(name.as_bytes()),
        value: text(value.as_bytes()),
    }
}

fn options() -> portcullis_agent_options {
    unsafe extern "C" fn log(_: *mut c_void, _: portcullis_level, _: portcullis_str) {}
    portcullis_agent_options {
        size: size_of::<portcullis_agent_options>(),
        server: portcullis_server::PORTCULLIS_NGINX,
        log: Some(log),
        log_ctx: null_mut(),
        server_version: text(b"test"),
    }
}

fn request(headers: &[portcullis_header]) -> portcullis_request {
    let mut client = portcullis_address {
        family: 4,
        bytes: [0; 16],
    };
    client.bytes[..4].copy_from_slice(&CLIENT.octets());
    let path = TARGET.split('?').next().unwrap();
    portcullis_request {
        size: size_of::<portcullis_request>(),
        method: text(b"GET"),
        target: text(TARGET.as_bytes()),
        host: text(HOST.as_bytes()),
        headers: headers.as_ptr(),
        header_count: headers.len(),
        path: text(path.as_bytes()),
        path_info: text(b""),
        peer: client,
        client,
        port: 80,
        tls: 0,
        merged: 0,
        stored_only: 0,
        authorizes: 0,
        socket: 0,
        tag: null_mut(),
    }
}

fn sink(told: &mut Told) -> portcullis_sink {
    /// # Safety
    /// `ctx` is the `Told` that nobody else uses during the call.
    unsafe fn of<'t>(ctx: *mut c_void) -> &'t mut Told {
        // SAFETY: the caller's promise.
        unsafe { &mut *ctx.cast::<Told>() }
    }
    unsafe extern "C" fn header(ctx: *mut c_void, _: portcullis_str, _: portcullis_str) {
        // SAFETY: the sink's context.
        unsafe { of(ctx) }.headers += 1;
    }
    unsafe extern "C" fn variable(ctx: *mut c_void, _: portcullis_str, _: portcullis_str) {
        // SAFETY: the sink's context.
        unsafe { of(ctx) }.variables += 1;
    }
    unsafe extern "C" fn user(ctx: *mut c_void, _: portcullis_str) {
        // SAFETY: the sink's context.
        unsafe { of(ctx) }.users += 1;
    }
    unsafe extern "C" fn pair(ctx: *mut c_void, _: portcullis_str, _: portcullis_str) {
        // SAFETY: the sink's context.
        unsafe { of(ctx) }.others += 1;
    }
    unsafe extern "C" fn single(ctx: *mut c_void, _: portcullis_str) {
        // SAFETY: the sink's context.
        unsafe { of(ctx) }.others += 1;
    }
    portcullis_sink {
        size: size_of::<portcullis_sink>(),
        ctx: std::ptr::from_mut(told).cast(),
        request_header: Some(header),
        remove_request_header: Some(single),
        variable: Some(variable),
        user: Some(user),
        response_header: Some(pair),
        body: Some(single),
        replay: Some(pair),
    }
}

/// What a browser sends, with the application's cookies around ours.
fn headers(cookie: String) -> Vec<(&'static str, String)> {
    let plain = [
        ("Host", HOST),
        ("Connection", "keep-alive"),
        (
            "User-Agent",
            "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) \
             Chrome/126.0.0.0 Safari/537.36",
        ),
        (
            "Accept",
            "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8",
        ),
        ("Sec-Fetch-Site", "same-origin"),
        ("Sec-Fetch-Mode", "navigate"),
        ("Sec-Fetch-Dest", "document"),
        (
            "Referer",
            "http://www.example.com/shop/orders/2026/list?page=2",
        ),
        ("Accept-Encoding", "gzip, deflate"),
        ("Accept-Language", "en-GB,en;q=0.9,de;q=0.8"),
    ];
    let mut all: Vec<_> = plain.map(|(n, v)| (n, v.to_owned())).into();
    let cookies = format!(
        "JSESSIONID=8E1B0C4F5A6D7E8F90123456789ABCDE; theme=dark; {cookie}; _ga=GA1.1.1234567890.1700000000"
    );
    all.push(("Cookie", cookies));
    all
}

fn agent_conf(home: &Path) -> String {
    let log = home.join("agent.log");
    let mut lines: Vec<(String, &str)> = [
        ("repository.location", "local"),
        ("username", "wa-hot"),
        ("organization.name", "/"),
        ("naming.url", "http://127.0.0.1:1/openam"),
        ("cookie.name", "iPlanetDirectoryPro"),
        ("agenturi.prefix", "http://www.example.com:80/amagent"),
        (
            "agent.logout.url[0]",
            "http://www.example.com:80/shop/logout*",
        ),
        ("session.attribute.fetch.mode", "HTTP_HEADER"),
        ("session.attribute.mapping[UserToken]", "X-User"),
        ("session.attribute.mapping[authInstant]", "X-Auth-Instant"),
        ("response.attribute.fetch.mode", "HTTP_HEADER"),
        ("response.attribute.mapping[mail]", "X-Mail"),
        ("response.attribute.mapping[dept]", "X-Dept"),
        ("local.logfile", log.to_str().unwrap()),
    ]
    .map(|(name, value)| (name.to_owned(), value))
    .into();
    let rules: Vec<String> = (0..EXEMPT_RULES)
        .map(|n| match n % 4 {
            0 => format!("http://www.example.com:80/static/{n}/*"),
            1 => format!("*/public{n}/*"),
            2 => format!("http://www.example.com:80/shop/images{n}/*.png"),
            _ => format!("*.ext{n}"),
        })
        .collect();
    for (n, rule) in rules.iter().enumerate() {
        lines.push((format!("notenforced.url[{n}]"), rule));
    }
    lines
        .iter()
        .map(|(name, value)| format!("com.sun.identity.agents.config.{name} = {value}\n"))
        .collect()
}

/// Writes the three files of an instance.
fn write_instance(home: &Path, conf: &str) -> Secrets {
    let secrets = Secrets {
        password: Secret::new(b"not-a-real-Password-0123456789ab".to_vec()),
        agent_key: Secret::new((1..=32).collect()),
        previous_key: None,
        cert_key_password: None,
        proxy_password: None,
        monitor_password: None,
    };
    let nonce = [7; 12]; // one password is ever encrypted with this key
    let password = encrypt_password(&secrets.agent_key, &secrets.password, nonce).unwrap();
    let key = key_text(&secrets.agent_key);
    for (name, text) in [
        ("agent.conf", conf.to_owned()),
        (
            "agent-key.conf",
            format!("com.sun.identity.agents.config.key = {}\n", &*key),
        ),
        (
            "agent-password.conf",
            format!("com.sun.identity.agents.config.password = {password}\n"),
        ),
    ] {
        let mut options = fs::OpenOptions::new();
        let options = options.create_new(true).write(true).mode(0o600);
        let mut file = options.open(home.join(name)).unwrap();
        file.write_all(text.as_bytes()).unwrap();
    }
    secrets
}

/// The configuration as the agent itself compiles it.
fn compile(conf: &str, secrets: Secrets, mapping: &Mapping) -> Snapshot {
    let mut files = Properties::default();
    files.append(Properties::parse(conf, Source::File("agent.conf".into())));
    let (config, problems) = config::read(&files, None);
    let problems: Vec<String> = problems.iter().map(ToString::to_string).collect();
    assert!(problems.is_empty(), "{problems:?}");
    assert_eq!(config.notenforced_url.len(), EXEMPT_RULES);
    match Snapshot::build(config, secrets, mapping.boot_key()) {
        Ok(snapshot) => snapshot,
        Err(problems) => panic!("{}", problems[0]),
    }
}

/// Puts AM's answers about the visitor into the table; his cookie.
fn learn(snapshot: &Snapshot, mapping: &Mapping) -> String {
    let token: String = "AQIC5wM2LY4SfcxS-_tok*"
        .chars()
        .cycle()
        .take(TOKEN)
        .collect();
    let far = u64::MAX / 2;
    let session = NewSession {
        kind: SessionKind::User,
        client_side: false,
        max_end: far,
        idle_end: far,
        realm: "/",
        universal_id: "id=demo1,ou=user,dc=openam,dc=forgerock,dc=org",
        properties: &[
            ("AMCtxId", "0a1b2c3d-4e5f-6071-8293-a4b5c6d7e8f9-1234"),
            ("AuthLevel", "0"),
            ("AuthType", "DataStore"),
            ("Host", "192.0.2.7"),
            ("Locale", "en_GB"),
            (
                "Principal",
                "id=demo1,ou=user,dc=openam,dc=forgerock,dc=org",
            ),
            ("UserId", "demo1"),
            ("UserToken", "demo1"),
            ("authInstant", "2026-08-20T09:12:00Z"),
            ("successURL", "/openam/console"),
        ],
    };
    let policy = NewPolicy {
        ttl: far,
        actions: &[("GET", true), ("HEAD", true), ("POST", false)],
        attributes: &[
            ("mail", &["demo@example.com"]),
            ("dept", &["sales", "support"]),
        ],
        advices: &[],
    };
    let session_key = snapshot.session_key(token.as_bytes());
    let policy_key = snapshot.policy_key(session_key, RESOURCE, &CLIENT.octets());
    let state = mapping.instance(snapshot.identity).unwrap();
    let stamp = Stamp {
        stored_at: clock::boottime_ms(),
        expires_at: far,
        epoch: state.epoch(),
        revocations: state.revocations(),
    };
    let stored = [
        mapping
            .sessions()
            .put(Key(session_key.0), stamp, &session.encode().unwrap()),
        mapping
            .decisions()
            .put(Key(policy_key.0), stamp, &policy.encode().unwrap()),
    ];
    assert_eq!(stored, [Put::Stored; 2]);
    let keys = &snapshot.keys.session_cookie;
    let sealed = keys.seal(
        &snapshot.identity,
        HOST,
        UnixMillis(far),
        token.as_bytes(),
        [9; 12],
    );
    format!("{}={sealed}", snapshot.config.jwt_name)
}

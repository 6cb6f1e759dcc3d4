//! A thread that remembers answers says what one says that remembers none.

use std::{fs, net::Ipv4Addr, os::unix::fs::OpenOptionsExt, sync::Arc};

use portcullis_engine::{
    config::{self, Properties, Secrets, Snapshot, Source, encrypt_password, key_text},
    contract::{Header, Local, MonoMillis},
    record::{NewPolicy, NewSession, SessionKind},
    token::Secret,
};
use portcullis_shm::{Key, Mapping, Put, Stamp, clock};
use proptest::prelude::*;

use super::*;
use crate::{
    agent::Agent,
    evaluate::{Call, Progress, evaluate, now},
    worker::WorkerOptions,
};

const HOST: &str = "www.example.com";
const VISITORS: usize = 3;
const PAGES: [&str; 4] = ["/app/a", "/app/b?x=1", "/open/a", "/app/denied"];
const FAR: u64 = u64::MAX / 2;
const HOUR: u64 = 3_600_000;

struct World {
    agent: Arc<Agent>,
    mapping: Arc<Mapping>,
    cookies: Vec<String>,
    _home: tempfile::TempDir,
}

/// What the host was told.
#[derive(Default)]
struct Ear(Vec<String>);

impl Ear {
    fn hear(&mut self, what: &str, texts: &[&[u8]]) {
        let texts: Vec<_> = texts.iter().map(|t| String::from_utf8_lossy(t)).collect();
        self.0.push(format!("{what} {}", texts.join("=")));
    }
}

impl Sink for Ear {
    fn request_header(&mut self, name: &[u8], value: &[u8]) {
        self.hear("header", &[name, value]);
    }
    fn remove_request_header(&mut self, name: &[u8]) {
        self.hear("no header", &[name]);
    }
    fn variable(&mut self, name: &[u8], value: &[u8]) {
        self.hear("variable", &[name, value]);
    }
    fn user(&mut self, name: &[u8]) {
        self.hear("user", &[name]);
    }
    fn response_header(&mut self, name: &[u8], _: &[u8]) {
        self.hear("response", &[name]);
    }
}

impl Host for Ear {
    fn body(&mut self, _: &[u8]) {}
    fn replay(&mut self, _: &[u8], _: &[u8]) {}
}

fn conf(header: &str) -> String {
    let lines = [
        ("repository.location", "local"),
        ("username", "wa-front"),
        ("organization.name", "/"),
        ("naming.url", "http://127.0.0.1:1/openam"),
        ("cookie.name", "iPlanetDirectoryPro"),
        ("agenturi.prefix", "http://www.example.com:80/amagent"),
        ("notenforced.url[0]", "http://www.example.com:80/open/*"),
        ("session.attribute.fetch.mode", "HTTP_HEADER"),
        ("session.attribute.mapping[UserToken]", header),
    ];
    let line = |(name, value)| format!("com.sun.identity.agents.config.{name} = {value}\n");
    lines.map(line).concat()
}

impl World {
    fn new() -> World {
        let home = tempfile::tempdir().unwrap();
        let secrets = secrets();
        let password = encrypt_password(&secrets.agent_key, &secrets.password, [7; 12]).unwrap();
        let key = key_text(&secrets.agent_key);
        let prefix = "com.sun.identity.agents.config";
        for (name, text) in [
            ("agent.conf", conf("X-User")),
            ("agent-key.conf", format!("{prefix}.key = {}\n", &*key)),
            (
                "agent-password.conf",
                format!("{prefix}.password = {password}\n"),
            ),
        ] {
            let mut options = fs::OpenOptions::new();
            let options = options.create_new(true).write(true).mode(0o600);
            let mut file = options.open(home.path().join(name)).unwrap();
            std::io::Write::write_all(&mut file, text.as_bytes()).unwrap();
        }
        let mapping = Arc::new(Mapping::create(1 << 20).unwrap());
        let mut agent = Agent::new(Box::new(|_, _| {}));
        agent.add(&home.path().join("agent.conf"), false).unwrap();
        agent.attach(mapping.clone());
        let agent = Arc::new(agent);
        let options = WorkerOptions {
            wake: None,
            threads: 1,
        };
        agent.start_worker(options).unwrap();
        let mut world = World {
            agent,
            mapping,
            cookies: Vec::new(),
            _home: home,
        };
        let snap = world.instance().snapshot().unwrap();
        let seal = |visitor| {
            let keys = &snap.keys.session_cookie;
            let value = keys.seal(
                &snap.identity,
                HOST,
                UnixMillis(FAR),
                token(visitor).as_bytes(),
                [9; 12],
            );
            format!("{}={value}", snap.config.jwt_name)
        };
        world.cookies = (0..VISITORS).map(seal).collect();
        for visitor in 0..VISITORS {
            world.learn(visitor, "user", true);
        }
        world
    }

    fn instance(&self) -> &Instance {
        self.agent.instance(0).unwrap()
    }

    fn key(&self, visitor: usize) -> SessionKey {
        let snap = self.instance().snapshot().unwrap();
        snap.session_key(token(visitor).as_bytes())
    }

    fn stamp(&self) -> Stamp {
        let state = self.instance().state(&self.mapping);
        let now = clock::boottime_ms();
        Stamp {
            stored_at: now,
            expires_at: now + HOUR,
            epoch: state.epoch(),
            revocations: state.revocations(),
        }
    }

    /// AM's answers about a visitor.
    fn learn(&self, visitor: usize, name: &str, allowed: bool) {
        let key = self.key(visitor);
        let user = format!("{name}{visitor}");
        let session = NewSession {
            kind: SessionKind::User,
            client_side: false,
            max_end: FAR,
            idle_end: FAR,
            realm: "/",
            universal_id: &format!("id={user},ou=user,dc=openam"),
            properties: &[("UserId", &user), ("UserToken", &user)],
        };
        let record = session.encode().unwrap();
        // Since when it has been that is before any decision about it.
        let since = Stamp {
            epoch: 0,
            ..self.stamp()
        };
        let put = self.mapping.sessions().put(Key(key.0), since, &record);
        assert_eq!(put, Put::Stored);
        let snap = self.instance().snapshot().unwrap();
        for page in PAGES {
            let resource = format!("http://{HOST}:80{page}");
            let policy = NewPolicy {
                ttl: FAR,
                actions: &[("GET", allowed && !page.contains("denied"))],
                attributes: &[],
                advices: &[],
            };
            let policy_key = snap.policy_key(key, &resource, &CLIENT.octets());
            let record = policy.encode().unwrap();
            let put = self
                .mapping
                .decisions()
                .put(Key(policy_key.0), self.stamp(), &record);
            assert_eq!(put, Put::Stored);
        }
    }

    /// A request and what comes of it; `then` sees it.
    fn with<T>(
        &self,
        visitor: usize,
        page: &str,
        method: &str,
        then: impl FnOnce(&RequestView<'_>) -> T,
    ) -> T {
        let header = |name: &'static str, value| Header {
            name: name.as_bytes(),
            value,
        };
        let headers = [
            header("Host", HOST.as_bytes()),
            header("Cookie", self.cookies[visitor].as_bytes()),
        ];
        then(&RequestView {
            method: method.as_bytes(),
            target: page.as_bytes(),
            host: HOST.as_bytes(),
            headers: &headers,
            merged: false,
            peer: CLIENT.into(),
            client: CLIENT.into(),
            local: Local {
                tls: false,
                port: 80,
                path: page.split('?').next().unwrap().as_bytes(),
                path_info: b"",
                authorizes: false,
            },
        })
    }

    fn ask(&self, visitor: usize, page: &str, method: &str) -> String {
        self.with(visitor, page, method, |req| {
            let mut ear = Ear::default();
            let call = Call {
                stored_only: false,
                tag: 0,
            };
            match evaluate(&self.agent, 0, req, call, None, &mut ear).unwrap() {
                Progress::Waiting(_) => "waits".into(),
                Progress::Decided(verdict) => format!("{verdict:?} {:?}", ear.0),
            }
        })
    }

    /// What a thread says that has decided nothing yet.
    fn ask_stranger(&self, visitor: usize, page: &str, method: &str) -> String {
        std::thread::scope(|s| s.spawn(|| self.ask(visitor, page, method)).join().unwrap())
    }

    /// Whether the answer would come from in front of the engine, at a time so much later.
    fn is_remembered(&self, visitor: usize, page: &str, later: u64) -> bool {
        let here = (self.instance(), self.agent.worker().unwrap());
        let (mono, wall) = (now().mono.0 + later, now().wall.0);
        let at = Now {
            mono: MonoMillis(mono),
            wall: UnixMillis(wall),
        };
        self.with(visitor, page, "GET", |req| {
            answer(here, req, at, &mut Ear::default()).is_ok()
        })
    }

    fn configure(&self, header: &str) {
        let mut files = Properties::default();
        let text = conf(header);
        files.append(Properties::parse(&text, Source::File("agent.conf".into())));
        let (config, _) = config::read(&files, None);
        let Ok(snapshot) = Snapshot::build(config, secrets(), self.mapping.boot_key()) else {
            panic!("the configuration does not compile")
        };
        self.instance().set_snapshot(snapshot);
    }
}

impl Drop for World {
    fn drop(&mut self) {
        self.agent.worker().unwrap().stop(&self.agent);
    }
}

const CLIENT: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 7);

fn secrets() -> Secrets {
    Secrets {
        password: Secret::new(b"not-a-real-Password-0123456789ab".to_vec()),
        agent_key: Secret::new((1..=32).collect()),
        previous_key: None,
        cert_key_password: None,
        proxy_password: None,
        monitor_password: None,
    }
}

fn token(visitor: usize) -> String {
    format!("AQIC5wM2LY4SfcxS-{visitor}-tok*")
}

#[test]
fn the_third_of_equal_requests_is_answered_from_memory() {
    let world = World::new();
    for page in ["/app/a", "/open/a"] {
        let first = world.ask(0, page, "GET");
        assert!(!world.is_remembered(0, page, 0));
        assert_eq!(world.ask(0, page, "GET"), first);
        assert!(world.is_remembered(0, page, 0));
        assert_eq!(world.ask(0, page, "GET"), first);
    }
    // What it says of one is said of no other.
    assert!(!world.is_remembered(1, "/app/a", 0) && !world.is_remembered(0, "/app/b?x=1", 0));
    // Denials and what has to be asked for are not for keeping.
    for _ in 0..4 {
        world.ask(0, "/app/denied", "GET");
        world.ask(0, "/app/unknown", "GET");
    }
    for page in ["/app/denied", "/app/unknown"] {
        assert!(!world.is_remembered(0, page, 0), "{page}");
    }
}

#[test]
fn an_answer_ends_with_what_it_rests_on() {
    let world = World::new();
    let remember = |visitor| {
        for _ in 0..3 {
            assert!(world.ask(visitor, "/app/a", "GET").contains("user"));
        }
        assert!(world.is_remembered(visitor, "/app/a", 0));
    };
    let state = world.instance().state(&world.mapping);
    remember(0);
    assert!(!world.is_remembered(0, "/app/a", 2 * HOUR));
    let now = clock::boottime_ms();
    assert!(
        world
            .mapping
            .ended()
            .insert(Key(world.key(0).0), now + HOUR, now)
    );
    assert!(!world.is_remembered(0, "/app/a", 0), "an ended session");
    remember(1);
    let key = Key(world.key(1).0);
    assert_eq!(
        world.mapping.dead().put(key, world.stamp(), &[]),
        Put::Stored
    );
    assert!(!world.is_remembered(1, "/app/a", 0), "a dead session");
    remember(2);
    state.bump_revocations();
    assert!(!world.is_remembered(2, "/app/a", 0), "a revocation");
    remember(2);
    world.configure("X-Other");
    assert!(!world.is_remembered(2, "/app/a", 0), "a configuration");
    remember(2);
    state.bump_epoch();
    assert!(!world.is_remembered(2, "/app/a", 0), "a policy epoch");
}

/// What can happen to a world.
#[derive(Clone, Debug)]
enum Event {
    Asks(usize, usize, bool),
    Ends(usize),
    IsDead(usize),
    PolicyChanges(bool),
    BecomesAnother(usize, u8),
    Configured(u8),
}

fn events() -> impl Strategy<Value = Vec<Event>> {
    let event = prop_oneof![
        30 => (0..VISITORS, 0..PAGES.len(), prop::bool::weighted(0.1))
            .prop_map(|(visitor, page, posts)| Event::Asks(visitor, page, posts)),
        1 => (0..VISITORS).prop_map(Event::Ends),
        1 => (0..VISITORS).prop_map(Event::IsDead),
        1 => any::<bool>().prop_map(Event::PolicyChanges),
        1 => (0..VISITORS, 0..3_u8).prop_map(|(v, n)| Event::BecomesAnother(v, n)),
        1 => (0..3_u8).prop_map(Event::Configured),
    ];
    prop::collection::vec(event, 1..80)
}

impl World {
    fn happens(&self, event: &Event) {
        let state = self.instance().state(&self.mapping);
        let now = clock::boottime_ms();
        match event {
            Event::Asks(..) => {}
            Event::Ends(visitor) => {
                let key = Key(self.key(*visitor).0);
                assert!(self.mapping.ended().insert(key, now + HOUR, now));
            }
            Event::IsDead(visitor) => {
                let key = Key(self.key(*visitor).0);
                let _ = self.mapping.dead().put(key, self.stamp(), &[]);
            }
            Event::PolicyChanges(allowed) => {
                state.bump_epoch();
                (0..VISITORS).for_each(|visitor| self.learn(visitor, "user", *allowed));
            }
            Event::BecomesAnother(visitor, name) => {
                self.learn(*visitor, &format!("name{name}"), true);
                // As whoever asked AM does after storing what has changed.
                state.bump_revocations();
            }
            Event::Configured(n) => self.configure(&format!("X-User-{n}")),
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn whoever_remembers_says_what_a_stranger_says(events in events()) {
        let world = World::new();
        for event in &events {
            world.happens(event);
            if let Event::Asks(visitor, page, posts) = event {
                let method = if *posts { "POST" } else { "GET" };
                let page = PAGES[*page];
                let said = world.ask(*visitor, page, method);
                prop_assert_eq!(said, world.ask_stranger(*visitor, page, method), "{:?}", event);
            }
        }
    }
}

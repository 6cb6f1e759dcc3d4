//! No function follows a NULL, and none reads a struct whose size it does not know.
//!
//! One test for each function, of its name; the last test holds that none is missing.
#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests")]

mod support;

use std::{
    ffi::c_void,
    fs,
    os::unix::ffi::OsStrExt,
    path::Path,
    ptr::{null, null_mut},
};

use portcullis as c;
use portcullis::{
    portcullis_address, portcullis_agent, portcullis_agent_options, portcullis_header,
    portcullis_level, portcullis_mapping, portcullis_request, portcullis_result,
    portcullis_result::*, portcullis_server, portcullis_sink, portcullis_str, portcullis_ticket,
    portcullis_verdict, portcullis_verdict_kind, portcullis_wants, portcullis_worker_options,
};
use support::InstanceDir;

const CACHE: u64 = 1 << 20;

fn text(bytes: &[u8]) -> portcullis_str {
    portcullis_str {
        data: bytes.as_ptr(),
        len: bytes.len(),
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

fn worker_options() -> portcullis_worker_options {
    portcullis_worker_options {
        size: size_of::<portcullis_worker_options>(),
        wake_fd: -1,
        threads: 1,
    }
}

fn sink() -> portcullis_sink {
    unsafe extern "C" fn pair(_: *mut c_void, _: portcullis_str, _: portcullis_str) {}
    unsafe extern "C" fn single(_: *mut c_void, _: portcullis_str) {}
    portcullis_sink {
        size: size_of::<portcullis_sink>(),
        ctx: null_mut(),
        request_header: Some(pair),
        remove_request_header: Some(single),
        variable: Some(pair),
        user: Some(single),
        response_header: Some(pair),
        body: Some(single),
        replay: Some(pair),
    }
}

fn verdict() -> portcullis_verdict {
    portcullis_verdict {
        size: size_of::<portcullis_verdict>(),
        kind: portcullis_verdict_kind::PORTCULLIS_RESPOND,
        status: 0,
        exempt: 0,
        refused: 0,
        reason: 0,
    }
}

fn request() -> portcullis_request {
    let local = portcullis_address {
        family: 4,
        bytes: [127, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0],
    };
    portcullis_request {
        size: size_of::<portcullis_request>(),
        method: text(b"GET"),
        target: text(b"/open/page"),
        host: text(support::HOST.as_bytes()),
        headers: null(),
        header_count: 0,
        path: text(b"/open/page"),
        path_info: text(b""),
        peer: local,
        client: local,
        port: 80,
        tls: 0,
        merged: 0,
        stored_only: 0,
        authorizes: 0,
        socket: 0,
        tag: null_mut(),
    }
}

/// A generation with one instance; its AM is a port where nothing listens.
struct Agent {
    agent: *mut portcullis_agent,
    mapping: *mut portcullis_mapping,
    _instance: InstanceDir,
}

impl Agent {
    fn attached() -> Agent {
        let instance = InstanceDir::new("http://127.0.0.1:1/openam");
        let (mut agent, mut mapping, mut index) = (null_mut(), null_mut(), 99);
        let path = instance.agent_conf();
        // SAFETY: every pointer is to something that lives here.
        let results = unsafe {
            [
                c::portcullis_mapping_create(CACHE, &mut mapping),
                c::portcullis_agent_new(&options(), &mut agent),
                c::portcullis_agent_add(agent, text(path.as_os_str().as_bytes()), 0, &mut index),
                c::portcullis_agent_attach(agent, mapping),
            ]
        };
        // The library has silenced panics; those of a test have to be seen.
        std::panic::set_hook(Box::new(|panic| eprintln!("{panic}")));
        assert_eq!((results, index), ([PORTCULLIS_OK; 4], 0));
        Agent {
            agent,
            mapping,
            _instance: instance,
        }
    }

    fn started() -> Agent {
        let agent = Agent::attached();
        // SAFETY: a handle of the library and options that live here.
        let result = unsafe { c::portcullis_worker_start(agent.agent, &worker_options()) };
        assert_eq!(result, PORTCULLIS_OK);
        agent
    }

    /// Decides the request, with what the caller changed.
    fn decide(
        &self,
        instance: u32,
        request: &portcullis_request,
        sink: &portcullis_sink,
        verdict: &mut portcullis_verdict,
    ) -> portcullis_result {
        let mut ticket = null_mut();
        // SAFETY: everything lives for the call.
        let result = unsafe {
            c::portcullis_decide(self.agent, instance, request, sink, &mut ticket, verdict)
        };
        assert!(ticket.is_null(), "{result:?}");
        result
    }

    /// A ticket that waits for AM.
    fn ticket(&self) -> *mut portcullis_ticket {
        let cookie = self._instance.session_cookie("AQIC5-not-a-session");
        let headers = [portcullis_header {
            name: text(b"Cookie"),
            value: text(cookie.as_bytes()),
        }];
        let request = portcullis_request {
            target: text(b"/closed"),
            path: text(b"/closed"),
            headers: headers.as_ptr(),
            header_count: headers.len(),
            ..request()
        };
        let mut ticket = null_mut();
        // SAFETY: everything lives for the call.
        let result = unsafe {
            c::portcullis_decide(
                self.agent,
                0,
                &request,
                &sink(),
                &mut ticket,
                &mut verdict(),
            )
        };
        assert_eq!(result, PORTCULLIS_PENDING);
        assert!(!ticket.is_null());
        ticket
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        // SAFETY: handles of the library that are not used again.
        unsafe {
            c::portcullis_worker_stop(self.agent);
            c::portcullis_agent_free(self.agent);
            c::portcullis_mapping_free(self.mapping);
        }
    }
}

#[test]
fn portcullis_abi() {
    assert_eq!(c::portcullis_abi(), c::PORTCULLIS_ABI);
}

#[test]
fn portcullis_version() {
    let version = c::portcullis_version();
    assert!(!version.data.is_null() && version.len > 0);
}

#[test]
fn portcullis_result_text() {
    assert!(c::portcullis_result_text(PORTCULLIS_OK).len > 0);
}

#[test]
fn portcullis_mapping_create() {
    // SAFETY: NULL is allowed.
    let result = unsafe { c::portcullis_mapping_create(CACHE, null_mut()) };
    assert_eq!(result, PORTCULLIS_NULL_PARAMETER);
}

#[test]
fn portcullis_mapping_adopt() {
    let mut mapping = null_mut();
    // SAFETY: NULL is allowed, and so is a process that does not exist.
    unsafe {
        let result = c::portcullis_mapping_adopt(0, null_mut());
        assert_eq!(result, PORTCULLIS_NULL_PARAMETER);
        for nobody in [0, u32::MAX] {
            let result = c::portcullis_mapping_adopt(nobody, &mut mapping);
            assert_eq!(result, PORTCULLIS_NONE);
        }
    }
    assert!(mapping.is_null());
}

#[test]
fn portcullis_mapping_fd() {
    // SAFETY: NULL is allowed.
    assert_eq!(unsafe { c::portcullis_mapping_fd(null()) }, -1);
}

#[test]
fn portcullis_mapping_free() {
    // SAFETY: NULL is allowed.
    unsafe { c::portcullis_mapping_free(null_mut()) };
}

#[test]
fn portcullis_agent_new() {
    let mut agent = null_mut();
    let wrong = portcullis_agent_options {
        size: options().size - 1,
        ..options()
    };
    // SAFETY: NULL is allowed; the rest lives here.
    unsafe {
        let result = c::portcullis_agent_new(null(), &mut agent);
        assert_eq!(result, PORTCULLIS_NULL_PARAMETER);
        let result = c::portcullis_agent_new(&options(), null_mut());
        assert_eq!(result, PORTCULLIS_NULL_PARAMETER);
        let result = c::portcullis_agent_new(&wrong, &mut agent);
        assert_eq!(result, PORTCULLIS_BAD_SIZE);
        assert!(agent.is_null());
        // Nobody has to listen to log lines.
        let silent = portcullis_agent_options {
            log: None,
            ..options()
        };
        assert_eq!(c::portcullis_agent_new(&silent, &mut agent), PORTCULLIS_OK);
        c::portcullis_agent_free(agent);
    }
}

#[test]
fn portcullis_agent_add() {
    let mut agent = null_mut();
    let mut index = 7;
    let nowhere = || text(b"/nowhere/agent.conf");
    let nothing = portcullis_str {
        data: null(),
        len: 20,
    };
    // SAFETY: NULL is allowed; the rest lives here.
    unsafe {
        assert_eq!(
            c::portcullis_agent_new(&options(), &mut agent),
            PORTCULLIS_OK
        );
        let result = c::portcullis_agent_add(null_mut(), nowhere(), 0, &mut index);
        assert_eq!(result, PORTCULLIS_NULL_PARAMETER);
        let result = c::portcullis_agent_add(agent, nowhere(), 0, null_mut());
        assert_eq!(result, PORTCULLIS_NULL_PARAMETER);
        for path in [nowhere(), nothing] {
            let result = c::portcullis_agent_add(agent, path, 0, &mut index);
            assert_eq!((result, index), (PORTCULLIS_CONFIG, 7));
        }
        for i in 0..c::PORTCULLIS_MAX_INSTANCES {
            let path = format!("/nowhere/{i}/agent.conf");
            let result = c::portcullis_agent_add(agent, text(path.as_bytes()), 1, &mut index);
            assert_eq!((result, index), (PORTCULLIS_OK, i));
        }
        let result = c::portcullis_agent_add(agent, nowhere(), 1, &mut index);
        assert_eq!(result, PORTCULLIS_FULL);
        let again = text(b"/nowhere/3/agent.conf");
        let result = c::portcullis_agent_add(agent, again, 1, &mut index);
        assert_eq!((result, index), (PORTCULLIS_OK, 3));
        c::portcullis_agent_free(agent);
    }
}

#[test]
fn portcullis_agent_attach() {
    let agent = Agent::attached();
    // SAFETY: NULL is allowed; the handles are the library's.
    unsafe {
        let result = c::portcullis_agent_attach(null_mut(), agent.mapping);
        assert_eq!(result, PORTCULLIS_NULL_PARAMETER);
        let result = c::portcullis_agent_attach(agent.agent, null());
        assert_eq!(result, PORTCULLIS_NULL_PARAMETER);
    }
}

#[test]
fn portcullis_agent_free() {
    // SAFETY: NULL is allowed.
    unsafe { c::portcullis_agent_free(null_mut()) };
}

#[test]
fn portcullis_worker_start() {
    let agent = Agent::attached();
    let wrong = portcullis_worker_options {
        size: worker_options().size + 8,
        ..worker_options()
    };
    // SAFETY: NULL is allowed; the handles are the library's.
    unsafe {
        let result = c::portcullis_worker_start(null_mut(), &worker_options());
        assert_eq!(result, PORTCULLIS_NULL_PARAMETER);
        let result = c::portcullis_worker_start(agent.agent, null());
        assert_eq!(result, PORTCULLIS_NULL_PARAMETER);
        let result = c::portcullis_worker_start(agent.agent, &wrong);
        assert_eq!(result, PORTCULLIS_BAD_SIZE);
        let mut unattached = null_mut();
        assert_eq!(
            c::portcullis_agent_new(&options(), &mut unattached),
            PORTCULLIS_OK
        );
        let result = c::portcullis_worker_start(unattached, &worker_options());
        assert_eq!(result, PORTCULLIS_MAPPING);
        c::portcullis_agent_free(unattached);
    }
}

#[test]
fn portcullis_worker_drain() {
    let agent = Agent::attached();
    // SAFETY: NULL and an agent without a worker are allowed.
    unsafe {
        c::portcullis_worker_drain(null());
        c::portcullis_worker_drain(agent.agent);
    }
}

#[test]
fn portcullis_worker_stop() {
    let agent = Agent::attached();
    // SAFETY: NULL and an agent without a worker are allowed.
    unsafe {
        c::portcullis_worker_stop(null_mut());
        c::portcullis_worker_stop(agent.agent);
    }
}

#[test]
fn portcullis_scrub() {
    let agent = Agent::attached();
    let headers = [b"Accept".as_slice(), b"Remote_User"].map(|name| portcullis_header {
        name: text(name),
        value: text(b"x"),
    });
    let of = |agent, instances, headers| {
        let mut remove = [9_u8; 2];
        // SAFETY: NULL is allowed; the rest lives here.
        let result =
            unsafe { c::portcullis_scrub(agent, instances, 1, headers, 2, remove.as_mut_ptr()) };
        (result, remove)
    };
    let (this, first, list) = (agent.agent.cast_const(), [0_u32], headers.as_ptr());
    assert_eq!(of(this, first.as_ptr(), list), (PORTCULLIS_OK, [0, 1]));
    // Without a generation the built-in names hold.
    let built_in = (PORTCULLIS_NULL_PARAMETER, [0, 1]);
    assert_eq!(of(null(), first.as_ptr(), list), built_in);
    // Where even the question is unclear, no header is believed.
    let refused = (PORTCULLIS_NULL_PARAMETER, [1, 1]);
    assert_eq!(of(this, null(), list), refused);
    assert_eq!(of(this, first.as_ptr(), null()), refused);
    let unknown = [31_u32];
    assert_eq!(of(this, unknown.as_ptr(), list), (PORTCULLIS_OK, [0, 1]));
    // SAFETY: NULL is allowed.
    unsafe {
        let result = c::portcullis_scrub(this, first.as_ptr(), 1, list, 2, null_mut());
        assert_eq!(result, PORTCULLIS_NULL_PARAMETER);
        let result = c::portcullis_scrub(this, first.as_ptr(), 1, null(), 0, null_mut());
        assert_eq!(result, PORTCULLIS_OK);
    }
}

#[test]
fn portcullis_decide() {
    let agent = Agent::started();
    let (r, s) = (request(), sink());
    let mut v = verdict();
    assert_eq!(agent.decide(0, &r, &s, &mut v), PORTCULLIS_OK);
    assert_eq!(v.kind, portcullis_verdict_kind::PORTCULLIS_ALLOW);
    assert_eq!(agent.decide(1, &r, &s, &mut v), PORTCULLIS_BAD_INDEX);
    assert_eq!(agent.decide(u32::MAX, &r, &s, &mut v), PORTCULLIS_BAD_INDEX);

    let mut ticket = null_mut();
    // SAFETY: NULL is allowed; the rest lives here.
    let results = unsafe {
        [
            c::portcullis_decide(null(), 0, &r, &s, &mut ticket, &mut v),
            c::portcullis_decide(agent.agent, 0, null(), &s, &mut ticket, &mut v),
            c::portcullis_decide(agent.agent, 0, &r, null(), &mut ticket, &mut v),
            c::portcullis_decide(agent.agent, 0, &r, &s, null_mut(), &mut v),
            c::portcullis_decide(agent.agent, 0, &r, &s, &mut ticket, null_mut()),
        ]
    };
    assert_eq!(results, [PORTCULLIS_NULL_PARAMETER; 5]);
    assert!(ticket.is_null());

    // A ticket that is handed back is gone, even when the call makes no sense.
    let mut ticket = agent.ticket();
    // SAFETY: a ticket of the library, which takes it.
    let result = unsafe { c::portcullis_decide(null(), 0, &r, &s, &mut ticket, &mut v) };
    assert_eq!(result, PORTCULLIS_NULL_PARAMETER);
    assert!(ticket.is_null());
}

#[test]
fn decide_refuses_structs_of_other_sizes() {
    let agent = Agent::started();
    for wrong in [0, 1, 4096] {
        let bad = portcullis_request {
            size: wrong,
            ..request()
        };
        let result = agent.decide(0, &bad, &sink(), &mut verdict());
        assert_eq!(result, PORTCULLIS_BAD_SIZE);
        let bad = portcullis_sink {
            size: wrong,
            ..sink()
        };
        let result = agent.decide(0, &request(), &bad, &mut verdict());
        assert_eq!(result, PORTCULLIS_BAD_SIZE);
        let mut bad = portcullis_verdict {
            size: wrong,
            ..verdict()
        };
        let result = agent.decide(0, &request(), &sink(), &mut bad);
        assert_eq!(result, PORTCULLIS_BAD_SIZE);
    }
}

#[test]
fn decide_wants_every_callback_and_the_headers() {
    let agent = Agent::started();
    let without: [fn(&mut portcullis_sink); 7] = [
        |s| s.request_header = None,
        |s| s.remove_request_header = None,
        |s| s.variable = None,
        |s| s.user = None,
        |s| s.response_header = None,
        |s| s.body = None,
        |s| s.replay = None,
    ];
    for take in without {
        let mut sink = sink();
        take(&mut sink);
        let result = agent.decide(0, &request(), &sink, &mut verdict());
        assert_eq!(result, PORTCULLIS_NULL_PARAMETER);
    }
    let bad = portcullis_request {
        header_count: 1,
        ..request()
    };
    let result = agent.decide(0, &bad, &sink(), &mut verdict());
    assert_eq!(result, PORTCULLIS_NULL_PARAMETER);
}

#[test]
fn strings_without_data_are_empty() {
    let agent = Agent::started();
    let nothing = portcullis_str {
        data: null(),
        len: 5,
    };
    let bare = portcullis_request {
        method: nothing,
        target: nothing,
        host: nothing,
        path: nothing,
        path_info: nothing,
        ..request()
    };
    let mut verdict = verdict();
    let result = agent.decide(0, &bare, &sink(), &mut verdict);
    assert_eq!(result, PORTCULLIS_OK);
    assert_eq!(verdict.kind, portcullis_verdict_kind::PORTCULLIS_RESPOND);
    assert_eq!(verdict.status, 400);
}

#[test]
fn decide_before_the_worker_started_is_refused() {
    let agent = Agent::attached();
    let result = agent.decide(0, &request(), &sink(), &mut verdict());
    assert_eq!(result, PORTCULLIS_NOT_STARTED);
}

#[test]
fn portcullis_ticket_wants() {
    let agent = Agent::started();
    let ticket = agent.ticket();
    let mut limit = 5;
    // SAFETY: NULL is allowed; the ticket is the library's.
    unsafe {
        let wants = c::portcullis_ticket_wants(null(), &mut limit);
        assert_eq!(wants, portcullis_wants::PORTCULLIS_WANTS_AM);
        let wants = c::portcullis_ticket_wants(ticket, null_mut());
        assert_eq!(wants, portcullis_wants::PORTCULLIS_WANTS_AM);
        c::portcullis_ticket_free(ticket);
    }
    assert_eq!(limit, 5);
}

#[test]
fn portcullis_ticket_wait() {
    // SAFETY: NULL is allowed.
    let result = unsafe { c::portcullis_ticket_wait(null_mut()) };
    assert_eq!(result, PORTCULLIS_NULL_PARAMETER);
}

#[test]
fn portcullis_ticket_deadline_ms() {
    // SAFETY: NULL is allowed.
    assert_eq!(unsafe { c::portcullis_ticket_deadline_ms(null()) }, 0);
}

#[test]
fn portcullis_ticket_body() {
    let agent = Agent::started();
    let ticket = agent.ticket();
    // SAFETY: NULL is allowed; the ticket is the library's.
    unsafe {
        let result = c::portcullis_ticket_body(null_mut(), b"x".as_ptr(), 1);
        assert_eq!(result, PORTCULLIS_NULL_PARAMETER);
        let result = c::portcullis_ticket_body(ticket, null(), 1);
        assert_eq!(result, PORTCULLIS_OK);
        c::portcullis_ticket_free(ticket);
    }
}

#[test]
fn portcullis_ticket_part() {
    let agent = Agent::started();
    let ticket = agent.ticket();
    // SAFETY: NULL is allowed; the ticket is the library's.
    unsafe {
        let result = c::portcullis_ticket_part(null_mut(), b"x".as_ptr(), 1);
        assert_eq!(result, PORTCULLIS_NULL_PARAMETER);
        // It waits for something else.
        for data in [null(), b"x".as_ptr()] {
            let result = c::portcullis_ticket_part(ticket, data, 1);
            assert_eq!(result, PORTCULLIS_NONE);
        }
        c::portcullis_ticket_free(ticket);
    }
}

#[test]
fn portcullis_ticket_parts_end() {
    let agent = Agent::started();
    let ticket = agent.ticket();
    // SAFETY: NULL is allowed; the ticket is the library's.
    unsafe {
        let result = c::portcullis_ticket_parts_end(null_mut(), 1);
        assert_eq!(result, PORTCULLIS_NULL_PARAMETER);
        let result = c::portcullis_ticket_parts_end(ticket, 1);
        assert_eq!(result, PORTCULLIS_OK);
        c::portcullis_ticket_free(ticket);
    }
}

#[test]
fn portcullis_ticket_free() {
    // SAFETY: NULL is allowed.
    unsafe { c::portcullis_ticket_free(null_mut()) };
}

#[test]
fn portcullis_completed() {
    let agent = Agent::started();
    let mut tag = null_mut();
    // SAFETY: NULL is allowed; the handle is the library's.
    unsafe {
        let result = c::portcullis_completed(null(), &mut tag);
        assert_eq!(result, PORTCULLIS_NULL_PARAMETER);
        let result = c::portcullis_completed(agent.agent, null_mut());
        assert_eq!(result, PORTCULLIS_NULL_PARAMETER);
        let result = c::portcullis_completed(agent.agent, &mut tag);
        assert_eq!(result, PORTCULLIS_NONE);
    }
}

/// Names of functions in `text` that follow `before`.
fn functions(text: &str, before: &str) -> Vec<String> {
    let mut found: Vec<String> = text
        .split(before)
        .skip(1)
        .filter_map(|rest| {
            let (head, _) = rest.split_once('(')?;
            let name = head.rsplit(' ').next()?;
            name.starts_with("portcullis_").then(|| name.to_string())
        })
        .collect();
    found.sort();
    found
}

#[test]
fn every_exported_function_has_a_test_here() {
    let sources = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut exported = Vec::new();
    for file in fs::read_dir(sources).unwrap() {
        let text = fs::read_to_string(file.unwrap().path()).unwrap();
        exported.extend(functions(&text, "\n#[unsafe(no_mangle)]\n"));
    }
    exported.sort();
    let tested = functions(include_str!("null.rs"), "\n#[test]\n");
    assert_eq!(exported, tested);
    assert!(exported.len() > 20, "{exported:?}");
}

//! The one hot call, and the tickets of requests that wait.

use std::{ffi::c_void, os::fd::BorrowedFd};

use arrayvec::ArrayVec;
use portcullis_engine::{
    contract::{Header, Local, RequestView, SessionKey, Sink},
    event::Code,
};
use portcullis_runtime::{Agent, Call, Host, Progress, Ticket, Wants, Watch, evaluate};

use crate::{
    agent::portcullis_agent,
    boundary::{borrow, borrow_mut, guard, guard_or, sized},
    portcullis_request,
    portcullis_result::{self, *},
    portcullis_sink, portcullis_str, portcullis_verdict,
    portcullis_verdict_kind::*,
    portcullis_wants::{self, *},
};

/// Header fields that fit on the stack; requests with more allocate.
const STACK_HEADERS: usize = 64;

/// A request that waits, or one that was let in and whose connection is cut when its session ends. One
/// owner; free it exactly once.
pub struct portcullis_ticket(Held);

enum Held {
    Waits(Box<Ticket>),
    /// Watched until it is dropped.
    Open {
        _watch: Watch,
    },
}

impl portcullis_ticket {
    fn of(held: Held) -> *mut portcullis_ticket {
        Box::into_raw(Box::new(portcullis_ticket(held)))
    }

    fn waits(&self) -> Option<&Ticket> {
        match &self.0 {
            Held::Waits(ticket) => Some(ticket),
            Held::Open { .. } => None,
        }
    }

    fn waits_mut(&mut self) -> Option<&mut Ticket> {
        match &mut self.0 {
            Held::Waits(ticket) => Some(ticket),
            Held::Open { .. } => None,
        }
    }
}

/// The callbacks of a sink, all present.
struct Callbacks<'s>(&'s portcullis_sink);

impl Callbacks<'_> {
    fn complete(sink: &portcullis_sink) -> bool {
        sink.request_header.is_some()
            && sink.remove_request_header.is_some()
            && sink.variable.is_some()
            && sink.user.is_some()
            && sink.response_header.is_some()
            && sink.body.is_some()
            && sink.replay.is_some()
    }

    fn pair(
        &self,
        callback: Option<unsafe extern "C" fn(*mut c_void, portcullis_str, portcullis_str)>,
        name: &[u8],
        value: &[u8],
    ) {
        if let Some(callback) = callback {
            // SAFETY: the header obliges the caller; the strings live for the callback.
            unsafe {
                callback(
                    self.0.ctx,
                    portcullis_str::of(name),
                    portcullis_str::of(value),
                )
            };
        }
    }

    fn single(
        &self,
        callback: Option<unsafe extern "C" fn(*mut c_void, portcullis_str)>,
        text: &[u8],
    ) {
        if let Some(callback) = callback {
            // SAFETY: as above.
            unsafe { callback(self.0.ctx, portcullis_str::of(text)) };
        }
    }
}

impl Sink for Callbacks<'_> {
    fn request_header(&mut self, name: &[u8], value: &[u8]) {
        self.pair(self.0.request_header, name, value);
    }

    fn remove_request_header(&mut self, name: &[u8]) {
        self.single(self.0.remove_request_header, name);
    }

    fn variable(&mut self, name: &[u8], value: &[u8]) {
        self.pair(self.0.variable, name, value);
    }

    fn user(&mut self, name: &[u8]) {
        self.single(self.0.user, name);
    }

    fn response_header(&mut self, name: &[u8], value: &[u8]) {
        self.pair(self.0.response_header, name, value);
    }
}

impl Host for Callbacks<'_> {
    fn body(&mut self, body: &[u8]) {
        self.single(self.0.body, body);
    }

    fn replay(&mut self, method: &[u8], body: &[u8]) {
        self.pair(self.0.replay, method, body);
    }
}

/// Decides a request. `*ticket` is NULL at first.
///
/// PENDING: `*ticket` is set; satisfy it and call again with the same request. OK: decided, the sink
/// was walked, `*ticket` is NULL again, or stands for a request that was let in and is cut when its
/// session ends: free it when the request is over, before its socket is closed. Any other result: answer 503 and do not let the request
/// through; `*ticket` is NULL.
///
/// # Safety
/// All pointers must be NULL or valid for the call, with everything that `request` and `sink` point
/// to. One request is decided by one thread at a time.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn portcullis_decide(
    agent: *const portcullis_agent,
    instance: u32,
    request: *const portcullis_request,
    sink: *const portcullis_sink,
    ticket: *mut *mut portcullis_ticket,
    verdict: *mut portcullis_verdict,
) -> portcullis_result {
    guard(|| {
        let ticket = borrow_mut!(ticket);
        // Taken first: whatever happens below, it is gone afterwards unless put back.
        let resumed = match std::mem::replace(ticket, std::ptr::null_mut()) {
            none if none.is_null() => None,
            // SAFETY: a ticket of ours, handed back.
            some => match unsafe { Box::from_raw(some) }.0 {
                Held::Waits(ticket) => Some(ticket),
                Held::Open { .. } => None,
            },
        };
        let (agent, request, sink) = (borrow!(agent), borrow!(request), borrow!(sink));
        let verdict = borrow_mut!(verdict);
        if !sized::<portcullis_request>(request.size)
            || !sized::<portcullis_sink>(sink.size)
            || !sized::<portcullis_verdict>(verdict.size)
        {
            return PORTCULLIS_BAD_SIZE;
        }
        let headers_missing = request.headers.is_null() && request.header_count > 0;
        if headers_missing || !Callbacks::complete(sink) {
            return PORTCULLIS_NULL_PARAMETER;
        }
        let mut host = Callbacks(sink);
        let call = Call {
            stored_only: request.stored_only != 0,
            tag: request.tag as usize,
        };
        // SAFETY: valid for the call.
        let progress = unsafe {
            with_view(request, |view| {
                evaluate(&agent.0, instance as usize, view, call, resumed, &mut host)
            })
        };
        match progress {
            None if agent.0.worker().is_none() => PORTCULLIS_NOT_STARTED,
            None => PORTCULLIS_BAD_INDEX,
            Some(Progress::Waiting(waiting)) => {
                *ticket = portcullis_ticket::of(Held::Waits(waiting));
                PORTCULLIS_PENDING
            }
            Some(Progress::Decided(decided)) => {
                verdict.kind = match (decided.status, decided.replay) {
                    (_, true) => PORTCULLIS_REPLAY,
                    (None, false) => PORTCULLIS_ALLOW,
                    (Some(_), false) => PORTCULLIS_RESPOND,
                };
                verdict.status = decided.status.unwrap_or(0);
                verdict.exempt = match (decided.exempt, decided.for_everybody) {
                    (true, true) => 1,
                    (true, false) => 2,
                    (false, _) => 0,
                };
                verdict.refused = u8::from(decided.code == Code::LeftToHost);
                verdict.reason = u32::from(decided.code.number());
                if let Some(session) = decided.session {
                    // SAFETY: the header obliges the caller to keep the socket open as long as the ticket.
                    *ticket = unsafe { watch(&agent.0, instance as usize, session, request) };
                }
                PORTCULLIS_OK
            }
        }
    })
}

/// A ticket for as long as the request lasts; NULL where there is no connection of its own to cut.
///
/// # Safety
/// The request's socket must be open until the ticket is freed.
#[cold]
unsafe fn watch(
    agent: &Agent,
    instance: usize,
    session: SessionKey,
    request: &portcullis_request,
) -> *mut portcullis_ticket {
    let worker = agent
        .worker()
        .filter(|_| request.stored_only == 0 && request.socket > 0);
    worker.map_or(std::ptr::null_mut(), |worker| {
        // SAFETY: the caller's promise.
        let socket = unsafe { BorrowedFd::borrow_raw(request.socket) };
        portcullis_ticket::of(Held::Open {
            _watch: worker.watch(instance, session, socket),
        })
    })
}

/// Runs `body` with the engine's view of a request.
///
/// # Safety
/// Everything `request` points to must be valid for the call.
unsafe fn with_view<T>(
    request: &portcullis_request,
    body: impl FnOnce(&RequestView<'_>) -> T,
) -> T {
    let raw = match request.header_count {
        0 => &[][..],
        // SAFETY: the caller's promise, here and below.
        n => unsafe { std::slice::from_raw_parts(request.headers, n) },
    };
    let fields = raw.iter().map(|h| {
        // SAFETY: as above.
        unsafe {
            Header {
                name: h.name.bytes(),
                value: h.value.bytes(),
            }
        }
    });
    let mut stack = ArrayVec::<Header<'_>, STACK_HEADERS>::new();
    let heap: Vec<Header<'_>>;
    let headers: &[Header<'_>] = if raw.len() <= STACK_HEADERS {
        stack.extend(fields);
        &stack
    } else {
        heap = fields.collect();
        &heap
    };
    // SAFETY: as above.
    let (path, path_info) = unsafe { (request.path.bytes(), request.path_info.bytes()) };
    // A host that rewrote the address has a path info of something else; it says nothing of this one.
    let (path, path_info) = match path.strip_suffix(path_info) {
        Some(script) if !path.is_empty() => (script, path_info),
        _ => (path, &[][..]),
    };
    // SAFETY: as above.
    let view = unsafe {
        RequestView {
            method: request.method.bytes(),
            target: request.target.bytes(),
            host: request.host.bytes(),
            headers,
            merged: request.merged != 0,
            peer: request.peer.ip(),
            client: request.client.ip(),
            local: Local {
                tls: request.tls != 0,
                port: request.port,
                path,
                path_info,
                authorizes: request.authorizes != 0,
            },
        }
    };
    body(&view)
}

/// What a ticket waits for; `body_limit` receives the most bytes of a body. NULL waits for AM.
///
/// # Safety
/// `ticket` must be NULL or a ticket of ours; `body_limit` NULL or writable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn portcullis_ticket_wants(
    ticket: *const portcullis_ticket,
    body_limit: *mut u64,
) -> portcullis_wants {
    guard_or(PORTCULLIS_WANTS_AM, || {
        // SAFETY: NULL or a ticket of ours.
        let Some(ticket) = (unsafe { ticket.as_ref() }).and_then(portcullis_ticket::waits) else {
            return PORTCULLIS_WANTS_AM;
        };
        match ticket.wants() {
            Wants::Am => PORTCULLIS_WANTS_AM,
            Wants::Spool => {
                // The pieces themselves end where it is too much.
                // SAFETY: NULL or writable.
                if let Some(out) = unsafe { body_limit.as_mut() } {
                    *out = u64::MAX;
                }
                PORTCULLIS_WANTS_PARTS
            }
            Wants::Body(limit) => {
                // SAFETY: NULL or writable.
                if let Some(out) = unsafe { body_limit.as_mut() } {
                    *out = limit;
                }
                PORTCULLIS_WANTS_BODY
            }
        }
    })
}

/// Blocks until the ticket can go on; bounded by the instance's deadline.
///
/// # Safety
/// `ticket` must be NULL or a ticket of ours that nobody else uses.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn portcullis_ticket_wait(
    ticket: *mut portcullis_ticket,
) -> portcullis_result {
    guard(|| {
        if let Some(ticket) = borrow_mut!(ticket).waits_mut() {
            ticket.wait();
        }
        PORTCULLIS_OK
    })
}

/// Milliseconds after which a timer should give up on this ticket although nothing woke it.
///
/// # Safety
/// `ticket` must be NULL or a ticket of ours.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn portcullis_ticket_deadline_ms(ticket: *const portcullis_ticket) -> u32 {
    guard_or(0, || {
        // SAFETY: NULL or a ticket of ours.
        let ticket = unsafe { ticket.as_ref() }.and_then(portcullis_ticket::waits);
        ticket.map_or(0, Ticket::deadline_ms)
    })
}

/// Hands the body over (copied). `data` NULL: it could not be read or was larger than the limit.
///
/// # Safety
/// `ticket` must be NULL or a ticket of ours; `data` NULL or `len` readable bytes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn portcullis_ticket_body(
    ticket: *mut portcullis_ticket,
    data: *const u8,
    len: usize,
) -> portcullis_result {
    guard(|| {
        let ticket = borrow_mut!(ticket);
        // SAFETY: valid for the call.
        let body = (!data.is_null()).then(|| unsafe { portcullis_str { data, len }.bytes() });
        if let Some(ticket) = ticket.waits_mut() {
            ticket.body(body);
        }
        PORTCULLIS_OK
    })
}

/// Hands the next piece of the body over (copied). OK: go on; NONE: no more of it is wanted; in any case
/// `portcullis_ticket_parts_end` follows.
///
/// # Safety
/// `ticket` must be NULL or a ticket of ours; `data` NULL or `len` readable bytes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn portcullis_ticket_part(
    ticket: *mut portcullis_ticket,
    data: *const u8,
    len: usize,
) -> portcullis_result {
    guard(|| {
        let ticket = borrow_mut!(ticket);
        // SAFETY: valid for the call.
        let bytes = unsafe { portcullis_str { data, len }.bytes() };
        match ticket.waits_mut().is_some_and(|ticket| ticket.part(bytes)) {
            true => PORTCULLIS_OK,
            false => PORTCULLIS_NONE,
        }
    })
}

/// Ends the pieces. `complete` not 0: they are the whole body.
///
/// # Safety
/// `ticket` must be NULL or a ticket of ours.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn portcullis_ticket_parts_end(
    ticket: *mut portcullis_ticket,
    complete: u8,
) -> portcullis_result {
    guard(|| {
        if let Some(ticket) = borrow_mut!(ticket).waits_mut() {
            ticket.parts_end(complete != 0);
        }
        PORTCULLIS_OK
    })
}

/// Cancels and frees; NULL is fine.
///
/// # Safety
/// `ticket` must be NULL or a ticket of ours that is not used again.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn portcullis_ticket_free(ticket: *mut portcullis_ticket) {
    guard_or((), || {
        if !ticket.is_null() {
            // SAFETY: it came from Box::into_raw and is not used again.
            drop(unsafe { Box::from_raw(ticket) });
        }
    });
}

/// The next ready ticket's tag after the wake fd fired; NONE when there is none. Tags of freed
/// tickets never come.
///
/// # Safety
/// `agent` must be NULL or a handle of ours; `tag` NULL or writable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn portcullis_completed(
    agent: *const portcullis_agent,
    tag: *mut *mut c_void,
) -> portcullis_result {
    guard(|| {
        let (agent, tag) = (borrow!(agent), borrow_mut!(tag));
        match agent.0.worker().and_then(|w| w.completed()) {
            Some(ready) => {
                *tag = ready as *mut c_void;
                PORTCULLIS_OK
            }
            None => PORTCULLIS_NONE,
        }
    })
}

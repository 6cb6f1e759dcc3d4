//! The structs that cross the boundary. All are borrowed for one call unless they say otherwise.

use std::{ffi::c_void, net::IpAddr};

/// Bytes with a length; not NUL-terminated. `data` may be NULL when `len` is 0.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct portcullis_str {
    /// First byte.
    pub data: *const u8,
    /// Number of bytes.
    pub len: usize,
}

impl portcullis_str {
    pub(crate) fn of(bytes: &[u8]) -> portcullis_str {
        portcullis_str {
            data: bytes.as_ptr(),
            len: bytes.len(),
        }
    }

    /// The bytes.
    ///
    /// # Safety
    /// `data` must point to `len` readable bytes that live and do not change for `'s`.
    pub(crate) unsafe fn bytes<'s>(self) -> &'s [u8] {
        if self.data.is_null() || self.len == 0 {
            return &[];
        }
        // SAFETY: the caller's promise.
        unsafe { std::slice::from_raw_parts(self.data, self.len) }
    }
}

/// One header field.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct portcullis_header {
    /// Field name.
    pub name: portcullis_str,
    /// Field value.
    pub value: portcullis_str,
}

/// An IP address.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct portcullis_address {
    /// 4 or 6.
    pub family: u8,
    /// Network order; the first 4 for family 4.
    pub bytes: [u8; 16],
}

impl portcullis_address {
    pub(crate) fn ip(self) -> IpAddr {
        let b = self.bytes;
        match self.family {
            4 => IpAddr::from([b[0], b[1], b[2], b[3]]),
            _ => IpAddr::from(b).to_canonical(),
        }
    }
}

/// Levels of log lines.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum portcullis_level {
    /// Somebody has to act.
    PORTCULLIS_ERROR = 1,
    /// Somebody may have to act.
    PORTCULLIS_WARNING = 2,
    /// Worth knowing.
    PORTCULLIS_INFO = 3,
    /// One line a request.
    PORTCULLIS_DEBUG = 4,
}

/// The web server that loads the library.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum portcullis_server {
    /// Apache httpd.
    PORTCULLIS_HTTPD = 1,
    /// nginx.
    PORTCULLIS_NGINX = 2,
}

/// What a ticket waits for.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum portcullis_wants {
    /// The worker's thread is at it; wait, or be woken.
    PORTCULLIS_WANTS_AM = 1,
    /// Read the request body and hand it over.
    PORTCULLIS_WANTS_BODY = 2,
    /// Read the request body and hand it over piece by piece, with `portcullis_ticket_part`; nobody else
    /// will want to read it.
    PORTCULLIS_WANTS_PARTS = 3,
}

/// What a decision is.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum portcullis_verdict_kind {
    /// Apply the edits and let the request through.
    PORTCULLIS_ALLOW = 1,
    /// Answer with what the sink received.
    PORTCULLIS_RESPOND = 2,
    /// Put the request that the sink received in the place of this one, and decide it from the beginning, as if
    /// the client had sent it.
    PORTCULLIS_REPLAY = 3,
}

/// Called on any thread that calls into the library, and on the worker's own thread: it must be safe
/// there. `line` has no line end and no secret in it.
pub type portcullis_log_fn =
    Option<unsafe extern "C" fn(ctx: *mut c_void, level: portcullis_level, line: portcullis_str)>;

/// How a generation is made.
#[repr(C)]
pub struct portcullis_agent_options {
    /// `sizeof` this struct.
    pub size: usize,
    /// The web server.
    pub server: portcullis_server,
    /// Receives lines for the host's error log.
    pub log: portcullis_log_fn,
    /// First argument of `log`; must live as long as the generation.
    pub log_ctx: *mut c_void,
    /// For example `nginx/1.22.1`.
    pub server_version: portcullis_str,
}

/// How a process works.
#[repr(C)]
pub struct portcullis_worker_options {
    /// `sizeof` this struct.
    pub size: usize,
    /// An eventfd that is written when a ticket is ready (it is duplicated); -1: wait on tickets.
    pub wake_fd: i32,
    /// Request threads of this process (httpd); 0 on nginx.
    pub threads: u32,
}

/// A request.
#[repr(C)]
pub struct portcullis_request {
    /// `sizeof` this struct.
    pub size: usize,
    /// Method.
    pub method: portcullis_str,
    /// Request target exactly as the client sent it; after an internal redirect the new one.
    pub target: portcullis_str,
    /// Effective host with optional port.
    pub host: portcullis_str,
    /// Header fields in order.
    pub headers: *const portcullis_header,
    /// Number of header fields.
    pub header_count: usize,
    /// The host's decoded path of `target`, path info included; empty: cannot be compared.
    pub path: portcullis_str,
    /// The host's path info, the end of `path`; anything else counts as none.
    pub path_info: portcullis_str,
    /// Peer of the socket.
    pub peer: portcullis_address,
    /// Client after realip or remoteip.
    pub client: portcullis_address,
    /// Local port.
    pub port: u16,
    /// The connection is protected by TLS.
    pub tls: u8,
    /// The host has merged duplicate headers.
    pub merged: u8,
    /// A sub-request: only what is already known may be used.
    pub stored_only: u8,
    /// Where AM's policy refuses a user, the host's own rules decide (httpd's `AmAuthProvider`): such a
    /// request is allowed, and the verdict says that policy refused it.
    pub authorizes: u8,
    /// Descriptor of the connection to the client, open until the ticket of this request is freed; 0:
    /// none that could be cut.
    pub socket: i32,
    /// Comes back from `portcullis_completed`.
    pub tag: *mut c_void,
}

/// Receives the edits of a decision during `portcullis_decide`, on the calling thread. Strings live
/// for the length of the callback: copy them into the request's pool. No member may be NULL but `ctx`.
#[repr(C)]
pub struct portcullis_sink {
    /// `sizeof` this struct.
    pub size: usize,
    /// First argument of every callback.
    pub ctx: *mut c_void,
    /// Replace a request header.
    pub request_header:
        Option<unsafe extern "C" fn(ctx: *mut c_void, name: portcullis_str, value: portcullis_str)>,
    /// Remove a request header.
    pub remove_request_header: Option<unsafe extern "C" fn(ctx: *mut c_void, name: portcullis_str)>,
    /// Set a variable that no client can forge.
    pub variable:
        Option<unsafe extern "C" fn(ctx: *mut c_void, name: portcullis_str, value: portcullis_str)>,
    /// Set the authenticated user.
    pub user: Option<unsafe extern "C" fn(ctx: *mut c_void, name: portcullis_str)>,
    /// Add a response header, also to an error response.
    pub response_header:
        Option<unsafe extern "C" fn(ctx: *mut c_void, name: portcullis_str, value: portcullis_str)>,
    /// The body of an answer of the agent's own.
    pub body: Option<unsafe extern "C" fn(ctx: *mut c_void, body: portcullis_str)>,
    /// Method and body of a request that takes the place of this one; its headers came before.
    pub replay: Option<
        unsafe extern "C" fn(ctx: *mut c_void, method: portcullis_str, body: portcullis_str),
    >,
}

/// The decision.
#[repr(C)]
pub struct portcullis_verdict {
    /// `sizeof` this struct.
    pub size: usize,
    /// Let through, or answer.
    pub kind: portcullis_verdict_kind,
    /// Status of an answer of the agent's own.
    pub status: u16,
    /// 1: allowed for everybody by a rule, so a shared cache of the host may keep the answer; 2: allowed
    /// by a rule that looks at more than method and URL, or with a user's attributes; 0: an allow is
    /// for this user only.
    pub exempt: u8,
    /// 1: AM's policy refuses this allowed request, see `portcullis_request.authorizes`.
    pub refused: u8,
    /// Number of the stable code.
    pub reason: u32,
}

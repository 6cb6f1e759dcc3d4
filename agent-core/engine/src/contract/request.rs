//! What the engine may know about a request. Everything is bytes: the engine decides what is valid.

use core::net::IpAddr;

/// One header field as the host has it. Duplicates are kept where the host keeps them.
#[derive(Clone, Copy)]
pub struct Header<'r> {
    /// Field name as received.
    pub name: &'r [u8],
    /// Field value without the line end.
    pub value: &'r [u8],
}

/// The end of the connection that belongs to the host.
#[derive(Clone, Copy)]
pub struct Local<'r> {
    /// The connection is protected by TLS.
    pub tls: bool,
    /// The port the client connected to.
    pub port: u16,
    /// The host's own decoded path, without path info; what it would serve.
    pub path: &'r [u8],
    /// The host's own path info; empty on nginx.
    pub path_info: &'r [u8],
    /// Where AM's policy refuses a user, the host's own rules decide (httpd's `AmAuthProvider`).
    pub authorizes: bool,
}

/// A request as the host hands it over; borrowed for the length of one call.
#[derive(Clone, Copy)]
pub struct RequestView<'r> {
    /// Method, exactly as received.
    pub method: &'r [u8],
    /// Request target exactly as the client sent it (origin form, absolute form or `*`).
    pub target: &'r [u8],
    /// Effective host with optional port; the authority of an absolute target replaces `Host`.
    pub host: &'r [u8],
    /// Header fields in order.
    pub headers: &'r [Header<'r>],
    /// The host has already merged duplicates (httpd: `a, b`); it does not on nginx.
    pub merged: bool,
    /// Peer of the socket, before realip/remoteip looked at any header.
    pub peer: IpAddr,
    /// Client as the host sees it, after realip/remoteip.
    pub client: IpAddr,
    /// Where the request arrived.
    pub local: Local<'r>,
}

impl<'r> RequestView<'r> {
    /// The values of all fields of this name, compared without case, in order.
    pub fn values<'v>(&'v self, name: &'v [u8]) -> impl Iterator<Item = &'r [u8]> + 'v {
        self.headers
            .iter()
            .filter(move |h| h.name.eq_ignore_ascii_case(name))
            .map(|h| h.value)
    }
}

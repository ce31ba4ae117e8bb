//! What a client asks of an HTTP service or a relay.

use std::net::SocketAddr;

use bytes::Bytes;
use http::{Method, Uri, Version};

use crate::body::Body;
use crate::fields::Fields;

/// A request: its target has a path (before a relay it may be `*`), it names its host once, and where its body ends is beyond
/// doubt.
#[derive(Debug)]
pub struct Request {
    /// Any but CONNECT.
    pub method: Method,
    /// The path and the query, behind scheme and authority if the client wrote them (RFC 9112
    /// section 3.2.2). For a relay, of a target that no URI can have: `/`.
    pub uri: Uri,
    /// The target as it was written.
    pub target: Bytes,
    /// HTTP/1.0 or HTTP/1.1.
    pub version: Version,
    /// The header fields, those included that frame the body.
    pub fields: Fields,
    /// The body, or nothing.
    pub body: Body,
    /// Where the connection comes from; nothing for a Unix socket.
    pub peer: Option<SocketAddr>,
    /// Whether the connection speaks TLS.
    pub is_secure: bool,
}

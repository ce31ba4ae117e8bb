//! What a client asks of an HTTP service.

use std::net::SocketAddr;

use http::{Method, Uri};

use crate::body::Body;
use crate::fields::Fields;

/// A request: its target has a path, it names its host once, and where its body ends is beyond
/// doubt.
#[derive(Debug)]
pub struct Request {
    /// Any but CONNECT.
    pub method: Method,
    /// The path and the query, behind scheme and authority if the client wrote them (RFC 9112
    /// section 3.2.2).
    pub uri: Uri,
    /// The header fields, those included that frame the body.
    pub fields: Fields,
    /// The body, or nothing.
    pub body: Body,
    /// Where the connection comes from; nothing for a Unix socket.
    pub peer: Option<SocketAddr>,
}

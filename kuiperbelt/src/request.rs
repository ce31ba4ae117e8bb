//! What a client asks of an HTTP service.

use http::{Method, Uri};

use crate::body::Body;
use crate::fields::Fields;

/// A request: its target is a path, it names its host once, and where its body ends is beyond
/// doubt.
#[derive(Debug)]
pub struct Request {
    /// Any but CONNECT.
    pub method: Method,
    /// The path and the query.
    pub uri: Uri,
    /// The header fields, those included that frame the body.
    pub fields: Fields,
    /// The body, or nothing.
    pub body: Body,
}

//! Small HTTP answers: the plain-text ones that the gateway gives of itself.

use bytes::Bytes;
use http::header::{CONNECTION, CONTENT_TYPE, HeaderName, LOCATION};
use http::{HeaderValue, Response, StatusCode};

/// An answer to an HTTP request.
pub type Answer = Response<Bytes>;

const NOSNIFF: HeaderName = HeaderName::from_static("x-content-type-options");

/// The status with its name as the body: `Bad Request` and a newline.
pub fn status(status: StatusCode) -> Answer {
    plain(status, format!("{}\n", status.canonical_reason().unwrap_or_default()))
}

/// A plain-text answer that browsers must not take for anything else.
pub fn plain(status: StatusCode, body: impl Into<Bytes>) -> Answer {
    let mut answer = Response::new(body.into());
    *answer.status_mut() = status;
    let headers = answer.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    headers.insert(NOSNIFF, HeaderValue::from_static("nosniff"));
    answer
}

/// 404, for a path that no door takes.
pub fn not_found() -> Answer {
    plain(StatusCode::NOT_FOUND, "404 page not found\n")
}

/// The status, and the end of the connection: what follows on it is not looked at.
pub(crate) fn last(code: StatusCode) -> Answer {
    let mut answer = status(code);
    answer.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    answer
}

/// 301 to the given path and query.
pub(crate) fn moved(location: &str) -> Answer {
    let Ok(value) = HeaderValue::from_str(location) else {
        return last(StatusCode::BAD_REQUEST);
    };
    let mut answer = plain(StatusCode::MOVED_PERMANENTLY, format!("Moved to {location}\n"));
    answer.headers_mut().insert(LOCATION, value);
    answer
}

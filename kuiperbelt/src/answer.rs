//! HTTP answers, and small ones in plain text.

use std::fmt;
use std::future::Future;
use std::pin::Pin;

use bytes::Bytes;
use http::header::{CONNECTION, CONTENT_TYPE, HeaderName, LOCATION};
use http::{HeaderValue, Response, StatusCode};

/// An answer to an HTTP request.
pub type Answer = Response<Bytes>;

/// How a service comes to its answer. Nothing is kept for one that is there at once.
pub enum Answering {
    /// It is there.
    Now(Answer),
    /// It is being made. When the client leaves before it is, the future is dropped.
    Later(Pin<Box<dyn Future<Output = Answer> + Send>>),
}

impl Answering {
    /// An answer that is being made.
    pub fn later(answer: impl Future<Output = Answer> + Send + 'static) -> Self {
        Self::Later(Box::pin(answer))
    }
}

impl From<Answer> for Answering {
    fn from(answer: Answer) -> Self {
        Self::Now(answer)
    }
}

impl fmt::Debug for Answering {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Now(answer) => f.debug_tuple("Now").field(answer).finish(),
            Self::Later(_) => f.debug_tuple("Later").finish_non_exhaustive(),
        }
    }
}

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

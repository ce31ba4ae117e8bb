//! Requests to the backend: pooled connections, time-outs over head and body, redirects of the
//! connect callback, and the one kind of repetition that cannot deliver twice.

use std::fmt;
use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::header::{AUTHORIZATION, CONNECTION, CONTENT_LENGTH, COOKIE, HOST, LOCATION};
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, Uri};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper_util::client::legacy::connect::capture_connection;
use hyper_util::client::legacy::{Client as HttpClient, Error as HttpError};
use hyper_util::rt::{TokioExecutor, TokioTimer};
use tokio::time::{Instant, timeout_at};
use tracing::debug;

use super::connector::{Connector, Use};
use super::target::{Address, Target, unix_path_of};
use crate::log::Shown;

/// Kept connections per backend, and for how long: shorter than backends keep them.
const MAX_IDLE: usize = 32;
const IDLE_TIMEOUT: Duration = Duration::from_secs(10);

/// One call in so many milliseconds ends its connection, so that connections move on when a load
/// balancer's choice changes.
const RENEWAL_MILLIS: u64 = 10_000;

const MAX_REDIRECTS: usize = 10;

/// The most fields in the head of an answer.
const MAX_FIELDS: usize = 1000;

/// The most of an answer whose body nobody uses is read for the sake of its connection.
const MAX_UNUSED: usize = 1 << 20;

/// Why a callback has no usable answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CallError {
    /// The URL in the configuration cannot be called.
    #[error("{0}")]
    Target(String),
    /// No answer came. The request may have arrived.
    #[error("{}", Chain(.0))]
    Failed(#[from] HttpError),
    /// The answer broke off.
    #[error("the answer broke off: {}", Chain(.0))]
    Broken(#[from] hyper::Error),
    /// Head and body were not there within `callback.timeout`.
    #[error("timed out")]
    TimedOut,
    /// The body is larger than it may be.
    #[error("the answer's body is too large")]
    TooLarge,
    /// The answer is a "no".
    #[error("status {}", .0.as_u16())]
    Status(StatusCode),
}

/// The connections to the backend. Clones share them.
#[derive(Clone)]
pub(crate) struct Client {
    http: HttpClient<Connector, Full<Bytes>>,
    started: Instant,
    /// When, in milliseconds after the start, the next connection is to end.
    renewal: Arc<AtomicU64>,
}

impl Client {
    pub(crate) fn new() -> Self {
        let http = HttpClient::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(IDLE_TIMEOUT)
            .pool_max_idle_per_host(MAX_IDLE)
            .http1_title_case_headers(true)
            .http1_max_headers(MAX_FIELDS)
            .http1_allow_obsolete_multiline_headers_in_responses(true)
            .http1_allow_spaces_after_header_name_in_responses(true)
            .set_host(false)
            .build(Connector::default());
        Self { http, started: Instant::now(), renewal: Arc::new(AtomicU64::new(RENEWAL_MILLIS)) }
    }

    /// Asks by GET and follows redirects. The answer's body is still to be read, within
    /// the same deadline.
    pub(crate) async fn ask(
        &self,
        mut uri: Uri,
        mut headers: HeaderMap,
        deadline: Option<Instant>,
    ) -> Result<Response<Incoming>, CallError> {
        self.renew(&mut headers);
        for _ in 0..=MAX_REDIRECTS {
            let request = request(Method::GET, uri.clone(), headers.clone(), Bytes::new());
            let response = within(deadline, self.send(request, true)).await?;
            let Some(next) = redirection(&response, &uri) else { return Ok(response) };
            if next.uri().authority() != uri.authority() {
                headers.insert(HOST, next.host_header().clone());
                headers.remove(COOKIE);
                headers.remove(AUTHORIZATION);
                headers.extend(next.authorization().map(|own| (AUTHORIZATION, own.clone())));
            }
            uri = next.uri().clone();
        }
        Err(CallError::Target(format!("more than {MAX_REDIRECTS} redirects")))
    }

    /// Tells something by POST. The answer counts when its body has arrived.
    pub(crate) async fn tell(
        &self,
        uri: Uri,
        mut headers: HeaderMap,
        body: Bytes,
        deadline: Option<Instant>,
    ) -> Result<StatusCode, CallError> {
        headers.insert(CONTENT_LENGTH, body.len().into());
        if body.is_empty() {
            self.renew(&mut headers);
        }
        let request = request(Method::POST, uri, headers, body);
        let response = within(deadline, self.send(request, false)).await?;
        let status = response.status();
        match read(response.into_body(), MAX_UNUSED, deadline).await {
            // The status says all; a connection is lost at most.
            Ok(_) | Err(CallError::TooLarge) => Ok(status),
            Err(failure) => Err(failure),
        }
    }

    /// One request. hyper-util repeats it by itself while nothing of it was sent; one without a
    /// body and without consequences is also repeated when a kept connection ended under it,
    /// which can happen with each that is kept.
    async fn send(
        &self,
        request: Request<Full<Bytes>>,
        is_harmless: bool,
    ) -> Result<Response<Incoming>, CallError> {
        debug!(
            method = %request.method(),
            host = request.uri().host(),
            path = request.uri().path(),
            headers = %Shown(request.headers()),
            "callback"
        );
        let mut tries = if is_harmless { MAX_IDLE + 1 } else { 0 };
        loop {
            let mut attempt = request.clone();
            let connection = capture_connection(&mut attempt);
            let answer = self.http.request(attempt).await;
            let is_stale = connection.connection_metadata().as_ref().is_some_and(|connected| {
                let mut extensions = http::Extensions::new();
                connected.get_extras(&mut extensions);
                extensions.get::<Use>().is_some_and(Use::has_gone_stale)
            });
            match answer {
                Err(failure) if tries > 0 && is_stale && is_end_of_connection(&failure) => {
                    tries -= 1;
                }
                answer => return Ok(answer?),
            }
        }
    }

    /// Lets the connection of this request end with it, when one is due.
    fn renew(&self, headers: &mut HeaderMap) {
        let now = u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX);
        let due = self.renewal.load(Ordering::Relaxed);
        let next = now.saturating_add(RENEWAL_MILLIS);
        let order = Ordering::Relaxed;
        if now >= due && self.renewal.compare_exchange(due, next, order, order).is_ok() {
            headers.insert(CONNECTION, HeaderValue::from_static("close"));
        }
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client").finish_non_exhaustive()
    }
}

/// The address, of a URL that can be called.
pub(crate) fn address_of(target: &Target) -> Result<&Address, CallError> {
    match target {
        Target::Good(address) => Ok(address),
        Target::Unreachable(reason) | Target::Unparsable(reason) => {
            Err(CallError::Target(reason.clone()))
        }
    }
}

/// A whole body of at most `limit` bytes.
pub(crate) async fn read(
    mut body: Incoming,
    limit: usize,
    deadline: Option<Instant>,
) -> Result<Bytes, CallError> {
    within(deadline, async {
        let mut whole = BytesMut::new();
        while let Some(frame) = body.frame().await {
            let Ok(data) = frame?.into_data() else {
                continue;
            };
            if data.len() > limit - whole.len() {
                return Err(CallError::TooLarge);
            }
            whole.extend_from_slice(&data);
        }
        Ok(whole.freeze())
    })
    .await
}

async fn within<T>(
    deadline: Option<Instant>,
    call: impl Future<Output = Result<T, CallError>>,
) -> Result<T, CallError> {
    match deadline {
        Some(deadline) => timeout_at(deadline, call).await.unwrap_or(Err(CallError::TimedOut)),
        None => call.await,
    }
}

fn request(method: Method, uri: Uri, headers: HeaderMap, body: Bytes) -> Request<Full<Bytes>> {
    let mut request = Request::new(Full::new(body));
    *request.method_mut() = method;
    *request.uri_mut() = uri;
    *request.headers_mut() = headers;
    request
}

/// Where a redirect leads, if it is one that can be followed: to http or https, and to a Unix
/// socket only where it comes from one, so that no answer opens a door to this machine's own.
fn redirection<B>(response: &Response<B>, from: &Uri) -> Option<Address> {
    if !matches!(response.status().as_u16(), 301 | 302 | 303 | 307 | 308) {
        return None;
    }
    let location = response.headers().get(LOCATION)?.to_str().ok()?;
    let (scheme, authority) = (from.scheme_str()?, from.authority()?);
    let base = from.path().rsplit_once('/').map_or("", |(base, _)| base);
    let absolute = match location.as_bytes() {
        [b'/', b'/', ..] => format!("{scheme}:{location}"),
        [b'/', ..] => format!("{scheme}://{authority}{location}"),
        [b'?', ..] => format!("{scheme}://{authority}{}{location}", from.path()),
        _ if has_scheme(location) => location.to_owned(),
        _ => format!("{scheme}://{authority}{base}/{location}"),
    };
    let is_web = absolute.starts_with("http://") || absolute.starts_with("https://");
    match Target::parse(&absolute) {
        Target::Good(next) if is_web => {
            let is_here = next.uri().authority() == Some(authority);
            (is_here || unix_path_of(next.uri()).is_none()).then_some(next)
        }
        _ => None,
    }
}

/// Whether a reference is absolute (RFC 3986 section 4.2).
fn has_scheme(location: &str) -> bool {
    location.split(['/', '?', '#']).next().is_some_and(|start| start.contains(':'))
}

/// Whether the connection ended before a byte of the answer.
fn is_end_of_connection(failure: &HttpError) -> bool {
    let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(failure);
    while let Some(error) = cause {
        if let Some(error) = error.downcast_ref::<hyper::Error>() {
            return error.is_incomplete_message() || error.is_canceled();
        }
        cause = error.source();
    }
    false
}

/// An error with its causes, in one line.
struct Chain<'a>(&'a dyn std::error::Error);

impl fmt::Display for Chain<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)?;
        let mut cause = self.0.source();
        while let Some(error) = cause {
            write!(f, ": {error}")?;
            cause = error.source();
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn redirects() {
        let to = |from: &str, status: u16, location: &str| {
            let mut response = Response::new(());
            *response.status_mut() = StatusCode::from_u16(status).unwrap();
            response.headers_mut().insert(LOCATION, location.parse().unwrap());
            redirection(&response, &from.parse().unwrap()).map(|next| next.uri().to_string())
        };
        let from = "http://a:1/x/y?q";
        assert_eq!(to(from, 302, "http://b/z").as_deref(), Some("http://b/z"));
        assert_eq!(to(from, 301, "/z?p").as_deref(), Some("http://a:1/z?p"));
        assert_eq!(to(from, 308, "z").as_deref(), Some("http://a:1/x/z"));
        assert_eq!(to(from, 307, "?p").as_deref(), Some("http://a:1/x/y?p"));
        assert_eq!(to(from, 303, "//b/z").as_deref(), Some("http://b/z"));
        assert_eq!(to(from, 302, "ftp://b/z"), None);
        let socket = "http://2f746d702f73.unix/";
        assert_eq!(to(from, 302, socket), None, "a way to a socket of this machine");
        assert_eq!(to(from, 302, "unix:/tmp/s:/"), None);
        assert_eq!(to(socket, 302, "/z").as_deref(), Some("http://2f746d702f73.unix/z"));
        assert_eq!(to(from, 302, "http://me:secret@b/z").as_deref(), Some("http://b/z"));
        assert_eq!(to(from, 304, "/z"), None);
    }
}

//! Requests to the backend: pooled connections, time-outs over head and body, redirects of the
//! connect callback, and the one kind of repetition that cannot deliver twice.

use std::fmt;
use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http::header::{AUTHORIZATION, COOKIE, HOST, LOCATION};
use http::{HeaderMap, Method, StatusCode, Uri};
use tokio::time::{Instant, timeout_at};
use tracing::{debug, enabled};

use super::exchange::{Exchange, Failure};
use super::request::{Draft, Field, Request};
use super::response::{Fault, Head, Response, Wanted};
use crate::log::Shown;
use crate::outbound::target::unix_path_of;
use crate::outbound::{Address, Connector, Keeping, Origin, Pool, Target};

/// One call in so many milliseconds ends its connection, so that connections move on when a load
/// balancer's choice changes.
const RENEWAL_MILLIS: u64 = 10_000;

const MAX_REDIRECTS: usize = 10;

/// Connections are kept for a shorter time than backends keep them.
const KEEPING: Keeping = Keeping { sockets: 32, time: Duration::from_secs(10) };

/// Why a callback has no usable answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CallError {
    /// The URL in the configuration cannot be called.
    #[error("{0}")]
    Target(String),
    /// No answer came. The request may have arrived.
    #[error("{0}")]
    Failed(Failure),
    /// The answer broke off.
    #[error("the answer broke off: {0}")]
    Broken(Failure),
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
pub(crate) struct Client(Arc<Connections>);

struct Connections {
    connector: Connector,
    pool: Pool,
    started: Instant,
    /// When, in milliseconds after the start, the next connection is to end.
    renewal: AtomicU64,
}

/// An answer whose body may still be on its way.
pub(crate) struct Reply {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    rest: Call,
}

/// A whole answer.
pub(crate) struct Told {
    pub(crate) status: StatusCode,
    /// What else was wanted of it, if there is any: most answers say nothing but their status.
    pub(crate) content: Option<Box<Content>>,
}

/// What was wanted of an answer beside its status.
pub(crate) struct Content {
    pub(crate) headers: HeaderMap,
    /// `None` if it is wanted and too large. The connection is lost then.
    pub(crate) body: Option<Bytes>,
}

/// A call that has got as far as the head of its answer. Dropped, it ends its connection.
struct Call {
    connections: Arc<Connections>,
    origin: Origin,
    exchange: Exchange,
}

impl Client {
    pub(crate) fn new() -> Self {
        Self(Arc::new(Connections {
            connector: Connector::default(),
            pool: Pool::new(KEEPING),
            started: Instant::now(),
            renewal: AtomicU64::new(RENEWAL_MILLIS),
        }))
    }

    /// Asks by GET and follows redirects. The answer's body, of at most `limit` bytes, is still to
    /// be read, within the same deadline.
    pub(crate) async fn ask(
        &self,
        mut uri: Uri,
        mut headers: HeaderMap,
        limit: usize,
        deadline: Option<Instant>,
    ) -> Result<Reply, CallError> {
        let ends_connection = self.0.is_renewal_due();
        for _ in 0..=MAX_REDIRECTS {
            let draft = Draft::new(Method::GET, uri.clone(), headers.clone());
            let request = Request { draft: &draft, own: &[], body: &Bytes::new(), ends_connection };
            let response = || Response::new(Wanted::everything(limit));
            let mut call = within(deadline, self.send(&request, response, true)).await?;
            let Head { status, headers: answered } = call.head()?;
            let Some(next) = redirection(status, &answered, &uri) else {
                return Ok(Reply { status, headers: answered, rest: call });
            };
            call.finish();
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
        draft: &Draft,
        own: &[Field<'_>],
        body: &Bytes,
        wanted: Wanted,
        deadline: Option<Instant>,
    ) -> Result<Told, CallError> {
        let ends_connection = body.is_empty() && self.0.is_renewal_due();
        let request = Request { draft, own, body, ends_connection };
        within(deadline, async {
            let mut call = self.send(&request, || Response::new(wanted), false).await?;
            let Head { status, headers } = call.head()?;
            let body = match call.exchange.whole().await {
                Ok(()) => {
                    let body = call.exchange.response().take_body();
                    call.finish();
                    Some(body)
                }
                Err(Failure::Fault(Fault::TooLarge)) => (!wanted.body).then(Bytes::new),
                Err(failure) => return Err(CallError::Broken(failure)),
            };
            let says_nothing = headers.is_empty() && body.as_ref().is_some_and(Bytes::is_empty);
            let content = (!says_nothing).then(|| Box::new(Content { headers, body }));
            Ok(Told { status, content })
        })
        .await
    }

    /// One request. It is sent again while nothing of it went out because kept connections had
    /// ended; one without consequences also when a kept connection ended under it, which can
    /// happen with each that is kept.
    async fn send(
        &self,
        request: &Request<'_>,
        response: impl Fn() -> Response,
        is_harmless: bool,
    ) -> Result<Call, CallError> {
        let uri = request.draft.uri();
        if enabled!(tracing::Level::DEBUG) {
            debug!(
                method = %request.draft.method(),
                host = uri.host(),
                path = uri.path(),
                headers = %Shown(&request.headers()),
                "callback"
            );
        }
        let connections = &self.0;
        let origin = Origin::of(uri);
        let mut tries = 0;
        loop {
            // None that is kept can be stale more often than there are.
            let kept =
                if tries > KEEPING.sockets { None } else { connections.pool.take(&origin).await };
            let is_kept = kept.is_some();
            let socket = match kept {
                Some(socket) => socket,
                None => {
                    let connected = connections.connector.connect(uri).await;
                    connected.map_err(|error| CallError::Failed(Failure::Connect(error)))?
                }
            };
            let mut exchange = Exchange::new(socket, is_kept, request, response());
            let Err(failure) = exchange.head().await else {
                let connections = Arc::clone(connections);
                return Ok(Call { connections, origin, exchange });
            };
            let is_unsent = is_kept && matches!(failure, Failure::Unsent(_));
            let is_stale = exchange.has_gone_stale() && failure.is_end_of_connection();
            if is_unsent || is_harmless && is_stale {
                tries += 1;
            } else {
                return Err(CallError::Failed(failure));
            }
        }
    }
}

impl Connections {
    /// Whether the connection of this request is the one that is to end with it.
    fn is_renewal_due(&self) -> bool {
        let now = u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX);
        let due = self.renewal.load(Ordering::Relaxed);
        let next = now.saturating_add(RENEWAL_MILLIS);
        let order = Ordering::Relaxed;
        now >= due && self.renewal.compare_exchange(due, next, order, order).is_ok()
    }
}

impl Reply {
    /// The whole body.
    pub(crate) async fn body(mut self, deadline: Option<Instant>) -> Result<Bytes, CallError> {
        let whole = async { Ok(self.rest.exchange.whole().await) };
        match within(deadline, whole).await? {
            Ok(()) => {}
            Err(Failure::Fault(Fault::TooLarge)) => return Err(CallError::TooLarge),
            Err(failure) => return Err(CallError::Broken(failure)),
        }
        let body = self.rest.exchange.response().take_body();
        self.rest.finish();
        Ok(body)
    }
}

impl Call {
    /// The head, which `Client::send` has waited for.
    fn head(&mut self) -> Result<Head, CallError> {
        let head = self.exchange.response().take_head();
        head.ok_or(CallError::Failed(Failure::Fault(Fault::Ended)))
    }

    /// Keeps the connection, if the whole answer has come and allows it.
    fn finish(self) {
        if let Some(socket) = self.exchange.into_kept() {
            self.connections.pool.keep(&self.origin, socket);
        }
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client").finish_non_exhaustive()
    }
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

/// Where a redirect leads, if it is one that can be followed: to http or https, and to a Unix
/// socket only where it comes from one, so that no answer opens a door to this machine's own.
fn redirection(status: StatusCode, headers: &HeaderMap, from: &Uri) -> Option<Address> {
    if !matches!(status.as_u16(), 301 | 302 | 303 | 307 | 308) {
        return None;
    }
    let location = headers.get(LOCATION)?.to_str().ok()?;
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn redirects() {
        let to = |from: &str, status: u16, location: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(LOCATION, location.parse().unwrap());
            let status = StatusCode::from_u16(status).unwrap();
            let next = redirection(status, &headers, &from.parse().unwrap());
            next.map(|next| next.uri().to_string())
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

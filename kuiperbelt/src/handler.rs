//! Seam: what a path does with its clients.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use http::HeaderValue;
use http::request::Parts;

use crate::answer::Answer;
use crate::message::{End, Message, Received};
use crate::session::Session;

/// What a path does with the clients that open a WebSocket on it.
///
/// Contract, per session:
///
/// * [`connect`](Self::connect) → [`establish`](Self::establish) → [`receive`](Self::receive)… →
///   [`close`](Self::close), never two at a time; sessions run in parallel with each other.
/// * Each `Ok` of `connect` is followed by exactly one `close`, whatever happens in between, unless
///   the session ended by an [`End`] marked quiet, or its key was empty. So is a [`Refusal`] that
///   says so. That holds for a call that panics, too, which ends the session with code 1006.
/// * No future is cancelled: a client that vanishes is reported by `close` when the call in flight
///   has returned. Only the end of the process cuts a call short.
/// * While `receive` runs, sends to the session go on and pings are answered.
/// * `receive` is polled again when its session [is over](Session::is_over), so that one that looks
///   there each time need not go on for nobody.
/// * The handler logs its own failures; the library logs what happens on the socket.
pub trait Handler: Send + Sync + 'static {
    /// Judges a client whose handshake and Origin are in order. `request` is the client's, whole, and
    /// its extensions have the [`SocketAddr`](std::net::SocketAddr) that it comes from, unless that
    /// is a Unix socket. Unless a handler says otherwise everybody is let in, without a key. One that
    /// panics here ends the connection without an answer.
    fn connect(&self, _request: Parts) -> impl Future<Output = Result<Admission, Refusal>> + Send {
        std::future::ready(Ok(Admission::default()))
    }

    /// Called when the client has its 101 and the session can be found by its key. `false` ends
    /// the session and drops what was sent to it meanwhile; the client sees close code 1011, or
    /// with [`Options::close_frame`](crate::Options::close_frame) off just the end.
    fn establish(&self, _session: &Session) -> impl Future<Output = bool> + Send {
        std::future::ready(true)
    }

    /// A message of the client. The next one is not delivered before this returns, and a client
    /// that outruns it is held back by TCP.
    fn receive(&self, _session: &Session, _message: Received) -> impl Future<Output = ()> + Send {
        std::future::ready(())
    }

    /// The session is over and its key means nothing any more.
    fn close(&self, _session: &Session, _end: End) -> impl Future<Output = ()> + Send {
        std::future::ready(())
    }
}

/// The same handler, for those who want to keep a hold of it.
impl<H: Handler> Handler for Arc<H> {
    async fn connect(&self, request: Parts) -> Result<Admission, Refusal> {
        H::connect(self, request).await
    }

    async fn establish(&self, session: &Session) -> bool {
        H::establish(self, session).await
    }

    async fn receive(&self, session: &Session, message: Received) {
        H::receive(self, session, message).await;
    }

    async fn close(&self, session: &Session, end: End) {
        H::close(self, session, end).await;
    }
}

/// A client is let in.
#[derive(Default)]
pub struct Admission {
    /// The key under which the session can be found: any bytes. An empty one answers the client
    /// 500, and there is no session; with none, there is one that nobody can find by a key.
    pub key: Option<Vec<u8>>,
    /// Sent ahead of everything else.
    pub first: Option<Message>,
    /// The subprotocol of the 101. It must be one that the client offered, which is not checked:
    /// clients end the connection otherwise.
    pub subprotocol: Option<HeaderValue>,
    /// Called when the session can be found by its key, before the client has its 101: the place to
    /// subscribe it to channels, so that it misses nothing. It is not to block.
    pub then: Option<Then>,
}

/// What is done with a session when it begins.
pub type Then = Box<dyn FnOnce(&Session) + Send>;

impl Admission {
    /// Lets a client in under a key.
    pub fn under(key: impl Into<Vec<u8>>) -> Self {
        Self { key: Some(key.into()), ..Self::default() }
    }
}

impl fmt::Debug for Admission {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Admission")
            .field("key", &self.key.as_deref().map(String::from_utf8_lossy))
            .field("first", &self.first)
            .field("subprotocol", &self.subprotocol)
            .finish_non_exhaustive()
    }
}

/// A client is not let in.
#[derive(Debug)]
pub struct Refusal {
    /// What the client gets instead of a 101.
    pub answer: Answer,
    /// Whether it counts as a connect error: a plain "forbidden" does not.
    pub is_error: bool,
    /// Somebody holds the client for admitted under this key all the same: `close` is called,
    /// though no session of the hub ever had it.
    pub admitted: Option<(Vec<u8>, End)>,
}

impl Refusal {
    /// A plain refusal, which is no error.
    pub const fn with(answer: Answer) -> Self {
        Self { answer, is_error: false, admitted: None }
    }
}

type BoxFuture<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// [`Handler`] with its futures boxed, so that doors of different handlers fit in one list.
pub(crate) trait DynHandler: Send + Sync {
    fn connect(self: Arc<Self>, request: Parts) -> BoxFuture<Result<Admission, Refusal>>;
    fn establish(self: Arc<Self>, session: Session) -> BoxFuture<bool>;
    fn receive(self: Arc<Self>, session: Session, message: Received) -> BoxFuture<()>;
    fn close(self: Arc<Self>, session: Session, end: End) -> BoxFuture<()>;
}

impl<H: Handler> DynHandler for H {
    fn connect(self: Arc<Self>, request: Parts) -> BoxFuture<Result<Admission, Refusal>> {
        Box::pin(async move { Handler::connect(&*self, request).await })
    }

    fn establish(self: Arc<Self>, session: Session) -> BoxFuture<bool> {
        Box::pin(async move { Handler::establish(&*self, &session).await })
    }

    fn receive(self: Arc<Self>, session: Session, message: Received) -> BoxFuture<()> {
        Box::pin(async move { Handler::receive(&*self, &session, message).await })
    }

    fn close(self: Arc<Self>, session: Session, end: End) -> BoxFuture<()> {
        Box::pin(async move { Handler::close(&*self, &session, end).await })
    }
}

//! From an HTTP request to a session: handshake and Origin, the handler's judgement, the key in
//! the hub, the 101, establish. What follows is `connection.rs`.

use std::fmt;
use std::sync::Arc;

use http::header::{
    CONNECTION, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_EXTENSIONS, SEC_WEBSOCKET_PROTOCOL,
    SEC_WEBSOCKET_VERSION, UPGRADE,
};
use http::{HeaderMap, HeaderValue, Request, StatusCode};
use hyper::upgrade::{OnUpgrade, Upgraded};
use hyper_util::rt::TokioIo;
use kuiperbelt_websocket::{CloseCode, Deflate, handshake};
use tokio_util::task::task_tracker::TaskTrackerToken;
use tracing::error;

use crate::answer::{self, Answer};
use crate::body::Body;
use crate::connection::Connection;
use crate::handler::{Admission, Handler};
use crate::http_stream::HttpStream;
use crate::hub::Hub;
use crate::message::{End, Message};
use crate::metrics::Raised;
use crate::options::Options;
use crate::seat::{Premises, Seat};
use crate::session::{Session, Terms};
use crate::stream::Stream;

/// A door for WebSockets: a handler, its options, and the hub where its sessions are.
pub struct SocketDoor(Arc<Premises>);

impl SocketDoor {
    /// A door behind which `handler` decides.
    pub fn new(hub: &Arc<Hub>, handler: impl Handler, options: Options) -> Self {
        let terms = Terms {
            capacity: options.capacity,
            before_established: options.before_established,
            compression_min_size: options.compression_min_size.unwrap_or_default(),
            lanes: Arc::clone(hub.lanes()),
        };
        Self(Arc::new(Premises {
            hub: Arc::clone(hub),
            handler: Arc::new(handler),
            options,
            terms: Arc::new(terms),
        }))
    }

    /// Answers a request on this door.
    pub(crate) async fn open(&self, mut request: Request<Body>) -> Answer {
        let hub = &self.0.hub;
        let metrics = hub.metrics();
        metrics.total_connections.increment();
        let counted = Raised::new(metrics, |metrics| &metrics.connections);
        let accept = match self.check(&request) {
            Ok(accept) => accept,
            Err(rejection) => {
                metrics.connect_errors.increment();
                error!(error = %rejection, "cannot upgrade");
                let mut answer = answer::status(rejection.status());
                let version = HeaderValue::from_static("13");
                answer.headers_mut().insert(SEC_WEBSOCKET_VERSION, version);
                return answer;
            }
        };
        let upgrade = hyper::upgrade::on(&mut request);
        let arrival = Arrival {
            premises: Arc::clone(&self.0),
            accept,
            deflate: self.deflate(request.headers()),
            upgrade,
            counted,
            _unfinished: hub.unfinished(),
        };
        // A task of its own, so that a client that leaves does not leave a backend behind that
        // has admitted it and is never told of its end.
        let admitted = tokio::spawn(arrival.admit(request.into_parts().0));
        admitted.await.unwrap_or_else(|_| answer::status(StatusCode::INTERNAL_SERVER_ERROR))
    }

    fn check(&self, request: &Request<Body>) -> Result<HeaderValue, handshake::Rejection> {
        let accept =
            handshake::check(request.method(), request.headers(), &*self.0.options.origin)?;
        // HTTP/1.0 has no upgrade.
        if request.version() < http::Version::HTTP_11 {
            return Err(handshake::Rejection::Upgrade);
        }
        Ok(accept)
    }

    /// What of compression the client offers and this door accepts.
    fn deflate(&self, headers: &HeaderMap) -> Option<(Deflate, HeaderValue)> {
        self.0.options.compression_min_size?;
        Deflate::negotiate(headers)
    }
}

impl fmt::Debug for SocketDoor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SocketDoor").field("options", &self.0.options).finish_non_exhaustive()
    }
}

/// A client whose handshake is in order.
struct Arrival {
    premises: Arc<Premises>,
    accept: HeaderValue,
    /// What was agreed on compression, and the field that says so.
    deflate: Option<(Deflate, HeaderValue)>,
    upgrade: OnUpgrade,
    counted: Raised,
    /// A stop waits for the handler's judgement: a client it admits has a close.
    _unfinished: TaskTrackerToken,
}

impl Arrival {
    async fn admit(self, request: http::request::Parts) -> Answer {
        let premises = self.premises;
        let hub = &premises.hub;
        let (deflate, extensions) = self.deflate.unzip();
        let new_session = |key: &[u8], first: Option<&Message>| {
            Session::new(key, first, Arc::clone(&premises.terms), deflate)
        };
        let admission = match Arc::clone(&premises.handler).connect(request).await {
            Ok(admission) => admission,
            Err(refusal) => {
                if refusal.is_error {
                    hub.metrics().connect_errors.increment();
                }
                if let Some((key, end)) = refusal.admitted {
                    let session = new_session(&key, None);
                    Seat::outside(premises, session).leave(end);
                }
                return refusal.answer;
            }
        };
        let Admission { key, first, subprotocol } = admission;
        if key.is_empty() {
            hub.metrics().connect_errors.increment();
            error!(error = "the handler gave an empty key", "cannot upgrade");
            return answer::status(StatusCode::INTERNAL_SERVER_ERROR);
        }
        let session = new_session(&key, first.as_ref());
        let seat = Seat::take(premises, session, self.counted);
        tokio::spawn(enter(seat, self.upgrade, first.is_some()));
        let mut answer = switching_protocols(self.accept);
        let headers = answer.headers_mut();
        headers.extend(extensions.map(|accepted| (SEC_WEBSOCKET_EXTENSIONS, accepted)));
        headers.extend(subprotocol.map(|chosen| (SEC_WEBSOCKET_PROTOCOL, chosen)));
        answer
    }
}

/// Waits for the 101 to be written, establishes the session and hands over to its connection.
async fn enter(seat: Seat, upgrade: OnUpgrade, has_first_message: bool) {
    let Ok(Ok((stream, early))) = upgrade.await.map(into_stream) else {
        seat.hub().metrics().connect_errors.increment();
        error!(error = "the client left before its 101", "cannot upgrade");
        return seat.leave(End::abnormal("upgrade failed"));
    };
    let is_established = Arc::clone(&seat.premises.handler).establish(seat.session.clone()).await;
    let connection = if is_established {
        if has_first_message {
            seat.hub().metrics().total_messages.increment();
        }
        seat.session.establish();
        Connection::new(seat, stream, &early)
    } else {
        seat.hub().metrics().connect_errors.increment();
        let end = End::new(CloseCode::INTERNAL_ERROR, "establish failed");
        Connection::new(seat, stream, &early).refused(end)
    };
    // A fresh task, as small as the connection itself.
    tokio::spawn(connection);
}

/// Takes the socket back from hyper, with what the client sent ahead of its 101.
fn into_stream(upgraded: Upgraded) -> Result<(Stream, bytes::Bytes), Upgraded> {
    let parts = upgraded.downcast::<TokioIo<HttpStream>>()?;
    Ok((parts.io.into_inner().into_inner(), parts.read_buf))
}

fn switching_protocols(accept: HeaderValue) -> Answer {
    let mut answer = Answer::default();
    *answer.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    let headers = answer.headers_mut();
    headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
    headers.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
    headers.insert(SEC_WEBSOCKET_ACCEPT, accept);
    answer
}

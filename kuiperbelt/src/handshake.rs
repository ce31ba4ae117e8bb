//! From an HTTP request to a session: handshake and Origin, the handler's judgement, the key in
//! the hub, the 101, establish. What follows is `connection.rs`.

use std::fmt;
use std::sync::Arc;
use std::task::{Context, Poll};

use http::header::{
    CONNECTION, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_EXTENSIONS, SEC_WEBSOCKET_PROTOCOL,
    SEC_WEBSOCKET_VERSION, UPGRADE,
};
use http::request::Parts;
use http::{HeaderMap, HeaderValue, StatusCode, Version};
use kuiperbelt_websocket::{CloseCode, Deflate, handshake};
use tokio_util::task::task_tracker::TaskTrackerToken;
use tracing::error;

use crate::answer::{self, Answer};
use crate::connection::Connection;
use crate::handler::{Admission, Handler};
use crate::hub::Hub;
use crate::message::{End, Message};
use crate::metrics::Raised;
use crate::options::Options;
use crate::request::Request;
use crate::seat::{Premises, Seat};
use crate::session::{Session, Terms};
use crate::stream::Stream;

/// A door for WebSockets: a handler, its options, and the hub where its sessions are.
pub struct SocketDoor(Arc<Premises>);

impl SocketDoor {
    /// A door behind which `handler` decides.
    pub fn new(hub: &Arc<Hub>, handler: impl Handler, options: Options) -> Self {
        let options = options.within_time();
        let terms = Terms {
            outbox_messages: options.outbox_messages,
            outbox_bytes: options.outbox_bytes,
            send_queue: options.send_queue,
            slow_consumer: options.slow_consumer,
            compression_min_size: options.compression_min_size.unwrap_or_default(),
            lanes: Arc::clone(hub.lanes()),
            metrics: Arc::clone(hub.metrics()),
        };
        Self(Arc::new(Premises {
            hub: Arc::clone(hub),
            handler: Arc::new(handler),
            options,
            terms: Arc::new(terms),
        }))
    }

    /// Asks the handler about a client whose handshake is in order. Not to be dropped before it is
    /// done: a backend that has admitted the client would never be told of its end.
    pub(crate) async fn open(&self, request: Request) -> Result<Welcome, Answer> {
        let hub = &self.0.hub;
        let metrics = hub.metrics();
        metrics.total_connections.increment();
        let counted = Raised::new(metrics, |metrics| &metrics.connections);
        let Request { method, uri, version, fields, body, peer, .. } = request;
        let headers = fields.to_map().map_err(|refused| {
            metrics.connect_errors.increment();
            error!(error = %refused, "cannot upgrade");
            answer::status(StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE)
        })?;
        let mut request = http::Request::new(());
        *request.method_mut() = method;
        *request.uri_mut() = uri;
        *request.version_mut() = version;
        *request.headers_mut() = headers;
        if let Some(peer) = peer {
            request.extensions_mut().insert(peer);
        }
        let (request, ()) = request.into_parts();
        let accept = self.check(&request).map_err(|rejection| {
            metrics.connect_errors.increment();
            error!(error = %rejection, "cannot upgrade");
            let mut answer = answer::status(rejection.status());
            let version = HeaderValue::from_static("13");
            answer.headers_mut().insert(SEC_WEBSOCKET_VERSION, version);
            answer
        })?;
        // What follows a body is WebSocket.
        if !body.discard().await {
            metrics.connect_errors.increment();
            error!(error = "the body of the request did not arrive", "cannot upgrade");
            return Err(answer::last(StatusCode::BAD_REQUEST));
        }
        let arrival = Arrival {
            premises: Arc::clone(&self.0),
            accept,
            deflate: self.deflate(&request.headers),
            counted,
            _unfinished: hub.unfinished(),
        };
        arrival.admit(request).await
    }

    fn check(&self, request: &Parts) -> Result<HeaderValue, handshake::Rejection> {
        let accept = handshake::check(&request.method, &request.headers, &*self.0.options.origin)?;
        // HTTP/1.0 has no upgrade.
        if request.version < Version::HTTP_11 {
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
    counted: Raised,
    /// A stop waits for the handler's judgement: a client it admits has a close.
    _unfinished: TaskTrackerToken,
}

impl Arrival {
    async fn admit(self, request: http::request::Parts) -> Result<Welcome, Answer> {
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
                return Err(refusal.answer);
            }
        };
        let Admission { key, first, subprotocol, then } = admission;
        if key.as_ref().is_some_and(Vec::is_empty) {
            hub.metrics().connect_errors.increment();
            error!(error = "the handler gave an empty key", "cannot upgrade");
            return Err(answer::status(StatusCode::INTERNAL_SERVER_ERROR));
        }
        let session = new_session(&key.unwrap_or_default(), first.as_ref());
        let seat = Seat::take(premises, session, self.counted);
        if let Some(then) = then {
            then(&seat.session);
        }
        let mut answer = switching_protocols(self.accept);
        let headers = answer.headers_mut();
        headers.extend(extensions.map(|accepted| (SEC_WEBSOCKET_EXTENSIONS, accepted)));
        headers.extend(subprotocol.map(|chosen| (SEC_WEBSOCKET_PROTOCOL, chosen)));
        Ok(Welcome { seat, answer, has_first_message: first.is_some() })
    }
}

/// A client that is admitted and is to be told so.
pub(crate) struct Welcome {
    seat: Seat,
    answer: Answer,
    has_first_message: bool,
}

impl Welcome {
    /// The 101.
    pub(crate) const fn answer(&self) -> &Answer {
        &self.answer
    }

    /// Ready when the session is to end before its client has been told.
    pub(crate) fn poll_over(&self, context: &Context<'_>) -> Poll<()> {
        if self.seat.session.ending(context).is_some() { Poll::Ready(()) } else { Poll::Pending }
    }

    /// The client could not be told.
    pub(crate) fn withdraw(self) {
        self.seat.hub().metrics().connect_errors.increment();
        error!(error = "the client left before its 101", "cannot upgrade");
        self.seat.leave(End::abnormal("upgrade failed"));
    }

    /// The client has been told: establishes the session and hands over to its connection, which
    /// starts with what the client sent early.
    pub(crate) async fn enter(self, stream: Stream, early: &[u8]) {
        let Self { seat, has_first_message, .. } = self;
        let handler = Arc::clone(&seat.premises.handler);
        let connection = if handler.establish(seat.session.clone()).await {
            if has_first_message {
                seat.hub().metrics().total_messages.increment();
            }
            seat.session.establish();
            Connection::new(seat, stream, early)
        } else {
            seat.hub().metrics().connect_errors.increment();
            let end = End::new(CloseCode::INTERNAL_ERROR, "establish failed");
            Connection::refused(seat, stream, early, end)
        };
        // A fresh task, as small as the connection itself.
        tokio::spawn(connection);
    }
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

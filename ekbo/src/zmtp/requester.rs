//! REQ: one request, one reply, with a peer that is REP or ROUTER.

use std::time::Duration;

use bytes::Bytes;
use thiserror::Error;
use tokio::select;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::AbortHandle;
use tokio::time::timeout;

use super::decoder::Excess;
use super::dialer::Dialer;
use super::link::{Incoming, Link, LinkError, Role};
use super::{Message, State};
use crate::endpoint::Endpoint;

/// Why there is no reply.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub(crate) enum RequestError {
    /// Within the time there was none, or nobody to ask.
    #[error("no reply within the time allowed")]
    TimedOut,
    /// The connection ended when the request was on its way; whether it was heard is not known.
    #[error("the connection ended before the reply")]
    Lost,
    #[error("the reply has {0}")]
    TooLarge(Excess),
}

/// Keeps a connection to the peer, in a task of its own, and makes requests on it. Dropping it
/// closes the connection.
pub(crate) struct Requester {
    requests: mpsc::Sender<Request>,
    state: watch::Receiver<State>,
    task: AbortHandle,
}

struct Request {
    body: Bytes,
    /// Closed when nobody waits any more.
    reply: oneshot::Sender<Result<Bytes, RequestError>>,
}

impl Requester {
    /// Starts to connect. Replies of more than `limit` bytes are not taken.
    pub(crate) fn open(endpoint: &Endpoint, limit: usize) -> Self {
        let dialer = Dialer::new(endpoint.clone(), Role::Req, limit);
        let state = dialer.state();
        let (requests, queue) = mpsc::channel(1);
        let task = tokio::spawn(run(dialer, queue)).abort_handle();
        Self { requests, state, task }
    }

    pub(crate) fn state(&self) -> watch::Receiver<State> {
        self.state.clone()
    }

    /// Sends a request, as soon as there is a connection, and waits for the reply, whose parts are
    /// joined. Both must happen within `patience`.
    ///
    /// If that fails, or the future is dropped, the next request is made on a new connection:
    /// what is replied late is never taken for its reply. (A peer that replies more often than it
    /// is asked cannot be told from one that replies quickly.)
    pub(crate) async fn request(
        &mut self,
        body: Bytes,
        patience: Duration,
    ) -> Result<Bytes, RequestError> {
        let exchange = async {
            let (reply, outcome) = oneshot::channel();
            let request = Request { body, reply };
            self.requests.send(request).await.map_err(|_| RequestError::Lost)?;
            outcome.await.unwrap_or(Err(RequestError::Lost))
        };
        timeout(patience, exchange).await.unwrap_or(Err(RequestError::TimedOut))
    }
}

impl Drop for Requester {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn run(mut dialer: Dialer, mut requests: mpsc::Receiver<Request>) {
    loop {
        let mut link = dialer.connect().await;
        let end = serve(&mut link, &mut requests).await;
        drop(link);
        match end {
            Some(error) => dialer.lost(&error),
            None => dialer.dropped(),
        }
    }
}

/// Makes requests until the connection fails, or, with `None`, until a request was given up.
async fn serve(link: &mut Link, requests: &mut mpsc::Receiver<Request>) -> Option<LinkError> {
    loop {
        // A connection that is known to have ended gets no request.
        let request = select! {
            biased;
            unasked = link.receive() => match unasked {
                Ok(_) => continue,
                Err(error) => return Some(error),
            },
            Some(request) = requests.recv() => request,
        };
        if request.reply.is_closed() {
            continue;
        }
        let Request { body, mut reply } = request;
        link.send([Bytes::new(), body]);
        let outcome = select! {
            biased;
            () = reply.closed() => return None,
            outcome = receive_reply(link) => outcome,
        };
        // Whoever left at this moment has had the reply all the same: nothing is outstanding.
        let _ = match outcome {
            Ok(outcome) => reply.send(outcome),
            Err(error) => {
                let _ = reply.send(Err(RequestError::Lost));
                return Some(error);
            }
        };
    }
}

async fn receive_reply(link: &mut Link) -> Result<Result<Bytes, RequestError>, LinkError> {
    loop {
        match link.receive().await? {
            Incoming::Oversized(excess) => return Ok(Err(RequestError::TooLarge(excess))),
            Incoming::Message(message) => {
                if let Some(body) = without_envelope(message) {
                    return Ok(Ok(body));
                }
            }
        }
    }
}

/// What stands behind the empty part; a message without one is no reply (RFC 28).
fn without_envelope(message: Message) -> Option<Bytes> {
    let mut parts = message.into_iter();
    let is_reply = parts.next().is_some_and(|first| first.is_empty()) && parts.len() > 0;
    is_reply.then(|| match parts.len() {
        1 => parts.next().unwrap_or_default(),
        _ => parts.collect::<Vec<_>>().concat().into(),
    })
}

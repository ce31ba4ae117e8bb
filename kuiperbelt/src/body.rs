//! The body of a request. An answer that is given before the body has arrived must still reach a
//! client that is in the middle of sending: closing on unread bytes would make TCP reset it away.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::header::EXPECT;
use http::{HeaderValue, Request};
use http_body_util::BodyExt as _;
use hyper::body::{Body as HttpBody, Frame, Incoming, SizeHint};
use tokio::time::timeout;

/// How long a client may go on sending a body that nobody wants.
const PATIENCE: Duration = Duration::from_secs(2);

/// A request body as it arrives. Dropped early, the rest is read and discarded for up to 2 s, so
/// that the client sees the answer; not if it waits for `100 Continue`, which is then never sent.
#[derive(Debug)]
pub struct Body {
    incoming: Option<Incoming>,
    waits_for_continue: bool,
}

impl Body {
    pub(crate) fn of(request: Request<Incoming>) -> Request<Self> {
        let waits_for_continue = request.headers().get(EXPECT).is_some_and(is_continue);
        request.map(|incoming| Self { incoming: Some(incoming), waits_for_continue })
    }
}

impl HttpBody for Body {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        self.waits_for_continue = false;
        match &mut self.incoming {
            Some(incoming) => Pin::new(incoming).poll_frame(context),
            None => Poll::Ready(None),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.incoming.as_ref().is_none_or(HttpBody::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.incoming.as_ref().map_or_else(SizeHint::default, HttpBody::size_hint)
    }
}

impl Drop for Body {
    fn drop(&mut self) {
        let is_wanted = !self.waits_for_continue && !self.is_end_stream();
        if let Some(mut incoming) = self.incoming.take().filter(|_| is_wanted) {
            let discard = async move { while let Some(Ok(_)) = incoming.frame().await {} };
            tokio::spawn(timeout(PATIENCE, discard));
        }
    }
}

/// Whether an `Expect` is the one that there is (RFC 9110 section 10.1.1).
pub(crate) fn is_continue(expected: &HeaderValue) -> bool {
    expected.as_bytes().eq_ignore_ascii_case(b"100-continue")
}

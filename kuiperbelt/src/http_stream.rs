//! The socket as hyper sees it, with two things that hyper does otherwise.
//!
//! A client that shuts down its side right after its request, as `printf … | nc` does, is not taken
//! for one that has gone: the end of input is reported when the answer is written, or after a
//! while. And the time-out for the head of a request runs while a head is on its way, not while a
//! kept connection rests between two requests.

use std::future::Future as _;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Sleep, sleep};

use crate::stream::Stream;

/// How long a request whose client has ended its side may take to be answered. A client that has
/// gone is noticed so much later.
const GRACE: Duration = Duration::from_secs(1);

/// Where a connection is between a question and its answer.
#[derive(Debug, Clone, Default)]
pub(crate) struct Exchange(Arc<Progress>);

#[derive(Debug, Default)]
struct Progress {
    /// Something has been read since something was written.
    is_asked: AtomicBool,
    /// The head of a request is complete, and its answer is being made.
    is_answering: AtomicBool,
}

impl Exchange {
    pub(crate) fn set_answering(&self, is_answering: bool) {
        self.0.is_answering.store(is_answering, Ordering::Relaxed);
    }

    /// Whether a head has begun and is not complete.
    pub(crate) fn is_in_a_head(&self) -> bool {
        self.is_asked() && !self.is_answering()
    }

    fn is_answering(&self) -> bool {
        self.0.is_answering.load(Ordering::Relaxed)
    }

    fn is_asked(&self) -> bool {
        self.0.is_asked.load(Ordering::Relaxed)
    }

    fn set_asked(&self, is_asked: bool) {
        self.0.is_asked.store(is_asked, Ordering::Relaxed);
    }
}

/// A stream for hyper.
pub(crate) struct HttpStream {
    stream: Stream,
    exchange: Exchange,
    head_timeout: Option<Duration>,
    /// When the head that is awaited must be complete.
    head: Option<Pin<Box<Sleep>>>,
    /// Set when the input has ended.
    grace: Option<Pin<Box<Sleep>>>,
}

impl HttpStream {
    /// The first head is due from the start.
    pub(crate) fn new(stream: Stream, exchange: Exchange, head_timeout: Option<Duration>) -> Self {
        let head = head_timeout.map(|timeout| Box::pin(sleep(timeout)));
        Self { stream, exchange, head_timeout, head, grace: None }
    }

    pub(crate) fn into_inner(self) -> Stream {
        self.stream
    }

    fn poll_head_timeout(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let is_late = match &mut self.head {
            Some(head) => head.as_mut().poll(context).is_ready(),
            None => false,
        };
        if !is_late {
            return Poll::Pending;
        }
        let reason = "the head of the request took too long";
        Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, reason)))
    }

    /// An answer, or part of one, is on its way.
    fn answers(&mut self) {
        self.exchange.set_asked(false);
        self.head = None;
    }
}

impl AsyncRead for HttpStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if this.exchange.is_answering() {
            this.head = None;
        }
        if this.grace.is_none() {
            let before = buffer.filled().len();
            match Pin::new(&mut this.stream).poll_read(context, buffer) {
                Poll::Ready(Ok(())) => {}
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                Poll::Pending => return this.poll_head_timeout(context),
            }
            if buffer.filled().len() > before {
                this.exchange.set_asked(true);
                if this.head.is_none() && !this.exchange.is_answering() {
                    this.head = this.head_timeout.map(|timeout| Box::pin(sleep(timeout)));
                }
                return Poll::Ready(Ok(()));
            }
        }
        if this.exchange.is_asked() {
            let grace = this.grace.get_or_insert_with(|| Box::pin(sleep(GRACE)));
            if grace.as_mut().poll(context).is_pending() {
                return Poll::Pending;
            }
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for HttpStream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.answers();
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.answers();
        Pin::new(&mut self.stream).poll_write_vectored(context, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

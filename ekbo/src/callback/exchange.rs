//! One request and its answer on one socket. Both directions run side by side: an answer may come
//! before the request is written whole. How an answer is read is in `response.rs`, which socket
//! it is and what happens after a failure in `client.rs`.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::io::{self, IoSlice};
use std::mem;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use tokio::io::{AsyncRead as _, AsyncWrite as _, ReadBuf};

use super::request::Request;
use super::response::{Fault, Response};
use crate::outbound::{Socket, is_end_of_connection};

/// A body up to this size is copied behind the head, which costs less than a second slice.
const SMALL_BODY: usize = 16 * 1024;

/// The most that a thread keeps room for from one request to the next.
const KEPT_BYTES: usize = 64 * 1024;

const READ_BYTES: usize = 16 * 1024;

thread_local! {
    static READ: RefCell<Box<[u8]>> = RefCell::new(vec![0; READ_BYTES].into());
    /// Room for the next request of this thread.
    static WRITTEN: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    #[error("cannot connect: {0}")]
    Connect(io::Error),
    /// Not a byte of the request was sent, because the kept connection had ended.
    #[error("the connection was lost: {0}")]
    Unsent(io::Error),
    #[error("the connection was lost: {0}")]
    Lost(#[from] io::Error),
    #[error(transparent)]
    Fault(#[from] Fault),
}

impl Failure {
    /// Whether the connection ended, and nothing worse.
    pub(crate) fn is_end_of_connection(&self) -> bool {
        match self {
            Self::Unsent(_) | Self::Fault(Fault::Ended) => true,
            Self::Lost(error) => is_end_of_connection(error),
            Self::Connect(_) | Self::Fault(_) => false,
        }
    }
}

/// A request on its way out and its answer on its way in. Dropped early, it ends the connection.
pub(crate) struct Exchange {
    socket: Socket,
    /// The socket has served an earlier request.
    is_kept: bool,
    outgoing: Outgoing,
    response: Response,
    ends_connection: bool,
}

impl Exchange {
    /// Nothing is written yet.
    pub(crate) fn new(
        socket: Socket,
        is_kept: bool,
        request: &Request<'_>,
        response: Response,
    ) -> Self {
        let ends_connection = request.ends_connection;
        Self { socket, is_kept, outgoing: Outgoing::new(request), response, ends_connection }
    }

    /// Waits for the head of the answer.
    pub(crate) async fn head(&mut self) -> Result<(), Failure> {
        poll_fn(|context| self.poll(context, Response::has_head)).await
    }

    /// Waits for the whole answer.
    pub(crate) async fn whole(&mut self) -> Result<(), Failure> {
        poll_fn(|context| self.poll(context, Response::is_complete)).await
    }

    /// The answer, as far as it has come.
    pub(crate) fn response(&mut self) -> &mut Response {
        &mut self.response
    }

    /// Whether the request met the end of a connection that was kept from an earlier one, before a
    /// byte of its answer.
    pub(crate) fn has_gone_stale(&self) -> bool {
        self.is_kept && !self.response.is_begun()
    }

    /// The socket, if another request may follow on it.
    pub(crate) fn into_kept(self) -> Option<Socket> {
        let is_over = self.response.may_be_followed() && self.outgoing.is_written();
        (is_over && !self.ends_connection).then_some(self.socket)
    }

    fn poll(
        &mut self,
        context: &mut Context<'_>,
        is_done: impl Fn(&Response) -> bool,
    ) -> Poll<Result<(), Failure>> {
        self.outgoing.advance(&mut self.socket, context);
        if self.is_kept && self.outgoing.is_unsent_for_ever() {
            // What may be there to be read answers no request of ours.
            return Poll::Ready(Err(self.outgoing.failure()));
        }
        loop {
            if is_done(&self.response) {
                return Poll::Ready(Ok(()));
            }
            if let Some(fault) = self.response.take_fault() {
                let is_end = matches!(fault, Fault::Ended) && self.outgoing.failure.is_some();
                let failure = if is_end { self.outgoing.failure() } else { fault.into() };
                return Poll::Ready(Err(failure));
            }
            ready!(self.poll_read(context))?;
        }
    }

    fn poll_read(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        READ.with_borrow_mut(|place| {
            let mut place = ReadBuf::new(place);
            ready!(Pin::new(&mut self.socket).poll_read(context, &mut place))?;
            match place.filled() {
                [] => self.response.end(),
                bytes => self.response.feed(bytes),
            }
            Poll::Ready(Ok(()))
        })
    }
}

/// The bytes of a request, as far as they are not written.
struct Outgoing {
    /// The head, and a small body behind it.
    head: Vec<u8>,
    /// A large body.
    body: Bytes,
    written: usize,
    is_flushed: bool,
    /// Why no more of it is written. There may be an answer all the same.
    failure: Option<io::Error>,
}

impl Outgoing {
    fn new(request: &Request<'_>) -> Self {
        let mut head = WRITTEN.take();
        head.clear();
        request.write_head(&mut head);
        let mut body = Bytes::new();
        if request.body.len() <= SMALL_BODY {
            head.extend_from_slice(request.body);
        } else {
            body.clone_from(request.body);
        }
        Self { head, body, written: 0, is_flushed: false, failure: None }
    }

    /// Writes what the socket takes.
    fn advance(&mut self, socket: &mut Socket, context: &mut Context<'_>) {
        if !self.is_flushed
            && self.failure.is_none()
            && let Poll::Ready(Err(error)) = self.poll_write(Pin::new(socket), context)
        {
            self.failure = Some(error);
        }
    }

    fn poll_write(
        &mut self,
        mut socket: Pin<&mut Socket>,
        context: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        loop {
            let unwritten = self.head.get(self.written..).unwrap_or_default();
            let body = &self.body[self.written.saturating_sub(self.head.len())..];
            let size = match (unwritten, body) {
                ([], []) => break,
                (only, []) | ([], only) => ready!(socket.as_mut().poll_write(context, only))?,
                (head, body) => {
                    let slices = [IoSlice::new(head), IoSlice::new(body)];
                    ready!(socket.as_mut().poll_write_vectored(context, &slices))?
                }
            };
            if size == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.written += size;
        }
        ready!(socket.poll_flush(context))?;
        self.is_flushed = true;
        self.give_back();
        Poll::Ready(Ok(()))
    }

    fn is_written(&self) -> bool {
        self.is_flushed
    }

    fn is_unsent_for_ever(&self) -> bool {
        self.failure.is_some() && self.written == 0
    }

    /// Of a request that cannot be written whole.
    fn failure(&mut self) -> Failure {
        let error = self.failure.take().unwrap_or_else(|| io::ErrorKind::BrokenPipe.into());
        if self.written == 0 { Failure::Unsent(error) } else { Failure::Lost(error) }
    }

    /// Leaves the room to the next request of the thread.
    fn give_back(&mut self) {
        let head = mem::take(&mut self.head);
        if head.capacity() <= KEPT_BYTES {
            WRITTEN.set(head);
        }
    }
}

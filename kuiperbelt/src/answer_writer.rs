//! An answer that is written piece by piece by whoever makes it, or becomes a connection of its own.
//! What is queued is sent before more is made, so that neither a long answer nor a slow client costs
//! memory.

use std::cell::Cell;
use std::future::poll_fn;
use std::io;
use std::mem;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::{Buf as _, Bytes};
use http::header::CONNECTION;
use http::{HeaderValue, StatusCode};
#[cfg(feature = "test-util")]
use http::{Method, Version};
use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_util::sync::CancellationToken;

use crate::answer::Answer;
use crate::body::{Arriving, Progress};
use crate::http1::{AnswerBody, Coding, Reply, push_field};
use crate::stream::Stream;

/// The most that a thread keeps room for from one answer to the next, in bytes.
const KEPT_BYTES: usize = 128 * 1024;

thread_local! {
    /// Room for what this thread queues next.
    static QUEUED: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
}

/// The client's side of a request that is answered piece by piece: [`begin`](Self::begin),
/// [`write`](Self::write), [`end`](Self::end), each followed by
/// [`poll_flush`](Self::poll_flush) before more is queued.
///
/// Dropped before the end is flushed, it lets the client see that its answer is cut off: a last chunk
/// or a part of the announced body is missing, or, where only the end of the connection would tell,
/// the connection is reset. Dropped before the beginning, it has the client answered 500.
#[derive(Debug)]
pub struct AnswerWriter {
    shared: Arc<Mutex<Arriving>>,
    reply: Reply,
    /// Whether the server stops: this answer is the last then.
    stop: CancellationToken,
    state: State,
    /// To be sent, from `sent` on.
    queued: Vec<u8>,
    sent: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    NotBegun,
    Body(Coding),
    Ended,
}

impl AnswerWriter {
    pub(crate) const fn new(
        shared: Arc<Mutex<Arriving>>,
        reply: Reply,
        stop: CancellationToken,
    ) -> Self {
        Self { shared, reply, stop, state: State::NotBegun, queued: Vec::new(), sent: 0 }
    }

    /// Queues the head. The fields go as they are, in their order; those that frame the body or
    /// concern the connection (RFC 9110 section 7.6.1), but for `Upgrade`, are written here and must
    /// not be among them, and there is a date if they have none. A body of unknown length goes in
    /// chunks, to a client that speaks HTTP/1.0 until the end of the connection. A second head is a
    /// mistake and ignored.
    pub fn begin<'a>(
        &mut self,
        status: StatusCode,
        reason: &[u8],
        fields: impl IntoIterator<Item = (&'a [u8], &'a [u8])>,
        body: AnswerBody,
    ) {
        if self.state == State::NotBegun {
            self.reply.is_kept &= self.may_go_on();
            let out = queue(&mut self.queued);
            let coding = self.reply.push_streamed_head(status, reason, fields, body, out);
            self.state = State::Body(coding);
        }
    }

    /// Whether another request may follow. Where that begins is known only behind the body of this one.
    fn may_go_on(&self) -> bool {
        self.shared.lock().is_complete() && !self.stop.is_cancelled()
    }

    /// Whether the client has a part of an answer, or is to get it.
    pub fn has_begun(&self) -> bool {
        self.state != State::NotBegun
    }

    /// How many bytes are queued that the client's socket has not taken.
    pub fn unsent(&self) -> usize {
        self.queued.len() - self.sent
    }

    /// Forgets the beginning of an answer of which the client has seen nothing yet, so that it can have
    /// another. `false` if it has seen some.
    pub fn withdraw(&mut self) -> bool {
        if !matches!(self.shared.lock().progress, Progress::NotBegun) {
            return false;
        }
        self.state = State::NotBegun;
        self.sent = 0;
        give_back(&mut self.queued);
        true
    }

    /// Queues a piece of the body.
    ///
    /// # Errors
    ///
    /// It is more than was announced, or not the time for it. Nothing of it is queued.
    pub fn write(&mut self, piece: &[u8]) -> io::Result<()> {
        if piece.is_empty() {
            return Ok(());
        }
        let State::Body(coding) = &mut self.state else {
            return Err(misused("a piece of an answer before its head or after its end"));
        };
        let out = queue(&mut self.queued);
        match coding {
            Coding::Length(left) => {
                let rest = left.checked_sub(piece.len() as u64);
                *left = rest.ok_or_else(|| misused("the answer is longer than announced"))?;
                out.extend_from_slice(piece);
            }
            Coding::Chunked => {
                push_size(piece.len(), out);
                out.extend_from_slice(piece);
                out.extend_from_slice(b"\r\n");
            }
            Coding::UntilEnd => out.extend_from_slice(piece),
        }
        Ok(())
    }

    /// Queues the end, with trailer fields where the body goes in chunks.
    ///
    /// # Errors
    ///
    /// The body is shorter than announced, or it is not the time for an end.
    pub fn end<'a>(
        &mut self,
        trailers: impl IntoIterator<Item = (&'a [u8], &'a [u8])>,
    ) -> io::Result<()> {
        match self.state {
            State::Body(Coding::Length(1..)) => {
                return Err(misused("the answer is shorter than announced"));
            }
            State::Body(Coding::Length(0) | Coding::UntilEnd) => {}
            State::Body(Coding::Chunked) => {
                let out = queue(&mut self.queued);
                out.extend_from_slice(b"0\r\n");
                for (name, value) in trailers {
                    push_field(name, value, out);
                }
                out.extend_from_slice(b"\r\n");
            }
            State::NotBegun | State::Ended => {
                return Err(misused("the end of an answer that is not being written"));
            }
        }
        self.state = State::Ended;
        Ok(())
    }

    /// Sends what is queued.
    ///
    /// # Errors
    ///
    /// The client has gone.
    pub fn poll_flush(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut shared = self.shared.lock();
        let mut rest = &self.queued[self.sent..];
        if self.state != State::NotBegun && matches!(shared.progress, Progress::NotBegun) {
            let ends_with_connection = self.state == State::Body(Coding::UntilEnd);
            shared.progress = Progress::Begun { ends_with_connection };
        }
        let Some(wire) = shared.wire() else {
            return Poll::Ready(Err(io::ErrorKind::NotConnected.into()));
        };
        let polled = wire.poll_write(&mut rest, context);
        let before = mem::replace(&mut self.sent, self.queued.len() - rest.len());
        shared.sent += (self.sent - before) as u64;
        ready!(polled)?;
        if self.state == State::Ended {
            shared.progress = Progress::Complete { is_kept: self.reply.is_kept };
        }
        drop(shared);
        self.sent = 0;
        give_back(&mut self.queued);
        Poll::Ready(Ok(()))
    }

    /// The same, waited for.
    ///
    /// # Errors
    ///
    /// The client has gone.
    pub async fn flush(&mut self) -> io::Result<()> {
        poll_fn(|context| self.poll_flush(context)).await
    }

    /// Writes and sends an answer that is there whole.
    ///
    /// # Errors
    ///
    /// One is begun already, or the client has gone.
    pub async fn answer(&mut self, answer: &Answer) -> io::Result<()> {
        if self.has_begun() {
            return Err(misused("a second answer"));
        }
        let says_close = |value: &HeaderValue| value.as_bytes().eq_ignore_ascii_case(b"close");
        self.reply.is_kept &=
            self.may_go_on() && !answer.headers().get(CONNECTION).is_some_and(says_close);
        let out = queue(&mut self.queued);
        self.reply.push_head(answer, out);
        if self.reply.has_body(answer) {
            out.extend_from_slice(answer.body());
        }
        self.state = State::Ended;
        self.flush().await
    }

    /// Tells the client that the connection changes its protocol (RFC 9110 section 7.8), and hands it
    /// over. `fields` say which: `Upgrade`, and what belongs to it.
    ///
    /// # Errors
    ///
    /// An answer is begun already, the body of the request is not read to its end, or the client has
    /// gone.
    pub async fn switch<'a>(
        mut self,
        fields: impl IntoIterator<Item = (&'a [u8], &'a [u8])>,
    ) -> io::Result<Tunnel> {
        if self.has_begun() || !self.shared.lock().is_complete() {
            return Err(misused("a change of protocol in the middle of a request or an answer"));
        }
        let status = StatusCode::SWITCHING_PROTOCOLS;
        let reason = status.canonical_reason().unwrap_or_default().as_bytes();
        self.begin(status, reason, fields, AnswerBody::None(None));
        self.flush().await?;
        let mut shared = self.shared.lock();
        let Some((wire, _)) = shared.reclaim() else {
            return Err(io::ErrorKind::NotConnected.into());
        };
        shared.progress = Progress::Switched;
        let (stream, early) = wire.into_parts();
        Ok(Tunnel { stream, early })
    }
}

/// For tests of those who write answers.
#[cfg(feature = "test-util")]
impl AnswerWriter {
    /// The writer of an answer to such a request, whose client is not there: everything stays
    /// queued, and to flush it fails.
    pub fn without_client(method: &Method, version: Version) -> Self {
        Self::new(Arriving::gone(), Reply::to(method, version, true), CancellationToken::new())
    }

    /// What is queued.
    pub fn queued(&self) -> &[u8] {
        &self.queued[self.sent..]
    }
}

/// A connection that has changed its protocol: bytes, and no more is known of them. Dropped, it ends;
/// shut down, it ends in one direction.
#[derive(Debug)]
pub struct Tunnel {
    stream: Stream,
    /// What the client sent ahead of the change.
    early: Bytes,
}

impl Tunnel {
    /// Ends the connection so that the client does not take what it has for all there is: by a reset,
    /// where there is one, and without the last word of TLS.
    pub fn abort(self) {
        self.stream.abort();
    }
}

impl AsyncRead for Tunnel {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        place: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if !self.early.is_empty() {
            let size = self.early.len().min(place.remaining());
            place.put_slice(&self.early[..size]);
            self.early.advance(size);
            if self.early.is_empty() {
                // The end would keep the whole buffer.
                self.early = Bytes::new();
            }
            return Poll::Ready(Ok(()));
        }
        if place.remaining() == 0 {
            return Poll::Ready(Ok(()));
        }
        let size = ready!(self.stream.poll_read(context, &mut place.initialize_unfilled()))?;
        place.advance(size);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Tunnel {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        if bytes.is_empty() {
            return Poll::Ready(Ok(0));
        }
        loop {
            ready!(self.stream.poll_writable(context));
            match self.stream.try_write(bytes) {
                // Something older was written.
                Ok(0) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                done => return Poll::Ready(done),
            }
        }
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.stream.has_unsent() {
            ready!(self.stream.poll_writable(context));
            match self.stream.try_write(&[]) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                done => drop(done?),
            }
        }
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.as_mut().poll_flush(context))?;
        Poll::Ready(self.stream.shutdown_write())
    }
}

/// The queue, with room of this thread's if it had none.
fn queue(queued: &mut Vec<u8>) -> &mut Vec<u8> {
    if queued.capacity() == 0 {
        *queued = QUEUED.take();
    }
    queued
}

/// Leaves the room to whatever the thread queues next: who waits for the next piece holds none.
fn give_back(queued: &mut Vec<u8>) {
    let mut room = mem::take(queued);
    if room.capacity() > 0 && room.capacity() <= KEPT_BYTES {
        room.clear();
        QUEUED.set(room);
    }
}

/// The line in front of a chunk.
fn push_size(size: usize, out: &mut Vec<u8>) {
    let digits = (size.ilog2() / 4 + 1) as usize;
    for at in (0..digits).rev() {
        out.push(b"0123456789abcdef"[size >> (4 * at) & 15]);
    }
    out.extend_from_slice(b"\r\n");
}

fn misused(reason: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, reason)
}

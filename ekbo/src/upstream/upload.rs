//! A request on its way out: its head, and its body piece by piece as the client sends it and the
//! upstream takes it. No more of it is held than the client's last piece.

use std::cell::Cell;
use std::io::{self, IoSlice, Write as _};
use std::mem;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use kuiperbelt::{Body, BodyError};
use tokio::io::AsyncWrite;

use super::hop_by_hop::may_trail;
use super::request_head::push_field;

/// A piece up to this size is copied behind what goes before it, which costs less than a second
/// slice.
const SMALL_PIECE: usize = 16 * 1024;

/// The most that a thread keeps room for from one request to the next.
const KEPT_BYTES: usize = 64 * 1024;

thread_local! {
    /// Room for the next request of this thread.
    static ROOM: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
}

/// The body of a request, which the head has told of.
#[derive(Debug)]
pub(super) enum Source {
    /// It is there, and may be sent a second time.
    Whole(Bytes),
    Arriving(Body),
}

/// A request on its way to one socket.
#[derive(Debug)]
pub(super) struct Upload<'a> {
    source: &'a mut Source,
    is_chunked: bool,
    state: State,
    /// To be written: these, then `piece`, then `tail`.
    out: Vec<u8>,
    piece: Bytes,
    tail: &'static [u8],
    /// Of these, so many are.
    written: usize,
    is_flushed: bool,
    is_begun: bool,
    has_read: bool,
}

#[derive(Debug)]
enum State {
    /// The client waits with its body until it is asked for.
    Held,
    Flowing,
    /// All of it is to be written.
    Complete,
    /// The upstream takes no more of it.
    Failed(io::Error),
}

/// What an upload waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Waiting {
    /// The upstream is to take what there is.
    ForUpstream,
    /// The client is to send more.
    ForClient,
    /// The client sends nothing before it is asked.
    Held,
    /// The upstream has the whole request, or all that it will get.
    Over,
}

/// An empty vector with room of this thread's.
pub(super) fn room() -> Vec<u8> {
    let mut room = ROOM.take();
    room.clear();
    room
}

impl<'a> Upload<'a> {
    /// Nothing is written yet.
    pub(super) fn new(head: Vec<u8>, source: &'a mut Source) -> Self {
        let (is_chunked, state) = match source {
            Source::Whole(_) => (false, State::Flowing),
            Source::Arriving(body) if body.awaits_continue() => {
                (body.length().is_none(), State::Held)
            }
            Source::Arriving(body) => (body.length().is_none(), State::Flowing),
        };
        Self {
            source,
            is_chunked,
            state,
            out: head,
            piece: Bytes::new(),
            tail: b"",
            written: 0,
            is_flushed: false,
            is_begun: false,
            has_read: false,
        }
    }

    /// Has the client send its body, if it waits to be asked. Whether it does.
    pub(super) fn invite(&mut self) -> bool {
        let waits = matches!(self.state, State::Held);
        if waits {
            self.state = State::Flowing;
        }
        waits
    }

    /// Reads and writes as much as goes now. Whether anything went.
    ///
    /// # Errors
    ///
    /// Those of the client's body. Those of the upstream end the upload alone: there may be an answer.
    pub(super) fn advance(
        &mut self,
        socket: &mut (impl AsyncWrite + Unpin),
        context: &mut Context<'_>,
    ) -> Result<bool, BodyError> {
        let mut has_moved = false;
        loop {
            has_moved |= self.fill(context)?;
            if self.is_flushed || matches!(self.state, State::Failed(_)) {
                return Ok(has_moved);
            }
            let before = self.written;
            let written = self.poll_write(Pin::new(socket), context);
            has_moved |= written.is_ready() || self.written > before;
            match written {
                Poll::Ready(Ok(())) => {}
                Poll::Ready(Err(error)) => {
                    self.state = State::Failed(error);
                    self.forget();
                }
                Poll::Pending => return Ok(has_moved),
            }
        }
    }

    /// What has to happen for the upload to go on.
    pub(super) fn waiting(&self) -> Waiting {
        match self.state {
            State::Failed(_) => Waiting::Over,
            _ if !self.is_flushed => Waiting::ForUpstream,
            State::Held => Waiting::Held,
            State::Flowing => Waiting::ForClient,
            State::Complete => Waiting::Over,
        }
    }

    /// Whether the upstream has the whole request.
    pub(super) fn is_complete(&self) -> bool {
        matches!(self.state, State::Complete) && self.is_flushed
    }

    /// Whether the upstream has got nothing of the request, not a byte.
    pub(super) fn is_unsent(&self) -> bool {
        !self.is_begun
    }

    /// Whether the whole request is still here, to be sent anew.
    pub(super) fn may_be_repeated(&self) -> bool {
        !self.has_read
    }

    /// Why the upstream takes no more.
    pub(super) fn take_failure(&mut self) -> Option<io::Error> {
        match mem::replace(&mut self.state, State::Complete) {
            State::Failed(error) => Some(error),
            state => {
                self.state = state;
                None
            }
        }
    }

    /// Puts behind what is to be written what the client has sent, unless that is much.
    fn fill(&mut self, context: &mut Context<'_>) -> Result<bool, BodyError> {
        let mut has_read = false;
        while matches!(self.state, State::Flowing)
            && self.piece.is_empty()
            && self.out.len() < SMALL_PIECE
        {
            let next = match &mut *self.source {
                Source::Whole(body) => {
                    let body = body.clone();
                    self.state = State::Complete;
                    self.push(body);
                    return Ok(true);
                }
                Source::Arriving(body) => body.poll_next(context),
            };
            match next {
                Poll::Pending => break,
                Poll::Ready(Some(piece)) => {
                    self.has_read = true;
                    self.push(piece?);
                }
                Poll::Ready(None) => {
                    self.state = State::Complete;
                    self.push_end();
                }
            }
            has_read = true;
        }
        Ok(has_read)
    }

    fn push(&mut self, piece: Bytes) {
        if piece.is_empty() {
            return;
        }
        self.is_flushed = false;
        if self.out.capacity() == 0 {
            self.out = room();
        }
        if self.is_chunked {
            // Writing to a vector does not fail.
            let _ = write!(self.out, "{:x}\r\n", piece.len());
        }
        let tail: &[u8] = if self.is_chunked { b"\r\n" } else { b"" };
        if piece.len() <= SMALL_PIECE {
            self.out.extend_from_slice(&piece);
            self.out.extend_from_slice(tail);
        } else {
            self.piece = piece;
            self.tail = tail;
        }
    }

    fn push_end(&mut self) {
        let Source::Arriving(body) = &*self.source else { return };
        if !self.is_chunked {
            return;
        }
        self.is_flushed = false;
        if self.out.capacity() == 0 {
            self.out = room();
        }
        self.out.extend_from_slice(b"0\r\n");
        let trailers = body.trailers();
        for (at, name) in trailers.names().enumerate().filter(|(_, name)| may_trail(name)) {
            push_field(name, trailers.value(at), &mut self.out);
        }
        self.out.extend_from_slice(b"\r\n");
    }

    fn poll_write(
        &mut self,
        mut socket: Pin<&mut impl AsyncWrite>,
        context: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        loop {
            let parts = [&self.out[..], &self.piece[..], self.tail];
            let mut before = self.written;
            let parts = parts.map(|part| {
                let skipped = before.min(part.len());
                before -= skipped;
                &part[skipped..]
            });
            let size = match parts {
                [[], [], []] => break,
                [only, [], []] => ready!(socket.as_mut().poll_write(context, only))?,
                parts => {
                    let slices = parts.map(IoSlice::new);
                    ready!(socket.as_mut().poll_write_vectored(context, &slices))?
                }
            };
            if size == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.is_begun = true;
            self.written += size;
        }
        ready!(socket.poll_flush(context))?;
        self.is_flushed = true;
        self.forget();
        Poll::Ready(Ok(()))
    }

    /// Leaves the room to the next request of the thread: who waits holds none.
    fn forget(&mut self) {
        let out = mem::take(&mut self.out);
        if 0 < out.capacity() && out.capacity() <= KEPT_BYTES {
            ROOM.set(out);
        }
        self.piece = Bytes::new();
        self.tail = b"";
        self.written = 0;
    }
}

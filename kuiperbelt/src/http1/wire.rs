//! The socket of an HTTP connection, with what has been read of it and not been used. Between
//! requests it holds no buffer: reads and answers go through ones of the worker thread's.

use std::cell::RefCell;
use std::future::poll_fn;
use std::io;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use tokio::time::timeout;

use super::reply::Reply;
use crate::answer::Answer;
use crate::stream::{Stream, with_scratch};

/// A client that takes no byte of its answer for so long is given up.
const STALLED: Duration = Duration::from_secs(10);

/// A body up to this many bytes goes out in one piece with its head.
const SMALL_BODY: usize = 16 * 1024;

thread_local! {
    static WRITE: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// Both directions of an HTTP connection.
#[derive(Debug)]
pub(crate) struct Wire {
    stream: Stream,
    /// Read and not yet used.
    pub(crate) ahead: Bytes,
}

impl Wire {
    pub(crate) const fn new(stream: Stream) -> Self {
        Self { stream, ahead: Bytes::new() }
    }

    pub(crate) const fn stream(&self) -> &Stream {
        &self.stream
    }

    /// The socket, for another protocol, and what came ahead of it.
    pub(crate) fn into_parts(self) -> (Stream, Bytes) {
        (self.stream, self.ahead)
    }

    /// Reads once into `ahead`, which must be empty. `false`: the input has ended.
    pub(crate) fn poll_fill(&mut self, context: &mut Context<'_>) -> Poll<io::Result<bool>> {
        let filled = with_scratch(|scratch| {
            let size = ready!(self.stream.poll_read(context, &mut &mut scratch[..]))?;
            self.ahead = Bytes::copy_from_slice(&scratch[..size]);
            Poll::Ready(Ok(size > 0))
        });
        // The client may wait for what TLS has to say before it goes on.
        if filled.is_pending()
            && let Poll::Ready(Err(error)) = self.poll_write(&mut &[][..], context)
        {
            return Poll::Ready(Err(error));
        }
        filled
    }

    /// Reads and discards until the input has ended.
    pub(crate) async fn discard(&mut self) -> io::Result<()> {
        self.ahead = Bytes::new();
        poll_fn(|context| self.stream.poll_discard(context)).await
    }

    /// Writes an answer: at once, if the socket takes it.
    pub(crate) async fn send(&self, reply: Reply, answer: &Answer) -> io::Result<()> {
        let body = if reply.has_body(answer) { answer.body() } else { &Bytes::new() };
        let (small, large) =
            if body.len() <= SMALL_BODY { (&body[..], &[][..]) } else { (&[][..], &body[..]) };
        let rest = WRITE.with_borrow_mut(|out| {
            out.clear();
            reply.push_head(answer, out);
            out.extend_from_slice(small);
            let written = self.try_write(out)?;
            io::Result::Ok(out[written..].to_vec())
        })?;
        self.write(&rest).await?;
        self.write(large).await
    }

    /// Writes all of `bytes`, as long as the client takes some now and then.
    async fn write(&self, mut bytes: &[u8]) -> io::Result<()> {
        while self.is_unwritten(bytes) {
            let some = poll_fn(|context| {
                loop {
                    ready!(self.stream.poll_writable(context));
                    match self.stream.try_write(bytes) {
                        Err(error) if is_for_now(&error) => {}
                        done => return Poll::Ready(done),
                    }
                }
            });
            let taken = timeout(STALLED, some).await.map_err(|_| {
                io::Error::new(io::ErrorKind::TimedOut, "the client does not take its answer")
            })?;
            bytes = &bytes[taken?..];
        }
        Ok(())
    }

    /// Writes all of `bytes`, which become what is still to be written, and what is left of before.
    pub(crate) fn poll_write(
        &self,
        bytes: &mut &[u8],
        context: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        while self.is_unwritten(bytes) {
            ready!(self.stream.poll_writable(context));
            *bytes = &bytes[self.try_write(bytes)?..];
        }
        Poll::Ready(Ok(()))
    }

    /// Writes as much as the socket takes now, which may be nothing.
    fn try_write(&self, bytes: &[u8]) -> io::Result<usize> {
        match self.stream.try_write(bytes) {
            Err(error) if is_for_now(&error) => Ok(0),
            done => done,
        }
    }

    /// Whether something is left of `bytes` or of what was written before them.
    fn is_unwritten(&self, bytes: &[u8]) -> bool {
        !bytes.is_empty() || self.stream.has_unsent()
    }
}

/// Whether a write may do better later.
fn is_for_now(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted)
}

//! Bytes both ways between two sockets that speak a protocol of their own, until both have ended.
//! Nothing is held for a tunnel at rest: what is read goes through the thread's buffer, and only what
//! the other socket did not take is kept, while the one it came from is not read.

use std::future::{Future as _, poll_fn};
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use kuiperbelt::Tunnel;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep, sleep};

use super::account::Account;
use super::exchange::with_room;
use crate::outbound::Socket;

/// Carries bytes until both sockets have ended. `early` has come from the upstream already. Once one
/// has ended its side, the other may not stand still for longer than `patience`.
///
/// # Errors
///
/// A connection was lost. So is the other then, unless all that it was to get has gone there, the end
/// included.
pub(super) async fn carry(
    mut client: Tunnel,
    mut upstream: Socket,
    early: Vec<u8>,
    patience: Duration,
    account: &mut Account,
) -> io::Result<()> {
    let (mut up, mut down) = (Lane::default(), Lane::default());
    account.sent(early.len());
    down.rest = early;
    let mut last: Option<(Pin<Box<Sleep>>, u64)> = None;
    let carried = poll_fn(|context| {
        let up_ends = up.poll(&mut client, &mut upstream, context)?;
        let before = down.carried;
        let down_ends = down.poll(&mut upstream, &mut client, context)?;
        account.sent((down.carried - before) as usize);
        match (up_ends, down_ends) {
            (Poll::Ready(()), Poll::Ready(())) => return Poll::Ready(Ok(())),
            (Poll::Pending, Poll::Pending) => return Poll::Pending,
            _ => {}
        }
        let moved = up.moves + down.moves;
        let (sleep, then) = last.get_or_insert_with(|| (Box::pin(sleep(patience)), moved));
        if *then != moved {
            *then = moved;
            sleep.as_mut().reset(Instant::now() + patience);
        }
        sleep.as_mut().poll(context).map(|()| Ok(()))
    });
    let carried = carried.await;
    if carried.is_err() {
        if down.state != State::Ended {
            client.abort();
        }
        if up.state != State::Ended {
            upstream.abort();
        }
    }
    carried
}

/// One direction.
#[derive(Debug, Default)]
struct Lane {
    state: State,
    /// What was read and the other socket has not taken, from `taken` on.
    rest: Vec<u8>,
    taken: usize,
    is_unflushed: bool,
    /// Bytes that were read.
    carried: u64,
    /// How often something went.
    moves: u64,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum State {
    #[default]
    Open,
    /// There is no more to read; the other socket is to be told.
    Ending,
    Ended,
}

impl Lane {
    /// Carries what goes now. Ready when this direction has ended.
    fn poll(
        &mut self,
        from: &mut (impl AsyncRead + Unpin),
        to: &mut (impl AsyncWrite + Unpin),
        context: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        loop {
            ready!(self.poll_rest(to, context))?;
            match self.state {
                State::Open => ready!(self.poll_some(from, to, context))?,
                State::Ending => {
                    ready!(Pin::new(&mut *to).poll_shutdown(context))?;
                    self.state = State::Ended;
                }
                State::Ended => return Poll::Ready(Ok(())),
            }
            self.moves += 1;
        }
    }

    /// Reads once, and writes of it what the other socket takes at once.
    fn poll_some(
        &mut self,
        from: &mut (impl AsyncRead + Unpin),
        to: &mut (impl AsyncWrite + Unpin),
        context: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        with_room(|place| {
            let mut place = ReadBuf::new(place);
            ready!(Pin::new(from).poll_read(context, &mut place))?;
            let bytes = place.filled();
            if bytes.is_empty() {
                self.state = State::Ending;
                return Poll::Ready(Ok(()));
            }
            self.carried += bytes.len() as u64;
            self.is_unflushed = true;
            match Pin::new(to).poll_write(context, bytes)? {
                Poll::Ready(size) if size == bytes.len() => {}
                Poll::Ready(size) => self.rest.extend_from_slice(&bytes[size..]),
                Poll::Pending => self.rest.extend_from_slice(bytes),
            }
            Poll::Ready(Ok(()))
        })
    }

    /// Writes what was left over.
    fn poll_rest(
        &mut self,
        to: &mut (impl AsyncWrite + Unpin),
        context: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        while self.taken < self.rest.len() {
            let size = ready!(Pin::new(&mut *to).poll_write(context, &self.rest[self.taken..]))?;
            if size == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.taken += size;
            self.moves += 1;
            self.is_unflushed = true;
        }
        (self.rest, self.taken) = (Vec::new(), 0);
        if self.is_unflushed {
            ready!(Pin::new(to).poll_flush(context))?;
            self.is_unflushed = false;
        }
        Poll::Ready(Ok(()))
    }
}

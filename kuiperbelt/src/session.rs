//! The handle on a connected client: its key, its bounded outbox, send and close. Everybody but
//! the connection's own task sees a client only through this.
//!
//! An outbox never writes: it decides, under a short lock, what is accepted, what waits and what
//! is refused. `connection.rs` takes messages out and says when they are written.

use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;
use std::task::{Context, Waker};

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::sync::oneshot;
use tokio::time::{Instant, timeout_at};

use crate::message::{End, Message};
use crate::outgoing::Written;

/// How much may wait for one session behind the message that is being written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Capacity {
    /// So many messages and so many bytes, whichever is reached first. A message that finds none
    /// waiting is always taken, however large.
    Bounded {
        /// Messages, at least 1.
        messages: usize,
        /// Bytes, frame headers included.
        bytes: usize,
    },
    /// So many messages of any size; 0 accepts a message only when nothing is being written.
    Messages(usize),
}

/// Until a session is established nothing is written, so messages up to this many bytes wait
/// whatever the [`Capacity`] says.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    pub(crate) capacity: Capacity,
    pub(crate) before_established: usize,
}

/// Why a message was not accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SendError {
    /// The session has ended, or its last word is spoken. Forget it.
    #[error("session is closed")]
    Closed,
    /// The outbox stayed full until the deadline. The message was not and will not be sent.
    #[error("outbox is full")]
    TimedOut,
}

/// An end that is decided, though what is queued is still to be written.
#[derive(Debug, Clone)]
pub(crate) struct Ending {
    pub(crate) end: End,
    /// When writing is given up.
    pub(crate) flush_by: Option<Instant>,
}

/// A handle on one connected client. Clones are cheap and mean the same session.
#[derive(Clone)]
pub struct Session(Arc<Inner>);

struct Inner {
    key: Box<[u8]>,
    limits: Limits,
    outbox: Mutex<Outbox>,
}

/// What is on its way to one client.
#[derive(Default)]
struct Outbox {
    stage: Stage,
    /// Accepted, in order, and not yet taken by the connection.
    queue: VecDeque<Bytes>,
    /// Messages and bytes accepted and not yet written: the queue, and what was taken from it.
    outstanding: usize,
    outstanding_bytes: usize,
    /// The bytes of the message being written, which does not count against the capacity.
    head_bytes: usize,
    /// Senders that found no room, in order; the receiver of a waiter is its sender's.
    waiters: VecDeque<Waiter>,
    /// How many of them have given up and are only passed over.
    abandoned: usize,
    /// The connection, when it sleeps until there is something to do.
    waker: Option<Waker>,
    /// Whether it sleeps until there is a message, or only until there is an end.
    wakes_for_messages: bool,
    ending: Option<Ending>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Stage {
    #[default]
    Establishing,
    Open,
    /// Nothing more is accepted; what is queued may still be written.
    Ending,
    Ended,
}

struct Waiter {
    offer: Offer,
    accepted: oneshot::Sender<()>,
}

/// What somebody wants to put into an outbox: a message, an end, or both.
struct Offer {
    frame: Option<Bytes>,
    end: Option<End>,
}

impl Session {
    /// A session that is not yet established, with its first message already in the outbox.
    pub(crate) fn new(key: &[u8], first: Option<&Message>, limits: Limits) -> Self {
        let mut outbox = Outbox::default();
        if let Some(first) = first {
            outbox.push(first.frame().clone());
            outbox.head_bytes = first.frame().len();
        }
        Self(Arc::new(Inner { key: key.into(), limits, outbox: Mutex::new(outbox) }))
    }

    /// The key that the handler chose for this client.
    pub fn key(&self) -> &[u8] {
        &self.0.key
    }

    /// Hands over a message, waiting for room until `deadline`, or as long as it takes. Messages
    /// are delivered in the order in which they are accepted. Dropping the future while it waits
    /// withdraws the message.
    ///
    /// # Errors
    ///
    /// [`SendError`]: the message is not and will not be sent.
    pub async fn send(
        &self,
        message: &Message,
        deadline: Option<Instant>,
    ) -> Result<(), SendError> {
        self.offer(Offer { frame: Some(message.frame().clone()), end: None }, deadline).await
    }

    /// Ends the session after everything accepted so far and, if given, a last word. Waits for
    /// room like [`send`](Self::send); from its acceptance on nothing else is accepted and the
    /// end is decided, whatever happens on the socket.
    pub async fn close(
        &self,
        last_word: Option<&Message>,
        end: End,
        deadline: Option<Instant>,
    ) -> Result<(), SendError> {
        let frame = last_word.map(|message| message.frame().clone());
        self.offer(Offer { frame, end: Some(end) }, deadline).await
    }

    /// Ends the session after what is queued, without waiting; nothing happens if its end is
    /// already decided.
    pub fn end(&self, end: End) {
        self.end_by(end, None);
    }

    /// The same, with a time after which what is queued is dropped.
    pub(crate) fn end_by(&self, end: End, flush_by: Option<Instant>) {
        let mut outbox = self.0.outbox.lock();
        if matches!(outbox.stage, Stage::Ending | Stage::Ended) {
            return;
        }
        outbox.decide(Ending { end, flush_by });
    }

    async fn offer(&self, offer: Offer, deadline: Option<Instant>) -> Result<(), SendError> {
        let accepted = {
            let mut outbox = self.0.outbox.lock();
            if matches!(outbox.stage, Stage::Ending | Stage::Ended) {
                return Err(SendError::Closed);
            }
            if outbox.waiters.is_empty() && outbox.has_room(&self.0.limits, &offer) {
                outbox.accept(offer);
                return Ok(());
            }
            let (accept, accepted) = oneshot::channel();
            outbox.waiters.push_back(Waiter { offer, accepted: accept });
            accepted
        };
        let mut waiting = Waiting { session: self, accepted: Some(accepted) };
        let Some(accepted) = &mut waiting.accepted else { return Err(SendError::Closed) };
        let answer = match deadline {
            Some(deadline) => timeout_at(deadline, accepted).await,
            None => Ok(accepted.await),
        };
        let Ok(answer) = answer else { return waiting.leave() };
        waiting.accepted = None;
        answer.map_err(|_| SendError::Closed)
    }

    /// Says that the handler has established the session: from now on its messages are written.
    pub(crate) fn establish(&self) {
        let mut outbox = self.0.outbox.lock();
        if outbox.stage == Stage::Establishing {
            outbox.stage = Stage::Open;
            outbox.head_bytes = outbox.queue.front().map_or(0, Bytes::len);
        }
        outbox.grant(&self.0.limits);
    }

    /// Hands what is queued to `frame`, and returns the end if it is decided: then nothing will
    /// follow. Otherwise the connection is woken when there is more, or, with `only_end`, when an
    /// end is decided.
    pub(crate) fn take(
        &self,
        context: &Context<'_>,
        only_end: bool,
        frame: impl FnMut(Bytes),
    ) -> Option<Ending> {
        let mut outbox = self.0.outbox.lock();
        outbox.queue.drain(..).for_each(frame);
        if outbox.queue.capacity() > 16 {
            outbox.queue = VecDeque::new();
        }
        if outbox.ending.is_some() {
            return outbox.ending.clone();
        }
        outbox.wakes_for_messages = !only_end;
        match &mut outbox.waker {
            Some(waker) => waker.clone_from(context.waker()),
            None => outbox.waker = Some(context.waker().clone()),
        }
        None
    }

    /// Hands over what is queued, for the last time.
    pub(crate) fn drain(&self, frame: impl FnMut(Bytes)) {
        self.0.outbox.lock().queue.drain(..).for_each(frame);
    }

    /// Says what has been written of the messages taken.
    pub(crate) fn written(&self, written: Written) {
        let Written { messages, bytes, next } = written;
        let mut outbox = self.0.outbox.lock();
        outbox.outstanding = outbox.outstanding.saturating_sub(messages);
        outbox.outstanding_bytes = outbox.outstanding_bytes.saturating_sub(bytes);
        outbox.head_bytes =
            next.or_else(|| outbox.queue.front().map(Bytes::len)).unwrap_or_default();
        if !outbox.waiters.is_empty() {
            outbox.grant(&self.0.limits);
        }
    }

    /// Whether an end is decided that the handler is not to hear of, nor of anything since.
    pub(crate) fn is_ending_quietly(&self) -> bool {
        self.0.outbox.lock().ending.as_ref().is_some_and(|ending| ending.end.quiet)
    }

    /// The end, once it is decided.
    #[cfg(test)]
    pub(crate) fn decided(&self) -> Option<End> {
        self.0.outbox.lock().ending.clone().map(|ending| ending.end)
    }

    /// Nothing is accepted or sent any more, and what waits for room is refused. The end is not
    /// decided yet: a close frame may still be on its way here.
    pub(crate) fn refuse(&self) {
        let mut outbox = self.0.outbox.lock();
        if outbox.stage != Stage::Ended {
            outbox.stage = Stage::Ending;
            outbox.queue = VecDeque::new();
            outbox.waiters = VecDeque::new();
        }
    }

    /// The session is over: what is queued is dropped. Returns the end that was decided first.
    pub(crate) fn conclude(&self, end: End) -> End {
        let mut outbox = self.0.outbox.lock();
        let ending = outbox.ending.get_or_insert(Ending { end, flush_by: None });
        let end = ending.end.clone();
        outbox.stage = Stage::Ended;
        outbox.queue = VecDeque::new();
        outbox.waiters = VecDeque::new();
        outbox.outstanding = 0;
        outbox.outstanding_bytes = 0;
        end
    }

    /// A number that no other session has while this one lives.
    pub(crate) fn identity(&self) -> usize {
        Arc::as_ptr(&self.0).addr()
    }
}

/// Two handles are equal when they mean the same connection, not just the same key.
impl PartialEq for Session {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl Eq for Session {}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Session").field(&String::from_utf8_lossy(self.key())).finish()
    }
}

impl Outbox {
    fn has_room(&self, limits: &Limits, offer: &Offer) -> bool {
        let size = offer.frame.as_ref().map_or(0, Bytes::len);
        if self.stage == Stage::Establishing {
            let waiting = self.outstanding_bytes.saturating_sub(self.head_bytes);
            return waiting == 0 || waiting + size <= limits.before_established;
        }
        let waiting = self.outstanding.saturating_sub(1);
        match limits.capacity {
            _ if self.outstanding == 0 => true,
            Capacity::Messages(count) => waiting < count,
            Capacity::Bounded { messages, bytes } => {
                let waiting_bytes = self.outstanding_bytes.saturating_sub(self.head_bytes);
                waiting == 0 || (waiting < messages && waiting_bytes + size <= bytes)
            }
        }
    }

    fn accept(&mut self, offer: Offer) {
        if let Some(frame) = offer.frame {
            self.push(frame);
        }
        if let Some(end) = offer.end {
            self.decide(Ending { end, flush_by: None });
        }
    }

    fn push(&mut self, frame: Bytes) {
        if self.outstanding == 0 && self.stage != Stage::Establishing {
            self.head_bytes = frame.len();
        }
        self.outstanding += 1;
        self.outstanding_bytes += frame.len();
        self.queue.push_back(frame);
        if self.wakes_for_messages {
            self.wake();
        }
    }

    fn decide(&mut self, ending: Ending) {
        self.ending = Some(ending);
        self.stage = Stage::Ending;
        self.waiters = VecDeque::new();
        self.wake();
    }

    /// Lets waiters in, first come first served, as far as there is room.
    fn grant(&mut self, limits: &Limits) {
        while matches!(self.stage, Stage::Establishing | Stage::Open)
            && let Some(waiter) = self.waiters.pop_front()
        {
            if waiter.accepted.is_closed() {
                self.abandoned = self.abandoned.saturating_sub(1);
                continue;
            }
            if !self.has_room(limits, &waiter.offer) {
                self.waiters.push_front(waiter);
                break;
            }
            // A sender that gives up between here and the send finds its message accepted.
            let _ = waiter.accepted.send(());
            self.accept(waiter.offer);
        }
    }

    fn wake(&mut self) {
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }
}

/// A sender in the line of waiters. Dropping it leaves the line.
struct Waiting<'a> {
    session: &'a Session,
    /// Gone when the line is left.
    accepted: Option<oneshot::Receiver<()>>,
}

impl Waiting<'_> {
    /// Gives up: under the lock, so that the answer is exact.
    fn leave(&mut self) -> Result<(), SendError> {
        let mut outbox = self.session.0.outbox.lock();
        let Some(mut accepted) = self.accepted.take() else { return Ok(()) };
        accepted.close();
        if accepted.try_recv().is_ok() {
            return Ok(());
        }
        outbox.abandoned += 1;
        // Now and then, so that a crowd that gives up together costs little each.
        if outbox.abandoned > outbox.waiters.len() / 2 {
            outbox.waiters.retain(|waiter| !waiter.accepted.is_closed());
            outbox.abandoned = 0;
        }
        // What it waited with may have been in the way of something smaller.
        outbox.grant(&self.session.0.limits);
        Err(SendError::TimedOut)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        // Accepted in the last moment or not: nobody is there to be told.
        let _ = self.leave();
    }
}

#[cfg(test)]
mod tests;

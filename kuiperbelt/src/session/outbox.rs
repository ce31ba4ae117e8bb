//! What is on its way to one client: which messages are accepted, which wait for room, and when
//! the socket gets them. All of it happens under the session's lock, but for the write itself: who
//! queues the next message must not wait for the system, least of all one session after the other
//! behind a lane that goes through them in the same order.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

use bytes::Bytes;
use kuiperbelt_websocket::CloseCode;
use parking_lot::MutexGuard;
use tokio::sync::oneshot;
use tokio::task::coop::poll_proceed;
use tokio::time::Instant;

use super::{Ending, SlowConsumer, Terms, Traffic};
use crate::message::End;
use crate::outgoing::{Batch, Load, Outgoing};
use crate::stream::Stream;

/// How long a slow consumer has to take what was half written to it.
const LAST_CHANCE: Duration = Duration::from_secs(5);

const SLOW_CONSUMER: End = End::new(CloseCode::TRY_AGAIN_LATER, "slow consumer");

/// Writes to one session before others have their turn.
const WRITES_IN_A_TURN: usize = 16;

pub(super) struct Outbox {
    pub(super) stage: Stage,
    /// Whether the session stands in its lane.
    pub(super) is_due: bool,
    /// Nothing can be written any more.
    has_failed: bool,
    /// Somebody writes, who will go on with what is queued meanwhile.
    is_writing: bool,
    /// The connection is to be told when that is over.
    is_awaited: bool,
    /// Published messages that did not fit.
    dropped: u32,
    /// Accepted, in order, and not yet written.
    pub(super) outgoing: Outgoing,
    /// Whether the handler gave a first message, which does not count before the session is
    /// established.
    has_first: bool,
    /// Senders that found no room; most sessions never have one.
    line: Option<Box<Line>>,
    /// Where to write, from the 101 until nothing can be written any more.
    stream: Option<Arc<Stream>>,
    /// Since when the socket has taken no byte of what is to be written.
    pub(super) blocked_since: Option<Instant>,
    /// When something other than a ping was written last.
    pub(super) last_written: Option<Instant>,
    /// The connection, which is told of ends, and of a socket that is full or has failed.
    waker: Option<Waker>,
    pub(super) ending: Option<Box<Ending>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum Stage {
    #[default]
    Establishing,
    Open,
    /// Nothing more is accepted; what is queued may still be written.
    Ending,
    Ended,
}

/// Senders that wait for room, in order; the receiver of a waiter is its sender's.
#[derive(Default)]
struct Line {
    waiters: VecDeque<Waiter>,
    /// How many of them have given up and are only passed over.
    abandoned: usize,
    passed: Passed,
}

/// What was published since the first in line is the first. It is behind all that this one waits
/// for.
#[derive(Clone, Copy, Default)]
struct Passed {
    messages: usize,
    bytes: usize,
}

struct Waiter {
    offer: Offer,
    accepted: oneshot::Sender<()>,
}

/// What somebody wants to put into an outbox: a message, an end, or both.
pub(super) struct Offer {
    pub(super) frame: Option<Bytes>,
    pub(super) end: Option<End>,
}

/// Why an offer is not accepted at once.
pub(super) enum Declined {
    Closed,
    /// There is no room now.
    Full(Offer),
}

impl Outbox {
    pub(super) fn new(first: Option<Bytes>) -> Self {
        let mut outgoing = Outgoing::default();
        let has_first = first.is_some();
        if let Some(first) = first {
            outgoing.message(first);
        }
        Self {
            stage: Stage::default(),
            is_due: false,
            has_failed: false,
            is_writing: false,
            is_awaited: false,
            dropped: 0,
            outgoing,
            has_first,
            line: None,
            stream: None,
            blocked_since: None,
            last_written: None,
            waker: None,
            ending: None,
        }
    }

    // --- accepting ---

    pub(super) fn offer(&mut self, terms: &Terms, offer: Offer) -> Result<(), Declined> {
        if matches!(self.stage, Stage::Ending | Stage::Ended) {
            return Err(Declined::Closed);
        }
        if self.line.is_some() || !self.admits(terms, &offer, Passed::default()) {
            return Err(Declined::Full(offer));
        }
        self.accept(offer);
        Ok(())
    }

    /// Takes a message that waits for nobody. `false` if the client does not get it.
    pub(super) fn publish(&mut self, terms: &Terms, frame: Bytes) -> bool {
        if matches!(self.stage, Stage::Ending | Stage::Ended) {
            return false;
        }
        let size = frame.len();
        let is_taken = !self.is_kept_for_others(terms)
            && self.has_place(terms, self.outgoing.load(), size)
            || self.make_room(terms, size);
        if is_taken {
            self.outgoing.published(frame);
            if let Some(line) = &mut self.line {
                line.passed.messages += 1;
                line.passed.bytes += size;
            }
        }
        is_taken
    }

    /// Whether the room that there is goes to those in line, as what is published would have to
    /// stay there.
    fn is_kept_for_others(&self, terms: &Terms) -> bool {
        self.line.is_some()
            && terms.slow_consumer == SlowConsumer::DropNewest
            && self.send_queue(terms).is_none()
    }

    /// Whether a message that waits for nobody is taken beside this load. Before the session is
    /// established messages are counted as well: nothing holds back who publishes.
    fn has_place(&self, terms: &Terms, load: Load, size: usize) -> bool {
        self.fits(terms, load, size)
            && (self.stage != Stage::Establishing || load.messages <= terms.outbox_messages)
    }

    /// Does what happens at a full outbox. Whether the message is taken, which has so many bytes.
    #[cold]
    fn make_room(&mut self, terms: &Terms, size: usize) -> bool {
        let metrics = &terms.metrics;
        match terms.slow_consumer {
            SlowConsumer::Disconnect => {
                metrics.slow_disconnected.increment();
                let mut ending = Ending { end: SLOW_CONSUMER, flush_by: None };
                if self.stage == Stage::Establishing {
                    // The client has no part in it: it gets what came before.
                    ending.end.reason = "not established in time".into();
                } else {
                    self.outgoing.drop_messages();
                    ending.flush_by = Some(Instant::now() + LAST_CHANCE);
                }
                self.decide(ending);
                return false;
            }
            SlowConsumer::DropNewest => {}
            SlowConsumer::DropOldest => {
                // Nothing is dropped in vain.
                if self.has_place(terms, self.outgoing.undroppable(), size) {
                    while !self.has_place(terms, self.outgoing.load(), size)
                        && self.drop_oldest(terms)
                    {}
                    return true;
                }
            }
        }
        metrics.slow_dropped_newest.increment();
        self.dropped = self.dropped.saturating_add(1);
        false
    }

    fn drop_oldest(&mut self, terms: &Terms) -> bool {
        let is_dropped = self.outgoing.drop_oldest();
        if is_dropped {
            terms.metrics.slow_dropped_oldest.increment();
            self.dropped = self.dropped.saturating_add(1);
        }
        is_dropped
    }

    /// Lets an offer wait for room.
    pub(super) fn wait(&mut self, offer: Offer) -> oneshot::Receiver<()> {
        let (accepted, receiver) = oneshot::channel();
        let line = self.line.get_or_insert_default();
        line.waiters.push_back(Waiter { offer, accepted });
        receiver
    }

    /// Takes note that somebody who waited has left.
    pub(super) fn abandon(&mut self, terms: &Terms) {
        if let Some(line) = &mut self.line {
            line.abandoned += 1;
        }
        // What it waited with may have been in the way of something smaller.
        self.grant(terms);
        // Now and then, so that a crowd that gives up together costs little each.
        if let Some(line) = &mut self.line
            && line.abandoned > line.waiters.len() / 2
        {
            line.waiters.retain(|waiter| !waiter.accepted.is_closed());
            line.abandoned = 0;
        }
    }

    pub(super) fn decide(&mut self, ending: Ending) {
        self.ending = Some(Box::new(ending));
        self.stage = Stage::Ending;
        self.line = None;
        self.wake();
    }

    /// Lets waiters in, first come first served, as far as there is room.
    pub(super) fn grant(&mut self, terms: &Terms) {
        while matches!(self.stage, Stage::Establishing | Stage::Open)
            && let Some(mut line) = self.line.take()
            && let Some(waiter) = line.waiters.pop_front()
        {
            if waiter.accepted.is_closed() {
                line.abandoned = line.abandoned.saturating_sub(1);
                line.passed = Passed::default();
                self.line = Some(line);
                continue;
            }
            if !self.admits(terms, &waiter.offer, line.passed) {
                line.waiters.push_front(waiter);
                self.line = Some(line);
                break;
            }
            line.passed = Passed::default();
            self.line = Some(line);
            // A sender that gives up between here and the send finds its message accepted.
            let _ = waiter.accepted.send(());
            self.accept(waiter.offer);
        }
    }

    /// Whether there is room for what is sent. Nothing that is published keeps it waiting for ever:
    /// it is dropped where that is the rule, and else not counted if it has come in passing.
    fn admits(&mut self, terms: &Terms, offer: &Offer, passed: Passed) -> bool {
        if let Some(queue) = self.send_queue(terms) {
            return self.outgoing.sent_messages() <= queue;
        }
        let size = offer.frame.as_ref().map_or(0, Bytes::len);
        let load = self.outgoing.load();
        if self.fits(terms, load, size) {
            return true;
        }
        if terms.slow_consumer != SlowConsumer::DropOldest {
            return self.fits(terms, passed.taken_from(load), size);
        }
        let has_room = self.fits(terms, self.outgoing.undroppable(), size);
        // An end alone takes no room.
        if has_room && offer.frame.is_some() {
            while !self.fits(terms, self.outgoing.load(), size) && self.drop_oldest(terms) {}
        }
        has_room
    }

    /// How many messages that are sent may wait, where it is not for the bounds of the outbox.
    fn send_queue(&self, terms: &Terms) -> Option<usize> {
        terms.send_queue.filter(|_| self.stage != Stage::Establishing)
    }

    /// Whether so many more bytes are within the bounds of the outbox, beside this load.
    fn fits(&self, terms: &Terms, load: Load, size: usize) -> bool {
        if self.stage == Stage::Establishing {
            let waiting = if self.has_first { load.waiting_bytes } else { load.bytes };
            return waiting == 0 || waiting + size <= terms.outbox_bytes;
        }
        let waiting = load.messages.saturating_sub(1);
        waiting == 0
            || (waiting < terms.outbox_messages && load.waiting_bytes + size <= terms.outbox_bytes)
    }

    fn accept(&mut self, offer: Offer) {
        if let Some(frame) = offer.frame {
            self.outgoing.message(frame);
        }
        if let Some(end) = offer.end {
            self.decide(Ending { end, flush_by: None });
        }
    }

    // --- writing ---

    /// Says where to write.
    pub(super) fn open(&mut self, stream: Arc<Stream>) {
        self.stream = Some(stream);
    }

    /// Nothing is written any more, and what is queued is dropped.
    pub(super) fn shut(&mut self) {
        self.stream = None;
        self.outgoing.forget();
        self.blocked_since = None;
    }

    /// Whether nothing is left to write, here and in the stream.
    #[inline]
    fn is_written(&self) -> bool {
        self.outgoing.is_empty() && !self.stream.as_ref().is_some_and(|stream| stream.has_unsent())
    }

    /// Whether there is something to write that nobody else is about to.
    pub(super) fn wants_its_turn(&self) -> bool {
        !self.is_due
            && !self.is_written()
            && !self.has_failed
            && !self.is_writing
            && self.blocked_since.is_none()
            && self.stream.is_some()
            && matches!(self.stage, Stage::Open | Stage::Ending)
    }

    /// Writes what is queued, in its turn, as far as the socket takes it. The connection is woken
    /// when only it can go on.
    pub(super) fn flush(outbox: &mut MutexGuard<'_, Self>, terms: &Terms, now: Instant) {
        for _ in 0..WRITES_IN_A_TURN {
            if outbox.is_written()
                || outbox.has_failed
                || outbox.is_writing
                || outbox.blocked_since.is_some()
            {
                break;
            }
            if let Err(error) = Self::write(outbox, terms, now) {
                outbox.has_failed = error.kind() != io::ErrorKind::WouldBlock;
                outbox.is_awaited = true;
                break;
            }
        }
        let is_over = outbox.ending.is_some() && outbox.is_written();
        if !outbox.is_writing && (is_over || std::mem::take(&mut outbox.is_awaited)) {
            outbox.wake();
        }
    }

    /// The same for the connection: ready when nothing is left to write.
    pub(super) fn poll_flush(
        outbox: &mut MutexGuard<'_, Self>,
        terms: &Terms,
        context: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        for _ in 0..WRITES_IN_A_TURN {
            if outbox.is_writing {
                outbox.is_awaited = true;
                return Poll::Pending;
            }
            if outbox.is_written() {
                return Poll::Ready(Ok(()));
            }
            if outbox.has_failed {
                return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
            }
            if outbox.blocked_since.is_some()
                && let Some(stream) = &outbox.stream
            {
                ready!(stream.poll_writable(context));
            }
            let turn = ready!(poll_proceed(context));
            match Self::write(outbox, terms, Instant::now()) {
                Err(error) if error.kind() != io::ErrorKind::WouldBlock => {
                    return Poll::Ready(Err(error));
                }
                _ => turn.made_progress(),
            }
        }
        // There may be more, after everybody else's turn.
        context.waker().wake_by_ref();
        Poll::Pending
    }

    /// Writes once, without the lock. Much may have happened until that is back.
    fn write(outbox: &mut MutexGuard<'_, Self>, terms: &Terms, now: Instant) -> io::Result<()> {
        let Some(stream) = outbox.stream.clone() else {
            return Err(io::ErrorKind::NotConnected.into());
        };
        let batch = match outbox.outgoing.begin_write() {
            Some(batch) => batch,
            None if stream.has_unsent() => Batch::Unsent,
            None => return Ok(()),
        };
        let is_ping = outbox.outgoing.writes_a_ping();
        outbox.is_writing = true;
        let written = MutexGuard::unlocked(outbox, || batch.write(&stream));
        outbox.is_writing = false;
        outbox.outgoing.end_write(*written.as_ref().unwrap_or(&0));
        match &written {
            Ok(_) => {
                outbox.blocked_since = None;
                if !is_ping {
                    outbox.last_written = Some(now);
                }
            }
            Err(error) if error.kind() != io::ErrorKind::WouldBlock => return written.map(drop),
            Err(_) if outbox.stream.is_some() => {
                outbox.blocked_since.get_or_insert(now);
            }
            Err(_) => {}
        }
        // Also where nothing was written: what was about to be may be dropped again.
        if outbox.line.is_some() {
            outbox.grant(terms);
        }
        written.map(drop)
    }

    // --- telling ---

    /// The outbox's share of what is told of a session.
    pub(super) fn traffic(&self) -> Traffic {
        Traffic {
            messages_out: self.outgoing.messages_written(),
            bytes_out: self.outgoing.bytes_written(),
            dropped: self.dropped.into(),
            queued_messages: self.outgoing.messages(),
            queued_bytes: self.outgoing.message_bytes(),
            ..Traffic::default()
        }
    }

    /// Where it is written to.
    pub(super) fn stream(&self) -> Option<Arc<Stream>> {
        self.stream.clone()
    }

    /// The connection is to be woken from now on.
    pub(super) fn listen(&mut self, context: &Context<'_>) {
        match &mut self.waker {
            Some(waker) => waker.clone_from(context.waker()),
            None => self.waker = Some(context.waker().clone()),
        }
    }

    /// There is no connection any more.
    pub(super) fn forget_connection(&mut self) {
        self.waker = None;
    }

    /// Nobody waits for room any more.
    pub(super) fn refuse_waiters(&mut self) {
        self.line = None;
    }

    fn wake(&self) {
        if let Some(waker) = &self.waker {
            waker.wake_by_ref();
        }
    }
}

impl Passed {
    const fn taken_from(self, load: Load) -> Load {
        Load {
            messages: load.messages.saturating_sub(self.messages),
            bytes: load.bytes.saturating_sub(self.bytes),
            waiting_bytes: load.waiting_bytes.saturating_sub(self.bytes),
        }
    }
}

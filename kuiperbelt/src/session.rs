//! The handle on a connected client: its key, its bounded outbox, send and close. Everybody but
//! the connection's own task sees a client only through this.
//!
//! What is sent waits in the session's outbox (`outbox.rs`) and is written when its turn comes
//! (`lane.rs`), or by its connection, which alone waits for a socket that is full.

use std::any::Any;
use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use kuiperbelt_websocket::Deflate;
use parking_lot::{Mutex, MutexGuard};
use tokio::sync::oneshot;
use tokio::time::{Instant, timeout_at};

use crate::message::{End, Message};
use crate::metrics::Metrics;
use crate::stream::Stream;

mod key;
mod lane;
mod outbox;

use key::Key;
pub(crate) use lane::Lanes;
use outbox::{Declined, Offer, Outbox, Stage};

/// What happens to a client that reads too slowly: its outbox is full when something is published
/// on a channel that it listens to, or to everybody. Publishing never waits, and takes no room from
/// [`Session::send`] and its kin while they wait for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum SlowConsumer {
    /// Its session ends: what waits is dropped, and the close code is 1013. One that was not
    /// established in time gets what waits, and then the same. A message that waits to be sent waits
    /// for what was there before, and has room beside what was published since; as long as both
    /// together are too much for the outbox, it is full.
    #[default]
    Disconnect,
    /// Of the messages that were published, those that have waited longest are dropped until the
    /// new one fits, be it published or sent; what was sent stays. If that is not enough nothing is
    /// dropped but the new one, or that waits if it was sent.
    DropOldest,
    /// It does not get the new message, nor any while a message waits to be sent to it because the
    /// outbox is full.
    DropNewest,
}

/// What the sessions of one door have in common; see [`Options`](crate::Options), which say how
/// much may wait.
pub(crate) struct Terms {
    pub(crate) outbox_messages: usize,
    pub(crate) outbox_bytes: usize,
    pub(crate) send_queue: Option<usize>,
    pub(crate) slow_consumer: SlowConsumer,
    /// Messages from so many bytes on are compressed where that was negotiated.
    pub(crate) compression_min_size: usize,
    pub(crate) lanes: Arc<Lanes>,
    pub(crate) metrics: Arc<Metrics>,
}

impl Terms {
    /// Anything may wait.
    #[cfg(test)]
    pub(crate) fn unbounded(lanes: Arc<Lanes>) -> Self {
        Self {
            outbox_messages: usize::MAX,
            outbox_bytes: usize::MAX,
            send_queue: None,
            slow_consumer: SlowConsumer::default(),
            compression_min_size: 0,
            lanes,
            metrics: Arc::default(),
        }
    }
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

/// Why a message was not accepted at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TrySendError {
    /// The session has ended, or its last word is spoken. Forget it.
    #[error("session is closed")]
    Closed,
    /// The outbox is full, or others wait for room in it already.
    #[error("outbox is full")]
    Full,
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
    key: Key,
    terms: Arc<Terms>,
    lane: u16,
    deflate: Option<Deflate>,
    /// In milliseconds since 1970.
    since: u64,
    messages_in: AtomicU64,
    bytes_in: AtomicU64,
    kept: OnceLock<Box<Kept>>,
    outbox: Mutex<Outbox>,
}

/// Something that is kept of a session, and what is kept beside it: a list, as it is seldom more
/// than one thing.
struct Kept {
    thing: Box<dyn Any + Send + Sync>,
    next: OnceLock<Box<Self>>,
}

/// What a session has carried since it was let in, and what waits for its client.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Traffic {
    /// Messages of the client.
    pub messages_in: u64,
    /// Their bytes, inflated and without what frames them.
    pub bytes_in: u64,
    /// Messages written whole to the socket.
    pub messages_out: u64,
    /// Their bytes as they were written, frame headers included.
    pub bytes_out: u64,
    /// Published messages that the client did not get, because it read too slowly.
    pub dropped: u64,
    /// Messages that wait, with the one that is being written.
    pub queued_messages: usize,
    /// Their bytes, frame headers included.
    pub queued_bytes: usize,
}

impl Session {
    /// A session that is not yet established, with its first message already in the outbox.
    pub(crate) fn new(
        key: &[u8],
        first: Option<&Message>,
        terms: Arc<Terms>,
        deflate: Option<Deflate>,
    ) -> Self {
        let first = first.map(|first| first.frame(deflate, terms.compression_min_size));
        let outbox = Mutex::new(Outbox::new(first));
        let lane = terms.lanes.next();
        Self(Arc::new(Inner {
            key: key.into(),
            terms,
            lane,
            deflate,
            since: now(),
            messages_in: AtomicU64::new(0),
            bytes_in: AtomicU64::new(0),
            kept: OnceLock::new(),
            outbox,
        }))
    }

    /// The key that the handler chose for this client; empty if it gave none.
    pub fn key(&self) -> &[u8] {
        self.0.key.bytes()
    }

    /// What is kept of this session in a type of its handler's own, made when it is asked for
    /// first. There is one thing of each type, and what is made in vain, because another thread was
    /// faster, is dropped. It lives as long as there is a handle on the session: one inside of it
    /// would keep both for ever.
    pub fn keep<T: Any + Send + Sync>(&self, make: impl FnOnce() -> T) -> &T {
        if let Some(thing) = self.kept() {
            return thing;
        }
        let mut made = Box::new(Kept { thing: Box::new(make()), next: OnceLock::new() });
        let mut place = &self.0.kept;
        loop {
            made = match place.set(made) {
                Ok(()) => match self.kept() {
                    Some(thing) => return thing,
                    None => unreachable!("it was put there just now"),
                },
                Err(made) => made,
            };
            let Some(kept) = place.get() else { unreachable!("a place that is taken") };
            match kept.thing.downcast_ref() {
                Some(thing) => return thing,
                None => place = &kept.next,
            }
        }
    }

    /// What is kept of this session in this type, if anything.
    pub fn kept<T: Any + Send + Sync>(&self) -> Option<&T> {
        let first = self.0.kept.get();
        let mut all = std::iter::successors(first, |kept| kept.next.get());
        all.find_map(|kept| kept.thing.downcast_ref())
    }

    /// When the client was let in.
    pub fn since(&self) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_millis(self.0.since)
    }

    /// Where its connection comes from. Nothing over a Unix socket, and before the client has been
    /// told that it is let in, and when the connection is lost.
    pub fn peer(&self) -> Option<SocketAddr> {
        let stream = self.outbox().stream();
        stream?.peer()
    }

    /// What its connection is: `ws`, `wss` or `unix`; empty as long as there is none.
    pub fn transport(&self) -> &'static str {
        let stream = self.outbox().stream();
        stream.map_or("", |stream| stream.transport())
    }

    /// What it has carried so far, and what waits.
    pub fn traffic(&self) -> Traffic {
        let messages_in = self.0.messages_in.load(Ordering::Relaxed);
        let bytes_in = self.0.bytes_in.load(Ordering::Relaxed);
        Traffic { messages_in, bytes_in, ..self.outbox().traffic() }
    }

    /// Hands over a message if there is room for it now. Messages are delivered in the order in
    /// which they are accepted.
    ///
    /// # Errors
    ///
    /// [`TrySendError`]: the message is not and will not be sent.
    pub fn try_send(&self, message: &Message) -> Result<(), TrySendError> {
        self.offer_now(Offer { frame: Some(self.frame(message)), end: None }).map_err(|declined| {
            match declined {
                Declined::Closed => TrySendError::Closed,
                Declined::Full(_) => TrySendError::Full,
            }
        })
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
        self.offer(Offer { frame: Some(self.frame(message)), end: None }, deadline).await
    }

    /// Ends the session after everything accepted so far and, if given, a last word. Waits for
    /// room like [`send`](Self::send); from its acceptance on nothing else is accepted and the
    /// end is decided, whatever happens on the socket.
    ///
    /// # Errors
    ///
    /// [`SendError`]: neither the last word nor the end is accepted.
    pub async fn close(
        &self,
        last_word: Option<&Message>,
        end: End,
        deadline: Option<Instant>,
    ) -> Result<(), SendError> {
        let frame = last_word.map(|message| self.frame(message));
        self.offer(Offer { frame, end: Some(end) }, deadline).await
    }

    /// Ends the session after what is queued, without waiting; nothing happens if its end is
    /// already decided.
    pub fn end(&self, end: End) {
        self.end_by(end, None);
    }

    /// The same, with a time after which what is queued is dropped.
    pub(crate) fn end_by(&self, end: End, flush_by: Option<Instant>) {
        let mut outbox = self.outbox();
        if matches!(outbox.stage, Stage::Ending | Stage::Ended) {
            return;
        }
        outbox.decide(Ending { end, flush_by });
    }

    /// Whether nothing is accepted for it any more: its end is decided, or its client has left. The
    /// contract of [`Handler`](crate::Handler) says who may wait for that.
    pub fn is_over(&self) -> bool {
        matches!(self.outbox().stage, Stage::Ending | Stage::Ended)
    }

    /// The message as this client gets it.
    fn frame(&self, message: &Message) -> Bytes {
        message.frame(self.0.deflate, self.0.terms.compression_min_size)
    }

    /// Hands over a message that waits for nobody: where the outbox is full, the door's rule for slow
    /// consumers holds. Returns whether the client is to get it.
    pub(crate) fn publish(&self, message: &Message) -> bool {
        let frame = self.frame(message);
        let mut outbox = self.outbox();
        let is_taken = outbox.publish(&self.0.terms, frame);
        self.stand_in_line(outbox);
        is_taken
    }

    fn offer_now(&self, offer: Offer) -> Result<(), Declined> {
        let mut outbox = self.outbox();
        outbox.offer(&self.0.terms, offer)?;
        self.stand_in_line(outbox);
        Ok(())
    }

    async fn offer(&self, offer: Offer, deadline: Option<Instant>) -> Result<(), SendError> {
        let accepted = {
            let mut outbox = self.outbox();
            match outbox.offer(&self.0.terms, offer) {
                Ok(()) => {
                    self.stand_in_line(outbox);
                    return Ok(());
                }
                Err(Declined::Closed) => return Err(SendError::Closed),
                Err(Declined::Full(offer)) => outbox.wait(offer),
            }
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

    fn outbox(&self) -> MutexGuard<'_, Outbox> {
        self.0.outbox.lock()
    }

    /// Has what is queued written when it is this session's turn.
    fn stand_in_line(&self, mut outbox: MutexGuard<'_, Outbox>) {
        if outbox.wants_its_turn() {
            outbox.is_due = true;
            drop(outbox);
            self.0.terms.lanes.add(self.0.lane, self.clone());
        }
    }

    /// The session's turn in its lane.
    fn flush(&self, now: Instant) {
        let mut outbox = self.outbox();
        outbox.is_due = false;
        Outbox::flush(&mut outbox, &self.0.terms, now);
        self.stand_in_line(outbox);
    }
}

/// What the connection does with its session.
impl Session {
    /// Says where to write.
    pub(crate) fn open(&self, stream: Arc<Stream>) {
        self.0.terms.lanes.serve(self.0.lane);
        self.outbox().open(stream);
    }

    /// Says that the handler has established the session: from now on its messages are written.
    pub(crate) fn establish(&self) {
        let mut outbox = self.outbox();
        if outbox.stage == Stage::Establishing {
            outbox.stage = Stage::Open;
        }
        outbox.grant(&self.0.terms);
        self.stand_in_line(outbox);
    }

    /// Whether it is one of the hub that has these metrics.
    pub(crate) fn is_of(&self, metrics: &Arc<Metrics>) -> bool {
        Arc::ptr_eq(&self.0.terms.metrics, metrics)
    }

    /// From how many bytes on its client gets messages compressed, if that was agreed on.
    pub(crate) fn compression_min_size(&self) -> usize {
        self.0.terms.compression_min_size
    }

    /// What was agreed on compression.
    pub(crate) fn deflate(&self) -> Option<Deflate> {
        self.0.deflate
    }

    /// The end, once it is decided: nothing will be queued after that. The connection is woken
    /// when that happens, and when it has to write.
    pub(crate) fn ending(&self, context: &Context<'_>) -> Option<Ending> {
        let mut outbox = self.outbox();
        outbox.listen(context);
        outbox.ending.as_deref().cloned()
    }

    /// Writes what is queued. Ready when nothing is left.
    pub(crate) fn poll_flush(&self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Outbox::poll_flush(&mut self.outbox(), &self.0.terms, context)
    }

    /// Since when the socket has taken no byte of what is to be written.
    pub(crate) fn blocked_since(&self) -> Option<Instant> {
        self.outbox().blocked_since
    }

    /// When something other than a ping was written last.
    pub(crate) fn last_written(&self) -> Option<Instant> {
        self.outbox().last_written
    }

    /// Answers a ping ahead of the messages that wait.
    pub(crate) fn pong(&self, payload: &[u8]) {
        self.outbox().outgoing.pong(payload);
    }

    /// Sends a ping ahead of the messages that wait, unless another one waits still.
    pub(crate) fn ping(&self, payload: &[u8]) {
        let mut outbox = self.outbox();
        outbox.outgoing.ping(payload);
        self.stand_in_line(outbox);
    }

    /// Whether the next pong takes the place of an older one that the socket may still take.
    pub(crate) fn should_write_pongs(&self) -> bool {
        let outbox = self.outbox();
        outbox.outgoing.is_full_of_pongs() && outbox.blocked_since.is_none()
    }

    /// The last frame of all.
    pub(crate) fn close_frame(&self, frame: Bytes) {
        self.outbox().outgoing.close(frame);
    }

    /// Forgets the messages that are queued, but for one that is half written.
    pub(crate) fn drop_messages(&self) {
        self.outbox().outgoing.drop_messages();
    }

    /// Nothing can be written any more.
    pub(crate) fn shut(&self) {
        self.outbox().shut();
    }

    /// Whether an end is decided that the handler is not to hear of, nor of anything since.
    pub(crate) fn is_ending_quietly(&self) -> bool {
        self.outbox().ending.as_ref().is_some_and(|ending| ending.end.quiet)
    }

    /// Counts a message of the client.
    pub(crate) fn count_received(&self, bytes: usize) {
        // Only the connection counts.
        let add = |counter: &AtomicU64, more| {
            counter.store(counter.load(Ordering::Relaxed) + more, Ordering::Relaxed);
        };
        add(&self.0.messages_in, 1);
        add(&self.0.bytes_in, bytes as u64);
    }

    /// What is queued, taken as if it were written.
    #[cfg(test)]
    pub(crate) fn take_queued(&self) -> Vec<Bytes> {
        let mut outbox = self.outbox();
        std::iter::from_fn(|| outbox.outgoing.take_first()).collect()
    }

    /// The end, once it is decided.
    pub(crate) fn decided(&self) -> Option<End> {
        self.outbox().ending.as_ref().map(|ending| ending.end.clone())
    }

    /// Nothing is accepted any more, and what waits for room is refused. The end is not decided
    /// yet: a close frame may still be on its way here.
    pub(crate) fn refuse(&self) {
        let mut outbox = self.outbox();
        if outbox.stage != Stage::Ended {
            outbox.stage = Stage::Ending;
            outbox.refuse_waiters();
        }
    }

    /// The session is over: what is queued is dropped. Returns the end that was decided first.
    pub(crate) fn conclude(&self, end: End) -> End {
        let mut outbox = self.outbox();
        let ending = outbox.ending.get_or_insert_with(|| Box::new(Ending { end, flush_by: None }));
        let end = ending.end.clone();
        outbox.stage = Stage::Ended;
        outbox.refuse_waiters();
        outbox.forget_connection();
        outbox.shut();
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

/// Milliseconds since 1970.
fn now() -> u64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    since.map_or(0, |since| since.as_millis() as u64)
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
        let mut outbox = self.session.outbox();
        let Some(mut accepted) = self.accepted.take() else { return Ok(()) };
        accepted.close();
        if accepted.try_recv().is_ok() {
            return Ok(());
        }
        outbox.abandon(&self.session.0.terms);
        self.session.stand_in_line(outbox);
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

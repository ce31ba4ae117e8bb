//! Frames on their way into one socket: gathered into few system calls, pongs ahead of messages,
//! a frame that is half written never torn. The writing itself is done on a [`Batch`], so that more
//! can be queued meanwhile.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::io;

use bytes::Bytes;
use kuiperbelt_websocket::{encode_ping, encode_pong};

use crate::stream::Stream;

/// Pongs that wait for a socket that takes nothing; of more pings only the latest are answered
/// (RFC 6455 section 5.5.3).
const MAX_PONGS: usize = 16;

/// Frames that wait together are copied together up to this many bytes, and cost one system call;
/// a longer frame is written from where it lies.
const GATHERED_BYTES: usize = 32 * 1024;

thread_local! {
    static GATHERED: RefCell<Vec<u8>> = RefCell::new(Vec::with_capacity(GATHERED_BYTES));
}

/// What is to be written, in order. How much that may be is the outbox's business.
#[derive(Debug, Default)]
pub(crate) struct Outgoing {
    /// The one that is written next; apart from the others, so that a single message on its way
    /// needs no memory of its own.
    first: Option<Frame>,
    /// Only where there is more, so that a session with nothing to write is small.
    rest: Option<Box<Rest>>,
    /// How much of the first frame is written.
    offset: usize,
    /// How many frames, from the first on, are being written.
    in_flight: u32,
    messages: u32,
    message_bytes: usize,
    /// Of the messages those that were sent, which stay whatever is published, and the size of the
    /// first of them.
    sent_messages: u32,
    sent_bytes: usize,
    first_sent: usize,
    /// Messages written whole, and their bytes.
    written_messages: u64,
    written_bytes: u64,
}

/// The frames behind the first.
#[derive(Debug, Default)]
struct Rest(VecDeque<Frame>);

#[derive(Debug)]
enum Frame {
    Message(Bytes),
    /// A message that may be dropped for another that is published.
    Published(Bytes),
    Pong(Bytes),
    /// One of ours; there is never more than one.
    Ping(Bytes),
    Close(Bytes),
}

/// Messages that are not written whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Load {
    pub(crate) messages: usize,
    /// Their size, headers included.
    pub(crate) bytes: usize,
    /// The same of those behind the first.
    pub(crate) waiting_bytes: usize,
}

/// What one system call is to write.
pub(crate) enum Batch {
    /// A frame, from so far on.
    One(Bytes, usize),
    /// What this thread has gathered.
    Gathered,
    /// Nothing new: what the stream has not sent yet.
    Unsent,
}

impl Outgoing {
    pub(crate) const fn is_empty(&self) -> bool {
        self.first.is_none()
    }

    /// How many messages are not written whole.
    pub(crate) const fn messages(&self) -> usize {
        self.messages as usize
    }

    /// How many of those were sent.
    pub(crate) const fn sent_messages(&self) -> usize {
        self.sent_messages as usize
    }

    /// The size of all of them, in bytes, headers included.
    pub(crate) const fn message_bytes(&self) -> usize {
        self.message_bytes
    }

    /// How many messages are written whole.
    pub(crate) const fn messages_written(&self) -> u64 {
        self.written_messages
    }

    /// Their bytes, headers included.
    pub(crate) const fn bytes_written(&self) -> u64 {
        self.written_bytes
    }

    /// All of them.
    pub(crate) fn load(&self) -> Load {
        let head = self.frames().find_map(Frame::message).map_or(0, Bytes::len);
        Load {
            messages: self.messages(),
            bytes: self.message_bytes,
            waiting_bytes: self.message_bytes - head,
        }
    }

    /// What [`drop_oldest`](Self::drop_oldest) leaves, however often it is called: the messages
    /// that were sent, are being written or half written.
    pub(crate) fn undroppable(&self) -> Load {
        let mut load =
            Load { messages: self.sent_messages(), bytes: self.sent_bytes, waiting_bytes: 0 };
        let mut head = None;
        for frame in self.frames().take(self.begun()) {
            head = head.or(frame.message().map(Bytes::len));
            if let Frame::Published(bytes) = frame {
                load.messages += 1;
                load.bytes += bytes.len();
            }
        }
        load.waiting_bytes = load.bytes - head.unwrap_or(self.first_sent);
        load
    }

    pub(crate) fn message(&mut self, frame: Bytes) {
        self.push(Frame::Message(frame));
    }

    /// Queues a message that [`drop_oldest`](Self::drop_oldest) may take out again.
    pub(crate) fn published(&mut self, frame: Bytes) {
        self.push(Frame::Published(frame));
    }

    pub(crate) fn close(&mut self, frame: Bytes) {
        self.push(Frame::Close(frame));
    }

    /// Whether the next pong takes the place of an older one.
    pub(crate) fn is_full_of_pongs(&self) -> bool {
        self.pongs() == MAX_PONGS
    }

    /// Answers a ping ahead of the messages that wait.
    pub(crate) fn pong(&mut self, payload: &[u8]) {
        let pong = Frame::Pong(encode_pong(payload));
        let begun = self.begun();
        let mut waiting = self.pongs();
        if waiting == MAX_PONGS {
            self.remove(begun);
            waiting -= 1;
        }
        self.insert(begun + waiting, pong);
    }

    /// Asks the client for a pong, ahead of the messages that wait and behind the pongs, which are
    /// found in one row. Nothing happens while an earlier ping is not written whole.
    pub(crate) fn ping(&mut self, payload: &[u8]) {
        let place = self.begun() + self.pongs();
        let is_ping = |frame: &Frame| matches!(frame, Frame::Ping(_));
        if !self.frames().take(place + 1).any(is_ping) {
            self.insert(place, Frame::Ping(encode_ping(payload)));
        }
    }

    /// Forgets the messages, but for those that are being written or half written.
    pub(crate) fn drop_messages(&mut self) {
        let begun = self.begun();
        let rest = self.rest.take().map(|rest| rest.0);
        let frames = self.first.take().into_iter().chain(rest.into_iter().flatten());
        let Self { offset, in_flight, written_messages, written_bytes, .. } = *self;
        *self = Self { offset, in_flight, written_messages, written_bytes, ..Self::default() };
        for (at, frame) in frames.enumerate() {
            if at < begun || frame.message().is_none() {
                self.push(frame);
            }
        }
    }

    /// Forgets the first message that was published, and is not being written or half written.
    /// `false` if there is none.
    pub(crate) fn drop_oldest(&mut self) -> bool {
        let begun = self.begun();
        let published = self.frames().enumerate().skip(begun).find_map(|(at, frame)| match frame {
            Frame::Published(bytes) => Some((at, bytes.len())),
            _ => None,
        });
        let Some((at, size)) = published else { return false };
        self.remove(at);
        self.messages -= 1;
        self.message_bytes -= size;
        true
    }

    /// Forgets everything but what has been counted.
    pub(crate) fn forget(&mut self) {
        let Self { written_messages, written_bytes, .. } = *self;
        *self = Self { written_messages, written_bytes, ..Self::default() };
    }

    /// What is to be written next. Until [`end_write`](Self::end_write) tells what came of it, it
    /// stays as it is.
    #[inline]
    pub(crate) fn begin_write(&mut self) -> Option<Batch> {
        let first = self.first.as_ref()?.bytes();
        self.in_flight = 1;
        let head = &first[self.offset..];
        if let Some(Rest(rest)) = self.rest.as_deref()
            && let Some(second) = rest.front()
            && head.len() + second.bytes().len() <= GATHERED_BYTES
        {
            GATHERED.with_borrow_mut(|gathered| {
                gathered.clear();
                gathered.extend_from_slice(head);
                for frame in rest {
                    if gathered.len() + frame.bytes().len() > GATHERED_BYTES {
                        break;
                    }
                    gathered.extend_from_slice(frame.bytes());
                    self.in_flight += 1;
                }
            });
            return Some(Batch::Gathered);
        }
        Some(Batch::One(first.clone(), self.offset))
    }

    /// Whether that is a ping of ours and nothing else.
    #[inline]
    pub(crate) const fn writes_a_ping(&self) -> bool {
        self.in_flight == 1 && matches!(self.first, Some(Frame::Ping(_)))
    }

    /// Takes note that so many bytes of what was to be written are.
    #[inline]
    pub(crate) fn end_write(&mut self, size: usize) {
        // Unless everything has been forgotten meanwhile.
        if std::mem::take(&mut self.in_flight) > 0 {
            self.written(size);
        }
    }

    /// Counts the first frame as written.
    #[cfg(test)]
    pub(crate) fn take_first(&mut self) -> Option<Bytes> {
        let first = self.first.as_ref()?.bytes().clone();
        self.written(first.len() - self.offset);
        Some(first)
    }

    /// Puts a frame behind all others, and counts it if it is a message.
    fn push(&mut self, frame: Frame) {
        if let Some(bytes) = frame.message() {
            self.messages += 1;
            self.message_bytes += bytes.len();
        }
        if let Some(bytes) = frame.sent() {
            if self.sent_messages == 0 {
                self.first_sent = bytes.len();
            }
            self.sent_messages += 1;
            self.sent_bytes += bytes.len();
        }
        if self.first.is_none() {
            self.first = Some(frame);
        } else {
            self.rest.get_or_insert_default().0.push_back(frame);
        }
    }

    /// Puts a frame that is no message behind so many others, of which there are no fewer.
    fn insert(&mut self, place: usize, frame: Frame) {
        if place > 0 {
            self.rest.get_or_insert_default().0.insert(place - 1, frame);
        } else if let Some(second) = self.first.replace(frame) {
            self.rest.get_or_insert_default().0.push_front(second);
        }
    }

    /// Takes out the frame behind so many others, of which there are no fewer.
    fn remove(&mut self, place: usize) {
        if place == 0 {
            self.first = self.second();
        } else if let Some(rest) = &mut self.rest {
            rest.0.remove(place - 1);
        }
    }

    /// Takes the second frame to be the first.
    fn second(&mut self) -> Option<Frame> {
        self.rest.as_mut()?.0.pop_front()
    }

    fn frames(&self) -> impl Iterator<Item = &Frame> {
        self.first.iter().chain(self.rest.iter().flat_map(|rest| &rest.0))
    }

    /// How many frames must stay where they are.
    fn begun(&self) -> usize {
        (self.in_flight as usize).max(usize::from(self.offset > 0))
    }

    /// How many wait ahead of the messages.
    fn pongs(&self) -> usize {
        let untouched = self.frames().skip(self.begun());
        untouched.take_while(|frame| matches!(frame, Frame::Pong(_))).count()
    }

    /// Takes note that so many bytes are written.
    fn written(&mut self, mut size: usize) {
        // Mostly there are only messages, and all of them are written.
        let frames = self.rest.as_ref().map_or(0, |rest| rest.0.len()) + 1;
        if frames == self.messages() && self.offset + size == self.message_bytes {
            self.written_messages += u64::from(self.messages);
            self.written_bytes += self.message_bytes as u64;
            (self.first, self.offset, self.messages, self.message_bytes) = (None, 0, 0, 0);
            (self.sent_messages, self.sent_bytes, self.first_sent) = (0, 0, 0);
        }
        let sent_before = self.sent_messages;
        while let Some(first) = &self.first {
            let length = first.bytes().len();
            let left = length - self.offset;
            if left > size {
                self.offset += size;
                break;
            }
            size -= left;
            self.offset = 0;
            if first.message().is_some() {
                self.messages -= 1;
                self.message_bytes -= length;
                self.written_messages += 1;
                self.written_bytes += length as u64;
            }
            if first.sent().is_some() {
                self.sent_messages -= 1;
                self.sent_bytes -= length;
            }
            self.first = self.second();
        }
        if self.sent_messages < sent_before {
            // What is passed over is not looked at again: it goes before the one that is found.
            let first = self.frames().find_map(Frame::sent).map_or(0, Bytes::len);
            self.first_sent = first;
        }
        if self.first.is_none() {
            self.rest = None;
        }
    }
}

impl Batch {
    /// Writes as much as the socket takes now. Over TLS that may be nothing of the batch, but
    /// something before it.
    ///
    /// # Errors
    ///
    /// `WouldBlock` when the socket takes nothing now; others mean that it never will.
    #[inline]
    pub(crate) fn write(&self, stream: &Stream) -> io::Result<usize> {
        match self {
            Self::One(frame, offset) => stream.try_write(&frame[*offset..]),
            Self::Gathered => GATHERED.with_borrow(|gathered| stream.try_write(gathered)),
            Self::Unsent => stream.try_write(&[]),
        }
    }
}

impl Frame {
    const fn message(&self) -> Option<&Bytes> {
        match self {
            Self::Message(bytes) | Self::Published(bytes) => Some(bytes),
            Self::Pong(_) | Self::Ping(_) | Self::Close(_) => None,
        }
    }

    const fn sent(&self) -> Option<&Bytes> {
        match self {
            Self::Message(bytes) => Some(bytes),
            Self::Published(_) | Self::Pong(_) | Self::Ping(_) | Self::Close(_) => None,
        }
    }

    const fn bytes(&self) -> &Bytes {
        let (Self::Message(bytes)
        | Self::Published(bytes)
        | Self::Pong(bytes)
        | Self::Ping(bytes)
        | Self::Close(bytes)) = self;
        bytes
    }
}

#[cfg(test)]
mod tests;

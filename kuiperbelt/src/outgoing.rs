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
    rest: VecDeque<Frame>,
    /// How much of the first frame is written.
    offset: usize,
    /// How many frames, from the first on, are being written.
    in_flight: u32,
    messages: u32,
    message_bytes: usize,
    /// Messages written whole, and their bytes.
    written_messages: u64,
    written_bytes: u64,
}

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

/// What [`drop_oldest`](Outgoing::drop_oldest) leaves, however often it is called.
pub(crate) struct Undroppable {
    pub(crate) messages: usize,
    pub(crate) bytes: usize,
    /// Of those behind the first.
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

    /// The size of those messages behind the first of them, in bytes, headers included.
    pub(crate) fn waiting_bytes(&self) -> usize {
        let head = self.frames().find_map(Frame::message);
        self.message_bytes - head.map_or(0, Bytes::len)
    }

    /// The size of all of them.
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

    pub(crate) fn message(&mut self, frame: Bytes) {
        self.messages += 1;
        self.message_bytes += frame.len();
        self.push(Frame::Message(frame));
    }

    /// Queues a message that [`drop_oldest`](Self::drop_oldest) may take out again.
    pub(crate) fn published(&mut self, frame: Bytes) {
        self.messages += 1;
        self.message_bytes += frame.len();
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
            if begun == 0 {
                self.first = self.rest.pop_front();
            } else {
                self.rest.remove(begun - 1);
            }
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
        let frames = self.first.take().into_iter().chain(std::mem::take(&mut self.rest));
        let is_kept = |(at, frame): &(usize, Frame)| *at < begun || frame.message().is_none();
        let mut kept: VecDeque<Frame> =
            frames.enumerate().filter(is_kept).map(|(_, frame)| frame).collect();
        let messages = kept.iter().filter_map(Frame::message).map(Bytes::len);
        (self.messages, self.message_bytes) =
            messages.fold((0, 0), |(count, sum), size| (count + 1, sum + size));
        self.first = kept.pop_front();
        self.rest = kept;
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
        match at {
            0 => self.first = self.rest.pop_front(),
            at => drop(self.rest.remove(at - 1)),
        }
        self.messages -= 1;
        self.message_bytes -= size;
        true
    }

    /// The messages that were sent, are being written or half written.
    pub(crate) fn undroppable(&self) -> Undroppable {
        let begun = self.begun();
        let left = self.frames().enumerate();
        let left = left.filter(|(at, frame)| *at < begun || matches!(frame, Frame::Message(_)));
        let sizes = left.filter_map(|(_, frame)| frame.message()).map(Bytes::len);
        let mut kept = Undroppable { messages: 0, bytes: 0, waiting_bytes: 0 };
        for size in sizes {
            kept.waiting_bytes += if kept.messages > 0 { size } else { 0 };
            kept.bytes += size;
            kept.messages += 1;
        }
        kept
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
        match self.rest.front() {
            Some(second) if head.len() + second.bytes().len() <= GATHERED_BYTES => {
                GATHERED.with_borrow_mut(|gathered| {
                    gathered.clear();
                    gathered.extend_from_slice(head);
                    for frame in &self.rest {
                        if gathered.len() + frame.bytes().len() > GATHERED_BYTES {
                            break;
                        }
                        gathered.extend_from_slice(frame.bytes());
                        self.in_flight += 1;
                    }
                });
                Some(Batch::Gathered)
            }
            _ => Some(Batch::One(first.clone(), self.offset)),
        }
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

    fn push(&mut self, frame: Frame) {
        if self.first.is_none() {
            self.first = Some(frame);
        } else {
            self.rest.push_back(frame);
        }
    }

    /// Puts a frame behind so many others, of which there are no fewer.
    fn insert(&mut self, place: usize, frame: Frame) {
        if place > 0 {
            self.rest.insert(place - 1, frame);
        } else if let Some(second) = self.first.replace(frame) {
            self.rest.push_front(second);
        }
    }

    fn frames(&self) -> impl Iterator<Item = &Frame> {
        self.first.iter().chain(&self.rest)
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
        if self.rest.len() + 1 == self.messages() && self.offset + size == self.message_bytes {
            self.written_messages += u64::from(self.messages);
            self.written_bytes += self.message_bytes as u64;
            (self.first, self.offset, self.messages, self.message_bytes) = (None, 0, 0, 0);
        }
        while let Some(first) = &self.first {
            let length = first.bytes().len();
            let left = length - self.offset;
            if left > size {
                self.offset += size;
                return;
            }
            size -= left;
            self.offset = 0;
            if first.message().is_some() {
                self.messages -= 1;
                self.message_bytes -= length;
                self.written_messages += 1;
                self.written_bytes += length as u64;
            }
            self.first = self.rest.pop_front();
        }
        if self.rest.capacity() > 0 {
            self.rest = VecDeque::new();
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
mod tests {
    use super::*;

    fn outgoing(messages: &[&'static str]) -> Outgoing {
        let mut outgoing = Outgoing::default();
        for message in messages {
            outgoing.message(Bytes::from_static(message.as_bytes()));
        }
        outgoing
    }

    fn shown(outgoing: &Outgoing) -> Vec<&[u8]> {
        outgoing.frames().map(|frame| &frame.bytes()[..]).collect()
    }

    /// Messages not written whole, and their bytes behind the first.
    fn waiting(outgoing: &Outgoing) -> (usize, usize) {
        (outgoing.messages(), outgoing.waiting_bytes())
    }

    #[test]
    fn whole_messages_are_counted_and_half_ones_are_not() {
        let mut outgoing = outgoing(&["aa", "bbbb", "c"]);
        outgoing.written(1);
        assert_eq!(waiting(&outgoing), (3, 5));
        outgoing.written(3);
        assert_eq!(waiting(&outgoing), (2, 1));
        outgoing.written(3);
        assert_eq!(waiting(&outgoing), (0, 0));
        assert!(outgoing.is_empty());
    }

    #[test]
    fn pongs_go_ahead_but_into_no_frame() {
        let mut outgoing = outgoing(&["aa", "bb"]);
        outgoing.written(1);
        outgoing.pong(b"1");
        outgoing.pong(b"2");
        assert_eq!(shown(&outgoing), [&b"aa"[..], b"\x8a\x011", b"\x8a\x012", b"bb"]);
        outgoing.written(4);
        assert_eq!(waiting(&outgoing), (1, 0));
        outgoing.pong(b"3");
        assert_eq!(shown(&outgoing), [&b"\x8a\x012"[..], b"\x8a\x013", b"bb"]);
        outgoing.written(6);
        outgoing.pong(b"4");
        assert_eq!(shown(&outgoing), [&b"\x8a\x014"[..], b"bb"]);
    }

    #[test]
    fn of_many_pongs_the_latest_wait() {
        for is_begun in [false, true] {
            let mut outgoing = outgoing(&["aa"]);
            outgoing.written(usize::from(is_begun));
            for number in 0..100_u8 {
                outgoing.pong(&[number]);
            }
            let pongs = MAX_PONGS as u8;
            let pongs = (100 - pongs..100).map(|number| vec![0x8a, 1, number]);
            let mut expected: Vec<Vec<u8>> = pongs.collect();
            expected.insert(if is_begun { 0 } else { MAX_PONGS }, b"aa".to_vec());
            assert_eq!(shown(&outgoing), expected);
        }
    }

    #[test]
    fn one_ping_waits_behind_the_pongs() {
        let mut outgoing = outgoing(&["aa", "bb"]);
        outgoing.written(1);
        outgoing.pong(b"x");
        outgoing.ping(b"1");
        outgoing.ping(b"2");
        outgoing.pong(b"y");
        let ping = &b"\x89\x011"[..];
        assert_eq!(shown(&outgoing), [&b"aa"[..], b"\x8a\x01x", b"\x8a\x01y", ping, b"bb"]);
        outgoing.drop_messages();
        assert_eq!(shown(&outgoing), [&b"aa"[..], b"\x8a\x01x", b"\x8a\x01y", ping]);
        // Also while it is being written, alone or with others, or half written.
        assert!(outgoing.begin_write().is_some());
        assert!(!outgoing.writes_a_ping());
        outgoing.ping(b"3");
        outgoing.end_write(1 + 3 + 3);
        assert!(outgoing.begin_write().is_some());
        assert!(outgoing.writes_a_ping());
        outgoing.message(Bytes::from_static(b"cc"));
        outgoing.ping(b"4");
        outgoing.end_write(1);
        outgoing.ping(b"5");
        assert_eq!(shown(&outgoing), [ping, b"cc"]);
        outgoing.written(2);
        outgoing.ping(b"6");
        assert_eq!(shown(&outgoing), [&b"\x89\x016"[..], b"cc"]);
        assert_eq!(waiting(&outgoing), (1, 0));
        outgoing.ping(b"7");
        outgoing.pong(b"z");
        assert_eq!(shown(&outgoing), [&b"\x8a\x01z"[..], b"\x89\x016", b"cc"]);
    }

    #[test]
    fn what_is_being_written_stays_where_it_is() {
        let mut outgoing = outgoing(&["aa", "bb"]);
        assert!(outgoing.begin_write().is_some());
        outgoing.message(Bytes::from_static(b"cc"));
        outgoing.pong(b"1");
        assert_eq!(shown(&outgoing), [&b"aa"[..], b"bb", b"\x8a\x011", b"cc"]);
        outgoing.drop_messages();
        assert_eq!(shown(&outgoing), [&b"aa"[..], b"bb", b"\x8a\x011"]);
        assert_eq!(waiting(&outgoing), (2, 2));
        outgoing.end_write(3);
        assert_eq!(waiting(&outgoing), (1, 0));
        outgoing.pong(b"2");
        assert_eq!(shown(&outgoing), [&b"bb"[..], b"\x8a\x011", b"\x8a\x012"]);
        // A write that came to nothing changes nothing.
        assert!(outgoing.begin_write().is_some());
        outgoing.end_write(0);
        assert_eq!(shown(&outgoing), [&b"bb"[..], b"\x8a\x011", b"\x8a\x012"]);
        // Nor does one of what has been forgotten since.
        assert!(outgoing.begin_write().is_some());
        outgoing = Outgoing::default();
        outgoing.close(Bytes::from_static(b"x"));
        outgoing.end_write(7);
        assert_eq!(shown(&outgoing), [b"x"]);
    }

    #[test]
    fn a_frame_that_is_half_written_is_finished() {
        let mut outgoing = outgoing(&["aa", "bb"]);
        outgoing.written(1);
        outgoing.pong(b"1");
        outgoing.drop_messages();
        outgoing.close(Bytes::from_static(b"x"));
        assert_eq!(shown(&outgoing), [&b"aa"[..], b"\x8a\x011", b"x"]);
        assert_eq!(waiting(&outgoing), (1, 0));
        outgoing.written(2);
        outgoing.drop_messages();
        assert_eq!(shown(&outgoing), [b"\x8a\x011", &b"x"[..]]);
    }
}

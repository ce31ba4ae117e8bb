//! Frames on their way into one socket: gathered into few system calls, pongs ahead of messages,
//! a frame that is half written never torn.

use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use kuiperbelt_websocket::encode_pong;
use tokio::io::AsyncWrite;

/// Pongs that wait for a socket that takes nothing; of more pings only the latest are answered
/// (RFC 6455 section 5.5.3).
const MAX_PONGS: usize = 16;

/// Frames in one system call.
const MAX_SLICES: usize = 64;

/// What is to be written, in order. How much that may be is the outbox's business.
#[derive(Debug, Default)]
pub(crate) struct Outgoing {
    frames: VecDeque<Frame>,
    /// How much of the first frame is written.
    offset: usize,
}

#[derive(Debug)]
enum Frame {
    Message(Bytes),
    Pong(Bytes),
    Close(Bytes),
}

/// What the socket has taken of messages.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Written {
    /// Messages written whole, and their size in bytes.
    pub(crate) messages: usize,
    pub(crate) bytes: usize,
    /// The size of the message that is next.
    pub(crate) next: Option<usize>,
}

impl Outgoing {
    pub(crate) fn is_empty(&self) -> bool {
        self.frames.is_empty()
    }

    pub(crate) fn message(&mut self, frame: Bytes) {
        self.frames.push_back(Frame::Message(frame));
    }

    pub(crate) fn close(&mut self, frame: Bytes) {
        self.frames.push_back(Frame::Close(frame));
    }

    /// Whether the next pong takes the place of an older one.
    pub(crate) fn is_full_of_pongs(&self) -> bool {
        self.pongs() == MAX_PONGS
    }

    /// Answers a ping ahead of the messages that wait.
    pub(crate) fn pong(&mut self, payload: &[u8]) {
        let first = usize::from(self.offset > 0);
        let mut waiting = self.pongs();
        if waiting == MAX_PONGS {
            self.frames.remove(first);
            waiting -= 1;
        }
        self.frames.insert(first + waiting, Frame::Pong(encode_pong(payload)));
    }

    /// Forgets the messages, but for one that is half written.
    pub(crate) fn drop_messages(&mut self) {
        let mut is_begun = self.offset > 0;
        self.frames
            .retain(|frame| std::mem::take(&mut is_begun) || !matches!(frame, Frame::Message(_)));
    }

    /// Writes what one system call takes.
    pub(crate) fn poll_write(
        &mut self,
        socket: &mut (impl AsyncWrite + Unpin),
        context: &mut Context<'_>,
    ) -> Poll<io::Result<Written>> {
        let mut slices = [IoSlice::new(&[]); MAX_SLICES];
        let mut count = 0;
        for (slice, frame) in slices.iter_mut().zip(&self.frames) {
            let skipped = if count == 0 { self.offset } else { 0 };
            *slice = IoSlice::new(&frame.bytes()[skipped..]);
            count += 1;
        }
        let size = ready!(Pin::new(socket).poll_write_vectored(context, &slices[..count]))?;
        if size == 0 {
            return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
        }
        Poll::Ready(Ok(self.written(size)))
    }

    /// How many wait ahead of the messages.
    fn pongs(&self) -> usize {
        let untouched = self.frames.iter().skip(usize::from(self.offset > 0));
        untouched.take_while(|frame| matches!(frame, Frame::Pong(_))).count()
    }

    fn written(&mut self, mut size: usize) -> Written {
        let mut written = Written::default();
        while let Some(frame) = self.frames.front() {
            let length = frame.bytes().len();
            let rest = length - self.offset;
            if rest > size {
                self.offset += size;
                break;
            }
            size -= rest;
            self.offset = 0;
            if let Some(Frame::Message(_)) = self.frames.pop_front() {
                written.messages += 1;
                written.bytes += length;
            }
        }
        if self.frames.is_empty() && self.frames.capacity() > MAX_SLICES {
            self.frames = VecDeque::new();
        }
        written.next = self.frames.iter().find_map(|frame| match frame {
            Frame::Message(bytes) => Some(bytes.len()),
            Frame::Pong(_) | Frame::Close(_) => None,
        });
        written
    }
}

impl Frame {
    const fn bytes(&self) -> &Bytes {
        let (Self::Message(bytes) | Self::Pong(bytes) | Self::Close(bytes)) = self;
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
        outgoing.frames.iter().map(|frame| &frame.bytes()[..]).collect()
    }

    #[test]
    fn whole_messages_are_counted_and_half_ones_are_not() {
        let mut outgoing = outgoing(&["aa", "bbbb", "c"]);
        assert_eq!(outgoing.written(1), Written { messages: 0, bytes: 0, next: Some(2) });
        assert_eq!(outgoing.written(3), Written { messages: 1, bytes: 2, next: Some(4) });
        assert_eq!(outgoing.written(3), Written { messages: 2, bytes: 5, next: None });
        assert!(outgoing.is_empty());
    }

    #[test]
    fn pongs_go_ahead_but_into_no_frame() {
        let mut outgoing = outgoing(&["aa", "bb"]);
        outgoing.written(1);
        outgoing.pong(b"1");
        outgoing.pong(b"2");
        assert_eq!(shown(&outgoing), [&b"aa"[..], b"\x8a\x011", b"\x8a\x012", b"bb"]);
        assert_eq!(outgoing.written(4), Written { messages: 1, bytes: 2, next: Some(2) });
    }

    #[test]
    fn of_many_pongs_the_latest_wait() {
        let mut outgoing = outgoing(&["aa"]);
        for number in 0..100_u8 {
            outgoing.pong(&[number]);
        }
        let pongs = MAX_PONGS as u8;
        let expected: Vec<Vec<u8>> = (100 - pongs..100)
            .map(|number| vec![0x8a, 1, number])
            .chain([b"aa".to_vec()])
            .collect();
        assert_eq!(shown(&outgoing), expected);
    }

    #[test]
    fn a_frame_that_is_half_written_is_finished() {
        let mut outgoing = outgoing(&["aa", "bb"]);
        outgoing.written(1);
        outgoing.pong(b"1");
        outgoing.drop_messages();
        outgoing.close(Bytes::from_static(b"x"));
        assert_eq!(shown(&outgoing), [&b"aa"[..], b"\x8a\x011", b"x"]);
        outgoing.written(2);
        outgoing.drop_messages();
        assert_eq!(shown(&outgoing), [b"\x8a\x011", &b"x"[..]]);
    }
}

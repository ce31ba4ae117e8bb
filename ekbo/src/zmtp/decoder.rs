//! From a peer's bytes to what they say: a greeting, then commands and messages. It knows no
//! socket: bytes in, events out, and how they were cut changes nothing.

use std::mem;

use bytes::{Buf as _, Bytes, BytesMut};
use thiserror::Error;

use super::Message;
use super::command::Command;
use super::frame::Header;
use super::greeting::{self, Greeting};
use super::protocol_error::ProtocolError;

/// The most bytes of a command. The longest in use is READY, with a few properties.
pub(super) const MAX_COMMAND: u64 = 8 * 1024;

/// The most parts of a message; empty ones cost memory too.
const MAX_PARTS: usize = 1024;

/// The room for the next bytes. A message that does not fit grows as it arrives, by no more than
/// it has already: an announced size is not yet memory.
pub(super) const ROOM: usize = 64 * 1024;

/// A part below this size that waits for the rest of its message is copied, so that few bytes do
/// not keep a whole buffer.
const SMALL_PART: usize = 4 * 1024;

/// What the peer said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Event {
    /// Comes first, and once.
    Greeting(Greeting),
    Command(Command),
    Message(Message),
    /// A message beyond a limit has been passed over.
    Oversized(Excess),
}

/// Which limit a message is beyond. To be read behind what becomes of the message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub(crate) enum Excess {
    #[error("more than {0} bytes; raise max_message_size, or send less at once")]
    Bytes(usize),
    #[error("more than {MAX_PARTS} parts; send fewer and larger ones")]
    Parts,
}

/// Turns the bytes of one peer into [`Event`]s: read to [`space`](Self::space), then call
/// [`next`](Self::next) until it returns `None`. Of no use after an error.
#[derive(Debug)]
pub(super) struct Decoder {
    limit: usize,
    received: BytesMut,
    stage: Stage,
    /// The parts of a message that is not whole, and how many bytes they are.
    message: Message,
    size: usize,
    /// The limit that the message is beyond which is arriving.
    excess: Option<Excess>,
}

/// What the next bytes are.
#[derive(Debug, Clone, Copy)]
enum Stage {
    Greeting,
    Header,
    Body(Header),
    /// The rest of a body that nobody wants.
    Waste {
        left: u64,
        has_more: bool,
    },
}

impl Decoder {
    /// A decoder that passes over messages whose parts are more than `limit` bytes together.
    pub(super) fn new(limit: usize) -> Self {
        Self {
            limit,
            received: BytesMut::new(),
            stage: Stage::Greeting,
            message: Message::new(),
            size: 0,
            excess: None,
        }
    }

    /// Where the next bytes are to be put, behind those that are there. There is always room.
    pub(super) fn space(&mut self) -> &mut BytesMut {
        let held = self.received.len();
        let room = match self.stage {
            Stage::Body(header) if header.size > held as u64 => {
                (header.size as usize - held).clamp(1, held.max(ROOM))
            }
            _ => ROOM,
        };
        self.received.reserve(room);
        &mut self.received
    }

    /// The next thing said. `None` means that more bytes are needed.
    pub(super) fn next(&mut self) -> Result<Option<Event>, ProtocolError> {
        loop {
            let event = match self.stage {
                Stage::Greeting => match greeting::parse(&self.received)? {
                    Some(greeting) => {
                        self.received.advance(greeting::LENGTH);
                        self.stage = Stage::Header;
                        Some(Event::Greeting(greeting))
                    }
                    None => return Ok(None),
                },
                Stage::Header => match Header::parse(&self.received)? {
                    Some((header, length)) => {
                        self.received.advance(length);
                        self.stage = self.judge(header)?;
                        None
                    }
                    None => return Ok(None),
                },
                Stage::Body(header) if (self.received.len() as u64) < header.size => {
                    return Ok(None);
                }
                Stage::Body(header) => self.body(header)?,
                Stage::Waste { left, has_more } => {
                    let waste =
                        self.received.len().min(usize::try_from(left).unwrap_or(usize::MAX));
                    self.received.advance(waste);
                    let left = left - waste as u64;
                    if left > 0 {
                        self.stage = Stage::Waste { left, has_more };
                        return Ok(None);
                    }
                    self.stage = Stage::Header;
                    let excess = if has_more { None } else { self.excess.take() };
                    excess.map(Event::Oversized)
                }
            };
            if event.is_some() {
                return Ok(event);
            }
        }
    }

    /// What to do with the body that follows.
    fn judge(&mut self, header: Header) -> Result<Stage, ProtocolError> {
        if header.is_command {
            return match header.size {
                ..=MAX_COMMAND => Ok(Stage::Body(header)),
                size => Err(ProtocolError::CommandSize(size)),
            };
        }
        if self.excess.is_none() {
            if header.size > (self.limit - self.size) as u64 {
                self.excess = Some(Excess::Bytes(self.limit));
            } else if self.message.len() == MAX_PARTS {
                self.excess = Some(Excess::Parts);
            } else {
                return Ok(Stage::Body(header));
            }
        }
        self.message = Message::new();
        self.size = 0;
        Ok(Stage::Waste { left: header.size, has_more: header.has_more })
    }

    /// Takes a body that has arrived whole.
    fn body(&mut self, header: Header) -> Result<Option<Event>, ProtocolError> {
        self.stage = Stage::Header;
        let body = self.take(header.size as usize, header.has_more);
        if header.is_command {
            return Command::parse(body).map(|command| Some(Event::Command(command)));
        }
        self.size += body.len();
        self.message.push(body);
        if header.has_more {
            return Ok(None);
        }
        self.size = 0;
        Ok(Some(Event::Message(mem::take(&mut self.message))))
    }

    fn take(&mut self, size: usize, is_to_wait: bool) -> Bytes {
        let body = self.received.split_to(size);
        if size > ROOM {
            // Its buffer goes with it, instead of being kept for what comes next.
            self.received = BytesMut::from(&self.received[..]);
        }
        if is_to_wait && size < SMALL_PART { Bytes::copy_from_slice(&body) } else { body.freeze() }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::zmtp::command;

    const LIMIT: usize = 1000;

    /// Everything that comes of `bytes` when they arrive in pieces of these lengths, over and over.
    fn decode(bytes: &[u8], pieces: &[usize]) -> (Vec<Event>, Option<ProtocolError>) {
        let mut decoder = Decoder::new(LIMIT);
        let mut events = Vec::new();
        let mut rest = bytes;
        let mut pieces = pieces.iter().cycle();
        while !rest.is_empty() {
            let (piece, later) = rest.split_at(rest.len().min(*pieces.next().unwrap()));
            rest = later;
            decoder.space().extend_from_slice(piece);
            loop {
                match decoder.next() {
                    Ok(Some(event)) => events.push(event),
                    Ok(None) => break,
                    Err(error) => return (events, Some(error)),
                }
            }
        }
        (events, None)
    }

    fn part(body: &[u8], has_more: bool) -> Vec<u8> {
        [&Header::part(body.len(), has_more).encode()[..], body].concat()
    }

    fn after_greeting(frames: &[Vec<u8>]) -> (Vec<Event>, Option<ProtocolError>) {
        let bytes = [&greeting::OURS[..], &frames.concat()].concat();
        let (mut events, error) = decode(&bytes, &[usize::MAX]);
        assert_eq!(events.remove(0), Event::Greeting(Greeting { is_3_1: true }));
        (events, error)
    }

    fn message(parts: &[&[u8]]) -> Event {
        Event::Message(parts.iter().map(|part| Bytes::copy_from_slice(part)).collect())
    }

    #[test]
    fn messages_and_commands() {
        let frames = [
            part(b"one", false),
            part(b"two", true),
            // Not foreseen between parts, and understood.
            command::ping().to_vec(),
            part(b"", true),
            part(&[7; 300], false),
        ];
        let expected = [
            message(&[b"one"]),
            Event::Command(Command::Ping(Bytes::new())),
            message(&[b"two", b"", &[7; 300]]),
        ];
        assert_eq!(after_greeting(&frames), (expected.to_vec(), None));
    }

    #[test]
    fn the_limit_holds_for_the_parts_together() {
        let fits = [part(&[1; 600], true), part(&[2; 400], false)];
        assert_eq!(after_greeting(&fits).0, [message(&[&[1; 600], &[2; 400]])]);
        let frames = [
            part(&[1; 600], true),
            part(&[2; 401], true),
            part(&[3; 9], true),
            command::ping().to_vec(),
            part(b"", false),
            part(b"next", false),
            part(&[4; LIMIT + 1], false),
            part(b"last", false),
        ];
        let expected = [
            Event::Command(Command::Ping(Bytes::new())),
            Event::Oversized(Excess::Bytes(LIMIT)),
            message(&[b"next"]),
            Event::Oversized(Excess::Bytes(LIMIT)),
            message(&[b"last"]),
        ];
        assert_eq!(after_greeting(&frames), (expected.to_vec(), None));
    }

    #[test]
    fn the_number_of_parts_is_limited() {
        let parts = vec![part(b"", true); MAX_PARTS];
        // Of two limits the first is told.
        let rest = [part(b"", true), part(&[0; LIMIT + 1], false), part(b"next", false)];
        let expected = [Event::Oversized(Excess::Parts), message(&[b"next"])];
        assert_eq!(after_greeting(&[&parts[..], &rest].concat()).0, expected);
        let fits = [&parts[1..], &[part(b"", false)]].concat();
        assert!(matches!(after_greeting(&fits).0[0], Event::Message(_)));
    }

    #[test]
    fn a_long_command_is_refused_before_it_arrives() {
        let header = Header::command(MAX_COMMAND as usize + 1).encode();
        let error = ProtocolError::CommandSize(MAX_COMMAND + 1);
        assert_eq!(after_greeting(&[header.to_vec()]), (vec![], Some(error)));
    }

    #[test]
    fn memory_grows_with_what_arrives() {
        const SIZE: usize = 64 * 1024 * 1024;
        let mut decoder = Decoder::new(SIZE);
        decoder.space().extend_from_slice(&greeting::OURS);
        decoder.space().extend_from_slice(&Header::part(SIZE, false).encode());
        assert!(matches!(decoder.next(), Ok(Some(Event::Greeting(_)))));
        let mut arrived = 0;
        while arrived < SIZE {
            assert_eq!(decoder.next(), Ok(None));
            let space = decoder.space();
            assert!(space.capacity() <= 4 * arrived.max(ROOM), "{} of {arrived}", space.capacity());
            let piece = (space.capacity() - space.len()).min(SIZE - arrived);
            space.resize(space.len() + piece, 1);
            arrived += piece;
        }
        assert!(matches!(decoder.next(), Ok(Some(Event::Message(_)))));
        assert!(decoder.space().capacity() <= 2 * ROOM, "{}", decoder.space().capacity());
    }

    #[test]
    fn what_is_passed_over_is_not_kept() {
        let mut decoder = Decoder::new(LIMIT);
        decoder.space().extend_from_slice(&greeting::OURS);
        decoder.space().extend_from_slice(&Header::part(i64::MAX as usize, false).encode());
        assert!(matches!(decoder.next(), Ok(Some(Event::Greeting(_)))));
        for _ in 0..100 {
            decoder.space().extend_from_slice(&[0; ROOM]);
            assert_eq!(decoder.next(), Ok(None));
            assert!(decoder.received.is_empty());
            assert!(decoder.space().capacity() <= 2 * ROOM);
        }
    }

    fn any_frame() -> impl Strategy<Value = Vec<u8>> {
        let body = prop_oneof![0..40_usize, 200..300_usize, LIMIT - 2..LIMIT + 3];
        prop_oneof![
            4 => (body, any::<bool>()).prop_map(|(size, more)| part(&vec![b'x'; size], more)),
            1 => prop::collection::vec(any::<u8>(), 0..16).prop_map(|c| command::pong(&c).to_vec()),
            1 => Just(command::ready("PUB").to_vec()),
            1 => prop::collection::vec(any::<u8>(), 0..12),
        ]
    }

    proptest! {
        #[test]
        fn cuts_change_nothing(
            frames in prop::collection::vec(any_frame(), 0..12),
            fault in prop::option::weighted(0.1, (0..greeting::LENGTH, any::<u8>())),
            pieces in prop::collection::vec(1..200_usize, 1..20),
        ) {
            let mut bytes = [&greeting::OURS[..], &frames.concat()].concat();
            if let Some((at, byte)) = fault {
                bytes[at] = byte;
            }
            prop_assert_eq!(decode(&bytes, &pieces), decode(&bytes, &[usize::MAX]));
        }
    }
}

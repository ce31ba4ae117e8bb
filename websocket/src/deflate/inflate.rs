//! From a compressed payload to a message, never longer than asked for. What it needs is kept per
//! thread: one inflater and the room it writes to.

use std::cell::RefCell;

use bytes::Bytes;
use flate2::{Decompress, FlushDecompress, Status};

use super::{SCRATCH, TAIL};
use crate::protocol_error::ProtocolError;

/// The tail that did not travel, and an empty last block behind it: a stream that ends well ends
/// with exactly this (RFC 7692 section 7.2.2), and anything less was cut off.
const ENDING: [u8; 9] = [TAIL[0], TAIL[1], TAIL[2], TAIL[3], 0x01, 0x00, 0x00, 0xff, 0xff];

/// A compressor that flushes after each byte writes six for one. Somebody who sends far more bytes
/// than come out of them has us work for nothing, and is stopped.
const EMPTY_AT_MOST: usize = 256 * 1024;
const EXPANSION_AT_MOST: usize = 16;

thread_local! {
    static INFLATER: RefCell<Option<Inflater>> = const { RefCell::new(None) };
}

/// The message of a compressed payload, at most `max` bytes: [`ProtocolError::TooLarge`] as soon as
/// there would be more, [`ProtocolError::Deflate`] when the payload is malformed, cut off, or so much
/// longer than what comes of it that nobody means it.
///
/// The payload may hold several streams, each ended by a last block (section 7.2.3.4). None at
/// all, or nothing behind a last block, passes too: both are complete.
///
/// A thread that has called this keeps an inflater of 48 KB and 16 KiB of room.
pub(crate) fn inflate(payload: &[u8], max: usize) -> Result<Bytes, ProtocolError> {
    INFLATER.with_borrow_mut(|kept| {
        let mut inflater = kept.take().unwrap_or_else(Inflater::new);
        let message = inflater.message(payload, max)?;
        // Only an inflater that came to its end is used again; an error ends the connection anyway.
        *kept = Some(inflater);
        Ok(message)
    })
}

struct Inflater {
    stream: Decompress,
    scratch: Box<[u8]>,
}

impl Inflater {
    fn new() -> Self {
        Self { stream: Decompress::new(false), scratch: vec![0; SCRATCH].into() }
    }

    fn message(&mut self, payload: &[u8], max: usize) -> Result<Bytes, ProtocolError> {
        let mut output = Output {
            scratch: &mut self.scratch,
            filled: 0,
            long: Vec::new(),
            first_room: payload.len().saturating_mul(4).max(4 * SCRATCH),
            max,
        };
        run(&mut self.stream, payload, &mut output)?;
        Ok(output.into_bytes())
    }
}

/// Inflates all of `payload`. Every turn takes input, makes output or is the last.
fn run(
    stream: &mut Decompress,
    payload: &[u8],
    output: &mut Output<'_>,
) -> Result<(), ProtocolError> {
    if payload.is_empty() {
        return Ok(());
    }
    stream.reset(false);
    let mut rest = payload;
    loop {
        if payload.len() - rest.len() > EMPTY_AT_MOST + EXPANSION_AT_MOST * output.len() {
            return Err(ProtocolError::Deflate);
        }
        let room = output.room();
        let size = room.len();
        let input = &rest[..rest.len().min(SCRATCH)];
        let (status, read, written) = step(stream, input, room)?;
        output.filled += written;
        rest = &rest[read..];
        if status == Status::StreamEnd {
            if rest.is_empty() {
                return Ok(());
            }
            stream.reset(false);
        } else if rest.is_empty() && (written < size || output.is_full()) {
            break;
        } else if read == 0 && written == 0 {
            return Err(output.stuck());
        }
    }
    // Whatever came before is written: an ending that asks for room is not the ending.
    match step(stream, &ENDING, &mut [])? {
        (Status::StreamEnd, read, _) if read == ENDING.len() => Ok(()),
        (_, 0, _) => Err(output.stuck()),
        _ => Err(ProtocolError::Deflate),
    }
}

fn step(
    stream: &mut Decompress,
    input: &[u8],
    room: &mut [u8],
) -> Result<(Status, usize, usize), ProtocolError> {
    let (read, written) = (stream.total_in(), stream.total_out());
    let status = stream
        .decompress(input, room, FlushDecompress::Sync)
        .map_err(|_| ProtocolError::Deflate)?;
    Ok((status, (stream.total_in() - read) as usize, (stream.total_out() - written) as usize))
}

/// What has been inflated: the latest in the thread's room, a long message's beginning apart.
struct Output<'a> {
    scratch: &'a mut [u8],
    filled: usize,
    long: Vec<u8>,
    /// What `long` gets first.
    first_room: usize,
    max: usize,
}

impl Output<'_> {
    /// Where the next bytes go; empty at the limit only.
    fn room(&mut self) -> &mut [u8] {
        if self.filled == self.scratch.len() {
            self.append();
        }
        let end = self.scratch.len().min(self.max - self.long.len());
        &mut self.scratch[self.filled..end]
    }

    fn len(&self) -> usize {
        self.long.len() + self.filled
    }

    fn is_full(&self) -> bool {
        self.len() == self.max
    }

    /// Why nothing moves.
    fn stuck(&self) -> ProtocolError {
        if self.is_full() { ProtocolError::TooLarge } else { ProtocolError::Deflate }
    }

    /// Moves the thread's room behind `long`, which doubles when it must, up to the limit.
    fn append(&mut self) {
        if self.long.capacity() - self.long.len() < self.filled {
            let room = self.long.len().max(self.first_room);
            self.long.reserve_exact(room.min(self.max - self.long.len()).max(self.filled));
        }
        self.long.extend_from_slice(&self.scratch[..self.filled]);
        self.filled = 0;
    }

    fn into_bytes(mut self) -> Bytes {
        if self.long.is_empty() {
            return Bytes::copy_from_slice(&self.scratch[..self.filled]);
        }
        self.append();
        self.long.shrink_to_fit();
        Bytes::from(self.long)
    }
}

#[cfg(test)]
mod tests {
    use flate2::{Compress, Compression, FlushCompress};
    use proptest::prelude::*;

    use super::*;

    /// A compressed payload made in one go, `flush` at its end; the tail stays.
    fn deflated(message: &[u8], level: u32, flush: FlushCompress) -> Vec<u8> {
        let mut stream = Compress::new(Compression::new(level), false);
        let mut output = vec![0; message.len() + message.len() / 100 + 1000];
        stream.compress(message, &mut output, flush).unwrap();
        assert_eq!(stream.total_in(), message.len() as u64);
        output.truncate(stream.total_out() as usize);
        output
    }

    /// The payload that RFC 7692 section 7.2.1 makes of a message.
    fn compressed(message: &[u8]) -> Vec<u8> {
        let stream = deflated(message, 6, FlushCompress::Sync);
        stream.strip_suffix(&TAIL).unwrap().to_vec()
    }

    /// A stream ended by a last block.
    fn finished(message: &[u8]) -> Vec<u8> {
        deflated(message, 6, FlushCompress::Finish)
    }

    fn read(payload: &[u8]) -> Result<Bytes, ProtocolError> {
        inflate(payload, 1 << 20)
    }

    #[test]
    fn the_examples_of_the_rfc() {
        let hello = Ok(Bytes::from_static(b"Hello"));
        assert_eq!(read(b"\xf2\x48\xcd\xc9\xc9\x07\x00"), hello, "7.2.3.1");
        assert_eq!(read(b"\x00\x05\x00\xfa\xff\x48\x65\x6c\x6c\x6f\x00"), hello, "7.2.3.3");
        assert_eq!(read(b"\xf3\x48\xcd\xc9\xc9\x07\x00\x00"), hello, "7.2.3.4");
        let blocks = b"\xf2\x48\x05\x00\x00\x00\xff\xff\xca\xc9\xc9\x07\x00";
        assert_eq!(read(blocks), hello, "7.2.3.5");
        assert_eq!(read(b"\x00"), Ok(Bytes::new()), "7.2.3.6");
        // The second message of 7.2.3.2 needs the window of the first, which we ruled out.
        assert_eq!(read(b"\xf2\x00\x11\x00\x00"), Err(ProtocolError::Deflate), "7.2.3.2");
        assert_eq!(compressed(b"Hello"), b"\xf2\x48\xcd\xc9\xc9\x07\x00");
    }

    #[test]
    fn last_blocks_inside_a_message() {
        let mut payload = finished(b"one, ");
        payload.extend(finished(b""));
        payload.extend(finished(b"two, "));
        assert_eq!(read(&payload).unwrap(), "one, two, ");
        payload.extend(compressed(b"three"));
        assert_eq!(read(&payload).unwrap(), "one, two, three");
        // yawc went round for ever on this one.
        assert_eq!(read(b"\x03\x80"), Ok(Bytes::new()));
        assert_eq!(read(b""), Ok(Bytes::new()));
        // The next stream starts with an empty window.
        let mut payload = finished(b"Hello");
        payload.extend(b"\xf2\x00\x11\x00\x00");
        assert_eq!(read(&payload), Err(ProtocolError::Deflate));
    }

    #[test]
    fn many_empty_streams() {
        let payload = b"\x03\x00".repeat(100_000);
        assert_eq!(read(&payload), Ok(Bytes::new()));
        // What is far longer than it says is work for nothing.
        let payload = b"\x03\x00".repeat(1_000_000);
        assert_eq!(read(&payload), Err(ProtocolError::Deflate));
        let flushed_each_byte = b"\x4a\x04\x00\x00\x00\xff\xff".repeat(300_000);
        let payload = flushed_each_byte.strip_suffix(&TAIL).unwrap();
        assert_eq!(read(payload).unwrap(), [b'a'; 300_000][..]);
    }

    #[test]
    fn garbage_behind_a_last_block() {
        for garbage in [&b"\xff"[..], b"\x07", b"\x01", b"garbage", &[0xff; 100], &[0x00; 100]] {
            let payload = [&finished(b"fine")[..], garbage].concat();
            assert_eq!(read(&payload), Err(ProtocolError::Deflate), "{garbage:x?}");
        }
    }

    #[test]
    fn bad_streams() {
        for bad in [
            &b"\xff"[..],
            b"\x06",
            b"\x07\x00",
            b"Hello",
            b"\x00\x05\x00\x00\x00Hello\x00",
            b"\x04\x00\xfe\xff",
            b"\x02",
            b"\xf2\x48\xcd\xc9\xc9\x07\x00\xff\xff",
            &TAIL,
        ] {
            assert_eq!(read(bad), Err(ProtocolError::Deflate), "{bad:x?}");
        }
        // The next message of this thread is none the worse for it.
        assert_eq!(read(&compressed(b"fine")).unwrap(), "fine");
    }

    #[test]
    fn every_way_to_cut_a_stream_off() {
        let text = "Nobody expects a message to end in the middle of a word. ".repeat(20);
        for level in [0, 1, 6, 9] {
            let stream = deflated(text.as_bytes(), level, FlushCompress::Sync);
            let payload = stream.strip_suffix(&TAIL).unwrap();
            assert_eq!(read(payload).unwrap(), text);
            // The first byte of a stored block alone is an empty message.
            for end in if level == 0 { 2 } else { 1 }..payload.len() {
                let result = read(&payload[..end]);
                assert_eq!(result, Err(ProtocolError::Deflate), "level {level}, {end} bytes");
            }
        }
        let stream = finished(text.as_bytes());
        for end in 1..stream.len() {
            assert_eq!(read(&stream[..end]), Err(ProtocolError::Deflate), "{end} bytes");
        }
    }

    #[test]
    fn an_open_block_is_not_ended_by_the_tail() {
        // Stored blocks that announce just as much as the ending has.
        for length in 1_u8..=9 {
            for last in [0, 1] {
                let payload = [last, length, 0, !length, 0xff];
                assert_eq!(read(&payload), Err(ProtocolError::Deflate), "{length}, {last}");
            }
        }
    }

    #[test]
    fn the_limit_is_exact() {
        for length in [0, 1, 2, 100, SCRATCH - 1, SCRATCH, SCRATCH + 1, 4 * SCRATCH, 300_000] {
            let message: Vec<u8> = (0..length).map(|at| (at / 7 * at) as u8).collect();
            for payload in [compressed(&message), finished(&message), {
                let half = length / 2;
                [finished(&message[..half]), compressed(&message[half..])].concat()
            }] {
                assert_eq!(inflate(&payload, length).unwrap(), message, "{length}");
                assert_eq!(inflate(&payload, length + 1).unwrap(), message, "{length}");
                if length > 0 {
                    let short = inflate(&payload, length - 1);
                    assert_eq!(short, Err(ProtocolError::TooLarge), "{length}");
                    assert_eq!(inflate(&payload, 0), Err(ProtocolError::TooLarge), "{length}");
                }
            }
        }
    }

    /// 1 GiB of zeros as a payload of about 1 MiB.
    fn bomb() -> Vec<u8> {
        let part = deflated(&vec![0; 1 << 20], 9, FlushCompress::Full);
        [part.repeat(1024), b"\x00".to_vec()].concat()
    }

    #[test]
    fn a_bomb_does_not_go_off() {
        let bomb = bomb();
        assert!(bomb.len() < 1_200_000, "{}", bomb.len());
        for max in [0, 1, 1000, SCRATCH, 100_000, 1 << 20, (1 << 20) + 1] {
            let mut inflater = Inflater::new();
            let mut output = Output {
                scratch: &mut inflater.scratch,
                filled: 0,
                long: Vec::new(),
                first_room: 4 * bomb.len(),
                max,
            };
            let result = run(&mut inflater.stream, &bomb, &mut output);
            assert_eq!(result, Err(ProtocolError::TooLarge));
            assert_eq!(inflater.stream.total_out(), max as u64);
            assert!(output.long.capacity() <= max);
        }
        assert_eq!(inflate(&bomb, 1 << 20), Err(ProtocolError::TooLarge));
    }

    #[test]
    fn a_small_payload_claims_little() {
        let payload = compressed(&[0; 2 * SCRATCH]);
        let mut inflater = Inflater::new();
        let message = inflater.message(&payload, usize::MAX).unwrap();
        assert_eq!(message, vec![0; 2 * SCRATCH]);
        assert_eq!(message.try_into_mut().unwrap().capacity(), 2 * SCRATCH);
        assert_eq!(inflater.scratch.len(), SCRATCH);
    }

    proptest! {
        /// Arbitrary bytes end in a message within the limit or in an error, and leave the inflater
        /// fit for the next message.
        #[test]
        fn noise(payload in prop::collection::vec(any::<u8>(), 0..300), max in 0_usize..2000) {
            if let Ok(message) = inflate(&payload, max) {
                prop_assert!(message.len() <= max);
            }
            prop_assert_eq!(inflate(b"\xf2\x48\xcd\xc9\xc9\x07\x00", 5).unwrap(), "Hello");
        }

        /// A stream with bytes changed, too.
        #[test]
        fn damage(
            message in prop::collection::vec(0_u8..4, 1..3000),
            changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
        ) {
            let mut payload = compressed(&message);
            for (at, byte) in changes {
                let at = at.index(payload.len());
                payload[at] = byte;
            }
            match inflate(&payload, message.len()) {
                Ok(other) => prop_assert!(other.len() <= message.len()),
                Err(error) => {
                    let expected = [ProtocolError::Deflate, ProtocolError::TooLarge];
                    prop_assert!(expected.contains(&error));
                }
            }
        }

        /// Any message in any parts, each ended or flushed.
        #[test]
        fn parts(
            parts in prop::collection::vec(
                (prop::collection::vec(0_u8..20, 0..3000), any::<bool>()),
                1..5,
            ),
        ) {
            let mut payload = Vec::new();
            let mut message = Vec::new();
            for (part, ended) in parts {
                let flush = if ended { FlushCompress::Finish } else { FlushCompress::Full };
                payload.extend(deflated(&part, 6, flush));
                message.extend(part);
            }
            payload.push(0);
            prop_assert_eq!(inflate(&payload, message.len()).unwrap(), message);
        }
    }
}

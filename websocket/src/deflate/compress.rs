//! From a message to one compressed frame that many connections can share. What a message needs is
//! kept per thread: a compressor for each window size in use, and the room it writes to.

use std::cell::RefCell;

use bytes::Bytes;
use flate2::{Compress, Compression, FlushCompress};

use super::{Deflate, SCRATCH, TAIL};
use crate::encoder::{MAX_HEADER, put_header};
use crate::frame::{COMPRESSED, Kind, Opcode};

/// How many window sizes there are: 9 to 15 bits.
const WINDOWS: usize = 7;

thread_local! {
    static COMPRESSORS: RefCell<Option<Compressors>> = const { RefCell::new(None) };
}

/// One unfragmented data frame with a compressed payload, for every client whose
/// [`window_bits`](Deflate::window_bits) are at least those of `deflate`.
///
/// `None` when that would not be smaller than the frame of [`encode`](crate::encode): send that
/// one then, for compression is always optional. An empty message never becomes smaller (RFC 7692
/// section 7.2.3.6).
///
/// A thread that has called this keeps 16 KiB, and for each window size it was called with a
/// compressor of 250 (9 bits) to 380 KB (15 bits): 2.1 MB when every size is in use. Only while it
/// runs, memory grows with the message, and never beyond the size of the plain frame.
pub fn encode_deflated(kind: Kind, payload: &[u8], deflate: Deflate) -> Option<Bytes> {
    if payload.is_empty() {
        return None;
    }
    COMPRESSORS.with_borrow_mut(|compressors| {
        compressors.get_or_insert_with(Compressors::new).frame(kind, payload, deflate)
    })
}

struct Compressors {
    streams: [Option<Compress>; WINDOWS],
    scratch: Box<[u8]>,
}

impl Compressors {
    fn new() -> Self {
        Self { streams: [const { None }; WINDOWS], scratch: vec![0; SCRATCH].into() }
    }

    fn frame(&mut self, kind: Kind, payload: &[u8], deflate: Deflate) -> Option<Bytes> {
        let bits = deflate.window_bits;
        let slot = &mut self.streams[usize::from(bits - 9)];
        // Only a stream that came to its end is used again: zlib-rs 0.6.8 does not reset all of one
        // that did not, and the next message would be corrupt.
        let mut stream = slot
            .take()
            .unwrap_or_else(|| Compress::new_with_window_bits(Compression::fast(), false, bits));
        let scratch = &mut *self.scratch;
        let most = MAX_HEADER + payload.len() + TAIL.len();
        // The header goes in front when its length is known.
        let mut filled = MAX_HEADER;
        let mut long = Vec::new();
        let mut rest = payload;
        loop {
            let (read, written) = (stream.total_in(), stream.total_out());
            stream.compress(rest, &mut scratch[filled..], FlushCompress::Sync).ok()?;
            rest = &rest[(stream.total_in() - read) as usize..];
            filled += (stream.total_out() - written) as usize;
            if rest.is_empty() && filled < scratch.len() {
                break;
            }
            if long.len() + filled >= most {
                return None;
            }
            append(&mut long, &scratch[..filled], most);
            filled = 0;
        }
        stream.reset();
        *slot = Some(stream);
        if long.len() + filled >= most {
            return None;
        }
        if long.is_empty() {
            let start = finish(&mut scratch[..filled], kind)?;
            return Some(Bytes::copy_from_slice(&scratch[start..filled - TAIL.len()]));
        }
        append(&mut long, &scratch[..filled], most);
        let start = finish(&mut long, kind)?;
        long.truncate(long.len() - TAIL.len());
        long.shrink_to_fit();
        Some(Bytes::from(long).slice(start..))
    }
}

/// Doubles the room of `long` when it must, but never beyond `most`.
fn append(long: &mut Vec<u8>, bytes: &[u8], most: usize) {
    if long.capacity() - long.len() < bytes.len() {
        let room = long.len().max(4 * SCRATCH).min(most - long.len());
        long.reserve_exact(room.max(bytes.len()));
    }
    long.extend_from_slice(bytes);
}

/// Writes the header in front of a payload that still has its tail; returns where it starts.
fn finish(frame: &mut [u8], kind: Kind) -> Option<usize> {
    let payload = frame.strip_suffix(&TAIL)?.len() - MAX_HEADER;
    let mut header = [0; MAX_HEADER];
    let mut room = &mut header[..];
    put_header(&mut room, COMPRESSED | Opcode::Data(kind).bits(), payload);
    let size = MAX_HEADER - room.len();
    let start = MAX_HEADER - size;
    frame[start..MAX_HEADER].copy_from_slice(&header[..size]);
    Some(start)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::deflate::{inflate, reference};
    use crate::encode;

    fn window(window_bits: u8) -> Deflate {
        Deflate { window_bits }
    }

    /// The payload of an unmasked frame.
    fn payload(frame: &[u8]) -> &[u8] {
        let (size, length) = match frame[1] {
            126 => (4, usize::from(u16::from_be_bytes(frame[2..4].try_into().unwrap()))),
            127 => (10, u64::from_be_bytes(frame[2..10].try_into().unwrap()) as usize),
            short => (2, usize::from(short)),
        };
        assert_eq!(frame.len(), size + length);
        &frame[size..]
    }

    /// What a client whose window has `bits` reads; fails when a distance is beyond it.
    #[track_caller]
    fn inflated(frame: &[u8], bits: u8) -> Vec<u8> {
        let (message, reach) = reference::inflate(&[payload(frame), &TAIL].concat()).unwrap();
        assert!(reach <= 1 << bits, "{reach} for {bits} bits");
        message
    }

    /// Bytes that do not compress.
    fn noise(length: usize) -> Vec<u8> {
        let mut state = 0x2545_f491_4f6c_dd1d_u64;
        let next = || {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state as u8
        };
        std::iter::repeat_with(next).take(length).collect()
    }

    #[test]
    fn a_frame_is_one_compressed_message() {
        let frame = encode_deflated(Kind::Text, &[b'a'; 100], window(15)).unwrap();
        assert_eq!(frame[0], 0xc1);
        assert_eq!(inflated(&frame, 15), [b'a'; 100]);
        let frame = encode_deflated(Kind::Binary, &[0; 300], window(9)).unwrap();
        assert_eq!(frame[0], 0xc2);
        assert!(!frame.ends_with(&TAIL));
    }

    #[test]
    fn each_form_of_length() {
        for (length, second) in [(100, None), (40_000, Some(126)), (1_000_000, Some(127))] {
            // A part that stays as it is lets the compressed length grow with the plain one.
            let message = [vec![b' '; length], noise(length / 10)].concat();
            let frame = encode_deflated(Kind::Binary, &message, window(12)).unwrap();
            match second {
                Some(second) => assert_eq!(frame[1], second),
                None => assert!(frame[1] < 126),
            }
            assert!(frame.len() < encode(Kind::Binary, &message).len());
            assert!(inflated(&frame, 12) == message);
        }
    }

    #[test]
    fn what_does_not_become_smaller_goes_plain() {
        for bits in 9..=15 {
            assert_eq!(encode_deflated(Kind::Text, b"", window(bits)), None);
            assert_eq!(encode_deflated(Kind::Text, b"Hello", window(bits)), None);
            for length in [1, 60, 126, SCRATCH - 14, SCRATCH, SCRATCH + 1, 300_000] {
                assert_eq!(encode_deflated(Kind::Binary, &noise(length), window(bits)), None);
            }
        }
    }

    #[test]
    fn messages_around_the_size_of_the_scratch_room() {
        let ascii: Vec<u8> = noise(2 * SCRATCH).iter().map(|byte| byte & 0x7f).collect();
        let mut sizes = Vec::new();
        for length in SCRATCH - 60..SCRATCH + 20 {
            let message = [&ascii[..length], &[b' '; 1000]].concat();
            let frame = encode_deflated(Kind::Binary, &message, window(15)).unwrap();
            assert!(inflate(payload(&frame), message.len()).unwrap() == message, "{length}");
            sizes.push(frame.len());
        }
        // The largest that fits the room at once, and the smallest that does not: there the flush
        // starts over and adds an empty block of five bytes.
        let full = 4 + SCRATCH - MAX_HEADER - TAIL.len();
        assert!(sizes.contains(&(full - 1)) && sizes.contains(&(full + 5)));
    }

    #[test]
    fn a_frame_holds_no_more_than_it_needs() {
        for length in [1000, 100_000, 3_000_000] {
            let mut message = noise(length);
            message.extend(vec![0; length]);
            let frame = encode_deflated(Kind::Binary, &message, window(15)).unwrap();
            let size = frame.len();
            let held = frame.try_into_mut().unwrap().capacity();
            assert!(held <= size + size / 16 + 16, "{held} for {size}");
        }
    }

    #[test]
    fn a_very_large_message() {
        let message = noise(1 << 10).repeat(100 << 10);
        let frame = encode_deflated(Kind::Binary, &message, window(15)).unwrap();
        assert!(frame.len() < message.len() / 10);
        let read = inflate(payload(&frame), message.len()).unwrap();
        assert!(read == message);
    }

    #[test]
    fn the_window_is_kept_to() {
        for bits in 9..=15 {
            // Matches lie at the distance of the block, and at that of the words inside it.
            let distance = (1 << bits) - 300;
            for block in [noise(distance), noise(distance / 8).repeat(8)] {
                let message = block.repeat(5);
                for bits in bits..=15 {
                    let frame = encode_deflated(Kind::Binary, &message, window(bits)).unwrap();
                    assert!(inflated(&frame, bits) == message, "{distance} in {bits} bits");
                }
                for bits in 9..bits {
                    if let Some(frame) = encode_deflated(Kind::Binary, &message, window(bits)) {
                        assert!(inflated(&frame, bits) == message, "{distance} in {bits} bits");
                    }
                }
            }
        }
        let wide = encode_deflated(Kind::Binary, &noise(600).repeat(5), window(15)).unwrap();
        let (_, reach) = reference::inflate(&[payload(&wide), &TAIL].concat()).unwrap();
        assert!(reach > 512, "else this test shows nothing");
    }

    #[test]
    fn a_stream_given_up_does_not_trouble_the_next() {
        let ascii: Vec<u8> = noise(500_000).iter().map(|byte| byte & 0x7f).collect();
        let message = [ascii, vec![b' '; 50_000]].concat();
        for bits in 9..=15 {
            for length in [SCRATCH - 20, 20_000, 50_000, 100_000, 1_000_000] {
                assert_eq!(encode_deflated(Kind::Binary, &noise(length), window(bits)), None);
                let frame = encode_deflated(Kind::Binary, &message, window(bits)).unwrap();
                assert!(inflate(payload(&frame), message.len()).unwrap() == message);
            }
        }
    }

    #[test]
    fn one_message_leaves_nothing_for_the_next() {
        let text = b"the same words again, the same words again".repeat(3);
        for bits in [9, 15] {
            let first = encode_deflated(Kind::Text, &text, window(bits)).unwrap();
            assert_eq!(encode_deflated(Kind::Binary, &noise(50_000), window(bits)), None);
            assert_eq!(encode_deflated(Kind::Text, &text, window(bits)).unwrap(), first);
        }
    }

    proptest! {
        /// Any message, any window: an inflater written apart reads it, within its window.
        #[test]
        fn what_is_compressed_can_be_read(
            words in prop::collection::vec(prop::collection::vec(any::<u8>(), 1..20), 1..20),
            picks in prop::collection::vec(any::<prop::sample::Index>(), 1..2000),
            bits in 9_u8..=15,
        ) {
            let message: Vec<u8> =
                picks.iter().flat_map(|pick| pick.get(&words).clone()).collect();
            if let Some(frame) = encode_deflated(Kind::Binary, &message, window(bits)) {
                prop_assert!(frame.len() < encode(Kind::Binary, &message).len());
                prop_assert!(inflated(&frame, bits) == message);
            }
        }
    }
}

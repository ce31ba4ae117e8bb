//! Payloads of permessage-deflate (RFC 7692), as a client makes and reads them, each message on its
//! own. What is negotiated, and frames, are not here.

use flate2::{Compress, Compression, Decompress, FlushCompress, FlushDecompress, Status};

/// What ends every flushed stream and does not travel (RFC 7692 section 7.2.1).
const TAIL: [u8; 4] = [0x00, 0x00, 0xff, 0xff];

/// The payload of a compressed message.
pub(crate) fn deflate(message: impl AsRef<[u8]>) -> Vec<u8> {
    deflate_repeated(message, 1, 6)
}

/// The payload of a message that is `message` so many times, at a compression level from 0 to 9.
/// Only the first time takes time: what comes again is the same piece of stream.
pub(crate) fn deflate_repeated(message: impl AsRef<[u8]>, times: usize, level: u32) -> Vec<u8> {
    let piece = run(message.as_ref(), level, FlushCompress::Sync);
    let mut payload = piece.repeat(times);
    payload.truncate(payload.len() - TAIL.len());
    payload
}

/// A payload that ends with a last block, which a sender may choose (section 7.2.3.4): an empty
/// block without compression is added in its place.
pub(crate) fn deflate_to_the_end(message: impl AsRef<[u8]>) -> Vec<u8> {
    let mut payload = run(message.as_ref(), 6, FlushCompress::Finish);
    payload.push(0);
    payload
}

/// The message in the payload of one compressed message; panics when that is malformed.
#[track_caller]
pub(crate) fn inflate(payload: &[u8]) -> Vec<u8> {
    let stream = [payload, &TAIL[..]].concat();
    let mut inflater = Decompress::new(false);
    let mut message = Vec::new();
    while inflater.total_in() < stream.len() as u64 || message.len() == message.capacity() {
        message.reserve(64 * 1024);
        let rest = &stream[usize::try_from(inflater.total_in()).unwrap()..];
        match inflater.decompress_vec(rest, &mut message, FlushDecompress::Sync) {
            Ok(Status::Ok | Status::BufError) => {}
            other => panic!("{other:?} after {} bytes", message.len()),
        }
    }
    message
}

fn run(message: &[u8], level: u32, flush: FlushCompress) -> Vec<u8> {
    let mut output = vec![0; message.len() + message.len() / 100 + 1000];
    let mut stream = Compress::new(Compression::new(level), false);
    stream.compress(message, &mut output, flush).unwrap();
    assert_eq!(stream.total_in(), message.len() as u64);
    output.truncate(usize::try_from(stream.total_out()).unwrap());
    output
}

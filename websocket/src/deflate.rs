//! permessage-deflate (RFC 7692): what was agreed with one client, and how messages are compressed
//! and inflated under it. Nothing here belongs to a connection between messages: neither side
//! keeps its window, so one compressed frame serves every client with the same window size.

mod compress;
mod inflate;
mod negotiation;
#[cfg(test)]
mod reference;

pub use compress::encode_deflated;
pub(crate) use inflate::inflate;

/// What ends every flushed stream and does not travel (RFC 7692 section 7.2.1): the length fields
/// of an empty block without compression.
const TAIL: [u8; 4] = [0x00, 0x00, 0xff, 0xff];

/// A compressor or inflater writes to this much room at a time; longer output grows step by step.
const SCRATCH: usize = 16 * 1024;

/// permessage-deflate as agreed with one client, from [`negotiate`](Self::negotiate): neither side
/// takes its context over from one message to the next.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Deflate {
    window_bits: u8,
}

impl Deflate {
    /// The base-2 logarithm of the window that the server may use, 9 to 15. Clients for which it is
    /// equal can share a frame of [`encode_deflated`].
    pub const fn window_bits(self) -> u8 {
        self.window_bits
    }
}

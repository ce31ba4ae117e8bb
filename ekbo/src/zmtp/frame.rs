//! Frames (RFC 23, "Framing"): flags, a size of one byte or eight, and so many bytes.

use bytes::{BufMut, Bytes, BytesMut};

use super::protocol_error::ProtocolError;

const MORE: u8 = 1;
const LONG: u8 = 2;
const COMMAND: u8 = 4;

/// What stands before a frame's body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Header {
    /// Another part of the same message follows.
    pub(super) has_more: bool,
    pub(super) is_command: bool,
    /// Of the body, in bytes.
    pub(super) size: u64,
}

impl Header {
    pub(super) const fn part(size: usize, has_more: bool) -> Self {
        Self { has_more, is_command: false, size: size as u64 }
    }

    pub(super) const fn command(size: usize) -> Self {
        Self { has_more: false, is_command: true, size: size as u64 }
    }

    /// The header at the front of `bytes`, and its own length. `None`: more are needed.
    pub(super) fn parse(bytes: &[u8]) -> Result<Option<(Self, usize)>, ProtocolError> {
        let Some((&flags, rest)) = bytes.split_first() else {
            return Ok(None);
        };
        let (has_more, is_command) = (flags & MORE != 0, flags & COMMAND != 0);
        if flags & !(MORE | LONG | COMMAND) != 0 || has_more && is_command {
            return Err(ProtocolError::Flags(flags));
        }
        let (size, length) = if flags & LONG == 0 {
            (rest.first().map(|&size| u64::from(size)), 2)
        } else {
            (rest.first_chunk().map(|&size| u64::from_be_bytes(size)), 9)
        };
        match size {
            Some(size) if size > i64::MAX as u64 => Err(ProtocolError::Size(size)),
            size => Ok(size.map(|size| (Self { has_more, is_command, size }, length))),
        }
    }

    /// The header as it is sent.
    pub(super) fn encode(self) -> Bytes {
        let mut encoded = BytesMut::with_capacity(9);
        let flags =
            if self.has_more { MORE } else { 0 } | if self.is_command { COMMAND } else { 0 };
        match u8::try_from(self.size) {
            Ok(size) => encoded.put_slice(&[flags, size]),
            Err(_) => {
                encoded.put_u8(flags | LONG);
                encoded.put_u64(self.size);
            }
        }
        encoded.freeze()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_encoded_is_read_back() {
        let headers = [0, 1, 255, 256, 70_000].into_iter().flat_map(|size| {
            [Header::part(size, false), Header::part(size, true), Header::command(size)]
        });
        for header in headers {
            let encoded = header.encode();
            assert_eq!(Header::parse(&encoded), Ok(Some((header, encoded.len()))));
            for length in 0..encoded.len() {
                assert_eq!(Header::parse(&encoded[..length]), Ok(None), "{header:?}");
            }
        }
    }

    #[test]
    fn nonsense_is_refused() {
        for flags in (8..=255).chain([MORE | COMMAND, MORE | COMMAND | LONG]) {
            assert_eq!(Header::parse(&[flags]), Err(ProtocolError::Flags(flags)));
        }
        let endless = [2, 0x80, 0, 0, 0, 0, 0, 0, 0];
        assert_eq!(Header::parse(&endless), Err(ProtocolError::Size(1 << 63)));
    }

    #[test]
    fn a_short_size_may_be_written_long() {
        let header = Header::parse(&[2, 0, 0, 0, 0, 0, 0, 0, 5, 0xaa]);
        assert_eq!(header, Ok(Some((Header::part(5, false), 9))));
    }
}

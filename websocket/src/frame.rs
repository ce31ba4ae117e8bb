//! The frame header (RFC 6455 section 5.2) as a client sends it: opcode, length, masking key.
//! Rules that need more than one frame (fragments, message size) belong to the decoder.

use crate::protocol_error::ProtocolError;

/// The longest payload of a ping, pong or close frame, in bytes (RFC 6455 section 5.5).
pub(crate) const MAX_CONTROL_PAYLOAD: usize = 125;

/// The longest header a masked frame can have: 2 bytes, 8 of length, 4 of masking key.
pub(crate) const MAX_HEADER: usize = 14;

/// The first reserved bit: the message is compressed (RFC 7692 section 6).
pub(crate) const COMPRESSED: u8 = 0x40;

/// Whether a message is text (UTF-8) or binary.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// Opcode 1: valid UTF-8, in both directions.
    Text,
    /// Opcode 2: any bytes.
    Binary,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Opcode {
    Continuation,
    Data(Kind),
    Close,
    Ping,
    Pong,
}

impl Opcode {
    pub(crate) const fn bits(self) -> u8 {
        match self {
            Self::Continuation => 0,
            Self::Data(Kind::Text) => 1,
            Self::Data(Kind::Binary) => 2,
            Self::Close => 8,
            Self::Ping => 9,
            Self::Pong => 10,
        }
    }

    const fn from_bits(bits: u8) -> Option<Self> {
        Some(match bits {
            0 => Self::Continuation,
            1 => Self::Data(Kind::Text),
            2 => Self::Data(Kind::Binary),
            8 => Self::Close,
            9 => Self::Ping,
            10 => Self::Pong,
            _ => return None,
        })
    }

    pub(crate) const fn is_control(self) -> bool {
        matches!(self, Self::Close | Self::Ping | Self::Pong)
    }
}

/// A complete header of a client's frame.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Header {
    pub(crate) opcode: Opcode,
    pub(crate) fin: bool,
    pub(crate) compressed: bool,
    pub(crate) length: u64,
    pub(crate) mask: [u8; 4],
}

impl Header {
    /// Reads a header from the start of `bytes`: with its size when it is complete, `None` when
    /// more bytes are needed. What can be refused is refused from the first two bytes on; the
    /// start of a compressed message is, unless `inflating`.
    pub(crate) fn parse(
        bytes: &[u8],
        inflating: bool,
    ) -> Result<Option<(Self, usize)>, ProtocolError> {
        let &[first, second, ..] = bytes else {
            return match bytes.first() {
                Some(&first) => Self::check_first(first, inflating).map(|_| None),
                None => Ok(None),
            };
        };
        let opcode = Self::check_first(first, inflating)?;
        let fin = first & 0x80 != 0;
        let compressed = first & COMPRESSED != 0;
        if second & 0x80 == 0 {
            return Err(ProtocolError::Unmasked);
        }
        let short = second & 0x7f;
        if opcode.is_control() {
            if usize::from(short) > MAX_CONTROL_PAYLOAD {
                return Err(ProtocolError::LongControl);
            }
            if !fin {
                return Err(ProtocolError::FragmentedControl);
            }
        }
        let (length, at) = match short {
            126 => match bytes.get(2..4) {
                Some(&[a, b]) => (u64::from(u16::from_be_bytes([a, b])), 4),
                _ => return Ok(None),
            },
            127 => match bytes.get(2..10).and_then(|b| <[u8; 8]>::try_from(b).ok()) {
                Some(wide) => (u64::from_be_bytes(wide), 10),
                None => return Ok(None),
            },
            short => (u64::from(short), 2),
        };
        let minimal = match short {
            126 => length > 125,
            127 => length > 0xffff && length >> 63 == 0,
            _ => true,
        };
        if !minimal {
            return Err(ProtocolError::Length);
        }
        let Some(mask) = bytes.get(at..at + 4).and_then(|b| <[u8; 4]>::try_from(b).ok()) else {
            return Ok(None);
        };
        Ok(Some((Self { opcode, fin, compressed, length, mask }, at + 4)))
    }

    const fn check_first(first: u8, inflating: bool) -> Result<Opcode, ProtocolError> {
        let opcode = Opcode::from_bits(first & 0x0f);
        let allowed = match opcode {
            Some(Opcode::Data(_)) if inflating => COMPRESSED,
            _ => 0,
        };
        if first & 0x70 & !allowed != 0 {
            return Err(ProtocolError::ReservedBits);
        }
        match opcode {
            Some(opcode) => Ok(opcode),
            None => Err(ProtocolError::Opcode),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_use_the_shortest_form() {
        let mask = [1, 2, 3, 4];
        let header = |head: &[u8]| {
            let mut bytes = head.to_vec();
            bytes.extend(mask);
            Header::parse(&bytes, false).map(|found| found.map(|(h, size)| (h.length, size)))
        };
        assert_eq!(header(&[0x82, 0x80 | 5]).unwrap(), Some((5, 6)));
        assert_eq!(header(&[0x82, 0xfe, 0, 126]).unwrap(), Some((126, 8)));
        assert_eq!(header(&[0x82, 0xff, 0, 0, 0, 0, 0, 1, 0, 0]).unwrap(), Some((0x10000, 14)));
        assert_eq!(header(&[0x82, 0xfe, 0, 125]), Err(ProtocolError::Length));
        assert_eq!(header(&[0x82, 0xff, 0, 0, 0, 0, 0, 0, 255, 255]), Err(ProtocolError::Length));
        assert_eq!(header(&[0x82, 0xff, 0x80, 0, 0, 0, 0, 0, 0, 0]), Err(ProtocolError::Length));
    }

    #[test]
    fn an_incomplete_header_asks_for_more_and_a_wrong_first_byte_does_not() {
        assert!(matches!(Header::parse(&[], false), Ok(None)));
        assert!(matches!(Header::parse(&[0x81], false), Ok(None)));
        assert!(matches!(Header::parse(&[0x81, 0x85, 1, 2, 3], false), Ok(None)));
        assert_eq!(Header::parse(&[0xc1], false).unwrap_err(), ProtocolError::ReservedBits);
        assert_eq!(Header::parse(&[0x83], false).unwrap_err(), ProtocolError::Opcode);
        assert_eq!(Header::parse(&[0x81, 0x05], false).unwrap_err(), ProtocolError::Unmasked);
        assert_eq!(Header::parse(&[0x89, 0xfe], false).unwrap_err(), ProtocolError::LongControl);
        assert_eq!(
            Header::parse(&[0x09, 0x80], false).unwrap_err(),
            ProtocolError::FragmentedControl
        );
    }
}

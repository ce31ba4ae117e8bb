//! From a message to the bytes of one frame. A server never masks and never needs to fragment, so
//! a frame is the same for every receiver: encode once, share the [`Bytes`].

use bytes::{BufMut, Bytes, BytesMut};

use crate::close::CloseFrame;
use crate::frame::{Kind, Opcode};

/// The longest header of a frame that is not masked: 2 bytes, 8 of length.
pub(crate) const MAX_HEADER: usize = 10;

/// One unfragmented data frame, header and payload.
pub fn encode(kind: Kind, payload: &[u8]) -> Bytes {
    frame(Opcode::Data(kind), payload)
}

/// A close frame; without a `close` its payload is empty, which the peer reports as 1005.
pub fn encode_close(close: Option<&CloseFrame>) -> Bytes {
    frame(Opcode::Close, &close.map(CloseFrame::payload).unwrap_or_default())
}

/// A ping, which asks for a pong with the same payload (RFC 6455 section 5.5.2), at most 125 bytes.
pub fn encode_ping(payload: &[u8]) -> Bytes {
    debug_assert!(payload.len() <= crate::frame::MAX_CONTROL_PAYLOAD);
    frame(Opcode::Ping, payload)
}

/// The answer to a ping: the same payload (RFC 6455 section 5.5.3), at most 125 bytes.
pub fn encode_pong(payload: &[u8]) -> Bytes {
    debug_assert!(payload.len() <= crate::frame::MAX_CONTROL_PAYLOAD);
    frame(Opcode::Pong, payload)
}

fn frame(opcode: Opcode, payload: &[u8]) -> Bytes {
    let mut frame = BytesMut::with_capacity(MAX_HEADER + payload.len());
    put_header(&mut frame, opcode.bits(), payload.len());
    frame.put_slice(payload);
    frame.freeze()
}

/// The header of an unfragmented frame; `first` is its first byte without the final bit.
pub(crate) fn put_header(frame: &mut impl BufMut, first: u8, length: usize) {
    frame.put_u8(0x80 | first);
    match length {
        short @ ..=125 => frame.put_u8(short as u8),
        medium @ ..=0xffff => {
            frame.put_u8(126);
            frame.put_u16(medium as u16);
        }
        long => {
            frame.put_u8(127);
            frame.put_u64(long as u64);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::CloseCode;

    #[test]
    fn each_form_of_length() {
        assert_eq!(&encode(Kind::Text, b"hi")[..], b"\x81\x02hi");
        assert_eq!(&encode(Kind::Binary, &[0; 126])[..4], &[0x82, 126, 0, 126]);
        let long = encode(Kind::Binary, &vec![7; 0x10000]);
        assert_eq!(&long[..10], &[0x82, 127, 0, 0, 0, 0, 0, 1, 0, 0]);
        assert_eq!(long.len(), 10 + 0x10000);
    }

    #[test]
    fn control_frames() {
        assert_eq!(&encode_ping(b"12")[..], b"\x89\x0212");
        assert_eq!(&encode_pong(b"x")[..], b"\x8a\x01x");
        assert_eq!(&encode_close(None)[..], b"\x88\x00");
        let close = CloseFrame::new(CloseCode::GOING_AWAY, "bye").unwrap();
        assert_eq!(&encode_close(Some(&close))[..], b"\x88\x05\x03\xe9bye");
    }
}

//! How a client can break the protocol, and what it is told then.

use crate::close_code::CloseCode;

/// How a client broke RFC 6455 or RFC 7692. Answer with a close frame of this
/// [`code`](Self::code) and the `Display` text as reason, then end the connection: the decoder must
/// not be fed any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ProtocolError {
    /// A reserved bit is set that no extension gives a meaning (section 5.2): with compression, any
    /// but the first one of the first frame of a data message (RFC 7692 section 6).
    #[error("reserved bits are set")]
    ReservedBits,
    /// Opcodes 3–7 and 11–15 have no meaning (section 5.2).
    #[error("unknown opcode")]
    Opcode,
    /// A client's frame must be masked (section 5.1).
    #[error("frame is not masked")]
    Unmasked,
    /// The length is not in its shortest form, or has its highest bit set (section 5.2).
    #[error("malformed frame length")]
    Length,
    /// A control frame has more than 125 bytes (section 5.5).
    #[error("control frame is too long")]
    LongControl,
    /// A control frame is fragmented (section 5.5).
    #[error("control frame is fragmented")]
    FragmentedControl,
    /// A continuation frame with nothing to continue (section 5.4).
    #[error("continuation without a start")]
    Continuation,
    /// A new message starts inside a fragmented one (section 5.4).
    #[error("message inside a fragmented message")]
    Interleaved,
    /// A close frame with one byte of payload (section 5.5.1).
    #[error("malformed close frame")]
    CloseLength,
    /// A close code that must not be sent (section 7.4).
    #[error("invalid close code")]
    CloseCode,
    /// A close reason that is not UTF-8 (section 5.5.1).
    #[error("close reason is not UTF-8")]
    CloseReason,
    /// A text message that is not UTF-8 (section 8.1).
    #[error("text is not UTF-8")]
    Utf8,
    /// A compressed message that is malformed or cut off (RFC 7692 section 7.2.2).
    #[error("compressed message is malformed")]
    Deflate,
    /// A message beyond the limit given to [`Decoder::new`](crate::Decoder::new), as it came or
    /// inflated (section 10.4).
    #[error("message is too large")]
    TooLarge,
}

impl ProtocolError {
    /// The code for the close frame that answers it: 1002, 1007 or 1009.
    pub const fn code(self) -> CloseCode {
        match self {
            Self::Utf8 | Self::Deflate => CloseCode::INVALID_DATA,
            Self::TooLarge => CloseCode::TOO_LARGE,
            _ => CloseCode::PROTOCOL_ERROR,
        }
    }
}

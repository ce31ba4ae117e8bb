//! The payload of a close frame (RFC 6455 section 5.5.1): a code and a reason.

use bytes::{BufMut, Bytes, BytesMut};

use crate::close_code::CloseCode;
use crate::frame::MAX_CONTROL_PAYLOAD;
use crate::protocol_error::ProtocolError;

/// A close frame's payload: a code that may be sent and up to 123 bytes of UTF-8.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CloseFrame {
    code: CloseCode,
    reason: String,
}

/// Why a close frame cannot be built from what the caller gave.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InvalidClose {
    /// Use 1000–1003, 1007–1013 or 3000–4999.
    #[error("close code is invalid")]
    Code,
    /// Shorten the reason to 123 bytes.
    #[error("close reason is invalid")]
    Reason,
}

impl CloseFrame {
    /// A close frame; fails for a code that must not travel or a reason beyond 123 bytes.
    pub fn new(code: CloseCode, reason: impl Into<String>) -> Result<Self, InvalidClose> {
        let reason = reason.into();
        if !code.is_on_wire() {
            return Err(InvalidClose::Code);
        }
        if reason.len() > MAX_CONTROL_PAYLOAD - 2 {
            return Err(InvalidClose::Reason);
        }
        Ok(Self { code, reason })
    }

    /// The code.
    pub const fn code(&self) -> CloseCode {
        self.code
    }

    /// The reason, at most 123 bytes.
    pub fn reason(&self) -> &str {
        &self.reason
    }

    /// Takes the frame apart.
    pub fn into_parts(self) -> (CloseCode, String) {
        (self.code, self.reason)
    }

    pub(crate) fn parse(payload: &[u8]) -> Result<Option<Self>, ProtocolError> {
        match payload {
            [] => Ok(None),
            [_] => Err(ProtocolError::CloseLength),
            [a, b, reason @ ..] => {
                let code = CloseCode::from_wire(u16::from_be_bytes([*a, *b]))
                    .ok_or(ProtocolError::CloseCode)?;
                let reason = simdutf8::basic::from_utf8(reason)
                    .map_err(|_| ProtocolError::CloseReason)?
                    .to_owned();
                Ok(Some(Self { code, reason }))
            }
        }
    }

    pub(crate) fn payload(&self) -> Bytes {
        let mut payload = BytesMut::with_capacity(2 + self.reason.len());
        payload.put_u16(self.code.number());
        payload.put_slice(self.reason.as_bytes());
        payload.freeze()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn payloads() {
        assert_eq!(CloseFrame::parse(b""), Ok(None));
        assert_eq!(CloseFrame::parse(b"\x03"), Err(ProtocolError::CloseLength));
        assert_eq!(CloseFrame::parse(b"\x03\xee"), Err(ProtocolError::CloseCode));
        assert_eq!(CloseFrame::parse(b"\x03\xe8\xff"), Err(ProtocolError::CloseReason));
        let frame = CloseFrame::parse(b"\x03\xe8bye").unwrap().unwrap();
        assert_eq!((frame.code(), frame.reason()), (CloseCode::NORMAL, "bye"));
        assert_eq!(&frame.payload()[..], b"\x03\xe8bye");
    }

    #[test]
    fn what_cannot_be_sent_is_refused() {
        assert_eq!(CloseFrame::new(CloseCode::ABNORMAL, ""), Err(InvalidClose::Code));
        assert!(CloseFrame::new(CloseCode::NORMAL, "x".repeat(123)).is_ok());
        assert_eq!(CloseFrame::new(CloseCode::NORMAL, "x".repeat(124)), Err(InvalidClose::Reason));
    }
}

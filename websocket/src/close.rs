//! Close codes (RFC 6455 section 7.4) and the payload of a close frame (section 5.5.1).

use std::fmt;

use bytes::{BufMut, Bytes, BytesMut};

use crate::decoder::ProtocolError;
use crate::frame::MAX_CONTROL_PAYLOAD;

/// Why a WebSocket ends, as the number of RFC 6455 section 7.4 and its registry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct CloseCode(u16);

impl CloseCode {
    /// 1000: the purpose is fulfilled.
    pub const NORMAL: Self = Self(1000);
    /// 1001: an endpoint is going away.
    pub const GOING_AWAY: Self = Self(1001);
    /// 1002: the peer broke the protocol.
    pub const PROTOCOL_ERROR: Self = Self(1002);
    /// 1005: a close frame without a code came. Reported, never sent.
    pub const NO_STATUS: Self = Self(1005);
    /// 1006: the connection ended without a close frame. Reported, never sent.
    pub const ABNORMAL: Self = Self(1006);
    /// 1007: a text message was not UTF-8.
    pub const INVALID_DATA: Self = Self(1007);
    /// 1009: a message was too large.
    pub const TOO_LARGE: Self = Self(1009);
    /// 1011: the server met an error of its own.
    pub const INTERNAL_ERROR: Self = Self(1011);

    /// The number.
    pub const fn number(self) -> u16 {
        self.0
    }

    /// A code that may travel in a close frame: 1000–1003, 1007–1013, 3000–4999.
    pub const fn from_wire(number: u16) -> Option<Self> {
        match number {
            1000..=1003 | 1007..=1013 | 3000..=4999 => Some(Self(number)),
            _ => None,
        }
    }

    /// Whether the code may travel in a close frame; 1005 and 1006 are only reported.
    pub const fn is_on_wire(self) -> bool {
        Self::from_wire(self.0).is_some()
    }
}

impl fmt::Display for CloseCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

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
    fn codes_that_may_travel() {
        for good in [1000, 1003, 1007, 1011, 1012, 1013, 3000, 4999] {
            assert!(CloseCode::from_wire(good).is_some(), "{good}");
        }
        for bad in [0, 999, 1004, 1005, 1006, 1014, 1015, 1016, 2999, 5000, 65535] {
            assert!(CloseCode::from_wire(bad).is_none(), "{bad}");
        }
    }

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

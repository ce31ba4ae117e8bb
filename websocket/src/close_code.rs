//! Close codes (RFC 6455 section 7.4).

use std::fmt;

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
    /// 1003: data of a kind that is not accepted.
    pub const UNSUPPORTED: Self = Self(1003);
    /// 1005: a close frame without a code came. Reported, never sent.
    pub const NO_STATUS: Self = Self(1005);
    /// 1006: the connection ended without a close frame. Reported, never sent.
    pub const ABNORMAL: Self = Self(1006);
    /// 1007: a text message was not UTF-8, or a compressed one malformed.
    pub const INVALID_DATA: Self = Self(1007);
    /// 1008: a policy was violated.
    pub const POLICY: Self = Self(1008);
    /// 1009: a message was too large.
    pub const TOO_LARGE: Self = Self(1009);
    /// 1011: the server met an error of its own.
    pub const INTERNAL_ERROR: Self = Self(1011);

    /// 1012: the service restarts.
    pub const SERVICE_RESTART: Self = Self(1012);
    /// 1013: the server is busy, try again later.
    pub const TRY_AGAIN_LATER: Self = Self(1013);

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
}

//! What a peer can get wrong.

use thiserror::Error;

use super::decoder::MAX_COMMAND;

/// Why the peer's bytes are not understood; the connection is of no further use. To be read
/// behind the endpoint.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub(super) enum ProtocolError {
    #[error("the peer is no ZeroMQ 3 or later; check the port")]
    Signature,
    #[error("the peer speaks ZMTP {0}, and ZMTP 3 is needed; it comes with ZeroMQ 4")]
    Version(u8),
    #[error("the peer wants the security mechanism {0:?}; switch it to NULL")]
    Mechanism(String),
    #[error("the peer sent a frame with the flags {0:#04x}, which mean nothing")]
    Flags(u8),
    #[error("the peer announced a frame of {0} bytes, which are too many to exist")]
    Size(u64),
    #[error("the peer sent a command of {0} bytes; {MAX_COMMAND} are the most")]
    CommandSize(u64),
    #[error("the peer sent a {0} command that is malformed")]
    Command(&'static str),
}

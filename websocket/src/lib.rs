//! RFC 6455 without I/O: a server's handshake, frames, messages and close codes.
//!
//! Bytes go in and events come out of a [`Decoder`]; [`encode`] turns a message into one frame that
//! any number of connections can share. Nothing here reads a socket, a clock or a configuration:
//! the `kuiperbelt` crate does.
//!
//! Compression (RFC 7692) is not negotiated: the reserved bits are always an error.

#![warn(missing_docs)]

mod close;
mod close_code;
mod decoder;
mod encoder;
mod frame;
pub mod handshake;
mod mask;
mod protocol_error;

pub use close::{CloseFrame, InvalidClose};
pub use close_code::CloseCode;
pub use decoder::{Decoder, Event};
pub use encoder::{encode, encode_close, encode_pong};
pub use frame::Kind;
pub use protocol_error::ProtocolError;

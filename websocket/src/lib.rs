//! RFC 6455 and RFC 7692 without I/O: a server's handshake, frames, messages, compression and close
//! codes.
//!
//! Bytes go in and events come out of a [`Decoder`]; [`encode`] turns a message into one frame that
//! any number of connections can share. Nothing here reads a socket, a clock or a configuration:
//! the `kuiperbelt` crate does.
//!
//! # Compression
//!
//! [`Deflate::negotiate`] answers a client's offer of permessage-deflate, always without context
//! takeover on either side. That is what keeps compression cheap for many connections:
//! [`encode_deflated`] makes one frame for all clients with the same window, a [`Decoder`] made
//! [`inflating`](Decoder::inflating) holds no inflater, and both work with state of the thread they
//! are called on: 2.1 MB at most, most of it a compressor of 250 to 380 KB for each window size in
//! use. A decoder that is not `inflating` refuses compressed messages as the protocol error they
//! then are.

#![warn(missing_docs)]

mod close;
mod close_code;
mod decoder;
mod deflate;
mod encoder;
mod frame;
pub mod handshake;
mod mask;
mod protocol_error;

pub use close::{CloseFrame, InvalidClose};
pub use close_code::CloseCode;
pub use decoder::{Decoder, Event};
pub use deflate::{Deflate, encode_deflated};
pub use encoder::{encode, encode_close, encode_ping, encode_pong};
pub use frame::Kind;
pub use protocol_error::ProtocolError;

//! ZeroMQ without libzmq: a client of ZMTP 3 (RFC 23 and RFC 37, mechanism NULL) with a REQ and a
//! SUB socket, both of which connect, and connect again by themselves.
//!
//! From the bytes up: `greeting`, `frame` and `command` are the grammar; `decoder` makes events of
//! whatever has arrived and knows no socket; `link` is one connection, `dialer` one after the
//! other, and `Requester` and `Subscriber` are what is used.

mod command;
mod decoder;
mod dialer;
mod frame;
#[cfg(any(fuzzing, test))]
pub(crate) mod fuzzing;
mod greeting;
mod link;
mod protocol_error;
mod requester;
mod socket;
mod subscriber;
#[cfg(test)]
mod tests;

use bytes::Bytes;

pub(crate) use self::requester::{RequestError, Requester};
pub(crate) use self::subscriber::Subscriber;

/// The parts of a message, at least one.
pub(crate) type Message = Vec<Bytes>;

/// How far the connection to the peer has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum State {
    /// Nobody is reached.
    Down,
    /// Somebody has accepted the connection.
    Connected,
    /// It is a peer of the right kind: messages can be exchanged.
    Ready,
}

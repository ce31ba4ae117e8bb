//! HTTP/1.1 as a server speaks it (RFC 9112): heads, bodies and answers as bytes, and the wire that
//! they come and go on. Nothing here knows a path; which request follows which is `exchange.rs`.

mod chunked;
mod date;
mod framing;
mod head;
mod host;
mod partial_head;
mod reply;
mod wire;

pub use chunked::{Chunked, InvalidChunk, Piece};
pub(crate) use framing::{Decoder, Framing};
pub(crate) use head::{BadHead, Head};
pub(crate) use host::names_its_host;
pub(crate) use partial_head::PartialHead;
pub(crate) use reply::{CONTINUE, Reply};
pub(crate) use wire::Wire;

//! HTTP/1.1 (RFC 9112) as bytes. Of what a server needs of it only the chunked coding is for others,
//! such as clients, how an answer is framed, and what a host is.

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
pub use host::is_host;
pub(crate) use host::names_its_host;
pub(crate) use partial_head::PartialHead;
pub use reply::AnswerBody;
pub(crate) use reply::{CONTINUE, Coding, Reply, push_field};
pub(crate) use wire::Wire;

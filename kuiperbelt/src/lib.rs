//! Live client connections, so that an application does not have to hold them: sessions,
//! channels, handlers, and the listeners in front. The server `ekbo` is built on it.
//!
//! A [`Handler`] decides what a path does with its clients; a [`Server`] puts it behind that path.
//! A chat, in which everybody hears everybody:
//!
//! ```no_run
//! use std::sync::Arc;
//! use kuiperbelt::{Channels, Handler, Received, Server, Session};
//!
//! struct Chat(Arc<Channels>);
//!
//! impl Handler for Chat {
//!     async fn establish(&self, session: &Session) -> bool {
//!         self.0.subscribe(session, "lobby").is_ok()
//!     }
//!
//!     async fn receive(&self, _: &Session, message: Received) {
//!         self.0.publish("lobby", &message.into());
//!     }
//! }
//!
//! #[tokio::main]
//! async fn main() -> std::io::Result<()> {
//!     let mut server = Server::new();
//!     server.door("/chat", Chat(Arc::clone(server.hub().channels())))?;
//!     server.listen("127.0.0.1:9180", tokio::signal::ctrl_c()).await
//! }
//! ```
//!
//! What there is:
//!
//! * [`Handler`]: a protocol of one's own. Its contract says what is called when, and what is never
//!   cancelled. [`Session`] is the handle on a client: key, [`send`](Session::send),
//!   [`close`](Session::close); what waits for a client is bounded by [`Options`].
//! * [`Hub`]: who is connected, by key. [`Channels`]: names, and the sessions that listen to them.
//! * [`rocket`]: a protocol that is there, publish and subscribe for clients that log in, in JSON,
//!   MessagePack or a [`codec`] of one's own.
//! * [`Server`]: doors, listeners with [`Tls`] or without, and a stop in order. Everything it does
//!   can be had in parts: [`SocketDoor`], [`Doors`], [`Listener`].
//! * [`answer`] and [`Service`]: plain HTTP beside the WebSockets. [`Relay`] and [`AnswerWriter`]: answers
//!   that are written piece by piece, and connections that change their protocol.

#![warn(missing_docs)]

mod accept;
pub mod answer;
mod answer_writer;
mod body;
mod channel;
pub mod codec;
mod connection;
mod door;
mod exchange;
mod fields;
mod handler;
mod handshake;
pub mod http1;
mod hub;
mod listener;
mod message;
mod metrics;
mod options;
mod outgoing;
mod page;
mod request;
pub mod rocket;
mod seat;
mod server;
mod session;
mod stream;
mod tls;

pub use answer::{Answer, Answering};
pub use answer_writer::{AnswerWriter, Tunnel};
pub use body::{Body, BodyError};
pub use channel::{Channels, LONGEST_NAME, Limits, SubscribeError};
pub use door::{Doors, Lead, Relay, SamePath, Service};
pub use fields::{Fields, TooMuch};
pub use handler::{Admission, Handler, Refusal, Then};
pub use handshake::SocketDoor;
pub use http;
pub use http1::AnswerBody;
pub use hub::Hub;
pub use kuiperbelt_websocket::{
    CloseCode, CloseFrame, InvalidClose, Kind, handshake::offered_subprotocols,
};
pub use listener::Listener;
pub use message::{End, InvalidText, Message, Received};
pub use metrics::{Metric, Metrics};
pub use options::Options;
pub use request::Request;
pub use server::Server;
pub use session::{SendError, Session, SlowConsumer, Traffic, TrySendError};
pub use tls::{Tls, TlsError};
pub use tokio::time::Instant;

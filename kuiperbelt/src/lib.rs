//! Live client connections, so that an application does not have to hold them: sessions,
//! handlers, a hub, and the listeners in front. The server `ekbo` is built on it.
//!
//! A [`Handler`] decides what a path does with its clients; a [`SocketDoor`] puts it behind a
//! path of some [`Doors`]; [`serve`] opens them on a [`Listener`]. An echo server:
//!
//! ```no_run
//! use std::sync::Arc;
//! use kuiperbelt::http::request::Parts;
//! use kuiperbelt::*;
//!
//! struct Echo;
//!
//! impl Handler for Echo {
//!     async fn connect(&self, request: Parts) -> Result<Admission, Refusal> {
//!         let key = request.uri.query().unwrap_or("nobody");
//!         Ok(Admission::under(key))
//!     }
//!
//!     async fn receive(&self, session: &Session, message: Received) {
//!         let echo = Message::raw(message.kind, &message.payload);
//!         let _ = session.send(&echo, None).await;
//!     }
//! }
//!
//! #[tokio::main]
//! async fn main() -> std::io::Result<()> {
//!     let hub = Hub::new();
//!     let door = SocketDoor::new(&hub, Echo, Options::default());
//!     let mut doors = Doors::closed();
//!     doors.add("/", Lead::Socket(Arc::new(door))).map_err(std::io::Error::other)?;
//!     let listener = Listener::everywhere(9180)?;
//!     serve(listener, Arc::new(doors), None, CancellationToken::new()).await;
//!     Ok(())
//! }
//! ```
//!
//! To stop in order, cancel the token and await [`serve`], which answers what is in flight; then
//! end the sessions by [`Hub::stop`] and await [`Hub::finished`].

#![warn(missing_docs)]

pub mod answer;
mod body;
mod channel;
mod connection;
mod door;
mod exchange;
mod fields;
mod handler;
mod handshake;
pub mod http1;
mod hub;
mod message;
mod metrics;
mod options;
mod outgoing;
mod page;
mod request;
mod seat;
mod server;
mod session;
mod stream;

pub use answer::{Answer, Answering};
pub use body::{Body, BodyError};
pub use channel::{Channels, LONGEST_NAME, Limits, SubscribeError};
pub use door::{Doors, Lead, SamePath, Service};
pub use fields::{Fields, TooMuch};
pub use handler::{Admission, Handler, Refusal, Then};
pub use handshake::SocketDoor;
pub use http;
pub use hub::Hub;
pub use kuiperbelt_websocket::{
    CloseCode, CloseFrame, InvalidClose, Kind, handshake::offered_subprotocols,
};
pub use message::{End, InvalidText, Message, Received};
pub use metrics::{Metric, Metrics};
pub use options::Options;
pub use request::Request;
pub use server::{Listener, serve};
pub use session::{SendError, Session, SlowConsumer, Traffic, TrySendError};
pub use tokio::time::Instant;
pub use tokio_util::sync::CancellationToken;

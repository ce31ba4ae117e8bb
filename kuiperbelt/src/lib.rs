//! Live client connections, so that an application does not have to hold them: sessions,
//! handlers, a hub, and the listeners in front. The server `ekbo` is built on it.
//!
//! A [`Handler`] decides what a path does with its clients; a [`SocketDoor`] puts it behind a
//! path of some [`Doors`]; [`serve`] opens them on a [`Listener`].

#![warn(missing_docs)]

pub mod answer;
mod body;
mod connection;
mod door;
mod handler;
mod handshake;
mod http_stream;
mod hub;
mod message;
mod metrics;
mod options;
mod outgoing;
mod seat;
mod server;
mod session;
mod stream;

pub use answer::Answer;
pub use body::{Body, announces_more_than};
pub use door::{Doors, Lead, SamePath, Service};
pub use handler::{Admission, Handler, Refusal};
pub use handshake::SocketDoor;
pub use hub::Hub;
pub use kuiperbelt_websocket::{
    CloseCode, CloseFrame, InvalidClose, Kind, handshake::offered_subprotocols,
};
pub use message::{End, InvalidText, Message, Received};
pub use metrics::{Metric, Metrics};
pub use options::Options;
pub use server::{Listener, serve};
pub use session::{Capacity, SendError, Session};
pub use tokio_util::sync::CancellationToken;

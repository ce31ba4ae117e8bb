//! What the tests share: the actors (`Backend`, `Upstream`, `Application`, `Ekbo`, `Rocket`, `Rbkit`,
//! `Client`, `Http`) and the patience to wait for them. Every actor takes a port of the system's choice
//! and cleans up in `Drop`.
//! Nothing here knows what a test expects.

mod application;
mod backend;
mod client;
mod clock;
mod deflate;
mod directory;
mod ekbo;
mod frame;
mod http;
#[cfg(feature = "zmq")]
mod msgpack;
#[cfg(feature = "zmq")]
mod rbkit;
mod rocket;
mod server;
mod system;
mod upstream;
mod wire;

pub(crate) use self::{
    application::{Application, Transport},
    backend::{Answer, Backend, BackendPlan, Gate, Request},
    client::{Client, Received},
    clock::{PATIENCE, Stopwatch, eventually, eventually_some, let_pass},
    deflate::{deflate, deflate_repeated, deflate_to_the_end, inflate},
    directory::Directory,
    ekbo::{Ekbo, EkboPlan, Listener, LogLine, RequestPlan, Stats},
    frame::Frame,
    http::{Http, Response},
    rocket::{Rocket, RocketPlan},
    server::Server,
    system::{Signal, free_port},
    upstream::{Head, Inbound, Unreachable, Upstream},
    wire::{End, Wire},
};
#[cfg(feature = "zmq")]
pub(crate) use self::{
    client::ClientPlan,
    msgpack::unpack,
    rbkit::{Endpoints, Rbkit, recordings},
};

//! What the programs `ekbo` and `rocket` are made of. Each is one function here, and a page beside
//! it that calls it: `main.rs` and `bin/rocket.rs`.
//!
//! This is no library for others, and nothing in it is promised to stay. The library is the crate
//! `kuiperbelt`.

mod access_log;
mod app;
mod backend_api;
#[cfg(feature = "zmq")]
mod bridge;
mod callback;
mod certificate;
mod close_frame;
mod config;
mod demo;
mod endpoint;
mod flags;
#[cfg(any(fuzzing, test))]
#[doc(hidden)]
pub mod fuzzing;
#[doc(hidden)]
pub mod gateway;
mod log;
mod nearest;
mod network;
mod origin;
mod outbound;
mod path;
#[cfg(any(fuzzing, test))]
mod pieces;
mod process;
#[doc(hidden)]
pub mod rocket;
mod secret;
mod text;
mod upstream;
#[cfg(feature = "zmq")]
mod zmtp;

#[cfg(feature = "mimalloc")]
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

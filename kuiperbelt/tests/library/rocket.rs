//! The Rocket protocol over real sockets: hubs on a port of the system's choice, and clients that
//! ask and read. The ids are those of the specification; `RK-4.1-2` is step 2 in its section 4.1.

/// Hubs and their clients.
mod actors;

/// The conversation of the original, the tables of events, what subscribers get.
mod events;
/// How much of everything there may be, and clients that read too slowly or vanish.
mod limits;
/// What a hub tells in the log.
mod log;
/// Handshake, frames, notations.
mod transport;

//! The application behind `ekbo`, to which everything goes that no door of ours takes. The table of
//! contents, and what its tests share.

/// Answers on their way back.
mod answers;
/// Servers that others wrote.
mod applications;
/// Bodies and trailers in both directions, and `Expect`.
mod bodies;
/// Bridges beside the application.
#[cfg(feature = "zmq")]
mod bridges;
/// Clients that leave in the middle.
mod departures;
/// What is ours and what is the application's.
mod doors;
/// Upstreams that fail.
mod faults;
/// `X-Forwarded-*` and `trusted_proxies`.
mod forwarded;
/// Connections that are kept and used again.
mod pooling;
/// Requests on their way there.
mod requests;
/// Requests that could be read in two ways.
mod smuggling;
/// The graceful stop.
mod stopping;
/// Upgrades.
mod tunnels;

use super::harness::{Ekbo, Head, Http, Inbound, Upstream};

/// An answer after which the upstream ends its connection, so that the next request comes over
/// another.
const DONE: &str = "HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n";

/// An upstream whose every byte the test plays, and an `ekbo` in front of it.
fn played() -> (Upstream, Ekbo) {
    let upstream = Upstream::start();
    let ekbo = Ekbo::in_front_of(&upstream.url()).start();
    (upstream, ekbo)
}

/// Writes a request on a connection of its own, and takes it in at the upstream up to the end of its
/// head.
#[track_caller]
fn relay(ekbo: &Ekbo, upstream: &Upstream, request: impl AsRef<[u8]>) -> (Http, Inbound, Head) {
    let mut client = ekbo.http();
    client.write(request);
    let mut inbound = upstream.accept();
    let head = inbound.head();
    (client, inbound, head)
}

/// Takes in a request with an empty body at the upstream and answers it with 204.
#[track_caller]
fn answer_next(upstream: &Upstream) -> Head {
    let mut inbound = upstream.accept();
    let head = inbound.head();
    inbound.write(DONE);
    head
}

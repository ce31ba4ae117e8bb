//! The graceful stop, seen from requests that are with the application.

use std::time::Duration;

use super::super::harness::{Ekbo, End, Signal, Stopwatch, Upstream};
use super::tunnels::tunnel;
use super::{played, relay};

/// An answer that is awaited, and one that is on its way, are waited for.
#[test]
fn requests_in_flight_are_waited_for() {
    let (upstream, mut ekbo) = played();
    let mut kept = ekbo.http();
    kept.write("GET / HTTP/1.1\r\nHost: x\r\n\r\n");
    let mut resting = upstream.accept();
    resting.head();
    resting.write("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
    assert_eq!(kept.read().status, 200);
    kept.write("GET /awaited HTTP/1.1\r\nHost: x\r\n\r\n");
    resting.head();
    let (mut begun, mut answering, _) =
        relay(&ekbo, &upstream, "GET /begun HTTP/1.1\r\nHost: x\r\n\r\n");
    answering.write("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n");
    while !begun.line().is_empty() {}
    assert_eq!([begun.line(), begun.line()], ["5", "hello"]);
    ekbo.signal(Signal::Term);
    ekbo.wait_for_log("shutting down");
    answering.write("5\r\nworld\r\n0\r\n\r\n");
    assert_eq!([begun.line(), begun.line(), begun.line(), begun.line()], ["5", "world", "0", ""]);
    resting.write("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nlate");
    assert_eq!(kept.read().text(), "late");
    for mut client in [kept, begun] {
        assert_eq!(client.read_end(), End::Eof);
    }
    assert_eq!(ekbo.wait_exit().code(), Some(0));
    for mut inbound in [resting, answering] {
        assert_eq!(inbound.rest().0, b"");
    }
}

/// An answer that does not come holds the end up for no longer than there is time; and what was begun
/// is visibly broken off.
#[test]
fn nobody_is_waited_for_for_ever() {
    let upstream = Upstream::start();
    let mut ekbo = Ekbo::in_front_of(&upstream.url()).set("shutdown_timeout", "2s").start();
    let (mut client, mut inbound, _) = relay(&ekbo, &upstream, "GET / HTTP/1.1\r\nHost: x\r\n\r\n");
    inbound.write("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n");
    let since = Stopwatch::start();
    ekbo.signal(Signal::Term);
    assert_eq!(ekbo.wait_exit().code(), Some(0));
    assert!(since.elapsed() < Duration::from_secs(5), "{:?}", since.elapsed());
    assert!(!client.rest().0.ends_with(b"0\r\n\r\n"), "an answer that looks whole");
    assert_eq!(inbound.rest().0, b"");
}

/// The stop ends tunnels too, and the process.
#[test]
fn tunnels_are_ended() {
    let upstream = Upstream::start();
    let mut ekbo = Ekbo::in_front_of(&upstream.url()).set("shutdown_timeout", "4s").start();
    let (mut client, mut inbound) = tunnel(&ekbo, &upstream);
    let since = Stopwatch::start();
    ekbo.signal(Signal::Term);
    client.read_end();
    assert_eq!(inbound.rest().0, b"");
    assert_eq!(ekbo.wait_exit().code(), Some(0));
    assert!(since.elapsed() < Duration::from_secs(6), "{:?}", since.elapsed());
}

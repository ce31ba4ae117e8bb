//! Clients that leave in the middle: the upstream's connection ends with theirs, no request becomes
//! whole that was not, and nothing is left behind.

use std::io::Write as _;
use std::time::Duration;

use super::super::harness::{End, eventually, let_pass};
use super::{DONE, played, relay};

/// What is left of a body when its client has gone is no body, by whatever way the client went.
#[test]
fn in_the_middle_of_an_upload() {
    let (upstream, ekbo) = played();
    let files = ekbo.open_files();
    for (framing, part) in [
        ("Content-Length: 10\r\n", "hello"),
        ("Transfer-Encoding: chunked\r\n", "5\r\nhello\r\n"),
        ("Transfer-Encoding: chunked\r\n", "5\r\nhello\r\n0\r\n"),
    ] {
        for leave in ["end", "reset", "end of one side"] {
            let (mut client, mut inbound, _) = relay(
                &ekbo,
                &upstream,
                format!("POST / HTTP/1.1\r\nHost: x\r\n{framing}\r\n{part}"),
            );
            inbound.expect(part.strip_suffix("0\r\n").unwrap_or(part));
            match leave {
                "end" => drop(client),
                "reset" => client.reset(),
                _ => {
                    client.finish_writing();
                    let answer = client.read_or_end();
                    assert!(answer.is_none_or(|answer| answer.status == 400), "{framing} {part}");
                }
            }
            let (rest, _) = inbound.rest();
            assert!(!rest.ends_with(b"\r\n\r\n"), "{framing} {leave}: {}", rest.escape_ascii());
        }
    }
    eventually("no connection is left", || ekbo.open_files() == files);
}

/// Nobody is left to read a download: the upstream need not write it.
#[test]
fn in_the_middle_of_a_download() {
    let (upstream, ekbo) = played();
    let files = ekbo.open_files();
    for framing in ["Content-Length: 1000000000\r\n", "Transfer-Encoding: chunked\r\n", ""] {
        for resets in [false, true] {
            let (mut client, mut inbound, _) =
                relay(&ekbo, &upstream, "GET / HTTP/1.1\r\nHost: x\r\n\r\n");
            inbound.write(format!("HTTP/1.1 200 OK\r\n{framing}\r\n"));
            let piece = format!("{:x}\r\n{}\r\n", 100_000, "x".repeat(100_000));
            inbound.write(&piece);
            client.exactly(50_000);
            if resets {
                client.reset();
            } else {
                drop(client);
            }
            let gone = (0..10_000).any(|_| inbound.try_write(&piece).is_err());
            assert!(gone, "{framing} {resets}: a gigabyte was written to nobody");
        }
    }
    eventually("no connection is left", || ekbo.open_files() == files);
}

/// A client that leaves an upstream that has fallen silent takes the upstream's connection along.
#[test]
fn from_an_upstream_that_stalls() {
    let (upstream, ekbo) = played();
    let files = ekbo.open_files();
    for framing in ["Content-Length: 10\r\n", "Transfer-Encoding: chunked\r\n", ""] {
        let (mut client, mut inbound, _) =
            relay(&ekbo, &upstream, "GET / HTTP/1.1\r\nHost: x\r\n\r\n");
        inbound.write(format!("HTTP/1.1 200 OK\r\n{framing}\r\n"));
        while !client.line().is_empty() {}
        client.reset();
        assert_eq!(inbound.rest().0, b"", "{framing}");
    }
    eventually("no connection is left", || ekbo.open_files() == files);
}

/// A client that is gone before the answer has begun, and has said so by a reset, waits for nothing.
#[test]
fn before_the_answer() {
    let (upstream, ekbo) = played();
    let files = ekbo.open_files();
    let (client, mut inbound, _) = relay(&ekbo, &upstream, "GET / HTTP/1.1\r\nHost: x\r\n\r\n");
    client.reset();
    assert_eq!(inbound.rest().0, b"");
    drop(inbound);
    eventually("no connection is left", || ekbo.open_files() == files);
}

/// A client that has only ended its own side still waits: an answer that takes its time comes whole.
#[test]
fn only_with_its_own_side() {
    let (upstream, ekbo) = played();
    let (mut client, mut inbound, _) =
        relay(&ekbo, &upstream, "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhello");
    client.finish_writing();
    inbound.expect("hello");
    let_pass(Duration::from_millis(200));
    assert!(inbound.is_silent(), "the end of one side is no end");
    inbound.write("HTTP/1.1 200 OK\r\nContent-Length: 10000000\r\n\r\n");
    let mut answer = inbound.wire().another();
    let writer = std::thread::spawn(move || answer.write_all(&vec![b'x'; 10_000_000]));
    assert_eq!(client.read().body.len(), 10_000_000);
    writer.join().unwrap().unwrap();
    assert_eq!(client.read_end(), End::Eof);
}

/// A hundred clients that come and go, with and without leave: the connections to the upstream go
/// with them, or are kept by the few.
#[test]
fn over_and_over() {
    let (upstream, ekbo) = played();
    let files = ekbo.open_files();
    for number in 0..100 {
        let (mut client, mut inbound, _) =
            relay(&ekbo, &upstream, "PUT / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhel");
        inbound.expect("hel");
        match number % 3 {
            0 => client.reset(),
            1 => drop(client),
            _ => {
                client.write("lo");
                inbound.expect("lo");
                inbound.write(DONE);
                assert_eq!(client.read().status, 204);
            }
        }
        assert_eq!(inbound.rest().0, b"");
    }
    eventually("no connection is left", || ekbo.open_files() == files);
}

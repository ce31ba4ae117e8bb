//! RFC 6455 on a running session: control frames, fragments, lengths, UTF-8, and frames that
//! break the rules; and clients that do not get as far as a session. Whatever they do, the
//! server goes on.

use std::io::Write;
use std::thread;
use std::time::Duration;

use tungstenite::protocol::CloseFrame;
use tungstenite::protocol::frame::coding::CloseCode;
use tungstenite::{Error, Message};

use super::harness::{
    Answer, Backend, BackendPlan, Client, Ekbo, End, Frame, Gate, PATIENCE, Received, Stopwatch,
    let_pass,
};

/// 7.1: a ping is answered by a pong with its payload; a pong that nobody asked for is fine.
#[test]
fn pings_and_pongs() {
    let backend = receiving().start();
    let ekbo = Ekbo::with(&backend).start();
    let mut alice = Client::connect(&ekbo);
    for payload in ["", "hello", &"p".repeat(125)] {
        alice.send(&Frame::ping(payload));
        alice.expect_pong(payload);
    }
    let binary = b"\x00\xff\xc0";
    alice.send(&Frame::ping(binary));
    assert_eq!(alice.receive(), Received::Pong(binary.to_vec()));
    alice.send(&Frame::pong("unasked"));
    alice.send(&Frame::text("after it"));
    assert_eq!(backend.wait_for_first("/receive").text(), "after it");
}

/// 7.1: pings are answered in order, also when many come at once, byte by byte or in one piece.
#[test]
fn frames_in_any_pieces() {
    let backend = receiving().start();
    let ekbo = Ekbo::with(&backend).start();
    let mut alice = Client::connect(&ekbo);
    let frames: Vec<u8> = (0..10)
        .flat_map(|number| {
            let mut frames = Frame::ping(number.to_string()).to_bytes();
            frames.extend(Frame::text(format!("message {number}")).to_bytes());
            frames
        })
        .collect();
    alice.write(&frames);
    for byte in &frames {
        alice.write([*byte]);
    }
    for _ in 0..2 {
        for number in 0..10 {
            alice.expect_pong(&number.to_string());
        }
    }
    let received = backend.wait_for("/receive", 20);
    for (number, request) in received.iter().enumerate() {
        assert_eq!(request.text(), format!("message {}", number % 10));
    }
}

/// 7.1: of many pings that come at once, each has its pong.
#[test]
fn many_pings_at_once() {
    let backend = Backend::admitting("alice").start();
    let ekbo = Ekbo::with(&backend).start();
    let mut alice = Client::connect(&ekbo);
    let pings: Vec<u8> =
        (0..10_000).flat_map(|number| Frame::ping(format!("{number}")).to_bytes()).collect();
    let mut writer = alice.writer();
    let writing = thread::spawn(move || writer.write_all(&pings).unwrap());
    for number in 0..10_000 {
        alice.expect_pong(&number.to_string());
    }
    writing.join().unwrap();
    // One right before the close is no exception.
    let last = [Frame::ping("last").to_bytes(), Frame::close(1000, "").to_bytes()].concat();
    alice.write(last);
    alice.expect_pong("last");
    alice.expect_close(1000, "");
}

/// 9 row 5: a connection that is lost counts as one error, whatever was to be written into it.
#[test]
fn a_lost_connection_counts_once() {
    let backend = Backend::admitting("alice").start();
    let ekbo = Ekbo::with(&backend).start();
    let mut alice = Client::connect(&ekbo);
    let pings = Frame::ping("").to_bytes().repeat(5_000);
    // The server may notice the loss before all of it is written.
    let _ = alice.try_write(pings);
    alice.reset();
    backend.wait_for_first("/close");
    assert!(ekbo.stats().message_errors <= 1, "{:?}", ekbo.stats());
}

/// 7.1: a ping to a client that does not read what it is sent is not answered at once, but
/// breaks nothing.
#[test]
fn pings_while_the_writer_is_stuck() {
    let backend = receiving().start();
    let ekbo = Ekbo::with(&backend).start();
    let mut alice = Client::connect(&ekbo);
    alice.stall(&ekbo, "alice");
    for _ in 0..1000 {
        alice.send(&Frame::ping("anybody?"));
    }
    alice.send(&Frame::text("through"));
    assert_eq!(backend.wait_for_first("/receive").text(), "through");
    alice.resume();
    ekbo.send(["alice"], "after it").assert_accepted();
    loop {
        match alice.receive() {
            Received::Pong(payload) => assert_eq!(payload, b"anybody?"),
            other => {
                assert_eq!(other, Received::Text("after it".to_owned()));
                break;
            }
        }
    }
}

/// RFC 6455 5.2: messages of all lengths arrive whole, in each of the three ways of writing a
/// length, also when one is longer than necessary.
#[test]
fn lengths() {
    let backend = receiving().start();
    let ekbo = Ekbo::with(&backend).start();
    let mut alice = Client::connect(&ekbo);
    let lengths = [0, 1, 125, 126, 127, 65_535, 65_536, 1_000_000];
    for length in lengths {
        alice.send(&Frame::binary("b".repeat(length)));
    }
    let received = backend.wait_for("/receive", lengths.len());
    let received: Vec<usize> = received.iter().map(|request| request.body.len()).collect();
    assert_eq!(received, lengths);
}

/// 7.3, 8 row 3: each way of breaking the protocol is answered by Close 1002 and the end of TCP;
/// the backend is told 1002, and the server goes on.
#[test]
fn broken_rules() {
    let long_ping = Frame::ping("p".repeat(126));
    let unfinished = |frame: Frame| frame.unfinished();
    let mut cases: Vec<(String, Vec<Frame>)> = vec![
        ("unmasked".into(), vec![Frame::text("x").unmasked()]),
        ("unmasked ping".into(), vec![Frame::ping("x").unmasked()]),
        ("unmasked close".into(), vec![Frame::close(1000, "").unmasked()]),
        ("control frame of 126 bytes".into(), vec![long_ping]),
        ("fragmented ping".into(), vec![unfinished(Frame::ping("x"))]),
        ("fragmented pong".into(), vec![unfinished(Frame::pong("x"))]),
        ("fragmented close".into(), vec![unfinished(Frame::close(1000, ""))]),
        ("continuation of nothing".into(), vec![Frame::continuation("x")]),
        ("unfinished continuation of nothing".into(), vec![unfinished(Frame::continuation("x"))]),
        (
            "continuation of a finished message".into(),
            vec![unfinished(Frame::text("a")), Frame::continuation("b"), Frame::continuation("c")],
        ),
        ("text within a message".into(), vec![unfinished(Frame::text("a")), Frame::text("b")]),
        (
            "binary within a message".into(),
            vec![unfinished(Frame::text("a")), unfinished(Frame::binary("b"))],
        ),
        ("close of one byte".into(), vec![Frame::close_payload([3])]),
        ("close reason that is not UTF-8".into(), vec![Frame::close(1000, b"caf\xe9")]),
    ];
    for opcode in [3, 4, 5, 6, 7, 11, 12, 13, 14, 15] {
        cases.push((format!("opcode {opcode}"), vec![Frame::new(opcode, "")]));
    }
    for bits in 1..8 {
        let text = Frame::text("x").reserved(bits);
        cases.push((format!("text with reserved bits {bits}"), vec![text]));
        let ping = Frame::ping("").reserved(bits);
        cases.push((format!("ping with reserved bits {bits}"), vec![ping]));
        let fragments = vec![unfinished(Frame::text("a")), Frame::continuation("b").reserved(bits)];
        cases.push((format!("fragment with reserved bits {bits}"), fragments));
    }
    for code in [0, 1, 999, 1004, 1005, 1006, 1014, 1015, 1016, 1100, 2000, 2999, 5000, 65_535] {
        cases.push((format!("close {code}"), vec![Frame::close(code, "")]));
    }

    let backend = receiving().start();
    let ekbo = Ekbo::with(&backend).start();
    for (number, (what, frames)) in cases.iter().enumerate() {
        let bytes: Vec<u8> = frames.iter().flat_map(Frame::to_bytes).collect();
        ends_with(&ekbo, &backend, what, &bytes, 1002, number + 1);
    }
    assert_eq!(backend.requests("/receive").len(), 1, "a message of one case");
    goes_on(&ekbo, &backend, cases.len());
}

/// RFC 6455 7.4, 7.3: every code that a client may send is taken.
#[test]
fn valid_close_codes() {
    let backend = receiving().start();
    let ekbo = Ekbo::with(&backend).start();
    let codes =
        [1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 1012, 1013, 3000, 3999, 4000, 4999];
    for code in codes {
        Client::connect(&ekbo).leave(code);
    }
    let told = backend.wait_for("/close", codes.len());
    let mut told: Vec<u16> = told.iter().map(|one| one.close_code().unwrap()).collect();
    told.sort();
    assert_eq!(told, codes);
}

/// RFC 6455 5.2: a length of more than 63 bits is no length.
#[test]
fn an_impossible_length() {
    let backend = receiving().start();
    let ekbo = Ekbo::with(&backend).set("max_message_size", "0").start();
    let mut alice = Client::connect(&ekbo);
    alice.write([0x82, 0xff, 0x80, 0, 0, 0, 0, 0, 0, 1, 1, 2, 3, 4]);
    alice.expect_close_code(1002);
    backend.wait_for_first("/close");
    goes_on(&ekbo, &backend, 1);
}

/// RFC 6455 5.5: a control frame that announces a long payload is refused before that comes.
#[test]
fn a_long_control_frame_is_not_waited_for() {
    let backend = receiving().start();
    let ekbo = Ekbo::with(&backend).start();
    let mut alice = Client::connect(&ekbo);
    alice.write([0x89, 0xfe]);
    alice.expect_close_code(1002);
}

/// D5, RFC 6455 8.1: UTF-8 may be split anywhere between the fragments of a text.
#[test]
fn utf8_split_over_fragments() {
    let backend = receiving().start();
    let ekbo = Ekbo::with(&backend).start();
    let mut alice = Client::connect(&ekbo);
    let text = "κόσμε 字 😀!";
    let bytes = text.as_bytes();
    for middle in 0..=bytes.len() {
        alice.send(&Frame::text(&bytes[..middle]).unfinished());
        alice.send(&Frame::ping("between"));
        alice.expect_pong("between");
        alice.send(&Frame::continuation(&bytes[middle..]));
    }
    alice.send(&Frame::text("").unfinished());
    for byte in bytes {
        alice.send(&Frame::continuation([*byte]).unfinished());
    }
    alice.send(&Frame::continuation(""));
    let received = backend.wait_for("/receive", bytes.len() + 2);
    assert!(received.iter().all(|request| request.text() == text));
}

/// D5, 7.2, F-10: text that is not UTF-8 is Close 1007, and no callback; the server goes on.
#[test]
fn text_that_is_not_utf8() {
    let cases: [&[u8]; 9] = [
        b"\xff",
        b"caf\xe9",
        b"caf\xe9!",
        b"\xc0\x80",
        b"\xe0\x80\x80",
        b"\xed\xa0\x80",
        b"\xf4\x90\x80\x80",
        b"\x80",
        b"truncated \xf0\x9f\x98",
    ];
    let backend = receiving().start();
    let ekbo = Ekbo::with(&backend).start();
    for (number, payload) in cases.into_iter().enumerate() {
        let what = format!("{payload:x?}");
        let bytes = Frame::text(payload).to_bytes();
        ends_with(&ekbo, &backend, &what, &bytes, 1007, number + 1);
    }
    assert_eq!(backend.requests("/receive").len(), 0);
    goes_on(&ekbo, &backend, cases.len());
}

/// D5, RFC 6455 8.1: text that is not UTF-8 is refused as soon as it shows, however much of the
/// message is still to come.
#[test]
fn invalid_text_fails_fast() {
    let backend = receiving().start();
    let ekbo = Ekbo::with(&backend).start();

    let mut in_a_fragment = Client::connect(&ekbo);
    in_a_fragment.send(&Frame::text("good").unfinished());
    in_a_fragment.send(&Frame::continuation(b"bad \xf4\x90").unfinished());
    in_a_fragment.expect_close_code(1007);

    let mut across_fragments = Client::connect(&ekbo);
    across_fragments.send(&Frame::text(b"\xe5").unfinished());
    across_fragments.send(&Frame::continuation("x").unfinished());
    across_fragments.expect_close_code(1007);

    let mut within_a_frame = Client::connect(&ekbo);
    let frame = Frame::text([&b"bad \xff"[..], &[b'x'; 5000]].concat()).to_bytes();
    within_a_frame.write(&frame[..100]);
    within_a_frame.expect_close_code(1007);

    let mut at_the_end = Client::connect(&ekbo);
    at_the_end.send(&Frame::text(b"\xe5\xad").unfinished());
    at_the_end.send(&Frame::ping("so far so good"));
    at_the_end.expect_pong("so far so good");
    at_the_end.send(&Frame::continuation(""));
    at_the_end.expect_close_code(1007);
    assert_eq!(backend.requests("/receive").len(), 0);
}

/// D5: binary messages may hold anything.
#[test]
fn binary_messages_may_hold_anything() {
    let backend = receiving().start();
    let ekbo = Ekbo::with(&backend).start();
    let mut alice = Client::connect(&ekbo);
    alice.send(&Frame::binary(b"\xff\xfe").unfinished());
    alice.send(&Frame::continuation(b"\xfd"));
    assert_eq!(backend.wait_for_first("/receive").body, b"\xff\xfe\xfd");
}

/// Q4, 7.2, F-9: a message over `max_message_size` is Close 1009, as soon as it is known to
/// be; one of exactly that size is taken.
#[test]
fn a_message_over_the_limit() {
    let backend = receiving().start();
    let ekbo = Ekbo::with(&backend).set("max_message_size", "1000").start();
    let whole = Frame::text("x".repeat(1001)).to_bytes();
    ends_with(&ekbo, &backend, "a whole message", &whole, 1009, 1);
    ends_with(&ekbo, &backend, "its header", &whole[..8], 1009, 2);
    let mut fragments = Frame::binary("x".repeat(600)).unfinished().to_bytes();
    fragments.extend(Frame::continuation("x".repeat(401)).unfinished().to_bytes());
    ends_with(&ekbo, &backend, "fragments", &fragments, 1009, 3);
    let terabyte = [0x82, 0xff, 0, 0, 1, 0, 0, 0, 0, 0, 1, 2, 3, 4];
    ends_with(&ekbo, &backend, "a terabyte", &terabyte, 1009, 4);
    assert_eq!(backend.requests("/receive").len(), 0);

    let mut alice = Client::connect(&ekbo);
    alice.send(&Frame::text("x".repeat(1000)));
    alice.send(&Frame::text("x".repeat(500)).unfinished());
    alice.send(&Frame::continuation("x".repeat(500)));
    let received = backend.wait_for("/receive", 2);
    assert!(received.iter().all(|request| request.body.len() == 1000));
    alice.leave(1000);
    goes_on(&ekbo, &backend, 5);
}

/// Q4: the limit is 16 MiB unless told otherwise, and there is none with `max_message_size: 0`.
#[test]
fn the_default_limit_and_none() {
    const LIMIT: u64 = 16 << 20;
    let announce = |client: &mut Client, length: u64| {
        let mut header = vec![0x82, 0xff];
        header.extend(length.to_be_bytes());
        header.extend([0; 4]);
        client.write(header);
    };
    let backend = receiving().start();
    let limited = Ekbo::with(&backend).start();
    let mut alice = Client::connect(&limited);
    announce(&mut alice, LIMIT + 1);
    alice.expect_close_code(1009);

    let unlimited = Ekbo::with(&backend).set("max_message_size", "0").start();
    for (ekbo, length) in [(&limited, LIMIT), (&unlimited, LIMIT + 1)] {
        let mut alice = Client::connect(ekbo);
        announce(&mut alice, length);
        alice.write(vec![b'b'; usize::try_from(length).unwrap()]);
        alice.expect_to_be_read();
    }
    let received = backend.wait_for("/receive", 2);
    let received: Vec<u64> = received.iter().map(|request| request.body.len() as u64).collect();
    assert_eq!(received, [LIMIT, LIMIT + 1]);
}

/// KB-NET-4, Q4: who does not finish its request head within `handshake_timeout` is ended; the
/// server goes on.
#[test]
fn a_slow_handshake() {
    let backend = receiving().start();
    let ekbo = Ekbo::with(&backend).set("handshake_timeout", "1s").start();
    let openings = [
        String::new(),
        "GET /conn".to_owned(),
        format!("GET /connect HTTP/1.1\r\nHost: {}\r\nUpgrade: webs", ekbo.host()),
    ];
    for opening in openings {
        let since_start = Stopwatch::start();
        let mut http = ekbo.http();
        http.write(&opening);
        let (answer, end) = http.into_incoming().rest();
        let answer = String::from_utf8(answer).unwrap();
        assert!(
            answer.is_empty() || answer.starts_with("HTTP/1.1 408 "),
            "{opening:?}: {answer:?}"
        );
        assert_eq!(end, End::Eof, "{opening:?}");
        let waited = since_start.elapsed();
        assert!(waited >= Duration::from_millis(900), "{opening:?}: {waited:?}");
        assert!(waited < PATIENCE / 2, "{opening:?}: {waited:?}");
    }
    goes_on(&ekbo, &backend, 0);
    let stats = ekbo.stats();
    assert_eq!((stats.total_connections, stats.connections), (1, 0));
}

/// KB-NET-4: the time-out is for the head only: neither a slow connect callback nor an open
/// WebSocket are under it.
#[test]
fn the_handshake_time_out_is_for_the_head_only() {
    let gate = Gate::new();
    let backend = receiving().on("/connect", Answer::admit("alice").held_by(&gate)).start();
    let ekbo = Ekbo::with(&backend).set("handshake_timeout", "1s").start();
    let pending = Client::to(&ekbo).start();
    gate.wait_until_reached_by(1);
    let_pass(Duration::from_millis(1500));
    gate.open();
    let mut alice = pending.connect();
    let_pass(Duration::from_millis(1500));
    alice.expect_to_be_read();
}

/// Section 7: a client library that others wrote talks, is talked to, and closes.
#[test]
fn a_conforming_client() {
    let backend = receiving().on("/connect", Answer::admit("alice").body("hello")).start();
    let ekbo = Ekbo::with(&backend).start();
    let mut alice = Client::conforming(&ekbo);
    assert_eq!(alice.read().unwrap(), Message::text("hello"));
    alice.send(Message::text("from the client")).unwrap();
    alice.send(Message::binary(vec![0, 255])).unwrap();
    alice.send(Message::Ping(vec![1, 2, 3].into())).unwrap();
    assert_eq!(alice.read().unwrap(), Message::Pong(vec![1, 2, 3].into()));
    let received = backend.wait_for("/receive", 2);
    assert_eq!(received[0].text(), "from the client");
    assert_eq!(received[1].body, [0, 255]);
    ekbo.send(["alice"], "to the client").assert_accepted();
    assert_eq!(alice.read().unwrap(), Message::text("to the client"));
    ekbo.close(["alice"], "bye").assert_accepted();
    assert_eq!(alice.read().unwrap(), Message::text("bye"));
    let close = CloseFrame { code: CloseCode::Normal, reason: "".into() };
    assert_eq!(alice.read().unwrap(), Message::Close(Some(close)));
    assert!(matches!(alice.read(), Err(Error::ConnectionClosed)));
}

/// A backend that takes messages.
fn receiving() -> BackendPlan {
    Backend::admitting("alice").on("/receive", Answer::ok())
}

/// Checks that a client that writes `bytes` gets a close with `code` and the orderly end, and
/// that the backend is told the same as its close callback number `count`.
#[track_caller]
fn ends_with(ekbo: &Ekbo, backend: &Backend, what: &str, bytes: &[u8], code: u16, count: usize) {
    let mut client = Client::connect(ekbo);
    client.write(bytes);
    client.expect_refusal(what, code);
    backend.expect_close(what, code, count);
}

/// Checks that the server lets a client in and out, after `count` close callbacks, and that it
/// counts nobody any more.
#[track_caller]
fn goes_on(ekbo: &Ekbo, backend: &Backend, count: usize) {
    let mut client = Client::connect(ekbo);
    ekbo.send(["alice"], "hello").assert_accepted();
    client.expect_text("hello");
    client.leave(1000);
    backend.wait_for("/close", count + 1);
    ekbo.wait_for_stats("no connections", |stats| {
        stats.connections == 0 && stats.closing_connections == 0
    });
}

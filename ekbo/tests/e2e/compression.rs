//! permessage-deflate (RFC 7692): what is negotiated, which messages travel compressed and what
//! is in them, and compressed messages from clients, sound or not. Clients that others wrote are
//! in `real_clients.rs`.

use std::fmt::Debug;
use std::ops::RangeBounds;

use super::answers::NOT_UTF8;
use super::harness::{
    Answer, Backend, BackendPlan, Client, Ekbo, EkboPlan, Frame, deflate, deflate_repeated,
    deflate_to_the_end, inflate,
};

/// What browsers offer.
const OFFER: &str = "permessage-deflate; client_max_window_bits";

/// The answer that accepts an offer which says nothing of the server's window.
const ACCEPTED: &str = "permessage-deflate; server_no_context_takeover; client_no_context_takeover";

/// The first reserved bit, which marks a compressed message.
const RSV1: u8 = 4;

/// There is no compression unless asked for: an offer is passed over, messages travel plain, and
/// RSV1 is a breach of the protocol.
#[test]
fn off_by_default() {
    let backend = receiving().start();
    let ekbo = Ekbo::with(&backend).start();
    expect_no_compression(&ekbo, &backend, OFFER);
}

/// RFC 7692 7.1: the first acceptable offer is accepted, with exactly the parameters it allows.
#[test]
fn accepted_offers() {
    let backend = receiving().start();
    let ekbo = compressing(&backend).start();
    for offer in [
        "permessage-deflate",
        OFFER,
        "permessage-deflate; client_max_window_bits=8",
        "permessage-deflate; client_no_context_takeover; server_no_context_takeover",
        "other; x=\"permessage-deflate\", permessage-deflate",
        "permessage-deflate; server_max_window_bits=8, permessage-deflate",
        "permessage-deflate; mux, permessage-deflate, permessage-deflate; server_max_window_bits=9",
    ] {
        let client = offering(&ekbo, "alice", offer);
        assert_eq!(extensions(&client), Some(ACCEPTED), "{offer}");
    }
    for bits in 9..=15 {
        let client = offering(&ekbo, "alice", &with_window(bits));
        let answer = format!("{ACCEPTED}; server_max_window_bits={bits}");
        assert_eq!(extensions(&client), Some(&*answer));
    }
    let spread = Client::to(&ekbo)
        .query("alice")
        .header("Sec-WebSocket-Extensions", "other")
        .header("sec-websocket-extensions", OFFER)
        .connect();
    assert_eq!(extensions(&spread), Some(ACCEPTED));
}

/// RFC 7692 5.1, 7.1: an offer that cannot be accepted, or is none, is no error: the connection
/// works without compression.
#[test]
fn declined_offers() {
    let backend = receiving().start();
    let ekbo = compressing(&backend).start();
    for offer in [
        "",
        "x-webkit-deflate-frame",
        "permessage-deflate; mux",
        "permessage-deflate; server_max_window_bits",
        "permessage-deflate; server_max_window_bits=8",
        "permessage-deflate; server_max_window_bits=16",
        "permessage-deflate; client_max_window_bits=16",
        "permessage-deflate; client_max_window_bits=010",
        "permessage-deflate; server_no_context_takeover=1",
        "permessage-deflate; server_no_context_takeover; server_no_context_takeover",
        "permessage-deflate;",
        "permessage-deflate; server_max_window_bits=",
        "permessage-deflate; server_max_window_bits=\"10",
        "permessage-deflate, ;",
        "permessage deflate",
    ] {
        expect_no_compression(&ekbo, &backend, offer);
    }
    let mut alice = Client::connect_as(&ekbo, "alice");
    assert_eq!(extensions(&alice), None);
    ekbo.send(["alice"], prose(1000)).assert_accepted();
    alice.expect_text(&prose(1000));
}

/// RFC 7692 6.1: a message, text or binary, is one frame with RSV1 and smaller than it would be
/// plain; each message stands for itself.
#[test]
fn messages_are_compressed() {
    let backend = receiving().start();
    let ekbo = compressing(&backend).start();
    let mut alice = offering(&ekbo, "alice", OFFER);
    for length in [1000, 100_000, 3_000_000] {
        let text = prose(length);
        for _ in 0..3 {
            ekbo.send(["alice"], &text).assert_accepted();
            let (opcode, message) = alice.expect_compressed(..length / 3);
            assert_eq!(opcode, Frame::TEXT);
            assert!(message == text.as_bytes(), "{length} bytes came as {}", message.len());
        }
    }
    let bytes = [0xff, 0, 0xc0].repeat(1000);
    send_binary(&ekbo, "alice", &bytes);
    assert_eq!(alice.expect_compressed(..300), (Frame::BINARY, bytes));
    alice.leave(1000);
}

/// Messages below `compression_min_size`, and those that compression does not make smaller,
/// travel plain; 0 leaves only the latter.
#[test]
fn messages_that_stay_plain() {
    let backend = receiving().start();
    for (size, set) in [(256, None), (1000, Some("1000")), (1024, Some("1KiB"))] {
        let plan = compressing(&backend);
        let plan = match set {
            Some(size) => plan.set("compression_min_size", size),
            None => plan,
        };
        let ekbo = plan.start();
        let mut alice = offering(&ekbo, "alice", OFFER);
        for text in [prose(size - 1), String::new(), "short".to_owned()] {
            ekbo.send(["alice"], &text).assert_accepted();
            alice.expect_text(&text);
        }
        ekbo.send(["alice"], prose(size)).assert_accepted();
        alice.expect_compressed_text(&prose(size));
        let noise = noise(5000);
        send_binary(&ekbo, "alice", &noise);
        alice.expect_binary(noise);
    }

    let ekbo = compressing(&backend).set("compression_min_size", "0").start();
    let mut alice = offering(&ekbo, "alice", OFFER);
    for text in ["", "a", "abc"] {
        ekbo.send(["alice"], text).assert_accepted();
        alice.expect_text(text);
    }
    for text in [&"a".repeat(20), "to be, to be, to be"] {
        ekbo.send(["alice"], text).assert_accepted();
        alice.expect_compressed_text(text);
    }
}

/// the first message, from the connect callback, and the last word of `/close` are
/// messages like others; the close frame is not.
#[test]
fn the_first_message_and_the_last_word() {
    let first = prose(2000);
    let answer = Answer::admit("alice").body(&first);
    let backend = Backend::plan().on("/connect", answer).start();
    let ekbo = compressing(&backend).start();
    let mut alice = offering(&ekbo, "alice", OFFER);
    alice.expect_compressed_text(&first);
    ekbo.close(["alice"], prose(3000)).assert_accepted();
    alice.expect_compressed_text(&prose(3000));
    alice.expect_farewell(1000, "");

    let mut bob = Client::connect(&ekbo);
    bob.expect_text(&first);
    ekbo.close(["alice"], prose(3000)).assert_accepted();
    bob.expect_text(&prose(3000));
    bob.expect_farewell(1000, "");
}

/// RFC 7692 7.1.2.1: one `/send` reaches each client compressed for the window it allows, and those
/// without compression plain.
#[test]
fn one_message_for_different_windows() {
    let backend = receiving().start();
    let ekbo = compressing(&backend).start();
    let mut widest = offering(&ekbo, "widest", OFFER);
    let mut narrow = offering(&ekbo, "narrow", &with_window(9));
    let mut middle = offering(&ekbo, "middle", &with_window(13));
    let mut plain = Client::connect_as(&ekbo, "plain");
    let mut another = offering(&ekbo, "another", &with_window(9));
    // Its words come again after a few bytes, the whole after 1950: too far back for a window of
    // 512.
    let text: String = noise(150).iter().map(|number| format!("{number:3} and then ")).collect();
    let text = text.repeat(10);
    let keys = ["widest", "narrow", "middle", "plain", "another"];
    ekbo.send(keys, &text).assert_accepted();
    for (client, sizes) in [
        (&mut widest, 500..2000),
        (&mut middle, 500..2000),
        (&mut narrow, 4000..8000),
        (&mut another, 4000..8000),
    ] {
        let (opcode, message) = client.expect_compressed(sizes);
        assert_eq!((opcode, &*message), (Frame::TEXT, text.as_bytes()));
    }
    plain.expect_text(&text);
}

/// compressed and plain messages keep their order.
#[test]
fn order() {
    let backend = receiving().start();
    let ekbo = compressing(&backend).start();
    let mut alice = offering(&ekbo, "alice", OFFER);
    let text = |number| format!("{number}: {}", prose(number % 3 * 300));
    for number in 0..100 {
        ekbo.send(["alice"], text(number)).assert_accepted();
    }
    for number in 0..100 {
        match number % 3 {
            0 => alice.expect_text(&text(number)),
            _ => alice.expect_compressed_text(&text(number)),
        }
    }

    for number in 0..100 {
        let frame = Frame::text(text(number));
        alice.send(&if number % 3 == 0 { frame } else { compressed(Frame::TEXT, text(number)) });
    }
    for (number, request) in backend.wait_for("/receive", 100).iter().enumerate() {
        assert_eq!(request.text(), text(number));
    }
}

/// KB-API-3: `invalid_text` means the same for a client with compression.
#[test]
fn invalid_text() {
    let invalid = b"caf\xe9 ".repeat(100);
    let backend = receiving().start();
    for (meaning, opcode) in [("binary", Frame::BINARY), ("raw", Frame::TEXT)] {
        let ekbo = compressing(&backend).set("invalid_text", meaning).start();
        let mut alice = offering(&ekbo, "alice", OFFER);
        ekbo.send(["alice"], &invalid).assert_accepted();
        assert_eq!(alice.expect_compressed(..100), (opcode, invalid.clone()), "{meaning}");
    }
    let ekbo = compressing(&backend).start();
    let mut alice = offering(&ekbo, "alice", OFFER);
    ekbo.send(["alice"], &invalid).assert_failed_for([(NOT_UTF8, "alice")]);
    ekbo.send(["alice"], prose(500)).assert_accepted();
    alice.expect_compressed_text(&prose(500));
}

/// RFC 7692 6.2, 7.2.3: the receive callback is told what a client has compressed, however it did
/// that, and what it has not.
#[test]
fn compressed_messages_from_a_client() {
    let backend = receiving().start();
    let ekbo = compressing(&backend).start();
    let mut alice = offering(&ekbo, "alice", OFFER);
    let text = format!("{} κόσμε 😀", prose(50_000));
    let message = |payload: &[u8]| Frame::text(payload).reserved(RSV1);
    alice.send(&compressed(Frame::TEXT, &text));
    alice.send(&Frame::text(&text));
    for level in 0..=9 {
        alice.send(&message(&deflate_repeated(&text, 1, level)));
    }
    alice.send(&message(&deflate_to_the_end(&text)));
    let received = backend.wait_for("/receive", 13);
    assert!(received.iter().all(|request| request.text() == text));

    alice.send(&compressed(Frame::BINARY, b"\xff\xc0"));
    // RFC 7692 7.2.3.1 and 7.2.3.6: "Hello", and nothing.
    alice.send(&message(&[0xf2, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00]));
    alice.send(&message(&[0x00]));
    let received = backend.wait_for("/receive", 16).split_off(13);
    let told: Vec<_> = received
        .iter()
        .map(|request| (request.header("Content-Type").unwrap(), &*request.body))
        .collect();
    let plain = "text/plain";
    let binary = "application/octet-stream";
    assert_eq!(told, [(binary, &b"\xff\xc0"[..]), (plain, b"Hello"), (plain, b"")]);
    alice.leave(1000);
}

/// RFC 7692 6.1: a compressed message may come in fragments, cut anywhere, with control frames
/// between them; only the first has RSV1.
#[test]
fn compressed_fragments() {
    let backend = receiving().start();
    let ekbo = compressing(&backend).start();
    let mut alice = offering(&ekbo, "alice", OFFER);
    let text = "a compressed κόσμε in fragments";
    let payload = deflate(text);
    for middle in 0..=payload.len() {
        let (start, end) = payload.split_at(middle);
        alice.send(&Frame::text(start).reserved(RSV1).unfinished());
        alice.send(&Frame::ping("between"));
        alice.expect_pong("between");
        alice.send(&Frame::continuation(end));
    }
    alice.send(&Frame::text("").reserved(RSV1).unfinished());
    for byte in &payload {
        alice.send(&Frame::continuation([*byte]).unfinished());
    }
    alice.send(&Frame::continuation(""));
    alice.send(&Frame::text("a plain one").unfinished());
    alice.send(&Frame::continuation(" after it"));
    let received = backend.wait_for("/receive", payload.len() + 3);
    let (last, before) = received.split_last().unwrap();
    assert!(before.iter().all(|request| request.text() == text));
    assert_eq!(last.text(), "a plain one after it");
}

/// 8 row 3: reserved bits other than RSV1 on the first frame of a message are Close 1002.
#[test]
fn reserved_bits() {
    let backend = receiving().start();
    let ekbo = compressing(&backend).start();
    let mut cases = Vec::new();
    for bits in [1, 2, 3, 5, 6, 7] {
        cases.push(vec![compressed(Frame::TEXT, "x").reserved(bits)]);
        cases.push(vec![compressed(Frame::BINARY, "x").unfinished().reserved(bits)]);
    }
    for bits in 1..8 {
        cases.push(vec![Frame::ping("").reserved(bits)]);
        cases.push(vec![Frame::pong("").reserved(bits)]);
        cases.push(vec![Frame::close(1000, "").reserved(bits)]);
        let start = compressed(Frame::TEXT, "x").unfinished();
        cases.push(vec![start, Frame::continuation("").reserved(bits)]);
        let start = Frame::text("x").unfinished();
        cases.push(vec![start, Frame::continuation("").reserved(bits)]);
    }
    for (number, frames) in cases.iter().enumerate() {
        let bytes: Vec<u8> = frames.iter().flat_map(Frame::to_bytes).collect();
        ends_with(&ekbo, &backend, &format!("{frames:x?}"), &bytes, 1002, number + 1);
    }
    assert_eq!(backend.requests("/receive").len(), 0);
}

/// RFC 7692 7.2.2: a message that does not inflate is Close 1007, and no callback.
#[test]
fn broken_streams() {
    let whole = deflate(prose(1000));
    let cases: &[(&str, &[u8])] = &[
        ("a reserved type of block", b"\x06"),
        ("a stored block whose length is wrong", b"\x00\x05\x00\x00\x00Hello"),
        ("a distance to before the start", b"\x02\x02\x00\x00"),
        ("a reserved type of block and noise", &[&[0xff][..], &noise(500)].concat()),
        ("a message cut off", &whole[..whole.len() / 2]),
        ("a message cut off by a byte", &whole[..whole.len() - 1]),
        ("a message that is not compressed", b"Hello"),
    ];
    let backend = receiving().start();
    let ekbo = compressing(&backend).start();
    for (number, (what, payload)) in cases.iter().enumerate() {
        let bytes = Frame::binary(payload).reserved(RSV1).to_bytes();
        ends_with(&ekbo, &backend, what, &bytes, 1007, number + 1);
    }
    assert_eq!(backend.requests("/receive").len(), 0);
}

/// D5, F-10: text that is not UTF-8 when it is inflated is Close 1007, and no callback; binary
/// messages may hold anything.
#[test]
fn compressed_text_that_is_not_utf8() {
    let backend = receiving().start();
    let ekbo = compressing(&backend).start();
    let cases: [&[u8]; 4] = [b"\xff", b"caf\xe9!", b"\xed\xa0\x80", b"truncated \xf0\x9f\x98"];
    for (number, message) in cases.into_iter().enumerate() {
        let bytes = compressed(Frame::TEXT, message).to_bytes();
        ends_with(&ekbo, &backend, &format!("{message:x?}"), &bytes, 1007, number + 1);
    }
    assert_eq!(backend.requests("/receive").len(), 0);
    let mut alice = offering(&ekbo, "alice", OFFER);
    for message in cases {
        alice.send(&compressed(Frame::BINARY, message));
    }
    let received = backend.wait_for("/receive", cases.len());
    assert!(received.iter().map(|request| &*request.body).eq(cases));
}

/// Q4, F-9: `max_message_size` counts what a message inflates to, and what travels.
#[test]
fn a_message_that_inflates_over_the_limit() {
    let backend = receiving().start();
    let ekbo = compressing(&backend).set("max_message_size", "1000").start();
    let mut alice = offering(&ekbo, "alice", OFFER);
    alice.send(&compressed(Frame::TEXT, prose(1000)));
    assert_eq!(backend.wait_for_first("/receive").text(), prose(1000));
    let over = compressed(Frame::TEXT, prose(1001)).to_bytes();
    ends_with(&ekbo, &backend, "one byte too many", &over, 1009, 1);
    let stored = Frame::binary(deflate_repeated(noise(1000), 1, 0)).reserved(RSV1).to_bytes();
    ends_with(&ekbo, &backend, "the header alone", &stored[..8], 1009, 2);
    assert_eq!(backend.requests("/receive").len(), 1);
}

/// Q4, F-9: a megabyte that inflates to a gigabyte is Close 1009 like any message that is too
/// large, and takes no more memory.
#[test]
fn bombs() {
    const MEBIBYTE: u64 = 1 << 20;
    let backend = receiving().start();
    let ekbo = compressing(&backend).set("max_message_size", "2MiB").start();
    let zeros = |mebibytes| deflate_repeated(vec![0; 1 << 20], mebibytes, 9);
    let mut alice = offering(&ekbo, "alice", OFFER);
    // The largest that is taken: the streams are what they seem.
    alice.send(&Frame::binary(zeros(2)).reserved(RSV1));
    assert_eq!(backend.wait_for_first("/receive").body.len(), 2 << 20);

    let bomb = zeros(1024);
    assert!(bomb.len() < 2 << 20, "{} bytes", bomb.len());
    let (start, end) = bomb.split_at(bomb.len() / 2);
    let whole = Frame::binary(&bomb).reserved(RSV1).to_bytes();
    let mut halves = Frame::text(start).reserved(RSV1).unfinished().to_bytes();
    halves.extend(Frame::continuation(end).to_bytes());
    let most = ekbo.memory("VmHWM");
    let mut ended = 0;
    let mut explode = |pairs| {
        for _ in 0..pairs {
            ends_with(&ekbo, &backend, "a bomb", &whole, 1009, ended + 1);
            ends_with(&ekbo, &backend, "a bomb in halves", &halves, 1009, ended + 2);
            ended += 2;
        }
        ekbo.memory("RssAnon")
    };
    // The first few leave behind what the allocator keeps for every thread.
    let first = explode(8);
    let later = explode(16);
    assert!(later < first + 16 * MEBIBYTE, "grown from {first} to {later} bytes");
    let now_most = ekbo.memory("VmHWM");
    assert!(now_most < most + 64 * MEBIBYTE, "meanwhile grown from {most} to {now_most} bytes");
    assert_eq!(backend.requests("/receive").len(), 1);
    ekbo.send(["alice"], prose(1000)).assert_accepted();
    alice.expect_compressed_text(&prose(1000));
}

impl Client {
    /// Expects a compressed message with a payload of so many bytes; its opcode and the message.
    #[track_caller]
    fn expect_compressed(&mut self, sizes: impl RangeBounds<usize> + Debug) -> (u8, Vec<u8>) {
        let (start, payload) = self.receive_frame().unwrap();
        assert_eq!(start & 0xf0, 0xc0, "FIN and RSV1 only: {start:x}");
        assert!(sizes.contains(&payload.len()), "{} bytes, not {sizes:?}", payload.len());
        (start & 0x0f, inflate(&payload))
    }

    /// Expects a text that travels compressed and is smaller for it.
    #[track_caller]
    fn expect_compressed_text(&mut self, text: &str) {
        let (opcode, message) = self.expect_compressed(..text.len());
        assert_eq!((opcode, &*String::from_utf8(message).unwrap()), (Frame::TEXT, text));
    }
}

/// A backend that admits by query and takes messages.
fn receiving() -> BackendPlan {
    Backend::admitting_by_query().on("/receive", Answer::ok())
}

fn compressing(backend: &Backend) -> EkboPlan {
    Ekbo::with(backend).set("compression", "true")
}

#[track_caller]
fn offering(ekbo: &Ekbo, key: &str, offer: &str) -> Client {
    Client::to(ekbo).query(key).header("Sec-WebSocket-Extensions", offer).connect()
}

fn with_window(bits: u8) -> String {
    format!("permessage-deflate; server_max_window_bits={bits}")
}

#[track_caller]
fn extensions(client: &Client) -> Option<&str> {
    client.response.header("Sec-WebSocket-Extensions")
}

/// Checks that a client which makes this offer is let in, talks and listens without compression.
#[track_caller]
fn expect_no_compression(ekbo: &Ekbo, backend: &Backend, offer: &str) {
    let received = backend.requests("/receive").len();
    let mut alice = offering(ekbo, "alice", offer);
    assert_eq!(extensions(&alice), None, "{offer}");
    ekbo.send(["alice"], prose(1000)).assert_accepted();
    alice.expect_text(&prose(1000));
    alice.send(&Frame::text(prose(1000)));
    let told = backend.wait_for("/receive", received + 1);
    assert_eq!(told[received].text(), prose(1000), "{offer}");
    alice.send(&compressed(Frame::TEXT, prose(1000)));
    alice.expect_refusal(offer, 1002);
    assert_eq!(backend.requests("/receive").len(), received + 1, "{offer}");
}

/// Checks that a client with compression that writes `bytes` gets a close with `code` and the
/// orderly end, and that the backend is told the same as its close callback number `count`.
#[track_caller]
fn ends_with(ekbo: &Ekbo, backend: &Backend, what: &str, bytes: &[u8], code: u16, count: usize) {
    let mut client = offering(ekbo, "mallory", OFFER);
    client.write(bytes);
    client.expect_refusal(what, code);
    backend.expect_close(what, code, count);
}

#[track_caller]
fn send_binary(ekbo: &Ekbo, key: &str, bytes: &[u8]) {
    let send = ekbo.request("POST", "/send").session(key).content_type("application/octet-stream");
    send.body(bytes).send().assert_accepted();
}

fn compressed(opcode: u8, message: impl AsRef<[u8]>) -> Frame {
    Frame::new(opcode, deflate(message)).reserved(RSV1)
}

/// Text of so many bytes that compresses well, the larger the better.
fn prose(length: usize) -> String {
    let words = (0_u32..).map(|number| format!("{} objects beyond Neptune, ", number % 100));
    let mut text = String::new();
    for word in words {
        if text.len() >= length {
            break;
        }
        text += &word;
    }
    text.truncate(length);
    text
}

/// Bytes in which nothing repeats itself, always the same.
fn noise(length: usize) -> Vec<u8> {
    let mut state = 1_u64;
    let next = || {
        state =
            state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 56) as u8
    };
    std::iter::repeat_with(next).take(length).collect()
}

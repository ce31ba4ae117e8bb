//! How a hub is reached: paths, the handshake, Origins, frames. Whatever holds for every WebSocket
//! here is tested on `ekbo` (`upgrade.rs`, `protocol.rs`).

use serde_json::json;

use super::super::harness::{Client, Frame, Http, Received, Rocket};
use super::{INVALID_DATA, OK, READ, SUBSCRIBE, enter, open, open_hub, publish, publisher};

/// RK-TRN-1: a hub is a WebSocket of version 13 and nothing else.
#[test]
fn handshakes() {
    let rocket = open();
    let to_hub = || Client::to(&rocket).path("/hub");
    assert_eq!(to_hub().method("POST").refused().status, 405);
    assert_eq!(to_hub().without("Upgrade").refused().status, 400);
    assert_eq!(to_hub().without("Sec-WebSocket-Key").refused().status, 400);
    for version in ["8", "12", "14"] {
        let refused = to_hub().instead("Sec-WebSocket-Version", version).refused();
        assert_eq!((refused.status, refused.header("Sec-WebSocket-Version")), (400, Some("13")));
    }
    let mut plain = Http::tcp(rocket.address());
    assert_eq!(plain.exchange("GET /hub HTTP/1.1\r\nHost: localhost\r\n\r\n").status, 400);
    to_hub().connect();
}

/// RK-TRN-1, RK-CFG-5: paths are taken exactly, or with everything below; with no hubs there are
/// none.
#[test]
fn paths() {
    let rocket = Rocket::with(&json!([open_hub("/a"), open_hub("/b/"), open_hub("/b/c")])).start();
    for path in ["/a", "/b/", "/b/x", "/b/c/d", "/b/c", "/a?b=c"] {
        Client::to(&rocket).path(path).connect();
    }
    for path in ["/", "/a/", "/A", "/ab", "/c"] {
        assert_eq!(Client::to(&rocket).path(path).refused().status, 404, "{path}");
    }
    let none = Rocket::with(&json!([])).start();
    assert_eq!(Client::to(&none).path("/").refused().status, 404);
}

/// RK-TRN-2, R16: every Origin is welcome unless some are named, and so is none.
#[test]
fn origins() {
    let rocket = Rocket::with(&json!([
        open_hub("/any"),
        {"Path": "/some", "AllowedOrigins": ["https://example.com", "http://localhost:8080"]},
        {"Path": "/starred", "AllowedOrigins": ["https://example.com", "*"]},
    ]));
    let rocket = rocket.start();
    let status = |path: &str, origin: Option<&str>| {
        let client = Client::to(&rocket).path(path);
        match origin {
            Some(origin) => client.origin(origin).start().status(),
            None => client.start().status(),
        }
    };
    for (origin, of_some) in [
        (None, 101),
        (Some("https://example.com"), 101),
        (Some("http://localhost:8080"), 101),
        (Some("http://example.com"), 403),
        (Some("https://example.com:8080"), 403),
        (Some("https://example.com.evil.example"), 403),
        (Some("null"), 403),
        (Some("what is this?"), 403),
        (Some(""), 403),
    ] {
        assert_eq!(status("/any", origin), 101, "{origin:?}");
        assert_eq!(status("/starred", origin), 101, "{origin:?}");
        assert_eq!(status("/some", origin), of_some, "{origin:?}");
    }
}

/// RK-TRN-3, R16: the first subprotocol is selected; without any there is no such header.
#[test]
fn subprotocols() {
    let rocket = open();
    for (offered, selected) in [("ws", "ws"), ("one, two", "one"), ("x,ws", "x")] {
        let client = Client::to(&rocket).path("/hub").protocols(offered).connect();
        assert_eq!(client.response.header("Sec-WebSocket-Protocol"), Some(selected));
    }
    let client = Client::to(&rocket).path("/hub").connect();
    assert!(!client.response.has_header("Sec-WebSocket-Protocol"));
}

/// RK-MSG-2: binary messages are taken as texts are, and answered by texts; one that is not UTF-8
/// is invalid.
#[test]
fn binary_messages() {
    let rocket = open();
    let mut client = enter(&rocket, "/hub");
    client.send(&Frame::binary(READ));
    client.hears(OK);
    for bytes in [&b"\xff"[..], b"", b"{\"logout\":{\"a\":\"\xc3\x28\"}}", b"\x81\xa6logout\xc3"] {
        client.send(&Frame::binary(bytes));
        client.hears(INVALID_DATA);
    }
    client.says(SUBSCRIBE).hears(OK);
    let mut publisher = publisher(&rocket);
    publisher.send(&Frame::binary(publish("ü")));
    publisher.hears(OK);
    client.hears(super::broadcast("ü"));
}

/// R16: fragments are one message, however they are cut, with a ping between them.
#[test]
fn fragments() {
    let rocket = open();
    let mut client = enter(&rocket, "/hub");
    client.send(&Frame::text(&READ[..5]).unfinished());
    client.send(&Frame::continuation("").unfinished());
    client.send(&Frame::ping("are you there?"));
    client.expect_pong("are you there?");
    client.send(&Frame::continuation(&READ[5..20]).unfinished());
    client.send(&Frame::continuation(&READ[20..]));
    client.hears(OK);
}

/// R16: a pong is no message.
#[test]
fn pongs_are_ignored() {
    let rocket = open();
    let mut client = enter(&rocket, "/hub");
    client.send(&Frame::pong("unasked"));
    client.send(&Frame::pong(""));
    client.hears_nothing();
}

/// R16: a close is answered by the same code.
#[test]
fn a_close_is_echoed() {
    let rocket = open();
    let mut client = enter(&rocket, "/hub");
    client.send(&Frame::close(4321, "bye"));
    client.expect_close_code(4321);
    client.expect_end();
}

/// R4: what breaks the protocol ends the connection: without a mask 1002, text that is not UTF-8
/// 1007.
#[test]
fn broken_frames() {
    let rocket = open();
    for (frame, code) in [
        (Frame::text(READ).unmasked(), 1002),
        (Frame::continuation(READ), 1002),
        (Frame::text(b"{\"logout\":{\"\xff\":1}}"), 1007),
        (Frame::text(b"\xc3"), 1007),
    ] {
        let mut client = enter(&rocket, "/hub");
        client.send(&frame);
        assert!(
            matches!(client.receive(), Received::Close(Some((came, _))) if came == code),
            "{frame:?}"
        );
    }
}

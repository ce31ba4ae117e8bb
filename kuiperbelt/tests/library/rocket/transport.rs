//! Handshakes, frames and notations of Rocket hubs.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;

use kuiperbelt::rocket::Settings;
use tungstenite::Message;
use tungstenite::protocol::frame::Frame;
use tungstenite::protocol::frame::coding::{Data, OpCode};

use super::actors::*;

/// RK-TRN-1: what is no handshake.
#[test]
fn other_requests() {
    let server = Server::start();
    for (request, status) in [
        ("GET /echo HTTP/1.1\r\nHost: h\r\n\r\n", "400"),
        ("GET /nowhere HTTP/1.1\r\nHost: h\r\n\r\n", "404"),
        ("GET /echo/deeper HTTP/1.1\r\nHost: h\r\n\r\n", "404"),
        (
            "POST /echo HTTP/1.1\r\nHost: h\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n",
            "405",
        ),
        (
            "GET /echo HTTP/1.1\r\nHost: h\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 8\r\n\r\n",
            "400",
        ),
    ] {
        let mut stream = TcpStream::connect(server.address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.write_all(request.as_bytes()).unwrap();
        let mut start = [0; 12];
        stream.read_exact(&mut start).unwrap();
        assert_eq!(std::str::from_utf8(&start[9..]), Ok(status), "{request}");
    }
}

/// RK-TRN-2, R16: any Origin, and none, unless the hub says which.
#[test]
fn origins() {
    let server = Server::start();
    for origin in ["null", "http://localhost/", "nonsense"] {
        assert!(server.handshake("/echo", &[("Origin", origin)]).is_ok(), "{origin}");
    }
    assert!(server.handshake("/echo", &[]).is_ok());

    let allowed_origins = Some(vec!["https://example.org".to_owned()]);
    let server = Server::with(Settings { allowed_origins, ..Settings::default() });
    assert!(server.handshake("/echo", &[]).is_ok());
    assert!(server.handshake("/echo", &[("Origin", "https://example.org")]).is_ok());
    for origin in ["null", "http://example.org", "https://example.org:444"] {
        let answer = server.handshake("/echo", &[("Origin", origin)]);
        assert_eq!(answer.err(), Some(403), "{origin}");
    }
}

/// RK-TRN-3, R16: the first subprotocol that is offered, and none when none is.
#[test]
fn subprotocols() {
    let server = Server::start();
    for (offered, selected) in [(None, None), (Some("ws"), Some("ws")), (Some("b, a"), Some("b"))] {
        let fields: Vec<_> =
            offered.iter().map(|offered| ("Sec-WebSocket-Protocol", *offered)).collect();
        let (_, response) = server.handshake("/echo", &fields).unwrap();
        let answer = response.headers().get("Sec-WebSocket-Protocol");
        assert_eq!(answer.map(|value| value.to_str().unwrap()), selected);
    }
}

/// RK-TRN-3, R16: binary messages, fragments and pongs.
#[test]
fn frames() {
    let server = Server::start();
    let mut client = server.client();
    client.0.send(Message::binary(r#"{"logout":true}"#)).unwrap();
    assert_eq!(client.hear(), OK);
    client.0.send(Message::binary(&b"{\"logout\":{\"a\":\"\xff\"}}"[..])).unwrap();
    assert_eq!(client.hear(), INVALID_DATA);
    for (part, opcode, is_final) in [
        (r#"{"log"#, Data::Text, false),
        (r#"out":"#, Data::Continue, false),
        ("true}", Data::Continue, true),
    ] {
        let frame = Frame::message(part, OpCode::Data(opcode), is_final);
        client.0.send(Message::Frame(frame)).unwrap();
        client.0.send(Message::Pong("pong".into())).unwrap();
    }
    assert_eq!(client.hear(), OK);
    client.0.send(Message::Ping("ping".into())).unwrap();
    assert_eq!(client.0.read().unwrap(), Message::Pong("ping".into()));
    client.0.close(None).unwrap();
    assert_eq!(client.end(), 1005);
}

/// RK-TRN-1, R16: frames that break the rules end the connection, each with its code; messages up
/// to the limit are taken.
#[test]
fn frames_that_end_the_connection() {
    let server = Server::start();
    let mut client = server.client();
    let not_utf8 = Frame::message(&b"{\"logout\":\"\xff\"}"[..], OpCode::Data(Data::Text), true);
    client.0.send(Message::Frame(not_utf8)).unwrap();
    assert_eq!(client.end(), 1007);

    let mut client = server.client();
    client.0.get_mut().write_all(b"\x81\x01x").unwrap();
    assert_eq!(client.end(), 1002, "not masked");

    let mut client = server.client();
    let padded = |size: usize| format!(r#"{{"logout":true{}}}"#, " ".repeat(size - 15));
    assert_eq!(client.ask(&padded(1 << 20)), OK);
    client.say(&padded((1 << 20) + 1));
    assert_eq!(client.end(), 1009);
}

/// Another notation: the same events and answers, in binary messages of MessagePack.
#[cfg(feature = "msgpack")]
#[test]
fn message_pack() {
    use kuiperbelt::codec::MessagePack;
    use kuiperbelt::rocket::Rocket;

    const OK: &[u8] = b"\x81\xa2ok\xc3";
    let mut server = kuiperbelt::Server::new();
    let packed = Rocket::with_codec(server.hub(), "/packed", Settings::default(), MessagePack);
    server.door_with("/packed", packed.clone(), packed.options()).unwrap();
    let json = Rocket::new(server.hub(), "/json", Settings::default());
    let server = Server::run(json, server);
    let mut client = server.client_at("/packed");
    let mut hear = |event: Option<&[u8]>| {
        if let Some(event) = event {
            client.0.send(Message::binary(event.to_vec())).unwrap();
        }
        match client.0.read().unwrap() {
            Message::Binary(message) => message,
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(hear(Some(b"\x81\xa4auth\xa1x")), &b"\x81\xa3err\xacinvalid_data"[..]);
    let auth = b"\x81\xa4auth\x82\xa6access\xaaread-write\xa6secret\xa0";
    assert_eq!(hear(Some(auth)), OK);
    assert_eq!(hear(Some(b"\x81\xa9subscribe\x81\xa7channel\xa1c")), OK);
    // An extension type that nobody here knows.
    let publish = b"\x81\xa7publish\x83\xa5event\xc0\xa7channel\xa1c\xa4data\xd4\x2a\x07";
    let expected = &b"\x83\xa7channel\xa1c\xa4data\xd4\x2a\x07\xa5event\xc0"[..];
    assert_eq!(hear(Some(publish)), expected);
    assert_eq!(hear(None), OK);
    assert_eq!(packed.publish_json("c", r#"{"event":"e","data":[1,-1]}"#), Ok(1));
    assert_eq!(hear(None), &b"\x83\xa7channel\xa1c\xa4data\x92\x01\xff\xa5event\xa1e"[..]);
}

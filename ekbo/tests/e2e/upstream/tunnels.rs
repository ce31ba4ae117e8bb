//! Upgrades: whatever protocol client and application agree on, its bytes go through both ways
//! untouched, up to the end of either side.

use std::thread;
use std::time::Duration;

use super::super::harness::{
    Client, Ekbo, End, Http, Inbound, Received, Upstream, eventually, let_pass,
};
use super::{DONE, answer_next, played, relay};

const PIGEON: &str = "GET /loft HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\n\
                      Upgrade: carrier-pigeon/1\r\nX-Ring: 7\r\n\r\n";

const SWITCHED: &str = "HTTP/1.1 101 Off We Go\r\nConnection: Upgrade\r\n\
                        Upgrade: carrier-pigeon/1\r\nX-Wind: west\r\n\r\n";

/// A protocol that nobody has heard of: all 256 values of a byte, what was sent too early, and what
/// came together with the 101.
#[test]
fn a_protocol_of_our_own_invention() {
    let bytes: Vec<u8> = (0..=255).collect();
    for upstream in [Upstream::start(), Upstream::start_unix()] {
        let ekbo = Ekbo::in_front_of(&upstream.url()).start();
        let early = [PIGEON.as_bytes(), b"early"].concat();
        let (mut client, mut inbound, head) = relay(&ekbo, &upstream, early);
        assert_eq!(head.request_line, "GET /loft HTTP/1.1");
        assert_eq!(head.all("Upgrade"), ["carrier-pigeon/1"]);
        assert_eq!(head.all("X-Ring"), ["7"]);
        assert!(head.all("Connection").iter().any(|value| value.eq_ignore_ascii_case("upgrade")));
        assert!(inbound.is_silent(), "what follows the request is not for an HTTP server");
        inbound.write([SWITCHED.as_bytes(), &bytes].concat());
        let response = client.read();
        assert_eq!(response.status, 101);
        assert_eq!(response.header("Upgrade"), Some("carrier-pigeon/1"));
        assert!(response.header("Connection").unwrap().eq_ignore_ascii_case("upgrade"));
        assert_eq!(response.header("X-Wind"), Some("west"));
        assert_eq!(client.exactly(256), bytes);
        inbound.expect("early");
        for _ in 0..3 {
            client.write(&bytes);
            inbound.expect(&bytes);
            inbound.write(SWITCHED);
            assert_eq!(client.exactly(SWITCHED.len()), SWITCHED.as_bytes());
        }
    }
}

/// Each side may end while the other goes on.
#[test]
fn one_side_ends() {
    let (upstream, ekbo) = played();
    let (mut client, mut inbound) = tunnel(&ekbo, &upstream);
    client.write("last words");
    client.finish_writing();
    assert_eq!(inbound.rest(), (b"last words".to_vec(), End::Eof));
    for word in ["one", "two"] {
        inbound.write(word);
        assert_eq!(client.exactly(3), word.as_bytes());
    }
    inbound.write("end");
    drop(inbound);
    assert_eq!(client.rest(), (b"end".to_vec(), End::Eof));

    let (mut client, mut inbound) = tunnel(&ekbo, &upstream);
    inbound.write("last words");
    inbound.finish_writing();
    assert_eq!(client.rest(), (b"last words".to_vec(), End::Eof));
    for word in ["one", "two"] {
        client.write(word);
        inbound.expect(word);
    }
    client.write("end");
    drop(client);
    assert_eq!(inbound.rest(), (b"end".to_vec(), End::Eof));
}

/// A client may have said everything before the application has agreed.
#[test]
fn one_side_has_ended_before_the_switch() {
    let (upstream, ekbo) = played();
    let (mut client, mut inbound, _) = relay(&ekbo, &upstream, format!("{PIGEON}all of it"));
    client.finish_writing();
    inbound.write(SWITCHED);
    assert_eq!(client.read().status, 101);
    assert_eq!(inbound.rest(), (b"all of it".to_vec(), End::Eof));
    inbound.write("heard");
    drop(inbound);
    assert_eq!(client.rest(), (b"heard".to_vec(), End::Eof));
}

/// Over TLS there is no end of one side for clients that take close_notify for the end of all; what the
/// upstream had to say before its end is there.
#[test]
fn a_tunnel_over_tls() {
    let upstream = Upstream::start();
    let ekbo = Ekbo::in_front_of(&upstream.url()).over_tls().start();
    let (mut client, mut inbound) = tunnel(&ekbo, &upstream);
    client.write("question");
    inbound.expect("question");
    inbound.write("answer");
    drop(inbound);
    assert_eq!(client.rest(), (b"answer".to_vec(), End::Eof));
}

/// A side that vanishes takes the other along, which can tell that from an end.
#[test]
fn one_side_is_reset() {
    let (upstream, ekbo) = played();
    expect_resets(&ekbo, &upstream);
    let upstream = Upstream::start();
    expect_resets(&Ekbo::in_front_of(&upstream.url()).over_tls().start(), &upstream);
}

/// The same where TLS is on the way to the upstream.
#[test]
fn one_side_is_reset_behind_tls() {
    let upstream = Upstream::start();
    let inner = Ekbo::in_front_of(&upstream.url()).over_tls().start();
    let ekbo = Ekbo::in_front_of(&format!("https://localhost:{}", inner.port()))
        .environment("SSL_CERT_FILE", inner.directory.join("certificate.pem"))
        .start();
    expect_resets(&ekbo, &upstream);
}

/// Checks that the reset of each side of a tunnel is one of the other, and that nothing is left of it.
#[track_caller]
fn expect_resets(ekbo: &Ekbo, upstream: &Upstream) {
    let files = ekbo.open_files();
    let (mut client, inbound) = tunnel(ekbo, upstream);
    inbound.reset();
    assert_eq!(client.read_end(), End::Reset);
    drop(client);
    let (client, mut inbound) = tunnel(ekbo, upstream);
    client.reset();
    assert_eq!(inbound.rest(), (vec![], End::Reset));
    drop(inbound);
    eventually("no connection is left", || ekbo.open_files() == files);
}

/// Megabytes both ways at once, with nobody reading ahead of the other.
#[test]
fn a_lot_both_ways() {
    const LENGTH: usize = 8 << 20;
    let (upstream, ekbo) = played();
    let before = ekbo.memory("VmHWM");
    let (mut client, mut inbound) = tunnel(&ekbo, &upstream);
    let mut writers = (client.wire().another(), inbound.wire().another());
    let content = |salt: usize| -> Vec<u8> {
        (0..LENGTH).map(|at| u8::try_from((at / 7 + at + salt) % 251).unwrap()).collect()
    };
    let (there, back) = (content(1), content(2));
    thread::scope(|scope| {
        scope.spawn(|| std::io::Write::write_all(&mut writers.0, &there).unwrap());
        scope.spawn(|| std::io::Write::write_all(&mut writers.1, &back).unwrap());
        scope.spawn(|| inbound.expect(&there));
        assert!(client.exactly(LENGTH) == back);
    });
    let after = ekbo.memory("VmHWM");
    assert!(after < before + (6 << 20), "from {before} to {after} bytes");
}

/// An application that does not upgrade answers as ever, and what the client sent behind its request
/// was no protocol but its next request.
#[test]
fn an_upgrade_that_is_declined() {
    let (upstream, ekbo) = played();
    for answer in ["200 OK", "426 Upgrade Required", "400 No"] {
        let early = format!("{PIGEON}GET /next HTTP/1.1\r\nHost: x\r\n\r\n");
        let (mut client, mut inbound, _) = relay(&ekbo, &upstream, early);
        assert!(inbound.is_silent());
        inbound.write(format!(
            "HTTP/1.1 {answer}\r\nConnection: close\r\nContent-Length: 2\r\n\r\nno"
        ));
        let response = client.read();
        assert!(answer.starts_with(&response.status.to_string()), "{answer}: {response:?}");
        assert_eq!(response.text(), "no");
        assert_eq!(answer_next(&upstream).target(), "/next");
        assert_eq!(client.read().status, 204);
    }
}

/// And so a request that no upstream may see cannot ride behind an upgrade.
#[test]
fn what_follows_a_declined_upgrade_is_checked() {
    let (upstream, ekbo) = played();
    let early = format!("{PIGEON}GET /smuggled HTTP/1.1\r\nHost: x\r\nHost: y\r\n\r\n");
    let (mut client, mut inbound, _) = relay(&ekbo, &upstream, early);
    inbound.write(DONE);
    assert_eq!(client.read().status, 204);
    assert_eq!(client.read().status, 400);
    client.read_end();
    assert!(upstream.try_accept().is_none());
}

/// An upgrade to HTTP/2 would carry on requests that nobody has looked at: it is not asked for.
#[test]
fn http_2_is_no_way_around_us() {
    let (upstream, ekbo) = played();
    for protocol in ["h2c", "H2C", "websocket, h2c", "HTTP/2.0"] {
        let mut client = ekbo.http();
        client.write(format!(
            "GET / HTTP/1.1\r\nHost: x\r\nConnection: Upgrade, HTTP2-Settings\r\n\
             Upgrade: {protocol}\r\nHTTP2-Settings: AAMAAABkAAQAoAAAAAIAAAAA\r\n\r\n"
        ));
        let head = answer_next(&upstream);
        assert_eq!(head.fields_of_the_client(), ["Host: x"], "{protocol}");
        assert_eq!(client.read().status, 204, "{protocol}");
    }
}

/// A body before the upgrade is a body.
#[test]
fn an_upgrade_with_a_body() {
    let (upstream, ekbo) = played();
    let (mut client, mut inbound, _) = relay(
        &ekbo,
        &upstream,
        "POST / HTTP/1.1\r\nHost: x\r\nConnection: upgrade\r\nUpgrade: pigeon\r\nContent-Length: 4\r\n\r\n\
         bodyearly",
    );
    inbound.expect("body");
    assert!(inbound.is_silent());
    inbound.write("HTTP/1.1 101 Yes\r\nConnection: upgrade\r\nUpgrade: pigeon\r\n\r\n");
    assert_eq!(client.read().status, 101);
    inbound.expect("early");
}

/// 101 to a client that has not asked for it is no answer.
#[test]
fn a_switch_that_nobody_asked_for() {
    let (upstream, ekbo) = played();
    for request in [
        "GET / HTTP/1.1\r\nHost: x\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: x\r\nUpgrade: carrier-pigeon/1\r\n\r\n",
        "GET / HTTP/1.0\r\nConnection: upgrade\r\nUpgrade: carrier-pigeon/1\r\n\r\n",
    ] {
        let (mut client, mut inbound, _) = relay(&ekbo, &upstream, request);
        inbound.write(SWITCHED);
        let response = client.read();
        assert_eq!(response.status, 502, "{request}: {response:?}");
        assert_eq!(inbound.rest().0, b"", "{request}");
    }
}

/// 101 to a protocol that the client has not asked for, or without saying to which, is none either.
#[test]
fn a_switch_to_something_else() {
    let (upstream, ekbo) = played();
    for (protocol, status) in [
        ("Upgrade: Carrier-Pigeon\r\n", 101),
        ("", 502),
        ("Upgrade: owl\r\n", 502),
        ("Upgrade: carrier-pigeon/1, h2c\r\n", 502),
    ] {
        let (mut client, mut inbound, _) = relay(&ekbo, &upstream, PIGEON);
        inbound.write(format!("HTTP/1.1 101 Yes\r\nConnection: upgrade\r\n{protocol}\r\n"));
        assert_eq!(client.read().status, status, "{protocol}");
    }
}

/// A tunnel that rests stays: for longer than any time-out for answers.
#[test]
fn a_tunnel_may_rest() {
    let upstream = Upstream::start();
    let ekbo = Ekbo::alone()
        .set("upstream.url", &upstream.url())
        .set("upstream.response_timeout", "200ms")
        .start();
    let (mut client, mut inbound) = tunnel(&ekbo, &upstream);
    let_pass(Duration::from_millis(600));
    client.write("still here");
    inbound.expect("still here");
    inbound.write("me too");
    assert_eq!(client.exactly(6), b"me too");
}

/// A WebSocket of the application's own: its handshake with everything that it offers, frames that
/// are nobody's business, in compressed form for all we know, and the close of either side.
#[test]
fn a_websocket() {
    let (upstream, ekbo) = played();
    let pending = Client::to(&ekbo)
        .path("/cable")
        .protocols("actioncable-v1-json, other")
        .header("Sec-WebSocket-Extensions", "permessage-deflate; client_max_window_bits")
        .origin("http://elsewhere.example")
        .start();
    let mut inbound = upstream.accept();
    let head = inbound.head();
    for (name, value) in [
        ("Sec-WebSocket-Version", "13"),
        ("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ=="),
        ("Sec-WebSocket-Protocol", "actioncable-v1-json, other"),
        ("Sec-WebSocket-Extensions", "permessage-deflate; client_max_window_bits"),
        ("Origin", "http://elsewhere.example"),
        ("Upgrade", "websocket"),
    ] {
        assert_eq!(head.all(name), [value]);
    }
    inbound.write(
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\
         Sec-WebSocket-Protocol: actioncable-v1-json\r\n\r\n",
    );
    let mut client = pending.connect();
    assert_eq!(client.response.header("Sec-WebSocket-Protocol"), Some("actioncable-v1-json"));
    assert_eq!(
        client.response.header("Sec-WebSocket-Accept"),
        Some("s3pPLMBiTxaQ9kYGzzhZRbK+xOo=")
    );
    assert_eq!(client.response.header("Sec-WebSocket-Extensions"), None);
    inbound.write(b"\x81\x07welcome");
    client.expect_text("welcome");
    inbound.write(b"\x88\x02\x03\xe8");
    client.expect_close(1000, "");
    inbound.finish_writing();
    assert_eq!(client.receive(), Received::End(End::Eof));
}

/// A tunnel that has just been agreed on.
#[track_caller]
pub(super) fn tunnel(ekbo: &Ekbo, upstream: &Upstream) -> (Http, Inbound) {
    let (mut client, mut inbound, _) = relay(ekbo, upstream, PIGEON);
    inbound.write(SWITCHED);
    assert_eq!(client.read().status, 101);
    (client, inbound)
}

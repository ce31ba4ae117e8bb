//! The gateway over TLS: `tls.cert` and `tls.key`. What TLS itself does with records in pieces is
//! tested beside `kuiperbelt/src/stream/tls.rs`.

use std::io::{Read as _, Write as _};
use std::process::Command;
use std::time::Duration;

use tungstenite::Message;

use super::browser::Browser;
use super::harness::{
    Answer, Backend, BackendPlan, Client, Directory, Ekbo, End, Frame, Gate, Http, PATIENCE,
    Received, Signal, Stopwatch, Wire, deflate, eventually, eventually_some, inflate, let_pass,
};

/// More than what the kernel keeps for a client that does not read.
const MORE_THAN_SOCKETS_HOLD: usize = 32 << 20;

/// The whole of a session: first message, `/receive`, `/send` over `https://`, and a close.
#[test]
fn a_session() {
    let backend = receiving().on("/connect", Answer::admit("alice").body("hello")).start();
    let ekbo = Ekbo::with(&backend).over_tls().start();
    let mut alice = Client::connect(&ekbo);
    alice.expect_text("hello");
    alice.send(&Frame::text("from alice"));
    assert_eq!(backend.wait_for_first("/receive").text(), "from alice");
    assert_eq!(ekbo.send(["alice"], "to alice").status, 200);
    alice.expect_text("to alice");
    alice.send(&Frame::ping("?"));
    alice.expect_pong("?");
    alice.send(&Frame::close(4000, "bye"));
    alice.expect_close(4000, "");
    assert_eq!(backend.wait_for_first("/close").header("X-Kuiperbelt-Close-Code"), Some("4000"));
    alice.expect_end();
}

/// A client library that others wrote ends in order, and so does TLS under it.
#[test]
fn a_conforming_client() {
    let backend = receiving().start();
    let ekbo = Ekbo::with(&backend).over_tls().start();
    let mut alice = Client::conforming(&ekbo);
    alice.send(Message::text("hello")).unwrap();
    assert_eq!(backend.wait_for_first("/receive").text(), "hello");
    assert_eq!(ekbo.close(["alice"], "last word").status, 200);
    assert_eq!(alice.read().unwrap(), Message::text("last word"));
    let Message::Close(Some(frame)) = alice.read().unwrap() else { panic!("no close") };
    assert_eq!(u16::from(frame.code), 1000);
    assert!(matches!(alice.read(), Err(tungstenite::Error::ConnectionClosed)));
    // Without close_notify this would be an error.
    assert_eq!(alice.get_mut().read(&mut [0]).unwrap(), 0);
}

/// Many requests on a connection, one asked for ahead of the other's answer, and bodies in pieces.
#[test]
fn https() {
    let ekbo = Ekbo::alone().over_tls().start();
    let mut http = ekbo.http();
    let ping = "GET /ping HTTP/1.1\r\nHost: x\r\n\r\n";
    http.write(ping.repeat(3));
    for _ in 0..3 {
        assert_eq!(http.read().status, 200);
    }
    http.write("POST /send HTTP/1.1\r\nHost: x\r\nX-Kuiperbelt-Session: nobody\r\n");
    http.write("Expect: 100-continue\r\nContent-Length: 200000\r\n\r\n");
    assert_eq!(http.read().status, 100);
    for _ in 0..20 {
        http.write("x".repeat(10_000));
    }
    assert_eq!(http.read().status, 200);
    http.write("GET /ping HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    assert_eq!(http.read().status, 200);
    assert_eq!(http.wire().read(&mut [0]).unwrap(), 0, "a clean end, with close_notify");
}

/// `curl`, which has another TLS, by either version of it.
#[test]
fn curl() {
    let ekbo = Ekbo::alone().over_tls().start();
    for version in ["1.2", "1.3"] {
        let output = Command::new("curl")
            .args(["--silent", "--show-error", "--fail", "--cacert", "certificate.pem"])
            .args([&format!("--tlsv{version}"), "--tls-max", version])
            .arg(format!("https://localhost:{}/ping", ekbo.port()))
            .current_dir(ekbo.directory.path())
            .output()
            .expect("curl is missing; install it with: apt-get install curl");
        let told = String::from_utf8_lossy(&output.stderr);
        assert_eq!(String::from_utf8_lossy(&output.stdout), r#"{"result":"OK"}"#, "{told}");
    }
}

/// 1 MiB in either direction, and through the queue.
#[test]
fn large_messages() {
    let large = "0123456789abcdef".repeat(1 << 16);
    let backend = receiving().start();
    let ekbo = Ekbo::with(&backend).over_tls().start();
    let mut alice = Client::connect(&ekbo);
    alice.send(&Frame::text(&large));
    assert!(backend.wait_for_first("/receive").text() == large);
    for _ in 0..4 {
        assert_eq!(ekbo.send(["alice"], &large).status, 200);
        assert!(alice.receive() == Received::Text(large.clone()));
    }
}

/// A client that stops reading, for a while, has everything in the end, in order. What it is sent
/// is far more than sockets hold, so TLS has to wait in the middle of it.
#[test]
fn a_slow_reader() {
    let large = "x".repeat(MORE_THAN_SOCKETS_HOLD);
    let backend = Backend::admitting("alice").start();
    let ekbo = Ekbo::with(&backend).over_tls().set("max_body_size", "0").start();
    let mut alice = Client::connect(&ekbo);
    for body in [&*large, "after it"] {
        assert_eq!(ekbo.send(["alice"], body).status, 200);
    }
    let_pass(Duration::from_millis(300));
    assert!(alice.receive() == Received::Text(large));
    alice.expect_text("after it");
}

/// D11: who takes nothing at all is given up.
#[test]
fn a_client_that_does_not_read() {
    let large = "x".repeat(MORE_THAN_SOCKETS_HOLD);
    let backend = Backend::admitting("alice").start();
    let ekbo = Ekbo::with(&backend)
        .over_tls()
        .set("max_body_size", "0")
        .set("write_timeout", "500ms")
        .start();
    let _alice = Client::connect(&ekbo);
    let since = Stopwatch::start();
    assert_eq!(ekbo.send(["alice"], large).status, 200);
    let told = backend.wait_for_first("/close");
    assert_eq!(told.header("X-Kuiperbelt-Close-Code"), Some("1006"));
    assert!(since.elapsed() >= Duration::from_millis(500));
}

/// KB-STP-1: the stop says 1001 to everybody and ends TLS in order.
#[test]
fn the_stop() {
    let backend = Backend::admitting("alice").start();
    let mut ekbo = Ekbo::with(&backend).over_tls().start();
    let mut alice = Client::conforming(&ekbo);
    let mut kept = ekbo.http();
    assert_eq!(kept.exchange("GET /ping HTTP/1.1\r\nHost: x\r\n\r\n").status, 200);
    let mut half = Wire::tcp(ekbo.address());
    half.write_all(&hello()[..50]).unwrap();
    ekbo.signal(Signal::Term);
    let Message::Close(Some(frame)) = alice.read().unwrap() else { panic!("no close") };
    assert_eq!(u16::from(frame.code), 1001);
    assert!(matches!(alice.read(), Err(tungstenite::Error::ConnectionClosed)));
    assert_eq!(kept.wire().read(&mut [0]).unwrap(), 0, "a clean end, with close_notify");
    assert_eq!(backend.wait_for_first("/close").session(), Some("alice"));
    assert_eq!(ekbo.wait_exit().code(), Some(0));
}

#[test]
fn idle() {
    let backend = Backend::admitting("alice").start();
    let ekbo = Ekbo::with(&backend).over_tls().set("idle_timeout", "500ms").start();
    let mut alice = Client::connect(&ekbo);
    alice.expect_close(1001, "idle timeout");
}

#[test]
fn compression() {
    let backend = receiving().start();
    let ekbo = Ekbo::with(&backend).over_tls().set("compression", "true").start();
    let offer = "permessage-deflate";
    let mut alice = Client::to(&ekbo).header("Sec-WebSocket-Extensions", offer).connect();
    let text = "again and ".repeat(1000);
    assert_eq!(ekbo.send(["alice"], &text).status, 200);
    let (start, payload) = alice.receive_frame().unwrap();
    assert_eq!(start, 0xc1, "a compressed text");
    assert!(payload.len() < 200 && inflate(&payload) == text.as_bytes());
    alice.send(&Frame::text(deflate(&text)).reserved(4));
    assert!(backend.wait_for_first("/receive").text() == text);
}

/// A client may say at once that it has nothing more to say. That this is not read any more is no
/// reason to reset the connection under the answer.
#[test]
fn a_close_notify_ahead_of_the_answer() {
    let gate = Gate::default();
    let answer = Answer::status(403).body("not today").held_by(&gate);
    let backend = Backend::plan().on("/connect", answer).start();
    let ekbo = Ekbo::with(&backend).over_tls().start();
    let mut http = ekbo.http();
    http.write(
        "GET /connect HTTP/1.1\r\nHost: x\r\nConnection: Upgrade, close\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
    );
    backend.wait_for_first("/connect");
    let mut bare = Http::over(http.wire().another()).into_incoming();
    let Wire::TlsClient(stream) = http.wire() else { panic!("no TLS") };
    stream.conn.send_close_notify();
    stream.flush().unwrap();
    gate.open();
    let (records, end) = bare.rest();
    assert_eq!(end, End::Eof);
    let mut records = &records[..];
    while stream.conn.read_tls(&mut records).unwrap() > 0 {
        stream.conn.process_new_packets().unwrap();
    }
    let mut answer = String::new();
    stream.conn.reader().read_to_string(&mut answer).expect("a clean end, with close_notify");
    assert!(answer.starts_with("HTTP/1.1 403 ") && answer.ends_with("not today"), "{answer}");
}

/// Whoever speaks something else is told so in TLS and sent away, in order; the server goes on.
#[test]
fn plain_http() {
    let ekbo = Ekbo::alone().over_tls().start();
    let much = "more than is read at once".repeat(20_000);
    let ping = "GET /ping HTTP/1.1\r\nHost: x\r\n\r\n";
    for said in [ping, "\0\0\0\0\0\0", "EHLO localhost\r\n", &much] {
        let mut http = Http::tcp(ekbo.address());
        http.write(said);
        let (answer, end) = http.into_incoming().rest();
        // A fatal alert (RFC 8446 section 6).
        let beginning = &said[..6];
        assert_eq!(answer[..6], [21, 3, 3, 0, 2, 2], "{beginning:?}");
        assert_eq!((answer.len(), end), (7, End::Eof), "{beginning:?}");
    }
    assert_eq!(ekbo.get("/ping").status, 200);
}

/// A client that does not trust the certificate leaves nothing behind.
#[test]
fn a_client_without_trust() {
    let ekbo = Ekbo::alone().over_tls().start();
    let at_rest = ekbo.open_files();
    let directory = Directory::new();
    let other = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).unwrap();
    let mut wire = Wire::tls(ekbo.address(), &directory.write("other.pem", other.cert.pem()));
    assert!(wire.write_all(b"GET / HTTP/1.1\r\n\r\n").is_err() || wire.flush().is_err());
    eventually("the connection is gone", || ekbo.open_files() == at_rest);
    assert_eq!(ekbo.get("/ping").status, 200);
}

/// KB-NET-4: `handshake_timeout` covers TLS: for who says nothing, or stops anywhere in it, and who
/// then stops in the head of a request, or says nothing more.
#[test]
fn slow_handshakes() {
    const TIMEOUT: Duration = Duration::from_millis(500);
    let ekbo = Ekbo::alone().over_tls().set("handshake_timeout", "500ms").start();
    let hello = hello();
    for size in [0, 1, 5, 50, hello.len()] {
        let since = Stopwatch::start();
        let mut http = Http::tcp(ekbo.address());
        http.write(&hello[..size]);
        let (answer, end) = http.into_incoming().rest();
        expect_timed_out(&since, TIMEOUT);
        assert_eq!(end, End::Eof, "{size} bytes");
        assert_eq!(answer.is_empty(), size < hello.len(), "{size} bytes");
    }
    for said in ["", "GET /ping HTTP/1.1\r\nHo"] {
        let since = Stopwatch::start();
        let mut http = ekbo.http();
        let Wire::TlsClient(stream) = http.wire() else { panic!("no TLS") };
        stream.conn.complete_io(&mut stream.sock).unwrap();
        http.write(said);
        assert_eq!(http.wire().read(&mut [0]).unwrap(), 0, "a clean end, with close_notify");
        expect_timed_out(&since, TIMEOUT);
    }
    assert_eq!(ekbo.get("/ping").status, 200);
}

#[track_caller]
fn expect_timed_out(since: &Stopwatch, timeout: Duration) {
    let waited = since.elapsed();
    assert!(waited >= timeout * 9 / 10 && waited < PATIENCE / 2, "{waited:?}");
}

/// Files that cannot be used stop the start, and `ekbo check` says so as well: which, and what to
/// do.
#[test]
fn bad_files() {
    let identity = || rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let (ours, other) = (identity(), identity());
    let (cert, key) = (ours.cert.pem(), ours.signing_key.serialize_pem());
    let cases = [
        (None, Some(&key), "tls.cert cert.pem: ", "No such file"),
        (Some(&cert), None, "tls.key key.pem: ", "No such file"),
        (Some(&key), Some(&key), "tls.cert cert.pem: ", "holds no certificate"),
        (Some(&cert), Some(&cert), "tls.key key.pem: ", "holds no private key"),
        (Some(&other.cert.pem()), Some(&key), "tls.key key.pem: ", "does not belong"),
    ];
    for (cert, key, place, problem) in cases {
        for command in ["check", "serve"] {
            let plan = Ekbo::alone().set("tls.cert", "cert.pem").set("tls.key", "key.pem");
            if let Some(cert) = cert {
                plan.directory().write("cert.pem", cert);
            }
            if let Some(key) = key {
                plan.directory().write("key.pem", key);
            }
            let told = plan.command(command).fails_to_start(1);
            let line = told.lines().find(|line| line.contains("load tls error")).unwrap();
            assert!(line.contains("config.yml:"), "{line}");
            assert!(line.contains(place) && line.contains(problem), "{line}");
            assert!(!told.contains("PRIVATE KEY"), "{told}");
        }
    }
    let alone = Ekbo::alone().set("tls.cert", "cert.pem").command("check").fails_to_start(1);
    assert!(alone.contains("tls.key"), "{alone}");
}

/// The backend's own listener stays plain.
#[test]
fn the_api_has_a_listener_of_its_own() {
    let backend = Backend::admitting("alice").start();
    let ekbo = Ekbo::with(&backend).over_tls().set("api_listen", "127.0.0.1:0").start();
    let mut alice = Client::connect(&ekbo);
    let api = ekbo.api_listener();
    assert_eq!(api.request("POST", "/send").session("alice").body("hello").send().status, 200);
    alice.expect_text("hello");
    assert_eq!(ekbo.request("POST", "/send").session("alice").send().status, 404);
}

/// A page from `https://` opens `wss://` in Chromium.
#[test]
fn in_a_browser() {
    let backend = receiving().on("/connect", Answer::admit("alice").body("hello")).start();
    let ekbo = Ekbo::with(&backend).over_tls().set("origin_policy", "same_origin").start();
    let browser = Browser::start_with(&["--ignore-certificate-errors"]);
    let page = browser.open(&format!("https://localhost:{}/ping", ekbo.port()));
    page.run(
        "window.heard = [];
         window.socket = new WebSocket(`wss://${location.host}/connect`);
         socket.onmessage = event => { heard.push(event.data); socket.send(`I heard ${event.data}`) };
         socket.onclose = event => heard.push(`${event.code} ${event.wasClean}`);",
    );
    assert_eq!(backend.wait_for_first("/receive").text(), "I heard hello");
    assert_eq!(ekbo.close(["alice"], "last word").status, 200);
    let heard = eventually_some("the end in the page", || {
        let heard = page.run("return heard");
        (heard.as_array().unwrap().len() == 3).then_some(heard)
    });
    assert_eq!(heard, serde_json::json!(["hello", "last word", "1000 true"]));
}

/// Admits everybody as `alice` and takes messages.
fn receiving() -> BackendPlan {
    Backend::admitting("alice").on("/receive", Answer::ok())
}

/// A ClientHello, as a client would begin.
fn hello() -> Vec<u8> {
    let directory = Directory::new();
    let identity = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).unwrap();
    let certificate = directory.write("certificate.pem", identity.cert.pem());
    let somewhere = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let wire = Wire::tls(somewhere.local_addr().unwrap(), &certificate);
    let Wire::TlsClient(mut stream) = wire else { unreachable!() };
    let mut hello = Vec::new();
    stream.conn.write_tls(&mut hello).unwrap();
    hello
}

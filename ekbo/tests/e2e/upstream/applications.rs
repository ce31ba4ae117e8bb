//! `ekbo` in front of servers that others wrote: nginx, gunicorn, Puma, and Python's `websockets`.

use std::io::Read as _;

use flate2::Crc;
use serde_json::{Value, json};
use tungstenite::Message;

use super::super::harness::{Application, Ekbo, EkboPlan, Http, Response, Transport};

/// What is sent up and down.
const LARGE: usize = 50 << 20;

/// What `ekbo` may need more at the most, however long a body is.
const FLAT: u64 = 6 << 20;

const PAGE: &str = "<!doctype html><title>A page</title>";

/// A page from each of them, again and again over one connection, also as HEAD and not at all.
#[test]
fn a_page() {
    let applications = [
        Application::nginx(),
        Application::gunicorn(Transport::Tcp),
        Application::gunicorn(Transport::Unix),
        Application::puma(),
    ];
    for application in &applications {
        let ekbo = Ekbo::in_front_of(&application.url()).start();
        let mut client = ekbo.http();
        for _ in 0..3 {
            let page = client.exchange("GET /page HTTP/1.1\r\nHost: x\r\n\r\n");
            page.assert_is(200, "text/html", PAGE);
            client.write("HEAD /page HTTP/1.1\r\nHost: x\r\n\r\n");
            let head = client.read_answer_to("HEAD");
            assert_eq!((head.status, head.header("Content-Type")), (200, Some("text/html")));
            let missing = client.exchange("GET /missing HTTP/1.1\r\nHost: x\r\n\r\n");
            assert_eq!(missing.status, 404, "{}", application.url());
        }
    }
}

/// What gunicorn says that it was asked is what was asked.
#[test]
fn a_request_as_gunicorn_sees_it() {
    let gunicorn = Application::gunicorn(Transport::Unix);
    let ekbo = Ekbo::in_front_of(&gunicorn.url()).start();
    let response = ekbo
        .request("OPTIONS", "/request?x=%2F&y=a//b")
        .header("X-Twice", "one")
        .header("X-Twice", "two")
        .header("X-Forwarded-For", "203.0.113.7")
        .send();
    let told: Value = serde_json::from_str(response.text()).unwrap();
    assert_eq!(told["method"], "OPTIONS");
    assert_eq!(told["target"], "/request?x=%2F&y=a//b");
    assert_eq!(told["HTTP_HOST"], json!(ekbo.host()));
    assert_eq!(told["HTTP_X_TWICE"], "one,two");
    assert_eq!(told["HTTP_X_FORWARDED_FOR"], "127.0.0.1");
    assert_eq!(told["HTTP_X_FORWARDED_PROTO"], "http");
}

/// Parts of files, and files that have not changed: nginx decides that by fields that must get through.
#[test]
fn parts_of_files() {
    let nginx = Application::nginx();
    nginx.directory.write("file.txt", "0123456789");
    let ekbo = Ekbo::in_front_of(&nginx.url()).start();
    let part = ekbo.request("GET", "/file.txt").header("Range", "bytes=2-4").send();
    assert_eq!((part.status, part.text()), (206, "234"));
    assert_eq!(part.header("Content-Range"), Some("bytes 2-4/10"));
    let whole = ekbo.get("/file.txt");
    let tag = whole.header("ETag").unwrap();
    let same = ekbo.request("GET", "/file.txt").header("If-None-Match", tag).send();
    assert_eq!((same.status, same.header("ETag")), (304, Some(tag)));
    assert_eq!(ekbo.request("GET", "/file.txt").header("Range", "bytes=20-").send().status, 416);
}

/// 50 MiB up, by length and in chunks, in plain text and over TLS, to gunicorn and to Puma: they say
/// what they got, and `ekbo` needed no memory for it.
#[test]
fn a_large_upload() {
    let content = large();
    let mut crc = Crc::new();
    crc.update(&content);
    let expected = format!("{LARGE} {:08x}", crc.sum());
    let gunicorn = Application::gunicorn(Transport::Tcp);
    let puma = Application::puma();
    let plain = |application: &Application| Ekbo::in_front_of(&application.url());
    for (ekbo, chunked) in [
        (plain(&gunicorn).start(), false),
        (plain(&gunicorn).over_tls().start(), true),
        (plain(&puma).start(), true),
    ] {
        // Whatever a first request needs is there.
        ekbo.get("/page");
        let before = ekbo.memory("VmHWM");
        let mut client = ekbo.http();
        let response = upload(&mut client, &content, chunked);
        assert_eq!(response.text(), expected);
        let after = ekbo.memory("VmHWM");
        assert!(after < before + FLAT, "from {before} to {after} bytes");
        assert_eq!(client.exchange("GET /page HTTP/1.1\r\nHost: x\r\n\r\n").text(), PAGE);
    }
}

/// 50 MiB down, by length from nginx and in chunks from gunicorn, in plain text and over TLS.
#[test]
fn a_large_download() {
    let content = large();
    let nginx = Application::nginx();
    let gunicorn = Application::gunicorn(Transport::Unix);
    let plain = |application: &Application| -> EkboPlan {
        application.directory.write("large.bin", &content);
        Ekbo::in_front_of(&application.url())
    };
    for (ekbo, path) in [
        (plain(&nginx).start(), "/large.bin"),
        (plain(&nginx).over_tls().start(), "/large.bin"),
        (plain(&gunicorn).start(), "/download"),
    ] {
        ekbo.get("/page");
        let before = ekbo.memory("VmHWM");
        let response = ekbo.get(path);
        assert_eq!(response.status, 200);
        assert!(response.body == content, "{} bytes", response.body.len());
        let after = ekbo.memory("VmHWM");
        assert!(after < before + FLAT, "from {before} to {after} bytes");
    }
}

/// Server-sent events come line by line: each is seen before the next one is made.
#[test]
fn events_as_they_come() {
    let gunicorn = Application::gunicorn(Transport::Tcp);
    for ekbo in [
        Ekbo::in_front_of(&gunicorn.url()).start(),
        Ekbo::in_front_of(&gunicorn.url()).over_tls().start(),
    ] {
        let mut client = ekbo.http();
        client.write("GET /events HTTP/1.1\r\nHost: x\r\nAccept: text/event-stream\r\n\r\n");
        let mut lines = vec![client.line()];
        while !lines.last().unwrap().is_empty() {
            lines.push(client.line());
        }
        assert!(lines.contains(&"Content-Type: text/event-stream".to_owned()), "{lines:?}");
        for number in 0..4 {
            let event = ["9", &format!("data: {number}"), "", ""];
            assert_eq!([client.line(), client.line(), client.line(), client.line()], event);
            if number < 3 {
                assert!(client.is_silent(), "event {} came without being made", number + 1);
                assert_eq!(ekbo.request("POST", "/tick").send().status, 204);
            }
        }
        assert_eq!([client.line(), client.line()], ["0", ""]);
    }
}

/// A client that ends its side behind its request has the answer of a slow application whole.
#[test]
fn a_slow_answer_to_a_half_closed_client() {
    let gunicorn = Application::gunicorn(Transport::Unix);
    let ekbo = Ekbo::in_front_of(&gunicorn.url()).start();
    let mut client = ekbo.http();
    client.write("GET /slow HTTP/1.1\r\nHost: x\r\n\r\n");
    client.finish_writing();
    assert_eq!(client.read().text(), "slow ".repeat(20_000));
}

/// A WebSocket server that others wrote, on a port and on a unix socket, behind plain text and TLS:
/// messages of all kinds and sizes come back, compressed where both agreed on it, and the close is
/// theirs.
#[test]
fn a_foreign_websocket() {
    for transport in [Transport::Tcp, Transport::Unix] {
        let server = Application::websockets(transport);
        for ekbo in [
            Ekbo::in_front_of(&server.url()).start(),
            Ekbo::in_front_of(&server.url()).over_tls().start(),
        ] {
            let url = format!("ws://{}/any/path?query", ekbo.host());
            let (mut socket, response) = tungstenite::client(url, ekbo.wire()).unwrap();
            assert!(response.headers()["server"].to_str().unwrap().contains("websockets"));
            for message in [
                Message::text("hello"),
                Message::binary(vec![0, 255]),
                Message::text(""),
                Message::text("ü".repeat(500_000)),
            ] {
                socket.send(message.clone()).unwrap();
                assert!(socket.read().unwrap() == message, "{transport:?}");
            }
            socket.close(None).unwrap();
            while let Ok(message) = socket.read() {
                assert!(message.is_close(), "{message}");
            }
            assert_eq!(socket.get_mut().read(&mut [0]).unwrap_or(0), 0);
        }
    }
}

/// Uploads `content` to `/upload` and reads the answer.
#[track_caller]
fn upload(client: &mut Http, content: &[u8], chunked: bool) -> Response {
    if chunked {
        client.write("POST /upload HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n");
        // Not of the size of anybody's buffer.
        for piece in content.chunks(77_777) {
            client.write(format!("{:x}\r\n", piece.len()));
            client.write(piece);
            client.write("\r\n");
        }
        client.write("0\r\n\r\n");
    } else {
        let length = content.len();
        client
            .write(format!("POST /upload HTTP/1.1\r\nHost: x\r\nContent-Length: {length}\r\n\r\n"));
        client.write(content);
    }
    client.read()
}

/// Bytes of which no two pieces are the same.
fn large() -> Vec<u8> {
    let mut state: u64 = 0x9e37_79b9_7f4a_7c15;
    let words = (0..LARGE / 8).flat_map(|_| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    });
    words.collect()
}

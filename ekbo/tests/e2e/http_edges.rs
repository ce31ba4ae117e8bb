//! The edges of HTTP/1.1: limits of time and size, `Expect`, early answers, and requests that
//! are refused before any path is looked at.

use std::time::Duration;

use super::harness::{
    Answer, Backend, Client, Ekbo, End, Frame, Http, LogLine, Stopwatch, let_pass,
};

/// The head of a `/send` to nobody, without its end.
const SEND: &str = "POST /send HTTP/1.1\r\nHost: x\r\nX-Kuiperbelt-Session: nobody\r\n";
const MISSING: &str = r#"{"errors":[{"error":"session header is missing"}],"result":"NG"}"#;
const JSON: &str = "application/json; charset=utf-8";

/// KB-NET-4, Q4: a client that does not finish its request head is sent away.
#[test]
fn a_slow_head_is_ended() {
    let ekbo = Ekbo::alone().set("handshake_timeout", "300ms").start();
    for start in ["G", "GET /ping HTTP/1.1\r\n", "GET /connect HTTP/1.1\r\nHost: x\r\nUpgrade:"] {
        let started = Stopwatch::start();
        let mut http = ekbo.http();
        http.write(start);
        expect_timed_out(&mut http);
        assert!(started.elapsed() >= Duration::from_millis(300), "{start:?}");
    }
    assert_eq!(ekbo.get("/ping").status, 200);
}

/// KB-NET-4, Q4: bytes that trickle in do not prolong the time for the head.
#[test]
fn a_trickling_head_is_ended() {
    let ekbo = Ekbo::alone().set("handshake_timeout", "300ms").start();
    let mut http = ekbo.http();
    http.write("GET /ping HTTP/1.1\r\nHost: x\r\n");
    let started = Stopwatch::start();
    while http.try_write("X-Slow: x\r\n").is_ok() {
        let_pass(Duration::from_millis(20));
        assert!(started.elapsed() < Duration::from_secs(5), "still being read from");
    }
    assert_eq!(ekbo.get("/ping").status, 200);
}

/// KB-NET-4: the time for the head is for the head alone: a body may take longer.
#[test]
fn a_slow_body_is_awaited() {
    let ekbo = Ekbo::alone().set("handshake_timeout", "200ms").start();
    let mut http = ekbo.http();
    http.write(format!("{SEND}Content-Length: 5\r\n\r\nhel"));
    let_pass(Duration::from_millis(500));
    http.write("lo");
    assert_eq!(http.read().status, 200);
}

/// KB-NET-4: a kept connection may rest between two requests as long as it likes.
#[test]
fn a_connection_may_rest() {
    let ekbo = Ekbo::alone().set("handshake_timeout", "200ms").start();
    let mut http = ekbo.http();
    let request = "GET /ping HTTP/1.1\r\nHost: x\r\n\r\n";
    assert_eq!(http.exchange(request).status, 200);
    let_pass(Duration::from_millis(500));
    assert_eq!(http.exchange(request).status, 200);
}

/// KB-NET-4: an open WebSocket has all the time it wants.
#[test]
fn a_websocket_is_not_hurried() {
    let backend = Backend::admitting("alice").start();
    let ekbo = Ekbo::with(&backend).set("handshake_timeout", "200ms").start();
    let mut alice = Client::connect(&ekbo);
    let_pass(Duration::from_millis(500));
    ekbo.send(["alice"], "hello");
    alice.expect_text("hello");
}

/// KB-NET-5: 20,000 session fields in one request.
#[test]
fn twenty_thousand_fields_fit() {
    let backend = Backend::admitting("alice").start();
    let ekbo = Ekbo::with(&backend).start();
    let mut alice = Client::connect(&ekbo);
    let mut request = ekbo.request("POST", "/send").session("alice").body("hello");
    for number in 1..20_000 {
        request = request.session(&format!("{number}"));
    }
    let response = request.send();
    assert_eq!(response.status, 200);
    alice.expect_text("hello");
    let answer: serde_json::Value = serde_json::from_str(response.text()).unwrap();
    let errors = answer["errors"].as_array().unwrap();
    assert_eq!(errors.len(), 19_999);
    for (number, error) in (1..20_000).zip(errors) {
        assert_eq!(error["session"], number.to_string());
    }
}

/// KB-NET-5: a head of 1 MiB fits, in one field or in many.
#[test]
fn a_head_of_one_mebibyte_fits() {
    let ekbo = Ekbo::alone().start();
    let room = 1024 * 1024 - SEND.len() - "X-Long: \r\n\r\n".len();
    let mut http = ekbo.http();
    let response = http.exchange(format!("{SEND}X-Long: {}\r\n\r\n", "x".repeat(room)));
    assert_eq!(response.status, 200, "{response:?}");
    let field = format!("X-Part: {}\r\n", "x".repeat(1000));
    let response = http.exchange(format!("{SEND}{}\r\n", field.repeat(room / field.len())));
    assert_eq!(response.status, 200, "{response:?}");
}

/// KB-NET-5, Q4: a longer head is answered 431, and the connection is closed.
#[test]
fn a_longer_head_is_refused() {
    let ekbo = Ekbo::alone().start();
    let mut http = ekbo.http();
    // The server may hang up before all of it is written.
    let _ = http.try_write(format!("{SEND}X-Long: {}\r\n\r\n", "x".repeat(4 * 1024 * 1024)));
    assert_eq!(http.read().status, 431);
    http.read_end();
    assert_eq!(ekbo.get("/ping").status, 200);
}

/// KB-NET-6, A-23: a client that asks for it is told to go on with its body.
#[test]
fn a_client_is_told_to_continue() {
    let ekbo = Ekbo::alone().start();
    for path in ["/send", "/close"] {
        let mut http = ekbo.http();
        http.write(
            SEND.replace("/send", path) + "Expect: 100-continue\r\nContent-Length: 5\r\n\r\n",
        );
        assert_eq!(http.read().status, 100, "{path}");
        let response = http.exchange("hello");
        assert_eq!(response.status, 200, "{path}: {response:?}");
        // And the connection can be used on.
        assert_eq!(http.exchange("GET /ping HTTP/1.1\r\nHost: x\r\n\r\n").status, 200);
    }
}

/// KB-NET-6, D10: a refused request is answered at once, without a 100, while the client
/// still waits with its body.
#[test]
fn a_refusal_does_not_wait_for_the_body() {
    let ekbo = Ekbo::alone().set("strict_broadcast", "true").set("max_body_size", "1000").start();
    for (request, status, body) in [
        ("POST /send HTTP/1.1\r\n", 400, Some(MISSING)),
        ("POST /close HTTP/1.1\r\n", 400, Some(MISSING)),
        ("POST /send HTTP/1.1\r\nX-Kuiperbelt-Session: nobody\r\n", 400, None),
        ("PUT /send HTTP/1.1\r\nX-Kuiperbelt-Session: nobody\r\n", 405, None),
        ("POST /unknown HTTP/1.1\r\n", 404, Some("404 page not found\n")),
        ("POST /ping HTTP/1.1\r\n", 200, Some(r#"{"result":"OK"}"#)),
    ] {
        let mut http = ekbo.http();
        let response = http.exchange(format!(
            "{request}Host: x\r\nExpect: 100-continue\r\nContent-Length: 500\r\n\r\n"
        ));
        assert_eq!(response.status, status, "{request}: {response:?}");
        if let Some(body) = body {
            assert_eq!(response.text(), body, "{request}");
        }
    }
}

/// KB-NET-6, D10, Q4: a body announced as too long is refused before it is sent.
#[test]
fn a_body_announced_as_too_long_is_refused_at_once() {
    let ekbo = Ekbo::alone().set("max_body_size", "1000").start();
    for expect in ["Expect: 100-continue\r\n", ""] {
        let mut http = ekbo.http();
        let head = format!("{SEND}{expect}Content-Length: 1001\r\n\r\n");
        http.exchange(head).assert_is(413, JSON, r#"{"result":"NG"}"#);
    }
    assert_eq!(ekbo.send(["nobody"], "x".repeat(1000)).status, 200);
}

/// KB-NET-6, Q4: a body without announced length is refused when it has become too long.
#[test]
fn a_body_that_becomes_too_long_is_refused() {
    let ekbo = Ekbo::alone().set("max_body_size", "1000").start();
    let mut http = ekbo.http();
    let chunk = format!("1f4\r\n{}\r\n", "x".repeat(500));
    http.write(format!("{SEND}Transfer-Encoding: chunked\r\n\r\n{}", chunk.repeat(3)));
    http.read().assert_is(413, JSON, r#"{"result":"NG"}"#);

    let mut http = ekbo.http();
    http.write(format!("{SEND}Transfer-Encoding: chunked\r\n\r\n{}0\r\n\r\n", chunk.repeat(2)));
    assert_eq!(http.read().status, 200);
}

/// Q4, 6.4: the limit of a body is 16 MiB unless it is set, and none when it is 0.
#[test]
fn the_limit_of_a_body_can_be_lifted() {
    let long = vec![b'x'; 16 * 1024 * 1024 + 1];
    let ekbo = Ekbo::alone().start();
    assert_eq!(ekbo.send(["nobody"], &long).status, 413);
    assert_eq!(ekbo.send(["nobody"], &long[1..]).status, 200);
    let ekbo = Ekbo::alone().set("max_body_size", "0").start();
    assert_eq!(ekbo.send(["nobody"], &long).status, 200);
}

/// KB-NET-6: the answer to a refused request reaches a client in the middle of a long body.
#[test]
fn an_early_answer_reaches_a_client_that_is_still_writing() {
    let ekbo = Ekbo::alone().set("max_body_size", "1000").start();
    for (request, status) in [
        ("POST /send HTTP/1.1\r\nHost: x\r\n".to_owned(), 400),
        ("PUT /send HTTP/1.1\r\nHost: x\r\n".to_owned(), 405),
        (SEND.to_owned(), 413),
        ("POST /unknown HTTP/1.1\r\nHost: x\r\n".to_owned(), 404),
    ] {
        // Whether little or much of the body is still to come.
        for sent in [10_000, 400_000] {
            let mut http = ekbo.http();
            let body = "x".repeat(sent);
            http.write(format!("{request}Content-Length: 500000\r\n\r\n{body}"));
            assert_eq!(http.read().status, status, "{request}");
        }
    }
}

/// KB-NET-6: a body in chunks is taken, whatever the pieces.
#[test]
fn a_body_may_come_in_chunks() {
    let backend = Backend::admitting("alice").start();
    let ekbo = Ekbo::with(&backend).start();
    let mut alice = Client::connect(&ekbo);
    let head = |path: &str| {
        format!(
            "POST {path} HTTP/1.1\r\nHost: x\r\nX-Kuiperbelt-Session: alice\r\n\
             Transfer-Encoding: chunked\r\n\r\n"
        )
    };
    let mut http = ekbo.http();
    http.write(head("/send"));
    http.write("3\r\nhel\r\n2;extension=1\r\n");
    http.write("lo\r\n0\r\nTrailer-Field: x\r\n\r\n");
    assert_eq!(http.read().text(), r#"{"result":"OK"}"#);
    alice.expect_text("hello");
    http.write(head("/close") + "3\r\nbye\r\n0\r\n\r\n");
    assert_eq!(http.read().text(), r#"{"result":"OK"}"#);
    alice.expect_text("bye");
    alice.expect_close(1000, "");
}

/// A3, 6.2 row 3: a body that breaks off or is no body is answered 500.
#[test]
fn a_broken_body_is_answered() {
    let ekbo = Ekbo::alone().start();
    let mut http = ekbo.http();
    http.write(format!("{SEND}Transfer-Encoding: chunked\r\n\r\n3\r\nhel\r\nnonsense\r\n"));
    http.read().assert_is(500, JSON, r#"{"result":"NG"}"#);

    let mut http = ekbo.http();
    http.write(format!("{SEND}Content-Length: 10\r\n\r\nhello"));
    http.finish_writing();
    http.read().assert_is(500, JSON, r#"{"result":"NG"}"#);
}

/// KB-NET-6: another `Expect` cannot be met, and HTTP/1.0 has none.
#[test]
fn another_expectation_cannot_be_met() {
    let ekbo = Ekbo::alone().start();
    for path in ["/send", "/ping", "/unknown"] {
        for expect in ["Expect: tea\r\n", "Expect: 100-continue\r\nExpect: tea\r\n"] {
            let request =
                format!("POST {path} HTTP/1.1\r\nHost: x\r\n{expect}Content-Length: 0\r\n\r\n");
            assert_eq!(ekbo.http().exchange(request).status, 417, "{path}");
        }
    }
    assert_eq!(ekbo.http().exchange("GET /ping HTTP/1.0\r\nExpect: tea\r\n\r\n").status, 200);
}

/// KB-NET-6: whatever refuses a request, a client in the middle of its body is answered, and can
/// go on sending until it has seen that.
#[test]
fn a_client_in_the_middle_of_its_body_is_answered() {
    let ekbo = Ekbo::alone().start();
    for (head, status) in [
        ("POST /send HTTP/1.1\r\nHost: x\r\nExpect: tea\r\n", 417),
        ("POST /send HTTP/1.1\r\nHost: x\r\nHost: y\r\n", 400),
        ("POST /send HTTP/1.1\r\n", 400),
        ("POST /send HTTP/1.1\r\nHost: x\r\n", 400),
        ("POST /unknown HTTP/1.1\r\nHost: x\r\n", 404),
        ("POST /connect HTTP/1.1\r\nHost: x\r\n", 400),
    ] {
        let mut http = ekbo.http();
        http.write(format!("{head}Content-Length: 500000\r\n\r\n"));
        for _ in 0..50 {
            http.write("x".repeat(10_000));
        }
        assert_eq!(http.read().status, status, "{head}");
    }
}

/// KB-NET-6: what is no request is answered 400, without a line in the access log, and the
/// connection is closed.
#[test]
fn what_is_no_request_is_refused() {
    let ekbo = Ekbo::alone().start();
    let requests = [
        "nonsense\r\n\r\n",
        "GET /ping\r\n\r\n",
        "GET /ping HTTP/1.1\r\nHost: x\r\nBad Name: x\r\n\r\n",
        "GET /ping HTTP/1.1\r\nHost: x\r\nName : x\r\n\r\n",
        "GET /ping HTTP/1.1\r\nHost: x\r\nno colon\r\n\r\n",
        "GET /ping HTTP/1.1\r\nHost: x\r\nFolded: a\r\n b\r\n\r\n",
        "GET /ping HTTP/1.1\r\n Host: x\r\n\r\n",
        "GET /ping HTTP/1.1\r\nHost: x\r\nNul: a\0b\r\n\r\n",
        "GET /ping HTTP/1.1\r\nHost: x\r\nReturn: a\rb\r\n\r\n",
        "GET /ping HTTP/1.1\rHost: x\r\n\r\n",
        "GET  /ping HTTP/1.1\r\nHost: x\r\n\r\n",
        "GET /pi ng HTTP/1.1\r\nHost: x\r\n\r\n",
        "GET /ping HTTP/1.2\r\nHost: x\r\n\r\n",
        "GET /ping HTTP/2.0\r\nHost: x\r\n\r\n",
        // Found out before the end of a head, which does not come.
        "\x16\x03\x01\x02\x00",
        "POST /send HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\nabcd",
        "POST /send HTTP/1.1\r\nHost: x\r\nContent-Length: x\r\n\r\n",
        "POST /send HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n",
        "POST /send HTTP/1.1\r\nHost: x\r\nContent-Length: +1\r\n\r\na",
        "POST /send HTTP/1.1\r\nHost: x\r\nContent-Length: 1, 1\r\n\r\na",
        "POST /send HTTP/1.1\r\nHost: x\r\nContent-Length: 18446744073709551616\r\n\r\n",
        "POST /send HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        // Host: missing, repeated, empty, malformed.
        "GET /ping HTTP/1.1\r\n\r\n",
        "GET /ping HTTP/1.1\r\nHost: x\r\nHost: x\r\n\r\n",
        "GET /ping HTTP/1.1\r\nHost: x\r\nHost: y\r\n\r\n",
        "GET /ping HTTP/1.1\r\nHost:\r\n\r\n",
        "GET /ping HTTP/1.1\r\nHost: a b\r\n\r\n",
        "GET /ping HTTP/1.1\r\nHost: a/b\r\n\r\n",
        "GET /ping HTTP/1.1\r\nHost: user@x\r\n\r\n",
        "GET /ping HTTP/1.1\r\nHost: x:y\r\n\r\n",
        "GET /connect HTTP/1.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
        // Targets that no path can be.
        "GET * HTTP/1.1\r\nHost: x\r\n\r\n",
        "CONNECT example.com:443 HTTP/1.1\r\nHost: example.com:443\r\n\r\n",
        "CONNECT /ping HTTP/1.1\r\nHost: x\r\n\r\n",
    ];
    for request in requests {
        let mut http = ekbo.http();
        let response = http.exchange(request);
        assert_eq!(response.status, 400, "{request:?}: {response:?}");
        let connection = response.header("Connection").map(str::to_ascii_lowercase);
        assert_eq!(connection.as_deref(), Some("close"), "{request:?}");
        http.read_end();
    }
    assert_eq!(ekbo.get("/ping?marker").status, 200);
    assert_eq!(ekbo.wait_for_log("access").fields["url"], "/ping?marker");
    assert_eq!(ekbo.log().iter().filter(is_access).count(), 1, "{:?}", ekbo.log());
}

/// KB-NET-6: an absolute request target is fine, and so is every legal Host.
#[test]
fn unusual_requests_are_fine() {
    let ekbo = Ekbo::alone().start();
    for request in [
        "GET http://example.com/ping HTTP/1.1\r\nHost: example.com\r\n\r\n",
        "GET /ping HTTP/1.1\r\nhost: example.com:9180\r\n\r\n",
        "GET /ping HTTP/1.1\r\nHost: [::1]:9180\r\n\r\n",
        "GET /ping HTTP/1.1\r\nHost: under_score.example\r\n\r\n",
        "GET /ping HTTP/1.1\r\nHost: 127.0.0.1\r\nX-Empty:\r\n\r\n",
    ] {
        let response = ekbo.http().exchange(request);
        assert_eq!(response.status, 200, "{request:?}: {response:?}");
    }
}

/// KB-NET-6: a request whose body could end in two places cannot smuggle a second one through.
#[test]
fn two_framings_do_not_smuggle() {
    let ekbo = Ekbo::alone().start();
    for (fields, status) in [
        ("Content-Length: 5\r\nContent-Length: 5\r\n", 400),
        ("Content-Length: 5\r\nTransfer-Encoding: chunked\r\n", 400),
        ("Transfer-Encoding: chunked\r\nContent-Length: 5\r\n", 400),
        ("Transfer-Encoding: chunked\r\nContent-Length: 0\r\n", 400),
        ("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n", 400),
        ("Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n", 400),
        ("Transfer-Encoding: identity\r\ntransfer-encoding: chunked\r\n", 501),
        ("Transfer-Encoding: chunked, identity\r\n", 400),
        ("Transfer-Encoding: chunked, chunked\r\n", 400),
        ("Transfer-Encoding: gzip, chunked\r\n", 501),
        ("Transfer-Encoding: xchunked\r\n", 400),
        ("Transfer-Encoding: \x0bchunked\r\n", 400),
        ("Transfer-Encoding : chunked\r\n", 400),
        ("Transfer-Encoding:\r\n chunked\r\n", 400),
        ("Transfer-Encoding:\r\n", 400),
    ] {
        let mut http = ekbo.http();
        let response = http.exchange(format!(
            "POST /ping HTTP/1.1\r\nHost: x\r\n{fields}\r\n\
             0\r\n\r\nGET /unknown HTTP/1.1\r\nHost: x\r\n\r\n"
        ));
        assert_eq!(response.status, status, "{fields:?}: {response:?}");
        http.read_end();
    }
}

/// KB-NET-6: what is not exactly chunks is not taken for a body, nor what follows for a request.
#[test]
fn malformed_chunks_do_not_smuggle() {
    let ekbo = Ekbo::alone().start();
    let next = "GET /unknown HTTP/1.1\r\nHost: x\r\n\r\n";
    for chunks in [
        "5\nhello\n0\n\n",
        "5\rhello\r0\r\r",
        "5\r\nhello\n0\r\n\r\n",
        "5\r\nhelloo\r\n0\r\n\r\n",
        "+5\r\nhello\r\n0\r\n\r\n",
        "0x5\r\nhello\r\n0\r\n\r\n",
        "5;a\nb\r\nhello\r\n0\r\n\r\n",
        "10000000000000005\r\nhello\r\n0\r\n\r\n",
        "0\r\nTrailer: a\n\r\n",
        &format!("5;{}\r\nhello\r\n0\r\n\r\n", "x".repeat(20_000)),
        &format!("0\r\n{}\r\n", "A: b\r\n".repeat(5000)),
    ] {
        let mut http = ekbo.http();
        http.write(format!("{SEND}Transfer-Encoding: chunked\r\n\r\n{chunks}{next}"));
        let start = chunks.get(..30).unwrap_or(chunks);
        assert_eq!(http.read().status, 500, "{start:?}");
        http.read_end();
    }
}

/// KB-NET-6: a client may ask ahead, and is answered in the order of its requests, whatever
/// becomes of their bodies.
#[test]
fn requests_asked_ahead_are_answered_in_order() {
    let ekbo = Ekbo::alone().start();
    let requests = [
        ("GET /ping HTTP/1.1\r\nHost: x\r\n\r\n".to_owned(), 200),
        (format!("{SEND}Content-Length: 5\r\n\r\nhello"), 200),
        ("PUT /send HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhello".to_owned(), 405),
        (
            "POST /unknown HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n\
          5\r\nhello\r\n0\r\nA: b\r\n\r\n"
                .to_owned(),
            404,
        ),
        (format!("\r\n{SEND}Transfer-Encoding: chunked\r\n\r\n5;a=b\r\nhello\r\n0\r\n\r\n"), 200),
        (format!("{SEND}Content-Length: 100000\r\n\r\n{}", "x".repeat(100_000)), 200),
        ("GET /connect HTTP/1.1\nHost: x\nContent-Length: 2\n\nhi".to_owned(), 400),
        ("GET /ping HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".to_owned(), 200),
    ];
    let all: String = requests.iter().map(|(request, _)| &**request).collect();
    for piece in [all.len(), 1000, 7] {
        let mut http = ekbo.http();
        // The last pieces may come when the answers are on their way.
        for piece in all.as_bytes().chunks(piece) {
            http.write(piece);
        }
        for (request, status) in &requests {
            let request = request.get(..60).unwrap_or(request);
            assert_eq!(http.read().status, *status, "{request:?}");
        }
        assert_eq!(http.read_end(), End::Eof);
    }
}

/// KB-NET-6: whoever ends its side behind its requests has them answered.
#[test]
fn a_client_that_ends_its_side_is_answered() {
    let ekbo = Ekbo::alone().start();
    let mut http = ekbo.http();
    http.write(format!(
        "{SEND}Content-Length: 5\r\n\r\nhelloGET /ping HTTP/1.1\r\nHost: x\r\n\r\n"
    ));
    http.finish_writing();
    assert_eq!(http.read().status, 200);
    assert_eq!(http.read().text(), r#"{"result":"OK"}"#);
    assert_eq!(http.read_end(), End::Eof);
}

/// KB-NET-6: a request for a WebSocket may have a body, which is no part of what follows.
#[test]
fn a_websocket_begins_behind_the_body() {
    let backend = Backend::admitting("alice").on("/receive", Answer::ok()).start();
    let ekbo = Ekbo::with(&backend).start();
    let head = "GET /connect HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
                Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
    let mut expected = 0;
    for (fields, body) in [
        ("Content-Length: 4\r\n", "body"),
        ("Transfer-Encoding: chunked\r\n", "4\r\nbody\r\n0\r\n\r\n"),
    ] {
        let rest = [body.as_bytes(), &Frame::text("hello").to_bytes()].concat();
        let mut at_once = ekbo.http();
        at_once.write([format!("{head}{fields}\r\n").as_bytes(), &rest].concat());
        let mut later = ekbo.http();
        later.write(format!("{head}{fields}Expect: 100-continue\r\n\r\n"));
        assert_eq!(later.read().status, 100, "{fields}");
        later.write(&rest);
        for mut http in [at_once, later] {
            assert_eq!(http.read().status, 101, "{fields}");
            expected += 1;
            assert_eq!(backend.wait_for("/receive", expected)[expected - 1].text(), "hello");
        }
    }
}

/// Waits for the end of a connection whose request came too late: 408 or nothing before it.
fn expect_timed_out(http: &mut Http) {
    if let Some(response) = http.read_or_end() {
        assert_eq!(response.status, 408, "{response:?}");
        assert_eq!(http.read_end(), End::Eof);
    }
}

fn is_access(line: &&LogLine) -> bool {
    line.message == "access"
}

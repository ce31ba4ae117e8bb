//! Requests that two servers could read in two ways: they are refused before a byte reaches the
//! application, and a body that turns out to be none never becomes a whole request there.

use std::fs;

use super::super::harness::{Application, Ekbo, End, Upstream, eventually};
use super::{DONE, answer_next, played, relay};

/// What must never arrive as a request: behind each bad one.
const SMUGGLED: &str = "GET /smuggled HTTP/1.1\r\nHost: x\r\n\r\n";

/// A request that is refused by its head: what is wrong with it, all up to its body, and the status.
struct Bad(&'static str, String, u16);

/// What stands between `GET /` and the end of a head, and why that is no request.
fn bad_heads() -> Vec<Bad> {
    let mut heads: Vec<Bad> = Vec::new();
    let mut post = |why: &'static str, fields: &str, status: u16| {
        heads.push(Bad(why, format!("POST / HTTP/1.1\r\nHost: x\r\n{fields}\r\n\r\n"), status));
    };
    for (why, fields) in [
        ("two lengths", "Content-Length: 0\r\nContent-Length: 40"),
        ("the same length twice", "Content-Length: 0\r\nContent-Length: 0"),
        ("lengths far apart", "Content-Length: 0\r\nX: y\r\ncontent-length: 40"),
        ("a list of lengths", "Content-Length: 0, 0"),
        ("a list of different lengths", "Content-Length: 0, 40"),
        ("a length with a sign", "Content-Length: +0"),
        ("a negative length", "Content-Length: -1"),
        ("a hexadecimal length", "Content-Length: 0x0"),
        ("a length with a unit", "Content-Length: 0 bytes"),
        ("an empty length", "Content-Length:"),
        ("a length in quotation marks", "Content-Length: \"0\""),
        ("a length beyond all bounds", "Content-Length: 18446744073709551616"),
        ("a length around the bounds", "Content-Length: 18446744073709551615999"),
        ("a length with a fraction", "Content-Length: 0.0"),
        ("a length with underscores", "Content-Length: 0_0"),
        ("a length with a blank inside", "Content-Length: 0 0"),
        ("a length behind a vertical tab", "Content-Length: \x0b0"),
        ("length and chunks", "Content-Length: 0\r\nTransfer-Encoding: chunked"),
        ("chunks and length", "Transfer-Encoding: chunked\r\nContent-Length: 5"),
        ("chunks twice", "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked"),
        ("a list of chunks", "Transfer-Encoding: chunked, chunked"),
        ("chunks that are not last", "Transfer-Encoding: chunked, identity"),
        ("an encoding without chunks", "Transfer-Encoding: gzip"),
        ("identity", "Transfer-Encoding: identity"),
        ("an empty encoding", "Transfer-Encoding:"),
        ("an encoding like chunks", "Transfer-Encoding: xchunked"),
        ("chunks with a parameter", "Transfer-Encoding: chunked;a=b"),
        ("chunks in quotation marks", "Transfer-Encoding: \"chunked\""),
        ("chunks behind a vertical tab", "Transfer-Encoding: \x0bchunked"),
        ("chunks before a form feed", "Transfer-Encoding: chunked\x0c"),
        ("chunks behind NUL", "Transfer-Encoding: \0chunked"),
        ("a blank before the colon", "Transfer-Encoding : chunked"),
        ("a blank before the colon of a length", "Content-Length : 40"),
        ("a tab before the colon", "Transfer-Encoding\t: chunked"),
        ("a blank before the name", " Transfer-Encoding: chunked"),
        ("a tab before the name", "\tTransfer-Encoding: chunked"),
        ("a folded value", "Transfer-Encoding:\r\n chunked"),
        ("a folded value by tab", "X: y\r\n\tz"),
        ("a folded length", "Content-Length: 4\r\n 0"),
        ("a bare CR in a value", "X: y\rz"),
        ("a bare CR that hides a field", "X: y\rTransfer-Encoding: chunked"),
        ("a bare CR before the end of a line", "X: y\r\r\nZ: z"),
        ("NUL in a value", "X: a\0b"),
        ("a control character in a value", "X: a\x01b"),
        ("DEL in a value", "X: a\x7fb"),
        ("a line without a colon", "Transfer-Encoding"),
        ("a field without a name", ": chunked"),
        ("a bare CR in a name", "X\rY: z"),
        ("a name in brackets", "X(Y): z"),
        ("a blank in a name", "Transfer Encoding: chunked"),
        ("NUL in a name", "Transfer-Encoding\0: chunked"),
        ("a second Host", "Host: x"),
        ("a second Host of another", "Host: y"),
    ] {
        post(why, fields, 400);
    }
    for (why, fields) in [
        ("an unknown encoding in chunks", "Transfer-Encoding: gzip, chunked"),
        (
            "unknown encodings, in two fields",
            "Transfer-Encoding: gzip\r\nTransfer-Encoding: chunked",
        ),
        ("identity in chunks", "Transfer-Encoding: identity, chunked"),
        ("an invented encoding in chunks", "Transfer-Encoding: cow, chunked"),
    ] {
        post(why, fields, 501);
    }
    for (why, start) in [
        ("no Host", "GET / HTTP/1.1\r\n"),
        ("an empty Host", "GET / HTTP/1.1\r\nHost:\r\n"),
        ("a Host with a blank", "GET / HTTP/1.1\r\nHost: a b\r\n"),
        ("a Host with a path", "GET / HTTP/1.1\r\nHost: a/b\r\n"),
        ("a Host with a user", "GET / HTTP/1.1\r\nHost: user@x\r\n"),
        ("a Host with a strange port", "GET / HTTP/1.1\r\nHost: x:y\r\n"),
        ("a Host with two ports", "GET / HTTP/1.1\r\nHost: x:1:2\r\n"),
        ("a list of Hosts", "GET / HTTP/1.1\r\nHost: x, y\r\n"),
        ("a Host with a query", "GET / HTTP/1.1\r\nHost: x?y\r\n"),
        ("a Host with a fragment", "GET / HTTP/1.1\r\nHost: x#y\r\n"),
        ("half an address as Host", "GET / HTTP/1.1\r\nHost: [::1\r\n"),
        ("a Host beyond ASCII", "GET / HTTP/1.1\r\nHost: \u{e9}\r\n"),
        ("another Host in the target", "GET http://y/ HTTP/1.1\r\nHost: x\r\n"),
        ("another port in the target", "GET http://x:81/ HTTP/1.1\r\nHost: x\r\n"),
        ("a user in the target", "GET http://y@x/ HTTP/1.1\r\nHost: x\r\n"),
        ("another scheme in the target", "GET ftp://x/ HTTP/1.1\r\nHost: x\r\n"),
        ("no host in the target", "GET http:///path HTTP/1.1\r\nHost: x\r\n"),
        ("no host in an old target", "GET http:///path HTTP/1.0\r\n"),
        ("a user in an old target", "GET http://y@x/ HTTP/1.0\r\n"),
        ("a strange port in an old target", "GET http://x:y/ HTTP/1.0\r\n"),
        ("a port beyond all bounds in an old target", "GET http://x:99999/ HTTP/1.0\r\n"),
        ("half an address in an old target", "GET http://[::1/ HTTP/1.0\r\n"),
        ("a backslash in an old target", "GET http://x\\y/ HTTP/1.0\r\n"),
        ("quotation marks in an old target", "GET http://\"x\"/ HTTP/1.0\r\n"),
        ("brackets in an old target", "GET http://<x>/ HTTP/1.0\r\n"),
        ("a target without a slash", "GET path HTTP/1.1\r\nHost: x\r\n"),
        ("an empty target", "GET  HTTP/1.1\r\nHost: x\r\n"),
        ("a star for GET", "GET * HTTP/1.1\r\nHost: x\r\n"),
        ("a star and more", "OPTIONS *x HTTP/1.1\r\nHost: x\r\n"),
        ("CONNECT", "CONNECT x:80 HTTP/1.1\r\nHost: x:80\r\n"),
        ("CONNECT to a path", "CONNECT / HTTP/1.1\r\nHost: x\r\n"),
        ("a blank in the target", "GET /a b HTTP/1.1\r\nHost: x\r\n"),
        ("a tab in the target", "GET /a\tb HTTP/1.1\r\nHost: x\r\n"),
        ("a tab before the target", "GET\t/ HTTP/1.1\r\nHost: x\r\n"),
        ("NUL in the target", "GET /a\0b HTTP/1.1\r\nHost: x\r\n"),
        ("a bare CR in the target", "GET /a\rb HTTP/1.1\r\nHost: x\r\n"),
        ("a control character in the target", "GET /\x1b HTTP/1.1\r\nHost: x\r\n"),
        ("DEL in the target", "GET /\x7f HTTP/1.1\r\nHost: x\r\n"),
        ("a target beyond ASCII", "GET /\u{e9} HTTP/1.1\r\nHost: x\r\n"),
        ("no version", "GET /\r\nHost: x\r\n"),
        ("another version", "GET / HTTP/1.2\r\nHost: x\r\n"),
        ("an old version", "GET / HTTP/0.9\r\nHost: x\r\n"),
        ("a newer version", "GET / HTTP/2.0\r\nHost: x\r\n"),
        ("a version in small letters", "GET / http/1.1\r\nHost: x\r\n"),
        ("a long version", "GET / HTTP/1.10\r\nHost: x\r\n"),
        ("a blank behind the version", "GET / HTTP/1.1 \r\nHost: x\r\n"),
        ("a method with a colon", "GET: / HTTP/1.1\r\nHost: x\r\n"),
        ("a blank before the method", " GET / HTTP/1.1\r\nHost: x\r\n"),
        ("a blank before the first field", "GET / HTTP/1.1\r\n Host: x\r\n"),
        ("chunks to HTTP/1.0", "POST / HTTP/1.0\r\nHost: x\r\nTransfer-Encoding: chunked\r\n"),
    ] {
        heads.push(Bad(why, format!("{start}\r\n"), 400));
    }
    for (why, name) in [("options without end", "Connection"), ("protocols without end", "Upgrade")]
    {
        let members = "a,".repeat(101);
        let head = format!(
            "GET / HTTP/1.1\r\nHost: x\r\nConnection: upgrade\r\n{name}: {members}\r\n\r\n"
        );
        heads.push(Bad(why, head, 400));
    }
    heads
}

/// Bodies in chunks that are none.
fn bad_chunks() -> Vec<String> {
    let mut bodies: Vec<String> = [
        "x\r\n",
        "\r\nhello\r\n0\r\n\r\n",
        " 5\r\nhello\r\n0\r\n\r\n",
        "-5\r\nhello\r\n0\r\n\r\n",
        "+5\r\nhello\r\n0\r\n\r\n",
        "0x5\r\nhello\r\n0\r\n\r\n",
        "5_0\r\nhello\r\n0\r\n\r\n",
        "5\nhello\n0\n\n",
        "5\rhello\r0\r\r",
        "5\r\nhello\n0\r\n\r\n",
        "5\r\nhello\r0\r\n\r\n",
        "5\r\nhelloo\r\n0\r\n\r\n",
        "5\r\nhello0\r\n\r\n",
        "5\r\nhell\r\n0\r\n\r\n",
        "5\r\nhello\r\n\r\n0\r\n\r\n",
        "5;a\nb\r\nhello\r\n0\r\n\r\n",
        "5;a\rb\r\nhello\r\n0\r\n\r\n",
        "5;a\0b\r\nhello\r\n0\r\n\r\n",
        "5 a\r\nhello\r\n0\r\n\r\n",
        "5,5\r\nhello\r\n0\r\n\r\n",
        "10000000000000005\r\nhello\r\n0\r\n\r\n",
        "fffffffffffffffff\r\nhello\r\n0\r\n\r\n",
        "5\r\nhello\r\n0\n\n",
        "5\r\nhello\r\n0\r\n\n",
        "5\r\nhello\r\n0\r\nTrailer: a\n\r\n",
        "5\r\nhello\r\n0\r\nTrailer : a\r\n\r\n",
        "5\r\nhello\r\n0\r\nno colon\r\n\r\n",
        "5\r\nhello\r\n0\r\nA: b\r\n c\r\n\r\n",
        "5\r\nhello\r\n0\r\nA: b\rc\r\n\r\n",
        "5\r\nhello\r\n0\r\nA: \0\r\n\r\n",
        "5\r\nhello\r\nGET /smuggled HTTP/1.1\r\nHost: x\r\n\r\n",
    ]
    .map(str::to_owned)
    .to_vec();
    bodies.push(format!("5;{}\r\nhello\r\n0\r\n\r\n", "x".repeat(20_000)));
    bodies.push(format!("{}5\r\nhello\r\n0\r\n\r\n", "0".repeat(20_000)));
    bodies.push(format!("0\r\n{}\r\n", "A: b\r\n".repeat(5000)));
    bodies
}

/// A bad head is refused and the connection closed, and the upstream has not seen a byte.
#[test]
fn a_bad_head_goes_nowhere() {
    let (upstream, ekbo) = played();
    for Bad(why, head, status) in bad_heads() {
        let mut client = ekbo.http();
        // It may hang up before all of that is written.
        let _ = client.try_write(format!("{head}{SMUGGLED}"));
        let response = client.read_or_end().unwrap_or_else(|| panic!("{why} is not answered"));
        assert_eq!(response.status, status, "{why}: {response:?}");
        client.read_end();
        assert!(upstream.try_accept().is_none(), "{why} reached the upstream");
    }
    let mut client = ekbo.http();
    client.write("GET /marker HTTP/1.1\r\nHost: x\r\n\r\n");
    assert_eq!(answer_next(&upstream).target(), "/marker");
    assert!(upstream.try_accept().is_none());
}

/// A body that turns out to be none: 400, the connection is closed, and the upstream has at the most
/// the beginning of a request, whose end never comes.
#[test]
fn a_bad_body_never_becomes_a_request() {
    let (upstream, ekbo) = played();
    for chunks in bad_chunks() {
        let start = chunks.get(..40).unwrap_or(&chunks).to_owned();
        let mut client = ekbo.http();
        let head = "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n";
        let _ = client.try_write(format!("{head}{chunks}{SMUGGLED}"));
        let response = client.read();
        assert_eq!(response.status, 400, "{start:?}: {response:?}");
        client.read_end();
        expect_nothing_whole(&upstream, &start);
    }
}

/// The same when the head and a part of the body are with the upstream already.
#[test]
fn a_body_that_goes_bad_never_becomes_a_request() {
    let (upstream, ekbo) = played();
    for chunks in bad_chunks() {
        let start = chunks.get(..40).unwrap_or(&chunks).to_owned();
        let (mut client, mut inbound, _) = relay(
            &ekbo,
            &upstream,
            "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nwell\r\n",
        );
        inbound.expect("4\r\nwell\r\n");
        let _ = client.try_write(format!("{chunks}{SMUGGLED}"));
        let response = client.read();
        assert_eq!(response.status, 400, "{start:?}: {response:?}");
        client.read_end();
        let (rest, _) = inbound.rest();
        assert!(!rest.ends_with(b"0\r\n\r\n"), "{start:?}: {}", rest.escape_ascii());
        expect_nothing_whole(&upstream, &start);
    }
}

/// A body that goes bad when its answer has begun: the answer ends visibly too early.
#[test]
fn a_body_that_goes_bad_behind_the_answer() {
    let (upstream, ekbo) = played();
    let (mut client, mut inbound, _) = relay(
        &ekbo,
        &upstream,
        "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nwell\r\n",
    );
    inbound.expect("4\r\nwell\r\n");
    inbound.write("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nearly\r\n");
    while !client.line().is_empty() {}
    assert_eq!([client.line(), client.line()], ["5", "early"]);
    client.write(format!("x\r\n{SMUGGLED}"));
    assert!(!client.rest().0.ends_with(b"0\r\n\r\n"), "an answer that looks whole");
    assert!(!inbound.rest().0.ends_with(b"0\r\n\r\n"), "a request that looks whole");
    expect_nothing_whole(&upstream, "behind the answer");
}

/// A request in the body of another is a body, however it is framed.
#[test]
fn a_request_in_a_body_is_a_body() {
    let (upstream, ekbo) = played();
    for framed in [
        format!("Content-Length: {}\r\n\r\n{SMUGGLED}", SMUGGLED.len()),
        format!(
            "Transfer-Encoding: chunked\r\n\r\n{:x}\r\n{SMUGGLED}\r\n0\r\n\r\n",
            SMUGGLED.len()
        ),
        format!(
            "transfer-encoding: \t CHUNKED \t\r\n\r\n{:X};a=\"b\"\r\n{SMUGGLED}\r\n00\r\n\r\n",
            SMUGGLED.len()
        ),
    ] {
        let (mut client, mut inbound, head) =
            relay(&ekbo, &upstream, format!("POST / HTTP/1.1\r\nHost: x\r\n{framed}"));
        if head.all("Content-Length").is_empty() {
            assert_eq!(head.all("Transfer-Encoding"), ["chunked"]);
            assert_eq!(inbound.chunks().0, SMUGGLED.as_bytes());
        } else {
            inbound.expect(SMUGGLED);
        }
        inbound.write(DONE);
        assert_eq!(client.read().status, 204);
        assert_eq!(inbound.rest(), (vec![], End::Eof));
    }
}

/// Behind two real servers, of which each has its own way to read what is wrong: of all the bad requests,
/// and what is behind them, none arrives.
#[test]
fn nothing_arrives_at_real_servers() {
    let nginx = Application::nginx();
    let puma = Application::puma();
    for server in [&nginx, &puma] {
        let ekbo = Ekbo::in_front_of(&server.url()).start();
        for Bad(_, head, _) in bad_heads() {
            let mut client = ekbo.http();
            let _ = client.try_write(format!("{head}{SMUGGLED}"));
            client.rest();
        }
        for chunks in bad_chunks() {
            let mut client = ekbo.http();
            let _ = client.try_write(format!(
                "POST /page HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n{chunks}{SMUGGLED}"
            ));
            client.rest();
        }
        let length = SMUGGLED.len();
        let mut client = ekbo.http();
        let framed =
            format!("POST /page HTTP/1.1\r\nHost: x\r\nContent-Length: {length}\r\n\r\n{SMUGGLED}");
        // Neither server minds what it did not ask for.
        assert!(client.exchange(framed).status < 500);
        assert!(client.exchange("GET /marker HTTP/1.1\r\nHost: x\r\n\r\n").status < 500);
    }
    let asked = || fs::read_to_string(nginx.directory.join("asked.log")).unwrap();
    eventually("the last request in nginx's log", || asked().contains("/marker"));
    assert!(!asked().contains("/smuggled"), "{}", asked());
    let ekbo = Ekbo::in_front_of(&puma.url()).start();
    let asked = ekbo.get("/asked").text().to_owned();
    assert!(asked.contains("/marker"), "{asked}");
    assert!(!asked.contains("/smuggled"), "{asked}");
}

/// Whatever has come to the upstream is no whole request, and has ended.
#[track_caller]
fn expect_nothing_whole(upstream: &Upstream, what: &str) {
    while let Some(mut inbound) = upstream.try_accept() {
        let (came, _) = inbound.rest();
        let text = String::from_utf8_lossy(&came);
        assert!(!text.ends_with("0\r\n\r\n"), "{what:?} became {text:?}");
        assert!(!text.contains("/smuggled"), "{what:?} became {text:?}");
        let whole = text.split_once("\r\n\r\n").is_some_and(|(head, _)| !head.contains("chunked"));
        assert!(!whole, "{what:?} became {text:?}");
    }
}

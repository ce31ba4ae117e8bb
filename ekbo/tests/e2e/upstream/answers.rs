//! Answers on their way back to the client: unchanged, but for what concerns the connection alone.

use super::super::harness::{End, Http};
use super::{DONE, answer_next, played, relay};

const GET: &str = "GET / HTTP/1.1\r\nHost: x\r\n\r\n";

/// Status, reason and fields in their order and spelling, repeated ones too.
#[test]
fn an_answer_comes_as_it_was_written() {
    let (upstream, ekbo) = played();
    let (mut client, mut inbound, _) = relay(&ekbo, &upstream, GET);
    inbound.write(
        b"HTTP/1.1 299 Very  Fine!\r\nserver: somebody/1.0\r\nDATE: Thu, 01 Jan 1970 00:00:00 GMT\r\n\
          Set-Cookie: a=1; Path=/\r\nX-Empty:\r\nset-cookie: b=2\r\nContent-Length: 2\r\n\
          X-Padded:    a  b   \r\nSet-Cookie: c=3\r\nVia: 1.1 cache\r\nETag: \"x\"\r\n\r\nok",
    );
    let (status, fields) = head(&mut client);
    assert_eq!(status, "HTTP/1.1 299 Very  Fine!");
    let (length, others): (Vec<_>, Vec<_>) =
        fields.iter().partition(|field| field.to_ascii_lowercase().starts_with("content-length"));
    assert_eq!(
        others,
        [
            "server: somebody/1.0",
            "DATE: Thu, 01 Jan 1970 00:00:00 GMT",
            "Set-Cookie: a=1; Path=/",
            "X-Empty: ",
            "set-cookie: b=2",
            "X-Padded: a  b",
            "Set-Cookie: c=3",
            "Via: 1.1 cache",
            "ETag: \"x\"",
        ]
    );
    assert_eq!(length.len(), 1, "{fields:?}");
    assert!(length[0].ends_with(": 2"), "{length:?}");
    assert_eq!(client.exactly(2), b"ok");
}

/// Reasons may be anything, or nothing; statuses too.
#[test]
fn status_lines() {
    let (upstream, ekbo) = played();
    for (came, goes) in [
        ("HTTP/1.1 200 ", "HTTP/1.1 200 "),
        ("HTTP/1.1 200", "HTTP/1.1 200 "),
        ("HTTP/1.1 404 Nope", "HTTP/1.1 404 Nope"),
        ("HTTP/1.1 599 \t(odd)", "HTTP/1.1 599 \t(odd)"),
        ("HTTP/1.1 999 Nine", "HTTP/1.1 999 Nine"),
        ("HTTP/1.0 500 Old", "HTTP/1.1 500 Old"),
    ] {
        let (mut client, mut inbound, _) = relay(&ekbo, &upstream, GET);
        inbound.write(format!("{came}\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"));
        assert_eq!(head(&mut client).0.trim_end(), goes.trim_end());
    }
}

/// Every request that is over has its line in the log: who asked what, and how much came of it.
#[test]
fn answers_are_logged() {
    let (upstream, ekbo) = played();
    let (mut client, mut inbound, _) = relay(
        &ekbo,
        &upstream,
        "REPORT //a/../b%2f?c=%zz HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\nhi",
    );
    inbound.expect("hi");
    assert!(!ekbo.log_contains("access"));
    inbound.write("HTTP/1.1 418 Tea\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nshort\r\n0\r\n\r\n");
    assert_eq!(client.read().status, 418);
    let line = ekbo.wait_for_log("access");
    assert_eq!(line.level, "info");
    assert_eq!(line.fields["method"], "REPORT");
    assert_eq!(line.fields["url"], "//a/../b%2f?c=%zz");
    assert_eq!(line.fields["status"], 418);
    assert_eq!(line.fields["size"], 5);
}

/// A date is there in any case: RFC 9110 section 6.6.1.
#[test]
fn an_answer_without_a_date_is_dated() {
    let (upstream, ekbo) = played();
    let (mut client, mut inbound, _) = relay(&ekbo, &upstream, GET);
    inbound.write("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
    assert!(client.read().header("Date").is_some_and(|date| date.ends_with(" GMT")));
}

/// RFC 9110 section 7.6.1: what is between `ekbo` and the upstream alone goes no further.
#[test]
fn fields_of_the_connection_stay_behind() {
    let (upstream, ekbo) = played();
    let (mut client, mut inbound, _) = relay(&ekbo, &upstream, GET);
    inbound.write(
        "HTTP/1.1 200 OK\r\nConnection: close, X-Private\r\nKeep-Alive: timeout=5\r\n\
         Proxy-Connection: close\r\nX-Private: secret\r\nX-Public: known\r\nUpgrade: h2c\r\n\
         Content-Length: 2\r\n\r\nok",
    );
    let response = client.read();
    assert_eq!(response.header("X-Public"), Some("known"));
    for gone in ["Keep-Alive", "Proxy-Connection", "X-Private", "Upgrade"] {
        assert!(!response.has_header(gone), "{gone}: {response:?}");
    }
    assert_ne!(response.header("Connection"), Some("close"));
    // And the client's connection is still there.
    client.write(GET);
    answer_next(&upstream);
    assert_eq!(client.read().status, 204);
}

/// They are compared with the name of each field, so that there may not be any number of them.
#[test]
fn fields_of_the_connection_without_end() {
    let (upstream, ekbo) = played();
    for (options, status) in [(100, 200), (101, 502)] {
        let (mut client, mut inbound, _) = relay(&ekbo, &upstream, GET);
        let options = vec!["a"; options].join(",");
        inbound.write(format!(
            "HTTP/1.1 200 OK\r\nConnection: {options}\r\nContent-Length: 0\r\n\r\n"
        ));
        assert_eq!(client.read().status, status);
    }
}

/// RFC 9112 section 5.1: blanks before a colon are taken out of an answer, and the field means what it
/// means.
#[test]
fn blanks_before_a_colon() {
    let (upstream, ekbo) = played();
    let (mut client, mut inbound, _) = relay(&ekbo, &upstream, GET);
    inbound.write("HTTP/1.1 200 OK\r\nX-Odd : a\r\nContent-Length \t: 2\r\n\r\nok");
    let (_, fields) = head(&mut client);
    assert!(fields.contains(&"X-Odd: a".to_owned()), "{fields:?}");
    assert!(fields.contains(&"Content-Length: 2".to_owned()), "{fields:?}");
    assert_eq!(client.exactly(2), b"ok");
}

/// Interim answers other than 100 are not the last word, and need not be passed on.
#[test]
fn interim_answers() {
    let (upstream, ekbo) = played();
    let (mut client, mut inbound, _) = relay(&ekbo, &upstream, GET);
    inbound.write("HTTP/1.1 102 Processing\r\n\r\n");
    inbound.write("HTTP/1.1 103 Early Hints\r\nLink: </a.css>; rel=preload\r\n\r\n");
    inbound.write("HTTP/1.1 100 Continue\r\n\r\n");
    inbound.write("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nfinal");
    let response = loop {
        let response = client.read();
        if response.status >= 200 {
            break response;
        }
    };
    assert_eq!(response.text(), "final");
    assert!(!response.has_header("Link"), "{response:?}");
}

/// However an answer is cut into pieces, it is the same answer.
#[test]
fn answers_byte_by_byte() {
    let (upstream, ekbo) = played();
    for (framing, body) in [
        ("Content-Length: 11\r\n", "hello world"),
        ("Transfer-Encoding: chunked\r\n", "5;a=b\r\nhello\r\n06\r\n world\r\n0\r\n\r\n"),
        ("", "hello world"),
    ] {
        let (mut client, mut inbound, _) = relay(&ekbo, &upstream, GET);
        let interim = "HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n";
        let answer =
            format!("{interim}HTTP/1.1 200 OK\r\nConnection: close\r\n{framing}\r\n{body}");
        for byte in answer.as_bytes().chunks(1) {
            inbound.write(byte);
        }
        drop(inbound);
        assert_eq!(client.read().text(), "hello world", "{framing}");
    }
}

/// A head may be large, and have many fields.
#[test]
fn a_large_head() {
    let (upstream, ekbo) = played();
    for fields in [
        format!("X-Long: {}\r\n", "x".repeat(60_000)),
        (0..200).map(|number| format!("X-{number}: {number}\r\n")).collect::<String>(),
    ] {
        let (mut client, mut inbound, _) = relay(&ekbo, &upstream, GET);
        inbound.write(format!("HTTP/1.1 200 OK\r\nConnection: close\r\n{fields}\r\nok"));
        let (_, came) = head(&mut client);
        let all: String = came.iter().map(|field| format!("{field}\r\n")).collect();
        assert!(all.contains(&fields), "{} bytes", all.len());
    }
}

/// Answers without a body: what they say of its length stays, and the connection goes on.
#[test]
fn answers_without_a_body() {
    let (upstream, ekbo) = played();
    let mut client = ekbo.http();
    for (method, answer, field) in [
        ("HEAD", "200 OK\r\nContent-Length: 12345", Some(("Content-Length", "12345"))),
        ("HEAD", "200 OK\r\nTransfer-Encoding: chunked", None),
        ("HEAD", "404 No", None),
        ("GET", "204 No Content", None),
        ("GET", "304 Not Modified\r\nETag: \"x\"", Some(("ETag", "\"x\""))),
        ("GET", "304 Not Modified\r\nContent-Length: 77", Some(("Content-Length", "77"))),
        ("GET", "200 OK\r\nContent-Length: 0", Some(("Content-Length", "0"))),
    ] {
        client.write(format!("{method} / HTTP/1.1\r\nHost: x\r\n\r\n"));
        let mut inbound = upstream.accept();
        inbound.head();
        inbound.write(format!("HTTP/1.1 {answer}\r\nConnection: close\r\n\r\n"));
        let response = client.read_answer_to(method);
        assert!(answer.starts_with(&response.status.to_string()), "{answer}: {response:?}");
        if let Some((name, value)) = field {
            assert_eq!(response.header(name), Some(value), "{answer}: {response:?}");
        }
        assert!(client.is_silent(), "{method} {answer}");
    }
}

/// What an upstream sends where no body can be is neither shown to this client nor to the next.
#[test]
fn a_body_where_none_can_be() {
    let (upstream, ekbo) = played();
    for (method, answer) in [
        ("HEAD", "200 OK\r\nContent-Length: 4\r\n\r\nevil"),
        ("GET", "204 No Content\r\nContent-Length: 4\r\n\r\nevil"),
        ("GET", "204 No Content\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nevil\r\n0\r\n\r\n"),
        ("GET", "304 Not Modified\r\nContent-Length: 4\r\n\r\nevil"),
        ("GET", "204 No Content\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil"),
    ] {
        let mut client = ekbo.http();
        client.write(format!("{method} / HTTP/1.1\r\nHost: x\r\n\r\n"));
        let mut inbound = upstream.accept();
        inbound.head();
        inbound.write(format!("HTTP/1.1 {answer}"));
        let status = client.read_answer_to(method).status;
        assert!(answer.starts_with(&status.to_string()), "{answer}: {status}");
        // The next request is not sent where that is on its way.
        client.write(GET);
        let mut fresh = upstream.accept();
        fresh.head();
        fresh.write(DONE);
        assert_eq!(client.read().status, 204, "{answer}");
        assert!(matches!(inbound.rest(), (rest, _) if rest.is_empty()), "{answer}");
    }
}

/// Nor is it waited for: what announces a body behind 204 is asked for nothing more.
#[test]
fn a_body_where_none_can_be_that_is_only_announced() {
    let (upstream, ekbo) = played();
    for announced in ["Content-Length: 4", "Transfer-Encoding: chunked"] {
        let (mut client, mut inbound, _) = relay(&ekbo, &upstream, GET);
        inbound.write(format!("HTTP/1.1 204 No Content\r\n{announced}\r\n\r\n"));
        assert_eq!(client.read_answer_to("GET").status, 204, "{announced}");
        assert_eq!(inbound.rest(), (vec![], End::Eof), "{announced}");
    }
}

/// An upstream that speaks HTTP/1.0: a body by its length, and one by the end of the connection.
#[test]
fn an_upstream_of_http_1_0() {
    let (upstream, ekbo) = played();
    let mut client = ekbo.http();
    client.write(GET);
    let mut inbound = upstream.accept();
    inbound.head();
    inbound.write("HTTP/1.0 200 OK\r\nContent-Length: 5\r\n\r\nhello");
    let response = client.read();
    assert_eq!((&*response.version, response.text()), ("HTTP/1.1", "hello"));
    assert_eq!(inbound.rest(), (vec![], End::Eof));
    client.write(GET);
    let mut inbound = upstream.accept();
    inbound.head();
    inbound.write("HTTP/1.0 200 OK\r\nContent-Type: text/plain\r\n\r\nhello ");
    inbound.write("world");
    drop(inbound);
    let response = client.read();
    assert_eq!(response.header("Transfer-Encoding"), Some("chunked"));
    assert_eq!(response.text(), "hello world");
}

/// Reads a head: its first line, and its fields without blanks around the values.
#[track_caller]
fn head(client: &mut Http) -> (String, Vec<String>) {
    let status = client.line();
    let mut fields = Vec::new();
    loop {
        let line = client.line();
        if line.is_empty() {
            return (status, fields);
        }
        let (name, value) = line.split_once(':').unwrap();
        fields.push(format!("{name}: {}", value.trim()));
    }
}

//! Bodies on their way in both directions: framed as they came, passed on as they come, and never
//! kept. And `Expect: 100-continue`.

use std::io::Write as _;
use std::thread;
use std::time::Duration;

use super::super::harness::{Inbound, Stopwatch};
use super::{DONE, answer_next, played, relay};

/// More than what all sockets on the way hold.
const MORE_THAN_SOCKETS_HOLD: usize = 32 << 20;

/// What `ekbo` may need more at the most, however long a body is.
const FLAT: u64 = 6 << 20;

/// A length stays a length, also one of zero, and the lack of one stays a lack.
#[test]
fn bodies_of_known_length() {
    let (upstream, ekbo) = played();
    for (method, fields, body) in [
        ("POST", "Content-Length: 5\r\n", "hello"),
        ("POST", "Content-Length: 0\r\n", ""),
        ("POST", "", ""),
        ("GET", "Content-Length: 5\r\n", "hello"),
        ("DELETE", "Content-Length: 2\r\n", "hi"),
        ("PUT", "Content-Length: 007\r\n", "license"),
    ] {
        let mut client = ekbo.http();
        client.write(format!("{method} / HTTP/1.1\r\nHost: x\r\n{fields}X-Last: 1\r\n\r\n{body}"));
        let mut inbound = upstream.accept();
        let head = inbound.head();
        let lengths: Vec<usize> =
            head.all("Content-Length").iter().map(|length| length.parse().unwrap()).collect();
        let expected = if fields.is_empty() { vec![] } else { vec![body.len()] };
        assert_eq!(lengths, expected, "{method} {fields}");
        assert_eq!(head.all("Transfer-Encoding"), [""; 0], "{method} {fields}");
        inbound.expect(body);
        inbound.write(format!(
            "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        ));
        let response = client.read();
        assert_eq!(response.header("Content-Length"), Some(&*body.len().to_string()));
        assert_eq!(response.text(), body);
        assert!(inbound.rest().0.is_empty(), "more than the body");
    }
}

/// Chunks stay chunks, wherever they are divided, and trailers come behind them, both ways.
#[test]
fn bodies_in_chunks() {
    let (upstream, ekbo) = played();
    let (mut client, mut inbound, head) = relay(
        &ekbo,
        &upstream,
        "POST / HTTP/1.1\r\nHost: x\r\nTE: trailers\r\nConnection: TE\r\nTrailer: X-Sum, X-More\r\n\
         Transfer-Encoding: chunked\r\n\r\n\
         3\r\nhel\r\n00002;extension=\"1\"\r\nlo\r\nA\r\n, upstream\r\n0\r\nX-Sum: 12\r\nX-MORE: a\r\n\r\n",
    );
    assert_eq!(head.all("Transfer-Encoding"), ["chunked"]);
    assert_eq!(head.all("Content-Length"), [""; 0]);
    assert_eq!(head.all("Trailer"), ["X-Sum, X-More"]);
    let (body, trailers) = inbound.chunks();
    assert_eq!(body, b"hello, upstream");
    assert_eq!(trailers, ["X-Sum: 12", "X-MORE: a"]);

    inbound.write("HTTP/1.1 200 OK\r\nTrailer: X-Sum\r\nTransfer-Encoding: chunked\r\n\r\n");
    inbound.write("5;a=b\r\nhello\r\n8\r\n, client\r\n0\r\nX-Sum: 34\r\nx-more: b\r\n\r\n");
    let mut lines = Vec::new();
    while lines.last().is_none_or(|line: &String| !line.is_empty()) {
        lines.push(client.line());
    }
    assert!(lines.iter().any(|line| line.eq_ignore_ascii_case("transfer-encoding: chunked")));
    assert!(lines.contains(&"Trailer: X-Sum".to_owned()), "{lines:?}");
    let mut body = Vec::new();
    loop {
        let size = usize::from_str_radix(&client.line(), 16).unwrap();
        if size == 0 {
            break;
        }
        body.extend(client.exactly(size));
        assert_eq!(client.line(), "");
    }
    assert_eq!(body, b"hello, client");
    assert_eq!([client.line(), client.line(), client.line()], ["X-Sum: 34", "x-more: b", ""]);
    // And nothing behind it.
    client.write("GET /next HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    assert_eq!(inbound.head().target(), "/next");
    inbound.write(DONE);
    assert_eq!(client.read().status, 204);
}

/// RFC 9110 section 6.5.1: a trailer that would change what the message is goes nowhere.
#[test]
fn trailers_that_must_not_be() {
    let (upstream, ekbo) = played();
    let forbidden = "Content-Length: 3\r\nTransfer-Encoding: chunked\r\nHost: evil\r\n\
                     Connection: close\r\nX-Fine: yes\r\nTrailer: X\r\nX-Forwarded-For: 10.0.0.1\r\n";
    let (mut client, mut inbound, _) = relay(
        &ekbo,
        &upstream,
        format!(
            "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n{forbidden}\r\n"
        ),
    );
    assert_eq!(inbound.chunks(), (b"hi".to_vec(), vec!["X-Fine: yes".to_owned()]));
    inbound.write("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n");
    inbound.write("Content-Length: 3\r\nTransfer-Encoding: chunked\r\nX-Fine: yes\r\n\r\n");
    while !client.line().is_empty() {}
    let told: Vec<String> = (0..5).map(|_| client.line()).collect();
    assert_eq!(told, ["2", "hi", "0", "X-Fine: yes", ""]);
    assert!(client.is_silent());
}

/// Every piece of a request's body is passed on before the next one comes, and so is every piece of
/// an answer, in chunks, by length or up to the end; both ways at the same time.
#[test]
fn pieces_are_passed_on_as_they_come() {
    let (upstream, ekbo) = played();
    let (mut client, mut inbound, _) =
        relay(&ekbo, &upstream, "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n");
    client.write("3\r\none\r\n");
    inbound.expect("3\r\none\r\n");
    inbound.write("HTTP/1.1 200 OK\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n");
    while !client.line().is_empty() {}
    for word in ["two", "six", "ten"] {
        inbound.write(format!("3\r\n{word}\r\n"));
        assert_eq!([client.line(), client.line()], ["3", word]);
        client.write(format!("3\r\n{word}\r\n"));
        inbound.expect(format!("3\r\n{word}\r\n"));
    }
    client.write("0\r\n\r\n");
    inbound.expect("0\r\n\r\n");
    inbound.write("0\r\n\r\n");
    assert_eq!([client.line(), client.line()], ["0", ""]);

    for framing in ["Content-Length: 9\r\n", ""] {
        let (mut client, mut inbound, _) =
            relay(&ekbo, &upstream, "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n");
        for word in ["one", "two", "six"] {
            client.write(word);
            inbound.expect(word);
        }
        inbound.write(format!("HTTP/1.1 200 OK\r\nConnection: close\r\n{framing}\r\n"));
        while !client.line().is_empty() {}
        for word in ["one", "two", "six"] {
            inbound.write(word);
            if framing.is_empty() {
                assert_eq!([client.line(), client.line()], ["3", word]);
            } else {
                assert_eq!(client.exactly(3), word.as_bytes());
            }
        }
    }
}

/// A client that does not read holds the upstream up, not `ekbo`'s memory; what it reads in the end
/// is whole.
#[test]
fn a_client_that_does_not_read() {
    let (upstream, ekbo) = played();
    let before = ekbo.memory("VmHWM");
    let (mut client, mut inbound, _) = relay(&ekbo, &upstream, "GET / HTTP/1.1\r\nHost: x\r\n\r\n");
    inbound.write(format!("HTTP/1.1 200 OK\r\nContent-Length: {MORE_THAN_SOCKETS_HOLD}\r\n\r\n"));
    let written = write_until_stuck(&mut inbound);
    assert!(written < MORE_THAN_SOCKETS_HOLD, "nobody held the upstream up");
    let after = ekbo.memory("VmHWM");
    assert!(after < before + FLAT, "from {before} to {after} bytes");
    let rest = thread::spawn(move || {
        inbound.write(vec![b'x'; MORE_THAN_SOCKETS_HOLD - written]);
        inbound
    });
    let response = client.read();
    assert_eq!(response.body.len(), MORE_THAN_SOCKETS_HOLD);
    assert!(response.body.iter().all(|&byte| byte == b'x'));
    rest.join().unwrap();
}

/// An upstream that does not read holds the client up, not `ekbo`'s memory.
#[test]
fn an_upstream_that_does_not_read() {
    let (upstream, ekbo) = played();
    let before = ekbo.memory("VmHWM");
    let (mut client, mut inbound, _) = relay(
        &ekbo,
        &upstream,
        format!("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: {MORE_THAN_SOCKETS_HOLD}\r\n\r\n"),
    );
    client.wire().set_patience(Some(Duration::from_millis(300)));
    let piece = [b'x'; 64 << 10];
    let mut written = 0;
    while let Ok(length @ 1..) = client.wire().write(&piece) {
        written += length;
        assert!(written < MORE_THAN_SOCKETS_HOLD, "nobody held the client up");
    }
    let after = ekbo.memory("VmHWM");
    assert!(after < before + FLAT, "from {before} to {after} bytes");
    let upload = thread::spawn(move || {
        client.wire().set_patience(None);
        client.write(vec![b'x'; MORE_THAN_SOCKETS_HOLD - written]);
        client
    });
    inbound.expect(vec![b'x'; MORE_THAN_SOCKETS_HOLD]);
    inbound.write(DONE);
    assert_eq!(upload.join().unwrap().read().status, 204);
}

/// `Expect: 100-continue` goes along, and it is the upstream that says 100.
#[test]
fn an_expectation_is_met_by_the_upstream() {
    let (upstream, ekbo) = played();
    for framing in ["Content-Length: 5\r\n", "Transfer-Encoding: chunked\r\n"] {
        let (mut client, mut inbound, head) = relay(
            &ekbo,
            &upstream,
            format!("PUT / HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\n{framing}\r\n"),
        );
        assert_eq!(head.all("Expect"), ["100-continue"]);
        assert!(client.is_silent(), "100 that the upstream has not said");
        inbound.write("HTTP/1.1 100 Continue\r\n\r\n");
        assert_eq!(client.read().status, 100);
        if framing.starts_with('C') {
            client.write("hello");
            inbound.expect("hello");
        } else {
            client.write("5\r\nhello\r\n0\r\n\r\n");
            assert_eq!(inbound.chunks().0, b"hello");
        }
        inbound.write("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 5\r\n\r\nthere");
        assert_eq!(client.read().text(), "there");
    }
}

/// An upstream that refuses never has the body, and the client is never asked for it.
#[test]
fn an_expectation_is_refused_by_the_upstream() {
    let (upstream, ekbo) = played();
    for answer in ["417 Expectation Failed", "413 Too Much", "401 Who"] {
        let (mut client, mut inbound, _) = relay(
            &ekbo,
            &upstream,
            "PUT / HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 5000000\r\n\r\n",
        );
        inbound.write(format!("HTTP/1.1 {answer}\r\nContent-Length: 2\r\n\r\nno"));
        let response = client.read();
        assert!(answer.starts_with(&response.status.to_string()), "{answer}: {response:?}");
        assert_eq!(response.text(), "no");
        // The connection cannot be used on, as the body that was announced did not come.
        assert_eq!(inbound.rest().0, b"", "{answer}");
    }
}

/// A client whose upstream does not know about 100 is asked for its body after a while.
#[test]
fn an_expectation_that_is_ignored() {
    let (upstream, ekbo) = played();
    let (mut client, mut inbound, _) = relay(
        &ekbo,
        &upstream,
        "PUT / HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n",
    );
    let waiting = Stopwatch::start();
    assert_eq!(client.read().status, 100);
    let waited = waiting.elapsed();
    assert!(waited > Duration::from_millis(500), "{waited:?}");
    client.write("hello");
    inbound.expect("hello");
    inbound.write(DONE);
    assert_eq!(client.read().status, 204);
}

/// A client that does not wait for the 100 it asked for is not held up by that.
#[test]
fn an_expectation_in_a_hurry() {
    let (upstream, ekbo) = played();
    let (mut client, mut inbound, _) = relay(
        &ekbo,
        &upstream,
        "PUT / HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\nhello",
    );
    inbound.write("HTTP/1.1 100 Continue\r\n\r\n");
    inbound.expect("hello");
    inbound.write(DONE);
    let response = client.read();
    let last = if response.status == 100 { client.read() } else { response };
    assert_eq!(last.status, 204);
}

/// Without a body there is nothing to wait for.
#[test]
fn an_expectation_of_nothing() {
    let (upstream, ekbo) = played();
    let mut client = ekbo.http();
    client.write("GET / HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\n\r\n");
    answer_next(&upstream);
    assert_eq!(client.read().status, 204);
}

/// Writes until the other side has taken nothing for a while; how much that was.
fn write_until_stuck(inbound: &mut Inbound) -> usize {
    inbound.wire().set_patience(Some(Duration::from_millis(300)));
    let piece = [b'x'; 64 << 10];
    let mut written = 0;
    while let Ok(length @ 1..) = inbound.wire().write(&piece) {
        written += length;
        if written >= MORE_THAN_SOCKETS_HOLD {
            break;
        }
    }
    inbound.wire().set_patience(None);
    written
}

//! Connections to the application are kept, and used again where that can do no harm.

use std::thread;

use super::super::harness::{Answer, Backend, Ekbo, End};
use super::{DONE, answer_next, played, relay};

const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

/// Many requests of one client, and of many in turn, need a single connection.
#[test]
fn one_connection_serves_many_requests() {
    let application = Backend::plan()
        .on("/length", Answer::ok().body("hello"))
        .on(
            "/chunks",
            Answer::ok().header("Transfer-Encoding", "chunked").body("2\r\nhi\r\n0\r\n\r\n"),
        )
        .start();
    let ekbo = Ekbo::in_front_of(&application.url("")).start();
    let mut kept = ekbo.http();
    for number in 0..100 {
        let path = ["/length", "/chunks", "/unknown"][number % 3];
        let body = if number % 2 == 0 { "hello" } else { "" };
        let length = body.len();
        let status = kept
            .exchange(format!(
                "POST {path} HTTP/1.1\r\nHost: x\r\nContent-Length: {length}\r\n\r\n{body}"
            ))
            .status;
        assert_eq!(status, if path == "/unknown" { 404 } else { 200 });
        assert_eq!(ekbo.request("GET", path).send().status, status);
    }
    assert_eq!(application.all_requests().len(), 200);
    assert_eq!(application.connections(), 1);
}

/// Many clients at once share connections, and each has the answers to its own requests.
#[test]
fn nobody_has_the_answer_of_another() {
    const CLIENTS: usize = 16;
    let application = Backend::plan()
        .on_request("/echo", |request| {
            Answer::ok().header("X-Query", request.query().unwrap()).body(&request.body)
        })
        .start();
    let ekbo = Ekbo::in_front_of(&application.url("")).start();
    thread::scope(|scope| {
        for client in 0..CLIENTS {
            let mut http = ekbo.http();
            scope.spawn(move || {
                for number in 0..40 {
                    let body = format!("{client} {number};").repeat(1 + number * client * 3);
                    let response = http.exchange(format!(
                        "POST /echo?{client}.{number} HTTP/1.1\r\nHost: x\r\nContent-Length: {}\r\n\r\n{body}",
                        body.len()
                    ));
                    assert_eq!(response.header("X-Query"), Some(&*format!("{client}.{number}")));
                    assert!(response.text() == body, "{client} {number}");
                }
            });
        }
    });
    assert_eq!(application.all_requests().len(), CLIENTS * 40);
    assert!(application.connections() <= CLIENTS, "{}", application.connections());
}

/// A kept connection that the upstream has ended meanwhile is not used, and nobody notices.
#[test]
fn a_kept_connection_that_has_ended() {
    let (upstream, ekbo) = played();
    let mut client = ekbo.http();
    for method in ["POST", "GET", "PATCH", "GET"] {
        client.write(format!("{method} / HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\nhi"));
        let mut inbound = upstream.accept();
        assert!(inbound.head().request_line.starts_with(method));
        inbound.expect("hi");
        inbound.write(OK);
        assert_eq!(client.read().text(), "ok");
        drop(inbound);
    }
}

/// Whatever is left over behind an answer belongs to nobody: the connection is not used again.
#[test]
fn what_is_left_over_is_nobody_s_answer() {
    let (upstream, ekbo) = played();
    for (more, at_once) in [
        ("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil", true),
        ("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil", false),
        ("\r\n", true),
        ("x", false),
    ] {
        let (mut client, mut inbound, _) =
            relay(&ekbo, &upstream, "GET / HTTP/1.1\r\nHost: x\r\n\r\n");
        if at_once {
            inbound.write(format!("{OK}{more}"));
            assert_eq!(client.read().text(), "ok");
        } else {
            inbound.write(OK);
            assert_eq!(client.read().text(), "ok");
            inbound.write(more);
        }
        client.write("GET /next HTTP/1.1\r\nHost: x\r\n\r\n");
        assert_eq!(answer_next(&upstream).target(), "/next", "{more:?}");
        assert_eq!(client.read().status, 204, "{more:?}");
        assert!(inbound.rest().0.is_empty(), "{more:?}");
    }
}

/// A request that a kept connection lost without a byte of an answer is made again if it does no harm
/// to do it twice, and is an error otherwise.
#[test]
fn a_request_lost_with_a_kept_connection() {
    let (upstream, ekbo) = played();
    for (request, is_repeated) in [
        ("GET /lost HTTP/1.1\r\nHost: x\r\n\r\n", true),
        ("DELETE /lost HTTP/1.1\r\nHost: x\r\n\r\n", true),
        ("POST /lost HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\nhi", false),
        ("PATCH /lost HTTP/1.1\r\nHost: x\r\n\r\n", false),
        ("LOCK /lost HTTP/1.1\r\nHost: x\r\n\r\n", false),
    ] {
        let (mut client, mut inbound, _) =
            relay(&ekbo, &upstream, "GET /kept HTTP/1.1\r\nHost: x\r\n\r\n");
        inbound.write(OK);
        assert_eq!(client.read().text(), "ok");
        client.write(request);
        assert_eq!(inbound.head().target(), "/lost");
        drop(inbound);
        if is_repeated {
            assert_eq!(answer_next(&upstream).target(), "/lost");
            assert_eq!(client.read().status, 204, "{request}");
        } else {
            let response = client.read();
            assert_eq!(response.status, 502, "{request}: {response:?}");
            assert!(response.text().starts_with("upstream: "), "{}", response.text());
            assert!(upstream.try_accept().is_none(), "{request} was made again");
        }
    }
}

/// A fresh connection that ends without an answer is a failure: nothing is made twice on suspicion,
/// and nothing over and over.
#[test]
fn a_request_lost_with_a_fresh_connection() {
    let (upstream, ekbo) = played();
    let (mut client, inbound, _) = relay(&ekbo, &upstream, "GET / HTTP/1.1\r\nHost: x\r\n\r\n");
    drop(inbound);
    assert_eq!(client.read().status, 502);
    assert!(upstream.try_accept().is_none(), "made again");
}

/// An upstream that announces the end of its connection sees the end from our side, and no request
/// more.
#[test]
fn an_announced_end_is_respected() {
    let (upstream, ekbo) = played();
    let (mut client, mut inbound, _) = relay(&ekbo, &upstream, "GET / HTTP/1.1\r\nHost: x\r\n\r\n");
    inbound.write(DONE);
    assert_eq!(client.read().status, 204);
    assert_eq!(inbound.rest(), (vec![], End::Eof));
}

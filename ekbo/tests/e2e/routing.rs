//! The listener and the paths. Malformed requests and limits are in `http_edges.rs`.

use std::fs;
use std::net::{Ipv6Addr, SocketAddr};

use super::harness::{Backend, Client, Ekbo, End, Http, Wire, eventually};

const NOT_FOUND: &str = "404 page not found\n";
const PLAIN: &str = "text/plain; charset=utf-8";

/// KB-NET-1: the listener takes IPv4 and IPv6.
#[test]
fn the_listener_takes_both_families() {
    let ekbo = Ekbo::alone().start();
    let request = "GET /ping HTTP/1.1\r\nHost: x\r\n\r\n";
    assert_eq!(Http::tcp(ekbo.address()).exchange(request).status, 200);
    let six = SocketAddr::from((Ipv6Addr::LOCALHOST, ekbo.port()));
    assert_eq!(Http::tcp(six).exchange(request).status, 200);
}

/// KB-NET-1: HTTP/1.0 is spoken, without a Host, and ends the connection after the answer.
#[test]
fn http_1_0_is_spoken() {
    let ekbo = Ekbo::alone().start();
    let mut http = ekbo.http();
    let response = http.exchange("GET /ping HTTP/1.0\r\n\r\n");
    response.assert_is(200, "application/json; charset=utf-8", r#"{"result":"OK"}"#);
    assert_eq!(http.read_end(), End::Eof);
}

/// KB-NET-1: a connection is kept for further requests, also for several written at once.
#[test]
fn connections_are_kept_alive() {
    let ekbo = Ekbo::alone().start();
    let mut http = ekbo.http();
    let request = "GET /ping HTTP/1.1\r\nHost: x\r\n\r\n";
    http.write(request.repeat(3));
    for _ in 0..3 {
        assert_eq!(http.read().status, 200);
    }
    http.write(request.replace("GET", "HEAD"));
    assert_eq!(http.read_answer_to("HEAD").status, 200);
    assert_eq!(http.exchange(request).status, 200);
}

/// KB-NET-1: there is no HTTP/2.
#[test]
fn http_2_is_refused() {
    let ekbo = Ekbo::alone().start();
    let mut http = ekbo.http();
    http.write("PRI * HTTP/2.0\r\n\r\n");
    if let Some(response) = http.read_or_end() {
        assert!(matches!(response.status, 400 | 505), "{response:?}");
    }
    assert_eq!(ekbo.get("/ping").status, 200);
}

/// KB-NET-1: TCP keep-alive is on.
#[test]
fn tcp_keep_alive_is_on() {
    let backend = Backend::admitting("alice").start();
    let ekbo = Ekbo::with(&backend).start();
    let wire = ekbo.wire();
    let ours = wire.as_tcp().unwrap().local_addr().unwrap().port();
    let mut http = Http::over(wire);
    assert_eq!(http.exchange("GET /ping HTTP/1.1\r\nHost: x\r\n\r\n").status, 200);
    eventually("the keep-alive timer", || keep_alive_timer_runs(ekbo.port(), ours));
}

/// KB-NET-2: what is listened on is logged.
#[test]
fn the_start_is_logged() {
    let ekbo = Ekbo::alone().start();
    let line = ekbo.wait_for_log("listen start");
    assert_eq!(line.level, "info");
    assert_eq!(line.fields["port"], ekbo.port().to_string());
}

/// KB-NET-3: paths are matched exactly, in their case, and without the query.
#[test]
fn paths_are_matched_exactly() {
    let ekbo = Ekbo::alone().start();
    assert_eq!(ekbo.get("/ping").status, 200);
    assert_eq!(ekbo.get("/ping?x=/unknown").status, 200);
    for path in ["/", "/Ping", "/ping/", "/pin", "/pingx", "/ping/x", "/connect/", "/send/x"] {
        ekbo.get(path).assert_is(404, PLAIN, NOT_FOUND);
    }
}

/// KB-NET-3: an unknown path is answered in Go's words, whatever the method.
#[test]
fn an_unknown_path_is_not_found() {
    let ekbo = Ekbo::alone().start();
    for method in ["GET", "POST", "DELETE", "OPTIONS"] {
        let response = ekbo.request(method, "/unknown").send();
        response.assert_is(404, PLAIN, NOT_FOUND);
        assert_eq!(response.header("X-Content-Type-Options"), Some("nosniff"));
        assert!(response.has_header("Date"));
        assert!(!response.has_header("Server"));
    }
    let response = ekbo.request("HEAD", "/unknown").send();
    assert_eq!(response.status, 404);
}

/// KB-NET-3, A-7: a path that ends in a slash takes everything below it, and the same
/// path without the slash is sent there, query and all.
#[test]
fn a_path_with_a_slash_takes_its_subtree() {
    let backend = Backend::admitting_by_query().start();
    let ekbo = Ekbo::with(&backend).set("path.connect", "/socket.io/").start();
    for path in ["/socket.io/", "/socket.io/1", "/socket.io/1/websocket/"] {
        let mut client = Client::to(&ekbo).path(path).query("alice").connect();
        ekbo.send(["alice"], path);
        client.expect_text(path);
    }
    let response = ekbo.get("/socket.io?EIO=3&transport=websocket");
    assert_eq!(response.status, 301);
    assert_eq!(response.header("Location"), Some("/socket.io/?EIO=3&transport=websocket"));
    assert_eq!(ekbo.get("/socket.io").header("Location"), Some("/socket.io/"));
    assert_eq!(ekbo.get("/socket.iox").status, 404);
}

/// KB-NET-3: double slashes and dot segments are answered with the clean path.
#[test]
fn an_unclean_path_is_redirected() {
    let ekbo = Ekbo::alone().start();
    for (path, clean) in [
        ("//ping", "/ping"),
        ("/a/../ping", "/ping"),
        ("/./ping", "/ping"),
        ("/../../ping?a=b//c", "/ping?a=b//c"),
        ("/a//b/./c/../d/", "/a/b/d/"),
        ("/ping/..", "/"),
        ("/ping/.", "/ping/"),
    ] {
        let response = ekbo.get(path);
        assert_eq!(response.status, 301, "{path}");
        let location = response.header("Location").unwrap();
        // Whether a slash stays behind a last dot segment is nobody's concern.
        assert_eq!(location.trim_end_matches('/'), clean.trim_end_matches('/'), "{path}");
    }
}

/// KB-CFG-8: `/` for one of send, close and ping takes every path that nobody else takes.
#[test]
fn the_root_path_takes_the_rest() {
    let ekbo = Ekbo::alone().set("path.ping", "/").start();
    for path in ["/", "/anything", "/stats/more"] {
        ekbo.get(path).assert_is(200, "application/json; charset=utf-8", r#"{"result":"OK"}"#);
    }
    assert_eq!(ekbo.stats().connections, 0);
    assert_eq!(ekbo.send(["nobody"], "").status, 200);
}

/// KB-CFG-8: a path without a leading slash is accepted and never matches.
#[test]
fn a_path_without_a_slash_never_matches() {
    let ekbo = Ekbo::alone().set("path.ping", "ping").start();
    assert_eq!(ekbo.get("/ping").status, 404);
    assert_eq!(ekbo.stats().connections, 0);
}

/// 4, KB-API-1: header names are taken in any case, values lose the blanks around them, and
/// commas are no separators.
#[test]
fn headers_are_read_as_go_reads_them() {
    let backend = Backend::admitting_by_query().start();
    let ekbo = Ekbo::with(&backend).start();
    let mut alice = Client::connect_as(&ekbo, "alice");
    let mut bob = Client::connect_as(&ekbo, "bob");
    let request = ekbo
        .request("POST", "/send")
        .header("x-kuiperbelt-SESSION", " \t alice \t")
        .header("X-KUIPERBELT-session", "bob")
        .header("X-Kuiperbelt-Session", "alice, bob")
        .body("hello");
    assert_eq!(
        request.send().text(),
        "{\"errors\":[{\"error\":\"kuiperbelt: session is not found\",\
         \"session\":\"alice, bob\"}],\"result\":\"OK\"}\n"
    );
    alice.expect_text("hello");
    bob.expect_text("hello");
}

/// KB-MON-1, Line 10: ping answers any method.
#[test]
fn ping_answers() {
    let ekbo = Ekbo::alone().start();
    for method in ["GET", "POST", "PUT", "OPTIONS", "BREW"] {
        let response = ekbo.request(method, "/ping").send();
        response.assert_is(200, "application/json; charset=utf-8", r#"{"result":"OK"}"#);
    }
}

/// KB-NET-1: a client that goes away in the middle of a request harms nobody.
#[test]
fn half_a_request_harms_nobody() {
    let ekbo = Ekbo::alone().start();
    for half in ["", "G", "GET /ping HTTP/1.1\r\nHo", "POST /send HTTP/1.1\r\nHost: x\r\n"] {
        let mut http = ekbo.http();
        http.write(half);
        drop(http);
    }
    let mut wire: Wire = ekbo.wire();
    std::io::Write::write_all(&mut wire, b"POST /send HTTP/1.1\r\nHost: x\r\n").unwrap();
    drop(wire);
    assert_eq!(ekbo.get("/ping").status, 200);
}

/// Whether the kernel's timer of the socket from `here` to `there` is the keep-alive timer.
fn keep_alive_timer_runs(here: u16, there: u16) -> bool {
    let ends = (format!(":{here:04X}"), format!(":{there:04X}"));
    ["/proc/net/tcp", "/proc/net/tcp6"].iter().any(|table| {
        let table = fs::read_to_string(table).unwrap_or_default();
        table.lines().any(|line| {
            let columns: Vec<&str> = line.split_whitespace().collect();
            columns[1].ends_with(&ends.0) && columns[2].ends_with(&ends.1)
                // 02 names the keep-alive timer; it stands before the time that is left.
                && columns[5].starts_with("02:")
        })
    })
}

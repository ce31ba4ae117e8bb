//! How the backend is reached: TLS, unix sockets, kept connections, and never by a proxy. And how
//! its answers may be framed, as far as that decides whether a connection is kept.

use std::collections::HashMap;
use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::Mutex;

use super::harness::{
    Answer, Backend, BackendPlan, Client, Directory, Ekbo, Frame, PATIENCE, eventually_some,
    free_port,
};

/// 12: a backend over TLS is called when its certificate is trusted.
#[test]
fn a_backend_over_tls_is_called() {
    let backend = everything().start_tls();
    let ekbo = Ekbo::with(&backend).environment("SSL_CERT_FILE", backend.certificate()).start();
    expect_all_callbacks(&ekbo, &backend);
}

/// 12, 5.3 row 2: a certificate that nobody vouches for is a 502, and the backend is told nothing.
#[test]
fn a_strange_certificate_is_refused() {
    let backend = everything().start_tls();
    let ekbo = Ekbo::with(&backend).start();
    assert_eq!(Client::to(&ekbo).refused().status, 502);
    assert_eq!(ekbo.stats().connect_errors, 1);
    assert_eq!(backend.requests("/connect").len(), 0);
}

/// 12, 5.3 row 2: a certificate for another name is a 502.
#[test]
fn a_certificate_for_another_name_is_refused() {
    let backend = everything().start_tls();
    let url = backend.url("/connect").replace("localhost", "127.0.0.1");
    let ekbo = Ekbo::with(&backend)
        .set("callback.connect", &url)
        .environment("SSL_CERT_FILE", backend.certificate())
        .start();
    assert_eq!(Client::to(&ekbo).refused().status, 502);
}

/// 12: a backend on a unix socket is called; the client's query is passed on to it.
#[test]
fn a_backend_on_a_unix_socket_is_called() {
    let directory = Directory::new();
    let backend = everything().start_unix(&directory.join("backend.sock"));
    let ekbo = Ekbo::with(&backend).start();
    expect_all_callbacks(&ekbo, &backend);
    let _bob = Client::to(&ekbo).query("a=b").connect();
    assert_eq!(backend.wait_for("/connect", 2)[1].target, "/connect?a=b");
}

/// 12: the path of a unix callback may have a query of its own.
#[test]
fn a_unix_callback_keeps_its_path_and_query() {
    let directory = Directory::new();
    let plan = Backend::admitting("alice").on("/deep/establish", Answer::ok());
    let backend = plan.start_unix(&directory.join("backend.sock"));
    let url = backend.url("/deep/establish?token=1");
    let ekbo = Ekbo::with(&backend).set("callback.establish", &url).start();
    let _alice = Client::connect(&ekbo);
    assert_eq!(backend.wait_for_first("/deep/establish").target, "/deep/establish?token=1");
}

/// 12: the proxy variables of the environment are ignored.
#[test]
fn proxies_are_ignored() {
    let backend = everything().start();
    let proxy = Backend::plan().start();
    let names =
        ["http_proxy", "HTTP_PROXY", "https_proxy", "HTTPS_PROXY", "ALL_PROXY", "all_proxy"];
    let url = proxy.url("/");
    let plan = names.iter().fold(Ekbo::with(&backend), |plan, name| plan.environment(name, &url));
    expect_all_callbacks(&plan.start(), &backend);
    assert_eq!(proxy.connections(), 0);
}

/// 12: a connection to the backend is used again.
#[test]
fn connections_to_the_backend_are_kept() {
    let backend = Backend::admitting_by_query().start();
    let ekbo = Ekbo::with(&backend).start();
    let clients: Vec<Client> =
        (0..10).map(|number| Client::connect_as(&ekbo, &number.to_string())).collect();
    assert_eq!(backend.requests("/connect").len(), clients.len());
    assert_eq!(backend.connections(), 1);
}

/// 12: a kept connection that the backend has ended meanwhile makes no client fail.
#[test]
fn a_stale_connection_is_replaced() {
    let answer = Answer::admit("alice").then_hang_up();
    let backend = Backend::plan().on("/connect", answer).start();
    let ekbo = Ekbo::with(&backend).start();
    for _ in 0..20 {
        drop(Client::connect(&ekbo));
    }
    assert_eq!(ekbo.stats().connect_errors, 0);
    assert_eq!(backend.requests("/connect").len(), 20);
}

/// 12: nor do several, one after the other, each ended when its second request comes.
#[test]
fn stale_connections_are_replaced_however_many() {
    let backend = Backend::plan().start();
    let seen = Mutex::new(HashMap::<usize, usize>::new());
    backend.on_request("/connect", move |request| {
        let mut seen = seen.lock().unwrap();
        let count = seen.entry(request.connection).or_default();
        *count += 1;
        if *count == 1 { Answer::admit("alice") } else { Answer::hang_up() }
    });
    let connect = backend.url("/connect");
    let ekbo = Ekbo::alone().set("callback.connect", &connect).start();
    for _ in 0..6 {
        drop(Client::connect(&ekbo));
    }
    assert_eq!(ekbo.stats().connect_errors, 0);
}

/// 12: an answer is not asked for twice, when its first byte has come.
#[test]
fn a_request_is_not_repeated_after_a_byte_of_its_answer() {
    let backend = Backend::plan().on("/connect", Answer::raw("HTTP/1.1 2")).start();
    let ekbo = Ekbo::with(&backend).start();
    assert_eq!(Client::to(&ekbo).refused().status, 502);
    assert_eq!(backend.requests("/connect").len(), 1);

    // Nor on a connection that was kept, whose end might be that of a stale one. No other callback
    // takes it meanwhile.
    let backend = Backend::plan().on("/connect", Answer::admit("alice")).start();
    let ekbo = Ekbo::with(&backend).start();
    for torn in ["HTTP/1.1 2", "HTTP/1.1 200 OK\r\nX-Ku"] {
        backend.on("/connect", Answer::admit("alice"));
        drop(Client::connect(&ekbo));
        let (requests, connections) = (backend.requests("/connect").len(), backend.connections());
        backend.on("/connect", Answer::raw(torn));
        assert_eq!(Client::to(&ekbo).refused().status, 502, "{torn}");
        assert_eq!(backend.requests("/connect").len(), requests + 1, "{torn}");
        assert_eq!(backend.connections(), connections, "{torn}: not on a kept connection");
    }
}

/// 12: names of headers are spelled as people spell them, and the host comes first.
#[test]
fn names_of_headers_are_spelled_with_capitals() {
    let backend = everything().start();
    let ekbo = Ekbo::with(&backend).set("proxy_set_header.x-set-by-us", "1").start();
    expect_all_callbacks(&ekbo, &backend);
    for request in backend.all_requests() {
        let names = request.headers.0.iter().map(|(name, _)| name.as_str());
        let names: Vec<&str> = names.collect();
        assert_eq!(names[0], "Host", "{names:?}");
        assert!(names.contains(&"X-Set-By-Us"), "{names:?}");
        assert!(names.contains(&"X-Kuiperbelt-Endpoint"), "{names:?}");
    }
}

/// 12: a chunked answer, with extensions and trailers, leaves its connection for the next request.
#[test]
fn connections_are_kept_after_chunked_answers() {
    let chunks = "3;a=b\r\nhel\r\n2\r\nlo\r\n0\r\nDigest: x\r\n\r\n";
    let answer = Answer::admit("alice").header("Transfer-Encoding", "chunked").body(chunks);
    expect_kept(answer, true);
}

/// 12: so do interim answers before the one that counts.
#[test]
fn connections_are_kept_after_interim_answers() {
    let raw = "HTTP/1.1 102 Processing\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n\
               HTTP/1.1 200 OK\r\nX-Kuiperbelt-Session: alice\r\nContent-Length: 5\r\n\r\nhello";
    expect_kept(Answer::raw(raw).then_stay(), true);
}

/// 12: what a backend says behind its answer is not taken for the next one.
#[test]
fn connections_are_not_kept_with_bytes_behind_an_answer() {
    let forged = "helloHTTP/1.1 200 OK\r\nX-Kuiperbelt-Session: mallory\r\n\r\n";
    let sized = Answer::admit("alice").header("Content-Length", "5").body(forged);
    expect_kept(sized, false);
    let chunks = "5\r\nhello\r\n0\r\n\r\nHTTP/1.1 200 OK\r\n\r\n";
    let chunked = Answer::admit("alice").header("Transfer-Encoding", "chunked").body(chunks);
    expect_kept(chunked, false);
}

/// 12: nor is a connection kept that the backend wants ended, or that it has framed in two ways.
#[test]
fn connections_are_not_kept_against_the_backends_word() {
    let admit = || Answer::admit("alice");
    expect_kept(admit().header("Connection", "x, Close").body("hello"), false);
    let chunks = "5\r\nhello\r\n0\r\n\r\n";
    let both = admit().header("Transfer-Encoding", "chunked").header("Content-Length", "5");
    expect_kept(both.body(chunks), false);
    let old = "HTTP/1.0 200 OK\r\nX-Kuiperbelt-Session: alice\r\nContent-Length: 5\r\n\r\nhello";
    expect_kept(Answer::raw(old).then_stay(), false);
    let keeping = old.replace("Content-Length", "Connection: keep-alive\r\nContent-Length");
    expect_kept(Answer::raw(keeping).then_stay(), true);
}

/// 12: an answer that ends with its connection counts.
#[test]
fn an_answer_may_last_until_the_end() {
    let answer = Answer::raw("HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n\r\nthanks");
    let backend = Backend::admitting("alice").on("/receive", answer).start();
    let ekbo = Ekbo::with(&backend).start();
    let mut alice = Client::connect(&ekbo);
    for number in 1..=3 {
        alice.send(&Frame::text("hello"));
        backend.wait_for("/receive", number);
    }
    alice.leave(1000);
    backend.wait_for_first("/close");
    assert!(!ekbo.log_contains("receive callback failed"));
}

/// 12: an answer that breaks off is no yes, and neither is one in a coding that nobody knows.
#[test]
fn half_an_answer_is_none() {
    for answer in [
        "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhel",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nhel\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nhel",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello",
        "HTTP/1.1 100 Continue\r\n\r\n",
    ] {
        let backend = Backend::admitting("alice").on("/receive", Answer::raw(answer)).start();
        let ekbo = Ekbo::with(&backend).start();
        Client::connect(&ekbo).send(&Frame::text("hello"));
        ekbo.wait_for_log("receive callback failed");
        assert_eq!(backend.requests("/receive").len(), 1, "{answer:?}");
    }
}

/// 12: an answer that comes before the request has been read ends the call, and with it the
/// connection; nobody waits for the rest of the request to be taken.
#[test]
fn an_answer_may_come_before_the_request_is_read() {
    let backend = Backend::admitting("alice").start();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let url = format!("http://{}/receive", listener.local_addr().unwrap());
    let ekbo = Ekbo::with(&backend).set("callback.receive", &url).start();
    let mut alice = Client::connect(&ekbo);
    // More than two sockets hold.
    alice.send(&Frame::binary(vec![0; 12 << 20]));
    let mut first = accept(&listener);
    expect_head(&mut first, "POST /receive HTTP/1.1\r\n");
    first.write_all(b"HTTP/1.1 413 Too Large\r\nContent-Length: 0\r\n\r\n").unwrap();
    let line = ekbo.wait_for_log("receive callback failed");
    assert_eq!(line.fields["error"], "status 413");
    alice.send(&Frame::text("small"));
    let mut second = accept(&listener);
    expect_head(&mut second, "POST /receive HTTP/1.1\r\n");
}

/// 12: a message is not told twice, though the connection may have been a stale one: the backend
/// may have acted on it.
#[test]
fn a_message_is_not_repeated_on_another_connection() {
    let backend = Backend::admitting("alice").start();
    let ekbo = Ekbo::with(&backend).set("callback.receive", &backend.url("/receive")).start();
    let mut alice = Client::connect(&ekbo);
    backend.on_request("/receive", |request| match request.text() {
        "lost" => Answer::hang_up(),
        _ => Answer::ok(),
    });
    for text in ["first", "lost", "last"] {
        alice.send(&Frame::text(text));
    }
    let told = backend.wait_for("/receive", 3);
    let texts: Vec<&str> = told.iter().map(|request| request.text()).collect();
    assert_eq!(texts, ["first", "lost", "last"]);
    assert_eq!(told[0].connection, told[1].connection, "not on a kept connection");
    ekbo.wait_for_log("receive callback failed");
}

/// 12: a backend that comes up later is found.
#[test]
fn a_backend_may_come_up_later() {
    let port = free_port();
    let url = format!("http://127.0.0.1:{port}/connect");
    let ekbo = Ekbo::alone().set("callback.connect", &url).start();
    assert_eq!(Client::to(&ekbo).refused().status, 502);
    let _backend = Backend::admitting("alice").start_on(port);
    Client::connect(&ekbo);
}

/// Two clients connect, each of them greeted by "hello": over one connection or over two.
#[track_caller]
fn expect_kept(answer: Answer, is_kept: bool) {
    let backend = Backend::plan().on("/connect", answer).start();
    let url = backend.url("/connect");
    let ekbo = Ekbo::alone().set("callback.connect", &url).start();
    for _ in 0..2 {
        Client::connect(&ekbo).expect_text("hello");
    }
    assert_eq!(backend.requests("/connect").len(), 2);
    assert_eq!(backend.connections(), if is_kept { 1 } else { 2 });
}

#[track_caller]
fn accept(listener: &TcpListener) -> TcpStream {
    let stream = eventually_some("a connection", || listener.accept().ok()).0;
    stream.set_nonblocking(false).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream
}

/// Reads a head, and not a byte more.
#[track_caller]
fn expect_head(stream: &mut TcpStream, line: &str) {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte).unwrap();
        head.extend(byte);
    }
    let head = String::from_utf8(head).unwrap();
    assert!(head.starts_with(line), "{head}");
}

fn everything() -> BackendPlan {
    Backend::admitting("alice").on("/establish", Answer::ok()).on("/receive", Answer::ok())
}

/// Goes through all four callbacks once.
#[track_caller]
fn expect_all_callbacks(ekbo: &Ekbo, backend: &Backend) {
    let mut alice = Client::connect(ekbo);
    backend.wait_for_first("/establish");
    alice.send(&Frame::text("hello"));
    assert_eq!(backend.wait_for_first("/receive").text(), "hello");
    alice.send(&Frame::close(1000, ""));
    let close = backend.wait_for_first("/close");
    assert_eq!(close.session(), Some("alice"));
    assert_eq!(close.header("X-Kuiperbelt-Close-Code"), Some("1000"));
}

//! How the backend is reached: TLS, unix sockets, kept connections, and never by a proxy.

use std::collections::HashMap;
use std::sync::Mutex;

use super::harness::{Answer, Backend, BackendPlan, Client, Directory, Ekbo, Frame, free_port};

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

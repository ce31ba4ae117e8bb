//! The body of the connect callback's answer: how it may be framed, how late and how long it
//! may be. What becomes of the rest of the answer is in `connect.rs`; when the body reaches the
//! client, in `establish.rs`.

use super::connect::{expect_errors, expect_one_close, expect_plain};
use super::harness::{Answer, Backend, Client, Ekbo, Gate};

/// 5.3 row 5, KB-CON-6: a body that breaks off is a 500, and counted.
#[test]
fn a_body_that_breaks_off_is_a_server_error() {
    let cut = Answer::admit("alice").header("Content-Length", "100").body("hel").then_hang_up();
    let chunks = "HTTP/1.1 200 OK\r\nX-Kuiperbelt-Session: alice\r\n\
                  Transfer-Encoding: chunked\r\n\r\n3\r\nhel\r\n";
    for answer in [cut, Answer::raw(chunks)] {
        let backend = Backend::plan().on("/connect", answer).start();
        let ekbo = Ekbo::with(&backend).start();
        expect_plain(&Client::to(&ekbo).refused(), 500, "Internal Server Error\n");
        expect_errors(&ekbo, 1);
    }
}

/// KB-CON-7, A-1: an answer in HTTP/1.0 with bare line feeds, ended by the end of the
/// connection, as the tutorial's `nc` gives it.
#[test]
fn a_netcat_is_a_backend() {
    for answer in [
        "HTTP/1.0 200 OK\nX-Kuiperbelt-Session: alice\n\nhello\n",
        "HTTP/1.0 200 OK\r\nX-Kuiperbelt-Session: alice\r\n\r\nhello\n",
        "HTTP/1.0 200 OK\nX-Kuiperbelt-Session: alice\nContent-Length: 6\n\nhello\n",
        "HTTP/1.1 200 OK\nX-Kuiperbelt-Session: alice\n\nhello\n",
        "HTTP/1.1 200\nX-Kuiperbelt-Session: alice\nConnection: close\n\nhello\n",
    ] {
        let backend = Backend::plan().on("/connect", Answer::raw(answer)).start();
        let ekbo = Ekbo::with(&backend).start();
        let mut alice = Client::connect(&ekbo);
        alice.expect_text("hello\n");
        ekbo.send(["alice"], "again");
        alice.expect_text("again");
    }
}

/// KB-CON-7: a chunked answer is understood.
#[test]
fn a_chunked_answer_is_understood() {
    let answer = "HTTP/1.1 200 OK\r\nX-Kuiperbelt-Session: alice\r\n\
                  Transfer-Encoding: chunked\r\n\r\n3\r\nhel\r\n2\r\nlo\r\n0\r\n\r\n";
    let backend = Backend::plan().on("/connect", Answer::raw(answer)).start();
    Client::connect(&Ekbo::with(&backend).start()).expect_text("hello");
}

/// KB-CON-7: interim answers are passed over.
#[test]
fn interim_answers_are_passed_over() {
    let answer = "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n\
                  HTTP/1.1 200 OK\r\nX-Kuiperbelt-Session: alice\r\nContent-Length: 5\r\n\r\nhello";
    let backend = Backend::plan().on("/connect", Answer::raw(answer)).start();
    Client::connect(&Ekbo::with(&backend).start()).expect_text("hello");
}

/// KB-CON-8, Q7, F-5: a long first message that comes after the head is read whole, with a
/// time-out set.
#[test]
fn a_long_late_body_is_read() {
    let gate = Gate::new();
    let body = "x".repeat(64 * 1024);
    let answer = Answer::admit("alice").then_wait_for(&gate).body(&body);
    let backend = Backend::plan().on("/connect", answer).start();
    let ekbo = Ekbo::with(&backend).set("callback.timeout", "5s").start();
    let pending = Client::to(&ekbo).start();
    gate.wait_until_reached_by(1);
    gate.open();
    pending.connect().expect_text(&body);
}

/// KB-CON-8, D7: the time-out covers the body, too; the close callback comes all the same.
#[test]
fn a_body_that_is_too_late_is_a_bad_gateway() {
    let never = Gate::new();
    let answer = Answer::admit("alice").body("hel").then_wait_for(&never).body("lo");
    let backend = Backend::plan().on("/connect", answer).on("/close", Answer::ok()).start();
    let ekbo = Ekbo::with(&backend).set("callback.timeout", "300ms").start();
    expect_plain(&Client::to(&ekbo).refused(), 502, "Bad Gateway\n");
    expect_errors(&ekbo, 1);
    expect_one_close(&backend, "alice");
}

/// KB-CON-9, D7, Q4, F-9: a body beyond `max_message_size` is a 502, and its session is
/// reported closed once.
#[test]
fn a_body_that_is_too_long_is_a_bad_gateway() {
    let chunks = "HTTP/1.1 200 OK\r\nX-Kuiperbelt-Session: alice\r\n\
                  Transfer-Encoding: chunked\r\n\r\n6\r\nhello \r\n5\r\nworld\r\n0\r\n\r\n";
    for answer in [Answer::admit("alice").body("hello world"), Answer::raw(chunks)] {
        let backend = Backend::plan().on("/connect", answer).on("/close", Answer::ok()).start();
        let ekbo = Ekbo::with(&backend).set("max_message_size", "10").start();
        expect_plain(&Client::to(&ekbo).refused(), 502, "Bad Gateway\n");
        expect_errors(&ekbo, 1);
        expect_one_close(&backend, "alice");
    }
    let answer = Answer::admit("alice").body("0123456789");
    let backend = Backend::plan().on("/connect", answer).start();
    let ekbo = Ekbo::with(&backend).set("max_message_size", "10").start();
    Client::connect(&ekbo).expect_text("0123456789");
}

/// D5, D7, KB-API-3, Q32, F-10: a first message that is text but not UTF-8 is a 502, and
/// its session is reported closed once.
#[test]
fn a_body_that_is_not_utf_8_is_a_bad_gateway() {
    let answer = Answer::admit("alice").body(b"caf\xe9");
    let backend = Backend::plan().on("/connect", answer).on("/close", Answer::ok()).start();
    let ekbo = Ekbo::with(&backend).start();
    expect_plain(&Client::to(&ekbo).refused(), 502, "Bad Gateway\n");
    expect_errors(&ekbo, 1);
    expect_one_close(&backend, "alice");
}

/// KB-API-3: `invalid_text` says what else becomes of it; binary bodies may be anything.
#[test]
fn a_first_message_of_any_bytes_may_be_binary() {
    let answer = Answer::admit("alice").body(b"caf\xe9");
    let backend = Backend::plan().on("/connect", answer.clone()).start();
    let ekbo = Ekbo::with(&backend).set("invalid_text", "binary").start();
    Client::connect(&ekbo).expect_binary(b"caf\xe9");

    let answer = answer.header("Content-Type", "application/octet-stream");
    let backend = Backend::plan().on("/connect", answer).start();
    Client::connect(&Ekbo::with(&backend).start()).expect_binary(b"caf\xe9");
}

//! The receive callback: what the backend gets of a client's message, in which order, and what
//! becomes of the session while its answer is awaited.

use std::io::Write;
use std::thread;
use std::time::Duration;

use super::answers::NOT_FOUND;
use super::harness::{
    Answer, Backend, BackendPlan, Client, Ekbo, End, Frame, Gate, Received, Request, eventually,
    let_pass,
};

/// Line 20, 7.2, Q30: a text arrives as a POST with media type `text/plain`, the key, the
/// endpoint and the exact body, its length announced.
#[test]
fn a_text_reaches_the_backend() {
    let backend = receiving().start();
    let ekbo = Ekbo::with(&backend).set("endpoint", "gateway:80").start();
    let mut alice = Client::connect(&ekbo);
    alice.send(&Frame::text("hello receive message"));
    let request = backend.wait_for_first("/receive");
    assert_eq!(request.method, "POST");
    assert_eq!(request.header("Content-Type"), Some("text/plain"));
    assert_eq!(request.header("Content-Length"), Some("21"));
    assert!(!request.has_header("Transfer-Encoding"), "{request:?}");
    assert_eq!(request.session(), Some("alice"));
    assert_eq!(request.header("X-Kuiperbelt-Endpoint"), Some("gateway:80"));
    assert_eq!(request.text(), "hello receive message");
}

/// Line 13: the session header has its configured name here, too.
#[test]
fn the_session_header_has_its_configured_name() {
    let admitted = Answer::ok().header("session_uuid", "hogehoge");
    let backend = Backend::plan().on("/connect", admitted).on("/receive", Answer::ok()).start();
    let ekbo = Ekbo::with(&backend).set("session_header", "session_uuid").start();
    let mut client = Client::connect(&ekbo);
    client.send(&Frame::text("hello"));
    let request = backend.wait_for_first("/receive");
    assert_eq!(request.header("session_uuid"), Some("hogehoge"));
    assert!(!request.has_header("X-Kuiperbelt-Session"), "{request:?}");
    assert_eq!(request.text(), "hello");
}

/// A-18, 7.2: a binary message arrives as `application/octet-stream`.
#[test]
fn a_binary_message_reaches_the_backend() {
    let backend = receiving().start();
    let ekbo = Ekbo::with(&backend).start();
    let mut alice = Client::connect(&ekbo);
    alice.send(&Frame::binary(b"\x00\xff\x80"));
    let request = backend.wait_for_first("/receive");
    assert_eq!(request.header("Content-Type"), Some("application/octet-stream"));
    assert_eq!(request.body, b"\x00\xff\x80");
}

/// A-18, 7.2: an empty message is a callback with an empty body.
#[test]
fn empty_messages() {
    let backend = receiving().start();
    let ekbo = Ekbo::with(&backend).start();
    let mut alice = Client::connect(&ekbo);
    alice.send(&Frame::text(""));
    alice.send(&Frame::binary(""));
    alice.send(&Frame::text("").unfinished());
    alice.send(&Frame::continuation(""));
    let requests = backend.wait_for("/receive", 3);
    let types = requests.iter().map(|one| one.header("Content-Type").unwrap());
    let types: Vec<&str> = types.collect();
    assert_eq!(types, ["text/plain", "application/octet-stream", "text/plain"]);
    for request in &requests {
        assert_eq!(request.header("Content-Length"), Some("0"));
        assert_eq!(request.text(), "");
    }
}

/// A-18, 7.2, 7.1: the fragments of a message are one callback; a ping between them is
/// answered before the message is complete.
#[test]
fn a_fragmented_message_is_one_callback() {
    let backend = receiving().start();
    let ekbo = Ekbo::with(&backend).start();
    let mut alice = Client::connect(&ekbo);
    alice.send(&Frame::text("one ").unfinished());
    alice.send(&Frame::continuation("two ").unfinished());
    alice.send(&Frame::ping("between"));
    alice.expect_pong("between");
    assert_eq!(backend.requests("/receive").len(), 0);
    alice.send(&Frame::continuation("").unfinished());
    alice.send(&Frame::continuation("three"));
    alice.send(&Frame::text("another"));
    assert_eq!(texts(&backend.wait_for("/receive", 2)), ["one two three", "another"]);
}

/// 7.2: a large message arrives whole.
#[test]
fn a_large_message() {
    let backend = receiving().start();
    let ekbo = Ekbo::with(&backend).start();
    let mut alice = Client::connect(&ekbo);
    let message: Vec<u8> = (0..3_000_000_u32).map(|n| n.to_le_bytes()[n as usize % 3]).collect();
    alice.send(&Frame::binary(&message));
    let request = backend.wait_for_first("/receive");
    assert_eq!(request.header("Content-Length"), Some("3000000"));
    assert!(request.body == message, "another body");
}

/// Q30, 7.2: a client that dies within a message causes no callback for it.
#[test]
fn a_message_cut_off_is_not_told() {
    let backend = receiving().start();
    let ekbo = Ekbo::with(&backend).start();
    let mut alice = Client::connect(&ekbo);
    alice.send(&Frame::text("first fragment").unfinished());
    let cut_off = Frame::continuation("x".repeat(100_000)).to_bytes();
    alice.write(&cut_off[..50_000]);
    drop(alice);
    backend.wait_for_first("/close");
    assert_eq!(backend.requests("/receive").len(), 0);
}

/// Line 12: without a receive URL messages are read and thrown away.
#[test]
fn without_a_receive_callback() {
    let backend = Backend::admitting("alice").start();
    let ekbo = Ekbo::with(&backend).start();
    let mut alice = Client::connect(&ekbo);
    alice.send(&Frame::text("nobody listens"));
    alice.send(&Frame::binary("x".repeat(1_000_000)));
    alice.send(&Frame::text("in ").unfinished());
    alice.send(&Frame::continuation("fragments"));
    alice.expect_to_be_read();
    ekbo.send(["alice"], "still here").assert_accepted();
    alice.expect_text("still here");
    alice.leave(1000);
}

/// 5.6: the URL is used as it is configured, its query string included.
#[test]
fn the_query_of_the_url_is_kept() {
    let backend = receiving().start();
    let ekbo = Ekbo::with(&backend)
        .set("callback.receive", &format!("{}?a=b&c=%20", backend.url("/receive")))
        .start();
    let mut alice = Client::to(&ekbo).query("client=1").connect();
    alice.send(&Frame::text("hello"));
    let request = backend.wait_for_first("/receive");
    assert_eq!(request.query(), Some("a=b&c=%20"));
}

/// KB-CON-10, Q18, 7.2: `proxy_set_header` is applied, but takes no header of the protocol away
/// and gives none another value; D15: but for the endpoint.
#[test]
fn proxy_set_header_is_applied() {
    let backend = receiving().start();
    let ekbo = Ekbo::with(&backend)
        .set(
            "proxy_set_header",
            "{X-Foo: Foo, X-Kuiperbelt-Session: '', Content-Type: text/html, \
             x-kuiperbelt-endpoint: elsewhere}",
        )
        .start();
    let mut alice = Client::connect(&ekbo);
    alice.send(&Frame::text("hello"));
    let request = backend.wait_for_first("/receive");
    assert_eq!(request.header("X-Foo"), Some("Foo"));
    assert_eq!(request.session(), Some("alice"));
    assert_eq!(request.header("Content-Type"), Some("text/plain"));
    assert_eq!(request.header("X-Kuiperbelt-Endpoint"), Some("elsewhere"));
}

/// 7.2: nothing of a 200 answer goes back to the client.
#[test]
fn the_answer_is_not_sent_to_the_client() {
    let answer = Answer::admit("somebody else").body("for nobody");
    let backend = Backend::admitting("alice").on("/receive", answer).start();
    let ekbo = Ekbo::with(&backend).start();
    let mut alice = Client::connect(&ekbo);
    alice.send(&Frame::text("one"));
    alice.send(&Frame::text("two"));
    backend.wait_for("/receive", 2);
    ekbo.send(["alice"], "the next").assert_accepted();
    alice.expect_text("the next");
}

/// Line 14, A-19, Q35, 7.2: whatever the backend answers, the connection stays, the message
/// is lost, and a line in the log tells of it; there is no second attempt.
#[test]
fn a_failed_callback_keeps_the_connection() {
    let endless = Gate::new();
    let failures = [
        Answer::status(401),
        Answer::status(500).body("broken"),
        Answer::status(201),
        Answer::status(204),
        Answer::hang_up(),
        Answer::raw("this is not HTTP\r\n\r\n"),
        Answer::ok().held_by(&endless),
        Answer::ok().body("half").then_wait_for(&endless).body("the rest"),
    ];
    for failure in failures {
        let told = format!("{failure:?}");
        let backend = receiving()
            .on_request("/receive", move |request| match request.text() {
                "lost" => failure.clone(),
                _ => Answer::ok(),
            })
            .start();
        let ekbo = Ekbo::with(&backend).set("callback.timeout", "300ms").start();
        let mut alice = Client::connect(&ekbo);
        alice.send(&Frame::text("lost"));
        alice.send(&Frame::text("the next"));
        let requests = backend.wait_for("/receive", 2);
        assert_eq!(texts(&requests), ["lost", "the next"], "{told}");
        ekbo.wait_for_log("receive callback failed");
        let stats = ekbo.stats();
        let counted = (stats.connect_errors, stats.message_errors);
        assert_eq!(counted, (0, 0), "{told}");
    }
}

/// A-18, 7.2, D10: the messages of a session are told one at a time and in order, however
/// slow the backend is; a ping behind the one in flight is answered.
#[test]
fn one_message_at_a_time() {
    let gate = Gate::new();
    let backend = receiving().on("/receive", Answer::ok().held_by(&gate)).start();
    let ekbo = Ekbo::with(&backend).start();
    let mut alice = Client::connect(&ekbo);
    alice.send(&Frame::text("0"));
    gate.wait_until_reached_by(1);
    alice.expect_to_be_read();
    for number in 1..20 {
        alice.send(&Frame::text(number.to_string()));
    }
    gate.open();
    let expected: Vec<String> = (0..20).map(|number| number.to_string()).collect();
    assert_eq!(texts(&backend.wait_for("/receive", 20)), expected);
}

/// 7.2: each message waits for the answer to the one before, not just for the first.
#[test]
fn every_answer_is_waited_for() {
    let gates: Vec<Gate> = (0..3).map(|_| Gate::new()).collect();
    let held = gates.clone();
    let backend = receiving()
        .on_request("/receive", move |request| {
            let number: usize = request.text().parse().unwrap();
            Answer::ok().held_by(&held[number])
        })
        .start();
    let ekbo = Ekbo::with(&backend).start();
    let mut alice = Client::connect(&ekbo);
    for number in ["0", "1", "2"] {
        alice.send(&Frame::text(number));
    }
    for (number, gate) in gates.iter().enumerate() {
        gate.wait_until_reached_by(1);
        assert_eq!(backend.requests("/receive").len(), number + 1);
        gate.open();
    }
}

/// 7.2: sessions do not wait for one another; nor does `/send` for a session whose message is
/// with the backend.
#[test]
fn sessions_do_not_wait_for_one_another() {
    let gate = Gate::new();
    let held = gate.clone();
    let backend = Backend::admitting_by_query()
        .on_request("/receive", move |request| match request.session() {
            Some("alice") => Answer::ok().held_by(&held),
            _ => Answer::ok(),
        })
        .start();
    let ekbo = Ekbo::with(&backend).start();
    let mut alice = Client::connect_as(&ekbo, "alice");
    let mut bob = Client::connect_as(&ekbo, "bob");
    alice.send(&Frame::text("slow"));
    gate.wait_until_reached_by(1);
    bob.send(&Frame::text("one"));
    bob.send(&Frame::text("two"));
    assert_eq!(texts(&backend.wait_for("/receive", 3)), ["slow", "one", "two"]);
    ekbo.send(["alice"], "meanwhile").assert_accepted();
    alice.expect_text("meanwhile");
    assert!(!gate.is_open());
}

/// D10, 8 row 1: a close frame behind a message in flight is answered at once; the key is
/// unknown at once, and the close callback follows the answer.
#[test]
fn a_close_behind_a_message_in_flight() {
    let gate = Gate::new();
    let backend = receiving().on("/receive", Answer::ok().held_by(&gate)).start();
    let ekbo = Ekbo::with(&backend).start();
    let mut alice = Client::connect(&ekbo);
    alice.send(&Frame::text("in flight"));
    gate.wait_until_reached_by(1);
    alice.leave(4000);
    ekbo.wait_until_unknown("alice");
    assert_eq!(backend.requests("/close").len(), 0);
    gate.open();
    let told = backend.wait_for_first("/close");
    assert_eq!(told.close_code(), Some(4000));
}

/// D10, 8 row 2: a client that vanishes behind a message in flight is unknown at once; the
/// close callback follows the answer.
#[test]
fn a_client_that_vanishes_behind_a_message_in_flight() {
    for is_reset in [false, true] {
        let gate = Gate::new();
        let backend = receiving().on("/receive", Answer::ok().held_by(&gate)).start();
        let ekbo = Ekbo::with(&backend).start();
        let mut alice = Client::connect(&ekbo);
        alice.send(&Frame::text("in flight"));
        gate.wait_until_reached_by(1);
        if is_reset {
            alice.reset();
        } else {
            drop(alice);
        }
        ekbo.wait_until_unknown("alice");
        assert_eq!(backend.requests("/close").len(), 0);
        gate.open();
        let told = backend.wait_for_first("/close");
        assert_eq!(told.close_code(), Some(1006));
    }
}

/// D10: a connection that is lost behind so many messages that they cannot all be held is
/// noticed all the same.
#[test]
fn a_client_that_vanishes_behind_many_messages() {
    let gate = Gate::new();
    let backend = receiving().on("/receive", Answer::ok().held_by(&gate)).start();
    let ekbo = Ekbo::with(&backend).start();
    let mut alice = Client::connect(&ekbo);
    alice.send(&Frame::text("in flight"));
    gate.wait_until_reached_by(1);
    for number in 0..10 {
        alice.send(&Frame::text(format!("{number}").repeat(20_000)));
    }
    alice.reset();
    ekbo.wait_until_unknown("alice");
    assert_eq!(backend.requests("/close").len(), 0);
    gate.open();
    backend.wait_for_first("/close");
    assert_eq!(backend.all_requests().last().unwrap().path(), "/close");
}

/// D10, 7.2: messages that arrived before the client closed reach the backend before the close
/// callback.
#[test]
fn messages_before_a_close_are_told_before_it() {
    let gate = Gate::new();
    let backend = receiving().on("/receive", Answer::ok().held_by(&gate)).start();
    let ekbo = Ekbo::with(&backend).start();
    let mut alice = Client::connect(&ekbo);
    alice.send(&Frame::text("one"));
    alice.send(&Frame::text("two"));
    alice.send(&Frame::close(1000, ""));
    gate.wait_until_reached_by(1);
    gate.open();
    backend.wait_for_first("/close");
    let paths: Vec<String> =
        backend.all_requests().iter().map(|request| request.path().to_owned()).collect();
    assert_eq!(paths, ["/connect", "/receive", "/receive", "/close"]);
    alice.expect_close(1000, "");
    alice.expect_end();
}

/// D10, KB-CLS-2: `/close` ends a session whose message is with the backend at once.
#[test]
fn a_message_in_flight_does_not_hold_up_close() {
    let gate = Gate::new();
    let backend = receiving().on("/receive", Answer::ok().held_by(&gate)).start();
    let ekbo = Ekbo::with(&backend).start();
    let mut alice = Client::connect(&ekbo);
    alice.send(&Frame::text("in flight"));
    gate.wait_until_reached_by(1);
    ekbo.close(["alice"], "bye").assert_accepted();
    alice.expect_text("bye");
    alice.expect_farewell(1000, "");
    eventually("alice is gone", || ekbo.send(["alice"], "?").text().contains(NOT_FOUND));
    assert!(!gate.is_open());
}

/// 7.2, section 12: the time-out of a callback is for the whole answer.
#[test]
fn a_slow_answer_within_the_time_out_counts() {
    let backend = receiving()
        .on_request("/receive", |_| {
            let_pass(Duration::from_millis(300));
            Answer::ok()
        })
        .start();
    let ekbo = Ekbo::with(&backend).set("callback.timeout", "5s").start();
    let mut alice = Client::connect(&ekbo);
    alice.send(&Frame::text("slow"));
    alice.send(&Frame::text("the next"));
    backend.wait_for("/receive", 2);
    assert!(!ekbo.log_contains("receive callback failed"));
    drop(alice);
}

/// Section 12: a receive callback does not suffer from a backend that has closed the pooled
/// connection. (One that closes it while the callback is on its way may have taken it: then it
/// is not sent again.)
#[test]
fn a_backend_that_closes_its_idle_connections() {
    let backend = receiving().on("/receive", Answer::ok().then_hang_up()).start();
    let ekbo = Ekbo::with(&backend).start();
    let mut alice = Client::connect(&ekbo);
    let idle = ekbo.open_files();
    for number in 1..=20 {
        alice.send(&Frame::text(number.to_string()));
        let requests = backend.wait_for("/receive", number);
        assert_eq!(requests.last().unwrap().text(), number.to_string());
        eventually("the connection to be closed here as well", || ekbo.open_files() < idle);
    }
    assert!(!ekbo.log_contains("receive callback failed"));
}

/// 8 row 2: half an end is an end: a client that has finished sending is gone.
#[test]
fn a_client_that_has_finished_sending() {
    let backend = receiving().start();
    let ekbo = Ekbo::with(&backend).start();
    let mut alice = Client::connect(&ekbo);
    alice.send(&Frame::text("last"));
    alice.finish_sending();
    assert_eq!(backend.wait_for_first("/receive").text(), "last");
    backend.wait_for_first("/close");
    assert_eq!(alice.receive(), Received::End(End::Eof));
}

/// D10: a client that never stops sending, with a message held behind one in flight, keeps nobody
/// else waiting, and has its pings answered when the callback is.
#[test]
fn a_flood_behind_a_message_in_flight() {
    let gate = Gate::new();
    let backend = Backend::admitting_by_query().on("/receive", Answer::ok().held_by(&gate)).start();
    let ekbo = Ekbo::with(&backend).start();
    let mut flooding = Client::connect_as(&ekbo, "flooding");
    let mut bob = Client::connect_as(&ekbo, "bob");
    flooding.send(&Frame::text("in flight"));
    flooding.send(&Frame::text("held"));
    gate.wait_until_reached_by(1);
    let mut writer = flooding.writer();
    let flood = thread::spawn(move || {
        let pings = Frame::ping("").to_bytes().repeat(5000);
        while writer.write_all(&pings).is_ok() {}
    });
    gate.open();
    backend.wait_for("/receive", 2);
    for number in 0..20 {
        bob.send(&Frame::ping(number.to_string()));
        bob.expect_pong(&number.to_string());
        assert_eq!(ekbo.get("/ping").status, 200);
    }
    flooding.expect_pong("");
    ekbo.close(["flooding"], "enough").assert_accepted();
    bob.send(&Frame::ping("still here"));
    bob.expect_pong("still here");
    drop(flooding);
    flood.join().unwrap();
}

/// 7.2: the socket of a client that has gone is given back at once, however long the callback of
/// its message takes.
#[test]
fn a_client_that_has_gone_holds_no_socket() {
    let gate = Gate::new();
    let backend = receiving().on("/receive", Answer::ok().held_by(&gate)).start();
    let ekbo = Ekbo::with(&backend).start();
    let mut alice = Client::connect(&ekbo);
    alice.send(&Frame::text("in flight"));
    gate.wait_until_reached_by(1);
    let before = ekbo.open_files();
    drop(alice);
    eventually("the socket to be closed", || ekbo.open_files() < before);
    assert!(!gate.is_open());
    gate.open();
    backend.wait_for_first("/close");
}

/// A backend that takes messages.
fn receiving() -> BackendPlan {
    Backend::admitting("alice").on("/receive", Answer::ok())
}

fn texts(requests: &[Request]) -> Vec<&str> {
    requests.iter().map(Request::text).collect()
}

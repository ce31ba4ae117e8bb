//! The first message and the establish callback: what comes when, and what becomes of a
//! session whose establish callback fails.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::thread;
use std::time::Duration;

use super::answers::{NOT_FOUND, TIMED_OUT};
use super::harness::{
    Answer, Backend, BackendPlan, Client, Ekbo, Frame, Gate, Listener, Received, Signal, Stopwatch,
};

const OK: &str = r#"{"result":"OK"}"#;

/// 5.4: the first message is text, or binary by its Content-Type, and counted.
#[test]
fn the_first_message_has_its_type() {
    for (content_type, binary) in [
        (None, false),
        (Some("text/plain"), false),
        (Some("application/json"), false),
        (Some("application/octet-stream"), true),
        (Some("APPLICATION/octet-stream ;param=foobar"), true),
        (Some("application/octet-streams"), false),
    ] {
        let answer = Answer::admit("alice").body("hello\n");
        let answer = match content_type {
            Some(content_type) => answer.header("Content-Type", content_type),
            None => answer,
        };
        let backend = Backend::plan().on("/connect", answer).start();
        let ekbo = Ekbo::with(&backend).start();
        let mut alice = Client::connect(&ekbo);
        if binary {
            alice.expect_binary("hello\n");
        } else {
            alice.expect_text("hello\n");
        }
        assert_eq!(ekbo.stats().total_messages, 1);
    }
}

/// 5.4: an empty body is no message.
#[test]
fn an_empty_body_is_no_message() {
    let backend = Backend::admitting("alice").start();
    let ekbo = Ekbo::with(&backend).start();
    let mut alice = Client::connect(&ekbo);
    ekbo.send(["alice"], "first");
    alice.expect_text("first");
    assert_eq!(ekbo.stats().total_messages, 1);
}

/// 5.4, A-15: the first message comes before whatever is sent at the same time.
#[test]
fn the_first_message_comes_before_a_concurrent_send() {
    let backend = Backend::plan()
        .on_request("/connect", |request| Answer::admit(request.query().unwrap()).body("first"))
        .start();
    let ekbo = Ekbo::with(&backend).start();
    for number in 0..20 {
        let key = format!("session-{number}");
        let done = AtomicBool::new(false);
        thread::scope(|scope| {
            scope.spawn(|| {
                while !done.load(Ordering::Relaxed) {
                    ekbo.send([&key], "later");
                }
            });
            let mut client = Client::connect_as(&ekbo, &key);
            let received = [client.receive(), client.receive()];
            done.store(true, Ordering::Relaxed);
            let text = |text: &str| Received::Text(text.to_owned());
            assert_eq!(received, [text("first"), text("later")]);
        });
    }
}

/// 5.6: the establish callback is an empty POST with the key, to the URL as it is configured,
/// with nothing of the client's.
#[test]
fn the_establish_callback_names_the_session() {
    let backend = asking(Answer::ok().body("ignored")).start();
    let url = backend.url("/establish") + "?token=1&x";
    let ekbo = Ekbo::with(&backend)
        .set("callback.establish", &url)
        .set("endpoint", "gateway.example")
        .set("proxy_set_header.X-Foo", "Foo")
        .start();
    let mut alice = Client::to(&ekbo)
        .query("client=1")
        .header("Cookie", "a=b")
        .header("X-Custom", "custom")
        .header("X-Foo", "theirs")
        .connect();
    alice.expect_text("hello");
    let establish = backend.wait_for_first("/establish");
    assert_eq!((&*establish.method, &*establish.target), ("POST", "/establish?token=1&x"));
    assert_eq!(establish.session(), Some("alice"));
    assert_eq!(establish.header("X-Kuiperbelt-Endpoint"), Some("gateway.example"));
    assert_eq!(establish.header("Content-Length"), Some("0"));
    assert_eq!(establish.header("X-Foo"), Some("Foo"));
    assert!(!establish.has_header("Cookie") && !establish.has_header("X-Custom"));
    assert_eq!(establish.body, b"");
    // The body of the answer goes nowhere.
    ekbo.send(["alice"], "next");
    alice.expect_text("next");
}

/// Line 21: establish is called before the first message, which finds the key addressable;
/// the connect callback saw the client's header and the endpoint.
#[test]
fn establish_comes_before_the_first_message() {
    let backend = asking(Answer::ok()).start();
    let ekbo = Ekbo::with(&backend).set("endpoint", "localhost").start();
    let mut alice = Client::to(&ekbo).header("X-Custom", "custom").connect();
    alice.expect_text("hello");
    assert_eq!(backend.requests("/establish").len(), 1);
    assert_eq!(ekbo.send(["alice"], "found").text(), OK);
    alice.expect_text("found");
    let connect = backend.wait_for_first("/connect");
    assert_eq!(connect.header("X-Custom"), Some("custom"));
    assert_eq!(connect.header("X-Kuiperbelt-Endpoint"), Some("localhost"));
}

/// 5.6: the 101 does not wait for the establish callback, the first message does.
#[test]
fn the_101_does_not_wait_for_establish() {
    let gate = Gate::new();
    let backend = asking(Answer::ok().held_by(&gate)).start();
    let ekbo = Ekbo::with(&backend).start();
    let mut alice = Client::connect(&ekbo);
    gate.wait_until_reached_by(1);
    assert_eq!(ekbo.stats().connections, 1);
    gate.open();
    alice.expect_text("hello");
}

/// D1: the key is found while its establish callback is out; what is sent then waits, without
/// blocking the sender, and comes after the first message. Whatever the queue size.
#[test]
fn a_session_is_routable_before_establish_is_answered() {
    for size in [None, Some("0"), Some("1")] {
        let gate = Gate::new();
        let backend = asking(Answer::ok().held_by(&gate)).start();
        let plan = Ekbo::with(&backend);
        let ekbo = match size {
            Some(size) => plan.set("send_queue_size", size),
            None => plan,
        }
        .start();
        let mut alice = Client::connect(&ekbo);
        gate.wait_until_reached_by(1);
        for number in 0..10 {
            assert_eq!(ekbo.send(["alice"], number.to_string()).text(), OK, "{size:?}");
        }
        gate.open();
        alice.expect_text("hello");
        for number in 0..10 {
            alice.expect_text(&number.to_string());
        }
    }
}

/// D1: the backend can send from within its establish handler.
#[test]
fn the_backend_can_send_from_within_its_handler() {
    let listener = Arc::new(OnceLock::<Listener>::new());
    let to_ekbo = listener.clone();
    let backend = Backend::plan()
        .on("/connect", Answer::admit("alice").body("hello"))
        .on_request("/establish", move |request| {
            let send = to_ekbo.get().unwrap().request("POST", "/send");
            let answer = send.session(request.session().unwrap()).body("from within").send();
            if answer.text() == OK { Answer::ok() } else { Answer::status(500) }
        })
        .start();
    let ekbo = Ekbo::with(&backend).start();
    listener.set(ekbo.listener().clone()).unwrap();
    let mut alice = Client::connect(&ekbo);
    alice.expect_text("hello");
    alice.expect_text("from within");
}

/// D13: until establish is answered, what exceeds the bytes of the queue waits for room, up to
/// `send_timeout`; an empty queue takes one message, however large.
#[test]
fn the_queue_before_establish_is_bounded_in_bytes() {
    let gate = Gate::new();
    let backend = Backend::admitting("alice").on("/establish", Answer::ok().held_by(&gate)).start();
    let ekbo = Ekbo::with(&backend)
        .set("outbox.bytes", "1000")
        .set("send_timeout", "300ms")
        .set("send_queue_size", "0")
        .start();
    let mut alice = Client::connect(&ekbo);
    gate.wait_until_reached_by(1);
    let large = "x".repeat(2000);
    assert_eq!(ekbo.send(["alice"], &large).text(), OK);
    // One of these may fit behind it, two cannot.
    let accepted = usize::from(ekbo.send(["alice"], "y".repeat(600)).text() == OK);
    let started = Stopwatch::start();
    let refused = ekbo.send(["alice"], "z".repeat(600));
    assert!(started.elapsed() >= Duration::from_millis(300));
    refused.assert_failed_for([(TIMED_OUT, "alice")]);
    gate.open();
    alice.expect_text(&large);
    for _ in 0..accepted {
        alice.expect_text(&"y".repeat(600));
    }
    ekbo.send(["alice"], "next");
    alice.expect_text("next");
}

/// Line 22, D1, D2, D7: when establish fails, the client is closed with 1011 and without
/// any message, the key disappears, and one close callback tells why.
#[test]
fn a_refused_establish_ends_the_session() {
    for status in [500, 403, 404, 201, 204, 302] {
        let gate = Gate::new();
        let backend = asking(Answer::status(status).held_by(&gate)).start();
        let ekbo = Ekbo::with(&backend).start();
        let mut alice = Client::connect(&ekbo);
        gate.wait_until_reached_by(1);
        assert_eq!(ekbo.send(["alice"], "dropped").text(), OK);
        gate.open();
        alice.expect_close(1011, "establish failed");
        alice.send(&Frame::close(1011, ""));
        alice.expect_end();
        let close = backend.wait_for_first("/close");
        assert_eq!(close.session(), Some("alice"));
        assert_eq!(close.header("X-Kuiperbelt-Close-Code"), Some("1011"));
        assert_eq!(close.header("X-Kuiperbelt-Close-Reason"), Some("establish%20failed"));
        ekbo.send(["alice"], "").assert_failed_for([(NOT_FOUND, "alice")]);
        assert_eq!(ekbo.stats().connect_errors, 1);
        assert_eq!(ekbo.wait_for_log("establish error after upgrade").level, "error");
        expect_closes_at_stop(ekbo, &backend, 1);
    }
}

/// 5.6: an establish callback that is not answered in time has failed.
#[test]
fn an_unanswered_establish_has_failed() {
    let never = Gate::new();
    let backend = asking(Answer::ok().held_by(&never)).start();
    let ekbo = Ekbo::with(&backend).set("callback.timeout", "300ms").start();
    let mut alice = Client::connect(&ekbo);
    alice.expect_close(1011, "establish failed");
    assert_eq!(backend.wait_for_first("/close").header("X-Kuiperbelt-Close-Code"), Some("1011"));
    assert_eq!(ekbo.stats().connect_errors, 1);
}

/// 5.6: a backend that hangs up on the establish callback has refused.
#[test]
fn a_broken_establish_has_failed() {
    let backend = asking(Answer::hang_up()).start();
    let ekbo = Ekbo::with(&backend).start();
    let mut alice = Client::connect(&ekbo);
    alice.expect_close(1011, "establish failed");
    backend.wait_for_first("/close");
    assert_eq!(ekbo.stats().connect_errors, 1);
}

/// Line 22, D2: with `close_frame: false` a refused establish is the end of the connection
/// and no more.
#[test]
fn without_close_frames_the_connection_just_ends() {
    let backend = asking(Answer::status(500)).start();
    let ekbo = Ekbo::with(&backend).set("close_frame", "false").start();
    let mut alice = Client::connect(&ekbo);
    alice.expect_end();
    backend.wait_for_first("/close");
}

/// D9: `/close` while establish is out is accepted, and ends the session as soon as it is
/// answered, after the first message; no close callback comes.
#[test]
fn a_session_can_be_closed_before_establish_is_answered() {
    let gate = Gate::new();
    let backend = asking(Answer::ok().held_by(&gate)).start();
    let ekbo = Ekbo::with(&backend).start();
    let mut alice = Client::connect(&ekbo);
    gate.wait_until_reached_by(1);
    assert_eq!(ekbo.send(["alice"], "queued").text(), OK);
    assert_eq!(ekbo.close(["alice"], "bye").text(), OK);
    assert!(!ekbo.send(["alice"], "too late").text().eq(OK));
    gate.open();
    alice.expect_text("hello");
    alice.expect_text("queued");
    alice.expect_text("bye");
    alice.expect_close(1000, "");
    expect_closes_at_stop(ekbo, &backend, 0);
}

/// D9, D7: also when establish is refused then, no close callback follows an answered `/close`.
#[test]
fn a_refused_establish_after_close_is_silent() {
    let gate = Gate::new();
    let backend = asking(Answer::status(500).held_by(&gate)).start();
    let ekbo = Ekbo::with(&backend).start();
    let mut alice = Client::connect(&ekbo);
    gate.wait_until_reached_by(1);
    assert_eq!(ekbo.close(["alice"], "bye").text(), OK);
    gate.open();
    while !matches!(alice.receive(), Received::Close(_) | Received::End(_)) {}
    ekbo.wait_until_unknown("alice");
    expect_closes_at_stop(ekbo, &backend, 0);
}

/// D7: a client that leaves while its establish callback is out is reported closed once, after
/// that callback.
#[test]
fn a_client_that_leaves_during_establish_is_reported() {
    let gate = Gate::new();
    let backend = asking(Answer::ok().held_by(&gate)).start();
    let ekbo = Ekbo::with(&backend).start();
    let alice = Client::connect(&ekbo);
    gate.wait_until_reached_by(1);
    drop(alice);
    gate.open();
    let close = backend.wait_for_first("/close");
    assert_eq!(close.session(), Some("alice"));
    assert_eq!(close.header("X-Kuiperbelt-Close-Code"), Some("1006"));
    ekbo.wait_until_unknown("alice");
    expect_closes_at_stop(ekbo, &backend, 1);
}

/// 7.2, D1: what the client sends while establish is out reaches the backend afterwards.
#[test]
fn messages_during_establish_come_after_it() {
    let gate = Gate::new();
    let early = Arc::new(AtomicBool::new(false));
    let (opened, came_early) = (gate.clone(), early.clone());
    let backend = asking(Answer::ok().held_by(&gate))
        .on_request("/receive", move |_| {
            came_early.fetch_or(!opened.is_open(), Ordering::Relaxed);
            Answer::ok()
        })
        .start();
    let ekbo = Ekbo::with(&backend).start();
    let mut alice = Client::connect(&ekbo);
    gate.wait_until_reached_by(1);
    alice.send(&Frame::text("one"));
    alice.send(&Frame::text("two"));
    // Time enough for it to go wrong, on a connection that is served meanwhile.
    for _ in 0..50 {
        assert_eq!(ekbo.get("/ping").status, 200);
    }
    gate.open();
    let received = backend.wait_for("/receive", 2);
    assert_eq!([received[0].text(), received[1].text()], ["one", "two"]);
    assert!(!early.load(Ordering::Relaxed), "a receive callback overtook establish");
}

/// A backend that admits with a first message and answers the establish callback so.
fn asking(establish: Answer) -> BackendPlan {
    Backend::admitting("alice")
        .on("/connect", Answer::admit("alice").body("hello"))
        .on("/establish", establish)
}

/// Stops the server, which waits for its close callbacks, and checks how many there have been.
#[track_caller]
fn expect_closes_at_stop(mut ekbo: Ekbo, backend: &Backend, count: usize) {
    ekbo.signal(Signal::Term);
    assert_eq!(ekbo.wait_exit().code(), Some(0));
    assert_eq!(backend.requests("/close").len(), count);
}

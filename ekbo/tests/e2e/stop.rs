//! The graceful stop: what SIGTERM and SIGINT set going, in which order, and how long it may
//! take.

use std::net::TcpStream;
use std::os::unix::process::ExitStatusExt;
use std::time::Duration;

use super::harness::{
    Answer, Backend, Client, Ekbo, End, Frame, Gate, Http, PATIENCE, Signal, Stopwatch, eventually,
    let_pass,
};

/// KB-STP-1, KB-STP-2, D2, 8 row 7: each session gets Close 1001, without an empty message
/// before it, and its close callback; the process ends with 0 when that is answered.
#[test]
fn sigterm() {
    stops_on(Signal::Term, "received SIGTERM. shutting down...");
}

/// D7, KB-STP-1: a client that has left while its connect callback is out is waited for, and if
/// the backend admits it, its end is told.
#[test]
fn a_connect_in_flight_whose_client_has_left() {
    let gate = Gate::new();
    let backend = Backend::admitting("alice").start();
    backend.on("/connect", Answer::admit("alice").held_by(&gate));
    let mut ekbo = Ekbo::with(&backend).start();
    let alice = Client::to(&ekbo).start();
    gate.wait_until_reached_by(1);
    alice.give_up();
    ekbo.signal(Signal::Term);
    ekbo.wait_for_log("shutting down");
    gate.open();
    assert_eq!(backend.wait_for_first("/close").session(), Some("alice"));
    assert_eq!(ekbo.wait_exit().code(), Some(0));
}

/// Section 11: an answer that is on its way is written to its end, to a slow reader as well.
#[test]
fn an_answer_on_its_way() {
    let body = "x".repeat(8 << 20);
    let backend = Backend::plan().on("/connect", Answer::status(401).body(&body)).start();
    let mut ekbo = Ekbo::with(&backend).start();
    let mut refused = Client::to(&ekbo).start();
    backend.wait_for_first("/connect");
    refused.wait_for_bytes();
    ekbo.signal(Signal::Term);
    ekbo.wait_for_log("shutting down");
    // Longer than half a request is waited for.
    let_pass(Duration::from_secs(1));
    assert_eq!(refused.refused().text().len(), body.len());
    assert_eq!(ekbo.wait_exit().code(), Some(0));
}

/// Section 11: half a request, or none, holds up no stop.
#[test]
fn half_a_request() {
    let mut ekbo = Ekbo::alone().start();
    let _silent = ekbo.http();
    let mut half = ekbo.http();
    half.write("GET /ping HTTP/1.1\r\nHo");
    assert_eq!(ekbo.get("/ping").status, 200);
    let since_signal = Stopwatch::start();
    ekbo.signal(Signal::Term);
    assert_eq!(ekbo.wait_exit().code(), Some(0));
    let took = since_signal.elapsed();
    assert!(took < Duration::from_secs(5), "{took:?}");
}

/// Section 11: so it is with SIGINT.
#[test]
fn sigint() {
    stops_on(Signal::Interrupt, "received SIGINT. shutting down...");
}

#[track_caller]
fn stops_on(signal: Signal, message: &str) {
    let gate = Gate::new();
    let backend = Backend::admitting("alice").on("/close", Answer::ok().held_by(&gate)).start();
    let mut ekbo = Ekbo::with(&backend).start();
    let mut alice = Client::connect(&ekbo);
    ekbo.signal(signal);
    alice.expect_farewell(1001, "going away");
    ekbo.wait_for_log(message);
    let told = backend.wait_for_first("/close");
    assert_eq!(told.session(), Some("alice"));
    assert_eq!(told.close_code(), Some(1001));
    assert_eq!(told.close_reason(), "going away");
    gate.open();
    assert_eq!(ekbo.wait_exit().code(), Some(0));
}

/// Section 11: without sessions it ends at once.
#[test]
fn nobody_is_connected() {
    let mut ekbo = Ekbo::alone().start();
    let since_signal = Stopwatch::start();
    ekbo.signal(Signal::Term);
    assert_eq!(ekbo.wait_exit().code(), Some(0));
    let took = since_signal.elapsed();
    assert!(took < PATIENCE / 4, "{took:?}");
}

/// KB-STP-1, Q6, F-6: a hundred sessions and a backend that takes 500 ms for each close
/// callback: a hundred callbacks, and exit 0 within ten seconds.
#[test]
fn a_hundred_sessions() {
    let backend = Backend::admitting_by_query()
        .on_request("/close", |_| {
            let_pass(Duration::from_millis(500));
            Answer::ok()
        })
        .start();
    let mut ekbo = Ekbo::with(&backend).start();
    let mut clients: Vec<Client> =
        (0..100).map(|number| Client::connect_as(&ekbo, &format!("key-{number}"))).collect();
    let since_signal = Stopwatch::start();
    ekbo.signal(Signal::Term);
    for client in &mut clients {
        client.expect_close(1001, "going away");
        client.send(&Frame::close(1001, ""));
    }
    assert_eq!(ekbo.wait_exit().code(), Some(0));
    let took = since_signal.elapsed();
    assert!(took < PATIENCE, "{took:?}");
    let mut keys: Vec<String> = backend
        .requests("/close")
        .iter()
        .map(|request| request.session().unwrap().to_owned())
        .collect();
    keys.sort();
    keys.dedup();
    assert_eq!(keys.len(), 100);
    assert_eq!(backend.requests("/close").len(), 100);
    for client in &mut clients {
        client.expect_end();
    }
}

/// KB-STP-1: what is queued is written before the close frame.
#[test]
fn queues_are_flushed() {
    let backend = Backend::admitting("alice").start();
    let mut ekbo = Ekbo::with(&backend).start();
    let mut alice = Client::connect(&ekbo);
    alice.stall(&ekbo, "alice");
    for number in 0..100 {
        ekbo.send(["alice"], number.to_string()).assert_accepted();
    }
    ekbo.signal(Signal::Term);
    ekbo.wait_for_log("received SIGTERM");
    alice.resume();
    for number in 0..100 {
        alice.expect_text(&number.to_string());
    }
    alice.expect_farewell(1001, "going away");
    backend.wait_for_first("/close");
    assert_eq!(ekbo.wait_exit().code(), Some(0));
}

/// D2, Q15: with `close_frame: false` the sessions get the bare end of TCP, and no empty message.
#[test]
fn without_a_close_frame() {
    let backend = Backend::admitting("alice").start();
    let mut ekbo = Ekbo::with(&backend).set("close_frame", "false").start();
    let mut alice = Client::connect(&ekbo);
    ekbo.signal(Signal::Term);
    alice.expect_end();
    backend.wait_for_first("/close");
    assert_eq!(ekbo.wait_exit().code(), Some(0));
}

/// Section 11 step 1: nobody is let in any more, and connections that are kept alive are ended.
#[test]
fn nobody_is_let_in() {
    let gate = Gate::new();
    let backend = Backend::admitting("alice").on("/close", Answer::ok().held_by(&gate)).start();
    let mut ekbo = Ekbo::with(&backend).start();
    let _alice = Client::connect(&ekbo);
    let mut kept = ekbo.http();
    let ping = format!("GET /ping HTTP/1.1\r\nHost: {}\r\n\r\n", ekbo.host());
    assert_eq!(kept.exchange(&ping).status, 200);
    ekbo.signal(Signal::Term);
    assert_eq!(kept.read_end(), End::Eof);
    let address = ekbo.address();
    eventually("the port is closed", || TcpStream::connect(address).is_err());
    backend.wait_for_first("/close");
    gate.open();
    assert_eq!(ekbo.wait_exit().code(), Some(0));
}

/// Section 11 step 1: a connect callback in flight is waited for; sessions keep working
/// meanwhile; then all are closed, the new one included.
#[test]
fn requests_in_flight_are_waited_for() {
    let connect = Gate::new();
    let backend = Backend::admitting("alice").on("/receive", Answer::ok()).start();
    let mut ekbo = Ekbo::with(&backend).start();
    let mut alice = Client::connect(&ekbo);
    backend.on("/connect", Answer::admit("bob").held_by(&connect));
    let pending = Client::to(&ekbo).start();
    connect.wait_until_reached_by(1);
    ekbo.signal(Signal::Term);
    ekbo.wait_for_log("received SIGTERM");
    alice.send(&Frame::text("still working"));
    assert_eq!(backend.wait_for_first("/receive").text(), "still working");
    alice.expect_to_be_read();
    assert_eq!(backend.requests("/close").len(), 0);
    connect.open();
    let mut bob = pending.connect();
    bob.expect_farewell(1001, "going away");
    alice.expect_farewell(1001, "going away");
    backend.wait_for("/close", 2);
    assert_eq!(ekbo.wait_exit().code(), Some(0));
}

/// Section 11 step 1: a `/send` that waits for room is waited for, and its message is delivered.
#[test]
fn a_waiting_send_is_waited_for() {
    let backend = Backend::admitting("alice").start();
    let mut ekbo = Ekbo::with(&backend).set("send_queue_size", "0").start();
    let mut alice = Client::connect(&ekbo);
    alice.stall(&ekbo, "alice");
    let call = ekbo.request("POST", "/send").session("alice");
    let mut waiting: Http = call.body("waiting").start();
    ekbo.wait_for_stats("two messages", |stats| stats.total_messages == 2);
    ekbo.signal(Signal::Term);
    ekbo.wait_for_log("received SIGTERM");
    alice.resume();
    waiting.read().assert_accepted();
    alice.expect_text("waiting");
    alice.expect_farewell(1001, "going away");
    assert_eq!(ekbo.wait_exit().code(), Some(0));
}

/// KB-STP-1: a message that is with the backend is waited for; its session's close callback
/// comes after it.
#[test]
fn a_message_in_flight_is_waited_for() {
    let gate = Gate::new();
    let backend = Backend::admitting("alice").on("/receive", Answer::ok().held_by(&gate)).start();
    let mut ekbo = Ekbo::with(&backend).start();
    let mut alice = Client::connect(&ekbo);
    alice.send(&Frame::text("in flight"));
    gate.wait_until_reached_by(1);
    ekbo.signal(Signal::Term);
    alice.expect_close(1001, "going away");
    alice.send(&Frame::close(1001, ""));
    assert_eq!(backend.requests("/close").len(), 0);
    gate.open();
    backend.wait_for_first("/close");
    assert_eq!(ekbo.wait_exit().code(), Some(0));
}

/// F-7, section 11: a second signal ends the process at once, by that signal.
#[test]
fn a_second_signal_kills() {
    for second in [Signal::Term, Signal::Interrupt] {
        let gate = Gate::new();
        let backend = Backend::admitting("alice").on("/close", Answer::ok().held_by(&gate)).start();
        let mut ekbo = Ekbo::with(&backend).start();
        let mut alice = Client::connect(&ekbo);
        ekbo.signal(Signal::Term);
        alice.expect_farewell(1001, "going away");
        gate.wait_until_reached_by(1);
        let since_signal = Stopwatch::start();
        ekbo.signal(second);
        let status = ekbo.wait_exit();
        assert_eq!(status.signal(), Some(second as i32), "{status:?}");
        let took = since_signal.elapsed();
        assert!(took < PATIENCE / 5, "{took:?}");
    }
}

/// KB-STP-1, `shutdown_timeout`: close callbacks that are not answered hold the end up for so
/// long and no longer; the exit status is 0 all the same.
#[test]
fn a_backend_that_does_not_answer() {
    let gate = Gate::new();
    let backend = Backend::admitting("alice").on("/close", Answer::ok().held_by(&gate)).start();
    let mut ekbo = Ekbo::with(&backend).set("shutdown_timeout", "3s").start();
    let mut alice = Client::connect(&ekbo);
    let since_signal = Stopwatch::start();
    ekbo.signal(Signal::Term);
    alice.expect_farewell(1001, "going away");
    assert_eq!(ekbo.wait_exit().code(), Some(0));
    let took = since_signal.elapsed();
    assert!(took >= Duration::from_millis(2900), "{took:?}");
    assert!(took < Duration::from_secs(6), "{took:?}");
}

/// KB-STP-1: a request in flight that is never answered leaves at least two seconds for the
/// sessions and their close callbacks; the exit status is 0 all the same.
#[test]
fn a_request_in_flight_that_is_never_answered() {
    let never = Gate::new();
    let backend = Backend::admitting("alice")
        .on_request("/close", |_| {
            let_pass(Duration::from_millis(500));
            Answer::ok()
        })
        .start();
    let mut ekbo = Ekbo::with(&backend).set("shutdown_timeout", "4s").start();
    let mut alice = Client::connect(&ekbo);
    backend.on("/connect", Answer::admit("bob").held_by(&never));
    let _pending = Client::to(&ekbo).start();
    never.wait_until_reached_by(1);
    let since_signal = Stopwatch::start();
    ekbo.signal(Signal::Term);
    alice.expect_farewell(1001, "going away");
    backend.wait_for_first("/close");
    let took = since_signal.elapsed();
    assert!(took < Duration::from_millis(3500), "{took:?}");
    assert_eq!(ekbo.wait_exit().code(), Some(0));
    ekbo.wait_for_log("success close callback.");
    let took = since_signal.elapsed();
    assert!(took < Duration::from_secs(6), "{took:?}");
}

/// KB-STP-1: a client that neither reads nor answers holds nobody up for longer than the time
/// there is, and its end is told as well.
#[test]
fn a_client_that_does_not_read() {
    let backend = Backend::admitting_by_query().start();
    let mut ekbo = Ekbo::with(&backend).set("shutdown_timeout", "4s").start();
    let mut stalled = Client::connect_as(&ekbo, "stalled");
    let mut alice = Client::connect_as(&ekbo, "alice");
    stalled.stall(&ekbo, "stalled");
    let since_signal = Stopwatch::start();
    ekbo.signal(Signal::Term);
    alice.expect_farewell(1001, "going away");
    assert_eq!(ekbo.wait_exit().code(), Some(0));
    let took = since_signal.elapsed();
    assert!(took < Duration::from_secs(7), "{took:?}");
    let mut keys: Vec<String> = backend
        .requests("/close")
        .iter()
        .map(|request| request.session().unwrap().to_owned())
        .collect();
    keys.sort();
    assert_eq!(keys, ["alice", "stalled"]);
}

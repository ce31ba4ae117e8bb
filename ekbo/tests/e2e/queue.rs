//! The queue of a session: what has room in it, who waits when there is none and for how long,
//! and in which order it is written.

use std::fmt::Write;
use std::fs;
use std::time::Duration;

use super::answers::{CLOSED, NOT_FOUND, TIMED_OUT};
use super::harness::{
    Answer, Backend, Client, Ekbo, End, Gate, Http, PATIENCE, Received, Response, Stopwatch, Wire,
    eventually, let_pass,
};
use super::manners::MORE_THAN_SOCKETS_HOLD;

/// Line 11, 6.4: with an unbuffered queue `/send` to a session whose writer is busy fails when
/// `send_timeout` is over.
#[test]
fn an_unbuffered_send_times_out() {
    let backend = Backend::admitting("alice").start();
    let ekbo = Ekbo::with(&backend).set("send_queue_size", "0").set("send_timeout", "1s").start();
    let mut alice = Client::connect(&ekbo);
    alice.stall(&ekbo, "alice");
    let since_call = Stopwatch::start();
    ekbo.send(["alice"], "no room").assert_failed_for([(TIMED_OUT, "alice")]);
    let waited = since_call.elapsed();
    assert!(waited >= Duration::from_secs(1), "{waited:?}");
    assert!(waited < PATIENCE / 2, "{waited:?}");
    alice.resume();
    ekbo.send(["alice"], "room again").assert_accepted();
    alice.expect_text("room again");
}

/// Q22, A6, 6.2 row 6, 6.4: with `strict_broadcast` a target that runs out of time makes a 400 of
/// it, although the others have got the message.
#[test]
fn a_strict_send_times_out() {
    let backend = Backend::admitting_by_query().start();
    let ekbo = Ekbo::with(&backend)
        .set("send_queue_size", "0")
        .set("send_timeout", "300ms")
        .set("strict_broadcast", "true")
        .start();
    let mut alice = Client::connect_as(&ekbo, "alice");
    let mut bob = Client::connect_as(&ekbo, "bob");
    alice.stall(&ekbo, "alice");
    ekbo.send(["alice", "bob"], "hello").assert_strictly_failed_for([(TIMED_OUT, "alice")]);
    bob.expect_text("hello");
}

/// A-3, 6.2: the unknown keys are listed before those that could not be delivered to,
/// whatever the order of the request; the others have got it.
#[test]
fn unknown_keys_are_listed_before_failed_ones() {
    let backend = Backend::admitting_by_query().start();
    let ekbo =
        Ekbo::with(&backend).set("send_queue_size", "0").set("send_timeout", "300ms").start();
    let mut alice = Client::connect_as(&ekbo, "alice");
    let mut bob = Client::connect_as(&ekbo, "bob");
    alice.stall(&ekbo, "alice");
    ekbo.send(["alice", "zoe", "bob", "carol"], "hello").assert_failed_for([
        (NOT_FOUND, "zoe"),
        (NOT_FOUND, "carol"),
        (TIMED_OUT, "alice"),
    ]);
    bob.expect_text("hello");
}

/// 6.4: `send_timeout` is for all targets of a call together, not for one after the other.
#[test]
fn the_time_out_is_for_all_targets_together() {
    let backend = Backend::admitting_by_query().start();
    let ekbo = Ekbo::with(&backend).set("send_queue_size", "0").set("send_timeout", "1s").start();
    let keys = ["a", "b", "c", "d", "e"];
    let mut clients = keys.map(|key| Client::connect_as(&ekbo, key));
    for (client, key) in clients.iter_mut().zip(keys) {
        client.stall(&ekbo, key);
    }
    let since_call = Stopwatch::start();
    let answer = ekbo.send(keys, "no room");
    let waited = since_call.elapsed();
    assert!(waited >= Duration::from_secs(1), "{waited:?}");
    assert!(waited < Duration::from_secs(3), "{waited:?}");
    for key in keys {
        let failure = format!(r#"{{"error":"{TIMED_OUT}","session":"{key}"}}"#);
        assert!(answer.text().contains(&failure), "{answer:?}");
    }
}

/// A-14, 6.4: a queue of one takes one message behind the one that is being written.
#[test]
fn a_queue_of_one() {
    takes_behind_the_one_being_written(1);
}

/// A-14, 6.4: a queue of ten takes ten.
#[test]
fn a_queue_of_ten() {
    takes_behind_the_one_being_written(10);
}

/// A-14, 6.4: an unbuffered queue takes none.
#[test]
fn a_queue_of_none() {
    takes_behind_the_one_being_written(0);
}

#[track_caller]
fn takes_behind_the_one_being_written(size: usize) {
    let backend = Backend::admitting("alice").start();
    let ekbo = Ekbo::with(&backend)
        .set("send_queue_size", &size.to_string())
        .set("send_timeout", "500ms")
        .start();
    let mut alice = Client::connect(&ekbo);
    alice.stall(&ekbo, "alice");
    for number in 0..size {
        ekbo.send(["alice"], format!("message {number}")).assert_accepted();
    }
    ekbo.send(["alice"], "one too many").assert_failed_for([(TIMED_OUT, "alice")]);
    alice.resume();
    for number in 0..size {
        alice.expect_text(&format!("message {number}"));
    }
    ekbo.send(["alice"], "after it").assert_accepted();
    alice.expect_text("after it");
}

/// D11, 6.4: a given `send_queue_size` counts messages only, however large they are.
#[test]
fn a_given_queue_size_counts_no_bytes() {
    let backend = Backend::admitting("alice").start();
    let ekbo = Ekbo::with(&backend)
        .set("send_queue_size", "5")
        .set("send_timeout", "500ms")
        .set("outbox.bytes", "1000")
        .set("outbox.messages", "2")
        .start();
    let mut alice = Client::connect(&ekbo);
    alice.stall(&ekbo, "alice");
    let large = "x".repeat(5000);
    for _ in 0..5 {
        ekbo.send(["alice"], &large).assert_accepted();
    }
    ekbo.send(["alice"], "one too many").assert_failed_for([(TIMED_OUT, "alice")]);
    alice.resume();
    for _ in 0..5 {
        alice.expect_text(&large);
    }
}

/// D11, Q23: with nothing configured a client that does not read holds nobody up: 1,024
/// messages wait for it while others get theirs.
#[test]
fn the_default_queue() {
    let backend = Backend::admitting_by_query().start();
    let ekbo = Ekbo::with(&backend).set("send_timeout", "500ms").start();
    let mut alice = Client::connect_as(&ekbo, "alice");
    let mut bob = Client::connect_as(&ekbo, "bob");
    alice.stall(&ekbo, "alice");
    let mut http = ekbo.http();
    for number in 0..1024 {
        let body = format!("message {number}");
        send_over(&mut http, &["alice", "bob"], &body).assert_accepted();
        bob.expect_text(&body);
    }
    ekbo.send(["alice", "bob"], "one too many").assert_failed_for([(TIMED_OUT, "alice")]);
    bob.expect_text("one too many");
    alice.resume();
    for number in 0..1024 {
        alice.expect_text(&format!("message {number}"));
    }
    ekbo.send(["alice"], "after it").assert_accepted();
    alice.expect_text("after it");
}

/// D11: `outbox.messages` bounds the default queue.
#[test]
fn a_default_queue_of_three_messages() {
    let backend = Backend::admitting("alice").start();
    let ekbo =
        Ekbo::with(&backend).set("outbox.messages", "3").set("send_timeout", "500ms").start();
    let mut alice = Client::connect(&ekbo);
    alice.stall(&ekbo, "alice");
    for message in ["one", "two", "three"] {
        ekbo.send(["alice"], message).assert_accepted();
    }
    ekbo.send(["alice"], "four").assert_failed_for([(TIMED_OUT, "alice")]);
    alice.resume();
    for message in ["one", "two", "three"] {
        alice.expect_text(message);
    }
}

/// D11, D13: `outbox.bytes` bounds it, too; but an empty queue takes a message of any size.
#[test]
fn a_default_queue_of_a_thousand_bytes() {
    let backend = Backend::admitting("alice").start();
    let ekbo =
        Ekbo::with(&backend).set("outbox.bytes", "1000").set("send_timeout", "500ms").start();
    let mut alice = Client::connect(&ekbo);
    alice.stall(&ekbo, "alice");
    let [small, large] = [400, 3000].map(|length| "x".repeat(length));
    ekbo.send(["alice"], &small).assert_accepted();
    ekbo.send(["alice"], &small).assert_accepted();
    ekbo.send(["alice"], &small).assert_failed_for([(TIMED_OUT, "alice")]);
    alice.resume();
    alice.expect_text(&small);
    alice.expect_text(&small);

    alice.stall(&ekbo, "alice");
    ekbo.send(["alice"], &large).assert_accepted();
    ekbo.send(["alice"], "x").assert_failed_for([(TIMED_OUT, "alice")]);
    alice.resume();
    alice.expect_text(&large);
    ekbo.send(["alice"], "after it").assert_accepted();
    alice.expect_text("after it");
}

/// D13, D1: until establish is answered messages wait in the queue whatever `send_queue_size`
/// says; what exceeds it waits as in 6.4.
#[test]
fn the_queue_of_a_session_that_is_being_established() {
    for size in [None, Some("0"), Some("1")] {
        let gate = Gate::new();
        let backend = Backend::plan()
            .on("/connect", Answer::admit("alice").body("welcome"))
            .on("/establish", Answer::ok().held_by(&gate))
            .start();
        let plan = Ekbo::with(&backend).set("outbox.bytes", "1000").set("send_timeout", "500ms");
        let ekbo = match size {
            Some(size) => plan.set("send_queue_size", size).start(),
            None => plan.start(),
        };
        let mut alice = Client::connect(&ekbo);
        gate.wait_until_reached_by(1);
        let message = "x".repeat(300);
        for _ in 0..3 {
            ekbo.send(["alice"], &message).assert_accepted();
        }
        ekbo.send(["alice"], &message).assert_failed_for([(TIMED_OUT, "alice")]);
        gate.open();
        alice.expect_text("welcome");
        for _ in 0..3 {
            alice.expect_text(&message);
        }
        ekbo.send(["alice"], "after it").assert_accepted();
        alice.expect_text("after it");
    }
}

/// A-13, 6.4: without `send_timeout` `/send` waits until there is room; the other targets
/// of the call have got the message by then.
#[test]
fn without_a_time_out_send_waits_for_room() {
    let backend = Backend::admitting_by_query().start();
    let ekbo = Ekbo::with(&backend).set("send_queue_size", "0").start();
    let mut alice = Client::connect_as(&ekbo, "alice");
    let mut bob = Client::connect_as(&ekbo, "bob");
    alice.stall(&ekbo, "alice");
    let mut waiting = Waiting::start(&ekbo, &["alice", "bob"], "hello");
    bob.expect_text("hello");
    ekbo.send(["bob"], "another call").assert_accepted();
    bob.expect_text("another call");
    assert!(!waiting.is_answered());
    alice.resume();
    waiting.answer().assert_accepted();
    alice.expect_text("hello");
}

/// 6.4, 6.2: a call that waits for room when the session ends is told that it is closed.
#[test]
fn a_session_ends_while_send_waits_for_room() {
    let backend = Backend::admitting("alice").start();
    let ekbo = Ekbo::with(&backend).set("send_queue_size", "0").start();
    let mut alice = Client::connect(&ekbo);
    alice.stall(&ekbo, "alice");
    let mut waiting = Waiting::start(&ekbo, &["alice"], "hello");
    ekbo.wait_for_stats("two messages", |stats| stats.total_messages == 2);
    assert!(!waiting.is_answered());
    alice.reset();
    waiting.answer().assert_failed_for([(CLOSED, "alice")]);
}

/// 6.4: a caller that hangs up while it waits for room takes its message with it.
#[test]
fn a_caller_hangs_up_while_it_waits_for_room() {
    let backend = Backend::admitting("alice").start();
    let ekbo = Ekbo::with(&backend).set("send_queue_size", "0").start();
    let mut alice = Client::connect(&ekbo);
    alice.stall(&ekbo, "alice");
    let waiting = Waiting::start(&ekbo, &["alice"], "never mind");
    ekbo.wait_for_stats("two messages", |stats| stats.total_messages == 2);
    let caller = waiting.port();
    assert!(is_open_at(ekbo.port(), caller));
    drop(waiting);
    eventually("the end of the caller's connection", || !is_open_at(ekbo.port(), caller));
    alice.resume();
    ekbo.send(["alice"], "after it").assert_accepted();
    alice.expect_text("after it");
}

/// A-16, 6.4: a thousand messages sent one after the other arrive in that order.
#[test]
fn a_thousand_messages_keep_their_order() {
    for size in [None, Some("0"), Some("1"), Some("10")] {
        let backend = Backend::admitting("alice").start();
        let plan = Ekbo::with(&backend);
        let ekbo = match size {
            Some(size) => plan.set("send_queue_size", size).start(),
            None => plan.start(),
        };
        let mut alice = Client::connect(&ekbo);
        let mut http = ekbo.http();
        for number in 0..1000 {
            send_over(&mut http, &["alice"], &number.to_string()).assert_accepted();
        }
        for number in 0..1000 {
            alice.expect_text(&number.to_string());
        }
        assert_eq!(ekbo.stats().total_messages, 1000);
    }
}

/// D11, 8 row 5, D8: `write_timeout` ends the session of a client that does not read: one
/// message error, reported as 1006, what was queued is lost, a call that waits is told.
#[test]
fn a_client_that_does_not_read_is_ended() {
    let backend = Backend::admitting("alice").start();
    let ekbo = Ekbo::with(&backend).set("write_timeout", "1s").set("send_queue_size", "1").start();
    let mut alice = Client::connect(&ekbo);
    let since_stall = Stopwatch::start();
    alice.stall(&ekbo, "alice");
    ekbo.send(["alice"], "queued").assert_accepted();
    let mut waiting = Waiting::start(&ekbo, &["alice"], "waiting");
    waiting.answer().assert_failed_for([(CLOSED, "alice")]);
    let waited = since_stall.elapsed();
    assert!(waited >= Duration::from_secs(1), "{waited:?}");
    assert!(waited < PATIENCE / 2, "{waited:?}");

    let told = backend.wait_for_first("/close");
    assert_eq!(told.session(), Some("alice"));
    assert_eq!(told.close_code(), Some(1006));
    ekbo.wait_until_unknown("alice");
    let stats = ekbo.wait_for_stats("no connections", |stats| stats.connections == 0);
    assert_eq!((stats.total_messages, stats.message_errors), (3, 1));
}

/// D11: a client that reads slowly is not ended, however long a message takes.
#[test]
fn a_client_that_reads_slowly_is_not_ended() {
    const STEP: usize = 3 << 20;
    let backend = Backend::admitting("alice").start();
    let ekbo = Ekbo::with(&backend).set("write_timeout", "1s").set("max_body_size", "0").start();
    let mut alice = Client::connect(&ekbo);
    let message = "x".repeat(10 * STEP);
    ekbo.send(["alice"], &message).assert_accepted();
    let mut wire = alice.writer();
    for _ in 0..8 {
        let mut step = vec![0; STEP];
        std::io::Read::read_exact(&mut wire, &mut step).unwrap();
        let_pass(Duration::from_millis(300));
    }
    // The header of the frame has ten bytes.
    let mut rest = vec![0; message.len() + 10 - 8 * STEP];
    std::io::Read::read_exact(&mut wire, &mut rest).unwrap();
    ekbo.send(["alice"], "after it").assert_accepted();
    alice.expect_text("after it");
}

/// D11, 8 row 9: the first message is written under `write_timeout` as well.
#[test]
fn a_first_message_that_is_not_read() {
    let first = "x".repeat(MORE_THAN_SOCKETS_HOLD);
    let backend = Backend::plan()
        .on("/connect", Answer::admit("alice").body(&first))
        .on("/close", Answer::ok())
        .start();
    let ekbo = Ekbo::with(&backend).set("write_timeout", "500ms").start();
    let mut alice = Client::connect(&ekbo);
    let told = backend.wait_for_first("/close");
    assert_eq!(told.close_code(), Some(1006));
    ekbo.wait_for_stats("a message error", |stats| stats.message_errors == 1);
    let ended = matches!(alice.receive(), Received::End(End::Eof | End::Reset));
    assert!(ended, "the whole message came");
}

/// A `/send` whose answer is still to come.
struct Waiting {
    http: Http,
    /// The same connection, to look whether something has come.
    wire: Wire,
}

impl Waiting {
    #[track_caller]
    fn start(ekbo: &Ekbo, keys: &[&str], body: &str) -> Self {
        let wire = ekbo.wire();
        let mut http = Http::over(wire.another());
        http.write(request(keys, body));
        Self { http, wire }
    }

    /// The caller's port.
    fn port(&self) -> u16 {
        self.wire.as_tcp().unwrap().local_addr().unwrap().port()
    }

    fn is_answered(&mut self) -> bool {
        let socket = self.wire.as_tcp().unwrap();
        socket.set_nonblocking(true).unwrap();
        let something = socket.peek(&mut [0]);
        socket.set_nonblocking(false).unwrap();
        something.is_ok()
    }

    #[track_caller]
    fn answer(&mut self) -> Response {
        self.http.read()
    }
}

/// A `/send` over a connection that stays.
#[track_caller]
fn send_over(http: &mut Http, keys: &[&str], body: &str) -> Response {
    http.exchange(request(keys, body))
}

fn request(keys: &[&str], body: &str) -> String {
    let mut text = "POST /send HTTP/1.1\r\nHost: localhost\r\n".to_owned();
    for key in keys {
        write!(text, "X-Kuiperbelt-Session: {key}\r\n").unwrap();
    }
    write!(text, "Content-Length: {}\r\n\r\n{body}", body.len()).unwrap();
    text
}

/// Whether who listens on `port` still has its side of the TCP connection from `caller` open.
fn is_open_at(port: u16, caller: u16) -> bool {
    const ESTABLISHED: &str = "01";
    const CLOSE_WAIT: &str = "08";
    let ends_with = |address: &str, port: u16| address.ends_with(&format!(":{port:04X}"));
    let is_open = |line: &str| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        ends_with(fields[1], port)
            && ends_with(fields[2], caller)
            && [ESTABLISHED, CLOSE_WAIT].contains(&fields[3])
    };
    ["/proc/net/tcp", "/proc/net/tcp6"]
        .iter()
        .filter_map(|table| fs::read_to_string(table).ok())
        .any(|table| table.lines().any(is_open))
}

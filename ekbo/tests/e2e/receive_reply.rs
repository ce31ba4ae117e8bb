//! The body of a receive callback's answer as a message to the client: `callback.receive_reply`.
//! That it goes nowhere without the key is in `receive.rs`.

use std::sync::{Arc, OnceLock};

use super::actions::{CLOSE, STATE};
use super::harness::{
    Answer, Backend, BackendPlan, Client, Ekbo, EkboPlan, Frame, Gate, Listener, Request,
};
use super::manners::MORE_THAN_SOCKETS_HOLD;

/// Text, or binary by its Content-Type; an empty body is no message; each reply is counted.
#[test]
fn a_reply_has_its_type() {
    let backend = Backend::admitting("alice")
        .on_request("/receive", |request| match request.text() {
            "binary" => {
                let answer = Answer::ok().header("Content-Type", "APPLICATION/octet-stream; x=y");
                answer.body(b"\x00\xff")
            }
            "json" => Answer::ok().header("Content-Type", "application/json").body("{}"),
            "empty" => Answer::ok().header("Content-Type", "application/octet-stream"),
            other => Answer::ok().body(format!("you said {other}")),
        })
        .start();
    let ekbo = replying(&backend).start();
    let mut alice = Client::connect(&ekbo);
    for message in ["one", "binary", "empty", "json", "two"] {
        alice.send(&Frame::text(message));
    }
    alice.expect_text("you said one");
    alice.expect_binary(b"\x00\xff");
    alice.expect_text("{}");
    alice.expect_text("you said two");
    ekbo.wait_for_stats("four replies", |stats| stats.total_messages == 4);
}

/// However the body of the answer is framed.
#[test]
fn the_framing_of_a_reply() {
    let backend = taking_messages().start();
    let ekbo = replying(&backend).start();
    let mut alice = Client::connect(&ekbo);
    let chunked = "Transfer-Encoding: chunked\r\n\r\n2\r\nre\r\n3\r\nply\r\n0\r\n\r\n";
    let head = "HTTP/1.1 200 OK\r\nConnection: close\r\n";
    for framed in [chunked, "Content-Length: 5\r\n\r\nreply", "\r\nreply"] {
        backend.on("/receive", Answer::raw(format!("{head}{framed}")));
        alice.send(&Frame::text("hello"));
        alice.expect_text("reply");
    }
}

/// What the backend sends while it has the message comes before its reply, what it sends
/// afterwards behind it, and a close last of all.
#[test]
fn replies_and_sends_keep_their_order() {
    let listener = Arc::new(OnceLock::<Listener>::new());
    let to_ekbo = listener.clone();
    let backend = Backend::admitting("alice")
        .on_request("/receive", move |request| {
            let send = to_ekbo.get().unwrap().request("POST", "/send");
            let key = request.session().unwrap();
            send.session(key).body(format!("before {}", request.text())).send().assert_accepted();
            let answer = Answer::ok().body(format!("reply to {}", request.text()));
            if request.text() == "19" { answer.header(CLOSE, "4000 enough") } else { answer }
        })
        .start();
    let ekbo = replying(&backend).start();
    listener.set(ekbo.listener().clone()).unwrap();
    let mut alice = Client::connect(&ekbo);
    for number in 0..20 {
        alice.send(&Frame::text(number.to_string()));
    }
    for number in 0..20 {
        alice.expect_text(&format!("before {number}"));
        alice.expect_text(&format!("reply to {number}"));
    }
    alice.expect_farewell(4000, "enough");
}

/// Of a text that is not UTF-8 becomes what `invalid_text` says.
#[test]
fn a_reply_that_is_not_utf8() {
    let backend = taking_messages().on("/receive", Answer::ok().body(b"\xff\xfe")).start();
    let ekbo = replying(&backend).start();
    let mut alice = Client::connect(&ekbo);
    alice.send(&Frame::text("rejected"));
    let told = ekbo.wait_for_log("cannot send the reply");
    assert_eq!(told.fields["session"], "alice");
    let error = told.fields["error"].as_str().unwrap();
    assert!(error.starts_with("text message is not valid UTF-8; "), "{error}");
    backend.on("/receive", Answer::ok().body("the next"));
    alice.send(&Frame::text("accepted"));
    alice.expect_text("the next");
    assert_eq!(ekbo.stats().total_messages, 1);

    backend.on("/receive", Answer::ok().body(b"\xff\xfe"));
    let ekbo = replying(&backend).set("invalid_text", "binary").start();
    let mut alice = Client::connect(&ekbo);
    alice.send(&Frame::text("as binary"));
    alice.expect_binary(b"\xff\xfe");
}

/// A reply has at most `max_message_size`. A larger one is left out, however its body is framed;
/// what else the answer asks for is done, and the session goes on.
#[test]
fn a_reply_that_is_too_large() {
    let backend = taking_messages().start();
    let ekbo = replying(&backend).set("max_message_size", "1000").start();
    let mut alice = Client::connect(&ekbo);
    let large = "x".repeat(1001);
    let chunks = format!("Transfer-Encoding: chunked\r\n\r\n3e9\r\n{large}\r\n0\r\n\r\n");
    let framings = [chunks, format!("Content-Length: 1001\r\n\r\n{large}"), format!("\r\n{large}")];
    for (number, framed) in framings.iter().enumerate() {
        let head = format!("HTTP/1.1 200 OK\r\n{STATE}: {number}\r\n");
        backend.on("/receive", Answer::raw(head + framed));
        alice.send(&Frame::text("too large"));
        backend.wait_for("/receive", 2 * number + 1);
        backend.on("/receive", Answer::ok().body(&large[..1000]));
        alice.send(&Frame::text("as large as can be"));
        alice.expect_text(&large[..1000]);
        let request = backend.wait_for("/receive", 2 * number + 2).remove(2 * number + 1);
        assert_eq!(request.header(STATE), Some(&*number.to_string()));
    }
    alice.leave(1000);
    ekbo.wait_for_log("connection is closed");
    let told = ekbo.log().into_iter().filter(|line| line.message == "cannot send the reply");
    let told: Vec<_> = told.map(|line| line.fields["error"].clone()).collect();
    assert_eq!(told, ["it is larger than max_message_size"; 3]);
}

/// Only the body of a 200 is a reply.
#[test]
fn other_answers_are_no_replies() {
    let backend = taking_messages().start();
    let ekbo = replying(&backend).start();
    let mut alice = Client::connect(&ekbo);
    for (number, status) in [201, 400, 403, 500].into_iter().enumerate() {
        backend.on("/receive", Answer::status(status).body("no reply"));
        alice.send(&Frame::text("refused"));
        backend.wait_for("/receive", number + 1);
    }
    backend.on("/receive", Answer::ok().body("reply"));
    alice.send(&Frame::text("accepted"));
    alice.expect_text("reply");
}

/// The body of an establish callback's answer is none.
#[test]
fn establish_has_no_reply() {
    let backend = Backend::admitting("alice").on("/establish", Answer::ok().body("none")).start();
    let ekbo = replying(&backend).start();
    let mut alice = Client::connect(&ekbo);
    ekbo.send(["alice"], "the first").assert_accepted();
    alice.expect_text("the first");
}

/// A reply waits for room, which holds back the same client's next message and nobody else.
#[test]
fn a_reply_waits_for_room() {
    let backend = echoing().start();
    let ekbo = replying(&backend).set("outbox.messages", "1").start();
    let mut alice = Client::connect_as(&ekbo, "alice");
    let mut bob = Client::connect_as(&ekbo, "bob");
    alice.stall(&ekbo, "alice");
    ekbo.send(["alice"], "queued").assert_accepted();
    alice.send(&Frame::text("one"));
    backend.wait_for("/receive", 1);
    alice.send(&Frame::text("two"));
    for number in 0..5 {
        bob.send(&Frame::text(number.to_string()));
        bob.expect_text(&format!("echo of {number}"));
    }
    let is_alices = |request: &Request| request.session() == Some("alice");
    let received = || backend.requests("/receive").into_iter().filter(is_alices).count();
    assert_eq!(received(), 1);
    alice.resume();
    alice.expect_text("queued");
    alice.expect_text("echo of one");
    alice.expect_text("echo of two");
    assert_eq!(received(), 2);
}

/// A session that ends while a reply waits for room is told of.
#[test]
fn a_session_that_ends_before_its_reply() {
    let backend = echoing().start();
    let ekbo = replying(&backend).set("outbox.messages", "1").start();
    let mut alice = Client::connect_as(&ekbo, "alice");
    alice.stall(&ekbo, "alice");
    ekbo.send(["alice"], "queued").assert_accepted();
    alice.send(&Frame::text("one"));
    backend.wait_for("/receive", 1);
    alice.reset();
    assert_eq!(backend.wait_for_first("/close").session(), Some("alice"));
    let told = ekbo.wait_for_log("no reply");
    assert_eq!(told.fields["session"], "alice");
}

/// The same for one that has ended before the answer, even by `/close`.
#[test]
fn a_session_that_has_ended_before_the_answer() {
    let gate = Gate::new();
    let backend =
        taking_messages().on("/receive", Answer::ok().body("late").held_by(&gate)).start();
    let ekbo = replying(&backend).start();
    let mut alice = Client::connect(&ekbo);
    alice.send(&Frame::text("hello"));
    gate.wait_until_reached_by(1);
    ekbo.close(["alice"], "bye").assert_accepted();
    alice.expect_text("bye");
    alice.expect_farewell(1000, "");
    gate.open();
    assert_eq!(ekbo.wait_for_log("no reply").level, "info");
}

/// A large reply is a message like any other.
#[test]
fn a_large_reply() {
    let large = "#".repeat(MORE_THAN_SOCKETS_HOLD);
    let backend = taking_messages().on("/receive", Answer::ok().body(&large)).start();
    let ekbo = replying(&backend).start();
    let mut alice = Client::connect(&ekbo);
    alice.send(&Frame::text("hello"));
    alice.resume();
}

fn replying(backend: &Backend) -> EkboPlan {
    Ekbo::with(backend).set("callback.receive_reply", "true")
}

fn taking_messages() -> BackendPlan {
    Backend::admitting("alice").on("/receive", Answer::ok())
}

/// Admits by query and gives every message back.
fn echoing() -> BackendPlan {
    Backend::admitting_by_query()
        .on_request("/receive", |request| Answer::ok().body(format!("echo of {}", request.text())))
}

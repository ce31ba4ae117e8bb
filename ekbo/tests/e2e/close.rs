//! `/close`: the last word, the close frame after it, and that the backend is not told of what
//! it has ordered itself. Other ends of a session are in `session_end.rs`.

use std::io::Write;
use std::thread;

use super::answers::{CLOSED, JSON, NOT_FOUND, NOT_UTF8, TIMED_OUT};
use super::harness::{
    Answer, Backend, Client, Ekbo, End, Frame, Gate, PATIENCE, Received, Response, Stopwatch,
};

/// A1, A2, A3, A5, 6.2: `/close` answers what `/send` answers.
#[test]
fn the_answers_are_those_of_send() {
    let ekbo = Ekbo::alone().set("max_body_size", "100").start();
    ekbo.request("GET", "/close")
        .session("alice")
        .send()
        .assert_refused(405, "required POST method");
    ekbo.close([], "bye").assert_refused(400, "session header is missing");
    ekbo.close(["alice", ""], "bye").assert_failed_for([(NOT_FOUND, "alice"), (NOT_FOUND, "")]);
    ekbo.close(["alice"], "x".repeat(101)).assert_is(413, JSON, r#"{"result":"NG"}"#);
    let mut http = ekbo.http();
    http.exchange(format!(
        "POST /close HTTP/1.1\r\nHost: {}\r\nX-Kuiperbelt-Session: alice\r\n\
         Transfer-Encoding: chunked\r\n\r\nno length\r\n",
        ekbo.host()
    ))
    .assert_is(500, JSON, r#"{"result":"NG"}"#);
}

/// Line 4, D2, 6.6: both sessions get the body as their last word, then Close 1000 and the end.
#[test]
fn several_sessions_in_one_call() {
    let backend = Backend::admitting_by_query().start();
    let ekbo = Ekbo::with(&backend).start();
    let mut hogehoge = Client::connect_as(&ekbo, "hogehoge");
    let mut fugafuga = Client::connect_as(&ekbo, "fugafuga");
    ekbo.close(["hogehoge", "fugafuga"], "test message").assert_accepted();
    for client in [&mut hogehoge, &mut fugafuga] {
        client.expect_text("test message");
        client.expect_farewell(1000, "");
    }
    ekbo.wait_until_unknown("hogehoge");
    ekbo.wait_until_unknown("fugafuga");
}

/// Line 5, A5, 6.2 row 5: a known key is closed although another is unknown.
#[test]
fn one_key_is_unknown() {
    let backend = Backend::admitting_by_query().start();
    let ekbo = Ekbo::with(&backend).start();
    let mut hogehoge = Client::connect_as(&ekbo, "hogehoge");
    let mut fugafuga = Client::connect_as(&ekbo, "fugafuga");
    ekbo.close(["hogehoge", "not-exist"], "bye").assert_failed_for([(NOT_FOUND, "not-exist")]);
    hogehoge.expect_text("bye");
    hogehoge.expect_farewell(1000, "");
    fugafuga.expect_to_be_read();
}

/// A6, 6.2 row 6: with `strict_broadcast` one unknown key keeps everybody open.
#[test]
fn strict_closes_nobody_when_one_is_unknown() {
    let backend = Backend::admitting("alice").start();
    let ekbo = Ekbo::with(&backend).set("strict_broadcast", "true").start();
    let mut alice = Client::connect(&ekbo);
    ekbo.close(["alice", "not-exist"], "bye")
        .assert_strictly_failed_for([(NOT_FOUND, "not-exist")]);
    ekbo.send(["alice"], "still here").assert_accepted();
    alice.expect_text("still here");
}

/// Line 6, D7, 8 row 6: the close callback is not called for a session that `/close` has ended.
#[test]
fn the_backend_is_not_told() {
    let backend = Backend::plan()
        .on_request("/connect", |request| {
            Answer::admit(request.query().unwrap_or_default()).body("hello")
        })
        .on("/close", Answer::ok())
        .start();
    let ekbo = Ekbo::with(&backend).start();
    let mut alice = Client::connect_as(&ekbo, "alice");
    alice.expect_text("hello");
    ekbo.close(["alice"], "test message").assert_accepted();
    alice.expect_text("test message");
    alice.expect_farewell(1000, "");
    ekbo.wait_until_unknown("alice");
    backend.assert_told_of(&ekbo, 0);
}

/// 6.6, Q29: an empty body is an empty last word, also a binary one.
#[test]
fn an_empty_last_word() {
    let backend = Backend::admitting_by_query().start();
    let ekbo = Ekbo::with(&backend).start();
    let mut alice = Client::connect_as(&ekbo, "alice");
    ekbo.close(["alice"], "").assert_accepted();
    alice.expect_text("");
    alice.expect_farewell(1000, "");

    let mut bob = Client::connect_as(&ekbo, "bob");
    ekbo.request("POST", "/close")
        .session("bob")
        .content_type("application/octet-stream")
        .send()
        .assert_accepted();
    bob.expect_binary("");
    bob.expect_farewell(1000, "");
}

/// KB-API-3: a last word that is not UTF-8 is rejected, and the session stays.
#[test]
fn an_invalid_last_word_is_rejected() {
    let backend = Backend::admitting("alice").start();
    let ekbo = Ekbo::with(&backend).start();
    let mut alice = Client::connect(&ekbo);
    ekbo.close(["alice"], b"\xff").assert_failed_for([(NOT_UTF8, "alice")]);
    ekbo.send(["alice"], "still here").assert_accepted();
    alice.expect_text("still here");
}

/// D2: code and reason of the close frame are those of the request's headers.
#[test]
fn the_caller_chooses_code_and_reason() {
    let backend = Backend::admitting_by_query().start();
    let ekbo = Ekbo::with(&backend).start();
    let longest = "r".repeat(123);
    let cases = [
        (Some("1000"), None, 1000, ""),
        (Some("1001"), Some("away"), 1001, "away"),
        (Some("1003"), Some(""), 1003, ""),
        (Some("1007"), None, 1007, ""),
        (Some("1013"), None, 1013, ""),
        (Some("3000"), None, 3000, ""),
        (Some("4999"), Some("tschüß 字"), 4999, "tschüß 字"),
        (None, Some(longest.as_str()), 1000, longest.as_str()),
    ];
    for (number, (code_field, reason_field, code, reason)) in cases.into_iter().enumerate() {
        let key = format!("key-{number}");
        let mut client = Client::connect_as(&ekbo, &key);
        close_with(&ekbo, &key, code_field, reason_field.map(str::as_bytes)).assert_accepted();
        client.expect_text("bye");
        client.expect_farewell(code, reason);
    }
}

/// D2: a code that no endpoint may send, or a reason that fits no frame, is refused, and the
/// session stays.
#[test]
fn an_impossible_code_or_reason_is_refused() {
    let backend = Backend::admitting("alice").start();
    let ekbo = Ekbo::with(&backend).start();
    let mut alice = Client::connect(&ekbo);
    for code in [
        "0", "999", "1004", "1005", "1006", "1015", "1016", "2999", "5000", "65536", "-1000",
        "1e3", "x",
    ] {
        close_with(&ekbo, "alice", Some(code), None).assert_refused(400, "close code is invalid");
    }
    for reason in [&[b'r'; 124][..], "ü".repeat(62).as_bytes(), b"caf\xe9"] {
        close_with(&ekbo, "alice", Some("1000"), Some(reason))
            .assert_refused(400, "close reason is invalid");
    }
    ekbo.send(["alice"], "still here").assert_accepted();
    alice.expect_text("still here");
}

/// D2, Q15: with `close_frame: false` the last word is followed by the bare end of TCP.
#[test]
fn without_a_close_frame() {
    let backend = Backend::admitting("alice").start();
    let ekbo = Ekbo::with(&backend).set("close_frame", "false").start();
    let mut alice = Client::connect(&ekbo);
    ekbo.close(["alice"], "bye").assert_accepted();
    alice.expect_text("bye");
    alice.expect_end();
    backend.assert_told_of(&ekbo, 0);
}

/// D2: after its close frame the server waits for the client's, but not for long.
#[test]
fn a_client_that_does_not_answer_the_close() {
    let backend = Backend::admitting("alice").start();
    let ekbo = Ekbo::with(&backend).start();
    let mut alice = Client::connect(&ekbo);
    ekbo.close(["alice"], "bye").assert_accepted();
    alice.expect_text("bye");
    alice.expect_close(1000, "");
    let since_close = Stopwatch::start();
    alice.expect_end();
    let waited = since_close.elapsed();
    assert!(waited < PATIENCE / 2, "{waited:?}");
    ekbo.wait_until_unknown("alice");
}

/// KB-CLS-1, Q16, F-8: the last word and the close arrive while the client is flooding.
#[test]
fn the_last_word_reaches_a_flooding_client() {
    let backend = Backend::admitting("alice").start();
    let ekbo = Ekbo::with(&backend).start();
    for _ in 0..5 {
        let mut alice = Client::connect(&ekbo);
        let flood = flood(&mut alice);
        ekbo.close(["alice"], "bye").assert_accepted();
        alice.expect_text("bye");
        alice.expect_close(1000, "");
        alice.finish_sending();
        flood.join().unwrap();
        alice.expect_end();
        ekbo.wait_until_unknown("alice");
    }
}

/// KB-CLS-1: with `close_frame: false`, too, the last word and an orderly end come first.
#[test]
fn the_last_word_reaches_a_flooding_client_without_a_close_frame() {
    let backend = Backend::admitting("alice").start();
    let ekbo = Ekbo::with(&backend).set("close_frame", "false").start();
    for _ in 0..5 {
        let mut alice = Client::connect(&ekbo);
        let flood = flood(&mut alice);
        ekbo.close(["alice"], "bye").assert_accepted();
        alice.expect_text("bye");
        alice.expect_end();
        alice.finish_sending();
        flood.join().unwrap();
        ekbo.wait_until_unknown("alice");
    }
}

/// A-17, 6.6: what was queued before the last word is written before it; what comes after
/// it is refused.
#[test]
fn earlier_messages_come_first() {
    let backend = Backend::admitting("alice").start();
    let ekbo = Ekbo::with(&backend).start();
    let mut alice = Client::connect(&ekbo);
    alice.stall(&ekbo, "alice");
    ekbo.send(["alice"], "one").assert_accepted();
    ekbo.send(["alice"], "two").assert_accepted();
    ekbo.close(["alice"], "bye").assert_accepted();
    ekbo.send(["alice"], "too late").assert_failed_for([(CLOSED, "alice")]);
    alice.resume();
    alice.expect_text("one");
    alice.expect_text("two");
    alice.expect_text("bye");
    alice.expect_farewell(1000, "");
}

/// KB-CLS-2: from the moment the last word is accepted, `/send` and `/close` fail at once,
/// although it has not been written yet.
#[test]
fn a_session_with_its_last_word_is_closed() {
    let backend = Backend::admitting("alice").start();
    let ekbo = Ekbo::with(&backend).start();
    let mut alice = Client::connect(&ekbo);
    alice.stall(&ekbo, "alice");
    ekbo.close(["alice"], "bye").assert_accepted();
    for _ in 0..3 {
        ekbo.send(["alice"], "too late").assert_failed_for([(CLOSED, "alice")]);
        ekbo.close(["alice"], "too late").assert_failed_for([(CLOSED, "alice")]);
    }
    alice.resume();
    alice.expect_text("bye");
    alice.expect_farewell(1000, "");
    ekbo.wait_until_unknown("alice");
}

/// KB-CLS-2, Q28: the second copy of a key in one `/close` finds the session closed.
#[test]
fn a_key_listed_twice() {
    let backend = Backend::admitting("alice").start();
    let ekbo = Ekbo::with(&backend).start();
    let mut alice = Client::connect(&ekbo);
    ekbo.close(["alice", "nobody", "alice"], "bye")
        .assert_failed_for([(NOT_FOUND, "nobody"), (CLOSED, "alice")]);
    alice.expect_text("bye");
    alice.expect_farewell(1000, "");
}

/// KB-CLS-2: with `strict_broadcast` that is a 400, although the session is closed by then.
#[test]
fn a_key_listed_twice_when_strict() {
    let backend = Backend::admitting("alice").start();
    let ekbo = Ekbo::with(&backend).set("strict_broadcast", "true").start();
    let mut alice = Client::connect(&ekbo);
    ekbo.close(["alice", "alice"], "bye").assert_strictly_failed_for([(CLOSED, "alice")]);
    alice.expect_text("bye");
    alice.expect_farewell(1000, "");
}

/// 6.6, 6.4: `/close` waits for room as `/send` does; one that ran out of time has closed nobody.
#[test]
fn a_close_that_finds_no_room() {
    let backend = Backend::admitting("alice").start();
    let ekbo =
        Ekbo::with(&backend).set("send_queue_size", "0").set("send_timeout", "300ms").start();
    let mut alice = Client::connect(&ekbo);
    alice.stall(&ekbo, "alice");
    ekbo.close(["alice"], "bye").assert_failed_for([(TIMED_OUT, "alice")]);
    alice.resume();
    ekbo.send(["alice"], "still here").assert_accepted();
    alice.expect_text("still here");
    alice.leave(1000);
    let told = backend.wait_for_first("/close");
    assert_eq!(told.session(), Some("alice"));
}

/// KB-CLS-2, D7, Q19: a client that closes in reaction to its last word, or just goes away,
/// does not make the close callback fire.
#[test]
fn clients_that_react_to_the_last_word() {
    let backend = Backend::admitting_by_query().start();
    let ekbo = Ekbo::with(&backend).start();

    let mut closing = Client::connect_as(&ekbo, "closing");
    ekbo.close(["closing"], "bye").assert_accepted();
    closing.expect_text("bye");
    closing.send(&Frame::close(4000, "I am leaving"));
    closing.expect_close(1000, "");
    closing.expect_end();

    let mut resetting = Client::connect_as(&ekbo, "resetting");
    ekbo.close(["resetting"], "bye").assert_accepted();
    resetting.expect_text("bye");
    resetting.reset();

    let mut dropping = Client::connect_as(&ekbo, "dropping");
    ekbo.close(["dropping"], "bye").assert_accepted();
    dropping.expect_text("bye");
    drop(dropping);

    let mut breaking = Client::connect_as(&ekbo, "breaking");
    ekbo.close(["breaking"], "bye").assert_accepted();
    breaking.expect_text("bye");
    breaking.send(&Frame::text("no mask").unmasked());
    drop(breaking);

    ekbo.wait_for_stats("no connections", |stats| stats.connections == 0);
    backend.assert_told_of(&ekbo, 0);
}

/// KB-CLS-2, Q19: nor does a last word that cannot be written.
#[test]
fn a_last_word_that_cannot_be_written() {
    let backend = Backend::admitting_by_query().start();
    let ekbo = Ekbo::with(&backend).start();
    let mut alice = Client::connect_as(&ekbo, "alice");
    alice.stall(&ekbo, "alice");
    ekbo.close(["alice"], "bye").assert_accepted();
    alice.reset();
    ekbo.wait_until_unknown("alice");
    backend.assert_told_of(&ekbo, 0);
}

/// D9, D1: a session whose establish callback is still out is closed when it is answered, after
/// what it was sent meanwhile.
#[test]
fn a_session_that_is_being_established() {
    let gate = Gate::new();
    let backend = Backend::plan()
        .on("/connect", Answer::admit("alice").body("welcome"))
        .on("/establish", Answer::ok().held_by(&gate))
        .on("/close", Answer::ok())
        .start();
    let ekbo = Ekbo::with(&backend).start();
    let mut alice = Client::connect(&ekbo);
    gate.wait_until_reached_by(1);
    ekbo.send(["alice"], "hello").assert_accepted();
    ekbo.close(["alice"], "bye").assert_accepted();
    ekbo.send(["alice"], "too late").assert_failed_for([(CLOSED, "alice")]);
    gate.open();
    alice.expect_text("welcome");
    alice.expect_text("hello");
    alice.expect_text("bye");
    alice.expect_farewell(1000, "");
    ekbo.wait_until_unknown("alice");
    backend.assert_told_of(&ekbo, 0);
}

/// D9, D7: also when establish is refused then, the backend is not told of the end.
#[test]
fn a_closed_session_that_is_not_established() {
    let gate = Gate::new();
    let refuse = gate.clone();
    let backend = Backend::admitting_by_query()
        .on_request("/establish", move |request| match request.session() {
            Some("alice") => Answer::status(500).held_by(&refuse),
            _ => Answer::ok(),
        })
        .start();
    let ekbo = Ekbo::with(&backend).start();
    let mut alice = Client::connect_as(&ekbo, "alice");
    gate.wait_until_reached_by(1);
    ekbo.close(["alice"], "bye").assert_accepted();
    gate.open();
    while !matches!(alice.receive(), Received::End(End::Eof)) {}
    ekbo.wait_until_unknown("alice");
    backend.assert_told_of(&ekbo, 0);
}

/// Section 14, D8: with `close_callback_on_api_close` the backend is told of this end, too, once
/// and with code and reason.
#[test]
fn the_backend_is_told_if_it_wants_to() {
    let backend = Backend::admitting_by_query().start();
    let ekbo = Ekbo::with(&backend).set("close_callback_on_api_close", "true").start();
    let mut alice = Client::connect_as(&ekbo, "alice");
    close_with(&ekbo, "alice", Some("4001"), Some(b"see you")).assert_accepted();
    alice.expect_text("bye");
    alice.expect_farewell(4001, "see you");
    let told = backend.wait_for_first("/close");
    assert_eq!(told.session(), Some("alice"));
    assert_eq!(told.close_code(), Some(4001));
    assert_eq!(told.close_reason(), "see you");

    Client::connect_as(&ekbo, "bob").leave(1000);
    let told = backend.wait_for("/close", 2);
    assert_eq!((told.len(), told[1].session()), (2, Some("bob")));
}

/// `/close` of `key` with the last word `bye`, and with code and reason as header fields.
#[track_caller]
fn close_with(ekbo: &Ekbo, key: &str, code: Option<&str>, reason: Option<&[u8]>) -> Response {
    let mut plan = ekbo.request("POST", "/close").session(key);
    if let Some(code) = code {
        plan = plan.header("X-Kuiperbelt-Close-Code", code);
    }
    if let Some(reason) = reason {
        plan = plan.header("X-Kuiperbelt-Close-Reason", reason);
    }
    plan.body("bye").send()
}

/// Writes messages until the connection takes no more, from a thread of its own.
fn flood(client: &mut Client) -> thread::JoinHandle<()> {
    let mut wire = client.writer();
    let frames = Frame::text("x".repeat(1000)).to_bytes().repeat(100);
    thread::spawn(move || while wire.write_all(&frames).is_ok() {})
}

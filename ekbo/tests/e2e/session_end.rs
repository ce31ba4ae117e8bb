//! Every way a session ends, what the client sees of it and what the backend is told. The ends
//! by `/close` are in `close.rs`, those by a signal in `stop.rs`.

use std::time::Duration;

use super::answers::NOT_FOUND;
use super::harness::{
    Answer, Backend, Client, Ekbo, End, Frame, Gate, Received, Signal, Stopwatch, eventually,
    let_pass,
};
use super::manners::MORE_THAN_SOCKETS_HOLD;

/// 8 row 1, D8: a close frame is echoed with its code and no reason, and the backend is told
/// code and reason, the reason percent-encoded.
#[test]
fn the_client_closes() {
    let backend = Backend::admitting_by_query().start();
    let ekbo = Ekbo::with(&backend).start();
    for (number, (code, reason)) in [
        (1000, ""),
        (1001, "tab closed"),
        (1003, "a%20b"),
        (3000, "tschüß, 字!"),
        (4999, "\"quoted\"\r\nand more"),
    ]
    .into_iter()
    .enumerate()
    {
        let key = format!("key-{number}");
        let mut client = Client::connect_as(&ekbo, &key);
        client.send(&Frame::close(code, reason));
        client.expect_close(code, "");
        client.expect_end();
        let told = &backend.wait_for("/close", number + 1)[number];
        assert_eq!(told.session(), Some(key.as_str()));
        assert_eq!(told.close_code(), Some(code));
        assert_eq!(told.close_reason(), reason);
        ekbo.wait_until_unknown(&key);
    }
}

/// 8 row 1, D8: an empty close frame is echoed as such and told as 1005.
#[test]
fn the_client_closes_without_a_code() {
    let backend = Backend::admitting("alice").start();
    let ekbo = Ekbo::with(&backend).start();
    let mut alice = Client::connect(&ekbo);
    alice.send(&Frame::close_payload(""));
    assert_eq!(alice.receive(), Received::Close(None));
    alice.expect_end();
    let told = backend.wait_for_first("/close");
    assert_eq!(told.close_code(), Some(1005));
    assert_eq!(told.close_reason(), "");
}

/// 8 row 2, D8, Line 17: a client that drops TCP without a close frame is gone, and told as 1006.
#[test]
fn the_client_vanishes() {
    let backend = Backend::plan()
        .on("/connect", Answer::admit("hogehoge").body("hello"))
        .on("/close", Answer::ok())
        .start();
    let ekbo = Ekbo::with(&backend).start();
    let mut client = Client::connect(&ekbo);
    client.expect_text("hello");
    ekbo.send(["hogehoge"], "addressable").assert_accepted();
    client.expect_text("addressable");
    client.send(&Frame::text("and away"));
    drop(client);
    let told = backend.wait_for_first("/close");
    assert_eq!(told.session(), Some("hogehoge"));
    assert_eq!(told.close_code(), Some(1006));
    ekbo.send(["hogehoge"], "anybody?").assert_failed_for([(NOT_FOUND, "hogehoge")]);
}

/// 8 row 2, D8: so is one that resets the connection.
#[test]
fn the_client_resets() {
    let backend = Backend::admitting("alice").start();
    let ekbo = Ekbo::with(&backend).start();
    Client::connect(&ekbo).reset();
    let told = backend.wait_for_first("/close");
    assert_eq!(told.close_code(), Some(1006));
    ekbo.wait_until_unknown("alice");
}

/// 8 row 3, D8: a client that breaks the protocol is told 1002, and so is the backend.
#[test]
fn the_client_breaks_the_protocol() {
    let backend = Backend::admitting("alice").start();
    let ekbo = Ekbo::with(&backend).start();
    let mut alice = Client::connect(&ekbo);
    alice.send(&Frame::text("no mask").unmasked());
    alice.expect_close_code(1002);
    alice.send(&Frame::close(1002, ""));
    alice.expect_end();
    assert_eq!(backend.wait_for_first("/close").close_code(), Some(1002));
    ekbo.wait_until_unknown("alice");
}

/// 8 row 4, D2, 7.4: a client that is silent for `idle_timeout` gets Close 1001.
#[test]
fn the_client_is_idle() {
    let backend = Backend::admitting("alice").start();
    let ekbo = Ekbo::with(&backend).set("idle_timeout", "1s").start();
    let since_handshake = Stopwatch::start();
    let mut alice = Client::connect(&ekbo);
    alice.expect_close(1001, "idle timeout");
    let waited = since_handshake.elapsed();
    assert!(waited >= Duration::from_secs(1), "{waited:?}");
    assert!(waited < Duration::from_secs(5), "{waited:?}");
    alice.send(&Frame::close(1001, ""));
    alice.expect_end();
    let told = backend.wait_for_first("/close");
    assert_eq!(told.close_code(), Some(1001));
    assert_eq!(told.close_reason(), "idle timeout");
}

/// Surface, section 2: clients of the gateway and of hubs are pinged; who answers nothing for
/// `pong_timeout` gets Close 1001.
#[test]
fn the_client_is_silent() {
    let backend = Backend::admitting("alice").start();
    let plan = Ekbo::with(&backend).set("ping_interval", "300ms").set("pong_timeout", "1s");
    let ekbo = plan.set("hubs", "[{path: /chat}]").start();
    for path in ["/connect", "/chat"] {
        let since_handshake = Stopwatch::start();
        let mut client = Client::to(&ekbo).path(path).connect();
        for number in ["1", "2", "3"] {
            assert_eq!(client.receive_frame(), Ok((0x89, number.into())), "{path}");
        }
        client.expect_close(1001, "pong timeout");
        let waited = since_handshake.elapsed();
        assert!(waited >= Duration::from_secs(1), "{waited:?}");
    }
    let told = backend.wait_for_first("/close");
    assert_eq!(told.close_code(), Some(1001));
    assert_eq!(told.close_reason(), "pong timeout");
    let mut answering = Client::connect(&ekbo);
    for number in ["1", "2", "3", "4", "5", "6", "7", "8"] {
        assert_eq!(answering.receive_frame(), Ok((0x89, number.into())));
        answering.send(&Frame::pong(number));
    }
}

/// Whoever answers its pings stays, also where `ekbo` itself, or its whole machine, stood still for
/// longer than `pong_timeout`.
#[test]
fn a_standstill_is_not_the_clients_silence() {
    let backend = Backend::admitting("alice").start();
    let plan = Ekbo::with(&backend).set("ping_interval", "300ms").set("pong_timeout", "1s");
    let ekbo = plan.set("hubs", "[{path: /chat}]").start();
    let mut clients = ["/connect", "/chat"].map(|path| Client::to(&ekbo).path(path).connect());
    let answer_all = |clients: &mut [Client], numbers: [&str; 3]| {
        for number in numbers {
            for client in &mut *clients {
                assert_eq!(client.receive_frame(), Ok((0x89, number.into())));
                client.send(&Frame::pong(number));
            }
        }
    };
    answer_all(&mut clients, ["1", "2", "3"]);
    ekbo.signal(Signal::Stop);
    let_pass(Duration::from_secs(3));
    ekbo.signal(Signal::Continue);
    answer_all(&mut clients, ["4", "5", "6"]);
}

/// D2, 8 row 4: with `close_frame: false` it gets the bare end of TCP.
#[test]
fn the_client_is_idle_and_gets_no_close_frame() {
    let backend = Backend::admitting("alice").start();
    let ekbo =
        Ekbo::with(&backend).set("idle_timeout", "500ms").set("close_frame", "false").start();
    let mut alice = Client::connect(&ekbo);
    alice.expect_end();
    assert_eq!(backend.wait_for_first("/close").session(), Some("alice"));
}

/// D2, 8 row 1, 8 row 3: `close_frame: false` takes neither the echo of a close nor the close
/// for a protocol error away.
#[test]
fn echoes_and_protocol_errors_always_have_a_close_frame() {
    let backend = Backend::admitting("alice").start();
    let ekbo = Ekbo::with(&backend).set("close_frame", "false").start();
    Client::connect(&ekbo).leave(4000);
    let mut alice = Client::connect(&ekbo);
    alice.send(&Frame::new(3, "an unknown opcode"));
    alice.expect_close_code(1002);
}

/// Line 18, 7.4: a ping counts as life, and is answered.
#[test]
fn a_ping_puts_the_idle_time_out_off() {
    let backend = Backend::admitting("alice").start();
    let ekbo = Ekbo::with(&backend).set("idle_timeout", "2s").start();
    let mut alice = Client::connect(&ekbo);
    let_pass(Duration::from_secs(1));
    alice.send(&Frame::ping("hello"));
    let since_ping = Stopwatch::start();
    let_pass(Duration::from_secs(1));
    alice.expect_pong("hello");
    assert_eq!(backend.requests("/close").len(), 0);
    backend.wait_for_first("/close");
    let waited = since_ping.elapsed();
    assert!(waited >= Duration::from_millis(1900), "{waited:?}");
    assert!(waited < Duration::from_millis(3500), "{waited:?}");
}

/// 7.4, Q20: pings, pongs, messages of the client and messages to the client all count as life;
/// silence does not.
#[test]
fn any_traffic_puts_the_idle_time_out_off() {
    let backend = Backend::admitting_by_query().start();
    let ekbo = Ekbo::with(&backend).set("idle_timeout", "2s").start();
    let keys = ["ping", "pong", "text", "fragments", "send", "silent"];
    let [mut ping, mut pong, mut text, mut fragments, mut send, mut silent] =
        keys.map(|key| Client::connect_as(&ekbo, key));
    fragments.send(&Frame::text("begin").unfinished());
    for _ in 0..8 {
        let_pass(Duration::from_millis(400));
        ping.send(&Frame::ping("life"));
        pong.send(&Frame::pong("life"));
        text.send(&Frame::text("life"));
        fragments.send(&Frame::continuation("life").unfinished());
        ekbo.send(["send"], "life").assert_accepted();
    }
    for client in [&mut pong, &mut text, &mut fragments] {
        client.expect_to_be_read();
    }
    for _ in 0..8 {
        ping.expect_pong("life");
        send.expect_text("life");
    }
    silent.expect_close(1001, "idle timeout");
    assert_eq!(backend.ended_keys(1), ["silent"]);
}

/// 8 row 5, 7.2: a client that has sent its close and is written to is gone; that is told once.
#[test]
fn a_client_is_written_to_after_its_close() {
    let backend = Backend::admitting("alice").start();
    let ekbo = Ekbo::with(&backend).start();
    let mut alice = Client::connect(&ekbo);
    alice.stall(&ekbo, "alice");
    alice.send(&Frame::close(1000, ""));
    alice.finish_sending();
    ekbo.send(["alice"], "after its close");
    drop(alice);
    let told = backend.wait_for_first("/close");
    assert_eq!(told.session(), Some("alice"));
    ekbo.wait_until_unknown("alice");
    backend.assert_told_of(&ekbo, 1);
}

/// 8 row 8, 9 row 3, D2, D7: a refused establish is Close 1011, before any message; the close
/// callback is called, as the session had been accepted.
#[test]
fn establish_is_refused() {
    let backend = Backend::plan()
        .on("/connect", Answer::admit("alice").body("hello"))
        .on("/establish", Answer::status(403))
        .on("/close", Answer::ok())
        .start();
    let ekbo = Ekbo::with(&backend).start();
    let mut alice = Client::connect(&ekbo);
    alice.expect_farewell(1011, "establish failed");
    let told = backend.wait_for_first("/close");
    assert_eq!(told.session(), Some("alice"));
    assert_eq!(told.close_code(), Some(1011));
    assert_eq!(told.close_reason(), "establish failed");
    ekbo.wait_until_unknown("alice");
    assert_eq!(ekbo.stats().total_messages, 0, "the first message was not tried");
}

/// 8 row 9, D7: a first message that cannot be written ends the session, and that is told.
#[test]
fn the_first_message_fails() {
    let first = "x".repeat(MORE_THAN_SOCKETS_HOLD);
    let backend = Backend::plan()
        .on("/connect", Answer::admit("alice").body(first))
        .on("/close", Answer::ok())
        .start();
    let ekbo = Ekbo::with(&backend).start();
    let mut alice = Client::connect(&ekbo);
    alice.wait_for_bytes();
    alice.reset();
    let told = backend.wait_for_first("/close");
    assert_eq!(told.session(), Some("alice"));
    assert_eq!(told.close_code(), Some(1006));
    ekbo.wait_until_unknown("alice");
}

/// 8 row 10, D5: a handshake that is refused has not reached the backend, and nothing is told.
#[test]
fn the_handshake_is_refused() {
    let backend = Backend::admitting("alice").start();
    let ekbo = Ekbo::with(&backend).start();
    let refused = Client::to(&ekbo).without("Sec-WebSocket-Key").refused();
    assert_eq!(refused.status, 400);
    Client::connect(&ekbo).leave(1000);
    backend.wait_for_first("/close");
    let paths: Vec<String> =
        backend.all_requests().iter().map(|request| request.path().to_owned()).collect();
    assert_eq!(paths, ["/connect", "/close"]);
}

/// D7, KB-CON-9, D5: a session whose first message is too large, is not UTF-8, or breaks off,
/// had been accepted all the same: 502 for the client, 1006 for the backend.
#[test]
fn an_accepted_session_without_a_first_message() {
    let never = Gate::new();
    let bodies = [
        Answer::admit("alice").body("x".repeat(1001)),
        Answer::admit("alice").body(b"caf\xe9"),
        Answer::admit("alice").body("half").then_wait_for(&never).body("rest"),
    ];
    for answer in bodies {
        let told = format!("{answer:?}");
        let backend = Backend::plan().on("/connect", answer).on("/close", Answer::ok()).start();
        let ekbo = Ekbo::with(&backend)
            .set("max_message_size", "1000")
            .set("callback.timeout", "500ms")
            .start();
        assert_eq!(Client::to(&ekbo).refused().status, 502, "{told}");
        let close = backend.wait_for_first("/close");
        assert_eq!(close.session(), Some("alice"), "{told}");
        assert_eq!(close.close_code(), Some(1006), "{told}");
        ekbo.wait_until_unknown("alice");
        let stats = ekbo.wait_for_stats("no connections", |stats| stats.connections == 0);
        assert_eq!(stats.connect_errors, 1, "{told}");
    }
}

/// D7: a backend that refuses has accepted nobody.
#[test]
fn a_refused_client_is_not_told_of() {
    let refusals = [
        Answer::status(403),
        Answer::status(500).header("X-Kuiperbelt-Session", "alice"),
        Answer::status(201).header("X-Kuiperbelt-Session", "alice"),
        Answer::ok(),
        Answer::admit(""),
    ];
    for refusal in refusals {
        let backend = Backend::admitting("alice").on("/connect", refusal).start();
        let ekbo = Ekbo::with(&backend).start();
        Client::to(&ekbo).refused();
        backend.on("/connect", Answer::admit("marker"));
        Client::connect(&ekbo).leave(1000);
        assert_eq!(backend.ended_keys(1), ["marker"]);
    }
}

/// KB-SES-1, Q8, F-4, 7.5: a key means the newest connection, also when the older one ends; each
/// connection has its close callback.
#[test]
fn the_same_key_twice() {
    let backend = Backend::admitting("alice").start();
    let ekbo = Ekbo::with(&backend).start();
    let mut older = Client::connect(&ekbo);
    let mut newer = Client::connect(&ekbo);
    ekbo.send(["alice"], "for the newer one").assert_accepted();
    newer.expect_text("for the newer one");
    older.expect_to_be_read();

    older.leave(4001);
    let told = backend.wait_for_first("/close");
    assert_eq!(told.close_code(), Some(4001));
    ekbo.send(["alice"], "still for the newer one").assert_accepted();
    newer.expect_text("still for the newer one");

    newer.leave(4002);
    let told = &backend.wait_for("/close", 2)[1];
    assert_eq!(told.close_code(), Some(4002));
    ekbo.wait_until_unknown("alice");
}

/// 7.5: when the newer connection ends first, the older one stays open, and cannot be sent to.
#[test]
fn the_newer_of_two_ends_first() {
    let backend = Backend::admitting("alice").start();
    let ekbo = Ekbo::with(&backend).start();
    let mut older = Client::connect(&ekbo);
    Client::connect(&ekbo).leave(1000);
    backend.wait_for_first("/close");
    ekbo.send(["alice"], "anybody?").assert_failed_for([(NOT_FOUND, "alice")]);
    older.expect_to_be_read();
}

/// 7.5: `duplicate_session: replace` closes the older connection, without a last word but with
/// its close callback.
#[test]
fn a_duplicate_replaces() {
    let backend = Backend::admitting("alice").start();
    let ekbo = Ekbo::with(&backend).set("duplicate_session", "replace").start();
    let mut older = Client::connect(&ekbo);
    let mut newer = Client::connect(&ekbo);
    older.expect_farewell(1000, "replaced");
    let told = backend.wait_for_first("/close");
    assert_eq!(told.session(), Some("alice"));
    assert_eq!(told.close_code(), Some(1000));
    assert_eq!(told.close_reason(), "replaced");
    ekbo.send(["alice"], "for the newer one").assert_accepted();
    newer.expect_text("for the newer one");
    assert_eq!(ekbo.stats().connections, 1);
}

/// 7.5: what had been queued for the older connection is written before it is closed.
#[test]
fn a_duplicate_replaces_a_busy_connection() {
    let backend = Backend::admitting("alice").start();
    let ekbo = Ekbo::with(&backend).set("duplicate_session", "replace").start();
    let mut older = Client::connect(&ekbo);
    older.stall(&ekbo, "alice");
    ekbo.send(["alice"], "queued").assert_accepted();
    let mut newer = Client::connect(&ekbo);
    ekbo.send(["alice"], "for the newer one").assert_accepted();
    newer.expect_text("for the newer one");
    older.resume();
    older.expect_text("queued");
    older.expect_farewell(1000, "replaced");
}

/// Section 1, D1: a key of a client that has left can be given again at once.
#[test]
fn a_key_is_used_again() {
    let backend = Backend::admitting("alice").start();
    let ekbo = Ekbo::with(&backend).start();
    for number in 0..20 {
        let mut alice = Client::connect(&ekbo);
        let message = format!("number {number}");
        ekbo.send(["alice"], &message).assert_accepted();
        alice.expect_text(&message);
        drop(alice);
    }
    ekbo.wait_until_unknown("alice");
    backend.wait_for("/close", 20);
}

/// 8: a client that is gone while it is being written to is noticed.
#[test]
fn a_stalled_client_vanishes() {
    let backend = Backend::admitting("alice").start();
    let ekbo = Ekbo::with(&backend).start();
    let mut alice = Client::connect(&ekbo);
    alice.stall(&ekbo, "alice");
    ekbo.send(["alice"], "queued").assert_accepted();
    alice.reset();
    let told = backend.wait_for_first("/close");
    assert_eq!(told.close_code(), Some(1006));
    eventually("no connections", || ekbo.stats().connections == 0);
}

/// 8 row 1: after a client's close nothing more is read from it or written to it.
#[test]
fn frames_after_a_close_mean_nothing() {
    let backend = Backend::admitting("alice").on("/receive", Answer::ok()).start();
    let ekbo = Ekbo::with(&backend).start();
    let mut alice = Client::connect(&ekbo);
    alice.send(&Frame::text("before"));
    let mut rest = Frame::close(1000, "").to_bytes();
    rest.extend(Frame::text("after").to_bytes());
    rest.extend(Frame::ping("after").to_bytes());
    alice.write(rest);
    alice.expect_close(1000, "");
    assert!(matches!(alice.receive(), Received::End(End::Eof | End::Reset)));
    backend.wait_for_first("/close");
    let received = backend.requests("/receive");
    assert_eq!(received.len(), 1);
    assert_eq!(received[0].text(), "before");
}

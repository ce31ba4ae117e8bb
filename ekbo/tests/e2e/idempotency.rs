//! `Idempotency-Key`: a repeated call is answered as the first was, and delivers nothing again.

use std::thread;

use super::answers::{JSON, NOT_FOUND};
use super::harness::{Backend, Client, Ekbo, RequestPlan, Response};

const USED: &str = "idempotency key was used for another call";

/// Each call that takes a key, once and again; the same key on another path is another.
#[test]
fn a_repeat_delivers_nothing() {
    let backend = Backend::admitting("alice").start();
    let ekbo = Ekbo::with(&backend).start();
    let mut alice = Client::connect(&ekbo);
    ekbo.subscribe(["alice"], ["news"]).assert_accepted();
    for path in ["/send", "/publish", "/broadcast"] {
        let call = ekbo.request("POST", path).session("alice").channels(["news"]).body(path);
        let first = keyed(&call, "k").send();
        assert_eq!(first.status, 200, "{first:?}");
        for _ in 0..3 {
            assert_same(&keyed(&call, "k").send(), &first);
        }
        assert_same(&keyed(&call, "K").send(), &first);
        alice.expect_text(path);
        alice.expect_text(path);
    }
    ekbo.send(["alice"], "end").assert_accepted();
    alice.expect_text("end");
    // Two of each call and the last; the repeats are not counted either.
    assert_eq!(ekbo.stats().total_messages, 7);
}

/// 50 callers at the same time: one of them delivers, and all have the same answer.
#[test]
fn many_at_once_deliver_once() {
    let backend = Backend::admitting_by_query().start();
    let ekbo = Ekbo::with(&backend).set("send_queue_size", "0").start();
    let mut alice = Client::connect_as(&ekbo, "alice");
    let mut bob = Client::connect_as(&ekbo, "bob");
    ekbo.subscribe(["bob"], ["news"]).assert_accepted();
    // Calls to alice wait until she reads.
    alice.stall(&ekbo, "alice");
    let sends = keyed(&ekbo.request("POST", "/send").sessions(["alice", "zoe"]).body("hello"), "k");
    let publishes = keyed(&ekbo.request("POST", "/publish").channels(["news"]).body("hi"), "k");
    let callers: Vec<_> = (0..50)
        .map(|_| {
            let (sends, publishes) = (sends.clone(), publishes.clone());
            thread::spawn(move || {
                let waiting = sends.start();
                publishes.send().assert_delivered(1);
                waiting
            })
        })
        .collect();
    let waiting: Vec<_> = callers.into_iter().map(|caller| caller.join().unwrap()).collect();
    bob.expect_text("hi");
    alice.resume();
    for mut caller in waiting {
        caller.read_answer_to("POST").assert_failed_for([(NOT_FOUND, "zoe")]);
    }
    ekbo.broadcast("end").assert_delivered(2);
    alice.expect_text("hello");
    alice.expect_text("end");
    bob.expect_text("end");
}

/// A key is one call's: with another body, for others or of another kind it is refused.
#[test]
fn a_key_that_was_used() {
    let backend = Backend::admitting_by_query().start();
    let ekbo = Ekbo::with(&backend).start();
    let mut alice = Client::connect_as(&ekbo, "alice");
    let _bob = Client::connect_as(&ekbo, "bob");
    let call = keyed(&ekbo.request("POST", "/send").body("hello"), "k");
    call.clone().session("alice").send().assert_accepted();
    for other in [
        call.clone().session("alice").body("hell"),
        call.clone().session("alice").body(""),
        call.clone().session("bob"),
        call.clone().sessions(["alice", "bob"]),
        call.clone().session("alice").content_type("application/octet-stream"),
    ] {
        other.send().assert_refused(422, USED);
    }
    call.session("alice").send().assert_accepted();
    ekbo.broadcast("end").assert_delivered(2);
    alice.expect_text("hello");
    alice.expect_text("end");
}

/// The first answer is repeated even if it would be another by now, strict or not.
#[test]
fn the_first_answer_stays() {
    let backend = Backend::admitting_by_query().start();
    for strict in ["false", "true"] {
        let ekbo = Ekbo::with(&backend).set("strict_broadcast", strict).start();
        let mut alice = Client::connect_as(&ekbo, "alice");
        let to = |key: &str| keyed(&ekbo.request("POST", "/send").session(key).body("hello"), key);
        let unknown = to("bob").send();
        assert_eq!(unknown.status, if strict == "true" { 400 } else { 200 });
        to("alice").send().assert_accepted();
        alice.expect_text("hello");
        alice.leave(1000);
        ekbo.wait_until_unknown("alice");
        to("alice").send().assert_accepted();
        let mut bob = Client::connect_as(&ekbo, "bob");
        assert_same(&to("bob").send(), &unknown);
        ekbo.send(["bob"], "end").assert_accepted();
        bob.expect_text("end");
    }
}

/// Who hangs up while the call is under way learns by a repeat what has become of it.
#[test]
fn a_caller_that_hangs_up() {
    let backend = Backend::admitting("alice").start();
    let ekbo = Ekbo::with(&backend).set("send_queue_size", "0").start();
    let mut alice = Client::connect(&ekbo);
    alice.stall(&ekbo, "alice");
    let before = ekbo.stats().total_messages;
    let call = keyed(&ekbo.request("POST", "/send").session("alice").body("hello"), "k");
    let first = call.clone().start();
    ekbo.wait_for_stats("the call to have begun", |stats| stats.total_messages == before + 1);
    let files = ekbo.open_files();
    drop(first);
    super::harness::eventually("its end to be noticed", || ekbo.open_files() < files);
    let mut repeat = call.clone().start();
    let mut other = call.clone().body("other").start();
    other.read_answer_to("POST").assert_refused(422, USED);
    alice.resume();
    repeat.read_answer_to("POST").assert_accepted();
    call.send().assert_accepted();
    ekbo.send(["alice"], "end").assert_accepted();
    alice.expect_text("hello");
    alice.expect_text("end");
}

/// What is refused before its body has come is not remembered.
#[test]
fn refusals_are_forgotten() {
    let backend = Backend::admitting("alice").start();
    let ekbo = Ekbo::with(&backend).set("max_body_size", "10").set("api_token", "sesame").start();
    let mut alice = Client::connect(&ekbo);
    for path in ["/send", "/publish", "/broadcast"] {
        let call = |method: &str| keyed(&ekbo.request(method, path), "k");
        let named = |method: &str| call(method).session("alice").channels(["news"]);
        let allowed = |request: RequestPlan| request.header("Authorization", "Bearer sesame");
        assert_eq!(named("POST").send().status, 401);
        assert_eq!(allowed(named("PUT")).send().status, 405);
        let foreign = allowed(named("POST")).header("Origin", "http://elsewhere.example");
        assert_eq!(foreign.send().status, 403);
        if path != "/broadcast" {
            assert_eq!(allowed(call("POST")).send().status, 400);
        }
        assert_eq!(allowed(named("POST")).body("x".repeat(11)).send().status, 413);
        let broken = allowed(named("POST")).header("Transfer-Encoding", "chunked");
        assert_eq!(broken.clone().body("zz\r\n").send().status, 500);
        assert_eq!(broken.body("b\r\nhello world\r\n").send().status, 413);
        assert_eq!(allowed(named("POST")).body("hello").send().status, 200);
    }
    alice.expect_text("hello");
    alice.expect_text("hello");
}

/// Keys have 1 to 255 bytes, and there is one of them.
#[test]
fn keys_that_are_none() {
    let backend = Backend::admitting("alice").start();
    let ekbo = Ekbo::with(&backend).start();
    let mut alice = Client::connect(&ekbo);
    let longest = "x".repeat(255);
    for path in ["/send", "/publish", "/broadcast"] {
        let call = ekbo.request("POST", path).session("alice").channels(["news"]).body("hello");
        for bad in ["", &format!("{longest}x")] {
            keyed(&call, bad).send().assert_refused(400, "idempotency key is invalid");
        }
        let twice = keyed(&keyed(&call, "a"), "a");
        twice.send().assert_refused(400, "idempotency key is invalid");
        assert_eq!(keyed(&call, &longest).send().status, 200);
    }
    alice.expect_text("hello");
    alice.expect_text("hello");
}

/// Calls that take no key do not look at it.
#[test]
fn other_calls_take_no_key() {
    let backend = Backend::admitting("alice").start();
    let ekbo = Ekbo::with(&backend).start();
    let mut alice = Client::connect(&ekbo);
    let subscribe = ekbo.request("POST", "/subscribe").session("alice");
    for name in ["a", "b"] {
        keyed(&subscribe.clone().channels([name]), "k").send().assert_accepted();
        ekbo.publish([name], name).assert_delivered(1);
        alice.expect_text(name);
    }
}

fn keyed(request: &RequestPlan, key: &str) -> RequestPlan {
    request.clone().header("Idempotency-Key", key)
}

#[track_caller]
fn assert_same(repeat: &Response, first: &Response) {
    repeat.assert_is(first.status, JSON, first.text());
}

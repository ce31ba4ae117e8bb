//! `/publish` and `/broadcast`: what they answer, and who gets what.

use super::answers::{CHANNEL_NOT_FOUND, JSON, NOT_UTF8};
use super::harness::{Backend, Client, Ekbo, Received};

/// Everybody who listens to a channel gets its messages, in order, and nobody else does.
#[test]
fn listeners_get_what_is_published() {
    let backend = Backend::admitting_by_query().start();
    let ekbo = Ekbo::with(&backend).start();
    let [mut alice, mut bob, mut carol] = connect(&ekbo, ["alice", "bob", "carol"]);
    ekbo.subscribe(["alice", "bob"], ["news"]).assert_accepted();
    for text in ["one", "two", ""] {
        ekbo.publish(["news"], text).assert_delivered(2);
    }
    ekbo.broadcast("to all").assert_delivered(3);
    for client in [&mut alice, &mut bob] {
        client.expect_text("one");
        client.expect_text("two");
        client.expect_text("");
        client.expect_text("to all");
    }
    carol.expect_text("to all");
}

/// Whoever listens to several of the channels named gets one copy.
#[test]
fn one_copy_of_a_call() {
    let backend = Backend::admitting_by_query().start();
    let ekbo = Ekbo::with(&backend).start();
    let [mut alice, mut bob] = connect(&ekbo, ["alice", "bob"]);
    ekbo.subscribe(["alice"], ["a", "b", "c"]).assert_accepted();
    ekbo.subscribe(["bob"], ["c"]).assert_accepted();
    ekbo.publish(["a", "b", "a", "c", "unknown"], "once").assert_delivered(2);
    ekbo.broadcast("end").assert_delivered(2);
    for client in [&mut alice, &mut bob] {
        client.expect_text("once");
        client.expect_text("end");
    }
}

/// Sessions under the keys of `X-Kuiperbelt-Except` are left out, older connections of a key too.
#[test]
fn some_are_left_out() {
    let backend = Backend::admitting_by_query().start();
    let ekbo = Ekbo::with(&backend).start();
    let [mut older] = connect(&ekbo, ["alice"]);
    ekbo.subscribe(["alice"], ["news"]).assert_accepted();
    let [mut alice, mut bob, mut carol] = connect(&ekbo, ["alice", "bob", "carol,dora"]);
    ekbo.subscribe(["alice", "bob", "carol,dora"], ["news"]).assert_accepted();
    let publish = ekbo.request("POST", "/publish").channels(["news"]).body("not to all");
    let except = |keys: &[&str]| {
        let add = |request: super::harness::RequestPlan, key: &&str| {
            request.header("X-Kuiperbelt-Except", key)
        };
        keys.iter().fold(publish.clone(), add).send()
    };
    except(&["alice", "carol,dora", "nobody"]).assert_delivered(1);
    except(&["bob", "carol"]).assert_delivered(3);
    except(&[""]).assert_delivered(4);
    ekbo.publish(["news"], "end").assert_delivered(4);
    for (client, copies) in [(&mut older, 2), (&mut alice, 2), (&mut bob, 2), (&mut carol, 2)] {
        for _ in 0..copies {
            client.expect_text("not to all");
        }
        client.expect_text("end");
    }
}

/// An unknown channel is one that nobody listens to, whatever its name; one without a name is an
/// error, and the others get the message.
#[test]
fn channels_that_nobody_listens_to() {
    let backend = Backend::admitting("alice").start();
    let ekbo = Ekbo::with(&backend).set("strict_broadcast", "true").start();
    let mut alice = Client::connect(&ekbo);
    ekbo.subscribe(["alice"], ["a, b"]).assert_accepted();
    let long = "x".repeat(600);
    for name in ["news", "a", "b", &long] {
        ekbo.publish([name], "hello").assert_delivered(0);
    }
    let failure = format!(r#"{{"error":"{CHANNEL_NOT_FOUND}","channel":""}}"#);
    for (channels, count) in [(["", "x"], 0), (["", "a, b"], 1)] {
        let body = format!("{{\"errors\":[{failure}],\"result\":\"OK\",\"delivered\":{count}}}\n");
        ekbo.publish(channels, "hello").assert_is(200, JSON, &body);
    }
    alice.expect_text("hello");
}

/// Text or binary by Content-Type, and text that is not UTF-8 as `invalid_text` says.
#[test]
fn text_and_binary() {
    let backend = Backend::admitting("alice").start();
    let ekbo = Ekbo::with(&backend).start();
    let mut alice = Client::connect(&ekbo);
    ekbo.subscribe(["alice"], ["a", "b"]).assert_accepted();
    let octets = "application/octet-stream";
    for path in ["/publish", "/broadcast"] {
        let request = ekbo.request("POST", path).channels(["a", "b"]);
        request.clone().content_type(octets).body(b"\xff\0").send().assert_delivered(1);
        alice.expect_binary(b"\xff\0");
        request.clone().content_type("application/json").body("{}").send().assert_delivered(1);
        alice.expect_text("{}");
        let answer = request.body(b"\xff").send();
        if path == "/broadcast" {
            answer.assert_refused(400, NOT_UTF8);
        } else {
            let failure = |name: &str| format!(r#"{{"error":"{NOT_UTF8}","channel":"{name}"}}"#);
            let failures = [failure("a"), failure("b")].join(",");
            let body = format!("{{\"errors\":[{failures}],\"result\":\"OK\",\"delivered\":0}}\n");
            answer.assert_is(200, JSON, &body);
        }
    }
    let lenient = Ekbo::with(&backend).set("invalid_text", "binary").start();
    let mut alice = Client::connect(&lenient);
    lenient.broadcast(b"\xff").assert_delivered(1);
    alice.expect_binary(b"\xff");
}

/// A body beyond the limit is refused whole, whether its length is announced or not.
#[test]
fn too_large_a_body() {
    let backend = Backend::admitting("alice").start();
    let ekbo = Ekbo::with(&backend).set("max_body_size", "10").start();
    let mut alice = Client::connect(&ekbo);
    ekbo.subscribe(["alice"], ["news"]).assert_accepted();
    for path in ["/publish", "/broadcast"] {
        let request = ekbo.request("POST", path).channels(["news"]);
        request.clone().body("x".repeat(11)).send().assert_is(413, JSON, r#"{"result":"NG"}"#);
        let chunked = request.clone().header("Transfer-Encoding", "chunked");
        let chunked = chunked.body("6\r\nabcdef\r\n6\r\nghijkl\r\n0\r\n\r\n");
        chunked.send().assert_is(413, JSON, r#"{"result":"NG"}"#);
        let broken = request.clone().header("Transfer-Encoding", "chunked").body("zz\r\n");
        broken.send().assert_is(500, JSON, r#"{"result":"NG"}"#);
        request.body("x".repeat(10)).send().assert_delivered(1);
        assert_eq!(alice.receive(), Received::Text("x".repeat(10)));
    }
}

/// Publishing waits for nobody, whatever `send_queue_size` says: who reads too slowly is closed,
/// and the others get everything.
#[test]
fn nobody_is_waited_for() {
    let backend = Backend::admitting_by_query().start();
    let ekbo = Ekbo::with(&backend).set("send_queue_size", "0").set("outbox.messages", "1").start();
    let [mut slow, mut quick] = connect(&ekbo, ["slow", "quick"]);
    ekbo.subscribe(["slow", "quick"], ["news"]).assert_accepted();
    slow.stall(&ekbo, "slow");
    ekbo.publish(["news"], "waits").assert_delivered(2);
    quick.expect_text("waits");
    ekbo.publish(["news"], "too much").assert_delivered(1);
    quick.expect_text("too much");
    slow.resume();
    slow.expect_farewell(1013, "slow consumer");
    backend.expect_close("a slow consumer", 1013, 1);
    ekbo.publish(["news"], "without it").assert_delivered(1);
    quick.expect_text("without it");
}

/// Without a channel header field the answer is 400, and the body is not waited for.
#[test]
fn a_channel_header_is_required() {
    let ekbo = Ekbo::alone().start();
    ekbo.publish([], "hello").assert_refused(400, "channel header is missing");
    let answer = ekbo.http().exchange(format!(
        "POST /publish HTTP/1.1\r\nHost: {}\r\nExpect: 100-continue\r\n\
         Content-Length: 10\r\n\r\n",
        ekbo.host()
    ));
    answer.assert_refused(400, "channel header is missing");
}

/// A hub that is not there is refused before anything else of the call is done.
#[test]
fn an_unknown_hub() {
    let backend = Backend::admitting("alice").start();
    let ekbo = Ekbo::with(&backend).start();
    let mut alice = Client::connect(&ekbo);
    ekbo.subscribe(["alice"], ["news"]).assert_accepted();
    let publish = ekbo.request("POST", "/publish").channels(["news"]).body(r#"{"event":"e"}"#);
    for hub in ["/chat", "", "/connect"] {
        let answer = publish.clone().header("X-Kuiperbelt-Hub", hub).send();
        answer.assert_refused(400, "kuiperbelt: hub is not found");
    }
    publish.send().assert_delivered(1);
    alice.expect_text(r#"{"event":"e"}"#);
}

/// What is delivered counts as messages.
#[test]
fn deliveries_are_counted() {
    let backend = Backend::admitting_by_query().start();
    let ekbo = Ekbo::with(&backend).start();
    let [_alice, _bob] = connect(&ekbo, ["alice", "bob"]);
    ekbo.subscribe(["alice"], ["news"]).assert_accepted();
    ekbo.publish(["news"], "hello").assert_delivered(1);
    ekbo.broadcast("hello").assert_delivered(2);
    assert_eq!(ekbo.stats().total_messages, 3);
}

/// Clients under these keys.
#[track_caller]
fn connect<const N: usize>(ekbo: &Ekbo, keys: [&str; N]) -> [Client; N] {
    keys.map(|key| Client::connect_as(ekbo, key))
}

//! `/subscribe`, `/unsubscribe` and `/channels`: who listens to what, and the limits of it.

use serde_json::Value;

use super::answers::{CHANNEL_NOT_FOUND, JSON, NOT_FOUND, TOO_MANY_CHANNELS, cursor};
use super::harness::{Backend, Client, Ekbo, eventually};

/// Every session named listens to every channel named, and no longer.
#[test]
fn all_by_all() {
    let backend = Backend::admitting_by_query().start();
    let ekbo = Ekbo::with(&backend).start();
    let mut alice = Client::connect_as(&ekbo, "alice");
    let mut bob = Client::connect_as(&ekbo, "bob");
    assert_eq!(channels(&ekbo, ""), r#"{"channels":[],"next":null,"result":"OK"}"#);
    ekbo.subscribe(["alice", "bob"], ["a", "b"]).assert_accepted();
    ekbo.subscribe(["alice"], ["b", "c, d"]).assert_accepted();
    let all =
        r#"{"name":"a","listeners":2},{"name":"b","listeners":2},{"name":"c, d","listeners":1}"#;
    assert_eq!(channels(&ekbo, ""), format!(r#"{{"channels":[{all}],"next":null,"result":"OK"}}"#));
    ekbo.unsubscribe(["alice", "bob"], ["a", "c, d", "unknown"]).assert_accepted();
    ekbo.publish(["a", "c, d"], "for nobody").assert_delivered(0);
    ekbo.publish(["b"], "hello").assert_delivered(2);
    alice.expect_text("hello");
    bob.expect_text("hello");
}

/// Channels come in pages, sorted by name; `next` is where the one after begins.
#[test]
fn pages_of_channels() {
    let backend = Backend::admitting("alice").start();
    let ekbo = Ekbo::with(&backend).start();
    let _alice = Client::connect(&ekbo);
    let binary = ekbo.request("POST", "/subscribe").session("alice");
    binary.header("X-Kuiperbelt-Channel", b"z\xff").send().assert_accepted();
    ekbo.subscribe(["alice"], ["b", "a b&c", "é", "B", "z%FF"]).assert_accepted();
    let page = |names: &[&str], last: Option<&str>| {
        let next = last.map_or("null".to_owned(), |last| format!("\"{}\"", cursor(last)));
        let item = |name: &&str| format!(r#"{{"name":"{name}","listeners":1}}"#);
        let items: Vec<String> = names.iter().map(item).collect();
        format!(r#"{{"channels":[{}],"next":{next},"result":"OK"}}"#, items.join(","))
    };
    assert_eq!(channels(&ekbo, "?limit=2"), page(&["B", "a b&c"], Some("a b&c")));
    assert_eq!(channels(&ekbo, "?limit=1&after=a%20b%26c"), page(&["b"], Some("b")));
    assert_eq!(channels(&ekbo, "?after=b&limit=1"), page(&["z%FF"], Some("z%FF")));
    let encoded = r#"{"name":"z%FF","percent_encoded":true,"listeners":1}"#;
    assert_eq!(
        channels(&ekbo, "?after=z%25FF&limit=1"),
        format!(r#"{{"channels":[{encoded}],"next":"{}","result":"OK"}}"#, cursor(b"z\xff"))
    );
    assert_eq!(channels(&ekbo, "?after=z%FF&limit=1"), page(&["é"], None));
}

/// `next` leads on as it is, whatever the names are, and no two of them look the same.
#[test]
fn every_channel_is_on_one_page() {
    let backend = Backend::admitting("alice").start();
    let ekbo = Ekbo::with(&backend).start();
    let _alice = Client::connect(&ekbo);
    let mut names: Vec<&[u8]> =
        vec![b"a", b"%41", b"A", b"a+b", b"a b", b"a&b=c#d", b"%FF", b"\xff", b"\xc3\xa9", b"\xc3"];
    for name in &names {
        let subscribe = ekbo.request("POST", "/subscribe").session("alice");
        subscribe.header("X-Kuiperbelt-Channel", name).send().assert_accepted();
    }
    let mut shown = Vec::new();
    let mut query = "?limit=1".to_owned();
    loop {
        let page: Value = serde_json::from_str(&channels(&ekbo, &query)).unwrap();
        let [channel] = &page["channels"].as_array().unwrap()[..] else { panic!("{page}") };
        shown.push(channel["name"].as_str().unwrap().to_owned());
        if channel["percent_encoded"] == true {
            shown.last_mut().unwrap().push_str(" (encoded)");
        }
        let Some(next) = page["next"].as_str() else { break };
        query = format!("?limit=1&cursor={next}");
    }
    names.sort_unstable();
    let expected = names.iter().map(|name| match *name {
        b"\xff" => "%FF (encoded)",
        b"\xc3" => "%C3 (encoded)",
        text => str::from_utf8(text).unwrap(),
    });
    assert_eq!(shown, expected.collect::<Vec<_>>());
}

/// Unknown sessions are listed, and the others listen.
#[test]
fn unknown_sessions() {
    let backend = Backend::admitting("alice").start();
    let ekbo = Ekbo::with(&backend).start();
    let mut alice = Client::connect(&ekbo);
    let answer = ekbo.subscribe(["zoe", "alice", ""], ["news"]);
    answer.assert_failed_for([(NOT_FOUND, "zoe"), (NOT_FOUND, "")]);
    ekbo.publish(["news"], "hello").assert_delivered(1);
    alice.expect_text("hello");
    let answer = ekbo.unsubscribe(["zoe", "alice"], ["news"]);
    answer.assert_failed_for([(NOT_FOUND, "zoe")]);
    ekbo.publish(["news"], "hello").assert_delivered(0);
}

/// With `strict_broadcast` an unknown session has nothing be done.
#[test]
fn unknown_sessions_of_a_strict_call() {
    let backend = Backend::admitting("alice").start();
    let ekbo = Ekbo::with(&backend).set("strict_broadcast", "true").start();
    let _alice = Client::connect(&ekbo);
    let answer = ekbo.subscribe(["alice", "zoe"], ["news"]);
    answer.assert_strictly_failed_for([(NOT_FOUND, "zoe")]);
    ekbo.publish(["news"], "hello").assert_delivered(0);
    ekbo.subscribe(["alice"], ["news"]).assert_accepted();
    let answer = ekbo.unsubscribe(["alice", "zoe"], ["news"]);
    answer.assert_strictly_failed_for([(NOT_FOUND, "zoe")]);
    ekbo.publish(["news"], "hello").assert_delivered(1);
}

/// What is wrong with a channel makes no strict call fail: the others are done, and it is listed.
#[test]
fn channels_of_a_strict_call() {
    let backend = Backend::admitting("alice").start();
    let ekbo = Ekbo::with(&backend)
        .set("strict_broadcast", "true")
        .set("channels.per_session", "1")
        .start();
    let _alice = Client::connect(&ekbo);
    let failures = |failures: &str| format!("{{\"errors\":[{failures}],\"result\":\"OK\"}}\n");
    let empty = format!(r#"{{"error":"{CHANNEL_NOT_FOUND}","channel":""}}"#);
    let beyond =
        format!(r#"{{"error":"{TOO_MANY_CHANNELS}","session":"alice","channel":"weather"}}"#);
    let both = failures(&format!("{empty},{beyond}"));
    ekbo.subscribe(["alice"], ["", "news", "weather"]).assert_is(200, JSON, &both);
    ekbo.publish(["news"], "hello").assert_delivered(1);
    ekbo.unsubscribe(["alice"], ["", "news"]).assert_is(200, JSON, &failures(&empty));
    ekbo.publish(["news"], "hello").assert_delivered(0);
}

/// Names have 1 to 512 bytes; what is wrong with one concerns no session, and not the others.
#[test]
fn names_that_are_none() {
    let backend = Backend::admitting("alice").start();
    let ekbo = Ekbo::with(&backend).start();
    let _alice = Client::connect(&ekbo);
    let longest = "x".repeat(512);
    let longer = "x".repeat(513);
    let failures = |failures: &[(&str, &str)]| {
        let failure =
            |(error, name): &(&str, &str)| format!(r#"{{"error":"{error}","channel":"{name}"}}"#);
        let failures: Vec<String> = failures.iter().map(failure).collect();
        format!("{{\"errors\":[{}],\"result\":\"OK\"}}\n", failures.join(","))
    };
    let names = ["", &longer, "news", &longest];
    let both = failures(&[(CHANNEL_NOT_FOUND, ""), (TOO_MANY_CHANNELS, &longer)]);
    ekbo.subscribe(["alice"], names).assert_is(200, JSON, &both);
    ekbo.publish(["news"], "hello").assert_delivered(1);
    ekbo.publish([&longest], "hello").assert_delivered(1);
    let empty = failures(&[(CHANNEL_NOT_FOUND, "")]);
    ekbo.unsubscribe(["alice"], names).assert_is(200, JSON, &empty);
    ekbo.publish(["news", &longest], "hello").assert_delivered(0);
}

/// `channels.per_session` and `channels.max` are limits: what is beyond fails, and what there is
/// stays.
#[test]
fn a_flood_of_channels_meets_a_limit() {
    let backend = Backend::admitting_by_query().start();
    let ekbo =
        Ekbo::with(&backend).set("channels.per_session", "2").set("channels.max", "3").start();
    let _alice = Client::connect_as(&ekbo, "alice");
    let bob = Client::connect_as(&ekbo, "bob");
    let too_many = |session: &str, channel: &str| {
        let failure = format!(
            r#"{{"error":"{TOO_MANY_CHANNELS}","session":"{session}","channel":"{channel}"}}"#
        );
        format!("{{\"errors\":[{failure}],\"result\":\"OK\"}}\n")
    };
    let answer = ekbo.subscribe(["alice"], ["a", "b", "c"]);
    answer.assert_is(200, JSON, &too_many("alice", "c"));
    ekbo.subscribe(["alice"], ["a"]).assert_accepted();
    let answer = ekbo.subscribe(["bob"], ["c", "d"]);
    answer.assert_is(200, JSON, &too_many("bob", "d"));
    ekbo.unsubscribe(["alice"], ["a"]).assert_accepted();
    ekbo.subscribe(["bob"], ["d"]).assert_accepted();
    bob.leave(1000);
    eventually("bob's channels to be free", || {
        channels(&ekbo, "")
            == r#"{"channels":[{"name":"b","listeners":1}],"next":null,"result":"OK"}"#
    });
}

/// Both headers are required, and so many targets are too many.
#[test]
fn calls_that_are_refused() {
    let ekbo = Ekbo::alone().start();
    for path in ["/subscribe", "/unsubscribe"] {
        let call = || ekbo.request("POST", path);
        call().channels(["a"]).send().assert_refused(400, "session header is missing");
        call().send().assert_refused(400, "session header is missing");
        call().session("a").send().assert_refused(400, "channel header is missing");
        ekbo.request("GET", path).send().assert_refused(405, "required POST method");
        let many = (0..317).fold(call(), |call, _| call.session("s").channels(["c"]));
        many.send().assert_refused(400, "too many sessions and channels");
    }
    for method in ["POST", "PUT", "DELETE", "OPTIONS"] {
        let answer = ekbo.request(method, "/channels").send();
        answer.assert_refused(405, "required GET method");
    }
    for limit in ["0", "1001", "x", "", "-1"] {
        let answer = ekbo.get(&format!("/channels?limit={limit}"));
        answer.assert_refused(400, "limit is not a number from 1 to 1000");
    }
    let answer = ekbo.request("HEAD", "/channels").send();
    assert_eq!((answer.status, answer.text()), (200, ""));
}

/// A body says nothing, but it has the limits of any other, whether its length is announced or not.
#[test]
fn bodies_are_limited() {
    let backend = Backend::admitting("alice").start();
    let ekbo = Ekbo::with(&backend).set("max_body_size", "10").start();
    let _alice = Client::connect(&ekbo);
    for (path, listeners) in [("/subscribe", 1), ("/unsubscribe", 0)] {
        let call = ekbo.request("POST", path).session("alice").channels(["news"]);
        let chunked = call.clone().header("Transfer-Encoding", "chunked");
        for (call, status) in [
            (call.clone().body("x".repeat(11)), 413),
            (chunked.clone().body("6\r\nabcdef\r\n6\r\nghijkl\r\n0\r\n\r\n"), 413),
            (chunked.clone().body("zz\r\n"), 500),
        ] {
            call.send().assert_is(status, JSON, r#"{"result":"NG"}"#);
            ekbo.publish(["news"], "").assert_delivered(1 - listeners);
        }
        call.body("x".repeat(10)).send().assert_accepted();
        ekbo.publish(["news"], "").assert_delivered(listeners);
        chunked.body("a\r\n0123456789\r\n0\r\n\r\n").send().assert_accepted();
    }
}

/// `GET /channels` with this query.
#[track_caller]
fn channels(ekbo: &Ekbo, query: &str) -> String {
    let answer = ekbo.get(&format!("/channels{query}"));
    assert_eq!((answer.status, answer.header("Content-Type")), (200, Some(JSON)), "{answer:?}");
    answer.text().to_owned()
}

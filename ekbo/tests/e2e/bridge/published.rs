//! What is published: it reaches everybody, whole, in order, and as it was.

use std::fs;

use serde_json::{Value, json};

use super::super::harness::{Client, Directory, Frame, Rbkit, recordings, unpack};
use super::{OK, Said, bridged, bridged_with, enter, enter_all, escape, visitor};

/// RB-D-4, RB-BRG-4: with the memory profile on, collections come one after the other, and
/// statistics now and then.
#[test]
fn the_memory_profile() {
    let rbkit = Rbkit::plan().plain_pub().every(10, 50).start();
    let ekbo = bridged(&rbkit);
    let mut client = visitor(&ekbo).connect();
    client.asks("start_memory_profile");
    client.asks("start_cpu_profiling");
    let mut answers = 0;
    let mut next = None;
    let mut kinds = Vec::new();
    while kinds.len() < 100 || answers < 2 || !kinds.contains(&json!(6)) {
        match client.hears_bridge() {
            Said::Response(bytes) => {
                assert_eq!(bytes, b"ok");
                answers += 1;
            }
            Said::Published(bytes) => {
                let told = unpack(&bytes);
                assert_eq!(told["0"], 7, "{told}");
                let counter = told["9"].as_u64().unwrap();
                assert_eq!(counter, next.unwrap_or(counter));
                next = Some(counter + 1);
                kinds.extend(told["2"].as_array().unwrap().iter().map(|event| event["0"].clone()));
            }
            Said::Clients(_) => panic!("it is alone"),
        }
    }
    for kind in [0, 1, 2, 3, 4, 6, 9] {
        assert!(kinds.contains(&json!(kind)), "no event of type {kind} in {kinds:?}");
    }
}

/// RB-D-5: a heap dump of 2500 objects comes in three pieces that tell what they belong to.
#[test]
fn a_heap_dump() {
    let rbkit = Rbkit::plan().objects(2500).start();
    let ekbo = bridged(&rbkit);
    let mut client = enter(&ekbo);
    rbkit.wait_for_subscribers(1);
    for dump in 1..=2 {
        client.asks("objectspace_snapshot");
        let (mut answers, mut pieces) = (Vec::new(), Vec::new());
        while answers.is_empty() || pieces.len() < 3 {
            match client.hears_bridge() {
                Said::Response(bytes) => answers.push(bytes),
                Said::Published(bytes) => pieces.push(unpack(&bytes)),
                Said::Clients(_) => panic!("it is alone"),
            }
        }
        assert_eq!(answers, [b"ok"]);
        for (piece, objects) in pieces.iter().zip([1000, 1000, 500]) {
            let events = piece["2"].as_array().unwrap();
            assert_eq!(events.len(), 1);
            assert_eq!(events[0]["0"], 5);
            assert_eq!(events[0]["10"], dump);
            assert_eq!(events[0]["11"], 2500);
            assert_eq!(events[0]["2"].as_array().unwrap().len(), objects);
        }
        let last = &pieces[2]["2"][0]["2"][499];
        assert_eq!(last["3"], 0x7f8a_5c00_0000_u64 + 40 * 2499);
    }
}

/// RB-D-6, RB-MSG-1: the example of the original, as its clients have always got it.
#[test]
fn the_example() {
    const BYTES: &[u8] = b"\x84\x00\x07\x01\xcb\x42\x74\x7b\x74\x21\x00\xe0\x00\x09\x00\
                           \x02\x91\x82\x00\x02\x01\xcb\x42\x74\x7b\x74\x21\x00\xe0\x00";
    let rbkit = Rbkit::start();
    let ekbo = bridged(&rbkit);
    let mut client = enter(&ekbo);
    rbkit.wait_for_subscribers(1);
    rbkit.publish([BYTES]);
    client.expect_text(
        "1%84%00%07%01%CBBt%7Bt%21%00%E0%00%09%00%02%91%82%00%02%01%CBBt%7Bt%21%00%E0%00",
    );
}

/// RB-D-6, RB-MSG-1: every byte value, in text as an escape or as itself, in binary as it is; both
/// for what is published and for responses. A client chooses by the name it offers.
#[test]
fn all_bytes() {
    let bytes: Vec<u8> = (0..=255).collect();
    let rbkit = Rbkit::plan().echoing().start();
    let ekbo = bridged_with(&rbkit, json!({"client_count_notices": false})).start();
    let mut text = enter(&ekbo);
    let mut raw = visitor(&ekbo).instead("Sec-WebSocket-Protocol", "rbkit.raw").connect();
    assert_eq!(raw.response.header("Sec-WebSocket-Protocol"), Some("rbkit.raw"));
    raw.asks("");
    raw.expect_binary(OK);
    rbkit.wait_for_subscribers(1);
    rbkit.publish([&bytes]);
    rbkit.publish([b" ~%+"]);
    rbkit.publish([b""]);
    text.expect_text(&format!("1{}", escape(&bytes)));
    text.expect_text("1+%7E%25%2B");
    text.expect_text("1");
    raw.expect_binary([b"1", &*bytes].concat());
    raw.expect_binary(b"1 ~%+");
    raw.expect_binary(b"1");
    for client in [&mut text, &mut raw] {
        client.send(&Frame::binary(&bytes[1..]));
    }
    text.expect_text(&format!("0{}", escape(&bytes[1..])));
    raw.expect_binary([b"0", &bytes[1..]].concat());
}

/// `payload_encoding: raw`: binary frames under both names, notices as well.
#[test]
fn raw_by_default() {
    let rbkit = Rbkit::start();
    let ekbo = bridged_with(&rbkit, json!({"payload_encoding": "raw"})).start();
    let enter = |name| {
        let mut client = Client::to(&ekbo).path("/").protocols(name).connect();
        assert_eq!(client.response.header("Sec-WebSocket-Protocol"), Some(name));
        client.asks("start_cpu_profiling");
        client.expect_binary(OK);
        client
    };
    let mut first = enter("rbkit");
    let mut second = enter("rbkit.raw");
    first.expect_binary("0client_count:2");
    rbkit.wait_for_subscribers(1);
    rbkit.publish([b"\xff\x00"]);
    first.expect_binary(b"1\xff\x00");
    second.expect_binary(b"1\xff\x00");
}

/// `response_prefix` and `publish_prefix`.
#[test]
fn other_prefixes() {
    let rbkit = Rbkit::start();
    let prefixes = json!({"response_prefix": "<", "publish_prefix": ">"});
    let ekbo = bridged_with(&rbkit, prefixes).start();
    let mut client = visitor(&ekbo).connect();
    client.asks("ping");
    client.expect_text("<ok");
    client.asks("");
    client.expect_text("<ok");
    rbkit.wait_for_subscribers(1);
    rbkit.publish([b"data"]);
    client.expect_text(">data");
    let _second = visitor(&ekbo).connect();
    client.expect_text("<client_count:2");
}

/// RB-D-15, RB-BRG-3: messages of the kinds and sizes that were recorded come through unchanged.
#[test]
fn recorded_messages() {
    let directory = Directory::new();
    let recordings = recordings(&directory);
    let size = |name| fs::metadata(directory.join(name)).unwrap().len();
    assert!((750_000..800_000).contains(&size("object_dump")));
    assert!((3_400_000..3_600_000).contains(&size("split_dump")));
    let rbkit = Rbkit::start();
    let ekbo = bridged_with(&rbkit, json!({"client_count_notices": false})).start();
    let mut text = enter(&ekbo);
    let mut raw = Client::to(&ekbo).path("/").protocols("rbkit.raw").connect();
    raw.asks("");
    raw.expect_binary(OK);
    rbkit.wait_for_subscribers(1);
    for (name, path) in recordings {
        rbkit.tell(format!("file {}", path.display()));
        let recorded = fs::read(path).unwrap();
        assert!(text.published() == recorded, "{name}");
        assert!(raw.published() == recorded, "{name}, raw");
        assert_eq!(unpack(&recorded)["0"], 7, "{name}");
    }
}

/// Messages of several parts: each part is a payload, or `join_parts`.
#[test]
fn several_parts() {
    for (join_parts, payloads) in
        [(false, &["1topic", "1", "1body", "1next"][..]), (true, &["1topicbody", "1next"])]
    {
        let rbkit = Rbkit::start();
        let ekbo = bridged_with(&rbkit, json!({"join_parts": join_parts})).start();
        let mut client = enter(&ekbo);
        rbkit.wait_for_subscribers(1);
        rbkit.publish([b"topic", b"", b"body"]);
        rbkit.publish([b"next"]);
        for payload in payloads {
            client.expect_text(payload);
        }
    }
}

/// `topics`: what begins otherwise is not asked for.
#[test]
fn topics() {
    let rbkit = Rbkit::start();
    let ekbo = bridged_with(&rbkit, json!({"topics": ["gc", "cpu."]})).start();
    let mut client = enter(&ekbo);
    rbkit.wait_for_subscribers(2);
    for message in ["gc", "heap", "gc.start", "cpu", "", "cpu.sample"] {
        rbkit.publish([message.as_bytes()]);
    }
    for message in ["1gc", "1gc.start", "1cpu.sample"] {
        client.expect_text(message);
    }
    client.leave(1000);
    rbkit.wait_for_subscribers(0);
}

/// Without `publish_endpoint` nothing is published, and commands are answered.
#[test]
fn a_bridge_without_data() {
    let rbkit = Rbkit::plan().objects(10).start();
    let ekbo = bridged_with(&rbkit, json!({"publish_endpoint": ""})).start();
    let [mut first, mut second] = enter_all(&ekbo);
    for client in [&mut first, &mut second] {
        client.asks("objectspace_snapshot");
        client.expect_text(OK);
        client.asks("trigger_gc");
        client.expect_text(OK);
    }
    assert_eq!(rbkit.subscriptions(), 0);
}

/// RB-BRG-4: each client gets everything in the order in which it was published.
#[test]
fn order() {
    const COUNT: usize = 5_000;
    let rbkit = Rbkit::start();
    let queue = json!({"client_queue": {"messages": COUNT, "bytes": "64MiB"}});
    let ekbo = bridged_with(&rbkit, queue).start();
    let mut clients: [Client; 3] = enter_all(&ekbo);
    rbkit.wait_for_subscribers(1);
    rbkit.tell(format!("load 1000000 100 {COUNT}"));
    for client in &mut clients {
        for number in 0..COUNT {
            let message = client.published();
            assert_eq!(&message[..8], format!("{number:08}").as_bytes());
        }
    }
}

/// RB-D-4: `trigger_gc` publishes the three events of a collection of garbage.
#[test]
fn a_collection_of_garbage() {
    let rbkit = Rbkit::start();
    let ekbo = bridged(&rbkit);
    let [mut asking, mut listening] = enter_all(&ekbo);
    rbkit.wait_for_subscribers(1);
    asking.asks("trigger_gc");
    let told = unpack(&listening.published());
    let kinds: Vec<&Value> = told["2"].as_array().unwrap().iter().map(|e| &e["0"]).collect();
    assert_eq!(kinds, [2, 3, 4]);
}

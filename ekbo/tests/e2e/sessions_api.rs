//! `/sessions` and `/sessions/KEY`: what is told of sessions, and in which pages.

use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};

use super::answers::{JSON, NOT_FOUND, cursor};
use super::harness::{
    Answer, Backend, Client, Ekbo, Frame, RequestPlan, eventually, eventually_some,
};

/// Everything that is told of a session.
#[test]
fn what_is_told_of_a_session() {
    let backend = Backend::admitting("alice").on("/receive", Answer::ok()).start();
    let ekbo = Ekbo::with(&backend).start();
    let before = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    let mut alice = Client::connect(&ekbo);
    let address = alice.writer().as_tcp().unwrap().local_addr().unwrap().to_string();
    ekbo.subscribe(["alice"], ["b", "a"]).assert_accepted();
    ekbo.publish(["a"], "hello").assert_delivered(1);
    alice.expect_text("hello");
    alice.send(&Frame::text("hi"));
    backend.wait_for("/receive", 1);
    let told = eventually_some("the message to be written", || {
        Some(session(&ekbo, "alice")).filter(|told| told["out"]["messages"] == 1)
    });
    let connected_at = told["connected_at"].as_str().unwrap();
    assert_eq!(connected_at.len(), "2026-11-20T15:31:23.042Z".len(), "{connected_at}");
    let output = std::process::Command::new("date").args(["-d", connected_at, "+%s"]).output();
    let seconds: u64 = String::from_utf8(output.unwrap().stdout).unwrap().trim().parse().unwrap();
    let after = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    assert!((before..=after).contains(&seconds), "{connected_at}");
    let expected = json!({
        "key": "alice",
        "connected_at": connected_at,
        "remote_address": address,
        "transport": "ws",
        "channels": [{ "name": "a" }, { "name": "b" }],
        "channel_count": 2,
        "queue": { "messages": 0, "bytes": 0 },
        "in": { "messages": 1, "bytes": 2 },
        "out": { "messages": 1, "bytes": 7 },
        "dropped": 0,
    });
    assert_eq!(told.to_string(), expected.to_string());
    assert_eq!(list(&ekbo, ""), json!({ "sessions": [expected], "next": null, "result": "OK" }));
}

/// What waits for a client that does not read, and what it has lost.
#[test]
fn queues_and_drops() {
    let backend = Backend::admitting("alice").start();
    let ekbo = Ekbo::with(&backend)
        .set("outbox.messages", "2")
        .set("slow_consumer", "drop_newest")
        .start();
    let mut alice = Client::connect(&ekbo);
    alice.stall(&ekbo, "alice");
    ekbo.broadcast("waits").assert_delivered(1);
    ekbo.broadcast("waits too").assert_delivered(1);
    ekbo.broadcast("is dropped").assert_delivered(0);
    let told = session(&ekbo, "alice");
    assert_eq!(told["queue"]["messages"], 3, "{told}");
    assert!(told["queue"]["bytes"].as_u64().unwrap() > 8 << 20, "{told}");
    assert_eq!(told["dropped"], 1);
    alice.resume();
    alice.expect_text("waits");
    alice.expect_text("waits too");
    eventually("the queue to be empty", || session(&ekbo, "alice")["queue"]["bytes"] == 0);
}

/// Sessions come in pages, sorted by key; every one of them is on one page.
#[test]
fn pages_of_sessions() {
    let backend = Backend::admitting_by_query().start();
    let ekbo = Ekbo::with(&backend).start();
    let mut clients: Vec<Client> =
        (0..105).map(|n| Client::connect_as(&ekbo, &format!("{n:03}"))).collect();
    // An older connection is listed no more.
    clients.push(Client::connect_as(&ekbo, "007"));
    let all: Vec<String> = (0..105).map(|n| format!("{n:03}")).collect();
    assert_eq!(keys(&list(&ekbo, "")), all[..100]);
    assert_eq!(list(&ekbo, "")["next"], cursor("099"));
    assert_eq!(keys(&list(&ekbo, "?after=099")), all[100..]);
    assert_eq!(list(&ekbo, "?after=099&limit=5")["next"], Value::Null);
    assert_eq!(keys(&list(&ekbo, "?limit=1000")), all);
    assert_eq!(keys(&list(&ekbo, "?after=zzz")), [""; 0]);
    let mut found = Vec::new();
    let mut next = Some(String::new());
    while let Some(cursor) = next {
        let page = list(&ekbo, &format!("?limit=10&cursor={cursor}"));
        found.extend(keys(&page));
        next = page["next"].as_str().map(str::to_owned);
    }
    assert_eq!(found, all);
}

/// Of a channel only those are listed that listen to it.
#[test]
fn sessions_of_a_channel() {
    let backend = Backend::admitting_by_query().start();
    let ekbo = Ekbo::with(&backend).start();
    let _older = Client::connect_as(&ekbo, "alice");
    ekbo.subscribe(["alice"], ["news & more"]).assert_accepted();
    let _clients = ["alice", "bob", "carol", "dora"].map(|key| Client::connect_as(&ekbo, key));
    ekbo.subscribe(["dora", "bob", "carol"], ["news & more"]).assert_accepted();
    let channel = "channel=news+%26%20more";
    assert_eq!(keys(&list(&ekbo, &format!("?{channel}"))), ["bob", "carol", "dora"]);
    let page = list(&ekbo, &format!("?{channel}&after=bob&limit=1"));
    assert_eq!((keys(&page), &page["next"]), (vec!["carol".to_owned()], &json!(cursor("carol"))));
    for other in ["news", "", "x"] {
        assert_eq!(keys(&list(&ekbo, &format!("?channel={other}"))), [""; 0], "{other}");
    }
}

/// Keys are any bytes: they are found under their percent-encoded form, and shown in it if they
/// are no UTF-8, which `after` takes.
#[test]
fn keys_of_any_bytes() {
    let backend = Backend::plan()
        .on_request("/connect", |request| {
            let key: Vec<u8> = match request.query().unwrap() {
                "slashes" => b"a//../b".to_vec(),
                "dots" => b"..".to_vec(),
                "binary" => b"b\xff%".to_vec(),
                "text" => "c é%41".into(),
                other => other.into(),
            };
            let head = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nX-Kuiperbelt-Session: ";
            Answer::raw([head, &key[..], b"\r\n\r\n"].concat())
        })
        .start();
    let ekbo = Ekbo::with(&backend).start();
    let queries = ["slashes", "dots", "binary", "text", "d"];
    let _clients = queries.map(|query| Client::connect_as(&ekbo, query));
    for (path, key) in [
        ("a%2F%2F..%2Fb", "a//../b"),
        ("%2E%2e", ".."),
        ("c%20%c3%a9%2541", "c é%41"),
        ("%64", "d"),
    ] {
        let told = session(&ekbo, path);
        assert_eq!((&told["key"], &told["percent_encoded"]), (&json!(key), &Value::Null));
    }
    let told = session(&ekbo, "b%FF%25");
    assert_eq!(told["key"], "b%FF%25");
    assert_eq!(told["percent_encoded"], true);
    let page = list(&ekbo, "?limit=3");
    assert_eq!(keys(&page), ["..", "a//../b", "b%FF%25"]);
    assert_eq!(page["next"], cursor(b"b\xff%"));
    assert_eq!(keys(&list(&ekbo, &format!("?cursor={}", cursor(b"b\xff%")))), ["c é%41", "d"]);
    assert_eq!(keys(&list(&ekbo, "?after=b%FF%25")), ["c é%41", "d"]);
    assert_eq!(list(&ekbo, "?limit=4")["next"], cursor("c é%41"));
    assert_eq!(keys(&list(&ekbo, "?after=c%20%C3%A9%2541")), ["d"]);
}

/// A list shows the first 10 channels of a session and says how many there are; asked for alone,
/// it shows all.
#[test]
fn channels_of_a_session() {
    let backend = Backend::admitting("alice").start();
    let ekbo = Ekbo::with(&backend).start();
    let _alice = Client::connect(&ekbo);
    let names: Vec<String> = (0..25).map(|n| format!("{n:02}")).collect();
    let subscribe = ekbo.request("POST", "/subscribe").session("alice");
    let add = |request: RequestPlan, name: &String| request.header("X-Kuiperbelt-Channel", name);
    names.iter().rev().fold(subscribe, add).send().assert_accepted();
    let objects: Vec<Value> = names.iter().map(|name| json!({ "name": name })).collect();
    let listed = list(&ekbo, "")["sessions"][0].take();
    assert_eq!(
        (&listed["channels"], &listed["channel_count"]),
        (&json!(objects[..10]), &json!(25))
    );
    let told = session(&ekbo, "alice");
    assert_eq!((&told["channels"], &told["channel_count"]), (&json!(objects), &json!(25)));
    ekbo.request("POST", "/subscribe")
        .session("alice")
        .header("X-Kuiperbelt-Channel", b"\xff")
        .header("X-Kuiperbelt-Channel", "%FF")
        .send()
        .assert_accepted();
    let told = session(&ekbo, "alice");
    assert_eq!(told["channels"][0], json!({ "name": "%FF" }));
    assert_eq!(told["channels"][26], json!({ "name": "%FF", "percent_encoded": true }));
}

/// A key that nobody has is 404, in the shape of the other answers.
#[test]
fn an_unknown_session() {
    let ekbo = Ekbo::alone().start();
    for (path, key) in [("alice", "alice"), ("%22%3C", r#"\"\u003c"#), ("", ""), ("%ff", r"\ufffd")]
    {
        let failure = format!(r#"{{"error":"{NOT_FOUND}","session":"{key}"}}"#);
        let body = format!("{{\"errors\":[{failure}],\"result\":\"NG\"}}\n");
        ekbo.get(&format!("/sessions/{path}")).assert_is(404, JSON, &body);
    }
}

/// Only GET and HEAD, and only limits that there are.
#[test]
fn calls_that_are_refused() {
    let ekbo = Ekbo::alone().start();
    for path in ["/sessions", "/sessions/alice"] {
        for method in ["POST", "PUT", "DELETE", "OPTIONS", "get"] {
            let answer = ekbo.request(method, path).send();
            answer.assert_refused(405, "required GET method");
        }
    }
    let answer = ekbo.request("HEAD", "/sessions").send();
    assert_eq!((answer.status, answer.text()), (200, ""));
    for limit in ["0", "1001", "ten", "", "%2B1"] {
        let answer = ekbo.get(&format!("/sessions?limit={limit}"));
        answer.assert_refused(400, "limit is not a number from 1 to 1000");
    }
}

/// Over a unix socket there is no address.
#[test]
fn a_session_over_a_unix_socket() {
    let backend = Backend::admitting("alice").start();
    let ekbo = Ekbo::with(&backend).on_unix_socket().start();
    let _alice = Client::connect(&ekbo);
    let told = eventually_some("the client to be let in", || {
        Some(session(&ekbo, "alice")).filter(|told| told["transport"] != "")
    });
    assert_eq!((&told["transport"], &told["remote_address"]), (&json!("unix"), &json!("")));
}

/// The paths are the configuration's.
#[test]
fn another_path() {
    let backend = Backend::admitting("alice").start();
    let ekbo = Ekbo::with(&backend).set("path.sessions", "/api/who is here").start();
    let _alice = Client::connect(&ekbo);
    for path in ["/api/who%20is%20here", "/api/who%20is%20here/alice"] {
        assert_eq!(ekbo.get(path).status, 200, "{path}");
    }
    assert_eq!(ekbo.get("/sessions/alice").status, 404);
}

/// When another call has taken its path there is no list, and nothing below it.
#[test]
fn a_path_that_is_taken() {
    let backend = Backend::admitting("alice").start();
    let ekbo = Ekbo::with(&backend).set("path.send", "/sessions").start();
    let mut alice = Client::connect(&ekbo);
    ekbo.request("POST", "/sessions").session("alice").body("hello").send().assert_accepted();
    alice.expect_text("hello");
    for path in ["/sessions/alice", "/alice", "/"] {
        ekbo.get(path).assert_is(404, "text/plain; charset=utf-8", "404 page not found\n");
    }
}

/// `GET /sessions` with this query.
#[track_caller]
fn list(ekbo: &Ekbo, query: &str) -> Value {
    let answer = ekbo.get(&format!("/sessions{query}"));
    assert_eq!((answer.status, answer.header("Content-Type")), (200, Some(JSON)), "{answer:?}");
    serde_json::from_str(answer.text()).unwrap()
}

/// What is told of the session under this key, percent-encoded.
#[track_caller]
fn session(ekbo: &Ekbo, key: &str) -> Value {
    let answer = ekbo.get(&format!("/sessions/{key}"));
    assert_eq!((answer.status, answer.header("Content-Type")), (200, Some(JSON)), "{answer:?}");
    let mut body: Value = serde_json::from_str(answer.text()).unwrap();
    assert_eq!(body["result"], "OK");
    body["session"].take()
}

fn keys(page: &Value) -> Vec<String> {
    let sessions = page["sessions"].as_array().unwrap();
    sessions.iter().map(|session| session["key"].as_str().unwrap().to_owned()).collect()
}

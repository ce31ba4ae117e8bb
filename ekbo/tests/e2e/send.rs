//! `/send`: what it answers, byte for byte, and what the clients get. Waiting for room in a
//! queue is in `queue.rs`.

use std::io::Read;

use super::answers::{JSON, NOT_FOUND, NOT_UTF8};
use super::harness::{Answer, Backend, Client, Ekbo};

/// A1, 6.2 row 1: any method but `POST`, exactly so spelled, is answered 405, without `Allow`
/// and without CORS headers.
#[test]
fn another_method_is_refused() {
    let ekbo = Ekbo::alone().start();
    for method in ["GET", "PUT", "DELETE", "OPTIONS", "PATCH", "post", "X-POST"] {
        let answer = ekbo
            .request(method, "/send")
            .session("alice")
            .header("Origin", "http://elsewhere.example")
            .send();
        answer.assert_refused(405, "required POST method");
        assert!(!answer.has_header("Allow"), "{answer:?}");
        let cors = |name: &str| name.to_ascii_lowercase().starts_with("access-control-");
        let names = || answer.headers.0.iter().map(|(name, _)| name);
        assert!(!names().any(|name| cors(name)), "{answer:?}");
    }
    let answer = ekbo.request("HEAD", "/send").session("alice").send();
    assert_eq!((answer.status, answer.text()), (405, ""));
}

/// A2, 6.2 row 2: without a session header field the answer is 400.
#[test]
fn a_session_header_is_required() {
    let ekbo = Ekbo::alone().start();
    ekbo.send([], "hello").assert_refused(400, "session header is missing");
}

/// A1, A2: the method is looked at before the header.
#[test]
fn the_method_is_checked_first() {
    let ekbo = Ekbo::alone().start();
    ekbo.request("PUT", "/send").send().assert_refused(405, "required POST method");
}

/// A3, 6.2 row 3: a body that cannot be read is answered 500, and nobody gets any of it.
#[test]
fn a_broken_body_is_answered_500() {
    let backend = Backend::admitting("alice").start();
    let ekbo = Ekbo::with(&backend).start();
    let mut alice = Client::connect(&ekbo);
    let answer = ekbo.http().exchange(format!(
        "POST /send HTTP/1.1\r\nHost: {}\r\nX-Kuiperbelt-Session: alice\r\n\
         Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\nno length\r\n",
        ekbo.host()
    ));
    answer.assert_is(500, JSON, r#"{"result":"NG"}"#);
    ekbo.send(["alice"], "after it").assert_accepted();
    alice.expect_text("after it");
}

/// Line 2, A4, 6.2 row 4: one call, two sessions; both get the body, and not as the last word.
#[test]
fn several_sessions_in_one_call() {
    let backend = Backend::admitting_by_query().start();
    let ekbo = Ekbo::with(&backend).start();
    let mut hogehoge = Client::connect_as(&ekbo, "hogehoge");
    let mut fugafuga = Client::connect_as(&ekbo, "fugafuga");
    let answer = ekbo.send(["hogehoge", "fugafuga"], "test message");
    answer.assert_accepted();
    for client in [&mut hogehoge, &mut fugafuga] {
        client.expect_text("test message");
        client.expect_to_be_read();
    }
}

/// Line 7, A5, KB-API-2, Q5, Q21, 6.2 row 5: an unknown key alone is listed, and the answer is
/// `OK` all the same, labelled as JSON; nobody gets anything.
#[test]
fn an_unknown_key_is_listed() {
    let backend = Backend::admitting("hogehoge").start();
    let ekbo = Ekbo::with(&backend).start();
    let mut hogehoge = Client::connect(&ekbo);
    ekbo.send(["hogehog"], "test message").assert_failed_for([(NOT_FOUND, "hogehog")]);
    ekbo.send(["hogehoge"], "after it").assert_accepted();
    hogehoge.expect_text("after it");
}

/// A5, 6.2 row 5: known keys are served although others are unknown, which are listed in the
/// order of the request.
#[test]
fn known_keys_are_served_beside_unknown_ones() {
    let backend = Backend::admitting_by_query().start();
    let ekbo = Ekbo::with(&backend).start();
    let mut alice = Client::connect_as(&ekbo, "alice");
    let mut bob = Client::connect_as(&ekbo, "bob");
    ekbo.send(["zoe", "alice", "carol", "bob", "adam"], "hello").assert_failed_for([
        (NOT_FOUND, "zoe"),
        (NOT_FOUND, "carol"),
        (NOT_FOUND, "adam"),
    ]);
    alice.expect_text("hello");
    bob.expect_text("hello");
}

/// Line 8, A6, KB-API-2, 6.2 row 6: with `strict_broadcast` an unknown key is answered 400.
#[test]
fn strict_refuses_an_unknown_key() {
    let backend = Backend::admitting("hogehoge").start();
    let ekbo = Ekbo::with(&backend).set("strict_broadcast", "true").start();
    let mut hogehoge = Client::connect(&ekbo);
    ekbo.send(["hogehog"], "test message").assert_strictly_failed_for([(NOT_FOUND, "hogehog")]);
    ekbo.send(["hogehoge"], "after it").assert_accepted();
    hogehoge.expect_text("after it");
}

/// Line 9, A6, 6.2 row 6: with `strict_broadcast` one unknown key keeps the message from all.
#[test]
fn strict_sends_to_nobody_when_one_is_unknown() {
    let backend = Backend::admitting_by_query().start();
    let ekbo = Ekbo::with(&backend).set("strict_broadcast", "true").start();
    let mut hogehoge = Client::connect_as(&ekbo, "hogehoge");
    let mut fugafuga = Client::connect_as(&ekbo, "fugafuga");
    ekbo.send(["hogehog", "fugafuga"], "test message")
        .assert_strictly_failed_for([(NOT_FOUND, "hogehog")]);
    ekbo.send(["hogehoge", "fugafuga"], "after it").assert_accepted();
    hogehoge.expect_text("after it");
    fugafuga.expect_text("after it");
}

/// A6: with `strict_broadcast` the body of a refused call is not waited for.
#[test]
fn strict_refuses_before_the_body() {
    let ekbo = Ekbo::alone().set("strict_broadcast", "true").start();
    let mut http = ekbo.http();
    http.write(format!(
        "POST /send HTTP/1.1\r\nHost: {}\r\nX-Kuiperbelt-Session: nobody\r\n\
         Content-Length: 1000\r\n\r\n",
        ekbo.host()
    ));
    http.read().assert_strictly_failed_for([(NOT_FOUND, "nobody")]);
}

/// A-4, A5: keys are escaped in the answer as Go's JSON does, `<`, `>` and `&` included,
/// and each byte that is not UTF-8 becomes `\ufffd`.
#[test]
fn keys_are_escaped_in_the_answer() {
    let ekbo = Ekbo::alone().start();
    let cases: [(&[u8], &str); 8] = [
        (b"<&>", r"\u003c\u0026\u003e"),
        (br#"a"b\c'd/e"#, r#"a\"b\\c'd/e"#),
        (b"a\tb", r"a\tb"),
        ("ä字😀".as_bytes(), "ä字😀"),
        ("\u{2028}|\u{2029}".as_bytes(), r"\u2028|\u2029"),
        (b"a\xffb", r"a\ufffdb"),
        (b"a\xe2\x80b", r"a\ufffd\ufffdb"),
        (b"", ""),
    ];
    for (key, escaped) in cases {
        ekbo.request("POST", "/send")
            .header("X-Kuiperbelt-Session", key)
            .send()
            .assert_failed_for([(NOT_FOUND, escaped)]);
    }
}

/// A-5, 6.1: each field is one key; a comma is part of it.
#[test]
fn a_comma_does_not_divide_a_key() {
    let backend = Backend::admitting_by_query().start();
    let ekbo = Ekbo::with(&backend).start();
    let mut both = Client::connect_as(&ekbo, "a,b");
    let mut first = Client::connect_as(&ekbo, "a");
    ekbo.send(["a,b"], "for a,b").assert_accepted();
    both.expect_text("for a,b");
    ekbo.send(["a, b"], "for nobody").assert_failed_for([(NOT_FOUND, "a, b")]);
    ekbo.send(["a"], "for a").assert_accepted();
    first.expect_text("for a");
}

/// A-6, Q28: a key that is listed twice is served twice.
#[test]
fn a_key_listed_twice_is_served_twice() {
    let backend = Backend::admitting("alice").start();
    let ekbo = Ekbo::with(&backend).start();
    let mut alice = Client::connect(&ekbo);
    ekbo.send(["alice", "nobody", "alice"], "again").assert_failed_for([(NOT_FOUND, "nobody")]);
    ekbo.send(["alice"], "after it").assert_accepted();
    alice.expect_text("again");
    alice.expect_text("again");
    alice.expect_text("after it");
}

/// KB-API-1, Q9, F-3: the configured session header is compared without regard to case.
#[test]
fn the_session_header_may_be_spelled_in_any_case() {
    let admitted = Answer::ok().header("X-MY-SESSION", "alice");
    let backend = Backend::plan().on("/connect", admitted).start();
    let ekbo = Ekbo::with(&backend).set("session_header", "x-my-session").start();
    let mut alice = Client::connect(&ekbo);
    for name in ["x-my-session", "X-My-Session", "X-MY-SESSION"] {
        ekbo.request("POST", "/send").header(name, "alice").body(name).send().assert_accepted();
        alice.expect_text(name);
    }
    ekbo.send(["alice"], "under the default name").assert_refused(400, "session header is missing");
}

/// 6.1: the query string and other headers mean nothing.
#[test]
fn the_query_is_ignored() {
    let backend = Backend::admitting("alice").start();
    let ekbo = Ekbo::with(&backend).start();
    let mut alice = Client::connect(&ekbo);
    ekbo.request("POST", "/send?session=bob&strict=true")
        .session("alice")
        .header("Accept", "text/html")
        .body("hello")
        .send()
        .assert_accepted();
    alice.expect_text("hello");
}

/// A-22, KB-NET-5: 5,000 session fields in one request, most of them of nobody.
#[test]
fn five_thousand_session_fields() {
    let backend = Backend::admitting_by_query().start();
    let ekbo = Ekbo::with(&backend).start();
    let mut clients: Vec<Client> = (0..5000)
        .step_by(200)
        .map(|number| Client::connect_as(&ekbo, &format!("key-{number}")))
        .collect();
    let plan = (0..5000)
        .fold(ekbo.request("POST", "/send"), |plan, number| plan.session(&format!("key-{number}")));
    let answer = plan.body("to all").send();
    let failures: Vec<String> = (0..5000)
        .filter(|number| number % 200 != 0)
        .map(|number| format!(r#"{{"error":"{NOT_FOUND}","session":"key-{number}"}}"#))
        .collect();
    let body = format!("{{\"errors\":[{}],\"result\":\"OK\"}}\n", failures.join(","));
    assert!(answer.text() == body, "{:.300}", answer.text());
    for client in &mut clients {
        client.expect_text("to all");
    }
}

/// KB-NET-5: 20,000 session fields in one request, all of them known.
#[test]
fn twenty_thousand_session_fields() {
    let backend = Backend::admitting_by_query().start();
    let ekbo = Ekbo::with(&backend).start();
    let keys: Vec<String> = (0..20).map(|number| format!("key-{number}")).collect();
    let mut clients: Vec<Client> = keys.iter().map(|key| Client::connect_as(&ekbo, key)).collect();
    let plan = (0..1000)
        .flat_map(|_| &keys)
        .fold(ekbo.request("POST", "/send"), |plan, key| plan.session(key));
    plan.body("a thousand times").send().assert_accepted();
    ekbo.send(["key-0"], "after it").assert_accepted();
    for client in &mut clients {
        for _ in 0..1000 {
            client.expect_text("a thousand times");
        }
    }
    clients[0].expect_text("after it");
}

/// KB-NET-6: an early answer reaches a client that writes its whole body before it reads.
#[test]
fn an_early_answer_reaches_a_client_in_the_middle_of_its_body() {
    let ekbo = Ekbo::alone().start();
    for length in [10, 100 << 10, 8 << 20] {
        let head = format!(
            "POST /send HTTP/1.1\r\nHost: {}\r\nContent-Length: {length}\r\n\r\n",
            ekbo.host()
        );
        let mut http = ekbo.http();
        // The server may have had enough before all of it is written.
        let _ = http.try_write(head + &"b".repeat(length));
        http.read().assert_refused(400, "session header is missing");
    }
}

/// 6.5: a message is binary when its media type is `application/octet-stream`, and else text.
#[test]
fn the_media_type_decides_on_text_or_binary() {
    let backend = Backend::admitting("alice").start();
    let ekbo = Ekbo::with(&backend).start();
    let mut alice = Client::connect(&ekbo);
    let send = |content_type| {
        let plan = ekbo.request("POST", "/send").session("alice");
        plan.content_type(content_type).body("body").send()
    };
    for text in [
        "text/plain",
        "application/json",
        "application/x-www-form-urlencoded",
        "application/octet-streams",
        "application / octet-stream",
        "text/plain; application/octet-stream",
        "",
    ] {
        send(text).assert_accepted();
        alice.expect_text("body");
    }
    for binary in [
        "application/octet-stream",
        "Application/Octet-Stream",
        "application/octet-stream;charset=utf-8",
        "  application/octet-stream  ; a=b",
    ] {
        send(binary).assert_accepted();
        alice.expect_binary("body");
    }
    ekbo.send(["alice"], "no media type").assert_accepted();
    alice.expect_text("no media type");
}

/// Line 3: a client that has read its first message gets a binary frame.
#[test]
fn binary() {
    let backend = Backend::plan().on("/connect", Answer::admit("alice").body("hello")).start();
    let ekbo = Ekbo::with(&backend).start();
    let mut alice = Client::connect(&ekbo);
    alice.expect_text("hello");
    ekbo.request("POST", "/send")
        .session("alice")
        .content_type("APPLICATION/octet-stream ;param=foobar")
        .body(b"\x00\xff\x80")
        .send()
        .assert_accepted();
    alice.expect_binary(b"\x00\xff\x80");
}

/// 6.5, Q29: an empty body is an empty message.
#[test]
fn an_empty_body_is_an_empty_message() {
    let backend = Backend::admitting("alice").start();
    let ekbo = Ekbo::with(&backend).start();
    let mut alice = Client::connect(&ekbo);
    ekbo.send(["alice"], "").assert_accepted();
    alice.expect_text("");
    ekbo.request("POST", "/send")
        .session("alice")
        .content_type("application/octet-stream")
        .send()
        .assert_accepted();
    alice.expect_binary("");
}

/// 6.5: whatever its length, a message is one frame, its length written in the shortest way.
#[test]
fn one_frame_for_any_length() {
    let backend = Backend::admitting("alice").start();
    let ekbo = Ekbo::with(&backend).start();
    let mut alice = Client::connect(&ekbo);
    for length in [125, 126, 65_535, 65_536, 3_000_000] {
        let message = "x".repeat(length);
        ekbo.send(["alice"], &message).assert_accepted();
        alice.expect_text(&message);
    }
}

/// KB-API-3, D5, Q32, F-10: text that is not UTF-8 fails for every target, after the keys
/// that are unknown anyway.
#[test]
fn invalid_text_is_rejected() {
    let backend = Backend::admitting_by_query().start();
    let ekbo = Ekbo::with(&backend).start();
    let mut alice = Client::connect_as(&ekbo, "alice");
    let invalid = b"caf\xe9";
    ekbo.send(["alice"], invalid).assert_failed_for([(NOT_UTF8, "alice")]);
    ekbo.send(["alice", "nobody"], invalid)
        .assert_failed_for([(NOT_FOUND, "nobody"), (NOT_UTF8, "alice")]);
    ekbo.request("POST", "/send")
        .session("alice")
        .content_type("application/octet-stream")
        .body(invalid)
        .send()
        .assert_accepted();
    alice.expect_binary(invalid);
}

/// KB-API-3: with `strict_broadcast` that is a 400.
#[test]
fn invalid_text_is_refused_when_strict() {
    let backend = Backend::admitting("alice").start();
    let ekbo = Ekbo::with(&backend).set("strict_broadcast", "true").start();
    let mut alice = Client::connect(&ekbo);
    ekbo.send(["alice"], b"\xc0\x80").assert_strictly_failed_for([(NOT_UTF8, "alice")]);
    ekbo.send(["alice"], "after it").assert_accepted();
    alice.expect_text("after it");
}

/// KB-API-3: `invalid_text: binary` makes a binary message of it; valid text stays text.
#[test]
fn invalid_text_as_binary() {
    let backend = Backend::admitting("alice").start();
    let ekbo = Ekbo::with(&backend).set("invalid_text", "binary").start();
    let mut alice = Client::connect(&ekbo);
    ekbo.send(["alice"], b"caf\xe9").assert_accepted();
    alice.expect_binary(b"caf\xe9");
    ekbo.send(["alice"], "café").assert_accepted();
    alice.expect_text("café");
}

/// KB-API-3: `invalid_text: raw` sends it as text, as it is.
#[test]
fn invalid_text_as_it_is() {
    let backend = Backend::admitting("alice").start();
    let ekbo = Ekbo::with(&backend).set("invalid_text", "raw").start();
    let mut alice = Client::connect(&ekbo);
    ekbo.send(["alice"], b"caf\xe9").assert_accepted();
    let mut frame = [0; 6];
    alice.writer().read_exact(&mut frame).unwrap();
    assert_eq!(&frame, b"\x81\x04caf\xe9");
}

/// 6.4, Q4, F-9: a body over `max_body_size` is answered 413, whether its length is
/// announced or not; one of exactly that size is taken.
#[test]
fn a_body_over_the_limit_is_refused() {
    let backend = Backend::admitting("alice").start();
    let ekbo = Ekbo::with(&backend).set("max_body_size", "1000").start();
    let mut alice = Client::connect(&ekbo);
    let too_large = r#"{"result":"NG"}"#;
    ekbo.send(["alice"], "x".repeat(1001)).assert_is(413, JSON, too_large);
    let mut http = ekbo.http();
    http.exchange(format!(
        "POST /send HTTP/1.1\r\nHost: {}\r\nX-Kuiperbelt-Session: alice\r\n\
         Transfer-Encoding: chunked\r\n\r\n3e8\r\n{}\r\n1\r\nx\r\n0\r\n\r\n",
        ekbo.host(),
        "x".repeat(1000)
    ))
    .assert_is(413, JSON, too_large);
    let fits = "x".repeat(1000);
    ekbo.send(["alice"], &fits).assert_accepted();
    alice.expect_text(&fits);
}

/// Q4: the limit is 16 MiB unless told otherwise, and there is none with `max_body_size: 0`.
#[test]
fn the_default_limit_and_none() {
    let backend = Backend::admitting("alice").start();
    let announced = |ekbo: &Ekbo| {
        let fields = "X-Kuiperbelt-Session: alice\r\n";
        let head = expecting(ekbo, "POST", fields, (16 << 20) + 1);
        ekbo.http().exchange(head).status
    };
    let limited = Ekbo::with(&backend).start();
    assert_eq!(announced(&limited), 413);
    let fields = "X-Kuiperbelt-Session: alice\r\n";
    let head = expecting(&limited, "POST", fields, 16 << 20);
    assert_eq!(limited.http().exchange(head).status, 100);

    let unlimited = Ekbo::with(&backend).set("max_body_size", "0").start();
    assert_eq!(announced(&unlimited), 100);
}

/// The head of a call to `/send` that waits for a 100 before its body of `length` bytes.
fn expecting(ekbo: &Ekbo, method: &str, fields: &str, length: usize) -> String {
    format!(
        "{method} /send HTTP/1.1\r\nHost: {}\r\n{fields}Content-Length: {length}\r\n\
         Expect: 100-continue\r\n\r\n",
        ekbo.host()
    )
}

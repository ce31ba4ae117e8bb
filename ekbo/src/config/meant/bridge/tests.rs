//! The rules of `bridge.rs`, one test each.

use std::time::Duration;

use super::super::tests::{config, error, warnings};
use super::*;

fn only(text: &str) -> Bridge {
    let bridges = config(&format!("bridges:\n  - subprotocol: rbkit\n{text}")).bridges;
    assert_eq!(bridges.len(), 1);
    bridges.into_iter().next().unwrap()
}

/// Bridge, part C: what a bridge is of which nothing is said.
#[test]
fn defaults() {
    let bridges = config("bridges: [{}]").bridges;
    let endpoint = |text: &str| Some(text.parse().unwrap());
    let expected = Bridge {
        subprotocol: "rbkit".into(),
        path: None,
        request_endpoint: endpoint("tcp://127.0.0.1:5556"),
        publish_endpoint: endpoint("tcp://127.0.0.1:5555"),
        topics: vec![String::new()],
        join_parts: false,
        response_prefix: b'0',
        publish_prefix: b'1',
        payload_encoding: PayloadEncoding::Cgi,
        routing: Routing::Fanout,
        client_count_notices: true,
        ping_interval: Some(Duration::from_secs(15)),
        pong_timeout: Some(Duration::from_secs(30)),
        backend_check_timeout: Duration::from_secs(1),
        unavailable_code: CloseCode::NORMAL,
        unavailable_reason: "Closing websocket because Rbkit server is not running".into(),
        request_timeout: Duration::from_secs(30),
        allowed_commands: vec![],
        on_last_client: None,
        allowed_origins: AllowedOrigins::Own,
        token: vec![],
        max_message_size: Some(64 << 20),
        queue_messages: 1000,
        queue_bytes: 64 << 20,
    };
    assert_eq!(bridges, [expected]);
    assert_eq!(config("").bridges, []);
}

#[test]
fn everything_given() {
    let bridge = only(
        "    path: /debug\n    request_endpoint: ipc:///run/rep\n    publish_endpoint: \"\"\n    \
         topics: [a, b]\n    join_parts: true\n    response_prefix: R\n    publish_prefix: \"'\"\n    \
         payload_encoding: raw\n    routing: newest\n    client_count_notices: false\n    \
         ping_interval: 0\n    pong_timeout: 0\n    backend_check_timeout: 2s\n    \
         unavailable_code: 4999\n    unavailable_reason: \"\"\n    request_timeout: 3s\n    \
         allowed_commands: [ping, handshake]\n    on_last_client: stop_memory_profile\n    \
         allowed_origins: [https://a, \"null\"]\n    token: [a, b]\n    max_message_size: 0\n    \
         client_queue: {messages: 1, bytes: 2}\n",
    );
    assert_eq!(bridge.path.as_deref(), Some("/debug"));
    assert_eq!(bridge.request_endpoint, Some(Endpoint::Ipc("/run/rep".into())));
    assert_eq!(bridge.publish_endpoint, None);
    assert_eq!(bridge.topics, ["a", "b"]);
    assert!(bridge.join_parts && !bridge.client_count_notices);
    assert_eq!((bridge.response_prefix, bridge.publish_prefix), (b'R', b'\''));
    assert_eq!(bridge.payload_encoding, PayloadEncoding::Raw);
    assert_eq!(bridge.routing, Routing::Newest);
    assert_eq!((bridge.ping_interval, bridge.pong_timeout), (None, None));
    assert_eq!(bridge.backend_check_timeout, Duration::from_secs(2));
    assert_eq!(bridge.unavailable_code.number(), 4999);
    assert_eq!(bridge.unavailable_reason, "");
    assert_eq!(bridge.request_timeout, Duration::from_secs(3));
    assert_eq!(bridge.allowed_commands, ["ping", "handshake"]);
    assert_eq!(bridge.on_last_client.as_deref(), Some("stop_memory_profile"));
    let listed = AllowedOrigins::Listed(vec!["https://a".into(), "null".into()]);
    assert_eq!(bridge.allowed_origins, listed);
    assert!(bridge.token[0].is(b"a") && bridge.token[1].is(b"b"));
    assert_eq!(bridge.max_message_size, None);
    assert_eq!((bridge.queue_messages, bridge.queue_bytes), (1, 2));
}

/// An endpoint that is written empty is off, and one that is not written has its default.
#[test]
fn one_endpoint_is_enough() {
    let bridge = only("    request_endpoint: ''\n");
    assert_eq!(bridge.request_endpoint, None);
    assert!(bridge.publish_endpoint.is_some());
    assert!(only("    request_endpoint: ~\n").request_endpoint.is_some());
    assert_eq!(
        error("bridges: [{request_endpoint: '', publish_endpoint: ''}]"),
        "config.yml:1: bridges[0].request_endpoint: is empty, as is publish_endpoint; write one of \
         them at least"
    );
}

#[test]
fn origins_are_our_own_unless_others_are_named() {
    for (text, origins) in [
        ("~", AllowedOrigins::Own),
        ("''", AllowedOrigins::Own),
        ("\"*\"", AllowedOrigins::Any),
        ("[https://a, \"*\"]", AllowedOrigins::Any),
        ("HTTP://A:80", AllowedOrigins::Listed(vec!["http://a".into()])),
    ] {
        assert_eq!(only(&format!("    allowed_origins: {text}\n")).allowed_origins, origins);
    }
}

/// Errors name place and key, and never a token.
#[test]
fn mistakes() {
    let long = "x".repeat(124);
    let long = format!("unavailable_reason: {long}");
    for (text, problem) in [
        (
            "subprotocol: \"a b\"",
            "subprotocol: \"a b\" is no subprotocol; use letters, digits, - and .",
        ),
        (
            "subprotocol: a/b",
            "subprotocol: \"a/b\" is no subprotocol; use letters, digits, - and .",
        ),
        ("path: a", "path: \"a\" never matches, as it does not begin with /; write \"/a\""),
        (
            "publish_endpoint: localhost:1",
            "publish_endpoint: \"localhost:1\" is no ZeroMQ endpoint; write tcp://HOST:PORT or \
             ipc:///PATH",
        ),
        (
            "response_prefix: 10",
            "response_prefix: \"10\" is not one visible ASCII character; write such a one",
        ),
        (
            "response_prefix: ''",
            "response_prefix: \"\" is not one visible ASCII character; write such a one",
        ),
        (
            "publish_prefix: \u{e9}",
            "publish_prefix: \"\u{e9}\" is not one visible ASCII character; write such a one",
        ),
        (
            "publish_prefix: \" \"",
            "publish_prefix: \" \" is not one visible ASCII character; write such a one",
        ),
        (
            "publish_prefix: 0",
            "publish_prefix: is response_prefix as well, so that nobody could tell them apart; \
             write another",
        ),
        (
            "payload_encoding: base64",
            "payload_encoding: \"base64\" is none of the choices; write one of cgi, raw",
        ),
        ("routing: all", "routing: \"all\" is none of the choices; write one of fanout, newest"),
        (
            "pong_timeout: 15s",
            "pong_timeout: is no longer than ping_interval, so that nobody could answer in time; \
             write for example twice as much",
        ),
        (
            "ping_interval: 0",
            "pong_timeout: would end every client that only listens, as nobody is pinged; set \
             ping_interval as well, or write 0",
        ),
        ("request_timeout: 0", "request_timeout: 0 would leave no time; write for example 30s"),
        (
            "backend_check_timeout: 0",
            "backend_check_timeout: 0 would leave no time; write for example 1s",
        ),
        (
            "allowed_commands: [ping, \"ping\\0x\"]",
            "allowed_commands: \"ping\\0x\" has a zero byte, where a command ends; leave it out",
        ),
        ("allowed_commands: [ping, '']", "allowed_commands: an item of the list is empty"),
        (
            "on_last_client: \"\\0stop\"",
            "on_last_client: \"\\0stop\" has a zero byte, where a command ends; leave it out",
        ),
        (
            "unavailable_code: 1005",
            "unavailable_code: 1005 is no code that may be sent; write 1000, or one from 3000 to 4999",
        ),
        (
            "unavailable_code: 66536",
            "unavailable_code: 66536 is no code that may be sent; write 1000, or one from 3000 to 4999",
        ),
        (
            &long,
            "unavailable_reason: is 124 bytes long, more than a close frame takes; write 123 at \
             most",
        ),
        (
            "allowed_origins: h",
            "allowed_origins: \"h\" is no origin; write https://HOST, https://HOST:PORT, null, or \
             * for any",
        ),
        (
            "token: \"hidden \"",
            "token: a token has a character other than visible ASCII; use letters and digits",
        ),
        (
            "token: '****'",
            "token: \"****\" is what `ekbo config` shows of a token; write the token itself",
        ),
        (
            "client_queue: {messages: 0}",
            "client_queue.messages: 0 would hold nothing; write 1 or more",
        ),
        ("client_queue: {bytes: 0}", "client_queue.bytes: 0 would hold nothing; write 1 or more"),
    ] {
        let expected = format!("config.yml:1: bridges[0].{problem}");
        assert_eq!(error(&format!("bridges: [{{{text}}}]")), expected);
    }
}

/// Two bridges that could take the same handshake.
#[test]
fn a_handshake_has_one_bridge() {
    for (first, second) in [
        ("subprotocol: a", "subprotocol: a"),
        ("subprotocol: a", "subprotocol: a.raw"),
        ("subprotocol: a.raw", "subprotocol: a"),
        ("subprotocol: a, path: /x", "subprotocol: a"),
        ("subprotocol: a", "subprotocol: a, path: /x"),
        ("subprotocol: a, path: /x", "subprotocol: a.raw, path: /x"),
        ("subprotocol: a, path: /x/", "subprotocol: a, path: /x/"),
        ("subprotocol: a, path: /x/", "subprotocol: a, path: /x/y"),
        ("subprotocol: a, path: /x/y/z", "subprotocol: a.raw, path: /x/"),
        ("subprotocol: a, path: /", "subprotocol: a, path: /x"),
    ] {
        let name = second.split([' ', ',']).nth(1).unwrap();
        assert_eq!(
            error(&format!("bridges: [{{subprotocol: b}}, {{{first}}}, {{{second}}}]")),
            format!(
                "config.yml:1: bridges[2].subprotocol: {name:?} is taken by bridges[1].subprotocol \
                 on this path; give each its own, or paths that do not meet (one that ends in / \
                 takes its whole subtree)"
            )
        );
    }
    for (first, second) in [
        ("subprotocol: a", "subprotocol: A"),
        ("subprotocol: a", "subprotocol: a.raw.raw"),
        ("subprotocol: a, path: /x", "subprotocol: a, path: /y"),
        ("subprotocol: a, path: /x", "subprotocol: a.raw, path: /x/"),
        ("subprotocol: a, path: /x", "subprotocol: a, path: /x/y"),
        ("subprotocol: a, path: /x/", "subprotocol: a, path: /xy"),
    ] {
        assert_eq!(config(&format!("bridges: [{{{first}}}, {{{second}}}]")).bridges.len(), 2);
    }
}

#[test]
fn a_bridge_without_token_is_warned_about() {
    let found = warnings("bridges:\n  - token: t\n  - path: /x\n    subprotocol: other\n");
    let expected = "config.yml:4: bridges[1].token: is empty, so that whoever reaches the listener \
                    may send commands; write a token";
    assert_eq!(found, [(WarningKind::OpenBridge, expected.to_owned())]);
    assert!(!WarningKind::OpenBridge.fails_check());
}

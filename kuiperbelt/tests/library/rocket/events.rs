//! What each event does and answers, and what subscribers get.

use std::sync::Arc;
use std::thread;

use kuiperbelt::rocket::{Credentials, PublishError, Rocket, Settings};

use super::actors::*;

/// RK-7: the nineteen lines of the original's test, in order, on one connection.
#[test]
fn the_conversation() {
    let server = Server::start();
    // 1
    let fields = [("Sec-WebSocket-Protocol", "ws"), ("Origin", "http://localhost/")];
    let (mut ws, response) = server.handshake("/echo", &fields).unwrap();
    assert_eq!(response.headers()["Sec-WebSocket-Protocol"], "ws");
    // 2
    assert_eq!(ws.auth("read-write", "wrong-secret"), INVALID_CREDENTIALS);
    // 3
    assert_eq!(ws.ask(r#"{"auth":"invalid"}"#), INVALID_DATA);
    // 4
    assert_eq!(ws.auth("read-only", "read-secret"), OK);
    // 5
    assert_eq!(ws.auth("read-write", "read-write-secret"), OK);
    // 6
    server.rocket.set_credentials(Credentials { read_write: String::new(), ..secrets() });
    assert_eq!(ws.auth("read-write", ""), OK);
    server.rocket.set_credentials(secrets());
    // 7
    assert_eq!(ws.ask(r#"{"subscribe":"invalid"}"#), INVALID_DATA);
    // 8
    assert_eq!(ws.auth("read-write", "wrong-secret"), INVALID_CREDENTIALS);
    assert_eq!(ws.subscribe("hello"), ACCESS_DENIED);
    // 9
    assert_eq!(ws.auth("read-only", "read-secret"), OK);
    assert_eq!(ws.subscribe("hello"), OK);
    // 10
    assert_eq!(ws.auth("read-write", "read-write-secret"), OK);
    assert_eq!(ws.subscribe("hello"), OK);
    // 11
    assert_eq!(ws.ask(r#"{"unsubscribe":"invalid"}"#), INVALID_DATA);
    // 12
    assert_eq!(ws.unsubscribe("hello"), OK);
    // 13
    assert_eq!(ws.auth("read-only", "read-secret"), OK);
    assert_eq!(ws.publish("hello", "1"), ACCESS_DENIED);
    // 14
    assert_eq!(ws.auth("read-write", "read-write-secret"), OK);
    assert_eq!(ws.ask(r#"{"publish":"invalid"}"#), INVALID_DATA);
    // 15
    assert_eq!(ws.publish("invalid-channel", "1"), INVALID_CHANNEL);
    // 16
    assert_eq!(ws.ask(r#"{"publish":{"channel":"hello"}}"#), INVALID_DATA);
    // 17
    let mut second = server.client();
    assert_eq!(second.auth("read-only", "read-secret"), OK);
    assert_eq!(second.subscribe("hello"), OK);
    assert_eq!(ws.auth("read-write", "read-write-secret"), OK);
    let publish = r#"{"publish":{"channel":"hello","event":"foo","data":"bar"}}"#;
    assert_eq!(ws.ask(publish), OK);
    assert_eq!(second.hear(), r#"{"channel":"hello","data":"bar","event":"foo"}"#);
    // 18
    assert_eq!(ws.ask(r#"{"logout":true}"#), OK);
    // 19
    assert_eq!(ws.ask(r#"{"disconnect":true}"#), OK);
    assert_eq!(ws.end(), 1000);
}

/// RK-3-1, RK-3-2, RK-3-3, RK-MSG-1, RK-MSG-2, RK-MSG-4, R4, R5, R7: what is no event, or has
/// no payload of an event, and changes nothing.
#[test]
fn invalid_messages() {
    let server = Server::start();
    let mut client = server.member("read-write");
    for message in [
        "",
        " ",
        "x",
        "{",
        "[]",
        "\"auth\"",
        "1",
        "true",
        r#"{"logout":true}x"#,
        r#"["logout"]"#,
        "null",
        "{}",
        r#"{"auth":"a"}"#,
        r#"{"auth":1}"#,
        r#"{"auth":[]}"#,
        r#"{"auth":null}"#,
        r#"{"unknown":"a"}"#,
        r#"{"unknown":null}"#,
        r#"{"logout":true,"unsubscribe":{"channel":"c"}}"#,
    ] {
        assert_eq!(client.ask(message), INVALID_DATA, "{message}");
    }
    assert_eq!(client.publish("c", "1"), INVALID_CHANNEL, "still logged in");
}

/// RK-3-4, R6: no answer, and the next request is answered first.
#[test]
fn unknown_events() {
    let server = Server::start();
    let mut client = server.client();
    for message in [r#"{"unknown":true}"#, r#"{"unknown":{}}"#, r#"{"Logout":false}"#] {
        client.say(message);
    }
    assert_eq!(client.ask(r#"{"logout":false}"#), OK);
}

/// RK-4.1-1, RK-4.1-2, RK-4.1-3: what leaves the access that a client has.
#[test]
fn auth_with_invalid_data() {
    let server = Server::start();
    let mut client = server.member("read-write");
    for payload in [
        "true",
        "false",
        "{}",
        r#"{"secret":"read-secret"}"#,
        r#"{"access":"read-only"}"#,
        r#"{"access":1,"secret":"read-secret"}"#,
        r#"{"access":"write","secret":"read-secret"}"#,
    ] {
        assert_eq!(client.ask(&format!(r#"{{"auth":{payload}}}"#)), INVALID_DATA, "{payload}");
    }
    assert_eq!(client.publish("c", "1"), INVALID_CHANNEL, "still logged in");
}

/// RK-4.1-4, R12: a wrong secret takes the access, and leaves the subscriptions.
#[test]
fn auth_with_a_wrong_secret() {
    let server = Server::start();
    let mut client = server.client();
    for secret in [r#""""#, r#""read-write-secret""#, "1", "null", r#"["read-secret"]"#] {
        client.log_in("read-only");
        assert_eq!(client.subscribe("c"), OK);
        let auth = format!(r#"{{"auth":{{"access":"read-only","secret":{secret}}}}}"#);
        assert_eq!(client.ask(&auth), INVALID_CREDENTIALS, "{secret}");
        assert_eq!(client.subscribe("d"), ACCESS_DENIED, "{secret}");
    }
    assert_eq!(server.rocket.publish_json("c", r#"{"event":1}"#), Ok(1));
    assert_eq!(client.hear(), r#"{"channel":"c","event":1}"#);
}

/// RK-4.1-5: the new access replaces the former, upwards and downwards.
#[test]
fn auth_replaces_access() {
    let server = Server::start();
    let mut client = server.client();
    client.log_in("read-write");
    assert_eq!(client.subscribe("c"), OK);
    client.log_in("read-only");
    assert_eq!(client.publish("c", "1"), ACCESS_DENIED);
    assert_eq!(client.subscribe("d"), OK);
    client.log_in("read-write");
    assert_eq!(client.publish("d", "1"), r#"{"channel":"d","data":1,"event":"e"}"#);
    assert_eq!(client.hear(), OK);
}

/// RK-4.1-5: an empty secret opens to whoever asks, with whatever secret; who does not ask has no
/// access.
#[test]
fn an_open_hub() {
    let server = Server::with(Settings::default());
    let mut client = server.client();
    assert_eq!(client.subscribe("c"), ACCESS_DENIED);
    assert_eq!(client.publish("c", "1"), ACCESS_DENIED);
    for secret in [r#""""#, r#""any""#, "1", "null"] {
        let auth = format!(r#"{{"auth":{{"access":"read-only","secret":{secret}}}}}"#);
        assert_eq!(client.ask(&auth), OK, "{secret}");
    }
    assert_eq!(client.ask(r#"{"auth":{"access":"read-only"}}"#), INVALID_DATA);
    assert_eq!(client.subscribe("c"), OK);
}

/// RK-4.2-1, RK-4.2-2, RK-4.2-3, RK-4.2-4: access first, then the payload, then the name.
#[test]
fn subscribe() {
    let server = Server::start();
    let mut client = server.client();
    let invalid = ["true", "false", "{}", r#"{"channel":1}"#, r#"{"channel":null}"#];
    for payload in invalid {
        assert_eq!(client.ask(&format!(r#"{{"subscribe":{payload}}}"#)), ACCESS_DENIED);
    }
    assert_eq!(client.subscribe(""), ACCESS_DENIED);
    client.log_in("read-only");
    for payload in invalid {
        assert_eq!(client.ask(&format!(r#"{{"subscribe":{payload}}}"#)), INVALID_DATA);
    }
    assert_eq!(client.subscribe(""), INVALID_CHANNEL_NAME);
    for name in [" ", r#"\u0000\n\""#, "Ⅻ/*#", "null", &"x".repeat(512), &"ö".repeat(256)] {
        assert_eq!(client.subscribe(name), OK, "{name}");
    }
    for name in [&"x".repeat(513), &"ö".repeat(257)] {
        assert_eq!(client.subscribe(name), INVALID_CHANNEL_NAME, "{name}");
    }
    // Once or twice, it is one delivery.
    assert_eq!(client.subscribe("c"), OK);
    assert_eq!(client.subscribe("c"), OK);
    assert_eq!(server.rocket.publish_json("c", r#"{"event":1}"#), Ok(1));
    assert_eq!(client.hear(), r#"{"channel":"c","event":1}"#);
    client.hears_nothing();
}

/// RK-4.3-1, RK-4.3-2, RK-4.3-3, R9, R13: no access is needed, and always `ok`; a channel outlives its
/// last subscriber, and an unknown one does not come to be.
#[test]
fn unsubscribe() {
    let server = Server::start();
    let mut client = server.client();
    for payload in ["true", "false", "{}", r#"{"channel":1}"#] {
        assert_eq!(client.ask(&format!(r#"{{"unsubscribe":{payload}}}"#)), INVALID_DATA);
    }
    assert_eq!(client.unsubscribe("c"), OK);
    assert_eq!(client.unsubscribe(""), OK);
    let mut publisher = server.member("read-write");
    assert_eq!(publisher.publish("c", "1"), INVALID_CHANNEL);
    client.log_in("read-only");
    assert_eq!(client.subscribe("c"), OK);
    assert_eq!(client.ask(r#"{"logout":true}"#), OK);
    assert_eq!(client.unsubscribe("c"), OK);
    assert_eq!(publisher.publish("c", "1"), OK);
    client.hears_nothing();
}

/// RK-4.4-1, RK-4.4-2, RK-4.4-3, RK-4.4-4, R10: access first, then the payload, then the channel.
#[test]
fn publish_that_fails() {
    let server = Server::start();
    let mut listener = server.listener("c");
    let mut client = server.client();
    let invalid = [
        "true",
        "false",
        "{}",
        r#"{"channel":"c"}"#,
        r#"{"event":"e"}"#,
        r#"{"event":"e","channel":1}"#,
        r#"{"event":"e","channel":null}"#,
    ];
    for payload in invalid {
        assert_eq!(client.ask(&format!(r#"{{"publish":{payload}}}"#)), ACCESS_DENIED);
    }
    client.log_in("read-only");
    assert_eq!(client.publish("c", "1"), ACCESS_DENIED);
    client.log_in("read-write");
    for payload in invalid {
        assert_eq!(client.ask(&format!(r#"{{"publish":{payload}}}"#)), INVALID_DATA);
    }
    for name in ["", "unknown", "C", &"x".repeat(1000)] {
        assert_eq!(client.publish(name, "1"), INVALID_CHANNEL, "{name}");
        assert_eq!(client.publish(name, "1"), INVALID_CHANNEL, "nor is it made: {name}");
    }
    listener.hears_nothing();
}

/// RK-4.4-5, RK-BRC-1, R10, R11, R18: subscribers get the payload as a whole, every value as it was
/// written.
#[test]
fn what_subscribers_get() {
    let server = Server::start();
    let mut listener = server.listener("c");
    let mut publisher = server.member("read-write");
    for (payload, expected) in [
        (r#"{"event":"e","channel":"c"}"#, r#"{"channel":"c","event":"e"}"#),
        (r#"{"event":null,"channel":"c"}"#, r#"{"channel":"c","event":null}"#),
        (r#"{"event":{"a":1},"channel":"c"}"#, r#"{"channel":"c","event":{"a":1}}"#),
        (r#"{"event":"","channel":"c"}"#, r#"{"channel":"c","event":""}"#),
        (
            r#"{ "z": 1, "event": "e", "channel": "c", "a": [ true ] }"#,
            r#"{"a":[true],"channel":"c","event":"e","z":1}"#,
        ),
        (
            r#"{"event":"e","channel":"x","channel":"c","data":1,"data":2}"#,
            r#"{"channel":"c","data":2,"event":"e"}"#,
        ),
    ] {
        assert_eq!(publisher.ask(&format!(r#"{{"publish":{payload}}}"#)), OK, "{payload}");
        assert_eq!(listener.hear(), expected);
    }
    for data in [
        "null",
        "true",
        "false",
        r#""text""#,
        r#""<&>""#,
        "[]",
        "{}",
        r#"{"b":[{"a":null}]}"#,
        "0",
        "-0",
        "1.0",
        "1e3",
        "9007199254740993",
        "123456789012345678901234567890",
        "1e400",
    ] {
        assert_eq!(publisher.publish("c", data), OK, "{data}");
        assert_eq!(listener.hear(), format!(r#"{{"channel":"c","data":{data},"event":"e"}}"#));
    }
}

/// RK-4.4-5, R19: a publisher that listens gets its broadcast, then `ok`.
#[test]
fn a_publisher_that_listens() {
    let server = Server::start();
    let mut client = server.member("read-write");
    assert_eq!(client.subscribe("c"), OK);
    assert_eq!(client.publish("c", "1"), r#"{"channel":"c","data":1,"event":"e"}"#);
    assert_eq!(client.hear(), OK);
    assert_eq!(client.unsubscribe("c"), OK);
    assert_eq!(client.publish("c", "2"), OK);
}

/// RK-4.6, RK-MSG-3, R8, R12: the access goes, with any payload, and subscriptions stay.
#[test]
fn logout() {
    let server = Server::start();
    let mut client = server.client();
    for payload in ["true", "false", "{}", r#"{"a":1}"#] {
        client.log_in("read-write");
        assert_eq!(client.subscribe("c"), OK);
        for _ in 0..2 {
            assert_eq!(client.ask(&format!(r#"{{"logout":{payload}}}"#)), OK);
        }
        assert_eq!(client.subscribe("c"), ACCESS_DENIED);
        assert_eq!(client.publish("c", "1"), ACCESS_DENIED);
        assert_eq!(server.rocket.publish_json("c", r#"{"event":1}"#), Ok(1));
        assert_eq!(client.hear(), r#"{"channel":"c","event":1}"#);
    }
}

/// RK-4.7, RK-MSG-3, R8: `ok`, Close 1000 and the end, for anybody and with any payload; what comes
/// after it is not answered.
#[test]
fn disconnect() {
    let server = Server::start();
    for payload in ["true", "false", "{}"] {
        let mut client = server.client();
        client.say(&format!(r#"{{"disconnect":{payload}}}"#));
        client.say(r#"{"logout":true}"#);
        assert_eq!(client.hear(), OK);
        assert_eq!(client.end(), 1000);
    }
}

/// RK-1: hubs share nothing: neither channels nor secrets nor logins.
#[test]
fn hubs_are_apart() {
    let mut server = kuiperbelt::Server::new();
    let settings = Settings { credentials: secrets(), ..Settings::default() };
    let echo = Rocket::new(server.hub(), "/echo", settings);
    let other = Rocket::new(server.hub(), "/other", Settings::default());
    server.door_with("/echo", echo.clone(), echo.options()).unwrap();
    server.door_with("/other", other.clone(), other.options()).unwrap();
    let server = Server::run(echo, server);
    let mut here = server.listener("c");
    let mut there = server.client_at("/other");
    assert_eq!(there.auth("read-write", "any"), OK);
    assert_eq!(there.publish("c", "1"), INVALID_CHANNEL);
    assert_eq!(there.subscribe("c"), OK);
    assert_eq!(there.publish("c", "2"), r#"{"channel":"c","data":2,"event":"e"}"#);
    assert_eq!(there.hear(), OK);
    here.hears_nothing();
    assert_eq!(here.auth("read-write", "any"), INVALID_CREDENTIALS);
    assert_eq!(there.publish("c", "3"), r#"{"channel":"c","data":3,"event":"e"}"#);
}

/// The program publishes as well: in any notation, on channels that there are.
#[test]
fn the_program_publishes() {
    let server = Server::start();
    let mut listener = server.listener("c");
    let publish = |channel, json| server.rocket.publish_json(channel, json);
    assert_eq!(publish("c", r#" {"event":1.0, "channel":"d"} "#), Ok(1));
    assert_eq!(listener.hear(), r#"{"channel":"c","event":1.0}"#);
    for json in ["", "[]", "{}", r#"{"data":1}"#, r#"{"event":1}x"#] {
        assert_eq!(publish("c", json), Err(PublishError::InvalidData), "{json}");
    }
    assert_eq!(publish("d", r#"{"event":1}"#), Err(PublishError::InvalidChannel));
    assert_eq!(publish("", r#"{"event":1}"#), Err(PublishError::InvalidChannel));
    let to_each = |channels: &[&str], json| server.rocket.publish_json_to_each(channels, json);
    assert_eq!(
        to_each(&["d", "c", "", "c"], r#"{"event":2}"#),
        Ok(vec![None, Some(1), None, Some(1)])
    );
    for _ in 0..2 {
        assert_eq!(listener.hear(), r#"{"channel":"c","event":2}"#);
    }
    assert_eq!(to_each(&[], r#"{"event":3}"#), Ok(vec![]));
    assert_eq!(to_each(&["c"], "{}"), Err(PublishError::InvalidData));
    assert_eq!(server.rocket.publish("d", [].into_iter().collect()), None);
    assert_eq!(server.rocket.publish("c", [].into_iter().collect()), Some(1));
    assert_eq!(listener.hear(), r#"{"channel":"c"}"#);
}

/// RK-BRC-1, R2: several publish on one channel while others come and go; all that stay get
/// everything once, in one order, each publisher's messages in its own.
#[test]
fn one_order_for_all() {
    const LISTENERS: usize = 40;
    const PUBLISHERS: usize = 4;
    const MESSAGES: usize = 250;
    let server = Arc::new(Server::start());
    let mut listeners: Vec<_> = (0..LISTENERS).map(|_| server.listener("c")).collect();
    let publishing: Vec<_> = (0..PUBLISHERS)
        .map(|publisher| {
            let mut client = server.member("read-write");
            thread::spawn(move || {
                for number in 0..MESSAGES {
                    assert_eq!(client.publish("c", &format!("[{publisher},{number}]")), OK);
                }
            })
        })
        .collect();
    let visiting: Vec<_> = (0..4)
        .map(|_| {
            let server = Arc::clone(&server);
            thread::spawn(move || {
                for _ in 0..20 {
                    let mut visitor = server.member("read-only");
                    visitor.say(r#"{"subscribe":{"channel":"c"}}"#);
                    // What is published may come before the answer.
                    while visitor.hear() != OK {}
                }
            })
        })
        .collect();
    let reading: Vec<_> = listeners
        .drain(..)
        .map(|mut listener| {
            thread::spawn(move || {
                (0..PUBLISHERS * MESSAGES).map(|_| listener.hear()).collect::<Vec<_>>()
            })
        })
        .collect();
    for thread in publishing.into_iter().chain(visiting) {
        thread.join().unwrap();
    }
    let heard: Vec<_> = reading.into_iter().map(|thread| thread.join().unwrap()).collect();
    for listener in &heard {
        assert!(*listener == heard[0]);
    }
    for publisher in 0..PUBLISHERS {
        let its_own = |message: &&String| message.contains(&format!("[{publisher},"));
        let expected = (0..MESSAGES).map(|number| {
            format!(r#"{{"channel":"c","data":[{publisher},{number}],"event":"e"}}"#)
        });
        assert!(heard[0].iter().filter(its_own).cloned().eq(expected));
    }
}

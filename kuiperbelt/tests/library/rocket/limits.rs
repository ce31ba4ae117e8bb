//! How much there may be of channels, subscriptions and failed logins; clients that vanish, and
//! clients that read too slowly or not at all.

use std::io::{ErrorKind, Write as _};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use kuiperbelt::rocket::{PublishError, Settings};

use super::actors::*;

/// RK-LIM-1, R13: one channel more than there may be has an invalid name, unless it can take the
/// place of one that nobody listens to; those with listeners go on.
#[test]
fn channels() {
    let server =
        Server::with(Settings { credentials: secrets(), max_channels: 2, ..Settings::default() });
    let mut client = server.listener("a");
    let mut other = server.listener("b");
    assert_eq!(client.subscribe("c"), INVALID_CHANNEL_NAME);
    assert_eq!(client.subscribe("b"), OK);
    // Channels stay, as long as nobody needs their place.
    for name in ["a", "b"] {
        assert_eq!(client.unsubscribe(name), OK);
        assert_eq!(other.unsubscribe(name), OK);
        assert_eq!(server.rocket.publish_json(name, r#"{"event":1}"#), Ok(0));
    }
    assert_eq!(other.subscribe("c"), OK);
    assert_eq!(
        server.rocket.publish_json("a", r#"{"event":1}"#),
        Err(PublishError::InvalidChannel)
    );
    assert_eq!(server.rocket.publish_json("b", r#"{"event":1}"#), Ok(0));
    // However many names one client uses up, others find room.
    for number in 0..100 {
        let name = number.to_string();
        assert_eq!(client.subscribe(&name), OK);
        assert_eq!(client.unsubscribe(&name), OK);
    }
    assert_eq!(client.subscribe("b"), OK);
    assert_eq!(client.subscribe("d"), INVALID_CHANNEL_NAME);
    assert_eq!(server.rocket.publish_json("c", r#"{"event":1}"#), Ok(1));
    assert_eq!(other.hear(), r#"{"channel":"c","event":1}"#);
}

/// RK-LIM-1: nor may one client listen to more than so many.
#[test]
fn subscriptions() {
    let server = Server::with(Settings {
        credentials: secrets(),
        max_subscriptions: 2,
        ..Settings::default()
    });
    let mut client = server.listener("a");
    assert_eq!(client.subscribe("b"), OK);
    assert_eq!(client.subscribe("c"), INVALID_CHANNEL_NAME);
    assert_eq!(client.subscribe("a"), OK, "again is harmless");
    assert_eq!(client.unsubscribe("a"), OK);
    assert_eq!(client.subscribe("c"), OK);
    assert_eq!(server.listener("a").subscribe("b"), OK, "others have their own");
}

/// RK-LIM-2, R17: the hundredth failed login within a minute ends the connection, and only that one.
#[test]
fn failed_logins() {
    let server = Server::start();
    let mut client = server.client();
    let mut other = server.client();
    for _ in 0..99 {
        assert_eq!(client.auth("read-only", "wrong"), INVALID_CREDENTIALS);
    }
    client.log_in("read-only");
    assert_eq!(client.auth("read-only", "wrong"), INVALID_CREDENTIALS);
    assert_eq!(client.end(), 1008);
    assert_eq!(other.auth("read-only", "wrong"), INVALID_CREDENTIALS);
    other.log_in("read-only");
}

/// R1: a subscriber whose connection is lost makes room, and others are not disturbed.
#[test]
fn a_subscriber_that_vanishes() {
    let server = Server::start();
    let mut listener = server.listener("c");
    let vanishing: Vec<_> = (0..10).map(|_| server.listener("c")).collect();
    for (number, client) in vanishing.into_iter().enumerate() {
        if number % 2 == 0 {
            let socket = socket2::SockRef::from(client.0.get_ref());
            socket.set_linger(Some(Duration::ZERO)).unwrap();
        }
    }
    server.await_listeners("c", 1);
    let mut publisher = server.member("read-write");
    assert_eq!(publisher.publish("c", "1"), OK);
    while listener.hear() != r#"{"channel":"c","data":1,"event":"e"}"# {}
    listener.hears_nothing();
}

/// R3: a subscriber that does not read delays nobody, and is closed with 1013 when its outbox is
/// full.
#[test]
fn a_subscriber_that_does_not_read() {
    const READERS: usize = 10;
    const LAST: &str = r#"{"channel":"c","event":"last"}"#;
    let server = Server::start();
    let mut idle = server.listener("c");
    let (tell, told) = mpsc::sync_channel(READERS);
    let reading: Vec<_> = (0..READERS)
        .map(|_| {
            let mut listener = server.listener("c");
            let tell = tell.clone();
            thread::spawn(move || {
                for number in 0.. {
                    let message = listener.hear();
                    if message == LAST {
                        break;
                    }
                    assert!(message.contains(&format!(r#"["{number}","#)), "{message:.50}");
                    tell.send(()).unwrap();
                }
                listener
            })
        })
        .collect();
    let padding = "x".repeat(64 << 10);
    // Whoever reads has read each message before the next. What an outbox and the buffers of a
    // socket hold is far less than a thousand.
    let overflow = (0..1000).find(|number| {
        let data = format!(r#"{{"event":"e","data":["{number}","{padding}"]}}"#);
        let reached = server.rocket.publish_json("c", &data).unwrap();
        for _ in 0..READERS {
            told.recv_timeout(PATIENCE).unwrap();
        }
        reached == READERS
    });
    assert!(overflow.is_some());
    assert_eq!(idle.end(), 1013);
    assert_eq!(server.rocket.publish_json("c", r#"{"event":"last"}"#), Ok(READERS));
    for thread in reading {
        thread.join().unwrap().hears_nothing();
    }
}

/// A client that does not read its answers is not listened to either, until it reads.
#[test]
fn a_client_that_only_asks() {
    let server = Server::start();
    let mut client = server.client();
    let stream = client.0.get_ref().try_clone().unwrap();
    stream.set_write_timeout(Some(Duration::from_millis(300))).unwrap();
    // `{}` in a masked frame.
    let questions = b"\x81\x82\0\0\0\0{}".repeat(1000);
    let mut asked = 0;
    let rest = loop {
        match (&stream).write(&questions[asked % 8..]) {
            Ok(written) => asked += written,
            Err(error) => {
                assert!(matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut));
                break &questions[asked % 8..8];
            }
        }
        assert!(asked < 1 << 28, "it is listened to though it does not read");
    };
    let answers = asked.div_ceil(8);
    let reading = thread::spawn(move || {
        for _ in 0..answers {
            assert_eq!(client.hear(), INVALID_DATA);
        }
        client
    });
    stream.set_write_timeout(Some(PATIENCE)).unwrap();
    (&stream).write_all(if asked % 8 == 0 { b"" } else { rest }).unwrap();
    reading.join().unwrap().hears_nothing();
}

//! Limits, and what is said beyond them.

use serde_json::json;

use super::super::harness::{Frame, Rocket};
use super::{
    INVALID_CHANNEL, INVALID_CHANNEL_NAME, INVALID_CREDENTIALS, INVALID_DATA, OK, READ, SUBSCRIBE,
    auth, enter, open, publisher,
};

fn subscribe(channel: &str) -> String {
    json!({"subscribe": {"channel": channel}}).to_string()
}

/// RK-LIM-1, R13: so many channels with listeners and no more; others stay as long as nobody needs
/// their place.
#[test]
fn channels_of_a_hub() {
    let hubs = json!([{"Path": "/hub", "MaxChannels": 3}, {"Path": "/other", "MaxChannels": 3}]);
    let rocket = Rocket::with(&hubs).start();
    let mut client = enter(&rocket, "/hub");
    client.says(READ).hears(OK);
    for channel in ["a", "b", "c"] {
        client.says(subscribe(channel)).hears(OK);
    }
    client.says(subscribe("d")).hears(INVALID_CHANNEL_NAME);
    for channel in ["c", "b"] {
        client.says(json!({"unsubscribe": {"channel": channel}}).to_string()).hears(OK);
    }
    client.says(subscribe("a")).hears(OK);
    client.says(super::WRITE).hears(OK);
    client.says(r#"{"publish":{"event":1,"channel":"d"}}"#).hears(INVALID_CHANNEL);
    client.says(r#"{"publish":{"event":1,"channel":"c"}}"#).hears(OK);
    client.says(subscribe("d")).hears(OK);
    client.says(r#"{"publish":{"event":1,"channel":"c"}}"#).hears(INVALID_CHANNEL);
    client.says(r#"{"publish":{"event":1,"channel":"b"}}"#).hears(OK);

    // Another hub has its own.
    let mut other = enter(&rocket, "/other");
    other.says(READ).hears(OK);
    other.says(subscribe("d")).hears(OK);
}

/// RK-LIM-1: so many subscriptions for each connection.
#[test]
fn subscriptions_of_a_connection() {
    let rocket = Rocket::with(&json!([{"Path": "/hub", "MaxSubscriptions": 2}])).start();
    let mut client = enter(&rocket, "/hub");
    client.says(READ).hears(OK);
    for channel in ["a", "b", "a"] {
        client.says(subscribe(channel)).hears(OK);
    }
    client.says(subscribe("c")).hears(INVALID_CHANNEL_NAME);
    client.says(r#"{"unsubscribe":{"channel":"a"}}"#).hears(OK);
    client.says(subscribe("c")).hears(OK);
    client.says(subscribe("a")).hears(INVALID_CHANNEL_NAME);
    let mut other = enter(&rocket, "/hub");
    other.says(READ).hears(OK);
    other.says(subscribe("a")).hears(OK);
}

/// RK-4.2-3: a name has at most 512 bytes, not characters.
#[test]
fn names_of_channels() {
    let rocket = open();
    let mut client = publisher(&rocket);
    client.says(subscribe(&"x".repeat(512))).hears(OK);
    client.says(subscribe(&"ü".repeat(256))).hears(OK);
    client.says(subscribe(&"x".repeat(513))).hears(INVALID_CHANNEL_NAME);
    client.says(subscribe(&"ü".repeat(257))).hears(INVALID_CHANNEL_NAME);
    let publish = json!({"publish": {"event": 1, "channel": "x".repeat(513)}}).to_string();
    client.says(publish).hears(INVALID_CHANNEL);
}

/// RK-LIM-2, R17: the hundredth wrong secret within a minute is answered and ends the connection.
#[test]
fn failed_logins() {
    let secrets = json!({"ReadOnly": "r", "ReadWrite": "w"});
    let rocket = Rocket::with(&json!([{"Path": "/hub", "Secrets": secrets}])).start();
    let mut client = enter(&rocket, "/hub");
    let wrong = auth("read-write", "r");
    for attempt in 1..=99 {
        client.says(&wrong).hears(INVALID_CREDENTIALS);
        if attempt % 10 == 0 {
            // Neither of these counts, nor does it start from the beginning.
            client.says(auth("read-only", "r")).hears(OK);
            client.says(auth("nobody", "")).hears(INVALID_DATA);
        }
    }
    let mut other = enter(&rocket, "/hub");
    other.says(&wrong).hears(INVALID_CREDENTIALS);
    client.says(&wrong).hears(INVALID_CREDENTIALS);
    client.expect_close_code(1008);
    other.says(&wrong).hears(INVALID_CREDENTIALS);
}

/// R16: a message may have as many bytes as `MaxMessageSize` says, 1 MiB without it; one more ends
/// the connection by 1009, also in fragments.
#[test]
fn sizes_of_messages() {
    let rocket = Rocket::with(&json!([
        {"Path": "/hub"},
        {"Path": "/small", "MaxMessageSize": 100},
    ]));
    let rocket = rocket.start();
    let padded = |size: usize| SUBSCRIBE.to_owned() + &" ".repeat(size - SUBSCRIBE.len());
    for (path, limit) in [("/hub", 1 << 20), ("/small", 100)] {
        let mut client = enter(&rocket, path);
        client.says(READ).hears(OK);
        client.says(padded(limit)).hears(OK);
        client.send(&Frame::text(padded(limit + 1)));
        client.expect_close_code(1009);

        let mut client = enter(&rocket, path);
        client.says(READ).hears(OK);
        let text = padded(limit + 1);
        let (one, other) = text.split_at(limit / 2);
        client.send(&Frame::text(one).unfinished());
        client.send(&Frame::continuation(other));
        client.expect_close_code(1009);
    }
}

/// RK-3-1, RK-BRC-1: nesting has no limit but the size; what is cut off there is invalid.
#[test]
fn deep_nesting() {
    const DEPTH: usize = 100_000;
    let rocket = open();
    let mut client = publisher(&rocket);
    client.says(SUBSCRIBE).hears(OK);
    for (open, close) in [("[", "]"), ("{\"a\":", "}")] {
        client.says(open.repeat(DEPTH)).hears(INVALID_DATA);
        let cut_off = format!(r#"{{"publish":{}"#, open.repeat(DEPTH));
        client.says(&cut_off).hears(INVALID_DATA);
        let nested = format!("{}1{}", open.repeat(DEPTH), close.repeat(DEPTH));
        let payload = format!(r#"{{"channel":"hello","data":{nested},"event":1}}"#);
        client.says(format!(r#"{{"publish":{payload}}}"#)).hears(payload).hears(OK);
    }
}

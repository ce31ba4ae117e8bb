//! The nineteen tests of the original, in their order, on one connection.

use serde_json::json;

use super::super::harness::{Client, Rocket};
use super::{
    ACCESS_DENIED, INVALID_CHANNEL, INVALID_CREDENTIALS, INVALID_DATA, OK, SUBSCRIBE, UNSUBSCRIBE,
    auth, enter,
};

/// RK-7, R10, R12: the conversation of the original's test-suite. Its line 6 empties a secret while
/// the server runs, which the program cannot do: a hub whose secret is empty stands in.
#[test]
fn the_conversation_of_the_original() {
    let rocket = Rocket::with(&json!([
        {
            "Path": "/echo",
            "Codec": "JSON",
            "Secrets": {"ReadOnly": "read-secret", "ReadWrite": "read-write-secret"},
        },
        {"Path": "/open", "Codec": "JSON", "Secrets": {"ReadOnly": "read-secret"}},
    ]));
    let rocket = rocket.start();
    let wrong = auth("read-write", "wrong secret");
    let read = auth("read-only", "read-secret");
    let write = auth("read-write", "read-write-secret");
    let publish = |channel: &str| {
        json!({"publish": {"channel": channel, "event": "foo", "data": "bar"}}).to_string()
    };

    // 1
    let mut ws: Client = enter(&rocket, "/echo");
    // 2 to 5: auth
    ws.says(&wrong).hears(INVALID_CREDENTIALS);
    ws.says(r#"{"auth":"invalid"}"#).hears(INVALID_DATA);
    ws.says(&read).hears(OK);
    ws.says(&write).hears(OK);
    // 6
    enter(&rocket, "/open").says(auth("read-write", "")).hears(OK);
    // 7 to 10: subscribe
    ws.says(r#"{"subscribe":"invalid"}"#).hears(INVALID_DATA);
    ws.says(&wrong).hears(INVALID_CREDENTIALS);
    ws.says(SUBSCRIBE).hears(ACCESS_DENIED);
    ws.says(&read).hears(OK);
    ws.says(SUBSCRIBE).hears(OK);
    ws.says(&write).hears(OK);
    ws.says(SUBSCRIBE).hears(OK);
    // 11 and 12: unsubscribe
    ws.says(r#"{"unsubscribe":"invalid"}"#).hears(INVALID_DATA);
    ws.says(UNSUBSCRIBE).hears(OK);
    // 13 to 17: publish
    ws.says(&read).hears(OK);
    ws.says(publish("hello")).hears(ACCESS_DENIED);
    ws.says(&write).hears(OK);
    ws.says(r#"{"publish":"invalid"}"#).hears(INVALID_DATA);
    ws.says(publish("invalid-channel")).hears(INVALID_CHANNEL);
    ws.says(r#"{"publish":{"channel":"hello","data":{"foo":"bar"}}}"#).hears(INVALID_DATA);
    let mut second = enter(&rocket, "/echo");
    second.says(&read).hears(OK);
    second.says(SUBSCRIBE).hears(OK);
    ws.says(&write).hears(OK);
    ws.says(publish("hello")).hears(OK);
    second.hears(r#"{"channel":"hello","data":"bar","event":"foo"}"#);
    // 18 and 19
    ws.says(r#"{"logout":true}"#).hears(OK);
    ws.says(r#"{"disconnect":true}"#).hears(OK).expect_farewell(1000, "");
}

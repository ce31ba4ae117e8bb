//! What is said on a hub, and the answer to it: each row of the tables of the protocol.

use serde_json::json;

use super::super::harness::Rocket;
use super::{
    ACCESS_DENIED, INVALID_CHANNEL, INVALID_CHANNEL_NAME, INVALID_CREDENTIALS, INVALID_DATA, OK,
    READ, SUBSCRIBE, WRITE, auth, enter, open, publisher, subscriber,
};

/// RK-MSG-1, RK-MSG-2, RK-3-1, RK-3-2: what is no object with a member is invalid, and the
/// connection stays.
#[test]
fn what_is_no_object_is_invalid() {
    let rocket = open();
    let mut client = enter(&rocket, "/hub");
    for text in [
        "",
        " ",
        "hello",
        "{",
        "{\"logout\":true",
        "{\"logout\":true}x",
        "{\"logout\":true}{\"logout\":true}",
        "{'logout':true}",
        "{\"logout\":true,}",
        "[]",
        "[{\"logout\":true}]",
        "\"logout\"",
        "1",
        "true",
        "null",
        "{}",
        " { } ",
        "\u{feff}{\"logout\":true}",
    ] {
        client.says(text).hears(INVALID_DATA);
    }
    client.says(" {\n\"logout\" :\ttrue } ").hears(OK);
}

/// RK-3-3, R7: a payload that is neither object nor boolean is invalid, before anybody looks
/// at the event's name.
#[test]
fn payloads_are_objects_or_booleans() {
    let rocket = open();
    let mut client = enter(&rocket, "/hub");
    for event in ["auth", "subscribe", "unsubscribe", "publish", "logout", "disconnect", "x", ""] {
        for payload in [json!("x"), json!(1), json!([]), json!([{}]), json!(null), json!(1.5)] {
            client.says(json!({ event: payload }).to_string()).hears(INVALID_DATA);
        }
    }
}

/// RK-3-4, R6: an event that nobody knows is not answered, and the next one is.
#[test]
fn unknown_events_are_ignored() {
    let rocket = open();
    let mut client = enter(&rocket, "/hub");
    for event in ["hello", "", "Auth", "LOGOUT", "auth ", "ok", "err"] {
        for payload in [json!(true), json!(false), json!({}), json!({"channel": "hello"})] {
            client.says(json!({ event: payload }).to_string());
        }
    }
    client.says(r#"{"subscribe":true}"#).hears(ACCESS_DENIED);
}

/// RK-MSG-3, R8: a boolean, false as well as true, is no data.
#[test]
fn false_is_as_good_as_true() {
    let rocket = open();
    let mut client = publisher(&rocket);
    for event in ["auth", "subscribe", "unsubscribe", "publish"] {
        for payload in [true, false] {
            client.says(json!({ event: payload }).to_string()).hears(INVALID_DATA);
        }
    }
    client.says(r#"{"logout":false}"#).hears(OK);
    client.says(SUBSCRIBE).hears(ACCESS_DENIED);
    client.says(r#"{"disconnect":false}"#).hears(OK).expect_farewell(1000, "");
}

/// RK-MSG-4, R5: two members are no event; the same one twice is one, and the last counts.
#[test]
fn one_member_only() {
    let rocket = open();
    let mut client = enter(&rocket, "/hub");
    client.says(r#"{"logout":true,"auth":true}"#).hears(INVALID_DATA);
    client.says(r#"{"x":true,"y":true}"#).hears(INVALID_DATA);
    client.says(r#"{"logout":1,"logout":true}"#).hears(OK);
    client.says(r#"{"logout":true,"logout":1}"#).hears(INVALID_DATA);
    let twice = r#"{"auth":{"access":"nobody","secret":"","access":"read-only"}}"#;
    client.says(twice).hears(OK);
    client.says(SUBSCRIBE).hears(OK);
}

/// RK-4.1-1, RK-4.1-2, RK-4.1-3: an incomplete login is invalid, and access stays what
/// it was.
#[test]
fn incomplete_logins() {
    let rocket = Rocket::with(&json!([{"Path": "/hub", "Secrets": {"ReadWrite": "secret"}}]));
    let rocket = rocket.start();
    let mut client = enter(&rocket, "/hub");
    client.says(auth("read-write", "secret")).hears(OK);
    for payload in [
        json!(true),
        json!(false),
        json!({}),
        json!({"access": "read-write"}),
        json!({"secret": "secret"}),
        json!({"Access": "read-write", "Secret": "secret"}),
        json!({"access": 2, "secret": "secret"}),
        json!({"access": null, "secret": "secret"}),
        json!({"access": ["read-only"], "secret": ""}),
        json!({"access": "Read-Only", "secret": ""}),
        json!({"access": "none", "secret": "wrong"}),
        json!({"access": "", "secret": ""}),
    ] {
        client.says(json!({ "auth": payload }).to_string()).hears(INVALID_DATA);
    }
    client.says(SUBSCRIBE).hears(OK);
    client.says(super::publish(1)).hears(super::broadcast(1)).hears(OK);
}

/// RK-4.1-4, R12: a secret that differs takes away what access there was; so does one that is
/// no string.
#[test]
fn wrong_secrets_take_access_away() {
    let secrets = json!({"ReadOnly": "12", "ReadWrite": "secret"});
    let rocket = Rocket::with(&json!([{"Path": "/hub", "Secrets": secrets}])).start();
    let mut client = enter(&rocket, "/hub");
    for (access, secret) in [
        ("read-only", json!(12)),
        ("read-only", json!("")),
        ("read-only", json!("12 ")),
        ("read-only", json!(null)),
        // Each access has its own secret.
        ("read-only", json!("secret")),
        ("read-write", json!("12")),
        ("read-write", json!("SECRET")),
        ("read-write", json!(["secret"])),
        ("read-write", json!({"secret": "secret"})),
    ] {
        client.says(auth("read-write", "secret")).hears(OK);
        let wrong = json!({"auth": {"access": access, "secret": secret}});
        client.says(wrong.to_string()).hears(INVALID_CREDENTIALS);
        client.says(SUBSCRIBE).hears(ACCESS_DENIED);
    }
}

/// RK-4.1-5: a login takes the place of the former one, upwards and downwards.
#[test]
fn the_last_login_counts() {
    let secrets = json!({"ReadOnly": "r", "ReadWrite": "w"});
    let rocket = Rocket::with(&json!([{"Path": "/hub", "Secrets": secrets}])).start();
    let mut client = enter(&rocket, "/hub");
    client.says(auth("read-only", "r")).hears(OK);
    client.says(SUBSCRIBE).hears(OK);
    client.says(super::publish(1)).hears(ACCESS_DENIED);
    client.says(auth("read-write", "w")).hears(OK);
    client.says(super::publish(2)).hears(super::broadcast(2)).hears(OK);
    client.says(auth("read-only", "r")).hears(OK);
    client.says(super::publish(3)).hears(ACCESS_DENIED);
    client.says(SUBSCRIBE).hears(OK);
    let extra = r#"{"auth":{"access":"read-write","secret":"w","more":[1]}}"#;
    client.says(extra).hears(OK);
}

/// RK-4.1-5: an empty secret lets in whoever logs in, with any secret, and nobody who does not.
#[test]
fn an_open_hub_still_wants_a_login() {
    let rocket = open();
    let mut client = enter(&rocket, "/hub");
    for text in [SUBSCRIBE, &super::publish(1)] {
        client.says(text).hears(ACCESS_DENIED);
    }
    for secret in [json!("x"), json!(""), json!(5), json!(null), json!({}), json!(false)] {
        let mut client = enter(&rocket, "/hub");
        let login = json!({"auth": {"access": "read-write", "secret": secret}});
        client.says(login.to_string()).hears(OK);
        client.says(SUBSCRIBE).hears(OK);
    }
}

/// RK-4.2-1: access comes before the payload.
#[test]
fn subscribing_takes_access() {
    let rocket = open();
    let mut client = enter(&rocket, "/hub");
    let texts = [
        SUBSCRIBE,
        r#"{"subscribe":true}"#,
        r#"{"subscribe":{}}"#,
        r#"{"subscribe":{"channel":""}}"#,
    ];
    for text in texts {
        client.says(text).hears(ACCESS_DENIED);
    }
}

/// RK-4.2-2, RK-4.2-3, RK-4.2-4: a channel's name is a string and not empty; any other
/// will do.
#[test]
fn names_of_channels() {
    let rocket = open();
    let mut client = enter(&rocket, "/hub");
    client.says(READ).hears(OK);
    for payload in [json!(true), json!({}), json!({"channel": 1}), json!({"channel": ["a"]})] {
        client.says(json!({ "subscribe": payload }).to_string()).hears(INVALID_DATA);
    }
    client.says(r#"{"subscribe":{"channel":null}}"#).hears(INVALID_DATA);
    client.says(r#"{"subscribe":{"channel":""}}"#).hears(INVALID_CHANNEL_NAME);
    client.says(WRITE).hears(OK);
    for name in [" ", "a b", "Hello", "hello", "日本", "\0", "\n", "\"", "/../", "😀"] {
        client.says(json!({"subscribe": {"channel": name}}).to_string()).hears(OK);
        let message = json!({"publish": {"channel": name, "event": name}});
        client.says(message.to_string());
        let told: serde_json::Value = serde_json::from_str(&client.next_text()).unwrap();
        assert_eq!(told, message["publish"]);
        client.hears(OK);
    }
    // However it is written.
    client.says(r#"{"publish":{"channel":"hell\u006f","event":1}}"#);
    client.hears(r#"{"channel":"hello","event":1}"#).hears(OK);
}

/// RK-4.3-1, RK-4.3-2, RK-4.3-3, R9: to unsubscribe takes no access, and a name that is
/// a string.
#[test]
fn anybody_may_unsubscribe() {
    let rocket = open();
    let mut client = enter(&rocket, "/hub");
    for payload in [json!(true), json!(false), json!({}), json!({"channel": 1})] {
        client.says(json!({ "unsubscribe": payload }).to_string()).hears(INVALID_DATA);
    }
    for name in ["hello", "", "unknown"] {
        client.says(json!({"unsubscribe": {"channel": name}}).to_string()).hears(OK);
    }
    client.says(WRITE).hears(OK);
    // It has made no channel.
    let unknown = r#"{"publish":{"channel":"unknown","event":1}}"#;
    client.says(unknown).hears(INVALID_CHANNEL);

    let mut reader = subscriber(&rocket);
    reader.says(r#"{"logout":true}"#).hears(OK);
    reader.says(super::UNSUBSCRIBE).hears(OK);
    client.says(super::publish(1)).hears(OK);
    reader.hears_nothing();
}

/// RK-4.4-1: access comes before the payload, and reading is not enough.
#[test]
fn publishing_takes_access() {
    let rocket = open();
    let mut client = enter(&rocket, "/hub");
    for login in [None, Some(READ)] {
        if let Some(login) = login {
            client.says(login).hears(OK);
        }
        for text in [super::publish(1).as_str(), r#"{"publish":true}"#, r#"{"publish":{}}"#] {
            client.says(text).hears(ACCESS_DENIED);
        }
    }
}

/// RK-4.4-2, RK-4.4-3, RK-4.4-4: what a message needs, in this order.
#[test]
fn what_a_message_needs() {
    let rocket = open();
    let mut client = publisher(&rocket);
    for payload in [
        json!(true),
        json!({}),
        json!({"channel": "nobody", "data": 1}),
        json!({"event": "e"}),
        json!({"event": "e", "channel": 1}),
        json!({"event": "e", "channel": null}),
        json!({"Event": "e", "Channel": "nobody"}),
    ] {
        client.says(json!({ "publish": payload }).to_string()).hears(INVALID_DATA);
    }
    for channel in ["nobody", ""] {
        let message = json!({"publish": {"event": "e", "channel": channel}});
        client.says(message.to_string()).hears(INVALID_CHANNEL);
    }
    // Publishing has made none.
    client.says(r#"{"publish":{"event":"e","channel":"nobody"}}"#).hears(INVALID_CHANNEL);
}

/// RK-4.4-5, RK-BRC-1, R10, R11, R18: subscribers get the whole payload, sorted and compact:
/// without data if there was none, with what was added, and every number as it was written.
#[test]
fn subscribers_get_the_payload_as_it_was() {
    let rocket = open();
    let mut client = publisher(&rocket);
    let mut reader = subscriber(&rocket);
    for (payload, told) in [
        (r#"{"event":"e","channel":"hello"}"#, r#"{"channel":"hello","event":"e"}"#),
        (
            r#"{"event":null,"data":null,"channel":"hello"}"#,
            r#"{"channel":"hello","data":null,"event":null}"#,
        ),
        (
            r#"{ "event" : 1 , "channel" : "hello" , "data" : [ 1 , { "b" : 2, "a" : "x y" } ] }"#,
            r#"{"channel":"hello","data":[1,{"b":2,"a":"x y"}],"event":1}"#,
        ),
        (
            r#"{"event":{},"channel":"hello","z":false,"_id":"7"}"#,
            r#"{"_id":"7","channel":"hello","event":{},"z":false}"#,
        ),
        (
            r#"{"event":"","channel":"hello","data":[9007199254740993,1.0,-0,1e400,0.10]}"#,
            r#"{"channel":"hello","data":[9007199254740993,1.0,-0,1e400,0.10],"event":""}"#,
        ),
        (
            r#"{"event":true,"channel":"hello","data":"<a href=\"x\">&"}"#,
            r#"{"channel":"hello","data":"<a href=\"x\">&","event":true}"#,
        ),
        (
            r#"{"event":"e","channel":"hello","data":1,"data":{"last":"wins"}}"#,
            r#"{"channel":"hello","data":{"last":"wins"},"event":"e"}"#,
        ),
    ] {
        client.says(format!(r#"{{"publish":{payload}}}"#)).hears(OK);
        reader.hears(told);
    }
    for data in [json!("text"), json!(1), json!(true), json!(false), json!({}), json!([])] {
        client.says(super::publish(data.clone())).hears(OK);
        reader.hears(super::broadcast(data));
    }
}

/// RK-4.6: whoever logs out has no access, and may do so twice.
#[test]
fn logging_out() {
    let rocket = open();
    let mut client = publisher(&rocket);
    for text in [r#"{"logout":true}"#, r#"{"logout":{}}"#, r#"{"logout":{"a":1}}"#] {
        client.says(text).hears(OK);
        client.says(SUBSCRIBE).hears(ACCESS_DENIED);
    }
}

/// RK-4.7: `disconnect` is answered, then the connection is closed; nothing behind it is.
#[test]
fn disconnecting() {
    let rocket = open();
    for text in [r#"{"disconnect":true}"#, r#"{"disconnect":{}}"#] {
        let mut client = enter(&rocket, "/hub");
        client.says(text).says(READ).hears(OK).expect_farewell(1000, "");
    }
}

/// RK-MSG-2: answers come in the order of the messages.
#[test]
fn answers_come_in_order() {
    let rocket = open();
    let mut client = enter(&rocket, "/hub");
    let turns = [
        (SUBSCRIBE, ACCESS_DENIED),
        (READ, OK),
        (r#"{"publish":true}"#, ACCESS_DENIED),
        ("x", INVALID_DATA),
        (r#"{"subscribe":{"channel":""}}"#, INVALID_CHANNEL_NAME),
        (WRITE, OK),
        (r#"{"publish":{"event":1,"channel":"nobody"}}"#, INVALID_CHANNEL),
        (r#"{"logout":true}"#, OK),
    ];
    for (text, _) in turns.iter().cycle().take(400) {
        client.says(text);
    }
    for (_, answer) in turns.iter().cycle().take(400) {
        client.hears(answer);
    }
}

//! Every row of the tables of events.

use kuiperbelt_websocket::Kind;

use super::*;
use crate::codec::{Codec as _, Json};
use crate::message::Received;

const DENIED: Step<'_> = Step::Answer(Reply::AccessDenied);
const INVALID: Step<'_> = Step::Answer(Reply::InvalidData);
const NONE: Option<Access> = None;
const READ: Option<Access> = Some(Access::ReadOnly);
const WRITE: Option<Access> = Some(Access::ReadWrite);

fn event(json: &str) -> Event {
    let payload = json.to_owned().into();
    Json.decode(&Received { kind: Kind::Text, payload }).unwrap_or_else(|_| panic!("{json}"))
}

/// What follows on a hub whose secrets are `r` and `w`.
#[track_caller]
fn expect(json: &str, access: Option<Access>, expected: Step<'_>) {
    let credentials = Credentials { read_only: "r".into(), read_write: "w".into() };
    assert_eq!(step(&event(json), access, &credentials), expected, "{json} {access:?}");
}

/// What follows whatever the access.
#[track_caller]
fn expect_always(json: &str, expected: Step<'_>) {
    for access in [NONE, READ, WRITE] {
        expect(json, access, expected);
    }
}

/// R6: section 3, step 4.
#[test]
fn unknown_events() {
    for json in [r#"{"unknown":true}"#, r#"{"":{}}"#, r#"{"Auth":{}}"#, r#"{"logout ":false}"#] {
        expect_always(json, Step::Ignore);
    }
}

/// Section 4.1, steps 1 to 3.
#[test]
fn auth_with_invalid_data() {
    for json in [
        r#"{"auth":true}"#,
        r#"{"auth":{}}"#,
        r#"{"auth":{"secret":"r"}}"#,
        r#"{"auth":{"access":"read-only"}}"#,
        r#"{"auth":{"access":1,"secret":"r"}}"#,
        r#"{"auth":{"access":null,"secret":"r"}}"#,
        r#"{"auth":{"access":"read-all","secret":"r"}}"#,
        r#"{"auth":{"access":"Read-Only","secret":"r"}}"#,
        r#"{"auth":{"access":"","secret":"r"}}"#,
        r#"{"auth":{"Access":"read-only","secret":"r"}}"#,
    ] {
        expect_always(json, INVALID);
    }
}

/// R12: section 4.1, steps 4 and 5; each secret opens its own access.
#[test]
fn auth_with_secrets() {
    for (access, secret, expected) in [
        ("read-only", r#""r""#, Step::Grant(Access::ReadOnly)),
        ("read-write", r#""w""#, Step::Grant(Access::ReadWrite)),
        ("read-only", r#""w""#, Step::Deny),
        ("read-write", r#""r""#, Step::Deny),
        ("read-only", r#""""#, Step::Deny),
        ("read-only", r#""R""#, Step::Deny),
        ("read-only", "1", Step::Deny),
        ("read-only", "null", Step::Deny),
        ("read-write", r#"["w"]"#, Step::Deny),
    ] {
        expect_always(
            &format!(r#"{{"auth":{{"access":"{access}","secret":{secret},"more":1}}}}"#),
            expected,
        );
    }
}

/// Section 4.1, step 5: an empty secret opens its access to whoever asks, with any secret.
#[test]
fn auth_on_an_open_hub() {
    let open = Credentials::default();
    for secret in [r#""""#, r#""any""#, "1", "null", "{}"] {
        let event = event(&format!(r#"{{"auth":{{"access":"read-write","secret":{secret}}}}}"#));
        assert_eq!(step(&event, None, &open), Step::Grant(Access::ReadWrite), "{secret}");
    }
    for json in [r#"{"auth":{"access":"read-write"}}"#, r#"{"auth":{"secret":""}}"#] {
        assert_eq!(step(&event(json), None, &open), INVALID, "{json}");
    }
    let subscribe = event(r#"{"subscribe":{"channel":"c"}}"#);
    assert_eq!(step(&subscribe, None, &open), DENIED);
}

/// Section 4.2, steps 1 and 2; what names are valid is not decided here.
#[test]
fn subscribe() {
    let valid = r#"{"subscribe":{"channel":"c"}}"#;
    expect(valid, NONE, DENIED);
    expect(valid, READ, Step::Subscribe("c"));
    expect(valid, WRITE, Step::Subscribe("c"));
    expect(r#"{"subscribe":{"channel":""}}"#, READ, Step::Subscribe(""));
    for payload in ["true", "false", "{}", r#"{"channel":1}"#, r#"{"channel":null}"#] {
        let json = format!(r#"{{"subscribe":{payload}}}"#);
        expect(&json, NONE, DENIED);
        expect(&json, READ, INVALID);
        expect(&json, WRITE, INVALID);
    }
}

/// R9: section 4.3.
#[test]
fn unsubscribe() {
    expect_always(r#"{"unsubscribe":{"channel":"c"}}"#, Step::Unsubscribe("c"));
    expect_always(r#"{"unsubscribe":{"channel":""}}"#, Step::Unsubscribe(""));
    for payload in ["true", "false", "{}", r#"{"channel":["c"]}"#] {
        expect_always(&format!(r#"{{"unsubscribe":{payload}}}"#), INVALID);
    }
}

/// R10: section 4.4, steps 1 to 3; whether there is such a channel is not decided here.
#[test]
fn publish() {
    for payload in [
        "true",
        "{}",
        r#"{"channel":"c"}"#,
        r#"{"event":"e"}"#,
        r#"{"event":"e","channel":1}"#,
        r#"{"event":"e","channel":null,"data":1}"#,
    ] {
        let json = format!(r#"{{"publish":{payload}}}"#);
        expect(&json, NONE, DENIED);
        expect(&json, READ, DENIED);
        expect(&json, WRITE, INVALID);
    }
    for event_member in [r#""e""#, r#""""#, "null", "1", "{}"] {
        let json = format!(r#"{{"publish":{{"event":{event_member},"channel":"c","more":1}}}}"#);
        let Payload::Data(data) = event(&json).payload else { panic!("{json}") };
        expect(&json, NONE, DENIED);
        expect(&json, READ, DENIED);
        expect(&json, WRITE, Step::Publish("c", &data));
    }
}

/// RK-MSG-3, R8: sections 4.6 and 4.7, with any payload.
#[test]
fn logout_and_disconnect() {
    for payload in ["true", "false", "{}", r#"{"a":1}"#] {
        expect_always(&format!(r#"{{"logout":{payload}}}"#), Step::LogOut);
        expect_always(&format!(r#"{{"disconnect":{payload}}}"#), Step::Disconnect);
    }
}

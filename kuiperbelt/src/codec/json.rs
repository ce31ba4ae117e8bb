//! JSON (RFC 8259) as Rocket writes it: in text messages, compact, members sorted by name.

use std::collections::BTreeMap;

use bytes::Bytes;
use kuiperbelt_websocket::Kind;
use serde_json::value::RawValue;

use super::{Codec, Data, Event, InvalidData, Payload, Reply, Value};
use crate::message::{Message, Received};

/// JSON, what Rocket speaks of old.
///
/// Values are passed on as they were written, but for white space: numbers keep every digit, and
/// nesting has no limit. A string with half of a surrogate pair is valid JSON but no text: as a
/// value it is passed on, and as a name it is invalid.
#[derive(Debug, Clone, Copy, Default)]
pub struct Json;

impl Codec for Json {
    fn decode(&self, message: &Received) -> Result<Event, InvalidData> {
        let text = std::str::from_utf8(&message.payload).map_err(|_| InvalidData)?;
        let mut members = members(text)?;
        let (Some((name, payload)), true) = (members.pop_first(), members.is_empty()) else {
            return Err(InvalidData);
        };
        let payload = match payload.get() {
            "true" => Payload::Flag(true),
            "false" => Payload::Flag(false),
            object => {
                let value = |raw: &RawValue| value(raw, |raw| message.payload.slice_ref(raw));
                let members = self::members(object)?.into_iter();
                Payload::Data(members.map(|(name, raw)| (name, value(raw))).collect())
            }
        };
        Ok(Event { name, payload })
    }

    fn encode_reply(&self, reply: Reply) -> Message {
        match reply.error() {
            None => Message::text(r#"{"ok":true}"#),
            Some(code) => Message::text(&format!(r#"{{"err":"{code}"}}"#)),
        }
    }

    fn encode_data(&self, data: &Data) -> Message {
        let mut json = Vec::new();
        let mut separator = b'{';
        for (name, value) in data.iter() {
            json.push(separator);
            write_text(name, &mut json);
            json.push(b':');
            match value {
                Value::Text(text) => write_text(text, &mut json),
                Value::Encoded(value) => write_compact(value, &mut json),
            }
            separator = b',';
        }
        if separator == b'{' {
            json.push(separator);
        }
        json.push(b'}');
        Message::raw(Kind::Text, &json)
    }

    fn value_from_json(&self, json: &str) -> Result<Value, InvalidData> {
        let raw = serde_json::from_str(json).map_err(|_| InvalidData)?;
        Ok(value(raw, Bytes::copy_from_slice))
    }
}

/// The members of an object, of which nothing but the names is understood. Of a repeated name the
/// last value stays. What is inside of the values is checked without recursion.
pub(super) fn members(object: &str) -> Result<BTreeMap<String, &RawValue>, InvalidData> {
    serde_json::from_str(object).map_err(|_| InvalidData)
}

fn value(raw: &RawValue, encoded: impl FnOnce(&[u8]) -> Bytes) -> Value {
    let raw = raw.get();
    let text = raw.starts_with('"').then(|| serde_json::from_str(raw).ok()).flatten();
    text.map_or_else(|| Value::Encoded(encoded(raw.as_bytes())), Value::Text)
}

fn write_text(text: &str, json: &mut Vec<u8>) {
    serde_json::to_writer(json, text).unwrap_or_else(|_| unreachable!("memory takes any text"));
}

/// Leaves out the white space between tokens.
fn write_compact(value: &[u8], json: &mut Vec<u8>) {
    json.reserve(value.len());
    let (mut is_in_string, mut is_escaped) = (false, false);
    for &byte in value {
        if is_in_string || !matches!(byte, b' ' | b'\t' | b'\n' | b'\r') {
            json.push(byte);
        }
        is_in_string ^= byte == b'"' && !is_escaped;
        is_escaped = is_in_string && byte == b'\\' && !is_escaped;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decode(json: &str) -> Result<Event, InvalidData> {
        let payload = Bytes::copy_from_slice(json.as_bytes());
        Json.decode(&Received { kind: Kind::Text, payload })
    }

    /// What subscribers get of a publish payload.
    #[track_caller]
    fn broadcast(payload: &str) -> String {
        match decode(&format!(r#"{{"publish":{payload}}}"#)).map(|event| event.payload) {
            Ok(Payload::Data(data)) => {
                String::from_utf8(Json.encode_data(&data).payload().into()).unwrap()
            }
            other => panic!("{other:?}"),
        }
    }

    /// RK-MSG-1, RK-MSG-3: one member, which is a flag or an object, with white space anywhere.
    #[test]
    fn events() {
        let flag = |name: &str, flag| Event { name: name.into(), payload: Payload::Flag(flag) };
        assert_eq!(decode(r#"{"logout":true}"#), Ok(flag("logout", true)));
        assert_eq!(decode(" \n{ \"logout\" :\tfalse }\r "), Ok(flag("logout", false)));
        assert_eq!(decode(r#"{"":true}"#), Ok(flag("", true)));
        assert_eq!(decode(r#"{"\u0061uth":true}"#), Ok(flag("auth", true)));
        let data = [("secret".into(), Value::from("ö\n")), ("n".into(), encoded("1.50"))];
        let payload = Payload::Data(data.into_iter().collect());
        let auth = decode(r#"{"auth": {"secret": "\u00f6\n", "n": 1.50 }}"#);
        assert_eq!(auth, Ok(Event { name: "auth".into(), payload }));
        assert!(decode(r#"{"auth":{}}"#).is_ok());
    }

    fn encoded(json: &'static str) -> Value {
        Value::Encoded(Bytes::from_static(json.as_bytes()))
    }

    /// RK-MSG-2, R7: section 3, steps 1 to 3.
    #[test]
    fn what_is_no_event() {
        for json in [
            "",
            " ",
            "x",
            "{",
            "}",
            "[]",
            r#"["auth"]"#,
            r#""auth""#,
            "1",
            "true",
            "null",
            "{}",
            r#"{"auth":true}}"#,
            r#"{"auth":true} x"#,
            r#"{"auth":true}{"auth":true}"#,
            r#"{"auth":true,}"#,
            r#"{"auth"}"#,
            r#"{auth:true}"#,
            r#"{'auth':true}"#,
            r#"{"auth":True}"#,
            r#"{"auth":{"a":}}"#,
            r#"{"auth":{"a":01}}"#,
            r#"{"auth":{"a":"\x"}}"#,
            "{\"auth\":{\"a\":\"\n\"}}",
            r#"{"auth":{"a":[1}}"#,
            r#"{"auth":"invalid"}"#,
            r#"{"auth":1}"#,
            r#"{"auth":[]}"#,
            r#"{"auth":null}"#,
            r#"{"unknown":"invalid"}"#,
            r#"{"auth":true // really
}"#,
            "\u{feff}{\"auth\":true}",
            r#"{"\ud800":true}"#,
            r#"{"auth":{"\ud800":1}}"#,
        ] {
            assert_eq!(decode(json), Err(InvalidData), "{json}");
        }
        let complete = r#"{"auth":{"access":"read-only","secret":[1,{"a":"\u00e9"}]}}"#;
        assert!(decode(complete).is_ok());
        for end in 0..complete.len() {
            assert_eq!(decode(&complete[..end]), Err(InvalidData), "{end}");
        }
        let payload = Bytes::from_static(b"{\"a\":{\"b\":\"\xff\"}}");
        let binary = Received { kind: Kind::Binary, payload };
        assert_eq!(Json.decode(&binary), Err(InvalidData));
    }

    /// RK-MSG-4, R5: several members; but a name that is repeated is one, with its last value.
    #[test]
    fn several_members() {
        assert_eq!(decode(r#"{"logout":true,"disconnect":true}"#), Err(InvalidData));
        let last = Event { name: "logout".into(), payload: Payload::Flag(true) };
        assert_eq!(decode(r#"{"logout":1,"logout":true}"#), Ok(last));
        assert_eq!(decode(r#"{"logout":true,"logout":1}"#), Err(InvalidData));
        assert_eq!(broadcast(r#"{"a":1,"b":2,"\u0061":3}"#), r#"{"a":3,"b":2}"#);
    }

    /// RK-BRC-1, R18: members sorted, no white space, every value as it was written.
    #[test]
    fn broadcasts() {
        for (payload, expected) in [
            ("{}", "{}"),
            (
                "{ \"event\" : \"e\" , \"data\" : [ 1 , { \"z\" : \" a b \\\" c \\\\\" , \"a\" : \"\\\\\\\" \" } ] ,\n\"channel\":\"c\" }",
                "{\"channel\":\"c\",\"data\":[1,{\"z\":\" a b \\\" c \\\\\",\"a\":\"\\\\\\\" \"}],\"event\":\"e\"}",
            ),
            (
                r#"{"a":9007199254740993,"b":1.0,"c":1e400,"d":-0,"e":0.10,"f":1E+2}"#,
                r#"{"a":9007199254740993,"b":1.0,"c":1e400,"d":-0,"e":0.10,"f":1E+2}"#,
            ),
            (r#"{"a":"<&>\u2028","b":"\/"}"#, "{\"a\":\"<&>\u{2028}\",\"b\":\"/\"}"),
            (r#"{"a":"\ud800 ","b":["\ud83d\ude00"]}"#, r#"{"a":"\ud800 ","b":["\ud83d\ude00"]}"#),
            (r#"{"a":{"b":1,"b":2}}"#, r#"{"a":{"b":1,"b":2}}"#),
            (r#"{"b":null,"a":false,"":""}"#, r#"{"":"","a":false,"b":null}"#),
        ] {
            assert_eq!(broadcast(payload), expected);
        }
    }

    #[test]
    fn replies() {
        let json = |reply| String::from_utf8(Json.encode_reply(reply).payload().into()).unwrap();
        assert_eq!(json(Reply::Ok), r#"{"ok":true}"#);
        assert_eq!(json(Reply::AccessDenied), r#"{"err":"access_denied"}"#);
    }

    /// Half a million levels: neither stack nor patience runs out.
    #[test]
    fn nesting_has_no_limit() {
        let deep = format!("{}{}", "[".repeat(500_000), "]".repeat(500_000));
        assert!(broadcast(&format!(r#"{{"data": {deep}}}"#)) == format!(r#"{{"data":{deep}}}"#));
        let unbalanced = format!(r#"{{"publish":{{"data":{}}}}}"#, "{\"a\":".repeat(200_000));
        assert_eq!(decode(&unbalanced), Err(InvalidData));
    }
}

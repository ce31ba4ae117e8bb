//! The contract of `Codec`, kept by both codecs of the library and by one that a user would write.

use std::collections::HashSet;

use bytes::Bytes;
#[cfg(feature = "msgpack")]
use kuiperbelt::codec::MessagePack;
use kuiperbelt::codec::{Codec, Data, InvalidData, Json, Payload, Reply, Value};
use kuiperbelt::{Kind, Message, Received};
use proptest::prelude::*;

/// What a user would write.
#[path = "../../examples/custom_codec/lines.rs"]
mod lines;

use lines::Lines;

/// A codec and what its messages look like.
struct Notation<C> {
    codec: C,
    /// The kind of its messages.
    kind: Kind,
    /// An event around a payload that is written already.
    event: fn(&str, &[u8]) -> Vec<u8>,
    /// The event `logout` with each flag.
    flags: &'static [&'static [u8]],
    /// Messages that are no event, or have something else as its payload.
    invalid: &'static [&'static [u8]],
}

const JSON: Notation<Json> = Notation {
    codec: Json,
    kind: Kind::Text,
    event: |name, payload| [b"{\"", name.as_bytes(), b"\":", payload, b"}"].concat(),
    flags: &[b"{\"logout\":true}", b"{\"logout\":false}"],
    invalid: &[b"{}", b"null", b"{\"a\":1}", b"{\"a\":\"b\"}", b"{\"a\":true,\"b\":true}", b"[]"],
};

#[cfg(feature = "msgpack")]
const MESSAGE_PACK: Notation<MessagePack> = Notation {
    codec: MessagePack,
    kind: Kind::Binary,
    event: |name, payload| {
        let length = 0xa0 | u8::try_from(name.len()).unwrap();
        [&[0x81, length], name.as_bytes(), payload].concat()
    },
    flags: &[b"\x81\xa6logout\xc3", b"\x81\xa6logout\xc2"],
    invalid: &[
        b"\x80",
        b"\xc0",
        b"\x81\xa1a\x01",
        b"\x81\xa1a\xa1b",
        b"\x82\xa1a\xc3\xa1b\xc3",
        b"\x90",
        b"\x81\xc0\xc3",
    ],
};

const LINES: Notation<Lines> = Notation {
    codec: Lines,
    kind: Kind::Text,
    event: |name, payload| [name.as_bytes(), b"\n", payload].concat(),
    flags: &[b"logout"],
    invalid: &[b"", b"\n\"a\"=1", b"publish\na=1", b"publish\n\"a\"", b"publish\n\"a\"=x", b"\xff"],
};

#[test]
fn json_keeps_the_contract() {
    keeps_the_contract(&JSON);
}

#[cfg(feature = "msgpack")]
#[test]
fn message_pack_keeps_the_contract() {
    keeps_the_contract(&MESSAGE_PACK);
}

#[test]
fn a_codec_of_ones_own_keeps_the_contract() {
    keeps_the_contract(&LINES);
}

proptest! {
    #[test]
    fn json_passes_on_any_data(members in members(), harm in harm()) {
        passes_on(&JSON, &members, &harm);
    }

    #[cfg(feature = "msgpack")]
    #[test]
    fn message_pack_passes_on_any_data(members in members(), harm in harm()) {
        passes_on(&MESSAGE_PACK, &members, &harm);
    }

    #[test]
    fn a_codec_of_ones_own_passes_on_any_data(members in members(), harm in harm()) {
        passes_on(&LINES, &members, &harm);
    }

    /// What is broadcast in JSON means what was published, however it was written.
    #[test]
    fn json_keeps_the_meaning(members in members()) {
        let read = |json: &[u8]| serde_json::from_slice::<serde_json::Value>(json).unwrap();
        let pretty = serde_json::to_vec_pretty(&serde_json::Value::from_iter(members)).unwrap();
        let event = Json.decode(&received(&JSON, (JSON.event)("publish", &pretty))).unwrap();
        let Payload::Data(data) = event.payload else { panic!("{event:?}") };
        prop_assert_eq!(read(Json.encode_data(&data).payload()), read(&pretty));
    }
}

#[track_caller]
fn keeps_the_contract<C: Codec>(notation: &Notation<C>) {
    let Notation { codec, flags, invalid, .. } = notation;
    for flag in *flags {
        let event = codec.decode(&received(notation, flag.to_vec())).unwrap();
        assert_eq!(event.name, "logout");
        assert!(matches!(event.payload, Payload::Flag(_)), "{flag:?}");
    }
    for message in *invalid {
        let answer = codec.decode(&received(notation, message.to_vec()));
        assert_eq!(answer, Err(InvalidData), "{message:?}");
    }
    assert_eq!(codec.decode(&received(notation, Vec::new())), Err(InvalidData));

    let mut data = Data::new();
    for json in ["null", "false", "0", "-9007199254740993", "1.5", "[]", "[1,[2]]", r#"{"a":{}}"#] {
        let value = codec.value_from_json(json).unwrap();
        assert!(matches!(value, Value::Encoded(_)), "{json}");
        data.insert(json, value);
    }
    for text in ["", "text", "line\nbreak", "\"\\\0\u{7f}", "ö\u{1f600}"] {
        let json = serde_json::Value::from(text).to_string();
        assert!(codec.value_from_json(&json) == Ok(Value::from(text)), "{text}");
        data.insert(text, Value::from(text));
    }
    for json in ["", "x", "1 2", "{", "\"", "[1,]"] {
        assert_eq!(codec.value_from_json(json), Err(InvalidData), "{json}");
    }
    comes_back(notation, &data);
    comes_back(notation, &Data::new());

    let replies = Reply::ALL.map(|reply| codec.encode_reply(reply));
    let distinct: HashSet<_> = replies.iter().map(Message::payload).collect();
    assert_eq!(distinct.len(), replies.len());
    for message in replies.iter().chain([&codec.encode_data(&data)]) {
        assert_eq!(message.kind(), notation.kind);
    }
}

/// Data survives being broadcast, whatever the kind of the message that brings it.
#[track_caller]
fn comes_back<C: Codec>(notation: &Notation<C>, data: &Data) {
    let broadcast = notation.codec.encode_data(data);
    let payload = Bytes::from((notation.event)("publish", broadcast.payload()));
    for kind in [Kind::Text, Kind::Binary] {
        let event = notation.codec.decode(&Received { kind, payload: payload.clone() }).unwrap();
        assert_eq!(event.name, "publish");
        assert!(event.payload == Payload::Data(data.clone()), "{data:?}");
    }
}

/// Data that was published in JSON comes back; and no bytes, neither random nor nearly right ones,
/// do any harm.
#[track_caller]
fn passes_on<C: Codec>(
    notation: &Notation<C>,
    members: &[(String, serde_json::Value)],
    (bytes, at): &(Vec<u8>, prop::sample::Index),
) {
    let translate = |json: &serde_json::Value| notation.codec.value_from_json(&json.to_string());
    let data: Data =
        members.iter().map(|(name, json)| (name.clone(), translate(json).unwrap())).collect();
    comes_back(notation, &data);

    let mut nearly = (notation.event)("publish", notation.codec.encode_data(&data).payload());
    let at = at.index(nearly.len());
    nearly.splice(at..(at + bytes.len()).min(nearly.len()), bytes.iter().copied());
    for message in [bytes.clone(), nearly] {
        if let Ok(event) = notation.codec.decode(&received(notation, message))
            && let Payload::Data(data) = event.payload
        {
            comes_back(notation, &data);
        }
    }
}

fn received<C>(notation: &Notation<C>, payload: Vec<u8>) -> Received {
    Received { kind: notation.kind, payload: payload.into() }
}

/// Bytes, and where they are to stand in the place of others.
fn harm() -> impl Strategy<Value = (Vec<u8>, prop::sample::Index)> {
    any::<(Vec<u8>, prop::sample::Index)>()
}

fn members() -> impl Strategy<Value = Vec<(String, serde_json::Value)>> {
    let leaf = prop_oneof![
        Just(serde_json::Value::Null),
        any::<bool>().prop_map(Into::into),
        any::<i64>().prop_map(Into::into),
        any::<f64>().prop_map(Into::into),
        any::<String>().prop_map(Into::into),
    ];
    let value = leaf.prop_recursive(4, 32, 8, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..8).prop_map(Into::into),
            prop::collection::vec((any::<String>(), inner), 0..8)
                .prop_map(serde_json::Value::from_iter),
        ]
    });
    prop::collection::vec((any::<String>(), value), 0..8)
}

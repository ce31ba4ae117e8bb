//! MessagePack (<https://github.com/msgpack/msgpack/blob/master/spec.md>) in binary messages: maps
//! take the place of objects, and everything else follows.

use std::collections::BTreeMap;
use std::fmt;

use rmp::Marker;
use rmp::decode::{read_map_len, read_marker, read_str_len};
use rmp::encode::{
    write_array_len, write_bool, write_f64, write_map_len, write_nil, write_sint, write_str,
    write_uint,
};
use serde_core::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};

use super::{Codec, Data, Event, InvalidData, Payload, Reply, Value};
use crate::message::{Message, Received};

/// MessagePack, for clients that mind the bytes: `{"auth": {…}}` is a map of one member as it is
/// in JSON.
///
/// Values are passed on byte for byte, extension types included. Names are texts; a text that is
/// not UTF-8 is passed on as a value, and as a name it is invalid. What was published in JSON comes
/// as the smallest type that holds it: integers beyond 64 bits as floats.
#[derive(Debug, Clone, Copy, Default)]
pub struct MessagePack;

impl Codec for MessagePack {
    fn decode(&self, message: &Received) -> Result<Event, InvalidData> {
        let mut members = members(&message.payload)?;
        let (Some((name, payload)), true) = (members.pop_first(), members.is_empty()) else {
            return Err(InvalidData);
        };
        let payload = match payload.first().map(|first| Marker::from_u8(*first)) {
            Some(Marker::True) => Payload::Flag(true),
            Some(Marker::False) => Payload::Flag(false),
            _ => {
                let value = |encoded: &[u8]| match text(encoded) {
                    Some(text) => Value::from(text),
                    None => Value::Encoded(message.payload.slice_ref(encoded)),
                };
                let members = self::members(payload)?.into_iter();
                Payload::Data(
                    members.map(|(name, encoded)| (name.into(), value(encoded))).collect(),
                )
            }
        };
        Ok(Event { name: name.into(), payload })
    }

    fn encode_reply(&self, reply: Reply) -> Message {
        let mut encoded = Vec::new();
        done(write_map_len(&mut encoded, 1));
        match reply.error() {
            None => {
                done(write_str(&mut encoded, "ok"));
                done(write_bool(&mut encoded, true));
            }
            Some(code) => {
                done(write_str(&mut encoded, "err"));
                done(write_str(&mut encoded, code));
            }
        }
        Message::binary(&encoded)
    }

    fn encode_data(&self, data: &Data) -> Message {
        let members = data.iter();
        let mut encoded = Vec::new();
        done(write_map_len(&mut encoded, length(members.len())));
        for (name, value) in members {
            done(write_str(&mut encoded, name));
            match value {
                Value::Text(text) => done(write_str(&mut encoded, text)),
                Value::Encoded(value) => encoded.extend_from_slice(value),
            }
        }
        Message::binary(&encoded)
    }

    fn value_from_json(&self, json: &str) -> Result<Value, InvalidData> {
        let Translated(encoded) = serde_json::from_str(json).map_err(|_| InvalidData)?;
        Ok(match text(&encoded) {
            Some(text) => Value::from(text),
            None => Value::Encoded(encoded.into()),
        })
    }
}

/// The members of a map, of which nothing but the names is understood, up to the end. Of a
/// repeated name the last value stays.
fn members(map: &[u8]) -> Result<BTreeMap<&str, &[u8]>, InvalidData> {
    let mut rest = map;
    let mut members = BTreeMap::new();
    for _ in 0..read_map_len(&mut rest).map_err(|_| InvalidData)? {
        let name = text(take_value(&mut rest)?).ok_or(InvalidData)?;
        members.insert(name, take_value(&mut rest)?);
    }
    if rest.is_empty() { Ok(members) } else { Err(InvalidData) }
}

/// The text that a value is, if it is one.
fn text(mut value: &[u8]) -> Option<&str> {
    let length = read_str_len(&mut value).ok()?;
    std::str::from_utf8(value.get(..length as usize)?).ok()
}

/// Takes one value off, with everything inside. It counts the values that are to come instead of
/// going into them. Each has at least a byte: what is announced in vain ends with the message.
fn take_value<'a>(rest: &mut &'a [u8]) -> Result<&'a [u8], InvalidData> {
    let start = *rest;
    let mut awaited = 1;
    while awaited > 0 {
        let marker = read_marker(rest).map_err(|_| InvalidData)?;
        let (bytes, values) = match marker {
            Marker::Reserved => return Err(InvalidData),
            Marker::Null | Marker::True | Marker::False => (0, 0),
            Marker::FixPos(_) | Marker::FixNeg(_) => (0, 0),
            Marker::U8 | Marker::I8 => (1, 0),
            Marker::U16 | Marker::I16 => (2, 0),
            Marker::U32 | Marker::I32 | Marker::F32 => (4, 0),
            Marker::U64 | Marker::I64 | Marker::F64 => (8, 0),
            Marker::FixStr(length) => (usize::from(length), 0),
            Marker::Str8 | Marker::Bin8 => (take_length(rest, 1)?, 0),
            Marker::Str16 | Marker::Bin16 => (take_length(rest, 2)?, 0),
            Marker::Str32 | Marker::Bin32 => (take_length(rest, 4)?, 0),
            // The type of an extension is a byte of its own.
            Marker::FixExt1 => (2, 0),
            Marker::FixExt2 => (3, 0),
            Marker::FixExt4 => (5, 0),
            Marker::FixExt8 => (9, 0),
            Marker::FixExt16 => (17, 0),
            Marker::Ext8 => (take_length(rest, 1)?.saturating_add(1), 0),
            Marker::Ext16 => (take_length(rest, 2)?.saturating_add(1), 0),
            Marker::Ext32 => (take_length(rest, 4)?.saturating_add(1), 0),
            Marker::FixArray(length) => (0, usize::from(length)),
            Marker::Array16 => (0, take_length(rest, 2)?),
            Marker::Array32 => (0, take_length(rest, 4)?),
            Marker::FixMap(length) => (0, usize::from(length) * 2),
            Marker::Map16 => (0, take_length(rest, 2)?.saturating_mul(2)),
            Marker::Map32 => (0, take_length(rest, 4)?.saturating_mul(2)),
        };
        *rest = rest.get(bytes..).ok_or(InvalidData)?;
        awaited = usize::saturating_add(awaited - 1, values);
    }
    Ok(&start[..start.len() - rest.len()])
}

/// Takes a length of so many bytes off.
fn take_length(rest: &mut &[u8], size: usize) -> Result<usize, InvalidData> {
    let (length, after) = rest.split_at_checked(size).ok_or(InvalidData)?;
    *rest = after;
    Ok(length.iter().fold(0, |length, byte| length << 8 | usize::from(*byte)))
}

/// What was written to memory, which takes everything.
fn done<T, E>(written: Result<T, E>) -> T {
    written.unwrap_or_else(|_| unreachable!("memory takes everything"))
}

/// A number of values that are all in memory, each larger than the byte it takes to write it.
fn length(count: usize) -> u32 {
    u32::try_from(count).unwrap_or_else(|_| unreachable!("so many values fit in no message"))
}

/// A value of another notation, in MessagePack.
struct Translated(Vec<u8>);

impl<'de> Deserialize<'de> for Translated {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_any(Translator)
    }
}

struct Translator;

impl Translator {
    fn write<T, E>(write: impl FnOnce(&mut Vec<u8>) -> Result<T, E>) -> Translated {
        let mut encoded = Vec::new();
        done(write(&mut encoded));
        Translated(encoded)
    }
}

impl<'de> Visitor<'de> for Translator {
    type Value = Translated;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_unit<E>(self) -> Result<Translated, E> {
        Ok(Self::write(write_nil))
    }

    fn visit_bool<E>(self, value: bool) -> Result<Translated, E> {
        Ok(Self::write(|to| write_bool(to, value)))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Translated, E> {
        Ok(Self::write(|to| write_sint(to, value)))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Translated, E> {
        Ok(Self::write(|to| write_uint(to, value)))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Translated, E> {
        Ok(Self::write(|to| write_f64(to, value)))
    }

    fn visit_str<E>(self, value: &str) -> Result<Translated, E> {
        Ok(Self::write(|to| write_str(to, value)))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut values: A) -> Result<Translated, A::Error> {
        let (mut count, mut content) = (0, Vec::new());
        while let Some(Translated(value)) = values.next_element()? {
            count += 1;
            content.extend(value);
        }
        let mut written = Self::write(|to| write_array_len(to, length(count)));
        written.0.extend(content);
        Ok(written)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Translated, A::Error> {
        let mut last = BTreeMap::<String, Translated>::new();
        while let Some((name, value)) = members.next_entry()? {
            last.insert(name, value);
        }
        let mut written = Self::write(|to| write_map_len(to, length(last.len())));
        for (name, Translated(value)) in last {
            done(write_str(&mut written.0, &name));
            written.0.extend(value);
        }
        Ok(written)
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use kuiperbelt_websocket::Kind;

    use super::*;

    fn decode(payload: &[u8]) -> Result<Event, InvalidData> {
        let payload = Bytes::copy_from_slice(payload);
        MessagePack.decode(&Received { kind: Kind::Binary, payload })
    }

    /// Half a million levels, and lengths beyond everything that follows.
    #[test]
    fn neither_depth_nor_announced_lengths_cost_anything() {
        let deep = [&[0x91; 500_000][..], &[0xc0]].concat();
        let mut data = Data::new();
        data.insert("data", Value::Encoded(deep.into()));
        let broadcast = MessagePack.encode_data(&data);
        let event = [b"\x81\xa7publish", broadcast.payload()].concat();
        assert_eq!(decode(&event).unwrap().payload, Payload::Data(data));

        for announcement in [
            &b"\xdf\xff\xff\xff\xff"[..],
            b"\x81\xdb\xff\xff\xff\xff",
            b"\x81\xa1a\xdf\xff\xff\xff\xff",
            b"\x81\xa1a\x81\xa1b\xdd\xff\xff\xff\xff",
            b"\x81\xa1a\x81\xa1b\xc9\xff\xff\xff\xff",
        ] {
            assert_eq!(decode(announcement), Err(InvalidData), "{announcement:x?}");
        }
    }

    /// Values of every type of the specification, each in the middle of a message, come out as
    /// they went in.
    #[test]
    fn every_type_is_passed_on() {
        let long = |marker: &[u8], size: usize| [marker, &vec![0; size]].concat();
        let values = [
            vec![0x7f],
            vec![0xe0],
            vec![0xc0],
            vec![0xc3],
            long(b"\xc4\x05", 5),
            long(b"\xc5\x01\x00", 256),
            long(b"\xc6\x00\x01\x00\x00", 65536),
            long(b"\xc7\x05", 6),
            long(b"\xc8\x01\x00", 257),
            long(b"\xc9\x00\x01\x00\x00", 65537),
            long(b"\xca", 4),
            long(b"\xcb", 8),
            long(b"\xcc", 1),
            long(b"\xcd", 2),
            long(b"\xce", 4),
            long(b"\xcf", 8),
            long(b"\xd0", 1),
            long(b"\xd1", 2),
            long(b"\xd2", 4),
            long(b"\xd3", 8),
            long(b"\xd4", 2),
            long(b"\xd5", 3),
            long(b"\xd6", 5),
            long(b"\xd7", 9),
            long(b"\xd8", 17),
            // Texts that are not UTF-8.
            b"\xa1\xff".to_vec(),
            b"\xd9\x01\xff".to_vec(),
            b"\xda\x00\x01\xff".to_vec(),
            b"\xdb\x00\x00\x00\x01\xff".to_vec(),
            long(b"\x92", 2),
            long(b"\xdc\x00\x10", 16),
            long(b"\xdd\x00\x01\x00\x00", 65536),
            // Names of all kinds, deeper inside.
            b"\x82\x01\x02\xc0\xa1x".to_vec(),
            long(b"\xde\x00\x10", 32),
            long(b"\xdf\x00\x00\x00\x10", 32),
        ];
        for value in values {
            let shown = &value[..value.len().min(8)];
            let event = [b"\x81\xa1e\x82\xa1a", &value[..], b"\xa1b\x01"].concat();
            let Payload::Data(data) = decode(&event).unwrap().payload else { panic!("{shown:x?}") };
            let encoded = Some(Value::Encoded(value.clone().into()));
            assert!(data.get("a") == encoded.as_ref(), "{shown:x?}");
            assert!(MessagePack.encode_data(&data).payload() == &event[3..], "{shown:x?}");
            assert_eq!(decode(&event[..event.len() - 1]), Err(InvalidData), "{shown:x?}");
        }
    }

    #[test]
    fn what_is_no_event() {
        for message in [
            &b"\x81\xa1a\xc1"[..],
            b"\x81\xa1a\xc3\x00",
            b"\x81\xa1\xff\xc3",
            b"\x81\xc4\x01a\xc3",
            b"\x81\x01\xc3",
            b"\x81\xa1a\x81\x01\x02",
            b"\x81\xa1a\x81\xa1\xff\x02",
        ] {
            assert_eq!(decode(message), Err(InvalidData), "{message:x?}");
        }
    }

    #[test]
    fn json_becomes_the_smallest_type() {
        for (json, expected) in [
            ("null", &b"\xc0"[..]),
            ("1", b"\x01"),
            ("-1", b"\xff"),
            ("255", b"\xcc\xff"),
            ("9007199254740993", b"\xcf\x00\x20\x00\x00\x00\x00\x00\x01"),
            ("18446744073709551615", b"\xcf\xff\xff\xff\xff\xff\xff\xff\xff"),
            ("18446744073709551616", b"\xcb\x43\xf0\x00\x00\x00\x00\x00\x00"),
            ("1.0", b"\xcb\x3f\xf0\x00\x00\x00\x00\x00\x00"),
            ("1.7400481518947034e+258", b"\xcb\x75\x8c\xf8\xc5\xa4\x05\x1a\xc6"),
            ("[true, {\"b\": \"x\", \"a\": 1, \"a\": 2}]", b"\x92\xc3\x82\xa1a\x02\xa1b\xa1x"),
        ] {
            let expected = Value::Encoded(Bytes::copy_from_slice(expected));
            assert!(MessagePack.value_from_json(json) == Ok(expected), "{json}");
        }
        let deep = |levels| format!("{}{}", "[".repeat(levels), "]".repeat(levels));
        assert!(MessagePack.value_from_json(&deep(100)).is_ok());
        for json in ["1e400", "\"\\ud800\"", &deep(100_000)] {
            assert_eq!(MessagePack.value_from_json(json), Err(InvalidData), "{:.8}", json);
        }
    }
}

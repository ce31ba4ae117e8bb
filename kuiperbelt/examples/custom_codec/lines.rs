//! A notation for people with a terminal: the event on a line of its own, and each value as JSON on
//! another, behind its name and an equals sign.
//!
//! ```text
//! publish
//! "channel"="news"
//! "event"="said"
//! "data"=[1,2,3]
//! ```
//!
//! An event without values is its name alone, and so is an answer: `ok`, or what is wrong.

use kuiperbelt::codec::{Codec, Data, Event, InvalidData, Payload, Reply, Value};
use kuiperbelt::{Message, Received};
use serde_json::value::RawValue;

/// A codec has no state.
pub(crate) struct Lines;

impl Codec for Lines {
    fn decode(&self, message: &Received) -> Result<Event, InvalidData> {
        let text = std::str::from_utf8(&message.payload).map_err(|_| InvalidData)?;
        let (name, payload) = match text.split_once('\n') {
            None => (text, Payload::Flag(true)),
            Some((name, lines)) => {
                let members = lines.lines().map(|line| self.member(line));
                (name, Payload::Data(members.collect::<Result<_, _>>()?))
            }
        };
        if name.is_empty() { Err(InvalidData) } else { Ok(Event { name: name.into(), payload }) }
    }

    fn encode_reply(&self, reply: Reply) -> Message {
        Message::text(reply.error().unwrap_or("ok"))
    }

    fn encode_data(&self, data: &Data) -> Message {
        let lines = data.iter().map(|(name, value)| {
            let name = serde_json::Value::from(name);
            match value {
                Value::Text(text) => format!("{name}={}\n", serde_json::Value::from(text.as_str())),
                Value::Encoded(json) => format!("{name}={}\n", String::from_utf8_lossy(json)),
            }
        });
        Message::text(&lines.collect::<String>())
    }

    fn value_from_json(&self, json: &str) -> Result<Value, InvalidData> {
        let raw: &RawValue = serde_json::from_str(json).map_err(|_| InvalidData)?;
        // A line break is white space: in a string it would be escaped.
        let line = raw.get().replace(['\n', '\r'], " ");
        Ok(match serde_json::from_str(&line) {
            Ok(text) => Value::Text(text),
            Err(_) => Value::Encoded(line.into()),
        })
    }
}

impl Lines {
    fn member(&self, line: &str) -> Result<(String, Value), InvalidData> {
        let mut parts = serde_json::Deserializer::from_str(line).into_iter::<String>();
        let name = parts.next().and_then(Result::ok).ok_or(InvalidData)?;
        let value = line[parts.byte_offset()..].strip_prefix('=').ok_or(InvalidData)?;
        Ok((name, self.value_from_json(value)?))
    }
}

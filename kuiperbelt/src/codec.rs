//! How the messages of the Rocket protocol are written. A [`Codec`] reads an event with its
//! payload from a client's message, and writes replies and broadcasts. [`Json`] is what Rocket
//! speaks of old; `MessagePack` (feature `msgpack`) says the same in fewer bytes.
//!
//! What the events mean is not known here.

use std::collections::BTreeMap;
use std::fmt;

use bytes::Bytes;

use crate::message::{Message, Received};

mod json;
#[cfg(feature = "msgpack")]
mod message_pack;

pub use json::Json;
#[cfg(feature = "msgpack")]
pub use message_pack::MessagePack;

/// How the messages of the Rocket protocol are written.
///
/// Contract:
///
/// * A codec is a notation and nothing else: no I/O, no state, no log. The same input gives the
///   same output, on any thread, and no input makes it panic.
/// * Whatever it takes for an event, it has read to the end. Time and memory are at most in
///   proportion to the message, however deep it is nested and whatever lengths it announces.
/// * What [`decode`](Self::decode) leaves [`Encoded`](Value::Encoded),
///   [`encode_data`](Self::encode_data) writes with the same meaning, to the last digit.
pub trait Codec: Send + Sync + 'static {
    /// Reads a client's message, text or binary alike: a map of exactly one member, which is the
    /// name of an event, to a flag or to a map of named values. A name that is repeated in a map
    /// counts once, with its last value.
    ///
    /// # Errors
    ///
    /// Anything else, names that are no text included.
    fn decode(&self, message: &Received) -> Result<Event, InvalidData>;

    /// The answer to an event.
    fn encode_reply(&self, reply: Reply) -> Message;

    /// What the subscribers of a channel get: a map of these members, in their order.
    fn encode_data(&self, data: &Data) -> Message;

    /// Translates a value that was published in JSON, as backends do whatever the clients speak. A
    /// string becomes [`Value::Text`].
    ///
    /// # Errors
    ///
    /// What is no JSON value, or none that this notation could write.
    fn value_from_json(&self, json: &str) -> Result<Value, InvalidData>;
}

/// A message of a client: the name of an event and what comes with it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// What is to happen, by name; any text.
    pub name: String,
    /// What comes with it.
    pub payload: Payload,
}

/// What comes with an event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Payload {
    /// Nothing but a boolean, whose value says nothing.
    Flag(bool),
    /// Named values.
    Data(Data),
}

/// Named values, sorted by name: what comes with an event, and what is broadcast. `Debug` shows
/// the names only, as values may be secrets.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Data(BTreeMap<String, Value>);

impl Data {
    /// No values.
    pub fn new() -> Self {
        Self::default()
    }

    /// The members of a JSON object, in the notation of `codec`.
    ///
    /// # Errors
    ///
    /// What is no JSON object, or has a value that the codec cannot write.
    pub fn from_json(json: &str, codec: &impl Codec) -> Result<Self, InvalidData> {
        let members = json::members(json)?.into_iter();
        members.map(|(name, raw)| Ok((name, codec.value_from_json(raw.get())?))).collect()
    }

    /// The value of this name.
    pub fn get(&self, name: &str) -> Option<&Value> {
        self.0.get(name)
    }

    /// The text of this name; `None` if the value is anything else, or missing.
    pub fn text(&self, name: &str) -> Option<&str> {
        match self.get(name)? {
            Value::Text(text) => Some(text),
            Value::Encoded(_) => None,
        }
    }

    /// Adds a value, in the place of an earlier one of that name.
    pub fn insert(&mut self, name: impl Into<String>, value: Value) {
        self.0.insert(name.into(), value);
    }

    /// All names and values, sorted by name.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&str, &Value)> {
        self.0.iter().map(|(name, value)| (name.as_str(), value))
    }
}

impl FromIterator<(String, Value)> for Data {
    /// Of values of one name, the last stays.
    fn from_iter<I: IntoIterator<Item = (String, Value)>>(members: I) -> Self {
        Self(members.into_iter().collect())
    }
}

impl fmt::Debug for Data {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

/// A value, understood only as far as Rocket needs to.
#[derive(Clone, PartialEq, Eq)]
pub enum Value {
    /// A text. What a notation calls a text but is no Unicode stays [`Encoded`](Self::Encoded).
    Text(String),
    /// Anything else, in the notation of the codec it is for. It is passed on as it is: whoever
    /// makes one vouches for it.
    Encoded(Bytes),
}

impl fmt::Debug for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Text(_) => "Text",
            Self::Encoded(_) => "Encoded",
        })
    }
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Self::Text(text.into())
    }
}

/// The answer to an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reply {
    /// It is done.
    Ok,
    /// The message or its payload is not what the event needs.
    InvalidData,
    /// The secret is wrong.
    InvalidCredentials,
    /// No channel can have this name, or there is no room for one more.
    InvalidChannelName,
    /// There is no such channel.
    InvalidChannel,
    /// The client's access does not reach so far.
    AccessDenied,
}

impl Reply {
    /// All of them.
    pub const ALL: [Self; 6] = [
        Self::Ok,
        Self::InvalidData,
        Self::InvalidCredentials,
        Self::InvalidChannelName,
        Self::InvalidChannel,
        Self::AccessDenied,
    ];

    /// The code of an error; `None` for [`Ok`](Self::Ok).
    pub const fn error(self) -> Option<&'static str> {
        match self {
            Self::Ok => None,
            Self::InvalidData => Some("invalid_data"),
            Self::InvalidCredentials => Some("invalid_credentials"),
            Self::InvalidChannelName => Some("invalid_channel_name"),
            Self::InvalidChannel => Some("invalid_channel"),
            Self::AccessDenied => Some("access_denied"),
        }
    }
}

/// A message is no event with its payload, or a value cannot be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("invalid data: expected an event with a boolean or an object as its payload")]
pub struct InvalidData;

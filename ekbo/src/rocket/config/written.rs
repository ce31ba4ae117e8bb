//! The configuration file as it was written: JSON of known members and types.

use std::fmt;
use std::marker::PhantomData;

use serde_core::Deserialize;
use serde_core::de::{Deserializer, Error as _, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::Value;

use crate::nearest::edit_distance;

/// How far a member's name may be from a known one for that to be what was meant.
const NEAR: usize = 2;

/// What some editors write at the beginning of a file (RFC 8259 section 8.1 lets it be ignored).
const BYTE_ORDER_MARK: &[u8] = "\u{feff}".as_bytes();

/// The whole file.
#[derive(Default)]
pub(super) struct Written {
    pub(super) host: Option<String>,
    pub(super) port: Option<u16>,
    pub(super) tls_cert: Option<String>,
    pub(super) tls_key: Option<String>,
    pub(super) log: Option<String>,
    pub(super) hubs: Vec<Hub>,
    pub(super) unknown: Unknown,
}

#[derive(Default)]
pub(super) struct Hub {
    pub(super) path: Option<String>,
    pub(super) codec: Option<String>,
    pub(super) log: Option<String>,
    pub(super) secrets: Secrets,
    pub(super) allowed_origins: Option<Vec<String>>,
    /// 0 is unlimited.
    pub(super) max_message_size: Option<usize>,
    pub(super) max_channels: Option<usize>,
    pub(super) max_subscriptions: Option<usize>,
    pub(super) unknown: Unknown,
}

#[derive(Default)]
pub(super) struct Secrets {
    pub(super) read_only: Option<String>,
    pub(super) read_write: Option<String>,
}

/// Members that mean nothing, each with the known name that is nearest to it.
#[derive(Default)]
pub(super) struct Unknown(Vec<(String, Option<&'static str>)>);

impl Written {
    /// Reads a file. The error tells where, unless the whole is meant, and shows no value of a
    /// member.
    pub(super) fn parse(text: &[u8]) -> serde_json::Result<Self> {
        let text = text.strip_prefix(BYTE_ORDER_MARK).unwrap_or(text);
        let read: Read<Self> = serde_json::from_slice(text)?;
        read.object("the configuration").map_err(serde_json::Error::custom)
    }
}

impl Unknown {
    /// A sentence for each; `place` is put before the names.
    pub(super) fn warnings(&self, place: &str) -> Vec<String> {
        let warning = |(name, nearest): &(String, Option<&str>)| {
            let hint = nearest.map(|known| format!("; did you mean {known}?")).unwrap_or_default();
            format!("{place}{name} in the configuration is unknown and ignored{hint}")
        };
        self.0.iter().map(warning).collect()
    }

    fn add(&mut self, name: String, known: &[&'static str]) {
        let distance = |known: &&'static str| {
            edit_distance(&name.to_ascii_lowercase(), &known.to_ascii_lowercase())
        };
        let nearest = known.iter().min_by_key(|known| distance(known)).copied();
        let nearest = nearest.filter(|nearest| distance(nearest) <= NEAR);
        self.0.push((name, nearest));
    }
}

/// A JSON object with members of known names.
trait Object: Default {
    /// The names, as error texts spell them.
    const MEMBERS: &'static [&'static str];

    /// Takes the value of a member, which has one of those names.
    fn take<'de, A: MapAccess<'de>>(
        &mut self,
        name: &'static str,
        members: &mut A,
    ) -> Result<(), A::Error>;

    fn unknown(&mut self) -> &mut Unknown;
}

impl Object for Written {
    const MEMBERS: &'static [&'static str] =
        &["Host", "Port", "TLSCertFile", "TLSKeyFile", "Log", "Hubs"];

    fn take<'de, A: MapAccess<'de>>(
        &mut self,
        name: &'static str,
        members: &mut A,
    ) -> Result<(), A::Error> {
        match name {
            "Host" => text(members, name, &mut self.host),
            "Port" => {
                let meant = |number| u16::try_from(number).ok();
                number(members, name, "a whole number from 0 to 65535", meant, &mut self.port)
            }
            "TLSCertFile" => text(members, name, &mut self.tls_cert),
            "TLSKeyFile" => text(members, name, &mut self.tls_key),
            "Log" => text(members, name, &mut self.log),
            _ => {
                let hubs: Read<Hub> = members.next_value()?;
                if let Some(hubs) = hubs.objects(name).map_err(A::Error::custom)? {
                    self.hubs = hubs;
                }
                Ok(())
            }
        }
    }

    fn unknown(&mut self) -> &mut Unknown {
        &mut self.unknown
    }
}

impl Object for Hub {
    const MEMBERS: &'static [&'static str] = &[
        "Path",
        "Codec",
        "Log",
        "Secrets",
        "AllowedOrigins",
        "MaxMessageSize",
        "MaxChannels",
        "MaxSubscriptions",
    ];

    fn take<'de, A: MapAccess<'de>>(
        &mut self,
        name: &'static str,
        members: &mut A,
    ) -> Result<(), A::Error> {
        match name {
            "Path" => text(members, name, &mut self.path),
            "Codec" => text(members, name, &mut self.codec),
            "Log" => text(members, name, &mut self.log),
            "Secrets" => {
                let value = members.next_value()?;
                self.secrets.take(value, &mut self.unknown).map_err(A::Error::custom)
            }
            "AllowedOrigins" => {
                let value = members.next_value()?;
                take_texts(name, value, &mut self.allowed_origins).map_err(A::Error::custom)
            }
            "MaxMessageSize" => {
                let meant = |number| usize::try_from(number).ok();
                let wanted = "a whole number of bytes, or 0 for any";
                number(members, name, wanted, meant, &mut self.max_message_size)
            }
            "MaxChannels" => count(members, name, &mut self.max_channels),
            _ => count(members, name, &mut self.max_subscriptions),
        }
    }

    fn unknown(&mut self) -> &mut Unknown {
        &mut self.unknown
    }
}

impl Secrets {
    /// Not by way of [`Object`]: the errors of serde show what there is instead of an object.
    fn take(&mut self, value: Value, unknown: &mut Unknown) -> Result<(), String> {
        let members = match value {
            Value::Null => return Ok(()),
            Value::Object(members) => members,
            other => return Err(mismatch("Secrets", "an object", &other)),
        };
        for (name, value) in members {
            match name.to_ascii_lowercase().as_str() {
                "readonly" => take_text("ReadOnly", value, &mut self.read_only)?,
                "readwrite" => take_text("ReadWrite", value, &mut self.read_write)?,
                _ => unknown
                    .add(format!("Secrets.{name}"), &["Secrets.ReadOnly", "Secrets.ReadWrite"]),
            }
        }
        Ok(())
    }
}

/// A value where an object of a kind is expected, or a list of them. What stands there instead is
/// known by its kind only: the errors of serde would show it, and it may be a secret.
enum Read<T> {
    Null,
    Object(T),
    Array(Vec<Self>),
    Other(&'static str),
}

impl<T: Object> Read<T> {
    /// The object; `null` is one without members.
    fn object(self, name: &str) -> Result<T, String> {
        match self {
            Self::Null => Ok(T::default()),
            Self::Object(object) => Ok(object),
            Self::Array(_) => Err(mistaken(name, "an object", "an array")),
            Self::Other(found) => Err(mistaken(name, "an object", found)),
        }
    }

    /// The list of them; `null` is none.
    fn objects(self, name: &str) -> Result<Option<Vec<T>>, String> {
        let wanted = "an array of objects";
        match self {
            Self::Null => Ok(None),
            Self::Object(_) => Err(mistaken(name, wanted, "an object")),
            Self::Array(items) => {
                let items = items.into_iter().enumerate();
                let objects = items.map(|(index, item)| item.object(&format!("{name}[{index}]")));
                objects.collect::<Result<_, _>>().map(Some)
            }
            Self::Other(found) => Err(mistaken(name, wanted, found)),
        }
    }
}

impl<'de, T: Object> Deserialize<'de> for Read<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ReadVisitor(PhantomData))
    }
}

struct ReadVisitor<T>(PhantomData<T>);

impl<'de, T: Object> Visitor<'de> for ReadVisitor<T> {
    type Value = Read<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_unit<E>(self) -> Result<Self::Value, E> {
        Ok(Read::Null)
    }

    fn visit_bool<E>(self, _: bool) -> Result<Self::Value, E> {
        Ok(Read::Other(BOOLEAN))
    }

    fn visit_i64<E>(self, _: i64) -> Result<Self::Value, E> {
        Ok(Read::Other(NUMBER))
    }

    fn visit_u64<E>(self, _: u64) -> Result<Self::Value, E> {
        Ok(Read::Other(NUMBER))
    }

    fn visit_f64<E>(self, _: f64) -> Result<Self::Value, E> {
        Ok(Read::Other(NUMBER))
    }

    fn visit_str<E>(self, _: &str) -> Result<Self::Value, E> {
        Ok(Read::Other(STRING))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Self::Value, A::Error> {
        let mut array = Vec::new();
        while let Some(item) = items.next_element()? {
            array.push(item);
        }
        Ok(Read::Array(array))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Self::Value, A::Error> {
        let mut object = T::default();
        while let Some(name) = members.next_key::<String>()? {
            if let Some(known) = T::MEMBERS.iter().find(|one| one.eq_ignore_ascii_case(&name)) {
                object.take(known, &mut members)?;
            } else {
                members.next_value::<IgnoredAny>()?;
                object.unknown().add(name, T::MEMBERS);
            }
        }
        Ok(Read::Object(object))
    }
}

/// Takes a string; `null` leaves what there is.
fn text<'de, A: MapAccess<'de>>(
    members: &mut A,
    name: &str,
    place: &mut Option<String>,
) -> Result<(), A::Error> {
    take_text(name, members.next_value()?, place).map_err(A::Error::custom)
}

fn take_text(name: &str, value: Value, place: &mut Option<String>) -> Result<(), String> {
    match value {
        Value::Null => Ok(()),
        Value::String(text) => {
            *place = Some(text);
            Ok(())
        }
        other => Err(mismatch(name, "a string", &other)),
    }
}

/// Takes a number that `meant` makes something of; `null` leaves what there is.
fn number<'de, A: MapAccess<'de>, N>(
    members: &mut A,
    name: &str,
    wanted: &str,
    meant: impl FnOnce(u64) -> Option<N>,
    place: &mut Option<N>,
) -> Result<(), A::Error> {
    let value: Value = members.next_value()?;
    if value.is_null() {
        return Ok(());
    }
    match value.as_u64().and_then(meant) {
        Some(number) => {
            *place = Some(number);
            Ok(())
        }
        None => Err(A::Error::custom(mismatch(name, wanted, &value))),
    }
}

/// Takes a number of channels or the like.
fn count<'de, A: MapAccess<'de>>(
    members: &mut A,
    name: &str,
    place: &mut Option<usize>,
) -> Result<(), A::Error> {
    let meant = |number| usize::try_from(number).ok().filter(|&number| number > 0);
    number(members, name, "a whole number of at least 1", meant, place)
}

/// Takes a list of strings; `null` leaves what there is.
fn take_texts(name: &str, value: Value, place: &mut Option<Vec<String>>) -> Result<(), String> {
    let items = match value {
        Value::Null => return Ok(()),
        Value::Array(items) => items,
        other => return Err(mismatch(name, "an array of strings", &other)),
    };
    let texts = items.into_iter().enumerate().map(|(index, item)| match item {
        Value::String(text) => Ok(text),
        other => Err(mismatch(&format!("{name}[{index}]"), "a string", &other)),
    });
    *place = Some(texts.collect::<Result<_, _>>()?);
    Ok(())
}

const BOOLEAN: &str = "a boolean";
const NUMBER: &str = "that number";
const STRING: &str = "a string";

fn mismatch(name: &str, wanted: &str, value: &Value) -> String {
    let found = match value {
        Value::Null => "null",
        Value::Bool(_) => BOOLEAN,
        Value::Number(_) => NUMBER,
        Value::String(_) => STRING,
        Value::Array(_) => "an array",
        Value::Object(_) => "an object",
    };
    mistaken(name, wanted, found)
}

fn mistaken(name: &str, wanted: &str, found: &str) -> String {
    format!("{name} must be {wanted}, not {found}")
}

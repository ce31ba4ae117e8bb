//! One value of the configuration: read from YAML as its key's kind wants it, and written again
//! for `ekbo config`.
//!
//! Types are decided here, but for maps with keys of their own, which `reader.rs` reads; whether a
//! text is a path, a header or a URL is decided in `meant.rs`.

use std::time::Duration;

use super::key::{Key, Kind};
use super::written::Settings;
use super::yaml::{Content, Node, Number, Scalar, quoted};
use super::{duration, size};
use crate::outbound::target;
use crate::secret::{MASK, is_secret_header};

/// A value of the right type. Texts are never empty, but for those that may be, nor are lists of
/// them.
#[derive(PartialEq, Eq)]
#[cfg_attr(test, derive(Debug))]
pub(super) enum Value {
    Text(String),
    Duration(Duration),
    /// A count, or a size in bytes.
    Number(u64),
    Switch(bool),
    Headers(Vec<(String, String)>),
    Texts(Vec<String>),
    /// One for each map of the list.
    Entries(Vec<Settings>),
    Entry(Box<Settings>),
}

/// The largest count accepted: more messages than any memory holds.
const LARGEST_COUNT: u64 = u32::MAX as u64;

/// Reads a node as the key wants it. `None` is "not set": null for any kind, the empty text for
/// texts. The error says what is wrong and what to write, without key and place, and never quotes
/// a secret.
pub(super) fn read(key: &Key, node: &Node) -> Result<Option<Value>, String> {
    if node.is_null() {
        return Ok(None);
    }
    match key.kind {
        Kind::Headers => headers(node).map(Some),
        Kind::Texts => texts(key, node),
        Kind::Entries(_) | Kind::Entry(_) => {
            Err(format!("expected {}, found {}", wanted(key.kind), node.description()))
        }
        Kind::AnyText => Ok(Some(Value::Text(expect_scalar(node, wanted(key.kind))?.text.clone()))),
        kind => scalar(kind, expect_scalar(node, wanted(kind))?),
    }
}

/// The value as one line of YAML, secrets masked. Entries stand on lines of their own.
pub(super) fn written(key: &Key, value: Option<&Value>) -> String {
    let Some(value) = value else {
        return key.default.into();
    };
    match value {
        Value::Text(text) if key.kind == Kind::Url => quoted(&target::masked(text)),
        Value::Text(text) => quoted(if key.secret { MASK } else { text }),
        Value::Duration(duration) => duration::format(*duration),
        Value::Number(bytes) if key.kind == Kind::Size => size::format(*bytes),
        Value::Number(number) => number.to_string(),
        Value::Switch(switch) => switch.to_string(),
        Value::Headers(headers) => {
            let pair = |(name, value): &(String, String)| {
                let secret = !value.is_empty() && is_secret_header(name);
                format!("{}: {}", quoted(name), quoted(if secret { MASK } else { value }))
            };
            format!("{{{}}}", headers.iter().map(pair).collect::<Vec<_>>().join(", "))
        }
        Value::Texts(texts) => {
            let text = |text: &String| quoted(if key.secret { MASK } else { text });
            format!("[{}]", texts.iter().map(text).collect::<Vec<_>>().join(", "))
        }
        Value::Entries(entries) => if entries.is_empty() { "[]" } else { "" }.into(),
        Value::Entry(_) => String::new(),
    }
}

fn wanted(kind: Kind) -> &'static str {
    match kind {
        Kind::Text | Kind::AnyText => "text",
        Kind::Url => "a URL",
        Kind::Duration => "a duration such as 10s",
        Kind::Count | Kind::Positive => "a whole number",
        Kind::Size => "a size such as 16MiB",
        Kind::Switch => "true or false",
        Kind::Headers => "a map of header names and values",
        Kind::Texts => "a text or a list of texts",
        Kind::Entries(_) => "a list of maps as in [{...}, {...}]",
        Kind::Entry(_) => "a URL or a map",
    }
}

fn expect_scalar<'a>(node: &'a Node, wanted: &str) -> Result<&'a Scalar, String> {
    match &node.content {
        Content::Scalar(scalar) => Ok(scalar),
        _ => Err(format!("expected {wanted}, found {}", node.description())),
    }
}

fn scalar(kind: Kind, scalar: &Scalar) -> Result<Option<Value>, String> {
    let text = &scalar.text;
    let mistyped = || match (scalar.plain, text.as_str()) {
        (_, "") => format!("an empty text is not {0}; write {0}, or remove the key", wanted(kind)),
        (true, _) => format!("{text:?} is not {0}; write {0}", wanted(kind)),
        (false, _) => format!("expected {}, found a quoted text; remove the quotes", wanted(kind)),
    };
    let value = match kind {
        Kind::Duration => Value::Duration(duration_of(scalar)?),
        Kind::Count => Value::Number(count(scalar.number().ok_or_else(mistyped)?)?),
        Kind::Positive => match scalar.number() {
            Some(Number::Integer(number)) if number < 1 => {
                return Err(format!("{number} would hold nothing; write 1 or more"));
            }
            Some(number @ Number::Integer(_)) => Value::Number(count(number)?),
            Some(Number::Float(_)) | None => return Err(mistyped()),
        },
        Kind::Size => Value::Number(size_of(scalar)?),
        Kind::Switch => Value::Switch(scalar.boolean().ok_or_else(mistyped)?),
        Kind::Text
        | Kind::AnyText
        | Kind::Url
        | Kind::Headers
        | Kind::Texts
        | Kind::Entries(_)
        | Kind::Entry(_) => {
            return Ok((!text.is_empty()).then(|| Value::Text(text.clone())));
        }
    };
    Ok(Some(value))
}

/// D3: a number is no duration, unless it is 0.
fn duration_of(scalar: &Scalar) -> Result<Duration, String> {
    let suggestion = match scalar.number() {
        None => return duration::parse(&scalar.text).map_err(|error| error.to_string()),
        Some(Number::Integer(0) | Number::Float(0.0)) => return Ok(Duration::ZERO),
        Some(Number::Integer(number)) if number > 0 => number.to_string(),
        Some(Number::Float(number)) if number > 0.0 => number.to_string(),
        Some(_) => return Err(duration::DurationError::Negative(scalar.text.clone()).to_string()),
    };
    Err(format!("{:?} has no unit; write {suggestion}s", scalar.text))
}

fn size_of(scalar: &Scalar) -> Result<u64, String> {
    let text = &scalar.text;
    let bytes = match scalar.number() {
        Some(Number::Integer(bytes)) if bytes < 0 => Err(size::SizeError::Negative(text.clone())),
        Some(Number::Integer(bytes)) => u64::try_from(bytes)
            .ok()
            .filter(|&bytes| bytes <= size::LARGEST)
            .ok_or_else(|| size::SizeError::TooLarge(text.clone())),
        Some(Number::Float(_)) => Err(size::SizeError::Malformed(text.clone())),
        None => size::parse(text),
    };
    bytes.map_err(|error| error.to_string())
}

/// 0 or more; a fraction is cut off.
fn count(number: Number) -> Result<u64, String> {
    let whole = match number {
        Number::Integer(number) => number,
        Number::Float(number) => number.trunc() as i128,
    };
    if whole < 0 {
        return Err(format!("{whole} is negative; write 0 or more"));
    }
    u64::try_from(whole)
        .ok()
        .filter(|&count| count <= LARGEST_COUNT)
        .ok_or_else(|| format!("the number is too large; write at most {LARGEST_COUNT}"))
}

/// Of two names that differ only in case the later one counts. A null value is an empty one.
fn headers(node: &Node) -> Result<Value, String> {
    let Content::Map(pairs) = &node.content else {
        return Err(format!("expected {}, found {}", wanted(Kind::Headers), node.description()));
    };
    let mut headers: Vec<(String, String)> = Vec::with_capacity(pairs.len());
    for (name, value) in pairs {
        let name = &expect_scalar(name, "a header name")?.text;
        let value = expect_scalar(value, "text as the value of a header")?;
        let value = if value.is_null() { "" } else { &value.text };
        headers.retain(|(earlier, _)| !earlier.eq_ignore_ascii_case(name));
        headers.push((name.clone(), value.into()));
    }
    Ok(Value::Headers(headers))
}

/// An empty list leaves the key unset, but is refused where the default is not empty: nobody who
/// writes `allowed_origins: []` means any.
fn texts(key: &Key, node: &Node) -> Result<Option<Value>, String> {
    let texts = match &node.content {
        Content::Scalar(scalar) if scalar.text.is_empty() => Vec::new(),
        Content::Scalar(scalar) => vec![scalar.text.clone()],
        Content::List(items) if items.is_empty() && key.default != "\"\"" => {
            let default = key.default;
            return Err(format!("the list is empty; fill it, or remove the key for {default}"));
        }
        Content::List(items) => items
            .iter()
            .map(|item| {
                let text = &expect_scalar(item, "text as an item of the list")?.text;
                let empty = item.is_null() || text.is_empty();
                if empty { Err("an item of the list is empty".into()) } else { Ok(text.clone()) }
            })
            .collect::<Result<_, String>>()?,
        Content::Map(_) => {
            return Err(format!("expected {}, found a map", wanted(Kind::Texts)));
        }
    };
    Ok((!texts.is_empty()).then_some(Value::Texts(texts)))
}

#[cfg(test)]
mod tests {
    use super::super::key;
    use super::super::yaml;
    use super::*;

    /// Reads `yaml` as the value of the key called `name`.
    fn value(name: &str, yaml: &str) -> Result<Option<Value>, String> {
        let node = yaml::parse(&format!("key: {yaml}")).unwrap().unwrap();
        let Content::Map(pairs) = node.content else {
            panic!("{yaml} makes no map");
        };
        read(key::find(key::KEYS, name).unwrap(), &pairs[0].1)
    }

    fn some(value: Value) -> Result<Option<Value>, String> {
        Ok(Some(value))
    }

    /// KB-CFG-1: whatever is written without quotes is text as it stands.
    #[test]
    fn text_is_taken_as_written() {
        for text in ["1.50", "0x10", "010", "1_000", "yes", "2021-11-01", "9180", "http://a:1/b"] {
            assert_eq!(value("endpoint", text), some(Value::Text(text.into())), "{text}");
        }
        assert_eq!(value("endpoint", "\"a # b\""), some(Value::Text("a # b".into())));
        let list = value("endpoint", "[a]").unwrap_err();
        assert_eq!(list, "expected text, found a list");
        assert!(value("callback.connect", "{}").is_err());
    }

    /// KB-CFG-1: null leaves any key unset, the empty text only texts.
    #[test]
    fn null_and_empty_text() {
        for key in key::KEYS {
            for null in ["", "~", "null"] {
                assert_eq!(value(key.name, null), Ok(None), "{}", key.name);
            }
            let empty = value(key.name, "\"\"");
            match key.kind {
                Kind::Text | Kind::Url | Kind::Texts => assert_eq!(empty, Ok(None), "{}", key.name),
                _ => assert!(empty.is_err(), "{}", key.name),
            }
        }
    }

    /// D3: numbers are no durations, 0 is; KB-CFG-2: quoted or not.
    #[test]
    fn durations() {
        let seconds = |seconds| some(Value::Duration(Duration::from_secs(seconds)));
        for (yaml, expected) in [("10s", 10), ("\"1m\"", 60), ("0", 0), ("\"0\"", 0), ("0.0", 0)] {
            assert_eq!(value("idle_timeout", yaml), seconds(expected), "{yaml}");
        }
        for (yaml, problem) in [
            ("10", "\"10\" has no unit; write 10s"),
            ("\"10\"", "\"10\" has no unit; write 10s"),
            ("0x10", "\"0x10\" has no unit; write 16s"),
            ("1.5", "\"1.5\" has no unit; write 1.5s"),
            ("-3", "\"-3\" is negative; a duration is 0 or more"),
            ("-1s", "\"-1s\" is negative; a duration is 0 or more"),
            ("[]", "expected a duration such as 10s, found a list"),
            ("\"\"", "an empty text is not a duration; write for example 10s, or 0"),
        ] {
            assert_eq!(value("idle_timeout", yaml), Err(problem.into()), "{yaml}");
        }
        assert!(value("idle_timeout", "true").is_err());
    }

    /// KB-CFG-1: YAML 1.1 integers, a float is cut; KB-CFG-6: negatives are refused.
    #[test]
    fn counts() {
        for (yaml, number) in
            [("0", 0), ("0x2", 2), ("010", 8), ("1_0", 10), ("2.9", 2), ("-0.5", 0)]
        {
            assert_eq!(value("send_queue_size", yaml), some(Value::Number(number)), "{yaml}");
        }
        for (yaml, problem) in [
            ("-1", "-1 is negative; write 0 or more"),
            ("-1.5", "-1 is negative; write 0 or more"),
            ("\"5\"", "expected a whole number, found a quoted text; remove the quotes"),
            ("many", "\"many\" is not a whole number; write a whole number"),
            (
                "\"\"",
                "an empty text is not a whole number; write a whole number, or remove the key",
            ),
            ("4294967296", "the number is too large; write at most 4294967295"),
            ("1e40", "the number is too large; write at most 4294967295"),
        ] {
            assert_eq!(value("send_queue_size", yaml), Err(problem.into()), "{yaml}");
        }
    }

    /// Without fractions, and what holds nothing is refused where it is written.
    #[test]
    fn positive_counts() {
        for (yaml, number) in [("1", 1), ("0x10", 16), ("1_000", 1_000)] {
            assert_eq!(value("channels.max", yaml), some(Value::Number(number)), "{yaml}");
        }
        for (yaml, problem) in [
            ("0", "0 would hold nothing; write 1 or more"),
            ("-1", "-1 would hold nothing; write 1 or more"),
            ("1.5", "\"1.5\" is not a whole number; write a whole number"),
            ("many", "\"many\" is not a whole number; write a whole number"),
            ("4294967296", "the number is too large; write at most 4294967295"),
        ] {
            assert_eq!(value("channels.max", yaml), Err(problem.into()), "{yaml}");
        }
    }

    /// Section 16: sizes are numbers of bytes or texts with a unit.
    #[test]
    fn sizes() {
        for (yaml, bytes) in [("100", 100), ("0", 0), ("16 MiB", 16 << 20), ("\"1KB\"", 1_000)] {
            assert_eq!(value("max_body_size", yaml), some(Value::Number(bytes)), "{yaml}");
        }
        for yaml in ["-1", "-1MiB", "1.5", "\"100\"", "\"\"", "99999999999999999999", "big"] {
            assert!(value("max_body_size", yaml).is_err(), "{yaml}");
        }
    }

    /// KB-CFG-1: YAML 1.1 words; a quoted word or a number is the wrong type.
    #[test]
    fn switches() {
        assert_eq!(value("close_frame", "Yes"), some(Value::Switch(true)));
        assert_eq!(value("close_frame", "off"), some(Value::Switch(false)));
        let quoted = value("close_frame", "\"true\"").unwrap_err();
        assert_eq!(quoted, "expected true or false, found a quoted text; remove the quotes");
        for yaml in ["1", "0", "\"\"", "maybe", "[true]"] {
            assert!(value("close_frame", yaml).is_err(), "{yaml}");
        }
    }

    /// KB-CFG-1: values of `proxy_set_header` are taken as written; names ignore case.
    #[test]
    fn header_maps() {
        let headers = value("proxy_set_header", "{X-A: 010, X-B: , X-C: \"\", x-a: yes}");
        let pairs = [("X-B", ""), ("X-C", ""), ("x-a", "yes")];
        let pairs = pairs.map(|(name, value)| (name.to_owned(), value.to_owned()));
        assert_eq!(headers, some(Value::Headers(pairs.into())));
        for yaml in ["text", "[a]", "{a: [b]}", "{[a]: b}", "\"\""] {
            assert!(value("proxy_set_header", yaml).is_err(), "{yaml}");
        }
    }

    /// Section 16: one token or a list of tokens; an empty one would let everybody in.
    #[test]
    fn token_lists() {
        let texts =
            |texts: &[&str]| some(Value::Texts(texts.iter().map(|t| (*t).into()).collect()));
        assert_eq!(value("api_token", "abc"), texts(&["abc"]));
        assert_eq!(value("api_token", "[abc, 123]"), texts(&["abc", "123"]));
        assert_eq!(value("api_token", "[]"), Ok(None));
        for yaml in ["{a: b}", "[a, \"\"]", "[a, ~]", "[[a]]"] {
            assert!(value("api_token", yaml).is_err(), "{yaml}");
        }
    }

    /// An empty list does not stand for a default that lets everybody in.
    #[test]
    fn an_empty_list_is_no_default() {
        let origins = key::find(key::HUB_KEYS, "allowed_origins").unwrap();
        let node = yaml::parse("[]").unwrap().unwrap();
        let problem = "the list is empty; fill it, or remove the key for \"*\"";
        assert_eq!(read(origins, &node), Err(problem.into()));
    }

    /// What may be written empty is not unset by that.
    #[test]
    fn a_text_that_may_be_empty() {
        let key = key::find(key::BRIDGE_KEYS, "publish_endpoint").unwrap();
        let read = |yaml| read(key, &yaml::parse(yaml).unwrap().unwrap());
        assert_eq!(read("\"\""), some(Value::Text(String::new())));
        assert_eq!(read("a"), some(Value::Text("a".into())));
        assert_eq!(read("~"), Ok(None));
        assert_eq!(read("[]"), Err("expected text, found a list".into()));
        assert_eq!(written(key, Some(&Value::Text(String::new()))), "\"\"");
    }

    /// Lists of maps are read elsewhere; what is no list is told here.
    #[test]
    fn entries_want_a_list() {
        for (yaml, found) in [("{path: /x}", "a map"), ("/x", "a single value")] {
            let problem =
                format!("expected a list of maps as in [{{...}}, {{...}}], found {found}");
            assert_eq!(value("hubs", yaml), Err(problem));
        }
    }

    /// Nothing shown to a person contains a secret.
    #[test]
    fn secrets_are_masked() {
        let shown = |name: &str, yaml: &str| {
            let value = value(name, yaml).unwrap();
            written(key::find(key::KEYS, name).unwrap(), value.as_ref())
        };
        assert_eq!(shown("api_token", "[abc, def]"), r#"["****", "****"]"#);
        assert_eq!(shown("callback.connect", "http://me:pw@a/b"), r#""http://****@a/b""#);
        let headers = shown("proxy_set_header", "{Authorization: Bearer x, X-Foo: Foo, Cookie: }");
        assert_eq!(headers, r#"{"Authorization": "****", "X-Foo": "Foo", "Cookie": ""}"#);
    }

    #[test]
    fn written_values_read_back() {
        for (name, yaml) in [
            ("endpoint", "\"a: #b\\n\""),
            ("idle_timeout", "1h0.5s"),
            ("send_queue_size", "0x10"),
            ("max_body_size", "1536"),
            ("close_frame", "off"),
            ("proxy_set_header", "{X-A: \"b: {c}\", X-D: }"),
            ("sock", "~"),
            ("send_queue_size", "~"),
        ] {
            let original = value(name, yaml).unwrap();
            let text = written(key::find(key::KEYS, name).unwrap(), original.as_ref());
            assert_eq!(value(name, &text), Ok(original), "{name}: {text}");
        }
    }
}

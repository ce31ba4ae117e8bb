//! The first document of a YAML text as a tree that remembers lines, and what YAML 1.1 takes
//! unquoted words and numbers for.
//!
//! The parser below knows YAML 1.2 and hands over scalars as they are written; anchors, merge keys
//! and the reading of scalars follow YAML 1.1 here, as existing files expect. Which kind of value a
//! key wants is decided in `value.rs`.

use std::collections::HashMap;

use saphyr_parser::{Event, Parser, ScalarStyle, ScanError, Span, StrInput, Tag};
use thiserror::Error;

/// Why a text is no usable YAML, and where.
#[derive(Debug, Error, PartialEq, Eq)]
#[error("{problem}")]
pub(super) struct YamlError {
    pub(crate) line: usize,
    pub(crate) problem: String,
}

/// One node with the line it starts on, counted from 1.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Node {
    pub(crate) line: usize,
    pub(crate) content: Content,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Content {
    Scalar(Scalar),
    List(Vec<Node>),
    /// In the order of meaning: of two equal keys the later one counts. Merge keys are resolved.
    Map(Vec<(Node, Node)>),
}

/// A scalar as it is written; only a plain (unquoted) one can be anything but text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Scalar {
    pub(crate) text: String,
    pub(crate) plain: bool,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Number {
    Integer(i128),
    Float(f64),
}

/// More than any sensible configuration holds; a few lines of aliases could ask for billions.
const MOST_NODES: usize = 10_000;

const DEEPEST: usize = 32;

/// The root of the first document; `None` when the text holds none. What follows the first
/// document is not looked at.
pub(super) fn parse(text: &str) -> Result<Option<Node>, YamlError> {
    let mut tree =
        Tree { parser: Parser::new_from_str(text), anchors: HashMap::new(), room: MOST_NODES };
    loop {
        match tree.next()? {
            (Event::StreamEnd, _) => return Ok(None),
            (Event::DocumentStart(_), _) => break,
            _ => {}
        }
    }
    let (first, span) = tree.next()?;
    let root = tree.node(first, span, 0)?;
    match tree.next()? {
        (Event::DocumentEnd, _) => Ok(Some(root)),
        (_, span) => Err(error(span, "expected the end of the document")),
    }
}

/// The text as a double-quoted YAML scalar on one line.
pub(super) fn quoted(text: &str) -> String {
    let mut quoted = String::from("\"");
    for character in text.chars() {
        match character {
            '"' => quoted.push_str("\\\""),
            '\\' => quoted.push_str("\\\\"),
            '\n' => quoted.push_str("\\n"),
            '\r' => quoted.push_str("\\r"),
            '\t' => quoted.push_str("\\t"),
            // Line ends for YAML 1.1, and what its printable set leaves out.
            '\u{0}'..='\u{1f}' | '\u{7f}'..='\u{9f}' | '\u{2028}' | '\u{2029}' | '\u{feff}' => {
                quoted.push_str(&format!("\\u{:04x}", u32::from(character)));
            }
            _ => quoted.push(character),
        }
    }
    quoted.push('"');
    quoted
}

impl Node {
    /// What the node is, for a sentence such as "expected text, found a list".
    pub(super) fn description(&self) -> &'static str {
        match &self.content {
            Content::Scalar(scalar) if scalar.is_null() => "nothing",
            Content::Scalar(_) => "a single value",
            Content::List(_) => "a list",
            Content::Map(_) => "a map",
        }
    }

    pub(super) fn is_null(&self) -> bool {
        matches!(&self.content, Content::Scalar(scalar) if scalar.is_null())
    }

    /// Nodes in this subtree.
    fn size(&self) -> usize {
        1 + match &self.content {
            Content::Scalar(_) => 0,
            Content::List(items) => items.iter().map(Self::size).sum(),
            Content::Map(pairs) => pairs.iter().map(|(key, value)| key.size() + value.size()).sum(),
        }
    }
}

impl Scalar {
    pub(super) fn is_null(&self) -> bool {
        self.plain && matches!(self.text.as_str(), "" | "~" | "null" | "Null" | "NULL")
    }

    /// The YAML 1.1 words in lower, Title and UPPER case.
    pub(super) fn boolean(&self) -> Option<bool> {
        if !self.plain {
            return None;
        }
        Some(match self.text.as_str() {
            "true" | "True" | "TRUE" | "yes" | "Yes" | "YES" | "on" | "On" | "ON" | "y" | "Y" => {
                true
            }
            "false" | "False" | "FALSE" | "no" | "No" | "NO" | "off" | "Off" | "OFF" | "n"
            | "N" => false,
            _ => return None,
        })
    }

    /// YAML 1.1: `0x1f`, octal `017` and `0o17`, `0b11`, `1_000`, `1.5e3`.
    pub(super) fn number(&self) -> Option<Number> {
        if !self.plain {
            return None;
        }
        if !self.text.starts_with(|c: char| c.is_ascii_digit() || "+-.".contains(c)) {
            return None;
        }
        let digits = self.text.replace('_', "");
        integer(&digits).map(Number::Integer).or_else(|| {
            let decimal = |c: char| c.is_ascii_digit() || "+-.eE".contains(c);
            let float = digits.chars().all(decimal).then(|| digits.parse().ok())?;
            float.map(Number::Float)
        })
    }
}

fn integer(digits: &str) -> Option<i128> {
    let (negative, magnitude) = match digits.strip_prefix('-') {
        Some(magnitude) => (true, magnitude),
        None => (false, digits.strip_prefix('+').unwrap_or(digits)),
    };
    let (radix, magnitude) = match magnitude.as_bytes() {
        [b'0', b'x' | b'X', ..] => (16, &magnitude[2..]),
        [b'0', b'o' | b'O', ..] => (8, &magnitude[2..]),
        [b'0', b'b' | b'B', ..] => (2, &magnitude[2..]),
        [b'0', _, ..] => (8, &magnitude[1..]),
        _ => (10, magnitude),
    };
    // A second sign is no digit, but `from_str_radix` would take it.
    if !magnitude.starts_with(|c: char| c.is_digit(radix)) {
        return None;
    }
    let value = i128::from_str_radix(magnitude, radix).ok()?;
    Some(if negative { -value } else { value })
}

/// The tree under construction.
struct Tree<'a> {
    parser: Parser<'a, StrInput<'a>>,
    /// Finished nodes by anchor; a node that is still being read is not among them.
    anchors: HashMap<usize, Node>,
    /// How many more nodes may be made.
    room: usize,
}

impl<'a> Tree<'a> {
    fn next(&mut self) -> Result<(Event<'a>, Span), YamlError> {
        match self.parser.next_event() {
            Some(Ok(event)) => Ok(event),
            Some(Err(error)) => Err(scan_error(&error)),
            None => Err(YamlError { line: 1, problem: "not valid YAML: unexpected end".into() }),
        }
    }

    fn node(&mut self, event: Event<'a>, span: Span, depth: usize) -> Result<Node, YamlError> {
        if depth > DEEPEST {
            return Err(error(span, &format!("nested more than {DEEPEST} levels deep")));
        }
        if let Event::Alias(anchor) = event {
            return self.alias(anchor, span);
        }
        self.take_room(1, span)?;
        let (content, anchor) = match event {
            Event::Scalar(text, style, anchor, tag) => {
                let plain = style == ScalarStyle::Plain;
                let plain = taken_as_plain(plain, tag.as_deref(), span)?;
                (Content::Scalar(Scalar { text: text.into_owned(), plain }), anchor)
            }
            Event::SequenceStart(anchor, tag) => {
                expect_tag("seq", tag.as_deref(), span)?;
                (Content::List(self.list(depth)?), anchor)
            }
            Event::MappingStart(anchor, tag) => {
                expect_tag("map", tag.as_deref(), span)?;
                (Content::Map(self.map(depth)?), anchor)
            }
            _ => return Err(error(span, "expected a value")),
        };
        let node = Node { line: span.start.line(), content };
        if anchor != 0 {
            self.anchors.insert(anchor, node.clone());
        }
        Ok(node)
    }

    fn list(&mut self, depth: usize) -> Result<Vec<Node>, YamlError> {
        let mut items = Vec::new();
        loop {
            match self.next()? {
                (Event::SequenceEnd, _) => return Ok(items),
                (event, span) => items.push(self.node(event, span, depth + 1)?),
            }
        }
    }

    /// Merged pairs come first, so that the map's own keys win wherever `<<` stands.
    fn map(&mut self, depth: usize) -> Result<Vec<(Node, Node)>, YamlError> {
        let mut merged = Vec::new();
        let mut own = Vec::new();
        loop {
            let key = match self.next()? {
                (Event::MappingEnd, _) => break,
                (event, span) => self.node(event, span, depth + 1)?,
            };
            let (event, span) = self.next()?;
            let value = self.node(event, span, depth + 1)?;
            if is_merge_key(&key) {
                merged.extend(merged_pairs(value)?);
            } else {
                own.push((key, value));
            }
        }
        merged.append(&mut own);
        Ok(merged)
    }

    /// A copy of the anchored node, on its own line: that is where a mistake in it is mended.
    fn alias(&mut self, anchor: usize, span: Span) -> Result<Node, YamlError> {
        let Some(node) = self.anchors.get(&anchor) else {
            return Err(error(span, "an alias cannot stand inside the node it names"));
        };
        let node = node.clone();
        self.take_room(node.size(), span)?;
        Ok(node)
    }

    fn take_room(&mut self, nodes: usize, span: Span) -> Result<(), YamlError> {
        let problem = || format!("more than {MOST_NODES} values, aliases counted as written out");
        self.room = self.room.checked_sub(nodes).ok_or_else(|| error(span, &problem()))?;
        Ok(())
    }
}

fn is_merge_key(key: &Node) -> bool {
    matches!(&key.content, Content::Scalar(scalar) if scalar.plain && scalar.text == "<<")
}

/// The pairs `<<` brings in: of a map, or of several with the first one winning.
fn merged_pairs(value: Node) -> Result<Vec<(Node, Node)>, YamlError> {
    let line = value.line;
    let fault = || YamlError { line, problem: "`<<` wants a map or a list of maps".into() };
    match value.content {
        Content::Map(pairs) => Ok(pairs),
        Content::List(items) => items.into_iter().rev().try_fold(Vec::new(), |mut all, item| {
            let Content::Map(pairs) = item.content else {
                return Err(fault());
            };
            all.extend(pairs);
            Ok(all)
        }),
        Content::Scalar(_) => Err(fault()),
    }
}

/// `!!str` makes any scalar text; the other core tags let a quoted one be read as if it were plain.
fn taken_as_plain(plain: bool, tag: Option<&Tag>, span: Span) -> Result<bool, YamlError> {
    let Some(tag) = tag else {
        return Ok(plain);
    };
    match (tag.is_yaml_core_schema(), tag.suffix.as_str()) {
        (true, "str") => Ok(false),
        (true, "int" | "float" | "bool" | "null") => Ok(true),
        _ => Err(unknown_tag(tag, span)),
    }
}

fn expect_tag(suffix: &str, tag: Option<&Tag>, span: Span) -> Result<(), YamlError> {
    match tag {
        Some(tag) if !(tag.is_yaml_core_schema() && tag.suffix == suffix) => {
            Err(unknown_tag(tag, span))
        }
        _ => Ok(()),
    }
}

fn unknown_tag(tag: &Tag, span: Span) -> YamlError {
    let name = format!("{}{}", tag.handle, tag.suffix);
    error(span, &format!("the tag {name:?} does not belong here; remove it"))
}

fn error(span: Span, problem: &str) -> YamlError {
    YamlError { line: span.start.line(), problem: problem.into() }
}

fn scan_error(error: &ScanError) -> YamlError {
    YamlError { line: error.marker().line(), problem: format!("not valid YAML: {}", error.info()) }
}

#[cfg(test)]
mod tests;

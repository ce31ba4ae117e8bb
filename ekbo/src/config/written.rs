//! Stage one: what was written. For every key a value of the right type, and where it comes from.
//!
//! Order: flag, environment, file, default. The part of the environment is in `written/variables.rs`;
//! how YAML is walked is in `reader.rs`; what the values mean, and whether they fit together, is
//! decided in `meant.rs`.

mod variables;

use std::rc::Rc;
use std::time::Duration;
use std::{fmt, iter};

use super::environment::Environment;
use super::key::{KEYS, Key};
use super::reader::Reader;
use super::value::{self, Value};
use super::yaml::{self, Content};
use super::{ConfigError, Warning, WarningKind, template};
use crate::flags::Flags;

/// A value (`None`: not set, and without default) and its source.
#[derive(PartialEq, Eq)]
#[cfg_attr(test, derive(Debug))]
struct Setting {
    value: Option<Value>,
    source: Source,
}

impl Setting {
    /// Where the value is from, on one line.
    fn comment(&self) -> String {
        let source = match &self.source {
            Source::File { .. } => format!("file {}", self.source),
            source => source.to_string(),
        };
        source.chars().filter(|c| !c.is_control()).collect()
    }
}

/// Where a value was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Source {
    Default,
    File { name: Rc<str>, line: usize },
    Environment(String),
    Flag(&'static str),
}

impl fmt::Display for Source {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => formatter.write_str("default"),
            Self::File { name, line } => write!(formatter, "{name}:{line}"),
            Self::Environment(variable) => write!(formatter, "environment {variable}"),
            Self::Flag(flag) => write!(formatter, "flag {flag}"),
        }
    }
}

/// The settings of the whole configuration, or those of one map with keys of its own, such as
/// `upstream` or each in the list `hubs`.
#[derive(PartialEq, Eq)]
#[cfg_attr(test, derive(Debug))]
pub(super) struct Settings {
    keys: &'static [Key],
    /// One per key, in their order.
    settings: Vec<Setting>,
    /// Of the map: `upstream`, `hubs[0]`. Empty for the whole configuration.
    name: String,
    /// Where it begins, and where a key is to be written that it lacks.
    place: Source,
}

/// The text of a configuration file and the name errors call it by.
pub(super) struct File<'a> {
    pub(super) name: &'a str,
    pub(super) text: &'a str,
}

impl Settings {
    /// Gathers the settings; unknown keys and variables become warnings.
    pub(super) fn gather(
        file: Option<&File<'_>>,
        environment: &Environment,
        flags: &Flags,
    ) -> Result<(Self, Vec<Warning>), ConfigError> {
        let mut settings = Self::defaults(KEYS, String::new(), Source::Default)?;
        let mut warnings = match file {
            Some(file) => settings.apply_file(file, environment)?,
            None => Vec::new(),
        };
        warnings.extend(settings.apply_environment(environment)?);
        let template = file.map_or("", |file| file.text);
        warnings.extend(variables::unknown(environment, template));
        settings.apply_flags(flags);
        Ok((settings, warnings))
    }

    /// Each key at its default, in a map that begins at `place` and that errors call `name`.
    pub(super) fn defaults(
        keys: &'static [Key],
        name: String,
        place: Source,
    ) -> Result<Self, ConfigError> {
        let setting = |key| Ok(Setting { value: default_of(key)?, source: Source::Default });
        let settings = keys.iter().map(setting).collect::<Result<_, ConfigError>>()?;
        Ok(Self { keys, settings, name, place })
    }

    /// The effective settings as YAML, each with its meaning and source; secrets are masked.
    pub(super) fn to_yaml(&self) -> String {
        self.lines(true).into_iter().map(|line| line + "\n").collect()
    }

    pub(super) fn keys(&self) -> &'static [Key] {
        self.keys
    }

    /// The name of a key as errors call it: `port`, `hubs[0].path`.
    pub(super) fn full_name(&self, name: &str) -> String {
        if self.name.is_empty() { name.into() } else { format!("{}.{name}", self.name) }
    }

    pub(super) fn source(&self, name: &str) -> &Source {
        &self.setting(name).source
    }

    /// Never empty, but for those that may be.
    pub(super) fn text(&self, name: &str) -> Option<&str> {
        match &self.setting(name).value {
            Some(Value::Text(text)) => Some(text),
            None => None,
            Some(_) => unreachable!("KEYS gives {name} another kind than text"),
        }
    }

    pub(super) fn duration(&self, name: &str) -> Duration {
        match &self.setting(name).value {
            Some(Value::Duration(duration)) => *duration,
            _ => unreachable!("KEYS gives {name} another kind than duration, or no default"),
        }
    }

    /// A count, or a size in bytes.
    pub(super) fn number(&self, name: &str) -> Option<u64> {
        match &self.setting(name).value {
            Some(Value::Number(number)) => Some(*number),
            None => None,
            Some(_) => unreachable!("KEYS gives {name} another kind than count or size"),
        }
    }

    pub(super) fn switch(&self, name: &str) -> bool {
        match &self.setting(name).value {
            Some(Value::Switch(switch)) => *switch,
            _ => unreachable!("KEYS gives {name} another kind than switch, or no default"),
        }
    }

    pub(super) fn headers(&self, name: &str) -> &[(String, String)] {
        match &self.setting(name).value {
            Some(Value::Headers(headers)) => headers,
            _ => unreachable!("KEYS gives {name} another kind than headers, or no default"),
        }
    }

    pub(super) fn texts(&self, name: &str) -> &[String] {
        match &self.setting(name).value {
            Some(Value::Texts(texts)) => texts,
            None => &[],
            Some(_) => unreachable!("KEYS gives {name} another kind than texts"),
        }
    }

    pub(super) fn entries(&self, name: &str) -> &[Self] {
        match &self.setting(name).value {
            Some(Value::Entries(entries)) => entries,
            _ => unreachable!("KEYS gives {name} another kind than entries, or no default"),
        }
    }

    /// The map of a key, if it is set.
    pub(super) fn entry(&self, name: &str) -> Option<&Self> {
        match &self.setting(name).value {
            Some(Value::Entry(entry)) => Some(entry),
            None => None,
            Some(_) => unreachable!("KEYS gives {name} another kind than entry"),
        }
    }

    pub(super) fn set(&mut self, name: &str, value: Value, source: Source) {
        let position = self.position(name);
        self.settings[position] = Setting { value: Some(value), source };
    }

    /// Forgets what was written for a key.
    pub(super) fn unset(&mut self, key: &'static Key) -> Result<(), ConfigError> {
        let position = self.position(key.name);
        self.settings[position] = Setting { value: default_of(key)?, source: Source::Default };
        Ok(())
    }

    /// Fills in a default that depends on other settings.
    pub(super) fn set_default(&mut self, name: &str, text: &str) {
        self.set(name, Value::Text(text.into()), Source::Default);
    }

    /// The error of a key, at the place its value was written.
    pub(super) fn fault(&self, name: &str, problem: impl Into<String>) -> ConfigError {
        let place = self.place_of(name).clone();
        ConfigError::Value { place, key: self.full_name(name), problem: problem.into() }
    }

    /// A warning about a key, at the place its value was written.
    pub(super) fn warning(&self, kind: WarningKind, name: &str, problem: &str) -> Warning {
        let text = format!("{}: {}: {problem}", self.place_of(name), self.full_name(name));
        Warning { kind, text }
    }

    /// Where a key was written, or is to be.
    fn place_of(&self, name: &str) -> &Source {
        match self.source(name) {
            Source::Default => &self.place,
            source => source,
        }
    }

    /// Lines of YAML; `annotated` ones have meanings and sources in comments.
    fn lines(&self, annotated: bool) -> Vec<String> {
        let mut lines = Vec::new();
        let mut open: Vec<&str> = Vec::new();
        for (key, setting) in self.keys.iter().zip(&self.settings) {
            let mut sections: Vec<&str> = key.name.split('.').collect();
            let name = sections.pop().unwrap_or(key.name);
            let shared = open.iter().zip(&sections).take_while(|(a, b)| a == b).count();
            for (depth, section) in sections.iter().enumerate().skip(shared) {
                lines.push(format!("{}{section}:", "  ".repeat(depth)));
            }
            let indent = "  ".repeat(sections.len());
            let value = value::written(key, setting.value.as_ref());
            let line = format!("{indent}{name}: {value}");
            if annotated {
                lines.push(format!("{indent}# {}", key.meaning));
                lines.push(format!("{}  # {}", line.trim_end(), setting.comment()));
            } else {
                lines.push(line);
            }
            match &setting.value {
                Some(Value::Entries(entries)) => {
                    lines.extend(entries.iter().flat_map(|entry| entry.item(&indent)));
                }
                Some(Value::Entry(entry)) => {
                    let below = entry.lines(annotated).into_iter();
                    lines.extend(below.map(|line| format!("{indent}  {line}")));
                }
                _ => {}
            }
            open = sections;
        }
        lines
    }

    /// Lines of YAML that make the settings an item of the list above them.
    fn item(&self, indent: &str) -> Vec<String> {
        let starts = iter::once("- ").chain(iter::repeat("  "));
        let lines = starts.zip(self.lines(false));
        lines.map(|(start, line)| format!("{indent}  {start}{line}")).collect()
    }

    fn is_set_to(&self, name: &str, value: &Value) -> bool {
        self.setting(name).value.as_ref() == Some(value)
    }

    /// The map of a key; one with defaults that begins at `source`, if it was not set.
    fn entry_or_new(
        &mut self,
        key: &'static Key,
        keys: &'static [Key],
        source: &Source,
    ) -> Result<&mut Self, ConfigError> {
        let position = self.position(key.name);
        let setting = &mut self.settings[position];
        if setting.value.is_none() {
            let entry = Self::defaults(keys, key.name.into(), source.clone())?;
            let value = Some(Value::Entry(Box::new(entry)));
            *setting = Setting { value, source: source.clone() };
        }
        match &mut setting.value {
            Some(Value::Entry(entry)) => Ok(entry),
            _ => unreachable!("KEYS gives {} another kind than entry", key.name),
        }
    }

    fn setting(&self, name: &str) -> &Setting {
        &self.settings[self.position(name)]
    }

    fn position(&self, name: &str) -> usize {
        let position = self.keys.iter().position(|key| key.name == name);
        position.unwrap_or_else(|| unreachable!("there is no key {}", self.full_name(name)))
    }

    fn apply_file(
        &mut self,
        file: &File<'_>,
        environment: &Environment,
    ) -> Result<Vec<Warning>, ConfigError> {
        let name: Rc<str> = file.name.into();
        let place = |line| Source::File { name: name.clone(), line };
        let malformed = |line, problem| ConfigError::Text { place: place(line), problem };
        let rendered = template::render(file.text, environment)
            .map_err(|error| malformed(error.line, error.to_string()))?;
        let root = yaml::parse(&rendered.text)
            .map_err(|error| malformed(rendered.source_line(error.line), error.problem))?;
        let Some(root) = root.filter(|root| !root.is_null()) else {
            return Ok(Vec::new());
        };
        let Content::Map(pairs) = &root.content else {
            let found = root.description();
            let problem = format!("expected keys and values such as `port: 9180`, found {found}");
            return Err(malformed(rendered.source_line(root.line), problem));
        };
        let place = |line| place(rendered.source_line(line));
        let mut reader = Reader::new(&place);
        reader.map(self, pairs)?;
        Ok(reader.into_warnings())
    }

    /// KB-CLI-5: `-sock` replaces the socket, otherwise `-port` the port.
    fn apply_flags(&mut self, flags: &Flags) {
        for (name, flag, text) in [("sock", "-sock", &flags.sock), ("port", "-port", &flags.port)] {
            if let Some(text) = text.as_deref().filter(|text| !text.is_empty()) {
                self.set(name, Value::Text(text.into()), Source::Flag(flag));
            }
        }
    }
}

fn default_of(key: &'static Key) -> Result<Option<Value>, ConfigError> {
    let fault = |problem| fault_at(Source::Default, key, problem);
    let node = yaml::parse(key.default).map_err(|error| fault(error.problem))?;
    let mut reader = Reader::new(&|_| Source::Default);
    node.map_or(Ok(None), |node| reader.value(key, key.name, &node))
}

fn fault_at(place: Source, key: &'static Key, problem: String) -> ConfigError {
    ConfigError::Value { place, key: key.name.into(), problem }
}

#[cfg(test)]
mod tests;

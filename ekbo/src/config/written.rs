//! Stage one: what was written. For every key a value of the right type, and where it comes from.
//!
//! Order: flag, environment, file, default. What the values mean, and whether they fit together,
//! is decided in `meant.rs`.

use std::fmt;
use std::rc::Rc;
use std::time::Duration;

use super::environment::Environment;
use super::key::{self, KEYS, Key};
use super::template::{self, Rendered};
use super::value::{self, Value};
use super::yaml::{self, Content, Node, Scalar};
use super::{ConfigError, Warning, WarningKind};
use crate::flags::Flags;

/// A value (`None`: not set, and without default) and its source.
struct Setting {
    value: Option<Value>,
    source: Source,
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

/// All settings, one per entry of `KEYS` and in its order.
pub(super) struct Settings {
    settings: Vec<Setting>,
}

/// The text of a configuration file and the name errors call it by.
pub(super) struct File<'a> {
    pub(super) name: &'a str,
    pub(super) text: &'a str,
}

impl Settings {
    /// Gathers the settings; unknown keys of the file become warnings.
    pub(super) fn gather(
        file: Option<&File<'_>>,
        environment: &Environment,
        flags: &Flags,
    ) -> Result<(Self, Vec<Warning>), ConfigError> {
        let mut settings = Self { settings: Vec::with_capacity(KEYS.len()) };
        for key in KEYS {
            let value = default_of(key)?;
            settings.settings.push(Setting { value, source: Source::Default });
        }
        let warnings = match file {
            Some(file) => settings.apply_file(file, environment)?,
            None => Vec::new(),
        };
        settings.apply_environment(environment)?;
        settings.apply_flags(flags);
        Ok((settings, warnings))
    }

    /// The effective settings as YAML, each with its meaning and source; secrets are masked.
    pub(super) fn to_yaml(&self) -> String {
        let mut text = String::new();
        let mut open: Vec<&str> = Vec::new();
        for (key, setting) in KEYS.iter().zip(&self.settings) {
            let mut sections: Vec<&str> = key.name.split('.').collect();
            let name = sections.pop().unwrap_or(key.name);
            let shared = open.iter().zip(&sections).take_while(|(a, b)| a == b).count();
            for (depth, section) in sections.iter().enumerate().skip(shared) {
                text.push_str(&format!("{}{section}:\n", "  ".repeat(depth)));
            }
            let value = value::written(key, setting.value.as_ref());
            let source = match &setting.source {
                Source::File { .. } => format!("file {}", setting.source),
                source => source.to_string(),
            };
            let source: String = source.chars().filter(|c| !c.is_control()).collect();
            let indent = "  ".repeat(sections.len());
            text.push_str(&format!("{indent}# {}\n", key.meaning));
            text.push_str(&format!("{indent}{name}: {value}  # {source}\n"));
            open = sections;
        }
        text
    }

    pub(super) fn source(&self, name: &str) -> &Source {
        &self.setting(name).source
    }

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

    /// Fills in a default that depends on other settings.
    pub(super) fn set_default(&mut self, name: &str, text: &str) {
        self.set(name, Some(Value::Text(text.into())), Source::Default);
    }

    /// The error of a key, at the place its value was written.
    pub(super) fn fault(&self, name: &'static str, problem: impl Into<String>) -> ConfigError {
        ConfigError::Value { place: self.source(name).clone(), key: name, problem: problem.into() }
    }

    /// A warning about a key, at the place its value was written.
    pub(super) fn warning(&self, kind: WarningKind, name: &str, problem: &str) -> Warning {
        Warning { kind, text: format!("{}: {name}: {problem}", self.source(name)) }
    }

    fn setting(&self, name: &str) -> &Setting {
        &self.settings[position(name)]
    }

    fn set(&mut self, name: &str, value: Option<Value>, source: Source) {
        self.settings[position(name)] = Setting { value, source };
    }

    fn apply_file(
        &mut self,
        file: &File<'_>,
        environment: &Environment,
    ) -> Result<Vec<Warning>, ConfigError> {
        let malformed = |line: usize, problem: String| ConfigError::File {
            name: file.name.into(),
            line,
            problem,
        };
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
        let mut reader = FileReader {
            settings: self,
            name: file.name.into(),
            rendered: &rendered,
            warnings: Vec::new(),
        };
        reader.map(pairs, "")?;
        Ok(reader.warnings)
    }

    fn apply_environment(&mut self, environment: &Environment) -> Result<(), ConfigError> {
        for key in KEYS {
            let Some((variable, text)) = variable_of(key, environment)? else {
                continue;
            };
            let source = Source::Environment(variable);
            let value = environment_node(key, text)
                .and_then(|node| value::read(key, &node))
                .map_err(|problem| fault_at(source.clone(), key, problem))?;
            if value.is_some() {
                self.set(key.name, value, source);
            }
        }
        Ok(())
    }

    /// KB-CLI-5: `-sock` replaces the socket, otherwise `-port` the port.
    fn apply_flags(&mut self, flags: &Flags) {
        for (name, flag, text) in [("sock", "-sock", &flags.sock), ("port", "-port", &flags.port)] {
            if let Some(text) = text.as_deref().filter(|text| !text.is_empty()) {
                self.set(name, Some(Value::Text(text.into())), Source::Flag(flag));
            }
        }
    }
}

/// Walks the tree of a file into the settings.
struct FileReader<'a> {
    settings: &'a mut Settings,
    name: Rc<str>,
    rendered: &'a Rendered,
    warnings: Vec<Warning>,
}

impl FileReader<'_> {
    /// Later pairs replace earlier ones, but every one must be of the right type.
    fn map(&mut self, pairs: &[(Node, Node)], section: &str) -> Result<(), ConfigError> {
        for (name, value) in pairs {
            let line = self.rendered.source_line(name.line);
            let Content::Scalar(Scalar { text, .. }) = &name.content else {
                let problem = format!("a key must be a word, found {}", name.description());
                return Err(self.malformed(line, problem));
            };
            let name = if section.is_empty() { text.clone() } else { format!("{section}.{text}") };
            // `callback.timeout: 5s` on one line is not how levels are written.
            let dotted = text.contains('.');
            if let Some(key) = key::find(&name).filter(|_| !dotted) {
                self.key(key, value)?;
            } else if key::is_section(&name) && !dotted {
                self.section(&name, value, line)?;
            } else {
                self.unknown(&name, line);
            }
        }
        Ok(())
    }

    fn key(&mut self, key: &'static Key, node: &Node) -> Result<(), ConfigError> {
        let line = self.rendered.source_line(node.line);
        let source = Source::File { name: self.name.clone(), line };
        let fault = |problem| fault_at(source.clone(), key, problem);
        match value::read(key, node).map_err(fault)? {
            Some(value) => self.settings.set(key.name, Some(value), source),
            None => self.settings.set(key.name, default_of(key)?, Source::Default),
        }
        Ok(())
    }

    fn section(&mut self, name: &str, node: &Node, line: usize) -> Result<(), ConfigError> {
        match &node.content {
            Content::Map(pairs) => self.map(pairs, name),
            Content::Scalar(scalar) if scalar.is_null() => Ok(()),
            _ => {
                let problem =
                    format!("{name}: expected keys below it, found {}", node.description());
                Err(self.malformed(line, problem))
            }
        }
    }

    fn unknown(&mut self, name: &str, line: usize) {
        let nearest = key::nearest(name);
        let remedy = if nearest == name {
            format!("write {:?} with each part on a level of its own", name.replace('.', ": "))
        } else {
            format!("did you mean {nearest}?")
        };
        let text = format!("{}:{line}: unknown key {name:?}; {remedy}", self.name);
        self.warnings.push(Warning { kind: WarningKind::UnknownKey, text });
    }

    fn malformed(&self, line: usize, problem: String) -> ConfigError {
        ConfigError::File { name: self.name.to_string(), line, problem }
    }
}

fn position(name: &str) -> usize {
    let position = KEYS.iter().position(|key| key.name == name);
    position.unwrap_or_else(|| unreachable!("KEYS has no {name}"))
}

fn default_of(key: &'static Key) -> Result<Option<Value>, ConfigError> {
    let fault = |problem| fault_at(Source::Default, key, problem);
    let node = yaml::parse(key.default).map_err(|error| fault(error.problem))?;
    node.map_or(Ok(None), |node| value::read(key, &node).map_err(fault))
}

fn fault_at(place: Source, key: &'static Key, problem: String) -> ConfigError {
    ConfigError::Value { place, key: key.name, problem }
}

/// The variable that sets the key; one that is set to nothing does not count.
fn variable_of<'a>(
    key: &'static Key,
    environment: &'a Environment,
) -> Result<Option<(String, &'a str)>, ConfigError> {
    let set = |variable: String| {
        let text = environment.variable(&variable).filter(|text| !text.is_empty())?;
        Some((variable, text))
    };
    match (set(key.variable()), key.alias.and_then(|alias| set(alias.into()))) {
        (Some((name, text)), Some((alias, other))) if text != other => {
            Err(ConfigError::Variables { name, alias, key: key.name })
        }
        (own, alias) => Ok(own.or(alias)),
    }
}

/// A text stands for itself unless it is quoted as a whole; lists and maps are YAML flow.
fn environment_node(key: &Key, text: &str) -> Result<Node, String> {
    let flow = match key.kind {
        key::Kind::Headers => true,
        key::Kind::Texts => text.starts_with('['),
        _ => false,
    };
    let quoted = |quote| text.len() > 1 && text.starts_with(quote) && text.ends_with(quote);
    if flow || quoted('"') || quoted('\'') {
        let node = yaml::parse(text).map_err(|error| error.problem)?;
        return node.ok_or_else(|| "expected a value, found none".into());
    }
    let scalar = Scalar { text: text.trim().into(), plain: true };
    Ok(Node { line: 1, content: Content::Scalar(scalar) })
}

#[cfg(test)]
mod tests;

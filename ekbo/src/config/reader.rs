//! Walks a YAML tree into settings: known keys, levels of keys, unknown keys, and maps that have keys
//! of their own.
//!
//! What a single value may look like is decided in `value.rs`.

use super::key::{self, Key, Kind};
use super::value::{self, Value};
use super::written::{Settings, Source};
use super::yaml::{Content, Node, Scalar};
use super::{ConfigError, Warning, WarningKind};

/// Reads one tree, of a file or of a variable.
pub(super) struct Reader<'a> {
    /// Where a line of the tree was written.
    place: &'a dyn Fn(usize) -> Source,
    warnings: Vec<Warning>,
}

impl<'a> Reader<'a> {
    pub(super) fn new(place: &'a dyn Fn(usize) -> Source) -> Self {
        Self { place, warnings: Vec::new() }
    }

    /// Later pairs replace earlier ones, but every one must be of the right type.
    pub(super) fn map(
        &mut self,
        settings: &mut Settings,
        pairs: &[(Node, Node)],
    ) -> Result<(), ConfigError> {
        self.level(settings, pairs, "")
    }

    /// The value of a key that errors call `name`; `None` is "not set".
    pub(super) fn value(
        &mut self,
        key: &Key,
        name: &str,
        node: &Node,
    ) -> Result<Option<Value>, ConfigError> {
        match (key.kind, &node.content) {
            (Kind::Entries(keys), Content::List(items)) => {
                let items = items.iter().enumerate();
                let entries =
                    items.map(|(index, item)| self.entry(keys, format!("{name}[{index}]"), item));
                entries.collect::<Result<_, _>>().map(|entries| Some(Value::Entries(entries)))
            }
            (Kind::Entry(keys), Content::Map(_)) => {
                let entry = self.entry(keys, name.into(), node)?;
                Ok(Some(Value::Entry(Box::new(entry))))
            }
            (Kind::Entry(keys), Content::Scalar(_)) => self.short(keys, name, node),
            _ => value::read(key, node).map_err(|problem| self.fault(name, node, problem)),
        }
    }

    /// The unknown keys that were met.
    pub(super) fn into_warnings(self) -> Vec<Warning> {
        self.warnings
    }

    fn entry(
        &mut self,
        keys: &'static [Key],
        name: String,
        node: &Node,
    ) -> Result<Settings, ConfigError> {
        let Content::Map(pairs) = &node.content else {
            let problem = format!("expected keys and values, found {}", node.description());
            return Err(self.fault(&name, node, problem));
        };
        let mut entry = Settings::defaults(keys, name, (self.place)(node.line))?;
        self.map(&mut entry, pairs)?;
        Ok(entry)
    }

    /// A map of which only the first key is written.
    fn short(
        &mut self,
        keys: &'static [Key],
        name: &str,
        node: &Node,
    ) -> Result<Option<Value>, ConfigError> {
        let Some(first) = keys.first() else { return Ok(None) };
        let place = (self.place)(node.line);
        let mut entry = Settings::defaults(keys, name.into(), place.clone())?;
        let Some(value) = self.value(first, &entry.full_name(first.name), node)? else {
            return Ok(None);
        };
        entry.set(first.name, value, place);
        Ok(Some(Value::Entry(Box::new(entry))))
    }

    fn level(
        &mut self,
        settings: &mut Settings,
        pairs: &[(Node, Node)],
        section: &str,
    ) -> Result<(), ConfigError> {
        for (name, value) in pairs {
            let place = (self.place)(name.line);
            let Content::Scalar(Scalar { text, .. }) = &name.content else {
                let problem = format!("a key must be a word, found {}", name.description());
                return Err(ConfigError::Text { place, problem });
            };
            let name = if section.is_empty() { text.clone() } else { format!("{section}.{text}") };
            // `callback.timeout: 5s` on one line is not how levels are written.
            let dotted = text.contains('.');
            if let Some(key) = key::find(settings.keys(), &name).filter(|_| !dotted) {
                self.key(settings, key, value)?;
            } else if key::is_section(settings.keys(), &name) && !dotted {
                self.section(settings, &name, value, place)?;
            } else {
                self.unknown(settings, &name, &place);
            }
        }
        Ok(())
    }

    fn key(
        &mut self,
        settings: &mut Settings,
        key: &'static Key,
        node: &Node,
    ) -> Result<(), ConfigError> {
        match self.value(key, &settings.full_name(key.name), node)? {
            Some(value) => settings.set(key.name, value, (self.place)(node.line)),
            None => settings.unset(key)?,
        }
        Ok(())
    }

    fn section(
        &mut self,
        settings: &mut Settings,
        name: &str,
        node: &Node,
        place: Source,
    ) -> Result<(), ConfigError> {
        match &node.content {
            Content::Map(pairs) => self.level(settings, pairs, name),
            Content::Scalar(scalar) if scalar.is_null() => Ok(()),
            _ => {
                let key = settings.full_name(name);
                let problem = format!("expected keys below it, found {}", node.description());
                Err(ConfigError::Value { place, key, problem })
            }
        }
    }

    fn unknown(&mut self, settings: &Settings, name: &str, place: &Source) {
        let nearest = key::nearest(settings.keys(), name);
        let remedy = if nearest == name {
            format!("write {:?} with each part on a level of its own", name.replace('.', ": "))
        } else {
            format!("did you mean {}?", settings.full_name(nearest))
        };
        let text = format!("{place}: unknown key {:?}; {remedy}", settings.full_name(name));
        self.warnings.push(Warning { kind: WarningKind::UnknownKey, text });
    }

    fn fault(&self, name: &str, node: &Node, problem: String) -> ConfigError {
        ConfigError::Value { place: (self.place)(node.line), key: name.into(), problem }
    }
}

#[cfg(test)]
mod tests;

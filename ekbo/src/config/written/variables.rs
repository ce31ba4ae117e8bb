//! The environment variables of keys: what they set, and which look like ours but set nothing.
//!
//! Their names are made in `key.rs`; those of the process are read in `environment.rs`.

use super::super::key::{self, KEYS, Key, Kind};
use super::super::reader::Reader;
use super::super::yaml::{self, Content, Node, Scalar};
use super::super::{ConfigError, Environment, Warning, WarningKind};
use super::{Settings, Source};
use crate::nearest::edit_distance;

impl Settings {
    /// Puts what the environment says in the place of what was said before; unknown keys of maps
    /// become warnings.
    pub(super) fn apply_environment(
        &mut self,
        environment: &Environment,
    ) -> Result<Vec<Warning>, ConfigError> {
        let mut warnings = Vec::new();
        for key in KEYS {
            if let Some((variable, text)) = variable_of(key, environment)? {
                let source = Source::Environment(variable);
                let node = node(key, key.name, text, &source)?;
                let place = |_| source.clone();
                let mut reader = Reader::new(&place);
                let value = reader.value(key, key.name, &node)?;
                warnings.extend(reader.into_warnings());
                if let Some(value) = value {
                    self.set(key.name, value, source);
                }
            }
            if let Kind::Entry(keys) = key.kind {
                self.apply_variables_below(key, keys, environment)?;
            }
        }
        Ok(warnings)
    }

    /// Each variable of a key of a map sets that one alone, and agrees with the variable of the map.
    fn apply_variables_below(
        &mut self,
        key: &'static Key,
        keys: &'static [Key],
        environment: &Environment,
    ) -> Result<(), ConfigError> {
        for below in keys {
            let variable = key.variable_below(below);
            let Some(text) = set(environment, &variable) else { continue };
            let name = format!("{}.{}", key.name, below.name);
            let source = Source::Environment(variable.clone());
            let node = node(below, &name, text, &source)?;
            let place = |_| source.clone();
            let Some(value) = Reader::new(&place).value(below, &name, &node)? else { continue };
            let entry = self.entry_or_new(key, keys, &source)?;
            if let Source::Environment(whole) = entry.source(below.name)
                && !entry.is_set_to(below.name, &value)
            {
                let whole = whole.clone();
                return Err(ConfigError::Variables { name: whole, alias: variable, key: name });
            }
            entry.set(below.name, value, source);
        }
        Ok(())
    }
}

/// A warning for each variable that is called as if it were ours, but that neither a key has nor the
/// text of the file names, as its template may.
pub(super) fn unknown(environment: &Environment, template: &str) -> Vec<Warning> {
    let known: Vec<String> = key::variables().collect();
    let is_unknown = |name: &&str| {
        name.starts_with(key::PREFIX)
            && set(environment, name).is_some()
            && !known.iter().any(|known| known == name)
            && !template.contains(name)
    };
    let mut names: Vec<&str> = environment.names().filter(is_unknown).collect();
    names.sort_unstable();
    let warning = |name: &str| {
        let remedy = match nearest(&known, name) {
            Some(nearest) => format!("did you mean {nearest}?"),
            None => "`ekbo config` shows every key".into(),
        };
        let name = name.escape_debug();
        let text = format!("environment: {name} is no variable of ours and sets nothing; {remedy}");
        Warning { kind: WarningKind::UnknownVariable, text }
    };
    names.into_iter().map(warning).collect()
}

/// The variable that was most likely meant, if one differs in no more than two characters, or in a
/// third of those behind the prefix.
fn nearest<'a>(known: &'a [String], name: &str) -> Option<&'a String> {
    let name = name.to_uppercase();
    let most = 2.max((name.len() - key::PREFIX.len()) / 3);
    let distances = known.iter().map(|known| (edit_distance(&name, known), known));
    let (distance, nearest) = distances.min_by_key(|(distance, _)| *distance)?;
    (distance <= most).then_some(nearest)
}

/// The variable that sets the key, and its text.
fn variable_of<'a>(
    key: &'static Key,
    environment: &'a Environment,
) -> Result<Option<(String, &'a str)>, ConfigError> {
    let set = |variable: String| set(environment, &variable).map(|text| (variable, text));
    match (set(key.variable()), key.alias.and_then(|alias| set(alias.into()))) {
        (Some((name, text)), Some((alias, other))) if text != other => {
            Err(ConfigError::Variables { name, alias, key: key.name.into() })
        }
        (own, alias) => Ok(own.or(alias)),
    }
}

/// The text of a variable; one that is set to nothing does not count.
fn set<'a>(environment: &'a Environment, variable: &str) -> Option<&'a str> {
    environment.variable(variable).filter(|text| !text.is_empty())
}

/// A text stands for itself unless it is quoted as a whole; lists and maps are YAML flow.
fn node(key: &Key, name: &str, text: &str, source: &Source) -> Result<Node, ConfigError> {
    let flow = match key.kind {
        Kind::Headers | Kind::Entries(_) => true,
        Kind::Texts => text.starts_with('['),
        Kind::Entry(_) => text.starts_with('{'),
        _ => false,
    };
    let quoted = |quote| text.len() > 1 && text.starts_with(quote) && text.ends_with(quote);
    if !flow && !quoted('"') && !quoted('\'') {
        let scalar = Scalar { text: text.trim().into(), plain: true };
        return Ok(Node { line: 1, content: Content::Scalar(scalar) });
    }
    let fault = |problem| ConfigError::Value { place: source.clone(), key: name.into(), problem };
    let node = yaml::parse(text).map_err(|error| fault(error.problem))?;
    node.ok_or_else(|| fault("expected a value, found none".into()))
}

//! What `ekbo config` prints: the effective configuration as YAML, one key a line, with the
//! source of each value in a comment behind it.

use std::collections::BTreeMap;

use super::EkboPlan;

/// The effective configuration, by dotted key.
#[derive(Debug)]
pub(crate) struct Effective(BTreeMap<String, Entry>);

#[derive(Debug)]
struct Entry {
    value: String,
    source: String,
}

impl EkboPlan {
    /// Runs `ekbo config`, which must succeed.
    #[track_caller]
    pub(crate) fn effective(self) -> Effective {
        let finished = self.command("config").run();
        assert_eq!(finished.code, Some(0), "{finished:?}");
        Effective::parse(&finished.stdout)
    }
}

impl Effective {
    #[track_caller]
    fn parse(text: &str) -> Self {
        let mut entries = BTreeMap::new();
        let mut sections: Vec<&str> = Vec::new();
        for line in text.lines() {
            let content = line.trim_start();
            if content.is_empty() || content.starts_with('#') {
                continue;
            }
            sections.truncate((line.len() - content.len()) / 2);
            let (key, rest) = content.split_once(':').unwrap_or_else(|| panic!("{line:?}"));
            let (value, source) = rest.split_once(" # ").unwrap_or((rest, ""));
            let value = value.trim().trim_matches(['"', '\'']).to_owned();
            let dotted = [&sections[..], &[key]].concat().join(".");
            entries.insert(dotted, Entry { value, source: source.trim().to_owned() });
            sections.push(key);
        }
        Self(entries)
    }

    /// The value of a key as it is printed, without quotation marks.
    #[track_caller]
    pub(crate) fn value(&self, key: &str) -> &str {
        &self.entry(key).value
    }

    /// Where the value of a key is from.
    #[track_caller]
    pub(crate) fn source(&self, key: &str) -> &str {
        &self.entry(key).source
    }

    #[track_caller]
    fn entry(&self, key: &str) -> &Entry {
        self.0.get(key).unwrap_or_else(|| panic!("no {key} in {self:?}"))
    }
}

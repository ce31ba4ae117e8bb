//! The rules of `reader.rs`, one test each; those of the keys of a file are in `written/tests.rs`.

use super::super::key::HUB_KEYS;
use super::super::yaml;
use super::*;

const LIST: Key = Key {
    name: "list",
    kind: Kind::Entries(HUB_KEYS),
    default: "[]",
    alias: None,
    secret: false,
    meaning: "entries",
};

fn place(line: usize) -> Source {
    Source::File { name: "config.yml".into(), line }
}

/// Reads the text as the list, with the texts of the warnings.
fn read(text: &str) -> Result<(Vec<Settings>, Vec<String>), ConfigError> {
    let mut reader = Reader::new(&place);
    let value = reader.value(&LIST, LIST.name, &yaml::parse(text).unwrap().unwrap())?;
    let warnings = reader.into_warnings().iter().map(ToString::to_string).collect();
    match value {
        Some(Value::Entries(entries)) => Ok((entries, warnings)),
        other => panic!("{other:?} is no list of entries"),
    }
}

fn entries(text: &str) -> Vec<Settings> {
    let (entries, warnings) = read(text).unwrap();
    assert_eq!(warnings, [""; 0]);
    entries
}

fn error(text: &str) -> String {
    let error = read(text).err().unwrap().to_string();
    error.strip_prefix("load config error: ").unwrap().to_owned()
}

/// Each entry has defaults, places and names of its own.
#[test]
fn entries_have_their_own_settings() {
    let list =
        entries("- path: /a\n  max_channels: 7\n- path: /b\n  secrets:\n    read_only: r\n- {}\n");
    let paths: Vec<Option<&str>> = list.iter().map(|entry| entry.text("path")).collect();
    assert_eq!(paths, [Some("/a"), Some("/b"), None]);
    assert_eq!(list[0].number("max_channels"), Some(7));
    assert_eq!(list[1].number("max_channels"), Some(100_000));
    assert_eq!(list[1].text("secrets.read_only"), Some("r"));
    assert_eq!(list[1].source("secrets.read_only"), &place(5));
    assert_eq!(list[1].source("codec"), &Source::Default);
    assert_eq!(list[1].full_name("secrets.read_only"), "list[1].secrets.read_only");
    assert!(entries("[]").is_empty());
}

/// Of two equal keys the later wins, but the earlier must have the right type; null is not set.
#[test]
fn keys_of_an_entry_behave_like_those_of_the_file() {
    let list = entries(
        "- {path: /a, path: /b, secrets: {read_only: r}, secrets: {read_write: w}, secrets: ,\n   \
         codec: msgpack, codec: ~}\n",
    );
    assert_eq!(list[0].text("path"), Some("/b"));
    assert_eq!(list[0].text("secrets.read_only"), Some("r"));
    assert_eq!(list[0].text("secrets.read_write"), Some("w"));
    assert_eq!(list[0].text("codec"), Some("json"));
    let wrong = error("- {max_channels: many, max_channels: 1}");
    assert!(wrong.starts_with("config.yml:1: list[0].max_channels: \"many\""), "{wrong}");
}

#[test]
fn anchors_and_merge_keys_reach_an_entry() {
    let list = entries("- &first {path: /a, codec: msgpack}\n- {<<: *first, path: /b}\n");
    assert_eq!(list[1].text("path"), Some("/b"));
    assert_eq!(list[1].text("codec"), Some("msgpack"));
}

/// A wrong type is told with the line and the whole name of its key.
#[test]
fn errors_name_the_entry() {
    for (text, problem) in [
        ("- path: /a\n- /b\n", "2: list[1]: expected keys and values, found a single value"),
        ("- ~\n", "1: list[0]: expected keys and values, found nothing"),
        ("- - path: /a\n", "1: list[0]: expected keys and values, found a list"),
        ("- path: [/a]\n", "1: list[0].path: expected text, found a list"),
        (
            "- path: /a\n- path: /b\n  secrets: hidden\n",
            "3: list[1].secrets: expected keys below it, found a single value",
        ),
        (
            "- secrets:\n    read_only: {a: hidden}\n",
            "2: list[0].secrets.read_only: expected text, found a map",
        ),
        (
            "- path: /a\n  max_message_size: 10ZB\n",
            "2: list[0].max_message_size: \"10ZB\" has an unknown unit; \
             units are B, KiB, MiB, GiB, KB, MB and GB",
        ),
        ("- {[a]: b}\n", "1: a key must be a word, found a list"),
    ] {
        assert_eq!(error(text), format!("config.yml:{problem}"));
    }
}

/// D4: an unknown key of an entry is a warning that names the nearest of the entry's keys.
#[test]
fn an_unknown_key_of_an_entry_is_a_warning() {
    let (_, warnings) = read(
        "- path: /a\n  max_chanels: 1\n- secrets: {readonly: x}\n  secrets.read_only: x\n\
         - {port: 1}\n",
    )
    .unwrap();
    assert_eq!(
        warnings[..3],
        [
            "config.yml:2: unknown key \"list[0].max_chanels\"; did you mean list[0].max_channels?",
            "config.yml:3: unknown key \"list[1].secrets.readonly\"; \
             did you mean list[1].secrets.read_only?",
            "config.yml:4: unknown key \"list[1].secrets.read_only\"; \
             write \"secrets: read_only\" with each part on a level of its own",
        ]
    );
    assert!(warnings[3].starts_with("config.yml:5: unknown key \"list[2].port\""), "{warnings:?}");
    assert_eq!(warnings.len(), 4);
}

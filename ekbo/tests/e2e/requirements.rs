//! The table of requirements and the tests that cover them, made from the ids at the head of the
//! tests' comments. `script/requirements` prints it.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

const REQUIREMENTS: &str = include_str!("../requirements.txt");

/// Every requirement is named by a test, and every id named is a requirement.
#[test]
fn every_requirement_has_a_test() {
    let titles = titles();
    let mut covered: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    let mut unknown = Vec::new();
    for (test, ids) in tests() {
        for id in ids {
            match titles.iter().find(|(known, _)| *known == id) {
                Some((known, _)) => covered.entry(known).or_default().push(test.clone()),
                None => unknown.push(format!("{test}: {id}")),
            }
        }
    }
    assert!(unknown.is_empty(), "not in requirements.txt: {unknown:?}");
    println!("| id | about | tests |\n| --- | --- | --- |");
    for (id, title) in &titles {
        let tests = covered.get(id).map(|tests| tests.join(", ")).unwrap_or_default();
        println!("| {id} | {title} | {tests} |");
    }
    let uncovered: Vec<_> = titles.iter().filter(|(id, _)| !covered.contains_key(id)).collect();
    assert!(uncovered.is_empty(), "without a test: {uncovered:?}");
}

/// `ID what it is about`, where an id of two words has a number or `row` in it.
fn titles() -> Vec<(&'static str, &'static str)> {
    REQUIREMENTS
        .lines()
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
        .map(|line| {
            let words = match line.split(' ').collect::<Vec<_>>()[..] {
                [_, "row", ..] => 3,
                ["Line", ..] => 2,
                _ => 1,
            };
            let end = line.match_indices(' ').nth(words - 1).unwrap().0;
            (&line[..end], &line[end + 1..])
        })
        .collect()
}

/// Each test of the workspace with the ids of its comment.
fn tests() -> Vec<(String, Vec<String>)> {
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let mut files = Vec::new();
    for directory in ["ekbo", "kuiperbelt", "websocket"] {
        sources(&workspace.join(directory), &mut files);
    }
    files.sort();
    let mut found = Vec::new();
    for file in files {
        let source = fs::read_to_string(&file).unwrap();
        let module = file.file_stem().unwrap().to_str().unwrap().to_owned();
        let mut comment = String::new();
        let mut is_test = false;
        for line in source.lines().map(str::trim) {
            if let Some(text) = line.strip_prefix("///") {
                comment.push_str(text);
            } else if line.starts_with("#[") || line.ends_with(")]") {
                is_test |= line == "#[test]" || line.starts_with("#[tokio::test");
            } else {
                let name = line.strip_prefix("async ").unwrap_or(line).strip_prefix("fn ");
                if let (Some(name), true) = (name, is_test) {
                    let name = name.split('(').next().unwrap();
                    found.push((format!("`{module}::{name}`"), ids(&comment)));
                }
                comment.clear();
                is_test = false;
            }
        }
    }
    found
}

/// The ids at the head of a comment, before its colon, divided by commas: `KB-CFG-1`, `D5`, `A4`,
/// `A-7`, `Line 3`, `5.3 row 2`, `RK-4.2-1`, `R5`, `RB-D-1`. What looks otherwise is a hint where to
/// read on.
fn ids(comment: &str) -> Vec<String> {
    let head = comment.split(": ").next().unwrap_or_default();
    let words = head.split(',').map(|word| word.trim().trim_end_matches(':'));
    words.filter(|word| is_id(word)).map(str::to_owned).collect()
}

fn is_id(word: &str) -> bool {
    let is_number = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    let prefixes = ["A-", "F-", "A", "D", "Q", "R", "Line "];
    let is_numbered = |prefix: &&str| word.strip_prefix(*prefix).is_some_and(is_number);
    let is_row = word
        .split_once(" row ")
        .is_some_and(|(table, row)| is_number(row) && table.split('.').all(is_number));
    let is_named = ["KB-", "RK-", "RB-"].iter().any(|prefix| word.starts_with(prefix));
    is_named || is_row || prefixes.iter().any(is_numbered)
}

fn sources(directory: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

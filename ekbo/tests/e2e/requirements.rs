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
    for (test, ids) in tests() {
        for id in ids {
            let known = titles.iter().find(|(known, _)| *known == id);
            if let Some((known, _)) = known {
                covered.entry(known).or_default().push(test.clone());
            }
        }
    }
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

/// The ids in a comment: `KB-CFG-1`, `D5`, `A4`, `Line 3`, `5.3 row 2`.
fn ids(comment: &str) -> Vec<String> {
    let words: Vec<&str> = comment
        .split(|c: char| c.is_whitespace() || ",;:()".contains(c))
        .filter(|word| !word.is_empty())
        .collect();
    let mut ids = Vec::new();
    let is_number = |word: &str| !word.is_empty() && word.bytes().all(|byte| byte.is_ascii_digit());
    for (at, word) in words.iter().enumerate() {
        match words[at + 1..] {
            [number, ..] if *word == "Line" && is_number(number) => {
                ids.push(format!("Line {number}"))
            }
            ["row", number, ..] if is_number(number) => ids.push(format!("{word} row {number}")),
            _ => ids.push((*word).to_owned()),
        }
    }
    ids
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

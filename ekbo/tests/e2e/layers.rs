//! Who may know whom: a module imports only from layers below its own. The same lists stand, with
//! their reasons, in ARCHITECTURE.md.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// Bottom up; the modules of one layer do not know each other.
const LIBRARY: &[&[&str]] = &[
    &["answer", "fields", "message", "metrics", "page", "tls"],
    &["stream"],
    &["codec", "http1", "outgoing"],
    &["body", "session"],
    &["answer_writer", "channel", "handler", "options", "request"],
    &["hub"],
    &["rocket", "seat"],
    &["connection"],
    &["handshake"],
    &["door"],
    &["exchange"],
    &["listener"],
    &["accept"],
    &["server"],
];

/// The rooms are one layer: they know the library, never each other and never the configuration.
const SERVER: &[&[&str]] = &[
    &[
        "certificate",
        "close_frame",
        "nearest",
        "network",
        "origin",
        "path",
        "pieces",
        "process",
        "secret",
        "text",
    ],
    &["endpoint", "flags", "outbound"],
    &["log", "zmtp"],
    &["access_log", "backend_api", "bridge", "callback", "demo", "upstream"],
    &["config"],
    &["app"],
    &["fuzzing", "gateway", "rocket"],
    &["bin", "main"],
];

#[test]
fn the_library_imports_downwards() {
    check("kuiperbelt/src", LIBRARY);
}

#[test]
fn the_server_imports_downwards() {
    check("ekbo/src", SERVER);
}

/// `design`: the protocol crate has no runtime, no socket and no clock.
#[test]
fn the_protocol_has_no_io() {
    let manifest = fs::read_to_string(workspace().join("websocket/Cargo.toml")).unwrap();
    let dependencies = manifest.split("[dependencies]").nth(1).unwrap();
    let dependencies = dependencies.split("\n[").next().unwrap();
    for io in ["tokio", "hyper", "mio", "socket2"] {
        assert!(!dependencies.contains(io), "{io}");
    }
}

#[track_caller]
fn check(directory: &str, layers: &[&[&str]]) {
    let root = workspace().join(directory);
    let layer_of = |module: &str| layers.iter().position(|layer| layer.contains(&module));
    let mut upward = BTreeSet::new();
    let mut seen = BTreeSet::new();
    for file in sources(&root) {
        let path = file.strip_prefix(&root).unwrap();
        let module = path.components().next().unwrap().as_os_str().to_str().unwrap();
        let module = module.trim_end_matches(".rs").to_owned();
        if module == "lib" {
            continue;
        }
        let own = layer_of(&module).unwrap_or_else(|| panic!("{module} is in no layer"));
        seen.insert(module.clone());
        for imported in imports(&fs::read_to_string(&file).unwrap()) {
            match layer_of(&imported) {
                Some(layer) if layer < own || imported == module => {}
                Some(_) => drop(upward.insert(format!("{module} → {imported}"))),
                None => panic!("{module} imports {imported}, which is in no layer"),
            }
        }
    }
    assert!(upward.is_empty(), "{upward:?}");
    let listed: BTreeSet<String> =
        layers.iter().flat_map(|l| l.iter()).map(|m| (*m).into()).collect();
    assert_eq!(seen, listed);
}

/// The first segments after `crate::`, other than in comments.
fn imports(source: &str) -> Vec<String> {
    let is_code = |line: &&str| !line.trim_start().starts_with("//");
    let source: String = source.lines().filter(is_code).collect();
    let name = |text: &str| text.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
    source.split("crate::").skip(1).map(name).collect()
}

fn sources(directory: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(sources(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
    found
}

fn workspace() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap()
}

//! The templates in the configuration file: which actions there are, and that everything else
//! is refused instead of passed on.

use super::harness::{Backend, Client, Ekbo, EkboPlan};

/// KB-TPL-1: `env` takes the first variable that is set and not empty.
#[test]
fn env_takes_the_first_variable_that_is_set() {
    for (action, path) in [
        (r#"{{ env "ONE" "TWO" "/fallback" }}"#, "/two"),
        (r#"{{ env "EMPTY" "TWO" "/fallback" }}"#, "/two"),
        (r#"{{ env "THREE" "TWO" "/fallback" }}"#, "/three"),
        (r#"{{env "THREE" "TWO"}}"#, "/three"),
    ] {
        assert_eq!(ping_path(action), path, "{action}");
    }
}

/// KB-TPL-1, Q27: without any, `env` is its last argument, literally; nor is nothing an error.
#[test]
fn env_falls_back_to_its_last_argument() {
    for (action, path) in [
        (r#"{{ env "ONE" "/fallback" }}"#, "/fallback"),
        (r#"/{{ env "ONE" }}"#, "/ONE"),
        (r#"/x{{ env "ONE" "" }}"#, "/x"),
        (r#"/y{{ env }}"#, "/y"),
        (r#"/{{ env "EMPTY" }}"#, "/EMPTY"),
    ] {
        assert_eq!(ping_path(action), path, "{action}");
    }
}

/// KB-TPL-2: `must_env` is the variable's value, also an empty one.
#[test]
fn must_env_is_the_value_of_the_variable() {
    assert_eq!(ping_path(r#"{{ must_env "TWO" }}"#), "/two");
    assert_eq!(ping_path(r#"/z{{ must_env "EMPTY" }}"#), "/z");
}

/// KB-TPL-2: an unset variable is fatal for `must_env`.
#[test]
fn must_env_needs_the_variable() {
    let stderr = plan(r#"{{ must_env "ONE" }}"#).fails_to_start(1);
    assert!(stderr.contains("environment variable ONE is not defined"), "{stderr}");
    assert!(stderr.contains("config.yml"), "{stderr}");
}

/// KB-TPL-3: `json_escape` makes a text fit for a JSON string.
#[test]
fn json_escape_escapes() {
    let backend = Backend::admitting("alice").start();
    let ekbo = Ekbo::with(&backend)
        .set("endpoint", r#""{{ must_env "STRANGE" | json_escape }}""#)
        .environment("STRANGE", r#"a"b\c"#)
        .start();
    let _alice = Client::connect(&ekbo);
    let endpoint = backend.wait_for_first("/connect");
    assert_eq!(endpoint.header("X-Kuiperbelt-Endpoint"), Some(r#"a"b\c"#));
}

/// KB-TPL-1: trim markers, comments, both kinds of string literals and pipelines.
#[test]
fn the_syntax_of_actions() {
    for (action, path) in [
        ("/a   {{- env `ONE` `b` -}}   \n", "/ab"),
        ("/a{{/* {{ not an action */}}b", "/ab"),
        ("/a{{- /* a comment */ -}}  b", "/ab"),
        (r#"{{ "TWO" | env }}"#, "/two"),
        (r#"{{ "/fallback" | env "ONE" "EMPTY" }}"#, "/fallback"),
        ("{{ env `TWO` }}", "/two"),
        (r#"/{{ env "\u0041\x42" }}"#, "/AB"),
        (r#"{{ "/literal" }}"#, "/literal"),
    ] {
        assert_eq!(ping_path(action), path, "{action}");
    }
}

/// 3.1: actions in YAML comments are executed, too, and what is inserted is raw YAML.
#[test]
fn a_template_is_expanded_before_yaml_is_read() {
    let text = "port: 0\n# {{ must_env \"ONE\" }}\n";
    let stderr = Ekbo::configured(text).fails_to_start(1);
    assert!(stderr.contains("environment variable ONE is not defined"), "{stderr}");

    let ekbo = Ekbo::configured("port: 0\npath: {{ env \"MAP\" }}\n")
        .environment("MAP", "{ping: /from-the-map, stats: /numbers}")
        .start();
    assert_eq!(ekbo.get("/from-the-map").status, 200);
    assert_eq!(ekbo.get("/numbers").status, 200);
}

/// 3.1: whatever else Go's templates can do is refused, with line and construct.
#[test]
fn everything_else_is_refused() {
    for (action, construct) in [
        (r#"{{ if true }}/a{{ end }}"#, "if"),
        (r#"{{ printf "/%s" "a" }}"#, "printf"),
        (r#"{{ range . }}{{ end }}"#, "range"),
        (r#"{{ $x := "a" }}"#, "$x"),
        (r#"{{ .Port }}"#, ".Port"),
        (r#"{{ unknown "a" }}"#, "unknown"),
        (r#"{{ env "ONE"#, ""),
        (r#"{{ "unterminated }}"#, ""),
        ("{{/* no end", ""),
    ] {
        let stderr = plan(action).fails_to_start(1);
        assert!(stderr.contains("load config error"), "{action}: {stderr}");
        assert!(stderr.contains(construct), "{action}: {stderr}");
        let has_line = stderr.contains("line 3") || stderr.contains("config.yml:3");
        assert!(has_line, "{action}: no line in {stderr}");
    }
}

/// What `path.ping` is when it is written as this action.
#[track_caller]
fn ping_path(action: &str) -> String {
    plan(action).effective().value("path.ping").to_owned()
}

/// The action stands in the third line.
fn plan(action: &str) -> EkboPlan {
    Ekbo::configured(format!("port: 0\npath:\n  ping: {action}\n"))
        .environment("EMPTY", "")
        .environment("TWO", "/two")
        .environment("THREE", "/three")
}

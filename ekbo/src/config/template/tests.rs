//! The rules of `template.rs`, one test each.

use super::*;

fn environment() -> Environment {
    let variables = [("X", "value"), ("EMPTY", ""), ("d", "named"), ("LINES", "1\n2\n3")];
    let variables = variables.map(|(name, value)| (name.to_owned(), value.to_owned()));
    Environment::new(variables, None)
}

fn rendered(source: &str) -> String {
    render(source, &environment()).unwrap().text
}

fn problem(source: &str) -> Problem {
    render(source, &environment()).unwrap_err().problem
}

/// KB-TPL-1: the first variable that is set and not empty, else the last argument literally.
#[test]
fn env_takes_the_first_set_variable() {
    for (source, text) in [
        (r#"{{ env "X" "d" }}"#, "value"),
        (r#"{{ env "NO" "default" }}"#, "default"),
        (r#"{{ env "NO" "d" }}"#, "named"),
        (r#"{{ env "NO" "EMPTY" "X" "z" }}"#, "value"),
        (r#"{{ env "NO" }}"#, "NO"),
        (r#"{{ env "EMPTY" }}"#, "EMPTY"),
        (r#"{{ env "NO" "" }}"#, ""),
        (r#"{{ env }}"#, ""),
        (r#"{{env "X"}}"#, "value"),
    ] {
        assert_eq!(rendered(source), text, "{source}");
    }
}

/// KB-TPL-2: a variable that must be set, and may be empty.
#[test]
fn must_env_wants_a_set_variable() {
    assert_eq!(rendered(r#"[{{ must_env "X" }}{{ must_env "EMPTY" }}]"#), "[value]");
    let error = render("\n\na: {{ must_env \"A\" }}", &environment()).unwrap_err();
    assert_eq!(error.line, 3);
    assert!(error.to_string().contains("environment variable A is not defined"));
    // One line, whatever the name.
    let message = problem("{{ must_env \"A\\nB\" }}").to_string();
    assert!(message.starts_with("environment variable A\\nB is not defined"), "{message}");
    let count = |given| Problem::ArgumentCount { function: "must_env", given };
    assert_eq!(problem("{{ must_env }}"), count(0));
    assert_eq!(problem(r#"{{ must_env "X" "Y" }}"#), count(2));
}

/// KB-TPL-3: JSON escaping without quotes.
#[test]
fn json_escape_escapes() {
    let source = "{{ \"a\\\"b\\\\c\\n\\t<&>\\u2028\\x01\" | json_escape }}";
    assert_eq!(rendered(source), r#"a\"b\\c\n\t\u003c\u0026\u003e\u2028\u0001"#);
    let count = Problem::ArgumentCount { function: "json_escape", given: 0 };
    assert_eq!(problem("{{ json_escape }}"), count);
}

/// Section 3.1: both kinds of string literals.
#[test]
fn string_literals() {
    for (source, text) in [
        (r#"{{ "a}}b" }}"#, "a}}b"),
        (r#"{{ `a}}"\n` }}"#, r#"a}}"\n"#),
        ("{{ `two\nlines` }}", "two\nlines"),
        (r#"{{ "\u00e9\U0001F600\x41\101\a\b\f\v\r\"" }}"#, "é😀AA\u{7}\u{8}\u{c}\u{b}\r\""),
        (r#"{{ "\xc3\xa9" }}"#, "é"),
        ("{{ \"\" }}", ""),
    ] {
        assert_eq!(rendered(source), text, "{source}");
    }
    for (source, escape) in [
        (r#"{{ "\q" }}"#, r"\q"),
        (r#"{{ "\'" }}"#, r"\'"),
        (r#"{{ "\x4" }}"#, r"\x4"),
        (r#"{{ "\400" }}"#, r"\400"),
        (r#"{{ "\ud800" }}"#, r"\ud800"),
        (r#"{{ "\x+1" }}"#, r"\x+1"),
        (r#"{{ "\é" }}"#, r"\é"),
    ] {
        assert_eq!(problem(source), Problem::BadEscape(escape.into()), "{source}");
    }
    assert_eq!(problem(r#"{{ "\xff" }}"#), Problem::LiteralNotUtf8);
}

/// Section 3.1: a stage's value is the last argument of the next.
#[test]
fn pipelines() {
    for (source, text) in [
        (r#"{{ "X" | env }}"#, "value"),
        (r#"{{ "default" | env "NO" }}"#, "default"),
        (r#"{{ must_env "X" | json_escape }}"#, "value"),
        (r#"{{"X"|env|json_escape}}"#, "value"),
    ] {
        assert_eq!(rendered(source), text, "{source}");
    }
    assert_eq!(problem(r#"{{ env "X" | "a" }}"#), Problem::LiteralInPipeline);
    assert_eq!(problem(r#"{{ "X" "Y" | env }}"#), Problem::LiteralCalled);
    for source in ["{{ }}", "{{}}", "{{ | env }}", "{{ env | }}", "{{-  -}}"] {
        assert_eq!(problem(source), Problem::Empty, "{source}");
    }
}

/// Section 3.1: trim markers eat the blanks of the text beside them.
#[test]
fn trim_markers() {
    for (source, text) in [
        ("a \n {{- env \"X\" -}} \n b", "avalueb"),
        ("a {{- env \"X\" }} b", "avalue b"),
        ("a {{ env \"X\" -}} b", "a valueb"),
        ("a {{- /* c */ -}} b", "ab"),
        ("a {{/* c */ -}} b", "a b"),
    ] {
        assert_eq!(rendered(source), text, "{source:?}");
    }
    assert_eq!(problem("{{-env}}"), Problem::Unsupported("-env".into()));
}

/// Section 3.1: comments vanish, over several lines too; actions in YAML comments are run.
#[test]
fn comments() {
    assert_eq!(rendered("a{{/* }} {{ x */}}b"), "ab");
    assert_eq!(rendered("a{{/* 1\n2 */}}b"), "ab");
    assert_eq!(rendered("# {{ env \"X\" }}"), "# value");
    for source in ["{{/* a", "{{/* a */ }}", "{{/* a */-}}"] {
        assert_eq!(problem(source), Problem::UnclosedComment, "{source}");
    }
    assert_eq!(problem("{{ /* a */ }}"), Problem::MisplacedComment);
}

/// Section 3.1: anything beyond the list is refused with its line and name.
#[test]
fn anything_else_is_refused() {
    for construct in
        ["if", "range", "end", ".Env", "$x", "(env", "1", "'c'", "nil", "true", ":=", "-1"]
    {
        let source = format!("a: 1\nb: {{{{ {construct} }}}}");
        let error = render(&source, &environment()).unwrap_err();
        assert_eq!(error.line, 2);
        assert_eq!(error.problem, Problem::Unsupported(construct.into()));
    }
    assert_eq!(problem("{{ printf }}"), Problem::UnknownFunction("printf".into()));
    assert_eq!(problem("{{ env must_env }}"), Problem::Unsupported("must_env".into()));
    assert_eq!(problem(r#"{{ "a""b" }}"#), Problem::MissingBlank("\"b\"".into()));
    assert_eq!(problem(r#"{{ env"X" }}"#), Problem::MissingBlank("\"X\"".into()));
}

/// Section 3.1: what is never closed is refused on the line where it begins.
#[test]
fn what_is_never_closed_is_refused() {
    for source in ["{{", "{{ env", "{{ env }", "{{ env \"X\"\n}}", "{{-"] {
        assert_eq!(problem(source), Problem::Unclosed, "{source:?}");
    }
    for source in ["{{ \"a }}", "{{ `a }}", "{{ \"a\n\" }}", "{{ \"a\\\n\" }}", "{{ \"a\\"] {
        assert_eq!(problem(source), Problem::UnclosedLiteral, "{source:?}");
    }
    let message = problem("{{ env").to_string();
    assert_eq!(message, "this {{ is never closed; end the action with }} on the same line");
}

#[test]
fn text_without_actions_passes_unchanged() {
    let source = "a: {b: 1}}\n# } }} {\n";
    assert_eq!(rendered(source), source);
}

/// An error in the YAML must name the line of the file, whatever the template inserted.
#[test]
fn lines_are_those_of_the_source() {
    let source = "one\n{{ env \"LINES\" }}\nthree\n{{/* 4\n5 */ -}}\n\nseven\neight";
    let rendered = render(source, &environment()).unwrap();
    assert_eq!(rendered.text, "one\n1\n2\n3\nthree\nseven\neight");
    let lines: Vec<usize> = (1..=7).map(|line| rendered.source_line(line)).collect();
    assert_eq!(lines, [1, 2, 2, 2, 3, 7, 8]);
    assert_eq!(rendered.source_line(99), 8);
}

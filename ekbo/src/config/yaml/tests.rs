//! The rules of `yaml.rs`, one test each.

use super::*;

fn root(text: &str) -> Node {
    parse(text).unwrap().unwrap()
}

/// The last pair of a map whose key is `name`.
fn value(node: &Node, name: &str) -> Node {
    let Content::Map(pairs) = &node.content else {
        panic!("{node:?} is no map");
    };
    let named = |key: &Node| matches!(&key.content, Content::Scalar(s) if s.text == name);
    pairs.iter().rev().find(|(key, _)| named(key)).unwrap().1.clone()
}

fn text(node: &Node) -> &str {
    match &node.content {
        Content::Scalar(scalar) => &scalar.text,
        _ => panic!("{node:?} is no scalar"),
    }
}

fn plain(text: &str) -> Scalar {
    Scalar { text: text.into(), plain: true }
}

/// Section 3: nothing, comments, `---` and null are as good as an empty file.
#[test]
fn a_file_without_content_is_empty() {
    for text in ["", "# only a comment\n", "\u{feff}", "\n\n", "\u{feff}# comment\n"] {
        assert_eq!(parse(text), Ok(None), "{text:?}");
    }
    for text in ["---\n", "--- # comment\n", "null\n", "~", "---\n...\n", "\u{feff}---\n"] {
        assert!(root(text).is_null(), "{text:?}");
    }
}

/// Section 3: only the first document counts, however broken the second is.
#[test]
fn a_second_document_is_never_looked_at() {
    let broken = ["{", "port: [", "\tx", "a: b: c", "*nowhere", "\"open", "%", "@", "- a\nb"];
    for second in broken {
        for separator in ["---\n", "--- ", "...\n", "...\n---\n"] {
            let file = format!("port: 1\n{separator}{second}\n");
            assert_eq!(text(&value(&root(&file), "port")), "1", "{file:?}");
        }
    }
}

/// Section 3: a byte order mark is skipped.
#[test]
fn a_byte_order_mark_is_skipped() {
    assert_eq!(text(&value(&root("\u{feff}port: 1\n"), "port")), "1");
}

/// Section 3: anchors, aliases and merge keys work; a map's own keys win over merged ones.
#[test]
fn anchors_and_merge_keys_are_resolved() {
    let root = root(
        "base: &base {a: 1, b: 1}\nother: &other {b: 2, c: 2}\nsame: *base\n\
         one: {b: own, <<: *base}\ntwo:\n  <<: [*base, *other]\n  d: 3\n",
    );
    assert_eq!(text(&value(&value(&root, "same"), "a")), "1");
    assert_eq!(text(&value(&value(&root, "one"), "b")), "own");
    assert_eq!(text(&value(&value(&root, "one"), "a")), "1");
    let two = value(&root, "two");
    let texts = ["a", "b", "c", "d"].map(|key| text(&value(&two, key)).to_owned());
    assert_eq!(texts, ["1", "1", "2", "3"]);
}

#[test]
fn a_merge_key_wants_maps() {
    for text in ["<<: 1", "a: &a [1]\n<<: *a", "a: &a {}\n<<: [*a, 1]"] {
        assert!(parse(text).unwrap_err().problem.starts_with("`<<` wants"), "{text}");
    }
    assert_eq!(text(&value(&root("\"<<\": 1"), "<<")), "1");
}

/// A few aliases of aliases must not fill the memory, nor a chain of brackets the stack.
#[test]
fn expansion_and_depth_are_bounded() {
    let mut bomb = String::from("a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n");
    for level in 1..12 {
        let aliases = vec![format!("*a{}", level - 1); 10].join(", ");
        bomb.push_str(&format!("a{level}: &a{level} [{aliases}]\n"));
    }
    assert!(parse(&bomb).unwrap_err().problem.contains("more than 10000 values"));
    let deep = format!("a: {}{}", "[".repeat(100), "]".repeat(100));
    assert!(parse(&deep).unwrap_err().problem.contains("nested more than 32"));
    let itself = parse("a: &a [1, *a]").unwrap_err();
    assert_eq!(itself.problem, "an alias cannot stand inside the node it names");
}

#[test]
fn an_error_names_its_line() {
    assert_eq!(parse("a: 1\nb: [1, 2\nc: 3\n").unwrap_err().line, 3);
    assert_eq!(parse("a: 1\nb: *missing\n").unwrap_err().line, 2);
    let node = root("a: 1\n\n# comment\nb:\n  c: 2\n");
    assert_eq!(value(&value(&node, "b"), "c").line, 5);
}

#[test]
fn core_tags_are_followed_and_others_refused() {
    let node = root("a: !!str 10\nb: !!int \"10\"\nc: !!map {}\nd: !!seq []\n");
    assert_eq!(
        value(&node, "a").content,
        Content::Scalar(Scalar { text: "10".into(), plain: false })
    );
    assert_eq!(value(&node, "b").content, Content::Scalar(plain("10")));
    let refused = parse("a: !!binary aGVsbG8=").unwrap_err().problem;
    assert!(refused.contains("binary\" does not belong here"), "{refused}");
    assert!(parse("a: !!map [1]").is_err());
    assert!(parse("a: !own {}").is_err());
}

/// KB-CFG-1: the YAML 1.1 boolean words, unquoted.
#[test]
fn boolean_words() {
    for word in ["true", "True", "TRUE", "yes", "Yes", "YES", "on", "On", "ON", "y", "Y"] {
        assert_eq!(plain(word).boolean(), Some(true), "{word}");
    }
    for word in ["false", "False", "FALSE", "no", "No", "NO", "off", "Off", "OFF", "n", "N"] {
        assert_eq!(plain(word).boolean(), Some(false), "{word}");
    }
    for word in ["tRUE", "1", "0", "", "enabled"] {
        assert_eq!(plain(word).boolean(), None, "{word}");
    }
    assert_eq!(Scalar { text: "true".into(), plain: false }.boolean(), None);
}

/// KB-CFG-1: YAML 1.1 integers and floats.
#[test]
fn numbers() {
    for (text, value) in [
        ("0", 0),
        ("10", 10),
        ("+5", 5),
        ("-5", -5),
        ("0x1F", 31),
        ("-0x2", -2),
        ("010", 8),
        ("0o17", 15),
        ("0b11", 3),
        ("1_000", 1_000),
    ] {
        assert_eq!(plain(text).number(), Some(Number::Integer(value)), "{text}");
    }
    for (text, value) in [("1.5", 1.5), (".5", 0.5), ("08", 8.0), ("-1.", -1.0), ("1e3", 1e3)] {
        assert_eq!(plain(text).number(), Some(Number::Float(value)), "{text}");
    }
    for text in ["", "ten", "0x", "--5", "1-5", "1.2.3", "10s", ".", "_1", "+", "e5", ".inf"] {
        assert_eq!(plain(text).number(), None, "{text}");
    }
    assert_eq!(Scalar { text: "10".into(), plain: false }.number(), None);
}

#[test]
fn quoted_text_reads_back() {
    for original in ["", "a \"b\" \\ c", "# no comment: {x}", "l1\nl2\r\tx\u{1}", "\u{2028}\u{e9}"]
    {
        let quoted = quoted(original);
        assert!(!quoted.contains('\n'));
        let node = root(&quoted);
        assert_eq!(node.content, Content::Scalar(Scalar { text: original.into(), plain: false }));
    }
}

//! The rules of `hub.rs`, one test each.

use super::super::tests::{config, error, warnings};
use super::*;

fn only(text: &str) -> RocketHub {
    let hubs = config(&format!("hubs:\n  - path: /chat\n{text}")).hubs;
    assert_eq!(hubs.len(), 1);
    hubs.into_iter().next().unwrap()
}

/// Rocket, section 0; surface, section 5: what a hub is when only its path is given.
#[test]
fn defaults() {
    let hub = only("");
    assert_eq!((hub.path.as_str(), hub.codec), ("/chat", RocketCodec::Json));
    assert!(hub.read_only.is(b"") && hub.read_write.is(b""));
    assert_eq!(hub.allowed_origins, None);
    assert_eq!(hub.max_message_size, Some(1 << 20));
    assert_eq!((hub.max_channels, hub.max_subscriptions), (100_000, 10_000));
    assert_eq!(config("").hubs, []);
}

#[test]
fn everything_given() {
    let hub = only(
        "    codec: msgpack\n    secrets: {read_only: r, read_write: 0123}\n    \
         max_message_size: 0\n    max_channels: 1\n    max_subscriptions: 2\n",
    );
    assert_eq!(hub.codec, RocketCodec::MessagePack);
    assert!(hub.read_only.is(b"r") && hub.read_write.is(b"0123"));
    assert_eq!(hub.max_message_size, None);
    assert_eq!((hub.max_channels, hub.max_subscriptions), (1, 2));
}

/// RK-CFG-5, R17: errors name place and key, and never a secret.
#[test]
fn mistakes() {
    for (text, problem) in [
        ("{codec: json}", "hubs[0].path: is missing; write where clients find the hub: /PATH"),
        (
            "{path: chat}",
            "hubs[0].path: \"chat\" never matches, as it does not begin with /; write \"/chat\"",
        ),
        (
            "{path: \"/a?b\"}",
            "hubs[0].path: \"/a?b\" never matches, as a path ends before ? and #; write \"/a\"",
        ),
        (
            "{path: /a, codec: JSON}",
            "hubs[0].codec: \"JSON\" is none of the choices; write one of json, msgpack",
        ),
        (
            "{path: /a, max_channels: 0}",
            "hubs[0].max_channels: 0 would hold nothing; write 1 or more",
        ),
        (
            "{path: /a, max_subscriptions: 1.5}",
            "hubs[0].max_subscriptions: \"1.5\" is not a whole number; write a whole number",
        ),
        (
            "{path: /a, secrets: {read_write: '****'}}",
            "hubs[0].secrets.read_write: \"****\" is what `ekbo config` shows of a secret; \
             write the secret itself",
        ),
    ] {
        assert_eq!(
            error(&format!("port: 1\nhubs:\n- {text}\n")),
            format!("config.yml:3: {problem}")
        );
    }
}

/// Whoever publishes needs no secret: said once for each hub, and no reason to fail a check.
#[test]
fn an_open_hub_is_warned_about() {
    let text = "hubs:\n- {path: /a, secrets: {read_write: ~}}\n- {path: /b, secrets: {read_only: r}}\n\
                - {path: /c, secrets: {read_write: w}}\n- {path: /d, secrets: {read_write: \"\"}}\n";
    let problem = "is empty, so the hub is open for publishing to everyone; write a secret";
    let expected = [(3, 0), (4, 1), (6, 3)]
        .map(|(line, hub)| format!("config.yml:{line}: hubs[{hub}].secrets.read_write: {problem}"));
    let said = warnings(text).into_iter().filter(|(kind, _)| *kind == WarningKind::OpenHub);
    assert_eq!(said.map(|(_, text)| text).collect::<Vec<_>>(), expected);
    assert!(!WarningKind::OpenHub.fails_check());
}

/// RK-CFG-5: no door has the path of another.
#[test]
fn a_path_given_twice() {
    for (text, problem) in [
        ("[{path: /a}, {path: /b}, {path: /a}]", "hubs[2].path: \"/a\" is hubs[0].path"),
        ("[{path: /connect}]", "hubs[0].path: \"/connect\" is path.connect"),
        ("[{path: /publish}]", "hubs[0].path: \"/publish\" is path.publish"),
        ("[{path: /sessions/}]", "hubs[0].path: \"/sessions/\" is path.sessions"),
        ("[{path: /a}]\npath: {ping: /a}", "hubs[0].path: \"/a\" is path.ping"),
    ] {
        let expected = format!("config.yml:1: {problem} as well; give each its own");
        assert_eq!(error(&format!("hubs: {text}")), expected);
    }
    let hubs =
        config("path: {connect: /gateway}\nhubs: [{path: /connect}, {path: /connect/}]").hubs;
    assert_eq!(hubs.len(), 2);
}

/// Rocket, section 0: nothing or `*` is any; the rest is as browsers write it.
#[test]
fn origins() {
    let allowed = |text: &str| only(&format!("    allowed_origins: {text}\n")).allowed_origins;
    for any in ["~", "\"*\"", "[\"*\"]", "[https://a, \"*\"]"] {
        assert_eq!(allowed(any), None, "{any}");
    }
    for (written, meant) in [
        ("https://example.com", "https://example.com"),
        ("HTTPS://Example.COM:443", "https://example.com"),
        ("http://localhost:080", "http://localhost"),
        ("http://localhost:443", "http://localhost:443"),
        ("http://127.0.0.1:8080", "http://127.0.0.1:8080"),
        ("\"http://[0:0::1]:3000\"", "http://[::1]:3000"),
        ("\"https://[::1]\"", "https://[::1]"),
        ("chrome-extension://abcdef", "chrome-extension://abcdef"),
        ("\"null\"", "null"),
    ] {
        assert_eq!(allowed(&format!("[{written}]")), Some(vec![meant.to_owned()]), "{written}");
        assert_eq!(allowed(written), Some(vec![meant.to_owned()]), "{written}");
    }
    assert_eq!(allowed("[https://a, \"null\"]").unwrap(), ["https://a", "null"]);
    for wrong in [
        "example.com",
        "https://",
        "https://example.com/",
        "https://example.com/chat",
        "https://me@example.com",
        "https://*.example.com",
        "https://example.com:",
        "https://example.com:https",
        "https://example.com:+1",
        "https://example.com:65536",
        "https://[::1",
        "https://[x]",
        "https://[::1]x:1",
        "https://::1",
        "://example.com",
        "1a://example.com",
        "https:example.com",
        "https://m\u{fc}nchen.example",
    ] {
        let text = format!("hubs: [{{path: /a, allowed_origins: [\"*\", {wrong:?}]}}]");
        let problem = "is no origin; write https://HOST, https://HOST:PORT, null, or * for any";
        assert_eq!(
            error(&text),
            format!("config.yml:1: hubs[0].allowed_origins: {wrong:?} {problem}")
        );
    }
    // An unquoted null is nothing to YAML; an empty list is no way to allow any.
    for unset in ["[null]", "[]"] {
        let told = error(&format!("hubs: [{{path: /a, allowed_origins: {unset}}}]"));
        assert!(told.starts_with("config.yml:1: hubs[0].allowed_origins: "), "{told}");
    }
}

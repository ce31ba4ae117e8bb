//! The rules of `target.rs`, one test each.

use super::*;

fn good(text: &str) -> Address {
    match Target::parse(text) {
        Target::Good(address) => address,
        fault => panic!("{text}: {fault:?}"),
    }
}

/// KB-CFG-7: http and https with host, port, path and query.
#[test]
fn good_urls() {
    for (text, uri, host) in [
        ("http://localhost:12346/connect", "http://localhost:12346/connect", "localhost:12346"),
        ("https://example.com", "https://example.com/", "example.com"),
        ("HTTP://Example.com/A?b=c", "http://Example.com/A?b=c", "Example.com"),
        ("http://h?x", "http://h/?x", "h"),
        ("http://[::1]:80/x", "http://[::1]:80/x", "[::1]:80"),
        ("http://h:/x", "http://h/x", "h"),
        ("http://:12346/x", "http://localhost:12346/x", "localhost:12346"),
        ("http://h/a b/\u{e9}?q= {}", "http://h/a%20b/%C3%A9?q=%20{}", "h"),
        ("http://h/%2F%zz", "", ""),
        ("http://h/a?100%", "http://h/a?100%", "h"),
        ("http://h/a?b#fragment", "http://h/a?b", "h"),
        ("http://under_score:1/", "http://under_score:1/", "under_score:1"),
    ] {
        if uri.is_empty() {
            assert!(matches!(Target::parse(text), Target::Unparsable(_)), "{text}");
            continue;
        }
        let address = good(text);
        assert_eq!(address.uri().to_string(), uri);
        assert_eq!(address.host_header(), host);
        assert_eq!(address.authorization(), None);
        assert_eq!(unix_path_of(address.uri()), None);
    }
}

/// KB-CON-6: what is no URL at all is answered 500.
#[test]
fn unparsable_urls() {
    for text in [
        "word",
        "127.0.0.1:80/x",
        ":80/x",
        "http://h/%zz",
        "http://h/%4",
        "/%",
        "http://[::1/x",
        "http://[zz]/x",
        "http://[::1]x/",
        "http://h:port/",
        "http://us er@h/",
        "http://u%zz@h/",
        "http://h h/",
        "http://h%41/",
        "http://h/\u{1}",
        "http://h/\n",
        "unix:/a.sock:/%zz",
    ] {
        assert!(matches!(Target::parse(text), Target::Unparsable(_)), "{text:?}");
    }
}

/// KB-CON-6, KB-CFG-7: a URL without host or with another scheme is answered 502.
#[test]
fn unreachable_urls() {
    for text in [
        "http:/localhost:80/x",
        "http:localhost/x",
        "http:///x",
        "/x",
        "//host/x",
        "localhost:8080/x",
        "ftp://h/x",
        "mailto:a@b",
        "http://::1/x",
        "http://h:70000/",
        "http://h:0/",
        "http://b\u{fc}cher.example/",
        "http://[fe80::1%25eth0]/",
        "unix:",
        "unix::/x",
    ] {
        assert!(matches!(Target::parse(text), Target::Unreachable(_)), "{text:?}");
    }
    let long = format!("unix:/{}:/x", "a".repeat(107));
    assert!(matches!(Target::parse(&long), Target::Unreachable(_)));
    assert_eq!(
        Target::parse("http:/localhost:80/x"),
        Target::Unreachable("has no host; write http://HOST/PATH".into())
    );
}

/// 5.2: the client's query replaces the configured one, byte for byte.
#[test]
fn the_query_is_replaced() {
    let address = good("http://h/connect?configured=1");
    let with = |query| address.uri_with_query(query).unwrap().to_string();
    assert_eq!(with(Some("a=%2F&b={c|é}&d=?")), "http://h/connect?a=%2F&b={c|é}&d=?");
    assert_eq!(with(None), "http://h/connect");
    assert_eq!(with(Some("")), "http://h/connect");
    assert_eq!(address.uri().to_string(), "http://h/connect?configured=1");
    assert_eq!(address.uri_with_query(Some(&"q".repeat(65_534))), None);
    let socket = good("unix:/a.sock:/c?x").uri_with_query(Some("y")).unwrap();
    assert_eq!(socket.path_and_query().unwrap(), "/c?y");
    assert_eq!(unix_path_of(&socket), Some(PathBuf::from("/a.sock")));
}

/// Surface, section 3: `unix:/path.sock:/url/path`.
#[test]
fn unix_urls() {
    for (text, socket, path) in [
        ("unix:/run/app.sock:/url/path?q=1", "/run/app.sock", "/url/path?q=1"),
        ("unix:/run/app.sock", "/run/app.sock", "/"),
        ("unix:app.sock:/x", "app.sock", "/x"),
        ("unix:/run/a:b.sock:/x", "/run/a:b.sock", "/x"),
        ("unix:/run/\u{e9} #.sock:/x#f", "/run/\u{e9} #.sock", "/x"),
    ] {
        let address = good(text);
        assert_eq!(unix_path_of(address.uri()), Some(PathBuf::from(socket)), "{text}");
        assert_eq!(address.uri().path_and_query().unwrap(), path);
        assert_eq!(address.uri().scheme_str(), Some("http"));
        assert_eq!(address.host_header(), "localhost");
        let shown = text.split_once('?').map(|(before, _)| format!("{before}?****"));
        assert_eq!(address.to_string(), shown.unwrap_or_else(|| text.to_owned()));
    }
    for uri in ["http://zz.unix/", "http://2f6.unix/", "http://.unix/", "http://unix/", "/x"] {
        assert_eq!(uri.parse().ok().and_then(|uri: Uri| unix_path_of(&uri)), None, "{uri}");
    }
}

/// 5.2: credentials in the URL become a Basic `Authorization`.
#[test]
fn credentials_become_a_header() {
    for (text, credentials) in [
        ("http://user:pass@h/", "user:pass"),
        ("http://user@h/", "user:"),
        ("http://a%40b:p%3Aq%2F@h/", "a@b:p:q/"),
        ("http://a:b@c@h/", "a:b@c"),
    ] {
        let address = good(text);
        let expected = format!("Basic {}", STANDARD.encode(credentials));
        assert_eq!(address.authorization().unwrap(), &expected);
        assert_eq!(address.uri().to_string(), "http://h/");
        assert_eq!(address.host_header(), "h");
    }
}

/// Nothing shown to a person contains a secret.
#[test]
fn passwords_are_never_shown() {
    let target = Target::parse("http://user:secret@h:1/p?secret");
    assert_eq!(good("http://user:secret@h:1/p?secret").to_string(), "http://****@h:1/p?****");
    for text in [format!("{target:?}"), format!("{:?}", good("https://user:secret@h").uri)] {
        assert!(!text.contains("secret"), "{text}");
    }
    let header = good("http://user:secret@h").authorization;
    assert!(!format!("{header:?}").contains(&STANDARD.encode("user:secret")));
    for (text, shown) in [
        ("http://user:secret@h/p", "http://****@h/p"),
        ("http://user:sec/ret@h/p", "http://****@h/p"),
        ("http://user:sec?ret@h/p", "http://****@h/p"),
        ("http:/user:secret@h/p", "http:****@h/p"),
        ("user:secret@h", "user:****@h"),
        ("secret@h", "****@h"),
        ("http://h/users/@me", "http://h/users/@me"),
        ("http://h:80/@me", "http://h:80/@me"),
        ("unix:/run/a@b.sock:/x", "unix:/run/a@b.sock:/x"),
        ("word", "word"),
    ] {
        assert_eq!(masked(text), shown);
    }
}

//! The rules of `meant.rs`, one test each.

use super::super::written::File;
use super::super::{Loaded, load_file};
use super::*;
use crate::flags::Flags;

fn load_with(text: &str, flags: &Flags) -> Result<Loaded, ConfigError> {
    let environment = Environment::new([], Some("node".into()));
    load_file(Some(&File { name: "config.yml", text }), flags, &environment)
}

pub(super) fn config(text: &str) -> Config {
    load_with(text, &Flags::default()).unwrap().config
}

/// The error of a text, without what all of them begin with.
pub(super) fn error(text: &str) -> String {
    let error = load_with(text, &Flags::default()).err().unwrap().to_string();
    error.strip_prefix("load config error: ").unwrap().to_owned()
}

/// The warnings of a text, for a server with a token; that nobody decides who may connect is a test of its own.
pub(super) fn warnings(text: &str) -> Vec<(WarningKind, String)> {
    let loaded = load_with(&format!("api_token: t\n{text}"), &Flags::default()).unwrap();
    let others = loaded.warnings.iter().filter(|warning| warning.kind != WarningKind::NoConnect);
    others.map(|warning| (warning.kind, warning.to_string())).collect()
}

#[test]
fn a_gateway_without_connect_callback_is_warned_about() {
    let is_warned = |text| {
        let loaded = load_with(text, &Flags::default()).unwrap();
        loaded.warnings.iter().any(|warning| warning.kind == WarningKind::NoConnect)
    };
    assert!(is_warned("port: 1"));
    assert!(!is_warned("callback: {connect: http://h/x}"));
    // Hubs stand without a gateway; half a gateway is a mistake beside them, too.
    assert!(!is_warned("hubs: [{path: /a}]\ncallback: {timeout: 1s}"));
    assert!(is_warned("hubs: []"));
    assert!(!is_warned("upstream: http://h"));
    assert!(is_warned("upstream: http://h\ncallback: {receive: http://h/x}"));
    #[cfg(feature = "zmq")]
    assert!(!is_warned("bridges: [{token: t}]"));
    assert!(is_warned("hubs: [{path: /a}]\ncallback: {receive: http://h/x}"));
}

fn flags(port: Option<&str>, sock: Option<&str>) -> Flags {
    Flags { port: port.map(Into::into), sock: sock.map(Into::into), ..Flags::default() }
}

/// KB-CFG-4: 9180 whether or not an endpoint is set, and always a number.
#[test]
fn the_port_is_a_number() {
    assert_eq!(config("endpoint: e").listen, Listen::Tcp(9180));
    assert_eq!(config("port: 0").listen, Listen::Tcp(0));
    assert_eq!(config("port: \"65535\"").listen, Listen::Tcp(65535));
    for port in ["65536", "-1", "+1", "echo", "0x10", "1.5", "\" 80\""] {
        let error = error(&format!("endpoint: e\nport: {port}"));
        assert!(error.starts_with("config.yml:2: port: "), "{error}");
        assert!(error.ends_with("is no port; write a number from 0 to 65535"), "{error}");
    }
    let flag = load_with("", &flags(Some("http"), None)).err().unwrap();
    assert_eq!(
        flag.to_string(),
        "load config error: flag -port: port: \"http\" is no port; \
         write a number from 0 to 65535"
    );
}

/// KB-CFG-5: the host name, with the port that is really used from 1024 upwards.
#[test]
fn the_default_endpoint() {
    for (text, flag, endpoint) in [
        ("", None, "node:9180"),
        ("port: 1024", None, "node:1024"),
        ("port: 1023", None, "node"),
        ("port: 0", None, "node"),
        ("port: 80", Some("9000"), "node:9000"),
        ("endpoint: me:1", Some("9000"), "me:1"),
    ] {
        let loaded = load_with(text, &flags(flag, None)).unwrap();
        assert_eq!(loaded.config.endpoint, endpoint, "{text}");
        assert!(loaded.to_yaml().contains(&format!("\nendpoint: \"{endpoint}\"  # ")));
    }
    let nameless = Environment::new([], None);
    let error = load_file(None, &Flags::default(), &nameless).err().unwrap();
    assert_eq!(
        error.to_string(),
        "load config error: default: endpoint: the host name of this machine is unknown; \
         set the endpoint"
    );
}

/// KB-CLI-5: the socket wins over the port, which is warned about where it was written.
#[test]
fn a_socket_wins_over_a_port() {
    for (text, flags, warning) in [
        ("sock: /s", flags(None, None), None),
        ("", flags(None, Some("/s")), None),
        (
            "sock: /s\nport: 1",
            flags(None, None),
            Some("config.yml:2: port: ignored, as the socket \"/s\" is set (config.yml:1)"),
        ),
        (
            "sock: /s",
            flags(Some("1"), None),
            Some("flag -port: port: ignored, as the socket \"/s\" is set (config.yml:1)"),
        ),
        (
            "sock: /other\nport: 1",
            flags(None, Some("/s")),
            Some("config.yml:2: port: ignored, as the socket \"/s\" is set (flag -sock)"),
        ),
    ] {
        let loaded = load_with(text, &flags).unwrap();
        assert_eq!(loaded.config.listen, Listen::Unix("/s".into()), "{text}");
        let ignored = |warning: &&Warning| warning.kind == WarningKind::PortIgnored;
        let texts: Vec<String> =
            loaded.warnings.iter().filter(ignored).map(ToString::to_string).collect();
        assert_eq!(texts.first().map(String::as_str), warning);
        assert!(texts.len() <= 1, "{texts:?}");
    }
}

/// KB-NET-7: one warning about an API that everyone can reach.
#[test]
fn an_open_api_is_warned_about() {
    let open = |text| {
        let loaded = load_with(text, &Flags::default()).unwrap();
        loaded.warnings.iter().filter(|warning| warning.kind == WarningKind::OpenApi).count()
    };
    assert_eq!(open(""), 1);
    // Beside an upstream the public listener has none.
    for text in ["api_token: t", "api_listen: localhost:1", "sock: /s", "upstream: http://h"] {
        assert_eq!(open(text), 0, "{text}");
    }
}

/// Section 16: not the address of the clients once more.
#[test]
fn the_api_has_its_own_port() {
    let told = error("port: 9181\napi_listen: 127.0.0.1:9181");
    assert!(told.contains("\"127.0.0.1:9181\" has the public port already"), "{told}");
    assert!(config("port: 0\napi_listen: 127.0.0.1:0").api_listen.is_some());
    assert!(config("sock: /s\nport: 9181\napi_listen: 127.0.0.1:9181").api_listen.is_some());
}

/// What `ekbo config` shows in the place of a token is none.
#[test]
fn a_mask_is_no_token() {
    assert!(error("api_token: '****'").contains("write the token itself"));
}

/// Section 16: `host:port` or `unix:path`.
#[test]
fn api_listen_addresses() {
    let listens = |text: &str| config(&format!("api_listen: \"{text}\"")).api_listen;
    assert_eq!(listens(""), None);
    for address in ["127.0.0.1:9181", "localhost:0", "[::1]:9181", "my_host-1.lan:1"] {
        assert_eq!(listens(address), Some(ApiListen::Tcp(address.into())));
    }
    assert_eq!(listens("unix:/run/api"), Some(ApiListen::Unix("/run/api".into())));
    for (address, problem) in [
        ("9181", "has no port; write HOST:PORT or unix:/PATH.sock"),
        ("localhost", "has no port; write HOST:PORT or unix:/PATH.sock"),
        ("localhost:http", "has no port from 0 to 65535; write HOST:PORT or unix:/PATH.sock"),
        ("localhost:65536", "has no port from 0 to 65535; write HOST:PORT or unix:/PATH.sock"),
        (":9181", "has no host; write 0.0.0.0:PORT for all interfaces"),
        ("[x]:1", "has no IPv6 address between [ and ]"),
        ("::1:9181", "has no host name or address before the port; write IPv6 addresses in [ ]"),
        ("unix:", "has no socket path; write unix:/PATH.sock"),
    ] {
        let error = error(&format!("api_listen: \"{address}\""));
        assert_eq!(error, format!("config.yml:1: api_listen: {address:?} {problem}"));
    }
    assert!(error("sock: /s\napi_listen: unix:/s").ends_with("is the public socket already"));
}

/// Section 16: one token or several; their texts are never shown.
#[test]
fn api_tokens() {
    let tokens = config("api_token: [one, two]").api_token;
    assert!(tokens.len() == 2 && tokens[0].is(b"one") && tokens[1].is(b"two"));
    assert_eq!(format!("{tokens:?}"), "[****, ****]");
    for token in ["\"two words\"", "\"a\\n\"", "\"\u{fc}\""] {
        assert_eq!(
            error(&format!("api_token: {token}")),
            "config.yml:1: api_token: a token has a character other than visible ASCII; \
             use letters and digits"
        );
    }
}

/// KB-CFG-8: any two equal paths stop the start, and `/` for connect or stats.
#[test]
fn equal_paths_are_refused() {
    let slash = "\"/\" would take every path; write another, such as \"/connect/\"";
    for (text, problem) in [
        ("send: /close", "path.send: \"/close\" is path.close as well; give each its own"),
        ("connect: /send", "path.connect: \"/send\" is path.send as well; give each its own"),
        ("ping: /stats", "path.ping: \"/stats\" is path.stats as well; give each its own"),
        (
            "connect: /s/, sessions: /s",
            "path.sessions: \"/s\" is path.connect as well; give each its own",
        ),
        (
            "sessions: /a, channels: /a/",
            "path.channels: \"/a/\" is path.sessions as well; give each its own",
        ),
        (
            "connect: /a, subscribe: /a",
            "path.subscribe: \"/a\" is path.connect as well; give each its own",
        ),
        (
            "sessions: /",
            "path.sessions: \"/\" ends in /, below which each session is; write it without",
        ),
        ("send: /, close: /", "path.send: \"/\" is path.close as well; give each its own"),
        ("connect: /", &format!("path.connect: {slash}")),
        ("stats: /", &format!("path.stats: {slash}")),
    ] {
        assert_eq!(error(&format!("path: {{{text}}}")), format!("config.yml:1: {problem}"));
    }
    assert_eq!(config("path: {ping: /}").paths.ping, "/");
    assert_eq!(config("path: {connect: /socket.io/}").paths.connect, "/socket.io/");
    assert_eq!(config("path: {connect: /send/}").paths.connect, "/send/");
}

/// KB-CFG-8: a configuration for the original has no door less for those that were added since.
#[test]
fn added_doors_give_way() {
    let loaded = load_with("path:\n  connect: /subscribe\n  send: /sessions/", &Flags::default());
    let Loaded { config, warnings, .. } = loaded.unwrap();
    assert_eq!(config.paths.connect, "/subscribe");
    assert_eq!(config.paths.send, "/sessions/");
    assert_eq!([&config.paths.subscribe, &config.paths.sessions], ["", ""]);
    assert_eq!(config.paths.unsubscribe, "/unsubscribe");
    let said: Vec<String> = warnings
        .iter()
        .filter(|warning| warning.kind == WarningKind::DoorOff)
        .map(Warning::to_string)
        .collect();
    let problem = "would also be the default of path.subscribe, which is off; write another for it";
    assert_eq!(said[0], format!("config.yml:2: path.connect: \"/subscribe\" {problem}"));
    assert_eq!(said.len(), 2);
}

/// Surface, section 4: the doors of channels and sessions, where the file puts them.
#[test]
fn the_doors_of_channels_have_paths() {
    let paths = config("").paths;
    let of_channels =
        [&paths.publish, &paths.broadcast, &paths.subscribe, &paths.unsubscribe, &paths.channels];
    assert_eq!(of_channels, ["/publish", "/broadcast", "/subscribe", "/unsubscribe", "/channels"]);
    assert_eq!(paths.sessions, "/sessions");
    let moved = config("path: {publish: /1, subscribe: /2, sessions: /3/4}").paths;
    assert_eq!([&moved.publish, &moved.subscribe, &moved.sessions], ["/1", "/2", "/3/4"]);
}

/// Surface, section 2: certificate and key; one alone names the other.
#[test]
fn tls_wants_both_files() {
    assert_eq!(config("").tls, None);
    let files = TlsFiles { cert: "/c.pem".into(), key: "/k.pem".into() };
    assert_eq!(config("tls: {cert: /c.pem, key: /k.pem}").tls, Some(files));
    for (key, other) in [("tls.cert", "tls.key"), ("tls.key", "tls.cert")] {
        let name = key.trim_start_matches("tls.");
        assert_eq!(
            error(&format!("tls:\n  {name}: /x.pem")),
            format!("config.yml:2: {key}: is set, but {other} is not; set both or neither")
        );
    }
}

/// KB-CFG-8: a path that no client can ask for is accepted, but never matches.
#[test]
fn paths_that_never_match_are_warned_about() {
    for (written, reason, meant) in [
        ("send", "it does not begin with /", "/send"),
        ("/s?a", "a path ends before ? and #", "/s"),
        ("//s", "paths are compared without //, /./ and /../", "/s"),
    ] {
        let text = format!(
            "config.yml:2: path.send: {written:?} never matches, as {reason}; write {meant:?}"
        );
        let expected = [(WarningKind::PathNeverMatches, text)];
        assert_eq!(warnings(&format!("path: {{send: {written:?}}}")), expected);
    }
}

/// KB-CFG-7: URLs that cannot work are warnings; only a receive URL can stop the start.
#[test]
fn callback_urls_are_checked() {
    for name in ["connect", "establish", "receive", "close"] {
        let found = warnings(&format!("callback: {{{name}: \"http:/u:secret@h/x\"}}"));
        let text = format!(
            "config.yml:2: callback.{name}: \"http:****@h/x\" has no host; \
             write http://HOST/PATH"
        );
        assert_eq!(found, [(WarningKind::CallbackUrl, text)]);
    }
    for name in ["connect", "establish", "close"] {
        let found = warnings(&format!("callback: {{{name}: word}}"));
        assert_eq!(found[0].0, WarningKind::CallbackUrl);
        assert!(found[0].1.ends_with("\"word\" is no URL; write http://HOST/PATH"));
    }
    assert_eq!(
        error("callback: {receive: word}"),
        "config.yml:1: callback.receive: \"word\" is no URL; write http://HOST/PATH"
    );
    let callback = config("callback: {connect: word, establish: /x}").callback;
    assert!(matches!(callback.connect, Some(Target::Unparsable(_))));
    assert!(matches!(callback.establish, Some(Target::Unreachable(_))));
    assert_eq!((callback.receive, callback.close), (None, None));
}

/// 5.2: a query of the connect URL is never sent, that of the others is.
#[test]
fn a_connect_url_with_a_query_is_warned_about() {
    let found = warnings("callback: {connect: \"http://h/x?a\", close: \"http://h/x?a\"}");
    let text = "config.yml:2: callback.connect: \"http://h/x?a\" has a query that is never \
                sent, as the client's takes its place";
    assert_eq!(found, [(WarningKind::QueryDropped, text.into())]);
}

/// Surface, section 3: waits that grow from base to max.
#[test]
fn retries_have_a_pause() {
    let seconds = Duration::from_secs;
    let retry = Retry { base: seconds(1), max: seconds(60), age: seconds(86_400) };
    assert_eq!(config("").callback.retry, retry);
    let zero = error("callback: {retry: {base: 0}}");
    assert!(zero.starts_with("config.yml:1: callback.retry.base: 0 would repeat"), "{zero}");
    let short = error("callback: {retry: {max: 500ms}}");
    assert!(short.starts_with("config.yml:1: callback.retry.max: shorter than"), "{short}");
}

/// KB-CFG-1, KB-API-1: header names ignore case and have to be ones.
#[test]
fn header_names_are_checked() {
    assert_eq!(config("session_header: X-My-ID").session_header, "x-my-id");
    assert_eq!(
        error("session_header: \"X Y\""),
        "config.yml:1: session_header: \"X Y\" is no header name; use letters, digits and -"
    );
    for name in ["X-Kuiperbelt-Session", "X-Kuiperbelt-Session-Key", "x-kuiperbelt_session"] {
        assert_eq!(config(&format!("session_header: {name}")).session_header, name);
    }
    let protocol = OF_THE_PROTOCOL.into_iter().filter(|name| *name != "x-kuiperbelt-session");
    let others = ["X-Kuiperbelt_Channel", "Sec-WebSocket-Key", "Origin", "Idempotency-Key"];
    for name in protocol.chain(TAKEN_HEADERS).chain(others) {
        let error = error(&format!("session_header: {name}"));
        assert!(error.ends_with("has another meaning already; choose another name"), "{error}");
    }
}

/// KB-CFG-1: values that no header can carry are refused, without showing them.
#[test]
fn header_values_are_checked() {
    let set = config("proxy_set_header: {X-Foo: Foo, x-forwarded-for: \"\", X-Token: t}");
    let pairs: Vec<(&str, &[u8])> = set
        .proxy_set_header
        .iter()
        .map(|(name, value)| (name.as_str(), value.as_bytes()))
        .collect();
    assert_eq!(pairs, [("x-foo", &b"Foo"[..]), ("x-forwarded-for", b""), ("x-token", b"t")]);
    assert!(!format!("{set:?}").contains("\"t\""));
    assert_eq!(
        error("proxy_set_header: {X-Foo: \"a\\nb\"}"),
        "config.yml:1: proxy_set_header: the value of \"X-Foo\" has a line end or another \
         control character, which no header can carry; remove it"
    );
    let name = error("proxy_set_header: {\"X:\": a}");
    assert!(name.ends_with("\"X:\" is no header name; use letters, digits and -"), "{name}");
    let endpoint = error("endpoint: |\n  node\n");
    assert!(endpoint.contains("endpoint: \"node\\n\" has a line end"), "{endpoint}");
}

/// KB-CFG-3: the error of an unknown policy is the original's.
#[test]
fn origin_policies() {
    for (word, policy) in [
        ("none", OriginPolicy::None),
        ("same_origin", OriginPolicy::SameOrigin),
        ("same_hostname", OriginPolicy::SameHostname),
        ("\"\"", OriginPolicy::None),
    ] {
        assert_eq!(config(&format!("origin_policy: {word}")).origin_policy, policy);
    }
    assert_eq!(
        error("origin_policy: Same_Origin"),
        "config.yml:1: origin_policy is invalid. \
         availables: [same_origin, same_hostname, none] got: Same_Origin"
    );
}

/// Section 16: the choices of `invalid_text` and `duplicate_session`.
#[test]
fn choices() {
    for (word, choice) in [
        ("reject", InvalidTextPolicy::Reject),
        ("binary", InvalidTextPolicy::Binary),
        ("raw", InvalidTextPolicy::Raw),
    ] {
        assert_eq!(config(&format!("invalid_text: {word}")).invalid_text, choice);
    }
    for (word, choice) in [("keep", DuplicateSession::Keep), ("replace", DuplicateSession::Replace)]
    {
        assert_eq!(config(&format!("duplicate_session: {word}")).duplicate_session, choice);
    }
    for (word, choice) in [
        ("disconnect", SlowConsumer::Disconnect),
        ("drop_oldest", SlowConsumer::DropOldest),
        ("drop_newest", SlowConsumer::DropNewest),
    ] {
        assert_eq!(config(&format!("slow_consumer: {word}")).slow_consumer, choice);
    }
    assert_eq!(
        error("duplicate_session: drop"),
        "config.yml:1: duplicate_session: \"drop\" is none of the choices; \
         write one of keep, replace"
    );
}

/// Surface, section 2: who is not pinged is not expected to answer.
#[test]
fn pongs_want_pings() {
    let seconds = Duration::from_secs;
    let times = |text| {
        let config = config(text);
        (config.ping_interval, config.pong_timeout)
    };
    assert_eq!(times(""), (None, None));
    assert_eq!(times("ping_interval: 25s"), (Some(seconds(25)), None));
    let both = times("ping_interval: 25s\npong_timeout: 26s");
    assert_eq!(both, (Some(seconds(25)), Some(seconds(26))));
    let alone = error("pong_timeout: 60s");
    assert!(alone.starts_with("config.yml:1: pong_timeout: would end every client"), "{alone}");
    assert!(alone.ends_with("; set ping_interval as well, or write 0"), "{alone}");
    let short = error("ping_interval: 25s\npong_timeout: 25s");
    assert!(short.starts_with("config.yml:2: pong_timeout: is no longer than"), "{short}");
}

/// KB-CFG-2, section 16: 0 turns a duration off and a limit away; D11: an outbox holds at
/// least one message, KB-CFG-6: a queue none or more.
#[test]
fn zeros() {
    let config = config(
        "callback: {timeout: 0}\nsend_timeout: 0\nidle_timeout: 0\nwrite_timeout: 0\n\
         handshake_timeout: 0\nshutdown_timeout: 0\nmax_body_size: 0\nmax_message_size: 0\n\
         send_queue_size: 0\n",
    );
    let off = [
        config.callback.timeout,
        config.send_timeout,
        config.idle_timeout,
        config.write_timeout,
        config.handshake_timeout,
    ];
    assert_eq!(off, [None; 5]);
    assert_eq!(config.shutdown_timeout, Duration::ZERO);
    assert_eq!((config.max_body_size, config.max_message_size), (None, None));
    assert_eq!(config.send_queue_size, Some(0));
    for key in ["outbox.messages", "outbox.bytes", "channels.max", "channels.per_session"] {
        let (section, name) = key.split_once('.').unwrap();
        assert_eq!(
            error(&format!("{section}: {{{name}: 0}}")),
            format!("config.yml:1: {key}: 0 would hold nothing; write 1 or more")
        );
    }
    assert!(error("send_queue_size: -1").ends_with("-1 is negative; write 0 or more"));
    let bytes = error("outbox: {bytes: -1}");
    assert!(
        bytes.ends_with("\"-1\" is negative; write for example 16MiB, 512KiB or 100B"),
        "{bytes}"
    );
}

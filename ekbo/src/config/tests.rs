//! The rules of `config.rs`, one test each.

use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::*;

const EXAMPLE: &str = include_str!("../../../config.example.yml");

fn environment(variables: &[(&str, &str)]) -> Environment {
    let owned = |&(name, value): &(&str, &str)| (name.to_owned(), value.to_owned());
    Environment::new(variables.iter().map(owned), Some("node".into()))
}

fn load_text(text: &str) -> Loaded {
    let file = File { name: "config.yml", text };
    load_file(Some(&file), &Flags::default(), &environment(&[])).unwrap()
}

/// A directory that is gone when the test is over.
struct Directory(PathBuf);

impl Directory {
    fn new() -> Self {
        static NUMBER: AtomicUsize = AtomicUsize::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let name = format!("ekbo-config-{}-{number}", std::process::id());
        let path = std::env::temp_dir().join(name);
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn file(&self, name: &str) -> String {
        self.0.join(name).to_str().unwrap().to_owned()
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn with_file(name: &str) -> Flags {
    Flags { config: Some(name.into()), ..Flags::default() }
}

/// `config.example.yml` means exactly the defaults.
#[test]
fn the_example_file_means_the_defaults() {
    let example = load_text(EXAMPLE);
    let defaults = load_file(None, &Flags::default(), &environment(&[])).unwrap();
    assert_eq!(example.config, defaults.config);
    assert_eq!(example.warnings, defaults.warnings);
    let values = |loaded: &Loaded| -> Vec<String> {
        let yaml = loaded.to_yaml();
        yaml.lines().map(|line| line.split("  # ").next().unwrap_or("").to_owned()).collect()
    };
    assert_eq!(values(&example), values(&defaults));
}

/// `config.example.yml` names every key, once.
#[test]
fn the_example_file_names_every_key() {
    fn names(node: &yaml::Node, section: &str, found: &mut Vec<String>) {
        let yaml::Content::Map(pairs) = &node.content else {
            panic!("{section} is no map");
        };
        for (key, value) in pairs {
            let yaml::Content::Scalar(name) = &key.content else {
                panic!("a key of {section} is no word");
            };
            let name = format!("{section}{}", name.text);
            if key::is_section(key::KEYS, &name) {
                names(value, &format!("{name}."), found);
            } else {
                found.push(name);
            }
        }
    }
    let mut named = Vec::new();
    names(&yaml::parse(EXAMPLE).unwrap().unwrap(), "", &mut named);
    let mut known: Vec<&str> = key::KEYS.iter().map(|key| key.name).collect();
    known.sort_unstable();
    named.sort_unstable();
    assert_eq!(named, known);
}

/// Every key does something: another value makes another configuration.
#[test]
fn every_key_changes_the_configuration() {
    // Of these one alone would be refused.
    let base = "tls: {cert: /cert, key: /key}\nping_interval: 1s\n";
    let samples = [
        ("port", "1"),
        ("api_listen", "localhost:1"),
        ("api_token", "t"),
        // A base beyond the default max would be refused.
        ("callback.retry.base", "2s"),
        ("session_header", "X-Other"),
        ("proxy_set_header", "{X-Foo: Foo}"),
        ("origin_policy", "same_origin"),
        ("slow_consumer", "drop_oldest"),
        ("hubs", "[{path: /hub}]"),
        #[cfg(feature = "zmq")]
        ("bridges", "[{}]"),
        ("upstream", "http://h"),
        ("trusted_proxies", "10.0.0.0/8"),
        ("invalid_text", "raw"),
        ("duplicate_session", "replace"),
        ("close_frame", "false"),
    ];
    let defaults = load_text(base).config;
    let is_built_in = |key: &&key::Key| cfg!(feature = "zmq") || key.name != "bridges";
    for key in key::KEYS.iter().filter(is_built_in) {
        let sample = samples.iter().find(|(name, _)| *name == key.name);
        let value = match (sample, key.kind) {
            (Some((_, value)), _) => *value,
            (None, key::Kind::Text) => "/other",
            (None, key::Kind::Url) => "http://h/",
            (None, key::Kind::Duration) => "65s",
            (None, key::Kind::Count | key::Kind::Positive) => "7",
            (None, key::Kind::Size) => "7KiB",
            (None, key::Kind::Switch) => "true",
            (None, kind) => panic!("no sample for {} of kind {kind:?}", key.name),
        };
        let set = environment(&[(&key.variable(), value)]);
        let file = File { name: "config.yml", text: base };
        let config = load_file(Some(&file), &Flags::default(), &set).unwrap().config;
        assert_ne!(config, defaults, "{}", key.name);
    }
}

/// Every key of a hub does something.
#[test]
fn every_key_of_a_hub_changes_the_hub() {
    let samples = [("path", "/other"), ("codec", "msgpack"), ("allowed_origins", "https://h")];
    let hub = |text: &str| load_text(&format!("hubs: [{{path: /hub, {text}}}]")).config.hubs;
    let defaults = hub("");
    for key in key::HUB_KEYS {
        let sample = samples.iter().find(|(name, _)| *name == key.name);
        let value = match (sample, key.kind) {
            (Some((_, value)), _) => *value,
            (None, key::Kind::Text) => "text",
            (None, key::Kind::Positive) => "7",
            (None, key::Kind::Size) => "7KiB",
            (None, kind) => panic!("no sample for {} of kind {kind:?}", key.name),
        };
        assert_ne!(hub(&pair(key, value)), defaults, "{}", key.name);
    }
}

/// Every key of a bridge does something.
#[cfg(feature = "zmq")]
#[test]
fn every_key_of_a_bridge_changes_the_bridge() {
    let samples = [
        ("path", "/other"),
        ("request_endpoint", "tcp://h:1"),
        ("publish_endpoint", "ipc:///h"),
        ("payload_encoding", "raw"),
        ("routing", "newest"),
        ("client_count_notices", "false"),
        // Shorter than the time-out of pongs.
        ("ping_interval", "7s"),
        ("unavailable_code", "1001"),
        ("allowed_origins", "https://h"),
    ];
    let bridge = |text: &str| load_text(&format!("bridges: [{{{text}}}]")).config.bridges;
    let defaults = bridge("");
    for key in key::BRIDGE_KEYS {
        let sample = samples.iter().find(|(name, _)| *name == key.name);
        let value = match (sample, key.kind) {
            (Some((_, value)), _) => *value,
            (None, key::Kind::Text | key::Kind::AnyText | key::Kind::Texts) => "t",
            (None, key::Kind::Positive) => "7",
            (None, key::Kind::Size) => "7KiB",
            (None, key::Kind::Duration) => "65s",
            (None, key::Kind::Switch) => "true",
            (None, kind) => panic!("no sample for {} of kind {kind:?}", key.name),
        };
        assert_ne!(bridge(&pair(key, value)), defaults, "{}", key.name);
    }
}

/// Every key of the upstream does something.
#[test]
fn every_key_of_the_upstream_changes_it() {
    let upstream = |text: &str| load_text(&format!("upstream: {{url: http://h, {text}}}")).config;
    let defaults = upstream("").upstream;
    for key in key::UPSTREAM_KEYS {
        let value = if key.kind == key::Kind::Duration { "65s" } else { "http://other" };
        assert_ne!(upstream(&pair(key, value)).upstream, defaults, "{}", key.name);
    }
}

/// A key and its value, as they stand in a map.
fn pair(key: &key::Key, value: &str) -> String {
    match key.name.split_once('.') {
        Some((section, name)) => format!("{section}: {{{name}: {value}}}"),
        None => format!("{}: {value}", key.name),
    }
}

/// What stands in a comment of `config.example.yml` as the value of this key, with every key of its
/// own.
fn example_of(name: &str, keys: &[key::Key]) -> Loaded {
    let first = format!("#   {name}:");
    let lines = EXAMPLE.lines().skip_while(|line| *line != first);
    let lines = lines.map_while(|line| line.strip_prefix("#   "));
    let text: String = lines.map(|line| format!("{line}\n")).collect();
    for key in keys {
        let name = key.name.rsplit('.').next().unwrap();
        assert!(text.contains(&format!(" {name}: ")), "{name} is not in\n{text}");
    }
    let example = load_text(&text);
    assert!(example.warnings.iter().all(|w| w.kind != WarningKind::UnknownKey));
    example
}

/// The examples in comments of `config.example.yml` have the defaults, but for what is required.
#[test]
fn the_examples_in_comments_are_read() {
    let minimal = "hubs: [{path: /chat, secrets: {read_write: the secret of those who publish}}]";
    let hubs = example_of("hubs", key::HUB_KEYS).config.hubs;
    assert_eq!(hubs, load_text(minimal).config.hubs);
    let upstream = example_of("upstream", key::UPSTREAM_KEYS).config.upstream;
    assert_eq!(upstream, load_text("upstream: http://127.0.0.1:3000").config.upstream);
}

#[cfg(feature = "zmq")]
#[test]
fn the_example_of_a_bridge_is_read() {
    let bridges = example_of("bridges", key::BRIDGE_KEYS).config.bridges;
    let minimal = "bridges: [{token: the-token-of-those-who-send-commands}]";
    assert_eq!(bridges, load_text(minimal).config.bridges);
}

/// A secret need not stand in the file.
#[test]
fn the_secret_of_a_hub_from_the_environment() {
    let text =
        "hubs:\n  - path: /chat\n    secrets: {read_write: '{{ must_env \"CHAT_SECRET\" }}'}\n";
    let file = File { name: "config.yml", text };
    let secret = environment(&[("CHAT_SECRET", "from outside")]);
    let loaded = load_file(Some(&file), &Flags::default(), &secret).unwrap();
    assert!(loaded.warnings.iter().all(|w| w.kind != WarningKind::UnknownKey));
    let [hub] = &loaded.config.hubs[..] else { panic!("{:?}", loaded.config.hubs) };
    assert_eq!(hub.path, "/chat");
    assert!(hub.read_write.is(b"from outside"));
}

/// Line 1: a port from the template, durations and maps as written, defaults for the rest.
#[test]
fn a_file_of_the_original_is_read() {
    let text = "session_header: \"X-Kuiperbelt-Session-Key\"\n\
                port: {{ env \"TEST_PORT\" \"9180\" }}\n\
                callback:\n  connect: \"http://localhost:12346/connect\"\n  timeout: 5s\n\
                send_timeout: 1s\nsend_queue_size: 1\nendpoint: localhost\n\
                proxy_set_header:\n  X-Foo: \"Foo\"\n  X-Forwarded-For: \"\"\n";
    let file = File { name: "config.yml", text };
    let environment = environment(&[("TEST_PORT", "12345")]);
    let config = load_file(Some(&file), &Flags::default(), &environment).unwrap().config;
    assert_eq!(config.listen, Listen::Tcp(12345));
    assert_eq!(config.session_header, "x-kuiperbelt-session-key");
    assert_eq!(config.callback.timeout, Some(Duration::from_secs(5)));
    assert_eq!(config.send_timeout, Some(Duration::from_secs(1)));
    assert_eq!(config.send_queue_size, Some(1));
    assert_eq!(config.endpoint, "localhost");
    assert_eq!(config.proxy_set_header.len(), 2);
    assert_eq!(config.origin_policy, OriginPolicy::None);
    assert_eq!((config.callback.establish, config.callback.close), (None, None));
    assert_eq!(config.paths.connect, "/connect");
    assert!(!config.strict_broadcast);
}

/// D16: a file named with `-config` must exist.
#[test]
fn a_named_file_must_exist() {
    let directory = Directory::new();
    let missing = directory.file("missing.yml");
    let error = load(&with_file(&missing), &environment(&[])).err().unwrap().to_string();
    let start = format!("load config error: {missing}: cannot be read: No such file");
    assert!(error.starts_with(&start), "{error}");
    assert!(error.ends_with("; check -config"), "{error}");
    let folder = load(&with_file(directory.0.to_str().unwrap()), &environment(&[]));
    assert!(matches!(folder, Err(ConfigError::Unreadable { .. })));
    let empty = load(&with_file(""), &environment(&[])).err().unwrap().to_string();
    assert!(empty.starts_with("load config error: \"\": cannot be read"), "{empty}");
}

/// D16: without `-config` a missing `config.yml` means defaults and environment.
#[test]
fn no_file_means_defaults() {
    assert!(!Path::new(DEFAULT_FILE).exists(), "the tests run where no config.yml is");
    let loaded = load(&Flags::default(), &environment(&[("EKBO_PORT", "12345")])).unwrap();
    assert_eq!(loaded.config.listen, Listen::Tcp(12345));
}

#[test]
fn a_file_is_read_and_named_in_errors() {
    let directory = Directory::new();
    let name = directory.file("my.yml");
    let load = || load(&with_file(&name), &environment(&[]));
    fs::write(&name, "port: 7\n").unwrap();
    let loaded = load().unwrap();
    assert_eq!(loaded.config.listen, Listen::Tcp(7));
    assert!(loaded.to_yaml().contains(&format!("\nport: \"7\"  # file {name}:1\n")));
    fs::write(&name, "port: []\n").unwrap();
    let error = load().err().unwrap().to_string();
    assert_eq!(error, format!("load config error: {name}:1: port: expected text, found a list"));
    fs::write(&name, b"port: \xff\n").unwrap();
    let error = load().err().unwrap().to_string();
    assert!(error.contains("valid UTF-8"), "{error}");
}

/// KB-CLI-4: both flags are an error before any file is read.
#[test]
fn port_and_sock_flags_exclude_each_other() {
    let flags = |port: &str| Flags {
        port: Some(port.into()),
        sock: Some("/s".into()),
        ..with_file("/nowhere/at/all.yml")
    };
    let error = load(&flags("1"), &environment(&[])).err().unwrap();
    assert_eq!(error.to_string(), "port and sock option is duplicate. give only one of them");
    let unread = load(&flags(""), &environment(&[])).err().unwrap();
    assert!(matches!(unread, ConfigError::Unreadable { .. }));
}

/// KB-CLI-6, KB-CLI-7: flags that are accepted with a warning.
#[test]
fn flags_that_only_warn() {
    let flags = Flags {
        gops_addr: Some(":1".into()),
        unknown_log_level: Some("loud".into()),
        ..Flags::default()
    };
    let kinds = |flags: &Flags| -> Vec<WarningKind> {
        flag_warnings(flags).iter().map(|warning| warning.kind).collect()
    };
    assert_eq!(kinds(&flags), [WarningKind::GopsIgnored, WarningKind::UnknownLogLevel]);
    assert_eq!(kinds(&Flags { gops_addr: Some("".into()), ..Flags::default() }), []);
    let level = flag_warnings(&flags)[1].to_string();
    assert!(level.starts_with("flag -log-level: \"loud\" is no log level, info is used"));
}

/// D4: what `ekbo check` fails on.
#[test]
fn check_fails_on_mistakes_only() {
    let text = "prot: 1\npath: {send: send}\ncallback: {close: /x, connect: \"http://h?q\"}\n";
    let loaded = load_text(text);
    let kinds = |fails: bool| -> Vec<WarningKind> {
        let kinds = loaded.warnings.iter().map(|warning| warning.kind);
        kinds.filter(|kind| kind.fails_check() == fails).collect()
    };
    let mistakes =
        [WarningKind::UnknownKey, WarningKind::PathNeverMatches, WarningKind::CallbackUrl];
    assert_eq!(kinds(true), mistakes);
    assert_eq!(kinds(false), [WarningKind::QueryDropped, WarningKind::OpenApi]);
}

/// Nothing shown to a person contains a secret.
#[test]
fn the_debug_print_has_no_secrets() {
    let text = "api_token: hidden\ncallback: {connect: \"http://me:hidden@h/\"}\n\
                proxy_set_header: {Authorization: hidden}\n\
                hubs: [{path: /h, secrets: {read_only: hidden, read_write: hidden}}]\n";
    #[cfg(feature = "zmq")]
    let text = &format!("{text}bridges: [{{token: [hidden, hidden]}}]\n");
    let loaded = load_text(text);
    assert!(!format!("{:?}", loaded.config).contains("hidden"));
    assert!(!loaded.to_yaml().contains("hidden"));
}

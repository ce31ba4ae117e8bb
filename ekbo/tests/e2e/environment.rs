//! Keys of the configuration from the environment: their names and aliases, and who wins
//! against whom.

use super::harness::{Backend, Client, Ekbo, EkboPlan};

/// KB-CFG-9, KB-CFG-1: the names of the original's image, and the keys they stand for.
const ALIASES: [(&str, &str, &str); 21] = [
    ("EKBO_PORT", "port", "12345"),
    ("EKBO_UNIX_DOMAIN_SOCKET_FILENAME", "sock", "/run/ekbo.sock"),
    ("EKBO_CONNECT_PATH", "path.connect", "/a"),
    ("EKBO_CLOSE_PATH", "path.close", "/b"),
    ("EKBO_STATS_PATH", "path.stats", "/c"),
    ("EKBO_SEND_PATH", "path.send", "/d"),
    ("EKBO_PING_PATH", "path.ping", "/e"),
    ("EKBO_CONNECT_CALLBACK_URL", "callback.connect", "http://localhost/1"),
    ("EKBO_ESTABLISH_CALLBACK_URL", "callback.establish", "http://localhost/2"),
    ("EKBO_CLOSE_CALLBACK_URL", "callback.close", "http://localhost/3"),
    ("EKBO_RECEIVE_CALLBACK_URL", "callback.receive", "http://localhost/4"),
    ("EKBO_CALLBACK_TIMEOUT", "callback.timeout", "5s"),
    ("EKBO_SESSION_HEADER_NAME", "session_header", "X-Session"),
    ("EKBO_SELF_ENDPOINT_URL", "endpoint", "example.com:9180"),
    ("EKBO_STRICT_BROADCAST_MODE_SWITCH", "strict_broadcast", "true"),
    ("EKBO_PROXY_SET_HEADER", "proxy_set_header", r#"{"X-Foo": "Foo"}"#),
    ("EKBO_SEND_TIMEOUT", "send_timeout", "2s"),
    ("EKBO_SEND_QUEUE_SIZE", "send_queue_size", "3"),
    ("EKBO_ORIGIN_POLICY", "origin_policy", "same_origin"),
    ("EKBO_IDLE_TIMEOUT", "idle_timeout", "1m30s"),
    ("EKBO_SUPPRESS_ACCESS_LOG", "suppress_access_log", "true"),
];

/// KB-CFG-1, KB-CFG-9: every variable of the original's image sets its key without a file.
#[test]
fn the_names_of_the_image_work() {
    let plan = ALIASES
        .iter()
        .fold(Ekbo::command_line([]), |plan, (name, _, value)| plan.environment(name, *value));
    let effective = plan.effective();
    for (name, key, value) in ALIASES {
        assert_eq!(effective.value(key), value, "{name}");
        assert!(effective.source(key).contains(name), "{name}: {}", effective.source(key));
    }
}

/// KB-CFG-9: the values take effect, the map as well.
#[test]
fn a_server_runs_on_the_environment_alone() {
    let backend = Backend::admitting("alice").start();
    let ekbo = Ekbo::command_line([])
        .environment("EKBO_PORT", "0")
        .environment("EKBO_CONNECT_CALLBACK_URL", backend.url("/connect"))
        .environment("EKBO_PROXY_SET_HEADER", "{X-Foo: Foo, Cookie: ''}")
        .environment("EKBO_SELF_ENDPOINT_URL", "gateway.example:80")
        .start();
    let _alice = Client::to(&ekbo).header("Cookie", "a=b").connect();
    let connect = backend.wait_for_first("/connect");
    assert_eq!(connect.header("X-Foo"), Some("Foo"));
    assert_eq!(connect.header("Cookie"), None);
    assert_eq!(connect.header("X-Kuiperbelt-Endpoint"), Some("gateway.example:80"));
}

/// KB-CFG-9: the env-driven file of the image works unchanged, with its defaults.
#[test]
fn the_env_driven_file_works() {
    let backend = Backend::admitting("alice").start();
    let ekbo = Ekbo::configured(
        r#"
port: {{ env "EKBO_PORT" "9180" }}
sock: {{ env "EKBO_UNIX_DOMAIN_SOCKET_FILENAME" "" }}
path:
  connect: {{ env "EKBO_CONNECT_PATH" "/connect" }}
  ping: {{ env "EKBO_PING_PATH" "/ping" }}
callback:
  connect: {{ env "EKBO_CONNECT_CALLBACK_URL" "http://localhost:12346/connect" }}
  establish: {{ env "EKBO_ESTABLISH_CALLBACK_URL" "" }}
  timeout: {{ env "EKBO_CALLBACK_TIMEOUT" "0" }}
strict_broadcast: {{ env "EKBO_STRICT_BROADCAST_MODE_SWITCH" "false" }}
proxy_set_header: {{ env "EKBO_PROXY_SET_HEADER" "{}" }}
send_queue_size: {{ env "EKBO_SEND_QUEUE_SIZE" "0" }}
origin_policy: {{ env "EKBO_ORIGIN_POLICY" "none" }}
"#,
    )
    .environment("EKBO_PORT", "0")
    .environment("EKBO_CONNECT_PATH", "/socket")
    .environment("EKBO_CONNECT_CALLBACK_URL", backend.url("/connect"))
    .environment("EKBO_PROXY_SET_HEADER", "{X-Foo: Foo}")
    .start();
    let _alice = Client::to(&ekbo).path("/socket").connect();
    assert_eq!(backend.wait_for_first("/connect").header("X-Foo"), Some("Foo"));
}

/// KB-CFG-1: every key has a variable of its own name, too.
#[test]
fn every_key_is_a_variable() {
    let keys = [
        ("EKBO_CALLBACK_CONNECT", "callback.connect", "http://localhost/1"),
        ("EKBO_PATH_PING", "path.ping", "/alive"),
        ("EKBO_SESSION_HEADER", "session_header", "X-Session"),
        ("EKBO_ENDPOINT", "endpoint", "example.com"),
        ("EKBO_STRICT_BROADCAST", "strict_broadcast", "true"),
        ("EKBO_SOCK", "sock", "/run/ekbo.sock"),
        ("EKBO_API_LISTEN", "api_listen", "127.0.0.1:9181"),
        ("EKBO_FORWARD_SESSION_HEADER", "forward_session_header", "true"),
        ("EKBO_CLOSE_FRAME", "close_frame", "false"),
        ("EKBO_CLOSE_CALLBACK_ON_API_CLOSE", "close_callback_on_api_close", "true"),
        ("EKBO_DUPLICATE_SESSION", "duplicate_session", "replace"),
        ("EKBO_INVALID_TEXT", "invalid_text", "binary"),
        ("EKBO_WRITE_TIMEOUT", "write_timeout", "7s"),
        ("EKBO_SHUTDOWN_TIMEOUT", "shutdown_timeout", "8s"),
        ("EKBO_HANDSHAKE_TIMEOUT", "handshake_timeout", "9s"),
        ("EKBO_OUTBOX_MESSAGES", "outbox.messages", "77"),
        ("EKBO_CALLBACK_RETRY_BASE", "callback.retry.base", "3s"),
        ("EKBO_UPSTREAM_URL", "upstream.url", "http://application:3000"),
        ("EKBO_UPSTREAM_CONNECT_TIMEOUT", "upstream.connect_timeout", "4s"),
        ("EKBO_UPSTREAM_RESPONSE_TIMEOUT", "upstream.response_timeout", "6s"),
    ];
    let plan = keys
        .iter()
        .fold(Ekbo::command_line([]), |plan, (name, _, value)| plan.environment(name, *value));
    let effective = plan.effective();
    for (name, key, value) in keys {
        assert_eq!(effective.value(key), value, "{name}");
        assert!(effective.source(key).contains(name), "{name}: {}", effective.source(key));
    }
}

/// KB-CFG-9: flag before environment before file before default.
#[test]
fn flag_before_environment_before_file_before_default() {
    let all = Ekbo::configured("port: 2\n").environment("EKBO_PORT", "3").argument("-port=4");
    let effective = all.effective();
    assert_eq!(effective.value("port"), "4");
    assert!(effective.source("port").contains("-port"), "{}", effective.source("port"));

    let effective = Ekbo::configured("port: 2\n").environment("EKBO_PORT", "3").effective();
    assert_eq!(effective.value("port"), "3");
    assert!(effective.source("port").contains("EKBO_PORT"), "{}", effective.source("port"));

    let effective = Ekbo::configured("port: 2\n").effective();
    assert_eq!(effective.value("port"), "2");
    assert!(effective.source("port").contains("config.yml"), "{}", effective.source("port"));
    assert!(effective.source("endpoint").contains("default"), "{}", effective.source("endpoint"));
}

/// KB-CFG-9: two names of one key must not disagree; an empty variable is none.
#[test]
fn two_names_of_one_key_must_agree() {
    let plan = Ekbo::command_line(["-port=0"])
        .environment("EKBO_PATH_PING", "/one")
        .environment("EKBO_PING_PATH", "/two");
    let stderr = plan.fails_to_start(1);
    assert!(stderr.contains("EKBO_PATH_PING") && stderr.contains("EKBO_PING_PATH"), "{stderr}");

    for (one, other) in [("/same", "/same"), ("/same", ""), ("", "/same")] {
        let effective = Ekbo::command_line([])
            .environment("EKBO_PATH_PING", one)
            .environment("EKBO_PING_PATH", other)
            .effective();
        assert_eq!(effective.value("path.ping"), "/same");
    }
    let effective = Ekbo::configured("path: {ping: /file}\n").environment("EKBO_PATH_PING", "");
    assert_eq!(effective.effective().value("path.ping"), "/file");
}

/// KB-CFG-9: a wrong value is told with the name of the variable.
#[test]
fn a_wrong_value_is_told_with_its_variable() {
    for (name, value) in [
        ("EKBO_SEND_TIMEOUT", "10"),
        ("EKBO_SEND_QUEUE_SIZE", "many"),
        ("EKBO_STRICT_BROADCAST", "maybe"),
        ("EKBO_PROXY_SET_HEADER", "[a]"),
        ("EKBO_PORT", "echo"),
    ] {
        let stderr = Ekbo::command_line([]).environment(name, value).fails_to_start(1);
        assert!(stderr.contains("load config error") && stderr.contains(name), "{name}: {stderr}");
    }
}

/// Surface, head: a variable that only looks like ours is told of, and stops nothing.
#[test]
fn an_unknown_variable_is_told_of() {
    let plan = |plan: EkboPlan| plan.environment("EKBO_UPSTRAEM", "http://application");
    let warning = "environment: EKBO_UPSTRAEM is no variable of ours and sets nothing; did you \
                   mean EKBO_UPSTREAM?";
    let checked = plan(Ekbo::alone()).command("check").run();
    assert_eq!(checked.code, Some(0), "{checked:?}");
    assert!(checked.stderr.contains(warning), "{checked:?}");
    let ekbo = plan(Ekbo::alone()).start();
    assert_eq!(ekbo.wait_for_log(warning).message, warning);
}

/// Surface 1: secrets are masked in what `ekbo config` prints.
#[test]
fn config_masks_secrets() {
    let plan = Ekbo::configured("api_token: open-sesame\n").command("config");
    let finished = plan.environment("EKBO_CLOSE_CALLBACK_URL", "http://user:hush@localhost/").run();
    assert_eq!(finished.code, Some(0), "{finished:?}");
    let told = finished.stdout + &finished.stderr;
    assert!(told.contains("api_token"), "{told}");
    assert!(!told.contains("open-sesame"), "{told}");
    assert!(!told.contains("hush"), "{told}");
}

//! The configuration file: what YAML may look like, what each kind of value may be, and how a
//! wrong one is told. Templates are in `templates.rs`, the environment in `environment.rs`.

use std::fs;

use super::harness::{Backend, Client, Ekbo, EkboPlan, free_port};

/// 3, KB-CFG-1: a file that says nothing is as good as none.
#[test]
fn an_empty_file_means_all_defaults() {
    for text in ["", "# nothing\n", "---\n", "---\n...\n", "null\n", "~\n", "\u{feff}", "{}\n"] {
        let ekbo = Ekbo::configured(text).argument("-port=0").start();
        assert_eq!(ekbo.get("/ping").status, 200, "{text:?}");
    }
}

/// 3: a byte order mark and a leading `---` are skipped.
#[test]
fn a_byte_order_mark_is_skipped() {
    let ekbo = Ekbo::configured("\u{feff}---\nport: 0\npath: {ping: /alive}\n").start();
    assert_eq!(ekbo.get("/alive").status, 200);
}

/// 3: only the first document is looked at; the second may even be broken.
#[test]
fn only_the_first_document_counts() {
    let ekbo = Ekbo::configured("port: 0\n---\nport: [1, 2\n\t}: {\n").start();
    assert_eq!(ekbo.get("/ping").status, 200);
}

/// 3: the root has to be a map.
#[test]
fn a_root_that_is_no_map_is_fatal() {
    for text in ["- port\n- 0\n", "hello\n", "12\n"] {
        refusal(Ekbo::configured(text));
    }
}

/// 3: a file that is not YAML is told with its name and the line.
#[test]
fn broken_yaml_is_told_with_its_line() {
    let told = refusal(Ekbo::configured("port: 0\npath:\n  ping: /alive\n bad: [\n"));
    assert!(told.contains("config.yml"), "{told}");
    assert!(told.contains('4') || told.contains('5'), "{told}");
    assert!(Ekbo::configured([0x70, 0xff, 0xfe, 0x00]).run().code == Some(1));
}

/// 3: a file that cannot be read is fatal.
#[test]
fn an_unreadable_file_is_fatal() {
    let plan = Ekbo::command_line(["-config=directory"]);
    fs::create_dir(plan.directory().join("directory")).unwrap();
    let told = refusal(plan);
    assert!(told.contains("directory"), "{told}");
}

/// 3: of two equal keys the later wins, and the earlier must still have the right type.
#[test]
fn of_two_equal_keys_the_later_wins() {
    let twice = "port: 0\npath: {ping: /first}\npath: {ping: /second}\n";
    let ekbo = Ekbo::configured(twice).start();
    assert_eq!(ekbo.get("/second").status, 200);
    assert_eq!(ekbo.get("/first").status, 404);

    let told = refusal(Ekbo::configured("port: 0\nstrict_broadcast: 7\nstrict_broadcast: true\n"));
    assert!(told.contains("strict_broadcast"), "{told}");
}

/// 3: anchors, aliases and merge keys work.
#[test]
fn anchors_and_merge_keys_work() {
    let ekbo = Ekbo::configured(
        "port: 0\n\
         ping: &ping /alive\n\
         paths: &paths\n  send: /deliver\n  stats: /numbers\n\
         path:\n  <<: *paths\n  ping: *ping\n  stats: /figures\n",
    )
    .start();
    assert_eq!(ekbo.get("/alive").status, 200);
    assert_eq!(ekbo.get("/figures").status, 200);
    assert_eq!(ekbo.get("/numbers").status, 404);
    assert_eq!(ekbo.get("/deliver").status, 405);
}

/// D4: an unknown key is warned of with the nearest known one, and the server starts.
#[test]
fn an_unknown_key_is_warned_of() {
    let ekbo =
        Ekbo::configured("port: 0\nsend_timeuot: 1s\ncallback: {recieve: http://x/}\n").start();
    let told: Vec<String> = ekbo
        .log()
        .into_iter()
        .filter(|line| line.level == "warn")
        .map(|line| format!("{} {}", line.message, line.fields))
        .collect();
    for (wrong, nearest) in [("send_timeuot", "send_timeout"), ("recieve", "receive")] {
        let named = told.iter().any(|line| line.contains(wrong) && line.contains(nearest));
        assert!(named, "{wrong}: {told:?}");
    }
    assert_eq!(ekbo.get("/ping").status, 200);
}

/// D4: `ekbo check` takes unknown keys for errors.
#[test]
fn check_fails_on_unknown_keys() {
    let finished = Ekbo::configured("port: 0\nsend_timeuot: 1s\n").command("check").run();
    assert_eq!(finished.code, Some(1), "{finished:?}");
    let told = finished.stdout + &finished.stderr;
    assert!(told.contains("send_timeuot") && told.contains("send_timeout"), "{told}");
}

/// D4: `ekbo check` says yes to a good configuration, and listens nowhere.
#[test]
fn check_accepts_a_good_configuration() {
    let backend = Backend::admitting("alice").start();
    let finished = Ekbo::with(&backend).set("send_timeout", "1s").command("check").run();
    assert_eq!(finished.code, Some(0), "{finished:?}");
    assert!(!finished.stderr.contains("listen start"), "{finished:?}");
}

/// A secret that a variable of the template leaves empty opens the hub: that is said, before the
/// start and at it.
#[test]
fn an_open_hub_is_told() {
    let text = "port: 0\nhubs:\n- path: /chat\n  \
                secrets: {read_write: '{{ must_env \"CHAT_SECRET\" }}'}\n";
    let plan = |secret| Ekbo::configured(text).environment("CHAT_SECRET", secret);
    let problem = "config.yml:3: hubs[0].secrets.read_write: is empty, so the hub is open for \
                   publishing to everyone; write a secret";
    for (secret, is_told) in [("", true), ("s", false)] {
        let finished = plan(secret).command("check").run();
        assert_eq!(finished.code, Some(0), "{finished:?}");
        let told = finished.stdout + &finished.stderr;
        assert_eq!(told.contains(problem), is_told, "{told}");
    }
    assert_eq!(plan("").start().wait_for_log(problem).level, "warn");
}

/// Beside an upstream the backend API is on `api_listen` alone: a gateway without it is told.
#[test]
fn a_gateway_without_its_api_is_told() {
    let text = "callback: {connect: \"http://localhost/connect\"}\n\
                upstream: \"http://localhost:3000\"\n";
    let problem = "config.yml:1: callback.connect: is set, but beside an upstream the backend API \
                   is on api_listen alone, so nobody can send to the sessions; set api_listen";
    for (more, is_told) in [("", true), ("api_listen: \"localhost:0\"\n", false)] {
        let finished = Ekbo::configured(format!("{text}{more}")).command("check").run();
        assert_eq!(finished.code, Some(0), "{finished:?}");
        let told = finished.stdout + &finished.stderr;
        assert_eq!(told.contains(problem), is_told, "{told}");
    }
}

/// D4, KB-CFG-7, KB-CFG-8: `ekbo check` fails on what would stop the start, and on callback
/// URLs that can never work.
#[test]
fn check_fails_on_what_could_not_work() {
    for (text, key) in [
        ("callback: {close: \"http:/localhost/close\"}\n", "callback.close"),
        ("path: {send: /close}\n", "path."),
        ("send_timeout: 10\n", "send_timeout"),
        ("send_queue_size: -1\n", "send_queue_size"),
        ("strict_broadcast: maybe\n", "strict_broadcast"),
        ("upstream: http://localhost:9180\n", "upstream.url"),
    ] {
        let finished = Ekbo::configured(text).command("check").run();
        assert_eq!(finished.code, Some(1), "{text}: {finished:?}");
        let told = finished.stdout + &finished.stderr;
        assert!(told.contains(key), "{text}: {told}");
    }
}

/// 3, KB-CFG-1: a value of the wrong type is fatal and named with file and key.
#[test]
fn a_wrong_type_is_fatal() {
    for (text, key) in [
        ("port: [9180]\n", "port"),
        ("path: /connect\n", "path"),
        ("path: {connect: {a: b}}\n", "path.connect"),
        ("callback: [http://localhost/]\n", "callback"),
        ("proxy_set_header: Foo\n", "proxy_set_header"),
        ("send_timeout: soon\n", "send_timeout"),
        ("send_timeout: ''\n", "send_timeout"),
        ("send_queue_size: many\n", "send_queue_size"),
        ("send_queue_size: '2'\n", "send_queue_size"),
        ("send_queue_size: ''\n", "send_queue_size"),
        ("strict_broadcast: 'true'\n", "strict_broadcast"),
        ("strict_broadcast: 1\n", "strict_broadcast"),
        ("suppress_access_log: ''\n", "suppress_access_log"),
        ("suppress_access_log: tRuE\n", "suppress_access_log"),
    ] {
        let told = refusal(Ekbo::configured(text));
        assert!(told.contains("config.yml"), "{text}: {told}");
        assert!(told.contains(key), "{text}: {told}");
    }
}

/// KB-CFG-1: null leaves any key at its default, and so does an empty string for a string.
#[test]
fn null_and_empty_strings_are_not_set() {
    let plan = Ekbo::configured(
        "sock: ''\nendpoint: ~\nsession_header: \"\"\norigin_policy: ''\n\
         path: {ping: '', stats: null, send: ~, close: , connect: null}\n\
         callback: {connect: '', timeout: null}\n\
         send_timeout: ~\nsend_queue_size: null\nstrict_broadcast: null\n\
         proxy_set_header:\nidle_timeout:\nsuppress_access_log: ~\n",
    );
    let ekbo = plan.argument("-port=0").start();
    assert_eq!(ekbo.get("/ping").status, 200);
    assert_eq!(ekbo.get("/stats").status, 200);
    assert_eq!(ekbo.send(["nobody"], "").status, 200);
    assert_eq!(ekbo.close(["nobody"], "").status, 200);
    assert_eq!(Client::to(&ekbo).refused().status, 500);

    let effective = Ekbo::configured("path:\ncallback: ~\nport: ''\n").effective();
    assert_eq!(effective.value("port"), "9180");
    assert_eq!(effective.value("path.connect"), "/connect");
}

/// KB-CFG-1: numbers, booleans and dates stand for themselves where a string is wanted.
#[test]
fn a_scalar_for_a_string_is_taken_as_written() {
    for written in ["1.50", "0x10", "010", "1_000", "yes", "2021-11-05", "1e3", "~x", "off"] {
        let backend = Backend::admitting("alice").start();
        let ekbo = Ekbo::with(&backend)
            .set("endpoint", written)
            .set("proxy_set_header.X-Written", written)
            .start();
        let _alice = Client::connect(&ekbo);
        let connect = backend.wait_for_first("/connect");
        assert_eq!(connect.header("X-Kuiperbelt-Endpoint"), Some(written));
        assert_eq!(connect.header("X-Written"), Some(written));
    }
}

/// KB-CFG-1: `send_queue_size` is a YAML 1.1 integer, or a float cut off.
#[test]
fn the_queue_size_is_a_yaml_1_1_integer() {
    for (written, meant) in [("0x2", "2"), ("010", "8"), ("1_0", "10"), ("2.9", "2"), ("0", "0")] {
        let effective = Ekbo::alone().set("send_queue_size", written).effective();
        assert_eq!(effective.value("send_queue_size"), meant, "{written}");
    }
}

/// KB-CFG-1: booleans are the words of YAML 1.1, unquoted.
#[test]
fn booleans_are_the_words_of_yaml_1_1() {
    for (word, meant) in [("true", "true"), ("no", "false")]
        .into_iter()
        .chain(["True", "YES", "on", "On", "y", "Y"].map(|word| (word, "true")))
        .chain(["FALSE", "No", "off", "OFF", "n", "N"].map(|word| (word, "false")))
    {
        let plan = Ekbo::alone().set("strict_broadcast", word);
        let effective = plan.set("suppress_access_log", word).effective();
        assert_eq!(effective.value("strict_broadcast"), meant, "{word}");
        assert_eq!(effective.value("suppress_access_log"), meant, "{word}");
    }
}

/// KB-CFG-2: durations have Go's syntax, and a bare zero.
#[test]
fn durations_have_gos_syntax() {
    for written in
        ["1m30s", "1.5h", "250ms", "+3s", "100us", "100µs", "1000000ns", "0", "'0'", ".5s"]
    {
        let finished = Ekbo::alone().set("send_timeout", written).command("check").run();
        assert_eq!(finished.code, Some(0), "{written}: {finished:?}");
    }
    for written in ["1d", "1 s", "s", "1.5.5s", "'10'", "1s30"] {
        let told = refusal(Ekbo::alone().set("send_timeout", written));
        assert!(told.contains("send_timeout"), "{written}: {told}");
    }
}

/// D3, KB-CFG-2, Q26: a number without a unit is an error that suggests one.
#[test]
fn a_duration_without_a_unit_is_an_error() {
    for key in
        ["send_timeout", "callback.timeout", "idle_timeout", "write_timeout", "shutdown_timeout"]
    {
        let told = refusal(Ekbo::alone().set(key, "10"));
        assert!(told.contains(key) && told.contains("10s"), "{told}");
    }
    let told = refusal(Ekbo::alone().set("send_timeout", "1.5"));
    assert!(told.contains("send_timeout") && told.contains("1.5s"), "{told}");
}

/// KB-CFG-2: negative durations are refused.
#[test]
fn a_negative_duration_is_an_error() {
    for written in ["-1s", "-5ms", "'-1m'"] {
        let told = refusal(Ekbo::alone().set("idle_timeout", written));
        assert!(told.contains("idle_timeout"), "{told}");
    }
}

/// KB-CFG-3: an unknown origin policy is told with those there are.
#[test]
fn an_unknown_origin_policy_is_an_error() {
    let told = refusal(Ekbo::alone().set("origin_policy", "same"));
    let text = "origin_policy is invalid. availables: [same_origin, same_hostname, none] got: same";
    assert!(told.contains(text), "{told}");
}

/// KB-CFG-4, Q13: the default port is 9180, with an endpoint and without.
#[test]
fn the_default_port_is_9180() {
    for text in ["", "endpoint: example.com\n"] {
        assert_eq!(Ekbo::configured(text).effective().value("port"), "9180", "{text}");
    }
}

/// KB-CFG-4: a port is a number from 0 to 65535, with an endpoint and without.
#[test]
fn a_port_is_a_number() {
    for written in ["echo", "70000", "-1", "1.5", "'12 '"] {
        for plan in [Ekbo::alone(), Ekbo::alone().set("endpoint", "example.com")] {
            let told = refusal(plan.set("port", written));
            assert!(told.contains("port"), "{written}: {told}");
        }
    }
    let stderr = Ekbo::alone().argument("-port=echo").fails_to_start(1);
    assert!(stderr.contains("echo"), "{stderr}");
}

/// KB-CFG-5, Q13: the default endpoint is the host name with the port that is listened on,
/// whoever said which; ports below 1024 are left out.
#[test]
fn the_default_endpoint_is_host_name_and_port() {
    let host = fs::read_to_string("/proc/sys/kernel/hostname").unwrap();
    let host = host.trim();
    let backend = Backend::admitting("alice").start();
    let port = free_port();
    let ekbo = Ekbo::with(&backend).set("port", "80").argument(&format!("-port={port}")).start();
    let _alice = Client::connect(&ekbo);
    let connect = backend.wait_for_first("/connect");
    assert_eq!(connect.header("X-Kuiperbelt-Endpoint"), Some(&*format!("{host}:{port}")));

    for (port, endpoint) in [("1023", host.to_owned()), ("1024", format!("{host}:1024"))] {
        assert_eq!(Ekbo::alone().set("port", port).effective().value("endpoint"), endpoint);
    }
}

/// KB-CFG-6: a negative queue size is refused.
#[test]
fn a_negative_queue_size_is_an_error() {
    let told = refusal(Ekbo::alone().set("send_queue_size", "-1"));
    assert!(told.contains("send_queue_size"), "{told}");
}

/// KB-CFG-7: a callback URL without host, or with a strange scheme, is warned of at the start.
#[test]
fn a_strange_callback_url_is_warned_of() {
    for url in ["http:/localhost:12346/close", "/close", "ftp://localhost/close"] {
        let ekbo = Ekbo::alone().set("callback.close", url).start();
        let warned = ekbo.log().into_iter().any(|line| {
            let told = format!("{} {}", line.message, line.fields);
            line.level == "warn" && told.contains("callback.close")
        });
        assert!(warned, "{url}: {:?}", ekbo.log());
    }
}

/// KB-CFG-7: a receive URL that cannot be parsed at all stops the start.
#[test]
fn an_unparseable_receive_url_is_fatal() {
    let told = refusal(Ekbo::alone().set("callback.receive", "'http://[::1/receive'"));
    assert!(told.contains("callback.receive"), "{told}");
}

/// KB-CFG-8: two equal paths are refused, whichever two.
#[test]
fn equal_paths_are_an_error() {
    let names = ["connect", "close", "stats", "send", "ping"];
    for (number, first) in names.iter().enumerate() {
        for second in &names[number + 1..] {
            let plan = Ekbo::alone().set(&format!("path.{first}"), "/same");
            let told = refusal(plan.set(&format!("path.{second}"), "/same"));
            assert!(told.contains("/same"), "{told}");
            assert!(told.contains(first) && told.contains(second), "{told}");
        }
    }
    // Equal to a default is equal, too.
    let told = refusal(Ekbo::alone().set("path.send", "/close"));
    assert!(told.contains("path.send") && told.contains("path.close"), "{told}");
}

/// 16: `api_listen`, tokens and limits are checked before anything listens.
#[test]
fn wrong_new_keys_are_errors() {
    for (key, value) in [
        ("api_listen", "nowhere"),
        ("max_body_size", "-1"),
        ("max_message_size", "lots"),
        ("duplicate_session", "maybe"),
        ("invalid_text", "perhaps"),
        ("close_frame", "'true'"),
        ("forward_session_header", "2"),
        ("handshake_timeout", "30"),
        ("outbox.messages", "many"),
    ] {
        let told = refusal(Ekbo::alone().set(key, value));
        assert!(told.contains(key), "{key}: {told}");
    }
}

/// Line 1: a whole file with a template for the port is read as it is meant.
#[test]
fn a_whole_file_is_read_as_it_is_meant() {
    let effective = Ekbo::configured(
        "port: {{ env \"EKBO_PORT\" \"9180\" }}\n\
         session_header: X-Kuiperbelt-Session-Key\n\
         callback:\n  connect: http://localhost:12346/connect\n  timeout: 5s\n\
         send_timeout: 1s\nsend_queue_size: 1\nendpoint: localhost\n\
         proxy_set_header:\n  X-Foo: Foo\n  X-Forwarded-For: \"\"\n",
    )
    .environment("EKBO_PORT", "12345")
    .effective();
    for (key, value) in [
        ("port", "12345"),
        ("session_header", "X-Kuiperbelt-Session-Key"),
        ("callback.connect", "http://localhost:12346/connect"),
        ("callback.timeout", "5s"),
        ("send_timeout", "1s"),
        ("send_queue_size", "1"),
        ("endpoint", "localhost"),
        ("proxy_set_header", r#"{"X-Foo": "Foo", "X-Forwarded-For": ""}"#),
        ("path.connect", "/connect"),
        ("path.close", "/close"),
        ("path.stats", "/stats"),
        ("path.send", "/send"),
        ("path.ping", "/ping"),
        ("origin_policy", "none"),
        ("callback.establish", ""),
        ("callback.close", ""),
        ("strict_broadcast", "false"),
    ] {
        assert_eq!(effective.value(key), value, "{key}");
    }
}

/// Starts what must not start, and returns the one line that says why.
#[track_caller]
fn refusal(plan: EkboPlan) -> String {
    let stderr = plan.fails_to_start(1);
    let lines: Vec<&str> = stderr.lines().filter(|line| line.contains("\terror\t")).collect();
    assert!(lines.len() == 1 && lines[0].contains("load config error"), "{stderr}");
    lines[0].to_owned()
}

//! The rules of `written.rs`, one test each.

use super::*;

fn environment(variables: &[(&str, &str)]) -> Environment {
    let owned = |&(name, value): &(&str, &str)| (name.to_owned(), value.to_owned());
    Environment::new(variables.iter().map(owned), None)
}

fn gather(text: &str, variables: &[(&str, &str)]) -> Result<(Settings, Vec<String>), ConfigError> {
    let file = File { name: "config.yml", text };
    Settings::gather(Some(&file), &environment(variables), &Flags::default())
        .map(|(settings, warnings)| (settings, warnings.iter().map(ToString::to_string).collect()))
}

fn settings(text: &str) -> Settings {
    gather(text, &[]).unwrap().0
}

fn error(text: &str) -> String {
    gather(text, &[]).err().unwrap().to_string()
}

/// Section 3: an empty file means all defaults, of every key.
#[test]
fn an_empty_file_means_defaults() {
    for text in ["", "# nothing\n", "---\n", "null", "path:\ncallback: ~\n", "\u{feff}"] {
        let settings = settings(text);
        for key in KEYS {
            assert_eq!(settings.source(key.name), &Source::Default);
            let default = default_of(key).unwrap();
            assert_eq!(settings.setting(key.name).value, default, "{}", key.name);
        }
    }
}

/// KB-CFG-1: a null or empty text leaves the default, whatever stood there before.
#[test]
fn not_set_means_the_default() {
    let settings = settings("path: {connect: \"\", send: /x, send: ~}\nidle_timeout:\n");
    assert_eq!(settings.text("path.connect"), Some("/connect"));
    assert_eq!(settings.text("path.send"), Some("/send"));
    assert_eq!(settings.duration("idle_timeout"), Duration::ZERO);
}

/// Section 3: of two equal keys the later wins, but the earlier must have the right type.
#[test]
fn the_later_of_two_equal_keys_wins() {
    let settings = settings("port: 1\nport: 2\npath: {send: /a}\npath: {close: /b}\n");
    assert_eq!(settings.text("port"), Some("2"));
    assert_eq!(settings.text("path.send"), Some("/a"));
    assert_eq!(settings.text("path.close"), Some("/b"));
    let expected = "load config error: config.yml:1: idle_timeout: \"10\" has no unit; write 10s";
    assert_eq!(error("idle_timeout: 10\nidle_timeout: 10s\n"), expected);
}

#[test]
fn anchors_and_merge_keys_reach_the_settings() {
    let text = "callback: &urls\n  connect: http://a/\n  timeout: 1s\n\
                path: {<<: {send: /merged, close: /merged}, close: /own}\n";
    let settings = settings(text);
    assert_eq!(settings.text("callback.connect"), Some("http://a/"));
    assert_eq!(settings.text("path.send"), Some("/merged"));
    assert_eq!(settings.text("path.close"), Some("/own"));
}

/// Section 3: a wrong type stops the start, with file, line, key and remedy.
#[test]
fn a_wrong_type_names_file_line_and_key() {
    for (text, problem) in [
        ("\ncallback:\n  timeout: \"10\"\n", "3: callback.timeout: \"10\" has no unit; write 10s"),
        ("path: /x", "1: path: expected keys below it, found a single value"),
        ("port: 1\npath: [1]", "2: path: expected keys below it, found a list"),
        ("port: {a: b}", "1: port: expected text, found a map"),
        ("{[a]: b}", "1: a key must be a word, found a list"),
        ("- a", "1: expected keys and values such as `port: 9180`, found a list"),
        ("word", "1: expected keys and values such as `port: 9180`, found a single value"),
        (
            "a: 1\nb: {{ if }}",
            "2: \"if\" is not supported in a template here; \
          there are strings in quotes, |, env, must_env and json_escape",
        ),
    ] {
        assert_eq!(error(text), format!("load config error: config.yml:{problem}"));
    }
    assert!(error("a: [1\n").starts_with("load config error: config.yml:2: not valid YAML: "));
}

/// Errors and sources name the line of the file, not of what the template made of it.
#[test]
fn lines_survive_the_template() {
    let text = "# {{ env \"LINES\" }}\nidle_timeout: 10\n";
    let fault = gather(text, &[("LINES", "1\n#2\n#3")]).err().unwrap().to_string();
    assert!(fault.starts_with("load config error: config.yml:2: idle_timeout"), "{fault}");
}

/// D4: an unknown key is a warning that names the nearest key.
#[test]
fn an_unknown_key_is_a_warning() {
    let text = "prot: 1\ncallback:\n  timout: 1s\nhub: [{path: /x}]\ncallback.timeout: 1s\n";
    let (_, warnings) = gather(text, &[]).unwrap();
    assert_eq!(warnings[0], "config.yml:1: unknown key \"prot\"; did you mean port?");
    assert_eq!(
        warnings[1],
        "config.yml:3: unknown key \"callback.timout\"; did you mean callback.timeout?"
    );
    assert!(warnings[2].starts_with("config.yml:4: unknown key \"hub\"; did you mean hubs?"));
    assert_eq!(
        warnings[3],
        "config.yml:5: unknown key \"callback.timeout\"; \
         write \"callback: timeout\" with each part on a level of its own"
    );
    assert_eq!(warnings.len(), 4);
}

/// Surface, head: the environment beats the file; a variable set to nothing is not set.
#[test]
fn the_environment_beats_the_file() {
    let variables = [
        ("EKBO_PORT", "1"),
        ("EKBO_SEND_PATH", "/alias"),
        ("EKBO_PATH_CLOSE", "/own"),
        ("EKBO_IDLE_TIMEOUT", ""),
        ("EKBO_SEND_QUEUE_SIZE", "0x2"),
        ("EKBO_STRICT_BROADCAST_MODE_SWITCH", "yes"),
        ("EKBO_PROXY_SET_HEADER", "{X-Foo: Foo}"),
        ("EKBO_API_TOKEN", "[a, b]"),
        ("EKBO_ENDPOINT", "http://a: b # c"),
        ("EKBO_SOCK", "'/quoted'"),
    ];
    let text = "port: 2\npath: {send: /file}\nidle_timeout: 3s\n";
    let (settings, _) = gather(text, &variables).unwrap();
    assert_eq!(settings.text("port"), Some("1"));
    assert_eq!(settings.source("port"), &Source::Environment("EKBO_PORT".into()));
    assert_eq!(settings.text("path.send"), Some("/alias"));
    assert_eq!(settings.text("path.close"), Some("/own"));
    assert_eq!(settings.duration("idle_timeout"), Duration::from_secs(3));
    assert_eq!(settings.number("send_queue_size"), Some(2));
    assert!(settings.switch("strict_broadcast"));
    assert_eq!(settings.headers("proxy_set_header").len(), 1);
    assert_eq!(settings.texts("api_token"), ["a", "b"]);
    assert_eq!(settings.text("endpoint"), Some("http://a: b # c"));
    assert_eq!(settings.text("sock"), Some("/quoted"));
}

/// Surface, head: a key and its alias may both be set, but not differently.
#[test]
fn a_variable_and_its_alias_must_agree() {
    let set = |alias| {
        gather("", &[("EKBO_PATH_SEND", "/a"), ("EKBO_SEND_PATH", alias)])
            .map(|(settings, _)| settings.text("path.send").map(str::to_owned))
    };
    assert_eq!(set("/a").unwrap().as_deref(), Some("/a"));
    assert_eq!(set("").unwrap().as_deref(), Some("/a"));
    let conflict = set("/b").unwrap_err().to_string();
    assert_eq!(
        conflict,
        "load config error: environment: EKBO_PATH_SEND and EKBO_SEND_PATH both set path.send, \
         but differ; unset one of them"
    );
}

#[test]
fn an_error_in_the_environment_names_the_variable() {
    for (variable, text, problem) in [
        ("EKBO_CALLBACK_TIMEOUT", "10", "callback.timeout: \"10\" has no unit; write 10s"),
        ("EKBO_CLOSE_FRAME", "1", "close_frame: \"1\" is not true or false; write true or false"),
        ("EKBO_PROXY_SET_HEADER", "{a", "proxy_set_header: not valid YAML: "),
    ] {
        let error = gather("", &[(variable, text)]).err().unwrap().to_string();
        let start = format!("load config error: environment {variable}: {problem}");
        assert!(error.starts_with(&start), "{error}");
    }
}

/// KB-CLI-5: flags beat everything; an empty one is as good as none.
#[test]
fn flags_beat_the_environment() {
    let flags = Flags { port: Some("3".into()), sock: Some(String::new()), ..Flags::default() };
    let file = File { name: "config.yml", text: "port: 1\nsock: /file\n" };
    let environment = environment(&[("EKBO_PORT", "2")]);
    let (settings, _) = Settings::gather(Some(&file), &environment, &flags).unwrap();
    assert_eq!(settings.text("port"), Some("3"));
    assert_eq!(settings.source("port"), &Source::Flag("-port"));
    assert_eq!(settings.text("sock"), Some("/file"));
}

/// Surface, section 1: the effective configuration, each value with its source.
#[test]
fn the_print_names_sources_and_masks_secrets() {
    let text = "port: 1\ncallback:\n  connect: http://u:secret@a/\n  retry: {base: 2s}\n";
    let (settings, _) = gather(text, &[("EKBO_API_TOKEN", "secret")]).unwrap();
    let print = settings.to_yaml();
    for line in [
        "# path of a unix socket to listen on; the TCP port is then not opened",
        "port: \"1\"  # file config.yml:1",
        "sock: \"\"  # default",
        "api_token: [\"****\"]  # environment EKBO_API_TOKEN",
        "callback:",
        "  connect: \"http://****@a/\"  # file config.yml:3",
        "  retry:",
        "    base: 2s  # file config.yml:4",
        "    max: 1m  # default",
        "send_queue_size: null  # default",
        "max_body_size: 16MiB  # default",
    ] {
        assert!(print.lines().any(|printed| printed == line), "{line} is not in\n{print}");
    }
    assert!(!print.contains("secret@") && !print.contains("\"secret\""));
}

/// What `ekbo config` prints can be used as a file.
#[test]
fn the_print_reads_back() {
    let text = "port: 1\nsend_queue_size: 0\nproxy_set_header: {X-A: \"b: c\"}\n\
                idle_timeout: 90s\nmax_body_size: 1000\norigin_policy: same_origin\n\
                hubs: [{path: /a, allowed_origins: [\"null\", \"https://h\"]}, {path: /b}]\n";
    let original = settings(text);
    let (again, warnings) = gather(&original.to_yaml(), &[]).unwrap();
    assert_eq!(warnings, [""; 0]);
    for key in KEYS.iter().filter(|key| key.name != "hubs") {
        let (before, after) = (original.setting(key.name), again.setting(key.name));
        assert_eq!(before.value, after.value, "{}", key.name);
    }
    // These differ in where they were written.
    assert_eq!(original.lines(false), again.lines(false));
    assert_eq!(again.entries("hubs").len(), 2);
}

/// Surface, section 1: hubs are printed as they would be written, with one source for the list.
#[test]
fn the_print_of_hubs() {
    let text = "hubs:\n  - path: /chat\n    secrets: {read_write: hidden}\n  - path: /other\n";
    let print = settings(text).to_yaml();
    let entry = |path: &str, secret: &str| {
        format!(
            "  - path: \"{path}\"\n    codec: \"json\"\n    secrets:\n      read_only: \"\"\n      \
             read_write: \"{secret}\"\n    allowed_origins: [\"*\"]\n    \
             max_message_size: 1MiB\n    max_channels: 100000\n    max_subscriptions: 10000\n"
        )
    };
    let expected =
        format!("\nhubs:  # file config.yml:2\n{}{}", entry("/chat", "****"), entry("/other", ""));
    assert!(print.contains(&expected), "{expected} is not in\n{print}");
    assert!(!print.contains("hidden"));
    assert!(settings("").to_yaml().contains("\nhubs: []  # default\n"));
}

/// Surface, section 5: an upstream is printed as a map, however it was written.
#[test]
fn the_print_of_an_upstream() {
    for text in ["http://me:hidden@h", "{url: \"http://me:hidden@h\"}"] {
        let print = settings(&format!("upstream: {text}\n")).to_yaml();
        let lines: Vec<&str> = print
            .lines()
            .skip_while(|line| !line.starts_with("upstream:"))
            .filter(|line| !line.starts_with("  # "))
            .take(4)
            .collect();
        let expected = [
            "upstream:  # file config.yml:1",
            "  url: \"http://****@h\"  # file config.yml:1",
            "  connect_timeout: 5s  # default",
            "  response_timeout: 1m  # default",
        ];
        assert_eq!(lines, expected, "{print}");
        assert!(print.contains("\n  # longest wait for a connection to it; then 504\n"), "{print}");
        let masked = "upstream: {url: \"http://****@h\"}";
        assert_eq!(settings(&print).lines(false), settings(masked).lines(false));
    }
    assert!(settings("").to_yaml().contains("\nupstream: \"\"  # default\n"));
}

/// Surface, head: a URL, or YAML flow, each in the place of all that the file says.
#[test]
fn an_upstream_from_the_environment() {
    let set = |text| {
        let file = "upstream: {url: http://file, connect_timeout: 1s}";
        gather(file, &[("EKBO_UPSTREAM", text)])
    };
    for (text, url, timeout) in [
        ("http://h", "http://h", 5),
        ("'http://h'", "http://h", 5),
        ("{url: http://h, connect_timeout: 2s}", "http://h", 2),
        ("", "http://file", 1),
    ] {
        let (settings, _) = set(text).unwrap();
        let upstream = settings.entry("upstream").unwrap();
        assert_eq!(upstream.text("url"), Some(url), "{text}");
        assert_eq!(upstream.duration("connect_timeout").as_secs(), timeout, "{text}");
    }
    assert_eq!(
        set("{url: http://h, connect_timeout: 2}").err().unwrap().to_string(),
        "load config error: environment EKBO_UPSTREAM: upstream.connect_timeout: \"2\" has no \
         unit; write 2s"
    );
}

/// Surface, head: each key of an upstream is a variable as well, in the place of that key alone.
#[test]
fn the_keys_of_an_upstream_from_the_environment() {
    let file = "upstream: {url: http://file, connect_timeout: 1s}";
    let timeout = ("EKBO_UPSTREAM_CONNECT_TIMEOUT", "2s");
    for (file, variables, url, connect_timeout, response_timeout) in [
        (file, &[timeout][..], "http://file", 2, 60),
        (file, &[("EKBO_UPSTREAM_URL", "http://h"), timeout], "http://h", 2, 60),
        (
            file,
            &[("EKBO_UPSTREAM_URL", ""), ("EKBO_UPSTREAM_RESPONSE_TIMEOUT", "7s")],
            "http://file",
            1,
            7,
        ),
        (file, &[("EKBO_UPSTREAM", "http://h"), timeout], "http://h", 2, 60),
        (
            file,
            &[("EKBO_UPSTREAM", "{url: http://h, connect_timeout: 2000ms}"), timeout],
            "http://h",
            2,
            60,
        ),
        (
            "",
            &[("EKBO_UPSTREAM", "http://h"), ("EKBO_UPSTREAM_URL", "'http://h'")],
            "http://h",
            5,
            60,
        ),
        ("", &[("EKBO_UPSTREAM_URL", "unix:/s")], "unix:/s", 5, 60),
        ("upstream: {response_timeout: 8s}", &[("EKBO_UPSTREAM_URL", "unix:/s")], "unix:/s", 5, 8),
    ] {
        let (settings, warnings) = gather(file, variables).unwrap();
        let upstream = settings.entry("upstream").unwrap();
        let seconds = |name| upstream.duration(name).as_secs();
        assert_eq!(warnings, [""; 0]);
        assert_eq!(upstream.text("url"), Some(url), "{variables:?}");
        assert_eq!(seconds("connect_timeout"), connect_timeout, "{variables:?}");
        assert_eq!(seconds("response_timeout"), response_timeout, "{variables:?}");
    }
    let (settings, _) = gather(file, &[("EKBO_UPSTREAM_URL", "http://h")]).unwrap();
    let print = settings.to_yaml();
    for line in [
        "upstream:  # file config.yml:1",
        "  url: \"http://h\"  # environment EKBO_UPSTREAM_URL",
        "  connect_timeout: 1s  # file config.yml:1",
    ] {
        assert!(print.lines().any(|printed| printed == line), "{line} is not in\n{print}");
    }
    let (settings, _) = gather("", &[timeout]).unwrap();
    let variable = Source::Environment("EKBO_UPSTREAM_CONNECT_TIMEOUT".into());
    assert_eq!(settings.source("upstream"), &variable);
    assert_eq!(
        settings.entry("upstream").unwrap().fault("url", "is missing").to_string(),
        "load config error: environment EKBO_UPSTREAM_CONNECT_TIMEOUT: upstream.url: is missing"
    );
}

#[test]
fn mistakes_in_the_variables_of_an_upstream() {
    for (variables, problem) in [
        (
            &[("EKBO_UPSTREAM", "http://a"), ("EKBO_UPSTREAM_URL", "http://b")][..],
            "environment: EKBO_UPSTREAM and EKBO_UPSTREAM_URL both set upstream.url, but differ; \
             unset one of them",
        ),
        (
            &[
                ("EKBO_UPSTREAM", "{url: http://a, connect_timeout: 1s}"),
                ("EKBO_UPSTREAM_CONNECT_TIMEOUT", "2s"),
            ],
            "environment: EKBO_UPSTREAM and EKBO_UPSTREAM_CONNECT_TIMEOUT both set \
             upstream.connect_timeout, but differ; unset one of them",
        ),
        (
            &[("EKBO_UPSTREAM_CONNECT_TIMEOUT", "2")],
            "environment EKBO_UPSTREAM_CONNECT_TIMEOUT: upstream.connect_timeout: \"2\" has no \
             unit; write 2s",
        ),
        (
            &[("EKBO_UPSTREAM_URL", "'a\\'b'")],
            "environment EKBO_UPSTREAM_URL: upstream.url: not valid YAML: ",
        ),
    ] {
        let error = gather("", variables).err().unwrap().to_string();
        let start = format!("load config error: {problem}");
        assert!(error.starts_with(&start), "{error}");
    }
}

/// Surface, head: a variable that is called like ours may be a slip, or somebody else's.
#[test]
fn an_unknown_variable_is_a_warning() {
    let told = |file, name| gather(file, &[(name, "x")]).unwrap().1;
    let begins = |name| format!("environment: {name} is no variable of ours and sets nothing; ");
    for (name, remedy) in [
        ("EKBO_UPSTRAEM", "did you mean EKBO_UPSTREAM?"),
        ("EKBO_UPSTREAM_CONECT_TIMEOUT", "did you mean EKBO_UPSTREAM_CONNECT_TIMEOUT?"),
        ("EKBO_CONNECT_CALLBACK", "did you mean EKBO_CONNECT_CALLBACK_URL?"),
        ("EKBO_PROT", "did you mean EKBO_PORT?"),
        ("EKBO_port", "did you mean EKBO_PORT?"),
        ("EKBO_HUB", "did you mean EKBO_HUBS?"),
        ("EKBO_TRUSTED_PROXY", "did you mean EKBO_TRUSTED_PROXIES?"),
        ("EKBO_NIGHTLY_BENCHMARK", "`ekbo config` shows every key"),
        ("EKBO_", "`ekbo config` shows every key"),
    ] {
        assert_eq!(told("", name), [begins(name) + remedy]);
    }
    for name in ["EKBOX", "ekbo_port", "RUST_LOG"] {
        assert_eq!(told("", name), [""; 0], "{name}");
    }
    let template = "endpoint: '{{ env \"EKBO_NAME_OF_MINE\" }}'";
    assert_eq!(told(template, "EKBO_NAME_OF_MINE"), [""; 0]);
    assert_eq!(gather("", &[("EKBO_UPSTRAEM", "")]).unwrap().1, [""; 0]);
    let several = [("EKBO_PROT", "x"), ("EKBO_HUB", "x"), ("EKBO_PORT", "1")];
    let (_, warnings) = gather("", &several).unwrap();
    assert!(warnings[0].contains("EKBO_HUB ") && warnings[1].contains("EKBO_PROT "));
    assert_eq!(warnings.len(), 2);
    assert!(!WarningKind::UnknownVariable.fails_check());
}

/// A bridge is printed as it would be written, with what is off.
#[test]
fn the_print_of_bridges() {
    let text = "bridges:\n  - token: [hidden, hidden]\n    publish_endpoint: ''\n";
    let print = settings(text).to_yaml();
    for line in [
        "  - subprotocol: \"rbkit\"",
        "    publish_endpoint: \"\"",
        "    token: [\"****\", \"****\"]",
        "    client_queue:",
        "      bytes: 64MiB",
    ] {
        assert!(print.lines().any(|printed| printed == line), "{line} is not in\n{print}");
    }
    assert!(!print.contains("hidden"));
    assert_eq!(settings(&print).lines(false), settings(text).lines(false));
}

/// Surface, head: a list of maps in the environment is YAML flow, and takes the place of the
/// file's, also when it is empty.
#[test]
fn hubs_from_the_environment() {
    let file = "hubs: [{path: /file}, {path: /other}]";
    let set = |text| gather(file, &[("EKBO_HUBS", text)]);
    let paths = |text| -> Vec<String> {
        let (settings, _) = set(text).unwrap();
        let hubs = settings.entries("hubs").iter();
        hubs.map(|hub| hub.text("path").unwrap().to_owned()).collect()
    };
    assert_eq!(paths("[{path: /a}, {path: /b, secrets: {read_only: x}}]"), ["/a", "/b"]);
    assert_eq!(paths("[]"), [""; 0]);
    assert_eq!(paths(""), ["/file", "/other"]);
    assert_eq!(
        set("[{path: /a, max_channels: many}]").err().unwrap().to_string(),
        "load config error: environment EKBO_HUBS: hubs[0].max_channels: \"many\" is not a whole \
         number; write a whole number"
    );
    let (_, warnings) = set("[{path: /a, pth: /b}]").unwrap();
    let expected = "environment EKBO_HUBS: unknown key \"hubs[0].pth\"; did you mean hubs[0].path?";
    assert_eq!(warnings, [expected]);
}

//! The command line: how flags are spelled, what they mean, and the exit codes. What the
//! configuration file may hold is in `configuration.rs`.

use std::fs;
use std::net::TcpListener;

use super::harness::{Backend, Client, Ekbo, Listener, Signal, free_port};

/// Flags that every usage list has to name.
const FLAGS: [&str; 6] = ["-config", "-log-level", "-port", "-sock", "-gops-addr", "-version"];

/// KB-CLI-1: one or two dashes, and `=` or a new word before the value, are all the same.
#[test]
fn flags_have_four_spellings() {
    for words in [
        &["-config=other.yml"][..],
        &["-config", "other.yml"],
        &["--config=other.yml"],
        &["--config", "other.yml"],
    ] {
        let plan = words.iter().fold(Ekbo::command_line([]), |plan, word| plan.argument(word));
        plan.directory().write("other.yml", "port: 0\npath: {ping: /alive}\n");
        let ekbo = plan.start();
        assert_eq!(ekbo.get("/alive").status, 200, "{words:?}");
    }
}

/// KB-CLI-1: of a repeated flag the last one counts.
#[test]
fn the_last_of_a_repeated_flag_wins() {
    let plan = Ekbo::command_line(["-config=missing.yml", "--config", "other.yml", "-port=0"]);
    plan.directory().write("other.yml", "path: {ping: /alive}\n");
    assert_eq!(plan.start().get("/alive").status, 200);
}

/// KB-CLI-1: a boolean flag takes a value only behind `=`, in any of Go's spellings.
#[test]
fn a_boolean_flag_takes_its_value_behind_an_equals_sign() {
    for word in
        ["-version", "--version", "-version=1", "-version=t", "-version=TRUE", "-version=True"]
    {
        let finished = Ekbo::command_line([word]).run();
        assert_eq!(finished.code, Some(0), "{word}: {finished:?}");
        assert!(finished.stdout.starts_with("ekbo version: "), "{word}: {finished:?}");
    }
    for word in ["-version=false", "-version=0", "-version=f", "-version=F", "-version=False"] {
        let ekbo = Ekbo::command_line([word, "-port=0"]).start();
        assert_eq!(ekbo.stdout(), "", "{word}");
    }
}

/// KB-CLI-1, D12: what stands behind a lone `-` or `--` is ignored, and so are those two.
#[test]
fn words_behind_a_lone_dash_are_ignored() {
    for words in
        [["-port=0", "-", "-port=x"], ["-port=0", "--", "-unknown"], ["-port=0", "--", "chekc"]]
    {
        let ekbo = Ekbo::command_line(words).start();
        assert_eq!(ekbo.get("/ping").status, 200, "{words:?}");
    }
}

/// D12: a first word that is no command is an error that names the nearest command.
#[test]
fn an_unknown_command_is_answered_with_the_nearest_one() {
    for (word, nearest) in
        [("chekc", "check"), ("confg", "config"), ("dem", "demo"), ("srve", "serve")]
    {
        let stderr = Ekbo::command_line([word]).fails_to_start(2);
        assert!(stderr.contains(word), "{stderr}");
        assert!(stderr.contains(nearest), "{stderr}");
    }
}

/// D12: `ekbo serve` is `ekbo`, with the same flags behind it.
#[test]
fn serve_is_the_default_command() {
    let plan = Ekbo::command_line(["serve", "-config", "other.yml"]);
    plan.directory().write("other.yml", "port: 0\npath: {ping: /alive}\n");
    assert_eq!(plan.start().get("/alive").status, 200);
}

/// KB-CLI-2: the version is printed before anything else is looked at.
#[test]
fn the_version_comes_first() {
    let plans = [
        Ekbo::configured("{").argument("-version").argument("-port=1").argument("-sock=x"),
        Ekbo::command_line(["-version", "-config=missing.yml"]),
        Ekbo::command_line(["version"]),
    ];
    for plan in plans {
        let finished = plan.run();
        assert_eq!(finished.code, Some(0), "{finished:?}");
        let line = finished.stdout.strip_suffix('\n').unwrap();
        assert!(line.starts_with("ekbo version: ") && !line.contains('\n'), "{line}");
        assert_eq!(finished.stderr, "");
    }
}

/// KB-CLI-3: a wrong flag is told in Go's words, with the list of the flags and exit 2.
#[test]
fn a_wrong_flag_ends_with_the_usage_list() {
    for (words, message) in [
        (&["-x"][..], "flag provided but not defined: -x"),
        (&["--x=1"], "flag provided but not defined: -x"),
        (&["-config"], "flag needs an argument: -config"),
        (&["-port=0", "--sock"], "flag needs an argument: -sock"),
        (&["-=x"], "bad flag syntax: -=x"),
        (&["---x"], "bad flag syntax: ---x"),
        (&["-version=maybe"], r#"invalid boolean value "maybe" for -version: parse error"#),
    ] {
        let plan = words.iter().fold(Ekbo::command_line([]), |plan, word| plan.argument(word));
        let stderr = plan.fails_to_start(2);
        assert_eq!(stderr.lines().next(), Some(message), "{words:?}");
        for flag in FLAGS {
            assert!(stderr.contains(flag), "{words:?}: no {flag} in\n{stderr}");
        }
    }
}

/// KB-CLI-3: help is the usage list.
#[test]
fn help_names_every_flag() {
    for word in ["-h", "-help", "--help", "help"] {
        let finished = Ekbo::command_line([word]).run();
        assert_eq!(finished.code, Some(0), "{word}: {finished:?}");
        for flag in FLAGS {
            let told = finished.stdout.contains(flag) || finished.stderr.contains(flag);
            assert!(told, "{word}: no {flag} in {finished:?}");
        }
    }
}

/// KB-CLI-4, A-25: `-port` with `-sock` is refused before the file is read.
#[test]
fn port_and_sock_flags_exclude_each_other() {
    let plan = Ekbo::configured("{").argument("-port=9000").argument("-sock=ekbo.sock");
    let stderr = plan.fails_to_start(1);
    assert!(stderr.contains("port and sock option is duplicate."), "{stderr}");
    assert!(!stderr.contains("config.yml"), "{stderr}");
}

/// KB-CLI-4: an empty flag is as good as none.
#[test]
fn an_empty_sock_flag_is_none() {
    let ekbo = Ekbo::command_line(["-port=0", "-sock="]).start();
    assert_eq!(ekbo.get("/ping").status, 200);
}

/// KB-CLI-5: `-port` replaces the port of the file.
#[test]
fn the_port_flag_replaces_the_port_of_the_file() {
    let port = free_port();
    let ekbo = Ekbo::alone().argument("-port").argument(&port.to_string()).start();
    assert_eq!(ekbo.port(), port);
}

/// KB-CLI-5: `-sock` replaces the socket of the file, and the port.
#[test]
fn the_sock_flag_replaces_the_socket_of_the_file() {
    for file in ["port: 0\n", "port: 0\nsock: file.sock\n"] {
        let ekbo = Ekbo::configured(file).argument("-sock=flag.sock").start();
        assert_eq!(*ekbo.listener(), Listener::Socket(ekbo.directory.join("flag.sock")));
        assert!(!ekbo.directory.join("file.sock").exists());
        assert_eq!(ekbo.get("/ping").status, 200);
    }
}

/// KB-CLI-5: a socket in the file wins over `-port`, with a warning.
#[test]
fn a_socket_in_the_file_wins_over_the_port_flag() {
    let port = free_port();
    let plan = Ekbo::configured("sock: file.sock\n").argument(&format!("-port={port}"));
    let ekbo = plan.start();
    assert_eq!(*ekbo.listener(), Listener::Socket(ekbo.directory.join("file.sock")));
    // Nobody listens there.
    drop(TcpListener::bind(("127.0.0.1", port)).unwrap());
    let warned =
        ekbo.log().iter().any(|line| line.level == "warn" && line.message.contains("port"));
    assert!(warned, "{:?}", ekbo.log());
}

/// KB-CLI-5: with both in the file the socket wins.
#[test]
fn a_socket_in_the_file_wins_over_a_port_beside_it() {
    let port = free_port();
    let ekbo = Ekbo::configured(format!("port: {port}\nsock: file.sock\n")).start();
    assert_eq!(*ekbo.listener(), Listener::Socket(ekbo.directory.join("file.sock")));
    drop(TcpListener::bind(("127.0.0.1", port)).unwrap());
}

/// KB-CLI-6, Q14, F-13: the diagnostics flag gets one warning and opens nothing, and no
/// home directory is needed.
#[test]
fn there_is_no_diagnostics_port() {
    let plan = Ekbo::alone()
        .argument("-gops-addr=127.0.0.1:0")
        .environment("GOPS_CONFIG_DIR", "/proc/no/such/place")
        .environment("HOME", "/proc/no/such/place");
    let ekbo = plan.start();
    assert_eq!(listening_tcp_sockets(ekbo.process_id()), 1);
    let is_warning = |message: &str| message.contains("gops");
    let warnings = ekbo.log().iter().filter(|line| is_warning(&line.message)).count();
    assert_eq!(warnings, 1, "{:?}", ekbo.log());

    let ekbo = Ekbo::alone().start();
    assert_eq!(listening_tcp_sockets(ekbo.process_id()), 1);
    assert!(!ekbo.log().iter().any(|line| is_warning(&line.message)), "{:?}", ekbo.log());
}

/// KB-CLI-7, Q34: an unknown log level is warned of and means info.
#[test]
fn an_unknown_log_level_means_info() {
    let backend = Backend::admitting("alice").start();
    let ekbo = Ekbo::with(&backend).argument("-log-level=loud").start();
    let warning = ekbo
        .log()
        .into_iter()
        .find(|line| line.message.contains("loud") || line.fields.to_string().contains("loud"));
    assert_eq!(warning.unwrap().level, "warn");
    let _alice = Client::connect(&ekbo);
    ekbo.send(["alice"], "hello");
    ekbo.wait_for_log("access");
    assert!(ekbo.log().iter().all(|line| line.level != "debug"), "{:?}", ekbo.log());
}

/// D18: `-log-level` says from which level on events are logged.
#[test]
fn the_log_level_is_a_flag() {
    let backend = Backend::admitting("alice").start();
    let ekbo = Ekbo::with(&backend).argument("-log-level=debug").start();
    let _alice = Client::connect(&ekbo);
    ekbo.send(["alice"], "hello");
    ekbo.wait_for_log("access");
    assert!(ekbo.log().iter().any(|line| line.level == "debug"), "{:?}", ekbo.log());
}

/// D16: a file that `-config` names must be there.
#[test]
fn a_named_file_must_exist() {
    let stderr = Ekbo::command_line(["-config=missing.yml"]).fails_to_start(1);
    assert!(stderr.contains("load config error"), "{stderr}");
    assert!(stderr.contains("missing.yml"), "{stderr}");
}

/// D16: without `-config` the file is `config.yml`, and needs not be there.
#[test]
fn the_default_file_may_be_missing() {
    let ekbo = Ekbo::command_line(["-port=0"]).start();
    assert_eq!(ekbo.get("/ping").status, 200);

    let plan = Ekbo::command_line([]);
    plan.directory().write("config.yml", "port: 0\npath: {ping: /alive}\n");
    assert_eq!(plan.start().get("/alive").status, 200);
}

/// KB-NET-2: a busy port is told with its number, and ends the start with 1.
#[test]
fn a_busy_port_is_fatal() {
    let busy = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let port = busy.local_addr().unwrap().port().to_string();
    let stderr = Ekbo::alone().argument("-port").argument(&port).fails_to_start(1);
    assert!(stderr.contains("listen port error"), "{stderr}");
    assert!(stderr.contains(&port), "{stderr}");
}

/// KB-STP-1, KB-CLI-2: a graceful stop ends with 0, whichever of the two signals asks for it.
#[test]
fn a_graceful_stop_is_a_success() {
    for (signal, message) in [
        (Signal::Term, "received SIGTERM. shutting down..."),
        (Signal::Interrupt, "received SIGINT. shutting down..."),
    ] {
        let mut ekbo = Ekbo::alone().start();
        ekbo.signal(signal);
        assert_eq!(ekbo.wait_exit().code(), Some(0));
        ekbo.wait_for_log(message);
        assert_eq!(ekbo.stdout(), "");
    }
}

/// How many TCP sockets the process listens on.
fn listening_tcp_sockets(process: u32) -> usize {
    let mut inodes = Vec::new();
    for table in ["/proc/net/tcp", "/proc/net/tcp6"] {
        let Ok(table) = fs::read_to_string(table) else {
            continue;
        };
        for line in table.lines().skip(1) {
            let columns: Vec<&str> = line.split_whitespace().collect();
            // 0A is the state of a socket that listens.
            if columns[3] == "0A" {
                inodes.push(format!("socket:[{}]", columns[9]));
            }
        }
    }
    let open = fs::read_dir(format!("/proc/{process}/fd")).unwrap();
    let targets = open.filter_map(|file| file.and_then(|file| fs::read_link(file.path())).ok());
    targets.filter(|target| inodes.contains(&target.display().to_string())).count()
}

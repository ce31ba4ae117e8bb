//! How `rocket` is told what to do, and the logs in which it tells what it did.

use std::fs;
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt as _;

use chrono::{NaiveDateTime, TimeDelta, Utc};
use serde_json::json;

use super::super::harness::{Rocket, RocketPlan, Signal, Stopwatch, free_port};
use super::{OK, READ, UNSUBSCRIBE, auth, enter, open_hub, publish};

/// RK-CLI-1: the version wins over serving, whatever its value, and over what is wrong with the
/// rest.
#[test]
fn the_version_comes_first() {
    let version = format!("Rocket Server v.0.2.0 (kuiperbelt {})\n", env!("CARGO_PKG_VERSION"));
    for words in [
        &["-version"][..],
        &["--version"],
        &["-version=false"],
        &["-version=0", "missing.json"],
        &["-port", "1", "-version", "one.json", "two.json"],
    ] {
        let finished = command_line(words).run();
        assert_eq!(finished.code, Some(0), "{words:?}");
        assert_eq!((finished.stdout, finished.stderr), (version.clone(), String::new()));
    }
}

/// RK-CLI-1: one file; anything else ends with the usage on standard error and exit 2, but for
/// help.
#[test]
fn exactly_one_file_is_served() {
    for (words, message) in [
        (&[][..], "no configuration file is given"),
        (&["-port=0"], "no configuration file is given"),
        (&["a.json", "b.json"], "one configuration file is served, not 2"),
        (&["a.json", "-port=0"], "one configuration file is served, not 2"),
        (&["-prot=0", "a.json"], "flag provided but not defined: -prot"),
        (&["-port"], "flag needs an argument: -port"),
        (&["-port=many", "a.json"], "invalid value \"many\" for flag -port"),
        (&["---port=0"], "bad flag syntax: ---port=0"),
    ] {
        let stderr = command_line(words).fails_to_start(2);
        assert!(stderr.starts_with(message), "{words:?}: {stderr}");
        assert!(stderr.contains("Usage: rocket [FLAGS] CONFIG.json"), "{words:?}: {stderr}");
    }
    for word in ["-h", "-help", "--help"] {
        let finished = command_line(&[word]).run();
        assert_eq!((finished.code, finished.stdout.as_str()), (Some(0), ""), "{word}");
        for flag in ["-host", "-port", "-tls-cert", "-tls-key", "-log", "-version"] {
            assert!(finished.stderr.contains(flag), "{word}: no {flag} in {}", finished.stderr);
        }
    }
}

/// RK-CLI-2: a flag that is given counts more than the file; one that is not, does not.
#[test]
fn flags_override_the_file() {
    let [of_file, of_flag] = [free_port(), free_port()];
    let text = json!({"Host": "127.0.0.1", "Port": of_file, "Hubs": [open_hub("/hub")]});
    let rocket = Rocket::configured(text.to_string()).start();
    assert_eq!(rocket.port(), of_file);
    drop(rocket);

    let plan = Rocket::configured(text.to_string()).flag(&format!("-port={of_flag}"));
    let rocket = plan.start();
    assert_eq!(rocket.port(), of_flag);
    assert!(TcpStream::connect(("127.0.0.1", of_file)).is_err());
    drop(rocket);

    // Also with its default.
    let text = json!({"Host": "no such host", "Port": 0});
    Rocket::configured(text.to_string()).flag("-host=localhost").start();
    let stderr = Rocket::configured(text.to_string()).flag("-port=0").fails_to_start(1);
    assert!(stderr.contains("listen error: no such host:0: "), "{stderr}");

    let text = json!({"Port": 0, "Log": "of-file.log", "Hubs": [open_hub("/hub")]});
    let plan = Rocket::configured(text.to_string()).flag("-log=of-flag.log");
    let rocket = plan.start();
    assert!(rocket.log_file("of-flag.log").contains("Registered handler: /hub"));
    assert!(!rocket.directory.join("of-file.log").exists());
}

/// RK-CFG-2, R14: without `Host` it is localhost, not every address; an empty one is every address.
#[test]
fn localhost_unless_told_otherwise() {
    let rocket = Rocket::configured(r#"{"Port":0}"#).start();
    assert!(rocket.stderr().contains("About to listen on 127.0.0.1:"), "{}", rocket.stderr());
    assert!(!rocket.stderr().contains("0.0.0.0") && !rocket.stderr().contains("[::]:"));
    for text in [r#"{"Host":"","Port":0}"#, r#"{"host":"0.0.0.0","port":0}"#] {
        let rocket = Rocket::configured(text).start();
        let told = rocket.stderr();
        assert!(told.contains("on [::]:") || told.contains("on 0.0.0.0:"), "{told}");
    }
}

/// RK-CFG-1, RK-CFG-3: names in any case, unknown ones with a word about them.
#[test]
fn a_lenient_file() {
    let text = r#"{"PORT": 0, "Comment": "mine", "hUBS": [
        {"path": "/hub", "CODEC": "JSON", "secrets": {"readwrite": "w"}, "Logg": "x"}]}"#;
    let rocket = Rocket::configured(text).start();
    let told = rocket.stderr();
    assert!(told.contains("Comment in the configuration is unknown and ignored\n"), "{told}");
    assert!(
        told.contains("Hubs[0].Logg in the configuration is unknown and ignored; did you mean")
    );
    enter(&rocket, "/hub").says(auth("read-write", "w")).hears(OK);
}

/// RK-CFG-1, RK-CFG-3, RK-CFG-4, RK-CFG-5, R15: what cannot be served ends with 1 and a line that
/// says why.
#[test]
fn files_that_cannot_be_served() {
    for (text, message) in [
        ("", "Config parsing error: rocket.json:1:0: "),
        ("{\n\"Port\": 0,\n}", "Config parsing error: rocket.json:3:1: "),
        (r#"{"Port": "0"}"#, "Config parsing error: rocket.json:1:13: Port must be a whole number"),
        (r#"{"Hubs": {}}"#, "Config parsing error: rocket.json:1:12: Hubs must be an array"),
        (r#"{"Host": "localhost:80"}"#, "Config parsing error: rocket.json: Host \"localhost:80\""),
        (r#"{"Hubs": [{"Path": "/a", "Codec": "MsgPack"}]}"#, "Invalid handler type: MsgPack\n"),
        (r#"{"Hubs": [{"Path": "a"}]}"#, "Config parsing error: rocket.json: Hubs[0]: "),
        (
            r#"{"Hubs": [{"Path": "/a"}, {"Path": "/a"}]}"#,
            "Config parsing error: rocket.json: Hubs[1]: an earlier hub has the Path \"/a\"",
        ),
        (r#"{"TLSCertFile": "c.pem"}"#, "TLS error: TLSCertFile is given without TLSKeyFile"),
        (r#"{"TLSKeyFile": "k.pem"}"#, "TLS error: TLSKeyFile is given without TLSCertFile"),
        (r#"{"Log": "/no/such/directory/x"}"#, "Log file error: /no/such/directory/x: "),
        (
            r#"{"Hubs": [{"Path": "/a", "Log": "/no/such/directory/x"}]}"#,
            "Log file error: /no/such/directory/x: ",
        ),
    ] {
        let stderr = Rocket::configured(text).fails_to_start(1);
        assert!(stderr.starts_with(message), "{text}: {stderr}");
        assert_eq!(stderr.lines().count(), 1, "{text}: {stderr}");
    }
    let stderr = Rocket::command_line(["missing.json"]).fails_to_start(1);
    assert!(stderr.starts_with("Config reading error: missing.json: "), "{stderr}");
}

/// Section 5: a port that is taken ends the start, and says so where it can be seen.
#[test]
fn a_busy_port() {
    let busy = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let port = busy.local_addr().unwrap().port();
    let text = json!({"Host": "127.0.0.1", "Port": port, "Log": "server.log"}).to_string();
    let message = format!("listen error: 127.0.0.1:{port}: ");
    let finished = Rocket::configured(text).run();
    assert_eq!(finished.code, Some(1));
    assert!(finished.stderr.starts_with(&message), "{}", finished.stderr);
    let logged = fs::read_to_string(finished.directory.join("server.log")).unwrap();
    assert!(logged.contains(&format!(" Error: {message}")), "{logged}");
}

/// RK-LOG: the server's log and each hub's, in files of their own that are appended to.
#[test]
fn logs_of_server_and_hubs() {
    let text = json!({"Port": 0, "Log": "server.log", "Hubs": [
        {"Path": "/hub", "Log": "hub.log", "Secrets": {"ReadOnly": "r"}},
        {"Path": "/other", "Log": "shared.log"},
        {"Path": "/third", "Log": "shared.log"},
    ]});
    let plan = Rocket::configured(text.to_string());
    plan.directory().write("hub.log", "of yesterday\n");
    let mut rocket = plan.start();
    let mut client = enter(&rocket, "/hub");
    client.says(auth("read-only", "wrong")).hears(super::INVALID_CREDENTIALS);
    client.says(auth("read-only", "r")).hears(OK);
    client.says(super::SUBSCRIBE).hears(OK);
    client.says(super::WRITE).hears(OK);
    client
        .says(publish("what nobody is to read"))
        .hears(super::broadcast("what nobody is to read"));
    client.hears(OK);
    client.says(UNSUBSCRIBE).hears(OK);
    client.says(r#"{"logout":true}"#).hears(OK);
    client.says(r#"{"disconnect":true}"#).hears(OK).expect_farewell(1000, "");
    enter(&rocket, "/other");
    enter(&rocket, "/third");
    let of = |name: &'static str| move |rocket: &Rocket| rocket.log_file(name);
    rocket.wait_for_line(of("hub.log"), " Disconnected");
    rocket.wait_for_line(of("shared.log"), " Connected");
    rocket.signal(Signal::Term);
    assert_eq!(rocket.wait_exit().code(), Some(0));

    let hub = rocket.log_file("hub.log");
    let hub = hub.strip_prefix("of yesterday\n").unwrap();
    assert_eq!(
        texts("/hub : ", hub),
        [
            "Connected",
            "Authentication failed",
            "Authenticated (read-only access)",
            "Subscribed: hello",
            "Authenticated (read-write access)",
            "[=> hello] Broadcasted",
            "Unsubscribed: hello",
            "Logged out",
            "Disconnected",
        ]
    );
    let server = rocket.log_file("server.log");
    let server = texts("S : ", &server);
    for path in ["/hub", "/other", "/third"] {
        assert!(server.contains(&format!("Registered handler: {path}").as_str()), "{server:?}");
    }
    let listens = format!("About to listen on 127.0.0.1:{}", rocket.port());
    assert!(server.contains(&listens.as_str()), "{server:?}");
    let shared = rocket.log_file("shared.log");
    for path in ["/other", "/third"] {
        let of_hub: String = shared.split_inclusive('\n').filter(|l| l.starts_with(path)).collect();
        assert_eq!(texts(&format!("{path} : "), &of_hub), ["Connected", "Disconnected"]);
    }
    assert_eq!(rocket.stderr(), "");
}

/// Section 5: log files are made for everybody to read and write, as far as the umask has it, and
/// times are local.
#[test]
fn files_and_times_are_those_of_the_place() {
    let text = json!({"Port": 0, "Hubs": [{"Path": "/hub", "Log": "hub.log"}]}).to_string();
    let plan = Rocket::configured(text).environment("TZ", "XXX-14");
    let rocket = plan.start();
    let made = fs::metadata(rocket.directory.join("hub.log")).unwrap();
    let mask = fs::read_to_string("/proc/self/status").unwrap();
    let mask = mask.lines().find_map(|line| line.strip_prefix("Umask:\t")).unwrap();
    let mask = u32::from_str_radix(mask, 8).unwrap();
    assert_eq!(made.permissions().mode() & 0o777, 0o666 & !mask);

    enter(&rocket, "/hub");
    let line = rocket.wait_for_line(|rocket| rocket.log_file("hub.log"), " Connected");
    let time = &line["/hub : ".len()..][..19];
    let time = NaiveDateTime::parse_from_str(time, "%Y/%m/%d %H:%M:%S").unwrap();
    let ahead = time - Utc::now().naive_utc();
    assert_eq!((ahead + TimeDelta::minutes(30)).num_hours(), 14, "{line}");
}

/// RK-LOG: what clients choose cannot begin a line of the log.
#[test]
fn names_forge_no_lines() {
    let rocket = Rocket::with(&json!([open_hub("/hub")])).start();
    let mut client = enter(&rocket, "/hub");
    client.says(READ).hears(OK);
    for name in ["a\nS : 2011/11/11 11:11:11 forged", "b\r\u{1b}[2K", "c\u{2028}d\u{202e}e"] {
        client.says(json!({"subscribe": {"channel": name}}).to_string()).hears(OK);
    }
    rocket.wait_for_line(Rocket::stderr, " Subscribed: a\\nS : 2011/11/11 11:11:11 forged");
    rocket.wait_for_line(Rocket::stderr, " Subscribed: b\\r\\u{1b}[2K");
    rocket.wait_for_line(Rocket::stderr, " Subscribed: c\\u{2028}d\\u{202e}e");
}

/// RK-LOG: a client that does much does not fill the disk: it has so many lines a second, and the
/// names in them are cut.
#[test]
fn a_log_is_bounded() {
    const ROUNDS: usize = 2_000;
    let rocket = Rocket::with(&json!([{"Path": "/hub", "Log": "hub.log"}])).start();
    let mut client = enter(&rocket, "/hub");
    client.says(READ).hears(OK);
    let name = "x".repeat(512);
    let payload = json!({"channel": name});
    let since_start = Stopwatch::start();
    for _ in 0..ROUNDS {
        client.says(json!({"subscribe": payload}).to_string());
        client.says(json!({"unsubscribe": payload}).to_string());
        client.hears(OK).hears(OK);
    }
    let seconds = since_start.elapsed().as_secs() as usize;
    client.says(r#"{"disconnect":true}"#).hears(OK).expect_farewell(1000, "");
    let of = |rocket: &Rocket| rocket.log_file("hub.log");
    rocket.wait_for_line(of, " Disconnected");
    let log = of(&rocket);
    let texts = texts("/hub : ", &log);
    let shown = format!("Subscribed: {}…", &name[..64]);
    let written = texts.iter().filter(|text| text.contains("ubscribed: ")).count();
    assert!(texts.contains(&&*shown), "{texts:?}");
    assert!(written <= 50 * (seconds + 1), "{written} lines in {seconds} s");
    let more = texts.iter().filter_map(|text| text.strip_prefix("… and ")?.strip_suffix(" more"));
    let more: usize = more.map(|more| more.parse::<usize>().unwrap()).sum();
    assert_eq!(written + more, 2 * ROUNDS);
}

/// A secret is in no log and no complaint.
#[test]
fn secrets_are_not_told() {
    let secrets = json!({"ReadOnly": "hidden-1", "ReadWrite": "hidden-2"});
    let rocket = Rocket::with(&json!([{"Path": "/hub", "Secrets": secrets}])).start();
    let mut client = enter(&rocket, "/hub");
    client.says(auth("read-write", "hidden-3")).hears(super::INVALID_CREDENTIALS);
    client.says(auth("read-write", "hidden-2")).hears(OK);
    rocket.wait_for_line(Rocket::stderr, "Authenticated (read-write access)");
    assert!(!rocket.stderr().contains("hidden"), "{}", rocket.stderr());
    for wrong in [json!({"ReadOnly": {"x": "hidden"}}), json!("hidden"), json!(["hidden"])] {
        let text = json!({"Hubs": [{"Path": "/hub", "Secrets": wrong}]});
        let stderr = Rocket::configured(text.to_string()).fails_to_start(1);
        assert!(!stderr.contains("hidden"), "{stderr}");
    }
}

/// Log lines that cannot be written do not stop the server, which says once that they are lost.
#[test]
fn a_full_log_stops_nobody() {
    let mut rocket = Rocket::with(&json!([{"Path": "/hub", "Log": "/dev/full"}])).start();
    let mut client = enter(&rocket, "/hub");
    client.says(super::WRITE).hears(OK);
    client.says(super::SUBSCRIBE).hears(OK);
    for number in 0..1_000 {
        client.says(publish(number)).hears(super::broadcast(number)).hears(OK);
    }
    let told = " Error: Log file error: /dev/full: No space left on device (os error 28); its \
                lines are lost until it can be written";
    rocket.wait_for_line(Rocket::stderr, told);
    rocket.signal(Signal::Term);
    assert_eq!(rocket.wait_exit().code(), Some(0));
    assert_eq!(rocket.stderr().matches(told).count(), 1, "{}", rocket.stderr());
}

fn command_line(words: &[&str]) -> RocketPlan {
    words.iter().rev().fold(Rocket::command_line([]), |plan, word| plan.flag(word))
}

/// The texts of lines that begin with `prefix` and a time.
#[track_caller]
fn texts<'a>(prefix: &str, log: &'a str) -> Vec<&'a str> {
    let text = |line: &'a str| {
        let line = line.strip_prefix(prefix).unwrap_or_else(|| panic!("{line}"));
        let (time, text) = line.split_at(20);
        let shape: String =
            time.chars().map(|c| if c.is_ascii_digit() { '0' } else { c }).collect();
        assert_eq!(shape, "0000/00/00 00:00:00 ");
        text
    };
    log.lines().map(text).collect()
}

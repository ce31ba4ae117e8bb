//! The log: what is told of requests and sessions, at which level, and what never is.

use super::answers::NOT_FOUND;
use super::harness::{Answer, Backend, Client, Ekbo, Frame, LogLine, Signal, eventually_some};

/// Section 10, A-21: send, close, ping and unknown paths have an access line with method,
/// URL, status and size; connect and stats have none.
#[test]
fn the_access_log() {
    let backend = Backend::admitting("alice").start();
    let ekbo = Ekbo::with(&backend).start();
    let alice = Client::connect(&ekbo);
    ekbo.get("/connect?not=upgraded");
    ekbo.get("/stats?format=tsv");
    ekbo.send(["alice"], "hello").assert_accepted();
    ekbo.request("PUT", "/send?query=1").send();
    ekbo.close(["nobody"], "bye").assert_failed_for([(NOT_FOUND, "nobody")]);
    ekbo.get("/nowhere?a=b&c");
    drop(alice);
    backend.wait_for_first("/close");
    ekbo.get("/ping?last");
    let lines = access_lines(&ekbo, "/ping?last");
    let told: Vec<(&str, &str, u64, u64)> = lines
        .iter()
        .map(|line| {
            assert_eq!(line.level, "info");
            (
                line.fields["method"].as_str().unwrap(),
                line.fields["url"].as_str().unwrap(),
                line.fields["status"].as_u64().unwrap(),
                line.fields["size"].as_u64().unwrap(),
            )
        })
        .collect();
    assert_eq!(
        told,
        [
            ("POST", "/send", 200, 15),
            ("PUT", "/send?query=1", 405, 59),
            ("POST", "/close", 200, 91),
            ("GET", "/nowhere?a=b&c", 404, 19),
            ("GET", "/ping?last", 200, 15),
        ]
    );
}

/// Section 10, A-21: `suppress_access_log` turns it off, and so does a higher level.
#[test]
fn no_access_log() {
    let backend = Backend::admitting("alice").start();
    let plans = [
        Ekbo::with(&backend).set("suppress_access_log", "true"),
        Ekbo::with(&backend).argument("-log-level=warn"),
        Ekbo::with(&backend).argument("-log-level=error"),
    ];
    for plan in plans {
        let ekbo = plan.set("callback.connect", "http://127.0.0.1:1/connect").start_unheard();
        assert_eq!(ekbo.get("/ping").status, 200);
        assert_eq!(ekbo.get("/nowhere").status, 404);
        // This one is an error, and in the log at every level.
        assert_eq!(Client::to(&ekbo).refused().status, 502);
        ekbo.wait_for_log("connect error before upgrade");
        assert!(!ekbo.log_contains("access"));
    }
}

/// Section 4: what is no proper request has no access line.
#[test]
fn no_access_line_for_garbage() {
    let ekbo = Ekbo::alone().start();
    for garbage in [
        "this is not HTTP\r\n\r\n",
        "GET /ping HTTP/1.1\r\n\r\n",
        "GET /ping HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
    ] {
        assert_eq!(ekbo.http().exchange(garbage).status, 400, "{garbage:?}");
    }
    ekbo.get("/ping?last");
    assert_eq!(access_lines(&ekbo, "/ping?last").len(), 1);
}

/// D18: each line has its level as one of four words.
#[test]
fn the_words_for_levels() {
    let backend = Backend::admitting("alice").on("/receive", Answer::status(500)).start();
    let ekbo = Ekbo::with(&backend).argument("-log-level=debug").start();
    let mut alice = Client::connect(&ekbo);
    alice.send(&Frame::text("hello"));
    ekbo.wait_for_log("receive callback failed");
    alice.leave(1000);
    ekbo.wait_for_log("success close callback.");
    let levels: Vec<String> = ekbo.log().into_iter().map(|line| line.level).collect();
    for level in &levels {
        let is_word = ["debug", "info", "warn", "error"].contains(&level.as_str());
        assert!(is_word, "{level}");
    }
    for level in ["debug", "info", "error"] {
        assert!(levels.iter().any(|one| one == level), "{level}: {levels:?}");
    }
}

/// Section 10: at level debug headers and bodies are told, binary ones in hex, but
/// neither cookies nor credentials.
#[test]
fn secrets_are_not_logged() {
    let backend = Backend::admitting("alice").on("/receive", Answer::ok()).start();
    let ekbo = Ekbo::with(&backend)
        .set("api_token", "open-sesame")
        .set("proxy_set_header", "{Authorization: Basic c2VjcmV0LXByb3h5}")
        .argument("-log-level=debug")
        .start();
    let mut alice = Client::to(&ekbo)
        .header("X-Custom", "plain-header")
        .header("Cookie", "id=secret-cookie")
        .header("cookie", "also=secret-second")
        .header("Authorization", "Bearer secret-bearer")
        .connect();
    alice.send(&Frame::text("plain-message"));
    alice.send(&Frame::binary(b"\xde\xad\xbe\xef"));
    backend.wait_for("/receive", 2);
    let call = |path| {
        ekbo.request("POST", path)
            .session("alice")
            .header("Authorization", "Bearer open-sesame")
            .header("Cookie", "id=secret-api")
    };
    call("/send").body("plain-send").send().assert_accepted();
    alice.expect_text("plain-send");
    call("/send")
        .content_type("application/octet-stream")
        .body(b"\xca\xfe\xf0\x0d")
        .send()
        .assert_accepted();
    alice.expect_binary(b"\xca\xfe\xf0\x0d");
    call("/close").body("plain-word").send().assert_accepted();
    alice.expect_text("plain-word");
    alice.expect_farewell(1000, "");
    ekbo.request("GET", "/ping?last").send();
    access_lines(&ekbo, "/ping?last");
    let log: String = ekbo.log().iter().map(|line| format!("{line:?}\n")).collect();
    for plain in
        ["plain-header", "plain-message", "deadbeef", "plain-send", "cafef00d", "plain-word"]
    {
        assert!(log.contains(plain), "{plain} is not in the log");
    }
    for secret in [
        "secret-cookie",
        "secret-second",
        "secret-bearer",
        "secret-api",
        "open-sesame",
        "c2VjcmV0LXByb3h5",
    ] {
        assert!(!log.contains(secret), "{secret} is in the log");
    }
}

/// Section 10: at level info neither headers nor bodies are told.
#[test]
fn bodies_are_for_level_debug() {
    let backend = Backend::admitting("alice").on("/receive", Answer::ok()).start();
    let ekbo = Ekbo::with(&backend).start();
    let mut alice = Client::to(&ekbo).header("X-Custom", "plain-header").connect();
    alice.send(&Frame::text("plain-message"));
    backend.wait_for("/receive", 1);
    ekbo.send(["alice"], "plain-send").assert_accepted();
    alice.expect_text("plain-send");
    access_lines(&ekbo, "/send");
    let log = format!("{:?}", ekbo.log());
    assert!(!log.contains("plain-"), "{log}");
}

/// Section 10: nothing is written to standard output.
#[test]
fn standard_output_stays_empty() {
    let backend = Backend::admitting("alice").start();
    let mut ekbo = Ekbo::with(&backend).argument("-log-level=debug").start();
    Client::connect(&ekbo).leave(1000);
    ekbo.signal(Signal::Term);
    ekbo.wait_exit();
    assert_eq!(ekbo.stdout(), "");
}

/// KB-CON-6, 5.3: a 403 of the backend is told at level info, any other failure at level error.
#[test]
fn refused_clients() {
    let backend = Backend::plan().on("/connect", Answer::status(403)).start();
    let ekbo = Ekbo::with(&backend).start();
    Client::to(&ekbo).refused();
    assert_eq!(ekbo.wait_for_log("authorization failed").level, "info");
    assert!(!ekbo.log_contains("connect error before upgrade"));
    backend.on("/connect", Answer::status(401));
    Client::to(&ekbo).refused();
    let line = ekbo.wait_for_log("connect error before upgrade");
    assert_eq!(line.level, "error");
}

/// 5.6: a refused establish callback is told.
#[test]
fn a_session_that_is_not_established() {
    let backend = Backend::admitting("alice").on("/establish", Answer::status(500)).start();
    let ekbo = Ekbo::with(&backend).start();
    Client::connect(&ekbo).expect_farewell(1011, "establish failed");
    ekbo.wait_for_log("establish error after upgrade");
}

/// 8.1, D17: close callbacks are told when they succeed and when they fail.
#[test]
fn close_callbacks() {
    let backend = Backend::admitting("alice").on("/close", Answer::status(500)).start();
    let ekbo = Ekbo::with(&backend).set("callback.retry.base", "100ms").start();
    Client::connect(&ekbo).leave(1000);
    let line = ekbo.wait_for_log("invalid close callback status.");
    assert_eq!(line.fields["session"], "alice");
    assert!(!ekbo.log_contains("success close callback."));
    backend.on("/close", Answer::ok());
    ekbo.wait_for_log("success close callback.");
}

/// Section 10: whatever is in a key, an event is one line.
#[test]
fn a_line_is_a_line() {
    let backend = Backend::plan()
        .on("/connect", Answer::admit("tab\there \"quoted\" ünï"))
        .on("/receive", Answer::status(500))
        .on("/close", Answer::ok())
        .start();
    let ekbo = Ekbo::with(&backend).argument("-log-level=debug").start();
    let mut alice = Client::to(&ekbo).query("a=%0A%0Ab&%22c%22").connect();
    alice.send(&Frame::text("first line\nsecond line\ttab"));
    ekbo.wait_for_log("receive callback failed");
    alice.leave(1000);
    ekbo.wait_for_log("success close callback.");
    for line in ekbo.log() {
        let is_level = ["debug", "info", "warn", "error"].contains(&line.level.as_str());
        assert!(is_level, "{line:?}");
    }
}

/// The access lines up to the one for `url`, which is waited for.
#[track_caller]
fn access_lines(ekbo: &Ekbo, url: &str) -> Vec<LogLine> {
    eventually_some(&format!("an access line for {url}"), || {
        let log = ekbo.log().into_iter();
        let lines: Vec<LogLine> = log.filter(|line| line.message == "access").collect();
        lines.iter().any(|line| line.fields["url"] == url).then_some(lines)
    })
}

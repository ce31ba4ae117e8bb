//! `ekbo demo`: the page in two windows of Chromium, and the lines to paste into a shell.

use std::process::Command;

use super::answers::JSON;
use super::browser::Browser;
use super::harness::{Client, Ekbo, Frame, Received, Response, eventually_some};

/// The words at the start name the page and three `curl` lines, which work as
/// they are: the first sends a message, the second closes, the third counts.
#[test]
fn the_lines_to_paste() {
    let ekbo = demo();
    let [send, close, stats] = curl_lines(&ekbo);
    let key = send
        .split_once("X-Kuiperbelt-Session: ")
        .and_then(|(_, rest)| rest.split_once('\''))
        .map(|(key, _)| key)
        .unwrap();
    let mut client = Client::to(&ekbo).query(&format!("name={key}")).connect();
    assert_eq!(run(&send), r#"{"result":"OK"}"#);
    wait_for_text(&mut client, "hello from curl");
    assert_eq!(run(&close), r#"{"result":"OK"}"#);
    wait_for_text(&mut client, "goodbye");
    client.expect_farewell(1000, "");
    let stats = run(&stats);
    assert!(stats.contains(r#""total_connections":1,"#), "{stats}");
}

/// Two people chat in two windows; when one of them closes, the other sees it.
#[test]
fn two_windows() {
    let ekbo = demo();
    let url = format!("http://{}", ekbo.host());
    let browser = Browser::start();
    let anna = browser.open(&format!("{url}/?name=anna"));
    anna.wait_for_line("#status", "Connected");

    let bob = browser.open(&format!("{url}/"));
    bob.type_into("input#name", "bob");
    bob.click("button#join");
    bob.wait_for_line("#status", "Connected");
    anna.wait_for_line("ul#log", "bob joined");

    anna.type_into("input#message", "hello, is anybody here?");
    anna.click("button#send");
    for window in [&anna, &bob] {
        let line = window.wait_for_line("ul#log", "is anybody here?");
        assert_eq!(line, "anna hello, is anybody here?");
    }
    bob.type_into("input#message", "<b>only</b> me & \"friends\"");
    bob.click("button#send");
    for window in [&anna, &bob] {
        let line = window.wait_for_line("ul#log", "only");
        assert_eq!(line, "bob <b>only</b> me & \"friends\"");
    }

    bob.close();
    anna.wait_for_line("ul#log", "bob left");
}

/// Somebody whose name is taken is not let in and told so; the other stays.
#[test]
fn a_name_that_is_taken() {
    let ekbo = demo();
    let url = format!("http://{}", ekbo.host());
    let browser = Browser::start();
    let first = browser.open(&format!("{url}/?name=anna"));
    first.wait_for_line("#status", "Connected");
    let second = browser.open(&format!("{url}/?name=anna"));
    second.wait_for_line("#status", "already");
    first.type_into("input#message", "still here");
    first.click("button#send");
    first.wait_for_line("ul#log", "anna still here");

    let refused = Client::to(&ekbo).query("name=anna").refused();
    assert_eq!(refused.status, 403);
    assert!(refused.text().contains("already"), "{refused:?}");
}

/// The page is at `/` only, beside the gateway's own paths.
#[test]
fn the_page_is_beside_the_gateway() {
    let ekbo = demo();
    let page: Response = ekbo.get("/?name=anna");
    assert_eq!(page.status, 200);
    assert!(page.header("Content-Type").unwrap().starts_with("text/html"));
    assert!(page.text().contains("<!DOCTYPE html>"), "{page:?}");
    assert_eq!(ekbo.get("/nowhere").status, 404);
    ekbo.get("/ping").assert_is(200, JSON, r#"{"result":"OK"}"#);
}

fn demo() -> Ekbo {
    Ekbo::command_line(["demo", "-port", "0"]).start_demo()
}

/// The page, the backend and the gateway of the demo fit together, whatever configuration lies
/// around.
#[test]
fn a_configuration_nearby_changes_nothing() {
    let plan = Ekbo::command_line(["demo", "-port", "0"]);
    plan.directory().write("config.yml", "session_header: X-My\npath: {send: /s2}\n");
    let plan = plan.environment("EKBO_API_TOKEN", "secret").environment("EKBO_SOCK", "sock");
    let ekbo = plan.start_demo();
    let mut anna = Client::to(&ekbo).query("name=anna").connect();
    anna.send(&Frame::text("is this thing on?"));
    wait_for_text(&mut anna, r#"{"from":"anna","text":"is this thing on?"}"#);
}

/// Whoever gives the demo a configuration is told that it has none.
#[test]
fn a_configuration_is_refused() {
    let stderr = Ekbo::command_line(["demo", "-config", "config.yml"]).fails_to_start(1);
    assert!(stderr.contains("leave -config out"), "{stderr}");
}

/// The three lines to paste, as they are printed.
#[track_caller]
fn curl_lines(ekbo: &Ekbo) -> [String; 3] {
    eventually_some("three lines with curl", || {
        let stdout = ekbo.stdout();
        // The last line may still be on its way.
        let whole = stdout.rsplit_once('\n')?.0;
        let lines: Vec<String> = whole
            .lines()
            .map(|line| line.trim().to_owned())
            .filter(|line| line.starts_with("curl "))
            .collect();
        lines.try_into().ok()
    })
}

/// Runs a line in a shell, and returns what it prints.
#[track_caller]
fn run(line: &str) -> String {
    let output = Command::new("sh").args(["-c", line]).output().unwrap();
    let complaint = String::from_utf8_lossy(&output.stderr);
    let status = output.status.code();
    assert_ne!(
        status,
        Some(127),
        "curl is missing, install it with: apt-get install curl\n{complaint}"
    );
    assert_eq!(status, Some(0), "{line}: {complaint}");
    String::from_utf8(output.stdout).unwrap()
}

/// Reads past what the demo itself sends, up to `text`.
#[track_caller]
fn wait_for_text(client: &mut Client, text: &str) {
    loop {
        match client.receive() {
            Received::Text(other) if other == text => return,
            Received::Text(_) => {}
            other => panic!("expected `{text}`, got {other:?}"),
        }
    }
}

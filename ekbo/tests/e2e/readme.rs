//! What README.md promises a newcomer: the backend in ten lines and its configuration work as they
//! stand there.

use std::process::{Child, Command, Stdio};

use serde_json::json;

use super::browser::Browser;
use super::harness::{Client, Directory, Ekbo, Frame, Rocket, eventually, free_port};

const README: &str = include_str!("../../../README.md");

/// The tutorial, with other ports.
#[test]
fn the_tutorial() {
    let [gateway, backend] = [free_port().to_string(), free_port().to_string()];
    let with_ports = |text: &str| text.replace("9180", &gateway).replace("12346", &backend);
    let script = with_ports(block("python"));
    let lines = script.lines().filter(|line| !line.is_empty()).count();
    assert!(lines <= 10, "the backend in ten lines has {lines}");
    let directory = Directory::new();
    let _backend = Python::run(&directory.write("backend.py", &script));
    let config = format!("{}port: {gateway}\n", with_ports(block("yaml")));
    let ekbo = Ekbo::configured(config).start();
    eventually("the backend to listen", || {
        std::net::TcpStream::connect(format!("127.0.0.1:{backend}")).is_ok()
    });

    let mut alice = Client::to(&ekbo).query("alice").connect();
    alice.expect_text("welcome");
    alice.send(&Frame::text("is anybody there?"));
    alice.expect_text("is anybody there?");
    let curl: Vec<&str> =
        README.lines().map(str::trim).filter(|l| l.starts_with("curl ")).collect();
    let [send, close, sessions, session, channels, subscribe, publish, once, _] = curl[..] else {
        panic!("{curl:?}")
    };
    assert_eq!(shell(&with_ports(send)), r#"{"result":"OK"}"#);
    alice.expect_text("hello");
    assert_eq!(shell(&with_ports(subscribe)), r#"{"result":"OK"}"#);
    assert_eq!(shell(&with_ports(publish)), r#"{"result":"OK","delivered":1}"#);
    alice.expect_text("it rains");
    for _ in 0..2 {
        assert_eq!(shell(&with_ports(once)), r#"{"result":"OK"}"#);
    }
    alice.expect_text("it is paid");
    let told = shell(&with_ports(sessions));
    assert!(told.starts_with(r#"{"sessions":[{"key":"alice","#), "{told}");
    let told = shell(&with_ports(session));
    assert!(told.starts_with(r#"{"session":{"key":"alice","#), "{told}");
    assert!(told.contains(r#""channels":[{"name":"weather"}],"channel_count":1,"#), "{told}");
    assert_eq!(
        shell(&with_ports(channels)),
        r#"{"channels":[{"name":"weather","listeners":1}],"next":null,"result":"OK"}"#
    );
    assert_eq!(shell(&with_ports(close)), r#"{"result":"OK"}"#);
    alice.expect_text("goodbye");
    alice.expect_farewell(1000, "");
}

/// The hub, and the client beside it, on a page that is there to be opened.
#[test]
fn the_hub_and_its_client() {
    let (_, section) = README.split_once("\n## Rocket\n").unwrap();
    let ekbo = Ekbo::configured(format!("{}port: 0\n", block_of(section, "yaml"))).start();
    let browser = Browser::start();
    let page = browser.open(&format!("http://{}/ping", ekbo.host()));
    let script = block_of(section, "js").replace("127.0.0.1:9180", &ekbo.host());
    page.run(&format!(
        "window.logged = []; console.log = line => logged.push(line); (0, eval)({script:?});"
    ));
    let ok = r#"{"ok":true}"#;
    let expected = json!([ok, ok, r#"{"channel":"news","data":"hello","event":"said"}"#, ok]);
    let mut logged = json!([]);
    eventually("four lines on the console", || {
        logged = page.run("return logged;");
        logged.as_array().is_some_and(|lines| lines.len() >= 4)
    });
    assert_eq!(logged, expected);
    let curl = section.lines().map(str::trim).find(|line| line.starts_with("curl ")).unwrap();
    let answer = shell(&curl.replace("127.0.0.1:9180", &ekbo.host()));
    assert_eq!(answer, r#"{"result":"OK","delivered":1}"#);
    eventually("a fifth line", || {
        page.run("return logged[4];") == r#"{"channel":"news","data":"hi","event":"said"}"#
    });
}

/// The program's configuration.
#[test]
fn the_configuration_of_rocket() {
    let config = block_of(README, "json").replace("9772", "0");
    let rocket = Rocket::configured(config).start();
    let mut client = Client::to(&rocket).path("/chat").connect();
    client.send(&Frame::text(r#"{"auth":{"access":"read-write","secret":"secret"}}"#));
    client.expect_text(r#"{"ok":true}"#);
}

/// The lines between the first ```` ```language ```` and the end of the block.
fn block(language: &str) -> &'static str {
    block_of(README, language)
}

fn block_of<'a>(text: &'a str, language: &str) -> &'a str {
    let (_, rest) = text.split_once(&format!("```{language}\n")).unwrap();
    rest.split_once("```").unwrap().0
}

fn shell(line: &str) -> String {
    let output = Command::new("sh").args(["-c", &format!("{line} --silent --show-error")]).output();
    let output = output.unwrap();
    assert!(output.status.success(), "{output:?}; install it with: apt-get install curl");
    String::from_utf8(output.stdout).unwrap()
}

/// A Python program that ends with the test.
struct Python(Child);

impl Python {
    fn run(script: &std::path::Path) -> Self {
        let mut command = Command::new("/usr/bin/python3");
        command.arg(script).stdout(Stdio::null()).stderr(Stdio::null());
        Self(command.spawn().expect("install it with: apt-get install python3"))
    }
}

impl Drop for Python {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

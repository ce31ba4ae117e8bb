//! Clients that others wrote: Python's `websockets`, and Chromium.

use std::process::{Child, Command, Stdio};

use serde_json::json;

use super::browser::{Browser, Window};
use super::harness::{Answer, Backend, Ekbo, eventually};

/// The Python that Debian's `python3-websockets` is installed for.
const PYTHON: &str = "/usr/bin/python3";

/// Prints what comes, with a line for each step, and ends when the server closes.
const TALKING: &str = r#"
import asyncio, sys, websockets

async def talk(url):
    async with websockets.connect(url, max_size=None) as socket:
        print(await socket.recv())
        await socket.send("text from Python: ü")
        await socket.send(b"\x00\xff")
        await socket.send(["in ", "three ", "fragments"])
        await (await socket.ping(b"payload"))
        print("pong")
        print(await socket.recv())
        print((await socket.recv()).hex())
        print(len(await socket.recv()))
        print(await socket.recv())
        try:
            await socket.recv()
        except websockets.ConnectionClosed as closed:
            print(closed.rcvd.code, closed.rcvd.reason)

asyncio.run(asyncio.wait_for(talk(sys.argv[1]), 60))
"#;

/// Connects fifty times at once; each connection says its number, waits for an answer and closes.
const CROWDED: &str = r#"
import asyncio, sys, websockets

async def come_and_go(url, number):
    async with websockets.connect(f"{url}?{number}") as socket:
        await socket.send(f"I am {number}")
        assert await socket.recv() == f"hello {number}"
        await socket.close(4000 + number, f"bye from {number}")

async def crowd(url):
    await asyncio.gather(*(come_and_go(url, number) for number in range(50)))

asyncio.run(asyncio.wait_for(crowd(sys.argv[1]), 60))
"#;

/// Prints what was negotiated, sends a message, echoes five, and closes.
const COMPRESSING: &str = r#"
import asyncio, sys, websockets

async def talk(url):
    async with websockets.connect(url) as socket:
        # Where the extensions are depends on the version.
        for extension in getattr(socket, "protocol", socket).extensions:
            print(extension.name)
        await socket.send(["from ", "Python: ", "ü" * 5000])
        for _ in range(5):
            await socket.send(await socket.recv())

asyncio.run(asyncio.wait_for(talk(sys.argv[1]), 60))
"#;

/// Section 7, D2: `websockets` for Python reads its first message, sends text, binary and
/// fragments, pings, is sent all kinds of messages, and is closed with code and reason.
#[test]
fn python_websockets() {
    let backend = Backend::admitting("python")
        .on("/connect", Answer::admit("python").body("welcome"))
        .on("/receive", Answer::ok())
        .start();
    let ekbo = Ekbo::with(&backend).start();
    let client = Python::start(TALKING, &[&url(&ekbo)]);
    let received = backend.wait_for("/receive", 3);
    assert_eq!(received[0].text(), "text from Python: ü");
    assert_eq!(received[1].body, [0, 255]);
    assert_eq!(received[1].header("Content-Type"), Some("application/octet-stream"));
    assert_eq!(received[2].text(), "in three fragments");

    ekbo.send(["python"], "text for Python: ß").assert_accepted();
    ekbo.request("POST", "/send")
        .session("python")
        .content_type("application/octet-stream")
        .body(b"\xde\xad\xbe\xef")
        .send()
        .assert_accepted();
    ekbo.send(["python"], "x".repeat(3_000_000)).assert_accepted();
    ekbo.request("POST", "/close")
        .session("python")
        .header("X-Kuiperbelt-Close-Code", "4001")
        .header("X-Kuiperbelt-Close-Reason", "go home")
        .body("last word")
        .send()
        .assert_accepted();
    assert_eq!(
        client.output(),
        "welcome\npong\ntext for Python: ß\ndeadbeef\n3000000\nlast word\n4001 go home\n"
    );
}

/// Section 7, 8 row 1, D8: fifty of them come at once, talk and close with their own codes.
#[test]
fn a_crowd_of_python_websockets() {
    let backend = Backend::admitting_by_query().on("/receive", Answer::ok()).start();
    let ekbo = Ekbo::with(&backend).start();
    let clients = Python::start(CROWDED, &[&url(&ekbo)]);
    for message in backend.wait_for("/receive", 50) {
        let number = message.session().unwrap();
        assert_eq!(message.text(), format!("I am {number}"));
        ekbo.send([number], format!("hello {number}")).assert_accepted();
    }
    assert_eq!(clients.output(), "");
    for told in backend.wait_for("/close", 50) {
        let number: u16 = told.session().unwrap().parse().unwrap();
        assert_eq!(told.close_code(), Some(4000 + number));
        assert_eq!(told.close_reason(), format!("bye from {number}"));
    }
    ekbo.wait_for_stats("no connections", |stats| stats.connections == 0);
}

/// RFC 7692: `websockets` for Python, which offers compression by itself, compresses and inflates
/// messages of all kinds, in fragments too.
#[test]
fn python_websockets_with_compression() {
    let first = "welcome ".repeat(100);
    let backend = Backend::admitting("python")
        .on("/connect", Answer::admit("python").body(&first))
        .on("/receive", Answer::ok())
        .start();
    let ekbo = Ekbo::with(&backend).set("compression", "true").start();
    let client = Python::start(COMPRESSING, &[&url(&ekbo)]);
    let from_python = backend.wait_for_first("/receive");
    assert_eq!(from_python.text(), format!("from Python: {}", "ü".repeat(5000)));
    let messages = ["short", &"for Python: ß ".repeat(1000), &"x".repeat(900_000)];
    for message in messages {
        ekbo.send(["python"], message).assert_accepted();
    }
    let bytes = [0, 255].repeat(1000);
    ekbo.request("POST", "/send")
        .session("python")
        .content_type("application/octet-stream")
        .body(&bytes)
        .send()
        .assert_accepted();
    let received = backend.wait_for("/receive", 6);
    assert_eq!(received[1].text(), first);
    for (request, message) in received[2..].iter().zip(messages) {
        assert!(request.text() == message, "{} bytes", message.len());
    }
    assert_eq!(received[5].body, bytes);
    assert_eq!(received[5].header("Content-Type"), Some("application/octet-stream"));
    assert_eq!(client.output(), "permessage-deflate\n");
}

/// Section 7, D2, D6: a page in Chromium opens a WebSocket with a subprotocol, sends and is
/// sent messages, and is told code and reason of its close.
#[test]
fn a_page_in_chromium() {
    let backend = Backend::plan()
        .on(
            "/connect",
            Answer::admit("page").header("X-Kuiperbelt-Subprotocol", "second").body("welcome"),
        )
        .on("/receive", Answer::ok())
        .on("/close", Answer::ok())
        .start();
    let ekbo = Ekbo::with(&backend).start();
    let browser = Browser::start();
    let page = open_page(&browser, &backend, &ekbo, r#"["first", "second"]"#);
    wait_for_events(&page, &["open second", "welcome"]);
    let connect = backend.wait_for_first("/connect");
    assert_eq!(connect.header("Origin"), Some(backend.url("").as_str()), "{connect:?}");
    assert!(connect.header("User-Agent").unwrap().contains("Chrome"));
    assert_eq!(connect.header("X-Kuiperbelt-Subprotocol"), Some("first, second"));

    page.run("socket.send('from the page: ü'); socket.send(new Uint8Array([0, 255]));");
    let received = backend.wait_for("/receive", 2);
    assert_eq!(received[0].text(), "from the page: ü");
    assert_eq!(received[1].body, [0, 255]);

    ekbo.send(["page"], "to the page: 😀").assert_accepted();
    ekbo.request("POST", "/send")
        .session("page")
        .content_type("application/octet-stream")
        .body([1, 2, 254])
        .send()
        .assert_accepted();
    ekbo.request("POST", "/close")
        .session("page")
        .header("X-Kuiperbelt-Close-Code", "4001")
        .header("X-Kuiperbelt-Close-Reason", "tschüß")
        .body("last word")
        .send()
        .assert_accepted();
    wait_for_events(
        &page,
        &[
            "open second",
            "welcome",
            "to the page: 😀",
            "bytes 1 2 254",
            "last word",
            "close 4001 tschüß true",
        ],
    );
}

/// RFC 7692: Chromium, which offers compression by itself, compresses and inflates messages.
#[test]
fn a_page_in_chromium_with_compression() {
    let backend = Backend::admitting("page").on("/receive", Answer::ok()).start();
    let ekbo = Ekbo::with(&backend).set("compression", "true").start();
    let browser = Browser::start();
    let page = open_page(&browser, &backend, &ekbo, "[]");
    wait_for_events(&page, &["open "]);
    assert_eq!(
        page.run("return socket.extensions;"),
        json!("permessage-deflate; server_no_context_takeover; client_no_context_takeover")
    );
    let from_page = "from the page: ü ".repeat(1000);
    page.run("socket.send('from the page: ü '.repeat(1000));");
    page.run("socket.send(new Uint8Array(5000));");
    let received = backend.wait_for("/receive", 2);
    assert!(received[0].text() == from_page, "{}", received[0].text());
    assert_eq!(received[1].body, [0; 5000]);

    let to_page = "to the page: 😀 ".repeat(1000);
    for message in [&to_page, "short", &to_page] {
        ekbo.send(["page"], message).assert_accepted();
    }
    wait_for_events(&page, &["open ", &to_page, "short", &to_page]);
}

/// 8 row 1, 8 row 2, D8: the backend is told when a page closes its WebSocket, and when its
/// window is closed.
#[test]
fn a_page_in_chromium_leaves() {
    let backend = Backend::admitting("page").start();
    let ekbo = Ekbo::with(&backend).start();
    let browser = Browser::start();
    let page = open_page(&browser, &backend, &ekbo, "[]");
    wait_for_events(&page, &["open "]);
    page.run("socket.close(3000, 'done here');");
    wait_for_events(&page, &["open ", "close 3000  true"]);
    let told = backend.wait_for_first("/close");
    assert_eq!(told.close_code(), Some(3000));
    assert_eq!(told.close_reason(), "done here");

    let page = open_page(&browser, &backend, &ekbo, "[]");
    wait_for_events(&page, &["open "]);
    page.close();
    let told = &backend.wait_for("/close", 2)[1];
    assert_eq!(told.session(), Some("page"));
    assert_eq!(told.close_code(), Some(1001));
}

/// Opens a page of the backend that connects to `ekbo`, offering a list of subprotocols, and
/// keeps a list of what happens.
fn open_page<'b>(
    browser: &'b Browser,
    backend: &Backend,
    ekbo: &Ekbo,
    protocols: &str,
) -> Window<'b> {
    let url = url(ekbo);
    let page = format!(
        r#"<!doctype html><meta charset="utf-8"><title>A client</title><script>
var events = [];
var socket = new WebSocket("{url}", {protocols});
socket.binaryType = "arraybuffer";
socket.onopen = () => events.push("open " + socket.protocol);
socket.onmessage = ({{ data }}) =>
  events.push(typeof data === "string" ? data : "bytes " + new Uint8Array(data).join(" "));
socket.onclose = ({{ code, reason, wasClean }}) => events.push(`close ${{code}} ${{reason}} ${{wasClean}}`);
</script>"#
    );
    let answer = Answer::ok().header("Content-Type", "text/html");
    backend.on("/page", answer.body(page));
    browser.open(&backend.url("/page"))
}

#[track_caller]
fn wait_for_events(page: &Window<'_>, expected: &[&str]) {
    let mut events = json!([]);
    eventually(&format!("{expected:?} on the page"), || {
        events = page.run("return events;");
        events.as_array().unwrap().len() >= expected.len()
    });
    assert_eq!(events, json!(expected));
}

/// Where a script is to connect.
fn url(ekbo: &Ekbo) -> String {
    format!("ws://{}/connect", ekbo.host())
}

/// A script that runs in Debian's Python.
pub(crate) struct Python(Option<Child>);

impl Python {
    #[track_caller]
    pub(crate) fn start(script: &str, arguments: &[&str]) -> Self {
        let library =
            Command::new(PYTHON).args(["-c", "import websockets"]).stderr(Stdio::null()).status();
        assert!(
            library.is_ok_and(|status| status.success()),
            "websockets for Python is missing, install it with: \
             apt-get install python3-websockets"
        );
        let process = Command::new(PYTHON)
            .args(["-c", script])
            .args(arguments)
            .env("PYTHONIOENCODING", "utf-8")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn();
        Self(Some(process.unwrap()))
    }

    /// Waits for the script to end; what it printed, unless it failed.
    #[track_caller]
    pub(crate) fn output(mut self) -> String {
        let output = self.0.take().unwrap().wait_with_output().unwrap();
        let complaint = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{complaint}");
        String::from_utf8(output.stdout).unwrap()
    }
}

impl Drop for Python {
    fn drop(&mut self) {
        if let Some(mut process) = self.0.take() {
            let _ = process.kill();
            let _ = process.wait();
        }
    }
}

//! Clients that others wrote: Python's `websockets`, with a script written from the protocol's
//! description alone, and Chromium.

use serde_json::{Value, json};

use super::super::browser::Browser;
use super::super::harness::{Answer, Backend, Rocket, Server, eventually};
use super::super::real_clients::Python;

/// RK-7: a conversation of two people, with a client that knows nothing of this server.
#[test]
fn a_client_in_python() {
    let secrets = json!({"ReadOnly": "r", "ReadWrite": "w"});
    let rocket = Rocket::with(&json!([{"Path": "/hub", "Secrets": secrets}])).start();
    let url = format!("ws://{}/hub", rocket.host());
    let printed = Python::start(include_str!("client.py"), &[&url, "r", "w"]).output();
    assert!(printed.ends_with("reader goes\nclosed\n"), "{printed}");
    assert_eq!(printed.lines().count(), 21);
}

/// RK-TRN-2: a page that somebody else serves logs in, subscribes, publishes and gets its own
/// broadcast.
#[test]
fn a_page_in_chromium() {
    let page = Backend::plan().start();
    let origin = page.url("");
    let rocket = Rocket::with(&json!([
        {"Path": "/hub", "Secrets": {"ReadWrite": "secret"}, "AllowedOrigins": [origin]},
        {"Path": "/elsewhere", "AllowedOrigins": ["https://example.com"]},
    ]));
    let rocket = rocket.start();
    let script = format!(
        r#"<!doctype html><meta charset="utf-8"><title>A client</title><script>
var events = [];
function open(path) {{
  const socket = new WebSocket("ws://{}" + path, "ws");
  socket.onmessage = ({{ data }}) => events.push(JSON.parse(data));
  socket.onclose = ({{ code, reason }}) => events.push(`close ${{code}} ${{reason}}`);
  return socket;
}}
function say(event, payload) {{ socket.send(JSON.stringify({{ [event]: payload }})); }}
var socket = open("/hub");
socket.onopen = () => {{
  events.push("open " + socket.protocol);
  say("auth", {{ access: "read-write", secret: "secret" }});
  say("subscribe", {{ channel: "page" }});
  say("publish", {{ channel: "page", event: "greeting", data: "grüße 😀" }});
}};
</script>"#,
        rocket.host()
    );
    page.on("/", Answer::ok().header("Content-Type", "text/html").body(script));
    let browser = Browser::start();
    let window = browser.open(&page.url("/"));
    let broadcast = json!({"channel": "page", "event": "greeting", "data": "grüße 😀"});
    let ok = json!({"ok": true});
    let wait_for = |expected: &[Value]| {
        let mut events = json!([]);
        eventually(&format!("{expected:?} on the page"), || {
            events = window.run("return events;");
            events.as_array().unwrap().len() >= expected.len()
        });
        assert_eq!(events, json!(expected));
    };
    let mut expected = vec![json!("open ws"), ok.clone(), ok.clone(), broadcast, ok.clone()];
    wait_for(&expected);
    window.run(r#"say("disconnect", true);"#);
    expected.extend([ok, json!("close 1000 ")]);
    wait_for(&expected);
    // Its Origin is not welcome everywhere.
    window.run(r#"open("/elsewhere");"#);
    expected.push(json!("close 1006 "));
    wait_for(&expected);
}

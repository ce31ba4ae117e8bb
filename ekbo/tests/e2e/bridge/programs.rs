//! Clients that others wrote: a page in Chromium, and Python's `websockets` with MessagePack.

use serde_json::json;

use super::super::browser::{Browser, Window};
use super::super::harness::{Answer, Backend, Ekbo, Endpoints, Rbkit, Signal};
use super::super::real_clients::Python;
use super::{NOT_RUNNING, bridged_with, enter, visitor, with_bridges};

/// Starts the memory profile and prints what comes, until it has seen statistics.
const PROFILING: &str = r#"
import asyncio, sys, urllib.parse, msgpack, websockets

def unpack(text):
    return msgpack.unpackb(urllib.parse.unquote_to_bytes(text.replace("+", " ")), strict_map_key=False)

async def profile(url):
    async with websockets.connect(url, subprotocols=["rbkit"], max_size=None) as socket:
        print(socket.subprotocol)
        await socket.send("handshake")
        reply = await socket.recv()
        print(reply[0], sorted(unpack(reply[1:])[2].items()))
        await socket.send("start_memory_profile")
        print(await socket.recv())
        expected = 0
        while True:
            message = await socket.recv()
            assert message[0] == "1", message
            told = unpack(message[1:])
            assert (told[0], told[9]) == (7, expected), told
            expected += 1
            for event in told[2]:
                if event[0] == 6:
                    print(event[2]["heap_live_slots"], event[2]["total_memsize"])
                    return

asyncio.run(asyncio.wait_for(profile(sys.argv[1]), 60))
"#;

/// RB-D-2, RB-D-4, RB-D-6: what Python makes of escapes and MessagePack is what the profiler said.
#[test]
fn python() {
    let rbkit = Rbkit::plan().every(20, 100).start();
    let ekbo = bridged_with(&rbkit, json!({})).start();
    let mut watching = enter(&ekbo);
    rbkit.wait_for_subscribers(1);
    let client = Python::start(PROFILING, &[&url(&ekbo)]);
    watching.expect_text("0client_count:2");
    let expected = "rbkit\n\
        0 [('clock_type', 'cpu'), ('cpu_profiling_enabled', 0), ('cpu_profiling_mode', 'sampling'), \
        ('object_trace_enabled', 0), ('pid', 4711), ('process_name', 'rails server'), \
        ('pwd', '/srv/app'), ('rbkit_protocol_version', '2.1'), ('rbkit_server_version', '0.1.10')]\n\
        0ok\n\
        8000 1180591620717411303424\n";
    assert_eq!(client.output(), expected);
}

/// RB-D-2, RB-D-4, RB-D-14: a page of another host that is allowed drives the profiler and shows
/// what comes.
#[test]
fn a_page_in_chromium() {
    let rbkit = Rbkit::plan().every(20, 100).start();
    let site = Backend::plan().start();
    let bridge = json!({"allowed_origins": [site.url("")]});
    let mut ekbo = bridged_with(&rbkit, bridge).start();
    let browser = Browser::start();
    let page = open_page(&browser, &site, &ekbo);
    page.wait_for_line("#frames", "open rbkit");
    page.wait_for_line("#frames", "rails server 4711, protocol 2.1");
    page.wait_for_line("#frames", "response ok");
    page.wait_for_line("#frames", "published 0: created, created, destroyed, gc start, gc end m");
    page.wait_for_line("#frames", ": stats");
    page.run("socket.send('start_cpu_profiling');");
    page.wait_for_line("#frames", "created, created, destroyed, sample");
    page.run("socket.send('stop_memory_profile');");
    page.wait_for_line("#frames", ": sample");
    let _second = visitor(&ekbo).connect();
    page.wait_for_line("#frames", "client_count:2");
    ekbo.signal(Signal::Term);
    page.wait_for_line("#frames", "close 1001 going away");
    assert_eq!(ekbo.wait_exit().code(), Some(0));
}

/// RB-D-8, RB-D-14: a page is shown why its profiler cannot be reached; one of a host that is not
/// allowed is shown nothing.
#[test]
fn pages_that_are_turned_away() {
    let site = Backend::plan().start();
    let away = Endpoints::tcp();
    let browser = Browser::start();
    let ekbo = with_bridges([away.bridge(&json!({"allowed_origins": ["*"]}))]).start();
    let page = open_page(&browser, &site, &ekbo);
    page.wait_for_line("#frames", &format!("close 1000 {NOT_RUNNING}"));
    let ekbo = with_bridges([away.bridge(&json!({}))]).start();
    let page = open_page(&browser, &site, &ekbo);
    assert_eq!(page.wait_for_line("#frames", "close"), "close 1006 ");
    assert!(!page.text_of("#frames").contains("open"));
}

/// Opens a page of `site` that connects to `ekbo`.
fn open_page<'b>(browser: &'b Browser, site: &Backend, ekbo: &Ekbo) -> Window<'b> {
    let page = include_str!("page.html").replace("URL", &url(ekbo));
    site.on("/page", Answer::ok().header("Content-Type", "text/html").body(page));
    browser.open(&site.url("/page"))
}

/// Where a program is to connect.
fn url(ekbo: &Ekbo) -> String {
    format!("ws://{}/profiler", ekbo.host())
}

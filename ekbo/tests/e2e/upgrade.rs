//! The WebSocket handshake: its checks in their order, the answer that opens, the Origin
//! policies, and frames that come before the answer.

use super::harness::{Answer, Backend, Client, Ekbo, Frame, Gate, Received, Response};

const ORIGINS: [Option<&str>; 9] = [
    None,
    Some("http://chat.example.com"),
    Some("https://chat.example.com:9180"),
    Some("http://chat.example.com:1234"),
    Some("http://other.example.com:9180"),
    Some("null"),
    Some("HTTP://CHAT.Example.COM"),
    Some("HTTP://CHAT.Example.COM:9180"),
    Some("%%%"),
];

/// 5.5, KB-CON-1: the answer that opens a WebSocket has the three headers it needs, and
/// neither extensions nor subprotocol nor anything of the backend's.
#[test]
fn the_answer_has_only_what_it_needs() {
    let answer = Answer::admit("alice").header("Set-Cookie", "a=b").header("X-Other", "x");
    let backend = Backend::plan().on("/connect", answer).start();
    let ekbo = Ekbo::with(&backend).start();
    let client = Client::to(&ekbo)
        .protocols("chat, superchat")
        .header("Sec-WebSocket-Extensions", "permessage-deflate; client_max_window_bits")
        .connect();
    let response = &client.response;
    assert_eq!(response.version, "HTTP/1.1");
    assert_eq!(response.header("Upgrade"), Some("websocket"));
    assert_eq!(response.header("Connection"), Some("Upgrade"));
    // The accept value of RFC 6455, section 1.3, whose key the client uses.
    assert_eq!(response.header("Sec-WebSocket-Accept"), Some("s3pPLMBiTxaQ9kYGzzhZRbK+xOo="));
    let known = ["upgrade", "connection", "sec-websocket-accept", "date"];
    for (name, value) in &response.headers.0 {
        assert!(known.contains(&&*name.to_lowercase()), "{name}: {value}");
    }
}

/// 5.5: tokens are found in lists, in several fields, and in any case.
#[test]
fn tokens_are_found_wherever_they_are() {
    let backend = Backend::admitting("alice").start();
    let ekbo = Ekbo::with(&backend).start();
    let plan = || Client::to(&ekbo);
    plan().instead("Connection", "keep-alive, UPGRADE").connect();
    plan().instead("Connection", "keep-alive").header("Connection", "x ,upgrade").connect();
    plan().instead("Upgrade", "h2c, WebSocket").connect();
    plan().instead("Upgrade", "h2c").header("Upgrade", "websocket").connect();
    plan().instead("Sec-WebSocket-Version", "8, 13").connect();
    plan().instead("Sec-WebSocket-Version", "8").header("sec-websocket-version", "13").connect();
}

/// 5.5: the length of the key is not checked.
#[test]
fn any_key_will_do() {
    let backend = Backend::admitting("alice").start();
    let ekbo = Ekbo::with(&backend).start();
    for key in ["x", "not base64!", &"x".repeat(300)] {
        Client::to(&ekbo).instead("Sec-WebSocket-Key", key).connect();
    }
}

/// 5.5 row 1: without an upgrade token in `Connection` it is a 400.
#[test]
fn connection_has_to_say_upgrade() {
    expect_refusals(400, "Bad Request\n", &|ekbo| {
        vec![
            Client::to(ekbo).without("Connection").refused(),
            Client::to(ekbo).instead("Connection", "keep-alive").refused(),
            Client::to(ekbo).instead("Connection", "upgraded").refused(),
            ekbo.get("/connect"),
        ]
    });
}

/// 5.5 row 2: without a websocket token in `Upgrade` it is a 400.
#[test]
fn upgrade_has_to_say_websocket() {
    expect_refusals(400, "Bad Request\n", &|ekbo| {
        vec![
            Client::to(ekbo).without("Upgrade").refused(),
            Client::to(ekbo).instead("Upgrade", "h2c").refused(),
            Client::to(ekbo).instead("Upgrade", "websockets").refused(),
        ]
    });
}

/// 5.5 row 3: another method than GET is a 405.
#[test]
fn the_method_has_to_be_get() {
    expect_refusals(405, "Method Not Allowed\n", &|ekbo| {
        ["POST", "PUT", "OPTIONS"].map(|method| Client::to(ekbo).method(method).refused()).into()
    });
}

/// 5.5 row 3, KB-CON-6: a HEAD is refused without a body.
#[test]
fn a_head_is_refused_without_a_body() {
    let ekbo = Ekbo::alone().start();
    let response = Client::to(&ekbo).method("HEAD").refused();
    assert_eq!((response.status, response.text()), (405, ""));
    assert_eq!(ekbo.request("HEAD", "/connect").send().status, 400);
}

/// 5.5 row 4: another version than 13 is a 400.
#[test]
fn the_version_has_to_be_13() {
    expect_refusals(400, "Bad Request\n", &|ekbo| {
        vec![
            Client::to(ekbo).without("Sec-WebSocket-Version").refused(),
            Client::to(ekbo).instead("Sec-WebSocket-Version", "8").refused(),
            Client::to(ekbo).instead("Sec-WebSocket-Version", "131").refused(),
        ]
    });
}

/// 5.5 row 5: a refused Origin is a 403.
#[test]
fn the_origin_has_to_be_allowed() {
    expect_refusals(403, "Forbidden\n", &|ekbo| {
        vec![
            Client::to(ekbo).origin("http://evil.example").refused(),
            Client::to(ekbo).origin("null").refused(),
        ]
    });
}

/// 5.5 row 6: a missing or blank key is a 400.
#[test]
fn there_has_to_be_a_key() {
    expect_refusals(400, "Bad Request\n", &|ekbo| {
        vec![
            Client::to(ekbo).without("Sec-WebSocket-Key").refused(),
            Client::to(ekbo).instead("Sec-WebSocket-Key", "").refused(),
            Client::to(ekbo).instead("Sec-WebSocket-Key", "  ").refused(),
        ]
    });
}

/// 5.5: the first check that fails decides.
#[test]
fn the_first_failing_check_decides() {
    let ekbo = Ekbo::alone().set("origin_policy", "same_origin").start();
    let bad = || {
        let plan = Client::to(&ekbo).without("Sec-WebSocket-Key").origin("http://evil.example");
        plan.instead("Sec-WebSocket-Version", "8").method("PUT").without("Upgrade")
    };
    assert_eq!(bad().without("Connection").refused().status, 400);
    assert_eq!(bad().refused().status, 400);
    assert_eq!(bad().header("Upgrade", "websocket").refused().status, 405);
    let got = || bad().header("Upgrade", "websocket").method("GET");
    assert_eq!(got().refused().status, 400);
    assert_eq!(got().instead("Sec-WebSocket-Version", "13").refused().status, 403);
}

/// under the policy `none` every Origin is fine.
#[test]
fn the_policy_none_takes_any_origin() {
    expect_allowed("none", "chat.example.com", &ORIGINS);
    expect_allowed("none", "chat.example.com:9180", &ORIGINS);
}

/// `same_origin` wants host and port as they stand in Host, or no Origin at all.
#[test]
fn same_origin_compares_host_and_port() {
    let without_port = [None, Some("http://chat.example.com"), Some("HTTP://CHAT.Example.COM")];
    expect_allowed("same_origin", "chat.example.com", &without_port);
    let with_port =
        [None, Some("https://chat.example.com:9180"), Some("HTTP://CHAT.Example.COM:9180")];
    expect_allowed("same_origin", "chat.example.com:9180", &with_port);
    expect_allowed("same_origin", "CHAT.EXAMPLE.com:9180", &with_port);
}

/// A-12, Q10: `same_hostname` wants an Origin of the same host, whatever the ports.
#[test]
fn same_hostname_compares_hosts() {
    let allowed = [
        Some("http://chat.example.com"),
        Some("https://chat.example.com:9180"),
        Some("http://chat.example.com:1234"),
        Some("HTTP://CHAT.Example.COM"),
        Some("HTTP://CHAT.Example.COM:9180"),
    ];
    for host in ["chat.example.com", "chat.example.com:9180", "Chat.Example.Com:80"] {
        expect_allowed("same_hostname", host, &allowed);
    }
}

/// default ports are not made equal to none, and addresses of IPv6 have hosts, too.
#[test]
fn unusual_hosts_are_compared() {
    let backend = Backend::admitting("alice").start();
    let ekbo = Ekbo::with(&backend).set("origin_policy", "same_origin").start();
    let plan = Client::to(&ekbo).host("chat.example.com").origin("http://chat.example.com:80");
    assert_eq!(plan.refused().status, 403);
    Client::to(&ekbo).host("[::1]:9180").origin("http://[::1]:9180").connect();

    let ekbo = Ekbo::with(&backend).set("origin_policy", "same_hostname").start();
    Client::to(&ekbo).host("[::1]:9180").origin("http://[::1]").connect();
    let plan = Client::to(&ekbo).host("[::1]:9180").origin("http://[::2]:9180");
    assert_eq!(plan.refused().status, 403);
}

/// 5.5: of several Origins the first counts.
#[test]
fn the_first_origin_counts() {
    let backend = Backend::admitting("alice").start();
    let ekbo = Ekbo::with(&backend).set("origin_policy", "same_origin").start();
    let plan = || Client::to(&ekbo).host("chat.example.com");
    plan().origin("http://chat.example.com").origin("http://evil.example").connect();
    let refused = plan().origin("http://evil.example").origin("http://chat.example.com").refused();
    assert_eq!(refused.status, 403);
}

/// Q12, F-12: frames that come with the handshake, or before its answer, are read.
#[test]
fn early_frames_are_read() {
    let gate = Gate::new();
    let answer = Answer::admit("alice").held_by(&gate).body("hello");
    let backend = Backend::plan().on("/connect", answer).on("/receive", Answer::ok()).start();
    let ekbo = Ekbo::with(&backend).start();
    let pending = Client::to(&ekbo)
        .early(&Frame::text("first").unfinished())
        .early(&Frame::ping("early"))
        .early(&Frame::continuation(" message"))
        .start();
    gate.wait_until_reached_by(1);
    gate.open();
    let mut alice = pending.connect();
    alice.send(&Frame::text("second"));
    let received = backend.wait_for("/receive", 2);
    assert_eq!([received[0].text(), received[1].text()], ["first message", "second"]);
    // The first message is the first data, not the first frame.
    let mut frames = [alice.receive(), alice.receive()];
    frames.sort_by_key(|frame| matches!(frame, Received::Pong(_)));
    let pong = Received::Pong(b"early".to_vec());
    assert_eq!(frames, [Received::Text("hello".to_owned()), pong]);
    assert_eq!(ekbo.stats().connect_errors, 0);
}

/// Q12: much early data is read whole.
#[test]
fn much_early_data_is_read() {
    let gate = Gate::new();
    let answer = Answer::admit("alice").held_by(&gate);
    let backend = Backend::plan().on("/connect", answer).on("/receive", Answer::ok()).start();
    let ekbo = Ekbo::with(&backend).start();
    let long = "x".repeat(100_000);
    let pending = Client::to(&ekbo).early(&Frame::text(&long)).early(&Frame::text("end")).start();
    gate.wait_until_reached_by(1);
    gate.open();
    let _alice = pending.connect();
    let received = backend.wait_for("/receive", 2);
    assert_eq!(received[0].text().len(), long.len());
    assert_eq!(received[1].text(), "end");
}

/// 5.5: a refused client may use its connection for another request.
#[test]
fn a_refusal_leaves_the_connection_usable() {
    let ekbo = Ekbo::alone().start();
    let mut http = ekbo.http();
    assert_eq!(http.exchange("GET /connect HTTP/1.1\r\nHost: x\r\n\r\n").status, 400);
    assert_eq!(http.exchange("GET /ping HTTP/1.1\r\nHost: x\r\n\r\n").status, 200);
}

/// 5.5: somebody else's client library takes the answer.
#[test]
fn a_conforming_client_connects() {
    let backend = Backend::plan().on("/connect", Answer::admit("alice").body("hello")).start();
    let ekbo = Ekbo::with(&backend).start();
    let mut alice = Client::conforming(&ekbo);
    assert_eq!(alice.read().unwrap().to_text().unwrap(), "hello");
    ekbo.send(["alice"], "again");
    assert_eq!(alice.read().unwrap().to_text().unwrap(), "again");
}

/// Makes refused handshakes at a server with the policy `same_origin`, and checks the answers,
/// that they are counted, and that the backend is never asked.
#[track_caller]
fn expect_refusals(status: u16, body: &str, refuse: &dyn Fn(&Ekbo) -> Vec<Response>) {
    let backend = Backend::admitting("alice").start();
    let ekbo = Ekbo::with(&backend).set("origin_policy", "same_origin").start();
    let responses = refuse(&ekbo);
    for response in &responses {
        response.assert_is(status, "text/plain; charset=utf-8", body);
        assert_eq!(response.header("Sec-WebSocket-Version"), Some("13"));
        assert_eq!(response.header("X-Content-Type-Options"), Some("nosniff"));
        assert!(response.has_header("Date"));
    }
    let refused = u64::try_from(responses.len()).unwrap();
    let stats = ekbo.stats();
    assert_eq!((stats.total_connections, stats.connect_errors), (refused, refused));
    assert_eq!(stats.connections, 0);
    assert_eq!(backend.requests("/connect").len(), 0);
}

/// Checks under a policy which of [`ORIGINS`] are allowed for a host.
#[track_caller]
fn expect_allowed(policy: &str, host: &str, allowed: &[Option<&str>]) {
    let backend = Backend::admitting("alice").start();
    let ekbo = Ekbo::with(&backend).set("origin_policy", policy).start();
    for origin in ORIGINS {
        let plan = Client::to(&ekbo).host(host);
        let plan = match origin {
            Some(origin) => plan.origin(origin),
            None => plan,
        };
        let status = plan.start().status();
        let expected = if allowed.contains(&origin) { 101 } else { 403 };
        assert_eq!(status, expected, "{policy}: {origin:?} at {host}");
    }
}

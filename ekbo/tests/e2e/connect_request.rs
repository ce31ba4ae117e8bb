//! The connect callback as the backend gets it: what of the client's request is in it, and
//! what never is. What becomes of the answer is in `connect.rs`.

use super::harness::{Answer, Backend, Client, Ekbo, Frame, Request};

const ENDPOINT: &str = "X-Kuiperbelt-Endpoint";

/// 5.2: a GET of the callback's path on the callback's host, without a body.
#[test]
fn it_is_a_bodiless_get() {
    let backend = Backend::admitting("alice").start();
    let ekbo = Ekbo::with(&backend).start();
    let _alice = Client::connect(&ekbo);
    let connect = backend.wait_for_first("/connect");
    assert_eq!((&*connect.method, &*connect.target), ("GET", "/connect"));
    assert_eq!(connect.header("Host"), Some(&*format!("127.0.0.1:{}", backend.port())));
    for name in ["Content-Length", "Transfer-Encoding", "Connection", "Upgrade"] {
        assert_eq!(connect.header(name), None, "{name}");
    }
    assert_eq!(connect.body, b"");
}

/// 5.2: a client's body is never passed on.
#[test]
fn a_body_is_not_forwarded() {
    let backend = Backend::admitting("alice").start();
    let ekbo = Ekbo::with(&backend).start();
    let pending = Client::to(&ekbo).body("hello").start();
    let connect = backend.wait_for_first("/connect");
    assert_eq!(connect.body, b"");
    assert_eq!(connect.header("Content-Length"), None);
    assert_eq!(connect.header("Transfer-Encoding"), None);
    pending.give_up();
}

/// 5.2, Q25, A-8: the client's query replaces the configured one, byte for byte; with
/// none, there is none. The start warns of a query that will be dropped.
#[test]
fn the_query_is_the_clients() {
    let backend = Backend::admitting("alice").start();
    let configured = backend.url("/connect") + "?configured=1";
    let ekbo = Ekbo::with(&backend).set("callback.connect", &configured).start();
    let queries =
        ["a=b", "a=b&a=c;d", "x=%20+%2F%zz&&=", "room=1&token=a/b?c", "%E2%82%AC=%26", "a'b=(c)!*"];
    for (number, query) in queries.into_iter().enumerate() {
        let _client = Client::to(&ekbo).query(query).connect();
        let connect = backend.wait_for("/connect", number + 1).remove(number);
        assert_eq!(connect.target, format!("/connect?{query}"));
    }
    let _client = Client::connect(&ekbo);
    let connect = backend.wait_for("/connect", queries.len() + 1).remove(queries.len());
    assert_eq!(connect.query(), None);
    let warned = ekbo.log().into_iter().any(|line| {
        line.level == "warn" && format!("{} {}", line.message, line.fields).contains("query")
    });
    assert!(warned, "{:?}", ekbo.log());
}

/// 5.2: nothing of the client's path is passed on.
#[test]
fn the_path_is_the_configured_one() {
    let backend = Backend::admitting("alice").start();
    let ekbo = Ekbo::with(&backend).set("path.connect", "/socket.io/").start();
    let _alice = Client::to(&ekbo).path("/socket.io/1/websocket").query("t=1").connect();
    assert_eq!(backend.wait_for_first("/connect").target, "/connect?t=1");
}

/// 5.2, A-9: every other header of the client is passed on, with all its values in order.
#[test]
fn the_clients_headers_pass() {
    let backend = Backend::admitting("alice").start();
    let ekbo = Ekbo::with(&backend).start();
    let passed = [
        ("Cookie", "session=1; theme=dark"),
        ("Authorization", "Bearer client"),
        ("Origin", "https://example.com"),
        ("User-Agent", "Browser/1.0"),
        ("Accept-Language", "de, en;q=0.5"),
        ("X-Forwarded-For", "192.168.1.1"),
        ("X-Forwarded-Proto", "https"),
        ("X-Forwarded-Host", "chat.example.com"),
        ("X-Custom", "one"),
        ("X-Custom", "two, three"),
        ("X-Kuiperbelt-Hogehoge", "hogehoge"),
        ("X_Underscore", "yes"),
        ("X-Empty", ""),
    ];
    let plan =
        passed.iter().fold(Client::to(&ekbo), |plan, (name, value)| plan.header(name, value));
    let _alice = plan.connect();
    let connect = backend.wait_for_first("/connect");
    for (name, _) in passed {
        let sent = passed.iter().filter(|(field, _)| *field == name).map(|(_, value)| *value);
        assert_eq!(connect.headers.all(name), sent.collect::<Vec<_>>(), "{name}");
    }
}

/// 5.2: nothing about the client's address or host is added.
#[test]
fn nothing_about_the_client_is_added() {
    let backend = Backend::admitting("alice").start();
    let ekbo = Ekbo::with(&backend).start();
    let _alice = Client::to(&ekbo).host("chat.example.com").connect();
    let connect = backend.wait_for_first("/connect");
    for (name, value) in &connect.headers.0 {
        assert!(!name.to_lowercase().contains("forward"), "{name}: {value}");
        assert!(!value.contains("chat.example.com"), "{name}: {value}");
    }
    // Without one of the client's, the user agent is our own.
    assert!(connect.header("User-Agent").is_some_and(|agent| !agent.is_empty()));
}

/// 5.2, KB-CON-4, A-9: headers of the hop, of the handshake and of the framing stay behind.
#[test]
fn headers_of_the_hop_stay_behind() {
    let backend = Backend::admitting("alice").start();
    let ekbo = Ekbo::with(&backend).start();
    let _alice = Client::to(&ekbo)
        .instead("Connection", "keep-alive, Upgrade")
        .header("Sec-WebSocket-Extensions", "permessage-deflate")
        .header("Sec-WebSocket-Protocol", "chat")
        .header("sEc-WebSocket-Foo", "foo")
        .header("SEC-WEBSOCKETBAR", "bar")
        .header("Keep-Alive", "timeout=5")
        .header("Proxy", "http://evil.example/")
        .header("Proxy-Connection", "keep-alive")
        .header("TE", "trailers")
        .header("Trailer", "X-Trailer")
        .header("Accept-Encoding", "gzip, br")
        .connect();
    let connect = backend.wait_for_first("/connect");
    for (name, value) in &connect.headers.0 {
        let name = name.to_lowercase();
        let hop =
            ["connection", "upgrade", "keep-alive", "proxy", "proxy-connection", "te", "trailer"];
        assert!(!hop.contains(&&*name), "{name}: {value}");
        assert!(!name.starts_with("sec-websocket"), "{name}: {value}");
    }
}

/// KB-CON-4: `Expect` stays behind.
#[test]
fn expect_stays_behind() {
    let backend = Backend::admitting("alice").start();
    let ekbo = Ekbo::with(&backend).start();
    let pending = Client::to(&ekbo).header("Expect", "100-continue").start();
    assert_eq!(backend.wait_for_first("/connect").header("Expect"), None);
    pending.give_up();
}

/// KB-CON-5, Q31, F-11: the backend is not asked to compress, whatever the client accepts.
#[test]
fn compression_is_not_asked_for() {
    let backend = Backend::plan()
        .on_request("/connect", |request| {
            let accepted = request.header("Accept-Encoding").unwrap_or_default();
            let answer = Answer::admit("alice");
            if accepted.contains("gzip") || accepted.contains("br") {
                answer.header("Content-Encoding", "gzip").body([0x1f, 0x8b, 8, 0])
            } else {
                answer.body("plain")
            }
        })
        .start();
    let ekbo = Ekbo::with(&backend).start();
    let mut alice = Client::to(&ekbo).header("Accept-Encoding", "gzip, deflate, br").connect();
    alice.expect_text("plain");
    let connect = backend.wait_for_first("/connect");
    assert!(matches!(connect.header("Accept-Encoding"), None | Some("identity")));
}

/// 5.2: credentials in the callback URL are used unless the client has its own.
#[test]
fn credentials_of_the_url_are_a_default() {
    let backend = Backend::admitting("alice").start();
    let url = backend.url("/connect").replace("http://", "http://user:pa%20ss@");
    let ekbo = Ekbo::with(&backend).set("callback.connect", &url).start();
    let _first = Client::connect(&ekbo);
    let _second = Client::to(&ekbo).header("Authorization", "Bearer client").connect();
    let connects = backend.wait_for("/connect", 2);
    // user:pa ss
    assert_eq!(connects[0].header("Authorization"), Some("Basic dXNlcjpwYSBzcw=="));
    assert_eq!(connects[1].header("Authorization"), Some("Bearer client"));
    assert_eq!(connects[0].header("Host"), Some(&*format!("127.0.0.1:{}", backend.port())));
}

/// 5.2, A-10: `proxy_set_header` replaces all values, or removes, whatever the case of the
/// name; it cannot change the host.
#[test]
fn proxy_set_header_replaces_and_removes() {
    let backend = Backend::admitting("alice").start();
    let ekbo = Ekbo::with(&backend)
        .set("proxy_set_header.x-replaced", "ours")
        .set("proxy_set_header.X-Added", "added")
        .set("proxy_set_header.X-FORWARDED-FOR", "''")
        .set("proxy_set_header.Cookie", "")
        .set("proxy_set_header.Host", "other.example")
        .set("proxy_set_header.User-Agent", "''")
        .start();
    let _alice = Client::to(&ekbo)
        .header("X-Replaced", "one")
        .header("X-REPLACED", "two")
        .header("X-Forwarded-For", "192.168.1.1")
        .header("x-forwarded-for", "192.168.1.2")
        .header("Cookie", "a=b")
        .header("User-Agent", "Browser/1.0")
        .connect();
    let connect = backend.wait_for_first("/connect");
    assert_eq!(connect.header("X-Replaced"), Some("ours"));
    assert_eq!(connect.header("X-Added"), Some("added"));
    assert!(!connect.has_header("X-Forwarded-For"));
    assert_eq!(connect.header("Host"), Some(&*format!("127.0.0.1:{}", backend.port())));
    // Null is an empty string: the header is removed.
    assert!(!connect.has_header("Cookie"));
    assert_ne!(connect.header("User-Agent"), Some("Browser/1.0"));
    assert!(connect.header("User-Agent").is_some());
}

/// KB-CON-2, Q1, D5, F-1: of the endpoint header there is exactly one, and it is ours.
#[test]
fn the_endpoint_cannot_be_spoofed() {
    let backend = Backend::admitting("alice").start();
    let ekbo = Ekbo::with(&backend).set("endpoint", "gateway.example:9180").start();
    let _alice = Client::to(&ekbo)
        .header("X-Kuiperbelt-Endpoint", "evil.example")
        .header("x-kuiperbelt-endpoint", "evil.example")
        .header("X_Kuiperbelt_Endpoint", "evil.example")
        .header("X-Kuiperbelt_Endpoint", "evil.example")
        .connect();
    let connect = backend.wait_for_first("/connect");
    assert_eq!(connect.header(ENDPOINT), Some("gateway.example:9180"));
    expect_nowhere(&connect, "evil.example");
}

/// KB-CON-2, D15: an entry of `proxy_set_header` replaces the endpoint; an empty one does not
/// remove it.
#[test]
fn the_operator_may_replace_the_endpoint() {
    for (entry, endpoint) in [("other.example:80", "other.example:80"), ("''", "gateway.example")] {
        let backend = Backend::admitting("alice").on("/establish", Answer::ok()).start();
        let ekbo = Ekbo::with(&backend)
            .set("endpoint", "gateway.example")
            .set("proxy_set_header.x-kuiperbelt-endpoint", entry)
            .start();
        let alice = Client::connect(&ekbo);
        assert_eq!(backend.wait_for_first("/connect").header(ENDPOINT), Some(endpoint));
        assert_eq!(backend.wait_for_first("/establish").header(ENDPOINT), Some(endpoint));
        drop(alice);
        assert_eq!(backend.wait_for_first("/close").header(ENDPOINT), Some(endpoint));
    }
}

/// KB-CON-3, Q2, D5, F-1: a client's session header is dropped, under whatever name it is
/// configured, also spelled with underscores.
#[test]
fn the_session_header_cannot_be_spoofed() {
    for name in ["X-Kuiperbelt-Session", "X-My-Session", "x-lower-session"] {
        let backend = Backend::plan().on("/connect", Answer::ok().header(name, "alice")).start();
        let ekbo = Ekbo::with(&backend).set("session_header", name).start();
        let _alice = Client::to(&ekbo)
            .header(name, "victim")
            .header(&name.to_uppercase(), "victim")
            .header(&name.replace('-', "_"), "victim")
            .connect();
        expect_nowhere(&backend.wait_for_first("/connect"), "victim");
    }
}

/// KB-CON-3: `forward_session_header` lets it pass, as the original did.
#[test]
fn the_session_header_passes_on_request() {
    let backend = Backend::admitting("alice").start();
    let ekbo = Ekbo::with(&backend).set("forward_session_header", "true").start();
    let _alice = Client::to(&ekbo).header("X-Kuiperbelt-Session", "mine").connect();
    assert_eq!(backend.wait_for_first("/connect").session(), Some("mine"));
}

/// D15: no header that Kuiperbelt defines comes from a client; other names pass.
#[test]
fn no_header_of_kuiperbelt_comes_from_a_client() {
    let backend = Backend::admitting("alice").start();
    let ekbo = Ekbo::with(&backend).start();
    let names = [
        "X-Kuiperbelt-Connection",
        "X-Kuiperbelt-State",
        "X-Kuiperbelt-Close-Code",
        "X-Kuiperbelt-Close-Reason",
        "X-Kuiperbelt-Close",
        "X-Kuiperbelt-Channel",
        "X-Kuiperbelt-Subscribe",
        "X-Kuiperbelt-Unsubscribe",
        "webhook-id",
        "webhook-timestamp",
        "webhook-signature",
    ];
    let mut plan = Client::to(&ekbo).header("X-Kuiperbelt-Other", "passes");
    for name in names {
        plan = plan.header(name, "spoofed").header(&name.replace('-', "_"), "spoofed");
    }
    let _alice = plan.connect();
    let connect = backend.wait_for_first("/connect");
    expect_nowhere(&connect, "spoofed");
    assert_eq!(connect.header("X-Kuiperbelt-Other"), Some("passes"));
}

/// D6: offered subprotocols are shown in one field, whatever the client wrote there.
#[test]
fn offered_subprotocols_are_shown() {
    let backend = Backend::admitting("alice").start();
    let ekbo = Ekbo::with(&backend).start();
    let name = "X-Kuiperbelt-Subprotocol";
    let _one = Client::to(&ekbo).protocols("chat").header(name, "spoofed").connect();
    let _several = Client::to(&ekbo).protocols("chat,superchat ,  v2").protocols("v3").connect();
    let _none = Client::to(&ekbo).header(name, "spoofed").connect();
    let connects = backend.wait_for("/connect", 3);
    assert_eq!(connects[0].header(name), Some("chat"));
    let several: Vec<&str> = connects[1].header(name).unwrap().split(',').map(str::trim).collect();
    assert_eq!(several, ["chat", "superchat", "v2", "v3"]);
    assert_eq!(connects[2].header(name), None);
}

/// KB-CON-10, Q18, D15, F-2, A-10: `proxy_set_header` reaches all four callbacks and can strip
/// the protocol's own headers from none.
#[test]
fn protocol_headers_are_written_last() {
    let backend = Backend::admitting("alice")
        .on("/establish", Answer::ok())
        .on("/receive", Answer::ok())
        .start();
    let ekbo = Ekbo::with(&backend)
        .set("endpoint", "gateway.example")
        .set("proxy_set_header.X-Kuiperbelt-Session", "''")
        .set("proxy_set_header.X-Kuiperbelt-Endpoint", "''")
        .set("proxy_set_header.Content-Type", "text/evil")
        .set("proxy_set_header.Content-Length", "1")
        .set("proxy_set_header.X-Kuiperbelt-Close-Code", "4000")
        .set("proxy_set_header.X-Foo", "Foo")
        .start();
    let mut alice = Client::connect(&ekbo);
    alice.send(&Frame::text("hello"));
    let receive = backend.wait_for_first("/receive");
    drop(alice);
    let close = backend.wait_for_first("/close");
    for request in [
        &backend.wait_for_first("/connect"),
        &backend.wait_for_first("/establish"),
        &receive,
        &close,
    ] {
        assert_eq!(request.header("X-Foo"), Some("Foo"), "{request:?}");
        assert_eq!(request.header(ENDPOINT), Some("gateway.example"), "{request:?}");
    }
    for request in [&backend.wait_for_first("/establish"), &receive, &close] {
        assert_eq!(request.session(), Some("alice"), "{request:?}");
    }
    assert_eq!(receive.header("Content-Type"), Some("text/plain"));
    assert_eq!(receive.text(), "hello");
    assert_eq!(close.header("X-Kuiperbelt-Close-Code"), Some("1006"));
}

#[track_caller]
fn expect_nowhere(request: &Request, value: &str) {
    for (name, present) in &request.headers.0 {
        assert!(!present.contains(value), "{name}: {present}");
    }
}

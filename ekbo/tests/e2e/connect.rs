//! What becomes of the connect callback's answer: the rows of section 5.3, redirects, time-outs,
//! subprotocols. What the callback carries is in `connect_request.rs`, what becomes of the body
//! of its answer in `connect_body.rs`.

use std::time::Duration;

use super::harness::{
    Answer, Backend, Client, Directory, Ekbo, EkboPlan, Frame, Gate, Request, Response, Signal,
    Stopwatch, eventually, free_port,
};

const PLAIN: &str = "text/plain; charset=utf-8";

/// Line 15: the callback of the original's friendly backend sees what it expects.
#[test]
fn a_friendly_backend_admits() {
    let backend = Backend::plan().on_request("/connect", friendly).start();
    let ekbo = as_in_the_original(&backend).start();
    let mut client = Client::to(&ekbo)
        .header("X-Kuiperbelt-Hogehoge", "hogehoge")
        .header("X-Forwarded-For", "192.168.1.1")
        .protocols("kuiperbelt")
        .connect();
    client.expect_text("hello");
    assert_eq!(client.response.header("Sec-WebSocket-Protocol"), None);
    let connect = backend.wait_for_first("/connect");
    assert_eq!(connect.header("X-Kuiperbelt-Hogehoge"), Some("hogehoge"));
    assert_eq!(connect.header("X-Kuiperbelt-Endpoint"), Some("localhost"));
}

/// Line 16: a refusal reaches the client with its body.
#[test]
fn a_refusal_reaches_the_client() {
    let refusal = Answer::status(403).body("fail authorization!");
    let backend = Backend::plan().on("/connect", refusal).start();
    let response = Client::to(&as_in_the_original(&backend).start()).refused();
    assert_eq!((response.status, response.text()), (403, "fail authorization!"));
}

/// Line 19, 5.3 row 2: a callback that takes longer than `callback.timeout` is a 502.
#[test]
fn a_slow_callback_is_a_bad_gateway() {
    let never = Gate::new();
    let backend = Backend::plan().on("/connect", Answer::admit("alice").held_by(&never)).start();
    let ekbo = Ekbo::with(&backend).set("callback.timeout", "300ms").start();
    let started = Stopwatch::start();
    expect_plain(&Client::to(&ekbo).refused(), 502, "Bad Gateway\n");
    assert!(started.elapsed() >= Duration::from_millis(300));
    expect_errors(&ekbo, 1);
}

/// 5.3 row 1, KB-CON-6: no callback, or one that cannot be parsed, is a 500.
#[test]
fn without_a_callback_nobody_is_admitted() {
    let plans = [
        Ekbo::alone(),
        Ekbo::alone().set("callback.connect", "''"),
        Ekbo::alone().set("callback.connect", "bareword"),
        Ekbo::alone().set("callback.connect", "http://localhost/%zz"),
        Ekbo::alone().set("callback.connect", "'http://[::1/connect'"),
    ];
    for plan in plans {
        let ekbo = plan.start();
        expect_plain(&Client::to(&ekbo).refused(), 500, "Internal Server Error\n");
        expect_errors(&ekbo, 1);
    }
}

/// 5.3 row 1, KB-CFG-7: a URL without a host can be parsed, and is a 502.
#[test]
fn a_callback_without_a_host_is_a_bad_gateway() {
    for url in ["/connect", "http:/localhost/connect", "http:///connect"] {
        let ekbo = Ekbo::alone().set("callback.connect", url).start();
        expect_plain(&Client::to(&ekbo).refused(), 502, "Bad Gateway\n");
        expect_errors(&ekbo, 1);
    }
}

/// 5.3 row 2, KB-CON-6: a backend that cannot be reached is a 502.
#[test]
fn an_unreachable_backend_is_a_bad_gateway() {
    let nobody = format!("http://127.0.0.1:{}/connect", free_port());
    for url in [&*nobody, "http://no-such-host.invalid/connect", "ftp://127.0.0.1/connect"] {
        let ekbo = Ekbo::alone().set("callback.connect", url).start();
        expect_plain(&Client::to(&ekbo).refused(), 502, "Bad Gateway\n");
        expect_errors(&ekbo, 1);
        assert_eq!(ekbo.wait_for_log("connect error before upgrade").level, "error");
    }
}

/// 5.3 row 2, KB-CON-6: an answer that is none is a 502.
#[test]
fn a_broken_answer_is_a_bad_gateway() {
    for answer in [
        "",
        "nonsense\r\n\r\n",
        "HTTP/1.1 OK\r\n\r\n",
        "HTTP/1.1 200 OK\r\nX-Kuiperbelt-Sess",
        "HTTP/1.1 200 OK\r\nno colon\r\n\r\n",
        "HTTP/1.1 200 OK\r\nX-Kuiperbelt-Session: alice\r\nContent-Length: x\r\n\r\n",
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: upgrade\r\n\r\n",
    ] {
        let backend = Backend::plan().on("/connect", Answer::raw(answer)).start();
        let ekbo = Ekbo::with(&backend).start();
        expect_plain(&Client::to(&ekbo).refused(), 502, "Bad Gateway\n");
        expect_errors(&ekbo, 1);
    }
}

/// 5.3 row 3, KB-CON-6, Q24: any other status is passed on with its type and body, and counted
/// unless it is a 403.
#[test]
fn any_other_status_is_passed_on() {
    for status in [201, 202, 400, 401, 403, 404, 418, 429, 500, 502, 503] {
        let answer = Answer::status(status).header("Content-Type", "application/problem+json");
        let answer = answer.header("X-Kuiperbelt-Session", "alice").body(r#"{"no":"entry"}"#);
        let backend = Backend::plan().on("/connect", answer).start();
        let ekbo = Ekbo::with(&backend).start();
        let response = Client::to(&ekbo).refused();
        response.assert_is(status, "application/problem+json", r#"{"no":"entry"}"#);
        assert!(response.has_header("Date"));
        assert!(!response.has_header("Server"));
        expect_errors(&ekbo, u64::from(status != 403));
    }
}

/// 5.3 row 3, KB-CON-6: statuses without a body are passed on, too.
#[test]
fn bodiless_statuses_are_passed_on() {
    for status in [204, 304] {
        let answer = Answer::status(status).header("X-Kuiperbelt-Session", "alice");
        let backend = Backend::plan().on("/connect", answer).start();
        let ekbo = Ekbo::with(&backend).start();
        let response = Client::to(&ekbo).refused();
        assert_eq!((response.status, response.text()), (status, ""));
        assert_eq!(response.header("Content-Type"), None);
        expect_errors(&ekbo, 1);
    }
}

/// 5.3 row 3, KB-CON-6: of a refusal nothing else is passed on, and no Content-Type made up.
#[test]
fn only_status_type_and_body_are_passed_on() {
    let dropped = [
        ("Set-Cookie", "a=b"),
        ("WWW-Authenticate", "Basic"),
        ("Location", "/login"),
        ("Retry-After", "5"),
        ("Content-Encoding", "x"),
        ("Server", "backend"),
        ("X-Other", "other"),
    ];
    let answer = Answer::status(401).body("who are you?");
    let answer = dropped.iter().fold(answer, |answer, (name, value)| answer.header(name, value));
    let backend = Backend::plan().on("/connect", answer).start();
    let response = Client::to(&Ekbo::with(&backend).start()).refused();
    assert_eq!((response.status, response.text()), (401, "who are you?"));
    assert!(!response.has_header("Content-Type"), "{response:?}");
    for (name, _) in dropped {
        assert!(!response.has_header(name), "{response:?}");
    }
}

/// 5.2: a redirect is followed, by a GET with the same headers.
#[test]
fn a_redirect_is_followed() {
    for status in [301, 302, 303, 307, 308] {
        let backend = Backend::admitting("alice").start();
        let elsewhere = backend.url("/connect") + "?elsewhere";
        backend.on("/moved", Answer::status(status).header("Location", &elsewhere));
        let moved = backend.url("/moved");
        let ekbo = Ekbo::with(&backend).set("callback.connect", &moved).start();
        let _alice = Client::to(&ekbo).header("X-Custom", "custom").connect();
        let connect = backend.wait_for_first("/connect");
        assert_eq!((&*connect.method, connect.query()), ("GET", Some("elsewhere")), "{status}");
        assert_eq!(connect.header("X-Custom"), Some("custom"), "{status}");
        assert!(connect.has_header("X-Kuiperbelt-Endpoint"), "{status}");
    }
}

/// 5.2, 5.3 row 2: redirects without end are a 502.
#[test]
fn redirects_come_to_an_end() {
    let backend = Backend::admitting("alice").start();
    let itself = backend.url("/connect");
    backend.on("/connect", Answer::status(302).header("Location", &itself));
    let ekbo = Ekbo::with(&backend).start();
    expect_plain(&Client::to(&ekbo).refused(), 502, "Bad Gateway\n");
    expect_errors(&ekbo, 1);
    assert!(backend.requests("/connect").len() <= 11);
}

/// 5.2: no redirect leads to a unix socket of this machine, and user information in one is not
/// shown in the Host.
#[test]
fn redirects_stay_outside() {
    let directory = Directory::new();
    let socket = directory.join("s");
    let inside = Backend::admitting("alice").start_unix(&socket);
    let hex: String = socket.to_str().unwrap().bytes().map(|byte| format!("{byte:02x}")).collect();
    let backend = Backend::admitting("alice").start();
    let ekbo = Ekbo::with(&backend).start();
    for location in [
        format!("http://{hex}.unix/connect"),
        format!("//{hex}.unix/connect"),
        format!("unix:{}:/connect", socket.display()),
    ] {
        let answer = Answer::status(302).header("Location", &location);
        backend.on("/connect", answer);
        assert_eq!(Client::to(&ekbo).refused().status, 302, "{location}");
    }
    assert_eq!(inside.all_requests().len(), 0);

    let other = Backend::admitting("alice").start();
    let location = other.url("/connect").replace("//", "//me:secret@");
    backend.on("/connect", Answer::status(302).header("Location", &location));
    let _alice = Client::to(&ekbo).header("Authorization", "Bearer mine").connect();
    let connect = other.wait_for_first("/connect");
    assert_eq!(connect.header("Host"), Some(&*format!("127.0.0.1:{}", other.port())));
    assert_eq!(connect.header("Authorization"), Some("Basic bWU6c2VjcmV0"));
}

/// 5.2: a client's credentials do not follow a redirect to another host.
#[test]
fn credentials_stay_with_their_host() {
    let backend = Backend::admitting("alice").start();
    let elsewhere = backend.url("/connect").replace("127.0.0.1", "localhost");
    backend.on("/moved", Answer::status(302).header("Location", &elsewhere));
    let moved = backend.url("/moved");
    let ekbo = Ekbo::with(&backend).set("callback.connect", &moved).start();
    let _alice =
        Client::to(&ekbo).header("Cookie", "a=b").header("Authorization", "Bearer me").connect();
    assert_eq!(backend.wait_for_first("/moved").header("Authorization"), Some("Bearer me"));
    let connect = backend.wait_for_first("/connect");
    assert!(!connect.has_header("Cookie") && !connect.has_header("Authorization"), "{connect:?}");
}

/// 5.3: a 403 is logged as a refusal, everything else as an error.
#[test]
fn a_403_is_no_error() {
    let backend = Backend::plan().on("/connect", Answer::status(403)).start();
    let ekbo = Ekbo::with(&backend).start();
    Client::to(&ekbo).refused();
    assert_eq!(ekbo.wait_for_log("authorization failed").level, "info");
    backend.on("/connect", Answer::status(401));
    Client::to(&ekbo).refused();
    assert_eq!(ekbo.wait_for_log("connect error before upgrade").level, "error");
    let failures = ekbo.log();
    let failures = failures.iter().filter(|line| line.message == "connect error before upgrade");
    assert_eq!(failures.count(), 1);
}

/// 5.3 row 4, KB-CON-6: a 200 without a key is a 400.
#[test]
fn a_200_without_a_key_is_a_bad_request() {
    for answer in [
        Answer::ok().body("hello"),
        Answer::ok().header("X-Kuiperbelt-Session", "").body("hello"),
        Answer::ok().header("X-Kuiperbelt-Session", "  "),
        Answer::ok().header("X-Other-Session", "alice"),
    ] {
        let backend = Backend::plan().on("/connect", answer).on("/close", Answer::ok()).start();
        let ekbo = Ekbo::with(&backend).start();
        expect_plain(&Client::to(&ekbo).refused(), 400, "Bad Request\n");
        expect_errors(&ekbo, 1);
        assert_eq!(ekbo.wait_for_log("connect error before upgrade").level, "error");
        expect_stopped_without_close(ekbo, &backend);
    }
}

/// 5.3 row 6, KB-CON-6: a 200 with a key opens the WebSocket; its body is the first message.
#[test]
fn a_200_with_a_key_opens_the_websocket() {
    let backend = Backend::plan().on("/connect", Answer::admit("alice").body("hello")).start();
    let ekbo = Ekbo::with(&backend).start();
    let mut alice = Client::connect(&ekbo);
    alice.expect_text("hello");
    assert_eq!(ekbo.send(["alice"], "again").text(), r#"{"result":"OK"}"#);
    alice.expect_text("again");
    assert_eq!(ekbo.stats().connect_errors, 0);
}

/// 5.3: the key is found in any case of the header's name, and of several values the first counts.
#[test]
fn the_first_key_counts() {
    let answer = Answer::ok().header("x-KUIPERBELT-session", "alice");
    let answer = answer.header("X-Kuiperbelt-Session", "bob");
    let backend = Backend::plan().on("/connect", answer).start();
    let ekbo = Ekbo::with(&backend).start();
    let mut alice = Client::connect(&ekbo);
    assert!(ekbo.send(["bob"], "").text().contains("session is not found"));
    ekbo.send(["alice"], "hello");
    alice.expect_text("hello");
}

/// 5.3: a key is whatever text the backend chooses, and is told back byte for byte.
#[test]
fn a_key_is_any_text() {
    for key in ["\u{43a}\u{43b}\u{44e}\u{447}", "a, b;c=\"d\" <&>", "100%"] {
        let backend = Backend::admitting(key).start();
        let ekbo = Ekbo::with(&backend).start();
        let mut client = Client::connect(&ekbo);
        assert_eq!(ekbo.send([key], "hello").text(), r#"{"result":"OK"}"#, "{key}");
        client.expect_text("hello");
        drop(client);
        assert_eq!(backend.wait_for_first("/close").session(), Some(key));
    }
}

/// KB-CON-1, Q11, D5: who cannot be upgraded never reaches the backend, and is counted.
#[test]
fn only_what_can_be_upgraded_reaches_the_backend() {
    let backend = Backend::admitting("alice").start();
    let ekbo = Ekbo::with(&backend).set("origin_policy", "same_origin").start();
    assert_eq!(ekbo.get("/connect").status, 400);
    assert_eq!(ekbo.request("POST", "/connect").body("x").send().status, 400);
    assert_eq!(Client::to(&ekbo).instead("Sec-WebSocket-Version", "8").refused().status, 400);
    assert_eq!(Client::to(&ekbo).origin("http://evil.example").refused().status, 403);
    assert_eq!(Client::to(&ekbo).without("Sec-WebSocket-Key").refused().status, 400);
    let _alice = Client::connect(&ekbo);
    assert_eq!(backend.requests("/connect").len(), 1);
    let stats = ekbo.stats();
    assert_eq!((stats.total_connections, stats.connect_errors), (6, 5));
}

/// D6: the backend's choice among the offered subprotocols is selected, and no other.
#[test]
fn the_backend_selects_the_subprotocol() {
    let name = "X-Kuiperbelt-Subprotocol";
    for (offered, answered, selected) in [
        (Some("chat, superchat"), Some("superchat"), Some("superchat")),
        (Some("chat"), Some("chat"), Some("chat")),
        (Some("chat"), Some("other"), None),
        (Some("chat"), Some("CHAT"), None),
        (Some("chat"), None, None),
        (None, Some("chat"), None),
    ] {
        let answer = match answered {
            Some(answered) => Answer::admit("alice").header(name, answered),
            None => Answer::admit("alice"),
        };
        let backend = Backend::plan().on("/connect", answer).start();
        let ekbo = Ekbo::with(&backend).start();
        let client = match offered {
            Some(offered) => Client::to(&ekbo).protocols(offered).connect(),
            None => Client::connect(&ekbo),
        };
        let got = client.response.header("Sec-WebSocket-Protocol");
        assert_eq!(got, selected, "{offered:?} {answered:?}");
        assert!(!client.response.has_header(name));
    }
}

/// D7, KB-MON-2, 9 row 1, 9 row 2: a client that waits for its callback is a connection already;
/// when it has gone before the answer was in, it is none any more, and its session is reported
/// closed once.
#[test]
fn a_client_that_gives_up_is_reported() {
    for held in [
        |gate: &Gate| Answer::admit("alice").held_by(gate).body("hello"),
        |gate: &Gate| Answer::admit("alice").body("hel").then_wait_for(gate).body("lo"),
    ] {
        let gate = Gate::new();
        let answer = held(&gate);
        let backend = Backend::plan().on("/connect", answer).on("/close", Answer::ok()).start();
        let ekbo = Ekbo::with(&backend).start();
        let pending = Client::to(&ekbo).start();
        gate.wait_until_reached_by(1);
        let stats = ekbo.stats();
        assert_eq!((stats.connections, stats.total_connections), (1, 1));
        pending.give_up();
        gate.open();
        eventually("the connection is gone", || ekbo.stats().connections == 0);
        assert!(ekbo.send(["alice"], "").text().contains("session is not found"));
        expect_one_close(&backend, "alice");
    }
}

/// 5.2: clients wait for their callbacks side by side.
#[test]
fn callbacks_run_side_by_side() {
    let gate = Gate::new();
    let held = gate.clone();
    let backend = Backend::plan()
        .on_request("/connect", move |request| {
            let answer = Answer::admit(request.query().unwrap());
            if request.query() == Some("slow") { answer.held_by(&held) } else { answer }
        })
        .start();
    let ekbo = Ekbo::with(&backend).start();
    let slow = Client::to(&ekbo).query("slow").start();
    gate.wait_until_reached_by(1);
    let mut quick = Client::connect_as(&ekbo, "quick");
    quick.send(&Frame::ping("still there?"));
    quick.expect_pong("still there?");
    gate.open();
    slow.connect();
}

/// The set-up "T" of the specification's section 17.
fn as_in_the_original(backend: &Backend) -> EkboPlan {
    Ekbo::with(backend)
        .set("session_header", "X-Kuiperbelt-Session-Key")
        .set("callback.timeout", "5s")
        .set("send_timeout", "1s")
        .set("send_queue_size", "1")
        .set("endpoint", "localhost")
        .set("proxy_set_header.X-Foo", "Foo")
        .set("proxy_set_header.X-Forwarded-For", "''")
}

/// The friendly backend of the specification's section 17.
fn friendly(request: &Request) -> Answer {
    let names = request.headers.0.iter().map(|(name, _)| name.to_lowercase());
    let unfriendly = names.into_iter().any(|name| {
        name == "upgrade" || name == "x-forwarded-for" || name.starts_with("sec-websocket")
    });
    let upgrades = request.header("Connection").is_some_and(|value| value.contains("pgrade"));
    if unfriendly || upgrades || request.header("X-Foo") != Some("Foo") {
        return Answer::status(400);
    }
    Answer::ok().header("X-Kuiperbelt-Session-Key", "hogehoge").body("hello")
}

/// Checks one of the gateway's own error answers.
#[track_caller]
pub(crate) fn expect_plain(response: &Response, status: u16, body: &str) {
    response.assert_is(status, PLAIN, body);
    assert_eq!(response.header("X-Content-Type-Options"), Some("nosniff"));
    assert!(response.has_header("Date"));
    assert!(!response.has_header("Server"));
}

/// Checks how many failed connects are counted, of one that was made.
#[track_caller]
pub(crate) fn expect_errors(ekbo: &Ekbo, errors: u64) {
    let stats = ekbo.stats();
    assert_eq!((stats.total_connections, stats.connect_errors), (1, errors));
}

/// Checks that the session has been reported closed once, by 1006.
#[track_caller]
pub(crate) fn expect_one_close(backend: &Backend, key: &str) {
    let close = backend.wait_for_first("/close");
    assert_eq!(close.session(), Some(key));
    assert_eq!(close.header("X-Kuiperbelt-Close-Code"), Some("1006"));
    assert_eq!(backend.requests("/close").len(), 1);
}

/// Stops the server, which waits for its close callbacks, and checks that there was none.
#[track_caller]
fn expect_stopped_without_close(mut ekbo: Ekbo, backend: &Backend) {
    ekbo.signal(Signal::Term);
    assert_eq!(ekbo.wait_exit().code(), Some(0));
    assert_eq!(backend.requests("/close").len(), 0);
}

//! Who may use the API: a listener of its own, and tokens.

use std::net::Ipv4Addr;

use super::harness::{Backend, Client, Ekbo, Listener};

const JSON: &str = "application/json; charset=utf-8";
const UNAUTHORIZED: &str = r#"{"errors":[{"error":"unauthorized"}],"result":"NG"}"#;

/// KB-NET-7, Q3: with `api_listen` the API is there and nowhere else; ping is on both.
#[test]
fn the_api_can_have_its_own_port() {
    let backend = Backend::admitting("alice").start();
    let ekbo = Ekbo::with(&backend).set("api_listen", "127.0.0.1:0").start();
    let api = ekbo.api_listener();
    assert!(matches!(api, Listener::Port(port) if port != ekbo.port()));
    expect_split(&ekbo, &api);
}

/// KB-NET-7, Q3: `api_listen` can be a unix socket.
#[test]
fn the_api_can_have_a_unix_socket() {
    let backend = Backend::admitting("alice").start();
    let plan = Ekbo::with(&backend);
    let path = plan.directory().join("api.sock");
    let ekbo = plan.set("api_listen", &format!("unix:{}", path.display())).start();
    assert_eq!(ekbo.api_listener(), Listener::Socket(path));
    expect_split(&ekbo, &ekbo.api_listener());
}

/// KB-NET-7: a busy API address ends the start.
#[test]
fn a_busy_api_address_is_fatal() {
    let busy = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let address = busy.local_addr().unwrap().to_string();
    let finished = Ekbo::alone().set("api_listen", &address).run();
    assert_eq!(finished.code, Some(1), "{finished:?}");
    assert!(finished.stderr.contains("listen port error"), "{finished:?}");
    assert!(finished.stderr.contains(&format!("api_listen {address}")), "{finished:?}");
    assert!(finished.stderr.contains("choose another port"), "{finished:?}");
    assert!(!finished.stderr.contains("listen start"), "{finished:?}");
}

/// KB-NET-7, Q3: with `api_token`, send, close and stats want it; connect and ping do not.
#[test]
fn a_token_guards_the_api() {
    let backend = Backend::admitting("alice").start();
    let ekbo = Ekbo::with(&backend).set("api_token", "open-sesame").start();
    let mut alice = Client::connect(&ekbo);
    for (method, path) in
        [("POST", "/send"), ("POST", "/close"), ("GET", "/stats"), ("GET", "/send")]
    {
        let request = ekbo.request(method, path).session("alice");
        request.clone().send().assert_is(401, JSON, UNAUTHORIZED);
        for wrong in [
            "Bearer",
            "Bearer open",
            "Bearer open-sesame2",
            "Bearer OPEN-SESAME",
            "Basic open-sesame",
            "open-sesame",
        ] {
            let response = request.clone().header("Authorization", wrong).send();
            response.assert_is(401, JSON, UNAUTHORIZED);
        }
    }
    assert_eq!(ekbo.get("/ping").status, 200);
    let right = "Bearer open-sesame";
    assert_eq!(ekbo.request("GET", "/stats").header("Authorization", right).send().status, 200);
    let send = ekbo.request("POST", "/send").session("alice").header("Authorization", right);
    assert_eq!(send.body("hello").send().text(), r#"{"result":"OK"}"#);
    alice.expect_text("hello");
}

/// KB-NET-7: several tokens allow rotation.
#[test]
fn several_tokens_are_good() {
    let ekbo = Ekbo::alone().set("api_token", "[old-one, new-one]").start();
    for (token, status) in
        [("old-one", 200), ("new-one", 200), ("old-one, new-one", 401), ("", 401)]
    {
        let request = ekbo.request("GET", "/stats");
        let response = request.header("Authorization", format!("Bearer {token}")).send();
        assert_eq!(response.status, status, "{token}");
    }
}

/// KB-NET-7, D10: without the token the body is not waited for.
#[test]
fn a_refusal_for_want_of_a_token_comes_at_once() {
    let ekbo = Ekbo::alone().set("api_token", "open-sesame").start();
    let mut http = ekbo.http();
    let response = http.exchange(
        "POST /send HTTP/1.1\r\nHost: x\r\nX-Kuiperbelt-Session: alice\r\n\
         Expect: 100-continue\r\nContent-Length: 10\r\n\r\n",
    );
    response.assert_is(401, JSON, UNAUTHORIZED);
}

/// KB-NET-7: an open API on a public listener is warned of once, a guarded one is not.
#[test]
fn an_open_api_is_warned_of() {
    let warnings = |ekbo: &Ekbo| {
        let log = ekbo.log();
        log.iter().filter(|line| line.level == "warn" && line.message.contains("api_")).count()
    };
    assert_eq!(warnings(&Ekbo::alone().start()), 1);
    assert_eq!(warnings(&Ekbo::alone().set("api_token", "x").start()), 0);
    assert_eq!(warnings(&Ekbo::alone().set("api_listen", "127.0.0.1:0").start()), 0);
    assert_eq!(warnings(&Ekbo::alone().set("api_listen", "0.0.0.0:0").start()), 1);
    let ekbo = Ekbo::alone().on_unix_socket().start();
    assert_eq!(warnings(&ekbo), 0, "{:?}", ekbo.log());
}

/// Checks that clients come in at the public listener and the backend at the other one.
#[track_caller]
fn expect_split(ekbo: &Ekbo, api: &Listener) {
    let mut alice = Client::connect(ekbo);
    for path in ["/send", "/close", "/stats"] {
        let response = ekbo.request("POST", path).session("alice").send();
        response.assert_is(404, "text/plain; charset=utf-8", "404 page not found\n");
    }
    assert_eq!(ekbo.get("/ping").status, 200);
    assert_eq!(api.request("GET", "/ping").send().status, 200);
    assert_eq!(api.request("GET", "/connect").send().status, 404);
    let stats = api.request("GET", "/stats").send();
    assert!(stats.text().starts_with(r#"{"connections":1,"#), "{}", stats.text());
    api.request("POST", "/send").session("alice").body("hello").send();
    alice.expect_text("hello");
    api.request("POST", "/close").session("alice").body("bye").send();
    alice.expect_text("bye");
    alice.expect_close(1000, "");
}

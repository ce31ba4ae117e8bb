//! Who may use the API: a listener of its own, and tokens.

use std::net::Ipv4Addr;

use super::harness::{Backend, Client, Ekbo, Listener};

const JSON: &str = "application/json; charset=utf-8";
/// The calls that the original did not have.
const NEW: [(&str, &str); 7] = [
    ("POST", "/publish"),
    ("POST", "/broadcast"),
    ("POST", "/subscribe"),
    ("POST", "/unsubscribe"),
    ("GET", "/sessions"),
    ("GET", "/sessions/alice"),
    ("GET", "/channels"),
];

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

/// KB-NET-7, Q3: with `api_token` every call wants it; connect and ping do not.
#[test]
fn a_token_guards_the_api() {
    let backend = Backend::admitting("alice").start();
    let ekbo = Ekbo::with(&backend).set("api_token", "open-sesame").start();
    let mut alice = Client::connect(&ekbo);
    let old = [("POST", "/send"), ("POST", "/close"), ("GET", "/stats"), ("GET", "/send")];
    for (method, path) in old.into_iter().chain(NEW) {
        let request = ekbo.request(method, path).session("alice").channels(["news"]);
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
    for (method, path) in NEW {
        let call = ekbo.request(method, path).session("alice").channels(["news"]);
        // With the token it does not matter where a call comes from.
        let call = call.header("Authorization", right).header("X-Forwarded-For", "192.0.2.1");
        assert_eq!(call.send().status, 200, "{path}");
    }
}

/// Without a token, what the original did not have answers only this machine, and not a proxy
/// that says that it speaks for somebody else.
#[test]
fn without_a_token_proxies_get_the_original_calls_only() {
    let backend = Backend::admitting("alice").start();
    let ekbo = Ekbo::with(&backend).start();
    let plan = Ekbo::with(&backend);
    let socket = plan.directory().join("api.sock");
    let private = plan.set("api_listen", &format!("unix:{}", socket.display())).start();
    let _alices = [Client::connect(&ekbo), Client::connect(&private)];
    let old = [("POST", "/send"), ("GET", "/stats")];
    for listener in [ekbo.listener().clone(), private.api_listener()] {
        for (method, path) in old.into_iter().chain(NEW) {
            let call = listener.request(method, path).session("alice").channels(["news"]);
            assert_eq!(call.clone().send().status, 200, "{path}");
            for (name, value) in [
                ("Forwarded", "for=192.0.2.1"),
                ("X-Forwarded-For", "127.0.0.1"),
                ("x-forwarded-proto", "https"),
                ("X-Real-IP", "192.0.2.1"),
                ("Via", "1.1 proxy"),
                ("CF-Connecting-IP", ""),
                ("X-Forwarded", "for=192.0.2.1"),
                ("X_Forwarded_For", "192.0.2.1"),
            ] {
                let answer = call.clone().header(name, value).send();
                if NEW.contains(&(method, path)) {
                    answer.assert_is(401, JSON, UNAUTHORIZED);
                } else {
                    assert_eq!(answer.status, 200, "{path} {name}");
                }
            }
        }
        // Before anything else.
        let wrong = listener.request("PUT", "/publish").header("Via", "1.1 proxy");
        wrong.send().assert_is(401, JSON, UNAUTHORIZED);
    }
}

/// Without a token, a page whose name was made to mean this machine is not taken for it: `Host` is
/// an address or a name that never means another one. A unix socket has no such name.
#[test]
fn without_a_token_names_of_the_dns_get_the_original_calls_only() {
    let backend = Backend::admitting("alice").start();
    let open = Ekbo::with(&backend).start();
    let guarded = Ekbo::with(&backend).set("api_token", "sesame").start();
    let unix = Ekbo::with(&backend).on_unix_socket().start();
    let _alices = [&open, &guarded, &unix].map(Client::connect);
    let old = [("POST", "/send"), ("GET", "/stats")];
    for (method, path) in old.into_iter().chain(NEW) {
        let status = |ekbo: &Ekbo, host: &str| {
            let answer = ekbo.http().exchange(format!(
                "{method} {path} HTTP/1.1\r\nHost: {host}\r\nContent-Length: 0\r\n\
                 Authorization: Bearer sesame\r\nX-Kuiperbelt-Session: alice\r\n\
                 X-Kuiperbelt-Channel: news\r\n\r\n"
            ));
            answer.status
        };
        for host in ["127.0.0.1", "127.0.0.1:1", "[::1]:9180", "localhost", "a.Localhost:9180"] {
            assert_eq!(status(&open, host), 200, "{path} {host}");
        }
        let expected = if NEW.contains(&(method, path)) { 401 } else { 200 };
        for host in ["rebound.example", "rebound.example:9180", "localhost.example"] {
            assert_eq!(status(&open, host), expected, "{path} {host}");
            assert_eq!(status(&guarded, host), 200, "{path} {host} with a token");
            assert_eq!(status(&unix, host), 200, "{path} {host} over a unix socket");
        }
    }
}

/// No call that changes something answers a browser on a page from elsewhere, with a token or
/// without.
#[test]
fn pages_from_elsewhere_may_not_call() {
    let backend = Backend::admitting("alice").start();
    let open = Ekbo::with(&backend).start();
    let guarded = Ekbo::with(&backend).set("api_token", "sesame").start();
    for ekbo in [&open, &guarded] {
        let mut alice = Client::connect(ekbo);
        let changing = ["/send", "/publish", "/broadcast", "/subscribe", "/unsubscribe", "/close"];
        for path in changing {
            let call = ekbo.request("POST", path).session("alice").channels(["news"]);
            let call = call.header("Authorization", "Bearer sesame").body(path);
            let port = ekbo.port();
            for origin in [
                "http://elsewhere.example".to_owned(),
                "http://127.0.0.1".to_owned(),
                format!("http://127.0.0.1:{}", port ^ 1),
                format!("http://localhost:{port}"),
                "null".to_owned(),
                String::new(),
            ] {
                let answer = call.clone().header("Origin", &origin).send();
                answer.assert_refused(403, "origin is not allowed");
            }
            let own = format!("https://{}", ekbo.host());
            assert_eq!(call.header("Origin", own).send().status, 200, "{path}");
        }
        alice.expect_text("/send");
        alice.expect_text("/broadcast");
        alice.expect_text("/close");
        for path in ["/stats", "/sessions", "/channels"] {
            let call = ekbo.request("GET", path).header("Authorization", "Bearer sesame");
            let call = call.header("Origin", "http://elsewhere.example");
            assert_eq!(call.send().status, 200, "{path}");
        }
    }
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
    let old = [("POST", "/send"), ("POST", "/close"), ("POST", "/stats")];
    for (method, path) in old.into_iter().chain(NEW) {
        let response = ekbo.request(method, path).session("alice").send();
        response.assert_is(404, "text/plain; charset=utf-8", "404 page not found\n");
    }
    assert_eq!(ekbo.get("/ping").status, 200);
    assert_eq!(api.request("GET", "/ping").send().status, 200);
    assert_eq!(api.request("GET", "/connect").send().status, 404);
    let stats = api.request("GET", "/stats").send();
    assert!(stats.text().starts_with(r#"{"connections":1,"#), "{}", stats.text());
    api.request("POST", "/send").session("alice").body("hello").send();
    alice.expect_text("hello");
    for (method, path) in NEW {
        let response = api.request(method, path).session("alice").channels(["news"]).send();
        assert_eq!(response.status, 200, "{path}: {response:?}");
    }
    alice.expect_text("");
    api.request("POST", "/close").session("alice").body("bye").send();
    alice.expect_text("bye");
    alice.expect_close(1000, "");
}

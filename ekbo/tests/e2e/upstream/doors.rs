//! What is ours and what is the application's: our doors go first, and only they.

use super::super::harness::{Answer, Backend, Client, Ekbo, EkboPlan, Frame};

/// Everybody is let in as `alice`, and the application says where it was asked.
fn application() -> Backend {
    let here = |place: &'static str| Answer::ok().header("X-Place", place);
    let mut plan = Backend::admitting("alice").on("/admit", Answer::admit("alice"));
    for path in ["/", "/stats", "/send", "/close", "/sessions", "/publish", "/metrics", "/unknown"]
    {
        plan = plan.on(path, here("the application"));
    }
    plan.start()
}

/// An `ekbo` in front of it, whose connect callback has another path there.
fn gateway(application: &Backend) -> EkboPlan {
    Ekbo::in_front_of(&application.url("")).set("callback.connect", &application.url("/admit"))
}

/// `/ping` and the connect door are ours, the rest is the application's.
#[test]
fn our_doors_go_first() {
    let application = application();
    let ekbo = gateway(&application).set("api_listen", "127.0.0.1:0").start();
    // Spelled as it may be.
    for path in ["/ping", "/ping?x", "/p%69ng"] {
        assert_eq!(ekbo.get(path).text(), r#"{"result":"OK"}"#, "{path}");
    }
    for path in ["/", "/unknown?x=//y", "/stats", "/sessions"] {
        assert_eq!(ekbo.get(path).header("X-Place"), Some("the application"), "{path}");
    }
    let mut alice = Client::connect(&ekbo);
    let api = ekbo.api_listener();
    assert_eq!(api.request("POST", "/send").session("alice").body("hello").send().status, 200);
    alice.expect_text("hello");
    assert_eq!(application.requests("/admit").len(), 1);
    assert_eq!(application.requests("/connect").len(), 0);
}

/// The backend's API is on a listener of its own or nowhere: the public one would let the world send.
#[test]
fn the_api_is_not_public() {
    let application = application();
    let ekbo = gateway(&application).set("api_listen", "127.0.0.1:0").start();
    let mut alice = Client::connect(&ekbo);
    let api = ekbo.api_listener();
    for path in ["/send", "/close", "/publish"] {
        let response = ekbo.request("POST", path).session("alice").body("evil").send();
        assert_eq!(response.header("X-Place"), Some("the application"), "{path}");
        assert_eq!(application.requests(path)[0].text(), "evil");
    }
    assert_eq!(api.request("GET", "/stats").send().status, 200);
    assert_eq!(api.request("GET", "/unknown").send().status, 404);
    assert_eq!(api.request("POST", "/close").session("alice").body("bye").send().status, 200);
    // That is the first thing that alice hears.
    alice.expect_text("bye");
    alice.expect_close(1000, "");

    let ekbo = gateway(&application).start();
    let response = ekbo.request("POST", "/send").session("alice").body("evil").send();
    assert_eq!(response.header("X-Place"), Some("the application"));
}

/// Without a connect callback there is no connect door, and a WebSocket there is the application's.
#[test]
fn no_connect_door_without_a_callback() {
    let application = Backend::plan()
        .on(
            "/connect",
            Answer::raw(
                b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\
                 Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n\x81\x05hello",
            ),
        )
        .start();
    let ekbo = Ekbo::in_front_of(&application.url("")).start();
    let mut client = Client::connect(&ekbo);
    client.expect_text("hello");
    let request = &application.requests("/connect")[0];
    assert_eq!(request.header("Sec-WebSocket-Key"), Some("dGhlIHNhbXBsZSBub25jZQ=="));
    assert!(request.header("Connection").unwrap().eq_ignore_ascii_case("upgrade"));
}

/// An unclean path is sent to a door of ours if it means one, and to the application as it is if not.
#[test]
fn unclean_paths() {
    let application = Backend::plan().on("/connect", Answer::admit("alice")).start();
    let ekbo = Ekbo::with(&application).set("upstream", &application.url("")).start();
    for (path, clean) in
        [("//ping", "/ping"), ("/a/../ping?x=//y", "/ping?x=//y"), ("/./connect", "/connect")]
    {
        let response = ekbo.get(path);
        assert_eq!(response.status, 301, "{path}: {response:?}");
        assert_eq!(response.header("Location"), Some(clean), "{path}");
    }
    assert_eq!(application.all_requests().len(), 0);
    for path in ["//unknown", "/a/../b", "/a/./b//c/..", "//stats", "/ping/..", "/ping/../send"] {
        assert_eq!(ekbo.get(path).status, 404, "{path}");
        assert_eq!(application.all_requests().last().unwrap().target, path);
    }
}

/// A subtree that is ours is ours as a whole.
#[test]
fn a_subtree_of_ours() {
    let application = application();
    let ekbo = gateway(&application).set("path.connect", "/socket.io/").start();
    let _alice = Client::to(&ekbo).path("/socket.io/1/websocket").connect();
    assert_eq!(ekbo.get("/socket.io?a=b").header("Location"), Some("/socket.io/?a=b"));
    assert_eq!(ekbo.get("/socket.iox").status, 404);
    assert_eq!(application.requests("/socket.iox").len(), 1);
    assert_eq!(application.requests("/admit").len(), 1);
}

/// Rocket hubs are doors of ours.
#[test]
fn hubs_are_ours() {
    let application = application();
    let ekbo = Ekbo::in_front_of(&application.url(""))
        .set("hubs", "[{path: /chat, secrets: {read_write: secret}, allowed_origins: [\"*\"]}]")
        .start();
    let mut client = Client::to(&ekbo).path("/chat").query("secret=secret").connect();
    client.send(&Frame::ping("?"));
    client.expect_pong("?");
    assert_eq!(ekbo.get("/chats").status, 404);
    let asked: Vec<_> = application.all_requests().into_iter().map(|asked| asked.target).collect();
    assert_eq!(asked, ["/chats"]);
}

/// While nothing is behind `ekbo`, what no door takes is not found.
#[test]
fn without_an_upstream() {
    let application = application();
    let ekbo = Ekbo::with(&application).start();
    assert_eq!(ekbo.get("/unknown").status, 404);
    assert_eq!(ekbo.get("/stats").status, 200);
    assert_eq!(application.all_requests().len(), 0);
}

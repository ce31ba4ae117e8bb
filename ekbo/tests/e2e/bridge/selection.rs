//! Which requests are a bridge's, and that everything else is as without it.

use serde_json::json;

use super::super::harness::{Answer, Backend, Client, Directory, Ekbo, Endpoints, Frame, Rbkit};
use super::{OK, bridged, bridged_with, enter, visitor, with_bridges};

/// RB-D-1, RB-SEL-1: a WebSocket that offers `rbkit`, alone or among others, is a bridge's on any
/// path, and is told so; the spelling of its other fields is free.
#[test]
fn rbkit_is_taken_on_any_path() {
    let rbkit = Rbkit::start();
    let ekbo = bridged(&rbkit);
    for path in ["/", "/anywhere/else", "/connect", "/send", "/ping"] {
        let mut client = Client::to(&ekbo).path(path).protocols("rbkit").connect();
        assert_eq!(client.response.header("Sec-WebSocket-Protocol"), Some("rbkit"), "{path}");
        client.asks("anything");
        client.expect_text(OK);
    }
    for offers in ["rbkit, other", "other,rbkit", "rbkit, rbkit.raw"] {
        let client = Client::to(&ekbo).path("/").protocols(offers).connect();
        assert_eq!(client.response.header("Sec-WebSocket-Protocol"), Some("rbkit"), "{offers}");
    }
    let two_fields = Client::to(&ekbo).path("/").protocols("other").protocols("rbkit").connect();
    assert_eq!(two_fields.response.header("Sec-WebSocket-Protocol"), Some("rbkit"));
    visitor(&ekbo)
        .instead("Connection", "keep-alive, UPGRADE")
        .instead("Upgrade", "WebSocket")
        .connect();
}

/// Clients of bridges are offered no extension, whatever the gateway's clients are.
#[test]
fn no_extensions() {
    let rbkit = Rbkit::start();
    let ekbo = bridged_with(&rbkit, json!({})).set("compression", "true").start();
    let offer = "permessage-deflate; client_max_window_bits";
    let mut client = visitor(&ekbo).header("Sec-WebSocket-Extensions", offer).connect();
    assert_eq!(client.response.header("Sec-WebSocket-Extensions"), None);
    rbkit.wait_for_subscribers(1);
    let compressible = "a".repeat(10_000);
    rbkit.publish([compressible.as_bytes()]);
    client.expect_text(&format!("1{compressible}"));
}

/// RB-D-1, RB-SEL-1: whatever else comes is not a bridge's, and there is nothing else here.
#[test]
fn others_are_not_taken() {
    let rbkit = Rbkit::start();
    let ekbo = bridged(&rbkit);
    let to = || Client::to(&ekbo).path("/");
    for (what, plan) in [
        ("no subprotocol", to()),
        ("another", to().protocols("other")),
        ("an upper case one", to().protocols("RBKIT")),
        ("one that begins so", to().protocols("rbkit2")),
        ("a POST", visitor(&ekbo).method("POST")),
        ("another protocol", visitor(&ekbo).instead("Upgrade", "h2c")),
        ("no upgrade of the connection", visitor(&ekbo).instead("Connection", "keep-alive")),
    ] {
        assert_eq!(plan.refused().status, 404, "{what}");
    }
    assert_eq!(ekbo.get("/").status, 404);
    assert_eq!(rbkit.commands(), [""; 0]);
}

/// RB-D-1: with an application behind, it gets what is not the bridge's, untouched.
#[test]
fn others_go_to_the_application() {
    let application = Backend::plan().on("/page", Answer::ok().body("the page")).start();
    let rbkit = Rbkit::start();
    let ekbo = bridged_with(&rbkit, json!({})).set("upstream", &application.url("")).start();
    assert_eq!(ekbo.get("/page?plain").text(), "the page");
    for offers in ["other", "RBKIT"] {
        let answer = Client::to(&ekbo).path("/page").query(offers).protocols(offers).refused();
        assert_eq!(answer.text(), "the page");
    }
    assert_eq!(Client::to(&ekbo).path("/page").query("none").refused().text(), "the page");
    enter(&ekbo);
    let targets: Vec<_> = application.all_requests().into_iter().map(|r| r.target).collect();
    assert_eq!(targets, ["/page?plain", "/page?other", "/page?RBKIT", "/page?none"]);
    let offered = &application.all_requests()[1];
    assert_eq!(offered.header("Upgrade"), Some("websocket"));
    assert_eq!(offered.header("Sec-WebSocket-Protocol"), Some("other"));
}

/// RB-SEL-1: a bridge may have one path; elsewhere there is nothing, and there a plain request is
/// told to upgrade.
#[test]
fn a_path_of_its_own() {
    let rbkit = Rbkit::start();
    let ekbo = bridged_with(&rbkit, json!({"path": "/profiler"})).start();
    let mut client = visitor(&ekbo).path("/profiler").query("a=b").connect();
    client.asks("anything");
    client.expect_text(OK);
    for path in ["/", "/profilers", "/profiler/x"] {
        assert_eq!(visitor(&ekbo).path(path).refused().status, 404, "{path}");
    }
    let plain = ekbo.get("/profiler");
    assert_eq!((plain.status, plain.header("Upgrade")), (426, Some("websocket")));
}

/// A WebSocket handshake that is wrong is refused, as everywhere.
#[test]
fn a_wrong_handshake() {
    let rbkit = Rbkit::start();
    let ekbo = bridged(&rbkit);
    assert_eq!(visitor(&ekbo).without("Sec-WebSocket-Key").refused().status, 400);
    assert_eq!(visitor(&ekbo).instead("Sec-WebSocket-Version", "8").refused().status, 400);
}

/// W2: on the gateway's path a client that offers `rbkit` is the bridge's, any other the gateway's;
/// the gateway's doors go on beside it, and hubs.
#[test]
fn beside_the_gateway() {
    let rbkit = Rbkit::start();
    let backend = Backend::admitting("alice").on("/receive", Answer::ok()).start();
    let bridges = json!([rbkit.endpoints().bridge(&json!({}))]).to_string();
    let ekbo = Ekbo::with(&backend).set("bridges", &bridges).set("hubs", "[{path: /chat}]").start();

    let mut profiled = Client::to(&ekbo).protocols("rbkit").connect();
    profiled.asks("anything");
    profiled.expect_text(OK);
    assert!(backend.all_requests().is_empty(), "bridges ask no backend");
    let mut alice = Client::to(&ekbo).protocols("chat").connect();
    alice.send(&Frame::text("from alice"));
    assert_eq!(backend.wait_for_first("/receive").text(), "from alice");
    ekbo.send(["alice"], "to alice").assert_accepted();
    alice.expect_text("to alice");
    ekbo.broadcast("to all").assert_delivered(1);
    alice.expect_text("to all");

    let mut talker = Client::to(&ekbo).path("/chat").connect();
    talker.send(&Frame::text(r#"{"auth":{"access":"read-only","secret":""}}"#));
    talker.expect_text(r#"{"ok":true}"#);
    let mut other = Client::to(&ekbo).path("/chat").protocols("rbkit").connect();
    other.asks("anything");
    other.expect_text(OK);
    assert_eq!(ekbo.get("/ping").status, 200);

    rbkit.wait_for_subscribers(1);
    rbkit.publish([b"data"]);
    profiled.expect_text("0client_count:2");
    profiled.expect_text("1data");
    other.expect_text("1data");
    profiled.leave(1000);
    assert_eq!(backend.requests("/connect").len(), 1);
    assert!(backend.requests("/close").is_empty());
}

/// Several bridges, each with its own profiler, clients and subprotocol, or path.
#[test]
fn several_bridges() {
    let rbkits = [Rbkit::start(), Rbkit::start(), Rbkit::start()];
    let ekbo = with_bridges([
        rbkits[0].endpoints().bridge(&json!({"path": "/one"})),
        rbkits[1].endpoints().bridge(&json!({"path": "/other"})),
        rbkits[2].endpoints().bridge(&json!({"subprotocol": "profile.v2"})),
    ])
    .start();
    let to = |path, protocol| Client::to(&ekbo).path(path).protocols(protocol).connect();
    let mut clients = [to("/one", "rbkit"), to("/other", "rbkit"), to("/one", "profile.v2")];
    for (number, client) in clients.iter_mut().enumerate() {
        client.asks(format!("from client {number}"));
        client.expect_text(OK);
    }
    for (number, rbkit) in rbkits.iter().enumerate() {
        assert_eq!(rbkit.commands(), [format!("from client {number}")]);
        rbkit.wait_for_subscribers(1);
        rbkit.publish([format!("from-rbkit-{number}").as_bytes()]);
    }
    // Neither notices nor data of the others.
    for (number, client) in clients.iter_mut().enumerate() {
        client.expect_text(&format!("1from-rbkit-{number}"));
    }
    assert_eq!(Client::to(&ekbo).path("/three").protocols("rbkit").refused().status, 404);
    let raw = Client::to(&ekbo).path("/").protocols("profile.v2.raw").connect();
    assert_eq!(raw.response.header("Sec-WebSocket-Protocol"), Some("profile.v2.raw"));
}

/// The profiler's endpoints may be unix sockets.
#[test]
fn endpoints_on_unix_sockets() {
    let directory = Directory::new();
    let rbkit = Rbkit::plan().at(&Endpoints::ipc(&directory)).start();
    let ekbo = bridged(&rbkit);
    let mut client = enter(&ekbo);
    assert_eq!(client.shakes_hands()["pid"], 4711);
    rbkit.wait_for_subscribers(1);
    rbkit.publish([b"data"]);
    client.expect_text("1data");
}

/// Over TLS a bridge is the same.
#[test]
fn over_tls() {
    let rbkit = Rbkit::start();
    let ekbo = bridged_with(&rbkit, json!({})).over_tls().start();
    let mut client = enter(&ekbo);
    rbkit.wait_for_subscribers(1);
    rbkit.publish([b"data"]);
    client.expect_text("1data");
}

//! Bridges beside an application: who goes where.

use super::super::harness::{Answer, Backend, Client, Ekbo, free_port};

/// A WebSocket that offers the profiler's subprotocol is for its bridge, on any path; every other is for
/// the application, and so is every plain request.
#[test]
fn bridges_are_chosen_by_subprotocol() {
    let application = Backend::plan()
        .on("/connect", Answer::admit("alice"))
        .on("/unknown", Answer::ok().header("X-Place", "the application"))
        .start();
    // Nobody is behind the bridge, which says so and nothing else.
    let nobody = format!("tcp://127.0.0.1:{}", free_port());
    let ekbo = Ekbo::with(&application)
        .set("upstream", &application.url(""))
        .set(
            "bridges",
            &format!("[{{subprotocol: rbkit, request_endpoint: '{nobody}', publish_endpoint: '{nobody}'}}]"),
        )
        .start();
    for (path, offered) in [("/anything//at/all", "rbkit"), ("/connect", "other, rbkit")] {
        let mut client = Client::to(&ekbo).path(path).protocols(offered).connect();
        assert_eq!(client.response.header("Sec-WebSocket-Protocol"), Some("rbkit"), "{path}");
        client.expect_close(1000, "Closing websocket because Rbkit server is not running");
    }
    assert_eq!(application.all_requests().len(), 0);
    for offered in ["other", "RBKIT", "rbkitty"] {
        let response = Client::to(&ekbo).path("/unknown").protocols(offered).refused();
        assert_eq!(response.header("X-Place"), Some("the application"), "{offered}");
    }
    let plain = ekbo.request("GET", "/unknown").header("Sec-WebSocket-Protocol", "rbkit").send();
    assert_eq!(plain.header("X-Place"), Some("the application"));
}

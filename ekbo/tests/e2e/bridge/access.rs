//! Who may connect: Origins and tokens, and what is told of them.

use serde_json::json;

use super::super::harness::{Answer, Backend, Client, Ekbo, LogLine, Rbkit, eventually, free_port};
use super::{OK, bridged, bridged_with, departures, enter, visitor};

/// RB-D-14: pages of other hosts may not connect, unless they are allowed; programs, which have no
/// Origin, may.
#[test]
fn origins() {
    let rbkit = Rbkit::start();
    let ekbo = bridged(&rbkit);
    let status = |ekbo: &Ekbo, origin: &str| visitor(ekbo).origin(origin).start().status();
    let own = format!("http://{}", ekbo.host());
    for (origin, expected) in
        [(&*own, 101), ("http://elsewhere", 403), ("http://127.0.0.1:1", 403), ("null", 403)]
    {
        assert_eq!(status(&ekbo, origin), expected, "{origin}");
    }
    enter(&ekbo);

    let ekbo = bridged_with(&rbkit, json!({"allowed_origins": ["*"]})).start();
    for origin in ["http://elsewhere", "null"] {
        assert_eq!(status(&ekbo, origin), 101, "{origin}");
    }

    let listed = json!({"allowed_origins": ["http://a", "https://b:8443"]});
    let ekbo = bridged_with(&rbkit, listed).start();
    for (origin, expected) in [
        ("http://a", 101),
        ("https://b:8443", 101),
        ("https://a", 403),
        ("https://b", 403),
        ("http://elsewhere", 403),
    ] {
        assert_eq!(status(&ekbo, origin), expected, "{origin}");
    }
    enter(&ekbo);
}

/// A token, in a field or in the query; a wrong one in either is none.
#[test]
fn a_token() {
    let rbkit = Rbkit::start();
    let ekbo = bridged_with(&rbkit, json!({"token": "open&sesame/1"})).start();
    let no_token = visitor(&ekbo).refused();
    assert_eq!(no_token.status, 401);
    assert_eq!(no_token.header("WWW-Authenticate"), Some("Bearer"));
    for query in ["token=", "token=open", "token=wrong", "Token=open%26sesame/1", "open%26sesame/1"]
    {
        assert_eq!(visitor(&ekbo).query(query).refused().status, 401, "{query}");
    }
    for value in ["open&sesame/1", "Basic open&sesame/1", "Bearer open", "Bearer"] {
        let refused = visitor(&ekbo).header("Authorization", value).refused();
        assert_eq!(refused.status, 401, "{value}");
    }
    for query in ["token=open%26sesame/1", "a=b&token=open%26sesame%2F1&c"] {
        let mut client = visitor(&ekbo).query(query).connect();
        client.asks("ping");
        client.expect_text(OK);
    }
    visitor(&ekbo).header("Authorization", "Bearer open&sesame/1").connect();
    visitor(&ekbo).header("authorization", "bearer open&sesame/1").connect();
    // A token does not open what the Origin closes.
    let foreign = visitor(&ekbo).query("token=open%26sesame/1").origin("http://elsewhere");
    assert_eq!(foreign.refused().status, 403);
}

/// A list of tokens, to replace one after the other.
#[test]
fn several_tokens() {
    let rbkit = Rbkit::start();
    let ekbo = bridged_with(&rbkit, json!({"token": ["old", "new"]})).start();
    for token in ["old", "new"] {
        visitor(&ekbo).query(&format!("token={token}")).connect();
    }
    assert_eq!(visitor(&ekbo).query("token=older").refused().status, 401);
}

/// What never is in the log: handshakes of bridges, accepted or refused, and so no token.
#[test]
fn tokens_are_not_told() {
    const TOKEN: &str = "s3cr3t";
    let rbkit = Rbkit::start();
    let bridge = json!({"token": TOKEN, "path": "/profiler"});
    let ekbo = bridged_with(&rbkit, bridge).argument("-log-level=debug").start();
    let query = format!("token={TOKEN}");
    let to = || visitor(&ekbo).path("/profiler");
    assert_eq!(to().refused().status, 401);
    assert_eq!(to().query(&format!("token={TOKEN}wrong")).refused().status, 401);
    assert_eq!(to().query(&query).origin("http://elsewhere").refused().status, 403);
    assert_eq!(to().query(&query).without("Sec-WebSocket-Key").refused().status, 400);
    assert_eq!(ekbo.get(&format!("/profiler?{query}")).status, 426);
    for plan in [to().query(&query), to().header("Authorization", format!("Bearer {TOKEN}"))] {
        let mut client = plan.connect();
        client.asks("ping");
        client.expect_text(OK);
        client.leave(1000);
    }
    departures(&ekbo, 2);
    ekbo.get("/ping?last");
    eventually("the last request in the log", || tells(&ekbo, "/ping?last"));
    assert!(!tells(&ekbo, TOKEN), "{:?}", ekbo.log());
    let is_access = |line: &LogLine| line.fields["url"].to_string().contains("/profiler");
    assert!(!ekbo.log().iter().any(is_access), "{:?}", ekbo.log());
}

/// Nor is one that comes to no bridge, as its client has misspelt the subprotocol: where the URL is
/// logged it is masked.
#[test]
fn tokens_that_come_to_nobody_are_not_told() {
    const TOKEN: &str = "s3cr3t";
    let rbkit = Rbkit::start();
    let nobody = format!("http://127.0.0.1:{}", free_port());
    let application = Backend::plan().on("/profiler", Answer::status(400)).start();
    let bridge = || bridged_with(&rbkit, json!({"token": TOKEN}));
    for (plan, expected) in [
        (bridge(), 404),
        (bridge().set("upstream", &application.url("")), 400),
        (bridge().set("upstream", &nobody), 502),
    ] {
        let ekbo = plan.argument("-log-level=debug").start();
        let mistaken = Client::to(&ekbo).path("/profiler").protocols("rbkitt");
        let refused = mistaken.query(&format!("a=b&%74oken={TOKEN}&token={TOKEN}")).refused();
        assert_eq!(refused.status, expected);
        let access = ekbo.wait_for_log("access");
        assert_eq!(access.fields["url"], "/profiler?a=b&%74oken=****&token=****");
        assert!(!tells(&ekbo, TOKEN), "{:?}", ekbo.log());
        assert_eq!(ekbo.log_contains("upstream request failed"), expected == 502);
    }
}

/// Who is not let in is told with its bridge.
#[test]
fn denials_are_told() {
    let rbkit = Rbkit::start();
    let ekbo = bridged_with(&rbkit, json!({"token": "t"})).start();
    assert_eq!(visitor(&ekbo).refused().status, 401);
    let denied = ekbo.wait_for_log("bridge client denied");
    assert_eq!(denied.fields["bridge"], "rbkit");
    let ekbo = bridged(&rbkit);
    assert_eq!(visitor(&ekbo).origin("http://elsewhere").refused().status, 403);
    let denied = ekbo.wait_for_log("bridge client denied");
    assert_eq!(
        (&denied.fields["bridge"], &denied.fields["reason"]),
        (&json!("rbkit"), &json!("foreign origin"))
    );
    assert_eq!(denied.fields["origin"], "http://elsewhere");
}

/// Clients that come and leave are told, with what they asked and lost.
#[test]
fn what_is_told() {
    let rbkit = Rbkit::start();
    let ekbo = bridged(&rbkit);
    let mut client = visitor(&ekbo).connect();
    for _ in 0..3 {
        client.asks("ping");
        client.expect_text(OK);
    }
    let joined = ekbo.wait_for_log("bridge client joined");
    assert_eq!((&*joined.level, &joined.fields["bridge"]), ("info", &json!("rbkit")));
    client.leave(1000);
    let left = &departures(&ekbo, 1)[0];
    assert_eq!(left.level, "info");
    assert_eq!(left.fields["bridge"], "rbkit");
    assert_eq!(left.fields["commands"], 3);
    assert_eq!(left.fields["dropped"], 0);
}

/// Whether there is such a thing in a message of the log or in a field.
fn tells(ekbo: &Ekbo, part: &str) -> bool {
    ekbo.log().iter().any(|line| format!("{} {}", line.message, line.fields).contains(part))
}

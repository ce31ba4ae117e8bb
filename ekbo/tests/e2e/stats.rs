//! `/stats` and `/ping`: their forms, and what each counter counts.

use std::thread;

use super::answers::{JSON, NOT_FOUND, TIMED_OUT};
use super::harness::{Answer, Backend, Client, Ekbo, Frame, Gate, Stats, eventually};

/// Line 10, KB-MON-1: `/ping` answers any method.
#[test]
fn ping() {
    let ekbo = Ekbo::alone().start();
    for method in ["GET", "POST", "PUT", "OPTIONS", "anything"] {
        let answer = ekbo.request(method, "/ping?query=1").send();
        answer.assert_is(200, JSON, r#"{"result":"OK"}"#);
    }
    let answer = ekbo.request("HEAD", "/ping").send();
    assert_eq!((answer.status, answer.text()), (200, ""));
}

/// Line 23, KB-MON-2: ten connects, of which three fail, two more end in a message error, four
/// messages in all; the JSON is exactly this line.
#[test]
fn the_json_line() {
    let backend = Backend::admitting_by_query().start();
    let ekbo = Ekbo::with(&backend).set("write_timeout", "500ms").start();
    let mut clients = ["a", "b", "c", "d", "e", "f", "g"].map(|key| Client::connect_as(&ekbo, key));
    backend.on("/connect", Answer::status(500));
    for _ in 0..3 {
        Client::to(&ekbo).refused();
    }
    ekbo.send(["a", "b"], "hello").assert_accepted();
    clients[5].stall(&ekbo, "f");
    clients[6].stall(&ekbo, "g");
    ekbo.wait_for_stats("two ends", |stats| {
        stats.connections == 5 && stats.closing_connections == 0
    });
    for query in ["", "?format=json", "?format=TSV", "?format=", "?format=csv"] {
        ekbo.get(&format!("/stats{query}")).assert_is(
            200,
            "application/json",
            "{\"connections\":5,\"total_connections\":10,\"total_messages\":4,\
             \"connect_errors\":3,\"message_errors\":2,\"closing_connections\":0}\n",
        );
    }
}

/// Line 23, KB-MON-2, A-20: as text there are six lines of name, value and Unix time.
#[test]
fn the_text_lines() {
    let backend = Backend::admitting_by_query().start();
    let ekbo = Ekbo::with(&backend).start();
    let _clients = ["a", "b"].map(|key| Client::connect_as(&ekbo, key));
    backend.on("/connect", Answer::status(500));
    Client::to(&ekbo).refused();
    ekbo.wait_for_stats("two connections", |stats| stats.connections == 2);
    ekbo.send(["a", "b", "a"], "hello").assert_accepted();
    let form = |target: &str, body: &str| {
        ekbo.request("POST", target)
            .content_type("application/x-www-form-urlencoded")
            .body(body)
            .send()
    };
    let answers = [
        ekbo.get("/stats?format=tsv"),
        ekbo.get("/stats?format=txt"),
        ekbo.get("/stats?other=1&format=text"),
        form("/stats", "format=tsv"),
        form("/stats?format=json", "other=1&format=text"),
    ];
    for answer in answers {
        assert_eq!(answer.status, 200);
        assert_eq!(answer.header("Content-Type"), Some("text/plain"));
        let text = answer.text();
        assert!(text.ends_with('\n'), "{text:?}");
        let rows: Vec<[&str; 3]> = text
            .lines()
            .map(|line| {
                let fields: Vec<&str> = line.split('\t').collect();
                fields.try_into().unwrap_or_else(|_| panic!("{line:?}"))
            })
            .collect();
        let counts: Vec<[&str; 2]> = rows.iter().map(|[name, count, _]| [*name, *count]).collect();
        assert_eq!(
            counts,
            [
                ["kuiperbelt.conn.current", "2"],
                ["kuiperbelt.conn.total", "3"],
                ["kuiperbelt.conn.errors", "1"],
                ["kuiperbelt.conn.closing", "0"],
                ["kuiperbelt.messages.total", "3"],
                ["kuiperbelt.messages.errors", "0"],
            ]
        );
        for [_, _, time] in rows {
            let time: u64 = time.parse().unwrap();
            // 2020 to 2100, in seconds.
            assert!((1_577_836_800..4_102_444_800).contains(&time), "{time}");
        }
    }
}

/// KB-MON-2: what a form body says wins over the query; any method will do.
#[test]
fn the_form_body_wins() {
    let ekbo = Ekbo::alone().start();
    let answer = ekbo
        .request("POST", "/stats?format=tsv")
        .content_type("application/x-www-form-urlencoded")
        .body("format=json")
        .send();
    assert_eq!(answer.header("Content-Type"), Some("application/json"));
    for method in ["PUT", "OPTIONS", "DELETE"] {
        assert_eq!(ekbo.request(method, "/stats").send().status, 200);
    }
    let answer = ekbo.request("HEAD", "/stats").send();
    assert_eq!((answer.status, answer.text()), (200, ""));
}

/// Line 24: a thousand clients come, get ten messages each and go, many at a time, while the
/// counters are read again and again.
#[test]
fn under_load() {
    const AT_ONCE: usize = 25;
    let backend = Backend::admitting_by_query().start();
    let ekbo = Ekbo::with(&backend).start();
    let read_stats = || {
        let stats = ekbo.stats();
        assert!(stats.connections <= stats.total_connections, "{stats:?}");
        assert!(!ekbo.get("/stats?format=tsv").text().is_empty());
        stats
    };
    thread::scope(|scope| {
        let crowds: Vec<_> = (0..8)
            .map(|thread| {
                let ekbo = &ekbo;
                scope.spawn(move || {
                    for round in 0..5 {
                        let name = |number| format!("{thread}-{round}-{number}");
                        let mut clients: Vec<Client> = (0..AT_ONCE)
                            .map(|number| Client::connect_as(ekbo, &name(number)))
                            .collect();
                        for message in 0..10 {
                            let call = ekbo.request("POST", "/send");
                            let call =
                                (0..AT_ONCE).fold(call, |call, number| call.session(&name(number)));
                            call.body(message.to_string()).send().assert_accepted();
                        }
                        for client in &mut clients {
                            for message in 0..10 {
                                client.expect_text(&message.to_string());
                            }
                        }
                    }
                })
            })
            .collect();
        while !crowds.iter().all(|crowd| crowd.is_finished()) {
            read_stats();
        }
    });
    let stats = ekbo.wait_for_stats("everybody has gone", |stats| {
        stats.connections == 0 && stats.closing_connections == 0
    });
    let expected = Stats {
        connections: 0,
        total_connections: 1000,
        total_messages: 10_000,
        connect_errors: 0,
        message_errors: 0,
        closing_connections: 0,
    };
    assert_eq!(stats, expected);
}

/// 9 row 1: `connections` counts requests that wait for the connect or establish callback, too.
#[test]
fn connections() {
    let connect = Gate::new();
    let establish = Gate::new();
    let backend = Backend::plan()
        .on("/connect", Answer::admit("alice").held_by(&connect))
        .on("/establish", Answer::ok().held_by(&establish))
        .on("/close", Answer::ok())
        .start();
    let ekbo = Ekbo::with(&backend).start();
    assert_eq!(ekbo.stats().connections, 0);
    let pending = Client::to(&ekbo).start();
    connect.wait_until_reached_by(1);
    assert_eq!(ekbo.stats().connections, 1);
    connect.open();
    let alice = pending.connect();
    establish.wait_until_reached_by(1);
    assert_eq!(ekbo.stats().connections, 1);
    establish.open();
    alice.leave(1000);
    eventually("no connections", || ekbo.stats().connections == 0);
}

/// 9 row 2, 9 row 4, KB-CON-1, Q24: `total_connections` counts every request on the connect
/// path; `connect_errors` those that failed, but not a 403 of the backend.
#[test]
fn connect_errors() {
    let backend = Backend::admitting("alice").start();
    let ekbo = Ekbo::with(&backend).set("origin_policy", "same_origin").start();
    let mut total = 0;
    let mut errors = 0;
    let mut check = |what: &str, is_error: bool| {
        total += 1;
        errors += u64::from(is_error);
        let stats = ekbo.stats();
        let counted = (stats.total_connections, stats.connect_errors);
        assert_eq!(counted, (total, errors), "{what}");
    };
    assert_eq!(ekbo.get("/connect").status, 400);
    check("a plain GET", true);
    let refused = ekbo.request("POST", "/connect").body("x").send();
    assert_eq!(refused.status, 400);
    check("a POST", true);
    let refused = Client::to(&ekbo).origin("http://elsewhere").refused();
    assert_eq!(refused.status, 403);
    check("a foreign origin", true);
    for (status, is_error) in [(403, false), (401, true), (404, true), (201, true), (503, true)] {
        backend.on("/connect", Answer::status(status));
        assert_eq!(Client::to(&ekbo).refused().status, status);
        check(&status.to_string(), is_error);
    }
    backend.on("/connect", Answer::ok());
    assert_eq!(Client::to(&ekbo).refused().status, 400);
    check("no session header", true);
    backend.on("/connect", Answer::hang_up());
    assert_eq!(Client::to(&ekbo).refused().status, 502);
    check("no answer", true);
    let cut_off = Answer::admit("alice").header("Content-Length", "10").body("half");
    backend.on("/connect", cut_off.then_hang_up());
    assert_eq!(Client::to(&ekbo).refused().status, 500);
    check("a body cut off", true);
    backend.on("/connect", Answer::admit("alice"));
    Client::connect(&ekbo).leave(1000);
    check("a client that was admitted", false);
    assert_eq!(ekbo.get("/connected").status, 404);
    assert_eq!(ekbo.stats().total_connections, total);
}

/// 9 row 4: a refused establish callback is a connect error.
#[test]
fn establish_errors() {
    let backend = Backend::admitting("alice").on("/establish", Answer::status(500)).start();
    let ekbo = Ekbo::with(&backend).start();
    Client::connect(&ekbo).expect_farewell(1011, "establish failed");
    let stats = ekbo.wait_for_stats("no connections", |stats| stats.connections == 0);
    let counted = (stats.total_connections, stats.connect_errors);
    assert_eq!(counted, (1, 1));
}

/// 9 row 3: `total_messages` counts first messages and every known target of `/send` and
/// `/close`, also when delivery fails, but no messages of clients.
#[test]
fn total_messages() {
    let backend = Backend::plan()
        .on_request("/connect", |request| match request.query() {
            Some("greeted") => Answer::admit("greeted").body("hello"),
            query => Answer::admit(query.unwrap()),
        })
        .on("/receive", Answer::ok())
        .on("/close", Answer::ok())
        .start();
    let ekbo =
        Ekbo::with(&backend).set("send_queue_size", "0").set("send_timeout", "300ms").start();
    let total = || ekbo.stats().total_messages;
    let mut greeted = Client::connect_as(&ekbo, "greeted");
    greeted.expect_text("hello");
    assert_eq!(total(), 1);
    let mut alice = Client::connect_as(&ekbo, "alice");
    assert_eq!(total(), 1);
    greeted.send(&Frame::text("to the backend"));
    backend.wait_for("/receive", 1);
    assert_eq!(total(), 1);
    ekbo.send(["alice", "greeted", "unknown", "alice"], "one")
        .assert_failed_for([(NOT_FOUND, "unknown")]);
    assert_eq!(total(), 4);
    alice.stall(&ekbo, "alice");
    assert_eq!(total(), 5);
    ekbo.send(["alice"], "no room").assert_failed_for([(TIMED_OUT, "alice")]);
    assert_eq!(total(), 6);
    ekbo.close(["greeted", "unknown"], "bye").assert_failed_for([(NOT_FOUND, "unknown")]);
    assert_eq!(total(), 7);
}

/// 9 row 5: `message_errors` counts failed writes, but no time-outs, unknown keys or failed
/// receive callbacks.
#[test]
fn message_errors() {
    let backend = Backend::admitting("alice").on("/receive", Answer::status(500)).start();
    let ekbo = Ekbo::with(&backend)
        .set("send_queue_size", "0")
        .set("send_timeout", "300ms")
        .set("write_timeout", "2s")
        .start();
    let mut alice = Client::connect(&ekbo);
    alice.send(&Frame::text("to the backend"));
    ekbo.wait_for_log("receive callback failed");
    alice.stall(&ekbo, "alice");
    ekbo.send(["alice", "unknown"], "hello")
        .assert_failed_for([(NOT_FOUND, "unknown"), (TIMED_OUT, "alice")]);
    assert_eq!(ekbo.stats().message_errors, 0);
    ekbo.wait_for_stats("a write error", |stats| stats.message_errors == 1);
}

/// 9 row 6: `closing_connections` counts close callbacks in flight.
#[test]
fn closing_connections() {
    let gate = Gate::new();
    let backend = Backend::admitting_by_query().on("/close", Answer::ok().held_by(&gate)).start();
    let ekbo = Ekbo::with(&backend).start();
    for key in ["a", "b", "c"] {
        Client::connect_as(&ekbo, key).leave(1000);
    }
    gate.wait_until_reached_by(3);
    let stats = ekbo.wait_for_stats("no connections", |stats| stats.connections == 0);
    assert_eq!(stats.closing_connections, 3);
    gate.open();
    ekbo.wait_for_stats("no close callbacks", |stats| stats.closing_connections == 0);
}

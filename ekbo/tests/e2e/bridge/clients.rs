//! Who is there: what older clients are told, who gets what, when the profiler is left alone, pings,
//! and the stop.

use std::time::Duration;

use serde_json::json;

use super::super::harness::{Frame, PATIENCE, Rbkit, Received, Signal, Stopwatch};
use super::{OK, bridged, bridged_with, departures, enter, enter_all, visitor};

/// RB-D-7, RB-MUL-1, RB-MUL-2: each client that comes is told to the older ones, and none that
/// leaves. All get what is published, also when the newest has left.
#[test]
fn clients_come_and_leave() {
    let rbkit = Rbkit::start();
    let ekbo = bridged(&rbkit);
    let mut first = enter(&ekbo);
    let mut second = enter(&ekbo);
    first.expect_text("0client_count:2");
    let mut third = enter(&ekbo);
    first.expect_text("0client_count:3");
    second.expect_text("0client_count:3");
    rbkit.wait_for_subscribers(1);
    rbkit.publish([b"for-all"]);
    for client in [&mut first, &mut second, &mut third] {
        client.expect_text("1for-all");
    }
    second.shakes_hands();
    third.leave(1000);
    departures(&ekbo, 1);
    rbkit.publish([b"for-both"]);
    first.expect_text("1for-both");
    second.expect_text("1for-both");
    first.leave(1000);
    departures(&ekbo, 2);
    let mut fourth = enter(&ekbo);
    second.expect_text("0client_count:2");
    rbkit.publish([b"again"]);
    second.expect_text("1again");
    fourth.expect_text("1again");
}

/// `client_count_notices: false`.
#[test]
fn nobody_is_told() {
    let rbkit = Rbkit::start();
    let ekbo = bridged_with(&rbkit, json!({"client_count_notices": false})).start();
    let (mut first, mut second) = (enter(&ekbo), enter(&ekbo));
    rbkit.wait_for_subscribers(1);
    rbkit.publish([b"data"]);
    first.expect_text("1data");
    second.expect_text("1data");
}

/// RB-MUL-2: with `routing: newest` the newest gets all responses and all that is published, until
/// it leaves; then the newest of those left does.
#[test]
fn the_newest_gets_everything() {
    let rbkit = Rbkit::start();
    let ekbo = bridged_with(&rbkit, json!({"routing": "newest"})).start();
    let [mut first, mut second, mut third] = enter_all(&ekbo);
    rbkit.wait_for_subscribers(1);
    rbkit.publish([b"one"]);
    third.expect_text("1one");
    first.asks("ping");
    third.expect_text(OK);
    // A client that is not the newest leaves, and nothing changes.
    second.asks("ping");
    third.expect_text(OK);
    second.leave(1000);
    departures(&ekbo, 1);
    rbkit.publish([b"two"]);
    third.expect_text("1two");
    third.leave(1000);
    departures(&ekbo, 2);
    rbkit.publish([b"three"]);
    first.expect_text("1three");
    first.asks("ping");
    first.expect_text(OK);
}

/// RB-BRG-5: there is one subscription for all clients, and none while there are no clients.
#[test]
fn one_subscription() {
    let rbkit = Rbkit::start();
    let ekbo = bridged(&rbkit);
    assert_eq!(rbkit.subscriptions(), 0);
    let clients: [_; 3] = enter_all(&ekbo);
    rbkit.wait_for_subscribers(1);
    for client in clients {
        client.leave(1000);
    }
    rbkit.wait_for_subscribers(0);
    assert_eq!(rbkit.subscriptions(), 1);
    let mut next = enter(&ekbo);
    rbkit.wait_for_subscribers(1);
    rbkit.publish([b"data"]);
    next.expect_text("1data");
    next.reset();
    rbkit.wait_for_subscribers(0);
    assert_eq!(rbkit.subscriptions(), 2);
}

/// RB-BRG-7: the profiler hears nothing but what clients ask.
#[test]
fn nothing_by_itself() {
    let rbkit = Rbkit::start();
    let ekbo = bridged(&rbkit);
    let mut client = visitor(&ekbo).connect();
    client.asks("start_memory_profile");
    client.expect_text(OK);
    rbkit.wait_for_subscribers(1);
    client.leave(1000);
    departures(&ekbo, 1);
    rbkit.wait_for_subscribers(0);
    // Were there another command, it would come before this one.
    let mut client = visitor(&ekbo).connect();
    client.asks("ping");
    client.expect_text(OK);
    assert_eq!(rbkit.commands(), ["start_memory_profile", "ping"]);
}

/// RB-BRG-7: unless `on_last_client` is set: then it is asked when the last has left, however that
/// left, and not before.
#[test]
fn a_command_when_the_last_has_left() {
    let rbkit = Rbkit::start();
    let last = json!({"on_last_client": "stop_memory_profile"});
    let ekbo = bridged_with(&rbkit, last).start();
    let [mut first, mut second] = enter_all(&ekbo);
    second.asks("start_memory_profile");
    second.expect_text(OK);
    second.reset();
    departures(&ekbo, 1);
    first.asks("ping");
    first.expect_text(OK);
    assert_eq!(rbkit.commands(), ["start_memory_profile", "ping"]);
    first.reset();
    rbkit.wait_for_command("stop_memory_profile");
    let mut next = visitor(&ekbo).connect();
    assert_eq!(next.shakes_hands()["object_trace_enabled"], 0);
    assert_eq!(
        rbkit.commands(),
        ["start_memory_profile", "ping", "stop_memory_profile", "handshake"]
    );
}

/// RB-BRG-7: by a stop all clients leave.
#[test]
fn a_command_when_a_stop_ends_the_last() {
    let rbkit = Rbkit::start();
    let last = json!({"on_last_client": "stop_memory_profile"});
    let mut ekbo = bridged_with(&rbkit, last).start();
    let clients: [_; 2] = enter_all(&ekbo);
    ekbo.signal(Signal::Term);
    for mut client in clients {
        client.expect_farewell(1001, "going away");
    }
    assert_eq!(ekbo.wait_exit().code(), Some(0));
    assert_eq!(rbkit.commands(), ["stop_memory_profile"]);
}

/// RB-BRG-7: a profiler that is away does not hold up the stop.
#[test]
fn a_stop_while_the_profiler_is_away() {
    let mut rbkit = Rbkit::start();
    let last = json!({"on_last_client": "stop_memory_profile"});
    let mut ekbo = bridged_with(&rbkit, last).start();
    let mut client = enter(&ekbo);
    rbkit.kill();
    ekbo.wait_for_log("bridge backend is down");
    let since = Stopwatch::start();
    ekbo.signal(Signal::Term);
    client.expect_farewell(1001, "going away");
    assert_eq!(ekbo.wait_exit().code(), Some(0));
    assert!(since.elapsed() < PATIENCE / 2, "{:?}", since.elapsed());
}

/// RB-BRG-7: nor does one that answers neither what was asked nor what is asked last.
#[test]
fn a_stop_while_the_profiler_is_mute() {
    let rbkit = Rbkit::start();
    let last = json!({"on_last_client": "stop_memory_profile"});
    let mut ekbo = bridged_with(&rbkit, last).start();
    rbkit.tell("mute");
    let mut client = enter(&ekbo);
    client.asks("ping");
    rbkit.wait_for_command("ping");
    let since = Stopwatch::start();
    ekbo.signal(Signal::Term);
    client.expect_farewell(1001, "going away");
    assert_eq!(ekbo.wait_exit().code(), Some(0));
    assert!(since.elapsed() < PATIENCE / 2, "{:?}", since.elapsed());
}

/// RB-D-11, RB-KAL-1: pings come at the interval and are numbered; who does not answer them, and
/// says nothing else, is closed.
#[test]
fn pings() {
    const SILENCE: Duration = Duration::from_secs(2);
    let rbkit = Rbkit::start();
    let pings = json!({"ping_interval": "200ms", "pong_timeout": "2s"});
    let ekbo = bridged_with(&rbkit, pings).start();
    let stopwatch = Stopwatch::start();
    let mut client = visitor(&ekbo).connect();
    let mut number = 1;
    // Longer than the silence that is allowed.
    while number <= 15 {
        assert_eq!(client.receive(), Received::Ping(number.to_string().into_bytes()));
        client.send(&Frame::pong(number.to_string()));
        number += 1;
    }
    let took = stopwatch.elapsed();
    assert!(took >= Duration::from_millis(15 * 200), "{took:?}");
    let silent = Stopwatch::start();
    loop {
        match client.receive() {
            Received::Ping(payload) => {
                assert_eq!(payload, number.to_string().into_bytes());
                number += 1;
            }
            Received::Close(close) => {
                assert_eq!(close, Some((1001, "pong timeout".to_owned())));
                break;
            }
            other => panic!("{other:?}"),
        }
    }
    let took = silent.elapsed();
    assert!(took > SILENCE / 2 && took < PATIENCE, "{took:?}");
}

/// RB-D-11: anything that a client says shows that it is there; its own pings are answered.
#[test]
fn a_client_that_talks_is_there() {
    let rbkit = Rbkit::start();
    let pings = json!({"ping_interval": "1s", "pong_timeout": "2s"});
    let ekbo = bridged_with(&rbkit, pings).start();
    let mut client = visitor(&ekbo).connect();
    for number in 1..=3 {
        assert_eq!(client.receive(), Received::Ping(number.to_string().into_bytes()));
        client.send(&Frame::ping("mine"));
        client.expect_pong("mine");
        client.asks("");
        client.expect_text(OK);
    }
}

/// The stop closes clients with 1001, and ends as it should.
#[test]
fn a_stop() {
    let rbkit = Rbkit::start();
    let mut ekbo = bridged(&rbkit);
    let mut clients: [_; 3] = enter_all(&ekbo);
    ekbo.signal(Signal::Term);
    for client in &mut clients {
        client.expect_farewell(1001, "going away");
    }
    assert_eq!(ekbo.wait_exit().code(), Some(0));
    rbkit.wait_for_subscribers(0);
}

/// Nor is it held up by a command that the profiler does not answer.
#[test]
fn a_stop_with_a_command_outstanding() {
    let rbkit = Rbkit::start();
    let mut ekbo = bridged(&rbkit);
    rbkit.tell("mute");
    let mut client = visitor(&ekbo).connect();
    client.asks("ping");
    rbkit.wait_for_command("ping");
    let since = Stopwatch::start();
    ekbo.signal(Signal::Term);
    client.expect_farewell(1001, "going away");
    assert_eq!(ekbo.wait_exit().code(), Some(0));
    assert!(since.elapsed() < PATIENCE / 2, "{:?}", since.elapsed());
}

//! What goes wrong: profilers that are not there, die, do not answer or publish too much, and
//! clients that do not read.

use std::net::{SocketAddr, TcpListener, TcpStream};
use std::thread;
use std::time::Duration;

use serde_json::json;
use socket2::{Domain, Socket, Type};

use super::super::harness::{
    Client, Ekbo, Endpoints, PATIENCE, Rbkit, Received, Stopwatch, eventually, unpack,
};
use super::super::manners::MORE_THAN_SOCKETS_HOLD;
use super::{
    NOT_RUNNING, OK, Said, bridged, bridged_with, departures, enter, enter_all, visitor,
    with_bridges,
};

/// RB-D-8, RB-OFF-1: a client whose profiler does not run is let in, told so, and closed. When the
/// profiler has started, the next one is served.
#[test]
fn not_running() {
    let endpoints = Endpoints::tcp();
    let ekbo = with_bridges([endpoints.bridge(&json!({}))]).start();
    for _ in 0..2 {
        let mut client = visitor(&ekbo).connect();
        assert_eq!(client.response.header("Sec-WebSocket-Protocol"), Some("rbkit"));
        client.expect_farewell(1000, NOT_RUNNING);
    }
    let rbkit = Rbkit::plan().at(&endpoints).start();
    let mut client = enter(&ekbo);
    client.shakes_hands();
    rbkit.wait_for_subscribers(1);
    rbkit.publish([b"data"]);
    client.expect_text("1data");
}

/// RB-OFF-1: code and reason may be others, and one endpoint that is not there is enough.
#[test]
fn half_running() {
    let rbkit = Rbkit::start();
    let missing = Endpoints::tcp();
    for key in ["request_endpoint", "publish_endpoint"] {
        let bridge = json!({
            (key): missing.request,
            "unavailable_code": 4000,
            "unavailable_reason": "come back later",
        });
        let ekbo = bridged_with(&rbkit, bridge).start();
        visitor(&ekbo).connect().expect_farewell(4000, "come back later");
    }
    // Those clients were never there.
    assert_eq!((rbkit.subscriptions(), rbkit.commands()), (0, vec![]));
}

/// RB-OFF-1: an endpoint that takes no connection is not running either; the wait for it has an end.
#[test]
fn nobody_accepts() {
    let full = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    full.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).unwrap();
    // One connection waits to be accepted, and so no other comes about.
    full.listen(0).unwrap();
    let address = full.local_addr().unwrap().as_socket().unwrap();
    let _waiting = TcpStream::connect(address).unwrap();
    let endpoint = format!("tcp://{address}");
    let endpoints = Endpoints { request: endpoint.clone(), publish: endpoint };
    let bridge = endpoints.bridge(&json!({"backend_check_timeout": "500ms"}));
    let ekbo = with_bridges([bridge]).start();
    let since = Stopwatch::start();
    visitor(&ekbo).connect().expect_farewell(1000, NOT_RUNNING);
    let took = since.elapsed();
    assert!(took >= Duration::from_millis(500) && took < PATIENCE / 2, "{took:?}");
}

/// RB-D-9, RB-BRG-6: who asks and is not answered in time is closed. Others stay, and once the
/// profiler answers again they get their responses, not those that came too late.
#[test]
fn no_reply() {
    const TIMEOUT: Duration = Duration::from_millis(500);
    let rbkit = Rbkit::start();
    let bridge = json!({"request_timeout": "500ms", "client_count_notices": false});
    let ekbo = bridged_with(&rbkit, bridge).start();
    let (mut other, mut asking) = (enter(&ekbo), enter(&ekbo));
    rbkit.wait_for_subscribers(1);
    rbkit.tell("mute");
    let since = Stopwatch::start();
    asking.asks("ping");
    asking.expect_close_code(1011);
    let took = since.elapsed();
    assert!(took >= TIMEOUT && took < PATIENCE / 2, "{took:?}");
    rbkit.publish([b"data"]);
    other.expect_text("1data");
    rbkit.tell("unmute");
    other.shakes_hands();
    enter(&ekbo).shakes_hands();
    assert_eq!(rbkit.subscriptions(), 1);
}

/// RB-D-9, RB-BRG-1: who waits behind a command that is not answered gets its turn, with a time of
/// its own.
#[test]
fn no_reply_to_who_is_first() {
    let rbkit = Rbkit::start();
    let ekbo = bridged_with(&rbkit, json!({"request_timeout": "2s"})).start();
    let [mut first, mut second] = enter_all(&ekbo);
    rbkit.tell("mute");
    first.asks("ping");
    rbkit.wait_for_command("ping");
    second.asks("handshake");
    first.expect_close_code(1011);
    rbkit.tell("unmute");
    assert_eq!(unpack(&second.response())["0"], 8);
    assert_eq!(rbkit.commands(), ["ping", "handshake"]);
}

/// RB-BRG-6: the profiler dies with a command outstanding: its client is closed at once, nobody
/// else. When it is back, data comes again and commands are answered.
#[test]
fn the_profiler_dies_and_comes_back() {
    let mut rbkit = Rbkit::plan().at(&Endpoints::tcp()).start();
    let bridge = json!({"request_timeout": "5s", "client_count_notices": false});
    let ekbo = bridged_with(&rbkit, bridge).start();
    let (mut listening, mut asking) = (enter(&ekbo), enter(&ekbo));
    rbkit.wait_for_subscribers(1);
    for life in 1..=3 {
        rbkit.publish([b"before"]);
        listening.expect_text("1before");
        rbkit.tell("mute");
        asking.asks("ping");
        rbkit.wait_for_command("ping");
        let since = Stopwatch::start();
        rbkit.kill();
        match asking.receive() {
            Received::Text(text) => assert_eq!(text, "1before"),
            other => panic!("{other:?}"),
        }
        asking.expect_close_code(1011);
        assert!(since.elapsed() < Duration::from_secs(4), "{life}: {:?}", since.elapsed());
        wait_until_away(&ekbo);
        listening.expect_to_be_read();

        rbkit.revive();
        rbkit.wait_for_subscribers(1);
        rbkit.publish([b"after"]);
        listening.expect_text("1after");
        listening.shakes_hands();
        asking = enter(&ekbo);
        assert_eq!(rbkit.subscriptions(), 1);
    }
}

/// RB-BRG-6: a command while the profiler is away is not answered in time; one when it is back is.
#[test]
fn a_command_while_the_profiler_is_away() {
    let mut rbkit = Rbkit::plan().at(&Endpoints::tcp()).start();
    let bridge = json!({"request_timeout": "300ms", "client_count_notices": false});
    let ekbo = bridged_with(&rbkit, bridge).start();
    let mut asking = enter(&ekbo);
    rbkit.wait_for_subscribers(1);
    rbkit.kill();
    wait_until_away(&ekbo);
    asking.asks("ping");
    asking.expect_close_code(1011);
    rbkit.revive();
    eventually("commands to be answered", || {
        let mut client = enter(&ekbo);
        client.asks("ping");
        client.receive() == Received::Text(OK.to_owned())
    });
}

/// A profiler that dies in the middle of what it publishes: all that it has published comes.
#[test]
fn the_profiler_dies_while_it_publishes() {
    let mut rbkit = Rbkit::plan().at(&Endpoints::tcp()).every(10, 60_000).start();
    let ekbo = bridged(&rbkit);
    let mut client = enter(&ekbo);
    rbkit.wait_for_subscribers(1);
    rbkit.tell("die_after 5");
    client.asks("start_memory_profile");
    let (mut answers, mut counters) = (0, Vec::new());
    while answers < 1 || counters.len() < 5 {
        match client.hears_bridge() {
            Said::Published(bytes) => counters.push(unpack(&bytes)["9"].clone()),
            other => {
                assert_eq!(other, Said::Response(b"ok".to_vec()));
                answers += 1;
            }
        }
    }
    assert_eq!(counters, [0, 1, 2, 3, 4]);
    rbkit.wait_for_death();
    rbkit.revive();
    rbkit.wait_for_subscribers(1);
    rbkit.tell("publish");
    assert_eq!(unpack(&client.published())["9"], 0);
}

/// Something at the endpoints that is no ZeroMQ: commands are not answered, and that is all.
#[test]
fn endpoints_of_something_else() {
    let deaf = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let endpoint = format!("tcp://127.0.0.1:{}", deaf.local_addr().unwrap().port());
    let bridge = Endpoints { request: endpoint.clone(), publish: endpoint };
    let ekbo = with_bridges([bridge.bridge(&json!({"request_timeout": "300ms"}))]).start();
    let mut client = enter(&ekbo);
    client.asks("handshake");
    client.expect_close_code(1011);

    // `ekbo` itself answers with HTTP.
    let http = Ekbo::alone().start();
    let endpoint = format!("tcp://{}", http.host());
    let bridge = Endpoints { request: endpoint.clone(), publish: endpoint };
    let ekbo = with_bridges([bridge.bridge(&json!({"request_timeout": "300ms"}))]).start();
    let mut client = enter(&ekbo);
    client.asks("handshake");
    client.expect_close_code(1011);
    enter(&ekbo);
}

/// RB-D-12: a client that does not read loses the oldest of what is published, which is counted;
/// its responses come, and others lose nothing.
#[test]
fn a_slow_client() {
    const QUEUE: usize = 20;
    const MESSAGES: usize = 400;
    const COMMANDS: usize = 5;
    let rbkit = Rbkit::start();
    let queue = json!({"client_queue": {"messages": QUEUE, "bytes": "64MiB"}});
    let ekbo = bridged_with(&rbkit, queue).set("write_timeout", "10m").start();
    let mut slow = enter(&ekbo);
    let mut quick = enter(&ekbo);
    slow.expect_text("0client_count:2");
    rbkit.wait_for_subscribers(1);
    let file = ekbo.directory.join("message");
    for number in 0..MESSAGES {
        std::fs::write(&file, format!("{number:08}{}", ".".repeat(64 << 10))).unwrap();
        rbkit.tell(format!("file {}", file.display()));
        assert_eq!(numbered(&quick.receive()), number);
    }
    for _ in 0..COMMANDS {
        slow.asks("ping");
    }
    let read = read_up_to(&mut slow, MESSAGES - 1, COMMANDS);
    assert!(read.len() < MESSAGES - QUEUE, "nothing was lost");
    // Responses may have taken the places of the oldest.
    let kept = QUEUE - COMMANDS;
    let latest: Vec<_> = (MESSAGES - kept..MESSAGES).collect();
    assert_eq!(read[read.len() - kept..], latest);
    assert_eq!(dropped_by(slow, &ekbo, 1), MESSAGES - read.len());
    assert_eq!(dropped_by(quick, &ekbo, 2), 0);
}

/// RB-MUL-1: that there is no room to tell an older client of a newcomer holds up neither the newcomer
/// nor anybody else.
#[test]
fn a_newcomer_waits_for_no_slow_client() {
    let rbkit = Rbkit::start();
    let queue = json!({"client_queue": {"messages": 1, "bytes": 1000}});
    let ekbo = bridged_with(&rbkit, queue).set("write_timeout", "10m").start();
    let mut slow = Client::to(&ekbo).path("/").protocols("rbkit.raw").connect();
    rbkit.wait_for_subscribers(1);
    let file = ekbo.directory.join("message");
    std::fs::write(&file, vec![b'.'; MORE_THAN_SOCKETS_HOLD]).unwrap();
    rbkit.tell(format!("file {}", file.display()));
    slow.wait_for_bytes();
    for _ in 0..3 {
        slow.asks("ping");
    }
    rbkit.wait_for_command("ping");
    let mut older = enter(&ekbo);
    for count in 1..=3 {
        enter(&ekbo).leave(1000);
        departures(&ekbo, count);
        older.expect_text("0client_count:3");
    }
    rbkit.publish([b"data"]);
    older.expect_text("1data");
}

/// RB-D-12: 50,000 messages a second, at a client that does not read: memory is bounded, every
/// message that it loses is counted, and its responses come; one that reads is answered meanwhile.
#[test]
fn a_flood() {
    const MESSAGES: usize = 100_000;
    const SIZE: usize = 300;
    const COMMANDS: usize = 20;
    /// Less than what is published, more than two queues.
    const MUCH: u64 = 8 << 20;
    let rbkit = Rbkit::start();
    let queue = json!({
        "client_queue": {"messages": 1000, "bytes": "1MiB"},
        "client_count_notices": false,
    });
    let ekbo = bridged_with(&rbkit, queue).set("write_timeout", "10m").start();
    let mut slow = enter(&ekbo);
    let mut quick = enter(&ekbo);
    rbkit.wait_for_subscribers(1);
    // Both have been at work once.
    rbkit.publish([b"first"]);
    slow.published();
    quick.published();
    let before = ekbo.memory("VmHWM");
    rbkit.tell(format!("load 50000 {SIZE} {MESSAGES}"));
    let quick_read = thread::scope(|scope| {
        let reader = scope.spawn(|| {
            for _ in 0..COMMANDS {
                quick.asks("ping");
            }
            read_up_to(&mut quick, MESSAGES - 1, COMMANDS)
        });
        rbkit.wait_for_load();
        for _ in 0..COMMANDS {
            slow.asks("ping");
        }
        reader.join().unwrap()
    });
    let grown = ekbo.memory("VmHWM") - before;
    assert!(grown < MUCH, "{} KiB more", grown >> 10);
    let slow_read = read_up_to(&mut slow, MESSAGES - 1, COMMANDS);
    assert!(slow_read.len() < MESSAGES / 2, "{} were read", slow_read.len());
    assert_eq!(dropped_by(slow, &ekbo, 1), MESSAGES - slow_read.len());
    assert_eq!(dropped_by(quick, &ekbo, 2), MESSAGES - quick_read.len());
}

/// Waits until whoever comes is told that the profiler does not run.
#[track_caller]
fn wait_until_away(ekbo: &Ekbo) {
    eventually("the profiler to be away", || {
        let mut client = visitor(ekbo).connect();
        client.asks("");
        client.receive() == Received::Close(Some((1000, NOT_RUNNING.to_owned())))
    });
}

/// Has the client read until it has got the message with that number and so many responses.
/// Returns the numbers of the messages, which are in order.
#[track_caller]
fn read_up_to(client: &mut Client, last: usize, responses: usize) -> Vec<usize> {
    let mut numbers = Vec::new();
    let mut answered = 0;
    while answered < responses || numbers.last() != Some(&last) {
        match client.receive() {
            Received::Text(text) if text == OK => answered += 1,
            other => numbers.push(numbered(&other)),
        }
    }
    assert!(numbers.is_sorted_by(|one, next| one < next), "{numbers:?}");
    assert_eq!(answered, responses);
    numbers
}

/// The number at the head of a message that was published.
#[track_caller]
fn numbered(received: &Received) -> usize {
    match received {
        Received::Text(text) if text.starts_with('1') => text[1..9].parse().unwrap(),
        other => panic!("{other:?}"),
    }
}

/// How many messages were dropped for a client, which leaves as the `count`th.
#[track_caller]
fn dropped_by(client: Client, ekbo: &Ekbo, count: usize) -> usize {
    client.leave(1000);
    let told = departures(ekbo, count).remove(count - 1);
    usize::try_from(told.fields["dropped"].as_u64().unwrap()).unwrap()
}

//! What clients ask, and what they are answered.

use std::thread;

use serde_json::json;

use super::super::harness::{Client, Frame, Rbkit, unpack};
use super::{OK, bridged, bridged_with, enter, enter_all, visitor};

/// RB-D-2, RB-BRG-3: the reply to `handshake` is a map, escaped in one text frame.
#[test]
fn handshake() {
    let rbkit = Rbkit::start();
    let ekbo = bridged(&rbkit);
    let mut client = visitor(&ekbo).connect();
    client.asks("handshake");
    let (start, payload) = client.receive_frame().unwrap();
    assert_eq!(start, 0x80 | Frame::TEXT);
    assert!(payload.starts_with(b"0%83"), "{}", payload.escape_ascii());
    let told = super::unescape(str::from_utf8(&payload[1..]).unwrap());
    let expected = json!({
        "0": 8,
        "1": 1_407_528_865_806.0,
        "2": {
            "rbkit_server_version": "0.1.10",
            "rbkit_protocol_version": "2.1",
            "process_name": "rails server",
            "pwd": "/srv/app",
            "pid": 4711,
            "object_trace_enabled": 0,
            "cpu_profiling_enabled": 0,
            "clock_type": "cpu",
            "cpu_profiling_mode": "sampling",
        },
    });
    assert_eq!(unpack(&told), expected);
}

/// RB-D-3: every command, and one that nobody knows, is answered `ok`, and does what it does.
#[test]
fn every_command() {
    // What it then publishes is of no matter here.
    let rbkit = Rbkit::plan().objects(1).every(60_000, 60_000).start();
    let ekbo = bridged_with(&rbkit, json!({"publish_endpoint": ""})).start();
    let mut client = visitor(&ekbo).connect();
    let mut do_all = |commands: &[&str]| {
        for command in commands {
            client.asks(command);
            client.expect_text(OK);
        }
        client.shakes_hands()
    };
    let told = do_all(&["start_memory_profile", "use_wall_time", "start_cpu_profiling"]);
    assert_eq!(told["object_trace_enabled"], 1);
    assert_eq!(told["cpu_profiling_enabled"], 1);
    assert_eq!(told["clock_type"], "wall");
    let told = do_all(&[
        "objectspace_snapshot",
        "trigger_gc",
        "start_cpu_profiling",
        "stop_cpu_profiling",
        "use_cpu_time",
        "stop_memory_profile",
        "ping",
        "no such command",
        "wörter",
    ]);
    assert_eq!(told["object_trace_enabled"], 0);
    assert_eq!(told["cpu_profiling_enabled"], 0);
    assert_eq!(told["clock_type"], "cpu");
}

/// RB-D-13: a binary message is a command as well, whatever its bytes.
#[test]
fn binary_commands() {
    let rbkit = Rbkit::plan().echoing().start();
    let ekbo = bridged(&rbkit);
    let mut client = visitor(&ekbo).connect();
    client.send(&Frame::binary("handshake"));
    assert_eq!(unpack(&client.response())["0"], 8);
    let bytes: Vec<u8> = (1..=255).collect();
    client.send(&Frame::binary(&bytes));
    assert!(client.response() == bytes);
    client.send(&Frame::binary("hand").unfinished());
    client.send(&Frame::continuation("shake"));
    assert_eq!(unpack(&client.response())["0"], 8);
}

/// RB-D-10, RB-BRG-2: an empty command, and one that begins with NUL, is answered here; one with a
/// NUL further on is forwarded as it is.
#[test]
fn empty_commands() {
    let rbkit = Rbkit::start();
    let ekbo = bridged(&rbkit);
    let mut client = visitor(&ekbo).connect();
    for empty in [Frame::text(""), Frame::binary(""), Frame::text("\0"), Frame::text("\0handshake")]
    {
        client.send(&empty);
        client.expect_text(OK);
    }
    client.asks("handshake\0 and more");
    assert_eq!(unpack(&client.response())["0"], 8);
    assert_eq!(rbkit.commands(), ["handshake\0 and more"]);
}

/// RB-BRG-1: what one client asks without waiting is answered in its order.
#[test]
fn answers_are_in_order() {
    let rbkit = Rbkit::plan().echoing().start();
    let ekbo = bridged(&rbkit);
    let mut client = visitor(&ekbo).connect();
    let commands: Vec<String> = (0..200).map(|number| format!("command-{number}")).collect();
    for (number, command) in commands.iter().enumerate() {
        client.asks(command);
        if number % 10 == 0 {
            client.asks("");
        }
    }
    for (number, command) in commands.iter().enumerate() {
        client.expect_text(&format!("0{command}"));
        if number % 10 == 0 {
            client.expect_text(OK);
        }
    }
    assert_eq!(rbkit.commands(), commands);
}

/// RB-BRG-1, RB-D-7: many ask at once, and each gets the responses to its own commands, one for each.
#[test]
fn everybody_gets_its_own_answers() {
    const EACH: usize = 50;
    let rbkit = Rbkit::plan().echoing().start();
    let ekbo = bridged_with(&rbkit, json!({"client_count_notices": false})).start();
    let mut clients: Vec<Client> = (0..10).map(|_| visitor(&ekbo).connect()).collect();
    thread::scope(|scope| {
        for (name, client) in clients.iter_mut().enumerate() {
            scope.spawn(move || {
                for number in 0..EACH {
                    client.asks(format!("{name}-{number}"));
                    // Some wait for each response, some do not.
                    if name % 2 == 0 {
                        client.expect_text(&format!("0{name}-{number}"));
                    }
                }
                if name % 2 != 0 {
                    for number in 0..EACH {
                        client.expect_text(&format!("0{name}-{number}"));
                    }
                }
            });
        }
    });
    assert_eq!(rbkit.commands().len(), 10 * EACH);
}

/// RB-BRG-1: who asks a lot at once does not make others wait for all of that.
#[test]
fn everybody_has_its_turn() {
    const MANY: usize = 100;
    let rbkit = Rbkit::start();
    let ekbo = bridged(&rbkit);
    let [mut greedy, mut modest] = enter_all(&ekbo);
    rbkit.tell("delay 20");
    for number in 0..MANY {
        greedy.asks(format!("greedy {number}"));
    }
    rbkit.wait_for_command("greedy 0");
    modest.asks("modest");
    modest.expect_text(OK);
    let commands = rbkit.commands();
    let turn = commands.iter().position(|command| command == "modest").unwrap();
    assert!(turn < MANY / 2, "{commands:?}");
    rbkit.tell("delay 0");
    for _ in 0..MANY {
        greedy.expect_text(OK);
    }
}

/// One who leaves while it waits for its turn has it no more; one who leaves while the profiler is
/// at its command leaves nothing behind that another could take for its own.
#[test]
fn who_leaves_while_it_waits() {
    let rbkit = Rbkit::plan().echoing().start();
    let ekbo = bridged_with(&rbkit, json!({"client_count_notices": false})).start();
    rbkit.tell("mute");
    let mut first = visitor(&ekbo).connect();
    first.asks("of the first");
    rbkit.wait_for_command("of the first");
    let mut waiting = visitor(&ekbo).connect();
    waiting.asks("never asked");
    let mut last = visitor(&ekbo).connect();
    last.asks("of-the-last");
    first.reset();
    waiting.reset();
    super::departures(&ekbo, 2);
    rbkit.tell("unmute");
    last.expect_text("0of-the-last");
    assert_eq!(rbkit.commands(), ["of the first", "of-the-last"]);
}

/// `allowed_commands`: others end the connection of who asks them, and reach nobody.
#[test]
fn allowed_commands() {
    let rbkit = Rbkit::start();
    let allowed = json!({"allowed_commands": ["handshake", "ping"]});
    let ekbo = bridged_with(&rbkit, allowed).start();
    let mut client = visitor(&ekbo).connect();
    client.asks("");
    client.expect_text(OK);
    client.asks("handshake\0 and more");
    assert_eq!(unpack(&client.response())["0"], 8);
    client.asks("ping");
    client.expect_text(OK);
    for refused in ["start_memory_profile", "handshak", "handshakes", "Handshake", " handshake"] {
        let mut client = visitor(&ekbo).connect();
        client.asks(refused);
        client.expect_refusal(refused, 1008);
    }
    assert_eq!(rbkit.commands(), ["handshake\0 and more", "ping"]);
}

/// Without `request_endpoint` there is nobody to ask: what is published comes all the same.
#[test]
fn a_bridge_without_commands() {
    let rbkit = Rbkit::start();
    let ekbo = bridged_with(&rbkit, json!({"request_endpoint": ""})).start();
    let mut listener = visitor(&ekbo).connect();
    rbkit.wait_for_subscribers(1);
    rbkit.publish([b"data"]);
    listener.expect_text("1data");
    let mut asking = visitor(&ekbo).connect();
    asking.asks("handshake");
    asking.expect_refusal("a command", 1003);
    rbkit.publish([b"more"]);
    listener.expect_text("0client_count:2");
    listener.expect_text("1more");
}

/// `max_message_size`: larger commands and replies end the connection of who asks, and nobody
/// else's; what is published and larger is passed over.
#[test]
fn large_messages() {
    let rbkit = Rbkit::plan().echoing().start();
    let bridge = json!({"max_message_size": 100, "client_count_notices": false});
    let ekbo = bridged_with(&rbkit, bridge).start();
    let (mut client, mut asking) = (enter(&ekbo), enter(&ekbo));
    let largest = "x".repeat(100);
    client.asks(&largest);
    client.expect_text(&format!("0{largest}"));
    asking.asks("handshake");
    asking.expect_refusal("a large reply", 1009);
    let mut asking = enter(&ekbo);
    asking.asks("x".repeat(101));
    asking.expect_refusal("a large command", 1009);
    rbkit.wait_for_subscribers(1);
    rbkit.publish([&[b'y'; 101]]);
    rbkit.publish([&[b'z'; 100]]);
    client.expect_text(&format!("1{}", "z".repeat(100)));
    client.asks("next");
    client.expect_text("0next");
}

/// A3: text that is no UTF-8, and frames without a mask, are refused as everywhere.
#[test]
fn frames_that_break_the_rules() {
    let rbkit = Rbkit::start();
    let ekbo = bridged(&rbkit);
    let mut client = visitor(&ekbo).connect();
    client.asks(b"\xff");
    client.expect_refusal("text that is no UTF-8", 1007);
    let mut client = visitor(&ekbo).connect();
    client.send(&Frame::text("handshake").unmasked());
    client.expect_refusal("no mask", 1002);
    assert_eq!(rbkit.commands(), [""; 0]);
}

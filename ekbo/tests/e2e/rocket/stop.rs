//! The graceful stop.

use std::net::TcpStream;

use serde_json::json;

use super::super::harness::{Client, Rocket, Signal, eventually};
use super::{OK, enter, open, open_hub, publish, publisher, subscriber};

/// Section 5: SIGTERM and SIGINT end every connection of every hub by 1001, behind what was
/// accepted for it, and the program with 0.
#[test]
fn a_signal_ends_everything_in_order() {
    for (signal, name) in [(Signal::Term, "SIGTERM"), (Signal::Interrupt, "SIGINT")] {
        let mut rocket = Rocket::with(&json!([open_hub("/hub"), open_hub("/other")])).start();
        let mut clients: Vec<Client> = (0..20).map(|_| subscriber(&rocket)).collect();
        let mut other = enter(&rocket, "/other");
        let mut publisher = publisher(&rocket);
        for number in 0..50 {
            publisher.says(publish(number)).hears(OK);
        }
        rocket.signal(signal);
        publisher.expect_farewell(1001, "going away");
        other.expect_farewell(1001, "going away");
        for client in &mut clients {
            for number in 0..50 {
                client.hears(super::broadcast(number));
            }
            client.expect_farewell(1001, "going away");
        }
        assert_eq!(rocket.wait_exit().code(), Some(0));
        assert!(rocket.stderr().contains(&format!("received {name}")), "{}", rocket.stderr());
    }
}

/// Section 5: nothing more is accepted, and clients that do nothing cannot hold it up for longer
/// than 10 s, neither can those that do not read.
#[test]
fn clients_that_do_not_answer_are_not_waited_for() {
    let mut rocket = open();
    let silent = enter(&rocket, "/hub");
    let mut lazy = subscriber(&rocket);
    lazy.hold_little();
    let mut publisher = publisher(&rocket);
    for _ in 0..30 {
        publisher.says(publish("#".repeat(128 << 10))).hears(OK);
    }
    rocket.signal(Signal::Term);
    let address = rocket.address();
    eventually("nobody listens", || TcpStream::connect(address).is_err());
    // The harness waits for as long as this may take.
    assert_eq!(rocket.wait_exit().code(), Some(0));
    drop((silent, lazy));
}

//! What a Rocket hub tells, by `tracing` events of the target `kuiperbelt::rocket`.

use std::fmt;
use std::sync::{Arc, Mutex};

use kuiperbelt::rocket::{Rocket, Settings};
use tokio::time::Instant;
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Metadata, Subscriber};

use super::actors::*;

/// RK-LOG: a line for each step, with the hub's path beside it; nothing that was published, no
/// secret, and no line that a channel's name forges.
#[test]
fn what_a_hub_tells() {
    let lines = Lines::default();
    // For the whole process: hubs of other tests have other paths.
    tracing::subscriber::set_global_default(lines.clone()).unwrap();
    let mut server = kuiperbelt::Server::new();
    let settings = Settings { credentials: secrets(), ..Settings::default() };
    let rocket = Rocket::new(server.hub(), "/told", settings);
    server.door_with("/told", rocket.clone(), rocket.options()).unwrap();
    let server = Server::run(rocket, server);
    let mut client = server.client_at("/told");
    assert_eq!(client.auth("read-only", "wrong"), INVALID_CREDENTIALS);
    client.log_in("read-only");
    client.log_in("read-write");
    assert_eq!(client.subscribe(r"a\nConnected"), OK);
    let broadcast = r#"{"channel":"a\nConnected","data":"private","event":"e"}"#;
    assert_eq!(client.publish(r"a\nConnected", r#""private""#), broadcast);
    assert_eq!(client.hear(), OK);
    assert_eq!(client.unsubscribe(r"a\nConnected"), OK);
    assert_eq!(client.unsubscribe("unknown"), OK);
    assert_eq!(client.ask(r#"{"logout":true}"#), OK);
    client.say(r#"{"disconnect":true}"#);
    assert_eq!(client.end(), 1000);
    // The connection is over when both sides have closed it.
    drop(client);
    let expected = [
        "Connected",
        "Authentication failed",
        "Authenticated (read-only access)",
        "Authenticated (read-write access)",
        r"Subscribed: a\nConnected",
        r"[=> a\nConnected] Broadcasted",
        r"Unsubscribed: a\nConnected",
        "Logged out",
        "Disconnected",
    ];
    let until = Instant::now() + PATIENCE;
    while lines.of("/told").len() < expected.len() && Instant::now() < until {
        std::thread::yield_now();
    }
    assert_eq!(lines.of("/told"), expected);
}

/// Takes the events of Rocket hubs down.
#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<Line>>>);

#[derive(Default)]
struct Line {
    hub: String,
    message: String,
}

impl Lines {
    fn of(&self, hub: &str) -> Vec<String> {
        let lines = self.0.lock().unwrap();
        lines.iter().filter(|line| line.hub == hub).map(|line| line.message.clone()).collect()
    }
}

impl Visit for Line {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        match field.name() {
            "hub" => self.hub = format!("{value:?}"),
            "message" => self.message = format!("{value:?}"),
            other => panic!("{other}"),
        }
    }
}

impl Subscriber for Lines {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.target() == "kuiperbelt::rocket"
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, event: &Event<'_>) {
        let mut line = Line::default();
        event.record(&mut line);
        self.0.lock().unwrap().push(line);
    }

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}

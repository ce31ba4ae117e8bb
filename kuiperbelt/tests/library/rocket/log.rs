//! What a Rocket hub tells, by `tracing` events of the target `kuiperbelt::rocket`.

use std::fmt;
use std::sync::{Arc, Mutex, OnceLock};

use kuiperbelt::rocket::{Rocket, Settings};
use tokio::time::Instant;
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Level, Metadata, Subscriber};

use super::actors::*;

/// RK-LOG: a line for each step, with the hub's path beside it, and with the client's address as
/// soon as that has said something; nothing that was published, no secret, and no line that a channel's name forges.
#[test]
fn what_a_hub_tells() {
    let lines = Lines::start();
    let server = told("/told", Settings { credentials: secrets(), ..Settings::default() });
    let mut client = server.client_at("/told");
    let peer = client.0.get_ref().local_addr().unwrap().to_string();
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
    lines.await_end("/told");
    assert_eq!(server.rocket.publish_json("a\nConnected", r#"{"event":"private"}"#), Ok(0));
    let told: Vec<_> = lines.of("/told");
    let shown: Vec<_> = told.iter().map(|line| (line.level, &*line.message)).collect();
    assert_eq!(
        shown,
        [
            (Level::INFO, "Connected"),
            (Level::INFO, "Authentication failed"),
            (Level::INFO, "Authenticated (read-only access)"),
            (Level::INFO, "Authenticated (read-write access)"),
            (Level::DEBUG, r"Subscribed: a\nConnected"),
            (Level::DEBUG, r"[=> a\nConnected] Broadcasted"),
            (Level::DEBUG, r"Unsubscribed: a\nConnected"),
            (Level::INFO, "Logged out"),
            (Level::INFO, "Disconnected"),
            (Level::DEBUG, r"[=> a\nConnected] Broadcasted"),
        ]
    );
    // The last is the program's own.
    let [first, of_client @ .., last] = &told[..] else { unreachable!() };
    assert_eq!([&first.peer, &last.peer], [&None, &None]);
    assert!(of_client.iter().all(|line| line.peer.as_ref() == Some(&peer)), "{of_client:?}");
}

/// RK-LOG: a client that does much is told of so often in a second, and how much more there was.
#[test]
fn a_client_that_does_much() {
    const ROUNDS: usize = 300;
    let lines = Lines::start();
    let server = told("/much", Settings::default());
    let start = Instant::now();
    let mut client = server.client_at("/much");
    for _ in 0..ROUNDS {
        client.log_in("read-only");
        assert_eq!(client.subscribe("news"), OK);
        assert_eq!(client.unsubscribe("news"), OK);
    }
    let seconds = start.elapsed().as_secs() as usize;
    drop(client);
    lines.await_end("/much");
    let told = lines.of("/much");
    for (level, total) in [(Level::INFO, ROUNDS + 2), (Level::DEBUG, 2 * ROUNDS)] {
        let messages = || told.iter().filter(|line| line.level == level).map(|line| &*line.message);
        let left_out = |message: &str| -> Option<usize> {
            message.strip_prefix("… and ")?.strip_suffix(" more")?.parse().ok()
        };
        let more: usize = messages().filter_map(left_out).sum();
        let written = messages().filter(|message| left_out(message).is_none()).count();
        assert_eq!(written + more, total, "{level}");
        // The first and the last are always told.
        assert!(written <= 50 * (seconds + 1) + 2, "{level}: {written} in {seconds} s");
        assert!(more > 0, "{level}");
    }
}

/// RK-LOG: that a client wants more than there may be is told once, however often it does.
#[test]
fn a_client_that_wants_too_much() {
    let lines = Lines::start();
    let server = told("/full", Settings { max_channels: 1, ..Settings::default() });
    let mut client = server.client_at("/full");
    client.log_in("read-only");
    assert_eq!(client.subscribe("a"), OK);
    for name in ["b", "c", "b"] {
        assert_eq!(client.subscribe(name), INVALID_CHANNEL_NAME);
    }
    drop(client);
    lines.await_end("/full");
    let told = lines.of("/full");
    let warnings: Vec<_> = told.iter().filter(|line| line.level == Level::WARN).collect();
    let [warning] = warnings[..] else { panic!("{warnings:?}") };
    assert_eq!(warning.message, "Error: there are too many channels");
    assert!(warning.peer.is_some());
}

/// A server with a hub at this path.
fn told(path: &str, settings: Settings) -> Server {
    let mut server = kuiperbelt::Server::new();
    let rocket = Rocket::new(server.hub(), path, settings);
    server.door_with(path, rocket.clone(), rocket.options()).unwrap();
    Server::run(rocket, server)
}

/// Takes the events of Rocket hubs down.
#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<Line>>>);

#[derive(Debug, Clone)]
struct Line {
    level: Level,
    hub: String,
    peer: Option<String>,
    message: String,
}

impl Lines {
    /// For the whole process: hubs of other tests have other paths.
    fn start() -> Self {
        static ALL: OnceLock<Lines> = OnceLock::new();
        let start = || {
            let lines = Self::default();
            tracing::subscriber::set_global_default(lines.clone()).unwrap();
            lines
        };
        ALL.get_or_init(start).clone()
    }

    fn of(&self, hub: &str) -> Vec<Line> {
        self.0.lock().unwrap().iter().filter(|line| line.hub == hub).cloned().collect()
    }

    /// Waits for the last line of a connection.
    #[track_caller]
    fn await_end(&self, hub: &str) {
        let until = Instant::now() + PATIENCE;
        while self.of(hub).last().is_none_or(|line| line.message != "Disconnected") {
            assert!(Instant::now() < until, "{:?}", self.of(hub));
            std::thread::yield_now();
        }
    }
}

impl Visit for Line {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        match field.name() {
            "hub" => self.hub = format!("{value:?}"),
            "peer" => self.peer = Some(format!("{value:?}")),
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
        let level = *event.metadata().level();
        let mut line = Line { level, hub: String::new(), peer: None, message: String::new() };
        event.record(&mut line);
        self.0.lock().unwrap().push(line);
    }

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}

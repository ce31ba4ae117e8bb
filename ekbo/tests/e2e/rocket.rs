//! The program `rocket`: what it says and hears on its hubs, and how it is started and stopped.
//! Here is what these tests share; each file beside has its own matter.

/// Chromium and Python on a hub.
mod clients;
/// Command line, configuration and logs.
mod configuration;
/// The original's own tests, in their order.
mod conversation;
/// Limits, and what is said beyond them.
mod limits;
/// Every event, with everything that is wrong with it.
mod messages;
/// The graceful stop.
mod stop;
/// Who gets what is published.
mod subscribers;
/// `wss://`.
mod tls;
/// Handshake, frames, paths.
mod transport;

use serde_json::{Value, json};

use super::harness::{Client, Frame, Received, Rocket, Server};

const OK: &str = r#"{"ok":true}"#;
const INVALID_DATA: &str = r#"{"err":"invalid_data"}"#;
const INVALID_CREDENTIALS: &str = r#"{"err":"invalid_credentials"}"#;
const INVALID_CHANNEL_NAME: &str = r#"{"err":"invalid_channel_name"}"#;
const INVALID_CHANNEL: &str = r#"{"err":"invalid_channel"}"#;
const ACCESS_DENIED: &str = r#"{"err":"access_denied"}"#;

/// Log in for reading or for everything, where no secret is asked for.
const READ: &str = r#"{"auth":{"access":"read-only","secret":""}}"#;
const WRITE: &str = r#"{"auth":{"access":"read-write","secret":""}}"#;

const SUBSCRIBE: &str = r#"{"subscribe":{"channel":"hello"}}"#;
const UNSUBSCRIBE: &str = r#"{"unsubscribe":{"channel":"hello"}}"#;

/// A hub that is open to everybody.
fn open_hub(path: &str) -> Value {
    json!({ "Path": path })
}

/// A server with a single hub, `/hub`, which is open to everybody.
fn open() -> Rocket {
    Rocket::with(&json!([open_hub("/hub")])).start()
}

/// Enters a hub as the original's test-suite does.
#[track_caller]
fn enter(server: &dyn Server, path: &str) -> Client {
    let client = Client::to(server).path(path).protocols("ws").origin("http://localhost/");
    client.connect()
}

/// Enters `/hub`, logs in and subscribes to `hello`.
#[track_caller]
fn subscriber(server: &dyn Server) -> Client {
    let mut client = enter(server, "/hub");
    client.says(READ).hears(OK);
    client.says(SUBSCRIBE).hears(OK);
    client
}

/// Enters `/hub` and logs in for publishing.
#[track_caller]
fn publisher(server: &dyn Server) -> Client {
    let mut client = enter(server, "/hub");
    client.says(WRITE).hears(OK);
    client
}

fn auth(access: &str, secret: &str) -> String {
    json!({"auth": {"access": access, "secret": secret}}).to_string()
}

/// Publishes `data` on `hello`.
fn publish(data: impl Into<Value>) -> String {
    json!({"publish": {"event": "e", "channel": "hello", "data": data.into()}}).to_string()
}

/// What the subscribers of `hello` get of [`publish`].
fn broadcast(data: impl Into<Value>) -> String {
    format!(r#"{{"channel":"hello","data":{},"event":"e"}}"#, data.into())
}

impl Client {
    /// Sends a text.
    #[track_caller]
    fn says(&mut self, text: impl AsRef<str>) -> &mut Self {
        self.send(&Frame::text(text.as_ref()));
        self
    }

    /// Expects these texts next.
    #[track_caller]
    fn hears(&mut self, text: impl AsRef<str>) -> &mut Self {
        self.expect_text(text.as_ref());
        self
    }

    /// Shows that nothing has come: the answer to an event without effect is what comes next.
    #[track_caller]
    fn hears_nothing(&mut self) -> &mut Self {
        self.says(r#"{"unsubscribe":{"channel":"nobody listens to this"}}"#).hears(OK)
    }

    /// The next text.
    #[track_caller]
    fn next_text(&mut self) -> String {
        match self.receive() {
            Received::Text(text) => text,
            other => panic!("expected a text, got {other:?}"),
        }
    }
}

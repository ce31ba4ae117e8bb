//! Bridges between WebSockets and a profiler that speaks ZeroMQ: `Rbkit`, by libzmq. Here is what
//! these tests share; each file beside has its own matter.

/// Who may connect, and what is told of it.
mod access;
/// Who is there, who comes and who leaves.
mod clients;
/// What clients ask, and what they are answered.
mod commands;
/// What goes wrong.
mod faults;
/// Chromium and Python as clients.
mod programs;
/// What is published.
mod published;
/// Which requests are a bridge's.
mod selection;

use percent_encoding::percent_decode;
use serde_json::{Value, json};

use super::harness::{Client, ClientPlan, Ekbo, EkboPlan, Frame, LogLine, Rbkit, Received, unpack};

/// The answer to nearly every command.
const OK: &str = "0ok";

/// Why a client is closed whose profiler does not run.
const NOT_RUNNING: &str = "Closing websocket because Rbkit server is not running";

/// An `ekbo` with these bridges and no callbacks.
fn with_bridges<const N: usize>(bridges: [Value; N]) -> EkboPlan {
    Ekbo::alone().set("bridges", &Value::from_iter(bridges).to_string())
}

/// An `ekbo` with a bridge to `rbkit`, and `more` about the bridge.
#[expect(clippy::needless_pass_by_value, reason = "it is written at the call")]
fn bridged_with(rbkit: &Rbkit, more: Value) -> EkboPlan {
    with_bridges([rbkit.endpoints().bridge(&more)])
}

/// An `ekbo` with a bridge to `rbkit`.
#[track_caller]
fn bridged(rbkit: &Rbkit) -> Ekbo {
    bridged_with(rbkit, json!({})).start()
}

/// A client that is about to offer `rbkit`.
fn visitor(ekbo: &Ekbo) -> ClientPlan<'_> {
    Client::to(ekbo).path("/").protocols("rbkit")
}

/// A client that has joined: what is published from now on is for it as well.
#[track_caller]
fn enter(ekbo: &Ekbo) -> Client {
    let mut client = visitor(ekbo).connect();
    // An empty command reaches nobody else, and is answered once its client has joined.
    client.asks("");
    client.expect_text(OK);
    client
}

/// So many clients that have joined one after the other, and have heard of each other.
#[track_caller]
fn enter_all<const N: usize>(ekbo: &Ekbo) -> [Client; N] {
    let mut clients: Vec<Client> = Vec::new();
    for count in 1..=N {
        let newcomer = enter(ekbo);
        for older in &mut clients {
            older.expect_text(&format!("0client_count:{count}"));
        }
        clients.push(newcomer);
    }
    clients.try_into().unwrap_or_else(|_| unreachable!())
}

/// The lines that tell of clients who have left; waits until there are so many.
#[track_caller]
fn departures(ekbo: &Ekbo, count: usize) -> Vec<LogLine> {
    super::harness::eventually_some(&format!("{count} clients to have left"), || {
        let lines = ekbo.log().into_iter();
        let left: Vec<_> = lines.filter(|line| line.message == "bridge client left").collect();
        (left.len() >= count).then_some(left)
    })
}

/// What a bridge says in one message, whichever frames it uses.
#[derive(Debug, PartialEq, Eq)]
enum Said {
    Response(Vec<u8>),
    Published(Vec<u8>),
    /// How many clients there are.
    Clients(usize),
}

impl Client {
    /// Sends a command and does not wait for the response.
    #[track_caller]
    fn asks(&mut self, command: impl AsRef<[u8]>) {
        self.send(&Frame::text(command));
    }

    /// The next message.
    #[track_caller]
    fn hears_bridge(&mut self) -> Said {
        match self.receive() {
            Received::Text(text) => match text.strip_prefix("0client_count:") {
                Some(count) => Said::Clients(count.parse().unwrap()),
                None => match text.split_at_checked(1) {
                    Some(("0", rest)) => Said::Response(unescape(rest)),
                    Some(("1", rest)) => Said::Published(unescape(rest)),
                    _ => panic!("{text}"),
                },
            },
            Received::Binary(bytes) => match bytes.split_first() {
                Some((b'0', rest)) => match rest.strip_prefix(b"client_count:") {
                    Some(count) => Said::Clients(str::from_utf8(count).unwrap().parse().unwrap()),
                    None => Said::Response(rest.to_vec()),
                },
                Some((b'1', rest)) => Said::Published(rest.to_vec()),
                _ => panic!("{bytes:?}"),
            },
            other => panic!("expected a message, got {other:?}"),
        }
    }

    /// The response that comes next.
    #[track_caller]
    fn response(&mut self) -> Vec<u8> {
        match self.hears_bridge() {
            Said::Response(bytes) => bytes,
            other => panic!("expected a response, got {other:?}"),
        }
    }

    /// What was published and comes next.
    #[track_caller]
    fn published(&mut self) -> Vec<u8> {
        match self.hears_bridge() {
            Said::Published(bytes) => bytes,
            other => panic!("expected what was published, got {other:?}"),
        }
    }

    /// What rbkit tells of itself, when asked.
    #[track_caller]
    fn shakes_hands(&mut self) -> Value {
        self.asks("handshake");
        let told = unpack(&self.response());
        assert_eq!(told["0"], 8, "{told}");
        told["2"].clone()
    }
}

/// A payload as a text frame has it.
fn escape(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
    let mut text = String::with_capacity(3 * bytes.len());
    for &byte in bytes {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'_' | b'.' | b'-' => text.push(byte.into()),
            b' ' => text.push('+'),
            _ => text.extend([
                '%',
                DIGITS[usize::from(byte >> 4)].into(),
                DIGITS[usize::from(byte & 15)].into(),
            ]),
        }
    }
    text
}

/// The payload of a text frame; panics when another text stands for it.
#[track_caller]
fn unescape(text: &str) -> Vec<u8> {
    let bytes: Vec<u8> = percent_decode(text.replace('+', " ").as_bytes()).collect();
    assert!(escape(&bytes) == text, "escaped otherwise: {text}");
    bytes
}

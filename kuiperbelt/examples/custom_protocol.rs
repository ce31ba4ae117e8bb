//! A protocol of one's own: a stopwatch for each client, by binary messages of one byte.
//! `0` starts it, `1` asks for it (answered by the milliseconds, as eight bytes, big-endian), and
//! anything else ends the session with close code 1003. The protocol must be asked for by the
//! subprotocol `stopwatch`.
//! `cargo run -p kuiperbelt --example custom_protocol -- 127.0.0.1:9003`

use std::env::args;
use std::io;
use std::sync::Mutex;
use std::time::Duration;

use http::request::Parts;
use http::{HeaderValue, StatusCode};
use kuiperbelt::{
    Admission, CloseCode, End, Handler, Instant, Message, Received, Refusal, Server, Session,
    answer, offered_subprotocols,
};
use tokio::signal::ctrl_c;

const NAME: &str = "stopwatch";

/// What a client asks.
enum Request {
    Start,
    Read,
}

/// Kept of every session.
struct Watch(Mutex<Instant>);

impl Watch {
    fn new() -> Self {
        Self(Mutex::new(Instant::now()))
    }

    fn start(&self) {
        *self.0.lock().expect("nobody panics with it") = Instant::now();
    }

    fn elapsed(&self) -> Duration {
        self.0.lock().expect("nobody panics with it").elapsed()
    }
}

struct Stopwatch;

impl Handler for Stopwatch {
    async fn connect(&self, request: Parts) -> Result<Admission, Refusal> {
        if !offered_subprotocols(&request.headers).any(|offered| offered == NAME) {
            return Err(Refusal::with(answer::status(StatusCode::BAD_REQUEST)));
        }
        let subprotocol = Some(HeaderValue::from_static(NAME));
        Ok(Admission { subprotocol, ..Admission::default() })
    }

    async fn receive(&self, session: &Session, message: Received) {
        let watch = session.keep(Watch::new);
        match parse(&message.payload) {
            Some(Request::Start) => watch.start(),
            Some(Request::Read) => {
                let elapsed = watch.elapsed().as_millis() as u64;
                // A client that has left is told nothing.
                let _ = session.send(&Message::binary(&elapsed.to_be_bytes()), None).await;
            }
            None => session.end(End::new(CloseCode::UNSUPPORTED, "send 0 or 1")),
        }
    }
}

fn parse(payload: &[u8]) -> Option<Request> {
    match payload {
        [0] => Some(Request::Start),
        [1] => Some(Request::Read),
        _ => None,
    }
}

#[tokio::main]
async fn main() -> io::Result<()> {
    let mut server = Server::new();
    server.door("/", Stopwatch)?;
    let address = args().nth(1).unwrap_or_else(|| "127.0.0.1:9003".to_owned());
    for address in server.bind(address).await? {
        println!("listening on {address}");
    }
    server.run(ctrl_c()).await;
    Ok(())
}

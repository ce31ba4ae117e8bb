//! Echoes every message on `/`: `cargo run -p kuiperbelt --example echo -- 127.0.0.1:9001`.
//! The Autobahn test-suite runs against this.

use std::error::Error;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use http::request::Parts;
use kuiperbelt::{
    Admission, CancellationToken, Doors, Handler, Hub, Lead, Listener, Message, Options, Received,
    Refusal, Session, SocketDoor, serve,
};

#[derive(Default)]
struct Echo {
    clients: AtomicU64,
}

impl Handler for Echo {
    async fn connect(&self, _request: Parts) -> Result<Admission, Refusal> {
        let key = self.clients.fetch_add(1, Ordering::Relaxed).to_string().into_bytes();
        Ok(Admission { key, first: None, subprotocol: None })
    }

    async fn receive(&self, session: &Session, message: Received) {
        let echo = Message::raw(message.kind, &message.payload);
        // A client that has left needs no echo.
        let _ = session.send(&echo, None).await;
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let address: SocketAddr = match std::env::args().nth(1) {
        Some(address) => address.parse()?,
        None => SocketAddr::from(([127, 0, 0, 1], 9001)),
    };
    let options =
        Options { max_message: 64 << 20, compression_min_size: Some(0), ..Options::default() };
    let mut doors = Doors::closed();
    let door = SocketDoor::new(&Hub::new(), Echo::default(), options);
    doors.add("/", Lead::Socket(Arc::new(door)))?;
    let listener = Listener::tcp(address)?;
    if let Some(address) = listener.address() {
        println!("listening on {address}");
    }
    serve(listener, Arc::new(doors), None, CancellationToken::new()).await;
    Ok(())
}

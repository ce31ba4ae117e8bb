//! Echoes every message on `/`: `cargo run -p kuiperbelt --example echo -- 127.0.0.1:9001`.
//! The Autobahn test-suite runs against this.

use std::error::Error;
use std::net::SocketAddr;
use std::sync::Arc;

use kuiperbelt::{
    CancellationToken, Doors, Handler, Hub, Lead, Listener, Message, Options, Received, Session,
    SocketDoor, serve,
};

struct Echo;

impl Handler for Echo {
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
    let door = SocketDoor::new(&Hub::new(), Echo, options);
    doors.add("/", Lead::Socket(Arc::new(door)))?;
    let listener = Listener::tcp(address)?;
    if let Some(address) = listener.address() {
        println!("listening on {address}");
    }
    serve(listener, Arc::new(doors), None, CancellationToken::new()).await;
    Ok(())
}

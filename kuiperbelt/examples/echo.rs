//! Echoes every message: `cargo run -p kuiperbelt --example echo -- 127.0.0.1:9001`. The Autobahn
//! test suite runs against this.

use std::env::args;
use std::io;

use kuiperbelt::{Handler, Options, Received, Server, Session};
use tokio::signal::ctrl_c;

struct Echo;

impl Handler for Echo {
    async fn receive(&self, session: &Session, message: Received) {
        // A client that has left needs no echo.
        let _ = session.send(&message.into(), None).await;
    }
}

#[tokio::main]
async fn main() -> io::Result<()> {
    let options =
        Options { max_message: 64 << 20, compression_min_size: Some(0), ..Options::default() };
    let mut server = Server::new();
    server.door_with("/", Echo, options)?;
    let address = args().nth(1).unwrap_or_else(|| "127.0.0.1:9001".to_owned());
    for address in server.bind(address).await? {
        println!("listening on {address}");
    }
    server.run(ctrl_c()).await;
    Ok(())
}

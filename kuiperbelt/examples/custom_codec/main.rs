//! A Rocket hub that speaks a notation of one's own, which is in `lines.rs`:
//! `cargo run -p kuiperbelt --example custom_codec -- 127.0.0.1:9004`

use std::env::args;
use std::io;

use kuiperbelt::Server;
use kuiperbelt::rocket::{Rocket, Settings};
use tokio::signal::ctrl_c;

mod lines;

use lines::Lines;

#[tokio::main]
async fn main() -> io::Result<()> {
    let mut server = Server::new();
    // Both secrets are empty: whoever asks for access has it.
    let hub = Rocket::with_codec(server.hub(), "/hub", Settings::default(), Lines);
    let options = hub.options();
    server.door_with("/hub", hub, options)?;
    let address = args().nth(1).unwrap_or_else(|| "127.0.0.1:9004".to_owned());
    for address in server.bind(address).await? {
        println!("listening on {address}");
    }
    server.run(ctrl_c()).await;
    Ok(())
}

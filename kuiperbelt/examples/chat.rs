//! A chat: everybody hears everybody, under a name of one's own.
//! `cargo run -p kuiperbelt --example chat -- 127.0.0.1:9002`, and then, in two browsers,
//! `ws = new WebSocket("ws://127.0.0.1:9002/chat?anna"); ws.onmessage = e => console.log(e.data)`
//! and `ws.send("hello")`.

use std::env::args;
use std::io;
use std::sync::Arc;

use http::StatusCode;
use http::request::Parts;
use kuiperbelt::{
    Admission, Channels, End, Handler, Message, Received, Refusal, Server, Session, answer,
};
use tokio::signal::ctrl_c;

const LOBBY: &str = "lobby";

struct Chat {
    channels: Arc<Channels>,
}

impl Chat {
    fn say(&self, text: &str) {
        self.channels.publish(LOBBY, &Message::text(text));
    }
}

impl Handler for Chat {
    /// The query is the name; who has none is not let in.
    async fn connect(&self, request: Parts) -> Result<Admission, Refusal> {
        match request.uri.query() {
            Some(name) if !name.is_empty() => Ok(Admission::under(name)),
            _ => Err(Refusal::with(answer::status(StatusCode::FORBIDDEN))),
        }
    }

    async fn establish(&self, session: &Session) -> bool {
        self.say(&format!("{} comes in", name(session)));
        self.channels.subscribe(session, LOBBY).is_ok()
    }

    async fn receive(&self, session: &Session, message: Received) {
        self.say(&format!("{}: {}", name(session), String::from_utf8_lossy(&message.payload)));
    }

    async fn close(&self, session: &Session, _end: End) {
        self.say(&format!("{} goes", name(session)));
    }
}

fn name(session: &Session) -> String {
    String::from_utf8_lossy(session.key()).into_owned()
}

#[tokio::main]
async fn main() -> io::Result<()> {
    let mut server = Server::new();
    let channels = Arc::clone(server.hub().channels());
    server.door("/chat", Chat { channels })?;
    let address = args().nth(1).unwrap_or_else(|| "127.0.0.1:9002".to_owned());
    for address in server.bind(address).await? {
        println!("listening on {address}");
    }
    server.run(ctrl_c()).await;
    Ok(())
}

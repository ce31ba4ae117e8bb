//! Pings as real clients see them.

use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use kuiperbelt::{Handler, Options, Server};
use tokio::task::{JoinHandle, spawn_blocking};
use tungstenite::Message;

/// Lets everybody in.
struct Open;

impl Handler for Open {}

async fn server(options: Options) -> (SocketAddr, JoinHandle<()>) {
    let mut server = Server::new();
    server.door_with("/", Open, options).unwrap();
    let address = server.bind("127.0.0.1:0").await.unwrap()[0];
    (address, tokio::spawn(server.run(std::future::pending::<()>())))
}

/// A client that answers, as every real one does, is pinged and stays; one that does not is closed.
#[tokio::test(flavor = "multi_thread")]
async fn who_answers_stays() {
    let (address, served) = server(Options {
        ping_interval: Some(Duration::from_millis(50)),
        pong_timeout: Some(Duration::from_secs(2)),
        ..Options::default()
    })
    .await;
    spawn_blocking(move || {
        let connect = || {
            let stream = TcpStream::connect(address).unwrap();
            stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
            tungstenite::client(format!("ws://{address}/"), stream).unwrap().0
        };
        let (mut silent, mut client) = (connect(), connect());
        // More pings than there are in the time-out.
        for number in 1..=60_u32 {
            let Message::Ping(payload) = client.read().unwrap() else { panic!("no ping") };
            assert_eq!(payload, number.to_string());
            client.flush().unwrap();
        }
        let stream = silent.get_mut();
        let mut all = Vec::new();
        std::io::Read::read_to_end(stream, &mut all).unwrap();
        assert!(all.starts_with(b"\x89\x011\x89\x012"));
        assert!(all.ends_with(b"\x88\x0e\x03\xe9pong timeout"));
    })
    .await
    .unwrap();
    served.abort();
}

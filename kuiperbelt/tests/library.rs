//! The library as a server uses it: a handler behind a door, on a port of the system's choice, with
//! real clients.

#![allow(clippy::unwrap_used, reason = "a helper that fails fails the test it serves")]

mod library {
    /// Channels with many clients.
    mod channels;
    /// What every codec of Rocket keeps to.
    mod codec;
    /// The examples.
    mod examples;
    /// What goes wrong around the library.
    mod misfortunes;
    /// Clients that are pinged, and those that are silent.
    mod pings;
    /// Answers piece by piece.
    mod relay;
    /// The Rocket protocol, as its clients see it.
    mod rocket;
}

use std::collections::HashMap;
use std::io::Read as _;
use std::net::{SocketAddr, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use http::StatusCode;
use http::request::Parts;
use kuiperbelt::{
    Admission, CloseCode, End, Handler, Hub, Message, Received, Refusal, Session, Tls, answer,
};
use rustls::crypto::ring;
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tungstenite::WebSocket;
use tungstenite::protocol::CloseFrame;

/// Admits everybody under the query as key, echoes, and remembers who came and how they went.
#[derive(Default)]
struct Diary(Mutex<HashMap<String, Entry>>);

#[derive(Debug, Default, Clone, PartialEq)]
struct Entry {
    admitted: usize,
    received: Vec<String>,
    ends: Vec<u16>,
}

impl Diary {
    fn write(&self, key: &[u8], change: impl FnOnce(&mut Entry)) {
        let mut entries = self.0.lock().unwrap();
        change(entries.entry(String::from_utf8_lossy(key).into_owned()).or_default());
    }

    fn entry(&self, key: &str) -> Entry {
        self.0.lock().unwrap().get(key).cloned().unwrap_or_default()
    }
}

impl Handler for Diary {
    async fn connect(&self, request: Parts) -> Result<Admission, Refusal> {
        let Some(key) = request.uri.query().filter(|key| *key != "nobody") else {
            let answer = answer::status(StatusCode::FORBIDDEN);
            return Err(Refusal { answer, is_error: false, admitted: None });
        };
        let peer: &SocketAddr = request.extensions.get().unwrap();
        assert!(peer.ip().is_loopback());
        self.write(key.as_bytes(), |entry| entry.admitted += 1);
        Ok(Admission::under(key))
    }

    async fn receive(&self, session: &Session, message: Received) {
        let text = String::from_utf8_lossy(&message.payload).into_owned();
        self.write(session.key(), |entry| {
            assert!(entry.ends.is_empty(), "a message after the close");
            entry.received.push(text);
        });
        let echo = Message::raw(message.kind, &message.payload);
        let _ = session.send(&echo, None).await;
    }

    async fn close(&self, session: &Session, end: End) {
        self.write(session.key(), |entry| entry.ends.push(end.code.number()));
    }
}

struct Server {
    hub: Arc<Hub>,
    diary: Arc<Diary>,
    address: SocketAddr,
    stop: CancellationToken,
    served: JoinHandle<()>,
}

impl Server {
    async fn start() -> Self {
        Self::start_with(None).await
    }

    async fn start_with(tls: Option<Tls>) -> Self {
        let diary = Arc::new(Diary::default());
        let mut server = kuiperbelt::Server::new();
        let hub = Arc::clone(server.hub());
        server.door("/", Arc::clone(&diary)).unwrap();
        let bound = match tls {
            None => server.bind("127.0.0.1:0").await,
            Some(tls) => server.bind_tls("127.0.0.1:0", tls).await,
        };
        let address = bound.unwrap()[0];
        let stop = CancellationToken::new();
        let stopped = stop.clone();
        let served = tokio::spawn(server.run(async move { stopped.cancelled().await }));
        Self { hub, diary, address, stop, served }
    }

    /// Blocks: to be called where that is allowed.
    fn client(address: SocketAddr, key: &str) -> WebSocket<TcpStream> {
        let stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        tungstenite::client(format!("ws://{address}/?{key}"), stream).unwrap().0
    }

    /// Stops in order and returns when every end has been told.
    async fn stop(self) {
        self.stop.cancel();
        timeout(Duration::from_secs(10), self.served).await.unwrap().unwrap();
    }
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    tokio::task::spawn_blocking(work).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_echo_and_an_orderly_stop() {
    let server = Server::start().await;
    let address = server.address;
    let mut client = blocking(move || {
        let mut client = Server::client(address, "alice");
        client.send("hello".into()).unwrap();
        assert_eq!(client.read().unwrap(), "hello".into());
        client
    })
    .await;
    let reading = tokio::task::spawn_blocking(move || {
        loop {
            match client.read() {
                Ok(tungstenite::Message::Close(frame)) => return frame.map(|f| u16::from(f.code)),
                Ok(_) => {}
                Err(error) => panic!("{error}"),
            }
        }
    });
    let diary = Arc::clone(&server.diary);
    server.stop().await;
    assert_eq!(reading.await.unwrap(), Some(1001));
    assert_eq!(diary.entry("alice").ends, [1001]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_client_has_no_close() {
    let server = Server::start().await;
    let address = server.address;
    blocking(move || {
        let stream = TcpStream::connect(address).unwrap();
        match tungstenite::client(format!("ws://{address}/?nobody"), stream) {
            Err(tungstenite::HandshakeError::Failure(tungstenite::Error::Http(answer))) => {
                assert_eq!(answer.status(), 403);
            }
            other => panic!("{other:?}"),
        }
    })
    .await;
    let diary = Arc::clone(&server.diary);
    server.stop().await;
    assert_eq!(diary.entry("nobody"), Entry::default());
}

/// Everything over TLS, with a client that at first does not read.
#[tokio::test(flavor = "multi_thread")]
async fn over_tls() {
    const LARGE: usize = 1 << 20;
    let identity = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let (cert, key) = (identity.cert.pem(), identity.signing_key.serialize_pem());
    let server =
        Server::start_with(Some(Tls::from_pem(cert.as_bytes(), key.as_bytes()).unwrap())).await;
    let mut roots = RootCertStore::empty();
    roots.add(identity.cert.der().clone()).unwrap();
    let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let address = server.address;
    let mut client = blocking(move || {
        let socket = TcpStream::connect(address).unwrap();
        socket.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        let name = "localhost".try_into().unwrap();
        let connection = ClientConnection::new(Arc::new(config), name).unwrap();
        let stream = StreamOwned::new(connection, socket);
        let mut client = tungstenite::client("wss://localhost/?alice", stream).unwrap().0;
        for text in ["hello".to_owned(), "x".repeat(LARGE)] {
            client.send(text.clone().into()).unwrap();
            assert_eq!(client.read().unwrap(), text.into());
        }
        client
    })
    .await;
    let session = server.hub.session(b"alice").unwrap();
    let mut sent = 0_usize;
    // Until somebody has to wait: far more than what the kernel holds for a client.
    while session.try_send(&Message::text(&format!("{sent} {}", "x".repeat(LARGE)))).is_ok() {
        sent += 1;
        tokio::task::yield_now().await;
    }
    let reading = tokio::task::spawn_blocking(move || {
        for number in 0..sent {
            let text = client.read().unwrap().into_text().unwrap();
            let (before, x) = text.split_once(' ').unwrap();
            assert_eq!(before, number.to_string());
            assert_eq!(x.len(), LARGE);
        }
        let tungstenite::Message::Close(frame) = client.read().unwrap() else { panic!("no close") };
        assert_eq!(u16::from(frame.unwrap().code), 1001);
        assert!(matches!(client.read(), Err(tungstenite::Error::ConnectionClosed)));
        // A clean end: without close_notify this would be an error.
        assert_eq!(client.get_mut().read(&mut [0]).unwrap(), 0);
    });
    let diary = Arc::clone(&server.diary);
    server.stop().await;
    reading.await.unwrap();
    assert_eq!(diary.entry("alice").ends, [1001]);
}

/// D7: clients that come and go in every way at once; each has one close, after its messages, and
/// none if its end is quiet.
#[tokio::test(flavor = "multi_thread")]
async fn every_end_is_told_once() {
    const CLIENTS: usize = 300;
    let server = Server::start().await;
    let address = server.address;
    let mut working = Vec::new();
    for number in 0..CLIENTS {
        let hub = Arc::clone(&server.hub);
        working.push(tokio::task::spawn_blocking(move || {
            let key = format!("client-{number}");
            let mut client = Server::client(address, &key);
            client.send(format!("hello {number}").into()).unwrap();
            match number % 6 {
                0 => {
                    let frame = CloseFrame { code: 4000.into(), reason: "bye".into() };
                    client.close(Some(frame)).unwrap();
                    while client.read().is_ok() {}
                }
                1 => drop(client),
                2 => {
                    socket2::SockRef::from(client.get_ref())
                        .set_linger(Some(Duration::ZERO))
                        .unwrap();
                }
                3 => {
                    use std::io::Write as _;
                    client.get_mut().write_all(&[0xff; 20]).unwrap();
                    while client.read().is_ok() {}
                }
                4 => {
                    // The echo shows that the session is there.
                    client.read().unwrap();
                    let session = hub.session(key.as_bytes()).unwrap();
                    let end = End::new(CloseCode::NORMAL, "").quietly(true);
                    let last = Message::text("last word");
                    futures_util::FutureExt::now_or_never(session.close(Some(&last), end, None))
                        .unwrap()
                        .unwrap();
                    assert_eq!(client.read().unwrap(), "last word".into());
                    while client.read().is_ok() {}
                }
                _ => {
                    client.read().unwrap();
                    hub.session(key.as_bytes()).unwrap().end(End::new(CloseCode::NORMAL, ""));
                    while client.read().is_ok() {}
                }
            }
        }));
    }
    for work in working {
        work.await.unwrap();
    }
    let (diary, metrics) = (Arc::clone(&server.diary), Arc::clone(server.hub.metrics()));
    // Whoever has left without a word is noticed before the stop, which is an end as well.
    let noticed = async {
        while metrics.connections.value() > 0 {
            tokio::task::yield_now().await;
        }
    };
    timeout(Duration::from_secs(10), noticed).await.unwrap();
    server.stop().await;
    for number in 0..CLIENTS {
        let entry = diary.entry(&format!("client-{number}"));
        assert_eq!(entry.admitted, 1);
        let ends: &[u16] = match number % 6 {
            0 => &[4000],
            1 | 2 => &[1006],
            3 => &[1002],
            4 => &[],
            _ => &[1000],
        };
        assert_eq!(entry.ends, ends, "client {number}");
        if number % 6 != 2 {
            assert_eq!(entry.received, [format!("hello {number}")]);
        }
    }
    assert_eq!(metrics.total_connections.value(), CLIENTS as u64);
    assert_eq!(metrics.connections.value(), 0);
    assert_eq!(metrics.closing_connections.value(), 0);
}

/// Messages of one sender keep their order, whoever else sends, and nothing is lost or doubled.
#[tokio::test(flavor = "multi_thread")]
async fn order_under_concurrent_senders() {
    const SENDERS: usize = 4;
    const MESSAGES: usize = 2000;
    let server = Server::start().await;
    let address = server.address;
    let mut client = blocking(move || {
        let mut client = Server::client(address, "alice");
        client.send("ready".into()).unwrap();
        client.read().unwrap();
        client
    })
    .await;
    let session = server.hub.session(b"alice").unwrap();
    for sender in 0..SENDERS {
        let session = session.clone();
        tokio::spawn(async move {
            for number in 0..MESSAGES {
                let message = Message::text(&format!("{sender} {number}"));
                session.send(&message, None).await.unwrap();
            }
        });
    }
    blocking(move || {
        let mut next = [0; SENDERS];
        for _ in 0..SENDERS * MESSAGES {
            let text = client.read().unwrap().into_text().unwrap();
            let (sender, number) = text.split_once(' ').unwrap();
            let next = &mut next[sender.parse::<usize>().unwrap()];
            assert_eq!(number.parse::<usize>().unwrap(), *next);
            *next += 1;
        }
    })
    .await;
    server.stop().await;
}

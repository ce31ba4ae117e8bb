//! Channels with many real clients: who listens all the time gets everything once and in one order,
//! whoever else comes, goes, vanishes or does not read.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use http::request::Parts;
use kuiperbelt::{Admission, Channels, End, Handler, Hub, Message, Refusal, Server, Session};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::Notify;
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

/// Longer than anything here takes.
const PATIENCE: Duration = Duration::from_secs(60);

/// Lets everybody in under the query, and subscribes whose key begins with `steady` to `news`.
struct Desk {
    channels: Arc<Channels>,
    ends: Mutex<HashMap<Vec<u8>, u16>>,
}

impl Handler for Desk {
    async fn connect(&self, request: Parts) -> Result<Admission, Refusal> {
        let key = request.uri.query().unwrap_or_default();
        let channels = Arc::clone(&self.channels);
        let is_steady = key.starts_with("steady");
        Ok(Admission {
            then: Some(Box::new(move |session| {
                if is_steady {
                    channels.subscribe(session, "news").unwrap();
                }
            })),
            ..Admission::under(key)
        })
    }

    async fn close(&self, session: &Session, end: End) {
        self.ends.lock().unwrap().insert(session.key().to_vec(), end.code.number());
    }
}

struct Running {
    hub: Arc<Hub>,
    desk: Arc<Desk>,
    address: SocketAddr,
    stop: CancellationToken,
    served: JoinHandle<()>,
}

impl Running {
    async fn start() -> Self {
        let mut server = Server::new();
        let hub = Arc::clone(server.hub());
        let channels = Arc::clone(hub.channels());
        let desk = Arc::new(Desk { channels, ends: Mutex::default() });
        server.door("/", Arc::clone(&desk)).unwrap();
        let address = server.bind("127.0.0.1:0").await.unwrap()[0];
        let stop = CancellationToken::new();
        let stopped = stop.clone();
        let served = tokio::spawn(server.run(async move { stopped.cancelled().await }));
        Self { hub, desk, address, stop, served }
    }

    async fn stop(self) {
        self.stop.cancel();
        timeout(PATIENCE, self.served).await.unwrap().unwrap();
    }
}

/// A client that has its 101: what it reads from now on are frames.
async fn client(address: SocketAddr, key: &str) -> TcpStream {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let request = format!(
        "GET /?{key} HTTP/1.1\r\nHost: {address}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
    );
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.unwrap());
    }
    assert!(head.starts_with(b"HTTP/1.1 101"), "{}", head.escape_ascii());
    stream
}

/// The next frame's first byte and payload, or nothing at the end.
async fn frame(stream: &mut (impl tokio::io::AsyncRead + Unpin)) -> Option<(u8, Vec<u8>)> {
    let first = stream.read_u8().await.ok()?;
    let length = match stream.read_u8().await.ok()? {
        126 => stream.read_u16().await.ok()?.into(),
        127 => usize::try_from(stream.read_u64().await.ok()?).unwrap(),
        short => short.into(),
    };
    let mut payload = vec![0; length];
    stream.read_exact(&mut payload).await.ok()?;
    Some((first, payload))
}

/// Everything up to the message `end`, or to the end of the connection.
async fn read_all(stream: TcpStream) -> Vec<String> {
    let mut stream = tokio::io::BufReader::new(stream);
    let mut read = Vec::new();
    while let Some((0x81, payload)) = frame(&mut stream).await {
        match String::from_utf8(payload).unwrap() {
            end if end == "end" => break,
            text => read.push(text),
        }
    }
    read
}

/// Both ends of so many connections are in this process.
fn allow_descriptors(count: u64) {
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
    if soft < count {
        setrlimit(Resource::RLIMIT_NOFILE, count.min(hard), hard).unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_sessions_and_a_thousand_messages() {
    const STEADY: usize = 600;
    const FICKLE: usize = 200;
    const LEAVING: usize = 200;
    const PUBLISHERS: usize = 4;
    const EACH: usize = 250;
    allow_descriptors(2 * (STEADY + FICKLE + LEAVING) as u64 + 200);
    let server = Running::start().await;
    let (hub, address) = (Arc::clone(&server.hub), server.address);
    let channels = Arc::clone(hub.channels());

    let mut reading = JoinSet::new();
    for number in 0..STEADY + FICKLE {
        let key = match number {
            steady if steady < STEADY => format!("steady-{number}"),
            _ => format!("fickle-{number}"),
        };
        let stream = client(address, &key).await;
        reading.spawn(async move { (key, read_all(stream).await) });
    }
    let mut leaving = Vec::new();
    for number in 0..LEAVING {
        leaving.push(client(address, &format!("steady-leaving-{number}")).await);
    }

    let mut working = JoinSet::new();
    for publisher in 0..PUBLISHERS {
        let channels = Arc::clone(&channels);
        working.spawn(async move {
            for number in 0..EACH {
                let message = Message::text(&format!("{publisher} {number}"));
                if number % 5 == 0 {
                    channels.publish_to_all(&[b"other", b"news"], &message, |_| false);
                } else {
                    channels.publish("news", &message).unwrap();
                }
                tokio::task::yield_now().await;
            }
        });
    }
    let fickle: Vec<Session> = (STEADY..STEADY + FICKLE)
        .map(|number| hub.session(format!("fickle-{number}").as_bytes()).unwrap())
        .collect();
    for part in fickle.chunks(FICKLE / 2) {
        let (part, channels) = (part.to_vec(), Arc::clone(&channels));
        working.spawn(async move {
            for _ in 0..10 {
                for session in &part {
                    channels.subscribe(session, "news").unwrap();
                    channels.subscribe(session, "other").unwrap();
                }
                tokio::task::yield_now().await;
                for session in &part {
                    assert!(channels.unsubscribe(session, "news"));
                    assert!(channels.unsubscribe(session, "other"));
                }
            }
        });
    }
    working.spawn(async move {
        for (number, stream) in leaving.into_iter().enumerate() {
            if number % 2 == 0 {
                stream.set_zero_linger().unwrap();
            }
            drop(stream);
            tokio::task::yield_now().await;
        }
    });
    while let Some(worked) = working.join_next().await {
        worked.unwrap();
    }
    hub.broadcast(&Message::text("end"));

    let mut read = Vec::new();
    while let Some(one) = timeout(PATIENCE, reading.join_next()).await.unwrap() {
        read.push(one.unwrap());
    }
    let (_, all) = read.iter().find(|(key, _)| key.starts_with("steady")).unwrap();
    assert_eq!(all.len(), PUBLISHERS * EACH);
    let place: HashMap<&str, usize> =
        all.iter().enumerate().map(|(at, text)| (text.as_str(), at)).collect();
    assert_eq!(place.len(), all.len(), "nothing comes twice");
    for publisher in 0..PUBLISHERS {
        let of_publisher: Vec<usize> =
            (0..EACH).map(|number| place[format!("{publisher} {number}").as_str()]).collect();
        assert!(of_publisher.is_sorted(), "the order of each publisher");
    }
    for (key, texts) in &read {
        if key.starts_with("steady") {
            assert!(texts == all, "{key} has another order");
        } else {
            let places: Vec<usize> = texts.iter().map(|text| place[text.as_str()]).collect();
            assert!(places.is_sorted_by(|a, b| a < b), "{key} has another order, or doubles");
        }
    }
    server.stop().await;
    assert_eq!(channels.page(None, 10), [], "whoever has ended listens to nothing");
}

/// R3: somebody who never reads delays nobody, and is disconnected.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_that_never_reads_next_to_a_hundred_that_do() {
    const READERS: usize = 100;
    const MESSAGES: usize = 1500;
    const AHEAD: usize = 50;
    let server = Running::start().await;
    let channels = Arc::clone(server.hub.channels());
    let stuck = client(server.address, "steady-stuck").await;
    let (read, progress) = (Arc::new(AtomicUsize::new(0)), Arc::new(Notify::new()));
    let mut reading = JoinSet::new();
    for number in 0..READERS {
        let mut stream = client(server.address, &format!("steady-{number}")).await;
        let (read, progress) = (Arc::clone(&read), Arc::clone(&progress));
        reading.spawn(async move {
            for number in 0..MESSAGES {
                let (first, payload) = frame(&mut stream).await.unwrap();
                assert_eq!(first, 0x81);
                assert!(payload.starts_with(format!("{number} ").as_bytes()));
                read.fetch_add(1, Ordering::SeqCst);
                progress.notify_one();
            }
        });
    }
    let filling = "x".repeat(16 * 1024);
    for number in 0..MESSAGES {
        // Nobody but the one is further behind than its outbox holds.
        while number * READERS > read.load(Ordering::SeqCst) + AHEAD {
            timeout(PATIENCE, progress.notified()).await.expect("the readers are held up");
        }
        let reached = channels.publish("news", &Message::text(&format!("{number} {filling}")));
        assert!(reached.unwrap() >= READERS);
    }
    while let Some(one) = reading.join_next().await {
        one.unwrap();
    }
    assert_eq!(server.hub.metrics().slow_disconnected.value(), 1);
    let desk = Arc::clone(&server.desk);
    server.stop().await;
    assert_eq!(desk.ends.lock().unwrap().get(&b"steady-stuck"[..]), Some(&1013));
    drop(stuck);
}

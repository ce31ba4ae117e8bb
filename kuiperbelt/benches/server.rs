//! What a server takes to look up a session, to publish to many, and to read the head of a request
//! that names many, with real connections over a Unix socket. It has one worker thread; clients
//! are on the benchmark's own.

use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use http::StatusCode;
use http::request::Parts;
use kuiperbelt::{
    Admission, Handler, Hub, Instant, Kind, Listener, Message, Refusal, Session, answer,
};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use tokio::runtime::Runtime;

/// Nothing here takes so long: something is wrong then.
const PATIENCE: Duration = Duration::from_secs(10);
const SIZE: usize = 128;
/// Of the frame of `SIZE` bytes: 2 bytes, and 2 of length.
const HEADER: usize = 4;
const GREETING: &str = "welcome";

criterion_group!(benches, look_up, publish, request_head);
criterion_main!(benches);

fn look_up(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("Hub::session");
    for count in [100, 1000, 5000] {
        let server = Server::start();
        let clients = server.clients(count);
        group.throughput(Throughput::Elements(count as u64));
        group.bench_function(BenchmarkId::from_parameter(count), |bencher| {
            bencher.iter(|| {
                for client in &clients {
                    assert!(server.hub.session(client.key.as_bytes()).is_some());
                }
            });
        });
    }
    group.finish();
}

/// One message to everybody, made anew each time as `/send` does.
fn publish(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("publish");
    for count in [100, 1000] {
        let server = Server::start();
        let mut clients = server.clients(count);
        let sessions = server.sessions(&clients);
        group.throughput(Throughput::Elements(count as u64));
        group.bench_function(BenchmarkId::new("try_send", count), |bencher| {
            bencher.iter_custom(|times| {
                let publish_once = |_| {
                    let spent = server.publish(&sessions);
                    clients.iter_mut().for_each(Client::read_message);
                    spent
                };
                (0..times).map(publish_once).sum()
            });
        });
        group.bench_function(BenchmarkId::new("until all have read it", count), |bencher| {
            bencher.iter(|| {
                server.publish(&sessions);
                clients.iter_mut().for_each(Client::read_message);
            });
        });
    }
    group.finish();
}

/// From the first byte of a POST to its answer, from a service that looks at nothing.
fn request_head(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("request head, session fields");
    let server = Server::start();
    for count in [3, 1000, 10_000] {
        let fields: String =
            (0..count).map(|n| format!("X-Kuiperbelt-Session: {}\r\n", key(n))).collect();
        let request =
            format!("POST /http HTTP/1.1\r\nHost: bench\r\nContent-Length: 0\r\n{fields}\r\n");
        let mut stream = server.dial();
        group.throughput(Throughput::Elements(count as u64));
        group.bench_function(BenchmarkId::from_parameter(count), |bencher| {
            bencher.iter(|| {
                stream.write_all(request.as_bytes()).expect("the server reads");
                read_until(&mut stream, b"\r\n\r\nOK\n");
            });
        });
    }
    group.finish();
}

/// Sessions on `/`, under the query as key; 200 on `/http`.
struct Server {
    runtime: Runtime,
    hub: Arc<Hub>,
    path: PathBuf,
}

struct Admitting;

impl Handler for Admitting {
    async fn connect(&self, request: Parts) -> Result<Admission, Refusal> {
        let key = request.uri.query().unwrap_or_default();
        Ok(Admission { first: Some(Message::text(GREETING)), ..Admission::under(key) })
    }
}

impl Server {
    fn start() -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .expect("a thread can be started");
        let mut server = kuiperbelt::Server::new();
        let hub = Arc::clone(server.hub());
        server.door("/", Admitting).expect("the first door");
        let ok = Arc::new(|_| answer::status(StatusCode::OK).into());
        server.service("/http", ok).expect("another door");
        let path =
            std::env::temp_dir().join(format!("kuiperbelt-bench-{}.sock", std::process::id()));
        let context = runtime.enter();
        let listener = Listener::unix(&path).expect("the path is free");
        server.listener(listener, None);
        runtime.spawn(server.run(std::future::pending::<()>()));
        drop(context);
        Self { runtime, hub, path }
    }

    fn dial(&self) -> UnixStream {
        let stream = UnixStream::connect(&self.path).expect("the server listens");
        stream.set_read_timeout(Some(PATIENCE)).expect("more than zero");
        stream
    }

    /// Opens so many sessions; returns them in an order that has nothing to do with their age.
    fn clients(&self, count: usize) -> Vec<Client> {
        allow_descriptors(2 * count as u64 + 100);
        let mut clients: Vec<Client> = (0..count).map(|n| Client::open(self, key(n))).collect();
        clients.sort_by_key(|client| client.key.bytes().rev().collect::<Vec<_>>());
        clients
    }

    fn sessions(&self, clients: &[Client]) -> Arc<[Session]> {
        let session = |client: &Client| self.hub.session(client.key.as_bytes());
        clients.iter().map(|client| session(client).expect("it was greeted")).collect()
    }

    /// Hands a message to all, on the worker thread, where requests are served too; returns how
    /// long that took.
    fn publish(&self, sessions: &Arc<[Session]>) -> Duration {
        let sessions = Arc::clone(sessions);
        let publishing = self.runtime.spawn(async move {
            let began = Instant::now();
            let message = Message::raw(Kind::Text, &[b'x'; SIZE]);
            for session in &*sessions {
                session.try_send(&message).expect("the client has read the last one");
            }
            began.elapsed()
        });
        self.runtime.block_on(publishing).expect("everybody has room")
    }
}

/// A client that has been greeted.
struct Client {
    key: String,
    stream: UnixStream,
}

impl Client {
    fn open(server: &Server, key: String) -> Self {
        let mut stream = server.dial();
        let request = format!(
            "GET /?{key} HTTP/1.1\r\nHost: bench\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
        );
        stream.write_all(request.as_bytes()).expect("the server reads");
        read_until(&mut stream, GREETING.as_bytes());
        Self { key, stream }
    }

    fn read_message(&mut self) {
        let mut frame = [0; HEADER + SIZE];
        self.stream.read_exact(&mut frame).expect("the message arrives");
    }
}

fn key(number: usize) -> String {
    format!("c{number:07}")
}

/// Reads what ends with `end`, and nothing comes after it.
fn read_until(stream: &mut UnixStream, end: &[u8]) {
    let (mut buffer, mut length) = ([0; 1024], 0);
    while !buffer[..length].ends_with(end) {
        let size = stream.read(&mut buffer[length..]).expect("the server answers");
        assert!(size > 0, "the end, after {}", buffer[..length].escape_ascii());
        length += size;
    }
}

fn allow_descriptors(count: u64) {
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE).expect("there is a limit");
    assert!(hard >= count, "{count} descriptors are needed: raise `ulimit -Hn`, which is {hard}");
    setrlimit(Resource::RLIMIT_NOFILE, soft.max(count), hard).expect("not above the hard limit");
}

//! The relay between clients and an upstream that does as it is told, both on sockets of this machine.

use std::io::PipeReader;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Mutex;

use kuiperbelt::{Doors, Hub, Listener, Server};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tracing::subscriber::DefaultGuard;

use super::*;
use crate::outbound::Target;

/// Bodies and heads.
mod messages;
/// What goes wrong.
mod misfortunes;
/// Connections of other protocols.
mod tunnels;

/// What an unexpected silence may last.
const LONG: Duration = Duration::from_secs(10);

/// A server that relays, its upstream, and what was logged.
struct Scene {
    front: SocketAddr,
    upstream: TcpListener,
    relay: Arc<Upstream>,
    log: Arc<Mutex<Vec<String>>>,
    server: JoinHandle<()>,
}

/// One end of a connection.
struct Peer(TcpStream);

impl Scene {
    async fn new() -> Self {
        Self::with(|_, _| {}).await
    }

    async fn with(change: impl FnOnce(&mut Config, &mut Patience)) -> Self {
        let upstream = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let url = format!("http://{}", upstream.local_addr().unwrap());
        let Target::Good(address) = Target::parse(&url) else { panic!("{url}") };
        let mut config = Config {
            address,
            connect_timeout: LONG,
            response_timeout: LONG,
            trusted_proxies: Vec::new(),
        };
        let mut patience = Patience { response: LONG, body: LONG, invitation: LONG };
        change(&mut config, &mut patience);
        let log = Arc::<Mutex<Vec<String>>>::default();
        let lines = Arc::clone(&log);
        let note: Log = Box::new(move |outcome| {
            let target = String::from_utf8_lossy(&outcome.target).into_owned();
            let status = outcome.status.map_or(0, |status| status.as_u16());
            let line = format!("{} {target} {status} {}", outcome.method, outcome.size);
            lines.lock().unwrap().push(line);
        });
        let relay = Upstream::with_patience(config, patience, Some(note));
        let listener = Listener::tcp((Ipv4Addr::LOCALHOST, 0).into()).unwrap();
        let front = listener.address().unwrap();
        let mut server = Server::of(&Hub::new());
        server.listener(listener, Some(Doors::relaying(relay.relay())));
        let server = tokio::spawn(server.run(std::future::pending::<()>()));
        Self { front, upstream, relay, log, server }
    }

    async fn client(&self) -> Peer {
        Peer(TcpStream::connect(self.front).await.unwrap())
    }

    /// A client that has sent this.
    async fn client_sending(&self, text: &str) -> Peer {
        let mut client = self.client().await;
        client.send(text).await;
        client
    }

    /// The upstream's end of the next connection to it.
    async fn accept(&self) -> Peer {
        Peer(within(self.upstream.accept()).await.unwrap().0)
    }

    /// Asserts that nobody has connected to the upstream.
    fn assert_untouched(&self) {
        let mut context = std::task::Context::from_waker(std::task::Waker::noop());
        assert!(self.upstream.poll_accept(&mut context).is_pending());
    }

    /// What was logged, when it is so many lines.
    async fn log(&self, lines: usize) -> Vec<String> {
        let enough = async {
            loop {
                let log = self.log.lock().unwrap().clone();
                if log.len() >= lines {
                    return log;
                }
                tokio::task::yield_now().await;
            }
        };
        within(enough).await
    }
}

impl Drop for Scene {
    fn drop(&mut self) {
        self.server.abort();
    }
}

impl Peer {
    async fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.0.write_all(bytes.as_ref()).await.unwrap();
    }

    /// Asserts that this is what comes next.
    #[track_caller]
    fn expect<'a>(&'a mut self, text: &'a str) -> impl Future<Output = ()> + 'a {
        let place = std::panic::Location::caller();
        async move {
            let mut bytes = vec![0; text.len()];
            let mut read = 0;
            while read < bytes.len() && text.as_bytes().starts_with(&bytes[..read]) {
                match within(self.0.read(&mut bytes[read..])).await.unwrap_or(0) {
                    0 => break,
                    size => read += size,
                }
            }
            let found = String::from_utf8_lossy(&bytes[..read]);
            assert_eq!(found, text, "at {place}");
        }
    }

    /// The next head, without the date, which every answer has.
    async fn head(&mut self) -> String {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            let size = within(self.0.read(&mut byte)).await.unwrap();
            assert!(size > 0, "the end after {:?}", String::from_utf8_lossy(&head));
            head.extend_from_slice(&byte);
        }
        let head = String::from_utf8_lossy(&head).into_owned();
        head.split_inclusive("\r\n").filter(|line| !line.starts_with("Date: ")).collect()
    }

    /// Everything up to the end.
    async fn rest(&mut self) -> String {
        let mut rest = Vec::new();
        within(self.0.read_to_end(&mut rest)).await.unwrap();
        String::from_utf8_lossy(&rest).into_owned()
    }

    /// Asserts that the other side ends the connection, in order or by a reset, and says nothing more.
    async fn ended(&mut self) {
        match within(self.0.read(&mut [0])).await {
            Ok(size) => assert_eq!(size, 0),
            Err(error) => assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset),
        }
    }

    /// Asserts that the other side resets the connection, and says nothing more.
    async fn was_reset(&mut self) {
        let read = within(self.0.read(&mut [0])).await;
        assert_eq!(read.unwrap_err().kind(), std::io::ErrorKind::ConnectionReset);
    }

    /// Ends the connection by a reset.
    fn reset(self) {
        socket2::SockRef::from(&self.0).set_linger(Some(Duration::ZERO)).unwrap();
    }
}

/// Has what this thread logs come out of a pipe, for as long as the guard lives.
fn logging() -> (PipeReader, DefaultGuard) {
    let (reader, writer) = std::io::pipe().unwrap();
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(tracing::Level::DEBUG)
        .with_ansi(false)
        .with_writer(Arc::new(writer))
        .finish();
    (reader, tracing::subscriber::set_default(subscriber))
}

async fn within<T>(future: impl Future<Output = T>) -> T {
    timeout(LONG, future).await.expect("it takes too long")
}

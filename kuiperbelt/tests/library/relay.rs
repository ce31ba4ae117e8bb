//! Answers that are written piece by piece, and connections that are handed over, as clients see
//! them byte by byte.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use http::StatusCode;
use kuiperbelt::{AnswerBody, AnswerWriter, Doors, Listener, Relay, Request, Server, answer};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

const PATIENCE: Duration = Duration::from_secs(10);

/// More than any test has.
const OUTCOMES: usize = 100;

/// A server whose relay does what the path of a request says.
struct Relaying {
    address: SocketAddr,
    stop: CancellationToken,
    served: JoinHandle<()>,
    begun: Arc<AtomicUsize>,
    /// What became of each request, once that is known.
    outcomes: mpsc::Receiver<io::Result<()>>,
}

impl Relaying {
    fn start() -> Self {
        let (told, outcomes) = mpsc::channel(OUTCOMES);
        let begun = Arc::<AtomicUsize>::default();
        let count = Arc::clone(&begun);
        let relay: Relay = Arc::new(move |request, writer| {
            count.fetch_add(1, Ordering::SeqCst);
            let told = Dropped(told.clone());
            Box::pin(async move {
                let outcome = relay(request, writer).await;
                let _ = told.0.try_send(outcome);
            })
        });
        let listener = Listener::tcp("127.0.0.1:0".parse().unwrap()).unwrap();
        let address = listener.address().unwrap();
        let mut server = Server::new();
        server.listener(listener, Some(Doors::relaying(relay)));
        let stop = CancellationToken::new();
        let stopped = stop.clone();
        let served = tokio::spawn(server.run(async move { stopped.cancelled().await }));
        Self { address, stop, served, begun, outcomes }
    }

    async fn client(&self) -> TcpStream {
        TcpStream::connect(self.address).await.unwrap()
    }

    /// All that a client gets that says `sent` and then ends its side.
    async fn exchange(&self, sent: &str) -> Result<String, io::ErrorKind> {
        let mut client = self.client().await;
        client.write_all(sent.as_bytes()).await.unwrap();
        client.shutdown().await.unwrap();
        read_all(&mut client).await
    }

    /// Waits until so many requests are in the relay's hands.
    async fn begun(&self, requests: usize) {
        let waiting = async {
            while self.begun.load(Ordering::SeqCst) < requests {
                tokio::task::yield_now().await;
            }
        };
        timeout(PATIENCE, waiting).await.unwrap();
    }

    async fn outcome(&mut self) -> io::Result<()> {
        timeout(PATIENCE, self.outcomes.recv()).await.unwrap().unwrap()
    }

    async fn stop(self) {
        self.stop.cancel();
        timeout(PATIENCE, self.served).await.unwrap().unwrap();
    }
}

/// Tells of a future that is dropped.
struct Dropped(mpsc::Sender<io::Result<()>>);

impl Drop for Dropped {
    fn drop(&mut self) {
        let _ = self.0.try_send(Err(io::ErrorKind::Interrupted.into()));
    }
}

async fn read_all(client: &mut TcpStream) -> Result<String, io::ErrorKind> {
    let mut got = Vec::new();
    let read = timeout(PATIENCE, client.read_to_end(&mut got)).await.expect("an end");
    // The day is not the same every day.
    let text = String::from_utf8(got).unwrap();
    let undated: Vec<&str> =
        text.split("\r\n").filter(|line| !line.starts_with("Date: ")).collect();
    read.map(|_| undated.join("\r\n")).map_err(|error| error.kind())
}

async fn relay(mut request: Request, mut writer: AnswerWriter) -> io::Result<()> {
    let fields: [(&[u8], &[u8]); 2] = [(b"x-Odd", b"1"), (b"X-ODD", b"2")];
    let mut pieces = |extent| writer.begin(StatusCode::OK, b"Fine", fields, extent);
    match request.uri.path() {
        "/target" => {
            return writer.answer(&answer::plain(StatusCode::OK, request.target)).await;
        }
        "/last" => return writer.answer(&answer::plain(StatusCode::OK, "x")).await,
        "/nothing" => return Ok(()),
        "/late" => {
            let _ = request.body.next().await;
            return writer.answer(&answer::plain(StatusCode::OK, "x")).await;
        }
        "/break" => {
            let mut tunnel = writer.switch([]).await?;
            tunnel.write_all(b"half").await?;
            tunnel.flush().await?;
            tunnel.abort();
            return Ok(());
        }
        "/echo" => {
            pieces(request.body.length().map_or(AnswerBody::Unknown, AnswerBody::Length));
            while let Some(piece) = request.body.next().await {
                writer.write(&piece.map_err(io::Error::other)?)?;
                writer.flush().await?;
            }
            let trailers = request.body.trailers();
            let names = trailers.names().enumerate();
            writer.end(names.map(|(at, name)| (name, trailers.value(at))))?;
        }
        "/cut" => {
            pieces(AnswerBody::Unknown);
            writer.write(b"half")?;
        }
        "/short" => {
            pieces(AnswerBody::Length(5));
            writer.write(b"half")?;
            writer.flush().await?;
            assert_eq!(writer.end([]).unwrap_err().kind(), io::ErrorKind::InvalidInput);
            return Ok(());
        }
        "/long" => {
            pieces(AnswerBody::Length(3));
            assert_eq!(writer.write(b"half").unwrap_err().kind(), io::ErrorKind::InvalidInput);
            writer.write(b"all")?;
            writer.end([])?;
        }
        "/switch" => {
            let mut tunnel = writer.switch([(&b"Upgrade"[..], &b"shout"[..])]).await?;
            let mut heard = [0; 100];
            loop {
                let size = tunnel.read(&mut heard).await?;
                if size == 0 {
                    break;
                }
                let shouted = heard[..size].to_ascii_uppercase();
                tunnel.write_all(&shouted).await?;
            }
            tunnel.write_all(b"!").await?;
            return tunnel.shutdown().await;
        }
        _ => std::future::pending().await,
    }
    writer.flush().await
}

#[tokio::test]
async fn bodies_in_every_framing() {
    let mut relaying = Relaying::start();
    let head = "HTTP/1.1 200 Fine\r\nx-Odd: 1\r\nX-ODD: 2\r\n";
    let got =
        relaying.exchange("POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhello").await;
    assert_eq!(got.unwrap(), format!("{head}Content-Length: 5\r\n\r\nhello"));
    relaying.outcome().await.unwrap();
    let chunked =
        "Transfer-Encoding: chunked\r\n\r\n3\r\nhel\r\n2\r\nlo\r\n0\r\nA: b\r\nc:d\r\n\r\n";
    let got = relaying.exchange(&format!("POST /echo HTTP/1.1\r\nHost: x\r\n{chunked}")).await;
    let body = "3\r\nhel\r\n2\r\nlo\r\n0\r\nA: b\r\nc: d\r\n\r\n";
    // Begun before the request was read to its end.
    let fields = "Connection: close\r\nTransfer-Encoding: chunked\r\n";
    assert_eq!(got.unwrap(), format!("{head}{fields}\r\n{body}"));
    let got = relaying.exchange("GET /echo HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").await;
    assert_eq!(got.unwrap(), format!("{head}Connection: close\r\nContent-Length: 0\r\n\r\n"));
    let got = relaying.exchange("HEAD /last HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
    assert!(got.ends_with("Content-Length: 1\r\n\r\n"), "{got}");
    relaying.stop().await;
}

#[tokio::test]
async fn requests_one_after_the_other_and_of_any_target() {
    let relaying = Relaying::start();
    let got = relaying
        .exchange(
            "POST /last HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhello\
             GET /target?a=%zz#<b> HTTP/1.1\r\nHost: x\r\n\r\n",
        )
        .await;
    assert!(got.unwrap().ends_with("\r\n\r\n/target?a=%zz#<b>"));
    for (at, target) in ["*", "//a/../b", "/a<b", "`"].into_iter().enumerate() {
        let mut client = relaying.client().await;
        let request = format!("OPTIONS {target} HTTP/1.1\r\nHost: x\r\n\r\n");
        client.write_all(request.as_bytes()).await.unwrap();
        relaying.begun(3 + at).await;
    }
}

/// What is cut off cannot pass for whole.
#[tokio::test]
async fn answers_that_are_not_finished() {
    let relaying = Relaying::start();
    let got = relaying.exchange("GET /cut HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
    assert!(got.ends_with("chunked\r\n\r\n4\r\nhalf\r\n"), "{got}");
    let got = relaying.exchange("GET /cut HTTP/1.0\r\n\r\n").await;
    assert_eq!(got, Err(io::ErrorKind::ConnectionReset));
    let got = relaying.exchange("GET /short HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
    assert!(got.ends_with("Content-Length: 5\r\n\r\nhalf"), "{got}");
    let got = relaying.exchange("GET /long HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
    assert!(got.ends_with("Content-Length: 3\r\n\r\nall"), "{got}");
    let got = relaying.exchange("GET /nothing HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
    assert!(got.starts_with("HTTP/1.1 500 "), "{got}");
    relaying.stop().await;
}

/// An answer that comes before its request is read ends the connection.
#[tokio::test]
async fn an_early_answer() {
    let relaying = Relaying::start();
    let mut client = relaying.client().await;
    let request = "POST /last HTTP/1.1\r\nHost: x\r\nContent-Length: 50\r\n\r\nhello";
    client.write_all(request.as_bytes()).await.unwrap();
    let got = read_all(&mut client).await.unwrap();
    assert!(got.contains("\r\nConnection: close\r\n") && got.ends_with("\r\n\r\nx"), "{got}");
    relaying.stop().await;
}

/// Each direction ends by itself; what is said early is not lost.
#[tokio::test]
async fn a_connection_that_is_handed_over() {
    let mut relaying = Relaying::start();
    let request = "GET /switch HTTP/1.1\r\nHost: x\r\n\r\nearly ";
    let mut client = relaying.client().await;
    client.write_all(request.as_bytes()).await.unwrap();
    let head = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: shout\r\nConnection: Upgrade\r\n\r\n";
    let mut got = vec![0; head.len() + 6];
    timeout(PATIENCE, client.read_exact(&mut got)).await.unwrap().unwrap();
    assert_eq!(String::from_utf8(got).unwrap(), format!("{head}EARLY "));
    client.write_all(b"late").await.unwrap();
    client.shutdown().await.unwrap();
    assert_eq!(read_all(&mut client).await.unwrap(), "LATE!");
    relaying.outcome().await.unwrap();

    let mut resting = relaying.client().await;
    resting.write_all(request.as_bytes()).await.unwrap();
    resting.read_u8().await.unwrap();
    let Relaying { stop, served, .. } = relaying;
    stop.cancel();
    timeout(PATIENCE, served).await.expect("tunnels do not outlive a stop").unwrap();
    assert!(read_all(&mut resting).await.unwrap().ends_with("EARLY "));
}

/// What was cut off does not end like what was said.
#[tokio::test]
async fn a_tunnel_that_is_cut_off() {
    let relaying = Relaying::start();
    let mut client = relaying.client().await;
    client.write_all(b"GET /break HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
    assert_eq!(read_all(&mut client).await, Err(io::ErrorKind::ConnectionReset));
}

/// An answer that begins when the server stops is the last on its connection, and says so.
#[tokio::test]
async fn an_answer_during_the_stop() {
    let relaying = Relaying::start();
    let mut client = relaying.client().await;
    let head = b"POST /late HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\n\r\n";
    client.write_all(head).await.unwrap();
    relaying.begun(1).await;
    relaying.stop.cancel();
    client.write_all(b"x").await.unwrap();
    let got = read_all(&mut client).await.unwrap();
    assert!(got.contains("\r\nConnection: close\r\n"), "{got}");
}

/// Whoever has ended its side is answered; whoever is gone is not waited for.
#[tokio::test]
async fn clients_that_leave() {
    let mut relaying = Relaying::start();
    let mut client = relaying.client().await;
    client.write_all(b"GET /wait HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
    client.shutdown().await.unwrap();
    let waited = timeout(Duration::from_millis(1500), relaying.outcomes.recv()).await;
    assert!(waited.is_err(), "{waited:?}");
    client.set_zero_linger().unwrap();
    drop(client);
    let mut client = relaying.client().await;
    client.set_zero_linger().unwrap();
    client.write_all(b"GET /wait HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
    relaying.begun(2).await;
    drop(client);
    assert_eq!(relaying.outcome().await.unwrap_err().kind(), io::ErrorKind::Interrupted);
}

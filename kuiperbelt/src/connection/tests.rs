//! Pings, and clients that are silent for too long. The clock moves when nothing else is left to do,
//! so times are exact; what is written to a Unix socket has arrived.

use kuiperbelt_websocket::Kind;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::UnixStream;
use tokio::sync::{Semaphore, mpsc};
use tokio::time::{advance, sleep, timeout};

use super::*;
use crate::handler::Handler;
use crate::hub::Hub;
use crate::message::Message;
use crate::options::Options;
use crate::seat::Premises;
use crate::session::{Session, Terms};

const SECOND: Duration = Duration::from_secs(1);
const PING: u8 = 0x89;
const CLOSE: u8 = 0x88;

/// Takes a message with each permit, and tells of the end.
struct Listener {
    permits: Arc<Semaphore>,
    ends: mpsc::Sender<End>,
}

impl Handler for Listener {
    async fn receive(&self, _session: &Session, _message: Received) {
        self.permits.acquire().await.unwrap().forget();
    }

    async fn close(&self, _session: &Session, end: End) {
        self.ends.try_send(end).unwrap();
    }
}

/// The other side of a connection, and what its handler knows.
struct Client {
    socket: UnixStream,
    session: Session,
    permits: Arc<Semaphore>,
    ends: mpsc::Receiver<End>,
    start: Instant,
}

impl Client {
    /// One whose session has just been established.
    fn of(options: Options) -> Self {
        let hub = Hub::new();
        let permits = Arc::new(Semaphore::new(0));
        let (told, ends) = mpsc::channel(1);
        let terms = Arc::new(Terms::unbounded(Arc::clone(hub.lanes())));
        let session = Session::new(b"alice", None, Arc::clone(&terms), None);
        let handler = Arc::new(Listener { permits: Arc::clone(&permits), ends: told });
        let premises = Arc::new(Premises { hub, handler, options, terms });
        let (ours, socket) = UnixStream::pair().unwrap();
        session.establish();
        let seat = Seat::outside(premises, session.clone());
        tokio::spawn(Connection::new(seat, ours.into(), b""));
        Self { socket, session, permits, ends, start: Instant::now() }
    }

    /// The next frame: its first byte and its payload.
    async fn frame(&mut self) -> (u8, Vec<u8>) {
        let first = self.socket.read_u8().await.unwrap();
        let length = match self.socket.read_u8().await.unwrap() {
            126 => self.socket.read_u16().await.unwrap().into(),
            127 => self.socket.read_u64().await.unwrap(),
            short => short.into(),
        };
        let mut payload = vec![0; usize::try_from(length).unwrap()];
        self.socket.read_exact(&mut payload).await.unwrap();
        (first, payload)
    }

    /// Sends a frame of up to 125 bytes with a mask of zeros.
    async fn send(&mut self, first: u8, payload: &[u8]) {
        let head = [first, 0x80 | u8::try_from(payload.len()).unwrap(), 0, 0, 0, 0];
        self.socket.write_all(&[&head[..], payload].concat()).await.unwrap();
    }

    async fn answers_pings(&mut self, numbers: std::ops::RangeInclusive<u32>) {
        for number in numbers {
            let number = number.to_string();
            assert_eq!(self.frame().await, (PING, number.clone().into_bytes()));
            self.send(0x8a, number.as_bytes()).await;
        }
    }

    /// Reads up to the close frame and answers it. Returns its reason.
    async fn closed(&mut self) -> String {
        loop {
            let (first, payload) = self.frame().await;
            if first == CLOSE {
                assert_eq!(payload[..2], 1001_u16.to_be_bytes());
                self.send(CLOSE, &payload).await;
                return String::from_utf8(payload[2..].to_vec()).unwrap();
            }
            assert_eq!(first, PING);
        }
    }

    fn seconds(&self) -> u64 {
        self.start.elapsed().as_secs()
    }
}

fn options(ping_interval: u32, pong_timeout: u32) -> Options {
    let time = |seconds: u32| (seconds > 0).then(|| SECOND * seconds);
    Options {
        ping_interval: time(ping_interval),
        pong_timeout: time(pong_timeout),
        write_timeout: None,
        ..Options::default()
    }
}

/// RB-KAL-1: a ping each interval, numbered from 1 on.
#[tokio::test(start_paused = true)]
async fn a_client_is_pinged_each_interval() {
    let mut client = Client::of(options(15, 0));
    for number in 1..=20_u64 {
        let (first, payload) = client.frame().await;
        assert_eq!((first, &payload[..]), (PING, number.to_string().as_bytes()));
        assert_eq!(client.seconds(), number * 15);
    }
}

#[tokio::test(start_paused = true)]
async fn nobody_is_pinged_where_that_is_off() {
    let mut client = Client::of(options(0, 0));
    assert!(timeout(SECOND * 100_000, client.frame()).await.is_err());
}

/// RB-KAL-1: without pongs, and without anything else, a client is gone.
#[tokio::test(start_paused = true)]
async fn a_client_that_stops_answering_is_closed() {
    let mut client = Client::of(options(10, 25));
    client.answers_pings(1..=5).await;
    assert_eq!(client.closed().await, "pong timeout");
    assert_eq!(client.seconds(), 50 + 25);
    let end = client.ends.recv().await.unwrap();
    assert_eq!((end.code, &*end.reason), (CloseCode::GOING_AWAY, "pong timeout"));
}

#[tokio::test(start_paused = true)]
async fn anything_that_is_read_breaks_the_silence() {
    let mut client = Client::of(options(10, 25));
    for round in 1..=10 {
        sleep(SECOND * 24).await;
        match round % 3 {
            0 => client.send(0x82, b"message").await,
            1 => client.send(PING, b"").await,
            // The beginning of a frame, and its rest.
            _ => {
                client.socket.write_all(&[0x89, 0x80]).await.unwrap();
                sleep(SECOND * 24).await;
                client.socket.write_all(&[0; 4]).await.unwrap();
            }
        }
        client.permits.add_permits(1);
    }
    let last = client.seconds();
    assert!(client.ends.is_empty());
    while client.frame().await.0 != CLOSE {}
    assert_eq!(client.seconds(), last + 25);
}

/// Only one ping waits for a socket that takes nothing, and the numbers go on.
#[tokio::test(start_paused = true)]
async fn pings_do_not_pile_up() {
    let mut client = Client::of(options(1, 0));
    let large = vec![b'x'; 4 << 20];
    client.session.try_send(&Message::binary(&large)).unwrap();
    sleep(SECOND * 21 / 2).await;
    client.session.try_send(&Message::binary(b"behind")).unwrap();
    assert_eq!(client.frame().await, (0x82, large));
    assert_eq!(client.frame().await, (PING, b"1".to_vec()));
    assert_eq!(client.frame().await, (0x82, b"behind".to_vec()));
    assert_eq!(client.frame().await, (PING, b"11".to_vec()));
    assert_eq!(client.seconds(), 11);
}

/// A client that its handler holds back is pinged, and has time for its pong once it is read again.
#[tokio::test(start_paused = true)]
async fn a_client_that_is_not_read_is_not_silent() {
    let mut client = Client::of(options(10, 25));
    for _ in 0..3 {
        client.send(0x82, b"message").await;
    }
    for number in 1..=100_u32 {
        assert_eq!(client.frame().await, (PING, number.to_string().into_bytes()));
    }
    assert!(client.ends.is_empty());
    client.permits.add_permits(3);
    assert_eq!(client.closed().await, "pong timeout");
    assert_eq!(client.seconds(), 1000 + 25);
}

/// Whoever was not there to listen asks again before it takes somebody for gone.
#[tokio::test(start_paused = true)]
async fn a_standstill_of_the_server_is_no_silence_of_its_client() {
    let mut client = Client::of(options(10, 25));
    client.answers_pings(1..=2).await;
    advance(SECOND * 1000).await;
    client.answers_pings(3..=3).await;
    assert_eq!(client.seconds(), 20 + 1000, "at once");
    client.answers_pings(4..=8).await;
    assert_eq!(client.seconds(), 1020 + 50);
    assert_eq!(client.closed().await, "pong timeout");
    assert_eq!(client.seconds(), 1070 + 25);
}

/// One that answers nothing after a standstill either has so long from its end on.
#[tokio::test(start_paused = true)]
async fn a_client_that_is_gone_after_a_standstill_is_closed() {
    for ping_interval in [0, 10] {
        let mut client = Client::of(options(ping_interval, 25));
        sleep(SECOND).await;
        advance(SECOND * 1000).await;
        assert_eq!(client.closed().await, "pong timeout");
        assert_eq!(client.seconds(), 1001 + 25);
    }
}

/// Pings and their pongs are no traffic, so that nobody is kept by them; all else is.
#[tokio::test(start_paused = true)]
async fn pings_keep_no_idle_client() {
    let idle =
        |ping_interval| Options { idle_timeout: Some(SECOND * 35), ..options(ping_interval, 25) };
    let mut client = Client::of(idle(10));
    client.answers_pings(1..=3).await;
    assert_eq!(client.closed().await, "idle timeout");
    assert_eq!(client.seconds(), 35);

    let mut client = Client::of(idle(10));
    client.permits.add_permits(10);
    client.answers_pings(1..=3).await;
    client.send(0x82, b"message").await;
    client.answers_pings(4..=5).await;
    client.session.try_send(&Message::raw(Kind::Text, b"to it")).unwrap();
    assert_eq!(client.frame().await, (0x81, b"to it".to_vec()));
    client.answers_pings(6..=8).await;
    assert_eq!(client.closed().await, "idle timeout");
    assert_eq!(client.seconds(), 50 + 35);
}

/// Pongs that nobody has asked for prove life, as they did to the original.
#[tokio::test(start_paused = true)]
async fn unasked_pongs_are_traffic() {
    let mut client = Client::of(Options { idle_timeout: Some(SECOND * 35), ..options(0, 30) });
    for _ in 0..4 {
        sleep(SECOND * 20).await;
        client.send(0x8a, b"").await;
    }
    assert_eq!(client.closed().await, "pong timeout");
    assert_eq!(client.seconds(), 80 + 30);
}

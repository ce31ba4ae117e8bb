//! What an outbox accepts, lets wait and refuses. The socket takes nothing unless a test says so,
//! and the clock stands still.

use std::io::{Read as _, Write as _};
use std::time::Duration;

use futures_util::FutureExt as _;
use futures_util::task::noop_waker;
use kuiperbelt_websocket::CloseCode;
use rustls::crypto::ring;
use rustls::pki_types::CertificateDer;
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use tokio::io::AsyncReadExt as _;
use tokio::net::UnixStream;

use super::*;
use crate::tls::Tls;

mod slow_consumer;

/// A session whose messages are written one by one, when a test says so.
struct Connected {
    session: Session,
}

impl Connected {
    /// With a queue of so many messages.
    fn with(send_queue: usize) -> Self {
        let connected = Self::establishing(send_queue, 1000);
        connected.session.establish();
        connected
    }

    /// With the bounds of the outbox alone.
    fn bounded(messages: usize, bytes: usize, slow_consumer: SlowConsumer) -> Self {
        let bounds = Terms {
            outbox_messages: messages,
            outbox_bytes: bytes,
            slow_consumer,
            ..Terms::unbounded(Arc::new(Lanes::new()))
        };
        let connected = Self { session: Session::new(b"alice", None, Arc::new(bounds), None) };
        connected.session.establish();
        connected
    }

    fn establishing(send_queue: usize, outbox_bytes: usize) -> Self {
        let terms = Terms {
            send_queue: Some(send_queue),
            outbox_bytes,
            ..Terms::unbounded(Arc::new(Lanes::new()))
        };
        Self { session: Session::new(b"alice", None, Arc::new(terms), None) }
    }

    /// Writes one message, or says that there is none.
    fn try_write(&self) -> Option<Bytes> {
        let mut outbox = self.session.outbox();
        let frame = outbox.outgoing.take_first();
        outbox.grant(&self.session.0.terms);
        frame
    }

    fn write(&self) -> Bytes {
        self.try_write().expect("a message is queued")
    }

    fn ending(&self) -> Option<Ending> {
        self.session.ending(&Context::from_waker(&noop_waker()))
    }

    /// The answer, if it is there at once.
    fn send(&self, text: &str) -> Option<Result<(), SendError>> {
        self.session.send(&Message::text(text), None).now_or_never()
    }
}

fn frame(text: &str) -> Bytes {
    Message::text(text).frame(None, 0)
}

const ACCEPTED: Option<Result<(), SendError>> = Some(Ok(()));
const CLOSED: Option<Result<(), SendError>> = Some(Err(SendError::Closed));

#[tokio::test]
async fn a_queue_of_messages_takes_so_many_behind_the_one_being_written() {
    for size in [0, 1, 10] {
        let connected = Connected::with(size);
        for _ in 0..=size {
            assert_eq!(connected.send("x"), ACCEPTED);
        }
        assert_eq!(connected.send("x"), None, "size {size}");
        let full = connected.session.try_send(&Message::text("x"));
        assert_eq!(full, Err(TrySendError::Full), "size {size}");
        connected.write();
        assert_eq!(connected.send("x"), ACCEPTED, "size {size}");
    }
}

#[tokio::test]
async fn a_bounded_queue_counts_messages_and_bytes_and_takes_anything_when_empty() {
    let large = "x".repeat(1000);
    let connected = Connected::bounded(3, 100, SlowConsumer::Disconnect);
    assert_eq!(connected.send(&large), ACCEPTED, "being written");
    assert_eq!(connected.send(&large), ACCEPTED, "none waits");
    assert_eq!(connected.send("x"), None, "too many bytes");
    connected.write();
    for _ in 0..3 {
        assert_eq!(connected.send("x"), ACCEPTED);
    }
    assert_eq!(connected.send("x"), None, "too many messages");
}

#[tokio::test]
async fn who_waits_is_let_in_in_order_and_before_later_senders() {
    let connected = Connected::with(0);
    assert_eq!(connected.send("first"), ACCEPTED);
    let session = connected.session.clone();
    let (second, third) = (Message::text("second"), Message::text("third"));
    let mut second = Box::pin(session.send(&second, None));
    let mut third = Box::pin(session.send(&third, None));
    assert!((&mut second).now_or_never().is_none());
    assert!((&mut third).now_or_never().is_none());
    assert_eq!(connected.write(), frame("first"));
    assert_eq!(second.now_or_never(), ACCEPTED);
    assert_eq!(connected.send("fourth"), None, "the line is not jumped");
    assert_eq!(connected.write(), frame("second"));
    assert_eq!(third.now_or_never(), ACCEPTED);
    assert_eq!(connected.write(), frame("third"));
}

#[tokio::test(start_paused = true)]
async fn a_message_whose_time_is_over_is_never_sent() {
    let connected = Connected::with(0);
    assert_eq!(connected.send("first"), ACCEPTED);
    let deadline = Some(Instant::now() + Duration::from_secs(1));
    let late = connected.session.send(&Message::text("late"), deadline).await;
    assert_eq!(late, Err(SendError::TimedOut));
    connected.write();
    assert!(connected.ending().is_none());
    assert_eq!(connected.try_write(), None);
}

#[tokio::test]
async fn a_sender_that_leaves_the_line_takes_its_message_along() {
    let connected = Connected::with(0);
    assert_eq!(connected.send("first"), ACCEPTED);
    let session = connected.session.clone();
    let message = Message::text("withdrawn");
    let mut waiting = Box::pin(session.send(&message, None));
    assert!((&mut waiting).now_or_never().is_none());
    drop(waiting);
    connected.write();
    assert_eq!(connected.send("next"), ACCEPTED);
    assert_eq!(connected.write(), frame("next"));
}

#[tokio::test]
async fn a_large_message_that_leaves_the_line_was_all_that_was_in_the_way() {
    let connected = Connected::bounded(10, 100, SlowConsumer::Disconnect);
    assert_eq!(connected.send("being written"), ACCEPTED);
    assert_eq!(connected.send(&"x".repeat(50)), ACCEPTED);
    let session = connected.session.clone();
    let (large, small) = (Message::text(&"x".repeat(90)), Message::text("small"));
    let mut large = Box::pin(session.send(&large, None));
    assert!((&mut large).now_or_never().is_none());
    let mut others: Vec<_> = (0..3).map(|_| Box::pin(session.send(&small, None))).collect();
    for other in &mut others {
        assert!(other.now_or_never().is_none(), "the line is not jumped");
    }
    drop(large);
    for other in others {
        assert_eq!(other.now_or_never(), ACCEPTED);
    }
    assert_eq!(connected.send("and more"), ACCEPTED);
}

/// KB-CLS-2
#[tokio::test]
async fn nothing_is_accepted_after_the_last_word() {
    let connected = Connected::with(1);
    assert_eq!(connected.send("before"), ACCEPTED);
    let last = Message::text("last");
    let end = End::new(CloseCode::NORMAL, "").quietly(true);
    let session = connected.session.clone();
    assert_eq!(session.close(Some(&last), end.clone(), None).now_or_never(), ACCEPTED);
    assert_eq!(connected.send("after"), CLOSED);
    assert_eq!(session.close(Some(&last), End::abnormal(""), None).now_or_never(), CLOSED);
    session.end(End::abnormal(""));
    assert_eq!(session.try_send(&last), Err(TrySendError::Closed));
    assert_eq!(connected.ending().unwrap().end, end);
    assert_eq!([connected.write(), connected.write()], [frame("before"), frame("last")]);
    assert_eq!(connected.session.conclude(End::abnormal("reset")), end, "the first end stays");
}

#[tokio::test]
async fn who_waits_is_refused_when_the_session_ends() {
    let connected = Connected::with(0);
    assert_eq!(connected.send("first"), ACCEPTED);
    let message = Message::text("waiting");
    let mut waiting = Box::pin(connected.session.send(&message, None));
    assert!((&mut waiting).now_or_never().is_none());
    connected.session.end(End::abnormal(""));
    assert_eq!(waiting.await, Err(SendError::Closed));
}

/// D1, D13
#[tokio::test]
async fn before_a_session_is_established_only_bytes_count() {
    let connected = Connected::establishing(0, 100);
    assert_eq!(connected.send(&"x".repeat(500)), ACCEPTED, "an empty queue takes anything");
    assert_eq!(connected.send("x"), None, "and then it is full");

    let connected = Connected::establishing(0, 100);
    let most = 100 / frame("x").len();
    for _ in 0..most {
        assert_eq!(connected.send("x"), ACCEPTED);
    }
    let session = connected.session.clone();
    let message = Message::text("waiting");
    let mut waiting = Box::pin(session.send(&message, None));
    assert!((&mut waiting).now_or_never().is_none());
    session.establish();
    assert!((&mut waiting).now_or_never().is_none(), "the queue is still full");
    for _ in 0..most {
        connected.write();
    }
    assert_eq!(waiting.now_or_never(), ACCEPTED);
}

#[test]
fn one_thing_of_each_type_is_kept_whoever_asks_first() {
    for _ in 0..200 {
        let session = Connected::with(0).session;
        let start = std::sync::Barrier::new(4);
        let kept: Vec<(u8, u16)> = std::thread::scope(|scope| {
            let ask = |own: u8| {
                let (session, start) = (&session, &start);
                scope.spawn(move || {
                    start.wait();
                    (*session.keep(|| own), *session.keep(|| u16::from(own)))
                })
            };
            let asking: Vec<_> = (0..4).map(ask).collect();
            asking.into_iter().map(|asked| asked.join().unwrap()).collect()
        });
        assert!(kept.iter().all(|found| found == &kept[0]), "{kept:?}");
    }
}

#[test]
fn what_is_kept_of_a_session() {
    let session = Connected::with(0).session;
    assert_eq!(session.kept::<String>(), None);
    assert_eq!(session.keep(|| "first".to_owned()), "first");
    assert_eq!(session.clone().keep(|| "second".to_owned()), "first");
    assert_eq!(session.kept::<String>().unwrap(), "first");
    assert_eq!(session.kept::<usize>(), None);
    // Who makes something may keep something else for it.
    let outer = session.keep(|| vec![*session.keep(|| 'c')]);
    assert_eq!((outer, session.kept()), (&vec!['c'], Some(&'c')));
    // Others keep their own.
    assert_eq!(*session.keep(|| 5_usize), 5);
    assert_eq!(*session.keep(|| 6_usize), 5);
    assert_eq!(
        (session.kept::<String>().unwrap().as_str(), session.kept()),
        ("first", Some(&5_usize))
    );
}

/// Waits until the session's lane has nothing to do.
async fn served(session: &Session) {
    while session.outbox().is_due {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn what_is_sent_is_written_in_the_sessions_turn() {
    let (ours, mut theirs) = UnixStream::pair().unwrap();
    let connected = Connected::with(10);
    let session = &connected.session;
    assert_eq!(connected.send("early"), ACCEPTED);
    assert!(!session.outbox().is_due, "there is no socket yet");
    session.open(Arc::new(ours.into()));
    for text in ["a", "b"] {
        assert_eq!(connected.send(text), ACCEPTED);
        assert!(session.outbox().is_due);
    }
    let expected = [frame("early"), frame("a"), frame("b")].concat();
    let mut written = vec![0; expected.len()];
    theirs.read_exact(&mut written).await.unwrap();
    assert_eq!(written, expected);
    served(session).await;
    assert!(session.outbox().outgoing.is_empty());
}

#[tokio::test]
async fn a_full_socket_is_left_to_the_connection() {
    let (ours, mut theirs) = UnixStream::pair().unwrap();
    let connected = Connected::with(usize::MAX);
    let session = &connected.session;
    session.open(Arc::new(ours.into()));
    let large = "x".repeat(100_000);
    let mut sent = 0;
    while session.blocked_since().is_none() {
        assert_eq!(connected.send(&large), ACCEPTED);
        sent += 1;
        served(session).await;
    }
    assert_eq!(connected.send(&large), ACCEPTED);
    assert!(!session.outbox().is_due, "nothing can be written now");
    let mut rest = vec![0; frame(&large).len() * (sent + 1)];
    let flushed = std::future::poll_fn(|context| session.poll_flush(context));
    let (read, flushed) = tokio::join!(theirs.read_exact(&mut rest), flushed);
    read.unwrap();
    flushed.unwrap();
    assert!(session.blocked_since().is_none());
    assert!(rest.ends_with(&frame(&large)));
}

/// What TLS has encrypted counts as written, and is on its way all the same.
#[tokio::test]
async fn what_is_encrypted_is_not_forgotten() {
    let (tls, root) = Tls::of_localhost();
    let (ours, theirs) = UnixStream::pair().unwrap();
    let ours = Stream::from(ours).over_tls(tls.connection().unwrap());
    let greeting = tokio::task::spawn_blocking(move || client(theirs, root));
    let reading = std::future::poll_fn(|context| ours.poll_read(context, &mut &mut [0; 100][..]));
    assert_eq!(reading.await.unwrap(), 5, "its greeting");
    let mut client = greeting.await.unwrap();

    let connected = Connected::with(usize::MAX);
    let session = &connected.session;
    session.open(Arc::new(ours));
    let large = "x".repeat(50_000);
    let mut sent = 0;
    while session.blocked_since().is_none() {
        assert_eq!(connected.send(&large), ACCEPTED);
        sent += 1;
        served(session).await;
    }
    assert!(session.outbox().outgoing.is_empty(), "all is encrypted");
    assert_eq!(connected.send("last"), ACCEPTED);
    assert!(!session.outbox().is_due, "nothing can be written now");
    let mut flushing = Box::pin(std::future::poll_fn(|context| session.poll_flush(context)));
    assert!((&mut flushing).now_or_never().is_none());
    let reading = tokio::task::spawn_blocking(move || {
        let mut all = vec![0; frame(&large).len() * sent + frame("last").len()];
        client.read_exact(&mut all).unwrap();
        all
    });
    flushing.await.unwrap();
    assert!(session.blocked_since().is_none());
    assert!(reading.await.unwrap().ends_with(&frame("last")));
}

/// A client that has greeted its server. Blocks: to be called where that is allowed.
fn client(
    socket: UnixStream,
    root: CertificateDer<'static>,
) -> StreamOwned<ClientConnection, std::os::unix::net::UnixStream> {
    let socket = socket.into_std().unwrap();
    socket.set_nonblocking(false).unwrap();
    let mut roots = RootCertStore::empty();
    roots.add(root).unwrap();
    let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let name = "localhost".try_into().unwrap();
    let connection = ClientConnection::new(Arc::new(config), name).unwrap();
    let mut client = StreamOwned::new(connection, socket);
    client.write_all(b"hello").unwrap();
    client
}

#[tokio::test]
async fn a_lost_socket_is_told_to_the_connection() {
    let (ours, theirs) = UnixStream::pair().unwrap();
    let connected = Connected::with(1);
    let session = &connected.session;
    session.open(Arc::new(ours.into()));
    drop(theirs);
    assert_eq!(connected.send("lost"), ACCEPTED);
    served(session).await;
    let flushed = std::future::poll_fn(|context| session.poll_flush(context)).await;
    assert!(flushed.is_err());
    assert_eq!(connected.send("waits"), ACCEPTED);
    assert!(!session.outbox().is_due, "nobody can write it");
}

#[tokio::test]
async fn who_comes_while_others_are_served_is_served_too() {
    let lanes = Arc::new(Lanes::new());
    let mut crowd = Vec::new();
    for _ in 0..200 {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let terms = Terms::unbounded(Arc::clone(&lanes));
        let session = Session::new(b"", None, Arc::new(terms), None);
        session.open(Arc::new(ours.into()));
        session.establish();
        crowd.push((session, theirs));
    }
    let rounds = 100;
    for _ in 0..rounds {
        for (session, _) in &crowd {
            session.try_send(&Message::text("x")).unwrap();
        }
        tokio::task::yield_now().await;
    }
    for (_, theirs) in &mut crowd {
        let mut written = vec![0; frame("x").len() * rounds];
        theirs.read_exact(&mut written).await.unwrap();
    }
    lanes.close();
}

#[tokio::test]
async fn where_a_connection_comes_from() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let theirs = tokio::net::TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
    let (ours, _) = listener.accept().await.unwrap();
    let connected = Connected::with(1);
    let session = &connected.session;
    assert_eq!((session.peer(), session.transport()), (None, ""));
    session.open(Arc::new(ours.into()));
    assert_eq!((session.peer(), session.transport()), (theirs.local_addr().ok(), "ws"));
    let (ours, _theirs) = UnixStream::pair().unwrap();
    session.open(Arc::new(ours.into()));
    assert_eq!((session.peer(), session.transport()), (None, "unix"));
    session.shut();
    assert_eq!((session.peer(), session.transport()), (None, ""));
}

/// With its counts of references, so that it fits what allocators have for 320.
#[test]
fn a_session_is_small() {
    assert!(size_of::<Inner>() + 2 * size_of::<usize>() <= 320, "{}", size_of::<Inner>());
}

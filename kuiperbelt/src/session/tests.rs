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

/// Publishes `count` messages, and returns how many the client is to get.
fn publish(session: &Session, count: usize) -> usize {
    (0..count).filter(|number| session.publish(&Message::text(&number.to_string()))).count()
}

/// D13
#[tokio::test]
async fn publishing_follows_the_outbox_whatever_the_queue_of_sends_says() {
    let connected = Connected::with(0);
    assert_eq!(connected.send("first"), ACCEPTED);
    assert_eq!(connected.send("waits"), None);
    assert_eq!(publish(&connected.session, 100), 100);
    assert_eq!(connected.session.traffic().queued_messages, 101);
}

#[tokio::test]
async fn a_slow_consumer_is_disconnected() {
    let connected = Connected::bounded(3, 1000, SlowConsumer::Disconnect);
    let session = &connected.session;
    assert_eq!(publish(session, 4), 4);
    assert!(connected.ending().is_none());
    let message = Message::text("waiting");
    let mut waiting = Box::pin(session.send(&message, None));
    assert!((&mut waiting).now_or_never().is_none());
    assert_eq!(publish(session, 2), 0);
    let Ending { end, flush_by } = connected.ending().unwrap();
    assert_eq!(end, End::new(CloseCode::TRY_AGAIN_LATER, "slow consumer"));
    assert!(flush_by.is_some(), "it has so long for what is half written");
    assert_eq!(connected.try_write(), None, "what waited is dropped");
    assert_eq!(waiting.await, Err(SendError::Closed));
    assert_eq!(session.0.terms.metrics.slow_disconnected.value(), 1);
}

#[tokio::test]
async fn a_slow_consumer_misses_the_newest() {
    let connected = Connected::bounded(3, 1000, SlowConsumer::DropNewest);
    assert_eq!(publish(&connected.session, 6), 4);
    assert_eq!(connected.session.traffic().dropped, 2);
    assert_eq!(connected.session.0.terms.metrics.slow_dropped_newest.value(), 2);
    for number in 0..4 {
        assert_eq!(connected.write(), frame(&number.to_string()));
    }
    assert_eq!(publish(&connected.session, 1), 1);
}

#[tokio::test]
async fn a_slow_consumer_misses_the_oldest_that_waits() {
    let connected = Connected::bounded(3, 100, SlowConsumer::DropOldest);
    assert_eq!(publish(&connected.session, 6), 6);
    assert_eq!(connected.session.traffic().dropped, 2);
    // A large one takes the place of all but the next.
    assert!(connected.session.publish(&Message::text(&"x".repeat(200))));
    assert_eq!(connected.session.traffic().dropped, 5);
    assert_eq!(connected.session.0.terms.metrics.slow_dropped_oldest.value(), 5);
    assert_eq!(connected.write(), frame("5"));
    assert_eq!(connected.write(), frame(&"x".repeat(200)));
    assert_eq!(connected.try_write(), None);
}

#[tokio::test]
async fn what_is_being_written_is_not_dropped() {
    let connected = Connected::bounded(2, 100, SlowConsumer::DropOldest);
    assert_eq!(publish(&connected.session, 3), 3);
    assert!(connected.session.outbox().outgoing.begin_write().is_some());
    assert_eq!(publish(&connected.session, 1), 0, "nothing can be dropped for it");
    assert_eq!(connected.session.traffic().dropped, 1);
    connected.session.outbox().outgoing.end_write(2 * frame("0").len());
    assert_eq!(connected.write(), frame("2"));
    assert_eq!(connected.try_write(), None);
}

/// What was promised is kept, whoever publishes.
#[tokio::test]
async fn what_was_sent_is_not_dropped_for_what_is_published() {
    let connected = Connected::bounded(3, 1000, SlowConsumer::DropOldest);
    for text in ["a", "b", "c"] {
        assert_eq!(connected.send(text), ACCEPTED);
    }
    assert_eq!(publish(&connected.session, 5), 5);
    assert_eq!(connected.session.traffic().dropped, 4);
    for text in ["a", "b", "c", "4"] {
        assert_eq!(connected.write(), frame(text));
    }
    for text in ["a", "b", "c", "d"] {
        assert_eq!(connected.send(text), ACCEPTED);
    }
    assert_eq!(publish(&connected.session, 1), 0, "there is nothing but what was sent");
    assert_eq!(connected.session.traffic().queued_messages, 4);
}

/// A message that would not fit whatever is dropped takes nobody else's place.
#[tokio::test]
async fn nothing_is_dropped_in_vain() {
    let connected = Connected::bounded(10, 100, SlowConsumer::DropOldest);
    for text in ["being written", "waits"] {
        assert_eq!(connected.send(text), ACCEPTED);
    }
    assert_eq!(publish(&connected.session, 5), 5);
    assert!(!connected.session.publish(&Message::text(&"x".repeat(200))));
    assert_eq!(connected.session.traffic().dropped, 1);
    assert_eq!(connected.session.traffic().queued_messages, 7);
}

/// A send waits for what was sent, never for what may be dropped.
#[tokio::test]
async fn what_is_sent_takes_the_place_of_what_was_published() {
    let connected = Connected::bounded(10, 100, SlowConsumer::DropOldest);
    assert_eq!(connected.send("being written"), ACCEPTED);
    for _ in 0..2 {
        assert!(connected.session.publish(&Message::text(&"x".repeat(43))));
    }
    assert_eq!(connected.send(&"y".repeat(40)), ACCEPTED);
    assert_eq!(connected.session.traffic().dropped, 1);
    let message = Message::text(&"z".repeat(90));
    let mut waiting = Box::pin(connected.session.send(&message, None));
    assert!((&mut waiting).now_or_never().is_none());
    assert_eq!(connected.session.traffic().dropped, 1, "nothing is dropped in vain");
    // Nor for an end, which takes no room.
    drop(waiting);
    let connected = Connected::bounded(3, 100, SlowConsumer::DropOldest);
    assert_eq!(publish(&connected.session, 4), 4);
    let end = connected.session.close(None, End::abnormal(""), None);
    assert_eq!(end.now_or_never(), ACCEPTED);
    assert_eq!(connected.session.traffic().dropped, 0);
    assert_eq!(connected.session.traffic().queued_messages, 4);
}

/// What is about to be written cannot be dropped, until it turns out that it was not.
#[tokio::test]
async fn who_waits_for_a_write_that_comes_to_nothing_is_let_in() {
    let (ours, _theirs) = UnixStream::pair().unwrap();
    while ours.try_write(&[0; 10_000]).is_ok() {}
    let connected = Connected::bounded(3, 100, SlowConsumer::DropOldest);
    let session = &connected.session;
    session.open(Arc::new(ours.into()));
    assert_eq!(publish(session, 4), 4);
    served(session).await;
    assert!(session.blocked_since().is_some());
    session.outbox().outgoing.begin_write();
    let message = Message::text(&"x".repeat(98));
    let mut waiting = Box::pin(session.send(&message, None));
    assert!((&mut waiting).now_or_never().is_none());
    session.outbox().outgoing.end_write(0);
    session.outbox().blocked_since = None;
    session.flush(Instant::now());
    assert!(session.blocked_since().is_some(), "the socket is as full as before");
    assert_eq!(waiting.now_or_never(), ACCEPTED);
    assert_eq!(session.traffic().dropped, 3);
}

/// A client that takes one message while another one is published to it, without end. Returns how
/// many of the former a response of half the queue has waited for, and what had become of it.
async fn flooded(rule: SlowConsumer) -> (usize, Result<(), SendError>, Connected) {
    let piece = "x".repeat(98);
    let bytes = 100 * frame(&piece).len();
    let connected = Connected::bounded(1000, bytes, rule);
    let session = connected.session.clone();
    let flood = Message::text(&piece);
    assert_eq!((0..=100).filter(|_| session.publish(&flood)).count(), 101);
    let response = Message::text(&"r".repeat(bytes / 2));
    let mut waiting = Box::pin(session.send(&response, None));
    for taken in 0..1000 {
        if let Some(answer) = (&mut waiting).now_or_never() {
            drop(waiting);
            return (taken, answer, connected);
        }
        if taken > 0 {
            session.publish(&flood);
        }
        connected.write();
    }
    panic!("{rule:?}: a response waits for ever behind what is published");
}

/// How many messages come before the response.
fn written_before_the_response(connected: &Connected) -> usize {
    std::iter::from_fn(|| connected.try_write()).take_while(|frame| frame.len() < 5000).count()
}

#[tokio::test]
async fn a_flood_is_dropped_for_a_response() {
    let (taken, answer, connected) = flooded(SlowConsumer::DropOldest).await;
    assert_eq!((taken, answer), (0, Ok(())));
    // As much as it needs, and no more.
    let dropped = connected.session.traffic().dropped;
    assert_eq!(dropped, 51);
    let metrics = &connected.session.0.terms.metrics;
    assert_eq!(metrics.slow_dropped_oldest.value(), dropped);
    assert_eq!(written_before_the_response(&connected), 101 - 51);
}

#[tokio::test]
async fn a_flood_waits_for_nobody_but_is_not_let_in_before_a_response() {
    let (taken, answer, connected) = flooded(SlowConsumer::DropNewest).await;
    assert_eq!((taken, answer), (51, Ok(())));
    assert_eq!(connected.session.traffic().dropped, 50, "all that came while it waited");
    let metrics = &connected.session.0.terms.metrics;
    assert_eq!(metrics.slow_dropped_newest.value(), 50);
    assert_eq!(written_before_the_response(&connected), 101 - 51);
    assert_eq!(publish(&connected.session, 5), 5, "nobody waits any more");
}

/// Nothing may be dropped, so the response waits for what was there before; a client that has no
/// time for both is too slow.
#[tokio::test]
async fn a_flood_does_not_keep_a_response_waiting() {
    let (taken, answer, connected) = flooded(SlowConsumer::Disconnect).await;
    assert_eq!((taken, answer), (51, Ok(())));
    assert!(connected.ending().is_none());
    assert_eq!(connected.session.traffic().dropped, 0);
    let (flood, session) = (Message::text(&"x".repeat(98)), &connected.session);
    assert!(!session.publish(&flood));
    assert_eq!(connected.ending().unwrap().end.reason, "slow consumer");

    // One that catches up gets all of it.
    let (_, _, connected) = flooded(SlowConsumer::Disconnect).await;
    assert_eq!(written_before_the_response(&connected), 101 - 51 + 50);
    assert_eq!(publish(&connected.session, 5), 5);
}

/// Each who waits is passed by what comes while it is the first, and by nothing that was there.
#[tokio::test]
async fn what_came_before_somebody_was_first_is_waited_for() {
    let connected = Connected::bounded(3, 1000, SlowConsumer::Disconnect);
    let session = &connected.session;
    assert_eq!(publish(session, 4), 4);
    let [first, second] = ["first", "second"].map(Message::text);
    let mut first = Box::pin(session.send(&first, None));
    let mut second = Box::pin(session.send(&second, None));
    assert!((&mut first).now_or_never().is_none() && (&mut second).now_or_never().is_none());
    connected.write();
    assert_eq!(first.now_or_never(), ACCEPTED);
    assert_eq!(session.traffic().queued_messages, 4);
    connected.write();
    assert_eq!(second.now_or_never(), ACCEPTED);
    for text in ["2", "3", "first", "second"] {
        assert_eq!(connected.write(), frame(text));
    }
}

/// D13: sends have a queue of their own there, in which nothing that is published takes room, nor
/// is it lost for it.
#[tokio::test]
async fn a_queue_of_sends_is_no_ones_but_theirs() {
    for rule in [SlowConsumer::Disconnect, SlowConsumer::DropOldest, SlowConsumer::DropNewest] {
        let terms = Terms {
            send_queue: Some(0),
            outbox_messages: 3,
            slow_consumer: rule,
            ..Terms::unbounded(Arc::new(Lanes::new()))
        };
        let connected = Connected { session: Session::new(b"", None, Arc::new(terms), None) };
        let session = &connected.session;
        session.establish();
        assert_eq!(publish(session, 2), 2);
        assert_eq!(connected.send("sent"), ACCEPTED);
        let message = Message::text("waits");
        let mut waiting = Box::pin(session.send(&message, None));
        assert!((&mut waiting).now_or_never().is_none());
        assert_eq!(publish(session, 1), 1, "{rule:?}");
        for text in ["0", "1", "sent"] {
            assert!((&mut waiting).now_or_never().is_none());
            assert_eq!(connected.write(), frame(text));
        }
        assert_eq!(waiting.now_or_never(), ACCEPTED);
        assert_eq!(session.traffic().dropped, 0);
    }
}

/// D13: nobody is held back while a session is established, so messages count, however small.
#[tokio::test]
async fn what_is_published_before_a_session_is_established() {
    let terms = Terms { outbox_messages: 3, ..Terms::unbounded(Arc::new(Lanes::new())) };
    let first = Message::text("first");
    let session = Session::new(b"alice", Some(&first), Arc::new(terms), None);
    assert_eq!(publish(&session, 9), 3);
    let connected = Connected { session };
    let Ending { end, flush_by } = connected.ending().unwrap();
    assert_eq!(end, End::new(CloseCode::TRY_AGAIN_LATER, "not established in time"));
    assert!(flush_by.is_none());
    for text in ["first", "0", "1", "2"] {
        assert_eq!(connected.write(), frame(text));
    }
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

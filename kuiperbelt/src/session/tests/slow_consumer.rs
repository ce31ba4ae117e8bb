//! Clients that do not keep up with what is published, and what that means for whoever sends.

use super::*;

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

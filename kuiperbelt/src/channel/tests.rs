//! Who gets what, with sessions that have no socket: what they were given waits in their outboxes.

use std::sync::Barrier;
use std::thread;

use super::*;
use crate::message::End;
use crate::session::{Lanes, Terms};

fn session(channels: &Channels, key: &str) -> Session {
    let metrics = Arc::clone(&channels.metrics);
    let terms = Terms { metrics, ..Terms::unbounded(Arc::new(Lanes::new())) };
    Session::new(key.as_bytes(), None, Arc::new(terms), None)
}

fn channels(limits: Limits) -> Channels {
    Channels::new(limits, &Arc::default())
}

fn limits(channels: usize, per_session: usize) -> Limits {
    Limits { channels, per_session, keeps_empty: false }
}

fn waiting(session: &Session) -> usize {
    session.traffic().queued_messages
}

#[test]
fn listeners_get_what_is_published_while_they_listen() {
    let channels = channels(Limits::default());
    let (alice, bob) = (session(&channels, "alice"), session(&channels, "bob"));
    let message = Message::text("x");
    assert_eq!(channels.publish(b"news", &message), None);
    channels.subscribe(&alice, b"news").unwrap();
    channels.subscribe(&alice, b"news").unwrap();
    assert_eq!(channels.publish(b"news", &message), Some(1));
    channels.subscribe(&bob, b"news").unwrap();
    assert_eq!(channels.publish(b"news", &message), Some(2));
    assert_eq!(channels.publish(b"News", &message), None);
    assert!(channels.unsubscribe(&alice, b"news"));
    assert!(!channels.unsubscribe(&alice, b"news"));
    assert_eq!(channels.publish(b"news", &message), Some(1));
    assert!(channels.unsubscribe(&bob, b"news"));
    assert_eq!(channels.publish(b"news", &message), None);
    assert_eq!((waiting(&alice), waiting(&bob)), (2, 2));
}

#[test]
fn a_channel_that_stays_is_there_without_listeners() {
    let channels = channels(Limits { keeps_empty: true, ..limits(2, 2) });
    let alice = session(&channels, "alice");
    channels.subscribe(&alice, b"news").unwrap();
    assert!(channels.unsubscribe(&alice, b"news"));
    assert_eq!(channels.publish(b"news", &Message::text("x")), Some(0));
    channels.subscribe(&alice, b"news").unwrap();
    channels.leave_all(&alice);
    assert_eq!(channels.page(None, 9), [(b"news".to_vec(), 0)]);
}

/// At the limit the channel that was left first makes room; those with listeners stay.
#[test]
fn an_empty_channel_makes_room_for_another() {
    let channels = channels(Limits { keeps_empty: true, ..limits(3, 9) });
    let alice = session(&channels, "alice");
    let names =
        || -> Vec<Vec<u8>> { channels.page(None, 9).into_iter().map(|(name, _)| name).collect() };
    for name in [b"a", b"b", b"c"] {
        channels.subscribe(&alice, name).unwrap();
    }
    assert_eq!(channels.subscribe(&alice, b"d"), Err(SubscribeError::TooMany));
    for name in [b"c", b"a", b"b"] {
        assert!(channels.unsubscribe(&alice, name));
    }
    assert_eq!(names(), [b"a", b"b", b"c"]);
    // It was left first, but is listened to again.
    channels.subscribe(&alice, b"c").unwrap();
    channels.subscribe(&alice, b"d").unwrap();
    assert_eq!(names(), [b"b", b"c", b"d"]);
    assert_eq!(channels.publish(b"a", &Message::text("x")), None);
    channels.subscribe(&alice, b"e").unwrap();
    assert_eq!(names(), [b"c", b"d", b"e"]);
    assert_eq!(channels.subscribe(&alice, b"f"), Err(SubscribeError::TooMany));
    assert_eq!(channels.of(&alice), [b"c", b"d", b"e"]);
    // It was passed over, and is listed again.
    assert!(channels.unsubscribe(&alice, b"c"));
    channels.subscribe(&alice, b"f").unwrap();
    assert_eq!(names(), [b"d", b"e", b"f"]);
}

/// What is kept of empty channels is bounded by the number of channels, whatever comes and goes.
#[test]
fn an_empty_channel_is_listed_once() {
    let channels = channels(Limits { keeps_empty: true, ..limits(10, 9) });
    let alice = session(&channels, "alice");
    for number in 0..1_000 {
        let name = [number as u8 % 20];
        channels.subscribe(&alice, name).unwrap();
        assert!(channels.unsubscribe(&alice, name));
        channels.subscribe(&alice, b"always the same").unwrap();
        channels.leave_all(&alice);
    }
    assert_eq!(channels.count.load(Ordering::Relaxed), 10);
    assert_eq!(channels.empty.lock().len(), 10);
}

#[test]
fn limits_hold_and_nothing_is_half_done() {
    let channels = channels(limits(3, 2));
    let (alice, bob) = (session(&channels, "alice"), session(&channels, "bob"));
    for (name, refused) in [(vec![], true), (vec![b'x'; 512], false), (vec![b'x'; 513], true)] {
        let expected = if refused { Err(SubscribeError::Name) } else { Ok(()) };
        assert_eq!(channels.subscribe(&alice, &name), expected, "{} bytes", name.len());
    }
    channels.subscribe(&alice, b"a").unwrap();
    assert_eq!(channels.subscribe(&alice, b"b"), Err(SubscribeError::TooManyOfSession));
    channels.subscribe(&alice, b"a").unwrap();
    channels.subscribe(&bob, b"b").unwrap();
    assert_eq!(channels.subscribe(&bob, b"c"), Err(SubscribeError::TooMany));
    channels.subscribe(&bob, b"a").unwrap();
    assert_eq!(channels.of(&bob), [b"a", b"b"]);
    assert_eq!(channels.first_of(&bob, 1), (vec![b"a".to_vec()], 2));
    assert_eq!(channels.first_of(&bob, 0), (vec![], 2));
    // A channel that is forgotten makes room.
    channels.unsubscribe(&bob, b"b");
    channels.subscribe(&bob, b"c").unwrap();
}

#[test]
fn a_session_that_refuses_everything_does_not_subscribe() {
    let channels = channels(Limits::default());
    let alice = session(&channels, "alice");
    alice.end(End::abnormal("test"));
    assert_eq!(channels.subscribe(&alice, b"news"), Err(SubscribeError::Closed));
    assert_eq!(channels.page(None, 9), []);
}

#[test]
fn a_session_of_another_hub_does_not_subscribe() {
    let (ours, theirs) = (channels(Limits::default()), channels(Limits::default()));
    let foreign = session(&theirs, "alice");
    assert_eq!(ours.subscribe(&foreign, b"news"), Err(SubscribeError::Foreign));
}

#[test]
fn one_copy_whatever_channels_it_came_by_and_none_for_whom_is_spared() {
    let channels = channels(Limits::default());
    let (alice, bob, carol) =
        (session(&channels, "alice"), session(&channels, "bob"), session(&channels, "carol"));
    for (session, name) in
        [(&alice, b"a"), (&alice, b"b"), (&bob, b"b"), (&carol, b"a"), (&carol, b"b")]
    {
        channels.subscribe(session, name).unwrap();
    }
    let names: &[&[u8]] = &[b"b", b"a", b"b", b"nobody's"];
    let reached = channels.publish_to_all(names, &Message::text("x"), |s| s.key() == b"carol");
    assert_eq!(reached, 2);
    assert_eq!([waiting(&alice), waiting(&bob), waiting(&carol)], [1, 1, 0]);
}

#[test]
fn pages_are_sorted_and_go_on_where_the_last_one_ended() {
    let channels = channels(Limits::default());
    let alice = session(&channels, "alice");
    for name in ["d", "a", "c", "b"] {
        channels.subscribe(&alice, name.as_bytes()).unwrap();
    }
    channels.subscribe(&session(&channels, "bob"), b"c").unwrap();
    let page = |after: Option<&str>| -> String {
        let page = channels.page(after.map(str::as_bytes), 3);
        page.iter().map(|(name, count)| format!("{}{count} ", name.escape_ascii())).collect()
    };
    assert_eq!(page(None), "a1 b1 c2 ");
    assert_eq!(page(Some("c")), "d1 ");
    assert_eq!(page(Some("d")), "");
}

/// Everybody who listens all the time gets everything, in one order, while others come, go and end.
#[test]
fn order_under_concurrent_publishers_and_subscribers() {
    const LISTENERS: usize = 300;
    const PUBLISHERS: usize = 3;
    const EACH: usize = 200;
    let channels = channels(Limits::default());
    let steady: Vec<Session> =
        (0..LISTENERS).map(|n| session(&channels, &format!("steady {n}"))).collect();
    for (at, session) in steady.iter().enumerate() {
        channels.subscribe(session, b"a").unwrap();
        if at % 2 == 0 {
            channels.subscribe(session, b"b").unwrap();
        }
    }
    let start = Barrier::new(PUBLISHERS + 2);
    thread::scope(|scope| {
        for publisher in 0..PUBLISHERS {
            let (channels, start) = (&channels, &start);
            scope.spawn(move || {
                start.wait();
                for number in 0..EACH {
                    let message = Message::text(&format!("{publisher} {number}"));
                    let names: [&[u8]; 2] = [b"a", b"b"];
                    if number % 2 == 0 {
                        channels.publish_to_all(&names, &message, |_| false);
                    } else {
                        channels.publish(b"a", &message);
                    }
                }
            });
        }
        for churner in 0..2 {
            let (channels, start) = (&channels, &start);
            scope.spawn(move || {
                start.wait();
                for number in 0..400 {
                    let transient = session(channels, &format!("transient {churner} {number}"));
                    channels.subscribe(&transient, b"a").unwrap();
                    channels.subscribe(&transient, format!("own {churner}").as_bytes()).unwrap();
                    match number % 3 {
                        0 => assert!(channels.unsubscribe(&transient, b"a")),
                        _ => transient.end(End::abnormal("test")),
                    }
                    channels.leave_all(&transient);
                }
            });
        }
    });
    let first = steady[0].take_queued();
    assert_eq!(first.len(), PUBLISHERS * EACH);
    for session in &steady[1..] {
        assert!(session.take_queued() == first, "one order for all");
    }
    let left = channels.page(None, 9);
    assert_eq!(left, [(b"a".to_vec(), LISTENERS), (b"b".to_vec(), LISTENERS / 2)]);
    for session in &steady {
        channels.leave_all(session);
    }
    assert_eq!(channels.count.load(Ordering::Relaxed), 0);
    assert!(channels.by_name.iter().all(|shard| shard.lock().is_empty()));
    assert!(channels.by_session.iter().all(|shard| shard.lock().is_empty()));
}

/// At the limit, with more names than places, everybody finds a place, those who stay miss
/// nothing, and no channel is counted or listed twice or never.
#[test]
fn empty_channels_make_room_concurrently() {
    const STEADY: usize = 2;
    const COMING: usize = 4;
    /// Of the other channels each of those who come may have one in hand and be about to forget
    /// another.
    const LIMIT: usize = STEADY + 2 * COMING;
    const ROUNDS: usize = 2_000;
    let channels = channels(Limits { keeps_empty: true, ..limits(LIMIT, 9) });
    let steady = session(&channels, "steady");
    for number in 0..STEADY {
        channels.subscribe(&steady, format!("steady {number}")).unwrap();
    }
    let start = Barrier::new(COMING + 1);
    thread::scope(|scope| {
        for own in 0..COMING {
            let (channels, start) = (&channels, &start);
            scope.spawn(move || {
                start.wait();
                let session = session(channels, "coming");
                for round in 0..ROUNDS {
                    // Some of the names are shared, and all are those of several rounds.
                    let name = format!("{} {}", round % 7 * own.min(2), round % 31);
                    channels.subscribe(&session, &name).unwrap();
                    assert!(channels.publish(&name, &Message::text("x")).unwrap() > 0);
                    match round % 2 {
                        0 => assert!(channels.unsubscribe(&session, &name)),
                        _ => channels.leave_all(&session),
                    }
                    assert!(channels.count.load(Ordering::Relaxed) <= LIMIT);
                }
            });
        }
        start.wait();
        for round in 0..ROUNDS {
            let reached =
                channels.publish(format!("steady {}", round % STEADY), &Message::text("y"));
            assert_eq!(reached, Some(1));
        }
    });
    assert_eq!(waiting(&steady), ROUNDS);
    let count = channels.count.load(Ordering::Relaxed);
    let there: usize = channels.by_name.iter().map(|shard| shard.lock().len()).sum();
    assert_eq!(there, count);
    assert!(count > STEADY && count <= LIMIT, "{count}");
    assert_eq!(channels.empty.lock().len(), count - STEADY);
    // Each of them makes room.
    let last = session(&channels, "last");
    for number in STEADY..LIMIT {
        channels.subscribe(&last, format!("last {number}")).unwrap();
    }
    assert_eq!(channels.subscribe(&last, b"more"), Err(SubscribeError::TooMany));
}

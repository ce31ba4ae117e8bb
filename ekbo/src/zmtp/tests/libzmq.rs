//! What works with libzmq, also after it was gone.

use std::time::Duration;

use bytes::Bytes;
use tokio::select;
use tokio::task::yield_now;
use tokio::time::timeout;

use super::actors::{Log, Peer, until, within};
use crate::zmtp::decoder::Excess;
use crate::zmtp::{Message, RequestError, Requester, State, Subscriber};

const LIMIT: usize = 8 * 1024 * 1024;

/// For requests that are replied to.
const LONG: Duration = Duration::from_secs(60);

/// For those that are not.
const SHORT: Duration = Duration::from_millis(200);

/// Makes a request while the peer replies; what it was asked, and what came of it.
async fn exchange(
    requester: &mut Requester,
    peer: &mut Peer,
    request: &[u8],
    reply: &[&[u8]],
) -> (Vec<Vec<u8>>, Result<Bytes, RequestError>) {
    let serve = async {
        let asked = peer.received().await;
        peer.send(reply);
        asked
    };
    let request = requester.request(Bytes::copy_from_slice(request), LONG);
    let (outcome, asked) = tokio::join!(request, serve);
    (asked, outcome)
}

fn everything() -> Vec<Bytes> {
    vec![Bytes::new()]
}

fn message(parts: &[&[u8]]) -> Message {
    parts.iter().map(|part| Bytes::copy_from_slice(part)).collect()
}

/// So many messages, in order.
async fn next(subscriber: &mut Subscriber, count: usize) -> Vec<Message> {
    let mut messages = Vec::new();
    while messages.len() < count {
        messages.append(&mut within(subscriber.next()).await);
    }
    assert_eq!(messages.len(), count);
    messages
}

/// Waits until the peer knows that it is subscribed to.
async fn subscribed(subscriber: &mut Subscriber, peer: &mut Peer) {
    select! {
        unexpected = subscriber.next() => panic!("{unexpected:?}"),
        asked = peer.received() => assert_eq!(asked, [[1]]),
    }
}

#[tokio::test]
async fn a_rep_replies() {
    let mut peer = Peer::start("REP").await;
    let mut requester = Requester::open(&peer.endpoint, LIMIT);
    for body in [&b"handshake"[..], b"", &[7; 255], &[8; 256], &vec![9; 4_000_000]] {
        let (asked, reply) = exchange(&mut requester, &mut peer, body, &[body]).await;
        assert_eq!(asked, [body]);
        assert!(reply.unwrap() == body);
    }
    let (_, reply) = exchange(&mut requester, &mut peer, b"?", &[b"in ", b"", b"parts"]).await;
    assert_eq!(reply.unwrap(), "in parts");
}

#[tokio::test]
async fn a_router_replies() {
    let mut peer = Peer::start("ROUTER").await;
    let mut requester = Requester::open(&peer.endpoint, LIMIT);
    let serve = async {
        let asked = peer.received().await;
        assert_eq!(asked[1..], [&b""[..], b"question"]);
        peer.send(&[&asked[0], b"not a reply, as its envelope has no end"]);
        peer.send(&[&asked[0], b"", b"answer"]);
    };
    let (reply, ()) = tokio::join!(requester.request("question".into(), LONG), serve);
    assert_eq!(reply.unwrap(), "answer");
}

#[tokio::test]
async fn a_reply_beyond_the_limit_is_passed_over() {
    let mut peer = Peer::start("REP").await;
    let mut requester = Requester::open(&peer.endpoint, 100);
    let state = requester.state();
    let (_, reply) = exchange(&mut requester, &mut peer, b"?", &[&[1; 101]]).await;
    assert_eq!(reply, Err(RequestError::TooLarge(Excess::Bytes(100))));
    let (_, reply) = exchange(&mut requester, &mut peer, b"?", &[&[1; 100]]).await;
    assert_eq!(reply.unwrap(), &[1; 100][..]);
    assert_eq!(*state.borrow(), State::Ready);
}

#[tokio::test]
async fn a_rep_that_dies_and_comes_back_is_asked_again() {
    let mut peer = Peer::start("REP").await;
    let mut requester = Requester::open(&peer.endpoint, LIMIT);
    exchange(&mut requester, &mut peer, b"1", &[b"one"]).await.1.unwrap();

    let dies = async {
        peer.received().await;
        peer.restart("REP").await
    };
    let (reply, mut peer) = tokio::join!(requester.request("2".into(), LONG), dies);
    assert_eq!(reply, Err(RequestError::Lost));
    let (_, reply) = exchange(&mut requester, &mut peer, b"3", &[b"three"]).await;
    assert_eq!(reply.unwrap(), "three");

    // While nothing is outstanding nothing is lost.
    let endpoint = peer.endpoint.to_string();
    drop(peer);
    until(requester.state(), State::Down).await;
    assert_eq!(requester.request("4".into(), SHORT).await, Err(RequestError::TimedOut));
    let mut peer = Peer::bind("REP", &endpoint).await;
    let (asked, reply) = exchange(&mut requester, &mut peer, b"5", &[b"five"]).await;
    assert_eq!((asked, reply.unwrap()), (vec![b"5".to_vec()], "five".into()));
}

#[tokio::test]
async fn a_late_reply_is_never_taken_for_another() {
    let mut peer = Peer::start("REP").await;
    let mut requester = Requester::open(&peer.endpoint, LIMIT);
    assert_eq!(requester.request("1".into(), SHORT).await, Err(RequestError::TimedOut));
    assert_eq!(requester.request("2".into(), SHORT).await, Err(RequestError::TimedOut));
    // Whoever stops waiting has no reply either.
    select! {
        biased;
        reply = requester.request("3".into(), LONG) => panic!("{reply:?}"),
        () = yield_now() => {}
    }
    let serve = async {
        loop {
            let asked = peer.received().await.concat();
            peer.send(&[b"reply to ", &asked]);
            if asked == b"4" {
                break;
            }
        }
    };
    let (reply, ()) = tokio::join!(requester.request("4".into(), LONG), serve);
    assert_eq!(reply.unwrap(), "reply to 4");
}

#[tokio::test]
async fn a_late_reply_of_a_router_reaches_nobody() {
    let mut peer = Peer::start("ROUTER").await;
    let mut requester = Requester::open(&peer.endpoint, LIMIT);
    assert_eq!(requester.request("1".into(), SHORT).await, Err(RequestError::TimedOut));
    let first = peer.received().await;
    let serve = async {
        let second = peer.received().await;
        peer.send(&[&first[0], b"", b"late"]);
        peer.send(&[&second[0], b"", b"in time"]);
    };
    let (reply, ()) = tokio::join!(requester.request("2".into(), LONG), serve);
    assert_eq!(reply.unwrap(), "in time");
}

#[tokio::test]
async fn what_is_published_arrives() {
    let mut peer = Peer::start("XPUB").await;
    let mut subscriber = Subscriber::open(&peer.endpoint, everything(), LIMIT);
    subscribed(&mut subscriber, &mut peer).await;
    assert_eq!(*subscriber.state().borrow(), State::Ready);
    peer.send(&[b"one"]);
    peer.send(&[b"in", b"", b"parts"]);
    peer.send(&[&[7; 70_000]]);
    peer.send(&[b""]);
    let expected = [message(&[b"one"]), message(&[b"in", b"", b"parts"]), message(&[&[7; 70_000]])];
    assert_eq!(next(&mut subscriber, 4).await, [&expected[..], &[message(&[b""])]].concat());
}

#[tokio::test]
async fn only_topics_that_were_asked_for_arrive() {
    let mut peer = Peer::start("XPUB").await;
    let topics = vec!["a/".into(), "long ".repeat(100).into()];
    let mut subscriber = Subscriber::open(&peer.endpoint, topics, LIMIT);
    let asked = async { (peer.received().await, peer.received().await) };
    let (first, second) = select! {
        unexpected = subscriber.next() => panic!("{unexpected:?}"),
        asked = asked => asked,
    };
    let long = "long ".repeat(100).into_bytes();
    assert_eq!((&first[0][..], &second[0][..]), (&b"\x01a/"[..], &[&[1], &long[..]].concat()[..]));
    for topic in [&b"b/1"[..], b"a/1", b"a", &long] {
        peer.send(&[topic]);
    }
    assert_eq!(next(&mut subscriber, 2).await, [message(&[b"a/1"]), message(&[&long])]);
}

#[tokio::test]
async fn a_message_beyond_the_limit_is_passed_over() {
    let log = Log::start();
    let mut peer = Peer::start("XPUB").await;
    let mut subscriber = Subscriber::open(&peer.endpoint, everything(), 1000);
    subscribed(&mut subscriber, &mut peer).await;
    for size in [1001, 1000, 200_000, 999] {
        peer.send(&[&vec![1; size]]);
    }
    peer.send(&[&b""[..]; 1025]);
    peer.send(&[b"last"]);
    let sizes = next(&mut subscriber, 3).await.iter().map(|m| m[0].len()).collect::<Vec<_>>();
    assert_eq!(sizes, [1000, 999, 4]);
    // Each limit is told once, with what to do.
    for told in ["more than 1000 bytes; raise max_message_size", "more than 1024 parts; send fewer"]
    {
        assert_eq!(log.count(told), 1, "{}", log.all());
    }
    assert_eq!(log.count("WARN"), 2, "{}", log.all());
}

#[tokio::test]
async fn a_publisher_that_dies_and_comes_back_is_listened_to_again() {
    let mut peer = Peer::start("XPUB").await;
    let mut subscriber = Subscriber::open(&peer.endpoint, everything(), LIMIT);
    subscribed(&mut subscriber, &mut peer).await;
    for word in [b"one", b"two"] {
        peer.send(&[word]);
        assert_eq!(next(&mut subscriber, 1).await, [message(&[word])]);
        peer = peer.restart("XPUB").await;
        subscribed(&mut subscriber, &mut peer).await;
    }
}

#[tokio::test]
async fn a_publisher_may_come_later() {
    let absent = Peer::start("XPUB").await;
    let endpoint = absent.endpoint.clone();
    drop(absent);
    let mut subscriber = Subscriber::open(&endpoint, everything(), LIMIT);
    timeout(SHORT, subscriber.next()).await.unwrap_err();
    let mut peer = Peer::bind("XPUB", &endpoint.to_string()).await;
    subscribed(&mut subscriber, &mut peer).await;
}

/// Nothing is lost, doubled or out of order, however often its receiver does something else.
#[tokio::test]
async fn a_flood_arrives_whole() {
    const COUNT: u32 = 50_000;
    let mut peer = Peer::start("XPUB").await;
    let mut subscriber = Subscriber::open(&peer.endpoint, everything(), LIMIT);
    subscribed(&mut subscriber, &mut peer).await;
    peer.tell(&format!("flood {COUNT}"));
    let mut numbers = 0..COUNT;
    while !numbers.is_empty() {
        let messages = select! {
            biased;
            messages = subscriber.next() => messages,
            () = yield_now() => Vec::new(),
        };
        for message in messages {
            assert_eq!(message, [&numbers.next().unwrap().to_be_bytes()[..]]);
        }
    }
}

#[tokio::test]
async fn unix_sockets() {
    let mut peer = Peer::bind("REP", "ipc://*").await;
    assert!(peer.endpoint.to_string().starts_with("ipc://"));
    let mut requester = Requester::open(&peer.endpoint, LIMIT);
    let (_, reply) = exchange(&mut requester, &mut peer, b"?", &[b"!"]).await;
    assert_eq!(reply.unwrap(), "!");
}

/// The peer sees that its client is gone.
#[tokio::test]
async fn dropping_closes() {
    let mut peer = Peer::start("XPUB").await;
    let mut subscriber = Subscriber::open(&peer.endpoint, everything(), LIMIT);
    subscribed(&mut subscriber, &mut peer).await;
    drop(subscriber);
    assert_eq!(peer.received().await, [[0]]);
}

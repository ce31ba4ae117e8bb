//! Peers of a few bytes, most of them bad. Time is paused: it moves on when nobody has anything to
//! do.

use std::time::Duration;

use bytes::Bytes;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::select;
use tokio::time::{Instant, sleep, timeout};

use super::actors::{Address, Log, Wire, greeting, ready};
use crate::zmtp::{RequestError, Requester, State, Subscriber};

const LIMIT: usize = 1000;
const MINUTE: Duration = Duration::from_secs(60);

/// Makes a request while the peer does this with it.
async fn request(
    requester: &mut Requester,
    peer: impl Future<Output = Wire>,
) -> (Result<Bytes, RequestError>, Wire) {
    tokio::join!(requester.request("question".into(), MINUTE), peer)
}

/// What is asked, and what is answered, on the wire.
const QUESTION: &[u8] = b"\x01\0\0\x08question";
const ANSWER: &[u8] = b"\x01\0\0\x06answer";

async fn answer(mut wire: Wire) -> Wire {
    wire.expect(QUESTION).await;
    wire.write(ANSWER).await;
    wire
}

/// A client meets the same bad peer three times, and then a good one: the cause is logged once.
async fn meets(bad: &[u8], cause: &str) {
    let log = Log::start();
    let address = Address::new();
    let mut requester = Requester::open(&address.endpoint, LIMIT);
    for _ in 0..3 {
        let mut wire = address.accept().await;
        wire.write(bad).await;
        wire.0.read_to_end(&mut Vec::new()).await.unwrap();
    }
    let good = async { answer(address.welcome("REQ", "REP", 1).await).await };
    let (reply, _wire) = request(&mut requester, good).await;
    assert_eq!(reply.unwrap(), "answer");
    assert_eq!((log.count(cause), log.count("WARN")), (1, 1), "{}", log.all());
    assert_eq!(log.count(&format!("endpoint={}", address.endpoint)), 1, "{}", log.all());
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_is_no_zeromq() {
    meets(b"HTTP/1.1 400 Bad Request\r\n\r\n", "the peer is no ZeroMQ").await;
    meets(b"\x01\0", "the peer is no ZeroMQ").await;
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_is_too_old() {
    meets(b"\xff\0\0\0\0\0\0\0\x01\x7f\x01\x04", "the peer speaks ZMTP 2").await;
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_is_secured() {
    meets(&greeting(3, 1, "CURVE"), "security mechanism \"CURVE\"; switch it to NULL").await;
}

#[tokio::test(start_paused = true)]
async fn a_peer_of_another_kind() {
    let pub_socket = [&greeting(3, 1, "NULL")[..], &ready("PUB")].concat();
    meets(&pub_socket, "the peer is a PUB socket, and REP or ROUTER is needed").await;
    let nameless = [&greeting(3, 1, "NULL")[..], b"\x04\x06\x05READY"].concat();
    meets(&nameless, "the peer is a nameless socket").await;
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_refuses() {
    let error = [&greeting(3, 1, "NULL")[..], b"\x04\x0a\x05ERROR\x03no\n"].concat();
    meets(&error, "the peer refuses the connection: no\\n").await;
    let message = [&greeting(3, 1, "NULL")[..], b"\0\x02hi"].concat();
    meets(&message, "does not keep to the handshake").await;
    let nonsense = [&greeting(3, 1, "NULL")[..], b"\xf0"].concat();
    meets(&nonsense, "flags 0xf0").await;
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_says_nothing() {
    let log = Log::start();
    let address = Address::new();
    let mut requester = Requester::open(&address.endpoint, LIMIT);
    let began = Instant::now();
    let mut wire = address.accept().await;
    wire.expect(&greeting(3, 1, "NULL")).await;
    requester.state().wait_for(|state| *state == State::Connected).await.unwrap();
    let brief = Duration::from_secs(1);
    assert_eq!(requester.request("?".into(), brief).await, Err(RequestError::TimedOut));
    wire.expect_end().await;
    assert_eq!(began.elapsed().as_secs(), 10);
    assert_eq!(log.count("the peer says nothing"), 1, "{}", log.all());
    assert_eq!(*requester.state().borrow(), State::Down);
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_dies_within_a_frame() {
    let address = Address::new();
    let mut requester = Requester::open(&address.endpoint, LIMIT);
    let dies = async {
        let mut wire = address.welcome("REQ", "ROUTER", 1).await;
        wire.expect(QUESTION).await;
        wire.write(&ANSWER[..ANSWER.len() - 1]).await;
        wire.0.shutdown().await.unwrap();
        wire
    };
    let (reply, _wire) = request(&mut requester, dies).await;
    assert_eq!(reply, Err(RequestError::Lost));
    let good = async { answer(address.welcome("REQ", "ROUTER", 1).await).await };
    assert_eq!(request(&mut requester, good).await.0.unwrap(), "answer");
}

/// What was being written when the connection ended is lost too.
#[tokio::test(start_paused = true)]
async fn a_peer_that_dies_within_a_request() {
    let address = Address::new();
    let mut requester = Requester::open(&address.endpoint, LIMIT);
    let dies = async {
        let mut wire = address.welcome("REQ", "REP", 1).await;
        wire.expect(b"\x01\0\x02").await;
    };
    let large = Bytes::from(vec![1; 10_000_000]);
    let (outcome, ()) = tokio::join!(requester.request(large, MINUTE), dies);
    assert_eq!(outcome, Err(RequestError::Lost));
}

#[tokio::test(start_paused = true)]
async fn what_was_not_asked_for_is_no_reply() {
    let address = Address::new();
    let mut requester = Requester::open(&address.endpoint, LIMIT);
    let mut wire = address.welcome("REQ", "ROUTER", 1).await;
    wire.write(b"\x01\0\0\x05stray\x04\x07\x04PING\0\0").await;
    wire.expect(b"\x04\x05\x04PONG").await;
    let (reply, _wire) = request(&mut requester, answer(wire)).await;
    assert_eq!(reply.unwrap(), "answer");
}

#[tokio::test(start_paused = true)]
async fn pings_are_answered_with_their_context() {
    let address = Address::new();
    let _requester = Requester::open(&address.endpoint, LIMIT);
    for minor in [0, 1] {
        let mut wire = address.welcome("REQ", "REP", minor).await;
        wire.write(b"\x04\x0a\x04PING\0\x64abc").await;
        wire.expect(b"\x04\x08\x04PONGabc").await;
    }
}

/// Whoever reads nothing is owed only so many pongs.
#[tokio::test(start_paused = true)]
async fn pongs_are_not_hoarded() {
    let address = Address::new();
    let _requester = Requester::open(&address.endpoint, LIMIT);
    let mut wire = address.welcome("REQ", "REP", 1).await;
    let pings = b"\x04\x17\x04PING\0\x000123456789abcdef".repeat(100_000);
    // More than the system keeps: the client goes on reading while nobody reads from it.
    wire.write(&pings).await;
    let (mut pongs, mut buffer) = (0, [0; 4096]);
    while let Ok(read) = timeout(Duration::from_secs(1), wire.0.read(&mut buffer)).await {
        pongs += read.unwrap();
    }
    assert!((1..pings.len() / 2).contains(&pongs), "{pongs}");
}

/// RFC 37: a peer that is gone without a word is pinged twice, and left when 30 s are over.
#[tokio::test(start_paused = true)]
async fn a_half_open_connection_is_noticed() {
    let log = Log::start();
    let address = Address::new();
    let requester = Requester::open(&address.endpoint, LIMIT);
    let mut wire = address.welcome("REQ", "REP", 1).await;
    requester.state().wait_for(|state| *state == State::Ready).await.unwrap();
    let began = Instant::now();
    for second in [10, 20] {
        wire.expect(b"\x04\x07\x04PING\0\0").await;
        assert_eq!(began.elapsed().as_secs(), second);
    }
    wire.expect_end().await;
    assert_eq!(began.elapsed().as_secs(), 30);
    assert_eq!(log.count("the peer has gone silent"), 1, "{}", log.all());
    address.welcome("REQ", "REP", 1).await;
    assert!(began.elapsed() < Duration::from_secs(31));
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_answers_pings_is_kept() {
    let address = Address::new();
    let _requester = Requester::open(&address.endpoint, LIMIT);
    let mut wire = address.welcome("REQ", "REP", 1).await;
    for _ in 0..100 {
        wire.expect(b"\x04\x07\x04PING\0\0").await;
        wire.write(b"\x04\x05\x04PONG").await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_speaks_is_not_pinged() {
    let address = Address::new();
    let _requester = Requester::open(&address.endpoint, LIMIT);
    let mut wire = address.welcome("REQ", "REP", 1).await;
    for _ in 0..100 {
        wire.write(b"\x04\x05\x04PONG").await;
        select! {
            read = wire.0.read_u8() => panic!("{read:?}"),
            () = sleep(Duration::from_secs(9)) => {}
        }
    }
    wire.expect(b"\x04\x07\x04PING\0\0").await;
}

/// A subscriber that was not polled for long does not take its own silence for the peer's.
#[tokio::test(start_paused = true)]
async fn whoever_was_away_listens_first() {
    let address = Address::new();
    let mut subscriber = Subscriber::open(&address.endpoint, vec!["t".into()], LIMIT);
    let mut wire = select! {
        unexpected = subscriber.next() => panic!("{unexpected:?}"),
        wire = subscribed(&address, 1) => wire,
    };
    sleep(MINUTE).await;
    select! {
        unexpected = subscriber.next() => panic!("{unexpected:?}"),
        () = wire.expect(b"\x04\x07\x04PING\0\0") => {}
    }
    sleep(MINUTE).await;
    wire.write(b"\0\x02t1").await;
    assert_eq!(subscriber.next().await, [["t1"]]);
}

/// A peer to which a subscriber for the topic `t` has come.
async fn subscribed(address: &Address, minor: u8) -> Wire {
    let mut wire = address.welcome("SUB", "PUB", minor).await;
    let subscription: &[u8] = if minor == 0 { b"\0\x02\x01t" } else { b"\x04\x0b\x09SUBSCRIBEt" };
    wire.expect(subscription).await;
    wire
}

/// ZMTP 3.0, which ZeroMQ 4.0 speaks, knows neither pings nor subscriptions as commands.
#[tokio::test(start_paused = true)]
async fn an_older_peer_is_spoken_to_in_its_own_way() {
    let address = Address::new();
    let mut subscriber = Subscriber::open(&address.endpoint, vec!["t".into()], LIMIT);
    // The second time over, it subscribes again.
    for _ in 0..2 {
        let quiet = async {
            let mut wire = subscribed(&address, 0).await;
            select! {
                read = wire.0.read_u8() => panic!("{read:?}"),
                () = sleep(5 * MINUTE) => wire,
            }
        };
        let mut wire = select! {
            unexpected = subscriber.next() => panic!("{unexpected:?}"),
            wire = quiet => wire,
        };
        wire.write(b"\x01\x01t\0\x02t1\0\x02t2").await;
        let expected = [vec![Bytes::from("t"), "t1".into()], vec!["t2".into()]];
        assert_eq!(subscriber.next().await, expected);
    }
}

/// What was published before the end is delivered before the end is noticed.
#[tokio::test(start_paused = true)]
async fn the_last_words_are_heard() {
    let address = Address::new();
    let mut subscriber = Subscriber::open(&address.endpoint, vec!["t".into()], LIMIT);
    for end in [&b""[..], b"\xf0", b"\0\x09t"] {
        let speaks = async {
            let mut wire = subscribed(&address, 1).await;
            wire.write(&[b"\0\x02t1\0\x02t2", end].concat()).await;
        };
        let (messages, ()) = tokio::join!(subscriber.next(), speaks);
        assert_eq!(messages, [["t1"], ["t2"]]);
    }
}

/// Attempts become rare: 100 ms doubling to 5 s, each pause up to half shorter.
#[tokio::test(start_paused = true)]
async fn a_peer_that_hangs_up_is_tried_ever_less() {
    let log = Log::start();
    let address = Address::new();
    let _requester = Requester::open(&address.endpoint, LIMIT);
    let began = Instant::now();
    let mut attempts = 0;
    while began.elapsed() < 5 * MINUTE {
        address.welcome("REQ", "REP", 1).await;
        attempts += 1;
    }
    assert!((60..140).contains(&attempts), "{attempts}");
    assert_eq!(log.count("WARN"), 1, "{}", log.all());
}

#[tokio::test(start_paused = true)]
async fn nobody_there() {
    let address = Address::new();
    let endpoint = address.endpoint.clone();
    drop(address);
    let log = Log::start();
    let mut requester = Requester::open(&endpoint, LIMIT);
    let began = Instant::now();
    assert_eq!(requester.request("?".into(), MINUTE).await, Err(RequestError::TimedOut));
    assert_eq!(began.elapsed().as_secs(), 60);
    assert_eq!(log.count("No such file"), 1, "{}", log.all());
    assert_eq!(*requester.state().borrow(), State::Down);
}

/// A good connection that ends is news, and is there again soon.
#[tokio::test(start_paused = true)]
async fn after_a_good_time_everything_begins_anew() {
    let log = Log::start();
    let address = Address::new();
    let requester = Requester::open(&address.endpoint, LIMIT);
    for times in 1..=3 {
        let wire = address.welcome("REQ", "REP", 0).await;
        requester.state().wait_for(|state| *state == State::Ready).await.unwrap();
        sleep(MINUTE).await;
        drop(wire);
        let ended = Instant::now();
        let next = address.accept().await;
        assert!(ended.elapsed() <= Duration::from_millis(101), "{:?}", ended.elapsed());
        assert_eq!(log.count("the peer ended the connection"), times, "{}", log.all());
        drop(next);
        requester.state().wait_for(|state| *state == State::Down).await.unwrap();
    }
}

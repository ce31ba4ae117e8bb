//! `slow_consumer`: what becomes of what is published to a client that does not read, in each of
//! the three ways, and that nothing else is lost with it.

use std::thread;

use super::actions::SUBSCRIBE;
use super::answers::TIMED_OUT;
use super::harness::{Answer, Backend, Client, Ekbo, EkboPlan, Frame, Gate, Received};
use super::manners::MORE_THAN_SOCKETS_HOLD;

/// So many messages wait for a client.
const OUTBOX: usize = 10;

/// With messages of this size a few hundred are more than sockets hold.
const SIZE: usize = 64 << 10;

fn plan(backend: &Backend, slow_consumer: &str) -> EkboPlan {
    Ekbo::with(backend)
        .set("slow_consumer", slow_consumer)
        .set("outbox.messages", &OUTBOX.to_string())
        .set("outbox.bytes", "16MiB")
}

/// Alice, who listens to `news`, and for whom the system holds little.
#[track_caller]
fn listener(ekbo: &Ekbo) -> Client {
    let mut alice = Client::connect(ekbo);
    alice.hold_little();
    ekbo.subscribe(["alice"], ["news"]).assert_accepted();
    alice
}

#[track_caller]
fn publish_all(ekbo: &Ekbo, numbers: impl IntoIterator<Item = usize>, delivered: usize) {
    for number in numbers {
        ekbo.publish(["news"], number.to_string()).assert_delivered(delivered);
    }
}

#[track_caller]
fn expect_all(alice: &mut Client, numbers: impl IntoIterator<Item = usize>) {
    for number in numbers {
        alice.expect_text(&number.to_string());
    }
}

/// How many messages alice has lost.
#[track_caller]
fn dropped(ekbo: &Ekbo) -> usize {
    let told = ekbo.get("/sessions/alice");
    let told: serde_json::Value = serde_json::from_str(told.text()).unwrap();
    usize::try_from(told["session"]["dropped"].as_u64().unwrap()).unwrap()
}

/// What does not fit is lost; what came before is whole and in order, and so is what comes after.
#[test]
fn the_newest_is_dropped() {
    let backend = Backend::admitting("alice").start();
    let ekbo = plan(&backend, "drop_newest").start();
    let mut alice = listener(&ekbo);
    alice.stall(&ekbo, "alice");
    publish_all(&ekbo, 0..OUTBOX, 1);
    publish_all(&ekbo, OUTBOX..3 * OUTBOX, 0);
    assert_eq!(dropped(&ekbo), 2 * OUTBOX);
    alice.resume();
    expect_all(&mut alice, 0..OUTBOX);
    publish_all(&ekbo, 100..110, 1);
    expect_all(&mut alice, 100..110);
    assert_eq!(dropped(&ekbo), 2 * OUTBOX);
}

/// The latest are there, in order.
#[test]
fn the_oldest_are_dropped() {
    let backend = Backend::admitting("alice").start();
    let ekbo = plan(&backend, "drop_oldest").start();
    let mut alice = listener(&ekbo);
    alice.stall(&ekbo, "alice");
    publish_all(&ekbo, 0..3 * OUTBOX, 1);
    assert_eq!(dropped(&ekbo), 2 * OUTBOX);
    alice.resume();
    expect_all(&mut alice, 2 * OUTBOX..3 * OUTBOX);
    publish_all(&ekbo, 100..110, 1);
    expect_all(&mut alice, 100..110);
    assert_eq!(dropped(&ekbo), 2 * OUTBOX);
}

/// What `/send` has accepted stays, where it stands, and only what was published makes room; where
/// there is nothing of that the new message is lost.
#[test]
fn what_was_sent_is_not_dropped() {
    let backend = Backend::admitting("alice").start();
    let ekbo = plan(&backend, "drop_oldest").start();
    let mut alice = listener(&ekbo);
    alice.stall(&ekbo, "alice");
    publish_all(&ekbo, 0..2, 1);
    ekbo.send(["alice"], "sent first").assert_accepted();
    publish_all(&ekbo, 2..4, 1);
    ekbo.send(["alice"], "sent then").assert_accepted();
    publish_all(&ekbo, 4..100, 1);
    alice.resume();
    alice.expect_text("sent first");
    alice.expect_text("sent then");
    expect_all(&mut alice, 100 - (OUTBOX - 2)..100);

    alice.stall(&ekbo, "alice");
    for number in 0..OUTBOX {
        ekbo.send(["alice"], number.to_string()).assert_accepted();
    }
    publish_all(&ekbo, 100..200, 0);
    alice.resume();
    expect_all(&mut alice, 0..OUTBOX);
    publish_all(&ekbo, 200..201, 1);
    alice.expect_text("200");
}

/// Nor is the first message, while the session is being established.
#[test]
fn the_first_message_is_not_dropped() {
    let gate = Gate::new();
    let admission = Answer::admit("alice").header(SUBSCRIBE, "news").body("first");
    let backend =
        Backend::plan().on("/connect", admission).on("/establish", Answer::ok().held_by(&gate));
    let backend = backend.start();
    let ekbo = plan(&backend, "drop_oldest").start();
    let mut alice = Client::connect(&ekbo);
    gate.wait_until_reached_by(1);
    publish_all(&ekbo, 0..3 * OUTBOX, 1);
    assert_eq!(dropped(&ekbo), 2 * OUTBOX);
    gate.open();
    alice.expect_text("first");
    expect_all(&mut alice, 2 * OUTBOX..3 * OUTBOX);
}

/// Nor are the answers of a Rocket hub: each question has one, in order, whatever is lost between.
#[test]
fn answers_of_a_hub_are_not_dropped() {
    const QUESTIONS: usize = 5;
    let ekbo = Ekbo::alone()
        .set("slow_consumer", "drop_oldest")
        .set("outbox.messages", &OUTBOX.to_string())
        .set("hubs", "[{path: /chat}]")
        .argument("-log-level=debug")
        .start();
    let mut alice = Client::to(&ekbo).path("/chat").connect();
    for event in
        [r#"{"auth":{"access":"read-only","secret":""}}"#, r#"{"subscribe":{"channel":"news"}}"#]
    {
        alice.send(&Frame::text(event));
        alice.expect_text(r#"{"ok":true}"#);
    }
    let publish = |data: &str| {
        let call = ekbo.request("POST", "/publish").header("X-Kuiperbelt-Hub", "/chat");
        let body = format!(r#"{{"event":"{data}"}}"#);
        call.channels(["news"]).body(body).send().assert_delivered(1);
    };
    publish(&"#".repeat(MORE_THAN_SOCKETS_HOLD));
    alice.wait_for_bytes();
    for number in 0..QUESTIONS {
        let question = format!(r#"{{"subscribe":{{"channel":"{number}"}}}}"#);
        alice.send(&Frame::text(question));
    }
    ekbo.wait_for_log(&format!("Subscribed: {}", QUESTIONS - 1));
    for number in 0..100 {
        publish(&number.to_string());
    }
    let mut answers = 0;
    let mut published = Vec::new();
    while published.last() != Some(&99) {
        match alice.receive() {
            Received::Text(text) if text == r#"{"ok":true}"# => answers += 1,
            Received::Text(text) if text.len() > SIZE => {}
            Received::Text(text) => {
                let told: serde_json::Value = serde_json::from_str(&text).unwrap();
                published.push(told["event"].as_str().unwrap().parse::<usize>().unwrap());
            }
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(answers, QUESTIONS);
    assert!(published.is_sorted() && published.len() < 100, "{published:?}");
}

/// `/send` has room where something that was published can make it, however long the client stalls,
/// and waits only for what was sent before.
#[test]
fn what_is_sent_does_not_wait_for_what_was_published() {
    let backend = Backend::admitting("alice").start();
    let ekbo = plan(&backend, "drop_oldest").set("send_timeout", "300ms").start();
    let mut alice = listener(&ekbo);
    alice.stall(&ekbo, "alice");
    publish_all(&ekbo, 0..OUTBOX, 1);
    let sent: Vec<String> = (0..OUTBOX).map(|number| format!("sent {number}")).collect();
    for (number, text) in sent.iter().enumerate() {
        assert_eq!(dropped(&ekbo), number);
        ekbo.send(["alice"], text).assert_accepted();
    }
    ekbo.send(["alice"], "no room").assert_failed_for([(TIMED_OUT, "alice")]);
    assert_eq!(dropped(&ekbo), OUTBOX);
    alice.resume();
    for text in &sent {
        alice.expect_text(text);
    }
}

/// A client that stops reading, without anything large on its way: what it gets in the end is in
/// order, and all but what is counted.
#[test]
fn order_is_kept_and_losses_are_counted() {
    for rule in ["drop_newest", "drop_oldest"] {
        let backend = Backend::admitting("alice").start();
        let ekbo = plan(&backend, rule).start();
        let mut alice = listener(&ekbo);
        let mut published = 0;
        while dropped(&ekbo) < 2 * OUTBOX {
            publish_large(&ekbo, published);
            published += 1;
            assert!(published < 1_000, "nothing is lost, but nothing is read");
        }
        // It waits for room, which comes when somebody reads, or takes that of a published one.
        let read = thread::scope(|scope| {
            scope.spawn(|| ekbo.send(["alice"], "last").assert_accepted());
            let mut read = Vec::new();
            while let Some(number) = large(alice.receive()) {
                read.push(number);
            }
            read
        });
        assert!(read.is_sorted(), "{rule}: {read:?}");
        assert_eq!(read.len() + dropped(&ekbo), published, "{rule}");
        if rule == "drop_oldest" {
            let beside_the_last = OUTBOX - 1;
            let latest: Vec<usize> = (published - beside_the_last..published).collect();
            assert_eq!(read[read.len() - beside_the_last..], latest);
        }
    }
}

/// By default its session ends: it gets a beginning without gaps, and 1013.
#[test]
fn the_session_is_ended() {
    let backend = Backend::admitting("alice").start();
    let ekbo = plan(&backend, "disconnect").start();
    let mut alice = listener(&ekbo);
    let is_over = |number: &usize| publish_large(&ekbo, *number) == 0;
    let published = (0..1_000).find(is_over).expect("an outbox that is full");
    let mut read = 0;
    loop {
        match alice.receive() {
            Received::Close(close) => {
                assert_eq!(close, Some((1013, "slow consumer".to_owned())));
                break;
            }
            other => assert_eq!(large(other), Some(read)),
        }
        read += 1;
    }
    assert!(read < published, "what waited is lost");
    backend.expect_close("a slow consumer", 1013, 1);
}

/// Publishes a large message with this number, and returns how many are to get it.
#[track_caller]
fn publish_large(ekbo: &Ekbo, number: usize) -> u64 {
    let answer = ekbo.publish(["news"], format!("{number} {}", "#".repeat(SIZE)));
    let told: serde_json::Value = serde_json::from_str(answer.text()).unwrap();
    told["delivered"].as_u64().unwrap()
}

/// The number of a large message; nothing of another text.
#[track_caller]
fn large(received: Received) -> Option<usize> {
    let Received::Text(text) = received else { panic!("{received:?}") };
    let (number, rest) = text.split_once(' ')?;
    assert_eq!(rest.len(), SIZE);
    Some(number.parse().unwrap())
}

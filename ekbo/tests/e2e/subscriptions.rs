//! Channels that the backend has its sessions listen to by the headers of its answers, and what is
//! published on them. Other actions are in `actions.rs`.

use std::sync::{Arc, OnceLock};

use super::actions::{CLOSE, SUBSCRIBE, UNSUBSCRIBE, by_message};
use super::harness::{Answer, Backend, Client, Ekbo, Frame, Listener, Received};

impl Client {
    /// Sends a message and waits until its answer has been obeyed.
    #[track_caller]
    fn tell(&mut self, message: &str) {
        self.send(&Frame::text(message));
        self.expect_text("reply");
    }
}

/// Each of the three answers subscribes and unsubscribes. Every field is one name, commas and all.
#[test]
fn each_answer_subscribes() {
    let backend = Backend::plan()
        .on(
            "/connect",
            Answer::admit("alice")
                .header(SUBSCRIBE, "news")
                .header(SUBSCRIBE, "a, b")
                .header(SUBSCRIBE, "größe"),
        )
        .on("/establish", Answer::ok().header(UNSUBSCRIBE, "news").header(SUBSCRIBE, "weather"));
    let backend = by_message(backend).start();
    let ekbo = Ekbo::with(&backend).set("callback.receive_reply", "true").start();
    let mut alice = Client::connect(&ekbo);
    alice.tell("");
    ekbo.publish(["news"], "none of these").assert_delivered(0);
    ekbo.publish(["a"], "none of these").assert_delivered(0);
    ekbo.publish(["b"], "none of these").assert_delivered(0);
    ekbo.publish(["weather"], "one").assert_delivered(1);
    ekbo.publish(["a, b"], "two").assert_delivered(1);
    ekbo.publish(["größe"], "three").assert_delivered(1);
    for text in ["one", "two", "three"] {
        alice.expect_text(text);
    }
    alice.tell(&format!("{UNSUBSCRIBE}: weather"));
    alice.tell(&format!("{SUBSCRIBE}: news"));
    alice.tell(&format!("{SUBSCRIBE}: news"));
    ekbo.publish(["weather"], "none of these").assert_delivered(0);
    ekbo.publish(["news"], "four").assert_delivered(1);
    alice.expect_text("four");
    ekbo.send(["alice"], "the last").assert_accepted();
    alice.expect_text("the last");
}

/// One answer may name as many channels as a session listens to at most, `channels.per_session`.
#[test]
fn an_answer_subscribes_to_many() {
    const MOST: usize = 1000;
    let many = (0..MOST + 1).fold(Answer::admit("alice"), |answer, number| {
        answer.header(SUBSCRIBE, &format!("channel {number}"))
    });
    let backend = Backend::plan().on("/connect", many).start();
    let ekbo = Ekbo::with(&backend).start();
    let mut alice = Client::connect(&ekbo);
    let refused = ekbo.wait_for_log("cannot do what a callback's answer asks for");
    assert_eq!(refused.fields["reason"], "the session listens to too many channels");
    for (number, delivered) in [(MOST, 0), (MOST - 1, 1), (MOST / 2, 1), (0, 1)] {
        let channel = format!("channel {number}");
        ekbo.publish([&channel], &channel).assert_delivered(delivered);
        if delivered > 0 {
            alice.expect_text(&channel);
        }
    }
}

/// Who is let in misses nothing that is published from then on: not even what is published before
/// its establish callback is answered. The first message comes first.
#[test]
fn published_right_after_the_connect_answer() {
    let listener = Arc::new(OnceLock::<Listener>::new());
    let to_ekbo = listener.clone();
    let backend = Backend::plan()
        .on_request("/connect", |request| {
            let key = request.query().unwrap();
            Answer::admit(key).header(SUBSCRIBE, key).body("first")
        })
        .on_request("/establish", move |request| {
            let key = request.session().unwrap();
            let publish = to_ekbo.get().unwrap().request("POST", "/publish").channels([key]);
            publish.body("during establish").send().assert_delivered(1);
            Answer::ok()
        })
        .start();
    let ekbo = Ekbo::with(&backend).start();
    listener.set(ekbo.listener().clone()).unwrap();
    for number in 0..20 {
        let key = format!("session-{number}");
        let mut client = Client::connect_as(&ekbo, &key);
        ekbo.publish([&key], "after the 101").assert_delivered(1);
        client.expect_text("first");
        let both = [client.receive(), client.receive()];
        for text in ["during establish", "after the 101"] {
            assert!(both.contains(&Received::Text(text.to_owned())), "{both:?}");
        }
    }
}

/// What is subscribed and unsubscribed in one answer is not listened to.
#[test]
fn unsubscribed_after_subscribed() {
    let answer = Answer::admit("alice").header(UNSUBSCRIBE, "news").header(SUBSCRIBE, "news");
    let backend = Backend::plan().on("/connect", answer.header(SUBSCRIBE, "weather")).start();
    let ekbo = Ekbo::with(&backend).start();
    let mut alice = Client::connect(&ekbo);
    ekbo.publish(["news"], "not for her").assert_delivered(0);
    ekbo.publish(["weather"], "for her").assert_delivered(1);
    alice.expect_text("for her");
}

/// A session leaves its channels when it ends, however that is.
#[test]
fn who_has_ended_listens_no_more() {
    let backend = Backend::plan()
        .on_request("/connect", |request| {
            Answer::admit(request.query().unwrap()).header(SUBSCRIBE, "news")
        })
        .on("/receive", Answer::ok().header(CLOSE, "4000"))
        .on("/close", Answer::ok())
        .start();
    let ekbo = Ekbo::with(&backend).start();
    let leaving = Client::connect_as(&ekbo, "leaving");
    let vanishing = Client::connect_as(&ekbo, "vanishing");
    let mut closed = Client::connect_as(&ekbo, "closed");
    let mut staying = Client::connect_as(&ekbo, "staying");
    ekbo.publish(["news"], "to all").assert_delivered(4);
    closed.expect_text("to all");
    staying.expect_text("to all");
    closed.send(&Frame::text("close me"));
    closed.expect_farewell(4000, "");
    drop(leaving);
    vanishing.reset();
    backend.wait_for("/close", 3);
    ekbo.publish(["news"], "to one").assert_delivered(1);
    staying.expect_text("to one");
}

/// Of a session that listens to as many channels as it may, the rest stays as it is; one that it
/// listens to already counts once.
#[test]
fn beyond_the_limit() {
    let names = ["one", "two", "one", "three"];
    let answer =
        names.iter().fold(Answer::admit("alice"), |answer, name| answer.header(SUBSCRIBE, name));
    let backend = Backend::plan().on("/connect", answer).start();
    let ekbo = Ekbo::with(&backend).set("channels.per_session", "2").start();
    let mut alice = Client::connect(&ekbo);
    ekbo.wait_for_undone("alice", SUBSCRIBE, "the session listens to too many channels");
    ekbo.publish(["three"], "not for her").assert_delivered(0);
    ekbo.publish(["one"], "first").assert_delivered(1);
    ekbo.publish(["two"], "second").assert_delivered(1);
    alice.expect_text("first");
    alice.expect_text("second");
}

/// Only a 200 subscribes.
#[test]
fn other_answers_do_not_subscribe() {
    let backend = Backend::admitting("alice").on("/receive", Answer::ok()).start();
    let ekbo = Ekbo::with(&backend).set("callback.receive_reply", "true").start();
    let mut alice = Client::connect(&ekbo);
    for (number, status) in [201, 204, 403, 500].into_iter().enumerate() {
        backend.on("/receive", Answer::status(status).header(SUBSCRIBE, "news"));
        alice.send(&Frame::text("refused"));
        backend.wait_for("/receive", number + 1);
    }
    backend.on("/receive", Answer::ok().header(SUBSCRIBE, "weather").body("subscribed"));
    alice.send(&Frame::text("accepted"));
    alice.expect_text("subscribed");
    ekbo.publish(["news"], "not for her").assert_delivered(0);
    ekbo.publish(["weather"], "for her").assert_delivered(1);
    alice.expect_text("for her");
}

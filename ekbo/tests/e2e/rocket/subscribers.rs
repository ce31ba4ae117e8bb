//! Who gets what is published, in which order, and whom it holds up.

use std::collections::BTreeMap;
use std::thread;

use serde_json::{Value, json};

use super::super::harness::{Client, Received, Rocket, eventually};
use super::{
    ACCESS_DENIED, INVALID_CHANNEL, INVALID_CREDENTIALS, OK, READ, SUBSCRIBE, UNSUBSCRIBE, WRITE,
    auth, broadcast, enter, open, open_hub, publish, publisher, subscriber,
};

/// R19: who publishes and listens gets the broadcast, then `ok`; who only publishes gets `ok`.
#[test]
fn the_publishers_own_copy_comes_first() {
    let rocket = open();
    let mut listening = subscriber(&rocket);
    listening.says(WRITE).hears(OK);
    let mut silent = publisher(&rocket);
    for number in 0..100 {
        listening.says(publish(number)).hears(broadcast(number)).hears(OK);
        silent.says(publish(-number)).hears(OK);
        listening.hears(broadcast(-number));
    }
}

/// RK-4.2-4: whoever subscribes twice gets one copy, and unsubscribes once.
#[test]
fn subscribing_twice_is_subscribing() {
    let rocket = open();
    let mut client = subscriber(&rocket);
    client.says(SUBSCRIBE).hears(OK);
    let mut publisher = publisher(&rocket);
    publisher.says(publish(1)).hears(OK);
    client.hears(broadcast(1)).hears_nothing();
    client.says(UNSUBSCRIBE).hears(OK);
    publisher.says(publish(2)).hears(OK);
    client.hears_nothing();
}

/// R12: subscriptions outlive a logout and a failed login.
#[test]
fn subscriptions_outlive_access() {
    let hubs = json!([{"Path": "/hub", "Secrets": {"ReadOnly": "", "ReadWrite": "secret"}}]);
    let rocket = Rocket::with(&hubs).start();
    let [mut one, mut other] = [subscriber(&rocket), subscriber(&rocket)];
    one.says(r#"{"logout":true}"#).hears(OK);
    other.says(auth("read-write", "wrong")).hears(INVALID_CREDENTIALS);
    let mut publisher = enter(&rocket, "/hub");
    publisher.says(auth("read-write", "secret")).hears(OK);
    publisher.says(publish(1)).hears(OK);
    for client in [&mut one, &mut other] {
        client.hears(broadcast(1));
        client.says(SUBSCRIBE).hears(ACCESS_DENIED);
    }
}

/// R13: a channel outlives its last subscriber, whether it unsubscribes or leaves.
#[test]
fn channels_stay() {
    let rocket = open();
    let mut publisher = publisher(&rocket);
    publisher.says(publish(1)).hears(INVALID_CHANNEL);
    let mut client = subscriber(&rocket);
    client.says(UNSUBSCRIBE).hears(OK);
    publisher.says(publish(2)).hears(OK);
    client.says(SUBSCRIBE).hears(OK);
    client.says(r#"{"disconnect":true}"#).hears(OK).expect_farewell(1000, "");
    rocket.wait_for_line(Rocket::stderr, " Disconnected");
    publisher.says(publish(3)).hears(OK);
}

/// RK-1: hubs share neither channels nor logins nor secrets.
#[test]
fn hubs_are_worlds_apart() {
    let rocket = Rocket::with(&json!([
        {"Path": "/hub", "Secrets": {"ReadWrite": "one"}},
        {"Path": "/other", "Secrets": {"ReadWrite": "two"}},
    ]));
    let rocket = rocket.start();
    let mut reader = subscriber(&rocket);
    let mut here = enter(&rocket, "/hub");
    let mut there = enter(&rocket, "/other");
    here.says(auth("read-write", "two")).hears(INVALID_CREDENTIALS);
    there.says(auth("read-write", "two")).hears(OK);
    there.says(publish(1)).hears(INVALID_CHANNEL);
    there.says(SUBSCRIBE).hears(OK);
    there.says(publish(2)).hears(broadcast(2)).hears(OK);
    reader.hears_nothing();
    here.says(auth("read-write", "one")).hears(OK);
    here.says(publish(3)).hears(OK);
    reader.hears(broadcast(3));
    there.hears_nothing();
}

/// Section 4.5: a thousand subscribers get what two publishers say, all in one order.
#[test]
fn everybody_gets_one_order() {
    const EACH: usize = 50;
    let rocket = open();
    let mut clients: Vec<Client> = (0..1_000).map(|_| subscriber(&rocket)).collect();
    thread::scope(|scope| {
        for name in ["a", "b"] {
            let mut publisher = publisher(&rocket);
            scope.spawn(move || {
                for number in 0..EACH {
                    publisher.says(publish(json!([name, number]))).hears(OK);
                }
            });
        }
    });
    let heard = |client: &mut Client| -> Vec<String> {
        (0..2 * EACH).map(|_| client.next_text()).collect()
    };
    let order = heard(&mut clients[0]);
    for name in ["a", "b"] {
        let of_one = order.iter().filter(|text| text.contains(&format!("[\"{name}\",")));
        let expected = (0..EACH).map(|number| broadcast(json!([name, number])));
        assert!(of_one.cloned().eq(expected), "{order:?}");
    }
    for client in &mut clients[1..] {
        assert_eq!(heard(client), order);
    }
    for client in &mut clients {
        client.hears_nothing();
    }
}

/// R1: a subscriber that is lost is forgotten, and nobody else notices.
#[test]
fn a_lost_subscriber_is_forgotten() {
    let rocket = open();
    let mut publisher = publisher(&rocket);
    let mut staying = subscriber(&rocket);
    let files = rocket.open_files();
    for number in 0..10 {
        let leaving = subscriber(&rocket);
        match number % 2 {
            0 => leaving.reset(),
            _ => drop(leaving),
        }
        publisher.says(publish(number)).hears(OK);
        staying.hears(broadcast(number));
    }
    eventually("their sockets are closed", || rocket.open_files() == files);
    let gone = |log: &str| log.matches(" Disconnected\n").count();
    eventually("they are told", || gone(&rocket.stderr()) == 10);
    publisher.says(publish("x")).hears(OK);
    staying.hears(broadcast("x"));
}

/// R3: a subscriber that does not read holds up nobody, and is disconnected with 1013. It listens
/// to a channel more than the others, which fills its outbox while they get little.
#[test]
fn a_subscriber_that_does_not_read() {
    const ROUNDS: usize = 50;
    let rocket = open();
    let flood = |number: usize| {
        let data = format!("{number}{}", "#".repeat(128 << 10));
        json!({"channel": "flood", "data": data, "event": "e"}).to_string()
    };
    let mut lazy = subscriber(&rocket);
    lazy.hold_little();
    lazy.says(r#"{"subscribe":{"channel":"flood"}}"#).hears(OK);
    let mut others: Vec<Client> = (0..100).map(|_| subscriber(&rocket)).collect();
    let mut publisher = publisher(&rocket);
    for number in 0..ROUNDS {
        publisher.says(format!(r#"{{"publish":{}}}"#, flood(number))).hears(OK);
        publisher.says(publish(number)).hears(OK);
        for other in &mut others {
            other.hears(broadcast(number));
        }
    }

    // What was written before its outbox was full, in order; then the reason.
    let mut expected = (0..ROUNDS).flat_map(|number| [flood(number), broadcast(number)]);
    let farewell = loop {
        match lazy.receive() {
            Received::Text(text) => assert!(expected.next() == Some(text.clone()), "{text:.60}"),
            other => break other,
        }
    };
    assert_eq!(farewell, Received::Close(Some((1013, "slow consumer".to_owned()))));
    assert!(expected.count() > 0, "the sockets have held all of it");
}

/// R2: many connections subscribe, unsubscribe and publish on a few channels at once: each gets
/// its answers in order, its own copy before `ok` while it listens, and what another publishes in
/// that one's order.
#[test]
fn many_at_once() {
    let rocket = open();
    thread::scope(|scope| {
        for name in 0..20 {
            let rocket = &rocket;
            scope.spawn(move || Participant::enter(rocket, name).take_part());
        }
    });
}

/// One of many, with what it last heard of each other one on each channel.
struct Participant {
    client: Client,
    name: u64,
    heard: BTreeMap<(u64, String), u64>,
}

impl Participant {
    fn enter(rocket: &Rocket, name: u64) -> Self {
        Self { client: publisher(rocket), name, heard: BTreeMap::new() }
    }

    fn take_part(mut self) {
        for round in 1..=100 {
            let channel = format!("channel {}", (round + self.name) % 5);
            let message = json!({"channel": channel, "event": self.name, "data": round});
            self.asks(&json!({"subscribe": {"channel": channel}}));
            assert_eq!(self.asks(&json!({ "publish": message })), 1, "own copies");
            if round % 3 == 0 {
                self.asks(&json!({"unsubscribe": {"channel": channel}}));
                assert_eq!(self.asks(&json!({ "publish": message })), 0, "own copies");
            }
        }
    }

    /// Says it and listens until it is answered; how many of its own messages came before that.
    fn asks(&mut self, event: &Value) -> usize {
        self.client.says(event.to_string());
        let mut own = 0;
        loop {
            let told: Value = serde_json::from_str(&self.client.next_text()).unwrap();
            if told == json!({"ok": true}) {
                return own;
            }
            let (name, round) = (told["event"].as_u64().unwrap(), told["data"].as_u64().unwrap());
            let channel = told["channel"].as_str().unwrap().to_owned();
            let last = self.heard.insert((name, channel), round).unwrap_or_default();
            assert!(last < round || (last == round && round % 3 == 0), "{last}, then {told}");
            own += usize::from(name == self.name);
        }
    }
}

/// RK-4.2-4: two on one channel: that one unsubscribes does not concern the other.
#[test]
fn one_unsubscribes_the_other_does_not() {
    let rocket = Rocket::with(&json!([open_hub("/hub")])).start();
    let [mut one, mut other] = [subscriber(&rocket), subscriber(&rocket)];
    one.says(UNSUBSCRIBE).hears(OK);
    one.says(READ).hears(OK);
    publisher(&rocket).says(publish(1)).hears(OK);
    other.hears(broadcast(1));
    one.hears_nothing();
}

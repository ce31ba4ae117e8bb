//! Rocket hubs of `config.yml`: beside the gateway on one listener, and reached by `/publish`. What
//! their clients say and hear is in `rocket.rs`.

use serde_json::json;

use super::harness::{Backend, Client, Ekbo, EkboPlan, Frame, Response};
use super::manners::MORE_THAN_SOCKETS_HOLD;

const HUBS: &str = "[{path: /chat, secrets: {read_write: secret}, allowed_origins: [\"http://a\"]}, \
                    {path: /packed, codec: msgpack, max_message_size: 100}]";

fn with_hubs(plan: EkboPlan) -> Ekbo {
    plan.set("hubs", HUBS).start()
}

/// Enters `/chat` and listens to `news`.
#[track_caller]
fn listener(ekbo: &Ekbo) -> Client {
    listener_at(ekbo, "/chat")
}

#[track_caller]
fn listener_at(ekbo: &Ekbo, path: &str) -> Client {
    let mut client = Client::to(ekbo).path(path).connect();
    for event in
        [r#"{"auth":{"access":"read-only","secret":""}}"#, r#"{"subscribe":{"channel":"news"}}"#]
    {
        client.send(&Frame::text(event));
        client.expect_text(r#"{"ok":true}"#);
    }
    client
}

/// The same on `/packed`, in MessagePack.
#[track_caller]
fn packed_listener(ekbo: &Ekbo) -> Client {
    let mut client = Client::to(ekbo).path("/packed").connect();
    for event in [
        &b"\x81\xa4auth\x82\xa6access\xa9read-only\xa6secret\xa0"[..],
        b"\x81\xa9subscribe\x81\xa7channel\xa4news",
    ] {
        client.send(&Frame::binary(event));
        client.expect_binary(b"\x81\xa2ok\xc3");
    }
    client
}

fn publish(ekbo: &Ekbo, hub: &str, channels: &[&str], body: &str) -> Response {
    let mut request = ekbo.request("POST", "/publish").header("X-Kuiperbelt-Hub", hub);
    for channel in channels {
        request = request.header("X-Kuiperbelt-Channel", channel);
    }
    request.body(body).send()
}

/// Surface, section 5: a hub and the gateway share nothing but the listener.
#[test]
fn hubs_stand_beside_the_gateway() {
    let backend = Backend::admitting("alice").start();
    let ekbo = with_hubs(Ekbo::with(&backend));
    let mut alice = Client::connect(&ekbo);
    let mut listener = listener(&ekbo);
    ekbo.send(["alice"], "to alice").assert_accepted();
    alice.expect_text("to alice");
    // Channels of the gateway are others, and a broadcast is for the gateway's sessions.
    ekbo.publish(["news"], "x").assert_delivered(0);
    ekbo.broadcast("to all").assert_delivered(1);
    alice.expect_text("to all");
    publish(&ekbo, "/chat", &["news"], r#"{"event":"e"}"#).assert_delivered(1);
    listener.expect_text(r#"{"channel":"news","event":"e"}"#);
    assert_eq!(backend.requests("/connect").len(), 1, "hubs ask nobody");
}

/// What the configuration says of a hub: secrets, Origins, the notation, limits.
#[test]
fn each_hub_has_its_own_rules() {
    let ekbo = with_hubs(Ekbo::alone());
    let mut client = Client::to(&ekbo).path("/chat").origin("http://a").connect();
    client.send(&Frame::text(r#"{"auth":{"access":"read-write","secret":""}}"#));
    client.expect_text(r#"{"err":"invalid_credentials"}"#);
    client.send(&Frame::text(r#"{"auth":{"access":"read-write","secret":"secret"}}"#));
    client.expect_text(r#"{"ok":true}"#);
    let refused = Client::to(&ekbo).path("/chat").origin("http://b").refused();
    assert_eq!(refused.status, 403);
    let mut packed = Client::to(&ekbo).path("/packed").origin("http://b").connect();
    packed.send(&Frame::binary(vec![0; 101]));
    packed.expect_close_code(1009);
}

/// Surface, section 4: JSON from the backend reaches whoever listens, in the notation of the hub,
/// with its digits, and with the channel that it was published on.
#[test]
fn the_backend_publishes_in_hubs() {
    let ekbo = with_hubs(Ekbo::alone());
    let (mut text, mut packed) = (listener(&ekbo), packed_listener(&ekbo));
    let body = r#"{ "data": [1.0, 9007199254740993], "event": "e", "channel": "forged" }"#;
    publish(&ekbo, "/chat", &["news"], body).assert_delivered(1);
    text.expect_text(r#"{"channel":"news","data":[1.0,9007199254740993],"event":"e"}"#);
    publish(&ekbo, "/packed", &["news"], r#"{"event":"e","data":[1.5,-1]}"#).assert_delivered(1);
    packed.expect_binary(
        b"\x83\xa7channel\xa4news\xa4data\x92\xcb\x3f\xf8\0\0\0\0\0\0\xff\xa5event\xa1e",
    );
}

/// RK-1: channels of the same name on two hubs are two.
#[test]
fn the_same_name_on_two_hubs() {
    let ekbo = Ekbo::alone().set("hubs", "[{path: /one}, {path: /other}]").start();
    let mut one = listener_at(&ekbo, "/one");
    let mut other = listener_at(&ekbo, "/other");
    publish(&ekbo, "/one", &["news"], r#"{"event":1}"#).assert_delivered(1);
    publish(&ekbo, "/other", &["news"], r#"{"event":2}"#).assert_delivered(1);
    one.expect_text(r#"{"channel":"news","event":1}"#);
    other.expect_text(r#"{"channel":"news","event":2}"#);
}

/// A path that ends in / is that of a hub with everything below it; it is one hub.
#[test]
fn a_hub_with_a_subtree() {
    let ekbo = Ekbo::alone().set("hubs", "[{path: /rooms/}, {path: /rooms/own}]").start();
    let mut members = ["/rooms/", "/rooms/a", "/rooms/a/b"].map(|path| listener_at(&ekbo, path));
    let mut own = listener_at(&ekbo, "/rooms/own");
    publish(&ekbo, "/rooms/", &["news"], r#"{"event":"all"}"#).assert_delivered(3);
    publish(&ekbo, "/rooms/own", &["news"], r#"{"event":"own"}"#).assert_delivered(1);
    for member in &mut members {
        member.expect_text(r#"{"channel":"news","event":"all"}"#);
    }
    own.expect_text(r#"{"channel":"news","event":"own"}"#);
    publish(&ekbo, "/rooms/a", &["news"], r#"{"event":1}"#)
        .assert_refused(400, "kuiperbelt: hub is not found");
    assert_eq!(Client::to(&ekbo).path("/roomsful").refused().status, 404);
}

/// Over TLS hubs are the same, up to the end.
#[test]
fn hubs_over_tls() {
    let ekbo = with_hubs(Ekbo::alone().over_tls());
    let (mut text, mut packed) = (listener(&ekbo), packed_listener(&ekbo));
    publish(&ekbo, "/chat", &["news"], r#"{"event":"e"}"#).assert_delivered(1);
    text.expect_text(r#"{"channel":"news","event":"e"}"#);
    publish(&ekbo, "/packed", &["news"], r#"{"event":"e"}"#).assert_delivered(1);
    packed.expect_binary(b"\x82\xa7channel\xa4news\xa5event\xa1e");
    text.send(&Frame::text(r#"{"disconnect":true}"#));
    text.expect_text(r#"{"ok":true}"#);
    text.expect_farewell(1000, "");
}

/// RK-4.7: what is configured of ends, Origins and queues of the gateway's sessions is not about
/// hubs; what slow clients meet is.
#[test]
fn what_hubs_obey() {
    let ekbo = Ekbo::alone()
        .set("hubs", "[{path: /chat}]")
        .set("close_frame", "false")
        .set("origin_policy", "same_origin")
        .set("duplicate_session", "replace")
        .set("send_queue_size", "0")
        .set("outbox.messages", "1")
        .start();
    assert_eq!(Client::to(&ekbo).origin("http://elsewhere").refused().status, 403);
    let mut welcome = Client::to(&ekbo).path("/chat").origin("http://elsewhere").connect();
    welcome.send(&Frame::text(r#"{"disconnect":true}"#));
    welcome.expect_text(r#"{"ok":true}"#);
    welcome.expect_farewell(1000, "");

    let mut slow = listener(&ekbo);
    let mut quick = listener(&ekbo);
    let large = format!(r#"{{"event":"{}"}}"#, "#".repeat(MORE_THAN_SOCKETS_HOLD));
    publish(&ekbo, "/chat", &["news"], &large).assert_delivered(2);
    quick.receive();
    slow.wait_for_bytes();
    for (number, delivered) in [(1, 2), (2, 1)] {
        let body = format!(r#"{{"event":{number}}}"#);
        publish(&ekbo, "/chat", &["news"], &body).assert_delivered(delivered);
        quick.expect_text(&format!(r#"{{"channel":"news","event":{number}}}"#));
    }
    slow.receive();
    slow.expect_close(1013, "slow consumer");
}

/// RK-LOG: what is told of a hub by default is who comes, goes and logs in, not each message.
#[test]
fn what_is_told() {
    for (level, is_told) in [("info", false), ("debug", true)] {
        let ekbo = Ekbo::alone()
            .set("hubs", "[{path: /chat}]")
            .argument(&format!("-log-level={level}"))
            .start();
        let mut client = listener(&ekbo);
        let address = client.writer().as_tcp().unwrap().local_addr().unwrap().to_string();
        publish(&ekbo, "/chat", &["news"], r#"{"event":"e"}"#).assert_delivered(1);
        client.reset();
        let last = ekbo.wait_for_log("Disconnected");
        assert_eq!((&last.fields["hub"], &last.fields["peer"]), (&json!("/chat"), &json!(address)));
        let told: Vec<_> =
            ekbo.log().into_iter().filter(|line| line.fields["hub"] == "/chat").collect();
        let messages: Vec<_> = told.iter().map(|line| &*line.message).collect();
        let mut expected = vec!["Connected", "Authenticated (read-only access)"];
        if is_told {
            expected.extend(["Subscribed: news", "[=> news] Broadcasted"]);
        }
        expected.push("Disconnected");
        assert_eq!(messages, expected);
    }
}

/// Bad input: what cannot be published reaches nobody, and the answer says why.
#[test]
fn what_cannot_be_published_in_a_hub() {
    let ekbo = with_hubs(Ekbo::alone());
    let mut listener = listener(&ekbo);
    publish(&ekbo, "/nowhere", &["news"], r#"{"event":"e"}"#)
        .assert_refused(400, "kuiperbelt: hub is not found");
    for body in ["", "null", "[]", "{}", r#"{"data":1}"#, r#"{"event":"e""#, r#"{"event":"e"} x"#] {
        let answer = publish(&ekbo, "/chat", &["news"], body);
        assert_eq!(answer.status, 400, "{body}: {}", answer.text());
    }
    let answer = publish(&ekbo, "/chat", &["nobody's", "news"], r#"{"event":"last"}"#);
    let failure = r#"{"error":"kuiperbelt: channel is not found","channel":"nobody's"}"#;
    let body = format!("{{\"errors\":[{failure}],\"result\":\"OK\",\"delivered\":1}}\n");
    assert_eq!((answer.status, answer.text()), (200, &*body));
    listener.expect_text(r#"{"channel":"news","event":"last"}"#);
}

/// A large body goes to few channels of a hub, as each gets a message of its own; to one it goes
/// whatever its size.
#[test]
fn too_many_channels_for_a_body() {
    let ekbo = with_hubs(Ekbo::alone());
    let mut listener = listener(&ekbo);
    let body = format!(r#"{{"event":"{}"}}"#, "x".repeat(9 << 20));
    let answer = publish(&ekbo, "/chat", &["news", "other"], &body);
    answer.assert_refused(400, "too many channels for a body of this size");
    let answer = publish(&ekbo, "/chat", &["other", "other"], &body);
    let failure = r#"{"error":"kuiperbelt: channel is not found","channel":"other"}"#;
    let expected = format!("{{\"errors\":[{failure}],\"result\":\"OK\",\"delivered\":0}}\n");
    assert_eq!((answer.status, answer.text()), (200, &*expected));
    publish(&ekbo, "/chat", &["news"], r#"{"event":"end"}"#).assert_delivered(1);
    listener.expect_text(r#"{"channel":"news","event":"end"}"#);
}

/// A hub's path is nobody else's.
#[test]
fn a_path_that_is_taken_stops_the_start() {
    let plan = Ekbo::alone().set("hubs", "[{path: /send}]");
    let complaint = plan.fails_to_start(1);
    assert!(complaint.contains("path.send"), "{complaint}");
}

/// The stop tells the clients of hubs as well.
#[test]
fn a_stop_ends_hubs_too() {
    let mut ekbo = with_hubs(Ekbo::alone());
    let mut listener = listener(&ekbo);
    ekbo.signal(super::harness::Signal::Term);
    listener.expect_close(1001, "going away");
    assert_eq!(ekbo.wait_exit().code(), Some(0));
}

//! The close callback: what it carries, when it is made again and when not. Which ends of a
//! session it tells of is in `session_end.rs`.

use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use super::answers::NOT_FOUND;
use super::harness::{
    Answer, Backend, Client, Ekbo, Frame, Gate, PATIENCE, Received, Request, Stopwatch, let_pass,
};

impl Request {
    /// The code that a close callback tells.
    #[track_caller]
    pub(crate) fn close_code(&self) -> Option<u16> {
        let code = self.header("X-Kuiperbelt-Close-Code")?;
        Some(code.parse().unwrap_or_else(|_| panic!("code: {code}")))
    }

    /// The reason that it tells, which must be percent-encoded; an absent one is empty.
    #[track_caller]
    pub(crate) fn close_reason(&self) -> String {
        let encoded = self.header("X-Kuiperbelt-Close-Reason").unwrap_or_default();
        let mut bytes = encoded.bytes();
        let mut reason = Vec::new();
        while let Some(byte) = bytes.next() {
            if byte == b'%' {
                let digits = [bytes.next().unwrap(), bytes.next().unwrap()];
                let digits = str::from_utf8(&digits).unwrap();
                reason.push(u8::from_str_radix(digits, 16).unwrap());
            } else {
                assert!(byte.is_ascii_graphic(), "not encoded: {encoded}");
                reason.push(byte);
            }
        }
        String::from_utf8(reason).unwrap()
    }
}

impl Backend {
    /// The keys of the sessions whose end it has been told, sorted, once there are `count`.
    #[track_caller]
    pub(crate) fn ended_keys(&self, count: usize) -> Vec<String> {
        let told = self.wait_for("/close", count);
        assert_eq!(told.len(), count, "{told:?}");
        let keys = told.iter().map(|request| request.session().unwrap());
        let mut keys: Vec<String> = keys.map(str::to_owned).collect();
        keys.sort();
        keys
    }

    /// Checks that it has been told of `count` ends so far, by another end that follows.
    #[track_caller]
    pub(crate) fn assert_told_of(&self, ekbo: &Ekbo, count: usize) {
        let mut marker = Client::connect_as(ekbo, "marker");
        marker.send(&Frame::close(4321, ""));
        while !matches!(marker.receive(), Received::Close(_)) {}
        self.wait_for("/close", count + 1);
        ekbo.wait_for_stats("no close callback in flight", |stats| stats.closing_connections == 0);
        let told = self.requests("/close");
        assert_eq!(told.len(), count + 1, "{told:?}");
        assert_eq!(told[count].close_code(), Some(4321));
    }
}
/// 8.1, D8, Q17: the close callback is a POST without a body, with the session, the endpoint
/// and what `proxy_set_header` says; `closing_connections` counts it while it runs, and the key
/// is gone by then.
#[test]
fn the_close_callback() {
    let gate = Gate::new();
    let backend = Backend::admitting("alice").on("/close", Answer::ok().held_by(&gate)).start();
    let ekbo = Ekbo::with(&backend)
        .set("endpoint", "gateway:80")
        .set("proxy_set_header", "{X-Foo: Foo, X-Kuiperbelt-Session: ''}")
        .set("callback.close", &format!("{}?a=b", backend.url("/close")))
        .start();
    Client::connect(&ekbo).leave(1000);
    let told = backend.wait_for_first("/close");
    assert_eq!(told.method, "POST");
    assert_eq!(told.query(), Some("a=b"));
    assert_eq!(told.header("Content-Length"), Some("0"));
    assert_eq!(told.text(), "");
    assert_eq!(told.session(), Some("alice"));
    assert_eq!(told.header("X-Kuiperbelt-Endpoint"), Some("gateway:80"));
    assert_eq!(told.header("X-Foo"), Some("Foo"));
    assert_eq!(ekbo.stats().closing_connections, 1);
    ekbo.send(["alice"], "anybody?").assert_failed_for([(NOT_FOUND, "alice")]);
    assert!(!ekbo.log_contains("success close callback."));
    gate.open();
    ekbo.wait_for_log("success close callback.");
    ekbo.wait_for_stats("no close callback", |stats| stats.closing_connections == 0);
}

/// D17, 8.1: a close callback that fails is made again until it is answered, after a first wait
/// between half the base and the base; the header fields are the same each time.
#[test]
fn a_failed_close_callback_is_made_again() {
    let failures = [
        Answer::status(500),
        Answer::status(400),
        Answer::hang_up(),
        Answer::raw("this is not HTTP\r\n\r\n"),
        Answer::ok().header("Content-Length", "10").body("half").then_hang_up(),
    ];
    for failure in failures {
        let told = format!("{failure:?}");
        let backend = Backend::admitting("alice").on("/close", failure).start();
        let ekbo = Ekbo::with(&backend).set("callback.retry.base", "1s").start();
        Client::connect(&ekbo).leave(4000);
        backend.wait_for_first("/close");
        let since_first = Stopwatch::start();
        backend.on("/close", Answer::ok());
        let attempts = backend.wait_for("/close", 2);
        let waited = since_first.elapsed();
        assert!(waited >= Duration::from_millis(400), "{told}: {waited:?}");
        assert!(waited < Duration::from_millis(2500), "{told}: {waited:?}");
        let [first, second] = attempts.as_slice() else {
            panic!("{told}: {attempts:?}");
        };
        assert_eq!(first.session(), second.session(), "{told}");
        assert_eq!(second.close_code(), Some(4000), "{told}");
        ekbo.wait_for_log("success close callback.");
        backend.assert_told_of(&ekbo, 2);
    }
}

/// D17: 2xx, 404 and 410 are answers, after which it is not made again.
#[test]
fn an_answered_close_callback_is_not_made_again() {
    for status in [200, 201, 204, 404, 410] {
        let backend = Backend::admitting("alice").on("/close", Answer::status(status)).start();
        let ekbo = Ekbo::with(&backend).set("callback.retry.base", "100ms").start();
        Client::connect(&ekbo).leave(1000);
        backend.wait_for_first("/close");
        ekbo.wait_for_stats("no close callback", |stats| stats.closing_connections == 0);
        // The longest wait before a second attempt.
        let_pass(Duration::from_millis(200));
        assert_eq!(backend.requests("/close").len(), 1, "{status}");
    }
}

/// D17: the waits grow to `callback.retry.max` and no further.
#[test]
fn the_waits_between_attempts_are_bounded() {
    let backend = Backend::admitting("alice").on("/close", Answer::status(503)).start();
    let ekbo = Ekbo::with(&backend)
        .set("callback.retry.base", "20ms")
        .set("callback.retry.max", "100ms")
        .start();
    Client::connect(&ekbo).leave(1000);
    let since_close = Stopwatch::start();
    backend.wait_for("/close", 20);
    let waited = since_close.elapsed();
    assert!(waited < PATIENCE / 2, "{waited:?}");
    backend.on("/close", Answer::ok());
    ekbo.wait_for_log("success close callback.");
}

/// D17: attempts end when the session's end is older than `callback.retry.age`.
#[test]
fn a_close_callback_grows_too_old() {
    let failures = AtomicUsize::new(3);
    let backend = Backend::admitting_by_query()
        .on_request("/close", move |request| {
            let is_left = |left: usize| left.checked_sub(1);
            let fails = request.session() == Some("alice")
                || failures.fetch_update(Relaxed, Relaxed, is_left).is_ok();
            Answer::status(if fails { 500 } else { 200 })
        })
        .start();
    let ekbo = Ekbo::with(&backend)
        .set("callback.retry.base", "100ms")
        .set("callback.retry.max", "100ms")
        .set("callback.retry.age", "500ms")
        .start();
    let attempts = || {
        let told = backend.requests("/close").into_iter();
        told.filter(|request| request.session() == Some("alice")).count()
    };
    Client::connect_as(&ekbo, "alice").leave(1000);
    backend.wait_for("/close", 3);
    let_pass(Duration::from_millis(700));
    let before = attempts();
    // While three attempts of this one fail, there would be another for the first.
    Client::connect_as(&ekbo, "bob").leave(1000);
    ekbo.wait_for_log("success close callback.");
    assert_eq!(attempts(), before);
}

/// D14, D17: an attempt is given up after `callback.timeout`, over head and body, and made again.
#[test]
fn a_close_callback_that_is_not_answered() {
    let never = Gate::new();
    let silences = [
        Answer::ok().held_by(&never),
        Answer::ok().body("half").then_wait_for(&never).body("rest"),
    ];
    for silence in silences {
        let backend = Backend::admitting("alice").on("/close", silence).start();
        let ekbo = Ekbo::with(&backend)
            .set("callback.timeout", "500ms")
            .set("callback.retry.base", "100ms")
            .start();
        Client::connect(&ekbo).leave(1000);
        backend.wait_for_first("/close");
        backend.on("/close", Answer::ok());
        backend.wait_for("/close", 2);
        ekbo.wait_for_log("success close callback.");
    }
}

/// D7, 8.1: every session has exactly one close callback, whatever happens at its end together.
#[test]
fn one_close_callback_each() {
    let backend = Backend::admitting_by_query().start();
    let ekbo = Ekbo::with(&backend).start();
    let mut keys: Vec<String> = (0..50).map(|number| format!("key-{number}")).collect();
    for (number, key) in keys.iter().enumerate() {
        let mut client = Client::connect_as(&ekbo, key);
        match number % 5 {
            0 => client.send(&Frame::close(1000, "")),
            1 => client.reset(),
            2 => drop(client),
            3 => {
                client.send(&Frame::close(1000, ""));
                client.reset();
            }
            _ => {
                let mut both = Frame::new(7, "unknown").to_bytes();
                both.extend(Frame::close(1000, "").to_bytes());
                client.write(both);
            }
        }
    }
    keys.sort();
    assert_eq!(backend.ended_keys(50), keys);
    ekbo.wait_for_stats("no connections", |stats| {
        stats.connections == 0 && stats.closing_connections == 0
    });
    assert_eq!(backend.requests("/close").len(), 50);
}

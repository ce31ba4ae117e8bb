//! What the backend has done with a session by the headers of its answers: state, close, and what
//! is not obeyed. Channels are in `subscriptions.rs`, the bodies of answers in `receive_reply.rs`.

use super::harness::{
    Answer, Backend, BackendPlan, Client, Ekbo, Frame, Gate, LogLine, Request, eventually_some,
};

pub(crate) const SUBSCRIBE: &str = "X-Kuiperbelt-Subscribe";
pub(crate) const UNSUBSCRIBE: &str = "X-Kuiperbelt-Unsubscribe";
pub(crate) const STATE: &str = "X-Kuiperbelt-State";
pub(crate) const CLOSE: &str = "X-Kuiperbelt-Close";

impl Ekbo {
    /// Waits for the line that says what of an answer could not be done.
    #[track_caller]
    pub(crate) fn wait_for_undone(&self, session: &str, header: &str, reason: &str) {
        eventually_some(&format!("{header} of {session} undone: {reason}"), || {
            self.log().into_iter().find(|line| {
                line.fields["session"] == session
                    && line.fields["header"] == header.to_lowercase()
                    && line.fields["reason"].as_str().unwrap_or_default().contains(reason)
            })
        });
    }

    /// The lines that say what of an answer could not be done, up to the end of the first session.
    #[track_caller]
    pub(crate) fn undone(&self) -> Vec<LogLine> {
        self.wait_for_log("connection is closed");
        let is_undone = |line: &LogLine| line.fields["header"].is_string();
        self.log().into_iter().filter(is_undone).collect()
    }
}

/// The state is sent with every later callback, until another answer changes or clears it, and with
/// the close callback each time that is made.
#[test]
fn a_state_through_the_life_of_a_session() {
    let backend = Backend::plan()
        .on("/connect", Answer::admit("alice").header(STATE, "of connect"))
        .on("/establish", Answer::ok().header(STATE, "of, establish; größer"))
        .on_request("/receive", |request| match request.text() {
            "clear" => Answer::ok().header(STATE, ""),
            "keep" => Answer::ok(),
            other => Answer::ok().header(STATE, other),
        })
        .on("/close", Answer::status(500))
        .start();
    let ekbo = Ekbo::with(&backend).set("callback.retry.base", "50ms").start();
    let mut alice = Client::connect(&ekbo);
    for message in ["keep", "one", "keep", "clear", "clear", "two"] {
        alice.send(&Frame::text(message));
    }
    backend.wait_for("/receive", 6);
    alice.leave(1000);
    backend.wait_for("/close", 2);
    backend.on("/close", Answer::ok());
    ekbo.wait_for_log("success close callback.");

    let state = |request: &Request| request.header(STATE).map(str::to_owned);
    let states = |path: &str| backend.requests(path).iter().map(state).collect::<Vec<_>>();
    let is = |state: &str| Some(state.to_owned());
    assert_eq!(states("/connect"), [None]);
    assert_eq!(states("/establish"), [is("of connect")]);
    let established = || is("of, establish; größer");
    let received = [established(), established(), is("one"), is("one"), None, None];
    assert_eq!(states("/receive"), received);
    let told = states("/close");
    assert!(told.len() >= 2 && told.iter().all(|state| *state == is("two")), "{told:?}");
    assert_eq!(ekbo.undone().len(), 0);
}

/// Up to 4 KiB; of what is longer nothing is taken, and the state stays as it was.
#[test]
fn a_state_has_a_limit() {
    let backend = by_message(Backend::admitting("alice")).start();
    let ekbo = Ekbo::with(&backend).start();
    let mut alice = Client::connect(&ekbo);
    let longest = "x".repeat(4096);
    alice.send(&Frame::text(format!("{STATE}: {longest}")));
    alice.send(&Frame::text(format!("{STATE}: {longest}y")));
    alice.send(&Frame::text(""));
    let requests = backend.wait_for("/receive", 3);
    assert_eq!(requests[1].header(STATE), Some(&*longest));
    assert_eq!(requests[2].header(STATE), Some(&*longest));
    ekbo.wait_for_undone("alice", STATE, "at most 4096 bytes");
    alice.leave(1000);
    assert_eq!(ekbo.undone().len(), 1);
}

/// D15: none of the headers by which the gateway and its backend speak passes from a client,
/// however it is spelled, and none becomes the session's state.
#[test]
fn a_client_cannot_forge_an_action() {
    let backend = Backend::admitting("alice").on("/receive", Answer::ok()).start();
    let ekbo = Ekbo::with(&backend).start();
    let names = [SUBSCRIBE, UNSUBSCRIBE, STATE, CLOSE];
    let more = ["X-Kuiperbelt-Channel", "X-Kuiperbelt-Except", "X-Kuiperbelt-Hub"];
    let mut plan = Client::to(&ekbo).header("X-Kuiperbelt-Other", "passes");
    for name in names.iter().chain(&more) {
        plan = plan.header(name, "forged").header(&name.to_uppercase(), "forged");
        plan = plan.header(&name.replace('-', "_"), "forged");
        plan = plan.header(&name.replacen('-', "_", 1), "forged");
    }
    let mut alice = plan.connect();
    alice.send(&Frame::text("hello"));
    backend.wait_for_first("/receive");
    alice.leave(1000);
    backend.wait_for_first("/close");
    for request in backend.all_requests() {
        let forged = request.headers.0.iter().find(|(_, value)| value.contains("forged"));
        assert_eq!(forged, None, "{}", request.path());
        assert!(!request.has_header(STATE), "{}", request.path());
    }
    assert_eq!(backend.requests("/connect")[0].header("X-Kuiperbelt-Other"), Some("passes"));
}

/// The operator cannot set a state either.
#[test]
fn proxy_set_header_sets_no_state() {
    let backend = by_message(Backend::admitting("alice")).start();
    let ekbo = Ekbo::with(&backend).set(&format!("proxy_set_header.{STATE}"), "forged").start();
    let mut alice = Client::connect(&ekbo);
    alice.send(&Frame::text(format!("{STATE}: own")));
    alice.send(&Frame::text(""));
    let requests = backend.wait_for("/receive", 2);
    assert_eq!(requests[0].header(STATE), None);
    assert_eq!(requests[1].header(STATE), Some("own"));
}

/// A close asked for by the answer to connect or establish comes after the first message, and the
/// backend is told of it as of any other end.
#[test]
fn a_close_after_the_first_message() {
    let plain = || Answer::admit("alice").body("first");
    for closes_at_connect in [true, false] {
        let close = |answer: Answer| answer.header(CLOSE, "4001 good%20bye gr%C3%BC%C3%9Fe");
        let (connect, establish) = match closes_at_connect {
            true => (close(plain()), Answer::ok()),
            false => (plain(), close(Answer::ok())),
        };
        let backend = Backend::plan()
            .on("/connect", connect)
            .on("/establish", establish)
            .on("/close", Answer::ok())
            .start();
        let ekbo = Ekbo::with(&backend).start();
        let mut alice = Client::connect(&ekbo);
        alice.expect_text("first");
        alice.expect_farewell(4001, "good bye grüße");
        let told = backend.wait_for_first("/close");
        assert_eq!(told.session(), Some("alice"));
        assert_eq!(told.close_code(), Some(4001));
        assert_eq!(told.close_reason(), "good bye grüße");
        let paths: Vec<String> =
            backend.all_requests().iter().map(|request| request.path().to_owned()).collect();
        assert_eq!(paths, ["/connect", "/establish", "/close"]);
        ekbo.wait_for_stats("no connections", |stats| stats.connections == 0);
        assert_eq!(ekbo.stats().connect_errors, 0);
    }
}

/// The same without an establish callback, and without a first message.
#[test]
fn a_close_at_once() {
    let backend = Backend::plan()
        .on("/connect", Answer::admit("alice").header(CLOSE, "1000"))
        .on("/close", Answer::ok())
        .start();
    let ekbo = Ekbo::with(&backend).start();
    Client::connect(&ekbo).expect_farewell(1000, "");
    assert_eq!(backend.wait_for_first("/close").close_code(), Some(1000));
}

/// An answer to receive closes after what was queued before. Of its body nothing is sent unless
/// `callback.receive_reply` says so.
#[test]
fn a_close_in_answer_to_a_message() {
    let gate = Gate::new();
    let answer = Answer::ok().header(CLOSE, "3000").body("for nobody").held_by(&gate);
    let backend = Backend::admitting("alice").on("/receive", answer).start();
    let ekbo = Ekbo::with(&backend).start();
    let mut alice = Client::connect(&ekbo);
    alice.send(&Frame::text("close me"));
    gate.wait_until_reached_by(1);
    ekbo.send(["alice"], "queued before").assert_accepted();
    gate.open();
    alice.expect_text("queued before");
    alice.expect_farewell(3000, "");
    let told = backend.wait_for_first("/close");
    assert_eq!((told.close_code(), told.close_reason()), (Some(3000), String::new()));
}

/// Which codes and reasons there are is in the unit tests.
#[test]
fn an_invalid_close_is_left_out() {
    let backend = by_message(Backend::admitting("alice")).start();
    let ekbo = Ekbo::with(&backend).set("callback.receive_reply", "true").start();
    let mut alice = Client::connect(&ekbo);
    let long = format!("{CLOSE}: 4000 {}", "x".repeat(124));
    for invalid in [&format!("{CLOSE}: 1006"), &format!("{CLOSE}: bye"), &long] {
        alice.send(&Frame::text(invalid));
        alice.expect_text("reply");
    }
    ekbo.wait_for_undone("alice", CLOSE, "close code is invalid; write 1000 to");
    ekbo.wait_for_undone("alice", CLOSE, "close reason is invalid; write 1000 to");
    alice.leave(1000);
    assert_eq!(ekbo.undone().len(), 3);
}

/// Only a 200 that has arrived whole is obeyed.
#[test]
fn other_answers_are_not_obeyed() {
    let asking = |answer: Answer| {
        answer.header(STATE, "not this").header(CLOSE, "4000").header(SUBSCRIBE, "")
    };
    let broken = Answer::ok().header("Content-Length", "100").body("half").then_hang_up();
    let failures = [201, 204, 302, 400, 403, 500].map(Answer::status);
    let backend = by_message(Backend::admitting("alice")).start();
    let ekbo = Ekbo::with(&backend).set("callback.receive_reply", "true").start();
    let mut alice = Client::connect(&ekbo);
    for (number, failure) in failures.into_iter().chain([broken]).enumerate() {
        backend.on("/receive", asking(failure));
        alice.send(&Frame::text("fails"));
        backend.wait_for("/receive", number + 1);
    }
    backend.on("/receive", Answer::ok().body("obeyed"));
    alice.send(&Frame::text("succeeds"));
    alice.expect_text("obeyed");
    alice.leave(1000);
    backend.wait_for_first("/close");
    for request in backend.all_requests() {
        assert_eq!(request.header(STATE), None);
    }
    assert_eq!(ekbo.undone().len(), 0);
}

/// An answer that does not let its client in has nothing done with the session that there is not.
#[test]
fn answers_that_let_nobody_in_are_not_obeyed() {
    let backend = Backend::plan().on("/close", Answer::ok()).start();
    let ekbo = Ekbo::with(&backend).set("callback.connect", &backend.url("/connect")).start();
    let asking = |answer: Answer| answer.header(STATE, "not this").header(CLOSE, "4000 not this");
    backend.on("/connect", asking(Answer::status(403)));
    assert_eq!(Client::to(&ekbo).refused().status, 403);
    backend.on("/connect", asking(Answer::admit("alice").body(b"\xff")));
    assert_eq!(Client::to(&ekbo).refused().status, 502);
    let told = backend.wait_for_first("/close");
    assert_eq!((told.close_code(), told.header(STATE)), (Some(1006), None));
}

/// A refusal by establish ends the session as ever, whatever else the answer says.
#[test]
fn a_refusal_by_establish_is_not_obeyed() {
    let asking = Answer::status(500).header(STATE, "not this").header(CLOSE, "4000");
    let backend = Backend::admitting("alice").on("/establish", asking).start();
    let ekbo = Ekbo::with(&backend).start();
    Client::connect(&ekbo).expect_farewell(1011, "establish failed");
    let told = backend.wait_for_first("/close");
    assert_eq!((told.close_code(), told.header(STATE)), (Some(1011), None));
}

/// What cannot be done is told, each in a line of its own, and the rest is done all the same.
#[test]
fn what_cannot_be_done_is_left_out() {
    let answer = Answer::admit("alice")
        .header(SUBSCRIBE, "one")
        .header(SUBSCRIBE, "one too many")
        .header(SUBSCRIBE, "")
        .header(SUBSCRIBE, &"x".repeat(513))
        .header(UNSUBSCRIBE, "no such channel")
        .header(STATE, "done")
        .body("done");
    let backend = by_message(Backend::plan().on("/connect", answer)).start();
    let ekbo = Ekbo::with(&backend).set("channels.per_session", "1").start();
    let mut alice = Client::connect(&ekbo);
    alice.expect_text("done");
    alice.send(&Frame::text(""));
    assert_eq!(backend.wait_for_first("/receive").header(STATE), Some("done"));
    ekbo.wait_for_undone("alice", SUBSCRIBE, "the session listens to too many channels");
    ekbo.wait_for_undone("alice", SUBSCRIBE, "1 to 512 bytes");
    alice.leave(1000);
    let undone = ekbo.undone();
    assert_eq!(undone.len(), 3, "{undone:?}");
    assert!(undone.iter().all(|line| line.level == "error"), "{undone:?}");
}

/// An answer about a session that has gone meanwhile: its state is told with the end, and one line
/// tells of all the rest.
#[test]
fn a_session_that_has_gone() {
    let gate = Gate::new();
    let answer = Answer::ok()
        .header(SUBSCRIBE, "one")
        .header(SUBSCRIBE, "two")
        .header(STATE, "the last")
        .header(CLOSE, "4000")
        .held_by(&gate);
    let backend = Backend::admitting("alice").on("/receive", answer).start();
    let ekbo = Ekbo::with(&backend).start();
    let mut alice = Client::connect(&ekbo);
    alice.send(&Frame::text("hello"));
    gate.wait_until_reached_by(1);
    drop(alice);
    ekbo.wait_until_unknown("alice");
    gate.open();
    let told = backend.wait_for_first("/close");
    assert_eq!((told.close_code(), told.header(STATE)), (Some(1006), Some("the last")));
    ekbo.wait_for_undone("alice", SUBSCRIBE, "session is closed");
    let undone = ekbo.undone();
    assert_eq!(undone.len(), 1, "{undone:?}");
    assert_eq!(undone[0].level, "info");
}

/// Takes messages, and answers each with the one header that it names, `NAME: VALUE`, if any.
pub(crate) fn by_message(plan: BackendPlan) -> BackendPlan {
    plan.on_request("/receive", |request| {
        let answer = Answer::ok().body("reply");
        match request.text().split_once(": ") {
            Some((name, value)) => answer.header(name, value),
            None => answer,
        }
    })
}

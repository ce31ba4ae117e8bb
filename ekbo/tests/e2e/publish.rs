//! `/publish` and `/broadcast`: what they answer, and who gets what.

use super::harness::Ekbo;

/// An unknown channel is one that nobody listens to.
#[test]
fn nobody_listens() {
    let ekbo = Ekbo::alone().start();
    let long = "x".repeat(600);
    for name in ["news", "a, b", &long] {
        let answer = ekbo.publish([name], "hello");
        answer.assert_delivered(0);
    }
}

/// Without a channel header field the answer is 400, and the body is not waited for.
#[test]
fn a_channel_header_is_required() {
    let ekbo = Ekbo::alone().start();
    ekbo.publish([], "hello").assert_refused(400, "channel header is missing");
}

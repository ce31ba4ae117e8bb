//! What README.md says of the calls, compared with what there is.

use http::header::{AUTHORIZATION, CONTENT_TYPE, ORIGIN};
use kuiperbelt::InvalidClose;

use super::CHANNEL;
use super::access::FORWARDING;
use super::answer::{
    CHANNEL_NOT_FOUND, CLOSED, INVALID_TEXT, Refused, SESSION_NOT_FOUND, TIMED_OUT,
    TOO_MANY_CHANNELS,
};
use super::delivery::{CLOSE_CODE, CLOSE_REASON};
use super::idempotency::IDEMPOTENCY_KEY;
use super::publish::{EXCEPT, HUB};

/// README.md has a row for each header, answer and error of the calls.
#[test]
fn the_readme_lists_the_calls() {
    let readme = include_str!("../../../README.md");
    let table = |heading: &str| -> Vec<&str> {
        let rest = readme.split(heading).nth(1).unwrap().split("\n\n").next().unwrap();
        rest.lines().skip(2).map(|row| row.split('`').nth(1).unwrap()).collect()
    };
    let headers: Vec<String> =
        table("| header of a call |").iter().map(|name| name.to_lowercase()).collect();
    let read = [
        CHANNEL,
        EXCEPT,
        HUB.clone(),
        IDEMPOTENCY_KEY.clone(),
        CONTENT_TYPE,
        CLOSE_CODE,
        CLOSE_REASON,
        AUTHORIZATION,
        ORIGIN,
    ];
    let names = ["x-kuiperbelt-session".to_owned()].into_iter();
    let names = names.chain(read.iter().map(|name| name.as_str().to_owned()));
    assert_eq!(headers, names.collect::<Vec<_>>());
    assert_eq!(
        table("| error of a session or channel |"),
        [SESSION_NOT_FOUND, CLOSED, TIMED_OUT, INVALID_TEXT, CHANNEL_NOT_FOUND, TOO_MANY_CHANNELS]
    );
    for refused in [
        Refused::NotPost,
        Refused::NoSession,
        Refused::NoChannel,
        Refused::NotGet,
        Refused::TooManyAtOnce,
        Refused::TooManyForBody,
        Refused::NoHub,
        Refused::NoEvent,
        Refused::Limit,
        Refused::Cursor,
        Refused::Key,
        Refused::KeyUsed,
        Refused::TooManyKeys,
        Refused::InvalidText,
        Refused::Unreadable,
        Refused::TooLarge,
        Refused::Unauthorized,
        Refused::Origin,
        Refused::Close(InvalidClose::Code),
    ] {
        let body = refused.body();
        let row = format!("| {} | `{body}` |", refused.status().as_u16());
        assert!(readme.contains(&row), "{row}");
    }
}

/// It names every header by which a proxy gives itself away.
#[test]
fn the_readme_lists_the_headers_of_proxies() {
    let readme = include_str!("../../../README.md").to_lowercase();
    for name in FORWARDING.iter().chain(&["x-forwarded", "x-forwarded-…"]) {
        assert!(readme.contains(&format!("`{name}`")), "{name}");
    }
}

//! The rules one by one, and two properties: how the bytes are cut makes no difference, and no
//! input makes it panic or stall.

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::{Index, select};

use super::*;
use crate::outbound::{MAX_FIELDS, MAX_HEAD, USUAL_FIELDS};

type Fields = Vec<(String, Vec<u8>)>;

/// What an answer comes to.
#[derive(Debug, PartialEq, Eq)]
struct Outcome {
    head: Option<(u16, Fields)>,
    body: Result<Vec<u8>, String>,
    may_be_followed: bool,
}

/// Feeds the pieces and, where `ends` says so, the end of the connection. An answer that waits for
/// more is "incomplete".
fn outcome<'a>(pieces: impl IntoIterator<Item = &'a [u8]>, ends: bool, wanted: Wanted) -> Outcome {
    let mut response = Response::new(wanted);
    for piece in pieces {
        response.feed(piece);
    }
    let may_be_followed = response.may_be_followed();
    if ends {
        response.end();
    }
    let is_complete = response.is_complete();
    let body = match response.take_fault() {
        Some(fault) => Err(fault.to_string()),
        None if is_complete => Ok(response.take_body().to_vec()),
        None => Err("incomplete".into()),
    };
    let head = response.take_head().map(|head| {
        let field = |(name, value): (&HeaderName, &HeaderValue)| {
            (name.to_string(), value.as_bytes().to_vec())
        };
        (head.status.as_u16(), head.headers.iter().map(field).collect())
    });
    Outcome { head, body, may_be_followed }
}

fn whole(input: &str) -> Outcome {
    outcome([input.as_bytes()], false, Wanted::everything(100))
}

/// The body, while the connection stays open.
fn body(input: &str) -> Result<String, String> {
    whole(input).body.map(|body| String::from_utf8(body).unwrap())
}

/// What is wrong with it.
fn fault(input: &str) -> String {
    body(input).unwrap_err()
}

fn keeps(input: &str) -> bool {
    whole(input).may_be_followed
}

fn status(input: &str) -> Option<u16> {
    whole(input).head.map(|(status, _)| status)
}

fn field(input: &str, name: &str) -> Option<String> {
    let (_, fields) = whole(input).head?;
    let value = fields.into_iter().find(|(other, _)| other == name)?.1;
    Some(String::from_utf8_lossy(&value).into_owned())
}

#[test]
fn heads() {
    let answer = "HTTP/1.1 200 Very Well\r\nX-A: 1\r\nx-b:2 \r\nContent-Length: 2\r\n\r\nhi";
    assert_eq!(status(answer), Some(200));
    assert_eq!(field(answer, "x-a").as_deref(), Some("1"));
    assert_eq!(field(answer, "x-b").as_deref(), Some("2"));
    assert_eq!(body(answer).as_deref(), Ok("hi"));
    assert_eq!(body("HTTP/1.1 200\nContent-Length: 2\n\nhi").as_deref(), Ok("hi"));
    assert_eq!(status("HTTP/1.1 204\r\n\r\n"), Some(204));
    assert_eq!(body("\r\n\r\nHTTP/1.1 204 No Content\r\n\r\n").as_deref(), Ok(""));
    assert_eq!(fault("HTTP/1.1 200 OK\r\nX-A: 1\r\n"), "incomplete");
    assert_eq!(fault(""), "incomplete");
}

#[test]
fn malformed_heads() {
    for head in [
        "HTTP/1.1 OK\r\n\r\n",
        "HTTP/1.1 20 OK\r\n\r\n",
        "HTTP/1.1 2000 OK\r\n\r\n",
        "HTTP/1.1 099 OK\r\n\r\n",
        "HTTP/2.0 200 OK\r\n\r\n",
        "HTTP/1.1200 OK\r\n\r\n",
        "http/1.1 200 OK\r\n\r\n",
        "ICY 200 OK\r\n\r\n",
        "hello\r\n\r\n",
        "\r\r\nHTTP/1.1 204 OK\r\n\r\n",
        "HTTP/1.1 200 OK\r\nno colon\r\n\r\n",
        "HTTP/1.1 200 OK\r\n: no name\r\n\r\n",
        "HTTP/1.1 200 OK\r\nX A: 1\r\n\r\n",
        "HTTP/1.1 200 OK\r\nX-A: \0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nX-A: a\rb\r\n\r\n",
        "HTTP/1.1 200 \x01\r\n\r\n",
        "HTTP/1.1 200 OK\r\n X-A: fold of nothing\r\n\r\n",
    ] {
        let outcome = whole(head);
        assert!(outcome.body.unwrap_err().starts_with("malformed head: "), "{head:?}");
        assert_eq!(outcome.head, None, "{head:?}");
    }
}

#[test]
fn leniencies() {
    let folded = "HTTP/1.1 200 OK\r\nX-A: one\r\n two\r\n\t three \r\nContent-Length: 0\r\n\r\n";
    assert_eq!(field(folded, "x-a").as_deref(), Some("one two three"));
    let spaced = "HTTP/1.1 200 OK\r\nX-A : one\r\nContent-Length : 2\r\n\r\nhi";
    assert_eq!(field(spaced, "x-a").as_deref(), Some("one"));
    assert_eq!(body(spaced).as_deref(), Ok("hi"));
    assert_eq!(
        body("HTTP/1.1 200 OK\r\nContent-Length:\r\n 2\r\n\r\nhi").as_deref(),
        Ok("hi"),
        "a folded length is one"
    );
    assert_eq!(
        fault("HTTP/1.1 200 OK\r\nContent-Length: 1\r\n 2\r\n\r\nhi"),
        Fault::Length.to_string(),
        "a fold is a space"
    );
}

#[test]
fn heads_are_bounded() {
    let head = |fields: String| format!("HTTP/1.1 200 OK\r\n{fields}Content-Length: 0\r\n\r\n");
    let same = |count| head("a: b\r\n".repeat(count));
    let different = |count| head((0..count).map(|number| format!("a{number}: b\r\n")).collect());
    for count in [USUAL_FIELDS - 1, USUAL_FIELDS, MAX_FIELDS - 1] {
        for head in [same(count), different(count)] {
            let Outcome { head, body, .. } = whole(&head);
            assert_eq!((head.unwrap().1.len(), body), (count + 1, Ok(Vec::new())));
        }
    }
    let too_many = format!("malformed head: {}", httparse::Error::TooManyHeaders);
    assert_eq!(fault(&same(MAX_FIELDS)), too_many);
    assert_eq!(fault(&different(MAX_FIELDS)), too_many);
    // As many channels as a head has room for.
    let subscription = "x-kuiperbelt-subscribe:a\n";
    let count = (MAX_HEAD - head(String::new()).len()) / subscription.len();
    assert_eq!(body(&head(subscription.repeat(count))).as_deref(), Ok(""));
    let long = |size| {
        let frame = "HTTP/1.1 204 OK\r\na: \r\n\r\n".len();
        format!("HTTP/1.1 204 OK\r\na: {}\r\n\r\n", "x".repeat(size - frame))
    };
    let too_long = Err(LongHead.to_string());
    assert_eq!(body(&long(MAX_HEAD)).as_deref(), Ok(""));
    assert_eq!(body(&long(MAX_HEAD + 1)), too_long);
    assert_eq!(body(&long(MAX_HEAD + 1)[..MAX_HEAD + 1]), too_long);
    assert_eq!(body(&"\r\n".repeat(MAX_HEAD)), too_long, "blank lines before a head");
}

#[test]
fn interim_answers_are_passed_over() {
    let interim = |count| {
        let hints = "HTTP/1.1 103 Early Hints\r\nContent-Length: 9\r\n\r\n".repeat(count);
        format!(
            "HTTP/1.1 100 Continue\r\n\r\n{hints}HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi"
        )
    };
    assert_eq!(status(&interim(1)), Some(200));
    assert_eq!(body(&interim(MAX_INTERIM - 1)).as_deref(), Ok("hi"));
    assert!(keeps(&interim(1)));
    assert_eq!(fault(&interim(MAX_INTERIM)), Fault::Interim.to_string());
    let switched = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\n";
    assert_eq!((status(switched), body(switched).as_deref()), (Some(101), Ok("")));
    assert!(!keeps(switched));
}

#[test]
fn statuses_without_a_body() {
    let length = "Content-Length: 5\r\n";
    let coding = "Transfer-Encoding: chunked\r\n";
    // A 304 says how long the body would be. A 204 that announces one may send it, too.
    for (head, field, is_kept) in [
        ("204 No Content", "", true),
        ("204 No Content", "Content-Length: 0\r\n", true),
        ("204 No Content", length, false),
        ("204 No Content", coding, false),
        ("304 Not Modified", length, true),
        ("304 Not Modified", coding, false),
    ] {
        let answer = format!("HTTP/1.1 {head}\r\n{field}\r\n");
        assert_eq!(body(&answer).as_deref(), Ok(""), "{head}");
        assert_eq!(keeps(&answer), is_kept, "{head}, {field}");
        assert!(!keeps(&format!("{answer}hello")), "{head}: with a body all the same");
    }
}

#[test]
fn lengths() {
    let of = |fields: &str| body(&format!("HTTP/1.1 200 OK\r\n{fields}\r\nhello"));
    assert_eq!(of("Content-Length: 5\r\n").as_deref(), Ok("hello"));
    assert_eq!(of("Content-Length: 005\r\n").as_deref(), Ok("hello"));
    assert_eq!(of("content-length: 5, 5\r\nContent-Length: 5\r\n").as_deref(), Ok("hello"));
    assert_eq!(of("Content-Length: 6\r\n"), Err("incomplete".into()));
    for length in ["", "x", "-5", "+5", "5 5", "5;", "5,", "5, 6", "0x5", "18446744073709551616"] {
        let length = format!("Content-Length: {length}\r\n");
        assert_eq!(of(&length), Err(Fault::Length.to_string()), "{length}");
    }
    let contradictory = "Content-Length: 5\r\nContent-Length: 4\r\n";
    assert_eq!(of(contradictory), Err(Fault::Length.to_string()));
}

#[test]
fn codings() {
    let of = |version: u8, fields: &str| {
        let body = "5\r\nhello\r\n0\r\n\r\n";
        whole(&format!("HTTP/1.{version} 200 OK\r\n{fields}\r\n{body}"))
    };
    let chunked = of(1, "Transfer-Encoding: Chunked\r\n");
    assert_eq!(chunked.body.as_deref(), Ok(&b"hello"[..]));
    assert!(chunked.may_be_followed);
    for coding in ["gzip", "identity", "gzip, chunked", "chunked, chunked", "chunked;a", "", "x"] {
        let coded = of(1, &format!("Transfer-Encoding: {coding}\r\n"));
        assert_eq!(coded.body, Err(Fault::Coding.to_string()), "{coding}");
    }
    let twice = of(1, "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n");
    assert_eq!(twice.body, Err(Fault::Coding.to_string()));
    let old = of(0, "Transfer-Encoding: chunked\r\n");
    assert_eq!(old.body, Err(Fault::Coding.to_string()));

    // RFC 9112 section 6.3: the coding wins, and the connection must end.
    let both = of(1, "Transfer-Encoding: chunked\r\nContent-Length: 3\r\n");
    assert_eq!(both.body.as_deref(), Ok(&b"hello"[..]));
    assert!(!both.may_be_followed);

    let malformed = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nx\r\n";
    assert!(fault(malformed).starts_with("malformed body: "));
    assert_eq!(status(malformed), Some(200));
}

#[test]
fn bodies_until_the_end() {
    for head in ["HTTP/1.1 200 OK\r\n\r\n", "HTTP/1.0 200 OK\r\nConnection: keep-alive\r\n\r\n"] {
        let answer = format!("{head}hello");
        assert_eq!(fault(&answer), "incomplete", "{head}");
        let ended = outcome([answer.as_bytes()], true, Wanted::everything(100));
        assert_eq!(ended.body.as_deref(), Ok(&b"hello"[..]), "{head}");
        assert!(!ended.may_be_followed, "{head}");
    }
}

#[test]
fn ends_that_come_too_early() {
    for answer in [
        "",
        "HTTP/1.1 2",
        "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n",
        "HTTP/1.1 100 Continue\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nhello",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n",
    ] {
        let ended = outcome([answer.as_bytes()], true, Wanted::everything(100));
        assert_eq!(ended.body, Err(Fault::Ended.to_string()), "{answer:?}");
    }
}

#[test]
fn what_keeps_a_connection() {
    let of = |version: u8, fields: &str| {
        keeps(&format!("HTTP/1.{version} 200 OK\r\nContent-Length: 0\r\n{fields}\r\n"))
    };
    assert!(of(1, ""));
    assert!(!of(0, ""));
    assert!(of(0, "Connection: Keep-Alive\r\n"));
    assert!(!of(1, "Connection: Close\r\n"));
    assert!(!of(1, "Connection: x, close\r\n"));
    assert!(!of(1, "Connection: close\r\nConnection: keep-alive\r\n"));
    assert!(!of(0, "Connection: keep-alive, close\r\n"));
    assert!(of(1, "Connection: closet\r\n"));
    assert!(!keeps("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi!"), "bytes behind the answer");
    assert!(!keeps("HTTP/1.1 204 OK\r\n\r\n\r\n"), "a line behind the answer");
    assert!(!keeps("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nh"));
    let mut response = Response::new(Wanted::status());
    response.feed(b"HTTP/1.1 204 OK\r\n\r\n");
    assert!(response.may_be_followed());
    response.end();
    assert!(!response.may_be_followed());
}

#[test]
fn bodies_have_a_limit() {
    let sized = "HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nhello!";
    let chunked = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n\
                   3\r\nhel\r\n3\r\nlo!\r\n0\r\n\r\n";
    let until_end = "HTTP/1.1 200 OK\r\n\r\nhello!";
    for wanted in [Wanted::everything(0), Wanted::status()] {
        for answer in [sized, chunked, until_end] {
            let limited = |limit| outcome([answer.as_bytes()], true, Wanted { limit, ..wanted });
            assert!(limited(6).body.is_ok(), "{answer:?}");
            let over = limited(5);
            assert_eq!(over.body, Err(Fault::TooLarge.to_string()), "{answer:?}");
            assert_eq!(over.head.map(|(status, _)| status), Some(200), "{answer:?}");
        }
    }
    let announced = "HTTP/1.1 200 OK\r\nContent-Length: 101\r\n\r\n";
    assert_eq!(fault(announced), Fault::TooLarge.to_string(), "before it has come");
}

#[test]
fn only_the_status_may_be_wanted() {
    let answer = "HTTP/1.1 200 OK\r\nX-A: 1\r\nContent-Length: 2\r\n\r\nhi";
    let told = outcome([answer.as_bytes()], false, Wanted::status());
    assert_eq!(told.head, Some((200, vec![])));
    assert_eq!(told.body.as_deref(), Ok(&b""[..]));
    assert!(told.may_be_followed);
}

#[test]
fn some_fields_may_be_wanted() {
    static NAMES: [HeaderName; 2] =
        [HeaderName::from_static("x-a"), HeaderName::from_static("x-b")];
    let answer = "HTTP/1.1 200 OK\r\nX-C: 1\r\nX-A: 2\r\nX-AB: 3\r\nx-B: 4\r\n 5\r\nX-A: 6\r\n\
                  Content-Length: 2\r\n\r\nhi";
    let told = outcome([answer.as_bytes()], false, Wanted::fields(&NAMES));
    let field = |name: &str, value: &[u8]| (name.to_owned(), value.to_owned());
    let fields = vec![field("x-a", b"2"), field("x-a", b"6"), field("x-b", b"4 5")];
    assert_eq!(told.head, Some((200, fields)));
    assert_eq!(told.body.as_deref(), Ok(&b""[..]));
    let wanted = Wanted { body: true, ..Wanted::fields(&NAMES) };
    assert_eq!(outcome([answer.as_bytes()], false, wanted).body.as_deref(), Ok(&b"hi"[..]));
}

/// Answers, good and bad, made of what matters in them.
fn answers() -> impl Strategy<Value = Vec<u8>> {
    let part = select(vec![
        "HTTP/1.1 200 OK",
        "HTTP/1.0 200 OK",
        "HTTP/1.1 103 Early Hints",
        "HTTP/1.1 101 Switching Protocols",
        "HTTP/1.1 204 No Content",
        "HTTP/1.1 ",
        "\r\n",
        "\r\n\r\n",
        "\n",
        "\r",
        " ",
        "\t",
        ":",
        "Content-Length: ",
        "Transfer-Encoding: chunked",
        "Connection: close",
        "Connection: keep-alive",
        "X-A: b\r\n c",
        "0",
        "3",
        "5\r\nhello\r\n",
        "0\r\n\r\n",
        ";a=b",
        "hello",
        "\0",
        "\u{e9}",
    ]);
    let good = select(vec![
        "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5;a\r\nhello\r\n0\r\nb: c\r\n\r\n",
        "HTTP/1.1 103 Early\r\nLink: x\r\n\r\nHTTP/1.1 200 OK\r\nX-A: b\r\n c\r\n\r\nhello",
        "\r\nHTTP/1.0 304 Same\nConnection: keep-alive\n\n",
    ]);
    let mutations = vec((any::<Index>(), 0..3_u8, any::<u8>()), 0..4);
    let mutated = (good, mutations).prop_map(|(good, mutations)| {
        let mut bytes = good.as_bytes().to_vec();
        for (index, kind, byte) in mutations {
            let at = index.index(bytes.len());
            match kind {
                0 => bytes[at] = byte,
                1 => bytes.insert(at, byte),
                _ => drop(bytes.remove(at)),
            }
        }
        bytes
    });
    let assembled = vec(part, 0..16).prop_map(|parts| parts.concat().into_bytes());
    prop_oneof![mutated, assembled, vec(any::<u8>(), 0..64)]
}

proptest! {
    #[test]
    fn cuts_make_no_difference(
        answer in answers(),
        cuts in vec(any::<Index>(), 0..8),
        ends: bool,
        keeps_all: bool,
        limit in 0..10_usize,
    ) {
        let wanted = if keeps_all { Wanted::everything(0) } else { Wanted::status() };
        let wanted = Wanted { limit, ..wanted };
        let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(answer.len() + 1)).collect();
        cuts.extend([0, answer.len()]);
        cuts.sort_unstable();
        let pieces = cuts.windows(2).map(|cut| &answer[cut[0]..cut[1]]);
        let at_once = outcome([&*answer], ends, wanted);
        prop_assert_eq!(&outcome(pieces, ends, wanted), &at_once);
        prop_assert_eq!(&outcome(answer.chunks(1), ends, wanted), &at_once);
    }

    /// Each end of a connection is the end of an answer.
    #[test]
    fn an_ended_answer_is_decided(answer in answers()) {
        let ended = outcome([&*answer], true, Wanted::everything(10));
        prop_assert_ne!(ended.body, Err("incomplete".to_owned()));
    }
}

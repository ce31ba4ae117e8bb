//! What holds of an answer whatever an upstream sends, for the fuzz target `upstream_answer`. An
//! input begins with a character that says what was asked; then come a stream and its cuts
//! ([`Pieces`]).

use std::sync::mpsc;

use bytes::Bytes;
use kuiperbelt::AnswerWriter;
use kuiperbelt::http::{Method, StatusCode, Version};
use kuiperbelt::http1::{Chunked, Piece};

use super::account::Ledger;
use super::download::{Download, Switch};
use super::protocols::Protocols;
use super::request_head::Asked;
use crate::pieces::Pieces;

/// However the answer is cut, the same comes of it, both before and after the connection ends; and
/// what the client gets looks whole only if it is.
pub fn upstream_answer(input: &[u8]) {
    let Some((&letter, input)) = input.split_first() else { return };
    let Some(pieces) = Pieces::parse(input) else { return };
    let question = Question::of(letter);
    let [open, ended] = [false, true].map(|ends| {
        let joined = question.answered(pieces.joined(), ends);
        assert_eq!(question.answered(pieces, ends), joined);
        assert_eq!(question.answered(pieces.torn(), ends), joined, "byte by byte");
        joined
    });
    if ended.is_complete && !open.is_complete {
        let seen = ended.seen.expect("a part of the answer");
        assert_ends_with_connection(pieces.stream(), &seen);
    }
}

/// Asserts that the end of the connection was all that was missing of an answer: it says of no other
/// end, and the body is all that came behind its head.
fn assert_ends_with_connection(stream: &[u8], seen: &Seen) {
    let heads = stream.strip_suffix(&seen.body[..]).expect("the body as it came");
    let lines = heads.split(|&byte| byte == b'\n').rev();
    let fields = lines.take_while(|line| !line.starts_with(b"HTTP/1."));
    for field in fields {
        let name = field.split(|&byte| byte == b':').next().unwrap_or_default().trim_ascii();
        let frames = name.eq_ignore_ascii_case(b"Content-Length")
            || name.eq_ignore_ascii_case(b"Transfer-Encoding");
        assert!(!frames, "whole in spite of {:?}", field.escape_ascii());
    }
}

/// What a client asks.
struct Question {
    method: Method,
    version: Version,
    /// What `Upgrade` says.
    upgrade: &'static [u8],
}

/// What comes of an answer.
#[derive(Debug, PartialEq)]
struct Outcome {
    seen: Option<Seen>,
    failure: Option<String>,
    is_complete: bool,
    is_invited: bool,
    may_be_followed: bool,
    switch: Option<Box<Switch>>,
    /// What is logged.
    status: Option<StatusCode>,
}

/// What the client sees of it.
#[derive(Debug, Default, PartialEq)]
struct Seen {
    /// Without the date, which may be ours.
    head: Vec<u8>,
    body: Vec<u8>,
    trailers: Vec<u8>,
    /// Whether it has an end. `None`: only that of the connection tells.
    is_whole: Option<bool>,
}

impl Question {
    /// `H` is a HEAD, `U` offers to change the protocol to `echo`, `O` comes from an old client; anything else is
    /// a plain GET.
    fn of(letter: u8) -> Self {
        Self {
            method: if letter == b'H' { Method::HEAD } else { Method::GET },
            version: if letter == b'O' { Version::HTTP_10 } else { Version::HTTP_11 },
            upgrade: if letter == b'U' { b"echo/1" } else { b"" },
        }
    }

    /// What comes of this answer, with the end of the connection behind it or not.
    fn answered(&self, pieces: Pieces<'_>, ends: bool) -> Outcome {
        let is_head = self.method == Method::HEAD;
        let protocols = Protocols::of([self.upgrade].into_iter()).expect("one at the most");
        let mut download = Download::new(Asked { is_head, protocols });
        let mut writer = AnswerWriter::without_client(&self.method, self.version);
        let (sender, outcome) = mpsc::channel();
        let log = move |outcome: &super::account::Outcome| {
            let _ = sender.send((outcome.status, outcome.size));
        };
        let ledger = Ledger::new(Some(Box::new(log)));
        let mut account = ledger.open(&self.method, &Bytes::new());

        let mut taken =
            pieces.iter().try_for_each(|piece| download.take_in(piece, &mut writer, &mut account));
        // Nobody reads on behind a whole answer.
        if ends && taken.is_ok() && !download.is_complete() {
            taken = download.end(&mut writer);
        }
        drop(account);
        let (status, size) = outcome.recv().expect("an account is closed");

        let seen = writer.has_begun().then(|| Seen::of(writer.queued(), is_head));
        let failure = taken.err().map(|failure| failure.to_string());
        let is_complete = download.is_complete();
        assert!(failure.is_none() || !is_complete, "{failure:?} after all");
        if let Some(seen) = &seen {
            assert_eq!(seen.body.len() as u64, size);
            assert_eq!(seen.is_whole.unwrap_or(is_complete), is_complete, "{seen:?}");
        }
        Outcome {
            seen,
            failure,
            is_complete,
            is_invited: download.is_invited(),
            may_be_followed: download.may_be_followed(),
            switch: download.into_switch(),
            status,
        }
    }
}

impl Seen {
    /// Reads what was written to a client as far as it goes.
    fn of(written: &[u8], is_head: bool) -> Self {
        let end = written.windows(4).position(|bytes| bytes == b"\r\n\r\n").expect("a whole head");
        let (head, mut rest) = written.split_at(end + 4);
        let lines = || head.split_inclusive(|&byte| byte == b'\n');
        let value = |name: &'static [u8]| lines().find_map(|line| line.strip_prefix(name));
        let mut seen = Self {
            head: lines().filter(|line| !line.starts_with(b"Date: ")).collect::<Vec<_>>().concat(),
            ..Self::default()
        };
        let status = &head["HTTP/1.1 ".len()..][..3];
        if is_head || matches!(status, b"204" | b"304") {
            assert!(rest.is_empty(), "a body where there must be none");
            seen.is_whole = Some(true);
        } else if let Some(coding) = value(b"Transfer-Encoding: ") {
            assert_eq!(coding, b"chunked\r\n");
            let mut chunked = Chunked::new();
            while !rest.is_empty() {
                assert!(!chunked.is_complete(), "{:?} behind the end", rest.escape_ascii());
                let (place, size) = match chunked.next(rest).expect("good chunks") {
                    Piece::Coding(size) => (None, size),
                    Piece::Trailers(size) => (Some(&mut seen.trailers), size),
                    Piece::Data(size) => (Some(&mut seen.body), size),
                };
                let (piece, later) = rest.split_at(size);
                place.into_iter().for_each(|place| place.extend_from_slice(piece));
                rest = later;
            }
            seen.is_whole = Some(chunked.is_complete());
        } else {
            let length = value(b"Content-Length: ").map(|digits| {
                let digits = str::from_utf8(digits).expect("digits");
                digits.trim_end().parse::<u64>().expect("digits")
            });
            seen.body.extend_from_slice(rest);
            seen.is_whole = length.map(|length| {
                assert!(rest.len() as u64 <= length, "{} bytes of {length}", rest.len());
                rest.len() as u64 == length
            });
        }
        seen
    }
}

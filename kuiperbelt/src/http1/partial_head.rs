//! A head as its bytes come. One that comes whole, as nearly all do, is read where it lies; of
//! another the bytes are collected, and it is read when its last line has come.

use std::mem;

use bytes::Bytes;
use memchr::memchr_iter;

use super::head::{self, BadHead, Head, MAX_HEAD, Parsed};

/// The beginning of a head, or nothing of it yet. What comes of it is the same however its bytes
/// are cut, except that what is no head may be found out earlier or later.
#[derive(Debug, Default)]
pub(crate) struct PartialHead {
    bytes: Vec<u8>,
    /// How many bytes have been searched for the end.
    searched: usize,
    /// Whether there is more than the empty lines that may precede a request.
    is_begun: bool,
    /// The size at which the beginning is checked next: what is no head is refused before its end.
    check_at: usize,
}

impl PartialHead {
    /// Whether nothing has come.
    pub(crate) fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// Takes in the next bytes, which are not none. Returns the head when they complete it, with
    /// what follows it in them; nothing may be taken in after that or after an error.
    pub(crate) fn take_in(&mut self, piece: &Bytes) -> Result<Option<(Box<Head>, Bytes)>, BadHead> {
        if self.bytes.is_empty() {
            if let Parsed::Whole(head, size) = head::parse(piece)? {
                return Ok(Some((head, behind(piece, size))));
            }
            self.check_at = 2 * piece.len();
        }
        self.bytes.extend_from_slice(piece);
        if self.has_end() {
            let whole = Bytes::from(mem::take(&mut self.bytes));
            let (head, size) = head::parse_whole(&whole)?;
            return Ok(Some((head, behind(&whole, size))));
        }
        if self.bytes.len() > MAX_HEAD {
            return Err(BadHead::TooLarge);
        }
        if self.bytes.len() >= self.check_at {
            self.check_at = 2 * self.bytes.len();
            head::check(&self.bytes)?;
        }
        Ok(None)
    }

    /// Whether there is an empty line behind one that is not.
    fn has_end(&mut self) -> bool {
        if !self.is_begun {
            let rest = &self.bytes[self.searched..];
            let begin = rest.iter().position(|byte| !matches!(byte, b'\r' | b'\n'));
            self.is_begun = begin.is_some();
            self.searched += begin.unwrap_or(rest.len());
        }
        let rest = &self.bytes[self.searched..];
        let is_end = |at: usize| {
            let next = &rest[at + 1..];
            next.starts_with(b"\n") || next.starts_with(b"\r\n")
        };
        if memchr_iter(b'\n', rest).any(is_end) {
            return true;
        }
        // The end of a line and half of an empty one may be all that there is of the end.
        self.searched = self.searched.max(self.bytes.len().saturating_sub(2));
        false
    }
}

/// What follows so many bytes; what follows none keeps nothing.
fn behind(bytes: &Bytes, size: usize) -> Bytes {
    if size == bytes.len() { Bytes::new() } else { bytes.slice(size..) }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// All heads, whose bodies are empty, and the rest. Of a mistake only that there is one.
    fn read(pieces: &[&[u8]]) -> (Vec<String>, Result<Vec<u8>, ()>) {
        let (mut heads, mut partial) = (Vec::new(), PartialHead::default());
        let mut ahead = Bytes::new();
        for piece in pieces {
            ahead = [&ahead[..], piece].concat().into();
            while !ahead.is_empty() {
                match partial.take_in(&mem::take(&mut ahead)) {
                    Ok(Some((head, rest))) => {
                        heads.push(format!("{head:?}"));
                        partial = PartialHead::default();
                        ahead = rest;
                    }
                    Ok(None) => {}
                    Err(_) => return (heads, Err(())),
                }
            }
        }
        (heads, Ok(partial.bytes))
    }

    #[test]
    fn heads_follow_each_other() {
        let text = b"\r\nGET /a HTTP/1.1\r\nHost: x\r\n\r\n\nGET /b HTTP/1.0\n\nGET /c";
        let (heads, rest) = read(&[text]);
        assert_eq!(heads.len(), 2);
        assert_eq!(rest.unwrap(), b"GET /c");
    }

    #[test]
    fn what_is_no_head_is_found_out_before_its_end() {
        assert!(PartialHead::default().take_in(&"\x16\x03\x01".into()).is_err());
        let mut partial = PartialHead::default();
        assert!(partial.take_in(&"GET / HTTP/1.1\r\nHost".into()).unwrap().is_none());
        assert!(partial.take_in(&" : x\r\nLong: xxxxxxxxxxxxxxxxxxxxxxxxx".into()).is_err());
    }

    #[test]
    fn a_long_head_in_pieces() {
        let mut text = "POST / HTTP/1.1\r\n".to_owned();
        for number in 0..20_000 {
            text += &format!("X-Kuiperbelt-Session: {number}\r\n");
        }
        text += "\r\n";
        let whole = read(&[text.as_bytes()]);
        assert_eq!(whole.0.len(), 1);
        assert_eq!(read(&text.as_bytes().chunks(1000).collect::<Vec<_>>()), whole);
        let endless = "x".repeat(MAX_HEAD);
        let mut partial = PartialHead::default();
        assert!(partial.take_in(&"GET / HTTP/1.1\r\nX: ".into()).unwrap().is_none());
        assert_eq!(partial.take_in(&endless.into()).unwrap_err(), BadHead::TooLarge);
    }

    fn lines() -> impl Strategy<Value = Vec<u8>> {
        let end = prop_oneof![4 => Just("\r\n"), 1 => Just("\n")];
        let start = prop_oneof![Just("GET /a HTTP/1.1"), Just("POST /b?c HTTP/1.0"), Just("")];
        let field =
            prop_oneof![Just("Host: x"), Just("A:"), Just("A:  b "), Just("Connection: close")];
        let head = (start, prop::collection::vec((field, end.clone()), 0..5), end.clone(), end);
        head.prop_map(|(start, fields, first, last)| {
            let fields: String = fields.iter().flat_map(|(field, end)| [*field, *end]).collect();
            format!("{start}{first}{fields}{last}").into()
        })
    }

    proptest! {
        #[test]
        fn cuts_do_not_matter(
            heads in prop::collection::vec(lines(), 1..4),
            mistake in prop::option::of((any::<prop::sample::Index>(), any::<u8>())),
            cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..6),
        ) {
            let mut text = heads.concat();
            if let Some((at, byte)) = mistake {
                let at = at.index(text.len());
                text[at] = byte;
            }
            let mut cuts: Vec<_> = cuts.iter().map(|cut| cut.index(text.len())).collect();
            cuts.extend([0, text.len()]);
            cuts.sort_unstable();
            cuts.dedup();
            let pieces: Vec<_> = cuts.windows(2).map(|pair| &text[pair[0]..pair[1]]).collect();
            let (whole, cut) = (read(&[&text]), read(&pieces));
            prop_assert_eq!(&whole.0, &cut.0);
            // A mistake in a head that is not complete may be seen later.
            if whole.1.is_ok() {
                prop_assert_eq!(whole.1, cut.1);
            }
        }

        #[test]
        fn anything_may_come(pieces in prop::collection::vec(prop::collection::vec(any::<u8>(), 1..50), 1..20)) {
            let pieces: Vec<_> = pieces.iter().map(|piece| &piece[..]).collect();
            let _ = read(&pieces);
        }
    }
}

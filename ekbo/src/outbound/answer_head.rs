//! The head of an answer as its bytes come: where it ends, what has come of it before, and its
//! fields. What they mean is the business of whoever asked.

use std::borrow::Cow;
use std::mem::{self, MaybeUninit};

use httparse::{ParserConfig, Response, Status};

/// The longest head of an answer, in bytes.
pub(crate) const MAX_HEAD: usize = 400 * 1024;

/// The most fields in a head. No fewer than one of `MAX_HEAD` has room for when each, in 25 bytes at
/// the least, subscribes to a channel; and no more than a `HeaderMap` takes if all names differ.
pub(crate) const MAX_FIELDS: usize = 16 * 1024;

/// The most fields that need no memory of their own to be found.
pub(crate) const USUAL_FIELDS: usize = 64;

/// A head does not end within [`MAX_HEAD`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the head is longer than 400 KiB")]
pub(crate) struct LongHead;

/// A head that is there.
#[derive(Debug)]
pub(crate) struct WholeHead<'a> {
    pub(crate) bytes: Cow<'a, [u8]>,
    /// How many bytes of the last input belong to it.
    pub(crate) size: usize,
}

/// The beginning of a head, and as much of its last line as tells an empty line.
#[derive(Debug, Default)]
pub(crate) struct PartialHead {
    bytes: Vec<u8>,
    line: Line,
    /// A line that is not empty has been seen.
    is_begun: bool,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum Line {
    #[default]
    Empty,
    Return,
    Text,
}

impl PartialHead {
    /// Takes in the next bytes, which are not none. Returns the head when they complete it;
    /// nothing may be taken in after that.
    pub(crate) fn take_in<'a>(
        &mut self,
        input: &'a [u8],
    ) -> Result<Option<WholeHead<'a>>, LongHead> {
        let end = self.end_in(input);
        let of_head = &input[..end.unwrap_or(input.len())];
        if of_head.len() > MAX_HEAD - self.bytes.len() {
            return Err(LongHead);
        }
        Ok(match end {
            Some(size) if self.bytes.is_empty() => {
                Some(WholeHead { bytes: Cow::Borrowed(of_head), size })
            }
            Some(size) => {
                self.bytes.extend_from_slice(of_head);
                let bytes = Cow::Owned(mem::take(&mut self.bytes));
                Some(WholeHead { bytes, size })
            }
            None => {
                self.bytes.extend_from_slice(of_head);
                None
            }
        })
    }

    /// How much of the input belongs to the head, if it ends in there: with the first empty line
    /// behind one that is not.
    fn end_in(&mut self, input: &[u8]) -> Option<usize> {
        let mut start = 0;
        while let Some(length) = input[start..].iter().position(|&byte| byte == b'\n') {
            let is_text = self.line.and(&input[start..start + length]) == Line::Text;
            start += length + 1;
            if self.is_begun && !is_text {
                return Some(start);
            }
            self.is_begun |= is_text;
            self.line = Line::Empty;
        }
        self.line = self.line.and(&input[start..]);
        None
    }
}

impl Line {
    /// The line with more bytes of it.
    fn and(self, more: &[u8]) -> Self {
        match (self, more) {
            (line, b"") => line,
            (Self::Empty, b"\r") => Self::Return,
            _ => Self::Text,
        }
    }
}

/// Reads a whole head, in a frame of its own: it has room for the fields of nearly all.
#[inline(never)]
pub(crate) fn parse<T>(
    head: &[u8],
    parser: &ParserConfig,
    read: impl FnOnce(&Response<'_, '_>) -> T,
) -> Result<T, httparse::Error> {
    let mut usual = [const { MaybeUninit::uninit() }; USUAL_FIELDS];
    let mut parsed = Response::new(&mut []);
    match parser.parse_response_with_uninit_headers(&mut parsed, head, &mut usual) {
        Ok(status) => return check(status, head).map(|()| read(&parsed)),
        Err(httparse::Error::TooManyHeaders) => {}
        Err(error) => return Err(error),
    }
    let mut many = Vec::with_capacity(MAX_FIELDS);
    let many = &mut many.spare_capacity_mut()[..MAX_FIELDS];
    let mut parsed = Response::new(&mut []);
    let status = parser.parse_response_with_uninit_headers(&mut parsed, head, many)?;
    check(status, head).map(|()| read(&parsed))
}

/// The parser has to agree on where the head ends.
fn check(status: Status<usize>, head: &[u8]) -> Result<(), httparse::Error> {
    if status == Status::Complete(head.len()) { Ok(()) } else { Err(httparse::Error::NewLine) }
}

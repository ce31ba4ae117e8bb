//! Where the body of a request ends (RFC 9112 section 6), and the body taken apart as its bytes
//! come. What could be read in two ways is refused: it is how requests are smuggled.

use std::mem;

use bytes::{Buf as _, Bytes};
use http::Version;
use http::header::{CONTENT_LENGTH, TRANSFER_ENCODING};

use super::chunked::{Chunked, InvalidChunk, Piece};
use crate::fields::Fields;

/// The most fields behind one body.
const MAX_TRAILERS: usize = 100;

/// How a request says where its body ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Framing {
    /// So many bytes; none without any framing field.
    Length(u64),
    Chunked,
}

/// Why nobody can tell where a body ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum BadFraming {
    #[error("malformed or repeated Content-Length")]
    Length,
    #[error("Content-Length beside Transfer-Encoding")]
    Both,
    #[error("Transfer-Encoding in HTTP/1.0")]
    OldVersion,
    #[error("a Transfer-Encoding that does not end in chunked, once")]
    Coding,
    #[error("a Transfer-Encoding other than chunked")]
    UnknownCoding,
}

impl Framing {
    /// The framing of a request with these fields.
    pub(super) fn of(version: Version, fields: &Fields) -> Result<Self, BadFraming> {
        let mut lengths = fields.get_all(&CONTENT_LENGTH);
        let mut codings = fields.get_all(&TRANSFER_ENCODING).peekable();
        let length = lengths.next();
        if codings.peek().is_none() {
            let length = length.map_or(Some(0), number).filter(|_| lengths.next().is_none());
            return length.map(Self::Length).ok_or(BadFraming::Length);
        }
        if version < Version::HTTP_11 {
            return Err(BadFraming::OldVersion);
        }
        if length.is_some() {
            return Err(BadFraming::Both);
        }
        let codings = codings.flat_map(|value| value.split(|&byte| byte == b','));
        let codings: Vec<bool> =
            codings.map(|coding| coding.trim_ascii().eq_ignore_ascii_case(b"chunked")).collect();
        match codings.split_last() {
            Some((true, [])) => Ok(Self::Chunked),
            Some((true, before)) if !before.contains(&true) => Err(BadFraming::UnknownCoding),
            _ => Err(BadFraming::Coding),
        }
    }
}

/// Digits and nothing else.
fn number(digits: &[u8]) -> Option<u64> {
    if digits.is_empty() {
        return None;
    }
    digits.iter().try_fold(0_u64, |number, byte| {
        let digit = byte.is_ascii_digit().then(|| u64::from(byte - b'0'))?;
        number.checked_mul(10)?.checked_add(digit)
    })
}

/// A body on its way in.
#[derive(Debug)]
pub(crate) enum Decoder {
    /// So many bytes are to come.
    Length(u64),
    Chunked(Chunked, Box<Trailers>),
}

/// The trailer fields of a body in chunks.
#[derive(Debug, Default)]
pub(crate) struct Trailers {
    unread: Vec<u8>,
    /// Once all of them are there.
    pub(crate) fields: Fields,
}

impl Decoder {
    pub(crate) fn new(framing: Framing) -> Self {
        match framing {
            Framing::Length(length) => Self::Length(length),
            Framing::Chunked => Self::Chunked(Chunked::new(), Box::default()),
        }
    }

    /// Whether the body has been taken off the input whole.
    pub(crate) fn is_complete(&self) -> bool {
        match self {
            Self::Length(left) => *left == 0,
            Self::Chunked(chunked, _) => chunked.is_complete(),
        }
    }

    /// How many bytes of the body are still to come, for all that is known.
    pub(crate) fn at_least(&self) -> u64 {
        match self {
            Self::Length(left) => *left,
            Self::Chunked(..) => 0,
        }
    }

    /// The trailer fields of a complete body.
    pub(crate) fn trailers(&self) -> Fields {
        match self {
            Self::Length(_) => Fields::default(),
            Self::Chunked(_, trailers) => trailers.fields.clone(),
        }
    }

    /// Takes a piece of the body off the input. `None` when the body is complete, or there is
    /// nothing of it in the input, which is used up then.
    pub(crate) fn next(&mut self, input: &mut Bytes) -> Result<Option<Bytes>, InvalidChunk> {
        while !input.is_empty() && !self.is_complete() {
            match self {
                Self::Length(left) => {
                    let size = usize::try_from(*left).unwrap_or(usize::MAX).min(input.len());
                    *left -= size as u64;
                    return Ok(Some(input.split_to(size)));
                }
                Self::Chunked(chunked, trailers) => match chunked.next(input)? {
                    Piece::Coding(size) => pass(input, size),
                    Piece::Trailers(size) => {
                        trailers.take_in(&input[..size], chunked.is_complete())?;
                        pass(input, size);
                    }
                    Piece::Data(size) => return Ok(Some(input.split_to(size))),
                },
            }
        }
        Ok(None)
    }
}

impl Trailers {
    fn take_in(&mut self, bytes: &[u8], are_complete: bool) -> Result<(), InvalidChunk> {
        if self.unread.is_empty() && bytes == b"\r\n" {
            return Ok(());
        }
        self.unread.extend_from_slice(bytes);
        if are_complete {
            let bytes = Bytes::from(mem::take(&mut self.unread));
            let mut fields = vec![httparse::EMPTY_HEADER; MAX_TRAILERS];
            let parsed = httparse::parse_headers(&bytes, &mut fields);
            let Ok(httparse::Status::Complete((_, found))) = parsed else {
                return Err(InvalidChunk::Trailers);
            };
            self.fields = Fields::of(&bytes, found);
        }
        Ok(())
    }
}

/// Takes coding off the input.
fn pass(input: &mut Bytes, size: usize) {
    if size == input.len() {
        // Not just advanced: the end would keep the whole buffer.
        *input = Bytes::new();
    } else {
        input.advance(size);
    }
}

#[cfg(test)]
mod tests {
    use http::{HeaderMap, HeaderValue};
    use proptest::prelude::*;

    use super::*;

    /// A body and what follows it; `None` when it is not complete.
    type Outcome = Result<Option<(Vec<u8>, Vec<u8>)>, InvalidChunk>;

    fn read(framing: Framing, pieces: &[&[u8]]) -> Outcome {
        let (mut decoder, mut body, mut rest) = (Decoder::new(framing), Vec::new(), Vec::new());
        for piece in pieces {
            let mut input = Bytes::copy_from_slice(piece);
            while let Some(piece) = decoder.next(&mut input)? {
                body.extend_from_slice(&piece);
            }
            rest.extend_from_slice(&input);
        }
        Ok(decoder.is_complete().then_some((body, rest)))
    }

    fn framing(fields: &[(&'static str, &'static str)]) -> Result<Framing, BadFraming> {
        let fields = fields.iter().map(|(name, value)| {
            (http::HeaderName::from_static(name), HeaderValue::from_static(value))
        });
        let mut headers = HeaderMap::new();
        for (name, value) in fields {
            headers.append(name, value);
        }
        Framing::of(Version::HTTP_11, &Fields::from(&headers))
    }

    #[test]
    fn lengths() {
        assert_eq!(framing(&[]), Ok(Framing::Length(0)));
        let length = |value| framing(&[("content-length", value)]);
        assert_eq!(length("0017"), Ok(Framing::Length(17)));
        assert_eq!(length("18446744073709551615"), Ok(Framing::Length(u64::MAX)));
        for bad in ["", "-1", "+1", "1 1", "1,1", "0x1", "x", "18446744073709551616"] {
            assert_eq!(length(bad), Err(BadFraming::Length), "{bad}");
        }
        let two = |second| framing(&[("content-length", "2"), ("content-length", second)]);
        for bad in ["2", "3", "", "x"] {
            assert_eq!(two(bad), Err(BadFraming::Length), "{bad}");
        }
    }

    #[test]
    fn codings() {
        let coding = |value| framing(&[("transfer-encoding", value)]);
        assert_eq!(coding("Chunked"), Ok(Framing::Chunked));
        assert_eq!(coding("gzip, chunked"), Err(BadFraming::UnknownCoding));
        for bad in
            ["gzip", "chunked, gzip", "xchunked", "", "chunked,", "chunked, chunked", "\"chunked\""]
        {
            assert_eq!(coding(bad), Err(BadFraming::Coding), "{bad}");
        }
        let twice = [("transfer-encoding", "chunked"), ("transfer-encoding", "chunked")];
        assert_eq!(framing(&twice), Err(BadFraming::Coding));
        let both = [("transfer-encoding", "chunked"), ("content-length", "0")];
        assert_eq!(framing(&both), Err(BadFraming::Both));
        let mut headers = HeaderMap::new();
        headers.insert(TRANSFER_ENCODING, HeaderValue::from_static("chunked"));
        assert_eq!(
            Framing::of(Version::HTTP_10, &Fields::from(&headers)),
            Err(BadFraming::OldVersion)
        );
    }

    #[test]
    fn a_body_ends_where_it_says() {
        for (framing, input) in [
            (Framing::Length(5), "hellomore"),
            (Framing::Chunked, "3;x\r\nhel\r\n2\r\nlo\r\n0\r\nA: b\r\n\r\nmore"),
        ] {
            let read = read(framing, &[input.as_bytes()]);
            assert_eq!(read, Ok(Some((b"hello".into(), b"more".into()))), "{framing:?}");
        }
    }

    #[test]
    fn what_is_to_come() {
        let mut decoder = Decoder::new(Framing::Length(5));
        let mut input = Bytes::from("hel");
        assert_eq!(decoder.next(&mut input).unwrap().as_deref(), Some(&b"hel"[..]));
        assert_eq!(decoder.next(&mut input).unwrap(), None);
        assert_eq!((decoder.at_least(), decoder.is_complete()), (2, false));
    }

    fn chunks() -> impl Strategy<Value = Vec<u8>> {
        let extension = prop_oneof![Just(""), Just(";a=\"b\""), Just("  ")];
        let chunk = (prop::collection::vec(any::<u8>(), 1..30), extension);
        prop::collection::vec(chunk, 0..5).prop_map(|chunks| {
            let mut coded = Vec::new();
            for (data, extension) in chunks {
                coded.extend_from_slice(format!("{:x}{extension}\r\n", data.len()).as_bytes());
                coded.extend_from_slice(&data);
                coded.extend_from_slice(b"\r\n");
            }
            [&coded[..], b"0\r\nA: b\r\n\r\nmore"].concat()
        })
    }

    proptest! {
        #[test]
        fn cuts_do_not_matter(
            framing in prop_oneof![Just(Framing::Chunked), (0..40_u64).prop_map(Framing::Length)],
            mut text in chunks(),
            mistake in prop::option::of((any::<prop::sample::Index>(), any::<u8>())),
            cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..6),
        ) {
            if let Some((at, byte)) = mistake {
                let at = at.index(text.len());
                text[at] = byte;
            }
            let mut cuts: Vec<_> = cuts.iter().map(|cut| cut.index(text.len())).collect();
            cuts.extend([0, text.len()]);
            cuts.sort_unstable();
            let pieces: Vec<_> = cuts.windows(2).map(|pair| &text[pair[0]..pair[1]]).collect();
            prop_assert_eq!(read(framing, &pieces), read(framing, &[&text]));
        }
    }
}

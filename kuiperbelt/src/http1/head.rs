//! The head of a request from its bytes: start line, fields, and what they say of the body and of
//! the connection. How the bytes of a head come together is in `partial_head.rs`.

use std::mem::MaybeUninit;

use bytes::Bytes;
use http::header::CONNECTION;
use http::{Method, StatusCode, Uri, Version};
use httparse::{Header, Status};

use super::framing::{BadFraming, Framing};
use crate::fields::Fields;

/// The longest head, in bytes: 1 MiB for thousands of session fields, and some.
pub(super) const MAX_HEAD: usize = (1 << 20) + 4096;

/// The most fields in a head.
const MAX_FIELDS: usize = 24_000;

/// The most fields that need no memory of their own to be found.
const USUAL_FIELDS: usize = 64;

/// The longest target, in bytes: what `Uri` takes.
const MAX_TARGET: usize = u16::MAX as usize - 1;

/// What a client of HTTP/2 begins with (RFC 9113 section 3.4).
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n";

/// A request without its body.
#[derive(Debug)]
pub(crate) struct Head {
    pub(crate) method: Method,
    /// The target as it was written.
    pub(crate) target: Bytes,
    /// The same taken apart, if it can be.
    pub(crate) uri: Option<Uri>,
    pub(crate) version: Version,
    pub(crate) fields: Fields,
    pub(crate) framing: Framing,
    /// Whether the client wants to ask more on the connection.
    pub(crate) is_kept: bool,
}

/// Why a head is none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum BadHead {
    #[error("malformed head: {0}")]
    Syntax(httparse::Error),
    #[error("malformed head: invalid method")]
    Method,
    #[error("{0}")]
    Framing(#[from] BadFraming),
    #[error("the target is longer than 65,534 bytes")]
    LongTarget,
    #[error("the head is longer than 1 MiB or has more than 24,000 fields")]
    TooLarge,
    #[error("the client speaks HTTP/2")]
    OtherProtocol,
}

impl BadHead {
    /// The status of the answer; `None` for a client that would not understand it.
    pub(crate) fn status(self) -> Option<StatusCode> {
        match self {
            Self::LongTarget => Some(StatusCode::URI_TOO_LONG),
            Self::TooLarge => Some(StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE),
            Self::Framing(BadFraming::UnknownCoding) => Some(StatusCode::NOT_IMPLEMENTED),
            Self::OtherProtocol => None,
            _ => Some(StatusCode::BAD_REQUEST),
        }
    }
}

/// What bytes turn out to be.
pub(super) enum Parsed {
    /// A head, which takes so many of them. Boxed, since it goes through many hands.
    Whole(Box<Head>, usize),
    /// The beginning of a head.
    Partial,
    /// A head of more fields than usual, or the beginning of one.
    Long,
}

/// Reads a head of few fields.
pub(super) fn parse(bytes: &Bytes) -> Result<Parsed, BadHead> {
    let mut fields = [const { MaybeUninit::uninit() }; USUAL_FIELDS];
    match parse_into(bytes, &mut fields) {
        Ok(Some((head, size))) => Ok(Parsed::Whole(head, size)),
        Ok(None) => Ok(Parsed::Partial),
        Err(BadHead::TooLarge) => Ok(Parsed::Long),
        Err(bad) => Err(bad),
    }
}

/// Reads a head that is known to be there whole. Returns it with its size in bytes.
pub(super) fn parse_whole(bytes: &Bytes) -> Result<(Box<Head>, usize), BadHead> {
    let whole = match parse(bytes)? {
        Parsed::Whole(head, size) => Some((head, size)),
        Parsed::Partial => None,
        Parsed::Long => {
            let mut fields: Vec<_> = (0..MAX_FIELDS).map(|_| MaybeUninit::uninit()).collect();
            parse_into(bytes, &mut fields)?
        }
    };
    whole.ok_or(BadHead::Syntax(httparse::Error::NewLine))
}

/// Whether the beginning of a head can become one, as far as its first fields tell.
pub(super) fn check(beginning: &[u8]) -> Result<(), BadHead> {
    let mut fields = [const { MaybeUninit::uninit() }; USUAL_FIELDS];
    let mut request = httparse::Request::new(&mut []);
    match request.parse_with_uninit_headers(beginning, &mut fields) {
        Ok(_) | Err(httparse::Error::TooManyHeaders) => Ok(()),
        Err(error) => Err(malformed(beginning, error)),
    }
}

fn parse_into<'b>(
    bytes: &'b Bytes,
    fields: &mut [MaybeUninit<Header<'b>>],
) -> Result<Option<(Box<Head>, usize)>, BadHead> {
    let mut parsed = httparse::Request::new(&mut []);
    let size = match parsed.parse_with_uninit_headers(bytes, fields) {
        Ok(Status::Complete(size)) if size > MAX_HEAD => return Err(BadHead::TooLarge),
        Ok(Status::Complete(size)) => size,
        Ok(Status::Partial) => return Ok(None),
        Err(error) => return Err(malformed(bytes, error)),
    };
    let version = if parsed.version == Some(1) { Version::HTTP_11 } else { Version::HTTP_10 };
    let target = parsed.path.unwrap_or_default().as_bytes();
    if target.len() > MAX_TARGET {
        return Err(BadHead::LongTarget);
    }
    let method = parsed.method.unwrap_or_default();
    let method = Method::from_bytes(method.as_bytes()).map_err(|_| BadHead::Method)?;
    let target = bytes.slice_ref(target);
    let uri = Uri::from_maybe_shared(target.clone()).ok();
    let fields = Fields::of(bytes, parsed.headers);
    let framing = Framing::of(version, &fields)?;
    let is_kept = is_kept(version, &fields);
    Ok(Some((Box::new(Head { method, target, uri, version, fields, framing, is_kept }), size)))
}

fn malformed(bytes: &[u8], error: httparse::Error) -> BadHead {
    match error {
        httparse::Error::TooManyHeaders => BadHead::TooLarge,
        _ if bytes.starts_with(PREFACE) => BadHead::OtherProtocol,
        error => BadHead::Syntax(error),
    }
}

/// Whether the connection persists (RFC 9112 section 9.3).
fn is_kept(version: Version, fields: &Fields) -> bool {
    let mut is_kept = version >= Version::HTTP_11;
    for value in fields.get_all(&CONNECTION) {
        for option in value.split(|&byte| byte == b',').map(<[u8]>::trim_ascii) {
            if option.eq_ignore_ascii_case(b"close") {
                return false;
            }
            is_kept |= option.eq_ignore_ascii_case(b"keep-alive");
        }
    }
    is_kept
}

#[cfg(test)]
mod tests {
    use http::HeaderName;

    use super::*;

    fn read(text: &str) -> Result<(Box<Head>, usize), BadHead> {
        parse_whole(&Bytes::copy_from_slice(text.as_bytes()))
    }

    #[test]
    fn a_head_has_all_it_says() {
        let text = "\r\nPOST /send?a=b HTTP/1.1\r\nHost: x\r\nA: 1\r\nA:2 \r\na: 3\r\nB:\r\nA: 4\r\n\
                    Content-Length: 5\r\n\r\n";
        let (head, size) = read(&format!("{text}hello")).unwrap();
        assert_eq!(size, text.len());
        assert_eq!((head.framing, head.is_kept), (Framing::Length(5), true));
        assert_eq!((&head.method, head.version), (&Method::POST, Version::HTTP_11));
        assert_eq!(head.target, "/send?a=b");
        assert_eq!(head.uri.unwrap(), "/send?a=b");
        let values = |name| head.fields.get_all(&HeaderName::from_static(name)).collect::<Vec<_>>();
        assert_eq!(values("a"), [b"1", b"2", b"3", b"4"]);
        assert_eq!(values("b"), [b""]);
        assert_eq!(head.fields.len(), 7);
    }

    #[test]
    fn many_fields() {
        let head = |lines: String| read(&format!("GET / HTTP/1.1\r\n{lines}\r\n"));
        let same = |count| "X: y\r\n".repeat(count);
        let different = |count| (0..count).map(|number| format!("X{number}: y\r\n")).collect();
        for count in [USUAL_FIELDS, USUAL_FIELDS + 1, MAX_FIELDS] {
            assert_eq!(head(same(count)).unwrap().0.fields.len(), count);
            assert_eq!(head(different(count)).unwrap().0.fields.len(), count);
        }
        assert_eq!(head(same(MAX_FIELDS + 1)).unwrap_err(), BadHead::TooLarge);
        assert_eq!(head(different(MAX_FIELDS + 1)).unwrap_err(), BadHead::TooLarge);
    }

    #[test]
    fn bounds() {
        let head = |target: usize, field: usize| {
            let (target, field) = ("x".repeat(target), "x".repeat(field));
            read(&format!("GET /{target} HTTP/1.1\r\nX: {field}\r\n\r\n")).map(|(_, size)| size)
        };
        let around = head(0, 0).unwrap();
        assert_eq!(head(0, MAX_HEAD - around), Ok(MAX_HEAD));
        assert_eq!(head(0, MAX_HEAD - around + 1), Err(BadHead::TooLarge));
        assert!(head(MAX_TARGET - 1, 0).is_ok());
        assert_eq!(head(MAX_TARGET, 0), Err(BadHead::LongTarget));
    }

    #[test]
    fn what_is_no_head() {
        for text in [
            "nonsense\r\n\r\n",
            "GET /\r\n\r\n",
            "GET / HTTP/2.0\r\n\r\n",
            "GET / http/1.1\r\n\r\n",
            "GET  / HTTP/1.1\r\n\r\n",
            "GET /a b HTTP/1.1\r\n\r\n",
            "G@T / HTTP/1.1\r\n\r\n",
            "GET / HTTP/1.1\r\nA : b\r\n\r\n",
            "GET / HTTP/1.1\r\n A: b\r\n\r\n",
            "GET / HTTP/1.1\r\nA: b\r\n c\r\n\r\n",
            "GET / HTTP/1.1\r\nA b\r\n\r\n",
            "GET / HTTP/1.1\r\n: b\r\n\r\n",
            "GET / HTTP/1.1\r\nA: b\rc\r\n\r\n",
            "GET / HTTP/1.1\r\nA: b\0c\r\n\r\n",
            "GET / HTTP/1.1\r\nA\0: b\r\n\r\n",
            "GET / HTTP/1.1\rA: b\r\n\r\n",
            "GET / HTTP/1.1\r\nContent-Length: x\r\n\r\n",
        ] {
            let bad = read(text).unwrap_err();
            assert_eq!(bad.status(), Some(StatusCode::BAD_REQUEST), "{text:?}: {bad}");
        }
        let preface = read("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").unwrap_err();
        assert_eq!((preface, preface.status()), (BadHead::OtherProtocol, None));
    }

    #[test]
    fn targets_that_no_uri_can_hold() {
        for target in ["http://", "/a<b", "/a`b", "x y"] {
            let head = read(&format!("GET {target} HTTP/1.1\r\n\r\n"));
            let is_one = !target.contains(' ');
            assert_eq!(head.as_ref().is_ok_and(|(head, _)| head.uri.is_none()), is_one, "{target}");
        }
        assert_eq!(read("GET /a#b HTTP/1.1\r\n\r\n").unwrap().0.target, "/a#b");
    }

    #[test]
    fn connections_are_kept() {
        for (version, fields, kept) in [
            ("1.1", "", true),
            ("1.1", "Connection: Close\r\n", false),
            ("1.1", "Connection: a , close\r\nConnection: keep-alive\r\n", false),
            ("1.1", "Connection: closed\r\n", true),
            ("1.0", "", false),
            ("1.0", "Connection: Keep-Alive, a\r\n", true),
            ("1.0", "Connection: keep-alive\r\nConnection: close\r\n", false),
        ] {
            let head = read(&format!("GET / HTTP/{version}\r\n{fields}\r\n")).unwrap().0;
            assert_eq!(head.is_kept, kept, "{version} {fields:?}");
        }
    }
}

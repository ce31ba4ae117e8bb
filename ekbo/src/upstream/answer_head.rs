//! The head of an answer: its status, where its body ends (RFC 9112 section 6.3), whether its
//! connection may be kept (section 9.3), and which of its fields the client gets. What could be read
//! in two ways is no answer.

use httparse::{Header, ParserConfig};
use kuiperbelt::http::header::{CONNECTION, CONTENT_LENGTH, TRANSFER_ENCODING, UPGRADE};
use kuiperbelt::http::{HeaderName, StatusCode};

use super::hop_by_hop::Options;
use super::protocols::Protocols;
use super::request_head::Asked;
use crate::outbound::parse;

/// Why an answer cannot be passed on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum BadHead {
    #[error("malformed head: {0}")]
    Syntax(#[from] httparse::Error),
    #[error("malformed or contradictory Content-Length")]
    Length,
    #[error("Content-Length beside Transfer-Encoding")]
    Both,
    #[error("a Transfer-Encoding other than chunked")]
    Coding,
    #[error("more than 100 options in Connection")]
    Connection,
    #[error("a change of protocol that nobody asked for")]
    Upgrade,
}

/// Where a body ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Extent {
    /// There is none, whatever length is announced.
    None(Option<u64>),
    Length(u64),
    Chunked,
    /// With the connection.
    UntilEnd,
}

/// A head that makes sense.
#[derive(Debug)]
pub(super) struct AnswerHead<'a> {
    pub(super) status: StatusCode,
    pub(super) reason: &'a [u8],
    pub(super) extent: Extent,
    /// Whether another request may follow on the connection.
    pub(super) is_kept: bool,
    fields: &'a [Header<'a>],
    options: Options<'a>,
}

/// Has `read` look at a whole head.
pub(super) fn read<T>(
    bytes: &[u8],
    asked: &Asked<'_>,
    read: impl FnOnce(&AnswerHead<'_>) -> T,
) -> Result<T, BadHead> {
    let mut parser = ParserConfig::default();
    // RFC 9112 section 5.1: a gateway takes the space off.
    parser.allow_spaces_after_header_name_in_responses(true);
    parse(bytes, &parser, |parsed| {
        AnswerHead::of(parsed, reason_of(bytes), asked).map(|head| read(&head))
    })?
}

impl<'a> AnswerHead<'a> {
    fn of(
        parsed: &'a httparse::Response<'_, '_>,
        reason: &'a [u8],
        asked: &Asked<'_>,
    ) -> Result<Self, BadHead> {
        let status = parsed.code.and_then(|code| StatusCode::from_u16(code).ok());
        let status = status.ok_or(httparse::Error::Status)?;
        let is_new = parsed.version == Some(1);
        let fields: &[Header<'_>] = parsed.headers;
        if status == StatusCode::SWITCHING_PROTOCOLS {
            let protocols = Protocols::of(all(fields, UPGRADE.as_str()));
            if !protocols.is_ok_and(|protocols| asked.protocols.include(&protocols)) {
                return Err(BadHead::Upgrade);
            }
        }
        let options = Options::of(all(fields, CONNECTION.as_str()));
        let options = options.map_err(|_| BadHead::Connection)?;
        let extent = extent(fields, status, is_new, asked.is_head)?;
        let is_kept = !options.close
            && (is_new || options.keep_alive)
            && extent != Extent::UntilEnd
            // What announces a body that it must not have may well send it.
            && (status != StatusCode::NO_CONTENT
                || matches!(extent, Extent::None(None | Some(0)))
                    && all(fields, TRANSFER_ENCODING.as_str()).next().is_none());
        Ok(Self { status, reason, extent, is_kept, fields, options })
    }

    /// The fields that go on to the client: neither those of the connection nor the length, both of
    /// which are written anew. An upgrade is told of only where there is one, or has to be (RFC 9110
    /// section 15.5.22): what else a server offers may be what does not go through here.
    pub(super) fn fields(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        let tells_of_upgrade =
            matches!(self.status, StatusCode::SWITCHING_PROTOCOLS | StatusCode::UPGRADE_REQUIRED);
        let going_on = self.fields.iter().filter(move |field| {
            let is = |name: &HeaderName| field.name.eq_ignore_ascii_case(name.as_str());
            let ends = is(&CONTENT_LENGTH) || self.options.ends(field.name.as_bytes());
            !ends || tells_of_upgrade && is(&UPGRADE)
        });
        going_on.map(|field| (field.name.as_bytes(), field.value))
    }
}

fn extent(
    fields: &[Header<'_>],
    status: StatusCode,
    is_new: bool,
    is_head: bool,
) -> Result<Extent, BadHead> {
    let mut length = None;
    let values = all(fields, CONTENT_LENGTH.as_str());
    for digits in values.flat_map(|value| value.split(|&byte| byte == b',')) {
        let next = number(digits.trim_ascii()).ok_or(BadHead::Length)?;
        if length.is_some_and(|length| length != next) {
            return Err(BadHead::Length);
        }
        length = Some(next);
    }
    let mut codings = all(fields, TRANSFER_ENCODING.as_str());
    let coding = codings.next();
    if let Some(coding) = coding {
        if codings.next().is_some() || !is_new || !coding.eq_ignore_ascii_case(b"chunked") {
            return Err(BadHead::Coding);
        }
        if length.is_some() {
            return Err(BadHead::Both);
        }
    }
    let is_bare = is_head
        || status.is_informational()
        || matches!(status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED);
    Ok(match (length, coding) {
        _ if is_bare => Extent::None(length),
        (_, Some(_)) => Extent::Chunked,
        (Some(length), None) => Extent::Length(length),
        (None, None) => Extent::UntilEnd,
    })
}

/// The reason in the first line, whatever bytes it has: the parser knows only those in ASCII.
fn reason_of(head: &[u8]) -> &[u8] {
    let start = head.iter().position(|byte| !matches!(byte, b'\r' | b'\n'));
    let line = &head[start.unwrap_or(head.len())..];
    let line = line.split(|&byte| byte == b'\n').next().unwrap_or_default();
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    line.get("HTTP/1.1 200 ".len()..).unwrap_or_default()
}

/// The values of the fields of a name.
fn all<'a>(fields: &'a [Header<'a>], name: &'static str) -> impl Iterator<Item = &'a [u8]> {
    let found = fields.iter().filter(move |field| field.name.eq_ignore_ascii_case(name));
    found.map(|field| field.value)
}

/// A number of digits alone.
fn number(digits: &[u8]) -> Option<u64> {
    let is_number = !digits.is_empty() && digits.iter().all(u8::is_ascii_digit);
    std::str::from_utf8(digits).ok().filter(|_| is_number)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const GET: Asked<'_> = Asked { is_head: false, protocols: Protocols::none() };

    /// Status, extent and whether the connection is kept.
    fn read_head(head: &str, asked: &Asked<'_>) -> Result<(u16, Extent, bool), BadHead> {
        let head = format!("{head}\r\n");
        read(head.as_bytes(), asked, |head| (head.status.as_u16(), head.extent, head.is_kept))
    }

    #[test]
    fn extents() {
        let extent = |fields: &str| {
            read_head(&format!("HTTP/1.1 200 OK\r\n{fields}"), &GET).map(|(_, extent, _)| extent)
        };
        assert_eq!(extent(""), Ok(Extent::UntilEnd));
        assert_eq!(extent("Content-Length: 5\r\n"), Ok(Extent::Length(5)));
        assert_eq!(extent("Content-Length: 5, 5\r\ncontent-length: 5\r\n"), Ok(Extent::Length(5)));
        assert_eq!(extent("Transfer-Encoding: Chunked\r\n"), Ok(Extent::Chunked));
        for bad in ["", "-1", "+1", "1 1", "1,", "1, 2", "0x1", "18446744073709551616"] {
            assert_eq!(
                extent(&format!("Content-Length: {bad}\r\n")),
                Err(BadHead::Length),
                "{bad}"
            );
        }
        let two = "Content-Length: 1\r\nContent-Length: 2\r\n";
        assert_eq!(extent(two), Err(BadHead::Length));
        for bad in ["gzip", "gzip, chunked", "chunked, chunked", "identity", ""] {
            let field = format!("Transfer-Encoding: {bad}\r\n");
            assert_eq!(extent(&field), Err(BadHead::Coding), "{bad}");
        }
        let two = "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n";
        assert_eq!(extent(two), Err(BadHead::Coding));
        let both = "Transfer-Encoding: chunked\r\nContent-Length: 5\r\n";
        assert_eq!(extent(both), Err(BadHead::Both));
        let old = read_head("HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n", &GET);
        assert_eq!(old, Err(BadHead::Coding));
    }

    #[test]
    fn answers_without_a_body() {
        let length = "Content-Length: 5\r\n";
        for status in [204, 304] {
            let head = format!("HTTP/1.1 {status} X\r\n{length}");
            let (_, extent, _) = read_head(&head, &GET).unwrap();
            assert_eq!(extent, Extent::None(Some(5)), "{status}");
        }
        let to_head = Asked { is_head: true, ..GET };
        let head = format!("HTTP/1.1 200 OK\r\n{length}");
        assert_eq!(read_head(&head, &to_head), Ok((200, Extent::None(Some(5)), true)));
        let head = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n";
        assert_eq!(read_head(head, &to_head), Ok((200, Extent::None(None), true)));
    }

    #[test]
    fn connections_are_kept() {
        for (head, is_kept) in [
            ("HTTP/1.1 200 OK\r\nContent-Length: 1\r\n", true),
            ("HTTP/1.1 200 OK\r\nContent-Length: 1\r\nConnection: x, Close\r\n", false),
            ("HTTP/1.0 200 OK\r\nContent-Length: 1\r\n", false),
            ("HTTP/1.0 200 OK\r\nContent-Length: 1\r\nConnection: keep-alive\r\n", true),
            ("HTTP/1.1 200 OK\r\n", false),
            ("HTTP/1.1 204 No Content\r\n", true),
            ("HTTP/1.1 204 No Content\r\nContent-Length: 0\r\n", true),
            ("HTTP/1.1 204 No Content\r\nContent-Length: 1\r\n", false),
            ("HTTP/1.1 204 No Content\r\nTransfer-Encoding: chunked\r\n", false),
            ("HTTP/1.1 304 Not Modified\r\nContent-Length: 1\r\n", true),
            ("HTTP/1.1 304 Not Modified\r\nTransfer-Encoding: chunked\r\n", true),
        ] {
            assert_eq!(read_head(head, &GET).unwrap().2, is_kept, "{head:?}");
        }
    }

    #[test]
    fn fields_that_go_on() {
        let head = b"HTTP/1.1 200 \xc3\xa4h\r\nX-B: 1\r\nContent-Length: 0\r\nset-cookie: a\r\n\
                     Connection: X-Own, keep-alive\r\nKeep-Alive: 5\r\nx-own: 2\r\nX-A :3\r\n\
                     Trailer: c\r\nSet-Cookie: b\r\nUpgrade: h2c\r\n\r\n";
        let fields = read(head, &GET, |head| {
            assert_eq!(head.reason, b"\xc3\xa4h");
            let lines = head.fields().map(|(name, value)| [name, b"=", value].concat());
            lines.map(|line| String::from_utf8(line).unwrap()).collect::<Vec<_>>()
        });
        assert_eq!(
            fields.unwrap(),
            ["X-B=1", "set-cookie=a", "X-A=3", "Trailer=c", "Set-Cookie=b"]
        );
    }

    #[test]
    fn changes_of_protocol() {
        let head = b"HTTP/1.1 101 Go\r\nupgrade: echo\r\nConnection: upgrade\r\nX: y\r\n\r\n";
        assert_eq!(read(head, &GET, |_| ()), Err(BadHead::Upgrade));
        let protocols = Protocols::of([&b"more/1, Echo/2"[..]].into_iter()).unwrap();
        let asking = Asked { protocols, ..GET };
        let names = read(head, &asking, |head| {
            head.fields().map(|(name, _)| name.to_vec()).collect::<Vec<_>>()
        });
        assert_eq!(names.unwrap(), [&b"upgrade"[..], b"X"]);
        for (fields, is_answer) in [
            ("Upgrade: echo/3\r\n", true),
            ("Upgrade: MORE, echo/2\r\n", true),
            ("", false),
            ("Upgrade:\r\n", false),
            ("Upgrade: other\r\n", false),
            ("Upgrade: echo\r\nUpgrade: h2c\r\n", false),
        ] {
            let head = format!("HTTP/1.1 101 Go\r\n{fields}\r\n");
            let expected = if is_answer { Ok(()) } else { Err(BadHead::Upgrade) };
            assert_eq!(read(head.as_bytes(), &asking, |_| ()), expected, "{fields:?}");
        }
    }

    #[test]
    fn options_that_go_on_and_on() {
        let read = |options| {
            let options = "a,".repeat(options);
            read_head(&format!("HTTP/1.1 204 OK\r\nConnection: {options}\r\n"), &GET)
        };
        assert!(read(100).is_ok());
        assert_eq!(read(101), Err(BadHead::Connection));
    }

    #[test]
    fn offers_of_other_protocols_go_on_where_they_have_to() {
        for (status, expected) in [("426 No", &[&b"Upgrade"[..], b"X"][..]), ("200 OK", &[b"X"])] {
            let fields = "Upgrade: h2c\r\nConnection: Upgrade, close\r\nX: y\r\n";
            let head = format!("HTTP/1.1 {status}\r\n{fields}\r\n");
            let names = read(head.as_bytes(), &GET, |head| {
                head.fields().map(|(name, _)| name.to_vec()).collect::<Vec<_>>()
            });
            assert_eq!(names.unwrap(), expected, "{status}");
        }
    }

    #[test]
    fn what_is_no_head() {
        for bad in [
            "hello\r\n",
            "HTTP/2.0 200 OK\r\n",
            "HTTP/1.1 20 OK\r\n",
            "HTTP/1.1 099 No\r\n",
            "HTTP/1.1 200 OK\r\nA: b\r\n c\r\n",
            "HTTP/1.1 200 OK\r\nA: b\rc\r\n",
            "HTTP/1.1 200 OK\r\nA: b\0c\r\n",
            "HTTP/1.1 200 OK\r\nA b\r\n",
            "HTTP/1.1 200 OK\r\n: b\r\n",
        ] {
            assert!(matches!(read_head(bad, &GET), Err(BadHead::Syntax(_))), "{bad:?}");
        }
    }
}

//! An answer as bytes (RFC 9112 section 4). The fields that frame it, and the date, are written
//! here and taken from nobody.

use http::header::{CONNECTION, CONTENT_LENGTH, CONTENT_TYPE, DATE, TRANSFER_ENCODING, UPGRADE};
use http::{HeaderName, Method, StatusCode, Version};

use super::date;
use crate::answer::Answer;

/// What a client is told that waits with its body (RFC 9110 section 10.1.1).
pub(crate) const CONTINUE: &[u8] = b"HTTP/1.1 100 Continue\r\n\r\n";

/// What is known of the body of an answer before it is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AnswerBody {
    /// None follows, as to HEAD and with 204 and 304; and what `Content-Length` says all the same.
    None(Option<u64>),
    /// So many bytes.
    Length(u64),
    /// It ends when it ends.
    Unknown,
}

/// How the body of an answer is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Coding {
    /// So many bytes are to come.
    Length(u64),
    /// RFC 9112 section 7.1.
    Chunked,
    /// As it is, and its end is that of the connection.
    UntilEnd,
}

/// How a request is to be answered, whatever the answer.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Reply {
    is_head: bool,
    is_old: bool,
    /// Whether the connection goes on after the answer.
    pub(crate) is_kept: bool,
}

impl Reply {
    pub(crate) fn to(method: &Method, version: Version, is_kept: bool) -> Self {
        Self { is_head: method == Method::HEAD, is_old: version < Version::HTTP_11, is_kept }
    }

    /// To what was no request.
    pub(crate) const fn last() -> Self {
        Self { is_head: false, is_old: false, is_kept: false }
    }

    /// Whether the body of the answer is written, and not left out as the request or the status
    /// demands (RFC 9112 section 6.3).
    pub(crate) fn has_body(self, answer: &Answer) -> bool {
        !self.is_head && allows_body(answer.status())
    }

    /// Appends the head of the answer.
    pub(crate) fn push_head(self, answer: &Answer, out: &mut Vec<u8>) {
        let status = answer.status();
        out.extend_from_slice(if self.is_old { b"HTTP/1.0 " } else { b"HTTP/1.1 " });
        out.extend_from_slice(status.as_str().as_bytes());
        out.push(b' ');
        out.extend_from_slice(status.canonical_reason().unwrap_or("<none>").as_bytes());
        out.extend_from_slice(b"\r\n");
        let mut says_connection = false;
        for (name, value) in answer.headers() {
            if [CONTENT_LENGTH, TRANSFER_ENCODING, DATE].contains(name) {
                continue;
            }
            says_connection |= name == CONNECTION;
            push_name(name, out);
            out.extend_from_slice(value.as_bytes());
            out.extend_from_slice(b"\r\n");
        }
        if !says_connection && status != StatusCode::SWITCHING_PROTOCOLS {
            self.push_connection(out);
        }
        if allows_body(status) {
            push_length(answer.body().len() as u64, out);
        }
        push_date(out);
        out.extend_from_slice(b"\r\n");
    }

    /// Appends the head of an answer whose body follows piece by piece. Of the fields none but `Upgrade`
    /// concerns the connection, or says where the body ends. The reply becomes what the head says of it.
    pub(crate) fn push_streamed_head<'a>(
        &mut self,
        status: StatusCode,
        reason: &[u8],
        fields: impl IntoIterator<Item = (&'a [u8], &'a [u8])>,
        extent: AnswerBody,
        out: &mut Vec<u8>,
    ) -> Coding {
        out.extend_from_slice(if self.is_old { b"HTTP/1.0 " } else { b"HTTP/1.1 " });
        out.extend_from_slice(status.as_str().as_bytes());
        out.push(b' ');
        out.extend_from_slice(reason);
        out.extend_from_slice(b"\r\n");
        let mut is_dated = status.is_informational();
        let mut upgrades = false;
        for (name, value) in fields {
            is_dated |= name.eq_ignore_ascii_case(DATE.as_str().as_bytes());
            upgrades |= name.eq_ignore_ascii_case(UPGRADE.as_str().as_bytes());
            push_field(name, value, out);
        }
        let coding = self.coding(status, extent);
        self.is_kept &= coding != Coding::UntilEnd;
        if upgrades {
            out.extend_from_slice(b"Connection: Upgrade\r\n");
        }
        if status != StatusCode::SWITCHING_PROTOCOLS {
            self.push_connection(out);
        }
        match (extent, coding) {
            (AnswerBody::None(None), _) => {}
            (AnswerBody::None(Some(length)) | AnswerBody::Length(length), _) => {
                if allows_body(status) || status == StatusCode::NOT_MODIFIED {
                    push_length(length, out);
                }
            }
            (AnswerBody::Unknown, Coding::Chunked) => {
                out.extend_from_slice(b"Transfer-Encoding: chunked\r\n");
            }
            (AnswerBody::Unknown, _) => {}
        }
        if !is_dated {
            push_date(out);
        }
        out.extend_from_slice(b"\r\n");
        coding
    }

    /// How the body of an answer is written.
    fn coding(self, status: StatusCode, extent: AnswerBody) -> Coding {
        match extent {
            _ if self.is_head || !allows_body(status) => Coding::Length(0),
            AnswerBody::None(_) => Coding::Length(0),
            AnswerBody::Length(length) => Coding::Length(length),
            AnswerBody::Unknown if self.is_old => Coding::UntilEnd,
            AnswerBody::Unknown => Coding::Chunked,
        }
    }

    fn push_connection(self, out: &mut Vec<u8>) {
        match (self.is_old, self.is_kept) {
            (false, false) => out.extend_from_slice(b"Connection: close\r\n"),
            (true, true) => out.extend_from_slice(b"Connection: keep-alive\r\n"),
            (false, true) | (true, false) => {}
        }
    }
}

/// Appends a field as it is.
pub(crate) fn push_field(name: &[u8], value: &[u8], out: &mut Vec<u8>) {
    out.extend_from_slice(name);
    out.extend_from_slice(b": ");
    out.extend_from_slice(value);
    out.extend_from_slice(b"\r\n");
}

fn push_length(length: u64, out: &mut Vec<u8>) {
    out.extend_from_slice(b"Content-Length: ");
    push_number(length, out);
    out.extend_from_slice(b"\r\n");
}

fn push_date(out: &mut Vec<u8>) {
    out.extend_from_slice(b"Date: ");
    date::push_now(out);
    out.extend_from_slice(b"\r\n");
}

fn allows_body(status: StatusCode) -> bool {
    let is_bare = status.is_informational()
        || matches!(status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED);
    !is_bare
}

/// The name as people write it, since some look for it so: each word with a capital.
fn push_name(name: &HeaderName, out: &mut Vec<u8>) {
    if name == CONTENT_TYPE {
        out.extend_from_slice(b"Content-Type: ");
        return;
    }
    let start = out.len();
    out.extend_from_slice(name.as_str().as_bytes());
    let mut is_first = true;
    for byte in &mut out[start..] {
        if is_first {
            byte.make_ascii_uppercase();
        }
        is_first = *byte == b'-';
    }
    out.extend_from_slice(b": ");
}

fn push_number(number: u64, out: &mut Vec<u8>) {
    let mut digits = [0; 20];
    let (mut at, mut rest) = (digits.len(), number);
    loop {
        at -= 1;
        digits[at] = b'0' + (rest % 10) as u8;
        rest /= 10;
        if rest == 0 {
            break;
        }
    }
    out.extend_from_slice(&digits[at..]);
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn head(reply: Reply, answer: &Answer) -> String {
        let mut out = Vec::new();
        reply.push_head(answer, &mut out);
        let text = String::from_utf8(out).unwrap();
        let (head, date) = text.split_once("Date: ").unwrap();
        assert_eq!(date.len(), "Sun, 06 Nov 1994 08:49:37 GMT\r\n\r\n".len(), "{date:?}");
        head.to_owned()
    }

    #[expect(clippy::needless_pass_by_value)]
    fn reply(method: Method, version: Version, is_kept: bool) -> Reply {
        Reply::to(&method, version, is_kept)
    }

    #[test]
    fn heads() {
        let mut answer = Answer::new("hello".into());
        answer.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("a/b"));
        answer.headers_mut().insert("x-two-words", HeaderValue::from_static("c"));
        answer.headers_mut().insert(CONTENT_LENGTH, HeaderValue::from_static("17"));
        let fields = "Content-Type: a/b\r\nX-Two-Words: c\r\n";
        for (version, is_kept, start, connection) in [
            (Version::HTTP_11, true, "HTTP/1.1 200 OK\r\n", ""),
            (Version::HTTP_11, false, "HTTP/1.1 200 OK\r\n", "Connection: close\r\n"),
            (Version::HTTP_10, true, "HTTP/1.0 200 OK\r\n", "Connection: keep-alive\r\n"),
            (Version::HTTP_10, false, "HTTP/1.0 200 OK\r\n", ""),
        ] {
            let expected = format!("{start}{fields}{connection}Content-Length: 5\r\n");
            assert_eq!(head(reply(Method::GET, version, is_kept), &answer), expected);
            let to_head = reply(Method::HEAD, version, is_kept);
            assert_eq!(head(to_head, &answer), expected);
            assert!(!to_head.has_body(&answer));
        }
        answer.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
        let expected =
            format!("HTTP/1.1 200 OK\r\n{fields}Connection: close\r\nContent-Length: 5\r\n");
        assert_eq!(head(Reply::last(), &answer), expected);
    }

    #[test]
    fn answers_without_a_body() {
        for (status, start) in [
            (101, "HTTP/1.1 101 Switching Protocols\r\n"),
            (204, "HTTP/1.1 204 No Content\r\nConnection: close\r\n"),
            (304, "HTTP/1.1 304 Not Modified\r\nConnection: close\r\n"),
        ] {
            let mut answer = Answer::new("hello".into());
            *answer.status_mut() = StatusCode::from_u16(status).unwrap();
            assert_eq!(head(Reply::last(), &answer), start);
            assert!(!Reply::last().has_body(&answer));
        }
    }

    #[test]
    fn numbers() {
        for number in [0, 9, 10, 12_345, u64::MAX] {
            let mut out = Vec::new();
            push_number(number, &mut out);
            assert_eq!(out, number.to_string().into_bytes());
        }
    }
}

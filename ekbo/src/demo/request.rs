//! One HTTP/1.1 request read from a blocking stream, and the answer to it. Sizes are bounded, and
//! a connection carries one request: few threads serve everybody, none waits for a second one.

use std::io::{self, Read, Write};

/// Room for the client's own headers, which the gateway passes on.
const MAX_HEAD: usize = 64 * 1024;
const MAX_FIELDS: usize = 128;
/// A chat message; the page itself stops at 2,000 characters.
pub(super) const MAX_BODY: usize = 64 * 1024;

pub(super) struct Request {
    pub(super) method: String,
    pub(super) path: String,
    /// Without the question mark; empty when there is none.
    pub(super) query: String,
    fields: Vec<(String, Vec<u8>)>,
    pub(super) body: Vec<u8>,
}

impl Request {
    /// Reads one request. `Ok(Err(…))` is the refusal to answer with, `Err` a stream on which no
    /// answer makes sense (closed before a request began, timed out, broken).
    pub(super) fn read(stream: &mut impl Read) -> io::Result<Result<Self, Answer>> {
        let mut bytes = Vec::new();
        let (mut request, head_size) = loop {
            match Self::parse(&bytes) {
                Ok(Some(parsed)) => break parsed,
                Ok(None) if bytes.len() < MAX_HEAD => read_some(stream, &mut bytes)?,
                Ok(None) => return Ok(Err(Answer::text(431, "the request's head is too large"))),
                Err(_) => return Ok(Err(Answer::text(400, "this is not an HTTP/1.1 request"))),
            }
        };
        let body_size = match request.announced_body() {
            Ok(size) => size,
            Err(refusal) => return Ok(Err(refusal)),
        };
        bytes.drain(..head_size);
        while bytes.len() < body_size {
            read_some(stream, &mut bytes)?;
        }
        bytes.truncate(body_size);
        request.body = bytes;
        Ok(Ok(request))
    }

    /// The value of a field, if it is there and is text.
    pub(super) fn field(&self, name: &str) -> Option<&str> {
        let (_, value) = self.fields.iter().find(|(field, _)| field.eq_ignore_ascii_case(name))?;
        str::from_utf8(value).ok()
    }

    fn parse(bytes: &[u8]) -> Result<Option<(Self, usize)>, httparse::Error> {
        let mut fields = [httparse::EMPTY_HEADER; MAX_FIELDS];
        let mut head = httparse::Request::new(&mut fields);
        let httparse::Status::Complete(size) = head.parse(bytes)? else {
            return Ok(None);
        };
        let target = head.path.unwrap_or_default();
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let request = Self {
            method: head.method.unwrap_or_default().to_owned(),
            path: path.to_owned(),
            query: query.to_owned(),
            fields: head
                .headers
                .iter()
                .map(|field| (field.name.to_owned(), field.value.to_vec()))
                .collect(),
            body: Vec::new(),
        };
        Ok(Some((request, size)))
    }

    fn announced_body(&self) -> Result<usize, Answer> {
        if self.field("Transfer-Encoding").is_some() {
            return Err(Answer::text(411, "a body needs a Content-Length here"));
        }
        match self.field("Content-Length").map(str::parse) {
            None => Ok(0),
            Some(Ok(size)) if size <= MAX_BODY => Ok(size),
            Some(Ok(_)) => Err(Answer::text(413, "the message is too large")),
            Some(Err(_)) => Err(Answer::text(400, "the Content-Length is not a number")),
        }
    }
}

pub(super) struct Answer {
    status: u16,
    content_type: &'static str,
    session: Option<String>,
    body: String,
}

impl Answer {
    /// A line of text, for people.
    pub(super) fn text(status: u16, line: &str) -> Self {
        Self {
            status,
            content_type: "text/plain; charset=utf-8",
            session: None,
            body: format!("{line}\n"),
        }
    }

    /// "Noted": what the gateway wants to hear of a callback whose answer says nothing.
    pub(super) fn empty() -> Self {
        Self {
            status: 200,
            content_type: "text/plain; charset=utf-8",
            session: None,
            body: String::new(),
        }
    }

    /// Admits a client: the key of its session, and its first message.
    pub(super) fn admit(key: String, first_message: String) -> Self {
        Self {
            content_type: "application/json",
            session: Some(key),
            body: first_message,
            ..Self::empty()
        }
    }

    pub(super) fn is_refusal(&self) -> bool {
        self.status >= 400
    }

    pub(super) fn write(&self, stream: &mut impl Write) -> io::Result<()> {
        let Self { status, content_type, body, .. } = self;
        let reason = match status {
            200 => "OK",
            400 => "Bad Request",
            403 => "Forbidden",
            404 => "Not Found",
            405 => "Method Not Allowed",
            411 => "Length Required",
            413 => "Content Too Large",
            415 => "Unsupported Media Type",
            _ => "Request Header Fields Too Large",
        };
        let session = match &self.session {
            Some(key) => format!("X-Kuiperbelt-Session: {key}\r\n"),
            None => String::new(),
        };
        let length = body.len();
        stream.write_all(
            format!(
                "HTTP/1.1 {status} {reason}\r\nContent-Type: {content_type}\r\n\
                 Content-Length: {length}\r\n{session}Connection: close\r\n\r\n{body}"
            )
            .as_bytes(),
        )
    }
}

fn read_some(stream: &mut impl Read, bytes: &mut Vec<u8>) -> io::Result<()> {
    let mut piece = [0; 4096];
    match stream.read(&mut piece)? {
        0 => Err(io::ErrorKind::UnexpectedEof.into()),
        n => {
            bytes.extend_from_slice(&piece[..n]);
            Ok(())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Bytes that arrive one at a time, as slow networks deliver them.
    struct Trickle<'a>(&'a [u8]);

    impl Read for Trickle<'_> {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            let Some((&byte, rest)) = self.0.split_first() else {
                return Ok(0);
            };
            buffer[0] = byte;
            self.0 = rest;
            Ok(1)
        }
    }

    fn status(bytes: &[u8]) -> u16 {
        match Request::read(&mut &bytes[..]).unwrap() {
            Ok(_) => 200,
            Err(refusal) => refusal.status,
        }
    }

    #[test]
    fn reads_a_request_in_pieces() {
        let bytes =
            b"POST /receive?a=b HTTP/1.1\r\nx-session:  k \r\nContent-Length: 5\r\n\r\nhello";
        let Ok(request) = Request::read(&mut Trickle(bytes)).unwrap() else { panic!("refused") };
        assert_eq!(
            (&*request.method, &*request.path, &*request.query),
            ("POST", "/receive", "a=b")
        );
        assert_eq!(request.field("X-Session"), Some("k"));
        assert_eq!(request.body, b"hello");
    }

    #[test]
    fn bounds_are_refusals() {
        let long = format!("GET / HTTP/1.1\r\nX: {}", "x".repeat(MAX_HEAD));
        assert_eq!(status(long.as_bytes()), 431);
        let large = format!("POST / HTTP/1.1\r\nContent-Length: {}\r\n\r\n", MAX_BODY + 1);
        assert_eq!(status(large.as_bytes()), 413);
        assert_eq!(status(b"POST / HTTP/1.1\r\nContent-Length: -1\r\n\r\n"), 400);
        assert_eq!(status(b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n"), 411);
        assert_eq!(status(b"\x16\x03\x01\x02"), 400);
    }

    #[test]
    fn an_unfinished_request_is_an_error() {
        for cut in ["", "GET / HT", "POST / HTTP/1.1\r\nContent-Length: 2\r\n\r\nx"] {
            assert!(Request::read(&mut cut.as_bytes()).is_err(), "{cut:?}");
        }
    }

    #[test]
    fn an_admission_carries_key_and_first_message() {
        let mut bytes = Vec::new();
        Answer::admit("anna".to_owned(), "hi".to_owned()).write(&mut bytes).unwrap();
        let text = String::from_utf8(bytes).unwrap();
        assert!(text.starts_with("HTTP/1.1 200 OK\r\n"), "{text}");
        assert!(text.contains("\r\nX-Kuiperbelt-Session: anna\r\n"), "{text}");
        assert!(
            text.ends_with(
                "\r\nContent-Length: 2\r\nX-Kuiperbelt-Session: anna\r\nConnection: close\r\n\r\nhi"
            ),
            "{text}"
        );
    }
}

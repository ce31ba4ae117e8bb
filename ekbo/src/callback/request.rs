//! A request as the bytes it goes out as. What the requests to one address have in common is
//! written once, as a draft; what differs is written behind it. What fields there are is decided
//! in `headers.rs`.

use std::io::Write as _;

use bytes::Bytes;
use http::header::{CONNECTION, CONTENT_LENGTH, HOST};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Uri};

/// What requests to one URI have in common.
#[derive(Debug, Clone)]
pub(crate) struct Draft {
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    /// The request line and the fields.
    bytes: Vec<u8>,
}

/// A field of one request.
pub(crate) type Field<'a> = (&'a HeaderName, &'a [u8]);

/// A request. Its length and whether it ends its connection are written into it at the end.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Request<'a> {
    pub(crate) draft: &'a Draft,
    /// None of these may stand in the draft. Left out where no field can carry the value.
    pub(crate) own: &'a [Field<'a>],
    pub(crate) body: &'a Bytes,
    pub(crate) ends_connection: bool,
}

impl Draft {
    pub(crate) fn new(method: Method, uri: Uri, headers: HeaderMap) -> Self {
        let mut bytes = Vec::with_capacity(64 + 48 * headers.len());
        bytes.extend_from_slice(method.as_str().as_bytes());
        bytes.push(b' ');
        bytes.extend_from_slice(uri.path().as_bytes());
        if let Some(query) = uri.query() {
            bytes.push(b'?');
            bytes.extend_from_slice(query.as_bytes());
        }
        bytes.extend_from_slice(b" HTTP/1.1\r\n");
        // RFC 9110 section 7.2: first, where whoever routes the request looks for it.
        if let Some(host) = headers.get(HOST) {
            write_field(&mut bytes, &HOST, host.as_bytes());
        }
        for (name, value) in headers.iter().filter(|(name, _)| **name != HOST) {
            write_field(&mut bytes, name, value.as_bytes());
        }
        Self { method, uri, headers, bytes }
    }

    pub(crate) fn method(&self) -> &Method {
        &self.method
    }

    pub(crate) fn uri(&self) -> &Uri {
        &self.uri
    }
}

impl Request<'_> {
    /// Writes all but the body.
    pub(crate) fn write_head(&self, bytes: &mut Vec<u8>) {
        bytes.extend_from_slice(&self.draft.bytes);
        for (name, value) in self.sendable() {
            write_field(bytes, name, value);
        }
        if self.draft.method != Method::GET {
            // Writing to a vector does not fail.
            let _ = write!(bytes, "Content-Length: {}\r\n", self.body.len());
        }
        if self.ends_connection {
            bytes.extend_from_slice(b"Connection: close\r\n");
        }
        bytes.extend_from_slice(b"\r\n");
    }

    /// All fields, to be shown.
    pub(crate) fn headers(&self) -> HeaderMap {
        let mut headers = self.draft.headers.clone();
        for (name, value) in self.sendable() {
            headers.extend(HeaderValue::from_bytes(value).map(|value| (name.clone(), value)));
        }
        if self.draft.method != Method::GET {
            headers.insert(CONTENT_LENGTH, self.body.len().into());
        }
        if self.ends_connection {
            headers.insert(CONNECTION, HeaderValue::from_static("close"));
        }
        headers
    }

    fn sendable(&self) -> impl Iterator<Item = Field<'_>> {
        let can_be_sent = |value: &[u8]| {
            value.iter().all(|&byte| byte == b'\t' || (byte >= b' ' && byte != 0x7f))
        };
        self.own.iter().copied().filter(move |(_, value)| can_be_sent(value))
    }
}

/// Names are written as most people spell them: old backends compare them letter by letter.
fn write_field(bytes: &mut Vec<u8>, name: &HeaderName, value: &[u8]) {
    let mut is_start = true;
    bytes.extend(name.as_str().bytes().map(|byte| {
        let spelled = if is_start { byte.to_ascii_uppercase() } else { byte };
        is_start = byte == b'-';
        spelled
    }));
    bytes.extend_from_slice(b": ");
    bytes.extend_from_slice(value);
    bytes.extend_from_slice(b"\r\n");
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(draft: &Draft, own: &[Field<'_>], body: &'static str, ends: bool) -> String {
        let body = Bytes::from(body);
        let request = Request { draft, own, body: &body, ends_connection: ends };
        let mut bytes = Vec::new();
        request.write_head(&mut bytes);
        String::from_utf8(bytes).unwrap()
    }

    #[test]
    fn a_get_has_no_length() {
        let mut headers = HeaderMap::new();
        headers.insert("x-one-two", HeaderValue::from_static("1"));
        headers.insert(HOST, HeaderValue::from_static("a"));
        let uri = Uri::from_static("http://a.example:1?q=1");
        let draft = Draft::new(Method::GET, uri, headers);
        assert_eq!(
            written(&draft, &[], "", true),
            "GET /?q=1 HTTP/1.1\r\nHost: a\r\nX-One-Two: 1\r\nConnection: close\r\n\r\n"
        );
    }

    #[test]
    fn a_post_has_its_own_fields_and_its_length() {
        let draft = Draft::new(Method::POST, Uri::from_static("http://a/b"), HeaderMap::new());
        let name = HeaderName::from_static("x-key");
        assert_eq!(
            written(&draft, &[(&name, b"k\xc3\xa9y")], "hello", false),
            "POST /b HTTP/1.1\r\nX-Key: k\u{e9}y\r\nContent-Length: 5\r\n\r\n"
        );
        assert_eq!(
            written(&draft, &[(&name, b"k\r\nX-Forged: 1")], "", false),
            "POST /b HTTP/1.1\r\nContent-Length: 0\r\n\r\n"
        );
    }

    #[test]
    fn what_is_shown_is_what_is_sent() {
        let mut headers = HeaderMap::new();
        headers.insert("x-one", HeaderValue::from_static("1"));
        let draft = Draft::new(Method::POST, Uri::from_static("http://a/"), headers);
        let name = HeaderName::from_static("x-key");
        let own: [Field<'_>; 2] = [(&name, b"key"), (&CONNECTION, b"\0")];
        let body = Bytes::from_static(b"hello");
        let request = Request { draft: &draft, own: &own, body: &body, ends_connection: true };
        let shown = request.headers();
        let shown: Vec<_> = shown.iter().map(|(name, value)| (name.as_str(), value)).collect();
        let sent = written(&draft, &own, "hello", true).to_lowercase();
        assert_eq!(shown.len(), 4);
        for (name, value) in shown {
            let line = format!("\r\n{name}: {}\r\n", value.to_str().unwrap());
            assert!(sent.contains(&line), "{line:?} in {sent:?}");
        }
    }
}

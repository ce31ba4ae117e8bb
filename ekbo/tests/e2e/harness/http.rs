//! HTTP/1.1 by hand: reading heads and bodies exactly as they come, and a client that writes
//! whatever bytes it is told to.

use std::io::Write;
use std::net::{Shutdown, SocketAddr};

use super::system;
use super::wire::{End, Incoming, Wire};

/// Header fields in the order and spelling in which they came.
#[derive(Clone, Debug, Default)]
pub(crate) struct Headers(pub(crate) Vec<(String, String)>);

impl Headers {
    /// The value of the only field of that name; panics when there are several.
    #[track_caller]
    pub(crate) fn only(&self, name: &str) -> Option<&str> {
        let values = self.all(name);
        assert!(values.len() < 2, "{name} came {} times: {values:?}", values.len());
        values.first().copied()
    }

    /// The values of all fields of that name, in order.
    pub(crate) fn all(&self, name: &str) -> Vec<&str> {
        let named = self.0.iter().filter(|(field, _)| field.eq_ignore_ascii_case(name));
        named.map(|(_, value)| value.as_str()).collect()
    }

    fn has_token(&self, name: &str, token: &str) -> bool {
        let tokens = self.all(name).into_iter().flat_map(|value| value.split(','));
        tokens.map(str::trim).any(|one| one.eq_ignore_ascii_case(token))
    }
}

/// A request or response as it came: the first line, the fields, the body.
pub(crate) struct Message {
    pub(crate) first_line: String,
    pub(crate) headers: Headers,
    pub(crate) body: Vec<u8>,
}

/// Why no whole message came.
#[derive(Debug)]
pub(crate) enum NoMessage {
    /// The connection ended before the first byte of a message.
    Ended(End),
    /// It ended within the message, or the message is none; what there was of it.
    Broken(String),
}

/// Reads a request, whose body ends by length or by chunks.
pub(crate) fn read_request(incoming: &mut Incoming) -> Result<Message, NoMessage> {
    let (first_line, headers) = read_head(incoming)?;
    let told = format!("{first_line} {headers:?}");
    let body = if headers.has_token("Transfer-Encoding", "chunked") {
        read_chunks(incoming)
    } else {
        read_length(incoming, &headers).unwrap_or(Ok(Vec::new()))
    };
    match body {
        Ok(body) => Ok(Message { first_line, headers, body }),
        Err(end) => Err(NoMessage::Broken(format!("{told}: body cut off by {end:?}"))),
    }
}

/// Reads the answer to a request made with `method`.
pub(crate) fn read_response(incoming: &mut Incoming, method: &str) -> Result<Response, NoMessage> {
    let (first_line, headers) = read_head(incoming)?;
    let broken = |why: &str| NoMessage::Broken(format!("{first_line} {headers:?}: {why}"));
    let mut words = first_line.splitn(3, ' ');
    let version = words.next().unwrap_or_default().to_owned();
    let status: u16 = words
        .next()
        .and_then(|word| word.parse().ok())
        .ok_or_else(|| broken("not a status line"))?;
    let bodiless = method == "HEAD" || status < 200 || status == 204 || status == 304;
    let body = if bodiless {
        Ok(Vec::new())
    } else if headers.has_token("Transfer-Encoding", "chunked") {
        read_chunks(incoming)
    } else {
        read_length(incoming, &headers).unwrap_or_else(|| match incoming.rest() {
            (body, End::Eof) => Ok(body),
            (_, end) => Err(end),
        })
    };
    let body = body.map_err(|end| broken(&format!("body cut off by {end:?}")))?;
    Ok(Response { version, status, headers, body })
}

fn read_head(incoming: &mut Incoming) -> Result<(String, Headers), NoMessage> {
    let first = incoming.line().map_err(NoMessage::Ended)?;
    let first_line = text_of_line(&first)?;
    let mut headers = Headers::default();
    loop {
        let line = incoming
            .line()
            .map_err(|end| NoMessage::Broken(format!("{first_line}: head cut off by {end:?}")))?;
        let line = text_of_line(&line)?;
        if line.is_empty() {
            return Ok((first_line, headers));
        }
        let (name, value) = line
            .split_once(':')
            .ok_or_else(|| NoMessage::Broken(format!("{first_line}: not a field: {line:?}")))?;
        headers.0.push((name.to_owned(), value.trim_matches([' ', '\t']).to_owned()));
    }
}

/// `ekbo` ends each line of a head by CR LF, whatever its peers do.
fn text_of_line(line: &[u8]) -> Result<String, NoMessage> {
    let text = String::from_utf8_lossy(line);
    match text.strip_suffix("\r\n") {
        Some(text) => Ok(text.to_owned()),
        None => Err(NoMessage::Broken(format!("line without CR LF: {text:?}"))),
    }
}

fn read_length(incoming: &mut Incoming, headers: &Headers) -> Option<Result<Vec<u8>, End>> {
    let length = headers.only("Content-Length")?;
    let length = length.parse().unwrap_or_else(|_| panic!("Content-Length: {length}"));
    Some(incoming.exactly(length))
}

fn read_chunks(incoming: &mut Incoming) -> Result<Vec<u8>, End> {
    let mut body = Vec::new();
    loop {
        let line = String::from_utf8_lossy(&incoming.line()?).into_owned();
        let size = line.trim_end().split(';').next().unwrap_or_default();
        let size = usize::from_str_radix(size, 16).unwrap_or_else(|_| panic!("chunk: {line:?}"));
        body.extend(incoming.exactly(size)?);
        let end = incoming.line()?;
        assert_eq!(end, b"\r\n", "the end of a chunk");
        if size == 0 {
            return Ok(body);
        }
    }
}

/// An answer as it came.
#[derive(Clone, Debug)]
pub(crate) struct Response {
    /// `HTTP/1.1`
    pub(crate) version: String,
    pub(crate) status: u16,
    pub(crate) headers: Headers,
    pub(crate) body: Vec<u8>,
}

impl Response {
    /// The value of the only field of that name; panics when there are several.
    #[track_caller]
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.only(name)
    }

    pub(crate) fn has_header(&self, name: &str) -> bool {
        !self.headers.all(name).is_empty()
    }

    /// The body as text; panics when it is not UTF-8.
    #[track_caller]
    pub(crate) fn text(&self) -> &str {
        str::from_utf8(&self.body).unwrap_or_else(|error| panic!("{error}: {:?}", self.body))
    }

    /// Checks status, Content-Type and body at once.
    #[track_caller]
    pub(crate) fn assert_is(&self, status: u16, content_type: &str, body: &str) {
        let told = (self.status, self.header("Content-Type"), self.text());
        assert_eq!(told, (status, Some(content_type), body));
    }
}

/// A keep-alive connection on which a test writes what it likes.
pub(crate) struct Http(Incoming);

impl Http {
    pub(crate) fn tcp(address: SocketAddr) -> Self {
        Self::over(Wire::tcp(address))
    }

    pub(crate) fn over(wire: Wire) -> Self {
        Self(Incoming::new(wire))
    }

    /// Writes the bytes as they are.
    #[track_caller]
    pub(crate) fn write(&mut self, bytes: impl AsRef<[u8]>) {
        if let Err(error) = self.try_write(bytes) {
            panic!("writing failed: {error}");
        }
    }

    /// Writes the bytes as they are, to a peer that may have hung up.
    pub(crate) fn try_write(&mut self, bytes: impl AsRef<[u8]>) -> std::io::Result<()> {
        let wire = self.0.wire();
        wire.write_all(bytes.as_ref())?;
        wire.flush()
    }

    /// Reads the next answer.
    #[track_caller]
    pub(crate) fn read(&mut self) -> Response {
        self.read_answer_to("GET")
    }

    /// Reads the answer to a request made with `method` (one to HEAD has no body).
    #[track_caller]
    pub(crate) fn read_answer_to(&mut self, method: &str) -> Response {
        match read_response(&mut self.0, method) {
            Ok(response) => response,
            Err(none) => panic!("no answer: {none:?}"),
        }
    }

    /// Reads the next answer, or the orderly end of the connection.
    #[track_caller]
    pub(crate) fn read_or_end(&mut self) -> Option<Response> {
        match read_response(&mut self.0, "GET") {
            Ok(response) => Some(response),
            Err(NoMessage::Ended(End::Eof)) => None,
            Err(none) => panic!("no answer: {none:?}"),
        }
    }

    /// Ends the writing direction only.
    pub(crate) fn finish_writing(&mut self) {
        self.0.wire().shutdown(Shutdown::Write);
    }

    /// Writes, then reads the next answer.
    #[track_caller]
    pub(crate) fn exchange(&mut self, bytes: impl AsRef<[u8]>) -> Response {
        self.write(bytes);
        self.read()
    }

    /// Goes away with a TCP reset.
    pub(crate) fn reset(mut self) {
        system::reset_on_close(self.wire().as_tcp().expect("a connection over TCP"));
    }

    /// Waits for the end of the connection; panics when anything else comes.
    #[track_caller]
    pub(crate) fn read_end(&mut self) -> End {
        let (rest, end) = self.0.rest();
        assert_eq!(String::from_utf8_lossy(&rest), "", "after the last answer");
        end
    }

    /// Reads exactly so many bytes, whatever they are.
    #[track_caller]
    pub(crate) fn exactly(&mut self, length: usize) -> Vec<u8> {
        self.0.exactly(length).unwrap_or_else(|end| panic!("{end:?} within {length} bytes"))
    }

    /// Reads a line, whatever it belongs to, without its end.
    #[track_caller]
    pub(crate) fn line(&mut self) -> String {
        let line = self.0.line().unwrap_or_else(|end| panic!("{end:?} instead of a line"));
        String::from_utf8(line).unwrap().trim_end_matches(['\r', '\n']).to_owned()
    }

    /// Reads whatever comes until the connection ends.
    pub(crate) fn rest(&mut self) -> (Vec<u8>, End) {
        self.0.rest()
    }

    /// Whether nothing has come that was not read, the end neither.
    pub(crate) fn is_silent(&mut self) -> bool {
        self.0.is_silent()
    }

    pub(crate) fn wire(&mut self) -> &mut Wire {
        self.0.wire()
    }

    /// What the connection is made of, to go on with another protocol.
    pub(crate) fn into_incoming(self) -> Incoming {
        self.0
    }
}

/// A request being put together; its framing is added when it is written.
#[derive(Clone)]
pub(crate) struct Draft {
    method: String,
    target: String,
    fields: Vec<(String, Vec<u8>)>,
    body: Vec<u8>,
}

impl Draft {
    pub(crate) fn new(method: &str, target: &str) -> Self {
        Self {
            method: method.to_owned(),
            target: target.to_owned(),
            fields: Vec::new(),
            body: Vec::new(),
        }
    }

    pub(crate) fn method(&self) -> &str {
        &self.method
    }

    pub(crate) fn set_method(&mut self, method: &str) {
        method.clone_into(&mut self.method);
    }

    pub(crate) fn set_target(&mut self, target: &str) {
        target.clone_into(&mut self.target);
    }

    pub(crate) fn set_body(&mut self, body: &[u8]) {
        body.clone_into(&mut self.body);
    }

    /// Adds a field after those of the same name.
    pub(crate) fn add(&mut self, name: &str, value: &[u8]) {
        self.fields.push((name.to_owned(), value.to_owned()));
    }

    /// Replaces all fields of that name.
    pub(crate) fn set(&mut self, name: &str, value: &[u8]) {
        self.remove(name);
        self.add(name, value);
    }

    pub(crate) fn remove(&mut self, name: &str) {
        self.fields.retain(|(field, _)| !field.eq_ignore_ascii_case(name));
    }

    /// The request as it goes over the wire; `Host` is added if there is none, and
    /// `Content-Length` if neither it nor `Transfer-Encoding` is there and it is needed.
    pub(crate) fn to_bytes(&self) -> Vec<u8> {
        let has =
            |name: &str| self.fields.iter().any(|(field, _)| field.eq_ignore_ascii_case(name));
        let mut bytes = format!("{} {} HTTP/1.1\r\n", self.method, self.target).into_bytes();
        if !has("Host") {
            bytes.extend(b"Host: localhost\r\n");
        }
        for (name, value) in &self.fields {
            bytes.extend(name.as_bytes());
            bytes.extend(b": ");
            bytes.extend(value);
            bytes.extend(b"\r\n");
        }
        let framed = has("Content-Length") || has("Transfer-Encoding");
        if !framed && (self.method == "POST" || !self.body.is_empty()) {
            bytes.extend(format!("Content-Length: {}\r\n", self.body.len()).into_bytes());
        }
        bytes.extend(b"\r\n");
        bytes.extend(&self.body);
        bytes
    }
}

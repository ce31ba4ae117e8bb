//! As much of HTTP/1.1 as load needs: heads, lengths, answers. Chunked bodies are not understood,
//! since no server here sends them.

use std::net::SocketAddr;

use crate::Result;
use crate::server::{Dial, Heard, Wire};

const MAX_HEAD: usize = 16 * 1024;

/// A kept connection for requests that are answered one by one.
pub(crate) fn dial(address: SocketAddr) -> Dial {
    Dial { address, greeting: Vec::new(), wire: Box::new(Answers::default()) }
}

/// A post of text to `target`; `fields` are further header lines, each with its end of line.
pub(crate) fn post(address: SocketAddr, target: &str, fields: &str, body: &[u8]) -> Vec<u8> {
    let mut request = format!(
        "POST {target} HTTP/1.1\r\nHost: {address}\r\nContent-Type: text/plain\r\n\
         Content-Length: {}\r\n{fields}\r\n",
        body.len()
    )
    .into_bytes();
    request.extend_from_slice(body);
    request
}

/// A request as a browser makes it: the fields of one, and a body if that is not empty.
pub(crate) fn page(method: &str, target: &str, body: &[u8]) -> Vec<u8> {
    let length = match body {
        [] => String::new(),
        body => format!("Content-Type: text/plain\r\nContent-Length: {}\r\n", body.len()),
    };
    let mut request = format!(
        "{method} {target} HTTP/1.1\r\nHost: application.example\r\n\
         User-Agent: Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0\r\n\
         Accept: text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8\r\n\
         Accept-Language: en-US,en;q=0.5\r\nAccept-Encoding: gzip, deflate, br\r\n\
         Cookie: session=6f1d2a9c0b7e4853\r\n{length}\r\n"
    )
    .into_bytes();
    request.extend_from_slice(body);
    request
}

/// Appends a response with status 200.
pub(crate) fn respond(response: &mut Vec<u8>, fields: &str, body: &[u8]) {
    response.extend_from_slice(b"HTTP/1.1 200 OK\r\nContent-Length: ");
    response.extend_from_slice(body.len().to_string().as_bytes());
    response.extend_from_slice(b"\r\n");
    response.extend_from_slice(fields.as_bytes());
    response.extend_from_slice(b"\r\n");
    response.extend_from_slice(body);
}

/// A request as the application behind the server sees it.
#[derive(Clone, Copy)]
pub(crate) struct Request<'a> {
    head: &'a str,
    pub(crate) body: &'a [u8],
}

impl<'a> Request<'a> {
    /// The first request in `bytes` and its size; `None` if it has not arrived completely.
    pub(crate) fn read(bytes: &'a [u8]) -> Result<Option<(Self, usize)>> {
        let Some(end) = end_of_head(bytes) else {
            return if bytes.len() > MAX_HEAD {
                Err("a head without end".into())
            } else {
                Ok(None)
            };
        };
        let head = std::str::from_utf8(&bytes[..end])?;
        let size = end + content_length(head)?;
        Ok(bytes.get(end..size).map(|body| (Self { head, body }, size)))
    }

    /// Path and query.
    pub(crate) fn target(&self) -> &'a str {
        self.head.split(' ').nth(1).unwrap_or_default()
    }
}

/// Answers to requests: each must have a status of 2xx.
#[derive(Default)]
pub(crate) struct Answers {
    head: Head,
    /// What of the body is still to come.
    missing: usize,
}

impl Wire for Answers {
    fn hear(&mut self, mut bytes: &[u8], _reply: &mut Vec<u8>) -> Result<Heard> {
        let mut heard = Heard::default();
        loop {
            if self.missing > 0 {
                let here = bytes.len().min(self.missing);
                bytes = &bytes[here..];
                self.missing -= here;
                if self.missing > 0 {
                    return Ok(heard);
                }
                heard.answers += 1;
            }
            if bytes.is_empty() {
                return Ok(heard);
            }
            bytes = self.head.read(bytes)?;
            if !self.head.ended() {
                return Ok(heard);
            }
            if !self.head.status().is_some_and(|status| (200..300).contains(&status)) {
                return Err(format!("a request was answered {}", self.head.first_line()).into());
            }
            self.missing = content_length(self.head.text())?;
            heard.answers += usize::from(self.missing == 0);
            self.head = Head::default();
        }
    }
}

/// The head of a response, as it arrives.
#[derive(Default)]
pub(crate) struct Head {
    text: String,
    ended: bool,
}

impl Head {
    /// Takes what belongs to it, and returns the rest.
    pub(crate) fn read<'a>(&mut self, bytes: &'a [u8]) -> Result<&'a [u8]> {
        let before = self.text.len();
        self.text.push_str(std::str::from_utf8(&bytes[..bytes.len().min(MAX_HEAD)]).or_else(
            // Beyond the head there may be anything.
            |error| std::str::from_utf8(&bytes[..error.valid_up_to()]),
        )?);
        match end_of_head(self.text.as_bytes()) {
            Some(end) => {
                self.text.truncate(end);
                self.ended = true;
                Ok(&bytes[end - before..])
            }
            None if self.text.len() > MAX_HEAD => Err("a head without end".into()),
            None => Ok(&[]),
        }
    }

    pub(crate) fn ended(&self) -> bool {
        self.ended
    }

    pub(crate) fn text(&self) -> &str {
        &self.text
    }

    pub(crate) fn first_line(&self) -> &str {
        self.text.lines().next().unwrap_or_default()
    }

    pub(crate) fn status(&self) -> Option<u16> {
        self.text.strip_prefix("HTTP/1.1 ")?.get(..3)?.parse().ok()
    }

    /// Frees its memory; it stays ended.
    pub(crate) fn forget(&mut self) {
        self.text = String::new();
    }
}

/// Where the body begins.
pub(crate) fn end_of_head(bytes: &[u8]) -> Option<usize> {
    bytes.windows(4).position(|four| four == b"\r\n\r\n").map(|start| start + 4)
}

fn content_length(head: &str) -> Result<usize> {
    field(head, "content-length").map_or(Ok(0), |length| Ok(length.parse()?))
}

/// The value of the first header field of this name.
fn field<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    head.lines().skip(1).find_map(|line| {
        let (found, value) = line.split_once(':')?;
        found.eq_ignore_ascii_case(name).then(|| value.trim())
    })
}

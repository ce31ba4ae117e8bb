//! The client's side of a WebSocket (RFC 6455), for load: it counts the messages that it gets and
//! answers pings. It trusts the server to keep to the protocol, which other tests are about.

use std::net::SocketAddr;

use crate::Result;
use crate::load::http;
use crate::server::{Dial, Heard, Wire};

const CLOSE: u8 = 8;
const PING: u8 = 9;
const PONG: u8 = 10;
const FINAL: u8 = 0x80;
const MASKED: u8 = 0x80;
/// Any will do: what it protects against are proxies.
const MASK: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];

/// A WebSocket at `target`; `fields` are further header lines, each with its end of line.
pub(crate) fn dial(address: SocketAddr, target: &str, fields: &str) -> Dial {
    let greeting = handshake(address, target, fields);
    Dial { address, greeting, wire: Box::new(WebSocket::default()) }
}

/// What a client opens a WebSocket with.
pub(crate) fn handshake(address: SocketAddr, target: &str, fields: &str) -> Vec<u8> {
    format!(
        "GET {target} HTTP/1.1\r\nHost: {address}\r\nConnection: Upgrade\r\n\
         Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
         Sec-WebSocket-Key: a3VpcGVyYmVsdCBiZW5jaA==\r\n{fields}\r\n"
    )
    .into_bytes()
}

/// Reads on in the answer to a handshake, and returns what is not part of it. An error if it ends
/// without a WebSocket; when it ends with one, its text is forgotten.
pub(crate) fn admitted<'a>(head: &mut http::Head, bytes: &'a [u8]) -> Result<&'a [u8]> {
    let rest = head.read(bytes)?;
    if head.ended() {
        if head.status() != Some(101) {
            return Err(format!("the handshake was answered {}", head.first_line()).into());
        }
        head.forget();
    }
    Ok(rest)
}

/// A text message as a client sends it: one frame, masked.
pub(crate) fn text(payload: &[u8]) -> Vec<u8> {
    let mut frame = Vec::with_capacity(payload.len() + 14);
    masked(1, payload, &mut frame);
    frame
}

/// A binary message as a client sends it: one frame, masked.
pub(crate) fn binary(payload: &[u8]) -> Vec<u8> {
    let mut frame = Vec::with_capacity(payload.len() + 14);
    masked(2, payload, &mut frame);
    frame
}

fn masked(opcode: u8, payload: &[u8], frame: &mut Vec<u8>) {
    frame.push(FINAL | opcode);
    match payload.len() {
        length @ 0..=125 => frame.push(MASKED | length as u8),
        length @ 126..=0xffff => {
            frame.push(MASKED | 126);
            frame.extend((length as u16).to_be_bytes());
        }
        length => {
            frame.push(MASKED | 127);
            frame.extend((length as u64).to_be_bytes());
        }
    }
    frame.extend(MASK);
    frame.extend(payload.iter().zip(MASK.iter().cycle()).map(|(byte, mask)| byte ^ mask));
}

/// The wire of a client: the answer to the handshake, then frames.
#[derive(Default)]
pub(crate) struct WebSocket {
    head: http::Head,
    frames: Frames,
}

impl Wire for WebSocket {
    fn hear(&mut self, mut bytes: &[u8], reply: &mut Vec<u8>) -> Result<Heard> {
        let mut heard = Heard::default();
        if !self.head.ended() {
            bytes = admitted(&mut self.head, bytes)?;
            if !self.head.ended() {
                return Ok(heard);
            }
            heard.ready = true;
        }
        heard.messages = self.frames.walk(bytes, reply)?;
        Ok(heard)
    }
}

/// Walks over frames, which may be cut anywhere, and counts the messages that have ended.
#[derive(Default)]
pub(crate) struct Frames {
    /// Of a frame whose header has not arrived completely: at most 10 bytes.
    header: Vec<u8>,
    opcode: u8,
    last: bool,
    /// What of the payload is still to come; `None` between frames.
    missing: Option<u64>,
    /// The payload of a ping so far.
    ping: Vec<u8>,
}

impl Frames {
    /// Takes all of `bytes`; a ping is answered into `reply`, a close is an error.
    pub(crate) fn walk(&mut self, bytes: &[u8], reply: &mut Vec<u8>) -> Result<usize> {
        self.open(bytes, reply, |_| Ok(()))
    }

    /// Walks and shows `payload` what the messages contain, in pieces of at least one byte.
    pub(crate) fn open(
        &mut self,
        mut bytes: &[u8],
        reply: &mut Vec<u8>,
        mut payload: impl FnMut(&[u8]) -> Result<()>,
    ) -> Result<usize> {
        let mut messages = 0;
        loop {
            let Some(missing) = self.missing else {
                if bytes.is_empty() {
                    return Ok(messages);
                }
                bytes = self.read_header(bytes)?;
                if self.missing.is_none() {
                    return Ok(messages);
                }
                continue;
            };
            let here = bytes.len().min(usize::try_from(missing)?);
            match self.opcode {
                PING => self.ping.extend_from_slice(&bytes[..here]),
                PONG | CLOSE => {}
                _ if here > 0 => payload(&bytes[..here])?,
                _ => {}
            }
            bytes = &bytes[here..];
            let left = missing - here as u64;
            if left > 0 {
                self.missing = Some(left);
                return Ok(messages);
            }
            self.missing = None;
            match self.opcode {
                CLOSE => return Err("closed by the server".into()),
                PING => {
                    masked(PONG, &self.ping, reply);
                    self.ping = Vec::new();
                }
                PONG => {}
                _ => messages += usize::from(self.last),
            }
        }
    }

    /// Takes what belongs to the header, and returns the rest.
    fn read_header<'a>(&mut self, bytes: &'a [u8]) -> Result<&'a [u8]> {
        let whole = if self.header.is_empty() { bytes } else { &[] };
        if let Some((size, length)) = header(whole)? {
            self.begin(whole[0], length);
            return Ok(&bytes[size..]);
        }
        for (n, byte) in bytes.iter().enumerate() {
            self.header.push(*byte);
            if let Some((_, length)) = header(&self.header)? {
                self.begin(self.header[0], length);
                self.header = Vec::new();
                return Ok(&bytes[n + 1..]);
            }
        }
        Ok(&[])
    }

    fn begin(&mut self, first: u8, length: u64) {
        self.opcode = first & 0x0f;
        self.last = first & FINAL != 0;
        self.missing = Some(length);
    }
}

/// The size of the header at the start of `bytes` and the length of the payload, if it is all
/// there.
fn header(bytes: &[u8]) -> Result<Option<(usize, u64)>> {
    let Some(second) = bytes.get(1) else { return Ok(None) };
    if second & MASKED != 0 {
        return Err("the server has masked a frame".into());
    }
    Ok(match second {
        126 => bytes.get(2..4).map(|two| (4, two.iter().fold(0, |n, b| n << 8 | u64::from(*b)))),
        127 => {
            bytes.get(2..10).map(|many| (10, many.iter().fold(0, |n, b| n << 8 | u64::from(*b))))
        }
        length => Some((2, u64::from(*length))),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stream() -> Vec<u8> {
        let mut bytes = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\r\n".to_vec();
        bytes.extend([0x81, 3]);
        bytes.extend(b"one");
        bytes.extend([0x89, 2]);
        bytes.extend(b"hi");
        bytes.extend([0x01, 1, b'a', 0x80, 1, b'b']);
        bytes.extend([0x82, 126, 1, 44]);
        bytes.extend([7; 300]);
        bytes.extend([0x82, 127, 0, 0, 0, 0, 0, 1, 0, 0]);
        bytes.extend([7; 65536]);
        bytes.extend([0x81, 0]);
        bytes
    }

    #[test]
    fn counts_messages_however_the_stream_is_cut() {
        for size in [1, 2, 3, 7, 100, 4096, usize::MAX] {
            let mut wire = WebSocket::default();
            let (mut reply, mut ready, mut messages) = (Vec::new(), 0, 0);
            for piece in stream().chunks(size) {
                let heard = wire.hear(piece, &mut reply).unwrap();
                ready += usize::from(heard.ready);
                messages += heard.messages;
            }
            assert_eq!((ready, messages), (1, 5), "in pieces of {size}");
            let mut pong = Vec::new();
            masked(PONG, b"hi", &mut pong);
            assert_eq!(reply, pong, "in pieces of {size}");
        }
    }

    #[test]
    fn what_ends_a_client_is_an_error() {
        let mut refused = WebSocket::default();
        let answer = b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n";
        let error = refused.hear(answer, &mut Vec::new()).unwrap_err();
        assert_eq!(error.to_string(), "the handshake was answered HTTP/1.1 403 Forbidden");

        let mut frames = Frames::default();
        assert!(frames.walk(&[0x88, 2, 3, 0xe8], &mut Vec::new()).is_err());
        assert!(Frames::default().walk(&[0x81, 0x81], &mut Vec::new()).is_err());
    }

    #[test]
    fn messages_of_a_client_are_masked_frames() {
        let frame = text(b"hello");
        assert_eq!(frame[..6], [0x81, 0x85, 0x37, 0xfa, 0x21, 0x3d]);
        assert_eq!(frame[6..], [b'h' ^ 0x37, b'e' ^ 0xfa, b'l' ^ 0x21, b'l' ^ 0x3d, b'o' ^ 0x37]);
        assert_eq!(binary(&[0; 126])[..4], [0x82, 0xfe, 0, 126]);
        assert_eq!(binary(&[0; 65536])[..6], [0x82, 0xff, 0, 0, 0, 0]);
    }
}

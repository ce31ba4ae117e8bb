//! A protocol of its own inside the binary messages of a WebSocket, as NATS and MQTT have it for
//! browsers: the handshake, then the inner greeting, then inner bytes in frames of any cut.

use std::mem;

use crate::Result;
use crate::load::http;
use crate::load::websocket::{self, Frames};
use crate::server::{Dial, Heard, Wire};

/// `inner` spoken inside a WebSocket at `target` of its address; `fields` are further header
/// lines, each with its end of line.
pub(crate) fn dial(inner: Dial, target: &str, fields: &str) -> Dial {
    let Dial { address, greeting, wire } = inner;
    Dial {
        address,
        greeting: websocket::handshake(address, target, fields),
        wire: Box::new(Tunnel {
            head: http::Head::default(),
            frames: Frames::default(),
            greeting: websocket::binary(&greeting),
            inner: wire,
            said: Vec::new(),
        }),
    }
}

struct Tunnel {
    head: http::Head,
    frames: Frames,
    /// What is written after the handshake, already in its frame.
    greeting: Vec<u8>,
    inner: Box<dyn Wire>,
    /// What the inner wire replies, before it is in a frame.
    said: Vec<u8>,
}

impl Wire for Tunnel {
    fn hear(&mut self, mut bytes: &[u8], reply: &mut Vec<u8>) -> Result<Heard> {
        if !self.head.ended() {
            bytes = websocket::admitted(&mut self.head, bytes)?;
            if !self.head.ended() {
                return Ok(Heard::default());
            }
            reply.append(&mut mem::take(&mut self.greeting));
        }
        let mut heard = Heard::default();
        let Self { frames, inner, said, .. } = self;
        frames.open(bytes, reply, |payload| {
            let more = inner.hear(payload, said)?;
            heard.ready |= more.ready;
            heard.messages += more.messages;
            heard.answers += more.answers;
            Ok(())
        })?;
        if !self.said.is_empty() {
            reply.extend(websocket::binary(&self.said));
            self.said.clear();
        }
        Ok(heard)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Ready at the first byte, which it answers; each further byte is a message.
    struct Bytes {
        begun: bool,
    }

    impl Wire for Bytes {
        fn hear(&mut self, bytes: &[u8], reply: &mut Vec<u8>) -> Result<Heard> {
            let ready = !mem::replace(&mut self.begun, true);
            if ready {
                reply.extend(b"thanks");
            }
            Ok(Heard { ready, messages: bytes.len() - usize::from(ready), answers: 0 })
        }
    }

    #[test]
    fn greets_after_the_handshake_and_hears_what_is_in_frames() {
        let mut stream = b"HTTP/1.1 101 Switching Protocols\r\n\r\n".to_vec();
        stream.extend([0x82, 3, 1, 2, 3, 0x89, 0, 0x82, 2, 4, 5]);
        for size in [1, 2, 5, usize::MAX] {
            let inner = Dial {
                address: ([127, 0, 0, 1], 80).into(),
                greeting: b"hello".to_vec(),
                wire: Box::new(Bytes { begun: false }),
            };
            let mut dial = dial(inner, "/", "Sec-WebSocket-Protocol: x\r\n");
            let greeting = String::from_utf8(dial.greeting).unwrap();
            assert!(greeting.ends_with("Sec-WebSocket-Protocol: x\r\n\r\n"), "{greeting}");
            let (mut reply, mut sum) = (Vec::new(), Heard::default());
            for piece in stream.chunks(size) {
                let heard = dial.wire.hear(piece, &mut reply).unwrap();
                sum.ready |= heard.ready;
                sum.messages += heard.messages;
            }
            assert!(sum.ready);
            assert_eq!(sum.messages, 4, "in pieces of {size}");
            assert!(reply.starts_with(&websocket::binary(b"hello")));
            let thanks = websocket::binary(b"thanks");
            assert!(reply.windows(thanks.len()).any(|part| part == thanks));
        }
    }

    #[test]
    fn a_refused_handshake_is_an_error() {
        let inner = Dial {
            address: ([127, 0, 0, 1], 80).into(),
            greeting: Vec::new(),
            wire: Box::new(Bytes { begun: false }),
        };
        let mut dial = dial(inner, "/", "");
        let answer = b"HTTP/1.1 400 Bad Request\r\n\r\n";
        let error = dial.wire.hear(answer, &mut Vec::new()).err().unwrap();
        assert_eq!(error.to_string(), "the handshake was answered HTTP/1.1 400 Bad Request");
    }
}

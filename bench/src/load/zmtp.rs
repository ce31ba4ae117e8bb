//! As much of ZMTP 3.0 (RFC 23) as load needs: the side that was connected to, without
//! authentication. To a SUB it is a PUB, whose messages a scenario writes; to a REQ or a DEALER it
//! is a REP that answers `ok` to everything. It trusts its peer to keep to the protocol.

use crate::Result;

/// Every greeting begins with it, and no HTTP request.
pub(super) const FIRST_BYTE: u8 = 0xff;

const GREETING: usize = 64;
const MORE: u8 = 1;
const LONG: u8 = 2;
const COMMAND: u8 = 4;
const ANSWER: &[u8] = b"ok";

/// A message of one part, as a PUB writes it.
pub(crate) fn message(payload: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(payload.len() + 9);
    frame(0, payload, &mut bytes);
    bytes
}

#[derive(Default)]
pub(super) struct Peer {
    unread: Vec<u8>,
    /// Whether our greeting was said.
    has_greeted: bool,
    /// Whether theirs was heard.
    is_greeted: bool,
    kind: Option<Kind>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Subscriber,
    Requester,
}

impl Peer {
    /// Takes all of `bytes`, however the stream has been cut, and appends to `reply` what has to be
    /// written back. Returns whether the peer has subscribed to something by them.
    pub(super) fn hear(&mut self, bytes: &[u8], reply: &mut Vec<u8>) -> Result<bool> {
        if !self.has_greeted {
            // They may wait for it before they say more than the beginning of theirs.
            reply.extend_from_slice(&greeting());
            self.has_greeted = true;
        }
        self.unread.extend_from_slice(bytes);
        let mut used = 0;
        if !self.is_greeted {
            let Some(greeting) = self.unread.first_chunk::<GREETING>() else { return Ok(false) };
            if greeting[10] != 3 || !greeting[12..].starts_with(b"NULL\0") {
                return Err("the peer does not speak ZMTP 3 with NULL".into());
            }
            self.is_greeted = true;
            used = GREETING;
        }
        let mut has_subscribed = false;
        while let Some((flags, body, size)) = first_frame(&self.unread[used..])? {
            used += size;
            match (flags & COMMAND != 0, self.kind) {
                (true, None) => {
                    let kind = Kind::of(body)?;
                    self.kind = Some(kind);
                    frame(COMMAND, &kind.ready(), reply);
                }
                (false, Some(Kind::Subscriber)) => has_subscribed |= body.first() == Some(&1),
                // The parts before the last are the envelope.
                (false, Some(Kind::Requester)) if flags & MORE == 0 => {
                    frame(MORE, b"", reply);
                    frame(0, ANSWER, reply);
                }
                (false, Some(Kind::Requester)) => {}
                (true, Some(_)) => return Err("the peer says what ZMTP 3.0 does not know".into()),
                (false, None) => return Err("the peer does not say what it is".into()),
            }
        }
        self.unread.drain(..used);
        Ok(has_subscribed)
    }
}

impl Kind {
    /// That of a peer who says this READY.
    fn of(ready: &[u8]) -> Result<Self> {
        let says = |kind: &[u8]| {
            let mut property = b"\x0bSocket-Type\0\0\0".to_vec();
            property.push(kind.len() as u8);
            property.extend_from_slice(kind);
            ready.windows(property.len()).any(|part| part.eq_ignore_ascii_case(&property))
        };
        match () {
            () if !ready.starts_with(b"\x05READY") => Err("the peer is not ready".into()),
            () if says(b"SUB") => Ok(Self::Subscriber),
            () if says(b"REQ") || says(b"DEALER") => Ok(Self::Requester),
            () => Err("the peer is neither SUB nor REQ nor DEALER".into()),
        }
    }

    /// What its counterpart says.
    fn ready(self) -> Vec<u8> {
        let ours = match self {
            Self::Subscriber => "PUB",
            Self::Requester => "REP",
        };
        format!("\x05READY\x0bSocket-Type\0\0\0\x03{ours}").into_bytes()
    }
}

fn greeting() -> [u8; GREETING] {
    let mut greeting = [0; GREETING];
    greeting[0] = FIRST_BYTE;
    greeting[9] = 0x7f;
    greeting[10] = 3;
    greeting[12..16].copy_from_slice(b"NULL");
    greeting
}

fn frame(flags: u8, body: &[u8], bytes: &mut Vec<u8>) {
    match u8::try_from(body.len()) {
        Ok(length) => bytes.extend([flags, length]),
        Err(_) => {
            bytes.push(flags | LONG);
            bytes.extend((body.len() as u64).to_be_bytes());
        }
    }
    bytes.extend_from_slice(body);
}

/// Flags, body and size of the frame that `bytes` begin with; `None` if it is not all there.
fn first_frame(bytes: &[u8]) -> Result<Option<(u8, &[u8], usize)>> {
    let Some(flags) = bytes.first() else { return Ok(None) };
    let (start, length) = if flags & LONG == 0 {
        let Some(length) = bytes.get(1) else { return Ok(None) };
        (2, usize::from(*length))
    } else {
        let Some(length) = bytes.get(1..).and_then(|rest| rest.first_chunk()) else {
            return Ok(None);
        };
        (9, usize::try_from(u64::from_be_bytes(*length))?)
    };
    let size = start + length;
    Ok(bytes.get(start..size).map(|body| (*flags, body, size)))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a peer of this type says at first, in the length that a command has.
    fn hello(kind: &str) -> Vec<u8> {
        let mut said = greeting().to_vec();
        // A newer one says so, and that it is no server, and has an identity.
        said[11] = 1;
        let length = kind.len() as u8;
        let mut ready = b"\x05READY\x0bSocket-Type\0\0\0".to_vec();
        ready.push(length);
        ready.extend_from_slice(kind.as_bytes());
        ready.extend_from_slice(b"\x08Identity\0\0\0\0");
        frame(COMMAND, &ready, &mut said);
        said
    }

    /// How often the peer has subscribed to something, and what was said to it.
    fn heard(said: &[u8], size: usize) -> (usize, Vec<u8>) {
        let (mut peer, mut reply) = (Peer::default(), Vec::new());
        let pieces = said.chunks(size);
        let subscriptions = pieces.filter(|piece| peer.hear(piece, &mut reply).unwrap()).count();
        (subscriptions, reply)
    }

    #[test]
    fn a_subscriber_is_told_of_a_publisher_and_subscribes() {
        let mut said = hello("SUB");
        frame(0, b"\x01", &mut said);
        frame(0, b"\x00topic", &mut said);
        let mut expected = greeting().to_vec();
        expected.extend(b"\x04\x19\x05READY\x0bSocket-Type\0\0\0\x03PUB");
        for size in [1, 7, 64, usize::MAX] {
            assert_eq!(heard(&said, size), (1, expected.clone()), "in pieces of {size}");
        }
    }

    #[test]
    fn every_request_is_answered_in_its_envelope() {
        for kind in ["REQ", "DEALER"] {
            let mut said = hello(kind);
            for command in [&b"handshake"[..], &[b'x'; 300]] {
                frame(MORE, b"", &mut said);
                frame(0, command, &mut said);
            }
            let mut expected = greeting().to_vec();
            expected.extend(b"\x04\x19\x05READY\x0bSocket-Type\0\0\0\x03REP");
            expected.extend(b"\x01\x00\x00\x02ok\x01\x00\x00\x02ok");
            for size in [1, 7, 64, usize::MAX] {
                assert_eq!(heard(&said, size), (0, expected.clone()), "in pieces of {size}");
            }
        }
    }

    #[test]
    fn who_is_no_peer_is_an_error() {
        let mut plain = greeting();
        plain[12..17].copy_from_slice(b"PLAIN");
        for said in [plain.to_vec(), hello("PAIR")] {
            assert!(Peer::default().hear(&said, &mut Vec::new()).is_err());
        }
    }

    #[test]
    fn messages_are_frames_of_both_lengths() {
        assert_eq!(message(b"hi"), b"\x00\x02hi");
        assert_eq!(message(&[7; 255])[..2], [0, 255]);
        assert_eq!(message(&[7; 256])[..9], [2, 0, 0, 0, 0, 0, 0, 1, 0]);
    }
}

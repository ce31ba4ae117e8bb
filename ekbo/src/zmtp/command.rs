//! The commands of a connection (RFC 23, "Commands" and the NULL mechanism; RFC 37, heartbeats and
//! subscriptions): those of the peer are read here, ours are written.

use bytes::{Buf as _, BufMut as _, Bytes, BytesMut};

use super::frame::Header;
use super::protocol_error::ProtocolError;

/// The longest context that a ping may carry (RFC 37).
const LONGEST_CONTEXT: usize = 16;

/// What the peer says about the connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Command {
    /// It agrees to exchange messages, and is a socket of this type; without one if it says none.
    Ready(Option<Bytes>),
    /// It does not, and says why.
    Error(String),
    /// It asks for a pong with these bytes.
    Ping(Bytes),
    /// Anything else: a pong, or what is not meant for a client.
    Other,
}

impl Command {
    /// Reads the body of a command frame.
    pub(super) fn parse(mut body: Bytes) -> Result<Self, ProtocolError> {
        let name = short(&mut body).filter(|name| !name.is_empty());
        let name = name.ok_or(ProtocolError::Command("nameless"))?;
        match &name[..] {
            b"READY" => socket_type(body).map(Self::Ready).ok_or(ProtocolError::Command("READY")),
            b"ERROR" => {
                let reason = short(&mut body).ok_or(ProtocolError::Command("ERROR"))?;
                Ok(Self::Error(reason.escape_ascii().to_string()))
            }
            // A time to live of two bytes stands before the context.
            b"PING" if (2..=2 + LONGEST_CONTEXT).contains(&body.len()) => {
                Ok(Self::Ping(body.split_off(2)))
            }
            b"PING" => Err(ProtocolError::Command("PING")),
            _ => Ok(Self::Other),
        }
    }
}

/// The frame that says this socket's type and asks for messages.
pub(super) fn ready(socket_type: &str) -> Bytes {
    let mut data = BytesMut::new();
    data.put_u8(SOCKET_TYPE.len() as u8);
    data.put_slice(SOCKET_TYPE);
    data.put_u32(socket_type.len() as u32);
    data.put_slice(socket_type.as_bytes());
    frame(b"READY", &data)
}

/// The frame that asks for a sign of life. It makes no promise of ours, so the time to live is 0.
pub(super) fn ping() -> Bytes {
    frame(b"PING", &[0, 0])
}

/// The frame that answers a ping.
pub(super) fn pong(context: &[u8]) -> Bytes {
    frame(b"PONG", context)
}

/// The frame that asks for all messages that begin with `topic`.
pub(super) fn subscribe(topic: &[u8]) -> Bytes {
    frame(b"SUBSCRIBE", topic)
}

const SOCKET_TYPE: &[u8] = b"Socket-Type";

fn frame(name: &[u8], data: &[u8]) -> Bytes {
    let header = Header::command(1 + name.len() + data.len()).encode();
    let mut frame = BytesMut::with_capacity(header.len() + 1 + name.len() + data.len());
    frame.put_slice(&header);
    frame.put_u8(name.len() as u8);
    frame.put_slice(name);
    frame.put_slice(data);
    frame.freeze()
}

/// The socket's type among the properties; `None` if they are malformed.
fn socket_type(mut properties: Bytes) -> Option<Option<Bytes>> {
    let mut found = None;
    while !properties.is_empty() {
        let name = short(&mut properties).filter(|name| !name.is_empty())?;
        let size = properties.try_get_u32().ok()?;
        let value = take(&mut properties, size as usize)?;
        if name.eq_ignore_ascii_case(SOCKET_TYPE) {
            found = Some(value);
        }
    }
    Some(found)
}

/// Bytes whose number stands in one byte before them.
fn short(bytes: &mut Bytes) -> Option<Bytes> {
    let size = bytes.try_get_u8().ok()?;
    take(bytes, size.into())
}

fn take(bytes: &mut Bytes, size: usize) -> Option<Bytes> {
    (size <= bytes.len()).then(|| bytes.split_to(size))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_are_told_apart() {
        let parse = |body: &'static [u8]| Command::parse(Bytes::from_static(body)).unwrap();
        assert_eq!(parse(b"\x05READY"), Command::Ready(None));
        assert_eq!(
            parse(b"\x05READY\x08Identity\0\0\0\0\x0bsocket-TYPE\0\0\0\x03PUB"),
            Command::Ready(Some(Bytes::from_static(b"PUB")))
        );
        assert_eq!(parse(b"\x05ERROR\x03no\n"), Command::Error("no\\n".into()));
        assert_eq!(parse(b"\x04PING\0\0"), Command::Ping(Bytes::new()));
        assert_eq!(parse(b"\x04PING\0\x05abc"), Command::Ping(Bytes::from_static(b"abc")));
        assert_eq!(parse(b"\x04PONGabc"), Command::Other);
        assert_eq!(parse(b"\x05HELLO"), Command::Other);
    }

    #[test]
    fn malformed_commands_are_named() {
        for (body, name) in [
            (&b""[..], "nameless"),
            (b"\0", "nameless"),
            (b"\x06READY", "nameless"),
            (b"\x05READY\x0bSocket-Type\0\0\0\x04PUB", "READY"),
            (b"\x05READY\x0bSocket-Type\0\0\0", "READY"),
            (b"\x05READY\0\0\0\0\0", "READY"),
            (b"\x05ERROR", "ERROR"),
            (b"\x05ERROR\x04no", "ERROR"),
            (b"\x04PING\0", "PING"),
            (b"\x04PING\0\x000123456789abcdefg", "PING"),
        ] {
            let parsed = Command::parse(Bytes::from_static(body));
            assert_eq!(parsed, Err(ProtocolError::Command(name)), "{}", body.escape_ascii());
        }
    }

    #[test]
    fn ours_are_framed() {
        assert_eq!(&ready("REQ")[..], b"\x04\x19\x05READY\x0bSocket-Type\0\0\0\x03REQ");
        assert_eq!(&ping()[..], b"\x04\x07\x04PING\0\0");
        assert_eq!(&pong(b"abc")[..], b"\x04\x08\x04PONGabc");
        assert_eq!(&subscribe(b"")[..], b"\x04\x0a\x09SUBSCRIBE");
        assert_eq!(&subscribe(&[b'x'; 300])[..9], b"\x06\0\0\0\0\0\0\x01\x36");
    }
}

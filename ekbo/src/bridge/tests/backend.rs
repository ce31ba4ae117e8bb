//! A ZeroMQ backend that does what a test tells it to, step by step: sockets of ZMTP 3.0 (RFC 23)
//! that block.

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};

use super::PATIENCE;
use crate::endpoint::Endpoint;

/// A socket that is bound.
pub(super) struct Bound {
    listener: TcpListener,
    kind: &'static str,
}

/// Who has connected to it.
pub(super) struct Peer(TcpStream);

impl Bound {
    pub(super) fn rep() -> Self {
        Self::new("REP")
    }

    pub(super) fn publisher() -> Self {
        Self::new("PUB")
    }

    fn new(kind: &'static str) -> Self {
        Self { listener: TcpListener::bind("127.0.0.1:0").unwrap(), kind }
    }

    pub(super) fn endpoint(&self) -> Endpoint {
        format!("tcp://{}", self.listener.local_addr().unwrap()).parse().unwrap()
    }

    /// The next who speaks ZMTP, and not merely looks whether somebody listens.
    pub(super) fn accept(&self) -> Peer {
        loop {
            let (mut stream, _) = self.listener.accept().unwrap();
            stream.set_read_timeout(Some(PATIENCE)).unwrap();
            let mut greeting = [0; 64];
            if stream.read_exact(&mut greeting).is_err() {
                continue;
            }
            assert_eq!(&greeting[12..16], b"NULL");
            let mut own = [0; 64];
            own[0] = 0xff;
            own[9..11].copy_from_slice(b"\x7f\x03");
            own[12..16].copy_from_slice(b"NULL");
            stream.write_all(&own).unwrap();
            let mut peer = Peer(stream);
            let ready = [b"\x05READY\x0bSocket-Type\0\0\0\x03", self.kind.as_bytes()].concat();
            peer.write(4, &ready);
            let (flags, command) = peer.read().unwrap();
            assert!(flags == 4 && command.starts_with(b"\x05READY"));
            return peer;
        }
    }

    /// The same, for who subscribes to one topic, which is returned.
    pub(super) fn accept_subscriber(&self) -> (Peer, Vec<u8>) {
        let mut peer = self.accept();
        let mut subscription = peer.receive().unwrap();
        assert_eq!(subscription.remove(0), 1);
        (peer, subscription)
    }
}

impl Peer {
    /// The next message, its parts joined; `None` when the other side is closed.
    pub(super) fn receive(&mut self) -> Option<Vec<u8>> {
        let mut message = Vec::new();
        loop {
            let (flags, part) = self.read()?;
            message.extend(part);
            if flags & 1 == 0 {
                return Some(message);
            }
        }
    }

    /// The next request.
    pub(super) fn asked(&mut self) -> String {
        String::from_utf8(self.receive().unwrap()).unwrap()
    }

    /// Answers a request.
    pub(super) fn reply(&mut self, body: &[u8]) {
        self.send(&[b"", body]);
    }

    pub(super) fn send(&mut self, parts: &[&[u8]]) {
        for (at, part) in parts.iter().enumerate() {
            self.write(u8::from(at + 1 < parts.len()), part);
        }
    }

    fn write(&mut self, flags: u8, body: &[u8]) {
        let mut frame = vec![flags | 2];
        frame.extend((body.len() as u64).to_be_bytes());
        frame.extend(body);
        self.0.write_all(&frame).unwrap();
    }

    fn read(&mut self) -> Option<(u8, Vec<u8>)> {
        let mut flags = [0];
        if self.0.read(&mut flags).unwrap() == 0 {
            return None;
        }
        let mut length = [0; 8];
        let is_long = flags[0] & 2 != 0;
        self.0.read_exact(&mut length[if is_long { 0 } else { 7 }..]).unwrap();
        let mut body = vec![0; u64::from_be_bytes(length) as usize];
        self.0.read_exact(&mut body).unwrap();
        Some((flags[0] & !2, body))
    }
}

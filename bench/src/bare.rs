//! The bare server: one thread over epoll that does the work of a scenario and nothing else. What
//! it uses is what the kernel asks for; whatever another server uses beyond that is its own.
//!
//! It asks the backend on connect, delivers posts by one write for each session while it reads the
//! post, and forwards messages of clients. It checks nothing, has no limits but one on what waits
//! for a client, and knows only requests as `server/ekbo.rs` writes them.

use std::collections::HashMap;
use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr};
use std::rc::Rc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use mio::net::{TcpListener, TcpStream};
use mio::{Events, Interest, Poll, Token};
use sha1::{Digest as _, Sha1};

use crate::Result;

/// The word that makes this program the bare server.
pub(crate) const WORD: &str = "bare-server";

const SESSION_FIELD: &[u8] = b"X-Kuiperbelt-Session: ";
const LENGTH_FIELD: &[u8] = b"Content-Length: ";
const KEY_FIELD: &[u8] = b"Sec-WebSocket-Key: ";
const GUID: &[u8] = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11";
const ACCEPTED: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n\
    Content-Length: 15\r\n\r\n{\"result\":\"OK\"}";
/// What may wait for a client that does not read; beyond that it is dropped.
const MAX_WAITING: usize = 1024 * 1024;
const LISTENER: Token = Token(usize::MAX - 2);
const BOTH: Interest = Interest::READABLE.add(Interest::WRITABLE);

/// Serves on a port of 127.0.0.1 until it is killed.
pub(crate) fn serve(port: u16, backend: SocketAddr) -> Result<()> {
    let mut bare = Bare::new(port, backend)?;
    let mut buffer = vec![0; 64 * 1024];
    let mut events = Events::with_capacity(1024);
    loop {
        match bare.poll.poll(&mut events, None) {
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            other => other?,
        }
        for event in &events {
            match event.token() {
                LISTENER => bare.accept()?,
                Token(slot) => {
                    if bare.flush(slot).is_err() {
                        bare.close(slot);
                    }
                    if event.is_readable() || event.is_read_closed() || event.is_error() {
                        bare.read(slot, &mut buffer)?;
                    }
                }
            }
        }
    }
}

struct Bare {
    poll: Poll,
    listener: TcpListener,
    backend: SocketAddr,
    slots: Vec<Option<Connection>>,
    free: Vec<usize>,
    sessions: HashMap<Rc<[u8]>, usize>,
    /// Connections to the backend that wait for work.
    idle: Vec<usize>,
}

struct Connection {
    stream: TcpStream,
    role: Role,
    /// What has arrived of something that is not complete.
    partial: Vec<u8>,
    /// What the socket has not taken.
    waiting: Vec<u8>,
}

enum Role {
    /// Says requests, posts and at last perhaps a handshake; where the body begins, if the head of
    /// the next one is known.
    Http {
        head: Option<usize>,
    },
    /// Waits for the backend to say yes; `gone` if the client did not wait that long.
    Asking {
        gone: bool,
    },
    Session(Rc<[u8]>),
    /// To the backend, for a client's handshake or, with `None`, a message.
    Backend {
        ask: Option<Box<Ask>>,
    },
}

struct Ask {
    slot: usize,
    accept: String,
}

impl Bare {
    fn new(port: u16, backend: SocketAddr) -> Result<Self> {
        let poll = Poll::new()?;
        let mut listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port).into())?;
        poll.registry().register(&mut listener, LISTENER, Interest::READABLE)?;
        Ok(Self {
            poll,
            listener,
            backend,
            slots: Vec::new(),
            free: Vec::new(),
            sessions: HashMap::new(),
            idle: Vec::new(),
        })
    }

    fn accept(&mut self) -> Result<()> {
        loop {
            match self.listener.accept() {
                Ok((stream, _)) => self.keep(stream, Role::Http { head: None })?,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error.into()),
            };
        }
    }

    fn keep(&mut self, mut stream: TcpStream, role: Role) -> Result<usize> {
        stream.set_nodelay(true)?;
        let slot = self.free.pop().unwrap_or(self.slots.len());
        self.poll.registry().register(&mut stream, Token(slot), BOTH)?;
        let kept = Some(Connection { stream, role, partial: Vec::new(), waiting: Vec::new() });
        match self.slots.get_mut(slot) {
            Some(place) => *place = kept,
            None => self.slots.push(kept),
        }
        Ok(slot)
    }

    fn close(&mut self, slot: usize) {
        let Some(connection) = self.slots.get_mut(slot).and_then(Option::as_mut) else { return };
        match &mut connection.role {
            // The backend's answer will find the slot.
            Role::Asking { gone } => {
                *gone = true;
                return;
            }
            Role::Session(key) => {
                self.sessions.remove(key);
            }
            Role::Backend { .. } => self.idle.retain(|idle| *idle != slot),
            Role::Http { .. } => {}
        }
        self.slots[slot] = None;
        self.free.push(slot);
    }

    /// Reads until the socket is empty.
    fn read(&mut self, slot: usize, buffer: &mut [u8]) -> Result<()> {
        loop {
            let Some(connection) = &mut self.slots[slot] else { return Ok(()) };
            match connection.stream.read(buffer) {
                Ok(0) => {
                    self.close(slot);
                    return Ok(());
                }
                Ok(size) => {
                    self.take(slot, &buffer[..size])?;
                    if size < buffer.len() {
                        return Ok(());
                    }
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(_) => {
                    self.close(slot);
                    return Ok(());
                }
            }
        }
    }

    /// Takes bytes that have arrived: whole requests and frames at once, the rest is kept.
    fn take(&mut self, slot: usize, bytes: &[u8]) -> Result<()> {
        let Some(connection) = &mut self.slots[slot] else { return Ok(()) };
        if connection.partial.is_empty() {
            let used = self.handle(slot, bytes, 0)?;
            if used < bytes.len()
                && let Some(connection) = &mut self.slots[slot]
            {
                connection.partial.extend_from_slice(&bytes[used..]);
            }
            return Ok(());
        }
        let mut partial = std::mem::take(&mut connection.partial);
        let known = partial.len();
        partial.extend_from_slice(bytes);
        let used = self.handle(slot, &partial, known)?;
        if used < partial.len()
            && let Some(connection) = &mut self.slots[slot]
        {
            partial.drain(..used);
            connection.partial = partial;
        }
        Ok(())
    }

    /// Handles what is complete, and says how many bytes that was. The first `known` bytes have
    /// been here before, and were not enough.
    fn handle(&mut self, slot: usize, bytes: &[u8], known: usize) -> Result<usize> {
        let mut used = 0;
        let mut known = known;
        while used < bytes.len() {
            let Some(connection) = &mut self.slots[slot] else { break };
            let rest = &bytes[used..];
            let size = match &mut connection.role {
                Role::Session(key) => {
                    let key = key.clone();
                    self.frame(slot, &key, rest)?
                }
                Role::Http { head } => {
                    *head = head.or_else(|| end_of_head(rest, known));
                    match *head {
                        Some(head) => self.request(slot, rest, head)?,
                        None => None,
                    }
                }
                Role::Backend { .. } => self.answer(slot, rest)?,
                Role::Asking { .. } => None,
            };
            let Some(size) = size else { break };
            used += size;
            known = 0;
        }
        Ok(used)
    }

    /// A request, of which the head is all there.
    fn request(&mut self, slot: usize, bytes: &[u8], head: usize) -> Result<Option<usize>> {
        if bytes.starts_with(b"GET ") {
            self.ask(slot, &bytes[..head])?;
            return Ok(Some(head));
        }
        let mut lines = bytes[..head].split(|byte| *byte == b'\n');
        let length = lines.find_map(|line| number(line.strip_prefix(LENGTH_FIELD)?));
        let size = head + length.unwrap_or_default();
        let Some(body) = bytes.get(head..size) else { return Ok(None) };
        let mut frame = Vec::with_capacity(body.len() + 10);
        encode(body, &mut frame);
        for line in lines {
            if let Some(key) = line.strip_prefix(SESSION_FIELD)
                && let Some(receiver) = self.sessions.get(key.trim_ascii_end())
            {
                let receiver = *receiver;
                if self.write(receiver, &frame).is_err() {
                    self.close(receiver);
                }
            }
        }
        if let Some(Connection { role: Role::Http { head }, .. }) = &mut self.slots[slot] {
            *head = None;
        }
        if self.write(slot, ACCEPTED).is_err() {
            self.close(slot);
        }
        Ok(Some(size))
    }

    /// A handshake: the backend is asked about it.
    fn ask(&mut self, slot: usize, head: &[u8]) -> Result<()> {
        let target = head.split(|byte| *byte == b' ').nth(1).unwrap_or_default();
        let key = head
            .split(|byte| *byte == b'\n')
            .find_map(|line| line.strip_prefix(KEY_FIELD))
            .unwrap_or_default();
        let digest = Sha1::new().chain_update(key.trim_ascii_end()).chain_update(GUID).finalize();
        let accept = STANDARD.encode(digest);
        if let Some(connection) = &mut self.slots[slot] {
            connection.role = Role::Asking { gone: false };
        }
        let mut request = Vec::with_capacity(target.len() + 64);
        request.extend_from_slice(b"GET ");
        request.extend_from_slice(target);
        request.extend_from_slice(b" HTTP/1.1\r\nHost: backend\r\n\r\n");
        self.call(&request, Some(Box::new(Ask { slot, accept })))
    }

    /// A frame of a client: text and binary go to the backend, anything else nowhere.
    fn frame(&mut self, slot: usize, key: &[u8], bytes: &[u8]) -> Result<Option<usize>> {
        let [first, second, ..] = *bytes else { return Ok(None) };
        let (start, length) = match second & 0x7f {
            126 => match bytes.get(2..4) {
                Some(length) => (4, usize::from(u16::from_be_bytes([length[0], length[1]]))),
                None => return Ok(None),
            },
            127 => return Err("a message longer than 64 KiB".into()),
            length => (2, usize::from(length)),
        };
        let size = start + 4 + length;
        let (Some(mask), Some(payload)) = (bytes.get(start..start + 4), bytes.get(start + 4..size))
        else {
            return Ok(None);
        };
        if first & 0x0f == 8 {
            self.close(slot);
            return Ok(Some(size));
        }
        let mut request = Vec::with_capacity(payload.len() + 160);
        request.extend_from_slice(b"POST /receive HTTP/1.1\r\nHost: backend\r\n");
        request.extend_from_slice(SESSION_FIELD);
        request.extend_from_slice(key);
        request.extend_from_slice(b"\r\nContent-Type: text/plain\r\n");
        request.extend_from_slice(LENGTH_FIELD);
        request.extend_from_slice(length.to_string().as_bytes());
        request.extend_from_slice(b"\r\n\r\n");
        request.extend(payload.iter().zip(mask.iter().cycle()).map(|(byte, mask)| byte ^ mask));
        self.call(&request, None)?;
        Ok(Some(size))
    }

    /// Sends a request to the backend, on the connection that was used last.
    fn call(&mut self, request: &[u8], ask: Option<Box<Ask>>) -> Result<()> {
        let slot = match self.idle.pop() {
            Some(slot) => slot,
            None => {
                let stream = TcpStream::connect(self.backend)?;
                self.keep(stream, Role::Backend { ask: None })?
            }
        };
        if let Some(connection) = &mut self.slots[slot] {
            connection.role = Role::Backend { ask };
        }
        self.write(slot, request)
    }

    /// The backend's answer.
    fn answer(&mut self, slot: usize, bytes: &[u8]) -> Result<Option<usize>> {
        let Some(head) = end_of_head(bytes, 0) else { return Ok(None) };
        let mut lines = bytes[..head].split(|byte| *byte == b'\n');
        let length = lines.clone().find_map(|line| number(line.strip_prefix(LENGTH_FIELD)?));
        let size = head + length.unwrap_or_default();
        if bytes.len() < size {
            return Ok(None);
        }
        self.idle.push(slot);
        let Some(Connection { role: Role::Backend { ask }, .. }) = &mut self.slots[slot] else {
            return Ok(Some(size));
        };
        if let Some(ask) = ask.take() {
            let key = lines.find_map(|line| line.strip_prefix(SESSION_FIELD)).unwrap_or_default();
            self.admit(*ask, Rc::from(key.trim_ascii_end()))?;
        }
        Ok(Some(size))
    }

    fn admit(&mut self, ask: Ask, key: Rc<[u8]>) -> Result<()> {
        let Ask { slot, accept } = ask;
        let Some(connection) = &mut self.slots[slot] else { return Ok(()) };
        let gone = matches!(connection.role, Role::Asking { gone: true });
        connection.role = Role::Session(key.clone());
        self.sessions.insert(key, slot);
        let response = format!(
            "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
             Sec-WebSocket-Accept: {accept}\r\n\r\n"
        );
        if gone || self.write(slot, response.as_bytes()).is_err() {
            self.close(slot);
            return Ok(());
        }
        self.take(slot, &[])
    }

    /// Writes; what the socket does not take waits, up to a limit.
    fn write(&mut self, slot: usize, bytes: &[u8]) -> Result<()> {
        let Some(connection) = &mut self.slots[slot] else { return Ok(()) };
        let sent = if connection.waiting.is_empty() {
            write_some(&mut connection.stream, bytes)?
        } else {
            0
        };
        if sent < bytes.len() {
            if connection.waiting.len() + bytes.len() > MAX_WAITING {
                return Err("too much waits for a client".into());
            }
            connection.waiting.extend_from_slice(&bytes[sent..]);
        }
        Ok(())
    }

    /// Writes what waits, as far as the socket takes it.
    fn flush(&mut self, slot: usize) -> Result<()> {
        let Some(connection) = self.slots.get_mut(slot).and_then(Option::as_mut) else {
            return Ok(());
        };
        if connection.waiting.is_empty() {
            return Ok(());
        }
        let sent = write_some(&mut connection.stream, &connection.waiting)?;
        connection.waiting.drain(..sent);
        if connection.waiting.is_empty() {
            connection.waiting = Vec::new();
        }
        Ok(())
    }
}

fn write_some(stream: &mut TcpStream, bytes: &[u8]) -> Result<usize> {
    match stream.write(bytes) {
        Ok(sent) => Ok(sent),
        Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(0),
        // A connection to the backend that is being established.
        Err(error) if error.kind() == ErrorKind::NotConnected => Ok(0),
        Err(error) => Err(error.into()),
    }
}

/// Appends a text message as a server sends it: one frame.
fn encode(payload: &[u8], frame: &mut Vec<u8>) {
    frame.push(0x81);
    match payload.len() {
        length @ 0..=125 => frame.push(length as u8),
        length @ 126..=0xffff => {
            frame.push(126);
            frame.extend((length as u16).to_be_bytes());
        }
        length => {
            frame.push(127);
            frame.extend((length as u64).to_be_bytes());
        }
    }
    frame.extend_from_slice(payload);
}

fn end_of_head(bytes: &[u8], known: usize) -> Option<usize> {
    let from = known.saturating_sub(3);
    bytes[from..].windows(4).position(|four| four == b"\r\n\r\n").map(|at| from + at + 4)
}

fn number(text: &[u8]) -> Option<usize> {
    std::str::from_utf8(text.trim_ascii_end()).ok()?.parse().ok()
}

//! The application behind a proxy, as a process of its own: one thread over epoll that answers
//! `/SIZE` with a body of so many bytes, whatever the method, and reads bodies to their end. It
//! keeps connections, and knows only requests that have a length or no body.

use std::io::ErrorKind;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;

use mio::net::{TcpListener, TcpStream};
use mio::{Events, Interest, Poll, Token};

use crate::Result;
use crate::load::http::Request;
use crate::load::pipe::Pipe;

/// The word that makes this program the application.
pub(crate) const WORD: &str = "application";

/// What a page of an application may say beside its length.
const FIELDS: &str = "Date: Fri, 20 Nov 2026 12:00:00 GMT\r\nServer: application\r\n\
    Content-Type: text/html; charset=utf-8\r\nCache-Control: private, max-age=0\r\n\
    ETag: \"5f3c9a1b7d2e4c60\"\r\n";
/// So much of a body is handed to the socket at a time.
static PIECE: [u8; 64 * 1024] = [b'x'; 64 * 1024];
const LISTENER: Token = Token(usize::MAX - 2);
const BOTH: Interest = Interest::READABLE.add(Interest::WRITABLE);

/// What starts `program`, which is this one, as the application.
pub(crate) fn command(program: &Path, address: SocketAddr) -> Command {
    let mut command = Command::new(program);
    command.arg(WORD).arg(address.to_string());
    command
}

/// The target that is answered with so many bytes.
pub(crate) fn target(size: usize) -> String {
    format!("/{size}")
}

/// Serves until it is killed.
pub(crate) fn serve(address: SocketAddr) -> Result<()> {
    run(TcpListener::bind(address)?)
}

fn run(mut listener: TcpListener) -> Result<()> {
    let mut poll = Poll::new()?;
    poll.registry().register(&mut listener, LISTENER, Interest::READABLE)?;
    let mut connections: Vec<Option<Connection>> = Vec::new();
    let mut buffer = vec![0; 64 * 1024];
    let mut events = Events::with_capacity(1024);
    loop {
        match poll.poll(&mut events, None) {
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            other => other?,
        }
        for event in &events {
            let Token(number) = event.token();
            if event.token() == LISTENER {
                accept(&listener, &poll, &mut connections)?;
            } else if let Some(connection) = &mut connections[number]
                && !connection.serve(event.is_read_closed(), &mut buffer).unwrap_or(false)
            {
                connections[number] = None;
            }
        }
    }
}

fn accept(
    listener: &TcpListener,
    poll: &Poll,
    connections: &mut Vec<Option<Connection>>,
) -> Result<()> {
    loop {
        let mut stream = match listener.accept() {
            Ok((stream, _)) => stream,
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
            Err(error) => return Err(error.into()),
        };
        stream.set_nodelay(true)?;
        let free = connections.iter().position(Option::is_none);
        let number = free.unwrap_or(connections.len());
        poll.registry().register(&mut stream, Token(number), BOTH)?;
        let connection = Some(Connection::new(stream));
        match connections.get_mut(number) {
            Some(place) => *place = connection,
            None => connections.push(connection),
        }
    }
}

struct Connection {
    pipe: Pipe,
    unread: Vec<u8>,
    /// Of the body under way, what was not yet handed to the pipe.
    owed: usize,
}

impl Connection {
    fn new(stream: TcpStream) -> Self {
        Self { pipe: Pipe::new(stream, Vec::new()), unread: Vec::new(), owed: 0 }
    }

    /// Reads and writes as far as that goes; `closed` says that there is an end to be read. Returns
    /// whether the connection still stands.
    fn serve(&mut self, closed: bool, buffer: &mut [u8]) -> Result<bool> {
        self.pipe.flush()?;
        self.pay(Vec::new())?;
        loop {
            let size = match self.pipe.read(buffer)? {
                None => return Ok(true),
                Some(0) => return Ok(false),
                Some(size) => size,
            };
            self.unread.extend_from_slice(&buffer[..size]);
            self.answer()?;
            if size < buffer.len() && !closed {
                return Ok(true);
            }
        }
    }

    /// Answers the request that has arrived, if it is all there: a proxy says the next one when
    /// it has the answer.
    fn answer(&mut self) -> Result<()> {
        let Some((request, size)) = Request::read(&self.unread)? else { return Ok(()) };
        self.owed = request.target().trim_start_matches('/').parse()?;
        self.unread.drain(..size);
        let head = format!("HTTP/1.1 200 OK\r\n{FIELDS}Content-Length: {}\r\n\r\n", self.owed);
        self.pay(head.into_bytes())
    }

    /// Writes `head` with the beginning of what is owed, and on until the socket is full.
    fn pay(&mut self, mut head: Vec<u8>) -> Result<()> {
        while self.pipe.has_sent_all() && (self.owed > 0 || !head.is_empty()) {
            let piece = &PIECE[..self.owed.min(PIECE.len())];
            self.owed -= piece.len();
            if head.is_empty() {
                self.pipe.write(piece)?;
            } else {
                head.extend_from_slice(piece);
                self.pipe.write(&std::mem::take(&mut head))?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Write as _};
    use std::net::{Ipv4Addr, TcpStream as Blocking};

    use super::*;

    #[test]
    fn answers_with_as_many_bytes_as_it_is_asked_for() {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0).into()).unwrap();
        let mut client = Blocking::connect(listener.local_addr().unwrap()).unwrap();
        std::thread::spawn(|| run(listener).unwrap());
        for (request, size) in [
            ("GET /0 HTTP/1.1\r\n\r\n", 0),
            ("POST /200 HTTP/1.1\r\nContent-Length: 3\r\n\r\nabc", 200),
            ("GET /3000000 HTTP/1.1\r\n\r\n", 3_000_000),
        ] {
            client.write_all(request.as_bytes()).unwrap();
            let head = format!("HTTP/1.1 200 OK\r\n{FIELDS}Content-Length: {size}\r\n\r\n");
            let mut answer = vec![0; head.len() + size];
            client.read_exact(&mut answer).unwrap();
            assert_eq!(answer[..head.len()], *head.as_bytes(), "{request}");
            assert!(answer[head.len()..].iter().all(|byte| *byte == b'x'), "{request}");
        }
    }
}

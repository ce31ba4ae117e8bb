//! An application of which the test itself plays every byte: it accepts `ekbo`'s connections one by
//! one, sees exactly what comes over them, and writes, stalls, ends or resets as it likes. There
//! is no thread behind it; real servers are in `application.rs`.

use std::io::{self, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::os::unix::net::UnixListener;

use super::clock::{PATIENCE, eventually_some};
use super::directory::Directory;
use super::system;
use super::wire::{End, Incoming, Wire};

/// A listener that `ekbo` takes for the application.
pub(crate) struct Upstream {
    listener: Listener,
    /// Where a unix socket lives.
    directory: Directory,
}

enum Listener {
    Tcp(TcpListener),
    Unix(UnixListener),
}

/// A connection from `ekbo`.
pub(crate) struct Inbound(Incoming);

/// The head of a request as it came.
#[derive(Debug)]
pub(crate) struct Head {
    /// `GET /path HTTP/1.1`
    pub(crate) request_line: String,
    /// The lines after it: without their ends, and without blanks around the values.
    pub(crate) fields: Vec<String>,
}

/// An address at which nobody answers, not even by a refusal.
pub(crate) struct Unreachable {
    listener: TcpListener,
    /// What fills the queue of the listener.
    _waiting: TcpStream,
}

impl Upstream {
    /// Listens on a port of the system's choice.
    pub(crate) fn start() -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        listener.set_nonblocking(true).unwrap();
        Self { listener: Listener::Tcp(listener), directory: Directory::new() }
    }

    /// Listens on a unix socket.
    pub(crate) fn start_unix() -> Self {
        let directory = Directory::new();
        let listener = UnixListener::bind(directory.join("upstream.sock")).unwrap();
        listener.set_nonblocking(true).unwrap();
        Self { listener: Listener::Unix(listener), directory }
    }

    /// Its address as it is written in a configuration.
    pub(crate) fn url(&self) -> String {
        match &self.listener {
            Listener::Tcp(_) => format!("http://{}", self.authority()),
            Listener::Unix(_) => format!("unix:{}", self.directory.join("upstream.sock").display()),
        }
    }

    /// Host and port.
    pub(crate) fn authority(&self) -> String {
        match &self.listener {
            Listener::Tcp(listener) => listener.local_addr().unwrap().to_string(),
            Listener::Unix(_) => panic!("a unix socket has no port"),
        }
    }

    /// Waits for the next connection.
    #[track_caller]
    pub(crate) fn accept(&self) -> Inbound {
        eventually_some("a connection to the upstream", || self.try_accept())
    }

    /// The next connection, if it is there already.
    pub(crate) fn try_accept(&self) -> Option<Inbound> {
        let accepted = match &self.listener {
            Listener::Tcp(listener) => listener.accept().map(|(stream, _)| {
                stream.set_nodelay(true).unwrap();
                Wire::Tcp(stream)
            }),
            Listener::Unix(listener) => listener.accept().map(|(stream, _)| Wire::Unix(stream)),
        };
        match accepted {
            Ok(wire) => {
                wire.set_nonblocking(false);
                wire.set_patience(Some(PATIENCE));
                Some(Inbound(Incoming::new(wire)))
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => None,
            Err(error) => panic!("accepting failed: {error}"),
        }
    }
}

impl Inbound {
    /// Reads a head up to and including its empty line.
    #[track_caller]
    pub(crate) fn head(&mut self) -> Head {
        match self.head_or_end() {
            Ok(head) => head,
            Err(end) => panic!("no head: {end:?}"),
        }
    }

    /// Reads a head, or the end of the connection before the first byte of one.
    #[track_caller]
    pub(crate) fn head_or_end(&mut self) -> Result<Head, End> {
        let mut lines = vec![text(&self.0.line()?)];
        loop {
            let line = match self.0.line() {
                Ok(line) => text(&line),
                Err(end) => panic!("a head cut off by {end:?} after {lines:?}"),
            };
            if line.is_empty() {
                let request_line = lines.remove(0);
                return Ok(Head { request_line, fields: lines });
            }
            let tidied =
                line.split_once(':').map(|(name, value)| format!("{name}: {}", value.trim()));
            lines.push(tidied.unwrap_or(line));
        }
    }

    /// Reads exactly this; panics when anything else comes.
    #[track_caller]
    pub(crate) fn expect(&mut self, bytes: impl AsRef<[u8]>) {
        let bytes = bytes.as_ref();
        let came = self.0.exactly(bytes.len());
        let came = came.unwrap_or_else(|end| panic!("{end:?} instead of {}", bytes.escape_ascii()));
        assert!(came == bytes, "{} is not {}", came.escape_ascii(), bytes.escape_ascii());
    }

    /// Reads a body in chunks to its end: the content, and the lines of the trailer section.
    #[track_caller]
    pub(crate) fn chunks(&mut self) -> (Vec<u8>, Vec<String>) {
        let mut body = Vec::new();
        loop {
            let size = text(&self.0.line().unwrap());
            let size = usize::from_str_radix(&size, 16).unwrap_or_else(|_| panic!("size: {size}"));
            if size == 0 {
                break;
            }
            body.extend(self.0.exactly(size).unwrap());
            self.expect("\r\n");
        }
        let mut trailers = Vec::new();
        loop {
            let line = text(&self.0.line().unwrap());
            if line.is_empty() {
                return (body, trailers);
            }
            trailers.push(line);
        }
    }

    /// Reads until `ekbo` ends the connection.
    pub(crate) fn rest(&mut self) -> (Vec<u8>, End) {
        self.0.rest()
    }

    /// Whether nothing has come that was not read, the end neither.
    pub(crate) fn is_silent(&mut self) -> bool {
        self.0.is_silent()
    }

    /// Writes the bytes as they are.
    #[track_caller]
    pub(crate) fn write(&mut self, bytes: impl AsRef<[u8]>) {
        if let Err(error) = self.try_write(bytes) {
            panic!("writing failed: {error}");
        }
    }

    /// Writes the bytes as they are, to an `ekbo` that may have hung up.
    pub(crate) fn try_write(&mut self, bytes: impl AsRef<[u8]>) -> io::Result<()> {
        self.0.wire().write_all(bytes.as_ref())
    }

    /// Ends the writing direction only.
    pub(crate) fn finish_writing(&mut self) {
        self.0.wire().shutdown(Shutdown::Write);
    }

    /// Goes away with a TCP reset.
    pub(crate) fn reset(mut self) {
        system::reset_on_close(self.0.wire().as_tcp().expect("a connection over TCP"));
    }

    pub(crate) fn wire(&mut self) -> &mut Wire {
        self.0.wire()
    }
}

impl Head {
    /// The values of all fields of that name, in order.
    pub(crate) fn all(&self, name: &str) -> Vec<&str> {
        let split = self.fields.iter().filter_map(|field| field.split_once(':'));
        let named = split.filter(|(field, _)| field.eq_ignore_ascii_case(name));
        named.map(|(_, value)| value.trim()).collect()
    }

    /// The fields but for those that tell where the request came from: spelled and ordered as they
    /// came.
    pub(crate) fn fields_of_the_client(&self) -> Vec<&str> {
        let ours = |field: &&str| field.to_ascii_lowercase().starts_with("x-forwarded-");
        self.fields.iter().map(String::as_str).filter(|field| !ours(field)).collect()
    }

    /// The request target.
    #[track_caller]
    pub(crate) fn target(&self) -> &str {
        let (_, rest) = self.request_line.split_once(' ').expect("a method");
        rest.strip_suffix(" HTTP/1.1").unwrap_or_else(|| panic!("{}", self.request_line))
    }
}

impl Unreachable {
    /// A listener whose queue is full, so that nobody else gets through to it.
    pub(crate) fn start() -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        system::shorten_queue(&listener);
        let waiting = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        Self { listener, _waiting: waiting }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.listener.local_addr().unwrap())
    }
}

/// A line as text, a character for each byte; its end must be CR LF.
#[track_caller]
fn text(line: &[u8]) -> String {
    let line = line.strip_suffix(b"\r\n").unwrap_or_else(|| panic!("{}", line.escape_ascii()));
    line.iter().map(|&byte| char::from(byte)).collect()
}

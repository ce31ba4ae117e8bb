//! A socket that does not block, and what could not be written to it yet.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr};

use mio::net::TcpStream;
use socket2::{Domain, Socket, Type};

use crate::Result;

/// Each has some 28,000 ports of its own.
const SOURCES: usize = 64;
/// EINPROGRESS: the connection is being established.
const IN_PROGRESS: i32 = 115;

/// Begins the `nth` connection, from a source address that goes round with `nth`.
pub(crate) fn connect(address: SocketAddr, nth: usize) -> Result<TcpStream> {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None)
        .map_err(|error| format!("no socket: {error}; see ulimit -Hn"))?;
    socket.set_nonblocking(true)?;
    socket.set_tcp_nodelay(true)?;
    let source = Ipv4Addr::new(127, 0, 0, 2 + (nth % SOURCES) as u8);
    socket.bind(&SocketAddr::from((source, 0)).into())?;
    match socket.connect(&address.into()) {
        Err(error) if error.raw_os_error() != Some(IN_PROGRESS) => Err(error.into()),
        _ => Ok(TcpStream::from_std(socket.into())),
    }
}

pub(crate) struct Pipe {
    stream: TcpStream,
    unsent: Vec<u8>,
}

impl Pipe {
    /// `greeting` is written with the first [`flush`](Self::flush).
    pub(crate) fn new(stream: TcpStream, greeting: Vec<u8>) -> Self {
        Self { stream, unsent: greeting }
    }

    /// To be registered.
    pub(crate) fn stream(&mut self) -> &mut TcpStream {
        &mut self.stream
    }

    /// Keeps what the socket does not take now.
    pub(crate) fn write(&mut self, bytes: &[u8]) -> Result<()> {
        let sent = if self.unsent.is_empty() { self.write_some(bytes)? } else { 0 };
        if sent < bytes.len() {
            self.unsent.extend_from_slice(&bytes[sent..]);
        }
        Ok(())
    }

    /// Writes what was kept, as far as the socket takes it; to be called when it is writable.
    pub(crate) fn flush(&mut self) -> Result<()> {
        if self.unsent.is_empty() {
            return Ok(());
        }
        let unsent = std::mem::take(&mut self.unsent);
        let sent = self.write_some(&unsent)?;
        if sent < unsent.len() {
            self.unsent = unsent;
            self.unsent.drain(..sent);
        }
        Ok(())
    }

    pub(crate) fn has_sent_all(&self) -> bool {
        self.unsent.is_empty()
    }

    /// The number of bytes read, 0 at the end; `None` if there are none now.
    pub(crate) fn read(&mut self, buffer: &mut [u8]) -> Result<Option<usize>> {
        loop {
            match self.stream.read(buffer) {
                Ok(size) => return Ok(Some(size)),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(None),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(format!("a connection broke: {error}").into()),
            }
        }
    }

    fn write_some(&mut self, bytes: &[u8]) -> Result<usize> {
        let mut sent = 0;
        while sent < bytes.len() {
            match self.stream.write(&bytes[sent..]) {
                Ok(size) => sent += size,
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(format!("a connection broke: {error}").into()),
            }
        }
        Ok(sent)
    }
}

//! A byte stream over TCP, a unix socket or TLS, and reading lines and pieces from it.
//! Nothing here knows HTTP or WebSocket.

use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rustls::crypto::ring;
use rustls::pki_types::{CertificateDer, pem::PemObject as _};
use rustls::{ClientConfig, ClientConnection, RootCertStore, ServerConnection, StreamOwned};

use super::clock::PATIENCE;

/// One end of a connection.
pub(crate) enum Wire {
    Tcp(TcpStream),
    Unix(UnixStream),
    /// The server's end of TLS.
    Tls(Box<StreamOwned<ServerConnection, TcpStream>>),
    /// The client's.
    TlsClient(Box<StreamOwned<ClientConnection, TcpStream>>),
}

/// How the other side ended a connection without a word of its protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    Eof,
    Reset,
}

impl Wire {
    /// Connects over TCP. Reading and writing give up after [`PATIENCE`].
    pub(crate) fn tcp(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address)
            .unwrap_or_else(|error| panic!("cannot connect to {address}: {error}"));
        stream.set_nodelay(true).unwrap();
        Self::Tcp(stream).with_patience(Some(PATIENCE))
    }

    /// Connects over TLS to a server that has this certificate. The handshake comes with the first
    /// bytes.
    #[track_caller]
    pub(crate) fn tls(address: SocketAddr, certificate: &Path) -> Self {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_file(certificate).unwrap()).unwrap();
        let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        let connection = ClientConnection::new(config.into(), address.ip().into()).unwrap();
        let Self::Tcp(stream) = Self::tcp(address) else { unreachable!() };
        Self::TlsClient(Box::new(StreamOwned::new(connection, stream)))
    }

    /// Connects to a unix socket. Reading and writing give up after [`PATIENCE`].
    pub(crate) fn unix(path: &Path) -> Self {
        let stream = UnixStream::connect(path)
            .unwrap_or_else(|error| panic!("cannot connect to {}: {error}", path.display()));
        Self::Unix(stream).with_patience(Some(PATIENCE))
    }

    fn with_patience(self, patience: Option<Duration>) -> Self {
        self.set_patience(patience);
        self
    }

    /// How long one read or write may take; `None` is for ever.
    pub(crate) fn set_patience(&self, patience: Option<Duration>) {
        match self {
            Self::Unix(stream) => {
                stream.set_read_timeout(patience).unwrap();
                stream.set_write_timeout(patience).unwrap();
            }
            Self::Tcp(_) | Self::Tls(_) | Self::TlsClient(_) => {
                let stream = self.as_tcp().unwrap();
                stream.set_read_timeout(patience).unwrap();
                stream.set_write_timeout(patience).unwrap();
            }
        }
    }

    /// Whether reads and writes come back at once when there is nothing to be done.
    pub(crate) fn set_nonblocking(&self, nonblocking: bool) {
        match self {
            Self::Unix(stream) => stream.set_nonblocking(nonblocking).unwrap(),
            Self::Tcp(_) | Self::Tls(_) | Self::TlsClient(_) => {
                self.as_tcp().unwrap().set_nonblocking(nonblocking).unwrap();
            }
        }
    }

    /// The TCP socket below, if there is one.
    pub(crate) fn as_tcp(&self) -> Option<&TcpStream> {
        match self {
            Self::Tcp(stream) => Some(stream),
            Self::Tls(stream) => Some(&stream.sock),
            Self::TlsClient(stream) => Some(&stream.sock),
            Self::Unix(_) => None,
        }
    }

    /// A second handle on the same connection; for TLS, on the TCP connection below.
    pub(crate) fn another(&self) -> Self {
        match self {
            Self::Unix(stream) => Self::Unix(stream.try_clone().unwrap()),
            Self::Tcp(_) | Self::Tls(_) | Self::TlsClient(_) => {
                Self::Tcp(self.as_tcp().unwrap().try_clone().unwrap())
            }
        }
    }

    /// Ends one or both directions; an end that is already there is fine.
    pub(crate) fn shutdown(&self, how: Shutdown) {
        let _ = match self {
            Self::Unix(stream) => stream.shutdown(how),
            Self::Tcp(_) | Self::Tls(_) | Self::TlsClient(_) => {
                self.as_tcp().unwrap().shutdown(how)
            }
        };
    }
}

impl Read for Wire {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Tcp(stream) => stream.read(buffer),
            Self::Unix(stream) => stream.read(buffer),
            Self::Tls(stream) => stream.read(buffer),
            Self::TlsClient(stream) => stream.read(buffer),
        }
    }
}

impl Write for Wire {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Tcp(stream) => stream.write(bytes),
            Self::Unix(stream) => stream.write(bytes),
            Self::Tls(stream) => stream.write(bytes),
            Self::TlsClient(stream) => stream.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Tcp(stream) => stream.flush(),
            Self::Unix(stream) => stream.flush(),
            Self::Tls(stream) => stream.flush(),
            Self::TlsClient(stream) => stream.flush(),
        }
    }
}

/// A wire with what has been read of it but not yet used.
pub(crate) struct Incoming {
    wire: Wire,
    unused: Vec<u8>,
}

impl Incoming {
    pub(crate) fn new(wire: Wire) -> Self {
        Self { wire, unused: Vec::new() }
    }

    pub(crate) fn wire(&mut self) -> &mut Wire {
        &mut self.wire
    }

    /// Reads up to and including the next line feed.
    pub(crate) fn line(&mut self) -> Result<Vec<u8>, End> {
        let mut searched = 0;
        loop {
            if let Some(at) = self.unused[searched..].iter().position(|&byte| byte == b'\n') {
                let rest = self.unused.split_off(searched + at + 1);
                return Ok(std::mem::replace(&mut self.unused, rest));
            }
            searched = self.unused.len();
            self.more()?;
        }
    }

    /// Reads exactly `length` bytes.
    pub(crate) fn exactly(&mut self, length: usize) -> Result<Vec<u8>, End> {
        while self.unused.len() < length {
            self.more()?;
        }
        let rest = self.unused.split_off(length);
        Ok(std::mem::replace(&mut self.unused, rest))
    }

    /// Reads until the other side ends the connection.
    pub(crate) fn rest(&mut self) -> (Vec<u8>, End) {
        loop {
            if let Err(end) = self.more() {
                return (std::mem::take(&mut self.unused), end);
            }
        }
    }

    /// Whether nothing has come that was not read, the end neither.
    pub(crate) fn is_silent(&mut self) -> bool {
        let mut piece = [0; 16 * 1024];
        self.wire.set_nonblocking(true);
        let outcome = self.wire.read(&mut piece);
        self.wire.set_nonblocking(false);
        if let Ok(length) = outcome {
            self.unused.extend_from_slice(&piece[..length]);
            return false;
        }
        let nothing = outcome.is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock);
        nothing && self.unused.is_empty()
    }

    fn more(&mut self) -> Result<(), End> {
        let mut piece = [0; 16 * 1024];
        match self.wire.read(&mut piece) {
            Ok(0) => Err(End::Eof),
            Ok(length) => {
                self.unused.extend_from_slice(&piece[..length]);
                Ok(())
            }
            Err(error) => match error.kind() {
                io::ErrorKind::Interrupted => Ok(()),
                io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe => Err(End::Reset),
                io::ErrorKind::UnexpectedEof => Err(End::Eof),
                // A TLS handshake that came to nothing.
                io::ErrorKind::InvalidData => Err(End::Reset),
                io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => panic!(
                    "nothing came for {PATIENCE:?}; unused so far: {:?}",
                    String::from_utf8_lossy(&self.unused)
                ),
                _ => panic!("reading failed: {error}"),
            },
        }
    }
}

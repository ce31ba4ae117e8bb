//! Listeners: bound sockets, TCP or Unix, with TLS or without, and the connections that they accept.
//! What becomes of those is `server.rs`'s.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::unix::fs::FileTypeExt as _;
use std::path::{Path, PathBuf};

use socket2::{Domain, SockRef, Socket, Type};
use tokio::net::{TcpListener, UnixListener};

use crate::stream::Stream;
use crate::tls::Tls;

/// Connections that the kernel completes ahead of us.
const BACKLOG: i32 = 4096;

/// Whether a connection has the options of the socket that accepted it.
const INHERITS: bool = cfg!(target_os = "linux");

/// A bound socket, not yet served.
#[derive(Debug)]
pub struct Listener {
    socket: Bound,
    tls: Option<Tls>,
}

#[derive(Debug)]
enum Bound {
    Tcp(TcpListener),
    /// A Unix socket, and its path, which is removed when the listener stops.
    Unix(UnixListener, PathBuf),
}

impl Listener {
    /// Listens on a port of every address of this machine, IPv6 and IPv4; 0 lets the system
    /// choose the port.
    ///
    /// # Errors
    ///
    /// Those of `bind` and `listen`: the port is taken, or may not be used.
    ///
    /// # Panics
    ///
    /// Outside of a tokio runtime, as all three of these.
    pub fn everywhere(port: u16) -> io::Result<Self> {
        let bound = bind(SocketAddr::from((Ipv6Addr::UNSPECIFIED, port)));
        match bound {
            Err(error) if error.kind() != io::ErrorKind::AddrInUse => {
                // A machine without IPv6.
                bind(SocketAddr::from((Ipv4Addr::UNSPECIFIED, port)))
            }
            bound => bound,
        }
    }

    /// Listens on one address.
    pub fn tcp(address: SocketAddr) -> io::Result<Self> {
        bind(address)
    }

    /// Listens on a Unix socket. A socket file that nobody accepts on is replaced; any other file
    /// is left alone and is an error.
    pub fn unix(path: &Path) -> io::Result<Self> {
        let bound = match UnixListener::bind(path) {
            Err(error) if error.kind() == io::ErrorKind::AddrInUse && is_abandoned(path) => {
                std::fs::remove_file(path)?;
                UnixListener::bind(path)
            }
            bound => bound,
        };
        bound.map(|listener| Bound::Unix(listener, path.to_owned()).into())
    }

    /// The same listener, which speaks TLS only.
    #[must_use]
    pub fn with_tls(mut self, tls: Tls) -> Self {
        self.tls = Some(tls);
        self
    }

    /// Whether it was made to speak TLS.
    pub const fn speaks_tls(&self) -> bool {
        self.tls.is_some()
    }

    /// The TCP address, with the port that the system chose.
    pub fn address(&self) -> Option<SocketAddr> {
        match &self.socket {
            Bound::Tcp(listener) => listener.local_addr().ok(),
            Bound::Unix(..) => None,
        }
    }

    /// The path of a Unix socket.
    pub fn path(&self) -> Option<&Path> {
        match &self.socket {
            Bound::Tcp(_) => None,
            Bound::Unix(_, path) => Some(path),
        }
    }

    /// The next connection, and where it comes from. Dropping the future loses none.
    pub(crate) async fn accept(&self) -> io::Result<(Stream, Option<SocketAddr>)> {
        let (stream, peer): (Stream, _) = match &self.socket {
            Bound::Tcp(listener) => {
                let (stream, peer) = listener.accept().await?;
                if !INHERITS {
                    // A peer that is gone already is found out by the first read.
                    let _ = set_options(&SockRef::from(&stream));
                }
                (stream.into(), Some(peer))
            }
            Bound::Unix(listener, _) => (listener.accept().await?.0.into(), None),
        };
        match &self.tls {
            None => Ok((stream, peer)),
            Some(tls) => Ok((stream.over_tls(tls.connection().map_err(io::Error::other)?), peer)),
        }
    }
}

impl From<Bound> for Listener {
    fn from(socket: Bound) -> Self {
        Self { socket, tls: None }
    }
}

impl Drop for Bound {
    fn drop(&mut self) {
        if let Self::Unix(_, path) = self {
            let _ = std::fs::remove_file(path);
        }
    }
}

fn bind(address: SocketAddr) -> io::Result<Listener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, None)?;
    if address.is_ipv6() {
        socket.set_only_v6(false)?;
    }
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    if INHERITS {
        set_options(&socket)?;
    }
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(Bound::Tcp(TcpListener::from_std(socket.into())?).into())
}

/// What every connection has: answers leave at once, and clients that are gone are noticed.
fn set_options(socket: &Socket) -> io::Result<()> {
    socket.set_tcp_nodelay(true)?;
    socket.set_keepalive(true)
}

/// Whether the path is a socket that refuses connections.
fn is_abandoned(path: &Path) -> bool {
    let is_socket = path.symlink_metadata().is_ok_and(|file| file.file_type().is_socket());
    is_socket
        && std::os::unix::net::UnixStream::connect(path)
            .is_err_and(|error| error.kind() == io::ErrorKind::ConnectionRefused)
}

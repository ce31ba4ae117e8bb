//! Listeners: bound sockets, TCP or Unix, with TLS or without, and the connections that they accept.
//! What becomes of those is `accept.rs`'s.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::unix::fs::FileTypeExt as _;
use std::path::{Path, PathBuf};

use socket2::{Domain, SockRef, Socket, Type};
use tokio::net::{TcpListener, UnixListener};
use tracing::error;

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
    /// Outside of a tokio runtime.
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

    /// Listens on one address; port 0 lets the system choose.
    ///
    /// # Errors
    ///
    /// Those of `bind` and `listen`: the address is taken, may not be used, or is not this
    /// machine's.
    ///
    /// # Panics
    ///
    /// Outside of a tokio runtime.
    pub fn tcp(address: SocketAddr) -> io::Result<Self> {
        bind(address)
    }

    /// Listens on a Unix socket. A socket file that nobody accepts on is replaced; any other file
    /// is left alone and is an error.
    ///
    /// # Errors
    ///
    /// Those of `bind` and `listen`: the path is taken, too long for a socket, or in a directory
    /// that may not be written; and an abandoned socket file that cannot be removed.
    ///
    /// # Panics
    ///
    /// Outside of a tokio runtime.
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
    ///
    /// # Errors
    ///
    /// Those of `accept`.
    pub(crate) async fn accept(&self) -> io::Result<(Stream, Option<SocketAddr>)> {
        loop {
            let (stream, peer) = self.accept_bare().await?;
            let Some(tls) = &self.tls else { return Ok((stream, peer)) };
            match tls.connection() {
                Ok(connection) => return Ok((stream.over_tls(connection), peer)),
                // It concerns this connection, which ends by that.
                Err(error) => error!(error = %error, "cannot speak TLS with a client"),
            }
        }
    }

    async fn accept_bare(&self) -> io::Result<(Stream, Option<SocketAddr>)> {
        match &self.socket {
            Bound::Tcp(listener) => {
                let (stream, peer) = listener.accept().await?;
                if !INHERITS {
                    // A peer that is gone already is found out by the first read.
                    let _ = set_options(&SockRef::from(&stream));
                }
                Ok((stream.into(), Some(peer)))
            }
            Bound::Unix(listener, _) => Ok((listener.accept().await?.0.into(), None)),
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

/// Whether binding has failed because this machine does not have the address, or none of its kind:
/// without IPv6 a kernel refuses the socket already.
pub(crate) fn is_of_elsewhere(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::AddrNotAvailable
        || error.raw_os_error() == Some(libc::EAFNOSUPPORT)
}

/// Whether the path is a socket that refuses connections.
fn is_abandoned(path: &Path) -> bool {
    let is_socket = path.symlink_metadata().is_ok_and(|file| file.file_type().is_socket());
    is_socket
        && std::os::unix::net::UnixStream::connect(path)
            .is_err_and(|error| error.kind() == io::ErrorKind::ConnectionRefused)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::io::AsyncReadExt as _;
    use tokio::net::TcpStream;
    use tokio::time::timeout;

    use super::*;

    #[tokio::test]
    async fn a_connection_without_tls_is_the_only_one_to_suffer() {
        let local = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let listener = Listener::tcp(local).unwrap().with_tls(Tls::unusable());
        let address = listener.address().unwrap();
        let clients = async {
            for _ in 0..3 {
                let mut client = TcpStream::connect(address).await.unwrap();
                let ended = timeout(Duration::from_secs(10), client.read(&mut [0])).await;
                assert_eq!(ended.expect("it is kept").unwrap(), 0);
            }
        };
        tokio::select! {
            accepted = listener.accept() => panic!("{accepted:?}"),
            () = clients => {}
        }
    }

    #[test]
    fn addresses_of_elsewhere() {
        let another = SocketAddr::from(([192, 0, 2, 1], 0));
        assert!(is_of_elsewhere(&Listener::tcp(another).unwrap_err()));
        assert!(
            Socket::new(Domain::from(i32::from(u16::MAX)), Type::STREAM, None)
                .is_err_and(|error| is_of_elsewhere(&error))
        );
        let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        assert!(!is_of_elsewhere(&Listener::tcp(taken.local_addr().unwrap()).unwrap_err()));
    }
}

//! Listeners: bound sockets, and a task for each connection that they accept, which is in
//! `exchange.rs`. A listener stops when it is told to: it accepts nothing more, and returns when the
//! requests in flight are answered.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::unix::fs::FileTypeExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use socket2::{Domain, SockRef, Socket, Type};
use tokio::net::{TcpListener, UnixListener};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::error;

use crate::door::Doors;
use crate::exchange::Reception;
use crate::stream::Stream;

/// Connections that the kernel completes ahead of us.
const BACKLOG: i32 = 4096;

/// Whether a connection has the options of the socket that accepted it.
const INHERITS: bool = cfg!(target_os = "linux");

/// How long to wait when a connection cannot be accepted for want of file descriptors or memory.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// A bound socket, not yet served.
#[derive(Debug)]
pub enum Listener {
    /// TCP.
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
        bound.map(|listener| Self::Unix(listener, path.to_owned()))
    }

    /// The TCP address, with the port that the system chose.
    pub fn address(&self) -> Option<SocketAddr> {
        match self {
            Self::Tcp(listener) => listener.local_addr().ok(),
            Self::Unix(..) => None,
        }
    }

    /// The path of a Unix socket.
    pub fn path(&self) -> Option<&Path> {
        match self {
            Self::Tcp(_) => None,
            Self::Unix(_, path) => Some(path),
        }
    }

    /// The next connection, and where it comes from.
    async fn accept(&self) -> io::Result<(Stream, Option<SocketAddr>)> {
        match self {
            Self::Tcp(listener) => {
                let (stream, peer) = listener.accept().await?;
                if !INHERITS {
                    // A peer that is gone already is found out by the first read.
                    let _ = set_options(&SockRef::from(&stream));
                }
                Ok((stream.into(), Some(peer)))
            }
            Self::Unix(listener, _) => Ok((listener.accept().await?.0.into(), None)),
        }
    }
}

impl Drop for Listener {
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
    TcpListener::from_std(socket.into()).map(Listener::Tcp)
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

/// Serves a listener until `stop` is cancelled and the requests in flight then are answered.
/// WebSockets go on: they are the hub's.
pub(crate) async fn serve(
    listener: Listener,
    doors: Arc<Doors>,
    head_timeout: Option<Duration>,
    stop: CancellationToken,
) {
    let reception = Arc::new(Reception { doors, head_timeout, stop });
    let connections = TaskTracker::new();
    while let Some((stream, peer)) = next(&listener, &reception.stop).await {
        let conversing = Arc::clone(&reception).converse(stream, peer, connections.token());
        // Boxed first: spawning moves a future several times.
        tokio::spawn(Box::pin(conversing));
    }
    drop(listener);
    connections.close();
    connections.wait().await;
}

/// The next connection, or `None` when it is time to stop.
async fn next(
    listener: &Listener,
    stop: &CancellationToken,
) -> Option<(Stream, Option<SocketAddr>)> {
    loop {
        let accepted = tokio::select! {
            biased;
            () = stop.cancelled() => return None,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok(accepted) => return Some(accepted),
            Err(error) if is_of_one_connection(&error) => {}
            Err(error) => {
                error!(error = %error, "cannot accept connections: raise the limit of open files");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

fn is_of_one_connection(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionRefused
            | io::ErrorKind::ConnectionAborted
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::Interrupted
    )
}

//! Listeners: bound sockets, HTTP/1.1 on them, and the doors behind. A listener stops when it is
//! told to: it accepts nothing more, and returns when the requests in flight are answered.

use std::convert::Infallible;
use std::future::Future;
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::unix::fs::FileTypeExt as _;
use std::path::{Path, PathBuf};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::time::Duration;

use http::header::{EXPECT, HOST};
use http::{Method, Request, StatusCode, Version};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use socket2::{Domain, SockRef, Socket, Type};
use tokio::net::{TcpListener, UnixListener};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{debug, error};

use crate::answer::{self, Answer};
use crate::body::{Body, is_continue};
use crate::door::Doors;
use crate::http_stream::{Exchange, HttpStream};
use crate::stream::Stream;

/// Connections that the kernel completes ahead of us.
const BACKLOG: i32 = 4096;

/// How long to wait when a connection cannot be accepted for want of file descriptors or memory.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// How long a request whose head is on its way may take to complete it when the listener stops.
const LAST_HEADS: Duration = Duration::from_millis(500);

/// The request head that is taken at least, in bytes: 1 MiB for thousands of session fields, and
/// some. hyper reads ahead: a larger one may be taken, up to twice that.
const MAX_HEAD: usize = (1 << 20) + 4096;

/// The most fields in a request head.
const MAX_FIELDS: usize = 24_000;

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

    async fn accept(&self) -> io::Result<Stream> {
        match self {
            Self::Tcp(listener) => {
                let (stream, _) = listener.accept().await?;
                let socket = SockRef::from(&stream);
                // A peer that is gone already is found out by the first read.
                let _ = socket.set_tcp_nodelay(true).and_then(|()| socket.set_keepalive(true));
                Ok(stream.into())
            }
            Self::Unix(listener, _) => Ok(listener.accept().await?.0.into()),
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
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    TcpListener::from_std(socket.into()).map(Listener::Tcp)
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
pub async fn serve(
    listener: Listener,
    doors: Arc<Doors>,
    head_timeout: Option<Duration>,
    stop: CancellationToken,
) {
    let mut builder = http1::Builder::new();
    builder.timer(TokioTimer::new()).header_read_timeout(None);
    builder.max_buf_size(MAX_HEAD).max_headers(MAX_FIELDS).title_case_headers(true);
    let connections = TaskTracker::new();
    while let Some(stream) = next(&listener, &stop).await {
        let exchange = Exchange::default();
        let stream = HttpStream::new(stream, exchange.clone(), head_timeout);
        let asked = exchange.clone();
        let doors = Arc::clone(&doors);
        let service = service_fn(move |request| {
            let (doors, exchange) = (Arc::clone(&doors), asked.clone());
            async move {
                exchange.set_answering(true);
                let answer = answer_to(request, &doors).await;
                exchange.set_answering(false);
                Ok::<_, Infallible>(answer)
            }
        });
        let connection = builder.serve_connection(TokioIo::new(stream), service).with_upgrades();
        let stop = stop.clone();
        connections.spawn(async move {
            let mut connection = pin!(connection);
            let ended = tokio::select! {
                ended = connection.as_mut() => ended,
                () = stop.cancelled() => {
                    connection.as_mut().graceful_shutdown();
                    finish(connection, &exchange).await
                }
            };
            if let Err(error) = ended {
                debug!(error = %error, "request failed");
            }
        });
    }
    drop(listener);
    connections.close();
    connections.wait().await;
}

/// Lets a connection that is told to stop answer what has been asked. One that is still being
/// asked has a moment to complete its question: half a request must not hold up a stop.
async fn finish<C>(mut connection: Pin<&mut C>, exchange: &Exchange) -> hyper::Result<()>
where
    C: Future<Output = hyper::Result<()>>,
{
    match timeout(LAST_HEADS, connection.as_mut()).await {
        Ok(ended) => ended,
        Err(_) if exchange.is_in_a_head() => Ok(()),
        Err(_) => connection.await,
    }
}

/// The next connection, or `None` when it is time to stop.
async fn next(listener: &Listener, stop: &CancellationToken) -> Option<Stream> {
    loop {
        let accepted = tokio::select! {
            biased;
            () = stop.cancelled() => return None,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok(stream) => return Some(stream),
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

/// Refuses what cannot be trusted, and leaves the rest to the doors.
async fn answer_to(request: Request<Incoming>, doors: &Doors) -> Answer {
    let request = Body::of(request);
    let is_origin_form = request.uri().path().starts_with('/');
    if !names_its_host(&request) || !is_origin_form || request.method() == Method::CONNECT {
        return answer::last(StatusCode::BAD_REQUEST);
    }
    if let Some(expected) = request.headers().get(EXPECT)
        && !is_continue(expected)
    {
        return answer::last(StatusCode::EXPECTATION_FAILED);
    }
    doors.open(request).await
}

/// Exactly one well-formed Host (RFC 9112 section 3.2); HTTP/1.0 may do without.
fn names_its_host(request: &Request<Body>) -> bool {
    let mut hosts = request.headers().get_all(HOST).into_iter();
    match (hosts.next(), hosts.next()) {
        (Some(host), None) => is_host(host.as_bytes()),
        (None, None) => request.version() < Version::HTTP_11,
        _ => false,
    }
}

/// `uri-host [ ":" port ]`, not empty and without user information.
fn is_host(host: &[u8]) -> bool {
    !host.is_empty()
        && !host.contains(&b'@')
        && http::uri::Authority::try_from(host).is_ok_and(|authority| {
            let host = authority.host();
            let rest = &authority.as_str()[host.len()..];
            !host.is_empty()
                && rest
                    .strip_prefix(':')
                    .map_or(rest.is_empty(), |port| port.is_empty() || port.parse::<u16>().is_ok())
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts() {
        for good in ["a", "example.com:80", "127.0.0.1", "[::1]:9180", "a_b", "a:"] {
            assert!(is_host(good.as_bytes()), "{good}");
        }
        for bad in
            ["", ":80", "a b", "a/b", "user@a", "a:b", "a:99999", "[::1", "a,b c", "a?b", "é"]
        {
            assert!(!is_host(bad.as_bytes()), "{bad}");
        }
    }
}

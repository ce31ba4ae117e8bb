//! The byte stream under an HTTP connection or a WebSocket: a socket, TCP or Unix, with TLS over it
//! or without, read and written alike.
//!
//! That of a WebSocket is shared: its connection reads and whoever flushes its session's outbox
//! writes, so all works through `&self`.

use std::cell::RefCell;
use std::io;
use std::net::SocketAddr;
use std::task::{Context, Poll, ready};

use bytes::BufMut;
use rustls::server::UnbufferedServerConnection;
use tokio::net::{TcpStream, UnixStream};

mod socket;
mod tls;

use socket::Socket;
use tls::TlsLayer;

/// Read at once into the buffer of a worker thread.
const SCRATCH_BYTES: usize = 64 * 1024;

thread_local! {
    static SCRATCH: RefCell<Box<[u8]>> = RefCell::new(vec![0; SCRATCH_BYTES].into());
}

/// Lends the buffer of this worker thread, in which nothing is kept: connections at rest hold none
/// of their own. Not to be called inside itself.
pub(crate) fn with_scratch<T>(read: impl FnOnce(&mut [u8]) -> T) -> T {
    SCRATCH.with_borrow_mut(|scratch| read(scratch))
}

/// A connected socket. Over TLS it ends with a close_notify when it is dropped.
#[derive(Debug)]
pub(crate) struct Stream {
    socket: Socket,
    tls: Option<Box<TlsLayer>>,
}

impl Stream {
    /// The same with TLS over it. Its handshake happens while the stream is read, with no step of
    /// its own.
    pub(crate) fn over_tls(mut self, connection: UnbufferedServerConnection) -> Self {
        self.tls = Some(Box::new(TlsLayer::new(connection)));
        self
    }

    /// Reads once into `place`, which must have room; 0 means that the input has ended.
    #[inline]
    pub(crate) fn poll_read(
        &self,
        context: &mut Context<'_>,
        place: &mut impl BufMut,
    ) -> Poll<io::Result<usize>> {
        match &self.tls {
            None => self.socket.poll_read(context, place),
            Some(tls) => tls.poll_read(&self.socket, context, place),
        }
    }

    /// Reads for nobody until the input has ended. What is TLS is not looked into: it may be broken.
    pub(crate) fn poll_discard(&self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        with_scratch(|scratch| {
            while ready!(self.socket.poll_read(context, &mut &mut scratch[..]))? > 0 {}
            Poll::Ready(Ok(()))
        })
    }

    /// Writes as much as the socket takes now. After `WouldBlock`, ask
    /// [`poll_writable`](Self::poll_writable).
    ///
    /// Bytes that TLS has encrypted count as written, and see
    /// [`has_unsent`](Self::has_unsent). Only then may 0 of many be written: something older was.
    #[inline]
    pub(crate) fn try_write(&self, bytes: &[u8]) -> io::Result<usize> {
        match &self.tls {
            None => self.socket.try_write(bytes),
            Some(tls) => tls.try_write(&self.socket, bytes),
        }
    }

    /// Whether the socket has not taken yet what counts as written. Writing on, nothing if there is
    /// nothing, has it try again.
    #[inline]
    pub(crate) fn has_unsent(&self) -> bool {
        self.tls.as_ref().is_some_and(|tls| tls.has_unsent())
    }

    /// Ready when it may be worth writing again, or the socket has failed.
    #[inline]
    pub(crate) fn poll_writable(&self, context: &mut Context<'_>) -> Poll<()> {
        self.socket.poll_writable(context)
    }

    /// Ready when the peer has ended its side or the connection is lost, without reading what it
    /// sent before.
    pub(crate) fn poll_hangup(&self, context: &mut Context<'_>) -> Poll<()> {
        self.socket.poll_hangup(context)
    }

    /// Whether the connection is lost, rather than ended by the peer. Says so once.
    pub(crate) fn is_broken(&self) -> bool {
        self.socket.is_broken()
    }

    /// Says to the peer that nothing more will come.
    pub(crate) fn shutdown_write(&self) -> io::Result<()> {
        if let Some(tls) = &self.tls {
            tls.close(&self.socket);
        }
        self.socket.shutdown_write()
    }

    /// Ends the connection so that the peer does not take what it has for all there is.
    pub(crate) fn abort(&self) {
        if let Some(tls) = &self.tls {
            tls.abandon();
        }
        self.socket.reset_when_closed();
    }

    /// The address at the other end, unless it is a Unix socket or has gone.
    pub(crate) fn peer(&self) -> Option<SocketAddr> {
        self.socket.peer()
    }

    /// Whether there is TLS over the socket.
    pub(crate) const fn speaks_tls(&self) -> bool {
        self.tls.is_some()
    }

    /// What a WebSocket goes over, as lists of sessions name it: `ws`, `wss` or `unix`.
    pub(crate) const fn transport(&self) -> &'static str {
        match (self.socket.is_unix(), &self.tls) {
            (true, _) => "unix",
            (false, Some(_)) => "wss",
            (false, None) => "ws",
        }
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        if let Some(tls) = &self.tls {
            tls.close(&self.socket);
        }
    }
}

impl From<TcpStream> for Stream {
    fn from(socket: TcpStream) -> Self {
        Self { socket: socket.into(), tls: None }
    }
}

impl From<UnixStream> for Stream {
    fn from(socket: UnixStream) -> Self {
        Self { socket: socket.into(), tls: None }
    }
}

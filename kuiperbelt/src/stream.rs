//! The socket under an HTTP connection or a WebSocket: TCP or Unix, read and written alike.

use std::future::Future as _;
use std::io::{self, IoSlice, Read as _};
use std::net::Shutdown;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, ready};

use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncWrite, Interest, ReadBuf};
use tokio::net::{TcpStream, UnixStream};

/// A connected socket.
#[derive(Debug)]
pub(crate) struct Stream {
    socket: Socket,
    /// Whether tokio was told that there is nothing to read while there may be.
    is_unsure: bool,
}

#[derive(Debug)]
enum Socket {
    Tcp(TcpStream),
    Unix(UnixStream),
}

/// Runs the same expression on either kind of socket.
macro_rules! each {
    ($stream:expr, $socket:ident => $do:expr) => {
        match $stream {
            Socket::Tcp($socket) => $do,
            Socket::Unix($socket) => $do,
        }
    };
}

impl Stream {
    /// Ready when the peer has ended its side or the connection is lost, without reading what it
    /// sent before.
    pub(crate) fn poll_hangup(&mut self, context: &mut Context<'_>) -> Poll<()> {
        loop {
            each!(&self.socket, socket => {
                if ready!(socket.poll_read_ready(context)).is_err() {
                    return Poll::Ready(());
                }
                match pin!(socket.ready(Interest::READABLE)).poll(context) {
                    Poll::Ready(Ok(ready)) if !ready.is_read_closed() => {
                        // Only data: have the next thing that happens reported again.
                        self.is_unsure = true;
                        let _ = socket.try_io(Interest::READABLE, || {
                            Err::<(), _>(io::ErrorKind::WouldBlock.into())
                        });
                    }
                    Poll::Ready(_) => return Poll::Ready(()),
                    Poll::Pending => return Poll::Pending,
                }
            });
        }
    }

    /// Says to the peer that nothing more will come.
    pub(crate) fn shutdown_write(&self) -> io::Result<()> {
        each!(&self.socket, socket => SockRef::from(socket).shutdown(Shutdown::Write))
    }

    /// Reads without asking tokio whether there is something.
    fn read_now(&self, buffer: &mut ReadBuf<'_>) -> io::Result<()> {
        let read = each!(&self.socket, socket => {
            (&*SockRef::from(socket)).read(buffer.initialize_unfilled())?
        });
        buffer.advance(read);
        Ok(())
    }
}

impl From<TcpStream> for Stream {
    fn from(socket: TcpStream) -> Self {
        Self { socket: Socket::Tcp(socket), is_unsure: false }
    }
}

impl From<UnixStream> for Stream {
    fn from(socket: UnixStream) -> Self {
        Self { socket: Socket::Unix(socket), is_unsure: false }
    }
}

impl AsyncRead for Stream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.is_unsure {
            // What tokio's own sockets do, so that a peer that never stops sending is no excuse.
            let turn = ready!(tokio::task::coop::poll_proceed(context));
            match self.read_now(buffer) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => self.is_unsure = false,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {
                    context.waker().wake_by_ref();
                    return Poll::Pending;
                }
                done => {
                    turn.made_progress();
                    return Poll::Ready(done);
                }
            }
        }
        each!(&mut self.socket, socket => Pin::new(socket).poll_read(context, buffer))
    }
}

impl AsyncWrite for Stream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        each!(&mut self.socket, socket => Pin::new(socket).poll_write(context, bytes))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        each!(&mut self.socket, socket => Pin::new(socket).poll_write_vectored(context, slices))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        each!(&mut self.socket, socket => Pin::new(socket).poll_shutdown(context))
    }
}

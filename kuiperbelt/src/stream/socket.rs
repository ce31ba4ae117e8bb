//! A bare socket, TCP or Unix alike, as tokio reports on it. What its bytes mean is the stream's
//! business.

use std::future::Future as _;
use std::io::{self, Read as _};
use std::net::{Shutdown, SocketAddr};
use std::pin::pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::BufMut;
use socket2::SockRef;
use tokio::io::Interest;
use tokio::net::{TcpStream, UnixStream};

/// Read at once while tokio's word on what there is to read is in doubt.
const UNSURE_BYTES: usize = 4 * 1024;

#[derive(Debug)]
pub(super) struct Socket {
    kind: Kind,
    /// Whether tokio was told that there is nothing to read while there may be.
    is_unsure: AtomicBool,
}

#[derive(Debug)]
enum Kind {
    Tcp(TcpStream),
    Unix(UnixStream),
}

/// Runs the same expression on either kind of socket.
macro_rules! each {
    ($stream:expr, $socket:ident => $do:expr) => {
        match $stream {
            Kind::Tcp($socket) => $do,
            Kind::Unix($socket) => $do,
        }
    };
}

impl Socket {
    /// Reads once into `place`, which must have room; 0 means that the input has ended.
    #[inline]
    pub(super) fn poll_read(
        &self,
        context: &mut Context<'_>,
        place: &mut impl BufMut,
    ) -> Poll<io::Result<usize>> {
        if self.is_unsure.load(Ordering::Relaxed) {
            // What tokio's own reads do, so that a peer that never stops sending is no excuse.
            let turn = ready!(tokio::task::coop::poll_proceed(context));
            match self.read_now(place) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.is_unsure.store(false, Ordering::Relaxed);
                }
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
        let room = place.chunk_mut().len();
        each!(&self.kind, socket => loop {
            ready!(socket.poll_read_ready(context))?;
            let mut last = None;
            // A read that leaves room has emptied the socket, and tokio is told so, as by its own
            // reads: otherwise each message costs a second read, in vain.
            let read = socket.try_io(Interest::READABLE, || match socket.try_read_buf(place)? {
                size if 0 < size && size < room => {
                    last = Some(size);
                    Err(io::ErrorKind::WouldBlock.into())
                }
                size => Ok(size),
            });
            match (read, last) {
                (Ok(size), _) | (_, Some(size)) => return Poll::Ready(Ok(size)),
                (Err(error), _) if error.kind() == io::ErrorKind::WouldBlock => {}
                (Err(error), _) => return Poll::Ready(Err(error)),
            }
        })
    }

    /// Writes as much as the socket takes now, at least one of the bytes, if there are any.
    #[inline]
    pub(super) fn try_write(&self, bytes: &[u8]) -> io::Result<usize> {
        match each!(&self.kind, socket => socket.try_write(bytes))? {
            0 if !bytes.is_empty() => Err(io::ErrorKind::WriteZero.into()),
            size => Ok(size),
        }
    }

    /// Ready when it may be worth writing again, or the socket has failed.
    #[inline]
    pub(super) fn poll_writable(&self, context: &mut Context<'_>) -> Poll<()> {
        each!(&self.kind, socket => socket.poll_write_ready(context)).map(|_| ())
    }

    /// Ready when the peer has ended its side or the connection is lost, without reading what it
    /// sent before.
    pub(super) fn poll_hangup(&self, context: &mut Context<'_>) -> Poll<()> {
        loop {
            each!(&self.kind, socket => {
                if ready!(socket.poll_read_ready(context)).is_err() {
                    return Poll::Ready(());
                }
                match pin!(socket.ready(Interest::READABLE)).poll(context) {
                    Poll::Ready(Ok(ready)) if !ready.is_read_closed() => {
                        // Only data: have the next thing that happens reported again.
                        self.is_unsure.store(true, Ordering::Relaxed);
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

    /// Whether the connection is lost, rather than ended by the peer. Says so once.
    pub(super) fn is_broken(&self) -> bool {
        each!(&self.kind, socket => socket.take_error()).is_ok_and(|error| error.is_some())
    }

    /// Says to the peer that nothing more will come.
    pub(super) fn shutdown_write(&self) -> io::Result<()> {
        each!(&self.kind, socket => SockRef::from(socket).shutdown(Shutdown::Write))
    }

    /// Has TCP reset the connection when the socket is closed; of a Unix socket there is no such end.
    pub(super) fn reset_when_closed(&self) {
        if let Kind::Tcp(socket) = &self.kind {
            let _ = SockRef::from(socket).set_linger(Some(Duration::ZERO));
        }
    }

    /// The address at the other end, unless it is a Unix socket or has gone.
    pub(super) fn peer(&self) -> Option<SocketAddr> {
        match &self.kind {
            Kind::Tcp(socket) => socket.peer_addr().ok(),
            Kind::Unix(_) => None,
        }
    }

    pub(super) const fn is_unix(&self) -> bool {
        matches!(self.kind, Kind::Unix(_))
    }

    /// Reads without asking tokio whether there is something.
    fn read_now(&self, place: &mut impl BufMut) -> io::Result<usize> {
        let mut buffer = [0; UNSURE_BYTES];
        let room = place.chunk_mut().len().min(buffer.len());
        let size = each!(&self.kind, socket => {
            (&*SockRef::from(socket)).read(&mut buffer[..room])?
        });
        place.put_slice(&buffer[..size]);
        Ok(size)
    }
}

impl From<TcpStream> for Socket {
    fn from(socket: TcpStream) -> Self {
        Self { kind: Kind::Tcp(socket), is_unsure: AtomicBool::new(false) }
    }
}

impl From<UnixStream> for Socket {
    fn from(socket: UnixStream) -> Self {
        Self { kind: Kind::Unix(socket), is_unsure: AtomicBool::new(false) }
    }
}

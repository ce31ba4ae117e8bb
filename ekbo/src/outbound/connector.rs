//! Sockets to HTTP servers: TCP, TLS over it, or Unix. Proxy settings of the environment are not
//! looked at.

use std::io;
use std::mem::MaybeUninit;
use std::path::Path;
use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use http::Uri;
use http::uri::Scheme;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, RootCertStore};
use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, UnixStream};
use tokio::time::sleep;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tracing::warn;

use super::target::unix_path_of;

/// Waiting for room in the backlog of a Unix socket ends when the pauses, which double, reach
/// this: after about 2 s.
const LONGEST_PAUSE: Duration = Duration::from_secs(2);

/// Opens sockets to wherever a URI says.
#[derive(Default)]
pub(crate) struct Connector {
    /// The system's root certificates, read when the first https URL is called.
    tls: OnceLock<Arc<ClientConfig>>,
}

/// A socket to a server.
pub(crate) struct Socket {
    io: Io,
    is_aborted: bool,
}

enum Io {
    Tcp(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
    Unix(UnixStream),
}

impl Connector {
    pub(crate) async fn connect(&self, uri: &Uri) -> io::Result<Socket> {
        let io = if let Some(path) = unix_path_of(uri) {
            Io::Unix(connect_unix(&path).await?)
        } else {
            let host = uri.host().unwrap_or_default();
            let host = host.strip_prefix('[').and_then(|h| h.strip_suffix(']')).unwrap_or(host);
            let is_tls = uri.scheme() == Some(&Scheme::HTTPS);
            let port = uri.port_u16().unwrap_or(if is_tls { 443 } else { 80 });
            let stream = TcpStream::connect((host, port)).await?;
            stream.set_nodelay(true)?;
            if is_tls {
                let name = ServerName::try_from(host.to_owned()).map_err(io::Error::other)?;
                let tls = TlsConnector::from(self.tls_config()?);
                Io::Tls(Box::new(tls.connect(name, stream).await?))
            } else {
                Io::Tcp(stream)
            }
        };
        Ok(Socket { io, is_aborted: false })
    }

    fn tls_config(&self) -> io::Result<Arc<ClientConfig>> {
        if let Some(config) = self.tls.get() {
            return Ok(Arc::clone(config));
        }
        let mut roots = RootCertStore::empty();
        let found = rustls_native_certs::load_native_certs();
        for error in &found.errors {
            warn!(error = %error, "a root certificate cannot be read");
        }
        roots.add_parsable_certificates(found.certs);
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(io::Error::other)?
            .with_root_certificates(roots)
            .with_no_client_auth();
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Arc::clone(self.tls.get_or_init(|| Arc::new(config))))
    }
}

/// A Unix socket whose backlog is full refuses at once where TCP would wait: wait for it.
async fn connect_unix(path: &Path) -> io::Result<UnixStream> {
    let mut pause = Duration::from_millis(2);
    loop {
        match UnixStream::connect(path).await {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock && pause < LONGEST_PAUSE => {
                sleep(pause).await;
                pause *= 2;
            }
            connected => return connected,
        }
    }
}

/// Whether an error says that a connection has ended, and nothing worse.
pub(crate) fn is_end_of_connection(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionReset
            | io::ErrorKind::ConnectionAborted
            | io::ErrorKind::BrokenPipe
            | io::ErrorKind::UnexpectedEof
    )
}

/// Whether no socket can be opened before another file is closed: `ENFILE` or `EMFILE`, which are
/// numbered alike on all systems of the family.
pub(crate) fn is_out_of_descriptors(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(23 | 24))
}

impl Socket {
    /// Ends the connection so that the other side does not take what it has for all there is: TCP by a
    /// reset, TLS without a close_notify. A Unix socket knows of no such end.
    pub(crate) fn abort(mut self) {
        self.is_aborted = true;
        let io = match &self.io {
            Io::Tcp(io) => io,
            Io::Tls(tls) => tls.get_ref().0,
            Io::Unix(_) => return,
        };
        // What fails here is as lost as it should be.
        let _ = SockRef::from(io).set_linger(Some(Duration::ZERO));
    }

    /// Whether nothing has happened since it was last read empty: it has neither ended nor said
    /// anything unasked. The context's waker is woken when something does. Costs no system call
    /// where tokio knows of nothing.
    pub(crate) fn is_quiet(&mut self, context: &mut Context<'_>) -> bool {
        Pin::new(self).poll_read(context, &mut ReadBuf::new(&mut [0])).is_pending()
    }

    /// The same, asked of the system: what has come unasked must not pass for the answer to the
    /// next request, and tokio may not have heard of it yet. Over TLS there may be records that
    /// say nothing, so that is not looked at.
    pub(crate) fn is_silent(&self) -> bool {
        let mut byte = [MaybeUninit::uninit()];
        let peeked = match &self.io {
            Io::Tcp(io) => SockRef::from(io).peek(&mut byte),
            Io::Unix(io) => SockRef::from(io).peek(&mut byte),
            Io::Tls(_) => return true,
        };
        peeked.is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock)
    }
}

/// The other side of a TLS connection is told that the end is one, if there is room for the word.
impl Drop for Socket {
    fn drop(&mut self) {
        if let Io::Tls(tls) = &mut self.io
            && !self.is_aborted
        {
            let _ = Pin::new(tls).poll_shutdown(&mut Context::from_waker(Waker::noop()));
        }
    }
}

/// Runs the same expression on every kind of socket.
macro_rules! each {
    ($socket:expr, $io:ident => $do:expr) => {
        match &mut $socket.io {
            Io::Tcp($io) => $do,
            Io::Tls($io) => $do,
            Io::Unix($io) => $do,
        }
    };
}

impl AsyncRead for Socket {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        each!(self, io => Pin::new(io).poll_read(context, buffer))
    }
}

impl AsyncWrite for Socket {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        each!(self, io => Pin::new(io).poll_write(context, bytes))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        each!(self, io => Pin::new(io).poll_write_vectored(context, slices))
    }

    fn is_write_vectored(&self) -> bool {
        match &self.io {
            Io::Tcp(io) => io.is_write_vectored(),
            Io::Tls(io) => io.is_write_vectored(),
            Io::Unix(io) => io.is_write_vectored(),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        each!(self, io => Pin::new(io).poll_flush(context))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        each!(self, io => Pin::new(io).poll_shutdown(context))
    }
}

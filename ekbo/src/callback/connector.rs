//! Sockets to the backend: TCP, TLS over it, or Unix. Proxy settings of the environment are not
//! looked at.

use std::future::Future;
use std::io;
use std::path::Path;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};
use std::time::Duration;

use http::Uri;
use http::uri::Scheme;
use hyper_util::client::legacy::connect::{Connected, Connection};
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, RootCertStore};
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

/// Opens sockets to wherever a callback's URI says.
#[derive(Clone, Default)]
pub(crate) struct Connector {
    /// The system's root certificates, read when the first https URL is called.
    tls: Arc<OnceLock<Arc<ClientConfig>>>,
}

/// What a connection has been used for: whether a request that failed may be sent again.
#[derive(Debug, Clone, Default)]
pub(crate) struct Use(Arc<Used>);

#[derive(Debug, Default)]
struct Used {
    requests: AtomicU32,
    /// Something has been read since something was written.
    is_answered: AtomicBool,
}

impl Use {
    /// Counts a request, and says whether it met the end of a connection that was kept from an
    /// earlier one, before a byte of its answer.
    pub(crate) fn has_gone_stale(&self) -> bool {
        let is_first = self.0.requests.fetch_add(1, Ordering::Relaxed) == 0;
        !is_first && !self.0.is_answered.load(Ordering::Relaxed)
    }
}

/// A socket to the backend.
pub(crate) struct Socket {
    io: Io,
    used: Use,
}

enum Io {
    Tcp(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
    Unix(UnixStream),
}

impl Connector {
    async fn connect(self, uri: Uri) -> io::Result<Socket> {
        let io = if let Some(path) = unix_path_of(&uri) {
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
        Ok(Socket { io, used: Use::default() })
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

impl tower_service::Service<Uri> for Connector {
    type Response = TokioIo<Socket>;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = io::Result<Self::Response>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let connecting = self.clone().connect(uri);
        Box::pin(async move { connecting.await.map(TokioIo::new) })
    }
}

impl Connection for Socket {
    fn connected(&self) -> Connected {
        Connected::new().extra(self.used.clone())
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
        let before = buffer.filled().len();
        let read = each!(self, io => Pin::new(io).poll_read(context, buffer));
        if buffer.filled().len() > before {
            self.used.0.is_answered.store(true, Ordering::Relaxed);
        }
        read
    }
}

impl AsyncWrite for Socket {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.used.0.is_answered.store(false, Ordering::Relaxed);
        each!(self, io => Pin::new(io).poll_write(context, bytes))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.used.0.is_answered.store(false, Ordering::Relaxed);
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

//! A whole server: doors, the listeners that they are behind, and the order in which it stops.

use std::collections::BTreeSet;
use std::fmt;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use kuiperbelt_websocket::CloseCode;
use tokio::net::{ToSocketAddrs, lookup_host};
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout_at};
use tokio_util::sync::CancellationToken;
use tracing::warn;

use crate::accept::serve;
use crate::door::{Doors, Lead, SamePath, Service};
use crate::handler::Handler;
use crate::handshake::SocketDoor;
use crate::hub::Hub;
use crate::listener::{Listener, is_of_elsewhere};
use crate::message::End;
use crate::options::{LONGEST_TIMEOUT, Options};
use crate::tls::Tls;

/// What of the time for the stop is kept for sessions and their handlers, whatever requests take.
const RESERVE: Duration = Duration::from_secs(2);

/// How every session ends at a stop.
const GOING_AWAY: End = End::new(CloseCode::GOING_AWAY, "going away");

/// Doors, and the hub of whoever comes in by them.
///
/// A server does nothing until it [`run`](Self::run)s.
pub struct Server {
    hub: Arc<Hub>,
    doors: Doors,
    /// Those without doors of their own have the server's.
    listeners: Vec<(Listener, Option<Doors>)>,
    head_timeout: Option<Duration>,
    stop_timeout: Duration,
}

impl Server {
    /// A server without doors: every request is answered 404.
    pub fn new() -> Self {
        Self::of(&Hub::new())
    }

    /// The same, for sessions of a hub. A stop ends all sessions of the hub for good, those that
    /// came by another server too.
    pub fn of(hub: &Arc<Hub>) -> Self {
        Self {
            hub: Arc::clone(hub),
            doors: Doors::closed(),
            listeners: Vec::new(),
            head_timeout: Some(Duration::from_secs(30)),
            stop_timeout: Duration::from_secs(10),
        }
    }

    /// Who is connected here.
    pub const fn hub(&self) -> &Arc<Hub> {
        &self.hub
    }

    /// Puts a handler behind a path, for WebSockets. How paths are matched, and which never are, is
    /// said at [`Doors`] and [`Doors::add`].
    ///
    /// # Errors
    ///
    /// The path has a door already.
    pub fn door(&mut self, path: &str, handler: impl Handler) -> Result<&mut Self, SamePath> {
        self.door_with(path, handler, Options::default())
    }

    /// The same, with [`Options`] other than the default ones.
    ///
    /// # Errors
    ///
    /// The path has a door already.
    pub fn door_with(
        &mut self,
        path: &str,
        handler: impl Handler,
        options: Options,
    ) -> Result<&mut Self, SamePath> {
        let door = SocketDoor::new(&self.hub, handler, options);
        self.doors.add(path, Lead::Socket(Arc::new(door)))?;
        Ok(self)
    }

    /// Puts an HTTP service behind a path.
    ///
    /// # Errors
    ///
    /// The path has a door already.
    pub fn service(&mut self, path: &str, service: Service) -> Result<&mut Self, SamePath> {
        self.doors.add(path, Lead::Http(service))?;
        Ok(self)
    }

    /// Adds a listener that is bound already, with doors of its own, or else the server's.
    pub fn listener(&mut self, listener: Listener, doors: Option<Doors>) -> &mut Self {
        self.listeners.push((listener, doors));
        self
    }

    /// The longest wait for the head of a request, 30 s unless set. `None` waits for ever.
    pub const fn head_timeout(&mut self, timeout: Option<Duration>) -> &mut Self {
        self.head_timeout = timeout;
        self
    }

    /// The longest that a stop takes, 10 s unless set.
    pub fn stop_timeout(&mut self, timeout: Duration) -> &mut Self {
        self.stop_timeout = timeout.min(LONGEST_TIMEOUT);
        self
    }

    /// Binds an address, such as `127.0.0.1:9180`: connections that come from now on wait for
    /// [`run`](Self::run). Of a name all addresses are bound that this machine has. Returns them,
    /// with the port that the system chose for port 0.
    ///
    /// # Errors
    ///
    /// The address cannot be resolved, or not be listened on.
    pub async fn bind(&mut self, address: impl ToSocketAddrs) -> io::Result<Vec<SocketAddr>> {
        self.bind_all(address, None).await
    }

    /// The same, for clients that speak TLS: `https://` and `wss://`.
    ///
    /// # Errors
    ///
    /// The address cannot be resolved, or not be listened on.
    pub async fn bind_tls(
        &mut self,
        address: impl ToSocketAddrs,
        tls: Tls,
    ) -> io::Result<Vec<SocketAddr>> {
        self.bind_all(address, Some(tls)).await
    }

    /// [`bind`](Self::bind)s an address and [`run`](Self::run)s until `stop` is ready, whatever it
    /// says.
    ///
    /// # Errors
    ///
    /// The address cannot be resolved, or not be listened on.
    pub async fn listen(
        mut self,
        address: impl ToSocketAddrs,
        stop: impl Future,
    ) -> io::Result<()> {
        self.bind(address).await?;
        self.run(stop).await;
        Ok(())
    }

    /// [`bind_tls`](Self::bind_tls)s an address and [`run`](Self::run)s.
    ///
    /// # Errors
    ///
    /// The address cannot be resolved, or not be listened on.
    pub async fn listen_tls(
        mut self,
        address: impl ToSocketAddrs,
        tls: Tls,
        stop: impl Future,
    ) -> io::Result<()> {
        self.bind_tls(address, tls).await?;
        self.run(stop).await;
        Ok(())
    }

    /// Serves until `stop` is ready, and then stops in order: nothing more is accepted and requests
    /// in flight are answered; sessions end by close code 1001 when what is queued for them is
    /// written; it returns when every handler's `close` has, or when the time for it is over.
    ///
    /// Dropping the future stops at once: nothing more is accepted or read of requests, and sessions
    /// end by 1001 without what is queued. Nobody waits for that then.
    pub async fn run(self, stop: impl Future) {
        let stopping = CancellationToken::new();
        let _dropped = Dropped { hub: &self.hub, stopping: &stopping };
        let mut served = JoinSet::new();
        let own = Arc::new(self.doors);
        for (listener, doors) in self.listeners {
            let doors = doors.map_or_else(|| Arc::clone(&own), Arc::new);
            served.spawn(serve(listener, doors, self.head_timeout, stopping.clone()));
        }
        stop.await;

        let deadline = Instant::now() + self.stop_timeout;
        let requests = deadline - RESERVE.min(self.stop_timeout / 2);
        stopping.cancel();
        let answered = async { while served.join_next().await.is_some() {} };
        if timeout_at(requests, answered).await.is_err() {
            warn!("requests are left unanswered");
        }
        // Whoever does not take its messages in half of what is left goes without, so that its
        // end can be told in the other half.
        let now = Instant::now();
        let flush_by = now + deadline.saturating_duration_since(now) / 2;
        self.hub.stop(&GOING_AWAY, flush_by);
        if timeout_at(deadline, self.hub.finished()).await.is_err() {
            let metrics = self.hub.metrics();
            warn!(
                connections = metrics.connections.value(),
                closing_connections = metrics.closing_connections.value(),
                "stopped before everything was done: allow more time for it"
            );
        }
    }
}

impl Server {
    /// A machine without IPv6 may still know the IPv6 address of a name.
    async fn bind_all(
        &mut self,
        address: impl ToSocketAddrs,
        tls: Option<Tls>,
    ) -> io::Result<Vec<SocketAddr>> {
        let mut bound = Vec::new();
        let mut missing = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
        // A name may have the same address twice.
        let addresses: BTreeSet<SocketAddr> = lookup_host(address).await?.collect();
        for address in addresses {
            match Listener::tcp(address) {
                Ok(listener) => bound.push(listener),
                Err(error) if is_of_elsewhere(&error) => missing = error,
                Err(error) => return Err(error),
            }
        }
        if bound.is_empty() {
            return Err(missing);
        }
        let addresses = bound.iter().filter_map(Listener::address).collect();
        for listener in bound {
            let listener = match &tls {
                None => listener,
                Some(tls) => listener.with_tls(tls.clone()),
            };
            self.listeners.push((listener, None));
        }
        Ok(addresses)
    }
}

/// Stops a server whose future is dropped, without waiting; after a stop in order there is nothing
/// left to do.
struct Dropped<'a> {
    hub: &'a Hub,
    stopping: &'a CancellationToken,
}

impl Drop for Dropped<'_> {
    fn drop(&mut self) {
        self.stopping.cancel();
        self.hub.stop(&GOING_AWAY, Instant::now());
    }
}

impl Default for Server {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Server")
            .field("hub", &self.hub)
            .field("doors", &self.doors)
            .field("listeners", &self.listeners)
            .field("head_timeout", &self.head_timeout)
            .field("stop_timeout", &self.stop_timeout)
            .finish()
    }
}

//! Sockets that are kept from one request to the next: per origin, the last used first, so that
//! those that are not needed grow old and go. What the server ends goes at once.

use std::future::poll_fn;
use std::sync::{Arc, Weak};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use http::Uri;
use http::uri::{Authority, Scheme};
use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::task::{AbortHandle, unconstrained};
use tokio::time::{Instant, timeout};

use super::connector::Socket;

/// How much is kept.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Keeping {
    /// So many sockets per origin.
    pub(crate) sockets: usize,
    /// For so long without use.
    pub(crate) time: Duration,
}

/// Redirects may lead anywhere: sockets to so many origins are kept at a time.
const MAX_ORIGINS: usize = 16;

/// How often what has become too old is looked for.
const REAPING: Duration = Duration::from_secs(1);

/// Where sockets lead to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Origin(Option<Scheme>, Option<Authority>);

impl Origin {
    pub(crate) fn of(uri: &Uri) -> Self {
        Self(uri.scheme().cloned(), uri.authority().cloned())
    }
}

/// The kept sockets.
pub(crate) struct Pool(Arc<Inner>);

struct Inner {
    keeping: Keeping,
    shelves: Mutex<Shelves>,
    /// Rings the bell; each idle socket has a clone.
    waker: Waker,
    bell: Arc<Bell>,
}

#[derive(Default)]
struct Shelves {
    /// So few that the right one is found sooner than its hash.
    all: Vec<Shelf>,
    /// Runs while there may be idle sockets.
    reaper: Option<AbortHandle>,
}

struct Shelf {
    origin: Origin,
    /// The oldest first.
    idle: Vec<Idle>,
}

struct Idle {
    socket: Socket,
    since: Instant,
}

/// Something has happened on an idle socket.
#[derive(Default)]
struct Bell(Notify);

impl Pool {
    pub(crate) fn new(keeping: Keeping) -> Self {
        let bell = Arc::<Bell>::default();
        let waker = Waker::from(Arc::clone(&bell));
        Self(Arc::new(Inner { keeping, shelves: Mutex::default(), waker, bell }))
    }

    /// A socket that has neither ended nor said anything since it was kept.
    pub(crate) async fn take(&self, origin: &Origin) -> Option<Socket> {
        loop {
            let mut idle = self.0.shelves.lock().of(origin)?.pop()?;
            let look = poll_fn(|context| Poll::Ready(idle.socket.is_quiet(context)));
            // A task that has used up its turn would be told that nothing has happened.
            if unconstrained(look).await && idle.socket.is_silent() && self.0.is_young(&idle) {
                return Some(idle.socket);
            }
        }
    }

    /// Keeps a socket on which another request may follow, if there is room.
    pub(crate) fn keep(&self, origin: &Origin, mut socket: Socket) {
        if !socket.is_quiet(&mut self.0.context()) {
            return;
        }
        let idle = Idle { socket, since: Instant::now() };
        let mut shelves = self.0.shelves.lock();
        let has_room = shelves.all.len() < MAX_ORIGINS;
        match shelves.of(origin) {
            Some(shelf) if shelf.len() < self.0.keeping.sockets => shelf.push(idle),
            None if has_room => {
                shelves.all.push(Shelf { origin: origin.clone(), idle: vec![idle] });
            }
            Some(_) | None => return,
        }
        if shelves.reaper.is_none() {
            let reaper = reap(Arc::downgrade(&self.0), Arc::clone(&self.0.bell));
            shelves.reaper = Some(tokio::spawn(reaper).abort_handle());
        }
    }
}

impl Inner {
    /// In which idle sockets are looked at.
    fn context(&self) -> Context<'_> {
        Context::from_waker(&self.waker)
    }

    fn is_young(&self, idle: &Idle) -> bool {
        idle.since.elapsed() < self.keeping.time
    }
}

impl Shelves {
    fn of(&mut self, origin: &Origin) -> Option<&mut Vec<Idle>> {
        let shelf = self.all.iter_mut().find(|shelf| shelf.origin == *origin)?;
        Some(&mut shelf.idle)
    }
}

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.0.notify_one();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.0.notify_one();
    }
}

/// Nobody is left to take a socket.
impl Drop for Shelves {
    fn drop(&mut self) {
        if let Some(reaper) = &self.reaper {
            reaper.abort();
        }
    }
}

/// Drops what has become too old or has ended, until nothing is left.
async fn reap(pool: Weak<Inner>, bell: Arc<Bell>) {
    loop {
        // Either way it is time to look.
        let _ = timeout(REAPING, bell.0.notified()).await;
        let Some(pool) = pool.upgrade() else { return };
        let mut shelves = pool.shelves.lock();
        shelves.all.retain_mut(|shelf| {
            let mut context = pool.context();
            let keeps = |idle: &mut Idle| pool.is_young(idle) && idle.socket.is_quiet(&mut context);
            shelf.idle.retain_mut(keeps);
            !shelf.idle.is_empty()
        });
        if shelves.all.is_empty() {
            shelves.reaper = None;
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::Future;
    use std::io;

    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::{TcpListener, TcpStream};

    use super::*;
    use crate::outbound::Connector;

    const KEEPING: Keeping = Keeping { sockets: 3, time: Duration::from_secs(10) };

    /// A server's end of connections, and what makes the other.
    struct Far {
        listener: TcpListener,
        connector: Connector,
        uri: Uri,
    }

    impl Far {
        async fn new() -> Self {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let uri = format!("http://{}/", listener.local_addr().unwrap()).parse().unwrap();
            Self { listener, connector: Connector::default(), uri }
        }

        async fn connect(&self) -> (Socket, TcpStream) {
            let socket = self.connector.connect(&self.uri).await.unwrap();
            (socket, self.listener.accept().await.unwrap().0)
        }
    }

    fn run(test: impl Future<Output = ()>) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        runtime.unwrap().block_on(test);
    }

    /// Waits until ours has been closed.
    async fn closed(mut theirs: TcpStream) {
        let end = theirs.read(&mut [0]).await;
        assert!(matches!(end, Ok(0)) || end.unwrap_err().kind() == io::ErrorKind::ConnectionReset);
    }

    #[test]
    fn the_last_used_is_the_first_taken() {
        run(async {
            let (far, pool) = (Far::new().await, Pool::new(KEEPING));
            let origin = Origin::of(&far.uri);
            assert!(pool.take(&origin).await.is_none());
            let (first, mut of_first) = far.connect().await;
            let (second, mut of_second) = far.connect().await;
            pool.keep(&origin, first);
            pool.keep(&origin, second);
            assert!(pool.take(&Origin::of(&Uri::from_static("http://other/"))).await.is_none());
            for theirs in [&mut of_second, &mut of_first] {
                let mut ours = pool.take(&origin).await.unwrap();
                ours.write_all(b"!").await.unwrap();
                assert_eq!(theirs.read_u8().await.unwrap(), b'!');
            }
            assert!(pool.take(&origin).await.is_none());
        });
    }

    #[test]
    fn there_is_room_for_so_many() {
        run(async {
            let (far, pool) = (Far::new().await, Pool::new(KEEPING));
            let origin = Origin::of(&far.uri);
            let mut theirs = Vec::new();
            for _ in 0..=KEEPING.sockets {
                let (socket, other) = far.connect().await;
                pool.keep(&origin, socket);
                theirs.push(other);
            }
            closed(theirs.pop().unwrap()).await;
            let mut taken = Vec::new();
            while let Some(socket) = pool.take(&origin).await {
                taken.push(socket);
            }
            assert_eq!(taken.len(), KEEPING.sockets);
        });
    }

    #[test]
    fn so_many_origins_are_kept() {
        run(async {
            let (far, pool) = (Far::new().await, Pool::new(KEEPING));
            let origin = |n: usize| Origin::of(&format!("http://far-{n}/").parse::<Uri>().unwrap());
            let mut theirs = Vec::new();
            for n in 0..=MAX_ORIGINS {
                let (socket, other) = far.connect().await;
                pool.keep(&origin(n), socket);
                theirs.push(other);
            }
            closed(theirs.pop().unwrap()).await;
            for n in 0..MAX_ORIGINS {
                assert!(pool.take(&origin(n)).await.is_some());
            }
        });
    }

    #[test]
    fn what_ends_or_speaks_goes_at_once() {
        run(async {
            let (far, pool) = (Far::new().await, Pool::new(KEEPING));
            let origin = Origin::of(&far.uri);
            let (socket, mut theirs) = far.connect().await;
            pool.keep(&origin, socket);
            theirs.shutdown().await.unwrap();
            closed(theirs).await;
            let (socket, mut theirs) = far.connect().await;
            pool.keep(&origin, socket);
            theirs.write_all(b"HTTP/1.1 408 Too Slow\r\n\r\n").await.unwrap();
            closed(theirs).await;
            assert!(pool.take(&origin).await.is_none());
        });
    }

    /// Nothing is left behind, neither sockets nor a task.
    #[test]
    fn a_pool_ends_whole() {
        run(async {
            let (far, pool) = (Far::new().await, Pool::new(KEEPING));
            let (socket, theirs) = far.connect().await;
            pool.keep(&Origin::of(&far.uri), socket);
            let bell = Arc::downgrade(&pool.0.bell);
            drop(pool);
            closed(theirs).await;
            while bell.upgrade().is_some() {
                tokio::task::yield_now().await;
            }
        });
    }
}

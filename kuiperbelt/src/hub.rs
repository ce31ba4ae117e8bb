//! This node's sessions, by key, and the channels that they listen to. A key means the newest
//! connection that was given it; older ones live on, unreachable by it, until they end.

use std::collections::HashSet;
use std::fmt;
use std::hash::{BuildHasher, Hash, Hasher};
use std::sync::{Arc, Weak};

use hashbrown::hash_table::Entry;
use hashbrown::{DefaultHashBuilder, HashTable};
use parking_lot::{Mutex, RwLock};
use tokio::time::Instant;
use tokio_util::task::TaskTracker;
use tokio_util::task::task_tracker::TaskTrackerToken;

use crate::channel::{Channels, Limits};
use crate::message::{End, Message, Windows};
use crate::metrics::{Metrics, Raised};
use crate::page::Page;
use crate::session::{Lanes, Session};

/// Shards of the table: enough that threads seldom wait for each other.
const SHARDS: usize = 64;

/// Who is connected here.
pub struct Hub {
    metrics: Arc<Metrics>,
    /// What its sessions have agreed on who get compressed messages.
    windows: Mutex<Windows>,
    hasher: DefaultHashBuilder,
    shards: Vec<RwLock<Shard>>,
    channels: Arc<Channels>,
    /// All that sessions leave when they end, [`channels`](Self::channels) included.
    all_channels: RwLock<Vec<Weak<Channels>>>,
    /// Held by who broadcasts, so that everybody sees one order.
    broadcasting: Mutex<()>,
    lanes: Arc<Lanes>,
    /// Sessions that are not over, and closes that have not been told.
    unfinished: TaskTracker,
    /// Once set, a session that is admitted ends at once.
    stopping: RwLock<Option<(End, Instant)>>,
}

/// Some of the sessions, by the hash of their keys.
#[derive(Default)]
struct Shard {
    by_key: HashTable<Session>,
    /// Those that have no key, or whose key has come to mean a newer one.
    unreachable: HashSet<ByIdentity>,
}

impl Hub {
    /// A hub without sessions.
    pub fn new() -> Arc<Self> {
        Self::with_limits(Limits::default())
    }

    /// The same, with other limits for its [`channels`](Self::channels).
    pub fn with_limits(limits: Limits) -> Arc<Self> {
        let metrics = Arc::default();
        let channels = Arc::new(Channels::new(limits, &metrics));
        Arc::new(Self {
            metrics,
            windows: Mutex::default(),
            hasher: DefaultHashBuilder::default(),
            shards: (0..SHARDS).map(|_| RwLock::default()).collect(),
            all_channels: RwLock::new(vec![Arc::downgrade(&channels)]),
            channels,
            broadcasting: Mutex::default(),
            lanes: Arc::new(Lanes::new()),
            unfinished: TaskTracker::new(),
            stopping: RwLock::default(),
        })
    }

    /// The session that `key` means now.
    pub fn session(&self, key: &[u8]) -> Option<Session> {
        let hash = self.hasher.hash_one(key);
        self.shard(hash).read().by_key.find(hash, |found| found.key() == key).cloned()
    }

    /// The channels of this hub.
    pub const fn channels(&self) -> &Arc<Channels> {
        &self.channels
    }

    /// Channels apart from all others: the same name on both is two channels.
    pub fn open_channels(&self, limits: Limits) -> Arc<Channels> {
        let opened = Arc::new(Channels::new(limits, &self.metrics));
        let mut all = self.all_channels.write();
        all.retain(|channels| channels.strong_count() > 0);
        all.push(Arc::downgrade(&opened));
        opened
    }

    /// Hands a message to every session that has a key, also where the key means another by now.
    /// Returns how many are to get it. Like publishing it waits for nobody.
    pub fn broadcast(&self, message: &Message) -> usize {
        let windows = self.windows.lock().clone();
        windows.compress(message);
        let _turn = self.broadcasting.lock();
        let publish = |shard: &RwLock<Shard>| {
            let shard = shard.read();
            let has_key = |session: &&Session| !session.key().is_empty();
            shard.sessions().filter(has_key).filter(|session| session.publish(message)).count()
        };
        self.shards.iter().map(publish).sum()
    }

    /// The first `limit` sessions whose key is behind `after`, sorted by key. Only those that
    /// their key means.
    pub fn page(&self, after: Option<&[u8]>, limit: usize) -> Vec<Session> {
        let mut page = Page::new(limit);
        for shard in &self.shards {
            for session in shard.read().by_key.iter() {
                if after.is_none_or(|after| session.key() > after)
                    && page.picks(|greatest: &ByKey| session.key() < greatest.0.key())
                {
                    page.offer(ByKey(session.clone()));
                }
            }
        }
        page.into_sorted().into_iter().map(|found| found.0).collect()
    }

    /// This hub's numbers.
    pub const fn metrics(&self) -> &Arc<Metrics> {
        &self.metrics
    }

    /// Ends every session, now and from now on, once what is queued for it is written, or at
    /// `flush_by` when that takes too long.
    pub fn stop(&self, end: &End, flush_by: Instant) {
        *self.stopping.write() = Some((end.clone(), flush_by));
        let mut sessions = Vec::new();
        for shard in &self.shards {
            sessions.extend(shard.read().sessions().cloned());
        }
        for session in sessions {
            session.end_by(end.clone(), Some(flush_by));
        }
    }

    /// Returns when every session is over and every handler's `close` has returned. Meant for
    /// after [`stop`](Self::stop): before it, sessions come and go.
    pub async fn finished(&self) {
        self.unfinished.close();
        self.unfinished.wait().await;
    }

    /// Where this hub's sessions are written for.
    pub(crate) const fn lanes(&self) -> &Arc<Lanes> {
        &self.lanes
    }

    /// Makes the session's key mean it, if it has one. Returns the session that the key meant
    /// before.
    pub(crate) fn admit(&self, session: &Session) -> Option<Session> {
        if let Some(deflate) = session.deflate() {
            self.windows.lock().add(deflate, session.compression_min_size());
        }
        let hash = self.hash_of(session);
        let before = self.shard(hash).write().admit(session, hash, &self.hasher);
        if let Some((end, flush_by)) = &*self.stopping.read() {
            session.end_by(end.clone(), Some(*flush_by));
        }
        before
    }

    /// Forgets the session, which accepts nothing more, and takes it out of all channels; its key
    /// stays with a newer one that has it.
    pub(crate) fn release(&self, session: &Session) {
        for channels in self.all_channels.read().iter().filter_map(Weak::upgrade) {
            channels.leave_all(session);
        }
        let hash = self.hash_of(session);
        self.shard(hash).write().release(session, hash);
        if let Some(deflate) = session.deflate() {
            self.windows.lock().remove(deflate);
        }
    }

    /// Keeps [`finished`](Self::finished) waiting for as long as it lives.
    pub(crate) fn unfinished(&self) -> TaskTrackerToken {
        self.unfinished.token()
    }

    /// Counts a close that is being told.
    pub(crate) fn closing(&self) -> Raised {
        Raised::new(&self.metrics, |metrics| &metrics.closing_connections)
    }

    /// Without a key a session is as good in one shard as in another.
    fn hash_of(&self, session: &Session) -> u64 {
        match session.key() {
            b"" => self.hasher.hash_one(session.identity()),
            key => self.hasher.hash_one(key),
        }
    }

    fn shard(&self, hash: u64) -> &RwLock<Shard> {
        // From the middle: the table inside the shard goes by the lowest and the highest bits.
        &self.shards[(hash >> 32) as usize % SHARDS]
    }
}

impl Shard {
    fn sessions(&self) -> impl Iterator<Item = &Session> {
        self.by_key.iter().chain(self.unreachable.iter().map(|found| &found.0))
    }

    /// Returns the session that the key meant before.
    fn admit(
        &mut self,
        session: &Session,
        hash: u64,
        hasher: &DefaultHashBuilder,
    ) -> Option<Session> {
        if session.key().is_empty() {
            self.unreachable.insert(ByIdentity(session.clone()));
            return None;
        }
        let rehash = |session: &Session| hasher.hash_one(session.key());
        match self.by_key.entry(hash, |found| found.key() == session.key(), rehash) {
            Entry::Occupied(mut found) => {
                let before = std::mem::replace(found.get_mut(), session.clone());
                self.unreachable.insert(ByIdentity(before.clone()));
                Some(before)
            }
            Entry::Vacant(place) => {
                place.insert(session.clone());
                None
            }
        }
    }

    fn release(&mut self, session: &Session, hash: u64) {
        match self.by_key.find_entry(hash, |found| found == session) {
            Ok(found) => drop(found.remove()),
            Err(_) => drop(self.unreachable.remove(&ByIdentity(session.clone()))),
        }
    }
}

impl Drop for Hub {
    fn drop(&mut self) {
        self.lanes.close();
    }
}

impl fmt::Debug for Hub {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Hub").field("metrics", &self.metrics).finish_non_exhaustive()
    }
}

/// A session in a set, found by itself.
#[derive(PartialEq, Eq)]
struct ByIdentity(Session);

impl Hash for ByIdentity {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.identity().hash(state);
    }
}

/// A session, sorted by its key.
struct ByKey(Session);

impl Ord for ByKey {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.0.key().cmp(other.0.key())
    }
}

impl PartialOrd for ByKey {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for ByKey {
    fn eq(&self, other: &Self) -> bool {
        self.0.key() == other.0.key()
    }
}

impl Eq for ByKey {}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::session::Terms;

    fn session(key: &str) -> Session {
        let terms = Terms::unbounded(Arc::new(Lanes::new()));
        Session::new(key.as_bytes(), None, Arc::new(terms), None)
    }

    #[test]
    fn a_key_means_the_newest_connection_and_outlives_the_older() {
        let hub = Hub::new();
        let (older, newer) = (session("alice"), session("alice"));
        assert!(hub.admit(&older).is_none());
        assert!(hub.admit(&newer).unwrap() == older);
        hub.release(&older);
        assert!(hub.session(b"alice").unwrap() == newer);
        hub.release(&newer);
        assert!(hub.session(b"alice").is_none());
        assert!(hub.shards.iter().all(|shard| shard.read().sessions().next().is_none()));
    }

    #[test]
    fn a_stop_reaches_unreachable_and_late_sessions() {
        let hub = Hub::new();
        let (older, newer, late) = (session("alice"), session("alice"), session("bob"));
        hub.admit(&older);
        hub.admit(&newer);
        let end = End::abnormal("test");
        hub.stop(&end, Instant::now());
        hub.admit(&late);
        for session in [older, newer, late] {
            assert_eq!(session.decided(), Some(end.clone()));
        }
    }
}

//! This node's sessions, by key. A key means the newest connection that was given it; older ones
//! live on, unreachable, until they end.

use std::collections::HashSet;
use std::fmt;
use std::hash::{BuildHasher, Hash, Hasher};
use std::sync::Arc;

use hashbrown::hash_table::Entry;
use hashbrown::{DefaultHashBuilder, HashTable};
use parking_lot::{Mutex, RwLock};
use tokio::time::Instant;
use tokio_util::task::TaskTracker;
use tokio_util::task::task_tracker::TaskTrackerToken;

use crate::message::End;
use crate::metrics::{Metrics, Raised};
use crate::session::{Lanes, Session};

/// Shards of the table: enough that threads seldom wait for each other.
const SHARDS: usize = 64;

/// Who is connected here.
pub struct Hub {
    metrics: Arc<Metrics>,
    hasher: DefaultHashBuilder,
    shards: Vec<RwLock<HashTable<Session>>>,
    /// Sessions whose key has come to mean a newer one.
    unreachable: Mutex<HashSet<ByIdentity>>,
    lanes: Arc<Lanes>,
    /// Sessions that are not over, and closes that have not been told.
    unfinished: TaskTracker,
    /// Once set, a session that is admitted ends at once.
    stopping: RwLock<Option<(End, Instant)>>,
}

impl Hub {
    /// A hub without sessions.
    pub fn new() -> Arc<Self> {
        Arc::new(Self {
            metrics: Arc::default(),
            hasher: DefaultHashBuilder::default(),
            shards: (0..SHARDS).map(|_| RwLock::default()).collect(),
            unreachable: Mutex::default(),
            lanes: Arc::new(Lanes::new()),
            unfinished: TaskTracker::new(),
            stopping: RwLock::default(),
        })
    }

    /// The session that `key` means now.
    pub fn session(&self, key: &[u8]) -> Option<Session> {
        let hash = self.hasher.hash_one(key);
        self.shard(hash).read().find(hash, |found| found.key() == key).cloned()
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
            sessions.extend(shard.read().iter().cloned());
        }
        // After the shards: a session moves from there to here, never back.
        sessions.extend(self.unreachable.lock().iter().map(|found| found.0.clone()));
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

    /// Makes the session's key mean it. Returns the session that the key meant before.
    pub(crate) fn admit(&self, session: &Session) -> Option<Session> {
        let hash = self.hasher.hash_one(session.key());
        let before = {
            let mut shard = self.shard(hash).write();
            let rehash = |session: &Session| self.hasher.hash_one(session.key());
            match shard.entry(hash, |found| found.key() == session.key(), rehash) {
                Entry::Occupied(mut found) => {
                    let before = std::mem::replace(found.get_mut(), session.clone());
                    self.unreachable.lock().insert(ByIdentity(before.clone()));
                    Some(before)
                }
                Entry::Vacant(place) => {
                    place.insert(session.clone());
                    None
                }
            }
        };
        if let Some((end, flush_by)) = &*self.stopping.read() {
            session.end_by(end.clone(), Some(*flush_by));
        }
        before
    }

    /// Forgets the session; its key stays with a newer one that has it.
    pub(crate) fn release(&self, session: &Session) {
        let hash = self.hasher.hash_one(session.key());
        let mut shard = self.shard(hash).write();
        if let Ok(found) = shard.find_entry(hash, |found| found == session) {
            found.remove();
        } else {
            self.unreachable.lock().remove(&ByIdentity(session.clone()));
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

    fn shard(&self, hash: u64) -> &RwLock<HashTable<Session>> {
        // From the middle: the table inside the shard goes by the lowest and the highest bits.
        &self.shards[(hash >> 32) as usize % SHARDS]
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::session::{Capacity, Terms};

    fn session(key: &str) -> Session {
        let terms = Terms {
            capacity: Capacity::Messages(1),
            before_established: 1,
            compression_min_size: 0,
            lanes: Arc::new(Lanes::new()),
        };
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
        assert!(hub.unreachable.lock().is_empty());
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

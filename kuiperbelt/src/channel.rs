//! Channels: names, and the sessions that listen to them. Publishing puts a message into every
//! listener's outbox and waits for nobody; what happens at a full one is the session's business.
//!
//! Which channels a session listens to is known here as well, not in the session, so that one that
//! never subscribes costs nothing.

use std::collections::{HashSet, VecDeque};
use std::fmt;
use std::hash::BuildHasher as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use hashbrown::hash_table::Entry;
use hashbrown::{DefaultHashBuilder, HashTable};
use parking_lot::{Mutex, MutexGuard};

use crate::message::Message;
use crate::metrics::Metrics;
use crate::page::Page;
use crate::session::Session;

mod listeners;

use listeners::Listeners;

/// The longest name of a channel, in bytes.
pub const LONGEST_NAME: usize = 512;

/// Shards of each table: enough that threads seldom wait for each other.
const SHARDS: usize = 64;

/// How much there may be of channels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Channels.
    pub channels: usize,
    /// Channels that one session listens to.
    pub per_session: usize,
    /// Whether a channel stays when its last listener has gone, until there are as many as there
    /// may be and its place is needed for another. Otherwise it is forgotten at once.
    pub keeps_empty: bool,
}

impl Default for Limits {
    /// 100,000 channels, 1,000 for each session, and none without a listener.
    fn default() -> Self {
        Self { channels: 100_000, per_session: 1_000, keeps_empty: false }
    }
}

/// Why a session does not listen to a channel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SubscribeError {
    /// The name is empty, or longer than [`LONGEST_NAME`].
    #[error("a channel's name has 1 to {LONGEST_NAME} bytes")]
    Name,
    /// There are as many channels as there may be, and somebody listens to each.
    #[error("there are too many channels")]
    TooMany,
    /// The session listens to as many as it may.
    #[error("the session listens to too many channels")]
    TooManyOfSession,
    /// The session has ended, or its last word is spoken.
    #[error("session is closed")]
    Closed,
    /// The session is one of another hub, which would not take it out of the channel at its end.
    #[error("the session is one of another hub than the channels")]
    Foreign,
}

/// Names and their listeners. Made by a [`Hub`](crate::Hub), whose sessions leave every channel
/// when they end.
///
/// Messages that are published on one channel reach all its listeners in one order. Whoever
/// subscribes or unsubscribes while something is published gets it or does not; who leaves and comes
/// again meanwhile may get it twice.
pub struct Channels {
    limits: Limits,
    /// Of the hub whose sessions may listen.
    metrics: Arc<Metrics>,
    hasher: DefaultHashBuilder,
    by_name: Box<[Mutex<HashTable<Arc<Channel>>>]>,
    by_session: Box<[Mutex<HashTable<Memberships>>]>,
    /// How many channels there are.
    count: AtomicUsize,
    /// Channels that are kept though nobody listens, each once, in the order in which they were
    /// left. One that somebody has listened to since keeps its place, and is passed over if somebody
    /// listens when its turn has come.
    empty: Mutex<VecDeque<Arc<Channel>>>,
}

/// What one session listens to. Always something.
struct Memberships {
    session: Session,
    channels: HashTable<Membership>,
}

struct Membership {
    channel: Arc<Channel>,
    /// The session's place among the listeners.
    place: u32,
}

struct Channel {
    name: Box<[u8]>,
    /// Held by who publishes, so that all listeners see one order.
    turn: Mutex<()>,
    listeners: Mutex<Listeners>,
}

/// Locks are taken in this order: of `by_session`, of `by_name`, turns, listeners. A session's own
/// comes last; while that of `empty` is held no other is taken.
impl Channels {
    pub(crate) fn new(limits: Limits, metrics: &Arc<Metrics>) -> Self {
        Self {
            limits,
            metrics: Arc::clone(metrics),
            hasher: DefaultHashBuilder::default(),
            by_name: (0..SHARDS).map(|_| Mutex::default()).collect(),
            by_session: (0..SHARDS).map(|_| Mutex::default()).collect(),
            count: AtomicUsize::new(0),
            empty: Mutex::default(),
        }
    }

    /// From now on the session gets what is published on the channel. To subscribe again changes
    /// nothing.
    ///
    /// # Errors
    ///
    /// [`SubscribeError`]: nothing has changed.
    pub fn subscribe(
        &self,
        session: &Session,
        name: impl AsRef<[u8]>,
    ) -> Result<(), SubscribeError> {
        let name = name.as_ref();
        if name.is_empty() || name.len() > LONGEST_NAME {
            return Err(SubscribeError::Name);
        }
        if !session.is_of(&self.metrics) {
            return Err(SubscribeError::Foreign);
        }
        let hash = self.hasher.hash_one(name);
        let identity = self.hasher.hash_one(session.identity());
        let mut shard = shard(&self.by_session, identity).lock();
        // A session that ends says so before it leaves: under this lock it does not slip in again.
        if session.is_over() {
            return Err(SubscribeError::Closed);
        }
        let rehash = |found: &Memberships| self.hasher.hash_one(found.session.identity());
        let entry = shard.entry(identity, |found| found.session == *session, rehash);
        if let Entry::Occupied(memberships) = &entry {
            let channels = &memberships.get().channels;
            if channels.find(hash, |found| *found.channel.name == *name).is_some() {
                return Ok(());
            }
            if channels.len() >= self.limits.per_session {
                return Err(SubscribeError::TooManyOfSession);
            }
        }
        let membership = self.join(hash, name, session)?;
        let mut memberships = entry.or_insert_with(|| {
            let session = session.clone();
            Memberships { session, channels: HashTable::with_capacity(1) }
        });
        let rehash = |found: &Membership| self.hasher.hash_one(&*found.channel.name);
        memberships.get_mut().channels.insert_unique(hash, membership, rehash);
        Ok(())
    }

    /// From now on it gets no more of it. `false` if it did not listen to the channel.
    pub fn unsubscribe(&self, session: &Session, name: impl AsRef<[u8]>) -> bool {
        let name = name.as_ref();
        let hash = self.hasher.hash_one(name);
        let identity = self.hasher.hash_one(session.identity());
        let mut shard = shard(&self.by_session, identity).lock();
        let Ok(mut memberships) = shard.find_entry(identity, |found| found.session == *session)
        else {
            return false;
        };
        let channels = &mut memberships.get_mut().channels;
        let Ok(found) = channels.find_entry(hash, |found| *found.channel.name == *name) else {
            return false;
        };
        let (membership, _) = found.remove();
        if channels.is_empty() {
            memberships.remove();
        }
        self.leave(&membership);
        true
    }

    /// Hands a message to every listener of a channel, and returns how many are to get it; `None`
    /// if there is no such channel.
    pub fn publish(&self, name: impl AsRef<[u8]>, message: &Message) -> Option<usize> {
        Some(self.channel(name.as_ref())?.publish(message))
    }

    /// The same with a message that is made only if there is such a channel.
    pub(crate) fn publish_made(
        &self,
        name: impl AsRef<[u8]>,
        make: impl FnOnce() -> Message,
    ) -> Option<usize> {
        let channel = self.channel(name.as_ref())?;
        Some(channel.publish(&make()))
    }

    /// Hands a message to every listener of any of the channels, once, but not to those that are
    /// `spared`, which is asked while the channels' listeners wait, and is not to call back here.
    /// Returns how many are to get it.
    pub fn publish_to_all(
        &self,
        names: &[&[u8]],
        message: &Message,
        spared: impl Fn(&Session) -> bool,
    ) -> usize {
        let mut channels: Vec<_> = names.iter().filter_map(|name| self.channel(name)).collect();
        // Everybody waits for turns in the same order.
        channels.sort_unstable_by_key(Arc::as_ptr);
        channels.dedup_by_key(|channel| Arc::as_ptr(channel));
        channels.iter().for_each(|channel| channel.compress(message));
        let _turns: Vec<MutexGuard<'_, ()>> =
            channels.iter().map(|channel| channel.turn.lock()).collect();
        let is_one = channels.len() == 1;
        let mut seen = HashSet::new();
        let mut deliver = |session: &Session| {
            !spared(session)
                && (is_one || seen.insert(session.identity()))
                && session.publish(message)
        };
        channels.iter().map(|channel| channel.visit(&mut deliver)).sum()
    }

    /// What the session listens to, sorted.
    pub fn of(&self, session: &Session) -> Vec<Vec<u8>> {
        self.first_of(session, usize::MAX).0
    }

    /// The first `limit` channels of those that the session listens to, sorted, and how many it
    /// listens to.
    pub fn first_of(&self, session: &Session, limit: usize) -> (Vec<Vec<u8>>, usize) {
        let identity = self.hasher.hash_one(session.identity());
        let shard = shard(&self.by_session, identity).lock();
        let Some(memberships) = shard.find(identity, |found| found.session == *session) else {
            return (Vec::new(), 0);
        };
        let mut page = Page::new(limit);
        for membership in &memberships.channels {
            page.offer(&*membership.channel.name);
        }
        let names = page.into_sorted().into_iter().map(<[u8]>::to_vec).collect();
        (names, memberships.channels.len())
    }

    /// The first `limit` channels behind the name `after`, sorted by name, and how many listen to
    /// each.
    pub fn page(&self, after: Option<&[u8]>, limit: usize) -> Vec<(Vec<u8>, usize)> {
        let mut page = Page::new(limit);
        for shard in &self.by_name {
            for channel in shard.lock().iter() {
                if after.is_none_or(|after| *channel.name > *after)
                    && page.picks(|greatest: &Named| channel.name < greatest.0.name)
                {
                    page.offer(Named(Arc::clone(channel)));
                }
            }
        }
        let listed = page.into_sorted().into_iter();
        listed.map(|Named(channel)| (channel.name.to_vec(), channel.len())).collect()
    }

    /// The sessions that listen to a channel.
    pub fn listeners(&self, name: impl AsRef<[u8]>) -> Vec<Session> {
        let mut listeners = Vec::new();
        if let Some(channel) = self.channel(name.as_ref()) {
            channel.visit(|session| {
                listeners.push(session.clone());
                true
            });
        }
        listeners
    }

    /// Takes the session out of everything that it listens to. It has ended.
    pub(crate) fn leave_all(&self, session: &Session) {
        let identity = self.hasher.hash_one(session.identity());
        let mut shard = shard(&self.by_session, identity).lock();
        if let Ok(found) = shard.find_entry(identity, |found| found.session == *session) {
            let (memberships, _) = found.remove();
            drop(shard);
            for membership in memberships.channels {
                self.leave(&membership);
            }
        }
    }

    fn channel(&self, name: &[u8]) -> Option<Arc<Channel>> {
        let hash = self.hasher.hash_one(name);
        let shard = shard(&self.by_name, hash).lock();
        shard.find(hash, |found| *found.name == *name).cloned()
    }

    fn join(
        &self,
        hash: u64,
        name: &[u8],
        session: &Session,
    ) -> Result<Membership, SubscribeError> {
        loop {
            let Some(channel) = self.find_or_make(hash, name) else {
                if self.make_room() {
                    continue;
                }
                return Err(SubscribeError::TooMany);
            };
            let place = channel.listeners.lock().add(session.clone());
            // Otherwise it was forgotten a moment ago.
            if let Some(place) = place {
                return Ok(Membership { channel, place });
            }
        }
    }

    /// `None`: there is none, and there are as many as there may be.
    fn find_or_make(&self, hash: u64, name: &[u8]) -> Option<Arc<Channel>> {
        let mut shard = shard(&self.by_name, hash).lock();
        let rehash = |found: &Arc<Channel>| self.hasher.hash_one(&*found.name);
        match shard.entry(hash, |found| *found.name == *name, rehash) {
            Entry::Occupied(found) => Some(Arc::clone(found.get())),
            Entry::Vacant(place) => {
                let one_more = |count| (count < self.limits.channels).then_some(count + 1);
                self.count.try_update(Ordering::Relaxed, Ordering::Relaxed, one_more).ok()?;
                let channel = Arc::new(Channel {
                    name: name.into(),
                    turn: Mutex::default(),
                    listeners: Mutex::default(),
                });
                place.insert(Arc::clone(&channel));
                Some(channel)
            }
        }
    }

    /// Takes a listener out of its channel. One that nobody listens to then is forgotten, or listed
    /// as empty.
    fn leave(&self, Membership { channel, place }: &Membership) {
        let mut listeners = channel.listeners.lock();
        listeners.remove(*place);
        if !listeners.is_empty() {
            return;
        }
        if self.limits.keeps_empty {
            let is_listed = std::mem::replace(&mut listeners.is_listed, true);
            drop(listeners);
            if !is_listed {
                self.empty.lock().push_back(Arc::clone(channel));
            }
        } else if listeners.close() {
            drop(listeners);
            self.forget(channel);
        }
    }

    /// Forgets a channel that is kept though nobody listens. `false` if there is none.
    fn make_room(&self) -> bool {
        loop {
            let Some(channel) = self.empty.lock().pop_front() else { return false };
            let mut listeners = channel.listeners.lock();
            listeners.is_listed = false;
            if listeners.is_empty() && listeners.close() {
                drop(listeners);
                self.forget(&channel);
                return true;
            }
        }
    }

    /// Forgets a channel that lets nobody in any more.
    fn forget(&self, channel: &Arc<Channel>) {
        let hash = self.hasher.hash_one(&*channel.name);
        let mut shard = shard(&self.by_name, hash).lock();
        if let Ok(found) = shard.find_entry(hash, |found| Arc::ptr_eq(found, channel)) {
            found.remove();
            self.count.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

impl Channel {
    fn len(&self) -> usize {
        self.listeners.lock().len()
    }

    fn publish(&self, message: &Message) -> usize {
        self.compress(message);
        let _turn = self.turn.lock();
        self.visit(|session| session.publish(message))
    }

    /// Makes the compressed forms of a message that its listeners will ask for, ahead of its turn.
    fn compress(&self, message: &Message) {
        let windows = self.listeners.lock().windows();
        if let Some(windows) = windows {
            windows.compress(message);
        }
    }

    /// Calls `deliver` for every listener, and counts those for whom it returns true.
    fn visit(&self, deliver: impl FnMut(&Session) -> bool) -> usize {
        Listeners::visit(&self.listeners, deliver)
    }
}

/// A channel, sorted by its name.
struct Named(Arc<Channel>);

impl Ord for Named {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.0.name.cmp(&other.0.name)
    }
}

impl PartialOrd for Named {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Named {
    fn eq(&self, other: &Self) -> bool {
        self.0.name == other.0.name
    }
}

impl Eq for Named {}

impl fmt::Debug for Channels {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Channels")
            .field("limits", &self.limits)
            .field("count", &self.count)
            .finish_non_exhaustive()
    }
}

/// From the middle: the table inside the shard goes by the lowest and the highest bits.
fn shard<T>(shards: &[T], hash: u64) -> &T {
    &shards[(hash >> 32) as usize % SHARDS]
}

#[cfg(test)]
mod tests;

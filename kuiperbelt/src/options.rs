//! What a WebSocket door does with its connections, whatever its handler decides.

use std::fmt;
use std::time::Duration;

use http::HeaderMap;

use crate::session::SlowConsumer;

/// More than anybody means by a time-out, 100 years; a later point in time may not exist.
pub(crate) const LONGEST_TIMEOUT: Duration = Duration::from_secs(100 * 365 * 24 * 60 * 60);

/// What a WebSocket door does with its connections, beyond what its
/// [`Handler`](crate::Handler) decides.
pub struct Options {
    /// The largest message taken from a client, in bytes; a larger one ends in close code 1009.
    /// `usize::MAX` takes any.
    pub max_message: usize,
    /// How many messages may wait for one client behind the one that is being written, at least 1.
    pub outbox_messages: usize,
    /// How many bytes may, frame headers included, whichever is reached first; also while the
    /// handler establishes the session, when nothing is written and of messages only those are
    /// counted that are published. A message that finds none waiting is always taken, however large.
    pub outbox_bytes: usize,
    /// How many of their own messages, of any size, [`Session::send`](crate::Session::send) and its
    /// kin let wait instead; 0 takes one only when no other of them is being written or waits.
    /// `None`: the bounds of the outbox.
    pub send_queue: Option<usize>,
    /// What happens to a client whose outbox is full when something is published.
    pub slow_consumer: SlowConsumer,
    /// A session without traffic for so long ends, by close code 1001. Whatever is read or written
    /// is traffic, pings of the client and their pongs as well; but of pings of ours
    /// ([`ping_interval`](Self::ping_interval)) neither they are nor the pongs that answer them.
    pub idle_timeout: Option<Duration>,
    /// From when a session is established on its client is pinged each time so much has passed, at
    /// most every millisecond. The payloads are `1`, `2`, `3` and so on in decimal. A ping goes
    /// ahead of the messages that wait; while one waits, because the socket takes nothing, the
    /// following are left out, and keep their numbers.
    pub ping_interval: Option<Duration>,
    /// A session from whose client nothing was read for so long ends, by close code 1001. Time in
    /// which nothing is read because the handler is behind does not count, and where the whole
    /// process stood still, such as with its machine, the client is pinged and has all of it once
    /// more. Only pings make a client that has nothing to say heard of, so this is longer than
    /// [`ping_interval`](Self::ping_interval).
    pub pong_timeout: Option<Duration>,
    /// A socket that takes no byte for so long ends its session; its handler is told 1006.
    pub write_timeout: Option<Duration>,
    /// From how many bytes on messages travel compressed, both ways, with clients that offer
    /// permessage-deflate (RFC 7692). `None` negotiates no compression.
    pub compression_min_size: Option<usize>,
    /// Whether the server announces its own ends by a close frame. Without, the client sees the
    /// TCP connection end; closes for protocol errors and echoes are sent all the same.
    pub close_frame: bool,
    /// Whether a key that is given again ends the session that had it.
    pub replace_duplicates: bool,
    /// Whether the Origin of a request is welcome.
    pub origin: Box<dyn Fn(&HeaderMap) -> bool + Send + Sync>,
}

impl Default for Options {
    /// 16 MiB a message; 1024 messages and 1 MiB in the outbox, slow consumers are disconnected;
    /// writes blocked for 30 s end the session; no idle time-out; no pings; no compression; every
    /// Origin.
    fn default() -> Self {
        Self {
            max_message: 16 << 20,
            outbox_messages: 1024,
            outbox_bytes: 1 << 20,
            send_queue: None,
            slow_consumer: SlowConsumer::default(),
            idle_timeout: None,
            ping_interval: None,
            pong_timeout: None,
            write_timeout: Some(Duration::from_secs(30)),
            compression_min_size: None,
            close_frame: true,
            replace_duplicates: false,
            origin: Box::new(|_| true),
        }
    }
}

impl Options {
    /// Time-outs that nobody lives to see are none.
    pub(crate) fn within_time(self) -> Self {
        let within = |time: Option<Duration>| time.filter(|time| *time < LONGEST_TIMEOUT);
        Self {
            idle_timeout: within(self.idle_timeout),
            ping_interval: within(self.ping_interval),
            pong_timeout: within(self.pong_timeout),
            write_timeout: within(self.write_timeout),
            ..self
        }
    }
}

impl fmt::Debug for Options {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Options")
            .field("max_message", &self.max_message)
            .field("outbox_messages", &self.outbox_messages)
            .field("outbox_bytes", &self.outbox_bytes)
            .field("send_queue", &self.send_queue)
            .field("slow_consumer", &self.slow_consumer)
            .field("idle_timeout", &self.idle_timeout)
            .field("ping_interval", &self.ping_interval)
            .field("pong_timeout", &self.pong_timeout)
            .field("write_timeout", &self.write_timeout)
            .field("compression_min_size", &self.compression_min_size)
            .field("close_frame", &self.close_frame)
            .field("replace_duplicates", &self.replace_duplicates)
            .finish_non_exhaustive()
    }
}

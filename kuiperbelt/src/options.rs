//! What a WebSocket door does with its connections, whatever its handler decides.

use std::fmt;
use std::time::Duration;

use http::HeaderMap;

use crate::session::Capacity;

/// What a WebSocket door does with its connections, beyond what its
/// [`Handler`](crate::Handler) decides.
pub struct Options {
    /// The largest message taken from a client, in bytes; a larger one ends in close code 1009.
    /// `usize::MAX` takes any.
    pub max_message: usize,
    /// How much may wait for one client.
    pub capacity: Capacity,
    /// How many bytes may wait while the handler establishes the session.
    pub before_established: usize,
    /// A session without traffic for so long ends.
    pub idle_timeout: Option<Duration>,
    /// A socket that takes no byte for so long ends its session.
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
    /// 16 MiB a message; 1024 messages and 1 MiB in the outbox; writes blocked for 30 s end the
    /// session; no idle time-out; no compression; every Origin.
    fn default() -> Self {
        Self {
            max_message: 16 << 20,
            capacity: Capacity::Bounded { messages: 1024, bytes: 1 << 20 },
            before_established: 1 << 20,
            idle_timeout: None,
            write_timeout: Some(Duration::from_secs(30)),
            compression_min_size: None,
            close_frame: true,
            replace_duplicates: false,
            origin: Box::new(|_| true),
        }
    }
}

impl fmt::Debug for Options {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Options")
            .field("max_message", &self.max_message)
            .field("capacity", &self.capacity)
            .field("before_established", &self.before_established)
            .field("idle_timeout", &self.idle_timeout)
            .field("write_timeout", &self.write_timeout)
            .field("compression_min_size", &self.compression_min_size)
            .field("close_frame", &self.close_frame)
            .field("replace_duplicates", &self.replace_duplicates)
            .finish_non_exhaustive()
    }
}

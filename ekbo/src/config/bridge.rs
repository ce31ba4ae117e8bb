//! What is said of a bridge: a WebSocket subprotocol on one side, a ZeroMQ REP and a PUB on the
//! other. How it is read is in `meant/bridge.rs`.

use std::time::Duration;

use kuiperbelt::CloseCode;

use crate::endpoint::Endpoint;
use crate::origin::AllowedOrigins;
use crate::secret::Secret;

/// A bridge on the public listener. No two can take one handshake.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Bridge {
    /// A token (RFC 9110 section 5.6.2). With `.raw` behind it, it means the same bridge with
    /// `PayloadEncoding::Raw`.
    pub(crate) subprotocol: String,
    /// One that `path::fault` finds no fault with; if it ends in `/`, it is that of its whole
    /// subtree. `None`: any.
    pub(crate) path: Option<String>,
    /// Of the two there is at least one.
    pub(crate) request_endpoint: Option<Endpoint>,
    pub(crate) publish_endpoint: Option<Endpoint>,
    /// At least one; the empty one takes everything.
    pub(crate) topics: Vec<String>,
    pub(crate) join_parts: bool,
    /// Visible ASCII, and not `publish_prefix`.
    pub(crate) response_prefix: u8,
    /// Visible ASCII.
    pub(crate) publish_prefix: u8,
    pub(crate) payload_encoding: PayloadEncoding,
    pub(crate) routing: Routing,
    pub(crate) client_count_notices: bool,
    pub(crate) ping_interval: Option<Duration>,
    /// Longer than `ping_interval`, which is set as well then.
    pub(crate) pong_timeout: Option<Duration>,
    /// Longer than 0.
    pub(crate) backend_check_timeout: Duration,
    /// One that may be sent.
    pub(crate) unavailable_code: CloseCode,
    /// At most 123 bytes.
    pub(crate) unavailable_reason: String,
    /// Longer than 0.
    pub(crate) request_timeout: Duration,
    /// None is empty or has a zero byte. Without any, all are allowed.
    pub(crate) allowed_commands: Vec<String>,
    /// The same holds for it.
    pub(crate) on_last_client: Option<String>,
    pub(crate) allowed_origins: AllowedOrigins,
    /// Each of them lets a client in; without any, everybody is.
    pub(crate) token: Vec<Secret>,
    /// In both directions. `None`: unlimited.
    pub(crate) max_message_size: Option<usize>,
    /// At least 1.
    pub(crate) queue_messages: usize,
    /// At least 1.
    pub(crate) queue_bytes: usize,
}

/// How payloads travel to clients that do not ask for the raw variant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PayloadEncoding {
    Cgi,
    Raw,
}

/// Who gets what the backend publishes, and its responses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Routing {
    /// Everybody what is published, each the responses to its own commands.
    Fanout,
    /// The newest client both.
    Newest,
}

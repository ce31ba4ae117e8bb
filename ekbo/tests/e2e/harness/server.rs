//! What clients need to know of a server under test, whichever program it is.

use super::wire::Wire;

/// A process that clients can open WebSockets to.
pub(crate) trait Server {
    /// What a client writes into `Host`.
    fn host(&self) -> String;

    /// A new connection to it.
    fn wire(&self) -> Wire;
}

//! What is sent and received, and why a session ends. A [`Message`] is encoded once, when it is
//! made, compressed at most once for each window size, and shared by reference count by everybody
//! it goes to.

use std::borrow::Cow;
use std::sync::OnceLock;

use bytes::Bytes;
use kuiperbelt_websocket::{CloseCode, CloseFrame, Deflate, Kind, encode, encode_deflated};

mod windows;

pub(crate) use windows::Windows;

/// A message for clients, ready to be written.
#[derive(Debug, Clone)]
pub struct Message {
    kind: Kind,
    frame: Bytes,
    payload_size: usize,
    /// The compressed frames, by window size; `None` where compression does not pay.
    deflated: OnceLock<Box<[OnceLock<Option<Bytes>>; WINDOWS]>>,
}

/// The window sizes that can be negotiated: 9 to 15 bits.
const WINDOWS: usize = 7;

/// The place of a window size among them.
fn window(deflate: Deflate) -> usize {
    usize::from(deflate.window_bits()) - 9
}

/// The bytes of a text message are not UTF-8, which RFC 6455 section 5.6 demands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("text message is not valid UTF-8")]
pub struct InvalidText;

impl Message {
    /// A text message.
    pub fn text(text: &str) -> Self {
        Self::raw(Kind::Text, text.as_bytes())
    }

    /// A binary message.
    pub fn binary(payload: &[u8]) -> Self {
        Self::raw(Kind::Binary, payload)
    }

    /// A message of either kind.
    ///
    /// # Errors
    ///
    /// Text that is not UTF-8.
    pub fn new(kind: Kind, payload: &[u8]) -> Result<Self, InvalidText> {
        if kind == Kind::Text && std::str::from_utf8(payload).is_err() {
            return Err(InvalidText);
        }
        Ok(Self::raw(kind, payload))
    }

    /// A message whose text nobody has checked. Conforming clients drop the connection on text
    /// that is not UTF-8: meant for setups that have always sent it.
    pub fn raw(kind: Kind, payload: &[u8]) -> Self {
        let frame = encode(kind, payload);
        Self { kind, frame, payload_size: payload.len(), deflated: OnceLock::new() }
    }

    /// Text or binary.
    pub const fn kind(&self) -> Kind {
        self.kind
    }

    /// What was given when the message was made.
    pub fn payload(&self) -> &[u8] {
        &self.frame[self.frame.len() - self.payload_size..]
    }

    /// Whether the form for this client is made already.
    #[cfg(test)]
    fn is_compressed_for(&self, deflate: Deflate) -> bool {
        self.deflated.get().is_some_and(|deflated| deflated[window(deflate)].get().is_some())
    }

    /// The encoded frame, header and payload: compressed for a client that agreed to it, if the
    /// message has at least `min_size` bytes and becomes smaller.
    pub(crate) fn frame(&self, deflate: Option<Deflate>, min_size: usize) -> Bytes {
        let deflated = deflate.filter(|_| self.payload_size >= min_size).and_then(|deflate| {
            let deflated = self.deflated.get_or_init(Box::default);
            deflated[window(deflate)]
                .get_or_init(|| encode_deflated(self.kind, self.payload(), deflate))
                .clone()
        });
        deflated.unwrap_or_else(|| self.frame.clone())
    }
}

/// A message that a client sent: text is valid UTF-8.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Received {
    /// Text or binary.
    pub kind: Kind,
    /// The whole message, its fragments joined.
    pub payload: Bytes,
}

/// The same for others: a message that goes on as it came.
impl From<Received> for Message {
    fn from(received: Received) -> Self {
        Self::raw(received.kind, &received.payload)
    }
}

/// Why a session ended, as its close callback reports it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct End {
    /// The close code; 1005 and 1006 tell that no code, or no close frame, was seen.
    pub code: CloseCode,
    /// The reason: the client's own words, or ours.
    pub reason: Cow<'static, str>,
    /// Whether the handler's `close` is left uncalled for this session.
    pub quiet: bool,
}

impl End {
    /// An end with a reason of ours. A code that must not travel, or a reason beyond 123 bytes,
    /// becomes a close frame without either.
    pub const fn new(code: CloseCode, reason: &'static str) -> Self {
        Self { code, reason: Cow::Borrowed(reason), quiet: false }
    }

    /// The connection ended without a close frame: 1006.
    pub const fn abnormal(reason: &'static str) -> Self {
        Self::new(CloseCode::ABNORMAL, reason)
    }

    /// The same end, of which the handler's `close` is not told.
    #[must_use]
    pub fn quietly(self, quiet: bool) -> Self {
        Self { quiet, ..self }
    }

    /// The close frame that tells the client, if the code may be sent.
    pub(crate) fn frame(&self) -> Option<CloseFrame> {
        CloseFrame::new(self.code, self.reason.clone()).ok()
    }
}

impl From<CloseFrame> for End {
    fn from(frame: CloseFrame) -> Self {
        let (code, reason) = frame.into_parts();
        Self { code, reason: Cow::Owned(reason), quiet: false }
    }
}

//! The body of a request, for whoever answers it. Nearly every body has come with its head; of
//! another the pieces are read when they are asked for.

use std::future::poll_fn;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;
use std::{fmt, io, mem};

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::time::timeout;

use crate::fields::Fields;
use crate::http1::{CONTINUE, Decoder, Framing, InvalidChunk, Wire};

/// How long a client may go on sending a body that nobody wants.
pub(crate) const PATIENCE: Duration = Duration::from_secs(2);

/// A request body. It may be left unread, in whole or in part: the client has its answer all the
/// same, and if it waits for `100 Continue` that is never sent.
pub struct Body(Source);

enum Source {
    Whole(Bytes),
    Arriving(Arc<Mutex<Arriving>>),
}

/// Why a body does not go on.
#[derive(Debug, thiserror::Error)]
pub enum BodyError {
    /// The client has ended its side, or the server has given up the connection.
    #[error("the body ended too early")]
    Ended,
    /// The client does not keep to the chunked coding.
    #[error("malformed body: {0}")]
    Chunk(#[from] InvalidChunk),
    /// The connection is broken.
    #[error("reading the body: {0}")]
    Io(#[from] io::Error),
}

impl Body {
    /// A body that is there.
    pub(crate) const fn whole(bytes: Bytes) -> Self {
        Self(Source::Whole(bytes))
    }

    /// How many bytes are still to come, for all that is known: what is announced, 0 for a body
    /// in chunks.
    pub fn at_least(&self) -> u64 {
        match &self.0 {
            Source::Whole(bytes) => bytes.len() as u64,
            Source::Arriving(arriving) => arriving.lock().decoder.at_least(),
        }
    }

    /// All of it, if it has come whole; otherwise the body, to be read piece by piece.
    ///
    /// # Errors
    ///
    /// The body, when there is more to come.
    pub fn into_whole(self) -> Result<Bytes, Self> {
        match self.0 {
            Source::Whole(bytes) => Ok(bytes),
            Source::Arriving(_) => Err(self),
        }
    }

    /// The next piece, which is never empty, or `None` at the end. Nothing follows an error.
    pub async fn next(&mut self) -> Option<Result<Bytes, BodyError>> {
        poll_fn(|context| self.poll_next(context)).await
    }

    /// The same, for those who wait for other things besides.
    pub fn poll_next(
        &mut self,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Bytes, BodyError>>> {
        match &mut self.0 {
            Source::Whole(bytes) if bytes.is_empty() => Poll::Ready(None),
            Source::Whole(bytes) => Poll::Ready(Some(Ok(mem::take(bytes)))),
            Source::Arriving(arriving) => arriving.lock().poll_next(context),
        }
    }

    /// How many bytes of it are still to come, as it was announced; `None` for a body in chunks.
    pub fn length(&self) -> Option<u64> {
        match &self.0 {
            Source::Whole(bytes) => Some(bytes.len() as u64),
            Source::Arriving(arriving) => match &arriving.lock().decoder {
                Decoder::Length(left) => Some(*left),
                Decoder::Chunked(..) => None,
            },
        }
    }

    /// Whether its client waits for `100 Continue` (RFC 9110 section 10.1.1), which it gets when the
    /// body is read first.
    pub fn awaits_continue(&self) -> bool {
        match &self.0 {
            Source::Whole(_) => false,
            Source::Arriving(arriving) => !arriving.lock().invitation.is_empty(),
        }
    }

    /// The trailer fields (RFC 9112 section 7.1.2) of a body that is read to its end.
    pub fn trailers(&self) -> Fields {
        match &self.0 {
            Source::Whole(_) => Fields::default(),
            Source::Arriving(arriving) => arriving.lock().decoder.trailers(),
        }
    }
}

impl Body {
    /// Reads it to its end for nobody. `false` when there is none within 2 s.
    pub(crate) async fn discard(mut self) -> bool {
        let all = async {
            while let Some(piece) = self.next().await {
                piece?;
            }
            Ok::<_, BodyError>(())
        };
        matches!(timeout(PATIENCE, all).await, Ok(Ok(())))
    }
}

impl fmt::Debug for Body {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Body").field("at_least", &self.at_least()).finish_non_exhaustive()
    }
}

/// A body on its way in, and the wire that it comes on, shared by the one who reads it and the one
/// who goes on with the connection; if the answer is written piece by piece, by a third.
#[derive(Debug)]
pub(crate) struct Arriving {
    /// Gone when the connection goes on.
    wire: Option<Wire>,
    /// How far an answer has come that is written piece by piece.
    pub(crate) progress: Progress,
    /// How many bytes of it the socket has taken.
    pub(crate) sent: u64,
    decoder: Decoder,
    /// What the client is to be sent before it sends the body.
    invitation: &'static [u8],
    /// Whether the body will never be complete.
    is_broken: bool,
}

/// How far an answer has come that is written piece by piece.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Progress {
    #[default]
    NotBegun,
    /// The client has a part of it. Whether only the end of the connection would tell it where the
    /// answer ends.
    Begun { ends_with_connection: bool },
    /// The client has all of it. Whether it may ask for more.
    Complete { is_kept: bool },
    /// The connection is somebody else's.
    Switched,
}

/// What has become of a body when its request is answered.
#[derive(Debug)]
pub(crate) enum Remainder {
    /// It is read to its end.
    None,
    /// More of it comes.
    Some(Decoder),
    /// Where it ends cannot be told, or it is not known whether it comes.
    Unknown,
}

impl Arriving {
    /// The body, and what the connection keeps of it. `is_expected` if the client waits to be told.
    pub(crate) fn share(
        wire: Wire,
        framing: Framing,
        is_expected: bool,
    ) -> (Body, Arc<Mutex<Self>>) {
        let invitation = if is_expected { CONTINUE } else { &[] };
        let arriving = Self::of(wire, Decoder::new(framing), invitation);
        (Body(Source::Arriving(Arc::clone(&arriving))), arriving)
    }

    /// A wire on which nothing of a body is left.
    pub(crate) fn complete(wire: Wire) -> Arc<Mutex<Self>> {
        Self::of(wire, Decoder::Length(0), &[])
    }

    /// A complete body, and no wire.
    #[cfg(feature = "test-util")]
    pub(crate) fn gone() -> Arc<Mutex<Self>> {
        Self::of(None, Decoder::Length(0), &[])
    }

    fn of(
        wire: impl Into<Option<Wire>>,
        decoder: Decoder,
        invitation: &'static [u8],
    ) -> Arc<Mutex<Self>> {
        Arc::new(Mutex::new(Self {
            wire: wire.into(),
            progress: Progress::default(),
            sent: 0,
            decoder,
            invitation,
            is_broken: false,
        }))
    }

    /// The wire, whatever is left on it, until the connection goes on.
    pub(crate) fn wire(&self) -> Option<&Wire> {
        self.wire.as_ref()
    }

    /// Whether the body is read to its end.
    pub(crate) fn is_complete(&self) -> bool {
        self.decoder.is_complete()
    }

    /// The wire, if nothing of the body is left on it.
    pub(crate) fn free_wire(&self) -> Option<&Wire> {
        self.wire.as_ref().filter(|_| self.is_complete())
    }

    /// Takes the wire back, once. Whoever still reads the body has [`BodyError::Ended`].
    pub(crate) fn reclaim(&mut self) -> Option<(Wire, Remainder)> {
        let wire = self.wire.take()?;
        if self.decoder.is_complete() {
            return Some((wire, Remainder::None));
        }
        let is_unknown = self.is_broken || !self.invitation.is_empty();
        // The one in its place is never complete.
        let decoder = mem::replace(&mut self.decoder, Decoder::Length(u64::MAX));
        let remainder = if is_unknown { Remainder::Unknown } else { Remainder::Some(decoder) };
        Some((wire, remainder))
    }

    fn poll_next(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Bytes, BodyError>>> {
        if self.is_broken || self.decoder.is_complete() {
            return Poll::Ready(None);
        }
        let next = ready!(self.poll_piece(context)).transpose();
        self.is_broken = matches!(next, Some(Err(_)));
        Poll::Ready(next)
    }

    fn poll_piece(&mut self, context: &mut Context<'_>) -> Poll<Result<Option<Bytes>, BodyError>> {
        let Some(wire) = &mut self.wire else { return Poll::Ready(Err(BodyError::Ended)) };
        ready!(wire.poll_write(&mut self.invitation, context))?;
        loop {
            if let Some(piece) = self.decoder.next(&mut wire.ahead)? {
                return Poll::Ready(Ok(Some(piece)));
            }
            if self.decoder.is_complete() {
                return Poll::Ready(Ok(None));
            }
            if !ready!(wire.poll_fill(context))? {
                return Poll::Ready(Err(BodyError::Ended));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::UnixStream;

    use super::*;

    fn arriving(framing: Framing, is_expected: bool) -> (Body, Arc<Mutex<Arriving>>, UnixStream) {
        let (here, there) = UnixStream::pair().unwrap();
        let (body, arriving) = Arriving::share(Wire::new(here.into()), framing, is_expected);
        (body, arriving, there)
    }

    #[tokio::test]
    async fn a_body_that_is_there() {
        let mut body = Body::whole("hello".into());
        assert_eq!(body.at_least(), 5);
        assert_eq!(body.next().await.unwrap().unwrap(), "hello");
        assert!(body.next().await.is_none());
        assert_eq!(body.at_least(), 0);
    }

    #[tokio::test]
    async fn a_client_is_invited_when_its_body_is_asked_for() {
        let (mut body, shared, mut client) = arriving(Framing::Length(5), true);
        assert_eq!(body.at_least(), 5);
        let sending = async {
            let mut invitation = vec![0; CONTINUE.len()];
            client.read_exact(&mut invitation).await.unwrap();
            assert_eq!(invitation, CONTINUE);
            client.write_all(b"hellomore").await.unwrap();
        };
        let (piece, ()) = tokio::join!(body.next(), sending);
        assert_eq!(piece.unwrap().unwrap(), "hello");
        assert!(body.next().await.is_none());
        let (wire, remainder) = shared.lock().reclaim().unwrap();
        assert!(matches!(remainder, Remainder::None));
        assert_eq!(wire.ahead, "more");
        assert!(body.next().await.is_none());
    }

    #[tokio::test]
    async fn what_is_left_of_a_body() {
        let (_body, left, _client) = arriving(Framing::Length(5), false);
        assert!(matches!(left.lock().reclaim(), Some((_, Remainder::Some(_)))));
        let (_body, uninvited, _client) = arriving(Framing::Length(5), true);
        assert!(matches!(uninvited.lock().reclaim(), Some((_, Remainder::Unknown))));
        let (mut body, broken, mut client) = arriving(Framing::Chunked, false);
        client.write_all(b"nonsense").await.unwrap();
        assert!(matches!(body.next().await, Some(Err(BodyError::Chunk(_)))));
        assert!(body.next().await.is_none());
        assert!(matches!(broken.lock().reclaim(), Some((_, Remainder::Unknown))));
    }

    #[tokio::test]
    async fn a_body_ends_with_its_connection() {
        let (mut body, _arriving, client) = arriving(Framing::Length(5), false);
        drop(client);
        assert!(matches!(body.next().await, Some(Err(BodyError::Ended))));
        let (mut body, kept, _client) = arriving(Framing::Length(5), false);
        let wire = kept.lock().reclaim();
        assert!(matches!(body.next().await, Some(Err(BodyError::Ended))));
        drop(wire);
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_that_nobody_wants_is_not_waited_for_long() {
        let (body, _arriving, mut client) = arriving(Framing::Length(5), false);
        client.write_all(b"hello").await.unwrap();
        assert!(body.discard().await);
        let (body, _arriving, _client) = arriving(Framing::Length(5), false);
        assert!(!body.discard().await);
    }
}

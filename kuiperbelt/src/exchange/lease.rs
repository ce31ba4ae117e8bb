//! The wire while a request is being answered: who holds it, and whether its client is still there.

use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use http::Version;
use http::header::EXPECT;
use parking_lot::Mutex;
use tokio::time::{Instant, Sleep, sleep};

use super::{Working, is_continue};
use crate::body::{Arriving, Body, Progress, Remainder};
use crate::http1::{Framing, Head, Wire};

/// How long a client that has ended its side, and may have gone, is served by a relay without taking a
/// byte.
pub(super) const LAST_WORDS: Duration = Duration::from_secs(10);

/// How long a request whose client has ended its side may take to be answered. A client that has
/// gone is noticed so much later.
const GRACE: Duration = Duration::from_secs(1);

/// The wire while a request is being answered.
pub(super) enum Lease {
    /// Nothing of the request is left on it.
    Free(Wire),
    /// Whoever answers may read the body from it.
    Shared(Arc<Mutex<Arriving>>),
}

/// Takes the body off the wire, if it is there, or lends the wire to it.
pub(super) fn divide(mut wire: Wire, head: &Head) -> (Body, Lease) {
    if let Framing::Length(length) = head.framing
        && length <= wire.ahead.len() as u64
    {
        let body = wire.ahead.split_to(length as usize);
        return (Body::whole(body), Lease::Free(wire));
    }
    let is_expected =
        head.version >= Version::HTTP_11 && head.fields.get(&EXPECT).is_some_and(is_continue);
    let (body, arriving) = Arriving::share(wire, head.framing, is_expected);
    (body, Lease::Shared(arriving))
}

impl Lease {
    /// The outcome, unless the client hangs up before: then the work is dropped.
    pub(super) async fn unless_hung_up<T>(&self, work: impl Future<Output = T>) -> Option<T> {
        let mut work = pin!(work);
        let mut hangup = Hangup::default();
        poll_fn(|context| {
            if let Poll::Ready(outcome) = work.as_mut().poll(context) {
                return Poll::Ready(Some(outcome));
            }
            self.poll_hangup(&mut hangup, context).map(|()| None)
        })
        .await
    }

    /// The outcome of work that is never dropped, and whether the client has hung up before.
    pub(super) async fn whether_hung_up<T>(&self, work: impl Future<Output = T>) -> (T, bool) {
        let mut work = pin!(work);
        let mut hangup = Hangup::default();
        let mut is_over = false;
        poll_fn(|context| {
            if let Poll::Ready(outcome) = work.as_mut().poll(context) {
                return Poll::Ready((outcome, is_over));
            }
            is_over = is_over || self.poll_hangup(&mut hangup, context).is_ready();
            Poll::Pending
        })
        .await
    }

    /// Waits until the work is done, or its client's connection is lost: then it is dropped, and this
    /// is `false`. So it is when the connection has become a tunnel and `stopped` is ready. A client
    /// that has only ended its side may wait for its answer, as long as it gets something now and then.
    pub(super) async fn until_broken(
        &self,
        work: Working<'_, ()>,
        stopped: impl Future<Output = ()>,
    ) -> bool {
        let Self::Shared(shared) = self else { return false };
        let (mut work, mut stopped) = (work, pin!(stopped));
        let mut ended: Option<(Pin<Box<Sleep>>, u64)> = None;
        poll_fn(|context| {
            if work.as_mut().poll(context).is_ready() {
                return Poll::Ready(true);
            }
            let shared = shared.lock();
            if shared.progress == Progress::Switched {
                return stopped.as_mut().poll(context).map(|()| false);
            }
            let (patience, taken) = match &mut ended {
                Some(ended) => ended,
                None => {
                    let Some(wire) = shared.wire() else { return Poll::Pending };
                    ready!(wire.stream().poll_hangup(context));
                    if wire.stream().is_broken() {
                        return Poll::Ready(false);
                    }
                    ended.insert((Box::pin(sleep(LAST_WORDS)), shared.sent))
                }
            };
            while patience.as_mut().poll(context).is_ready() {
                if *taken == shared.sent {
                    return Poll::Ready(false);
                }
                *taken = shared.sent;
                patience.as_mut().reset(Instant::now() + LAST_WORDS);
            }
            Poll::Pending
        })
        .await
    }

    /// Lets the wire be written by whoever answers.
    pub(super) fn share(self) -> (Self, Arc<Mutex<Arriving>>) {
        let shared = match self {
            Self::Free(wire) => Arriving::complete(wire),
            Self::Shared(shared) => shared,
        };
        (Self::Shared(Arc::clone(&shared)), shared)
    }

    /// How far an answer has come that is written piece by piece.
    pub(super) fn progress(&self) -> Progress {
        match self {
            Self::Free(_) => Progress::NotBegun,
            Self::Shared(shared) => shared.lock().progress,
        }
    }

    /// Whether the client has hung up, which is looked for only behind the request.
    fn poll_hangup(&self, hangup: &mut Hangup, context: &mut Context<'_>) -> Poll<()> {
        match self {
            Self::Free(wire) => hangup.poll(wire, context),
            Self::Shared(arriving) => match arriving.lock().free_wire() {
                Some(wire) => hangup.poll(wire, context),
                None => Poll::Pending,
            },
        }
    }

    /// The wire for what comes next, and what is left of the request on it.
    pub(super) fn reclaim(self) -> Option<(Wire, Remainder)> {
        match self {
            Self::Free(wire) => Some((wire, Remainder::None)),
            Self::Shared(arriving) => arriving.lock().reclaim(),
        }
    }
}

/// Notices that a client has gone. One that has only ended its side, as `printf … | nc` does right
/// behind its request, has a moment to be answered.
#[derive(Default)]
struct Hangup {
    grace: Option<Pin<Box<Sleep>>>,
}

impl Hangup {
    fn poll(&mut self, wire: &Wire, context: &mut Context<'_>) -> Poll<()> {
        let grace = match &mut self.grace {
            Some(grace) => grace,
            None => {
                ready!(wire.stream().poll_hangup(context));
                if wire.stream().is_broken() {
                    return Poll::Ready(());
                }
                // It has asked ahead, and may have said all that it has to say.
                if !wire.ahead.is_empty() {
                    return Poll::Pending;
                }
                self.grace.insert(Box::pin(sleep(GRACE)))
            }
        };
        grace.as_mut().poll(context)
    }
}

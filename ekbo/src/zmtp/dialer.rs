//! One connection after the other to the same peer: when to try again, what the state is, and what
//! is logged of it.

use std::future::Future;
use std::hash::{BuildHasher as _, RandomState};
use std::mem;
use std::pin::Pin;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout};
use tracing::warn;

use super::State;
use super::link::{Link, LinkError, Role};
use super::socket;
use crate::endpoint::Endpoint;

/// The pauses between attempts: they double from the first to the last.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// How long it may take until a connection is accepted, and then until the hands are shaken.
const PATIENCE: Duration = Duration::from_secs(10);

/// A connection that lasted so long was a good one: pauses begin anew, and its end is news.
const STEADY: Duration = Duration::from_secs(1);

/// Makes the connections of one socket.
pub(super) struct Dialer {
    endpoint: Endpoint,
    role: Role,
    limit: usize,
    state: watch::Sender<State>,
    /// Before the next attempt; doubled by each failure.
    pause: Duration,
    attempt: Option<Attempt>,
    ready_since: Instant,
    /// The last thing that was logged.
    complaint: String,
}

type Attempt = Pin<Box<dyn Future<Output = Result<Link, LinkError>> + Send>>;

impl Dialer {
    /// For messages of up to `limit` bytes.
    pub(super) fn new(endpoint: Endpoint, role: Role, limit: usize) -> Self {
        Self {
            endpoint,
            role,
            limit,
            state: watch::Sender::new(State::Down),
            pause: Duration::ZERO,
            attempt: None,
            ready_since: Instant::now(),
            complaint: String::new(),
        }
    }

    pub(super) const fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }

    pub(super) fn state(&self) -> watch::Receiver<State> {
        self.state.subscribe()
    }

    /// A connection, as soon as there is one. The last one must be [`lost`](Self::lost) or
    /// [`dropped`](Self::dropped). Cancel-safe: the attempt goes on with the next call.
    pub(super) async fn connect(&mut self) -> Link {
        loop {
            let attempt = self.attempt.get_or_insert_with(|| {
                let pause = jittered(self.pause);
                let (endpoint, state) = (self.endpoint.clone(), self.state.clone());
                Box::pin(attempt(pause, endpoint, self.role, self.limit, state))
            });
            let outcome = attempt.await;
            self.attempt = None;
            match outcome {
                Ok(link) => {
                    self.ready_since = Instant::now();
                    self.state.send_replace(State::Ready);
                    return link;
                }
                Err(error) => self.fail(&error),
            }
        }
    }

    /// The connection has failed. The next attempt waits for a moment.
    pub(super) fn lost(&mut self, error: &LinkError) {
        if self.ready_since.elapsed() >= STEADY {
            self.pause = Duration::ZERO;
            self.complaint.clear();
        }
        self.fail(error);
    }

    /// The connection was given up by this side. The next attempt is made at once.
    pub(super) fn dropped(&mut self) {
        self.pause = Duration::ZERO;
        self.state.send_replace(State::Down);
    }

    /// Logs a cause once, and not for every attempt.
    fn fail(&mut self, error: &LinkError) {
        self.state.send_if_modified(|state| mem::replace(state, State::Down) != State::Down);
        self.pause = (self.pause * 2).clamp(FIRST_PAUSE, LONGEST_PAUSE);
        let complaint = error.to_string();
        if self.complaint != complaint {
            warn!(endpoint = %self.endpoint, error = %complaint, "no ZeroMQ connection");
            self.complaint = complaint;
        }
    }
}

async fn attempt(
    pause: Duration,
    endpoint: Endpoint,
    role: Role,
    limit: usize,
    state: watch::Sender<State>,
) -> Result<Link, LinkError> {
    sleep(pause).await;
    let connected = timeout(PATIENCE, socket::connect(&endpoint)).await;
    let socket = connected.map_err(|_| LinkError::Unreachable)??;
    state.send_replace(State::Connected);
    let opened = timeout(PATIENCE, Link::open(socket, role, limit)).await;
    opened.map_err(|_| LinkError::Mute)?
}

/// Between half of the pause and the whole, so that not all come back at the same moment.
fn jittered(pause: Duration) -> Duration {
    let random = RandomState::new().hash_one(pause) >> 32;
    pause / 2 + pause.mul_f64(random as f64 / f64::from(u32::MAX) / 2.0)
}

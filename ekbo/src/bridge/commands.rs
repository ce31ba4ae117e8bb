//! What clients ask of the backend: one command after the other, each answered or given up before
//! the next. Those who wait stand in one line; as a client has one command in hand at a time, each
//! gets its turn after everybody who was there before.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::{Mutex, OwnedMutexGuard, watch};
use tokio::task::JoinHandle;
use tokio::time::timeout;

use crate::endpoint::Endpoint;
use crate::zmtp::{RequestError, Requester, State};

/// A bridge's REQ socket, and the line in front of it.
pub(super) struct Commands {
    /// Fair: it is given to whoever has waited longest.
    requester: Arc<Mutex<Requester>>,
    state: watch::Receiver<State>,
    timeout: Duration,
}

impl Commands {
    /// Answers have at most `limit` bytes, and take no longer than `timeout`.
    pub(super) fn open(endpoint: &Endpoint, limit: usize, timeout: Duration) -> Arc<Self> {
        let requester = Requester::open(endpoint, limit);
        let state = requester.state();
        Arc::new(Self { requester: Arc::new(Mutex::new(requester)), state, timeout })
    }

    pub(super) fn state(&self) -> watch::Receiver<State> {
        self.state.clone()
    }

    /// Sends a command when its turn comes, and waits for the answer. To drop the future is to leave
    /// the line; a command that has been sent is waited for all the same, or the next would get its
    /// answer.
    pub(super) async fn ask(self: &Arc<Self>, command: Bytes) -> Result<Bytes, RequestError> {
        let requester = Arc::clone(&self.requester).lock_owned().await;
        self.send(requester, command).await
    }

    /// The same, unless there is no connection when its turn has come, nor within this time.
    pub(super) async fn ask_if_ready(
        self: &Arc<Self>,
        command: Bytes,
        within: Duration,
    ) -> Result<Bytes, RequestError> {
        let requester = Arc::clone(&self.requester).lock_owned().await;
        let mut state = self.state();
        let is_ready = timeout(within, state.wait_for(|state| *state == State::Ready));
        if !is_ready.await.is_ok_and(|outcome| outcome.is_ok()) {
            return Err(RequestError::TimedOut);
        }
        self.send(requester, command).await
    }

    async fn send(
        self: &Arc<Self>,
        mut requester: OwnedMutexGuard<Requester>,
        command: Bytes,
    ) -> Result<Bytes, RequestError> {
        // Who comes when everybody has left finds this socket, and waits as well.
        let commands = Arc::clone(self);
        let outstanding: JoinHandle<_> = tokio::spawn(async move {
            let answer = requester.request(command, commands.timeout).await;
            drop(requester);
            answer
        });
        outstanding.await.unwrap_or(Err(RequestError::Lost))
    }
}

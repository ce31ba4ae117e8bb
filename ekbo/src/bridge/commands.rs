//! What clients ask of the backend: one command after the other, each answered or given up before
//! the next. Those who wait stand in one line; as a client has one command in hand at a time, each
//! gets its turn after everybody who was there before.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::sync::{Mutex as Line, OwnedMutexGuard, watch};
use tokio::task::AbortHandle;
use tokio::time::timeout;

use crate::endpoint::Endpoint;
use crate::zmtp::{RequestError, Requester, State};

/// A bridge's REQ socket, and the line in front of it.
pub(super) struct Commands {
    /// Fair: it is given to whoever has waited longest.
    requester: Arc<Line<Requester>>,
    /// The last command that was sent, whether or not it is answered by now.
    outstanding: Mutex<Option<AbortHandle>>,
    state: watch::Receiver<State>,
    timeout: Duration,
}

impl Commands {
    /// Answers have at most `limit` bytes, and take no longer than `timeout`.
    pub(super) fn open(endpoint: &Endpoint, limit: usize, timeout: Duration) -> Arc<Self> {
        let requester = Requester::open(endpoint, limit);
        let state = requester.state();
        let requester = Arc::new(Line::new(requester));
        Arc::new(Self { requester, outstanding: Mutex::default(), state, timeout })
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

    /// The same for what nobody waits for: it is not sent without a connection, and neither that
    /// nor the answer is waited for longer than `within`.
    pub(super) async fn tell(
        self: &Arc<Self>,
        command: Bytes,
        within: Duration,
    ) -> Result<Bytes, RequestError> {
        let told = async {
            let requester = Arc::clone(&self.requester).lock_owned().await;
            let is_ready = |state: &State| *state == State::Ready;
            self.state().wait_for(is_ready).await.map_err(|_| RequestError::Lost)?;
            self.send(requester, command).await
        };
        timeout(within, told).await.unwrap_or(Err(RequestError::TimedOut))
    }

    /// Gives up the command that is outstanding, if there is one: the next is sent on a connection
    /// of its own.
    pub(super) fn give_up(&self) {
        if let Some(outstanding) = self.outstanding.lock().take() {
            outstanding.abort();
        }
    }

    async fn send(
        self: &Arc<Self>,
        mut requester: OwnedMutexGuard<Requester>,
        command: Bytes,
    ) -> Result<Bytes, RequestError> {
        // Who comes when everybody has left finds this socket, and waits as well.
        let commands = Arc::clone(self);
        let outstanding = tokio::spawn(async move {
            let answer = requester.request(command, commands.timeout).await;
            drop(requester);
            answer
        });
        *self.outstanding.lock() = Some(outstanding.abort_handle());
        outstanding.await.unwrap_or(Err(RequestError::Lost))
    }
}

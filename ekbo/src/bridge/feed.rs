//! What the backend publishes, on its way to the clients: one subscription, however many they are.

use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::task::coop::consume_budget;

use super::clients::Clients;
use super::encoding::Scratch;
use crate::endpoint::Endpoint;
use crate::zmtp::{State, Subscriber};

/// A bridge's SUB socket, open as long as this lives.
pub(super) struct Feed {
    state: watch::Receiver<State>,
    pump: JoinHandle<()>,
}

impl Feed {
    /// Messages have at most `limit` bytes. Those of several parts are several payloads, unless
    /// their parts are to be joined.
    pub(super) fn open(
        endpoint: &Endpoint,
        topics: Vec<Bytes>,
        limit: usize,
        joins_parts: bool,
        clients: Arc<Clients>,
    ) -> Self {
        let subscriber = Subscriber::open(endpoint, topics, limit);
        let state = subscriber.state();
        let pump = tokio::spawn(pump(subscriber, joins_parts, clients));
        Self { state, pump }
    }

    pub(super) fn state(&self) -> watch::Receiver<State> {
        self.state.clone()
    }
}

impl Drop for Feed {
    fn drop(&mut self) {
        self.pump.abort();
    }
}

async fn pump(mut subscriber: Subscriber, joins_parts: bool, clients: Arc<Clients>) {
    let mut scratch = Scratch::default();
    loop {
        for parts in subscriber.next().await {
            let payloads =
                if joins_parts && parts.len() > 1 { vec![parts.concat().into()] } else { parts };
            for payload in payloads {
                clients.publish(&payload, &mut scratch);
                // Those who write have their turn: what comes all at once may be more than waits
                // for a client that reads quickly.
                consume_budget().await;
            }
        }
    }
}

//! SUB: what a peer that is PUB or XPUB publishes.

use bytes::Bytes;
use tokio::sync::watch;
use tracing::warn;

use super::decoder::Excess;
use super::dialer::Dialer;
use super::link::{Incoming, Link, LinkError, Role};
use super::{Message, State};
use crate::endpoint::Endpoint;

/// The most messages that are handed over together.
const BATCH: usize = 1024;

/// Receives what is published under some topics. It has no task: while nobody polls
/// [`next`](Self::next) it does not connect, and the peer is held back. Dropping it closes the
/// connection.
pub(crate) struct Subscriber {
    topics: Vec<Bytes>,
    dialer: Dialer,
    link: Option<Link>,
    /// The limits of which was logged, for this connection, that a message is beyond them.
    exceeded: Vec<Excess>,
}

impl Subscriber {
    /// For messages that begin with one of `topics` and are of up to `limit` bytes; larger ones are
    /// passed over.
    pub(crate) fn open(endpoint: &Endpoint, topics: Vec<Bytes>, limit: usize) -> Self {
        let dialer = Dialer::new(endpoint.clone(), Role::Sub, limit);
        Self { topics, dialer, link: None, exceeded: Vec::new() }
    }

    pub(crate) fn state(&self) -> watch::Receiver<State> {
        self.dialer.state()
    }

    /// The messages that have come since the last call, at least one: connects, subscribes and
    /// waits as need be, for as long as it takes. Cancel-safe.
    pub(crate) async fn next(&mut self) -> Vec<Message> {
        loop {
            let mut messages = Vec::new();
            if let Err(error) = self.collect(&mut messages).await {
                self.link = None;
                self.dialer.lost(&error);
            }
            if !messages.is_empty() {
                return messages;
            }
        }
    }

    /// Waits for something to come, and takes what has come with it.
    async fn collect(&mut self, messages: &mut Vec<Message>) -> Result<(), LinkError> {
        let link = match &mut self.link {
            Some(link) => link,
            None => {
                let mut link = self.dialer.connect().await;
                self.topics.iter().for_each(|topic| link.subscribe(topic));
                self.exceeded.clear();
                self.link.insert(link)
            }
        };
        let mut incoming = Some(link.receive().await?);
        while let Some(next) = incoming {
            match next {
                Incoming::Message(message) => messages.push(message),
                Incoming::Oversized(excess) if !self.exceeded.contains(&excess) => {
                    let endpoint = self.dialer.endpoint();
                    warn!(%endpoint, "a published message is passed over: it has {excess}");
                    self.exceeded.push(excess);
                }
                Incoming::Oversized(_) => {}
            }
            if messages.len() == BATCH {
                break;
            }
            incoming = link.arrived()?;
        }
        Ok(())
    }
}

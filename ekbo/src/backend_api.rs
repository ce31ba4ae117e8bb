//! What the backend asks of us. The answers to `/send`, `/close` and `/stats` are byte for byte
//! those that backends have been written against; those of the other calls have the same shape.
//!
//! Who may ask is in `access.rs`, what an answer looks like in `answer.rs`. The calls: `/send` and
//! `/close` in `delivery.rs`, `/publish` and `/broadcast` in `publish.rs`, `/subscribe` and
//! `/unsubscribe` in `membership.rs`, `/sessions` and `/channels` in `listing.rs`, `/stats` in
//! `stats.rs`.

use std::sync::Arc;
use std::time::Duration;

use http::{HeaderName, StatusCode};
use kuiperbelt::{Answer, Hub};

use crate::secret::Secret;
use crate::text::InvalidTextPolicy;

mod access;
mod answer;
mod body;
mod delivery;
mod idempotency;
mod listing;
mod membership;
mod publish;
mod query;
mod stats;
mod timestamp;

use idempotency::Memory;
pub(crate) use publish::PublishJson;

const CHANNEL: HeaderName = HeaderName::from_static("x-kuiperbelt-channel");

/// How the backend API answers.
#[derive(Debug, Clone)]
pub(crate) struct Config {
    pub(crate) session_header: HeaderName,
    /// Any of them opens the API; without any it is open.
    pub(crate) tokens: Vec<Secret>,
    /// One unknown key, and nothing is done for anyone.
    pub(crate) strict: bool,
    /// For one call, over all its sessions.
    pub(crate) send_timeout: Option<Duration>,
    pub(crate) max_body: usize,
    pub(crate) invalid_text: InvalidTextPolicy,
    pub(crate) close_callback_on_api_close: bool,
}

/// The backend API of a hub.
pub(crate) struct BackendApi {
    hub: Arc<Hub>,
    /// The Rocket hubs beside it, by their paths.
    hubs: Vec<(String, PublishJson)>,
    config: Config,
    sent: Arc<Memory>,
    published: Arc<Memory>,
    broadcasted: Arc<Memory>,
}

impl BackendApi {
    pub(crate) fn new(hub: Arc<Hub>, hubs: Vec<(String, PublishJson)>, config: Config) -> Self {
        let [sent, published, broadcasted] = Default::default();
        Self { hub, hubs, config, sent, published, broadcasted }
    }

    /// `/ping`: we are here.
    pub(crate) fn ping(&self) -> Answer {
        answer::json(StatusCode::OK, answer::OK)
    }
}

#[cfg(test)]
mod tests;

//! The application behind: a relay that sends what no door of ours takes to one HTTP server, and its
//! answers back. What goes out is decided in `upstream/request_head.rs`, what comes back in
//! `answer_head.rs` and `download.rs`; `exchange.rs` moves the bytes of both, and `tunnel.rs` those
//! of another protocol.

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use kuiperbelt::http::StatusCode;
use kuiperbelt::{AnswerWriter, Relay, Request};
use parking_lot::Mutex;
use tokio::time::{Instant, timeout};
use tracing::{debug, warn};

mod account;
mod answer_head;
mod download;
mod exchange;
mod failure;
mod forwarded;
#[cfg(any(fuzzing, test))]
pub(crate) mod fuzzing;
mod hop_by_hop;
mod protocols;
mod request_head;
mod tunnel;
mod upload;

pub(crate) use self::account::Log;
use self::account::{Account, Ledger};
use self::download::Switch;
use self::exchange::{Ended, Exchange, Patience, deliver};
use self::failure::Failure;
use self::request_head::RequestHead;
use self::tunnel::carry;
use self::upload::{Source, room};
use crate::log::url;
use crate::network::Network;
use crate::outbound::{Address, Connector, Keeping, Origin, Pool, Socket};

/// Connections are kept for a shorter time than most servers keep them, so that few requests meet
/// their end.
const KEEPING: Keeping = Keeping { sockets: 256, time: Duration::from_secs(4) };

/// How long a body may stand still, in either direction.
const BODY_PATIENCE: Duration = Duration::from_secs(60);

/// How long an upstream may hesitate to ask for a body whose client waits to be asked.
const INVITATION: Duration = Duration::from_secs(1);

/// How often a want of descriptors is logged at the most.
const WORD_PAUSE: Duration = Duration::from_secs(1);

/// Where requests go, and how.
#[derive(Debug, Clone)]
pub(crate) struct Config {
    pub(crate) address: Address,
    pub(crate) connect_timeout: Duration,
    /// Until the whole head of an answer has come, from when the upstream has the request.
    pub(crate) response_timeout: Duration,
    /// Whose word of where a request comes from counts.
    pub(crate) trusted_proxies: Vec<Network>,
}

/// The way to the upstream, shared by all requests.
pub(crate) struct Upstream {
    config: Config,
    patience: Patience,
    origin: Origin,
    connector: Connector,
    pool: Pool,
    ledger: Arc<Ledger>,
    /// When a want of descriptors was logged last.
    wanting: Mutex<Option<Instant>>,
}

impl Upstream {
    /// `log` is told of every request when it is over.
    pub(crate) fn new(config: Config, log: Option<Log>) -> Arc<Self> {
        let patience = Patience {
            response: config.response_timeout,
            body: BODY_PATIENCE,
            invitation: INVITATION,
        };
        Self::with_patience(config, patience, log)
    }

    fn with_patience(config: Config, patience: Patience, log: Option<Log>) -> Arc<Self> {
        let origin = Origin::of(config.address.uri());
        Arc::new(Self {
            config,
            patience,
            origin,
            connector: Connector::default(),
            pool: Pool::new(KEEPING),
            ledger: Ledger::new(log),
            wanting: Mutex::default(),
        })
    }

    /// What stands behind the doors.
    pub(crate) fn relay(self: &Arc<Self>) -> Relay {
        let upstream = Arc::clone(self);
        Arc::new(move |request, writer| Box::pin(Arc::clone(&upstream).serve(request, writer)))
    }

    /// Has one request answered. What few requests need is boxed: it would lie in the future of each.
    fn serve(
        self: Arc<Self>,
        request: Request,
        mut writer: AnswerWriter,
    ) -> impl Future<Output = ()> + Send {
        let Request { method, target, version, fields, body, peer, is_secure, .. } = request;
        let mut account = self.ledger.open(&method, &target);
        let peer = peer.map(|peer| peer.ip());
        let head = RequestHead { method, target, version, fields, peer, is_secure };
        let mut source = body.into_whole().map_or_else(Source::Arriving, Source::Whole);
        async move {
            match self.exchange(&head, &mut source, &mut writer, &mut account).await {
                Ok(None) => {}
                Ok(Some(tunnel)) => {
                    drop((head, source));
                    Box::pin(tunnel.run(writer, self.patience.body, account)).await;
                }
                Err(failure) => {
                    // What of the answer is only queued is as good as none.
                    let is_cut_off = !writer.withdraw();
                    self.report(&head, &failure, is_cut_off);
                    Box::pin(self.answer(&failure, writer, account)).await;
                }
            }
        }
    }

    /// Tells the client of a failure. Of an answer that is begun it sees that the end is missing.
    async fn answer(&self, failure: &Failure, mut writer: AnswerWriter, mut account: Account) {
        let Some(answer) = failure.answer().filter(|_| !writer.has_begun()) else { return };
        account.answer(&answer);
        let told = timeout(self.patience.body, writer.answer(&answer)).await;
        if let Err(error) = told.unwrap_or_else(|late| Err(late.into())) {
            debug!(error = %error, "upstream request failed");
        }
    }

    /// Sends the request on a kept connection or a new one, and what comes back to the client.
    async fn exchange(
        &self,
        head: &RequestHead,
        source: &mut Source,
        writer: &mut AnswerWriter,
        account: &mut Account,
    ) -> Result<Option<Switched>, Failure> {
        let authority = self.config.address.host_header().as_bytes();
        let is_trusted = self.trusts(head.peer);
        let mut may_be_kept = true;
        loop {
            let mut bytes = room();
            let asked = head.push(authority, is_trusted, &mut bytes)?;
            let kept = if may_be_kept { self.pool.take(&self.origin).await } else { None };
            let is_kept = kept.is_some();
            let socket = match kept {
                Some(socket) => socket,
                None => Box::pin(self.connect()).await?,
            };
            let ends = (&mut *writer, &mut *account);
            let mut exchange = Exchange::new(socket, bytes, source, asked, self.patience, ends);
            match exchange.run().await {
                Ok(()) => {}
                Err(failure)
                    if is_kept
                        && exchange.may_be_repeated(&failure, head.method.is_idempotent()) =>
                {
                    may_be_kept = false;
                    continue;
                }
                Err(failure) => return Err(failure),
            }
            return Ok(match exchange.finish() {
                Ended::Answered(socket) => {
                    // Before the client knows, who may ask for more.
                    if let Some(socket) = socket {
                        self.pool.keep(&self.origin, socket);
                    }
                    deliver(writer, self.patience.body).await?;
                    None
                }
                Ended::Switched(socket, switch) => Some(Switched { socket, switch }),
            });
        }
    }

    async fn connect(&self) -> Result<Socket, Failure> {
        let limit = self.config.connect_timeout;
        let connecting = self.connector.connect(self.config.address.uri());
        let connected = timeout(limit, connecting).await;
        connected.map_err(|_| Failure::ConnectTimeout(limit))?.map_err(Failure::of_connecting)
    }

    /// Logs why a request has no answer, or not all of one.
    fn report(&self, head: &RequestHead, failure: &Failure, is_cut_off: bool) {
        if matches!(failure, Failure::Descriptors(_)) {
            // All requests have the same reason, and there may be very many.
            if self.is_time_for_a_word() {
                warn!(error = %failure, "requests are answered 503: raise the limit of open files");
            }
            return;
        }
        let url = url::shown(&head.target);
        if failure.is_clients() {
            debug!(url = &*url, error = %failure, cut_off = is_cut_off, "upstream request failed");
        } else {
            warn!(url = &*url, error = %failure, cut_off = is_cut_off, "upstream request failed");
        }
    }

    /// Whether nothing was logged of a want of descriptors for long enough. It is from now on.
    fn is_time_for_a_word(&self) -> bool {
        let now = Instant::now();
        let mut last = self.wanting.lock();
        let is_time = last.is_none_or(|last| now - last >= WORD_PAUSE);
        if is_time {
            *last = Some(now);
        }
        is_time
    }

    fn trusts(&self, peer: Option<IpAddr>) -> bool {
        self.config.trusted_proxies.iter().any(|network| network.contains(peer))
    }
}

impl fmt::Debug for Upstream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Upstream")
            .field("config", &self.config)
            .field("answers", &self.ledger.answers().collect::<Vec<_>>())
            .finish_non_exhaustive()
    }
}

/// A connection that becomes a tunnel when the client is told.
struct Switched {
    socket: Socket,
    switch: Box<Switch>,
}

impl Switched {
    /// Tells the client, and carries bytes until both sides have ended.
    async fn run(self, writer: AnswerWriter, patience: Duration, mut account: Account) {
        let Self { socket, switch } = self;
        let Switch { fields, early } = *switch;
        account.status(StatusCode::SWITCHING_PROTOCOLS);
        account.detach();
        let told = writer.switch(fields.iter().map(|(name, value)| (&name[..], &value[..])));
        let told = timeout(patience, told).await.unwrap_or_else(|late| Err(late.into()));
        drop(fields);
        let carried = match told {
            Ok(client) => carry(client, socket, early, patience, &mut account).await,
            Err(error) => Err(error),
        };
        if let Err(error) = carried {
            debug!(error = %error, "tunnel cut off");
        }
    }
}

#[cfg(test)]
mod tests;

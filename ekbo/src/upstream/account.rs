//! What is remembered of a request until it is over: for the log, and for the count of answers.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use kuiperbelt::Answer;
use kuiperbelt::http::{Method, StatusCode};

/// What a request came to.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) method: Method,
    /// As it was written.
    pub(crate) target: Bytes,
    /// `None` if the client has left before there was any.
    pub(crate) status: Option<StatusCode>,
    /// Bytes of the body that were sent, or on their way.
    pub(crate) size: u64,
}

/// Takes the outcome of each request when it is over.
pub(crate) type Log = Box<dyn Fn(&Outcome) + Send + Sync>;

/// What all requests share.
pub(super) struct Ledger {
    log: Option<Log>,
    /// Answers by status, from 100.
    statuses: [AtomicU64; 900],
}

/// The account of one request, which is closed when it is dropped.
pub(super) struct Account {
    outcome: Outcome,
    ledger: Arc<Ledger>,
}

impl Ledger {
    pub(super) fn new(log: Option<Log>) -> Arc<Self> {
        Arc::new(Self { log, statuses: [const { AtomicU64::new(0) }; 900] })
    }

    /// An account of a request that begins.
    pub(super) fn open(self: &Arc<Self>, method: &Method, target: &Bytes) -> Account {
        let outcome =
            Outcome { method: method.clone(), target: target.clone(), status: None, size: 0 };
        Account { outcome, ledger: Arc::clone(self) }
    }

    /// How many answers of which status there were.
    pub(super) fn answers(&self) -> impl Iterator<Item = (u16, u64)> {
        let counts = self.statuses.iter().map(|count| count.load(Ordering::Relaxed));
        (100..).zip(counts).filter(|(_, count)| *count > 0)
    }
}

impl Account {
    pub(super) fn status(&mut self, status: StatusCode) {
        self.outcome.status = Some(status);
    }

    /// It is answered this, and nothing else.
    pub(super) fn answer(&mut self, answer: &Answer) {
        self.outcome.status = Some(answer.status());
        self.outcome.size = answer.body().len() as u64;
    }

    /// So many more bytes of the body are sent.
    pub(super) fn sent(&mut self, bytes: usize) {
        self.outcome.size += bytes as u64;
    }

    /// The request's head is not to be held for the account's sake.
    pub(super) fn detach(&mut self) {
        self.outcome.target = Bytes::copy_from_slice(&self.outcome.target);
    }
}

impl Drop for Account {
    fn drop(&mut self) {
        if let Some(status) = self.outcome.status {
            let place = usize::from(status.as_u16() - 100);
            self.ledger.statuses[place].fetch_add(1, Ordering::Relaxed);
        }
        if let Some(log) = &self.ledger.log {
            log(&self.outcome);
        }
    }
}

impl fmt::Debug for Account {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.outcome.fmt(f)
    }
}

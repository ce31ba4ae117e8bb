//! Every counter and gauge, named and described once. They start at 0 and are read with
//! [`Metric::value`]; how they are shown is the server's business.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// A 64-bit counter or gauge.
#[derive(Debug, Default)]
pub struct Metric(AtomicU64);

impl Metric {
    /// The value now.
    pub fn value(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    /// Adds one.
    pub fn increment(&self) {
        self.add(1);
    }

    /// Adds `count`.
    pub fn add(&self, count: u64) {
        self.0.fetch_add(count, Ordering::Relaxed);
    }

    pub(crate) fn decrement(&self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// The numbers of one hub.
#[derive(Debug, Default)]
pub struct Metrics {
    /// Gauge: open sessions, and requests on WebSocket doors that are not decided yet.
    pub connections: Metric,
    /// Counter: requests on WebSocket doors, also refused ones.
    pub total_connections: Metric,
    /// Counter: first messages, and whatever the server adds for the sends it was asked for.
    pub total_messages: Metric,
    /// Counter: handshakes that failed, other than by a plain "forbidden" of the handler.
    pub connect_errors: Metric,
    /// Counter: messages whose writing to the socket failed or took too long.
    pub message_errors: Metric,
    /// Counter: sessions ended because something was published and their outbox was full.
    pub slow_disconnected: Metric,
    /// Counter: published messages that waited and were dropped for a newer one, published or sent.
    pub slow_dropped_oldest: Metric,
    /// Counter: published messages that were dropped at a full outbox, or for one that waited for room.
    pub slow_dropped_newest: Metric,
    /// Gauge: ended sessions whose handler has not finished its `close`.
    pub closing_connections: Metric,
}

/// Keeps a gauge one higher for as long as it lives.
#[derive(Debug)]
pub(crate) struct Raised {
    metrics: Option<Arc<Metrics>>,
    gauge: fn(&Metrics) -> &Metric,
}

impl Raised {
    pub(crate) fn new(metrics: &Arc<Metrics>, gauge: fn(&Metrics) -> &Metric) -> Self {
        gauge(metrics).increment();
        Self { metrics: Some(Arc::clone(metrics)), gauge }
    }

    /// Leaves it to somebody else to lower the gauge.
    pub(crate) fn keep(mut self) {
        self.metrics = None;
    }
}

impl Drop for Raised {
    fn drop(&mut self) {
        if let Some(metrics) = &self.metrics {
            (self.gauge)(metrics).decrement();
        }
    }
}

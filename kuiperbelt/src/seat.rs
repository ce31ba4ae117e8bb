//! The one place that ends a session and has it told. A [`Seat`] is taken when the handler has
//! admitted a client and its key is in the hub; leaving it frees the key and calls the handler's
//! `close`, once, whichever way the session came to its end.

use std::sync::Arc;
use std::task::{Context, Waker};

use tokio::runtime::Handle;
use tokio_util::task::task_tracker::TaskTrackerToken;
use tracing::info;

use crate::handler::DynHandler;
use crate::hub::Hub;
use crate::message::End;
use crate::metrics::Raised;
use crate::options::Options;
use crate::session::{Session, Terms};

/// What all clients of one door share.
pub(crate) struct Premises {
    pub(crate) hub: Arc<Hub>,
    pub(crate) handler: Arc<dyn DynHandler>,
    pub(crate) options: Options,
    pub(crate) terms: Arc<Terms>,
}

/// What an admitted client holds until its session is over.
pub(crate) struct Seat {
    pub(crate) premises: Arc<Premises>,
    pub(crate) session: Session,
    /// Whether the connection is counted, for as long as somebody listens to the client.
    is_counted: bool,
    is_registered: bool,
    /// Keeps a stop waiting; given on to the handler's `close`.
    unfinished: Option<TaskTrackerToken>,
}

impl Seat {
    /// Registers the session under its key.
    pub(crate) fn take(premises: Arc<Premises>, session: Session, counted: Raised) -> Self {
        let before = premises.hub.admit(&session);
        if let Some(before) = before.filter(|_| premises.options.replace_duplicates) {
            before.end(End::new(kuiperbelt_websocket::CloseCode::NORMAL, "replaced"));
        }
        counted.keep();
        let mut seat = Self::outside(premises, session);
        seat.is_counted = true;
        seat.is_registered = true;
        seat
    }

    /// For a session that was never registered, and is only to be told of.
    pub(crate) fn outside(premises: Arc<Premises>, session: Session) -> Self {
        let unfinished = Some(premises.hub.unfinished());
        Self { premises, session, is_counted: false, is_registered: false, unfinished }
    }

    pub(crate) fn hub(&self) -> &Hub {
        &self.premises.hub
    }

    pub(crate) fn options(&self) -> &Options {
        &self.premises.options
    }

    /// The key means nothing from now on, and nothing is accepted for the session; what its
    /// client has sent may still be read.
    pub(crate) fn detach(&mut self) {
        self.session.refuse();
        if std::mem::take(&mut self.is_registered) {
            self.hub().release(&self.session);
        }
    }

    /// Ends the session and has the handler told, unless an end decided earlier is quiet.
    pub(crate) fn leave(mut self, end: End) {
        self.conclude(end);
    }

    fn conclude(&mut self, end: End) {
        let Some(unfinished) = self.unfinished.take() else {
            return;
        };
        self.detach();
        let end = self.session.conclude(end);
        info!(
            session = %String::from_utf8_lossy(self.session.key()),
            code = end.code.number(),
            reason = %end.reason,
            "connection is closed"
        );
        if std::mem::take(&mut self.is_counted) {
            self.hub().metrics().connections.decrement();
        }
        if end.quiet {
            return;
        }
        let closing = self.hub().closing();
        let mut told = Arc::clone(&self.premises.handler).close(self.session.clone(), end);
        // A handler that has nothing to do needs no task for it. While a panic of its own unwinds,
        // another in here would be the end of the process.
        if !std::thread::panicking()
            && told.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_ready()
        {
            return;
        }
        // Without a runtime nothing can be told any more.
        if let Ok(runtime) = Handle::try_current() {
            runtime.spawn(async move {
                told.await;
                drop(closing);
                drop(unfinished);
            });
        }
    }
}

impl Drop for Seat {
    /// A task that panicked leaves as well.
    fn drop(&mut self) {
        self.conclude(End::abnormal("connection failed"));
    }
}

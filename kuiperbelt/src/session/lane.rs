//! Lanes: sessions with something to write stand in line, and a task per lane writes for one after
//! the other.
//!
//! Whoever sends only queues, so what is sent while a session stands in line leaves in one system
//! call. Batches form when they are worth most, under load: between two stretches of writing the
//! task lets everything else run, such as the next request to send, for which it then makes up by
//! writing as long as that took.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::sync::Arc;
use std::task::{Poll, Waker};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::task::yield_now;
use tokio::time::Instant;

use super::Session;

/// Sessions that are served before others may run.
const STRETCH: usize = 16;

/// A line of sessions.
#[derive(Default)]
pub(crate) struct Lane(Mutex<Line>);

#[derive(Default)]
struct Line {
    sessions: VecDeque<Session>,
    /// The task, when it has nothing to do.
    waker: Option<Waker>,
    /// Nobody will come any more.
    is_closed: bool,
}

impl Lane {
    /// Puts a session at the end of the line.
    pub(super) fn add(&self, session: Session) {
        let waker = {
            let mut line = self.0.lock();
            line.sessions.push_back(session);
            line.waker.take()
        };
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// Serves the line until it is closed.
    pub(crate) async fn serve(self: Arc<Self>) {
        let mut others = Duration::ZERO;
        while let Some(mut sessions) = self.next().await {
            while !sessions.is_empty() {
                let began = Instant::now();
                loop {
                    for session in sessions.drain(..STRETCH.min(sessions.len())) {
                        session.flush(began);
                    }
                    if sessions.is_empty() || began.elapsed() >= others {
                        break;
                    }
                }
                if sessions.is_empty() && self.is_empty() {
                    break;
                }
                let paused = Instant::now();
                yield_now().await;
                others = paused.elapsed();
            }
        }
    }

    /// Ends the task once it has served the line.
    pub(crate) fn close(&self) {
        let waker = {
            let mut line = self.0.lock();
            line.is_closed = true;
            line.waker.take()
        };
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// Everybody in line, when there is somebody; `None` when nobody will come any more.
    async fn next(&self) -> Option<VecDeque<Session>> {
        poll_fn(|context| {
            let mut line = self.0.lock();
            if !line.sessions.is_empty() {
                return Poll::Ready(Some(std::mem::take(&mut line.sessions)));
            }
            if line.is_closed {
                return Poll::Ready(None);
            }
            line.waker = Some(context.waker().clone());
            Poll::Pending
        })
        .await
    }

    fn is_empty(&self) -> bool {
        self.0.lock().sessions.is_empty()
    }
}

//! Lanes: sessions with something to write stand in line, and a task per lane writes for one after
//! the other.
//!
//! Whoever sends only queues, so what is sent while a session stands in line leaves in one system
//! call. Batches form when they are worth most, under load: between two stretches of writing the
//! task lets everything else run, such as the next request to send, for which it then makes up by
//! writing as long as that took.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::task::{Poll, Waker};
use std::time::Duration;

use parking_lot::{Mutex, MutexGuard};
use tokio::runtime::Handle;
use tokio::task::yield_now;
use tokio::time::Instant;

use super::Session;

/// Sessions that are served before others may run.
const STRETCH: usize = 64;

/// The longest that others wait, however long they took.
const LONGEST_STRETCH: Duration = Duration::from_millis(5);

/// The lanes of a hub, as many as worker threads.
pub(crate) struct Lanes {
    /// Known from the first session on: the runtime may not be there before.
    lanes: OnceLock<Box<[Lane]>>,
    /// Whose turn it is to get a session.
    turn: AtomicUsize,
}

/// A line of sessions.
#[derive(Default)]
struct Lane(Mutex<Line>);

#[derive(Default)]
struct Line {
    sessions: VecDeque<Session>,
    is_served: bool,
    /// The task, when it has nothing to do.
    waker: Option<Waker>,
    /// Nobody will come any more.
    is_closed: bool,
}

impl Lanes {
    pub(crate) const fn new() -> Self {
        Self { lanes: OnceLock::new(), turn: AtomicUsize::new(0) }
    }

    /// The lane for one more session.
    pub(super) fn next(&self) -> u16 {
        let turn = self.turn.fetch_add(1, Ordering::Relaxed);
        (turn % self.all().len()) as u16
    }

    /// Puts a session at the end of the line.
    pub(super) fn add(&self, lane: u16, session: Session) {
        let mut line = self.lane(lane).0.lock();
        line.sessions.push_back(session);
        wake(line);
    }

    /// Starts a lane's task, unless it runs.
    pub(super) fn serve(self: &Arc<Self>, lane: u16) {
        let is_served = std::mem::replace(&mut self.lane(lane).0.lock().is_served, true);
        if !is_served {
            let lanes = Arc::clone(self);
            tokio::spawn(async move {
                let serving = Serving(lanes.lane(lane));
                serving.0.serve().await;
            });
        }
    }

    /// Ends the tasks once they have served their lines.
    pub(crate) fn close(&self) {
        for lane in self.lanes.get().into_iter().flatten() {
            let mut line = lane.0.lock();
            line.is_closed = true;
            wake(line);
        }
    }

    fn all(&self) -> &[Lane] {
        self.lanes.get_or_init(|| {
            let workers =
                Handle::try_current().map_or(1, |runtime| runtime.metrics().num_workers());
            (0..workers).map(|_| Lane::default()).collect()
        })
    }

    fn lane(&self, lane: u16) -> &Lane {
        &self.all()[usize::from(lane)]
    }
}

/// A lane's task at work. If it ends before its time, such as with its runtime, the next session
/// that opens starts another.
struct Serving<'a>(&'a Lane);

impl Drop for Serving<'_> {
    fn drop(&mut self) {
        self.0.0.lock().is_served = false;
    }
}

impl Lane {
    /// Serves the line until it is closed.
    async fn serve(&self) {
        let mut sessions = VecDeque::new();
        let mut others = Duration::ZERO;
        while self.next(&mut sessions).await {
            while !sessions.is_empty() {
                serve_for(&mut sessions, others);
                if sessions.is_empty() && self.is_empty() {
                    break;
                }
                let paused = Instant::now();
                yield_now().await;
                others = paused.elapsed().min(LONGEST_STRETCH);
            }
        }
    }

    /// Waits until somebody stands in line, and moves everybody to `sessions`, which is empty.
    /// `false` when nobody will come any more.
    async fn next(&self, sessions: &mut VecDeque<Session>) -> bool {
        poll_fn(|context| {
            let mut line = self.0.lock();
            if !line.sessions.is_empty() {
                std::mem::swap(&mut line.sessions, sessions);
                return Poll::Ready(true);
            }
            if line.is_closed {
                return Poll::Ready(false);
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

/// Serves sessions for so long, and [`STRETCH`] of them at least.
fn serve_for(sessions: &mut VecDeque<Session>, time: Duration) {
    let began = Instant::now();
    loop {
        for _ in 0..STRETCH {
            let Some(session) = sessions.pop_front() else { return };
            session.flush(began);
        }
        if began.elapsed() >= time {
            return;
        }
    }
}

/// Wakes the task, once the line is free for it.
fn wake(mut line: MutexGuard<'_, Line>) {
    let waker = line.waker.take();
    drop(line);
    if let Some(waker) = waker {
        waker.wake();
    }
}

//! Waiting. The one place of the tests that looks at the clock or sleeps.

#![allow(clippy::disallowed_methods, reason = "tests of another process have real time only")]

use std::thread;
use std::time::{Duration, Instant};

/// How long anything that ought to happen may take.
pub(crate) const PATIENCE: Duration = Duration::from_secs(10);

const BETWEEN_LOOKS: Duration = Duration::from_millis(5);

/// Waits until `condition` holds; panics with `what` when it does not within [`PATIENCE`].
#[track_caller]
pub(crate) fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
    eventually_some(what, || condition().then_some(()));
}

/// Waits until `look` finds something, and returns it; panics with `what` after [`PATIENCE`].
#[track_caller]
pub(crate) fn eventually_some<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    match patiently(&mut look) {
        Some(found) => found,
        None => panic!("waited {PATIENCE:?} in vain for: {what}"),
    }
}

/// Waits until `look` finds something, for [`PATIENCE`].
pub(super) fn patiently<T>(mut look: impl FnMut() -> Option<T>) -> Option<T> {
    let patience = Stopwatch::start();
    loop {
        if let Some(found) = look() {
            return Some(found);
        }
        if patience.elapsed() >= PATIENCE {
            return None;
        }
        thread::sleep(BETWEEN_LOOKS);
    }
}

/// Lets time itself pass: only where a time-out of `ekbo` must or must not strike meanwhile.
pub(crate) fn let_pass(time: Duration) {
    thread::sleep(time);
}

/// Measures how long something took.
pub(crate) struct Stopwatch(Instant);

impl Stopwatch {
    pub(crate) fn start() -> Self {
        Self(Instant::now())
    }

    pub(crate) fn elapsed(&self) -> Duration {
        self.0.elapsed()
    }
}

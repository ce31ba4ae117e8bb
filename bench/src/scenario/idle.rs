//! Connections on which nothing is said: what each takes of the server's memory.

use std::time::{Duration, Instant};

use crate::Result;
use crate::scenario::{Outcome, Scenario};
use crate::server::Work;
use crate::trial::{Trial, keys};

/// Changes of less than this are noise.
const TOLERANCE: u64 = 64 * 1024;
const SAMPLE: Duration = Duration::from_millis(250);
const MAX_SETTLING: Duration = Duration::from_secs(60);

pub(crate) struct Idle {
    pub(crate) connections: usize,
    /// How long memory must not change before it is read. Longer than servers keep the
    /// connections to the backend that belong to the handshakes.
    pub(crate) settle: Duration,
}

impl Scenario for Idle {
    fn title(&self) -> String {
        format!("idle, {} connections", self.connections)
    }

    fn rows(&self) -> Vec<&'static str> {
        vec!["bytes per connection"]
    }

    fn work(&self) -> Work {
        Work::Idle
    }

    fn connections(&self) -> usize {
        self.connections
    }

    fn is_steady(&self) -> bool {
        true
    }

    fn measure(&self, trial: &mut Trial<'_>) -> Result<Outcome> {
        let before = settled(trial, self.settle.min(Duration::from_secs(1)))?;
        // That none of them ends is seen while waiting.
        trial.clients(&keys(self.connections))?;
        let after = settled(trial, self.settle)?;
        let each = after.saturating_sub(before) as f64 / self.connections as f64;
        Ok(Outcome { done: self.connections, figures: vec![each], spent: None })
    }
}

/// The server's memory once that has not changed for `steady`.
fn settled(trial: &mut Trial<'_>, steady: Duration) -> Result<u64> {
    let began = Instant::now();
    let (mut settled, mut since) = (trial.memory()?.now, began);
    while since.elapsed() < steady {
        if began.elapsed() > MAX_SETTLING {
            return Err(format!("memory still changes after {MAX_SETTLING:?}").into());
        }
        trial.rest_until(Instant::now() + SAMPLE.min(steady))?;
        let now = trial.memory()?.now;
        if now.abs_diff(settled) > TOLERANCE {
            (settled, since) = (now, Instant::now());
        }
    }
    Ok(trial.memory()?.now)
}

//! Downloads through the proxy by clients who read slowly: what it keeps in memory for them.

use std::time::{Duration, Instant};

use crate::Result;
use crate::scenario::ask::ask;
use crate::scenario::proxy::Request;
use crate::scenario::{Outcome, Quota, Scenario};
use crate::server::Work;
use crate::trial::{Trial, keys};

const MIB: f64 = 1024.0 * 1024.0;
/// Between two reads of a client, of at most 64 KiB: far less than it is sent.
const PAUSE: Duration = Duration::from_millis(200);

pub(crate) struct Slow {
    pub(crate) downloads: usize,
    /// Of each: more than the clients read and the kernel holds for them, so that none ends.
    pub(crate) bytes: usize,
    /// How long is read.
    pub(crate) time: Duration,
}

impl Scenario for Slow {
    fn title(&self) -> String {
        format!("proxy, {} slow downloads of {} MB", self.downloads, self.bytes as f64 / 1e6)
    }

    fn rows(&self) -> Vec<&'static str> {
        vec!["memory above that before, MiB", "most memory above that before, MiB"]
    }

    fn work(&self) -> Work {
        Work::Relay
    }

    fn connections(&self) -> usize {
        self.downloads
    }

    fn is_steady(&self) -> bool {
        true
    }

    fn measure(&self, trial: &mut Trial<'_>) -> Result<Outcome> {
        let clients = trial.clients(&keys(self.downloads))?;
        // Each connection with all that belongs to it is there before.
        let once = Quota { count: self.downloads, time: Duration::ZERO };
        ask(trial, &clients, &Request::Get { answer: 1 }.bytes(), once)?;
        let before = trial.memory()?;
        let request = Request::Get { answer: self.bytes }.bytes();
        for client in &clients {
            trial.stop_reading(*client);
            trial.write(*client, &request)?;
        }
        let end = Instant::now() + self.time;
        while Instant::now() < end {
            trial.rest_until(Instant::now() + PAUSE)?;
            for client in &clients {
                trial.sip(*client)?;
            }
        }
        let after = trial.memory()?;
        let growth = |before: u64, after: u64| after.saturating_sub(before) as f64 / MIB;
        let figures = vec![growth(before.now, after.now), growth(before.most, after.most)];
        Ok(Outcome { done: self.downloads, figures, spent: None })
    }
}

//! Fan-out to sessions of which some never read: what they cost the server's memory, and what the
//! others notice of them. With none stuck it is what to compare that with.

use std::time::Duration;

use crate::Result;
use crate::load::numbered_message;
use crate::random::Random;
use crate::scenario::fanout::{Crowd, Pace};
use crate::scenario::{Outcome, Quota, Scenario};
use crate::server::Work;
use crate::trial::{Trial, keys};

const MIB: f64 = 1024.0 * 1024.0;
/// Servers may wait for those who do not read before they end them; 30 s are common.
const PATIENCE: Duration = Duration::from_secs(40);

pub(crate) struct Stuck {
    pub(crate) sessions: usize,
    /// How many of them never read.
    pub(crate) stuck: usize,
    pub(crate) posts: Quota,
    pub(crate) size: usize,
}

impl Scenario for Stuck {
    fn title(&self) -> String {
        format!("stuck, {} of {} sessions, {} bytes", self.stuck, self.sessions, self.size)
    }

    fn rows(&self) -> Vec<&'static str> {
        vec![
            "CPU s per million deliveries to the others",
            "1,000 deliveries per s to the others",
            "longest pause of the others, ms",
            "most memory above that before, MiB",
        ]
    }

    fn work(&self) -> Work {
        Work::Fanout
    }

    fn connections(&self) -> usize {
        self.sessions
    }

    fn is_steady(&self) -> bool {
        true
    }

    fn patience(&self) -> Option<Duration> {
        Some(PATIENCE)
    }

    fn measure(&self, trial: &mut Trial<'_>) -> Result<Outcome> {
        let mut keys = keys(self.sessions);
        let clients = trial.clients(&keys)?;
        let posters = trial.posters(1)?;
        Random::new().shuffle(&mut keys);
        let post = trial.server().post_to_all(trial.site(), &keys, &numbered_message(0, self.size));
        let (stuck, others) = clients.split_at(self.stuck);
        for line in stuck {
            trial.stop_reading(*line);
        }
        let mut crowd = Crowd::new(others);

        crowd.deliver(trial, &posters, &post, Pace::Stream, self.posts.of_warm_up())?;
        let memory = trial.memory()?.most;
        let window = trial.begin()?;
        let heard = crowd.deliver(trial, &posters, &post, Pace::Stream, self.posts)?;
        let spent = trial.end(&window)?;
        let growth = trial.memory()?.most.saturating_sub(memory);

        let deliveries = heard.deliveries as f64;
        let figures = vec![
            spent.server * 1e6 / deliveries,
            deliveries / 1000.0 / spent.wall,
            heard.longest_pause.as_secs_f64() * 1000.0,
            growth as f64 / MIB,
        ];
        Ok(Outcome { done: heard.deliveries, figures, spent: Some(spent) })
    }
}

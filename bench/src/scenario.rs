//! What is measured about a server. Each scenario is one file in `scenario/`: it drives one server,
//! freshly started for it ([`Trial`]), and returns one figure for each of its rows.

use std::time::{Duration, Instant};

use crate::Result;
use crate::latency::Latencies;
use crate::server::Work;
use crate::trial::{Spent, Trial};

mod ask;
pub(crate) mod bridge;
pub(crate) mod command;
pub(crate) mod connect;
pub(crate) mod download;
pub(crate) mod fanout;
pub(crate) mod idle;
pub(crate) mod proxy;
pub(crate) mod receive;
pub(crate) mod slow;
pub(crate) mod stuck;
pub(crate) mod unicast;

pub(crate) trait Scenario {
    /// What is done, with its numbers: the head of its rows.
    fn title(&self) -> String;

    /// What is measured, with its unit, in the order of [`Outcome::figures`].
    fn rows(&self) -> Vec<&'static str>;

    fn work(&self) -> Work;

    /// How many clients there are at most at a time.
    fn connections(&self) -> usize;

    /// Processors for the server: one of its own, unless there shall be so many, which are then
    /// shared with the load.
    fn shared_cores(&self) -> Option<usize> {
        None
    }

    /// Whether one round is enough: figures that hardly vary, or that are compared with each other
    /// roughly.
    fn is_steady(&self) -> bool {
        false
    }

    /// How long nothing may happen, if not as long as usual.
    fn patience(&self) -> Option<Duration> {
        None
    }

    /// Measures once. An error is the text of the cell: what failed and how far it had come.
    fn measure(&self, trial: &mut Trial<'_>) -> Result<Outcome>;
}

/// How much is measured: so many, or as many as begin within a time. A slow server does less than
/// a fast one, but each does enough.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Quota {
    pub(crate) count: usize,
    pub(crate) time: Duration,
}

impl Quota {
    /// What is done before, unmeasured.
    fn of_warm_up(self) -> Self {
        Self { count: self.count.div_ceil(5), time: self.time / 5 }
    }

    fn begin(self) -> Allowance {
        Allowance { count: self.count, end: Instant::now() + self.time }
    }
}

/// A quota in use.
struct Allowance {
    count: usize,
    end: Instant,
}

impl Allowance {
    /// Whether another one may begin after so many: the first always.
    fn allows(&mut self, begun: usize) -> bool {
        if begun > 0 && begun < self.count && Instant::now() >= self.end {
            self.count = begun;
        }
        begun < self.count
    }
}

/// What one measurement has shown.
#[derive(Clone, Debug)]
pub(crate) struct Outcome {
    /// Pieces of work done in the measured stretch.
    pub(crate) done: usize,
    pub(crate) figures: Vec<f64>,
    /// By whom processors were used meanwhile; `None` if that says nothing.
    pub(crate) spent: Option<Spent>,
}

impl Outcome {
    /// Answers for each second of the server's processor and of the clock, and the latencies of
    /// half and of nearly all of them, in milliseconds.
    fn of_answers(mut latencies: Latencies, spent: Spent) -> Self {
        let done = latencies.count();
        let figures = vec![
            done as f64 / spent.server,
            done as f64 / spent.wall,
            latencies.percentile(50),
            latencies.percentile(99),
        ];
        Self { done, figures, spent: Some(spent) }
    }
}

//! Large answers through the proxy, one at a time.

use crate::Result;
use crate::scenario::ask::ask;
use crate::scenario::proxy::Request;
use crate::scenario::{Outcome, Quota, Scenario};
use crate::server::Work;
use crate::trial::{Trial, keys};

const MEGABYTE: f64 = 1e6;

pub(crate) struct Download {
    pub(crate) bytes: usize,
    pub(crate) downloads: Quota,
}

impl Scenario for Download {
    fn title(&self) -> String {
        format!("proxy, one download of {} MB at a time", self.bytes as f64 / MEGABYTE)
    }

    fn rows(&self) -> Vec<&'static str> {
        vec!["MB per CPU s", "MB per s"]
    }

    fn work(&self) -> Work {
        Work::Relay
    }

    fn connections(&self) -> usize {
        1
    }

    fn measure(&self, trial: &mut Trial<'_>) -> Result<Outcome> {
        let clients = trial.clients(&keys(1))?;
        let request = Request::Get { answer: self.bytes }.bytes();
        ask(trial, &clients, &request, self.downloads.of_warm_up())?;
        let window = trial.begin()?;
        let done = ask(trial, &clients, &request, self.downloads)?.count();
        let spent = trial.end(&window)?;
        let megabytes = (done * self.bytes) as f64 / MEGABYTE;
        let figures = vec![megabytes / spent.server, megabytes / spent.wall];
        Ok(Outcome { done, figures, spent: Some(spent) })
    }
}

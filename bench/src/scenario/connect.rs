//! Handshakes through the connect callback: each connection is opened, answered and closed, with
//! some under way at a time.

use crate::Result;
use crate::load::Event;
use crate::scenario::{Outcome, Quota, Scenario};
use crate::server::Work;
use crate::trial::{Trial, keys};

/// Handshakes under way at a time.
const UNDER_WAY: usize = 32;
/// Keys go round: a client that comes back has its old one.
const KEYS: usize = 10_000;

pub(crate) struct Connect {
    pub(crate) handshakes: Quota,
}

impl Scenario for Connect {
    fn title(&self) -> String {
        "connect through the callback".to_owned()
    }

    fn rows(&self) -> Vec<&'static str> {
        vec!["CPU s per 100,000 handshakes"]
    }

    fn work(&self) -> Work {
        Work::Connect
    }

    fn connections(&self) -> usize {
        UNDER_WAY
    }

    fn measure(&self, trial: &mut Trial<'_>) -> Result<Outcome> {
        let keys = keys(KEYS);
        open_and_close(trial, &keys, self.handshakes.of_warm_up())?;
        let window = trial.begin()?;
        let done = open_and_close(trial, &keys, self.handshakes)?;
        let spent = trial.end(&window)?;
        let cost = spent.server * 1e5 / done as f64;
        Ok(Outcome { done, figures: vec![cost], spent: Some(spent) })
    }
}

/// Returns how many it has opened and closed.
fn open_and_close(trial: &mut Trial<'_>, keys: &[String], quota: Quota) -> Result<usize> {
    let mut allowance = quota.begin();
    let (mut opened, mut closed) = (0, 0);
    loop {
        while opened < closed + UNDER_WAY && allowance.allows(opened) {
            trial.client(&keys[opened % keys.len()])?;
            opened += 1;
        }
        if closed == opened {
            return Ok(closed);
        }
        let event = trial
            .next()
            .map_err(|error| format!("{error} (after {closed} of {} handshakes)", quota.count))?;
        match event {
            Event::Ready(line) => {
                trial.close(line);
                closed += 1;
            }
            event => return Err(format!("unexpected from a new client: {event:?}").into()),
        }
    }
}

//! Clients whose messages become callbacks: each sends the next one as soon as the last has
//! arrived at the backend, which answers 200 with nothing in it.

use crate::Result;
use crate::load::{Event, Line, numbered_message};
use crate::scenario::{Outcome, Quota, Scenario};
use crate::server::Work;
use crate::trial::{Trial, keys};

pub(crate) struct Receive {
    pub(crate) clients: usize,
    pub(crate) messages: Quota,
    pub(crate) size: usize,
}

impl Scenario for Receive {
    fn title(&self) -> String {
        format!("receive, {} clients", self.clients)
    }

    fn rows(&self) -> Vec<&'static str> {
        vec!["CPU s per 100,000 callbacks"]
    }

    fn work(&self) -> Work {
        Work::Receive
    }

    fn connections(&self) -> usize {
        self.clients
    }

    fn measure(&self, trial: &mut Trial<'_>) -> Result<Outcome> {
        let clients = trial.clients(&keys(self.clients))?;
        let messages: Vec<_> = (0..self.clients)
            .map(|n| trial.server().client_message(&numbered_message(n, self.size)))
            .collect();
        exchange(trial, &clients, &messages, self.messages.of_warm_up())?;
        let window = trial.begin()?;
        let done = exchange(trial, &clients, &messages, self.messages)?;
        let spent = trial.end(&window)?;
        let cost = spent.server * 1e5 / done as f64;
        Ok(Outcome { done, figures: vec![cost], spent: Some(spent) })
    }
}

/// Returns how many messages were sent and have all arrived.
fn exchange(
    trial: &mut Trial<'_>,
    clients: &[Line],
    messages: &[Vec<u8>],
    quota: Quota,
) -> Result<usize> {
    let mut allowance = quota.begin();
    let mut under_way = vec![false; clients.len()];
    let (mut sent, mut received) = (0, 0);
    for n in 0..clients.len().min(quota.count) {
        trial.write(clients[n], &messages[n])?;
        under_way[n] = true;
        sent += 1;
    }
    while received < sent {
        let event = trial
            .next()
            .map_err(|error| format!("{error} (after {received} of {} callbacks)", quota.count))?;
        match event {
            Event::Received(n) => {
                if !under_way.get_mut(n).is_some_and(std::mem::take) {
                    return Err(format!("a message of client {n} arrived twice").into());
                }
                received += 1;
                if allowance.allows(sent) {
                    trial.write(clients[n], &messages[n])?;
                    under_way[n] = true;
                    sent += 1;
                }
            }
            event => return Err(format!("unexpected while sending: {event:?}").into()),
        }
    }
    Ok(received)
}

//! What the backend publishes over ZeroMQ to all clients of a bridge, as fast as the slowest of
//! them reads: never so much at a time that a bridge would drop any.

use std::collections::VecDeque;

use crate::Result;
use crate::load::{Event, Line, zmtp};
use crate::random::Random;
use crate::scenario::{Outcome, Quota, Scenario};
use crate::server::{Encoding, Work};
use crate::trial::{Trial, keys};

/// Messages that are written to the socket at a time.
const BATCH: usize = 64;
/// Batches that not everybody has: half as many messages as may wait for a client.
const UNDER_WAY: usize = 8;

pub(crate) struct Bridge {
    pub(crate) encoding: Encoding,
    pub(crate) clients: usize,
    /// Rounded up to whole batches for everybody.
    pub(crate) deliveries: Quota,
    pub(crate) size: usize,
}

impl Encoding {
    pub(super) fn title(self) -> &'static str {
        match self {
            Self::Cgi => "cgi",
            Self::Raw => "raw",
        }
    }
}

impl Scenario for Bridge {
    fn title(&self) -> String {
        let clients = match self.clients {
            1 => "1 client".to_owned(),
            many => format!("{many} clients"),
        };
        format!("bridge, {}, {clients}, {} bytes", self.encoding.title(), self.size)
    }

    fn rows(&self) -> Vec<&'static str> {
        vec!["messages per CPU s", "deliveries per CPU s", "messages per s"]
    }

    fn work(&self) -> Work {
        Work::Bridge(self.encoding)
    }

    fn connections(&self) -> usize {
        self.clients
    }

    fn measure(&self, trial: &mut Trial<'_>) -> Result<Outcome> {
        let clients = joined(trial, self.clients)?;
        let publisher = trial.subscriber()?;
        let batch = zmtp::message(&Random::new().bytes(self.size)).repeat(BATCH);
        let mut audience = Audience::new(clients.iter().map(|line| line.number()));
        let Quota { count, time } = self.deliveries;
        let batches = Quota { count: count.div_ceil(self.clients * BATCH), time };

        audience.deliver(trial, publisher, &batch, batches.of_warm_up())?;
        let window = trial.begin()?;
        let messages = audience.deliver(trial, publisher, &batch, batches)?;
        let spent = trial.end(&window)?;

        let each = messages as f64 / spent.server;
        let figures = vec![each, each * self.clients as f64, messages as f64 / spent.wall];
        Ok(Outcome { done: messages * self.clients, figures, spent: Some(spent) })
    }
}

/// Opens so many clients, and returns when all belong to the bridge: whose command is answered
/// does.
pub(super) fn joined(trial: &mut Trial<'_>, count: usize) -> Result<Vec<Line>> {
    let clients = trial.clients(&keys(count))?;
    let command = trial.server().client_message(b"handshake");
    for client in &clients {
        trial.write(*client, &command)?;
    }
    let mut answered = 0;
    while answered < count {
        let event = trial
            .next()
            .map_err(|error| format!("{error} (after {answered} of {count} clients had joined)"))?;
        match event {
            Event::Messages { count, .. } => answered += count,
            event => return Err(format!("unexpected while joining: {event:?}").into()),
        }
    }
    Ok(clients)
}

/// The clients, and how many messages each of them has got.
struct Audience {
    /// By the number of the line; `None` for what is not a client.
    got: Vec<Option<usize>>,
    clients: usize,
    /// Batches that everybody has.
    done: usize,
    /// By whom each of the batches after those was got completely.
    completed: VecDeque<usize>,
}

impl Audience {
    /// Of lines with these numbers.
    fn new(clients: impl Iterator<Item = usize> + Clone) -> Self {
        let mut got = vec![None; clients.clone().max().map_or(0, |greatest| greatest + 1)];
        for number in clients.clone() {
            got[number] = Some(0);
        }
        Self { got, clients: clients.count(), done: 0, completed: VecDeque::new() }
    }

    /// Publishes, and returns the number of messages when everybody has got all of them.
    fn deliver(
        &mut self,
        trial: &mut Trial<'_>,
        publisher: Line,
        batch: &[u8],
        quota: Quota,
    ) -> Result<usize> {
        let mut allowance = quota.begin();
        let mut published = 0;
        loop {
            while self.completed.len() < UNDER_WAY && allowance.allows(published) {
                trial.write(publisher, batch)?;
                self.completed.push_back(0);
                published += 1;
            }
            if self.completed.is_empty() {
                return Ok(published * BATCH);
            }
            let event = trial.next().map_err(|error| {
                let done = published - self.completed.len();
                format!(
                    "{error} (everybody had got {} of {} messages)",
                    done * BATCH,
                    quota.count * BATCH
                )
            })?;
            match event {
                Event::Messages { line, count, .. } => self.take(line.number(), count)?,
                event => return Err(format!("unexpected while publishing: {event:?}").into()),
            }
        }
    }

    /// Somebody has got so many more.
    fn take(&mut self, number: usize, count: usize) -> Result<()> {
        let Some(Some(got)) = self.got.get_mut(number) else {
            return Err("somebody else has got a message".into());
        };
        let before = *got / BATCH;
        *got += count;
        for batch in before..*got / BATCH {
            match self.completed.get_mut(batch - self.done) {
                Some(clients) => *clients += 1,
                None => return Err("a client has got more than was published".into()),
            }
        }
        while self.completed.front() == Some(&self.clients) {
            self.completed.pop_front();
            self.done += 1;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_batch_is_done_when_the_slowest_has_it() {
        let mut audience = Audience::new([3, 5].into_iter());
        audience.completed.extend([0, 0, 0]);
        audience.take(3, 3 * BATCH - 1).unwrap();
        audience.take(5, BATCH - 1).unwrap();
        assert_eq!((audience.done, audience.completed.len()), (0, 3));
        audience.take(5, BATCH).unwrap();
        assert_eq!((audience.done, audience.completed.len()), (1, 2));
        audience.take(3, 1).unwrap();
        audience.take(5, BATCH + 1).unwrap();
        assert_eq!((audience.done, audience.completed.len()), (3, 0));
    }

    #[test]
    fn what_was_not_published_or_is_for_nobody_is_an_error() {
        let mut audience = Audience::new([1].into_iter());
        audience.completed.extend([0]);
        audience.take(1, BATCH).unwrap();
        assert!(audience.take(1, BATCH).is_err());
        assert!(audience.take(0, 1).is_err());
        assert!(audience.take(2, 1).is_err());
    }
}

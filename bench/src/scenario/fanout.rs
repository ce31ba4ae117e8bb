//! A backend that posts each message to all sessions. *Stream*: the next post as soon as the last
//! was answered. *Barrier*: the next when everybody has the last.

use std::time::{Duration, Instant};

use crate::Result;
use crate::latency::Latencies;
use crate::load::{Event, Line, numbered_message};
use crate::random::Random;
use crate::scenario::{Outcome, Quota, Scenario};
use crate::server::Work;
use crate::trial::{Trial, keys};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Pace {
    Stream,
    Barrier,
}

pub(crate) struct Fanout {
    pub(crate) pace: Pace,
    pub(crate) sessions: usize,
    /// Connections that post, each when its last post was answered.
    pub(crate) posters: usize,
    /// Rounded up to whole posts.
    pub(crate) deliveries: Quota,
    pub(crate) size: usize,
    pub(crate) shared_cores: Option<usize>,
}

impl Scenario for Fanout {
    fn title(&self) -> String {
        let pace = match self.pace {
            Pace::Stream => "stream",
            Pace::Barrier => "barrier",
        };
        let cores = match self.shared_cores {
            Some(count) => format!(", server on {count} cores"),
            None => String::new(),
        };
        let posters = match self.posters {
            1 => String::new(),
            several => format!(", {several} posters"),
        };
        format!("fanout {pace}, {} sessions{posters}{cores}", self.sessions)
    }

    fn rows(&self) -> Vec<&'static str> {
        match self.pace {
            Pace::Stream => vec!["CPU s per million deliveries", "1,000 deliveries per s"],
            Pace::Barrier => {
                vec!["CPU s per million deliveries", "delivery p50, ms", "delivery p99, ms"]
            }
        }
    }

    fn work(&self) -> Work {
        Work::Fanout
    }

    fn connections(&self) -> usize {
        self.sessions
    }

    fn shared_cores(&self) -> Option<usize> {
        self.shared_cores
    }

    fn measure(&self, trial: &mut Trial<'_>) -> Result<Outcome> {
        let mut keys = keys(self.sessions);
        let clients = trial.clients(&keys)?;
        let posters = trial.posters(self.posters)?;
        Random::new().shuffle(&mut keys);
        let post = trial.server().post_to_all(trial.site(), &keys, &numbered_message(0, self.size));
        let mut crowd = Crowd::new(&clients);
        let Quota { count, time } = self.deliveries;
        let posts = Quota { count: count.div_ceil(self.sessions), time };

        crowd.deliver(trial, &posters, &post, self.pace, posts.of_warm_up())?;
        let window = trial.begin()?;
        let mut heard = crowd.deliver(trial, &posters, &post, self.pace, posts)?;
        let spent = trial.end(&window)?;

        let deliveries = heard.deliveries as f64;
        let cost = spent.server * 1e6 / deliveries;
        let figures = match self.pace {
            Pace::Stream => vec![cost, deliveries / 1000.0 / spent.wall],
            Pace::Barrier => {
                vec![cost, heard.latencies.percentile(50), heard.latencies.percentile(99)]
            }
        };
        Ok(Outcome { done: heard.deliveries, figures, spent: Some(spent) })
    }
}

/// The clients who listen, and how many messages each of them has got.
pub(super) struct Crowd {
    /// By the number of the line; `None` for what is not a client.
    got: Vec<Option<usize>>,
    clients: usize,
    /// Messages that everybody shall have.
    due: usize,
}

/// How it went.
#[derive(Default)]
pub(super) struct Heard {
    pub(super) deliveries: usize,
    /// From a post to each delivery, if each post waits for the last one's deliveries.
    pub(super) latencies: Latencies,
    /// The longest time without any delivery, from the first post on.
    pub(super) longest_pause: Duration,
}

impl Crowd {
    pub(super) fn new(clients: &[Line]) -> Self {
        let size = clients.iter().map(|line| line.number() + 1).max().unwrap_or_default();
        let mut got = vec![None; size];
        for client in clients {
            got[client.number()] = Some(0);
        }
        Self { got, clients: clients.len(), due: 0 }
    }

    /// Posts, and returns when everybody has got every message exactly once.
    pub(super) fn deliver(
        &mut self,
        trial: &mut Trial<'_>,
        posters: &[Line],
        post: &[u8],
        pace: Pace,
        quota: Quota,
    ) -> Result<Heard> {
        let mut allowance = quota.begin();
        let mut free = posters.to_vec();
        let (mut posted, mut answered, mut delivered) = (0, 0, 0);
        let mut posted_at = Instant::now();
        let mut last_delivery = posted_at;
        let mut heard = Heard::default();
        loop {
            while (pace == Pace::Stream || delivered == posted * self.clients)
                && !free.is_empty()
                && allowance.allows(posted)
            {
                let Some(poster) = free.pop() else { break };
                posted += 1;
                self.due += 1;
                posted_at = Instant::now();
                trial.write(poster, post)?;
            }
            if answered == posted && delivered == posted * self.clients {
                heard.deliveries = delivered;
                return Ok(heard);
            }
            let event = trial.next().map_err(|error| {
                format!(
                    "{error} (after {answered} of {} posts were answered and {delivered} of {} \
                     messages delivered)",
                    quota.count,
                    posted * self.clients
                )
            })?;
            match event {
                Event::Answered { line, count } => {
                    answered += count;
                    free.push(line);
                }
                Event::Messages { line, count, at } => {
                    let Some(Some(got)) = self.got.get_mut(line.number()) else {
                        return Err("somebody else has got a message".into());
                    };
                    *got += count;
                    if *got > self.due {
                        return Err(
                            format!("a client has got {got} of {} messages", self.due).into()
                        );
                    }
                    delivered += count;
                    heard.longest_pause = heard.longest_pause.max(at - last_delivery);
                    last_delivery = at;
                    if pace == Pace::Barrier {
                        // One for each, since nobody has more than one to come.
                        heard.latencies.add(at - posted_at);
                    }
                }
                event => return Err(format!("unexpected while posting: {event:?}").into()),
            }
        }
    }
}

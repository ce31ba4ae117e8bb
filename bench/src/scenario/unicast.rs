//! Posters on kept connections, each of which posts to one session chosen at random, and again as
//! soon as it was answered.

use std::collections::VecDeque;
use std::time::Instant;

use crate::Result;
use crate::latency::Latencies;
use crate::load::{Event, Line, numbered_message};
use crate::random::Random;
use crate::scenario::{Outcome, Quota, Scenario};
use crate::server::Work;
use crate::trial::{Trial, keys};

pub(crate) struct Unicast {
    pub(crate) sessions: usize,
    pub(crate) posters: usize,
    pub(crate) posts: Quota,
    pub(crate) size: usize,
}

impl Scenario for Unicast {
    fn title(&self) -> String {
        format!("unicast, {} sessions, {} posters", self.sessions, self.posters)
    }

    fn rows(&self) -> Vec<&'static str> {
        vec!["CPU s per 100,000 sends", "delivery p50, ms", "delivery p99, ms"]
    }

    fn work(&self) -> Work {
        Work::Unicast
    }

    fn connections(&self) -> usize {
        self.sessions
    }

    fn measure(&self, trial: &mut Trial<'_>) -> Result<Outcome> {
        let keys = keys(self.sessions);
        let clients = trial.clients(&keys)?;
        let posters = trial.posters(self.posters)?;
        let message = numbered_message(0, self.size);
        let posts = keys
            .iter()
            .map(|key| trial.server().post_to_one(trial.site(), key, &message))
            .collect();
        let mut mail = Mail::new(posts, clients);

        mail.deliver(trial, &posters, self.posts.of_warm_up())?;
        mail.latencies = Latencies::default();
        let window = trial.begin()?;
        let done = mail.deliver(trial, &posters, self.posts)?;
        let spent = trial.end(&window)?;

        let cost = spent.server * 1e5 / done as f64;
        let (p50, p99) = (mail.latencies.percentile(50), mail.latencies.percentile(99));
        Ok(Outcome { done, figures: vec![cost, p50, p99], spent: Some(spent) })
    }
}

struct Mail {
    /// The post to each client.
    posts: Vec<Vec<u8>>,
    clients: Vec<Line>,
    /// By the number of the line: when each message that is still to come was posted.
    under_way: Vec<VecDeque<Instant>>,
    latencies: Latencies,
    random: Random,
}

impl Mail {
    fn new(posts: Vec<Vec<u8>>, clients: Vec<Line>) -> Self {
        let size = clients.iter().map(|line| line.number() + 1).max().unwrap_or_default();
        let under_way = vec![VecDeque::new(); size];
        Self { posts, clients, under_way, latencies: Latencies::default(), random: Random::new() }
    }

    /// Returns how many messages were posted and have all arrived.
    fn deliver(&mut self, trial: &mut Trial<'_>, posters: &[Line], quota: Quota) -> Result<usize> {
        let mut allowance = quota.begin();
        let (mut posted, mut answered, mut delivered) = (0, 0, 0);
        for poster in posters.iter().take(quota.count) {
            self.post(trial, *poster)?;
            posted += 1;
        }
        while answered < posted || delivered < posted {
            let event = trial.next().map_err(|error| {
                format!(
                    "{error} (after {answered} of {} posts were answered and {delivered} messages \
                     delivered)",
                    quota.count
                )
            })?;
            match event {
                Event::Answered { line, count } => {
                    answered += count;
                    if allowance.allows(posted) {
                        self.post(trial, line)?;
                        posted += 1;
                    }
                }
                Event::Messages { line, count, at } => {
                    for _ in 0..count {
                        let began = self.under_way.get_mut(line.number());
                        let Some(began) = began.and_then(VecDeque::pop_front) else {
                            return Err("a client has got a message for somebody else".into());
                        };
                        self.latencies.add(at - began);
                    }
                    delivered += count;
                }
                event => return Err(format!("unexpected while posting: {event:?}").into()),
            }
        }
        Ok(delivered)
    }

    fn post(&mut self, trial: &mut Trial<'_>, poster: Line) -> Result<()> {
        let receiver = self.random.below(self.clients.len());
        self.under_way[self.clients[receiver].number()].push_back(Instant::now());
        trial.write(poster, &self.posts[receiver])
    }
}

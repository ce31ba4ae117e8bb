//! When a client is pinged, and when it has been silent for too long. Times alone: what is sent and
//! what ends is the connection's.

use std::time::Duration;

use tokio::time::Instant;

use crate::options::Options;

/// No pings come faster than what timers can tell apart.
const SHORTEST_INTERVAL: Duration = Duration::from_millis(1);

/// Nothing that is due is looked at so much later, unless the whole process stood still.
const STANDSTILL: Duration = Duration::from_secs(1);

/// The header of a client's pong: two bytes, and the four of its mask.
const PONG_HEADER: usize = 6;

/// The pings of one connection, and the silence of its client.
pub(super) struct Pings {
    /// Between two pings, and when the next is due.
    interval: Option<(Duration, Instant)>,
    /// How many were due.
    number: u64,
    /// How long the client may be silent.
    patience: Option<Duration>,
    /// Since when there has been nothing to read. `None` while there is, or while nothing is read
    /// because the handler is behind.
    silent_since: Option<Instant>,
    /// Of what is being read.
    pong_bytes: usize,
}

impl Pings {
    /// Nothing where the door neither pings nor listens for silence, so that no connection there
    /// has anything of it.
    pub(super) fn new(options: &Options, now: Instant) -> Option<Box<Self>> {
        let interval = options.ping_interval.map(|interval| interval.max(SHORTEST_INTERVAL));
        if interval.is_none() && options.pong_timeout.is_none() {
            return None;
        }
        Some(Box::new(Self {
            interval: interval.map(|interval| (interval, now + interval)),
            number: 0,
            patience: options.pong_timeout,
            silent_since: None,
            pong_bytes: 0,
        }))
    }

    /// There is nothing to read.
    pub(super) fn waits(&mut self) {
        if self.patience.is_some() {
            self.silent_since.get_or_insert_with(Instant::now);
        }
    }

    /// Nothing is read for now, whatever there is.
    pub(super) fn holds_back(&mut self) {
        self.silent_since = None;
    }

    /// A pong was read, with so many bytes of payload.
    pub(super) fn pong(&mut self, payload: usize) {
        self.pong_bytes += PONG_HEADER + payload;
    }

    /// So many bytes were read. Whether more than pongs, where we ask for such.
    pub(super) fn read(&mut self, size: usize) -> bool {
        self.silent_since = None;
        let pong_bytes = std::mem::take(&mut self.pong_bytes);
        self.interval.is_none() || size > pong_bytes
    }

    /// When something is to be done.
    pub(super) fn due(&self) -> Option<Instant> {
        let next = self.interval.map(|(_, next)| next);
        [next, self.silence_due()].into_iter().flatten().min()
    }

    /// Takes note if nothing was done for long about what is due, because this process or its whole
    /// machine stood still: what the client had to say meanwhile is no measure, nor could it be
    /// asked. The silence begins anew, and the next ping is due at once. Returns whether it was so.
    pub(super) fn stood_still(&mut self, now: Instant) -> bool {
        if self.due().is_none_or(|due| due + STANDSTILL > now) {
            return false;
        }
        if let Some((_, next)) = &mut self.interval {
            *next = now;
        }
        if let Some(since) = &mut self.silent_since {
            *since = now;
        }
        true
    }

    /// Whether the client has been silent for too long.
    pub(super) fn is_silent(&self, now: Instant) -> bool {
        self.silence_due().is_some_and(|due| due <= now)
    }

    /// The number of the ping that is due, if one is. Those that were missed are left out: a
    /// process that stood still has no need of several at once.
    pub(super) fn next(&mut self, now: Instant) -> Option<u64> {
        let (interval, next) = self.interval.as_mut()?;
        if *next > now {
            return None;
        }
        *next += *interval;
        if *next <= now {
            *next = now + *interval;
        }
        self.number += 1;
        Some(self.number)
    }

    fn silence_due(&self) -> Option<Instant> {
        Some(self.silent_since? + self.patience?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn pings(interval: Option<Duration>, timeout: Option<Duration>, now: Instant) -> Pings {
        let options =
            Options { ping_interval: interval, pong_timeout: timeout, ..Options::default() };
        *Pings::new(&options, now).unwrap()
    }

    #[test]
    fn nothing_is_kept_where_there_are_none() {
        assert!(Pings::new(&Options::default(), Instant::now()).is_none());
    }

    #[test]
    fn a_ping_each_interval_and_none_twice() {
        let start = Instant::now();
        let mut pings = pings(Some(SECOND), None, start);
        assert_eq!(pings.next(start), None);
        for number in 1..=3 {
            let due = pings.due().unwrap();
            assert_eq!(due, start + SECOND * number);
            // A little late: the next is not later for it.
            assert_eq!(pings.next(due + SECOND / 3), Some(number.into()));
            assert_eq!(pings.next(due + SECOND / 3), None);
        }
        let late = start + SECOND * 100;
        assert_eq!(pings.next(late), Some(4));
        assert_eq!(pings.next(late), None);
        assert_eq!(pings.due(), Some(late + SECOND));
    }

    #[tokio::test(start_paused = true)]
    async fn a_standstill_is_nobodys_silence() {
        let start = Instant::now();
        let both = || pings(Some(SECOND * 10), Some(SECOND * 25), start);
        for (late, stood_still) in [(SECOND - SHORTEST_INTERVAL, false), (SECOND, true)] {
            let mut pings = both();
            pings.waits();
            assert_eq!(pings.stood_still(start + SECOND * 10 + late), stood_still);
        }

        // It began when a ping was under way, and ended when another one was due and much more.
        let mut pings = both();
        pings.waits();
        assert_eq!(pings.next(start + SECOND * 10), Some(1));
        let back = start + SECOND * 1000;
        assert!(pings.is_silent(back));
        assert!(pings.stood_still(back));
        assert!(!pings.stood_still(back), "it is over");
        assert!(!pings.is_silent(back));
        assert_eq!((pings.next(back), pings.next(back)), (Some(2), None));
        assert_eq!(pings.due(), Some(back + SECOND * 10));
        assert!(pings.is_silent(back + SECOND * 25));
    }

    /// Without pings the client has all its time once more.
    #[tokio::test(start_paused = true)]
    async fn a_standstill_where_nobody_is_pinged() {
        let start = Instant::now();
        let mut pings = pings(None, Some(SECOND * 25), start);
        assert!(!pings.stood_still(start + SECOND * 1000), "nothing was due");
        pings.waits();
        let back = start + SECOND * 1000;
        assert!(pings.stood_still(back));
        assert_eq!(pings.next(back), None);
        assert_eq!(pings.due(), Some(back + SECOND * 25));
    }

    #[test]
    fn an_interval_is_never_without_length() {
        let start = Instant::now();
        let mut pings = pings(Some(Duration::ZERO), None, start);
        assert_eq!(pings.next(start), None);
        assert_eq!(pings.due(), Some(start + SHORTEST_INTERVAL));
        assert_eq!(pings.next(start + SHORTEST_INTERVAL), Some(1));
    }

    #[tokio::test(start_paused = true)]
    async fn silence_is_when_there_is_nothing_to_read() {
        let start = Instant::now();
        let mut pings = pings(None, Some(SECOND), start);
        assert!(!pings.is_silent(start + SECOND * 9), "nobody has listened yet");
        pings.waits();
        pings.waits();
        assert_eq!(pings.due(), Some(start + SECOND));
        assert!(!pings.is_silent(start + SECOND / 2));
        assert!(pings.is_silent(start + SECOND));
        pings.holds_back();
        assert_eq!(pings.due(), None);
        tokio::time::advance(SECOND * 5).await;
        pings.waits();
        assert_eq!(pings.due(), Some(start + SECOND * 6));
        assert!(pings.read(1));
        assert_eq!(pings.due(), None);
    }

    #[test]
    fn pongs_are_told_from_other_bytes_where_they_are_asked_for() {
        let now = Instant::now();
        let mut asked = pings(Some(SECOND), None, now);
        asked.pong(1);
        assert!(!asked.read(7));
        asked.pong(1);
        assert!(asked.read(8));
        assert!(asked.read(1));
        let mut unasked = pings(None, Some(SECOND), now);
        unasked.pong(1);
        assert!(unasked.read(7));
    }
}

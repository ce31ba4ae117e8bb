//! What a hub tells of one connection: lines as `tracing` events, in bounds, so that no client
//! fills a disk.

use std::fmt::{self, Write as _};
use std::net::SocketAddr;
use std::time::Duration;

use tokio::time::Instant;
use tracing::field::display;
use tracing::{debug, info, warn};

/// Where the events come from, whatever the file is called.
const TARGET: &str = "kuiperbelt::rocket";

/// The most that is shown of a channel's name, in characters.
const LONGEST_SHOWN: usize = 64;

/// The lines of one connection. Those of its life and those of its messages are bounded apart, as
/// the latter are seldom looked at.
#[derive(Default)]
pub(super) struct Lines {
    /// Where the client is, if that is known.
    peer: Option<SocketAddr>,
    of_life: Rate,
    of_messages: Rate,
}

impl Lines {
    pub(super) fn of(peer: Option<SocketAddr>) -> Self {
        // A listener for both families has IPv4 clients under IPv6 addresses.
        let peer = peer.map(|peer| SocketAddr::new(peer.ip().to_canonical(), peer.port()));
        Self { peer, ..Self::default() }
    }

    /// Tells of its life: it comes, goes, or is somebody else.
    pub(super) fn life(&mut self, hub: &str, line: fmt::Arguments<'_>) {
        let Some(left_out) = self.of_life.admit(Instant::now()) else { return };
        let peer = self.peer.map(display);
        if left_out > 0 {
            info!(target: TARGET, %hub, peer, "… and {left_out} more");
        }
        info!(target: TARGET, %hub, peer, "{line}");
    }

    /// Tells what has become of a message.
    pub(super) fn message(&mut self, hub: &str, line: fmt::Arguments<'_>) {
        let Some(left_out) = self.of_messages.admit(Instant::now()) else { return };
        let peer = self.peer.map(display);
        if left_out > 0 {
            debug!(target: TARGET, %hub, peer, "… and {left_out} more");
        }
        debug!(target: TARGET, %hub, peer, "{line}");
    }

    /// Tells what was not granted. Nothing bounds that.
    pub(super) fn problem(&self, hub: &str, problem: fmt::Arguments<'_>) {
        warn!(target: TARGET, %hub, peer = self.peer.map(display), "Error: {problem}");
    }

    /// Tells the last line, and of those that were left out before it.
    pub(super) fn end(&mut self, hub: &str) {
        let peer = self.peer.map(display);
        if self.of_messages.left_out > 0 {
            debug!(target: TARGET, %hub, peer, "… and {} more", self.of_messages.left_out);
        }
        if self.of_life.left_out > 0 {
            info!(target: TARGET, %hub, peer, "… and {} more", self.of_life.left_out);
        }
        info!(target: TARGET, %hub, peer, "Disconnected");
    }
}

/// How often something was told lately.
#[derive(Default)]
struct Rate {
    /// When the present period began.
    since: Option<Instant>,
    /// How often in it.
    told: u32,
    /// How often it was not told, since it was told last.
    left_out: u64,
}

impl Rate {
    /// So often in a period, and no more until it is over.
    const LIMIT: u32 = 50;
    const PERIOD: Duration = Duration::from_secs(1);

    /// Whether to tell once more, and how often that was left out before.
    fn admit(&mut self, now: Instant) -> Option<u64> {
        if self.since.is_none_or(|since| now.duration_since(since) >= Self::PERIOD) {
            self.since = Some(now);
            self.told = 0;
        }
        if self.told == Self::LIMIT {
            self.left_out += 1;
            return None;
        }
        self.told += 1;
        Some(std::mem::take(&mut self.left_out))
    }
}

/// The name of a channel in a line, which it must not forge, nor fill.
pub(super) struct Shown<'a>(pub(super) &'a str);

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut rest = self.0.chars();
        rest.by_ref().take(LONGEST_SHOWN).try_for_each(|char| match char.is_control() {
            true => write!(f, "{}", char.escape_default()),
            false => f.write_char(char),
        })?;
        if rest.next().is_some() { f.write_char('…') } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_forges_no_line_and_is_cut() {
        assert_eq!(Shown("näws \"1\"\\").to_string(), "näws \"1\"\\");
        assert_eq!(
            Shown("a\nConnected\r\u{1b}[1m\u{85}").to_string(),
            "a\\nConnected\\r\\u{1b}[1m\\u{85}"
        );
        let longest = "ü".repeat(64);
        assert_eq!(Shown(&longest).to_string(), longest);
        assert_eq!(Shown(&format!("{longest}ü")).to_string(), format!("{longest}…"));
    }

    /// So many in each second; what was left out is told once, with the next.
    #[tokio::test(start_paused = true)]
    async fn so_often_in_a_second() {
        let mut rate = Rate::default();
        let mut admitted = |count: usize| -> Vec<u64> {
            (0..count).filter_map(|_| rate.admit(Instant::now())).collect()
        };
        assert_eq!(admitted(1_000), [0; 50]);
        tokio::time::advance(Duration::from_millis(999)).await;
        assert_eq!(admitted(10), [0; 0]);
        tokio::time::advance(Duration::from_millis(1)).await;
        assert_eq!(admitted(2), [960, 0]);
        tokio::time::advance(Duration::from_secs(10)).await;
        assert_eq!(admitted(60), [0; 50]);
    }
}

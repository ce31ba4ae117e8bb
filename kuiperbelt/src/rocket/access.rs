//! What a client of Rocket may do, the secrets that open it, and logins that fail.

use std::collections::VecDeque;
use std::fmt;
use std::time::Duration;

use subtle::ConstantTimeEq as _;
use tokio::time::Instant;

/// What a client that has logged in may do. The greater includes the less.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Access {
    /// Subscribe.
    ReadOnly,
    /// Subscribe and publish.
    ReadWrite,
}

impl Access {
    /// Both.
    pub const ALL: [Self; 2] = [Self::ReadOnly, Self::ReadWrite];

    /// As the event `auth` names it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::ReadOnly => "read-only",
            Self::ReadWrite => "read-write",
        }
    }

    /// As a number: 1 or 2; 0 would be no access.
    pub const fn level(self) -> u8 {
        match self {
            Self::ReadOnly => 1,
            Self::ReadWrite => 2,
        }
    }

    /// What the event `auth` names so.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|access| access.name() == name)
    }
}

/// The secrets of a Rocket hub, one for each [`Access`]. An empty one is open: whoever asks for
/// that access has it. `Debug` shows neither.
#[derive(Clone, Default)]
pub struct Credentials {
    /// Opens [`Access::ReadOnly`].
    pub read_only: String,
    /// Opens [`Access::ReadWrite`], and nothing else.
    pub read_write: String,
}

impl Credentials {
    /// Whether `given` opens this access; `None` is what is no text. How long that takes tells
    /// nothing of a secret but its length.
    pub(super) fn open(&self, access: Access, given: Option<&str>) -> bool {
        let secret = match access {
            Access::ReadOnly => &self.read_only,
            Access::ReadWrite => &self.read_write,
        };
        secret.is_empty()
            || given.is_some_and(|given| secret.as_bytes().ct_eq(given.as_bytes()).into())
    }
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = |secret: &str| if secret.is_empty() { "open" } else { "****" };
        f.debug_struct("Credentials")
            .field("read_only", &shown(&self.read_only))
            .field("read_write", &shown(&self.read_write))
            .finish()
    }
}

/// Logins of one connection that failed. One that succeeds forgives none of them: whoever knows one
/// secret could otherwise go on guessing the other for ever.
#[derive(Default)]
pub(super) struct Failures(VecDeque<Instant>);

impl Failures {
    /// So many within [`PERIOD`](Self::PERIOD) are too many.
    pub(super) const LIMIT: usize = 100;
    const PERIOD: Duration = Duration::from_secs(60);

    /// Adds one. Returns whether there are too many now.
    pub(super) fn add(&mut self, now: Instant) -> bool {
        while self.0.front().is_some_and(|first| now.duration_since(*first) >= Self::PERIOD) {
            self.0.pop_front();
        }
        self.0.push_back(now);
        self.0.len() >= Self::LIMIT
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn access_by_name_and_level() {
        for access in Access::ALL {
            assert_eq!(Access::named(access.name()), Some(access));
        }
        assert_eq!(Access::ALL.map(Access::level), [1, 2]);
        assert!(Access::ReadOnly < Access::ReadWrite);
        for name in ["", "none", "Read-Only", "read-only ", "write"] {
            assert_eq!(Access::named(name), None, "{name}");
        }
    }

    /// R17: secrets are compared whole, and never shown.
    #[test]
    fn secrets() {
        let secret = |text: &str| text.to_owned();
        let credentials = Credentials { read_only: secret("secret"), read_write: secret("") };
        for wrong in [Some("secret2"), Some("secre"), Some("secreT"), Some(""), None] {
            assert!(!credentials.open(Access::ReadOnly, wrong), "{wrong:?}");
        }
        assert!(credentials.open(Access::ReadOnly, Some("secret")));
        for any in [Some("secret"), Some(""), None] {
            assert!(credentials.open(Access::ReadWrite, any), "{any:?}");
        }
        let shown = format!("{credentials:?}");
        assert_eq!(shown, r#"Credentials { read_only: "****", read_write: "open" }"#);
    }

    /// R17: 99 failures in any minute are borne with, for ever; the hundredth is not.
    #[tokio::test(start_paused = true)]
    async fn failures_within_a_minute() {
        let mut failures = Failures::default();
        for _ in 0..5 {
            for second in 0..99 {
                let is_too_many = failures.add(Instant::now());
                assert!(!is_too_many, "{second}");
                tokio::time::advance(Duration::from_millis(500)).await;
            }
            tokio::time::advance(Duration::from_millis(10_500)).await;
        }
        let mut failures = Failures::default();
        for _ in 0..99 {
            assert!(!failures.add(Instant::now()));
        }
        tokio::time::advance(Failures::PERIOD - Duration::from_millis(1)).await;
        assert!(failures.add(Instant::now()));
    }
}

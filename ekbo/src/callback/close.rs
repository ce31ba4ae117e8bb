//! The close callback: the one place that tells the backend how a session ended. It is repeated
//! until the backend has answered, with growing pauses, and given up after `callback.retry.age`.

use std::hash::{BuildHasher, RandomState};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderName, HeaderValue, StatusCode};
use kuiperbelt::End;
use tokio::time::{Instant, sleep};
use tracing::{error, info};

use super::Destination;
use super::client::{CallError, Client};
use super::headers::{CLOSE_CODE, CLOSE_REASON, STATE, encoded};
use super::request::Field;
use super::response::Wanted;
use super::state::with_state;

/// How a close callback is repeated: pauses double from `base` to `max`, each shortened by up to a
/// half at random, until it is `age` old. `base` is not zero and at most `max`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Retry {
    pub(crate) base: Duration,
    pub(crate) max: Duration,
    pub(crate) age: Duration,
}

/// Tells of ends.
#[derive(Debug, Clone)]
pub(crate) struct Closer {
    client: Client,
    destination: Option<Destination>,
    timeout: Duration,
    retry: Retry,
}

impl Closer {
    pub(crate) fn new(
        client: Client,
        destination: Option<Destination>,
        timeout: Duration,
        retry: Retry,
    ) -> Self {
        Self { client, destination, timeout, retry }
    }

    /// What close callbacks have of their own, beside the session's key.
    pub(crate) const OWN: [HeaderName; 3] = [CLOSE_CODE, CLOSE_REASON, STATE];

    /// Whether there is a close callback.
    pub(crate) const fn has_somebody_to_tell(&self) -> bool {
        self.destination.is_some()
    }

    /// Returns when the backend has heard of the end, or it is given up. A `state` that is empty is
    /// none.
    pub(crate) async fn tell(&self, key: &[u8], state: &HeaderValue, end: &End) {
        let Some(destination) = &self.destination else { return };
        let started = Instant::now();
        let session = String::from_utf8_lossy(key);
        for attempt in 0.. {
            match self.attempt(destination, key, state, end).await {
                Ok(status) if is_heard(status) => {
                    info!(session = %session, "success close callback.");
                    return;
                }
                Ok(status) => error!(
                    session = %session,
                    url = %destination,
                    status = status.as_u16(),
                    error = "the answer is not 2xx",
                    "invalid close callback status."
                ),
                Err(failure) => error!(
                    session = %session,
                    url = %destination,
                    error = %failure,
                    "failed send close callback request."
                ),
            }
            let pause = self.retry.pause(attempt, random());
            if started.elapsed() + pause > self.retry.age {
                break;
            }
            sleep(pause).await;
        }
        error!(session = %session, "close callback is given up");
    }

    async fn attempt(
        &self,
        destination: &Destination,
        key: &[u8],
        state: &HeaderValue,
        end: &End,
    ) -> Result<StatusCode, CallError> {
        let (code, reason) = (end.code.number().to_string(), encoded(&end.reason));
        let own: [Field<'_>; 4] = [
            (&CLOSE_CODE, code.as_bytes()),
            (&CLOSE_REASON, reason.as_bytes()),
            (destination.session(), key),
            (&STATE, state.as_bytes()),
        ];
        let (own, body) = (with_state(&own), Bytes::new());
        let deadline = Some(Instant::now() + self.timeout);
        let told = self.client.tell(destination.draft()?, own, &body, Wanted::status(), deadline);
        Ok(told.await?.status)
    }
}

/// 2xx, and the two answers that say that nobody will ever want to hear it.
fn is_heard(status: StatusCode) -> bool {
    status.is_success() || matches!(status, StatusCode::NOT_FOUND | StatusCode::GONE)
}

impl Retry {
    /// The pause after a failed attempt, the first being 0; `random` shortens it by up to a half.
    fn pause(&self, attempt: u32, random: u32) -> Duration {
        let full = self.base.saturating_mul(1_u32.checked_shl(attempt).unwrap_or(u32::MAX));
        let full = full.min(self.max);
        full / 2 + (full / 2).mul_f64(f64::from(random) / f64::from(u32::MAX))
    }
}

/// Enough randomness to spread repetitions: the standard library seeds its hashers with it.
fn random() -> u32 {
    RandomState::new().hash_one(0) as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    /// D17
    #[test]
    fn pauses_double_up_to_the_longest_and_are_shortened_by_up_to_a_half() {
        let seconds = Duration::from_secs;
        let retry = Retry { base: seconds(1), max: seconds(60), age: seconds(3600) };
        assert_eq!(retry.pause(0, 0), Duration::from_millis(500));
        assert_eq!(retry.pause(0, u32::MAX), seconds(1));
        assert_eq!(retry.pause(3, u32::MAX), seconds(8));
        assert_eq!(retry.pause(6, u32::MAX), seconds(60));
        assert_eq!(retry.pause(40, 0), seconds(30));
    }

    #[test]
    fn who_has_heard() {
        let heard: Vec<u16> = [200, 204, 302, 400, 403, 404, 410, 500]
            .into_iter()
            .filter(|&status| is_heard(StatusCode::from_u16(status).unwrap()))
            .collect();
        assert_eq!(heard, [200, 204, 404, 410]);
    }
}

//! Clients who ask, and again as soon as they were answered.

use std::time::Instant;

use crate::Result;
use crate::latency::Latencies;
use crate::load::{Event, Line};
use crate::scenario::Quota;
use crate::trial::Trial;

/// Returns when everything is answered, how long each answer took from the question to its end.
pub(super) fn ask(
    trial: &mut Trial<'_>,
    clients: &[Line],
    question: &[u8],
    quota: Quota,
) -> Result<Latencies> {
    let mut allowance = quota.begin();
    let size = clients.iter().map(|line| line.number() + 1).max().unwrap_or_default();
    let mut asked_at = vec![None; size];
    let mut latencies = Latencies::default();
    let mut asked = 0;
    for client in clients.iter().take(quota.count) {
        asked_at[client.number()] = Some(Instant::now());
        trial.write(*client, question)?;
        asked += 1;
    }
    while latencies.count() < asked {
        let event = trial.next().map_err(|error| {
            format!("{error} (after {} of {} answers)", latencies.count(), quota.count)
        })?;
        let (Event::Answered { line, count: 1 } | Event::Messages { line, count: 1, .. }) = event
        else {
            return Err(format!("unexpected while asking: {event:?}").into());
        };
        let Some(began) = asked_at.get_mut(line.number()).and_then(Option::take) else {
            return Err("somebody was answered who has not asked".into());
        };
        latencies.add(began.elapsed());
        if allowance.allows(asked) {
            asked_at[line.number()] = Some(Instant::now());
            trial.write(line, question)?;
            asked += 1;
        }
    }
    Ok(latencies)
}

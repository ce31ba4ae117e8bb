//! The one timer of a connection: what is due when, and what is done about it.

use std::task::Context;

use kuiperbelt_websocket::CloseCode;
use tokio::time::{Instant, sleep_until};

use super::{Connection, Phase};
use crate::message::End;

impl Connection {
    /// Arms the one timer for whatever is due first, and acts on what is due now.
    pub(super) fn poll_alarm(&mut self, context: &mut Context<'_>) {
        while let Some(due) = self.due() {
            let now = Instant::now();
            if due <= now {
                // Nobody is held to what was due while we were away.
                if !self.pings.as_mut().is_some_and(|pings| pings.stood_still(now)) {
                    self.expire(due, now);
                }
                continue;
            }
            let alarm = self.alarm.get_or_insert_with(|| Box::pin(sleep_until(due)));
            if alarm.deadline() > due {
                alarm.as_mut().reset(due);
            }
            // An alarm that goes off early, because of activity since, is wound up again.
            while alarm.as_mut().poll(context).is_ready() {
                alarm.as_mut().reset(due);
            }
            return;
        }
    }

    fn last_active(&self) -> Instant {
        let written = self.seat.as_ref().and_then(|seat| seat.session.last_written());
        self.last_read.max(written.unwrap_or(self.last_read))
    }

    /// When a socket that takes nothing is given up.
    fn write_due(&self) -> Option<Instant> {
        let seat = self.seat.as_ref().filter(|_| self.is_blocked)?;
        let timeout = seat.options().write_timeout?;
        Some(seat.session.blocked_since()? + timeout)
    }

    fn due(&self) -> Option<Instant> {
        let deadline = self.farewell.as_ref().and_then(|farewell| farewell.deadline);
        match self.phase {
            Phase::Open | Phase::Flushing => {
                let options = self.seat.as_ref()?.options();
                let is_idle = self.phase == Phase::Open && self.receiving.is_none();
                let idle = options.idle_timeout.filter(|_| is_idle);
                let idle = idle.map(|timeout| self.last_active() + timeout);
                let is_open = self.phase == Phase::Open && !self.output_ended;
                let pings = self.pings.as_ref().filter(|_| is_open).and_then(|pings| pings.due());
                [self.write_due(), idle, pings, deadline].into_iter().flatten().min()
            }
            Phase::Parting { .. } | Phase::Awaiting | Phase::Lingering => deadline,
            Phase::Done => None,
        }
    }

    fn expire(&mut self, due: Instant, now: Instant) {
        match self.phase {
            Phase::Open | Phase::Flushing => {
                if self.write_due().is_some_and(|write_due| write_due <= due) {
                    if let Some(seat) = &self.seat {
                        seat.hub().metrics().message_errors.increment();
                    }
                    self.over(End::abnormal("write timeout"));
                } else if self.phase == Phase::Flushing {
                    self.over(End::abnormal(""));
                } else if self.pings.as_ref().is_some_and(|pings| pings.is_silent(now)) {
                    self.part_by_server(End::new(CloseCode::GOING_AWAY, "pong timeout"));
                } else if let Some(number) = self.pings.as_mut().and_then(|pings| pings.next(now)) {
                    if let Some(seat) = &self.seat {
                        seat.session.ping(number.to_string().as_bytes());
                    }
                } else {
                    self.part_by_server(End::new(CloseCode::GOING_AWAY, "idle timeout"));
                }
            }
            Phase::Awaiting => self.linger(),
            Phase::Parting { .. } | Phase::Lingering | Phase::Done => {
                self.over(End::abnormal(""));
            }
        }
    }
}

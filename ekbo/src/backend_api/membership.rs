//! `/subscribe` and `/unsubscribe`: who listens to what, said from outside a callback. Their body
//! says nothing.

use std::sync::Arc;

use kuiperbelt::{Answer, Answering, Fields, LONGEST_NAME, Request, Session, SubscribeError};

use super::access::Reach;
use super::answer::{
    CHANNEL_NOT_FOUND, CLOSED, Failure, Refused, TOO_MANY_CHANNELS, outcome, strict_outcome,
};
use super::{BackendApi, CHANNEL};

/// The most sessions times channels in one call. As many take 10 to 30 ms, in which others wait.
const MOST_AT_ONCE: usize = 100_000;

/// What a call changes for a session and a channel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Change {
    Join,
    Leave,
}

impl BackendApi {
    /// `/subscribe`: every session named listens to every channel named.
    pub(crate) fn subscribe(self: &Arc<Self>, request: Request) -> Answering {
        self.change(request, Change::Join)
    }

    /// `/unsubscribe`: and no longer.
    pub(crate) fn unsubscribe(self: &Arc<Self>, request: Request) -> Answering {
        self.change(request, Change::Leave)
    }

    fn change(self: &Arc<Self>, request: Request, change: Change) -> Answering {
        if let Err(refused) = self.check_change(&request) {
            return refused.into();
        }
        let Request { fields, body, .. } = request;
        self.with_body(body, false, move |api, _| api.change_all(&fields, change).into())
    }

    fn check_change(&self, request: &Request) -> Result<(), Refused> {
        self.check_post(request, Reach::Here)?;
        let fields = &request.fields;
        let sessions = fields.places_of(&self.config.session_header).count();
        let channels = fields.places_of(&CHANNEL).count();
        if sessions == 0 {
            return Err(Refused::NoSession);
        }
        if channels == 0 {
            return Err(Refused::NoChannel);
        }
        if sessions.saturating_mul(channels) > MOST_AT_ONCE {
            return Err(Refused::TooManyAtOnce);
        }
        Ok(())
    }

    /// All by all. Only an unknown session makes a strict call fail as a whole.
    fn change_all(&self, fields: &Fields, change: Change) -> Answer {
        let (sessions, mut failures) = self.look_up(fields);
        if self.config.strict && !failures.is_empty() {
            return strict_outcome(fields, &failures);
        }
        let mut named = Vec::new();
        for at in fields.places_of(&CHANNEL) {
            match fields.value(at).len() {
                0 => failures.push(Failure::of_channel(CHANNEL_NOT_FOUND, at)),
                1..=LONGEST_NAME => named.push(at),
                // Nobody can have subscribed to it.
                _ if change == Change::Leave => {}
                _ => failures.push(Failure::of_channel(TOO_MANY_CHANNELS, at)),
            }
        }
        for (session, at) in &sessions {
            for &channel in &named {
                match self.change_one(change, session, fields.value(channel)) {
                    Ok(()) => {}
                    Err(SubscribeError::Closed) => {
                        failures.push(Failure::of_session(CLOSED, *at));
                        break;
                    }
                    Err(_) => failures.push(Failure {
                        error: TOO_MANY_CHANNELS,
                        session: Some(*at),
                        channel: Some(channel),
                    }),
                }
            }
        }
        outcome(fields, &failures, None)
    }

    fn change_one(
        &self,
        change: Change,
        session: &Session,
        channel: &[u8],
    ) -> Result<(), SubscribeError> {
        let channels = self.hub.channels();
        match change {
            Change::Join => channels.subscribe(session, channel),
            Change::Leave => {
                channels.unsubscribe(session, channel);
                Ok(())
            }
        }
    }
}

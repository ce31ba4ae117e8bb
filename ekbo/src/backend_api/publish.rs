//! `/publish` and `/broadcast`: a message to everybody who listens to a channel, or to everybody.
//! They wait for nobody: what happens to a client that reads too slowly is the business of
//! `slow_consumer`.

use std::collections::HashSet;
use std::sync::Arc;

use http::header::CONTENT_TYPE;
use http::{HeaderName, Uri};
use kuiperbelt::{Answer, Answering, Fields, InvalidText, Request, Session};
use tracing::debug;

use super::access::Reach;
use super::answer::{CHANNEL_NOT_FOUND, Failure, INVALID_TEXT, Refused, outcome};
use super::{BackendApi, CHANNEL};
use crate::log::{Shown, ShownBody};
use crate::text::message;

pub(super) const EXCEPT: HeaderName = HeaderName::from_static("x-kuiperbelt-except");

impl BackendApi {
    /// `/publish`: the body is a message for whoever listens to any of the channels named.
    pub(crate) fn publish(self: &Arc<Self>, request: Request) -> Answering {
        if let Err(refused) = self.check_publish(&request) {
            return refused.into();
        }
        let Request { uri, fields, body, .. } = request;
        self.with_body(body, true, move |api, body| {
            log_message(&uri, &fields, body);
            api.publish_to_channels(&fields, body).into()
        })
    }

    /// `/broadcast`: the body is a message for every session.
    pub(crate) fn broadcast(self: &Arc<Self>, request: Request) -> Answering {
        if let Err(refused) = self.check_post(&request, Reach::Here) {
            return refused.into();
        }
        let Request { uri, fields, body, .. } = request;
        self.with_body(body, true, move |api, body| {
            log_message(&uri, &fields, body);
            api.publish_to_all(&fields, body).unwrap_or_else(Answer::from).into()
        })
    }

    fn check_publish(&self, request: &Request) -> Result<(), Refused> {
        self.check_post(request, Reach::Here)?;
        request.fields.get(&CHANNEL).ok_or(Refused::NoChannel)?;
        Ok(())
    }

    fn publish_to_channels(&self, fields: &Fields, body: &[u8]) -> Answer {
        let (named, nameless): (Vec<usize>, Vec<usize>) =
            fields.places_of(&CHANNEL).partition(|&at| !fields.value(at).is_empty());
        let nameless = nameless.into_iter().map(|at| Failure::of_channel(CHANNEL_NOT_FOUND, at));
        let mut failures: Vec<Failure> = nameless.collect();
        let Ok(message) = message(fields.get(&CONTENT_TYPE), body, self.config.invalid_text) else {
            let invalid = named.into_iter().map(|at| Failure::of_channel(INVALID_TEXT, at));
            failures.extend(invalid);
            return outcome(fields, &failures, Some(0));
        };
        let names: Vec<&[u8]> = named.into_iter().map(|at| fields.value(at)).collect();
        let spared: HashSet<&[u8]> = fields.get_all(&EXCEPT).collect();
        let is_spared = |session: &Session| spared.contains(session.key());
        let delivered = self.hub.channels().publish_to_all(&names, &message, is_spared);
        self.hub.metrics().total_messages.add(delivered as u64);
        outcome(fields, &failures, Some(delivered))
    }

    fn publish_to_all(&self, fields: &Fields, body: &[u8]) -> Result<Answer, Refused> {
        let message = message(fields.get(&CONTENT_TYPE), body, self.config.invalid_text)
            .map_err(|InvalidText| Refused::InvalidText)?;
        let delivered = self.hub.broadcast(&message);
        self.hub.metrics().total_messages.add(delivered as u64);
        Ok(outcome(fields, &[], Some(delivered)))
    }
}

fn log_message(uri: &Uri, fields: &Fields, body: &[u8]) {
    debug!(
        path = uri.path(),
        headers = %Shown(&fields.to_map().unwrap_or_default()),
        body = %ShownBody(body),
        "message"
    );
}

//! `/send` and `/close`: a message to sessions by their keys, which waits for room in their queues.

use std::sync::Arc;

use futures_util::stream::{FuturesUnordered, StreamExt as _};
use http::header::CONTENT_TYPE;
use http::{HeaderName, Uri};
use kuiperbelt::{
    Answer, Answering, Body, End, Fields, InvalidClose, Message, Request, SendError, Session,
    TrySendError,
};
use tokio::time::Instant;
use tracing::debug;

use super::BackendApi;
use super::access::Reach;
use super::answer::{self, Failure, INVALID_TEXT, Refused, SESSION_NOT_FOUND};
use super::idempotency::IDEMPOTENCY_KEY;
use crate::close_frame::close_frame;
use crate::log::{Shown, ShownBody};
use crate::text::message;

pub(super) const CLOSE_CODE: HeaderName = HeaderName::from_static("x-kuiperbelt-close-code");
pub(super) const CLOSE_REASON: HeaderName = HeaderName::from_static("x-kuiperbelt-close-reason");

/// What a call does with each session.
#[derive(Clone)]
enum Action {
    Send,
    Close(End),
}

/// A call that knows its sessions, and has yet to get its message.
struct Delivery {
    action: Action,
    /// The sessions named, and where their keys stand in the request.
    sessions: Vec<(Session, usize)>,
    failures: Vec<Failure>,
    uri: Uri,
    fields: Fields,
}

impl BackendApi {
    /// `/send`: the body is a message for every session named.
    pub(crate) fn send(self: &Arc<Self>, request: Request) -> Answering {
        if request.fields.get(&IDEMPOTENCY_KEY).is_some() {
            return self.send_once(request);
        }
        self.deliver(request, |_| Ok(Action::Send))
    }

    /// `/close`: the body is the last word to every session named.
    pub(crate) fn close(self: &Arc<Self>, request: Request) -> Answering {
        let is_quiet = !self.config.close_callback_on_api_close;
        self.deliver(request, |fields| {
            Ok(Action::Close(end(fields).map_err(Refused::Close)?.quietly(is_quiet)))
        })
    }

    /// The course of `/send` and `/close`: checks in their order, then delivery to all at once.
    /// Nearly every call is answered at once: its body has come with it, and there is room.
    fn deliver(
        self: &Arc<Self>,
        request: Request,
        action: impl FnOnce(&Fields) -> Result<Action, Refused>,
    ) -> Answering {
        let (delivery, body) = match self.prepare(request, action) {
            Ok(prepared) => prepared,
            Err(refused) => return refused.into(),
        };
        if self.is_too_much(&delivery) {
            return self.outcome(&delivery.fields, &delivery.failures).into();
        }
        let is_wanted = !delivery.sessions.is_empty();
        self.with_body(body, is_wanted, move |api, body| api.hand_out(delivery, body))
    }

    /// `/send` under an idempotency key: the sessions are looked up only if it is the first, as
    /// they may have gone since.
    fn send_once(self: &Arc<Self>, request: Request) -> Answering {
        let session_header = &self.config.session_header;
        let checked = self.check_post(&request, Reach::All);
        let checked = checked.and(request.fields.get(session_header).ok_or(Refused::NoSession));
        if let Err(refused) = checked {
            return refused.into();
        }
        let Request { uri, fields, body, .. } = request;
        self.once(&self.sent, fields, body, |api, fields, body| {
            let (sessions, failures) = api.look_up(&fields);
            let delivery = Delivery { action: Action::Send, sessions, failures, uri, fields };
            if api.is_too_much(&delivery) {
                return api.outcome(&delivery.fields, &delivery.failures).into();
            }
            api.hand_out(delivery, body)
        })
    }

    fn prepare(
        &self,
        request: Request,
        action: impl FnOnce(&Fields) -> Result<Action, Refused>,
    ) -> Result<(Delivery, Body), Refused> {
        self.check_post(&request, Reach::All)?;
        let Request { uri, fields, body, .. } = request;
        let (sessions, failures) = self.look_up(&fields);
        if sessions.is_empty() && failures.is_empty() {
            return Err(Refused::NoSession);
        }
        let action = action(&fields)?;
        Ok((Delivery { action, sessions, failures, uri, fields }, body))
    }

    /// The sessions named, and where their keys stand; a key that means none is a failure.
    pub(super) fn look_up(&self, fields: &Fields) -> (Vec<(Session, usize)>, Vec<Failure>) {
        let (mut sessions, mut failures) = (Vec::new(), Vec::new());
        for at in fields.places_of(&self.config.session_header) {
            match self.hub.session(fields.value(at)) {
                Some(session) => sessions.push((session, at)),
                None => failures.push(Failure::of_session(SESSION_NOT_FOUND, at)),
            }
        }
        (sessions, failures)
    }

    /// Whether nothing is to be done because of what has failed already.
    fn is_too_much(&self, delivery: &Delivery) -> bool {
        self.config.strict && !delivery.failures.is_empty()
    }

    /// Hands the message to every session. Failures are told in the order in which they happen.
    fn hand_out(self: &Arc<Self>, delivery: Delivery, body: &[u8]) -> Answering {
        let Delivery { action, sessions, mut failures, uri, fields } = delivery;
        if !sessions.is_empty() {
            debug!(
                path = uri.path(),
                headers = %Shown(&fields.to_map().unwrap_or_default()),
                body = %ShownBody(body),
                "message"
            );
        }
        self.hub.metrics().total_messages.add(sessions.len() as u64);
        let Ok(message) = message(fields.get(&CONTENT_TYPE), body, self.config.invalid_text) else {
            let invalid = |(_, at)| Failure::of_session(INVALID_TEXT, at);
            failures.extend(sessions.into_iter().map(invalid));
            return self.outcome(&fields, &failures).into();
        };
        let mut waiting = Vec::new();
        for (session, at) in sessions {
            match action {
                Action::Send => match session.try_send(&message) {
                    Ok(()) => {}
                    Err(TrySendError::Closed) => {
                        failures.push(Failure::of_sending(SendError::Closed, at))
                    }
                    Err(TrySendError::Full) => waiting.push((session, at)),
                },
                Action::Close(_) => waiting.push((session, at)),
            }
        }
        if waiting.is_empty() {
            return self.outcome(&fields, &failures).into();
        }
        let deadline = self.config.send_timeout.map(|timeout| Instant::now() + timeout);
        let api = Arc::clone(self);
        Answering::later(async move {
            let mut waiting: FuturesUnordered<_> = waiting
                .iter()
                .map(|(session, at)| offer(session, *at, &action, &message, deadline))
                .collect();
            while let Some(failure) = waiting.next().await {
                failures.extend(failure);
            }
            drop(waiting);
            api.outcome(&fields, &failures)
        })
    }

    fn outcome(&self, fields: &Fields, failures: &[Failure]) -> Answer {
        if self.config.strict {
            answer::strict_outcome(fields, failures)
        } else {
            answer::outcome(fields, failures, None)
        }
    }
}

/// Waits for room with a message for a session.
async fn offer(
    session: &Session,
    at: usize,
    action: &Action,
    message: &Message,
    deadline: Option<Instant>,
) -> Option<Failure> {
    let accepted = match action {
        Action::Send => session.send(message, deadline).await,
        Action::Close(end) => session.close(Some(message), end.clone(), deadline).await,
    };
    accepted.err().map(|error| Failure::of_sending(error, at))
}

/// How a `/close` ends its sessions: 1000, or what the caller says.
fn end(fields: &Fields) -> Result<End, InvalidClose> {
    let code = fields.get(&CLOSE_CODE).unwrap_or(b"1000");
    let reason = fields.get(&CLOSE_REASON).unwrap_or_default();
    close_frame(code, reason).map(End::from)
}

#[cfg(test)]
mod tests {
    use http::{HeaderMap, HeaderValue};

    use super::*;

    /// D2
    #[test]
    fn how_a_close_ends_its_sessions() {
        let end = |fields: &[(&str, &str)]| {
            let mut headers = HeaderMap::new();
            for (name, value) in fields {
                let name = HeaderName::from_bytes(name.as_bytes()).unwrap();
                headers.insert(name, HeaderValue::from_str(value).unwrap());
            }
            end(&Fields::from(&headers)).map(|end| (end.code.number(), end.reason.into_owned()))
        };
        let code = "x-kuiperbelt-close-code";
        let reason = "x-kuiperbelt-close-reason";
        assert_eq!(end(&[]), Ok((1000, String::new())));
        assert_eq!(
            end(&[(code, "4000"), (reason, "gr%C3%BC%C3%9Fe")]),
            Ok((4000, "grüße".to_owned()))
        );
        for wrong in ["1006", "abc", ""] {
            assert_eq!(end(&[(code, wrong)]), Err(InvalidClose::Code), "{wrong}");
        }
        assert_eq!(end(&[(reason, "%ff")]), Err(InvalidClose::Reason));
    }
}

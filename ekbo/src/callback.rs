//! What the backend is told: the connect, establish, receive and close callbacks of a gateway
//! path, as a `Handler`. The requests are made in `client.rs`, what they carry is decided in
//! `headers.rs`, what their answers ask for is done in `actions.rs`, and `close.rs` tells of the end
//! of a session until it is heard.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use kuiperbelt::{
    Admission, Answer, End, Handler, Hub, InvalidText, Kind, Message, Received, Refusal, SendError,
    Session, Then, answer, offered_subprotocols,
};
use tokio::time::Instant;
use tracing::{debug, error, info};

mod actions;
mod client;
mod close;
mod destination;
mod exchange;
pub(crate) mod headers;
mod request;
mod response;
mod state;

use self::actions::Actions;
use self::client::{CallError, Client, Content, Reply};
use self::close::Closer;
pub(crate) use self::close::Retry;
use self::destination::Destination;
use self::headers::{Headers, STATE, SUBPROTOCOL};
use self::request::Field;
use self::response::{Wanted, WantedFields};
use self::state::{state, with_state};
use crate::log::ShownBody;
use crate::outbound::Target;
use crate::text::{InvalidTextPolicy, message};

/// The time-out of a close callback when `callback.timeout` is 0.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(30);

/// Where the callbacks go, and how long their answers may take.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Targets {
    pub(crate) connect: Option<Target>,
    pub(crate) establish: Option<Target>,
    pub(crate) receive: Option<Target>,
    pub(crate) close: Option<Target>,
    /// Over head and body of one answer; `None` waits for ever.
    pub(crate) timeout: Option<Duration>,
    pub(crate) retry: Retry,
}

/// What the callbacks of one gateway path are made from.
#[derive(Debug, Clone)]
pub(crate) struct Config {
    pub(crate) targets: Targets,
    pub(crate) session_header: HeaderName,
    pub(crate) endpoint: HeaderValue,
    pub(crate) set_headers: Vec<(HeaderName, HeaderValue)>,
    pub(crate) forward_session_header: bool,
    /// Whether the body of an answer to the receive callback goes to the client.
    pub(crate) receive_reply: bool,
    /// The largest first message or reply, in bytes.
    pub(crate) max_message: usize,
    pub(crate) invalid_text: InvalidTextPolicy,
}

/// A gateway path: every decision is the backend's.
#[derive(Debug)]
pub(crate) struct Callbacks {
    hub: Arc<Hub>,
    config: Config,
    headers: Headers,
    establish: Option<Destination>,
    receive: Option<Destination>,
    client: Client,
    closer: Closer,
}

impl Callbacks {
    pub(crate) fn new(hub: Arc<Hub>, config: Config) -> Self {
        let client = Client::new();
        let headers = Headers::new(&config);
        let targets = &config.targets;
        let to = |target: &Option<Target>, own: &[HeaderName]| {
            target.as_ref().map(|target| Destination::new(target, &headers, own))
        };
        let establish = to(&targets.establish, &[STATE]);
        let receive = to(&targets.receive, &[CONTENT_TYPE, STATE]);
        let close = to(&targets.close, &Closer::OWN);
        let timeout = close_timeout(targets.timeout);
        let closer = Closer::new(client.clone(), close, timeout, targets.retry);
        Self { hub, config, headers, establish, receive, client, closer }
    }

    /// Counts from now; the same deadline serves the head of an answer and its body.
    fn deadline(&self) -> Option<Instant> {
        self.config.targets.timeout.map(|timeout| Instant::now() + timeout)
    }

    /// Judges the backend's answer to a connect callback.
    async fn judge(
        &self,
        mut reply: Reply,
        offered: &[String],
        deadline: Option<Instant>,
    ) -> Result<Admission, Refusal> {
        let (status, headers) = (reply.status, std::mem::take(&mut reply.headers));
        if status != StatusCode::OK {
            let body = reply.body(deadline).await;
            let body = body.map_err(|failure| refused(StatusCode::BAD_GATEWAY, &failure))?;
            return Err(relayed(status, headers.get(CONTENT_TYPE), body));
        }
        let key = headers.get(&self.config.session_header).filter(|key| !key.is_empty());
        let Some(key) = key.map(|key| key.as_bytes().to_vec()) else {
            let reason = format!("the answer has no {}", self.config.session_header);
            return Err(refused(StatusCode::BAD_REQUEST, &reason));
        };
        // From here on the backend counts on a close callback (D7).
        match self.first_message(&headers, reply, deadline).await {
            Ok(first) => {
                let subprotocol = headers.get(&SUBPROTOCOL).filter(|chosen| {
                    offered.iter().any(|offer| offer.as_bytes() == chosen.as_bytes())
                });
                Ok(Admission {
                    key: Some(key),
                    first,
                    subprotocol: subprotocol.cloned(),
                    then: self.then(Actions::read(&headers)),
                })
            }
            Err(refusal) => {
                let end = End::abnormal("upgrade failed");
                Err(Refusal { admitted: Some((key, end)), ..refusal })
            }
        }
    }

    /// What the answer to a connect callback has done with the session that it makes.
    fn then(&self, actions: Actions) -> Option<Then> {
        if actions.is_empty() {
            return None;
        }
        let hub = Arc::clone(&self.hub);
        Some(Box::new(move |session| {
            actions.before_body(session, hub.channels());
            actions.after_body(session);
        }))
    }

    async fn first_message(
        &self,
        headers: &HeaderMap,
        reply: Reply,
        deadline: Option<Instant>,
    ) -> Result<Option<Message>, Refusal> {
        let body = match reply.body(deadline).await {
            Ok(body) => body,
            Err(failure @ CallError::Broken(_)) => {
                return Err(refused(StatusCode::INTERNAL_SERVER_ERROR, &failure));
            }
            Err(failure) => return Err(refused(StatusCode::BAD_GATEWAY, &failure)),
        };
        if body.is_empty() {
            return Ok(None);
        }
        let kind = headers.get(CONTENT_TYPE).map(HeaderValue::as_bytes);
        message(kind, &body, self.config.invalid_text)
            .map(Some)
            .map_err(|invalid| refused(StatusCode::BAD_GATEWAY, &invalid))
    }
}

impl Handler for Callbacks {
    async fn connect(&self, request: Parts) -> Result<Admission, Refusal> {
        let address = match &self.config.targets.connect {
            Some(Target::Good(address)) => address,
            Some(Target::Unreachable(reason)) => {
                return Err(refused(StatusCode::BAD_GATEWAY, reason));
            }
            Some(Target::Unparsable(reason)) => {
                return Err(refused(StatusCode::INTERNAL_SERVER_ERROR, reason));
            }
            None => {
                let reason = "callback.connect is not set";
                return Err(refused(StatusCode::INTERNAL_SERVER_ERROR, &reason));
            }
        };
        let Some(uri) = address.uri_with_query(request.uri.query()) else {
            return Err(refused(StatusCode::BAD_GATEWAY, &"the query is too long"));
        };
        let offered: Vec<String> =
            offered_subprotocols(&request.headers).map(str::to_owned).collect();
        let headers = self.headers.of_connect(&request.headers, &offered, address);
        let deadline = self.deadline();
        let reply = self.client.ask(uri, headers, self.config.max_message, deadline).await;
        let reply = reply.map_err(|failure| {
            refused(StatusCode::BAD_GATEWAY, &format_args!("{address}: {failure}"))
        })?;
        self.judge(reply, &offered, deadline).await
    }

    async fn establish(&self, session: &Session) -> bool {
        let Some(destination) = &self.establish else {
            return true;
        };
        let state = state(session);
        let own = [(destination.session(), session.key()), (&STATE, state.as_bytes())];
        let wanted = Wanted::fields(&actions::FIELDS);
        match Box::pin(self.post(destination, with_state(&own), &Bytes::new(), wanted)).await {
            Ok(None) => true,
            Ok(Some(content)) => {
                Box::pin(self.obey(session, *content)).await;
                true
            }
            Err(error) => {
                error!(
                    session = %String::from_utf8_lossy(session.key()),
                    url = %destination,
                    error = %error,
                    "establish error after upgrade"
                );
                false
            }
        }
    }

    async fn receive(&self, session: &Session, message: Received) {
        let Some(destination) = &self.receive else {
            return;
        };
        let content_type = match message.kind {
            Kind::Text => "text/plain",
            Kind::Binary => "application/octet-stream",
        };
        debug!(
            session = %String::from_utf8_lossy(session.key()),
            body = %ShownBody(&message.payload),
            "message of a client"
        );
        let state = state(session);
        let own = [
            (&CONTENT_TYPE, content_type.as_bytes()),
            (destination.session(), session.key()),
            (&STATE, state.as_bytes()),
        ];
        let wanted = self.wanted_of_receive();
        match self.post(destination, with_state(&own), &message.payload, wanted).await {
            Ok(None) => {}
            Ok(Some(content)) => Box::pin(self.obey(session, *content)).await,
            Err(error) => error!(
                session = %String::from_utf8_lossy(session.key()),
                url = %destination,
                error = %error,
                "receive callback failed"
            ),
        }
    }

    async fn close(&self, session: &Session, end: End) {
        if self.closer.has_somebody_to_tell() {
            Box::pin(self.closer.tell(session.key(), &state(session), &end)).await;
        }
    }
}

impl Callbacks {
    /// One POST about a session. Only a 200 whose body has arrived whole is a yes; returns what it
    /// says beside.
    async fn post(
        &self,
        destination: &Destination,
        own: &[Field<'_>],
        body: &Bytes,
        wanted: Wanted,
    ) -> Result<Option<Box<Content>>, CallError> {
        let (draft, deadline) = (destination.draft()?, self.deadline());
        let told = self.client.tell(draft, own, body, wanted, deadline).await?;
        match told.status {
            StatusCode::OK => Ok(told.content),
            other => Err(CallError::Status(other)),
        }
    }

    /// Does what a 200 asks for: the actions, with the reply before a close.
    async fn obey(&self, session: &Session, content: Content) {
        let actions = Actions::read(&content.headers);
        actions.before_body(session, self.hub.channels());
        let key = String::from_utf8_lossy(session.key());
        match self.reply(session, content).await {
            Ok(()) => {}
            Err(ReplyError::Session(gone)) => info!(session = %key, reason = %gone, "no reply"),
            Err(error) => error!(session = %key, error = %error, "cannot send the reply"),
        }
        actions.after_body(session);
    }

    /// Sends the body of an answer to the client, if there is one, as soon as there is room.
    async fn reply(&self, session: &Session, content: Content) -> Result<(), ReplyError> {
        let body = content.body.ok_or(ReplyError::TooLarge)?;
        if body.is_empty() {
            return Ok(());
        }
        let kind = content.headers.get(CONTENT_TYPE).map(HeaderValue::as_bytes);
        let message = message(kind, &body, self.config.invalid_text)?;
        session.send(&message, None).await?;
        self.hub.metrics().total_messages.increment();
        Ok(())
    }

    fn wanted_of_receive(&self) -> Wanted {
        if !self.config.receive_reply {
            return Wanted::fields(&actions::FIELDS);
        }
        let fields = WantedFields::Of(&actions::FIELDS_AND_TYPE);
        Wanted { fields, body: true, limit: self.config.max_message }
    }
}

/// Why the client does not get the body of a receive callback's answer.
#[derive(Debug, thiserror::Error)]
enum ReplyError {
    #[error("it is larger than max_message_size")]
    TooLarge,
    #[error("{0}; send it as application/octet-stream, or see invalid_text")]
    Text(#[from] InvalidText),
    #[error(transparent)]
    Session(#[from] SendError),
}

/// A close callback never waits for ever: it would never be repeated.
fn close_timeout(timeout: Option<Duration>) -> Duration {
    timeout.unwrap_or(CLOSE_TIMEOUT)
}

/// A refusal of our own, with the status as the body.
fn refused(status: StatusCode, reason: &dyn std::fmt::Display) -> Refusal {
    error!(error = %reason, status = status.as_u16(), "connect error before upgrade");
    Refusal { answer: answer::status(status), is_error: true, admitted: None }
}

/// The backend's refusal: of its answer, the status, the type and the body reach the client.
fn relayed(status: StatusCode, kind: Option<&HeaderValue>, body: Bytes) -> Refusal {
    if status.is_informational() {
        return refused(StatusCode::BAD_GATEWAY, &CallError::Status(status));
    }
    if status == StatusCode::FORBIDDEN {
        info!(status = status.as_u16(), "authorization failed");
    } else {
        error!(status = status.as_u16(), "connect error before upgrade");
    }
    let mut answer = Answer::new(body);
    *answer.status_mut() = status;
    if let Some(kind) = kind.filter(|_| status != StatusCode::NOT_MODIFIED) {
        answer.headers_mut().insert(CONTENT_TYPE, kind.clone());
    }
    Refusal { answer, is_error: status != StatusCode::FORBIDDEN, admitted: None }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_forbidden_is_no_error() {
        let kind = HeaderValue::from_static("text/html");
        let forbidden = relayed(StatusCode::FORBIDDEN, Some(&kind), "no".into());
        assert!(!forbidden.is_error);
        assert_eq!(forbidden.answer.headers()[CONTENT_TYPE], "text/html");
        assert!(relayed(StatusCode::UNAUTHORIZED, None, "".into()).is_error);
        let unchanged = relayed(StatusCode::NOT_MODIFIED, Some(&kind), "".into());
        assert!(!unchanged.answer.headers().contains_key(CONTENT_TYPE));
    }

    /// D14
    #[test]
    fn a_close_callback_has_a_time_out_always() {
        assert_eq!(close_timeout(None), Duration::from_secs(30));
        assert_eq!(close_timeout(Some(Duration::from_millis(500))), Duration::from_millis(500));
    }

    #[test]
    fn an_interim_status_is_no_answer() {
        let refusal = relayed(StatusCode::SWITCHING_PROTOCOLS, None, "".into());
        assert_eq!(refusal.answer.status(), StatusCode::BAD_GATEWAY);
    }
}

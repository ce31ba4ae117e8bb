//! What the backend asks of us: `/send` and `/close` for sessions, `/ping`, and `/stats`, which is in
//! `stats.rs`. The answers are byte for byte those that backends have been written against.

use std::fmt::Write as _;
use std::str::FromStr as _;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures_util::stream::{FuturesUnordered, StreamExt as _};
use http::header::{AUTHORIZATION, CONTENT_TYPE, WWW_AUTHENTICATE};
use http::{HeaderName, HeaderValue, Method, StatusCode, Uri};
use kuiperbelt::{
    Answer, Answering, Body, CloseCode, CloseFrame, End, Fields, Hub, InvalidClose, Message,
    Request, SendError, Session, TrySendError,
};
use percent_encoding::percent_decode;
use tokio::time::Instant;
use tracing::debug;

use crate::log::{Shown, ShownBody};
use crate::secret::Secret;
use crate::text::{InvalidTextPolicy, message};

mod stats;

const CLOSE_CODE: HeaderName = HeaderName::from_static("x-kuiperbelt-close-code");
const CLOSE_REASON: HeaderName = HeaderName::from_static("x-kuiperbelt-close-reason");

const NOT_FOUND: &str = "kuiperbelt: session is not found";
const CLOSED: &str = "kuiperbelt: session is closed";
const TIMED_OUT: &str = "context deadline exceeded";
const INVALID_TEXT: &str = "kuiperbelt: text message is not valid UTF-8";

/// How the backend API answers.
#[derive(Debug, Clone)]
pub(crate) struct Config {
    pub(crate) session_header: HeaderName,
    /// Any of them opens the API; without any it is open.
    pub(crate) tokens: Vec<Secret>,
    /// One unknown key, and nothing is sent to anyone.
    pub(crate) strict: bool,
    /// For one call, over all its sessions.
    pub(crate) send_timeout: Option<Duration>,
    pub(crate) max_body: usize,
    pub(crate) invalid_text: InvalidTextPolicy,
    pub(crate) close_callback_on_api_close: bool,
}

/// The backend API of a hub.
#[derive(Debug)]
pub(crate) struct BackendApi {
    hub: Arc<Hub>,
    config: Config,
}

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

/// A session that a call failed for.
struct Failure {
    error: &'static str,
    /// Where its key stands in the request.
    key: usize,
}

impl Failure {
    const fn of(error: SendError, key: usize) -> Self {
        let error = match error {
            SendError::Closed => CLOSED,
            SendError::TimedOut => TIMED_OUT,
        };
        Self { error, key }
    }
}

/// Why a call has no targets, or no message, to begin with.
enum Refused {
    /// A1
    Method,
    /// A2
    NoSession,
    /// A3
    Unreadable,
    TooLarge,
    Unauthorized,
    Close(InvalidClose),
}

impl BackendApi {
    pub(crate) fn new(hub: Arc<Hub>, config: Config) -> Self {
        Self { hub, config }
    }

    /// `/send`: the body is a message for every session named.
    pub(crate) fn send(self: &Arc<Self>, request: Request) -> Answering {
        self.deliver(request, |_| Ok(Action::Send))
    }

    /// `/close`: the body is the last word to every session named.
    pub(crate) fn close(self: &Arc<Self>, request: Request) -> Answering {
        let is_quiet = !self.config.close_callback_on_api_close;
        self.deliver(request, |fields| {
            Ok(Action::Close(end(fields).map_err(Refused::Close)?.quietly(is_quiet)))
        })
    }

    /// `/ping`: we are here.
    pub(crate) fn ping(&self) -> Answer {
        json(StatusCode::OK, r#"{"result":"OK"}"#)
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
            Err(refused) => return Answer::from(refused).into(),
        };
        if self.config.strict && !delivery.failures.is_empty() {
            return self.outcome(&delivery.fields, &delivery.failures).into();
        }
        if body.at_least() > self.config.max_body as u64 {
            return Answer::from(Refused::TooLarge).into();
        }
        match body.into_whole() {
            Ok(body) => self.hand_out(delivery, &body),
            Err(body) => {
                let api = Arc::clone(self);
                Answering::later(async move {
                    let body = match api.read(body, !delivery.sessions.is_empty()).await {
                        Ok(body) => body,
                        Err(refused) => return refused.into(),
                    };
                    match api.hand_out(delivery, &body) {
                        Answering::Now(answer) => answer,
                        Answering::Later(answer) => answer.await,
                    }
                })
            }
        }
    }

    /// Looks up the sessions named; a key that means none is a failure.
    fn prepare(
        &self,
        request: Request,
        action: impl FnOnce(&Fields) -> Result<Action, Refused>,
    ) -> Result<(Delivery, Body), Refused> {
        let Request { method, uri, fields, body, .. } = request;
        if !self.is_authorized(fields.get(&AUTHORIZATION)) {
            return Err(Refused::Unauthorized);
        }
        if method != Method::POST {
            return Err(Refused::Method);
        }
        let (mut sessions, mut failures) = (Vec::new(), Vec::new());
        for key in fields.places_of(&self.config.session_header) {
            match self.hub.session(fields.value(key)) {
                Some(session) => sessions.push((session, key)),
                None => failures.push(Failure { error: NOT_FOUND, key }),
            }
        }
        if sessions.is_empty() && failures.is_empty() {
            return Err(Refused::NoSession);
        }
        let action = action(&fields)?;
        Ok((Delivery { action, sessions, failures, uri, fields }, body))
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
            let invalid = |(_, key)| Failure { error: INVALID_TEXT, key };
            failures.extend(sessions.into_iter().map(invalid));
            return self.outcome(&fields, &failures).into();
        };
        let mut waiting = Vec::new();
        for (session, key) in sessions {
            match action {
                Action::Send => match session.try_send(&message) {
                    Ok(()) => {}
                    Err(TrySendError::Closed) => failures.push(Failure::of(SendError::Closed, key)),
                    Err(TrySendError::Full) => waiting.push((session, key)),
                },
                Action::Close(_) => waiting.push((session, key)),
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
                .map(|(session, key)| offer(session, *key, &action, &message, deadline))
                .collect();
            while let Some(failure) = waiting.next().await {
                failures.extend(failure);
            }
            drop(waiting);
            api.outcome(&fields, &failures)
        })
    }

    /// The whole body, or, when nobody wants it, nothing of it, with the same refusals.
    async fn read(&self, mut body: Body, is_wanted: bool) -> Result<Bytes, Refused> {
        let mut first = Bytes::new();
        let mut joined = BytesMut::new();
        let mut size = 0;
        while let Some(piece) = body.next().await {
            let piece = piece.map_err(|_| Refused::Unreadable)?;
            if piece.len() > self.config.max_body - size {
                return Err(Refused::TooLarge);
            }
            size += piece.len();
            if !is_wanted {
                continue;
            }
            // Nearly every body comes in one piece, and is taken as it is.
            if size == piece.len() {
                first = piece;
                continue;
            }
            if joined.is_empty() {
                joined.extend_from_slice(&first);
            }
            joined.extend_from_slice(&piece);
        }
        Ok(if joined.is_empty() { first } else { joined.freeze() })
    }

    fn is_authorized(&self, authorization: Option<&[u8]>) -> bool {
        if self.config.tokens.is_empty() {
            return true;
        }
        let Some((scheme, token)) = authorization
            .and_then(|value| str::from_utf8(value).ok())
            .and_then(|v| v.split_once(' '))
        else {
            return false;
        };
        let token = token.trim_start().as_bytes();
        // Every token is compared, whichever matches.
        let matches = |found, expected: &Secret| found | expected.is(token);
        scheme.eq_ignore_ascii_case("bearer") && self.config.tokens.iter().fold(false, matches)
    }

    /// A4 to A6.
    fn outcome(&self, fields: &Fields, failures: &[Failure]) -> Answer {
        if failures.is_empty() {
            return json(StatusCode::OK, r#"{"result":"OK"}"#);
        }
        let (status, result) = if self.config.strict {
            (StatusCode::BAD_REQUEST, "NG")
        } else {
            (StatusCode::OK, "OK")
        };
        let mut body = String::from(r#"{"errors":["#);
        for (at, failure) in failures.iter().enumerate() {
            body.push_str(if at > 0 { r#",{"error":""# } else { r#"{"error":""# });
            body.push_str(failure.error);
            body.push_str(r#"","session":""#);
            push_escaped(&mut body, fields.value(failure.key));
            body.push_str(r#""}"#);
        }
        let _ = writeln!(body, r#"],"result":"{result}"}}"#);
        json(status, body)
    }
}

/// Waits for room with a message for a session.
async fn offer(
    session: &Session,
    key: usize,
    action: &Action,
    message: &Message,
    deadline: Option<Instant>,
) -> Option<Failure> {
    let accepted = match action {
        Action::Send => session.send(message, deadline).await,
        Action::Close(end) => session.close(Some(message), end.clone(), deadline).await,
    };
    accepted.err().map(|error| Failure::of(error, key))
}

/// How a `/close` ends its sessions: 1000, or what the caller says.
fn end(fields: &Fields) -> Result<End, InvalidClose> {
    let code = match fields.get(&CLOSE_CODE) {
        Some(code) => str::from_utf8(code)
            .ok()
            .filter(|code| code.bytes().all(|byte| byte.is_ascii_digit()))
            .and_then(|code| u16::from_str(code).ok())
            .and_then(CloseCode::from_wire)
            .ok_or(InvalidClose::Code)?,
        None => CloseCode::NORMAL,
    };
    let reason = match fields.get(&CLOSE_REASON) {
        Some(reason) => {
            percent_decode(reason).decode_utf8().map_err(|_| InvalidClose::Reason)?.into_owned()
        }
        None => String::new(),
    };
    CloseFrame::new(code, reason).map(End::from)
}

impl Refused {
    const fn status(&self) -> StatusCode {
        match self {
            Self::Method => StatusCode::METHOD_NOT_ALLOWED,
            Self::NoSession | Self::Close(_) => StatusCode::BAD_REQUEST,
            Self::Unreadable => StatusCode::INTERNAL_SERVER_ERROR,
            Self::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Self::Unauthorized => StatusCode::UNAUTHORIZED,
        }
    }

    fn body(&self) -> String {
        let error = match self {
            Self::Method => "required POST method",
            Self::NoSession => "session header is missing",
            Self::Unauthorized => "unauthorized",
            Self::Close(InvalidClose::Code) => "close code is invalid",
            Self::Close(InvalidClose::Reason) => "close reason is invalid",
            Self::Unreadable | Self::TooLarge => return r#"{"result":"NG"}"#.to_owned(),
        };
        format!(r#"{{"errors":[{{"error":"{error}"}}],"result":"NG"}}"#)
    }
}

impl From<Refused> for Answer {
    fn from(refused: Refused) -> Self {
        let mut answer = json(refused.status(), refused.body());
        if matches!(refused, Refused::Unauthorized) {
            // RFC 9110 section 15.5.2
            answer.headers_mut().insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        answer
    }
}

fn json(status: StatusCode, body: impl Into<Bytes>) -> Answer {
    let mut answer = Answer::new(body.into());
    *answer.status_mut() = status;
    let kind = HeaderValue::from_static("application/json; charset=utf-8");
    answer.headers_mut().insert(CONTENT_TYPE, kind);
    answer
}

/// Escapes as the original's JSON does, so that answers stay the same byte for byte.
fn push_escaped(json: &mut String, bytes: &[u8]) {
    for chunk in bytes.utf8_chunks() {
        for character in chunk.valid().chars() {
            match character {
                '"' => json.push_str("\\\""),
                '\\' => json.push_str("\\\\"),
                '\n' => json.push_str("\\n"),
                '\r' => json.push_str("\\r"),
                '\t' => json.push_str("\\t"),
                '<' | '>' | '&' | '\u{2028}' | '\u{2029}' | '\0'..='\x1f' => {
                    let _ = write!(json, "\\u{:04x}", u32::from(character));
                }
                other => json.push(other),
            }
        }
        for _ in chunk.invalid() {
            json.push_str("\\ufffd");
        }
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderMap;

    use super::*;

    fn escaped(bytes: &[u8]) -> String {
        let mut json = String::new();
        push_escaped(&mut json, bytes);
        json
    }

    /// 6.2: JSON escaping
    #[test]
    fn escaping() {
        assert_eq!(escaped(b"a\"\\\n\r\t\x01\x08\x0c"), r#"a\"\\\n\r\t\u0001\u0008\u000c"#);
        assert_eq!(escaped(b"<a>&b"), r"\u003ca\u003e\u0026b");
        assert_eq!(escaped("\u{2028}\u{2029}é\x7f".as_bytes()), "\\u2028\\u2029é\x7f");
        assert_eq!(escaped(b"\xff\xc3x\xe2\x82"), r"\ufffd\ufffdx\ufffd\ufffd");
    }

    /// README.md has a row for each header, answer and error of the calls.
    #[test]
    fn the_readme_lists_the_calls() {
        let readme = include_str!("../../README.md");
        let table = |heading: &str| -> Vec<&str> {
            let rest = readme.split(heading).nth(1).unwrap().split("\n\n").next().unwrap();
            rest.lines().skip(2).map(|row| row.split('`').nth(1).unwrap()).collect()
        };
        let headers: Vec<String> =
            table("| header of a call |").iter().map(|name| name.to_lowercase()).collect();
        let read = [CONTENT_TYPE, CLOSE_CODE, CLOSE_REASON, AUTHORIZATION];
        let names = ["x-kuiperbelt-session".to_owned()].into_iter();
        let names = names.chain(read.iter().map(|name| name.as_str().to_owned()));
        assert_eq!(headers, names.collect::<Vec<_>>());
        assert_eq!(table("| error of a session |"), [NOT_FOUND, CLOSED, TIMED_OUT, INVALID_TEXT]);
        for refused in [
            Refused::Method,
            Refused::NoSession,
            Refused::Unreadable,
            Refused::TooLarge,
            Refused::Unauthorized,
            Refused::Close(InvalidClose::Code),
        ] {
            let body = refused.body();
            let row = format!("| {} | `{body}` |", refused.status().as_u16());
            assert!(readme.contains(&row), "{row}");
        }
    }

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
        for wrong in ["1006", "999", "abc", "70000", "+4000", ""] {
            assert_eq!(end(&[(code, wrong)]), Err(InvalidClose::Code), "{wrong}");
        }
        assert_eq!(end(&[(reason, "%ff")]), Err(InvalidClose::Reason));
        assert_eq!(end(&[(reason, &"x".repeat(124))]), Err(InvalidClose::Reason));
    }
}

//! What the backend asks of us: `/send` and `/close` for sessions, `/ping`, and `/stats`, which is in
//! `stats.rs`. The answers are byte for byte those that backends have been written against.

use std::fmt::Write as _;
use std::str::FromStr as _;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures_util::stream::{FuturesUnordered, StreamExt as _};
use http::header::{AUTHORIZATION, CONTENT_TYPE, WWW_AUTHENTICATE};
use http::request::Parts;
use http::{HeaderName, HeaderValue, Method, Request, StatusCode};
use kuiperbelt::{
    Answer, Body, CloseCode, CloseFrame, End, Hub, InvalidClose, Message, SendError, Session,
    TrySendError,
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
enum Action {
    Send,
    Close(End),
}

/// A session that a call names, and the key as it stands in the request.
type Recipient<'a> = (Session, &'a HeaderValue);

/// The sessions that a call names, and a failure for each key that means none.
type Targets<'a> = (Vec<Recipient<'a>>, Vec<Failure<'a>>);

/// A session that a call failed for.
struct Failure<'a> {
    error: &'static str,
    key: &'a HeaderValue,
}

impl<'a> Failure<'a> {
    const fn of(error: SendError, key: &'a HeaderValue) -> Self {
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
    pub(crate) async fn send(&self, request: Request<Body>) -> Answer {
        self.deliver(request, |_| Ok(Action::Send)).await
    }

    /// `/close`: the body is the last word to every session named.
    pub(crate) async fn close(&self, request: Request<Body>) -> Answer {
        let is_quiet = !self.config.close_callback_on_api_close;
        self.deliver(request, |head| {
            Ok(Action::Close(end(head).map_err(Refused::Close)?.quietly(is_quiet)))
        })
        .await
    }

    /// `/ping`: we are here.
    pub(crate) fn ping(&self) -> Answer {
        json(StatusCode::OK, r#"{"result":"OK"}"#)
    }

    /// The course of `/send` and `/close`: checks in their order, then delivery to all at once.
    async fn deliver(
        &self,
        request: Request<Body>,
        action: impl FnOnce(&Parts) -> Result<Action, Refused>,
    ) -> Answer {
        let (head, body) = request.into_parts();
        let (known, mut failures) = match self.targets(&head) {
            Ok(targets) => targets,
            Err(refused) => return refused.into(),
        };
        let action = match action(&head) {
            Ok(action) => action,
            Err(refused) => return refused.into(),
        };
        if self.config.strict && !failures.is_empty() {
            return self.outcome(&failures);
        }
        if body.at_least() > self.config.max_body as u64 {
            return Refused::TooLarge.into();
        }
        let body = match self.read(body, !known.is_empty()).await {
            Ok(body) => body,
            Err(refused) => return refused.into(),
        };
        if !known.is_empty() {
            debug!(
                path = head.uri.path(),
                headers = %Shown(&head.headers),
                body = %ShownBody(&body),
                "message"
            );
        }
        self.hub.metrics().total_messages.add(known.len() as u64);
        match message(head.headers.get(CONTENT_TYPE), &body, self.config.invalid_text) {
            Ok(message) => {
                let deadline = self.config.send_timeout.map(|timeout| Instant::now() + timeout);
                failures.extend(deliver_to_all(&known, &action, &message, deadline).await);
            }
            Err(_) => failures
                .extend(known.into_iter().map(|(_, key)| Failure { error: INVALID_TEXT, key })),
        }
        self.outcome(&failures)
    }

    /// The sessions named, and a failure for each key that means none.
    fn targets<'a>(&self, head: &'a Parts) -> Result<Targets<'a>, Refused> {
        if !self.is_authorized(head.headers.get(AUTHORIZATION)) {
            return Err(Refused::Unauthorized);
        }
        if head.method != Method::POST {
            return Err(Refused::Method);
        }
        let (mut known, mut unknown) = (Vec::new(), Vec::new());
        for key in head.headers.get_all(&self.config.session_header) {
            match self.hub.session(key.as_bytes()) {
                Some(session) => known.push((session, key)),
                None => unknown.push(Failure { error: NOT_FOUND, key }),
            }
        }
        if known.is_empty() && unknown.is_empty() {
            return Err(Refused::NoSession);
        }
        Ok((known, unknown))
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

    fn is_authorized(&self, authorization: Option<&HeaderValue>) -> bool {
        if self.config.tokens.is_empty() {
            return true;
        }
        let Some((scheme, token)) =
            authorization.and_then(|value| value.to_str().ok()).and_then(|v| v.split_once(' '))
        else {
            return false;
        };
        let token = token.trim_start().as_bytes();
        // Every token is compared, whichever matches.
        let matches = |found, expected: &Secret| found | expected.is(token);
        scheme.eq_ignore_ascii_case("bearer") && self.config.tokens.iter().fold(false, matches)
    }

    /// A4 to A6.
    fn outcome(&self, failures: &[Failure<'_>]) -> Answer {
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
            push_escaped(&mut body, failure.key.as_bytes());
            body.push_str(r#""}"#);
        }
        let _ = writeln!(body, r#"],"result":"{result}"}}"#);
        json(status, body)
    }
}

/// Hands the message to every session and returns the failures in the order in which they happen.
async fn deliver_to_all<'a>(
    sessions: &[Recipient<'a>],
    action: &Action,
    message: &Message,
    deadline: Option<Instant>,
) -> Vec<Failure<'a>> {
    let mut failures = Vec::new();
    let mut others = Vec::new();
    for (session, key) in sessions {
        // Nearly every session has room: only the others need a place to wait.
        match action {
            Action::Send => match session.try_send(message) {
                Ok(()) => {}
                Err(TrySendError::Closed) => failures.push(Failure::of(SendError::Closed, key)),
                Err(TrySendError::Full) => others.push((session, *key)),
            },
            Action::Close(_) => others.push((session, *key)),
        }
    }
    if others.is_empty() {
        return failures;
    }
    let mut waiting: FuturesUnordered<_> = others
        .into_iter()
        .map(|(session, key)| deliver(session, key, action, message, deadline))
        .collect();
    while let Some(failure) = waiting.next().await {
        failures.extend(failure);
    }
    failures
}

async fn deliver<'a>(
    session: &Session,
    key: &'a HeaderValue,
    action: &Action,
    message: &Message,
    deadline: Option<Instant>,
) -> Option<Failure<'a>> {
    let accepted = match action {
        Action::Send => session.send(message, deadline).await,
        Action::Close(end) => session.close(Some(message), end.clone(), deadline).await,
    };
    accepted.err().map(|error| Failure::of(error, key))
}

/// How a `/close` ends its sessions: 1000, or what the caller says.
fn end(head: &Parts) -> Result<End, InvalidClose> {
    let code = match head.headers.get(CLOSE_CODE) {
        Some(code) => code
            .to_str()
            .ok()
            .filter(|code| code.bytes().all(|byte| byte.is_ascii_digit()))
            .and_then(|code| u16::from_str(code).ok())
            .and_then(CloseCode::from_wire)
            .ok_or(InvalidClose::Code)?,
        None => CloseCode::NORMAL,
    };
    let reason = match head.headers.get(CLOSE_REASON) {
        Some(reason) => percent_decode(reason.as_bytes())
            .decode_utf8()
            .map_err(|_| InvalidClose::Reason)?
            .into_owned(),
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
            let mut head = Request::new(()).into_parts().0;
            for (name, value) in fields {
                let name = HeaderName::from_bytes(name.as_bytes()).unwrap();
                head.headers.insert(name, HeaderValue::from_str(value).unwrap());
            }
            end(&head).map(|end| (end.code.number(), end.reason.into_owned()))
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

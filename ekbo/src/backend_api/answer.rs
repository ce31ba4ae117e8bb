//! What a call is answered: JSON in the shape that the original's `/send` has, whatever is asked.

use std::fmt::Write as _;

use bytes::Bytes;
use http::header::{CONTENT_TYPE, WWW_AUTHENTICATE};
use http::{HeaderValue, StatusCode};
use kuiperbelt::{Answer, Answering, Fields, InvalidClose, SendError};

/// The body of an answer to which nothing is to be added.
pub(super) const OK: &str = r#"{"result":"OK"}"#;

pub(super) const SESSION_NOT_FOUND: &str = "kuiperbelt: session is not found";
pub(super) const CLOSED: &str = "kuiperbelt: session is closed";
pub(super) const TIMED_OUT: &str = "context deadline exceeded";
pub(super) const INVALID_TEXT: &str = "kuiperbelt: text message is not valid UTF-8";
pub(super) const CHANNEL_NOT_FOUND: &str = "kuiperbelt: channel is not found";
pub(super) const TOO_MANY_CHANNELS: &str = "kuiperbelt: too many channels";

/// A target that a call failed for. Its names stand in the request, at these places of the fields.
pub(super) struct Failure {
    pub(super) error: &'static str,
    pub(super) session: Option<usize>,
    pub(super) channel: Option<usize>,
}

impl Failure {
    pub(super) const fn of_session(error: &'static str, at: usize) -> Self {
        Self { error, session: Some(at), channel: None }
    }

    pub(super) const fn of_channel(error: &'static str, at: usize) -> Self {
        Self { error, session: None, channel: Some(at) }
    }

    pub(super) const fn of_sending(error: SendError, at: usize) -> Self {
        let error = match error {
            SendError::Closed => CLOSED,
            SendError::TimedOut => TIMED_OUT,
        };
        Self::of_session(error, at)
    }
}

/// Why a call is refused as a whole, before anything is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Refused {
    /// A1
    NotPost,
    NotGet,
    /// A2
    NoSession,
    NoChannel,
    /// More sessions and channels than are taken in one call.
    TooManyAtOnce,
    /// More channels of a Rocket hub than a body of this size is published on in one call.
    TooManyForBody,
    NoHub,
    /// What a Rocket hub is to publish is no object with an event.
    NoEvent,
    /// Of a page.
    Limit,
    Cursor,
    /// An `Idempotency-Key` that is none.
    Key,
    /// One that was another call's.
    KeyUsed,
    /// One more than can be remembered.
    TooManyKeys,
    /// A3
    Unreadable,
    TooLarge,
    Unauthorized,
    /// A web page from elsewhere has made the request.
    Origin,
    Close(InvalidClose),
    /// Of a message that names no targets.
    InvalidText,
}

impl Refused {
    pub(super) const fn status(self) -> StatusCode {
        match self {
            Self::NotPost | Self::NotGet => StatusCode::METHOD_NOT_ALLOWED,
            Self::NoSession
            | Self::NoChannel
            | Self::TooManyAtOnce
            | Self::TooManyForBody
            | Self::NoHub
            | Self::NoEvent
            | Self::Limit
            | Self::Cursor
            | Self::Key
            | Self::Close(_)
            | Self::InvalidText => StatusCode::BAD_REQUEST,
            Self::KeyUsed => StatusCode::UNPROCESSABLE_ENTITY,
            Self::TooManyKeys => StatusCode::SERVICE_UNAVAILABLE,
            Self::Unreadable => StatusCode::INTERNAL_SERVER_ERROR,
            Self::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Self::Unauthorized => StatusCode::UNAUTHORIZED,
            Self::Origin => StatusCode::FORBIDDEN,
        }
    }

    pub(super) fn body(self) -> String {
        let error = match self {
            Self::NotPost => "required POST method",
            Self::NotGet => "required GET method",
            Self::NoSession => "session header is missing",
            Self::NoChannel => "channel header is missing",
            Self::TooManyAtOnce => "too many sessions and channels",
            Self::TooManyForBody => "too many channels for a body of this size",
            Self::NoHub => "kuiperbelt: hub is not found",
            Self::NoEvent => "body is not a JSON object with an event",
            Self::Limit => "limit is not a number from 1 to 1000",
            Self::Cursor => "cursor is not the next of a page",
            Self::Key => "idempotency key is invalid",
            Self::KeyUsed => "idempotency key was used for another call",
            Self::TooManyKeys => "too many idempotency keys",
            Self::Unauthorized => "unauthorized",
            Self::Origin => "origin is not allowed",
            Self::Close(InvalidClose::Code) => "close code is invalid",
            Self::Close(InvalidClose::Reason) => "close reason is invalid",
            Self::InvalidText => INVALID_TEXT,
            Self::Unreadable | Self::TooLarge => return r#"{"result":"NG"}"#.to_owned(),
        };
        format!(r#"{{"errors":[{{"error":"{error}"}}],"result":"NG"}}"#)
    }
}

impl From<Refused> for Answer {
    fn from(refused: Refused) -> Self {
        let mut answer = json(refused.status(), refused.body());
        if refused == Refused::Unauthorized {
            // RFC 9110 section 15.5.2
            answer.headers_mut().insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        answer
    }
}

impl From<Refused> for Answering {
    fn from(refused: Refused) -> Self {
        Answer::from(refused).into()
    }
}

/// A4 and A5: all is done that could be, and these targets failed.
pub(super) fn outcome(fields: &Fields, failures: &[Failure], delivered: Option<usize>) -> Answer {
    let answer = match (failures, delivered) {
        ([], None) => return json(StatusCode::OK, OK),
        ([], Some(delivered)) => format!(r#"{{"result":"OK","delivered":{delivered}}}"#),
        (_, None) => with_errors(fields, failures, r#""OK""#),
        (_, Some(delivered)) => {
            with_errors(fields, failures, &format!(r#""OK","delivered":{delivered}"#))
        }
    };
    json(StatusCode::OK, answer)
}

/// A6: these targets failed, and that is too much for a strict call.
pub(super) fn strict_outcome(fields: &Fields, failures: &[Failure]) -> Answer {
    if failures.is_empty() {
        return json(StatusCode::OK, OK);
    }
    json(StatusCode::BAD_REQUEST, with_errors(fields, failures, r#""NG""#))
}

/// 404 for the session itself, rather than as a target of something.
pub(super) fn session_not_found(key: &[u8]) -> Answer {
    let mut body = format!(r#"{{"errors":[{{"error":"{SESSION_NOT_FOUND}","session":""#);
    push_escaped(&mut body, key);
    body.push_str("\"}],\"result\":\"NG\"}\n");
    json(StatusCode::NOT_FOUND, body)
}

pub(super) fn json(status: StatusCode, body: impl Into<Bytes>) -> Answer {
    let mut answer = Answer::new(body.into());
    *answer.status_mut() = status;
    let kind = HeaderValue::from_static("application/json; charset=utf-8");
    answer.headers_mut().insert(CONTENT_TYPE, kind);
    answer
}

fn with_errors(fields: &Fields, failures: &[Failure], result: &str) -> String {
    let mut body = String::from(r#"{"errors":["#);
    for (at, failure) in failures.iter().enumerate() {
        body.push_str(if at > 0 { r#",{"error":""# } else { r#"{"error":""# });
        body.push_str(failure.error);
        for (name, place) in [("session", failure.session), ("channel", failure.channel)] {
            if let Some(place) = place {
                let _ = write!(body, r#"","{name}":""#);
                push_escaped(&mut body, fields.value(place));
            }
        }
        body.push_str(r#""}"#);
    }
    let _ = writeln!(body, r#"],"result":{result}}}"#);
    body
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

    #[test]
    fn outcomes() {
        let mut named = HeaderMap::new();
        named.insert("s", "alice".parse().unwrap());
        named.insert("c", "new\"s".parse().unwrap());
        let fields = Fields::from(&named);
        let failures = [
            Failure::of_session("a", 0),
            Failure::of_channel("b", 1),
            Failure { error: "c", session: Some(0), channel: Some(1) },
        ];
        let errors = r#""errors":[{"error":"a","session":"alice"},{"error":"b","channel":"new\"s"},{"error":"c","session":"alice","channel":"new\"s"}]"#;
        for (failures, delivered, body) in [
            (&failures[..0], None, r#"{"result":"OK"}"#.to_owned()),
            (&failures[..0], Some(7), r#"{"result":"OK","delivered":7}"#.to_owned()),
            (&failures[..], None, format!("{{{errors},\"result\":\"OK\"}}\n")),
            (&failures[..], Some(0), format!("{{{errors},\"result\":\"OK\",\"delivered\":0}}\n")),
        ] {
            let answer = outcome(&fields, failures, delivered);
            assert_eq!((answer.status(), &**answer.body()), (StatusCode::OK, body.as_bytes()));
        }
        let answer = strict_outcome(&fields, &failures);
        assert_eq!(answer.status(), StatusCode::BAD_REQUEST);
        assert_eq!(*answer.body(), format!("{{{errors},\"result\":\"NG\"}}\n"));
        assert_eq!(strict_outcome(&fields, &[]).status(), StatusCode::OK);
    }
}

//! What the backend has done with a session by its answer to a callback: the fields of the answer
//! read as actions, and the actions carried out. The session's state is in `state.rs`, the body of
//! an answer in `callback.rs`.

use std::fmt;

use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderName, HeaderValue};
use kuiperbelt::{Channels, CloseFrame, End, InvalidClose, Session, SubscribeError};
use tracing::{error, info};

use super::headers::STATE;
use super::state::{LONGEST_STATE, set_state};
use crate::close_frame::close_frame;

pub(crate) const SUBSCRIBE: HeaderName = HeaderName::from_static("x-kuiperbelt-subscribe");
pub(crate) const UNSUBSCRIBE: HeaderName = HeaderName::from_static("x-kuiperbelt-unsubscribe");
pub(crate) const CLOSE: HeaderName = HeaderName::from_static("x-kuiperbelt-close");

/// The fields that are read here.
pub(crate) static FIELDS: [HeaderName; 4] = [SUBSCRIBE, UNSUBSCRIBE, STATE, CLOSE];

/// The same, and the type of a body that is a message.
pub(crate) static FIELDS_AND_TYPE: [HeaderName; 5] =
    [SUBSCRIBE, UNSUBSCRIBE, STATE, CLOSE, CONTENT_TYPE];

/// What an answer asks for, in the order in which it is done, and what it asks for in vain.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Actions {
    /// One name of a channel for each field.
    subscribe: Vec<HeaderValue>,
    unsubscribe: Vec<HeaderValue>,
    /// Of several fields the first counts.
    state: Option<Result<HeaderValue, LongState>>,
    /// After the body. Of several fields the first counts.
    close: Option<Result<CloseFrame, InvalidClose>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a state has at most {LONGEST_STATE} bytes; the session keeps the one it had")]
struct LongState;

impl Actions {
    pub(crate) fn read(headers: &HeaderMap) -> Self {
        // As in nearly every answer.
        if !headers.keys().any(|name| FIELDS.contains(name)) {
            return Self::default();
        }
        let all = |name| headers.get_all(name).iter().cloned().collect();
        let fits = |state: &HeaderValue| {
            if state.len() > LONGEST_STATE { Err(LongState) } else { Ok(state.clone()) }
        };
        Self {
            subscribe: all(&SUBSCRIBE),
            unsubscribe: all(&UNSUBSCRIBE),
            state: headers.get(&STATE).map(fits),
            close: headers.get(&CLOSE).map(|value| code_and_reason(value.as_bytes())),
        }
    }

    /// Whether nothing is asked for.
    pub(crate) fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Does what comes before the body of the answer.
    pub(crate) fn before_body(&self, session: &Session, channels: &Channels) {
        for name in &self.subscribe {
            match channels.subscribe(session, name.as_bytes()) {
                Ok(()) => {}
                Err(failure @ SubscribeError::Closed) => {
                    info!(
                        session = %String::from_utf8_lossy(session.key()),
                        header = %SUBSCRIBE,
                        reason = %failure,
                        "the session is gone"
                    );
                    break;
                }
                Err(failure) => report(session, &SUBSCRIBE, &failure),
            }
        }
        for name in &self.unsubscribe {
            channels.unsubscribe(session, name.as_bytes());
        }
        match &self.state {
            Some(Ok(value)) => set_state(session, value),
            Some(Err(failure)) => report(session, &STATE, failure),
            None => {}
        }
    }

    /// Does what comes after it.
    pub(crate) fn after_body(self, session: &Session) {
        match self.close {
            Some(Ok(frame)) => session.end(End::from(frame)),
            Some(Err(failure)) => {
                let remedy = "write 1000 to 1003, 1007 to 1013 or 3000 to 4999, and behind a space \
                              up to 123 bytes of UTF-8";
                report(session, &CLOSE, &format_args!("{failure}; {remedy}"));
            }
            None => {}
        }
    }
}

/// Tells of something that is not done.
fn report(session: &Session, header: &HeaderName, reason: &dyn fmt::Display) {
    error!(
        session = %String::from_utf8_lossy(session.key()),
        header = %header,
        reason = %reason,
        "cannot do what a callback's answer asks for"
    );
}

/// `CODE [reason]`
fn code_and_reason(value: &[u8]) -> Result<CloseFrame, InvalidClose> {
    let end = value.iter().position(u8::is_ascii_whitespace).unwrap_or(value.len());
    let (code, reason) = value.split_at(end);
    close_frame(code, reason.trim_ascii())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(fields: &[(HeaderName, &[u8])]) -> Actions {
        let mut headers = HeaderMap::new();
        for (name, value) in fields {
            headers.append(name, HeaderValue::from_bytes(value).unwrap());
        }
        Actions::read(&headers)
    }

    fn close(value: &str) -> Result<(u16, String), InvalidClose> {
        let frame = read(&[(CLOSE, value.as_bytes())]).close.unwrap()?;
        Ok((frame.code().number(), frame.reason().to_owned()))
    }

    #[test]
    fn an_answer_without_any_asks_for_nothing() {
        assert!(read(&[]).is_empty());
        assert!(read(&[(CONTENT_TYPE, b"text/plain")]).is_empty());
        for name in &FIELDS {
            assert!(!read(&[(name.clone(), b"1000")]).is_empty(), "{name}");
        }
    }

    #[test]
    fn each_field_names_one_channel() {
        let names: [(HeaderName, &[u8]); 4] =
            [(SUBSCRIBE, b"a, b"), (UNSUBSCRIBE, b"c"), (SUBSCRIBE, b"\xff"), (SUBSCRIBE, b"")];
        let actions = read(&names);
        let bytes = |names: &[HeaderValue]| -> Vec<Vec<u8>> {
            names.iter().map(|name| name.as_bytes().to_vec()).collect()
        };
        assert_eq!(bytes(&actions.subscribe), [&b"a, b"[..], b"\xff", b""]);
        assert_eq!(bytes(&actions.unsubscribe), [b"c"]);
    }

    #[test]
    fn a_state_has_a_limit() {
        let state = |size: usize| read(&[(STATE, &vec![b'x'; size])]).state.unwrap();
        assert_eq!(state(0).unwrap(), "");
        assert_eq!(state(LONGEST_STATE).unwrap().len(), 4096);
        assert_eq!(state(LONGEST_STATE + 1), Err(LongState));
    }

    #[test]
    fn close_codes_and_reasons() {
        let is = |code, reason: &str| Ok((code, reason.to_owned()));
        assert_eq!(close("1000"), is(1000, ""));
        assert_eq!(close("4000 good bye"), is(4000, "good bye"));
        assert_eq!(close("4999 \t gr%C3%BC%C3%9Fe%20 "), is(4999, "grüße "));
        assert_eq!(close("3000 grüße"), is(3000, "grüße"));
        for wrong in ["", "bye", "1006", "4000,bye", "4000bye", "-1 x"] {
            assert_eq!(close(wrong), Err(InvalidClose::Code), "{wrong}");
        }
        assert_eq!(close("4000 %ff"), Err(InvalidClose::Reason));
    }

    /// README.md has a row for each.
    #[test]
    fn the_readme_lists_the_actions() {
        let readme = include_str!("../../../README.md").to_lowercase();
        let table = readme.split("| header of an answer |").nth(1).unwrap();
        let rows = table.split("\n\n").next().unwrap().lines().skip(2);
        let listed: Vec<&str> = rows.map(|row| row.split('`').nth(1).unwrap()).collect();
        assert_eq!(listed, FIELDS.each_ref().map(HeaderName::as_str));
    }
}

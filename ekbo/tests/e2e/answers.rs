//! The answers of the backend's API, byte for byte.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use super::harness::Response;

/// The media type of every answer of the API.
pub(crate) const JSON: &str = "application/json; charset=utf-8";

pub(crate) const NOT_FOUND: &str = "kuiperbelt: session is not found";
pub(crate) const CLOSED: &str = "kuiperbelt: session is closed";
pub(crate) const TIMED_OUT: &str = "context deadline exceeded";
pub(crate) const CHANNEL_NOT_FOUND: &str = "kuiperbelt: channel is not found";
pub(crate) const TOO_MANY_CHANNELS: &str = "kuiperbelt: too many channels";
pub(crate) const NOT_UTF8: &str = "kuiperbelt: text message is not valid UTF-8";

impl Response {
    /// A4: every target has accepted.
    #[track_caller]
    pub(crate) fn assert_accepted(&self) {
        self.assert_is(200, JSON, r#"{"result":"OK"}"#);
    }

    /// Published, and so many are to get it.
    #[track_caller]
    pub(crate) fn assert_delivered(&self, count: usize) {
        self.assert_is(200, JSON, &format!(r#"{{"result":"OK","delivered":{count}}}"#));
    }

    /// A5: these targets failed, each `(text, key)`, in this order.
    #[track_caller]
    pub(crate) fn assert_failed_for<const N: usize>(&self, failures: [(&str, &str); N]) {
        self.assert_is(200, JSON, &with_failures(&failures, "OK"));
    }

    /// A6: these targets failed, each `(text, key)`, in this order, and `strict_broadcast` is on.
    #[track_caller]
    pub(crate) fn assert_strictly_failed_for<const N: usize>(&self, failures: [(&str, &str); N]) {
        self.assert_is(400, JSON, &with_failures(&failures, "NG"));
    }

    /// The call was refused as a whole, for the one reason that the body tells.
    #[track_caller]
    pub(crate) fn assert_refused(&self, status: u16, error: &str) {
        let body = format!(r#"{{"errors":[{{"error":"{error}"}}],"result":"NG"}}"#);
        self.assert_is(status, JSON, &body);
    }
}

fn with_failures(failures: &[(&str, &str)], result: &str) -> String {
    let failures: Vec<String> = failures
        .iter()
        .map(|(text, key)| format!(r#"{{"error":"{text}","session":"{key}"}}"#))
        .collect();
    format!("{{\"errors\":[{}],\"result\":\"{result}\"}}\n", failures.join(","))
}

/// What a list says of its next page, when it ends with this name.
pub(super) fn cursor(name: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(name)
}

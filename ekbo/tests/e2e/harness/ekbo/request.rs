//! A request to `ekbo` from the backend or an operator.

use super::super::http::{Draft, Http, Response};
use super::Listener;

/// A request being put together, to go over a connection of its own.
#[derive(Clone)]
pub(crate) struct RequestPlan {
    listener: Listener,
    draft: Draft,
}

impl RequestPlan {
    pub(super) fn new(listener: Listener, host: &str, method: &str, target: &str) -> Self {
        let mut draft = Draft::new(method, target);
        draft.add("Host", host.as_bytes());
        Self { listener, draft }
    }

    /// Adds a field, after those of the same name.
    pub(crate) fn header(mut self, name: &str, value: impl AsRef<[u8]>) -> Self {
        self.draft.add(name, value.as_ref());
        self
    }

    /// Adds one session field under its default name.
    pub(crate) fn session(self, key: &str) -> Self {
        self.header("X-Kuiperbelt-Session", key)
    }

    /// Adds one session field under its default name for each key.
    pub(crate) fn sessions<const N: usize>(self, keys: [&str; N]) -> Self {
        keys.into_iter().fold(self, Self::session)
    }

    /// Adds a channel field for each name.
    pub(crate) fn channels<const N: usize>(self, names: [&str; N]) -> Self {
        let add = |request: Self, name| request.header("X-Kuiperbelt-Channel", name);
        names.into_iter().fold(self, add)
    }

    pub(crate) fn content_type(self, content_type: &str) -> Self {
        self.header("Content-Type", content_type)
    }

    pub(crate) fn body(mut self, body: impl AsRef<[u8]>) -> Self {
        self.draft.set_body(body.as_ref());
        self
    }

    /// Writes the request and comes back with the connection, without waiting for the answer.
    #[track_caller]
    pub(crate) fn start(self) -> Http {
        let mut http = Http::over(self.listener.wire());
        http.write(self.draft.to_bytes());
        http
    }

    /// Writes the request and reads the answer.
    #[track_caller]
    pub(crate) fn send(self) -> Response {
        let method = self.draft.method().to_owned();
        self.start().read_answer_to(&method)
    }
}

//! `/sessions` and `/channels`: what there is, page by page, sorted by name. Whoever asks for the
//! next page says where the last one ended, so that nothing is kept in between.
//!
//! A name that is no UTF-8 is shown percent-encoded, and said to be.

use http::{Method, StatusCode, Uri};
use kuiperbelt::{Answer, Request, Session};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, percent_encode};
use serde_json::{Value, json};

use super::BackendApi;
use super::access::Reach;
use super::answer::{self, Refused};
use super::query::{Query, cursor};
use super::timestamp::rfc3339;

/// How many channels of a session a list shows, so that its size is bounded by that of a page.
const CHANNELS_IN_LISTS: usize = 10;

/// All but what RFC 3986 section 2.3 leaves as it is.
const ENCODED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

impl BackendApi {
    /// `/sessions`: those that can be sent to.
    pub(crate) fn sessions(&self, request: &Request) -> Answer {
        self.list(request, "sessions", |query| {
            let (after, more) = (query.after.as_deref(), query.limit + 1);
            let found = match &query.channel {
                Some(channel) => self.listeners(channel, after, more),
                None => self.hub.page(after, more),
            };
            let shown = |session: &Session| {
                (session.key().to_vec(), self.shown(session, CHANNELS_IN_LISTS))
            };
            found.iter().map(shown).collect()
        })
    }

    /// `/sessions/KEY`, `path` being that of `/sessions`.
    pub(crate) fn session(&self, request: &Request, path: &str) -> Answer {
        if let Err(refused) = self.check_get(request) {
            return refused.into();
        }
        let key = name_below(path, &request.uri);
        match self.hub.session(&key) {
            Some(session) => {
                let body = json!({ "session": self.shown(&session, usize::MAX), "result": "OK" });
                answer::json(StatusCode::OK, body.to_string())
            }
            None => answer::session_not_found(&key),
        }
    }

    /// `/channels`: those that somebody listens to.
    pub(crate) fn channels(&self, request: &Request) -> Answer {
        self.list(request, "channels", |query| {
            let found = self.hub.channels().page(query.after.as_deref(), query.limit + 1);
            let shown = |(name, listeners): (Vec<u8>, usize)| {
                let channel = with_name("name", &name, json!({ "listeners": listeners }));
                (name, channel)
            };
            found.into_iter().map(shown).collect()
        })
    }

    /// A page of a list; `find` is to find one more than asked for, if there is one.
    fn list(
        &self,
        request: &Request,
        of: &str,
        find: impl FnOnce(&Query) -> Vec<(Vec<u8>, Value)>,
    ) -> Answer {
        let query = match self.check_get(request).and_then(|()| Query::of(&request.uri)) {
            Ok(query) => query,
            Err(refused) => return refused.into(),
        };
        let mut found = find(&query);
        let is_last = found.len() <= query.limit;
        found.truncate(query.limit);
        let next = found.last().filter(|_| !is_last).map(|(name, _)| cursor(name));
        let items: Vec<Value> = found.into_iter().map(|(_, item)| item).collect();
        let body = json!({ of: items, "next": next, "result": "OK" });
        answer::json(StatusCode::OK, body.to_string())
    }

    fn check_get(&self, request: &Request) -> Result<(), Refused> {
        self.check_access(request, Reach::Here)?;
        matches!(request.method, Method::GET | Method::HEAD).then_some(()).ok_or(Refused::NotGet)
    }

    /// The sessions that listen to a channel, like [`Hub::page`](kuiperbelt::Hub::page).
    fn listeners(&self, channel: &[u8], after: Option<&[u8]>, limit: usize) -> Vec<Session> {
        let mut found = self.hub.channels().listeners(channel);
        found.retain(|session| after.is_none_or(|after| session.key() > after));
        found.sort_unstable_by(|a, b| Ord::cmp(a.key(), b.key()));
        let is_meant =
            |session: &Session| self.hub.session(session.key()).as_ref() == Some(session);
        found.into_iter().filter(is_meant).take(limit).collect()
    }

    /// What there is to tell of a session, with at most so many of its channels.
    fn shown(&self, session: &Session, most_channels: usize) -> Value {
        let traffic = session.traffic();
        let address = session.peer().map(|peer| {
            // A listener on all addresses sees those of IPv4 as mapped ones.
            std::net::SocketAddr::new(peer.ip().to_canonical(), peer.port()).to_string()
        });
        let (channels, channel_count) = self.hub.channels().first_of(session, most_channels);
        let channel = |name: &Vec<u8>| with_name("name", name, json!({}));
        let rest = json!({
            "connected_at": rfc3339(session.since()),
            "remote_address": address.unwrap_or_default(),
            "transport": session.transport(),
            "channels": channels.iter().map(channel).collect::<Vec<_>>(),
            "channel_count": channel_count,
            "queue": { "messages": traffic.queued_messages, "bytes": traffic.queued_bytes },
            "in": { "messages": traffic.messages_in, "bytes": traffic.bytes_in },
            "out": { "messages": traffic.messages_out, "bytes": traffic.bytes_out },
            "dropped": traffic.dropped,
        });
        with_name("key", session.key(), rest)
    }
}

/// Puts a name before the rest of an object, and says whether it is encoded.
fn with_name(member: &str, name: &[u8], rest: Value) -> Value {
    let (name, is_encoded) = text(name);
    let mut object = json!({ member: name });
    if is_encoded {
        object["percent_encoded"] = json!(true);
    }
    if let (Value::Object(object), Value::Object(rest)) = (&mut object, rest) {
        object.extend(rest);
    }
    object
}

/// A name as it is, or else, if it is no UTF-8, percent-encoded.
fn text(name: &[u8]) -> (String, bool) {
    match str::from_utf8(name) {
        Ok(name) => (name.to_owned(), false),
        Err(_) => (encoded(name), true),
    }
}

fn encoded(name: &[u8]) -> String {
    percent_encode(name, ENCODED).to_string()
}

/// The name that a path has below another.
fn name_below(path: &str, uri: &Uri) -> Vec<u8> {
    let whole: Vec<u8> = percent_decode_str(uri.path()).collect();
    whole.get(path.len() + 1..).unwrap_or_default().to_vec()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_are_no_text_are_encoded() {
        assert_eq!(text(b"a b%\xc3\xa9"), ("a b%é".into(), false));
        assert_eq!(text(b"a b%\xff"), ("a%20b%25%FF".into(), true));
        assert_eq!(
            with_name("key", b"\xff", json!({ "x": 1 })).to_string(),
            r#"{"key":"%FF","percent_encoded":true,"x":1}"#
        );
        assert_eq!(with_name("key", b"a", json!({ "x": 1 })).to_string(), r#"{"key":"a","x":1}"#);
    }

    #[test]
    fn names_in_paths() {
        for (path, name) in
            [("/s/alice", &b"alice"[..]), ("/%73/%61%2Fb%20+%ff", b"a/b +\xff"), ("/s/", b"")]
        {
            assert_eq!(name_below("/s", &path.parse().unwrap()), name, "{path}");
        }
    }
}

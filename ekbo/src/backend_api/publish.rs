//! `/publish` and `/broadcast`: a message to everybody who listens to a channel, or to everybody.
//! They wait for nobody: what happens to a client that reads too slowly is the business of
//! `slow_consumer`.

use std::collections::HashSet;
use std::sync::Arc;

use http::header::CONTENT_TYPE;
use http::{HeaderName, Uri};
use kuiperbelt::rocket::PublishError;
use kuiperbelt::{Answer, Answering, Fields, InvalidText, Request, Session};
use tracing::debug;

use super::access::Reach;
use super::answer::{CHANNEL_NOT_FOUND, Failure, INVALID_TEXT, Refused, outcome};
use super::{BackendApi, CHANNEL};
use crate::log::{Shown, ShownBody};
use crate::text::message;

/// Publishes a JSON object on channels of a Rocket hub, as `Rocket::publish_json_to_each` does.
pub(crate) type PublishJson =
    Box<dyn Fn(&[&str], &str) -> Result<Vec<Option<usize>>, PublishError> + Send + Sync>;

/// The most channels times bytes that one call is to publish in a Rocket hub, where each channel
/// has a message of its own: what a single one may have by the usual `max_body_size`, as nobody
/// else gets a turn meanwhile.
const MOST_AT_ONCE: usize = 16 << 20;

pub(super) static HUB: HeaderName = HeaderName::from_static("x-kuiperbelt-hub");
pub(super) const EXCEPT: HeaderName = HeaderName::from_static("x-kuiperbelt-except");

impl BackendApi {
    /// `/publish`: the body is a message for whoever listens to any of the channels named.
    pub(crate) fn publish(self: &Arc<Self>, request: Request) -> Answering {
        if let Err(refused) = self.check_publish(&request) {
            return refused.into();
        }
        let Request { uri, fields, body, .. } = request;
        self.once(&self.published, fields, body, move |api, fields, body| {
            log_message(&uri, &fields, body);
            let answer = api.hub_named(&fields).and_then(|hub| match hub {
                Some(publish) => api.publish_to_hub(publish, &fields, body),
                None => Ok(api.publish_to_channels(&fields, body)),
            });
            answer.unwrap_or_else(Answer::from).into()
        })
    }

    /// `/broadcast`: the body is a message for every session.
    pub(crate) fn broadcast(self: &Arc<Self>, request: Request) -> Answering {
        if let Err(refused) = self.check_post(&request, Reach::Here) {
            return refused.into();
        }
        let Request { uri, fields, body, .. } = request;
        self.once(&self.broadcasted, fields, body, move |api, fields, body| {
            log_message(&uri, &fields, body);
            api.publish_to_all(&fields, body).unwrap_or_else(Answer::from).into()
        })
    }

    fn check_publish(&self, request: &Request) -> Result<(), Refused> {
        self.check_post(request, Reach::Here)?;
        request.fields.get(&CHANNEL).ok_or(Refused::NoChannel)?;
        self.hub_named(&request.fields).map(|_| ())
    }

    /// The hub whose channels are meant, if not the gateway's. More than one field names none.
    fn hub_named(&self, fields: &Fields) -> Result<Option<&PublishJson>, Refused> {
        let mut named = fields.get_all(&HUB);
        match (named.next(), named.next()) {
            (None, _) => Ok(None),
            (Some(path), None) => {
                let hub = self.hubs.iter().find(|(known, _)| known.as_bytes() == path);
                hub.map(|(_, publish)| Some(publish)).ok_or(Refused::NoHub)
            }
            (Some(_), Some(_)) => Err(Refused::NoHub),
        }
    }

    /// Every channel gets a message of its own, as its name is in it.
    fn publish_to_hub(
        &self,
        publish: &PublishJson,
        fields: &Fields,
        body: &[u8],
    ) -> Result<Answer, Refused> {
        let json = str::from_utf8(body).map_err(|_| Refused::NoEvent)?;
        let mut seen = HashSet::new();
        let (places, channels): (Vec<usize>, Vec<&str>) = fields
            .places_of(&CHANNEL)
            .filter(|&at| seen.insert(fields.value(at)))
            // No hub has a channel whose name is no text, nor one without a name.
            .map(|at| (at, str::from_utf8(fields.value(at)).unwrap_or_default()))
            .unzip();
        if channels.len() > 1 && channels.len().saturating_mul(body.len()) > MOST_AT_ONCE {
            return Err(Refused::TooManyForBody);
        }
        let published = publish(&channels, json).map_err(|_| Refused::NoEvent)?;
        let mut failures = Vec::new();
        let mut delivered = 0;
        for (at, reached) in places.into_iter().zip(published) {
            match reached {
                Some(reached) => delivered += reached,
                None => failures.push(Failure::of_channel(CHANNEL_NOT_FOUND, at)),
            }
        }
        self.hub.metrics().total_messages.add(delivered as u64);
        Ok(outcome(fields, &failures, Some(delivered)))
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

#[cfg(test)]
mod tests {
    use http::{HeaderMap, StatusCode};
    use kuiperbelt::Hub;
    use parking_lot::Mutex;

    use super::*;
    use crate::backend_api::Config;
    use crate::text::InvalidTextPolicy;

    /// An API beside a hub at `/chat` that has the channels `one` and `two`, with what is published
    /// there.
    fn api() -> (BackendApi, Arc<Mutex<Vec<String>>>) {
        let published = Arc::new(Mutex::new(Vec::new()));
        let kept = Arc::clone(&published);
        let publish = move |channels: &[&str], json: &str| {
            let publish = |channel: &&str| {
                let is_there = matches!(*channel, "one" | "two");
                is_there.then(|| kept.lock().push(format!("{channel}: {json}"))).map(|()| 3)
            };
            match json {
                "[]" => Err(PublishError::InvalidData),
                _ => Ok(channels.iter().map(publish).collect()),
            }
        };
        let config = Config {
            session_header: HeaderName::from_static("x-kuiperbelt-session"),
            tokens: Vec::new(),
            strict: false,
            send_timeout: None,
            max_body: usize::MAX,
            invalid_text: InvalidTextPolicy::Reject,
            close_callback_on_api_close: false,
        };
        let hubs: Vec<(String, PublishJson)> = vec![("/chat".into(), Box::new(publish))];
        (BackendApi::new(Hub::new(), hubs, config), published)
    }

    fn fields(hubs: &[&str], channels: &[&[u8]]) -> Fields {
        let mut map = HeaderMap::new();
        for hub in hubs {
            map.append(&HUB, hub.parse().unwrap());
        }
        for channel in channels {
            map.append(CHANNEL, http::HeaderValue::from_bytes(channel).unwrap());
        }
        Fields::from(&map)
    }

    #[test]
    fn which_hub_is_meant() {
        let (api, _) = api();
        let meant = |hubs: &[&str]| api.hub_named(&fields(hubs, &[])).map(|hub| hub.is_some());
        assert_eq!(meant(&[]), Ok(false));
        assert_eq!(meant(&["/chat"]), Ok(true));
        for unknown in [&["/Chat"][..], &[""], &["/chat/"], &["chat"], &["/chat", "/chat"]] {
            assert_eq!(meant(unknown), Err(Refused::NoHub), "{unknown:?}");
        }
    }

    #[test]
    fn every_channel_of_a_hub_gets_its_own_message_once() {
        let (api, published) = api();
        let fields = fields(&["/chat"], &[b"one", b"two", b"three", b"one", b"\xff"]);
        let hub = api.hub_named(&fields).unwrap().unwrap();
        let answer = api.publish_to_hub(hub, &fields, b"{}").unwrap();
        let failures = r#"[{"error":"kuiperbelt: channel is not found","channel":"three"},{"error":"kuiperbelt: channel is not found","channel":"\ufffd"}]"#;
        assert_eq!(answer.status(), StatusCode::OK);
        let body = format!("{{\"errors\":{failures},\"result\":\"OK\",\"delivered\":6}}\n");
        assert_eq!(*answer.body(), body);
        assert_eq!(*published.lock(), ["one: {}", "two: {}"]);
        assert_eq!(api.hub.metrics().total_messages.value(), 6);
    }

    #[test]
    fn what_is_no_message_of_a_hub() {
        let (api, published) = api();
        let fields = fields(&["/chat"], &[b"three", b"one"]);
        let hub = api.hub_named(&fields).unwrap().unwrap();
        for body in [&b"[]"[..], b"\xff"] {
            let refused = api.publish_to_hub(hub, &fields, body).unwrap_err();
            assert_eq!(refused, Refused::NoEvent);
        }
        assert!(published.lock().is_empty());
    }

    #[test]
    fn a_large_body_goes_to_few_channels() {
        let (api, published) = api();
        let publish = |channels: &[&[u8]], size| {
            let fields = fields(&["/chat"], channels);
            let hub = api.hub_named(&fields).unwrap().unwrap();
            let answer = api.publish_to_hub(hub, &fields, &vec![b'x'; size]);
            answer.map(|answer| answer.status())
        };
        assert_eq!(publish(&[b"one"], MOST_AT_ONCE + 1), Ok(StatusCode::OK));
        assert_eq!(publish(&[b"one", b"one"], MOST_AT_ONCE), Ok(StatusCode::OK));
        assert_eq!(publish(&[b"one", b"two"], MOST_AT_ONCE / 2), Ok(StatusCode::OK));
        assert_eq!(published.lock().len(), 4);
        let refused = publish(&[b"one", b"two"], MOST_AT_ONCE / 2 + 1);
        assert_eq!(refused, Err(Refused::TooManyForBody));
        assert_eq!(published.lock().len(), 4);
    }
}

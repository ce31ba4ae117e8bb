//! The Rocket protocol: publish and subscribe for clients that have logged in, in messages of a
//! [`Codec`]. A [`Rocket`] is one hub of it, with channels, secrets and limits of its own.
//!
//! A client asks by events, of which each but an unknown one is answered, in order:
//!
//! | event | payload | answer |
//! | --- | --- | --- |
//! | `auth` | `access`: `read-only` or `read-write`; `secret` | `ok`, `invalid_data`, `invalid_credentials` |
//! | `subscribe` | `channel` | `ok`, `access_denied`, `invalid_data`, `invalid_channel_name` |
//! | `unsubscribe` | `channel` | `ok`, `invalid_data` |
//! | `publish` | `channel`, `event`, and anything else | `ok`, `access_denied`, `invalid_data`, `invalid_channel` |
//! | `logout` | any | `ok` |
//! | `disconnect` | any | `ok`, and the connection ends |
//!
//! What is published reaches everybody who listens to the channel, the publisher too, as the whole
//! payload of `publish`. A channel comes with its first subscriber and stays, unless its place
//! is needed: see [`Settings::max_channels`].
//!
//! ```
//! use kuiperbelt::Server;
//! use kuiperbelt::rocket::{Credentials, Rocket, Settings};
//!
//! let credentials = Credentials { read_only: String::new(), read_write: "secret".into() };
//! let settings = Settings { credentials, ..Settings::default() };
//! let mut server = Server::new();
//! let chat = Rocket::new(server.hub(), "/chat", settings);
//! server.door_with("/chat", chat.clone(), chat.options())?;
//! // The program publishes, too.
//! assert_eq!(chat.publish("news", [("event".into(), "hello".into())].into_iter().collect()), None);
//! # Ok::<_, kuiperbelt::SamePath>(())
//! ```
//!
//! A hub tells what happens in `tracing` events of this module, with its path in the field `hub`,
//! where the client is in `peer` from its first message on, and a line as the message. At `INFO`:
//! `Connected`, `Disconnected`, `Authenticated (read-only access)`, `Authentication failed`,
//! `Logged out`; at `DEBUG`: `Subscribed: news`, `Unsubscribed: news`, `[=> news] Broadcasted`; at
//! `WARN`: `Error: …`, why it may not subscribe once for each connection. A connection has 50 lines
//! a second at each of the other levels; how many were left out is told with the next. Control
//! characters of a channel's name are escaped there, a long one is cut, and published data is not
//! told.

use std::fmt;
use std::sync::Arc;

use http::header::ORIGIN;
use http::request::Parts;
use http::{HeaderMap, HeaderValue};
use kuiperbelt_websocket::{CloseCode, handshake::offered_subprotocols};
use parking_lot::{Mutex, MutexGuard, RwLock};
use tokio::time::Instant;
use tracing::debug;

use crate::channel::{Channels, Limits, SubscribeError};
use crate::codec::{Codec, Data, InvalidData, Json, Reply};
use crate::handler::{Admission, Handler, Refusal};
use crate::hub::Hub;
use crate::message::{End, Received};
use crate::options::Options;
use crate::session::Session;

mod access;
mod lines;
mod rules;

use access::Failures;
pub use access::{Access, Credentials};
use lines::{Lines, Shown};
use rules::{Step, step};

/// What a Rocket hub takes, and from whom.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The secrets; by default both accesses are open.
    pub credentials: Credentials,
    /// The largest message taken from a client, in bytes, 1 MiB by default; a larger one ends in
    /// close code 1009.
    pub max_message: usize,
    /// How many channels there may be, 100,000 by default. One more takes the place of one that
    /// nobody listens to; where there is none its name is [invalid](Reply::InvalidChannelName).
    pub max_channels: usize,
    /// How many channels one client may listen to, 10,000 by default; names beyond are invalid.
    pub max_subscriptions: usize,
    /// What `Origin` a client may have, `*` being any; others are answered 403. Clients without
    /// one are always welcome. By default everybody is.
    pub allowed_origins: Option<Vec<String>>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            credentials: Credentials::default(),
            max_message: 1 << 20,
            max_channels: 100_000,
            max_subscriptions: 10_000,
            allowed_origins: None,
        }
    }
}

/// A hub of the Rocket protocol, to be put behind a door as its handler, with its
/// [`options`](Self::options). Clones are cheap and mean the same hub.
pub struct Rocket<C = Json>(Arc<Inner<C>>);

struct Inner<C> {
    path: String,
    codec: C,
    credentials: RwLock<Credentials>,
    max_message: usize,
    allowed_origins: Option<Arc<[String]>>,
    channels: Arc<Channels>,
}

/// What is kept of a session, from the client's first message on.
struct Login {
    access: Option<Access>,
    failures: Failures,
    lines: Lines,
    /// Whether it was told why the client may not subscribe.
    is_refused: bool,
}

/// Why nothing was published.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PublishError {
    /// The JSON is no object, has no member `event`, or has what the clients' notation cannot
    /// express.
    #[error("expected a JSON object with a member \"event\"")]
    InvalidData,
    /// Nobody has ever subscribed to the channel, or it is forgotten (see
    /// [`max_channels`](Settings::max_channels)).
    #[error("there is no such channel")]
    InvalidChannel,
}

impl Rocket {
    /// A hub that speaks JSON with the sessions of `hub`. `path` is where its door is, and tells it
    /// from others in the log.
    pub fn new(hub: &Hub, path: &str, settings: Settings) -> Self {
        Self::with_codec(hub, path, settings, Json)
    }
}

impl<C: Codec> Rocket<C> {
    /// The same with another notation.
    pub fn with_codec(hub: &Hub, path: &str, settings: Settings, codec: C) -> Self {
        let channels = hub.open_channels(Limits {
            channels: settings.max_channels,
            per_session: settings.max_subscriptions,
            keeps_empty: true,
        });
        Self(Arc::new(Inner {
            path: path.into(),
            codec,
            credentials: RwLock::new(settings.credentials),
            max_message: settings.max_message,
            allowed_origins: settings.allowed_origins.map(Into::into),
            channels,
        }))
    }

    /// The options of its door, where nothing else is to be said.
    pub fn options(&self) -> Options {
        self.options_over(Options::default())
    }

    /// The same with those of `base` where neither the settings nor the protocol say anything:
    /// these say how large a message and what Origin may be, and that ends are announced.
    pub fn options_over(&self, mut base: Options) -> Options {
        let allowed = self.0.allowed_origins.clone();
        base.origin = Box::new(move |headers| {
            allowed.as_deref().is_none_or(|allowed| welcomes(allowed, headers))
        });
        base.max_message = self.0.max_message;
        base.close_frame = true;
        base
    }

    /// Replaces the secrets. Who has logged in stays so.
    pub fn set_credentials(&self, credentials: Credentials) {
        *self.0.credentials.write() = credentials;
    }

    /// Sends `data`, with `channel` as its member of that name, to everybody who listens to the
    /// channel, without waiting for anybody. Returns how many are to get it; `None` if nobody has
    /// ever subscribed to it, or it is forgotten (see [`max_channels`](Settings::max_channels)).
    pub fn publish(&self, channel: &str, mut data: Data) -> Option<usize> {
        self.publish_as_of(channel, &mut data)
    }

    /// The same with a JSON object, whatever the clients speak. It has a member `event`, as it
    /// would have if a client published it.
    ///
    /// # Errors
    ///
    /// [`PublishError`]: nobody gets anything.
    pub fn publish_json(&self, channel: &str, json: &str) -> Result<usize, PublishError> {
        self.publish(channel, self.parse(json)?).ok_or(PublishError::InvalidChannel)
    }

    /// The same on several channels, one after the other, of which each gets a message of its own.
    /// Returns for each what [`publish`](Self::publish) does.
    ///
    /// # Errors
    ///
    /// [`PublishError::InvalidData`]: nobody gets anything.
    pub fn publish_json_to_each(
        &self,
        channels: &[&str],
        json: &str,
    ) -> Result<Vec<Option<usize>>, PublishError> {
        let mut data = self.parse(json)?;
        Ok(channels.iter().map(|channel| self.publish_as_of(channel, &mut data)).collect())
    }

    fn parse(&self, json: &str) -> Result<Data, PublishError> {
        let data = Data::from_json(json, &self.0.codec);
        let data = data.map_err(|InvalidData| PublishError::InvalidData)?;
        if data.get("event").is_none() {
            return Err(PublishError::InvalidData);
        }
        Ok(data)
    }

    fn publish_as_of(&self, channel: &str, data: &mut Data) -> Option<usize> {
        data.insert("channel", channel.into());
        let reached = self.broadcast(channel, data)?;
        debug!(hub = %self.0.path, "[=> {}] Broadcasted", Shown(channel));
        Some(reached)
    }

    fn broadcast(&self, channel: &str, data: &Data) -> Option<usize> {
        self.0.channels.publish_made(channel, || self.0.codec.encode_data(data))
    }

    /// Does what an event asks for. Returns the answer, and the end that follows it, if any.
    fn react(&self, session: &Session, message: &Received) -> Option<(Reply, Option<End>)> {
        let Inner { path, codec, credentials, channels, .. } = &*self.0;
        let Ok(event) = codec.decode(message) else {
            return Some((Reply::InvalidData, None));
        };
        let access = login(session).access;
        let step = step(&event, access, &credentials.read());
        let reply = match step {
            Step::Ignore => return None,
            Step::Answer(reply) => reply,
            Step::Grant(access) => {
                let mut login = login(session);
                login.access = Some(access);
                login.lines.life(path, format_args!("Authenticated ({} access)", access.name()));
                Reply::Ok
            }
            Step::Deny => {
                let mut login = login(session);
                login.access = None;
                login.lines.life(path, format_args!("Authentication failed"));
                if login.failures.add(Instant::now()) {
                    let limit = Failures::LIMIT;
                    let problem = format_args!("{limit} failed logins within a minute");
                    login.lines.problem(path, problem);
                    let end = End::new(CloseCode::POLICY, "too many failed logins");
                    return Some((Reply::InvalidCredentials, Some(end)));
                }
                Reply::InvalidCredentials
            }
            Step::Subscribe(channel) => match channels.subscribe(session, channel.as_bytes()) {
                Ok(()) => {
                    let line = format_args!("Subscribed: {}", Shown(channel));
                    login(session).lines.message(path, line);
                    Reply::Ok
                }
                Err(SubscribeError::Closed) => return None,
                Err(SubscribeError::Name) => Reply::InvalidChannelName,
                Err(error) => {
                    let mut login = login(session);
                    if !std::mem::replace(&mut login.is_refused, true) {
                        login.lines.problem(path, format_args!("{error}"));
                    }
                    Reply::InvalidChannelName
                }
            },
            Step::Unsubscribe(channel) => {
                if channels.unsubscribe(session, channel.as_bytes()) {
                    let line = format_args!("Unsubscribed: {}", Shown(channel));
                    login(session).lines.message(path, line);
                }
                Reply::Ok
            }
            Step::Publish(channel, data) => match self.broadcast(channel, data) {
                Some(_) => {
                    let line = format_args!("[=> {}] Broadcasted", Shown(channel));
                    login(session).lines.message(path, line);
                    Reply::Ok
                }
                None => Reply::InvalidChannel,
            },
            Step::LogOut => {
                let mut login = login(session);
                login.access = None;
                login.lines.life(path, format_args!("Logged out"));
                Reply::Ok
            }
            Step::Disconnect => return Some((Reply::Ok, Some(End::new(CloseCode::NORMAL, "")))),
        };
        Some((reply, None))
    }
}

impl<C: Codec> Handler for Rocket<C> {
    /// Lets everybody in, with the first of the subprotocols that the client offers.
    async fn connect(&self, request: Parts) -> Result<Admission, Refusal> {
        let first = offered_subprotocols(&request.headers).next();
        let subprotocol = first.and_then(|offered| HeaderValue::from_str(offered).ok());
        Ok(Admission { subprotocol, ..Admission::default() })
    }

    async fn establish(&self, _session: &Session) -> bool {
        Lines::default().life(&self.0.path, format_args!("Connected"));
        true
    }

    /// A client that does not read its answers is not listened to.
    async fn receive(&self, session: &Session, message: Received) {
        let reaction = self.react(session, &message);
        drop(message);
        let Some((reply, end)) = reaction else { return };
        let reply = self.0.codec.encode_reply(reply);
        // A client that has left needs no answer.
        let _ = match end {
            None => session.send(&reply, None).await,
            Some(end) => session.close(Some(&reply), end, None).await,
        };
    }

    async fn close(&self, session: &Session, _end: End) {
        match session.kept::<Mutex<Login>>() {
            Some(login) => login.lock().lines.end(&self.0.path),
            None => Lines::default().end(&self.0.path),
        }
    }
}

impl<C> Clone for Rocket<C> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<C> fmt::Debug for Rocket<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Rocket")
            .field("path", &self.0.path)
            .field("credentials", &self.0.credentials)
            .field("channels", &self.0.channels)
            .finish_non_exhaustive()
    }
}

fn login(session: &Session) -> MutexGuard<'_, Login> {
    let login = session.keep(|| {
        Mutex::new(Login {
            access: None,
            failures: Failures::default(),
            lines: Lines::of(session.peer()),
            is_refused: false,
        })
    });
    login.lock()
}

fn welcomes(allowed: &[String], headers: &HeaderMap) -> bool {
    let is_allowed = |origin: &HeaderValue| {
        let matches = |allowed: &String| {
            allowed == "*" || allowed.as_bytes().eq_ignore_ascii_case(origin.as_bytes())
        };
        allowed.iter().any(matches)
    };
    headers.get_all(ORIGIN).iter().all(is_allowed)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RK-TRN-2: what an allowed Origin is.
    #[test]
    fn allowed_origins() {
        let allowed = ["https://example.org".to_owned(), "http://localhost:8080".to_owned()];
        let welcomes = |allowed: &[String], origins: &[&str]| {
            let mut headers = HeaderMap::new();
            for origin in origins {
                headers.append(ORIGIN, origin.parse().unwrap());
            }
            super::welcomes(allowed, &headers)
        };
        assert!(welcomes(&allowed, &[]));
        assert!(welcomes(&allowed, &["HTTPS://Example.org"]));
        assert!(welcomes(&allowed, &["http://localhost:8080"]));
        for origin in ["null", "http://example.org", "https://example.org.evil", "localhost", ""] {
            assert!(!welcomes(&allowed, &[origin]), "{origin}");
        }
        assert!(!welcomes(&allowed, &["https://example.org", "https://evil"]));
        assert!(welcomes(&["*".to_owned()], &["null"]));
        assert!(welcomes(&["null".to_owned()], &["null"]));
        assert!(!welcomes(&[], &["null"]));
    }
}

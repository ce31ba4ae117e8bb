//! The composition root: builds every part once, in order, lists every door, and stops in order.

use std::fmt;
use std::future::Future;
use std::io;
use std::net::{Ipv4Addr, SocketAddr, ToSocketAddrs as _};
use std::sync::Arc;
use std::time::Duration;

use http::header::CONTENT_TYPE;
use kuiperbelt::{
    Answer, Answering, Doors, Hub, Lead, Limits, Listener, Options, SamePath, Server, Service,
    SocketDoor, Tls, answer,
};
use tracing::info;

use crate::access_log::logged;
use crate::backend_api::{self, BackendApi};
use crate::callback::{self, Callbacks};
use crate::certificate;
use crate::config::{ApiListen, Config, DuplicateSession, Listen, Loaded};
use crate::demo;
use crate::outbound::Target;

#[cfg(feature = "zmq")]
mod bridges;
mod hubs;
mod upstream;

/// Everything, ready to run: the sockets are bound.
pub(crate) struct App {
    hub: Arc<Hub>,
    listeners: Vec<(Listener, Doors)>,
    head_timeout: Option<Duration>,
    shutdown_timeout: Duration,
}

/// Why the server cannot start, in one line: what failed, where, and what to do.
#[derive(Debug)]
pub(crate) struct StartError {
    what: &'static str,
    place: String,
    reason: String,
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}: {}", self.what, self.place, self.reason)
    }
}

impl StartError {
    fn listen(is_unix: bool, place: String, error: &io::Error) -> Self {
        let what = if is_unix { "listen sock error" } else { "listen port error" };
        let remedy = match (error.kind(), is_unix) {
            (io::ErrorKind::AddrInUse, false) => {
                "another program listens there; stop it or choose another port"
            }
            (io::ErrorKind::AddrInUse, true) => {
                "another program listens there, or the file is no socket; stop it, remove the file \
                 or choose another path"
            }
            (io::ErrorKind::PermissionDenied, _) => {
                "this user may not listen there; choose another place or user"
            }
            (io::ErrorKind::AddrNotAvailable, _) => {
                "this machine has no such address; choose one of its own"
            }
            (io::ErrorKind::NotFound | io::ErrorKind::NotADirectory, true) => {
                "the directory does not exist; make it or choose another path"
            }
            (io::ErrorKind::InvalidInput, true) => {
                "the path is too long for a socket; choose one of at most 107 bytes"
            }
            (_, true) => "choose another path",
            (_, false) => "choose another address",
        };
        Self { what, place, reason: format!("{error}: {remedy}") }
    }
}

impl App {
    /// Builds the server of a configuration and binds its sockets.
    pub(crate) fn build(loaded: &Loaded) -> Result<Self, StartError> {
        let config = &loaded.config;
        let tls = tls(loaded)?;
        let mut app = Self::without_listeners(config);
        let (public, api) = app.doors(config)?;
        let (key, value, bound) = match &config.listen {
            Listen::Tcp(port) => ("port", port.to_string(), Listener::everywhere(*port)),
            Listen::Unix(path) => ("sock", path.display().to_string(), Listener::unix(path)),
        };
        let at = |key, value| format!("{}: {key} {value}", loaded.place_of(key));
        let mut bound =
            bound.map_err(|error| StartError::listen(key == "sock", at(key, value), &error))?;
        if let Some(tls) = tls {
            bound = bound.with_tls(tls);
        }
        app.listeners.push((bound, public));
        if let Some(listen) = &config.api_listen {
            let (value, bound) = match listen {
                ApiListen::Tcp(address) => {
                    (address.clone(), resolve(address).and_then(Listener::tcp))
                }
                ApiListen::Unix(path) => (path.display().to_string(), Listener::unix(path)),
            };
            let is_unix = matches!(listen, ApiListen::Unix(_));
            let at = at("api_listen", value);
            let bound = bound.map_err(|error| StartError::listen(is_unix, at, &error))?;
            app.listeners.push((bound, api));
        }
        app.say_where();
        Ok(app)
    }

    /// Whether [`build`](Self::build) would find the files that it needs.
    pub(crate) fn check(loaded: &Loaded) -> Result<(), StartError> {
        tls(loaded).map(drop)
    }

    /// Builds the demonstration: a gateway on loopback, the chat page, and a backend beside it.
    /// Returns what to tell the person who started it.
    pub(crate) fn demo(mut config: Config) -> Result<(Self, demo::Backend, String), StartError> {
        let port = match config.listen {
            Listen::Tcp(port) => port,
            Listen::Unix(_) => {
                let place = "flag -sock".to_owned();
                let reason = "the demo listens on a TCP port; leave -sock out".to_owned();
                return Err(StartError { what: "listen sock error", place, reason });
            }
        };
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let listener = Listener::tcp(address).map_err(|error| {
            StartError::listen(false, format!("flag -port: port {port}"), &error)
        })?;
        let address = listener.address().unwrap_or(address);
        let backend = demo::Backend::start(address)
            .map_err(|error| StartError::listen(false, "the demo's backend".to_owned(), &error))?;
        let callback = |path| Some(Target::parse(&format!("http://{}{path}", backend.address())));
        config.callback.connect = callback("/connect");
        config.callback.establish = callback("/establish");
        config.callback.receive = callback("/receive");
        config.callback.close = callback("/close");
        config.close_callback_on_api_close = true;
        // The terminal shows what to try.
        config.suppress_access_log = true;
        let mut app = Self::without_listeners(&config);
        let (mut public, _) = app.doors(&config)?;
        add(&mut public, "/", Lead::Http(page()))?;
        app.listeners.push((listener, public));
        app.say_where();
        Ok((app, backend, demo::welcome(address)))
    }

    fn without_listeners(config: &Config) -> Self {
        Self {
            hub: Hub::with_limits(Limits {
                channels: config.channels_max,
                per_session: config.channels_per_session,
                keeps_empty: false,
            }),
            listeners: Vec::new(),
            head_timeout: config.handshake_timeout,
            shutdown_timeout: config.shutdown_timeout,
        }
    }

    /// The doors of the public listener, and those of the backend's own if it has one. In front of an
    /// upstream there is only what is meant for clients.
    fn doors(&self, config: &Config) -> Result<(Doors, Doors), StartError> {
        let log = !config.suppress_access_log;
        let not_found: Service = Arc::new(|_| answer::not_found().into());
        let otherwise = logged(not_found, log);
        let gateway = Callbacks::new(Arc::clone(&self.hub), callback_config(config));
        let gateway = SocketDoor::new(&self.hub, gateway, options(config));
        let (hub_doors, hubs) = hubs::of(&self.hub, config);
        let api = BackendApi::new(Arc::clone(&self.hub), hubs, api_config(config));
        let api = Arc::new(api);
        let service = |call: Call| -> Service {
            let api = Arc::clone(&api);
            let sessions = config.paths.sessions.clone();
            Arc::new(move |request| match call {
                Call::Send => api.send(request),
                Call::Close => api.close(request),
                Call::Publish => api.publish(request),
                Call::Broadcast => api.broadcast(request),
                Call::Subscribe => api.subscribe(request),
                Call::Unsubscribe => api.unsubscribe(request),
                Call::Sessions => api.sessions(&request).into(),
                Call::Session => api.session(&request, &sessions).into(),
                Call::Channels => api.channels(&request).into(),
                Call::Stats => {
                    let api = Arc::clone(&api);
                    Answering::later(async move { api.stats(request).await })
                }
                Call::Ping => api.ping().into(),
            })
        };
        let paths = &config.paths;
        let ping = Lead::Http(logged(service(Call::Ping), log));
        let mut public = match &config.upstream {
            Some(upstream) => Doors::relaying(upstream::relay(config, upstream, log)),
            None => Doors::new(Arc::clone(&otherwise)),
        };
        let mut private = Doors::new(otherwise);
        if config.upstream.is_none() || config.callback.connect.is_some() {
            add(&mut public, &paths.connect, Lead::Socket(Arc::new(gateway)))?;
        }
        for (path, door) in hub_doors {
            add(&mut public, &path, Lead::Socket(door))?;
        }
        add(&mut public, &paths.ping, ping.clone())?;
        if config.api_listen.is_some() {
            add(&mut private, &paths.ping, ping)?;
        }
        let is_private = config.api_listen.is_some() || config.upstream.is_some();
        let doors = if is_private { &mut private } else { &mut public };
        for (path, call) in [
            (&paths.send, Call::Send),
            (&paths.close, Call::Close),
            (&paths.publish, Call::Publish),
            (&paths.broadcast, Call::Broadcast),
            (&paths.subscribe, Call::Subscribe),
            (&paths.unsubscribe, Call::Unsubscribe),
            (&paths.sessions, Call::Sessions),
            (&paths.channels, Call::Channels),
        ] {
            add(doors, path, Lead::Http(logged(service(call), log)))?;
        }
        if !paths.sessions.is_empty() {
            let session = Lead::Http(logged(service(Call::Session), log));
            doors.add_names(&format!("{}/", paths.sessions), session).map_err(twice)?;
        }
        add(doors, &paths.stats, Lead::Http(service(Call::Stats)))?;
        #[cfg(feature = "zmq")]
        bridges::add(&self.hub, config, &mut public);
        Ok((public, private))
    }

    /// Logs what is listened on; the second listener is the backend's.
    fn say_where(&self) {
        for ((listener, _), purpose) in self.listeners.iter().zip([None, Some("api")]) {
            let port = listener.address().map(|address| address.port().to_string());
            let sock = listener.path().map(|path| path.display().to_string());
            let tls = listener.speaks_tls().then_some(true);
            info!(port, sock, tls, "for" = purpose, "listen start");
        }
    }

    /// Runs until `stop` is ready, then stops in order; see [`Server::run`].
    pub(crate) async fn run(self, stop: impl Future<Output = ()>) {
        let mut server = Server::of(&self.hub);
        server.head_timeout(self.head_timeout).stop_timeout(self.shutdown_timeout);
        for (listener, doors) in self.listeners {
            server.listener(listener, Some(doors));
        }
        server.run(stop).await;
    }
}

/// A call of the backend API.
#[derive(Clone, Copy)]
enum Call {
    Send,
    Close,
    Publish,
    Broadcast,
    Subscribe,
    Unsubscribe,
    Sessions,
    Session,
    Channels,
    Stats,
    Ping,
}

/// What the public listener shows its clients, if it speaks TLS.
fn tls(loaded: &Loaded) -> Result<Option<Tls>, StartError> {
    let Some(files) = &loaded.config.tls else { return Ok(None) };
    certificate::load(&files.cert, &files.key).map(Some).map_err(|bad| {
        let path = if bad.key == "tls.cert" { &files.cert } else { &files.key };
        let place = format!("{}: {} {}", loaded.place_of(bad.key), bad.key, path.display());
        StartError { what: "load tls error", place, reason: bad.reason }
    })
}

fn callback_config(config: &Config) -> callback::Config {
    callback::Config {
        targets: config.callback.clone(),
        session_header: config.session_header.clone(),
        endpoint: config.endpoint.clone(),
        set_headers: config.proxy_set_header.clone(),
        forward_session_header: config.forward_session_header,
        receive_reply: config.receive_reply,
        max_message: config.max_message_size.unwrap_or(usize::MAX),
        invalid_text: config.invalid_text,
    }
}

fn api_config(config: &Config) -> backend_api::Config {
    backend_api::Config {
        session_header: config.session_header.clone(),
        tokens: config.api_token.clone(),
        strict: config.strict_broadcast,
        send_timeout: config.send_timeout,
        max_body: config.max_body_size.unwrap_or(usize::MAX),
        invalid_text: config.invalid_text,
        close_callback_on_api_close: config.close_callback_on_api_close,
    }
}

fn options(config: &Config) -> Options {
    let origin = config.origin_policy;
    Options {
        max_message: config.max_message_size.unwrap_or(usize::MAX),
        outbox_messages: config.outbox_messages,
        outbox_bytes: config.outbox_bytes,
        send_queue: config.send_queue_size,
        slow_consumer: config.slow_consumer,
        idle_timeout: config.idle_timeout,
        ping_interval: config.ping_interval,
        pong_timeout: config.pong_timeout,
        write_timeout: config.write_timeout,
        compression_min_size: config.compression.then_some(config.compression_min_size),
        close_frame: config.close_frame,
        replace_duplicates: config.duplicate_session == DuplicateSession::Replace,
        origin: Box::new(move |headers| origin.welcomes(headers)),
    }
}

/// Adds a door, unless it is off.
fn add(doors: &mut Doors, path: &str, lead: Lead) -> Result<(), StartError> {
    if path.is_empty() {
        return Ok(());
    }
    doors.add(path, lead).map_err(twice)
}

fn twice(SamePath(path): SamePath) -> StartError {
    StartError {
        what: "load config error",
        place: format!("path {path}"),
        reason: "is given twice; choose another".to_owned(),
    }
}

/// The demo's chat page, at `/` and nowhere below.
fn page() -> Service {
    Arc::new(|request| {
        let answer = if request.uri.path() == "/" {
            let mut page = Answer::new(demo::PAGE.into());
            let kind = http::HeaderValue::from_static("text/html; charset=utf-8");
            page.headers_mut().insert(CONTENT_TYPE, kind);
            page
        } else {
            answer::not_found()
        };
        answer.into()
    })
}

fn resolve(address: &str) -> io::Result<SocketAddr> {
    let found = address.to_socket_addrs()?.next();
    found.ok_or_else(|| io::Error::new(io::ErrorKind::NotFound, "no such host"))
}

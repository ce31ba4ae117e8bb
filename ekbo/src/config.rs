//! The configuration of the server: keys, file, environment and flags become one `Config`.
//!
//! Two stages: what was written (`written.rs`, with the template, the YAML and its reader below
//! it), then what is meant (`meant.rs`). This room alone reads configuration files and the
//! environment. The list of all keys is in `key.rs`; the command line is in `crate::flags`.

mod bridge;
mod duration;
mod environment;
pub(crate) mod key;
mod meant;
mod reader;
mod size;
mod template;
mod value;
mod written;
mod yaml;

use std::path::PathBuf;
use std::time::Duration;
use std::{fmt, fs, io};

use http::{HeaderName, HeaderValue};
use kuiperbelt::SlowConsumer;
use thiserror::Error;

use self::written::{File, Settings, Source};
use crate::callback::Targets;
use crate::flags::Flags;
use crate::network::Network;
use crate::origin::OriginPolicy;
use crate::outbound::target::Address;
use crate::secret::Secret;
use crate::text::InvalidTextPolicy;

pub(crate) use self::bridge::Bridge;
#[cfg(feature = "zmq")]
pub(crate) use self::bridge::{PayloadEncoding, Routing};
pub(crate) use self::environment::Environment;

/// What the server runs with. Every value is valid; nobody needs to check again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Config {
    pub(crate) listen: Listen,
    /// Of the public listener; `api_listen` is always plain.
    pub(crate) tls: Option<TlsFiles>,
    pub(crate) api_listen: Option<ApiListen>,
    /// Each of them opens the backend API; without any it is open.
    pub(crate) api_token: Vec<Secret>,
    pub(crate) paths: Paths,
    /// No two have one path, and none has one of `paths`.
    pub(crate) hubs: Vec<RocketHub>,
    /// No two can take one handshake; none without the feature `zmq`.
    pub(crate) bridges: Vec<Bridge>,
    /// With one, the backend API is on `api_listen` alone, and without `callback.connect` there is no
    /// door of the gateway.
    pub(crate) upstream: Option<Upstream>,
    /// Whose word on where a request comes from is believed.
    pub(crate) trusted_proxies: Vec<Network>,
    pub(crate) callback: Targets,
    pub(crate) receive_reply: bool,
    pub(crate) session_header: HeaderName,
    pub(crate) endpoint: HeaderValue,
    pub(crate) strict_broadcast: bool,
    /// At most one entry per name; an empty value removes the header.
    pub(crate) proxy_set_header: Vec<(HeaderName, HeaderValue)>,
    pub(crate) send_timeout: Option<Duration>,
    /// Of send and close alone. `None`: `outbox_messages` and `outbox_bytes` bound their queue as
    /// they bound that of publish and broadcast.
    pub(crate) send_queue_size: Option<usize>,
    /// At least 1.
    pub(crate) outbox_messages: usize,
    /// At least 1.
    pub(crate) outbox_bytes: usize,
    pub(crate) slow_consumer: SlowConsumer,
    /// At least 1.
    pub(crate) channels_max: usize,
    /// At least 1.
    pub(crate) channels_per_session: usize,
    pub(crate) origin_policy: OriginPolicy,
    pub(crate) idle_timeout: Option<Duration>,
    pub(crate) ping_interval: Option<Duration>,
    /// Longer than `ping_interval`, which is set as well then.
    pub(crate) pong_timeout: Option<Duration>,
    pub(crate) write_timeout: Option<Duration>,
    pub(crate) handshake_timeout: Option<Duration>,
    pub(crate) shutdown_timeout: Duration,
    pub(crate) suppress_access_log: bool,
    pub(crate) forward_session_header: bool,
    pub(crate) compression: bool,
    pub(crate) compression_min_size: usize,
    pub(crate) close_frame: bool,
    pub(crate) close_callback_on_api_close: bool,
    /// `None`: unlimited.
    pub(crate) max_body_size: Option<usize>,
    /// `None`: unlimited.
    pub(crate) max_message_size: Option<usize>,
    pub(crate) duplicate_session: DuplicateSession,
    pub(crate) invalid_text: InvalidTextPolicy,
}

/// Where clients come in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Listen {
    /// On all interfaces; port 0 lets the system choose.
    Tcp(u16),
    Unix(PathBuf),
}

/// PEM files; whether they can be read and fit together is found out where they are loaded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct TlsFiles {
    pub(crate) cert: PathBuf,
    pub(crate) key: PathBuf,
}

/// Where the backend comes in, when not where clients do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum ApiListen {
    /// `host:port`; an IPv6 address is in brackets.
    Tcp(String),
    Unix(PathBuf),
}

/// No two of them are equal. One that `path::fault` finds fault with never matches; one that is
/// empty is none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Paths {
    pub(crate) connect: String,
    pub(crate) close: String,
    pub(crate) stats: String,
    pub(crate) send: String,
    pub(crate) publish: String,
    pub(crate) broadcast: String,
    pub(crate) subscribe: String,
    pub(crate) unsubscribe: String,
    /// Does not end in `/`; no other path is this one with a `/` behind it.
    pub(crate) sessions: String,
    pub(crate) channels: String,
    pub(crate) ping: String,
}

/// A Rocket hub on the public listener.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct RocketHub {
    /// One that `path::fault` finds no fault with.
    pub(crate) path: String,
    pub(crate) codec: RocketCodec,
    /// Empty: everybody may have this access. So may be `read_write`.
    pub(crate) read_only: Secret,
    pub(crate) read_write: Secret,
    /// As browsers write them; `None`: any. A handshake without Origin is welcome in either case.
    pub(crate) allowed_origins: Option<Vec<String>>,
    /// `None`: unlimited.
    pub(crate) max_message_size: Option<usize>,
    /// At least 1.
    pub(crate) max_channels: usize,
    /// Of one connection; at least 1.
    pub(crate) max_subscriptions: usize,
}

/// The application that gets what no door takes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Upstream {
    /// Without path, query and user information.
    pub(crate) address: Address,
    /// Longer than 0.
    pub(crate) connect_timeout: Duration,
    /// Until the head of an answer; longer than 0.
    pub(crate) response_timeout: Duration,
}

/// How the messages of a hub are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RocketCodec {
    Json,
    MessagePack,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum DuplicateSession {
    Keep,
    Replace,
}

/// Why the server cannot start with this configuration. Each is one line that says where to look
/// and what to write.
#[derive(Debug, Error)]
pub(crate) enum ConfigError {
    #[error("port and sock option is duplicate. give only one of them")]
    PortAndSock,
    #[error("flag -config: the demo reads no configuration; leave -config out")]
    DemoConfig,
    #[error("load config error: {name}: cannot be read: {reason}; check -config")]
    Unreadable { name: String, reason: io::Error },
    #[error("load config error: {place}: {problem}")]
    Text { place: Source, problem: String },
    #[error("load config error: {place}: {key}: {problem}")]
    Value { place: Source, key: String, problem: String },
    #[error(
        "load config error: {place}: origin_policy is invalid. \
         availables: [same_origin, same_hostname, none] got: {got}"
    )]
    OriginPolicy { place: Source, got: String },
    #[error(
        "load config error: environment: {name} and {alias} both set {key}, but differ; \
         unset one of them"
    )]
    Variables { name: String, alias: String, key: String },
}

/// Something that does not keep the server from starting.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Warning {
    pub(crate) kind: WarningKind,
    text: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum WarningKind {
    UnknownKey,
    /// One that begins as ours do; it may be somebody else's.
    UnknownVariable,
    /// A callback URL that cannot be called.
    CallbackUrl,
    PathNeverMatches,
    /// A door without a path of its own.
    DoorOff,
    /// Nobody decides who may connect.
    NoConnect,
    /// The query of the connect URL.
    QueryDropped,
    /// A socket is set as well.
    PortIgnored,
    GopsIgnored,
    UnknownLogLevel,
    /// The public listener serves the backend API to everyone.
    OpenApi,
    /// Everybody may publish in a hub.
    OpenHub,
    /// Everybody may send commands through a bridge.
    OpenBridge,
    /// The gateway's backend can call nothing.
    NoApi,
    /// Nothing asks who is a trusted proxy.
    ProxiesUnused,
    /// Anyone may say where a request comes from.
    EveryoneTrusted,
}

impl WarningKind {
    /// Whether `ekbo check` fails on it (D4).
    pub(crate) fn fails_check(self) -> bool {
        matches!(self, Self::UnknownKey | Self::CallbackUrl | Self::PathNeverMatches)
    }
}

impl fmt::Display for Warning {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.text)
    }
}

/// A configuration, what is to be said about it, and where each value comes from.
pub(crate) struct Loaded {
    pub(crate) config: Config,
    pub(crate) warnings: Vec<Warning>,
    settings: Settings,
    name: String,
}

impl Loaded {
    /// What was read, for people.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// Where the value of a key was written: `config.yml:3`, `flag -port`.
    pub(crate) fn place_of(&self, key: &str) -> String {
        self.settings.source(key).to_string()
    }

    /// The effective configuration as YAML with the meaning and source of each value; secrets are
    /// masked.
    pub(crate) fn to_yaml(&self) -> String {
        self.settings.to_yaml()
    }
}

/// D16: read when it exists and no `-config` is given.
const DEFAULT_FILE: &str = "config.yml";

/// Reads the configuration file and everything that overrides it. A relative file is looked for in
/// the working directory.
pub(crate) fn load(flags: &Flags, environment: &Environment) -> Result<Loaded, ConfigError> {
    let given = |text: &Option<String>| text.as_ref().is_some_and(|text| !text.is_empty());
    if given(&flags.port) && given(&flags.sock) {
        return Err(ConfigError::PortAndSock);
    }
    let name = flags.config.as_deref().unwrap_or(DEFAULT_FILE);
    let text = match fs::read_to_string(name) {
        Ok(text) => Some(text),
        Err(error) if flags.config.is_none() && error.kind() == io::ErrorKind::NotFound => None,
        Err(reason) => {
            let name = if name.is_empty() { "\"\"".into() } else { name.into() };
            return Err(ConfigError::Unreadable { name, reason });
        }
    };
    let file = text.as_deref().map(|text| File { name, text });
    load_file(file.as_ref(), flags, environment)
}

/// The defaults with the port of the flags: the demo's page, backend and gateway fit together.
pub(crate) fn of_demo(flags: &Flags) -> Result<Loaded, ConfigError> {
    if flags.config.is_some() {
        return Err(ConfigError::DemoConfig);
    }
    load_file(None, flags, &Environment::new([], Some("localhost".to_owned())))
}

fn load_file(
    file: Option<&File<'_>>,
    flags: &Flags,
    environment: &Environment,
) -> Result<Loaded, ConfigError> {
    let (mut settings, mut warnings) = Settings::gather(file, environment, flags)?;
    warnings.extend(flag_warnings(flags));
    let config = meant::mean(&mut settings, environment, &mut warnings)?;
    let name =
        file.map_or("the configuration of the environment, without a file,", |file| file.name);
    Ok(Loaded { config, warnings, settings, name: name.to_owned() })
}

/// KB-CLI-6 and KB-CLI-7.
fn flag_warnings(flags: &Flags) -> Vec<Warning> {
    let mut warnings = Vec::new();
    if flags.gops_addr.as_ref().is_some_and(|address| !address.is_empty()) {
        let text = "flag -gops-addr: ignored, as there is no diagnostics agent; remove it";
        warnings.push(Warning { kind: WarningKind::GopsIgnored, text: text.into() });
    }
    if let Some(word) = &flags.unknown_log_level {
        let text = format!(
            "flag -log-level: {word:?} is no log level, info is used; \
             write debug, info, warn or error"
        );
        warnings.push(Warning { kind: WarningKind::UnknownLogLevel, text });
    }
    warnings
}

#[cfg(test)]
mod tests;

//! Stage two: what is meant. Turns settings of the right types into a `Config` in which no invalid
//! value exists, or says which key is wrong, where and why.

mod bridge;
mod hub;
mod upstream;

use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use http::{HeaderName, HeaderValue};
use kuiperbelt::SlowConsumer;

use super::environment::Environment;
use super::key;
use super::written::{Settings, Source};
use super::{
    ApiListen, Config, ConfigError, DuplicateSession, Listen, Paths, TlsFiles, Warning, WarningKind,
};
use crate::callback::headers::OF_THE_PROTOCOL;
use crate::callback::{Retry, Targets};
use crate::origin::{self, OriginPolicy, is_host_name};
use crate::outbound::target::{self, Target};
use crate::path;
use crate::secret::{MASK, Secret, is_secret_header};
use crate::text::InvalidTextPolicy;

const PATHS: [&str; 11] = [
    "path.connect",
    "path.close",
    "path.stats",
    "path.send",
    "path.publish",
    "path.broadcast",
    "path.subscribe",
    "path.unsubscribe",
    "path.sessions",
    "path.channels",
    "path.ping",
];

/// Header names that have a meaning of their own in requests and answers that carry the session
/// header, beside those of the protocol.
const TAKEN_HEADERS: [&str; 23] = [
    "accept-encoding",
    "authorization",
    "connection",
    "content-encoding",
    "content-length",
    "content-type",
    "cookie",
    "date",
    "expect",
    "host",
    "idempotency-key",
    "keep-alive",
    "location",
    "origin",
    "proxy",
    "proxy-connection",
    "server",
    "set-cookie",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "user-agent",
];

/// Also fills the endpoint into the settings when it was left to us.
pub(super) fn mean(
    settings: &mut Settings,
    environment: &Environment,
    warnings: &mut Vec<Warning>,
) -> Result<Config, ConfigError> {
    let port = port(settings)?;
    if settings.text("endpoint").is_none() {
        let endpoint = default_endpoint(settings, environment, port)?;
        settings.set_default("endpoint", &endpoint);
    }
    give_way(settings, warnings);
    let settings = &*settings;
    let listen = listen(settings, port, warnings);
    let api_listen = settings.text("api_listen").map(|_| api_listen(settings)).transpose()?;
    let upstream = upstream::upstream(settings, &listen, api_listen.as_ref())?;
    let config = Config {
        listen,
        tls: tls(settings)?,
        api_listen,
        api_token: tokens(settings, "api_token")?,
        paths: paths(settings, warnings)?,
        hubs: hub::hubs(settings, warnings)?,
        bridges: bridge::bridges(settings, warnings)?,
        upstream,
        trusted_proxies: upstream::trusted_proxies(settings, warnings)?,
        callback: callbacks(settings, warnings)?,
        receive_reply: settings.switch("callback.receive_reply"),
        session_header: session_header(settings)?,
        endpoint: endpoint(settings)?,
        strict_broadcast: settings.switch("strict_broadcast"),
        proxy_set_header: proxy_set_header(settings)?,
        send_timeout: optional(settings.duration("send_timeout")),
        send_queue_size: match settings.number("send_queue_size") {
            Some(_) => Some(number(settings, "send_queue_size")?),
            None => None,
        },
        outbox_messages: number(settings, "outbox.messages")?,
        outbox_bytes: bounded(settings, "outbox.bytes")?,
        slow_consumer: choice(
            settings,
            "slow_consumer",
            [
                ("disconnect", SlowConsumer::Disconnect),
                ("drop_oldest", SlowConsumer::DropOldest),
                ("drop_newest", SlowConsumer::DropNewest),
            ],
        )?,
        channels_max: number(settings, "channels.max")?,
        channels_per_session: number(settings, "channels.per_session")?,
        origin_policy: origin_policy(settings)?,
        idle_timeout: optional(settings.duration("idle_timeout")),
        ping_interval: optional(settings.duration("ping_interval")),
        pong_timeout: pong_timeout(settings)?,
        write_timeout: optional(settings.duration("write_timeout")),
        handshake_timeout: optional(settings.duration("handshake_timeout")),
        shutdown_timeout: settings.duration("shutdown_timeout"),
        suppress_access_log: settings.switch("suppress_access_log"),
        forward_session_header: settings.switch("forward_session_header"),
        compression: settings.switch("compression"),
        compression_min_size: number(settings, "compression_min_size")?,
        close_frame: settings.switch("close_frame"),
        close_callback_on_api_close: settings.switch("close_callback_on_api_close"),
        max_body_size: limit(settings, "max_body_size")?,
        max_message_size: limit(settings, "max_message_size")?,
        duplicate_session: choice(
            settings,
            "duplicate_session",
            [("keep", DuplicateSession::Keep), ("replace", DuplicateSession::Replace)],
        )?,
        invalid_text: choice(
            settings,
            "invalid_text",
            [
                ("reject", InvalidTextPolicy::Reject),
                ("binary", InvalidTextPolicy::Binary),
                ("raw", InvalidTextPolicy::Raw),
            ],
        )?,
    };
    let Targets { connect, establish, receive, close, .. } = &config.callback;
    let has_callback = [connect, establish, receive, close].into_iter().any(Option::is_some);
    // The others ask nobody: without any callback there is no gateway beside them.
    let is_gateway =
        config.hubs.is_empty() && config.bridges.is_empty() && config.upstream.is_none();
    if connect.is_none() && (has_callback || is_gateway) {
        let problem = match config.upstream {
            None => "is not set, so every connect is answered 500; write the URL of your backend",
            Some(_) => {
                "is not set, so there is no gateway beside the upstream; write the URL of your \
                 backend, or remove the other callbacks"
            }
        };
        warnings.push(settings.warning(WarningKind::NoConnect, "callback.connect", problem));
    }
    if connect.is_some() && config.upstream.is_some() && config.api_listen.is_none() {
        let problem = "is set, but beside an upstream the backend API is on api_listen alone, so \
                       nobody can send to the sessions; set api_listen";
        warnings.push(settings.warning(WarningKind::NoApi, "callback.connect", problem));
    }
    let is_open = match (&config.api_listen, &config.listen) {
        (Some(ApiListen::Tcp(address)), _) => !is_loopback(address),
        (Some(ApiListen::Unix(_)), _) | (None, Listen::Unix(_)) => false,
        (None, Listen::Tcp(_)) => config.upstream.is_none(),
    };
    if is_open && config.api_token.is_empty() {
        warnings.push(open_api());
    }
    Ok(config)
}

/// Whether only programs of this machine reach the address.
fn is_loopback(address: &str) -> bool {
    let host = address.rsplit_once(':').map_or(address, |(host, _)| host);
    let host = host.trim_start_matches('[').trim_end_matches(']');
    host == "localhost" || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

/// KB-CFG-4: always a number, also where the endpoint is given.
fn port(settings: &Settings) -> Result<u16, ConfigError> {
    let text = settings.text("port").unwrap_or_default();
    let digits = text.bytes().all(|byte| byte.is_ascii_digit());
    digits.then(|| text.parse().ok()).flatten().ok_or_else(|| {
        settings.fault("port", format!("{text:?} is no port; write a number from 0 to 65535"))
    })
}

/// KB-CFG-5: the host name, with the port the node listens on from 1024 upwards.
fn default_endpoint(
    settings: &Settings,
    environment: &Environment,
    port: u16,
) -> Result<String, ConfigError> {
    let host = environment.hostname().ok_or_else(|| {
        settings.fault("endpoint", "the host name of this machine is unknown; set the endpoint")
    })?;
    Ok(if port >= 1024 { format!("{host}:{port}") } else { host.into() })
}

/// KB-CLI-5: a socket wins over a port, wherever both were written.
fn listen(settings: &Settings, port: u16, warnings: &mut Vec<Warning>) -> Listen {
    let Some(socket) = settings.text("sock") else {
        return Listen::Tcp(port);
    };
    if *settings.source("port") != Source::Default {
        let place = settings.source("sock");
        let problem = format!("ignored, as the socket {socket:?} is set ({place})");
        warnings.push(settings.warning(WarningKind::PortIgnored, "port", &problem));
    }
    Listen::Unix(PathBuf::from(socket))
}

/// Surface, section 2: both files or neither.
fn tls(settings: &Settings) -> Result<Option<TlsFiles>, ConfigError> {
    let alone = |name, other: &str| {
        let problem = format!("is set, but {other} is not; set both or neither");
        Err(settings.fault(name, problem))
    };
    match (settings.text("tls.cert"), settings.text("tls.key")) {
        (Some(cert), Some(key)) => Ok(Some(TlsFiles { cert: cert.into(), key: key.into() })),
        (Some(_), None) => alone("tls.cert", "tls.key"),
        (None, Some(_)) => alone("tls.key", "tls.cert"),
        (None, None) => Ok(None),
    }
}

fn api_listen(settings: &Settings) -> Result<ApiListen, ConfigError> {
    let text = settings.text("api_listen").unwrap_or_default();
    let fault = |problem: &str| Err(settings.fault("api_listen", format!("{text:?} {problem}")));
    if let Some(path) = text.strip_prefix("unix:") {
        return match path {
            "" => fault("has no socket path; write unix:/PATH.sock"),
            _ if settings.text("sock") == Some(path) => fault("is the public socket already"),
            _ => Ok(ApiListen::Unix(PathBuf::from(path))),
        };
    }
    let Some((host, port)) = text.rsplit_once(':') else {
        return fault("has no port; write HOST:PORT or unix:/PATH.sock");
    };
    if !port.bytes().all(|byte| byte.is_ascii_digit()) || port.parse::<u16>().is_err() {
        return fault("has no port from 0 to 65535; write HOST:PORT or unix:/PATH.sock");
    }
    let literal = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
    match literal {
        Some(address) if address.parse::<std::net::Ipv6Addr>().is_err() => {
            fault("has no IPv6 address between [ and ]")
        }
        None if host.is_empty() => fault("has no host; write 0.0.0.0:PORT for all interfaces"),
        None if !is_host_name(host) => {
            fault("has no host name or address before the port; write IPv6 addresses in [ ]")
        }
        _ if port != "0"
            && settings.text("sock").is_none()
            && settings.text("port") == Some(port) =>
        {
            fault("has the public port already; choose another")
        }
        _ => Ok(ApiListen::Tcp(text.into())),
    }
}

/// A token must be something a client can send: visible ASCII.
fn tokens(settings: &Settings, name: &'static str) -> Result<Vec<Secret>, ConfigError> {
    let tokens = settings.texts(name);
    if tokens.iter().any(|token| token == MASK) {
        let problem = "\"****\" is what `ekbo config` shows of a token; write the token itself";
        return Err(settings.fault(name, problem));
    }
    if tokens.iter().all(|token| token.bytes().all(|byte| byte.is_ascii_graphic())) {
        return Ok(tokens.iter().map(|token| Secret::new(token)).collect());
    }
    let problem = "a token has a character other than visible ASCII; use letters and digits";
    Err(settings.fault(name, problem))
}

/// The doors that the original did not have.
const ADDED_PATHS: [&str; 6] = [
    "path.publish",
    "path.broadcast",
    "path.subscribe",
    "path.unsubscribe",
    "path.sessions",
    "path.channels",
];

/// A configuration that was written for the original, and gives one of its doors a path that is the
/// default of an added one, goes on working: the added one has no path then.
fn give_way(settings: &mut Settings, warnings: &mut Vec<Warning>) {
    let is_written = |settings: &Settings, name| *settings.source(name) != Source::Default;
    for added in ADDED_PATHS {
        let path = settings.text(added).unwrap_or_default().to_owned();
        let taken = PATHS.into_iter().find(|other| {
            let other_path = settings.text(other).unwrap_or_default();
            is_written(settings, other)
                && (takes(settings, added, other_path) || takes(settings, other, &path))
        });
        if let Some(other) = taken.filter(|_| !is_written(settings, added)) {
            let problem = format!(
                "{path:?} would also be the default of {added}, which is off; write another for it"
            );
            warnings.push(settings.warning(WarningKind::DoorOff, other, &problem));
            settings.set_default(added, "");
        }
    }
}

/// KB-CFG-8: no two paths are equal, and `/` belongs to neither connect nor stats. The list of
/// sessions has what is below it as well.
fn paths(settings: &Settings, warnings: &mut Vec<Warning>) -> Result<Paths, ConfigError> {
    let path = |name: &str| settings.text(name).unwrap_or_default();
    let is_one = |a: &str, b: &str| takes(settings, a, path(b)) || takes(settings, b, path(a));
    for (index, name) in PATHS.into_iter().enumerate() {
        if path(name).is_empty() && ADDED_PATHS.contains(&name) {
            continue;
        }
        if let Some(other) = PATHS[..index].iter().find(|other| is_one(name, other)) {
            // The one that was written is the one to change.
            let written = *settings.source(name) != Source::Default;
            let (name, other) = if written { (name, *other) } else { (*other, name) };
            let problem = format!("{:?} is {other} as well; give each its own", path(name));
            return Err(settings.fault(name, problem));
        }
        if path(name) == "/" && matches!(name, "path.connect" | "path.stats") {
            let problem = "\"/\" would take every path; write another, such as \"/connect/\"";
            return Err(settings.fault(name, problem));
        }
        if name == "path.sessions" && path(name).ends_with('/') {
            let problem = "ends in /, below which each session is; write it without";
            return Err(settings.fault(name, format!("{:?} {problem}", path(name))));
        }
        if let Some(fault) = path::fault(path(name)) {
            let problem = format!("{:?} {fault}", path(name));
            warnings.push(settings.warning(WarningKind::PathNeverMatches, name, &problem));
        }
    }
    Ok(Paths {
        connect: path("path.connect").into(),
        close: path("path.close").into(),
        stats: path("path.stats").into(),
        send: path("path.send").into(),
        publish: path("path.publish").into(),
        broadcast: path("path.broadcast").into(),
        subscribe: path("path.subscribe").into(),
        unsubscribe: path("path.unsubscribe").into(),
        sessions: path("path.sessions").into(),
        channels: path("path.channels").into(),
        ping: path("path.ping").into(),
    })
}

/// Whether the door of this key takes the path. That of sessions takes what is below it as well.
fn takes(settings: &Settings, name: &str, path: &str) -> bool {
    let door = settings.text(name).unwrap_or_default();
    path == door || (name == "path.sessions" && path.strip_suffix('/') == Some(door))
}

fn callbacks(settings: &Settings, warnings: &mut Vec<Warning>) -> Result<Targets, ConfigError> {
    let mut target = |name| callback(settings, name, warnings);
    Ok(Targets {
        connect: target("callback.connect")?,
        establish: target("callback.establish")?,
        receive: target("callback.receive")?,
        close: target("callback.close")?,
        timeout: optional(settings.duration("callback.timeout")),
        retry: retry(settings)?,
    })
}

/// KB-CFG-7: a URL that cannot work is a warning; only a receive URL that is none stops the start.
fn callback(
    settings: &Settings,
    name: &'static str,
    warnings: &mut Vec<Warning>,
) -> Result<Option<Target>, ConfigError> {
    let Some(text) = settings.text(name) else {
        return Ok(None);
    };
    let masked = target::masked(text);
    let target = Target::parse(text);
    let mut warn = |kind, problem: &str| {
        warnings.push(settings.warning(kind, name, &format!("{masked:?} {problem}")));
    };
    match &target {
        Target::Unparsable(reason) if name == "callback.receive" => {
            return Err(settings.fault(name, format!("{masked:?} {reason}")));
        }
        Target::Unparsable(reason) | Target::Unreachable(reason) => {
            warn(WarningKind::CallbackUrl, reason);
        }
        Target::Good(address) if name == "callback.connect" && address.uri().query().is_some() => {
            let problem = "has a query that is never sent, as the client's takes its place";
            warn(WarningKind::QueryDropped, problem);
        }
        Target::Good(_) => {}
    }
    Ok(Some(target))
}

fn retry(settings: &Settings) -> Result<Retry, ConfigError> {
    let [base, max, age] =
        ["base", "max", "age"].map(|part| settings.duration(&format!("callback.retry.{part}")));
    if base.is_zero() {
        let problem = "0 would repeat without any pause; write for example 1s";
        return Err(settings.fault("callback.retry.base", problem));
    }
    if max < base {
        let problem = "shorter than callback.retry.base; write the same or more";
        return Err(settings.fault("callback.retry.max", problem));
    }
    Ok(Retry { base, max, age })
}

fn session_header(settings: &Settings) -> Result<HeaderName, ConfigError> {
    let text = settings.text("session_header").unwrap_or_default();
    let name = header_name(text).map_err(|problem| settings.fault("session_header", problem))?;
    if is_taken(name.as_str()) {
        let problem = format!("{text:?} has another meaning already; choose another name");
        return Err(settings.fault("session_header", problem));
    }
    Ok(name)
}

/// A backend may not tell `_` from `-`: CGI variables have but one spelling.
fn is_taken(name: &str) -> bool {
    let name = name.replace('_', "-");
    let is_ours = OF_THE_PROTOCOL.contains(&name.as_str()) && name != "x-kuiperbelt-session";
    is_ours || name.starts_with("sec-websocket-") || TAKEN_HEADERS.contains(&name.as_str())
}

fn endpoint(settings: &Settings) -> Result<HeaderValue, ConfigError> {
    let text = settings.text("endpoint").unwrap_or_default();
    header_value(text).map_err(|problem| settings.fault("endpoint", format!("{text:?} {problem}")))
}

fn proxy_set_header(settings: &Settings) -> Result<Vec<(HeaderName, HeaderValue)>, ConfigError> {
    let pair = |(name, text): &(String, String)| {
        let mut value =
            header_value(text).map_err(|problem| format!("the value of {name:?} {problem}"))?;
        value.set_sensitive(is_secret_header(name));
        Ok((header_name(name)?, value))
    };
    let headers = settings.headers("proxy_set_header").iter().map(pair);
    headers
        .collect::<Result<_, String>>()
        .map_err(|problem| settings.fault("proxy_set_header", problem))
}

fn header_name(text: &str) -> Result<HeaderName, String> {
    let problem = || format!("{text:?} is no header name; use letters, digits and -");
    HeaderName::from_bytes(text.as_bytes()).map_err(|_| problem())
}

fn header_value(text: &str) -> Result<HeaderValue, &'static str> {
    let problem =
        "has a line end or another control character, which no header can carry; remove it";
    HeaderValue::from_bytes(text.as_bytes()).map_err(|_| problem)
}

/// KB-CFG-3.
fn origin_policy(settings: &Settings) -> Result<OriginPolicy, ConfigError> {
    match settings.text("origin_policy").unwrap_or_default() {
        "none" => Ok(OriginPolicy::None),
        "same_origin" => Ok(OriginPolicy::SameOrigin),
        "same_hostname" => Ok(OriginPolicy::SameHostname),
        other => Err(ConfigError::OriginPolicy {
            place: settings.source("origin_policy").clone(),
            got: other.escape_debug().to_string(),
        }),
    }
}

fn choice<T: Copy, const N: usize>(
    settings: &Settings,
    name: &'static str,
    choices: [(&str, T); N],
) -> Result<T, ConfigError> {
    let text = settings.text(name).unwrap_or_default();
    let chosen = choices.iter().find(|(word, _)| *word == text);
    chosen.map(|(_, choice)| *choice).ok_or_else(|| {
        let words = choices.map(|(word, _)| word).join(", ");
        settings.fault(name, format!("{text:?} is none of the choices; write one of {words}"))
    })
}

/// 0 means "none" for every duration that may be left out.
fn optional(duration: Duration) -> Option<Duration> {
    (!duration.is_zero()).then_some(duration)
}

/// A duration that may not be left out.
fn time(settings: &Settings, name: &'static str) -> Result<Duration, ConfigError> {
    let duration = settings.duration(name);
    if duration.is_zero() {
        let example = key::find(settings.keys(), name).map_or("1s", |key| key.default);
        let problem = format!("0 would leave no time; write for example {example}");
        return Err(settings.fault(name, problem));
    }
    Ok(duration)
}

/// As browsers write them; `None`: any.
fn origins(settings: &Settings) -> Result<Option<Vec<String>>, ConfigError> {
    let name = "allowed_origins";
    let mut origins = Vec::new();
    for text in settings.texts(name).iter().filter(|text| *text != "*") {
        origins.push(
            origin::as_sent(text)
                .ok_or_else(|| settings.fault(name, format!("{text:?} {}", origin::REMEDY)))?,
        );
    }
    let is_any = settings.texts(name).iter().any(|text| text == "*");
    Ok((!is_any).then_some(origins))
}

/// Of the gateway, or of a bridge.
fn pong_timeout(settings: &Settings) -> Result<Option<Duration>, ConfigError> {
    let timeout = settings.duration("pong_timeout");
    let interval = settings.duration("ping_interval");
    let fault = |problem: &str| Err(settings.fault("pong_timeout", problem));
    if timeout.is_zero() {
        return Ok(None);
    }
    if interval.is_zero() {
        let problem = "would end every client that only listens, as nobody is pinged; set \
                       ping_interval as well, or write 0";
        return fault(problem);
    }
    if timeout <= interval {
        let problem = "is no longer than ping_interval, so that nobody could answer in time; write \
                       for example twice as much";
        return fault(problem);
    }
    Ok(Some(timeout))
}

/// 0 means "unlimited".
fn limit(settings: &Settings, name: &'static str) -> Result<Option<usize>, ConfigError> {
    number(settings, name).map(|limit| (limit > 0).then_some(limit))
}

/// A size of at least 1.
fn bounded(settings: &Settings, name: &'static str) -> Result<usize, ConfigError> {
    match number(settings, name)? {
        0 => Err(settings.fault(name, "0 would hold nothing; write 1 or more")),
        number => Ok(number),
    }
}

fn number(settings: &Settings, name: &'static str) -> Result<usize, ConfigError> {
    let number = settings.number(name).unwrap_or_default();
    usize::try_from(number)
        .map_err(|_| settings.fault(name, "more than this machine can address; write less"))
}

/// KB-NET-7.
fn open_api() -> Warning {
    let text = "the backend API is open to everyone who can reach its listener; set api_token, or \
                api_listen to an address of your backend's network";
    Warning { kind: WarningKind::OpenApi, text: text.into() }
}

#[cfg(test)]
mod tests;

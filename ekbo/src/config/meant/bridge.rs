//! What `bridges` means: bridges to ZeroMQ, each with a subprotocol that no other has on its path.

use kuiperbelt::CloseCode;

use super::super::bridge::{Bridge, PayloadEncoding, Routing};
use super::super::written::Settings;
use super::super::{ConfigError, Warning, WarningKind};
use super::{bounded, choice, limit, number, optional, origins, pong_timeout, time, tokens};
use crate::endpoint::Endpoint;
use crate::origin::AllowedOrigins;
use crate::path;

/// The longest reason of a close frame, in bytes (RFC 6455 section 5.5).
const LONGEST_REASON: usize = 123;

/// Warns about each that lets everybody send commands.
pub(super) fn bridges(
    settings: &Settings,
    warnings: &mut Vec<Warning>,
) -> Result<Vec<Bridge>, ConfigError> {
    let entries = settings.entries("bridges");
    if cfg!(not(feature = "zmq")) && !entries.is_empty() {
        let problem = "this ekbo was built without ZeroMQ; build it with the feature zmq, or remove \
                       the key";
        return Err(settings.fault("bridges", problem));
    }
    let mut bridges: Vec<Bridge> = Vec::with_capacity(entries.len());
    for entry in entries {
        let bridge = bridge(entry)?;
        if let Some(index) = bridges.iter().position(|other| meet(other, &bridge)) {
            let other = entries[index].full_name("subprotocol");
            let problem = format!(
                "{:?} is taken by {other} on this path; give each its own, or paths that do not \
                 meet (one that ends in / takes its whole subtree)",
                bridge.subprotocol
            );
            return Err(entry.fault("subprotocol", problem));
        }
        if bridge.token.is_empty() {
            let problem = "is empty, so that whoever reaches the listener may send commands; write \
                           a token";
            warnings.push(entry.warning(WarningKind::OpenBridge, "token", problem));
        }
        bridges.push(bridge);
    }
    Ok(bridges)
}

/// Whether there are handshakes that both would take.
fn meet(one: &Bridge, other: &Bridge) -> bool {
    let is_raw_of = |one: &Bridge, other: &Bridge| {
        one.subprotocol.strip_suffix(".raw") == Some(other.subprotocol.as_str())
    };
    let shares_name =
        one.subprotocol == other.subprotocol || is_raw_of(one, other) || is_raw_of(other, one);
    let has_subtree =
        |one: &str, other: &str| one == other || one.ends_with('/') && other.starts_with(one);
    let shares_path = match (&one.path, &other.path) {
        (Some(one), Some(other)) => has_subtree(one, other) || has_subtree(other, one),
        _ => true,
    };
    shares_name && shares_path
}

fn bridge(entry: &Settings) -> Result<Bridge, ConfigError> {
    let request_endpoint = endpoint(entry, "request_endpoint")?;
    let publish_endpoint = endpoint(entry, "publish_endpoint")?;
    if request_endpoint.is_none() && publish_endpoint.is_none() {
        let problem = "is empty, as is publish_endpoint; write one of them at least";
        return Err(entry.fault("request_endpoint", problem));
    }
    let response_prefix = prefix(entry, "response_prefix")?;
    let publish_prefix = prefix(entry, "publish_prefix")?;
    if response_prefix == publish_prefix {
        let problem = "is response_prefix as well, so that nobody could tell them apart; write \
                       another";
        return Err(entry.fault("publish_prefix", problem));
    }
    Ok(Bridge {
        subprotocol: subprotocol(entry)?,
        path: path(entry)?,
        request_endpoint,
        publish_endpoint,
        topics: match entry.texts("topics") {
            [] => vec![String::new()],
            topics => topics.to_vec(),
        },
        join_parts: entry.switch("join_parts"),
        response_prefix,
        publish_prefix,
        payload_encoding: choice(
            entry,
            "payload_encoding",
            [("cgi", PayloadEncoding::Cgi), ("raw", PayloadEncoding::Raw)],
        )?,
        routing: choice(
            entry,
            "routing",
            [("fanout", Routing::Fanout), ("newest", Routing::Newest)],
        )?,
        client_count_notices: entry.switch("client_count_notices"),
        ping_interval: optional(entry.duration("ping_interval")),
        pong_timeout: pong_timeout(entry)?,
        backend_check_timeout: time(entry, "backend_check_timeout")?,
        unavailable_code: close_code(entry)?,
        unavailable_reason: reason(entry)?,
        request_timeout: time(entry, "request_timeout")?,
        allowed_commands: commands(entry, "allowed_commands", entry.texts("allowed_commands"))?,
        on_last_client: commands(entry, "on_last_client", entry.text("on_last_client"))?.pop(),
        allowed_origins: allowed_origins(entry)?,
        token: tokens(entry, "token")?,
        max_message_size: limit(entry, "max_message_size")?,
        queue_messages: number(entry, "client_queue.messages")?,
        queue_bytes: bounded(entry, "client_queue.bytes")?,
    })
}

/// A token (RFC 9110 section 5.6.2), as a client can offer it.
fn subprotocol(entry: &Settings) -> Result<String, ConfigError> {
    let text = entry.text("subprotocol").unwrap_or_default();
    let is_allowed = |b: u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b);
    if text.bytes().all(is_allowed) {
        return Ok(text.into());
    }
    let problem = format!("{text:?} is no subprotocol; use letters, digits, - and .");
    Err(entry.fault("subprotocol", problem))
}

fn path(entry: &Settings) -> Result<Option<String>, ConfigError> {
    let Some(path) = entry.text("path") else { return Ok(None) };
    match path::fault(path) {
        Some(fault) => Err(entry.fault("path", format!("{path:?} {fault}"))),
        None => Ok(Some(path.into())),
    }
}

/// None where it is written empty.
fn endpoint(entry: &Settings, name: &'static str) -> Result<Option<Endpoint>, ConfigError> {
    let text = entry.text(name).filter(|text| !text.is_empty());
    let endpoint = text
        .map(|text| text.parse().map_err(|fault| entry.fault(name, format!("{text:?} {fault}"))));
    endpoint.transpose()
}

fn prefix(entry: &Settings, name: &'static str) -> Result<u8, ConfigError> {
    let text = entry.text(name).unwrap_or_default();
    match text.as_bytes() {
        [prefix] if prefix.is_ascii_graphic() => Ok(*prefix),
        _ => {
            let problem = format!("{text:?} is not one visible ASCII character; write such a one");
            Err(entry.fault(name, problem))
        }
    }
}

/// Texts as a client's commands are compared with them, up to their first zero byte.
fn commands<T: AsRef<str>>(
    entry: &Settings,
    name: &'static str,
    texts: impl IntoIterator<Item = T>,
) -> Result<Vec<String>, ConfigError> {
    let command = |text: T| {
        let text = text.as_ref();
        if text.contains('\0') {
            let problem = format!("{text:?} has a zero byte, where a command ends; leave it out");
            return Err(entry.fault(name, problem));
        }
        Ok(text.to_owned())
    };
    texts.into_iter().map(command).collect()
}

fn close_code(entry: &Settings) -> Result<CloseCode, ConfigError> {
    let name = "unavailable_code";
    let code = number(entry, name)?;
    u16::try_from(code).ok().and_then(CloseCode::from_wire).ok_or_else(|| {
        let remedy = "write 1000, or one from 3000 to 4999";
        entry.fault(name, format!("{code} is no code that may be sent; {remedy}"))
    })
}

fn reason(entry: &Settings) -> Result<String, ConfigError> {
    let name = "unavailable_reason";
    let text = entry.text(name).unwrap_or_default();
    if text.len() > LONGEST_REASON {
        let problem = format!(
            "is {} bytes long, more than a close frame takes; write {LONGEST_REASON} at most",
            text.len()
        );
        return Err(entry.fault(name, problem));
    }
    Ok(text.into())
}

fn allowed_origins(entry: &Settings) -> Result<AllowedOrigins, ConfigError> {
    if entry.texts("allowed_origins").is_empty() {
        return Ok(AllowedOrigins::Own);
    }
    Ok(origins(entry)?.map_or(AllowedOrigins::Any, AllowedOrigins::Listed))
}

#[cfg(test)]
#[cfg(feature = "zmq")]
mod tests;

#[cfg(test)]
#[cfg(not(feature = "zmq"))]
mod tests {
    use super::super::tests::{config, error};

    #[test]
    fn without_zeromq_there_are_none() {
        assert_eq!(config("bridges: []").bridges, []);
        assert_eq!(
            error("port: 1\nbridges: [{}]"),
            "config.yml:2: bridges: this ekbo was built without ZeroMQ; build it with the feature \
             zmq, or remove the key"
        );
    }
}

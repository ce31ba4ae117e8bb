//! Where a ZeroMQ peer listens, as it is written: `tcp://HOST:PORT` or `ipc:///PATH`. That of a
//! peer which we connect to, so there are no wildcards. Connecting is `zmtp`'s business.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use thiserror::Error;

use crate::origin::is_host_name;

/// The address of a ZeroMQ socket that is bound elsewhere.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Endpoint {
    Tcp {
        /// A name, or an address; one of IPv6 without its brackets.
        host: String,
        /// At least 1.
        port: u16,
    },
    /// The path of a unix socket, at most 107 bytes long.
    Ipc(PathBuf),
}

/// What is wrong with a text that is no endpoint, and what to write; to be read behind the text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("{0}")]
pub(crate) struct NoEndpoint(&'static str);

/// Longest path of a unix socket on Linux, without the closing zero byte.
const LONGEST_SOCKET_PATH: usize = 107;

impl FromStr for Endpoint {
    type Err = NoEndpoint;

    fn from_str(text: &str) -> Result<Self, NoEndpoint> {
        if let Some(address) = text.strip_prefix("tcp://") {
            return tcp(address).map_err(NoEndpoint);
        }
        if let Some(path) = text.strip_prefix("ipc://") {
            return ipc(path).map_err(NoEndpoint);
        }
        Err(NoEndpoint("is no ZeroMQ endpoint; write tcp://HOST:PORT or ipc:///PATH"))
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp { host, port } if host.contains(':') => {
                write!(formatter, "tcp://[{host}]:{port}")
            }
            Self::Tcp { host, port } => write!(formatter, "tcp://{host}:{port}"),
            Self::Ipc(path) => write!(formatter, "ipc://{}", path.display()),
        }
    }
}

fn tcp(address: &str) -> Result<Endpoint, &'static str> {
    let (host, port) = address.rsplit_once(':').ok_or("has no port; write tcp://HOST:PORT")?;
    let is_number = port.bytes().all(|byte| byte.is_ascii_digit());
    let port = is_number.then(|| port.parse().ok()).flatten().filter(|port| *port > 0);
    let port = port.ok_or("has no port from 1 to 65535 at its end; write tcp://HOST:PORT")?;
    let host = match host.strip_prefix('[').and_then(|host| host.strip_suffix(']')) {
        Some(literal) if literal.parse::<std::net::Ipv6Addr>().is_ok() => literal,
        Some(_) => return Err("has no IPv6 address between [ and ]; write tcp://[::1]:PORT"),
        None if host == "*" => {
            return Err("is for binding, and this side connects; write the peer's host for *");
        }
        None if host.is_empty() => return Err("has no host; write tcp://HOST:PORT"),
        None if !is_host_name(host) => {
            return Err("has no host name or address before the port; write IPv6 ones in [ ]");
        }
        None => host,
    };
    Ok(Endpoint::Tcp { host: host.into(), port })
}

fn ipc(path: &str) -> Result<Endpoint, &'static str> {
    if path.is_empty() || path == "*" {
        return Err("has no socket path; write ipc:///PATH");
    }
    if path.starts_with('@') {
        return Err("is in the abstract namespace, which is not supported; write ipc:///PATH");
    }
    if path.len() > LONGEST_SOCKET_PATH {
        return Err("has a socket path of more than 107 bytes; choose a shorter one");
    }
    if path.contains('\0') {
        return Err("has a zero byte in its path; remove it");
    }
    Ok(Endpoint::Ipc(path.into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endpoints_are_read_and_shown_as_they_are_written() {
        let tcp = |host: &str, port| Endpoint::Tcp { host: host.into(), port };
        let cases = [
            ("tcp://127.0.0.1:5556", tcp("127.0.0.1", 5556)),
            ("tcp://profiled_app.local:1", tcp("profiled_app.local", 1)),
            ("tcp://[::1]:65535", tcp("::1", 65535)),
            ("ipc:///run/app.sock", Endpoint::Ipc("/run/app.sock".into())),
            ("ipc://app.sock", Endpoint::Ipc("app.sock".into())),
        ];
        for (text, endpoint) in cases {
            assert_eq!(text.parse(), Ok(endpoint.clone()), "{text}");
            assert_eq!(endpoint.to_string(), text);
        }
    }

    #[test]
    fn a_fault_says_what_to_write() {
        let long = format!("ipc://{}", "x".repeat(LONGEST_SOCKET_PATH + 1));
        let cases = [
            ("", "no ZeroMQ endpoint"),
            ("127.0.0.1:5556", "no ZeroMQ endpoint"),
            ("TCP://a:1", "no ZeroMQ endpoint"),
            ("inproc://a", "no ZeroMQ endpoint"),
            ("tcp://", "no port"),
            ("tcp://host", "no port"),
            ("tcp://host:", "no port from 1"),
            ("tcp://host:0", "no port from 1"),
            ("tcp://host:65536", "no port from 1"),
            ("tcp://host:+1", "no port from 1"),
            ("tcp://host:1/", "no port from 1"),
            ("tcp://:1", "no host"),
            ("tcp://*:1", "for binding"),
            ("tcp://::1:1", "IPv6 ones in [ ]"),
            ("tcp://[1.2.3.4]:1", "no IPv6 address"),
            ("tcp://[fe80::1%eth0]:1", "no IPv6 address"),
            ("tcp://a;b:1", "no host name"),
            ("ipc://", "no socket path"),
            ("ipc://*", "no socket path"),
            ("ipc://@abstract", "abstract"),
            ("ipc://a\0b", "zero byte"),
            (&long, "107 bytes"),
        ];
        for (text, problem) in cases {
            let fault = text.parse::<Endpoint>().unwrap_err().to_string();
            assert!(fault.contains(problem), "{text:?}: {fault}");
            assert!(fault.contains("; write ") || fault.ends_with("it") || fault.ends_with("one"));
        }
    }
}

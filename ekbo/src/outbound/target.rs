//! Where requests go: a configured URL, taken apart once.
//!
//! `http://`, `https://` and `unix:/path.sock:/url/path`. A URL that cannot work is not refused
//! here but says how bad it is, as the original's answers to the client depend on it. Nothing that
//! can be shown contains the user information or the query of a URL. Requests are made elsewhere.

use std::fmt;
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::uri::{Authority, PathAndQuery, Scheme};
use http::{HeaderValue, Uri};

use crate::secret::MASK;

/// A URL, or what is wrong with it. Reasons begin lower case and never hold a secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Target {
    Good(Address),
    /// A URL that nobody can answer: without host, or with a foreign scheme. Connect answers 502.
    Unreachable(String),
    /// No URL at all: a bare word, bad percent-encoding, a broken IPv6 literal. Connect answers
    /// 500.
    Unparsable(String),
}

/// A URL that a request can be made from.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Address {
    uri: Uri,
    host_header: HeaderValue,
    authorization: Option<HeaderValue>,
    /// What people may see of the URL.
    shown: String,
}

/// Longest path of a unix socket on Linux, without the closing zero byte.
const LONGEST_SOCKET_PATH: usize = 107;

/// The top level of the made-up host names that stand for unix sockets.
const UNIX_SUFFIX: &str = ".unix";

impl Target {
    pub(crate) fn parse(text: &str) -> Self {
        match read(text) {
            Ok(address) => Self::Good(address),
            Err(Fault::Unreachable(reason)) => Self::Unreachable(reason),
            Err(Fault::Unparsable(reason)) => Self::Unparsable(reason),
        }
    }
}

impl Address {
    /// Where requests go, without user information. The URI of a unix socket has a made-up host
    /// that `unix_path_of` reads.
    pub(crate) fn uri(&self) -> &Uri {
        &self.uri
    }

    /// The URI with its query replaced; none or an empty one leaves no `?`. `None` when the result
    /// is longer than a URI may be (64 KiB).
    pub(crate) fn uri_with_query(&self, query: Option<&str>) -> Option<Uri> {
        let path = self.uri.path();
        let text = match query {
            Some(query) if !query.is_empty() => format!("{path}?{query}"),
            _ => path.to_owned(),
        };
        let mut parts = self.uri.clone().into_parts();
        parts.path_and_query = Some(PathAndQuery::try_from(text).ok()?);
        Uri::from_parts(parts).ok()
    }

    /// Host and, where written, port; `localhost` for a unix socket.
    pub(crate) fn host_header(&self) -> &HeaderValue {
        &self.host_header
    }

    /// Basic credentials out of the user information.
    pub(crate) fn authorization(&self) -> Option<&HeaderValue> {
        self.authorization.as_ref()
    }
}

/// What people may see of it.
impl fmt::Display for Target {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Good(address) => address.fmt(formatter),
            Self::Unreachable(reason) | Self::Unparsable(reason) => formatter.write_str(reason),
        }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        // A query may hold a secret as well.
        match self.shown.split_once('?') {
            Some((before, _)) => write!(formatter, "{before}?{MASK}"),
            None => formatter.write_str(&self.shown),
        }
    }
}

impl fmt::Debug for Address {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Address({self})")
    }
}

/// The path of the unix socket that a URI from `Address::uri` stands for.
pub(crate) fn unix_path_of(uri: &Uri) -> Option<PathBuf> {
    let digits = uri.host()?.strip_suffix(UNIX_SUFFIX)?;
    let pairs = digits.as_bytes().chunks(2);
    let bytes: Option<Vec<u8>> = pairs.map(|pair| hex_byte(pair.first(), pair.get(1))).collect();
    let path = bytes.filter(|bytes| !bytes.is_empty())?;
    Some(PathBuf::from(std::ffi::OsString::from_vec(path)))
}

/// The text with `****` in place of user information, also where the URL is broken.
pub(crate) fn masked(text: &str) -> String {
    if text.starts_with("unix:") {
        return text.into();
    }
    let start = match (text.find("//"), text.find(':')) {
        (Some(slashes), _) => slashes + 2,
        (None, Some(colon)) => colon + 1,
        (None, None) => 0,
    };
    let rest = &text[start..];
    let authority = rest.find(['/', '?', '#']).map_or(rest, |end| &rest[..end]);
    let port = authority.rsplit_once(':').map_or("", |(_, port)| port);
    // A slash inside a password ends the authority early; what looks like a port is then none.
    let whole = authority.is_empty() || !port.bytes().all(|byte| byte.is_ascii_digit());
    match authority.rfind('@').or_else(|| rest.rfind('@').filter(|_| whole)) {
        Some(at) => format!("{}****{}", &text[..start], &rest[at..]),
        None => text.into(),
    }
}

/// What keeps a URL from being an address; see the variants of `Target`.
enum Fault {
    Unreachable(String),
    Unparsable(String),
}

fn read(text: &str) -> Result<Address, Fault> {
    if text.bytes().any(|byte| byte < b' ' || byte == 0x7f) {
        return Err(unparsable("contains a control character"));
    }
    if let Some(rest) = text.strip_prefix("unix:") {
        return unix(rest);
    }
    let (text, _) = text.split_once('#').unwrap_or((text, ""));
    let (scheme, rest) = split_scheme(text)?;
    let Some(scheme) = scheme else {
        let path = rest.starts_with('/');
        if !path {
            return Err(unparsable("is no URL; write http://HOST/PATH"));
        }
        check_percent(before_query(rest))?;
        return Err(unreachable("has no host; write http://HOST/PATH"));
    };
    let Some(rest) = rest.strip_prefix("//") else {
        if rest.starts_with('/') {
            check_percent(before_query(rest))?;
        }
        return Err(match scheme.as_str() {
            "http" | "https" => {
                Fault::Unreachable(format!("has no host; write {scheme}://HOST/PATH"))
            }
            _ => foreign(&scheme),
        });
    };
    let end = rest.find(['/', '?']).unwrap_or(rest.len());
    let (authority, path_and_query) = rest.split_at(end);
    check_percent(before_query(path_and_query))?;
    let (user, host) = match authority.rsplit_once('@') {
        Some((user, host)) => (Some(user), host),
        None => (None, authority),
    };
    let authorization = user.map(credentials).transpose()?;
    let host = checked_host(host)?;
    let scheme = match scheme.as_str() {
        "http" => Scheme::HTTP,
        "https" => Scheme::HTTPS,
        _ => return Err(foreign(&scheme)),
    };
    if host.is_empty() {
        return Err(unreachable("has no host; write for example http://localhost/PATH"));
    }
    let uri = build(scheme, &host, path_and_query)?;
    let host_header = HeaderValue::from_str(&host).map_err(|_| broken_host())?;
    let shown = match user {
        Some(_) => uri.to_string().replacen("://", "://****@", 1),
        None => uri.to_string(),
    };
    Ok(Address { uri, host_header, authorization, shown })
}

/// `rest` is what stands behind `unix:`.
fn unix(rest: &str) -> Result<Address, Fault> {
    let (socket, path_and_query) = match rest.find(":/") {
        Some(colon) => (&rest[..colon], &rest[colon + 1..]),
        None => (rest, "/"),
    };
    let socket = socket.as_bytes();
    if socket.is_empty() {
        return Err(unreachable("has no socket path; write unix:/PATH.sock:/URL/PATH"));
    }
    if socket.len() > LONGEST_SOCKET_PATH {
        return Err(unreachable("has a socket path of more than 107 bytes; choose a shorter one"));
    }
    let (path_and_query, _) = path_and_query.split_once('#').unwrap_or((path_and_query, ""));
    check_percent(before_query(path_and_query))?;
    let digits: String = socket.iter().map(|byte| format!("{byte:02x}")).collect();
    let uri = build(Scheme::HTTP, &format!("{digits}{UNIX_SUFFIX}"), path_and_query)?;
    Ok(Address {
        uri,
        host_header: HeaderValue::from_static("localhost"),
        authorization: None,
        shown: format!("unix:{rest}"),
    })
}

/// The scheme in lower case, if there is one, and what follows its colon.
fn split_scheme(text: &str) -> Result<(Option<String>, &str), Fault> {
    let end = text.find(|c: char| !(c.is_ascii_alphanumeric() || "+-.".contains(c)));
    match end.filter(|&end| text.as_bytes()[end] == b':') {
        Some(0) => Err(unparsable("has no scheme before the colon; write http://HOST/PATH")),
        Some(end) if text.as_bytes()[0].is_ascii_alphabetic() => {
            Ok((Some(text[..end].to_ascii_lowercase()), &text[end + 1..]))
        }
        _ => Ok((None, text)),
    }
}

/// Host and port as written, once they can be ones. As in Go, a port alone is this machine's.
fn checked_host(host: &str) -> Result<String, Fault> {
    let (name, port) = match host.strip_prefix('[') {
        Some(rest) => {
            let (literal, after) = rest
                .rsplit_once(']')
                .ok_or_else(|| unparsable("has an IPv6 address without its closing ]"))?;
            if literal.contains('%') {
                return Err(unreachable("has an IPv6 zone, which is not supported"));
            }
            if literal.parse::<std::net::Ipv6Addr>().is_err() {
                return Err(unparsable("has no IPv6 address between [ and ]"));
            }
            match after.strip_prefix(':') {
                Some(port) => (literal, Some(port)),
                None if after.is_empty() => (literal, None),
                None => return Err(unparsable("has more than a port behind the ]")),
            }
        }
        None => match host.rsplit_once(':') {
            Some((name, port)) => (name, Some(port)),
            None => (host, None),
        },
    };
    if let Some(port) = port {
        if !port.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(unparsable("has a port that is not a number"));
        }
        if !port.is_empty() && !port.parse::<u16>().is_ok_and(|port| port > 0) {
            return Err(unreachable("has a port outside 1 to 65535"));
        }
    }
    if !host.starts_with('[') && name.contains(':') {
        return Err(unreachable("has several colons in its host; write IPv6 addresses in [ ]"));
    }
    if !name.is_ascii() {
        return Err(unreachable("has a host that is not ASCII; write its xn-- form"));
    }
    Ok(match (name, port) {
        ("", Some(port)) if !port.is_empty() => format!("localhost:{port}"),
        // An empty port is the default one, and no URI has one.
        (_, Some("")) => host[..host.len() - 1].into(),
        _ => host.into(),
    })
}

/// The Basic credentials of `user:password`.
fn credentials(user: &str) -> Result<HeaderValue, Fault> {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"-._:~!$&'()*+,;=%@".contains(&byte);
    if !user.bytes().all(allowed) {
        return Err(unparsable("has a character in its user information that wants %-encoding"));
    }
    let (name, password) = user.split_once(':').unwrap_or((user, ""));
    let mut pair = percent_decoded(name)?;
    pair.push(b':');
    pair.extend(percent_decoded(password)?);
    let mut value = HeaderValue::from_str(&format!("Basic {}", STANDARD.encode(pair)))
        .map_err(|_| unparsable("has user information that no header can carry"))?;
    value.set_sensitive(true);
    Ok(value)
}

fn build(scheme: Scheme, authority: &str, path_and_query: &str) -> Result<Uri, Fault> {
    let (path, query) = match path_and_query.split_once('?') {
        Some((path, query)) => (path, Some(query)),
        None => (path_and_query, None),
    };
    let path = if path.is_empty() { "/" } else { path };
    let mut path_and_query = percent_encoded(path, b"\"<>\\^`{|}");
    if let Some(query) = query {
        path_and_query.push('?');
        path_and_query.push_str(&percent_encoded(query, b"\"<>"));
    }
    Uri::builder()
        .scheme(scheme)
        .authority(Authority::try_from(authority).map_err(|_| broken_host())?)
        .path_and_query(path_and_query)
        .build()
        .map_err(|_| unparsable("has a path or query that no request can carry"))
}

/// Encodes the given characters and what no request line can hold. What is encoded already stays as
/// it is.
fn percent_encoded(text: &str, special: &[u8]) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'!'..=b'~' if !special.contains(&byte) => encoded.push(char::from(byte)),
            _ => encoded.push_str(&format!("%{byte:02X}")),
        }
    }
    encoded
}

fn percent_decoded(text: &str) -> Result<Vec<u8>, Fault> {
    let mut bytes = text.as_bytes().iter();
    let mut decoded = Vec::with_capacity(text.len());
    while let Some(&byte) = bytes.next() {
        decoded.push(match byte {
            b'%' => hex_byte(bytes.next(), bytes.next())
                .ok_or_else(|| unparsable("has a % that is not followed by two hex digits"))?,
            _ => byte,
        });
    }
    Ok(decoded)
}

fn check_percent(text: &str) -> Result<(), Fault> {
    percent_decoded(text).map(|_| ())
}

fn before_query(text: &str) -> &str {
    text.split_once('?').map_or(text, |(path, _)| path)
}

fn hex_byte(high: Option<&u8>, low: Option<&u8>) -> Option<u8> {
    let digit = |byte: &u8| char::from(*byte).to_digit(16);
    u8::try_from(digit(high?)? * 16 + digit(low?)?).ok()
}

fn unparsable(reason: &str) -> Fault {
    Fault::Unparsable(reason.into())
}

fn unreachable(reason: &str) -> Fault {
    Fault::Unreachable(reason.into())
}

fn broken_host() -> Fault {
    unparsable("has a character in its host that no host name has")
}

fn foreign(scheme: &str) -> Fault {
    Fault::Unreachable(format!("has the scheme {scheme:?}; write http://, https:// or unix:"))
}

#[cfg(test)]
mod tests;

//! Which Origins may open a WebSocket, which is our own, and how they are written.

use std::net::Ipv6Addr;

use http::header::{HOST, ORIGIN};
use http::{HeaderMap, HeaderValue, Uri};

/// How the Origin of a handshake is compared with its Host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum OriginPolicy {
    /// Every Origin is welcome.
    None,
    /// Host and port must be the same; a request without Origin is welcome.
    SameOrigin,
    /// Host names must be the same; a request without Origin is not welcome.
    SameHostname,
}

impl OriginPolicy {
    /// The scheme is ignored and default ports are not filled in, as `Host` has neither.
    pub(crate) fn welcomes(self, headers: &HeaderMap) -> bool {
        let text = |name| headers.get(name).map(|value| value.to_str().unwrap_or_default());
        let host = text(HOST).unwrap_or_default();
        let origin = text(ORIGIN);
        match self {
            Self::None => true,
            Self::SameOrigin => origin.is_none_or(|origin| is_own(origin, host)),
            Self::SameHostname => origin.and_then(authority).is_some_and(|origin| {
                let (origin, host) = (hostname(&origin), hostname(host));
                !origin.is_empty() && origin.eq_ignore_ascii_case(host)
            }),
        }
    }
}

/// Which Origins are welcome where a list of them can be written; a request without is in any case.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum AllowedOrigins {
    /// That of the listener itself: host and port are those of `Host`.
    Own,
    Any,
    /// These, as browsers send them.
    Listed(Vec<String>),
}

impl AllowedOrigins {
    #[cfg_attr(not(any(test, feature = "zmq")), expect(dead_code, reason = "the bridge asks"))]
    pub(crate) fn welcomes(&self, headers: &HeaderMap) -> bool {
        let host = headers.get(HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
        let is_welcome = |origin: &HeaderValue| match (self, origin.to_str()) {
            (Self::Any, _) => true,
            (_, Err(_)) => false,
            (Self::Own, Ok(origin)) => is_own(origin, host),
            (Self::Listed(listed), Ok(origin)) => {
                listed.iter().any(|listed| listed.eq_ignore_ascii_case(origin))
            }
        };
        headers.get_all(ORIGIN).iter().all(is_welcome)
    }
}

/// Whether an Origin has the host and port of `host`, the value of the field of that name.
pub(crate) fn is_own(origin: &str, host: &str) -> bool {
    authority(origin).is_some_and(|origin| origin.eq_ignore_ascii_case(host))
}

/// What is wrong with a text that is no origin, and what to do.
pub(crate) const REMEDY: &str =
    "is no origin; write https://HOST, https://HOST:PORT, null, or * for any";

/// An origin as a browser would send it (RFC 6454 section 6.1): in lower case, without the port
/// that its scheme has anyway.
pub(crate) fn as_sent(text: &str) -> Option<String> {
    let text = text.to_ascii_lowercase();
    if text == "null" {
        return Some(text);
    }
    let (scheme, authority) = text.split_once("://")?;
    let is_scheme = scheme.starts_with(|c: char| c.is_ascii_alphabetic())
        && scheme.bytes().all(|b| b.is_ascii_alphanumeric() || b"+-.".contains(&b));
    if !is_scheme {
        return None;
    }
    let after_address = authority.rfind(']').unwrap_or(0);
    let (host, port) = match authority[after_address..].find(':') {
        Some(colon) => authority.split_at(after_address + colon),
        None => (authority, ""),
    };
    let host = match host.strip_prefix('[') {
        Some(rest) => format!("[{}]", rest.strip_suffix(']')?.parse::<Ipv6Addr>().ok()?),
        None => is_host_name(host).then(|| host.to_owned())?,
    };
    let Some(digits) = port.strip_prefix(':') else {
        return Some(format!("{scheme}://{host}"));
    };
    let is_number = digits.bytes().all(|byte| byte.is_ascii_digit());
    let port: u16 = is_number.then(|| digits.parse().ok())??;
    Some(match (scheme, port) {
        ("http", 80) | ("https", 443) => format!("{scheme}://{host}"),
        _ => format!("{scheme}://{host}:{port}"),
    })
}

/// Whether this can be the name of a host, or an IPv4 address.
pub(crate) fn is_host_name(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._".contains(&b))
}

/// `host[:port]` of an Origin; `null` and what cannot be read have none.
fn authority(origin: &str) -> Option<String> {
    let uri: Uri = origin.parse().ok()?;
    uri.scheme()?;
    uri.authority().map(|authority| authority.as_str().to_owned())
}

fn hostname(authority: &str) -> &str {
    let after_address = authority.rfind(']').unwrap_or(0);
    match authority[after_address..].rfind(':') {
        Some(colon) => &authority[..after_address + colon],
        None => authority,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn welcomes(policy: OriginPolicy, origin: Option<&str>, host: &str) -> bool {
        let mut headers = HeaderMap::new();
        headers.insert(HOST, host.parse().unwrap());
        if let Some(origin) = origin {
            headers.insert(ORIGIN, origin.parse().unwrap());
        }
        policy.welcomes(&headers)
    }

    #[test]
    fn same_origin() {
        let welcomes = |origin, host| welcomes(OriginPolicy::SameOrigin, origin, host);
        assert!(welcomes(None, "a:80"));
        assert!(welcomes(Some("http://A:80"), "a:80"));
        assert!(!welcomes(Some("http://a"), "a:80"));
        assert!(!welcomes(Some("http://a:81"), "a:80"));
        assert!(!welcomes(Some("http://b:80"), "a:80"));
        assert!(!welcomes(Some("null"), "a:80"));
        assert!(!welcomes(Some("null"), "null"));
    }

    #[test]
    fn origins_that_are_allowed() {
        let listed = AllowedOrigins::Listed(vec!["https://a".into(), "null".into()]);
        let host = |origins: &[&[u8]]| {
            let mut headers = HeaderMap::new();
            headers.insert(HOST, "own:80".parse().unwrap());
            for origin in origins {
                headers.append(ORIGIN, HeaderValue::from_bytes(origin).unwrap());
            }
            headers
        };
        for (origins, own, is_listed) in [
            (&[][..], true, true),
            (&[&b"http://own:80"[..]][..], true, false),
            (&[b"https://OWN:80"], true, false),
            (&[b"http://own"], false, false),
            (&[b"http://own:81"], false, false),
            (&[b"http://own:80.evil"], false, false),
            (&[b"https://a"], false, true),
            (&[b"HTTPS://A"], false, true),
            (&[b"https://a.evil"], false, false),
            (&[b"http://a"], false, false),
            (&[b"null"], false, true),
            (&[b""], false, false),
            (&[b"\xff"], false, false),
            (&[b"https://a", b"null"], false, true),
            (&[b"http://own:80", b"https://a"], false, false),
        ] {
            let headers = host(origins);
            assert_eq!(AllowedOrigins::Own.welcomes(&headers), own, "{origins:?}");
            assert_eq!(listed.welcomes(&headers), is_listed, "{origins:?}");
            assert!(AllowedOrigins::Any.welcomes(&headers));
        }
        let without_host: HeaderMap =
            [(ORIGIN, HeaderValue::from_static("http://own"))].into_iter().collect();
        assert!(!AllowedOrigins::Own.welcomes(&without_host));
    }

    #[test]
    fn same_hostname() {
        let welcomes = |origin, host| welcomes(OriginPolicy::SameHostname, origin, host);
        assert!(!welcomes(None, "a:80"));
        assert!(welcomes(Some("https://A:1234"), "a"));
        assert!(welcomes(Some("https://a"), "a:80"));
        assert!(welcomes(Some("http://[::1]:5"), "[::1]"));
        assert!(!welcomes(Some("http://[::1]"), "[::2]:1"));
        assert!(!welcomes(Some("http://b"), "a"));
        assert!(!welcomes(Some("null"), "null"));
    }
}

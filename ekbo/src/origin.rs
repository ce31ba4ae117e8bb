//! Which Origins may open a WebSocket, and which is our own.

use http::header::{HOST, ORIGIN};
use http::{HeaderMap, Uri};

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

/// Whether an Origin has the host and port of `host`, the value of the field of that name.
pub(crate) fn is_own(origin: &str, host: &str) -> bool {
    authority(origin).is_some_and(|origin| origin.eq_ignore_ascii_case(host))
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

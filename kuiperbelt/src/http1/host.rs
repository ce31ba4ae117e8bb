//! The Host of a request (RFC 9112 section 3.2): there has to be exactly one, and well-formed.

use http::Version;
use http::header::HOST;
use http::uri::Authority;

use crate::fields::Fields;

/// Whether a request says once and properly for whom it is; HTTP/1.0 may do without.
pub(crate) fn names_its_host(version: Version, fields: &Fields) -> bool {
    let mut hosts = fields.get_all(&HOST);
    match (hosts.next(), hosts.next()) {
        (Some(host), None) => is_host(host),
        (None, None) => version < Version::HTTP_11,
        _ => false,
    }
}

/// Whether it is `uri-host [ ":" port ]` (RFC 9110 section 7.2), with a host that is not empty and a
/// port below 65536, if there is one, and without user information.
pub fn is_host(host: &[u8]) -> bool {
    let (name, port) = match host.iter().rposition(|&byte| byte == b':' || byte == b']') {
        Some(colon) if host[colon] == b':' => (&host[..colon], &host[colon + 1..]),
        _ => (host, &b""[..]),
    };
    !name.is_empty() && is_port(port) && (is_plain(name) || is_unusual(name))
}

/// As nearly all names and addresses of IPv4 are.
fn is_plain(name: &[u8]) -> bool {
    name.iter().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_'))
}

/// An address of IPv6, or another name that can stand in a URI.
fn is_unusual(name: &[u8]) -> bool {
    !name.contains(&b'@')
        && Authority::try_from(name)
            .is_ok_and(|authority| authority.host().len() == name.len() && !name.is_empty())
}

fn is_port(port: &[u8]) -> bool {
    let number = port.iter().try_fold(0_u16, |number, byte| {
        let digit = byte.is_ascii_digit().then(|| u16::from(byte - b'0'))?;
        number.checked_mul(10)?.checked_add(digit)
    });
    number.is_some()
}

#[cfg(test)]
mod tests {
    use http::{HeaderMap, HeaderValue};

    use super::*;

    #[test]
    fn hosts() {
        for good in [
            "a",
            "example.com:80",
            "127.0.0.1",
            "[::1]:9180",
            "[::1]",
            "a_b",
            "a:",
            "a!$b",
            "a:0080",
        ] {
            assert!(is_host(good.as_bytes()), "{good}");
        }
        for bad in [
            "", ":80", "a b", "a/b", "user@a", "a:b", "a:99999", "a:+1", "[::1", "[1]2", "a,b c",
            "a?b", "é", "::1", "a:1:2",
        ] {
            assert!(!is_host(bad.as_bytes()), "{bad}");
        }
    }

    #[test]
    fn exactly_one() {
        let mut headers = HeaderMap::new();
        let names = |version, headers: &HeaderMap| names_its_host(version, &headers.into());
        assert!(!names(Version::HTTP_11, &headers));
        assert!(names(Version::HTTP_10, &headers));
        headers.append(HOST, HeaderValue::from_static("a"));
        assert!(names(Version::HTTP_11, &headers));
        headers.append(HOST, HeaderValue::from_static("a"));
        assert!(!names(Version::HTTP_10, &headers));
    }
}

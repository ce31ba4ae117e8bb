//! Who may ask: whoever has a token; without one, for what the original did not have, only this
//! machine. And never a web page from elsewhere, which a browser would have ask on its behalf.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};

use http::Method;
use http::header::{AUTHORIZATION, HOST, ORIGIN};
use http::uri::Authority;
use kuiperbelt::{Fields, Request};

use super::BackendApi;
use super::answer::Refused;
use crate::origin::is_own;
use crate::secret::{any_is, bearer};

/// Who may ask as long as there is no token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reach {
    /// Everybody, as it has always been.
    All,
    /// Whoever is on this machine, and does not speak for somebody else.
    Here,
}

/// What proxies say of whom they speak for, beside `X-Forwarded` and every `X-Forwarded-*` there
/// is. Some write `_` for `-`.
pub(super) const FORWARDING: [&str; 13] = [
    "forwarded",
    "via",
    "x-real-ip",
    "x-client-ip",
    "x-cluster-client-ip",
    "x-original-forwarded-for",
    "x-original-host",
    "x-envoy-external-address",
    "x-appengine-user-ip",
    "true-client-ip",
    "cf-connecting-ip",
    "fastly-client-ip",
    "fly-client-ip",
];

const FORWARDED_PREFIX: &str = "x-forwarded";

impl BackendApi {
    /// Checks a call that changes something, before anything else is looked at.
    pub(super) fn check_post(&self, request: &Request, reach: Reach) -> Result<(), Refused> {
        self.check_access(request, reach)?;
        if request.method != Method::POST {
            return Err(Refused::NotPost);
        }
        if is_foreign(&request.fields) {
            return Err(Refused::Origin);
        }
        Ok(())
    }

    /// Checks whether the caller may ask at all.
    pub(super) fn check_access(&self, request: &Request, reach: Reach) -> Result<(), Refused> {
        let may_ask = if self.config.tokens.is_empty() {
            reach == Reach::All || is_here(request.peer, &request.fields)
        } else {
            let token = request.fields.get(&AUTHORIZATION).and_then(bearer);
            token.is_some_and(|token| any_is(&self.config.tokens, token))
        };
        may_ask.then_some(()).ok_or(Refused::Unauthorized)
    }
}

/// Whether a request comes from this machine, over loopback or a Unix socket, and not through a
/// proxy that says so, nor from a page whose name in the DNS has come to mean this machine.
fn is_here(peer: Option<SocketAddr>, fields: &Fields) -> bool {
    let is_forwarding = |name: &[u8]| {
        let prefix = name.get(..FORWARDED_PREFIX.len());
        prefix.is_some_and(|prefix| is_named(prefix, FORWARDED_PREFIX))
            || FORWARDING.iter().any(|forwarding| is_named(name, forwarding))
    };
    // A listener on all addresses sees those of IPv4 as mapped ones.
    let is_near = |peer: SocketAddr| {
        peer.ip().to_canonical().is_loopback() && fields.get(&HOST).is_some_and(needs_no_dns)
    };
    peer.is_none_or(is_near) && !fields.names().any(is_forwarding)
}

/// Whether a field has this name, in either spelling.
fn is_named(field: &[u8], name: &str) -> bool {
    let dashed =
        field.iter().map(|byte| if *byte == b'_' { b'-' } else { byte.to_ascii_lowercase() });
    dashed.eq(name.bytes())
}

/// Whether a `Host` is an address, or a name that never means another machine (RFC 6761 section
/// 6.3).
fn needs_no_dns(host: &[u8]) -> bool {
    let Ok(host) = Authority::try_from(host) else { return false };
    let name = host.host().to_ascii_lowercase();
    match name.strip_prefix('[').and_then(|name| name.strip_suffix(']')) {
        Some(address) => address.parse::<Ipv6Addr>().is_ok(),
        None => {
            name.parse::<Ipv4Addr>().is_ok() || name == "localhost" || name.ends_with(".localhost")
        }
    }
}

/// Whether a browser tells that a page from elsewhere has made the request.
fn is_foreign(fields: &Fields) -> bool {
    fields.get_all(&ORIGIN).any(|origin| {
        let text = |bytes| str::from_utf8(bytes).unwrap_or_default();
        !is_own(text(origin), text(fields.get(&HOST).unwrap_or_default()))
    })
}

#[cfg(test)]
mod tests {
    use http::HeaderMap;

    use super::*;

    fn fields(lines: &[(&'static str, &str)]) -> Fields {
        let mut map = HeaderMap::new();
        for (name, value) in lines {
            map.append(*name, value.parse().unwrap());
        }
        Fields::from(&map)
    }

    #[test]
    fn this_machine_is_loopback_and_unix_sockets() {
        let none = fields(&[("host", "localhost")]);
        assert!(is_here(None, &none));
        for (peer, expected) in [
            ("127.0.0.1:1", true),
            ("127.9.9.9:1", true),
            ("[::1]:1", true),
            ("[::ffff:127.0.0.1]:1", true),
            ("[::ffff:192.0.2.1]:1", false),
            ("192.0.2.1:1", false),
            ("10.0.0.1:1", false),
            ("0.0.0.0:1", false),
            ("[::]:1", false),
            ("[fe80::1]:1", false),
        ] {
            assert_eq!(is_here(Some(peer.parse().unwrap()), &none), expected, "{peer}");
        }
    }

    #[test]
    fn who_speaks_for_somebody_else_is_not_here() {
        let peer = Some("127.0.0.1:1".parse().unwrap());
        for name in [
            "forwarded",
            "via",
            "x-forwarded",
            "x-forwarded-for",
            "x-forwarded-anything",
            "x_forwarded_for",
            "x-real-ip",
            "x_real_ip",
            "true-client-ip",
            "fly-client-ip",
            "x-appengine-user-ip",
        ] {
            let forwarded = fields(&[("host", "localhost"), (name, "")]);
            assert!(!is_here(peer, &forwarded), "{name}");
            assert!(!is_here(None, &forwarded), "{name}");
        }
        let others = fields(&[("host", "localhost"), ("x-forward", "1"), ("x-real", "1")]);
        assert!(is_here(peer, &others));
    }

    #[test]
    fn who_calls_by_a_name_of_the_dns_is_not_here() {
        let peer = Some("127.0.0.1:1".parse().unwrap());
        for (host, expected) in [
            ("127.0.0.1", true),
            ("127.0.0.1:9180", true),
            ("192.0.2.1:9180", true),
            ("[::1]", true),
            ("[::1]:9180", true),
            ("localhost", true),
            ("LocalHost:9180", true),
            ("chat.localhost:9180", true),
            ("example.com", false),
            ("example.com:9180", false),
            ("localhost.example.com", false),
            ("evillocalhost", false),
            ("127.0.0.1.example.com", false),
            ("127.0.0.1:80@example.com", false),
            ("[example.com]", false),
            ("::1", false),
            ("x", false),
            ("", false),
        ] {
            let named = fields(&[("host", host)]);
            assert_eq!(is_here(peer, &named), expected, "{host}");
            assert!(is_here(None, &named), "{host} over a unix socket");
        }
        assert!(!is_here(peer, &fields(&[])), "HTTP/1.0 without Host");
    }

    #[test]
    fn pages_from_elsewhere() {
        let is_foreign = |origins: &[&str]| {
            let origins = origins.iter().map(|origin| ("origin", *origin));
            super::is_foreign(&fields(
                &[("host", "a:80")].into_iter().chain(origins).collect::<Vec<_>>(),
            ))
        };
        assert!(!is_foreign(&[]));
        assert!(!is_foreign(&["http://a:80"]));
        assert!(!is_foreign(&["https://A:80"]));
        for origin in
            ["http://a", "http://b:80", "http://a:81", "null", "", "a:80", "http://x@a:80"]
        {
            assert!(is_foreign(&[origin]), "{origin}");
        }
        assert!(is_foreign(&["http://a:80", "http://b:80"]));
        assert!(super::is_foreign(&fields(&[("origin", "http://a")])), "HTTP/1.0 without Host");
    }
}

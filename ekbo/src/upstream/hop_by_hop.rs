//! Which fields end here and which go on (RFC 9110 section 7.6.1), and which may stand behind a body
//! (section 6.5.1). Names are compared without their case; nothing is written here.
//!
//! `Proxy-Authorization` and `Proxy-Authenticate` go on: that section names them no more, and they
//! are taken off by whoever asked for them, which a gateway does not. There is no `Via`: what the
//! application gets is what the client has sent.

/// The most members that the lists of one field may have. Those of `Connection` are compared with the
/// name of every field, and both may come by the thousand.
pub(super) const MAX_MEMBERS: usize = 100;

/// A field has more than [`MAX_MEMBERS`] members.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct TooMany;

/// What the `Connection` fields of a message say.
#[derive(Debug, Default)]
pub(super) struct Options<'a> {
    pub(super) close: bool,
    pub(super) keep_alive: bool,
    pub(super) upgrade: bool,
    /// Other options: names of fields that end here.
    named: Vec<&'a [u8]>,
}

impl<'a> Options<'a> {
    pub(super) fn of(values: impl Iterator<Item = &'a [u8]>) -> Result<Self, TooMany> {
        let mut options = Self::default();
        for (number, option) in values.flat_map(items).enumerate() {
            if number == MAX_MEMBERS {
                return Err(TooMany);
            }
            let is = |name: &str| option.eq_ignore_ascii_case(name.as_bytes());
            if is("close") {
                options.close = true;
            } else if is("keep-alive") {
                options.keep_alive = true;
            } else if is("upgrade") {
                options.upgrade = true;
            } else if !is_hop_by_hop(option) {
                options.named.push(option);
            }
        }
        Ok(options)
    }

    /// Whether a field of this name does not go on.
    pub(super) fn ends(&self, name: &[u8]) -> bool {
        is_hop_by_hop(name) || self.named.iter().any(|named| named.eq_ignore_ascii_case(name))
    }

    /// The fields that end here and would not without being named.
    pub(super) fn named(&self) -> &[&'a [u8]] {
        &self.named
    }
}

/// Whether a field concerns the connection whether or not `Connection` says so.
fn is_hop_by_hop(name: &[u8]) -> bool {
    is_one_of(
        name,
        &["connection", "keep-alive", "proxy-connection", "te", "transfer-encoding", "upgrade"],
    )
}

/// Whether a field may stand behind a body: it neither frames nor routes the message, nor does it say
/// how the message is to be treated, by whom it is sent, or what its body is.
pub(super) fn may_trail(name: &[u8]) -> bool {
    const FORBIDDEN: &[&str] = &[
        "age",
        "authorization",
        "cache-control",
        "content-encoding",
        "content-length",
        "content-location",
        "content-range",
        "content-type",
        "cookie",
        "date",
        "expect",
        "expires",
        "forwarded",
        "host",
        "location",
        "max-forwards",
        "pragma",
        "proxy-authenticate",
        "proxy-authorization",
        "range",
        "retry-after",
        "set-cookie",
        "trailer",
        "vary",
        "www-authenticate",
    ];
    let begins = |start: &str| {
        name.get(..start.len()).is_some_and(|name| name.eq_ignore_ascii_case(start.as_bytes()))
    };
    !is_hop_by_hop(name)
        && !is_one_of(name, FORBIDDEN)
        && !begins("if-")
        && !super::forwarded::tells_of_the_client(name)
}

/// The members of a list, without the empty ones (RFC 9110 section 5.6.1).
pub(super) fn items(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    value.split(|&byte| byte == b',').map(<[u8]>::trim_ascii).filter(|item| !item.is_empty())
}

/// Whether it is one of the names, which are written in lower case.
fn is_one_of(name: &[u8], names: &[&str]) -> bool {
    // Most have another length, and nothing else of them is looked at.
    names.iter().any(|one| one.len() == name.len() && name.eq_ignore_ascii_case(one.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_connection_says() {
        let values = ["Close , X-One,,", "keep-Alive,UPGRADE, te, Host"];
        let options = Options::of(values.iter().map(|value| value.as_bytes())).unwrap();
        assert!(options.close && options.keep_alive && options.upgrade);
        assert_eq!(options.named(), [b"X-One".as_slice(), b"Host"]);
        assert!(options.ends(b"x-one") && options.ends(b"host") && !options.ends(b"x-two"));
    }

    #[test]
    fn more_is_not_looked_at() {
        let of = |options: usize| {
            let value = "close, ,".repeat(options);
            let values = [value.as_bytes(), b"", b","];
            Options::of(values.into_iter()).map(|options| options.close)
        };
        assert_eq!(of(MAX_MEMBERS), Ok(true));
        assert_eq!(of(MAX_MEMBERS + 1), Err(TooMany));
        let one_each = [&b"a"[..]; MAX_MEMBERS + 1];
        assert_eq!(Options::of(one_each.into_iter()).map(|_| ()), Err(TooMany));
    }

    #[test]
    fn what_ends_without_being_named() {
        let options = Options::of([].into_iter()).unwrap();
        for name in
            ["Connection", "Keep-Alive", "PROXY-CONNECTION", "TE", "Transfer-Encoding", "upgrade"]
        {
            assert!(options.ends(name.as_bytes()), "{name}");
        }
        for name in ["Trailer", "Proxy-Authorization", "Proxy-Authenticate", "Via", "Host", "T"] {
            assert!(!options.ends(name.as_bytes()), "{name}");
        }
    }

    #[test]
    fn trailers() {
        for name in ["Digest", "Grpc-Status", "X-Checksum", "Server-Timing", "ETag"] {
            assert!(may_trail(name.as_bytes()), "{name}");
        }
        for name in [
            "Content-Length",
            "Transfer-Encoding",
            "host",
            "If-None-Match",
            "Set-Cookie",
            "Authorization",
            "Content-Type",
            "X-Forwarded-For",
            "Connection",
            "TRAILER",
        ] {
            assert!(!may_trail(name.as_bytes()), "{name}");
        }
    }
}

//! The protocols that a connection may change to (RFC 9110 section 7.8), by their names: those that a
//! client asks for, and those that the answer chooses. Fields are written elsewhere.

use super::hop_by_hop::{MAX_MEMBERS, TooMany, items};

/// The names in the `Upgrade` fields of a message, without versions.
#[derive(Debug, Clone)]
pub(super) struct Protocols<'a>(Vec<&'a [u8]>);

impl<'a> Protocols<'a> {
    pub(super) const fn none() -> Self {
        Self(Vec::new())
    }

    pub(super) fn of(values: impl Iterator<Item = &'a [u8]>) -> Result<Self, TooMany> {
        let protocols = values.flat_map(items).take(MAX_MEMBERS + 1);
        let names = protocols.map(|protocol| {
            let end = protocol.iter().position(|&byte| byte == b'/');
            &protocol[..end.unwrap_or(protocol.len())]
        });
        let names: Vec<_> = names.collect();
        if names.len() > MAX_MEMBERS { Err(TooMany) } else { Ok(Self(names)) }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether one of them is HTTP/2 or another HTTP, which would carry requests on that nobody here has
    /// looked at.
    pub(super) fn include_http(&self) -> bool {
        self.has(b"h2c") || self.has(b"http")
    }

    /// Whether all of these, of which there is at least one, are among them.
    pub(super) fn include(&self, chosen: &Self) -> bool {
        !chosen.is_empty() && chosen.0.iter().all(|name| self.has(name))
    }

    fn has(&self, name: &[u8]) -> bool {
        self.0.iter().any(|one| one.eq_ignore_ascii_case(name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn protocols(value: &str) -> Protocols<'_> {
        Protocols::of([value.as_bytes()].into_iter()).unwrap()
    }

    #[test]
    fn names_are_compared_without_case_and_version() {
        let asked = protocols("WebSocket, ,echo/2,");
        for (chosen, is_included) in [
            ("websocket", true),
            ("Echo", true),
            ("ECHO/3, websocket/13", true),
            ("", false),
            (",", false),
            ("echo, other", false),
            ("ech", false),
        ] {
            assert_eq!(asked.include(&protocols(chosen)), is_included, "{chosen}");
        }
        assert!(!Protocols::none().include(&protocols("echo")));
    }

    #[test]
    fn http_is_found() {
        for (value, is_found) in [("h2c", true), ("a, HTTP/2.0", true), ("h2, https", false)] {
            assert_eq!(protocols(value).include_http(), is_found, "{value}");
        }
    }

    #[test]
    fn more_is_not_looked_at() {
        let of = |count: usize| Protocols::of(vec![&b"a"[..]; count].into_iter());
        assert!(of(MAX_MEMBERS).is_ok());
        assert_eq!(of(MAX_MEMBERS + 1).unwrap_err(), TooMany);
    }
}
